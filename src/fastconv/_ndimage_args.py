"""What scipy.ndimage's arguments mean, one by one: arrays, axes, borders in the core's words, where a result goes."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import _filters
from ._errors import ConvError, ConvTypeError

Result = TypeVar("Result")

# SciPy's names for how an image goes on, in the words of the core.
BOUNDARIES = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "constant": "constant",
    "grid-constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
    "grid-wrap": "wrap",
}

# Options of these types are the same call when they are equal and of the same type.
SCALARS = frozenset((bool, int, float, complex, str, type(None), np.float64, np.float32, np.int64))
REMEMBERED = 256


class ConvIndexError(ConvError, np.exceptions.AxisError):
    """An axis that an array does not have; it is an IndexError too, as NumPy's own."""


class ConvRangeError(ConvError, ZeroDivisionError, OverflowError):
    """A number that leads out of the floating-point numbers, such as a width of zero or of infinity."""


class Target(NamedTuple):
    """Where a result goes, and the dtype to filter in on the way there.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the result.
    work : numpy.dtype
        Native; float32 for float16, so that passes are not rounded more than the result is.
    array : ndarray or None
        What the user gave for it.
    """

    dtype: np.dtype[Any]
    work: np.dtype[Any]
    array: np.ndarray | None

    def take(self, result: np.ndarray) -> np.ndarray:
        """Return new memory of the dtype of `work` as the result."""
        if self.array is None:
            return result if self.work is self.dtype else _filters.as_result(result, self.dtype)
        with np.errstate(over="ignore"):
            self.array[...] = result
        return self.array

    def copy_of(self, x: np.ndarray) -> np.ndarray:
        """Return the image as the result, by NumPy's rules of assignment."""
        array = np.empty(x.shape, self.dtype) if self.array is None else self.array
        array[...] = x
        return array


def remembered(build: Callable[..., Result]) -> Callable[..., Result]:
    """Keep what `build` made of plain options; lists and arrays of them are passed on as tuples."""

    @functools.lru_cache(REMEMBERED, typed=True)
    def keep(_: tuple[Any, ...], *options: Any) -> Result:
        return build(*options)

    @functools.wraps(build)
    def recall(*options: Any) -> Result:
        if SCALARS.issuperset(map(type, options)):
            return keep((), *options)
        settled = [_settled(option) for option in options]
        kinds = tuple([tuple(map(type, option)) if type(option) is tuple else () for option in settled])
        scalars = SCALARS.issuperset([type(option) for option in settled if type(option) is not tuple])
        if scalars and all(SCALARS.issuperset(kind) for kind in kinds):
            return keep(kinds, *settled)
        return build(*settled)

    return recall


def _settled(option: Any) -> Any:
    if isinstance(option, list):
        return tuple(option)
    if isinstance(option, np.ndarray) and option.ndim == 1:
        return tuple(option.tolist())
    return option


# Arrays -----------------------------------------------------------------------------------------------------------


def as_input(value: Any) -> np.ndarray:
    """Return the image as a plain array of numbers."""
    return value if type(value) is np.ndarray and value.dtype.kind in "biufc" else _as_numbers("input", value)


def as_weights(value: Any) -> np.ndarray:
    """Return weights as an array of numbers that arithmetic is done in; Python's objects become float64."""
    array = value if type(value) is np.ndarray else _as_array("weights", value)
    if array.dtype.kind in "iufc" and array.dtype.char != "e":
        return array
    if array.dtype.kind in "bf":
        return array.astype(np.int8 if array.dtype.kind == "b" else np.float32)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConvTypeError(f"weights: got dtype {array.dtype}, allowed: numbers") from error


def _as_array(name: str, value: Any) -> np.ndarray:
    try:
        # Not asanyarray: SciPy ignores masks and np.matrix, too.
        return np.asarray(value)
    except ValueError as error:
        raise ConvError(f"{name}: got a ragged sequence, allowed: an array") from error


def _as_numbers(name: str, value: Any) -> np.ndarray:
    array = _as_array(name, value)
    check_numbers(name, array.dtype)
    return array


def check_numbers(name: str, dtype: np.dtype[Any]) -> None:
    """Refuse what is not a number. SciPy's words are kept in brackets, here as below, for those who match on them."""
    if dtype.kind not in "biufc":
        allowed = "boolean, integer, floating and complex dtypes"
        raise ConvTypeError(f"{name}: got dtype {dtype}, allowed: {allowed} (array type not supported)")


def target_of(output: Any, x: np.ndarray, is_complex: bool | None, promotes: bool = False) -> Target:
    """Return where the result goes.

    Parameters
    ----------
    output : None, dtype, type, str or array_like
        As the user gave it.
    x : ndarray
        The image.
    is_complex : bool or None
        Whether the result is; None if the image is only copied, which any dtype may be.
    promotes : bool
        Whether a real dtype becomes complex for a complex result, with a warning, instead of being refused.
    """
    if output is None:
        return _target_like(x.dtype, bool(is_complex))
    array = None
    if isinstance(output, str):
        dtype = _dtype_named(output)
        if is_complex:
            _check_complex(dtype)
    elif isinstance(output, (type, np.dtype)):
        dtype = np.dtype(output)
        check_numbers("output", dtype)
        if is_complex and dtype.kind != "c" and promotes:
            # Shown at the line that called the face: each of its functions has one helper between itself and this.
            warnings.warn("promoting specified output dtype to complex", UserWarning, stacklevel=4)
            dtype = np.promote_types(dtype, np.complex64)
    else:
        array = _array_for(output, x.shape)
        dtype = array.dtype
    if is_complex:
        _check_complex(dtype)
    elif is_complex is False and dtype.kind == "c":
        raise ConvTypeError(
            f"output: got dtype {dtype}, allowed for real results: real dtypes (array type not supported)"
        )
    return Target(dtype, _work_dtype(x.dtype, dtype), array)


@functools.lru_cache(REMEMBERED)
def _target_like(dtype: np.dtype[Any], is_complex: bool) -> Target:
    result = np.promote_types(dtype, np.complex64) if is_complex else dtype.newbyteorder("=")
    return Target(result, _work_dtype(dtype, result), None)


def _work_dtype(x: np.dtype[Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    return np.result_type(x, np.float32) if native == np.float16 and x.kind != "c" else native


def _dtype_named(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ConvTypeError(f"output: got {name!r}, allowed: names of numeric dtypes") from error
    if dtype.kind not in "iufc":
        raise ConvTypeError(f"output: got {name!r}, allowed: names of numeric dtypes (output must have numeric dtype)")
    return dtype


def _check_complex(dtype: np.dtype[Any]) -> None:
    if dtype.kind != "c":
        raise ConvError(f"output: got dtype {dtype}, allowed: complex dtypes (output must have complex dtype)")


def _array_for(output: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _as_numbers("output", output)
    if array.shape != shape:
        raise ConvError(f"output: got shape {array.shape}, allowed: {shape} (output shape not correct)")
    if not array.flags.writeable:
        raise ConvError("output: got a read-only array, allowed: arrays to write to (output array is read-only)")
    return array


# Options ----------------------------------------------------------------------------------------------------------


def per_axis(name: str, value: Any, axes: int) -> list[Any]:
    """Return one value for each axis."""
    if isinstance(value, str) or not np.iterable(value):
        return [value] * axes
    values = list(value)
    if len(values) != axes:
        raise ConvError(
            f"{name}: got {len(values)} values, allowed: one, or one for each of {axes} axes "
            "(sequence argument must have length equal to input rank)"
        )
    return values


def check_axis(axis: Any, ndim: int) -> int:
    """Return the number of an axis, from the front."""
    number = as_integer("axis", axis)
    if not -ndim <= number < ndim:
        raise ConvIndexError(
            f"axis: got {axis}, allowed: axes of an array of {ndim} "
            f"(axis {number} is out of bounds for array of dimension {ndim})"
        )
    return number % ndim


def check_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """Return the numbers of the axes to filter along, from the front, in the order given."""
    if axes is None:
        return tuple(range(ndim))
    if np.isscalar(axes):
        given: tuple[Any, ...] = (axes,)
    elif isinstance(axes, Iterable) and np.iterable(axes):
        given = tuple(axes)
    else:
        raise ConvTypeError(
            f"axes: got {axes!r}, allowed: axes (axes must be an integer, iterable of integers, or None)"
        )
    numbers = [as_integer("axes", axis) for axis in given]
    for number in numbers:
        if not -ndim <= number < ndim:
            raise ConvIndexError(
                f"axes: got {given}, allowed: axes of an array of {ndim} (specified axis: {number} is out of range)"
            )
    numbers = [number % ndim for number in numbers]
    if len(set(numbers)) < len(numbers):
        raise ConvError(f"axes: got {given}, allowed: different axes (axes must be unique)")
    return tuple(numbers)


def as_integer(name: str, value: Any) -> int:
    """Return an integer; no other number stands for one."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise ConvTypeError(f"{name}: got {value!r}, allowed: integers ({error})") from error


def as_number(name: str, value: Any) -> float:
    """Return a real number; no string stands for one."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("must be real number, not str")
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConvTypeError(f"{name}: got {value!r}, allowed: real numbers ({error})") from error
    except OverflowError as error:
        raise ConvRangeError(f"{name}: got an integer beyond float64, allowed: real numbers ({error})") from error


def border(mode: Any, cval: Any, is_complex: bool) -> tuple[str, Any]:
    """Return the core's boundary and fill value for a mode and a cval, which a complex image may have complex."""
    boundary = BOUNDARIES.get(mode) if isinstance(mode, str) else None
    if boundary is None:
        allowed = ", ".join(map(repr, BOUNDARIES))
        raise ConvError(f"mode: got {mode!r}, allowed: {allowed} (boundary mode not supported)")
    fill_value = _fill_value(cval, is_complex)
    return boundary, fill_value if boundary == "constant" else 0


def _fill_value(cval: Any, is_complex: bool) -> Any:
    """Return cval as an int if it is a whole number, so that it can join sums of integers, else as it is."""
    if isinstance(cval, (int, np.integer)) and -(2**63) <= cval < 2**64:
        return int(cval)
    if np.iscomplexobj(cval):
        if not is_complex:
            raise ConvTypeError(f"cval: got {cval!r}, allowed for a real image: real numbers")
        return complex(cval)
    number = as_number("cval", cval)
    return int(number) if number.is_integer() and abs(number) < 2.0**63 else number


def tap_over_sample(name: str, origin: Any, taps: int, flip: bool) -> int:
    """Return which tap, after flipping, lies over the output's own sample."""
    shift = as_integer(name, origin)
    if flip:
        shift = -shift - (taps % 2 == 0)
    if not 0 <= taps // 2 + shift < taps:
        low = -((taps - 1) // 2) - (taps % 2 == 0) if flip else -(taps // 2)
        high = low + taps - 1
        raise ConvError(f"origin: got {origin}, allowed for {taps} taps: {low} to {high} (invalid origin)")
    return taps // 2 + shift
