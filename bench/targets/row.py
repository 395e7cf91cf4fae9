"""One target and what was measured for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from numpy.typing import NDArray

from bench import agreement
from bench.measure import OURS
from bench.timing import Call, Effort, Timed, race

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
    name, theirs = peer
    first, other = Timed.once(ours), Timed.once(theirs)
    x, w = operands
    wrong = agreement.disagreement(first.result, other.result, agreement.tolerance(x, w), max(w.shape[-2:]) // 2)
    if wrong:
        return Row(line, work, math.nan, "x", target, peer=name, note=f"differs from {name}: {wrong}")
    best = race({OURS: first, name: other}, effort)
    ratio = best[name] / best[OURS]
    return Row(line, work, ratio, "x", target, seconds=best[OURS], peer=name, peer_seconds=best[name])


def geometric_mean(line: str, rows: Iterable[Row], target: float) -> Row:
    """The geometric mean of the ratios of `rows`; none if one of them is missing."""
    values = [row.value for row in rows]
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return Row(line, "geometric mean", mean, "x", target)
