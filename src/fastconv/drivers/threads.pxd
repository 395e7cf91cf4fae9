cdef struct Region:
    int threads    # how many run the loop
    bint owner     # whether this call holds the process-wide region
    bint stopped   # an exception is set in the calling thread: skip what is left
    double next_poll
    # Shares of the units of items, which threads take one after the other, and workers that found none left.
    ptrdiff_t items, unit, shares, next
    int arrived
    int number     # of this region in the process, from 1 on
    double started
    long long ran  # nanoseconds that threads ran, all together
    double lost    # seconds that the region took longer than one thread would have
    bint judged    # whether that says something about the machine: not where threads had to be made first

cdef void region_poll(Region *region) noexcept nogil

# What a call is cut into, and what it takes.
cdef struct Task:
    double work               # multiply-adds
    ptrdiff_t items
    ptrdiff_t unit            # a part of them that stays together where there are enough for all threads
    bint runs                 # neighbouring items share something that is costly to make
    ptrdiff_t shared_bytes    # scratch memory, whole lines: that of all threads
    ptrdiff_t thread_bytes    # and that of each

cdef class Loop:
    cdef int run_items(self, void *call, object threads, const Task *task) except -1
    cdef void loop(self, void *call, Region *region, const Task *task, char *scratch) noexcept nogil
    cdef void worker(self, void *call, Region *region, int thread, char *scratch) noexcept nogil
    cdef void lay_out(self, void *call, char *scratch) noexcept nogil
    cdef void prepare(self, void *call, char *shared, char *scratch) noexcept nogil
    cdef void items(self, void *call, Region *region, int thread, char *scratch, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil
