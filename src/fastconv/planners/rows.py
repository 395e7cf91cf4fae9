"""Arrays whose last axis is short, such as the colours of a picture: rows that fill vectors are made of another axis.

Where the kernel has one tap along the last axes, they are merged with the axis before. Else the array is turned: the
axes behind the longest one come first, for which the input is copied, and the result back::

    merged    (512, 512, 3) under (3, 3, 1)    ->    (512, 1536) under (3, 3), whose taps are 3 apart along the row
    turned    (512, 512, 3) under (3, 3, 3)    ->    (3, 512, 512) under (3, 3, 3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _tunables
from .._problem import Axis, ConvProblem
from ..drivers import results
from ..drivers.turn import Turner
from .tiles import Choice, lanes_of, unfused
from .wrapper import Wrapper

Planner = Callable[[ConvProblem, str], Choice]


class Turn(NamedTuple):
    """An order of axes, in which those behind the longest come first.

    Attributes
    ----------
    order : tuple of int
    behind : int
        Axes that come first.
    """

    order: tuple[int, ...]
    behind: int

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """Return the rows of the axes behind the longest one: a view if elements follow each other."""
        split = array.ndim - self.behind
        rows, columns = math.prod(array.shape[:split]), math.prod(array.shape[split:])
        return np.require(array.reshape(rows, columns), requirements=["C", "A"])

    def turned(self, array: np.ndarray, threads: int | None) -> np.ndarray:
        """Return an array with its axes in this order: a copy, if it does not lie so."""
        seen = array.transpose(self.order)
        if seen.flags.c_contiguous and seen.flags.aligned:
            return seen
        turned = results.empty(tuple(array.shape[axis] for axis in self.order), array.dtype)
        _TURNER.turn(self.matrix(array), turned, threads)
        return turned

    def put_back(self, turned: np.ndarray, out: np.ndarray, threads: int | None) -> None:
        """Write a turned array to `out`."""
        matrix = self.matrix(out)
        _TURNER.put_back(turned, matrix, threads)
        if not np.may_share_memory(matrix, out):
            out[...] = matrix.reshape(out.shape)


_TURNER = Turner()


def turn_of(sizes: Sequence[int]) -> Turn | None:
    """Return the turn that puts the longest axis last, or None where the last axis is as well as that.

    Examples
    --------
    >>> turn_of((512, 512, 3))
    Turn(order=(2, 0, 1), behind=1)
    >>> turn_of((3, 512, 512)) is None
    True
    """
    longest = max(reversed(range(len(sizes))), key=lambda axis: sizes[axis], default=-1)
    behind = len(sizes) - 1 - longest
    if not behind or math.prod(sizes[longest + 1 :]) > _tunables.TURNED_COLUMNS:
        return None
    if math.prod(sizes[:-1]) * (_tunables.TURNED_ROW - sizes[-1]) < _tunables.TURNED_LEAST:
        return None
    return Turn((*range(longest + 1, len(sizes)), *range(longest + 1)), behind)


def on_merged_axes(planner: Planner, problem: ConvProblem, level: str) -> Choice:
    """Plan a kernel with one tap along short last axes by a planner of any kernels."""
    rank, ndim = len(problem.axes), len(problem.out_shape)
    count = 0
    while count < rank and is_idle(problem.axes[-1 - count]):
        count += 1
    if not 0 < count < rank or problem.spatial_axes != tuple(range(ndim - rank, ndim)):
        return Choice("direct", refusal="the kernel slides along the last axis")
    *before, along = problem.axes[: rank - count]
    inner = math.prod(axis.n for axis in problem.axes[rank - count :])
    if along.stride > 1 or along.input_dilation > 1 or inner * problem.dtype.itemsize >= _tunables.MERGED_BYTES:
        return Choice("direct", refusal="the last axes are long, or samples are left out before them")
    merged = Axis(
        n=along.n * inner,
        k=along.k,
        stride=1,
        dilation=along.dilation * inner,
        input_dilation=1,
        lo=along.lo * inner,
        hi=along.hi * inner,
        boundary=along.boundary,
        inner=inner,
    )
    one = problem.without_epilogue()._replace(axes=(*before, merged), spatial_axes=problem.spatial_axes[:-count])
    choice = planner(one, level)
    if choice.driver is None:
        return choice
    assert choice.tiles is not None
    driver = MergedDriver(choice.driver, count)
    return Choice.of(f"{choice.variant}{driver.words}", driver, choice.tiles, {**choice.work, "merged.call": 1.0})


def is_idle(axis: Axis) -> bool:
    """Return whether nothing happens along an axis."""
    return axis.k == axis.stride == axis.input_dilation == 1 and axis.lo == axis.hi == 0


class MergedDriver(Wrapper):
    """Takes some last axes, along which the kernel has one tap, together with the one before."""

    words = " with the last axes merged"

    def __init__(self, driver: Any, count: int) -> None:
        super().__init__(driver)
        self.count = count

    def run(
        self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, threads: int | None = None
    ) -> None:
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        seen = self.merged(out)
        self.driver.run(self.merged(x), w.reshape(w.shape[: -self.count]), bias, seen, threads)
        if not np.may_share_memory(seen, out):
            out[...] = seen.reshape(out.shape)

    def merged(self, array: np.ndarray) -> np.ndarray:
        """Return an array with fewer axes: a copy, if its elements do not lie so."""
        first = array.ndim - self.count - 1
        return array.reshape(*array.shape[:first], math.prod(array.shape[first:]))


def on_turned_axes(planner: Planner, problem: ConvProblem, level: str) -> Choice:
    """Plan arrays whose last axis is short by a planner of any arrays."""
    if problem.channel_axis >= 0 or problem.accuracy == "strict":
        return Choice("direct", refusal="channels, or an order of summation that has to be kept")
    if problem.stored is not None and unfused(problem.dtype, problem.out_dtype):
        return Choice("direct", refusal="sums whose last bit shows in integers")
    turn = turn_of(problem.out_shape)
    if turn is None:
        return Choice("direct", refusal="the last axis is long")
    # Without channels there is no batch either: all axes of the arrays are spatial ones.
    axes = tuple(problem.axes[axis] for axis in turn.order)
    choice = planner(problem.without_epilogue()._replace(axes=axes), level)
    if choice.driver is None:
        return choice
    if problem.planned and hasattr(choice.driver, "pack_all"):
        return Choice(choice.algorithm, refusal="weights that are packed for arrays of other sizes too")
    assert choice.tiles is not None
    moved = (problem.x_size + math.prod(problem.out_shape)) / lanes_of(problem, level)
    driver = TurnedDriver(problem, choice.driver, turn)
    work = {**choice.work, "turned.call": 1.0, "turned.vector": moved}
    return Choice.of(f"{choice.variant}{driver.words}", driver, choice.tiles, work)


class TurnedDriver(Wrapper):
    """Copies the input with its axes in another order, and the result back."""

    words = " of a turned copy"

    def __init__(self, problem: ConvProblem, driver: Any, turn: Turn) -> None:
        x_dtype, out_dtype = (problem.dtype, problem.dtype) if problem.stored is None else problem.stored
        self.shape = tuple(problem.out_shape[axis] for axis in turn.order)
        self.turn = turn
        super().__init__(driver, copied=problem.x_size * x_dtype.itemsize + math.prod(self.shape) * out_dtype.itemsize)

    def run(
        self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, threads: int | None = None
    ) -> None:
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        turned = results.empty(self.shape, out.dtype)
        self.driver.run(self.turn.turned(x, threads), w.transpose(self.turn.order), bias, turned, threads)
        self.turn.put_back(turned, out, threads)
