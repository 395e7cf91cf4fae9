# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""The direct algorithm: every dtype with a kernel, any number of channels, any rank.

A work item is a band of output rows of one image for a few groups, or a part of one where the bands are few. Its
columns are cut into chunks; a chunk whose whole window lies inside a plain array is read where it stands, any other
is packed with its halo first.

In a volume, outputs that are neighbours along the first axis share all but one of the planes that they see. Items that
follow each other are such outputs of one chunk, and the planes of the packed tile are a ring, in which the oldest makes
room for the next::

    output z    planes z, z + 1, z + 2        in places 0 1 2
    z + 1       planes z + 1, z + 2, z + 3              1 2 0
"""

cimport numpy as cnp
from libc.string cimport memset

from fastconv import _tunables
from fastconv.drivers.kernels cimport fc_direct, fc_direct_tile, fc_plane, fc_row_map
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile cimport Arrays, Done, Geometry, Outer, TileMap, lines

cnp.import_array()

cdef double POLL_WORK = _tunables.POLL_WORK


cdef struct Call:
    Arrays arrays
    bint x_plain       # input rows can be read where they stand
    bint out_plain     # output rows can be written where they stand
    bint w_plain       # so can the weights
    const fc_plane *planes  # of x_plain, at the head of the scratch memory


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *out
    char *residual     # one row of it
    char *weights
    TileMap map
    ptrdiff_t *kernel_rows  # offsets of the rows of a kernel, in the order of the row segments
    Outer outer
    ptrdiff_t weights_key  # which weights are packed
    ptrdiff_t chunk_key, outer_packed  # which chunk is, and for which outer output
    Region *region         # to be polled by the calling thread, NULL for others
    double work            # multiply-adds since it was polled


cdef class Driver(Geometry):
    cdef fc_direct *kernel
    cdef ptrdiff_t register_columns, n_planes, n_plane_rows, n_row_blocks, n_chunks
    cdef ptrdiff_t places  # planes that are a ring, or 1: a table of planes for each place of the first tap
    cdef ptrdiff_t chunk_block, n_chunk_blocks, group_block, out_block  # what an item takes of each
    cdef ptrdiff_t thread_bytes, weights_bytes
    cdef double work
    cdef const fc_plane *planes
    cdef const ptrdiff_t *plane_rows
    cdef const ptrdiff_t *columns
    cdef const ptrdiff_t *plain_columns
    cdef const ptrdiff_t *row_taps
    cdef const ptrdiff_t *row_blocks
    cdef const ptrdiff_t *chunks
    cdef bint can_read_plain, out_copies, in_order
    cdef ptrdiff_t inside_y0, inside_y1, inside_x0, inside_x1
    cdef object keep_direct

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernel = self.level.direct[self.compute]
        self.register_columns = self.lanes * self.level.direct_vectors
        self.keep_direct = (plan.planes, plan.plane_rows, plan.columns, plan.plain_columns, plan.row_taps,
                            plan.row_blocks, plan.chunks)
        self.planes = <const fc_plane *>cnp.PyArray_DATA(plan.planes)
        self.plane_rows = <const ptrdiff_t *>cnp.PyArray_DATA(plan.plane_rows)
        self.columns = <const ptrdiff_t *>cnp.PyArray_DATA(plan.columns)
        self.plain_columns = <const ptrdiff_t *>cnp.PyArray_DATA(plan.plain_columns)
        self.row_taps = <const ptrdiff_t *>cnp.PyArray_DATA(plan.row_taps)
        self.row_blocks = <const ptrdiff_t *>cnp.PyArray_DATA(plan.row_blocks)
        self.chunks = <const ptrdiff_t *>cnp.PyArray_DATA(plan.chunks)
        self.places, self.n_planes = plan.planes.shape[0], plan.planes.shape[1]
        self.n_plane_rows = len(plan.plane_rows)
        self.in_order = plan.in_order
        self.n_row_blocks, self.n_chunks = len(plan.row_blocks) - 1, len(plan.chunks) - 1
        self.group_block, self.out_block = plan.group_block, plan.out_block
        self.chunk_block = plan.chunk_block
        self.n_chunk_blocks = (self.n_chunks + self.chunk_block - 1) // self.chunk_block
        self.can_read_plain, self.out_copies = plan.can_read_plain, plan.out_copies
        self.inside_y0, self.inside_y1 = plan.inside_y
        self.inside_x0, self.inside_x1 = plan.inside_x
        self.work = problem.thread_work
        self.weights_bytes = self.out_block * self.channels * self.taps * self.computed_bytes
        self.thread_bytes = (
            lines(sizeof(Scratch))
            + lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
            + lines(self.tile_rows * self.dst_pitch() * self.computed_bytes)
            + lines(self.residual_bytes())
            + lines(self.weights_bytes)
            + lines(self.map_bytes())
            + lines(self.y.k * sizeof(ptrdiff_t))
            + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes + lines(self.n_planes * sizeof(fc_plane))

    @property
    def fuses_epilogue(self):
        """Whether `run` finishes what it stores; other dtypes than the real floating ones leave it to the caller."""
        return bool(self.finishes)

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray scale=None, cnp.ndarray residual=None):
        """Write the convolution of x and w to out, which shares memory with neither; the residual may be out."""
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items = self.batch * self.outer_outs * self.n_row_blocks * self.n_chunk_blocks * (
            (self.groups + self.group_block - 1) // self.group_block)
        if items == 0 or self.channels_out == 0 or self.x.out == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        call.arrays.w = self.bind_weights(w)
        self.bind_epilogue(&call.arrays, bias, scale, residual)
        call.x_plain = self.can_read_plain and self.is_plain(x, call.arrays.x.x)
        call.out_plain = (self.out_copies and not call.arrays.over_residual
                          and self.is_plain(out, call.arrays.out.x))
        call.w_plain = self.weights_plain(&call.arrays)
        task = Task(
            self.work, items, 1, self.places > 1, lines(self.n_planes * sizeof(fc_plane)), self.thread_bytes)
        self.run_items(&call, threads, &task)

    cdef bint is_plain(self, cnp.ndarray array, ptrdiff_t x_stride):
        """Whether rows are contiguous and every stride is a whole number of elements."""
        cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(array)
        cdef int i
        if self.stored_bytes != self.computed_bytes or x_stride != self.computed_bytes:
            return False
        if <size_t>cnp.PyArray_DATA(array) % <size_t>self.part_bytes:
            return False
        for i in range(cnp.PyArray_NDIM(array)):
            if strides[i] % self.computed_bytes:
                return False
        return True

    cdef bint weights_plain(self, const Arrays *arrays) noexcept nogil:
        """Whether the weights stand as the kernel reads them: natural order, contiguous, not to be conjugated."""
        cdef ptrdiff_t stride = self.computed_bytes
        if self.stored_bytes != self.computed_bytes or self.conj or self.n_row_segments > 1 or self.n_outer:
            return False
        if self.y.dilation > 1 or <size_t>arrays.w.data % <size_t>self.part_bytes:
            return False
        if arrays.w.x != stride and self.x.k > 1 or arrays.w.y != stride * self.x.k and self.y.k > 1:
            return False
        stride *= self.x.k * self.y.k
        if arrays.w.channel != stride and self.channels > 1:
            return False
        return arrays.w.batch == stride * self.channels or self.groups * self.channels_out == 1

    cdef ptrdiff_t residual_bytes(self) noexcept nogil:
        return self.tile_columns * self.computed_bytes if self.has_epilogue else 0

    cdef ptrdiff_t dst_pitch(self) noexcept nogil:
        return (self.tile_columns + 2 * self.lanes - 1) // self.lanes * self.lanes

    cdef void prepare(self, void *of, char *shared, char *memory) noexcept nogil:
        """The planes of an input that is read where it stands; they begin at the tile's first row and column."""
        cdef Call *call = <Call *>of
        cdef const Arrays *arrays = &call.arrays
        cdef fc_plane *planes = <fc_plane *>shared
        cdef ptrdiff_t c, tap, s, rest, offset, p = 0
        cdef int i
        if not call.x_plain:
            return
        call.planes = planes
        for c in range(self.channels):
            for tap in range(self.outer_taps):
                offset = c * arrays.x.channel
                rest = tap
                for i in range(self.n_outer - 1, -1, -1):
                    offset += rest % self.outer[i].k * self.outer[i].dilation * arrays.x.outer[i]
                    rest //= self.outer[i].k
                for s in range(self.n_plane_rows):
                    planes[p].src = (offset + self.plane_rows[s] * arrays.x.y) // self.computed_bytes
                    planes[p].weights = self.planes[p].weights
                    planes[p].rows = self.planes[p].rows
                    p += 1

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t item, rest, block, n, outer, rows, chunk
        scratch.region = region if thread == 0 else NULL
        scratch.work = 0
        for item in range(start, stop):
            if region.stopped:
                return
            # Neighbouring items share planes, and the weights of their groups.
            outer = item % self.outer_outs
            rest = item // self.outer_outs
            chunk = rest % self.n_chunk_blocks
            rest //= self.n_chunk_blocks
            rows = rest % self.n_row_blocks
            rest //= self.n_row_blocks
            n = rest % self.batch
            block = rest // self.batch
            self.outer_start(&call.arrays, outer, &scratch.outer)
            self.band(call, scratch, n, block * self.group_block, rows, chunk * self.chunk_block)

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory; the weights packed in it then last from item to item."""
        cdef Scratch *scratch = <Scratch *>memory
        cdef char *at = memory + lines(sizeof(Scratch))
        scratch.packed = at
        at += lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
        scratch.out = at
        at += lines(self.tile_rows * self.dst_pitch() * self.computed_bytes)
        scratch.residual = at
        at += lines(self.residual_bytes())
        scratch.weights = at
        at += lines(self.weights_bytes)
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.kernel_rows = <ptrdiff_t *>at
        at += lines(self.y.k * sizeof(ptrdiff_t))
        scratch.outer.taps = <ptrdiff_t *>at
        scratch.weights_key = scratch.chunk_key = -1
        # Kernels compute on the slack of a tile, where old bits may be subnormal and slow to add.
        if self.x.out % self.lanes:
            memset(scratch.packed, 0, self.channels * self.channel_pitch * self.computed_bytes)

    cdef void band(self, Call *call, Scratch *scratch, ptrdiff_t n, ptrdiff_t group, ptrdiff_t block,
                   ptrdiff_t first_chunk) noexcept nogil:
        """A block of chunks of a band of rows, for a block of groups."""
        cdef fc_direct_tile tile
        cdef ptrdiff_t y0 = self.row_blocks[block], chunk, x0, g, key
        cdef ptrdiff_t last = min(group + self.group_block, self.groups)
        cdef bint rows_plain = (call.x_plain and scratch.outer.inside
                                and y0 >= self.inside_y0 and self.row_blocks[block + 1] <= self.inside_y1)
        tile.height = self.row_blocks[block + 1] - y0
        tile.n_planes = self.n_planes
        tile.n_columns = self.x.k
        tile.in_order = self.in_order
        for chunk in range(first_chunk, min(first_chunk + self.chunk_block, self.n_chunks)):
            x0 = self.chunks[chunk]
            tile.width = self.chunks[chunk + 1] - x0
            if rows_plain and tile.width >= self.lanes and x0 >= self.inside_x0 and x0 + tile.width <= self.inside_x1:
                tile.planes, tile.columns = call.planes, self.plain_columns
                tile.src_pitch = self.y.stride * call.arrays.x.y // self.computed_bytes
                for g in range(group, last):
                    tile.src = self.plain_source(call, scratch, n, g, y0, x0)
                    self.channels_of(call, scratch, &tile, n, g, y0, x0)
            else:
                tile.columns, tile.src_pitch, tile.src = self.columns, self.pitch, scratch.packed
                key = ((n * self.groups + group) * self.n_row_blocks + block) * self.n_chunks + chunk
                if not self.follows(scratch, key):
                    self.start_tile(&call.arrays, y0, tile.height, x0, tile.width, &scratch.map)
                scratch.chunk_key, scratch.outer_packed = key, scratch.outer.index
                scratch.outer.turn = scratch.outer.index % self.places
                tile.planes = self.planes + scratch.outer.turn * self.n_planes
                for g in range(group, last):
                    self.pack(&call.arrays, self.group_source(call, n, g), g * self.channels, &scratch.outer,
                              &scratch.map, scratch.packed)
                    self.runs_only(&scratch.map)
                    self.channels_of(call, scratch, &tile, n, g, y0, x0)

    cdef bint follows(self, Scratch *scratch, ptrdiff_t key) noexcept nogil:
        """Whether the packed tile lacks but the plane of the last outer tap, which then is all that is to be packed."""
        cdef Outer *outer = &scratch.outer
        if self.places == 1 or scratch.chunk_key != key or scratch.outer_packed + 1 != outer.index:
            return False
        # A plane outside the input is filled where samples were, which the map does not ask for again.
        if outer.taps[2 * (self.outer_taps - 1)] != 0:
            return False
        outer.first = self.outer_taps - 1
        return True

    cdef const char *group_source(self, const Call *call, ptrdiff_t n, ptrdiff_t g) noexcept nogil:
        return call.arrays.x.data + n * call.arrays.x.batch + g * self.channels * call.arrays.x.channel

    cdef const char *plain_source(self, const Call *call, const Scratch *scratch, ptrdiff_t n, ptrdiff_t g,
                                  ptrdiff_t y0, ptrdiff_t x0) noexcept nogil:
        # The first outer tap is the origin that the planes count from.
        return (self.group_source(call, n, g) + scratch.outer.taps[1]
                + (y0 * self.y.stride - self.y.lo) * call.arrays.x.y + (x0 - self.x.lo) * self.computed_bytes)

    cdef void channels_of(self, Call *call, Scratch *scratch, fc_direct_tile *tile, ptrdiff_t n, ptrdiff_t g,
                          ptrdiff_t y0, ptrdiff_t x0) noexcept nogil:
        """Every output channel of a group on one tile."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channel, o, row_pitch = arrays.out.y // self.computed_bytes
        cdef ptrdiff_t kernel_bytes = self.channels * self.taps * self.computed_bytes
        cdef double work = <double>tile.height * tile.width * self.channels * self.taps
        # A packed tile that is narrower than a register tile is computed into scratch memory, which has slack.
        cdef bint out_plain = call.out_plain and tile.width >= (
            self.register_columns if tile.src == scratch.packed else self.lanes)
        cdef char *dst
        cdef Done done
        done.n, done.y0, done.x0 = n, y0, x0
        done.channels, done.rows, done.columns = 1, tile.height, tile.width
        done.column_pitch, done.channel_pitch, done.row = self.computed_bytes, 0, scratch.residual
        tile.slack = not out_plain and tile.src == scratch.packed
        for o in range(self.channels_out):
            if scratch.region != NULL:
                scratch.work += work
                if scratch.work > POLL_WORK:
                    scratch.work = 0
                    region_poll(scratch.region)
                    if scratch.region.stopped:
                        return
            channel = g * self.channels_out + o
            if call.w_plain:
                tile.weights = arrays.w.data + channel * kernel_bytes
            else:
                if o % self.out_block == 0 and scratch.weights_key != channel:
                    self.pack_weights(call, scratch, channel, min(self.out_block, self.channels_out - o))
                    scratch.weights_key = channel
                tile.weights = scratch.weights + o % self.out_block * kernel_bytes
            tile.bias = arrays.bias + channel * self.computed_bytes if arrays.bias != NULL else NULL
            dst = (arrays.out.data + n * arrays.out.batch + channel * arrays.out.channel + scratch.outer.out_offset
                   + y0 * arrays.out.y + x0 * arrays.out.x)
            if out_plain:
                tile.dst, tile.dst_pitch = dst, row_pitch
            else:
                tile.dst, tile.dst_pitch = scratch.out, self.dst_pitch()
            self.kernel(tile)
            if self.has_epilogue and self.finishes:
                done.channel, done.staged = channel, not out_plain
                done.values, done.row_pitch = <char *>tile.dst, tile.dst_pitch * self.computed_bytes
                self.finish(arrays, &scratch.outer, &done)
            elif not out_plain:
                self.store_rows(dst, arrays.out.y, arrays.out.x, scratch.out, tile.dst_pitch, tile.height, tile.width)

    cdef void pack_weights(self, Call *call, Scratch *scratch, ptrdiff_t channel, ptrdiff_t n) noexcept nogil:
        """The kernels of n output channels, rows in the order of the row segments."""
        cdef const Arrays *arrays = &call.arrays
        cdef fc_row_map map
        cdef ptrdiff_t o, c, tap, i, rest
        cdef int axis
        cdef const char *kernel
        cdef char *dst = scratch.weights
        map.n = map.run_stop = self.x.k
        map.run_start = map.run_index = 0
        map.run_step = 1
        map.index = NULL
        map.fill = self.fill
        map.runs_only = 1
        for i in range(self.y.k):
            scratch.kernel_rows[i] = self.row_taps[i] * arrays.w.y
        for o in range(channel, channel + n):
            for c in range(self.channels):
                for tap in range(self.outer_taps):
                    kernel = arrays.w.data + o * arrays.w.batch + c * arrays.w.channel
                    rest = tap
                    for axis in range(self.n_outer - 1, -1, -1):
                        kernel += rest % self.outer[axis].k * arrays.w.outer[axis]
                        rest //= self.outer[axis].k
                    self.load_rows(dst, self.x.k, kernel, scratch.kernel_rows, self.y.k, arrays.w.x, &map)
                    dst += self.y.k * self.x.k * self.computed_bytes
        if self.conj:
            conjugate(scratch.weights, (dst - scratch.weights) // self.part_bytes, self.part_bytes)


cdef void conjugate(char *values, ptrdiff_t n, ptrdiff_t part_bytes) noexcept nogil:
    """Negate every second of n real parts."""
    cdef ptrdiff_t i
    for i in range(1, n, 2):
        if part_bytes == 4:
            (<float *>values)[i] = -(<float *>values)[i]
        else:
            (<double *>values)[i] = -(<double *>values)[i]
