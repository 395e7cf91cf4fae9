cdef struct Region:
    int threads    # how many run the loop
    bint owner     # whether this call holds the process-wide region
    bint stopped   # an exception is set in the calling thread: skip what is left
    double next_poll
    # Shares of the items, which threads take one after the other, and workers that found none left.
    ptrdiff_t items, shares, next
    int arrived
    ptrdiff_t own  # shares that the calling thread took
    double started, cpu  # when, and the calling thread's own time, at first its clock
    double lost    # seconds that the region took longer than one thread would have; 0 if that is not known
    bint judged    # whether that says something about the machine: not where threads had to be made first

cdef Region region_enter(object threads, double work, ptrdiff_t items)
cdef int region_leave(Region *region) except -1
cdef void region_poll(Region *region) noexcept nogil
cdef void region_share(Region *region, ptrdiff_t items, bint runs) noexcept nogil
cdef bint region_take(Region *region, int thread, ptrdiff_t *start, ptrdiff_t *stop) noexcept nogil
