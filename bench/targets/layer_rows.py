"""Targets of fastconv.nn: against torch, and against the FMA peak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from bench import machine
from bench.layers import Layer, by_name, load
from bench.measure import OURS
from bench.networks import layer_arrays
from bench.peers import fastconv_layer, torch_layer
from bench.timing import Call, Effort, Timed, race

from .row import Row, against, geometric_mean

# Layers big enough to show how near the micro-kernel comes to the peak, and the share that is asked of them.
COMPUTE_BOUND = {
    "resnet.l2_128x28_3x3_128": 0.85,
    "vgg.3_2_256x56_3x3_256": 0.85,
    "batch8_resnet.l2_128x28_3x3": 0.85,
    "resnet.1x1s2_512x28_1024": 0.75,
}

_PEAK = "peak"
_PEAK_SECONDS = 0.005


def cnn(effort: Effort) -> Iterator[Row]:
    """Layers with many channels against torch."""
    rows = []
    for layer in load("cnn"):
        rows.append(_against_torch("conv2d, each cnn layer, against torch", layer, 1.0, effort))
        yield rows[-1]
    yield geometric_mean("conv2d, cnn layers, geometric mean against torch", rows, 1.1)


def depthwise(effort: Effort) -> Iterator[Row]:
    """Depthwise layers against torch."""
    rows = []
    for layer in load("depthwise"):
        rows.append(_against_torch("conv2d, each depthwise layer, against torch", layer, None, effort))
        yield rows[-1]
    yield geometric_mean("conv2d, depthwise layers, geometric mean against torch", rows, 1.5)


def peak(effort: Effort) -> Iterator[Row]:
    """Share of the FMA peak of the level in use."""
    yield from peak_rows(COMPUTE_BOUND.items(), "", effort)


def peak_rows(asked: Iterable[tuple[str, float]], suffix: str, effort: Effort) -> Iterator[Row]:
    """Shares of the FMA peak that the layers called so reach, the peak measured in the same rounds."""
    for name, target in asked:
        layer = by_name(name)
        rates: list[float] = []
        seconds = race({OURS: Timed.once(_ours(layer)), _PEAK: Timed.once(peak_probe(rates))}, effort)[OURS]
        share = layer.flops / seconds / max(rates)
        line = f"conv2d, share of the FMA peak{suffix}, asked {target:.0%}"
        yield Row(line, name, share, "%", target, seconds=seconds, peer=f"{max(rates) * 1e-9:.0f} GFLOP/s peak")


def _against_torch(line: str, layer: Layer, target: float | None, effort: Effort) -> Row:
    x, w = layer_arrays(layer)
    ours, theirs = fastconv_layer(x, w, layer), torch_layer(x, w, layer)
    return against(line, layer.name, target, ours, ("torch", theirs), (x, w), effort)


def _ours(layer: Layer) -> Call:
    return fastconv_layer(*layer_arrays(layer), layer)


def peak_probe(rates: list[float]) -> Call:
    """A call that measures the FMA peak of float32, and puts it into `rates`."""

    def probe() -> None:
        rate = machine.fma_peak(np.dtype(np.float32), _PEAK_SECONDS)
        assert rate is not None
        rates.append(rate)

    return probe
