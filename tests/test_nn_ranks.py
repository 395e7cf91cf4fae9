"""conv1d, conv2d and conv3d: what they have in common, against the definition, five nested loops, and torch."""

import inspect
import itertools

import _naive
import numpy as np
import pytest
from _tools import BOUNDARIES, DTYPES, assert_same, assert_whole, data, prefilled
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, ConvTypeError, _reference, nn
from fastconv.nn import _forward

FUNCTIONS = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}
FORMATS = {1: ("NCW", "NWC", "NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
SIZES = {1: (19,), 2: (9, 11), 3: (5, 6, 7)}
KERNELS = {1: (4,), 2: (3, 2), 3: (2, 3, 2)}
TORCH_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}

ranks = pytest.mark.parametrize("rank", [1, 2, 3])


def example(rank, dtype="float32", groups=1, batch=2, c_in=4, c_out=6):
    x = data((batch, c_in, *SIZES[rank]), dtype)
    return x, data((c_out, c_in // groups, *KERNELS[rank]), dtype, 1), data(c_out, dtype, 2)


def reference(rank, x, w, bias=None, *, data_format=None, groups=1, **options):
    layout = data_format or FORMATS[rank][0]
    layout = layout if np.ndim(x) == rank + 2 else layout.replace("N", "")
    return _reference.conv(x, w, bias=bias, layout=layout, groups=groups, center="right", **options)


def moved(x, rank, data_format):
    """Return an array of torch's order in another one, contiguous."""
    last = data_format.endswith("C")
    return np.ascontiguousarray(np.moveaxis(x, -rank - 1, -1)) if last else x


def same_pads(n, k, stride, dilation, upper):
    """Return the padding of ONNX's SAME_UPPER or SAME_LOWER, https://onnx.ai/onnx/operators/onnx__Conv.html."""
    outputs = -(-n // stride)
    needed = max((outputs - 1) * stride + (k - 1) * dilation + 1 - n, 0)
    small, large = needed // 2, needed - needed // 2
    return (small, large) if upper else (large, small)


# --- the face --------------------------------------------------------------------------------------------------------


@ranks
def test_signatures_are_those_of_torch(rank):
    parameters = list(inspect.signature(FUNCTIONS[rank]).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert names == ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    defaults = [p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert defaults == [inspect.Parameter.empty, inspect.Parameter.empty, None, 1, 0, 1, 1]
    extras = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert extras == {
        "data_format": FORMATS[rank][0],
        "boundary": "constant",
        "out": None,
        "threads": None,
        "algorithm": "auto",
        "accuracy": "default",
    }


@ranks
@pytest.mark.parametrize("batched", [True, False])
def test_data_formats(level, rank, batched):
    x, w, bias = example(rank, groups=2)
    x = x if batched else x[0]
    options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    expected = reference(rank, x, w, bias, **options)
    for data_format in FORMATS[rank]:
        given = moved(x, rank, data_format)
        wanted = moved(expected, rank, data_format)
        for _ in range(2):
            assert_same(FUNCTIONS[rank](given, w, bias, data_format=data_format, **options), wanted)
        out = prefilled(wanted.shape, wanted.dtype)
        assert FUNCTIONS[rank](given, w, bias, data_format=data_format, out=out, **options) is out
        assert_same(out, wanted)


@ranks
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(rank, dtype):
    x, w, bias = example(rank, dtype)
    assert_same(FUNCTIONS[rank](x, w, bias, padding=1), reference(rank, x, w, bias, padding=1))


@ranks
@pytest.mark.parametrize("multiplier", [1, 2, 5])
def test_depthwise_with_multipliers(level, rank, multiplier):
    x, w, bias = example(rank, groups=4, c_out=4 * multiplier)
    expected = reference(rank, x, w, bias, groups=4, padding=1)
    for data_format in FORMATS[rank]:
        actual = FUNCTIONS[rank](moved(x, rank, data_format), w, bias, 1, 1, 1, 4, data_format=data_format)
        assert_same(actual, moved(expected, rank, data_format))


@ranks
def test_arrays_of_any_kind(rank):
    x, w, bias = example(rank)
    conv, expected = FUNCTIONS[rank], reference(rank, *example(rank), padding=1)
    read_only = x.copy()
    read_only.flags.writeable = False
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    gaps = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    gaps[...] = x
    for other in (x[..., ::-1].copy()[..., ::-1], np.asfortranarray(x), x.astype(">f4"), read_only, shifted, gaps):
        assert_same(conv(other, w, bias, padding=1), expected)
    for other in (np.asfortranarray(w), w.astype(">f4"), w[::-1].copy()[::-1]):
        assert_same(conv(x, other, bias, padding=1), expected)
    assert_same(conv(x.tolist(), w.tolist(), bias.tolist(), padding=1), expected.astype(float))
    out = np.empty(expected.shape[::-1], np.float32).T
    assert conv(x, w, bias, padding=1, out=out) is out
    assert_same(np.ascontiguousarray(out), expected)


@ranks
def test_empty_batches(rank):
    x, w, bias = example(rank)
    expected = FUNCTIONS[rank](x, w, bias)
    assert_same(FUNCTIONS[rank](x[:0], w, bias), expected[:0])
    for data_format in FORMATS[rank]:
        actual = FUNCTIONS[rank](moved(x[:0], rank, data_format), w, bias, data_format=data_format)
        assert_same(actual, moved(expected[:0], rank, data_format))
    assert_same(FUNCTIONS[rank](x, w[:0]), expected[:, :0])


@ranks
def test_sequences_of_one_number_are_for_all_axes(rank):
    x, w, _ = example(rank)
    expected = reference(rank, x, w, stride=2, padding=1, dilation=1)
    assert_same(FUNCTIONS[rank](x, w, None, (2,), [1], (1,)), expected)


@ranks
def test_a_second_call_takes_the_short_lane(rank):
    x, w, bias = example(rank)
    lane = _forward.lanes[rank - 1]
    lane.clear()
    first = FUNCTIONS[rank](x, w, bias, padding=((1, 0),) * rank, boundary="wrap")
    options = (1, ((1, 0),) * rank, 1, 1, FORMATS[rank][0], "wrap", "auto", "default")
    assert_same(lane.run(x, w, bias, options, None), first)
    options = (*options[:5], "edge", *options[6:])
    assert lane.run(x, w, bias, options, None) is None
    expected = reference(rank, x, w, bias, padding=((1, 0),) * rank, boundary="edge")
    assert_same(FUNCTIONS[rank](x, w, bias, padding=((1, 0),) * rank, boundary="edge"), expected)


# --- padding ---------------------------------------------------------------------------------------------------------


@ranks
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("padding", [0, 1, 3, -1, (0, 1), (3, 0), (-1, 2), (2, -2)], ids=str)
def test_padding_in_numbers(rank, boundary, padding):
    x, w, bias = example(rank)
    padding = padding if isinstance(padding, int) else (padding,) * rank
    per_axis = (padding,) * rank if isinstance(padding, int) else padding
    for stride in (1, 2):
        expected = reference(rank, x, w, bias, stride=stride, padding=per_axis, boundary=boundary)
        assert_same(FUNCTIONS[rank](x, w, bias, stride, padding, boundary=boundary), expected)


def test_boundaries_and_pads_differ_between_axes():
    x, w, bias = example(3)
    options = {"padding": ((1, 2), (-1, 3), (0, 2)), "boundary": ("wrap", "symmetric", "constant")}
    assert_same(nn.conv3d(x, w, bias, **options), reference(3, x, w, bias, **options))


@ranks
@pytest.mark.parametrize("name", ["same_upper", "same_lower"])
def test_same_rules_of_onnx(rank, name):
    for kernel, stride, dilation in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2)):
        x = data((2, 2, *SIZES[rank]))
        w = data((3, 2, *(min(kernel + i, 4) for i in range(rank))), seed=1)
        pads = [
            same_pads(n, k, stride, dilation, name == "same_upper")
            for n, k in zip(x.shape[2:], w.shape[2:], strict=True)
        ]
        expected = reference(rank, x, w, stride=stride, dilation=dilation, padding=pads)
        assert expected.shape[2:] == tuple(-(-n // stride) for n in x.shape[2:])
        assert_whole(FUNCTIONS[rank](x, w, None, stride, name, dilation), expected)


@ranks
def test_same_is_same_upper_where_torch_has_it(rank):
    x, w, _ = example(rank)
    conv = FUNCTIONS[rank]
    assert_same(conv(x, w, padding="same"), conv(x, w, padding="same_upper"))
    assert_same(conv(x, w, padding="same", stride=(1,) * rank), conv(x, w, padding="same_upper"))
    for stride in (2, (1,) * (rank - 1) + (2,)):
        with pytest.raises(RuntimeError, match="^padding: got 'same' with stride .* allowed: stride 1, 'same_upper'"):
            conv(x, w, padding="same", stride=stride)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("center", ["left", "right"])
def test_the_core_has_the_same_rules_for_any_rank(rank, center):
    """Against loops over Python numbers, with the padding of ONNX's formula."""
    sizes, kernel = ((7,), (4, 5), (3, 4, 3), (3, 2, 3, 4))[rank - 1], ((4,), (2, 3), (2, 2, 3), (2, 1, 2, 2))[rank - 1]
    for stride, dilation in (((1, 2, 3, 1), (1, 1, 1, 1)), ((2, 1, 2, 3), (1, 2, 1, 1)), ((3, 3, 1, 2), (2, 1, 1, 2))):
        x, w = data((1, 2, *sizes), "int32"), data((2, 1, *kernel), "int32", 1)
        steps, dilations = stride[:rank], dilation[:rank]
        pads = [
            same_pads(n, k, s, d, center == "right") for n, k, s, d in zip(sizes, kernel, steps, dilations, strict=True)
        ]
        options = {"stride": steps, "dilation": dilations, "groups": 2}
        expected = _naive.correlate(
            x, w, padding=pads, input_dilation=(1,) * rank, boundary=("wrap",) * rank, **options
        )
        layout = "NC" + "abcd"[:rank]
        actual = fastconv.conv(x, w, layout=layout, padding="same", center=center, boundary="wrap", **options)
        assert_same(actual, expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_core_crops_and_pads_four_axes(boundary):
    x, w = data((1, 2, 3, 4, 3, 5), "int64"), data((2, 2, 2, 1, 2, 2), "int64", 1)
    pads = ((1, 0), (-1, 1), (2, -1), (-1, -1))
    options = {"stride": (1, 2, 1, 2), "dilation": (1, 1, 2, 1)}
    expected = _naive.correlate(
        x, w, padding=pads, input_dilation=(1,) * 4, boundary=(boundary,) * 4, fill_value=3, **options
    )
    assert_same(
        fastconv.conv(x, w, layout="NCabcd", padding=pads, boundary=boundary, fill_value=3, **options), expected
    )


# --- torch -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 3]))
def test_any_layer_against_torch(draw, rank):
    torch = pytest.importorskip("torch")
    take = draw.draw

    def each(low, high):
        return tuple(take(st.integers(low, high)) for _ in range(rank))

    groups = take(st.integers(1, 3))
    c_in, c_out = groups * take(st.integers(1, 3)), groups * take(st.integers(1, 4))
    kernel, dilation = each(1, 3), each(1, 2)
    sizes = [(k - 1) * d + take(st.integers(1, 9)) for k, d in zip(kernel, dilation, strict=True)]
    padding = take(st.sampled_from(["valid", "same", 1, each(0, 2)]))
    stride = 1 if padding == "same" else take(st.sampled_from([1, 2, each(1, 3)]))
    batch = take(st.sampled_from([(), (0,), (1,), (2,)]))
    x, w = data((*batch, c_in, *sizes)), data((c_out, c_in // groups, *kernel), seed=1)
    bias = data(c_out, seed=2) if take(st.booleans()) else None
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    of_torch = getattr(torch.nn.functional, f"conv{rank}d")
    expected = of_torch(*(None if a is None else torch.from_numpy(a) for a in (x, w, bias)), **options).numpy()
    assert_whole(FUNCTIONS[rank](x, w, bias, **options), np.rint(expected) + np.float32(0))


@ranks
@pytest.mark.parametrize("boundary", TORCH_MODES)
def test_boundaries_against_torch(rank, boundary):
    torch = pytest.importorskip("torch")
    x, w, bias = example(rank)
    pads = [(1, 2), (2, 0), (0, 3)][:rank]
    wide = torch.nn.functional.pad(
        torch.from_numpy(x), [n for pair in reversed(pads) for n in pair], mode=TORCH_MODES[boundary]
    )
    of_torch = getattr(torch.nn.functional, f"conv{rank}d")
    expected = of_torch(wide, torch.from_numpy(w), torch.from_numpy(bias)).numpy()
    actual = FUNCTIONS[rank](x, w, bias, padding=pads, boundary=boundary)
    assert_whole(actual, np.rint(expected) + np.float32(0))


@ranks
def test_what_torch_refuses_is_refused(rank):
    torch = pytest.importorskip("torch")
    x, w, bias = example(rank)
    of_torch = getattr(torch.nn.functional, f"conv{rank}d")
    for options in (
        {"stride": 0},
        {"dilation": 0},
        {"groups": 3},
        {"groups": 0},
        {"stride": (1,) * (rank + 1)},
        {"dilation": 40},
        {"padding": "same", "stride": 2},
        {"bias": bias[1:]},
        {"weight": w[:, 1:]},
        {"weight": w[0]},
        {"input": x[0, 0]},
        {"input": x[None]},
    ):
        arrays = {"input": x, "weight": w, "bias": bias} | {
            name: value for name, value in options.items() if isinstance(value, np.ndarray)
        }
        rest = {name: value for name, value in options.items() if name not in arrays}
        with pytest.raises(RuntimeError):
            of_torch(**{name: torch.from_numpy(value) for name, value in arrays.items()}, **rest)
        with pytest.raises(RuntimeError):
            FUNCTIONS[rank](**arrays, **rest)


# --- errors ----------------------------------------------------------------------------------------------------------


@ranks
def test_messages(rank):
    x, w, bias = example(rank)
    window = f"^weight: got a window of {KERNELS[rank][0]} samples along spatial axis 0, allowed: at most the 1"
    formats = ", ".join(map(repr, FORMATS[rank]))
    for changes, error, message in (
        ({"data_format": "NCHWD"}, ConvError, f"^data_format: got 'NCHWD', allowed: {formats}$"),
        ({"data_format": FORMATS[rank % 3 + 1][0]}, ConvError, "^data_format: got "),
        ({"input": x[0, 0]}, ConvError, f"^input: got {rank} axes of shape .* allowed: {rank + 2}, or {rank + 1}"),
        ({"input": x[:, :0]}, ConvError, "^input: got 0 channels in shape"),
        ({"input": x[:, :, :1]}, ConvError, window),
        ({"input": x.astype("M8[s]")}, ConvTypeError, "^input: got dtype datetime64"),
        ({"weight": w[0]}, ConvError, f"^weight: got {rank + 1} axes of shape .* allowed: {rank + 2}"),
        (
            {"weight": w[:, 1:]},
            ConvError,
            r"^weight: got 3 channels in a group .* allowed: 4 for input of shape \(2, 4,",
        ),
        ({"weight": w[..., :0]}, ConvError, "^weight: got an empty kernel"),
        ({"bias": bias[1:]}, ConvError, r"^bias: got shape \(5,\), allowed: \(6,\)"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"stride": (1,) * (rank + 1)}, ConvError, r"^stride: got \(1"),
        ({"dilation": -1}, ConvError, "^dilation: got -1"),
        ({"groups": 3}, ConvError, "^groups: got 3 for 4 channels in and 6 out"),
        ({"padding": ((1, 1),) * (rank + 1)}, ConvError, r"^padding: got \(\(1, 1\)"),
        ({"padding": -30}, ConvError, r"^padding: got \(-30, -30\) along spatial axis 0, allowed: to crop at most"),
        ({"padding": "full"}, ConvError, "^padding: got 'full', allowed: 'same', 'valid', 'same_upper', 'same_lower'"),
        ({"boundary": "reflect101"}, ConvError, "^boundary: got 'reflect101'"),
        ({"algorithm": "gem"}, ConvError, "^algorithm: got 'gem'"),
        ({"accuracy": "high"}, ConvError, "^accuracy: got 'high'"),
        ({"out": x}, ConvError, "^out: got shape"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
    ):
        out = None if "out" in changes else prefilled(reference(rank, x, w).shape, "float32")
        with pytest.raises(error, match=message):
            FUNCTIONS[rank](**{"input": x, "weight": w, "bias": bias, "out": out} | changes)
        assert out is None or np.isnan(out).all()
