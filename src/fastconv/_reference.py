"""The definition of every result, in plain NumPy: slow, any dtype, and meant to be read.

A convolution is defined in three steps. Each axis is dilated, which puts zeros between samples; then each axis is
extended by what its boundary shows around these; then `correlate` adds up one strided slice a tap.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["conv", "correlate"]
Array = NDArray[Any]


class Axis(NamedTuple):
    """What `correlate` reads of a spatial axis, in samples; any object with these attributes serves."""

    n: int
    k: int
    stride: int
    dilation: int
    input_dilation: int
    lo: int
    hi: int
    boundary: str


def _dilated(n: int, dilation: int) -> int:
    return (n - 1) * dilation + 1 if n else 0


def _out_length(axis: Any) -> int:
    padded = _dilated(axis.n, axis.input_dilation) + axis.lo + axis.hi
    length: int = max((padded - ((axis.k - 1) * axis.dilation + 1)) // axis.stride + 1, 0)
    return length


def _seen_by(tap: int, axis: Any, out: int) -> slice:
    return slice(tap * axis.dilation, tap * axis.dilation + out * axis.stride, axis.stride)


def extend(x: Array, axes: Sequence[Any], fill_value: Any) -> Array:
    """Return x of shape (N, G, C, *spatial) with what `correlate` sees between its samples, and around them."""
    for place, axis in enumerate(axes, 3):
        if axis.input_dilation > 1:
            spread = np.zeros((*x.shape[:place], _dilated(axis.n, axis.input_dilation), *x.shape[place + 1 :]), x.dtype)
            spread[_along(place, slice(None, None, axis.input_dilation))] = x
            x = spread
    # Padding surrounds the zeros of all axes.
    for place, axis in enumerate(axes, 3):
        x = _padded(x, place, axis, fill_value)
    return x


def _along(place: int, index: Any) -> Any:
    return (*(slice(None) for _ in range(place)), index)


def _padded(x: Array, place: int, axis: Any, fill_value: Any) -> Array:
    size = x.shape[place]
    # Counted from the first sample, so that lo only decides where counting starts.
    at = np.arange(-axis.lo, size + axis.hi)
    if axis.boundary == "constant":
        (inside,) = np.nonzero((at >= 0) & (at < size))
        padded = np.full((*x.shape[:place], at.size, *x.shape[place + 1 :]), fill_value, x.dtype)
        padded[_along(place, inside)] = x.take(at[inside], place)
        return padded
    if axis.boundary == "edge":
        at = at.clip(0, size - 1)
    elif axis.boundary == "wrap":
        at = at % size
    elif axis.boundary == "symmetric":
        at = np.minimum(at % (2 * size), (-1 - at) % (2 * size))
    else:  # "reflect", under which a single sample has no neighbour to mirror and repeats itself
        period = max(2 * (size - 1), 1)
        at = np.minimum(at % period, -at % period)
    return x.take(at, place)


def correlate(x: Array, w: Array, axes: Sequence[Any], fill_value: Any, bias: Array | None = None) -> Array:
    """Cross-correlate in canonical form: every other form of convolution is this after a change of view.

    Parameters
    ----------
    x : ndarray, shape (N, G, C, *spatial)
        Batch, groups and the channels of a group.
    w : ndarray, shape (G, O, C, *kernel)
        Of the dtype of `x`, flipped and conjugated already.
    axes : sequence of Axis
        One for each spatial axis.
    fill_value : scalar
        What axes with the boundary ``"constant"`` show outside.
    bias : ndarray, shape (G, O), optional

    Returns
    -------
    ndarray, shape (N, G, O, *out)
        Of the dtype of `x`. Integers are exact modulo 2**n, bool is OR of ANDs.

    Examples
    --------
    >>> x = np.arange(5).reshape(1, 1, 1, 5)
    >>> w = np.array([1, 0, 2]).reshape(1, 1, 1, 3)
    >>> correlate(x, w, [Axis(5, 3, 1, 1, 1, 1, 0, "wrap")], 0)
    array([[[[ 6,  4,  7, 10]]]])
    """
    add, multiply = (np.logical_or, np.logical_and) if x.dtype == bool else (np.add, np.multiply)
    padded = extend(x, axes, fill_value)
    out = [_out_length(axis) for axis in axes]
    acc = np.zeros((x.shape[0], *w.shape[:2], *out), dtype=x.dtype)
    term = np.empty_like(acc)
    # The compiled kernels do not look at floating-point flags, so an Inf times zero is no news here either.
    with np.errstate(all="ignore"):
        for tap in itertools.product(*(range(axis.k) for axis in axes)):
            seen: Any = (..., *map(_seen_by, tap, axes, out))
            # A slice of one keeps the axis, so that the tap broadcasts over the outputs.
            taken: Any = (..., *(slice(t, t + 1) for t in tap))
            shifted, weights = padded[seen], w[taken]
            for c in range(w.shape[2]):
                multiply(shifted[:, :, c, np.newaxis], weights[:, :, c], out=term)
                add(acc, term, out=acc)
        if bias is not None:
            add(acc, bias.reshape(*w.shape[:2], *(1 for _ in axes)), out=acc)
    return acc


def _per_axis(value: Any, rank: int) -> list[Any]:
    return [value] * rank if isinstance(value, str | int | np.integer) else list(value)


def _lo_hi(padding: Any, center: str, n: int, ke: int, stride: int) -> Sequence[int]:
    """Samples to add before and after an axis of `n` (dilated) samples, under a kernel that spans `ke`."""
    if padding == "valid":
        return 0, 0
    if padding == "full":
        return ke - 1, ke - 1
    if padding == "same":
        total = max((-(-n // stride) - 1) * stride + ke - n, 0)
        lo = total // 2 if center == "right" else total - total // 2
        return lo, total - lo
    return _per_axis(padding, 2)


def conv(
    x: ArrayLike,
    w: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    layout: str | None = None,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    input_dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding: str | int | Sequence[int | Sequence[int]] = "valid",
    center: str = "left",
    boundary: str | Sequence[str] = "constant",
    fill_value: Any = 0,
    flip: bool = False,
    conj: bool = False,
    dtype: DTypeLike | None = None,
) -> Array:
    """Return what `fastconv.conv` returns for the same arguments, which must be valid: they are not checked.

    Examples
    --------
    >>> conv([1, 2, 3, 4], [1, 10], padding="full", flip=True)
    array([ 1, 12, 23, 34, 40])
    """
    signal, kernel = np.asarray(x), np.asarray(w)
    result = np.dtype(dtype if dtype is not None else np.result_type(signal, kernel)).newbyteorder("=")
    # Every operand is rounded to the dtype of the result; only the sums of halves are kept in a wider one.
    wide = np.dtype(np.float32) if result.name in ("float16", "bfloat16") else result

    def rounded(operand: ArrayLike) -> Array:
        return np.asarray(operand).astype(result).astype(wide)

    letters = layout if layout is not None else "abcdefghijklmnopqrstuvwxyz"[: signal.ndim]
    canonical = ["N", "C", *(letter for letter in letters if letter not in "NC")]
    order = [letters.index(letter) for letter in canonical if letter in letters]
    missing = tuple(i for i, letter in enumerate(canonical) if letter not in letters)
    signal = np.expand_dims(rounded(signal).transpose(order), missing)
    kernel = rounded(kernel if layout is not None else kernel[np.newaxis, np.newaxis])

    given = (stride, dilation, input_dilation, padding, boundary)
    options = (_per_axis(value, signal.ndim - 2) for value in given)
    axes = []
    for n, k, s, d, e, p, b in zip(signal.shape[2:], kernel.shape[2:], *options, strict=True):
        lo, hi = _lo_hi(p, center, _dilated(n, e), (k - 1) * d + 1, s)
        axes.append(Axis(n, k, s, d, e, lo, hi, b))
    kernel = np.flip(kernel, tuple(range(2, kernel.ndim))) if flip else kernel
    kernel = np.conjugate(kernel) if conj and kernel.dtype.kind in "cO" else kernel
    signal = signal.reshape(signal.shape[0], groups, signal.shape[1] // groups, *signal.shape[2:])
    kernel = kernel.reshape(groups, kernel.shape[0] // groups, *kernel.shape[1:])
    offset = None if bias is None else rounded(bias).reshape(kernel.shape[:2])
    y = correlate(signal, kernel, axes, rounded(fill_value)[()], offset)
    y = y.reshape(y.shape[0], y.shape[1] * y.shape[2], *y.shape[3:]).squeeze(missing)
    return np.ascontiguousarray(y.transpose(np.argsort(order)).astype(result))
