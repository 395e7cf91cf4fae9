/* Correlation along one axis in doubles, each operation rounded: no multiply-add, and a fixed order. */
#define FOLD_VECTORS 4

/* One more term of `vectors` vectors: the sample at `a`, plus or minus that at `b`, times the weight. */
FC_INLINE void FC_ID(fold_term)(FC_ID(vec) *sum, const FC_T *a, const FC_T *b, FC_T weight, int symmetry, int first,
                                int vectors) {
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        FC_ID(vec) product = *(const FC_ID(vec_memory) *)(a + v * FC_LANES);
        if (symmetry > 0)
            product += *(const FC_ID(vec_memory) *)(b + v * FC_LANES);
        else if (symmetry < 0)
            product -= *(const FC_ID(vec_memory) *)(b + v * FC_LANES);
        product *= weight;
        FC_OPAQUE(product);
        sum[v] = first ? product : sum[v] + product;
    }
}

FC_INLINE void FC_ID(fold_block)(const fc_fold_tile *tile, const FC_T *src, FC_T *dst, int symmetry, int vectors) {
    FC_ID(vec) sum[FOLD_VECTORS];
    const ptrdiff_t step = tile->step, last = tile->taps - 1, middle = symmetry ? last / 2 : last;
    FC_ID(fold_term)(sum, src + middle * step, NULL, tile->weights[middle], 0, 1, vectors);
    for (ptrdiff_t j = 0; j < middle; j++)
        FC_ID(fold_term)(sum, src + j * step, src + (last - j) * step, tile->weights[j], symmetry, 0, vectors);
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        *(FC_ID(vec_memory) *)(dst + v * FC_LANES) = sum[v];
}

FC_INLINE void FC_ID(fold_rows)(const fc_fold_tile *tile, int symmetry) {
    const ptrdiff_t wide = FC_LANES * FOLD_VECTORS, last = tile->width - FC_LANES;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        const FC_T *src = (const FC_T *)tile->src + y * tile->src_pitch;
        FC_T *dst = (FC_T *)tile->dst + y * tile->dst_pitch;
        ptrdiff_t x = 0;
        for (; x + wide <= tile->width; x += wide)
            FC_ID(fold_block)(tile, src + x, dst + x, symmetry, FOLD_VECTORS);
        for (; x < tile->width; x += FC_LANES) {
            const ptrdiff_t at = x <= last || tile->slack ? x : last;
            FC_ID(fold_block)(tile, src + at, dst + at, symmetry, 1);
        }
    }
}

static void FC_ID(fold)(const fc_fold_tile *tile) {
    if (tile->symmetry > 0)
        FC_ID(fold_rows)(tile, 1);
    else if (tile->symmetry < 0)
        FC_ID(fold_rows)(tile, -1);
    else
        FC_ID(fold_rows)(tile, 0);
}

#undef FOLD_VECTORS
