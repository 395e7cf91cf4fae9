# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Passes along one axis, or two fused in cache, over an array of any rank.

A stage sees a batch of images: rows along y, and rows of samples along x, each sample `inner` neighbours wide where
trailing axes are not filtered. A tile goes through pack -> first pass -> middle -> second pass -> out. What lies
outside the image is decided pass by pass: the fill value of the second pass stands around what the first has made.

    y then x    rows with their halo above and below  ->  [left halo | rows | right halo]  ->  out
    x then y    rows with their halo all around       ->  rows with their halo above and below  ->  out
"""

cimport numpy as cnp
from libc.string cimport memcpy, memset

from fastconv import _tunables
from fastconv.drivers.kernels cimport (
    FC_FILL, fc_direct, fc_direct_tile, fc_fold_tile, fc_level, fc_load_rows, fc_mirror,
    fc_mirror_tile, fc_plane, fc_row_map, fc_store_rows, fc_sum, fc_sum_tile,
)
from fastconv.drivers.levels cimport level_named
from fastconv.drivers.threads cimport Loop, Region, Task, region_poll
from fastconv.drivers.tile cimport AxisSpec, axis_spec, lines, source_index, source_indices

cnp.import_array()

cdef enum:
    MAX_BATCH = 64
    MAX_TERMS = 256  # of a box, see box_factors in the planner
    MAX_POWERS = 32

cdef enum:
    CONSTANT = 0  # as in tile.pyx

cdef enum:
    WEIGHTS, FOLD, CUT, BOX, MIRROR

cdef double POLL_WORK = _tunables.POLL_WORK
cdef ptrdiff_t BOX_BYTES = _tunables.SEPARABLE_BOX_BYTES
cdef ptrdiff_t PLAIN_ROWS = _tunables.SEPARABLE_PLAIN_ROWS

# One pass; a pass that a stage does not have is a box of one.
cdef struct Pass:
    int kind, symmetry
    bint in_order           # products along the row are added up as those of a vertical pass are
    AxisSpec axis
    ptrdiff_t step          # elements between two taps of the horizontal pass
    const char *weights
    const float *short_weights  # of a sum that is cut, and how far it may be from that in doubles
    float doubt
    const ptrdiff_t *columns
    const ptrdiff_t *factors  # of a box
    ptrdiff_t n_factors
    char fill[16]

cdef struct Scratch:
    char *packed
    char *middle
    char *powers            # of a box: sums of more and more samples
    char *stored            # rows as they are stored
    char *out
    ptrdiff_t *row_offset
    ptrdiff_t *index
    Region *region
    double work

# Of a thread's tiles: no address space holds more.
cdef double MOST_BYTES = 2.0**47

cdef struct Call:
    const char *x
    char *out
    ptrdiff_t x_y, x_x      # strides in bytes
    ptrdiff_t x_batch[MAX_BATCH]
    bint x_plain, out_plain


cdef class Stage(Loop):
    """One or two passes over every image of a batch.

    Parameters
    ----------
    level : str
    plan : StagePlan
        See `fastconv.planners.separable`.
    """

    cdef const fc_level *level
    cdef fc_load_rows *load_x
    cdef fc_load_rows *load_out
    cdef fc_store_rows *store_out
    cdef fc_direct *direct
    cdef fc_sum *sum
    cdef fc_mirror *mirror
    cdef int compute, n_batch
    cdef bint has_y, has_x, y_first, exact_middle, x_copies, out_copies
    cdef ptrdiff_t x_bytes, out_bytes, item, part_bytes, parts, lanes
    cdef ptrdiff_t rows, row_length, inner
    cdef ptrdiff_t batch_count
    cdef ptrdiff_t batch[MAX_BATCH]
    cdef ptrdiff_t out_batch[MAX_BATCH]
    cdef ptrdiff_t out_y
    cdef ptrdiff_t tile_rows, tile_columns, n_row_tiles, n_column_tiles
    cdef ptrdiff_t packed_pitch, packed_rows, thread_bytes, powers
    cdef Pass y
    cdef Pass x
    cdef AxisSpec row  # the axis of x, in elements
    cdef double work
    cdef object keep
    cdef tuple batch_axes
    cdef int y_axis, x_axis

    def __init__(self, str level, plan):
        cdef ptrdiff_t halo
        self.level = level_named(level)
        self.compute = plan.compute
        self.load_x = self.level.load_rows[<int>plan.x_storage]
        self.load_out = self.level.load_rows[<int>plan.out_storage]
        self.store_out = self.level.store_rows[<int>plan.out_storage]
        self.direct = self.level.direct[self.compute]
        self.sum = self.level.sum[<int>plan.sum]
        self.mirror = self.level.mirror[1 if plan.part_bytes == 8 else 0]
        self.x_bytes, self.out_bytes = plan.x_bytes, plan.out_bytes
        self.item, self.part_bytes = plan.computed_bytes, plan.part_bytes
        self.parts = self.item // self.part_bytes
        self.lanes = self.level.vector_bytes // self.item
        self.x_copies, self.out_copies = plan.x_copies, plan.out_copies
        self.exact_middle = plan.exact_middle
        self.rows, self.row_length, self.inner = plan.rows, plan.row_length, plan.inner
        self.batch_axes, self.y_axis, self.x_axis = plan.batch_axes, plan.y_axis, plan.x_axis
        self.n_batch = <int>len(plan.batch_sizes)
        self.batch_count = 1
        for i in range(self.n_batch):
            self.batch[i], self.out_batch[i] = plan.batch_sizes[i], plan.out_batch[i]
            self.batch_count *= self.batch[i]
        self.out_y = plan.out_y
        self.has_y, self.has_x, self.y_first = plan.y is not None, plan.x is not None, plan.y_first
        self.keep = (plan.y, plan.x)
        if self.has_y:
            self.y = bound(plan.y)
        if self.has_x:
            self.x = bound(plan.x)
        self.row = self.x.axis
        self.row.extent, self.row.inner = self.row_length, self.inner
        self.tile_rows, self.tile_columns = plan.tile_rows, plan.tile_columns
        self.n_row_tiles = (self.rows + self.tile_rows - 1) // self.tile_rows
        self.n_column_tiles = (self.row_length + self.tile_columns - 1) // self.tile_columns
        halo = (self.x.axis.k - 1) * self.inner if self.has_x else 0
        self.packed_pitch = (self.tile_columns + halo + 2 * self.lanes - 1) // self.lanes * self.lanes + self.lanes
        # An odd number of cache lines from row to row: those of a power of two would share a few sets.
        self.packed_pitch += self.lanes * ((self.packed_pitch // self.lanes + 1) % 2)
        self.packed_rows = self.tile_rows + (self.y.axis.k - 1 if self.has_y else 0)
        self.powers = max(self.y.n_factors, self.x.n_factors)
        self.work = <double>self.batch_count * self.rows * self.row_length * self.parts * plan.products
        # Windows along both axes may be so long that the product counts beyond 64 bits.
        if <double>self.packed_rows * self.packed_pitch * self.item * (4 + self.powers) > MOST_BYTES:
            raise MemoryError("fastconv: no memory for the tiles")
        self.thread_bytes = (
            lines(sizeof(Scratch))
            + self.block_bytes() * (3 + self.powers)
            + lines(self.packed_rows * self.packed_pitch * self.out_bytes)
            + lines(self.packed_rows * sizeof(ptrdiff_t))
            + lines((self.tile_columns + halo) * sizeof(ptrdiff_t)))

    cdef ptrdiff_t block_bytes(self) noexcept nogil:
        """A packed tile, and slack behind it."""
        return lines(self.packed_rows * self.packed_pitch * self.item + 2 * self.level.vector_bytes)

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

    @property
    def level_name(self):
        """The level whose kernels this driver calls."""
        return self.level.name.decode()

    def run(self, cnp.ndarray x, cnp.ndarray out, threads=None):
        """Filter x into out, which is contiguous and shares no memory with x."""
        cdef Call call
        cdef Task task
        cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(x)
        cdef ptrdiff_t items = self.batch_count * self.n_row_tiles * self.n_column_tiles
        cdef int i
        if items == 0:
            return
        call.x, call.out = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(out)
        call.x_y = strides[self.y_axis] if self.y_axis >= 0 else 0
        # Trailing axes that are not filtered follow each other, see the planner.
        call.x_x = strides[self.x_axis] if self.x_axis >= 0 else self.x_bytes
        for i in range(self.n_batch):
            call.x_batch[i] = strides[<int>self.batch_axes[i]]
        call.x_plain = (self.x_copies and call.x_x == self.item
                        and not <size_t>call.x % <size_t>self.part_bytes and self.whole_strides(x))
        call.out_plain = self.out_copies and not <size_t>call.out % <size_t>self.part_bytes
        task = Task(self.work, items, 1, False, 0, self.thread_bytes)
        self.run_items(&call, threads, &task)

    cdef bint whole_strides(self, cnp.ndarray x):
        cdef int i
        for i in range(cnp.PyArray_NDIM(x)):
            if cnp.PyArray_STRIDE(x, i) % self.item:
                return False
        return True

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory. Kernels compute on the slack of rows, where old bits may be slow to add."""
        cdef Scratch *scratch = <Scratch *>memory
        cdef char *at = memory + lines(sizeof(Scratch))
        memset(at, 0, self.block_bytes() * (3 + self.powers))
        scratch.packed = at
        at += self.block_bytes()
        scratch.middle = at
        at += self.block_bytes()
        scratch.out = at
        at += self.block_bytes()
        scratch.powers = at
        at += self.block_bytes() * self.powers
        scratch.stored = at
        at += lines(self.packed_rows * self.packed_pitch * self.out_bytes)
        scratch.row_offset = <ptrdiff_t *>at
        at += lines(self.packed_rows * sizeof(ptrdiff_t))
        scratch.index = <ptrdiff_t *>at

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
        cdef double tile_work = self.work / (self.batch_count * self.n_row_tiles * self.n_column_tiles)
        cdef ptrdiff_t item, rest, y0, x0, x_offset, out_offset
        cdef int i
        scratch.work = 0
        for item in range(start, stop):
            if region.stopped:
                return
            if thread == 0:
                scratch.work += tile_work
                if scratch.work > POLL_WORK:
                    scratch.work = 0
                    region_poll(region)
            x0 = item % self.n_column_tiles * self.tile_columns
            rest = item // self.n_column_tiles
            y0 = rest % self.n_row_tiles * self.tile_rows
            rest //= self.n_row_tiles
            x_offset = out_offset = 0
            for i in range(self.n_batch - 1, -1, -1):
                x_offset += rest % self.batch[i] * call.x_batch[i]
                out_offset += rest % self.batch[i] * self.out_batch[i]
                rest //= self.batch[i]
            self.tile(call, scratch, call.x + x_offset, call.out + out_offset, y0, min(self.tile_rows, self.rows - y0),
                      x0, min(self.tile_columns, self.row_length - x0))

    cdef void tile(self, const Call *call, Scratch *scratch, const char *x, char *out, ptrdiff_t y0, ptrdiff_t height,
                   ptrdiff_t x0, ptrdiff_t width) noexcept nogil:
        """Outputs y0..y0 + height - 1, x0..x0 + width - 1 of an image whose first sample is at x."""
        cdef ptrdiff_t lo = self.x.axis.lo * self.inner if self.has_x else 0
        cdef ptrdiff_t wide = width + ((self.x.axis.k - 1) * self.inner if self.has_x else 0)
        cdef ptrdiff_t tall = height + (self.y.axis.k - 1 if self.has_y else 0)
        cdef ptrdiff_t first = y0 - (self.y.axis.lo if self.has_y else 0)
        cdef fc_row_map map
        self.map_columns(&map, x0 - lo, wide, scratch.index)
        # A halo that lies in this tile is copied when the first pass is done; only a tile that is a part of its row
        # packs it, and filters it twice.
        if self.has_y and self.y_first and self.has_x and (
                self.x.axis.boundary == CONSTANT or self.n_column_tiles == 1):
            self.y_then_x(call, scratch, x, out, y0, height, first, tall, x0, width, &map)
            return
        cdef const char *src = scratch.packed
        cdef ptrdiff_t pitch = self.packed_pitch
        if self.reads_plain(call, first, tall, &map, wide):
            src = x + first * call.x_y + (x0 - lo) * self.item
            pitch = call.x_y // self.item
        else:
            self.pack(call, scratch, x, first, tall, &map, scratch.packed)
        cdef bint slack = src == scratch.packed
        if self.has_y and self.has_x and self.y_first:
            self.apply(&self.y, scratch, src, pitch, pitch, scratch.middle, self.packed_pitch, height, wide, slack)
            self.round(scratch, scratch.middle, height, wide)
            self.finish(call, &self.x, scratch, out, scratch.middle, self.packed_pitch, self.x.step, y0, height, x0,
                        width, True)
        elif self.has_y and self.has_x:
            self.apply(&self.x, scratch, src, pitch, self.x.step, scratch.middle, self.packed_pitch, tall, width, slack)
            self.round(scratch, scratch.middle, tall, width)
            self.fill_rows(scratch, first, tall, width)
            self.finish(call, &self.y, scratch, out, scratch.middle, self.packed_pitch, self.packed_pitch, y0, height,
                        x0, width, True)
        elif self.has_y:
            self.finish(call, &self.y, scratch, out, src, pitch, pitch, y0, height, x0, width, slack)
        else:
            self.finish(call, &self.x, scratch, out, src, pitch, self.x.step, y0, height, x0, width, slack)

    cdef void y_then_x(self, const Call *call, Scratch *scratch, const char *x, char *out, ptrdiff_t y0,
                       ptrdiff_t height, ptrdiff_t first, ptrdiff_t tall, ptrdiff_t x0, ptrdiff_t width,
                       fc_row_map *map) noexcept nogil:
        """The samples of the tile alone go through the first pass, and the halo beside them is made of its results."""
        cdef ptrdiff_t start = map.run_start, n = map.run_stop - map.run_start, wide = map.n
        cdef ptrdiff_t pitch = self.packed_pitch
        cdef const char *src = scratch.packed
        cdef fc_row_map run = map[0]
        run.n = run.run_stop = n
        run.run_start = 0
        cdef bint plain = self.reads_plain(call, first, tall, &run, n)
        if plain:
            src = x + first * call.x_y + run.run_index * self.item
            pitch = call.x_y // self.item
        else:
            self.pack(call, scratch, x, first, tall, &run, scratch.packed)
        self.apply(&self.y, scratch, src, pitch, pitch, scratch.middle + start * self.item, self.packed_pitch, height,
                   n, not plain)
        self.round(scratch, scratch.middle + start * self.item, height, n)
        self.fill_halo(scratch, map, height)
        self.finish(call, &self.x, scratch, out, scratch.middle, self.packed_pitch, self.x.step, y0, height, x0,
                    wide - (self.x.axis.k - 1) * self.inner, True)

    cdef bint reads_plain(self, const Call *call, ptrdiff_t first, ptrdiff_t tall, const fc_row_map *map,
                          ptrdiff_t width) noexcept nogil:
        """Whether the rows can be read where they stand, and a tall window would not do so row by row from far away."""
        return (call.x_plain and first >= 0 and first + tall <= self.rows and map.run_start == 0
                and map.run_stop == map.n and width >= self.lanes
                and (not self.has_y or self.y.axis.k <= PLAIN_ROWS))

    cdef void map_columns(self, fc_row_map *map, ptrdiff_t first, ptrdiff_t n, ptrdiff_t *index) noexcept nogil:
        """Where n elements of a row come from, the first of them at element `first`."""
        map.n, map.index, map.fill, map.runs_only = n, index, self.x.fill, 0
        map.run_start = max(-first, 0)
        map.run_stop = min(n, self.row_length - first)
        map.run_index, map.run_step = first + map.run_start, 1
        source_indices(&self.row, first, 1, map.run_start, index)
        source_indices(&self.row, first + map.run_stop, 1, n - map.run_stop, index + map.run_stop)

    cdef void pack(self, const Call *call, Scratch *scratch, const char *x, ptrdiff_t first, ptrdiff_t tall,
                   const fc_row_map *map, char *packed) noexcept nogil:
        """Gather `tall` rows, the first of them at row `first`; rows outside hold the fill value of y."""
        cdef ptrdiff_t r, at, loaded = 0
        for r in range(tall):
            at = source_index(&self.y.axis, first + r) if self.has_y else first + r
            if at != FC_FILL:
                scratch.row_offset[r] = at * call.x_y
                continue
            self.load_some(call, scratch, x, loaded, r, map, packed)
            self.fill_row(&self.y, packed + r * self.packed_pitch * self.item, 0, map.n)
            loaded = r + 1
        self.load_some(call, scratch, x, loaded, tall, map, packed)

    cdef void load_some(self, const Call *call, const Scratch *scratch, const char *x, ptrdiff_t start, ptrdiff_t stop,
                        const fc_row_map *map, char *packed) noexcept nogil:
        """Gather the packed rows from `start` to before `stop`, whose sources are known."""
        if start < stop:
            self.load_x(packed + start * self.packed_pitch * self.item, self.packed_pitch, x,
                        &scratch.row_offset[start], stop - start, call.x_x, map)

    cdef void fill_row(self, const Pass *p, char *row, ptrdiff_t start, ptrdiff_t stop) noexcept nogil:
        cdef ptrdiff_t i
        for i in range(start, stop):
            memcpy(row + i * self.item, p.fill, self.item)

    cdef void fill_rows(self, Scratch *scratch, ptrdiff_t first, ptrdiff_t tall, ptrdiff_t width) noexcept nogil:
        """The rows of the middle that lie outside the image."""
        cdef ptrdiff_t r
        if self.y.axis.boundary != CONSTANT:
            return
        for r in range(tall):
            if first + r < 0 or first + r >= self.rows:
                self.fill_row(&self.y, scratch.middle + r * self.packed_pitch * self.item, 0, width)

    cdef void fill_halo(self, Scratch *scratch, const fc_row_map *map, ptrdiff_t height) noexcept nogil:
        """The columns of the middle that lie outside the image."""
        cdef ptrdiff_t r, origin = map.run_start - map.run_index
        cdef char *row
        for r in range(height):
            row = scratch.middle + r * self.packed_pitch * self.item
            if self.x.axis.boundary == CONSTANT:
                self.fill_row(&self.x, row, 0, map.run_start)
                self.fill_row(&self.x, row, map.run_stop, map.n)
            else:
                copy_elements(row, map.index, origin, 0, map.run_start, self.item)
                copy_elements(row, map.index, origin, map.run_stop, map.n, self.item)

    cdef void round(self, Scratch *scratch, char *rows, ptrdiff_t height, ptrdiff_t n) noexcept nogil:
        """What one pass hands to the next has the dtype of the result."""
        cdef fc_row_map map
        cdef ptrdiff_t r, zero = 0
        if self.exact_middle:
            return
        map.n = map.run_stop = n
        map.run_start = map.run_index = 0
        map.run_step = 1
        map.index = NULL
        map.fill = self.x.fill
        map.runs_only = 1
        for r in range(height):
            self.store_out(scratch.stored, 0, self.out_bytes, rows + r * self.packed_pitch * self.item, 0, 1, n)
            self.load_out(rows + r * self.packed_pitch * self.item, 0, scratch.stored, &zero, 1, self.out_bytes, &map)

    cdef void finish(self, const Call *call, const Pass *p, Scratch *scratch, char *out, const char *src,
                     ptrdiff_t pitch, ptrdiff_t step, ptrdiff_t y0, ptrdiff_t height, ptrdiff_t x0, ptrdiff_t width,
                     bint slack) noexcept nogil:
        """The last pass, into the result."""
        cdef char *dst = out + y0 * self.out_y + x0 * self.out_bytes
        if call.out_plain and width >= self.lanes:
            self.apply(p, scratch, src, pitch, step, dst, self.out_y // self.item, height, width, False)
        else:
            self.apply(p, scratch, src, pitch, step, scratch.out, self.packed_pitch, height, width, slack)
            self.store_out(dst, self.out_y, self.out_bytes, scratch.out, self.packed_pitch, height, width)

    cdef void apply(self, const Pass *p, Scratch *scratch, const char *src, ptrdiff_t pitch, ptrdiff_t step, char *dst,
                    ptrdiff_t dst_pitch, ptrdiff_t height, ptrdiff_t width, bint slack) noexcept nogil:
        """One pass: tap j of output (r, x) is src[r * pitch + x + j * step]."""
        cdef fc_fold_tile fold
        if p.kind == BOX:
            self.box(p, scratch, src, pitch, step, dst, dst_pitch, height, width, slack)
        elif p.kind == FOLD or p.kind == CUT:
            fold.src, fold.src_pitch, fold.step = src, pitch, step
            fold.weights, fold.taps, fold.symmetry = <const double *>p.weights, p.axis.k, p.symmetry
            fold.dst, fold.dst_pitch, fold.height, fold.width = dst, dst_pitch, height, width
            fold.slack, fold.short_weights, fold.doubt = slack, p.short_weights, p.doubt
            if p.kind == CUT:
                self.level.cut(&fold)
            else:
                self.level.fold(&fold)
        elif p.kind == MIRROR:
            self.fold_pairs(p, src, pitch, step, dst, dst_pitch, height, width, slack)
        else:
            self.correlate(p, src, pitch, step, dst, dst_pitch, height, width, slack)

    cdef void fold_pairs(self, const Pass *p, const char *src, ptrdiff_t pitch, ptrdiff_t step, char *dst,
                         ptrdiff_t dst_pitch, ptrdiff_t height, ptrdiff_t width, bint slack) noexcept nogil:
        """Real weights: the parts of complex samples are samples of their own."""
        cdef fc_mirror_tile tile
        tile.src, tile.src_pitch, tile.step = src, pitch * self.parts, step * self.parts
        tile.down = p == &self.y
        tile.weights, tile.taps = p.weights, p.axis.k
        tile.symmetry, tile.in_order = p.symmetry, p.in_order
        tile.dst, tile.dst_pitch = dst, dst_pitch * self.parts
        tile.height, tile.width, tile.slack = height, width * self.parts, slack
        self.mirror(&tile)

    cdef void correlate(self, const Pass *p, const char *src, ptrdiff_t pitch, ptrdiff_t step, char *dst,
                        ptrdiff_t dst_pitch, ptrdiff_t height, ptrdiff_t width, bint slack) noexcept nogil:
        cdef fc_direct_tile tile
        cdef fc_plane plane
        cdef ptrdiff_t zero = 0
        cdef bint down = p == &self.y
        plane.src = plane.weights = 0
        plane.rows = p.axis.k if down else 1
        tile.src, tile.src_pitch = src, pitch
        tile.planes, tile.n_planes = &plane, 1
        if down:
            tile.columns, tile.n_columns = &zero, 1
        else:
            tile.columns, tile.n_columns = p.columns, p.axis.k
        tile.weights, tile.bias = p.weights, NULL
        tile.dst, tile.dst_pitch = dst, dst_pitch
        tile.height, tile.width, tile.slack, tile.in_order = height, width, slack, p.in_order
        self.direct(&tile)

    cdef void box(self, const Pass *p, Scratch *scratch, const char *src, ptrdiff_t pitch, ptrdiff_t step, char *dst,
                  ptrdiff_t dst_pitch, ptrdiff_t height, ptrdiff_t width, bint slack) noexcept nogil:
        """A mean, in pieces whose sums stay in L1: strips of a pass down the rows, a few rows of one along them."""
        # Whole register tiles of the widest level.
        cdef ptrdiff_t unit = 8 * self.lanes
        cdef ptrdiff_t strip = max(BOX_BYTES // ((height + p.axis.k) * self.item) // unit, 1) * unit
        cdef ptrdiff_t few = max(BOX_BYTES // 2 // (width * self.item), 1)
        cdef ptrdiff_t at = 0, n
        if p.n_factors == 0:
            self.box_block(p, scratch, src, pitch, step, dst, dst_pitch, height, width, slack)
        elif p == &self.y:
            while at < width:
                # The last strip is no narrower than the others.
                n = strip if width - at >= 2 * strip else width - at
                self.box_block(p, scratch, src + at * self.item, pitch, step, dst + at * self.item, dst_pitch, height, n,
                               slack)
                at += n
        else:
            while at < height:
                n = min(few, height - at)
                self.box_block(p, scratch, src + at * pitch * self.item, pitch, step, dst + at * dst_pitch * self.item,
                               dst_pitch, n, width, slack)
                at += n

    cdef void box_block(self, const Pass *p, Scratch *scratch, const char *src, ptrdiff_t pitch, ptrdiff_t step,
                        char *dst, ptrdiff_t dst_pitch, ptrdiff_t height, ptrdiff_t width, bint slack) noexcept nogil:
        """A mean: sums of a few neighbours, of a few of these, and so on, and of all these what the size is made of.

        Nothing is subtracted, so nothing drifts and a NaN stays in its window.
        """
        cdef fc_sum_tile tile
        cdef const void *terms[MAX_TERMS]
        cdef ptrdiff_t pitches[MAX_TERMS]
        cdef const char *sums[MAX_POWERS]
        cdef ptrdiff_t sum_pitch[MAX_POWERS]
        cdef ptrdiff_t size = p.axis.k, power, at, l, n, factor
        cdef bint down = p == &self.y
        tile.terms, tile.pitches = terms, pitches
        tile.divisor = 1
        sums[0], sum_pitch[0] = src, pitch * self.parts
        power = 1
        for l in range(1, p.n_factors + 1):
            factor = p.factors[l - 1]
            for n in range(factor):
                terms[n] = sums[l - 1] + n * power * self.step_bytes(down, step, sum_pitch[l - 1])
                pitches[n] = sum_pitch[l - 1]
            power *= factor
            sums[l], sum_pitch[l] = scratch.powers + (l - 1) * self.block_bytes(), self.packed_pitch * self.parts
            tile.n_terms, tile.dst, tile.dst_pitch = factor, <char *>sums[l], sum_pitch[l]
            tile.height = height + (size - power if down else 0)
            tile.width = (width + (0 if down else (size - power) * step)) * self.parts
            # Sums of samples that stand in the input must not reach beyond them.
            tile.slack = slack or l > 1
            self.sum(&tile)
        n = at = 0
        for l in range(p.n_factors, -1, -1):
            while at + power <= size:
                terms[n] = sums[l] + at * self.step_bytes(down, step, sum_pitch[l])
                pitches[n] = sum_pitch[l]
                n += 1
                at += power
            if l > 0:
                power //= p.factors[l - 1]
        tile.n_terms, tile.divisor = n, <double>size
        tile.dst, tile.dst_pitch = dst, dst_pitch * self.parts
        tile.height, tile.width, tile.slack = height, width * self.parts, slack
        self.sum(&tile)

    cdef ptrdiff_t step_bytes(self, bint down, ptrdiff_t step, ptrdiff_t pitch) noexcept nogil:
        return pitch * self.part_bytes if down else step * self.item


cdef void copy_elements(char *row, const ptrdiff_t *index, ptrdiff_t origin, ptrdiff_t start, ptrdiff_t stop,
                        ptrdiff_t item) noexcept nogil:
    """Copy within a row of the middle, the element with index i of the image being number i + origin."""
    cdef ptrdiff_t i
    if item == 4:
        for i in range(start, stop):
            (<unsigned int *>row)[i] = (<unsigned int *>row)[index[i] + origin]
    elif item == 2:
        for i in range(start, stop):
            (<unsigned short *>row)[i] = (<unsigned short *>row)[index[i] + origin]
    else:
        for i in range(start, stop):
            memcpy(row + i * item, row + (index[i] + origin) * item, item)


cdef Pass bound(object plan):
    cdef Pass p
    cdef bytes fill = plan.fill
    p.kind, p.symmetry, p.in_order = plan.kind, plan.symmetry, plan.in_order
    p.axis = axis_spec(plan.axis)
    p.step = plan.step
    p.weights = cnp.PyArray_BYTES(plan.weights)
    p.short_weights, p.doubt = <const float *>cnp.PyArray_DATA(plan.short_weights), plan.doubt
    p.columns = <const ptrdiff_t *>cnp.PyArray_DATA(plan.columns)
    p.factors = <const ptrdiff_t *>cnp.PyArray_DATA(plan.factors)
    p.n_factors = len(plan.factors)
    memset(p.fill, 0, 16)
    memcpy(p.fill, <const char *>fill, len(fill))
    return p
