/* Sums of rows that lie anywhere, of which box filters are made. */
/* Finding a term costs as much as adding a few vectors of it. */
#define SUM_VECTORS (FC_VECTOR_BYTES == 64 ? 8 : 4)

#if FC_WHOLE
typedef uint32_t FC_ID(pairs) __attribute__((vector_size(FC_VECTOR_BYTES)));

typedef struct {
    uint32_t multiplier;
    int shift;
} FC_ID(divisor);

/* The multiplier is 2^shift / divisor rounded up, of 16 bits. What that adds to a quotient does not reach the next whole
 * number: it is less than sum / 2^shift, and that is below 1 for sums of up to 255 * divisor and divisors of up to 128.
 * Granlund and Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994. */
FC_INLINE FC_ID(divisor) FC_ID(divisor_of)(double divisor) {
    const uint32_t d = (uint32_t)divisor;
    const int shift = 15 + (d > 1 ? 32 - __builtin_clz(d - 1) : 0);
    return (FC_ID(divisor)){((1u << shift) + d - 1) / d, shift};
}

/* Two lanes in the halves of one that holds their products. */
FC_INLINE FC_ID(vec) FC_ID(sum_divide)(FC_ID(vec) sum, FC_ID(divisor) by) {
    const FC_ID(pairs) both = (FC_ID(pairs))sum;
    const FC_ID(pairs) low = (both & 0xffff) * by.multiplier >> by.shift;
    const FC_ID(pairs) high = (both >> 16) * by.multiplier >> by.shift;
    return (FC_ID(vec))(low | high << 16);
}
#else
typedef __typeof__((FC_ID(vec)){0} == (FC_ID(vec)){0}) FC_ID(mask);

typedef struct {
    FC_T divisor, reciprocal;
} FC_ID(divisor);

FC_INLINE FC_ID(divisor) FC_ID(divisor_of)(double divisor) {
    return (FC_ID(divisor)){(FC_T)divisor, 1 / (FC_T)divisor};
}

/* Correctly rounded: a product with the reciprocal, and what is missing from it. The quotient of an infinite sum has
 * nothing missing but Inf - Inf. */
FC_INLINE FC_ID(vec) FC_ID(sum_divide)(FC_ID(vec) sum, FC_ID(divisor) by) {
#if defined(__FMA__) || defined(__aarch64__)
    const FC_ID(vec) quotient = sum * by.reciprocal;
    const FC_ID(vec) missing = (sum - quotient * by.divisor) * by.reciprocal;
    return quotient + (FC_ID(vec))((quotient - quotient == 0) & (FC_ID(mask))missing);
#else
    return sum / by.divisor;
#endif
}
#endif

FC_INLINE void FC_ID(sum_block)(const fc_sum_tile *tile, FC_ID(divisor) by, ptrdiff_t y, ptrdiff_t x, int divide,
                                int vectors) {
    FC_ID(vec) sum[SUM_VECTORS];
    const FC_T *first = (const FC_T *)tile->terms[0] + y * tile->pitches[0] + x;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        sum[v] = *(const FC_ID(vec_memory) *)(first + v * FC_LANES);
    for (ptrdiff_t t = 1; t < tile->n_terms; t++) {
        const FC_T *term = (const FC_T *)tile->terms[t] + y * tile->pitches[t] + x;
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            sum[v] += *(const FC_ID(vec_memory) *)(term + v * FC_LANES);
    }
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        *(FC_ID(vec_memory) *)((FC_T *)tile->dst + y * tile->dst_pitch + x + v * FC_LANES) =
            divide ? FC_ID(sum_divide)(sum[v], by) : sum[v];
}

FC_INLINE void FC_ID(sum_rows)(const fc_sum_tile *tile, int divide) {
    const FC_ID(divisor) by = FC_ID(divisor_of)(tile->divisor);
    const ptrdiff_t wide = FC_LANES * SUM_VECTORS, last = tile->width - FC_LANES;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        ptrdiff_t x = 0;
        for (; x + wide <= tile->width; x += wide)
            FC_ID(sum_block)(tile, by, y, x, divide, SUM_VECTORS);
        for (; x < tile->width; x += FC_LANES)
            FC_ID(sum_block)(tile, by, y, x <= last || tile->slack ? x : last, divide, 1);
    }
}

static void FC_ID(sum)(const fc_sum_tile *tile) {
    if (tile->divisor != 1)
        FC_ID(sum_rows)(tile, 1);
    else
        FC_ID(sum_rows)(tile, 0);
}

#undef SUM_VECTORS
