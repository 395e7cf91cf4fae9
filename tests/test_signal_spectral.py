"""fastconv.signal.fftconvolve and oaconvolve against scipy.signal's."""

import inspect
import itertools

import numpy as np
import pytest
import scipy.signal
from _pairs import MODES, SHAPES, assert_like, assert_whole, attempt, matrix, pair
from _tools import COMPLEXES, INTEGERS, assert_same, data

from fastconv import ConvError, ConvTypeError, signal

FUNCTIONS = ("fftconvolve", "oaconvolve")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64", "longdouble", *COMPLEXES)
# Axes, and shapes that broadcast along the others: one by one, one over many, many over one.
BATCHES = (
    (1, (1, 20), (7, 3)),
    (1, (7, 20), (1, 3)),
    (1, (7, 20), (7, 3)),
    (0, (20, 7), (3, 7)),
    (0, (20, 1), (3, 7)),
    (-1, (3, 1, 12), (1, 4, 5)),
    (1, (2, 12, 3), (2, 5, 1)),
    ([1, 2], (4, 6, 7), (4, 2, 3)),
    ([0, 2], (6, 4, 7), (2, 4, 3)),
    ([0, 1], (6, 7, 3), (2, 3, 1)),
    ([2, 0], (6, 1, 7), (8, 5, 9)),
    ([-3, -1], (6, 1, 7), (2, 5, 3)),
    ([1, 4], (3, 12, 1, 1, 9), (1, 4, 2, 1, 3)),
    ([0], (5, 2, 3, 2), (3, 1, 3, 2)),
)


def same_with_batches(a, b, axes):
    """Mode "same" as SciPy documents it: it cuts broadcast axes down to those of in1."""
    full = scipy.signal.fftconvolve(a, b, "full", axes)
    convolved = [axis % a.ndim for axis in np.atleast_1d(axes)]
    starts = [(k - 1) // 2 for k in b.shape]
    return full[
        tuple(slice(starts[i], starts[i] + a.shape[i]) if i in convolved else slice(None) for i in range(a.ndim))
    ]


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_shape_and_mode_is_scipys(name, rank):
    for shapes, dtype, mode in itertools.product(SHAPES[rank], ("uint8", "float32", "float64", "complex128"), MODES):
        assert_like(getattr(signal, name), getattr(scipy.signal, name), *pair(shapes, dtype), mode)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_pair_of_dtypes_is_scipys(name):
    for first, second in itertools.product(DTYPES, repeat=2):
        for shapes in (((9,), (4,)), ((9,), (1,)), ((3, 1), (1, 4)), ((4, 5), (3, 2))):
            assert_like(getattr(signal, name), getattr(scipy.signal, name), *pair(shapes, first, second))


@pytest.mark.parametrize("axes", [None, 0, -1, [0], (-1,), np.array([0]), range(1)], ids=repr)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes_of_one_dimension(name, axes):
    for n, k in ((9, 4), (4, 9), (1, 1)):
        for mode in MODES:
            assert_like(getattr(signal, name), getattr(scipy.signal, name), *pair(((n,), (k,)), "float64"), mode, axes)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches(name, batch):
    axes, *shapes = batch
    for dtype, mode in itertools.product(("int16", "float32", "complex128"), MODES):
        a, b = pair(shapes, dtype)
        for first, second in ((a, b), (b, a)):
            if mode == "same":
                expected = same_with_batches(first, second, axes)
            else:
                expected = attempt(scipy.signal.fftconvolve, first, second, mode, axes)
            actual = attempt(getattr(signal, name), first, second, mode, axes)
            if isinstance(expected, Exception):
                assert isinstance(actual, type(expected))
                continue
            assert_whole(actual, np.ascontiguousarray(expected))
            assert actual.flags.c_contiguous
            for out in (np.empty_like(actual), np.asfortranarray(actual)):
                out[...] = 0
                assert getattr(signal, name)(first, second, mode, axes, out=out) is out
                assert_same(np.ascontiguousarray(out), actual)


def test_mode_same_keeps_the_axes_that_in1_is_broadcast_over():
    a, b = data((1, 100), "float64"), data((7, 3), "float64", 1)
    result = signal.fftconvolve(a, b, "same", axes=1)
    assert result.shape == (7, 100)
    for row, kernel in zip(result, b, strict=True):
        assert_same(row, np.convolve(a[0], kernel, "same"))


def test_more_axes_than_transforms_take():
    a, b = pair(((2, 3, 4, 5, 6), (1, 1, 3, 4, 5)), "float64")
    assert_whole(signal.fftconvolve(a, b, "same"), np.rint(scipy.signal.fftconvolve(a, b, "same")))
    assert_whole(signal.fftconvolve(a, b, "same", axes=(2, 4, 3)), np.rint(scipy.signal.fftconvolve(a, b, "same")))
    a, b = pair(((2, 4, 3, 5, 6), (2, 3, 1, 4, 5)), "float64")
    assert_whole(signal.fftconvolve(a, b), np.rint(scipy.signal.fftconvolve(a, b)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_small_kernel_keeps_the_digits_of_small_outputs(name):
    a = np.full(200, 1e-8)
    a[150:] = 1e8
    result = getattr(signal, name)(a, np.ones(5), "same")
    np.testing.assert_allclose(result[10:140], 5e-8, rtol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_non_finite_samples_reach_their_windows_only(name):
    for n, k in ((60, 5), (900, 200)):
        a = np.ones(n)
        a[n // 2] = np.nan
        finite = np.isfinite(getattr(signal, name)(a, np.ones(k)))
        np.testing.assert_array_equal(np.flatnonzero(~finite), np.arange(n // 2, n // 2 + k))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "shapes", [((0,), (0,)), ((2,), (0,)), ((0,), (2,)), ((0, 3), (2, 2)), ((3, 3), (0, 2))], ids=str
)
def test_empty_operands_give_an_empty_array(name, shapes):
    for mode in MODES:
        assert_same(getattr(signal, name)(np.ones(shapes[0]), np.ones(shapes[1]), mode), np.empty(0))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_without_dimensions_give_scalars(name):
    for a, b in ((3, 4), (2j, 3j), (np.True_, np.False_), (np.float16(2), 3)):
        expected = getattr(scipy.signal, name)(a, b)
        actual = getattr(signal, name)(a, b)
        assert type(actual) is type(expected)
        assert actual == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_objects_count_as_float64(name):
    a, b = np.array([1, 2.5, True], object), np.array([1, 2], object)
    for _ in range(2):
        assert_same(getattr(signal, name)(a, b), np.convolve([1, 2.5, 1], [1.0, 2.0]))
    with pytest.raises(ConvTypeError, match="^in1: got objects, allowed: those that float"):
        getattr(signal, name)(np.array(["x", 1], object), b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_as_they_come(name):
    a, b = pair(((9, 8), (3, 4)), "float64")
    expected = np.rint(scipy.signal.fftconvolve(a, b))
    for way in (a.tolist(), a[::-1].copy()[::-1], a.astype(">f8"), np.asfortranarray(a), np.ma.array(a), matrix(a)):
        for _ in range(2):
            assert_whole(getattr(signal, name)(way, b), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_that_are_repeated(name):
    for axes, *shapes in BATCHES:
        for first, second in (("float64", "float64"), ("int8", "float32"), ("float16", "float16")):
            once = getattr(signal, name)(*pair(shapes, first, second), "full", axes)
            for threads in (None, 1, 2):
                assert_whole(getattr(signal, name)(*pair(shapes, first, second), "full", axes, threads=threads), once)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        (([1], [1], "chips"), {}, ConvError, "^mode: got 'chips', .*acceptable mode flags are 'valid', 'same', or 'fu"),
        (([1], [1], 2), {}, ConvTypeError, "^mode: got 2"),
        (([1], 2), {}, ConvError, "in1 and in2 should have the same dimensionality"),
        (([1], [2], "full", []), {}, ConvError, "^axes: .*when provided, axes cannot be empty"),
        (([1], [2], "full", [[1, 2], [3, 4]]), {}, ConvTypeError, "^axes: .*must be a scalar or iterable of integers"),
        (([1], [2], "full", [1.0, 2.0]), {}, ConvTypeError, "^axes: .*axes must be a scalar or iterable of integers"),
        (([1], [2], "full", 1.0), {}, ConvTypeError, "^axes: got 1.0"),
        (([1], [2], "full", [1]), {}, ConvError, "^axes: .*axes exceeds dimensionality of input"),
        (([1], [2], "full", [-2]), {}, ConvError, "^axes: .*axes exceeds dimensionality of input"),
        (([1], [2], "full", [0, 0]), {}, ConvError, "^axes: .*all axes must be unique"),
        (
            (np.zeros((5, 6, 2, 1)), np.zeros((5, 6, 3, 1)), "full", [0, 1]),
            {},
            ConvError,
            r"incompatible shapes for in1 and in2: \(5, 6, 2, 1\) and \(5, 6, 3, 1\)",
        ),
        ((np.ones((2, 3)), np.ones((3, 2)), "valid"), {}, ConvError, "For 'valid' mode, one must be at least as large"),
        ((["a"], [1]), {}, ConvTypeError, "^in1: got dtype <U1"),
        (([1], [1]), {"out": np.empty(1)}, ConvTypeError, "^out: got dtype float64, allowed: int64"),
        (([1, 2], [1, 2]), {"out": np.empty(2)}, ConvError, r"^out: got shape \(2,\), allowed: \(3,\)"),
        (([], [1, 2]), {"out": np.empty(2)}, ConvError, r"^out: got shape \(2,\), allowed: \(0,\)"),
        (([1, 2], [1, 2]), {"threads": 1.5}, ConvTypeError, "^threads: got 1.5"),
        (([1, 2], [1, 2]), {"algorithm": "dft"}, ConvError, "^algorithm: got 'dft'"),
    ],
    ids=str,
)
def test_what_is_refused(name, args, options, error, message):
    with pytest.raises(error, match=message):
        getattr(signal, name)(*args, **options)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_begin_as_scipys(name):
    theirs = list(inspect.signature(getattr(scipy.signal, name)).parameters.values())
    ours = list(inspect.signature(getattr(signal, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])
