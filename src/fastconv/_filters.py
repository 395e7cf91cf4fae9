"""Filters whose result has a dtype of its own, as scipy.ndimage's: what to compute in, and how it becomes the result.

Integers are exact modulo 2^n where the weights are integers, else computed in float64 and cut towards zero. Passes
along single axes follow each other, each result rounded to the dtype of the output, which is what the next one reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _tunables, core
from ._plan import Schedule
from ._problem import Axis, Operands, as_array
from .drivers import levels, results
from .drivers import threads as _threads
from .drivers.separable import Stage
from .planners.rows import Turn, turn_of
from .planners.separable import (
    BYTE_MEANS,
    BYTE_SUMS,
    MOST_DIVISOR,
    AxisPass,
    Lanes,
    doubt_of,
    needs_contiguous,
    plan_stages,
)
from .planners.tiles import COMPUTE, STORAGE, unfused


class Pass(NamedTuple):
    """A one-dimensional correlation along one axis.

    Attributes
    ----------
    axis : int
    weights : ndarray, 1-D
        In the order in which they meet the samples.
    lo : int
        The tap that lies over the output's own sample.
    boundary : str
        By the core's names.
    fill_value : number
    """

    axis: int
    weights: np.ndarray
    lo: int
    boundary: str
    fill_value: Any


class Box(NamedTuple):
    """A mean over `size` neighbours along one axis, of which number `lo` is the output's own sample."""

    axis: int
    size: int
    lo: int
    boundary: str
    fill_value: Any


def correlate(
    x: np.ndarray,
    w: np.ndarray,
    dtype: np.dtype[Any],
    lo: Sequence[int],
    boundary: Sequence[str],
    fill_value: Any,
    threads: int | None = None,
) -> np.ndarray:
    """Correlate x with a kernel of as many axes; the result has x's shape and the given dtype."""
    x, w = as_array(x, "x"), as_array(w, "w")
    plan = _correlation_of(x, w, dtype, lo, boundary, fill_value)
    x = x if x.dtype == plan.x_dtype and x.dtype.isnative else x.astype(plan.x_dtype)
    if plan.schedule.rounded is not None:
        return as_result(core.execute(plan.schedule, Operands(x, plan.w, None, None), threads), dtype)
    _threads.check(threads)
    return as_result(plan.schedule.run(x, plan.w, None, results.empty(plan.shape, plan.dtype), threads), dtype)


def repeat(
    x: np.ndarray,
    w: np.ndarray,
    lo: Sequence[int],
    boundary: Sequence[str],
    fill_value: Any,
    backwards: tuple[slice, ...] | None,
) -> Callable[[np.ndarray, np.ndarray, int | None], np.ndarray] | None:
    """Return what does `correlate` again, or None where other weights of the kind would take something else.

    It is called with an image and weights of the same shapes and dtypes, the weights before they were reversed, as
    `backwards` says, and got all the axes of x, and with a checked number of threads.
    """
    if x.dtype not in COMPUTE or x.dtype.kind not in "fc" or w.dtype.kind not in "iuf":
        return None
    plan = _correlation_of(x, w, x.dtype, lo, boundary, fill_value)
    if plan.schedule.rounded is not None or not plan.x_dtype == plan.dtype == plan.w.dtype == x.dtype:
        return None
    driver, shape, dtype, w_shape = plan.schedule.driver, plan.shape, plan.dtype, w.shape

    def again(image: np.ndarray, weights: np.ndarray, threads: int | None) -> np.ndarray:
        if backwards is not None:
            weights = weights[backwards]
        if weights.dtype != dtype:
            weights = weights.astype(dtype)
        result = results.empty(shape, dtype)
        driver.run(image, weights.reshape(w_shape), None, result, threads)
        return result

    return again


class _CorrelationPlan(NamedTuple):
    """A correlation of arrays of one shape and dtype: what x is converted to, and the weights as the schedule's."""

    x_dtype: np.dtype[Any]
    w: np.ndarray
    schedule: Schedule
    shape: tuple[int, ...]  # of what the schedule computes, as is the dtype
    dtype: np.dtype[Any]


def _correlation_of(
    x: np.ndarray, w: np.ndarray, dtype: np.dtype[Any], lo: Sequence[int], boundary: Sequence[str], fill_value: Any
) -> _CorrelationPlan:
    # Large kernels are not worth the memory that remembering them takes.
    make = _plan_correlation if w.nbytes <= _tunables.REMEMBERED_BYTES else _plan_correlation.__wrapped__
    fill = _scalar(fill_value)
    key = (x.shape, x.dtype, w.shape, w.tobytes(), w.dtype, dtype, tuple(lo), tuple(boundary), *fill)
    return make(*key, levels.current())


@lru_cache(maxsize=256)
def _plan_correlation(
    shape: tuple[int, ...],
    x_dtype: np.dtype[Any],
    w_shape: tuple[int, ...],
    w_bytes: bytes,
    w_dtype: np.dtype[Any],
    dtype: np.dtype[Any],
    lo: tuple[int, ...],
    boundary: tuple[str, ...],
    fill_bytes: bytes,
    fill_dtype: np.dtype[Any],
    level: str,
) -> _CorrelationPlan:
    """Plan an N-D correlation; level is that in use, a part of the key."""
    fill = np.frombuffer(fill_bytes, fill_dtype)[0]
    arithmetic, w = arithmetic_of(x_dtype, np.frombuffer(w_bytes, w_dtype).reshape(w_shape), dtype)
    if arithmetic.kind in "iu" and not _is_whole(fill):
        arithmetic = np.dtype(np.float64)
    native = x_dtype.newbyteorder("=")
    lane = COMPUTE[arithmetic].dtype if arithmetic in COMPUTE and arithmetic.kind in "fc" else None
    direct = (native, lane) in STORAGE and (dtype, lane) in STORAGE
    stand_in = np.broadcast_to(np.zeros((), native if direct else arithmetic), shape)
    schedule, operands = core.prepare(
        stand_in,
        w.astype(arithmetic),
        padding=[(before, k - 1 - before) for before, k in zip(lo, w_shape, strict=True)],
        boundary=list(boundary),
        fill_value=fill.astype(arithmetic)[()],
        dtype=arithmetic,
        result=dtype if direct and not native == dtype == arithmetic else None,
    )
    problem = schedule.problem
    return _CorrelationPlan(stand_in.dtype, operands.w, schedule, problem.out_shape, problem.out_dtype)


def _is_whole(value: Any) -> bool:
    return bool(np.isrealobj(value) and np.isfinite(value) and np.trunc(value) == value and abs(value) < 2.0**63)


def correlate_axes(
    x: np.ndarray, passes: Sequence[Pass], dtype: np.dtype[Any], threads: int | None = None
) -> np.ndarray:
    """Correlate along one axis after the other."""
    plan = plan_passes(x, passes, dtype)
    if plan is not None:
        return plan.run(x, threads)
    result = x
    for step in passes:
        shape = [1] * x.ndim
        shape[step.axis] = len(step.weights)
        lo, boundary = [0] * x.ndim, ["constant"] * x.ndim
        lo[step.axis], boundary[step.axis] = step.lo, step.boundary
        result = correlate(result, step.weights.reshape(shape), dtype, lo, boundary, step.fill_value, threads)
    return result if passes else as_result(x.copy(), dtype)


def plan_passes(x: np.ndarray, passes: Sequence[Pass], dtype: np.dtype[Any]) -> AxesPlan | None:
    """Plan `correlate_axes` of such an array, or return None where that takes N-D correlations."""
    steps = tuple(
        (p.axis, p.weights.tobytes(), p.weights.dtype, p.lo, p.boundary, *_scalar(p.fill_value)) for p in passes
    )
    remember = sum(p.weights.nbytes for p in passes) <= _tunables.REMEMBERED_BYTES
    make = _plan_axes if remember else _plan_axes.__wrapped__
    return make(x.shape, x.dtype, dtype, steps, levels.current())


def box_axes(x: np.ndarray, boxes: Sequence[Box], dtype: np.dtype[Any], threads: int | None = None) -> np.ndarray:
    """Average over boxes, along one axis after the other; work that hardly grows with the size."""
    plan = plan_boxes(x, boxes, dtype)
    if plan is not None:
        return plan.run(x, threads)
    # Sums of integers are exact, and so is their mean where it is an integer, which a product with 1 / size is not.
    wide = dtype if dtype.kind in "fc" else np.dtype(np.float64)
    result = x
    for b in boxes:
        step = Pass(b.axis, np.ones(b.size), b.lo, b.boundary, b.fill_value)
        result = as_result(correlate_axes(result, [step], wide, threads) / wide.type(b.size), dtype)
    return result if boxes else as_result(x.copy(), dtype)


def plan_boxes(x: np.ndarray, boxes: Sequence[Box], dtype: np.dtype[Any]) -> AxesPlan | None:
    """Plan `box_axes` of such an array, or return None where that takes correlations."""
    steps = tuple((b.axis, b.size, None, b.lo, b.boundary, *_scalar(b.fill_value)) for b in boxes)
    return _plan_axes(x.shape, x.dtype, dtype, steps, levels.current())


def _scalar(value: Any) -> tuple[bytes, np.dtype[Any]]:
    array = np.asarray(value)
    return array.tobytes(), array.dtype


class AxesPlan(NamedTuple):
    """Passes over arrays of one shape and dtype, ready to run.

    Attributes
    ----------
    x_dtype, dtype : numpy.dtype
        Of the input, and of each result.
    shape : tuple of int
        In which arrays are seen: without axes of one sample that no pass is along.
    turn : Turn or None
        How the axes are turned for the stages, where the last is short.
    stages : sequence of Stage
    contiguous : bool
        Whether the first stage wants its input so.
    """

    x_dtype: np.dtype[Any]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    turn: Turn | None
    stages: Sequence[Stage]
    contiguous: bool

    def run(self, x: np.ndarray, threads: int | None) -> np.ndarray:
        """Filter x."""
        _threads.check(threads)
        if x.dtype != self.x_dtype or not x.dtype.isnative:
            x = x.astype(self.x_dtype)
        source = x.reshape(self.shape)
        if self.turn is not None:
            source = self.turn.turned(source, threads)
        elif self.contiguous and not source.flags.c_contiguous:
            source = np.ascontiguousarray(source)
        for stage in self.stages:
            out = results.empty(source.shape, self.dtype)
            stage.run(source, out, threads)
            source = out
        if self.turn is not None:
            out = results.empty(self.shape, self.dtype)
            self.turn.put_back(source, out, threads)
            source = out
        return source.reshape(x.shape)


@lru_cache(maxsize=1024)
def _plan_axes(
    shape: tuple[int, ...], x_dtype: np.dtype[Any], dtype: np.dtype[Any], steps: tuple[Any, ...], level: str
) -> AxesPlan | None:
    """Plan passes, each an axis, its weights or the size of its box, their dtype or None, lo, boundary and fill."""
    kept = [i for i in range(len(shape)) if shape[i] != 1 or any(step[0] == i for step in steps)]
    weights = [None if step[2] is None else np.frombuffer(step[1], step[2]) for step in steps]
    fills = [np.frombuffer(step[5], step[6])[0] for step in steps]
    lanes = _short_lanes(x_dtype, dtype, steps, weights, fills) or _lanes_of(x_dtype, dtype, weights, fills)
    if not steps or lanes is None or max(shape, default=0) > _tunables.AXIS_LIMIT:
        return None
    native = x_dtype.newbyteorder("=")
    if (native, lanes.dtype) not in STORAGE:
        native = np.dtype(dtype if lanes.dtype.kind in "iu" else lanes.dtype)
    narrow = dtype if lanes.dtype.kind in "iu" else lanes.dtype
    seen = tuple(shape[i] for i in kept)
    # Passes beside a last axis that none is along take it with the axis before it.
    turn = turn_of(seen) if any(step[0] == kept[-1] for step in steps) else None
    order = range(len(seen)) if turn is None else turn.order
    passes = []
    for step, w, fill in zip(steps, weights, fills, strict=True):
        axis, k, lo = step[0], step[1] if w is None else len(w), step[3]
        n = shape[axis]
        spec = Axis(n, k, 1, 1, 1, lo, k - 1 - lo, step[4])
        taps = w if w is None or lanes == BYTE_SUMS else _as_lanes(w, narrow).astype(lanes.dtype)
        at = kept.index(axis)
        edge = _as_lanes(fill, narrow).astype(lanes.dtype).tobytes()
        passes.append(AxisPass(order.index(at), spec, taps, edge, in_order=math.prod(seen[at + 1 :]) > 1))
    sizes = [seen[i] for i in order]
    stages = plan_stages(sizes, native, lanes, dtype, passes, level)
    return AxesPlan(native, dtype, seen, turn, stages, needs_contiguous(sizes, passes))


def _as_lanes(values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    # Integers beyond the range of the result count modulo 2^n, and 64 bits hold what is wrapped.
    array = np.asarray(values)
    return (array.astype(np.int64) if dtype.kind in "iu" and array.dtype.kind == "f" else array).astype(dtype)


def _short_lanes(
    x: np.dtype[Any],
    dtype: np.dtype[Any],
    steps: Sequence[Any],
    weights: Sequence[np.ndarray | None],
    fills: Sequence[Any],
) -> Lanes | None:
    """Return lanes in which passes over small integers are soon done and give what they give in float64, if any do."""
    if x != dtype or dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if not all(_is_whole(fill) and least <= fill <= most for fill in fills):
        return None
    sums = [w for w in weights if w is not None]
    if sums:
        # Most sums have to be beyond doubt; integers have lanes of their own.
        fractions = all(w.dtype.kind == "f" and np.any(np.trunc(w) != w) for w in sums)
        short = dtype.itemsize == 1 and len(sums) == len(weights) and fractions
        return BYTE_SUMS if short and all(doubt_of(w) < _tunables.MOST_DOUBT for w in sums) else None
    size = max((step[1] for step in steps), default=1)
    if dtype == np.uint8 and size <= MOST_DIVISOR:
        return BYTE_MEANS
    # In float32 sums below 2^24 are exact, and a mean that is no integer is 1 / size away from one. Below 2^23, that is
    # two units of its last place at least.
    return Lanes(np.dtype(np.float32), unfused=False) if (most - least) * size < 2**23 else None


def _lanes_of(
    x: np.dtype[Any], dtype: np.dtype[Any], weights: Sequence[np.ndarray | None], fills: Sequence[Any]
) -> Lanes | None:
    """Return what passes are computed in, or None where there are no kernels for it."""
    means = any(w is None for w in weights)
    arithmetics = [arithmetic_of(x, np.ones(1) if w is None else w, dtype)[0] for w in weights]
    whole = all(_is_whole(fill) for fill in fills)
    if dtype.kind in "fc":
        arithmetic = np.result_type(*arithmetics) if arithmetics else dtype
    elif means or not whole or any(a != dtype for a in arithmetics):
        arithmetic = np.dtype(np.complex128 if "c" in (a.kind for a in arithmetics) else np.float64)
    else:
        arithmetic = dtype
    compute = COMPUTE.get(arithmetic)
    if compute is None or (dtype, compute.dtype) not in STORAGE:
        return None
    return Lanes(compute.dtype, unfused(arithmetic, dtype))


def arithmetic_of(x: np.dtype[Any], w: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.ndarray]:
    """Return what to compute in, and the weights, as integers where they are integers and the rest is too."""
    if dtype.kind in "fc":
        wide: np.dtype[Any] = np.result_type(x, dtype)
        return (np.result_type(wide, np.complex64) if w.dtype.kind == "c" else wide), w
    integers = x.kind in "biu" and dtype.kind in "iu" and w.dtype.kind in "biuf"
    if integers and np.all(np.trunc(w) == w) and np.abs(w).max(initial=0) < 2.0**63:
        return dtype, w.astype(np.int64).astype(dtype)
    return np.dtype(np.complex128 if "c" in (x.kind, w.dtype.kind) else np.float64), w


def as_result(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return computed values in the dtype of the result; integers are cut towards zero, as C casts them."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return np.asarray(np.trunc(values) != 0)
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype.kind == "u" and dtype.itemsize < 8 and values.dtype.kind == "f":
            # Negative values count modulo 2^n, which a direct cast leaves to the machine.
            values = values.astype(np.int64)
        return values.astype(dtype)
