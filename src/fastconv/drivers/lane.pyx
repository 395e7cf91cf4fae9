# cython: language_level=3, freethreading_compatible=True
"""The short lane: a call that was made before, on plain arrays of the same shapes, goes straight to its schedule.

Validation and planning take tens of microseconds, more than a small convolution. What they concluded depends only on
the options, shapes and dtypes, so it is kept under those. The long way is the only one that refuses anything: a call
that is not exactly like one that passed goes there.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_FromStringAndSize

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
        driver, out_shape = <tuple>found
        rank = <int>len(<tuple>out_shape)
        for i in range(rank):
            shape[i] = (<tuple>out_shape)[i]
        out = cnp.PyArray_EMPTY(rank, shape, cnp.PyArray_TYPE(<cnp.ndarray>x), 0)
        driver.run(x, w, bias, out, threads)
        return out

    def remember(self, object x, object w, object bias, tuple options, object schedule, object operands):
        """Keep the schedule of a call whose arrays went to the driver as they were."""
        cdef bytes key
        if operands.x is not x or operands.w is not w or schedule.problem.activation is not None:
            return
        if schedule.rounded is not None:  # what runs depends on the numbers
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
        self.schedules.setdefault(options, {})[key] = (schedule.driver, schedule.problem.out_shape)

    def clear(self):
        """Forget everything, for a change of level."""
        self.schedules = {}
        self.kept = 0
