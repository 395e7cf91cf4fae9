"""fastconv.nn.conv2d against the reference, and against torch where that is installed."""

import inspect

import numpy as np
import pytest
from _tools import assert_same, assert_whole, at_level, data, prefilled
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from bench import layers
from fastconv import ConvError, ConvTypeError, _reference, nn
from fastconv.drivers import levels
from fastconv.nn import _forward

LAYERS = layers.load()
# Multiply-adds that the reference may take for one layer as it stands in the list.
WHOLE = 40e6


def reference(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW"):
    """Return the result by the definition, with the arguments of torch."""
    layout = data_format if np.ndim(x) == 4 else data_format.replace("N", "")
    options = {"bias": bias, "stride": stride, "dilation": dilation, "groups": groups, "layout": layout}
    return _reference.conv(x, w, padding=padding, center="right", **options)


def check(*arguments, **options):
    expected = reference(*arguments, **options)
    # Once the long way, once as a call made before.
    for _ in range(2):
        assert_whole(nn.conv2d(*arguments, **options), expected)
        assert_same(nn.conv2d(*arguments, **options, accuracy="strict"), expected)
    out = prefilled(expected.shape, expected.dtype)
    assert nn.conv2d(*arguments, **options, out=out) is out
    assert_whole(out, expected)


def shrunk(layer):
    """Return the shapes and groups of a smaller layer of the same kind."""
    height = layer.height if layer.height < 16 else 15 + layer.height % 2
    width = layer.width if layer.width < 24 else 23 + layer.width % 2
    groups = min(layer.groups, 4)
    per_group, per_group_out = min(layer.c_in // layer.groups, 18), min(layer.c_out // layer.groups, 35)
    x_shape = (min(layer.batch, 2), groups * per_group, height, width)
    return x_shape, (groups * per_group_out, per_group, layer.kh, layer.kw), groups


def options_of(layer, groups):
    return {"stride": layer.stride, "padding": layer.pad, "dilation": layer.dilation, "groups": groups}


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_layer_shrunk(level, layer, dtype):
    x_shape, w_shape, groups = shrunk(layer)
    x, w, bias = data(x_shape, dtype), data(w_shape, dtype, 1), data(w_shape[0], dtype, 2)
    options = options_of(layer, groups)
    expected = reference(x, w, bias, **options)
    assert_same(nn.conv2d(x, w, bias, accuracy="strict", **options), expected)
    last = nn.conv2d(channels_last(x), w, bias, accuracy="strict", data_format="NHWC", **options)
    assert_same(last, channels_last(expected))
    for accuracy in ("default", "fast"):
        assert_whole(nn.conv2d(x, w, bias, accuracy=accuracy, **options), expected)
    for algorithm in ("direct", "gemm"):
        assert_same(nn.conv2d(x, w, bias, algorithm=algorithm, **options), expected)


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.flops / 2 <= WHOLE], ids=lambda layer: layer.name)
def test_layers_as_they_are(layer):
    x, w, bias = data(layer.x_shape, most=2), data(layer.w_shape, seed=1, most=2), data(layer.c_out, seed=2)
    options = options_of(layer, layer.groups)
    actual = nn.conv2d(x, w, bias, **options)
    assert actual.shape == layer.y_shape
    expected = reference(x, w, bias, **options)
    assert_whole(actual, expected)
    assert_same(nn.conv2d(x, w, bias, accuracy="strict", **options), expected)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_layer_against_torch(layer):
    torch = pytest.importorskip("torch")
    x, w, bias = data(layer.x_shape, most=1), data(layer.w_shape, seed=1, most=1), data(layer.c_out, seed=2)
    options = options_of(layer, layer.groups)
    # Sums of at most 4608 products of -1, 0 and 1 are exact in float32, by any algorithm that does not transform
    # inputs; where one does, its error is far below the half that tells integers apart.
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, bias)), **options).numpy()
    assert_whole(nn.conv2d(x, w, bias, **options), np.rint(expected) + np.float32(0))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(levels.available()))
def test_any_layer_against_torch(draw, level):
    torch = pytest.importorskip("torch")
    take = draw.draw
    groups = take(st.integers(1, 3))
    c_in, c_out = groups * take(st.integers(1, 4)), groups * take(st.integers(1, 6))
    kernel = take(st.integers(1, 4)), take(st.integers(1, 4))
    dilation = take(st.integers(1, 3)), take(st.integers(1, 3))
    sizes = [(k - 1) * d + take(st.integers(1, 30)) for k, d in zip(kernel, dilation, strict=True)]
    pads = ["valid", (take(st.integers(0, 3)), take(st.integers(0, 3))), take(st.integers(0, 3)), "same"]
    padding = take(st.sampled_from(pads))
    stride = 1 if padding == "same" else take(st.sampled_from([1, 2, 3, (2, 1), (1, 3)]))
    batch = take(st.sampled_from([(), (1,), (3,)]))
    x, w = data((*batch, c_in, *sizes)), data((c_out, c_in // groups, *kernel), seed=1)
    bias = data(c_out, seed=2) if take(st.booleans()) else None
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    as_torch = [None if a is None else torch.from_numpy(a) for a in (x, w, bias)]
    expected = torch.nn.functional.conv2d(*as_torch, **options).numpy()
    with at_level(level):
        assert_whole(nn.conv2d(x, w, bias, **options), np.rint(expected) + np.float32(0))
        check(x, w, bias, **options)


def test_signature_is_that_of_torch():
    parameters = list(inspect.signature(nn.conv2d).parameters.values())
    positional = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [
        ("input", inspect.Parameter.empty),
        ("weight", inspect.Parameter.empty),
        ("bias", None),
        ("stride", 1),
        ("padding", 0),
        ("dilation", 1),
        ("groups", 1),
    ]
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == {
        "data_format",
        "boundary",
        "out",
        "threads",
        "algorithm",
        "accuracy",
    }


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batched", [True, False])
def test_data_formats_and_missing_batches(level, data_format, batched):
    x = data((2, 6, 9, 20)) if batched else data((6, 9, 20))
    if data_format == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, -3, -1))
    for kernel, groups in (((3, 3), 1), ((1, 1), 1), ((2, 4), 2), ((3, 3), 6)):
        w, bias = data((12, 6 // groups, *kernel), seed=1), data(12, seed=2)
        check(x, w, bias, groups=groups, data_format=data_format)
        check(x, w, bias, 2, (1, 2), 2, groups, data_format=data_format)


@pytest.mark.parametrize("padding", [0, 2, (1, 3), [2, 0], "valid", "same", np.int64(1), (np.int32(1), 2)])
def test_kinds_of_padding(padding):
    x, w = data((2, 3, 8, 11)), data((4, 3, 3, 4), seed=1)
    check(x, w, padding=padding, dilation=(2, 1))


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 4), (4, 3), (9, 8)])
def test_same_puts_the_odd_zero_behind(kernel):
    x, w = data((1, 2, 7, 10)), data((3, 2, *kernel), seed=1)
    for dilation in (1, 2, (1, 3)):
        check(x, w, padding="same", dilation=dilation)
        assert nn.conv2d(x, w, padding="same", dilation=dilation).shape == (1, 3, 7, 10)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int32", "int64", "float16", "float64", "complex64", "bool", "longdouble"]
)
def test_dtypes(level, dtype):
    x, w, bias = data((2, 4, 7, 19), dtype), data((6, 2, 3, 3), dtype, 1), data(6, dtype, 2)
    check(x, w, bias, 1, 1, 1, 2)


def test_dtypes_may_differ():
    x, w = data((1, 2, 6, 7), "float32"), data((3, 2, 2, 2), "float64", 1)
    check(x, w)
    check(x, w, data(3, "int16", 2) % 100)
    assert nn.conv2d(x.astype("int16"), w.astype("float32"), [1, 2, 3]).dtype == np.float32


def test_complex_weights_are_not_conjugated():
    assert nn.conv2d(np.full((1, 1, 1, 1), 1j), np.full((1, 1, 1, 1), 1j)).item() == -1


def test_an_input_without_images():
    w = data((4, 3, 3, 3))
    assert nn.conv2d(np.ones((0, 3, 8, 8), np.float32), w).shape == (0, 4, 6, 6)
    assert nn.conv2d(np.ones((2, 3, 8, 8), np.float32), w[:0]).shape == (2, 0, 6, 6)


def test_out_over_the_input(level):
    for kernel in (1, 3):
        x, w = data((2, 4, 9, 20)), data((4, 4, kernel, kernel), seed=1)
        expected = reference(x, w, padding=kernel // 2)
        assert nn.conv2d(x, w, padding=kernel // 2, out=x) is x
        assert_same(x, expected)


# --- calls made before -----------------------------------------------------------------------------------------------


def test_a_remembered_call_reads_the_arrays_it_is_given():
    """Shapes, dtypes and options are remembered; strides, alignment and byte order must not be."""
    for kernel, algorithm in ((3, "auto"), (1, "auto"), (3, "direct"), (1, "gemm")):
        x, w, bias = data((2, 4, 6, 20)), data((6, 4, kernel, kernel), seed=1), data(6, seed=2)
        options = {"algorithm": algorithm}
        for _ in range(2):
            assert_same(nn.conv2d(x, w, bias, **options), reference(x, w, bias))
        shift = np.empty(6 * 4 + 1, np.uint8)[1:].view(np.float32)
        shift[...] = bias
        gaps = data(12, seed=3)[::-2]
        for other in (
            shift,
            gaps,
            bias[::-1],
            np.broadcast_to(np.float32(5), 6),
            bias.astype(">f4"),
            bias.tolist(),
            bias.astype("f2"),
        ):
            assert_same(nn.conv2d(x, w, other, **options), reference(x, w, np.asarray(other, np.float32)))
        for images in (x[..., ::-1], np.asfortranarray(x), x.astype(">f4"), np.broadcast_to(x[:1, :1], x.shape)):
            assert_same(nn.conv2d(images, w, bias, **options), reference(images, w, bias))
        for weights in (w[::-1], np.asfortranarray(w), w.astype(">f4"), w.transpose(0, 1, 3, 2)):
            assert_same(nn.conv2d(x, weights, bias, **options), reference(x, weights, bias))
        assert_same(nn.conv2d(x, w, bias, **options), reference(x, w, bias))


def test_remembered_calls_tell_dtypes_apart():
    for dtype in ("int32", "float32", "uint32", "int64", "float64", "complex64"):
        x, w = np.ones((1, 2, 5, 6), dtype), np.ones((3, 2, 2, 2), dtype)
        for _ in range(2):
            assert_same(nn.conv2d(x, w), np.full((1, 3, 4, 5), 8, dtype))


def test_remembered_calls_tell_options_apart():
    x, w = data((1, 4, 9, 9)), data((4, 4, 3, 3), seed=1)
    for _ in range(2):
        for options in ({}, {"stride": 2}, {"padding": 2}, {"dilation": 2}, {"padding": (2, 1)}, {"padding": "same"}):
            assert_same(nn.conv2d(x, w, **options), reference(x, w, **options))
        with pytest.raises(ConvTypeError, match="^stride: got True"):
            nn.conv2d(x, w, stride=True)
        with pytest.raises(ConvTypeError, match="^stride: got 1.0"):
            nn.conv2d(x, w, stride=1.0)
        with pytest.raises(ConvTypeError, match="^groups: got True"):
            nn.conv2d(x, w, groups=True)


def test_threads_are_checked_in_remembered_calls():
    x, w = data((1, 4, 9, 9)), data((4, 4, 3, 3), seed=1)
    for _ in range(2):
        expected = nn.conv2d(x, w, threads=1)
        assert_same(nn.conv2d(x, w, threads=np.int64(2)), expected)
        for threads in (0, -1, 2**40):
            with pytest.raises(ConvError, match=f"^threads: got {threads}"):
                nn.conv2d(x, w, threads=threads)
        with pytest.raises(ConvTypeError, match="^threads: got 1.0"):
            nn.conv2d(x, w, threads=1.0)


# --- errors ----------------------------------------------------------------------------------------------------------

X, W = np.ones((2, 4, 6, 7), np.float32), np.ones((6, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data_format": "NCWH"}, ConvError, "^data_format: got 'NCWH', allowed: 'NCHW', 'NHWC'"),
        ({"data_format": None}, ConvError, "^data_format: got None"),
        ({"input": X[0, 0]}, ConvError, "^input: got 2 axes"),
        ({"input": X[None]}, ConvError, "^input: got 5 axes"),
        ({"input": [[1], [1, 2]]}, ConvError, "^input: got"),
        ({"input": None}, (ConvError, ConvTypeError), "^input: got"),
        ({"input": X.astype(object)}, ConvTypeError, "got dtype object"),
        ({"input": X[:, :3]}, ConvError, "4 channels in a group"),
        ({"input": X[:, :0]}, ConvError, "got 0 channels"),
        ({"input": X[:, :, :2]}, ConvError, "window of 3 samples along spatial axis 0"),
        ({"input": X[:, :, :, :1]}, ConvError, "window of 3 samples along spatial axis 1"),
        ({"weight": W[0]}, ConvError, "got 3 axes"),
        ({"weight": W[..., :0]}, ConvError, "empty kernel"),
        ({"weight": W.astype("M8[s]")}, ConvTypeError, "got dtype datetime64"),
        ({"bias": np.ones(5)}, ConvError, r"^bias: got shape \(5,\), allowed: \(6,\)"),
        ({"bias": 1.0}, ConvError, r"^bias: got shape \(\), allowed: \(6,\)"),
        ({"bias": np.ones((6, 1, 1))}, ConvError, r"^bias: got shape \(6, 1, 1\)"),
        ({"bias": np.ones(6, complex)}, ConvTypeError, "^bias: got dtype complex128"),
        ({"bias": "abcdef"}, ConvTypeError, "^bias: got dtype <U6"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"stride": (1, -1)}, ConvError, "^stride: got -1"),
        ({"stride": (1, 1, 1)}, ConvError, r"^stride: got \(1, 1, 1\)"),
        ({"stride": 1.5}, ConvTypeError, "^stride: got 1.5"),
        ({"stride": None}, ConvTypeError, "^stride: got None"),
        ({"dilation": 0}, ConvError, "^dilation: got 0"),
        ({"dilation": 4}, ConvError, "window of 9 samples"),
        ({"dilation": "2"}, ConvTypeError, "^dilation: got '2'"),
        ({"groups": 0}, ConvError, "^groups: got 0"),
        ({"groups": 3}, ConvError, "^groups: got 3"),
        ({"groups": 4}, ConvError, "^groups: got 4"),
        ({"groups": 2}, ConvError, "4 channels in a group"),
        ({"groups": (1, 1)}, ConvTypeError, r"^groups: got \(1, 1\)"),
        (
            {"padding": -3},
            ConvError,
            r"^weight: got a window of 3 samples along spatial axis 0, allowed: at most the 0",
        ),
        ({"padding": (0, -4)}, ConvError, r"^padding: got \(-4, -4\) along spatial axis 1, allowed: to crop at most 7"),
        ({"padding": (1, 1, 1)}, ConvError, r"^padding: got \(1, 1, 1\)"),
        ({"padding": ((1, 1),)}, ConvError, r"^padding: got \("),
        ({"padding": ((1, 1), (1, 1, 1))}, ConvError, r"^padding: got \(1, 1, 1\) for an axis"),
        ({"padding": ((1, 1), (1, 0.5))}, ConvTypeError, r"^padding: got 0.5"),
        ({"boundary": "mirror"}, ConvError, "^boundary: got 'mirror', allowed: 'constant', 'edge'"),
        ({"boundary": None}, ConvError, "^boundary: got None"),
        ({"boundary": ("wrap",)}, ConvError, r"^boundary: got \('wrap',\), allowed: .* each of 2"),
        ({"padding": ["a", "b"]}, (ConvError, ConvTypeError), "^padding: got"),
        ({"padding": 1.0}, ConvTypeError, "^padding: got 1.0"),
        ({"padding": None}, (ConvError, ConvTypeError), "^padding: got None"),
        ({"padding": "full"}, ConvError, "^padding: got 'full', allowed: 'same', 'valid', 'same_upper', 'same_lower'"),
        ({"padding": "same", "stride": 2}, ConvError, "^padding: got 'same' with stride 2"),
        ({"padding": "same", "stride": (1, 2)}, ConvError, r"^padding: got 'same' with stride \(1, 2\)"),
        ({"padding": 2**62}, ConvError, "^padding: got"),
        ({"padding": 1_600_000_000}, ConvError, "got a result of shape"),
        ({"algorithm": "fastest"}, ConvError, "^algorithm: got 'fastest'"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
        ({"out": [1]}, ConvTypeError, "^out: got list"),
    ],
)
def test_refusals(arguments, error, message):
    out = prefilled((2, 6, 4, 5), "float32")
    with pytest.raises(error, match=message):
        nn.conv2d(**{"input": X, "weight": W, "out": out} | arguments)
    assert_same(out, prefilled((2, 6, 4, 5), "float32"))


def test_errors_are_those_of_torch():
    with pytest.raises(RuntimeError):
        nn.conv2d(X[:, :3], W)
    with pytest.raises(NotImplementedError):
        nn.conv2d(X.astype("S3"), W)


def test_out_is_checked():
    for out, error, message in (
        (np.empty((2, 6, 5, 4), np.float32), ConvError, r"^out: got shape \(2, 6, 5, 4\), allowed: \(2, 6, 4, 5\)"),
        (np.empty((2, 6, 4, 5), np.float64), ConvTypeError, "^out: got dtype float64, allowed: float32"),
        (np.broadcast_to(np.float32(0), (2, 6, 4, 5)), ConvError, "^out: got a read-only"),
    ):
        with pytest.raises(error, match=message):
            nn.conv2d(X, W, out=out)


def test_the_face_is_the_core(threads):
    x, w, bias = data((2, 4, 30, 40)), data((8, 2, 3, 3), seed=1), data(8, seed=2)
    expected = fastconv.conv(
        x, w, bias=bias, layout="NCHW", stride=(2, 1), padding=(1, 2), dilation=(1, 3), groups=2, center="right"
    )
    assert_same(nn.conv2d(x, w, bias, (2, 1), (1, 2), (1, 3), 2), expected)


@pytest.mark.parametrize("bias", [None, np.arange(4, dtype="f4")], ids=["plain", "bias"])
def test_a_second_call_takes_the_short_lane(bias):
    x, w = np.ones((1, 2, 6, 6), "f4"), np.ones((4, 2, 3, 3), "f4")
    options = (1, 0, 1, 1, "NCHW", "constant", "auto", "default")
    lane = _forward._lane_2d
    lane.clear()
    assert lane.run(x, w, bias, options, None) is None
    first = nn.conv2d(x, w, bias)
    assert_same(lane.run(x, w, bias, options, None), first)
    assert lane.run(x, w, bias, (1.0, *options[1:]), None) is None
    assert lane.run(x.astype("f8"), w, bias, options, None) is None
