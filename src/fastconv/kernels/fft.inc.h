/* Fourier transforms of tiles, for float and double: overlap-save convolution of large kernels.
 *
 * Every transform runs down the lanes: a strip holds as many columns of the tile as a vector has lanes, so that no level
 * of a transform along it needs a shuffle. Between the vertical axes and the axis across, blocks of lanes x lanes are
 * transposed:
 *
 *     tile of samples  ->  strip [vertical][re: lanes columns | im]       transformed along fold and middle, in L1
 *                      ->  spectrum [group][across][re: lanes rows | im]  transformed along across, group by group
 *
 * A transform along an axis is a tree, as in number theoretic transforms: a polynomial modulo u^(r m) - c is reduced
 * modulo its r factors u^m - c_j with c_j^r = c, down to single coefficients. Twiddles are constant within a block,
 * and as products are taken in the order in which the leaves come, nothing is ever put in order. (R. Crandall and
 * B. Fagin, "Discrete weighted transforms and large-integer arithmetic", Math. Comp. 62, 1994.)
 *
 * Real samples are folded: modulo u^n - i, of the two factors of u^2n + 1, the polynomial of 2 n real coefficients x
 * becomes n complex ones x[k] + i x[k + n]. What wraps around changes its sign, but overlap-save never looks at it.
 */
typedef struct {
    FC_ID(vec) re, im;
} FC_ID(point);

/* a, b = a + w b, a - w b in six multiply-adds: the difference is twice a less the sum. */
FC_INLINE void FC_ID(fft_butterfly)(FC_ID(point) *a, FC_ID(point) *b, FC_ID(vec) re, FC_ID(vec) im) {
    const FC_ID(point) first = *a;
    a->re = first.re + b->re * re;
    a->im = first.im + b->im * re;
    a->re -= b->im * im;
    a->im += b->re * im;
    b->re = first.re * 2 - a->re;
    b->im = first.im * 2 - a->im;
}

FC_INLINE FC_ID(point) FC_ID(fft_times)(FC_ID(point) a, FC_ID(vec) re, FC_ID(vec) im) {
    return (FC_ID(point)){a.re * re - a.im * im, a.re * im + a.im * re};
}

FC_INLINE FC_ID(point) FC_ID(fft_plus)(FC_ID(point) a, FC_ID(point) b) {
    return (FC_ID(point)){a.re + b.re, a.im + b.im};
}

FC_INLINE FC_ID(point) FC_ID(fft_minus)(FC_ID(point) a, FC_ID(point) b) {
    return (FC_ID(point)){a.re - b.re, a.im - b.im};
}

/* a + f i b */
FC_INLINE FC_ID(point) FC_ID(fft_plus_i)(FC_ID(point) a, FC_ID(point) b, FC_T f) {
    return (FC_ID(point)){a.re - b.im * f, a.im + b.re * f};
}

/* The discrete transforms of 3 and 5 points; `sign` is that of the exponent. */
FC_INLINE void FC_ID(fft_dft3)(FC_ID(point) a[3], FC_T sign) {
    const FC_ID(point) s = FC_ID(fft_plus)(a[1], a[2]), d = FC_ID(fft_minus)(a[1], a[2]);
    const FC_ID(point) t = {a[0].re - s.re * (FC_T)0.5, a[0].im - s.im * (FC_T)0.5};
    const FC_T sine = sign * (FC_T)0.86602540378443864676;
    a[0] = FC_ID(fft_plus)(a[0], s);
    a[1] = FC_ID(fft_plus_i)(t, d, sine);
    a[2] = FC_ID(fft_plus_i)(t, d, -sine);
}

FC_INLINE void FC_ID(fft_dft5)(FC_ID(point) a[5], FC_T sign) {
    const FC_T c1 = (FC_T)0.30901699437494742410, c2 = (FC_T)-0.80901699437494742410;
    const FC_T s1 = sign * (FC_T)0.95105651629515357212, s2 = sign * (FC_T)0.58778525229247312917;
    const FC_ID(point) s14 = FC_ID(fft_plus)(a[1], a[4]), d14 = FC_ID(fft_minus)(a[1], a[4]);
    const FC_ID(point) s23 = FC_ID(fft_plus)(a[2], a[3]), d23 = FC_ID(fft_minus)(a[2], a[3]);
    const FC_ID(point) t1 = {a[0].re + s14.re * c1 + s23.re * c2, a[0].im + s14.im * c1 + s23.im * c2};
    const FC_ID(point) t2 = {a[0].re + s14.re * c2 + s23.re * c1, a[0].im + s14.im * c2 + s23.im * c1};
    const FC_ID(point) e1 = {d14.re * s1 + d23.re * s2, d14.im * s1 + d23.im * s2};
    const FC_ID(point) e2 = {d14.re * s2 - d23.re * s1, d14.im * s2 - d23.im * s1};
    a[0] = FC_ID(fft_plus)(a[0], FC_ID(fft_plus)(s14, s23));
    a[1] = FC_ID(fft_plus_i)(t1, e1, 1);
    a[2] = FC_ID(fft_plus_i)(t2, e2, 1);
    a[3] = FC_ID(fft_plus_i)(t2, e2, -1);
    a[4] = FC_ID(fft_plus_i)(t1, e1, -1);
}

/* Splits a block of 4 parts, m points apart; twiddles: s = w^2, w, s w. */
FC_INLINE void FC_ID(fft_split4)(FC_ID(point) *at, ptrdiff_t m, const FC_ID(vec) *w) {
    FC_ID(point) a0 = at[0], a1 = at[m], a2 = at[2 * m], a3 = at[3 * m];
    FC_ID(fft_butterfly)(&a0, &a2, w[0], w[1]);
    FC_ID(fft_butterfly)(&a1, &a3, w[0], w[1]);
    FC_ID(fft_butterfly)(&a0, &a1, w[2], w[3]);
    FC_ID(fft_butterfly)(&a2, &a3, -w[3], w[2]);
    at[0] = a0;
    at[m] = a2;
    at[2 * m] = a1;
    at[3 * m] = a3;
}

FC_INLINE void FC_ID(fft_join4)(FC_ID(point) *at, ptrdiff_t m, const FC_ID(vec) *w) {
    const FC_ID(point) y0 = at[0], y1 = at[m], y2 = at[2 * m], y3 = at[3 * m];
    const FC_ID(point) u = FC_ID(fft_plus)(y0, y2), v = FC_ID(fft_minus)(y0, y2);
    const FC_ID(point) p = FC_ID(fft_plus)(y1, y3), q = FC_ID(fft_minus)(y1, y3);
    at[0] = FC_ID(fft_plus)(u, p);
    at[m] = FC_ID(fft_times)(FC_ID(fft_plus_i)(v, q, -1), w[2], -w[3]);
    at[2 * m] = FC_ID(fft_times)(FC_ID(fft_minus)(u, p), w[0], -w[1]);
    at[3 * m] = FC_ID(fft_times)(FC_ID(fft_plus_i)(v, q, 1), w[4], -w[5]);
}

/* The same for 2, 3 and 5 parts; twiddles: w, w^2, ... */
FC_INLINE void FC_ID(fft_split)(FC_ID(point) *at, ptrdiff_t m, const FC_ID(vec) *w, int radix) {
    FC_ID(point) a[5];
    a[0] = at[0];
    FC_UNROLL
    for (int q = 1; q < radix; q++)
        a[q] = FC_ID(fft_times)(at[q * m], w[2 * q - 2], w[2 * q - 1]);
    if (radix == 2) {
        const FC_ID(point) b = a[1];
        a[1] = FC_ID(fft_minus)(a[0], b);
        a[0] = FC_ID(fft_plus)(a[0], b);
    } else if (radix == 3) {
        FC_ID(fft_dft3)(a, 1);
    } else {
        FC_ID(fft_dft5)(a, 1);
    }
    FC_UNROLL
    for (int q = 0; q < radix; q++)
        at[q * m] = a[q];
}

FC_INLINE void FC_ID(fft_join)(FC_ID(point) *at, ptrdiff_t m, const FC_ID(vec) *w, int radix) {
    FC_ID(point) a[5];
    FC_UNROLL
    for (int q = 0; q < radix; q++)
        a[q] = at[q * m];
    if (radix == 2) {
        const FC_ID(point) b = a[1];
        a[1] = FC_ID(fft_minus)(a[0], b);
        a[0] = FC_ID(fft_plus)(a[0], b);
    } else if (radix == 3) {
        FC_ID(fft_dft3)(a, -1);
    } else {
        FC_ID(fft_dft5)(a, -1);
    }
    at[0] = a[0];
    FC_UNROLL
    for (int q = 1; q < radix; q++)
        at[q * m] = FC_ID(fft_times)(a[q], w[2 * q - 2], -w[2 * q - 1]);
}

/* One level: `blocks` blocks of `radix` parts of m points each, m >= 1 already multiplied by the inner size. */
FC_INLINE void FC_ID(fft_level)(FC_ID(point) *points, ptrdiff_t blocks, ptrdiff_t m, const FC_T *w, int radix,
                                int inverse) {
    for (ptrdiff_t b = 0; b < blocks; b++, points += radix * m, w += 2 * (radix - 1)) {
        FC_ID(vec) twiddles[8];
        FC_UNROLL
        for (int q = 0; q < 2 * (radix - 1); q++)
            twiddles[q] = w[q] - (FC_ID(vec)){0};
        for (ptrdiff_t i = 0; i < m; i++) {
            if (radix == 4 && inverse)
                FC_ID(fft_join4)(points + i, m, twiddles);
            else if (radix == 4)
                FC_ID(fft_split4)(points + i, m, twiddles);
            else if (inverse)
                FC_ID(fft_join)(points + i, m, twiddles, radix);
            else
                FC_ID(fft_split)(points + i, m, twiddles, radix);
        }
    }
}

FC_INLINE void FC_ID(fft_any_level)(FC_ID(point) *points, ptrdiff_t blocks, ptrdiff_t m, const FC_T *w,
                                    ptrdiff_t radix, int inverse) {
    if (radix == 4)
        FC_ID(fft_level)(points, blocks, m, w, 4, inverse);
    else if (radix == 2)
        FC_ID(fft_level)(points, blocks, m, w, 2, inverse);
    else if (radix == 3)
        FC_ID(fft_level)(points, blocks, m, w, 3, inverse);
    else
        FC_ID(fft_level)(points, blocks, m, w, 5, inverse);
}

/* Transforms along an axis whose points lie `inner` apart; before it may be outer axes, taken one after the other. */
static void FC_ID(fft_forward)(FC_ID(point) *points, const fc_fft_axis *axis, ptrdiff_t inner, ptrdiff_t outer) {
    for (; outer > 0; outer--, points += axis->n * inner) {
        const FC_T *w = axis->twiddles;
        ptrdiff_t blocks = 1;
        for (ptrdiff_t level = 0; level < axis->n_levels; level++) {
            const ptrdiff_t radix = axis->radices[level];
            FC_ID(fft_any_level)(points, blocks, axis->n / (blocks * radix) * inner, w, radix, 0);
            w += blocks * 2 * (radix - 1);
            blocks *= radix;
        }
    }
}

static void FC_ID(fft_backward)(FC_ID(point) *points, const fc_fft_axis *axis, ptrdiff_t inner, ptrdiff_t outer) {
    for (; outer > 0; outer--, points += axis->n * inner) {
        /* Level after level, each has (radix - 1) times as many twiddles as there were blocks: axis->n - 1 in all. */
        const FC_T *w = (const FC_T *)axis->twiddles + 2 * (axis->n - 1);
        ptrdiff_t blocks = axis->n;
        for (ptrdiff_t level = axis->n_levels - 1; level >= 0; level--) {
            const ptrdiff_t radix = axis->radices[level];
            blocks /= radix;
            w -= blocks * 2 * (radix - 1);
            FC_ID(fft_any_level)(points, blocks, axis->n / (blocks * radix) * inner, w, radix, 1);
        }
    }
}

/* One strip of the tile: real rows come in pairs that are folded into one, complex ones are taken apart. */
static void FC_ID(fft_gather)(FC_ID(point) *strip, const fc_fft_tile *tile, ptrdiff_t column) {
    const fc_fft *fft = tile->fft;
    const ptrdiff_t parts = fft->interleaved ? 2 : 1;
    const ptrdiff_t fold_pitch = tile->src_fold_pitch * parts, middle_pitch = tile->src_middle_pitch * parts;
    const ptrdiff_t half = fft->fold.n * fold_pitch;
    for (ptrdiff_t f = 0; f < fft->fold.n; f++) {
        const FC_T *row = (const FC_T *)tile->src + column * parts + f * fold_pitch;
        for (ptrdiff_t m = 0; m < fft->middle.n; m++, row += middle_pitch, strip++) {
            if (fft->interleaved) {
                const FC_ID(vec) a = FC_ID(load)(row), b = FC_ID(load)(row + FC_LANES);
                strip->re = __builtin_shufflevector(a, b, FC_LIST(FC_EVEN));
                strip->im = __builtin_shufflevector(a, b, FC_LIST(FC_ODD));
            } else {
                strip->re = FC_ID(load)(row);
                strip->im = FC_ID(load)(row + half);
            }
        }
    }
}

/* Lanes turn from columns into vertical positions, and back. */
FC_INLINE void FC_ID(fft_turn)(FC_ID(point) *to, const FC_ID(point) *from) {
    FC_ID(vec) block[FC_LANES];
    FC_UNROLL
    for (int i = 0; i < FC_LANES; i++)
        block[i] = from[i].re;
    FC_ID(transpose)(block);
    FC_UNROLL
    for (int i = 0; i < FC_LANES; i++)
        to[i].re = block[i];
    FC_UNROLL
    for (int i = 0; i < FC_LANES; i++)
        block[i] = from[i].im;
    FC_ID(transpose)(block);
    FC_UNROLL
    for (int i = 0; i < FC_LANES; i++)
        to[i].im = block[i];
}

/* Multiplies lane by lane, by the conjugate where sign is -1. */
FC_INLINE void FC_ID(fft_twist)(FC_ID(point) *points, const FC_ID(point) *by, ptrdiff_t n, FC_T sign) {
    for (ptrdiff_t i = 0; i < n; i++) {
        const FC_ID(point) a = points[i], w = by[i];
        points[i].re = a.re * w.re - a.im * w.im * sign;
        points[i].im = a.im * w.re + a.re * w.im * sign;
    }
}

FC_INLINE ptrdiff_t FC_ID(fft_groups)(const fc_fft *fft) { return fft->fold.n * fft->middle.n / FC_LANES; }

/* The vertical half of a forward transform. */
static void FC_ID(fft_columns)(const fc_fft_tile *tile) {
    const fc_fft *fft = tile->fft;
    FC_ID(point) *strip = tile->strip, *spectrum = tile->spectrum;
    const ptrdiff_t across = fft->across.n, groups = FC_ID(fft_groups)(fft);
    for (ptrdiff_t column = 0; column < across; column += FC_LANES) {
        FC_ID(fft_gather)(strip, tile, column);
        FC_ID(fft_forward)(strip, &fft->fold, fft->middle.n, 1);
        FC_ID(fft_forward)(strip, &fft->middle, 1, fft->fold.n);
        for (ptrdiff_t g = 0; g < groups; g++)
            FC_ID(fft_turn)(spectrum + g * tile->group_pitch + column, strip + g * FC_LANES);
    }
}

/* The other half, for one group. */
FC_INLINE void FC_ID(fft_row)(const fc_fft_tile *tile, FC_ID(point) *row, ptrdiff_t group) {
    const fc_fft *fft = tile->fft;
    if (fft->twist)
        FC_ID(fft_twist)(row, (const FC_ID(point) *)fft->twist + group * fft->across.n, fft->across.n, 1);
    FC_ID(fft_forward)(row, &fft->across, 1, 1);
}

static void FC_ID(fft_rows)(const fc_fft_tile *tile) {
    for (ptrdiff_t g = 0; g < FC_ID(fft_groups)(tile->fft); g++)
        FC_ID(fft_row)(tile, (FC_ID(point) *)tile->spectrum + g * tile->group_pitch, g);
}

/* Sum over channels of spectra times weights, one group, and back along the axis across. */
FC_INLINE void FC_ID(fft_product)(const fc_fft_tile *tile, ptrdiff_t group) {
    const fc_fft *fft = tile->fft;
    const ptrdiff_t at = group * tile->group_pitch, n = fft->across.n;
    FC_ID(point) *sum = (FC_ID(point) *)tile->product + at;
    for (ptrdiff_t c = 0; c < tile->channels; c++) {
        FC_ID(point) *x = (FC_ID(point) *)tile->spectrum + c * tile->channel_pitch + at;
        const FC_ID(point) *w = (const FC_ID(point) *)tile->weights + c * tile->channel_pitch + at;
        if (!tile->rows_done)
            FC_ID(fft_row)(tile, x, group);
        for (ptrdiff_t i = 0; i < n; i++) {
            const FC_ID(point) a = x[i], b = w[i];
            FC_ID(point) s = {a.re * b.re, a.re * b.im};
            if (c) {
                s.re += sum[i].re;
                s.im += sum[i].im;
            }
            sum[i].re = s.re - a.im * b.im;
            sum[i].im = s.im + a.im * b.re;
        }
    }
    FC_ID(fft_backward)(sum, &fft->across, 1, 1);
    if (fft->twist)
        FC_ID(fft_twist)(sum, (const FC_ID(point) *)fft->twist + group * n, n, -1);
}

/* The strip at a column, whole vectors of the rows that are wanted. With `lower`, the imaginary parts, which are the
 * rows that were folded under the others. Returns what is NaN in a lane where a value was not finite. */
FC_INLINE FC_ID(vec) FC_ID(fft_store)(const fc_fft_tile *tile, ptrdiff_t column, int interleaved, int lower) {
    const fc_fft *fft = tile->fft;
    const ptrdiff_t below = lower ? fft->fold.n : 0, parts = interleaved ? 2 : 1;
    const ptrdiff_t first = tile->first_fold > below ? tile->first_fold - below : 0;
    const ptrdiff_t last = tile->last_fold - below < fft->fold.n ? tile->last_fold - below : fft->fold.n;
    const FC_T *bias = tile->bias;
    const FC_ID(vec) add = (FC_ID(vec)){0} + (bias ? bias[0] : 0);
    const FC_ID(vec) add_im = (FC_ID(vec)){0} + (bias && interleaved ? bias[1] : 0);
    FC_ID(vec) bad = {0};
    for (ptrdiff_t f = first; f < last; f++) {
        const FC_ID(point) *point = (const FC_ID(point) *)tile->strip + f * fft->middle.n + tile->first_middle;
        FC_T *dst = (FC_T *)tile->dst + ((f + below - tile->first_fold) * tile->dst_fold_pitch + column) * parts;
        for (ptrdiff_t m = tile->first_middle; m < tile->last_middle; m++, point++) {
            const FC_ID(vec) value = (lower ? point->im : point->re) + add;
            if (interleaved) {
                const FC_ID(vec) im = point->im + add_im;
                *(FC_ID(vec) *)dst = __builtin_shufflevector(value, im, FC_LIST(FC_LOW));
                *(FC_ID(vec) *)(dst + FC_LANES) = __builtin_shufflevector(value, im, FC_LIST(FC_HIGH));
                bad += im * 0;
            } else {
                *(FC_ID(vec) *)dst = value;
            }
            /* Zero times anything that is not finite is NaN. */
            bad += value * 0;
            dst += tile->dst_middle_pitch * parts;
        }
    }
    return bad;
}

/* Product with the weights and the way back to the output. Returns whether every value is finite. */
static int FC_ID(fft_back)(const fc_fft_tile *tile) {
    const fc_fft *fft = tile->fft;
    FC_ID(point) *strip = tile->strip, *product = tile->product;
    const ptrdiff_t groups = FC_ID(fft_groups)(fft);
    FC_ID(vec) bad = {0};
    for (ptrdiff_t g = 0; g < groups; g++)
        FC_ID(fft_product)(tile, g);
    for (ptrdiff_t column = 0; column < fft->across.n; column += FC_LANES) {
        if (column + FC_LANES <= tile->first_column || column >= tile->last_column)
            continue;
        for (ptrdiff_t g = 0; g < groups; g++)
            FC_ID(fft_turn)(strip + g * FC_LANES, product + g * tile->group_pitch + column);
        FC_ID(fft_backward)(strip, &fft->middle, 1, fft->fold.n);
        FC_ID(fft_backward)(strip, &fft->fold, fft->middle.n, 1);
        if (fft->interleaved)
            bad += FC_ID(fft_store)(tile, column, 1, 0);
        else
            bad += FC_ID(fft_store)(tile, column, 0, 0) + FC_ID(fft_store)(tile, column, 0, 1);
    }
    int finite = 1;
    for (int i = 0; i < FC_LANES; i++)
        finite &= bad[i] == 0;
    return finite;
}
