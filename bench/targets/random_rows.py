"""The target of any call: no slower than the function it replaces, whatever the function, size and dtype."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench import agreement
from bench.measure import OURS
from bench.timing import FULL, Effort, Timed, race

from .draw import RandomCall, calls
from .row import Row

CALLS = 300
QUICK_CALLS = 60
# How much slower a call may be: a part of the peer's time, and seconds.
SHARE, SECONDS = 0.10, 2e-6

LINE = "each of the random calls: time over that of the function replaced + 10 % + 2 us"
WORST_SHOWN = 10

# A look that tells most calls from the slow ones; one at a call that seems slow; one at a call that is slow by so
# little that chance could have done it.
_LOOK = Effort(rounds=40, seconds=0.08, least=2, once_above=0.3)
_SECOND_LOOK = replace(_LOOK, rounds=400, seconds=0.25, least=5)
_THIRD_LOOK = replace(_LOOK, rounds=1000, seconds=1.0, least=12)
_CHANCE = 1.5

# What SciPy's transforms answer in.
_TRANSFORMED = "fdgFDG"

# No filter of ndimage without weights of its own has more taps, or a larger sum of their magnitudes.
_FILTER_TAPS, _FILTER_GAIN = 1000, 16.0


def random_calls(effort: Effort) -> Iterator[Row]:
    """Every call that is too slow, the worst of the others, and the mean of all."""
    rows = []
    for number in range(CALLS if effort is FULL else QUICK_CALLS):
        rows.append(measured(number))
        if not rows[-1].passed:
            yield rows[-1]
    yield from sorted((row for row in rows if row.passed), key=lambda row: -row.value)[:WORST_SHOWN]
    ratios = [row.peer_seconds / row.seconds for row in rows if row.seconds and row.peer_seconds]
    mean = math.exp(float(np.mean(np.log(ratios)))) if ratios else math.nan
    yield Row("random calls, geometric mean", f"{len(ratios)} of {len(rows)} calls, geometric mean", mean, "x", None)


def measured(number: int) -> Row:
    """The row of the call with this `number`: our time as a multiple of what it may be."""
    with warnings.catch_warnings():
        # What a peer has to say about a dtype is of no interest here, and takes time only once.
        warnings.simplefilter("ignore")
        call, theirs = _taken_by_the_peer(number)
        work = f"#{number} {call}"
        try:
            ours = Timed.once(call.ours())
        except Exception as error:  # the other calls are still wanted
            return Row(LINE, work, math.nan, "x", 1.0, at_least=False, note=f"{type(error).__name__}: {error}")
        wrong = _disagreement(call, ours.result, theirs.result)
        if wrong:
            return Row(LINE, work, math.nan, "x", 1.0, at_least=False, note=f"differs: {wrong}")
        best = _race({OURS: ours, call.face: theirs}, call.face)
    value = _over_allowed(best[OURS], best[call.face])
    return Row(
        LINE,
        work,
        value,
        "x",
        1.0,
        at_least=False,
        seconds=best[OURS],
        peer=call.face,
        peer_seconds=best[call.face],
    )


def _taken_by_the_peer(number: int) -> tuple[RandomCall, Timed]:
    """The first call with this `number` that the peer does not refuse."""
    for call in calls(number):
        try:
            return call, Timed.once(call.theirs())
        except Exception:  # SciPy and NumPy have many types for their refusals
            continue
    raise AssertionError("calls() has no end")


def _race(entries: dict[str, Timed], peer: str) -> dict[str, float]:
    """Best seconds of both over as many looks as it takes to be sure that ours is too slow."""
    best = dict.fromkeys(entries, math.inf)
    for effort, unsure in ((_LOOK, math.inf), (_SECOND_LOOK, _CHANCE), (_THIRD_LOOK, 0.0)):
        again = race(entries, effort)
        best = {name: min(best[name], again[name]) for name in entries}
        if not 1.0 < _over_allowed(best[OURS], best[peer]) <= unsure:
            break
    return best


def _over_allowed(ours: float, theirs: float) -> float:
    return ours / (theirs * (1.0 + SHARE) + SECONDS)


def _disagreement(call: RandomCall, ours: object, theirs: object) -> str | None:
    if call.function == "choose_conv_method":
        # Where an algorithm gets faster than the other is each library's own affair.
        return None if ours in ("direct", "fft") else f"got {ours!r}"
    result, truth = np.asarray(ours), np.asarray(theirs)
    if call.function in ("fftconvolve", "oaconvolve") and truth.dtype.char not in _TRANSFORMED:
        # SciPy keeps such a dtype only where it finds no axis to transform; fastconv does not let sizes decide.
        truth = truth.astype(result.dtype)
    if result.dtype != truth.dtype:
        return f"dtype {result.dtype}, not {truth.dtype}"
    if truth.size == 0 or truth.ndim == 0:
        return None if result.shape == truth.shape else f"shape {result.shape}, not {truth.shape}"
    allowed = _allowed(call, truth)
    if truth.dtype.kind in "iu":
        # As numbers whose difference does not wrap.
        truth = truth.astype(np.longdouble)
    return agreement.disagreement(result, truth, allowed, 0)


def _allowed(call: RandomCall, truth: NDArray) -> float:
    """How far apart the results of two right functions may be."""
    if truth.dtype.kind not in "fc":
        # ndimage cuts the fraction off, and a rounding can carry a sum over a whole number.
        return 1.0 if call.face == "ndimage" and truth.dtype.kind in "iu" else 0.0
    x, *weights = (np.asarray(array, dtype=truth.dtype) for array in call.arrays)
    kernel = weights[0].reshape(1, -1) if weights else np.full((1, _FILTER_TAPS), _FILTER_GAIN / _FILTER_TAPS)
    return agreement.tolerance(x, kernel)
