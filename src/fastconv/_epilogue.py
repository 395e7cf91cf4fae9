"""What may follow a convolution, applied to its result in place.

Formulas: https://docs.pytorch.org/docs/stable/nn.functional.html#non-linear-activation-functions
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(y: np.ndarray) -> np.ndarray:
    # exp of a non-positive number only, so that large inputs do not overflow.
    decay = np.exp(-np.abs(y))
    result: np.ndarray = np.where(y >= 0, 1, decay).astype(y.dtype) / (1 + decay)
    return result


def _gelu(y: np.ndarray) -> np.ndarray:
    return y * (0.5 * (1 + _erf(y / math.sqrt(2)))) if y.size else y


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda y: np.maximum(y, 0),
    "relu6": lambda y: np.clip(y, 0, 6),
    "leaky_relu": lambda y: np.where(y > 0, y, y * 0.01),
    "sigmoid": _sigmoid,
    "silu": lambda y: y * _sigmoid(y),
    "gelu": _gelu,
    "hardswish": lambda y: y * (np.clip(y + 3, 0, 6) / 6),
    "tanh": np.tanh,
}


def activate(y: np.ndarray, name: str) -> None:
    """Replace y by its activation; NaN stays NaN."""
    y[...] = ACTIVATIONS[name](y)
