"""A problem and a CPU level become a schedule: the algorithm, its tiles, and why each other algorithm was passed over.

No array of the user's is touched here. Schedules of equal problems are shared, see `make`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _tunables
from ._epilogue import activate
from ._errors import ConvError
from ._problem import Axis, ConvProblem
from ._reference import correlate
from .drivers import direct, gemm, levels


class Compute(NamedTuple):
    """How a dtype is computed: the indices of fc_compute and fc_storage (kernels/fastconv.h), and the lane's dtype."""

    compute: int
    storage: int
    dtype: np.dtype[Any]
    part_bytes: int  # of one real part


# One row a dtype; what is not here goes to the reference.
_COMPUTE = {
    np.dtype(name): Compute(compute, storage, np.dtype(lane), part_bytes)
    for name, compute, storage, lane, part_bytes in [
        ("float32", 0, 1, "float32", 4),
        ("float64", 1, 2, "float64", 8),
        ("complex64", 2, 2, "complex64", 4),
        ("complex128", 3, 3, "complex128", 8),
        ("int8", 4, 4, "int16", 2),
        ("uint8", 4, 4, "uint16", 2),
        ("int16", 4, 0, "int16", 2),
        ("uint16", 4, 0, "uint16", 2),
        ("int32", 5, 1, "int32", 4),
        ("uint32", 5, 1, "uint32", 4),
        ("int64", 6, 2, "int64", 8),
        ("uint64", 6, 2, "uint64", 8),
        ("bool", 0, 5, "float32", 4),
        ("float16", 0, 6, "float32", 4),
    ]
}


class Segments(NamedTuple):
    """The taps of an axis, in runs that share a residue modulo the stride.

    Output p and tap i of a segment read sample ``start + (p + i) * stride`` of the padded axis.
    """

    start: np.ndarray  # the first sample, one a segment
    span: np.ndarray  # samples a segment spans at one output: the last i plus 1
    segment: np.ndarray  # of each tap
    offset: np.ndarray  # i of each tap


def make_segments(axis: Axis, max_gap: int) -> Segments:
    """Cut the taps of an axis into segments, a new one wherever neighbours are more than `max_gap` apart."""
    sample = np.arange(axis.k, dtype=np.intp) * axis.dilation
    residue, step = sample % axis.stride, sample // axis.stride
    order = np.lexsort((step, residue))
    first = np.ones(axis.k, bool)
    first[1:] = (np.diff(residue[order]) != 0) | (np.diff(step[order]) > max_gap)
    start = order[first]
    segment, offset = np.empty_like(order), np.empty_like(order)
    segment[order] = np.cumsum(first) - 1
    offset[order] = step[order] - step[start][segment[order]]
    span = np.zeros(len(start), np.intp)
    np.maximum.at(span, segment, offset + 1)
    return Segments(sample[start], span, segment, offset)


@dataclass(eq=False, repr=False, match_args=False)
class TilePlan:
    """What a driver is built from; the arrays are intp. `tile.pyx` draws the packed tile."""

    level: str
    compute: int
    storage: int
    computed_bytes: int
    part_bytes: int
    fill: bytes
    axes: tuple[Axis, ...]  # at least two
    tile_rows: int
    tile_columns: int
    pitch: int
    outer_pitch: int
    channel_pitch: int
    row_start: np.ndarray
    row_count: np.ndarray
    row_base: np.ndarray
    column_start: np.ndarray
    column_span: np.ndarray
    column_base: np.ndarray


@dataclass(eq=False, repr=False, match_args=False)
class DirectPlan(TilePlan):
    """Adds the kernel's tables, and how the output is cut into work items."""

    planes: np.ndarray  # (n, 3): fc_plane of a packed tile
    columns: np.ndarray  # offset of each kernel column in a packed row
    plain_columns: np.ndarray  # and in a row of the input itself
    row_taps: np.ndarray  # kernel rows in the order of the row segments
    row_blocks: np.ndarray  # edges of the bands of output rows
    chunks: np.ndarray  # edges of the chunks of output columns
    inside_y: tuple[int, int]  # outputs whose window lies inside the input
    inside_x: tuple[int, int]
    can_read_plain: bool
    chunk_block: int  # chunks in a work item
    group_block: int
    out_block: int


@dataclass(eq=False, repr=False, match_args=False)
class GemmPlan(TilePlan):
    """Adds the micro-kernel's table of taps, and the block of output channels whose weights are packed together."""

    tap_offsets: np.ndarray  # of each tap in a packed channel, in the order of the weights
    out_block: int
    flattened: bool  # the image is one row


def row_segment_order(segments: Segments) -> np.ndarray:
    """Return the taps in the order in which the segments hold them."""
    return np.lexsort((segments.offset, segments.segment)).astype(np.intp)


def packed_layout(
    rows: Segments, columns: Segments, tile_rows: int, tile_columns: int, outer_taps: int, lanes: int
) -> dict[str, Any]:
    """Return the pitches and bases of a packed tile, in elements."""
    # A kernel may touch the row up to a whole vector behind the last column of the tile.
    width = -(-tile_columns // lanes) * lanes
    column_span = columns.span - 1
    column_base = np.concatenate([[0], np.cumsum(width + column_span)]).astype(np.intp)
    pitch = -(-int(column_base[-1]) // lanes) * lanes
    row_base = np.concatenate([[0], np.cumsum((tile_rows + rows.span - 1) * pitch)]).astype(np.intp)
    outer_pitch = int(row_base[-1])
    return {
        "tile_rows": tile_rows,
        "tile_columns": tile_columns,
        "pitch": pitch,
        "outer_pitch": outer_pitch,
        "channel_pitch": outer_pitch * outer_taps,
        "row_start": rows.start,
        "row_count": rows.span,
        "row_base": row_base[:-1].copy(),
        "column_start": columns.start,
        "column_span": column_span,
        "column_base": column_base[:-1].copy(),
    }


def inside(axis: Axis) -> tuple[int, int]:
    """Return the range of outputs whose whole window lies inside the input."""
    first = max(-(-axis.lo // axis.stride), 0)
    last = (axis.extent + axis.lo - axis.window) // axis.stride + 1
    return min(first, axis.out), max(min(last, axis.out), 0)


def edges(total: int, first: int, last: int, edge: int, step: int) -> np.ndarray:
    """Cut range(total) at multiples of `step`, with strips of whole `edge`s around the part from first to last."""
    first, last = min(-(-first // edge) * edge, total), last if last >= total else last // edge * edge
    if last - first < edge:
        first = last = total
    cuts = [np.arange(start, stop, step, dtype=np.intp) for start, stop in ((0, first), (first, last), (last, total))]
    return np.concatenate([*cuts, [total]], dtype=np.intp)


class Choice(NamedTuple):
    """The outcome of planning one algorithm: a plan for its driver, or the reason against it."""

    algorithm: str
    driver: Any = None
    tiles: TilePlan | None = None
    cost: float = math.inf  # in units of a full vector multiply-add
    refusal: str = ""


def two_axes(problem: ConvProblem) -> tuple[Axis, ...]:
    """Return the axes, with a y axis of one sample in front of a lone x."""
    if len(problem.axes) > 1:
        return problem.axes
    return (Axis(1, 1, 1, 1, 1, 0, 0, "constant"), *problem.axes)


def is_pointwise(problem: ConvProblem) -> bool:
    """Return whether every output depends on the one sample at its own place, and samples can follow each other."""
    places = problem.spatial_axes
    if places[-1] - places[0] != len(places) - 1:
        return False
    return all(axis.k == axis.stride == axis.input_dilation == 1 and axis.lo == axis.hi == 0 for axis in problem.axes)


def common(problem: ConvProblem, level: str, compute: Compute, axes: tuple[Axis, ...]) -> dict[str, Any]:
    """Return what the tiles of every algorithm share."""
    fill = np.frombuffer(problem.fill, problem.dtype).astype(compute.dtype).tobytes()
    return {
        "level": level,
        "compute": compute.compute,
        "storage": compute.storage,
        "computed_bytes": compute.dtype.itemsize,
        "part_bytes": compute.part_bytes,
        "fill": fill,
        "axes": axes,
    }


def too_large(problem: ConvProblem) -> str:
    """Return why a problem is beyond the tables of a plan, or nothing."""
    if problem.taps > _tunables.TABLE_LIMIT:
        return f"{problem.taps} products an output, more than {_tunables.TABLE_LIMIT}"
    if max(axis.out for axis in problem.axes) > _tunables.AXIS_LIMIT:
        return f"an axis of {max(axis.out for axis in problem.axes)} outputs, more than {_tunables.AXIS_LIMIT}"
    return ""


def plan_direct(problem: ConvProblem, level: str) -> Choice:
    """Plan the direct algorithm: lanes are output columns."""
    compute = _COMPUTE.get(problem.dtype)
    if compute is None:
        return Choice("direct", refusal=f"no kernel for {problem.dtype}")
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
    can_read_plain = item == problem.dtype.itemsize and x.stride == 1 and all(a.input_dilation == 1 for a in axes)
    inside_y, inside_x = (inside(y), inside(x)) if can_read_plain else ((0, 0), (0, 0))
    row_blocks = edges(y.out, *inside_y, band, tile_rows)
    chunks = edges(x.out, *inside_x, wide, tile_columns)
    # Where bands are few, as in one dimension, each is cut into items of its own.
    few = problem.batch * math.prod(axis.out for axis in axes[:-2]) * (len(row_blocks) - 1) < _tunables.FEW_BANDS
    row_work = problem.taps * problem.channels_out * min(tile_rows, y.out)
    tiles = DirectPlan(
        **common(problem, level, compute, axes),
        **layout,
        planes=make_planes(problem.channels, outer_taps, rows, x.k, layout),
        columns=(layout["column_base"][columns.segment] + columns.offset).astype(np.intp),
        plain_columns=np.arange(x.k, dtype=np.intp) * x.dilation,
        row_taps=row_segment_order(rows),
        row_blocks=row_blocks,
        chunks=chunks,
        inside_y=inside_y,
        inside_x=inside_x,
        can_read_plain=can_read_plain,
        chunk_block=max(1, share_of(_tunables.ITEM_WORK, row_work * tile_columns) if few else len(chunks) - 1),
        group_block=max(1, min(problem.groups, share_of(_tunables.ITEM_WORK, row_work * x.out))),
        out_block=max(1, min(problem.channels_out, _tunables.DIRECT_WEIGHT_BYTES // (problem.taps * item))),
    )
    filled = x.out / (-(-x.out // lanes) * lanes) if x.out else 1.0
    cost = problem.flops / 2 / lanes / max(filled * _tunables.DIRECT_EFFICIENCY, 1e-3)
    return Choice("direct", direct.Driver(problem, tiles), tiles, cost)


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
    tile_columns = max(min(_tunables.DIRECT_TILE_ROW_BYTES // item, x.out), 1)
    while tile_rows > band and not fits(tile_rows, tile_columns):
        tile_rows = max(tile_rows // 2, band)
    while tile_columns > wide and not fits(tile_rows, tile_columns):
        tile_columns = max(tile_columns // 2 // wide * wide, wide)
    # Sharing loads between rows is the last thing to give up.
    return (tile_rows if fits(tile_rows, tile_columns) else 1), tile_columns


def share_of(total: int, part: int) -> int:
    """Return how many parts make the total."""
    return total // max(part, 1)


def make_planes(channels: int, outer_taps: int, rows: Segments, columns: int, layout: dict[str, Any]) -> np.ndarray:
    """Return fc_plane for every channel, outer tap and row segment of a packed tile."""
    kernel_rows = np.bincount(rows.segment, minlength=len(rows.start))
    weights = np.concatenate([[0], np.cumsum(kernel_rows * columns)])
    pairs = np.arange(channels * outer_taps)
    planes = np.empty((len(pairs), len(rows.start), 3), np.intp)
    planes[:, :, 0] = pairs[:, None] * layout["outer_pitch"] + layout["row_base"]
    planes[:, :, 1] = pairs[:, None] * weights[-1] + weights[:-1]
    planes[:, :, 2] = kernel_rows
    return planes.reshape(-1, 3)


def equal_share(total: int, most: int, unit: int) -> int:
    """Return an equal share of `total`, at most `most` or one unit; whole units where there are several shares."""
    if total <= most:
        return max(total, 1)
    units = max(most // unit, 1)
    shares = -(-total // (units * unit))
    return -(-total // (shares * unit)) * unit


def plan_gemm(problem: ConvProblem, level: str) -> Choice:
    """Plan the implicit GEMM: lanes are output channels."""
    compute = _COMPUTE.get(problem.dtype)
    if compute is None or problem.dtype.char not in "fd":
        return Choice("gemm", refusal=f"no kernel for {problem.dtype}, only for float32 and float64")
    if problem.channel_axis < 0:
        return Choice("gemm", refusal="no channels to sum over")
    if refusal := too_large(problem):
        return Choice("gemm", refusal=refusal)
    sizes = levels.describe(level)
    axes = two_axes(problem)
    flattened = is_pointwise(problem)
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
    # A register tile is computed whole, then stored through a transposition.
    steps = outputs * panels * sizes["gemm_vectors"]
    cost = steps * (problem.taps / _tunables.GEMM_EFFICIENCY + _tunables.GEMM_STORE_STEPS)
    cost += problem.batch * problem.groups * problem.taps * math.prod(axis.out for axis in axes) / lanes / y.k / x.k * 2
    return Choice("gemm", gemm.Driver(problem, tiles), tiles, cost)


def reference_result(problem: ConvProblem, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Return the result by the definition, in the user's layout; arrays may be of a wider dtype than the problem's."""
    rank = len(problem.axes)
    order = [axis for axis in (problem.batch_axis, problem.channel_axis) if axis >= 0] + list(problem.spatial_axes)
    if problem.flip:
        w = np.flip(w, tuple(range(w.ndim - rank, w.ndim)))
    if problem.conj:
        w = w.conj()
    sizes, kernel = [axis.n for axis in problem.axes], [axis.k for axis in problem.axes]
    result = correlate(
        x.transpose(order).reshape(problem.batch, problem.groups, problem.channels, *sizes),
        w.reshape(problem.groups, problem.channels_out, problem.channels, *kernel),
        problem.axes,
        np.frombuffer(problem.fill, problem.dtype).astype(x.dtype)[0],
        None if bias is None else bias.reshape(problem.groups, problem.channels_out).astype(x.dtype, copy=False),
    )
    in_order = result.reshape([problem.out_shape[axis] for axis in order])
    return in_order.transpose(np.argsort(order))


class ReferenceDriver:
    """Runs a problem by its definition, for the dtypes that have no kernel."""

    workspace_bytes = 0
    level_name = "numpy"

    def __init__(self, problem: ConvProblem) -> None:
        self.problem = problem
        # float16 is summed in float32, as the kernels do.
        self.lane = np.dtype(np.float32) if problem.dtype == np.float16 else problem.dtype

    def run(
        self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, threads: int | None = None
    ) -> None:
        """Write the convolution of x and w to out."""
        x, w = x.astype(self.lane, copy=False), w.astype(self.lane, copy=False)
        out[...] = reference_result(self.problem, x, w, bias)


def plan_reference(problem: ConvProblem, level: str) -> Choice:
    """Plan the definition itself, which serves every problem."""
    return Choice("reference", ReferenceDriver(problem))


# Tried in this order; the cheapest that accepts is taken, and the reference accepts everything.
PLANNERS: dict[str, Callable[[ConvProblem, str], Choice]] = {
    "gemm": plan_gemm,
    "direct": plan_direct,
    "reference": plan_reference,
}


class Schedule(NamedTuple):
    """A problem with its algorithm, ready to run on arrays.

    Attributes
    ----------
    problem : ConvProblem
    level : str
        The CPU level whose kernels run.
    algorithm : str
        "direct", "gemm" or "reference".
    passed_over : tuple of str
        One line for each algorithm that was not taken, with the reason.
    """

    problem: ConvProblem
    level: str
    algorithm: str
    driver: Any
    tiles: TilePlan | None
    passed_over: tuple[str, ...]

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory that one thread uses, beyond the arrays."""
        return int(self.driver.workspace_bytes)

    @property
    def flops(self) -> int:
        """Real additions and multiplications of the direct method, whatever the algorithm."""
        return self.problem.flops

    @property
    def bias_dtype(self) -> np.dtype[Any]:
        """What the kernels take the bias in."""
        return _COMPUTE[self.problem.dtype].dtype if self.tiles is not None else self.problem.dtype

    def pack(self, w: np.ndarray) -> np.ndarray | None:
        """Return the weights as this schedule's kernels read them, or None where they are read as they are."""
        packed: np.ndarray | None = self.driver.pack_all(w) if self.algorithm == "gemm" else None
        return packed

    def explain(self) -> str:
        """Return the algorithm, tiles, workspace and work in words, and why the others were passed over."""
        p = self.problem
        lines = [
            f"{p.dtype} {p.batch} x {p.groups} groups x {p.channels} -> {p.channels_out} channels, "
            f"kernel {' x '.join(str(axis.k) for axis in p.axes)}, result {p.out_shape}",
            f"algorithm: {self.algorithm}, level: {self.level}",
        ]
        if self.tiles is not None:
            lines.append(
                f"tile: {self.tiles.tile_rows} rows x {self.tiles.tile_columns} columns, "
                f"{self.tiles.channel_pitch * p.channels * self.tiles.computed_bytes} bytes when packed"
            )
        if p.activation is not None:
            lines.append(f"epilogue: {p.activation}, a second pass over the result")
        lines.append(f"workspace: {self.workspace_bytes} bytes a thread, work: {p.flops} flops")
        lines.extend(f"passed over: {line}" for line in self.passed_over)
        return "\n".join(lines)

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
    ) -> np.ndarray:
        """Compute into `out`, which is aligned and shares memory with no input, and return it.

        `panels` are weights that `pack` packed before.
        """
        if panels is None:
            self.driver.run(x, w, bias, out, threads)
        else:
            self.driver.run(x, w, bias, out, threads, panels)
        if self.problem.activation is not None:
            activate(out, self.problem.activation)
        return out


def affordable(choice: Choice, problem: ConvProblem) -> Choice:
    """Refuse a choice whose workspace is beyond the user's limit."""
    if choice.driver is None or problem.max_workspace is None:
        return choice
    needed = choice.driver.workspace_bytes
    if needed <= problem.max_workspace:
        return choice
    return Choice(
        choice.algorithm, refusal=f"needs {needed} bytes of workspace, max_workspace is {problem.max_workspace}"
    )


@lru_cache(maxsize=1024)
def make(problem: ConvProblem, level: str) -> Schedule:
    """Return the schedule of a problem at a level.

    Raises
    ------
    ConvError
        If the algorithm asked for cannot serve the problem.
    """
    if problem.algorithm == "auto":
        choices = [affordable(planner(problem, level), problem) for planner in PLANNERS.values()]
    else:
        choices = [affordable(PLANNERS[problem.algorithm](problem, level), problem)]
        if choices[0].driver is None:
            why = f"which refuses: {choices[0].refusal}"
            raise ConvError(f"algorithm: got {problem.algorithm!r}, {why}, allowed: 'auto', 'reference'")
    taken = min((choice for choice in choices if choice.driver is not None), key=lambda choice: choice.cost)
    passed_over = tuple(reason(choice, taken) for choice in choices if choice is not taken)
    return Schedule(problem, level, taken.algorithm, taken.driver, taken.tiles, passed_over)


def reason(choice: Choice, taken: Choice) -> str:
    """Return why a choice was not taken."""
    if choice.driver is None:
        return f"{choice.algorithm}: {choice.refusal}"
    if math.isinf(choice.cost):
        return f"{choice.algorithm}: correct and slow, the last resort"
    return (
        f"{choice.algorithm}: {choice.cost / max(taken.cost, 1.0):.2f} times the cost of {taken.algorithm} by the model"
    )
