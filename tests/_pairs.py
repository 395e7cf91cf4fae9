"""What the tests of two-operand functions share: pairs of whole-numbered arrays, and comparison with the peer."""

import warnings

import numpy as np
from _tools import data

MODES = ("full", "same", "valid")
# Short, long, odd, even, equal, single, either the longer.
LENGTHS = ((9, 3), (8, 4), (40, 7), (7, 40), (5, 5), (1, 1), (6, 1), (1, 6), (4, 2), (3, 8), (130, 33))
SHAPES = {
    1: tuple(((n,), (k,)) for n, k in LENGTHS),
    2: (
        ((7, 9), (3, 3)),
        ((8, 6), (2, 4)),
        ((5, 20), (1, 5)),
        ((20, 5), (6, 1)),
        ((1, 9), (4, 1)),
        ((3, 2), (3, 2)),
        ((3, 4), (8, 9)),
        ((2, 11), (6, 3)),
        ((1, 1), (3, 4)),
        ((1, 1), (1, 1)),
        ((1, 5), (1, 9)),
    ),
    3: (
        ((4, 5, 6), (2, 3, 3)),
        ((3, 6, 5), (3, 1, 2)),
        ((2, 3, 4), (4, 5, 6)),
        ((1, 4, 1), (2, 1, 3)),
        ((5, 1, 7), (1, 1, 3)),
        ((3, 4, 5), (4, 2, 7)),
    ),
    4: (((2, 3, 4, 5), (2, 1, 3, 2)), ((2, 2, 3, 4), (3, 3, 4, 5))),
}


def pair(shapes, first, second=None):
    """Return two arrays of small whole numbers, whose sums every dtype but int8 and uint8 holds."""
    arrays = []
    for seed, (shape, dtype) in enumerate(zip(shapes, (first, second or first), strict=True)):
        dtype = np.dtype(dtype)
        wide = {"u": "uint8", "i": "int8"}.get(dtype.kind, dtype)
        values = data(shape, wide, seed)
        arrays.append((values % 5).astype(dtype) if dtype.kind in "iu" else values)
    return arrays


def matrix(values):
    """Return an np.matrix, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix(values)


def attempt(function, *args, **kwargs):
    """Return what a call returns, or the exception it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return error


def assert_whole(actual, expected):
    """Equal in type, dtype, shape and every value, where a transform may have been at work on whole numbers."""
    assert type(actual) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.dtype.isnative
    assert actual.shape == expected.shape
    if actual.dtype.kind in "fc":
        assert np.all(abs(actual - expected) < 1e-2)
        actual, expected = np.rint(actual), np.rint(expected)
    np.testing.assert_array_equal(actual, expected)


def assert_like(ours, theirs, *args, **kwargs):
    """The peer's result, or its exception."""
    expected, actual = attempt(theirs, *args, **kwargs), attempt(ours, *args, **kwargs)
    if isinstance(expected, Exception):
        assert isinstance(actual, type(expected)), (actual, expected)
    else:
        assert not isinstance(actual, Exception), actual
        assert_whole(actual, np.asarray(expected))
