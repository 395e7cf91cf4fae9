"""conv_integer, qlinear_conv and its plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _quantised
from .._quantised import Quantised

__all__ = ["conv_integer", "plan_qlinear_conv", "qlinear_conv"]


def conv_integer(
    x: Any,
    w: Any,
    x_zero_point: Any = None,
    w_zero_point: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Convolve bytes, and return the sums: ONNX's operator ConvInteger.

    Each result is ``sum((x - x_zero_point) * (w - w_zero_point))``, exact modulo 2^32: no sum of two products is ever
    cut to 16 bits, whatever the CPU. Padding is ``x_zero_point``, so it adds nothing.

    Parameters
    ----------
    x : array_like of uint8 or int8, shape (batch, channels_in, ...)
        With one to three spatial axes.
    w : array_like of uint8 or int8, shape (channels_out, channels_in // group, ...)
        Not reversed: a cross-correlation. Its dtype may be the other one.
    x_zero_point : int or scalar of x's dtype, default 0
    w_zero_point : int, scalar of w's dtype, or array of it of shape (channels_out,), default 0
    auto_pad : {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}, default "NOTSET"
        "NOTSET" takes `pads`. The SAME ones make ``ceil(size / stride)`` results along each axis; an odd sample of
        padding lies behind the image (UPPER) or in front of it (LOWER).
    dilations, strides : sequence of int, optional
        One a spatial axis; 1 by default.
    group : int, default 1
        Output channels of a group read the input channels of that group only.
    kernel_shape : sequence of int, optional
        Has to be ``w.shape[2:]``.
    pads : sequence of int, optional
        Samples before each axis, then samples after each: ``(top, left, bottom, right)`` for images. 0 by default.
    out : ndarray of int32, optional
        Where to write the result; it may overlap the inputs.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray of int32, shape (batch, channels_out, ...)

    Raises
    ------
    ConvError
        If shapes, attributes or the values of zero points do not fit, before anything is computed or written.
    ConvTypeError
        If a dtype is another one.

    Notes
    -----
    https://onnx.ai/onnx/operators/onnx__ConvInteger.html

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> image = np.arange(100, 116, dtype=np.uint8).reshape(1, 1, 4, 4)
    >>> fastconv.nn.conv_integer(image, np.ones((1, 1, 3, 3), np.int8), 100, strides=(1, 1))
    array([[[[45, 54],
             [81, 90]]]], dtype=int32)
    """
    x = _quantised.as_bytes(x, "x")
    attributes = (auto_pad, dilations, group, kernel_shape, pads, strides)
    return _quantised.integer(x, w, x_zero_point, w_zero_point, attributes)(x, out, threads=threads)


def qlinear_conv(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    y_scale: Any,
    y_zero_point: Any,
    B: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Convolve quantised images: ONNX's operator QLinearConv.

    A byte q stands for the number ``(q - zero_point) * scale``. The sums, those of `conv_integer` and `B`, are exact
    modulo 2^32. Each becomes a float32, is multiplied by the float32 ``x_scale * w_scale / y_scale``, rounded half to
    even, moved by ``y_zero_point`` and stopped at the ends of the result's range, which gives onnxruntime's bits.

    Weights are packed in every call. `plan_qlinear_conv` packs them once.

    Parameters
    ----------
    x, w : array_like of uint8 or int8
        As in `conv_integer`; the dtypes may differ.
    x_scale, y_scale : float
        Finite and positive, as float32.
    w_scale : float or array_like of float, shape (channels_out,)
        One scale, or one an output channel.
    x_zero_point : int or scalar of x's dtype
    w_zero_point : int, scalar of w's dtype, or array of it of shape (channels_out,)
    y_zero_point : numpy.uint8 or numpy.int8
        Its dtype is that of the result.
    B : array_like of int32, shape (channels_out,), optional
        The bias, with the scale ``x_scale * w_scale`` and the zero point 0.
    auto_pad, dilations, group, kernel_shape, pads, strides
        As in `conv_integer`.
    out : ndarray, optional
        Where to write the result, of the dtype of y_zero_point; it may overlap the inputs.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray of uint8 or int8, shape (batch, channels_out, ...)

    Raises
    ------
    ConvError
        If shapes, attributes, scales or the values of zero points do not fit, before anything is computed or written.
    ConvTypeError
        If a dtype is another one.

    Notes
    -----
    https://onnx.ai/onnx/operators/onnx__QLinearConv.html

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> image = np.arange(100, 116, dtype=np.uint8).reshape(1, 1, 4, 4)
    >>> ones = np.ones((1, 1, 3, 3), np.int8)
    >>> fastconv.nn.qlinear_conv(image, 0.5, 100, ones, 0.1, 0, 0.2, np.uint8(10))
    array([[[[21, 24],
             [30, 32]]]], dtype=uint8)
    """
    plan = plan_qlinear_conv(
        x_scale,
        _quantised.of_dtype(x_zero_point, _quantised.as_bytes(x, "x").dtype, "x_zero_point"),
        w,
        w_scale,
        w_zero_point,
        y_scale,
        y_zero_point,
        B,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return plan(x, out, threads=threads)


def plan_qlinear_conv(
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    y_scale: Any,
    y_zero_point: Any,
    B: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    threads: int | None = None,
) -> Quantised:
    """Pack the weights of `qlinear_conv` once, for images of any size.

    Parameters
    ----------
    x_zero_point : numpy.uint8 or numpy.int8
        Its dtype is that of the images.
    x_scale, w, w_scale, w_zero_point, y_scale, y_zero_point, B
        As in `qlinear_conv`. They are copied.
    auto_pad, dilations, group, kernel_shape, pads, strides
        As in `conv_integer`.
    threads : int, optional
        Of calls that do not say otherwise.

    Returns
    -------
    Quantised
        Called as ``plan(x, out=None, threads=None)``, with x of shape (batch, channels_in, ...). It can be shared by
        threads and pickled; ``plan.explain(x_shape)`` says how an image is cut.

    Raises
    ------
    ConvError, ConvTypeError
        As `qlinear_conv`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> plan = fastconv.nn.plan_qlinear_conv(
    ...     0.5, np.uint8(100), np.ones((1, 1, 3), np.int8), 0.1, 0, 0.2, np.int8(0), pads=(1, 1)
    ... )
    >>> plan(np.full((1, 1, 4), 110, np.uint8))
    array([[[5, 8, 8, 5]]], dtype=int8)
    """
    attributes = (auto_pad, dilations, group, kernel_shape, pads, strides)
    scales = (x_scale, w_scale, y_scale)
    return _quantised.linear(x_zero_point, w, w_zero_point, y_zero_point, B, scales, attributes, threads)
