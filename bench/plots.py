"""The plot of the ratios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .measure import Result
from .tables import peer_names

# Colour and shape both tell the peers apart, for eyes and printers without colours (Okabe and Ito's palette).
_STYLES = (
    ("#0072B2", "o"),
    ("#56B4E9", "s"),
    ("#009E73", "^"),
    ("#D55E00", "D"),
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
)


def ratio_plot(results: Sequence[Result], subtitle: str, path: Path) -> None:
    """A line a case, a mark a peer: how many times the time of fastconv it takes, on a logarithmic axis."""
    figure = Figure(figsize=(10, 1.6 + 0.45 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    for name, (colour, marker) in zip(peer_names(results), _STYLES, strict=False):
        points = [(ratio, row) for row, result in enumerate(results) if (ratio := result.ratio(name))]
        ratios, rows = zip(*points, strict=True) if points else ((), ())
        axes.scatter(ratios, rows, label=name, color=colour, marker=marker, s=55, zorder=3)
    axes.axvline(1.0, color="black", linewidth=1.2, zorder=2)
    axes.text(1.0, 1.0, "fastconv", transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} x")
    axes.set_yticks(range(len(results)), [result.name for result in results])
    axes.invert_yaxis()
    axes.grid(axis="x", which="major", color="0.8")
    axes.grid(axis="x", which="minor", color="0.93")
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    axes.set_xlabel("time, as a multiple of fastconv's (to the right: slower than fastconv)")
    figure.suptitle(f"One thread, the same result from everybody\n{subtitle}", fontsize=11)
    figure.legend(loc="outside lower center", ncols=len(peer_names(results)), frameon=False)
    figure.savefig(path, dpi=130)
