"""Plans of passes along single axes: which two are fused, what a row is, and the tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import _tunables
from .._problem import Axis
from ..drivers import levels
from ..drivers.separable import Stage
from .tiles import COMPUTE, STORAGE, UNFUSED

# As in separable.pyx.
WEIGHTS, FOLD, CUT, BOX, MIRROR = range(5)


class AxisPass(NamedTuple):
    """A pass along one axis.

    Attributes
    ----------
    axis : int
    spec : Axis
    weights : ndarray or None
        In the lane's dtype, or in float64 where sums are cut; None for the mean of `spec.k` samples.
    fill : bytes
        One element, what "constant" reads outside.
    in_order : bool
        Whether a row is summed as a column is: results along an axis must not depend on where the others lie.
    """

    axis: int
    spec: Axis
    weights: np.ndarray | None
    fill: bytes
    in_order: bool


class PassPlan(NamedTuple):
    """A pass as the driver reads it."""

    kind: int
    symmetry: int
    in_order: bool
    axis: Axis
    step: int
    weights: np.ndarray
    short_weights: np.ndarray  # in float32, where sums are cut; and how far these may be from those in float64
    doubt: float
    columns: np.ndarray
    factors: np.ndarray
    fill: bytes


class StagePlan(NamedTuple):
    """What a driver's stage is built from. Strides and sizes of the result are those of a contiguous array."""

    compute: int
    sum: int
    x_storage: int
    out_storage: int
    x_bytes: int
    out_bytes: int
    computed_bytes: int
    part_bytes: int
    x_copies: bool
    out_copies: bool
    exact_middle: bool  # what the first pass makes need not be rounded to the result's dtype
    rows: int
    row_length: int
    inner: int
    y_axis: int
    x_axis: int
    out_y: int
    batch_axes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    out_batch: tuple[int, ...]
    y: PassPlan | None
    x: PassPlan | None
    y_first: bool
    tile_rows: int
    tile_columns: int
    products: float


class Lanes(NamedTuple):
    """What passes compute in: the dtype of the lanes, and whether their products are rounded before they are added."""

    dtype: np.dtype[Any]
    unfused: bool


# Means of bytes, for boxes of up to so many: FC_MOST_DIVISOR.
BYTE_MEANS = Lanes(np.dtype(np.uint16), unfused=False)
MOST_DIVISOR = 128

# Sums of bytes and fractions of them, cut to integers as those in float64 are.
BYTE_SUMS = Lanes(np.dtype(np.float32), unfused=True)

# The sums of a dtype's real parts, by their place in the table of kernels.
SUMS = {np.dtype("f4"): 0, np.dtype("c8"): 0, np.dtype("f8"): 1, np.dtype("c16"): 1, np.dtype("u2"): 2}


def serves(x: np.dtype[Any], lanes: Lanes, out: np.dtype[Any]) -> bool:
    """Return whether the kernels load x into the lanes and store them as out."""
    return (x, lanes.dtype) in STORAGE and (out, lanes.dtype) in STORAGE


def symmetry_of(weights: np.ndarray) -> int:
    """Return 1 for a symmetric kernel of odd length, -1 for an antisymmetric one, by equality, else 0."""
    if len(weights) % 2 == 0:
        return 0
    half = len(weights) // 2
    # The middle weight does not take part: it belongs to no pair.
    before, after = weights[:half], weights[:half:-1]
    if np.array_equal(before, after):
        return 1
    return -1 if np.array_equal(before, -after) else 0


def fuse(passes: Sequence[AxisPass], shape: Sequence[int]) -> list[tuple[AxisPass | None, AxisPass | None, bool]]:
    """Return the stages: a pass across rows, a pass along rows, and whether the former comes first."""

    def along(step: AxisPass) -> bool:
        return math.prod(shape[step.axis + 1 :]) <= _tunables.SEPARABLE_INNER

    stages: list[tuple[AxisPass | None, AxisPass | None, bool]] = []
    rest = list(passes)
    while rest:
        first, second = rest[0], rest[1] if len(rest) > 1 else None
        if second is not None and along(first) != along(second):
            y, x = (second, first) if along(first) else (first, second)
            # In three dimensions the first axis goes alone, and the last two together.
            pair = y.axis < x.axis and not (len(rest) > 2 and not along(first) and along(rest[2]) and not along(second))
            if pair:
                stages.append((y, x, y is first))
                del rest[:2]
                continue
        stages.append((None, first, False) if along(first) else (first, None, True))
        del rest[0]
    return stages


def plan_stages(
    shape: Sequence[int],
    x: np.dtype[Any],
    lanes: Lanes,
    out: np.dtype[Any],
    passes: Sequence[AxisPass],
    level: str,
) -> list[Stage]:
    """Return the stages that take an array of a shape through passes; each reads what the one before it wrote."""
    stages = []
    for y, along, y_first in fuse(passes, shape):
        stages.append(Stage(level, plan_stage(shape, x, lanes, out, (y, along), y_first, level)))
        x = out
    return stages


def needs_contiguous(shape: Sequence[int], passes: Sequence[AxisPass]) -> bool:
    """Return whether rows run over several axes, so that these have to follow each other in memory."""
    y, x, _ = fuse(passes, shape)[0]
    last = x.axis if x is not None else y.axis + 1 if y is not None else 0
    return len(shape) - last > 1


def plan_stage(
    shape: Sequence[int],
    x_dtype: np.dtype[Any],
    lanes: Lanes,
    out_dtype: np.dtype[Any],
    pair: tuple[AxisPass | None, AxisPass | None],
    y_first: bool,
    level: str,
) -> StagePlan:
    """Plan one stage: its rows, the batch of its images and its tiles."""
    y, x = pair
    compute = COMPUTE[lanes.dtype]
    item = compute.dtype.itemsize
    # Rows begin at the axis of x, or behind that of y; what lies behind it is part of them.
    row_axis = x.axis if x is not None else y.axis + 1 if y is not None else 0
    y_axis = y.axis if y is not None else row_axis - 1
    inner = math.prod(shape[row_axis + 1 :]) if x is not None else 1
    row_length = math.prod(shape[row_axis:])
    batch_axes = tuple(axis for axis in range(row_axis) if axis != y_axis)
    strides = [math.prod(shape[axis + 1 :]) * out_dtype.itemsize for axis in range(len(shape))]
    rows = shape[y_axis] if y_axis >= 0 else 1
    sizes = levels.describe(level)
    lane_count = max(sizes["vector_bytes"] // item, 1)
    tile_rows, tile_columns = stage_tile(pair, row_length, inner, item, lane_count)
    return StagePlan(
        compute=UNFUSED if lanes.unfused and lanes != BYTE_SUMS else compute.compute,
        sum=SUMS.get(lanes.dtype, 0),
        x_storage=STORAGE[x_dtype, lanes.dtype],
        out_storage=STORAGE[out_dtype, lanes.dtype],
        x_bytes=x_dtype.itemsize,
        out_bytes=out_dtype.itemsize,
        computed_bytes=item,
        part_bytes=compute.part_bytes,
        x_copies=x_dtype == lanes.dtype,
        out_copies=out_dtype == lanes.dtype,
        # Integers are exact modulo 2^n, whatever is above the bits of the result; and a mean of bytes is a byte.
        exact_middle=out_dtype == lanes.dtype or lanes.dtype.kind in "iu",
        rows=rows,
        row_length=row_length,
        inner=inner,
        y_axis=y_axis,
        x_axis=row_axis if row_axis == len(shape) - 1 else -1,
        out_y=strides[y_axis] if y_axis >= 0 else 0,
        batch_axes=batch_axes,
        batch_sizes=tuple(shape[axis] for axis in batch_axes),
        out_batch=tuple(strides[axis] for axis in batch_axes),
        y=None if y is None else plan_pass(y, 1, lanes),
        x=None if x is None else plan_pass(x, inner, lanes),
        y_first=y_first,
        tile_rows=max(min(tile_rows, rows), 1),
        tile_columns=tile_columns,
        products=float(sum(p.spec.k if p.weights is not None else 8 for p in pair if p is not None)),
    )


@lru_cache(maxsize=256)
def box_factors(size: int) -> tuple[int, ...]:
    """Return how many sums of each kind make one of the next, for the fewest loads and stores of a box."""
    digits = range(2, 13)
    choices: list[tuple[int, ...]] = [(), *((a,) for a in digits), *((a, b) for a in digits for b in digits)]
    # 5 ** 20 is beyond every axis.
    choices += [(a,) * depth for a in (3, 4, 5) for depth in range(3, 20)]
    return min((c for c in choices if math.prod(c) <= size), key=lambda c: box_loads(size, c))


def box_loads(size: int, factors: tuple[int, ...]) -> int:
    """Return the loads and stores of a box that is put together by the factors."""
    count = sum(factors) + len(factors)
    for power in (math.prod(factors[:n]) for n in range(len(factors), -1, -1)):
        count += size // power
        size %= power
    return count


def stage_tile(
    pair: tuple[AxisPass | None, AxisPass | None], row_length: int, inner: int, item: int, lanes: int
) -> tuple[int, int]:
    """Return rows and columns of a tile: whole rows where they are short, and as tall as the cache allows."""
    ky, kx = (1 if p is None else p.spec.k for p in pair)
    halo = (kx - 1) * inner
    powers = max(0 if p is None or p.weights is not None else len(box_factors(p.spec.k)) for p in pair)

    def cut(columns: int) -> int:
        unit = inner * lanes
        return min(max(-(-columns // unit), 1) * unit, row_length)

    def most_rows(columns: int) -> int:
        row_bytes = (columns + halo + 2 * lanes) * item
        return int((_tunables.SEPARABLE_TILE_BYTES // row_bytes - (1 + powers) * (ky - 1)) // (2 + powers))

    columns = row_length
    if row_length * item > _tunables.SEPARABLE_ROW_BYTES:
        columns = cut(max(_tunables.SEPARABLE_ROW_BYTES // 2 // item, 2 * halo))
    least = max(2 * halo, _tunables.SEPARABLE_ROW_BYTES // 16 // item)
    while columns > least and most_rows(columns) < (ky - 1) // 2:
        columns = cut(columns // 2)
    wanted = 16 if ky <= _tunables.SEPARABLE_PLAIN_ROWS else max(16, ky - 1)
    if pair[0] is not None and pair[0].weights is None:
        wanted = max(16, _tunables.SEPARABLE_BOX_ROWS * (ky - 1))
    return max(min(most_rows(columns), wanted) // 4 * 4, 4), columns


def plan_pass(step: AxisPass, inner: int, lanes: Lanes) -> PassPlan:
    """Return a pass as the driver reads it, its samples `inner` elements apart."""
    dtype = np.dtype(np.float64) if lanes == BYTE_SUMS else lanes.dtype
    weights = np.zeros(0, dtype) if step.weights is None else np.ascontiguousarray(step.weights, dtype)
    kind, symmetry = kind_of(step, weights, lanes)
    cut = kind == CUT
    return PassPlan(
        kind=kind,
        symmetry=symmetry,
        in_order=step.in_order,
        axis=step.spec,
        step=inner,
        weights=np.ascontiguousarray(weights.real) if kind == MIRROR else weights,
        short_weights=weights.astype(np.float32) if cut else np.zeros(0, np.float32),
        doubt=doubt_of(weights) if cut else 0.0,
        columns=np.arange(step.spec.k if kind == WEIGHTS else 0, dtype=np.intp) * inner,
        factors=np.array(box_factors(step.spec.k) if kind == BOX else (), np.intp),
        fill=step.fill,
    )


def doubt_of(weights: np.ndarray) -> float:
    """Return how far a sum of bytes in float32 may be from that in float64.

    Weights are rounded, and so is each partial sum; two roundings more pay for those of float64.
    """
    return (len(weights) + 3) * 2.0**-24 * 256.0 * float(np.abs(weights).sum())


def kind_of(step: AxisPass, weights: np.ndarray, lanes: Lanes) -> tuple[int, int]:
    """Return how a pass is computed, and the symmetry that it keeps."""
    if step.weights is None:
        return BOX, 0
    if lanes.unfused:
        return (CUT if lanes == BYTE_SUMS else FOLD), symmetry_of(weights)
    # Integers are exact in any order.
    if lanes.dtype.kind not in "fc" or weights.imag.any():
        return WEIGHTS, 0
    symmetry = symmetry_of(weights)
    return (MIRROR if symmetry else WEIGHTS), symmetry
