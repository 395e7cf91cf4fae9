# cython: language_level=3, freethreading_compatible=True
"""CPU levels: which are compiled in, which run here, and which one is used."""

import os
import time
from contextlib import contextmanager

from fastconv._errors import ConvError
from fastconv.drivers.kernels cimport fc_level

cdef extern from "fastconv.h" nogil:
    const fc_level *const fc_levels[]
    void *fc_scratch_take(size_t size)
    void fc_scratch_give(void *block)
    const char *FC_COMPILER


cdef extern from "cpu.h" nogil:
    void fc_cpu_maker(char *name)


cdef extern from *:
    """
    void fc_scratch_clear(void);
    """
    void fc_scratch_clear() nogil


cdef void *scratch_take(size_t size) noexcept nogil:
    return fc_scratch_take(size)


cdef void scratch_give(void *block) noexcept nogil:
    fc_scratch_give(block)


cdef const fc_level *level_named(str name) except NULL:
    cdef int i = 0
    while fc_levels[i] != NULL:
        if name in _available and fc_levels[i].name.decode() == name:
            return fc_levels[i]
        i += 1
    raise ConvError(f"level: got {name!r}, allowed: {', '.join(available())}")


def maker():
    """Return the name of the CPU's maker as cpuid has it, such as GenuineIntel, or "" on CPUs that have no cpuid."""
    cdef char name[13]
    fc_cpu_maker(name)
    return name.decode("ascii", "replace")


def compiled():
    """Return the names of all levels in this build, the best first."""
    cdef int i = 0
    names = []
    while fc_levels[i] != NULL:
        names.append(fc_levels[i].name.decode())
        i += 1
    return tuple(names)


def _ask():
    cdef int i = 0
    names = []
    while fc_levels[i] != NULL:
        if fc_levels[i].supported():
            names.append(fc_levels[i].name.decode())
        i += 1
    return tuple(names)


# Asked once: a virtual machine takes tens of microseconds for each cpuid, and a level asks for a dozen.
_available = _ask()


def available():
    """Return the names of the levels that this CPU and operating system run, the best first."""
    return _available


def default():
    """Return the level to use: the one that FASTCONV_LEVEL names, or the best available.

    Raises
    ------
    ConvError
        If FASTCONV_LEVEL names a level that this build does not have or this CPU does not run.
    """
    forced = os.environ.get("FASTCONV_LEVEL", "")
    choices = available()
    if not forced:
        return choices[0]
    if forced not in compiled():
        raise ConvError(f"FASTCONV_LEVEL: got {forced!r}, an unknown level, allowed: {', '.join(choices)}")
    if forced not in choices:
        raise ConvError(f"FASTCONV_LEVEL: got {forced!r}, which this CPU does not run, allowed: {', '.join(choices)}")
    return forced


_current = default()


def current():
    """Return the level whose kernels are used: `default` at import, or what `use` put in its place."""
    return _current


@contextmanager
def use(str name):
    """Use another level within a ``with`` block: how tests and benchmarks compare levels in one process.

    Remembered calls of the faces keep the level they were made with, see `fastconv.drivers.lane`.
    """
    global _current
    before = _current
    level_named(name)
    _current = name
    try:
        yield
    finally:
        _current = before


def describe(str name):
    """Return the sizes of a level that plans are made with: vector bytes and register tiles."""
    cdef const fc_level *level = level_named(name)
    return {
        "vector_bytes": level.vector_bytes,
        "direct_rows": level.direct_rows,
        "direct_vectors": level.direct_vectors,
        "gemm_pixels": level.gemm_pixels,
        "gemm_vectors": level.gemm_vectors,
        "pixels_rows": level.pixels_rows,
        "pixels_vectors": level.pixels_vectors,
        "gradient_rows": level.gradient[0].rows,
        "gradient_vectors": level.gradient[0].vectors,
        "int8_pixels": level.int8_pixels,
        "int8_chunk": level.int8_chunk,
    }


def address(str name):
    """Return where a level's table of kernels is in memory, for tests that call them without a driver."""
    return <size_t>level_named(name)


def forget_scratch():
    """Give the memory that is kept between calls back to the system: the next call asks for it again."""
    fc_scratch_clear()


def compiler():
    """Return the compiler that built the kernels, and its version."""
    return FC_COMPILER.decode()


def fma_rate(str dtype, double seconds=0.1, str level=None):
    """Measure the multiply-add peak of one thread.

    Parameters
    ----------
    dtype : {'f', 'd'}
        float32 or float64.
    seconds : float
        How long to measure; the best of many short runs counts.
    level : str, optional
        A level's name; the default is the one in use.

    Returns
    -------
    float
        Floating point operations a second, a multiply-add counting two.
    """
    cdef const fc_level *which = level_named(level if level is not None else _current)
    cdef int index = "fd".index(dtype)
    cdef double best = 0, work
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        with nogil:
            work = which.fma_chain[index](100000)
        best = max(best, work / (time.perf_counter() - start))
    return best
