/* Implicit GEMM the other way round: pixels in the lanes, FC_PIXELS_ROWS output channels x FC_PIXELS_VECTORS vectors of
 * pixels in registers.
 *
 * A step of the reduction loads one row of samples and broadcasts one weight an output channel from where the user has
 * it: no weights are packed, and results are stored without a transposition.
 */

/* Output channels from `first` on. The last vector is moved back, to end with the pixels. */
FC_INLINE void FC_ID(pixels_rows)(const fc_pixels_tile *tile, ptrdiff_t first, ptrdiff_t last, int rows, int vectors) {
    FC_ID(vec) acc[FC_PIXELS_ROWS][FC_PIXELS_VECTORS];
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
    for (ptrdiff_t k = 0; k < tile->n_products; k++) {
        const FC_T *src = (const FC_T *)tile->src + tile->offsets[k];
        FC_ID(vec) x[FC_PIXELS_VECTORS];
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            x[v] = FC_ID(load)(src + (v < vectors - 1 ? v * FC_LANES : last));
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
}

/* What does not fill the register tile's rows goes through halves of it. */
FC_INLINE void FC_ID(pixels_wide)(const fc_pixels_tile *tile, int vectors) {
    const ptrdiff_t last = tile->pixels < FC_LANES ? 0 : tile->pixels - FC_LANES;
    ptrdiff_t first = 0;
    for (; first + FC_PIXELS_ROWS <= tile->channels_out; first += FC_PIXELS_ROWS)
        FC_ID(pixels_rows)(tile, first, last, FC_PIXELS_ROWS, vectors);
    if (FC_PIXELS_ROWS > 4 && first + 4 <= tile->channels_out) {
        FC_ID(pixels_rows)(tile, first, last, FC_PIXELS_ROWS > 4 ? 4 : 1, vectors);
        first += 4;
    }
    if (FC_PIXELS_ROWS > 2 && first + 2 <= tile->channels_out) {
        FC_ID(pixels_rows)(tile, first, last, FC_PIXELS_ROWS > 2 ? 2 : 1, vectors);
        first += 2;
    }
    if (first < tile->channels_out)
        FC_ID(pixels_rows)(tile, first, last, 1, vectors);
}

static void FC_ID(pixels)(const fc_pixels_tile *tile) {
    switch ((tile->pixels + FC_LANES - 1) / FC_LANES) {
    case 1: FC_ID(pixels_wide)(tile, 1); break;
    case 2: FC_ID(pixels_wide)(tile, 2); break;
    case 3: FC_ID(pixels_wide)(tile, 3); break;
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
