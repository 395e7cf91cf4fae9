/* SSE4.2: 16 registers of 16 bytes, no multiply-add, so a product needs a register of its own. */
#include <stdint.h>

#include "cpu.h"
#include "fastconv.h"

#if defined(__x86_64__)
#include <immintrin.h>

static int fc_supported_x86_v2(void) { return fc_cpu_has_x86_v2(); }

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("sse3,ssse3,sse4.1,sse4.2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("sse3,ssse3,sse4.1,sse4.2,popcnt")
#endif

#define FC_LEVEL x86_v2
#define FC_VECTOR_BYTES 16
#define FC_DIRECT_ROWS 4
#define FC_DIRECT_VECTORS 2
#define FC_GEMM_PIXELS 5
#define FC_GEMM_VECTORS 2
#define FC_PIXELS_ROWS 2
#define FC_PIXELS_VECTORS 3
#define FC_INT8 madd
#define FC_INT8_MADD
#define FC_INT8_PIXELS 2
#define FC_INT8_CHUNK 1
#include "level.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
