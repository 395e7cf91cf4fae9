"""What the planners of all algorithms share: how a dtype is computed, how a tile is packed, and what they conclude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .. import _costs, _tunables
from .._problem import Axis, ConvProblem, is_bfloat16, is_float
from ..drivers import levels


class Compute(NamedTuple):
    """How a dtype is computed: the indices of fc_compute and fc_storage (kernels/fastconv.h), and the lane's dtype."""

    compute: int
    storage: int
    dtype: np.dtype[Any]
    part_bytes: int  # of one real part


class ByDtype(dict[np.dtype[Any], Compute]):
    """A table by dtype, in which the bfloat16 of ml_dtypes is found by its name: nothing else is known of it here."""

    bfloat16 = Compute(0, 21, np.dtype(np.float32), 4)

    def __missing__(self, dtype: np.dtype[Any]) -> Compute:
        if is_bfloat16(dtype):
            return self.bfloat16
        raise KeyError(dtype)

    def get(self, dtype: np.dtype[Any], default: None = None) -> Compute | None:  # type: ignore[override]
        """Return the row of a dtype, or None."""
        return self.bfloat16 if is_bfloat16(dtype) else super().get(dtype, default)


# One row a dtype; what is not here goes to the reference.
COMPUTE = ByDtype(
    {
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
)


# How a stored dtype gets into a lane of another one and back: the index of fc_storage. Lanes of its own are in COMPUTE.
STORAGE = {
    (np.dtype(stored), np.dtype(lane)): kind
    for lane, first, names in [
        ("float32", 7, ("uint8", "int8", "uint16", "int16")),
        (
            "float64",
            11,
            ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool", "float32"),
        ),
    ]
    for kind, stored in enumerate(names, first)
} | {(dtype, compute.dtype): compute.storage for dtype, compute in COMPUTE.items()}

# How a finished result in a lane, by their names, is rounded to the dtype it is stored in: the index of fc_storage.
FINAL = {
    (stored, lane): kind
    for lane, first, others in [
        ("float32", 22, {"float32": 1, "float64": 38, "float16": 6, "bfloat16": 21}),
        ("float64", 30, {"float64": 2, "float32": 20, "float16": 39, "bfloat16": 40}),
    ]
    for stored, kind in [
        *zip(
            ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
            range(first, first + 8),
            strict=True,
        ),
        *others.items(),
    ]
}

# fc_compute for doubles whose products are rounded before they are added.
UNFUSED = 7


def unfused(arithmetic: np.dtype[Any], out: np.dtype[Any]) -> bool:
    """Return whether sums are cut to integers, so that their last bit may show."""
    return arithmetic.kind == "f" and out.kind in "biu"


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
    storage: int  # of the weights
    x_storage: int
    out_storage: int
    out_copies: bool  # the result is stored as it is computed
    finishes: bool  # the kernels can do what follows the sums
    final_storage: int  # of the finished result
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

    def describe(self, channels: int) -> str:
        """Return the tiles in words."""
        return (
            f"tile: {self.tile_rows} rows x {self.tile_columns} columns, "
            f"{self.channel_pitch * channels * self.computed_bytes} bytes when packed"
        )


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
    needed: int = 0  # bytes of workspace, where these are the reason
    variant: str = ""  # which of the ways of the algorithm
    work: _costs.Work = MappingProxyType({})  # what the cost is made of

    @classmethod
    def of(cls, variant: str, driver: Any, tiles: TilePlan, work: _costs.Work) -> Choice:
        """Return a plan whose cost is that of some work; a variant begins with the name of its algorithm."""
        cost = _costs.total(work, tiles.level)
        return cls(variant.split(",")[0], driver, tiles, cost, variant=variant, work=work)


def two_axes(problem: ConvProblem) -> tuple[Axis, ...]:
    """Return the axes, with a y axis of one sample in front of a lone x."""
    if len(problem.axes) > 1:
        return problem.axes
    return (Axis(1, 1, 1, 1, 1, 0, 0, "constant"), *problem.axes)


def common(problem: ConvProblem, level: str, compute: Compute, axes: tuple[Axis, ...]) -> dict[str, Any]:
    """Return what the tiles of every algorithm share."""
    fill = np.frombuffer(problem.fill, problem.dtype).astype(compute.dtype).tobytes()
    x_storage = out_storage = compute.storage
    if problem.stored is not None:
        x_storage, out_storage = (STORAGE[dtype, compute.dtype] for dtype in problem.stored)
    out = problem.out_dtype
    finishes = problem.stored is None and is_float(problem.dtype)
    return {
        "level": level,
        "compute": UNFUSED if problem.stored is not None and unfused(problem.dtype, out) else compute.compute,
        "storage": compute.storage,
        "x_storage": x_storage,
        "out_storage": out_storage,
        "out_copies": out.itemsize == compute.dtype.itemsize and out.kind == compute.dtype.kind,
        "finishes": finishes,
        "final_storage": FINAL[out.name, compute.dtype.name] if finishes else out_storage,
        "computed_bytes": compute.dtype.itemsize,
        "part_bytes": compute.part_bytes,
        "fill": fill,
        "axes": axes,
    }


def lanes_of(problem: ConvProblem, level: str) -> int:
    """Return the elements of a vector of the compute type."""
    compute = COMPUTE[problem.dtype]
    return max(levels.describe(level)["vector_bytes"] // compute.dtype.itemsize, 1)


def channels_near(problem: ConvProblem) -> bool:
    """Return whether the channels of a pixel are neighbours."""
    return problem.channel_axis == len(problem.out_shape) - 1


def pack_work(
    problem: ConvProblem, level: str, axes: tuple[Axis, ...], layout: dict[str, Any], repeats: float = 1.0
) -> dict[str, float]:
    """Count the work of packing all tiles of a problem, each so often."""
    y, x = axes[-2:]
    lanes = lanes_of(problem, level)
    images = repeats * problem.batch * problem.groups * math.prod(axis.out for axis in axes[:-2])
    planes = images * math.prod(axis.k for axis in axes[:-2])
    tiles_y, tiles_x = -(-y.out // layout["tile_rows"]), -(-x.out // layout["tile_columns"])
    rows = y.out * len(layout["row_count"]) + tiles_y * float(np.sum(layout["row_count"] - 1))
    runs = planes * rows * tiles_x * len(layout["column_span"])
    columns = x.out * len(layout["column_span"]) + tiles_x * float(np.sum(layout["column_span"]))
    # Samples outside the input are found one by one.
    outside = 1.0 - math.prod(axis.extent / max(axis.extent + max(axis.lo, 0) + max(axis.hi, 0), 1) for axis in (y, x))
    halo = planes * problem.channels * rows * columns / lanes * outside
    work = {"pack.tile": images * tiles_y * tiles_x, "pack.halo": halo}
    if channels_near(problem) and problem.groups * problem.channels > 1:
        # As drivers/tile.pyx does: vectors of channels are turned, if enough of each are wanted.
        channels = problem.channels
        if channels >= lanes or (problem.groups > 1 and channels * _tunables.TURNED_SHARE >= lanes):
            blocks = runs * -(-channels // lanes)
            width = columns / (tiles_x * len(layout["column_span"]))
            part = width % lanes != 0
            return work | {
                "pack.turned": blocks * (width // lanes + part) * lanes,
                "pack.pieces": blocks * part * lanes,
            }
        return work | {"pack.row": runs * channels, "pack.apart": planes * channels * rows * columns / lanes}
    work["pack.row"] = runs * problem.channels
    return work | {
        "pack.vector" if x.stride == 1 else "pack.strided": planes * problem.channels * rows * columns / lanes
    }


def far_vectors(problem: ConvProblem, level: str, elements: float) -> float:
    """Return how many vectors of so many elements are beyond what L2 holds."""
    item = COMPUTE[problem.dtype].dtype.itemsize
    return max(elements - _tunables.NEAR_BYTES / item, 0.0) / lanes_of(problem, level)


def arrays_work(problem: ConvProblem, level: str, way: str) -> dict[str, float]:
    """Count what is read and written of large arrays, which each algorithm does in runs of its own length."""
    return {way: far_vectors(problem, level, problem.x_size + math.prod(problem.out_shape))}


def too_large(problem: ConvProblem) -> str:
    """Return why a problem is beyond the tables of a plan, or nothing."""
    if problem.taps > _tunables.TABLE_LIMIT:
        return f"{problem.taps} products an output, more than {_tunables.TABLE_LIMIT}"
    if max(axis.out for axis in problem.axes) > _tunables.AXIS_LIMIT:
        return f"an axis of {max(axis.out for axis in problem.axes)} outputs, more than {_tunables.AXIS_LIMIT}"
    return ""


def share_of(total: int, part: int) -> int:
    """Return how many parts make the total."""
    return total // max(part, 1)


def even_share(total: int, most: int) -> int:
    """Return an equal share of `total`, at most `most`, such that two threads get as many where shares are few."""
    shares = -(-total // max(most, 1))
    if 1 < shares < _tunables.FEW_SHARES:
        shares += shares % 2
    return max(-(-total // max(shares, 1)), 1)


def equal_share(total: int, most: int, unit: int) -> int:
    """Return an equal share of `total`, at most `most` or one unit; whole units where there are several shares."""
    if total <= most:
        return max(total, 1)
    units = max(most // unit, 1)
    shares = -(-total // (units * unit))
    return -(-total // (shares * unit)) * unit
