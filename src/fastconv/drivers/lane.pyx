# cython: language_level=3, freethreading_compatible=True
"""The short lane: a call that was made before, on plain arrays of the same shapes, goes straight to its schedule.

Validation and planning take tens of microseconds, more than a small convolution. What they concluded depends only on
the options, shapes and dtypes, so it is kept under those. The long way is the only one that refuses anything: a call
that is not exactly like one that passed goes there.

The calls of a plan are shorter still: its weights and options are known, so that only the shape of x is looked at.
"""

cimport cython
cimport numpy as cnp
import numpy
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastconv.drivers.results cimport empty_of

cnp.import_array()

cdef object conjugate = numpy.conjugate

cdef enum:
    MAX_AXES = 8
    MAX_KEPT = 4096  # schedules of one lane; beyond it all are forgotten
    MAX_SERVED = 16  # shapes that a plan finds one after the other
    MAX_TYPES = 24  # of NumPy itself; others have numbers that mean nothing elsewhere


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


def distinct(option):
    """Return an option as a lane takes it, equal to the same only: not 1.0 or True to 1, nor 0.0 to -0.0."""
    kind = type(option)
    if kind is float:
        return (option.hex(),)
    if kind is bool:
        return (str(option),)
    return (option,) if kind is tuple else option


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


cdef bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether the memory from the first to the last byte of one array meets that of another."""
    cdef char *starts[2]
    cdef char *stops[2]
    cdef cnp.ndarray array
    cdef cnp.npy_intp reach
    cdef int i, axis
    if not cnp.PyArray_SIZE(a) or not cnp.PyArray_SIZE(b):
        return False
    for i in range(2):
        array = b if i else a
        starts[i] = cnp.PyArray_BYTES(array)
        stops[i] = starts[i] + cnp.PyArray_ITEMSIZE(array)
        for axis in range(cnp.PyArray_NDIM(array)):
            reach = (cnp.PyArray_DIM(array, axis) - 1) * cnp.PyArray_STRIDE(array, axis)
            if reach < 0:
                starts[i] += reach
            else:
                stops[i] += reach
    return starts[0] < stops[1] and starts[1] < stops[0]


cdef bint has_shape(cnp.ndarray array, int rank, const cnp.npy_intp *shape) noexcept:
    cdef int i
    if cnp.PyArray_NDIM(array) != rank:
        return False
    for i in range(rank):
        if cnp.PyArray_DIM(array, i) != shape[i]:
            return False
    return True


cdef bint receives(object out, int dtype, int rank, const cnp.npy_intp *shape):
    """Whether a driver writes such a result to out as it is."""
    return (cnp.PyArray_CheckExact(out) and cnp.PyArray_TYPE(<cnp.ndarray>out) == dtype
            and cnp.PyArray_ISBEHAVED(<cnp.ndarray>out) and has_shape(<cnp.ndarray>out, rank, shape))


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

    cdef object run(self, object x, object w, object bias, object threads, object out):
        if out is not None and not self.writes(out, x, w, bias):
            return None
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
        if out is None:
            out = empty_of(self.rank, self.shape, self.dtype)
        self.driver.run(x, w, bias, out, threads)
        return conjugate(out, out) if self.conj_result else out

    cdef bint writes(self, object out, cnp.ndarray x, cnp.ndarray w, object bias):
        """Whether the driver writes to out directly."""
        return (self.function is None and receives(out, self.dtype, self.rank, self.shape)
                and not overlap(out, x) and not overlap(out, w) and (bias is None or not overlap(out, bias)))


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

    # Emptied, never replaced: without the GIL, one thread may look into it while another forgets it all.
    cdef dict entries
    cdef Py_ssize_t kept

    def __cinit__(self):
        self.entries = {}

    cdef bytes key(self, object x, object w, object bias):
        cdef cnp.npy_intp numbers[3 * (MAX_AXES + 2)]
        cdef int n
        if not plain(x) or not (w is None or plain(w)):
            return None
        # Drivers read the bias as one contiguous, aligned row.
        if bias is not None and not (plain(bias) and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>bias)):
            return None
        n = describe(x, numbers)
        if w is not None:
            n += describe(w, numbers + n)
        if bias is not None:
            n += describe(bias, numbers + n)
        return PyBytes_FromStringAndSize(<char *>numbers, n * sizeof(cnp.npy_intp))

    def run(self, object x, object w, object bias, tuple options, object threads, object out=None):
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
        return None if entry is None else entry.run(x, w, bias, threads, out)

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
        """Keep a function of x, w and threads that returns the result of such a call; w may be None in all of them."""
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
        if key in self.entries.get(options, ()):
            return
        if self.kept >= MAX_KEPT:
            self.clear()
        self.kept += 1
        self.entries.setdefault(options, {})[key] = entry

    def clear(self):
        """Forget everything, for a change of level."""
        self.entries.clear()
        self.kept = 0


cdef class Served:
    """What a plan does with inputs of one shape, found without a look at its options."""

    cdef object run, w, bias, threads, panels, scale
    cdef bint finishes  # `run` does what follows the sums
    cdef cnp.npy_intp x_shape[MAX_AXES]
    cdef cnp.npy_intp shape[MAX_AXES]  # of the result
    cdef int rank  # of both
    cdef int dtype  # of both

    def __init__(self, schedule, x_shape, w, bias, scale, threads, panels):
        cdef int i
        problem = schedule.problem
        self.run, self.w, self.bias, self.threads, self.panels = schedule.driver.run, w, bias, threads, panels
        self.scale, self.finishes = scale, problem.has_epilogue
        self.rank, self.dtype = <int>len(x_shape), problem.dtype.num
        for i in range(self.rank):
            self.x_shape[i], self.shape[i] = x_shape[i], problem.out_shape[i]

    cdef bint takes(self, cnp.ndarray x, object out):
        """Whether the driver reads x and writes out as they are, and x is of the shape that this is for."""
        if cnp.PyArray_TYPE(x) != self.dtype or not has_shape(x, self.rank, self.x_shape):
            return False
        return out is None or receives(out, self.dtype, self.rank, self.shape) and not overlap(x, out)

    cdef object call(self, cnp.ndarray x, object out):
        if out is None:
            out = empty_of(self.rank, self.shape, self.dtype)
        if self.finishes and self.panels is None:
            self.run(x, self.w, self.bias, out, self.threads, scale=self.scale)
        elif self.finishes:
            self.run(x, self.w, self.bias, out, self.threads, panels=self.panels, scale=self.scale)
        elif self.panels is None:
            self.run(x, self.w, self.bias, out, self.threads)
        else:
            self.run(x, self.w, self.bias, out, self.threads, self.panels)
        return out


cdef class Caller:
    """Calls plans: the shapes that were served before are found here, for all else there is `serve` of the subclass."""

    cdef tuple served  # the last first; replaced, never changed

    def __cinit__(self):
        self.served = ()

    def __call__(self, x, out=None, residual=None):
        """Convolve x.

        Parameters
        ----------
        x : array_like
            Of the dtype and the channels that the plan was made for; batch and spatial sizes are free.
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype. It may overlap x, for the price of a temporary.
        residual : array_like, of the shape of the result, optional
            What is added to it, where the plan was made with ``residual=True`` and only there; it may be `out`.

        Returns
        -------
        ndarray
            `out`, or a new array: the only memory that a call takes where x is of the dtype of the result.

        Raises
        ------
        ConvError, ConvTypeError
            If x, out or residual are not what the plan was made for, before anything is written.
        """
        cdef Served served
        cdef tuple known
        if residual is None and cnp.PyArray_CheckExact(x) and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>x):
            with cython.critical_section(self):
                known = self.served
            for served in known:
                if served.takes(<cnp.ndarray>x, out):
                    return served.call(<cnp.ndarray>x, out)
        return self.serve(x, out, residual)

    def remember(self, object schedule, tuple x_shape, object w, object bias, object scale, object threads,
                 object panels):
        """Call a schedule for this shape without going through `serve`, if drivers take such arrays as they are."""
        problem = schedule.problem
        if len(x_shape) > MAX_AXES or schedule.rounded is not None:
            return
        # Whose result is of another dtype than x, or wants another array, or a pass of its own, goes the long way.
        if problem.has_residual or problem.out_dtype != problem.dtype or not 0 <= problem.dtype.num < MAX_TYPES:
            return
        if problem.has_epilogue and not schedule.fuses_epilogue:
            return
        cdef Served served, new = Served(schedule, x_shape, w, bias, scale, threads, panels)
        with cython.critical_section(self):
            for served in self.served:
                if served.rank == new.rank and not memcmp(served.x_shape, new.x_shape, new.rank * sizeof(cnp.npy_intp)):
                    return
            self.served = (new, *self.served[: MAX_SERVED - 1])

    def forget(self, object panels):
        """Drop what uses these packed weights."""
        cdef Served served
        with cython.critical_section(self):
            self.served = tuple([served for served in self.served if served.panels is not panels])
