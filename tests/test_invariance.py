"""The bits of a result do not depend on who computes it, where its arrays lie, or what else is computed with it.

For any number of threads, any alignment and any strides that holds for every algorithm. Under ``accuracy="strict"`` it
also holds for any batch, for NCHW against NHWC, and for a part of the result computed alone: some images, some output
channels, some groups, or a crop with the halo that its windows reach.
"""

import itertools

import numpy as np
import pytest
from _calls import ALGORITHMS, CALLS
from _tools import assert_same_bits, fused_levels

import fastconv
from fastconv import nn
from fastconv.drivers import levels

FLOATS = ("float32", "float64", "complex64", "complex128", "float16")
KERNELLED = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", *FLOATS)


def noise(shape, dtype="float32", seed=0):
    """Return numbers whose sums depend on the order of adding."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.random(shape) < 0.1
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if dtype.kind == "c" else values).astype(dtype)


def same(actual, expected):
    assert_same_bits(np.ascontiguousarray(actual), np.ascontiguousarray(expected))


def lying_elsewhere(x):
    """Return arrays equal to x of other alignment, strides, order in memory and byte order, and a read-only one."""
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    # A whole element off a line of the cache.
    nudged = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    nudged[...] = x
    gaps = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)[..., ::3]
    gaps[...] = x
    backwards = x[(slice(None, None, -1),) * x.ndim].copy()[(slice(None, None, -1),) * x.ndim]
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    fixed = x.copy()
    fixed.flags.writeable = False
    return shifted, nudged, gaps, backwards, np.asfortranarray(x), last, x.astype(x.dtype.newbyteorder()), fixed


# --- any threads, alignment and strides, for every algorithm ---------------------------------------------------------

# Enough work for four threads each.
LAYER = ((2, 16, 30, 40), (24, 16, 3, 3), {"padding": 1})
STRIDED = ((2, 16, 61, 81), (24, 16, 3, 3), {"padding": "same", "stride": 2})
POINTWISE = ((4, 64, 20, 30), (64, 64, 1, 1), {})
DEPTHWISE = ((4, 32, 120, 130), (32, 1, 3, 3), {"groups": 32, "padding": 1, "boundary": "reflect"})
LARGE = ((1, 1, 190, 210), (1, 1, 21, 21), {"padding": "same", "boundary": "wrap"})

CASES = [
    *(("direct", dtype, LAYER) for dtype in KERNELLED),
    *(("direct", dtype, DEPTHWISE) for dtype in ("float32", "complex64", "int8")),
    ("direct", "float32", LARGE),
    *(("gemm", dtype, layer) for dtype in ("float32", "float64") for layer in (LAYER, STRIDED, POINTWISE)),
    *(("winograd", dtype, LAYER) for dtype in ("float32", "float64")),
    *(("fft", dtype, LARGE) for dtype in ("float32", "float64", "complex64", "complex128")),
    *(("auto", dtype, layer) for dtype in ("float32", "int32") for layer in (LAYER, POINTWISE, DEPTHWISE, LARGE)),
]
cases = pytest.mark.parametrize(
    ("algorithm", "dtype", "layer"), CASES, ids=lambda value: str(value[1]) if isinstance(value, tuple) else value
)


def operands(layer, dtype):
    x_shape, w_shape, options = layer
    return noise(x_shape, dtype), noise(w_shape, dtype, 1), noise(w_shape[0], dtype, 2), options


@pytest.mark.promise
@cases
def test_any_number_of_threads(algorithm, dtype, layer):
    x, w, bias, options = operands(layer, dtype)
    options = options | {"bias": bias, "layout": "NCHW", "algorithm": algorithm}
    expected = fastconv.conv(x, w, threads=1, **options)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    expected_last = fastconv.conv(last, w, threads=1, **options | {"layout": "NHWC"})
    for threads in (2, 3, 7, 64):
        same(fastconv.conv(x, w, threads=threads, **options), expected)
        same(fastconv.conv(last, w, threads=threads, **options | {"layout": "NHWC"}), expected_last)


@pytest.mark.promise
@pytest.mark.parametrize("name", [*CALLS, *ALGORITHMS])
def test_any_number_of_threads_in_every_function_and_driver(name):
    call = CALLS.get(name) or ALGORITHMS[name]
    if "threads" not in call.names:
        return
    arrays = {array: call.arguments[array] for array in call.arrays()}
    noisy = {
        array: noise(x.shape, x.dtype, seed) for seed, (array, x) in enumerate(arrays.items()) if x.dtype.kind in "fc"
    }
    expected = call(**noisy, threads=1)
    for threads in (2, 3, 7, 64):
        actual = call(**noisy, threads=threads)
        for one, other in zip(*((r if isinstance(r, tuple) else (r,)) for r in (actual, expected)), strict=True):
            same(one, other)


@pytest.mark.parametrize("accuracy", ["default", "fast", "strict"])
def test_any_number_of_threads_at_any_accuracy(accuracy, threads):
    for layer in (LAYER, POINTWISE, LARGE):
        x, w, bias, options = operands(layer, "float32")
        options = options | {"bias": bias, "layout": "NCHW", "accuracy": accuracy}
        same(fastconv.conv(x, w, **options), fastconv.conv(x, w, threads=1, **options))


SMALL = {
    "layer": ((2, 5, 9, 13), (7, 5, 3, 3), {"padding": ((1, 2), (0, 1))}),
    "strided": ((2, 6, 12, 11), (4, 3, 3, 4), {"stride": (2, 3), "dilation": (1, 2), "groups": 2, "boundary": "edge"}),
    "pointwise": ((2, 9, 6, 7), (5, 9, 1, 1), {}),
    "depthwise": ((2, 4, 11, 20), (8, 1, 3, 3), {"groups": 4, "padding": 1, "boundary": "wrap"}),
    "volume": ((2, 3, 4, 5, 6), (4, 3, 2, 3, 2), {"padding": 1}),
    "series": ((3, 4, 70), (5, 4, 9), {"padding": "same"}),
    "large": ((1, 1, 40, 50), (1, 1, 9, 9), {"padding": "same", "boundary": "symmetric"}),
}
SMALL_CASES = [
    (algorithm, dtype, name)
    for name, (x_shape, _, _) in SMALL.items()
    for algorithm, dtypes in (
        ("direct", KERNELLED),
        ("gemm", ("float32", "float64")),
        ("winograd", ("float32", "float64") if name == "layer" else ()),
        ("fft", ("float32", "complex128") if name == "large" else ()),
        ("reference", ("longdouble", "clongdouble") if name in ("layer", "volume") else ()),
        ("auto", ("float32", "float16")),
    )
    for dtype in dtypes
]


@pytest.mark.parametrize(("algorithm", "dtype", "name"), SMALL_CASES)
def test_any_place_in_memory(algorithm, dtype, name):
    x, w, bias, options = operands(SMALL[name], dtype)
    layout = "NC" + "DHW"[5 - x.ndim :]
    options = options | {"layout": layout, "algorithm": algorithm}
    expected = fastconv.conv(x, w, bias=bias, **options)
    for other in lying_elsewhere(x):
        same(fastconv.conv(other, w, bias=bias, **options), expected)
    for other in lying_elsewhere(w):
        same(fastconv.conv(x, other, bias=bias, **options), expected)
    for other in (bias[::-1].copy()[::-1], np.repeat(bias, 2)[::2], bias.astype(bias.dtype.newbyteorder())):
        same(fastconv.conv(x, w, bias=other, **options), expected)
    for out in lying_elsewhere(np.zeros_like(expected))[:-2]:
        assert fastconv.conv(x, w, bias=bias, out=out, **options) is out
        same(out, expected)


@pytest.mark.parametrize("name", SMALL)
def test_calls_that_are_remembered(name):
    """The short lane takes arrays where they lie."""
    x, w, bias, options = operands(SMALL[name], "float32")
    conv = {3: nn.conv1d, 4: nn.conv2d, 5: nn.conv3d}[x.ndim]
    expected = conv(x, w, bias, **options)
    for other in (x, *lying_elsewhere(x), x):
        same(conv(other, w, bias, **options), expected)


def test_other_calls_do_not_show():
    """What a thread's memory held before is not read."""
    x, w, bias, options = operands(SMALL["strided"], "float32")
    expected = fastconv.conv(x, w, bias=bias, layout="NCHW", **options)
    for algorithm, dtype, name in SMALL_CASES:
        other_x, other_w, _, other_options = operands(SMALL[name], dtype)
        if other_x.dtype.kind in "fc":
            other_x[...] = np.nan
        layout = "NC" + "DHW"[5 - other_x.ndim :]
        fastconv.conv(other_x, other_w, layout=layout, algorithm=algorithm, **other_options)
        same(fastconv.conv(x, w, bias=bias, layout="NCHW", **options), expected)


# --- strict: any batch, layout and part ------------------------------------------------------------------------------

# Layers for which the choice of the algorithm, or of its tiles, depends on the size.
STRICT = {
    "small": ((5, 3, 12, 14), (4, 3, 3, 3), {"padding": 1}),
    "usual": ((3, 16, 24, 26), (24, 16, 3, 3), {"padding": 1}),
    "wide": ((2, 70, 8, 9), (66, 70, 3, 3), {"padding": "same"}),
    "few pixels": ((3, 40, 5, 5), (33, 40, 3, 3), {"padding": 1}),
    "pointwise": ((3, 48, 14, 15), (40, 48, 1, 1), {}),
    "strided": ((3, 8, 25, 27), (12, 8, 3, 3), {"stride": 2, "padding": 1}),
    "dilated": ((2, 6, 17, 19), (9, 6, 3, 2), {"dilation": (2, 3), "padding": (2, 1)}),
    "groups": ((2, 12, 16, 18), (20, 3, 3, 3), {"groups": 4, "padding": 1}),
    "depthwise": ((3, 20, 21, 23), (20, 1, 3, 3), {"groups": 20, "padding": 1}),
    "multiplier": ((2, 6, 13, 15), (18, 1, 5, 3), {"groups": 6, "padding": ((2, 2), (1, 1))}),
    "large kernel": ((2, 1, 60, 70), (2, 1, 17, 17), {"padding": 8}),
    "one channel out": ((2, 30, 14, 15), (1, 30, 3, 3), {"padding": 1}),
    "series": ((3, 12, 300), (16, 12, 9), {"padding": 4}),
    "volume": ((2, 8, 7, 9, 11), (10, 8, 3, 3, 3), {"padding": 1}),
}
strict_layers = pytest.mark.parametrize("name", STRICT)
strict_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])


def strict(x, w, bias=None, *, layout=None, **options):
    layout = layout or "NC" + "DHW"[5 - x.ndim :]
    return fastconv.conv(x, w, bias=bias, layout=layout, accuracy="strict", **options)


@strict_layers
@strict_dtypes
def test_strict_results_of_any_batch(name, dtype):
    x, w, bias, options = operands(STRICT[name], dtype)
    whole = strict(x, w, bias, **options)
    for image in range(len(x)):
        same(strict(x[image : image + 1], w, bias, **options), whole[image : image + 1])
        same(strict(x[image], w, bias, layout="C" + "DHW"[5 - x.ndim :], **options), whole[image])
    same(strict(x[1:], w, bias, **options), whole[1:])
    same(strict(np.concatenate([x] * 5), w, bias, **options)[-len(x) :], whole)


@strict_layers
@strict_dtypes
def test_strict_results_of_either_layout(name, dtype):
    x, w, bias, options = operands(STRICT[name], dtype)
    whole = strict(x, w, bias, **options)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    actual = strict(last, w, bias, layout="N" + "DHW"[5 - x.ndim :] + "C", **options)
    same(np.moveaxis(actual, -1, 1), whole)
    actual = strict(last[0], w, bias, layout="DHW"[5 - x.ndim :] + "C", **options)
    same(np.moveaxis(actual, -1, 0), whole[0])


@strict_layers
@strict_dtypes
def test_strict_results_of_some_output_channels(name, dtype):
    x, w, bias, options = operands(STRICT[name], dtype)
    whole = strict(x, w, bias, **options)
    groups = options.get("groups", 1)
    if groups == 1:
        for start, stop in itertools.pairwise((0, 1, 3, 4, len(w) // 2, len(w))):
            if start < stop <= len(w):
                same(strict(x, w[start:stop], bias[start:stop], **options), whole[:, start:stop])
        return
    per_in, per_out = x.shape[1] // groups, len(w) // groups
    for start, stop in ((0, 1), (1, 3), (groups - 1, groups), (0, groups - 1)):
        inputs, outputs = slice(start * per_in, stop * per_in), slice(start * per_out, stop * per_out)
        actual = strict(x[:, inputs], w[outputs], bias[outputs], **options | {"groups": stop - start})
        same(actual, whole[:, outputs])


def crops_of(sizes):
    """Return ranges of outputs: single ones, some, and all but the border."""
    for pick in (
        lambda n: (0, 1),
        lambda n: (n // 2, n // 2 + 1),
        lambda n: (n // 3, n // 3 + 3),
        lambda n: (1, n - 1),
    ):
        yield [tuple(min(end, n) for end in pick(n)) for n in sizes]


@strict_layers
@strict_dtypes
@pytest.mark.parametrize("boundary", ["constant", "reflect"])
def test_strict_results_of_a_crop(name, dtype, boundary):
    """A crop of the padded input with the halo of its windows, convolved without padding."""
    x, w, bias, options = operands(STRICT[name], dtype)
    rank = x.ndim - 2
    whole = strict(x, w, bias, boundary=boundary, **options)
    pads, strides, dilations = (
        options.get(name, 1 if name != "padding" else 0) for name in ("padding", "stride", "dilation")
    )
    pads = [(1, 1)] * rank if pads == "same" else pads
    pads = [pads] * rank if isinstance(pads, int) else pads
    pads = [(pad, pad) if isinstance(pad, int) else pad for pad in pads]
    strides = (strides,) * rank if isinstance(strides, int) else strides
    dilations = (dilations,) * rank if isinstance(dilations, int) else dilations
    padded = np.pad(x, [(0, 0), (0, 0), *pads], mode=boundary)
    kept = {key: value for key, value in options.items() if key != "padding"}
    for crop in crops_of(whole.shape[2:]):
        reads = [
            slice(start * stride, (stop - 1) * stride + (k - 1) * dilation + 1)
            for (start, stop), stride, k, dilation in zip(crop, strides, w.shape[2:], dilations, strict=True)
        ]
        wanted = whole[(slice(None), slice(None), *(slice(*ends) for ends in crop))]
        same(strict(padded[(slice(None), slice(None), *reads)], w, bias, **kept), wanted)


@strict_layers
def test_strict_results_of_plans_and_faces(name):
    x, w, bias, options = operands(STRICT[name], "float32")
    whole = strict(x, w, bias, **options)
    layout = "NC" + "DHW"[5 - x.ndim :]
    plan = fastconv.plan(w, x.shape, bias=bias, layout=layout, accuracy="strict", **options)
    same(plan(x), whole)
    if options.get("padding") != "same":
        conv = {3: nn.conv1d, 4: nn.conv2d, 5: nn.conv3d}[x.ndim]
        for _ in range(2):
            same(conv(x, w, bias, accuracy="strict", **options), whole)


@strict_layers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strict_results_of_any_algorithm(name, dtype):
    x, w, bias, options = operands(STRICT[name], dtype)
    whole = strict(x, w, bias, **options)
    for algorithm in ("direct", "gemm"):
        same(strict(x, w, bias, algorithm=algorithm, **options), whole)


@strict_layers
def test_strict_results_of_every_level_with_multiply_adds(name):
    x, w, bias, options = operands(STRICT[name], "float32")
    results = []
    for level in fused_levels():
        with levels.use(level):
            results.append(strict(x, w, bias, **options))
    for result in results[1:]:
        same(result, results[0])
