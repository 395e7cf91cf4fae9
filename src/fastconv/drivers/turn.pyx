# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, cdivision=True
"""Matrices of a few columns turned into as many rows, and back: what puts a short last axis in front.

Elements are known by their bytes only, and a block of rows is at work at a time, of which L1 holds all columns::

    matrix    rows x columns    a0 b0 c0 a1 b1 c1 a2 b2 c2 ...
    turned    columns x rows    a0 a1 a2 ...   b0 b1 b2 ...   c0 c1 c2 ...
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cimport numpy as cnp

from fastconv import _tunables
from fastconv.drivers.threads cimport Loop, Region, Task, region_poll

cnp.import_array()

cdef double ELEMENT_WORK = _tunables.TURNED_ELEMENT_WORK
cdef ptrdiff_t BLOCK_BYTES = _tunables.TURNED_BLOCK_BYTES

ctypedef fused word:
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    double complex  # of 16 bytes, of any kind


cdef struct Call:
    char *matrix
    char *turned
    bint back
    ptrdiff_t rows, columns, item, block


cdef void copy_block(const Call *call, word *matrix, word *turned, ptrdiff_t rows) noexcept nogil:
    """A block of rows, of which the first element is at `matrix`, and at `turned`."""
    cdef ptrdiff_t row, column, columns = call.columns
    for column in range(columns):
        if call.back:
            for row in range(rows):
                matrix[row * columns + column] = turned[row]
        else:
            for row in range(rows):
                turned[row] = matrix[row * columns + column]
        turned += call.rows


cdef class Turner(Loop):
    """Copies between a matrix and the turned one; both contiguous, aligned, and of one dtype without Python objects."""

    def turn(self, cnp.ndarray matrix, cnp.ndarray turned, threads=None):
        """Write a matrix to `turned`."""
        self.run(matrix, turned, False, threads)

    def put_back(self, cnp.ndarray turned, cnp.ndarray matrix, threads=None):
        """Write a turned matrix to `matrix`."""
        self.run(matrix, turned, True, threads)

    cdef int run(self, cnp.ndarray matrix, cnp.ndarray turned, bint back, object threads) except -1:
        cdef Call call
        cdef Task task
        cdef ptrdiff_t size = cnp.PyArray_SIZE(matrix)
        if size == 0:
            return 0
        call.matrix, call.turned, call.back = cnp.PyArray_BYTES(matrix), cnp.PyArray_BYTES(turned), back
        call.rows, call.columns = cnp.PyArray_DIM(matrix, 0), cnp.PyArray_DIM(matrix, 1)
        call.item = cnp.PyArray_ITEMSIZE(matrix)
        call.block = max(BLOCK_BYTES // (call.columns * call.item), 1)
        task = Task(ELEMENT_WORK * size, (call.rows + call.block - 1) // call.block, 1, False, 0, 0)
        return self.run_items(&call, threads, &task)

    cdef void items(self, void *of, Region *region, int thread, char *memory, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        cdef const Call *call = <const Call *>of
        cdef ptrdiff_t item
        for item in range(start, stop):
            if thread == 0:
                region_poll(region)
            if region.stopped:
                return
            self.copy(call, item * call.block)

    cdef void copy(self, const Call *call, ptrdiff_t first) noexcept nogil:
        cdef char *matrix = call.matrix + first * call.columns * call.item
        cdef char *turned = call.turned + first * call.item
        cdef ptrdiff_t rows = min(call.block, call.rows - first)
        if call.item == 1:
            copy_block(call, <uint8_t *>matrix, <uint8_t *>turned, rows)
        elif call.item == 2:
            copy_block(call, <uint16_t *>matrix, <uint16_t *>turned, rows)
        elif call.item == 4:
            copy_block(call, <uint32_t *>matrix, <uint32_t *>turned, rows)
        elif call.item == 8:
            copy_block(call, <uint64_t *>matrix, <uint64_t *>turned, rows)
        else:
            copy_block(call, <double complex *>matrix, <double complex *>turned, rows)
