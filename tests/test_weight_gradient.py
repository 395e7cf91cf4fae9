"""The gradients with respect to weights and bias, against their definition tap by tap."""

import itertools
import math

import numpy as np
import pytest
from _guard import Fence
from _tools import BOUNDARIES, DTYPES, assert_same, assert_same_bits, data, prefilled

import fastconv
from fastconv import ConvError, ConvTypeError, _problem, _reference, _tunables, _weight_gradient
from fastconv._weight_gradient import bias_gradient, reads_better_swapped, weight_gradient
from fastconv.drivers import levels

LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC", "CHW", "HWCN"), 3: ("NCDHW", "NDHWC")}


def problem_of(x, shape, **options):
    """Return the problem of a layer, its weights being given by their shape alone."""
    return _problem.prepare(x, np.broadcast_to(np.zeros((), x.dtype), shape), **options)[0]


def in_order(problem, array, groups):
    """Return an array with the axes batch, groups, channels, and the spatial ones."""
    places = [axis for axis in (problem.batch_axis, problem.channel_axis) if axis >= 0] + list(problem.spatial_axes)
    missing = [i for i, axis in enumerate((problem.batch_axis, problem.channel_axis)) if axis < 0]
    array = np.expand_dims(array.transpose(places), missing)
    return array.reshape(array.shape[0], groups, array.shape[1] // groups, *array.shape[2:])


def defined(problem, x, grad):
    """Return the gradient by its definition: a padded input, and a slice of it for each tap."""
    wide = {"float16": np.dtype(np.float32), "bool": np.dtype(int)}.get(problem.dtype.name, problem.dtype)
    fill = np.frombuffer(problem.fill, problem.dtype)[0]
    padded = _reference.extend(in_order(problem, x, problem.groups), problem.axes, fill).astype(wide)
    grad = in_order(problem, grad, problem.groups).astype(wide)
    kernel = [axis.k for axis in problem.axes]
    dw = np.zeros((problem.groups, problem.channels_out, problem.channels, *kernel), wide)
    for tap in itertools.product(*map(range, kernel)):
        seen = tuple(
            slice(t * axis.dilation, t * axis.dilation + axis.out * axis.stride, axis.stride)
            for t, axis in zip(tap, problem.axes, strict=True)
        )
        samples = padded[(..., *seen)]
        flat = (array.reshape(*array.shape[:3], math.prod(array.shape[3:])) for array in (samples, grad))
        dw[(..., *tap)] = np.einsum("ngcp,ngop->goc", *flat)
    dw = dw.reshape(-1, *dw.shape[2:]).astype(problem.dtype)
    return dw if problem.channel_axis >= 0 else dw[0, 0]


def case_of(x, shape, *, seed=5, most=4, **options):
    """Return a problem, a gradient of its result, and that of its weights."""
    problem = problem_of(x, shape, **options)
    grad = data(problem.out_shape, x.dtype, seed, most)
    return problem, grad, defined(problem, x, grad)


def check(x, shape, *, threads=1, **options):
    """Compare one gradient with its definition, whole numbers to the last digit."""
    problem, grad, expected = case_of(x, shape, **options)
    out = prefilled(expected.shape, expected.dtype)
    assert weight_gradient(problem, x, grad, threads, out) is out
    assert_same(out, expected)
    assert_same(weight_gradient(problem, x, grad, threads), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    for groups in (1, 3):
        options = {"layout": "NCHW", "padding": 1, "groups": groups, "most": 2}
        check(data((2, 3, 7, 9), dtype, most=2), (12, 3 // groups, 3, 2), **options)
        for layout in ("NCHW", "NHWC"):
            pointwise = data((2, 3, 7, 9) if layout == "NCHW" else (2, 7, 9, 3), dtype, most=2)
            check(pointwise, (12, 3 // groups, 1, 1), layout=layout, groups=groups, most=2)
    check(data((6, 9), dtype, most=2), (3, 2), most=2)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_boundaries(level, boundary):
    for padding, stride, dilation, zeros in (
        (((2, 1), (0, 3)), 1, 1, 1),
        (((-1, 2), (3, -2)), 2, (1, 2), 1),
        (3, (1, 2), 2, (2, 1)),
        (((1, 0), (2, 2)), (3, 1), 1, (1, 3)),
    ):
        options = {"padding": padding, "stride": stride, "dilation": dilation, "input_dilation": zeros}
        options |= {"layout": "NCHW", "boundary": boundary, "fill_value": 3 if boundary == "constant" else 0}
        for groups, channels_out in ((1, 20), (2, 2)):
            check(data((2, 4, 8, 9)), (channels_out, 4 // groups, 3, 3), groups=groups, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_layouts_and_ranks(level, dtype):
    sizes = {"N": 2, "C": 6, "D": 5, "H": 6, "W": 11}
    for rank, layouts in LAYOUTS.items():
        kernel = (2, 3, 4)[-rank:]
        for layout in layouts:
            x = data([sizes[letter] for letter in layout], dtype, most=2)
            check(x, (24, 6, *kernel), layout=layout, padding=1, most=2)
            check(x, (6, 3, *kernel), layout=layout, groups=2, stride=2, boundary="wrap", padding=1, most=2)
            check(x, (18, 6, *(1,) * rank), layout=layout, most=2)
        check(data((5, 6, 11)[-rank:], dtype, most=2), kernel, padding="same", most=2)


def test_register_tiles(level):
    """Channels out around lanes and panels, products of channels and taps around the rows of a register tile."""
    for channels_out in (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 130):
        for channels, kernel in ((1, 1), (2, 1), (13, 1), (3, 3), (5, 2)):
            check(data((2, channels, 5, 6)), (channels_out, channels, kernel, kernel), layout="NCHW")
    for channels in (*range(1, 16), 28, 29, 57):
        check(data((1, channels, 4, 5)), (64, channels, 1, 2), layout="NCHW")
        check(data((1, channels, 4, 5)), (2, channels, 1, 2), layout="NCHW", padding=1)


def test_tiles(level):
    """Rows shorter and longer than tiles and vectors, few and many of them."""
    for width in (*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 1100):
        for height in (1, 7) if width > 40 else (1, 2, 9, 17):
            x = data((2, 3, height, width + 2))
            check(x, (20, 3, 1, 3), layout="NCHW")
            check(x, (3, 1, 1, 3), layout="NCHW", groups=3, padding=((0, 0), (0, 1)))
    check(data((1, 2, 9000)), (33, 2, 3), layout="NCW")
    check(data((1, 2, 9000)), (2, 1, 3), layout="NCW", groups=2)


@pytest.mark.parametrize("groups", [1, 4])
def test_large_kernels(level, groups):
    check(data((1, 4, 20, 21)), (32, 4 // groups, 17, 15), layout="NCHW", groups=groups, padding=7)
    check(data((1, 4, 20, 21)), (4, 4 // groups, 3, 3), layout="NCHW", groups=groups, dilation=(7, 9))
    check(data((1, 4, 20, 21)), (40, 4 // groups, 3, 3), layout="NCHW", groups=groups, stride=(4, 7), padding=2)


def test_blocks_of_the_result(level, monkeypatch):
    monkeypatch.setattr(_tunables, "GRADIENT_SUM_BYTES", 20 * 1024)
    _weight_gradient.plan_of.cache_clear()
    try:
        for channels_out in (3, 100):
            check(data((2, 37, 6, 9)), (channels_out, 37, 3, 3), layout="NCHW", padding=1)
    finally:
        _weight_gradient.plan_of.cache_clear()


@pytest.mark.parametrize(("channels_out", "groups"), [(70, 1), (24, 24), (3, 1)])
def test_threads_do_not_change_bits(level, channels_out, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 24, 48, 50), np.float32)
    problem = problem_of(x, (channels_out, 24 // groups, 3, 3), layout="NCHW", groups=groups, padding=1)
    grad = rng.standard_normal(problem.out_shape, np.float32)
    one = weight_gradient(problem, x, grad, 1)
    for threads in (2, 3, 7):
        assert_same_bits(weight_gradient(problem, x, grad, threads), one)
    exact = defined(problem._replace(dtype=np.dtype(float), fill=bytes(8)), x.astype(float), grad.astype(float))
    scale = defined(problem._replace(dtype=np.dtype(float), fill=bytes(8)), abs(x).astype(float), abs(grad))
    assert np.all(abs(one - exact) <= 200 * np.finfo(np.float32).eps * scale)


def awkward(array):
    """Yield the array with the same values in other places of memory."""
    yield np.repeat(array, 2, axis=-1)[..., ::2]
    flipped = np.ascontiguousarray(array[..., ::-1, ::-1])
    yield flipped[..., ::-1, ::-1]
    yield np.asfortranarray(array)
    shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    yield shifted
    shifted = shifted.copy()
    shifted.flags.writeable = False
    yield shifted


@pytest.mark.parametrize(("channels_out", "kernel"), [(20, 3), (2, 3), (20, 1)])
def test_arrays_that_lie_awkwardly(level, channels_out, kernel):
    x = data((2, 5, 9, 18))
    problem, grad, expected = case_of(x, (channels_out, 5, kernel, kernel), layout="NCHW", padding=kernel // 2)
    for other in awkward(x):
        assert_same(weight_gradient(problem, other, grad, 1), expected)
    for other in awkward(grad):
        assert_same(weight_gradient(problem, x, other, 1), expected)
    for other in awkward(prefilled(expected.shape, expected.dtype)):
        if other.flags.writeable:
            assert weight_gradient(problem, x, grad, 1, other) is other
            np.testing.assert_array_equal(other, expected)


def test_out_may_overlap_the_inputs():
    x = data((2, 4, 6, 6))
    problem, grad, expected = case_of(x, (4, 4, 3, 3), layout="NCHW", padding=1)
    for array in (x, grad):
        out = array.reshape(-1)[: expected.size].reshape(expected.shape)
        before = array.copy()
        assert_same(weight_gradient(problem, x, grad, 1, out), expected)
        array[...] = before


@pytest.mark.parametrize("last", [False, True])
def test_no_touch_outside(level, last):
    fences = [Fence(1 << 18) for _ in range(3)]
    layout = "NHWC" if last else "NCHW"
    widths = (*range(1, 20), 31, 33, 47, 64, 65, 130)
    for width, (channels_out, groups), kernel in itertools.product(widths, ((3, 1), (33, 1), (4, 4)), (1, 3)):
        x = data((2, 5, width, 4) if last else (2, 4, 5, width))
        shape = (channels_out, 4 // groups, kernel, kernel)
        problem, grad, expected = case_of(x, shape, layout=layout, groups=groups, padding=kernel // 2)
        for side in ("first", "last"):
            out = fences[2].array(expected.shape, expected.dtype, side)
            out[...] = np.nan
            weight_gradient(problem, fences[0].put(x, side), fences[1].put(grad, side), 1, out)
            assert np.array_equal(out, expected), (width, channels_out, kernel, side)


@pytest.mark.parametrize("channels_out", [1, 2, 40])
@pytest.mark.parametrize("width", [5, 16, 21])
def test_what_is_not_finite_reaches_its_taps_only(level, channels_out, width):
    x = data((1, 1, 6, width))
    problem, grad, expected = case_of(x, (channels_out, 1, 3, 3), layout="NCHW")
    grad[...] = 1
    for value, y, column in itertools.product((np.nan, np.inf), (0, 5), (0, 1, width - 2, width - 1)):
        spoilt = x.copy()
        spoilt[0, 0, y, column] = value
        actual = weight_gradient(problem, spoilt, grad, 1)
        expected = defined(problem, spoilt, grad)
        np.testing.assert_array_equal(actual, expected)


def test_integers_in_bands(monkeypatch):
    monkeypatch.setattr(_tunables, "GRADIENT_BAND", 20)
    for dtype in ("int8", "uint64", "bool", "longdouble"):
        check(data((3, 2, 7, 9), dtype), (3, 2, 3, 2), layout="NCHW", padding=1, stride=(2, 1))
        check(data((3, 2, 5, 2), dtype), (3, 2, 3, 2), layout="NCHW", padding=1, boundary="reflect")


@pytest.mark.parametrize("dtype", ["int64", "float64", "complex128"])
def test_it_is_the_adjoint(dtype):
    """The sum of grad * conv(x, w) is the sum of dw * w, for every w."""
    x, w = data((2, 6, 8, 9), dtype, most=3), data((4, 3, 3, 2), dtype, 1, most=3)
    options = {"layout": "NCHW", "groups": 2, "stride": (2, 1), "dilation": (1, 2), "padding": 2, "boundary": "reflect"}
    problem = problem_of(x, w.shape, **options)
    grad = data(problem.out_shape, dtype, 2, most=3)
    dw = weight_gradient(problem, x, grad, None)
    assert (dw * w).sum() == (grad * fastconv.conv(x, w, accuracy="strict", **options)).sum()


def test_limits_of_workspace_and_the_reference():
    x = data((2, 4, 6, 7))
    for options in (
        {"max_workspace": 8 * 1024},
        {"algorithm": "reference"},
        {"algorithm": "gemm"},
        {"accuracy": "strict"},
    ):
        check(x, (5, 4, 3, 3), layout="NCHW", **options)
    with pytest.raises(ConvError, match="max_workspace: got 0, allowed: at least"):
        check(x, (5, 4, 3, 3), layout="NCHW", max_workspace=0)


def test_workspace_is_small():
    """What a thread takes beyond the arrays, for layers of networks."""
    for channels, size, channels_out, kernel in (
        (64, 224, 64, 3),
        (512, 14, 2048, 1),
        (512, 28, 512, 3),
        (3, 224, 64, 7),
    ):
        x = np.broadcast_to(np.float32(0), (8, channels, size, size))
        problem = problem_of(x, (channels_out, channels, kernel, kernel), layout="NCHW", padding=kernel // 2)
        assert _weight_gradient.plan_of(problem, levels.current()).workspace_bytes < 2 << 20


def test_nothing_to_sum():
    for x, shape in (((0, 3, 5, 5), (2, 3, 3, 3)), ((2, 3, 0, 5), (2, 3, 1, 3)), ((2, 3, 5, 5), (0, 3, 3, 3))):
        check(data(x), shape, layout="NCHW")
    # Nothing but padding.
    check(data((2, 3, 0, 5)), (20, 3, 1, 3), layout="NCHW", padding=1, fill_value=2)


def test_bad_threads():
    x = data((1, 1, 4, 4))
    problem = problem_of(x, (1, 1, 3, 3), layout="NCHW")
    grad = data(problem.out_shape)
    with pytest.raises(ConvError, match="threads: got 0, allowed: integers from 1 to 4096"):
        weight_gradient(problem, x, grad, 0)
    with pytest.raises(ConvTypeError, match="threads: got 'two', allowed: integers from 1 to 4096"):
        weight_gradient(problem, x, grad, "two")


def test_bias():
    for layout, dtype in itertools.product(("NCHW", "NHWC", "CHW"), DTYPES):
        sizes = {"N": 3, "C": 2, "H": 6, "W": 7}
        x = data([sizes[letter] for letter in layout], dtype, most=1)
        problem = problem_of(x, (4, 2, 3, 3), layout=layout, padding=1)
        grad = data(problem.out_shape, dtype, 1)
        axes = tuple(i for i, letter in enumerate(layout) if letter != "C")
        total = grad.any(axis=axes) if dtype == "bool" else grad.sum(axis=axes, dtype=dtype)
        assert_same(bias_gradient(problem, grad), total)


def test_bias_errors_do_not_pile_up():
    x = np.ones((1, 300, 300, 1), np.float32)
    problem = problem_of(x, (2, 1, 1, 1), layout="NHWC")
    grad = np.full(problem.out_shape, 0.1, np.float32)
    # A chain of 90000 sums would be wrong by 4e-3.
    np.testing.assert_allclose(bias_gradient(problem, grad), np.float64(np.float32(0.1)) * 90000, rtol=5e-5)


def test_bias_without_channels():
    x = data((5, 6))
    problem = problem_of(x, (2, 3))
    assert_same(bias_gradient(problem, np.ones(problem.out_shape, np.float32)), np.array([16], np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16", "int32"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "HNCW"])
def test_pointwise_layers_that_are_transposed(level, layout, dtype, threads):
    """Of few channels out and many in, which then are in the lanes."""
    sizes = {"N": 2, "H": 6, "W": 19}
    for channels, channels_out in ((33, 1), (40, 3), (64, 7), (20, 17), (5, 3)):
        x = data([sizes.get(letter, channels) for letter in layout], dtype, most=2)
        problem = problem_of(x, (channels_out, channels, 1, 1), layout=layout)
        lanes = max(levels.describe(level)["vector_bytes"] // np.dtype(dtype).itemsize, 1)
        if dtype in ("float32", "float64") and lanes >= 8 and channels_out == 3 and channels == 40:
            assert reads_better_swapped(problem)
        for view in (x, x[::-1], np.asfortranarray(x)):
            check(view, (channels_out, channels, 1, 1), layout=layout, threads=threads, most=2)
