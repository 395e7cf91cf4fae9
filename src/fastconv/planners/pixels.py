"""Plans of the implicit GEMM with pixels in the lanes: weights are read where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _tunables
from .._problem import ConvProblem
from ..drivers import levels, pixels
from .tiles import (
    COMPUTE,
    Choice,
    TilePlan,
    arrays_work,
    common,
    equal_share,
    far_vectors,
    lanes_of,
    make_segments,
    pack_work,
    packed_layout,
    too_large,
    two_axes,
)


@dataclass(eq=False, repr=False, match_args=False)
class PixelsPlan(TilePlan):
    """Adds where products find their samples, and how the reduction and the output channels are cut."""

    offsets: np.ndarray  # of each product in a packed tile, in the order of the weights
    block: int  # products between two visits of a sum to memory
    out_block: int  # output channels of a work item
    out_step: int  # and those whose weights of a block stay in the cache
    pointwise: bool
    joined: bool  # a line of neighbouring pixels is the tile, not one of its rows
    unrolled: bool
    copied: bool  # into panels, where samples could be read in place
    most_odd: int  # pixels behind whole vectors that are summed with products in the lanes

    def describe(self, channels: int) -> str:
        """Return the tiles in words."""
        return f"{super().describe(channels)}; pixels in the lanes, weights read where they are"


def is_pointwise(problem: ConvProblem) -> bool:
    """Return whether every output depends on the one sample at its own place, and samples can follow each other."""
    places = problem.spatial_axes
    if places[-1] - places[0] != len(places) - 1:
        return False
    return all(axis.k == axis.stride == axis.input_dilation == 1 and axis.lo == axis.hi == 0 for axis in problem.axes)


def rows_that_fill(rows: int, width: int, most: int, wide: int) -> int:
    """Return the rows of a tile, half of `most` to all of it, with which the tiles have the fewest panels."""

    def panels(count: int) -> int:
        whole, rest = divmod(rows, count)
        return whole * -(-count * width // wide) + -(-rest * width // wide)

    most = max(min(rows, most), 1)
    return min(range(most, most // 2, -1), key=panels)


def pays_to_copy(problem: ConvProblem) -> bool:
    """Return whether samples are worth being copied into panels, which takes that they are far and read often."""
    item = problem.dtype.itemsize
    near = problem.x_size * item <= _tunables.NEAR_BYTES
    least = _tunables.PIXELS_COPIED_CHANNELS if near else _tunables.PIXELS_STREAMED_CHANNELS
    return problem.channels_out >= least and problem.taps * _tunables.PIXELS_TILE * item > _tunables.L1_BYTES


def tile_in_place(problem: ConvProblem) -> tuple[int, int]:
    """Return the pixels of a tile, and the products between two visits of a sum, where samples are read in place."""
    if problem.channels_out < _tunables.PIXELS_STREAMED_CHANNELS:
        return _tunables.PIXELS_STREAMED_TILE, _tunables.PIXELS_STREAMED_BLOCK
    if problem.taps <= _tunables.PIXELS_FEW_PRODUCTS:
        return _tunables.PIXELS_STREAMED_TILE // 2, _tunables.PIXELS_BLOCK
    return _tunables.PIXELS_TILE, _tunables.PIXELS_BLOCK


def odd_pixels(problem: ConvProblem, lanes: int, width: int) -> int:
    """Return how many pixels behind the last whole vector are summed with products in the lanes."""
    if problem.accuracy == "strict":
        return 0
    paid = problem.taps // _tunables.PIXELS_ODD_PRODUCTS
    return min(max(min(lanes // 4, paid), 1), width, lanes - 1)


def plan_pixels(problem: ConvProblem, level: str) -> Choice:
    """Plan the implicit GEMM with pixels in the lanes."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None or problem.dtype.char not in "fd":
        return Choice("gemm", refusal=f"no kernel for {problem.dtype}, only for float32 and float64")
    if problem.channel_axis < 0:
        return Choice("gemm", refusal="no channels to sum over")
    if problem.channel_axis > problem.spatial_axes[-1]:
        return Choice("gemm", refusal="pixels are not neighbours")
    if refusal := too_large(problem):
        return Choice("gemm", refusal=refusal)
    sizes = levels.describe(level)
    axes = two_axes(problem)
    y, x = axes[-2:]
    outer_taps = math.prod(axis.k for axis in axes[:-2])
    item = compute.dtype.itemsize
    lanes = sizes["vector_bytes"] // item
    wide = sizes["pixels_vectors"] * lanes
    rows, columns = make_segments(y, lanes), make_segments(x, lanes)
    pointwise = is_pointwise(problem)
    copied = pointwise and pays_to_copy(problem)
    most_pixels, block = _tunables.PIXELS_TILE, _tunables.PIXELS_BLOCK
    if copied:
        most_pixels = _tunables.PIXELS_COPIED_TILE
    elif pointwise:
        most_pixels, block = tile_in_place(problem)
    tile_columns = equal_share(x.out, most_pixels, wide)
    most_rows = 1 if tile_columns < x.out else max(most_pixels // max(x.out, 1), 1)
    tile_rows = rows_that_fill(y.out, x.out, most_rows, wide) if copied else equal_share(y.out, most_rows, 1)

    def packed_bytes(tile_rows: int, tile_columns: int) -> int:
        layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
        return int(layout["channel_pitch"]) * problem.channels * item

    while tile_rows > 1 and packed_bytes(tile_rows, tile_columns) > _tunables.PIXELS_PACKED_BYTES:
        tile_rows -= 1
    while tile_columns > wide and packed_bytes(tile_rows, tile_columns) > _tunables.PIXELS_PACKED_BYTES:
        tile_columns = equal_share(x.out, tile_columns - 1, wide)
    if packed_bytes(tile_rows, tile_columns) + problem.taps * item > _tunables.PIXELS_LIMIT_BYTES:
        return Choice("gemm", refusal=f"one tile of {problem.taps} products an output is too large for the cache")

    contiguous = tile_rows == 1 or (x.k == 1 and tile_columns == x.out)
    if copied:
        block = _tunables.PIXELS_COPIED_BYTES // (min(tile_rows * tile_columns, _tunables.PIXELS_COPIED_TILE) * item)
    block = equal_share(problem.taps, block, 1)
    # Rows that do not fill their vectors are worth being put side by side, if enough output channels share that.
    of_rows = y.out * -(-x.out // lanes) * problem.channels_out
    of_tiles = -(-y.out * x.out // lanes) * (problem.channels_out + _tunables.PIXELS_UNROLL_STEPS)
    unrolled = not contiguous and tile_columns == x.out and (x.out < lanes or of_tiles < of_rows)
    layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
    layout["channel_pitch"] = -(-layout["channel_pitch"] // lanes) * lanes
    row_offsets = layout["row_base"][rows.segment] + rows.offset * layout["pitch"]
    column_offsets = layout["column_base"][columns.segment] + columns.offset
    taps = np.arange(outer_taps)[:, None, None] * layout["outer_pitch"] + row_offsets[:, None] + column_offsets
    offsets = np.arange(problem.channels)[:, None] * layout["channel_pitch"] + taps.reshape(-1)
    items = problem.batch * problem.groups * math.prod(axis.out for axis in axes[:-2])
    items *= -(-y.out // tile_rows) * -(-x.out // tile_columns)
    sums = tile_rows * -(-tile_columns // lanes) * lanes * item
    register_rows = sizes["pixels_rows"]
    # Where nothing is unrolled once more for them, blocks of output channels cost next to nothing.
    few = _tunables.PIXELS_FEW_ITEMS + (max(items, 1) - 1 if pointwise else 0)
    out_block = min(
        -(-problem.channels_out // max(few // max(items, 1), 1)),
        _tunables.PIXELS_SUMS_BYTES // sums,
    )
    out_block = max(out_block, _tunables.PIXELS_OUT_BLOCK)
    out_step = max(_tunables.PIXELS_WEIGHT_BYTES // (block * item * register_rows), 1) * register_rows
    if math.prod(problem.out_shape) * item > _tunables.NEAR_BYTES:
        out_step = min(out_step, max(_tunables.PIXELS_STREAMS // register_rows, 1) * register_rows)
    tiles = PixelsPlan(
        **common(problem, level, compute, axes),
        **layout,
        offsets=np.ascontiguousarray(offsets.reshape(-1), np.intp),
        block=block,
        out_block=equal_share(problem.channels_out, out_block, register_rows),
        out_step=out_step,
        pointwise=pointwise,
        joined=contiguous or unrolled,
        unrolled=unrolled,
        copied=copied,
        most_odd=odd_pixels(problem, lanes, x.out) if contiguous or unrolled else 0,
    )
    work = work_of(problem, level, tiles, layout)
    return Choice.of("gemm, lanes = pixels", pixels.Driver(problem, tiles), tiles, work)


def work_of(problem: ConvProblem, level: str, plan: PixelsPlan, layout: dict[str, Any]) -> dict[str, float]:
    """Count the work."""
    sizes, lanes = levels.describe(level), lanes_of(problem, level)
    y, x = plan.axes[-2:]
    images = problem.batch * problem.groups * math.prod(axis.out for axis in plan.axes[:-2])
    tiles = -(-y.out // plan.tile_rows) * -(-x.out // plan.tile_columns)
    # Lines of pixels, and the register tiles along them; a tile that is not joined has a line for each of its rows.
    lines = tiles if plan.joined else y.out * -(-x.out // plan.tile_columns)
    line = y.out * x.out / max(lines, 1)
    odd = line % lanes if line % lanes <= plan.most_odd else 0
    vectors = -(-(line - odd) // lanes)
    panels = -(-vectors // sizes["pixels_vectors"])
    blocks = -(-problem.taps // plan.block)
    out_steps = -(-problem.channels_out // plan.out_block) * -(-plan.out_block // plan.out_step)
    # Output channels that do not fill the rows of a register tile go through parts of it.
    whole, rest = divmod(problem.channels_out, sizes["pixels_rows"])
    rows = [sizes["pixels_rows"]] * whole + [4] * (rest // 4) + [rest % 4] * (rest % 4 > 0)
    across = vectors / max(panels, 1)
    steps = sum(max(n * across, _tunables.LATENCY_STEPS) for n in rows)
    passes = images / problem.groups * tiles
    work = {
        "pixels.call": 1.0,
        "pixels.item": images * tiles,
        "pixels.tile": images * lines * panels * blocks * (len(rows) + out_steps),
        "pixels.product": images * lines * panels * steps * problem.taps,
        "pixels.odd": images * lines * odd * problem.channels_out * (problem.taps / lanes + 2),
        "pixels.visit": images * lines * vectors * problem.channels_out * blocks,
    }
    if plan.unrolled:
        out_blocks = -(-problem.channels_out // plan.out_block)
        # A move for every vector of a row, however few its pixels.
        work["pixels.unroll"] = images * y.out * -(-x.out // lanes) * problem.taps * out_blocks
    # Fewer pixels than a vector are neither read nor written in place.
    few = line < lanes and not odd
    if few or problem.spatial_axes[-1] != len(problem.out_shape) - 1:
        work["pixels.stored"] = images * lines * problem.channels_out
    if few or not plan.pointwise:
        work |= pack_work(problem, level, plan.axes, layout)
    work["pixels.far_weights"] = passes * far_vectors(problem, level, problem.w_size)
    return work | arrays_work(problem, level, "pixels.far")
