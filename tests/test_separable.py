"""Passes along single axes: correlations and boxes, against their definition and scipy.ndimage."""

import itertools
import platform

import numpy as np
import pytest
import scipy.ndimage
from _guard import Fence
from _tools import INTEGERS, assert_same, assert_same_bits, data

import fastconv
from fastconv import _filters, ndimage
from fastconv._filters import Box, Pass
from fastconv.planners import separable

# scipy.ndimage's names and the core's.
MODES = {"reflect": "symmetric", "mirror": "reflect", "nearest": "edge", "wrap": "wrap", "constant": "constant"}
SHAPES = ((17,), (1000,), (5, 7), (40, 70), (64, 300), (1, 9), (9, 1), (6, 5, 7), (33, 20, 3), (3, 4, 5, 6))
X86 = platform.machine().lower() in ("x86_64", "amd64")
FLOATS = ("float16", "float32", "float64", "complex64", "complex128")


def whole(weights):
    return weights.astype(np.float64)


def kernels(shape, seed, most, make):
    """Return (axis, weights, lo) for every axis, in a random order."""
    rng = np.random.default_rng(seed)
    drawn = []
    for axis in rng.permutation(len(shape)):
        k = int(rng.integers(1, most))
        drawn.append((int(axis), make(rng, k), int(rng.integers(0, k))))
    return drawn


def any_weights(rng, k):
    return rng.integers(-3, 4, k).astype(np.float64)


def fractions(rng, k):
    """Weights that are no integers, symmetric or antisymmetric in turn: SciPy sums these in another order."""
    w = rng.random(k)
    return {0: w, 1: w + w[::-1], 2: w - w[::-1]}[int(rng.integers(3))]


def through_scipy(x, steps, dtype, mode, cval):
    dtype = np.dtype(dtype)
    for axis, w, lo in steps:
        # What C makes of a negative double that becomes unsigned is up to the CPU; by x86, it counts modulo 2^n.
        wraps = dtype.kind in "ub" and not X86
        out = np.empty(x.shape, np.float64 if wraps else dtype)
        scipy.ndimage.correlate1d(x, w, axis, output=out, mode=mode, cval=cval, origin=lo - len(w) // 2)
        x = np.trunc(out).astype(np.int64).astype(dtype) if wraps else out
    return x


def ours(x, steps, mode, cval, dtype=None, **options):
    passes = [Pass(axis, w, lo, MODES[mode], cval) for axis, w, lo in steps]
    return _filters.correlate_axes(x, passes, np.dtype(dtype or x.dtype), **options)


def boxes(x, steps, mode, cval, dtype=None, **options):
    passes = [Box(axis, size, lo, MODES[mode], cval) for axis, size, lo in steps]
    return _filters.box_axes(x, passes, np.dtype(dtype or x.dtype), **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_stay_within_the_bound(dtype, mode):
    dtype = np.dtype(dtype)
    for shape, most in itertools.product(SHAPES, (6, 40)):
        x = data(shape, dtype, most=1 if dtype == "float16" else 8)
        steps = kernels(shape, most, most if dtype != "float16" else 4, any_weights)
        real = through_scipy(x.real.astype(np.float64), steps, np.float64, mode, 1.0)
        imaginary = through_scipy(x.imag.astype(np.float64), steps, np.float64, mode, 0.0)
        reach = [(axis, np.abs(w), lo) for axis, w, lo in steps]
        largest = through_scipy(np.abs(x).astype(np.float64), reach, np.float64, mode, 1.0)
        taps = sum(len(w) + 2 for _, w, _ in steps)
        actual = ours(x, steps, mode, 1.0)
        assert actual.dtype == dtype
        error = np.abs(actual.astype(np.complex128) - (real + 1j * imaginary))
        assert (error <= taps * np.finfo(dtype).eps * largest).all(), (shape, steps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [*INTEGERS[:-1], "bool"])
def test_integers_are_those_of_scipy(level, dtype, mode):
    for shape, make in itertools.product(SHAPES, (any_weights, fractions)):
        x = data(shape, "uint8").clip(0, 100).astype(dtype)
        steps = kernels(shape, 3, 9, make)
        expected = through_scipy(x, steps, x.dtype, mode, 2.0)
        np.testing.assert_array_equal(ours(x, steps, mode, 2.0), expected, str((shape, steps)))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_fractions_outside_an_integer_image(dtype):
    """SciPy's cval is a double, whatever the image is made of."""
    x = data((9, 30), "uint8").clip(0, 100).astype(dtype)
    steps = [(0, np.array([1.0, 2, 1]), 1), (1, np.array([1.0, 2, 1]), 1)]
    np.testing.assert_array_equal(ours(x, steps, "constant", 1.5), through_scipy(x, steps, x.dtype, "constant", 1.5))


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", "float32", "float64"])
def test_other_dtypes_of_the_result(dtype):
    x = data((23, 40), "uint8").clip(0, 100).astype(dtype)
    steps = kernels(x.shape, 5, 7, fractions)
    for out in ("uint8", "int16", "int32", "int64"):
        expected = through_scipy(x, steps, np.dtype(out), "reflect", 0.0)
        if x.dtype.kind != "f":
            np.testing.assert_array_equal(ours(x, steps, "reflect", 0.0, out), expected)
    for out in ("float32", "float64"):
        expected = through_scipy(x.astype(np.float64), steps, np.float64, "reflect", 0.0)
        actual = ours(x, steps, "reflect", 0.0, out)
        assert actual.dtype == out
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1000 * 20 * np.finfo(out).eps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", *FLOATS])
def test_boxes(dtype, mode):
    rng = np.random.default_rng(0)
    for shape, most in itertools.product(SHAPES, (12, 90)):
        x = data(shape, "uint8", most=1).clip(0, 100).astype(dtype)
        expected = x if x.dtype.kind in "biu" else x.real.astype(np.float64)
        steps = []
        for axis in rng.permutation(len(shape)):
            size = int(rng.integers(1, most))
            steps.append((int(axis), size, int(rng.integers(0, size))))
            expected = scipy.ndimage.uniform_filter1d(
                expected, size, axis, mode=mode, cval=2.0, origin=steps[-1][2] - size // 2
            )
        actual = boxes(x, steps, mode, 2.0)
        assert actual.dtype == x.dtype
        if x.dtype.kind in "biu":
            np.testing.assert_array_equal(actual, expected, str((shape, steps)))
        else:
            np.testing.assert_allclose(actual, expected, rtol=0, atol=6400 * np.finfo(x.dtype).eps)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_means_of_small_integers_are_cut_as_in_float64(level, dtype):
    info, rng = np.iinfo(dtype), np.random.default_rng(7)
    # On both sides of the sizes from which wider lanes are taken.
    for size in (2, 3, 7, 64, 127, 128, 129, 257, 1000):
        x = rng.integers(info.min, info.max, (45, 2300), dtype, endpoint=True)
        # Means of whole numbers, and such that are just below one.
        x[:, 300:900] = info.max
        x[:, 600:900:size] -= 1
        x[20:] = np.sort(x[20:] // 2 * 2, axis=1)
        for mode, cval in (("mirror", 0), ("constant", int(info.max)), ("constant", 2.5)):
            steps = [(0, size, size // 2), (1, size, size // 3)]
            expected = x
            for axis, n, lo in steps:
                expected = scipy.ndimage.uniform_filter1d(expected, n, axis, mode=mode, cval=cval, origin=lo - n // 2)
            assert_same(boxes(x, steps, mode, cval), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_sums_of_bytes_are_cut_as_in_float64(level, dtype):
    info, rng = np.iinfo(dtype), np.random.default_rng(8)
    noise = rng.integers(info.min, info.max, (30, 400), dtype, endpoint=True)
    # Where all samples are alike, rounding decides whether the sum of the weights is 1 or just below.
    flat = np.kron(rng.integers(info.min, info.max, (3, 5), dtype, endpoint=True), np.ones((10, 80), dtype))
    flat[:, 50:60] = noise[:, :10]
    for k, (x, axis) in itertools.product((1, 2, 3, 8, 9, 25), itertools.product((noise, flat), (0, 1))):
        w = fractions(rng, k)
        for weights in (w, w / (np.abs(w).sum() + 0.5), np.ones(k) / k, 3 * w, np.full(k, 0.1)):
            for mode, cval in (("mirror", 0), ("constant", int(info.max)), ("constant", 0.5)):
                steps = [(axis, weights, k // 2), (1 - axis, weights[::-1], k // 3)]
                assert_same(ours(x, steps, mode, cval), through_scipy(x, steps, dtype, mode, cval))
    # With many taps too many sums would be in doubt.
    for taps, lanes in ((9, separable.BYTE_SUMS), (2000, None)):
        weights = [np.full(taps, 1 / taps)]
        assert _filters._short_lanes(flat.dtype, flat.dtype, [(1, taps, b"")], weights, [0]) == lanes


def test_a_box_keeps_a_constant_image():
    for size in range(1, 130):
        x = np.full((3, 150), 3, np.float32)
        assert_same_bits(boxes(x, [(1, size, size // 2)], "reflect", 0.0)[:, :1], x[:, :1])
        assert np.ptp(boxes(x, [(1, size, size // 2), (0, 3, 1)], "reflect", 0.0)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_stays_in_its_window(level, dtype, value):
    x = np.ones((40, 90), dtype)
    x[20, 47] = value
    for size, lo in ((3, 1), (15, 7), (16, 2)):
        reached = np.zeros(x.shape, bool)
        reached[20 - (size - 1 - lo) : 21 + lo, 47 - (size - 1 - lo) : 48 + lo] = True
        for result in (
            boxes(x, [(0, size, lo), (1, size, lo)], "reflect", 0.0),
            ours(x, [(0, np.ones(size), lo), (1, np.ones(size), lo)], "reflect", 0.0),
        ):
            assert (result[reached] == value).all() or (np.isnan(value) and np.isnan(result[reached]).all())
            assert np.isfinite(result[~reached]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "uint8", "int32"])
def test_any_strides_and_byte_order(dtype):
    x = data((37, 80), "uint8").astype(dtype)
    for steps in ([(0, fractions(np.random.default_rng(1), 7), 3), (1, np.ones(5), 2)], [(1, np.ones(20), 2)]):
        expected = ours(x, steps, "mirror", 0.0)
        wide = np.zeros((74, 240), dtype)
        wide[::2, ::3] = x
        readonly = x.copy()
        readonly.flags.writeable = False
        misaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)
        for same in (
            wide[::2, ::3],
            np.asfortranarray(x),
            x[::-1, ::-1].copy()[::-1, ::-1],
            x.astype(x.dtype.newbyteorder("S")),
            readonly,
            misaligned,
        ):
            assert_same_bits(ours(same, steps, "mirror", 0.0, dtype), expected)


def test_the_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((700, 900)).astype(np.float32)
    steps = [(0, np.linspace(0, 1, 21), 10), (1, np.linspace(0, 1, 33), 10)]
    for run in (
        lambda **options: ours(x, steps, "wrap", 0.0, **options),
        lambda **options: ours(x, steps[::-1], "constant", 1.0, **options),
        lambda **options: boxes(x, [(0, 30, 3), (1, 31, 2)], "reflect", 0.0, **options),
        lambda **options: ours(x.reshape(-1), [(0, np.linspace(0, 1, 99), 3)], "reflect", 0.0, **options),
    ):
        expected = run(threads=1)
        for threads in (2, 3):
            assert_same_bits(run(threads=threads), expected)


def test_long_rows_are_cut():
    """Rows of more than a tile, with kernels that reach from one end to the other."""
    x = data((3, 20011), "float32")
    for mode, k in itertools.product(MODES, (3, 4000)):
        steps = [(0, np.ones(3), 1), (1, np.ones(k), k // 3)]
        expected = through_scipy(x.astype(np.float64), steps, np.float64, mode, 1.0)
        for order in (steps, steps[::-1]):
            if mode != "constant" or order is steps:
                np.testing.assert_array_equal(ours(x, order, mode, 1.0), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "uint8", "bool", "float16"])
def test_no_access_outside(level, dtype):
    fence = Fence(1 << 16)
    for shape in ((1, 1), (3, 5), (5, 17), (4, 33), (9, 64), (2, 130), (40,), (5, 6, 3)):
        x = data(shape, dtype, most=1)
        steps = [(axis, np.array([0.5, 1, 0.5]), 1) for axis in range(x.ndim)]
        for order in (steps, steps[::-1], steps[:1], steps[-1:]):
            expected = ours(x, order, "reflect", 0.0)
            mean = boxes(x, [(axis, 5, 2) for axis, _, _ in order], "reflect", 0.0)
            for side in ("first", "last"):
                fenced = fence.put(x, side)
                assert_same_bits(ours(fenced, order, "reflect", 0.0), expected)
                assert_same_bits(boxes(fenced, [(axis, 5, 2) for axis, _, _ in order], "reflect", 0.0), mean)


def test_empty_and_unfiltered():
    assert ours(np.zeros((0, 5), np.float32), [(1, np.ones(3), 1)], "reflect", 0.0).shape == (0, 5)
    x = data((4, 5))
    assert_same_bits(ours(x, [], "reflect", 0.0), x)
    assert ours(x, [], "reflect", 0.0) is not x
    assert ours(np.float32(3) * np.ones((1, 1), "f"), [(0, np.ones(3), 1)], "reflect", 0.0) == 9


def test_thread_counts_are_checked():
    with pytest.raises(fastconv.ConvError, match="threads: got 0"):
        ours(data((4, 5)), [(1, np.ones(3), 1)], "reflect", 0.0, threads=0)


def mirrored(weights, sign):
    return np.concatenate([weights, [0.0 if sign < 0 else 0.7], sign * weights[::-1]])


def noise(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", FLOATS)
def test_mirrored_input_gives_mirrored_results(level, dtype, sign):
    rng = np.random.default_rng(1)
    shapes = (3,), (50,), (1500,), (40, 70), (21, 300), (12, 9, 3), (5, 8, 40)
    for shape, half in itertools.product(shapes, (1, 4, 9, 20, 37)):
        x = noise(shape, dtype)
        kernel = mirrored(rng.random(half) / half, sign)
        for axes in itertools.permutations(range(len(shape)), min(len(shape), 2)):
            steps = [(axis, kernel, half) for axis in axes]
            expected = ours(x, steps, "reflect", 0.0)
            for axis in range(len(shape)):
                actual = np.flip(ours(np.flip(x, axis), steps, "reflect", 0.0), axis)
                assert_same_bits(actual + 0, (sign if axis in axes else 1) * expected + 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_antisymmetric_weights_leave_nothing_of_a_constant(level, dtype):
    x = np.full((30, 50, 3), 0.3, dtype)
    for half, axis in itertools.product((1, 3, 9, 20, 40), range(3)):
        steps = [(axis, mirrored(np.random.default_rng(half).random(half), -1), half)]
        for same in (x, x[0], x[0, :, 0]):
            if axis < same.ndim:
                assert not ours(same, steps, "mirror", 0.0).any()


@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_the_order_of_pairs_does_not_depend_on_the_place(level, dtype):
    """A sample's neighbours decide its result, wherever in the row or the column they are."""
    x = np.tile(noise((1, 150), dtype), (9, 4))
    for half in (1, 5, 12, 21, 40, 74):
        weights = mirrored(np.random.default_rng(half).random(half), 1)
        along = ours(x, [(1, weights, half)], "wrap", 0.0)
        assert_same_bits(along, np.tile(along[:1, :150], (9, 4)))
        down = ours(np.ascontiguousarray(x.T), [(0, weights, half)], "wrap", 0.0)
        assert_same_bits(down, np.tile(down[:150, :1], (4, 9)))


def test_infinities_of_a_pair_meet():
    x = np.zeros(9)
    x[[2, 4]] = np.inf
    slope = ours(x, [(0, np.array([-1.0, 0.0, 1.0]), 1)], "constant", 0.0)
    np.testing.assert_array_equal(slope, scipy.ndimage.correlate1d(x, [-1, 0, 1], mode="constant"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_no_pair_reaches_outside(level, dtype):
    """Stages that read and write arrays where they stand, against pages that must not be touched."""
    source, result = Fence(1 << 18), Fence(1 << 18)
    for width, half in itertools.product((16, 17, 33, 64, 100, 150, 270), (1, 2, 7, 12, 20, 40)):
        x = data((50, width), dtype)
        w = np.arange(2 * half + 1, dtype=np.float64)
        w += w[::-1] + w[half] % 5
        for axes in ((0,), (1,), (0, 1), (1, 0)):
            passes = [Pass(axis, w, half, "symmetric", 0.0) for axis in axes]
            expected = _filters.correlate_axes(x, passes, x.dtype)
            steps = tuple((axis, w.tobytes(), w.dtype, half, "symmetric", *_filters._scalar(0.0)) for axis in axes)
            stages = _filters._plan_axes(x.shape, x.dtype, x.dtype, steps, level).stages
            for side in ("first", "last"):
                image = x
                for stage in stages:
                    out = result.array(x.shape, x.dtype, side)
                    stage.run(source.put(image, side), out)
                    image = out
                assert_same_bits(image, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gaussians_keep_what_is_even(dtype):
    for value, sigma in itertools.product((1, 255), (0.5, 1, 2)):
        x = np.full((9, 12), value, dtype)
        assert (ndimage.gaussian_filter1d(x, sigma, order=1) == 0).all()
    assert (ndimage.gaussian_filter(np.ones((2, 2)), 1) == 1).all()
    row = noise(50, dtype)
    assert_same_bits(ndimage.gaussian_filter1d(row, 2)[::-1].copy(), ndimage.gaussian_filter1d(row[::-1], 2))
