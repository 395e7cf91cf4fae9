"""Plans of the implicit GEMM with output channels in the lanes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem, is_float
from ..drivers import gemm, levels
from .pixels import is_pointwise
from .tiles import (
    COMPUTE,
    Choice,
    TilePlan,
    arrays_work,
    channels_near,
    common,
    equal_share,
    even_share,
    far_vectors,
    lanes_of,
    make_segments,
    pack_work,
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
    tile_columns = equal_share(x.out, _tunables.GEMM_TILE_PIXELS if flattened else _tunables.GEMM_TILE_COLUMNS, pixels)
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
    work = work_of(problem, level, tiles, layout)
    return Choice.of("gemm, lanes = channels", gemm.Driver(problem, tiles), tiles, work)


def work_of(problem: ConvProblem, level: str, plan: GemmPlan, layout: dict[str, Any]) -> dict[str, float]:
    """Count the work."""
    sizes, lanes = levels.describe(level), lanes_of(problem, level)
    y, x = plan.axes[-2:]
    vectors, panel = sizes["gemm_vectors"], sizes["gemm_vectors"] * lanes
    panels, rest = divmod(problem.channels_out, panel)
    images = problem.batch * problem.groups * math.prod(axis.out for axis in plan.axes[:-2])
    tiles = -(-y.out // plan.tile_rows) * -(-x.out // plan.tile_columns)
    register_tiles, pixels = register_tiles_of(problem, sizes["gemm_pixels"], plan)
    # A panel of half its channels has half the vectors.
    last = -(-rest // lanes)
    steps = panels * max(pixels * vectors, _tunables.LATENCY_STEPS)
    steps += max(pixels * last, _tunables.LATENCY_STEPS) if rest else 0
    blocks = -(-problem.channels_out // plan.out_block)
    work = {
        "gemm.call": 1.0,
        "gemm.tile": images * register_tiles * (panels + bool(rest)),
        "gemm.product": images * register_tiles * steps * problem.taps,
    }
    outputs = images * y.out * x.out
    if problem.spatial_axes[-1] == len(problem.out_shape) - 1:
        work["gemm.turned"] = outputs * (panels * vectors + last)
    else:
        near = channels_near(problem)
        work["gemm.stored"] = outputs * (panels * vectors + last) if near else 0.0
        work["gemm.pieces"] = outputs if near and rest % lanes else 0.0
        work["gemm.scattered"] = 0.0 if near else outputs * problem.channels_out / lanes
    passes = images / problem.groups * tiles
    elements = problem.groups * problem.taps * (panels * vectors + last) * lanes
    if not problem.planned:
        # Vectors that output channels do not fill are packed one by one, and so are those that have none.
        whole = panels * vectors + rest // lanes
        work["gemm.weights"] = problem.groups * problem.taps * whole
        work["gemm.odd_weights"] = problem.groups * problem.taps * (-(-problem.channels_out // panel) * vectors - whole)
    # Blocks of output channels go around all tiles, so a tile is packed again for each, if there are several.
    packing = pack_work(problem, level, plan.axes, layout, blocks if passes > 1 else 1)
    work["gemm.far_weights"] = far_vectors(problem, level, elements)
    return work | arrays_work(problem, level, "gemm.far") | packing


def register_tiles_of(problem: ConvProblem, most: int, plan: GemmPlan) -> tuple[float, float]:
    """Return the register tiles of an image, and the pixels of each, on average."""
    y, x = plan.axes[-2:]
    chunks = -(-x.out // plan.tile_columns)
    width = -(-x.out // max(chunks, 1))
    per_row = chunks * -(-width // most)
    tiles = float(y.out * per_row)
    # Short rows are taken in pairs, where their results follow each other.
    if 2 * x.out <= most:
        tiles /= 2
    return tiles, y.out * x.out / max(tiles, 1.0)
