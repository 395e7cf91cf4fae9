/* Implicit GEMM the other way round: pixels in the lanes, FC_PIXELS_ROWS output channels x FC_PIXELS_VECTORS vectors of
 * pixels in registers.
 *
 * A step of the reduction loads one row of samples and broadcasts one weight an output channel from where the user has
 * it: no weights are packed, and results are stored without a transposition.
 */

#define LINE ((ptrdiff_t)(64 / sizeof(FC_T)))

/* Where a register tile reads its samples, and the next ones, of each of which it fetches one line of the cache. */
typedef struct {
    const FC_T *src, *next;
    const ptrdiff_t *offsets;
    ptrdiff_t lines; /* that are not fetched yet */
} FC_ID(samples);

/* Output channels from `first` on; returns the one after them. The last vector is moved back, to end with the pixels. */
FC_INLINE ptrdiff_t FC_ID(pixels_rows)(const fc_pixels_tile *tile, FC_ID(samples) *from, ptrdiff_t first, int rows,
                                       int vectors, int packs) {
    FC_ID(vec) acc[FC_PIXELS_ROWS][FC_PIXELS_VECTORS];
    const ptrdiff_t last = tile->pixels < FC_LANES ? 0 : tile->pixels - FC_LANES;
    FC_T *dst = (FC_T *)tile->dst + first * tile->dst_pitch;
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        const FC_T bias = tile->bias ? ((const FC_T *)tile->bias)[first + r] : 0;
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            if (tile->accumulate)
                acc[r][v] = FC_ID(load)(dst + r * tile->dst_pitch + (v < vectors - 1 ? v * FC_LANES : last));
            else
                acc[r][v] = (FC_ID(vec)){0} + bias;
        }
    }
    const FC_T *weights = (const FC_T *)tile->weights + first * tile->weight_pitch, *w[FC_PIXELS_ROWS];
    FC_UNROLL
    for (int r = 0; r < rows; r++)
        w[r] = weights + r * tile->weight_pitch;
    const FC_T *next = from->lines > 0 ? from->next : tile->src;
    for (ptrdiff_t k = 0; k < tile->n_products; k++) {
        const FC_T *src = from->src + from->offsets[k];
        FC_ID(vec) x[FC_PIXELS_VECTORS];
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            const ptrdiff_t at = v < vectors - 1 ? v * FC_LANES : last;
            x[v] = FC_ID(load)(src + at);
            if (packs)
                *(FC_ID(vec_memory) *)((FC_T *)tile->packed + tile->packed_offsets[k] + at) = x[v];
        }
        __builtin_prefetch(next + tile->offsets[k], 0, 2);
        FC_UNROLL
        for (int r = 0; r < rows; r++) {
            const FC_T weight = w[r][k];
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                acc[r][v] += x[v] * weight;
        }
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            *(FC_ID(vec_memory) *)(dst + r * tile->dst_pitch + (v < vectors - 1 ? v * FC_LANES : last)) = acc[r][v];
    }
    from->next += LINE;
    from->lines--;
    return first + rows;
}

/* What does not fill the register tile's rows goes through halves of it. */
FC_INLINE void FC_ID(pixels_wide)(const fc_pixels_tile *tile, int vectors) {
    /* Those that do not begin on a line reach into one more. */
    const ptrdiff_t lines = (FC_PIXELS_VECTORS * FC_LANES + LINE - 1) / LINE + 1;
    FC_ID(samples) from = {tile->src, tile->next, tile->offsets, lines};
    ptrdiff_t first = 0;
    if (tile->packed) {
        first = FC_ID(pixels_rows)(tile, &from, first, FC_PIXELS_ROWS, vectors, 1);
        from.src = tile->packed, from.offsets = tile->packed_offsets;
    }
    while (first + FC_PIXELS_ROWS <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, &from, first, FC_PIXELS_ROWS, vectors, 0);
    if (FC_PIXELS_ROWS > 4 && first + 4 <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, &from, first, FC_PIXELS_ROWS > 4 ? 4 : 1, vectors, 0);
    if (FC_PIXELS_ROWS > 2 && first + 2 <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, &from, first, FC_PIXELS_ROWS > 2 ? 2 : 1, vectors, 0);
    if (first < tile->channels_out)
        FC_ID(pixels_rows)(tile, &from, first, 1, vectors, 0);
}

static void FC_ID(pixels)(const fc_pixels_tile *tile) {
    switch ((tile->pixels + FC_LANES - 1) / FC_LANES) {
    case 1: FC_ID(pixels_wide)(tile, 1); break;
    case 2: FC_ID(pixels_wide)(tile, 2); break;
    case 3: FC_ID(pixels_wide)(tile, 3); break;
    }
}

/* Products of some output channels, summed in the lanes, and then across them. */
FC_INLINE void FC_ID(pixel_rows)(FC_T *dst, const FC_T *column, ptrdiff_t n, const FC_T *weights, ptrdiff_t pitch,
                                 ptrdiff_t dst_pitch, int rows) {
    FC_ID(vec) acc[FC_PIXELS_ROWS];
    FC_UNROLL
    for (int r = 0; r < rows; r++)
        acc[r] = (FC_ID(vec)){0};
    ptrdiff_t k = 0;
    for (; k + FC_LANES <= n; k += FC_LANES) {
        const FC_ID(vec) x = FC_ID(load)(column + k);
        FC_UNROLL
        for (int r = 0; r < rows; r++)
            acc[r] += x * FC_ID(load)(weights + r * pitch + k);
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_T sums[FC_LANES];
        *(FC_ID(vec_memory) *)sums = acc[r];
        FC_UNROLL
        for (int half = FC_LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++)
                sums[i] += sums[i + half];
        for (ptrdiff_t i = k; i < n; i++)
            sums[0] += column[i] * weights[r * pitch + i];
        dst[r * dst_pitch] += sums[0];
    }
}

/* An image of 7 x 7 is three vectors of sixteen and this. Its samples are copied side by side, some at a time. */
static void FC_ID(pixel)(const fc_pixels_tile *tile) {
    enum { SOME = 256 };
    FC_T column[SOME], *dst = tile->dst;
    const FC_T *weights = tile->weights, *src = tile->src;
    if (!tile->accumulate)
        for (ptrdiff_t o = 0; o < tile->channels_out; o++)
            dst[o * tile->dst_pitch] = tile->bias ? ((const FC_T *)tile->bias)[o] : 0;
    for (ptrdiff_t k = 0; k < tile->n_products; k += SOME) {
        const ptrdiff_t n = tile->n_products - k < SOME ? tile->n_products - k : SOME;
        for (ptrdiff_t i = 0; i < n; i++)
            column[i] = src[tile->offsets[k + i]];
        ptrdiff_t o = 0;
        for (; o + FC_PIXELS_ROWS <= tile->channels_out; o += FC_PIXELS_ROWS)
            FC_ID(pixel_rows)(dst + o * tile->dst_pitch, column, n, weights + o * tile->weight_pitch + k,
                              tile->weight_pitch, tile->dst_pitch, FC_PIXELS_ROWS);
        for (; o < tile->channels_out; o++)
            FC_ID(pixel_rows)(dst + o * tile->dst_pitch, column, n, weights + o * tile->weight_pitch + k,
                              tile->weight_pitch, tile->dst_pitch, 1);
    }
}

static void FC_ID(unroll)(const fc_unroll *step) {
    FC_T *dst = step->dst;
    for (ptrdiff_t k = 0; k < step->n_products; k++, dst += step->dst_pitch) {
        const FC_T *src = (const FC_T *)step->src + step->offsets[k];
        for (ptrdiff_t i = 0; i < step->n_moves; i++)
            *(FC_ID(vec_memory) *)(dst + step->moves[i].to) = FC_ID(load)(src + step->moves[i].from);
    }
}

#undef LINE
