/* Correlation along one axis with (anti)symmetric weights: the two samples of a pair are added (subtracted) first, so
 * that mirrored input gives mirrored results to the last bit, and a constant under antisymmetric weights gives zero.
 *
 * A pair costs as many operations as its taps would, and the loads are shared as those of the taps would be:
 *
 *     down the rows   four rows of output move through a window of four rows above and four below, and each pair of
 *                     all four costs one new row on either side
 *     along a row     the sample d before one vector of output is the one 64 bytes - d behind the vector before
 */
#define MIRROR_ROWS 4
#define MIRROR_UNIT (64 / (ptrdiff_t)sizeof(FC_T))
#define MIRROR_SHARES (FC_VECTOR_BYTES == 64)
/* What the registers hold beside the windows. */
#define MIRROR_DOWN (FC_DIRECT_ROWS * FC_DIRECT_VECTORS >= 16 ? 2 : 1)
#define MIRROR_BLOCKS 4
#define MIRROR_ALONG (FC_DIRECT_ROWS * FC_DIRECT_VECTORS >= 16 ? 16 : 8)
#define MIRROR_FEW 4

FC_INLINE FC_ID(vec) FC_ID(mirror_load)(const FC_T *at) { return *(const FC_ID(vec_memory) *)at; }

FC_INLINE FC_ID(vec) FC_ID(mirror_pair)(FC_ID(vec) before, FC_ID(vec) behind, int symmetry) {
    return symmetry > 0 ? before + behind : before - behind;
}

/* One pair of all rows, number `turn` of four: which place in the window a row has is known to the compiler. */
FC_INLINE void FC_ID(mirror_turn)(FC_ID(vec) (*sum)[MIRROR_DOWN], FC_ID(vec) (*above)[MIRROR_DOWN],
                                  FC_ID(vec) (*below)[MIRROR_DOWN], const FC_T *new_above, const FC_T *new_below,
                                  FC_T weight, int turn, int symmetry, int rows, int vectors) {
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        above[(rows - 1 + turn) % rows][v] = FC_ID(mirror_load)(new_above + v * FC_LANES);
        below[(MIRROR_ROWS - turn) % rows][v] = FC_ID(mirror_load)(new_below + v * FC_LANES);
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            sum[r][v] += FC_ID(mirror_pair)(above[(r + turn) % rows][v], below[(r + MIRROR_ROWS - turn) % rows][v],
                                            symmetry) * weight;
    }
}

/* `half` pairs, from the farthest to the nearest, and the middle tap. */
FC_INLINE void FC_ID(mirror_down_block)(const fc_mirror_tile *tile, const FC_T *src, FC_T *dst, ptrdiff_t half,
                                        int symmetry, int rows, int vectors) {
    FC_ID(vec) sum[MIRROR_ROWS][MIRROR_DOWN], above[MIRROR_ROWS][MIRROR_DOWN], below[MIRROR_ROWS][MIRROR_DOWN];
    const ptrdiff_t pitch = tile->src_pitch;
    const FC_T *weights = (const FC_T *)tile->weights;
    const FC_T *new_above = src + (rows - 1) * pitch, *new_below = src + 2 * half * pitch;
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[r][v] = (FC_ID(vec)){0};
            if (r < rows - 1)
                above[r][v] = FC_ID(mirror_load)(src + r * pitch + v * FC_LANES);
            if (r > 0)
                below[r][v] = FC_ID(mirror_load)(new_below + r * pitch + v * FC_LANES);
        }
    }
    for (ptrdiff_t j = 0; j < half; j += MIRROR_ROWS) {
        FC_UNROLL
        for (int turn = 0; turn < MIRROR_ROWS; turn++) {
            if (j + turn >= half)
                break;
            FC_ID(mirror_turn)(sum, above, below, new_above + turn * pitch, new_below - turn * pitch,
                               weights[j + turn], turn, symmetry, rows, vectors);
        }
        new_above += MIRROR_ROWS * pitch;
        new_below -= MIRROR_ROWS * pitch;
    }
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            const FC_ID(vec) middle = FC_ID(mirror_load)(src + (r + half) * pitch + v * FC_LANES);
            *(FC_ID(vec_memory) *)(dst + r * tile->dst_pitch + v * FC_LANES) = sum[r][v] + middle * weights[half];
        }
    }
}

/* `blocks` register tiles side by side from column x on, all rows of them: what the bands share stays in L1. */
FC_INLINE void FC_ID(mirror_strip)(const fc_mirror_tile *tile, ptrdiff_t x, int symmetry, int blocks, int vectors) {
    const ptrdiff_t half = tile->taps / 2, band = tile->height < MIRROR_ROWS ? 1 : MIRROR_ROWS;
    for (ptrdiff_t y = 0; y < tile->height; y += band) {
        /* A last band that is not full is moved back: some rows are computed twice. */
        const ptrdiff_t at = y + band > tile->height ? tile->height - band : y;
        const FC_T *src = (const FC_T *)tile->src + at * tile->src_pitch + x;
        FC_T *dst = (FC_T *)tile->dst + at * tile->dst_pitch + x;
        for (int c = 0; c < blocks * vectors * FC_LANES; c += vectors * FC_LANES) {
            if (band == 1)
                FC_ID(mirror_down_block)(tile, src + c, dst + c, half, symmetry, 1, vectors);
            else if (half == 1)
                FC_ID(mirror_down_block)(tile, src + c, dst + c, 1, symmetry, MIRROR_ROWS, vectors);
            else
                FC_ID(mirror_down_block)(tile, src + c, dst + c, half, symmetry, MIRROR_ROWS, vectors);
        }
    }
}

FC_INLINE void FC_ID(mirror_down)(const fc_mirror_tile *tile, int symmetry) {
    const ptrdiff_t wide = FC_LANES * MIRROR_DOWN * MIRROR_BLOCKS, last = tile->width - FC_LANES;
    ptrdiff_t x = 0;
    for (; x + wide <= tile->width; x += wide)
        FC_ID(mirror_strip)(tile, x, symmetry, MIRROR_BLOCKS, MIRROR_DOWN);
    for (; x + wide / MIRROR_BLOCKS <= tile->width; x += wide / MIRROR_BLOCKS)
        FC_ID(mirror_strip)(tile, x, symmetry, 1, MIRROR_DOWN);
    for (; x < tile->width; x += FC_LANES)
        FC_ID(mirror_strip)(tile, x <= last || tile->slack ? x : last, symmetry, 1, 1);
}

/* The pair of taps at a distance: weights are those before the middle one, which `middle` and `weights` point at. */
FC_INLINE void FC_ID(mirror_single)(FC_ID(vec) *sum, const FC_T *middle, const FC_T *weights, ptrdiff_t step,
                                    ptrdiff_t distance, int symmetry, int vectors) {
    const FC_T *before = middle - distance * step, *behind = middle + distance * step;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        sum[v] += FC_ID(mirror_pair)(FC_ID(mirror_load)(before + v * FC_LANES),
                                     FC_ID(mirror_load)(behind + v * FC_LANES), symmetry) * weights[-distance];
}

#if MIRROR_SHARES
/* The next of a series of neighbouring vectors, or the first `held` of them. */
FC_INLINE void FC_ID(mirror_slide)(FC_ID(vec) *series, const FC_T *at, int v, int held) {
    FC_UNROLL
    for (int i = v ? v + held - 1 : 0; i < v + held; i++) {
        FC_ID(vec) in = FC_ID(mirror_load)(at + i * FC_LANES);
        /* GCC would load it once an addition. */
        FC_OPAQUE(in);
        series[i] = in;
    }
}

/* The pairs at the first n of the distances e, unit - e, unit + e and 2 unit - e, where a unit is the taps in a vector.
 * The vectors at e from the middle and at -e are all that they need, `up` and `down` by their number. */
FC_INLINE void FC_ID(mirror_near)(FC_ID(vec) *sum, const FC_T *middle, const FC_T *weights, ptrdiff_t step, ptrdiff_t e,
                                  int n, int symmetry, int vectors) {
    const FC_T *w = weights - FC_LANES / step;
    FC_ID(vec) up[MIRROR_ALONG + 3], down[MIRROR_ALONG + 3];
    const int u = n / 2, d = (n - 1) / 2;
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        FC_ID(mirror_slide)(up, middle + e * step - u * FC_LANES, v, n);
        FC_ID(mirror_slide)(down, middle - e * step - d * FC_LANES, v, n);
        sum[v] += FC_ID(mirror_pair)(down[v + d], up[v + u], symmetry) * weights[-e];
        sum[v] += FC_ID(mirror_pair)(up[v + u - 1], down[v + d + 1], symmetry) * w[e];
        if (n > 2)
            sum[v] += FC_ID(mirror_pair)(down[v + d - 1], up[v + u + 1], symmetry) * w[-e];
        if (n > 3)
            sum[v] += FC_ID(mirror_pair)(up[v + u - 2], down[v + d + 2], symmetry) * w[e - FC_LANES / step];
    }
}

/* The same `from` units farther away, where those before the middle and those behind it are too far from each other to
 * have vectors in common. */
FC_INLINE void FC_ID(mirror_far)(FC_ID(vec) *sum, const FC_T *middle, const FC_T *weights, ptrdiff_t step, ptrdiff_t e,
                                 ptrdiff_t from, int n, int symmetry, int vectors) {
    const ptrdiff_t unit = FC_LANES / step, far = from * FC_LANES;
    const FC_T *w = weights - from * unit;
    FC_ID(vec) up[MIRROR_ALONG + 1], down[MIRROR_ALONG + 1], up_before[MIRROR_ALONG + 1], down_before[MIRROR_ALONG + 1];
    const int held = n > 2 ? 2 : 1, also = n > 3 ? 2 : 1;
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        FC_ID(mirror_slide)(up, middle + far + e * step, v, held);
        FC_ID(mirror_slide)(down_before, middle - far - e * step - (held - 1) * FC_LANES, v, held);
        FC_ID(mirror_slide)(down, middle + far - e * step + FC_LANES, v, also);
        FC_ID(mirror_slide)(up_before, middle - far + e * step - also * FC_LANES, v, also);
        sum[v] += FC_ID(mirror_pair)(down_before[v + held - 1], up[v], symmetry) * w[-e];
        sum[v] += FC_ID(mirror_pair)(up_before[v + also - 1], down[v], symmetry) * w[e - unit];
        if (n > 2)
            sum[v] += FC_ID(mirror_pair)(down_before[v], up[v + 1], symmetry) * w[-e - unit];
        if (n > 3)
            sum[v] += FC_ID(mirror_pair)(up_before[v], down[v + 1], symmetry) * w[e - 2 * unit];
    }
}
#endif

/* The pairs at the first n of the distances e, unit - e, unit + e and 2 unit - e beyond `from` units, for every e from
 * `last` down to `first`. */
FC_INLINE void FC_ID(mirror_classes)(FC_ID(vec) *sum, const FC_T *middle, const FC_T *weights, ptrdiff_t step,
                                     ptrdiff_t from, ptrdiff_t first, ptrdiff_t last, int n, int symmetry,
                                     int vectors) {
    for (ptrdiff_t e = last; e >= first; e--) {
#if MIRROR_SHARES
        if (n == 1)
            FC_ID(mirror_single)(sum, middle, weights, step, from * (FC_LANES / step) + e, symmetry, vectors);
        else if (from)
            FC_ID(mirror_far)(sum, middle, weights, step, e, from, n, symmetry, vectors);
        else
            FC_ID(mirror_near)(sum, middle, weights, step, e, n, symmetry, vectors);
#else
        const ptrdiff_t unit = MIRROR_UNIT / step, at = from * unit;
        FC_ID(mirror_single)(sum, middle, weights, step, at + e, symmetry, vectors);
        if (n > 1)
            FC_ID(mirror_single)(sum, middle, weights, step, at + unit - e, symmetry, vectors);
        if (n > 2)
            FC_ID(mirror_single)(sum, middle, weights, step, at + unit + e, symmetry, vectors);
        if (n > 3)
            FC_ID(mirror_single)(sum, middle, weights, step, at + 2 * unit - e, symmetry, vectors);
#endif
    }
}

FC_INLINE ptrdiff_t FC_ID(mirror_least)(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
FC_INLINE ptrdiff_t FC_ID(mirror_most)(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* The pairs of the two units that begin `from` units from the middle, as far as they are no more than `most` taps
 * beyond that. */
FC_INLINE void FC_ID(mirror_units)(FC_ID(vec) *sum, const FC_T *middle, const FC_T *weights, ptrdiff_t step,
                                   ptrdiff_t from, ptrdiff_t most, int symmetry, int vectors) {
    const ptrdiff_t unit = MIRROR_UNIT / step, top = unit / 2 - 1;
    const ptrdiff_t four = FC_ID(mirror_most)(2 * unit - most, 1), three = FC_ID(mirror_least)(most - unit, four - 1);
    const ptrdiff_t two = FC_ID(mirror_most)(unit - most, FC_ID(mirror_most)(three, 0) + 1);
    /* Those that have no second distance in their unit. */
    for (ptrdiff_t distance = 3 * unit / 2; distance >= (from ? 0 : 1); distance -= unit / 2)
        if (distance <= most)
            FC_ID(mirror_single)(sum, middle, weights, step, from * unit + distance, symmetry, vectors);
    FC_ID(mirror_classes)(sum, middle, weights, step, from, four, top, 4, symmetry, vectors);
    FC_ID(mirror_classes)(sum, middle, weights, step, from, two, FC_ID(mirror_least)(top, four - 1), 2, symmetry,
                          vectors);
    FC_ID(mirror_classes)(sum, middle, weights, step, from, 1, FC_ID(mirror_least)(top, three), 3, symmetry, vectors);
    FC_ID(mirror_classes)(sum, middle, weights, step, from, 1,
                          FC_ID(mirror_least)(top, FC_ID(mirror_least)(most, unit - most - 1)), 1, symmetry, vectors);
}

FC_INLINE void FC_ID(mirror_along_block)(const fc_mirror_tile *tile, const FC_T *src, FC_T *dst, int symmetry,
                                         int vectors) {
    FC_ID(vec) sum[MIRROR_ALONG];
    const ptrdiff_t half = tile->taps / 2, step = tile->step, unit = MIRROR_UNIT / step;
    const FC_T *weights = (const FC_T *)tile->weights + half, *middle = src + half * step;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        sum[v] = (FC_ID(vec)){0};
    if (tile->in_order || 2 * half <= unit || unit < 4 || unit * step != MIRROR_UNIT) {
        for (ptrdiff_t distance = half; distance > 0; distance--)
            FC_ID(mirror_single)(sum, middle, weights, step, distance, symmetry, vectors);
    } else {
        for (ptrdiff_t from = half / unit & -2; from > 0; from -= 2)
            FC_ID(mirror_units)(sum, middle, weights, step, from, half - from * unit, symmetry, vectors);
        FC_ID(mirror_units)(sum, middle, weights, step, 0, half, symmetry, vectors);
    }
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        *(FC_ID(vec_memory) *)(dst + v * FC_LANES) =
            sum[v] + FC_ID(mirror_load)(middle + v * FC_LANES) * weights[0];
}

/* `vectors` vectors at column x, or moved back to end with the tile. Returns the column behind them. */
FC_INLINE ptrdiff_t FC_ID(mirror_step)(const fc_mirror_tile *tile, const FC_T *src, FC_T *dst, ptrdiff_t x,
                                       int symmetry, int vectors) {
    const ptrdiff_t wide = FC_LANES * vectors, end = x + wide;
    if (end > tile->width && tile->width >= wide)
        x = tile->width - wide;
    FC_ID(mirror_along_block)(tile, src + x, dst + x, symmetry, vectors);
    return end;
}

FC_INLINE void FC_ID(mirror_along)(const fc_mirror_tile *tile, int symmetry) {
    const ptrdiff_t vectors = tile->width / FC_LANES;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        const FC_T *src = (const FC_T *)tile->src + y * tile->src_pitch;
        FC_T *dst = (FC_T *)tile->dst + y * tile->dst_pitch;
        ptrdiff_t x = 0;
        while (x < tile->width) {
            const ptrdiff_t left = tile->width - x;
            if (vectors >= MIRROR_ALONG && left > FC_LANES * MIRROR_ALONG / 2)
                x = FC_ID(mirror_step)(tile, src, dst, x, symmetry, MIRROR_ALONG);
            else if (vectors >= MIRROR_FEW && left > FC_LANES)
                x = FC_ID(mirror_step)(tile, src, dst, x, symmetry, MIRROR_FEW);
            else
                x = FC_ID(mirror_step)(tile, src, dst, x, symmetry, 1);
        }
    }
}

static void FC_ID(mirror)(const fc_mirror_tile *tile) {
    if (tile->down && tile->symmetry > 0)
        FC_ID(mirror_down)(tile, 1);
    else if (tile->down)
        FC_ID(mirror_down)(tile, -1);
    else if (tile->symmetry > 0)
        FC_ID(mirror_along)(tile, 1);
    else
        FC_ID(mirror_along)(tile, -1);
}

#undef MIRROR_ROWS
#undef MIRROR_UNIT
#undef MIRROR_SHARES
#undef MIRROR_DOWN
#undef MIRROR_BLOCKS
#undef MIRROR_ALONG
#undef MIRROR_FEW
