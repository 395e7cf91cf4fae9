"""No kernel reads or writes beyond an array: x, w, bias and out lie against pages that must not be touched.

A fault ends the whole test process, so a case that fails here shows as a crash with the test's name on it.
"""

import itertools
import signal as signals
from pathlib import Path

import numpy as np
import pytest
from _calls import ALGORITHMS, CALLS
from _guard import Fence
from _tools import BOUNDARIES, data, run_python

import fastconv
from fastconv import _reference, nn, signal

SIDES = ("first", "last")
WIDTHS = (*range(1, 20), 23, 24, 25, 31, 32, 33, 34, 47, 48, 49, 63, 64, 65, 66, 67, 80, 95, 127, 128, 130)


class Fences:
    """One fence each for x, w, bias and out, at both sides in turn."""

    def __init__(self, size=1 << 18):
        self.x, self.w, self.bias, self.out = (Fence(size) for _ in range(4))

    def conv(self, x, w, expected, *, function=fastconv.conv, bias=None, **options):
        """Convolve fenced copies on either side and compare; x, w and bias are read where they lie."""
        for side in SIDES:
            out = self.out.array(expected.shape, expected.dtype, side)
            out.view(np.uint8)[...] = 0xFF
            arguments = {} if bias is None else {"bias": self.bias.put(bias, side)}
            function(self.x.put(x, side), self.w.put(w, side), out=out, **arguments, **options)
            assert np.array_equal(out, expected), (x.shape, w.shape, side, options)


@pytest.fixture(scope="module")
def fences():
    return Fences()


@pytest.mark.parametrize("action", ["ctypes.string_at({}, 1)", "ctypes.memset({}, 0, 1)"])
@pytest.mark.parametrize(("side", "outside"), [("first", -1), ("last", 64)])
def test_a_fence_kills(side, outside, action):
    code = f"""
import ctypes, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from _calls import ALGORITHMS, CALLS
from _guard import Fence
array = Fence(100).array((64,), "u1", {side!r})
array[...] = 7
print(array.sum(), flush=True)
{action.format(f"array.ctypes.data + {outside}")}
"""
    done = run_python(code)
    assert done.stdout.strip() == "448", done.stderr
    assert done.returncode in (-signals.SIGSEGV, -signals.SIGBUS)


def test_a_fence_holds_what_it_is_given():
    fence = Fence(5000)
    for side, shape in itertools.product(SIDES, ((0,), (3,), (7, 5), (1250,))):
        values = data(shape, "int32")
        assert np.array_equal(fence.put(values, side), values)
    with pytest.raises(ValueError, match="do not fit"):
        fence.array((fence.size + 1,), "u1", "last")


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "complex64", "complex128", "uint8", "int16", "int32", "int64", "float16", "bool"]
)
def test_direct(level, fences, dtype):
    x, w = data((14, 140), dtype, most=2), data((3, 3), dtype, 1, most=2)
    valid = _reference.conv(x, w)
    many = dtype in ("float32", "float64")
    for height, width in itertools.product(range(1, 10) if many else (1, 4, 5), WIDTHS):
        part = x[: height + 2, : width + 2]
        fences.conv(part, w, valid[:height, :width], algorithm="direct")
    for height, width, boundary in itertools.product((1, 4, 9), (1, 3, 8, 17, 33, 67, 130), BOUNDARIES):
        part = x[:height, :width]
        options = {"padding": "same", "boundary": boundary}
        fences.conv(part, w, _reference.conv(part, w, **options), algorithm="direct", **options)


@pytest.mark.parametrize("kernel", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 9), (9, 1), (5, 5), (4, 7), (7, 7)])
def test_direct_with_other_kernels(level, fences, kernel):
    for dtype in ("float32", "float64"):
        x, w = data((18, 150), dtype), data(kernel, dtype, 1)
        valid = _reference.conv(x, w)
        for height, width in itertools.product((1, 3, 4, 8), WIDTHS[::2]):
            part = x[: height + kernel[0] - 1, : width + kernel[1] - 1]
            fences.conv(part, w, valid[:height, :width], algorithm="direct")


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_options(level, fences, algorithm):
    x, w, bias = data((2, 4, 9, 70)), data((6, 2, 3, 3), seed=1), data(6, seed=2)
    spacings = (
        {"stride": 2},
        {"stride": (1, 3)},
        {"dilation": 2},
        {"dilation": (3, 4)},
        {"input_dilation": 2},
        {"flip": True},
    )
    paddings = ("valid", "same", "full", ((-1, 2), (3, -2)))
    for spacing, padding, boundary, width in itertools.product(spacings, paddings, BOUNDARIES, (9, 18, 35, 70)):
        options = {**spacing, "padding": padding, "boundary": boundary, "groups": 2, "layout": "NCHW"}
        part = x[..., :width]
        expected = _reference.conv(part, w, bias=bias, **options)
        fences.conv(part, w, expected, bias=bias, algorithm=algorithm, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4)])
def test_gemm(level, fences, dtype, kernel):
    rows, columns = kernel
    x, w, bias = data((1, 5, 2 + rows, 45), dtype), data((70, 5, *kernel), dtype, 1), data(70, dtype, 2)
    expected = _reference.conv(x, w, bias=bias, layout="NCHW")
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for channels_out, width in itertools.product(
        (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65), (*range(1, 16), 28, 29, 41)
    ):
        taken, right = slice(channels_out), np.ascontiguousarray(expected[:, :channels_out, :, :width])
        options = {"bias": bias[taken], "algorithm": "gemm"}
        fences.conv(x[..., : width + columns - 1], w[taken], right, layout="NCHW", **options)
        fences.conv(last[:, :, : width + columns - 1], w[taken], right.transpose(0, 2, 3, 1), layout="NHWC", **options)


def test_layers(level, fences):
    """Depthwise, grouped, one channel in, one out, several images; by the algorithm that is taken for them."""
    for groups, per_group, per_group_out in ((8, 1, 1), (4, 2, 3), (1, 1, 9), (1, 9, 1), (1, 8, 40), (3, 1, 2)):
        for height, width, kernel in itertools.product((1, 4, 7), (1, 7, 14, 28, 33), (1, 3)):
            x = data((2, groups * per_group, height, width))
            w, bias = (
                data((groups * per_group_out, per_group, kernel, kernel), seed=1),
                data(groups * per_group_out, seed=2),
            )
            options = {"groups": groups, "padding": kernel // 2}
            expected = _reference.conv(x, w, bias=bias, layout="NCHW", **options)
            fences.conv(x, w, expected, function=nn.conv2d, bias=bias, accuracy="strict", **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transposed(level, fences, dtype):
    """Weights with the channels of the input first, read across; rows of phases that are interleaved."""
    for kernel, stride in (((1, 1), 1), ((3, 3), 1), ((2, 2), 2), ((1, 8), 2), ((3, 3), 2), ((4, 5), (1, 3))):
        w, bias = data((5, 33, *kernel), dtype, 1), data(33, dtype, 2)
        for channels_out, width in itertools.product((1, 16, 31, 33), (1, 7, 15, 16, 33)):
            x, taken = data((1, 5, 3, width), dtype), w[:, :channels_out]
            options = {"layout": "NCHW", "bias": bias[:channels_out]}
            steps = (stride, stride) if isinstance(stride, int) else stride
            pads = [(k - 1, k - 1) for k in kernel]
            expected = _reference.conv(
                x, taken.swapaxes(0, 1), input_dilation=steps, padding=pads, flip=True, **options
            )
            function = fastconv.conv_transpose
            fences.conv(x, taken, expected, function=function, stride=stride, accuracy="strict", **options)
            last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            options["layout"] = "NHWC"
            fences.conv(
                last,
                taken,
                expected.transpose(0, 2, 3, 1),
                function=function,
                stride=stride,
                accuracy="strict",
                **options,
            )


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(level, fences, rank):
    letters = "NC" + "DHW"[3 - rank :]
    for width, kernel in itertools.product(WIDTHS[:-8], (1, 2, 5)):
        sizes = (*(3, 4)[: rank - 1], width)
        x, w = data((1, 2, *sizes)), data((3, 2, *(2, 1)[: rank - 1], kernel), seed=1)
        for algorithm in ("direct", "gemm"):
            options = {"layout": letters, "padding": "full", "boundary": "edge"}
            fences.conv(x, w, _reference.conv(x, w, **options), algorithm=algorithm, **options)


def test_the_signal_face(level, fences):
    for width, boundary in itertools.product(WIDTHS, ("fill", "symm", "wrap")):
        x, w = data((6, width)), data((3, 5), seed=1)
        expected = _reference.conv(
            x, w, padding="full", boundary={"fill": "constant", "symm": "symmetric"}.get(boundary, boundary), flip=True
        )
        fences.conv(x, w, expected, function=signal.convolve2d, boundary=boundary)


def test_results_that_are_allocated(level):
    """The short lane and plans make arrays of their own; the input alone is fenced."""
    fence = Fence(1 << 16)
    for width, side in itertools.product(WIDTHS, SIDES):
        x, w = data((2, 3, 7, width)), data((5, 3, 3, 3), seed=1)
        expected = _reference.conv(x, w, padding=1, layout="NCHW")
        plan = fastconv.plan(w, x.shape, layout="NCHW", padding=1)
        fenced = fence.put(x, side)
        for _ in range(2):
            assert np.array_equal(nn.conv2d(fenced, w, padding=1), expected)
            assert np.array_equal(plan(fenced), expected)


@pytest.mark.promise
@pytest.mark.parametrize("name", [*CALLS, *ALGORITHMS])
def test_every_function_and_driver(level, name):
    """Inputs and results of every public function, and of calls that go through every driver."""
    call = CALLS.get(name) or ALGORITHMS[name]
    wanted = call()
    fences = {array: Fence(call.arguments[array].nbytes) for array in call.arrays()}
    writes = "out" in call.names and isinstance(wanted, np.ndarray)
    result = Fence(wanted.nbytes) if writes else None
    for side in SIDES:
        arguments = {array: fence.put(call.arguments[array], side) for array, fence in fences.items()}
        if writes:
            arguments["out"] = result.array(wanted.shape, wanted.dtype, side)
            arguments["out"].view(np.uint8)[...] = 0xFF
        actual = call(**arguments)
        for one, other in zip(parts_of(actual), parts_of(wanted), strict=True):
            assert np.array_equal(one, other), side


def parts_of(result):
    """Return the arrays of a result."""
    return result if isinstance(result, tuple) else (result,)


def test_inputs_in_read_only_memory(level):
    x, w = data((1, 4, 9, 33)), data((6, 4, 3, 3), seed=1)
    fenced = []
    for array in (x, w, data(6, seed=2)):
        fence = Fence(array.nbytes)
        fenced.append(fence.put(array, "last"))
        fence.forbid_writing()
    for algorithm in ("direct", "gemm", "reference"):
        actual = fastconv.conv(*fenced[:2], bias=fenced[2], layout="NCHW", algorithm=algorithm)
        assert np.array_equal(actual, _reference.conv(x, w, bias=fenced[2], layout="NCHW"))


def test_several_threads(fences):
    x, w = data((200, 300), most=1), data((15, 15), seed=1, most=1)
    fences = Fences(x.nbytes)
    fences.conv(x, w, _reference.conv(x, w, padding="same"), padding="same", threads=2, accuracy="strict")
    x, w = data((1, 16, 32, 100), most=1), data((33, 16, 5, 5), seed=1, most=1)
    expected = _reference.conv(x, w, padding="same", layout="NCHW")
    Fences(1 << 20).conv(x, w, expected, padding="same", layout="NCHW", algorithm="gemm", threads=2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "uint8", "int16", "int64"])
def test_lines(level, fences, dtype):
    """One-dimensional kernels: whole groups of columns, what is left of them, and tails of the row."""
    x = data(900, dtype, most=1)
    for k in (2, 3, 8, 9, 16, 17, 20, 33, 40, 64, 70, 100, 140):
        w = data(k, dtype, 1, most=1)
        valid = _reference.conv(x, w)
        for width in (*WIDTHS[::4], 257, 300, 520, 700):
            fences.conv(x[: width + k - 1], w, valid[:width], algorithm="direct")
            same = _reference.conv(x[:width], w, padding="full")
            fences.conv(x[:width], w, same, algorithm="direct", padding="full")
