"""What scipy.ndimage's functions do to an image, from their options: kernels over it, passes and boxes along its axes.

All this is remembered, because it takes longer to work out than a small image to filter.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from . import _filters, _tunables
from ._errors import ConvError, ConvTypeError
from ._ndimage_args import (
    ConvIndexError,
    ConvRangeError,
    as_integer,
    as_number,
    border,
    check_axes,
    check_axis,
    per_axis,
    remembered,
    tap_over_sample,
)

# A Gaussian as narrow as this is one tap, which gaussian_filter leaves out.
NO_SIGMA = 1e-15

# With a result in float32 or complex64, images of these types are computed in it.
SINGLE = frozenset("?bBhHefF")


class Passes(tuple[_filters.Pass, ...]):
    """Passes along axes, whose weights are symmetric or antisymmetric about a middle tap."""

    @functools.cached_property
    def single(self) -> Passes:
        """The same with weights in float32, whose sum is as near to that of the float64 ones as they are themselves.

        Weights that are rounded one by one have a sum that is not, and it is the sum that the brightness of an image
        is multiplied by: all its pixels would be off in the same direction.
        """
        return Passes(step._replace(weights=_rounded_with_sum(step.weights)) for step in self)


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


# Kernels --------------------------------------------------------------------------------------------------------------


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
        full[axis], lo[axis] = taps, tap_over_sample("origin", shift, taps, flip)
    # One sample without axes is filtered as an axis of one.
    return Geometry(tuple(full) or (1,), tuple(lo) or (0,), (boundary,) * max(ndim, 1), fill_value)


@remembered
def line_geometry(
    ndim: int, is_complex: bool, axis: Any, mode: Any, cval: Any, origin: Any, flip: bool, *shape: int
) -> Line:
    """Return how weights of that shape lie along an axis of an image of `ndim` axes."""
    if len(shape) != 1 or shape[0] < 1:
        raise ConvIndexError(f"weights: got shape {shape}, allowed: one axis with taps (no filter weights given)")
    lo = tap_over_sample("origin", origin, shape[0], flip)
    return Line(check_axis(axis, ndim), lo, *border(mode, cval, is_complex))


# Boxes ------------------------------------------------------------------------------------------------------------


@remembered
def box_of_axis(
    ndim: int, is_complex: bool, size: Any, axis: Any, mode: Any, cval: Any, origin: Any
) -> tuple[_filters.Box]:
    """Return the box of uniform_filter1d."""
    taps = as_integer("size", size)
    if taps < 1:
        raise ConvError(f"size: got {size}, allowed: integers from 1 (incorrect filter size)")
    return (_box(check_axis(axis, ndim), taps, origin, border(mode, cval, is_complex)),)


@remembered
def boxes(
    ndim: int, is_complex: bool, size: Any, mode: Any, cval: Any, origin: Any, axes: Any
) -> tuple[_filters.Box, ...]:
    """Return the boxes of uniform_filter; there is none along an axis where it would hold one sample."""
    along = check_axes(axes, ndim)
    named = ("size", size), ("origin", origin), ("mode", mode)
    sizes, origins, modes = (per_axis(name, value, len(along)) for name, value in named)
    return tuple(
        _box(axis, _whole(taps), shift, border(how, cval, is_complex))
        for axis, taps, shift, how in zip(along, sizes, origins, modes, strict=True)
        if as_number("size", taps) > 1
    )


def _whole(size: Any) -> int:
    if not math.isfinite(size):
        raise ConvRangeError(f"size: got {size}, allowed: finite numbers")
    return int(size)


def _box(axis: int, taps: int, origin: Any, border_: tuple[str, Any]) -> _filters.Box:
    if taps > _tunables.AXIS_LIMIT:
        raise ConvError(f"size: got {taps}, allowed: integers up to {_tunables.AXIS_LIMIT}")
    return _filters.Box(axis, taps, tap_over_sample("origin", origin, taps, False), *border_)


# Gaussians --------------------------------------------------------------------------------------------------------

# The time grows with the square of it, and doubles hold no such derivative in any case.
MOST_ORDER = 1000


@remembered
def gaussian_weights(sigma: float, order: int, radius: int) -> np.ndarray:
    """Return samples of a Gaussian of sum 1, or of its derivative, in the order in which a correlation takes them."""
    variance = sigma * sigma
    if variance < sys.float_info.min:
        raise ConvRangeError(f"sigma: got {sigma}, allowed: numbers whose square is not below {sys.float_info.min}")
    steepness = 1 / -variance
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / variance * x**2)
    weights = weights / weights.sum()
    if order:
        # The derivative of a polynomial times the Gaussian is (p' + steepness x p) times the Gaussian.
        factors = [1.0]
        for _ in range(order):
            slope = [*(power * factor for power, factor in enumerate(factors) if power), 0.0, 0.0]
            falling = [0.0, *(steepness * factor for factor in factors)]
            factors = [a + b for a, b in zip(slope, falling, strict=True)]
        weights = np.vander(x.astype(np.float64), order + 1, increasing=True).dot(np.array(factors)) * weights
    return _frozen(np.ascontiguousarray(weights[::-1]))


def _frozen(weights: np.ndarray) -> np.ndarray:
    weights.flags.writeable = False
    return weights


def _rounded_with_sum(weights: np.ndarray) -> np.ndarray:
    """Return symmetric or antisymmetric weights in float32; what one loses in rounding the next one out gets."""
    middle = len(weights) // 2
    outwards, lost = [np.float32(weights[middle])], 0.5 * (weights[middle] - np.float32(weights[middle]))
    for weight in weights[middle + 1 :]:
        outwards.append(np.float32(weight + lost))
        lost += weight - outwards[-1]
    sign = -1 if weights[0] == -weights[-1] else 1
    return _frozen(np.array([*(sign * weight for weight in outwards[:0:-1]), *outwards], np.float32))


@remembered
def gaussian_pass_of_axis(
    ndim: int, is_complex: bool, sigma: Any, axis: Any, order: Any, mode: Any, cval: Any, truncate: Any, radius: Any
) -> Passes:
    """Return the pass of gaussian_filter1d."""
    weights = _gaussian(sigma, order, truncate, radius)
    return Passes([_gaussian_pass(check_axis(axis, ndim), weights, border(mode, cval, is_complex))])


def _gaussian_pass(axis: int, weights: np.ndarray, border_: tuple[str, Any]) -> _filters.Pass:
    return _filters.Pass(axis, weights, len(weights) // 2, *border_)


def _gaussian(sigma: Any, order: Any, truncate: Any, radius: Any) -> np.ndarray:
    """Check what the user gave for a Gaussian and return its weights."""
    width = as_number("sigma", sigma)
    reach = as_number("truncate", truncate) * width + 0.5
    if not math.isfinite(reach):
        raise ConvRangeError(f"sigma, truncate: got {sigma} and {truncate}, allowed: numbers of a finite product")
    taps = int(reach) if radius is None else _radius(radius)
    if not 0 <= taps <= _tunables.AXIS_LIMIT:
        raise ConvError(
            f"radius: got {taps}, from sigma {sigma} and truncate {truncate} unless given, allowed: integers from 0 "
            f"to {_tunables.AXIS_LIMIT} (Radius must be a nonnegative integer.)"
        )
    # SciPy takes a zero of any type for an order, and integers else.
    derivative = 0 if as_number("order", order) == 0 else as_integer("order", order)
    if not 0 <= derivative <= MOST_ORDER:
        raise ConvError(f"order: got {order}, allowed: integers from 0 to {MOST_ORDER} (order must be non-negative)")
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
) -> Passes:
    """Return the passes of gaussian_filter; there is none along an axis where the Gaussian is one tap."""
    along = check_axes(axes, ndim)
    named = ("sigma", sigma), ("order", order), ("mode", mode), ("radius", radius)
    sigmas, orders, modes, radii = (per_axis(name, value, len(along)) for name, value in named)
    return Passes(
        _gaussian_pass(axis, _gaussian(width, derivative, truncate, reach), border(how, cval, is_complex))
        for axis, width, derivative, how, reach in zip(along, sigmas, orders, modes, radii, strict=True)
        if as_number("sigma", width) > NO_SIGMA
    )


# Derivatives ------------------------------------------------------------------------------------------------------

SLOPE, CURVATURE = _frozen(np.array([-1, 0, 1])), _frozen(np.array([1, -2, 1]))
SOBEL, PREWITT = _frozen(np.array([1, 2, 1])), _frozen(np.array([1, 1, 1]))


def _three_taps(axis: int, weights: np.ndarray, mode: Any, cval: Any, is_complex: bool) -> _filters.Pass:
    return _filters.Pass(axis, weights, 1, *border(mode, cval, is_complex))


@remembered
def slope_passes(ndim: int, is_complex: bool, name: str, axis: Any, mode: Any, cval: Any) -> Passes:
    """Return the passes of sobel or prewitt: the slope along one axis, then a mean along each of the others."""
    first = check_axis(axis, ndim)
    modes = per_axis("mode", mode, ndim)
    mean = {"sobel": SOBEL, "prewitt": PREWITT}[name]
    order = [first, *(other for other in range(ndim) if other != first)]
    return Passes(
        _three_taps(number, mean if number != first else SLOPE, modes[number], cval, is_complex) for number in order
    )


@remembered
def laplace_terms(ndim: int, is_complex: bool, mode: Any, cval: Any, axes: Any) -> tuple[Passes, ...]:
    """Return the second difference along each axis."""
    along = check_axes(axes, ndim)
    modes = per_axis("mode", mode, len(along))
    return tuple(
        Passes([_three_taps(axis, CURVATURE, how, cval, is_complex)]) for axis, how in zip(along, modes, strict=True)
    )


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
