"""fastconv.ndimage against scipy.ndimage: values, dtypes, borders, options, outputs and errors."""

import inspect
import itertools
import math
import operator
from functools import partial

import numpy as np
import pytest
from _tools import INTEGERS, assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as peer

import fastconv
from fastconv import ConvError, ConvTypeError, _ndimage_calls, _ndimage_passes, ndimage

MODES = ("reflect", "grid-mirror", "mirror", "nearest", "wrap", "grid-wrap", "constant", "grid-constant")
DTYPES = ("bool", *INTEGERS, "float32", "float64", "complex64", "complex128")
SHAPES = ((7,), (5, 6), (3, 4, 5), (1, 2))

rng = np.random.default_rng(7)


def image(shape, dtype="float64", seed=0):
    """Whole numbers so small that no filter here leaves the range of int8, negative where the dtype has them."""
    dtype = np.dtype(dtype)
    source = np.random.default_rng(seed)
    if dtype.kind == "b":
        return source.integers(0, 2, shape).astype(dtype)
    values = source.integers(0 if dtype.kind == "u" else -9, 10, shape)
    return (values + (1j * source.integers(-9, 10, shape) if dtype.kind == "c" else 0)).astype(dtype)


def gaussian(sigma, order=0, radius=None):
    return _ndimage_passes.gaussian_weights(float(sigma), order, int(4 * sigma + 0.5) if radius is None else radius)


def bound(peak, kernels, dtype):
    """How far a result may be from another one whose passes are each rounded in their own way.

    A pass of K taps is within (K + 2) eps of the magnitude of its sums, and a rounding more makes it the output's.
    """
    gain = math.prod(float(np.abs(kernel).sum()) for kernel in kernels)
    roundings = sum(np.size(kernel) + 3 for kernel in kernels)
    # The two results, and the real and imaginary part of one.
    return 2 * 2 * roundings * np.finfo(dtype).eps * peak * gain


def assert_like_peer(actual, expected, kernels, peak=9):
    """Equal where the result is of integers, else within the bound."""
    assert type(actual) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound(peak, kernels, expected.dtype))


def both(name, *arguments, **options):
    return getattr(ndimage, name)(*arguments, **options), getattr(peer, name)(*arguments, **options)


def kernel(shape):
    """Of whole numbers, no two alike."""
    return np.arange(1, math.prod(shape) + 1).reshape(shape) - 2


# name, what to call it with for an image, and the kernels of its passes (those of one term, where terms are added).
CASES = {
    "correlate": ("correlate", lambda x: ((kernel((3, 2, 3)[: x.ndim]),), {}), lambda x: [np.arange(30)]),
    "correlate fractions": (
        "correlate",
        lambda x: ((kernel((2, 3, 2)[: x.ndim]) / 7,), {"origin": -1}),
        lambda x: [np.arange(20)],
    ),
    "convolve": ("convolve", lambda x: ((kernel((3, 2, 3)[: x.ndim]),), {}), lambda x: [np.arange(30)]),
    "convolve longer than the image": (
        "convolve",
        lambda x: ((kernel((11, 9, 8)[: x.ndim]) / 1000,), {}),
        lambda x: [np.arange(1000) / 1000],
    ),
    "correlate1d": ("correlate1d", lambda x: (([1, 2, -1, 3],), {"axis": 0}), lambda x: [np.arange(4)]),
    "convolve1d": ("convolve1d", lambda x: (([0.5, -0.25, 0.1],), {"origin": 1}), lambda x: [np.ones(3)]),
    "gaussian_filter": ("gaussian_filter", lambda x: ((1.3,), {}), lambda x: [gaussian(1.3)] * x.ndim),
    "gaussian_filter order 1": (
        "gaussian_filter",
        lambda x: ((0.7, 1), {}),
        lambda x: [gaussian(0.7, 1)] * x.ndim,
    ),
    "gaussian_filter1d": (
        "gaussian_filter1d",
        lambda x: ((2, 0, 2), {"radius": 3}),
        lambda x: [gaussian(2, 2, 3)],
    ),
    "uniform_filter": ("uniform_filter", lambda x: ((), {"origin": 1}), lambda x: [np.ones(3) / 3] * x.ndim),
    "uniform_filter even": ("uniform_filter", lambda x: ((4,), {}), lambda x: [np.ones(4) / 4] * x.ndim),
    "uniform_filter1d": ("uniform_filter1d", lambda x: ((5, 0), {}), lambda x: [np.ones(5) / 5]),
    "sobel": ("sobel", lambda x: ((), {}), lambda x: [np.ones(3)] + [[1, 2, 1]] * x.ndim),
    "prewitt": ("prewitt", lambda x: ((0,), {}), lambda x: [np.ones(3)] * x.ndim),
    "laplace": ("laplace", lambda x: ((), {}), lambda x: [[1, 2, 1]] * x.ndim),
    "gaussian_laplace": (
        "gaussian_laplace",
        lambda x: ((1.1,), {}),
        lambda x: [gaussian(1.1, 2), *[gaussian(1.1)] * (x.ndim - 1), np.ones(x.ndim)],
    ),
}


# With results below zero for whole numbers from zero, after a first pass of which a second one reads 2^64 less one.
SIGNED = {"sobel", "prewitt", "gaussian_filter", "gaussian_laplace"}


def assert_case(case, x, **more):
    name, call, kernels = CASES[case]
    arguments, options = call(x)
    actual, expected = both(name, x, *arguments, **options, **more)
    assert_like_peer(actual, expected, kernels(x), max(9, abs(more.get("cval", 0))))


# The face ---------------------------------------------------------------------------------------------------------


def test_the_thirteen_functions_are_there():
    assert len(ndimage.__all__) == 13
    assert fastconv.ndimage is ndimage
    assert all(hasattr(peer, name) for name in ndimage.__all__)


@pytest.mark.parametrize("name", ndimage.__all__)
def test_signatures_are_the_peers(name):
    ours = inspect.signature(getattr(ndimage, name)).parameters
    theirs = inspect.signature(getattr(peer, name)).parameters
    named = {key: value for key, value in theirs.items() if value.kind is not inspect.Parameter.VAR_KEYWORD}
    for key, value in named.items():
        assert (ours[key].kind, ours[key].default) == (value.kind, value.default), key
    assert [key for key in ours if key in named] == list(named)
    # What SciPy's gaussian_laplace hands on to gaussian_filter has names here.
    handed_on = {"truncate", "radius"} if named != dict(theirs) else set()
    assert ours.keys() - named.keys() == {"threads"} | handed_on
    assert all(ours[key].kind is inspect.Parameter.KEYWORD_ONLY for key in ours.keys() - named.keys())


# Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_values(case, dtype):
    if dtype == "uint64" and CASES[case][0] in SIGNED:
        pytest.skip("modulo 2^64, which SciPy's float64 does not hold")
    for shape, mode in itertools.product(SHAPES, MODES):
        assert_case(case, image(shape, dtype), mode=mode, cval=2)


@pytest.mark.parametrize("case", CASES)
def test_a_larger_image(case):
    for dtype in ("uint8", "int32", "float32"):
        assert_case(case, image((64, 61), dtype))


@pytest.mark.parametrize("dtype", ["int16", "int64", "float32", "float64", "complex64", "complex128"])
def test_gaussian_gradient_magnitude(dtype):
    for shape, mode in itertools.product(SHAPES, MODES):
        x = image(shape, dtype) * np.dtype(dtype).type(5)
        actual, expected = both("gaussian_gradient_magnitude", x, 1.2, mode=mode, cval=3)
        assert actual.dtype == expected.dtype
        if x.dtype.kind == "i":
            np.testing.assert_array_equal(actual, expected)
        else:
            # Of the squares, because the root of a sum that is rounded to about zero may be anything small.
            limit = bound(45, [gaussian(1.2, 1)] * (2 * x.ndim), dtype) * 45
            np.testing.assert_allclose(actual**2, expected**2, rtol=0, atol=limit)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_gradients_of_small_integers_overflow_as_the_peers(dtype):
    """Squares count modulo 2^n, and the root is taken in the dtype that NumPy takes."""
    x = np.random.default_rng(3).integers(0, 2 if dtype == "bool" else 120, (9, 8)).astype(dtype)
    assert_same(*both("gaussian_gradient_magnitude", x, 1))


def test_a_cval_is_not_cast_to_the_image():
    x = np.arange(6, dtype=np.uint8)
    for cval in (1.7, 300, 0.5, -1, 2.0):
        for weights in ([2, 1, 1], [0.5, 1, 1]):
            assert_same(*both("correlate", x, weights, mode="constant", cval=cval))
            assert_same(*both("correlate1d", x, weights, mode="constant", cval=cval))
        assert_same(*both("uniform_filter", x, 3, mode="constant", cval=cval))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_means_of_integers_are_cut_as_the_peers(dtype, seed):
    """Exact sums, divided: 9 / 3 is 3, not 9 times a third."""
    x = np.random.default_rng(seed).integers(0, 255, (23, 31)).astype(dtype)
    for size in (2, 3, 5, 7, (9, 4)):
        assert_same(*both("uniform_filter", x, size))


def test_uniform_filter_does_not_drift():
    x = np.array([1e16, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(ndimage.uniform_filter1d(x, 2)[2:], np.ones(5))


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1, 2.5, 20])
@pytest.mark.parametrize("order", range(5))
def test_gaussian_weights_are_the_peers_to_the_bit(sigma, order):
    """Or truncation of an integer image falls differently."""
    radius = int(4 * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    expected = peer.gaussian_filter1d(impulse, sigma, order=order, mode="constant")
    np.testing.assert_array_equal(gaussian(sigma, order)[::-1], expected)
    np.testing.assert_array_equal(gaussian(sigma, order), (-1) ** order * gaussian(sigma, order)[::-1])


@pytest.mark.parametrize("sigma", [0.4, 1, 3, 12.3])
def test_float32_gaussians_keep_the_brightness(sigma):
    """Weights rounded one by one have a sum that is not 1, and all pixels were off in one direction."""
    (step,) = _ndimage_passes.gaussian_passes(1, False, sigma, 0, "reflect", 0.0, 4.0, None, None).single
    assert step.weights.dtype == np.float32
    assert abs(math.fsum(map(float, step.weights)) - 1) < 1e-9
    np.testing.assert_array_equal(step.weights, step.weights[::-1])
    np.testing.assert_allclose(step.weights, gaussian(sigma), rtol=0, atol=2**-23 * gaussian(sigma).max())


# Options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["correlate", "convolve", "correlate1d", "convolve1d"])
@pytest.mark.parametrize("taps", range(1, 6))
def test_origins(name, taps):
    x, weights = image((7,), "int64"), kernel((taps,))
    for origin in range(-4, 5):
        try:
            expected = getattr(peer, name)(x, weights, origin=origin)
        except ValueError:
            with pytest.raises(ConvError, match="origin: got"):
                getattr(ndimage, name)(x, weights, origin=origin)
        else:
            assert_same(getattr(ndimage, name)(x, weights, origin=origin), expected)


def test_the_bounds_of_an_origin_are_in_the_message():
    for name, taps, bounds in (("correlate", 4, "-2 to 1"), ("convolve", 4, "-2 to 1"), ("convolve", 5, "-2 to 2")):
        low, high = map(int, bounds.split(" to "))
        function = partial(getattr(ndimage, name), np.arange(9), np.ones(taps))
        for origin in (low, high):
            function(origin=origin)
        for origin in (low - 1, high + 1):
            with pytest.raises(ConvError, match=f"origin: got {origin}, allowed for {taps} taps: {bounds}"):
                function(origin=origin)


@pytest.mark.parametrize("size", range(1, 6))
def test_uniform_origins(size):
    x = image((8,), "int64")
    for origin in range(-3, 4):
        try:
            expected = peer.uniform_filter1d(x, size, origin=origin)
        except ValueError:
            with pytest.raises(ConvError, match="origin: got"):
                ndimage.uniform_filter1d(x, size, origin=origin)
        else:
            assert_same(ndimage.uniform_filter1d(x, size, origin=origin), expected)


def test_an_origin_for_each_axis():
    x = image((6, 7), "int32")
    for origin in ((0, 1), (-1, 0), [1, -1], np.array([-1, 1])):
        assert_same(*both("correlate", x, kernel((3, 3)), origin=origin))
        assert_same(*both("convolve", x, kernel((3, 3)), origin=origin))
        assert_same(*both("uniform_filter", x, 3, origin=origin))


@pytest.mark.parametrize("name", ["correlate", "convolve"])
def test_kernels_along_some_axes(name):
    x = image((4, 5, 6), "int64")
    for axes in itertools.permutations(range(3), 2):
        assert_same(*both(name, x, kernel((2, 3)), axes=axes, origin=(0, -1)))
    for axes in itertools.permutations(range(3)):
        assert_same(*both(name, x, kernel((2, 3, 2)), axes=axes, origin=(0, 1, -1)))
    assert_same(*both(name, x, kernel((3,)), axes=1))
    assert_same(*both(name, x, kernel((3,)), axes=(-2,)))
    assert_same(*both(name, x, np.array(3), axes=()))
    # SciPy does not understand this one.
    assert_same(getattr(ndimage, name)(x, kernel((3,)), axes=-2), getattr(peer, name)(x, kernel((3,)), axes=1))


@pytest.mark.parametrize("axes", [(0,), (2, 1), (-1, 0), 1, -1, [0, 2], np.array([1, 2]), ()])
def test_filters_along_some_axes(axes):
    x = image((4, 5, 6), "int64") * 20
    along = len(np.atleast_1d(axes))
    assert_same(*both("uniform_filter", x, 3, axes=axes, mode=["wrap"] * along, origin=[1] * along))
    assert_same(*both("gaussian_filter", x, [1.5] * along, [1] * along, axes=axes, mode=["mirror"] * along))
    assert_same(*both("laplace", x, axes=axes, mode=["nearest"] * along))
    assert_same(*both("gaussian_laplace", x, 1.5, axes=axes))
    assert_same(*both("gaussian_gradient_magnitude", x, 1.5, axes=axes))
    if along == 1:
        assert_same(*both("gaussian_laplace", x, [1.5], axes=axes, radius=[2, 2, 2]))


def test_a_mode_for_each_axis():
    x = image((6, 7), "int64") * 20
    for modes in (("wrap", "mirror"), ["constant", "nearest"], np.array(["reflect", "wrap"])):
        for name, arguments in (
            ("gaussian_filter", (1,)),
            ("uniform_filter", (4,)),
            ("sobel", (0,)),
            ("prewitt", ()),
            ("laplace", ()),
            ("gaussian_laplace", (1,)),
            ("gaussian_gradient_magnitude", (1,)),
        ):
            assert_same(*both(name, x, *arguments, mode=modes, cval=3))


def test_gaussian_options():
    x = image((9, 8), "int64") * 100
    for options in (
        {"sigma": (1, 2)},
        {"sigma": np.array([0.5, 1.5])},
        {"sigma": (0, 2)},
        {"sigma": -1},
        {"sigma": math.nan},
        {"sigma": 0},
        {"sigma": 2, "order": (0, 1)},
        {"sigma": 2, "order": np.array([3, 0])},
        {"sigma": 2, "order": 0.0},
        {"sigma": 2, "truncate": 1.2},
        {"sigma": 2, "truncate": 0},
        {"sigma": 2, "radius": 1},
        {"sigma": 2, "radius": (0, np.int8(5))},
        {"sigma": (2, 1), "radius": [3, None]},
        {"sigma": np.float32(1.5)},
    ):
        assert_same(*both("gaussian_filter", x, **options))
    assert_same(*both("gaussian_filter1d", x, -1.5, radius=2))
    assert_same(*both("gaussian_laplace", x, (1, 2), truncate=2))
    assert_same(*both("gaussian_gradient_magnitude", x, (1, 2), radius=(2, 3)))


def test_high_orders_do_not_overflow():
    """Powers of the distance are floating-point numbers here; as int64 they wrap from 39 to the 12th on."""
    x = np.arange(-40.0, 41)
    values = gaussian(10, 12)
    hermite = np.polynomial.hermite_e.hermeval(x / 10, [0] * 12 + [1]) / 10**12
    expected = hermite * gaussian(10)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_sizes_of_boxes():
    x = image((6, 5), "int64")
    for size in (1, 0, -3, 2.7, (2, 1), [1, 4], np.array([3, 2]), True, np.int8(3), math.nan):
        assert_same(*both("uniform_filter", x, size))
    # An axis without a pass has no origin.
    assert_same(*both("uniform_filter", x, 1, origin=7))


def test_how_options_are_given_does_not_matter():
    """A call is remembered by its options; equal ones of other types are other calls."""
    x = image((5, 6))
    expected = ndimage.gaussian_filter(x, (1, 2), order=(0, 1), axes=(0, 1))
    for sequence in (tuple, list, np.array):
        options = {"order": sequence([0, 1]), "axes": sequence([0, 1])}
        assert_same(ndimage.gaussian_filter(x, sequence([1, 2]), **options), expected)
    assert_same(ndimage.gaussian_filter(x, (1.0, 2.0), order=(0, 1), axes=iter((0, 1))), expected)
    with pytest.raises(ConvTypeError, match="axes: got 0.0, allowed: integers"):
        ndimage.gaussian_filter(x, (1, 2), order=(0, 1), axes=(0.0, 1.0))
    with pytest.raises(ConvTypeError, match="order: got 1.0, allowed: integers"):
        ndimage.gaussian_filter(x, (1, 2), order=(0.0, 1.0), axes=(0, 1))
    assert_same(ndimage.gaussian_filter(x, (1, 2), order=(0, 1), axes=(0, 1)), expected)


@pytest.mark.parametrize("case", CASES)
def test_threads(case):
    name, call, _ = CASES[case]
    x = image((40, 300), "float32")
    arguments, options = call(x)
    function = partial(getattr(ndimage, name), x, *arguments, **options)
    assert_same(function(threads=1), function(threads=2))
    for threads in (0, 1.5, "2"):
        with pytest.raises((ConvError, ConvTypeError), match="threads: got"):
            function(threads=threads)
        with pytest.raises((ConvError, ConvTypeError), match="threads: got"):
            getattr(ndimage, name)(x[:0], *arguments, **options, threads=threads)


# Complex numbers --------------------------------------------------------------------------------------------------

CORRELATIONS = ("correlate", "convolve", "correlate1d", "convolve1d")


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("w_dtype", ["int64", "float32", "complex64", "complex128"])
def test_complex_correlations(name, x_dtype, w_dtype):
    if "complex" not in x_dtype + w_dtype:
        pytest.skip("real")
    x, weights = image((9,), x_dtype), np.array([1, 2j, 3 - 1j] if "complex" in w_dtype else [1, 2, -3], w_dtype)
    for mode in MODES:
        cval = 2 - 3j if "complex" in x_dtype else 2
        actual, expected = both(name, x, weights, mode=mode, cval=cval)
        # Whole numbers: exact.
        assert_same(actual, expected)


@pytest.mark.parametrize("case", CASES)
def test_a_complex_cval_for_a_complex_image(case):
    assert_case(case, image((5, 4), "complex128"), mode="constant", cval=3 - 2j)


def test_a_complex_cval_for_a_real_image_is_refused():
    x = np.arange(5.0)
    for mode in ("reflect", "constant"):
        for name, arguments in (
            *((name, ([1, 1],)) for name in CORRELATIONS),
            *((name, ([1, 1j],)) for name in CORRELATIONS),
            ("gaussian_filter", (1,)),
            ("uniform_filter", (3,)),
            ("sobel", ()),
        ):
            with pytest.raises(ConvTypeError, match="cval: got 1j, allowed for a real image: real numbers"):
                getattr(ndimage, name)(x, *arguments, mode=mode, cval=1j)


# Outputs ----------------------------------------------------------------------------------------------------------

OUTPUTS = ("int8", "uint16", "int64", "float32", "float64")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("x_dtype", ["uint8", "int32", "float32"])
def test_output_dtypes(case, x_dtype):
    x = image((6, 5), x_dtype)
    for dtype in OUTPUTS:
        assert_case(case, x, output=dtype)
        assert_case(case, x, output=np.dtype(dtype))
    assert_case(case, x, output=np.float64)


@pytest.mark.parametrize("case", CASES)
def test_output_types_of_python(case):
    x = image((6, 5), "float32")
    for output in (int, float):
        assert_case(case, x, output=output)
    if "order" not in case and "gaussian_laplace" not in case:
        # Whose first pass makes -1 of whole numbers, which SciPy reads as 255 in the second.
        assert_case(case, abs(x), output=bool)


def test_truth_is_counted_beyond_a_byte():
    """In SciPy 256 neighbours that are true are as many as none."""
    x = np.ones((20, 20), bool)
    assert ndimage.correlate(x, np.ones((16, 16))).all()
    assert ndimage.correlate1d(x, np.ones(256), output=bool).all()
    assert_same(*both("correlate", x, np.ones((15, 15))))


@pytest.mark.parametrize("case", CASES)
def test_output_arrays(case):
    name, call, _ = CASES[case]
    x = image((6, 5), "int32")
    arguments, options = call(x)
    function = partial(getattr(ndimage, name), x, *arguments, **options)
    expected = function()
    for output in (
        np.full((6, 5), 77, np.int32),
        np.full((5, 6), 77, np.int32).T,
        np.full((6, 10), 77, np.int32)[:, ::2],
        np.full((6, 5), 77, np.int32)[::-1, ::-1],
        np.full((6, 5), 77, ">i4"),
    ):
        dtype = output.dtype
        assert function(output=output) is output
        assert output.dtype == dtype
        np.testing.assert_array_equal(output, expected)
    wide = np.full((6, 5), np.nan)
    assert_same(function(output=wide), function(output=float))
    assert wide.dtype == float
    swapped = function(output=np.dtype(">i4"))
    assert swapped.dtype == np.dtype(">i4")
    np.testing.assert_array_equal(swapped, expected)


@pytest.mark.parametrize("case", CASES)
def test_an_output_may_overlap_the_input(case):
    name, call, _ = CASES[case]
    memory = image((8, 5), "int64")
    arguments, options = call(memory)
    for where in (slice(0, 7), slice(1, 8), slice(None, None, -1)):
        held = memory.copy()
        x = held[: 8 if where.step else 7]
        expected = getattr(ndimage, name)(x.copy(), *arguments, **options)
        output = held[where]
        assert getattr(ndimage, name)(x, *arguments, **options, output=output) is output
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("name", ["correlate", "convolve", "correlate1d", "convolve1d"])
def test_real_dtypes_for_complex_results_become_complex(name):
    for x, weights in ((np.arange(4) * 1j, [1, 2]), (np.arange(4), [1, 2j])):
        with pytest.warns(UserWarning, match="promoting specified output dtype to complex") as caught:
            result = getattr(ndimage, name)(x, weights, output=np.float32)
        assert result.dtype == np.complex64
        assert caught[0].filename == __file__
        with pytest.raises(ConvError, match="output must have complex dtype"):
            getattr(ndimage, name)(x, weights, output="float32")
        with pytest.raises(ConvError, match="output must have complex dtype"):
            getattr(ndimage, name)(x, weights, output=np.zeros(4))


def test_real_dtypes_for_complex_means_become_complex():
    x = np.arange(4) * 1j
    for function in (ndimage.uniform_filter, ndimage.uniform_filter1d, partial(ndimage.gaussian_filter1d)):
        with pytest.warns(UserWarning, match="promoting") as caught:
            assert function(x, 3, output=int).dtype == np.complex128
        assert caught[0].filename == __file__
    for name in ("gaussian_filter", "gaussian_laplace", "gaussian_gradient_magnitude"):
        with pytest.raises(ConvError, match="output must have complex dtype"):
            getattr(ndimage, name)(x, 1, output=float)
    for name in ("sobel", "prewitt", "laplace"):
        with pytest.raises(ConvError, match="output must have complex dtype"):
            getattr(ndimage, name)(x, output=float)


def test_outputs_that_are_no_plain_arrays():
    x = image((6,), "int64")
    assert_same(*both("correlate", x, [0.5, 0.25], output=[0] * 6))
    masked = np.ma.zeros(6)
    result = ndimage.correlate(x, [0.5, 0.25], output=masked)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(masked.data, peer.correlate(x, [0.5, 0.25], output=float))


def test_an_image_that_is_only_copied_is_cast_as_numpy_does():
    x = np.array([0.5, -1.5, 3])
    for output in (int, bool, np.complex64, "float32"):
        assert_same(*both("gaussian_filter", x, 0, output=output))
        assert_same(*both("uniform_filter", x, 1, output=output))
        assert_same(*both("laplace", x, output=output, axes=()))
    copy = ndimage.gaussian_filter(x, 0)
    assert not np.shares_memory(copy, x)


# NaN, small weights, other dtypes ---------------------------------------------------------------------------------


def reach(windows, nan):
    """Whether a window, of these sizes and (size // 2) samples before, holds a NaN; reflected edges repeat samples."""
    for axis, size in enumerate(windows):
        pads = [(0, 0)] * nan.ndim
        pads[axis] = (size // 2, size - 1 - size // 2)
        padded = np.pad(nan, pads, "symmetric")
        nan = np.lib.stride_tricks.sliding_window_view(padded, size, axis).any(-1)
    return nan


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(40,), (12, 30)])
def test_nan_and_inf_stay_in_their_windows(value, dtype, shape):
    x = image(shape, dtype)
    x[(-7,) * x.ndim] = value
    marked = ~np.isfinite(x)
    axes = x.ndim
    for result, windows in (
        (ndimage.uniform_filter(x, 5), (5,) * axes),
        (ndimage.uniform_filter(x, 4), (4,) * axes),
        (ndimage.gaussian_filter(x, 0.5), (5,) * axes),
        (ndimage.correlate(x, np.ones((3,) * axes)), (3,) * axes),
        (ndimage.convolve(x, np.ones((5,) * axes)), (5,) * axes),
        (ndimage.correlate1d(x, [1, 2, 1, 1], axis=0), (4,) + (1,) * (axes - 1)),
        (ndimage.uniform_filter1d(x, 7, axis=0), (7,) + (1,) * (axes - 1)),
    ):
        np.testing.assert_array_equal(~np.isfinite(result), reach(windows, marked))


def test_a_nan_counts_under_a_weight_of_zero():
    x = np.array([1.0, 2, np.nan, 4, 5, 6])
    for name in CORRELATIONS:
        result = getattr(ndimage, name)(x, [0, 1, 0])
        np.testing.assert_array_equal(np.isnan(result), [False, True, True, True, False, False])


def test_tiny_weights_count():
    """SciPy drops taps below 2.2e-16."""
    for name in CORRELATIONS:
        result = getattr(ndimage, name)(np.array([0, 1e20, 0]), [0, 1e-17, 0])
        np.testing.assert_allclose(result, [0, 1000, 0], rtol=1e-15)


def test_kernels_that_are_nearly_symmetric_are_not():
    """SciPy takes weights that differ by less than 2.2e-16 as equal."""
    result = ndimage.correlate1d(np.array([0, 0, 1e17, 0, 0]), [1e-17, 0, 3e-17])
    np.testing.assert_allclose(result, [0, 3, 0, 1, 0], rtol=1e-15)


def test_int64_is_exact():
    """SciPy computes in float64, which has 53 bits."""
    x = np.array([2**60 + 1, -(2**55) - 3, 7, 2**53 + 1])
    weights = [1, 3, -2]
    padded = [int(x[0]), *map(int, x), int(x[-1])]
    expected = [sum(map(operator.mul, padded[i : i + 3], weights)) for i in range(4)]
    for dtype in (int, float):
        assert ndimage.correlate(x, np.array(weights, dtype)).tolist() == expected
        assert ndimage.correlate1d(x, np.array(weights, dtype)).tolist() == expected
    assert ndimage.correlate(x, [1, 0], mode="constant", cval=2**62 + 1)[0] == 2**62 + 1
    assert ndimage.sobel(x.astype(np.uint64)).tolist() == [
        (b - a) % 2**64 for a, b in zip(padded[:-2], padded[2:], strict=True)
    ]


@pytest.mark.parametrize("name", ["laplace", "sobel", "prewitt", "correlate"])
def test_integers_wrap(name):
    arguments = ([[1, 5], [-3, 2]],) if name == "correlate" else ()
    x = np.random.default_rng(1).integers(-(2**31), 2**31, (6, 7)).astype(np.int32)
    exact = getattr(ndimage, name)(x.astype(np.int64), *arguments)
    assert_same(getattr(ndimage, name)(x, *arguments), exact.astype(np.int32))
    unsigned = getattr(ndimage, name)(x.astype(np.uint32), *arguments)
    assert_same(unsigned, exact.astype(np.uint32))


@pytest.mark.parametrize("case", CASES)
def test_float16_is_computed_in_float32(case):
    """SciPy refuses it."""
    name, call, _ = CASES[case]
    x = image((6, 5), "float16") / np.float16(8)
    arguments, options = call(x)
    function = getattr(ndimage, name)
    result = function(x, *arguments, **options)
    expected = function(x.astype(np.float32), *arguments, **options).astype(np.float16)
    assert_same(result, expected)
    assert function(x, *arguments, **options, output=np.float64).dtype == np.float64
    assert_same(function(x.astype(np.float32), *arguments, **options, output="float16"), expected)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant, reason="longdouble is float64 here")
@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble"])
def test_longdouble_is_computed_in_longdouble(dtype):
    """SciPy refuses it."""
    x = np.arange(6).astype(dtype) + np.finfo(np.longdouble).eps * 4
    assert_same(ndimage.correlate(x, [1, 0]), np.concatenate([x[:1], x[:-1]]))
    assert_same(ndimage.uniform_filter1d(x[:1] * 3, 3), x[:1] * 3)
    assert ndimage.gaussian_filter(x, 1).dtype == dtype
    assert ndimage.sobel(x).dtype == dtype


# Kinds of input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_any_array_is_an_image(case):
    name, call, _ = CASES[case]
    x = image((6, 5), "float64")
    arguments, options = call(x)
    function = partial(getattr(ndimage, name))
    expected = function(x, *arguments, **options)
    spread = np.zeros((12, 15))
    spread[::2, ::3] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    for variant in (
        x.tolist(),
        spread[::2, ::3],
        np.asfortranarray(x),
        x[::-1, ::-1].copy()[::-1, ::-1],
        frozen,
        unaligned,
        x.astype(">f8"),
        np.ma.array(x, mask=x > 0),
    ):
        before = np.array(variant)
        assert_same(function(variant, *arguments, **options), expected)
        np.testing.assert_array_equal(np.array(variant), before)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_image():
    x = image((3, 4))
    assert_same(ndimage.correlate(np.matrix(x), [[1, 2]]), ndimage.correlate(x, [[1, 2]]))


def test_any_numbers_are_weights():
    x = image((9,), "int64")
    expected = peer.correlate(x, [1, 2, -1])
    for weights in (
        [1, 2, -1],
        (1.0, 2, -1),
        np.array([-1, 2, 1])[::-1],
        np.array([1, 2, -1], ">i2"),
        np.array([1, 2, -1], object),
        np.array([1, 0, 2, 0, -1], "float16")[::2],
    ):
        assert_same(ndimage.correlate(x, weights), expected)
        assert_same(ndimage.correlate1d(x, weights), expected)
    assert_same(*both("convolve", x, np.array([True, False, True])))


def test_weights_are_read_anew():
    """Options are remembered, arrays are not."""
    x, weights = image((5,)), np.array([1.0, 2, 3])
    for name in CORRELATIONS:
        before = getattr(ndimage, name)(x, weights)
        weights *= 2
        assert_same(getattr(ndimage, name)(x, weights), 2 * before)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_images(case, shape):
    name, call, _ = CASES[case]
    x = np.zeros(shape, np.float32)
    arguments, options = call(x)
    assert_same(*both(name, x, *arguments, **options))
    assert_same(*both(name, x, *arguments, **options, output=int))


def test_one_sample_without_axes():
    x = np.array(-3)
    for dtype in DTYPES:
        value = abs(x).astype(dtype) if dtype == "uint64" else x.astype(dtype)
        assert_same(*both("correlate", value, np.array(2)))
        assert_same(*both("convolve", value, 2.5))
        for name, arguments in (
            ("gaussian_filter", (1,)),
            ("uniform_filter", (3,)),
            ("laplace", ()),
            ("gaussian_laplace", (1,)),
            ("gaussian_gradient_magnitude", (1,)),
        ):
            assert_same(*both(name, value, *arguments))
    output = np.array(0.0)
    assert ndimage.correlate(x, 2, output=output) is output
    assert output == -6


# Errors -----------------------------------------------------------------------------------------------------------

ROW, GRID = np.arange(6.0), np.arange(12.0).reshape(3, 4)
READ_ONLY = np.zeros(6)
READ_ONLY.flags.writeable = False

REFUSALS = [
    # function, arguments, options, a part of the message
    ("correlate", (ROW, [[1, 2]]), {}, "weights: got shape (1, 2)"),
    ("correlate", (ROW, []), {}, "weights: got shape (0,)"),
    ("correlate", (ROW, None), {}, "weights: got shape ()"),
    ("correlate", (GRID, [1, 2]), {}, "weights.ndim (1) must match len(axes) (2)"),
    ("convolve", (GRID, np.ones((3, 3, 3))), {"axes": (0, 1)}, "weights.ndim (3) must match len(axes) (2)"),
    ("correlate1d", (ROW, [[1, 2]]), {}, "no filter weights given"),
    ("correlate1d", (ROW, []), {}, "weights: got shape (0,)"),
    ("correlate1d", (ROW, 3), {}, "weights: got shape ()"),
    ("convolve1d", (ROW, 3), {}, "weights: got shape ()"),
    ("correlate", (ROW, ["a"]), {}, "weights: got dtype <U1, allowed: numbers"),
    ("correlate", (ROW.astype(object), [1]), {}, "input: got dtype object, allowed: boolean"),
    ("correlate", (ROW.astype(str), [1]), {}, "input: got dtype <U32"),
    ("correlate", (ROW.astype("m8[s]"), [1]), {}, "input: got dtype timedelta64[s]"),
    ("correlate", ([[1, 2], [3]], [1]), {}, "input: got a ragged sequence"),
    ("sobel", (np.array(1.0),), {}, "axis: got -1, allowed: axes of an array of 0"),
    ("correlate1d", (ROW, [1]), {"axis": 1}, "axis: got 1"),
    ("correlate1d", (ROW, [1]), {"axis": -2}, "axis: got -2"),
    ("correlate1d", (ROW, [1]), {"axis": 0.0}, "axis: got 0.0, allowed: integers"),
    ("gaussian_filter1d", (ROW, 1), {"axis": None}, "axis: got None"),
    ("uniform_filter1d", (ROW, 1), {"axis": 3}, "axis: got 3"),
    ("gaussian_filter", (ROW, 1), {"axes": 1}, "(specified axis: 1 is out of range)"),
    ("gaussian_filter", (GRID, 1), {"axes": (0, -2)}, "axes must be unique"),
    ("uniform_filter", (GRID, 3), {"axes": (0, 2)}, "specified axis: 2 is out of range"),
    ("uniform_filter", (GRID, 3), {"axes": (1.5,)}, "cannot be interpreted as an integer"),
    ("laplace", (GRID,), {"axes": "0"}, "axes: got '0'"),
    ("laplace", (GRID,), {"axes": object()}, "axes must be an integer, iterable of integers, or None"),
    ("laplace", (GRID,), {"axes": np.array(0)}, "axes: got array(0)"),
    ("correlate", (ROW, [1, 1]), {"origin": 1}, "origin: got 1, allowed for 2 taps: -1 to 0"),
    ("correlate", (ROW, [1, 1]), {"origin": 0.0}, "origin: got 0.0, allowed: integers"),
    ("correlate", (ROW, [1, 1]), {"origin": None}, "origin: got None"),
    ("correlate", (ROW, [1, 1]), {"origin": (0, 0)}, "sequence argument must have length equal to input rank"),
    ("correlate1d", (ROW, [1, 1]), {"origin": [0]}, "origin: got (0,)"),
    ("uniform_filter1d", (ROW, 3), {"origin": 2}, "origin: got 2, allowed for 3 taps: -1 to 1"),
    ("uniform_filter1d", (ROW, 3), {"origin": 0.5}, "origin: got 0.5"),
    ("correlate", (ROW, [1]), {"mode": "wrong"}, "boundary mode not supported"),
    ("correlate", (ROW, [1]), {"mode": None}, "mode: got None, allowed: 'reflect'"),
    ("correlate", (GRID, [[1]]), {"mode": ["wrap", "wrap"]}, "A sequence of modes is not supported"),
    ("convolve", (GRID, [[1]]), {"mode": ("wrap", "wrap")}, "A sequence of modes is not supported"),
    ("correlate1d", (ROW, [1]), {"mode": ["wrap"]}, "boundary mode not supported"),
    ("gaussian_filter", (GRID, 1), {"mode": ["wrap"]}, "mode: got 1 values, allowed: one, or one for each of 2 axes"),
    ("sobel", (GRID,), {"mode": ["wrap"] * 3}, "mode: got 3 values"),
    ("laplace", (GRID,), {"mode": ["wrap", "wrong"]}, "mode: got 'wrong'"),
    ("correlate", (ROW, [1]), {"cval": "1"}, "cval: got '1', allowed: real numbers"),
    ("correlate", (ROW, [1]), {"cval": None}, "cval: got None"),
    ("correlate", (ROW, [1]), {"cval": [1.0, 2.0]}, "cval: got"),
    ("correlate", (ROW, [1]), {"cval": 10**400}, "cval: got an integer beyond float64"),
    ("gaussian_filter", (ROW, None), {}, "sigma: got None"),
    ("gaussian_filter", (ROW, "1"), {}, "sigma: got '1', allowed: real numbers"),
    ("gaussian_filter", (ROW, (1, 1)), {}, "sigma: got 2 values"),
    ("gaussian_filter", (ROW, math.inf), {}, "sigma, truncate: got inf and 4.0"),
    ("gaussian_filter1d", (ROW, math.nan), {}, "sigma, truncate: got nan"),
    ("gaussian_filter1d", (ROW, 0), {}, "sigma: got 0"),
    ("gaussian_filter1d", (ROW, 1e-200), {}, "sigma: got 1e-200"),
    ("gaussian_filter1d", (ROW, -1), {}, "Radius must be a nonnegative integer."),
    ("gaussian_filter1d", (ROW, 1), {"radius": -1}, "radius: got -1"),
    ("gaussian_filter1d", (ROW, 1), {"radius": 1.0}, "radius: got 1.0"),
    ("gaussian_filter", (ROW, 1), {"radius": "1"}, "radius: got '1'"),
    ("gaussian_filter1d", (ROW, 1), {"truncate": "1"}, "truncate: got '1'"),
    ("gaussian_filter1d", (ROW, 1), {"order": -1}, "order must be non-negative"),
    ("gaussian_filter1d", (ROW, 1), {"order": 1.0}, "order: got 1.0"),
    ("gaussian_filter", (GRID, 1), {"order": (1, 1, 1)}, "order: got 3 values"),
    # Its weights would take hours to make.
    ("uniform_filter1d", (ROW, 0), {}, "incorrect filter size"),
    ("uniform_filter1d", (ROW, 3.0), {}, "size: got 3.0, allowed: integers"),
    ("uniform_filter", (ROW, "3"), {}, "size: got '3'"),
    ("uniform_filter", (ROW, math.inf), {}, "size: got inf, allowed: finite numbers"),
    ("uniform_filter", (GRID, (3,)), {}, "size: got 1 values"),
    ("gaussian_laplace", (ROW, (1, 2)), {}, "sigma: got 2 values"),
    ("gaussian_gradient_magnitude", (GRID, (1,)), {}, "sigma: got 1 values"),
    ("correlate", (ROW, [1]), {"output": np.zeros(5)}, "output: got shape (5,), allowed: (6,)"),
    ("gaussian_filter", (ROW, 1), {"output": [0.0]}, "output shape not correct"),
    ("uniform_filter", (ROW, 3), {"output": READ_ONLY}, "output: got a read-only array"),
    ("correlate", (ROW, [1]), {"output": object}, "output: got dtype object"),
    ("correlate", (ROW, [1]), {"output": np.zeros(6, object)}, "output: got dtype object"),
    ("correlate", (ROW, [1]), {"output": "O"}, "output must have numeric dtype"),
    ("correlate", (ROW, [1]), {"output": "bool"}, "output must have numeric dtype"),
    ("correlate", (ROW, [1]), {"output": "wrong"}, "output: got 'wrong'"),
    ("sobel", (ROW,), {"output": complex}, "output: got dtype complex128, allowed for real results: real dtypes"),
    ("correlate", (ROW, [1j]), {"output": "f4"}, "output must have complex dtype"),
]


@pytest.mark.parametrize("name, arguments, options, message", REFUSALS)
def test_refusals(name, arguments, options, message):
    """Of the type that SciPy raises, so that code which catches that still does, and before anything is written."""
    with pytest.raises(Exception) as theirs:
        getattr(peer, name)(*arguments, **options)
    output = np.full(6, 77.0) if arguments[0] is ROW else None
    with pytest.raises((ConvError, ConvTypeError)) as ours:
        getattr(ndimage, name)(*arguments, **{"output": output, **options})
    assert message in str(ours.value)
    assert isinstance(ours.value, theirs.type)
    assert output is None or (output == 77).all()


def test_refusals_that_the_peer_does_not_make():
    """Axes that do not exist, and kernels without taps, which SciPy lets pass when there are enough other ones."""
    with pytest.raises(IndexError, match="specified axis: 3 is out of range"):
        ndimage.correlate(ROW, [1, 1], axes=3)
    with pytest.raises(ConvError, match="weights: got shape"):
        ndimage.correlate(ROW, np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("name", "arguments", "options", "message"),
    [
        ("gaussian_filter1d", (ROW, 1), {"radius": 2**62}, "radius: got 4611686018427387904"),
        ("uniform_filter1d", (ROW, 2**62), {}, "size: got 4611686018427387904, allowed: integers up to 4294967296"),
        ("gaussian_filter", (GRID, 1), {"order": (0, 10**9)}, "order: got 1000000000, allowed: integers from 0"),
    ],
)
def test_what_no_memory_holds(name, arguments, options, message):
    """Of such sizes the peer makes arrays, a result after hours, or a segmentation fault."""
    with pytest.raises(ConvError, match=message):
        getattr(ndimage, name)(*arguments, **options)


def test_unknown_keywords():
    for name in ("gaussian_laplace", "gaussian_gradient_magnitude"):
        for options in ({"wrong": 1}, {"order": 1}):
            with pytest.raises(TypeError):
                getattr(ndimage, name)(ROW, 1, **options)


# Properties -------------------------------------------------------------------------------------------------------


@st.composite
def kernels_over_images(draw):
    ndim = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 6)] * ndim))
    taps = draw(st.tuples(*[st.integers(1, 8)] * ndim))
    dtype = draw(st.sampled_from(["int16", "uint16", "int64", "float64"]))
    seed = draw(st.integers(0, 1000))
    source = np.random.default_rng(seed)
    x = source.integers(0, 10, shape).astype(dtype)
    # Positive, so that the peer's sums of unsigned integers are in range; whole, so that its order does not matter.
    weights = source.integers(1, 5, taps)
    origin = tuple(draw(st.integers(-(k // 2), (k - 1) // 2)) for k in taps)
    return x, weights, origin, draw(st.sampled_from(MODES)), draw(st.integers(0, 20))


@settings(max_examples=150, deadline=None)
@given(kernels_over_images())
def test_correlations_are_the_peers(call):
    x, weights, origin, mode, cval = call
    assert_same(*both("correlate", x, weights, mode=mode, cval=cval, origin=origin))
    flipped = tuple(-o - (k % 2 == 0) for o, k in zip(origin, weights.shape, strict=True))
    result = ndimage.convolve(x, np.flip(weights), mode=mode, cval=cval, origin=flipped)
    assert_same(result, ndimage.correlate(x, weights, mode=mode, cval=cval, origin=origin))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    sigma=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    order=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    mode=st.tuples(st.sampled_from(MODES), st.sampled_from(MODES)),
    dtype=st.sampled_from(["uint8", "int32", "float32", "float64"]),
)
def test_axes_are_filtered_one_after_the_other(shape, sigma, order, mode, dtype):
    x = image(shape, dtype)
    result = x
    for axis in range(2):
        result = ndimage.gaussian_filter1d(result, sigma[axis], axis, order[axis], mode=mode[axis])
    assert_same(ndimage.gaussian_filter(x, sigma, order, mode=mode), result)
    size = tuple(int(3 * s) + 2 for s in sigma)
    result = ndimage.uniform_filter1d(x, size[0], 0, mode=mode[0])
    assert_same(ndimage.uniform_filter(x, size, mode=mode), ndimage.uniform_filter1d(result, size[1], 1, mode=mode[1]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_a_second_call_takes_the_short_lane(level, dtype):
    x, others = image((9, 14), dtype), image((9, 14), dtype, 1)
    for kind in ("float64", "float32", "int64"):
        first, second = image((2, 3), kind, 2), image((2, 3), kind, 3)
        for name in ("correlate", "convolve"):
            ours, theirs = getattr(ndimage, name), getattr(peer, name)
            lane = _ndimage_calls.lanes[name == "convolve"]
            for options in ({}, {"mode": "constant", "cval": 2.0}, {"origin": (0, -1)}, {"axes": (0, 1)}):
                ours(x, first, **options)
                for same, w in ((x, first), (others, second), (others[::-1], second[:, ::-1])):
                    np.testing.assert_array_equal(ours(same, w, **options), theirs(same, w, **options))
            known = lane.run(others, second, None, (None, "reflect", ((0.0).hex(),), 0, None), None)
            np.testing.assert_array_equal(known, theirs(others, second))
            assert lane.run(others, second, None, (None, "reflect", ((1.0).hex(),), 0, None), None) is None
            assert lane.run(others[1:], second, None, (None, "reflect", ((0.0).hex(),), 0, None), None) is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "complex128"])
def test_second_calls_of_filters_along_axes(level, dtype):
    """What is remembered serves other images of the shape and dtype, and other weights, and nothing else."""
    images = [image((9, 14), dtype, seed) for seed in range(3)]
    wide = np.complex128 if dtype == "complex128" else np.float64
    images += [images[1][::-1, ::-1], images[2][:8]]
    images += [images[0].astype(np.complex64) if dtype == "complex128" else images[0].astype(np.float32)]
    calls = [
        (name, options)
        for name, ways in {
            "gaussian_filter": ({"sigma": 1.5}, {"sigma": 1.5, "order": 1}, {"sigma": (1.0, 2.0)}),
            "gaussian_filter1d": ({"sigma": 1.5}, {"sigma": 1.5, "axis": 0}, {"sigma": 1.5, "truncate": 2.0}),
            "uniform_filter": ({"size": 3}, {"size": 2, "origin": -1}, {"size": 3, "mode": "wrap"}),
            "uniform_filter1d": ({"size": 3}, {"size": 3, "axis": 0}, {"size": 3, "mode": "constant", "cval": 2.0}),
            "sobel": ({}, {"axis": 0}, {"mode": "constant", "cval": 1.0}),
            "prewitt": ({}, {"axis": 0}, {"mode": "nearest"}),
            "laplace": ({}, {"mode": "mirror"}, {"output": wide}, {"output": np.dtype(wide).name}),
            "gaussian_laplace": ({"sigma": 1.0}, {"sigma": 1.0, "mode": "wrap"}),
            "gaussian_gradient_magnitude": ({"sigma": 1.0}, {"sigma": 2.0}),
            "correlate1d": ({"weights": [1.0, 2, 4]}, {"weights": [1.0, 2, 5]}, {"weights": [1, 2, 5]}),
            "convolve1d": ({"weights": [1.0, 2, 4]}, {"weights": [1.0, 2, 4], "axis": 0}, {"weights": [3, 2, 4]}),
        }.items()
        for options in ways
    ]
    before = {}
    for threads in (None, 1):
        for number, x in enumerate(images):
            for call, (name, options) in enumerate(calls):
                result = getattr(ndimage, name)(x, **options, threads=threads)
                assert not np.shares_memory(result, x)
                if threads is None:
                    # The first of its kind, from the long way.
                    for lane in _ndimage_calls.lanes:
                        lane.clear()
                    before[number, call] = getattr(ndimage, name)(x, **options)
                assert_same(result, before[number, call])


def test_large_weights_are_not_kept():
    _ndimage_calls.lanes[0].clear()
    _ndimage_calls.lanes[2].clear()
    x, taps = image((9, 14), "float64"), np.ones(100_001)
    for call in (lambda: ndimage.correlate1d(x, taps), lambda: ndimage.gaussian_filter1d(x, 20_000.0)):
        before = call()
        assert_same(call(), before)
    assert _ndimage_calls.lanes[0].run(x, taps, None, (None, "line", -1, "reflect", ((0.0).hex(),), 0), None) is None
    small = np.ones(3)
    ndimage.correlate1d(x, small)
    assert (
        _ndimage_calls.lanes[0].run(x, small, None, (None, "line", -1, "reflect", ((0.0).hex(),), 0), None) is not None
    )


def test_a_second_call_refuses_what_the_first_would():
    x = image((9, 14), "float64")
    for _ in range(2):
        ndimage.uniform_filter1d(x, 3)
        for wrong in ({"threads": 0}, {"threads": 1.0}, {"mode": "nowhere"}, {"axis": 2}, {"origin": 2}):
            with pytest.raises((ValueError, TypeError)):
                ndimage.uniform_filter1d(x, 3, **wrong)
        with pytest.raises((ValueError, TypeError)):
            ndimage.uniform_filter1d(x, 3.5)


def test_what_depends_on_the_weights_is_not_remembered():
    x = image((9, 14), "int16")
    for w in (np.ones((3, 3)), np.full((3, 3), 0.3), np.eye(3)):
        np.testing.assert_array_equal(ndimage.correlate(x, w), peer.correlate(x, w))
    half = image((9, 14), "float16")
    thirds = np.full((3, 3), 0.3)
    expected = ndimage.correlate(half.astype(np.float32), thirds).astype(np.float16)
    for _ in range(2):
        assert_same(ndimage.correlate(half, thirds), expected)
    complex_weights = np.ones((3, 3)) * 1j
    y = image((9, 14), "complex128")
    for w in (complex_weights, complex_weights.real + 2, complex_weights):
        np.testing.assert_array_equal(ndimage.correlate(y, w), peer.correlate(y, w))


def test_boxes_whose_memory_cannot_be_counted():
    """Bytes of a tile beyond 2^64, of a size along each axis that alone would be fine."""
    with pytest.raises(MemoryError, match="no memory for the tiles"):
        ndimage.uniform_filter(np.ones((9, 10)), 2**31)
