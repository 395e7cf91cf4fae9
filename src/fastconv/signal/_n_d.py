"""convolve and correlate in any number of dimensions, and what is said about them."""

from __future__ import annotations

import operator
import timeit
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _pairs
from .._arrange import Task
from .._errors import ConvError, ConvTypeError
from .._problem import check_out
from ..drivers import levels
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
    fill_of,
    part_of,
    scalar_product,
    swaps,
)

_METHODS = ("auto", "direct", "fft")
_METHOD_WORDS = " (Acceptable method flags are 'auto', 'direct', or 'fft'.)"
_MODE_WORDS = " (Acceptable mode flags are 'valid', 'same', or 'full'.)"

# SciPy's names as in convolve2d, and the core's.
_BOUNDARIES = {
    "fill": "constant",
    "pad": "constant",
    "constant": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
    "reflect": "reflect",
    "edge": "edge",
}

# Calls made before: of convolve, of correlate.
lanes = Lane(), Lane()


def convolve(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    method: str = "auto",
    *,
    axes: int | Sequence[int] | None = None,
    boundary: str | Sequence[str] = "fill",
    fillvalue: Any = 0,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve two N-dimensional arrays, as scipy.signal.convolve does.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions and any boolean, integer, floating or complex dtype; neither is changed. In one
        dimension they may hold Python objects too.
    mode : {"full", "same", "valid"}, optional
        Which part of the convolution is returned:

        "full"
            Every output to which a sample contributes: along each axis ``n + k - 1`` for operands of n and k samples.
        "same"
            As many outputs as `in1` has samples, from the middle of "full", starting at ``(k - 1) // 2``.
        "valid"
            Outputs for which the operands overlap completely. One must be at least as large as the other along every
            axis, and it does not matter which.
    method : {"auto", "direct", "fft"}, optional
        "direct" sums products. "auto" and "fft" leave the choice of an algorithm to the library: the result has the
        same dtype, integers are exact, and NaN and Inf stay where they belong with each of them.
    axes : int or sequence of int, optional
        Convolve along these axes only, and broadcast the operands against each other along the rest. All by default.
    boundary : str or sequence of str, optional
        How `in1` goes on beyond its edges: "fill" with `fillvalue`, "wrap" periodically, "symm" mirrored with the edge
        sample repeated, "reflect" mirrored without, "edge" with its last sample. One, or one for each of `axes`. "pad"
        and "constant", "circular", and "symmetric" are other names. Has no part in mode "valid".
    fillvalue : scalar, optional
        What "fill" continues with, a value of the dtype of the result, see `convolve2d`.
    out : ndarray, optional
        Receives the result and is returned. Of the shape and dtype of the result; may overlap the inputs.
    threads : int, optional
        How many threads to use for this call.
    algorithm : str, optional
        What `fastconv.conv` takes. Anything but "auto" goes before `method`.

    Returns
    -------
    ndarray
        Of dtype ``np.result_type(in1, in2)`` in native byte order, C-contiguous unless it is `out`. Integers are exact
        modulo 2**n, bool is OR of ANDs and float16 is accumulated in float32. Operands without dimensions give a
        scalar.

    Raises
    ------
    ConvError
        For a mode, method, shape, axes, boundary, fill value or `out` that cannot be served. It is a ValueError.
    ConvTypeError
        For a dtype that cannot be served, object in two or more dimensions for example. It is a TypeError and a
        ValueError.

    Notes
    -----
    Where SciPy's answers depend on the size of the operands, because it changes to the FFT at some size, these are
    SciPy's direct ones, within the rounding errors that `fastconv.conv` states. An empty `in1` has an empty result in
    mode "same", and in two or more dimensions in mode "full" too if the shape of the result has a zero in it; every
    other empty operand is refused.

    Examples
    --------
    >>> from fastconv.signal import convolve
    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    >>> convolve([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="same", axes=1, boundary="wrap")
    array([[-2,  1,  1],
           [-2,  1,  1]])
    """
    options = (mode, method, axes, boundary, fillvalue, algorithm)
    result: Array | None = lanes[False].run(in1, in2, None, options, threads, out)
    if result is not None:
        return result
    return _convolve(in1, in2, options, out, threads, correlate=False)


def correlate(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    method: str = "auto",
    *,
    axes: int | Sequence[int] | None = None,
    boundary: str | Sequence[str] = "fill",
    fillvalue: Any = 0,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cross-correlate two N-dimensional arrays, as scipy.signal.correlate does.

    `in2` is conjugated. The parameters, the result and the errors are those of `convolve`. Output ``t`` of mode "full"
    belongs to the lag ``t - (k - 1)``, see `correlation_lags`. When mode "valid" finds `in2` to be the larger operand,
    the result still is the correlation of `in1` with `in2`: that of `in2` with `in1`, reversed and conjugated.

    Parameters
    ----------
    in1, in2 : array_like
        See `convolve`, as for all that follows.
    mode : {"full", "same", "valid"}, optional
        "same" starts at ``(k - 1) // 2`` of "full", one sample before `correlate2d` if k is even.
    method : {"auto", "direct", "fft"}, optional
    axes : int or sequence of int, optional
    boundary : str or sequence of str, optional
    fillvalue : scalar, optional
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
    >>> from fastconv.signal import correlate
    >>> correlate([1, 2, 3], [0, 1, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    >>> correlate([1j, 2], [1j])
    array([1.+0.j, 0.-2.j])
    """
    options = (mode, method, axes, boundary, fillvalue, algorithm)
    result: Array | None = lanes[True].run(in1, in2, None, options, threads, out)
    if result is not None:
        return result
    return _convolve(in1, in2, options, out, threads, correlate=True)


def choose_conv_method(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", measure: bool = False
) -> str | tuple[str, dict[str, float]]:
    """Say how `convolve` would go about two arrays, as scipy.signal.choose_conv_method does.

    Parameters
    ----------
    in1, in2 : array_like
        What would be convolved.
    mode : {"full", "same", "valid"}, optional
    measure : bool, optional
        Time both methods instead.

    Returns
    -------
    method : {"direct", "fft"}
        "fft" if ``convolve(in1, in2, mode)`` transforms, "direct" if it sums products; or whichever was faster.
    times : dict of str to float
        Seconds that each of the methods took. Only with ``measure=True``.

    Raises
    ------
    ConvError, ConvTypeError
        As `convolve`.

    Examples
    --------
    >>> from fastconv.signal import choose_conv_method
    >>> choose_conv_method([1.0, 2.0, 3.0], [1.0, 2.0])
    'direct'
    >>> method, times = choose_conv_method([1.0, 2.0, 3.0], [1.0, 2.0], measure=True)
    >>> sorted(times)
    ['direct', 'fft']
    """
    x, w = as_array("in1", in1, "an array"), as_array("in2", in2, "an array")
    if measure:
        times = {method: _seconds(x, w, mode, method) for method in ("fft", "direct")}
        return ("fft" if times["fft"] < times["direct"] else "direct"), times
    check_name("mode", mode, MODES, _MODE_WORDS)
    check_dimensions(x, w)
    if x.ndim == 0 or not (x.size and w.size) or any(a.dtype.kind not in "biufc" for a in (x, w)):
        return "direct"
    dtype = np.result_type(x, w).newbyteorder("=")
    axes = tuple(range(x.ndim))
    task = Task(x.shape, w.shape, _parts(mode, x.shape, w.shape, axes), dtype)
    schedule = _pairs.recipe(task, levels.current()).schedule
    return "fft" if schedule is not None and schedule.algorithm == "fft" else "direct"


def correlation_lags(in1_len: int, in2_len: int, mode: str = "full") -> Array:
    """Return the lag that each sample of a cross-correlation in one dimension belongs to.

    Parameters
    ----------
    in1_len, in2_len : int
        How many samples the operands of `correlate` have.
    mode : {"full", "same", "valid"}, optional
        That of `correlate`.

    Returns
    -------
    ndarray of int, 1-D
        As long as ``correlate(in1, in2, mode)``. ``lags[np.argmax(...)]`` is by how many samples `in2` has to be
        delayed to resemble `in1` the most.

    Raises
    ------
    ConvError
        For an unknown mode or a negative length. It is a ValueError.
    ConvTypeError
        For a length that is no integer. It is a TypeError and a ValueError.

    Notes
    -----
    In mode "same", scipy.signal.correlation_lags is one too high for an odd `in1_len` and an even `in2_len`. These are
    the lags of what `correlate` returns.

    Examples
    --------
    >>> from fastconv.signal import correlate, correlation_lags
    >>> correlation_lags(4, 2)
    array([-1,  0,  1,  2,  3])
    >>> correlation_lags(4, 2)[correlate([0, 0, 1, 0], [1, 0]).argmax()]
    np.int64(2)
    """
    n, k = _length("in1_len", in1_len), _length("in2_len", in2_len)
    check_name("mode", mode, MODES, f" (Mode {mode} is invalid)")
    if mode == "valid":
        return np.arange(min(n - k, 0), max(n - k, 0) + 1)
    first = part_of(mode, n, k)[0] - (k - 1)
    return np.arange(first, first + n) if mode == "same" else np.arange(first, n)


def _length(name: str, value: Any) -> int:
    try:
        length = operator.index(value)
    except TypeError as error:
        raise ConvTypeError(f"{name}: got {value!r}, allowed: integers >= 0") from error
    if length < 0:
        raise ConvError(f"{name}: got {length}, allowed: integers >= 0")
    return length


def _seconds(x: Array, w: Array, mode: str, method: str) -> float:
    """Return how long a call takes, from as many as take a few milliseconds."""
    timer = timeit.Timer(lambda: convolve(x, w, mode, method))
    first = timer.timeit(1)
    if first > 1:
        return first
    number = max(1, int(5e-3 / max(timer.timeit(1), 1e-7)))
    return min(timer.repeat(3, number)) / number


def _convolve(
    in1: ArrayLike,
    in2: ArrayLike,
    options: tuple[Any, ...],
    out: Array | None,
    threads: int | None,
    *,
    correlate: bool,
) -> Array:
    mode, method, axes, boundary, fillvalue, algorithm = options
    x, w = as_array("in1", in1, "an array"), as_array("in2", in2, "an array")
    check_name("mode", mode, MODES, _MODE_WORDS)
    check_name("method", method, _METHODS, _METHOD_WORDS)
    check_dimensions(x, w)
    if x.ndim == 0:
        return scalar_product(x, np.conjugate(w) if correlate and w.dtype.kind == "c" else w, out)
    axes = axes_of(axes, x.ndim)
    names = _boundaries(boundary, axes, x.ndim)
    if "O" in (x.dtype.kind, w.dtype.kind):
        return _objects(x, w, mode, out, correlate, plain=names == () and fillvalue in (0, None))
    check_kind("in1", x.dtype)
    check_kind("in2", w.dtype)
    dtype = np.result_type(x, w).newbyteorder("=")
    fill = fill_of(fillvalue, dtype)
    check_broadcast(x.shape, w.shape, axes)
    if not (x.size and w.size):
        shape = _shape_around_empty(x.shape, w.shape, mode, axes)
        return _pairs.returned(np.zeros(shape, dtype), _pairs.checked(shape, dtype, algorithm, out, threads))
    parts = _parts(mode, x.shape, w.shape, axes)
    beyond = mode != "valid"
    task = Task(
        x.shape,
        w.shape,
        parts,
        dtype,
        correlate,
        names if beyond else (),
        fill.tobytes() if beyond and fill != 0 else b"",
        method == "direct",
        algorithm,
    )
    result = _pairs.convolve(task, x, w, out, threads)
    _pairs.remember(lanes[correlate], task, x, w, options)
    return result


def _objects(x: Array, w: Array, mode: str, out: Array | None, correlate: bool, *, plain: bool) -> Array:
    """Convolve Python objects, in one dimension, by NumPy's own loop."""
    if x.ndim != 1 or not plain:
        which = "in1" if x.dtype.kind == "O" else "in2"
        raise ConvTypeError(
            f"{which}: got dtype object in {x.ndim} dimensions, allowed: boolean, integer, floating and complex "
            "dtypes, and object in one dimension with zeros beyond the edges (Unsupported type)"
        )
    if not (x.size and w.size):
        shape = _shape_around_empty(x.shape, w.shape, mode, (0,))
        return _pairs.returned(np.empty(shape, object), check_out(out, shape, np.dtype(object)))
    task = Task(x.shape, w.shape, _parts(mode, x.shape, w.shape, (0,)), np.dtype(object), correlate)
    out = check_out(out, task.shape, task.dtype)
    return _pairs.returned(_pairs.by_numpy(task, x, w), out)


def _boundaries(boundary: Any, axes: tuple[int, ...], rank: int) -> tuple[str, ...]:
    """Return the core's boundary for each of an array's axes, or nothing if it is "constant" for all."""
    given = [boundary] * len(axes) if isinstance(boundary, str) or not isinstance(boundary, Sequence) else boundary
    if len(given) != len(axes):
        raise ConvError(f"boundary: got {boundary!r}, allowed: one name, or one for each of {len(axes)} axes")
    names = ["constant"] * rank
    for axis, name in zip(axes, given, strict=True):
        check_name("boundary", name, tuple(_BOUNDARIES))
        names[axis] = _BOUNDARIES[name]
    return tuple(names) if set(names) != {"constant"} else ()


def _parts(
    mode: str, shape1: tuple[int, ...], shape2: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[tuple[int, int] | None, ...]:
    """Return what a mode returns along each axis, None along those that are not convolved."""
    if mode == "valid":
        swaps([shape1[axis] for axis in axes], [shape2[axis] for axis in axes])
    sizes = enumerate(zip(shape1, shape2, strict=True))
    return tuple(part_of(mode, n, k) if axis in axes else None for axis, (n, k) in sizes)


def _shape_around_empty(
    shape1: tuple[int, ...], shape2: tuple[int, ...], mode: str, axes: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape of an empty result, or refuse an empty operand that gives another."""
    sizes = enumerate(zip(shape1, shape2, strict=True))
    shape = tuple(
        (n if mode == "same" else n + k - 1) if axis in axes else (0 if 0 in (n, k) else max(n, k))
        for axis, (n, k) in sizes
    )
    kernel_empty = any(shape2[axis] == 0 for axis in axes)
    alone = mode == "full" and len(shape) == 1
    if mode == "valid" or kernel_empty or alone or 0 not in shape:
        name, got = ("in2", shape2) if 0 in shape2 else ("in1", shape1)
        raise ConvError(f"{name}: got shape {got}, allowed in mode {mode!r}: arrays that are not empty")
    return shape
