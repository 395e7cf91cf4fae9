"""One target and what was measured for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import agreement
from bench.measure import OURS
from bench.timing import Call, Effort, Timed, in_the_running, race

# A group: rows as they are measured, one by one, so that they can be shown at once.
Group = Callable[[Effort], Iterator["Row"]]


@dataclass(frozen=True)
class Row:
    """A measured `value` in `unit`, and the `target` it has to reach.

    Rows with the same `line` belong to one line of the summary. `target` None: shown, not judged. With
    `at_least` False the value has to stay at or below the target. `note` says why there is no value.
    """

    line: str
    work: str
    value: float
    unit: str
    target: float | None
    at_least: bool = True
    seconds: float | None = None
    peer: str = ""
    peer_seconds: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the target is reached; a value that could not be measured has not reached it."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target


def quantity(value: float, unit: str) -> str:
    """A value with its unit, as the tables show it.

    >>> quantity(0.8512, "%"), quantity(71.26, "x")
    ('85.1 %', '71.3 x')
    """
    if math.isnan(value):
        return "none"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}" if abs(value) < 10 else f"{value:.1f} {unit}"


@dataclass(frozen=True)
class Contest:
    """Work that functions of fastconv and peers do alike, and what of it is asked of each of our functions.

    `ours` are calls by the words that go before `work` in the name of their row, `peers` calls by the name of
    the library. Results may be `allowed` apart; `margin` samples on every side of them see the boundary.
    """

    line: str
    work: str
    target: float | None
    ours: Mapping[str, Call]
    peers: Mapping[str, Call]
    allowed: float
    margin: int

    def rows(self, effort: Effort) -> Iterator[Row]:
        """How many times the time of ours the best peer takes, after all of them have given one result."""
        theirs = {name: Timed.once(call) for name, call in self.peers.items()}
        ours = {f"{OURS} {name}": Timed.once(call) for name, call in self.ours.items()}
        wrong = self._disagreements({**theirs, **ours})
        best = race({**in_the_running(theirs), **ours}, effort)
        peer = min((name for name in theirs if name in best), key=best.__getitem__)
        for name in self.ours:
            seconds = best[f"{OURS} {name}"]
            # A peer that does other work makes every ratio worthless, one of ours only its own.
            note = "; ".join(why for who, why in wrong.items() if who in (*theirs, f"{OURS} {name}"))
            ratio = math.nan if note else best[peer] / seconds
            work = f"{name} {self.work}".lstrip()
            yield Row(
                self.line, work, ratio, "x", self.target, seconds=seconds, peer=peer, peer_seconds=best[peer], note=note
            )

    def _disagreements(self, entries: Mapping[str, Timed]) -> dict[str, str]:
        """Who differs from the first of `entries`, and where."""
        (first, reference), *others = entries.items()
        truth = np.asarray(reference.result)
        wrong = {}
        for name, entry in others:
            result = np.asarray(entry.result)
            if result.dtype == truth.dtype:
                why = agreement.disagreement(result, truth, self.allowed, self.margin)
            else:
                why = f"dtype {result.dtype}, not {truth.dtype}"
            if why:
                wrong[name] = f"{name} differs from {first}: {why}"
        return wrong


def against(
    line: str,
    work: str,
    target: float | None,
    ours: Call,
    peer: tuple[str, Call],
    operands: tuple[NDArray, NDArray],
    effort: Effort,
) -> Row:
    """How many times the time of fastconv a peer takes, after both have given the same result."""
    x, w = operands
    allowed, margin = agreement.tolerance(x, w), max(w.shape[-2:]) // 2
    (row,) = Contest(line, work, target, {"": ours}, dict([peer]), allowed, margin).rows(effort)
    return row


def geometric_mean(line: str, rows: Iterable[Row], target: float) -> Row:
    """The geometric mean of the ratios of `rows`; none if one of them is missing."""
    values = [row.value for row in rows]
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return Row(line, "geometric mean", mean, "x", target)
