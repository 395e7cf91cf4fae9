# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""FFT tiles: overlap-save for large kernels, in one, two or three dimensions.

A work item is one tile of one group: packed with its halo, transformed once a channel, multiplied with the spectra of
the weights, and stored without its margin, once an output channel. The spectra are made at the start of a call, or by a
plan. A tile whose result is not finite holds a NaN, an Inf, or sums that overflow in
between: it is computed again by the direct algorithm, so that a NaN reaches only the outputs whose window holds it.
"""

cimport cython
cimport numpy as cnp
import numpy as np
from libc.string cimport memcpy, memset

from fastconv.drivers.kernels cimport fc_fft, fc_fft_axis, fc_fft_back, fc_fft_forward, fc_fft_tile, fc_row_map
from fastconv.drivers.levels cimport scratch_give, scratch_take
from fastconv.drivers.threads cimport Region, Task, region_poll
from fastconv.drivers.tile import aligned_bytes
from fastconv.drivers.tile cimport Arrays, Geometry, Outer, TileMap, View, lines

cnp.import_array()


cdef struct Call:
    Arrays arrays
    const char *spectra  # of the weights [group][channel out][channel]
    char *spoilt        # for each item, whether its result is not finite
    bint any_spoilt


# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *strip
    char *spectrum
    char *product
    TileMap map
    Outer outer
    Region *region  # to be polled by the calling thread, NULL for others


# Where a tile lies, and how much of it is wanted.
cdef struct Place:
    ptrdiff_t n, g
    ptrdiff_t z0, y0, x0, planes, rows, columns


cdef fc_fft_axis transform_of(object transform, list keep):
    cdef fc_fft_axis axis
    cdef cnp.ndarray radices = transform.radices, twiddles = transform.twiddles
    keep += [radices, twiddles]
    axis.n, axis.n_levels = transform.n, len(radices)
    axis.radices = <const ptrdiff_t *>cnp.PyArray_DATA(radices)
    axis.twiddles = cnp.PyArray_DATA(twiddles)
    return axis


cdef class Driver(Geometry):
    cdef fc_fft fft
    cdef fc_fft_forward *columns_of
    cdef fc_fft_forward *rows_of
    cdef fc_fft_back *back
    cdef ptrdiff_t unit            # real parts in a sample
    cdef ptrdiff_t point_bytes, group_pitch, channel_bytes, packed_bytes, out_pitch
    cdef ptrdiff_t planes, planes_valid, rows_sent, columns_sent
    cdef ptrdiff_t n_planes, n_rows, n_columns, out_planes
    cdef bint solid                # three axes are transformed at once
    cdef ptrdiff_t z_k, z_dilation  # of the kernel, where the pack stage sees planes as taps
    cdef double transformed         # points of a tile along the axes that are transformed
    cdef ptrdiff_t thread_bytes
    cdef double work
    cdef object lane, keep_fft, make_fallback, fallback

    def __init__(self, problem, plan):
        cdef list keep = []
        cdef cnp.ndarray twist
        Geometry.__init__(self, problem, plan)
        self.lane, self.make_fallback, self.work = plan.lane, plan.fallback, plan.work
        cdef int kind = 0 if self.part_bytes == 4 else 1
        self.columns_of, self.rows_of = self.level.fft_columns[kind], self.level.fft_rows[kind]
        self.back = self.level.fft_back[kind]
        self.fft.fold = transform_of(plan.fold, keep)
        self.fft.middle = transform_of(plan.middle, keep)
        self.fft.across = transform_of(plan.across, keep)
        self.fft.twist = NULL
        if plan.twist is not None:
            twist = aligned_bytes(plan.twist.nbytes)
            (<object>twist)[...] = plan.twist.reshape(-1).view(np.uint8)
            keep.append(twist)
            self.fft.twist = cnp.PyArray_DATA(twist)
        self.fft.interleaved = problem.dtype.kind == "c"
        self.keep_fft = keep

        self.unit = 2 if self.fft.interleaved else 1
        self.point_bytes = 2 * self.level.vector_bytes
        cdef ptrdiff_t vertical = self.fft.fold.n * self.fft.middle.n
        # An odd number of lines between groups: powers of two would meet in the same sets of the cache.
        self.group_pitch = self.fft.across.n + 1
        self.channel_bytes = lines(
            vertical * self.part_bytes // self.level.vector_bytes * self.group_pitch * self.point_bytes)
        self.planes, self.planes_valid = plan.planes, plan.valid[0]
        self.solid = plan.planes > 1
        self.z_k = problem.axes[0].k if self.solid else 1
        self.z_dilation = problem.axes[0].dilation if self.solid else 1
        self.transformed = plan.transformed
        self.out_planes = problem.axes[0].out if self.solid else 1
        self.n_planes = (self.out_planes + self.planes_valid - 1) // self.planes_valid
        self.n_rows = (self.y.out + self.tile_rows - 1) // self.tile_rows
        self.n_columns = (self.x.out + self.tile_columns - 1) // self.tile_columns
        self.rows_sent = self.tile_rows + self.row_count[0] - 1
        self.columns_sent = self.tile_columns + self.column_span[0]
        # A vector more than a row has, for the same reason; one long row has to be one.
        self.out_pitch = self.fft.across.n
        if plan.twist is None:
            self.out_pitch += self.level.vector_bytes // self.part_bytes
        self.packed_bytes = lines(self.computed_bytes * max(
            self.channel_pitch, self.planes_valid * self.tile_rows * self.out_pitch))
        self.thread_bytes = (
            lines(sizeof(Scratch))
            + self.channels * self.packed_bytes
            + lines(vertical * self.point_bytes)
            + (self.channels + (1 if self.channels_out > 1 else 0)) * self.channel_bytes
            + lines(self.map_bytes())
            + lines(2 * self.outer_taps * sizeof(ptrdiff_t)))

    @property
    def workspace_bytes(self):
        """Scratch memory of one thread, the spectra of the weights included."""
        return self.thread_bytes + self.spectra_bytes()

    @property
    def panel_format(self):
        """Equal for drivers of a plan that can use each other's spectra."""
        return (self.fft.fold.n, self.fft.middle.n, self.fft.across.n, self.fft.twist == NULL, self.planes,
                self.tile_rows, self.tile_columns, self.pitch, self.outer_pitch, self.group_pitch)

    @property
    def samples(self):
        """Samples of a tile that are transformed together."""
        return int(self.transformed) * (1 if self.fft.interleaved else 2)

    cdef ptrdiff_t spectra_bytes(self):
        return self.groups * self.channels_out * self.channels * self.channel_bytes

    def pack_all(self, cnp.ndarray w):
        """Return the spectra of the weights, to be handed to `run` as often as they are used."""
        cdef Call call
        cdef cnp.ndarray spectra = aligned_bytes(self.spectra_bytes())
        call.arrays.w = self.bind_weights(w)
        cdef char *scratch = <char *>scratch_take(self.thread_bytes)
        if scratch == NULL:
            raise MemoryError("fastconv: no memory for the tiles")
        self.lay_out(&call, scratch)
        self.transform_weights(&call, <Scratch *>scratch, cnp.PyArray_BYTES(spectra))
        scratch_give(scratch)
        return spectra

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, threads=None,
            cnp.ndarray panels=None):
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        cdef Call call
        cdef Task task
        cdef ptrdiff_t own = 0 if panels is not None else self.spectra_bytes()
        cdef ptrdiff_t outer = 1 if self.solid else self.outer_outs
        cdef ptrdiff_t items = self.groups * self.batch * outer * self.n_planes * self.n_rows * self.n_columns
        cdef bytearray spoilt = bytearray(items)
        cdef ptrdiff_t item
        call.arrays.x, call.arrays.out, call.arrays.w = self.bind(x), self.bind(out), self.bind_weights(w)
        call.arrays.bias = cnp.PyArray_BYTES(bias) if bias is not None else NULL
        call.spectra = cnp.PyArray_BYTES(panels) if panels is not None else NULL
        call.spoilt, call.any_spoilt = spoilt, False
        task = Task(self.work, items, 1, False, lines(own), self.thread_bytes)
        self.run_items(&call, threads, &task)
        if call.any_spoilt:
            for item in range(items):
                if spoilt[item]:
                    self.compute_directly(x, w, bias, out, item)

    cdef void lay_out(self, void *of, char *memory) noexcept nogil:
        """Divide a thread's memory."""
        cdef Scratch *scratch = <Scratch *>memory
        cdef char *at = memory + lines(sizeof(Scratch))
        scratch.strip = at
        at += lines(self.fft.fold.n * self.fft.middle.n * self.point_bytes)
        scratch.spectrum = at
        at += self.channels * self.channel_bytes
        scratch.product = scratch.spectrum
        if self.channels_out > 1:
            scratch.product = at
            at += self.channel_bytes
        scratch.packed = at
        at += self.channels * self.packed_bytes
        self.lay_out_map(at, &scratch.map)
        at += lines(self.map_bytes())
        scratch.outer.taps = <ptrdiff_t *>at

    # --- weights -----------------------------------------------------------------------------------------------------

    cdef void prepare(self, void *of, char *shared, char *memory) noexcept nogil:
        """The spectra of the weights, unless they are packed."""
        cdef Call *call = <Call *>of
        if call.spectra == NULL:
            self.transform_weights(call, <Scratch *>memory, shared)
            call.spectra = shared

    cdef void transform_weights(self, Call *call, Scratch *scratch, char *spectra) noexcept nogil:
        """Make the spectrum of every kernel, reversed, at the beginning of a tile of zeros."""
        cdef fc_fft_tile tile
        cdef ptrdiff_t o, c
        self.describe(&tile, scratch)
        tile.src = scratch.packed
        for o in range(self.groups * self.channels_out):
            for c in range(self.channels):
                self.place_kernel(call, scratch.packed, o, c)
                tile.spectrum = spectra
                self.columns_of(&tile)
                self.rows_of(&tile)
                spectra += self.channel_bytes

    cdef void place_kernel(self, Call *call, char *tile, ptrdiff_t o, ptrdiff_t c) noexcept nogil:
        cdef const Arrays *arrays = &call.arrays
        cdef ptrdiff_t item = self.computed_bytes, z, y, row, source
        cdef const char *kernel = arrays.w.data + o * arrays.w.batch + c * arrays.w.channel
        cdef char *dst
        memset(tile, 0, self.channel_pitch * item)
        for z in range(self.z_k):
            for y in range(self.y.k):
                # Reversed, because a product of spectra is a convolution.
                source = (self.y.k - 1 - y) * arrays.w.y
                if self.solid:
                    source += (self.z_k - 1 - z) * arrays.w.outer[0]
                dst = tile + (z * self.z_dilation * self.outer_pitch + y * self.y.dilation * self.pitch) * item
                self.place_row(dst, kernel + source, arrays.w.x)
        self.repeat_kernel(tile)

    cdef void place_row(self, char *dst, const char *kernel, ptrdiff_t stride) noexcept nogil:
        """One row of a kernel, reversed, spread by its dilation and divided by the points of the transforms."""
        cdef ptrdiff_t k = self.x.k, d = self.x.dilation, item = self.computed_bytes, i, start = 0
        cdef double scale = 1.0 / self.transformed
        cdef fc_row_map map
        map.n = map.run_stop = k
        map.run_start = map.run_index = 0
        map.run_step = 1
        map.index = NULL
        map.fill = self.fill
        map.runs_only = 1
        self.load_rows(dst, k, kernel + (k - 1) * stride, &start, 1, -stride, &map)
        for i in range(k * self.unit):
            # The sign of every second part, where the kernel is to be conjugated.
            if self.part_bytes == 4:
                (<float *>dst)[i] *= <float>(-scale if self.conj and i % 2 else scale)
            else:
                (<double *>dst)[i] *= -scale if self.conj and i % 2 else scale
        if d > 1:
            for i in range(k - 1, 0, -1):
                memcpy(dst + i * d * item, dst + i * item, item)
                memset(dst + i * item, 0, item)

    cdef void repeat_kernel(self, char *tile) noexcept nogil:
        """Where an axis is not transformed, every position along it has the kernel's one tap."""
        cdef ptrdiff_t item = self.computed_bytes, row = self.pitch * item, plane = self.outer_pitch * item
        cdef ptrdiff_t z, y, x
        if self.fft.twist != NULL:
            return
        if self.fft.across.n_levels == 0:
            for z in range(self.planes):
                for y in range(self.rows_sent):
                    for x in range(1, self.columns_sent):
                        memcpy(tile + z * plane + y * row + x * item, tile + z * plane + y * row, item)
        if self.solid and self.fft.middle.n_levels == 0:
            for z in range(self.planes):
                for y in range(1, self.rows_sent):
                    memcpy(tile + z * plane + y * row, tile + z * plane, row)
        if self.fft.fold.n_levels == 0:
            # Of two real rows folded into one point, the kernel is the real one.
            for y in range(1, self.fft.fold.n):
                memcpy(tile + y * row, tile, row)

    # --- tiles -------------------------------------------------------------------------------------------------------

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef Call *call = <Call *>of
        cdef ptrdiff_t item
        for item in range(start, stop):
            if thread == 0:
                region_poll(region)
            if region.stopped:
                return
            self.item(call, <Scratch *>memory, item)

    cdef void item(self, Call *call, Scratch *scratch, ptrdiff_t item) noexcept nogil:
        cdef Place place
        self.locate(call, scratch, item, &place)
        self.forward(call, scratch, &place)
        call.spoilt[item] = not self.backward(call, scratch, &place)
        if call.spoilt[item]:
            call.any_spoilt = True

    cdef void locate(self, const Call *call, Scratch *scratch, ptrdiff_t item, Place *place) noexcept nogil:
        """Find the tile of an item."""
        cdef ptrdiff_t rest = item, outer, n_outer = self.n_planes if self.solid else self.outer_outs
        place.x0 = rest % self.n_columns * self.tile_columns
        rest //= self.n_columns
        place.y0 = rest % self.n_rows * self.tile_rows
        rest //= self.n_rows
        outer = rest % n_outer
        rest //= n_outer
        place.n = rest % self.batch
        place.g = rest // self.batch
        place.z0 = outer * (self.planes_valid if self.solid else 1)
        place.planes = min(self.planes_valid, self.out_planes - place.z0) if self.solid else 1
        place.rows = min(self.tile_rows, self.y.out - place.y0)
        place.columns = min(self.tile_columns, self.x.out - place.x0)
        self.outer_start(&call.arrays, outer, &scratch.outer)

    cdef void forward(self, const Call *call, Scratch *scratch, const Place *place) noexcept nogil:
        """Pack a tile and transform the vertical half of each channel; the rest comes with the product."""
        cdef ptrdiff_t c
        cdef fc_fft_tile tile
        self.pack_tile(&call.arrays, scratch, place)
        self.describe(&tile, scratch)
        for c in range(self.channels):
            tile.src = scratch.packed + c * self.channel_pitch * self.computed_bytes
            tile.spectrum = scratch.spectrum + c * self.channel_bytes
            self.columns_of(&tile)

    cdef void pack_tile(self, const Arrays *arrays, Scratch *scratch, const Place *place) noexcept nogil:
        """All channels of a tile, whole: beyond the last outputs too, nothing may be left that is not finite.

        A strip reads a vector from each of some hundred rows; where these lie a power of two apart, as they do in
        images, each would push the last one out of the cache. So a tile is packed even where it could be read in place.
        """
        cdef const char *x = arrays.x.data + place.n * arrays.x.batch + place.g * self.channels * arrays.x.channel
        self.start_tile(arrays, place.y0, self.tile_rows, place.x0, self.tile_columns, &scratch.map)
        self.pack(arrays, x, place.g * self.channels, &scratch.outer, &scratch.map, scratch.packed)

    cdef void describe(self, fc_fft_tile *tile, Scratch *scratch) noexcept nogil:
        """What all tiles have in common."""
        tile.fft = &self.fft
        tile.strip = scratch.strip
        tile.spectrum = scratch.spectrum
        tile.product = scratch.product
        tile.channels = self.channels
        tile.group_pitch = self.group_pitch
        tile.channel_pitch = self.channel_bytes // self.point_bytes
        tile.src_fold_pitch, tile.src_middle_pitch = self.pitch, 0
        if self.fft.twist != NULL:
            tile.src_fold_pitch = self.fft.across.n
        elif self.solid:
            tile.src_fold_pitch, tile.src_middle_pitch = self.outer_pitch, self.pitch

    cdef bint backward(self, Call *call, Scratch *scratch, const Place *place) noexcept nogil:
        """Make every output channel of a tile; return whether all is finite."""
        cdef const Arrays *arrays = &call.arrays
        cdef View *out = &call.arrays.out
        cdef ptrdiff_t item = self.computed_bytes, o, z, channel
        cdef const char *wanted
        cdef bint finite = True
        cdef char *dst
        cdef fc_fft_tile tile
        self.describe(&tile, scratch)
        self.set_window(&tile, place)
        # The packed samples are not needed any more.
        tile.dst = scratch.packed
        tile.dst_fold_pitch = tile.dst_middle_pitch = self.out_pitch
        if self.solid:
            tile.dst_fold_pitch *= self.tile_rows
        wanted = scratch.packed + self.column_span[0] * item
        for o in range(self.channels_out):
            channel = place.g * self.channels_out + o
            tile.weights = call.spectra + channel * self.channels * self.channel_bytes
            tile.bias = arrays.bias + channel * item if arrays.bias != NULL else NULL
            tile.rows_done = o > 0
            if not self.back(&tile):
                finite = False
            dst = out.data + place.n * out.batch + channel * out.channel + place.y0 * out.y + place.x0 * out.x
            dst += scratch.outer.out_offset * (self.planes_valid if self.solid else 1)
            for z in range(place.planes):
                self.store_rows(dst + z * (out.outer[0] if self.solid else 0), out.y, out.x,
                                wanted + z * tile.dst_fold_pitch * item, self.out_pitch, place.rows, place.columns)
        return finite

    cdef void set_window(self, fc_fft_tile *tile, const Place *place) noexcept nogil:
        """The part of a tile that no wrapped sample has reached, as far as it is wanted."""
        cdef ptrdiff_t y = self.row_count[0] - 1, z = (self.z_k - 1) * self.z_dilation
        tile.first_fold, tile.last_fold, tile.first_middle, tile.last_middle = y, y + place.rows, 0, 1
        tile.first_column = self.column_span[0]
        tile.last_column = tile.first_column + place.columns
        if self.fft.twist != NULL:
            # Rows are parts of one long row, which is wanted from its first column on.
            tile.first_fold, tile.last_fold = 0, 2 * self.fft.fold.n
            tile.first_column, tile.last_column = 0, self.fft.across.n
        if self.solid:
            tile.first_fold, tile.last_fold = z, z + place.planes
            tile.first_middle, tile.last_middle = y, y + place.rows

    # --- tiles that are not finite -----------------------------------------------------------------------------------

    def compute_directly(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray bias, cnp.ndarray out, ptrdiff_t item):
        """Write the tile of an item by the direct algorithm."""
        cdef Call call
        cdef Place place
        cdef Scratch *scratch
        tile = np.empty((self.channels, self.planes, self.rows_sent, self.columns_sent), self.lane)
        call.arrays.x, call.arrays.out = self.bind(x), self.bind(out)
        scratch = <Scratch *>scratch_take(self.thread_bytes)
        if scratch == NULL:
            raise MemoryError("fastconv: no memory for the tiles")
        self.lay_out(&call, <char *>scratch)
        self.locate(&call, scratch, item, &place)
        self.pack_tile(&call.arrays, scratch, &place)
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>tile), scratch.packed, (<object>tile).nbytes)
        scratch_give(scratch)

        with cython.critical_section(self):
            if self.fallback is None:
                self.fallback = self.make_fallback()
        channels = slice(place.g * self.channels_out, (place.g + 1) * self.channels_out)
        rank = len(self.spatial_axes)
        kernel = (<object>w).shape[w.ndim - rank :]
        kernels = (<object>w).reshape(-1, self.channels, *[1] * (3 - rank), *kernel)[channels]
        result = np.empty((self.channels_out, self.planes_valid, self.tile_rows, self.tile_columns), self.lane)
        self.fallback.run(tile, kernels.astype(self.lane, copy=False),
                          None if bias is None else (<object>bias)[channels], result, 1)
        self.window_of(out, &place)[...] = result[:, : place.planes, : place.rows, : place.columns]

    cdef object window_of(self, object out, const Place *place):
        """The part of the result that is a tile, as [channel][plane][row][column]."""
        axes = [axis for axis in (self.batch_axis, self.channel_axis) if axis >= 0]
        view = out.transpose(axes + self.spatial_axes)
        if self.batch_axis >= 0:
            view = view[place.n]
        if self.channel_axis >= 0:
            view = view[place.g * self.channels_out : (place.g + 1) * self.channels_out]
        else:
            view = view[np.newaxis]
        rank = len(self.spatial_axes)
        view = view.reshape(view.shape[0], *[1] * (3 - rank), *view.shape[1:]) if rank < 3 else view
        return view[
            :,
            place.z0 : place.z0 + place.planes,
            place.y0 : place.y0 + place.rows,
            place.x0 : place.x0 + place.columns,
        ]
