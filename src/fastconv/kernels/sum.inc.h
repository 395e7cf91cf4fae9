/* Sums of rows that lie anywhere, of which box filters are made. */
/* Finding a term costs as much as adding a few vectors of it. */
#define SUM_VECTORS (FC_VECTOR_BYTES == 64 ? 8 : 4)

typedef __typeof__((FC_ID(vec)){0} == (FC_ID(vec)){0}) FC_ID(mask);

/* sum / divisor, correctly rounded: a product with the reciprocal, and what is missing from it. The quotient of an
 * infinite sum has nothing missing but Inf - Inf. */
FC_INLINE FC_ID(vec) FC_ID(sum_divide)(FC_ID(vec) sum, FC_T divisor, FC_T reciprocal) {
#if defined(__FMA__) || defined(__aarch64__)
    const FC_ID(vec) quotient = sum * reciprocal;
    const FC_ID(vec) missing = (sum - quotient * divisor) * reciprocal;
    return quotient + (FC_ID(vec))((quotient - quotient == 0) & (FC_ID(mask))missing);
#else
    (void)reciprocal;
    return sum / divisor;
#endif
}

FC_INLINE void FC_ID(sum_block)(const fc_sum_tile *tile, ptrdiff_t y, ptrdiff_t x, int divide, int vectors) {
    FC_ID(vec) sum[SUM_VECTORS];
    const FC_T divisor = (FC_T)tile->divisor, reciprocal = 1 / divisor;
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
            divide ? FC_ID(sum_divide)(sum[v], divisor, reciprocal) : sum[v];
}

FC_INLINE void FC_ID(sum_rows)(const fc_sum_tile *tile, int divide) {
    const ptrdiff_t wide = FC_LANES * SUM_VECTORS, last = tile->width - FC_LANES;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        ptrdiff_t x = 0;
        for (; x + wide <= tile->width; x += wide)
            FC_ID(sum_block)(tile, y, x, divide, SUM_VECTORS);
        for (; x < tile->width; x += FC_LANES)
            FC_ID(sum_block)(tile, y, x <= last || tile->slack ? x : last, divide, 1);
    }
}

static void FC_ID(sum)(const fc_sum_tile *tile) {
    if (tile->divisor != 1)
        FC_ID(sum_rows)(tile, 1);
    else
        FC_ID(sum_rows)(tile, 0);
}

#undef SUM_VECTORS
