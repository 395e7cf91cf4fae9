/* Kernels that move elements or finish results. */
#include <math.h>

#include "fuzz.h"

static kind any_real(void) { return once_in(2) ? F32 : F64; }

static void same(const void *actual, const void *wanted, kind k, ptrdiff_t at, ptrdiff_t from) {
    expect(actual, k, at, get(wanted, k, from));
}

static void fuzz_pack_panel(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], columns = level->gemm_vectors * level->vector_bytes / item;
    const ptrdiff_t rows = once_in(3) ? columns : pick(0, columns), depth = pick(1, 50), pitch = depth + pick(0, 3);
    const void *weights = operand(k, rows ? (rows - 1) * pitch + depth : 0, item);
    void *panel = fenced(depth * columns * item, level->vector_bytes);
    calling("pack_panel");
    level->pack_panel[k](panel, weights, pitch, rows, depth);
    for (ptrdiff_t i = 0; i < depth; i++)
        for (ptrdiff_t j = 0; j < columns; j++)
            expect(panel, k, i * columns + j, j < rows ? get(weights, k, j * pitch + i) : zero());
}

static void fuzz_unroll(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    fc_unroll step = {.n_products = pick(1, 8), .n_moves = pick(1, 6)};
    ptrdiff_t *offsets = table(step.n_products), from = 0, to = 0;
    for (ptrdiff_t i = 0; i < step.n_products; i++) {
        offsets[i] = pick(0, 40);
        from = larger(from, offsets[i]);
    }
    fc_move *moves = fenced(step.n_moves * (ptrdiff_t)sizeof(fc_move), sizeof(ptrdiff_t));
    ptrdiff_t farthest = 0;
    for (ptrdiff_t i = 0; i < step.n_moves; i++) {
        moves[i] = (fc_move){pick(0, 60), pick(0, 60)};
        farthest = larger(farthest, moves[i].from);
        to = larger(to, moves[i].to);
    }
    step.offsets = offsets;
    step.moves = moves;
    step.dst_pitch = to + pick(1, lanes);
    step.src = operand(k, from + farthest + lanes, item);
    const ptrdiff_t size = (step.n_products - 1) * step.dst_pitch + to + lanes;
    step.dst = fenced(size * item, item);
    char *wanted = fenced(size * item, item);
    for (ptrdiff_t i = 0; i < step.n_products; i++)
        for (ptrdiff_t m = 0; m < step.n_moves; m++)
            memcpy(wanted + (i * step.dst_pitch + moves[m].to) * item,
                   (const char *)step.src + (offsets[i] + moves[m].from) * item, (size_t)level->vector_bytes);
    calling("unroll");
    level->unroll[k](&step);
    expect_bytes(step.dst, wanted, size * item);
}

static void fuzz_turn(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], rows = pick(1, 40), columns = pick(1, 40);
    const ptrdiff_t before = once_in(2) ? 0 : pick(0, 20), row_bytes = (before + columns) * item;
    const ptrdiff_t pitch = rows + pick(0, 5), stride = row_bytes + pick(0, 9);
    char *array = fenced((rows - 1) * stride + row_bytes, 1), *src = array + before * item;
    for (ptrdiff_t i = 0; i < (rows - 1) * stride + row_bytes; i++)
        array[i] = (char)random_bits();
    char *dst = fenced(((columns - 1) * pitch + rows) * item, item);
    calling("turn");
    level->turn[k](dst, pitch, src, stride, rows, columns, before);
    for (ptrdiff_t c = 0; c < columns; c++)
        for (ptrdiff_t r = 0; r < rows; r++)
            expect_bytes(dst + (c * pitch + r) * item, src + r * stride + c * item, item);
}

/* Rows of the panel for n taps: some are left out, no two are the same. */
static const ptrdiff_t *pick_rows(ptrdiff_t n, ptrdiff_t step, ptrdiff_t rows) {
    ptrdiff_t *first = table(n), *at = step > 0 ? first : first + n - 1;
    const ptrdiff_t spread = rows / n;
    for (ptrdiff_t t = 0; t < n; t++)
        at[t * step] = once_in(5) ? -1 : t * spread + pick(0, spread - 1);
    return at;
}

static void fuzz_pack_taps(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], columns = level->gemm_vectors * level->vector_bytes / item;
    fc_taps taps = {.n = pick(1, 20), .step = once_in(2) ? 1 : -1};
    taps.channels_out = once_in(2) ? columns : pick(1, columns);
    const ptrdiff_t way = pick(0, 4), n = taps.n, rows = n * pick(1, 3);
    taps.tap_stride = way < 3 ? item : way == 3 ? taps.channels_out * item + pick(0, 9) : -item * pick(1, 3);
    taps.stride = way == 0 ? n * item : way == 1 ? n * item + pick(0, 20) : way == 2 ? -n * item
                  : way == 3 ? item : n * 3 * item + pick(0, 9);
    const ptrdiff_t across = (taps.channels_out - 1) * taps.stride, along = (n - 1) * taps.tap_stride;
    const ptrdiff_t below = lesser(across, 0) + lesser(along, 0), above = larger(across, 0) + larger(along, 0) + item;
    char *weights = fenced(above - below, 1);
    for (ptrdiff_t i = 0; i < above - below; i++)
        weights[i] = (char)random_bits();
    taps.weights = weights - below;
    taps.rows = pick_rows(n, taps.step, rows);
    char *panel = fenced(rows * columns * item, level->vector_bytes), *wanted = fenced(rows * columns * item, item);
    for (ptrdiff_t t = 0; t < n; t++) {
        const ptrdiff_t row = taps.rows[t * taps.step];
        for (ptrdiff_t j = 0; row >= 0 && j < columns; j++) {
            if (j < taps.channels_out)
                memcpy(wanted + (row * columns + j) * item,
                       taps.weights + t * taps.tap_stride + j * taps.stride, (size_t)item);
            else
                memset(wanted + (row * columns + j) * item, 0, (size_t)item);
        }
    }
    calling("pack_taps");
    level->pack_taps[k](panel, &taps);
    expect_bytes(panel, wanted, rows * columns * item);
}

static void fuzz_interleave(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    const ptrdiff_t phases = pick(1, 4), rows = pick(1, 4), n = pick(phases, 100);
    const ptrdiff_t longest = (n + phases - 1) / phases, pitch = longest + pick(0, 5);
    const ptrdiff_t phase_pitch = rows * pitch + pick(0, 5), dst_pitch = n + pick(0, 5);
    const ptrdiff_t last = n / phases; /* elements of the last phase */
    const void *src = operand(k, (phases - 1) * phase_pitch + (rows - 1) * pitch + last + lanes, item);
    void *dst = fenced(((rows - 1) * dst_pitch + n) * item, item);
    calling("interleave");
    level->interleave[k](dst, dst_pitch, src, phase_pitch, pitch, phases, rows, n);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t i = 0; i < n; i++)
            same(dst, src, k, r * dst_pitch + i, i % phases * phase_pitch + r * pitch + i / phases);
}

/* Strides of n pixels of some channels, in bytes. */
typedef struct {
    ptrdiff_t pixel, channel, channels, n, reach, bytes;
} lanes_of;

static lanes_of pick_lanes(ptrdiff_t lanes, ptrdiff_t item) {
    lanes_of s = {.channels = once_in(2) ? lanes : pick(1, lanes), .n = pick(1, 90)};
    const ptrdiff_t way = pick(0, 2);
    s.reach = s.n + (once_in(2) ? pick(0, 20) : 0);
    s.pixel = way == 0 ? item : way == 1 ? s.channels * item + pick(0, 9) : item * 2 + 1;
    s.channel = way == 0 ? s.reach * item + pick(0, 9) : way == 1 ? item : s.pixel * s.n + pick(0, 9);
    s.bytes = (s.channels - 1) * s.channel + (s.pixel == item ? s.reach * item : (s.n - 1) * s.pixel + item);
    return s;
}

static void fuzz_gather(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    const lanes_of s = pick_lanes(lanes, item);
    char *src = fenced(s.bytes, 1), *dst = fenced(s.n * lanes * item, level->vector_bytes);
    const char nothing[8] = {0};
    for (ptrdiff_t i = 0; i < s.bytes; i++)
        src[i] = (char)random_bits();
    calling("winograd.gather");
    level->winograd[k].gather(dst, src, s.pixel, s.channel, s.channels, s.n, s.reach);
    for (ptrdiff_t x = 0; x < s.n; x++)
        for (ptrdiff_t c = 0; c < lanes; c++)
            expect_bytes(dst + (x * lanes + c) * item,
                         c < s.channels ? src + x * s.pixel + c * s.channel : nothing, item);
}

static void fuzz_scatter(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item;
    const lanes_of s = pick_lanes(lanes, item);
    /* Whole vectors of pixels are read where they are written. */
    char *src = operand(k, round_up(s.reach, lanes) * lanes, level->vector_bytes), *dst = fenced(s.bytes, 1);
    calling("winograd.scatter");
    level->winograd[k].scatter(dst, s.pixel, s.channel, src, s.channels, s.n, s.reach);
    for (ptrdiff_t x = 0; x < s.n; x++)
        for (ptrdiff_t c = 0; c < s.channels; c++)
            expect_bytes(dst + x * s.pixel + c * s.channel, src + (x * lanes + c) * item, item);
}

/* --- what follows the sums ---------------------------------------------------------------------------------------- */

static double activated(double y, fc_activation activation, double slope) {
    switch (activation) {
    case FC_RELU: return y < 0 ? 0 : y;
    case FC_RELU6: return y < 0 ? 0 : y > 6 ? 6 : y;
    case FC_LEAKY_RELU: return y > 0 ? y : y * slope;
    case FC_SIGMOID: return 1 / (1 + exp(-y));
    case FC_SILU: return y / (1 + exp(-y));
    case FC_GELU: return y * 0.5 * erfc(-y * 0.70710678118654752440);
    case FC_HARDSWISH: return y * (y < -3 ? 0 : y > 3 ? 6 : y + 3) / 6;
    case FC_TANH: return tanh(y);
    default: return y;
    }
}

static void fuzz_epilogue(const fc_level *level) {
    const kind k = any_real();
    const ptrdiff_t item = size_of[k];
    fc_epilogue_tile t = {.rows = pick(1, 4), .n = pick(1, 100), .along_row = (int)pick(0, 1), .slope = 0.25};
    t.activation = (fc_activation)pick(FC_IDENTITY, FC_TANH);
    t.pitch = t.n + pick(0, 5);
    t.residual_pitch = t.n + pick(0, 5);
    const ptrdiff_t size = (t.rows - 1) * t.pitch + t.n;
    t.values = operand(k, size, item);
    t.scale = once_in(2) ? operand(k, t.along_row ? t.n : 1, item) : NULL;
    t.bias = once_in(2) ? operand(k, t.along_row ? t.n : 1, item) : NULL;
    t.residual = once_in(2) ? operand(k, (t.rows - 1) * t.residual_pitch + t.n, item) : NULL;
    void *before = fenced(size * item, item);
    memcpy(before, t.values, (size_t)(size * item));
    calling("epilogue");
    level->epilogue[k](&t);
    /* Up to 15; transcendental ones are good to a few units in the last place of what they are made of. */
    const double tolerance = t.activation <= FC_LEAKY_RELU ? 0 : k == F32 ? 1e-5 : 1e-13;
    for (ptrdiff_t r = 0; r < t.rows; r++) {
        for (ptrdiff_t i = 0; i < t.n; i++) {
            const ptrdiff_t at = t.along_row ? i : 0;
            double y = get(before, k, r * t.pitch + i).re;
            y *= t.scale ? get(t.scale, k, at).re : 1;
            y += t.bias ? get(t.bias, k, at).re : 0;
            y += t.residual ? get(t.residual, k, r * t.residual_pitch + i).re : 0;
            expect_near(t.values, k, r * t.pitch + i, activated(y, t.activation, t.slope), tolerance);
        }
    }
}

const fuzz_case move_cases[] = {
    {"pack_panel", fuzz_pack_panel, 4}, {"unroll", fuzz_unroll, 4},   {"turn", fuzz_turn, 5},
    {"pack_taps", fuzz_pack_taps, 8},   {"interleave", fuzz_interleave, 5}, {"gather", fuzz_gather, 6},
    {"scatter", fuzz_scatter, 6},       {"epilogue", fuzz_epilogue, 8}, {NULL, NULL, 0},
};
