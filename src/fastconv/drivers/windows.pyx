# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Windows of an array written out as columns, and columns summed to an array.

Nothing is computed but sums, so elements are known by their bytes only, and no level has a kernel of its own::

    x          [image][channel][sample ...]           any strides
    columns    [image][channel][tap ...][output ...]  contiguous; a sheet is what one tap of one channel sees

    sheet      one row for each output along the axes before the last; in it the outputs whose tap sees samples make a
               run, and those before and after see the boundary:

                   tap 0 of 3, padding 2        . . a b c d e
                   tap 2 of 3, padding 2        a b c d e . .
                                                run: 2..6, 0..4
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport numpy as cnp

from fastconv import _tunables
from fastconv.drivers.threads cimport Loop, Region, Task, region_poll
from fastconv.drivers.tile cimport MAX_OUTER, AxisSpec, axis_spec, source_index

cnp.import_array()

cdef double ELEMENT_WORK = _tunables.WINDOWS_ELEMENT_WORK
cdef ptrdiff_t SHARE = _tunables.WINDOWS_SHARE

# Elements that are added as numbers of so many bytes; signed and unsigned integers have the same sums modulo 2^n.
ctypedef fused number:
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    float
    double

# Elements of any type are copied as so many words.
ctypedef fused word:
    uint8_t
    uint16_t
    uint32_t
    uint64_t

cdef struct Lattice:
    # The last axis apart from those before it.
    int rank
    AxisSpec axes[MAX_OUTER]
    bint constant[MAX_OUTER]       # whether an axis has the fill value around it
    ptrdiff_t taps, rows, columns  # of all axes, of all but the last, of the last

cdef struct Sheet:
    # One tap: its place along each axis, the position that the first output sees there, and the run of the last axis.
    ptrdiff_t tap[MAX_OUTER]
    ptrdiff_t first[MAX_OUTER]
    ptrdiff_t start, stop

cdef struct Source:
    const char *data
    const char *fill
    ptrdiff_t image, channel
    ptrdiff_t strides[MAX_OUTER]


cdef inline ptrdiff_t seen(const Lattice *lattice, int axis, ptrdiff_t position) noexcept nogil:
    """The sample at a position of an axis, or a negative number where there is the fill value."""
    if 0 <= position < lattice.axes[axis].n:
        return position
    return -1 if lattice.constant[axis] else source_index(&lattice.axes[axis], position)


cdef inline ptrdiff_t steps_to(ptrdiff_t distance, ptrdiff_t stride) noexcept nogil:
    """How many steps cover a distance."""
    if distance <= 0:
        return 0
    return distance if stride == 1 else (distance + stride - 1) // stride


cdef void find_run(const Lattice *lattice, Sheet *sheet) noexcept nogil:
    cdef const AxisSpec *axis = &lattice.axes[lattice.rank - 1]
    cdef ptrdiff_t first = sheet.first[lattice.rank - 1]
    sheet.start = min(steps_to(-first, axis.stride), axis.out)
    sheet.stop = max(min(steps_to(axis.n - first, axis.stride), axis.out), sheet.start)


cdef void first_sheet(const Lattice *lattice, ptrdiff_t tap, Sheet *sheet) noexcept nogil:
    """Begin with the tap of that number."""
    cdef const AxisSpec *axis
    cdef int i
    for i in range(lattice.rank - 1, -1, -1):
        axis = &lattice.axes[i]
        sheet.tap[i] = tap % axis.k
        sheet.first[i] = sheet.tap[i] * axis.dilation - axis.lo
        tap //= axis.k
    find_run(lattice, sheet)


cdef void next_sheet(const Lattice *lattice, Sheet *sheet) noexcept nogil:
    """Go on to the next tap, or from the last one to the first."""
    cdef const AxisSpec *axis
    cdef int i
    for i in range(lattice.rank - 1, -1, -1):
        axis = &lattice.axes[i]
        sheet.tap[i] += 1
        sheet.first[i] += axis.dilation
        if sheet.tap[i] < axis.k:
            break
        sheet.tap[i] = 0
        sheet.first[i] = -axis.lo
    find_run(lattice, sheet)


cdef bint find_row(const Lattice *lattice, const Sheet *sheet, const ptrdiff_t *strides, ptrdiff_t row,
                   ptrdiff_t *offset) noexcept nogil:
    """Find where the row of the channel begins that a row of a sheet sees; False if that is the fill value."""
    cdef const AxisSpec *axis
    cdef ptrdiff_t at, output
    cdef int i
    offset[0] = 0
    for i in range(lattice.rank - 2, -1, -1):
        axis = &lattice.axes[i]
        output = row
        if i > 0:
            output = row % axis.out
            row //= axis.out
        at = seen(lattice, i, sheet.first[i] + output * axis.stride)
        if at < 0:
            return False
        offset[0] += at * strides[i]
    return True


cdef inline void copy_element(word *to, const char *data, ptrdiff_t parts) noexcept nogil:
    """Copy an element that may lie anywhere."""
    cdef ptrdiff_t part
    if parts == 1:
        memcpy(to, data, sizeof(word))
    else:
        for part in range(parts):
            memcpy(to + part, data + part * sizeof(word), sizeof(word))


cdef inline void copy_run(word *to, const char *data, ptrdiff_t step, ptrdiff_t n, ptrdiff_t parts) noexcept nogil:
    """Copy n elements that lie `step` bytes apart."""
    cdef ptrdiff_t i
    # Calling memcpy takes longer than a few copies.
    if step == <ptrdiff_t>sizeof(word) * parts and n > 8:
        memcpy(to, data, n * step)
    else:
        for i in range(n):
            copy_element(to + i * parts, data + i * step, parts)


cdef inline void copy_border(const Lattice *lattice, const Source *x, word *to, const char *data, ptrdiff_t first,
                             ptrdiff_t start, ptrdiff_t stop, ptrdiff_t parts) noexcept nogil:
    """Write the outputs from start to stop of a row, which see the boundary; data is NULL where all are fill."""
    cdef int axis = lattice.rank - 1
    cdef ptrdiff_t p, at
    for p in range(start, stop):
        at = seen(lattice, axis, first + p * lattice.axes[axis].stride) if data != NULL else -1
        copy_element(to + p * parts, x.fill if at < 0 else data + at * x.strides[axis], parts)


cdef void copy_sheet(const Lattice *lattice, const Sheet *sheet, const Source *x, const char *data, ptrdiff_t parts,
                     word *to) noexcept nogil:
    cdef const AxisSpec *axis = &lattice.axes[lattice.rank - 1]
    cdef ptrdiff_t step = x.strides[lattice.rank - 1], first = sheet.first[lattice.rank - 1], row, offset
    for row in range(lattice.rows):
        if not find_row(lattice, sheet, x.strides, row, &offset):
            copy_border(lattice, x, to, NULL, first, 0, lattice.columns, parts)
        else:
            copy_border(lattice, x, to, data + offset, first, 0, sheet.start, parts)
            copy_run(to + sheet.start * parts, data + offset + (first + sheet.start * axis.stride) * step,
                     axis.stride * step, sheet.stop - sheet.start, parts)
            copy_border(lattice, x, to, data + offset, first, sheet.stop, lattice.columns, parts)
        to += lattice.columns * parts


cdef void add_run(number *to, const number *data, ptrdiff_t step, ptrdiff_t n, ptrdiff_t parts) noexcept nogil:
    """Add n elements to such that lie `step` elements apart."""
    cdef ptrdiff_t i, part
    if step == 1:
        for i in range(n * parts):
            to[i] = <number>(to[i] + data[i])
    elif parts == 1:
        for i in range(n):
            to[i * step] = <number>(to[i * step] + data[i])
    else:
        for i in range(n):
            for part in range(parts):
                to[i * step * parts + part] = <number>(to[i * step * parts + part] + data[i * parts + part])


cdef void add_border(const Lattice *lattice, number *to, const number *data, ptrdiff_t first, ptrdiff_t start,
                     ptrdiff_t stop, ptrdiff_t parts) noexcept nogil:
    """Add the elements from start to stop of a row to the samples that their boundary shows."""
    cdef int axis = lattice.rank - 1
    cdef ptrdiff_t p, part, at
    if lattice.constant[axis]:
        return
    for p in range(start, stop):
        at = seen(lattice, axis, first + p * lattice.axes[axis].stride)
        for part in range(parts):
            to[at * parts + part] = <number>(to[at * parts + part] + data[p * parts + part])


cdef void add_channel(const Lattice *lattice, const ptrdiff_t *strides, const number *data, ptrdiff_t parts,
                      number *sums) noexcept nogil:
    """Add all sheets of a channel, tap by tap: the order of the terms of a sum does not depend on anything else."""
    cdef const AxisSpec *axis = &lattice.axes[lattice.rank - 1]
    cdef ptrdiff_t tap, first, row, offset
    cdef number *to
    cdef Sheet sheet
    first_sheet(lattice, 0, &sheet)
    for tap in range(lattice.taps):
        first = sheet.first[lattice.rank - 1]
        for row in range(lattice.rows):
            if find_row(lattice, &sheet, strides, row, &offset):
                to = sums + offset * parts
                add_border(lattice, to, data, first, 0, sheet.start, parts)
                add_run(to + (first + sheet.start * axis.stride) * parts, data + sheet.start * parts, axis.stride,
                        sheet.stop - sheet.start, parts)
                add_border(lattice, to, data, first, sheet.stop, lattice.columns, parts)
            data += lattice.columns * parts
        next_sheet(lattice, &sheet)


# A call: windows that are gathered from a source, or added to sums.
cdef struct Call:
    bint adds
    Source source
    const char *columns
    char *to
    ptrdiff_t sheets              # to gather
    ptrdiff_t step                # sheets in an item
    ptrdiff_t size                # elements in a plane of sums
    ptrdiff_t strides[MAX_OUTER]  # of the sums, in elements
    ptrdiff_t bytes, parts        # of a number, and numbers in an element
    bint floating


cdef class Windows(Loop):
    """How windows lie on arrays of one shape.

    Parameters
    ----------
    lead : tuple of int
        Images and channels.
    axes : tuple of Axis
        The spatial axes.
    """

    cdef Lattice lattice
    cdef ptrdiff_t images, channels

    def __init__(self, lead, axes):
        cdef int i
        self.images, self.channels = lead
        self.lattice.rank = <int>len(axes)
        self.lattice.taps = self.lattice.rows = 1
        for i in range(self.lattice.rank):
            self.lattice.axes[i] = axis_spec(axes[i])
            self.lattice.constant[i] = axes[i].boundary == "constant"
            self.lattice.taps *= self.lattice.axes[i].k
            if i < self.lattice.rank - 1:
                self.lattice.rows *= self.lattice.axes[i].out
        self.lattice.columns = self.lattice.axes[self.lattice.rank - 1].out

    def gather(self, cnp.ndarray x, cnp.ndarray fill, cnp.ndarray columns, threads=None):
        """Write all windows of x to columns.

        Parameters
        ----------
        x : ndarray, shape (images, channels, *samples), (channels, *samples) or (samples)
        fill : ndarray of one element
        columns : ndarray of as many elements as all windows have
            Contiguous. All are of one dtype without Python objects.
        """
        cdef Call call
        cdef Task task
        cdef ptrdiff_t item = cnp.PyArray_ITEMSIZE(x), bytes = 1
        cdef ptrdiff_t sheet = self.lattice.rows * self.lattice.columns
        cdef ptrdiff_t items
        cdef int i, lead = cnp.PyArray_NDIM(x) - self.lattice.rank
        call.adds = False
        call.to = cnp.PyArray_BYTES(columns)
        call.sheets = self.images * self.channels * self.lattice.taps
        if call.sheets * sheet * item == 0:
            return
        while bytes < 8 and item % (2 * bytes) == 0 and <size_t>call.to % <size_t>(2 * bytes) == 0:
            bytes *= 2
        call.bytes, call.parts = bytes, item // bytes
        call.source.data, call.source.fill = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(fill)
        call.source.image = cnp.PyArray_STRIDE(x, 0) if lead > 1 else 0
        call.source.channel = cnp.PyArray_STRIDE(x, lead - 1) if lead > 0 else 0
        for i in range(self.lattice.rank):
            call.source.strides[i] = cnp.PyArray_STRIDE(x, lead + i)
        call.step = max(SHARE // sheet, 1)
        items = (call.sheets + call.step - 1) // call.step
        task = Task(ELEMENT_WORK * call.sheets * sheet, items, 1, False, 0, 0)
        self.run_items(&call, threads, &task)

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef const Call *call = <const Call *>of
        cdef ptrdiff_t item
        for item in range(start, stop):
            if thread == 0:
                region_poll(region)
            if region.stopped:
                return
            if call.adds:
                self.add_plane(call, item)
            else:
                self.copy_sheets(call, item * call.step, min(call.sheets, (item + 1) * call.step))

    cdef void copy_sheets(self, const Call *call, ptrdiff_t start, ptrdiff_t stop) noexcept nogil:
        cdef const Lattice *lattice = &self.lattice
        cdef const Source *x = &call.source
        cdef ptrdiff_t number, plane = start // lattice.taps, parts = call.parts
        cdef ptrdiff_t size = lattice.rows * lattice.columns * call.bytes * parts
        cdef char *to = call.to + start * size
        cdef const char *data
        cdef Sheet sheet
        first_sheet(lattice, start % lattice.taps, &sheet)
        data = x.data + plane // self.channels * x.image + plane % self.channels * x.channel
        for number in range(start, stop):
            if call.bytes == 4:
                copy_sheet(lattice, &sheet, x, data, parts, <uint32_t *>to)
            elif call.bytes == 8:
                copy_sheet(lattice, &sheet, x, data, parts, <uint64_t *>to)
            elif call.bytes == 2:
                copy_sheet(lattice, &sheet, x, data, parts, <uint16_t *>to)
            else:
                copy_sheet(lattice, &sheet, x, data, parts, <uint8_t *>to)
            to += size
            next_sheet(lattice, &sheet)
            if (number + 1) % lattice.taps == 0:
                plane += 1
                data = x.data + plane // self.channels * x.image + plane % self.channels * x.channel

    def scatter(self, cnp.ndarray columns, cnp.ndarray sums, threads=None):
        """Add all columns to sums; both contiguous, aligned, and of one dtype, a real or complex one of C."""
        cdef Call call
        cdef Task task
        cdef int i, kind = cnp.PyArray_TYPE(columns)
        if cnp.PyArray_SIZE(columns) == 0:
            return
        call.adds = True
        call.parts = 2 if kind == cnp.NPY_CFLOAT or kind == cnp.NPY_CDOUBLE else 1
        call.bytes = cnp.PyArray_ITEMSIZE(columns) // call.parts
        call.floating = kind in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE)
        call.size = 1
        for i in range(self.lattice.rank - 1, -1, -1):
            call.strides[i] = call.size
            call.size *= self.lattice.axes[i].n
        call.columns = cnp.PyArray_BYTES(columns)
        call.to = cnp.PyArray_BYTES(sums)
        task = Task(ELEMENT_WORK * cnp.PyArray_SIZE(columns), self.images * self.channels, 1, False, 0, 0)
        self.run_items(&call, threads, &task)

    cdef void add_plane(self, const Call *call, ptrdiff_t plane) noexcept nogil:
        cdef const Lattice *lattice = &self.lattice
        cdef const ptrdiff_t *strides = &call.strides[0]
        cdef ptrdiff_t parts = call.parts, bytes = call.bytes
        cdef const char *data = call.columns + plane * lattice.taps * lattice.rows * lattice.columns * parts * bytes
        cdef char *to = call.to + plane * call.size * parts * bytes
        if call.floating and bytes == 4:
            add_channel(lattice, strides, <const float *>data, parts, <float *>to)
        elif call.floating:
            add_channel(lattice, strides, <const double *>data, parts, <double *>to)
        elif bytes == 1:
            add_channel(lattice, strides, <const uint8_t *>data, parts, <uint8_t *>to)
        elif bytes == 2:
            add_channel(lattice, strides, <const uint16_t *>data, parts, <uint16_t *>to)
        elif bytes == 4:
            add_channel(lattice, strides, <const uint32_t *>data, parts, <uint32_t *>to)
        else:
            add_channel(lattice, strides, <const uint64_t *>data, parts, <uint64_t *>to)
