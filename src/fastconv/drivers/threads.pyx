# cython: language_level=3, freethreading_compatible=True, binding=True
"""How many threads a call uses, and the one parallel region that the process has at a time.

Three rules keep OpenMP harmless in a Python process:

* libgomp hangs in a forked child whose parent has run a region, so a fork sets a flag and the child computes on one
  thread;
* a call that finds another region running (nested, or from another Python thread) runs serially on its caller;
* Ctrl-C is looked for between tiles by the calling thread.
"""

import operator
import os
from contextlib import contextmanager

from fastconv import _tunables
from fastconv._errors import ConvError, ConvTypeError

cdef extern from "Python.h":
    # Declared without "except": the error stays set in the calling thread until region_leave raises it.
    int PyErr_CheckSignals()
    void *PyErr_Occurred()

cdef extern from *:
    """
    #include <stdatomic.h>
    #include <time.h>
    #if !defined(_WIN32)
    #include <pthread.h>
    #endif

    static atomic_flag fc_region_running = ATOMIC_FLAG_INIT;
    static atomic_int fc_forked = 0;

    /* The child of a fork has none of OpenMP's workers, and the region that its parent ran is not its own. */
    static void fc_after_fork(void) {
        atomic_store(&fc_forked, 1);
        atomic_flag_clear(&fc_region_running);
    }

    static void fc_watch_forks(void) {
    #if !defined(_WIN32)
        pthread_atfork(NULL, NULL, fc_after_fork);
    #endif
    }

    static int fc_in_forked_child(void) { return atomic_load(&fc_forked); }
    static int fc_region_try(void) { return !atomic_flag_test_and_set(&fc_region_running); }
    static void fc_region_release(void) { atomic_flag_clear(&fc_region_running); }

    static double fc_seconds(void) {
        struct timespec t;
    #ifdef CLOCK_MONOTONIC
        clock_gettime(CLOCK_MONOTONIC, &t);
    #else
        timespec_get(&t, TIME_UTC);
    #endif
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }

    #ifdef _OPENMP
    static const int fc_openmp = _OPENMP;
    #else
    static const int fc_openmp = 0;
    #endif
    """
    void fc_watch_forks() nogil
    int fc_in_forked_child() nogil
    int fc_region_try() nogil
    void fc_region_release() nogil
    double fc_seconds() nogil
    const int fc_openmp

cdef double POLL_SECONDS = _tunables.POLL_SECONDS
cdef double THREAD_WORK = _tunables.THREAD_WORK
cdef int count = 0  # 0: not asked for yet

fc_watch_forks()


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
    if not 1 <= n <= 4096:
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
    global count
    if not fc_openmp:
        return 1
    if count == 0:
        count = _from_environment() or cpus_allowed()
    return count


def _from_environment():
    own = os.environ.get("FASTCONV_NUM_THREADS", "")
    if own:
        try:
            return checked(int(own))
        except ValueError:
            raise ConvError(f"FASTCONV_NUM_THREADS: got {own!r}, allowed: integers from 1 to 4096") from None
    # OMP_NUM_THREADS may list a count for each nesting level; what is not a count is OpenMP's to complain about.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), 4096) if first.isdigit() else 0


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
    global count
    count = checked(threads)


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


cdef Region region_enter(object threads, double work, ptrdiff_t items):
    """Decide on the threads of a call that does `work` multiply-adds in `items` tiles, and claim the region."""
    cdef Region region
    cdef ptrdiff_t n = 1
    region.owner = False
    region.stopped = False
    region.next_poll = 0
    if work >= 2 * THREAD_WORK and items > 1 and fc_openmp and not fc_in_forked_child():
        n = get_num_threads() if threads is None else checked(threads)
        n = min(n, items, <ptrdiff_t>(work / THREAD_WORK))
        if n > 1:
            region.owner = fc_region_try()
    region.threads = <int>n if region.owner else 1
    return region


cdef int region_leave(Region *region) except -1:
    """Give the region back, and raise what a signal handler raised meanwhile."""
    if region.owner:
        fc_region_release()
    if PyErr_Occurred() != NULL:
        return -1
    return 0


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
