/* Transforms, from samples and weights to results: the convolution that they are is summed term by term. */
#include <math.h>

#include "fuzz.h"

static kind any_real(void) { return once_in(2) ? F32 : F64; }

static double epsilon(kind k) { return k == F32 ? 0x1p-24 : 0x1p-53; }

/* --- Fourier: a product modulo u^n - exp(2 pi i theta) along every axis --------------------------------------------- */

enum { LEVELS = 12 };

static ptrdiff_t pick_radices(ptrdiff_t n, ptrdiff_t *radices) {
    ptrdiff_t levels = 0;
    while (n > 1) {
        const ptrdiff_t radix = n % 4 == 0 && once_in(2) ? 4 : n % 5 == 0 ? 5 : n % 3 == 0 ? 3 : 2;
        radices[levels++] = radix;
        n /= radix;
    }
    return levels;
}

/* A polynomial modulo u^(r m) - c, c = exp(2 pi i theta), falls into r modulo u^m - exp(2 pi i (theta + j) / r). */
static fc_fft_axis axis_of(ptrdiff_t n, double theta, kind k) {
    ptrdiff_t *radices = table(LEVELS);
    double angles[512], next[512];
    fc_fft_axis axis = {n, pick_radices(n, radices), radices, NULL};
    void *twiddles = fenced(larger(2 * (n - 1), 1) * size_of[k], size_of[k]);
    ptrdiff_t blocks = 1, at = 0;
    angles[0] = theta;
    for (ptrdiff_t level = 0; level < axis.n_levels; level++) {
        const ptrdiff_t radix = radices[level];
        static const int powers_of_4[] = {2, 1, 3};
        for (ptrdiff_t b = 0; b < blocks; b++) {
            const double root = angles[b] / (double)radix;
            for (ptrdiff_t q = 1; q < radix; q++) {
                const double turns = root * (double)(radix == 4 ? powers_of_4[q - 1] : q);
                put(twiddles, k, at++, cos(2 * M_PI * turns));
                put(twiddles, k, at++, sin(2 * M_PI * turns));
            }
            for (ptrdiff_t j = 0; j < radix; j++)
                next[b * radix + j] = (angles[b] + (double)j) / (double)radix;
        }
        blocks *= radix;
        memcpy(angles, next, sizeof(double) * (size_t)blocks);
    }
    axis.twiddles = twiddles;
    return axis;
}

/* Sizes along the three axes: rows as folded, rows, columns. */
typedef struct {
    ptrdiff_t fold, middle, across, rows; /* rows: fold, or twice that where rows are folded */
} fft_sizes;

static fft_sizes pick_sizes(ptrdiff_t lanes, int interleaved) {
    fft_sizes s = {.across = lanes * pick(1, 3)};
    s.middle = once_in(2) ? 1 : lesser(lanes, 4) * pick(1, 2);
    s.fold = (s.middle == 1 ? lanes : larger(lanes / lesser(lanes, 4), 1)) * pick(1, 2);
    s.rows = interleaved ? s.fold : 2 * s.fold;
    return s;
}

/* A tile of zeros but for a few numbers; where they are. */
typedef struct {
    ptrdiff_t f, m, x;
    number value;
} spot;

static void *tile_of(const fft_sizes *s, kind k, int interleaved, spot *spots, int n) {
    const kind whole = !interleaved ? k : k == F32 ? C64 : C128;
    const ptrdiff_t size = s->rows * s->middle * s->across;
    char *tile = fenced(size * size_of[whole], size_of[k]);
    memset(tile, 0, (size_t)(size * size_of[whole]));
    for (int i = 0; i < n; i++) {
        spot p = {pick(0, s->rows - 1), pick(0, s->middle - 1), pick(0, s->across - 1),
                  {(double)pick(-3, 3), interleaved ? (double)pick(-3, 3) : 0, 0}};
        const ptrdiff_t at = (p.f * s->middle + p.m) * s->across + p.x, parts = interleaved ? 2 : 1;
        put(tile, k, at * parts, p.value.re);
        if (interleaved)
            put(tile, k, at * parts + 1, p.value.im);
        /* The later of two in one place counts. */
        for (int j = 0; j < i; j++)
            if (spots[j].f == p.f && spots[j].m == p.m && spots[j].x == p.x)
                spots[j].value = zero();
        spots[i] = p;
    }
    return tile;
}

static double largest(const spot *spots, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += fabs(spots[i].value.re) + fabs(spots[i].value.im);
    return sum;
}

static void fuzz_fft(const fc_level *level) {
    enum { SPOTS = 6, CHANNELS = 2 };
    const kind k = any_real();
    const int interleaved = once_in(3), parts = interleaved ? 2 : 1;
    const ptrdiff_t lanes = level->vector_bytes / size_of[k], channels = pick(1, CHANNELS);
    const fft_sizes s = pick_sizes(lanes, interleaved);
    const ptrdiff_t points = s.fold * s.middle * s.across, point = 2 * size_of[k];
    const fc_fft fft = {.fold = axis_of(s.fold, interleaved ? 0 : 0.25, k), .middle = axis_of(s.middle, 0, k),
                        .across = axis_of(s.across, 0, k), .interleaved = interleaved};
    spot x[CHANNELS][SPOTS], w[CHANNELS][SPOTS];
    fc_fft_tile t = {.fft = &fft, .src_fold_pitch = s.middle * s.across, .src_middle_pitch = s.across,
                     .channels = channels, .group_pitch = s.across, .channel_pitch = points / lanes};
    /* Pitches count vectors: a point of the kernels is one of lanes points. */
    t.strip = fenced(s.fold * s.middle * lanes * point, level->vector_bytes);
    char *spectrum = fenced(channels * points * point, level->vector_bytes);
    char *weights = fenced(channels * points * point, level->vector_bytes);
    double bound = 0;
    for (ptrdiff_t c = 0; c < channels; c++) {
        t.src = tile_of(&s, k, interleaved, w[c], SPOTS);
        t.spectrum = weights + c * points * point;
        calling("fft_columns");
        level->fft_columns[k](&t);
        calling("fft_rows");
        level->fft_rows[k](&t);
        t.src = tile_of(&s, k, interleaved, x[c], SPOTS);
        t.spectrum = spectrum + c * points * point;
        level->fft_columns[k](&t);
        bound += largest(x[c], SPOTS) * largest(w[c], SPOTS);
    }
    t.rows_done = once_in(2);
    for (ptrdiff_t c = 0; t.rows_done && c < channels; c++) {
        t.spectrum = spectrum + c * points * point;
        level->fft_rows[k](&t);
    }
    t.spectrum = spectrum;
    t.weights = weights;
    t.product = once_in(2) ? spectrum : fenced(points * point, level->vector_bytes);
    t.bias = once_in(2) ? operand(k, parts, size_of[k]) : NULL;
    t.first_fold = pick(0, s.rows - 1);
    t.last_fold = pick(t.first_fold + 1, s.rows);
    t.first_middle = pick(0, s.middle - 1);
    t.last_middle = pick(t.first_middle + 1, s.middle);
    t.first_column = pick(0, s.across - 1);
    t.last_column = pick(t.first_column + 1, s.across);
    t.dst_middle_pitch = s.across;
    t.dst_fold_pitch = s.middle * s.across;
    const ptrdiff_t stored = (t.last_fold - t.first_fold - 1) * t.dst_fold_pitch +
                             (t.last_middle - t.first_middle - 1) * t.dst_middle_pitch + s.across;
    t.dst = fenced(stored * parts * size_of[k], level->vector_bytes);
    calling("fft_back");
    expect_true(level->fft_back[k](&t), "finite results said not to be");

    double wanted[2 * 64 * 8 * 64] = {0};
    expect_true((size_t)(stored * parts) <= sizeof(wanted) / sizeof(wanted[0]), "a case that is too large");
    for (ptrdiff_t c = 0; c < channels; c++) {
        for (int i = 0; i < SPOTS; i++) {
            for (int j = 0; j < SPOTS; j++) {
                const ptrdiff_t f = x[c][i].f + w[c][j].f, m = (x[c][i].m + w[c][j].m) % s.middle;
                const ptrdiff_t row = f % s.rows, column = (x[c][i].x + w[c][j].x) % s.across;
                const double sign = !interleaved && f >= s.rows ? -1 : 1;
                const number product = plus_product(zero(), x[c][i].value, w[c][j].value);
                if (row < t.first_fold || row >= t.last_fold || m < t.first_middle || m >= t.last_middle)
                    continue;
                const ptrdiff_t at = (row - t.first_fold) * t.dst_fold_pitch +
                                     (m - t.first_middle) * t.dst_middle_pitch + column;
                wanted[at * parts] += sign * product.re;
                if (interleaved)
                    wanted[at * parts + 1] += sign * product.im;
            }
        }
    }
    const double scale = (double)points, tolerance = 64 * epsilon(k) * scale * (bound + 3);
    for (ptrdiff_t f = t.first_fold; f < t.last_fold; f++)
        for (ptrdiff_t m = t.first_middle; m < t.last_middle; m++)
            for (ptrdiff_t column = t.first_column; column < t.last_column; column++)
                for (int part = 0; part < parts; part++) {
                    const ptrdiff_t at = (f - t.first_fold) * t.dst_fold_pitch +
                                         (m - t.first_middle) * t.dst_middle_pitch + column;
                    const double bias = t.bias ? get(t.bias, k, part).re : 0;
                    expect_near(t.dst, k, at * parts + part, wanted[at * parts + part] * scale + bias, tolerance);
                }
}

/* --- Winograd ------------------------------------------------------------------------------------------------------ */

typedef struct {
    int pairs, single;
    double point[3], one;
} points_of;

/* Coefficients, the lowest first, of the product of all z - p^2 but that of one pair. */
static void without(const points_of *p, int left_out, double *coefficients) {
    double product[4] = {1};
    int n = 0;
    for (int i = 0; i < p->pairs; i++) {
        if (i == left_out)
            continue;
        n++;
        for (int j = n; j >= 0; j--)
            product[j] = (j ? product[j - 1] : 0) - (j < n ? product[j] * p->point[i] * p->point[i] : 0);
    }
    for (int j = 0; j < n; j++)
        coefficients[j] = product[j];
}

static void *numbers_of(ptrdiff_t outputs, kind k) {
    const points_of p = outputs == 2   ? (points_of){1, 0, {1, 0, 0}, 0}
                        : outputs == 4 ? (points_of){2, 0, {0.625, 1.5, 0}, 0}
                        : outputs == 5 ? (points_of){2, 1, {0.5, 1.25, 0}, -2.5}
                                       : (points_of){3, 0, {0.5, 1, 2}, 0};
    double all[24 + 3 + 6 + 8] = {0}, finite[8] = {0};
    int n = 1;
    for (int i = 0; i < p.pairs; i++) {
        for (int j = 0; j < 6; j++)
            all[6 * i + j] = pow(p.point[i], j);
        finite[n++] = p.point[i];
        finite[n++] = -p.point[i];
        without(&p, i, all + 27 + 2 * i);
    }
    for (int j = 0; p.single && j < 6; j++)
        all[18 + j] = pow(p.one, j);
    if (p.single)
        finite[n++] = p.one;
    without(&p, -1, all + 24);
    for (int i = 0; i < n; i++) {
        double divisor = 1;
        for (int j = 0; j < n; j++)
            divisor *= i == j ? 1 : finite[i] - finite[j];
        all[33 + i] = 1 / divisor;
    }
    void *numbers = fenced((ptrdiff_t)(sizeof(all) / sizeof(all[0])) * size_of[k], size_of[k]);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        put(numbers, k, (ptrdiff_t)i, all[i]);
    return numbers;
}

static void fuzz_winograd(const fc_level *level) {
    static const ptrdiff_t sides[] = {2, 4, 5, 6};
    const kind k = any_real();
    const ptrdiff_t item = size_of[k], lanes = level->vector_bytes / item, columns = level->gemm_vectors * lanes;
    const ptrdiff_t side = sides[pick(0, 3)], frequencies = (side + 2) * (side + 2), n = pick(1, 11);
    const ptrdiff_t channels = pick(1, lanes), wide = n * side + 2, unit = level->vector_bytes;
    const void *numbers = numbers_of(side, k);
    fc_winograd step = {.outputs = side, .numbers = numbers, .n = n, .src_pitch = wide * lanes, .dst_pitch = n * lanes};
    const void *src = operand(k, (side + 2) * wide * lanes, unit);
    void *tiles = fenced(frequencies * n * lanes * item, unit);
    step.src = src;
    step.dst = tiles;
    calling("winograd.input");
    level->winograd[k].input(&step);
    const void *weights = operand(k, channels * 9 * columns, unit);
    void *transformed = fenced(frequencies * channels * columns * item, unit);
    fc_winograd of_weights = {.outputs = side, .numbers = numbers, .n = channels, .src = weights, .dst = transformed,
                              .dst_pitch = channels * columns};
    calling("winograd.weights");
    level->winograd[k].weights(&of_weights);
    const ptrdiff_t vector_pitch = n * frequencies * lanes;
    char *products = fenced(level->gemm_vectors * vector_pitch * item, unit);
    for (ptrdiff_t f = 0; f < frequencies; f++) {
        const fc_product p = {.tiles = (char *)tiles + f * n * lanes * item, .channels = channels, .fold = lanes,
                              .weights = (char *)transformed + f * channels * columns * item, .rows = n,
                              .dst = products + f * lanes * item, .row_pitch = frequencies * lanes,
                              .vector_pitch = vector_pitch};
        level->winograd[k].product(&p);
    }
    const ptrdiff_t v = pick(0, level->gemm_vectors - 1), result_pitch = n * side * lanes;
    void *results = fenced(side * result_pitch * item, unit);
    step.src = products + v * vector_pitch * item;
    step.src_pitch = frequencies * lanes;
    step.dst = results;
    step.dst_pitch = result_pitch;
    step.bias = operand(k, lanes, unit);
    calling("winograd.output");
    expect_true(!level->winograd[k].output(&step), "finite results said not to be");
    const double tolerance = 2000 * epsilon(k) * 81 * (double)channels;
    for (ptrdiff_t y = 0; y < side; y++) {
        for (ptrdiff_t at = 0; at < n * side; at++) {
            for (ptrdiff_t lane = 0; lane < lanes; lane++) {
                number sum = get(step.bias, k, lane);
                for (ptrdiff_t c = 0; c < channels; c++)
                    for (ptrdiff_t tap = 0; tap < 9; tap++)
                        sum = plus_product(sum, get(src, k, ((y + tap / 3) * wide + at + tap % 3) * lanes + c),
                                           get(weights, k, (c * 9 + tap) * columns + v * lanes + lane));
                expect_near(results, k, y * result_pitch + at * lanes + lane, sum.re, tolerance);
            }
        }
    }
}

const fuzz_case transform_cases[] = {{"fft", fuzz_fft, 1}, {"winograd", fuzz_winograd, 1}, {NULL, NULL, 0}};
