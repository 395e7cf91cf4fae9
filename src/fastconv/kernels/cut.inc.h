/* Correlation of small integers along one axis, cut towards zero where the sums of fold.inc.h would be.
 *
 * Floats hold samples, and sums of two, as they are, and a sum of their products differs from the one in doubles by less
 * than `doubt`. Where a whole number lies within that, the two may be cut to different ones: there the sum is made in
 * doubles too. Except around 0, to which numbers on either side are cut. */
#define CUT_VECTORS 4

typedef double FC_ID(wide) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef FC_T FC_ID(half) __attribute__((vector_size(FC_VECTOR_BYTES / 2)));
typedef FC_T FC_ID(half_memory) __attribute__((vector_size(FC_VECTOR_BYTES / 2), aligned(sizeof(FC_T)), may_alias));
typedef int32_t FC_ID(whole) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef int32_t FC_ID(half_whole) __attribute__((vector_size(FC_VECTOR_BYTES / 2)));
typedef int64_t FC_ID(wide_mask) __attribute__((vector_size(FC_VECTOR_BYTES)));

/* A sample, or the sum or difference of two, which is a whole number too. */
FC_INLINE FC_ID(vec) FC_ID(cut_pair)(const FC_T *a, const FC_T *b, int symmetry) {
    const FC_ID(vec) first = *(const FC_ID(vec_memory) *)a;
    if (symmetry == 0)
        return first;
    const FC_ID(vec) second = *(const FC_ID(vec_memory) *)b;
    return symmetry > 0 ? first + second : first - second;
}

/* The products of both halves, rounded. */
FC_INLINE void FC_ID(cut_products)(FC_ID(wide) product[2], FC_ID(vec) pair, double weight) {
    FC_ID(half) halves[2];
    __builtin_memcpy(halves, &pair, sizeof(pair));
    FC_UNROLL
    for (int h = 0; h < 2; h++) {
        product[h] = __builtin_convertvector(halves[h], FC_ID(wide)) * weight;
        FC_OPAQUE(product[h]);
    }
}

FC_INLINE int FC_ID(any)(FC_ID(wide_mask) flags) {
    int64_t any = 0;
    for (int i = 0; i < FC_LANES / 2; i++)
        any |= flags[i];
    return any != 0;
}

/* In doubles, as fold.inc.h does it. Returns whether any sum is such that it had to be. */
FC_INLINE int FC_ID(cut_exactly)(const fc_fold_tile *tile, const FC_T *src, FC_T *dst, int symmetry, int vectors) {
    FC_ID(wide) sum[CUT_VECTORS][2];
    FC_ID(wide_mask) flags = {0};
    const double doubt = tile->doubt;
    const ptrdiff_t step = tile->step, last = tile->taps - 1, middle = symmetry ? last / 2 : last;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        FC_ID(cut_products)(sum[v], FC_ID(cut_pair)(src + middle * step + v * FC_LANES, NULL, 0), tile->weights[middle]);
    for (ptrdiff_t j = 0; j < middle; j++) {
        const FC_T *a = src + j * step, *b = src + (last - j) * step;
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            FC_ID(wide) product[2];
            FC_ID(cut_products)(product, FC_ID(cut_pair)(a + v * FC_LANES, b + v * FC_LANES, symmetry), tile->weights[j]);
            sum[v][0] += product[0];
            sum[v][1] += product[1];
        }
    }
    FC_UNROLL
    for (int i = 0; i < 2 * vectors; i++) {
        const FC_ID(wide) exact = sum[i / 2][i % 2];
        const FC_ID(half_whole) cut = __builtin_convertvector(exact, FC_ID(half_whole));
        const FC_ID(wide) value = __builtin_convertvector(cut, FC_ID(wide));
        const FC_ID(wide) rest = (FC_ID(wide))((FC_ID(wide_mask))(exact - value) & INT64_MAX);
        *(FC_ID(half_memory) *)(dst + i * (FC_LANES / 2)) = __builtin_convertvector(cut, FC_ID(half));
        flags |= ((rest <= doubt) & (value != 0)) | (rest >= 1 - doubt);
    }
    return FC_ID(any)(flags);
}

/* Returns whether any sum is in doubt. */
FC_INLINE int FC_ID(cut_soon)(const fc_fold_tile *tile, const FC_T *src, FC_T *dst, int symmetry, int vectors) {
    FC_ID(vec) sum[CUT_VECTORS];
    FC_ID(whole) flags = {0};
    const ptrdiff_t step = tile->step, last = tile->taps - 1, middle = symmetry ? last / 2 : last;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        sum[v] = FC_ID(cut_pair)(src + middle * step + v * FC_LANES, NULL, 0) * tile->short_weights[middle];
    for (ptrdiff_t j = 0; j < middle; j++) {
        const FC_T *a = src + j * step, *b = src + (last - j) * step;
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            sum[v] += FC_ID(cut_pair)(a + v * FC_LANES, b + v * FC_LANES, symmetry) * tile->short_weights[j];
    }
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        const FC_ID(whole) cut = __builtin_convertvector(sum[v], FC_ID(whole));
        const FC_ID(vec) value = __builtin_convertvector(cut, FC_ID(vec));
        const FC_ID(vec) rest = (FC_ID(vec))((FC_ID(whole))(sum[v] - value) & INT32_MAX);
        *(FC_ID(vec_memory) *)(dst + v * FC_LANES) = value;
        flags |= ((rest <= tile->doubt) & (cut != 0)) | (rest >= 1 - tile->doubt);
    }
    return FC_ID(any)((FC_ID(wide_mask))flags);
}

/* Where samples are all alike, sums are in doubt for a while: floats are tried again behind the first that is not. */
FC_INLINE int FC_ID(cut_block)(const fc_fold_tile *tile, ptrdiff_t y, ptrdiff_t x, int doubtful, int symmetry,
                               int vectors) {
    const FC_T *src = (const FC_T *)tile->src + y * tile->src_pitch + x;
    FC_T *dst = (FC_T *)tile->dst + y * tile->dst_pitch + x;
    if (!doubtful && !FC_ID(cut_soon)(tile, src, dst, symmetry, vectors))
        return 0;
    return FC_ID(cut_exactly)(tile, src, dst, symmetry, vectors);
}

FC_INLINE void FC_ID(cut_rows)(const fc_fold_tile *tile, int symmetry) {
    const ptrdiff_t wide = FC_LANES * CUT_VECTORS, last = tile->width - FC_LANES;
    int doubtful = 0;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        ptrdiff_t x = 0;
        for (; x + wide <= tile->width; x += wide)
            doubtful = FC_ID(cut_block)(tile, y, x, doubtful, symmetry, CUT_VECTORS);
        for (; x < tile->width; x += FC_LANES)
            doubtful = FC_ID(cut_block)(tile, y, x <= last || tile->slack ? x : last, doubtful, symmetry, 1);
    }
}

static void FC_ID(cut)(const fc_fold_tile *tile) {
    if (tile->symmetry > 0)
        FC_ID(cut_rows)(tile, 1);
    else if (tile->symmetry < 0)
        FC_ID(cut_rows)(tile, -1);
    else
        FC_ID(cut_rows)(tile, 0);
}

#undef CUT_VECTORS
