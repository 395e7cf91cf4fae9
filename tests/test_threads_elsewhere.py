"""Threads in the company of others: threadpoolctl, joblib, dask, pools of processes, a system that refuses threads."""

import ctypes
import sys
import threading

import pytest
from _tools import run_python
from test_threads import HANG, WORK, can_fork, has_openmp, on_linux

import fastconv
from fastconv import _tunables
from fastconv.drivers import threads as drivers_threads

POOLS = _tunables.THREAD_POOLS

COUNTED = f"""
import os
{WORK}
def count():
    return len(os.listdir("/proc/self/task"))
"""


def run_here(code, **environment):
    done = run_python(code, timeout=HANG, OPENBLAS_NUM_THREADS="1", **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# --- threadpoolctl ---------------------------------------------------------------------------------------------------


def controllers():
    threadpoolctl = pytest.importorskip("threadpoolctl", minversion="3.2")
    return [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "fastconv"]


@has_openmp
def test_threadpoolctl_sees_fastconv():
    with fastconv.num_threads(3):
        (info,) = controllers()
    assert info["num_threads"] == 3
    assert info["internal_api"] == "fastconv"
    assert info["filepath"] == drivers_threads.__file__


@has_openmp
@pytest.mark.parametrize("limits", [1, {"fastconv": 1}])
def test_threadpoolctl_limits_every_thread_and_puts_the_count_back(limits):
    threadpoolctl = pytest.importorskip("threadpoolctl", minversion="3.2")
    seen = []
    with fastconv.num_threads(5):
        with threadpoolctl.threadpool_limits(limits):
            other = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
            other.start()
            other.join(HANG)
            assert seen == [1]
            assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == 5
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert fastconv.get_num_threads() == 5


@has_openmp
@pytest.mark.parametrize("modules", ["fastconv, threadpoolctl", "threadpoolctl, fastconv"])
def test_threadpoolctl_limits_the_first_call(modules):
    pytest.importorskip("threadpoolctl", minversion="3.2")
    code = f"""
import {modules}
with threadpoolctl.threadpool_limits(1):
    print(fastconv.get_num_threads())
print(fastconv.get_num_threads())
"""
    assert run_here(code, FASTCONV_NUM_THREADS="3") == ["1", "3"]


@pytest.mark.parametrize("stand_in", ["None", "types.ModuleType('threadpoolctl')"])
def test_without_threadpoolctl(stand_in):
    """None makes the import fail; an empty module is a threadpoolctl that knows no `register`."""
    code = f"import sys, types; sys.modules['threadpoolctl'] = {stand_in}; import fastconv; print('imported')"
    assert run_here(code) == ["imported"]


@has_openmp
def test_the_exported_functions():
    library = ctypes.CDLL(drivers_threads.__file__)
    before = fastconv.get_num_threads()
    try:
        for asked, given in ((3, 3), (0, 1), (-7, 1), (2**30, 4096)):
            library.fastconv_set_num_threads(asked)
            assert library.fastconv_get_num_threads() == fastconv.get_num_threads() == given
    finally:
        fastconv.set_num_threads(before)
    code = "import ctypes; from fastconv.drivers import threads; print(ctypes.CDLL(threads.__file__)."
    assert run_here(f"{code}fastconv_get_num_threads())", FASTCONV_NUM_THREADS="7") == ["7"]
    assert run_here(f"{code}fastconv_get_num_threads())", FASTCONV_NUM_THREADS="none") == ["1"]


# --- pools of processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [pytest.param("fork", marks=can_fork), "forkserver", "spawn"])
def test_pools_of_processes(method):
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("this platform does not fork")
    code = f"""
import functools, multiprocessing
{WORK}
if __name__ == "__main__":
    work()
    call = functools.partial(fastconv.conv, threads=2)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        results = pool.starmap(call, [(x, w)] * 6)
    work()
    assert all((np.rint(result) == 225).all() for result in results)
    print("done")
"""
    assert run_here(code) == ["done"]


@on_linux
@has_openmp
def test_workers_of_joblib():
    """Workers read the count that joblib gives them, and start no more threads than that."""
    pytest.importorskip("joblib")
    code = f"""
import joblib
{COUNTED}
def job():
    before = count()
    work(threads=None)
    given = int(os.environ["OMP_NUM_THREADS"])
    return fastconv.get_num_threads() == given and count() - before <= given - 1

work()
assert all(joblib.Parallel(n_jobs=2)(joblib.delayed(job)() for _ in range(4)))
with joblib.parallel_config("loky", inner_max_num_threads=2):
    assert all(joblib.Parallel(n_jobs=2)(joblib.delayed(job)() for _ in range(4)))
before = count()
joblib.Parallel(n_jobs=8, prefer="threads")(joblib.delayed(work)(4) for _ in range(32))
assert count() - before <= 8 + {POOLS} * 3 + 3
print("done")
"""
    assert run_here(code) == ["done"]


# --- pools of threads ------------------------------------------------------------------------------------------------

RUN_TOGETHER = {
    "concurrent.futures": """
from concurrent.futures import ThreadPoolExecutor
def run_together(job, workers, jobs):
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: job(), range(jobs)))
""",
    "dask": """
import dask
def run_together(job, workers, jobs):
    dask.compute(*[dask.delayed(job, pure=False)() for _ in range(jobs)], scheduler="threads", num_workers=workers)
""",
}


@on_linux
@has_openmp
@pytest.mark.parametrize("package", RUN_TOGETHER)
def test_pools_of_threads_do_not_multiply_threads(package):
    pytest.importorskip(package)
    code = f"""
{COUNTED}
{RUN_TOGETHER[package]}
most = []
before = count()

def job():
    work(threads=4)
    most.append(count() - before)

run_together(job, 24, 96)
print(len(most), max(most))
"""
    jobs, most = map(int, run_here(code))
    assert jobs == 96
    # 24 threads and the workers of those few that have some, where every one asked for three; and three threads by
    # which one caller at a time finds out whether the system starts as many.
    assert most <= 24 + 3 * POOLS + 3


@on_linux
@has_openmp
def test_threads_by_turns_share_few_workers_and_give_them_back():
    code = f"""
import threading, time
{COUNTED}
def ended():
    # libgomp's workers end a little after the thread that they belong to.
    while count() > start:
        time.sleep(0.001)

def run(live):
    work(threads=3)
    counts.append(count() - before - len(live))

start = before = count()
counts = []
hold, live = threading.Event(), []
for _ in range({POOLS} + 3):
    done = threading.Event()
    live.append(threading.Thread(target=lambda done=done: (run(live), done.set(), hold.wait())))
    live[-1].start()
    done.wait()
hold.set()
for thread in live:
    thread.join()
ended()
print(*counts)

counts = []
for _ in range({POOLS} + 3):
    thread = threading.Thread(target=run, args=([None],))
    thread.start()
    thread.join()
    ended()
print(*counts)
"""
    counts = [int(word) for word in run_here(code)]
    turns = POOLS + 3
    assert counts[:turns] == [2 * min(turn, POOLS) for turn in range(1, turns + 1)]
    # Threads that have ended leave their places to others.
    assert counts[turns:] == [2] * turns


# --- a system that refuses threads -----------------------------------------------------------------------------------


@on_linux
@has_openmp
def test_no_threads_left():
    """libgomp ends the process where a thread cannot be made; there is no room for a stack here."""
    code = f"""
import resource, threading
{COUNTED}
work(threads=1)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + 6 * 2**20
threading.stack_size(8 * 2**20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    before = count()
    work(threads=3)
    assert count() == before
    print("alive")
else:
    print("skip")
"""
    (word,) = run_here(code)
    if word == "skip":
        pytest.skip("the system starts threads without memory for their stacks")
    assert word == "alive"
