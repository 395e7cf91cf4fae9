"""The plot of the ratios: a line a row, a mark a library, in two columns of groups."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from .measure import Result, best_of_each_library, is_ours
from .work import LIBRARIES, OURS

_COLUMNS = (("cnn", "depthwise", "transpose", "grad", "int8"), ("tiny", "image", "signal", "volume", "filters"))
_TITLES = {
    "cnn": "layers of networks",
    "depthwise": "depthwise layers",
    "transpose": "transposed convolutions",
    "grad": "gradients",
    "int8": "quantised layers",
    "tiny": "tiny calls",
    "image": "images",
    "signal": "signals",
    "volume": "volumes",
    "filters": "named filters",
}
# Colour and shape both tell the libraries apart (Okabe and Ito's palette).
_STYLES = {
    "torch": ("#D55E00", "o"),
    "onnxruntime": ("#0072B2", "s"),
    "openvino": ("#CC79A7", "^"),
    "ncnn": ("#009E73", "D"),
    "opencv": ("#E69F00", "v"),
    "scipy": ("#56B4E9", "P"),
    "numpy": ("#7F7F7F", "X"),
}
_ROW_INCHES, _GROUP_INCHES = 0.2, 0.55
# Text stays text, and the same figures give the same file.
_FILE = {"svg.fonttype": "none", "svg.hashsalt": OURS}


def ratio_plot(results: Sequence[Result], threads: int, machine: Mapping[str, Any], path: Path) -> None:
    """Write an SVG of how many times the time of fastconv each library takes, on a logarithmic axis.

    There is no file if there is nothing to compare with.
    """
    columns = [column for names in _COLUMNS if (column := _groups(results, names))]
    if not columns:
        path.unlink(missing_ok=True)
        return
    heights = [sum(_inches(group) for group in column) for column in columns]
    figure = Figure(figsize=(7.5 * len(columns), 1.6 + max(heights)), layout="constrained")
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, column, height in zip(parts, columns, heights, strict=True):
        _column(part, column, max(heights) - height)
    count = "one thread" if threads == 1 else f"{threads} threads"
    title = f"Time of the other libraries over that of fastconv, {count}, each in the fastest of its ways.\n"
    title += "Large, and in figures: the best of them.\n"
    figure.suptitle(title + f"{machine['cpu']}, {machine['level']}, {machine['date']}", fontsize=11)
    seen = {library for result in results for library in best_of_each_library(result)}
    versions = textwrap.fill(", ".join(map(" ".join, machine["versions"].items())), 75 * len(columns))
    marks = [_mark(library, 6) for library in LIBRARIES if library in seen]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, title=versions)
    with matplotlib.rc_context(_FILE):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _groups(results: Sequence[Result], names: Sequence[str]) -> list[list[Result]]:
    """The groups that have something to show, in the order of their names."""
    shown = [result for result in results if result.best(is_ours) and best_of_each_library(result)]
    groups = [[result for result in shown if result.group == name] for name in names]
    return [group for group in groups if group]


def _inches(group: Sequence[Result]) -> float:
    return _GROUP_INCHES + _ROW_INCHES * len(group)


def _column(part: Any, groups: Sequence[Sequence[Result]], spare: float) -> None:
    """One below the other, as high as their lines; what the other column has more stays empty."""
    heights = [_inches(group) for group in groups] + ([spare] if spare > 0.1 else [])
    grid = part.add_gridspec(len(heights), 1, height_ratios=heights)
    first = None
    for number, group in enumerate(groups):
        axes = part.add_subplot(grid[number], sharex=first)
        first = first or axes
        _panel(axes, group)
    ratios = [ratio for group in groups for result in group for ratio in _ratios(result).values()]
    axes.set_xlim(0.85 * min(1.0, *ratios), 1.18 * max(1.0, *ratios))


def _panel(axes: Any, group: Sequence[Result]) -> None:
    for row, result in enumerate(group):
        _row(axes, row, result)
    axes.axvline(1.0, color="black", linewidth=1.2, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(group)), [result.name for result in group], fontsize=8)
    axes.set_ylim(len(group) - 0.4, -0.6)
    axes.grid(axis="x", color="0.8")
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(_TITLES[group[0].group], loc="left", fontsize=10, fontweight="bold")


def _row(axes: Any, row: int, result: Result) -> None:
    """The best peer with its ratio in figures, the others smaller."""
    ratios = _ratios(result)
    best = next(iter(ratios))
    for library, ratio in ratios.items():
        axes.add_line(_mark(library, 7 if library == best else 4, ratio, row))
    colour = "black" if ratios[best] >= 1 else "#B00000"
    beside = axes.get_yaxis_transform()
    axes.text(1.01, row, f"{ratios[best]:.3g}", transform=beside, va="center", fontsize=8, color=colour)


def _ratios(result: Result) -> dict[str, float]:
    """How many times the time of fastconv each library takes, the fastest first."""
    ours = result.best(is_ours)
    assert ours is not None
    peers = best_of_each_library(result)
    return {library: result.seconds[way] / result.seconds[ours] for library, way in peers.items()}


def _mark(library: str, size: float, x: float = 0.0, y: float = 0.0) -> Line2D:
    colour, shape = _STYLES[library]
    return Line2D([x], [y], color=colour, marker=shape, markersize=size, linestyle="", label=library, zorder=3)
