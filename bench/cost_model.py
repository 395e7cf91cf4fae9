"""Whether the cost model picks well: random layers, each by every way that can serve it.

::

    python -m bench.cost_model                 200 layers, each timed by all its candidates, and a verdict
    python -m bench.cost_model --fit           1000 others, and the constants that suit them best, for `_costs`
    python -m bench.cost_model --level x86_v3  another level's kernels

A layer is a hit if what `auto` picks takes at most 10 % longer than the best. Those that seem to be none are measured
again, all their candidates alike and longer, before they count. What is measured is the time that the CPU gave to the
thread, so that other work on the machine matters less.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

from fastconv import _costs, _tunables, _tune
from fastconv._draw import Layer, layers
from fastconv.drivers import levels

SEED, LAYERS = 5, 200
FIT_SEED, FIT_LAYERS = 6, 1000
MOST_FLOPS = 1.2e9

# What is asked: the share of hits, and the worst ratio.
HITS, WORST = 0.9, 1.5

# Seconds for the candidates of a layer, and where the first look says that it is no hit.
FIRST_SECONDS, AGAIN_SECONDS = 0.25, 2.0


@dataclass(frozen=True)
class Result:
    """A layer, the candidates' times, and the time of what `auto` picks over the best."""

    layer: Layer
    timed: _tune.Timed
    ratio: float

    def __str__(self) -> str:
        """Show what was picked and what was best."""
        choices, seconds = self.timed.choices, self.timed.seconds
        picked = min(range(len(choices)), key=lambda i: choices[i].cost)
        best = seconds.index(min(seconds))
        return (
            f"{self.ratio:5.2f} x  {self.layer}: picked {choices[picked].variant} {seconds[picked] * 1e6:.0f} us, "
            f"best {choices[best].variant} {seconds[best] * 1e6:.0f} us"
        )


def measure(layer: Layer, level: str) -> Result:
    """Time all candidates of a layer, and those of one that is no hit once more."""
    problem, constants = layer.problem(), _costs.constants(level)
    step = _tune.step_seconds(problem, level)
    timed = _tune.time_layer(problem, level, step, FIRST_SECONDS)
    if timed.ratio(constants) > _tunables.CLOSE:
        again = _tune.time_layer(problem, level, step, AGAIN_SECONDS)
        # A candidate that takes long may have been timed once only.
        before = {choice.variant: time for choice, time in zip(timed.choices, timed.seconds, strict=True)}
        pairs = zip(again.choices, again.seconds, strict=True)
        timed = again._replace(seconds=[min(time, before.get(choice.variant, time)) for choice, time in pairs])
    return Result(layer, timed, timed.ratio(constants))


def results(number: int, seed: int, level: str) -> Iterator[Result]:
    """Measure layers, and say from time to time how far this is."""
    for i, layer in enumerate(islice(layers(seed, MOST_FLOPS), number)):
        if sys.stderr.isatty():
            print(f"{i} of {number}", end="\r", file=sys.stderr)
        yield measure(layer, level)


def report(measured: Sequence[Result]) -> bool:
    """Print the verdict and the misses; return whether all is as asked."""
    misses = sorted((result for result in measured if result.ratio > _tunables.CLOSE), key=lambda one: -one.ratio)
    for result in misses:
        print(result)
    share, worst = 1 - len(misses) / len(measured), max(result.ratio for result in measured)
    print(f"within {_tunables.CLOSE - 1:.0%} of the best: {share:.1%} of {len(measured)} layers, asked: {HITS:.0%}")
    print(f"worst ratio: {worst:.2f}, asked: {WORST}")
    return share >= HITS and worst <= WORST


def fit(measured: Sequence[Result], level: str) -> None:
    """Print the constants that suit the times best, as `_costs` has them."""
    timed, usual = [result.timed for result in measured], _costs.CONSTANTS
    constants = _tune.fit(timed, usual)
    for name in usual:
        print(f'    "{name}": {constants[name]:.3g},')
    print(f"hits: {_tune.hits(timed, usual):.1%} now, {_tune.hits(timed, constants):.1%} with these constants")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check or the fit; 0 if what is asked holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost_model", description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="fit constants instead of checking those in use")
    parser.add_argument("--layers", type=int, help=f"how many (default: {LAYERS}, to fit {FIT_LAYERS})")
    parser.add_argument("--seed", type=int, help=f"of the random layers (default: {SEED}, to fit {FIT_SEED})")
    parser.add_argument("--level", default=levels.current(), help="CPU level (default: %(default)s)")
    options = parser.parse_args(arguments)
    number = options.layers or (FIT_LAYERS if options.fit else LAYERS)
    seed = options.seed or (FIT_SEED if options.fit else SEED)
    start = perf_counter()
    measured = [result for result in results(number, seed, options.level) if result.timed.choices]
    good = True
    if options.fit:
        fit(measured, options.level)
    else:
        good = report(measured)
    print(f"{options.level}, seed {seed}, {perf_counter() - start:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
