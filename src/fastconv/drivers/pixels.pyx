# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""The implicit GEMM with pixels in the lanes: weights are read where they are, results stored where they belong.

The output pixels of a tile are cut into lines, runs of neighbours both in the source and in the result, and lines into
panels, what one register tile takes::

    source of the products          line                     when
    panels, copied from the input   the tile                 the kernel is one tap, samples follow each other
    the input itself                the tile                 the same, with so few channels that L1 holds the tile
    packed tile                     the tile, or one row     rows follow each other in it, or are long
    panels, unrolled from the       the tile                 rows are short: their pixels are put side by side
    packed tile

Panels are [panel][product][pixel]. The reduction is cut into blocks whose weights and samples stay in L2; sums go to
memory between two of them, which changes none of their bits. What is copied from the input for a block of a tile, a
stage, is copied between the products of the stage before, along the rows of the input: samples of a tile in another
channel are on another page, and come from L3 as fast as the hardware can only if they are asked for long before.

A result that is not laid out so, or not of the compute type, is summed in scratch memory.
"""

cimport numpy as cnp
import numpy as np
from libc.string cimport memset

from fastconv import _tunables
from fastconv.drivers.kernels cimport FC_FAR, fc_ahead, fc_move, fc_pixels, fc_pixels_tile, fc_unroll, fc_unroll_pixels
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile cimport Arrays, Done, Geometry, Outer, TileMap, View, lines

cnp.import_array()

# Products an output up to which it is aligned stores that count.
cdef ptrdiff_t FEW_PRODUCTS = _tunables.PIXELS_FEW_PRODUCTS


cdef struct Call:
    Arrays arrays
    bint in_place  # the input is read where it is
    bint direct    # the result is written where it belongs


# A tile: its image and group, and its place in them.
cdef struct Tile:
    ptrdiff_t n, g, outer, y0, x0, rows, width


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *panels
    char *coming          # panels that are made ahead
    char *sums
    char *residual        # one row of it
    ptrdiff_t *in_place   # of all products in the input itself
    fc_move *moves
    TileMap map
    Outer outer
    Tile tile             # the one at hand, and in the packed tile
    ptrdiff_t stage       # that the panels hold, and `coming`: tile * n_blocks + block
    ptrdiff_t coming_stage
    fc_ahead ahead


# The lines of a tile, the distance from one to the next in bytes, and between channels of the result in elements.
# `back` is how many pixels before a line vectors would have to begin to be aligned. `odd` are a few pixels more behind
# the panels.
cdef struct Lines:
    ptrdiff_t count, pixels, odd, panels, back, src_pitch, dst_pitch, row_pitch, channel_pitch
    bint direct     # the result is written where it belongs
    bint in_place   # src is the input itself
    bint copied     # and is copied into panels
    const char *src
    char *dst


cdef class Driver(Geometry):
    cdef fc_pixels *kernel
    cdef fc_pixels *pixel_kernel
    cdef fc_unroll_pixels *unroll_kernel
    cdef ptrdiff_t wide, products, block, out_block, out_step, n_row_blocks, n_chunks, n_out_blocks, n_blocks
    cdef ptrdiff_t most_panels, most_pixels, most_odd, thread_bytes
    cdef bint pointwise, joined, unrolled, copied
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
        self.copied, self.most_odd = plan.copied, plan.most_odd
        self.n_blocks = (self.products + self.block - 1) // self.block
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_out_blocks = (self.channels_out + self.out_block - 1) // self.out_block
        self.work = problem.thread_work
        self.most_pixels = self.tile_rows * self.tile_columns
        # One more where they begin before the first pixel.
        self.most_panels = (self.most_pixels + self.lanes - 1 + self.wide - 1) // self.wide
        self.thread_bytes = (
            lines(sizeof(Scratch)) + self.packed_bytes() + (1 + self.copied) * self.panels_bytes() + self.sums_bytes()
            + self.residual_bytes()
            + self.in_place_bytes() + lines(self.most_moves() * sizeof(fc_move))
            + lines(self.map_bytes()) + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

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
        cdef Tile tile
        cdef ptrdiff_t item
        for item in range(start, stop):
            tile = self.find(item // self.n_out_blocks)
            self.take_tile(call, scratch, &tile)
            self.tile(call, region, thread, scratch, item, stop)
            if region.stopped:
                return

    cdef Tile find(self, ptrdiff_t index) noexcept nogil:
        """The tile of a number."""
        cdef Tile tile
        tile.x0 = index % self.n_chunks * self.tile_columns
        index //= self.n_chunks
        tile.y0 = index % self.n_row_blocks * self.tile_rows
        index //= self.n_row_blocks
        tile.outer = index % self.outer_outs
        index //= self.outer_outs
        tile.n, tile.g = index % self.batch, index // self.batch
        tile.rows, tile.width = min(self.tile_rows, self.y.out - tile.y0), min(self.tile_columns, self.x.out - tile.x0)
        return tile

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
        scratch.coming = at
        at += self.panels_bytes() if self.copied else 0
        scratch.sums = at
        at += self.sums_bytes()
        scratch.residual = at
        at += self.residual_bytes()
        scratch.in_place = <ptrdiff_t *>at
        at += self.in_place_bytes()
        scratch.moves = <fc_move *>at
        at += lines(self.most_moves() * sizeof(fc_move))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        scratch.tile.y0 = scratch.stage = scratch.coming_stage = -1
        self.clear_slack(scratch)
        for k in range(self.in_place_bytes() // <ptrdiff_t>sizeof(ptrdiff_t)):
            scratch.in_place[k] = k * (call.arrays.x.channel // self.computed_bytes)

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
        if not (self.unrolled or self.copied):
            return 0
        return lines(self.most_panels * self.block * self.wide * self.computed_bytes + self.level.vector_bytes)

    cdef ptrdiff_t in_place_bytes(self) noexcept nogil:
        # Some behind the last are looked up, to be fetched.
        return lines((self.products + FC_FAR) * sizeof(ptrdiff_t)) if self.pointwise else 0

    cdef ptrdiff_t sums_bytes(self) noexcept nogil:
        return lines(self.out_block * self.sums_pitch() * self.computed_bytes)

    cdef ptrdiff_t residual_bytes(self) noexcept nogil:
        return lines(self.tile_columns * self.computed_bytes) if self.has_epilogue else 0

    cdef ptrdiff_t sums_pitch(self) noexcept nogil:
        return self.round_up(self.most_pixels) if self.joined else self.tile_rows * self.round_up(self.tile_columns)

    cdef ptrdiff_t round_up(self, ptrdiff_t pixels) noexcept nogil:
        return (pixels + self.lanes - 1) // self.lanes * self.lanes

    cdef ptrdiff_t most_moves(self) noexcept nogil:
        """Moves of a panel: the vectors that fill it, and one more for every row that begins in it; or of all panels."""
        if self.copied:
            return self.most_panels * self.level.pixels_vectors
        return self.level.pixels_vectors + self.wide // self.tile_columns + 2 if self.unrolled else 0

    cdef void take_tile(self, Call *call, Scratch *scratch, const Tile *tile) noexcept nogil:
        """Find a tile, and pack it, or as much of it as the tile before does not share."""
        cdef const Arrays *arrays = &call.arrays
        cdef const Tile *before = &scratch.tile
        cdef bint same_place = before.y0 == tile.y0 and before.x0 == tile.x0 and before.outer == tile.outer
        cdef bint packs = not self.in_place(call, tile)
        if same_place and before.n == tile.n and before.g == tile.g:
            return
        scratch.tile = tile[0]
        if not same_place:
            self.outer_start(arrays, tile.outer, &scratch.outer)
            if packs:
                self.start_tile(arrays, tile.y0, tile.rows, tile.x0, tile.width, &scratch.map)
        elif packs:
            self.runs_only(&scratch.map)
        if packs:
            self.pack(arrays, self.image(arrays, tile), tile.g * self.channels, &scratch.outer, &scratch.map,
                      scratch.packed)

    cdef bint in_place(self, const Call *call, const Tile *tile) noexcept nogil:
        """Whether a tile is read where it is."""
        return call.in_place and self.fills_vectors(tile.rows * tile.width)

    cdef const char *image(self, const Arrays *arrays, const Tile *tile) noexcept nogil:
        return arrays.x.data + tile.n * arrays.x.batch + tile.g * self.channels * arrays.x.channel

    cdef void tile(self, Call *call, Region *region, int thread, Scratch *scratch, ptrdiff_t item,
                   ptrdiff_t stop) noexcept nogil:
        """A block of output channels of the tile at hand. Behind the item is another, if it is not `stop`."""
        cdef ptrdiff_t first = item % self.n_out_blocks * self.out_block, k, o, n
        cdef ptrdiff_t last = min(first + self.out_block, self.channels_out)
        cdef char *dst
        cdef Lines at = self.lines_of(call, scratch, &scratch.tile, &scratch.outer, first)
        k = 0
        while k < self.products:
            if self.unrolled:
                self.unroll(scratch, &at, k)
            elif at.copied:
                self.take_panels(call, scratch, &at, item // self.n_out_blocks, k)
                self.look_ahead(call, scratch, &at, item, stop, k)
            if at.odd and k == 0:
                self.odd(call, scratch, &at, first, last - first)
            o = first
            while o < last:
                n, dst = min(self.out_step, last - o), at.dst + (o - first) * at.channel_pitch * self.computed_bytes
                self.panels(call, scratch, &at, k, o, n, dst)
                if k + self.block >= self.products and (self.has_epilogue or not at.direct):
                    self.complete(call, scratch, &at, o, n, dst)
                if thread == 0:
                    region_poll(region)
                if region.stopped:
                    return
                o += self.out_step
            k += self.block

    cdef Lines lines_of(self, const Call *call, const Scratch *scratch, const Tile *tile, const Outer *outer,
                        ptrdiff_t first) noexcept nogil:
        """The lines of a tile, from the input or what it is packed in to the result or the sums, for output channels
        from `first` on."""
        cdef const Arrays *arrays = &call.arrays
        cdef Lines at
        at.count, at.pixels, at.odd = 1, tile.rows * tile.width, 0
        at.direct = call.direct and self.fills_vectors(at.pixels)
        at.in_place = self.in_place(call, tile)
        at.copied = self.copied and at.in_place
        if self.joined:
            at.odd = self.odd_pixels(at.pixels)
            at.pixels -= at.odd
        else:
            at.count, at.pixels = tile.rows, tile.width
        at.src, at.src_pitch = scratch.packed, self.pitch * self.computed_bytes
        if at.in_place:
            at.src = self.image(arrays, tile) + outer.taps[1] + tile.y0 * arrays.x.y + tile.x0 * arrays.x.x
        if not at.direct:
            self.cut(&at, 0)
            at.dst, at.dst_pitch = scratch.sums, self.round_up(tile.width) * self.computed_bytes
            at.row_pitch = tile.width * self.computed_bytes if self.joined else at.dst_pitch
            at.channel_pitch = self.sums_pitch()
            return at
        at.dst = (arrays.out.data + tile.n * arrays.out.batch + (tile.g * self.channels_out + first) * arrays.out.channel
                  + outer.out_offset + tile.y0 * arrays.out.y + tile.x0 * arrays.out.x)
        at.dst_pitch = at.row_pitch = arrays.out.y
        at.channel_pitch = arrays.out.channel // self.computed_bytes
        # Vectors that cross lines of the cache cost as much as two. Unrolled panels are aligned themselves.
        if self.products <= FEW_PRODUCTS and not self.unrolled:
            self.cut(&at, self.misaligned(at.dst, at.dst_pitch if at.count > 1 else 0, arrays.out.channel))
        else:
            self.cut(&at, 0)
        return at

    cdef ptrdiff_t odd_pixels(self, ptrdiff_t pixels) noexcept nogil:
        """Few pixels that would have a vector to themselves are summed by another kernel."""
        cdef ptrdiff_t rest = pixels % self.lanes
        return rest if rest <= self.most_odd else 0

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

    cdef void take_panels(self, const Call *call, Scratch *scratch, const Lines *at, ptrdiff_t tile,
                          ptrdiff_t k) noexcept nogil:
        """Make what is missing of the panels of a stage."""
        cdef ptrdiff_t stage = tile * self.n_blocks + k // self.block
        if scratch.stage == stage:
            return
        if scratch.coming_stage != stage:
            self.begin_panels(call, scratch, at, stage, k)
        if scratch.ahead.step.n_products > 0:
            self.unroll_kernel(&scratch.ahead.step)
        scratch.panels, scratch.coming = scratch.coming, scratch.panels
        scratch.stage, scratch.ahead.step.n_products = stage, 0

    cdef void look_ahead(self, const Call *call, Scratch *scratch, const Lines *at, ptrdiff_t item, ptrdiff_t stop,
                         ptrdiff_t k) noexcept nogil:
        """Begin the panels of the next stage, which are made while this one is at work."""
        cdef ptrdiff_t next_tile = (item + 1) // self.n_out_blocks
        cdef ptrdiff_t taps[2]
        cdef Tile tile
        cdef Outer outer
        cdef Lines after
        if k + self.block < self.products:
            self.begin_panels(call, scratch, at, scratch.stage + 1, k + self.block)
        elif item + 1 < stop and next_tile * self.n_blocks != scratch.stage:
            tile, outer.taps = self.find(next_tile), taps
            self.outer_start(&call.arrays, tile.outer, &outer)
            after = self.lines_of(call, scratch, &tile, &outer, 0)
            if after.copied:
                self.begin_panels(call, scratch, &after, next_tile * self.n_blocks, 0)

    cdef void begin_panels(self, const Call *call, Scratch *scratch, const Lines *at, ptrdiff_t stage,
                           ptrdiff_t k) noexcept nogil:
        """Say what has to be copied from the input into the panels of a stage."""
        cdef fc_unroll *step = &scratch.ahead.step
        cdef ptrdiff_t panel, start, stop, pixel
        scratch.coming_stage, scratch.ahead.made = stage, 0
        scratch.ahead.hurry = self.out_block < 2 * self.level.pixels_vectors * self.level.pixels_rows
        step.src, step.offsets = at.src + k * call.arrays.x.channel, scratch.in_place
        step.dst, step.dst_pitch = scratch.coming, self.wide
        step.moves, step.n_moves = scratch.moves, 0
        for panel in range(at.panels):
            start, stop = self.panel_start(at, panel), self.panel_start(at, panel + 1)
            pixel = start
            while pixel < stop:
                # The last vector of a panel ends with it.
                scratch.moves[step.n_moves].from_ = max(min(pixel, stop - self.lanes), start)
                scratch.moves[step.n_moves].to = (
                    panel * self.block * self.wide + scratch.moves[step.n_moves].from_ - start)
                step.n_moves += 1
                pixel += self.lanes
        step.n_products = min(self.block, self.products - k) if step.n_moves else 0

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
                row = pixel // scratch.tile.width
                run = min((row + 1) * scratch.tile.width, stop) - pixel
                i = 0
                while i < run:
                    scratch.moves[step.n_moves].from_ = pixel + i + row * (self.pitch - scratch.tile.width)
                    scratch.moves[step.n_moves].to = pixel + i - start
                    step.n_moves += 1
                    i += self.lanes
                pixel += run
            step.dst = scratch.panels + panel * self.block * self.wide * self.computed_bytes
            self.unroll_kernel(&step)

    cdef void panels(self, const Call *call, Scratch *scratch, const Lines *at, ptrdiff_t k, ptrdiff_t first,
                     ptrdiff_t n, char *dst) noexcept nogil:
        """Some products of n output channels, for every panel of the tile."""
        cdef bint panelled = self.unrolled or at.copied
        cdef const char *src = at.src
        cdef ptrdiff_t line, panel, start, stop
        cdef fc_pixels_tile tile
        self.start_sums(call, scratch, first, k, &tile)
        tile.n_products, tile.accumulate = min(self.block, self.products - k), k > 0
        tile.dst_pitch, tile.channels_out = at.channel_pitch, n
        tile.offsets, tile.pitch, tile.ahead = NULL, self.wide, &scratch.ahead if at.copied else NULL
        if not panelled and self.taps == 1:
            tile.pitch = call.arrays.x.channel // self.computed_bytes if at.in_place else self.channel_pitch
            src += (self.offsets[0] + k * tile.pitch) * self.computed_bytes
        elif not panelled:
            tile.offsets = self.offsets + k
        for line in range(at.count):
            for panel in range(at.panels):
                start, stop = self.panel_start(at, panel), self.panel_start(at, panel + 1)
                tile.pixels = stop - start
                tile.dst = dst + line * at.dst_pitch + start * self.computed_bytes
                if panelled:
                    tile.src = scratch.panels + panel * self.block * self.wide * self.computed_bytes
                else:
                    tile.src = src + line * at.src_pitch + start * self.computed_bytes
                self.kernel(&tile)

    cdef void odd(self, const Call *call, const Scratch *scratch, const Lines *at, ptrdiff_t first,
                  ptrdiff_t n) noexcept nogil:
        """All products of n output channels for the few pixels behind the panels."""
        cdef fc_pixels_tile tile
        self.start_sums(call, scratch, first, 0, &tile)
        tile.n_products, tile.pixels = self.products, at.odd
        tile.dst, tile.dst_pitch, tile.channels_out = at.dst + at.pixels * self.computed_bytes, at.channel_pitch, n
        if at.in_place:
            tile.src, tile.offsets = at.src + at.pixels * self.computed_bytes, scratch.in_place
        else:
            tile.src, tile.offsets = scratch.packed + self.packed_pixel(&scratch.tile, at.pixels), self.offsets
        self.pixel_kernel(&tile)

    cdef void start_sums(self, const Call *call, const Scratch *scratch, ptrdiff_t first, ptrdiff_t k,
                         fc_pixels_tile *tile) noexcept nogil:
        """Where the weights of output channels from `first` on are, from product k on, and what their sums start from."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channel = scratch.tile.g * self.channels_out + first
        tile.weights = arrays.w.data + channel * arrays.w.batch + k * self.computed_bytes
        tile.weight_pitch = arrays.w.batch // self.computed_bytes
        tile.bias = arrays.bias + channel * self.computed_bytes if arrays.bias != NULL else NULL

    cdef ptrdiff_t packed_pixel(self, const Tile *tile, ptrdiff_t pixel) noexcept nogil:
        """Where a pixel of a joined tile is in the packed tile, in bytes."""
        return (pixel + pixel // tile.width * (self.pitch - tile.width)) * self.computed_bytes

    cdef void complete(self, const Call *call, const Scratch *scratch, const Lines *at, ptrdiff_t first, ptrdiff_t n,
                       char *values) noexcept nogil:
        """Finish and store the sums of n output channels, as far as they are not."""
        cdef const Tile *tile = &scratch.tile
        cdef Done done
        done.n, done.channel, done.y0, done.x0 = tile.n, tile.g * self.channels_out + first, tile.y0, tile.x0
        done.channels, done.rows, done.columns = n, tile.rows, tile.width
        done.values, done.staged, done.row = values, not at.direct, scratch.residual
        done.channel_pitch, done.row_pitch = at.channel_pitch * self.computed_bytes, at.row_pitch
        done.column_pitch = self.computed_bytes
        self.finish(&call.arrays, &scratch.outer, &done)
