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
FC_INLINE void FC_ID(store_channels_first)(FC_ID(vec) acc[][FC_GEMM_VECTORS], const fc_gemm_tile *tile, int pixels) {
    FC_UNROLL
    for (int v = 0; v < FC_GEMM_VECTORS; v++) {
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

static __attribute__((noinline)) void FC_ID(store_any)(const FC_T *acc, const fc_gemm_tile *tile) {
    for (ptrdiff_t r = 0; r < tile->pixels; r++) {
        FC_T *dst = (FC_T *)tile->dst + r * tile->pixel_pitch;
        for (ptrdiff_t o = 0; o < tile->channels_out; o++)
            dst[o * tile->channel_out_pitch] = acc[r * COLUMNS + o];
    }
}

FC_INLINE void FC_ID(gemm_pixels)(const fc_gemm_tile *tile, int pixels) {
    FC_ID(vec) acc[FC_GEMM_PIXELS][FC_GEMM_VECTORS];
    FC_UNROLL
    for (int r = 0; r < pixels; r++) {
        FC_UNROLL
        for (int v = 0; v < FC_GEMM_VECTORS; v++)
            acc[r][v] = FC_ID(load)((const FC_T *)tile->bias + v * FC_LANES);
    }
    const FC_T *weights = tile->weights, *src = tile->src;
    const ptrdiff_t *taps = tile->taps;
    for (ptrdiff_t c = 0; c < tile->channels; c++, src += tile->channel_pitch) {
        for (ptrdiff_t t = 0; t < tile->n_taps; t++, weights += COLUMNS) {
            const FC_T *x = src + taps[t], *second = x + tile->gap;
            FC_ID(vec) w[FC_GEMM_VECTORS];
            FC_UNROLL
            for (int v = 0; v < FC_GEMM_VECTORS; v++)
                w[v] = FC_ID(load)(weights + v * FC_LANES);
            FC_UNROLL
            for (int r = 0; r < pixels; r++) {
                FC_UNROLL
                for (int v = 0; v < FC_GEMM_VECTORS; v++)
                    acc[r][v] += w[v] * (r < (pixels + 1) / 2 ? x : second)[r];
            }
        }
    }
    if (tile->pixel_pitch == 1) {
        FC_ID(store_channels_first)(acc, tile, pixels);
    } else if (tile->channel_out_pitch == 1 && tile->channels_out == COLUMNS) {
        FC_UNROLL
        for (int r = 0; r < pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < FC_GEMM_VECTORS; v++)
                *(FC_ID(vec_memory) *)((FC_T *)tile->dst + r * tile->pixel_pitch + v * FC_LANES) = acc[r][v];
        }
    } else {
        FC_T flat[FC_GEMM_PIXELS * COLUMNS];
        FC_UNROLL
        for (int r = 0; r < pixels; r++) {
            FC_UNROLL
            for (int v = 0; v < FC_GEMM_VECTORS; v++)
                *(FC_ID(vec_memory) *)(flat + (r * FC_GEMM_VECTORS + v) * FC_LANES) = acc[r][v];
        }
        FC_ID(store_any)(flat, tile);
    }
}

/* One copy of the loop a tile height, so that the accumulators of each are registers. */
static void FC_ID(gemm)(const fc_gemm_tile *tile) {
#define CASE(n)                                 \
    case n:                                     \
        if (n <= FC_GEMM_PIXELS)                \
            FC_ID(gemm_pixels)(tile, n);        \
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

#undef COLUMNS
