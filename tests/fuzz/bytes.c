/* Products of bytes and the stages around them. */
#include <math.h>

#include "fuzz.h"

static uint8_t *random_bytes(ptrdiff_t n, ptrdiff_t alignment) {
    uint8_t *array = fenced(n, alignment);
    for (ptrdiff_t i = 0; i < n; i++)
        array[i] = (uint8_t)(once_in(8) ? (once_in(2) ? 255 : 128) : random_bits());
    return array;
}

static void fuzz_int8(const fc_level *level) {
    enum { COLUMNS = FC_INT8_COLUMNS };
    fc_int8_tile t = {.strips = pick(1, 2), .pixels = pick(1, level->int8_pixels), .n_runs = pick(1, 4)};
    t.chunk = pick(1, level->int8_chunk);
    t.quads = t.chunk * pick(1, 3);
    t.pixel_pitch = pick(1, 70);
    ptrdiff_t *runs = table(t.n_runs), last = 0;
    for (ptrdiff_t i = 0; i < t.n_runs; i++) {
        runs[i] = pick(0, 50);
        last = larger(last, runs[i]);
    }
    t.runs = runs;
    const ptrdiff_t size = (t.pixels - 1) * t.pixel_pitch + last + 4 * t.quads, gap = pick(0, 90);
    t.src = random_bytes(size + (t.strips > 1 ? gap : 0), 1);
    t.second = t.strips > 1 ? t.src + gap : t.src;
    t.weights = (const int8_t *)random_bytes(t.n_runs * t.quads * COLUMNS * 4, 64);
    t.sums = fenced(t.strips * t.pixels * COLUMNS * 4, 64);
    calling("int8_begin");
    level->int8_begin(t.pixels, t.chunk);
    calling("int8");
    level->int8(&t);
    calling("int8_end");
    level->int8_end();
    for (ptrdiff_t p = 0; p < t.strips * t.pixels; p++) {
        const uint8_t *x = (p < t.pixels ? t.src : t.second) + p % t.pixels * t.pixel_pitch;
        for (ptrdiff_t o = 0; o < COLUMNS; o++) {
            int32_t sum = 0;
            for (ptrdiff_t run = 0; run < t.n_runs; run++)
                for (ptrdiff_t b = 0; b < 4 * t.quads; b++)
                    sum += x[runs[run] + b] * t.weights[((run * t.quads + b / 4) * COLUMNS + o) * 4 + b % 4];
            expect_true(t.sums[p * COLUMNS + o] == sum, "a wrong sum");
        }
    }
}

static void fuzz_gather_bytes(const fc_level *level) {
    const ptrdiff_t channels = pick(1, 50), n = pick(1, 50), way = pick(0, 2);
    const ptrdiff_t pixel_stride = way == 0 ? 1 : way == 1 ? channels + pick(0, 3) : pick(2, 4);
    const ptrdiff_t channel_stride = way == 1 ? 1 : n * pixel_stride + pick(0, 3), pitch = channels + pick(0, 3);
    const uint8_t flip = once_in(2) ? 0x80 : 0;
    const uint8_t *src = random_bytes((n - 1) * pixel_stride + (channels - 1) * channel_stride + 1, 1);
    uint8_t *dst = fenced((n - 1) * pitch + channels, 1);
    calling("gather_bytes");
    level->gather_bytes(dst, pitch, src, pixel_stride, channel_stride, channels, n, flip);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t c = 0; c < channels; c++)
            expect_true(dst[i * pitch + c] == (src[i * pixel_stride + c * channel_stride] ^ flip), "a wrong byte");
}

static void fuzz_pack_quads(const fc_level *level) {
    const ptrdiff_t n = pick(1, 30), position = pick(0, 9), stride = pick(1, 4);
    const uint8_t flip = once_in(2) ? 0x80 : 0;
    const uint8_t *src = random_bytes((n - 1) * stride + 1, 1);
    const ptrdiff_t last = position + n - 1;
    int8_t *column = fenced(last / 4 * FC_INT8_COLUMNS * 4 + last % 4 + 1, 1);
    calling("pack_quads");
    int32_t sum = level->pack_quads(column, position, src, stride, n, flip);
    for (ptrdiff_t i = 0; i < n; i++) {
        const ptrdiff_t at = position + i;
        const int8_t wanted = (int8_t)(src[i * stride] ^ flip);
        expect_true(column[at / 4 * FC_INT8_COLUMNS * 4 + at % 4] == wanted, "a wrong byte");
        sum -= wanted;
    }
    expect_true(sum == 0, "a wrong sum");
}

/* --- sums to results ---------------------------------------------------------------------------------------------- */

static int32_t *random_sums(ptrdiff_t n, int bits) {
    int32_t *sums = fenced(4 * n, 64);
    for (ptrdiff_t i = 0; i < n; i++)
        sums[i] = (int32_t)(random_bits() >> (64 - bits)) - (int32_t)((int64_t)1 << (bits - 1));
    return sums;
}

static fc_int8_store pick_store(void) {
    fc_int8_store s = {.pixels = pick(1, 40), .channels = pick(1, FC_INT8_COLUMNS), .zero = (int)pick(-128, 255)};
    const ptrdiff_t read = (s.pixels + 15) * FC_INT8_COLUMNS;
    s.sums = random_sums(read, 20);
    s.windows = once_in(2) ? random_sums(read, 10) : NULL;
    s.base = random_sums(FC_INT8_COLUMNS, 16);
    s.w_zero = random_sums(FC_INT8_COLUMNS, 8);
    float *scale = fenced(4 * FC_INT8_COLUMNS, 64);
    for (int i = 0; i < FC_INT8_COLUMNS; i++)
        scale[i] = (float)pick(1, 1000) / 4096 / (float)pick(1, 100);
    s.scale = scale;
    s.low = (float)(-128 - s.zero);
    s.high = s.low + 255;
    return s;
}

static int32_t corrected(const fc_int8_store *s, ptrdiff_t pixel, ptrdiff_t o) {
    uint32_t sum = (uint32_t)s->sums[pixel * FC_INT8_COLUMNS + o] + (uint32_t)s->base[o];
    if (s->windows)
        sum -= (uint32_t)s->windows[pixel * FC_INT8_COLUMNS + o] * (uint32_t)s->w_zero[o];
    return (int32_t)sum;
}

static uint8_t requantised(const fc_int8_store *s, ptrdiff_t pixel, ptrdiff_t o) {
    const float x = (float)corrected(s, pixel, o) * s->scale[o];
    return (uint8_t)((int)rintf(x < s->low ? s->low : x > s->high ? s->high : x) + s->zero);
}

static void fuzz_store_requantised(const fc_level *level) {
    fc_int8_store s = pick_store();
    const ptrdiff_t written = round_up(s.pixels, 16);
    s.channel_stride = written + pick(0, 9);
    uint8_t *dst = fenced((s.channels - 1) * s.channel_stride + written, 1);
    s.dst = dst;
    calling("store_requantised");
    level->store_requantised(&s);
    for (ptrdiff_t o = 0; o < s.channels; o++)
        for (ptrdiff_t p = 0; p < s.pixels; p++)
            expect_true(dst[o * s.channel_stride + p] == requantised(&s, p, o), "a wrong byte");
}

static void fuzz_store_last(const fc_level *level) {
    fc_int8_store s = pick_store();
    if (once_in(2))
        s.channels = FC_INT8_COLUMNS;
    s.pixel_stride = s.channels + pick(0, 9);
    uint8_t *dst = fenced((s.pixels - 1) * s.pixel_stride + s.channels, 1);
    s.dst = dst;
    calling("store_requantised_last");
    level->store_requantised_last(&s);
    for (ptrdiff_t p = 0; p < s.pixels; p++)
        for (ptrdiff_t o = 0; o < s.channels; o++)
            expect_true(dst[p * s.pixel_stride + o] == requantised(&s, p, o), "a wrong byte");
}

static void fuzz_store_sums(const fc_level *level) {
    fc_int8_store s = pick_store();
    const ptrdiff_t written = round_up(4 * s.pixels, 16);
    s.channel_stride = written + pick(0, 9);
    char *dst = fenced((s.channels - 1) * s.channel_stride + written, 1);
    s.dst = dst;
    calling("store_sums");
    level->store_sums(&s);
    for (ptrdiff_t o = 0; o < s.channels; o++) {
        for (ptrdiff_t p = 0; p < s.pixels; p++) {
            const int32_t wanted = corrected(&s, p, o);
            expect_bytes(dst + o * s.channel_stride + 4 * p, &wanted, 4);
        }
    }
}

const fuzz_case byte_cases[] = {
    {"int8", fuzz_int8, 10},
    {"gather_bytes", fuzz_gather_bytes, 5},
    {"pack_quads", fuzz_pack_quads, 4},
    {"store_requantised", fuzz_store_requantised, 4},
    {"store_requantised_last", fuzz_store_last, 4},
    {"store_sums", fuzz_store_sums, 4},
    {NULL, NULL, 0},
};
