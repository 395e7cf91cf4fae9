"""numpy.convolve and numpy.correlate: NumPy's signatures, defaults and rules, computed by `fastconv.conv`."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _pairs
from ._arrange import Task
from ._errors import ConvError, ConvTypeError
from ._problem import check_out
from .drivers.lane import Lane

__all__ = ["convolve", "correlate"]

Array = NDArray[Any]

# At the places of the integers that NumPy takes for them.
_MODES = ("valid", "same", "full")

# Calls made before: of convolve, of correlate.
_lanes = Lane(), Lane()
_convolve_lane, _correlate_lane = _lanes


def convolve(
    a: ArrayLike,
    v: ArrayLike,
    mode: str | int = "full",
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve two one-dimensional sequences, as numpy.convolve does.

    Parameters
    ----------
    a, v : array_like, 1-D or 0-D
        Of N and M samples of any dtype; neither is changed. It does not matter which is the longer one.
    mode : {"full", "same", "valid"}, optional
        Which part of the convolution is returned: all ``N + M - 1`` samples; as many as the longer operand has, from
        the middle; or those for which the operands overlap completely, ``max(N, M) - min(N, M) + 1``. NumPy's numbers
        2, 1 and 0 are other names.
    out : ndarray, optional
        Receives the result and is returned. Of the shape and dtype of the result; may overlap the inputs.
    threads : int, optional
        How many threads to use for this call.
    algorithm : str, optional
        What `fastconv.conv` takes.

    Returns
    -------
    ndarray, 1-D
        Of dtype ``np.result_type(a, v)``. Integers are exact modulo 2**n, bool is OR of ANDs, float16 is accumulated
        in float32, and Python objects are multiplied and added by NumPy's own loop.

    Raises
    ------
    ConvError
        For a mode or shape that cannot be served; where NumPy raises ValueError, which it is.
    ConvTypeError
        For a mode or dtype of the wrong type. It is a TypeError and a ValueError.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    >>> fastconv.convolve([1, 2, 3], [0, 1, 0.5], "same")
    array([1. , 2.5, 4. ])
    """
    if out is None:
        result: Array | None = _convolve_lane.run(a, v, None, (mode, algorithm), threads)
        if result is not None:
            return result
    x, w = _convolve_operand("a", a), _convolve_operand("v", v)
    return _apply("convolve", (a, v), (x, w), (mode, algorithm), out, threads)


def correlate(
    a: ArrayLike,
    v: ArrayLike,
    mode: str | int = "valid",
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cross-correlate two one-dimensional sequences, as numpy.correlate does.

    `v` is conjugated: output ``c[k]`` is the sum of ``a[n + k] * conj(v[n])``. Where `v` is the longer operand, the
    result is that of ``correlate(v, a)``, reversed and conjugated.

    Parameters
    ----------
    a, v : array_like, 1-D
        See `convolve`, as for all that follows. Not scalars.
    mode : {"valid", "same", "full"}, optional
        As for `convolve`, but "valid" by default.
    out : ndarray, optional
    threads : int, optional
    algorithm : str, optional

    Returns
    -------
    ndarray, 1-D
        A subclass if an operand is one, as NumPy makes it.

    Raises
    ------
    ConvError, ConvTypeError

    Examples
    --------
    >>> import fastconv
    >>> fastconv.correlate([1, 2, 3], [0, 1, 0.5])
    array([3.5])
    >>> fastconv.correlate([1j, 2], [1j], "full")
    array([1.+0.j, 0.-2.j])
    """
    if out is None:
        result: Array | None = _correlate_lane.run(a, v, None, (mode, algorithm), threads)
        if result is not None:
            return result
    x, w = _as_array("a", a), _as_array("v", v)
    for name, array, which in (("a", x, "first"), ("v", w, "second")):
        if array.ndim == 0:
            raise ConvError(f"{name}: got a scalar, allowed: 1-D arrays (object of too small depth for desired array)")
        _check_depth(name, array)
        if array.size == 0:
            raise ConvError(f"{name}: got no samples, allowed: at least 1 ({which} array argument cannot be empty)")
    return _apply("correlate", (a, v), (x, w), (mode, algorithm), out, threads)


def _as_array(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ConvError(f"{name}: got a sequence that makes no array ({error}), allowed: 1-D arrays") from error


def _check_depth(name: str, array: Array) -> None:
    if array.ndim > 1:
        raise ConvError(
            f"{name}: got {array.ndim} axes of shape {array.shape}, allowed: 1-D arrays "
            "(object too deep for desired array)"
        )


def _convolve_operand(name: str, value: ArrayLike) -> Array:
    array = _as_array(name, value)
    if array.ndim and len(array) == 0:
        raise ConvError(f"{name}: got no samples, allowed: at least 1 ({name} cannot be empty)")
    _check_depth(name, array)
    return array.reshape(1) if array.ndim == 0 else array


def _apply(
    function: str,
    given: tuple[ArrayLike, ArrayLike],
    arrays: tuple[Array, Array],
    options: tuple[Any, Any],
    out: Array | None,
    threads: int | None,
) -> Array:
    mode, algorithm = _mode_name(options[0]), options[1]
    x, w = arrays
    correlates = function == "correlate"
    part = _part(mode, x.size, w.size, correlates)
    for name, array in (("a", x), ("v", w)):
        if array.dtype.kind in "SU":
            raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: numbers and objects")
    numbers = x.dtype.kind in "biufc" and w.dtype.kind in "biufc"
    # What a subclass wants to become of itself, NumPy asks it.
    subclass = correlates and any(isinstance(g, np.ndarray) and type(g) is not np.ndarray for g in given)
    if not numbers or subclass:
        by_numpy = _pairs.NUMPYS[function]
        result: Array = by_numpy(*given, mode)
        if out is not None:
            return _pairs.returned(result, check_out(out, result.shape, result.dtype))
        if not subclass and x.dtype.kind in "biufcO" and w.dtype.kind in "biufcO":
            _lanes[correlates].remember_call(x, w, options, lambda x, w, threads: by_numpy(x, w, mode))
        return result
    dtype = np.result_type(x, w).newbyteorder("=")
    # Of long doubles NumPy's users get NumPy's own sums.
    long = dtype.char in "gG"
    task = Task(x.shape, w.shape, (part,), dtype, correlates, direct=long, algorithm=algorithm)
    result = _pairs.convolve(task, x, w, out, threads)
    if out is None:
        _pairs.remember(_lanes[correlates], task, x, w, options)
    return result


def _mode_name(mode: Any) -> str:
    allowed = "'full', 'same', 'valid', 2, 1, 0 (mode must be one of 'valid', 'same', or 'full')"
    if isinstance(mode, str):
        if mode not in _MODES:
            raise ConvError(f"mode: got {mode!r}, allowed: {allowed}")
        return mode
    try:
        if isinstance(mode, bool | np.bool_):
            raise TypeError
        number = operator.index(mode)
    except TypeError as error:
        raise ConvTypeError(
            f"mode: got {mode!r}, allowed: {allowed} (convolve/correlate mode not understood)"
        ) from error
    if not 0 <= number <= 2:
        raise ConvError(f"mode: got {mode!r}, allowed: {allowed} (integer convolve/correlate mode must be 0, 1, or 2)")
    return _MODES[number]


def _part(mode: str, n: int, k: int, correlates: bool) -> tuple[int, int]:
    """Return the start and the length of what a mode returns, in the full result."""
    less, more = min(n, k), max(n, k)
    if mode == "full":
        return 0, n + k - 1
    if mode == "valid":
        return less - 1, more - less + 1
    # A correlation of swapped operands is turned round, and an even kernel then leans to the other side.
    return (less // 2 if correlates and n < k else (less - 1) // 2), more
