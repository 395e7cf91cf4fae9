"""Right first: the definition in float64, and how far from it a result may be."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .layers import Layer

# A peer that goes through a Fourier transform rounds some tens of times more than its taps say.
_TRANSFORM_ROUNDINGS = 64


def layer_truth(x: NDArray, w: NDArray, layer: Layer) -> NDArray[np.float64]:
    """The cross-correlation of `x` (N, C, H, W) with `w` (O, C / groups, KH, KW), tap by tap."""
    pad = layer.pad
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    padded = padded.reshape(layer.batch, layer.groups, -1, *padded.shape[2:])
    weights = w.astype(np.float64).reshape(layer.groups, -1, *w.shape[1:])
    _, _, height, width = layer.y_shape
    truth = np.zeros((layer.batch, layer.groups, weights.shape[1], height, width))
    for i in range(layer.kh):
        for j in range(layer.kw):
            rows = _tap(i, layer, height)
            columns = _tap(j, layer, width)
            seen = padded[..., rows, columns]
            truth += np.einsum("ngchw,goc->ngohw", seen, weights[..., i, j], optimize=True)
    return truth.reshape(layer.y_shape)


def filter_truth(
    photo: NDArray, kernel: NDArray, boundary: Literal["constant", "symmetric"] = "constant"
) -> NDArray[np.float64]:
    """The convolution of a picture with an odd-sized kernel, result of the same size.

    Around the picture are zeros or its mirror image, by the names of np.pad.
    """
    height, width = photo.shape
    kh, kw = kernel.shape
    padded = np.pad(photo.astype(np.float64), ((kh // 2, kh // 2), (kw // 2, kw // 2)), mode=boundary)
    truth = np.zeros(photo.shape)
    for (i, j), weight in np.ndenumerate(kernel[::-1, ::-1].astype(np.float64)):
        truth += weight * padded[i : i + height, j : j + width]
    return truth


def tolerance(x: NDArray, w: NDArray) -> float:
    """How far a result in the dtype of `x` may be from the truth; `w` is one kernel, or (C_out, ...).

    (K + 64) eps max|x| sum|w|: the bound for K roundings, and room for a transform. Integers are exact.
    """
    if x.dtype.kind not in "fc":
        return 0.0
    kernels = np.abs(w).reshape(w.shape[0] if w.ndim > 2 else 1, -1)
    roundings = kernels.shape[1] + _TRANSFORM_ROUNDINGS
    return float(roundings * np.finfo(x.dtype).eps * np.abs(x).max() * kernels.sum(axis=1).max())


def gradient_tolerance(x: NDArray, w: NDArray) -> float:
    """How far two gradients, or transposed convolutions, of `x` and `w` (C_out, ...) may be apart.

    A result sums as many products as there are in either of the arrays besides the axis they do not share, and errors
    add up as a random walk does.
    """
    sums = max(x.size // x.shape[1], w.size // w.shape[0])
    return 512 * math.sqrt(sums) * float(np.finfo(x.dtype).eps) * float(np.abs(x).max()) * float(np.abs(w).max())


def disagreement(result: object, truth: NDArray, allowed: float, margin: int) -> str | None:
    """Why `result` is not `truth`, or None where it is.

    Border (`margin` samples on every side of the last two axes, of the only one in 1-D) and interior are looked
    at one by one, as a wrong boundary rule and a wrong kernel call for different repairs.
    """
    got = np.asarray(result)
    if got.shape != truth.shape:
        return f"shape {got.shape}, expected {truth.shape}"
    # The difference of two integers can wrap, and then be anything.
    error = np.abs(got.astype(truth.dtype) - truth) if allowed else np.where(got == truth, 0.0, np.inf)
    sides = truth.shape[-2:]
    interior = np.zeros(sides, dtype=bool)
    interior[tuple(slice(margin, max(margin, side - margin)) for side in sides)] = True
    for place, where in (("interior", interior), ("border", ~interior)):
        worst = error[..., where].max(initial=0.0)
        if not worst <= allowed:  # a NaN is no agreement either
            return f"{place} off by {worst:.3g}, allowed {allowed:.3g}"
    return None


def _tap(offset: int, layer: Layer, count: int) -> slice:
    start = offset * layer.dilation
    return slice(start, start + (count - 1) * layer.stride + 1, layer.stride)
