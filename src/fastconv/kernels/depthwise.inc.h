/* Depthwise convolution: channels in the lanes, up to DEPTHWISE_PIXELS neighbours of an output row in registers.
 *
 * A channel meets no other one, so a tap is one vector of weights for all pixels, and each pixel takes a vector of its
 * own, from an address in a table: where it stands in the array, or in a vector that stands for what lies outside. So
 * nothing is copied, shuffled or broadcast. Under a run of neighbouring taps a sample is loaded once for all outputs that
 * it feeds:
 *
 *     sample q of a row  ->  output p with tap q - p * step,   0 <= q - p * step < run
 */
#define DEPTHWISE_PIXELS (FC_GEMM_PIXELS < 10 ? 2 * FC_GEMM_PIXELS : FC_GEMM_PIXELS)
/* Whether the weights of a kernel of 3 x 3 find registers beside the sums. */
#define DEPTHWISE_HOLDS (FC_GEMM_PIXELS >= 12)

/* What is known of the taps: the length of their runs, or nothing; and of a kernel of 3 x 3 also how many runs. */
enum { FC_ID(DEPTHWISE_ANY) = 0, FC_ID(DEPTHWISE_3X3) = 9 };

/* One vector of channels: its weights, and how many bytes it is from channel 0. */
typedef struct {
    const FC_ID(vec) *weights;
    const FC_T *bias;
    ptrdiff_t offset;
} FC_ID(depthwise_lanes);

/* A run of taps into all pixels. */
FC_INLINE void FC_ID(depthwise_run)(FC_ID(vec) *acc, const char *const *samples, ptrdiff_t offset, const FC_ID(vec) *w,
                                    int step, int run, int pixels) {
    FC_UNROLL
    for (int q = 0; q < (pixels - 1) * step + run; q++) {
        FC_ID(vec) in = FC_ID(load_bytes)(samples[q] + offset);
        /* GCC would load it once a product. */
        FC_OPAQUE(in);
        FC_UNROLL
        for (int p = 0; p < pixels; p++) {
            if (q >= p * step && q < p * step + run)
                acc[p] += w[q - p * step] * in;
        }
    }
}

/* A row of `pixels` outputs. */
FC_INLINE void FC_ID(depthwise_row)(const fc_depthwise_tile *tile, FC_ID(depthwise_lanes) lanes,
                                    const char *const *samples, char *dst, ptrdiff_t step, int kind, int pixels) {
    FC_ID(vec) acc[DEPTHWISE_PIXELS];
    const FC_ID(vec) *w = lanes.weights, bias = FC_ID(load)(lanes.bias);
    FC_UNROLL
    for (int p = 0; p < pixels; p++)
        acc[p] = bias;
    if (kind == FC_ID(DEPTHWISE_3X3)) {
        FC_UNROLL
        for (int i = 0; i < 3; i++)
            FC_ID(depthwise_run)(acc, samples + tile->taps[3 * i], lanes.offset, w + 3 * i, (int)step, 3, pixels);
    } else if (kind != FC_ID(DEPTHWISE_ANY)) {
        for (ptrdiff_t t = 0; t < tile->n_taps; t += kind)
            FC_ID(depthwise_run)(acc, samples + tile->taps[t], lanes.offset, w + t, (int)step, kind, pixels);
    } else {
        for (ptrdiff_t t = 0; t < tile->n_taps; t++) {
            FC_UNROLL
            for (int p = 0; p < pixels; p++)
                acc[p] += w[t] * FC_ID(load_bytes)(samples[tile->taps[t] + p * step] + lanes.offset);
        }
    }
    FC_UNROLL
    for (int p = 0; p < pixels; p++)
        *(FC_ID(vec_bytes) *)(dst + p * tile->dst_pixel_bytes) = acc[p];
}

/* `pixels` columns of all rows, from column x on, of one vector of channels after the other. */
FC_INLINE void FC_ID(depthwise_columns)(const fc_depthwise_tile *tile, ptrdiff_t x, ptrdiff_t step, int kind,
                                        int pixels) {
    for (ptrdiff_t v = 0; v < tile->vectors; v++) {
        const ptrdiff_t channel = v < tile->vectors - 1 ? tile->first + v * FC_LANES : tile->last;
        const char *const *samples = tile->samples + x * step;
        char *dst = (char *)((FC_T *)tile->dst + channel - tile->first) + x * tile->dst_pixel_bytes;
        FC_ID(depthwise_lanes) lanes = {(const FC_ID(vec) *)tile->weights + v * tile->n_taps,
                                        (const FC_T *)tile->bias + v * FC_LANES, channel * (ptrdiff_t)sizeof(FC_T)};
        FC_ID(vec) w[9];
        if (kind == FC_ID(DEPTHWISE_3X3) && DEPTHWISE_HOLDS) {
            FC_UNROLL
            for (int t = 0; t < 9; t++)
                w[t] = lanes.weights[t];
            lanes.weights = w;
        }
        for (ptrdiff_t y = 0; y < tile->height; y++, samples += tile->row_step, dst += tile->dst_row_bytes)
            FC_ID(depthwise_row)(tile, lanes, samples, dst, step, kind, pixels);
    }
}

/* The last columns are moved back to end with the tile where it is wide enough, and some are computed twice. */
FC_INLINE void FC_ID(depthwise_tile)(const fc_depthwise_tile *tile, ptrdiff_t step, int kind) {
    const ptrdiff_t width = tile->width;
    for (ptrdiff_t x = 0, n; x < width; x += n) {
        const ptrdiff_t left = width - x;
        n = left > 7 && width >= DEPTHWISE_PIXELS ? DEPTHWISE_PIXELS
            : left > 4 && width >= 7              ? 7
            : left > 2 && width >= 4              ? 4
            : left > 1                            ? 2
                                                  : 1;
        const ptrdiff_t at = left < n ? width - n : x;
        if (n == DEPTHWISE_PIXELS)
            FC_ID(depthwise_columns)(tile, at, step, kind, DEPTHWISE_PIXELS);
        else if (n == 7)
            FC_ID(depthwise_columns)(tile, at, step, kind, 7);
        else if (n == 4)
            FC_ID(depthwise_columns)(tile, at, step, kind, 4);
        else if (n == 2)
            FC_ID(depthwise_columns)(tile, at, step, kind, 2);
        else
            FC_ID(depthwise_columns)(tile, at, step, kind, 1);
    }
}

FC_INLINE void FC_ID(depthwise_of)(const fc_depthwise_tile *tile, ptrdiff_t step) {
    if (tile->run == 3 && tile->n_taps == 9)
        FC_ID(depthwise_tile)(tile, step, FC_ID(DEPTHWISE_3X3));
    else if (tile->run == 3)
        FC_ID(depthwise_tile)(tile, step, 3);
    else if (tile->run == 5)
        FC_ID(depthwise_tile)(tile, step, 5);
    else if (tile->run == 7)
        FC_ID(depthwise_tile)(tile, step, 7);
    else
        FC_ID(depthwise_tile)(tile, step, FC_ID(DEPTHWISE_ANY));
}

/* With the step known, a sample's outputs are. */
static void FC_ID(depthwise)(const fc_depthwise_tile *tile) {
    if (tile->step == 1)
        FC_ID(depthwise_of)(tile, 1);
    else if (tile->step == 2)
        FC_ID(depthwise_of)(tile, 2);
    else
        FC_ID(depthwise_tile)(tile, tile->step, FC_ID(DEPTHWISE_ANY));
}

#undef DEPTHWISE_PIXELS
#undef DEPTHWISE_HOLDS
