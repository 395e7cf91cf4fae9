/* Implicit GEMM: output channels in the lanes, up to FC_GEMM_PIXELS pixels x FC_GEMM_VECTORS vectors in registers.
 *
 * A step of the reduction loads one row of the weights panel and broadcasts one input element a pixel. The pixels of
 * a tile are neighbours in a packed row, so the patch matrix is walked through the table of taps and never made.
 */
#define COLUMNS (FC_GEMM_VECTORS * FC_LANES)

FC_INLINE FC_ID(vec) FC_ID(load)(const FC_T *p) { return *(const FC_ID(vec_memory) *)p; }

/* rows[i] becomes column i. Each of log2(lanes) rounds interleaves row i with row i + lanes / 2. */
FC_INLINE void FC_ID(transpose)(FC_ID(vec) rows[FC_LANES]) {
    FC_UNROLL
    for (int half = FC_LANES; half > 1; half /= 2) {
        FC_ID(vec) mixed[FC_LANES];
        FC_UNROLL
        for (int i = 0; i < FC_LANES / 2; i++) {
            const FC_ID(vec) a = rows[i], b = rows[i + FC_LANES / 2];
            mixed[2 * i] = __builtin_shufflevector(a, b, FC_LIST(FC_LOW));
            mixed[2 * i + 1] = __builtin_shufflevector(a, b, FC_LIST(FC_HIGH));
        }
        FC_UNROLL
        for (int i = 0; i < FC_LANES; i++)
            rows[i] = mixed[i];
    }
}

/* Channels first: pixels are neighbours in dst, so the lanes turn from channels into pixels. */
FC_INLINE void FC_ID(store_channels_first)(FC_ID(vec) acc[][FC_GEMM_VECTORS], const fc_gemm_tile *tile, int pixels,
                                           int vectors) {
    FC_UNROLL
    for (int v = 0; v < vectors; v++) {
        FC_UNROLL
        for (int first = 0; first < pixels; first += FC_LANES) {
            const int n = pixels - first < FC_LANES ? pixels - first : FC_LANES;
            FC_ID(vec) rows[FC_LANES];
            FC_UNROLL
            for (int i = 0; i < FC_LANES; i++)
                rows[i] = acc[i < n ? first + i : first][v];
            FC_ID(transpose)(rows);
            FC_T *dst = (FC_T *)tile->dst + first + v * FC_LANES * tile->channel_out_pitch;
            FC_UNROLL
            for (int o = 0; o < FC_LANES; o++) {
                if (v * FC_LANES + o >= tile->channels_out)
                    break;
                FC_T *pixel_row = dst + o * tile->channel_out_pitch;
                if (first + FC_LANES <= tile->writable)
                    *(FC_ID(vec_memory) *)pixel_row = rows[o];
                else
                    __builtin_memcpy(pixel_row, &rows[o], (size_t)n * sizeof(FC_T));
            }
        }
    }
}

/* Fewer than 2 * FC_LANES elements, in pieces of which each is half the one before. */
FC_INLINE void FC_ID(store_some)(FC_T *dst, const FC_T *src, ptrdiff_t n) {
    FC_UNROLL
    for (int piece = FC_LANES; piece >= 1; piece /= 2) {
        if (n & piece) {
            __builtin_memcpy(dst, src, (size_t)piece * sizeof(FC_T));
            dst += piece;
            src += piece;
        }
    }
}

/* Channels that are neighbours, but do not fill their vectors, pixel by pixel; else pixels inside channels: where these
 * are a few elements apart, the stores of a channel fall in the same lines. */
static __attribute__((noinline)) void FC_ID(store_any)(const FC_T *acc, const fc_gemm_tile *tile) {
    if (tile->channel_out_pitch == 1) {
        for (ptrdiff_t r = 0; r < tile->pixels; r++) {
            FC_T *dst = (FC_T *)tile->dst + r * tile->pixel_pitch;
            const FC_T *row = acc + r * COLUMNS;
            ptrdiff_t o = 0;
            for (; tile->channels_out - o >= FC_LANES; o += FC_LANES)
                *(FC_ID(vec_memory) *)(dst + o) = FC_ID(load)(row + o);
            FC_ID(store_some)(dst + o, row + o, tile->channels_out - o);
        }
        return;
    }
    for (ptrdiff_t o = 0; o < tile->channels_out; o++) {
        FC_T *dst = (FC_T *)tile->dst + o * tile->channel_out_pitch;
        for (ptrdiff_t r = 0; r < tile->pixels; r++)
            dst[r * tile->pixel_pitch] = acc[r * COLUMNS + o];
    }
}

FC_INLINE void FC_ID(gemm_pixels)(const fc_gemm_tile *tile, int pixels, int vectors) {
    FC_ID(vec) acc[FC_GEMM_PIXELS][FC_GEMM_VECTORS];
    FC_UNROLL
    for (int r = 0; r < pixels; r++) {
        FC_UNROLL
        for (int v = 0; v < vectors; v++)
            acc[r][v] = FC_ID(load)((const FC_T *)tile->bias + v * FC_LANES);
    }
    const FC_T *weights = tile->weights, *src = tile->src;
    const ptrdiff_t *taps = tile->taps;
    for (ptrdiff_t c = 0; c < tile->channels; c++, src += tile->channel_pitch) {
        for (ptrdiff_t t = 0; t < tile->n_taps; t++, weights += COLUMNS) {
            const FC_T *x = src + taps[t], *second = x + tile->gap;
            __builtin_prefetch((const char *)weights + tile->ahead, 0, 2);
            FC_ID(vec) w[FC_GEMM_VECTORS];
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                w[v] = FC_ID(load)(weights + v * FC_LANES);
            FC_UNROLL
            for (int r = 0; r < pixels; r++) {
                FC_UNROLL
                for (int v = 0; v < vectors; v++)
                    acc[r][v] += w[v] * (r < (pixels + 1) / 2 ? x : second)[r];
            }
        }
    }
    if (tile->pixel_pitch == 1) {
        FC_ID(store_channels_first)(acc, tile, pixels, vectors);
    } else if (tile->channel_out_pitch == 1 && tile->channels_out == vectors * FC_LANES) {
        FC_UNROLL
        for (int r = 0; r < pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                *(FC_ID(vec_memory) *)((FC_T *)tile->dst + r * tile->pixel_pitch + v * FC_LANES) = acc[r][v];
        }
    } else {
        FC_T flat[FC_GEMM_PIXELS * COLUMNS];
        FC_UNROLL
        for (int r = 0; r < pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++)
                *(FC_ID(vec_memory) *)(flat + (r * FC_GEMM_VECTORS + v) * FC_LANES) = acc[r][v];
        }
        FC_ID(store_any)(flat, tile);
    }
}

/* One copy of the loop a tile height, so that the accumulators of each are registers, and of these one where output
 * channels fill no more than a vector. */
static void FC_ID(gemm)(const fc_gemm_tile *tile) {
    const int few = tile->channels_out <= FC_LANES;
#define CASE(n)                                                  \
    case n:                                                      \
        if (n <= FC_GEMM_PIXELS && few)                          \
            FC_ID(gemm_pixels)(tile, n, 1);                      \
        else if (n <= FC_GEMM_PIXELS)                            \
            FC_ID(gemm_pixels)(tile, n, FC_GEMM_VECTORS);        \
        break
    switch (tile->pixels) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7);
        CASE(8); CASE(9); CASE(10); CASE(11); CASE(12); CASE(13); CASE(14);
    }
#undef CASE
}

static void FC_ID(pack_panel)(void *panel, const void *weights, ptrdiff_t row_pitch, ptrdiff_t rows, ptrdiff_t k_size) {
    FC_T *dst = panel;
    const FC_T *src = weights;
    for (ptrdiff_t first = 0; first < COLUMNS; first += FC_LANES) {
        ptrdiff_t k = 0;
        for (; first + FC_LANES <= rows && k + FC_LANES <= k_size; k += FC_LANES) {
            FC_ID(vec) block[FC_LANES];
            FC_UNROLL
            for (int i = 0; i < FC_LANES; i++) {
                const FC_T *row = src + (first + i) * row_pitch + k;
                block[i] = FC_ID(load)(row);
                /* So many rows at once are more streams than the hardware follows. */
                __builtin_prefetch(row + 8 * FC_LANES);
            }
            FC_ID(transpose)(block);
            FC_UNROLL
            for (int i = 0; i < FC_LANES; i++)
                *(FC_ID(vec_memory) *)(dst + (k + i) * COLUMNS + first) = block[i];
        }
        for (; k < k_size; k++)
            for (ptrdiff_t j = first; j < first + FC_LANES; j++)
                dst[k * COLUMNS + j] = j < rows ? src[j * row_pitch + k] : 0;
    }
}

typedef FC_T FC_ID(element_bytes) __attribute__((aligned(1), may_alias));
typedef FC_T FC_ID(vector_bytes) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(1), may_alias));

#define ROW(t) taps->rows[(t) * taps->step]

FC_INLINE FC_T FC_ID(weight_at)(const char *p) { return *(const FC_ID(element_bytes) *)p; }

/* Some taps of output channels from `first` to `last`, one by one. */
static void FC_ID(pack_some)(FC_T *panel, const fc_taps *taps, ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t t = 0; t < taps->n; t++) {
        const char *src = taps->weights + t * taps->tap_stride;
        if (ROW(t) < 0)
            continue;
        for (ptrdiff_t j = first; j < last; j++)
            panel[ROW(t) * COLUMNS + j] = j < taps->channels_out ? FC_ID(weight_at)(src + j * taps->stride) : 0;
    }
}

/* Output channels that are neighbours. */
FC_INLINE void FC_ID(pack_neighbours)(FC_T *panel, const fc_taps *taps, ptrdiff_t first) {
    for (ptrdiff_t t = 0; t < taps->n; t++) {
        const char *src = taps->weights + t * taps->tap_stride + first * (ptrdiff_t)sizeof(FC_T);
        if (ROW(t) >= 0)
            *(FC_ID(vec_memory) *)(panel + ROW(t) * COLUMNS + first) = *(const FC_ID(vector_bytes) *)src;
    }
}

/* 2, 4 or 8 taps of output channels that follow each other: even and odd elements are told apart, again and again. */
FC_INLINE void FC_ID(pack_dealt)(FC_T *panel, const fc_taps *taps, ptrdiff_t first, int n) {
    const char *src = taps->weights + first * taps->stride;
    FC_ID(vec) v[8];
    FC_UNROLL
    for (int i = 0; i < n; i++)
        v[i] = *(const FC_ID(vector_bytes) *)(src + i * FC_VECTOR_BYTES);
    FC_UNROLL
    for (int parts = 1; parts < n; parts *= 2) {
        FC_ID(vec) dealt[8];
        const int length = n / parts;
        FC_UNROLL
        for (int i = 0; i < n; i += 2) {
            const int at = i / length * length + i % length / 2;
            dealt[at] = __builtin_shufflevector(v[i], v[i + 1], FC_LIST(FC_EVEN));
            dealt[at + length / 2] = __builtin_shufflevector(v[i], v[i + 1], FC_LIST(FC_ODD));
        }
        FC_UNROLL
        for (int i = 0; i < n; i++)
            v[i] = dealt[i];
    }
    FC_UNROLL
    for (int i = 0; i < n; i++) {
        int tap = 0;
        FC_UNROLL
        for (int bit = 1; bit < n; bit *= 2)
            tap |= i & bit ? n / 2 / bit : 0;
        if (ROW(tap) >= 0)
            *(FC_ID(vec_memory) *)(panel + ROW(tap) * COLUMNS + first) = v[i];
    }
}

/* Taps that are neighbours, in blocks that are transposed. A row is read beyond its last tap, but not beyond the last
 * tap of the last output channel. */
FC_INLINE void FC_ID(pack_turned)(FC_T *panel, const fc_taps *taps, ptrdiff_t first) {
    const char *end = taps->weights + (taps->channels_out - 1) * taps->stride + taps->n * (ptrdiff_t)sizeof(FC_T);
    for (ptrdiff_t k = 0; k < taps->n; k += FC_LANES) {
        const ptrdiff_t n = taps->n - k < FC_LANES ? taps->n - k : FC_LANES;
        FC_ID(vec) block[FC_LANES];
        for (int i = 0; i < FC_LANES; i++) {
            const char *row = taps->weights + (first + i) * taps->stride + k * (ptrdiff_t)sizeof(FC_T);
            block[i] = (FC_ID(vec)){0};
            if (end - row >= FC_VECTOR_BYTES)
                block[i] = *(const FC_ID(vector_bytes) *)row;
            else
                for (ptrdiff_t t = 0; t < n; t++)
                    block[i][t] = FC_ID(weight_at)(row + t * (ptrdiff_t)sizeof(FC_T));
        }
        FC_ID(transpose)(block);
        FC_UNROLL
        for (int i = 0; i < FC_LANES; i++) {
            if (i < n && ROW(k + i) >= 0)
                *(FC_ID(vec_memory) *)(panel + ROW(k + i) * COLUMNS + first) = block[i];
        }
    }
}

static void FC_ID(pack_taps)(void *panel, const fc_taps *taps) {
    const ptrdiff_t item = sizeof(FC_T);
    const int packed = taps->tap_stride == item && taps->stride == taps->n * item;
    for (ptrdiff_t first = 0; first < COLUMNS; first += FC_LANES) {
        if (first + FC_LANES > taps->channels_out)
            FC_ID(pack_some)(panel, taps, first, first + FC_LANES);
        else if (taps->stride == item)
            FC_ID(pack_neighbours)(panel, taps, first);
        else if (packed && taps->n == 2)
            FC_ID(pack_dealt)(panel, taps, first, 2);
        else if (packed && taps->n == 4)
            FC_ID(pack_dealt)(panel, taps, first, 4);
        else if (packed && taps->n == 8)
            FC_ID(pack_dealt)(panel, taps, first, 8);
        else if (taps->tap_stride == item && taps->stride > 0 && taps->n * 4 > FC_LANES)
            FC_ID(pack_turned)(panel, taps, first);
        else
            FC_ID(pack_some)(panel, taps, first, first + FC_LANES);
    }
}

#undef ROW

/* Two rows become one, from its element i on. */
FC_INLINE void FC_ID(interleave_pair)(FC_T *dst, const FC_T *even, const FC_T *odd, ptrdiff_t i) {
    const FC_ID(vec) a = FC_ID(load)(even + i / 2), b = FC_ID(load)(odd + i / 2);
    *(FC_ID(vec_memory) *)dst = __builtin_shufflevector(a, b, FC_LIST(FC_LOW));
    *(FC_ID(vec_memory) *)(dst + FC_LANES) = __builtin_shufflevector(a, b, FC_LIST(FC_HIGH));
}

static void FC_ID(interleave)(void *dst, ptrdiff_t dst_pitch, const void *src, ptrdiff_t phase_pitch,
                              ptrdiff_t src_pitch, ptrdiff_t phases, ptrdiff_t rows, ptrdiff_t n) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        FC_T *to = (FC_T *)dst + row * dst_pitch;
        const FC_T *from = (const FC_T *)src + row * src_pitch;
        if (phases == 2) {
            FC_T rest[2 * FC_LANES];
            ptrdiff_t i = 0;
            for (; i + 2 * FC_LANES <= n; i += 2 * FC_LANES)
                FC_ID(interleave_pair)(to + i, from, from + phase_pitch, i);
            FC_ID(interleave_pair)(rest, from, from + phase_pitch, i);
            FC_ID(store_some)(to + i, rest, n - i);
            continue;
        }
        for (ptrdiff_t phase = 0; phase < phases; phase++, from += phase_pitch) {
            for (ptrdiff_t i = phase, x = 0; i < n; i += phases, x++)
                to[i] = from[x];
        }
    }
}

#undef COLUMNS
