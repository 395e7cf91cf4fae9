# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Convolution of bytes: an implicit GEMM whose sums are exact in 32 bits, and scaled to bytes while they are stored.

The kernel multiplies unsigned samples with signed weights. Signed samples and unsigned weights have their highest bit
flipped on the way into the packed arrays, which moves them and their zero points by 128 and changes no difference:

    sum (x - x_zero) (w - w_zero)  =  sum x w  -  x_zero sum w  -  w_zero sum x  +  n x_zero w_zero

The second and the last term are known when the weights are packed, and are the `base` of an output channel together
with its bias. The third, where a zero point of the weights is not 0, takes one more panel, of ones.

    packed tile    [z tap][row][column][channel]     all channels of a block of groups
    weights        [block][panel][run][quad][32 output channels][4]

A run is the bytes of a packed tile that meet neighbouring weights: the channels of all taps of a kernel row, or of one
tap where taps lie apart. A block has the groups whose output channels fit one panel together, or one group.
"""

cimport numpy as cnp
import numpy as np
from libc.stdint cimport int8_t, int32_t, uint8_t
from libc.string cimport memcpy, memset

from fastconv.drivers.kernels cimport FC_INT8_COLUMNS, fc_int8_store, fc_int8_tile, fc_level, fc_store_int8
from fastconv.drivers.levels cimport level_named
from fastconv.drivers.threads cimport Loop, Region, Task, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport AxisSpec, axis_spec, lines

cnp.import_array()

cdef enum:
    SUMS = 48 * FC_INT8_COLUMNS  # of two strips, with the pixels behind them that the store stage reads


# The first element of an array of five axes, and its strides in bytes.
cdef struct Bytes:
    char *data
    ptrdiff_t batch, channel, z, y, x

cdef Bytes bind(cnp.ndarray array):
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(array)
    return Bytes(cnp.PyArray_BYTES(array), strides[0], strides[1], strides[2], strides[3], strides[4])


cdef struct Call:
    Bytes x, out
    uint8_t flip, x_zero  # x_zero is flipped
    const char *panels
    const char *ones      # the panel of ones, or NULL
    const int32_t *base
    const int32_t *w_zero
    const float *scale    # or NULL: the sums are the result
    float low, high
    int y_zero
    bint channels_last


cdef struct Scratch:
    uint8_t *packed
    int32_t *sums
    int32_t *windows
    char *stage


# One item: a tile of outputs of one block of groups.
cdef struct Place:
    ptrdiff_t n, block, z, y0, x0, rows, columns, strips
    ptrdiff_t channels, channels_out


def pack(layout, cnp.ndarray w, int flip):
    """Return the weights in panels, and the sum of each output channel's, flipped.

    Parameters
    ----------
    layout : planners.quantised.Layout
    w : ndarray of bytes, shape (groups * channels_out, channels, z, y, x)
    flip : int
        XORed with every weight.
    """
    cdef const fc_level *level = level_named(layout.level)
    cdef Bytes view = bind(w)
    cdef ptrdiff_t channels = layout.channels, channels_out = layout.channels_out, merged = layout.merged
    cdef ptrdiff_t panel_bytes = layout.panel_bytes, pixel_bytes = layout.pixel_bytes
    cdef ptrdiff_t run_bytes = layout.quads * FC_INT8_COLUMNS * 4
    cdef ptrdiff_t o, z, y, x, run
    cdef bint joined = layout.joined
    cdef ptrdiff_t kz = layout.kernel[0], ky = layout.kernel[1], kx = layout.kernel[2]
    cdef cnp.ndarray places = layout.columns()
    cdef cnp.ndarray panels = aligned_bytes(layout.blocks * layout.panels * panel_bytes)
    cdef cnp.ndarray sums = np.zeros(len(places), np.int32)
    cdef const ptrdiff_t *place = <const ptrdiff_t *>cnp.PyArray_DATA(places)
    cdef int32_t *sum_of = <int32_t *>cnp.PyArray_DATA(sums)
    cdef int8_t *column
    cdef ptrdiff_t first
    panels[...] = 0
    for o in range(cnp.PyArray_DIM(w, 0)):
        column = (<int8_t *>cnp.PyArray_BYTES(panels) + place[o] // FC_INT8_COLUMNS * panel_bytes
                  + place[o] % FC_INT8_COLUMNS * 4)
        # The first byte of the output channel's group in a packed pixel.
        first = o // channels_out % merged * channels
        run = 0
        for z in range(kz):
            for y in range(ky):
                for x in range(kx):
                    sum_of[o] += level.pack_quads(
                        column + run * run_bytes, first + (x * pixel_bytes if joined else 0),
                        <const uint8_t *>view.data + o * view.batch + z * view.z + y * view.y + x * view.x,
                        view.channel, channels, flip)
                    if not joined or x == kx - 1:
                        run += 1
    return panels, sums


cdef class Driver(Loop):
    """The loops of one layout on images of one shape.

    Parameters
    ----------
    tiles : planners.quantised.Tiles
    """

    cdef const fc_level *level
    cdef ptrdiff_t batch, groups, channels, channels_out, merged, blocks, panels, panel_bytes, pixel_bytes
    cdef AxisSpec z, y, x
    cdef ptrdiff_t z_step, y_step, x_step, item_bytes, strip, tile_rows, tile_strips
    cdef ptrdiff_t packed_columns, row_pitch, plane_pitch, stage_pitch, out_block
    cdef ptrdiff_t n_runs, quads, chunk
    cdef const ptrdiff_t *runs
    cdef object keep
    cdef ptrdiff_t n_row_blocks, n_chunks, packed_bytes, thread_bytes
    cdef double work

    def __init__(self, tiles):
        layout = tiles.layout
        self.level = level_named(layout.level)
        self.batch, self.groups = tiles.batch, layout.groups
        self.channels, self.channels_out = layout.channels, layout.channels_out
        self.merged, self.blocks, self.panels = layout.merged, layout.blocks, layout.panels
        self.panel_bytes, self.pixel_bytes = layout.panel_bytes, layout.pixel_bytes
        self.z, self.y, self.x = axis_spec(tiles.axes[0]), axis_spec(tiles.axes[1]), axis_spec(tiles.axes[2])
        self.z_step, self.y_step, self.x_step = tiles.steps
        self.item_bytes, self.strip = tiles.item_bytes, tiles.strip
        self.tile_rows, self.tile_strips = tiles.tile_rows, tiles.tile_strips
        self.packed_columns, self.row_pitch, self.plane_pitch = (
            tiles.packed_columns, tiles.row_pitch, tiles.plane_pitch)
        self.stage_pitch, self.out_block = tiles.stage_pitch, tiles.out_block
        self.n_runs, self.quads, self.chunk = layout.runs, layout.quads, layout.chunk
        self.keep = tiles.runs
        self.runs = <const ptrdiff_t *>cnp.PyArray_DATA(tiles.runs)
        self.n_row_blocks = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_chunks = (self.x.out + self.tile_strips * self.strip - 1) // (self.tile_strips * self.strip)
        self.work = tiles.work
        # Behind the last run, the bytes that meet zeros.
        self.packed_bytes = lines(self.z.k * self.plane_pitch + 4 * self.quads)
        self.thread_bytes = (self.packed_bytes + 2 * SUMS * <ptrdiff_t>sizeof(int32_t)
                             + lines(self.out_block * self.stage_pitch + 16))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.thread_bytes

    @property
    def level_name(self):
        """The level whose kernels this driver calls."""
        return self.level.name.decode()

    def run(self, cnp.ndarray x, cnp.ndarray out, weights, epilogue, threads=None):
        """Write the convolution of x to out, which shares no memory with it; both have five axes.

        Parameters
        ----------
        x : ndarray of bytes
        out : ndarray of bytes or of int32
        weights : _quantised.Weights
        epilogue : _quantised.Epilogue
        threads : int, optional
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items = (
            self.blocks * self.batch * self.z.out * self.n_row_blocks * self.n_chunks)
        if items == 0:
            return
        call.x, call.out = bind(x), bind(out)
        call.flip, call.x_zero = epilogue.x_flip, epilogue.x_zero
        call.panels = cnp.PyArray_BYTES(weights.panels)
        call.ones = cnp.PyArray_BYTES(weights.ones) if weights.ones is not None else NULL
        call.base = <const int32_t *>cnp.PyArray_DATA(epilogue.base)
        call.w_zero = <const int32_t *>cnp.PyArray_DATA(epilogue.w_zero)
        call.scale = NULL
        call.low, call.high, call.y_zero = epilogue.low, epilogue.high, epilogue.y_zero
        if epilogue.scale is not None:
            call.scale = <const float *>cnp.PyArray_DATA(epilogue.scale)
        call.channels_last = call.scale != NULL and call.out.channel == 1 and call.out.x != 1
        task = Task(self.work, items, 1, False, 0, self.thread_bytes)
        self.run_items(&call, threads, &task)

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef const Call *call = <const Call *>of
        cdef ptrdiff_t item
        for item in range(start, stop):
            if region.stopped:
                return
            self.item(call, memory, item)
            if thread == 0:
                region_poll(region)

    cdef void item(self, const Call *call, char *at, ptrdiff_t index) noexcept nogil:
        cdef Scratch scratch
        cdef Place place
        cdef ptrdiff_t first, channels
        scratch.packed = <uint8_t *>at
        at += self.packed_bytes
        scratch.sums = <int32_t *>at
        scratch.windows = scratch.sums + SUMS
        scratch.stage = at + 2 * SUMS * sizeof(int32_t)

        place.x0 = index % self.n_chunks * self.tile_strips * self.strip
        index //= self.n_chunks
        place.y0 = index % self.n_row_blocks * self.tile_rows
        index //= self.n_row_blocks
        place.z = index % self.z.out
        index //= self.z.out
        place.n = index % self.batch
        place.block = index // self.batch
        place.rows = min(self.tile_rows, self.y.out - place.y0)
        place.columns = min(self.tile_strips * self.strip, self.x.out - place.x0)
        place.strips = (place.columns + self.strip - 1) // self.strip
        first = place.block * self.merged
        place.channels = min(self.merged, self.groups - first) * self.channels
        place.channels_out = min(self.merged, self.groups - first) * self.channels_out

        self.pack_tile(call, &place, scratch.packed)
        self.level.int8_begin(self.strip, self.chunk)
        first = 0
        while first < place.channels_out:
            channels = min(self.out_block, place.channels_out - first)
            self.tile(call, &place, &scratch, first, channels)
            if not call.channels_last:
                self.flush(call, &place, &scratch, first, channels)
            first += self.out_block
        self.level.int8_end()

    cdef void pack_tile(self, const Call *call, const Place *place, uint8_t *packed) noexcept nogil:
        """Gather a tile with its halo; what lies outside the image is the zero point."""
        cdef const char *image = (call.x.data + place.n * call.x.batch
                                  + place.block * self.merged * self.channels * call.x.channel)
        cdef ptrdiff_t rows = self.reach(&self.y, self.y_step, place.rows)
        cdef ptrdiff_t columns = self.reach(&self.x, self.x_step, place.columns)
        cdef ptrdiff_t x0 = place.x0 * self.x.stride - self.x.lo
        cdef ptrdiff_t start = 0, stop, tap, z, r, y
        cdef uint8_t *row
        # The columns that lie inside the image follow each other.
        if x0 < 0:
            start = min((-x0 + self.x_step - 1) // self.x_step, columns)
        stop = (self.x.n - x0 + self.x_step - 1) // self.x_step if self.x.n > x0 else 0
        stop = max(min(stop, columns), start)
        for tap in range(self.z.k):
            z = place.z * self.z.stride - self.z.lo + tap * self.z.dilation
            for r in range(rows):
                y = place.y0 * self.y.stride - self.y.lo + r * self.y_step
                row = packed + tap * self.plane_pitch + r * self.row_pitch
                if z < 0 or z >= self.z.n or y < 0 or y >= self.y.n or start == stop:
                    memset(row, call.x_zero, columns * self.pixel_bytes)
                    continue
                memset(row, call.x_zero, start * self.pixel_bytes)
                self.level.gather_bytes(
                    row + start * self.pixel_bytes, self.pixel_bytes,
                    <const uint8_t *>image + z * call.x.z + y * call.x.y + (x0 + start * self.x_step) * call.x.x,
                    self.x_step * call.x.x, call.x.channel, place.channels, stop - start, call.flip)
                memset(row + stop * self.pixel_bytes, call.x_zero, (columns - stop) * self.pixel_bytes)

    cdef ptrdiff_t reach(self, const AxisSpec *axis, ptrdiff_t step, ptrdiff_t outputs) noexcept nogil:
        """Packed samples that so many outputs read."""
        return ((outputs - 1) * axis.stride + (axis.k - 1) * axis.dilation) // step + 1

    cdef void tile(self, const Call *call, const Place *place, const Scratch *scratch, ptrdiff_t first,
                   ptrdiff_t channels_out) noexcept nogil:
        """Output channels from `first` of the block on, for the whole tile, two strips at a time."""
        cdef fc_int8_tile tile
        cdef ptrdiff_t s, p, strips = place.rows * place.strips, panel = first // FC_INT8_COLUMNS
        tile.pixels, tile.pixel_pitch = self.strip, self.x.stride // self.x_step * self.pixel_bytes
        tile.runs, tile.n_runs, tile.quads, tile.chunk = self.runs, self.n_runs, self.quads, self.chunk
        for s in range(0, strips, 2):
            tile.strips = min(<ptrdiff_t>2, strips - s)
            tile.src = scratch.packed + self.strip_offset(place, s)
            tile.second = scratch.packed + self.strip_offset(place, s + tile.strips - 1)
            if call.ones != NULL:
                tile.weights = <const int8_t *>call.ones
                tile.sums = scratch.windows
                self.level.int8(&tile)
            tile.sums = scratch.sums
            for p in range((channels_out + FC_INT8_COLUMNS - 1) // FC_INT8_COLUMNS):
                tile.weights = <const int8_t *>call.panels + (
                    place.block * self.panels + panel + p) * self.panel_bytes
                self.level.int8(&tile)
                self.store(call, place, scratch, first, p, min(<ptrdiff_t>FC_INT8_COLUMNS,
                           channels_out - p * FC_INT8_COLUMNS), s, tile.strips)

    cdef ptrdiff_t strip_offset(self, const Place *place, ptrdiff_t s) noexcept nogil:
        return (s // place.strips * (self.y.stride // self.y_step) * self.row_pitch
                + s % place.strips * self.strip * (self.x.stride // self.x_step) * self.pixel_bytes)

    cdef void store(self, const Call *call, const Place *place, const Scratch *scratch, ptrdiff_t first, ptrdiff_t p,
                    ptrdiff_t channels, ptrdiff_t s, ptrdiff_t strips) noexcept nogil:
        """The sums of two strips and one panel, to the stage, or to the result if its channels are neighbours."""
        cdef fc_int8_store store
        cdef fc_store_int8 *kernel = self.level.store_sums
        cdef ptrdiff_t row, column, i, channel = first + p * FC_INT8_COLUMNS
        cdef ptrdiff_t lane = place.block * self.panels * FC_INT8_COLUMNS + channel
        store.base, store.w_zero = call.base + lane, call.w_zero + lane
        store.low, store.high, store.zero = call.low, call.high, call.y_zero
        store.scale = NULL
        if call.scale != NULL:
            store.scale = call.scale + lane
            kernel = self.level.store_requantised_last if call.channels_last else self.level.store_requantised
        store.channels = channels
        store.pixel_stride, store.channel_stride = call.out.x, self.stage_pitch
        for i in range(strips):
            row, column = (s + i) // place.strips, (s + i) % place.strips * self.strip
            store.sums = scratch.sums + i * self.strip * FC_INT8_COLUMNS
            store.windows = scratch.windows + i * self.strip * FC_INT8_COLUMNS if call.ones != NULL else NULL
            store.pixels = min(self.strip, place.columns - column)
            if call.channels_last:
                store.dst = self.result(call, place, channel) + row * call.out.y + column * call.out.x
            else:
                store.dst = (scratch.stage + p * FC_INT8_COLUMNS * self.stage_pitch
                             + (row * place.columns + column) * self.item_bytes)
            kernel(&store)

    cdef char *result(self, const Call *call, const Place *place, ptrdiff_t channel) noexcept nogil:
        """Where the tile of an output channel of the block begins."""
        return (call.out.data + place.n * call.out.batch
                + (place.block * self.merged * self.channels_out + channel) * call.out.channel
                + place.z * call.out.z + place.y0 * call.out.y + place.x0 * call.out.x)

    cdef void flush(self, const Call *call, const Place *place, const Scratch *scratch, ptrdiff_t first,
                    ptrdiff_t channels) noexcept nogil:
        """Copy whole rows from the stage to the result."""
        cdef ptrdiff_t o, r, i, row_bytes = place.columns * self.item_bytes
        cdef const char *src
        cdef char *dst
        for o in range(channels):
            src = scratch.stage + o * self.stage_pitch
            dst = self.result(call, place, first + o)
            if call.out.x == self.item_bytes and call.out.y == row_bytes:
                memcpy(dst, src, place.rows * row_bytes)
            elif call.out.x == self.item_bytes:
                for r in range(place.rows):
                    memcpy(dst + r * call.out.y, src + r * row_bytes, row_bytes)
            else:
                for r in range(place.rows):
                    for i in range(place.columns):
                        memcpy(dst + r * call.out.y + i * call.out.x, src + r * row_bytes + i * self.item_bytes,
                               self.item_bytes)
