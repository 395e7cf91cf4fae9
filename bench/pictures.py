"""Contact sheets: the filtered pictures, and the feature maps of the first layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .cases import LayerCase
from .measure import OURS, Result
from .tables import duration

_COLUMNS = 5
_MAP_COLUMNS = 16

# So much of the brightest and the darkest is clipped, or one strong edge would leave all the rest grey.
_CLIPPED_PERCENT = 2.0


def filter_sheet(original: NDArray, results: Sequence[Result], path: Path) -> None:
    """The photograph and what every filter made of it, with fastconv's time."""
    shown = [("photograph", original)]
    shown += [(_caption(result), result.picture) for result in results if result.picture is not None]
    rows = math.ceil(len(shown) / _COLUMNS)
    height, width = original.shape
    figure = Figure(figsize=(3 * _COLUMNS, rows * (3 * height / width + 0.45)), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (caption, picture) in zip(panels, shown, strict=False):
        _show(axes, picture)
        axes.set_title(caption, fontsize=11)
    figure.savefig(path, dpi=130)


def feature_sheet(cases: Sequence[LayerCase], results: Sequence[Result], path: Path) -> None:
    """For every layer its filters, and below each the feature map that fastconv computed with it."""
    drawn = [pair for pair in zip(cases, results, strict=True) if pair[1].picture is not None]
    if not drawn:
        return
    rows = math.ceil(max(case.layer.c_out for case, _ in drawn) / _MAP_COLUMNS)
    figure = Figure(figsize=(_MAP_COLUMNS, len(drawn) * (rows * 1.5 + 0.6)), layout="constrained")
    parts = figure.subfigures(len(drawn), 1, squeeze=False)[:, 0]
    for part, (case, result) in zip(parts, drawn, strict=True):
        assert result.picture is not None
        channels, height, width = result.picture.shape[1:]
        heading = f"{_caption(result)}: {channels} filters and their feature maps, {height} x {width}"
        part.suptitle(heading, fontsize=13)
        axes = part.add_subplot()
        axes.set_axis_off()
        axes.imshow(_mosaic(case.w, result.picture[0]), interpolation="nearest")
    figure.savefig(path, dpi=130)


def _caption(result: Result) -> str:
    return f"{result.name}  ({duration(result.seconds[OURS])})"


def _show(axes: Axes, picture: NDArray) -> None:
    low, high = np.percentile(picture, [_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT])
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high)


def _mosaic(filters: NDArray, maps: NDArray) -> NDArray[np.float64]:
    """RGB picture of pairs, `_MAP_COLUMNS` a row: a filter in its colours above its feature map."""
    side, gap = 112, 6
    pairs = [
        np.vstack([_filter_tile(weights, side // 2, side), np.ones((2, side, 3)), _map_tile(plane, side)])
        for weights, plane in zip(filters, maps, strict=True)
    ]
    framed = [np.pad(pair, ((0, gap), (0, gap), (0, 0)), constant_values=1.0) for pair in pairs]
    framed += [np.ones_like(framed[0])] * (-len(framed) % _MAP_COLUMNS)
    rows = [np.hstack(framed[start : start + _MAP_COLUMNS]) for start in range(0, len(framed), _MAP_COLUMNS)]
    return np.vstack(rows)


def _filter_tile(weights: NDArray, side: int, width: int) -> NDArray[np.float64]:
    """A filter enlarged to `side`, zero in mid grey, in the middle of a white strip of `width`."""
    colours = 0.5 + 0.5 * weights.transpose(1, 2, 0) / np.abs(weights).max()
    index = np.arange(side) * weights.shape[-1] // side
    tile = np.ones((side, width, 3))
    left = (width - side) // 2
    tile[:, left : left + side] = colours[index][:, index]
    return tile


def _map_tile(plane: NDArray, side: int) -> NDArray[np.float64]:
    """A feature map at `side` x `side`, zero in mid grey, brighter where it resembles the filter."""
    step = max(1, plane.shape[-1] // side)
    size = side * step
    sampled = plane[:size, :size].reshape(side, step, side, step).mean(axis=(1, 3))
    scale = np.percentile(np.abs(sampled), 100 - _CLIPPED_PERCENT) or 1.0
    return np.repeat(np.clip(0.5 + 0.5 * sampled / scale, 0.0, 1.0)[:, :, None], 3, axis=2)
