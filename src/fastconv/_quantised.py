"""Convolutions of bytes: what their arguments mean, and the weights packed.

ONNX's operators ConvInteger-10 and QLinearConv-10, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import _problem
from ._errors import ConvError, ConvTypeError
from ._problem import Axis
from .drivers import levels, quantised
from .drivers import threads as _threads
from .drivers.tile import aligned_bytes
from .planners.quantised import COLUMNS, Layout, Tiles, make_layout, make_tiles, step

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


class Attributes(NamedTuple):
    """The operators' attributes, checked: one number an axis, pads as (before, after) or None for auto_pad."""

    auto_pad: str
    dilations: tuple[int, ...]
    group: int
    pads: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]


class Scaling(NamedTuple):
    """How sums become bytes: float32 scales, one or one an output channel, and the result's zero point and dtype."""

    scale: np.ndarray
    y_zero: int
    y_dtype: np.dtype[Any]
    bias: np.ndarray | None


class Weights(NamedTuple):
    """Weights in panels, and where the zero point of some is not 0 the panel that sums the samples of a window."""

    panels: np.ndarray
    ones: np.ndarray | None


class Epilogue(NamedTuple):
    """What the store stage does to sums; arrays have one number a column of the panels."""

    x_flip: int
    x_zero: int
    base: np.ndarray
    w_zero: np.ndarray
    scale: np.ndarray | None
    low: float
    high: float
    y_zero: int


class Prepared(NamedTuple):
    """An image's shape, with the driver for it."""

    x_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    driver: quantised.Driver
    tiles: Tiles
    row: quantised.Driver | None  # of a pointwise kernel: the image as one row, where rows follow each other


def as_bytes(value: Any, name: str) -> np.ndarray:
    """Return an array of uint8 or int8."""
    array = _problem.as_array(value, name)
    if array.dtype not in BYTES:
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: uint8, int8")
    return array


def check_weights(w: np.ndarray, group: Any) -> int:
    """Return the number of groups, if the weights make so many."""
    if not 3 <= w.ndim <= 5:
        raise ConvError(f"w: got {w.ndim} axes of shape {w.shape}, allowed: 3 to 5, for 1 to 3 spatial axes")
    if 0 in w.shape[1:]:
        raise ConvError(f"w: got shape {w.shape}, allowed: at least 1 channel and 1 tap along every spatial axis")
    groups = _problem.integer(group, "group", 1)
    if w.shape[0] % groups or w.shape[0] == 0:
        raise ConvError(f"group: got {groups} for w of shape {w.shape}, allowed: divisors of its {w.shape[0]} channels")
    return groups


def check_attributes(
    w: np.ndarray, auto_pad: Any, dilations: Any, group: Any, kernel_shape: Any, pads: Any, strides: Any
) -> Attributes:
    """Check the attributes against the weights."""
    groups = check_weights(w, group)
    kernel = w.shape[2:]
    rank = len(kernel)
    if kernel_shape is not None and tuple(_problem.per_axis(kernel_shape, "kernel_shape", rank, 1)) != kernel:
        raise ConvError(f"kernel_shape: got {kernel_shape!r} for w of shape {w.shape}, allowed: {kernel}")
    _problem.one_of(auto_pad, "auto_pad", AUTO_PADS)
    numbers = [0] * (2 * rank)
    if pads is not None:
        if not _problem.is_list(pads) or len(pads) != 2 * rank:
            raise ConvError(f"pads: got {pads!r}, allowed: {2 * rank} integers, all that lie before, then all after")
        numbers = [_problem.integer(pad, "pads", 0) for pad in pads]
        if auto_pad != "NOTSET" and any(numbers):
            raise ConvError(f"pads: got {pads!r} with auto_pad {auto_pad!r}, allowed: None, or auto_pad 'NOTSET'")
    return Attributes(
        auto_pad=auto_pad,
        dilations=tuple(_problem.per_axis(1 if dilations is None else dilations, "dilations", rank, 1)),
        group=groups,
        pads=tuple(zip(numbers[:rank], numbers[rank:], strict=True)),
        strides=tuple(_problem.per_axis(1 if strides is None else strides, "strides", rank, 1)),
    )


def check_zero_point(value: Any, name: str, dtype: np.dtype[Any], channels: int | None = None) -> np.ndarray:
    """Return one zero point, or one for each of so many channels, in int64."""
    info = np.iinfo(dtype)
    if isinstance(value, int) and not isinstance(value, bool):
        if not info.min <= value <= info.max:
            raise ConvError(f"{name}: got {value}, allowed: {info.min} to {info.max}, the range of {dtype}")
        return np.array(value, np.int64)
    array = _problem.as_array(value, name)
    if array.dtype != dtype:
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: {dtype}, or an int")
    return one_or_each(array, name, channels).astype(np.int64)


def check_scale(value: Any, name: str, channels: int | None = None) -> np.ndarray:
    """Return one scale, or one for each of so many channels, in float32."""
    array = _problem.as_array(value, name)
    if array.dtype.kind not in "iuf":
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: real numbers")
    with np.errstate(over="ignore", under="ignore"):
        scale = one_or_each(array, name, channels).astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ConvError(f"{name}: got {value!r}, allowed: finite float32 numbers > 0")
    return scale


def one_or_each(array: np.ndarray, name: str, channels: int | None) -> np.ndarray:
    """Return a scalar of an array of one element, or an array of one element a channel."""
    if array.size == 1 and array.ndim <= 1:
        return array.reshape(())
    if channels is None or array.shape != (channels,):
        allowed = "one number" if channels is None else f"one number, or shape ({channels},) for each channel out"
        raise ConvError(f"{name}: got shape {array.shape}, allowed: {allowed}")
    return array


def check_scaling(x_scale: Any, w_scale: Any, y_scale: Any, y_zero_point: Any, bias: Any, channels_out: int) -> Scaling:
    """Check what QLinearConv has beyond ConvInteger."""
    of_x, of_y = check_scale(x_scale, "x_scale"), check_scale(y_scale, "y_scale")
    of_w = check_scale(w_scale, "w_scale", channels_out)
    with np.errstate(over="ignore", under="ignore"):
        # In this order and in float32, as onnxruntime does.
        scale = of_x * of_w / of_y
    if not np.isfinite(scale).all():
        raise ConvError(f"y_scale: got {y_scale!r}, allowed: x_scale * w_scale / y_scale finite in float32")
    zero = as_bytes_scalar(y_zero_point, "y_zero_point")
    if bias is not None:
        bias = _problem.as_array(bias, "B")
        if bias.dtype.newbyteorder("=") != np.int32:
            raise ConvTypeError(f"B: got dtype {bias.dtype}, allowed: int32")
        if bias.shape != (channels_out,):
            raise ConvError(f"B: got shape {bias.shape}, allowed: ({channels_out},), one number for each channel out")
    return Scaling(np.asarray(scale, np.float32), int(zero), zero.dtype, bias)


def as_bytes_scalar(value: Any, name: str) -> np.ndarray:
    """Return a zero point whose dtype is that of an array."""
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype not in BYTES:
        got = f"dtype {value.dtype}" if isinstance(value, (np.ndarray, np.generic)) else repr(value)
        raise ConvTypeError(f"{name}: got {got}, allowed: numpy.uint8, numpy.int8, whichever the array is of")
    return one_or_each(np.asarray(value), name, None)


def of_dtype(value: Any, dtype: np.dtype[Any], name: str) -> np.ndarray:
    """Return a zero point of a dtype."""
    return check_zero_point(value, name, dtype).astype(dtype)


def integer(x: np.ndarray, w: Any, x_zero_point: Any, w_zero_point: Any, attributes: tuple[Any, ...]) -> Quantised:
    """Check the arguments of conv_integer, and return what is to be called with x."""
    w = as_bytes(w, "w")
    checked = check_attributes(w, *attributes)
    x_zero = check_zero_point(0 if x_zero_point is None else x_zero_point, "x_zero_point", x.dtype)
    w_zero = check_zero_point(0 if w_zero_point is None else w_zero_point, "w_zero_point", w.dtype, w.shape[0])
    return Quantised(w, x.dtype, int(x_zero), w_zero, checked)


def linear(
    x_zero_point: Any,
    w: Any,
    w_zero_point: Any,
    y_zero_point: Any,
    bias: Any,
    scales: tuple[Any, Any, Any],
    attributes: tuple[Any, ...],
    threads: int | None,
) -> Quantised:
    """Check the arguments of plan_qlinear_conv but those of the images, and return what is to be called with these."""
    w = as_bytes(w, "w")
    checked = check_attributes(w, *attributes)
    x_zero = as_bytes_scalar(x_zero_point, "x_zero_point")
    w_zero = check_zero_point(w_zero_point, "w_zero_point", w.dtype, w.shape[0])
    scaling = check_scaling(*scales, y_zero_point, bias, w.shape[0])
    return Quantised(w, x_zero.dtype, int(x_zero), w_zero, checked, scaling, threads)


class Quantised:
    """A convolution of bytes with its weights, packed once and called often.

    Made by `fastconv.nn.plan_qlinear_conv`. It is immutable, so threads may share it, and can be pickled.

    Parameters
    ----------
    w : ndarray of bytes
    x_dtype : dtype
        Of the inputs.
    x_zero : int
    w_zero : ndarray
        One zero point, or one an output channel.
    attributes : Attributes
    scaling : Scaling or None
        None: the result is the sums, in int32.
    threads : int or None
    """

    def __init__(
        self,
        w: np.ndarray,
        x_dtype: np.dtype[Any],
        x_zero: int,
        w_zero: np.ndarray,
        attributes: Attributes,
        scaling: Scaling | None = None,
        threads: int | None = None,
    ) -> None:
        _threads.check(threads)
        self._arguments = (w.copy(), x_dtype, x_zero, w_zero, attributes, scaling, threads)
        self._shape = w.shape
        self._attributes = attributes
        self._x_dtype = x_dtype
        self._threads = threads
        self._out_dtype = np.dtype(np.int32) if scaling is None else scaling.y_dtype
        self._layout = self._make_layout()
        self._weights, self._epilogue = pack(self._layout, w, x_dtype, x_zero, w_zero, scaling)
        self._last: Prepared | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Quantised, self._arguments

    def __call__(self, x: Any, out: np.ndarray | None = None, *, threads: int | None = None) -> np.ndarray:
        """Convolve x, of any batch and image size.

        Parameters
        ----------
        x : array_like, shape (batch, channels_in, ...)
            Of the dtype of x_zero_point.
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype. It may overlap x.
        threads : int, optional
            For this call; what the plan was made with by default.

        Returns
        -------
        ndarray, shape (batch, channels_out, ...)

        Raises
        ------
        ConvError, ConvTypeError
            If x or `out` does not fit, before anything is written.
        """
        x = as_bytes(x, "x")
        if x.dtype != self._x_dtype:
            raise ConvTypeError(f"x: got dtype {x.dtype}, allowed: {self._x_dtype}, that of x_zero_point")
        threads = self._threads if threads is None else threads
        _threads.check(threads)
        prepared = self._prepare(x.shape)
        out = _problem.check_out(out, prepared.out_shape, self._out_dtype)
        if out is None:
            return self._run(prepared, x, np.empty(prepared.out_shape, self._out_dtype), threads)
        if out.dtype.isnative and not np.may_share_memory(out, x):
            return self._run(prepared, x, out, threads)
        out[...] = self._run(prepared, x, np.empty(prepared.out_shape, self._out_dtype), threads)
        return out

    def explain(self, x_shape: tuple[int, ...]) -> str:
        """Return the level, tiles and workspace for inputs of a shape, in words."""
        driver, tiles = self._prepare(_problem.check_shape(x_shape, "x_shape", 1))[2:4]
        return f"{tiles.describe()}\nworkspace: {driver.workspace_bytes} bytes a thread"

    def _make_layout(self) -> Layout:
        at = self._attributes
        kernel = five(self._shape)[2:]
        return make_layout(
            levels.current(),
            at.group,
            self._shape[1],
            self._shape[0] // at.group,
            (kernel[0], kernel[1], kernel[2]),
            # Packed columns are `step` samples apart, and so are the taps of a row.
            step(Axis(1, kernel[2], at.strides[-1], at.dilations[-1], 1, 0, 0, "constant")) == at.dilations[-1]
            or kernel[2] == 1,
        )

    def _prepare(self, x_shape: tuple[int, ...]) -> Prepared:
        """Check the shape of an input, and return what computes it; that of the last one is kept."""
        last = self._last
        if last is not None and last.x_shape == x_shape:
            return last
        axes = make_axes(x_shape, self._shape, self._attributes)
        channels = self._shape[1] * self._attributes.group
        if x_shape[1] != channels:
            raise ConvError(
                f"x: got {x_shape[1]} channels in shape {x_shape}, allowed: {channels} for w of shape {self._shape} "
                f"in {self._attributes.group} groups"
            )
        out_shape = (x_shape[0], self._shape[0], *(axis.out for axis in axes[5 - len(x_shape) :]))
        if math.prod(max(size, 1) for size in out_shape) * self._out_dtype.itemsize > _problem.SIZE_LIMIT:
            raise ConvError(f"x: got a result of shape {out_shape}, allowed: at most {_problem.SIZE_LIMIT} bytes")
        tiles = make_tiles(self._layout, x_shape[0], axes, self._out_dtype.itemsize)
        row = None
        if all(axis == Axis(axis.n, 1, 1, axis.dilation, 1, 0, 0, "constant") for axis in axes):
            long = (axes[0]._replace(n=1), axes[1]._replace(n=1), axes[2]._replace(n=math.prod(x_shape[2:])))
            row = quantised.Driver(make_tiles(self._layout, x_shape[0], long, self._out_dtype.itemsize))
        self._last = Prepared(x_shape, out_shape, quantised.Driver(tiles), tiles, row)
        return self._last

    def _run(self, prepared: Prepared, x: np.ndarray, out: np.ndarray, threads: int | None) -> np.ndarray:
        driver, x_shape, out_shape = prepared.driver, five(x.shape), five(out.shape)
        if prepared.row is not None and rows_follow(x) and rows_follow(out):
            driver, x_shape, out_shape = prepared.row, (*x_shape[:2], 1, 1, -1), (*out_shape[:2], 1, 1, -1)
        if out.size:
            driver.run(x.reshape(x_shape), out.reshape(out_shape), self._weights, self._epilogue, threads)
        return out


def rows_follow(image: np.ndarray) -> bool:
    """Return whether all samples of a channel lie at one distance."""
    samples, distance = 1, 0
    for size, stride in zip(reversed(image.shape[2:]), reversed(image.strides[2:]), strict=True):
        # The stride of an axis of one sample means nothing.
        if size == 1:
            continue
        if samples == 1:
            distance = stride
        elif stride != samples * distance:
            return False
        samples *= size
    return True


def five(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with axes of one sample in front of its spatial axes, so that these are three."""
    return (*shape[:2], *(1,) * (5 - len(shape)), *shape[2:])


def make_axes(x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: Attributes) -> tuple[Axis, Axis, Axis]:
    """Return the axes z, y and x of an input, with the padding in samples."""
    rank = len(w_shape) - 2
    if len(x_shape) != rank + 2:
        raise ConvError(f"x: got {len(x_shape)} axes of shape {x_shape}, allowed: {rank + 2} for w of shape {w_shape}")
    sizes, kernel, strides, dilations = x_shape[2:], w_shape[2:], attributes.strides, attributes.dilations
    pads: list[tuple[int, int]] = list(attributes.pads)
    if attributes.auto_pad.startswith("SAME"):
        center = "right" if attributes.auto_pad == "SAME_UPPER" else "left"
        pads = [
            _problem.same_padding(n, (k - 1) * dilation + 1, stride, center)
            for n, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
        ]
    axes = _problem.make_axes(
        sizes,
        kernel,
        stride=strides,
        dilation=dilations,
        input_dilation=1,
        padding=pads,
        center="left",
        boundary="constant",
    )
    for axis in axes:
        if axis.n + axis.lo + axis.hi > _problem.SIZE_LIMIT or axis.window > _problem.SIZE_LIMIT:
            raise ConvError(f"pads: got {axis}, allowed: a padded axis of at most {_problem.SIZE_LIMIT} samples")
    single = Axis(1, 1, 1, 1, 1, 0, 0, "constant")
    z, y, x = [single] * (3 - rank) + list(axes)
    return z, y, x


def pack(
    layout: Layout, w: np.ndarray, x_dtype: np.dtype[Any], x_zero: int, w_zero: np.ndarray, scaling: Scaling | None
) -> tuple[Weights, Epilogue]:
    """Return the weights as the kernels read them, and what remains of zero points, scales and bias."""
    # The kernels take unsigned samples and signed weights.
    x_flip, w_flip = 0x80 * (x_dtype == np.int8), 0x80 * (w.dtype == np.uint8)
    x_zero, w_zero = x_zero + x_flip, w_zero - w_flip
    five_axes = w.reshape(five(w.shape))
    panels, sums = quantised.pack(layout, five_axes, w_flip)
    ones = None
    if w_zero.any():
        ones = quantised.pack(layout, np.ones(five_axes.shape, np.int8), 0)[0][: layout.panel_bytes]
    # In 64 bits, then modulo 2^32.
    base = layout.taps * x_zero * w_zero - x_zero * sums.astype(np.int64)
    if scaling is not None and scaling.bias is not None:
        base = base + scaling.bias
    info = None if scaling is None else np.iinfo(scaling.y_dtype)
    return Weights(panels, ones), Epilogue(
        x_flip=x_flip,
        x_zero=x_zero,
        base=in_columns(layout, base.astype(np.int32)),
        w_zero=in_columns(layout, w_zero.astype(np.int32)),
        scale=None if scaling is None else in_columns(layout, scaling.scale),
        low=0.0 if scaling is None or info is None else float(info.min - scaling.y_zero),
        high=0.0 if scaling is None or info is None else float(info.max - scaling.y_zero),
        y_zero=0 if scaling is None else scaling.y_zero,
    )


def in_columns(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Return numbers of 4 bytes, one or one an output channel, where the panels have their columns."""
    columns: np.ndarray = aligned_bytes(4 * COLUMNS * layout.blocks * layout.panels).view(values.dtype)
    columns[...] = 0
    columns[layout.columns()] = values
    return columns
