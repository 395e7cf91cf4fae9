# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Gradients with respect to weights: float32 and float64, and what is computed in them.

    dw[o][c, tap]  =  sum over images and positions of  x[c][position under tap] * grad[o][position]

The input is packed as for every algorithm, see `tile.pyx`; under one tap, the positions of a tile are neighbours in it.
The gradient of the result is packed beside it, a panel of its channels at a time::

    many channels out   [vector][position][lanes]     channels in the lanes
    few                 [row][column], one channel    positions in the lanes

A work item is a block of the result, some channels in by some panels of channels out of a group, and takes all tiles of
all images one after the other. So the order of a sum is that of the tiles, whoever computes it and in which blocks.
"""

cimport numpy as cnp
from cython.parallel cimport prange, threadid

from fastconv.drivers.kernels cimport fc_gradient_kernels, fc_gradient_tile, fc_row_map, fc_winograd_kernels
from fastconv.drivers.levels cimport scratch_give, scratch_take
from fastconv.drivers.threads cimport Region, region_enter, region_leave, region_poll
from fastconv.drivers.threads import check, get_num_threads
from fastconv.drivers.tile cimport Arrays, Geometry, Outer, TileMap, lines

cnp.import_array()


cdef struct Call:
    Arrays arrays        # the gradient takes the place of the result
    char *dw
    ptrdiff_t channel_block, panel_block
    ptrdiff_t n_channel_blocks, n_panel_blocks
    ptrdiff_t sum_bytes  # of a panel of a block
    ptrdiff_t thread_bytes
    char *scratch


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *grad
    char *staged            # rows of a vector of channels of the gradient, on their way into lanes
    char *sums
    ptrdiff_t *row_offset   # of the rows of the gradient
    TileMap map
    Outer outer


# A block of the result, and the tile at hand.
cdef struct Block:
    ptrdiff_t g, c, panel, panels
    ptrdiff_t outer, y0, x0, rows, columns
    ptrdiff_t n


cdef class Driver(Geometry):
    cdef fc_gradient_kernels kernels
    cdef fc_winograd_kernels lanes_of  # between channels side by side and channels apart
    cdef bint dots, copies
    cdef ptrdiff_t panel, panels, grad_pitch
    cdef ptrdiff_t channel_block, panel_block
    cdef ptrdiff_t n_row_blocks, n_chunks
    cdef double work
    cdef const ptrdiff_t *tap_offsets
    cdef object keep_gradient

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernels = self.level.gradient[self.compute]
        self.lanes_of = self.level.winograd[self.compute]
        self.keep_gradient = plan.tap_offsets
        self.tap_offsets = <const ptrdiff_t *>cnp.PyArray_DATA(plan.tap_offsets)
        self.dots, self.copies = plan.dots, plan.out_copies
        self.panel = plan.panel
        self.panels = (self.channels_out + self.panel - 1) // self.panel
        self.channel_block, self.panel_block = plan.channel_block, plan.panel_block
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.grad_pitch = (self.tile_columns + self.lanes - 1) // self.lanes * self.lanes
        self.work = problem.flops / 2.0

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.block_bytes(self.channel_block, self.panel_block)

    @property
    def level_name(self):
        """The level whose kernels this driver calls."""
        return self.level.name.decode()

    cdef ptrdiff_t packed_bytes(self, ptrdiff_t channels) noexcept nogil:
        return lines(channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)

    cdef ptrdiff_t grad_bytes(self) noexcept nogil:
        if self.dots:
            return lines(self.tile_rows * self.grad_pitch * self.computed_bytes)
        return lines(self.tile_rows * self.tile_columns * self.panel * self.computed_bytes)

    cdef ptrdiff_t staged_bytes(self) noexcept nogil:
        if self.dots or self.copies:
            return 0
        return lines(self.tile_rows * self.tile_columns * self.lanes * self.computed_bytes)

    cdef ptrdiff_t sum_bytes(self, ptrdiff_t channels) noexcept nogil:
        """Of a panel: vectors of channels out, or one vector of positions of the one channel."""
        return channels * self.taps * (self.lanes if self.dots else self.panel) * self.computed_bytes

    cdef ptrdiff_t block_bytes(self, ptrdiff_t channels, ptrdiff_t panels) noexcept nogil:
        """Scratch memory for blocks of so many channels in and panels of channels out."""
        return (
            lines(sizeof(Scratch)) + self.packed_bytes(channels) + self.grad_bytes() + self.staged_bytes()
            + lines(panels * self.sum_bytes(channels)) + lines(self.tile_rows * sizeof(ptrdiff_t))
            + lines(self.map_bytes()) + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    def run(self, cnp.ndarray x, cnp.ndarray grad, cnp.ndarray out, threads=None):
        """Write the gradient to out, of shape (channels out, channels, *kernel).

        It is of the dtype of the arithmetic, contiguous, aligned, and shares memory with neither x nor grad, which have
        the problem's layout and any strides. There is at least one position to sum over.
        """
        cdef Call call
        cdef Region region
        cdef ptrdiff_t items
        check(threads)
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(grad)
        call.arrays.bias = NULL
        call.dw = cnp.PyArray_BYTES(out)
        self.make_blocks(&call, get_num_threads() if threads is None else threads)
        items = self.groups * call.n_channel_blocks * call.n_panel_blocks
        if items == 0:
            return
        region = region_enter(threads, self.work, items)
        try:
            call.scratch = <char *>scratch_take(region.threads * call.thread_bytes)
            if call.scratch == NULL:
                raise MemoryError("fastconv: no memory for the tiles")
            with nogil:
                self.loop(&call, &region, items)
            scratch_give(call.scratch)
        finally:
            region_leave(&region)

    cdef void make_blocks(self, Call *call, ptrdiff_t threads) noexcept:
        """Cut the result into the plan's blocks, or smaller ones where threads would have too few to share evenly."""
        cdef ptrdiff_t wanted = (2 * threads + self.groups - 1) // self.groups if threads > 1 else 1
        cdef ptrdiff_t blocks = (self.panels + self.panel_block - 1) // self.panel_block
        # Panels first: a block of fewer of them packs no more of the gradient.
        blocks = min(max(blocks, wanted), max(self.panels, 1))
        call.panel_block = (self.panels + blocks - 1) // blocks
        call.n_panel_blocks = (self.panels + call.panel_block - 1) // max(call.panel_block, 1)
        blocks = (self.channels + self.channel_block - 1) // self.channel_block
        if call.n_panel_blocks:
            wanted = (wanted + call.n_panel_blocks - 1) // call.n_panel_blocks
        blocks = min(max(blocks, wanted), self.channels)
        call.channel_block = (self.channels + blocks - 1) // blocks
        call.n_channel_blocks = (self.channels + call.channel_block - 1) // call.channel_block
        call.sum_bytes = self.sum_bytes(call.channel_block)
        call.thread_bytes = self.block_bytes(call.channel_block, call.panel_block)

    cdef void loop(self, Call *call, Region *region, ptrdiff_t items) noexcept nogil:
        cdef ptrdiff_t item
        cdef int t
        for t in range(region.threads):
            self.lay_out(call, t)
        if region.threads == 1:
            for item in range(items):
                self.item(call, region, 0, item)
            return
        for item in prange(items, num_threads=region.threads, schedule="dynamic", chunksize=1):
            t = threadid()
            self.item(call, region, t, item)

    cdef void lay_out(self, Call *call, int thread) noexcept nogil:
        """Divide a thread's memory."""
        cdef char *at = call.scratch + thread * call.thread_bytes
        cdef Scratch *scratch = <Scratch *>at
        cdef ptrdiff_t r
        at += lines(sizeof(Scratch))
        scratch.packed = at
        at += self.packed_bytes(call.channel_block)
        scratch.grad = at
        at += self.grad_bytes()
        scratch.staged = at
        at += self.staged_bytes()
        scratch.sums = at
        at += lines(call.panel_block * call.sum_bytes)
        scratch.row_offset = <ptrdiff_t *>at
        at += lines(self.tile_rows * sizeof(ptrdiff_t))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        for r in range(self.tile_rows):
            scratch.row_offset[r] = r * call.arrays.out.y

    cdef void item(self, Call *call, Region *region, int thread, ptrdiff_t item) noexcept nogil:
        """A block of the result."""
        cdef Scratch *scratch = <Scratch *>(call.scratch + thread * call.thread_bytes)
        cdef Block block
        cdef ptrdiff_t tile, rest
        block.panel = item % call.n_panel_blocks * call.panel_block
        block.panels = min(call.panel_block, self.panels - block.panel)
        rest = item // call.n_panel_blocks
        # The last block ends with the channels, and may share some with the one before.
        block.c = min(rest % call.n_channel_blocks * call.channel_block, self.channels - call.channel_block)
        block.g = rest // call.n_channel_blocks
        for tile in range(self.outer_outs * self.n_row_blocks * self.n_chunks):
            rest = tile // self.n_chunks
            block.x0 = tile % self.n_chunks * self.tile_columns
            block.columns = min(self.tile_columns, self.x.out - block.x0)
            block.y0 = rest % self.n_row_blocks * self.tile_rows
            block.rows = min(self.tile_rows, self.y.out - block.y0)
            block.outer = rest // self.n_row_blocks
            self.outer_start(&call.arrays, block.outer, &scratch.outer)
            self.start_tile(&call.arrays, block.y0, block.rows, block.x0, block.columns, &scratch.map)
            for block.n in range(self.batch):
                if region.stopped:
                    return
                self.tile(call, scratch, &block)
                if block.n == 0:
                    self.runs_only(&scratch.map)
                if thread == 0:
                    region_poll(region)
        self.store(call, scratch, &block, item // call.n_panel_blocks % call.n_channel_blocks * call.channel_block)

    cdef void tile(self, Call *call, Scratch *scratch, const Block *block) noexcept nogil:
        """Add what one tile of an image gives."""
        cdef const Arrays *arrays = &call.arrays
        cdef fc_gradient_tile tile
        cdef ptrdiff_t p
        self.pack_channels(
            arrays,
            arrays.x.data + block.n * arrays.x.batch + (block.g * self.channels + block.c) * arrays.x.channel,
            call.channel_block, &scratch.outer, &scratch.map, scratch.packed)
        tile.src, tile.channels, tile.channel_pitch = scratch.packed, call.channel_block, self.channel_pitch
        tile.taps, tile.n_taps, tile.src_pitch = self.tap_offsets, self.taps, self.pitch
        tile.grad, tile.height, tile.width = scratch.grad, block.rows, block.columns
        tile.grad_pitch = self.grad_pitch if self.dots else block.rows * block.columns * self.lanes
        tile.dst_pitch = call.channel_block * self.taps * self.lanes
        tile.accumulate = block.n > 0 or block.outer > 0 or block.y0 > 0 or block.x0 > 0
        for p in range(block.panels):
            tile.dst = scratch.sums + p * call.sum_bytes
            if self.dots:
                self.pack_rows(arrays, scratch, block, block.panel + p, scratch.grad, self.grad_pitch)
                self.kernels.dots(&tile)
            else:
                tile.vectors = self.pack_panel(arrays, scratch, block, (block.panel + p) * self.panel)
                self.kernels.products(&tile)

    cdef const char *grad_of(self, const Arrays *arrays, const Scratch *scratch, const Block *block,
                             ptrdiff_t channel) noexcept nogil:
        """The first gradient of a tile in a channel of the group."""
        return (arrays.out.data + block.n * arrays.out.batch
                + (block.g * self.channels_out + channel) * arrays.out.channel + scratch.outer.out_offset
                + block.y0 * arrays.out.y + block.x0 * arrays.out.x)

    cdef void pack_rows(self, const Arrays *arrays, const Scratch *scratch, const Block *block, ptrdiff_t channel,
                        char *dst, ptrdiff_t pitch) noexcept nogil:
        """The gradients of a tile in one channel of the group."""
        cdef fc_row_map map
        map.n = map.run_stop = block.columns
        map.run_start = map.run_index = map.runs_only = 0
        map.run_step, map.index, map.fill = 1, NULL, self.fill
        self.load_x(dst, pitch, self.grad_of(arrays, scratch, block, channel), scratch.row_offset, block.rows,
                    arrays.out.x, &map)

    cdef ptrdiff_t pack_panel(self, const Arrays *arrays, const Scratch *scratch, const Block *block,
                              ptrdiff_t first) noexcept nogil:
        """The gradients of a panel of channels, in lanes; returns the vectors that it takes."""
        cdef ptrdiff_t v, j, channels, n = min(self.panel, self.channels_out - first), positions
        cdef ptrdiff_t vectors = 1 if n <= self.lanes else self.level.gemm_vectors
        cdef char *dst
        positions = block.rows * block.columns
        for v in range(vectors):
            channels = max(min(self.lanes, n - v * self.lanes), 0)
            dst = scratch.grad + v * positions * self.lanes * self.computed_bytes
            if self.copies:
                self.gather_panel(arrays, block, self.grad_of(arrays, scratch, block, first + v * self.lanes),
                                  channels, dst)
                continue
            for j in range(channels):
                self.pack_rows(arrays, scratch, block, first + v * self.lanes + j,
                               scratch.staged + j * positions * self.computed_bytes, block.columns)
            self.lanes_of.gather(dst, scratch.staged, self.computed_bytes, positions * self.computed_bytes, channels,
                                 positions, positions)
        return vectors

    cdef void gather_panel(self, const Arrays *arrays, const Block *block, const char *grad, ptrdiff_t channels,
                           char *dst) noexcept nogil:
        """A vector of channels, from the gradient as it lies in memory."""
        cdef ptrdiff_t r
        # Whole rows that follow each other are one long row.
        if block.columns == self.x.out and arrays.out.y == self.x.out * arrays.out.x:
            self.lanes_of.gather(dst, grad, arrays.out.x, arrays.out.channel, channels, block.rows * block.columns,
                                 (self.y.out - block.y0) * self.x.out)
            return
        for r in range(block.rows):
            self.lanes_of.gather(dst + r * block.columns * self.lanes * self.computed_bytes, grad + r * arrays.out.y,
                                 arrays.out.x, arrays.out.channel, channels, block.columns, self.x.out - block.x0)

    cdef void store(self, const Call *call, const Scratch *scratch, const Block *block, ptrdiff_t c) noexcept nogil:
        """Write the sums of a block, from channel c on."""
        cdef ptrdiff_t item = self.computed_bytes, n = (block.c + call.channel_block - c) * self.taps
        cdef ptrdiff_t pitch = self.channels * self.taps * item, vector, p, v, o
        cdef const char *src
        cdef char *dst
        vector = call.channel_block * self.taps * self.lanes * item
        for p in range(block.panels):
            src = scratch.sums + p * call.sum_bytes + (c - block.c) * self.taps * self.lanes * item
            o = (block.panel + p) * self.panel
            dst = call.dw + (block.g * self.channels_out + o) * pitch + c * self.taps * item
            if self.dots:
                self.kernels.totals(dst, src, n)
                continue
            for v in range(min(self.level.gemm_vectors, (self.channels_out - o + self.lanes - 1) // self.lanes)):
                self.lanes_of.scatter(dst + v * self.lanes * pitch, item, pitch, src + v * vector,
                                      min(self.lanes, self.channels_out - o - v * self.lanes), n, n)
