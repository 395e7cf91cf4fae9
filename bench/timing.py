"""Timing that favours nobody: everyone in turn, round after round, the best sample counts."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

Call = Callable[[], Any]

# A first call this slow is no warming up: it needs no second look before it counts as one call a sample.
_SLOW_SECONDS = 0.05

# A peer whose first run took so many times that of the fastest, and longer than any start-up, is not run again.
_HOPELESS = 10.0
_START_UP_SECONDS = 0.02

# Takes a sample: seconds a call, and seconds that all of it took.
Sampler = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Each call is sampled in up to `rounds` rounds. One that has used up its `seconds` drops out, but not
    before `least` rounds: a peer that takes half a second must not decide how long the whole run takes. A
    call whose first run took longer than `once_above` is not repeated; that run counts.
    """

    rounds: int
    seconds: float
    least: int
    once_above: float = math.inf
    sample_seconds: float = 1e-3


QUICK = Effort(rounds=30, seconds=0.06, least=1, once_above=0.15)
FULL = Effort(rounds=300, seconds=1.2, least=3)


@dataclass(frozen=True)
class Timed:
    """A call that has run once: what it returned, and how long that took."""

    call: Call
    result: Any
    seconds: float

    @classmethod
    def once(cls, call: Call) -> Timed:
        """Run `call` for the first time."""
        start = perf_counter_ns()
        result = call()
        return cls(call, result, (perf_counter_ns() - start) * 1e-9)


def race(entries: Mapping[str, Timed], effort: Effort) -> dict[str, float]:
    """Best seconds a call of every entry.

    The best and not the mean: on a shared machine whatever makes a sample longer comes from outside the code.
    """
    best = {name: entry.seconds for name, entry in entries.items() if entry.seconds > effort.once_above}
    calls = {name: entry.call for name, entry in entries.items() if name not in best}
    with _garbage_collector_off():
        return best | rounds({name: sampler(call, effort.sample_seconds) for name, call in calls.items()}, effort)


def rounds(samplers: Mapping[str, Sampler], effort: Effort) -> dict[str, float]:
    """Best seconds a call of every sampler, wherever it takes its samples."""
    best = dict.fromkeys(samplers, math.inf)
    spent = dict.fromkeys(samplers, 0.0)
    names = list(samplers)
    for turn in range(effort.rounds if names else 0):
        # Another one first in every round: nobody always follows the one that leaves the worst cache.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if spent[name] >= effort.seconds and turn >= effort.least:
                continue
            seconds, altogether = samplers[name]()
            spent[name] += altogether
            best[name] = min(best[name], seconds)
    return best


def sampler(call: Call, sample_seconds: float) -> Sampler:
    """Takes samples of `call`, in which it is repeated until `sample_seconds` are over."""
    repeats = _calibrate(call, sample_seconds)

    def sample() -> tuple[float, float]:
        seconds = _sample(call, repeats)
        return seconds, seconds * repeats

    return sample


def in_the_running(entries: Mapping[str, Timed]) -> dict[str, Timed]:
    """The entries that could turn out to be the fastest."""
    limit = max(_HOPELESS * min(entry.seconds for entry in entries.values()), _START_UP_SECONDS)
    return {name: entry for name, entry in entries.items() if entry.seconds <= limit}


def best_seconds(call: Call, effort: Effort) -> float:
    """Best seconds of one call on its own."""
    return race({"call": Timed.once(call)}, effort)["call"]


def _sample(call: Call, repeats: int) -> float:
    """Mean seconds a call over `repeats` calls in a row."""
    if repeats > 1:
        # Whoever ran before has left its data in the cache; many short calls would start on that footing.
        _elapsed(call, max(1, repeats // 8))
    return _elapsed(call, repeats) / repeats


def _calibrate(call: Call, sample_seconds: float) -> int:
    """How many calls in a row fill a sample."""
    repeats = 1
    first = _elapsed(call, repeats)
    if first > _SLOW_SECONDS:
        return repeats
    while (seconds := _elapsed(call, repeats)) < sample_seconds:
        growth = 1.2 * sample_seconds / max(seconds, 1e-7)
        repeats = math.ceil(repeats * min(max(growth, 1.5), 100.0))
    return repeats


def _elapsed(call: Call, repeats: int) -> float:
    turns = range(repeats)
    start = perf_counter_ns()
    for _ in turns:
        call()
    return (perf_counter_ns() - start) * 1e-9


@contextmanager
def _garbage_collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
