"""Layers and filters made up at random: what a cost model is fitted to and checked with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from . import _problem

# Elements of an operand or result at most.
MOST_ELEMENTS = 8e6


@dataclass(frozen=True)
class Layer:
    """A layer, and whether its weights are known before."""

    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    dtype: str
    layout: str | None
    stride: int
    dilation: int
    groups: int
    padding: tuple[int, ...]
    planned: bool

    def problem(self) -> _problem.ConvProblem:
        """Return the canonical problem."""
        x, w = (np.broadcast_to(np.zeros((), self.dtype), shape) for shape in (self.x_shape, self.w_shape))
        problem, _ = _problem.prepare(
            x,
            w,
            layout=self.layout,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            padding=tuple((p, p) for p in self.padding),
        )
        return problem._replace(planned=self.planned)

    def __str__(self) -> str:
        """Show it in a line."""
        more = [f"{name} {value}" for name in ("stride", "dilation", "groups") if (value := getattr(self, name)) > 1]
        x, w = ("x".join(map(str, shape)) for shape in (self.x_shape, self.w_shape))
        words = [self.dtype, self.layout or "filter", x, "*", w, f"pad {','.join(map(str, self.padding))}", *more]
        return " ".join([*words, "planned" if self.planned else "plain"])


def layers(seed: int, most_flops: float) -> Iterator[Layer]:
    """Make up layers without end; the same ones for the same seed.

    Channels are 1 to 512, sizes 1 to 224, kernels 1 to 11, with strides, dilations, groups and depthwise layers, in
    either layout, in float32 and some in float64. One in eight is a filter without channels, of a signal, an image or a
    volume.

    Examples
    --------
    >>> from fastconv._draw import layers
    >>> next(layers(5, 1e9)) == next(layers(5, 1e9))
    True
    """
    networks, filters = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    number = 0
    while True:
        layer = _filter(filters) if number % 8 == 7 else _draw(networks)
        if layer is None:
            continue
        problem = layer.problem()
        elements = max(problem.x_size, math.prod(problem.out_shape))
        if 0 not in problem.out_shape and problem.flops <= most_flops and elements <= MOST_ELEMENTS:
            number += 1
            yield layer


def _filter(rng: np.random.Generator) -> Layer | None:
    """Make up a filter, or none where the kernel would not fit."""
    rank = int(rng.choice((1, 2, 3), p=(0.4, 0.45, 0.15)))
    most_samples, most_taps = ((1e6, 600), (1500, 40), (100, 9))[rank - 1]
    n, k = (round(math.exp(rng.uniform(math.log(3), math.log(most)))) for most in (most_samples, most_taps))
    dtype = "float64" if rng.random() < 0.4 else "float32"
    if k > n:
        return None
    return Layer((n,) * rank, (k,) * rank, dtype, None, 1, 1, 1, ((k - 1) // 2,) * rank, bool(rng.random() < 0.5))


def _draw(rng: np.random.Generator) -> Layer | None:
    """Make up a layer, or none where the kernel would not fit."""

    def one(values: Sequence[int], odds: Sequence[float] | None = None) -> int:
        return int(rng.choice(values, p=odds))

    def logarithmic(most: int) -> int:
        return round(math.exp(rng.uniform(0, math.log(most))))

    kernel = one((1, 2, 3, 4, 5, 7, 9, 11), (0.25, 0.03, 0.4, 0.03, 0.12, 0.07, 0.05, 0.05))
    kernels = (kernel, kernel) if rng.random() < 0.85 else (kernel, one((1, 3, 5)))
    dilation = one((1, 2, 3), (0.88, 0.08, 0.04)) if kernel > 1 else 1
    channels, channels_out, groups = logarithmic(512), logarithmic(512), 1
    kind = rng.random()
    if kind < 0.2:
        groups, channels_out = channels, channels * one((1, 2), (0.85, 0.15))
    elif kind < 0.35:
        groups = one((2, 4, 8, 32))
        channels, channels_out = channels // groups * groups, channels_out // groups * groups
    size = logarithmic(224)
    sizes = (size, size) if rng.random() < 0.8 else (size, logarithmic(224))
    padded = rng.random() < 0.75
    height, width = ((k - 1) // 2 * dilation if padded else 0 for k in kernels)
    windows = [(k - 1) * dilation + 1 for k in kernels]
    batch = one((1, 2, 4, 8), (0.8, 0.08, 0.07, 0.05))
    double, stride, planned = rng.random() < 0.15, one((1, 2, 3), (0.75, 0.22, 0.03)), rng.random() < 0.5
    last = rng.random() < 0.35
    if not channels or not channels_out:
        return None
    if any(n + 2 * p < window for n, p, window in zip(sizes, (height, width), windows, strict=True)):
        return None
    return Layer(
        x_shape=(batch, *sizes, channels) if last else (batch, channels, *sizes),
        w_shape=(channels_out, channels // groups, *kernels),
        dtype="float64" if double else "float32",
        layout="NHWC" if last else "NCHW",
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=(height, width),
        planned=bool(planned),
    )
