"""The short lane: calls that were made before, with results that the caller wants in an array of its own."""

from functools import partial

import numpy as np
import pytest
from _tools import assert_same, data, prefilled

import fastconv
from fastconv import ConvError, ConvTypeError, _reference, _transposed, core, nn, signal


def calls_with_out():
    """Functions that take `out`, and operands for them."""
    x, w, bias = data((2, 3, 9, 8)), data((4, 3, 3, 2), seed=1), data(4, seed=2)
    yield "conv", partial(fastconv.conv, layout="NCHW"), (x, w)
    yield "conv without channels", fastconv.conv, (x[0, 0], w[0, 0])
    yield "conv_transpose", partial(fastconv.conv_transpose, layout="NCHW"), (x, data((3, 4, 3, 2), seed=1))
    yield "conv1d", nn.conv1d, (x[:, :, 0], w[:, :, 0], bias)
    yield "conv2d", nn.conv2d, (x, w, bias)
    yield "conv_transpose2d", nn.conv_transpose2d, (x, data((3, 4, 3, 2), seed=1), bias)
    yield "convolve2d", signal.convolve2d, (x[0, 0], w[0, 0])
    yield "convolve2d, int64 with float64", signal.convolve2d, (np.arange(30).reshape(5, 6), np.ones((2, 2)))
    yield "correlate, conjugated", signal.correlate, (data((3, 4), "complex64"), data((9, 8), "complex64"), "valid")
    yield "convolve, in views", signal.convolve, (x[0], w[0])
    yield "convolve, long double", signal.convolve, (data(20, "longdouble"), data(3, "longdouble"))


@pytest.mark.parametrize(("call", "arguments"), [pytest.param(f, a, id=name) for name, f, a in calls_with_out()])
def test_out_of_calls_that_are_remembered(call, arguments):
    expected = call(*arguments)
    shape, dtype = expected.shape, expected.dtype
    large = prefilled((*shape[:-1], 2 * shape[-1]), dtype)
    outs = [prefilled(shape, dtype), large[..., ::-2], prefilled(shape, dtype.newbyteorder())]
    outs.append(np.frombuffer(bytearray(expected.nbytes + 1), np.uint8)[1:].view(dtype).reshape(shape))
    for out in outs:
        for _ in range(2):
            out[...] = 77
            assert call(*arguments, out=out) is out
            assert_same(np.asarray(out, dtype), expected)
    frozen, other = prefilled(shape, dtype), prefilled(shape, "float16")
    frozen.flags.writeable = False
    for out in (frozen, other, prefilled((*shape, 1), dtype), expected.tolist()):
        with pytest.raises((ConvError, ConvTypeError), match="^out: got "):
            call(*arguments, out=out)


def test_out_that_overlaps_an_operand_of_a_remembered_call():
    x, w, bias = data((1, 4, 6, 6)), data((4, 4, 3, 3), seed=1), data(4, seed=2)
    expected = nn.conv2d(x, w, bias, padding=1)
    for which in range(3):
        operands = [x.copy(), w.copy(), bias.copy()]
        memory = np.zeros(400, x.dtype)
        memory[: operands[which].size] = operands[which].reshape(-1)
        operands[which] = memory[: operands[which].size].reshape(operands[which].shape)
        out = memory[2 : 2 + expected.size].reshape(expected.shape)
        assert_same(nn.conv2d(*operands, padding=1, out=out), expected)


OPTIONS = (
    {},
    {"padding": "same", "flip": True},
    {"padding": ((1, 0), (0, 2)), "fill_value": 3, "stride": (2, 1)},
    {"padding": 1, "boundary": "wrap", "dilation": 2},
    {"bias": True, "groups": 3, "fill_value": 1.0, "padding": 1},
    {"accuracy": "strict", "algorithm": "direct", "max_workspace": 1 << 24, "dtype": "float64"},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_second_convolution_takes_the_short_lane(options, monkeypatch):
    channels = 3 // options.get("groups", 1)
    x, w, others = data((2, 3, 9, 8)), data((6, channels, 3, 2), seed=1), data((2, 3, 9, 8), seed=3)
    options = {"layout": "NCHW"} | options | ({"bias": data(6, seed=2)} if "bias" in options else {})
    plain = {name: value for name, value in options.items() if name not in ("accuracy", "algorithm", "max_workspace")}
    core._lane.clear()
    for array in (x, others, x[:, :, ::-1], x.astype(">f4"), x.astype("f8"), x[:1]):
        for _ in range(2):
            assert_same(fastconv.conv(array, w, **options), _reference.conv(array, w, **plain))
    monkeypatch.setattr(core, "prepare", None)
    if "dtype" not in options:  # what is converted goes the long way
        assert_same(fastconv.conv(others[:1], w, **options), _reference.conv(others[:1], w, **plain))


def test_options_that_are_equal_are_not_the_same():
    x, w = data((6, 7)), data((3, 3), seed=1)
    for _ in range(2):
        assert_same(fastconv.conv(x, w, flip=True), fastconv.conv(x, w[::-1, ::-1]))
        assert_same(fastconv.conv(x, w, flip=False), _reference.conv(x, w))
        for wrong in (2, "True", ("True",), 1.0):
            with pytest.raises(ConvTypeError, match="^flip: got "):
                fastconv.conv(x, w, flip=wrong)
        with pytest.raises(ConvTypeError, match="^stride: got 1.0"):
            fastconv.conv(x, w, stride=1.0)
    signs = [np.signbit(fastconv.conv(-x, w * 0 - 0.0, padding=9, fill_value=fill)[0, 0]) for fill in (0.0, -0.0, 0.0)]
    assert signs[0] == signs[2]


def test_a_second_transposed_convolution_takes_the_short_lane():
    x, w = data((2, 3, 5, 4)), data((3, 4, 3, 2), seed=1)
    _transposed._lane.clear()
    for options in ({}, {"stride": 2, "output_padding": 1}, {"padding": 1, "flip": True}, {"bias": data(4, seed=2)}):
        first, again = (fastconv.conv_transpose(x, w, layout="NCHW", **options) for _ in range(2))
        assert_same(again, first)
        other = x[::-1]
        assert_same(fastconv.conv_transpose(other, w, layout="NCHW", **options), first[::-1].copy())
