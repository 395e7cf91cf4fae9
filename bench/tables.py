"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .measure import OURS, Result, limit

NARROWEST = 120

Peaks = Mapping[str, float]


def wide_console() -> Console:
    """A console that keeps the table in one piece where nobody sees a terminal (a file, a pipe)."""
    console = Console()
    return console if console.is_terminal else Console(width=max(NARROWEST, console.width))


def duration(seconds: float) -> str:
    """Seconds with three digits and a unit a reader can compare.

    >>> duration(0.00012345)
    '123 us'
    """
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, size = next((entry for entry in units if seconds >= entry[1]), units[-1])
    return f"{_three_digits(seconds / size)} {unit}"


def times(ratio: float) -> str:
    """A ratio with three digits.

    >>> times(69.55)
    '69.5 x'
    """
    return f"{_three_digits(ratio)} x"


def result_table(results: Sequence[Result], peaks: Peaks) -> Table:
    """One line a case: fastconv's time, work a second, share of the limit; each peer's time and ratio."""
    others = peer_names(results)
    title = "One thread, best of interleaved rounds; x: times the time of fastconv"
    table = Table(title=title, show_lines=True)
    table.add_column("work", style="bold")
    for heading in (OURS, "GFLOP/s", "of limit", *others):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(result.name, *_our_cells(result, peaks), *(_peer_cell(result, peer) for peer in others))
    return table


def refusals(results: Sequence[Result]) -> list[str]:
    """A line for every time that is not printed, since the result is wrong or missing."""
    return [f"{result.name}, {peer}: {why}" for result in results for peer, why in result.refused.items()]


def peer_names(results: Sequence[Result]) -> list[str]:
    """Every peer of `results` but fastconv, in the order of first appearance."""
    names = dict.fromkeys(name for result in results for name in [*result.seconds, *result.refused])
    names.pop(OURS, None)
    return list(names)


def as_json(results: Sequence[Result], peaks: Peaks, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, in SI units."""
    return {
        "machine": dict(machine),
        "fma_peak_flops": dict(peaks),
        "cases": [_case_json(result, peaks) for result in results],
    }


def _case_json(result: Result, peaks: Peaks) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": result.name,
        "dtype": result.dtype,
        "flops": result.flops,
        "seconds": result.seconds,
        "ratio": {name: result.ratio(name) for name in result.seconds if name != OURS},
        "refused": result.refused,
        "copy_seconds": result.copy_seconds,
    }
    if OURS in result.seconds:
        nearest = limit(result.seconds[OURS], result.flops, peaks.get(result.dtype), result.copy_seconds)
        entry["gflops"] = result.flops / result.seconds[OURS] * 1e-9
        entry["limit"] = {"share": nearest.share, "wall": nearest.wall}
    return entry


def _our_cells(result: Result, peaks: Peaks) -> tuple[str, str, str]:
    seconds = result.seconds.get(OURS)
    if seconds is None:
        return "[red]no time", "", ""
    nearest = limit(seconds, result.flops, peaks.get(result.dtype), result.copy_seconds)
    return duration(seconds), f"{result.flops / seconds * 1e-9:.0f}", f"{nearest.share:.0%} {nearest.wall}"


def _peer_cell(result: Result, peer: str) -> str:
    if peer in result.refused:
        return "[red]no time"
    if peer not in result.seconds:
        return "[dim]not offered"
    ratio = result.ratio(peer)
    return duration(result.seconds[peer]) + (f"\n{times(ratio)}" if ratio else "")


def _three_digits(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 2)}f}"
