"""Filters whose result has a dtype of its own, N-D: against scipy.ndimage, integers to the last one."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
from _tools import INTEGERS, assert_same, data

from fastconv import _filters, _reference
from fastconv.signal import convolve2d

MODES = {"reflect": "symmetric", "mirror": "reflect", "nearest": "edge", "wrap": "wrap", "constant": "constant"}
CASES = (((50,), (9,)), ((40, 70), (3, 3)), ((20, 9), (1, 9)), ((20, 9), (9, 1)), ((9, 10, 11), (3, 2, 3)))


def both(x, w, out, mode, cval):
    """Return our result and SciPy's, with the window off its centre."""
    lo = [k // 3 for k in w.shape]
    origin = [before - k // 2 for before, k in zip(lo, w.shape, strict=True)]
    expected = scipy.ndimage.correlate(x, w, output=out, mode=mode, cval=cval, origin=origin)
    return _filters.correlate(x, w, np.dtype(out), lo, [MODES[mode]] * x.ndim, cval), expected


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_integers_are_those_of_scipy(level, dtype):
    rng = np.random.default_rng(0)
    for (shape, kernel), out in itertools.product(CASES, ("uint8", "int16", "int32", "int64")):
        x = data(shape, "uint8").clip(0, 100).astype(dtype)
        w = rng.random(kernel)
        w /= w.sum()
        for mode in MODES:
            assert_same(*both(x, w, out, mode, 1.5))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool", "int64"])
@pytest.mark.parametrize("out", ["float32", "float64"])
def test_floats_from_anything(dtype, out):
    x, w = data((30, 41), "uint8").clip(0, 100).astype(dtype), np.random.default_rng(0).random((4, 5))
    actual, expected = both(x, w, out, "mirror", 0.0)
    assert actual.dtype == out
    np.testing.assert_allclose(actual, expected, rtol=22 * np.finfo(out).eps)


def test_a_fraction_outside_an_integer_image():
    x, w = data((9, 30), "uint8"), np.array([[1.0, 2, 1]])
    assert_same(*both(x, w, "int32", "constant", 0.5))


@pytest.mark.parametrize(
    "shapes", [((300, 1), (300, 1)), ((1, 300), (300, 1)), ((300, 1), (1, 300)), ((200, 3), (40, 1))]
)
def test_columns_and_outer_products(shapes):
    x, w = data(shapes[0]), data(shapes[1], seed=1)
    assert_same(convolve2d(x, w, algorithm="direct"), _reference.conv(x, w, padding="full", flip=True))
