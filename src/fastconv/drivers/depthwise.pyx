# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Depthwise convolution of many channels: lanes are channels, float32 and float64, one or two spatial axes.

The kernel finds its samples through a table of addresses, one for each row and column of the padded, dilated image that
a band of output rows reads::

    table   [row][column]  ->  a vector of channels in the array, or of fill, or of zeros

so boundaries, padding and dilation are in the table alone, and where the channels of a pixel follow each other (NHWC)
nothing is copied. Otherwise a work item is one vector of channels, whose rows are gathered first::

    gathered  [row of the table][sample of the input row][lanes]

and whose results are turned back when they are stored. Products are added in the order of the taps. What follows the
sums is done on results in the array while they are in the cache.
"""

cimport numpy as cnp
import numpy as np
from libc.string cimport memcpy

from fastconv import _tunables
from fastconv.drivers.kernels cimport FC_FILL, fc_depthwise, fc_depthwise_tile, fc_winograd_kernels
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport Arrays, Done, Geometry, Outer, lines, source_index

cnp.import_array()

cdef double POLL_WORK = _tunables.POLL_WORK


cdef struct Call:
    Arrays arrays
    const char *panels  # all weights as pack_all makes them
    char *bias          # [vector][output of a channel][lanes]
    char *fill          # a pixel of fill, and
    char *zeros         # one of zeros


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    const char **table
    char *gathered
    char *results
    ptrdiff_t table_key  # which table is made
    Region *region       # to be polled by the calling thread, NULL for others
    double work          # multiply-adds since it was polled


# What an item computes.
cdef struct Item:
    ptrdiff_t n, y0, y1, x0, x1
    ptrdiff_t first, last  # vectors of channels


cdef class Driver(Geometry):
    cdef fc_depthwise *kernel
    cdef fc_winograd_kernels transposer  # of which gather and scatter
    cdef bint in_place, planned, fuses
    cdef ptrdiff_t vectors, run_length, step_rows
    cdef ptrdiff_t table_pitch, n_bands, n_chunks, n_blocks
    cdef ptrdiff_t vector_bytes, panel_bytes, shared_bytes, table_bytes, gathered_bytes, results_bytes, thread_bytes
    cdef double work
    cdef const ptrdiff_t *tap_offsets
    cdef object keep_depthwise

    def __init__(self, problem, plan):
        Geometry.__init__(self, problem, plan)
        self.kernel = self.level.depthwise[self.compute]
        self.transposer = self.level.winograd[self.compute]
        self.keep_depthwise = plan.tap_offsets
        self.tap_offsets = <const ptrdiff_t *>cnp.PyArray_DATA(plan.tap_offsets)
        self.in_place, self.planned = plan.in_place, problem.planned
        # A residual may be where the result goes, which the sums would overwrite.
        self.fuses = self.has_epilogue and self.finishes and not self.casts and not problem.has_residual
        self.vectors = (self.groups + self.lanes - 1) // self.lanes
        self.run_length, self.step_rows = plan.run, plan.step_rows
        self.table_pitch = plan.table_pitch
        self.n_bands, self.n_chunks, self.n_blocks = plan.bands, plan.chunks, plan.blocks
        self.vector_bytes = self.level.vector_bytes
        self.panel_bytes = self.taps * self.vector_bytes
        # One thread's worth of work is counted in products that run at the peak; these wait for memory besides.
        self.work = plan.work
        cdef ptrdiff_t pixel = self.groups * self.computed_bytes if self.in_place else self.vector_bytes
        self.shared_bytes = 2 * lines(pixel) + self.vectors * self.channels_out * self.vector_bytes
        if not self.planned:
            self.shared_bytes += self.all_panels()
        self.table_bytes = plan.table_rows * self.table_pitch * sizeof(char *)
        self.gathered_bytes = 0 if self.in_place else plan.table_rows * self.x.n * self.vector_bytes
        self.results_bytes = 0
        if not self.in_place or self.channels_out > 1:
            self.results_bytes = self.tile_rows * self.tile_columns * self.vector_bytes
        self.thread_bytes = (lines(sizeof(Scratch)) + lines(self.table_bytes) + lines(self.gathered_bytes)
                             + lines(self.results_bytes))

    cdef ptrdiff_t all_panels(self) noexcept nogil:
        return self.vectors * self.channels_out * self.panel_bytes

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread."""
        return self.shared_bytes + self.thread_bytes

    @property
    def fuses_epilogue(self):
        """Whether `run` finishes what it stores."""
        return self.fuses

    def pack_all(self, cnp.ndarray w):
        """Return all weights, a vector of channels side by side, to be handed to `run` as often as they are used."""
        cdef Arrays arrays
        cdef cnp.ndarray aligned = aligned_bytes(self.all_panels())
        arrays.w = self.bind_weights(w)
        self.pack_weights(&arrays, cnp.PyArray_BYTES(aligned))
        return aligned

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None, cnp.ndarray scale=None, cnp.ndarray residual=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned.

        There is no residual.
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t items = self.batch * self.n_bands * self.n_chunks * self.n_blocks
        if items == 0 or self.channels_out * self.y.out * self.x.out == 0:
            return
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        # Strides of an array without samples mean nothing.
        if self.in_place and call.arrays.x.channel != self.computed_bytes and cnp.PyArray_SIZE(x):
            self.run(np.ascontiguousarray(x), w, bias, out, threads, panels, scale)
            return
        if self.needs_copy(&call.arrays):
            result = np.empty((<object>out).shape, out.dtype)
            self.run(x, w, bias, result, threads, panels, scale)
            out[...] = result
            return
        call.arrays.w = self.bind_weights(w)
        self.bind_epilogue(&call.arrays, bias, scale, None)
        if self.planned and panels is None:
            panels = self.pack_all(w)
        call.panels = cnp.PyArray_BYTES(panels) if panels is not None else NULL
        # Neighbouring items share a table.
        task = Task(self.work, items, 1, True, self.shared_bytes, self.thread_bytes)
        self.run_items(&call, threads, &task)

    cdef bint needs_copy(self, const Arrays *arrays) noexcept nogil:
        """Whether results can't be written, or not be finished, in the array."""
        cdef ptrdiff_t item = self.computed_bytes
        if arrays.out.channel == item:
            return False
        return self.in_place and self.channels_out == 1 or self.fuses and arrays.out.x != item

    cdef void prepare(self, void *of, char *shared, char *memory) noexcept nogil:
        """What all threads read: fill, zeros, bias and weights."""
        cdef Call *call = <Call *>of
        cdef ptrdiff_t pixel = self.groups if self.in_place else self.lanes, i, v, o, j, channel, item
        cdef char *at = shared
        item = self.computed_bytes
        call.fill = at
        call.zeros = at + lines(pixel * item)
        for i in range(pixel):
            memcpy(call.fill + i * item, self.fill, item)
        for i in range(pixel * item):
            call.zeros[i] = 0
        call.bias = at + 2 * lines(pixel * item)
        at = call.bias
        for v in range(self.vectors):
            for o in range(self.channels_out):
                for j in range(self.lanes):
                    channel = (self.channel_of(v) + j) * self.channels_out + o
                    if call.arrays.bias != NULL and j < self.channels_in(v):
                        memcpy(at, call.arrays.bias + channel * item, item)
                    else:
                        memcpy(at, call.zeros, item)
                    at += item
        if call.panels == NULL:
            self.pack_weights(&call.arrays, at)
            call.panels = at

    cdef ptrdiff_t channel_of(self, ptrdiff_t v) noexcept nogil:
        """The first channel of a vector; the last is moved back to end with the pixel where it is read in place."""
        return min(v * self.lanes, self.groups - self.lanes) if self.in_place else v * self.lanes

    cdef ptrdiff_t channels_in(self, ptrdiff_t v) noexcept nogil:
        return min(self.lanes, self.groups - self.channel_of(v))

    cdef void pack_weights(self, const Arrays *arrays, char *dst) noexcept nogil:
        """All weights: [vector][output of a channel][tap][lanes]."""
        cdef ptrdiff_t v, o, y, x, item = self.computed_bytes, channel, stride = self.channels_out * arrays.w.batch
        cdef ptrdiff_t total = self.groups * self.channels_out
        cdef const char *at
        cdef bint plain = (arrays.w.x == item or self.x.k == 1) and (arrays.w.y == self.x.k * item or self.y.k == 1)
        cdef bint dense = plain and arrays.w.batch == self.taps * item
        for v in range(self.vectors):
            for o in range(self.channels_out):
                channel = self.channel_of(v) * self.channels_out + o
                at = arrays.w.data + channel * arrays.w.batch
                if plain:
                    # Weights behind those of the last channel may be read along.
                    channel += (self.channels_in(v) - 1) * self.channels_out
                    self.transposer.gather(dst, at, item, stride, self.channels_in(v), self.taps,
                                     (total - channel) * self.taps if dense else self.taps)
                else:
                    for y in range(self.y.k):
                        for x in range(self.x.k):
                            self.transposer.gather(dst + (y * self.x.k + x) * self.vector_bytes,
                                             at + y * arrays.w.y + x * arrays.w.x, item, stride,
                                             self.channels_in(v), 1, 1)
                dst += self.panel_bytes

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory; the table made in it then lasts from item to item."""
        cdef Scratch *scratch = <Scratch *>memory
        cdef char *at = memory + lines(sizeof(Scratch))
        scratch.table = <const char **>at
        at += lines(self.table_bytes)
        scratch.gathered = at
        at += lines(self.gathered_bytes)
        scratch.results = at
        scratch.table_key = -1

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef Scratch *scratch = <Scratch *>memory
        cdef ptrdiff_t i, rest, block, chunk, band
        cdef Item item
        scratch.region = region if thread == 0 else NULL
        scratch.work = 0
        for i in range(start, stop):
            if region.stopped:
                return
            block = i % self.n_blocks
            rest = i // self.n_blocks
            chunk = rest % self.n_chunks
            band = rest // self.n_chunks % self.n_bands
            item.n = rest // self.n_chunks // self.n_bands
            item.y0, item.y1 = band * self.y.out // self.n_bands, (band + 1) * self.y.out // self.n_bands
            item.x0, item.x1 = chunk * self.x.out // self.n_chunks, (chunk + 1) * self.x.out // self.n_chunks
            item.first, item.last = self.block_start(block), self.block_start(block + 1)
            if self.in_place:
                if scratch.table_key != rest:
                    scratch.table_key = rest
                    self.make_table(call, scratch, &item)
            else:
                # Gathered rows of every image stand at the same place.
                if scratch.table_key != band:
                    scratch.table_key = band
                    self.make_table(call, scratch, &item)
                self.gather(call, scratch, &item)
            self.compute_item(call, scratch, &item)

    cdef ptrdiff_t block_start(self, ptrdiff_t block) noexcept nogil:
        """The first vector of a block; the last two vectors, which may overlap, are never parted."""
        cdef ptrdiff_t whole = max(self.groups // self.lanes, 1) if self.in_place else self.vectors
        return self.vectors if block == self.n_blocks else block * whole // self.n_blocks

    cdef ptrdiff_t row_source(self, const Item *item, ptrdiff_t row) noexcept nogil:
        """The input row that a row of the table stands for, FC_FILL or FC_ZERO."""
        return source_index(&self.y, item.y0 * self.y.stride - self.y.lo + row)

    cdef ptrdiff_t table_rows(self, const Item *item) noexcept nogil:
        return (item.y1 - item.y0 - 1) * self.y.stride + (self.y.k - 1) * self.y.dilation + 1

    cdef void make_table(self, const Call *call, Scratch *scratch, const Item *item) noexcept nogil:
        cdef ptrdiff_t first = item.x0 * self.x.stride - self.x.lo, row, at
        cdef ptrdiff_t n = (item.x1 - item.x0 - 1) * self.x.stride + (self.x.k - 1) * self.x.dilation + 1
        cdef const char *image = call.arrays.x.data + item.n * call.arrays.x.batch
        for row in range(self.table_rows(item)):
            at = self.row_source(item, row)
            if at < 0:
                self.empty_row(call, scratch.table + row * self.table_pitch, at, first, n)
            elif self.in_place:
                self.sample_row(call, scratch.table + row * self.table_pitch, image + at * call.arrays.x.y,
                                call.arrays.x.x, first, n)
            else:
                self.sample_row(call, scratch.table + row * self.table_pitch,
                                scratch.gathered + row * self.x.n * self.vector_bytes, self.vector_bytes, first, n)

    cdef void empty_row(self, const Call *call, const char **table, ptrdiff_t flag, ptrdiff_t first,
                        ptrdiff_t n) noexcept nogil:
        """A row outside the input, all fill, or between its samples: zeros, but fill around them."""
        cdef ptrdiff_t c
        for c in range(n):
            if flag == FC_FILL or source_index(&self.x, first + c) == FC_FILL:
                table[c] = call.fill
            else:
                table[c] = call.zeros

    cdef void sample_row(self, const Call *call, const char **table, const char *row, ptrdiff_t stride,
                         ptrdiff_t first, ptrdiff_t n) noexcept nogil:
        """The columns of a row of samples, the first of them at position `first` of the dilated axis."""
        cdef ptrdiff_t c, start = 0, stop = 0
        if self.x.input_dilation == 1:
            start = min(max(-first, 0), n)
            stop = max(min(self.x.extent - first, n), start)
        for c in range(start):
            table[c] = self.sample(call, row, stride, first + c)
        for c in range(start, stop):
            table[c] = row + (first + c) * stride
        for c in range(stop, n):
            table[c] = self.sample(call, row, stride, first + c)

    cdef const char *sample(self, const Call *call, const char *row, ptrdiff_t stride,
                            ptrdiff_t position) noexcept nogil:
        cdef ptrdiff_t at = source_index(&self.x, position)
        if at >= 0:
            return row + at * stride
        return call.fill if at == FC_FILL else call.zeros

    cdef void gather(self, const Call *call, Scratch *scratch, const Item *item) noexcept nogil:
        """The rows of a vector of channels, as many at once as follow each other."""
        cdef const Arrays *arrays = &call.arrays
        cdef const char *image = arrays.x.data + item.n * arrays.x.batch + (
            self.channel_of(item.first) * arrays.x.channel)
        cdef ptrdiff_t row = 0, rows = self.table_rows(item), at, count, width = self.x.n
        cdef bint rows_follow = arrays.x.y == width * arrays.x.x
        while row < rows:
            at = self.row_source(item, row)
            count = 1
            if at >= 0:
                while rows_follow and row + count < rows and self.row_source(item, row + count) == at + count:
                    count += 1
                self.transposer.gather(scratch.gathered + row * width * self.vector_bytes, image + at * arrays.x.y,
                                 arrays.x.x, arrays.x.channel, self.channels_in(item.first), count * width,
                                 (self.y.n - at) * width if rows_follow else width)
            row += count

    cdef void compute_item(self, Call *call, Scratch *scratch, const Item *item) noexcept nogil:
        cdef const Arrays *arrays = &call.arrays
        cdef fc_depthwise_tile tile
        cdef ptrdiff_t v, o, channel
        tile.row_step, tile.step = self.y.stride * self.table_pitch, self.x.stride
        tile.taps, tile.n_taps, tile.run = self.tap_offsets, self.taps, self.run_length
        tile.width = item.x1 - item.x0
        if self.in_place and self.channels_out == 1:
            tile.vectors = item.last - item.first
            tile.first, tile.last = self.channel_of(item.first), self.channel_of(item.last - 1)
            tile.weights = call.panels + item.first * self.panel_bytes
            tile.bias = call.bias + item.first * self.vector_bytes
            tile.dst_pixel_bytes, tile.dst_row_bytes = arrays.out.x, arrays.out.y
            self.compute_rows(arrays, scratch, item, &tile, self.out_of(arrays, item, tile.first))
            return
        tile.vectors = 1
        tile.dst_pixel_bytes, tile.dst_row_bytes = self.vector_bytes, tile.width * self.vector_bytes
        for v in range(item.first, item.last):
            tile.first = tile.last = self.channel_of(v) if self.in_place else 0
            for o in range(self.channels_out):
                tile.weights = call.panels + (v * self.channels_out + o) * self.panel_bytes
                tile.bias = call.bias + (v * self.channels_out + o) * self.vector_bytes
                channel = self.channel_of(v) * self.channels_out + o
                self.compute_rows(arrays, scratch, item, &tile, scratch.results)
                self.store(arrays, scratch, item, self.out_of(arrays, item, channel), self.channels_in(v))
            if self.fuses:
                self.finish_rows_of(arrays, item, self.channel_of(v) * self.channels_out,
                                    self.channels_in(v) * self.channels_out, item.y0, item.y1 - item.y0)

    cdef char *out_of(self, const Arrays *arrays, const Item *item, ptrdiff_t channel) noexcept nogil:
        return (arrays.out.data + item.n * arrays.out.batch + channel * arrays.out.channel + item.y0 * arrays.out.y
                + item.x0 * arrays.out.x)

    cdef void finish_rows_of(self, const Arrays *arrays, const Item *item, ptrdiff_t channel, ptrdiff_t channels,
                             ptrdiff_t y0, ptrdiff_t rows) noexcept nogil:
        """What follows the sums, on some rows and channels of an item."""
        cdef Done done
        cdef Outer image
        image.out_offset = image.index = 0
        done.n, done.channel, done.y0, done.x0 = item.n, channel, y0, item.x0
        done.channels, done.rows, done.columns = channels, rows, item.x1 - item.x0
        done.channel_pitch, done.row_pitch, done.column_pitch = arrays.out.channel, arrays.out.y, arrays.out.x
        done.values = self.out_of(arrays, item, channel) + (y0 - item.y0) * arrays.out.y
        done.staged, done.row = False, NULL
        self.finish(arrays, &image, &done)

    cdef void compute_rows(self, const Arrays *arrays, Scratch *scratch, const Item *item, fc_depthwise_tile *tile,
                           char *dst) noexcept nogil:
        """All rows of an item, so many at a time that what they share stays near."""
        cdef ptrdiff_t row, rows = item.y1 - item.y0, step
        for step in range((rows + self.step_rows - 1) // self.step_rows):
            row = step * self.step_rows
            tile.samples = scratch.table + row * tile.row_step
            tile.dst = dst + row * tile.dst_row_bytes
            tile.height = min(self.step_rows, rows - row)
            if scratch.region != NULL:
                scratch.work += <double>tile.height * tile.width * tile.vectors * self.lanes * self.taps
                if scratch.work > POLL_WORK:
                    scratch.work = 0
                    region_poll(scratch.region)
                    if scratch.region.stopped:
                        return
            self.kernel(tile)
            if self.fuses and dst != scratch.results:
                self.finish_rows_of(arrays, item, tile.first, tile.last + self.lanes - tile.first, item.y0 + row,
                                    tile.height)

    cdef void store(self, const Arrays *arrays, const Scratch *scratch, const Item *item, char *dst,
                    ptrdiff_t channels) noexcept nogil:
        """Turn results back into the array's layout."""
        cdef ptrdiff_t width = item.x1 - item.x0, rows = item.y1 - item.y0, r
        cdef ptrdiff_t stride = self.channels_out * arrays.out.channel
        if arrays.out.y == width * arrays.out.x:
            self.transposer.scatter(dst, arrays.out.x, stride, scratch.results, channels, rows * width, rows * width)
            return
        for r in range(rows):
            self.transposer.scatter(dst + r * arrays.out.y, arrays.out.x, stride,
                              scratch.results + r * width * self.vector_bytes, channels, width, width)
