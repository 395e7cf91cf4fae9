"""Filters whose result has a dtype of its own, as scipy.ndimage's: what to compute in, and how it becomes the result.

Integers are exact modulo 2^n where the weights are integers, else computed in float64 and cut towards zero. Passes
along single axes follow each other, each result rounded to the dtype of the output, which is what the next one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import core


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
    arithmetic, w = arithmetic_of(x.dtype, w, dtype, fill_value)
    result = core.conv(
        x.astype(arithmetic, copy=False),
        w.astype(arithmetic, copy=False),
        padding=[(before, k - 1 - before) for before, k in zip(lo, w.shape, strict=True)],
        boundary=list(boundary),
        fill_value=np.asarray(fill_value).astype(arithmetic)[()],
        threads=threads,
    )
    return as_result(result, dtype)


def correlate_axes(
    x: np.ndarray, passes: Sequence[Pass], dtype: np.dtype[Any], threads: int | None = None
) -> np.ndarray:
    """Correlate along one axis after the other."""
    result = x
    for step in passes:
        shape = [1] * x.ndim
        shape[step.axis] = len(step.weights)
        lo, boundary = [0] * x.ndim, ["constant"] * x.ndim
        lo[step.axis], boundary[step.axis] = step.lo, step.boundary
        result = correlate(result, step.weights.reshape(shape), dtype, lo, boundary, step.fill_value, threads)
    return result if passes else as_result(x.copy(), dtype)


def box_axes(x: np.ndarray, boxes: Sequence[Box], dtype: np.dtype[Any], threads: int | None = None) -> np.ndarray:
    """Average over boxes, along one axis after the other."""
    # Sums of integers are exact, and so is their mean where it is an integer, which a product with 1 / size is not.
    wide = dtype if dtype.kind in "fc" else np.dtype(np.float64)
    result = x
    for b in boxes:
        step = Pass(b.axis, np.ones(b.size), b.lo, b.boundary, b.fill_value)
        result = as_result(correlate_axes(result, [step], wide, threads) / wide.type(b.size), dtype)
    return result if boxes else as_result(x.copy(), dtype)


def arithmetic_of(
    x: np.dtype[Any], w: np.ndarray, dtype: np.dtype[Any], fill_value: Any
) -> tuple[np.dtype[Any], np.ndarray]:
    """Return what to compute in, and the weights, as integers where they are integers and the rest is too."""
    if dtype.kind in "fc":
        wide: np.dtype[Any] = np.result_type(x, dtype)
        return (np.result_type(wide, np.complex64) if w.dtype.kind == "c" else wide), w
    integers = x.kind in "biu" and dtype.kind in "iu" and w.dtype.kind in "biuf" and isinstance(fill_value, int)
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
