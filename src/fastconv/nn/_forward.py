"""conv1d, conv2d and conv3d: three signatures, one way to the core."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _problem, core
from .._errors import ConvError, ConvTypeError
from ..drivers.lane import Lane
from ._arguments import for_all, in_torch_names, layout_of

__all__ = ["conv1d", "conv2d", "conv3d"]

# Calls made before, one lane for each function. The functions ask theirs themselves: a step in between would be a
# noticeable part of a small call.
lanes = Lane(), Lane(), Lane()
_lane_1d, _lane_2d, _lane_3d = lanes


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCW",
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Convolve series of several channels with a bank of kernels, as a network layer does.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, width) or (channels_in, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_width)
        Used as it is, not reversed: a cross-correlation. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int,), default 1
    padding : int, (int,), ((int, int),) or str, default 0
        As in `conv2d`; ``((before, after),)`` is two numbers, a causal layer's for instance.
    groups : int, default 1
        ``groups = channels_in`` is a depthwise convolution.
    data_format : {"NCW", "NWC", "NCL", "NLC"}, default "NCW"
        Order of the axes of input and result; L is another letter for W.
    boundary : {"constant", "edge", "symmetric", "reflect", "wrap"}, default "constant"
    out, threads, algorithm, accuracy
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (batch, channels_out, width_out)
        Without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``.

    Raises
    ------
    ConvError, ConvTypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> series = np.arange(6.0).reshape(1, 1, 6)
    >>> fastconv.nn.conv1d(series, np.ones((1, 1, 3)), padding=((2, 0),))
    array([[[ 0.,  1.,  3.,  6.,  9., 12.]]])
    """
    options = (stride, padding, dilation, groups, data_format, boundary, algorithm, accuracy)
    result: np.ndarray | None = _lane_1d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(1, input, weight, bias, options, out, threads)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Convolve images of several channels with a bank of kernels, as a network layer does.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, height, width) or (channels_in, height, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_height, kernel_width)
        Used as it is, not reversed: a cross-correlation. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int, int), default 1
    padding : int, (int, int), ((int, int), (int, int)) or str, default 0
        Samples on each side along height and width, or before and after for each of them; negative ones crop. "valid"
        is none. "same" keeps the size (an even window has its extra sample after the input) and needs stride 1, as in
        torch. "same_upper" and "same_lower" make ``ceil(size / stride)`` outputs for any stride, by the rules
        SAME_UPPER (also TensorFlow's SAME) and SAME_LOWER of ONNX, which put an odd sample after the input or before.
    groups : int, default 1
        ``groups = channels_in`` is a depthwise convolution; channels_out may be any multiple of it.
    data_format : {"NCHW", "NHWC"}, default "NCHW"
        Order of the axes of input and result.
    boundary : {"constant", "edge", "symmetric", "reflect", "wrap"} or two of them, default "constant"
        What the padding holds, by `numpy.pad`'s names; "constant" are zeros.
    out : ndarray, optional
        Where to write the result; it may overlap the inputs.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm : {"auto", "direct", "gemm", "winograd", "fft", "reference"}, default "auto"
    accuracy : {"default", "strict", "fast"}, default "default"
        As in `fastconv.conv`: "strict" keeps to sums of products, which takes longer for kernels of 3 x 3 to 6 x 6.

    Returns
    -------
    ndarray, shape (batch, channels_out, height_out, width_out)
        Without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``, where torch wants equal
        dtypes.

    Raises
    ------
    ConvError
        Where torch raises RuntimeError, which it is.
    ConvTypeError
        If a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> fastconv.nn.conv2d(image, np.ones((1, 1, 3, 3)), bias=[1.0])
    array([[[[46., 55.],
             [82., 91.]]]])
    >>> fastconv.nn.conv2d(image, np.ones((1, 1, 3, 3)), stride=3, padding="same_upper", boundary="edge")
    array([[[[ 15.,  36.],
             [ 99., 120.]]]])
    """
    options = (stride, padding, dilation, groups, data_format, boundary, algorithm, accuracy)
    result: np.ndarray | None = _lane_2d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(2, input, weight, bias, options, out, threads)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Convolve volumes of several channels with a bank of kernels, as a network layer does.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, depth, height, width) or (channels_in, depth, height, width)
        In another order of axes if `data_format` says so.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_depth, kernel_height, kernel_width)
        Used as it is, not reversed: a cross-correlation. In this order for every `data_format`.
    bias : array_like, shape (channels_out,), optional
    stride, dilation : int or (int, int, int), default 1
    padding : int, three of them, three (before, after) or str, default 0
        As in `conv2d`.
    groups : int, default 1
        ``groups = channels_in`` is a depthwise convolution.
    data_format : {"NCDHW", "NDHWC"}, default "NCDHW"
        Order of the axes of input and result.
    boundary : {"constant", "edge", "symmetric", "reflect", "wrap"} or three of them, default "constant"
    out, threads, algorithm, accuracy
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (batch, channels_out, depth_out, height_out, width_out)
        Without the batch if the input has none; of dtype ``numpy.result_type(input, weight)``.

    Raises
    ------
    ConvError, ConvTypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> volume = np.arange(8.0).reshape(1, 1, 2, 2, 2)
    >>> fastconv.nn.conv3d(volume, np.ones((1, 1, 2, 2, 1)))
    array([[[[[12., 16.]]]]])
    """
    options = (stride, padding, dilation, groups, data_format, boundary, algorithm, accuracy)
    result: np.ndarray | None = _lane_3d.run(input, weight, bias, options, threads, out)
    if result is not None:
        return result
    return _convolve(3, input, weight, bias, options, out, threads)


def _convolve(
    rank: int, input: Any, weight: Any, bias: Any, options: tuple[Any, ...], out: np.ndarray | None, threads: Any
) -> np.ndarray:
    """Check a call along so many spatial axes, run it, and remember it."""
    stride, padding, dilation, groups, data_format, boundary, algorithm, accuracy = options
    x = _problem.as_array(input, "input")
    layout = layout_of(data_format, x.shape, rank, "input")
    stride = for_all(stride)
    rule, center = _padding_rule(for_all(padding), stride, rank)
    try:
        schedule, operands = core.prepare(
            x,
            weight,
            bias=bias,
            layout=layout,
            stride=stride,
            padding=rule,
            center=center,
            boundary=boundary,
            dilation=for_all(dilation),
            groups=groups,
            out=out,
            algorithm=algorithm,
            accuracy=accuracy,
        )
    except (ConvError, ConvTypeError) as error:
        raise in_torch_names(error) from error.__cause__
    result = core.execute(schedule, operands, threads)
    lanes[rank - 1].remember(input, weight, bias, options, schedule, operands)
    return result


def _padding_rule(padding: Any, stride: Any, rank: int) -> tuple[Any, str]:
    """Return the core's padding and center for torch's and ONNX's."""
    if not isinstance(padding, str):
        return padding, "right"
    _problem.one_of(padding, "padding", ("same", "valid", "same_upper", "same_lower"))
    if padding == "same" and any(step != 1 for step in _problem.per_axis(stride, "stride", rank, 1)):
        raise ConvError(
            f"padding: got 'same' with stride {stride!r}, allowed: stride 1, 'same_upper', 'same_lower' or numbers"
        )
    return padding.removesuffix("_upper").removesuffix("_lower"), "left" if padding == "same_lower" else "right"
