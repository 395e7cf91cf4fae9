/* Winograd's minimal filtering F(m x m, 3 x 3): lanes are channels everywhere.
 *
 *     samples --input--> V[frequency][channels / lanes][tile][lanes]
 *     weights --------> U[frequency][channel][gemm_columns]
 *     M[gemm_columns / lanes][tile][frequency][lanes] = V x U, a product of matrices for each frequency
 *     M --output--> results
 *
 * Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. The points of interpolation are 0,
 * `pairs` of ±p, perhaps one single point, and infinity, in this order. What a pair shares is computed once, so a
 * transform takes about half the multiply-adds of its matrix; the numbers in it come from the planner.
 */
#define COLUMNS (FC_GEMM_VECTORS * FC_LANES)
#define SIZE_MAX_1D (FC_WINOGRAD_OUTPUTS + 2)

typedef struct {
    FC_T power[FC_WINOGRAD_PAIRS + 1][FC_WINOGRAD_OUTPUTS]; /* of each pair's p, and of the single point */
    FC_T full[FC_WINOGRAD_PAIRS];                          /* the product of all z - p^2 by powers of z, below the 1 */
    FC_T rest[FC_WINOGRAD_PAIRS][FC_WINOGRAD_PAIRS - 1];   /* the same without one pair */
    FC_T scale[SIZE_MAX_1D];                               /* of the weights, by point */
} FC_ID(winograd_numbers);

typedef FC_T FC_ID(vec_bytes) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(1), may_alias));

FC_INLINE FC_ID(vec) FC_ID(load_bytes)(const char *p) { return *(const FC_ID(vec_bytes) *)p; }
FC_INLINE void FC_ID(keep)(FC_T *p, FC_ID(vec) value) { *(FC_ID(vec_memory) *)p = value; }

/* top + the sum of below[i] * d[2 * i] */
FC_INLINE FC_ID(vec) FC_ID(polynomial)(const FC_ID(vec) *d, const FC_T *below, int n) {
    FC_ID(vec) sum = d[2 * n];
    FC_UNROLL
    for (int i = n - 1; i >= 0; i--)
        sum += d[2 * i] * below[i];
    return sum;
}

/* Samples along one axis to values at the points. */
FC_INLINE void FC_ID(input_axis)(FC_ID(vec) *v, const FC_ID(vec) *d, const FC_ID(winograd_numbers) *k, int pairs,
                                 int single) {
    const int size = 2 * pairs + 2 + single;
    FC_ID(vec) f[SIZE_MAX_1D];
    FC_UNROLL
    for (int i = 0; i < size - single; i++)
        f[i] = single ? d[i + 1] - d[i] * k->power[FC_WINOGRAD_PAIRS][1] : d[i];
    v[0] = FC_ID(polynomial)(f, k->full, pairs);
    FC_UNROLL
    for (int i = 0; i < pairs; i++) {
        const FC_ID(vec) even = FC_ID(polynomial)(f + 2, k->rest[i], pairs - 1);
        const FC_ID(vec) odd = FC_ID(polynomial)(f + 1, k->rest[i], pairs - 1);
        v[1 + 2 * i] = even + odd * k->power[i][1];
        v[2 + 2 * i] = even - odd * k->power[i][1];
    }
    if (single)
        v[size - 2] = FC_ID(polynomial)(d + 1, k->full, pairs);
    v[size - 1] = FC_ID(polynomial)(f + 1, k->full, pairs);
}

/* Products at the points to results along one axis. */
FC_INLINE void FC_ID(output_axis)(FC_ID(vec) *y, const FC_ID(vec) *v, const FC_ID(winograd_numbers) *k, int pairs,
                                  int single) {
    const int size = 2 * pairs + 2 + single, outputs = size - 2;
    FC_ID(vec) both[2][FC_WINOGRAD_PAIRS];
    FC_UNROLL
    for (int i = 0; i < pairs; i++) {
        both[0][i] = v[1 + 2 * i] + v[2 + 2 * i];
        both[1][i] = v[1 + 2 * i] - v[2 + 2 * i];
    }
    FC_UNROLL
    for (int j = 0; j < outputs; j++) {
        FC_ID(vec) sum = j == 0 ? v[0] + both[0][0] : both[j % 2][0] * k->power[0][j];
        FC_UNROLL
        for (int i = 1; i < pairs; i++) {
            if (j == 0)
                sum += both[0][i];
            else
                sum += both[j % 2][i] * k->power[i][j];
        }
        if (single)
            sum += v[size - 2] * k->power[FC_WINOGRAD_PAIRS][j];
        y[j] = j == outputs - 1 ? sum + v[size - 1] : sum;
    }
}

/* Three weights along one axis to values at the points. */
FC_INLINE void FC_ID(weight_axis)(FC_ID(vec) *u, const FC_ID(vec) *w, const FC_ID(winograd_numbers) *k, int pairs,
                                  int single) {
    const int size = 2 * pairs + 2 + single;
    u[0] = w[0] * k->scale[0];
    FC_UNROLL
    for (int i = 0; i < pairs; i++) {
        const FC_ID(vec) even = w[0] + w[2] * k->power[i][2], odd = w[1] * k->power[i][1];
        u[1 + 2 * i] = (even + odd) * k->scale[1 + 2 * i];
        u[2 + 2 * i] = (even - odd) * k->scale[2 + 2 * i];
    }
    if (single)
        u[size - 2] = (w[0] + w[1] * k->power[FC_WINOGRAD_PAIRS][1] + w[2] * k->power[FC_WINOGRAD_PAIRS][2])
                      * k->scale[size - 2];
    u[size - 1] = w[2];
}

/* Columns first, for a strip of tiles at a time: neighbouring tiles share two of them. */
FC_INLINE void FC_ID(input_tiles)(const fc_winograd *step, int pairs, int single) {
    enum { STRIP = 8 };
    const int size = 2 * pairs + 2 + single, outputs = size - 2;
    const FC_ID(winograd_numbers) *k = step->numbers;
    FC_ID(vec) columns[SIZE_MAX_1D][STRIP * FC_WINOGRAD_OUTPUTS + 2];
    for (ptrdiff_t first = 0; first < step->n; first += STRIP) {
        const ptrdiff_t n = step->n - first < STRIP ? step->n - first : STRIP;
        const FC_T *src = (const FC_T *)step->src + first * outputs * FC_LANES;
        FC_T *dst = (FC_T *)step->dst + first * FC_LANES;
        for (ptrdiff_t x = 0; x < n * outputs + 2; x++) {
            FC_ID(vec) d[SIZE_MAX_1D], v[SIZE_MAX_1D];
            FC_UNROLL
            for (int i = 0; i < size; i++)
                d[i] = FC_ID(load)(src + i * step->src_pitch + x * FC_LANES);
            FC_ID(input_axis)(v, d, k, pairs, single);
            FC_UNROLL
            for (int i = 0; i < size; i++)
                columns[i][x] = v[i];
        }
        for (ptrdiff_t t = 0; t < n; t++) {
            FC_T *at = dst + t * FC_LANES;
            for (int i = 0; i < size; i++) {
                FC_ID(vec) v[SIZE_MAX_1D];
                FC_ID(input_axis)(v, &columns[i][t * outputs], k, pairs, single);
                FC_UNROLL
                for (int j = 0; j < size; j++, at += step->dst_pitch)
                    FC_ID(keep)(at, v[j]);
            }
        }
    }
}

FC_INLINE int FC_ID(output_tiles)(const fc_winograd *step, int pairs, int single) {
    const int size = 2 * pairs + 2 + single, outputs = size - 2;
    const FC_ID(winograd_numbers) *k = step->numbers;
    const FC_ID(vec) bias = FC_ID(load)(step->bias);
    FC_ID(vec) check = {0};
    for (ptrdiff_t t = 0; t < step->n; t++) {
        const FC_T *src = (const FC_T *)step->src + t * step->src_pitch;
        FC_T *dst = (FC_T *)step->dst + t * outputs * FC_LANES;
        FC_ID(vec) rows[FC_WINOGRAD_OUTPUTS][SIZE_MAX_1D];
        for (int j = 0; j < size; j++) {
            FC_ID(vec) v[SIZE_MAX_1D], y[FC_WINOGRAD_OUTPUTS];
            FC_UNROLL
            for (int i = 0; i < size; i++)
                v[i] = FC_ID(load)(src + (i * size + j) * FC_LANES);
            FC_ID(output_axis)(y, v, k, pairs, single);
            FC_UNROLL
            for (int i = 0; i < outputs; i++)
                rows[i][j] = y[i];
        }
        for (int i = 0; i < outputs; i++) {
            FC_ID(vec) y[FC_WINOGRAD_OUTPUTS];
            FC_ID(output_axis)(y, rows[i], k, pairs, single);
            FC_UNROLL
            for (int j = 0; j < outputs; j++) {
                check += y[j] * 0;
                FC_ID(keep)(dst + i * step->dst_pitch + j * FC_LANES, y[j] + bias);
            }
        }
    }
    /* What is not finite makes NaN of a zero. */
    int spoilt = 0;
    for (int i = 0; i < FC_LANES; i++)
        spoilt |= check[i] != 0;
    return spoilt;
}

FC_INLINE void FC_ID(weight_tiles)(const fc_winograd *step, int pairs, int single) {
    enum { AHEAD = 8 };
    const int size = 2 * pairs + 2 + single;
    const FC_ID(winograd_numbers) *k = step->numbers;
    for (ptrdiff_t at = 0; at < step->n * COLUMNS; at += FC_LANES) {
        const FC_T *src = (const FC_T *)step->src + at / COLUMNS * 9 * COLUMNS + at % COLUMNS;
        FC_T *dst = (FC_T *)step->dst + at;
        FC_ID(vec) rows[SIZE_MAX_1D][3];
        FC_UNROLL
        for (int j = 0; j < 3; j++) {
            FC_ID(vec) w[3], u[SIZE_MAX_1D];
            FC_UNROLL
            for (int i = 0; i < 3; i++) {
                w[i] = FC_ID(load)(src + (i * 3 + j) * COLUMNS);
                /* So many streams of writes keep the hardware from seeing the one that is read. */
                __builtin_prefetch(src + (i * 3 + j + 9 * AHEAD) * COLUMNS);
            }
            FC_ID(weight_axis)(u, w, k, pairs, single);
            FC_UNROLL
            for (int i = 0; i < size; i++)
                rows[i][j] = u[i];
        }
        FC_UNROLL
        for (int i = 0; i < size; i++) {
            FC_ID(vec) u[SIZE_MAX_1D];
            FC_ID(weight_axis)(u, rows[i], k, pairs, single);
            FC_UNROLL
            for (int j = 0; j < size; j++, dst += step->dst_pitch)
                FC_ID(keep)(dst, u[j]);
        }
    }
}

static int FC_ID(winograd_input)(const fc_winograd *step) {
    switch (step->outputs) {
    case 2: FC_ID(input_tiles)(step, 1, 0); break;
    case 4: FC_ID(input_tiles)(step, 2, 0); break;
    case 5: FC_ID(input_tiles)(step, 2, 1); break;
    case 6: FC_ID(input_tiles)(step, 3, 0); break;
    }
    return 0;
}

static int FC_ID(winograd_weights)(const fc_winograd *step) {
    switch (step->outputs) {
    case 2: FC_ID(weight_tiles)(step, 1, 0); break;
    case 4: FC_ID(weight_tiles)(step, 2, 0); break;
    case 5: FC_ID(weight_tiles)(step, 2, 1); break;
    case 6: FC_ID(weight_tiles)(step, 3, 0); break;
    }
    return 0;
}

static int FC_ID(winograd_output)(const fc_winograd *step) {
    switch (step->outputs) {
    case 2: return FC_ID(output_tiles)(step, 1, 0);
    case 4: return FC_ID(output_tiles)(step, 2, 0);
    case 5: return FC_ID(output_tiles)(step, 2, 1);
    case 6: return FC_ID(output_tiles)(step, 3, 0);
    }
    return 0;
}

/* Up to FC_GEMM_PIXELS tiles against one panel. */
FC_INLINE void FC_ID(product_rows)(const fc_product *p, ptrdiff_t first, int rows) {
    const FC_T *weights = p->weights;
    FC_T *dst = (FC_T *)p->dst + first * p->row_pitch;
    for (ptrdiff_t start = 0; start < p->channels; start += p->fold) {
        const ptrdiff_t stop = p->channels - start < p->fold ? p->channels : start + p->fold;
        FC_ID(vec) acc[FC_GEMM_PIXELS][FC_GEMM_VECTORS];
        FC_UNROLL
        for (int r = 0; r < rows; r++) {
            FC_UNROLL
            for (int v = 0; v < FC_GEMM_VECTORS; v++)
                acc[r][v] = (FC_ID(vec)){0};
        }
        for (ptrdiff_t block = start; block < stop; block += FC_LANES) {
            const FC_T *x = (const FC_T *)p->tiles + block / FC_LANES * p->block_pitch + first * FC_LANES;
            const FC_T *end = x + (stop - block < FC_LANES ? stop - block : FC_LANES);
            for (; x < end; x++, weights += COLUMNS) {
                FC_ID(vec) w[FC_GEMM_VECTORS];
                FC_UNROLL
                for (int v = 0; v < FC_GEMM_VECTORS; v++) {
                    w[v] = FC_ID(load)(weights + v * FC_LANES);
                    __builtin_prefetch(weights + p->ahead + v * FC_LANES, 0, 2);
                }
                FC_UNROLL
                for (int r = 0; r < rows; r++) {
                    FC_UNROLL
                    for (int v = 0; v < FC_GEMM_VECTORS; v++)
                        acc[r][v] += w[v] * x[r * FC_LANES];
                }
            }
        }
        const int add = start || p->accumulate;
        FC_UNROLL
        for (int r = 0; r < rows; r++) {
            FC_UNROLL
            for (int v = 0; v < FC_GEMM_VECTORS; v++) {
                FC_T *at = dst + r * p->row_pitch + v * p->vector_pitch;
                FC_ID(keep)(at, add ? FC_ID(load)(at) + acc[r][v] : acc[r][v]);
            }
        }
    }
}

static void FC_ID(product)(const fc_product *p) {
    const ptrdiff_t groups = (p->rows + FC_GEMM_PIXELS - 1) / FC_GEMM_PIXELS;
    for (ptrdiff_t g = 0; g < groups; g++) {
        const ptrdiff_t first = g * p->rows / groups, stop = (g + 1) * p->rows / groups;
#define CASE(n)                                 \
    case n:                                     \
        if (n <= FC_GEMM_PIXELS)                \
            FC_ID(product_rows)(p, first, n);   \
        break
        switch (stop - first) {
            CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7);
            CASE(8); CASE(9); CASE(10); CASE(11); CASE(12); CASE(13); CASE(14);
        }
#undef CASE
    }
}

/* The channels of a large image lie far apart, often a multiple of a page, where lines of all of them share one set of
 * the cache. So some vectors of a channel are taken one after the other, before the next channel's push them out. */
enum { FC_ID(PIECES) = 4 };

/* Where the next vectors of a row of n pixels begin, from x on; returns how many. The last is moved back to end with
 * the row where the row is long enough. */
FC_INLINE int FC_ID(pieces)(ptrdiff_t at[], ptrdiff_t x, ptrdiff_t n, ptrdiff_t reach) {
    const int most = n > FC_ID(PIECES) * FC_LANES ? FC_ID(PIECES) : 1;
    int count = 0;
    for (; count < most && x < n; count++, x += FC_LANES) {
        at[count] = x + FC_LANES > n && n >= FC_LANES ? n - FC_LANES : x;
        if (at[count] + FC_LANES > reach)
            break;
    }
    return count;
}

/* dst[x][c] = channel c of pixel x, for c < channels <= lanes, zero for the other lanes. */
static void FC_ID(gather_lanes)(void *dst, const char *src, ptrdiff_t pixel_stride, ptrdiff_t channel_stride,
                                ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) {
    typedef FC_T element __attribute__((aligned(1), may_alias));
    FC_T *to = dst;
    ptrdiff_t x = 0, at[FC_ID(PIECES)];
    int count = 0;
    if (channel_stride == sizeof(FC_T) && channels == FC_LANES) {
        for (; x < n; x++)
            FC_ID(keep)(to + x * FC_LANES, FC_ID(load_bytes)(src + x * pixel_stride));
    } else if (pixel_stride == sizeof(FC_T)) {
        FC_ID(vec) block[FC_ID(PIECES)][FC_LANES];
        for (; (count = FC_ID(pieces)(at, x, n, reach)); x += count * FC_LANES) {
            for (int i = 0; i < FC_LANES; i++) {
                for (int b = 0; b < count; b++)
                    block[b][i] = i < channels
                        ? FC_ID(load_bytes)(src + i * channel_stride + at[b] * (ptrdiff_t)sizeof(FC_T))
                        : (FC_ID(vec)){0};
            }
            for (int b = 0; b < count; b++) {
                FC_ID(vec) rows[FC_LANES];
                FC_UNROLL
                for (int i = 0; i < FC_LANES; i++)
                    rows[i] = block[b][i];
                FC_ID(transpose)(rows);
                FC_UNROLL
                for (int i = 0; i < FC_LANES; i++) {
                    if (at[b] + i < n)
                        FC_ID(keep)(to + (at[b] + i) * FC_LANES, rows[i]);
                }
            }
        }
    }
    for (; x < n; x++) {
        for (ptrdiff_t c = 0; c < FC_LANES; c++)
            to[x * FC_LANES + c] =
                c < channels ? *(const element *)(src + x * pixel_stride + c * channel_stride) : 0;
    }
}

/* Channel c of pixel x = src[x][c], for c < channels <= lanes. */
static void FC_ID(scatter_lanes)(char *dst, ptrdiff_t pixel_stride, ptrdiff_t channel_stride, const void *src,
                                 ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) {
    typedef FC_T element __attribute__((aligned(1), may_alias));
    const FC_T *from = src;
    ptrdiff_t x = 0, at[FC_ID(PIECES)];
    int count = 0;
    if (channel_stride == sizeof(FC_T) && channels == FC_LANES) {
        for (; x < n; x++)
            *(FC_ID(vec_bytes) *)(dst + x * pixel_stride) = FC_ID(load)(from + x * FC_LANES);
    } else if (pixel_stride == sizeof(FC_T)) {
        FC_ID(vec) block[FC_ID(PIECES)][FC_LANES];
        for (; (count = FC_ID(pieces)(at, x, n, reach)); x += count * FC_LANES) {
            for (int b = 0; b < count; b++) {
                FC_ID(vec) rows[FC_LANES];
                FC_UNROLL
                for (int i = 0; i < FC_LANES; i++)
                    rows[i] = FC_ID(load)(from + (at[b] + i) * FC_LANES);
                FC_ID(transpose)(rows);
                FC_UNROLL
                for (int i = 0; i < FC_LANES; i++)
                    block[b][i] = rows[i];
            }
            for (ptrdiff_t i = 0; i < channels; i++) {
                for (int b = 0; b < count; b++)
                    *(FC_ID(vec_bytes) *)(dst + i * channel_stride + at[b] * (ptrdiff_t)sizeof(FC_T)) = block[b][i];
            }
        }
    }
    for (; x < n; x++) {
        for (ptrdiff_t c = 0; c < channels; c++)
            *(element *)(dst + x * pixel_stride + c * channel_stride) = from[x * FC_LANES + c];
    }
}

#undef SIZE_MAX_1D
#undef COLUMNS
