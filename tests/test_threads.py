"""How many threads run, and that they harm nobody: forks, other Python threads, signals, the GIL."""

import os
import signal as signals
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from _tools import assert_same, assert_whole, data, run_python, run_together

import fastconv
from fastconv import ConvError, ConvTypeError, _reference, nn, signal
from fastconv.drivers import threads as drivers_threads

HANG = 60  # seconds; what takes longer hangs

# Enough work for several threads, of both algorithms, with the sum of the right answer to compare with.
WORK = """
import numpy as np, fastconv
from fastconv.drivers import threads as drivers_threads
x, w = np.ones((300, 300), np.float32), np.ones((15, 15), np.float32)
layer, weights = np.ones((1, 64, 40, 40), np.float32), np.ones((64, 64, 3, 3), np.float32)

def work(threads=2):
    for accuracy in ("default", "strict"):
        drivers_threads.forget_losses()  # or a busy machine would let fewer threads run
        square = fastconv.conv(x, w, accuracy=accuracy, threads=threads)
        drivers_threads.forget_losses()
        result = fastconv.conv(layer, weights, layout="NCHW", accuracy=accuracy, threads=threads)
        assert (np.rint(square) == 225).all() and (np.rint(result) == 576).all()
"""


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
has_openmp = pytest.mark.skipif(not drivers_threads.openmp_version(), reason="this build has one thread")


# --- how many --------------------------------------------------------------------------------------------------------


@has_openmp
def test_set_and_get():
    before = fastconv.get_num_threads()
    try:
        for count in (1, 3, np.int64(2), 4096):
            fastconv.set_num_threads(count)
            assert fastconv.get_num_threads() == count
    finally:
        fastconv.set_num_threads(before)


@has_openmp
def test_the_context_puts_the_count_back():
    before = fastconv.get_num_threads()
    with fastconv.num_threads(5):
        assert fastconv.get_num_threads() == 5
        with fastconv.num_threads(2):
            assert fastconv.get_num_threads() == 2
        assert fastconv.get_num_threads() == 5
    with pytest.raises(KeyError), fastconv.num_threads(7):
        raise KeyError
    assert fastconv.get_num_threads() == before


@pytest.mark.parametrize(
    ("count", "error"),
    [
        *((count, ConvError) for count in (0, -1, 4097, 2**31, 2**63 - 1, 2**70)),
        *((count, ConvTypeError) for count in (1.0, "2", True, np.True_, [2], np.array([1, 2]))),
    ],
)
def test_counts_that_are_refused(count, error):
    before = fastconv.get_num_threads()
    x, w = data((5, 5)), data((3, 3), seed=1)
    image, weights = data((1, 1, 5, 5)), data((1, 1, 3, 3), seed=1)
    for algorithm in ("auto", "reference"):
        calls = (
            lambda name: fastconv.conv(x, w, threads=count, algorithm=name),
            lambda name: fastconv.plan(w, x.shape, threads=count, algorithm=name),
            lambda name: signal.convolve2d(x, w, threads=count, algorithm=name),
            lambda name: nn.conv2d(image, weights, threads=count, algorithm=name),
        )
        for call in calls:
            with pytest.raises(error, match=r"^threads: got .*, allowed: integers from 1 to 4096"):
                call(algorithm)
    for overflow in ("saturate", "raise"):
        for value in (1, 2**62):
            with pytest.raises(error, match="^threads: got"):
                fastconv.conv(np.array([value]), np.array([value]), overflow=overflow, threads=count)
    with pytest.raises(error, match="^threads: got"):
        fastconv.set_num_threads(count)
    with pytest.raises(error, match="^threads: got"), fastconv.num_threads(count):
        pass
    assert fastconv.get_num_threads() == before


def test_none_cannot_be_set():
    with pytest.raises(ConvTypeError, match="^threads: got None"):
        fastconv.set_num_threads(None)


@has_openmp
@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"FASTCONV_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"FASTCONV_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"}, 2),
        ({"FASTCONV_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
        ({"FASTCONV_NUM_THREADS": " 4 "}, 4),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({}, None),
    ],
)
def test_environment(environment, count):
    done = run_python("import fastconv; print(fastconv.get_num_threads())", **environment)
    assert int(done.stdout) == (count or drivers_threads.cpus_allowed()), done.stderr


@has_openmp
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "4097", "99999999999999999999"])
def test_an_environment_that_is_refused(value):
    done = run_python("import fastconv; fastconv.get_num_threads()", FASTCONV_NUM_THREADS=value)
    assert f"FASTCONV_NUM_THREADS: got {value!r}, allowed: integers from 1 to 4096" in done.stderr
    assert done.returncode == 1


@has_openmp
def test_what_is_set_comes_before_the_environment():
    code = "import fastconv; fastconv.set_num_threads(6); print(fastconv.get_num_threads())"
    assert int(run_python(code, FASTCONV_NUM_THREADS="3").stdout) == 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform has no affinity")
def test_the_default_is_the_affinity():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import fastconv
print(fastconv.get_num_threads())
"""
    assert int(run_python(code).stdout) == 1


@on_linux
@has_openmp
def test_threads_that_start():
    """None at import, none for little work, and as many as were asked for when there is enough."""
    code = f"""
import os
import numpy
before = len(os.listdir("/proc/self/task"))
started = lambda: len(os.listdir("/proc/self/task")) - before
{WORK}
print(started())
fastconv.conv(np.ones((64, 64)), np.ones((3, 3)), threads=4, accuracy="strict")
print(started())
work(threads=1)
print(started())
work(threads=3)
print(started())
with fastconv.num_threads(4):
    work(threads=None)
print(started())
"""
    done = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert done.stdout.split() == ["0", "0", "0", "2", "3"], done.stderr


# --- forks -----------------------------------------------------------------------------------------------------------


@can_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_computes():
    code = f"""
import os, sys
{WORK}
work()
for _ in range(20):
    child = os.fork()
    if child == 0:
        work()
        grandchild = os.fork()
        if grandchild == 0:
            work()
            os._exit(0)
        status = os.waitpid(grandchild, 0)[1]
        os._exit(status != 0 or len(os.listdir("/proc/self/task")) > 1 if sys.platform == "linux" else 0)
    assert os.waitpid(child, 0)[1] == 0
    work()
print("done")
"""
    done = run_python(code, timeout=HANG)
    assert done.stdout.strip() == "done", done.stderr


@can_fork
@pytest.mark.parametrize("forks", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_a_fork_while_another_thread_computes(forks):
    code = f"""
import os, signal, threading, warnings
warnings.simplefilter("ignore")
{WORK}
stop = threading.Event()

def keep_busy():
    while not stop.is_set():
        work()

busy = [threading.Thread(target=keep_busy) for _ in range(2)]
for thread in busy:
    thread.start()
for _ in range({forks}):
    child = os.fork()
    if child == 0:
        signal.alarm({HANG})
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in busy:
    thread.join()
work()
print("done")
"""
    done = run_python(code, timeout=HANG + forks)
    assert done.stdout.strip() == "done", done.stderr


@can_fork
def test_a_fork_while_another_thread_imports():
    """What is imported when it is first asked for is whole in the child, or not begun."""
    code = """
import os, signal, threading
import fastconv
names = ("conv", "signal", "ndimage", "nn", "patch")
importer = threading.Thread(target=lambda: [getattr(fastconv, name) for name in names])
importer.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        [getattr(fastconv, name) for name in names]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
importer.join()
print("done")
"""
    done = run_python(code, timeout=HANG)
    assert done.stdout.strip() == "done", done.stderr


@can_fork
def test_a_pool_of_forked_processes():
    code = f"""
import multiprocessing
{WORK}
work()
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(work, [2] * 12) == [None] * 12
print("done")
"""
    done = run_python(code, timeout=HANG)
    assert done.stdout.strip() == "done", done.stderr


# --- Python threads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("callers", "repeats"), [(16, 30), pytest.param(64, 300, marks=pytest.mark.long)])
@pytest.mark.parametrize("count", [None, 2])
def test_many_python_threads_are_exact(count, callers, repeats):
    """Calls of every size at once: short ones, and ones that want the parallel region."""

    def caller(number):
        size = 20 + number
        x, w = data((size, 150)), data((3, 3), seed=number)
        images, weights = data((1, 8, 17, size)), data((24, 8, 3, 3), seed=number)
        large, kernel = data((150, 150 + number), most=1), data((21, 21), seed=number, most=1)
        expected = (
            _reference.conv(x, w, padding="full", flip=True),
            _reference.conv(images, weights, layout="NCHW"),
            _reference.conv(large, kernel),
        )

        def calls():
            for repeat in range(repeats):
                assert_same(signal.convolve2d(x, w, threads=count), expected[0])
                assert_whole(nn.conv2d(images, weights, threads=count), expected[1])
                if repeat % 10 == 0:
                    assert_same(fastconv.conv(large, kernel, threads=count, accuracy="strict"), expected[2])

        return calls

    run_together([caller(number) for number in range(callers)], HANG + callers * repeats // 20)


def test_a_plan_may_be_shared():
    w = data((24, 8, 3, 3))
    plan = fastconv.plan(w, (1, 8, 30, 41), layout="NCHW", padding=1)
    images = [data((1, 8, 30, 41), seed=seed) for seed in range(8)]
    expected = [_reference.conv(x, w, layout="NCHW", padding=1) for x in images]

    def caller(number):
        def calls():
            for _ in range(30):
                assert_whole(plan(images[number]), expected[number])

        return calls

    run_together([caller(number) for number in range(8)])


@on_linux
@has_openmp
def test_a_call_during_another_starts_no_threads():
    code = f"""
import os, threading, time
{WORK}
tasks = lambda: set(os.listdir("/proc/self/task"))
image, kernel = np.ones((2500, 2500), np.float32), np.ones((101, 101), np.float32)

def two_calls():  # the first starts the worker of the second
    fastconv.conv(x, w, accuracy="strict", threads=2)
    warm.set()
    fastconv.conv(image, kernel, threads=2)

for _ in range(20):
    warm, long = threading.Event(), threading.Thread(target=two_calls)
    before = tasks()
    drivers_threads.forget_losses()
    long.start()
    warm.wait()
    while drivers_threads.forget_losses() and long.is_alive():
        time.sleep(0.001)
    during = tasks()
    work(threads=4)
    after = tasks()
    running = not drivers_threads.forget_losses()
    long.join()
    if running:
        print(len(during - before), len(after - during))
        break
"""
    done = run_python(code, timeout=HANG, OPENBLAS_NUM_THREADS="1")
    caller_and_worker, started = map(int, done.stdout.split())
    assert caller_and_worker == 2, done.stderr
    assert started == 0


def test_nested_calls():
    """A signal handler that convolves in the middle of a call, from the thread that runs the region."""
    if not hasattr(signals, "setitimer"):
        pytest.skip("this platform has no interval timers")
    x, w = data((700, 700), most=1), data((41, 41), seed=1, most=1)
    small = np.ones((200, 200), np.float32), np.ones((15, 15), np.float32)
    expected = fastconv.conv(x, w, threads=1, accuracy="strict")
    nested = []
    before = signals.signal(
        signals.SIGALRM, lambda *_: nested.append((fastconv.conv(*small, threads=2, accuracy="strict") == 225).all())
    )
    try:
        for count in (1, 2):
            nested.clear()
            deadline = time.monotonic() + HANG
            while not nested:
                signals.setitimer(signals.ITIMER_REAL, 0.002)
                assert_same(fastconv.conv(x, w, threads=count, accuracy="strict"), expected)
                assert time.monotonic() < deadline
            assert all(nested)
    finally:
        signals.setitimer(signals.ITIMER_REAL, 0)
        signals.signal(signals.SIGALRM, before)


def test_the_gil_is_released():
    """While one thread convolves for long, another one counts."""
    x, w = np.ones((600, 600), np.float32), np.ones((201, 201), np.float32)
    for call in (
        lambda: fastconv.conv(x, w, threads=1, accuracy="strict"),
        lambda: fastconv.conv(
            np.ones((1, 256, 64, 64), np.float32), np.ones((256, 256, 5, 5), np.float32), layout="NCHW", threads=1
        ),
    ):
        running = threading.Event()
        done = threading.Event()
        finished_at = []

        def run(call=call, running=running, done=done, finished_at=finished_at):
            running.set()
            call()
            finished_at.append(time.monotonic())
            done.set()

        worker = threading.Thread(target=run)
        worker.start()
        running.wait(HANG)
        seen = []
        while not done.is_set():
            seen.append(time.monotonic())
            time.sleep(0.001)
        worker.join(HANG)
        start, stop = seen[0], finished_at[0]
        # With the GIL held there would be nothing in between.
        between = [at for at in seen if start + 0.25 * (stop - start) < at < start + 0.75 * (stop - start)]
        assert len(between) >= 3


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------

LONG = {
    "direct": ("np.ones((3000, 3000), np.float32), np.ones((501, 501), np.float32)", ", algorithm='direct'"),
    "direct, 1-D": ("np.ones(3_000_000, np.float32), np.ones(300_001, np.float32)", ", algorithm='direct'"),
    "fft": (
        "np.broadcast_to(1.0, (1, 64, 3000, 3000)), np.ones((1, 64, 61, 61))",
        ", layout='NCHW', algorithm='fft'",
    ),
    "gemm": (
        "np.ones((64, 256, 112, 112), np.float32), np.ones((512, 256, 7, 7), np.float32)",
        ", layout='NCHW', algorithm='gemm'",
    ),
    "winograd": (
        "np.ones((64, 256, 112, 112), np.float32), np.ones((512, 256, 3, 3), np.float32)",
        ", layout='NCHW', algorithm='winograd'",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_ends_a_long_call(name, count):
    arrays, options = LONG[name]
    # A process that a shell starts in the background ignores Ctrl-C, and so do its children.
    code = f"""
import signal, sys, time
import numpy as np, fastconv
signal.signal(signal.SIGINT, signal.default_int_handler)
arrays = {arrays}
fastconv.conv(*(a[tuple(slice(3) for _ in a.shape)] for a in arrays){options.replace("gemm", "auto")})
print("ready", flush=True)
try:
    fastconv.conv(*arrays, threads={count}{options})
except KeyboardInterrupt:
    print("interrupted", flush=True)
    assert (fastconv.conv(np.ones((200, 200)), np.ones((15, 15)), threads=2, accuracy="strict") == 225).all()
    print("alive", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(15, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signals.SIGINT)
        sent = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        # The calls take from several seconds to half a minute when nobody interrupts them.
        assert time.monotonic() - sent < 5
        assert process.stdout.readline() == "alive\n"
        assert process.wait(HANG) == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_exception_of_a_handler_is_raised():
    if not hasattr(signals, "setitimer"):
        pytest.skip("this platform has no interval timers")

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    x, w = np.ones((3000, 3000), np.float32), np.ones((301, 301), np.float32)
    before = signals.signal(signals.SIGALRM, ring)
    try:
        for count in (1, 2):
            signals.setitimer(signals.ITIMER_REAL, 0.1)
            with pytest.raises(Alarm):
                fastconv.conv(x, w, threads=count, accuracy="strict")
    finally:
        signals.setitimer(signals.ITIMER_REAL, 0)
        signals.signal(signals.SIGALRM, before)
    assert_same(fastconv.conv(x[:5, :5], w[:3, :3]), np.full((3, 3), np.float32(9)))
