/* What follows the sums of products, on rows of the compute type: values = activation(values * scale + bias + residual).
 *
 * exp is exp(r) 2^n with x = n ln 2 + r and |r| <= ln 2 / 2, where exp(r) - 1 is its Taylor series, as long as rounding
 * can tell. The distribution function of the normal distribution is exp(-a^2 / 2) P(t) / (a + K) for x = -a <= 0, with
 * t = (a - K) / (a + K) and P a polynomial: M. M. Shepherd and J. G. Laframboise, "Chebyshev approximation of
 * (1 + 2 x) exp(x^2) erfc x in 0 <= x < inf", Mathematics of Computation 36, 1981; the coefficients were computed anew
 * for K = 4 and 5. Both are good to a few units in the last place; where they would be about to become subnormal they
 * are 0.
 */
typedef struct {
    FC_ID(vec) less_one, power;  /* exp(x) = (less_one + 1) * power */
} FC_ID(exponential);

#define IS_FLOAT (sizeof(FC_T) == 4)

FC_INLINE FC_ID(vec) FC_ID(all)(double value) { return (FC_ID(vec)){0} + (FC_T)value; }

FC_INLINE FC_ID(vec) FC_ID(select)(FC_ID(mask) where, FC_ID(vec) yes, FC_ID(vec) no) {
    return (FC_ID(vec))((where & (FC_ID(mask))yes) | (~where & (FC_ID(mask))no));
}

/* NaN stays. */
FC_INLINE FC_ID(vec) FC_ID(at_least)(FC_ID(vec) y, double least) {
    return FC_ID(select)(y < FC_ID(all)(least), FC_ID(all)(least), y);
}

FC_INLINE FC_ID(vec) FC_ID(at_most)(FC_ID(vec) y, double most) {
    return FC_ID(select)(y > FC_ID(all)(most), FC_ID(all)(most), y);
}

/* Horner's rule, the highest coefficient first. */
FC_INLINE FC_ID(vec) FC_ID(horner)(FC_ID(vec) x, const double *coefficients, int n) {
    FC_ID(vec) y = FC_ID(all)(coefficients[0]);
    FC_UNROLL
    for (int i = 1; i < n; i++)
        y = y * x + (FC_T)coefficients[i];
    return y;
}

/* exp(x + rest) for x from LEAST_EXPONENT to 0 and a rest that is small beside 1. Below that it would be subnormal, and
 * the whole vector a hundred times as slow. */
#define LEAST_EXPONENT (IS_FLOAT ? -87.0 : -708.0)
FC_INLINE FC_ID(exponential) FC_ID(exp_of)(FC_ID(vec) x, FC_ID(vec) rest) {
    static const double series[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
                                    1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2};
    /* Adding 1.5 times the power of two that has no fraction left leaves the whole part in the low bits. */
    const FC_ID(vec) round = FC_ID(all)(IS_FLOAT ? 0x1.8p23 : 0x1.8p52);
    const FC_ID(vec) shifted = x * (FC_T)1.4426950408889634 + round, n = shifted - round;
    /* ln 2 in two parts, the first with so few bits that its product with n is exact. */
    FC_ID(vec) r = x - n * (FC_T)(IS_FLOAT ? 0x1.62ep-1 : 0x1.62e42feep-1);
    r = r - n * (FC_T)(IS_FLOAT ? 0x1.0bfbe8p-15 : 0x1.a39ef35793c76p-33) + rest;
    FC_ID(exponential) e;
    e.less_one = r * r * (IS_FLOAT ? FC_ID(horner)(r, series + 6, 6) : FC_ID(horner)(r, series, 12)) + r;
    const FC_ID(mask) whole = (FC_ID(mask))shifted - (FC_ID(mask))round;
    e.power = (FC_ID(vec))((whole + (IS_FLOAT ? 127 : 1023)) << (IS_FLOAT ? 23 : 52));
    return e;
}

FC_INLINE FC_ID(vec) FC_ID(exp_below_0)(FC_ID(vec) x) {
    const FC_ID(exponential) e = FC_ID(exp_of)(FC_ID(at_least)(x, LEAST_EXPONENT), (FC_ID(vec)){0});
    return FC_ID(select)(x < FC_ID(all)(LEAST_EXPONENT), (FC_ID(vec)){0}, e.less_one * e.power + e.power);
}

/* The bit that a number's sign is. */
FC_INLINE FC_ID(mask) FC_ID(sign)(void) { return (FC_ID(mask))-(FC_ID(vec)){0}; }

FC_INLINE FC_ID(vec) FC_ID(minus_abs)(FC_ID(vec) x) { return (FC_ID(vec))((FC_ID(mask))x | FC_ID(sign)()); }

FC_INLINE FC_ID(vec) FC_ID(sigmoid)(FC_ID(vec) y) {
    const FC_ID(vec) one = FC_ID(all)(1), decay = FC_ID(exp_below_0)(FC_ID(minus_abs)(y));
    return FC_ID(select)(y >= 0, one, decay) / (one + decay);
}

/* -(exp(-2|y|) - 1) / (exp(-2|y|) + 1), the first of which keeps its digits near 0. */
FC_INLINE FC_ID(vec) FC_ID(tanh)(FC_ID(vec) y) {
    const FC_ID(mask) sign = FC_ID(sign)();
    const FC_ID(vec) x = FC_ID(at_least)(FC_ID(minus_abs)(y) * 2, LEAST_EXPONENT);
    const FC_ID(exponential) e = FC_ID(exp_of)(x, (FC_ID(vec)){0});
    const FC_ID(vec) less_one = e.less_one * e.power + (e.power - 1);
    const FC_ID(vec) size = -less_one / (less_one + 2);
    return (FC_ID(vec))(((FC_ID(mask))size & ~sign) | ((FC_ID(mask))y & sign));
}

/* The distribution function of the normal distribution. */
FC_INLINE FC_ID(vec) FC_ID(normal)(FC_ID(vec) y) {
    static const double in_float[] = {
        2.118298425522466e-05, -1.7310823014754179e-06, -0.0002155737762864521, 0.00013365338709444132,
        0.0016220401055284282, -0.0034799546374434, -0.007537717159683632, 0.060396648278004936, -0.1865221598399514,
        0.38713739385984314, -0.6078966313662241, 0.7552851305166057};
    static const double in_double[] = {
        3.51925785389433e-11, 1.2469361647253148e-10, -3.5307469016946584e-10, -1.5336075571599545e-09,
        1.8762483696659112e-09, 1.1239006700979712e-08, -7.903144443469098e-09, -7.037836390945866e-08,
        3.955092951292153e-08, 4.3630855178173227e-07, -3.3420876116615687e-07, -2.7706673577333692e-06,
        3.979668246020095e-06, 1.6681606239553063e-05, -4.976242286549574e-05, -5.937579729300215e-05,
        0.0005448989875711746, -0.000797869391016416, -0.0029933767613781795, 0.020795066799424885,
        -0.06911863870690364, 0.16502036617039925, -0.31353315667128684, 0.49530561596997624, -0.6653825028900568,
        0.769193049750063};
    const double k = IS_FLOAT ? 4 : 5, most = IS_FLOAT ? 12.9 : 37.5;
    const FC_ID(vec) one = FC_ID(all)(1), a = FC_ID(at_most)(-FC_ID(minus_abs)(y), most);
    const FC_ID(vec) q = one / (a + (FC_T)k), t = (a - (FC_T)k) * q;
    const FC_ID(vec) p = IS_FLOAT ? FC_ID(horner)(t, in_float, 12) : FC_ID(horner)(t, in_double, 26);
    /* a^2 / 2 exactly: the square of its upper half, which is exact, and what is left. */
    const FC_ID(mask) upper = (FC_ID(mask))a & (IS_FLOAT ? (int64_t)-4096 : (int64_t)-134217728);
    const FC_ID(vec) high = (FC_ID(vec))upper;
    const FC_ID(exponential) e = FC_ID(exp_of)(high * high * (FC_T)-0.5, (high - a) * (high + a) * (FC_T)0.5);
    const FC_ID(vec) tail = (e.less_one * e.power + e.power) * (p * q);
    return FC_ID(select)(y > 0, one - tail, FC_ID(select)(y < FC_ID(all)(-most), (FC_ID(vec)){0}, tail));
}

FC_INLINE FC_ID(vec) FC_ID(activate)(FC_ID(vec) y, fc_activation activation, FC_T slope) {
    switch (activation) {
    case FC_RELU: return FC_ID(at_least)(y, 0);
    case FC_RELU6: return FC_ID(at_most)(FC_ID(at_least)(y, 0), 6);
    case FC_LEAKY_RELU: return FC_ID(select)(y > 0, y, y * slope);
    case FC_SIGMOID: return FC_ID(sigmoid)(y);
    /* Where the other factor is 0 already, y may be cut: Inf times 0 is NaN. */
    case FC_SILU: return FC_ID(at_least)(y, -1000) * FC_ID(sigmoid)(y);
    case FC_GELU: return FC_ID(at_least)(y, -1000) * FC_ID(normal)(y);
    case FC_HARDSWISH: return FC_ID(at_least)(y, -1000) * (FC_ID(at_most)(FC_ID(at_least)(y + 3, 0), 6) / 6);
    case FC_TANH: return FC_ID(tanh)(y);
    default: return y;
    }
}

/* One vector of a row; where is what scale, bias and residual are read from for it. */
typedef struct {
    const FC_T *scale, *bias, *residual;
} FC_ID(where);

FC_INLINE FC_ID(vec) FC_ID(finish)(FC_ID(vec) y, const fc_epilogue_tile *t, FC_ID(where) at, fc_activation activation) {
    if (at.scale) {
        y *= t->along_row ? FC_ID(load)(at.scale) : FC_ID(all)(*at.scale);
        /* Rounded before the bias is added, in every loop alike, and where the steps are a second pass in NumPy. */
        FC_OPAQUE(y);
    }
    if (at.bias)
        y += t->along_row ? FC_ID(load)(at.bias) : FC_ID(all)(*at.bias);
    if (at.residual)
        y += FC_ID(load)(at.residual);
    return FC_ID(activate)(y, activation, (FC_T)t->slope);
}

/* The end of a row, in vectors of its own. */
FC_INLINE void FC_ID(finish_end)(FC_T *y, const fc_epilogue_tile *t, FC_ID(where) at, ptrdiff_t n, fc_activation act) {
    FC_T parts[4][FC_LANES] __attribute__((aligned(FC_VECTOR_BYTES))) = {{0}};
    const size_t bytes = (size_t)n * sizeof(FC_T);
    __builtin_memcpy(parts[0], y, bytes);
    if (at.scale && t->along_row)
        at.scale = __builtin_memcpy(parts[1], at.scale, bytes);
    if (at.bias && t->along_row)
        at.bias = __builtin_memcpy(parts[2], at.bias, bytes);
    if (at.residual)
        at.residual = __builtin_memcpy(parts[3], at.residual, bytes);
    const FC_ID(vec) done = FC_ID(finish)(FC_ID(load)(parts[0]), t, at, act);
    __builtin_memcpy(y, &done, bytes);
}

FC_INLINE void FC_ID(epilogue_of)(const fc_epilogue_tile *t, fc_activation activation) {
    for (ptrdiff_t r = 0; r < t->rows; r++) {
        FC_T *y = (FC_T *)t->values + r * t->pitch;
        FC_ID(where) at = {t->scale, t->bias, t->residual};
        if (at.residual)
            at.residual += r * t->residual_pitch;
        const ptrdiff_t step = t->along_row ? FC_LANES : 0;
        ptrdiff_t i = 0;
        for (; i + FC_LANES <= t->n; i += FC_LANES) {
            *(FC_ID(vec_memory) *)(y + i) = FC_ID(finish)(FC_ID(load)(y + i), t, at, activation);
            if (at.scale)
                at.scale += step;
            if (at.bias)
                at.bias += step;
            if (at.residual)
                at.residual += FC_LANES;
        }
        if (i < t->n)
            FC_ID(finish_end)(y + i, t, at, t->n - i, activation);
    }
}

static void FC_ID(epilogue)(const fc_epilogue_tile *t) {
#define CASE(activation)                         \
    case activation:                             \
        FC_ID(epilogue_of)(t, activation);       \
        break
    switch (t->activation) {
        CASE(FC_IDENTITY); CASE(FC_RELU); CASE(FC_RELU6); CASE(FC_LEAKY_RELU); CASE(FC_SIGMOID); CASE(FC_SILU);
        CASE(FC_GELU); CASE(FC_HARDSWISH); CASE(FC_TANH);
    }
#undef CASE
}

#undef IS_FLOAT
#undef LEAST_EXPONENT
