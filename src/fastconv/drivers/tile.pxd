cimport numpy as cnp

from fastconv.drivers.kernels cimport (
    fc_activation, fc_epilogue, fc_epilogue_tile, fc_level, fc_load_rows, fc_pack_panel, fc_pack_taps, fc_row_map,
    fc_store_rows, fc_taps, fc_turn)
from fastconv.drivers.threads cimport Loop

cdef enum:
    MAX_OUTER = 64  # numpy's limit on axes
    MAX_PANEL = 64  # output channels in a panel of weights, at most
    PIECE = 64      # taps of a panel that are converted at a time
    LINE = 64       # bytes; parts of the scratch memory begin on one of their own


cdef inline ptrdiff_t lines(ptrdiff_t size) noexcept nogil:
    """The size rounded up to whole lines."""
    return (size + LINE - 1) // LINE * LINE


cdef struct AxisSpec:
    ptrdiff_t n, k, stride, dilation, input_dilation, lo, extent, out, inner
    int boundary

cdef AxisSpec axis_spec(object axis)
cdef void run_of(fc_row_map *map, ptrdiff_t n, const void *fill) noexcept nogil
cdef ptrdiff_t source_index(const AxisSpec *axis, ptrdiff_t position) noexcept nogil
cdef void source_indices(const AxisSpec *axis, ptrdiff_t first, ptrdiff_t step, ptrdiff_t n,
                         ptrdiff_t *index) noexcept nogil

# The first element of an array and its strides, in bytes.
cdef struct View:
    char *data
    ptrdiff_t batch, channel, y, x
    ptrdiff_t outer[MAX_OUTER]

cdef inline bint channels_near(const View *view) noexcept nogil:
    """Whether channels lie closer together than columns."""
    cdef ptrdiff_t channel = view.channel if view.channel >= 0 else -view.channel
    return channel < (view.x if view.x >= 0 else -view.x)


# The arrays of one call. The kernel's batch axis is its output channels; the sign of its strides holds the flip.
# Without a scale the sums begin with the bias; with one, it is added afterwards.
cdef struct Arrays:
    View x, out, w
    char *bias
    View residual
    fc_load_rows *load_residual  # NULL where there is none
    bint residual_computed       # it is of the compute type, and aligned
    bint over_residual           # it is where the result goes
    char *scale
    char *late_bias

# An outer output position: where it is written, and for each outer tap two numbers, 0 or FC_FILL or FC_ZERO, and the
# offset of its source in bytes.
cdef struct Outer:
    ptrdiff_t out_offset
    ptrdiff_t *taps
    ptrdiff_t index
    bint inside  # every tap reads a sample where it stands, no boundary and no dilation zeros
    # Taps from `first` on are packed; tap t has the place t + turn of the packed tile, modulo the taps.
    ptrdiff_t first, turn

# Where the rows and the columns of one packed tile come from; the same for every channel of every group.
cdef struct TileMap:
    ptrdiff_t rows
    fc_row_map *columns      # one a column segment
    ptrdiff_t *column_index  # the lookups of all of them
    ptrdiff_t *row_offset    # of all row segments, one behind the other

# A part of the result whose sums are made: where it lies in the result, and its values in the compute type. Neighbours
# along x or neighbouring channels are neighbours there.
cdef struct Done:
    ptrdiff_t n, channel, y0, x0
    ptrdiff_t channels, rows, columns
    char *values
    ptrdiff_t channel_pitch, row_pitch, column_pitch  # in bytes
    bint staged  # the values are not in the result yet
    char *row    # scratch memory for one row of the residual, of channels or of columns


cdef class Geometry(Loop):
    cdef const fc_level *level
    cdef fc_load_rows *load_rows    # of the weights
    cdef fc_load_rows *load_x
    cdef fc_store_rows *store_rows
    cdef fc_turn *turn              # of samples that are stored as they are computed, else NULL
    cdef fc_pack_taps *pack_taps
    cdef fc_load_rows *load_like    # of a residual like the result
    cdef fc_store_rows *store_final
    cdef fc_epilogue *epilogue
    cdef fc_epilogue_tile steps      # what the epilogues of all tiles have in common
    cdef bint finishes, casts        # the kernels can finish results; the result is not of the compute type
    cdef ptrdiff_t out_bytes
    cdef object out_dtype
    cdef bint has_scale, has_epilogue
    cdef int compute
    cdef ptrdiff_t stored_bytes, computed_bytes, part_bytes, lanes
    cdef ptrdiff_t batch, groups, channels, channels_out
    cdef int n_outer
    cdef AxisSpec outer[MAX_OUTER]
    cdef AxisSpec y
    cdef AxisSpec x
    cdef ptrdiff_t outer_taps, outer_outs, taps
    cdef ptrdiff_t kernel_y, kernel_x
    cdef int batch_axis, channel_axis
    cdef list spatial_axes
    cdef bint flip, conj
    cdef char fill[16]

    # The packed tile, see the drawing in tile.pyx.
    cdef ptrdiff_t tile_rows, tile_columns, pitch, outer_pitch, channel_pitch
    cdef ptrdiff_t n_row_segments
    cdef const ptrdiff_t *row_start
    cdef const ptrdiff_t *row_count
    cdef const ptrdiff_t *row_base
    cdef ptrdiff_t n_column_segments
    cdef const ptrdiff_t *column_start
    cdef const ptrdiff_t *column_span
    cdef const ptrdiff_t *column_base
    cdef object keep  # the arrays behind the pointers

    cdef choose_kernels(self, plan)
    cdef copy_problem(self, problem, plan)
    cdef copy_axes(self, plan)
    cdef copy_segments(self, plan)
    cdef View bind(self, cnp.ndarray array)
    cdef View bind_weights(self, cnp.ndarray w)
    cdef bint weights_plain(self, const Arrays *arrays) noexcept nogil
    cdef void pack_tap(self, const fc_taps *tap, char *panel) noexcept nogil
    cdef void pack_channel(self, const View *w, const char *at, ptrdiff_t channels_out, const ptrdiff_t *rows,
                           char *panel) noexcept nogil
    cdef void pack_plane(self, const View *w, const char *at, ptrdiff_t outer, ptrdiff_t channels_out,
                         const ptrdiff_t *rows, char *panel) noexcept nogil
    cdef int dense_taps(self, const View *w) noexcept nogil
    cdef void outer_start(self, const Arrays *arrays, ptrdiff_t index, Outer *outer) noexcept nogil
    cdef void start_tile(self, const Arrays *arrays, ptrdiff_t y0, ptrdiff_t rows, ptrdiff_t x0, ptrdiff_t columns,
                         TileMap *map) noexcept nogil
    cdef void pack(self, const Arrays *arrays, const char *x, ptrdiff_t before, const Outer *outer, const TileMap *map,
                   void *packed) noexcept nogil
    cdef ptrdiff_t place_of(self, const Outer *outer, ptrdiff_t tap) noexcept nogil
    cdef void turn_rows(self, const Arrays *arrays, char *dst, const char *plane, ptrdiff_t channels, ptrdiff_t before,
                        const ptrdiff_t *offset, ptrdiff_t n, const fc_row_map *map) noexcept nogil
    cdef void load_edges(self, char *dst, const char *plane, const ptrdiff_t *offset, ptrdiff_t stride,
                         const fc_row_map *map) noexcept nogil
    cdef void pack_channels(self, const Arrays *arrays, const char *x, ptrdiff_t channels, ptrdiff_t before,
                            const Outer *outer, const TileMap *map, void *packed) noexcept nogil
    cdef void map_columns(self, ptrdiff_t first, ptrdiff_t n, fc_row_map *map, ptrdiff_t *index) noexcept nogil
    cdef void load_empty(self, char *dst, ptrdiff_t flag, const ptrdiff_t *row_offset, ptrdiff_t n,
                         const fc_row_map *map) noexcept nogil
    cdef void runs_only(self, TileMap *map) noexcept nogil
    cdef void pack_plain(self, fc_pack_panel *pack, char *panel, ptrdiff_t columns, const char *w, ptrdiff_t row_bytes,
                         ptrdiff_t n, ptrdiff_t taps) noexcept nogil
    cdef void bind_epilogue(self, Arrays *arrays, cnp.ndarray bias, cnp.ndarray scale, cnp.ndarray residual)
    cdef bint wants_stage(self, const Arrays *arrays) noexcept nogil
    cdef void finish(self, const Arrays *arrays, const Outer *outer, const Done *done) noexcept nogil
    cdef ptrdiff_t outer_offset(self, const View *view, ptrdiff_t index) noexcept nogil
    cdef void finish_rows(self, const Arrays *arrays, fc_epilogue_tile *tile, const char *residual, ptrdiff_t row_stride,
                          ptrdiff_t stride, char *row) noexcept nogil
    cdef ptrdiff_t map_bytes(self) noexcept nogil
    cdef void lay_out_map(self, char *at, TileMap *map) noexcept nogil
