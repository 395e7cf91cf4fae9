"""Plans of the implicit GEMM: with output channels in the lanes, and which of the two ways to fill them is cheaper."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem, is_float
from ..drivers import gemm, levels
from .pixels import is_pointwise, plan_pixels
from .tiles import (
    COMPUTE,
    Choice,
    TilePlan,
    common,
    equal_share,
    even_share,
    make_segments,
    packed_layout,
    too_large,
    two_axes,
)


@dataclass(eq=False, repr=False, match_args=False)
class GemmPlan(TilePlan):
    """Adds the micro-kernel's table of taps, and the block of output channels whose weights are packed together."""

    tap_offsets: np.ndarray  # of each tap in a packed channel, in the order of the weights
    out_block: int
    flattened: bool  # the image is one row


def plan_gemm(problem: ConvProblem, level: str) -> Choice:
    """Plan the implicit GEMM: the cheaper of the two ways to fill the lanes."""
    return min(plan_channels(problem, level), plan_pixels(problem, level), key=lambda choice: choice.cost)


def plan_channels(problem: ConvProblem, level: str) -> Choice:
    """Plan the implicit GEMM with output channels in the lanes."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None or not is_float(problem.dtype):
        return Choice("gemm", refusal=f"no kernel for {problem.dtype}, only for real floating dtypes")
    if problem.channel_axis < 0:
        return Choice("gemm", refusal="no channels to sum over")
    if refusal := too_large(problem):
        return Choice("gemm", refusal=refusal)
    sizes = levels.describe(level)
    axes = two_axes(problem)
    # Arrays whose rows do not follow each other would have to be copied to be one row.
    flattened = is_pointwise(problem) and problem.max_workspace is None
    if flattened:
        samples = math.prod(axis.n for axis in axes)
        axes = (Axis(1, 1, 1, 1, 1, 0, 0, "constant"), Axis(samples, 1, 1, 1, 1, 0, 0, "constant"))
    y, x = axes[-2:]
    outer_taps = math.prod(axis.k for axis in axes[:-2])
    item = compute.dtype.itemsize
    lanes = sizes["vector_bytes"] // item
    panel = sizes["gemm_vectors"] * lanes
    pixels = sizes["gemm_pixels"]
    rows, columns = make_segments(y, lanes), make_segments(x, lanes)

    def packed_bytes(tile_rows: int, tile_columns: int) -> int:
        # Pixels are read one by one, so packed rows need no slack.
        layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
        return int(layout["channel_pitch"]) * problem.channels * item

    tile_rows = max(min(_tunables.GEMM_TILE_ROWS, y.out), 1)
    tile_columns = equal_share(
        x.out, _tunables.GEMM_TILE_COLUMNS * (_tunables.GEMM_TILE_ROWS if flattened else 1), pixels
    )
    while tile_rows > 1 and packed_bytes(tile_rows, tile_columns) > _tunables.GEMM_PACKED_BYTES:
        tile_rows -= 1
    tile_rows = even_share(y.out, tile_rows)
    while tile_columns > pixels and packed_bytes(tile_rows, tile_columns) > _tunables.GEMM_PACKED_BYTES:
        tile_columns = equal_share(x.out, tile_columns - 1, pixels)
    panel_bytes = problem.taps * panel * item
    needed = panel_bytes + packed_bytes(tile_rows, tile_columns)
    if needed > _tunables.GEMM_LIMIT_BYTES:
        return Choice(
            "gemm", refusal=f"one panel and one tile need {needed} bytes, more than {_tunables.GEMM_LIMIT_BYTES}"
        )

    layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
    row_offsets = layout["row_base"][rows.segment] + rows.offset * layout["pitch"]
    column_offsets = layout["column_base"][columns.segment] + columns.offset
    taps = np.arange(outer_taps)[:, None, None] * layout["outer_pitch"] + row_offsets[:, None] + column_offsets
    panels = -(-problem.channels_out // panel)
    tiles = GemmPlan(
        **common(problem, level, compute, axes),
        **layout,
        tap_offsets=np.ascontiguousarray(taps.reshape(-1), np.intp),
        out_block=panel * max(1, min(panels, _tunables.GEMM_WEIGHT_BYTES // panel_bytes)),
        flattened=flattened,
    )
    outputs = problem.batch * problem.groups * math.prod(axis.out for axis in axes)
    # A register tile is computed in whole vectors, then stored through a transposition.
    steps = outputs * -(-problem.channels_out // lanes)
    cost = steps * (problem.taps / _tunables.GEMM_EFFICIENCY + _tunables.GEMM_STORE_STEPS)
    cost += problem.batch * problem.groups * problem.taps * math.prod(axis.out for axis in axes) / lanes / y.k / x.k * 2
    if not problem.planned:
        cost += problem.groups * problem.taps * panels * sizes["gemm_vectors"] * _tunables.GEMM_PACK_STEPS
    return Choice("gemm", gemm.Driver(problem, tiles), tiles, cost)
