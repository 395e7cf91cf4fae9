"""Targets of plans, transposed convolutions, gradients, other ranks and dtypes, and quantised layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from timeit import repeat

import numpy as np
from numpy.typing import NDArray

from bench import agreement, networks
from bench.layers import Layer, by_name, load
from bench.peers import Work
from bench.timing import FULL, Effort, Timed, race

from .row import Contest, Row, geometric_mean

PLANNED_EACH, PLANNED_MEAN = 0.9, 1.0
DEPTHWISE_MEAN = 1.0
TRAINING_EACH, TRAINING_MEAN = 0.9, 1.1
DTYPES = {"float64": 2.0, "complex64": 2.0}
HALF_TARGET = 0.8
INT8_TARGET = 0.8
OVERHEAD_TARGET_US = 2.0
ERROR_TARGET_PPM = 1.0

# (what, shape of x, shape of w, padding)
RANKS = (
    ("conv3d 32x32^3 3^3 32", (1, 32, 32, 32, 32), (32, 32, 3, 3, 3), 1),
    ("conv1d 64x16000 9 64", (1, 64, 16000), (64, 64, 9), 4),
)
DTYPE_LAYER = "resnet.l1_64x56_3x3_64"
HALF_LAYERS = ("resnet.l1_64x56_3x3_64", "resnet.1x1_256x56_64", "dw_144x56_3x3s1")


def planned(effort: Effort) -> Iterator[Row]:
    """Planned layers against the best of the libraries for networks, the layout of each its own choice."""
    rows = []
    for layer in load("cnn"):
        rows.append(_planned_row("planned conv2d, each cnn layer, against the best peer", layer, PLANNED_EACH, effort))
        yield rows[-1]
    yield geometric_mean("planned conv2d, cnn layers, geometric mean against the best peer", rows, PLANNED_MEAN)


def planned_depthwise(effort: Effort) -> Iterator[Row]:
    """Planned depthwise layers against the best of the libraries for networks."""
    rows = []
    for layer in load("depthwise"):
        rows.append(_planned_row("planned conv2d, each depthwise layer, against the best peer", layer, None, effort))
        yield rows[-1]
    line = "planned conv2d, depthwise layers, geometric mean against the best peer"
    yield geometric_mean(line, rows, DEPTHWISE_MEAN)


def training(effort: Effort) -> Iterator[Row]:
    """Transposed convolutions and gradients against torch."""
    rows = []
    for layer in load("transpose"):
        _, w = networks.layer_arrays(layer)
        y = networks.result_gradient(layer)
        ours = networks.transposed_fastconv(y, w, layer)
        rows.append(_training_row(layer.name, y, w, ours, networks.transposed_torch(y, w, layer), effort))
        yield rows[-1]
    for wrt in ("input", "weight"):
        for layer in load("grad"):
            x, w = networks.layer_arrays(layer)
            ours, peers = networks.gradient_fastconv(x, w, layer, wrt), networks.gradient_torch(x, w, layer, wrt)
            rows.append(_training_row(f"grad_{wrt} {layer.name}", x, w, ours, peers, effort))
            yield rows[-1]
    yield geometric_mean("transposed and gradients, geometric mean against torch", rows, TRAINING_MEAN)


def ranks(effort: Effort) -> Iterator[Row]:
    """Convolutions of one and of three axes, and of other dtypes, against torch."""
    for name, x_shape, w_shape, padding in RANKS:
        yield _against_torch(
            "conv1d and conv3d, against torch", name, 1.0, (x_shape, w_shape, "float32", padding), effort
        )
    layer = by_name(DTYPE_LAYER)
    for dtype, target in DTYPES.items():
        work = (layer.x_shape, layer.w_shape, dtype, layer.pad)
        yield _against_torch(f"conv2d {dtype}, against torch", f"{layer.name} {dtype}", target, work, effort)


def half(effort: Effort) -> Iterator[Row]:
    """float16 and bfloat16 against float32, all of them fastconv."""
    import ml_dtypes

    for name in HALF_LAYERS:
        layer = by_name(name)
        x, w = networks.layer_arrays(layer)
        for dtype in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
            ours = networks.planned(x.astype(dtype), w.astype(dtype), layer)["NCHW"]
            theirs = networks.planned(x, w, layer)["NCHW"]
            best = race({"half": Timed.once(ours), "float32": Timed.once(theirs)}, effort)
            ratio = best["float32"] / best["half"]
            line = "float16 and bfloat16 over the speed of float32"
            yield Row(line, f"{name} {dtype}", ratio, "x", HALF_TARGET, True, best["half"], "float32", best["float32"])


def int8(effort: Effort) -> Iterator[Row]:
    """Quantised layers against onnxruntime."""
    for layer in load("int8"):
        x, w = networks.int8_arrays(layer)
        ours = {"": networks.int8_fastconv(x, w, layer)["fastconv planned"]}
        peers = networks.int8_onnxruntime(x, w, layer, threads=1)
        contest = Contest("qlinear_conv, against onnxruntime", layer.name, INT8_TARGET, ours, peers, 0.0, 0)
        yield from contest.rows(effort)


def overhead(effort: Effort) -> Iterator[Row]:
    """What a call of a plan takes for next to no work."""
    import fastconv

    x, w = np.ones((1, 8, 8, 8), np.float32), np.ones((8, 8, 3, 3), np.float32)
    plan = fastconv.plan(w, x.shape, layout="NCHW", padding=1)
    calls = 2000
    seconds = min(repeat(lambda: plan(x), number=calls, repeat=50 if effort is FULL else 10)) / calls
    line = "call of a plan, 1x8x8x8 with 3x3 to 8 channels"
    yield Row(line, "plan", seconds * 1e6, "us", OVERHEAD_TARGET_US, at_least=False, seconds=seconds)


def accuracy(effort: Effort) -> Iterator[Row]:
    """How far layers are from float64: the error's root mean square over the standard deviation of the result."""
    import fastconv

    for layer in load("cnn") if effort is FULL else load("int8"):
        x, w = networks.layer_arrays(layer)
        options = (layer.stride, layer.pad, layer.dilation, layer.groups)
        truth = fastconv.nn.conv2d(x.astype("d"), w.astype("d"), None, *options, accuracy="strict")
        for layout, call in networks.planned(x, w, layer).items():
            error = float(np.sqrt(np.mean((call() - truth) ** 2)) / truth.std()) * 1e6
            line = "error of the default accuracy over float64, rms over the standard deviation"
            yield Row(line, f"{layout} {layer.name}", error, "ppm", ERROR_TARGET_PPM, at_least=False)


def _planned_row(line: str, layer: Layer, target: float | None, effort: Effort) -> Row:
    """The better of fastconv's layouts against the best of the peers'."""
    x, w = networks.layer_arrays(layer)
    allowed = agreement.tolerance(x, w)
    ours, peers = networks.planned(x, w, layer), networks.layer_peers(x, w, layer)
    rows = Contest(line, layer.name, target, ours, peers, allowed, layer.kh // 2).rows(effort)
    return max(rows, key=lambda row: -math.inf if math.isnan(row.value) else row.value)


def _training_row(name: str, x: NDArray, w: NDArray, ours: Work, peers: Mapping[str, Work], effort: Effort) -> Row:
    allowed = agreement.gradient_tolerance(x, w)
    line = "transposed and gradients, each, against torch"
    (row,) = Contest(line, name, TRAINING_EACH, {"": ours}, peers, allowed, 1).rows(effort)
    return row


def _against_torch(
    line: str, name: str, target: float, work: tuple[tuple[int, ...], tuple[int, ...], str, int], effort: Effort
) -> Row:
    import fastconv

    x_shape, w_shape, dtype, padding = work
    rng = np.random.default_rng(0)
    x, w = (_random(rng, shape, dtype) for shape in (x_shape, w_shape))
    function: Callable[..., NDArray] = getattr(fastconv.nn, f"conv{x.ndim - 2}d")
    peers = networks.torch_convolution(x, w, padding)
    ours: dict[str, Work] = {"": lambda: function(x, w, padding=padding)}
    (row,) = Contest(line, name, target, ours, peers, agreement.tolerance(x, w), w_shape[-1] // 2).rows(effort)
    return row


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray:
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape)).astype(dtype) if dtype.startswith("c") else values.astype(dtype)
