# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""The implicit GEMM: many channels, float32 and float64.

    weights (out x taps)  *  patches (taps x pixels)  ->  result (out x pixels)

The patch matrix is never made: a packed tile holds each input sample of a tile once, with its halo, and the
micro-kernel finds the patches in it through a table of taps. Weights are packed into panels, a block of output
channels at a time, unless the plan holds them packed already.

A work item is one block of output channels on one tile. A pointwise kernel (one tap, stride 1, no padding) sees the
image as a single row, which is why such a plan wants arrays whose rows follow each other.
"""

cimport numpy as cnp
import numpy as np
from libc.string cimport memcpy, memset

from fastconv.drivers.kernels cimport fc_gemm_tile, fc_pack_panel
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport LINE, Arrays, Done, Geometry, channels_near, lines

cnp.import_array()


cdef class Panels(Geometry):
    """Tiles of the input times panels of weights, [channel][tap][output channels side by side]: what GEMMs share.

    A subclass packs a panel and computes a tile.
    """

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernel = self.level.gemm[self.compute]
        self.panel = self.level.gemm_vectors * self.lanes
        self.out_block = plan.out_block
        self.n_chunks = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_out_blocks = (self.channels_out + self.out_block - 1) // self.out_block
        self.n_items = self.groups * self.n_out_blocks * self.batch * self.outer_outs * self.n_row_blocks * self.n_chunks

    cdef void set_sizes(self, ptrdiff_t taps, ptrdiff_t results_bytes, ptrdiff_t residual_bytes):
        """Find the scratch memory, of panels of so many taps a channel."""
        self.panel_bytes = self.panel * self.channels * taps * self.computed_bytes
        self.results_bytes, self.residual_bytes = results_bytes, residual_bytes
        self.thread_bytes = (
            lines(sizeof(Scratch))
            + lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
            + lines(self.out_block // self.panel * self.panel_bytes)
            + lines(self.out_block * self.computed_bytes)
            + lines(self.results_bytes)
            + lines(self.residual_bytes)
            + lines(self.taps * sizeof(ptrdiff_t))
            + lines(self.map_bytes())
            + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

    def pack_all(self, cnp.ndarray w):
        """Return all weights as panels, to be handed to `run` as often as they are used."""
        cdef Call call
        cdef ptrdiff_t panels = (self.channels_out + self.panel - 1) // self.panel, g, p
        self.bind_panels(&call, w, None)
        cdef cnp.ndarray aligned = aligned_bytes(self.groups * panels * self.panel_bytes)
        cdef cnp.ndarray rows = aligned_bytes(self.taps * sizeof(ptrdiff_t))
        cdef char *dst = cnp.PyArray_BYTES(aligned)
        for g in range(self.groups):
            for p in range(panels):
                self.pack_weights(&call, g * self.channels_out + p * self.panel,
                                  min(self.panel, self.channels_out - p * self.panel),
                                  <ptrdiff_t *>cnp.PyArray_DATA(rows), dst)
                dst += self.panel_bytes
        return aligned

    cdef void bind_panels(self, Call *call, cnp.ndarray w, cnp.ndarray panels):
        call.arrays.w = self.bind_weights(w)
        call.w_plain = self.weights_plain(&call.arrays)
        call.panels = cnp.PyArray_BYTES(panels) if panels is not None else NULL

    cdef int run_blocks(self, Call *call, object threads) except -1:
        # Neighbouring items share packed weights.
        cdef Task task = Task(self.work, self.n_items, 1, True, 0, self.thread_bytes)
        return self.run_items(call, threads, &task)

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
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

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory; what is packed in it then lasts from item to item."""
        cdef char *at = memory
        cdef Scratch *scratch = <Scratch *>memory
        at += lines(sizeof(Scratch))
        scratch.packed = at
        at += lines(self.channels * self.channel_pitch * self.computed_bytes + self.level.vector_bytes)
        scratch.weights = at
        at += lines(self.out_block // self.panel * self.panel_bytes)
        scratch.bias = at
        at += lines(self.out_block * self.computed_bytes)
        scratch.results = at
        at += lines(self.results_bytes)
        scratch.residual = at
        at += lines(self.residual_bytes)
        scratch.rows = <ptrdiff_t *>at
        at += lines(self.taps * sizeof(ptrdiff_t))
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at
        scratch.weights_key = scratch.y0 = -1

    cdef const char *block_weights(self, const Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """The panels of the output channels from `first` of the tile's group on, and their bias.

        Packed if they are not yet.
        """
        cdef ptrdiff_t channel = scratch.g * self.channels_out + first, p
        cdef ptrdiff_t panels = (self.channels_out + self.panel - 1) // self.panel
        cdef ptrdiff_t n = min(self.out_block, self.channels_out - first)
        if scratch.weights_key != channel:
            scratch.weights_key = channel
            memset(scratch.bias, 0, self.out_block * self.computed_bytes)
            if call.arrays.bias != NULL:
                memcpy(scratch.bias, call.arrays.bias + channel * self.computed_bytes, n * self.computed_bytes)
            if call.panels == NULL:
                for p in range((n + self.panel - 1) // self.panel):
                    self.pack_weights(call, channel + p * self.panel, min(self.panel, n - p * self.panel), scratch.rows,
                                      scratch.weights + p * self.panel_bytes)
        scratch.far_weights = call.panels != NULL
        if call.panels != NULL:
            return call.panels + (scratch.g * panels + first // self.panel) * self.panel_bytes
        return scratch.weights

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

    cdef void pack_weights(self, const Call *call, ptrdiff_t channel, ptrdiff_t n, ptrdiff_t *rows,
                           char *panel) noexcept nogil:
        """Pack the panel of n output channels; there is memory for a row of the panel of each tap."""

    cdef void tile(self, Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """Compute a block of output channels, from `first` of the group on, on the packed tile."""


cdef class Driver(Panels):
    cdef fc_pack_panel *pack_panel
    cdef bint flattened
    cdef const ptrdiff_t *tap_offsets
    cdef const ptrdiff_t *natural_order  # 0, 1, 2 ...: the rows of a panel that the taps of a channel go to
    cdef object keep_gemm

    def __init__(self, problem, plan):
        Panels.__init__(self, problem, plan)
        cdef ptrdiff_t stage_bytes = 0, residual_bytes = 0
        self.pack_panel = self.level.pack_panel[self.compute]
        natural_order = np.arange(self.taps, dtype=np.intp)
        self.keep_gemm = (plan.tap_offsets, natural_order)
        self.tap_offsets = <const ptrdiff_t *>cnp.PyArray_DATA(plan.tap_offsets)
        self.natural_order = <const ptrdiff_t *>cnp.PyArray_DATA(natural_order)
        self.flattened = plan.flattened
        self.work = problem.thread_work
        if self.casts or self.has_epilogue:
            stage_bytes = self.panel * self.tile_rows * self.tile_columns * self.computed_bytes
            residual_bytes = max(self.panel, self.tile_columns) * self.computed_bytes
        self.set_sizes(self.taps, stage_bytes, residual_bytes)

    @property
    def panel_format(self):
        """Equal for drivers of a plan that can use each other's packed weights."""
        return "panels"

    @property
    def fuses_epilogue(self):
        """Whether `run` finishes what it stores."""
        return True

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None, cnp.ndarray scale=None, cnp.ndarray residual=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned.

        The residual may be out.
        """
        cdef Call call
        if self.n_items == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        if self.flattened and not self.flat_stride(x, &call.arrays.x.x):
            self.run(np.ascontiguousarray(x), w, bias, out, threads, panels, scale, residual)
            return
        if self.flattened and not self.flat_stride(out, &call.arrays.out.x):
            result = np.empty((<object>out).shape, out.dtype)
            self.run(x, w, bias, result, threads, panels, scale, residual)
            out[...] = result
            return
        self.bind_epilogue(&call.arrays, bias, scale, residual)
        if self.flattened and residual is not None and not self.flat_stride(residual, &call.arrays.residual.x):
            self.run(x, w, bias, out, threads, panels, scale, np.ascontiguousarray(residual))
            return
        self.bind_stage(&call)
        self.bind_panels(&call, w, panels)
        self.run_blocks(&call, threads)

    cdef bint flat_stride(self, cnp.ndarray array, ptrdiff_t *stride):
        """Find the distance between neighbouring samples of an image, if it is the same for all; else return False."""
        cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(array)
        cdef ptrdiff_t samples = 1
        cdef int i, axis
        stride[0] = self.computed_bytes
        for i in range(<int>len(self.spatial_axes) - 1, -1, -1):
            axis = self.spatial_axes[i]
            # The stride of an axis of one sample means nothing.
            if cnp.PyArray_DIM(array, axis) == 1:
                continue
            if samples == 1:
                stride[0] = strides[axis]
            elif strides[axis] != samples * stride[0]:
                return False
            samples *= cnp.PyArray_DIM(array, axis)
        return True

    cdef void bind_stage(self, Call *call) noexcept nogil:
        """Where a panel's results lie on the way: neighbours are what neighbours are in the result."""
        cdef ptrdiff_t item = self.computed_bytes, pixels = self.tile_rows * self.tile_columns
        cdef bint across = channels_near(&call.arrays.out)
        call.staged = self.wants_stage(&call.arrays)
        call.stage = call.arrays
        call.stage.out.channel = item if across else pixels * item
        call.stage.out.x = self.panel * item if across else item
        call.stage.out.y = self.tile_columns * call.stage.out.x

    cdef void pack_weights(self, const Call *call, ptrdiff_t channel, ptrdiff_t n, ptrdiff_t *rows,
                           char *panel) noexcept nogil:
        """One panel: the weights of n output channels, side by side."""
        cdef const Arrays *arrays = &call.arrays
        cdef const char *w = arrays.w.data + channel * arrays.w.batch
        cdef ptrdiff_t c
        if call.w_plain:
            self.pack_plain(self.pack_panel, panel, self.panel, w, arrays.w.batch, n, self.channels * self.taps)
            return
        for c in range(self.channels):
            self.pack_channel(&arrays.w, w + c * arrays.w.channel, n, self.natural_order,
                              panel + c * self.taps * self.panel * self.computed_bytes)

    cdef void tile(self, Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil:
        """A block of output channels, from `first` of the group on, on the packed tile."""
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t channels_out = min(self.out_block, self.channels_out - first)
        cdef const char *weights = self.block_weights(call, scratch, first)
        cdef char *out = (arrays.out.data + scratch.n * arrays.out.batch
                          + (scratch.g * self.channels_out + first) * arrays.out.channel
                          + scratch.outer.out_offset + scratch.y0 * arrays.out.y + scratch.x0 * arrays.out.x)
        if self.casts or self.has_epilogue:
            self.finished_tiles(call, scratch, weights, first, channels_out, out)
        else:
            self.register_tiles(arrays, scratch, weights, scratch.bias, channels_out, out, scratch.map.rows,
                                min(self.tile_columns, self.x.out - scratch.x0))

    cdef void finished_tiles(self, Call *call, Scratch *scratch, const char *weights, ptrdiff_t first,
                             ptrdiff_t channels_out, char *out) noexcept nogil:
        """The register tiles of one panel after the other, each finished while its results are in the cache."""
        cdef const Arrays *to = &call.stage if call.staged else &call.arrays
        cdef ptrdiff_t p
        cdef Done done
        done.n, done.y0, done.x0 = scratch.n, scratch.y0, scratch.x0
        done.rows, done.columns = scratch.map.rows, min(self.tile_columns, self.x.out - scratch.x0)
        done.channel_pitch, done.row_pitch, done.column_pitch = to.out.channel, to.out.y, to.out.x
        done.staged, done.row = call.staged, scratch.residual
        for p in range((channels_out + self.panel - 1) // self.panel):
            done.channel = scratch.g * self.channels_out + first + p * self.panel
            done.channels = min(self.panel, channels_out - p * self.panel)
            done.values = scratch.results if call.staged else out + p * self.panel * to.out.channel
            self.register_tiles(to, scratch, weights + p * self.panel_bytes,
                                scratch.bias + p * self.panel * self.computed_bytes, done.channels, done.values,
                                done.rows, done.columns)
            self.finish(&call.arrays, &scratch.outer, &done)

    cdef void register_tiles(self, const Arrays *arrays, const Scratch *scratch, const char *weights, const char *bias,
                             ptrdiff_t channels_out, char *out, ptrdiff_t rows, ptrdiff_t width) noexcept nogil:
        """Every register tile of a packed tile, from left to right, so that one may write into the next."""
        cdef fc_gemm_tile tile
        cdef ptrdiff_t p, r, i, start, stop, n = (width + self.level.gemm_pixels - 1) // self.level.gemm_pixels
        # Two short rows make one tile where their results follow each other.
        cdef ptrdiff_t paired = 0
        if 2 * width <= self.level.gemm_pixels and arrays.out.y == width * arrays.out.x:
            paired = rows // 2 * 2
        tile.channels, tile.channel_pitch = self.channels, self.channel_pitch
        tile.taps, tile.n_taps = self.tap_offsets, self.taps
        tile.pixel_pitch = arrays.out.x // self.computed_bytes
        tile.channel_out_pitch = arrays.out.channel // self.computed_bytes
        for p in range((channels_out + self.panel - 1) // self.panel):
            tile.weights = weights + p * self.panel_bytes
            tile.bias = bias + p * self.panel * self.computed_bytes
            tile.channels_out = min(self.panel, channels_out - p * self.panel)
            tile.ahead = self.panel_bytes if scratch.far_weights else 0
            tile.gap = self.pitch - width
            tile.pixels = tile.writable = 2 * width
            for r in range(0, paired, 2):
                tile.src = scratch.packed + r * self.pitch * self.computed_bytes
                tile.dst = out + p * self.panel * arrays.out.channel + r * arrays.out.y
                self.register_tile(&tile)
            tile.gap = 0
            for r in range(paired, rows):
                for i in range(n):
                    # Equal shares: 27 pixels are 14 + 13, which keeps the accumulators busy.
                    start, stop = i * width // n, (i + 1) * width // n
                    tile.src = scratch.packed + (r * self.pitch + start) * self.computed_bytes
                    tile.pixels, tile.writable = stop - start, width - start
                    tile.dst = out + p * self.panel * arrays.out.channel + r * arrays.out.y + start * arrays.out.x
                    self.register_tile(&tile)

    cdef void register_tile(self, fc_gemm_tile *tile) noexcept nogil:
        """A register tile, which fetches a line of the cache of every row of the next panel, if the plan holds it.

        It may be far away: 512 channels of 7 x 7 to 2048 with 1 x 1 take 1290 us with that, and 1670 without.
        """
        self.kernel(tile)
        if tile.ahead != 0:
            tile.ahead += LINE
            if tile.ahead >= self.panel_bytes + self.panel * self.computed_bytes:
                tile.ahead = 0
