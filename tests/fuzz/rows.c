/* Rows between arrays and tiles: every storage kind, with conversions written as C says them. */
#include <math.h>

#include "fuzz.h"

/* How an element is stored. */
typedef enum { RAW, BOOL, UNSIGNED, SIGNED, HALF, BFLOAT, FLOAT, DOUBLE } storage;

typedef struct {
    storage stored;
    int bytes;          /* in the array */
    int compute;        /* bytes in the tile; of a float or a double, but for RAW and the unsigned 16 bits */
    int rounds;         /* stored rounding half to even, within the range; else cut towards zero */
} way;

static const way ways[FC_STORAGE_KINDS] = {
    {RAW, 2, 2, 0}, {RAW, 4, 4, 0}, {RAW, 8, 8, 0}, {RAW, 16, 16, 0}, {UNSIGNED, 1, 2, 0}, {BOOL, 1, 4, 0},
    {HALF, 2, 4, 1},
    {UNSIGNED, 1, 4, 0}, {SIGNED, 1, 4, 0}, {UNSIGNED, 2, 4, 0}, {SIGNED, 2, 4, 0},
    {UNSIGNED, 1, 8, 0}, {SIGNED, 1, 8, 0}, {UNSIGNED, 2, 8, 0}, {SIGNED, 2, 8, 0},
    {UNSIGNED, 4, 8, 0}, {SIGNED, 4, 8, 0}, {UNSIGNED, 8, 8, 0}, {SIGNED, 8, 8, 0}, {BOOL, 1, 8, 0},
    {FLOAT, 4, 8, 1}, {BFLOAT, 2, 4, 1},
    {UNSIGNED, 1, 4, 1}, {SIGNED, 1, 4, 1}, {UNSIGNED, 2, 4, 1}, {SIGNED, 2, 4, 1},
    {UNSIGNED, 4, 4, 1}, {SIGNED, 4, 4, 1}, {UNSIGNED, 8, 4, 1}, {SIGNED, 8, 4, 1},
    {UNSIGNED, 1, 8, 1}, {SIGNED, 1, 8, 1}, {UNSIGNED, 2, 8, 1}, {SIGNED, 2, 8, 1},
    {UNSIGNED, 4, 8, 1}, {SIGNED, 4, 8, 1}, {UNSIGNED, 8, 8, 1}, {SIGNED, 8, 8, 1},
    {DOUBLE, 8, 4, 1}, {HALF, 2, 8, 1}, {BFLOAT, 2, 8, 1},
};

/* --- an element at a time ----------------------------------------------------------------------------------------- */

/* A number of few bits: a sign, an exponent from `least` on, and `digits` of a fraction. */
static double few_bits(unsigned bits, int exponent_bits, int digits, int least) {
    const int exponent = (int)(bits >> digits) & ((1 << exponent_bits) - 1);
    const double fraction = (double)(bits & ((1u << digits) - 1)), unit = ldexp(1, digits);
    const double sign = bits >> (digits + exponent_bits) & 1 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return sign * (fraction > 0 ? (double)NAN : (double)INFINITY);
    return sign * (exponent ? ldexp(unit + fraction, least + exponent - 1 - digits) : ldexp(fraction, least - digits));
}

/* The nearest number of so many digits, half to even: a multiple of the unit that its exponent leaves. */
static double to_few_bits(double value, int digits, int least, double beyond) {
    if (!isfinite(value) || value == 0)
        return value;
    const int exponent = (int)larger(ilogb(value), least);
    const double unit = ldexp(1, exponent - digits), rounded = nearbyint(value / unit) * unit;
    return fabs(rounded) >= beyond ? copysign((double)INFINITY, value) : rounded;
}

static double computed_at(const char *at, int bytes) {
    float f;
    double d;
    if (bytes == 4) {
        memcpy(&f, at, 4);
        return f;
    }
    memcpy(&d, at, 8);
    return d;
}

static uint64_t whole_at(const char *at, int bytes) {
    uint64_t bits = 0;
    memcpy(&bits, at, (size_t)bytes);
    return bits;
}

/* What an element of the array is in the tile. */
static void loaded(const way *w, const char *from, char *to) {
    if (w->stored == RAW || w->compute == 2) {
        memset(to, 0, (size_t)w->compute);
        memcpy(to, from, (size_t)w->bytes);
        return;
    }
    uint64_t bits = w->stored == FLOAT || w->stored == DOUBLE ? 0 : whole_at(from, w->bytes);
    const int64_t sign = w->stored == SIGNED && bits >> (8 * w->bytes - 1);
    const int64_t whole = (int64_t)(w->bytes < 8 && sign ? bits | ~(uint64_t)0 << 8 * w->bytes : bits);
    float f = 0;
    double d = 0;
    switch (w->stored) {
    case BOOL: f = bits != 0; d = f; break;
    case UNSIGNED: f = (float)bits; d = (double)bits; break;
    case SIGNED: f = (float)whole; d = (double)whole; break;
    case HALF: d = few_bits((unsigned)bits, 5, 10, -14); f = (float)d; break;
    case BFLOAT: d = few_bits((unsigned)bits, 8, 7, -126); f = (float)d; break;
    default: d = computed_at(from, w->bytes); f = (float)d; break;
    }
    memcpy(to, w->compute == 4 ? (void *)&f : (void *)&d, (size_t)w->compute);
}

/* Whether two floats, stored in so many bytes as HALF and the like, are equal, or both NaN. */
static int equal(const way *w, const char *at, double wanted) {
    const unsigned bits = w->bytes == 2 ? (unsigned)whole_at(at, 2) : 0;
    const double actual = w->stored == HALF ? few_bits(bits, 5, 10, -14)
                          : w->stored == BFLOAT ? few_bits(bits, 8, 7, -126) : computed_at(at, w->bytes);
    return isnan(wanted) ? isnan(actual) : actual == wanted && signbit(actual) == signbit(wanted);
}

static uint64_t rounded_whole(const way *w, double value) {
    const int bits = 8 * w->bytes;
    const double most = ldexp(1, w->stored == SIGNED ? bits - 1 : bits), least = w->stored == SIGNED ? -most : 0;
    const double near = nearbyint(value);
    if (isnan(value) || near < least)
        return isnan(value) || w->stored == UNSIGNED ? 0 : (uint64_t)1 << (bits - 1);
    if (near >= most)
        return w->stored == SIGNED ? ((uint64_t)1 << (bits - 1)) - 1 : ~(uint64_t)0;
    return near < 0 ? (uint64_t)(int64_t)near : (uint64_t)near;
}

/* Whether an element is stored as it should be. */
static int stored_right(const way *w, const char *tile, const char *array) {
    if (w->stored == RAW)
        return !memcmp(tile, array, (size_t)w->bytes);
    if (w->compute == 2)
        return array[0] == tile[0];
    const double value = computed_at(tile, w->compute);
    const uint64_t mask = w->bytes < 8 ? ((uint64_t)1 << 8 * w->bytes) - 1 : ~(uint64_t)0, bits =
        w->stored == FLOAT || w->stored == DOUBLE ? 0 : whole_at(array, w->bytes);
    switch (w->stored) {
    case BOOL: return bits == (w->compute == 4 ? value != 0 : fabs(value) >= 1);
    case HALF: return equal(w, array, to_few_bits(value, 10, -14, 65520));
    case BFLOAT: return equal(w, array, to_few_bits(value, 7, -126, ldexp(1, 128)));
    case FLOAT: return equal(w, array, (float)value);
    case DOUBLE: return equal(w, array, value);
    default: break;
    }
    if (w->rounds)
        return bits == (rounded_whole(w, value) & mask);
    const uint64_t cut = value >= ldexp(1, 63) ? (uint64_t)value : (uint64_t)(int64_t)value;
    return bits == (cut & mask);
}

/* --- data --------------------------------------------------------------------------------------------------------- */

/* A number of a tile that may be stored in this way: what is cut has to be within the range of an integer. */
static double storable(const way *w) {
    static const double odd[] = {0, -0.0, 0.5, 1.5, 2.5, -0.5, 254.5, 255.5, 65519.99, 65520, 1e300, -1e300};
    const int cut = !w->rounds && (w->stored == UNSIGNED || w->stored == SIGNED);
    const int size = w->bytes < 4 || w->stored == SIGNED ? (w->bytes > 4 ? 62 : 30) : w->bytes == 4 ? 40 : 63;
    const double value = ldexp((double)(int64_t)random_bits(), (int)pick(-63 - 20, size - 63));
    if (cut)
        return w->stored == UNSIGNED && w->bytes == 8 ? fabs(value) : value;
    if (once_in(4))
        return odd[pick(0, (ptrdiff_t)(sizeof(odd) / sizeof(odd[0])) - 1)];
    if (once_in(10))
        return once_in(2) ? (double)NAN : once_in(2) ? (double)INFINITY : -(double)INFINITY;
    /* Of any size; half of them are a multiple of a half. */
    return once_in(2) ? rint(value * 2) / 2 : ldexp(value, (int)pick(-170, 70));
}

static void fill_tile(const way *w, char *tile, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits[2] = {random_bits(), random_bits()};
        if (w->stored == RAW || w->compute == 2)
            memcpy(tile + i * w->compute, bits, (size_t)w->compute);
        else
            put(tile, w->compute == 4 ? F32 : F64, i, storable(w));
    }
}

static char *random_array(const way *w, ptrdiff_t bytes) {
    char *array = fenced(bytes, 1);
    /* Doubles that fit into floats; any bits of the others. */
    for (ptrdiff_t i = 0; i < bytes; i++)
        array[i] = w->stored == DOUBLE ? (char)(i % 8 == 7 ? 0x3F : i % 8 ? random_bits() % 128 : 0) : (char)random_bits();
    return array;
}

/* --- the kernels -------------------------------------------------------------------------------------------------- */

/* Elements of a row along bytes at a stride: where the first one is, and how many bytes there are. */
static ptrdiff_t pick_stride(ptrdiff_t item) {
    const ptrdiff_t stride = item * pick(1, 3) + (once_in(4) ? pick(0, 3) : 0);
    return once_in(4) ? -stride : stride;
}

static fc_row_map pick_map(ptrdiff_t held) {
    fc_row_map map = {.n = pick(1, 70)};
    const ptrdiff_t step = pick(1, 3), most = lesser(map.n, (held - 1) / step + 1);
    const ptrdiff_t length = once_in(3) ? most : pick(0, most);
    map.run_start = pick(0, map.n - length);
    map.run_stop = map.run_start + length;
    map.run_step = once_in(4) ? -step : step;
    const ptrdiff_t span = length ? (length - 1) * step : 0;
    map.run_index = pick(0, held - 1 - span) + (map.run_step < 0 ? span : 0);
    ptrdiff_t *index = table(map.n);
    const int framed = once_in(3);
    for (ptrdiff_t i = 0; i < map.n; i++)
        index[i] = framed ? FC_FILL : pick(-2, held - 1);
    map.index = index;
    map.runs_only = once_in(4);
    return map;
}

/* What the kernel should make of element i of a row. */
static void wanted_element(const way *w, const fc_row_map *map, const char *row, ptrdiff_t kind_of_row,
                           ptrdiff_t stride, ptrdiff_t i, char *to) {
    const int in_run = i >= map->run_start && i < map->run_stop;
    const ptrdiff_t at = in_run ? map->run_index + (i - map->run_start) * map->run_step : map->index[i];
    const int fill = kind_of_row == FC_FILL_ROW || (at == FC_FILL && !in_run);
    if (fill)
        memcpy(to, map->fill, (size_t)w->compute);
    else if (kind_of_row == FC_ZERO_ROW || at == FC_ZERO)
        memset(to, 0, (size_t)w->compute);
    else
        loaded(w, row + at * stride, to);
}

static int same_element(const way *w, const char *actual, const char *wanted) {
    if (w->stored == RAW || w->compute == 2 || !isnan(computed_at(wanted, w->compute)))
        return !memcmp(actual, wanted, (size_t)w->compute);
    return isnan(computed_at(actual, w->compute));
}

static void fuzz_load(const fc_level *level) {
    const ptrdiff_t which = pick(0, FC_STORAGE_KINDS - 1), held = pick(1, 60), rows = pick(1, 4);
    const way *w = &ways[which];
    const ptrdiff_t stride = pick_stride(w->bytes), span = (held - 1) * (stride < 0 ? -stride : stride) + w->bytes;
    const ptrdiff_t row_bytes = span + pick(0, 9);
    fc_row_map map = pick_map(held);
    map.fill = random_array(w, w->compute);
    const char *array = random_array(w, (rows - 1) * row_bytes + span);
    const char *plane = array + (stride < 0 ? span - w->bytes : 0);
    ptrdiff_t *offsets = table(rows);
    for (ptrdiff_t r = 0; r < rows; r++)
        offsets[r] = once_in(6) ? (once_in(2) ? FC_FILL_ROW : FC_ZERO_ROW) : r * row_bytes;
    const ptrdiff_t pitch = map.n + pick(0, 3), unit = w->compute == 16 ? 16 : w->compute;
    char *dst = fenced(((rows - 1) * pitch + map.n) * w->compute, unit);
    calling("load_rows");
    level->load_rows[which](dst, pitch, plane, offsets, rows, stride, &map);
    for (ptrdiff_t r = 0; r < rows; r++) {
        const int special = offsets[r] <= FC_ZERO_ROW;
        for (ptrdiff_t i = 0; i < map.n; i++) {
            char wanted[16];
            if (map.runs_only && (special || i < map.run_start || i >= map.run_stop))
                continue;
            wanted_element(w, &map, special ? plane : plane + offsets[r], special ? offsets[r] : 0, stride, i, wanted);
            expect_true(same_element(w, dst + (r * pitch + i) * w->compute, wanted), "a wrong element in the tile");
        }
    }
}

static void fuzz_store(const fc_level *level) {
    const ptrdiff_t which = pick(0, FC_STORAGE_KINDS - 1), n = pick(1, 90), rows = pick(1, 4);
    const way *w = &ways[which];
    const ptrdiff_t stride = pick_stride(w->bytes), span = (n - 1) * (stride < 0 ? -stride : stride) + w->bytes;
    const ptrdiff_t row_bytes = span + pick(0, 9), pitch = n + pick(0, 3);
    char *tile = fenced(((rows - 1) * pitch + n) * w->compute, w->compute);
    fill_tile(w, tile, (rows - 1) * pitch + n);
    char *array = fenced((rows - 1) * row_bytes + span, 1), *first = array + (stride < 0 ? span - w->bytes : 0);
    calling("store_rows");
    level->store_rows[which](first, row_bytes, stride, tile, pitch, rows, n);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t i = 0; i < n; i++)
            expect_true(stored_right(w, tile + (r * pitch + i) * w->compute, first + r * row_bytes + i * stride),
                        "a wrong element in the array");
}

const fuzz_case row_cases[] = {{"load_rows", fuzz_load, 20}, {"store_rows", fuzz_store, 20}, {NULL, NULL, 0}};
