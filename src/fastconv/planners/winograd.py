"""Plans of Winograd's minimal filtering, F(m x m, 3 x 3): lanes are channels.

A tile of m x m results comes from m + 2 x m + 2 samples by interpolation: samples and weights are evaluated at points,
multiplied, and the products interpolated. A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016. Rounding errors grow with the spread of the points, so the larger tiles have points other than the common
0, ±1, ±2: B. Barabasz, A. Anderson, K. Soodhalter and D. Gregg, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks", ACM TOMS 46, 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem, is_float
from ..drivers import levels, winograd
from .tiles import COMPUTE, Choice, TilePlan, arrays_work, common, far_vectors, make_segments, packed_layout, too_large

KERNEL = 3
LEAST, MOST = _tunables.WINOGRAD_SIDES
ONE = Axis(1, 1, 1, 1, 1, 0, 0, "constant")


class Points(NamedTuple):
    """Where polynomials are evaluated: at 0, at each of `pairs` and its negative, at `single`, and at infinity."""

    pairs: tuple[Fraction, ...]
    single: tuple[Fraction, ...] = ()

    @property
    def finite(self) -> tuple[Fraction, ...]:
        """All points but infinity, in the order of the transforms."""
        return (Fraction(0), *(sign * p for p in self.pairs for sign in (1, -1)), *self.single)


# By the results along a side of a tile. On normal data the root mean square error of 4, over the standard deviation of
# the result, is 7.6e-7 with these points and 1.6e-6 with 0, ±1, ±2.
POINTS = {
    2: Points((Fraction(1),)),
    4: Points((Fraction(5, 8), Fraction(3, 2))),
    5: Points((Fraction(1, 2), Fraction(5, 4)), (Fraction(-5, 2),)),
    6: Points((Fraction(1, 2), Fraction(1), Fraction(2))),
}

# Which of them an accuracy allows.
ALLOWED = {"strict": (), "default": (2, 4), "fast": (2, 4, 5, 6)}

# Lengths of the tables in kernels/winograd.inc.h.
MOST_PAIRS, MOST_OUTPUTS = 3, 6


@dataclass(eq=False, repr=False, match_args=False)
class WinogradPlan(TilePlan):
    """Adds the transforms and the blocks. The packed tile is one that is computed again, directly."""

    outputs: int  # along a side of a tile
    numbers: np.ndarray  # of the transforms, see `numbers`
    tap_offsets: np.ndarray  # of each tap in a packed channel
    row_blocks: int  # what the rows of tiles of all images are cut into
    block_rows: int  # rows of tiles in a block, at most
    block_columns: int
    strip: int  # tiles of a row that are transformed together
    out_block: int  # panels of output channels
    piece_channels: int  # channels of a piece of the kernel
    square_rows: np.ndarray  # of every square, the taps' rows in its panel
    fold: int  # channels summed in registers
    weight_channels: int  # channels of a panel whose weights are transformed at a time
    keeps_weights: bool  # all weights are transformed once, not for every block
    far: bool  # though L2 does not hold them
    planned: bool  # and by the plan

    def describe(self, channels: int) -> str:
        """Return the tiles in words."""
        side = self.outputs + KERNEL - 1
        return (
            f"tile: {self.outputs} x {self.outputs} results of {side} x {side} samples, "
            f"in blocks of {self.block_rows} x {self.block_columns} tiles"
        )


def product_without(points: tuple[Fraction, ...]) -> list[Fraction]:
    """Return the coefficients, the lowest first, of the product of all (z - point^2)."""
    result = [Fraction(1)]
    for point in points:
        shifted = [Fraction(0), *result]
        result = [high - point**2 * low for high, low in zip(shifted, [*result, Fraction(0)], strict=True)]
    return result


@lru_cache(maxsize=16)
def numbers(outputs: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the numbers of a transform as kernels/winograd.inc.h reads them, rounded once."""
    points = POINTS[outputs]
    padded: list[Fraction | None] = [
        *points.pairs,
        *[None] * (MOST_PAIRS - len(points.pairs)),
        *(points.single or (None,)),
    ]
    power = [[Fraction(0) if p is None else p**i for i in range(MOST_OUTPUTS)] for p in padded]
    full = product_without(points.pairs)[:-1]
    rest = [product_without(points.pairs[:i] + points.pairs[i + 1 :])[:-1] for i in range(len(points.pairs))]
    scale = []
    for point in points.finite:
        divisor = Fraction(1)
        for other in points.finite:
            divisor *= point - other if other != point else 1
        scale.append(1 / divisor)
    rows = [*power, padded_to(full, MOST_PAIRS)]
    rows += [padded_to(row, MOST_PAIRS - 1) for row in [*rest, *[[]] * (MOST_PAIRS - len(rest))]]
    rows.append(padded_to(scale, MOST_OUTPUTS + 2))
    return np.array([float(number) for row in rows for number in row], dtype)


def padded_to(row: list[Fraction], length: int) -> list[Fraction]:
    """Return a row with zeros behind it."""
    return row + [Fraction(0)] * (length - len(row))


def refusal(problem: ConvProblem) -> str:
    """Return why a problem is not Winograd's, or nothing."""
    if COMPUTE.get(problem.dtype) is None or not is_float(problem.dtype):
        return f"no kernel for {problem.dtype}, only for real floating dtypes"
    if not ALLOWED[problem.accuracy]:
        return f"accuracy {problem.accuracy!r}, and a transform rounds more than a sum"
    if problem.channel_axis < 0:
        return "no channels to sum over"
    *outer, y, x = (ONE, *problem.axes)[-max(len(problem.axes), 2) :]
    if not (LEAST <= y.k <= MOST and LEAST <= x.k <= MOST):
        return f"not a kernel of {LEAST} x {LEAST} to {MOST} x {MOST}"
    if any(axis.stride != 1 or axis.dilation != 1 for axis in (y, x)):
        return "strides or dilations"
    if any(axis.input_dilation != 1 for axis in problem.axes):
        return "zeros between samples"
    if problem.paired and any(axis.k > 1 or axis.lo > 0 or axis.hi > 0 for axis in outer):
        return "complex volumes"
    return too_large(problem)


def plan_winograd(outputs: int, far: bool, problem: ConvProblem, level: str) -> Choice:
    """Plan tiles of some size, where the accuracy allows them.

    Transformed weights that L2 holds are kept there. Others are made for each block, unless `far`: then a plan keeps
    them wherever they are.
    """
    if why := refusal(problem):
        return Choice("winograd", refusal=why)
    if outputs not in ALLOWED[problem.accuracy]:
        return Choice("winograd", refusal=f"accuracy {problem.accuracy!r}, and a tile of {outputs} x {outputs} results")
    if far and (not problem.planned or Sizes.of(problem, level, outputs).are_near(problem)):
        return Choice("winograd", refusal="transformed weights that L2 holds, or that no plan keeps")
    return plan_tile(problem, level, outputs, far)


def plan_tile(problem: ConvProblem, level: str, outputs: int, far: bool) -> Choice:
    """Plan a tile of some size, in the largest blocks that the workspace has room for."""
    limit = _tunables.WINOGRAD_LIMIT_BYTES
    if problem.max_workspace is not None:
        limit = min(limit, problem.max_workspace)
    most = tiles_in_a_block(problem, level, outputs)
    while True:
        plan = make_plan(problem, level, outputs, far, most)
        driver = winograd.Driver(problem, plan)
        if driver.workspace_bytes <= limit:
            variant = f"winograd, F({outputs}, 3){' of kept weights' if far else ''}"
            return Choice.of(variant, driver, plan, work_of(problem, level, plan))
        if plan.block_rows == plan.block_columns == 1:
            return Choice("winograd", refusal=f"needs {driver.workspace_bytes} bytes of workspace, more than {limit}")
        most = plan.block_rows * plan.block_columns // 2


def outer_taps(problem: ConvProblem) -> int:
    """Return how many planes of the input meet one of the result."""
    return math.prod(axis.k for axis in problem.axes[:-2])


def pieces_of(problem: ConvProblem) -> int:
    """Return how many squares of 3 x 3 taps a kernel has, the last ones filled up with zeros."""
    return outer_taps(problem) * math.prod(-(-axis.k // KERNEL) for axis in problem.axes[-2:])


def square_rows(y: Axis, x: Axis) -> np.ndarray:
    """Return for every square and every tap of a plane the tap's place in the square, or -1 if it is not of it.

    Examples
    --------
    >>> y, x = (Axis(9, k, 1, 1, 1, 0, 0, "constant") for k in (2, 4))
    >>> square_rows(y, x).reshape(-1, 2, 4)
    array([[[ 0,  1,  2, -1],
            [ 3,  4,  5, -1]],
    <BLANKLINE>
           [[-1, -1, -1,  0],
            [-1, -1, -1,  3]]])
    """
    row, column = np.divmod(np.arange(y.k * x.k), x.k)
    square = row // KERNEL * -(-x.k // KERNEL) + column // KERNEL
    place = row % KERNEL * KERNEL + column % KERNEL
    return np.where(square == np.arange(square[-1] + 1)[:, None], place, -1).astype(np.intp)


def covering(axis: Axis) -> Axis:
    """Return an axis with the taps of all squares, which may read some samples more."""
    k = -(-axis.k // KERNEL) * KERNEL
    return axis._replace(k=k, hi=axis.hi + k - axis.k)


def images_of(problem: ConvProblem) -> int:
    """Return the planes of the result, of one channel."""
    return problem.batch * math.prod(axis.out for axis in problem.axes[:-2])


class Sizes(NamedTuple):
    """What follows from a tile and a level."""

    item: int
    lanes: int
    panel: int
    frequencies: int

    @classmethod
    def of(cls, problem: ConvProblem, level: str, outputs: int) -> Sizes:
        """Return the sizes of a problem."""
        sizes = levels.describe(level)
        item = COMPUTE[problem.dtype].dtype.itemsize
        lanes = sizes["vector_bytes"] // item
        return cls(item, lanes, lanes * sizes["gemm_vectors"], (outputs + KERNEL - 1) ** 2)

    def piece_channels(self, problem: ConvProblem) -> int:
        """Return the channels of a piece of the kernel: whole vectors, if there are several."""
        whole = -(-problem.channels // self.lanes) * self.lanes
        return whole if pieces_of(problem) > 1 else problem.channels

    def depth(self, problem: ConvProblem) -> int:
        """Return the channels of all pieces."""
        return pieces_of(problem) * self.piece_channels(problem)

    def are_near(self, problem: ConvProblem) -> bool:
        """Whether all transformed weights are few enough for L2 to hold them."""
        weights = self.depth(problem) * -(-problem.channels_out // self.panel) * self.panel
        return self.frequencies * weights * self.item <= _tunables.WINOGRAD_WEIGHT_BYTES


def tiles_in_a_block(problem: ConvProblem, level: str, outputs: int) -> int:
    """Return how many tiles a block should have."""
    sizes = Sizes.of(problem, level, outputs)
    values = -(-sizes.depth(problem) // sizes.lanes) * sizes.lanes
    tile = sizes.frequencies * (values + sizes.panel) * sizes.item
    if sizes.are_near(problem):
        wanted = _tunables.WINOGRAD_KEPT_BLOCK_BYTES
    else:
        enough = min(_tunables.WINOGRAD_BLOCK_TILES * tile, _tunables.WINOGRAD_LARGEST_BLOCK_BYTES)
        wanted = max(_tunables.WINOGRAD_BLOCK_BYTES, enough)
    return max(wanted // tile, 1)


def make_plan(problem: ConvProblem, level: str, outputs: int, far: bool, most: int) -> WinogradPlan:
    """Return the plan with blocks of about so many tiles."""
    compute = COMPUTE[problem.dtype]
    sizes = Sizes.of(problem, level, outputs)
    y, x = problem.axes[-2:]
    columns = -(-x.out // outputs)
    columns = max(-(-columns // max(-(-columns // most), 1)), 1)
    rows = images_of(problem) * -(-y.out // outputs)
    row_blocks = -(-rows // max(most // columns, 1))
    # An even number, for two threads.
    row_blocks = min(row_blocks + row_blocks % 2, rows) if row_blocks > 1 else 1
    rows = max(-(-rows // row_blocks), 1)
    line = _tunables.WINOGRAD_STRIP_BYTES // (outputs + KERNEL - 1) // (sizes.lanes * sizes.item)
    strip = (line - KERNEL + 1) // outputs
    keeps = far or sizes.are_near(problem)
    fold = max(_tunables.WINOGRAD_FOLD // sizes.lanes, 1) * sizes.lanes
    # The tile that is computed again; the map of a block is made in the same tables.
    rows_of, columns_of = make_segments(covering(y), 1), make_segments(covering(x), 1)
    layout = packed_layout(rows_of, columns_of, outputs, outputs, outer_taps(problem), lanes=1)
    plane = np.arange(y.k)[:, None] * layout["pitch"] + np.arange(x.k)
    taps = np.arange(outer_taps(problem))[:, None] * layout["outer_pitch"] + plane.reshape(-1)
    layout |= {"tile_rows": rows * outputs, "tile_columns": columns * outputs}
    return WinogradPlan(
        **common(problem, level, compute, problem.axes),
        **layout,
        outputs=outputs,
        numbers=numbers(outputs, compute.dtype),
        tap_offsets=np.ascontiguousarray(taps.reshape(-1), np.intp),
        row_blocks=row_blocks,
        block_rows=rows,
        block_columns=columns,
        strip=max(1, min(columns, strip)),
        out_block=_tunables.WINOGRAD_OUT_BLOCK,
        piece_channels=sizes.piece_channels(problem),
        square_rows=square_rows(y, x),
        fold=fold,
        weight_channels=sizes.depth(problem) if keeps else min(fold, sizes.depth(problem)),
        keeps_weights=keeps,
        far=far,
        planned=problem.planned,
    )


def work_of(problem: ConvProblem, level: str, plan: WinogradPlan) -> dict[str, float]:
    """Count the work."""
    sizes = Sizes.of(problem, level, plan.outputs)
    y, x = problem.axes[-2:]
    rows, columns = images_of(problem) * -(-y.out // plan.outputs), -(-x.out // plan.outputs)
    blocks = plan.row_blocks * -(-columns // plan.block_columns)
    pixels = levels.describe(level)["gemm_pixels"]
    tiles = rows * columns
    # Tiles of a block are rows of register tiles; a few take as long as a third of a register tile.
    computed = max(tiles, blocks * pixels // _tunables.WINOGRAD_LEAST_ROWS)
    channels = sizes.depth(problem)
    in_vectors = -(-channels // sizes.lanes)
    panels = -(-problem.channels_out // sizes.panel)
    out_vectors = panels * sizes.panel // sizes.lanes
    folds = -(-channels // plan.fold)
    all_frequencies = problem.groups * sizes.frequencies
    register_tiles = blocks * -(-(tiles / blocks) // pixels) * panels * folds
    work = {
        "winograd.call": 1.0,
        "winograd.tile": all_frequencies * register_tiles,
        "winograd.product": all_frequencies * computed * out_vectors * channels,
        "winograd.fold": all_frequencies * tiles * out_vectors * folds,
        "winograd.output": all_frequencies * tiles * out_vectors,
        "winograd.input": all_frequencies * tiles * in_vectors,
    }
    weights = problem.groups * channels * out_vectors
    passes = 1 if plan.keeps_weights else blocks
    if not (problem.planned and plan.keeps_weights):
        work["winograd.weights"] = sizes.frequencies * weights * passes
    if not problem.planned:
        work["winograd.taps"] = KERNEL**2 * weights * passes
    if plan.far:
        work["winograd.kept_weights"] = blocks * far_vectors(problem, level, sizes.frequencies * weights * sizes.lanes)
    else:
        work["winograd.far_weights"] = passes * far_vectors(problem, level, KERNEL**2 * weights * sizes.lanes)
    return work | arrays_work(problem, level, "winograd.far")
