"""Measure every line of layers.txt and signals.txt in every library that is installed, and hold it to its targets."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import machine
from bench.__main__ import RESULTS_FOLDER
from bench.tables import wide_console
from bench.targets.__main__ import summary_table
from bench.targets.row import Row
from bench.timing import FULL, QUICK

from .measure import ROOT, Apart, Measure, Result, in_this_process
from .report import as_json, as_markdown, shown
from .verdicts import verdicts
from .work import LIBRARIES, OURS, Line, available, every_line

# What README shows.
COMMITTED_FOLDER = ROOT / "docs"
# One line of so many is measured with --quick.
_QUICK_STEP = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 0 if fastconv agreed with itself and every target is reached."""
    options = parse(arguments)
    console = wide_console()
    libraries = [library for library in available() if library in (OURS, *options.peers)]
    console.print(f"{machine.cpu_name()}; {', '.join(libraries)}; threads {options.threads}", markup=False)
    with measuring(options, libraries) as measure:
        results = measure_all(chosen(options), measure, console)
    rows = verdicts(results, options.threads)
    console.print(summary_table(rows))
    for folder in [options.output, *([COMMITTED_FOLDER] if options.write else [])]:
        write(folder, results, rows, options.threads)
        console.print(f"figures and plot: {folder / file_name(options.threads)}.*", markup=False)
    return 0 if all(row.passed for row in rows) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    groups = list(dict.fromkeys(line.group for line in every_line()))
    peers = [library for library in LIBRARIES if library != OURS]
    parser = argparse.ArgumentParser(prog="python -m bench.lines", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=groups, default=groups, help="groups of lines (default: all)")
    parser.add_argument("--peers", nargs="+", choices=peers, default=peers, help="default: all that are installed")
    parser.add_argument("--threads", type=int, default=1, help="more than one: each library in a process of its own")
    parser.add_argument("--quick", action="store_true", help="some lines of each group, fewer rounds: about a minute")
    parser.add_argument("--write", action="store_true", help="write what README shows, too")
    parser.add_argument("--output", type=Path, default=RESULTS_FOLDER, help="folder (default: bench/results)")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[Line]:
    """The lines that are asked for."""
    lines = [line for line in every_line() if line.group in options.only]
    return lines[::_QUICK_STEP] if options.quick else lines


@contextmanager
def measuring(options: argparse.Namespace, libraries: Sequence[str]) -> Iterator[Measure]:
    """What measures a line, with the libraries held to the number of threads."""
    effort = QUICK if options.quick else FULL
    if options.threads > 1:
        with Apart(libraries, options.threads, effort) as measure:
            yield measure
    else:
        with machine.one_thread():
            yield partial(in_this_process, libraries=libraries, effort=effort)


def measure_all(lines: Sequence[Line], measure: Measure, console: Console) -> list[Result]:
    """Every line, each shown as soon as it is there."""
    results: list[Result] = []
    for number, line in enumerate(lines, 1):
        if not results or line.group != results[-1].group:
            console.rule(f"[bold]{line.group}")
        results.append(measure(line))
        text = f"{number:3}/{len(lines)} {shown(results[-1])}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        for way, why in results[-1].refused.items():
            console.print(f"        no time: {way}: {why}", style="red", markup=False)
    return results


def write(folder: Path, results: Sequence[Result], rows: Iterable[Row], threads: int) -> None:
    """JSON, Markdown and the plot."""
    from .plot import ratio_plot

    folder.mkdir(parents=True, exist_ok=True)
    described, rows = machine.describe(), list(rows)
    path = folder / file_name(threads)
    content = json.dumps(as_json(results, rows, threads, described), indent=1)
    path.with_suffix(".json").write_text(content + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(as_markdown(results, rows, threads, described), encoding="utf-8")
    ratio_plot(results, threads, described, path.with_suffix(".svg"))


def file_name(threads: int) -> str:
    """The name of the files, without what tells their kind.

    >>> file_name(2)
    'peers-2-threads'
    """
    return "peers-1-thread" if threads == 1 else f"peers-{threads}-threads"


if __name__ == "__main__":
    sys.exit(main())
