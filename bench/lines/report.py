"""The results as text: a line of the terminal, a Markdown table, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.tables import duration, times
from bench.targets.__main__ import summary_markdown
from bench.targets.row import Row

from .measure import Result, best_of_each_library, is_ours
from .verdicts import is_plain, is_planned, ratio


def shown(result: Result) -> str:
    """A result as a line of text."""
    row = ratio("", result, None)
    if row.seconds is None or row.peer_seconds is None:
        return f"{result.name:38} {row.note} {result.refused or ''}"
    ours = f"{result.best(is_ours)} {duration(row.seconds)}"
    rate, best = _rate(result, row.seconds), _peer(result, row.peer)
    return f"{result.name:38} {ours:34} {rate:>14}   {best:42} {times(row.value):>8}"


def as_json(results: Iterable[Result], rows: Iterable[Row], threads: int, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, in SI units."""
    return {
        "machine": dict(machine),
        "threads": threads,
        "lines": [asdict(result) for result in results],
        "verdicts": [{**asdict(row), "passed": row.passed} for row in rows],
    }


def as_markdown(results: Sequence[Result], rows: Iterable[Row], threads: int, machine: Mapping[str, Any]) -> str:
    """What was measured on what, the verdicts, and a table for each group."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = f"# Every line in every library, {_count(threads)}\n\n"
    text += f"{machine['cpu']}, {machine['level']}, {machine['date']}. {versions}.\n\n"
    text += "Written by `python -m bench.lines`. Best of many interleaved rounds; x: times the time of fastconv. "
    text += "A peer without a name behind its own is in the fastest of its ways.\n\n"
    if summary := summary_markdown(rows):
        text += f"{summary}\n"
    for group in dict.fromkeys(result.group for result in results):
        text += _group_table(group, [result for result in results if result.group == group])
    refused = [f"* {result.name}, {way}: {why}\n" for result in results for way, why in result.refused.items()]
    return text + ("## No time\n\n" + "".join(refused) if refused else "")


def _group_table(group: str, results: Iterable[Result]) -> str:
    lines = [
        f"## {group}\n",
        "| line | fastconv planned | plain | | best peer | | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        row = ratio("", result, None)
        rate = _rate(result, row.seconds) if row.seconds else ""
        mine = " | ".join(_seconds(result, result.best(ways)) for ways in (is_planned, is_plain))
        best, *others = best_of_each_library(result).values() or [""]
        factor = times(row.value) if row.peer else ""
        rest = ", ".join(_peer(result, way) for way in others)
        lines.append(f"| {result.name} | {mine} | {rate} | {_peer(result, best) if best else ''} | {factor} | {rest} |")
    return "\n".join(lines) + "\n\n"


def _seconds(result: Result, way: str | None) -> str:
    return duration(result.seconds[way]) if way else ""


def _peer(result: Result, way: str) -> str:
    return f"{way} {_seconds(result, way)}"


def _rate(result: Result, seconds: float) -> str:
    return f"{result.flops / seconds * 1e-9:.0f} GFLOP/s" if result.flops else ""


def _count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
