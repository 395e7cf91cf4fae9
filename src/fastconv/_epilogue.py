"""What may follow a convolution: the definition, which the kernels of kernels/epilogue.inc.h keep to.

    result = cast(activation(scale * sums + bias + residual))

Formulas: https://docs.pytorch.org/docs/stable/nn.functional.html#non-linear-activation-functions
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

# Of leaky_relu below zero, unless the caller says otherwise.
SLOPE = 0.01

_erfc = np.vectorize(math.erfc, otypes=[float])


def _sigmoid(y: np.ndarray) -> np.ndarray:
    # exp of a non-positive number only, so that large inputs do not overflow.
    decay = np.exp(-np.abs(y))
    result: np.ndarray = np.where(y >= 0, 1, decay).astype(y.dtype) / (1 + decay)
    return result


def _normal(y: np.ndarray) -> np.ndarray:
    """Return the distribution function of the normal distribution; erfc, so that no digits are lost far below zero."""
    result: np.ndarray = (0.5 * _erfc(-y.astype(float) / math.sqrt(2))).astype(y.dtype) if y.size else y
    return result


def _vanishing(y: np.ndarray) -> np.ndarray:
    """Return y with 0 for -Inf: the limit of its product with what falls faster than it grows."""
    return np.where(np.isneginf(y), np.zeros((), y.dtype), y)


# In the order of fc_activation in kernels/fastconv.h, which begins with none.
ACTIVATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "relu": lambda y, _: np.maximum(y, 0),
    "relu6": lambda y, _: np.clip(y, 0, 6),
    "leaky_relu": lambda y, slope: np.where(y > 0, y, y * y.dtype.type(slope)),
    "sigmoid": lambda y, _: _sigmoid(y),
    "silu": lambda y, _: _vanishing(y) * _sigmoid(y),
    "gelu": lambda y, _: _vanishing(y) * _normal(y),
    "hardswish": lambda y, _: _vanishing(y) * (np.clip(y + 3, 0, 6) / 6),
    "tanh": lambda y, _: np.tanh(y),
}


def activate(y: np.ndarray, name: str, slope: float = SLOPE) -> None:
    """Replace y by its activation; NaN stays NaN, and silu, gelu and hardswish of -Inf are their limit 0."""
    y[...] = ACTIVATIONS[name](y, slope)


def finish(y: np.ndarray, problem: Any, bias: np.ndarray | None, scale: np.ndarray | None, residual: Any) -> None:
    """Apply all but the cast to the sums of a problem, in place; the bias only where a scale comes before it."""
    combine(y, problem, bias, scale, residual)
    if problem.activation is not None:
        activate(y, problem.activation, problem.slope)


def combine(y: np.ndarray, problem: Any, bias: np.ndarray | None, scale: np.ndarray | None, residual: Any) -> None:
    """Apply the steps in front of the activation, each rounded by itself as in the kernels."""
    if scale is not None:
        y *= along(scale, problem, y.dtype)
        if bias is not None:
            y += along(bias, problem, y.dtype)
    if residual is not None:
        y += residual.astype(y.dtype, copy=False)


def along(row: np.ndarray, problem: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a number a channel so that it broadcasts against the result."""
    shape = [1] * len(problem.out_shape)
    if problem.channel_axis >= 0:
        shape[problem.channel_axis] = -1
    return row.astype(dtype, copy=False).reshape(shape)


def cast_into(out: np.ndarray, y: np.ndarray) -> None:
    """Write y to out; as integers it is rounded half to even, kept within the range, and 0 where it is NaN."""
    if out.dtype.kind not in "iu" or y.dtype.kind != "f":
        with np.errstate(over="ignore"):
            out[...] = y
        return
    limits = np.iinfo(out.dtype)
    whole = np.rint(np.where(np.isnan(y), 0, y))
    # The largest integer may round up to what is beyond it.
    low, high = whole <= limits.min, whole >= limits.max
    out[...] = np.where(low | high, 0, whole).astype(out.dtype)
    out[low], out[high] = limits.min, limits.max
