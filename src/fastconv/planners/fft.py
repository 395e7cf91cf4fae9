"""Plans of the FFT tiles: overlap-save in one, two or three dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from .. import _costs, _tunables
from .._problem import Axis, ConvProblem
from ..drivers import fft, levels
from .direct import plan_direct
from .reference import plan_reference
from .tiles import (
    COMPUTE,
    Choice,
    Compute,
    Segments,
    TilePlan,
    arrays_work,
    common,
    pack_work,
    packed_layout,
    too_large,
    two_axes,
)


class Transform(NamedTuple):
    """A transform along one axis of a tile; what it holds is drawn in kernels/fft.inc.h.

    Attributes
    ----------
    n : int
        Complex points.
    radices : ndarray of intp
        Of the levels, the first level first. None where the axis is not transformed, as the kernel has one tap there.
    twiddles : ndarray
        Real and imaginary parts.
    """

    n: int
    radices: np.ndarray
    twiddles: np.ndarray


@dataclass(eq=False, repr=False, match_args=False)
class FftPlan(TilePlan):
    """Adds the transforms, and the way out for tiles that hold a NaN or an Inf."""

    fold: Transform
    middle: Transform
    across: Transform
    twist: np.ndarray | None  # of one long row: see `twist_table`
    planes: int  # of a three-dimensional tile, else 1
    valid: tuple[int, int, int]  # outputs of a tile along planes, rows and columns
    lane: np.dtype[Any]
    transformed: int  # points of a tile along the axes that are transformed
    work: float  # of the whole call, in multiply-adds
    fallback: Callable[[], Any]  # makes the driver that computes one packed tile directly


class Shape(NamedTuple):
    """A candidate: samples of a tile along planes, rows and columns, and whether it is one long row."""

    sizes: tuple[int, int, int]
    linear: bool = False

    @property
    def samples(self) -> int:
        """Samples of the tile."""
        return math.prod(self.sizes)


def plan_fft(problem: ConvProblem, level: str) -> Choice:
    """Plan overlap-save with the cheapest tile."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None or problem.dtype.kind not in "fc":
        return Choice("fft", refusal=f"no transform for {problem.dtype}, only for floating and complex dtypes")
    if refusal := refuse(problem):
        return Choice("fft", refusal=refusal)
    lanes = levels.describe(level)["vector_bytes"] // compute.part_bytes
    axes = (Axis(1, 1, 1, 1, 1, 0, 0, "constant"),) * (3 - len(problem.axes)) + problem.axes
    shape = best_shape(problem, level, axes, lanes)
    if shape is None:
        return Choice("fft", refusal="spectra that are too many or too large")
    tiles = make_plan(problem, level, compute, axes, shape, lanes)
    work = work_of(problem, axes, shape, lanes) | arrays_work(problem, level, "fft.arrays")
    layout = {name: getattr(tiles, name) for name in ("tile_rows", "tile_columns", "row_count", "column_span")}
    return Choice.of("fft", fft.Driver(problem, tiles), tiles, work | pack_work(problem, level, tiles.axes, layout))


def refuse(problem: ConvProblem) -> str:
    """Return why a problem is none for transforms, or nothing."""
    if problem.accuracy == "strict":
        return 'accuracy="strict" keeps to algorithms that do not transform'
    if len(problem.axes) > 3:
        return f"{len(problem.axes)} spatial axes, more than 3"
    if any(axis.stride > 1 for axis in problem.axes):
        return "a stride: most of what it computes would be thrown away"
    if 0 in problem.out_shape:
        return "an empty result"
    taps = math.prod(axis.k for axis in problem.axes)
    if problem.algorithm == "auto" and taps < _tunables.FFT_LEAST_TAPS:
        return f"a kernel of {taps} taps, fewer than {_tunables.FFT_LEAST_TAPS}"
    products = problem.flops / 2
    if problem.algorithm == "auto" and products < _tunables.FFT_LEAST_PRODUCTS:
        return f"{products:.0f} products, fewer than {_tunables.FFT_LEAST_PRODUCTS}"
    return too_large(problem)


def rows_in_a_point(problem: ConvProblem) -> int:
    """Return how many samples share a point: two real rows are folded into one."""
    return 1 if problem.dtype.kind == "c" else 2


# --- the shape of a tile ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def smooth(least: int, most: int, unit: int) -> tuple[int, ...]:
    """Return the lengths that transform well, multiples of `unit`."""
    powers = (unit * 2**i for i in range(most.bit_length() + 1))
    sizes = {power * odd for power in powers for odd in (1, 3, 5, 9)}
    return tuple(sorted(size for size in sizes if least <= size <= most)) or (min(s for s in sizes if s >= least),)


def lengths(axis: Axis, unit: int) -> tuple[int, ...]:
    """Return the sizes of a tile along an axis that are worth a look."""
    if axis.window == 1:
        # No transform, so any multiple does: one to hold all, or one of a good size.
        whole = -(-axis.out // unit) * unit
        return (min(whole, max(_tunables.FFT_BATCH_ROWS // unit, 1) * unit),)
    whole = next(size for size in smooth(1, 2**50, unit) if size >= axis.out + axis.window - 1)
    return smooth(min(whole, axis.window + axis.window // 8), min(whole, 16 * axis.window + 512), unit)


def shapes(problem: ConvProblem, axes: tuple[Axis, ...], lanes: int) -> list[Shape]:
    """Return the candidates."""
    fold = rows_in_a_point(problem)
    z, y, x = axes
    found = []
    if z.window == 1:
        found += [Shape((1, rows, columns)) for rows in lengths(y, fold * lanes) for columns in lengths(x, lanes)]
    else:
        for planes, rows in itertools.product(lengths(z, fold * min(lanes, 4)), lengths(y, max(lanes // 4, 1))):
            found += [Shape((planes, rows, columns)) for columns in lengths(x, lanes)]
    if y.window == z.window == 1:
        found += [Shape((1, 1, n), linear=True) for n in smooth(1, 2**50, fold * lanes * lanes) if fits_row(x, n)][:12]
    return found


def fits_row(axis: Axis, n: int) -> bool:
    """Return whether one long row of n samples holds the kernel and some outputs, and is no waste."""
    return n >= axis.window + axis.window // 8


def best_shape(problem: ConvProblem, level: str, axes: tuple[Axis, ...], lanes: int) -> Shape | None:
    """Return the cheapest candidate whose spectra may be held, or None."""
    kernels = problem.groups * problem.channels * problem.channels_out
    # A single kernel may have all the memory that its input has anyway.
    limit = _tunables.FFT_TILE_BYTES if kernels == 1 else _tunables.FFT_WEIGHT_BYTES // kernels
    found = [shape for shape in shapes(problem, axes, lanes) if shape.samples * problem.dtype.itemsize <= limit]
    return min(found, key=lambda shape: _costs.total(work_of(problem, axes, shape, lanes), level), default=None)


def work_of(problem: ConvProblem, axes: tuple[Axis, ...], shape: Shape, lanes: int) -> dict[str, float]:
    """Count the work of a shape."""
    tiles = problem.batch
    levels_ = 0.0
    for axis, size in zip(axes, shape.sizes, strict=True):
        tiles *= -(-axis.out // (size - axis.window + 1))
        levels_ += math.log2(size) if axis.window > 1 else 0
    channels, out = problem.channels, problem.channels_out
    size = math.prod(shape.sizes) * problem.dtype.itemsize
    slow = next(factor for limit, factor in _tunables.FFT_CACHE if size <= limit)
    points = problem.groups * math.prod(shape.sizes) / rows_in_a_point(problem) / lanes * slow
    forward, back = tiles * channels, tiles * out
    work = {
        "fft.call": 1.0,
        "fft.level": points * levels_ * (forward + _tunables.FFT_BACK_LEVEL * back),
        "fft.turn": points * (forward + back),
        "fft.product": points * tiles * out * channels,
    }
    if not problem.planned:
        work["fft.weights"] = points * levels_ * channels * out
    if problem.groups * channels * out * size > _tunables.NEAR_BYTES:
        work["fft.far"] = points * (tiles + (not problem.planned)) * channels * out
    return work


# --- the plan of a shape ---------------------------------------------------------------------------------------------


def make_plan(
    problem: ConvProblem, level: str, compute: Compute, axes: tuple[Axis, ...], shape: Shape, lanes: int
) -> FftPlan:
    """Return what the driver is built from."""
    z, y, x = axes
    planes, rows, columns = shape.sizes
    valid = (planes - z.window + 1, rows - y.window + 1, columns - x.window + 1)
    dtype = np.dtype(f"f{compute.part_bytes}")
    unit = 1 if problem.dtype.kind == "c" else 2
    one = Transform(1, np.empty(0, np.intp), np.empty(0, dtype))
    twist = None
    middle = one
    if shape.linear:
        points = columns // unit
        across_n = lanes * 2 ** max(round(math.log2(math.sqrt(points) / lanes)), 0)
        while points % across_n or points // across_n % lanes:
            across_n //= 2
        fold, leaves = transform(points // across_n, 0.25, dtype)
        across, _ = transform(across_n, 0.0, dtype)
        twist = twist_table(leaves, across_n, lanes, dtype)
    elif z.window > 1:
        fold, middle, across = (
            along(z, planes // unit, 0.25, dtype),
            along(y, rows, 0.0, dtype),
            along(x, columns, 0.0, dtype),
        )
    else:
        fold, across = along(y, rows // unit, 0.25, dtype), along(x, columns, 0.0, dtype)
    tiled = axes if z.window > 1 else two_axes(problem)
    if z.window > 1:
        tiled = (plane_axis(z, planes, valid[0]), y, x)
    return FftPlan(
        **common(problem, level, compute, tiled),
        **packed_layout(one_segment(y), one_segment(x), valid[1], valid[2], planes, lanes=1),
        fold=fold,
        middle=middle,
        across=across,
        twist=twist,
        planes=planes,
        valid=valid,
        lane=compute.dtype,
        transformed=math.prod(axis.n for axis in (fold, middle, across) if len(axis.radices)),
        work=_costs.total(work_of(problem, axes, shape, lanes), level) * lanes,
        fallback=partial(direct_tile, problem, level, compute, axes, valid),
    )


def along(axis: Axis, n: int, turn: float, dtype: np.dtype[Any]) -> Transform:
    """Return the transform along an axis, an empty one where the kernel has one tap."""
    if axis.window == 1:
        return Transform(n, np.empty(0, np.intp), np.empty(0, dtype))
    return transform(n, turn, dtype)[0]


def plane_axis(z: Axis, planes: int, valid: int) -> Axis:
    """Return planes as the pack stage sees them: every output is a tile, every tap a plane of it."""
    tiles = -(-z.out // valid)
    return Axis(
        z.n, planes, valid, 1, z.input_dilation, z.lo, (tiles - 1) * valid + planes - z.extent - z.lo, z.boundary
    )


def one_segment(axis: Axis) -> Segments:
    """Return the segment of a tile that holds every sample once, those between dilated taps too."""
    taps = np.arange(axis.k, dtype=np.intp)
    return Segments(np.zeros(1, np.intp), np.array([axis.window], np.intp), np.zeros_like(taps), taps * axis.dilation)


@lru_cache(maxsize=256)
def transform(n: int, turn: float, dtype: np.dtype[Any]) -> tuple[Transform, np.ndarray]:
    """Return the transform modulo u^n - exp(2 pi i turn), and the turns of its leaves: modulo u - exp(2 pi i leaf)."""
    radices = []
    rest = n
    for radix in (5, 3):
        while rest % radix == 0:
            radices.append(radix)
            rest //= radix
    if rest.bit_length() % 2 == 0:
        radices.append(2)
        rest //= 2
    radices += [4] * (rest.bit_length() // 2)
    turns = np.array([turn])
    twiddles = [np.empty((0, 2))]
    for radix in radices:
        powers = np.array([2, 1, 3]) if radix == 4 else np.arange(1, radix)
        root = turns[:, None] / radix
        twiddles.append(unit_circle(root * powers).reshape(-1, 2))
        turns = (root + np.arange(radix) / radix).reshape(-1)
    return Transform(n, np.array(radices, np.intp), np.concatenate(twiddles).astype(dtype).reshape(-1)), turns


def unit_circle(turns: np.ndarray) -> np.ndarray:
    """Return cosine and sine of so many turns, along a new last axis; small arguments keep all their bits."""
    angle = 2 * np.pi * (turns - np.round(turns))
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def twist_table(leaves: np.ndarray, n: int, lanes: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return what turns a row modulo u^n - exp(2 pi i leaf) into one modulo u^n - 1: [group][n][re: lanes | im]."""
    factors = unit_circle(leaves.reshape(-1, 1, lanes) * (np.arange(n) / n)[:, None])
    return np.ascontiguousarray(np.moveaxis(factors, -1, -2).astype(dtype))


def direct_tile(
    problem: ConvProblem, level: str, compute: Compute, axes: tuple[Axis, ...], valid: tuple[int, int, int]
) -> Any:
    """Return the driver of one packed tile, as an image of its own: [channel][plane][row][column]."""
    tile = tuple(
        Axis(outputs + axis.window - 1, axis.k, 1, axis.dilation, 1, 0, 0, "constant")
        for axis, outputs in zip(axes, valid, strict=True)
    )
    alone = problem.without_epilogue()._replace(
        batch=1,
        groups=1,
        axes=tile,
        dtype=compute.dtype,
        fill=bytes(compute.dtype.itemsize),
        batch_axis=-1,
        channel_axis=0,
        spatial_axes=(1, 2, 3),
        algorithm="auto",
        max_workspace=None,
    )
    choice = plan_direct(alone, level)
    return (choice if choice.driver is not None else plan_reference(alone, level)).driver
