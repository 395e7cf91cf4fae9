/* Rows become columns: channels-last samples on their way into a packed tile. */

/* The first n elements of a vector, in pieces of which each is a power of two. */
FC_INLINE void FC_ID(keep_some)(FC_T *dst, FC_ID(vec) vector, ptrdiff_t n) {
    FC_T elements[FC_LANES];
    __builtin_memcpy(elements, &vector, sizeof(vector));
    ptrdiff_t at = 0;
    FC_UNROLL
    for (int piece = FC_LANES / 2; piece; piece /= 2) {
        if (n & piece) {
            __builtin_memcpy(dst + at, elements + at, (size_t)piece * sizeof(FC_T));
            at += piece;
        }
    }
}

static void FC_ID(turn)(void *dst, ptrdiff_t dst_pitch, const char *src, ptrdiff_t row_stride, ptrdiff_t rows,
                        ptrdiff_t columns, ptrdiff_t before) {
    typedef FC_T element __attribute__((aligned(1), may_alias));
    for (ptrdiff_t i = 0; i < rows; i += FC_LANES, src += FC_LANES * row_stride) {
        FC_T *to = (FC_T *)dst + i;
        const ptrdiff_t n = rows - i < FC_LANES ? rows - i : FC_LANES;
        const int turns = columns + before >= FC_LANES;
        for (ptrdiff_t j = 0; j < columns && turns; j += FC_LANES) {
            /* The last block is moved back, to end with the columns; it may begin in front of them. */
            const ptrdiff_t at = j + FC_LANES > columns ? columns - FC_LANES : j;
            FC_ID(vec) block[FC_LANES];
            FC_UNROLL
            for (int r = 0; r < FC_LANES; r++)
                block[r] = FC_ID(load_bytes)(src + (r < n ? r : n - 1) * row_stride + at * (ptrdiff_t)sizeof(FC_T));
            FC_ID(transpose)(block);
            FC_UNROLL
            for (int c = 0; c < FC_LANES; c++) {
                if (at + c < 0)
                    continue;
                if (n == FC_LANES)
                    *(FC_ID(vec_memory) *)(to + (at + c) * dst_pitch) = block[c];
                else
                    FC_ID(keep_some)(to + (at + c) * dst_pitch, block[c], n);
            }
        }
        for (ptrdiff_t c = 0; c < columns && !turns; c++) {
            for (ptrdiff_t r = 0; r < n; r++)
                to[c * dst_pitch + r] = *(const element *)(src + r * row_stride + c * (ptrdiff_t)sizeof(FC_T));
        }
    }
}
