"""Many Python threads at once: exact, with the GIL and, where the interpreter has none, without."""

import sys
import sysconfig

import numpy as np
import pytest
from _tools import assert_same, data, run_together

import fastconv
from fastconv import _ndimage_calls, _numpy, _plan, _transposed, _windows, core, nn, signal

THREADS, CALLS = 64, 300
PATIENCE = 240  # seconds; what takes longer hangs
LANES = (
    *signal._lanes,
    *_numpy._lanes,
    *_ndimage_calls.lanes,
    *nn._lanes,
    *_windows.lanes,
    core._lane,
    _transposed._lane,
)


@pytest.fixture
def often():
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_module_asks_for_the_gil():
    without = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert getattr(sys, "_is_gil_enabled", lambda: True)() != without


def test_threads_that_share_every_cache(often):
    """Remembered calls, schedules and packed weights, found and made by all, and forgotten by two meanwhile."""
    w = data((6, 4, 3, 3))
    plan = fastconv.plan(w, layout="NCHW", padding=1)
    short = data((5,), seed=5)

    done = []

    def caller(number):
        size = 8 + number % 5
        x, kernel = data((size, size)), data((3, 3), seed=number % 3)
        line, image = data((100 + number % 7,)), data((1, 4, size, size))
        expected = (
            fastconv.conv(x, kernel, padding="full", flip=True, accuracy="strict"),
            np.convolve(line, short),
            fastconv.conv(image, w, layout="NCHW", padding=1, accuracy="strict"),
        )

        def calls():
            try:
                for _ in range(CALLS // 3):
                    assert_same(signal.convolve2d(x, kernel), expected[0])
                    assert_same(fastconv.convolve(line, short), expected[1])
                    np.testing.assert_allclose(plan(image), expected[2], atol=1e-3)
            finally:
                done.append(number)

        return calls

    def forget():
        while len(done) < THREADS:
            for lane in LANES:
                lane.clear()
            _plan.make.cache_clear()

    run_together([caller(number) for number in range(THREADS)] + [forget] * 2, PATIENCE)


def test_threads_that_share_a_transform_whose_tiles_are_not_finite():
    """A tile with NaN is summed by a second driver, which the first thread that meets one makes."""
    w, x = data((40, 40), "float64"), data((300, 300), "float64")
    x[150, 150] = np.nan
    expected = fastconv.conv(x, w, algorithm="direct")
    plan = fastconv.plan(w, x.shape, algorithm="fft")

    def calls():
        result = plan(x)
        assert np.array_equal(np.isnan(result), np.isnan(expected))
        np.testing.assert_allclose(result, expected, atol=1e-6)

    run_together([calls] * 8, PATIENCE)
