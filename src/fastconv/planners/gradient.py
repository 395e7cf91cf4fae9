"""Plans of gradients with respect to weights, which are no algorithm of a problem but an operation beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem
from ..drivers import gradient, levels
from .gemm import equal_share
from .tiles import COMPUTE, Choice, TilePlan, common, make_segments, packed_layout, too_large, two_axes


@dataclass(eq=False, repr=False, match_args=False)
class GradientPlan(TilePlan):
    """Adds the table of taps, which kernel runs, and the largest blocks of the result."""

    tap_offsets: np.ndarray  # of each tap in a packed channel, in the order of the weights
    dots: bool  # positions are in the lanes, else channels out
    panel: int  # channels out whose gradients are packed together
    channel_block: int
    panel_block: int


def plan_gradient(problem: ConvProblem, level: str) -> Choice:
    """Plan the gradient with respect to the weights of a problem that is not empty."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None or compute.dtype.char not in "fd" or problem.dtype.kind == "b":
        return Choice("gradient", refusal=f"no kernel for {problem.dtype}")
    if refusal := too_large(problem):
        return Choice("gradient", refusal=refusal)
    axes, item = two_axes(problem), compute.dtype.itemsize
    sizes = levels.describe(level)
    lanes = sizes["vector_bytes"] // item
    y, x = axes[-2:]
    dots = prefers_dots(problem.channels_out, x.out, lanes)
    panel = 1 if dots else sizes["gemm_vectors"] * lanes
    tile_rows, tile_columns = tile_shape(
        y.out, x.out, _tunables.GRADIENT_DOT_BYTES // item if dots else _tunables.GRADIENT_POSITIONS
    )
    layout, tap_offsets = packed_tile(axes, lanes, lanes if dots else 1, tile_rows, tile_columns)
    channel_bytes = layout["channel_pitch"] * item
    sum_bytes = math.prod(axis.k for axis in axes) * (lanes if dots else panel) * item  # of a channel in a panel
    if channel_bytes + sum_bytes > _tunables.GRADIENT_LIMIT_BYTES:
        return Choice("gradient", refusal=f"one channel needs {channel_bytes + sum_bytes} bytes")
    fits = min(_tunables.GRADIENT_PACKED_BYTES // channel_bytes, _tunables.GRADIENT_SUM_BYTES // sum_bytes)
    channel_block = equal_share(problem.channels, max(fits, 1), 1)
    panels = max(-(-problem.channels_out // panel), 1)
    tiles = GradientPlan(
        **common(problem, level, compute, axes),
        **layout,
        tap_offsets=tap_offsets,
        dots=dots,
        panel=panel,
        channel_block=channel_block,
        panel_block=equal_share(panels, max(_tunables.GRADIENT_SUM_BYTES // (sum_bytes * channel_block), 1), 1),
    )
    return Choice("gradient", gradient.Driver(problem, tiles), tiles)


def prefers_dots(channels_out: int, width: int, lanes: int) -> bool:
    """Return whether positions fill the lanes better than channels out do, a load for each multiply-add included."""
    filled = width / (-(-width // lanes) * lanes)
    return channels_out / lanes * _tunables.GRADIENT_DOT_STEPS / filled < -(-channels_out // lanes)


def tile_shape(height: int, width: int, positions: int) -> tuple[int, int]:
    """Return rows and columns of tiles of equal size, of whole rows where they are short enough."""
    columns = equal_share(width, positions, 1)
    return equal_share(height, max(positions // columns, 1), 1), columns


def packed_tile(
    axes: tuple[Axis, ...], lanes: int, slack: int, tile_rows: int, tile_columns: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return how the input of a tile is packed, and where in a packed channel each tap begins."""
    rows, columns = make_segments(axes[-2], lanes), make_segments(axes[-1], lanes)
    outer_taps = math.prod(axis.k for axis in axes[:-2])
    layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, slack)
    row_offsets = layout["row_base"][rows.segment] + rows.offset * layout["pitch"]
    column_offsets = layout["column_base"][columns.segment] + columns.offset
    taps = np.arange(outer_taps)[:, None, None] * layout["outer_pitch"] + row_offsets[:, None] + column_offsets
    return layout, np.ascontiguousarray(taps.reshape(-1), np.intp)
