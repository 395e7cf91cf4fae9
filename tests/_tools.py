"""What several test files share: exact data, comparison, the level in use, and other Python processes."""

import os
import platform
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np

from fastconv import _ndimage_calls, _numpy, _transposed, _windows, core, nn, signal
from fastconv.drivers import levels

BOUNDARIES = ("constant", "edge", "symmetric", "reflect", "wrap")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
REALS = ("float16", "float32", "float64", "longdouble")
COMPLEXES = ("complex64", "complex128", "clongdouble")
# Levels that have the kernels of x86_v4 but for quantised convolutions.
ONLY_BYTES = ("x86_v4_amx", "x86_v4_vnni")
# How much longer than usual a Python may take: an emulated CPU is slow.
PATIENCE = float(os.environ.get("FASTCONV_TEST_PATIENCE", "1"))
DTYPES = ("bool", *INTEGERS, *REALS, *COMPLEXES)


def shown(value):
    """Name a value in a test's id, without its address."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


def data(shape, dtype="float32", seed=0, most=4):
    """Return small whole numbers, whose sums are exact in any order; those of integer dtypes take the whole range."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.integers(-most, most + 1, shape)
    if dtype.kind == "b":
        return values > most // 2
    return (values + (1j * rng.integers(-most, most + 1, shape) if dtype.kind == "c" else 0)).astype(dtype)


def assert_same(actual, expected):
    """Equal in type, dtype, shape and every value; NaN equals NaN."""
    assert type(actual) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.dtype.isnative
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def assert_whole(actual, expected):
    """Equal to whole numbers once rounded: for algorithms that transform, whose errors here are far below a half."""
    if actual.dtype.kind in "fc" and actual.dtype.char not in "gG":
        parts = np.ascontiguousarray(actual).reshape(-1).view(actual.real.dtype)
        actual = (np.rint(parts) + 0.0).astype(parts.dtype).view(actual.dtype).reshape(actual.shape)
    assert_same(actual, expected)


def assert_same_bits(actual, expected):
    """Equal to the last bit, the sign of zero included."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def prefilled(shape, dtype):
    """Return an array in which an element that nobody wrote shows: NaN, or a number that data rarely make."""
    dtype = np.dtype(dtype)
    return np.full(shape, np.nan if dtype.kind in "fc" else dtype.type(85), dtype)


def fused_levels():
    """Return the levels of this CPU whose multiply-adds round once: on x86-64 the base has none, elsewhere it does."""
    base = () if platform.machine().lower() in ("x86_64", "amd64") else ("scalar",)
    return [name for name in levels.available() if name in ("x86_v4", "x86_v3", "neon", *base)]


@contextmanager
def at_level(name):
    """Use a level; the faces forget their remembered calls, which hold on to the level they were made with."""
    lanes = (
        *signal._lanes,
        *_numpy._lanes,
        *_ndimage_calls.lanes,
        *nn._lanes,
        *_windows.lanes,
        core._lane,
        _transposed._lane,
    )
    with levels.use(name):
        for lane in lanes:
            lane.clear()
        try:
            yield
        finally:
            for lane in lanes:
                lane.clear()


def run_python(code, *, timeout=60, **environment):
    """Run code in a Python of its own, without this process's settings for fastconv and OpenMP."""
    ours = ("FASTCONV_LEVEL", "FASTCONV_NUM_THREADS", "OMP_NUM_THREADS")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE * timeout,
        check=False,
    )


def run_together(functions, patience=60):
    """Run each function in a Python thread of its own, all released at once; raise what any of them raised.

    A thread that is not done after so many seconds hangs.
    """
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        barrier.wait(patience)
        try:
            function()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(patience)
        assert not worker.is_alive()
    if errors:
        raise errors[0]
