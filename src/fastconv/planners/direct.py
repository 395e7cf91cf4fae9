"""Plans of the direct algorithm: lanes are output columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem
from ..drivers import direct, levels
from .tiles import (
    COMPUTE,
    STORAGE,
    Choice,
    Segments,
    TilePlan,
    arrays_work,
    common,
    edges,
    inside,
    lanes_of,
    make_segments,
    pack_work,
    packed_layout,
    row_segment_order,
    share_of,
    too_large,
    two_axes,
)


@dataclass(eq=False, repr=False, match_args=False)
class DirectPlan(TilePlan):
    """Adds the kernel's tables, and how the output is cut into work items."""

    planes: np.ndarray  # (places of the first outer tap, n, 3): fc_plane of a packed tile
    plane_rows: np.ndarray  # the padded row that each plane of a channel and outer tap begins with
    columns: np.ndarray  # offset of each kernel column in a packed row
    plain_columns: np.ndarray  # and in a row of the input itself
    row_taps: np.ndarray  # kernel rows in the order of the planes
    in_order: bool  # products are added in the order of the taps
    row_blocks: np.ndarray  # edges of the bands of output rows
    chunks: np.ndarray  # edges of the chunks of output columns
    inside_y: tuple[int, int]  # outputs whose window lies inside the input
    inside_x: tuple[int, int]
    can_read_plain: bool
    chunk_block: int  # chunks in a work item
    group_block: int
    out_block: int


def plan_direct(problem: ConvProblem, level: str) -> Choice:
    """Plan the direct algorithm: lanes are output columns."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None:
        return Choice("direct", refusal=f"no kernel for {problem.dtype}")
    if problem.stored is not None and any((dtype, compute.dtype) not in STORAGE for dtype in problem.stored):
        return Choice("direct", refusal=f"{problem.stored} do not load and store as {compute.dtype}")
    if refusal := too_large(problem):
        return Choice("direct", refusal=refusal)
    sizes = levels.describe(level)
    axes = two_axes(problem)
    y, x = axes[-2:]
    outer_taps = math.prod(axis.k for axis in axes[:-2])
    item = compute.dtype.itemsize
    lanes = max(sizes["vector_bytes"] // item, 1)
    # Rows of a segment have to be neighbours to share loads; columns may lie up to a vector apart.
    rows, columns = make_segments(y, 1), make_segments(x, lanes)

    def layout_of(tile_rows: int, tile_columns: int) -> dict[str, Any]:
        return packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes)

    band, wide = sizes["direct_rows"], lanes * sizes["direct_vectors"]
    tile_rows, tile_columns = direct_tile(problem, item, band, wide, layout_of)
    layout = layout_of(tile_rows, tile_columns)
    stored = problem.dtype if problem.stored is None else problem.stored[0]
    can_read_plain = (
        item == stored.itemsize
        and stored.kind == problem.dtype.kind
        and x.stride == 1
        and all(a.input_dilation == 1 for a in axes)
    )
    inside_y, inside_x = (inside(y), inside(x)) if can_read_plain else ((0, 0), (0, 0))
    row_blocks = edges(y.out, *inside_y, band, tile_rows)
    chunks = edges(x.out, *inside_x, wide, tile_columns)
    # Where bands are few, as in one dimension, each is cut into items of its own.
    few = problem.batch * math.prod(axis.out for axis in axes[:-2]) * (len(row_blocks) - 1) < _tunables.FEW_BANDS
    row_work = problem.taps * problem.channels_out * min(tile_rows, y.out)
    chunk_block = max(1, share_of(_tunables.ITEM_WORK, row_work * tile_columns) if few else len(chunks) - 1)
    group_block = max(1, min(problem.groups, share_of(_tunables.ITEM_WORK, row_work * x.out)))
    in_order = problem.accuracy == "strict"
    runs = make_runs(rows, y, in_order)
    shares_planes = len(axes) == 3 and axes[0].stride == axes[0].dilation == axes[0].input_dilation == 1
    places = outer_taps if shares_planes else 1
    tiles = DirectPlan(
        **common(problem, level, compute, axes),
        **layout,
        planes=make_planes(problem.channels, outer_taps, places, rows, runs, x.k, layout),
        plane_rows=runs.first * y.dilation,
        columns=(layout["column_base"][columns.segment] + columns.offset).astype(np.intp),
        plain_columns=np.arange(x.k, dtype=np.intp) * x.dilation,
        row_taps=runs.taps,
        in_order=in_order,
        row_blocks=row_blocks,
        chunks=chunks,
        inside_y=inside_y,
        inside_x=inside_x,
        can_read_plain=can_read_plain,
        chunk_block=chunk_block if places == 1 else 1,
        group_block=group_block if places == 1 else 1,
        out_block=max(1, min(problem.channels_out, _tunables.DIRECT_WEIGHT_BYTES // (problem.taps * item))),
    )
    return Choice.of(
        "direct, lanes = columns", direct.Driver(problem, tiles), tiles, work_of(problem, level, tiles, layout)
    )


def work_of(problem: ConvProblem, level: str, plan: DirectPlan, layout: dict[str, Any]) -> dict[str, float]:
    """Count the work."""
    sizes, lanes = levels.describe(level), lanes_of(problem, level)
    y, x = plan.axes[-2:]
    images = problem.batch * problem.groups * problem.channels_out * math.prod(axis.out for axis in plan.axes[:-2])
    heights, widths = np.diff(plan.row_blocks), np.diff(plan.chunks)
    # A complex number is two lanes, and two products where it meets one.
    parts = 2 if problem.dtype.kind == "c" else 1
    vectors = float(np.sum(-(-widths // lanes))) * images
    wide = max(sizes["direct_vectors"] // parts, 1)
    blocks = float(np.sum(-(-widths // (lanes * wide)))) * images
    register_rows = float(np.sum(-(-heights // sizes["direct_rows"])))
    planes = plan.planes.shape[1]
    register_tiles = blocks * register_rows
    accumulators = parts * vectors * y.out / max(register_tiles, 1.0)
    # Vectors that a register tile loads for each column of the kernel: of all rows that its planes reach.
    reached = y.out * planes + register_rows * float(np.sum(plan.planes[0, :, 2] - 1))
    work = {
        "direct.call": 1.0,
        "direct.tile": images * len(heights) * len(widths),
        "direct.plane": register_tiles * planes,
        "direct.product": register_tiles * problem.taps * max(accumulators, _tunables.LATENCY_STEPS),
    }
    # A kernel of one row shares its loads between neighbouring vectors.
    if planes != 1 or plan.planes[0, 0, 2] > 1 or x.k == 1 or x.dilation > 1 or x.stride > 1:
        work["direct.load"] = vectors * reached * x.k
    if x.out % lanes:
        # The slack of packed tiles is cleared at every call.
        work["direct.clear"] = plan.channel_pitch * problem.channels / lanes
    rows_follow = problem.spatial_axes[-1] == len(problem.out_shape) - 1
    if not rows_follow or not plan.out_copies:
        # Every sum on a line of its own, lines that the next channel wants again.
        spread = plan.tile_rows * plan.tile_columns * problem.groups * problem.channels_out * problem.dtype.itemsize
        work["direct.store" if spread <= _tunables.L1_BYTES else "direct.spread"] = vectors * y.out
    elif np.any(widths < lanes * wide):
        # What is narrower than a register tile is computed beside the result, and copied row by row.
        work["direct.copied"] = images * y.out * float(np.sum(widths < lanes * wide))
    # What need not be packed: tiles whose windows lie inside the input.
    plain = 0.0
    if plan.can_read_plain and rows_follow and y.out and x.out:
        plain = share_inside(plan.row_blocks, plan.inside_y) * share_inside(plan.chunks, plan.inside_x)
    axes = plan.axes
    if plan.planes.shape[0] > 1:
        # One plane for each output along the first axis.
        axes = (Axis(axes[0].out, 1, 1, 1, 1, 0, 0, "constant"), y, x)
    return work | arrays_work(problem, level, "direct.far") | pack_work(problem, level, axes, layout, 1.0 - plain)


def share_inside(cuts: np.ndarray, inside_: tuple[int, int]) -> float:
    """Return the share of an axis that lies in pieces which are inside altogether."""
    within = (cuts[:-1] >= inside_[0]) & (cuts[1:] <= inside_[1])
    return float(np.sum(np.diff(cuts)[within]) / cuts[-1])


def direct_tile(
    problem: ConvProblem, item: int, band: int, wide: int, layout_of: Callable[[int, int], dict[str, Any]]
) -> tuple[int, int]:
    """Return the rows and columns of a tile: what fits the cache when packed, and leaves Ctrl-C an answer in time."""

    def fits(tile_rows: int, tile_columns: int) -> bool:
        packed = layout_of(tile_rows, tile_columns)["channel_pitch"] * problem.channels * item
        work = tile_rows * tile_columns * problem.taps
        return bool(packed <= _tunables.DIRECT_PACKED_BYTES and work <= _tunables.TILE_WORK)

    y, x = two_axes(problem)[-2:]
    tile_rows = max(min(_tunables.DIRECT_TILE_ROWS, y.out), 1)
    # A lone row has a tile to itself.
    row_bytes = _tunables.DIRECT_TILE_ROW_BYTES * (_tunables.DIRECT_TILE_ROWS // 2 if y.out == 1 else 1)
    tile_columns = max(min(row_bytes // item, x.out), 1)
    while tile_rows > band and not fits(tile_rows, tile_columns):
        tile_rows = max(tile_rows // 2, band)
    while tile_columns > wide and not fits(tile_rows, tile_columns):
        tile_columns = max(tile_columns // 2 // wide * wide, wide)
    # Sharing loads between rows is the last thing to give up.
    return (tile_rows if fits(tile_rows, tile_columns) else 1), tile_columns


class Runs(NamedTuple):
    """Kernel rows in the order in which they are added up, and how many a plane takes of them."""

    taps: np.ndarray
    first: np.ndarray  # kernel row of each plane
    rows: np.ndarray  # of each plane


def make_runs(rows: Segments, axis: Axis, in_order: bool) -> Runs:
    """Return a run for every row segment; a stride leaves them out of order, and then in order every row is one."""
    taps = row_segment_order(rows)
    if in_order and axis.stride > 1:
        taps = np.arange(axis.k, dtype=np.intp)
        return Runs(taps, taps, np.ones_like(taps))
    counts = np.bincount(rows.segment, minlength=len(rows.start)).astype(np.intp)
    return Runs(taps, taps[np.cumsum(counts) - counts], counts)


def make_planes(
    channels: int, taps: int, places: int, rows: Segments, runs: Runs, columns: int, layout: dict[str, Any]
) -> np.ndarray:
    """Return fc_plane for every pair of a channel and an outer tap, and every run, of a packed tile.

    There is a table for each place that the first outer tap can have: the others are behind it, and then in front.
    """
    weights = np.concatenate([[0], np.cumsum(runs.rows * columns)])
    pairs = np.arange(channels * taps)
    first = np.arange(places)[:, None]
    place = pairs // taps * taps + (pairs + first) % taps
    planes = np.empty((places, len(pairs), len(runs.rows), 3), np.intp)
    base = layout["row_base"][rows.segment[runs.first]] + rows.offset[runs.first] * layout["pitch"]
    planes[..., 0] = place[:, :, None] * layout["outer_pitch"] + base
    planes[..., 1] = pairs[:, None] * weights[-1] + weights[:-1]
    planes[..., 2] = runs.rows
    return planes.reshape(places, -1, 3)
