"""conv2d."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _problem, core
from .._errors import ConvError
from ..drivers.lane import Lane

__all__ = ["conv2d"]

# Calls of conv2d made before.
_lane = Lane()


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
    padding : int, (int, int), "same" or "valid", default 0
        Zeros on each side along height and width. "same" keeps the size (an even window has its extra zero after the
        input, as in torch) and needs stride 1.
    groups : int, default 1
        ``groups = channels_in`` is a depthwise convolution.
    data_format : {"NCHW", "NHWC"}, default "NCHW"
        Order of the axes of input and result.
    out : ndarray, optional
        Where to write the result; it may overlap the inputs.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm : {"auto", "direct", "gemm", "winograd", "fft", "reference"}, default "auto"
    accuracy : {"default", "strict", "fast"}, default "default"
        As in `fastconv.conv`: "strict" keeps to sums of products, which takes longer where kernels are 3 x 3.

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
    """
    options = (stride, padding, dilation, groups, data_format, algorithm, accuracy)
    if out is None:
        result: np.ndarray | None = _lane.run(input, weight, bias, options, threads)
        if result is not None:
            return result
    if data_format not in ("NCHW", "NHWC"):
        raise ConvError(f"data_format: got {data_format!r}, allowed: 'NCHW', 'NHWC'")
    x = _problem.as_array(input, "input")
    if x.ndim not in (3, 4):
        raise ConvError(f"input: got {x.ndim} axes of shape {x.shape}, allowed: 4, or 3 without a batch")
    if not isinstance(padding, str):
        padding = _problem.per_axis(padding, "padding", 2, 0)
    elif padding not in ("same", "valid"):
        raise ConvError(f"padding: got {padding!r}, allowed: 'same', 'valid', an int or two")
    elif padding == "same" and _problem.per_axis(stride, "stride", 2, 1) != [1, 1]:
        raise ConvError(f"padding: got 'same' with stride {stride!r}, allowed: stride 1, or padding in numbers")
    schedule, operands = core.prepare(
        x,
        weight,
        bias=bias,
        layout=data_format if x.ndim == 4 else data_format.replace("N", "", 1),
        stride=stride,
        padding=padding,
        center="right",
        dilation=dilation,
        groups=groups,
        out=out,
        algorithm=algorithm,
        accuracy=accuracy,
    )
    result = core.execute(schedule, operands, threads)
    _lane.remember(input, weight, bias, options, schedule, operands)
    return result
