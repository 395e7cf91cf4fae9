"""conv_transpose1d, conv_transpose2d and conv_transpose3d."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _problem, _transposed, core
from .._errors import ConvError, ConvTypeError
from ..drivers.lane import Lane
from ._arguments import for_all, in_torch_names, layout_of

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

# Calls made before, one lane for each function.
lanes = Lane(), Lane(), Lane()
_lane_1d, _lane_2d, _lane_3d = lanes


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    data_format: str = "NCW",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Apply the transpose of a layer's convolution to series, as a layer does that makes them larger.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, width) or (channels_in, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_in, channels_out // groups, kernel_width)
        With the channels of the input first. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int,), default 1
    padding, output_padding : int or (int,), default 0
    groups : int, default 1
    data_format : {"NCW", "NWC", "NCL", "NLC"}, default "NCW"
        Order of the axes of input and result.
    out, threads, algorithm, accuracy
        As in `conv_transpose2d`.

    Returns
    -------
    ndarray, shape (batch, channels_out, width_out)
        Without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``.

    Raises
    ------
    ConvError, ConvTypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> series = np.array([[[1.0, 10.0, 100.0]]])
    >>> fastconv.nn.conv_transpose1d(series, np.array([[[1.0, 2.0, 3.0]]]), stride=2)
    array([[[  1.,   2.,  13.,  20., 130., 200., 300.]]])
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, algorithm, accuracy)
    result: np.ndarray | None = _lane_1d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(1, input, weight, bias, options, out, threads)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    data_format: str = "NCHW",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Apply the transpose of a layer's convolution to images, as a layer does that makes them larger.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, height, width) or (channels_in, height, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_in, channels_out // groups, kernel_height, kernel_width)
        With the channels of the input first. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int, int), default 1
    padding : int or (int, int), default 0
        What `conv2d` added on each side, which is cut off here; not negative.
    output_padding : int or (int, int), default 0
        Samples added at the end, less than the larger of stride and dilation.
    groups : int, default 1
    data_format : {"NCHW", "NHWC"}, default "NCHW"
        Order of the axes of input and result.
    out : ndarray, optional
        Where to write the result; it may overlap the inputs.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape (batch, channels_out, height_out, width_out)
        With ``(n - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1`` samples along an axis of n;
        without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``.

    Raises
    ------
    ConvError
        Where torch raises RuntimeError, which it is.
    ConvTypeError
        If a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> image = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    >>> fastconv.nn.conv_transpose2d(image, np.ones((1, 1, 2, 2)), bias=[0.5])
    array([[[[   1.5,   11.5,   10.5],
             [ 101.5, 1111.5, 1010.5],
             [ 100.5, 1100.5, 1000.5]]]])
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, algorithm, accuracy)
    result: np.ndarray | None = _lane_2d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(2, input, weight, bias, options, out, threads)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    data_format: str = "NCDHW",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Apply the transpose of a layer's convolution to volumes, as a layer does that makes them larger.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, depth, height, width) or (channels_in, depth, height, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_in, channels_out // groups, kernel_depth, kernel_height, kernel_width)
        With the channels of the input first. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int, int, int), default 1
    padding, output_padding : int or (int, int, int), default 0
    groups : int, default 1
    data_format : {"NCDHW", "NDHWC"}, default "NCDHW"
        Order of the axes of input and result.
    out, threads, algorithm, accuracy
        As in `conv_transpose2d`.

    Returns
    -------
    ndarray, shape (batch, channels_out, depth_out, height_out, width_out)
        Without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``.

    Raises
    ------
    ConvError, ConvTypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> volume = np.ones((1, 4, 2, 3, 3), np.float32)
    >>> fastconv.nn.conv_transpose3d(volume, np.ones((4, 6, 2, 2, 2), np.float32), stride=2).shape
    (1, 6, 4, 6, 6)
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, algorithm, accuracy)
    result: np.ndarray | None = _lane_3d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(3, input, weight, bias, options, out, threads)


def _convolve(
    rank: int, input: Any, weight: Any, bias: Any, options: tuple[Any, ...], out: np.ndarray | None, threads: Any
) -> np.ndarray:
    """Check a call along so many spatial axes, run it, and remember it."""
    stride, padding, output_padding, groups, dilation, data_format, algorithm, accuracy = options
    x = _problem.as_array(input, "input")
    try:
        schedule, operands = _transposed.prepare(
            x,
            weight,
            bias=bias,
            layout=layout_of(data_format, x.shape, rank, "input"),
            stride=for_all(stride),
            padding=_problem.per_axis(for_all(padding), "padding", rank, 0),
            output_padding=for_all(output_padding),
            dilation=for_all(dilation),
            groups=groups,
            out=out,
            algorithm=algorithm,
            accuracy=accuracy,
        )
    except (ConvError, ConvTypeError) as error:
        raise in_torch_names(error) from error.__cause__
    result = core.execute(schedule, operands, threads)
    lanes[rank - 1].remember_transposed(input, weight, bias, options, schedule, operands)
    return result
