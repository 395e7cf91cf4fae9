/* The contract between the drivers and the kernels.
 *
 * A kernel is a pure function on memory that its caller owns: no Python, no threads, no allocation, no errors.
 * All pitches and offsets are in elements of the compute type unless the name ends in _bytes; a complex element
 * counts as one.
 */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#define FC_COMPILER "clang " __clang_version__
#else
#define FC_COMPILER "gcc " __VERSION__
#endif

/* What the arithmetic is done in. Signed integers share the unsigned kernels: two's complement sums and products are
 * the same bits modulo 2^n. Eight-bit integers are computed in 16 bits (x86 has no 8-bit multiply) and cut on store.
 * Unfused: every product is rounded before it is added, in the order of the taps: what is cut to an integer afterwards
 * has to fall on the same side of it as with everybody else's doubles. */
typedef enum { FC_F32, FC_F64, FC_C64, FC_C128, FC_U16, FC_U32, FC_U64, FC_F64_UNFUSED, FC_COMPUTE_TYPES } fc_compute;

/* How an array element becomes a compute element while a tile is packed, and back while it is stored. */
typedef enum {
    FC_COPY2,    /* the same bits, 2 bytes */
    FC_COPY4,    /* the same bits, 4 bytes */
    FC_COPY8,    /* the same bits, 8 bytes */
    FC_COPY16,   /* the same bits, 16 bytes */
    FC_U8_U16,   /* 8-bit integer in a 16-bit lane */
    FC_BOOL_F32, /* 0 or 1 in a float lane: a sum of products is not 0 exactly where the OR of ANDs is true */
    FC_F16_F32,  /* IEEE half in a float lane, stored rounding half to even */
    /* Integers and bool in a float lane, cut towards zero when stored; float in a double lane. */
    FC_U8_F32, FC_I8_F32, FC_U16_F32, FC_I16_F32,
    FC_U8_F64, FC_I8_F64, FC_U16_F64, FC_I16_F64, FC_U32_F64, FC_I32_F64, FC_U64_F64, FC_I64_F64, FC_BOOL_F64,
    FC_F32_F64,
    FC_BF16_F32, /* the upper half of a float, stored rounding half to even */
    /* Stored rounding half to even and kept within the range of the integer, NaN as 0. */
    FC_ROUND_U8_F32, FC_ROUND_I8_F32, FC_ROUND_U16_F32, FC_ROUND_I16_F32,
    FC_ROUND_U32_F32, FC_ROUND_I32_F32, FC_ROUND_U64_F32, FC_ROUND_I64_F32,
    FC_ROUND_U8_F64, FC_ROUND_I8_F64, FC_ROUND_U16_F64, FC_ROUND_I16_F64,
    FC_ROUND_U32_F64, FC_ROUND_I32_F64, FC_ROUND_U64_F64, FC_ROUND_I64_F64,
    FC_F64_F32, FC_F16_F64, FC_BF16_F64,
    FC_STORAGE_KINDS
} fc_storage;

/* Where each of n packed elements of a row comes from. The run is read straight through; the elements before and
 * after it (halo outside the array, or every element when the input is dilated) are looked up. */
typedef struct {
    ptrdiff_t n;
    ptrdiff_t run_start, run_stop;  /* packed positions of the run */
    ptrdiff_t run_index, run_step;  /* source index of its first element, and the distance to the next */
    const ptrdiff_t *index;         /* n source indices, or FC_FILL, FC_ZERO; only read outside the run */
    const void *fill;               /* one element of the compute type */
    int runs_only;                  /* the tile holds everything but the runs already */
} fc_row_map;

enum { FC_FILL = -1, FC_ZERO = -2 };

/* n_rows rows of a tile. Element i of source row r is at plane + row_offset[r] + i * stride_bytes, at any alignment.
 * A row may instead be FC_FILL_ROW, all fill, or FC_ZERO_ROW, zeros with fill where the map says so. */
typedef void fc_load_rows(void *dst, ptrdiff_t dst_pitch, const char *plane, const ptrdiff_t *row_offset,
                          ptrdiff_t n_rows, ptrdiff_t stride_bytes, const fc_row_map *map);
#define FC_FILL_ROW PTRDIFF_MIN
#define FC_ZERO_ROW (PTRDIFF_MIN + 1)

/* n_rows rows of n elements each, from a tile into an array of any strides. */
typedef void fc_store_rows(char *dst, ptrdiff_t row_stride_bytes, ptrdiff_t stride_bytes, const void *src,
                           ptrdiff_t src_pitch, ptrdiff_t n_rows, ptrdiff_t n);

/* A run of kernel rows over one plane of the input: output row r and kernel row i read input row r + i of the plane.
 *
 *     plane (row_pitch apart)        weights
 *     r = 0  r = 1
 *       |                            [row 0: n_columns]
 *       |      |                     [row 1: n_columns]
 *              |
 */
typedef struct {
    ptrdiff_t src;      /* from the tile's origin to the plane's first row */
    ptrdiff_t weights;  /* from the first weight to the plane's first weight */
    ptrdiff_t rows;     /* kernel rows, >= 1 */
} fc_plane;

/* dst[r][x] = bias + sum over planes p, rows i, columns j of src[p.src + (r + i) * src_pitch + x + columns[j]] * w,
 * in that order, but for a kernel of one row of neighbouring columns unless in_order: these are cut into equal groups of
 * at most 256 bytes (complex: 128), and in a group column j is followed by those 64, 128 ... bytes behind it. dst overlaps
 * nothing else. With slack, rows of src and of dst may be touched up to round_up(width, lanes) elements. Without, width >=
 * lanes, and where the last vectors of a row would reach beyond it they are moved back and some outputs are computed
 * twice. */
typedef struct {
    const void *src;
    ptrdiff_t src_pitch;
    const fc_plane *planes;
    ptrdiff_t n_planes;
    const ptrdiff_t *columns;
    ptrdiff_t n_columns;
    const void *weights;
    const void *bias;  /* one element, or NULL for zero */
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t height, width;  /* >= 1 */
    int slack;
    int in_order;
} fc_direct_tile;

typedef void fc_direct(const fc_direct_tile *tile);

/* One pass of a separable filter in doubles that are never fused, tap j of output (r, x) being src[r * src_pitch + x +
 * j * step]. The order is that of scipy.ndimage.correlate1d: with symmetry 1 (or -1), which has an odd number of taps,
 * the middle product, then from the outermost pair inwards the sum (difference) of two samples times the weight of the
 * first; with 0 the last product, then the others in order. Slack as in fc_direct_tile. */
typedef struct {
    const void *src;
    ptrdiff_t src_pitch, step;
    const double *weights;
    ptrdiff_t taps;
    int symmetry;
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t height, width;
    int slack;
    const float *short_weights; /* of fc_cut: the same, rounded */
    float doubt;                /* and how far its sums may be from those in doubles */
} fc_fold_tile;

typedef void fc_fold(const fc_fold_tile *tile);
/* The same sums of whole numbers below 2^16 in floats, cut towards zero. They are below 2^31. */
typedef void fc_cut(const fc_fold_tile *tile);

/* The same in floats or doubles that may be fused, with an odd number of taps whose weights are symmetric (1) or
 * antisymmetric (-1) about the middle one: the two samples of a pair are added (subtracted) before the product with the
 * weight of the first. The order of the pairs depends on taps, step, down and in_order alone: down, and in_order, from the
 * farthest to the nearest. The middle tap comes last. */
typedef struct {
    const void *src;
    ptrdiff_t src_pitch, step;
    int down;  /* step is src_pitch; else taps lie along the row */
    const void *weights;
    ptrdiff_t taps;
    int symmetry, in_order;
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t height, width;
    int slack;
} fc_mirror_tile;

typedef void fc_mirror(const fc_mirror_tile *tile);

/* dst[r][x] = the sum, in this order, of terms[t][r * pitches[t] + x] over the terms t, for all r and x; then
 * divided by the divisor unless that is 1. dst overlaps no term. Slack as in fc_direct_tile.
 * A mean of integers is cut; the divisor is at most FC_MOST_DIVISOR then, and the sum at most 255 times the divisor. */
enum { FC_MOST_DIVISOR = 128 };

typedef struct {
    const void *const *terms;
    const ptrdiff_t *pitches;
    ptrdiff_t n_terms;  /* >= 1 */
    double divisor;
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t height, width;
    int slack;
} fc_sum_tile;

typedef void fc_sum(const fc_sum_tile *tile);

/* One register tile of the implicit GEMM: `pixels` neighbours along a packed row against one panel of weights.
 *
 *     weights panel: [channel][tap][gemm_columns], output channels side by side, zeros behind the last
 *     pixel r of channel c under tap t: src[c * channel_pitch + taps[t] + r]
 *     and src[... + r + gap] for the second half, r >= (pixels + 1) / 2: two short rows in one tile
 *
 * Writes dst[r * pixel_pitch + o * channel_out_pitch] for r < pixels <= gemm_pixels, o < channels_out <= gemm_columns;
 * where pixel_pitch is 1, also anything for pixels <= r < writable, if that saves it a partial vector.
 */
typedef struct {
    const void *src;
    ptrdiff_t channels, channel_pitch;
    const ptrdiff_t *taps;
    ptrdiff_t n_taps;
    const void *weights;  /* aligned to the vector */
    const void *bias;     /* gemm_columns elements, aligned to the vector */
    void *dst;
    ptrdiff_t pixel_pitch, channel_out_pitch;
    ptrdiff_t pixels, channels_out;
    ptrdiff_t writable;
    ptrdiff_t gap;
    ptrdiff_t ahead; /* bytes from a row of the panel to what is fetched meanwhile, wherever that is */
} fc_gemm_tile;

typedef void fc_gemm(const fc_gemm_tile *tile);

/* panel[k][j] = weights[j * row_pitch + k] for j < rows, and 0 for rows <= j < gemm_columns. */
typedef void fc_pack_panel(void *panel, const void *weights, ptrdiff_t row_pitch, ptrdiff_t rows, ptrdiff_t k_size);

/* Pixels of several packed rows, side by side for each product: dst[k * dst_pitch + to ...] = src[offsets[k] + from ...]
 * for every move, a whole vector each. They are made in their order, so that one may overwrite what the one before wrote
 * too much; the last of a product reaches into the next one's part of dst. */
typedef struct { ptrdiff_t from, to; } fc_move;

typedef struct {
    const void *src;
    const ptrdiff_t *offsets;
    ptrdiff_t n_products;
    const fc_move *moves;
    ptrdiff_t n_moves;
    void *dst;
    ptrdiff_t dst_pitch;
} fc_unroll;

typedef void fc_unroll_pixels(const fc_unroll *step);

/* The same, a move at a time: `step` is what is left, and begins with the product of which `made` moves are made, which
 * may be made again. Samples are fetched FC_FAR products before they are moved: behind the last product's offset, there
 * are so many more.
 *
 * A move is made before every second product of a register tile, or in a hurry before every one. A sample that comes
 * from L3 keeps one of L1's 16 fill buffers for some 250 cycles and a product takes 12, so that the hurry costs 5 %. */
enum { FC_FAR = 2 };

typedef struct {
    fc_unroll step;
    ptrdiff_t made;
    int hurry;
} fc_ahead;

/* fc_gemm's sums with pixels in the lanes: `pixels` neighbours, up to pixels_vectors vectors of them, against the weights
 * of some output channels, which are read where they are.
 *
 *     product k of pixel p and output channel o:  src[offsets[k] + p] * weights[o * weight_pitch + k]
 *
 * where offsets[k] is k * pitch if there are none: samples that need no look into a table are at hand sooner (5 % of
 * 1 x 1 kernels on 256 channels of 56 x 56). Writes
 *
 *     dst[o * dst_pitch + p] = bias[o] + the products in their order
 *
 * or what dst holds instead of the bias. Where the pixels do not fill a vector, a whole one of src and of dst is touched;
 * else nothing beyond the pixels is. */
typedef struct {
    const void *src;
    const ptrdiff_t *offsets;  /* or NULL */
    ptrdiff_t pitch;
    ptrdiff_t n_products;
    const void *weights;
    ptrdiff_t weight_pitch;
    const void *bias;  /* channels_out elements, or NULL for zero */
    int accumulate;    /* start from dst */
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t pixels, channels_out;  /* >= 1 */
    fc_ahead *ahead;                 /* made between the products, if there are no offsets; or NULL */
} fc_pixels_tile;

/* Another one sums few pixels, up to a quarter of a vector or one, with products in the lanes and in an order of its own.
 * It touches no others, starts from the bias, and makes nothing ahead. */
typedef void fc_pixels(const fc_pixels_tile *tile);

/* Weights of one input channel on their way to a panel: n taps of some output channels, of any strides and alignment.
 * Output channel j of tap t becomes panel[rows[t * step]][j], which is 0 for channels_out <= j < gemm_columns; taps whose
 * row is negative are left out. */
typedef struct {
    const char *weights;
    ptrdiff_t stride, tap_stride;  /* in bytes */
    ptrdiff_t channels_out, n;
    const ptrdiff_t *rows;
    ptrdiff_t step;                /* 1 or -1 */
} fc_taps;

typedef void fc_pack_taps(void *panel, const fc_taps *taps);

/* dst[r][i] = element i / phases of row r of phase i % phases, for r < rows and i < n: dst_pitch apart, and src_pitch
 * and phase_pitch. A vector behind the last element of a row of src may be read. */
typedef void fc_interleave(void *dst, ptrdiff_t dst_pitch, const void *src, ptrdiff_t phase_pitch, ptrdiff_t src_pitch,
                           ptrdiff_t phases, ptrdiff_t rows, ptrdiff_t n);

/* A depthwise convolution, lanes = channels. Vector v of them begins at channel c = first + v * lanes, the last vector at
 * channel `last`, and
 *
 *     dst[r][x] = bias[v] + sum over taps t, in this order, of samples[r * row_step + x * step + taps[t]][c] * weights[v][t]
 *
 * where samples holds addresses of channel 0, of any alignment, and dst is the place of channel `first`. If run is 3, 5
 * or 7, taps are in runs of so many whose entries in samples follow each other. Some outputs are computed twice.
 */
typedef struct {
    const char *const *samples;
    ptrdiff_t row_step, step;
    const ptrdiff_t *taps;
    ptrdiff_t n_taps, run;
    const void *weights;  /* [vector][tap][lanes], aligned to the vector */
    const void *bias;     /* [vector][lanes] */
    ptrdiff_t vectors, first, last;
    void *dst;
    ptrdiff_t dst_pixel_bytes, dst_row_bytes;
    ptrdiff_t height, width;  /* >= 1 */
} fc_depthwise_tile;

typedef void fc_depthwise(const fc_depthwise_tile *tile);

/* A transform along one axis: n complex points, split by radices of 2, 3, 4 or 5, level after level. For each block of
 * each level there are radix - 1 complex twiddles of the compute type: w, w^2, ... or, for radix 4, w^2, w, w^3. */
typedef struct {
    ptrdiff_t n, n_levels;
    const ptrdiff_t *radices;
    const void *twiddles;
} fc_fft_axis;

/* The transform of a tile. Points are vectors of real and vectors of imaginary parts, side by side. */
typedef struct {
    fc_fft_axis fold, middle;  /* vertical; fold.n * middle.n is a multiple of the lanes */
    fc_fft_axis across;        /* n is a multiple of the lanes */
    const void *twist;         /* one long row, cut into fold.n: its twiddles between the axes [group][across]; or NULL */
    int interleaved;           /* samples are complex; else real and folded, two rows in one */
} fc_fft;

typedef struct {
    const fc_fft *fft;
    const void *src;           /* a packed tile, or the input itself, in elements */
    ptrdiff_t src_fold_pitch, src_middle_pitch;
    void *strip;               /* fold.n * middle.n points */
    void *spectrum;            /* of each channel, in points [group][across] */
    const void *weights;       /* spectra in the same order */
    void *product;             /* may be the first spectrum */
    ptrdiff_t channels, channel_pitch, group_pitch;
    int rows_done;             /* spectra are whole; else only their vertical half */
    const void *bias;          /* one element, or NULL */
    /* Whole vectors of the rows from first to last, of both vertical axes, from column 0 on; the first such row is at
     * dst, aligned to the vector, and pitches are multiples of the lanes. Vectors without a column from first_column to
     * last_column are left out. */
    void *dst;
    ptrdiff_t dst_fold_pitch, dst_middle_pitch;
    ptrdiff_t first_fold, last_fold, first_middle, last_middle, first_column, last_column;
} fc_fft_tile;

/* The vertical half of a forward transform, of one channel; the other half; product, way back and store, which returns
 * whether all that was stored is finite. */
typedef void fc_fft_forward(const fc_fft_tile *tile);
typedef int fc_fft_back(const fc_fft_tile *tile);

/* Winograd's transforms of n tiles side by side, or of the weights of n channels; a tile is outputs x outputs results
 * (2, 4, 5 or 6), of (outputs + 2)^2 samples and as many frequencies. Vectors of channels are aligned to the vector.
 *
 *     input    src: samples [row: src_pitch][column][lanes], a tile `outputs` columns behind the one before
 *              dst: [frequency: dst_pitch][tile][lanes]
 *     weights  src: [channel][3][3][gemm_columns]
 *              dst: [frequency: dst_pitch][channel][gemm_columns]
 *     output   src: [tile: src_pitch][frequency][lanes]
 *              dst: results with the bias added, [row: dst_pitch][column][lanes], tiles side by side
 *
 * The output returns whether a result, before the bias, was not finite; the others return 0.
 */
typedef struct {
    ptrdiff_t outputs;
    const void *numbers;  /* of the points, as kernels/winograd.inc.h declares them */
    const void *src;
    ptrdiff_t src_pitch;
    void *dst;
    ptrdiff_t dst_pitch;
    ptrdiff_t n;
    const void *bias;     /* lanes elements, of the output */
} fc_winograd;

enum { FC_WINOGRAD_PAIRS = 3, FC_WINOGRAD_OUTPUTS = 6 };

typedef int fc_winograd_transform(const fc_winograd *step);

/* One frequency of a block of tiles against one panel of weights; sums are added up in memory after every `fold`
 * channels, a multiple of lanes, so that rounding errors grow with the square root of fewer terms.
 *
 *     tiles    [channels / lanes: block_pitch][row][lanes]
 *     weights  [channel][gemm_columns]
 *     dst      [gemm_columns / lanes: vector_pitch][row: row_pitch][lanes]
 */
typedef struct {
    const void *tiles;
    ptrdiff_t block_pitch;
    const void *weights;
    ptrdiff_t channels, fold;
    void *dst;
    ptrdiff_t row_pitch, vector_pitch;
    ptrdiff_t rows;
    int accumulate;  /* add to what dst holds */
    ptrdiff_t ahead; /* from weights to those of the next product, which are fetched meanwhile */
} fc_product;

typedef void fc_product_of(const fc_product *product);

/* n pixels of an array of any strides and any alignment to vectors of channels, [pixel][lanes], the lanes behind
 * `channels` zero; and back. Where pixel_stride is one element, `reach` elements from the first pixel of each channel
 * on may be touched: read, or written with anything. */
typedef void fc_gather_lanes(void *dst, const char *src, ptrdiff_t pixel_stride, ptrdiff_t channel_stride,
                             ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach);
typedef void fc_scatter_lanes(char *dst, ptrdiff_t pixel_stride, ptrdiff_t channel_stride, const void *src,
                              ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach);

/* dst[c * dst_pitch + r] = column c of row r of src, whose rows are row_stride_bytes apart and at any alignment. There
 * are `before` readable columns in front of those, in every row. */
typedef void fc_turn(void *dst, ptrdiff_t dst_pitch, const char *src, ptrdiff_t row_stride_bytes, ptrdiff_t rows,
                     ptrdiff_t columns, ptrdiff_t before);

/* Winograd's kernels of one type. */
typedef struct {
    fc_winograd_transform *input, *weights, *output;
    fc_product_of *product;
    fc_gather_lanes *gather;
    fc_scatter_lanes *scatter;
} fc_winograd_kernels;

/* Gradients of weights on one tile of positions: for each channel and tap, a row of the result,
 *
 *     products  dst[v][row][lane] += sum over positions (y, x) of sample * grad[v][position][lane], a lane being an output
 *               channel; [position] is y * width + x
 *     dots      dst[row], a vector whose lanes add up to the sum over positions of sample * grad[y][x], of one channel
 *
 *     sample    src[channel * channel_pitch + taps[tap] + y * src_pitch + x]
 *
 * Where width < lanes, dots may read rows of src and of grad up to a whole vector. */
typedef struct {
    const void *src;
    ptrdiff_t channels, channel_pitch;
    const ptrdiff_t *taps;
    ptrdiff_t n_taps;
    ptrdiff_t src_pitch;
    const void *grad;
    ptrdiff_t grad_pitch;     /* from one v, or one y, to the next */
    ptrdiff_t height, width;  /* >= 1 */
    void *dst;
    ptrdiff_t dst_pitch;      /* from one v to the next */
    ptrdiff_t vectors;        /* from 1 to those of fc_gradient_kernels */
    int accumulate;           /* add to what dst holds, else overwrite it */
    const void *const *ahead; /* n_ahead lines, which are fetched meanwhile */
    ptrdiff_t n_ahead;
} fc_gradient_tile;

typedef void fc_gradient(const fc_gradient_tile *tile);

/* dst[i] = the sum of all lanes of src[i][lanes], for i < n. */
typedef void fc_gradient_totals(void *dst, const void *src, ptrdiff_t n);

/* The kernels of gradients of one type. */
typedef struct {
    fc_gradient *products, *dots;
    fc_gradient_totals *totals;
    ptrdiff_t vectors;  /* most of a panel of products */
    ptrdiff_t rows;     /* in registers at once, of such a panel */
} fc_gradient_kernels;
typedef enum {
    FC_IDENTITY, FC_RELU, FC_RELU6, FC_LEAKY_RELU, FC_SIGMOID, FC_SILU, FC_GELU, FC_HARDSWISH, FC_TANH
} fc_activation;

/* values[r][i] = activation(values[r][i] * scale + bias + residual[r][i]) for i < n, in place. Scale and bias are one
 * element, or n of them along the row; each of the three may be NULL. */
typedef struct {
    void *values;
    ptrdiff_t pitch;
    ptrdiff_t rows, n;
    const void *scale, *bias;
    int along_row;
    const void *residual;
    ptrdiff_t residual_pitch;
    fc_activation activation;
    double slope;  /* of FC_LEAKY_RELU below zero */
} fc_epilogue_tile;

typedef void fc_epilogue(const fc_epilogue_tile *tile);

/* Products of bytes: unsigned samples times signed weights, summed modulo 2^32 for FC_INT8_COLUMNS output channels. A
 * strip is `pixels` neighbours of a packed tile; a run is neighbouring bytes of it that meet neighbouring weights.
 *
 *     packed tile   [row][column][channel]
 *     strip         pixel r at src (of the second strip: second) + r * pixel_pitch
 *     weights       [run][quad][FC_INT8_COLUMNS][4], zeros behind the bytes of a run
 *     sums          [strip][pixel][FC_INT8_COLUMNS]
 *
 * All of `quads` * 4 bytes of each run are read. Weights and sums are aligned to 64 bytes. */
enum { FC_INT8_COLUMNS = 32 };

typedef struct {
    const uint8_t *src, *second;
    ptrdiff_t strips; /* 1 or 2 */
    ptrdiff_t pixels; /* 1 to int8_pixels */
    ptrdiff_t pixel_pitch;
    const ptrdiff_t *runs; /* the first byte of each, from src or second on */
    ptrdiff_t n_runs;
    ptrdiff_t quads; /* of a run, a multiple of chunk */
    ptrdiff_t chunk; /* 1 to int8_chunk, as it was begun with */
    const int8_t *weights;
    int32_t *sums;
} fc_int8_tile;

typedef void fc_int8(const fc_int8_tile *tile);

/* What a thread calls before the first of such tiles, which all have these sizes, and behind the last. */
typedef void fc_int8_begin(ptrdiff_t pixels, ptrdiff_t chunk);
typedef void fc_int8_end(void);

/* n pixels of an array of any strides to [pixel: pixel_pitch][channel], each byte XOR flip. */
typedef void fc_gather_bytes(uint8_t *dst, ptrdiff_t pixel_pitch, const uint8_t *src, ptrdiff_t pixel_stride,
                             ptrdiff_t channel_stride, ptrdiff_t channels, ptrdiff_t n, uint8_t flip);

/* n weights of one output channel, each XOR flip, from byte `position` of a run on; returns their sum. `column` is that
 * channel's first quad of the run. */
typedef int32_t fc_pack_quads(int8_t *column, ptrdiff_t position, const uint8_t *src, ptrdiff_t stride, ptrdiff_t n,
                              uint8_t flip);

/* What becomes of the sums of a strip, modulo 2^32: sums + base - windows * w_zero. To make bytes of that: times scale,
 * from low to high, rounded half to even, plus zero. Results are bytes, or integers of 32 bits:
 *
 *     channels first    [channel: channel_stride bytes][pixel], and with any results behind the last pixel 16 whole
 *                       bytes or a multiple of them
 *     channels last     [pixel: pixel_stride bytes][channel]
 *
 * Sums and windows of up to 15 pixels behind the last one are read. */
typedef struct {
    const int32_t *sums;          /* [pixel][FC_INT8_COLUMNS] */
    const int32_t *windows;       /* as sums, of the samples alone; or NULL */
    const int32_t *base, *w_zero; /* FC_INT8_COLUMNS each, as scale; aligned to 64 bytes */
    const float *scale;
    float low, high;              /* at most 2^10 away from 0 */
    int zero;
    void *dst;                    /* the first channel of the first pixel, at any alignment */
    ptrdiff_t pixel_stride, channel_stride;
    ptrdiff_t pixels, channels;   /* channels <= FC_INT8_COLUMNS */
} fc_int8_store;

typedef void fc_store_int8(const fc_int8_store *store);

/* Runs `rounds` rounds of independent multiply-adds in registers; returns the floating point operations done. */
typedef double fc_fma_chain(ptrdiff_t rounds);

typedef struct {
    const char *name;
    int (*supported)(void);
    ptrdiff_t vector_bytes;
    ptrdiff_t direct_rows;     /* register tile of the direct kernels */
    ptrdiff_t direct_vectors;  /* for real types; half as many for complex ones */
    ptrdiff_t gemm_pixels;     /* register tile of the GEMM kernels */
    ptrdiff_t gemm_vectors;
    ptrdiff_t pixels_rows;     /* register tile with pixels in the lanes: output channels x vectors of pixels */
    ptrdiff_t pixels_vectors;
    fc_load_rows *load_rows[FC_STORAGE_KINDS];
    fc_store_rows *store_rows[FC_STORAGE_KINDS];
    fc_direct *direct[FC_COMPUTE_TYPES];
    fc_fold *fold;
    fc_cut *cut;
    fc_mirror *mirror[2];          /* FC_F32, FC_F64 */
    fc_sum *sum[3];                /* FC_F32, FC_F64, FC_U16 */
    fc_gemm *gemm[2];              /* FC_F32, FC_F64 */
    fc_pack_panel *pack_panel[2];  /* FC_F32, FC_F64 */
    fc_pixels *pixels[2];          /* FC_F32, FC_F64 */
    fc_pixels *pixel[2];           /* FC_F32, FC_F64 */
    fc_unroll_pixels *unroll[2];   /* FC_F32, FC_F64 */
    fc_turn *turn[2];              /* of 4 and of 8 bytes */
    fc_pack_taps *pack_taps[2];    /* FC_F32, FC_F64 */
    fc_interleave *interleave[2];  /* FC_F32, FC_F64 */
    fc_depthwise *depthwise[2];    /* FC_F32, FC_F64 */
    fc_fft_forward *fft_columns[2], *fft_rows[2];  /* of float and of double parts */
    fc_fft_back *fft_back[2];
    fc_winograd_kernels winograd[2]; /* FC_F32, FC_F64 */
    fc_gradient_kernels gradient[2]; /* FC_F32, FC_F64 */
    fc_epilogue *epilogue[2];        /* FC_F32, FC_F64 */
    fc_fma_chain *fma_chain[2];    /* FC_F32, FC_F64 */
    ptrdiff_t int8_pixels;         /* register tile of the kernel for bytes */
    ptrdiff_t int8_chunk;
    fc_int8_begin *int8_begin;
    fc_int8_end *int8_end;
    fc_int8 *int8;
    fc_gather_bytes *gather_bytes;
    fc_pack_quads *pack_quads;
    fc_store_int8 *store_requantised, *store_requantised_last, *store_sums;
} fc_level;

/* Every level this library was compiled with, the best first, NULL behind the last. */
extern const fc_level *const fc_levels[];

/* A pool of aligned scratch blocks, kept between calls: a fresh block costs a page fault every 4 KiB. */
void *fc_scratch_take(size_t bytes); /* NULL when memory fails */
void fc_scratch_give(void *block);

#endif
