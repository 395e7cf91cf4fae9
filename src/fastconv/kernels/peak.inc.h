/* The multiply-add peak that the benchmarks compare with: as many independent chains as hide the latency. */
enum { FC_ID(chains) = FC_VECTOR_BYTES == 64 ? 24 : 12 };

static __attribute__((noinline)) double FC_ID(fma_chain)(ptrdiff_t rounds) {
    FC_ID(vec) acc[FC_ID(chains)];
    FC_UNROLL
    for (int i = 0; i < FC_ID(chains); i++)
        acc[i] = (FC_ID(vec)){0} + (FC_T)i;
    /* Read through volatile, or the compiler would fold the chain; 0.5 keeps the sums finite and normal. */
    volatile FC_T half = (FC_T)0.5;
    const FC_ID(vec) a = (FC_ID(vec)){0} + half;
    for (ptrdiff_t n = 0; n < rounds; n++) {
        FC_UNROLL
        for (int i = 0; i < FC_ID(chains); i++)
            acc[i] = acc[i] * a + a;
    }
    FC_T sum = 0;
    for (int i = 0; i < FC_ID(chains); i++)
        for (int j = 0; j < (int)FC_LANES; j++)
            sum += acc[i][j];
    volatile FC_T sink = sum;
    (void)sink;
    return (double)rounds * 2 * FC_ID(chains) * FC_LANES;
}
