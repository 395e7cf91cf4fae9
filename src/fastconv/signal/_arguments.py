"""What the functions of this package check and mean alike."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._errors import ConvError, ConvTypeError
from .._problem import check_out

Array = NDArray[Any]

MODES = ("full", "same", "valid")


def as_array(name: str, value: ArrayLike, allowed: str) -> Array:
    """Return a plain array; SciPy drops masks and np.matrix too."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ConvError(f"{name}: got a ragged sequence, allowed: {allowed}") from error


def check_name(argument: str, got: Any, allowed: tuple[str, ...], words: str = "") -> None:
    """Refuse what is not one of the names; `words` are the peer's, for those who match on them."""
    if not isinstance(got, str) or got not in allowed:
        error = ConvError if isinstance(got, str) else ConvTypeError
        raise error(f"{argument}: got {got!r}, allowed: {', '.join(map(repr, allowed))}{words}")


def check_kind(name: str, dtype: np.dtype[Any], also: str = "") -> None:
    """Refuse a dtype that nothing computes."""
    if dtype.kind not in "biufc" + also:
        allowed = "boolean, integer, floating and complex dtypes"
        raise ConvTypeError(f"{name}: got dtype {dtype}, allowed: {allowed} (Unsupported type)")


def check_dimensions(x: Array, w: Array) -> None:
    """Refuse operands of different ranks."""
    if x.ndim != w.ndim:
        raise ConvError(
            f"in1, in2: got {x.ndim} and {w.ndim} dimensions, allowed: as many of one as of the other "
            "(in1 and in2 should have the same dimensionality)"
        )


def scalar_product(x: Array, w: Array, out: Array | None) -> Array:
    """Return the product of operands without dimensions, a scalar as SciPy's is."""
    try:
        product: Array = np.multiply(x, w)
    except TypeError as error:
        raise ConvTypeError(f"in1, in2: got dtypes {x.dtype} and {w.dtype}, allowed: dtypes of numbers") from error
    if out is None:
        return product
    check_out(out, (), np.result_type(product))
    out[...] = product
    return out


def fill_of(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a fill value as an element of dtype."""
    if isinstance(value, np.ndarray):
        # SciPy asks more of an array than of a scalar: no rounding and no wrapping, whatever its value.
        lossy = not np.can_cast(value.dtype, dtype, "safe")
    else:
        lossy = isinstance(value, np.complexfloating) and dtype.kind != "c"
    # SciPy's words are kept in brackets for those who match on them.
    try:
        if lossy:
            raise ValueError(f"not safe for {dtype}")
        fill = np.array(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        kind = ConvTypeError if isinstance(error, TypeError) else ConvError
        raise kind(
            f"fillvalue: got {value!r}, allowed: one value of dtype {dtype} "
            "(could not cast `fillvalue` directly to the output type)"
        ) from error
    if fill.size != 1:
        raise ConvError(
            f"fillvalue: got {fill.size} values, allowed: one value of dtype {dtype} "
            "(`fillvalue` must be scalar or an array with one element)"
        )
    return fill.reshape(())[()]


def axes_of(axes: Any, rank: int) -> tuple[int, ...]:
    """Return axes as numbers from 0, all of them for None."""
    if axes is None:
        return tuple(range(rank))
    got = f"axes: got {axes!r}, allowed: one or more of the axes from {-rank} to {rank - 1}, each once"
    try:
        # bool is an index to SciPy as well.
        numbers = [operator.index(axes)] if isinstance(axes, int | np.integer) else [operator.index(a) for a in axes]
    except TypeError as error:
        raise ConvTypeError(f"{got} (axes must be a scalar or iterable of integers)") from error
    if not numbers:
        raise ConvError(f"{got} (when provided, axes cannot be empty)")
    if not all(-rank <= axis < rank for axis in numbers):
        raise ConvError(f"{got} (axes exceeds dimensionality of input)")
    wanted = tuple(axis % rank for axis in numbers)
    if len(set(wanted)) != len(wanted):
        raise ConvError(f"{got} (all axes must be unique)")
    return wanted


def check_broadcast(shape1: tuple[int, ...], shape2: tuple[int, ...], axes: Sequence[int]) -> None:
    """Refuse operands that do not broadcast along the other axes."""
    others = [axis for axis in range(len(shape1)) if axis not in axes]
    if not all(shape1[axis] == shape2[axis] or 1 in (shape1[axis], shape2[axis]) for axis in others):
        raise ConvError(
            f"in1, in2: got shapes {shape1} and {shape2}, allowed: the same length or 1 along the axes {others} "
            f"(incompatible shapes for in1 and in2: {shape1} and {shape2})"
        )


def swaps(shape1: Sequence[int], shape2: Sequence[int]) -> bool:
    """Whether mode "valid" slides in1 over in2 rather than the other way round."""
    if all(n >= k for n, k in zip(shape1, shape2, strict=True)):
        return False
    if all(n <= k for n, k in zip(shape1, shape2, strict=True)):
        return True
    raise ConvError(
        f"in1, in2: got shapes {tuple(shape1)} and {tuple(shape2)}, allowed in mode 'valid': "
        "one at least as large as the other along every axis "
        "(For 'valid' mode, one must be at least as large as the other in every dimension)"
    )


def part_of(mode: str, n: int, k: int) -> tuple[int, int]:
    """Return the start and the length of what a mode returns, in the full result along an axis."""
    if mode == "full":
        return 0, n + k - 1
    if mode == "same":
        return (k - 1) // 2, n
    return min(n, k) - 1, abs(n - k) + 1
