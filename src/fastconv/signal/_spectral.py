"""fftconvolve and oaconvolve: floating results, along some axes or all, broadcast over the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _pairs
from .._arrange import Task
from .._errors import ConvTypeError
from .._problem import check_out
from ..drivers.lane import Lane
from ._arguments import (
    MODES,
    Array,
    as_array,
    axes_of,
    check_broadcast,
    check_dimensions,
    check_kind,
    check_name,
    part_of,
    scalar_product,
    swaps,
)

_MODE_WORDS = " (acceptable mode flags are 'valid', 'same', or 'full')"

# Calls made before, of both: they are one function.
lanes = (Lane(),)


def fftconvolve(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    axes: int | Sequence[int] | None = None,
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve two N-dimensional arrays in floating point, as scipy.signal.fftconvolve does.

    Whether there is a Fourier transform in it is the library's choice, by what is faster. NaN and Inf stay where they
    belong either way, and rounding errors are relative to the samples nearby, not to the largest of all, see
    `fastconv.conv`.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions and any boolean, integer, floating or complex dtype, or objects that float() takes.
    mode : {"full", "same", "valid"}, optional
        Which part of the convolution is returned along `axes`, see `convolve`. Along an axis where one operand has a
        single sample, mode "valid" does not ask which is larger.
    axes : int or sequence of int, optional
        Convolve along these axes only, and broadcast the operands against each other along the rest. All by default.
    out : ndarray, optional
        Receives the result and is returned. Of the shape and dtype of the result; may overlap the inputs.
    threads : int, optional
        How many threads to use for this call.
    algorithm : str, optional
        What `fastconv.conv` takes.

    Returns
    -------
    ndarray
        C-contiguous unless it is `out`. Integers, bool and objects count as float64 and float16 as float32; the dtype
        is what NumPy makes of the two. Operands that meet nowhere but in single samples are multiplied in their own
        dtypes, as SciPy does. An empty operand gives ``np.array([])``, operands without dimensions give a scalar.

    Raises
    ------
    ConvError
        For a mode, shape, axes or `out` that cannot be served. It is a ValueError.
    ConvTypeError
        For a dtype that cannot be served. It is a TypeError and a ValueError.

    Notes
    -----
    In mode "same", SciPy 1.17 cuts axes over which `in1` is broadcast down to one sample. Here they are kept: the
    shapes (1, 100) and (7, 3) give (7, 100) with ``axes=1``.

    Examples
    --------
    >>> from fastconv.signal import fftconvolve
    >>> fftconvolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    >>> fftconvolve([[1, 2, 3]], [[1, 0], [0, 1]], axes=1)
    array([[1., 2., 3., 0.],
           [0., 1., 2., 3.]])
    """
    if out is None:
        result: Array | None = lanes[0].run(in1, in2, None, (mode, axes, algorithm), threads)
        if result is not None:
            return result
    return _convolve(in1, in2, mode, axes, out, threads, algorithm)


def oaconvolve(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    axes: int | Sequence[int] | None = None,
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve two N-dimensional arrays in floating point, as scipy.signal.oaconvolve does.

    The same as `fftconvolve`: the library works in tiles wherever that is faster.

    Parameters
    ----------
    in1, in2 : array_like
        See `fftconvolve`, as for all that follows.
    mode : {"full", "same", "valid"}, optional
    axes : int or sequence of int, optional
    out : ndarray, optional
    threads : int, optional
    algorithm : str, optional

    Returns
    -------
    ndarray

    Raises
    ------
    ConvError, ConvTypeError

    Examples
    --------
    >>> from fastconv.signal import oaconvolve
    >>> oaconvolve([1, 2, 3, 4, 5, 6], [1, -1], mode="valid")
    array([1., 1., 1., 1., 1.])
    """
    if out is None:
        result: Array | None = lanes[0].run(in1, in2, None, (mode, axes, algorithm), threads)
        if result is not None:
            return result
    return _convolve(in1, in2, mode, axes, out, threads, algorithm)


def _convolve(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str,
    axes: Any,
    out: Array | None,
    threads: int | None,
    algorithm: str,
) -> Array:
    x, w = as_array("in1", in1, "an array"), as_array("in2", in2, "an array")
    check_name("mode", mode, MODES, _MODE_WORDS)
    check_dimensions(x, w)
    if x.ndim == 0:
        return scalar_product(x, w, out)
    check_kind("in1", x.dtype, "O")
    check_kind("in2", w.dtype, "O")
    if not (x.size and w.size):
        return _pairs.returned(np.empty(0), check_out(out, (0,), np.dtype(float)))
    convolved = axes_of(axes, x.ndim)
    summed = [axis for axis in convolved if 1 not in (x.shape[axis], w.shape[axis])]
    check_broadcast(x.shape, w.shape, convolved)
    if mode == "valid":
        swaps([x.shape[axis] for axis in summed], [w.shape[axis] for axis in summed])
    if summed or "O" in (x.dtype.kind, w.dtype.kind):
        dtype = np.result_type(_floating(x.dtype), _floating(w.dtype)).newbyteorder("=")
    else:
        dtype = np.result_type(x, w).newbyteorder("=")
    sizes = enumerate(zip(x.shape, w.shape, strict=True))
    parts = tuple(part_of(mode, n, k) if axis in convolved else None for axis, (n, k) in sizes)
    task = Task(x.shape, w.shape, parts, dtype, algorithm=algorithm)

    def convolve(x: Array, w: Array, threads: int | None) -> Array:
        return _pairs.convolve(task, _numbers("in1", x), _numbers("in2", w), out, threads)

    result = convolve(x, w, threads)
    if out is None and "O" in (x.dtype.kind, w.dtype.kind):
        lanes[0].remember_call(x, w, (mode, axes, algorithm), convolve)
    elif out is None:
        _pairs.remember(lanes[0], task, x, w, (mode, axes, algorithm))
    return result


def _floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what SciPy's transforms make of a dtype."""
    if dtype.kind in "biuO":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _numbers(name: str, array: Array) -> Array:
    """Return Python objects as float64."""
    if array.dtype.kind != "O":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConvTypeError(f"{name}: got objects, allowed: those that float() takes ({error})") from error
