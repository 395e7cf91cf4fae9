# cython: language_level=3, freethreading_compatible=True
"""Memory of results: it begins on a line of the cache.

NumPy's own begins 16 bytes behind one wherever it is large, and then every vector of 64 bytes that a kernel stores
falls on two lines, and so does every one that the next layer loads. An array knows which functions made its memory
(NEP 49), so an aligned one is an ordinary array, its own owner, which can be resized and outlives this module's sight.
"""

cimport numpy as cnp
import numpy as np
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset, strcpy

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept nogil
        void *(*calloc)(void *, size_t, size_t) noexcept nogil
        void *(*realloc)(void *, void *, size_t) noexcept nogil
        void (*free)(void *, void *, size_t) noexcept nogil

    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator

    object PyDataMem_SetHandler(object handler)

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif

    /* As NumPy does: pages of 2 MiB for what is larger than two of them, since each small one costs a fault. */
    static void *fc_result_memory(size_t size, size_t alignment, size_t huge) {
        void *memory = NULL;
        if (posix_memalign(&memory, alignment, size ? size : 1))
            return NULL;
    #if defined(MADV_HUGEPAGE)
        if (size >= huge) {
            const size_t start = ((size_t)memory + 4095) / 4096 * 4096;
            (void)madvise((void *)start, size - (start - (size_t)memory), MADV_HUGEPAGE);
        }
    #else
        (void)huge;
    #endif
        return memory;
    }
    """
    void *fc_result_memory(size_t size, size_t alignment, size_t huge) noexcept nogil

cdef enum:
    LINE = 64
    HUGE_BYTES = 1 << 22
    # Below, changing the functions and back takes longer than it saves.
    LEAST_BYTES = 1 << 14


cdef void *take(void *context, size_t size) noexcept nogil:
    return fc_result_memory(size, LINE, HUGE_BYTES)


cdef void *take_zeros(void *context, size_t n, size_t size) noexcept nogil:
    cdef void *memory = fc_result_memory(n * size, LINE, HUGE_BYTES)
    if memory != NULL:
        memset(memory, 0, n * size)
    return memory


cdef void *resize(void *context, void *memory, size_t size) noexcept nogil:
    return realloc(memory, size)


cdef void give(void *context, void *memory, size_t size) noexcept nogil:
    free(memory)


cdef PyDataMem_Handler handler
memset(&handler, 0, sizeof(handler))
strcpy(handler.name, b"fastconv")
handler.version = 1
handler.allocator.malloc = take
handler.allocator.calloc = take_zeros
handler.allocator.realloc = resize
handler.allocator.free = give
cdef object aligned = PyCapsule_New(&handler, b"mem_handler", NULL)


cdef cnp.ndarray empty_of(int rank, cnp.npy_intp *shape, int dtype):
    """An array of one of NumPy's own dtypes, not filled."""
    cdef size_t size = cnp.PyArray_DescrFromType(dtype).itemsize
    cdef int i
    for i in range(rank):
        size *= <size_t>shape[i]
    if size < LEAST_BYTES:
        return cnp.PyArray_EMPTY(rank, shape, dtype, 0)
    before = PyDataMem_SetHandler(aligned)
    try:
        return cnp.PyArray_EMPTY(rank, shape, dtype, 0)
    finally:
        PyDataMem_SetHandler(before)


def empty(tuple shape, dtype):
    """Return an array that is not filled."""
    before = PyDataMem_SetHandler(aligned)
    try:
        return np.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(before)
