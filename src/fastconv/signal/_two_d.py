"""convolve2d and correlate2d: two axes, and what lies beyond the edges."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _pairs
from .._arrange import Task
from .._errors import ConvError
from ..drivers.lane import Lane
from ._arguments import MODES, Array, as_array, check_kind, check_name, fill_of, part_of, swaps

_BOUNDARIES = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
}

# Calls made before: of convolve2d, of correlate2d.
lanes = Lane(), Lane()


def convolve2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve two 2-D arrays, as scipy.signal.convolve2d does.

    Parameters
    ----------
    in1, in2 : array_like, 2-D
        Of any boolean, integer, floating or complex dtype; neither is changed.
    mode : {"full", "same", "valid"}, optional
        Which part of the convolution is returned:

        "full"
            Every output to which a sample of `in1` contributes: shape ``in1.shape + in2.shape - 1``.
        "same"
            As many outputs as `in1` has samples, from the middle of "full", starting at ``(K - 1) // 2``
            where ``K`` is the length of `in2` along the axis.
        "valid"
            Outputs that do not depend on the boundary. One operand must be at least as large as the other
            along both axes, and it does not matter which.
    boundary : {"fill", "wrap", "symm"}, optional
        How `in1` goes on beyond its edges, however far the kernel reaches: with `fillvalue`, periodically, or
        mirrored with the edge sample repeated. "pad", "circular" and "symmetric" are other names for them.
        Applies in mode "full" too, which is then not padded with zeros.
    fillvalue : scalar, optional
        What "fill" continues with, a value of the dtype of the result. A Python or NumPy scalar may lose its
        fraction to an integer dtype; an array (of one element) has to cast safely.
    out : ndarray, optional
        Receives the result and is returned. Of the shape and dtype of the result; may overlap the inputs.
    threads : int, optional
        How many threads to use for this call.
    algorithm : str, optional
        What `fastconv.conv` takes.

    Returns
    -------
    ndarray
        Of dtype ``np.result_type(in1, in2)`` in native byte order, C-contiguous unless it is `out`. Integers
        are exact modulo 2**n, bool is OR of ANDs and float16 is accumulated in float32.

    Raises
    ------
    ConvError
        For a mode, boundary, shape, fill value or `out` that cannot be served. It is a ValueError.
    ConvTypeError
        For a dtype that cannot be served, object for example. It is a TypeError and a ValueError.

    Notes
    -----
    An empty `in2` has no taps: "full" and "same" return zeros. An empty `in1` can be filled, but not wrapped
    or mirrored. There is no window to call valid when either is empty, so "valid" raises ConvError, where
    SciPy returns more outputs than there are samples.

    Examples
    --------
    >>> from fastconv.signal import convolve2d
    >>> convolve2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="same")
    array([[1, 1, 1],
           [4, 1, 1]])
    >>> convolve2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="same", boundary="wrap")
    array([[-2,  1,  1],
           [-2,  1,  1]])
    """
    result: Array | None = lanes[False].run(in1, in2, None, (mode, boundary, fillvalue, algorithm), threads, out)
    if result is not None:
        return result
    return _convolve(in1, in2, mode, boundary, fillvalue, out, threads, algorithm, correlate=False)


def correlate2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    out: Array | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cross-correlate two 2-D arrays, as scipy.signal.correlate2d does.

    `in2` is conjugated. The parameters, the result and the errors are those of `convolve2d`, but for two
    things. Mode "same" starts at ``K // 2`` of "full". And when mode "valid" finds `in2` to be the larger
    operand, the result still is the correlation of `in1` with `in2`: that of `in2` with `in1`, reversed and
    conjugated.

    Parameters
    ----------
    in1, in2 : array_like, 2-D
        See `convolve2d`, as for all that follows.
    mode : {"full", "same", "valid"}, optional
    boundary : {"fill", "wrap", "symm"}, optional
    fillvalue : scalar, optional
    out : ndarray, optional
    threads : int, optional
    algorithm : str, optional

    Returns
    -------
    ndarray

    Notes
    -----
    SciPy 1.17 does not conjugate correctly when "valid" swaps complex operands; this function agrees with
    scipy.signal.correlate there.

    Examples
    --------
    >>> from fastconv.signal import correlate2d
    >>> correlate2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="same")
    array([[-1, -1,  3],
           [-1, -1,  6]])
    >>> correlate2d([[1j, 2]], [[1j]])
    array([[1.+0.j, 0.-2.j]])
    """
    result: Array | None = lanes[True].run(in1, in2, None, (mode, boundary, fillvalue, algorithm), threads, out)
    if result is not None:
        return result
    return _convolve(in1, in2, mode, boundary, fillvalue, out, threads, algorithm, correlate=True)


def _convolve(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str,
    boundary: str,
    fillvalue: Any,
    out: Array | None,
    threads: int | None,
    algorithm: str,
    *,
    correlate: bool,
) -> Array:
    x, w = _operand("in1", in1), _operand("in2", in2)
    dtype = np.result_type(x, w).newbyteorder("=")
    check_name("mode", mode, MODES)
    check_name("boundary", boundary, tuple(_BOUNDARIES))
    fill = fill_of(fillvalue, dtype)
    if mode == "valid":
        _check_valid(x.shape, w.shape)
    elif not (x.size and w.size):
        shape = _shape_around_empty(x.shape, w.shape, mode, boundary)
        if w.size == 0 or 0 in shape or fill == 0:
            return _pairs.returned(np.zeros(shape, dtype), _pairs.checked(shape, dtype, algorithm, out, threads))
    # SciPy centres the two functions differently, which shows for even kernels only.
    parts = tuple(
        (k // 2, n) if correlate and mode == "same" else part_of(mode, n, k)
        for n, k in zip(x.shape, w.shape, strict=True)
    )
    beyond = mode != "valid"
    task = Task(
        x.shape,
        w.shape,
        parts,
        dtype,
        correlate,
        (_BOUNDARIES[boundary],) * 2 if beyond and _BOUNDARIES[boundary] != "constant" else (),
        fill.tobytes() if beyond and fill != 0 else b"",
        direct=dtype.char in "gG",  # as SciPy, whose sums of long doubles are always direct here
        algorithm=algorithm,
    )
    result = _pairs.convolve(task, x, w, out, threads)
    _pairs.remember(lanes[correlate], task, x, w, (mode, boundary, fillvalue, algorithm))
    return result


def _operand(name: str, value: ArrayLike) -> Array:
    array = as_array(name, value, "a 2-D array")
    check_kind(name, array.dtype)
    if array.ndim != 2:
        raise ConvError(f"{name}: got a {array.ndim}-D array, allowed: 2-D arrays")
    return array


def _check_valid(shape1: tuple[int, ...], shape2: tuple[int, ...]) -> None:
    """Refuse operands of which neither slides over the other."""
    if 0 in shape1 or 0 in shape2:
        raise ConvError(
            f"in1, in2: got shapes {shape1} and {shape2}, allowed in mode 'valid': arrays that are not empty"
        )
    swaps(shape1, shape2)


def _shape_around_empty(shape1: tuple[int, ...], shape2: tuple[int, ...], mode: str, boundary: str) -> tuple[int, ...]:
    """Return the shape of a result that an empty operand goes into, or refuse it."""
    shape = shape1 if mode == "same" else tuple(n + k - 1 for n, k in zip(shape1, shape2, strict=True))
    if min(shape) < 0:
        raise ConvError(
            f"in1, in2: got shapes {shape1} and {shape2}, allowed in mode {mode!r}: not both empty along the same axis"
        )
    if 0 not in shape2 and 0 not in shape and _BOUNDARIES[boundary] != "constant":
        raise ConvError(f"in1: got shape {shape1}, allowed with boundary {boundary!r}: no empty axis")
    return shape
