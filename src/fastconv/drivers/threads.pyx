# cython: language_level=3, freethreading_compatible=True, binding=True
"""How many threads a call uses, and the one parallel region that the process has at a time.

Six rules keep OpenMP harmless in a Python process:

* libgomp hangs in a forked child whose parent has run a region, so a fork sets a flag and the child computes on one
  thread;
* a call that finds another region running (nested, or from another Python thread) runs serially on its caller;
* libgomp keeps workers for every thread that has run a region, so only a few Python threads at a time get to: calls of
  the others run serially;
* libgomp ends the process where the system refuses a thread, so the system is asked first;
* a region ends when its last thread does. After one that lost time by waiting for a thread that the system did not
  run, calls use fewer threads for a while;
* Ctrl-C is looked for between tiles by the calling thread.
"""

import operator
import os
from contextlib import contextmanager

from cython.parallel cimport parallel, threadid
from libc.string cimport memset

from fastconv import _tunables
from fastconv._errors import ConvError, ConvTypeError
from fastconv.drivers.levels cimport scratch_give, scratch_take

cdef extern from "Python.h":
    # Declared without "except": the error stays set in the calling thread until region_leave raises it.
    int PyErr_CheckSignals()
    void *PyErr_Occurred()

cdef extern from "region.h":
    const int fc_openmp
    const int FC_MOST_THREADS
    int fc_team() nogil
    double fc_seconds() nogil
    int fc_count_get() nogil
    void fc_count_set(int count) nogil
    int (*fc_count_default)() noexcept
    int fc_region_try() nogil
    void fc_region_release() nogil
    int fc_in_forked_child() nogil
    void fc_watch() nogil
    int fc_pools_now() nogil
    ptrdiff_t fc_pool() nogil
    void fc_pool_set(ptrdiff_t threads) nogil
    int fc_can_start(int wanted) nogil
    ptrdiff_t fc_take(ptrdiff_t *next) nogil
    void fc_begins(int number) nogil
    void fc_ends(int number, long long *nanoseconds) nogil
    void fc_arrive(int *arrived) nogil
    bint fc_await(const int *arrived, int workers, double spin, double patience) nogil

cdef double POLL_SECONDS = _tunables.POLL_SECONDS
cdef double THREAD_WORK = _tunables.THREAD_WORK
cdef double WORK_SECONDS = _tunables.WORK_SECONDS
cdef ptrdiff_t SHARES = _tunables.THREAD_SHARES
cdef int POOLS = _tunables.THREAD_POOLS
cdef double SPIN_SECONDS = _tunables.JOIN_SPIN_SECONDS

fc_watch()


def openmp_version():
    """Return the date of the OpenMP specification this build follows, such as 201511, or 0 without OpenMP."""
    return fc_openmp


cdef int checked(object threads) except -1:
    try:
        if isinstance(threads, bool):
            raise TypeError
        n = operator.index(threads)
    except TypeError:
        raise ConvTypeError(f"threads: got {threads!r}, allowed: integers from 1 to 4096") from None
    if not 1 <= n <= FC_MOST_THREADS:
        raise ConvError(f"threads: got {n}, allowed: integers from 1 to 4096")
    return n


def check(threads):
    """Refuse a thread count that is not a positive integer or None."""
    if threads is not None:
        checked(threads)


def cpus_allowed():
    """Return how many CPUs this process may use: the lesser of its affinity and its cgroup's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:
        allowed = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(allowed, int(quota + 0.5))) if quota else allowed


def _cgroup_quota():
    # cgroup v2 holds "quota period" or "max period" in one file, v1 two files with -1 for no limit.
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                period = file.read().strip()
        except OSError:
            return 0.0
    if quota == "max" or int(quota) <= 0 or int(period) <= 0:
        return 0.0
    return int(quota) / int(period)


def get_num_threads():
    """Return how many threads a call may use.

    What `set_num_threads` was given; else FASTCONV_NUM_THREADS; else OMP_NUM_THREADS; else the CPUs this process may
    use (affinity and cgroup quota). Always 1 in a build without OpenMP.

    Returns
    -------
    int
    """
    if not fc_openmp:
        return 1
    if fc_count_get() == 0:
        fc_count_set(_from_environment() or cpus_allowed())
    return fc_count_get()


cdef int default_count() noexcept with gil:
    """The same for `fastconv_get_num_threads`, which has no way to refuse an environment."""
    try:
        return get_num_threads()
    except ConvError:
        return 1


fc_count_default = default_count


def _from_environment():
    own = os.environ.get("FASTCONV_NUM_THREADS", "")
    if own:
        try:
            return checked(int(own))
        except ValueError:
            raise ConvError(f"FASTCONV_NUM_THREADS: got {own!r}, allowed: integers from 1 to 4096") from None
    # OMP_NUM_THREADS may list a count for each nesting level; what is not a count is OpenMP's to complain about.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), FC_MOST_THREADS) if first.isdigit() else 0


def set_num_threads(threads):
    """Set how many threads a call may use, for the whole process.

    Parameters
    ----------
    threads : int
        From 1 to 4096.

    Raises
    ------
    ConvError, ConvTypeError
        For anything else.
    """
    fc_count_set(checked(threads))


@contextmanager
def num_threads(threads):
    """Use this many threads within a ``with`` block, in the whole process.

    Parameters
    ----------
    threads : int
        From 1 to 4096.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.num_threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(threads)
    try:
        yield
    finally:
        set_num_threads(before)


cdef class BackOff:
    """How many threads are worth it on this machine at this moment, learnt from the time that regions lost.

    After a loss that is more than the regions before it saved, the limit is half of the threads that lost it. It is
    lifted step by step: once a delay has passed, one call gets twice as many again, and so do those after it if that
    call loses nothing. The delay is many times the loss, so that trying costs little, and doubles each time that the
    loss comes back soon.

    Whoever holds the region may use it, and nobody else.
    """
    cdef ptrdiff_t limit  # 0: none
    cdef double until, delay, loss, saved

    def __cinit__(self):
        self.limit = 0
        self.until = self.delay = self.loss = self.saved = 0.0

    cpdef ptrdiff_t allowed(self, ptrdiff_t threads, double seconds, double now):
        """How many of so many threads a call may use that takes so many seconds on one."""
        if self.limit == 0 or threads <= self.limit or seconds > _tunables.BACKOFF_PRICE * self.loss:
            return threads
        return self.limit if now < self.until else min(threads, 2 * self.limit)

    cpdef void report(self, ptrdiff_t threads, double lost, double now):
        """Learn that a region of so many threads lost so many seconds, or saved them if they are negative."""
        if lost > _tunables.BACKOFF_LEAST_SECONDS:
            self.saved -= _tunables.BACKOFF_WEIGHT * lost
            if self.saved >= 0:
                return
            soon = now < self.until + self.delay
            self.delay = max(2 * self.delay if soon else 0.0, _tunables.BACKOFF_FIRST_SECONDS,
                             _tunables.BACKOFF_PRICE * lost)
            self.hold(threads // 2, lost, now)
            return
        self.saved = min(max(self.saved - lost, 0.0), _tunables.BACKOFF_MOST_SAVED)
        if self.limit and threads > self.limit and now >= self.until:
            self.limit = threads

    cpdef void refused(self, ptrdiff_t granted, double now):
        """Learn that the system starts no more threads than this."""
        self.delay = _tunables.BACKOFF_MOST_SECONDS
        self.hold(granted, float("inf"), now)

    cdef void hold(self, ptrdiff_t limit, double loss, double now):
        self.delay = min(self.delay, _tunables.BACKOFF_MOST_SECONDS)
        self.limit, self.until, self.loss, self.saved = max(limit, 1), now + self.delay, loss, 0.0


cdef BackOff back_off = BackOff()
cdef int regions = 0


def forget_losses():
    """Forget what regions lost so far: the next call may use all threads again.

    Return False if a region is running, which changes nothing.
    """
    global back_off
    if not fc_region_try():
        return False
    back_off = BackOff()
    fc_region_release()
    return True


cdef Region region_enter(object threads, double work, ptrdiff_t items):
    """Decide on the threads of a call that does `work` multiply-adds in `items` tiles, and claim the region."""
    global regions
    cdef Region region
    cdef ptrdiff_t n = 1
    memset(&region, 0, sizeof(region))
    if work >= 2 * THREAD_WORK and items > 1 and fc_openmp and not fc_in_forked_child():
        n = get_num_threads() if threads is None else checked(threads)
        n = min(n, items, <ptrdiff_t>(work / THREAD_WORK))
        if n > 1 and fc_region_try():
            n = back_off.allowed(n, work * WORK_SECONDS, fc_seconds())
            n = with_workers(&region, n)
            region.owner = n > 1
            if not region.owner:
                fc_region_release()
            else:
                regions = regions % (2**31 - 1) + 1
                region.number = regions
    region.threads = <int>n if region.owner else 1
    return region


cdef ptrdiff_t with_workers(Region *region, ptrdiff_t threads):
    """How many of so many threads the calling thread's team will have, without harm to the process."""
    cdef ptrdiff_t team = fc_pool(), granted
    region.judged = team >= threads
    if threads == 1 or team == 0 and fc_pools_now() >= POOLS:
        return 1
    if team < threads:
        team = max(team, 1)
        with nogil:
            granted = team + fc_can_start(<int>(threads - team))
        if granted < threads:
            back_off.refused(granted, fc_seconds())
            threads = granted
    if threads > 1:
        fc_pool_set(threads)
    return threads


cdef int region_leave(Region *region) except -1:
    """Give the region back, and raise what a signal handler raised meanwhile."""
    if region.owner:
        if region.judged and not region.stopped:
            back_off.report(region.threads, region.lost, fc_seconds())
        fc_region_release()
    if PyErr_Occurred() != NULL:
        return -1
    return 0


cdef bint region_take(Region *region, int thread, ptrdiff_t *start, ptrdiff_t *stop) noexcept nogil:
    """The next items for a thread. Once there are none, return False, to the calling thread when all have finished."""
    cdef ptrdiff_t share = fc_take(&region.next), units = region.items // region.unit
    if share < region.shares:
        start[0] = share * units // region.shares * region.unit
        stop[0] = (share + 1) * units // region.shares * region.unit
        fc_begins(region.number)
        return True
    fc_ends(region.number, &region.ran)
    if thread > 0:
        fc_arrive(&region.arrived)
    else:
        while not fc_await(&region.arrived, fc_team() - 1, SPIN_SECONDS, POLL_SECONDS):
            region_poll(region)
        # One thread would have run as long as all did together. Time that they were kept from their cores is not in
        # there: cores that others want are a reason for fewer threads too.
        region.lost = fc_seconds() - region.started - 1e-9 * region.ran
    return False


cdef class Loop:
    """Work that is cut into items, which the threads of a region take: all that OpenMP runs, and all scratch memory.

    A driver describes a call in a structure of its own, which is handed on to its `lay_out`, `prepare` and `items`.
    """

    cdef int run_items(self, void *call, object threads, const Task *task) except -1:
        """Compute all items of a call."""
        cdef Region region = region_enter(threads, task.work, task.items)
        cdef char *scratch
        cdef int thread
        try:
            scratch = <char *>scratch_take(task.shared_bytes + region.threads * task.thread_bytes)
            if scratch == NULL:
                raise MemoryError("fastconv: no memory for the tiles")
            with nogil:
                for thread in range(region.threads):
                    self.lay_out(call, scratch + task.shared_bytes + thread * task.thread_bytes)
                self.prepare(call, scratch, scratch + task.shared_bytes)
                self.loop(call, &region, task, scratch + task.shared_bytes)
            scratch_give(scratch)
        finally:
            region_leave(&region)
        return 0

    cdef void loop(self, void *call, Region *region, const Task *task, char *scratch) noexcept nogil:
        cdef ptrdiff_t bytes = task.thread_bytes, units = task.items // task.unit
        if region.threads == 1:
            self.items(call, region, 0, scratch, 0, task.items)
            return
        region.items = task.items
        region.unit = task.unit if units >= 2 * region.threads else 1
        region.shares = task.items // region.unit
        if task.runs:
            region.shares = min(region.shares, SHARES * region.threads)
        region.started = fc_seconds()
        with parallel(num_threads=region.threads):
            self.worker(call, region, threadid(), scratch + threadid() * bytes)

    cdef void worker(self, void *call, Region *region, int thread, char *scratch) noexcept nogil:
        cdef ptrdiff_t start, stop
        while region_take(region, thread, &start, &stop):
            self.items(call, region, thread, scratch, start, stop)

    cdef void lay_out(self, void *call, char *scratch) noexcept nogil:
        """Divide a thread's memory, before any of them runs."""

    cdef void prepare(self, void *call, char *shared, char *scratch) noexcept nogil:
        """Make what all threads read in their shared memory, once theirs is laid out, with the help of the first's."""

    cdef void items(self, void *call, Region *region, int thread, char *scratch, ptrdiff_t start,
                    ptrdiff_t stop) noexcept nogil:
        """Compute some items on a thread, in each driver its own; skip them once the region is stopped."""


cdef bint signalled() noexcept with gil:
    return PyErr_CheckSignals() != 0


cdef void region_poll(Region *region) noexcept nogil:
    """Called by the calling thread between tiles: every POLL_SECONDS, let Python handle its signals."""
    cdef double now = fc_seconds()
    if region.next_poll == 0:
        region.next_poll = now + POLL_SECONDS
    elif now >= region.next_poll:
        region.next_poll = now + POLL_SECONDS
        if signalled():
            region.stopped = True
