# cython: language_level=3, freethreading_compatible=True
"""The short lane: a call that was made before, on plain arrays of the same shapes, goes straight to its schedule.

Validation and planning take tens of microseconds, more than a small convolution. What they concluded depends only on
the options, shapes and dtypes, so it is kept under those. The long way is the only one that refuses anything: a call
that is not exactly like one that passed goes there.
"""

cimport numpy as cnp
import numpy
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cnp.import_array()

cdef object conjugate = numpy.conjugate

cdef enum:
    MAX_AXES = 8
    MAX_KEPT = 4096  # schedules of one lane; beyond it all are forgotten


cdef bint plain(object array):
    """Whether drivers take the array as it is: no subclass, native byte order. They take any strides."""
    return (cnp.PyArray_CheckExact(array) and cnp.PyArray_NDIM(<cnp.ndarray>array) <= MAX_AXES
            and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>array))


cdef int describe(cnp.ndarray array, cnp.npy_intp *to) noexcept:
    """Write type, rank and shape; return how many numbers that was."""
    cdef int i, n = cnp.PyArray_NDIM(array)
    to[0] = cnp.PyArray_TYPE(array)
    to[1] = n
    for i in range(n):
        to[2 + i] = cnp.PyArray_DIM(array, i)
    return 2 + n


cdef bint plain_option(object option):
    """Whether equality of the option means the same call: 1, 1.0 and True are equal, and only one is an axis count."""
    kind = type(option)
    if option is None or kind is int or kind is str:
        return True
    if kind is tuple:
        for entry in <tuple>option:
            if not plain_option(entry):
                return False
        return True
    return False


cdef bint finite_bits(const char *data, cnp.npy_intp n, cnp.npy_intp step, cnp.npy_intp parts, int bytes) noexcept:
    """Whether none of n elements of so many real parts, of so many bytes each, is NaN or Inf."""
    cdef cnp.npy_intp i, part
    cdef const char *at
    cdef bint wrong = False
    cdef uint64_t eight
    cdef uint32_t four
    cdef uint16_t two
    for i in range(n):
        at = data + i * step
        for part in range(parts):
            if bytes == 8:
                memcpy(&eight, at + 8 * part, 8)
                wrong |= (eight >> 52) & 0x7ff == 0x7ff
            elif bytes == 4:
                memcpy(&four, at + 4 * part, 4)
                wrong |= (four >> 23) & 0xff == 0xff
            else:
                memcpy(&two, at + 2 * part, 2)
                wrong |= (two >> 10) & 0x1f == 0x1f
    return not wrong


cdef bint all_finite(cnp.ndarray array) noexcept:
    """Whether an array of one axis and a floating type with a kernel has no NaN and no Inf."""
    cdef cnp.npy_intp n = cnp.PyArray_DIM(array, 0), step = cnp.PyArray_STRIDE(array, 0)
    cdef const char *data = cnp.PyArray_BYTES(array)
    cdef int kind = cnp.PyArray_TYPE(array)
    if kind == cnp.NPY_DOUBLE:
        return finite_bits(data, n, step, 1, 8)
    if kind == cnp.NPY_FLOAT:
        return finite_bits(data, n, step, 1, 4)
    if kind == cnp.NPY_CDOUBLE:
        return finite_bits(data, n, step, 2, 8)
    if kind == cnp.NPY_CFLOAT:
        return finite_bits(data, n, step, 2, 4)
    return kind == cnp.NPY_FLOAT16 and finite_bits(data, n, step, 1, 2)


cdef class Entry:
    """What to do for one set of options, shapes and dtypes."""

    cdef object driver
    cdef object function  # instead of a driver: takes x, w, threads
    cdef cnp.npy_intp shape[MAX_AXES]  # of the result, as are the next two
    cdef int rank
    cdef int dtype
    cdef bint swapped  # x goes to the driver as the kernel
    cdef bint transposed  # w has its channels out behind its channels in
    cdef bint finite   # only for a kernel without NaN and Inf
    cdef object backwards  # how w is reversed before that, or None
    cdef bint conj_result

    cdef object run(self, object x, object w, object bias, object threads):
        cdef cnp.ndarray out
        if self.function is not None:
            return self.function(x, w, threads)
        if cnp.PyArray_TYPE(<cnp.ndarray>x) != self.dtype:
            x = cnp.PyArray_Cast(<cnp.ndarray>x, self.dtype)
        if cnp.PyArray_TYPE(<cnp.ndarray>w) != self.dtype:
            w = cnp.PyArray_Cast(<cnp.ndarray>w, self.dtype)
        if self.backwards is not None:
            w = w[self.backwards]
        if self.transposed:
            w = cnp.PyArray_SwapAxes(<cnp.ndarray>w, 0, 1)
        if self.swapped:
            x, w = w, x
        if self.finite and not all_finite(w):
            return None
        out = cnp.PyArray_EMPTY(self.rank, self.shape, self.dtype, 0)
        self.driver.run(x, w, bias, out, threads)
        return conjugate(out, out) if self.conj_result else out


cdef Entry entry_of(object schedule):
    """Return what runs a schedule on x and w as they are."""
    cdef Entry entry = Entry()
    cdef int i
    shape = schedule.problem.out_shape
    entry.driver = schedule.driver
    entry.rank = <int>len(shape)
    for i in range(min(entry.rank, <int>MAX_AXES)):
        entry.shape[i] = shape[i]
    entry.dtype = schedule.problem.dtype.num
    return entry


cdef object as_array(object value):
    """Return a list or tuple as an array, and None where it makes none; anything else as it is."""
    if type(value) is list or type(value) is tuple:
        try:
            return cnp.PyArray_FROM_O(value)
        except Exception:
            return None
    return value


cdef class Lane:
    """The schedules of one face, by options, shapes and dtypes."""

    cdef dict entries
    cdef Py_ssize_t kept

    def __init__(self):
        self.clear()

    cdef bytes key(self, object x, object w, object bias):
        cdef cnp.npy_intp numbers[3 * (MAX_AXES + 2)]
        cdef int n
        if not plain(x) or not plain(w):
            return None
        # Drivers read the bias as one contiguous, aligned row.
        if bias is not None and not (plain(bias) and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>bias)):
            return None
        n = describe(x, numbers)
        n += describe(w, numbers + n)
        if bias is not None:
            n += describe(bias, numbers + n)
        return PyBytes_FromStringAndSize(<char *>numbers, n * sizeof(cnp.npy_intp))

    def run(self, object x, object w, object bias, tuple options, object threads):
        """Return the result of a call that is remembered, or None."""
        cdef bytes key
        cdef Entry entry
        if not plain_option(options):
            return None
        by_arrays = self.entries.get(options)
        if by_arrays is None or not (threads is None or type(threads) is int and 1 <= threads <= 4096):
            return None
        x, w = as_array(x), as_array(w)
        key = self.key(x, w, bias)
        if key is None:
            return None
        entry = (<dict>by_arrays).get(key)
        return None if entry is None else entry.run(x, w, bias, threads)

    def remember(self, object x, object w, object bias, tuple options, object schedule, object operands):
        """Keep the schedule of a call whose arrays went to the driver as they were."""
        if operands.x is not x or operands.w is not w or schedule.problem.has_epilogue:
            return
        if schedule.rounded is not None:  # what runs depends on the numbers
            return
        if bias is not None and (operands.bias is not bias or bias.dtype != schedule.bias_dtype):
            return
        self.keep(x, w, bias, options, entry_of(schedule))

    def remember_transposed(self, object x, object w, object bias, tuple options, object schedule, object operands):
        """Keep the schedule of a call whose weights, of one group, went to the driver with their channels swapped."""
        cdef Entry entry
        if operands.x is not x or not plain(w) or schedule.problem.groups > 1 or schedule.rounded is not None:
            return
        if bias is not None and (operands.bias is not bias or bias.dtype != schedule.bias_dtype):
            return
        entry = entry_of(schedule)
        entry.transposed = True
        self.keep(x, w, bias, options, entry)

    def remember_pair(self, object x, object w, tuple options, object recipe):
        """Keep the recipe of `fastconv._pairs`, without views, that was followed for arrays of any dtype."""
        cdef Entry entry = entry_of(recipe.schedule)
        entry.swapped, entry.backwards, entry.conj_result = recipe.swapped, recipe.backwards, recipe.conj_result
        entry.finite = recipe.numpy == "not finite"
        self.keep(x, w, None, options, entry)

    def remember_call(self, object x, object w, tuple options, object function):
        """Keep a function of x, w and threads that returns the result of such a call."""
        cdef Entry entry = Entry()
        entry.function = function
        self.keep(x, w, None, options, entry)

    cdef void keep(self, object x, object w, object bias, tuple options, Entry entry) except *:
        cdef bytes key
        if not plain_option(options) or entry.rank > MAX_AXES:
            return
        key = self.key(x, w, bias)
        if key is None:
            return
        if self.kept >= MAX_KEPT:
            self.clear()
        self.kept += 1
        self.entries.setdefault(options, {})[key] = entry

    def clear(self):
        """Forget everything, for a change of level."""
        self.entries = {}
        self.kept = 0
