/* Kernels that sum products: each result is a loop over its terms. */
#include <math.h>

#include "fuzz.h"

static kind any_real(void) { return once_in(2) ? F32 : F64; }

/* A width, and how many columns may be touched for it. */
static ptrdiff_t pick_width(ptrdiff_t lanes, int slack) {
    const ptrdiff_t most = once_in(12) ? 20 * lanes : 5 * lanes;
    return slack ? pick(1, most) : lanes + pick(0, most);
}

static ptrdiff_t touched(ptrdiff_t width, ptrdiff_t lanes, int slack) { return slack ? round_up(width, lanes) : width; }

/* --- direct ------------------------------------------------------------------------------------------------------- */

static void pick_columns(ptrdiff_t *columns, ptrdiff_t n, int neighbours) {
    columns[0] = pick(0, 3);
    for (ptrdiff_t j = 1; j < n; j++)
        columns[j] = columns[j - 1] + (neighbours ? 1 : pick(1, 4));
}

static void check_direct(const fc_direct_tile *t, kind k) {
    for (ptrdiff_t r = 0; r < t->height; r++) {
        for (ptrdiff_t x = 0; x < t->width; x++) {
            number sum = t->bias ? get(t->bias, k, 0) : zero();
            for (ptrdiff_t p = 0; p < t->n_planes; p++) {
                const fc_plane plane = t->planes[p];
                for (ptrdiff_t i = 0; i < plane.rows; i++)
                    for (ptrdiff_t j = 0; j < t->n_columns; j++)
                        sum = plus_product(
                            sum, get(t->src, k, plane.src + (r + i) * t->src_pitch + x + t->columns[j]),
                            get(t->weights, k, plane.weights + i * t->n_columns + j));
            }
            expect(t->dst, k, r * t->dst_pitch + x, sum);
        }
    }
}

static void fuzz_direct(const fc_level *level) {
    static const kind kinds[FC_COMPUTE_TYPES] = {F32, F64, C64, C128, U16, U32, U64, F64};
    const ptrdiff_t type = pick(0, FC_COMPUTE_TYPES - 1);
    const kind k = kinds[type];
    const ptrdiff_t lanes = level->vector_bytes / size_of[k];
    const int line = once_in(4), three = !line && once_in(4);
    fc_direct_tile t = {.slack = (int)pick(0, 1), .in_order = (int)pick(0, 1)};
    t.width = pick_width(lanes, t.slack);
    t.height = line ? pick(1, 3) : pick(1, 9);
    t.n_planes = line || three ? 1 : pick(1, 3);
    t.n_columns = three ? 3 : line ? pick(2, once_in(8) ? 150 : 20) : pick(1, 4);
    ptrdiff_t *columns = table(t.n_columns);
    pick_columns(columns, t.n_columns, line || three || once_in(2));
    t.columns = columns;
    const ptrdiff_t wide = touched(t.width, lanes, t.slack);
    t.src_pitch = once_in(4) ? pick(1, 9) : columns[t.n_columns - 1] + wide + pick(0, 5);
    fc_plane *planes = fenced(t.n_planes * (ptrdiff_t)sizeof(fc_plane), sizeof(ptrdiff_t));
    ptrdiff_t weights = 0, reach = 0;
    for (ptrdiff_t p = 0; p < t.n_planes; p++) {
        planes[p] = (fc_plane){pick(0, 40), weights, three ? 3 : line ? 1 : pick(1, 6)};
        weights += planes[p].rows * t.n_columns;
        const ptrdiff_t rows = t.height + planes[p].rows - 2;
        reach = larger(reach, planes[p].src + rows * t.src_pitch + columns[t.n_columns - 1] + wide);
    }
    t.planes = planes;
    const ptrdiff_t item = k == C64 ? 4 : k == C128 ? 8 : size_of[k];
    t.src = operand(k, reach, item);
    t.weights = operand(k, weights, item);
    t.bias = once_in(2) ? operand(k, 1, item) : NULL;
    t.dst_pitch = wide + pick(0, 3);
    t.dst = fenced(((t.height - 1) * t.dst_pitch + wide) * size_of[k], item);
    calling("direct");
    level->direct[type](&t);
    check_direct(&t, k);
}

/* --- passes along one axis ---------------------------------------------------------------------------------------- */

typedef struct {
    ptrdiff_t pitch, step, taps, height, width, wide;
    int slack, symmetry;
} pass;

static pass pick_pass(ptrdiff_t lanes, int down, int symmetry) {
    pass p = {.slack = (int)pick(0, 1), .symmetry = symmetry};
    p.height = pick(1, 9);
    p.width = pick_width(lanes, p.slack);
    p.wide = touched(p.width, lanes, p.slack);
    p.taps = symmetry ? 2 * pick(0, once_in(6) ? 60 : 8) + 1 : pick(1, 12);
    p.pitch = p.wide + pick(0, 20);
    p.step = down ? p.pitch : pick(1, 5);
    return p;
}

static void check_pass(const pass *p, kind k, const void *src, const void *weights, const void *dst, ptrdiff_t pitch) {
    for (ptrdiff_t r = 0; r < p->height; r++) {
        for (ptrdiff_t x = 0; x < p->width; x++) {
            number sum = zero();
            for (ptrdiff_t j = 0; j < p->taps; j++)
                sum = plus_product(sum, get(src, k, r * p->pitch + x + j * p->step), get(weights, k, j));
            expect(dst, k, r * pitch + x, sum);
        }
    }
}

/* Weights that are equal, or opposite, to their mirror image. */
static void *pass_weights(const pass *p, kind k) {
    void *weights = operand(k, p->taps, size_of[k]);
    for (ptrdiff_t j = 0; p->symmetry && j < p->taps / 2; j++)
        put(weights, k, p->taps - 1 - j, p->symmetry * get(weights, k, j).re);
    if (p->symmetry < 0)
        put(weights, k, p->taps / 2, 0);
    return weights;
}

static ptrdiff_t pass_reach(const pass *p) {
    return (p->height - 1) * p->pitch + (p->taps - 1) * p->step + p->wide;
}

static void fuzz_fold(const fc_level *level) {
    const pass p = pick_pass(level->vector_bytes / 8, once_in(2), (int)pick(-1, 1));
    const ptrdiff_t dst_pitch = p.wide + pick(0, 3);
    const double *src = operand(F64, pass_reach(&p), 8), *weights = pass_weights(&p, F64);
    double *dst = fenced(((p.height - 1) * dst_pitch + p.wide) * 8, 8);
    const fc_fold_tile t = {src, p.pitch, p.step, weights, p.taps, p.symmetry, dst, dst_pitch, p.height, p.width, p.slack,
                            NULL, 0};
    calling("fold");
    level->fold(&t);
    check_pass(&p, F64, src, weights, dst, dst_pitch);
}

/* Of fractions: every operation is rounded, in the order of the contract. */
static double folded(const pass *p, const float *src, const double *weights, ptrdiff_t at) {
    const ptrdiff_t last = p->taps - 1, middle = p->symmetry ? last / 2 : last;
    volatile double sum = src[at + middle * p->step] * weights[middle];
    for (ptrdiff_t j = 0; j < middle; j++) {
        const double behind = p->symmetry * (double)src[at + (last - j) * p->step];
        volatile double product = (src[at + j * p->step] + behind) * weights[j];
        sum = sum + product;
    }
    return sum;
}

static void fuzz_cut(const fc_level *level) {
    const pass p = pick_pass(level->vector_bytes / 4, once_in(2), (int)pick(-1, 1));
    const ptrdiff_t dst_pitch = p.wide + pick(0, 3), reach = pass_reach(&p);
    float *src = operand(F32, reach, 4), *short_weights = fenced(p.taps * 4, 4);
    double *weights = pass_weights(&p, F64);
    float *dst = fenced(((p.height - 1) * dst_pitch + p.wide) * 4, 4);
    /* Often of one value, where a sum is as near to a whole number as rounding leaves it. */
    const int flat = once_in(2);
    const double divisor = (double)pick(1, 9);
    double total = 0;
    for (ptrdiff_t i = 0; i < reach; i++)
        src[i] = flat && !once_in(20) ? 255 : src[i] * 36;
    for (ptrdiff_t j = 0; j < p.taps; j++) {
        weights[j] /= divisor;
        short_weights[j] = (float)weights[j];
        total += fabs(weights[j]);
    }
    const float doubt = (float)((double)(p.taps + 3) * 0x1p-24 * 256 * total);
    const fc_fold_tile t = {src, p.pitch, p.step, weights, p.taps, p.symmetry, dst, dst_pitch, p.height, p.width, p.slack,
                            short_weights, doubt};
    calling("cut");
    level->cut(&t);
    for (ptrdiff_t r = 0; r < p.height; r++) {
        for (ptrdiff_t x = 0; x < p.width; x++) {
            const number wanted = {trunc(folded(&p, src, weights, r * p.pitch + x)), 0, 0};
            expect(dst, F32, r * dst_pitch + x, wanted);
        }
    }
}

static void fuzz_mirror(const fc_level *level) {
    const kind k = any_real();
    const int down = once_in(2);
    const pass p = pick_pass(level->vector_bytes / size_of[k], down, once_in(2) ? 1 : -1);
    const ptrdiff_t dst_pitch = p.wide + pick(0, 3);
    const void *src = operand(k, pass_reach(&p), size_of[k]), *weights = pass_weights(&p, k);
    void *dst = fenced(((p.height - 1) * dst_pitch + p.wide) * size_of[k], size_of[k]);
    const fc_mirror_tile t = {src, p.pitch, p.step, down, weights, p.taps, p.symmetry, once_in(2),
                              dst, dst_pitch, p.height, p.width, p.slack};
    calling("mirror");
    level->mirror[k](&t);
    check_pass(&p, k, src, weights, dst, dst_pitch);
}

static void fuzz_sum(const fc_level *level) {
    enum { MOST = 6 };
    const kind k = once_in(3) ? U16 : any_real();
    const ptrdiff_t lanes = level->vector_bytes / size_of[k], n = pick(1, MOST);
    fc_sum_tile t = {.n_terms = n, .slack = (int)pick(0, 1), .height = pick(1, 5)};
    t.divisor = once_in(2) ? 1 : (double)(k == U16 ? pick(2, FC_MOST_DIVISOR) : pick(2, 200));
    /* Of the mean of integers, so that their sum is no more than 255 times the divisor. */
    const uint16_t most = t.divisor == 1 ? UINT16_MAX : (uint16_t)(255 * t.divisor / (double)n);
    t.width = pick_width(lanes, t.slack);
    const ptrdiff_t wide = touched(t.width, lanes, t.slack);
    const void **terms = fenced(n * (ptrdiff_t)sizeof(void *), sizeof(void *));
    ptrdiff_t *pitches = table(n);
    for (ptrdiff_t i = 0; i < n; i++) {
        pitches[i] = once_in(3) ? 0 : wide + pick(0, 4);
        const ptrdiff_t size = (t.height - 1) * pitches[i] + wide;
        void *term = operand(k, size, size_of[k]);
        for (ptrdiff_t at = 0; k == U16 && at < size; at++)
            ((uint16_t *)term)[at] %= most + 1;
        terms[i] = term;
    }
    t.terms = terms;
    t.pitches = pitches;
    t.dst_pitch = wide + pick(0, 3);
    t.dst = fenced(((t.height - 1) * t.dst_pitch + wide) * size_of[k], size_of[k]);
    calling("sum");
    level->sum[k == U16 ? 2 : k](&t);
    for (ptrdiff_t r = 0; r < t.height; r++) {
        for (ptrdiff_t x = 0; x < t.width; x++) {
            number sum = zero();
            for (ptrdiff_t i = 0; i < n; i++) {
                const number term = get(terms[i], k, r * pitches[i] + x);
                sum.re += term.re;
                sum.whole += term.whole;
            }
            sum.whole /= (uint64_t)t.divisor;
            sum.re = k == F32 ? (double)((float)sum.re / (float)t.divisor) : sum.re / t.divisor;
            expect(t.dst, k, r * t.dst_pitch + x, sum);
        }
    }
}

/* --- matrix products ---------------------------------------------------------------------------------------------- */

/* Offsets in any order, and the largest of them. */
static ptrdiff_t pick_offsets(ptrdiff_t *offsets, ptrdiff_t n, ptrdiff_t most) {
    ptrdiff_t last = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        offsets[i] = pick(0, most);
        last = larger(last, offsets[i]);
    }
    return last;
}

static void fuzz_gemm(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], columns = level->gemm_vectors * level->vector_bytes / item;
    fc_gemm_tile t = {.channels = pick(1, 4), .n_taps = pick(1, 5), .pixels = pick(1, level->gemm_pixels)};
    t.channels_out = once_in(3) ? columns : pick(1, columns);
    t.gap = once_in(2) ? 0 : pick(0, 30);
    ptrdiff_t *taps = table(t.n_taps);
    const ptrdiff_t last = pick_offsets(taps, t.n_taps, 20);
    t.taps = taps;
    t.channel_pitch = pick(0, 60);
    t.src = operand(k, (t.channels - 1) * t.channel_pitch + last + t.pixels + (t.pixels > 1 ? t.gap : 0), item);
    t.weights = operand(k, t.channels * t.n_taps * columns, level->vector_bytes);
    t.bias = operand(k, columns, level->vector_bytes);
    t.writable = t.pixels + pick(0, 20);
    t.ahead = pick(0, 1000);
    const ptrdiff_t way = pick(0, 2);
    t.pixel_pitch = way == 0 ? 1 : way == 1 ? larger(t.channels_out + pick(0, 3), 2) : pick(2, 4);
    t.channel_out_pitch = way == 0 ? t.writable + pick(0, 5) : way == 1 ? 1 : t.pixel_pitch * t.pixels + pick(0, 3);
    const ptrdiff_t written = way == 0 ? t.writable : (t.pixels - 1) * t.pixel_pitch + 1;
    t.dst = fenced(((t.channels_out - 1) * t.channel_out_pitch + written) * item, item);
    calling("gemm");
    level->gemm[k](&t);
    for (ptrdiff_t r = 0; r < t.pixels; r++) {
        const ptrdiff_t at = r < (t.pixels + 1) / 2 ? r : r + t.gap;
        for (ptrdiff_t o = 0; o < t.channels_out; o++) {
            number sum = get(t.bias, k, o);
            for (ptrdiff_t c = 0; c < t.channels; c++)
                for (ptrdiff_t i = 0; i < t.n_taps; i++)
                    sum = plus_product(sum, get(t.src, k, c * t.channel_pitch + taps[i] + at),
                                       get(t.weights, k, (c * t.n_taps + i) * columns + o));
            expect(t.dst, k, r * t.pixel_pitch + o * t.channel_out_pitch, sum);
        }
    }
}

/* Where products find their samples: anywhere, or a pitch apart. */
static const ptrdiff_t *pick_places(fc_pixels_tile *t, ptrdiff_t most) {
    ptrdiff_t *offsets = table(t->n_products);
    pick_offsets(offsets, t->n_products, most);
    t->offsets = offsets;
    if (once_in(2)) {
        t->offsets = NULL;
        t->pitch = pick(0, most);
        for (ptrdiff_t i = 0; i < t->n_products; i++)
            offsets[i] = i * t->pitch;
    }
    return offsets;
}

static ptrdiff_t farthest(const ptrdiff_t *offsets, ptrdiff_t n) {
    ptrdiff_t last = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        last = larger(last, offsets[i]);
    return last;
}

typedef struct {
    void *dst;
    char *wanted;
    ptrdiff_t bytes;
} ahead_work;

/* Moves that write to places of their own, some of which may be made already. */
static ahead_work pick_ahead(kind k, fc_ahead *ahead, ptrdiff_t lanes, ptrdiff_t vector_bytes) {
    const ptrdiff_t item = size_of[k], moves = pick(1, 5), products = pick(1, 30), pitch = pick(0, 90);
    fc_move *move = fenced(moves * (ptrdiff_t)sizeof(fc_move), sizeof(ptrdiff_t));
    ptrdiff_t *offsets = table(products + FC_FAR);
    for (ptrdiff_t i = 0; i < products + FC_FAR; i++)
        offsets[i] = i * pitch;
    for (ptrdiff_t i = 0; i < moves; i++)
        move[i] = (fc_move){pick(0, 60), i * lanes};
    const void *src = operand(k, (products - 1) * pitch + 60 + lanes, item);
    ahead_work work = {.bytes = products * moves * vector_bytes};
    work.dst = fenced(work.bytes, item), work.wanted = fenced(work.bytes, item);
    for (ptrdiff_t i = 0; i < products; i++)
        for (ptrdiff_t m = 0; m < moves; m++)
            memcpy(work.wanted + (i * moves + m) * vector_bytes, (const char *)src + (offsets[i] + move[m].from) * item,
                   (size_t)vector_bytes);
    *ahead = (fc_ahead){{src, offsets, products, move, moves, work.dst, moves * lanes}, 0, (int)pick(0, 1)};
    return work;
}

static void fuzz_pixels(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    fc_pixels_tile t = {.n_products = pick(1, 12), .accumulate = (int)pick(0, 1), .channels_out = pick(1, 20)};
    t.pixels = pick(1, level->pixels_vectors * lanes);
    const ptrdiff_t wide = larger(t.pixels, lanes);
    const ptrdiff_t *offsets = pick_places(&t, 80);
    t.src = operand(k, farthest(offsets, t.n_products) + wide, item);
    t.weight_pitch = t.n_products + pick(0, 4);
    t.weights = operand(k, (t.channels_out - 1) * t.weight_pitch + t.n_products, item);
    t.bias = once_in(2) ? operand(k, t.channels_out, item) : NULL;
    t.dst_pitch = wide + pick(0, 3);
    const ptrdiff_t size = (t.channels_out - 1) * t.dst_pitch + wide;
    t.dst = t.accumulate ? operand(k, size, item) : fenced(size * item, item);
    void *before = fenced(size * item, item);
    memcpy(before, t.dst, (size_t)(size * item));
    fc_ahead ahead;
    ahead_work work;
    if (!t.offsets && once_in(2)) {
        t.ahead = &ahead;
        work = pick_ahead(k, &ahead, lanes, level->vector_bytes);
    }
    calling("pixels");
    level->pixels[k](&t);
    if (t.ahead) {
        /* What is left is made at once. */
        if (ahead.step.n_products > 0)
            level->unroll[k](&ahead.step);
        expect_bytes(work.dst, work.wanted, work.bytes);
    }
    for (ptrdiff_t o = 0; o < t.channels_out; o++) {
        for (ptrdiff_t p = 0; p < t.pixels; p++) {
            number sum = t.accumulate ? get(before, k, o * t.dst_pitch + p) : t.bias ? get(t.bias, k, o) : zero();
            for (ptrdiff_t i = 0; i < t.n_products; i++)
                sum = plus_product(sum, get(t.src, k, offsets[i] + p), get(t.weights, k, o * t.weight_pitch + i));
            expect(t.dst, k, o * t.dst_pitch + p, sum);
        }
    }
}

static void fuzz_pixel(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    fc_pixels_tile t = {.n_products = once_in(9) ? pick(1, 2000) : pick(1, 40), .channels_out = pick(1, 20)};
    t.pixels = pick(1, lanes > 4 ? lanes / 4 : 1);
    const ptrdiff_t *offsets = pick_places(&t, 80);
    t.src = operand(k, farthest(offsets, t.n_products) + t.pixels, item);
    t.weight_pitch = t.n_products + pick(0, 4);
    t.weights = operand(k, (t.channels_out - 1) * t.weight_pitch + t.n_products, item);
    t.bias = once_in(2) ? operand(k, t.channels_out, item) : NULL;
    t.dst_pitch = t.pixels + pick(0, 5);
    t.dst = fenced(((t.channels_out - 1) * t.dst_pitch + t.pixels) * item, item);
    calling("pixel");
    level->pixel[k](&t);
    for (ptrdiff_t o = 0; o < t.channels_out; o++) {
        for (ptrdiff_t p = 0; p < t.pixels; p++) {
            number sum = t.bias ? get(t.bias, k, o) : zero();
            for (ptrdiff_t i = 0; i < t.n_products; i++)
                sum = plus_product(sum, get(t.src, k, offsets[i] + p), get(t.weights, k, o * t.weight_pitch + i));
            expect(t.dst, k, o * t.dst_pitch + p, sum);
        }
    }
}

static void fuzz_product(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item, columns = level->gemm_vectors * lanes;
    fc_product p = {.channels = pick(1, 3 * lanes), .fold = lanes * pick(1, 3), .rows = pick(1, 40)};
    p.accumulate = (int)pick(0, 1);
    p.ahead = pick(0, 500);
    p.block_pitch = p.rows * lanes + pick(0, 2) * lanes;
    const ptrdiff_t channel_blocks = round_up(p.channels, lanes) / lanes;
    p.tiles = operand(k, (channel_blocks - 1) * p.block_pitch + p.rows * lanes, level->vector_bytes);
    p.weights = operand(k, p.channels * columns, level->vector_bytes);
    p.row_pitch = lanes * pick(1, 3);
    p.vector_pitch = p.rows * p.row_pitch + lanes * pick(0, 2);
    const ptrdiff_t size = (level->gemm_vectors - 1) * p.vector_pitch + (p.rows - 1) * p.row_pitch + lanes;
    p.dst = operand(k, size, level->vector_bytes);
    void *before = fenced(size * item, item);
    memcpy(before, p.dst, (size_t)(size * item));
    calling("winograd.product");
    level->winograd[k].product(&p);
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        for (ptrdiff_t o = 0; o < columns; o++) {
            const ptrdiff_t at = o / lanes * p.vector_pitch + r * p.row_pitch + o % lanes;
            number sum = p.accumulate ? get(before, k, at) : zero();
            for (ptrdiff_t c = 0; c < p.channels; c++)
                sum = plus_product(sum, get(p.tiles, k, c / lanes * p.block_pitch + r * lanes + c % lanes),
                                   get(p.weights, k, c * columns + o));
            expect(p.dst, k, at, sum);
        }
    }
}

/* --- depthwise ---------------------------------------------------------------------------------------------------- */

static void fuzz_depthwise(const fc_level *level) {
    static const ptrdiff_t runs[] = {0, 3, 3, 5, 7};
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    fc_depthwise_tile t = {.run = runs[pick(0, 4)], .step = pick(1, 3), .height = pick(1, 4), .width = pick(1, 33)};
    t.n_taps = t.run ? t.run * pick(1, 4) : pick(1, 10);
    t.vectors = pick(1, 3);
    const ptrdiff_t channels = (t.vectors - 1) * lanes + pick(1, lanes);
    t.first = channels < lanes ? 0 : pick(0, 5);
    t.last = larger(t.first + channels - lanes, t.first);
    const ptrdiff_t stored = t.last - t.first + lanes, held = t.last + lanes;
    ptrdiff_t *taps = table(t.n_taps), reach = 0;
    for (ptrdiff_t i = 0; i < t.n_taps; i++) {
        taps[i] = t.run && i % t.run ? taps[i - 1] + 1 : pick(0, 12);
        reach = larger(reach, taps[i]);
    }
    t.taps = taps;
    t.row_step = pick(0, 50);
    const ptrdiff_t entries = (t.height - 1) * t.row_step + (t.width - 1) * t.step + reach + 1;
    /* Few arrays, which many entries of the table share. */
    const char *pixels[3];
    for (int i = 0; i < 3; i++)
        pixels[i] = operand(k, held, 1);
    const char **samples = fenced(entries * (ptrdiff_t)sizeof(char *), sizeof(char *));
    for (ptrdiff_t i = 0; i < entries; i++)
        samples[i] = pixels[random_bits() % 3];
    t.samples = samples;
    t.weights = operand(k, t.vectors * t.n_taps * lanes, level->vector_bytes);
    t.bias = operand(k, t.vectors * lanes, level->vector_bytes);
    t.dst_pixel_bytes = stored * item + pick(0, 9);
    t.dst_row_bytes = t.width * t.dst_pixel_bytes + pick(0, 9);
    char *dst = fenced((t.height - 1) * t.dst_row_bytes + (t.width - 1) * t.dst_pixel_bytes + stored * item, 1);
    t.dst = dst;
    calling("depthwise");
    level->depthwise[k](&t);
    for (ptrdiff_t r = 0; r < t.height; r++) {
        for (ptrdiff_t x = 0; x < t.width; x++) {
            /* What two vectors share, the last one has. */
            for (ptrdiff_t c = 0; c < stored; c++) {
                const ptrdiff_t from_last = c + t.first - t.last;
                const ptrdiff_t v = from_last >= 0 ? t.vectors - 1 : c / lanes;
                const ptrdiff_t lane = from_last >= 0 ? from_last : c % lanes;
                number sum = get(t.bias, k, v * lanes + lane);
                for (ptrdiff_t i = 0; i < t.n_taps; i++)
                    sum = plus_product(sum, get(samples[r * t.row_step + x * t.step + taps[i]], k, t.first + c),
                                       get(t.weights, k, (v * t.n_taps + i) * lanes + lane));
                expect(dst + r * t.dst_row_bytes + x * t.dst_pixel_bytes, k, c, sum);
            }
        }
    }
}

/* --- gradients ---------------------------------------------------------------------------------------------------- */

static number gradient_of(const fc_gradient_tile *t, kind k, ptrdiff_t row, const void *grad, ptrdiff_t lane,
                          ptrdiff_t pixel_pitch, ptrdiff_t row_pitch) {
    const ptrdiff_t channel = row / t->n_taps, tap = row % t->n_taps;
    number sum = zero();
    for (ptrdiff_t y = 0; y < t->height; y++)
        for (ptrdiff_t x = 0; x < t->width; x++)
            sum = plus_product(
                sum, get(t->src, k, channel * t->channel_pitch + t->taps[tap] + y * t->src_pitch + x),
                get(grad, k, y * row_pitch + x * pixel_pitch + lane));
    return sum;
}

static void fuzz_gradient(const fc_level *level) {
    const kind k = any_real();
    const int dots = once_in(2);
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    fc_gradient_tile t = {.channels = pick(1, 4), .n_taps = pick(1, 6), .height = pick(1, 4), .width = pick(1, 50)};
    t.vectors = dots ? 1 : pick(1, level->gradient[k].vectors);
    t.accumulate = (int)pick(0, 1);
    const ptrdiff_t wide = dots ? larger(t.width, lanes) : t.width, rows = t.channels * t.n_taps;
    ptrdiff_t *taps = table(t.n_taps);
    const ptrdiff_t last = pick_offsets(taps, t.n_taps, 20);
    t.taps = taps;
    t.src_pitch = wide + pick(0, 4);
    t.channel_pitch = pick(0, 80);
    t.src = operand(k, (t.channels - 1) * t.channel_pitch + last + (t.height - 1) * t.src_pitch + wide, item);
    t.grad_pitch = dots ? wide + pick(0, 4) : t.height * t.width * lanes + lanes * pick(0, 2);
    const ptrdiff_t grads = dots ? (t.height - 1) * t.grad_pitch + wide
                                 : (t.vectors - 1) * t.grad_pitch + t.height * t.width * lanes;
    t.grad = operand(k, grads, dots ? item : level->vector_bytes);
    t.dst_pitch = rows * lanes + lanes * pick(0, 2);
    const ptrdiff_t size = (t.vectors - 1) * t.dst_pitch + rows * lanes;
    t.dst = operand(k, size, level->vector_bytes);
    void *before = fenced(size * item, item);
    memcpy(before, t.dst, (size_t)(size * item));
    t.n_ahead = pick(0, 9);
    const void **ahead = fenced(t.n_ahead * (ptrdiff_t)sizeof(void *), sizeof(void *));
    for (ptrdiff_t i = 0; i < t.n_ahead; i++)
        ahead[i] = t.src;
    t.ahead = ahead;
    calling(dots ? "gradient.dots" : "gradient.products");
    (dots ? level->gradient[k].dots : level->gradient[k].products)(&t);
    for (ptrdiff_t row = 0; row < rows; row++) {
        if (dots) {
            number total = zero(), sum = gradient_of(&t, k, row, t.grad, 0, 1, t.grad_pitch);
            for (ptrdiff_t lane = 0; lane < lanes; lane++) {
                total.re += get(t.dst, k, row * lanes + lane).re;
                sum.re += t.accumulate ? get(before, k, row * lanes + lane).re : 0;
            }
            expect_true(total.re == sum.re, "a wrong sum of lanes");
            continue;
        }
        for (ptrdiff_t v = 0; v < t.vectors; v++) {
            const char *grad = (const char *)t.grad + v * t.grad_pitch * item;
            for (ptrdiff_t lane = 0; lane < lanes; lane++) {
                const ptrdiff_t at = v * t.dst_pitch + row * lanes + lane;
                number sum = gradient_of(&t, k, row, grad, lane, lanes, t.width * lanes);
                sum.re += t.accumulate ? get(before, k, at).re : 0;
                expect(t.dst, k, at, sum);
            }
        }
    }
}

static void fuzz_totals(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item, n = pick(1, 20);
    const void *src = operand(k, n * lanes, item);
    void *dst = fenced(n * item, item);
    calling("gradient.totals");
    level->gradient[k].totals(dst, src, n);
    for (ptrdiff_t i = 0; i < n; i++) {
        number sum = zero();
        for (ptrdiff_t lane = 0; lane < lanes; lane++)
            sum.re += get(src, k, i * lanes + lane).re;
        expect(dst, k, i, sum);
    }
}

const fuzz_case sum_cases[] = {
    {"direct", fuzz_direct, 30},   {"fold", fuzz_fold, 5},       {"cut", fuzz_cut, 12},
    {"mirror", fuzz_mirror, 12},   {"sum", fuzz_sum, 5},         {"gemm", fuzz_gemm, 12},
    {"pixels", fuzz_pixels, 10},   {"pixel", fuzz_pixel, 5},     {"product", fuzz_product, 4},
    {"depthwise", fuzz_depthwise, 8}, {"totals", fuzz_totals, 2}, {"gradient", fuzz_gradient, 10},
    {NULL, NULL, 0},
};
