"""unfold and fold: the windows of an array as columns of a matrix, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _problem, _windows
from .._errors import ConvError
from ..drivers import threads as _threads
from ..drivers.lane import Lane

__all__ = ["fold", "unfold"]

# Calls made before.
lanes = Lane(), Lane()
_unfold_lane, _fold_lane = lanes


def unfold(
    input: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Return the windows that a kernel sees as columns of a matrix.

    Parameters
    ----------
    input : array_like, shape (batch, channels, *spatial) or (channels, *spatial)
        Of any dtype and any number of spatial axes, where torch takes two and real numbers.
    kernel_size : int or sequence of int
        One for each spatial axis. An int is for all of them: two as in torch if input has three or four axes, all
        behind batch and channels if it has more.
    dilation, stride : int or sequence of int, default 1
    padding : int or sequence, default 0
        Samples on each side, for all spatial axes or for each, or (before, after) for each; negative ones crop.
    boundary : {"constant", "edge", "symmetric", "reflect", "wrap"} or one an axis, default "constant"
        What the padding holds, by `numpy.pad`'s names; "constant" are zeros.
    out : ndarray, optional
        Where to write the result; it may overlap the input.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray, shape (batch, channels * taps, windows)
        A copy; without the batch if the input has none. Taps and windows are in C order, as in torch.

    Raises
    ------
    ConvError
        Where torch raises RuntimeError, which it is.
    ConvTypeError
        If an argument is of the wrong type.

    See Also
    --------
    fold : The adjoint.
    fastconv.im2col : The same windows with their axes apart, and without a copy where possible.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nn.unfold(np.arange(9).reshape(1, 1, 3, 3), 2)
    array([[[0, 1, 3, 4],
            [1, 2, 4, 5],
            [3, 4, 6, 7],
            [4, 5, 7, 8]]])
    """
    options = (kernel_size, dilation, padding, stride, boundary)
    if out is None:
        result: np.ndarray | None = _unfold_lane.run(input, input, None, options, threads)
        if result is not None:
            return result
    _threads.check(threads)
    x = _windows.any_array(input, "input")
    rank = len(kernel_size) if _problem.is_list(kernel_size) else max(x.ndim - 2, 2)
    if rank < 1 or x.ndim not in (rank + 1, rank + 2):
        raise ConvError(
            f"input: got {x.ndim} axes of shape {x.shape}, allowed: {rank + 2} for kernel_size {kernel_size!r}, or "
            f"{rank + 1} without a batch"
        )
    if 0 in x.shape[-rank - 1 :]:
        raise ConvError(f"input: got shape {x.shape}, allowed: at least 1 channel and 1 sample along every axis")
    axes = _windows.make_axes(
        x.shape[-rank:], kernel_size, stride=stride, dilation=dilation, padding=_in_numbers(padding), boundary=boundary
    )
    lead = x.shape[:-rank]
    frame = _windows.make_frame((1, *lead)[-2:], axes, x.dtype)
    shape = (*lead[:-1], lead[-1] * math.prod(frame.kernel), math.prod(frame.outputs))

    zero = np.zeros((), x.dtype)
    out = _problem.check_out(out, shape, x.dtype.newbyteorder("="))
    if out is not None:
        return _windows.copy_to(out, x.reshape(frame.x_shape), frame, zero, threads)
    # What is remembered knows dtypes by their number, which leaves the length of a string open.
    if x.dtype.kind in "biufc":
        gather = _windows.driver_of(frame).gather

        def columns(x: np.ndarray, _: Any, threads: int | None) -> np.ndarray:
            result = np.empty(shape, x.dtype)
            gather(x, zero, result, threads)
            return result

        _unfold_lane.remember_call(input, input, options, columns)
    result = np.empty(frame.shape, x.dtype.newbyteorder("="))
    return _windows.copy_windows(x.reshape(frame.x_shape), frame, zero, result, threads).reshape(shape)


def fold(
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Add up the columns of a matrix as overlapping windows: the adjoint of `unfold`.

    Parameters
    ----------
    input : array_like, shape (batch, channels * taps, windows) or (channels * taps, windows)
        As `unfold` returns them; of any dtype that can be added.
    output_size : int or sequence of int
        Spatial axes of the result. The length of this or of kernel_size is their number, which is 2 if both are ints,
        as in torch.
    kernel_size : int or sequence of int
        One for each spatial axis, or one for all.
    dilation, padding, stride, boundary
        As in `unfold`. What windows hold of the padding goes to the sample that the boundary shows there, or nowhere
        if that is "constant".
    out : ndarray, optional
        Where to write the result; it may overlap the input.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray, shape (batch, channels, *output_size)
        Without the batch if the input has none. Integers are exact modulo 2^n, bool is OR, and types of two bytes are
        summed in float32.

    Raises
    ------
    ConvError
        Where torch raises RuntimeError, which it is.
    ConvTypeError
        If an argument is of the wrong type, or the dtype has no sum.

    See Also
    --------
    unfold : The adjoint.
    fastconv.col2im : The same from windows with their axes apart.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> columns = fastconv.nn.unfold(np.ones((1, 1, 3, 3)), 2)
    >>> fastconv.nn.fold(columns, (3, 3), 2)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    options = (output_size, kernel_size, dilation, padding, stride, boundary)
    if out is None:
        result: np.ndarray | None = _fold_lane.run(input, input, None, options, threads)
        if result is not None:
            return result
    _threads.check(threads)
    x = _windows.summable(_windows.any_array(input, "input"), "input")
    if x.ndim not in (2, 3):
        raise ConvError(f"input: got {x.ndim} axes of shape {x.shape}, allowed: 3, or 2 without a batch")
    rank = next((len(sizes) for sizes in (output_size, kernel_size) if _problem.is_list(sizes)), 2)
    if rank < 1:
        raise ConvError(f"output_size: got {output_size!r}, allowed: at least one axis")
    axes = _windows.make_axes(
        _problem.per_axis(output_size, "output_size", rank, 1),
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding=_in_numbers(padding),
        boundary=boundary,
    )
    taps, outputs = math.prod(axis.k for axis in axes), math.prod(axis.out for axis in axes)
    if x.shape[-2] % taps or not x.shape[-2]:
        raise ConvError(f"input: got {x.shape[-2]} rows in shape {x.shape}, allowed: multiples of the {taps} taps")
    if x.shape[-1] != outputs:
        raise ConvError(
            f"input: got {x.shape[-1]} columns in shape {x.shape}, allowed: the {outputs} windows of output_size "
            f"{output_size!r}"
        )
    lead = (*x.shape[:-2], x.shape[-2] // taps)
    frame = _windows.make_frame((1, *lead)[-2:], axes, x.dtype)
    shape = (*lead, *(axis.n for axis in axes))

    out = _problem.check_out(out, shape, x.dtype.newbyteorder("="))
    if out is None and x.dtype.char in _windows.DRIVEN:
        scatter = _windows.driver_of(frame).scatter

        def images(x: np.ndarray, _: Any, threads: int | None) -> np.ndarray:
            sums = np.zeros(shape, x.dtype)
            scatter(x if x.flags.carray else np.require(x, None, ["C", "A"]), sums, threads)
            return sums

        _fold_lane.remember_call(input, input, options, images)
    sums = _windows.sum_windows(x.reshape(frame.shape), frame, threads).reshape(shape)
    if out is None:
        return sums
    out[...] = sums
    return out


def _in_numbers(padding: Any) -> Any:
    if isinstance(padding, str):
        raise ConvError(f"padding: got {padding!r}, allowed: one int, or one int or (before, after) for each axis")
    return padding
