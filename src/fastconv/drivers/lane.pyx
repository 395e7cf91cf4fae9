# cython: language_level=3, freethreading_compatible=True
"""The short lane: a call that was made before, on plain arrays of the same shapes, goes straight to its schedule.

Validation and planning take tens of microseconds, more than a small convolution. What they concluded depends only on
the options, shapes and dtypes, so it is kept under those. The long way is the only one that refuses anything: a call
that is not exactly like one that passed goes there.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cnp.import_array()

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


cdef class Lane:
    """The schedules of one face, by options, shapes and dtypes."""

    cdef dict schedules
    cdef Py_ssize_t kept

    def __init__(self):
        self.schedules = {}
        self.kept = 0

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
        cdef cnp.ndarray out
        cdef cnp.npy_intp shape[MAX_AXES]
        cdef int i, rank
        if not plain_option(options):
            return None
        by_arrays = self.schedules.get(options)
        if by_arrays is None:
            return None
        key = self.key(x, w, bias)
        if key is None:
            return None
        found = (<dict>by_arrays).get(key)
        if found is None or not (threads is None or type(threads) is int and 1 <= threads <= 4096):
            return None
        driver, out_shape, swapped, finite = <tuple>found
        if swapped:
            x, w = w, x
        if finite and not all_finite(w):
            return None
        rank = <int>len(<tuple>out_shape)
        for i in range(rank):
            shape[i] = (<tuple>out_shape)[i]
        out = cnp.PyArray_EMPTY(rank, shape, cnp.PyArray_TYPE(<cnp.ndarray>x), 0)
        driver.run(x, w, bias, out, threads)
        return out

    def remember(self, object x, object w, object bias, tuple options, object schedule, object operands,
                 bint swapped=False, bint finite=False):
        """Keep the schedule of a call whose arrays went to the driver as they were.

        `swapped`: x went there as the kernel. `finite`: the schedule is not for a kernel with NaN or Inf.
        """
        cdef bytes key
        if operands.x is not x or operands.w is not w or schedule.problem.activation is not None:
            return
        if not plain_option(options) or len(schedule.problem.out_shape) > MAX_AXES:
            return
        if bias is not None and (operands.bias is not bias or bias.dtype != schedule.bias_dtype):
            return
        key = self.key(x, w, bias)
        if key is None:
            return
        if self.kept >= MAX_KEPT:
            self.schedules = {}
            self.kept = 0
        self.kept += 1
        self.schedules.setdefault(options, {})[key] = (schedule.driver, schedule.problem.out_shape, swapped, finite)

    def clear(self):
        """Forget everything, for a change of level."""
        self.schedules = {}
        self.kept = 0
