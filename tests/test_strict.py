"""accuracy="strict": every result is one sum: the bias, then channel after channel, the taps of each in natural order.

The order is compared with a loop of multiply-adds, each rounded once, and the algorithms with each other: what an
order of their own would show is their last bits.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from _tools import assert_same_bits, at_level, fused_levels

import fastconv
from fastconv import ConvError, _plan
from fastconv.drivers import levels

FUSED = fused_levels()


def noise(shape, dtype, seed=0):
    """Return numbers whose sums are rounded."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


# Spatial sizes, kernel, and options: every rank, strides with a residue of their own for some taps, dilations that are
# and are not a multiple of the stride, one row of more columns than a group of the line kernel has.
PROBLEMS = [
    ((11, 37), (3, 3), {"padding": 1}),
    ((23, 40), (3, 3), {"stride": 2, "padding": 1}),
    ((23, 40), (5, 4), {"stride": (3, 2), "dilation": (1, 2)}),
    ((23, 40), (4, 5), {"stride": 2, "dilation": 3, "padding": 4}),
    ((23, 40), (3, 3), {"dilation": (2, 20), "padding": (0, 20)}),
    ((9, 12), (3, 2), {"input_dilation": 2, "padding": 1}),
    ((9, 20), (1, 1), {}),
    ((300,), (9,), {"padding": 4}),
    ((300,), (100,), {"padding": 50}),
    ((300,), (70,), {"stride": 3}),
    ((6, 9, 21), (3, 2, 3), {"padding": 1, "stride": (1, 2, 2)}),
    ((4, 3, 7, 17), (2, 2, 3, 3), {"stride": (1, 1, 2, 1)}),
]


def layout_of(rank):
    return "NC" + "TDHW"[4 - rank :]


def operands(spatial, kernel, channels, groups, channels_out, dtype, batch=2):
    x = noise((batch, channels * groups, *spatial), dtype)
    w = noise((groups * channels_out, channels, *kernel), dtype, 1)
    return x, w, noise(groups * channels_out, dtype, 2)


@pytest.mark.parametrize("level", levels.available())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("spatial", "kernel", "options"), PROBLEMS)
def test_direct_and_gemm_add_in_one_order(spatial, kernel, options, dtype, level):
    with at_level(level):
        for channels, groups, channels_out in [(1, 1, 3), (5, 1, 9), (1, 6, 1), (3, 2, 2)]:
            x, w, bias = operands(spatial, kernel, channels, groups, channels_out, dtype)
            options = {**options, "bias": bias, "layout": layout_of(len(spatial)), "groups": groups}
            results = [
                fastconv.conv(x, w, algorithm=name, accuracy="strict", **options) for name in ("direct", "gemm", "auto")
            ]
            for result in results[1:]:
                assert_same_bits(result, results[0])


@pytest.mark.skipif(len(FUSED) < 2, reason="fewer than two levels with a fused multiply-add")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("spatial", "kernel", "options"), PROBLEMS)
def test_levels_with_multiply_adds_agree(spatial, kernel, options, dtype):
    for channels, groups, channels_out in [(1, 1, 1), (4, 1, 20), (1, 5, 2)]:
        x, w, bias = operands(spatial, kernel, channels, groups, channels_out, dtype)
        options = {**options, "bias": bias, "layout": layout_of(len(spatial)), "groups": groups}
        results = []
        for level in FUSED:
            with at_level(level):
                results.append(fastconv.conv(x, w, accuracy="strict", **options))
        for result in results[1:]:
            assert_same_bits(result, results[0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(("spatial", "kernel", "options"), PROBLEMS)
def test_batch_layout_and_channels_out_do_not_show(spatial, kernel, options, dtype):
    rank = len(spatial)
    for channels, groups, channels_out in [(1, 1, 40), (20, 1, 33), (1, 16, 1), (1, 3, 2)]:
        x, w, bias = operands(spatial, kernel, channels, groups, channels_out, dtype, batch=3)
        options = {**options, "accuracy": "strict", "groups": groups}
        whole = fastconv.conv(x, w, bias=bias, layout=layout_of(rank), **options)
        one = fastconv.conv(x[1:2], w, bias=bias, layout=layout_of(rank), **options)
        assert_same_bits(one, whole[1:2])
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        result = fastconv.conv(last, w, bias=bias, layout=layout_of(rank).replace("C", "") + "C", **options)
        assert_same_bits(np.ascontiguousarray(np.moveaxis(result, -1, 1)), whole)
        if groups == 1:
            few = fastconv.conv(x, w[:2], bias=bias[:2], layout=layout_of(rank), **options)
            assert_same_bits(few, np.ascontiguousarray(whole[:, :2]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 90), (5, 1), (1, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_part_of_an_image_has_the_bits_of_the_whole(kernel, stride, dtype):
    x, w, _ = operands((40, 150), kernel, 3, 1, 4, dtype, batch=1)
    for channels in (1, 3):
        x, w = x[:, :channels], w[:, :channels]
        options = {"layout": "NCHW", "accuracy": "strict", "stride": stride}
        whole = fastconv.conv(x, w, **options)
        for y, x0, rows, columns in [(0, 0, 1, 1), (4, 2, 3, 1), (6, 10, 9, 7), (2, 20, 2, 25)]:
            part = x[
                :,
                :,
                y : y + (rows - 1) * stride + kernel[0],
                x0 : x0 + (columns - 1) * stride + kernel[1],
            ]
            first, left = y // stride, x0 // stride
            expected = whole[:, :, first : first + rows, left : left + columns]
            for array in (part, np.ascontiguousarray(part)):
                assert_same_bits(fastconv.conv(array, w, **options), np.ascontiguousarray(expected))


def fused(total, a, b):
    """Return total + a * b in float64, rounded once."""
    return float(Fraction(total) + Fraction(a) * Fraction(b))


@pytest.mark.skipif(not FUSED, reason="no level with a fused multiply-add")
@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [((3, 4), 1, 1), ((3, 3), 2, 1), ((4, 3), (3, 2), (2, 1)), ((1, 40), 1, 1)]
)
def test_the_order_is_that_of_a_plain_loop(kernel, stride, dilation, algorithm):
    for channels in (1, 2):
        x, w, bias = operands((12, 60), kernel, channels, 1, 2, "float64", batch=1)
        with at_level(FUSED[0]):
            options = {"layout": "NCHW", "stride": stride, "dilation": dilation, "algorithm": algorithm}
            result = fastconv.conv(x, w, bias=bias, accuracy="strict", **options)
        steps, gaps = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
        for o, y, column in [(0, 0, 0), (1, 1, 3), (0, result.shape[2] - 1, result.shape[3] - 1)]:
            total = float(bias[o])
            for c, i, j in itertools.product(range(channels), *map(range, kernel)):
                at = y * steps[0] + i * gaps[0], column * steps[1] + j * gaps[1]
                total = fused(total, float(x[0, c, *at]), float(w[o, c, i, j]))
            assert result[0, o, y, column] == total


def test_nothing_that_transforms_is_taken():
    w = noise((32, 32, 3, 3), "float32")
    plan = fastconv.plan(w, (1, 32, 56, 56), layout="NCHW", accuracy="strict")
    assert plan.algorithm in ("direct", "gemm")
    for name in ("winograd", "fft"):
        with pytest.raises(ConvError, match="strict"):
            fastconv.plan(w, (1, 32, 56, 56), layout="NCHW", accuracy="strict", algorithm=name)
    assert set(_plan.PLANNERS) >= {"winograd", "fft", "direct", "gemm"}
