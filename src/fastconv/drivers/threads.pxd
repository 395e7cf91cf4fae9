cdef struct Region:
    int threads    # how many run the loop
    bint owner     # whether this call holds the process-wide region
    bint stopped   # an exception is set in the calling thread: skip what is left
    double next_poll
    # Shares of the items, which threads take one after the other, and workers that found none left.
    ptrdiff_t items, shares, next
    int arrived
    int number     # of this region in the process, from 1 on
    double started
    long long ran  # nanoseconds that threads ran, all together
    double lost    # seconds that the region took longer than one thread would have
    bint judged    # whether that says something about the machine: not where threads had to be made first

cdef Region region_enter(object threads, double work, ptrdiff_t items)
cdef int region_leave(Region *region) except -1
cdef void region_poll(Region *region) noexcept nogil

cdef class Loop:
    cdef void loop(self, void *call, Region *region, ptrdiff_t items, bint runs) noexcept nogil
    cdef void worker(self, void *call, Region *region, int thread) noexcept nogil
    cdef void items(self, void *call, Region *region, int thread, ptrdiff_t start, ptrdiff_t stop) noexcept nogil
