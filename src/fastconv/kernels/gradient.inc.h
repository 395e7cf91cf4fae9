/* Gradients of weights: a product of matrices whose reduction runs over the positions of a tile.
 *
 *     samples (channels and taps x positions)  *  gradients (positions x channels out)  ->  sums
 *
 * A row of samples is the packed tile itself, seen from the place of its channel and tap, so the matrix of patches is
 * never made. `gradient_products` has output channels in the lanes and broadcasts samples; `gradient_dots` has positions
 * in the lanes, for one output channel at a time. Both add sums over a whole tile to those of the tiles before, which
 * keeps rounding errors small.
 */
#define DOT_ROWS 12

#define ROWS_OF(vectors) \
    ((vectors) == FC_GRADIENT_VECTORS ? FC_GRADIENT_ROWS : (vectors) == 3 ? 9 : FC_GEMM_PIXELS)

/* A few lines at a time, and some work in between: only a dozen can be on their way. */
#define FETCHED 6
#define FETCH_POSITIONS 16

/* Lines number first..last - 1 of what is wanted next. */
FC_INLINE void FC_ID(gradient_fetch)(const fc_gradient_tile *tile, ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t i = first; i < last; i++)
        __builtin_prefetch(tile->ahead[i]);
}

/* The first line for the register tile that begins with row `first`. */
FC_INLINE ptrdiff_t FC_ID(gradient_share)(const fc_gradient_tile *tile, ptrdiff_t first) {
    return first * tile->n_ahead / (tile->channels * tile->n_taps);
}

/* The first elements of `rows` rows of the matrix, from row number `first` on. */
FC_INLINE void FC_ID(gradient_rows)(const FC_T **x, const fc_gradient_tile *tile, ptrdiff_t first, int rows) {
    ptrdiff_t channel = first / tile->n_taps, tap = first % tile->n_taps;
    for (int r = 0; r < rows; r++) {
        x[r] = (const FC_T *)tile->src + channel * tile->channel_pitch + tile->taps[tap];
        if (++tap == tile->n_taps) {
            tap = 0;
            channel++;
        }
    }
}

FC_INLINE void FC_ID(gradient_add)(const fc_gradient_tile *tile, FC_T *dst, FC_ID(vec) sum) {
    if (tile->accumulate)
        sum += FC_ID(load)(dst);
    *(FC_ID(vec_memory) *)dst = sum;
}

FC_INLINE void FC_ID(gradient_product)(const fc_gradient_tile *tile, ptrdiff_t first, int rows, int vectors) {
    const FC_T *x[FC_GEMM_PIXELS], *grad = tile->grad;
    FC_ID(vec) acc[FC_GEMM_PIXELS][FC_GRADIENT_VECTORS];
    ptrdiff_t line = FC_ID(gradient_share)(tile, first);
    const ptrdiff_t last_line = FC_ID(gradient_share)(tile, first + rows);
    FC_ID(gradient_rows)(x, tile, first, rows);
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            acc[r][v] = (FC_ID(vec)){0};
    }
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        const ptrdiff_t end = y * tile->src_pitch + tile->width;
        for (ptrdiff_t i = end - tile->width; i < end;) {
            const ptrdiff_t stop = end - i < 2 * FETCH_POSITIONS ? end : i + FETCH_POSITIONS;
            const ptrdiff_t fetched = last_line - line < FETCHED ? last_line : line + FETCHED;
            FC_ID(gradient_fetch)(tile, line, fetched);
            line = fetched;
            for (; i < stop; i++, grad += FC_LANES) {
                FC_ID(vec) g[FC_GRADIENT_VECTORS];
                FC_UNROLL
                for (int v = 0; v < vectors; v++)
                    g[v] = FC_ID(load)(grad + v * tile->grad_pitch);
                FC_UNROLL
                for (int r = 0; r < rows; r++) {
                    FC_UNROLL
                    for (int v = 0; v < vectors; v++)
                        acc[r][v] += g[v] * x[r][i];
                }
            }
        }
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            FC_ID(gradient_add)(tile, (FC_T *)tile->dst + v * tile->dst_pitch + (first + r) * FC_LANES, acc[r][v]);
    }
}

/* One copy of the loop a tile height, so that the accumulators of each are registers. */
FC_INLINE void FC_ID(gradient_product_of)(const fc_gradient_tile *tile, ptrdiff_t first, ptrdiff_t rows, int vectors) {
#define CASE(n)                                                \
    case n:                                                    \
        if (n <= ROWS_OF(vectors))                             \
            FC_ID(gradient_product)(tile, first, n, vectors);  \
        break
    switch (rows) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7);
        CASE(8); CASE(9); CASE(10); CASE(11); CASE(12); CASE(13); CASE(14);
    }
#undef CASE
}

FC_INLINE void FC_ID(gradient_vectors)(const fc_gradient_tile *tile, int vectors) {
    const ptrdiff_t rows = tile->channels * tile->n_taps, groups = (rows + ROWS_OF(vectors) - 1) / ROWS_OF(vectors);
    for (ptrdiff_t g = 0; g < groups; g++) {
        const ptrdiff_t first = g * rows / groups, stop = (g + 1) * rows / groups;
        FC_ID(gradient_product_of)(tile, first, stop - first, vectors);
    }
}

static void FC_ID(gradient_products)(const fc_gradient_tile *tile) {
    switch (tile->vectors) {
        case 1: FC_ID(gradient_vectors)(tile, 1); break;
        case 2: FC_ID(gradient_vectors)(tile, 2); break;
        case 3: FC_ID(gradient_vectors)(tile, FC_GRADIENT_VECTORS < 3 ? 1 : 3); break;
        default: FC_ID(gradient_vectors)(tile, FC_GRADIENT_VECTORS); break;
    }
}

typedef __typeof__((FC_ID(vec)){0} == (FC_ID(vec)){0}) FC_ID(lane_mask);

FC_INLINE FC_ID(vec) FC_ID(masked)(FC_ID(vec) value, FC_ID(lane_mask) mask) {
    return (FC_ID(vec))((FC_ID(lane_mask))value & mask);
}

FC_INLINE void FC_ID(gradient_dot)(const fc_gradient_tile *tile, ptrdiff_t first, int rows) {
    const FC_T *x[DOT_ROWS];
    const ptrdiff_t whole = tile->width / FC_LANES * FC_LANES, rest = tile->width - whole;
    /* The last vector of a row ends with it and counts in its upper lanes, unless the row is shorter than a vector. */
    const ptrdiff_t last = whole ? tile->width - FC_LANES : 0;
    const ptrdiff_t line = FC_ID(gradient_share)(tile, first), lines = FC_ID(gradient_share)(tile, first + rows) - line;
    FC_ID(vec) acc[DOT_ROWS];
    FC_ID(lane_mask) mask = (FC_ID(vec)){0} != (FC_ID(vec)){0};
    for (int i = 0; i < FC_LANES; i++)
        mask[i] = (whole ? i >= FC_LANES - rest : i < rest) ? -1 : 0;
    FC_ID(gradient_rows)(x, tile, first, rows);
    FC_UNROLL
    for (int r = 0; r < rows; r++)
        acc[r] = (FC_ID(vec)){0};
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        const FC_T *grad = (const FC_T *)tile->grad + y * tile->grad_pitch;
        const ptrdiff_t at = y * tile->src_pitch;
        FC_ID(gradient_fetch)(tile, line + y * lines / tile->height, line + (y + 1) * lines / tile->height);
        for (ptrdiff_t i = 0; i < whole; i += FC_LANES) {
            const FC_ID(vec) g = FC_ID(load)(grad + i);
            FC_UNROLL
            for (int r = 0; r < rows; r++)
                acc[r] += g * FC_ID(load)(x[r] + at + i);
        }
        /* The other lanes hold samples that may be Inf or NaN, which a gradient of zero would not silence. */
        if (rest) {
            const FC_ID(vec) g = FC_ID(masked)(FC_ID(load)(grad + last), mask);
            FC_UNROLL
            for (int r = 0; r < rows; r++)
                acc[r] += g * FC_ID(masked)(FC_ID(load)(x[r] + at + last), mask);
        }
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++)
        FC_ID(gradient_add)(tile, (FC_T *)tile->dst + (first + r) * FC_LANES, acc[r]);
}

static void FC_ID(gradient_dots)(const fc_gradient_tile *tile) {
    const ptrdiff_t rows = tile->channels * tile->n_taps, groups = (rows + DOT_ROWS - 1) / DOT_ROWS;
    for (ptrdiff_t g = 0; g < groups; g++) {
        const ptrdiff_t first = g * rows / groups, stop = (g + 1) * rows / groups;
#define CASE(n)                             \
    case n:                                 \
        FC_ID(gradient_dot)(tile, first, n); \
        break
        switch (stop - first) {
            CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6);
            CASE(7); CASE(8); CASE(9); CASE(10); CASE(11); CASE(12);
        }
#undef CASE
    }
}

/* Halves are added to halves, so that the order is the same for every row. */
static void FC_ID(gradient_totals)(void *dst, const void *src, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) {
        FC_T lanes[FC_LANES];
        __builtin_memcpy(lanes, (const FC_T *)src + i * FC_LANES, sizeof(lanes));
        for (int half = FC_LANES / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++)
                lanes[j] += lanes[j + half];
        }
        ((FC_T *)dst)[i] = lanes[0];
    }
}

#undef DOT_ROWS
#undef FETCHED
#undef FETCH_POSITIONS
#undef ROWS_OF
