# The C contract of the kernels, as Cython reads it. What each member means is said in kernels/fastconv.h.

from libc.stdint cimport int8_t, int32_t, uint8_t

cdef extern from "fastconv.h" nogil:
    ctypedef struct fc_row_map:
        ptrdiff_t n
        ptrdiff_t run_start
        ptrdiff_t run_stop
        ptrdiff_t run_index
        ptrdiff_t run_step
        const ptrdiff_t *index
        const void *fill
        int runs_only

    enum:
        FC_COPY4
        FC_COPY8
        FC_FILL
        FC_ZERO

    const ptrdiff_t FC_FILL_ROW
    const ptrdiff_t FC_ZERO_ROW

    ctypedef void fc_load_rows(void *dst, ptrdiff_t dst_pitch, const char *plane, const ptrdiff_t *row_offset,
                               ptrdiff_t n_rows, ptrdiff_t stride_bytes, const fc_row_map *map) noexcept nogil
    ctypedef void fc_store_rows(char *dst, ptrdiff_t row_stride_bytes, ptrdiff_t stride_bytes, const void *src,
                                ptrdiff_t src_pitch, ptrdiff_t n_rows, ptrdiff_t n) noexcept nogil

    ctypedef struct fc_plane:
        ptrdiff_t src
        ptrdiff_t weights
        ptrdiff_t rows

    ctypedef struct fc_direct_tile:
        const void *src
        ptrdiff_t src_pitch
        const fc_plane *planes
        ptrdiff_t n_planes
        const ptrdiff_t *columns
        ptrdiff_t n_columns
        const void *weights
        const void *bias
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t height
        ptrdiff_t width
        int slack
        int in_order

    ctypedef void fc_direct(const fc_direct_tile *tile) noexcept nogil

    ctypedef struct fc_fold_tile:
        const void *src
        ptrdiff_t src_pitch
        ptrdiff_t step
        const double *weights
        ptrdiff_t taps
        int symmetry
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t height
        ptrdiff_t width
        int slack
        const float *short_weights
        float doubt

    ctypedef void fc_fold(const fc_fold_tile *tile) noexcept nogil
    ctypedef void fc_cut(const fc_fold_tile *tile) noexcept nogil

    ctypedef struct fc_mirror_tile:
        const void *src
        ptrdiff_t src_pitch
        ptrdiff_t step
        int down
        const void *weights
        ptrdiff_t taps
        int symmetry
        int in_order
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t height
        ptrdiff_t width
        int slack

    ctypedef void fc_mirror(const fc_mirror_tile *tile) noexcept nogil

    ctypedef struct fc_sum_tile:
        const void *const *terms
        const ptrdiff_t *pitches
        ptrdiff_t n_terms
        double divisor
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t height
        ptrdiff_t width
        int slack

    ctypedef void fc_sum(const fc_sum_tile *tile) noexcept nogil

    ctypedef struct fc_gemm_tile:
        const void *src
        ptrdiff_t channels
        ptrdiff_t channel_pitch
        const ptrdiff_t *taps
        ptrdiff_t n_taps
        const void *weights
        const void *bias
        void *dst
        ptrdiff_t pixel_pitch
        ptrdiff_t channel_out_pitch
        ptrdiff_t pixels
        ptrdiff_t channels_out
        ptrdiff_t writable
        ptrdiff_t gap
        ptrdiff_t ahead

    ctypedef void fc_gemm(const fc_gemm_tile *tile) noexcept nogil
    ctypedef void fc_pack_panel(void *panel, const void *weights, ptrdiff_t row_pitch, ptrdiff_t rows,
                                ptrdiff_t k_size) noexcept nogil
    ctypedef struct fc_move:
        ptrdiff_t from_ "from"
        ptrdiff_t to

    ctypedef struct fc_unroll:
        const void *src
        const ptrdiff_t *offsets
        ptrdiff_t n_products
        const fc_move *moves
        ptrdiff_t n_moves
        void *dst
        ptrdiff_t dst_pitch

    enum:
        FC_FAR

    ctypedef struct fc_ahead:
        fc_unroll step
        ptrdiff_t made
        int hurry

    ctypedef struct fc_pixels_tile:
        const void *src
        const ptrdiff_t *offsets
        ptrdiff_t pitch
        ptrdiff_t n_products
        const void *weights
        ptrdiff_t weight_pitch
        const void *bias
        int accumulate
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t pixels
        ptrdiff_t channels_out
        fc_ahead *ahead

    ctypedef void fc_pixels(const fc_pixels_tile *tile) noexcept nogil
    ctypedef void fc_unroll_pixels(const fc_unroll *step) noexcept nogil

    ctypedef struct fc_taps:
        const char *weights
        ptrdiff_t stride
        ptrdiff_t tap_stride
        ptrdiff_t channels_out
        ptrdiff_t n
        const ptrdiff_t *rows
        ptrdiff_t step

    ctypedef void fc_pack_taps(void *panel, const fc_taps *taps) noexcept nogil
    ctypedef void fc_interleave(void *dst, ptrdiff_t dst_pitch, const void *src, ptrdiff_t phase_pitch,
                                ptrdiff_t src_pitch, ptrdiff_t phases, ptrdiff_t rows, ptrdiff_t n) noexcept nogil

    ctypedef struct fc_depthwise_tile:
        const char *const *samples
        ptrdiff_t row_step
        ptrdiff_t step
        const ptrdiff_t *taps
        ptrdiff_t n_taps
        ptrdiff_t run
        const void *weights
        const void *bias
        ptrdiff_t vectors
        ptrdiff_t first
        ptrdiff_t last
        void *dst
        ptrdiff_t dst_pixel_bytes
        ptrdiff_t dst_row_bytes
        ptrdiff_t height
        ptrdiff_t width

    ctypedef void fc_depthwise(const fc_depthwise_tile *tile) noexcept nogil

    ctypedef struct fc_fft_axis:
        ptrdiff_t n
        ptrdiff_t n_levels
        const ptrdiff_t *radices
        const void *twiddles

    ctypedef struct fc_fft:
        fc_fft_axis fold
        fc_fft_axis middle
        fc_fft_axis across
        const void *twist
        int interleaved

    ctypedef struct fc_fft_tile:
        const fc_fft *fft
        const void *src
        ptrdiff_t src_fold_pitch
        ptrdiff_t src_middle_pitch
        void *strip
        void *spectrum
        const void *weights
        void *product
        ptrdiff_t channels
        ptrdiff_t channel_pitch
        ptrdiff_t group_pitch
        int rows_done
        const void *bias
        void *dst
        ptrdiff_t dst_fold_pitch
        ptrdiff_t dst_middle_pitch
        ptrdiff_t first_fold
        ptrdiff_t last_fold
        ptrdiff_t first_middle
        ptrdiff_t last_middle
        ptrdiff_t first_column
        ptrdiff_t last_column

    ctypedef void fc_fft_forward(const fc_fft_tile *tile) noexcept nogil
    ctypedef int fc_fft_back(const fc_fft_tile *tile) noexcept nogil

    ctypedef struct fc_winograd:
        ptrdiff_t outputs
        const void *numbers
        const void *src
        ptrdiff_t src_pitch
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t n
        const void *bias

    ctypedef int fc_winograd_transform(const fc_winograd *step) noexcept nogil

    ctypedef struct fc_product:
        const void *tiles
        ptrdiff_t block_pitch
        const void *weights
        ptrdiff_t channels
        ptrdiff_t fold
        void *dst
        ptrdiff_t row_pitch
        ptrdiff_t vector_pitch
        ptrdiff_t rows
        int accumulate
        ptrdiff_t ahead

    ctypedef void fc_product_of(const fc_product *product) noexcept nogil
    ctypedef void fc_gather_lanes(void *dst, const char *src, ptrdiff_t pixel_stride, ptrdiff_t channel_stride,
                                  ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil
    ctypedef void fc_scatter_lanes(char *dst, ptrdiff_t pixel_stride, ptrdiff_t channel_stride, const void *src,
                                   ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil

    ctypedef void fc_turn(void *dst, ptrdiff_t dst_pitch, const char *src, ptrdiff_t row_stride_bytes, ptrdiff_t rows,
                          ptrdiff_t columns, ptrdiff_t before) noexcept nogil

    ctypedef struct fc_winograd_kernels:
        fc_winograd_transform *input
        fc_winograd_transform *weights
        fc_winograd_transform *output
        fc_product_of *product
        fc_gather_lanes *gather
        fc_scatter_lanes *scatter

    ctypedef struct fc_gradient_tile:
        const void *src
        ptrdiff_t channels
        ptrdiff_t channel_pitch
        const ptrdiff_t *taps
        ptrdiff_t n_taps
        ptrdiff_t src_pitch
        const void *grad
        ptrdiff_t grad_pitch
        ptrdiff_t height
        ptrdiff_t width
        void *dst
        ptrdiff_t dst_pitch
        ptrdiff_t vectors
        int accumulate
        const void *const *ahead
        ptrdiff_t n_ahead

    ctypedef void fc_gradient(const fc_gradient_tile *tile) noexcept nogil
    ctypedef void fc_gradient_totals(void *dst, const void *src, ptrdiff_t n) noexcept nogil

    ctypedef struct fc_gradient_kernels:
        fc_gradient *products
        fc_gradient *dots
        fc_gradient_totals *totals
        ptrdiff_t vectors
        ptrdiff_t rows

    ctypedef enum fc_activation:
        FC_IDENTITY

    ctypedef struct fc_epilogue_tile:
        void *values
        ptrdiff_t pitch
        ptrdiff_t rows
        ptrdiff_t n
        const void *scale
        const void *bias
        int along_row
        const void *residual
        ptrdiff_t residual_pitch
        fc_activation activation
        double slope

    ctypedef void fc_epilogue(const fc_epilogue_tile *tile) noexcept nogil

    enum:
        FC_INT8_COLUMNS

    ctypedef struct fc_int8_tile:
        const uint8_t *src
        const uint8_t *second
        ptrdiff_t strips
        ptrdiff_t pixels
        ptrdiff_t pixel_pitch
        const ptrdiff_t *runs
        ptrdiff_t n_runs
        ptrdiff_t quads
        ptrdiff_t chunk
        const int8_t *weights
        int32_t *sums

    ctypedef void fc_int8(const fc_int8_tile *tile) noexcept nogil
    ctypedef void fc_int8_begin(ptrdiff_t pixels, ptrdiff_t chunk) noexcept nogil
    ctypedef void fc_int8_end() noexcept nogil
    ctypedef void fc_gather_bytes(uint8_t *dst, ptrdiff_t pixel_pitch, const uint8_t *src, ptrdiff_t pixel_stride,
                                  ptrdiff_t channel_stride, ptrdiff_t channels, ptrdiff_t n,
                                  uint8_t flip) noexcept nogil
    ctypedef int32_t fc_pack_quads(int8_t *column, ptrdiff_t position, const uint8_t *src, ptrdiff_t stride,
                                   ptrdiff_t n, uint8_t flip) noexcept nogil

    ctypedef struct fc_int8_store:
        const int32_t *sums
        const int32_t *windows
        const int32_t *base
        const int32_t *w_zero
        const float *scale
        float low
        float high
        int zero
        void *dst
        ptrdiff_t pixel_stride
        ptrdiff_t channel_stride
        ptrdiff_t pixels
        ptrdiff_t channels

    ctypedef void fc_store_int8(const fc_int8_store *store) noexcept nogil

    ctypedef double fc_fma_chain(ptrdiff_t rounds) noexcept nogil
    ctypedef int fc_supported() noexcept nogil

    ctypedef struct fc_level:
        const char *name
        fc_supported *supported
        ptrdiff_t vector_bytes
        ptrdiff_t direct_rows
        ptrdiff_t direct_vectors
        ptrdiff_t gemm_pixels
        ptrdiff_t gemm_vectors
        ptrdiff_t pixels_rows
        ptrdiff_t pixels_vectors
        fc_load_rows *load_rows[41]
        fc_store_rows *store_rows[41]
        fc_direct *direct[8]
        fc_fold *fold
        fc_cut *cut
        fc_mirror *mirror[2]
        fc_sum *sum[3]
        fc_gemm *gemm[2]
        fc_pack_panel *pack_panel[2]
        fc_pixels *pixels[2]
        fc_pixels *pixel[2]
        fc_unroll_pixels *unroll[2]
        fc_turn *turn[2]
        fc_pack_taps *pack_taps[2]
        fc_interleave *interleave[2]
        fc_depthwise *depthwise[2]
        fc_fft_forward *fft_columns[2]
        fc_fft_forward *fft_rows[2]
        fc_fft_back *fft_back[2]
        fc_winograd_kernels winograd[2]
        fc_gradient_kernels gradient[2]
        fc_epilogue *epilogue[2]
        fc_fma_chain *fma_chain[2]
        ptrdiff_t int8_pixels
        ptrdiff_t int8_chunk
        fc_int8_begin *int8_begin
        fc_int8_end *int8_end
        fc_int8 *int8
        fc_gather_bytes *gather_bytes
        fc_pack_quads *pack_quads
        fc_store_int8 *store_requantised
        fc_store_int8 *store_requantised_last
        fc_store_int8 *store_sums
