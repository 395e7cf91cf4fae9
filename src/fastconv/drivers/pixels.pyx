# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""The implicit GEMM with pixels in the lanes: weights are read where they are, results stored where they belong.

The output pixels of a tile are cut into lines, runs of neighbours both in the source and in the result, and lines into
panels, what one register tile takes::

    source of the products          line                     when
    the input itself, then panels   the tile                 the kernel is one tap, samples follow each other
    packed tile                     the tile, or one row     rows follow each other in it, or are long
    panels, unrolled from the       the tile                 rows are short: their pixels are put side by side
    packed tile

Panels are [panel][product][pixel]. From the input itself the first output channels of a tile pack them, while those
after them fetch the next panel's samples: each channel's are on another page, which the hardware does not foresee.

The reduction is cut into blocks whose weights and samples stay in L2; sums go to memory between two of them, which
changes none of their bits. A result that is not laid out so, or not of the compute type, is summed in scratch memory.
"""

cimport numpy as cnp
import numpy as np
from libc.string cimport memset

from fastconv import _tunables
from fastconv.drivers.kernels cimport fc_move, fc_pixels, fc_pixels_tile, fc_unroll, fc_unroll_pixels
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile cimport Arrays, Done, Geometry, Outer, TileMap, View, lines

cnp.import_array()

# Products an output up to which it is aligned stores that count.
cdef ptrdiff_t FEW_PRODUCTS = _tunables.PIXELS_FEW_PRODUCTS


cdef struct Call:
    Arrays arrays
    bint in_place  # the input is read where it is
    bint direct    # the result is written where it belongs


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *panels
    char *sums
    char *residual      # one row of it
    ptrdiff_t *steps    # offsets of a block of products in a panel
    ptrdiff_t *in_place_steps  # and in the input itself
    fc_move *moves
    TileMap map
    Outer outer
    # The tile at hand, and what the packed tile holds: its place in the image, and the image.
    ptrdiff_t rows, width
    bint in_place
    ptrdiff_t y0, x0, outer_index, n, g


# The lines of a tile, the distance from one to the next in bytes, and between channels of the result in elements.
# `back` is how many pixels before a line vectors would have to begin to be aligned. `odd` is one more pixel behind the
# panels, or none.
cdef struct Lines:
    ptrdiff_t count, pixels, odd, panels, back, src_pitch, dst_pitch, row_pitch, channel_pitch
    bint in_place, packs  # src is the input itself, and is packed into panels on the way
    const char *src
    char *dst


cdef class Driver(Geometry):
    cdef fc_pixels *kernel
    cdef fc_pixels *pixel_kernel
    cdef fc_unroll_pixels *unroll_kernel
    cdef ptrdiff_t wide, products, block, out_block, out_step, n_row_blocks, n_chunks, n_out_blocks, thread_bytes
    cdef ptrdiff_t most_panels, most_pixels
    cdef bint pointwise, joined, unrolled, one_order
    cdef double work
    cdef const ptrdiff_t *offsets
    cdef object keep_offsets

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernel = self.level.pixels[self.compute]
        self.pixel_kernel = self.level.pixel[self.compute]
        self.unroll_kernel = self.level.unroll[self.compute]
        self.keep_offsets = plan.offsets
        self.offsets = <const ptrdiff_t *>cnp.PyArray_DATA(plan.offsets)
        self.wide = self.level.pixels_vectors * self.lanes
        self.products = self.channels * self.taps
        self.block, self.out_block, self.out_step = plan.block, plan.out_block, plan.out_step
        self.pointwise, self.joined, self.unrolled = plan.pointwise, plan.joined, plan.unrolled
        self.one_order = plan.one_order
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_out_blocks = (self.channels_out + self.out_block - 1) // self.out_block
        self.work = problem.thread_work
        self.most_pixels = self.tile_rows * self.tile_columns
        # One more where they begin before the first pixel.
        self.most_panels = (self.most_pixels + self.lanes - 1 + self.wide - 1) // self.wide
        self.thread_bytes = (
            lines(sizeof(Scratch)) + self.packed_bytes() + self.panels_bytes() + self.sums_bytes()
            + self.residual_bytes()
            + 2 * lines(self.block * sizeof(ptrdiff_t)) + lines(self.most_moves() * sizeof(fc_move))
            + lines(self.map_bytes()) + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

    @property
    def level_name(self):
        """The level whose kernels this driver calls."""
        return self.level.name.decode()

    @property
    def fuses_epilogue(self):
        """Whether `run` finishes what it stores."""
        return True

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray scale=None, cnp.ndarray residual=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned.

        The residual may be out.
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items = (
            self.groups * self.batch * self.outer_outs * self.n_row_blocks * self.n_chunks * self.n_out_blocks)
        if items == 0:
            return
        call.arrays.w = self.bind_weights(w)
        if not self.weights_plain(&call.arrays):
            turned = (Ellipsis, *(slice(None, None, -1 if self.flip else 1) for _ in self.spatial_axes))
            self.run(x, np.array(w[turned], order="C")[turned], bias, out, threads, scale, residual)
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        self.bind_epilogue(&call.arrays, bias, scale, residual)
        call.in_place = self.pointwise and cnp.PyArray_ISALIGNED(x) and self.follow(&call.arrays.x)
        call.direct = (not self.wants_stage(&call.arrays) and cnp.PyArray_ISALIGNED(out)
                       and self.follow(&call.arrays.out))
        # Neighbouring items share a packed tile.
        task = Task(self.work, items, 1, True, 0, self.thread_bytes)
        self.run_items(&call, threads, &task)

    cdef bint follow(self, View *view) noexcept nogil:
        """Whether the pixels of a line are neighbours, and channels whole elements apart."""
        # The stride of an axis of one sample means nothing.
        if self.x.out == 1:
            view.x = view.y if self.y.out > 1 and self.joined else self.computed_bytes
        if view.x != self.computed_bytes or view.channel % self.computed_bytes:
            return False
        return not self.joined or self.tile_rows == 1 or view.y == self.x.out * self.computed_bytes

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t item, rest, block, chunk, rows, outer, n
        for item in range(start, stop):
            block = item % self.n_out_blocks
            rest = item // self.n_out_blocks
            chunk = rest % self.n_chunks
            rest //= self.n_chunks
            rows = rest % self.n_row_blocks
            rest //= self.n_row_blocks
            outer = rest % self.outer_outs
            rest //= self.outer_outs
            n = rest % self.batch
            self.take_tile(call, scratch, n, rest // self.batch, outer, rows * self.tile_rows,
                           chunk * self.tile_columns)
            self.tile(call, region, thread, scratch, block * self.out_block)
            if region.stopped:
                return

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory; what is packed in it then lasts from item to item."""
        cdef Call *call = <Call *>of
        cdef char *at = memory
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t k
        at += lines(sizeof(Scratch))
        scratch.packed = at
        at += self.packed_bytes()
        scratch.panels = at
        at += self.panels_bytes()
        scratch.sums = at
        at += self.sums_bytes()
        scratch.residual = at
        at += self.residual_bytes()
        scratch.steps = <ptrdiff_t *>at
        at += lines(self.block * sizeof(ptrdiff_t))
        scratch.in_place_steps = <ptrdiff_t *>at
        at += lines(self.block * sizeof(ptrdiff_t))
        scratch.moves = <fc_move *>at
        at += lines(self.most_moves() * sizeof(fc_move))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        scratch.y0 = -1
        self.clear_slack(scratch)
        for k in range(self.block):
            scratch.steps[k] = k * self.wide
            scratch.in_place_steps[k] = k * (call.arrays.x.channel // self.computed_bytes)

    cdef void clear_slack(self, const Scratch *scratch) noexcept nogil:
        """Zero what lies between the packed channels: a vector that holds fewer pixels than lanes reads it too, and
        old bits may be subnormal, which makes a multiply-add a hundred times slower."""
        cdef ptrdiff_t item = self.computed_bytes, used = self.outer_taps * self.outer_pitch, c
        cdef ptrdiff_t least = self.x.out - (self.n_chunks - 1) * self.tile_columns
        if self.joined:
            least *= self.y.out - (self.n_row_blocks - 1) * self.tile_rows
        if least >= self.lanes:
            return
        for c in range(self.channels):
            memset(scratch.packed + (c * self.channel_pitch + used) * item, 0, (self.channel_pitch - used) * item)
        memset(scratch.packed + self.channels * self.channel_pitch * item, 0, self.level.vector_bytes)

    cdef ptrdiff_t packed_bytes(self) noexcept nogil:
        # Where pixels do not fill a vector, and in the moves of an unrolling, a whole one is read.
        return lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)

    cdef ptrdiff_t panels_bytes(self) noexcept nogil:
        if not (self.unrolled or self.pointwise):
            return 0
        return lines(self.most_panels * self.block * self.wide * self.computed_bytes + self.level.vector_bytes)

    cdef ptrdiff_t sums_bytes(self) noexcept nogil:
        return lines(self.out_block * self.sums_pitch() * self.computed_bytes)

    cdef ptrdiff_t residual_bytes(self) noexcept nogil:
        return lines(self.tile_columns * self.computed_bytes) if self.has_epilogue else 0

    cdef ptrdiff_t sums_pitch(self) noexcept nogil:
        return self.round_up(self.most_pixels) if self.joined else self.tile_rows * self.round_up(self.tile_columns)

    cdef ptrdiff_t round_up(self, ptrdiff_t pixels) noexcept nogil:
        return (pixels + self.lanes - 1) // self.lanes * self.lanes

    cdef ptrdiff_t most_moves(self) noexcept nogil:
        """Moves of a panel: the vectors that fill it, and one more for every row that begins in it."""
        return self.level.pixels_vectors + self.wide // self.tile_columns + 2 if self.unrolled else 0

    cdef void take_tile(self, Call *call, Scratch *scratch, ptrdiff_t n, ptrdiff_t g, ptrdiff_t outer, ptrdiff_t y0,
                        ptrdiff_t x0) noexcept nogil:
        """Find a tile, and pack it, or as much of it as the tile before does not share."""
        cdef const Arrays *arrays = &call.arrays
        cdef bint same_place = scratch.y0 == y0 and scratch.x0 == x0 and scratch.outer_index == outer
        if same_place and scratch.n == n and scratch.g == g:
            return
        if not same_place:
            scratch.rows, scratch.width = min(self.tile_rows, self.y.out - y0), min(self.tile_columns, self.x.out - x0)
            scratch.in_place = call.in_place and self.fills_vectors(scratch.rows * scratch.width)
            self.outer_start(arrays, outer, &scratch.outer)
            if not scratch.in_place:
                self.start_tile(arrays, y0, scratch.rows, x0, scratch.width, &scratch.map)
        elif not scratch.in_place:
            self.runs_only(&scratch.map)
        scratch.y0, scratch.x0, scratch.outer_index, scratch.n, scratch.g = y0, x0, outer, n, g
        if not scratch.in_place:
            self.pack(arrays, self.image(arrays, scratch), g * self.channels, &scratch.outer, &scratch.map,
                      scratch.packed)

    cdef const char *image(self, const Arrays *arrays, const Scratch *scratch) noexcept nogil:
        return arrays.x.data + scratch.n * arrays.x.batch + scratch.g * self.channels * arrays.x.channel

    cdef void tile(self, Call *call, Region *region, int thread, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """A block of output channels, from `first` of the group on, on the tile at hand."""
        cdef ptrdiff_t last = min(first + self.out_block, self.channels_out), k, o, n
        cdef char *dst
        cdef Lines at = self.lines_of(scratch)
        cdef bint direct = call.direct and self.fills_vectors(at.pixels + at.odd)
        # Vectors that cross lines of the cache cost as much as two.
        if direct:
            at.dst = (call.arrays.out.data + scratch.n * call.arrays.out.batch
                      + (scratch.g * self.channels_out + first) * call.arrays.out.channel
                      + scratch.outer.out_offset + scratch.y0 * call.arrays.out.y + scratch.x0 * call.arrays.out.x)
            at.dst_pitch = at.row_pitch = call.arrays.out.y
            at.channel_pitch = call.arrays.out.channel // self.computed_bytes
            # Unrolled panels are aligned themselves.
            if self.products <= FEW_PRODUCTS and not self.unrolled:
                self.cut(&at, self.misaligned(at.dst, at.dst_pitch if at.count > 1 else 0, call.arrays.out.channel))
        if scratch.in_place:
            at.src = (self.image(&call.arrays, scratch) + scratch.outer.taps[1] + scratch.y0 * call.arrays.x.y
                      + scratch.x0 * call.arrays.x.x)
        k = 0
        while k < self.products:
            if self.unrolled:
                self.unroll(scratch, &at, k)
            at.in_place = scratch.in_place
            at.packs = scratch.in_place and last - first > self.level.pixels_rows
            o = first
            while o < last:
                n, dst = min(self.out_step, last - o), at.dst + (o - first) * at.channel_pitch * self.computed_bytes
                self.panels(call, scratch, &at, k, o, n, dst)
                if at.packs:
                    at.in_place = at.packs = False
                if k + self.block >= self.products and (self.has_epilogue or not direct):
                    self.complete(call, scratch, &at, direct, o, n, dst)
                if thread == 0:
                    region_poll(region)
                if region.stopped:
                    return
                o += self.out_step
            k += self.block

    cdef Lines lines_of(self, const Scratch *scratch) noexcept nogil:
        """The lines of the tile at hand, from the packed tile to the sums."""
        cdef Lines at
        at.count, at.pixels, at.odd = 1, scratch.rows * scratch.width, 0
        if self.joined:
            at.odd = self.odd_pixels(at.pixels)
            at.pixels -= at.odd
        else:
            at.count, at.pixels = scratch.rows, scratch.width
        self.cut(&at, 0)
        at.src, at.src_pitch = scratch.packed, self.pitch * self.computed_bytes
        at.dst, at.dst_pitch = scratch.sums, self.round_up(scratch.width) * self.computed_bytes
        at.row_pitch = scratch.width * self.computed_bytes if self.joined else at.dst_pitch
        at.channel_pitch = self.sums_pitch()
        return at

    cdef ptrdiff_t odd_pixels(self, ptrdiff_t pixels) noexcept nogil:
        """A pixel that would have a vector to itself is summed by another kernel."""
        return pixels % self.lanes == 1 and not self.one_order

    cdef bint fills_vectors(self, ptrdiff_t pixels) noexcept nogil:
        """Whether no vector of a line has lanes without a pixel, which are read and written too."""
        return pixels >= self.lanes or self.odd_pixels(pixels)

    cdef void cut(self, Lines *at, ptrdiff_t back) noexcept nogil:
        """Cut lines into panels."""
        at.back, at.panels = back, (at.pixels + back + self.wide - 1) // self.wide

    cdef ptrdiff_t panel_start(self, const Lines *at, ptrdiff_t panel) noexcept nogil:
        """The first pixel of a panel; that of the one behind the last is the end."""
        # Equal shares of vectors: with three in a panel, the last has two or more, so that its last can move back.
        cdef ptrdiff_t vectors = self.round_up(at.pixels + at.back) // self.lanes
        return max(min(panel * vectors // at.panels * self.lanes - at.back, at.pixels), 0)

    cdef ptrdiff_t misaligned(self, const void *first, ptrdiff_t line, ptrdiff_t channel) noexcept nogil:
        """How many pixels before the first a vector would be aligned, in every line and channel; else 0."""
        cdef ptrdiff_t size = self.level.vector_bytes
        return 0 if line % size or channel % size else <ptrdiff_t>(<size_t>first % <size_t>size) // self.computed_bytes

    cdef void unroll(self, const Scratch *scratch, const Lines *at, ptrdiff_t k) noexcept nogil:
        """Put the pixels of each panel side by side, for a block of products."""
        cdef fc_unroll step
        cdef ptrdiff_t panel, start, stop, pixel, row, run, i
        step.src, step.offsets = scratch.packed, self.offsets + k
        step.n_products = min(self.block, self.products - k)
        step.moves, step.dst_pitch = scratch.moves, self.wide
        for panel in range(at.panels):
            start, stop = self.panel_start(at, panel), self.panel_start(at, panel + 1)
            pixel, step.n_moves = start, 0
            while pixel < stop:
                row = pixel // scratch.width
                run = min((row + 1) * scratch.width, stop) - pixel
                i = 0
                while i < run:
                    scratch.moves[step.n_moves].from_ = pixel + i + row * (self.pitch - scratch.width)
                    scratch.moves[step.n_moves].to = pixel + i - start
                    step.n_moves += 1
                    i += self.lanes
                pixel += run
            step.dst = scratch.panels + panel * self.block * self.wide * self.computed_bytes
            self.unroll_kernel(&step)

    cdef void panels(self, const Call *call, const Scratch *scratch, const Lines *at, ptrdiff_t k, ptrdiff_t first,
                     ptrdiff_t n, char *dst) noexcept nogil:
        """Some products of n output channels, for every panel of the tile."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channel = scratch.g * self.channels_out + first, line, panel, start, stop
        cdef char *packed
        cdef fc_pixels_tile tile
        tile.n_products = min(self.block, self.products - k)
        tile.weights = arrays.w.data + channel * arrays.w.batch + k * self.computed_bytes
        tile.weight_pitch = arrays.w.batch // self.computed_bytes
        tile.bias = arrays.bias + channel * self.computed_bytes if arrays.bias != NULL else NULL
        tile.accumulate = k > 0
        tile.dst_pitch, tile.channels_out = at.channel_pitch, n
        tile.offsets, tile.packed, tile.packed_offsets = self.offsets + k, NULL, scratch.steps
        if at.in_place:
            tile.offsets = scratch.in_place_steps
        elif self.unrolled or scratch.in_place:
            tile.offsets = scratch.steps
        for line in range(at.count):
            for panel in range(at.panels):
                start, stop = self.panel_start(at, panel), self.panel_start(at, panel + 1)
                tile.pixels = stop - start
                tile.dst = dst + line * at.dst_pitch + start * self.computed_bytes
                packed = scratch.panels + panel * self.block * self.wide * self.computed_bytes
                if at.in_place:
                    tile.src = at.src + k * arrays.x.channel + start * self.computed_bytes
                    # That of the next panel; behind the last, of the next block of products, or the tile below.
                    tile.next = at.src + k * arrays.x.channel + stop * self.computed_bytes
                    if panel == at.panels - 1 and k + self.block < self.products:
                        tile.next = at.src + (k + self.block) * arrays.x.channel
                    tile.packed = packed if at.packs else NULL
                elif self.unrolled or scratch.in_place:
                    tile.src = packed
                else:
                    tile.src = at.src + line * at.src_pitch + start * self.computed_bytes
                if not at.in_place:
                    tile.next = tile.src
                self.kernel(&tile)
        if at.odd:
            tile.offsets, tile.src = self.offsets + k, scratch.packed + self.packed_pixel(scratch, at.pixels)
            if scratch.in_place:
                tile.offsets = scratch.in_place_steps
                tile.src = at.src + k * arrays.x.channel + at.pixels * self.computed_bytes
            tile.dst = dst + at.pixels * self.computed_bytes
            self.pixel_kernel(&tile)

    cdef ptrdiff_t packed_pixel(self, const Scratch *scratch, ptrdiff_t pixel) noexcept nogil:
        """Where a pixel of a joined tile is in the packed tile, in bytes."""
        return (pixel + pixel // scratch.width * (self.pitch - scratch.width)) * self.computed_bytes

    cdef void complete(self, const Call *call, const Scratch *scratch, const Lines *at, bint direct, ptrdiff_t first,
                       ptrdiff_t n, char *values) noexcept nogil:
        """Finish and store the sums of n output channels, as far as they are not."""
        cdef Done done
        done.n, done.channel, done.y0, done.x0 = (
            scratch.n, scratch.g * self.channels_out + first, scratch.y0, scratch.x0)
        done.channels, done.rows, done.columns = n, scratch.rows, scratch.width
        done.values, done.staged, done.row = values, not direct, scratch.residual
        done.channel_pitch, done.row_pitch = at.channel_pitch * self.computed_bytes, at.row_pitch
        done.column_pitch = self.computed_bytes
        self.finish(&call.arrays, &scratch.outer, &done)
