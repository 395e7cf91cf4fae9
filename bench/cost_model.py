"""Whether the cost model picks well: random layers, each by every way that can serve it.

::

    python -m bench.cost_model                 200 layers, each timed by all its candidates, and a verdict
    python -m bench.cost_model --fit           and the constants that would suit these times best
    python -m bench.cost_model --level x86_v3  another level's kernels

A layer is a hit if what `auto` picks takes at most 10 % longer than the best. Those that seem to be none are measured
again, all their candidates alike and longer, before they count.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from fastconv import _costs, _measure, _plan, _problem
from fastconv.drivers import levels
from fastconv.planners.tiles import Choice

SEED = 5
LAYERS = 200
MOST_FLOPS = 1.2e9
MOST_ELEMENTS = 8e6

# What is asked: the share of hits, and the worst ratio.
CLOSE, HITS, WORST = 1.1, 0.9, 1.5

# Seconds for the candidates of a layer, and where the first look says that it is no hit.
FIRST_SECONDS, AGAIN_SECONDS = 0.25, 2.0


@dataclass(frozen=True)
class Layer:
    """A layer, and whether its weights are known before."""

    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    dtype: str
    layout: str
    stride: int
    dilation: int
    groups: int
    padding: tuple[int, int]
    planned: bool

    def problem(self) -> _problem.ConvProblem:
        """Return the canonical problem."""
        x, w = (np.broadcast_to(np.zeros((), self.dtype), shape) for shape in (self.x_shape, self.w_shape))
        options = {"layout": self.layout, "stride": self.stride, "dilation": self.dilation, "groups": self.groups}
        problem, _ = _problem.prepare(x, w, padding=tuple((p, p) for p in self.padding), **options)
        return problem._replace(planned=self.planned)

    def __str__(self) -> str:
        """Show it in a line."""
        more = [f"{name} {value}" for name in ("stride", "dilation", "groups") if (value := getattr(self, name)) > 1]
        x, w = ("x".join(map(str, shape)) for shape in (self.x_shape, self.w_shape))
        words = [self.dtype, self.layout, x, "*", w, f"pad {self.padding[0]},{self.padding[1]}", *more]
        return " ".join([*words, "planned" if self.planned else "plain"])


@dataclass(frozen=True)
class Result:
    """A layer, its candidates, and their seconds."""

    layer: Layer
    choices: list[Choice]
    seconds: list[float]

    @property
    def picked(self) -> int:
        """Return what `auto` picks."""
        return min(range(len(self.choices)), key=lambda i: self.choices[i].cost)

    @property
    def best(self) -> int:
        """Return what takes the least time."""
        return min(range(len(self.choices)), key=lambda i: self.seconds[i])

    @property
    def ratio(self) -> float:
        """Return the time of what is picked over the best."""
        return self.seconds[self.picked] / self.seconds[self.best]


def layers(number: int, seed: int) -> Iterator[Layer]:
    """Make up layers; the same ones for the same seed.

    >>> next(layers(1, 5)) == next(layers(2, 5))
    True
    """
    rng = np.random.default_rng(seed)
    made = 0
    while made < number:
        layer = draw(rng)
        problem = layer.problem() if layer is not None else None
        if layer is None or problem is None or 0 in problem.out_shape:
            continue
        if problem.flops <= MOST_FLOPS and max(problem.x_size, math.prod(problem.out_shape)) <= MOST_ELEMENTS:
            made += 1
            yield layer


def draw(rng: np.random.Generator) -> Layer | None:
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
    padding = tuple((k - 1) // 2 * dilation if padded else 0 for k in kernels)
    windows = [(k - 1) * dilation + 1 for k in kernels]
    batch = one((1, 2, 4, 8), (0.8, 0.08, 0.07, 0.05))
    rest = {
        "dtype": "float64" if rng.random() < 0.15 else "float32",
        "stride": one((1, 2, 3), (0.75, 0.22, 0.03)),
        "planned": bool(rng.random() < 0.5),
    }
    last = rng.random() < 0.35
    if not channels or not channels_out:
        return None
    if any(n + 2 * p < window for n, p, window in zip(sizes, padding, windows, strict=True)):
        return None
    x_shape = (batch, *sizes, channels) if last else (batch, channels, *sizes)
    return Layer(
        x_shape=x_shape,
        w_shape=(channels_out, channels // groups, *kernels),
        layout="NHWC" if last else "NCHW",
        dilation=dilation,
        groups=groups,
        padding=(padding[0], padding[1]),
        **rest,
    )


def measure(layer: Layer, level: str) -> Result:
    """Time all candidates of a layer, and those of one that is no hit once more."""
    problem = layer.problem()
    choices = [choice for choice in _plan.served(_plan.choices_of(problem, level)) if math.isfinite(choice.cost)]
    result = Result(layer, choices, _measure.time_choices(problem, level, choices, FIRST_SECONDS, 1))
    if result.ratio <= CLOSE:
        return result
    again = _measure.time_choices(problem, level, choices, AGAIN_SECONDS, 1)
    return Result(layer, choices, [min(pair) for pair in zip(result.seconds, again, strict=True)])


def report(results: Sequence[Result]) -> bool:
    """Print the verdict and the misses; return whether all is as asked."""
    misses = sorted((result for result in results if result.ratio > CLOSE), key=lambda result: -result.ratio)
    for result in misses:
        picked, best = result.picked, result.best
        print(
            f"{result.ratio:5.2f} x  {result.layer}: picked {result.choices[picked].variant} "
            f"{result.seconds[picked] * 1e6:.0f} us, best {result.choices[best].variant} "
            f"{result.seconds[best] * 1e6:.0f} us"
        )
    share = 1 - len(misses) / len(results)
    worst = max(result.ratio for result in results)
    print(f"within {CLOSE - 1:.0%} of the best: {share:.1%} of {len(results)} layers, asked: {HITS:.0%}")
    print(f"worst ratio: {worst:.2f}, asked: {WORST}")
    return share >= HITS and worst <= WORST


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 if what is asked holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost_model", description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=LAYERS, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the random layers (default: %(default)s)")
    parser.add_argument("--level", default=levels.current(), help="CPU level (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="a JSON file for the work and seconds of all candidates")
    options = parser.parse_args(arguments)
    results = []
    start = perf_counter()
    for layer in layers(options.layers, options.seed):
        results.append(measure(layer, options.level))
    if options.write:
        options.write.write_text(json.dumps([rows_of(result, options.level) for result in results]), encoding="utf-8")
    good = report(results)
    print(f"{options.level}, seed {options.seed}, {perf_counter() - start:.0f} s")
    return 0 if good else 1


def rows_of(result: Result, level: str) -> dict[str, object]:
    """Return all of a result, ready for JSON."""
    return {
        "layer": str(result.layer),
        "level": level,
        "step": step_seconds(result.layer.dtype, level),
        "candidates": [
            {"variant": choice.variant, "seconds": seconds, "work": dict(choice.work)}
            for choice, seconds in zip(result.choices, result.seconds, strict=True)
        ],
    }


def step_seconds(dtype: str, level: str) -> float:
    """Return the seconds of a full vector of multiply-adds at the peak."""
    char = np.dtype(dtype).char
    lanes = levels.describe(level)["vector_bytes"] / np.dtype(dtype).itemsize
    return 2 * lanes / levels.fma_rate(char, 0.01, level)


if __name__ == "__main__":
    sys.exit(main())
