# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Winograd's minimal filtering: many channels, stride 1 in the plane, real floating dtypes.

The transforms are those of kernels of 3 x 3. Any other is cut into squares of 3 x 3 taps, the last ones with zeros where
it ends, and every square sees the samples as many rows and columns further on. A kernel may have outer axes too: every
outer position of the result is an image of its own, which some planes of the input meet. So a kernel has pieces, and
their samples are channels, [outer tap][square][channel], each piece's rounded up to whole vectors::

    5 x 5     a a a b b .     3 x 3 x 3     a | b | c     one piece for each of three planes
              a a a b b .
              a a a b b .
              c c c d d .
              c c c d d .
              . . . . . .

A block is a few rows of tiles, of one image or of several; its samples become values at frequencies once, and serve
one block of output channels after the other::

    samples, a vector of channels at a time  ->  values [frequency][channels][tile]
    values x weights [frequency]             ->  sums   [channels out][tile][frequency]
    sums  ->  results, a row of tiles at a time  ->  the array

What follows the sums is done on the results, [pixel][lanes], before they are stored.

Where the transformed weights fit the cache they are given by the plan, or made by each thread once. Where they do not,
a panel of some channels is transformed for each block, which takes less time than to fetch it; a plan then holds the
weights side by side, ready to be transformed.

A transform mixes the samples of a tile, so one that is not finite would spoil the whole tile. Such tiles show in their
results, and are computed again by the kernels of the implicit GEMM before they are stored.

Complex arrays are taken as real ones of twice the channels, see planners/parts.py. A vector of channels is then one of
half as many pairs, which move between an array and the vectors as elements of twice the size.
"""

cimport numpy as cnp
import numpy as np
from libc.string cimport memcpy, memset

from fastconv.drivers.kernels cimport (
    FC_FILL_ROW, FC_ZERO, FC_ZERO_ROW, fc_epilogue_tile, fc_gather_lanes, fc_gemm, fc_gemm_tile, fc_load_rows,
    fc_pack_panel, fc_product, fc_row_map, fc_scatter_lanes, fc_winograd, fc_winograd_kernels)
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport Arrays, Geometry, Outer, TileMap, View, channels_near, lines, run_of

cnp.import_array()

cdef enum:
    SIDE = 3    # of a square of taps
    SQUARE = 9
    COPY8 = 2  # fc_storage
    COPY16 = 3


# The parts of a thread's scratch memory, as `Scratch` has them.
cdef enum:
    SAMPLES, VALUES, WEIGHTS, TAPS, SUMS, RESULTS, BIAS, READY, PATCH, PATCH_WEIGHTS, OFFSETS, OUTSIDE, NO_LANES, AGAIN
    STAGE, RESIDUAL, SCALE, LATE_BIAS, PIXELS, CHANNELS, OUTER, PARTS


cdef struct Call:
    Arrays arrays
    bint w_plain         # the weights of an output channel are contiguous, in natural order
    const char *panels   # all weights as pack_all made them, or NULL


# Rows of tiles of one image within a block.
cdef struct Segment:
    ptrdiff_t n, outer    # batch index and outer position of the image
    ptrdiff_t y0          # first row of results
    ptrdiff_t tile_rows
    ptrdiff_t first       # number of its first tile within the block


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *samples
    char *values
    char *weights
    char *taps           # weights on their way to being transformed
    char *sums
    char *results
    char *bias
    char *ready          # one a panel: its weights are transformed
    char *patch          # samples of a tile that is computed again
    char *patch_weights
    char *again          # results of one tile, or of a row of it for a whole panel
    char *stage          # a vector of channels, one behind the other, on their way to lanes or from lanes
    char *residual       # [pixel][lanes]
    char *scale          # of a group, as is the bias
    char *late_bias
    ptrdiff_t *pixels    # offsets of the pixels of a row
    ptrdiff_t *channels  # and of a vector of channels
    ptrdiff_t *offsets   # of the pixels of a row that lie outside the input
    ptrdiff_t *outside   # as many FC_FILL_ROW
    ptrdiff_t *no_lanes  # FC_ZERO for every lane
    TileMap map
    TileMap patch_map
    Outer outer          # of the segment at hand
    # What is held: values of a block of a group, weights of a group, weights of a panel for tiles computed again.
    ptrdiff_t values_key, weights_group, patch_key


cdef class Driver(Geometry):
    cdef fc_winograd_kernels kernels
    cdef fc_gemm *gemm
    cdef fc_pack_panel *pack_panel
    # What moves channels between an array and a vector, `parts` lanes each; NULL where no kernel has such elements.
    cdef fc_gather_lanes *gather_lanes
    cdef fc_scatter_lanes *scatter_lanes
    cdef fc_load_rows *load_channels
    cdef ptrdiff_t parts
    cdef ptrdiff_t outputs, side, frequencies
    cdef ptrdiff_t images, tiles_y, tiles_x               # of the batch and of its outer positions; of an image
    cdef ptrdiff_t squares_x, squares, pieces             # along x, of a plane of the kernel, of all of it
    cdef ptrdiff_t piece_channels, depth                  # channels of a piece, and of all
    cdef ptrdiff_t block_rows, block_columns, strip       # tiles of a block, and of a step along its rows
    cdef ptrdiff_t n_row_blocks, n_chunks                 # blocks of a group
    cdef ptrdiff_t panel, panels, out_block, n_out_blocks
    cdef ptrdiff_t fold, weight_channels, taps_channels
    cdef bint keeps_weights, planned
    # Pitches, in elements.
    cdef ptrdiff_t sample_pitch, value_block, value_pitch, sum_tile, sum_vector, result_pitch, stage_pitch
    cdef ptrdiff_t sizes[PARTS]
    cdef ptrdiff_t own_bytes
    cdef ptrdiff_t weight_bytes, taps_bytes, planned_bytes  # of a panel
    cdef double work
    cdef const void *numbers
    cdef const ptrdiff_t *tap_offsets
    # The rows of a panel that the taps of a channel go to: all of them in their order, 0, 1, 2 ...; and those of a plane
    # for each square, -1 where a tap is not of it.
    cdef const ptrdiff_t *natural_order
    cdef const ptrdiff_t *square_rows
    cdef object keep_winograd

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.find_kernels(problem, plan)
        self.find_tiles(plan)
        self.find_pieces(plan)
        self.find_pitches()
        self.find_memory(problem)
        # Multiply-adds that pay for threads: about half of what the direct method would do.
        self.work = problem.flops / 4.0

    cdef find_kernels(self, problem, plan):
        natural_order = np.arange(self.taps, dtype=np.intp)
        self.keep_winograd = (plan.numbers, plan.tap_offsets, natural_order, plan.square_rows)
        self.numbers = cnp.PyArray_DATA(plan.numbers)
        self.tap_offsets = <const ptrdiff_t *>cnp.PyArray_DATA(plan.tap_offsets)
        self.natural_order = <const ptrdiff_t *>cnp.PyArray_DATA(natural_order)
        self.square_rows = <const ptrdiff_t *>cnp.PyArray_DATA(plan.square_rows)
        self.kernels = self.level.winograd[self.compute]
        self.gemm = self.level.gemm[self.compute]
        self.pack_panel = self.level.pack_panel[self.compute]
        self.gather_lanes, self.scatter_lanes = self.kernels.gather, self.kernels.scatter
        self.load_channels, self.parts = self.load_rows, 1
        if problem.paired:
            self.parts = 2
            self.load_channels = self.level.load_rows[<int>COPY8 if self.computed_bytes == 4 else <int>COPY16]
            self.gather_lanes = self.level.winograd[1].gather if self.computed_bytes == 4 else NULL
            self.scatter_lanes = self.level.winograd[1].scatter if self.computed_bytes == 4 else NULL

    cdef find_tiles(self, plan):
        self.outputs = plan.outputs
        self.side = self.outputs + 2
        self.frequencies = self.side * self.side
        self.images = self.batch * self.outer_outs
        self.tiles_y = (self.y.out + self.outputs - 1) // self.outputs
        self.tiles_x = (self.x.out + self.outputs - 1) // self.outputs
        self.block_rows, self.block_columns = plan.block_rows, plan.block_columns
        self.strip = plan.strip
        self.n_row_blocks = plan.row_blocks
        self.n_chunks = (self.tiles_x + self.block_columns - 1) // self.block_columns
        self.panel = self.level.gemm_vectors * self.lanes
        self.panels = (self.channels_out + self.panel - 1) // self.panel
        self.out_block = plan.out_block
        self.n_out_blocks = (self.panels + self.out_block - 1) // self.out_block

    cdef find_pieces(self, plan):
        self.fold, self.weight_channels = plan.fold, plan.weight_channels
        self.keeps_weights, self.planned = plan.keeps_weights, plan.planned
        self.squares_x = (self.kernel_x + SIDE - 1) // SIDE
        self.squares = (self.kernel_y + SIDE - 1) // SIDE * self.squares_x
        self.pieces = self.outer_taps * self.squares
        self.piece_channels, self.depth = plan.piece_channels, plan.piece_channels * self.pieces
        self.taps_channels = min(self.lanes, self.piece_channels)
        self.weight_bytes = self.frequencies * self.weight_pitch(self.depth) * self.computed_bytes
        self.taps_bytes = SQUARE * self.depth * self.panel * self.computed_bytes
        self.planned_bytes = self.weight_bytes if self.keeps_weights else self.taps_bytes

    cdef find_pitches(self):
        # Those of an odd number of lines make columns of frequencies spread over the sets of a cache.
        self.sample_pitch = (self.strip * self.outputs + 2) * self.lanes
        self.value_block = self.block_tiles() * self.lanes
        self.value_pitch = self.odd((self.depth + self.lanes - 1) // self.lanes * self.block_tiles()) * self.lanes
        self.sum_tile = self.odd(self.frequencies) * self.lanes
        self.sum_vector = self.block_tiles() * self.sum_tile
        self.result_pitch = self.strip * self.outputs * self.lanes
        self.stage_pitch = (self.strip * self.outputs + 2 + self.lanes - 1) // self.lanes * self.lanes

    cdef find_memory(self, problem):
        cdef ptrdiff_t item = self.computed_bytes, columns = self.block_samples(), i
        cdef ptrdiff_t row = self.panels * self.panel * item, vectors = self.lanes * self.stage_pitch * item
        converts = self.stored_bytes != item or self.casts or problem.has_residual
        memset(self.sizes, 0, sizeof(self.sizes))
        self.sizes[SAMPLES] = self.side * self.sample_pitch * item
        self.sizes[VALUES] = self.frequencies * self.value_pitch * item
        if not self.keeps_weights:
            self.sizes[WEIGHTS] = self.out_block * self.frequencies * self.weight_pitch(self.weight_channels) * item
        elif not self.planned:
            self.sizes[WEIGHTS] = self.panels * self.weight_bytes
        self.sizes[TAPS] = SQUARE * self.taps_channels * self.panel * item
        self.sizes[SUMS] = self.out_block * self.level.gemm_vectors * self.sum_vector * item
        self.sizes[RESULTS] = (self.outputs * self.result_pitch + self.lanes * self.lanes) * item
        self.sizes[BIAS] = row
        self.sizes[READY] = self.panels
        self.sizes[PATCH] = self.channels * self.channel_pitch * item + self.level.vector_bytes
        self.sizes[PATCH_WEIGHTS] = self.taps * self.channels * self.panel * item
        self.sizes[OFFSETS] = self.sizes[OUTSIDE] = columns * sizeof(ptrdiff_t)
        self.sizes[NO_LANES] = self.lanes * sizeof(ptrdiff_t)
        self.sizes[AGAIN] = self.outputs * max(self.outputs * self.lanes, self.panel) * item
        if converts:
            self.sizes[STAGE] = vectors
            self.sizes[PIXELS] = self.stage_pitch * sizeof(ptrdiff_t)
            self.sizes[CHANNELS] = self.lanes * sizeof(ptrdiff_t)
        if problem.has_residual:
            self.sizes[RESIDUAL] = vectors
        if self.has_scale:
            self.sizes[SCALE] = self.sizes[LATE_BIAS] = row
        self.sizes[OUTER] = 2 * self.outer_taps * sizeof(ptrdiff_t)
        self.own_bytes = lines(sizeof(Scratch)) + 2 * lines(self.map_bytes())
        for i in range(PARTS):
            self.own_bytes += lines(self.sizes[i])

    cdef ptrdiff_t block_tiles(self) noexcept nogil:
        return self.block_rows * self.block_columns

    cdef ptrdiff_t block_samples(self) noexcept nogil:
        """Columns of samples that a block reads."""
        return self.block_columns * self.outputs + SIDE * self.squares_x - 1

    cdef bint is_square(self) noexcept nogil:
        return self.taps == SQUARE and self.pieces == 1

    cdef ptrdiff_t odd(self, ptrdiff_t vectors) noexcept nogil:
        return vectors | 1

    cdef ptrdiff_t weight_pitch(self, ptrdiff_t channels) noexcept nogil:
        """From one frequency of a panel of weights to the next, in elements."""
        return channels * self.panel + self.lanes

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.own_bytes

    @property
    def packed_bytes(self):
        """Bytes of what `pack_all` returns."""
        return self.groups * self.panels * self.planned_bytes

    @property
    def panel_format(self):
        """Equal for drivers of a plan that can use each other's packed weights; GEMM has the same panels of a square."""
        if self.keeps_weights:
            return f"F({self.outputs}, 3)"
        return "panels" if self.is_square() else "pieces"

    @property
    def fuses_epilogue(self):
        """Whether `run` finishes what it stores."""
        return True

    def pack_all(self, cnp.ndarray w):
        """Return all weights in panels, transformed where that pays, to be handed to `run` as often as they are used."""
        cdef Call call
        cdef ptrdiff_t g, p
        cdef char *panel
        call.arrays.w = self.bind_weights(w)
        call.w_plain = self.weights_plain(&call.arrays)
        call.panels = NULL
        cdef cnp.ndarray aligned = aligned_bytes(self.packed_bytes)
        cdef cnp.ndarray taps = aligned_bytes(self.sizes[<int>TAPS])
        for g in range(self.groups):
            for p in range(self.panels):
                panel = cnp.PyArray_BYTES(aligned) + (g * self.panels + p) * self.planned_bytes
                if self.keeps_weights:
                    self.transform_weights(&call, cnp.PyArray_BYTES(taps), g, p, 0, self.depth, panel)
                else:
                    self.pack_weights(&call, g, p, 0, self.depth, panel)
        return aligned

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None, cnp.ndarray scale=None, cnp.ndarray residual=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned.

        The residual may be out.
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items = self.groups * self.n_row_blocks * self.n_chunks * self.n_out_blocks
        if items == 0 or self.images * self.tiles_y == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        call.arrays.w = self.bind_weights(w)
        self.bind_epilogue(&call.arrays, bias, scale, residual)
        call.w_plain = self.weights_plain(&call.arrays)
        if self.planned and panels is None:
            panels = self.pack_all(w)
        call.panels = cnp.PyArray_BYTES(panels) if panels is not None else NULL
        # The items of a block share its values.
        task = Task(self.work, items, self.n_out_blocks, True, 0, self.own_bytes)
        self.run_items(&call, threads, &task)

    cdef bint weights_plain(self, const Arrays *arrays) noexcept nogil:
        cdef ptrdiff_t item = self.stored_bytes
        if not self.is_square():
            return Geometry.weights_plain(self, arrays)
        if <size_t>arrays.w.data % <size_t>item or arrays.w.batch % item:
            return False
        return (arrays.w.x == item and arrays.w.y == 3 * item
                and (arrays.w.channel == SQUARE * item or self.channels == 1))

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory; what is made in it then lasts from item to item."""
        cdef char *at = memory
        cdef Scratch *scratch = <Scratch *>memory
        cdef char *parts[PARTS]
        cdef ptrdiff_t i
        at += lines(sizeof(Scratch))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        self.lay_out_map(at, &scratch.patch_map)
        at += lines(self.map_bytes())
        for i in range(PARTS):
            parts[i] = at
            at += lines(self.sizes[i])
        scratch.samples, scratch.values, scratch.weights = parts[SAMPLES], parts[VALUES], parts[WEIGHTS]
        scratch.taps, scratch.sums, scratch.results = parts[TAPS], parts[SUMS], parts[RESULTS]
        scratch.bias, scratch.ready = parts[BIAS], parts[READY]
        scratch.patch, scratch.patch_weights = parts[PATCH], parts[PATCH_WEIGHTS]
        scratch.again, scratch.stage, scratch.residual = parts[AGAIN], parts[STAGE], parts[RESIDUAL]
        scratch.scale, scratch.late_bias = parts[SCALE], parts[LATE_BIAS]
        scratch.pixels, scratch.channels = <ptrdiff_t *>parts[PIXELS], <ptrdiff_t *>parts[CHANNELS]
        scratch.offsets, scratch.outside = <ptrdiff_t *>parts[OFFSETS], <ptrdiff_t *>parts[OUTSIDE]
        scratch.no_lanes = <ptrdiff_t *>parts[NO_LANES]
        scratch.outer.taps = <ptrdiff_t *>parts[OUTER]
        for i in range(self.block_samples()):
            scratch.outside[i] = FC_FILL_ROW
        for i in range(self.lanes):
            scratch.no_lanes[i] = FC_ZERO
        scratch.values_key = scratch.weights_group = scratch.patch_key = -1

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t item, block, g
        for item in range(start, stop):
            if region.stopped:
                return
            block = item // self.n_out_blocks
            g = block // (self.n_row_blocks * self.n_chunks)
            if scratch.values_key != block:
                scratch.values_key = block
                self.make_values(call, scratch, g, block % (self.n_row_blocks * self.n_chunks))
            if scratch.weights_group != g:
                scratch.weights_group = g
                memset(scratch.ready, 0, self.panels)
                self.group_row(scratch.bias, call.arrays.bias, g)
                if self.has_scale:
                    self.group_row(scratch.scale, call.arrays.scale, g)
                    self.group_row(scratch.late_bias, call.arrays.late_bias, g)
            self.make_results(call, scratch, g, block % (self.n_row_blocks * self.n_chunks),
                              item % self.n_out_blocks * self.out_block)
            if thread == 0:
                region_poll(region)

    cdef void group_row(self, char *dst, const char *src, ptrdiff_t g) noexcept nogil:
        """A number for each output channel of a group, and zeros behind them."""
        memset(dst, 0, self.panels * self.panel * self.computed_bytes)
        if src != NULL:
            memcpy(dst, src + g * self.channels_out * self.computed_bytes, self.channels_out * self.computed_bytes)

    # --- blocks ------------------------------------------------------------------------------------------------------

    cdef ptrdiff_t columns_of(self, ptrdiff_t block) noexcept nogil:
        """Tiles in a row of a block."""
        return min(self.block_columns, self.tiles_x - block % self.n_chunks * self.block_columns)

    cdef ptrdiff_t first_row(self, ptrdiff_t row_block) noexcept nogil:
        """The first row of tiles of a block, counted over all images; blocks are as equal as can be."""
        return row_block * self.images * self.tiles_y // self.n_row_blocks

    cdef bint next_segment(self, ptrdiff_t block, Segment *segment, bint start) noexcept nogil:
        """Step to the first or the next image of a block; False behind the last."""
        cdef ptrdiff_t first = self.first_row(block // self.n_chunks), last = self.first_row(block // self.n_chunks + 1)
        cdef ptrdiff_t columns = self.columns_of(block), row
        if start:
            segment.first = segment.tile_rows = 0
        segment.first += segment.tile_rows * columns
        row = first + segment.first // columns
        if row >= last:
            return False
        segment.n = row // self.tiles_y // self.outer_outs
        segment.outer = row // self.tiles_y % self.outer_outs
        segment.y0 = row % self.tiles_y * self.outputs
        segment.tile_rows = min(self.tiles_y - row % self.tiles_y, last - row)
        return True

    # --- samples to values at frequencies ----------------------------------------------------------------------------

    cdef void make_values(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t block) noexcept nogil:
        cdef const Arrays *arrays = &call.arrays
        cdef Segment segment
        cdef ptrdiff_t i, t, columns = self.columns_of(block)
        cdef ptrdiff_t x0 = block % self.n_chunks * self.block_columns * self.outputs
        cdef bint start = True
        while self.next_segment(block, &segment, start):
            start = False
            self.outer_start(arrays, segment.outer, &scratch.outer)
            self.start_tile(arrays, segment.y0, segment.tile_rows * self.outputs, x0, columns * self.outputs,
                            &scratch.map)
            self.find_outside(arrays, scratch)
            for i in range(segment.tile_rows):
                for t in range((columns + self.strip - 1) // self.strip):
                    self.strip_values(arrays, scratch, g, &segment, i, t * self.strip, columns)

    cdef void strip_values(self, const Arrays *arrays, Scratch *scratch, ptrdiff_t g, const Segment *segment,
                           ptrdiff_t i, ptrdiff_t first, ptrdiff_t columns) noexcept nogil:
        """A part of a row of tiles."""
        cdef fc_winograd step
        cdef ptrdiff_t v, c, piece, tap, square, item = self.computed_bytes
        cdef const char *x = self.group_of(arrays, segment, g)
        step.outputs, step.numbers, step.n = self.outputs, self.numbers, min(self.strip, columns - first)
        step.src, step.src_pitch, step.dst_pitch = scratch.samples, self.sample_pitch, self.value_pitch
        for v in range((self.depth + self.lanes - 1) // self.lanes):
            piece, c = v * self.lanes // self.piece_channels, v * self.lanes % self.piece_channels
            tap, square = piece // self.squares, piece % self.squares
            if scratch.outer.taps[2 * tap] != 0:
                self.gather_fill(arrays, scratch, step.n * self.outputs + 2)
            else:
                self.gather(arrays, scratch, x + scratch.outer.taps[2 * tap + 1] + c // self.parts * arrays.x.channel,
                            min(self.lanes, self.channels - c) // self.parts,
                            i * self.outputs + square // self.squares_x * SIDE,
                            first * self.outputs + square % self.squares_x * SIDE, step.n * self.outputs + 2, c == 0)
            step.dst = scratch.values + (
                v * self.value_block + (segment.first + i * columns + first) * self.lanes) * item
            self.kernels.input(&step)

    cdef const char *group_of(self, const Arrays *arrays, const Segment *segment, ptrdiff_t g) noexcept nogil:
        return (arrays.x.data + segment.n * arrays.x.batch
                + g * (self.channels // self.parts) * arrays.x.channel)

    cdef void find_outside(self, const Arrays *arrays, Scratch *scratch) noexcept nogil:
        """Where the columns outside the input come from."""
        cdef const fc_row_map *map = &scratch.map.columns[0]
        cdef ptrdiff_t i
        for i in range(map.n):
            if i < map.run_start or i >= map.run_stop:
                scratch.offsets[i] = map.index[i] * arrays.x.x if map.index[i] >= 0 else FC_FILL_ROW

    cdef void gather_fill(self, const Arrays *arrays, const Scratch *scratch, ptrdiff_t width) noexcept nogil:
        """A vector of channels of samples in a plane outside the input."""
        cdef fc_row_map lanes
        cdef ptrdiff_t r
        run_of(&lanes, self.lanes // self.parts, self.fill)
        lanes.runs_only = 0
        for r in range(self.side):
            self.load_channels(scratch.samples + r * self.sample_pitch * self.computed_bytes, lanes.n, NULL,
                               scratch.outside, width, arrays.x.channel, &lanes)

    cdef void gather(self, const Arrays *arrays, const Scratch *scratch, const char *x, ptrdiff_t channels,
                     ptrdiff_t y0, ptrdiff_t x0, ptrdiff_t width, bint first) noexcept nogil:
        """A vector of channels of some samples; what the fill value takes is written for a piece's first vector only.

        Channels are those of the array here, `parts` lanes each.
        """
        cdef const fc_row_map *map = &scratch.map.columns[0]
        cdef fc_row_map lanes
        cdef ptrdiff_t r, offset, reach, pitch = self.lanes * self.computed_bytes
        cdef ptrdiff_t start = min(max(map.run_start - x0, 0), width)
        cdef ptrdiff_t stop = max(min(map.run_stop - x0, width), start)
        cdef ptrdiff_t index = map.run_index + x0 + start - map.run_start
        cdef bint rows_follow = arrays.x.y == self.x.n * arrays.x.x
        cdef bint outside = first or self.x.boundary != 0
        cdef char *row
        cdef ptrdiff_t vector = self.lanes // self.parts
        lanes.n, lanes.run_start, lanes.run_stop, lanes.run_index, lanes.run_step = vector, 0, channels, 0, 1
        lanes.index, lanes.fill, lanes.runs_only = scratch.no_lanes, self.fill, 0
        for r in range(self.side):
            row = scratch.samples + r * self.sample_pitch * self.computed_bytes
            offset = scratch.map.row_offset[y0 + r]
            if offset <= FC_ZERO_ROW:
                if first:
                    self.load_channels(row, vector, NULL, scratch.outside, width, arrays.x.channel, &lanes)
                continue
            if stop > start:
                reach = self.x.n - index
                if rows_follow:
                    reach += (self.y.n - 1 - (offset // arrays.x.y if offset > 0 else 0)) * self.x.n
                self.to_lanes(scratch, &arrays.x, self.load_x if self.stored_bytes != self.computed_bytes else NULL,
                              row + start * pitch, x + offset + index * arrays.x.x, channels, stop - start, reach)
            if outside and start > 0:
                self.load_channels(row, vector, x + offset, scratch.offsets + x0, start, arrays.x.channel, &lanes)
            if outside and stop < width:
                self.load_channels(row + stop * pitch, vector, x + offset, scratch.offsets + x0 + stop, width - stop,
                                   arrays.x.channel, &lanes)

    # --- vectors of channels -----------------------------------------------------------------------------------------

    cdef void to_lanes(self, const Scratch *scratch, const View *view, fc_load_rows *load, char *dst, const char *src,
                       ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil:
        """n pixels of some channels of an array as [pixel][lanes]; load is NULL where it is of the compute type."""
        cdef ptrdiff_t i, item = self.computed_bytes, pixel_stride = view.x, channel_stride = view.channel
        cdef fc_row_map map
        if load == NULL:
            self.gather_pixels(dst, src, pixel_stride, channel_stride, channels, n, reach)
        elif channels_near(view):
            run_of(&map, channels, self.fill)
            map.n, map.index, map.runs_only = self.lanes, scratch.no_lanes, 0
            for i in range(n):
                scratch.pixels[i] = i * pixel_stride
            load(dst, self.lanes, src, scratch.pixels, n, channel_stride, &map)
        else:
            run_of(&map, n, self.fill)
            for i in range(channels):
                scratch.channels[i] = i * channel_stride
            load(scratch.stage, self.stage_pitch, src, scratch.channels, channels, pixel_stride, &map)
            self.kernels.gather(dst, scratch.stage, item, self.stage_pitch * item, channels, n, self.stage_pitch)

    cdef void from_lanes(self, const Arrays *arrays, const Scratch *scratch, char *dst, const char *src,
                         ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil:
        """The way back, to the result."""
        cdef ptrdiff_t item = self.computed_bytes, x = arrays.out.x, channel = arrays.out.channel
        if not self.casts:
            self.scatter_pixels(dst, x, channel, src, channels, n, reach)
        elif channels_near(&arrays.out):
            self.store_final(dst, x, channel, src, self.lanes, n, channels)
        else:
            self.kernels.scatter(scratch.stage, item, self.stage_pitch * item, src, channels, n, self.stage_pitch)
            self.store_final(dst, channel, x, scratch.stage, self.stage_pitch, channels, n)

    cdef void gather_pixels(self, char *dst, const char *src, ptrdiff_t pixel_stride, ptrdiff_t channel_stride,
                            ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil:
        cdef ptrdiff_t i, c, size = self.parts * self.computed_bytes, pitch = self.lanes * self.computed_bytes
        if self.gather_lanes != NULL:
            self.gather_lanes(dst, src, pixel_stride, channel_stride, channels, n, reach)
            return
        for i in range(n):
            for c in range(channels):
                memcpy(dst + i * pitch + c * size, src + i * pixel_stride + c * channel_stride, size)
            memset(dst + i * pitch + channels * size, 0, pitch - channels * size)

    cdef void scatter_pixels(self, char *dst, ptrdiff_t pixel_stride, ptrdiff_t channel_stride, const char *src,
                             ptrdiff_t channels, ptrdiff_t n, ptrdiff_t reach) noexcept nogil:
        cdef ptrdiff_t i, c, size = self.parts * self.computed_bytes, pitch = self.lanes * self.computed_bytes
        if self.scatter_lanes != NULL:
            self.scatter_lanes(dst, pixel_stride, channel_stride, src, channels, n, reach)
            return
        for i in range(n):
            for c in range(channels):
                memcpy(dst + i * pixel_stride + c * channel_stride, src + i * pitch + c * size, size)

    # --- weights -----------------------------------------------------------------------------------------------------

    cdef void transform_weights(self, Call *call, char *taps, ptrdiff_t g, ptrdiff_t p, ptrdiff_t first,
                                ptrdiff_t channels, char *panel) noexcept nogil:
        """Some channels of the weights of a panel of output channels."""
        cdef fc_winograd step
        cdef ptrdiff_t i, c
        step.outputs, step.numbers = self.outputs, self.numbers
        step.dst_pitch = self.weight_pitch(channels)
        if call.panels != NULL:
            step.src = call.panels + (g * self.panels + p) * self.taps_bytes + (
                SQUARE * first * self.panel * self.computed_bytes)
            step.dst, step.n = panel, channels
            self.kernels.weights(&step)
            return
        step.src = taps
        for i in range((channels + self.taps_channels - 1) // self.taps_channels):
            c = i * self.taps_channels
            step.n = min(self.taps_channels, channels - c)
            step.dst = panel + c * self.panel * self.computed_bytes
            self.pack_weights(call, g, p, first + c, step.n, taps)
            self.kernels.weights(&step)

    cdef void pack_weights(self, Call *call, ptrdiff_t g, ptrdiff_t p, ptrdiff_t first, ptrdiff_t channels,
                           char *panel) noexcept nogil:
        """The same as they are, output channels side by side."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t n = min(self.panel, self.channels_out - p * self.panel), c, piece, channel
        cdef ptrdiff_t square_bytes = SQUARE * self.panel * self.computed_bytes
        cdef const char *w = arrays.w.data + (g * self.channels_out + p * self.panel) * arrays.w.batch
        if self.is_square():
            self.pack_natural(call, w + first * arrays.w.channel, n, channels, panel)
            return
        for c in range(first, first + channels):
            piece, channel = c // self.piece_channels, c % self.piece_channels
            memset(panel, 0, square_bytes)
            if channel < self.channels:
                self.pack_plane(&arrays.w, w + channel * arrays.w.channel, piece // self.squares, n,
                                self.square_rows + piece % self.squares * self.kernel_y * self.kernel_x, panel)
            panel += square_bytes

    cdef void pack_natural(self, Call *call, const char *w, ptrdiff_t n, ptrdiff_t channels,
                           char *panel) noexcept nogil:
        """All taps of some channels of n output channels, [channel][tap]."""
        cdef const View *view = &call.arrays.w
        cdef ptrdiff_t c
        if call.w_plain:
            self.pack_plain(self.pack_panel, panel, self.panel, w, view.batch, n, channels * self.taps)
            return
        for c in range(channels):
            self.pack_channel(view, w + c * view.channel, n, self.natural_order,
                              panel + c * self.taps * self.panel * self.computed_bytes)

    cdef const char *weights_of(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t p, ptrdiff_t first,
                                ptrdiff_t channels) noexcept nogil:
        """The transformed weights of a panel, made if they are not there."""
        cdef char *panel
        if call.panels != NULL and self.keeps_weights:
            return call.panels + (g * self.panels + p) * self.weight_bytes
        if self.keeps_weights:
            panel = scratch.weights + p * self.weight_bytes
            if not scratch.ready[p]:
                scratch.ready[p] = 1
                self.transform_weights(call, scratch.taps, g, p, 0, self.depth, panel)
            return panel
        panel = scratch.weights + (p % self.out_block * self.frequencies * self.weight_pitch(self.weight_channels)
                                   * self.computed_bytes)
        self.transform_weights(call, scratch.taps, g, p, first, channels, panel)
        return panel

    # --- products and results ----------------------------------------------------------------------------------------

    cdef void make_results(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t block,
                           ptrdiff_t first_panel) noexcept nogil:
        cdef ptrdiff_t i, c, p, last = min(first_panel + self.out_block, self.panels)
        cdef ptrdiff_t step = self.weight_channels
        for i in range((self.depth + step - 1) // step):
            c = i * step
            for p in range(first_panel, last):
                self.multiply(call, scratch, g, block, p, c, min(step, self.depth - c))
        for p in range(first_panel, last):
            self.store(call, scratch, g, block, p)

    cdef void multiply(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t block, ptrdiff_t p, ptrdiff_t first,
                       ptrdiff_t channels) noexcept nogil:
        """Add the products of some channels to the sums of a panel, every frequency on its own."""
        cdef fc_product product
        cdef ptrdiff_t f
        cdef const char *weights = self.weights_of(call, scratch, g, p, first, channels)
        cdef ptrdiff_t row_block = block // self.n_chunks
        cdef ptrdiff_t rows = self.first_row(row_block + 1) - self.first_row(row_block)
        product.block_pitch, product.channels, product.fold = self.value_block, channels, self.fold
        product.ahead = self.weight_pitch(channels)
        product.row_pitch, product.vector_pitch = self.sum_tile, self.sum_vector
        product.rows, product.accumulate = rows * self.columns_of(block), first > 0
        for f in range(self.frequencies):
            product.tiles = scratch.values + (f * self.value_pitch + first // self.lanes * self.value_block
                                              ) * self.computed_bytes
            product.weights = weights + f * self.weight_pitch(channels) * self.computed_bytes
            product.dst = (scratch.sums + (p % self.out_block * self.level.gemm_vectors * self.sum_vector
                                           + f * self.lanes) * self.computed_bytes)
            self.kernels.product(&product)

    cdef void store(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t block, ptrdiff_t p) noexcept nogil:
        """Results of a panel, from the top down so that a row may write into the next."""
        cdef Segment segment
        cdef ptrdiff_t i, v, t, columns = self.columns_of(block)
        cdef ptrdiff_t x0 = block % self.n_chunks * self.block_columns * self.outputs
        cdef bint start = True
        while self.next_segment(block, &segment, start):
            start = False
            self.outer_start(&call.arrays, segment.outer, &scratch.outer)
            for i in range(segment.tile_rows):
                for v in range(self.level.gemm_vectors):
                    for t in range((columns + self.strip - 1) // self.strip):
                        if p * self.panel + v * self.lanes < self.channels_out:
                            self.store_strip(call, scratch, g, p, v, &segment, i, t * self.strip, x0, columns)

    cdef const char *sums_of(self, const Scratch *scratch, ptrdiff_t p, ptrdiff_t v, ptrdiff_t tile) noexcept nogil:
        return scratch.sums + ((p % self.out_block * self.level.gemm_vectors + v) * self.sum_vector
                               + tile * self.sum_tile) * self.computed_bytes

    cdef char *place(self, const View *view, const Segment *segment, ptrdiff_t channel, ptrdiff_t y,
                     ptrdiff_t x) noexcept nogil:
        return (view.data + segment.n * view.batch + self.outer_offset(view, segment.outer) + channel * view.channel
                + y * view.y + x * view.x)

    cdef void store_strip(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t p, ptrdiff_t v,
                          const Segment *segment, ptrdiff_t i, ptrdiff_t first, ptrdiff_t x0,
                          ptrdiff_t columns) noexcept nogil:
        """A part of a row of tiles, a vector of output channels."""
        cdef const Arrays *arrays = &call.arrays
        cdef fc_winograd step
        cdef ptrdiff_t channel = p * self.panel + v * self.lanes, y = segment.y0 + i * self.outputs, r, reach
        cdef ptrdiff_t n = min(self.strip, columns - first), x = x0 + first * self.outputs
        cdef ptrdiff_t width = min(n * self.outputs, self.x.out - x)
        cdef ptrdiff_t last = min(segment.y0 + segment.tile_rows * self.outputs, self.y.out)
        cdef ptrdiff_t channels = min(self.lanes, self.channels_out - channel)
        cdef bint rows_follow = (width == self.x.out and arrays.out.y == width * arrays.out.x
                                 and not arrays.over_residual)
        cdef char *row
        step.outputs, step.numbers, step.n = self.outputs, self.numbers, n
        step.src, step.src_pitch = self.sums_of(scratch, p, v, segment.first + i * columns + first), self.sum_tile
        step.dst, step.dst_pitch = scratch.results, self.result_pitch
        step.bias = scratch.bias + channel * self.computed_bytes
        if self.kernels.output(&step):
            self.repair_strip(call, scratch, g, p, v, segment, &step, y, x)
        for r in range(min(self.outputs, self.y.out - y)):
            row = scratch.results + r * self.result_pitch * self.computed_bytes
            if self.has_epilogue:
                self.finish_lanes(arrays, scratch, segment, g, channel, channels, y + r, x, width, row)
            reach = (last - y - r) * width if rows_follow else width
            self.from_lanes(arrays, scratch,
                            self.place(&arrays.out, segment, (g * self.channels_out + channel) // self.parts, y + r, x),
                            row, channels // self.parts, width, reach)

    cdef void finish_lanes(self, const Arrays *arrays, Scratch *scratch, const Segment *segment, ptrdiff_t g,
                           ptrdiff_t channel, ptrdiff_t channels, ptrdiff_t y, ptrdiff_t x, ptrdiff_t width,
                           char *row) noexcept nogil:
        """Do what follows the sums on a row of results, a vector of output channels."""
        cdef fc_epilogue_tile tile = self.steps
        cdef const View *view = &arrays.residual
        cdef const char *residual
        cdef ptrdiff_t item = self.computed_bytes
        tile.values, tile.pitch, tile.rows, tile.n, tile.along_row = row, self.lanes, width, self.lanes, 1
        if self.has_scale:
            tile.scale, tile.bias = scratch.scale + channel * item, scratch.late_bias + channel * item
        if arrays.load_residual != NULL:
            residual = self.place(view, segment, g * self.channels_out + channel, y, x)
            tile.residual, tile.residual_pitch = residual, view.x // item
            if not (arrays.residual_computed and view.channel == item and channels == self.lanes):
                self.to_lanes(scratch, view, NULL if arrays.residual_computed else arrays.load_residual,
                              scratch.residual, residual, channels, width, width)
                tile.residual, tile.residual_pitch = scratch.residual, self.lanes
        self.epilogue(&tile)

    # --- tiles that are not finite -----------------------------------------------------------------------------------

    cdef void repair_strip(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t p, ptrdiff_t v,
                           const Segment *segment, const fc_winograd *strip, ptrdiff_t y0, ptrdiff_t x0) noexcept nogil:
        """Find the spoilt tiles of a strip, and compute them directly."""
        cdef fc_winograd step = strip[0]
        cdef ptrdiff_t t
        step.n, step.dst, step.dst_pitch = 1, scratch.again, self.outputs * self.lanes
        for t in range(strip.n):
            step.src = <const char *>strip.src + t * self.sum_tile * self.computed_bytes
            if self.kernels.output(&step):
                self.repair_tile(call, scratch, g, p, v, segment, y0, x0, t * self.outputs)

    cdef void repair_tile(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t p, ptrdiff_t v,
                          const Segment *segment, ptrdiff_t y0, ptrdiff_t x0, ptrdiff_t first) noexcept nogil:
        """A vector of channels of the results from pixel `first` of a strip on."""
        cdef const Arrays *arrays = &call.arrays
        cdef fc_gemm_tile tile
        cdef ptrdiff_t item = self.computed_bytes, vector = self.lanes * item, r, x
        cdef ptrdiff_t rows = min(self.outputs, self.y.out - y0), columns = min(self.outputs, self.x.out - x0 - first)
        if scratch.patch_key != g * self.panels + p:
            scratch.patch_key = g * self.panels + p
            self.pack_natural(call, arrays.w.data + (g * self.channels_out + p * self.panel) * arrays.w.batch,
                              min(self.panel, self.channels_out - p * self.panel), self.channels, scratch.patch_weights)
        self.start_tile(arrays, y0, rows, x0 + first, columns, &scratch.patch_map)
        if self.parts > 1:
            self.pack_parts(arrays, self.group_of(arrays, segment, g) + scratch.outer.taps[1], &scratch.patch_map,
                            scratch.patch)
        else:
            self.pack(arrays, self.group_of(arrays, segment, g), g * self.channels, &scratch.outer, &scratch.patch_map,
                      scratch.patch)
        tile.channels, tile.channel_pitch = self.channels, self.channel_pitch
        tile.taps, tile.n_taps = self.tap_offsets, self.taps
        tile.weights = scratch.patch_weights
        tile.bias = scratch.bias + p * self.panel * item
        tile.pixel_pitch, tile.channel_out_pitch, tile.channels_out = self.panel, 1, self.panel
        tile.gap = tile.ahead = 0
        for r in range(rows):
            self.gemm_row(&tile, scratch.patch + r * self.pitch * item, scratch.again, self.panel * item, columns)
            for x in range(columns):
                memcpy(scratch.results + (r * self.result_pitch + (first + x) * self.lanes) * item,
                       scratch.again + x * self.panel * item + v * vector, vector)

    cdef void pack_parts(self, const Arrays *arrays, const char *x, const TileMap *map, char *packed) noexcept nogil:
        """What `pack` does, for channels that are parts of elements."""
        cdef ptrdiff_t c
        for c in range(self.channels):
            self.load_x(packed + c * self.channel_pitch * self.computed_bytes, self.pitch,
                        x + c // self.parts * arrays.x.channel + c % self.parts * self.computed_bytes, map.row_offset,
                        map.rows + self.row_count[0] - 1, arrays.x.x, &map.columns[0])

    cdef void gemm_row(self, fc_gemm_tile *tile, const char *src, char *dst, ptrdiff_t stride,
                       ptrdiff_t columns) noexcept nogil:
        """Neighbouring pixels, as many at a time as the register tile holds."""
        cdef ptrdiff_t i, x
        for i in range((columns + self.level.gemm_pixels - 1) // self.level.gemm_pixels):
            x = i * self.level.gemm_pixels
            tile.src = src + x * self.computed_bytes
            tile.dst = dst + x * stride
            tile.pixels = tile.writable = min(self.level.gemm_pixels, columns - x)
            self.gemm(tile)
