cdef struct Region:
    int threads    # how many run the loop
    bint owner     # whether this call holds the process-wide region
    bint stopped   # an exception is set in the calling thread: skip what is left
    double next_poll

cdef Region region_enter(object threads, double work, ptrdiff_t items)
cdef int region_leave(Region *region) except -1
cdef void region_poll(Region *region) noexcept nogil
