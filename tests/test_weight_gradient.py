"""The gradients with respect to weights and bias, against their definition tap by tap."""

import itertools

import numpy as np
import pytest
from _tools import BOUNDARIES, DTYPES, assert_same, data, prefilled

from fastconv import _problem, _reference
from fastconv._weight_gradient import bias_gradient, weight_gradient

LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC", "CHW", "HWCN"), 3: ("NCDHW", "NDHWC")}


def problem_of(x, shape, **options):
    """Return the problem of a layer, its weights being given by their shape alone."""
    return _problem.prepare(x, np.broadcast_to(np.zeros((), x.dtype), shape), **options)[0]


def defined(problem, x, grad):
    """Return the gradient by its definition: a padded input, and a slice of it for each tap."""
    rank = len(problem.axes)
    places = [axis for axis in (problem.batch_axis, problem.channel_axis) if axis >= 0] + list(problem.spatial_axes)
    missing = [i for i, axis in enumerate((problem.batch_axis, problem.channel_axis)) if axis < 0]
    x, grad = (np.expand_dims(a.transpose(places), missing) for a in (x, grad))
    wide = {"float16": np.float32}.get(problem.dtype.name, problem.dtype)
    fill = np.frombuffer(problem.fill, problem.dtype)[0]
    x = x.reshape(problem.batch, problem.groups, problem.channels, *x.shape[2:])
    padded = _reference._extend(x, problem.axes, fill).astype(wide)
    grad = grad.reshape(problem.batch, problem.groups, problem.channels_out, *grad.shape[2:]).astype(wide)
    kernel = [axis.k for axis in problem.axes]
    dw = np.zeros((problem.groups, problem.channels_out, problem.channels, *kernel), wide)
    every = tuple(range(3, 3 + rank))
    for g, o, c in itertools.product(range(problem.groups), range(problem.channels_out), range(problem.channels)):
        for tap in itertools.product(*map(range, kernel)):
            seen = tuple(
                slice(t * a.dilation, t * a.dilation + a.out * a.stride, a.stride)
                for t, a in zip(tap, problem.axes, strict=True)
            )
            products = padded[(slice(None), g, c, *seen)] * grad[:, g, o]
            total = products.any() if problem.dtype.kind == "b" else products.sum(dtype=wide)
            dw[(g, o, c, *tap)] = total
    assert len(every) == rank
    dw = dw.reshape(-1, *dw.shape[2:]).astype(problem.dtype)
    return dw if problem.channel_axis >= 0 else dw[0, 0]


def check(x, shape, *, threads=1, seed=5, **options):
    """Compare one gradient with its definition, whole numbers to the last digit."""
    problem = problem_of(x, shape, **options)
    grad = data(problem.out_shape, x.dtype, seed)
    expected = defined(problem, x, grad)
    out = prefilled(expected.shape, expected.dtype)
    assert weight_gradient(problem, x, grad, threads, out) is out
    assert_same(out, expected)
    assert_same(weight_gradient(problem, x, grad, threads), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    check(data((2, 3, 7, 9), dtype, most=2), (4, 3, 3, 2), layout="NCHW", padding=1)
    check(data((6, 9), dtype, most=2), (3, 2))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_boundaries(level, boundary):
    for padding, stride, dilation, zeros in (
        (((2, 1), (0, 3)), 1, 1, 1),
        (((-1, 2), (3, -2)), 2, (1, 2), 1),
        (3, (1, 2), 2, (2, 1)),
        (((1, 0), (2, 2)), (3, 1), 1, (1, 3)),
    ):
        options = {"padding": padding, "stride": stride, "dilation": dilation, "input_dilation": zeros}
        for groups in (1, 2):
            check(data((2, 4, 8, 9)), (6, 4 // groups, 3, 3), layout="NCHW", groups=groups, boundary=boundary,
                  fill_value=3 if boundary == "constant" else 0, **options)  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layouts_and_ranks(level, rank):
    for layout in LAYOUTS[rank]:
        sizes = {"N": 2, "C": 6, "D": 5, "H": 6, "W": 11}
        x = data([sizes[letter] for letter in layout])
        check(x, (4, 6, *(2, 3, 4)[-rank:]), layout=layout, padding=1)
        check(x, (6, 3, *(2, 3, 4)[-rank:]), layout=layout, groups=2, stride=2, boundary="wrap", padding=1)
    check(data((5, 6, 11)[-rank:]), (2, 3, 4)[-rank:], padding="same")


def test_nothing_to_sum():
    for x, shape in (((0, 3, 5, 5), (2, 3, 3, 3)), ((2, 3, 0, 5), (2, 3, 1, 3)), ((2, 3, 5, 5), (0, 3, 3, 3))):
        check(data(x), shape, layout="NCHW")


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
    np.testing.assert_allclose(bias_gradient(problem, grad), np.float64(np.float32(0.1)) * 90000, rtol=2e-5)


def test_bias_without_channels():
    x = data((5, 6))
    problem = problem_of(x, (2, 3))
    assert_same(bias_gradient(problem, np.ones(problem.out_shape, np.float32)), np.array([16], np.float32))
