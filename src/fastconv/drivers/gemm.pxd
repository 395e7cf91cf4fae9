cimport numpy as cnp

from fastconv.drivers.kernels cimport fc_gemm
from fastconv.drivers.threads cimport Region
from fastconv.drivers.tile cimport Arrays, Geometry, Outer, TileMap

cdef struct Call:
    Arrays arrays
    const char *panels   # all weights, packed before, or NULL
    bint w_plain         # the weights of an output channel are contiguous, in natural order
    bint staged          # results are made in scratch memory, a panel's at a time
    Arrays stage         # the same with that for a result

# One thread's part of the scratch memory, and the head of it.
cdef struct Scratch:
    char *packed
    char *weights
    char *bias
    char *results          # on their way to where they belong
    char *residual         # one row of it
    ptrdiff_t *rows        # of a panel, which the taps of a channel go to
    TileMap map
    Outer outer
    bint far_weights       # the plan holds the panels at hand
    ptrdiff_t weights_key  # the first output channel whose weights are packed
    # What the packed tile holds: its place in the image, and the image.
    ptrdiff_t y0, x0, outer_index, n, g

cdef class Panels(Geometry):
    cdef fc_gemm *kernel
    cdef ptrdiff_t panel, out_block, n_row_blocks, n_chunks, n_out_blocks, n_items
    cdef ptrdiff_t panel_bytes, results_bytes, residual_bytes, thread_bytes
    cdef double work

    cdef void set_sizes(self, ptrdiff_t taps, ptrdiff_t results_bytes, ptrdiff_t residual_bytes)
    cdef void bind_panels(self, Call *call, cnp.ndarray w, cnp.ndarray panels)
    cdef int run_blocks(self, Call *call, object threads) except -1
    cdef void tile(self, Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil
    cdef void pack_weights(self, const Call *call, ptrdiff_t channel, ptrdiff_t n, ptrdiff_t *rows,
                           char *panel) noexcept nogil
    cdef void pack_tile(self, Call *call, Scratch *scratch, ptrdiff_t n, ptrdiff_t g, ptrdiff_t outer, ptrdiff_t y0,
                        ptrdiff_t x0) noexcept nogil
    cdef const char *block_weights(self, const Call *call, Scratch *scratch, ptrdiff_t first) noexcept nogil
