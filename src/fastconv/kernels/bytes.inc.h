/* The stages around the products of bytes: samples gathered to neighbouring channels, weights to quads, and sums
 * brought to the scale of the result. */
#define LANES (FC_VECTOR_BYTES / 4)

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint8_t bytes16_memory __attribute__((vector_size(16), aligned(1), may_alias));
typedef int32_t sums_i32 __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef uint32_t sums_u32 __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef float sums_f32 __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef uint8_t sums_u8 __attribute__((vector_size(LANES)));
typedef uint32_t words4 __attribute__((vector_size(16)));
typedef uint32_t words4_memory __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint8_t sums_u8_memory __attribute__((vector_size(LANES), aligned(1), may_alias));

/* rows[i] becomes column i. Each of four rounds interleaves row i with row i + 8. */
FC_INLINE void transpose_bytes(bytes16 rows[16]) {
    FC_UNROLL
    for (int round = 0; round < 4; round++) {
        bytes16 mixed[16];
        FC_UNROLL
        for (int i = 0; i < 8; i++) {
            mixed[2 * i] = __builtin_shufflevector(rows[i], rows[i + 8], FC_LOW_16);
            mixed[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 8], FC_HIGH_16);
        }
        FC_UNROLL
        for (int i = 0; i < 16; i++)
            rows[i] = mixed[i];
    }
}

/* n <= 16 bytes, as two pieces that may overlap; what is behind them in the row is 0. */
FC_INLINE bytes16 short_row(const uint8_t *src, ptrdiff_t n) {
    uint8_t row[16] = {0};
    if (n >= 8) {
        __builtin_memcpy(row, src, 8);
        __builtin_memcpy(row + n - 8, src + n - 8, 8);
    } else if (n >= 4) {
        __builtin_memcpy(row, src, 4);
        __builtin_memcpy(row + n - 4, src + n - 4, 4);
    } else {
        for (ptrdiff_t i = 0; i < n; i++)
            row[i] = src[i];
    }
    return *(const bytes16_memory *)row;
}

/* 16 channels of n <= 16 neighbouring pixels. */
FC_INLINE void gather_16_channels(uint8_t *dst, ptrdiff_t pixel_pitch, const uint8_t *src, ptrdiff_t channel_stride,
                                  int n, uint8_t flip) {
    bytes16 rows[16];
    FC_UNROLL
    for (int c = 0; c < 16; c++) {
        const uint8_t *row = src + c * channel_stride;
        rows[c] = n == 16 ? (bytes16) * (const bytes16_memory *)row : short_row(row, n);
    }
    transpose_bytes(rows);
    if (n == 16) {
        FC_UNROLL
        for (int i = 0; i < 16; i++)
            *(bytes16_memory *)(dst + i * pixel_pitch) = rows[i] ^ flip;
    } else {
        bytes16 kept[16];
        FC_UNROLL
        for (int i = 0; i < 16; i++)
            kept[i] = rows[i] ^ flip;
        for (int i = 0; i < n; i++)
            *(bytes16_memory *)(dst + i * pixel_pitch) = kept[i];
    }
}

static void gather_bytes(uint8_t *dst, ptrdiff_t pixel_pitch, const uint8_t *src, ptrdiff_t pixel_stride,
                         ptrdiff_t channel_stride, ptrdiff_t channels, ptrdiff_t n, uint8_t flip) {
    ptrdiff_t c = 0;
    if (pixel_stride == 1 && n >= 16) {
        /* The last 16 pixels may overlap those before: they are written twice. */
        for (; c + 16 <= channels; c += 16) {
            for (ptrdiff_t i = 0; i < n; i += 16) {
                const ptrdiff_t at = i + 16 <= n ? i : n - 16;
                gather_16_channels(dst + at * pixel_pitch + c, pixel_pitch, src + at + c * channel_stride,
                                   channel_stride, 16, flip);
            }
        }
    } else if (pixel_stride == 1) {
        for (; c + 16 <= channels; c += 16)
            gather_16_channels(dst + c, pixel_pitch, src + c * channel_stride, channel_stride, (int)n, flip);
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint8_t *pixel = src + i * pixel_stride;
        uint8_t *packed = dst + i * pixel_pitch;
        if (channel_stride == 1) {
            for (ptrdiff_t k = c; k < channels; k++)
                packed[k] = pixel[k] ^ flip;
        } else {
            for (ptrdiff_t k = c; k < channels; k++)
                packed[k] = pixel[k * channel_stride] ^ flip;
        }
    }
}

/* n neighbours of one run into their quads of one output channel, from byte `position` of the run on. */
static int32_t pack_quads(int8_t *column, ptrdiff_t position, const uint8_t *src, ptrdiff_t stride, ptrdiff_t n,
                          uint8_t flip) {
    int32_t sum = 0;
    ptrdiff_t i = 0;
    while (i < n) {
        const ptrdiff_t at = position + i, bytes = at % 4 == 0 && i + 4 <= n ? 4 : 1;
        int8_t quad[4];
        for (ptrdiff_t k = 0; k < bytes; k++) {
            quad[k] = (int8_t)(src[(i + k) * stride] ^ flip);
            sum += quad[k];
        }
        int8_t *dst = column + at / 4 * (FC_INT8_COLUMNS * 4) + at % 4;
        if (bytes == 4)
            __builtin_memcpy(dst, quad, 4);
        else
            *dst = quad[0];
        i += bytes;
    }
    return sum;
}

FC_INLINE sums_i32 corrected(const fc_int8_store *store, ptrdiff_t pixel, ptrdiff_t o) {
    sums_u32 sum = *(const sums_u32 *)(store->sums + pixel * FC_INT8_COLUMNS + o);
    sum += *(const sums_u32 *)(store->base + o);
    if (store->windows)
        sum -= *(const sums_u32 *)(store->windows + pixel * FC_INT8_COLUMNS + o) * *(const sums_u32 *)(store->w_zero + o);
    return (sums_i32)sum;
}

/* The bits of a where the mask is set, else those of b. */
FC_INLINE sums_f32 chosen(sums_i32 mask, sums_f32 a, sums_f32 b) {
    return (sums_f32)((mask & (sums_i32)a) | (~mask & (sums_i32)b));
}

/* Scaled, brought to the range, rounded half to even, moved by the zero point: in that order, as onnxruntime does. The
 * lowest byte of each lane is the result. */
FC_INLINE sums_u32 requantised(const fc_int8_store *store, ptrdiff_t pixel, ptrdiff_t o) {
    const sums_f32 low = (sums_f32){0} + store->low, high = (sums_f32){0} + store->high;
    sums_f32 x = __builtin_convertvector(corrected(store, pixel, o), sums_f32) * *(const sums_f32 *)(store->scale + o);
    x = chosen(x < low, low, x);
    x = chosen(x > high, high, x);
    /* In front of 1.5 * 2^23 there is no room for a fraction: the sum is rounded, its last bits are the integer. */
    return (sums_u32)(x + 12582912.0f) + (uint32_t)store->zero;
}

/* Four neighbouring pixels in one lane of their channel, the first one where its memory begins. */
FC_INLINE sums_u32 four_pixels(const fc_int8_store *store, ptrdiff_t pixel, ptrdiff_t o) {
    sums_u32 four = {0};
    FC_UNROLL
    for (int i = 0; i < 4; i++)
        four |= (requantised(store, pixel + i, o) & 0xff) << 8 * (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 3 - i : i);
    return four;
}

/* Four words of each of FC_INT8_COLUMNS channels, to 16 bytes of each of `channels`. */
FC_INLINE void store_words(uint32_t words[4][FC_INT8_COLUMNS], char *dst, ptrdiff_t channel_stride, ptrdiff_t channels) {
    for (ptrdiff_t o = 0; o < channels; o += 4) {
        words4 rows[4], mixed[4];
        FC_UNROLL
        for (int i = 0; i < 4; i++)
            rows[i] = *(const words4 *)(words[i] + o);
        FC_UNROLL
        for (int round = 0; round < 2; round++) {
            FC_UNROLL
            for (int i = 0; i < 2; i++) {
                mixed[2 * i] = __builtin_shufflevector(rows[i], rows[i + 2], FC_LOW_4);
                mixed[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 2], FC_HIGH_4);
            }
            FC_UNROLL
            for (int i = 0; i < 4; i++)
                rows[i] = mixed[i];
        }
        FC_UNROLL
        for (int i = 0; i < 4; i++)
            if (o + i < channels)
                *(words4_memory *)(dst + (o + i) * channel_stride) = rows[i];
    }
}

static void store_requantised(const fc_int8_store *store) {
    uint32_t words[4][FC_INT8_COLUMNS] __attribute__((aligned(64))) = {{0}};
    for (ptrdiff_t pixel = 0; pixel < store->pixels; pixel += 16) {
        const ptrdiff_t rest = store->pixels - pixel, groups = rest < 16 ? (rest + 3) / 4 : 4;
        for (ptrdiff_t i = 0; i < groups; i++) {
            FC_UNROLL
            for (int o = 0; o < FC_INT8_COLUMNS; o += LANES)
                *(sums_u32 *)(words[i] + o) = four_pixels(store, pixel + 4 * i, o);
        }
        store_words(words, (char *)store->dst + pixel, store->channel_stride, store->channels);
    }
}

/* The sums themselves. */
static void store_sums(const fc_int8_store *store) {
    uint32_t words[4][FC_INT8_COLUMNS] __attribute__((aligned(64)));
    for (ptrdiff_t pixel = 0; pixel < store->pixels; pixel += 4) {
        FC_UNROLL
        for (int i = 0; i < 4; i++) {
            FC_UNROLL
            for (int o = 0; o < FC_INT8_COLUMNS; o += LANES)
                *(sums_i32 *)(words[i] + o) = corrected(store, pixel + i, o);
        }
        store_words(words, (char *)store->dst + 4 * pixel, store->channel_stride, store->channels);
    }
}

/* The same with the channels side by side. */
static void store_requantised_last(const fc_int8_store *store) {
    for (ptrdiff_t pixel = 0; pixel < store->pixels; pixel++) {
        uint8_t row[FC_INT8_COLUMNS];
        FC_UNROLL
        for (int o = 0; o < FC_INT8_COLUMNS; o += LANES)
            *(sums_u8_memory *)(row + o) = __builtin_convertvector(requantised(store, pixel, o), sums_u8);
        uint8_t *dst = (uint8_t *)store->dst + pixel * store->pixel_stride;
        if (store->channels == FC_INT8_COLUMNS) {
            __builtin_memcpy(dst, row, FC_INT8_COLUMNS);
        } else {
            for (ptrdiff_t o = 0; o < store->channels; o++)
                dst[o] = row[o];
        }
    }
}

#undef LANES
