"""Kernels that cover their images: a batch is a matrix."""

import numpy as np
import pytest
from _tools import assert_same, data, prefilled

import fastconv
from fastconv import _problem, _reference, nn
from fastconv.drivers import levels
from fastconv.planners.gemm import plan_channels
from fastconv.planners.matrices import on_matrices

# Layout, shapes of input and weights.
CASES = {
    "NCHW, one sample": ("NCHW", (7, 33, 1, 1), (50, 33, 1, 1)),
    "NCHW": ("NCHW", (5, 6, 3, 4), (17, 6, 3, 4)),
    "NHWC": ("NHWC", (9, 3, 2, 5), (20, 5, 3, 2)),
    "HWNC": ("HWNC", (2, 2, 4, 3), (5, 3, 2, 2)),
    "NCW": ("NCW", (16, 4, 9), (33, 4, 9)),
    "CNDHW": ("CNDHW", (3, 4, 2, 2, 2), (18, 3, 2, 2, 2)),
}


def choose(x, w, **options):
    problem, operands = _problem.prepare(x, w, **options)
    return on_matrices(plan_channels, problem, levels.current()), problem, operands


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_multiplied_as_a_matrix(level, threads, case, dtype):
    layout, x_shape, w_shape = CASES[case]
    x, w, bias = data(x_shape, dtype), data(w_shape, dtype, seed=1), data(w_shape[0], dtype, seed=2)
    expected = _reference.conv(x, w, bias=bias, layout=layout)
    choice, problem, operands = choose(x, w, bias=bias, layout=layout)
    if choice.driver is None:
        assert level == "scalar" or dtype == "float16"
        pytest.skip(choice.refusal)
    lane = "float64" if dtype == "float64" else "float32"
    for out in (prefilled(problem.out_shape, dtype), prefilled((*problem.out_shape, 2), dtype)[..., 1]):
        choice.driver.run(operands.x, operands.w, operands.bias.astype(lane), out)
        np.testing.assert_array_equal(out, expected)
    turned = np.asfortranarray(x)[::-1][::-1]
    assert_same(
        fastconv.conv(turned, w[::-1], bias=bias[::-1], layout=layout, algorithm="gemm"),
        reversed_channels(expected, layout),
    )


def reversed_channels(result, layout):
    return np.ascontiguousarray(np.flip(result, layout.index("C")))


def test_the_fused_steps_of_a_matrix(level):
    x, w = data((6, 8, 2, 2)), data((20, 8, 2, 2), seed=1)
    bias, scale, residual = data(20, seed=2), data(20, seed=3), data((6, 20, 1, 1), seed=4)
    expected = np.maximum(
        _reference.conv(x, w, layout="NCHW") * scale[:, None, None] + bias[:, None, None] + residual, 0
    )
    options = {"bias": bias, "scale": scale, "activation": "relu", "layout": "NCHW", "algorithm": "gemm"}
    assert_same(fastconv.conv(x, w, residual=residual, **options), expected)
    plan = fastconv.plan(w, bias=bias, scale=scale, activation="relu", residual=True, layout="NCHW")
    for batch in (6, 1, 3):
        out = residual[:batch].copy()
        assert plan(x[:batch], out=out, residual=out) is out
        assert_same(out, expected[:batch])


def test_a_plan_takes_batches_of_any_size(level):
    w = data((40, 30, 1, 1), seed=1)
    plan = fastconv.plan(w, x_shape=(16, 30, 1, 1), layout="NCHW")
    if level != "scalar":
        assert "algorithm: gemm of a matrix" in plan.explain()
    for batch in (16, 1, 5, 16, 0, 64):
        x = data((batch, 30, 1, 1), seed=batch)
        assert_same(plan(x), _reference.conv(x, w, layout="NCHW"))


def test_images_keep_their_nan(level):
    x, w = np.ones((5, 4, 3, 3), np.float32), np.ones((8, 4, 3, 3), np.float32)
    x[2, 1, 0, 2] = np.nan
    result = nn.conv2d(x, w)
    assert np.isnan(result[2]).all()
    assert (np.delete(result, 2, 0) == 36).all()


def test_what_is_no_matrix():
    x, w = data((4, 6, 3, 3)), data((8, 6, 3, 3), seed=1)
    for changed, options in (
        ((x[:1], w), {}),
        ((x, w[:, :, :2]), {}),
        ((x, w), {"padding": 1}),
        ((x, w[:, :3]), {"groups": 2}),
        ((x, w[:, :, :2, :2]), {"dilation": 2}),
    ):
        assert choose(*changed, layout="NCHW", **options)[0].refusal.startswith("images that the kernel does not cover")
    assert "order of summation" in choose(x, w, layout="NCHW", accuracy="strict")[0].refusal
    assert "order of the samples" in choose(x, w, layout="NCHW", flip=True)[0].refusal
    assert choose(x[:, :, :1, :1], w[:, :, :1, :1], layout="NCHW", flip=True)[0].driver is not None
    assert_same(fastconv.conv(x, w, layout="NCHW", flip=True), _reference.conv(x, w, layout="NCHW", flip=True))
