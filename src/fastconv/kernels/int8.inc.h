/* Products of bytes, summed exactly in 32 bits: an unsigned sample times a signed weight, four at a time.
 *
 * Output channels lie in the lanes. A step of the reduction broadcasts the four bytes (a quad) of each pixel and
 * multiplies them with the quads of all output channels:
 *
 *     weights   [run][quad][FC_INT8_COLUMNS][4]
 *     lane o    acc[o] += x[0] * w[o][0] + x[1] * w[o][1] + x[2] * w[o][2] + x[3] * w[o][3]
 *
 * A wrapper that defines FC_INT8_VNNI has an instruction for that. Elsewhere the even and the odd bytes are spread to
 * 16 bits. With FC_INT8_MADD, which every x86 but the base has, two products of each are added in 32 bits; else
 * products are made in 16 bits, which hold 255 * -128, and widened. Never the instruction that adds two products in 16
 * bits: 255 * 127 * 2 is beyond them.
 */
#define LANES (FC_VECTOR_BYTES / 4)
#define INT8_ID(name) FC_PASTE(FC_PASTE(name, _), FC_INT8)
#define VECTORS 2 /* of output channels in the register tile; FC_INT8_COLUMNS is a multiple of so many lanes */

typedef int32_t INT8_ID(i32) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef uint32_t INT8_ID(u32) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef int16_t INT8_ID(i16) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef uint16_t INT8_ID(u16) __attribute__((vector_size(FC_VECTOR_BYTES)));

FC_INLINE INT8_ID(u32) INT8_ID(broadcast)(const uint8_t *x) {
    uint32_t quad;
    __builtin_memcpy(&quad, x, 4);
    return (INT8_ID(u32)){0} + quad;
}

#ifdef FC_INT8_VNNI
typedef INT8_ID(i32) INT8_ID(factor);

FC_INLINE INT8_ID(factor) INT8_ID(weights)(const int8_t *w) { return *(const INT8_ID(i32) *)(const void *)w; }

FC_INLINE INT8_ID(factor) INT8_ID(samples)(const uint8_t *x) { return (INT8_ID(i32))INT8_ID(broadcast)(x); }

FC_INLINE INT8_ID(i32) INT8_ID(dot)(INT8_ID(i32) acc, INT8_ID(factor) x, INT8_ID(factor) w) {
    return (INT8_ID(i32))_mm512_dpbusd_epi32((__m512i)acc, (__m512i)x, (__m512i)w);
}
#else
/* Bytes 0 and 2, and 1 and 3, of each quad. */
typedef struct { INT8_ID(i16) even, odd; } INT8_ID(factor);

FC_INLINE INT8_ID(factor) INT8_ID(weights)(const int8_t *w) {
    const INT8_ID(i16) quads = *(const INT8_ID(i16) *)(const void *)w;
    return (INT8_ID(factor)){(INT8_ID(i16))((INT8_ID(u16))quads << 8) >> 8, quads >> 8};
}

FC_INLINE INT8_ID(factor) INT8_ID(samples)(const uint8_t *x) {
    const INT8_ID(u16) quads = (INT8_ID(u16))INT8_ID(broadcast)(x);
    return (INT8_ID(factor)){(INT8_ID(i16))(quads & 0xff), (INT8_ID(i16))(quads >> 8)};
}

FC_INLINE INT8_ID(i32) INT8_ID(pairs)(INT8_ID(i16) x, INT8_ID(i16) w) {
#if !defined(FC_INT8_MADD)
    const INT8_ID(u32) products = (INT8_ID(u32))(x * w);
    return ((INT8_ID(i32))(products << 16) >> 16) + ((INT8_ID(i32))products >> 16);
#elif FC_VECTOR_BYTES == 64
    return (INT8_ID(i32))_mm512_madd_epi16((__m512i)x, (__m512i)w);
#elif FC_VECTOR_BYTES == 32
    return (INT8_ID(i32))_mm256_madd_epi16((__m256i)x, (__m256i)w);
#else
    return (INT8_ID(i32))_mm_madd_epi16((__m128i)x, (__m128i)w);
#endif
}

FC_INLINE INT8_ID(i32) INT8_ID(dot)(INT8_ID(i32) acc, INT8_ID(factor) x, INT8_ID(factor) w) {
    /* Unsigned: sums count modulo 2^32. */
    return (INT8_ID(i32))((INT8_ID(u32))acc + (INT8_ID(u32))INT8_ID(pairs)(x.even, w.even) +
                          (INT8_ID(u32))INT8_ID(pairs)(x.odd, w.odd));
}
#endif

FC_INLINE void INT8_ID(tile)(const fc_int8_tile *tile, int strips, int pixels) {
    const ptrdiff_t pitch = tile->pixel_pitch;
    for (int first = 0; first < FC_INT8_COLUMNS; first += VECTORS * LANES) {
        INT8_ID(i32) acc[2 * FC_INT8_PIXELS][VECTORS];
        FC_UNROLL
        for (int r = 0; r < strips * pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < VECTORS; v++)
                acc[r][v] = (INT8_ID(i32)){0};
        }
        const int8_t *weights = tile->weights + first * 4;
        for (ptrdiff_t run = 0; run < tile->n_runs; run++) {
            const uint8_t *x = tile->src + tile->runs[run];
            const ptrdiff_t gap = tile->second - tile->src;
            for (ptrdiff_t q = 0; q < tile->quads; q++, x += 4, weights += FC_INT8_COLUMNS * 4) {
                INT8_ID(factor) w[VECTORS];
                FC_UNROLL
                for (int v = 0; v < VECTORS; v++)
                    w[v] = INT8_ID(weights)(weights + v * FC_VECTOR_BYTES);
                FC_UNROLL
                for (int r = 0; r < strips * pixels; r++) {
                    const INT8_ID(factor) samples =
                        INT8_ID(samples)(r < pixels ? x + r * pitch : x + gap + (r - pixels) * pitch);
                    FC_UNROLL
                    for (int v = 0; v < VECTORS; v++)
                        acc[r][v] = INT8_ID(dot)(acc[r][v], samples, w[v]);
                }
            }
        }
        FC_UNROLL
        for (int r = 0; r < strips * pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < VECTORS; v++)
                *(INT8_ID(i32) *)(tile->sums + r * FC_INT8_COLUMNS + first + v * LANES) = acc[r][v];
        }
    }
}

/* One copy of the loop a size, so that the accumulators of each are registers. */
static void INT8_ID(int8)(const fc_int8_tile *tile) {
#define CASE(n)                                                         \
    case n:                                                             \
        if (n <= FC_INT8_PIXELS && tile->strips == 1)                   \
            INT8_ID(tile)(tile, 1, n <= FC_INT8_PIXELS ? n : 1);        \
        else if (n <= FC_INT8_PIXELS)                                   \
            INT8_ID(tile)(tile, 2, n <= FC_INT8_PIXELS ? n : 1);        \
        break
    switch (tile->pixels) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7);
    }
#undef CASE
}

/* Nothing is set up and taken down around the tiles. */
static void INT8_ID(int8_begin)(ptrdiff_t pixels, ptrdiff_t chunk) {
    (void)pixels;
    (void)chunk;
}

static void INT8_ID(int8_end)(void) {}

#undef LANES
#undef INT8_ID
#undef VECTORS
