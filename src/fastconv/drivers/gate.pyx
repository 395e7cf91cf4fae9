# cython: language_level=3, freethreading_compatible=True
"""The gate in front of a function that stands in for another: plain arrays pass, everything else is looked at.

A look at each argument in Python takes half as long as numpy.convolve of a hundred samples.
"""

cimport numpy as cnp

cnp.import_array()

# One for all gates: whether there is a way past the look.
cdef bint _short_way = False


def open_short_way(bint is_open):
    """Let plain calls pass all gates, or have every call looked at."""
    global _short_way
    _short_way = is_open


cdef inline bint plain(object value):
    """Whether it is an array, not of a subclass, in native byte order, of a type that every peer computes."""
    if not (cnp.PyArray_CheckExact(value) and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>value)):
        return False
    # Not bool, float16, longdouble: some peers refuse them, and others compute them better.
    number = cnp.PyArray_TYPE(<cnp.ndarray>value)
    return (cnp.NPY_BYTE <= number <= cnp.NPY_DOUBLE or number == cnp.NPY_CFLOAT or number == cnp.NPY_CDOUBLE)


cdef class Gate:
    """Calls `face` with plain arguments and, should that raise, `original`; a subclass looks at other calls."""

    cdef public object face
    cdef readonly object original
    cdef int fewest, most
    cdef frozenset harmless

    def __init__(self, face, original, int fewest, int most, frozenset harmless):
        # The first `fewest` positional arguments are arrays, and up to `most` and in `harmless` none more is.
        self.face = face
        self.original = original
        self.fewest = fewest
        self.most = most
        self.harmless = harmless

    def __call__(self, *arguments, **options):
        cdef Py_ssize_t i
        if _short_way and self.fewest <= len(arguments) <= self.most:
            for i in range(self.fewest):
                if not plain(arguments[i]):
                    break
            else:
                if not options or self.harmless.issuperset(options):
                    try:
                        return self.face(*arguments, **options)
                    except Exception:
                        # Left before the original is called, or this error would be shown above the original's.
                        pass
                    return self.original(*arguments, **options)
        return self.look(arguments, options)

    def look(self, arguments, options):
        """Serve a call that may not be plain."""
        return self.original(*arguments, **options)
