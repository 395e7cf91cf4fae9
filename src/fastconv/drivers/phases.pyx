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
from libc.string cimport memcpy

from fastconv.drivers.gemm cimport Call, Panels, Scratch
from fastconv.drivers.kernels cimport fc_gemm_tile, fc_interleave
from fastconv.drivers.tile cimport Arrays

cnp.import_array()


cdef const ptrdiff_t *pointer(cnp.ndarray array):
    return <const ptrdiff_t *>cnp.PyArray_DATA(array)


cdef class Driver(Panels):
    cdef fc_interleave *interleave
    cdef ptrdiff_t phases_y, phases_x
    cdef const ptrdiff_t *outs_y      # of each phase
    cdef const ptrdiff_t *outs_x
    cdef const ptrdiff_t *tap_start   # of each phase in tap_offsets; the last is the number of all
    cdef const ptrdiff_t *tap_offsets
    cdef const ptrdiff_t *row_first   # of each tap: its row in the first channel of a panel, or -1
    cdef const ptrdiff_t *row_step    # and from channel to channel
    cdef ptrdiff_t row_pitch
    cdef object keep_phases

    def __init__(self, problem, plan):
        Panels.__init__(self, problem, plan)
        self.kernel_y, self.kernel_x = plan.kernel
        self.taps = self.outer_taps * self.kernel_y * self.kernel_x
        self.interleave = self.level.interleave[self.compute]
        self.keep_phases = (plan.outs_y, plan.outs_x, plan.tap_start, plan.tap_offsets, plan.row_first, plan.row_step)
        self.phases_y, self.phases_x = len(plan.outs_y), len(plan.outs_x)
        self.outs_y, self.outs_x = pointer(plan.outs_y), pointer(plan.outs_x)
        self.tap_start, self.tap_offsets = pointer(plan.tap_start), pointer(plan.tap_offsets)
        self.row_first, self.row_step = pointer(plan.row_first), pointer(plan.row_step)
        # An odd number of vectors, so that the rows of a panel spread over the sets of L1.
        self.row_pitch = (((self.tile_columns + self.lanes - 1) // self.lanes + 1) | 1) * self.lanes
        self.work = plan.products
        self.set_sizes(self.tap_start[self.phases_y * self.phases_x],
                       (self.phases_x * self.panel * self.row_pitch + self.lanes) * self.computed_bytes, 0)

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        cdef Call call
        if self.n_items == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        call.arrays.bias = cnp.PyArray_BYTES(bias) if bias is not None else NULL
        self.bind_panels(&call, w, panels)
        self.run_blocks(&call, threads)

    # --- weights -----------------------------------------------------------------------------------------------------

    cdef void pack_weights(self, const Call *call, ptrdiff_t channel, ptrdiff_t n, ptrdiff_t *rows,
                           char *panel) noexcept nogil:
        """One panel: the weights of n output channels, side by side, those of each phase together."""
        cdef const Arrays *arrays = &call.arrays
        cdef const char *w = arrays.w.data + channel * arrays.w.batch
        cdef ptrdiff_t c, tap
        memcpy(rows, self.row_first, self.taps * sizeof(ptrdiff_t))
        for c in range(self.channels):
            self.pack_channel(&arrays.w, w + c * arrays.w.channel, n, rows, panel)
            for tap in range(self.taps):
                rows[tap] += self.row_step[tap]

    # --- results -----------------------------------------------------------------------------------------------------

    cdef void tile(self, Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """A block of output channels, from `first` of the group on: all phases on the packed tile."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channels_out = min(self.out_block, self.channels_out - first), p, phase, r
        cdef const char *weights = self.block_weights(call, scratch, first)
        cdef char *out = (arrays.out.data + scratch.n * arrays.out.batch
                          + (scratch.g * self.channels_out + first) * arrays.out.channel
                          + scratch.outer.out_offset + scratch.y0 * self.phases_y * arrays.out.y
                          + scratch.x0 * self.phases_x * arrays.out.x)
        cdef fc_gemm_tile tile
        tile.channel_pitch, tile.gap, tile.ahead = self.channel_pitch, 0, 0
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
