"""The short lane: calls that were made before, with results that the caller wants in an array of its own."""

import numpy as np
import pytest
from _tools import assert_same, data, prefilled

from fastconv import ConvError, ConvTypeError, nn, signal


def calls_with_out():
    """Functions that take `out`, and operands for them."""
    x, w, bias = data((2, 3, 9, 8)), data((4, 3, 3, 2), seed=1), data(4, seed=2)
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
