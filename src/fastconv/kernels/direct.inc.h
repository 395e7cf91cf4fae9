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

/* All kernel columns of input row i, into output rows first..last; weights: kernel row i - first. */
FC_INLINE void FC_ID(direct_row)(FC_ID(accumulators) *acc, const FC_T *src, const FC_T *weights,
                                 const fc_direct_tile *tile, int first, int last, int vectors) {
    const ptrdiff_t n_columns = tile->n_columns;
    for (ptrdiff_t j = 0; j < n_columns; j++) {
        const FC_T *x = src + tile->columns[j] * PARTS;
        FC_ID(vec) in[V_MAX];
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            in[v] = *(const FC_ID(vec_memory) *)(x + v * FC_LANES);
        FC_UNROLL
        for (int r = first; r <= last; r++) {
            const FC_T *w = weights + (j - (r - first) * n_columns) * PARTS;
            FC_UNROLL
            for (int p = 0; p < PARTS; p++) {
                FC_UNROLL
                for (int v = 0; v < vectors; v++)
                    acc->v[r][v][p] += in[v] * w[p];
            }
        }
    }
}

FC_INLINE void FC_ID(direct_block)(const fc_direct_tile *tile, ptrdiff_t y, ptrdiff_t x, int rows, int vectors) {
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
    for (ptrdiff_t p = 0; p < tile->n_planes; p++) {
        const fc_plane plane = tile->planes[p];
        const FC_T *src = origin + plane.src * PARTS;
        const FC_T *weights = (const FC_T *)tile->weights + plane.weights * PARTS;
        const ptrdiff_t n_rows = plane.rows + rows - 1;
        for (ptrdiff_t i = 0; i < n_rows; i++) {
            const int first = i < plane.rows ? 0 : (int)(i - plane.rows + 1);
            const int last = i < rows ? (int)i : rows - 1;
            const FC_T *w = weights + (i - first) * tile->n_columns * PARTS;
            /* One case a pair, so that which accumulators take part is known to the compiler. */
            switch (first * 4 + last) {
            case 0: FC_ID(direct_row)(&acc, src, w, tile, 0, 0, vectors); break;
            case 1: if (rows > 1) FC_ID(direct_row)(&acc, src, w, tile, 0, 1, vectors); break;
            case 2: if (rows > 2) FC_ID(direct_row)(&acc, src, w, tile, 0, 2, vectors); break;
            case 3: if (rows > 3) FC_ID(direct_row)(&acc, src, w, tile, 0, 3, vectors); break;
            case 5: if (rows > 1) FC_ID(direct_row)(&acc, src, w, tile, 1, 1, vectors); break;
            case 6: if (rows > 2) FC_ID(direct_row)(&acc, src, w, tile, 1, 2, vectors); break;
            case 7: if (rows > 3) FC_ID(direct_row)(&acc, src, w, tile, 1, 3, vectors); break;
            case 10: if (rows > 2) FC_ID(direct_row)(&acc, src, w, tile, 2, 2, vectors); break;
            case 11: if (rows > 3) FC_ID(direct_row)(&acc, src, w, tile, 2, 3, vectors); break;
            default: if (rows > 3) FC_ID(direct_row)(&acc, src, w, tile, 3, 3, vectors); break;
            }
            src += tile->src_pitch * PARTS;
        }
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

/* Rows y..y + rows - 1 of the tile, in blocks of the whole register tile, then of single vectors. */
FC_INLINE void FC_ID(direct_band)(const fc_direct_tile *tile, ptrdiff_t y, int rows) {
    const ptrdiff_t lanes = FC_LANES / PARTS, wide = lanes * V_MAX;
    ptrdiff_t x = 0;
    for (; x + wide <= tile->width; x += wide)
        FC_ID(direct_block)(tile, y, x, rows, V_MAX);
    const ptrdiff_t rest = tile->width - x;
    if (2 * rest > wide && tile->width > wide) {
        FC_ID(direct_block)(tile, y, tile->width - wide, rows, V_MAX);
        return;
    }
    for (; x < tile->width; x += lanes) {
        const ptrdiff_t overlap = x + lanes - tile->width;
        FC_ID(direct_block)(tile, y, overlap > 0 && tile->width >= lanes ? tile->width - lanes : x, rows, 1);
    }
}

static void FC_ID(direct)(const fc_direct_tile *tile) {
    ptrdiff_t y = 0;
    for (; y + FC_DIRECT_ROWS <= tile->height; y += FC_DIRECT_ROWS)
        FC_ID(direct_band)(tile, y, FC_DIRECT_ROWS);
    if (y < tile->height && tile->height > FC_DIRECT_ROWS) {
        FC_ID(direct_band)(tile, tile->height - FC_DIRECT_ROWS, FC_DIRECT_ROWS);
        return;
    }
    for (; y < tile->height; y++)
        FC_ID(direct_band)(tile, y, 1);
}

#undef V_MAX
#undef PARTS
