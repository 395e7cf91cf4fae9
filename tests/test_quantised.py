"""Convolutions of bytes: exact sums on every level, and onnxruntime's bits when they are scaled."""

import itertools
import pickle
import sys

import numpy as np
import pytest
from _guard import Fence
from _tools import assert_same, at_level, run_python

import fastconv
from bench.onnx_model import model
from fastconv import ConvError, ConvTypeError, nn
from fastconv.drivers import levels

PAIRS = tuple(itertools.product(("uint8", "int8"), repeat=2))


@pytest.fixture(params=levels.available())
def any_level(request):
    """Run the test on every level, those too that differ in their kernels for bytes only."""
    with at_level(request.param):
        yield request.param


def bytes_of(shape, dtype, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def sums(x, w, x_zero=0, w_zero=0, *, group=1, strides=None, dilations=None, pads=None):
    """The definition, tap by tap in 64 bits, and then modulo 2^32."""
    rank = x.ndim - 2
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    x = x.astype(np.int64) - int(x_zero)
    w = w.astype(np.int64) - np.asarray(w_zero, np.int64).reshape(-1, *[1] * (rank + 1))
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    out = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], w.shape[2:], dilations, strides, strict=True)
    ]
    x = x.reshape(len(x), group, -1, *x.shape[2:])
    w = w.reshape(group, -1, *w.shape[1:])
    result = np.zeros((len(x), group, w.shape[1], *out), np.int64)
    for tap in np.ndindex(*w.shape[3:]):
        places = [
            slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilations, out, strides, strict=True)
        ]
        result += np.einsum("ngc...,goc->ngo...", x[(..., *places)], w[(..., *tap)])
    return result.reshape(len(x), -1, *out).astype(np.int32)


def scaled(total, scale, y_zero):
    """The definition of requantisation: float32 product, rounded half to even, moved, stopped at the range's ends."""
    scale = np.asarray(scale, np.float32).reshape(-1, *[1] * (total.ndim - 2))
    info = np.iinfo(y_zero.dtype)
    with np.errstate(over="ignore"):
        rounded = np.rint(total.astype(np.float32) * scale).astype(np.float64) + int(y_zero)
    return np.clip(rounded, info.min, info.max).astype(y_zero.dtype)


# By the hash of their arguments: every level asks for the same ones, and they take longer than the rest.
known_sums = {}


def both(x, w, x_zero, w_zero, **attributes):
    """Compare the sums, and the bytes made of them, with the definitions."""
    options = repr((x.dtype, x.shape, w.dtype, w.shape, np.asarray(x_zero), np.asarray(w_zero), attributes))
    key = hash((x.tobytes(), w.tobytes(), options))
    if key not in known_sums:
        known_sums[key] = sums(x, w, x_zero, w_zero, **attributes)
    expected = known_sums[key]
    out = np.full(expected.shape, 0x55555555, np.int32)
    assert nn.conv_integer(x, w, x_zero, w_zero, out=out, **attributes) is out
    assert_same(out, expected)
    scale = np.float32(40 / max(abs(expected.astype(np.int64)).max(initial=1), 1)) * np.float32(3)
    for y_zero in (np.uint8(100), np.int8(-3)):
        result = np.full(expected.shape, 0x55, y_zero.dtype)
        nn.qlinear_conv(x, scale, x_zero, w, 1, w_zero, 1, y_zero, out=result, **attributes)
        assert_same(result, scaled(expected, scale, y_zero))


@pytest.mark.parametrize(("x_dtype", "w_dtype"), PAIRS)
def test_pairs_of_dtypes(any_level, x_dtype, w_dtype):
    x, w = bytes_of((2, 7, 9, 11), x_dtype), bytes_of((5, 7, 3, 3), w_dtype, 1)
    x_info, w_info = np.iinfo(x_dtype), np.iinfo(w_dtype)
    for x_zero, w_zero in itertools.product((x_info.min, x_info.max, 3), (w_info.min, w_info.max, 0)):
        both(x, w, x_zero, w_zero, pads=[1, 2, 0, 1])
    w_zero = bytes_of(5, w_dtype, 2)
    both(x, w, x.dtype.type(7), w_zero, strides=[2, 1])


@pytest.mark.parametrize(("x_dtype", "w_dtype"), PAIRS)
def test_extremes_do_not_saturate(any_level, x_dtype, w_dtype):
    x_info, w_info = np.iinfo(x_dtype), np.iinfo(w_dtype)
    for a, b in itertools.product((x_info.min, x_info.max), (w_info.min, w_info.max)):
        x, w = np.full((1, 64, 3, 20), a, x_dtype), np.full((33, 64, 3, 3), b, w_dtype)
        for x_zero, w_zero in ((0, 0), (x_info.max, w_info.min), (x_info.min, w_info.max)):
            both(x, w, x_zero, w_zero)


def test_sums_count_modulo_2_to_the_32(any_level):
    # 262144 products of 255 * 255 are 3 * 2^32 and some.
    x, w = np.full((1, 2**18, 1), 255, np.uint8), np.full((1, 2**18, 1), 255, np.uint8)
    assert nn.conv_integer(x, w)[0, 0, 0] == np.int64(2**18 * 255 * 255).astype(np.int32)
    bias = np.array([2**31 - 1], np.int32)
    x, w = np.full((1, 1, 1), 1, np.uint8), np.full((1, 1, 1), 1, np.int8)
    wrapped = nn.qlinear_conv(x, 1, 0, w, 1, 0, 1, np.int8(0), bias)
    assert wrapped[0, 0, 0] == -128


@pytest.mark.parametrize("channels_out", [1, 3, 4, 15, 16, 17, 31, 32, 33, 64, 65])
def test_edges_of_panels(any_level, channels_out):
    for channels in (1, 2, 3, 4, 5, 16, 19):
        x, w = bytes_of((1, channels, 3, 8), "uint8"), bytes_of((channels_out, channels, 2, 3), "int8", 1)
        both(x, w, 128, 0 if channels_out % 2 else -5)


def test_edges_of_strips(any_level):
    w = bytes_of((3, 17, 1, 2), "int8", 1)
    for width in (*range(2, 36), 48, 63, 64, 65, 66):
        for height in (1, 2, 3) if width < 9 else (1, 9):
            both(bytes_of((1, 17, height, width), "int8"), w, 5, 0)


def test_edges_of_quads_and_chunks(any_level):
    for channels, taps in itertools.product((1, 3, 4, 15, 16, 17, 63, 64, 65, 130), (1, 2, 3)):
        both(bytes_of((1, channels, 9), "uint8"), bytes_of((18, channels, taps), "int8", 1), 3, 0, pads=[1, 1])


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_groups(any_level, group):
    for channels, channels_out in ((1, 1), (2, 1), (1, 2), (3, 5), (2, 17), (4, 40)):
        x, w = bytes_of((2, group * channels, 6, 7), "uint8"), bytes_of((group * channels_out, channels, 3, 3), "uint8")
        for w_zero in (128, 100):
            both(x, w, 131, w_zero, group=group, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("channels", [1, 5, 32, 33, 37, 70])
def test_depthwise(any_level, channels):
    x, w = bytes_of((1, channels, 9, 10), "int8"), bytes_of((channels, 1, 3, 3), "int8", 1)
    both(x, w, -7, 0, group=channels, pads=[1, 1, 1, 1])
    both(x, w, -7, bytes_of(channels, "int8", 2), group=channels, strides=[2, 2])
    both(x, w, -7, 0, group=channels, dilations=[2, 3], pads=[0, 3, 0, 0])


def test_strides_and_dilations(any_level):
    x, w = bytes_of((1, 3, 17, 19), "uint8"), bytes_of((4, 3, 3, 2), "int8", 1)
    for strides, dilations in itertools.product(((1, 1), (2, 3), (3, 2), (4, 4)), ((1, 1), (2, 2), (1, 3), (4, 6))):
        both(x, w, 9, 1, strides=strides, dilations=dilations, pads=[0, 1, 5, 3])
    both(x, w[:, :, :1, :1], 9, 0, strides=[3, 2], dilations=[5, 7])
    # Padding wider than the image.
    both(x[:, :, :2, :1], w, 9, 1, pads=[7, 20, 3, 0])


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(any_level, rank):
    sizes, taps = (5, 6, 23)[-rank:], (2, 3, 3)[-rank:]
    x, w = bytes_of((2, 5, *sizes), "uint8"), bytes_of((6, 5, *taps), "int8", 1)
    both(x, w, 77, 0)
    both(x, w, 77, -1, pads=[1, 0, 2, 2, 3, 0][: 2 * rank], strides=[2] * rank, dilations=[1, 2, 2][-rank:])


def test_many_tiles(any_level):
    # Rows too long for one tile, several row blocks, and more channels out than wait in the stage at once.
    both(bytes_of((1, 40, 3, 9000), "uint8"), bytes_of((3, 40, 2, 3), "int8", 1), 200, 0)
    both(bytes_of((2, 8, 40, 30), "uint8"), bytes_of((33, 8, 3, 3), "int8", 1), 200, 0, pads=[1] * 4)
    both(bytes_of((1, 4, 9, 300), "uint8"), bytes_of((300, 4, 1, 1), "int8", 1), 200, 4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_auto_pad(rank):
    for size, taps, stride, dilation in itertools.product((5, 6), (1, 2, 3, 4), (1, 2, 3), (1, 2)):
        x, w = bytes_of((1, 2, *[size] * rank), "uint8"), bytes_of((2, 2, *[taps] * rank), "int8", 1)
        options = {"strides": [stride] * rank, "dilations": [dilation] * rank}
        out = -(-size // stride)
        total = max((out - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = [total // 2] * rank, [total - total // 2] * rank
        for auto_pad, pads in (("SAME_UPPER", small + large), ("SAME_LOWER", large + small)):
            result = nn.conv_integer(x, w, 9, 1, auto_pad=auto_pad, **options)
            assert result.shape == (1, 2, *[out] * rank)
            assert_same(result, sums(x, w, 9, 1, pads=pads, **options))
        if (taps - 1) * dilation < size:
            assert_same(nn.conv_integer(x, w, 9, auto_pad="VALID", **options), sums(x, w, 9, **options))


def test_scales_of_channels_and_bias(any_level):
    x, w = bytes_of((2, 6, 8, 9), "uint8"), bytes_of((40, 6, 3, 3), "int8", 1)
    rng = np.random.default_rng(2)
    w_scale = rng.uniform(0.001, 0.02, 40).astype(np.float32)
    bias = rng.integers(-9000, 9000, 40, dtype=np.int32)
    x_scale, y_scale = np.float32(0.037), np.float32(0.71)
    for y_zero in (np.uint8(0), np.uint8(255), np.int8(-128), np.int8(127), np.int8(5)):
        expected = scaled(sums(x, w, 120) + bias[:, None, None], x_scale * w_scale / y_scale, y_zero)
        assert_same(nn.qlinear_conv(x, x_scale, 120, w, w_scale, 0, y_scale, y_zero, bias), expected)
        assert_same(nn.qlinear_conv(x, [x_scale], 120, w, w_scale, 0, [y_scale], np.array([y_zero]), bias), expected)


def test_halves_round_to_even(any_level):
    x, w = np.arange(256, dtype=np.uint8).reshape(1, 1, 256), np.ones((1, 1, 1), np.int8)
    for scale, y_zero in itertools.product((0.5, 0.25, 1.5, 2.5), (np.uint8(0), np.int8(3), np.uint8(128))):
        expected = scaled(sums(x, w, 100), scale, y_zero)
        assert_same(nn.qlinear_conv(x, scale, 100, w, 1, 0, 1, y_zero), expected)


def test_scales_far_out(any_level):
    x, w = bytes_of((1, 3, 40), "uint8"), bytes_of((2, 3, 3), "int8", 1)
    for scale in (1e-38, 1e-30, 1e-6, 1e6, 3e29, 3e38):
        expected = scaled(sums(x, w, 7), np.float32(scale), np.uint8(77))
        assert_same(nn.qlinear_conv(x, scale, 7, w, 1, 0, 1, np.uint8(77)), expected)


def test_inputs_of_any_strides(any_level):
    x, w = bytes_of((2, 20, 9, 34), "uint8"), bytes_of((18, 20, 3, 3), "int8", 1)
    big = bytes_of((4, 40, 18, 68), "uint8", 3)
    big[::2, ::-2, 1::2, ::-2] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    forms = (
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        np.asfortranarray(x),
        big[::2, ::-2, 1::2, ::-2],
        np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].reshape(x.shape),
        read_only,
    )
    turned = np.asfortranarray(w)[:, :, ::-1].copy(order="F")[:, :, ::-1]
    for form, flipped in itertools.product(forms, (0, 128)):
        x_zero, form = (7, form) if not flipped else (7 - 128, (form ^ 128).view(np.int8))
        assert_same(nn.conv_integer(form, turned, x_zero, 2, pads=[1] * 4), sums(x, w, 7, 2, pads=[1] * 4))
    one = np.broadcast_to(x[:, :1], x.shape)
    assert_same(nn.conv_integer(one, w, 7), sums(one, w, 7))


@pytest.mark.parametrize("integer", [True, False])
def test_results_of_any_strides(any_level, integer):
    x, w = bytes_of((2, 5, 9, 21), "uint8"), bytes_of((35, 5, 2, 2), "int8", 1)
    expected = sums(x, w, 9)
    if not integer:
        expected = scaled(expected, 0.01, np.int8(4))
    n, c, h, k = expected.shape
    dtype = expected.dtype
    raw = np.zeros(expected.nbytes + 1, np.uint8)
    outs = [
        np.zeros((n, h, k, c), dtype).transpose(0, 3, 1, 2),
        np.zeros((n, h, k, c + 3), dtype).transpose(0, 3, 1, 2)[:, 2:-1],
        np.zeros((n, 2 * c, 2 * h, 2 * k), dtype)[:, ::-2, ::2, ::-2],
        np.zeros((n, c, h, 2 * k), dtype)[..., k:],
        np.zeros((n, c, k, h), dtype).swapaxes(2, 3),
        raw[1:].view(dtype).reshape(expected.shape),
        np.zeros(expected.shape, dtype.newbyteorder()),
    ]
    for out in outs:
        result = (
            nn.conv_integer(x, w, 9, out=out)
            if integer
            else nn.qlinear_conv(x, 0.01, 9, w, 1, 0, 1, np.int8(4), out=out)
        )
        assert result is out
        np.testing.assert_array_equal(out, expected)


def test_nothing_beside_the_result_is_touched(any_level):
    fences = [Fence(1 << 16) for _ in range(3)]
    w_shape = (19, 5, 2, 3)
    for (height, width), side in itertools.product(((2, 3), (3, 9), (6, 18), (5, 33), (9, 40)), ("first", "last")):
        x, w = bytes_of((1, 5, height, width), "uint8"), bytes_of(w_shape, "int8", 1)
        x, w = fences[0].put(x, side), fences[1].put(w, side)
        expected = sums(x, w, 3)
        assert_same(nn.conv_integer(x, w, 3, out=fences[2].array(expected.shape, "int32", side)), expected)
        expected = scaled(expected, 0.004, np.uint8(9))
        shape = expected.shape
        assert_same(
            nn.qlinear_conv(x, 0.004, 3, w, 1, 0, 1, np.uint8(9), out=fences[2].array(shape, "u1", side)), expected
        )
        last = fences[2].array((shape[0], *shape[2:], shape[1]), "u1", side).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(nn.qlinear_conv(x, 0.004, 3, w, 1, 0, 1, np.uint8(9), out=last), expected)


def test_out_may_overlap_the_input():
    x, w = bytes_of((1, 4, 30), "uint8"), bytes_of((4, 4, 3), "int8", 1)
    expected = scaled(sums(x, w, 3, pads=[1, 1]), 0.01, np.uint8(9))
    assert nn.qlinear_conv(x, 0.01, 3, w, 1, 0, 1, np.uint8(9), pads=[1, 1], out=x) is x
    assert_same(x, expected)


def test_thread_counts_give_the_same_bits(any_level):
    x, w = bytes_of((3, 24, 60, 61), "int8"), bytes_of((48, 24, 3, 3), "uint8", 1)
    expected = nn.conv_integer(x, w, -9, 100, pads=[1] * 4, threads=1)
    for threads in (2, 5):
        assert_same(nn.conv_integer(x, w, -9, 100, pads=[1] * 4, threads=threads), expected)


def test_empty_arrays(any_level):
    w = bytes_of((3, 4, 2, 2), "int8")
    assert_same(nn.conv_integer(np.zeros((0, 4, 5, 6), "u1"), w), np.zeros((0, 3, 4, 5), "i4"))
    assert_same(nn.conv_integer(np.zeros((2, 4, 0, 6), "u1"), w[:, :, :1]), np.zeros((2, 3, 0, 5), "i4"))
    only_padding = nn.conv_integer(np.zeros((1, 4, 0, 6), "u1"), w, 9, 3, pads=[1, 0, 1, 0])
    assert_same(only_padding, np.zeros((1, 3, 1, 5), "i4"))


class TestPlans:
    ARGUMENTS = (0.02, np.uint8(130), bytes_of((20, 6, 3, 3), "int8", 1), np.linspace(0.01, 0.02, 20), np.int8(1), 0.5)

    def test_a_plan_is_the_call_for_images_of_any_size(self, any_level):
        plan = nn.plan_qlinear_conv(*self.ARGUMENTS, np.int8(-4), pads=[1] * 4)
        for shape in ((1, 6, 9, 9), (3, 6, 5, 40), (1, 6, 9, 9), (0, 6, 4, 4), (1, 6, 1, 1)):
            x = bytes_of(shape, "uint8")
            expected = nn.qlinear_conv(x, *self.ARGUMENTS, np.int8(-4), pads=[1] * 4)
            assert_same(plan(x), expected)
            out = np.full_like(expected, 99)
            assert plan(x, out) is out
            assert_same(out, expected)
            assert_same(plan(x, threads=2), expected)

    def test_a_plan_keeps_its_weights_and_its_level(self):
        w = self.ARGUMENTS[2].copy()
        x = bytes_of((1, 6, 9, 9), "uint8")
        with at_level(levels.available()[-1]):
            plan = nn.plan_qlinear_conv(*self.ARGUMENTS[:2], w, *self.ARGUMENTS[3:], np.int8(-4))
        w[...] = 0
        assert f"level: {levels.available()[-1]}" in plan.explain(x.shape)
        assert_same(plan(x), nn.qlinear_conv(x, *self.ARGUMENTS, np.int8(-4)))

    @pytest.mark.parametrize("shape", [(1, 6, 500, 500), (1, 6, 3, 10**6), (1, 6, 10**6, 3), (1, 6, 3, 3)])
    def test_workspace_does_not_grow_with_the_image(self, any_level, shape):
        plan = nn.plan_qlinear_conv(*self.ARGUMENTS, np.int8(-4))
        assert plan._prepare(shape).driver.workspace_bytes < 2**20
        wide = nn.plan_qlinear_conv(1, np.uint8(0), np.ones((2048, 512, 3, 3), np.int8), 1, 0, 1, np.int8(0))
        assert wide._prepare((1, 512, *shape[2:])).driver.workspace_bytes < 2**20

    def test_a_plan_is_pickled(self):
        plan = nn.plan_qlinear_conv(*self.ARGUMENTS, np.int8(-4), strides=[2, 1])
        x = bytes_of((1, 6, 9, 9), "uint8")
        assert_same(pickle.loads(pickle.dumps(plan))(x), plan(x))

    def test_what_a_plan_refuses(self):
        plan = nn.plan_qlinear_conv(*self.ARGUMENTS, np.int8(-4))
        x = bytes_of((1, 6, 9, 9), "uint8")
        with pytest.raises(ConvTypeError, match="^x: got dtype int8, allowed: uint8"):
            plan(x.view(np.int8))
        with pytest.raises(ConvError, match=r"^x: got 5 channels in shape \(1, 5, 9, 9\), allowed: 6 for w of shape"):
            plan(x[:, :5])
        with pytest.raises(ConvError, match="^x: got 3 axes"):
            plan(x[0])
        with pytest.raises(ConvError, match="^out: got shape"):
            plan(x, np.zeros((1, 20, 7, 8), np.int8))
        with pytest.raises(ConvTypeError, match="^out: got dtype uint8, allowed: int8"):
            plan(x, np.zeros((1, 20, 7, 7), np.uint8))
        with pytest.raises(ConvTypeError, match="^threads"):
            plan(x, threads=1.5)


X, W = bytes_of((1, 4, 6, 7), "uint8"), bytes_of((6, 4, 3, 3), "int8", 1)
REFUSED = {
    "x: got dtype float32, allowed: uint8, int8": ({"x": X.astype("f")}, ConvTypeError),
    "x: got dtype int32": ({"x": X.astype("i4")}, ConvTypeError),
    "x: got dtype bool": ({"x": X > 5}, ConvTypeError),
    "w: got dtype int16": ({"w": W.astype("i2")}, ConvTypeError),
    "x: got 3 axes of shape (4, 6, 7), allowed: 4 for w": ({"x": X[0]}, ConvError),
    "w: got 2 axes of shape (6, 4), allowed: 3 to 5": ({"w": W[..., 0, 0]}, ConvError),
    "w: got 6 axes": ({"w": W[..., None, None]}, ConvError),
    "w: got shape (6, 0, 3, 3), allowed: at least 1": ({"w": W[:, :0]}, ConvError),
    "w: got shape (6, 4, 0, 3), allowed: at least 1": ({"w": W[:, :, :0]}, ConvError),
    "group: got 1 for w of shape (0, 4, 3, 3)": ({"w": W[:0]}, ConvError),
    "x: got 4 channels in shape (1, 4, 6, 7), allowed: 3 for w of shape (6, 3, 3, 3)": ({"w": W[:, :3]}, ConvError),
    "x: got 4 channels in shape (1, 4, 6, 7), allowed: 8 for w": ({"group": 2}, ConvError),
    "group: got 4 for w of shape (6, 4, 3, 3), allowed: divisors of its 6": ({"group": 4}, ConvError),
    "group: got 0": ({"group": 0}, ConvError),
    "group: got 1.0": ({"group": 1.0}, ConvTypeError),
    "kernel_shape: got [3, 2]": ({"kernel_shape": [3, 2]}, ConvError),
    "auto_pad: got 'SAME'": ({"auto_pad": "SAME"}, ConvError),
    "pads: got [1, 1, 1, 1] with auto_pad 'VALID'": ({"auto_pad": "VALID", "pads": [1] * 4}, ConvError),
    "pads: got [1, 1], allowed: 4 integers": ({"pads": [1, 1]}, ConvError),
    "pads: got 1, allowed: 4 integers": ({"pads": 1}, ConvError),
    "pads: got -1": ({"pads": [0, 0, -1, 0]}, ConvError),
    "strides: got 0": ({"strides": [1, 0]}, ConvError),
    "strides: got [1, 1, 1]": ({"strides": [1, 1, 1]}, ConvError),
    "dilations: got -2": ({"dilations": [-2, 1]}, ConvError),
    "w: got a window of 7 samples along spatial axis 0": ({"dilations": [3, 1]}, ConvError),
    "pads: got Axis": ({"pads": [2**48] * 4}, ConvError),
    "x_zero_point: got 256, allowed: 0 to 255, the range of uint8": ({"x_zero_point": 256}, ConvError),
    "x_zero_point: got -1": ({"x_zero_point": -1}, ConvError),
    "x_zero_point: got dtype int8, allowed: uint8": ({"x_zero_point": np.int8(3)}, ConvTypeError),
    "x_zero_point: got dtype float64": ({"x_zero_point": 3.0}, ConvTypeError),
    "x_zero_point: got dtype bool": ({"x_zero_point": True}, ConvTypeError),
    "x_zero_point: got shape (4,), allowed: one number": ({"x_zero_point": X[0, :, 0, 0]}, ConvError),
    "w_zero_point: got 128, allowed: -128 to 127": ({"w_zero_point": 128}, ConvError),
    "w_zero_point: got dtype uint8, allowed: int8": ({"w_zero_point": np.uint8(3)}, ConvTypeError),
    "w_zero_point: got shape (5,)": ({"w_zero_point": W[:5, 0, 0, 0]}, ConvError),
    "w_zero_point: got shape (1, 6)": ({"w_zero_point": W[None, :, 0, 0, 0]}, ConvError),
    "out: got shape": ({"out": np.zeros((1, 6, 4, 4), "i4")}, ConvError),
    "out: got dtype float32": ({"out": np.zeros((1, 6, 4, 5), "f4")}, ConvTypeError),
    "out: got list": ({"out": []}, ConvTypeError),
    "threads: got 0": ({"threads": 0}, ConvError),
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("integer", [True, False])
def test_refusals(message, integer):
    changed, error = REFUSED[message]
    good = {"x": X, "w": W, "x_zero_point": 3, "w_zero_point": 0}
    scaling = {} if integer else {"x_scale": 1, "w_scale": 1, "y_scale": 1, "y_zero_point": np.int8(0)}
    with pytest.raises(error) as caught:
        (nn.conv_integer if integer else nn.qlinear_conv)(**(good | scaling | changed))
    assert str(caught.value).startswith(message)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("message", "changed", "error"),
    [
        *[
            (f"{name}: got {value!r}, allowed: finite float32 numbers > 0", {name: value}, ConvError)
            for name in ("x_scale", "w_scale", "y_scale")
            for value in (0, -1.0, np.inf, np.nan, 1e39, 1e-50)
        ],
        ("x_scale: got shape (2,)", {"x_scale": [1, 2]}, ConvError),
        ("x_scale: got dtype bool", {"x_scale": True}, ConvTypeError),
        ("x_scale: got dtype complex128", {"x_scale": 1j}, ConvTypeError),
        ("w_scale: got shape (5,), allowed: one number, or shape (6,)", {"w_scale": [1] * 5}, ConvError),
        ("y_scale: got 1e-30, allowed: x_scale * w_scale", {"y_scale": 1e-30, "x_scale": 1e30}, ConvError),
        ("y_zero_point: got 3, allowed", {"y_zero_point": 3}, ConvTypeError),
        ("y_zero_point: got dtype int32", {"y_zero_point": np.int32(3)}, ConvTypeError),
        ("y_zero_point: got shape (2,)", {"y_zero_point": np.zeros(2, "i1")}, ConvError),
        ("x_zero_point: got dtype object", {"x_zero_point": None}, ConvTypeError),
        ("B: got dtype int64, allowed: int32", {"B": np.zeros(6, "i8")}, ConvTypeError),
        ("B: got shape (5,), allowed: (6,)", {"B": np.zeros(5, "i4")}, ConvError),
    ],
)
def test_refusals_of_scaling(message, changed, error):
    good = {"x": X, "w": W, "x_zero_point": 3, "w_zero_point": 0, "x_scale": 1, "w_scale": 1, "y_scale": 1}
    with pytest.raises(error) as caught:
        nn.qlinear_conv(**(good | {"y_zero_point": np.int8(0)} | changed))
    assert str(caught.value).startswith(message)


def test_nothing_is_written_by_a_refused_call():
    out = np.full((1, 6, 4, 5), 77, np.int32)
    with pytest.raises(ConvError):
        nn.conv_integer(X, W, 300, out=out)
    assert (out == 77).all()


def test_several_python_threads_share_a_plan():
    done = run_python("""
import threading, numpy as np
from fastconv import nn
rng = np.random.default_rng(0)
w = rng.integers(-128, 128, (64, 32, 3, 3)).astype(np.int8)
plan = nn.plan_qlinear_conv(0.02, np.uint8(130), w, 0.01, 0, 0.5, np.uint8(9), pads=[1] * 4)
images = [rng.integers(0, 256, (2, 32, n, n)).astype(np.uint8) for n in (20, 31, 14, 33)]
expected = [plan(x, threads=1) for x in images]
wrong = []
def work(x, y):
    for _ in range(30):
        if not np.array_equal(plan(x, threads=2), y):
            wrong.append(x.shape)
threads = [threading.Thread(target=work, args=pair) for pair in zip(images, expected)]
for t in threads: t.start()
for t in threads: t.join()
print(wrong)
""")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="AMX needs Linux's permission")
def test_a_level_with_tiles_survives_signals_and_forks():
    if "x86_v4_amx" not in levels.available():
        pytest.skip("no AMX here")
    done = run_python("""
import os, signal, numpy as np
from fastconv import nn
x, w = np.full((4, 64, 60, 60), 3, np.uint8), np.full((64, 64, 3, 3), 2, np.int8)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
good = all((nn.conv_integer(x, w) == 3 * 2 * 64 * 9).all() for _ in range(20))
child = os.fork()
if child == 0:
    os._exit(0 if (nn.conv_integer(x, w) == 3 * 2 * 64 * 9).all() else 1)
print(good, os.waitpid(child, 0)[1])
""")
    assert done.stdout.split() == ["True", "0"], done.stderr


class TestOnnxruntime:
    """Compared where its own kernels are exact: those of this CPU if it has VNNI, else none without this care."""

    @staticmethod
    def run(operator, x, constants, attributes, dtype):
        onnxruntime = pytest.importorskip("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        inputs = {"x": (x.shape, x.dtype)} | {name: np.asarray(value) for name, value in constants.items()}
        if operator == "QLinearConv":
            order = ("x", "x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point", "B")
        else:
            order = ("x", "w", "x_zero_point", "w_zero_point")
        inputs = {name: inputs[name] for name in order if name in inputs}
        serialised = model(operator, inputs, attributes, np.dtype(dtype))
        session = onnxruntime.InferenceSession(serialised, options, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    @pytest.mark.parametrize(("x_dtype", "w_dtype"), [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
    def test_qlinear_conv(self, x_dtype, w_dtype):
        # Without VNNI it adds two products in 16 bits, which saturate: then weights of 7 bits.
        most = 1 if "x86_v4_vnni" in levels.available() else 2
        rng = np.random.default_rng(5)
        for shape, taps, attributes in (
            ((2, 16, 14, 15), (3, 3), {"pads": [1, 1, 1, 1]}),
            ((1, 3, 20, 21), (5, 4), {"strides": [2, 2], "pads": [2, 1, 0, 2]}),
            ((1, 8, 30), (3,), {"dilations": [2]}),
            ((1, 6, 5, 6, 7), (2, 2, 3), {"auto_pad": "SAME_LOWER"}),
            ((1, 12, 9, 9), (3, 3), {"group": 3, "auto_pad": "SAME_UPPER"}),
            ((1, 24, 9, 9), (3, 3), {"group": 24, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ):
            group = attributes.get("group", 1)
            x = bytes_of(shape, x_dtype)
            w = bytes_of((48, shape[1] // group, *taps), w_dtype, 1) // most
            constants = {
                "x_scale": np.float32(rng.uniform(0.01, 0.1)),
                "x_zero_point": x.dtype.type(rng.integers(100, 127) if x_dtype == "uint8" else rng.integers(-9, 9)),
                "w": w,
                "w_scale": rng.uniform(0.001, 0.01, 48).astype(np.float32),
                "w_zero_point": np.zeros(48, w_dtype) if w_dtype == "int8" else w.dtype.type(128 // most),
                "y_scale": np.float32(rng.uniform(0.05, 0.3)),
                "y_zero_point": x.dtype.type(rng.integers(0, 100)),
                "B": rng.integers(-20000, 20000, 48, dtype=np.int32),
            }
            theirs = self.run("QLinearConv", x, constants, attributes, x_dtype)
            assert_same(nn.qlinear_conv(x, **constants, **attributes), theirs)
            assert len(np.unique(theirs)) > 20

    @pytest.mark.parametrize("w_dtype", ["uint8", "int8"])
    def test_conv_integer(self, w_dtype):
        x, w = bytes_of((2, 6, 14, 15), "uint8"), bytes_of((8, 3, 3, 3), w_dtype, 1)
        constants = {"w": w, "x_zero_point": np.uint8(77), "w_zero_point": w.dtype.type(11)}
        attributes = {"group": 2, "pads": [1, 0, 1, 2], "strides": [1, 2], "dilations": [2, 1]}
        theirs = self.run("ConvInteger", x, constants, attributes, "int32")
        assert_same(nn.conv_integer(x, **constants, **attributes), theirs)


def test_levels_with_other_kernels_for_bytes_are_listed(capsys):
    fastconv.show_config()
    shown = capsys.readouterr().out
    assert all(name in shown for name in levels.available())
