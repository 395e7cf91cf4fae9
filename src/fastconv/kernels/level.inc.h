/* Every kernel of one CPU level. A wrapper defines, before it includes this file inside its target pragma:
 *
 *     FC_LEVEL            the level's name
 *     FC_VECTOR_BYTES     bytes of one register
 *     FC_DIRECT_ROWS      register tile of the direct kernels
 *     FC_DIRECT_VECTORS
 *     FC_GEMM_PIXELS      register tile of the GEMM kernels
 *     FC_GEMM_VECTORS
 *     FC_PIXELS_ROWS      the same with pixels in the lanes
 *     FC_PIXELS_VECTORS
 *     FC_INT8             name of the kernel for bytes, with FC_INT8_VNNI or FC_INT8_MADD, see int8.inc.h
 *     FC_INT8_PIXELS      its register tile
 *     FC_INT8_CHUNK
 *
 * With FC_SMALL, nothing is unrolled and no function made anew for each use: small, and slow.
 * With FC_TABLE_ONLY, a level whose other kernels are those of the level before it in the same file.
 *
 * No system header may be included from here on: its inline functions would be compiled for the level too.
 */
#ifndef FC_TABLE_ONLY
#include "simd.inc.h"

/* Register tile of the gradients of weights. With 32 registers, 6 rows x 4 vectors take as many multiply-adds as
 * 12 x 2, and fewer other instructions. */
#define FC_GRADIENT_VECTORS (FC_GEMM_PIXELS * FC_GEMM_VECTORS > 16 ? 4 : FC_GEMM_VECTORS)
#define FC_GRADIENT_ROWS (FC_GRADIENT_VECTORS == 4 ? 6 : FC_GEMM_PIXELS)

#define FC_UNFUSED 0
#define FC_WHOLE 0

#define FC_NAME f32
#define FC_T float
#define FC_LANES (FC_VECTOR_BYTES / 4)
#define FC_LIST FC_LIST_4
#define FC_COMPLEX 0
#include "direct.inc.h"
#include "sum.inc.h"
#include "mirror.inc.h"
#include "cut.inc.h"
#include "gemm.inc.h"
#include "pixels.inc.h"
#include "fft.inc.h"
#include "winograd.inc.h"
#include "turn.inc.h"
#include "gradient.inc.h"
#include "depthwise.inc.h"
#include "epilogue.inc.h"
#include "peak.inc.h"
#undef FC_NAME
#undef FC_COMPLEX
#define FC_NAME c64
#define FC_COMPLEX 1
#include "direct.inc.h"
#undef FC_NAME
#undef FC_COMPLEX
#undef FC_T
#undef FC_LANES
#undef FC_LIST

#define FC_NAME f64
#define FC_T double
#define FC_LANES (FC_VECTOR_BYTES / 8)
#define FC_LIST FC_LIST_8
#define FC_COMPLEX 0
#include "direct.inc.h"
#include "sum.inc.h"
#include "mirror.inc.h"
#include "fold.inc.h"
#include "gemm.inc.h"
#include "pixels.inc.h"
#include "fft.inc.h"
#include "winograd.inc.h"
#include "turn.inc.h"
#include "gradient.inc.h"
#include "depthwise.inc.h"
#include "epilogue.inc.h"
#include "peak.inc.h"
#undef FC_NAME
#undef FC_COMPLEX
#define FC_NAME c128
#define FC_COMPLEX 1
#include "direct.inc.h"
#undef FC_NAME
#undef FC_COMPLEX
#undef FC_UNFUSED
#define FC_NAME f64_unfused
#define FC_COMPLEX 0
#define FC_UNFUSED 1
#include "direct.inc.h"
#undef FC_NAME
#undef FC_COMPLEX
#undef FC_UNFUSED
#define FC_UNFUSED 0
#undef FC_T
#undef FC_LANES
#undef FC_LIST

#undef FC_WHOLE
#define FC_WHOLE 1
#define FC_COMPLEX 0
#define FC_NAME u16
#define FC_T uint16_t
#define FC_LANES (FC_VECTOR_BYTES / 2)
#include "direct.inc.h"
#include "sum.inc.h"
#undef FC_NAME
#undef FC_T
#undef FC_LANES

#define FC_NAME u32
#define FC_T uint32_t
#define FC_LANES (FC_VECTOR_BYTES / 4)
#include "direct.inc.h"
#undef FC_NAME
#undef FC_T
#undef FC_LANES

#define FC_NAME u64
#define FC_T uint64_t
#define FC_LANES (FC_VECTOR_BYTES / 8)
#include "direct.inc.h"
#undef FC_NAME
#undef FC_T
#undef FC_LANES
#undef FC_COMPLEX
#undef FC_UNFUSED
#undef FC_WHOLE

#include "rows.inc.h"
#include "bytes.inc.h"
#include "int8.inc.h"
#endif

const fc_level FC_PASTE(fc_level_, FC_LEVEL) = {
    .name = FC_STRING(FC_LEVEL),
    .supported = FC_PASTE(fc_supported_, FC_LEVEL),
    .vector_bytes = FC_VECTOR_BYTES,
    .direct_rows = FC_DIRECT_ROWS,
    .direct_vectors = FC_DIRECT_VECTORS,
    .gemm_pixels = FC_GEMM_PIXELS,
    .gemm_vectors = FC_GEMM_VECTORS,
    .pixels_rows = FC_PIXELS_ROWS,
    .pixels_vectors = FC_PIXELS_VECTORS,
    .load_rows = {load_copy2, load_copy4, load_copy8, load_copy16, load_u8_u16, load_bool_f32, load_f16_f32,
                  load_u8_f32, load_i8_f32, load_u16_f32, load_i16_f32,
                  load_u8_f64, load_i8_f64, load_u16_f64, load_i16_f64,
                  load_u32_f64, load_i32_f64, load_u64_f64, load_i64_f64, load_bool_f64, load_f32_f64,
                  load_bf16_f32,
                  load_round_u8_f32, load_round_i8_f32, load_round_u16_f32, load_round_i16_f32,
                  load_round_u32_f32, load_round_i32_f32, load_round_u64_f32, load_round_i64_f32,
                  load_round_u8_f64, load_round_i8_f64, load_round_u16_f64, load_round_i16_f64,
                  load_round_u32_f64, load_round_i32_f64, load_round_u64_f64, load_round_i64_f64,
                  load_f64_f32, load_f16_f64, load_bf16_f64},
    .store_rows = {store_copy2, store_copy4, store_copy8, store_copy16, store_u8_u16, store_bool_f32, store_f16_f32,
                   store_u8_f32, store_i8_f32, store_u16_f32, store_i16_f32,
                   store_u8_f64, store_i8_f64, store_u16_f64, store_i16_f64,
                   store_u32_f64, store_i32_f64, store_u64_f64, store_i64_f64, store_bool_f64, store_f32_f64,
                   store_bf16_f32,
                   store_round_u8_f32, store_round_i8_f32, store_round_u16_f32, store_round_i16_f32,
                   store_round_u32_f32, store_round_i32_f32, store_round_u64_f32, store_round_i64_f32,
                   store_round_u8_f64, store_round_i8_f64, store_round_u16_f64, store_round_i16_f64,
                   store_round_u32_f64, store_round_i32_f64, store_round_u64_f64, store_round_i64_f64,
                   store_f64_f32, store_f16_f64, store_bf16_f64},
    .direct = {direct_f32, direct_f64, direct_c64, direct_c128, direct_u16, direct_u32, direct_u64, direct_f64_unfused},
    .fold = fold_f64,
    .cut = cut_f32,
    .mirror = {mirror_f32, mirror_f64},
    .sum = {sum_f32, sum_f64, sum_u16},
    .gemm = {gemm_f32, gemm_f64},
    .pack_panel = {pack_panel_f32, pack_panel_f64},
    .pixels = {pixels_f32, pixels_f64},
    .pixel = {pixel_f32, pixel_f64},
    .unroll = {unroll_f32, unroll_f64},
    .turn = {turn_f32, turn_f64},
    .pack_taps = {pack_taps_f32, pack_taps_f64},
    .interleave = {interleave_f32, interleave_f64},
    .depthwise = {depthwise_f32, depthwise_f64},
    .fft_columns = {fft_columns_f32, fft_columns_f64},
    .fft_rows = {fft_rows_f32, fft_rows_f64},
    .fft_back = {fft_back_f32, fft_back_f64},
    .winograd =
        {
            {winograd_input_f32, winograd_weights_f32, winograd_output_f32, product_f32, gather_lanes_f32,
             scatter_lanes_f32},
            {winograd_input_f64, winograd_weights_f64, winograd_output_f64, product_f64, gather_lanes_f64,
             scatter_lanes_f64},
        },
    .gradient =
        {
            {gradient_products_f32, gradient_dots_f32, gradient_totals_f32, FC_GRADIENT_VECTORS, FC_GRADIENT_ROWS},
            {gradient_products_f64, gradient_dots_f64, gradient_totals_f64, FC_GRADIENT_VECTORS, FC_GRADIENT_ROWS},
        },
    .epilogue = {epilogue_f32, epilogue_f64},
    .fma_chain = {fma_chain_f32, fma_chain_f64},
    .int8_pixels = FC_INT8_PIXELS,
    .int8_chunk = FC_INT8_CHUNK,
    .int8_begin = FC_PASTE(int8_begin_, FC_INT8),
    .int8_end = FC_PASTE(int8_end_, FC_INT8),
    .int8 = FC_PASTE(int8_, FC_INT8),
    .gather_bytes = gather_bytes,
    .pack_quads = pack_quads,
    .store_requantised = store_requantised,
    .store_requantised_last = store_requantised_last,
    .store_sums = store_sums,
};
