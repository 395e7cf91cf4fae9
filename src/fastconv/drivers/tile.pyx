# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""The pack stage: a tile of input and its halo, gathered into aligned scratch.

Whatever differs from user to user (strides, stored dtype, boundary, padding, stride, dilations) ends here; the
kernels see rows of neighbours at unit stride. Taps that read the same residue of an axis modulo the stride share a
segment, in which output p and tap i read sample p + i::

    packed tile    [channel][outer tap][row segment][row][column segment | column segment ...]

    row segment    tile_rows + count - 1 rows        row r of kernel row i of the segment:  r + i
    column segment tile_columns + span samples       column c of kernel column j:           c + offset(j)

The spatial axes are called outer..., y, x; a one-dimensional problem has a y axis of one sample.
"""

from libc.string cimport memcpy, memset

cimport numpy as cnp
import numpy as np

from fastconv import _tunables
from fastconv._epilogue import ACTIVATIONS
from fastconv.drivers.kernels cimport (
    FC_COPY4, FC_COPY8, FC_FILL, FC_FILL_ROW, FC_ZERO, FC_ZERO_ROW, fc_activation, fc_epilogue_tile, fc_level,
    fc_row_map, fc_taps)
from fastconv.drivers.levels cimport level_named

cnp.import_array()

cdef enum:
    CONSTANT, EDGE, SYMMETRIC, REFLECT, WRAP

# A vector of channels is worth being turned if this share of it is wanted: so many times the channels fill one.
cdef ptrdiff_t TURNED_SHARE = _tunables.TURNED_SHARE

_ACTIVATION = {None: 0} | {name: i for i, name in enumerate(ACTIVATIONS, 1)}
_BOUNDARY = {"constant": CONSTANT, "edge": EDGE, "symmetric": SYMMETRIC, "reflect": REFLECT, "wrap": WRAP}


def aligned_bytes(ptrdiff_t size):
    """Return memory that begins on a line, and lives as long as the array."""
    buffer = np.empty(size + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return buffer[start : start + size]


def activate(str level, cnp.ndarray values, str activation, double slope):
    """Apply an activation in place to float32 or float64 numbers that are neighbours in memory."""
    cdef const fc_level *kernels = level_named(level)
    cdef int compute = "fd".index(values.dtype.char)
    cdef fc_epilogue_tile tile
    memset(&tile, 0, sizeof(tile))
    tile.values, tile.rows, tile.n = cnp.PyArray_DATA(values), 1, cnp.PyArray_SIZE(values)
    tile.activation, tile.slope = <fc_activation>(_ACTIVATION[activation]), slope
    with nogil:
        kernels.epilogue[compute](&tile)


cdef inline ptrdiff_t modulo(ptrdiff_t a, ptrdiff_t n) noexcept nogil:
    cdef ptrdiff_t rest = a % n
    return rest + n if rest < 0 else rest


cdef ptrdiff_t shown(int boundary, ptrdiff_t position, ptrdiff_t n) noexcept nogil:
    """The one of n positions that a boundary shows at a position outside."""
    if boundary == EDGE:
        return 0 if position < 0 else n - 1
    if boundary == WRAP:
        return modulo(position, n)
    if boundary == SYMMETRIC:
        position = modulo(position, 2 * n)
        return position if position < n else 2 * n - 1 - position
    if n == 1:
        return 0
    position = modulo(position, 2 * n - 2)
    return position if position < n else 2 * n - 2 - position


cdef ptrdiff_t source_index(const AxisSpec *axis, ptrdiff_t position) noexcept nogil:
    """The sample of the input at a position of the dilated axis (which may lie outside), or FC_FILL or FC_ZERO."""
    cdef ptrdiff_t within
    if position < 0 or position >= axis.extent:
        if axis.boundary == CONSTANT:
            return FC_FILL
        if axis.inner == 1:
            position = shown(axis.boundary, position, axis.extent)
        else:
            within = modulo(position, axis.inner)
            position = shown(axis.boundary, (position - within) // axis.inner, axis.extent // axis.inner)
            position = position * axis.inner + within
    if axis.input_dilation == 1:
        return position
    if position % axis.input_dilation:
        return FC_ZERO
    return position // axis.input_dilation


cdef void source_indices(const AxisSpec *axis, ptrdiff_t first, ptrdiff_t step, ptrdiff_t n,
                         ptrdiff_t *index) noexcept nogil:
    """The same of n positions, `step` apart, which is 1 where samples are of several numbers."""
    cdef ptrdiff_t i = 0, j, at, numbers = 1
    while i < n:
        at = source_index(axis, first + i * step)
        if axis.inner > 1:
            numbers = min(axis.inner - modulo(first + i, axis.inner), n - i)
        for j in range(numbers):
            index[i + j] = at if at < 0 else at + j
        i += numbers


cdef AxisSpec axis_spec(object axis):
    cdef AxisSpec spec
    spec.n = axis.n
    spec.k = axis.k
    spec.stride = axis.stride
    spec.dilation = axis.dilation
    spec.input_dilation = axis.input_dilation
    spec.lo = axis.lo
    spec.extent = axis.extent
    spec.out = axis.out
    spec.inner = axis.inner
    spec.boundary = _BOUNDARY[axis.boundary]
    return spec


cdef void run_of(fc_row_map *map, ptrdiff_t n, const void *fill) noexcept nogil:
    """A row of n neighbours."""
    map.n = map.run_stop = n
    map.run_start = map.run_index = 0
    map.run_step = map.runs_only = 1
    map.index, map.fill = NULL, fill


cdef const ptrdiff_t *pointer(cnp.ndarray array):
    return <const ptrdiff_t *>cnp.PyArray_DATA(array)


cdef class Geometry(Loop):
    """The sizes of a plan in C, and the gathering of its tiles.

    Parameters
    ----------
    problem : ConvProblem
    plan : TilePlan
        Level, storage and tile sizes, and the segments of rows and columns as intp arrays.
    """

    def __init__(self, problem, plan):
        self.choose_kernels(plan)
        self.copy_problem(problem, plan)
        self.copy_axes(plan)
        self.copy_segments(plan)

    @property
    def level_name(self):
        """The level whose kernels the driver calls."""
        return self.level.name.decode()

    cdef choose_kernels(self, plan):
        self.level = level_named(plan.level)
        self.compute = plan.compute
        self.load_rows = self.level.load_rows[<int>plan.storage]
        self.load_x = self.level.load_rows[<int>plan.x_storage]
        self.load_like = self.level.load_rows[<int>plan.final_storage]
        self.store_rows = self.level.store_rows[<int>plan.out_storage]
        self.store_final = self.level.store_rows[<int>plan.final_storage]
        self.turn = NULL
        if <int>plan.x_storage == FC_COPY4:
            self.turn = self.level.turn[0]
        elif <int>plan.x_storage == FC_COPY8:
            self.turn = self.level.turn[1]
        self.pack_taps = self.level.pack_taps[self.compute] if self.compute < 2 else NULL
        self.finishes, self.casts = plan.finishes, not plan.out_copies
        self.epilogue = self.level.epilogue[self.compute] if self.finishes else NULL

    cdef copy_problem(self, problem, plan):
        cdef bytes fill = plan.fill
        self.stored_bytes = problem.dtype.itemsize
        self.out_bytes, self.out_dtype = problem.out_dtype.itemsize, problem.out_dtype
        self.computed_bytes, self.part_bytes = plan.computed_bytes, plan.part_bytes
        self.lanes = self.level.vector_bytes // self.computed_bytes
        self.batch, self.groups = problem.batch, problem.groups
        self.channels, self.channels_out = problem.channels, problem.channels_out
        self.batch_axis, self.channel_axis = problem.batch_axis, problem.channel_axis
        self.spatial_axes = list(problem.spatial_axes)
        self.flip, self.conj = problem.flip, problem.conj
        memcpy(self.fill, <const char *>fill, len(fill))
        self.has_scale, self.has_epilogue = problem.has_scale, problem.has_epilogue
        memset(&self.steps, 0, sizeof(self.steps))
        self.steps.activation = <fc_activation>(_ACTIVATION[problem.activation])
        self.steps.slope = problem.slope

    cdef copy_axes(self, plan):
        self.n_outer = <int>len(plan.axes) - 2
        self.outer_taps = self.outer_outs = 1
        for i in range(self.n_outer):
            self.outer[i] = axis_spec(plan.axes[i])
            self.outer_taps *= self.outer[i].k
            self.outer_outs *= self.outer[i].out
        self.y = axis_spec(plan.axes[self.n_outer])
        self.x = axis_spec(plan.axes[self.n_outer + 1])
        self.kernel_y, self.kernel_x = self.y.k, self.x.k
        self.taps = self.outer_taps * self.kernel_y * self.kernel_x

    cdef copy_segments(self, plan):
        self.tile_rows, self.tile_columns = plan.tile_rows, plan.tile_columns
        self.pitch, self.outer_pitch, self.channel_pitch = plan.pitch, plan.outer_pitch, plan.channel_pitch
        self.keep = (plan.row_start, plan.row_count, plan.row_base,
                     plan.column_start, plan.column_span, plan.column_base)
        self.n_row_segments, self.n_column_segments = len(plan.row_start), len(plan.column_start)
        self.row_start, self.row_count, self.row_base = (
            pointer(plan.row_start), pointer(plan.row_count), pointer(plan.row_base))
        self.column_start, self.column_span, self.column_base = (
            pointer(plan.column_start), pointer(plan.column_span), pointer(plan.column_base))

    cdef View bind(self, cnp.ndarray array):
        """Find the axes of an input or a result."""
        cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(array)
        cdef int rank = <int>len(self.spatial_axes), i
        cdef View view
        view.data = cnp.PyArray_BYTES(array)
        view.batch = strides[self.batch_axis] if self.batch_axis >= 0 else 0
        view.channel = strides[self.channel_axis] if self.channel_axis >= 0 else 0
        view.x = strides[<int>self.spatial_axes[rank - 1]]
        view.y = strides[<int>self.spatial_axes[rank - 2]] if rank > 1 else 0
        for i in range(self.n_outer):
            view.outer[i] = strides[<int>self.spatial_axes[i]]
        return view

    cdef View bind_weights(self, cnp.ndarray w):
        """Find the axes of a kernel, reversed if it is to be flipped."""
        cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(w)
        cdef const cnp.npy_intp *shape = cnp.PyArray_DIMS(w)
        cdef int ndim = cnp.PyArray_NDIM(w), rank = <int>len(self.spatial_axes), i
        cdef ptrdiff_t stride
        cdef View view
        view.data = cnp.PyArray_BYTES(w)
        view.batch = strides[0] if ndim > rank else 0
        view.channel = strides[1] if ndim > rank else 0
        view.y = 0
        for i in range(rank):
            stride = strides[ndim - rank + i]
            if self.flip:
                view.data += (shape[ndim - rank + i] - 1) * stride
                stride = -stride
            if i == rank - 1:
                view.x = stride
            elif i == rank - 2:
                view.y = stride
            else:
                view.outer[i] = stride
        return view

    cdef bint weights_plain(self, const Arrays *arrays) noexcept nogil:
        """Whether the weights of an output channel are contiguous, aligned and in the order of the taps."""
        cdef ptrdiff_t stride = self.stored_bytes
        cdef int i
        if <size_t>arrays.w.data % <size_t>self.part_bytes or arrays.w.batch % stride:
            return False
        if arrays.w.x != stride and self.x.k > 1:
            return False
        stride *= self.x.k
        if arrays.w.y != stride and self.y.k > 1:
            return False
        stride *= self.y.k
        for i in range(self.n_outer - 1, -1, -1):
            if arrays.w.outer[i] != stride and self.outer[i].k > 1:
                return False
            stride *= self.outer[i].k
        return arrays.w.channel == stride or self.channels == 1

    cdef int dense_taps(self, const View *w) noexcept nogil:
        """Whether the taps of a channel follow each other in memory: 1, or -1 from the last to the first, or 0."""
        cdef ptrdiff_t stride = self.computed_bytes, size, found
        cdef int i, order = 0
        for i in range(self.n_outer + 1, -1, -1):
            if i == self.n_outer + 1:
                size, found = self.kernel_x, w.x
            elif i == self.n_outer:
                size, found = self.kernel_y, w.y
            else:
                size, found = self.outer[i].k, w.outer[i]
            if size > 1:
                if order == 0:
                    order = 1 if found > 0 else -1
                if found != order * stride:
                    return 0
            stride *= size
        return order if order else 1

    cdef void pack_channel(self, const View *w, const char *at, ptrdiff_t channels_out, const ptrdiff_t *rows,
                           char *panel) noexcept nogil:
        """Weights of an input channel and some output channels, from `at` on: tap t becomes row rows[t] of a panel."""
        cdef fc_taps taps
        cdef ptrdiff_t outer
        cdef int order = self.dense_taps(w) if self.stored_bytes == self.computed_bytes else 0
        taps.stride, taps.channels_out, taps.step = w.batch, channels_out, 1
        if order:
            taps.n, taps.tap_stride, taps.step = self.taps, self.computed_bytes, order
            taps.weights = at if order > 0 else at - (self.taps - 1) * self.computed_bytes
            taps.rows = rows if order > 0 else rows + self.taps - 1
            self.pack_taps(panel, &taps)
            return
        for outer in range(self.outer_taps):
            self.pack_plane(w, at, outer, channels_out, rows, panel)
            rows += self.kernel_y * self.kernel_x

    cdef void pack_plane(self, const View *w, const char *at, ptrdiff_t outer, ptrdiff_t channels_out,
                         const ptrdiff_t *rows, char *panel) noexcept nogil:
        """The same of the taps of one plane of the kernel, number `outer`."""
        cdef fc_taps taps
        cdef ptrdiff_t y, x
        cdef int i
        for i in range(self.n_outer - 1, -1, -1):
            at += outer % self.outer[i].k * w.outer[i]
            outer //= self.outer[i].k
        taps.stride, taps.channels_out, taps.step = w.batch, channels_out, 1
        taps.weights, taps.rows = at, rows
        if w.x == self.computed_bytes == self.stored_bytes and w.y == self.kernel_x * w.x:
            taps.n, taps.tap_stride = self.kernel_y * self.kernel_x, w.x
            self.pack_taps(panel, &taps)
            return
        taps.n, taps.tap_stride = 1, 0
        for y in range(self.kernel_y):
            for x in range(self.kernel_x):
                taps.weights = at + y * w.y + x * w.x
                self.pack_tap(&taps, panel)
                taps.rows += 1

    cdef void pack_tap(self, const fc_taps *tap, char *panel) noexcept nogil:
        """One tap, whose weights are converted if they have to be."""
        cdef ptrdiff_t row = 0, width = self.level.gemm_vectors * self.lanes
        cdef fc_row_map map
        if self.stored_bytes == self.computed_bytes:
            self.pack_taps(panel, tap)
        elif tap.rows[0] >= 0:
            panel += tap.rows[0] * width * self.computed_bytes
            memset(panel, 0, width * self.computed_bytes)
            run_of(&map, tap.channels_out, self.fill)
            self.load_rows(panel, width, tap.weights, &row, 1, tap.stride, &map)

    cdef void outer_start(self, const Arrays *arrays, ptrdiff_t index, Outer *outer) noexcept nogil:
        """Find where the outer output position number `index` reads and writes."""
        cdef ptrdiff_t position[MAX_OUTER]
        cdef ptrdiff_t tap, rest, at, offset, flag, first
        cdef int i
        rest = index
        outer.out_offset = 0
        outer.index = index
        outer.first = outer.turn = 0
        outer.inside = True
        for i in range(self.n_outer - 1, -1, -1):
            position[i] = rest % self.outer[i].out
            rest //= self.outer[i].out
            outer.out_offset += position[i] * arrays.out.outer[i]
            first = position[i] * self.outer[i].stride - self.outer[i].lo
            if (self.outer[i].input_dilation > 1 or first < 0
                    or first + (self.outer[i].k - 1) * self.outer[i].dilation >= self.outer[i].extent):
                outer.inside = False
        for tap in range(self.outer_taps):
            rest = tap
            offset = flag = 0
            for i in range(self.n_outer - 1, -1, -1):
                at = source_index(&self.outer[i], position[i] * self.outer[i].stride - self.outer[i].lo
                                  + rest % self.outer[i].k * self.outer[i].dilation)
                rest //= self.outer[i].k
                if at < 0:
                    # Outside wins over a zero between samples: padding surrounds the dilated input.
                    flag = at if flag != FC_FILL else FC_FILL
                else:
                    offset += at * arrays.x.outer[i]
            outer.taps[2 * tap] = flag
            outer.taps[2 * tap + 1] = offset

    cdef void start_tile(self, const Arrays *arrays, ptrdiff_t y0, ptrdiff_t rows, ptrdiff_t x0, ptrdiff_t columns,
                         TileMap *map) noexcept nogil:
        """Find the sources of the rows and columns of a tile of `rows` x `columns` outputs."""
        cdef ptrdiff_t s, i, at, first
        cdef ptrdiff_t *offset = map.row_offset
        cdef ptrdiff_t *index = map.column_index
        map.rows = rows
        for s in range(self.n_row_segments):
            first = y0 * self.y.stride - self.y.lo + self.row_start[s]
            for i in range(rows + self.row_count[s] - 1):
                at = source_index(&self.y, first + i * self.y.stride)
                offset[i] = FC_FILL_ROW if at == FC_FILL else FC_ZERO_ROW if at == FC_ZERO else at * arrays.x.y
            offset += rows + self.row_count[s] - 1
        for s in range(self.n_column_segments):
            self.map_columns(x0 * self.x.stride - self.x.lo + self.column_start[s], columns + self.column_span[s],
                             &map.columns[s], index)
            index += columns + self.column_span[s]

    cdef void map_columns(self, ptrdiff_t first, ptrdiff_t n, fc_row_map *map, ptrdiff_t *index) noexcept nogil:
        """Find the sources of n packed columns, the first of them at position `first` of the dilated axis."""
        cdef const AxisSpec *axis = &self.x
        cdef ptrdiff_t start = 0, stop = 0
        if axis.input_dilation == 1:
            # The columns that lie inside the input follow each other.
            start = min((-first + axis.stride - 1) // axis.stride if first < 0 else 0, n)
            stop = axis.extent - first
            stop = max(min((stop + axis.stride - 1) // axis.stride if stop > 0 else 0, n), start)
        map.n, map.fill, map.index, map.runs_only = n, self.fill, index, 0
        map.run_start, map.run_stop, map.run_step = start, stop, axis.stride
        map.run_index = first + start * axis.stride if stop > start else 0
        source_indices(axis, first, axis.stride, start, index)
        source_indices(axis, first + stop * axis.stride, axis.stride, n - stop, index + stop)

    cdef void runs_only(self, TileMap *map) noexcept nogil:
        """Say that the tile was packed before with this map: fill and zeros stand in it, only samples are new."""
        cdef ptrdiff_t s
        if self.x.boundary == CONSTANT and self.x.input_dilation == 1:
            for s in range(self.n_column_segments):
                map.columns[s].runs_only = 1

    cdef void pack(self, const Arrays *arrays, const char *x, ptrdiff_t before, const Outer *outer, const TileMap *map,
                   void *packed) noexcept nogil:
        """Gather all channels of a group, whose first element is at x, behind `before` channels of other groups."""
        self.pack_channels(arrays, x, self.channels, before, outer, map, packed)

    cdef void pack_channels(self, const Arrays *arrays, const char *x, ptrdiff_t channels, ptrdiff_t before,
                            const Outer *outer, const TileMap *map, void *packed) noexcept nogil:
        """Gather some channels, the first element of which is at x, behind `before` others."""
        cdef ptrdiff_t c, tap, s, i, n, flag, place
        cdef const ptrdiff_t *offset = map.row_offset
        # A few channels are turned along with those before them, if that is less than reading them one by one.
        cdef bint turned = (
            self.turn != NULL and arrays.x.channel == self.computed_bytes
            and (channels >= self.lanes or TURNED_SHARE * channels >= self.lanes and before + channels >= self.lanes))
        cdef char *dst
        for s in range(self.n_row_segments):
            n = map.rows + self.row_count[s] - 1
            for tap in range(outer.first, self.outer_taps if turned else 0):
                if outer.taps[2 * tap] != 0:
                    continue
                place = self.place_of(outer, tap)
                dst = <char *>packed + (place * self.outer_pitch + self.row_base[s]) * self.computed_bytes
                for i in range(self.n_column_segments):
                    self.turn_rows(arrays, dst + self.column_base[i] * self.computed_bytes, x + outer.taps[2 * tap + 1],
                                   channels, before, offset, n, &map.columns[i])
            for c in range(channels):
                for tap in range(outer.first, self.outer_taps):
                    place = self.place_of(outer, tap)
                    dst = <char *>packed + (c * self.channel_pitch + place * self.outer_pitch
                                            + self.row_base[s]) * self.computed_bytes
                    flag = outer.taps[2 * tap]
                    if turned and flag == 0:
                        continue
                    for i in range(self.n_column_segments):
                        if flag == 0:
                            self.load_x(dst + self.column_base[i] * self.computed_bytes, self.pitch,
                                           x + c * arrays.x.channel + outer.taps[2 * tap + 1], offset, n, arrays.x.x,
                                           &map.columns[i])
                        else:
                            self.load_empty(dst + self.column_base[i] * self.computed_bytes, flag, offset, n,
                                            &map.columns[i])
            offset += n

    cdef ptrdiff_t place_of(self, const Outer *outer, ptrdiff_t tap) noexcept nogil:
        """Where the samples of an outer tap are among those of the others."""
        return tap + outer.turn if tap + outer.turn < self.outer_taps else tap + outer.turn - self.outer_taps

    cdef void turn_rows(self, const Arrays *arrays, char *dst, const char *plane, ptrdiff_t channels, ptrdiff_t before,
                        const ptrdiff_t *offset, ptrdiff_t n, const fc_row_map *map) noexcept nogil:
        """n rows of channels that are neighbours in the input."""
        cdef ptrdiff_t r, c
        cdef char *row
        for r in range(n):
            row = dst + r * self.pitch * self.computed_bytes
            if offset[r] > FC_ZERO_ROW:
                self.turn(row + map.run_start * self.computed_bytes, self.channel_pitch,
                          plane + offset[r] + map.run_index * arrays.x.x, map.run_step * arrays.x.x,
                          map.run_stop - map.run_start, channels, before)
            if map.runs_only or (offset[r] > FC_ZERO_ROW and map.run_start == 0 and map.run_stop == map.n):
                continue
            for c in range(channels):
                self.load_edges(row + c * self.channel_pitch * self.computed_bytes, plane + c * arrays.x.channel,
                                offset + r, arrays.x.x, map)

    cdef void load_edges(self, char *dst, const char *plane, const ptrdiff_t *offset, ptrdiff_t stride,
                         const fc_row_map *map) noexcept nogil:
        """What a row holds before and behind its run; all of it where it has no samples."""
        cdef fc_row_map part = map[0]
        if offset[0] <= FC_ZERO_ROW:
            self.load_x(dst, self.pitch, plane, offset, 1, stride, map)
            return
        part.n = part.run_stop = part.run_start
        self.load_x(dst, self.pitch, plane, offset, 1, stride, &part)
        part.n, part.run_start, part.run_stop = map.n - map.run_stop, 0, 0
        part.index = map.index + map.run_stop
        self.load_x(dst + map.run_stop * self.computed_bytes, self.pitch, plane, offset, 1, stride, &part)

    cdef void load_empty(self, char *dst, ptrdiff_t flag, const ptrdiff_t *row_offset, ptrdiff_t n,
                         const fc_row_map *map) noexcept nogil:
        """Rows of a plane outside the input (all fill), or between its samples (zeros, but fill around them)."""
        cdef ptrdiff_t r, empty
        for r in range(n):
            empty = FC_FILL_ROW if flag == FC_FILL or row_offset[r] == FC_FILL_ROW else FC_ZERO_ROW
            self.load_x(dst + r * self.pitch * self.computed_bytes, self.pitch, NULL, &empty, 1, 0, map)


    cdef void pack_plain(self, fc_pack_panel *pack, char *panel, ptrdiff_t columns, const char *w, ptrdiff_t row_bytes,
                         ptrdiff_t n, ptrdiff_t taps) noexcept nogil:
        """A panel of `columns` from n contiguous rows of weights, converted a piece at a time where they have to be."""
        cdef double piece[MAX_PANEL * PIECE]
        cdef ptrdiff_t rows[MAX_PANEL]
        cdef ptrdiff_t first, i
        cdef fc_row_map map
        if self.stored_bytes == self.computed_bytes:
            pack(panel, w, row_bytes // self.computed_bytes, n, taps)
            return
        for i in range(n):
            rows[i] = i * row_bytes
        for i in range((taps + PIECE - 1) // PIECE):
            first = i * PIECE
            run_of(&map, min(<ptrdiff_t>PIECE, taps - first), self.fill)
            self.load_rows(piece, PIECE, w + first * self.stored_bytes, rows, n, self.stored_bytes, &map)
            pack(panel + first * columns * self.computed_bytes, piece, PIECE, n, map.n)

    # --- what follows the sums ---------------------------------------------------------------------------------------

    cdef void bind_epilogue(self, Arrays *arrays, cnp.ndarray bias, cnp.ndarray scale, cnp.ndarray residual):
        """Find the operands of a call that are read when results are stored; arrays.out is bound already."""
        cdef ptrdiff_t item = self.computed_bytes
        cdef const cnp.npy_intp *strides
        cdef int i
        arrays.bias = cnp.PyArray_BYTES(bias) if bias is not None and scale is None else NULL
        arrays.late_bias = cnp.PyArray_BYTES(bias) if bias is not None and scale is not None else NULL
        arrays.scale = cnp.PyArray_BYTES(scale) if scale is not None else NULL
        arrays.load_residual = NULL
        arrays.over_residual = arrays.residual_computed = False
        if residual is None:
            return
        arrays.residual = self.bind(residual)
        arrays.load_residual = self.load_like if residual.dtype == self.out_dtype else self.load_rows
        arrays.over_residual = arrays.residual.data == arrays.out.data
        arrays.residual_computed = (
            cnp.PyArray_ITEMSIZE(residual) == item and (not self.casts or residual.dtype != self.out_dtype)
            and not <size_t>arrays.residual.data % <size_t>item)
        strides = cnp.PyArray_STRIDES(residual)
        for i in range(cnp.PyArray_NDIM(residual)):
            if strides[i] % item:
                arrays.residual_computed = False

    cdef bint wants_stage(self, const Arrays *arrays) noexcept nogil:
        """Whether sums have to be made in scratch memory, because the result cannot hold or must not take them."""
        if self.casts or arrays.over_residual:
            return True
        return self.has_epilogue and arrays.out.x != self.computed_bytes and arrays.out.channel != self.computed_bytes

    cdef void finish(self, const Arrays *arrays, const Outer *outer, const Done *done) noexcept nogil:
        """Do what follows the sums on a part of the result, and store it if it is not there yet."""
        cdef fc_epilogue_tile tile = self.steps
        cdef ptrdiff_t item = self.computed_bytes, i
        cdef bint across = done.column_pitch != item  # channels are neighbours
        cdef ptrdiff_t n_outer = done.rows if across else done.channels
        cdef ptrdiff_t pitch = done.row_pitch if across else done.channel_pitch
        cdef const View *out = &arrays.out
        cdef const View *more = &arrays.residual
        cdef char *dst = (out.data + done.n * out.batch + done.channel * out.channel + outer.out_offset
                          + done.y0 * out.y + done.x0 * out.x)
        cdef const char *residual = NULL
        if arrays.load_residual != NULL:
            residual = (more.data + done.n * more.batch + done.channel * more.channel
                        + self.outer_offset(more, outer.index) + done.y0 * more.y + done.x0 * more.x)
        tile.along_row = across
        tile.rows = done.columns if across else done.rows
        tile.n = done.channels if across else done.columns
        tile.pitch = (done.column_pitch if across else done.row_pitch) // item
        for i in range(n_outer):
            tile.values = done.values + i * pitch
            if i == 0 or not across:
                tile.scale = arrays.scale + (done.channel + i) * item if arrays.scale != NULL else NULL
                tile.bias = arrays.late_bias + (done.channel + i) * item if arrays.late_bias != NULL else NULL
            if across:
                self.finish_rows(arrays, &tile, residual + i * more.y if residual != NULL else NULL, more.x,
                                 more.channel, done.row)
                if done.staged:
                    self.store_final(dst + i * out.y, out.x, out.channel, tile.values, tile.pitch, tile.rows, tile.n)
            else:
                self.finish_rows(arrays, &tile, residual + i * more.channel if residual != NULL else NULL, more.y,
                                 more.x, done.row)
                if done.staged:
                    self.store_final(dst + i * out.channel, out.y, out.x, tile.values, tile.pitch, tile.rows, tile.n)

    cdef ptrdiff_t outer_offset(self, const View *view, ptrdiff_t index) noexcept nogil:
        """Where the outer output position number `index` lies."""
        cdef ptrdiff_t offset = 0
        cdef int i
        for i in range(self.n_outer - 1, -1, -1):
            offset += index % self.outer[i].out * view.outer[i]
            index //= self.outer[i].out
        return offset

    cdef void finish_rows(self, const Arrays *arrays, fc_epilogue_tile *tile, const char *residual, ptrdiff_t row_stride,
                          ptrdiff_t stride, char *row) noexcept nogil:
        """The steps on some rows, with a residual that is read where it stands, or a row of it at a time."""
        cdef fc_row_map map
        cdef fc_epilogue_tile one = tile[0]
        cdef ptrdiff_t r, offset
        tile.residual = NULL
        if not self.has_epilogue:
            return
        if residual == NULL or arrays.residual_computed and stride == self.computed_bytes:
            tile.residual, tile.residual_pitch = residual, row_stride // self.computed_bytes
            self.epilogue(tile)
            return
        run_of(&map, tile.n, self.fill)
        one.rows, one.residual, one.residual_pitch = 1, row, 0
        for r in range(tile.rows):
            offset = r * row_stride
            one.values = <char *>tile.values + r * tile.pitch * self.computed_bytes
            arrays.load_residual(row, tile.n, residual, &offset, 1, stride, &map)
            self.epilogue(&one)

    cdef ptrdiff_t map_bytes(self) noexcept nogil:
        """Scratch memory of a tile map."""
        cdef ptrdiff_t s, numbers = 0
        for s in range(self.n_row_segments):
            numbers += self.tile_rows + self.row_count[s] - 1
        for s in range(self.n_column_segments):
            numbers += self.tile_columns + self.column_span[s]
        return numbers * sizeof(ptrdiff_t) + self.n_column_segments * sizeof(fc_row_map)

    cdef void lay_out_map(self, char *at, TileMap *map) noexcept nogil:
        """Place a tile map in scratch memory."""
        cdef ptrdiff_t s
        map.columns = <fc_row_map *>at
        map.column_index = <ptrdiff_t *>(at + self.n_column_segments * sizeof(fc_row_map))
        map.row_offset = map.column_index
        for s in range(self.n_column_segments):
            map.row_offset += self.tile_columns + self.column_span[s]
