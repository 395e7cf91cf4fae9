/* Direct convolution: output pixels in the lanes, FC_DIRECT_ROWS rows x a few vectors of output in registers.
 *
 * A vector of an input row, loaded once for each kernel column, feeds every output row that needs it:
 *
 *     input row i of the plane  ->  output row r with kernel row i - r,   0 <= i - r < plane rows
 *
 * so a 4 x 4 tile does 16 multiply-adds with 4 vector loads and 4 broadcasts, where one row alone would need a load
 * for every multiply-add. A complex product is two real ones by the same loaded vector, the real part of the weight
 * into one accumulator and the imaginary part into another; the two meet once, at the end.
 */
#define V_MAX (FC_COMPLEX ? FC_DIRECT_VECTORS / 2 : FC_DIRECT_VECTORS)
#define PARTS (FC_COMPLEX ? 2 : 1)

typedef FC_T FC_ID(vec) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef FC_T FC_ID(vec_memory) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(FC_T)), may_alias));

typedef struct {
    FC_ID(vec) v[FC_DIRECT_ROWS][V_MAX][PARTS];
} FC_ID(accumulators);

/* One kernel column of an input row, into output rows first..last; weights: kernel row i - first, `w_pitch` to the next. */
FC_INLINE void FC_ID(direct_column)(FC_ID(accumulators) *acc, const FC_T *x, const FC_T *weights, ptrdiff_t w_pitch,
                                    int first, int last, int vectors) {
    FC_ID(vec) in[V_MAX];
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        in[v] = *(const FC_ID(vec_memory) *)(x + v * FC_LANES);
    FC_UNROLL
    for (int r = first; r <= last; r++) {
        const FC_T *w = weights - (r - first) * w_pitch;
        FC_UNROLL
        for (int p = 0; p < PARTS; p++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                acc->v[r][v][p] += in[v] * w[p];
        }
    }
}

/* All kernel columns of input row i, into output rows first..last; weights: kernel row i - first. */
FC_INLINE void FC_ID(direct_row)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights,
                                 const fc_direct_tile *tile, int first, int last, int vectors) {
    const ptrdiff_t n_columns = tile->n_columns;
    for (ptrdiff_t j = 0; j < n_columns; j++)
        FC_ID(direct_column)(acc, src + tile->columns[j] * PARTS, weights + j * PARTS, n_columns * PARTS, first, last,
                             vectors);
}

/* A plane of `kernel_rows` rows where that is known (fewer than the register tile has), of at least `rows` where it is
 * 0. Which output rows an input row feeds is known to the compiler everywhere, so no accumulator leaves its register. */
FC_INLINE void FC_ID(direct_plane)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights,
                                   const fc_direct_tile *tile, ptrdiff_t plane_rows, int kernel_rows, int rows,
                                   int vectors) {
    const ptrdiff_t pitch = tile->src_pitch * PARTS, w_pitch = tile->n_columns * PARTS;
    if (kernel_rows) {
        FC_UNROLL
        for (int i = 0; i < kernel_rows + rows - 1; i++) {
            const int first = i < kernel_rows ? 0 : i - kernel_rows + 1, last = i < rows ? i : rows - 1;
            FC_ID(direct_row)(acc, src + i * pitch, weights + (i - first) * w_pitch, tile, first, last, vectors);
        }
        return;
    }
    FC_UNROLL
    for (int i = 0; i < rows - 1; i++)
        FC_ID(direct_row)(acc, src + i * pitch, weights + i * w_pitch, tile, 0, i, vectors);
    for (ptrdiff_t i = rows - 1; i < plane_rows; i++)
        FC_ID(direct_row)(acc, src + i * pitch, weights + i * w_pitch, tile, 0, rows - 1, vectors);
    FC_UNROLL
    for (int i = 1; i < rows; i++)
        FC_ID(direct_row)(acc, src + (plane_rows + i - 1) * pitch, weights + (plane_rows - 1) * w_pitch, tile, i, rows - 1,
                          vectors);
}

FC_INLINE void FC_ID(direct_planes)(FC_ID(accumulators) *acc, const FC_T *src, const fc_direct_tile *tile, int rows,
                                    int vectors) {
    for (ptrdiff_t p = 0; p < tile->n_planes; p++) {
        const fc_plane plane = tile->planes[p];
        const FC_T *at = src + plane.src * PARTS, *weights = (const FC_T *)tile->weights + plane.weights * PARTS;
        if (rows == 1 || plane.rows >= 4)
            FC_ID(direct_plane)(acc, at, weights, tile, plane.rows, 0, rows, vectors);
        else if (plane.rows == 3)
            FC_ID(direct_plane)(acc, at, weights, tile, plane.rows, 3, rows, vectors);
        else if (plane.rows == 2)
            FC_ID(direct_plane)(acc, at, weights, tile, plane.rows, 2, rows, vectors);
        else
            FC_ID(direct_plane)(acc, at, weights, tile, plane.rows, 1, rows, vectors);
    }
}

/* One plane, 3 x 3 with neighbouring columns: the commonest kernel, too short for loops to pay. */
FC_INLINE void FC_ID(direct_3x3)(FC_ID(accumulators) *acc, const FC_T *src, const fc_direct_tile *tile, int rows,
                                 int vectors) {
    FC_UNROLL
    for (int i = 0; i < rows + 2; i++) {
        const int first = i < 3 ? 0 : i - 2, last = i < rows ? i : rows - 1;
        FC_UNROLL
        for (int j = 0; j < 3; j++)
            FC_ID(direct_column)(acc, src + (i * tile->src_pitch + j) * PARTS,
                                 (const FC_T *)tile->weights + ((i - first) * 3 + j) * PARTS, 3 * PARTS, first, last,
                                 vectors);
    }
}

FC_INLINE void FC_ID(direct_block)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int rows, int vectors,
                                   int is_3x3) {
    FC_ID(accumulators) acc;
    const FC_T *bias = tile->bias;
#if FC_COMPLEX
    const FC_ID(vec) start = FC_PAIRS(bias ? bias[0] : 0, bias ? bias[1] : 0);
#else
    const FC_T first = bias ? bias[0] : 0;
    const FC_ID(vec) start = (FC_ID(vec)){0} + first;
#endif
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            acc.v[r][v][0] = start;
            if (PARTS == 2)
                acc.v[r][v][PARTS - 1] = (FC_ID(vec)){0};
        }
    }
    const FC_T *origin = (const FC_T *)tile->src + (y * tile->src_pitch + x) * PARTS;
    if (is_3x3) {
        /* A 3 x 3 kernel waits for memory more than for arithmetic: fetch the rows that the next band adds. */
        const FC_T *next = origin + (rows + 2) * tile->src_pitch * PARTS;
        FC_UNROLL
        for (int r = 0; r < rows; r++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                __builtin_prefetch(next + r * tile->src_pitch * PARTS + v * FC_LANES);
        }
        FC_ID(direct_3x3)(&acc, origin + (tile->planes->src + tile->columns[0]) * PARTS, tile, rows, vectors);
    } else {
        FC_ID(direct_planes)(&acc, origin, tile, rows, vectors);
    }
    FC_T *dst = (FC_T *)tile->dst + (y * tile->dst_pitch + x) * PARTS;
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            FC_ID(vec) sum = acc.v[r][v][0];
#if FC_COMPLEX
            /* (re, im) * w_re is here, (re, im) * w_im in the other part: add (-im, re) * w_im. */
            const FC_ID(vec) other = acc.v[r][v][1];
            sum += __builtin_shufflevector(other, other, FC_LIST(FC_SWAP)) * FC_PAIRS(-1, 1);
#endif
            *(FC_ID(vec_memory) *)(dst + r * tile->dst_pitch * PARTS + v * FC_LANES) = sum;
        }
    }
}

/* `vectors` vectors at column x, or, where they would reach beyond the last column of a tile that has no slack, moved
 * back to end there. Returns the column behind them. */
FC_INLINE ptrdiff_t FC_ID(direct_step)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int rows, int vectors,
                                       int is_3x3) {
    const ptrdiff_t wide = FC_LANES / PARTS * vectors, end = x + wide;
    if (end > tile->width && tile->width >= wide)
        x = tile->width - wide;
    FC_ID(direct_block)(tile, y, x, rows, vectors, is_3x3);
    return end;
}

/* Rows y..y + rows - 1 of the tile: as many columns as there are by the whole register tile, the rest by halves. */
FC_INLINE void FC_ID(direct_band)(const fc_direct_tile *tile, ptrdiff_t y, int rows, int is_3x3) {
    const ptrdiff_t lanes = FC_LANES / PARTS;
    ptrdiff_t x = 0;
    while (x < tile->width) {
        const ptrdiff_t vectors = (tile->width - x + lanes - 1) / lanes;
        const int whole = tile->width >= lanes * V_MAX, half = tile->width >= lanes * (V_MAX / 2);
        if (vectors >= V_MAX ? whole || tile->slack : vectors > V_MAX / 2 && whole)
            x = FC_ID(direct_step)(tile, y, x, rows, V_MAX, is_3x3);
        else if (V_MAX > 2 && vectors > 1 && (half || tile->slack))
            x = FC_ID(direct_step)(tile, y, x, rows, V_MAX > 2 ? V_MAX / 2 : 1, is_3x3);
        else
            x = FC_ID(direct_step)(tile, y, x, rows, 1, is_3x3);
    }
}

FC_INLINE void FC_ID(direct_bands)(const fc_direct_tile *tile, int is_3x3) {
    ptrdiff_t y = 0;
    for (; y + FC_DIRECT_ROWS <= tile->height; y += FC_DIRECT_ROWS)
        FC_ID(direct_band)(tile, y, FC_DIRECT_ROWS, is_3x3);
    if (y < tile->height && tile->height > FC_DIRECT_ROWS) {
        FC_ID(direct_band)(tile, tile->height - FC_DIRECT_ROWS, FC_DIRECT_ROWS, is_3x3);
        return;
    }
    for (; y < tile->height; y++)
        FC_ID(direct_band)(tile, y, 1, is_3x3);
}

static void FC_ID(direct)(const fc_direct_tile *tile) {
    const ptrdiff_t *columns = tile->columns;
    if (tile->n_planes == 1 && tile->planes->rows == 3 && tile->n_columns == 3 && columns[1] == columns[0] + 1 &&
        columns[2] == columns[0] + 2)
        FC_ID(direct_bands)(tile, 1);
    else
        FC_ID(direct_bands)(tile, 0);
}

#undef V_MAX
#undef PARTS
