"""What scipy.ndimage's arguments mean: passes and boxes along axes, borders in the core's words, where results go.

All that follows from options alone is remembered, because it takes longer to work out than a small image to filter.
"""

from __future__ import annotations

import functools
import math
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

# A Gaussian as narrow as this is one tap, which gaussian_filter leaves out.
NO_SIGMA = 1e-15

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
            return _filters.as_result(result, self.dtype)
        with np.errstate(over="ignore"):
            self.array[...] = result
        return self.array

    def copy_of(self, x: np.ndarray) -> np.ndarray:
        """Return the image as the result, by NumPy's rules of assignment."""
        array = np.empty(x.shape, self.dtype) if self.array is None else self.array
        array[...] = x
        return array


class Geometry(NamedTuple):
    """How a kernel lies over an image: its shape with an axis for each of the image's, and what is around."""

    shape: tuple[int, ...]
    lo: tuple[int, ...]
    boundary: tuple[str, ...]
    fill_value: Any


class Line(NamedTuple):
    """How one-dimensional weights lie along an axis."""

    axis: int
    lo: int
    boundary: str
    fill_value: Any


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
    """Return weights as an array of numbers; what is none yet, such as Python objects, becomes float64."""
    array = value if type(value) is np.ndarray else _as_array("weights", value)
    if array.dtype.kind in "iufc":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.int8)
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
    native = dtype.newbyteorder("=")
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
    number = _integer("axis", axis)
    if not -ndim <= number < ndim:
        raise ConvIndexError(f"axis: got {axis}, allowed: axes of an array of {ndim} (axis is out of bounds)")
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
    numbers = [_integer("axes", axis) for axis in given]
    for number in numbers:
        if not -ndim <= number < ndim:
            raise ConvIndexError(
                f"axes: got {given}, allowed: axes of an array of {ndim} (specified axis: {number} is out of range)"
            )
    numbers = [number % ndim for number in numbers]
    if len(set(numbers)) < len(numbers):
        raise ConvError(f"axes: got {given}, allowed: different axes (axes must be unique)")
    return tuple(numbers)


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise ConvTypeError(f"{name}: got {value!r}, allowed: integers ({error})") from error


def _number(name: str, value: Any) -> float:
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
    if isinstance(cval, (int, np.integer)) and -(2**63) <= cval < 2**63:
        return int(cval)
    if np.iscomplexobj(cval):
        if not is_complex:
            raise ConvTypeError(f"cval: got {cval!r}, allowed for a real image: real numbers")
        return complex(cval)
    number = _number("cval", cval)
    return int(number) if number.is_integer() and abs(number) < 2.0**63 else number


def _tap_over_sample(name: str, origin: Any, taps: int, flip: bool) -> int:
    """Return which tap, after flipping, lies over the output's own sample."""
    shift = _integer(name, origin)
    if flip:
        shift = -shift - (taps % 2 == 0)
    if not 0 <= taps // 2 + shift < taps:
        low = -((taps - 1) // 2) - (taps % 2 == 0) if flip else -(taps // 2)
        high = low + taps - 1
        raise ConvError(f"origin: got {origin}, allowed for {taps} taps: {low} to {high} (invalid origin)")
    return taps // 2 + shift


# Kernels ----------------------------------------------------------------------------------------------------------


@remembered
def kernel_geometry(
    ndim: int, is_complex: bool, mode: Any, cval: Any, origin: Any, axes: Any, flip: bool, *shape: int
) -> Geometry:
    """Return how a kernel of that shape lies over an image of `ndim` axes."""
    along = check_axes(axes, ndim)
    if len(shape) != len(along) or 0 in shape:
        raise ConvError(
            f"weights: got shape {shape}, allowed: an axis with taps for each of the axes {along} "
            f"(weights.ndim ({len(shape)}) must match len(axes) ({len(along)}))"
        )
    origins = per_axis("origin", origin, len(along))
    if len(along) < ndim:
        # The kernel's axes are the image's in the order that those have in the image; an origin stays with its axis.
        origins = [origins[along.index(axis)] for axis in sorted(along)]
        along = tuple(sorted(along))
    else:
        along = tuple(range(ndim))
    if not isinstance(mode, str) and isinstance(mode, Iterable):
        raise ConvError(f"mode: got {mode!r}, allowed: one for all axes (A sequence of modes is not supported)")
    boundary, fill_value = border(mode, cval, is_complex)
    full, lo = [1] * ndim, [0] * ndim
    for axis, taps, shift in zip(along, shape, origins, strict=True):
        full[axis], lo[axis] = taps, _tap_over_sample("origin", shift, taps, flip)
    # One sample without axes is filtered as an axis of one.
    return Geometry(tuple(full) or (1,), tuple(lo) or (0,), (boundary,) * max(ndim, 1), fill_value)


@remembered
def line_geometry(
    ndim: int, is_complex: bool, axis: Any, mode: Any, cval: Any, origin: Any, flip: bool, *shape: int
) -> Line:
    """Return how weights of that shape lie along an axis of an image of `ndim` axes."""
    if len(shape) != 1 or shape[0] < 1:
        raise ConvIndexError(f"weights: got shape {shape}, allowed: one axis with taps (no filter weights given)")
    number = check_axis(axis, ndim)
    lo = _tap_over_sample("origin", origin, shape[0], flip)
    return Line(number, lo, *border(mode, cval, is_complex))


# Boxes ------------------------------------------------------------------------------------------------------------


@remembered
def box_of_axis(
    ndim: int, is_complex: bool, size: Any, axis: Any, mode: Any, cval: Any, origin: Any
) -> tuple[_filters.Box]:
    """Return the box of uniform_filter1d."""
    number, taps = check_axis(axis, ndim), _integer("size", size)
    if taps < 1:
        raise ConvError(f"size: got {size}, allowed: integers from 1 (incorrect filter size)")
    return (_box(number, taps, origin, border(mode, cval, is_complex)),)


@remembered
def boxes(
    ndim: int, is_complex: bool, size: Any, mode: Any, cval: Any, origin: Any, axes: Any
) -> tuple[_filters.Box, ...]:
    """Return the boxes of uniform_filter; there is none along an axis where it would hold one sample."""
    along = check_axes(axes, ndim)
    named = ("size", size), ("origin", origin), ("mode", mode)
    sizes, origins, modes = (per_axis(name, value, len(along)) for name, value in named)
    return tuple(
        _box(axis, int(taps), shift, border(how, cval, is_complex))
        for axis, taps, shift, how in zip(along, sizes, origins, modes, strict=True)
        if _number("size", taps) > 1
    )


def _box(axis: int, taps: int, origin: Any, border_: tuple[str, Any]) -> _filters.Box:
    return _filters.Box(axis, taps, _tap_over_sample("origin", origin, taps, False), *border_)


# Gaussians --------------------------------------------------------------------------------------------------------


@remembered
def gaussian_weights(sigma: float, order: int, radius: int) -> np.ndarray:
    """Return samples of a Gaussian of sum 1, or of its derivative, in the order in which a correlation takes them."""
    if sigma * sigma == 0:
        raise ConvRangeError(f"sigma: got {sigma}, allowed: numbers with a square above 0")
    steepness = 1 / -(sigma * sigma)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * x**2)
    weights = weights / weights.sum()
    if order:
        # The derivative of a polynomial times the Gaussian is (p' + steepness x p) times the Gaussian.
        factors = [1.0]
        for _ in range(order):
            slope = [*(power * factor for power, factor in enumerate(factors) if power), 0.0, 0.0]
            falling = [0.0, *(steepness * factor for factor in factors)]
            factors = [a + b for a, b in zip(slope, falling, strict=True)]
        weights = np.vander(x.astype(np.float64), order + 1, increasing=True).dot(np.array(factors)) * weights
    weights = np.ascontiguousarray(weights[::-1])
    weights.flags.writeable = False
    return weights


@remembered
def gaussian_pass_of_axis(
    ndim: int, is_complex: bool, sigma: Any, axis: Any, order: Any, mode: Any, cval: Any, truncate: Any, radius: Any
) -> tuple[_filters.Pass]:
    """Return the pass of gaussian_filter1d."""
    weights = _gaussian(sigma, order, truncate, radius)
    return (_gaussian_pass(check_axis(axis, ndim), weights, border(mode, cval, is_complex)),)


def _gaussian_pass(axis: int, weights: np.ndarray, border_: tuple[str, Any]) -> _filters.Pass:
    return _filters.Pass(axis, weights, len(weights) // 2, *border_)


def _gaussian(sigma: Any, order: Any, truncate: Any, radius: Any) -> np.ndarray:
    """Check what the user gave for a Gaussian and return its weights."""
    width = _number("sigma", sigma)
    reach = _number("truncate", truncate) * width + 0.5
    if not math.isfinite(reach):
        raise ConvRangeError(f"sigma, truncate: got {sigma} and {truncate}, allowed: numbers of a finite product")
    taps = int(reach) if radius is None else _radius(radius)
    if taps < 0:
        raise ConvError(
            f"radius: got {taps}, from sigma {sigma} and truncate {truncate} unless given, allowed: integers from 0 "
            "(Radius must be a nonnegative integer.)"
        )
    # SciPy takes a zero of any type for an order, and integers else.
    derivative = 0 if _number("order", order) == 0 else _integer("order", order)
    if derivative < 0:
        raise ConvError(f"order: got {order}, allowed: integers from 0 (order must be non-negative)")
    return gaussian_weights(width, derivative, taps)


def _radius(radius: Any) -> int:
    try:
        return operator.index(radius)
    except TypeError as error:
        raise ConvTypeError(
            f"radius: got {radius!r}, allowed: integers from 0 (Radius must be a nonnegative integer.)"
        ) from error


@remembered
def gaussian_passes(
    ndim: int,
    is_complex: bool,
    sigma: Any,
    order: Any,
    mode: Any,
    cval: Any,
    truncate: Any,
    radius: Any,
    axes: Any,
) -> tuple[_filters.Pass, ...]:
    """Return the passes of gaussian_filter; there is none along an axis where the Gaussian is one tap."""
    along = check_axes(axes, ndim)
    named = ("sigma", sigma), ("order", order), ("mode", mode), ("radius", radius)
    sigmas, orders, modes, radii = (per_axis(name, value, len(along)) for name, value in named)
    return tuple(
        _gaussian_pass(axis, _gaussian(width, derivative, truncate, reach), border(how, cval, is_complex))
        for axis, width, derivative, how, reach in zip(along, sigmas, orders, modes, radii, strict=True)
        if _number("sigma", width) > NO_SIGMA
    )


# Derivatives ------------------------------------------------------------------------------------------------------

Passes = tuple[_filters.Pass, ...]


def _weights(*values: int) -> np.ndarray:
    weights = np.array(values)
    weights.flags.writeable = False
    return weights


SLOPE, CURVATURE = _weights(-1, 0, 1), _weights(1, -2, 1)
SOBEL, PREWITT = _weights(1, 2, 1), _weights(1, 1, 1)


def _three_taps(axis: int, weights: np.ndarray, mode: Any, cval: Any, is_complex: bool) -> _filters.Pass:
    return _filters.Pass(axis, weights, 1, *border(mode, cval, is_complex))


@remembered
def slope_passes(ndim: int, is_complex: bool, name: str, axis: Any, mode: Any, cval: Any) -> Passes:
    """Return the passes of sobel or prewitt: the slope along one axis, then a mean along each of the others."""
    first = check_axis(axis, ndim)
    modes = per_axis("mode", mode, ndim)
    mean = {"sobel": SOBEL, "prewitt": PREWITT}[name]
    order = [first, *(other for other in range(ndim) if other != first)]
    return tuple(
        _three_taps(number, mean if number != first else SLOPE, modes[number], cval, is_complex) for number in order
    )


@remembered
def laplace_terms(ndim: int, is_complex: bool, mode: Any, cval: Any, axes: Any) -> tuple[Passes, ...]:
    """Return the second difference along each axis."""
    along = check_axes(axes, ndim)
    modes = per_axis("mode", mode, len(along))
    return tuple((_three_taps(axis, CURVATURE, how, cval, is_complex),) for axis, how in zip(along, modes, strict=True))


@remembered
def gaussian_gradient_terms(ndim: int, is_complex: bool, sigma: Any, mode: Any, *options: Any) -> tuple[Passes, ...]:
    """Return for each axis the passes of a Gaussian filter that takes the first derivative along it.

    `options` are cval, truncate, radius and axes. As in SciPy, sigma is that of all axes of the image.
    """
    return _gaussian_terms(ndim, is_complex, 1, sigma, mode, *options)


@remembered
def gaussian_laplace_terms(
    ndim: int, is_complex: bool, sigma: Any, mode: Any, cval: Any, truncate: Any, radius: Any, axes: Any
) -> tuple[Passes, ...]:
    """Return for each axis the passes of a Gaussian filter that takes the second derivative along it."""
    along = check_axes(axes, ndim)
    sigmas = per_axis("sigma", sigma, len(along))
    if len(along) < ndim:
        sigmas = [sigmas[along.index(axis)] if axis in along else 0 for axis in range(ndim)]
    return _gaussian_terms(ndim, is_complex, 2, tuple(sigmas), mode, cval, truncate, radius, along)


def _gaussian_terms(
    ndim: int,
    is_complex: bool,
    order: int,
    sigma: Any,
    mode: Any,
    cval: Any,
    truncate: Any,
    radius: Any,
    axes: Any,
) -> tuple[Passes, ...]:
    along = check_axes(axes, ndim)
    modes = per_axis("mode", mode, len(along))
    terms = []
    for axis, how in zip(along, modes, strict=True):
        # The mode given for an axis is that of the whole filter that takes the derivative along it.
        orders = tuple(order if other == axis else 0 for other in range(ndim))
        terms.append(gaussian_passes(ndim, is_complex, sigma, orders, how, cval, truncate, radius, None))
    return tuple(terms)
