# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Inputs with zeros between their samples, as in a transposed convolution: float32 and float64, many channels.

Along an axis of input dilation P, and of stride 1, outputs p, p + P, p + 2P ... read the same taps, and no others meet
a sample: a phase, which is an ordinary convolution of the input as it is. All phases of a tile read one packed tile,
and each is an implicit GEMM with taps of its own; those of a row are computed into scratch and interleaved from there::

    phase 0   a b c ...
                          ->   a A b B c C ...
    phase 1   A B C ...

What the phases read is wider than what any of them does, so the packed tile is that of a kernel of all their taps.
Weights are packed a block of output channels at a time::

    [panel of output channels][phase][channel][tap of the phase][gemm_columns]
"""

cimport numpy as cnp
from libc.string cimport memcpy, memset

from fastconv.drivers.kernels cimport fc_gemm, fc_gemm_tile, fc_interleave
from fastconv.drivers.levels cimport scratch_give, scratch_take
from fastconv.drivers.threads cimport Region, region_enter, region_leave, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport Arrays, Geometry, Outer, TileMap, lines

cnp.import_array()


cdef struct Call:
    Arrays arrays
    const char *panels   # all weights, packed before, or NULL
    char *scratch


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *weights
    char *bias
    char *results          # [phase along x][output channel of a panel][column]
    ptrdiff_t *rows        # of a panel, which the taps of a channel go to
    TileMap map
    Outer outer
    ptrdiff_t weights_key  # the first output channel whose weights are packed
    # What the packed tile holds: its place in the image, and the image.
    ptrdiff_t y0, x0, outer_index, n, g


cdef const ptrdiff_t *pointer(cnp.ndarray array):
    return <const ptrdiff_t *>cnp.PyArray_DATA(array)


cdef class Driver(Geometry):
    cdef fc_gemm *kernel
    cdef fc_interleave *interleave
    cdef ptrdiff_t phases_y, phases_x
    cdef const ptrdiff_t *outs_y      # of each phase
    cdef const ptrdiff_t *outs_x
    cdef const ptrdiff_t *tap_start   # of each phase in tap_offsets; the last is the number of all
    cdef const ptrdiff_t *tap_offsets
    cdef const ptrdiff_t *row_first   # of each tap: its row in the first channel of a panel, or -1
    cdef const ptrdiff_t *row_step    # and from channel to channel
    cdef ptrdiff_t panel, out_block, n_row_blocks, n_chunks, n_out_blocks, thread_bytes, panel_bytes, row_pitch
    cdef double work
    cdef object keep_phases

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernel_y, self.kernel_x = plan.kernel
        self.taps = self.outer_taps * self.kernel_y * self.kernel_x
        self.kernel = self.level.gemm[self.compute]
        self.interleave = self.level.interleave[self.compute]
        self.keep_phases = (plan.outs_y, plan.outs_x, plan.tap_start, plan.tap_offsets, plan.row_first, plan.row_step)
        self.phases_y, self.phases_x = len(plan.outs_y), len(plan.outs_x)
        self.outs_y, self.outs_x = pointer(plan.outs_y), pointer(plan.outs_x)
        self.tap_start, self.tap_offsets = pointer(plan.tap_start), pointer(plan.tap_offsets)
        self.row_first, self.row_step = pointer(plan.row_first), pointer(plan.row_step)
        self.panel = self.level.gemm_vectors * self.lanes
        self.panel_bytes = (self.panel * self.channels * self.tap_start[self.phases_y * self.phases_x]
                            * self.computed_bytes)
        self.out_block = plan.out_block
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_out_blocks = (self.channels_out + self.out_block - 1) // self.out_block
        # An odd number of vectors, so that the rows of a panel spread over the sets of L1.
        self.row_pitch = (((self.tile_columns + self.lanes - 1) // self.lanes + 1) | 1) * self.lanes
        self.work = plan.products
        self.thread_bytes = (
            lines(sizeof(Scratch))
            + lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
            + lines(self.out_block // self.panel * self.panel_bytes)
            + lines(self.out_block * self.computed_bytes)
            + lines((self.phases_x * self.panel * self.row_pitch + self.lanes) * self.computed_bytes)
            + lines(self.taps * sizeof(ptrdiff_t))
            + lines(self.map_bytes())
            + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

    @property
    def level_name(self):
        """The level whose kernels this driver calls."""
        return self.level.name.decode()

    def pack_all(self, cnp.ndarray w):
        """Return all weights as panels, to be handed to `run` as often as they are used."""
        cdef Arrays arrays
        cdef ptrdiff_t panels = (self.channels_out + self.panel - 1) // self.panel, g, p
        arrays.w = self.bind_weights(w)
        cdef cnp.ndarray aligned = aligned_bytes(self.groups * panels * self.panel_bytes)
        cdef cnp.ndarray rows = aligned_bytes(self.taps * sizeof(ptrdiff_t))
        cdef char *dst = cnp.PyArray_BYTES(aligned)
        for g in range(self.groups):
            for p in range(panels):
                self.pack_weights(&arrays, g * self.channels_out + p * self.panel,
                                  min(self.panel, self.channels_out - p * self.panel),
                                  <ptrdiff_t *>cnp.PyArray_DATA(rows), dst)
                dst += self.panel_bytes
        return aligned

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        cdef Call call
        cdef Region region
        cdef int t
        cdef ptrdiff_t items = (
            self.groups * self.n_out_blocks * self.batch * self.outer_outs * self.n_row_blocks * self.n_chunks)
        if items == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        call.arrays.w = self.bind_weights(w)
        call.arrays.bias = cnp.PyArray_BYTES(bias) if bias is not None else NULL
        call.panels = cnp.PyArray_BYTES(panels) if panels is not None else NULL
        region = region_enter(threads, self.work, items)
        try:
            call.scratch = <char *>scratch_take(region.threads * self.thread_bytes)
            if call.scratch == NULL:
                raise MemoryError("fastconv: no memory for the tiles")
            for t in range(region.threads):
                self.lay_out(&call, t)
            with nogil:
                # Runs of items in a row share packed weights, so a thread takes some at a time.
                self.loop(&call, &region, items, True)
            scratch_give(call.scratch)
        finally:
            region_leave(&region)

    cdef void items(self, void *of, Region *region, int thread, ptrdiff_t start, ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>(call.scratch + thread * self.thread_bytes)
        cdef ptrdiff_t item, rest, outer, rows, chunk, n, block
        for item in range(start, stop):
            if region.stopped:
                return
            chunk = item % self.n_chunks
            rest = item // self.n_chunks
            rows = rest % self.n_row_blocks
            rest //= self.n_row_blocks
            outer = rest % self.outer_outs
            rest //= self.outer_outs
            n = rest % self.batch
            rest //= self.batch
            block = rest % self.n_out_blocks
            self.pack_tile(call, scratch, n, rest // self.n_out_blocks, outer, rows * self.tile_rows,
                           chunk * self.tile_columns)
            self.tile(call, scratch, block * self.out_block)
            if thread == 0:
                region_poll(region)

    cdef void lay_out(self, Call *call, int thread) noexcept nogil:
        """Divide a thread's memory; what is packed in it then lasts from item to item."""
        cdef char *at = call.scratch + thread * self.thread_bytes
        cdef Scratch *scratch = <Scratch *>at
        at += lines(sizeof(Scratch))
        scratch.packed = at
        at += lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
        scratch.weights = at
        at += lines(self.out_block // self.panel * self.panel_bytes)
        scratch.bias = at
        at += lines(self.out_block * self.computed_bytes)
        scratch.results = at
        at += lines((self.phases_x * self.panel * self.row_pitch + self.lanes) * self.computed_bytes)
        scratch.rows = <ptrdiff_t *>at
        at += lines(self.taps * sizeof(ptrdiff_t))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        scratch.weights_key = scratch.y0 = -1

    # --- weights and samples -----------------------------------------------------------------------------------------

    cdef const char *block_weights(self, Call *call, Scratch *scratch, ptrdiff_t g, ptrdiff_t first,
                                   ptrdiff_t n) noexcept nogil:
        """The panels and the bias of output channels first..first + n - 1 of a group, packed if they are not yet."""
        cdef ptrdiff_t channel = g * self.channels_out + first, p
        cdef ptrdiff_t panels = (self.channels_out + self.panel - 1) // self.panel
        if scratch.weights_key != channel:
            scratch.weights_key = channel
            memset(scratch.bias, 0, self.out_block * self.computed_bytes)
            if call.arrays.bias != NULL:
                memcpy(scratch.bias, call.arrays.bias + channel * self.computed_bytes, n * self.computed_bytes)
            if call.panels == NULL:
                for p in range((n + self.panel - 1) // self.panel):
                    self.pack_weights(&call.arrays, channel + p * self.panel, min(self.panel, n - p * self.panel),
                                      scratch.rows, scratch.weights + p * self.panel_bytes)
        if call.panels != NULL:
            return call.panels + (g * panels + first // self.panel) * self.panel_bytes
        return scratch.weights

    cdef void pack_weights(self, const Arrays *arrays, ptrdiff_t channel, ptrdiff_t n, ptrdiff_t *rows,
                           char *panel) noexcept nogil:
        """One panel: the weights of n output channels, side by side, those of each phase together."""
        cdef const char *w = arrays.w.data + channel * arrays.w.batch
        cdef ptrdiff_t c, tap
        memcpy(rows, self.row_first, self.taps * sizeof(ptrdiff_t))
        for c in range(self.channels):
            self.pack_channel(&arrays.w, w + c * arrays.w.channel, n, rows, panel)
            for tap in range(self.taps):
                rows[tap] += self.row_step[tap]

    cdef void pack_tile(self, Call *call, Scratch *scratch, ptrdiff_t n, ptrdiff_t g, ptrdiff_t outer, ptrdiff_t y0,
                        ptrdiff_t x0) noexcept nogil:
        """Pack a tile, or as much of it as the tile before does not share."""
        cdef const Arrays *arrays = &call.arrays
        cdef bint same_place = scratch.y0 == y0 and scratch.x0 == x0 and scratch.outer_index == outer
        if same_place and scratch.n == n and scratch.g == g:
            return
        if same_place:
            self.runs_only(&scratch.map)
        else:
            self.outer_start(arrays, outer, &scratch.outer)
            self.start_tile(arrays, y0, min(self.tile_rows, self.y.out - y0), x0,
                            min(self.tile_columns, self.x.out - x0), &scratch.map)
        scratch.y0, scratch.x0, scratch.outer_index, scratch.n, scratch.g = y0, x0, outer, n, g
        self.pack(arrays, arrays.x.data + n * arrays.x.batch + g * self.channels * arrays.x.channel, g * self.channels,
                  &scratch.outer, &scratch.map, scratch.packed)

    # --- results -----------------------------------------------------------------------------------------------------

    cdef void tile(self, Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """A block of output channels, from `first` of the group on: all phases on the packed tile."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channels_out = min(self.out_block, self.channels_out - first), p, phase, r
        cdef const char *weights = self.block_weights(call, scratch, scratch.g, first, channels_out)
        cdef char *out = (arrays.out.data + scratch.n * arrays.out.batch
                          + (scratch.g * self.channels_out + first) * arrays.out.channel
                          + scratch.outer.out_offset + scratch.y0 * self.phases_y * arrays.out.y
                          + scratch.x0 * self.phases_x * arrays.out.x)
        cdef fc_gemm_tile tile
        tile.channel_pitch, tile.gap = self.channel_pitch, 0
        for p in range((channels_out + self.panel - 1) // self.panel):
            tile.bias = scratch.bias + p * self.panel * self.computed_bytes
            tile.channels_out = min(self.panel, channels_out - p * self.panel)
            for phase in range(self.phases_y):
                for r in range(min(self.tile_rows, self.outs_y[phase] - scratch.y0)):
                    self.row(arrays, scratch, &tile, weights + p * self.panel_bytes, phase, r,
                             out + p * self.panel * arrays.out.channel + (r * self.phases_y + phase) * arrays.out.y)

    cdef void row(self, const Arrays *arrays, const Scratch *scratch, fc_gemm_tile *tile, const char *weights,
                  ptrdiff_t phase_y, ptrdiff_t r, char *out) noexcept nogil:
        """Row r of a tile of one phase along y, all phases along x."""
        cdef ptrdiff_t item = self.computed_bytes, phase_pitch = self.panel * self.row_pitch, columns = 0, width, x
        cdef bint through_scratch = self.phases_x > 1 and arrays.out.x == item
        for x in range(self.phases_x):
            width = min(self.tile_columns, self.outs_x[x] - scratch.x0)
            if width <= 0:
                break
            columns += width
            if through_scratch:
                tile.dst = scratch.results + x * phase_pitch * item
                tile.pixel_pitch, tile.channel_out_pitch = 1, self.row_pitch
            else:
                tile.dst = out + x * arrays.out.x
                tile.pixel_pitch = self.phases_x * arrays.out.x // item
                tile.channel_out_pitch = arrays.out.channel // item
            self.phase_row(scratch, tile, weights, phase_y * self.phases_x + x, r, width, through_scratch)
        if through_scratch:
            self.interleave(out, arrays.out.channel // item, scratch.results, phase_pitch, self.row_pitch,
                            self.phases_x, tile.channels_out, columns)

    cdef void phase_row(self, const Scratch *scratch, fc_gemm_tile *tile, const char *weights, ptrdiff_t phase,
                        ptrdiff_t r, ptrdiff_t width, bint to_scratch) noexcept nogil:
        """The register tiles of a row, from left to right, so that one may write into the next."""
        cdef ptrdiff_t item = self.computed_bytes, first = self.tap_start[phase], i, start, stop
        cdef ptrdiff_t n = (width + self.level.gemm_pixels - 1) // self.level.gemm_pixels
        cdef ptrdiff_t pitch = tile.pixel_pitch * item
        cdef char *dst = <char *>tile.dst
        tile.taps, tile.n_taps = self.tap_offsets + first, self.tap_start[phase + 1] - first
        # A phase without taps is its bias.
        tile.channels = self.channels if tile.n_taps else 0
        tile.weights = weights + first * self.channels * self.panel * item
        for i in range(n):
            start, stop = i * width // n, (i + 1) * width // n
            tile.src = scratch.packed + (r * self.pitch + start) * item
            tile.pixels = stop - start
            tile.writable = (self.row_pitch if to_scratch else width) - start
            tile.dst = dst + start * pitch
            self.kernel(tile)
