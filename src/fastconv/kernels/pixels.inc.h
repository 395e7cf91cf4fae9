/* Implicit GEMM the other way round: pixels in the lanes, FC_PIXELS_ROWS output channels x FC_PIXELS_VECTORS vectors of
 * pixels in registers.
 *
 * A step of the reduction loads one row of samples and broadcasts one weight an output channel from where the user has
 * it: no weights are packed, and results are stored without a transposition.
 */

/* One product of the register tile. */
FC_INLINE void FC_ID(pixels_step)(FC_ID(vec) acc[FC_PIXELS_ROWS][FC_PIXELS_VECTORS], const FC_T *src,
                                  const FC_T *const *weights, ptrdiff_t k, ptrdiff_t last, int rows, int vectors) {
    FC_ID(vec) x[FC_PIXELS_VECTORS];
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        x[v] = FC_ID(load)(src + (v < vectors - 1 ? v * FC_LANES : last));
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        const FC_T weight = weights[r][k];
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            acc[r][v] += x[v] * weight;
    }
}

/* Output channels from `first` on; returns the one after them. The last vector is moved back, to end with the pixels. A
 * move is made before every product, or every second; 0: none. */
FC_INLINE ptrdiff_t FC_ID(pixels_rows)(const fc_pixels_tile *tile, ptrdiff_t first, int rows, int vectors, int looks_up,
                                       int every) {
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
    const FC_T *src = tile->src;
    const ptrdiff_t n = tile->n_products, pitch = tile->pitch, *offsets = tile->offsets;
    ptrdiff_t k = 0;
    /* What is ahead, the moves of one product of it at a time, whose places then stay in registers. */
    while (every && k + every <= n && tile->ahead->step.n_products > 0) {
        fc_unroll *step = &tile->ahead->step;
        const fc_move *move = step->moves + tile->ahead->made, *end = step->moves + step->n_moves;
        const FC_T *from = (const FC_T *)step->src + step->offsets[0];
        const ptrdiff_t far = step->offsets[FC_FAR] - step->offsets[0];
        FC_T *to = step->dst;
        if (end - move > (n - k) / every)
            end = move + (n - k) / every;
        for (; move < end; move++) {
            *(FC_ID(vec_memory) *)(to + move->to) = FC_ID(load)(from + move->from);
            __builtin_prefetch(from + move->from + far, 0, 2);
            FC_UNROLL
            for (int i = 0; i < every; i++, k++, src += pitch)
                FC_ID(pixels_step)(acc, src, w, k, last, rows, vectors);
        }
        tile->ahead->made = move - step->moves;
        if (tile->ahead->made == step->n_moves) {
            tile->ahead->made = 0;
            step->n_products--;
            step->offsets++;
            step->dst = to + step->dst_pitch;
        }
    }
    if (looks_up) {
        for (; k < n; k++)
            FC_ID(pixels_step)(acc, src + offsets[k], w, k, last, rows, vectors);
    } else {
        for (; k < n; k++, src += pitch)
            FC_ID(pixels_step)(acc, src, w, k, last, rows, vectors);
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            *(FC_ID(vec_memory) *)(dst + r * tile->dst_pitch + (v < vectors - 1 ? v * FC_LANES : last)) = acc[r][v];
    }
    return first + rows;
}

/* What does not fill the register tile's rows goes through halves of it. */
FC_INLINE void FC_ID(pixels_wide)(const fc_pixels_tile *tile, int vectors, int looks_up) {
    ptrdiff_t first = 0;
    while (!looks_up && tile->ahead && tile->ahead->step.n_products > 0 && first + FC_PIXELS_ROWS <= tile->channels_out)
        first = tile->ahead->hurry ? FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS, vectors, 0, 1)
                                   : FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS, vectors, 0, 2);
    while (first + FC_PIXELS_ROWS <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS, vectors, looks_up, 0);
    if (FC_PIXELS_ROWS > 4 && first + 4 <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS > 4 ? 4 : 1, vectors, looks_up, 0);
    /* Colours are three, and samples that were read from far away are not read twice. */
    if (FC_PIXELS_ROWS > 3 && first + 3 == tile->channels_out)
        first = FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS > 3 ? 3 : 1, vectors, looks_up, 0);
    if (FC_PIXELS_ROWS > 2 && first + 2 <= tile->channels_out)
        first = FC_ID(pixels_rows)(tile, first, FC_PIXELS_ROWS > 2 ? 2 : 1, vectors, looks_up, 0);
    if (first < tile->channels_out)
        FC_ID(pixels_rows)(tile, first, 1, vectors, looks_up, 0);
}

static void FC_ID(pixels)(const fc_pixels_tile *tile) {
    switch ((tile->pixels + FC_LANES - 1) / FC_LANES) {
    case 1: tile->offsets ? FC_ID(pixels_wide)(tile, 1, 1) : FC_ID(pixels_wide)(tile, 1, 0); break;
    case 2: tile->offsets ? FC_ID(pixels_wide)(tile, 2, 1) : FC_ID(pixels_wide)(tile, 2, 0); break;
    case 3: tile->offsets ? FC_ID(pixels_wide)(tile, 3, 1) : FC_ID(pixels_wide)(tile, 3, 0); break;
    }
}

/* Products that are copied side by side for each of the few pixels, 16 KiB. */
#define SOME 1024
/* Products of which weights are fetched before they are used: with a dense layer's one pixel, nothing else takes time. */
#define AHEAD (1024 / (ptrdiff_t)sizeof(FC_T))
#define FEW (FC_LANES > 4 ? FC_LANES / 4 : 1)

/* Some products of the output channels from `first` on, summed in the lanes, and then across them. */
FC_INLINE ptrdiff_t FC_ID(few_rows)(const fc_pixels_tile *tile, FC_T columns[FEW][SOME], ptrdiff_t k, ptrdiff_t n,
                                    ptrdiff_t first, int rows, int pixels) {
    const FC_T *weights = (const FC_T *)tile->weights + first * tile->weight_pitch + k;
    FC_T *dst = (FC_T *)tile->dst + first * tile->dst_pitch;
    FC_ID(vec) acc[FC_PIXELS_ROWS][FEW];
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int p = 0; p < pixels; p++)
            acc[r][p] = (FC_ID(vec)){0};
    }
    ptrdiff_t i = 0;
    for (; i + FC_LANES <= n; i += FC_LANES) {
        FC_ID(vec) w[FC_PIXELS_ROWS];
        FC_UNROLL
        for (int r = 0; r < rows; r++) {
            const FC_T *row = weights + r * tile->weight_pitch + i;
            w[r] = FC_ID(load)(row);
            __builtin_prefetch(row + AHEAD, 0, 3);
        }
        FC_UNROLL
        for (int p = 0; p < pixels; p++) {
            const FC_ID(vec) x = FC_ID(load)(columns[p] + i);
            FC_UNROLL
            for (int r = 0; r < rows; r++)
                acc[r][p] += x * w[r];
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < pixels; p++) {
            FC_T sums[FC_LANES];
            *(FC_ID(vec_memory) *)sums = acc[r][p];
            FC_UNROLL
            for (int half = FC_LANES / 2; half > 0; half /= 2)
                for (int j = 0; j < half; j++)
                    sums[j] += sums[j + half];
            for (ptrdiff_t j = i; j < n; j++)
                sums[0] += columns[p][j] * weights[r * tile->weight_pitch + j];
            dst[r * tile->dst_pitch + p] += sums[0];
        }
    }
    return first + rows;
}

FC_INLINE void FC_ID(few)(const fc_pixels_tile *tile, int pixels) {
    const int rows = pixels > 2 && FC_PIXELS_ROWS > 1 ? FC_PIXELS_ROWS / 2 : FC_PIXELS_ROWS;
    const FC_T *src = tile->src;
    FC_T columns[FEW][SOME], *dst = tile->dst;
    for (ptrdiff_t o = 0; o < tile->channels_out; o++)
        for (int p = 0; p < pixels; p++)
            dst[o * tile->dst_pitch + p] = tile->bias ? ((const FC_T *)tile->bias)[o] : 0;
    for (ptrdiff_t k = 0; k < tile->n_products; k += SOME) {
        const ptrdiff_t n = tile->n_products - k < SOME ? tile->n_products - k : SOME;
        for (ptrdiff_t i = 0; i < n; i++)
            for (int p = 0; p < pixels; p++)
                columns[p][i] = src[(tile->offsets ? tile->offsets[k + i] : (k + i) * tile->pitch) + p];
        ptrdiff_t o = 0;
        while (o + rows <= tile->channels_out)
            o = FC_ID(few_rows)(tile, columns, k, n, o, rows, pixels);
        while (o < tile->channels_out)
            o = FC_ID(few_rows)(tile, columns, k, n, o, 1, pixels);
    }
}

/* An image of 7 x 7 is three vectors of sixteen and one pixel, 14 x 14 is twelve and four. */
static void FC_ID(pixel)(const fc_pixels_tile *tile) {
    switch (tile->pixels) {
    case 1: FC_ID(few)(tile, 1); break;
    case 2: FC_ID(few)(tile, FEW > 1 ? 2 : 1); break;
    case 3: FC_ID(few)(tile, FEW > 2 ? 3 : 1); break;
    case 4: FC_ID(few)(tile, FEW > 3 ? 4 : 1); break;
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

#undef SOME
#undef AHEAD
#undef FEW
