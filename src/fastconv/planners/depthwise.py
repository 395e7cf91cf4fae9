"""Plans of depthwise convolution: lanes are channels. A second way of the direct algorithm, where it costs less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _costs, _tunables
from .._problem import Axis, ConvProblem
from ..drivers import depthwise, levels
from .tiles import COMPUTE, Choice, TilePlan, arrays_work, channels_near, common, make_segments, packed_layout, two_axes

# Lengths of runs of taps that the kernel has loops of their own for, and the strides it has them for.
RUNS = (7, 5, 3)
RUN_STRIDES = (1, 2)

POINTER_BYTES = 8


@dataclass(eq=False, repr=False, match_args=False)
class DepthwisePlan(TilePlan):
    """Adds the table of addresses, and how the output is cut into work items; nothing of a tile is packed."""

    tap_offsets: np.ndarray  # of each tap in the table, in the order of the weights
    run: int  # taps whose samples follow each other
    in_place: bool  # channels of a pixel follow each other; else a vector of them is gathered
    table_rows: int  # of the largest item
    table_pitch: int
    step_rows: int  # output rows that are computed together
    bands: int  # of output rows
    chunks: int  # of output columns
    blocks: int  # of vectors of channels
    work: float  # multiply-adds at the peak that would take as long

    def describe(self, channels: int) -> str:
        """Return the tiles in words."""
        how = "read in place" if self.in_place else "gathered"
        return f"tile: {self.tile_rows} rows x {self.tile_columns} columns, lanes = channels, {how}"


def refusal(problem: ConvProblem, lanes: int) -> str:
    """Return why lanes can't be channels, or nothing."""
    if problem.dtype.char not in "fd" or problem.stored is not None:
        return "no kernel but for float32 and float64"
    if problem.channels != 1 or problem.groups < lanes:
        return f"not depthwise, or of fewer than {lanes} channels"
    if len(problem.axes) > 2:
        return "more than two spatial axes"
    if problem.taps > _tunables.DEPTHWISE_TAPS:
        return f"{problem.taps} products an output, more than {_tunables.DEPTHWISE_TAPS}"
    return ""


def plan_depthwise(problem: ConvProblem, level: str) -> Choice:
    """Plan lanes of channels."""
    lanes = levels.describe(level)["vector_bytes"] // problem.dtype.itemsize
    if why := refusal(problem, lanes):
        return Choice("direct", refusal=why)
    plan = make_plan(problem, level, lanes)
    if plan is None:
        return Choice("direct", refusal="rows too long for lanes of channels")
    work = work_of(problem, plan, lanes)
    plan.work = _costs.total(work, level) * lanes
    return Choice.of("direct, lanes = channels", depthwise.Driver(problem, plan), plan, work)


def samples(axis: Axis, outputs: int) -> int:
    """Return the samples of the padded axis that so many outputs span."""
    return (outputs - 1) * axis.stride + axis.window


def make_plan(problem: ConvProblem, level: str, lanes: int) -> DepthwisePlan | None:
    """Return the plan, or None where a table or the gathered rows would be too large."""
    y, x = two_axes(problem)
    in_place = channels_near(problem)
    pixel = lanes * problem.dtype.itemsize
    columns = max(min(x.out, _tunables.DEPTHWISE_COLUMNS) if in_place else x.out, 1)
    # Rows that share half of what they read with their neighbours; all of them where the image stays in L2.
    step = max(-(-y.window // y.stride) - 1, 1)
    image = (y.n * x.n + y.out * x.out * problem.channels_out) * problem.groups * problem.dtype.itemsize
    if image <= _tunables.DEPTHWISE_IMAGE_BYTES:
        step = max(step, _tunables.DEPTHWISE_ROWS)
    rows = max(_tunables.DEPTHWISE_ROWS // step * step, step)
    if not in_place:
        most = _tunables.DEPTHWISE_GATHERED_BYTES // max(x.n * pixel, 1)
        rows = (most - y.window) // y.stride + 1
    rows = max(min(rows, y.out), 1)
    if not in_place:
        step = rows
    bands, chunks = max(-(-y.out // rows), 1), max(-(-x.out // columns), 1)
    rows, columns = -(-max(y.out, 1) // bands), -(-max(x.out, 1) // chunks)
    table_rows, pitch = samples(y, rows), samples(x, columns)
    if not in_place and table_rows * x.n * pixel > _tunables.DEPTHWISE_GATHERED_BYTES:
        return None
    if table_rows * pitch * POINTER_BYTES > _tunables.DEPTHWISE_TABLE_BYTES:
        return None
    vectors = -(-problem.groups // lanes)
    blocks = vectors
    if in_place:
        items = problem.batch * bands * chunks
        blocks = min(max(_tunables.DEPTHWISE_ITEMS // max(items, 1), 1), max(problem.groups // lanes // 2, 1))
    run = 0
    if x.dilation == 1 and x.stride in RUN_STRIDES:
        run = next((n for n in RUNS if x.k % n == 0), 0)
    taps = np.arange(y.k)[:, None] * (y.dilation * pitch) + np.arange(x.k) * x.dilation
    segments = make_segments(y, 1), make_segments(x, 1)
    return DepthwisePlan(
        **common(problem, level, COMPUTE[problem.dtype], (y, x)),
        **packed_layout(*segments, rows, columns, 1, lanes=1),
        tap_offsets=np.ascontiguousarray(taps.reshape(-1), np.intp),
        run=run,
        in_place=in_place,
        table_rows=table_rows,
        table_pitch=pitch,
        step_rows=step,
        bands=bands,
        chunks=chunks,
        blocks=blocks,
        work=0.0,  # counted when all else is known
    )


def work_of(problem: ConvProblem, plan: DepthwisePlan, lanes: int) -> dict[str, float]:
    """Count the work."""
    y, x = plan.axes
    vectors = problem.batch * -(-problem.groups // lanes)
    outputs = vectors * problem.channels_out * y.out * x.out
    work = {
        "depthwise.call": 1.0,
        "depthwise.tap" if plan.run else "depthwise.lone_tap": outputs * problem.taps,
        "depthwise.output": outputs,
        "depthwise.address": problem.batch
        * plan.bands
        * plan.chunks
        * plan.blocks
        * plan.table_rows
        * plan.table_pitch,
    }
    work |= arrays_work(problem, plan.level, "depthwise.far")
    if plan.in_place:
        return work
    return work | {"depthwise.gather": vectors * y.n * x.n, "depthwise.scatter": outputs}
