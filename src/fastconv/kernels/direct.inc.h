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

FC_INLINE void FC_ID(direct_add)(FC_ID(vec) *sum, FC_ID(vec) in, FC_T weight) {
    FC_ID(vec) product = in * weight;
    if (FC_UNFUSED)
        FC_OPAQUE(product);
    *sum += product;
}

/* How a run of kernel rows lies: input rows `pitch` and weights `w_pitch` apart, columns at their offsets. */
typedef struct {
    ptrdiff_t pitch, w_pitch, n_columns;
    const ptrdiff_t *columns;
} FC_ID(grid);

/* One kernel column of an input row, into output rows first..last; weights: kernel row i - first. */
FC_INLINE void FC_ID(direct_column)(FC_ID(accumulators) *acc, const FC_T *x, const FC_T *weights, FC_ID(grid) grid,
                                    int first, int last, int vectors) {
    FC_ID(vec) in[V_MAX];
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        in[v] = *(const FC_ID(vec_memory) *)(x + v * FC_LANES);
    FC_UNROLL
    for (int r = first; r <= last; r++) {
        const FC_T *w = weights - (r - first) * grid.w_pitch;
        FC_UNROLL
        for (int p = 0; p < PARTS; p++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                FC_ID(direct_add)(&acc->v[r][v][p], in[v], w[p]);
        }
    }
}

/* All kernel columns of input row i, into output rows first..last; weights: kernel row i - first. */
FC_INLINE void FC_ID(direct_row)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights, FC_ID(grid) grid,
                                 int first, int last, int vectors) {
    for (ptrdiff_t j = 0; j < grid.n_columns; j++)
        FC_ID(direct_column)(acc, src + grid.columns[j] * PARTS, weights + j * PARTS, grid, first, last, vectors);
}

/* A plane of `kernel_rows` rows where that is known (fewer than the register tile has), of at least `rows` where it is
 * 0. Which output rows an input row feeds is known to the compiler everywhere, so no accumulator leaves its register. */
FC_INLINE void FC_ID(direct_plane_of)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights,
                                      FC_ID(grid) grid, ptrdiff_t plane_rows, int kernel_rows, int rows, int vectors) {
    const ptrdiff_t pitch = grid.pitch, w_pitch = grid.w_pitch;
    if (kernel_rows) {
        FC_UNROLL
        for (int i = 0; i < kernel_rows + rows - 1; i++) {
            const int first = i < kernel_rows ? 0 : i - kernel_rows + 1, last = i < rows ? i : rows - 1;
            FC_ID(direct_row)(acc, src + i * pitch, weights + (i - first) * w_pitch, grid, first, last, vectors);
        }
        return;
    }
    FC_UNROLL
    for (int i = 0; i < rows - 1; i++)
        FC_ID(direct_row)(acc, src + i * pitch, weights + i * w_pitch, grid, 0, i, vectors);
    for (ptrdiff_t i = rows - 1; i < plane_rows; i++)
        FC_ID(direct_row)(acc, src + i * pitch, weights + i * w_pitch, grid, 0, rows - 1, vectors);
    FC_UNROLL
    for (int i = 1; i < rows; i++)
        FC_ID(direct_row)(acc, src + (plane_rows + i - 1) * pitch, weights + (plane_rows - 1) * w_pitch, grid, i,
                          rows - 1, vectors);
}

FC_INLINE void FC_ID(direct_plane)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights, FC_ID(grid) grid,
                                   ptrdiff_t plane_rows, int rows, int vectors) {
    if (rows == 1 || plane_rows >= 4)
        FC_ID(direct_plane_of)(acc, src, weights, grid, plane_rows, 0, rows, vectors);
    else if (plane_rows == 3)
        FC_ID(direct_plane_of)(acc, src, weights, grid, plane_rows, 3, rows, vectors);
    else if (plane_rows == 2)
        FC_ID(direct_plane_of)(acc, src, weights, grid, plane_rows, 2, rows, vectors);
    else
        FC_ID(direct_plane_of)(acc, src, weights, grid, plane_rows, 1, rows, vectors);
}

FC_INLINE void FC_ID(direct_planes)(FC_ID(accumulators) *acc, const FC_T *src, const fc_direct_tile *tile, int rows,
                                    int vectors, ptrdiff_t n_columns) {
    const FC_ID(grid) grid = {tile->src_pitch * PARTS, n_columns * PARTS, n_columns, tile->columns};
    for (ptrdiff_t p = 0; p < tile->n_planes; p++) {
        const fc_plane plane = tile->planes[p];
        FC_ID(direct_plane)(acc, src + plane.src * PARTS, (const FC_T *)tile->weights + plane.weights * PARTS, grid,
                            plane.rows, rows, vectors);
    }
}

/* One plane, 3 x 3 with neighbouring columns: the commonest kernel, too short for loops to pay. */
FC_INLINE void FC_ID(direct_3x3)(FC_ID(accumulators) *acc, const FC_T *src, const fc_direct_tile *tile, int rows,
                                 int vectors) {
    const FC_ID(grid) grid = {tile->src_pitch * PARTS, 3 * PARTS, 3, tile->columns};
    FC_UNROLL
    for (int i = 0; i < rows + 2; i++) {
        const int first = i < 3 ? 0 : i - 2, last = i < rows ? i : rows - 1;
        FC_UNROLL
        for (int j = 0; j < 3; j++)
            FC_ID(direct_column)(acc, src + (i * tile->src_pitch + j) * PARTS,
                                 (const FC_T *)tile->weights + ((i - first) * 3 + j) * PARTS, grid, first, last,
                                 vectors);
    }
}

/* What every sum begins with. */
FC_INLINE FC_ID(vec) FC_ID(direct_start)(const FC_T *bias) {
#if FC_COMPLEX
    return FC_PAIRS(bias ? bias[0] : 0, bias ? bias[1] : 0);
#else
    const FC_T first = bias ? bias[0] : 0;
    return (FC_ID(vec)){0} + first;
#endif
}

/* The sum that accumulators hold. */
FC_INLINE FC_ID(vec) FC_ID(direct_sum)(const FC_ID(vec) *parts) {
    FC_ID(vec) sum = parts[0];
#if FC_COMPLEX
    /* (re, im) * w_re is here, (re, im) * w_im in the other part: add (-im, re) * w_im. */
    const FC_ID(vec) other = parts[1];
    sum += __builtin_shufflevector(other, other, FC_LIST(FC_SWAP)) * FC_PAIRS(-1, 1);
#endif
    return sum;
}

/* Kernels with loops of their own: any, 3 x 3, and a single column. */
enum { FC_ID(ANY), FC_ID(IS_3X3), FC_ID(COLUMN) };

FC_INLINE void FC_ID(direct_block)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int rows, int vectors,
                                   int kind) {
    FC_ID(accumulators) acc;
    const FC_ID(vec) start = FC_ID(direct_start)(tile->bias);
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
    if (kind == FC_ID(IS_3X3)) {
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
        FC_ID(direct_planes)(&acc, origin, tile, rows, vectors, kind == FC_ID(COLUMN) ? 1 : tile->n_columns);
    }
    FC_T *dst = (FC_T *)tile->dst + (y * tile->dst_pitch + x) * PARTS;
    FC_UNROLL
    for (int r = 0; r < rows; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++) {
            *(FC_ID(vec_memory) *)(dst + r * tile->dst_pitch * PARTS + v * FC_LANES) =
                FC_ID(direct_sum)(acc.v[r][v]);
        }
    }
}

/* `vectors` vectors at column x, or, where they would reach beyond the last column of a tile that has no slack, moved
 * back to end there. Returns the column behind them. */
FC_INLINE ptrdiff_t FC_ID(direct_step)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int rows, int vectors,
                                       int kind) {
    const ptrdiff_t wide = FC_LANES / PARTS * vectors, end = x + wide;
    if (end > tile->width && tile->width >= wide)
        x = tile->width - wide;
    FC_ID(direct_block)(tile, y, x, rows, vectors, kind);
    return end;
}

/* Rows y..y + rows - 1 of the tile: as many columns as there are by the whole register tile, the rest by halves. */
FC_INLINE void FC_ID(direct_band)(const fc_direct_tile *tile, ptrdiff_t y, int rows, int kind) {
    const ptrdiff_t lanes = FC_LANES / PARTS;
    ptrdiff_t x = 0;
    while (x < tile->width) {
        const ptrdiff_t vectors = (tile->width - x + lanes - 1) / lanes;
        const int whole = tile->width >= lanes * V_MAX, half = tile->width >= lanes * (V_MAX / 2);
        if (vectors >= V_MAX ? whole || tile->slack : vectors > V_MAX / 2 && whole)
            x = FC_ID(direct_step)(tile, y, x, rows, V_MAX, kind);
        else if (V_MAX > 2 && vectors > 1 && (half || tile->slack))
            x = FC_ID(direct_step)(tile, y, x, rows, V_MAX > 2 ? V_MAX / 2 : 1, kind);
        else
            x = FC_ID(direct_step)(tile, y, x, rows, 1, kind);
    }
}

FC_INLINE void FC_ID(direct_bands)(const fc_direct_tile *tile, int kind) {
    const ptrdiff_t last = tile->height - FC_DIRECT_ROWS;
    if (last < 0) {
        for (ptrdiff_t y = 0; y < tile->height; y++)
            FC_ID(direct_band)(tile, y, 1, FC_ID(ANY));
        return;
    }
    /* A last band that is not full is moved back: some rows are computed twice. */
    for (ptrdiff_t y = 0; y <= last; y += FC_DIRECT_ROWS)
        FC_ID(direct_band)(tile, y, FC_DIRECT_ROWS, kind);
    if (tile->height % FC_DIRECT_ROWS)
        FC_ID(direct_band)(tile, last, FC_DIRECT_ROWS, kind);
}

/* A single tall column goes down in strips as wide as the register tile: the rows that its bands share stay in L1. */
static void FC_ID(direct_strips)(const fc_direct_tile *tile) {
    const ptrdiff_t wide = FC_LANES / PARTS * V_MAX;
    fc_direct_tile strip = *tile;
    for (ptrdiff_t x = 0; x < tile->width; x += strip.width) {
        strip.src = (const FC_T *)tile->src + x * PARTS;
        strip.dst = (FC_T *)tile->dst + x * PARTS;
        strip.width = tile->width - x < 2 * wide ? tile->width - x : wide;
        FC_ID(direct_bands)(&strip, FC_ID(COLUMN));
    }
}

/* A kernel of one row shares no loads between output rows, but neighbouring columns do between the vectors of a row:
 * column j + LINE_LANES of one vector reads what column j of the vector 64 bytes on does. The unit is the same on every
 * level, and with it the order of summation. */
#define LINE_UNIT (64 / FC_VECTOR_BYTES)
#define LINE_LANES (LINE_UNIT * FC_LANES / PARTS)
#define LINE_GROUP (FC_COMPLEX ? 2 : 4)
#define LINE_VECTORS (FC_DIRECT_ROWS * V_MAX)
#define LINE_FEW (LINE_VECTORS < 4 ? 1 : LINE_VECTORS / 4)

typedef struct {
    FC_ID(vec) v[LINE_VECTORS][PARTS];
} FC_ID(line);

/* Columns first..last - 1, and those 1..group - 1 units behind each. */
FC_INLINE void FC_ID(line_columns)(FC_ID(line) *acc, const FC_T *src, const FC_T *weights, ptrdiff_t first,
                                   ptrdiff_t last, int group, int vectors) {
    for (ptrdiff_t j = first; j < last; j++) {
        FC_UNROLL
        for (int r = 0; r < vectors + (group - 1) * LINE_UNIT; r++) {
            FC_ID(vec) in = *(const FC_ID(vec_memory) *)(src + j * PARTS + r * FC_LANES);
            /* GCC would load it once a product. */
            if (group > 1)
                FC_OPAQUE(in);
            FC_UNROLL
            for (int i = 0; i < group; i++) {
                const int v = r - i * LINE_UNIT;
                FC_UNROLL
                for (int p = 0; p < PARTS; p++)
                    if (v >= 0 && v < vectors)
                        FC_ID(direct_add)(&acc->v[v][p], in, weights[(j + i * LINE_LANES) * PARTS + p]);
            }
        }
    }
}

/* Up to a whole group of n columns: the first ones have one more behind them than the others. */
FC_INLINE void FC_ID(line_group)(FC_ID(line) *acc, const FC_T *src, const FC_T *weights, ptrdiff_t n, int vectors) {
    const ptrdiff_t units = n / LINE_LANES, rest = n % LINE_LANES;
    if (rest) {
        if (units == 0)
            FC_ID(line_columns)(acc, src, weights, 0, rest, 1, vectors);
        else if (units == 1)
            FC_ID(line_columns)(acc, src, weights, 0, rest, 2, vectors);
        else if (units == 2)
            FC_ID(line_columns)(acc, src, weights, 0, rest, LINE_GROUP > 2 ? 3 : 2, vectors);
        else
            FC_ID(line_columns)(acc, src, weights, 0, rest, LINE_GROUP, vectors);
    }
    if (units == 1)
        FC_ID(line_columns)(acc, src, weights, rest, LINE_LANES, 1, vectors);
    else if (units == 2)
        FC_ID(line_columns)(acc, src, weights, rest, LINE_LANES, 2, vectors);
    else if (units == 3)
        FC_ID(line_columns)(acc, src, weights, rest, LINE_LANES, LINE_GROUP > 2 ? 3 : 2, vectors);
    else if (units)
        FC_ID(line_columns)(acc, src, weights, rest, LINE_LANES, LINE_GROUP, vectors);
}

FC_INLINE void FC_ID(line_block)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int vectors) {
    FC_ID(line) acc;
    const FC_T *src = (const FC_T *)tile->src + (tile->planes->src + y * tile->src_pitch + x + tile->columns[0]) * PARTS;
    const FC_T *weights = (const FC_T *)tile->weights + tile->planes->weights * PARTS;
    const FC_ID(vec) start = FC_ID(direct_start)(tile->bias);
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        acc.v[v][0] = start;
        if (PARTS == 2)
            acc.v[v][PARTS - 1] = (FC_ID(vec)){0};
    }
    /* Equal groups: a last one of few columns would load much for little. In order, there is a single one. */
    if (tile->in_order)
        FC_ID(line_columns)(&acc, src, weights, 0, tile->n_columns, 1, vectors);
    const ptrdiff_t units = (tile->n_columns + LINE_LANES - 1) / LINE_LANES;
    const ptrdiff_t groups = (units + LINE_GROUP - 1) / LINE_GROUP, wide = (units + groups - 1) / groups * LINE_LANES;
    for (ptrdiff_t k = tile->in_order ? tile->n_columns : 0; k < tile->n_columns; k += wide) {
        const ptrdiff_t left = tile->n_columns - k;
        FC_ID(line_group)(&acc, src + k * PARTS, weights + k * PARTS, left < wide ? left : wide, vectors);
    }
    FC_T *dst = (FC_T *)tile->dst + (y * tile->dst_pitch + x) * PARTS;
    FC_UNROLL
    for (int v = 0; v < vectors; v++)
        *(FC_ID(vec_memory) *)(dst + v * FC_LANES) = FC_ID(direct_sum)(acc.v[v]);
}

/* `vectors` vectors at column x, or moved back to end with the tile. Returns the column behind them. */
FC_INLINE ptrdiff_t FC_ID(line_step)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int vectors) {
    const ptrdiff_t wide = FC_LANES / PARTS * vectors, end = x + wide;
    FC_ID(line_block)(tile, y, end > tile->width && tile->width >= wide ? tile->width - wide : x, vectors);
    return end;
}

static void FC_ID(direct_lines)(const fc_direct_tile *tile) {
    const ptrdiff_t lanes = FC_LANES / PARTS, vectors = tile->width / lanes;
    for (ptrdiff_t y = 0; y < tile->height; y++) {
        ptrdiff_t x = 0;
        while (x < tile->width) {
            const ptrdiff_t left = tile->width - x;
            if (vectors >= LINE_VECTORS && left > lanes * LINE_VECTORS / 2)
                x = FC_ID(line_step)(tile, y, x, LINE_VECTORS);
            else if (vectors >= LINE_FEW && left > lanes)
                x = FC_ID(line_step)(tile, y, x, LINE_FEW);
            else
                x = FC_ID(line_step)(tile, y, x, 1);
        }
    }
}

/* Whether the kernel is one row of neighbouring columns, whose order is free. */
FC_INLINE int FC_ID(direct_is_line)(const fc_direct_tile *tile) {
    if (FC_UNFUSED || tile->n_planes > 1 || tile->planes->rows > 1 || tile->n_columns < 2)
        return 0;
    for (ptrdiff_t j = 1; j < tile->n_columns; j++)
        if (tile->columns[j] != tile->columns[0] + j)
            return 0;
    return 1;
}

static void FC_ID(direct)(const fc_direct_tile *tile) {
    const ptrdiff_t *columns = tile->columns;
    if (tile->n_planes == 1 && tile->planes->rows == 3 && tile->n_columns == 3 && columns[1] == columns[0] + 1 &&
        columns[2] == columns[0] + 2)
        FC_ID(direct_bands)(tile, FC_ID(IS_3X3));
    else if (FC_ID(direct_is_line)(tile))
        FC_ID(direct_lines)(tile);
    else if (tile->n_columns == 1)
        FC_ID(direct_strips)(tile);
    else
        FC_ID(direct_bands)(tile, FC_ID(ANY));
}

#undef V_MAX
#undef PARTS
#undef LINE_UNIT
#undef LINE_LANES
#undef LINE_GROUP
#undef LINE_VECTORS
#undef LINE_FEW
