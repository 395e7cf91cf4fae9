"""Measure every target of speed, memory and start-up, one thread unless the row says otherwise."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.__main__ import RESULTS_FOLDER
from bench.tables import duration, wide_console
from bench.timing import FULL, QUICK, Effort

from . import dropin_rows, layer_rows, network_rows, process_rows, random_rows, signal_rows
from .row import Group, Row, quantity

# What runs in this process, which holds the libraries at one thread meanwhile; and what starts fresh ones.
IN_PROCESS: dict[str, Group] = {
    "conv2d": signal_rows.conv2d,
    "dtypes": signal_rows.dtypes,
    "opencv": signal_rows.opencv,
    "boundary": signal_rows.boundary,
    "tiny": signal_rows.tiny,
    "cnn": layer_rows.cnn,
    "peak": layer_rows.peak,
    "depthwise": layer_rows.depthwise,
    "numpy": dropin_rows.numpy_convolve,
    "signal1d": dropin_rows.signal1d,
    "large": dropin_rows.large,
    "fft": dropin_rows.fft,
    "volume": dropin_rows.volume,
    "ndimage": dropin_rows.ndimage_convolve,
    "filters": dropin_rows.ndimage_filters,
    "random": random_rows.random_calls,
    "planned": network_rows.planned,
    "planned_depthwise": network_rows.planned_depthwise,
    "training": network_rows.training,
    "ranks": network_rows.ranks,
    "half": network_rows.half,
    "int8": network_rows.int8,
    "overhead": network_rows.overhead,
    "accuracy": network_rows.accuracy,
}
FRESH_PROCESSES: dict[str, Group] = {
    "threads": process_rows.threads,
    "busy": process_rows.busy,
    "memory": process_rows.memory,
    "long": process_rows.long_signal,
    "import": process_rows.import_time,
    "v3": process_rows.v3,
}
GROUPS = {**IN_PROCESS, **FRESH_PROCESSES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the groups asked for; 0 if every target is reached."""
    options = parse(arguments)
    effort = QUICK if options.quick else FULL
    console = wide_console()
    console.print(machine.cpu_name(), markup=False)
    rows = [row for name in options.only for row in run(name, effort, console)]
    console.print(summary_table(rows))
    options.output.mkdir(parents=True, exist_ok=True)
    write(options.output, rows)
    console.print(f"figures: {options.output / 'targets.json'}, {options.output / 'targets.md'}", markup=False)
    return 0 if all(row.passed for row in rows) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.targets", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="groups to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS_FOLDER,
        help="folder for JSON and Markdown (default: bench/results)",
    )
    return parser.parse_args(arguments)


def run(name: str, effort: Effort, console: Console) -> list[Row]:
    """The rows of one group, each printed as soon as it is there."""
    rows = []
    console.rule(f"[bold]{name}")
    with machine.one_thread() if name in IN_PROCESS else nullcontext():
        for row in until_failure(name, GROUPS[name](effort)):
            rows.append(row)
            console.print(shown(row), style="" if row.passed else "red", markup=False, highlight=False)
    return rows


def until_failure(name: str, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of a group; an exception becomes a row that fails, for the other groups are still wanted."""
    try:
        yield from rows
    except Exception as error:
        yield Row(name, "stopped", math.nan, "x", math.inf, note=f"{type(error).__name__}: {error}")


def shown(row: Row) -> str:
    """A row as a line of text."""
    ours = duration(row.seconds) if row.seconds else ""
    theirs = f"{row.peer} {duration(row.peer_seconds)}" if row.peer_seconds else row.peer
    value = quantity(row.value, row.unit)
    return f"{row.work:44} {ours:>8}   {theirs:32} {value:>9}  {asked(row):>11}  {verdict(row):4} {row.note}"


def asked(row: Row) -> str:
    """The target with its direction."""
    if row.target is None:
        return ""
    return f"{'>=' if row.at_least else '<='} {quantity(row.target, row.unit)}"


def verdict(row: Row) -> str:
    """Pass or fail, or nothing where nothing is asked."""
    if row.target is None:
        return ""
    return "pass" if row.passed else "FAIL"


def worst_of_each_line(rows: Iterable[Row]) -> list[Row]:
    """Of the judged rows that share a line of the summary, the one furthest from its target."""
    worst: dict[str, Row] = {}
    for row in rows:
        if row.target is None:
            continue
        if row.line not in worst or _headroom(row) < _headroom(worst[row.line]):
            worst[row.line] = row
    return list(worst.values())


def summary_table(rows: Iterable[Row]) -> Table:
    """One line a target, with the worst of its rows."""
    table = Table(title="The worst of each target")
    for heading in _SUMMARY_HEADINGS:
        table.add_column(heading)
    for row in worst_of_each_line(rows):
        table.add_row(*_summary_cells(row), style="" if row.passed else "red")
    return table


def summary_markdown(rows: Iterable[Row]) -> str:
    """The summary as a Markdown table."""
    lines = [_SUMMARY_HEADINGS, ("---",) * len(_SUMMARY_HEADINGS)]
    lines += [_summary_cells(row) for row in worst_of_each_line(rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Everything as JSON, the summary as Markdown."""
    described = machine.describe()
    content = {"machine": described, "rows": [{**asdict(row), "passed": row.passed} for row in rows]}
    (folder / "targets.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = f"{described['cpu']}, {described['level']}, {described['date']}\n\n{summary_markdown(rows)}"
    (folder / "targets.md").write_text(text, encoding="utf-8")


_SUMMARY_HEADINGS = ("work", "asked", "worst measured", "where", "verdict")


def _summary_cells(row: Row) -> tuple[str, ...]:
    return row.line, asked(row), quantity(row.value, row.unit), row.work, verdict(row)


def _headroom(row: Row) -> float:
    """How far above (below) its target a row is, as a factor; a row without a value has the least of all."""
    assert row.target is not None
    if math.isnan(row.value):
        return 0.0
    if row.at_least:
        return row.value / row.target
    return row.target / row.value if row.value > 0 else math.inf


if __name__ == "__main__":
    sys.exit(main())
