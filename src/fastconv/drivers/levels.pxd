from fastconv.drivers.kernels cimport fc_level

cdef const fc_level *level_named(str name) except NULL
cdef void *scratch_take(size_t size) noexcept nogil
cdef void scratch_give(void *block) noexcept nogil
