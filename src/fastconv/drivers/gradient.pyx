# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Gradients with respect to weights: float32 and float64, and what is computed in them.

    dw[o][c, tap]  =  sum over images and positions of  x[c][position under tap] * grad[o][position]

The input is packed as for every algorithm, see `tile.pyx`; under one tap, the positions of a tile are neighbours in it.
The gradient of the result is packed beside it, a panel of its channels at a time::

    many channels out   [vector][position][lanes]     channels in the lanes
    few                 [row][column], one channel    positions in the lanes

A work item is a block of the result, some channels in by some panels of channels out of a group, and takes all tiles of
all images one after the other. So the order of a sum is that of the tiles, whoever computes it and in which blocks. Of
a tile, all panels are packed first, then a few channels in at a time, which meet every panel while they are in L1.
"""

cimport numpy as cnp

from fastconv.drivers.kernels cimport (
    FC_ZERO_ROW, fc_gradient_kernels, fc_gradient_tile, fc_row_map, fc_winograd_kernels)
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.threads import check, get_num_threads
from fastconv.drivers.tile cimport LINE, Arrays, Geometry, Outer, TileMap, lines

cnp.import_array()


cdef struct Call:
    Arrays arrays        # the gradient takes the place of the result
    char *dw
    ptrdiff_t channel_block, panel_block
    ptrdiff_t n_channel_blocks, n_panel_blocks
    bint in_place        # kernels read rows of the gradient where they are
    ptrdiff_t sum_pitch  # of a block, from one vector to the next, in elements
    ptrdiff_t sum_bytes  # of a panel of a block
    ptrdiff_t thread_bytes


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *grad              # of all panels of a block
    char *staged            # rows of a vector of channels of the gradient, on their way into lanes
    char *sums
    ptrdiff_t *row_offset   # of the rows of the gradient
    const void **ahead      # lines of the samples that are packed next
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
    cdef ptrdiff_t panel, panels, vectors, grad_pitch
    cdef ptrdiff_t channel_block, panel_block, pack_block
    cdef ptrdiff_t n_row_blocks, n_chunks, most_ahead
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
        self.vectors = (self.panel + self.lanes - 1) // self.lanes
        self.panels = (self.channels_out + self.panel - 1) // self.panel
        self.channel_block, self.panel_block, self.pack_block = plan.channel_block, plan.panel_block, plan.pack_block
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.grad_pitch = (self.tile_columns + self.lanes - 1) // self.lanes * self.lanes
        self.work = problem.flops / 2.0
        self.most_ahead = plan.most_ahead

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.block_bytes(self.channel_block, self.panel_block)

    cdef ptrdiff_t packed_bytes(self) noexcept nogil:
        return lines(self.pack_block * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)

    cdef ptrdiff_t grad_bytes(self) noexcept nogil:
        """Of a panel."""
        if self.dots:
            return lines(self.tile_rows * self.grad_pitch * self.computed_bytes)
        return lines(self.tile_rows * self.tile_columns * self.panel * self.computed_bytes)

    cdef ptrdiff_t staged_bytes(self) noexcept nogil:
        if self.dots or self.copies:
            return 0
        return lines(self.tile_rows * self.tile_columns * self.lanes * self.computed_bytes)

    cdef ptrdiff_t sum_pitch(self, ptrdiff_t channels) noexcept nogil:
        """From one vector of sums to the next, in elements: an odd number of vectors, which spread over a cache."""
        return (channels * self.taps | 1) * self.lanes

    cdef ptrdiff_t sum_bytes(self, ptrdiff_t channels) noexcept nogil:
        """Of a panel: vectors of channels out, or one vector of positions of the one channel."""
        return self.sum_pitch(channels) * self.vectors * self.computed_bytes

    cdef ptrdiff_t block_bytes(self, ptrdiff_t channels, ptrdiff_t panels) noexcept nogil:
        """Scratch memory for blocks of so many channels in and panels of channels out."""
        return (
            lines(sizeof(Scratch)) + self.packed_bytes() + panels * self.grad_bytes() + self.staged_bytes()
            + lines(panels * self.sum_bytes(channels)) + lines(self.tile_rows * sizeof(ptrdiff_t))
            + lines(self.most_ahead * sizeof(void *))
            + lines(self.map_bytes()) + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    def run(self, cnp.ndarray x, cnp.ndarray grad, cnp.ndarray out, threads=None):
        """Write the gradient to out, of shape (channels out, channels, *kernel).

        It is of the dtype of the arithmetic, contiguous, aligned, and shares memory with neither x nor grad, which have
        the problem's layout and any strides. There is at least one position to sum over.
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items
        check(threads)
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(grad)
        call.arrays.bias = NULL
        call.dw = cnp.PyArray_BYTES(out)
        call.in_place = self.dots and self.copies and call.arrays.out.x == self.computed_bytes and cnp.PyArray_ISALIGNED(
            grad)
        self.make_blocks(&call, get_num_threads() if threads is None else threads)
        items = self.groups * call.n_channel_blocks * call.n_panel_blocks
        if items == 0:
            return
        task = Task(self.work, items, 1, False, 0, call.thread_bytes)
        self.run_items(&call, threads, &task)

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
        call.sum_pitch = self.sum_pitch(call.channel_block)
        call.sum_bytes = self.sum_bytes(call.channel_block)
        call.thread_bytes = self.block_bytes(call.channel_block, call.panel_block)

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef ptrdiff_t item
        for item in range(start, stop):
            self.item(call, region, thread, <Scratch *>memory, item)

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory."""
        cdef Call *call = <Call *>of
        cdef char *at = memory
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t r
        at += lines(sizeof(Scratch))
        scratch.packed = at
        at += self.packed_bytes()
        scratch.grad = at
        at += call.panel_block * self.grad_bytes()
        scratch.staged = at
        at += self.staged_bytes()
        scratch.sums = at
        at += lines(call.panel_block * call.sum_bytes)
        scratch.row_offset = <ptrdiff_t *>at
        at += lines(self.tile_rows * sizeof(ptrdiff_t))
        scratch.ahead = <const void **>at
        at += lines(self.most_ahead * sizeof(void *))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        for r in range(self.tile_rows):
            scratch.row_offset[r] = r * call.arrays.out.y

    cdef void item(self, Call *call, Region *region, int thread, Scratch *scratch, ptrdiff_t item) noexcept nogil:
        """A block of the result."""
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
                if thread == 0:
                    region_poll(region)
        self.store(call, scratch, &block, item // call.n_panel_blocks % call.n_channel_blocks * call.channel_block)

    cdef void tile(self, Call *call, Scratch *scratch, const Block *block) noexcept nogil:
        """Add what one tile of an image gives."""
        cdef const Arrays *arrays = &call.arrays
        cdef fc_gradient_tile tile
        cdef ptrdiff_t p, c, i, ahead
        cdef bint in_place = call.in_place and block.columns >= self.lanes
        for p in range(0 if in_place else block.panels):
            self.pack_grad(arrays, scratch, block, block.panel + p, scratch.grad + p * self.grad_bytes())
        tile.src, tile.channel_pitch, tile.src_pitch = scratch.packed, self.channel_pitch, self.pitch
        tile.taps, tile.n_taps = self.tap_offsets, self.taps
        tile.height, tile.width = block.rows, block.columns
        tile.grad_pitch = self.grad_pitch if self.dots else block.rows * block.columns * self.lanes
        if in_place:
            tile.grad_pitch = arrays.out.y // self.computed_bytes
        tile.dst_pitch = call.sum_pitch
        tile.accumulate = block.n > 0 or block.outer > 0 or block.y0 > 0 or block.x0 > 0
        for i in range((call.channel_block + self.pack_block - 1) // self.pack_block):
            c = i * self.pack_block
            tile.channels = min(self.pack_block, call.channel_block - c)
            self.pack_channels(arrays, self.samples_of(arrays, block, block.n, c), tile.channels,
                               block.g * self.channels + block.c + c, &scratch.outer, &scratch.map, scratch.packed)
            # The next channels have their samples in the same places.
            self.runs_only(&scratch.map)
            if c + self.pack_block < call.channel_block:
                ahead = self.look_ahead(arrays, scratch, self.samples_of(arrays, block, block.n, c + self.pack_block),
                                        min(self.pack_block, call.channel_block - c - self.pack_block))
            elif block.n + 1 < self.batch:
                ahead = self.look_ahead(arrays, scratch, self.samples_of(arrays, block, block.n + 1, 0),
                                        min(self.pack_block, call.channel_block))
            else:
                ahead = 0
            for p in range(block.panels):
                if in_place:
                    tile.grad = self.grad_of(arrays, scratch, block, block.panel + p)
                else:
                    tile.grad = scratch.grad + p * self.grad_bytes()
                tile.dst = scratch.sums + p * call.sum_bytes + c * self.taps * self.lanes * self.computed_bytes
                tile.ahead = scratch.ahead + p * ahead // block.panels
                tile.n_ahead = (p + 1) * ahead // block.panels - p * ahead // block.panels
                if self.dots:
                    self.kernels.dots(&tile)
                else:
                    tile.vectors = self.vectors_of(block.panel + p)
                    self.kernels.products(&tile)

    cdef const char *samples_of(self, const Arrays *arrays, const Block *block, ptrdiff_t n, ptrdiff_t c) noexcept nogil:
        """The first sample of a channel of the block, in an image."""
        return arrays.x.data + n * arrays.x.batch + (block.g * self.channels + block.c + c) * arrays.x.channel

    cdef ptrdiff_t look_ahead(self, const Arrays *arrays, const Scratch *scratch, const char *x,
                              ptrdiff_t channels) noexcept nogil:
        """List the lines of the samples of some channels, where rows are contiguous; returns how many these are."""
        cdef const fc_row_map *map = &scratch.map.columns[0]
        cdef ptrdiff_t n = 0, c, i, j, rows = 0
        cdef ptrdiff_t step = map.run_step * arrays.x.x, count = ((map.run_stop - map.run_start) * step + LINE - 1) // LINE
        cdef const char *row
        if arrays.x.x != self.stored_bytes or scratch.outer.taps[0] != 0:
            return 0
        for i in range(self.n_row_segments):
            rows += scratch.map.rows + self.row_count[i] - 1
        for c in range(channels):
            for i in range(rows):
                if scratch.map.row_offset[i] <= FC_ZERO_ROW or n + count > self.most_ahead:
                    continue
                row = x + c * arrays.x.channel + scratch.outer.taps[1] + scratch.map.row_offset[i]
                row += map.run_index * arrays.x.x
                for j in range(count):
                    scratch.ahead[n + j] = row + j * LINE
                n += count
        return n

    cdef ptrdiff_t vectors_of(self, ptrdiff_t panel) noexcept nogil:
        """Vectors of channels out in a panel."""
        return (min(self.panel, self.channels_out - panel * self.panel) + self.lanes - 1) // self.lanes

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

    cdef void pack_grad(self, const Arrays *arrays, const Scratch *scratch, const Block *block, ptrdiff_t panel,
                        char *dst) noexcept nogil:
        """The gradients of a panel."""
        cdef ptrdiff_t v, j, first, channels, positions = block.rows * block.columns
        if self.dots:
            self.pack_rows(arrays, scratch, block, panel, dst, self.grad_pitch)
            return
        for v in range(self.vectors_of(panel)):
            first = panel * self.panel + v * self.lanes
            channels = min(self.lanes, self.channels_out - first)
            if self.copies:
                self.gather(arrays, block, self.grad_of(arrays, scratch, block, first), channels, dst)
            else:
                for j in range(channels):
                    self.pack_rows(arrays, scratch, block, first + j,
                                   scratch.staged + j * positions * self.computed_bytes, block.columns)
                self.lanes_of.gather(dst, scratch.staged, self.computed_bytes, positions * self.computed_bytes,
                                     channels, positions, positions)
            dst += positions * self.lanes * self.computed_bytes

    cdef void gather(self, const Arrays *arrays, const Block *block, const char *grad, ptrdiff_t channels,
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
        vector = call.sum_pitch * item
        for p in range(block.panels):
            src = scratch.sums + p * call.sum_bytes + (c - block.c) * self.taps * self.lanes * item
            o = (block.panel + p) * self.panel
            dst = call.dw + (block.g * self.channels_out + o) * pitch + c * self.taps * item
            if self.dots:
                self.kernels.totals(dst, src, n)
                continue
            for v in range(self.vectors_of(block.panel + p)):
                self.lanes_of.scatter(dst + v * self.lanes * pitch, item, pitch, src + v * vector,
                                      min(self.lanes, self.channels_out - o - v * self.lanes), n, n)
