"""The cost model fitted to the times that layers take on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np

from . import _costs, _draw, _measure, _plan, _problem, _tunables, _wisdom
from ._errors import ConvTypeError
from .drivers import levels
from .planners.tiles import Choice

__all__ = ["Tuned", "tune"]

Progress = Callable[[float], object]


class Tuned(NamedTuple):
    """What `tune` measured.

    Attributes
    ----------
    cpu, level : str
        What it is for.
    layers : int
        How many were timed.
    hits_before, hits_after : float
        The share of them where the algorithm that the cost model picks takes at most 10 % longer than the best, by the
        constants that fastconv comes with, and by those that are used from now on.
    constants : dict
        Those by name, in vector multiply-adds at the peak; see `_costs`.
    path : str or None
        The file that they were written to, if any.
    """

    cpu: str
    level: str
    layers: int
    hits_before: float
    hits_after: float
    constants: dict[str, float]
    path: str | None


class Timed(NamedTuple):
    """A layer whose candidates were timed, in seconds, and the seconds of a vector of multiply-adds at the peak."""

    choices: list[Choice]
    seconds: list[float]
    step: float

    def ratio(self, constants: dict[str, float]) -> float:
        """Return the seconds of what constants would pick over those of the best."""
        costs = [sum(count * constants[name] for name, count in choice.work.items()) for choice in self.choices]
        return self.seconds[costs.index(min(costs))] / min(self.seconds)


def tune(seconds: float = 25.0, *, progress: Progress | None = None) -> Tuned:
    """Fit the choice of algorithms to this CPU, for this process and, through a file, for later ones.

    fastconv picks algorithms by what they should cost, and its constants were measured on one machine. This times small
    layers of all kinds, each by all the algorithms that can serve it, in one thread, fits the constants to the times,
    and writes them to a file that every process finds: ``fastconv/wisdom.json`` in the user's folder for caches
    (``$XDG_CACHE_HOME`` or ``~/.cache``), or the path that the variable ``FASTCONV_WISDOM`` holds; if that is empty,
    none is read or written. What plans with ``effort="measure"`` found in this process is written along with them. The
    file is read when the first call is planned, and counts for the CPU, level and version that it was made with.
    Constants that would pick no better than fastconv's own are not used.

    A result's bits depend on the algorithm, so they may be others afterwards, within the same bounds of error. Under
    ``accuracy="strict"`` they may not. What was planned before, such as a `Plan`, or a call of the same shapes as one
    before, stays as it is.

    Parameters
    ----------
    seconds : float, default 25
        How long to measure, about. With 0 nothing is measured, and what plans have found is written alone.
    progress : callable, optional
        Called now and then with the share that is done, from 0 to 1.

    Returns
    -------
    Tuned
        Of the attributes `cpu`, `level`, `layers`, `hits_before`, `hits_after`, `constants` and `path`.

    Raises
    ------
    ConvTypeError
        If `seconds` is not a number from 0 to 3600.
    OSError
        If the file cannot be written; this process is tuned nevertheless.

    Examples
    --------
    >>> import fastconv
    >>> tuned = fastconv.tune()  # doctest: +SKIP
    >>> tuned.hits_before, tuned.hits_after  # doctest: +SKIP
    (0.83, 0.95)
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= 3600:
        raise ConvTypeError(f"seconds: got {seconds!r}, allowed: a number from 0 to 3600")
    level = levels.current()
    usual = _costs.CONSTANTS
    timed = list(measure(level, float(seconds), progress))
    constants = dict(_costs.constants(level))
    if timed:
        constants = better(timed, usual)
        _costs.use(level, constants)
        # What was planned by other costs.
        _plan.make.cache_clear()
    path = _wisdom.save()
    return Tuned(_wisdom.cpu_name(), level, len(timed), hits(timed, usual), hits(timed, constants), constants, path)


def measure(level: str, seconds: float, progress: Progress | None) -> Iterator[Timed]:
    """Time layers until time is up."""
    start = perf_counter()
    if not seconds:
        return
    steps: dict[np.dtype[np.generic], float] = {}
    for layer in _draw.layers(_tunables.TUNE_SEED, _tunables.TUNE_FLOPS):
        done = (perf_counter() - start) / seconds
        if progress is not None:
            progress(min(done, 1.0))
        if done >= 1:
            return
        problem = layer.problem()
        step = steps.get(problem.dtype)
        if step is None:
            step = steps[problem.dtype] = step_seconds(problem, level)
        timed = time_layer(problem, level, step, _tunables.TUNE_LAYER_SECONDS)
        if len(timed.choices) > 1:
            yield timed


def time_layer(problem: _problem.ConvProblem, level: str, step: float, seconds: float) -> Timed:
    """Time all candidates of a problem, in one thread and by the time that it had."""
    choices = [choice for choice in _plan.served(_plan.choices_of(problem, level)) if math.isfinite(choice.cost)]
    times = _measure.time_choices(problem, level, choices, seconds, 1, thread_time)
    ran = [i for i, time in enumerate(times) if 0 < time < math.inf]
    return Timed([choices[i] for i in ran], [times[i] for i in ran], step)


def step_seconds(problem: _problem.ConvProblem, level: str) -> float:
    """Return the seconds of a full vector of multiply-adds at the peak."""
    lanes = levels.describe(level)["vector_bytes"] / problem.dtype.itemsize
    return 2 * lanes / levels.fma_rate(problem.dtype.char, 0.05, level)


def hits(timed: Sequence[Timed], constants: dict[str, float]) -> float:
    """Return the share of layers where constants pick what is best, or takes at most 10 % longer."""
    if not timed:
        return math.nan
    return sum(one.ratio(constants) <= _tunables.CLOSE for one in timed) / len(timed)


def better(timed: Sequence[Timed], usual: dict[str, float]) -> dict[str, float]:
    """Return fitted constants, or the usual ones where those pick as well."""
    fitted = fit(timed, usual)

    def lost(constants: dict[str, float]) -> float:
        return float(np.mean([math.log(min(one.ratio(constants), 4.0)) for one in timed]))

    return fitted if lost(fitted) < lost(usual) else usual


def fit(timed: Sequence[Timed], usual: dict[str, float]) -> dict[str, float]:
    """Return the constants by which work explains the times best.

    The least squares of the logarithms of predicted over measured times, in the logarithms of the constants, by Gauss
    and Newton's method. They are drawn a little to the usual constants, so that what nothing was measured of stays as
    it is, and large errors count less than by their squares, because they are those of the formulas. Candidates that
    are far behind have few samples and are no choices: they are left out.
    """
    names = sorted(usual)
    shares = np.array(
        [
            [choice.work.get(name, 0.0) * usual[name] * one.step / seconds for name in names]
            for one in timed
            for choice, seconds in zip(one.choices, one.seconds, strict=True)
            if seconds <= _tunables.FIT_FAR_BEHIND * min(one.seconds)
        ]
    )
    prior, limit = _tunables.FIT_PRIOR, math.log(_costs.BOUND / 2)
    factors = np.zeros(len(names))
    for _ in range(_tunables.FIT_ROUNDS):
        parts = shares * np.exp(factors)
        predicted = parts.sum(1)
        error = np.log(predicted)
        weights = 1 / np.sqrt(1 + (error / _tunables.FIT_USUAL_ERROR) ** 2)
        slopes = parts / predicted[:, None]
        matrix = (slopes * weights[:, None]).T @ slopes + prior * np.eye(len(names))
        step = np.linalg.solve(matrix, slopes.T @ (weights * error) + prior * factors)
        factors = np.clip(factors - np.clip(step, -0.7, 0.7), -limit, limit)
    return {name: float(usual[name] * math.exp(factor)) for name, factor in zip(names, factors, strict=True)}
