"""Candidates for a problem timed against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from . import _plan, _tunables, _wisdom
from ._problem import ConvProblem
from .drivers import threads as _threads
from .planners.tiles import Choice

Call = Callable[[], object]
Clock = Callable[[], float]


def race(calls: Sequence[Call], seconds: float, clock: Clock = perf_counter) -> list[float]:
    """Time calls in turn, round after round, within about so many seconds.

    The best sample of each counts: on a machine with other work whatever makes one longer comes from outside. A call
    that is far behind drops out.

    Parameters
    ----------
    calls : sequence of callable
        The most promising first: when time is up before a call has run at all, it is left out.
    seconds : float
    clock : callable, optional
        Tells the time in seconds. That of the thread's CPU, `time.thread_time`, leaves out when others had the core,
        and is wrong where a call starts threads.

    Returns
    -------
    list of float
        Seconds of each call; infinite for those left out.
    """
    end = clock() + seconds
    best = [math.inf] * len(calls)
    for i, call in enumerate(calls):
        if i and clock() > end:
            return best
        # The first call may find the caches cold and memory unmapped.
        best[i] = min(elapsed(call, 1, clock), elapsed(call, 1, clock))
    repeats = [max(int(_tunables.SAMPLE_SECONDS / max(one, 1e-7)), 1) for one in best]
    for turn in range(_tunables.MOST_ROUNDS if calls else 0):
        # At first a sample may be unlucky.
        most = _tunables.FAR_BEHIND * (4 if turn < _tunables.FIRST_ROUNDS else 1) * min(best)
        # A coarse clock may say 0.
        racing = [i for i in range(len(calls)) if best[i] <= most]
        # Another one first in every round: nobody always follows the one that leaves the worst cache.
        for i in racing[turn % len(racing) :] + racing[: turn % len(racing)]:
            if clock() > end:
                return best
            best[i] = min(best[i], elapsed(calls[i], repeats[i], clock))
    return best


def elapsed(call: Call, repeats: int, clock: Clock) -> float:
    """Return the seconds of a call, made so often in a row."""
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def time_choices(
    problem: ConvProblem,
    level: str,
    choices: list[Choice],
    seconds: float,
    threads: int | None,
    clock: Clock = perf_counter,
) -> list[float]:
    """Return the seconds that each of some choices takes on arrays of a problem, within about so many seconds.

    Choices without a cost, such as the reference, are not run. Weights are packed before where the problem is planned.
    """
    order = sorted(range(len(choices)), key=lambda i: choices[i].cost)
    order = [i for i in order if math.isfinite(choices[i].cost)]
    arrays = Arrays(problem)
    calls = [arrays.call(_plan.schedule_of(problem, level, choices[i], choices), threads) for i in order]
    times = [math.inf] * len(choices)
    for i, time in zip(order, race(calls, seconds, clock), strict=True):
        times[i] = time
    return times


def fastest(problem: ConvProblem, level: str, threads: int | None) -> _plan.Schedule:
    """Return the schedule that takes the least time, measured now unless it was before.

    Raises
    ------
    ConvError
        As `_plan.make`.
    """
    choices = _plan.candidates(problem, level)
    ways = [choice for choice in _plan.served(choices) if math.isfinite(choice.cost)]
    if len(ways) < 2 or 0 in problem.out_shape:
        return _plan.make(problem, level)
    import hashlib

    number = _threads.get_num_threads() if threads is None else threads
    key = hashlib.sha256(f"{number} {problem}".encode()).hexdigest()[:32]
    won = _wisdom.known(level).plans.get(key)
    taken = next((choice for choice in ways if choice.variant == won), None)
    if taken is not None:
        return _plan.schedule_of(problem, level, taken, choices)._replace(measured=f"{won} was the fastest before")
    times = time_choices(problem, level, ways, _tunables.MEASURE_SECONDS, threads)
    ranked = sorted(zip(times, ways, strict=True), key=lambda pair: pair[0])
    taken = ranked[0][1]
    _wisdom.remember_plan(level, key, taken.variant)
    shown = ", ".join(f"{way.variant} {time * 1e6:.1f} us" for time, way in ranked if time < math.inf)
    schedule = _plan.schedule_of(problem, level, taken, choices)
    return schedule._replace(measured=f"{shown}, threads: {number}")


class Arrays:
    """Arrays for a problem, of numbers that are neither subnormal nor so large that sums would not be finite."""

    def __init__(self, problem: ConvProblem) -> None:
        self.problem = problem
        sizes = dict(zip(problem.spatial_axes, (axis.n for axis in problem.axes), strict=True))
        sizes |= {problem.batch_axis: problem.batch, problem.channel_axis: problem.groups * problem.channels}
        dtype = problem.dtype if problem.stored is None else problem.stored[0]
        self.x = filled(tuple(sizes[i] for i in sorted(sizes) if i >= 0), dtype)
        kernel = tuple(axis.k for axis in problem.axes)
        lead = (problem.groups * problem.channels_out, problem.channels) if problem.channel_axis >= 0 else ()
        self.w = filled((*lead, *kernel), problem.dtype)
        self.out = np.empty(problem.out_shape, problem.out_dtype)
        self.residual = filled(problem.out_shape, problem.out_dtype) if problem.has_residual else None

    def per_channel(self, wanted: bool, dtype: np.dtype) -> np.ndarray | None:
        """Return a number for each output channel, where there are such."""
        return filled((self.problem.groups * self.problem.channels_out,), dtype) if wanted else None

    def call(self, schedule: _plan.Schedule, threads: int | None) -> Call:
        """Return a call of a schedule."""
        p = self.problem
        bias = self.per_channel(p.has_bias, schedule.bias_dtype)
        scale = self.per_channel(p.has_scale, schedule.bias_dtype)
        panels = schedule.pack(self.w) if p.planned else None
        return lambda: schedule.run(self.x, self.w, bias, self.out, threads, panels, scale, self.residual)


def filled(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array of small numbers of both signs, where a dtype has them."""
    pattern = np.array([1, 2, 3, 1, 2, 1, 3]) if dtype.kind in "bu" else np.array([1, -2, 3, -1, 2, -3, 1])
    return np.resize(pattern.astype(dtype), shape)
