"""Plans of gradients with respect to weights, which are no algorithm of a problem but an operation beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem
from ..drivers import gradient, levels
from .tiles import COMPUTE, Choice, TilePlan, common, equal_share, make_segments, packed_layout, too_large, two_axes


@dataclass(eq=False, repr=False, match_args=False)
class GradientPlan(TilePlan):
    """Adds the table of taps, which kernel runs, and the largest blocks of the result."""

    tap_offsets: np.ndarray  # of each tap in a packed channel, in the order of the weights
    dots: bool  # positions are in the lanes, else channels out
    panel: int  # channels out whose gradients are packed together
    channel_block: int
    panel_block: int
    pack_block: int  # channels packed together
    most_ahead: int  # lines of samples that are fetched meanwhile


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
    panel = 1 if dots else min(sizes["gradient_vectors"], max(-(-problem.channels_out // lanes), 1)) * lanes
    tile_rows, tile_columns = tile_shape(
        y.out,
        x.out,
        max((_tunables.GRADIENT_DOT_BYTES if dots else _tunables.GRADIENT_PANEL_BYTES // panel) // item, 1),
    )
    layout, tap_offsets = packed_tile(axes, lanes, lanes if dots else 1, tile_rows, tile_columns)
    channel_bytes = layout["channel_pitch"] * item
    taps = len(tap_offsets)
    sum_bytes = taps * (lanes if dots else panel) * item  # of a channel in a panel
    if channel_bytes + sum_bytes > _tunables.GRADIENT_LIMIT_BYTES:
        return Choice("gradient", refusal=f"one channel needs {channel_bytes + sum_bytes} bytes")
    channel_block = equal_share(problem.channels, max(_tunables.GRADIENT_SUM_BYTES // sum_bytes, 1), 1)
    panels = max(-(-problem.channels_out // panel), 1)
    tiles = GradientPlan(
        **common(problem, level, compute, axes),
        **layout,
        tap_offsets=tap_offsets,
        dots=dots,
        panel=panel,
        channel_block=channel_block,
        panel_block=equal_share(panels, max(_tunables.GRADIENT_SUM_BYTES // (sum_bytes * channel_block), 1), 1),
        pack_block=pack_block(
            channel_block,
            taps,
            _tunables.GRADIENT_PACKED_BYTES // channel_bytes,
            sizes["gradient_rows"],
            # Channels that are neighbours are turned into rows a vector at a time.
            lanes if problem.channel_axis > problem.spatial_axes[-1] else 1,
        ),
        most_ahead=_tunables.GRADIENT_AHEAD,
    )
    return Choice("gradient", gradient.Driver(problem, tiles), tiles)


def prefers_dots(channels_out: int, width: int, lanes: int) -> bool:
    """Return whether positions fill the lanes better than channels out do, a load for each multiply-add included."""
    filled = width / (-(-width // lanes) * lanes)
    return channels_out / lanes * _tunables.GRADIENT_DOT_STEPS / filled < -(-channels_out // lanes)


def pack_block(channels: int, taps: int, fits: int, rows: int, unit: int) -> int:
    """Return how many channels to pack together: as fits, in whole units, and so that taps fill the register tiles."""

    def register_tiles(n: int) -> int:
        blocks, rest = divmod(channels, n)
        return blocks * -(-n * taps // rows) + -(-rest * taps // rows)

    most = max(min(fits, channels), 1)
    unit = unit if most >= unit else 1
    return min(range(most // unit * unit, 0, -unit), key=register_tiles)


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
