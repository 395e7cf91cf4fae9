/* load_rows and store_rows between FC_STORED in an array and FC_COMPUTED in a tile; FC_COPY if these are the same bits.
 * FC_LOAD_RUN and FC_STORE_RUN (dst, src, n) may say how neighbours are best converted. Undefines what it was given. */
#ifndef FC_LOAD_RUN
#define FC_LOAD_RUN(dst, src, n) FC_ID(load_run)((FC_ID(computed) *)(dst), src, sizeof(FC_STORED), n)
#define FC_STORE_RUN(dst, src, n) FC_ID(store_run)(dst, (const FC_ID(computed) *)(src), sizeof(FC_STORED), n)
#endif

/* Array elements may sit at any address. */
typedef FC_STORED FC_ID(stored) __attribute__((aligned(1), may_alias));
typedef FC_COMPUTED FC_ID(computed) __attribute__((may_alias));

/* Its owner keeps the fill value at any address. */
FC_INLINE FC_COMPUTED FC_ID(fill_of)(const fc_row_map *map) {
    FC_COMPUTED fill;
    __builtin_memcpy(&fill, map->fill, sizeof(fill));
    return fill;
}

FC_INLINE void FC_ID(load_run)(FC_ID(computed) *dst, const char *src, ptrdiff_t stride_bytes, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = FC_LOAD(*(const FC_ID(stored) *)(src + i * stride_bytes));
}

FC_INLINE void FC_ID(store_run)(char *dst, const FC_ID(computed) *src, ptrdiff_t stride_bytes, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        *(FC_ID(stored) *)(dst + i * stride_bytes) = FC_STORE(src[i]);
}

FC_INLINE void FC_ID(load_halo)(FC_ID(computed) *dst, const char *src, ptrdiff_t stride_bytes, const fc_row_map *map,
                                ptrdiff_t start, ptrdiff_t stop) {
    const FC_COMPUTED fill = FC_ID(fill_of)(map), zero = {0};
    for (ptrdiff_t i = start; i < stop; i++) {
        const ptrdiff_t at = map->index[i];
        if (at >= 0)
            dst[i] = FC_LOAD(*(const FC_ID(stored) *)(src + at * stride_bytes));
        else
            dst[i] = at == FC_FILL ? fill : zero;
    }
}

FC_INLINE void FC_ID(load_run_of)(FC_ID(computed) *dst, const char *src, ptrdiff_t stride_bytes, const fc_row_map *map) {
    const char *run = src + map->run_index * stride_bytes;
    const ptrdiff_t n = map->run_stop - map->run_start, step = map->run_step * stride_bytes;
    dst += map->run_start;
    /* With the step known, the loop becomes vector code. */
    if (step == sizeof(FC_STORED) && FC_COPY)
        copy_bytes((char *)dst, run, n * (ptrdiff_t)sizeof(FC_STORED));
    else if (step == sizeof(FC_STORED))
        FC_LOAD_RUN((char *)dst, run, n);
    else if (step == 8 && FC_COPY && sizeof(FC_STORED) == 4 && n >= FC_VECTOR_BYTES / 4)
        copy_every_second_4((char *)dst, run, n);
    else if (step == 16 && FC_COPY && sizeof(FC_STORED) == 8 && n >= FC_VECTOR_BYTES / 8)
        copy_every_second_8((char *)dst, run, n);
    else if (step == 2 * sizeof(FC_STORED))
        FC_ID(load_run)(dst, run, 2 * sizeof(FC_STORED), n);
    else
        FC_ID(load_run)(dst, run, step, n);
}

/* Whether nothing but fill surrounds the run. */
FC_INLINE int FC_ID(is_framed)(const fc_row_map *map) {
    int framed = 1;
    for (ptrdiff_t i = 0; i < map->run_start; i++)
        framed &= map->index[i] == FC_FILL;
    for (ptrdiff_t i = map->run_stop; i < map->n; i++)
        framed &= map->index[i] == FC_FILL;
    return framed;
}

FC_INLINE void FC_ID(fill_between)(FC_ID(computed) *dst, ptrdiff_t start, ptrdiff_t stop, FC_COMPUTED fill) {
    for (ptrdiff_t i = start; i < stop; i++)
        dst[i] = fill;
}

/* The usual frame, padding with a constant, without looking up what it is for each element: it is half of what packing
 * a small image costs. */
FC_INLINE void FC_ID(load_framed)(void *dst, ptrdiff_t dst_pitch, const char *plane, const ptrdiff_t *row_offset,
                                  ptrdiff_t n_rows, ptrdiff_t stride_bytes, const fc_row_map *map) {
    const FC_COMPUTED fill = FC_ID(fill_of)(map), zero = {0};
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        FC_ID(computed) *row = (FC_ID(computed) *)dst + r * dst_pitch;
        const int has_samples = row_offset[r] > FC_ZERO_ROW;
        FC_ID(fill_between)(row, 0, map->run_start, fill);
        FC_ID(fill_between)(row, map->run_stop, map->n, fill);
        if (has_samples)
            FC_ID(load_run_of)(row, plane + row_offset[r], stride_bytes, map);
        else
            FC_ID(fill_between)(row, map->run_start, map->run_stop, row_offset[r] == FC_ZERO_ROW ? zero : fill);
    }
}

static void FC_ID(load)(void *dst, ptrdiff_t dst_pitch, const char *plane, const ptrdiff_t *row_offset,
                        ptrdiff_t n_rows, ptrdiff_t stride_bytes, const fc_row_map *map) {
    const FC_COMPUTED fill = FC_ID(fill_of)(map), zero = {0};
    if (!map->runs_only && FC_ID(is_framed)(map)) {
        FC_ID(load_framed)(dst, dst_pitch, plane, row_offset, n_rows, stride_bytes, map);
        return;
    }
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        FC_ID(computed) *row = (FC_ID(computed) *)dst + r * dst_pitch;
        if (row_offset[r] > FC_ZERO_ROW) {
            const char *src = plane + row_offset[r];
            FC_ID(load_run_of)(row, src, stride_bytes, map);
            if (map->runs_only)
                continue;
            FC_ID(load_halo)(row, src, stride_bytes, map, 0, map->run_start);
            FC_ID(load_halo)(row, src, stride_bytes, map, map->run_stop, map->n);
        } else if (!map->runs_only) {
            for (ptrdiff_t i = 0; i < map->n; i++) {
                const int padding = (i < map->run_start || i >= map->run_stop) && map->index[i] == FC_FILL;
                row[i] = row_offset[r] == FC_ZERO_ROW && !padding ? zero : fill;
            }
        }
    }
}

static void FC_ID(store)(char *dst, ptrdiff_t row_stride_bytes, ptrdiff_t stride_bytes, const void *src,
                         ptrdiff_t src_pitch, ptrdiff_t n_rows, ptrdiff_t n) {
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        char *to = dst + r * row_stride_bytes;
        const FC_ID(computed) *from = (const FC_ID(computed) *)src + r * src_pitch;
        if (FC_COPY && stride_bytes == sizeof(FC_STORED)) {
            copy_bytes(to, (const char *)from, n * (ptrdiff_t)sizeof(FC_STORED));
        } else if (stride_bytes == sizeof(FC_STORED)) {
            FC_STORE_RUN(to, (const char *)from, n);
        } else {
            FC_ID(store_run)(to, from, stride_bytes, n);
        }
    }
}

#undef FC_LOAD_RUN
#undef FC_STORE_RUN
#undef FC_NAME
#undef FC_COPY
#undef FC_STORED
#undef FC_COMPUTED
#undef FC_LOAD
#undef FC_STORE
