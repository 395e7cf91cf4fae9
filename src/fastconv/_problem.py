"""Arrays and options become one canonical problem, and everything that cannot be served is refused here.

The canonical problem is a cross-correlation over a batch, groups, channels and spatial axes::

    y[n, g, o, p...] = bias[g, o] + sum over c, k... of x[n, g, c, p*stride - lo + k*dilation] * w[g, o, c, k...]

`ConvProblem` holds its sizes and nothing of the arrays, so it is hashable: equal problems share a plan.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _tunables
from ._epilogue import ACTIVATIONS, SLOPE
from ._errors import ConvError, ConvTypeError

BOUNDARIES = ("constant", "edge", "symmetric", "reflect", "wrap")
ALGORITHMS = ("auto", "direct", "gemm", "winograd", "fft", "reference")
ACCURACIES = ("default", "strict", "fast")
OVERFLOWS = ("wrap", "saturate", "raise")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
RESULT_DTYPES = ("float16", "bfloat16", "float32", "float64", *INTEGERS)
CENTERS = ("left", "right")

# Sizes beyond this are refused, so that no product or sum of a few of them can leave 64 bits.
SIZE_LIMIT = 2**48


class Axis(NamedTuple):
    """One spatial axis: input samples, kernel taps, and how one slides over the other.

    Attributes
    ----------
    n, k : int
        Input samples and kernel taps.
    stride, dilation, input_dilation : int
        Steps between outputs, between taps, and between input samples (zeros lie in between).
    lo, hi : int
        Padding before and after, in samples; negative values crop.
    boundary : str
        One of `BOUNDARIES`.
    inner : int
        Numbers that lie side by side in a sample. Everything here is counted in numbers, and boundaries show whole
        samples.
    """

    n: int
    k: int
    stride: int
    dilation: int
    input_dilation: int
    lo: int
    hi: int
    boundary: str
    inner: int = 1

    @property
    def extent(self) -> int:
        """Samples of the input with its dilation zeros."""
        return (self.n - 1) * self.input_dilation + 1 if self.n else 0

    @property
    def window(self) -> int:
        """Samples from the first tap to the last."""
        return (self.k - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """Output samples."""
        return (self.extent + self.lo + self.hi - self.window) // self.stride + 1


class ConvProblem(NamedTuple):
    """Everything about a convolution but its arrays.

    Attributes
    ----------
    batch, groups : int
    channels, channels_out : int
        Per group.
    axes : tuple of Axis
    dtype : numpy.dtype
        Of the arithmetic and of the result.
    fill : bytes
        One element of `dtype`, what the boundary "constant" reads outside the input.
    flip, conj : bool
        Whether the kernel is reversed, and conjugated.
    has_bias : bool
    batch_axis, channel_axis : int
        Their places in the user's arrays, -1 where there is none.
    spatial_axes : tuple of int
    activation : str or None
    algorithm, accuracy : str
    max_workspace : int or None
    planned : bool
        Whether the weights are known before, so that preparing them costs a call nothing.
    stored : tuple of numpy.dtype or None
        Dtypes of the input and of the result where these are not `dtype`. Doubles that become integers are then rounded
        product by product, so that they are cut on the side where everybody else's are.
    slope : float
        Of the activation "leaky_relu" below zero.
    has_scale, has_residual : bool
        Whether the sums are multiplied by a number a channel, and whether an array is added to them.
    result_dtype : numpy.dtype or None
        Of the result where this is not `dtype`; rounded, and saturated where it is an integer.
    paired : bool
        Whether neighbouring channels are the two parts of complex elements: the arrays are complex, the weights real.
    """

    batch: int
    groups: int
    channels: int
    channels_out: int
    axes: tuple[Axis, ...]
    dtype: np.dtype[Any]
    fill: bytes
    flip: bool
    conj: bool
    has_bias: bool
    batch_axis: int
    channel_axis: int
    spatial_axes: tuple[int, ...]
    activation: str | None
    algorithm: str
    accuracy: str
    max_workspace: int | None
    planned: bool = False
    stored: tuple[np.dtype[Any], np.dtype[Any]] | None = None
    slope: float = SLOPE
    has_scale: bool = False
    has_residual: bool = False
    result_dtype: np.dtype[Any] | None = None
    paired: bool = False

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """Dtype of the result."""
        if self.result_dtype is not None:
            return self.result_dtype
        return self.dtype if self.stored is None else self.stored[1]

    @property
    def has_epilogue(self) -> bool:
        """Whether anything but the bias follows the sums."""
        return self.activation is not None or self.has_scale or self.has_residual or self.result_dtype is not None

    def without_epilogue(self) -> ConvProblem:
        """Return the problem of the sums and the bias alone."""
        return self._replace(activation=None, slope=SLOPE, has_scale=False, has_residual=False, result_dtype=None)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, in the user's layout."""
        sizes = {axis: spec.out for axis, spec in zip(self.spatial_axes, self.axes, strict=True)}
        if self.batch_axis >= 0:
            sizes[self.batch_axis] = self.batch
        if self.channel_axis >= 0:
            sizes[self.channel_axis] = self.groups * self.channels_out
        return tuple(sizes[axis] for axis in range(len(sizes)))

    @property
    def x_size(self) -> int:
        """Samples of the input."""
        return self.batch * self.groups * self.channels * math.prod(axis.n for axis in self.axes)

    @property
    def w_size(self) -> int:
        """Weights."""
        return self.groups * self.channels_out * self.taps

    @property
    def taps(self) -> int:
        """Products an output is the sum of."""
        return self.channels * math.prod(axis.k for axis in self.axes)

    @property
    def flops(self) -> int:
        """Real additions and multiplications of the direct method."""
        real = 8 if self.dtype.kind == "c" else 2
        return real * self.taps * math.prod(self.out_shape)

    @property
    def thread_work(self) -> float:
        """Multiply-adds of a call that asks whether threads pay, with what samples and results take beside them."""
        return self.flops / 2 + _tunables.ELEMENT_WORK * (self.x_size + math.prod(self.out_shape))


class Operands(NamedTuple):
    """The arrays of a call, checked, of native byte order and of the problem's dtype.

    But a residual may be of the result's dtype, and the scale of halves is in float32. The result is
    ``cast(activation(scale * sums + bias + residual))``.
    """

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    out: np.ndarray | None
    scale: np.ndarray | None = None
    residual: np.ndarray | None = None


def prepare(
    x: Any,
    w: Any,
    *,
    bias: Any = None,
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    input_dilation: Any = 1,
    groups: Any = 1,
    padding: Any = "valid",
    center: str = "left",
    boundary: Any = "constant",
    fill_value: Any = 0,
    flip: Any = False,
    conj: Any = False,
    activation: Any = None,
    out: Any = None,
    dtype: Any = None,
    scale: Any = None,
    residual: Any = None,
    result_dtype: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    max_workspace: Any = None,
    result: np.dtype[Any] | None = None,
) -> tuple[ConvProblem, Operands]:
    """Check every argument and return the canonical problem with its arrays.

    The parameters are those of `fastconv.conv`; `result` is the dtype to store in, if it is not `dtype`, and then x is
    read in its own. Nothing is computed and nothing of the size of the result is allocated; an input of another dtype
    or byte order than the arithmetic's is converted, last of all.

    Raises
    ------
    ConvError
        For shapes and options.
    ConvTypeError
        For dtypes and arguments of the wrong type.
    """
    x, w = as_array(x, "x"), as_array(w, "w")
    arithmetic = resolve_dtype(x.dtype, w.dtype, dtype)
    batch_axis, channel_axis, spatial_axes = parse_layout(layout, x, w)
    groups, channels, channels_out = check_channels(x, w, channel_axis, groups)
    axes = make_axes(
        [x.shape[axis] for axis in spatial_axes],
        w.shape[w.ndim - len(spatial_axes) :],
        stride=stride,
        dilation=dilation,
        input_dilation=input_dilation,
        padding=padding,
        center=one_of(center, "center", CENTERS),
        boundary=boundary,
    )
    name, slope = check_activation(activation, arithmetic)
    problem = ConvProblem(
        batch=x.shape[batch_axis] if batch_axis >= 0 else 1,
        groups=groups,
        channels=channels,
        channels_out=channels_out,
        axes=axes,
        dtype=arithmetic,
        fill=fill_bytes(fill_value, arithmetic),
        flip=switch(flip, "flip"),
        conj=switch(conj, "conj") and arithmetic.kind == "c",
        has_bias=bias is not None,
        batch_axis=batch_axis,
        channel_axis=channel_axis,
        spatial_axes=spatial_axes,
        activation=name,
        algorithm=one_of(algorithm, "algorithm", ALGORITHMS),
        accuracy=one_of(accuracy, "accuracy", ACCURACIES),
        max_workspace=None if max_workspace is None else integer(max_workspace, "max_workspace", 0),
        stored=None if result is None else (x.dtype.newbyteorder("="), result),
        slope=slope,
        has_scale=scale is not None,
        has_residual=residual is not None,
        result_dtype=check_result_dtype(result_dtype, arithmetic),
    )
    check_sizes(problem)
    bias = check_bias(bias, groups * channels_out, channel_axis, arithmetic)
    scale = check_scale(scale, groups * channels_out, lane_of(arithmetic))
    out = check_out(out, problem.out_shape, problem.out_dtype)
    residual = check_residual(residual, problem)
    x_dtype = arithmetic if problem.stored is None else problem.stored[0]
    return problem, Operands(native(x, x_dtype), native(w, arithmetic), bias, out, scale, residual)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is the bfloat16 of ml_dtypes, which NumPy knows by its name only."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def casts(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Return whether values of a dtype may become another one's; bfloat16 would take complex numbers for reals."""
    return np.can_cast(given, wanted, "same_kind") and (given.kind != "c" or wanted.kind == "c")


def is_number(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype can be computed with."""
    return dtype.kind in "biufc" or is_bfloat16(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is a real floating one."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def lane_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which sums of a dtype are made and finished."""
    return np.dtype(np.float32) if dtype == np.float16 or is_bfloat16(dtype) else dtype


def as_array(value: Any, name: str) -> np.ndarray:
    """Return a plain ndarray of a dtype that can be computed with; masks and subclasses are dropped."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ConvError(f"{name}: got {type(value).__name__} that makes no array ({error}), allowed: arrays") from error
    if not is_number(array.dtype):
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: bool, integer, floating and complex dtypes")
    return array


def resolve_dtype(x: np.dtype[Any], w: np.dtype[Any], dtype: Any) -> np.dtype[Any]:
    """Return the dtype of arithmetic and result, in native byte order."""
    if dtype is None:
        try:
            return np.result_type(x, w).newbyteorder("=")
        except TypeError as error:
            raise ConvTypeError(
                f"w: got dtype {w} for x of dtype {x}, allowed: dtypes with a common one, or dtype="
            ) from error
    wanted: np.dtype[Any] = check_dtype(dtype, "dtype").newbyteorder("=")
    for name, given in (("x", x), ("w", w)):
        if not casts(given, wanted):
            raise ConvTypeError(
                f"dtype: got {wanted} for {name} of dtype {given}, allowed: a cast of the same kind or upwards"
            )
    return wanted


def check_dtype(dtype: Any, name: str) -> np.dtype[Any]:
    """Return a dtype that can be computed with."""
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ConvTypeError(f"{name}: got {dtype!r}, allowed: what numpy.dtype takes") from error
    if not is_number(wanted):
        raise ConvTypeError(f"{name}: got {wanted}, allowed: bool, integer, floating and complex dtypes")
    return wanted


def check_activation(activation: Any, dtype: np.dtype[Any]) -> tuple[str | None, float]:
    """Return an activation's name, and the slope of a leaky_relu."""
    if activation is None:
        return None, SLOPE
    name, slope = activation, SLOPE
    if isinstance(activation, tuple) and len(activation) == 2:
        name, slope = activation
        if name != "leaky_relu":
            raise ConvError(f"activation: got {activation!r}, allowed: a name, or ('leaky_relu', slope)")
        if isinstance(slope, bool) or not isinstance(slope, (int, float, np.integer, np.floating)):
            raise ConvTypeError(f"activation: got the slope {slope!r}, allowed: a number")
        if not math.isfinite(slope):
            raise ConvError(f"activation: got the slope {slope!r}, allowed: finite numbers")
    one_of(name, "activation", tuple(ACTIVATIONS))
    if not is_float(dtype):
        raise ConvTypeError(f"activation: got {name!r} with dtype {dtype}, allowed: real floating dtypes")
    return name, float(slope)


def check_result_dtype(result_dtype: Any, arithmetic: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype that the result is rounded to, None where it is the arithmetic's."""
    if result_dtype is None:
        return None
    wanted: np.dtype[Any] = check_dtype(result_dtype, "result_dtype").newbyteorder("=")
    if wanted == arithmetic:
        return None
    if wanted.name not in RESULT_DTYPES:
        raise ConvTypeError(f"result_dtype: got {wanted}, allowed: {', '.join(RESULT_DTYPES)}")
    if not is_float(arithmetic):
        raise ConvTypeError(
            f"result_dtype: got {wanted} with dtype {arithmetic}, allowed: what real floating dtypes are rounded to"
        )
    return wanted


def parse_layout(layout: str | None, x: np.ndarray, w: np.ndarray) -> tuple[int, int, tuple[int, ...]]:
    """Return the places of the batch axis, the channel axis (-1 where there is none) and the spatial axes in x."""
    if layout is None:
        if x.ndim < 1 or w.ndim != x.ndim:
            raise ConvError(
                f"w: got {w.ndim} axes of shape {w.shape} for x of shape {x.shape}, "
                "allowed: as many axes as x, and at least one"
            )
        return -1, -1, tuple(range(x.ndim))
    if not isinstance(layout, str):
        raise ConvTypeError(f"layout: got {layout!r}, allowed: None or a string such as 'NCHW'")
    if layout.count("C") != 1 or len(set(layout)) != len(layout) or len(set(layout) - set("NC")) < 1:
        raise ConvError(
            f"layout: got {layout!r}, allowed: one C, at most one N, and a letter of its own for each spatial axis"
        )
    if x.ndim != len(layout):
        raise ConvError(f"x: got {x.ndim} axes of shape {x.shape}, allowed: {len(layout)} for layout {layout!r}")
    spatial = tuple(i for i, letter in enumerate(layout) if letter not in "NC")
    if w.ndim != len(spatial) + 2:
        raise ConvError(
            f"w: got {w.ndim} axes of shape {w.shape}, allowed: {len(spatial) + 2}, "
            "(channels out, channels in / groups, then the kernel)"
        )
    return layout.find("N"), layout.find("C"), spatial


def check_channels(x: np.ndarray, w: np.ndarray, channel_axis: int, groups: Any) -> tuple[int, int, int]:
    """Return groups, channels in a group, and channels out of a group."""
    groups = integer(groups, "groups", 1)
    if channel_axis < 0:
        if groups != 1:
            raise ConvError(f"groups: got {groups}, allowed: 1 where there is no channel axis")
        return 1, 1, 1
    channels_in, channels_out = x.shape[channel_axis], w.shape[0]
    if channels_in == 0:
        raise ConvError(f"x: got 0 channels in shape {x.shape}, allowed: at least 1")
    if channels_in % groups or channels_out % groups:
        raise ConvError(
            f"groups: got {groups} for {channels_in} channels in and {channels_out} out, allowed: divisors of both"
        )
    if w.shape[1] * groups != channels_in:
        raise ConvError(
            f"w: got {w.shape[1]} channels in a group in shape {w.shape}, allowed: "
            f"{channels_in // groups} for x of shape {x.shape} in {groups} groups"
        )
    return groups, w.shape[1], channels_out // groups


def make_axes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    stride: Any,
    dilation: Any,
    input_dilation: Any,
    padding: Any,
    center: str,
    boundary: Any,
    kernel_name: str = "w",
) -> tuple[Axis, ...]:
    """Return the spatial axes, with the padding in samples."""
    rank = len(sizes)
    if 0 in kernel:
        raise ConvError(
            f"{kernel_name}: got an empty kernel {tuple(kernel)}, allowed: at least 1 tap along every spatial axis"
        )
    strides = per_axis(stride, "stride", rank, 1)
    dilations = per_axis(dilation, "dilation", rank, 1)
    input_dilations = per_axis(input_dilation, "input_dilation", rank, 1)
    boundaries = boundary_per_axis(boundary, rank)
    windows = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extents = [(n - 1) * d + 1 if n else 0 for n, d in zip(sizes, input_dilations, strict=True)]
    pads = pads_per_axis(padding, center, extents, windows, strides)
    axes = []
    for i, (lo, hi) in enumerate(pads):
        if sizes[i] == 0 and boundaries[i] != "constant" and (lo > 0 or hi > 0):
            raise ConvError(f"boundary: got {boundaries[i]!r} for an empty axis {i}, allowed: 'constant'")
        padded = extents[i] + lo + hi
        if padded < 0 or min(lo, hi) < -extents[i]:
            raise ConvError(
                f"padding: got ({lo}, {hi}) along spatial axis {i}, allowed: to crop at most {extents[i]} samples"
            )
        # An empty input may have an empty result; any other too small for the kernel is a mistake.
        if padded < windows[i] - (sizes[i] == 0):
            raise ConvError(
                f"{kernel_name}: got a window of {windows[i]} samples along spatial axis {i}, allowed: at most the "
                f"{padded} samples of the padded input ({lo} + {extents[i]} + {hi})"
            )
        axes.append(Axis(sizes[i], kernel[i], strides[i], dilations[i], input_dilations[i], lo, hi, boundaries[i]))
    return tuple(axes)


def pads_per_axis(
    padding: Any, center: str, extents: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the padding before and after, for each spatial axis."""
    rank = len(extents)
    if isinstance(padding, str):
        one_of(padding, "padding", ("valid", "same", "full"))
        if padding == "valid":
            return [(0, 0)] * rank
        if padding == "full":
            return [(window - 1, window - 1) for window in windows]
        return [same_padding(*sizes, center) for sizes in zip(extents, windows, strides, strict=True)]
    if not is_list(padding):
        pad = integer(padding, "padding", -SIZE_LIMIT)
        return [(pad, pad)] * rank
    if len(padding) != rank:
        raise ConvError(
            f"padding: got {padding!r}, allowed: one int or one (before, after) for each of {rank} spatial axes"
        )
    pads = []
    for entry in padding:
        pair = tuple(entry) if is_list(entry) else (entry, entry)
        if len(pair) != 2:
            raise ConvError(f"padding: got {entry!r} for an axis, allowed: an int or (before, after)")
        pads.append((integer(pair[0], "padding", -SIZE_LIMIT), integer(pair[1], "padding", -SIZE_LIMIT)))
    return pads


def same_padding(extent: int, window: int, stride: int, center: str) -> tuple[int, int]:
    """Return the padding that makes ceil(extent / stride) outputs; `center` says which side gets the odd sample.

    TensorFlow's and ONNX's SAME rule, https://onnx.ai/onnx/operators/onnx__Conv.html (auto_pad).
    """
    outputs = -(-extent // stride)
    total = max((outputs - 1) * stride + window - extent, 0)
    before = total // 2 if center == "right" else total - total // 2
    return before, total - before


def boundary_per_axis(boundary: Any, rank: int) -> list[str]:
    """Return one boundary name for each spatial axis."""
    names = [boundary] * rank if isinstance(boundary, str) else boundary
    if not isinstance(names, Sequence) or len(names) != rank:
        raise ConvError(
            f"boundary: got {boundary!r}, allowed: one of {BOUNDARIES}, or one for each of {rank} spatial axes"
        )
    return [one_of(name, "boundary", BOUNDARIES) for name in names]


def is_list(value: Any) -> bool:
    """Return whether value holds one entry for each axis, rather than one for all."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def switch(value: Any, name: str) -> bool:
    """Return value as a bool."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ConvTypeError(f"{name}: got {value!r}, allowed: True, False")


def per_axis(value: Any, name: str, rank: int, least: int) -> list[int]:
    """Return one integer for each spatial axis."""
    if not is_list(value):
        return [integer(value, name, least)] * rank
    if len(value) != rank:
        raise ConvError(f"{name}: got {value!r}, allowed: one integer or one for each of {rank} spatial axes")
    return [integer(entry, name, least) for entry in value]


def integer(value: Any, name: str, least: int, most: int = SIZE_LIMIT) -> int:
    """Return value as an int between least and most."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ConvTypeError(f"{name}: got {value!r}, allowed: integers >= {least}") from None
    if not least <= number <= most:
        raise ConvError(f"{name}: got {number}, allowed: integers from {least} to {most}")
    return number


def one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """Return value if it is one of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise ConvError(f"{name}: got {value!r}, allowed: {', '.join(map(repr, allowed))}")
    return value


def fill_bytes(fill_value: Any, dtype: np.dtype[Any]) -> bytes:
    """Return one element of dtype; a value that the dtype cannot hold is refused, not cut."""
    value = as_array(fill_value, "fill_value")
    if value.size != 1:
        raise ConvError(f"fill_value: got {fill_value!r}, allowed: one number")
    scalar = value.reshape(())
    if not casts(scalar.dtype, dtype) and not (scalar.dtype.kind in "biu" and dtype.kind in "biu"):
        raise ConvTypeError(f"fill_value: got {fill_value!r} for dtype {dtype}, allowed: a number of that kind")
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= int(scalar) <= np.iinfo(dtype).max:
        raise ConvError(f"fill_value: got {fill_value!r}, allowed: {np.iinfo(dtype).min} to {np.iinfo(dtype).max}")
    with np.errstate(over="ignore"):
        fill = scalar.astype(dtype)
    if np.isfinite(scalar) and not np.isfinite(fill):
        raise ConvError(f"fill_value: got {fill_value!r}, allowed: what {dtype} can hold")
    return fill.tobytes()


def check_padded(axes: Sequence[Axis]) -> None:
    """Refuse axes that are too long with their padding."""
    for axis in axes:
        if axis.extent + abs(axis.lo) + abs(axis.hi) > SIZE_LIMIT or axis.window > SIZE_LIMIT:
            raise ConvError(f"padding: got {axis}, allowed: a padded axis of at most {SIZE_LIMIT} samples")


def check_sizes(problem: ConvProblem) -> None:
    """Refuse arrays that no address space can hold."""
    check_padded(problem.axes)
    # A zero must not hide the overflow of the other sizes.
    elements = math.prod(max(size, 1) for size in problem.out_shape)
    if elements * problem.dtype.itemsize > SIZE_LIMIT:
        raise ConvError(f"x: got a result of shape {problem.out_shape}, allowed: at most {SIZE_LIMIT} bytes")


def check_bias(bias: Any, channels_out: int, channel_axis: int, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return the bias as one contiguous element a channel out."""
    if bias is None:
        return None
    array = as_array(bias, "bias")
    if array.shape != (channels_out,) and not (channel_axis < 0 and array.size == 1 and array.ndim < 2):
        raise ConvError(f"bias: got shape {array.shape}, allowed: ({channels_out},), one number for each channel out")
    return one_row(array, "bias", dtype)


def check_scale(scale: Any, channels_out: int, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return the scale as one contiguous element a channel out."""
    if scale is None:
        return None
    array = as_array(scale, "scale")
    if array.shape not in ((), (channels_out,)):
        raise ConvError(
            f"scale: got shape {array.shape}, allowed: one number, or ({channels_out},), one for each channel out"
        )
    with np.errstate(over="ignore"):
        row = one_row(np.broadcast_to(array, (channels_out,)), "scale", dtype)
    if not np.isfinite(row).all():
        raise ConvError(f"scale: got {scale!r}, allowed: numbers that are finite in {dtype}")
    return row


def one_row(array: np.ndarray, name: str, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array as one contiguous row of a dtype that it casts to."""
    if not casts(array.dtype, dtype):
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: one that casts to {dtype}")
    if array.ndim == 1 and array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array.reshape(-1), dtype, ["C", "A"])


def check_residual(residual: Any, problem: ConvProblem) -> np.ndarray | None:
    """Return what is added to the result, of the result's dtype or of one that casts to the arithmetic's."""
    if residual is None:
        return None
    array = as_array(residual, "residual")
    if array.shape != problem.out_shape:
        raise ConvError(f"residual: got shape {array.shape}, allowed: {problem.out_shape}, that of the result")
    if same_dtype(array, problem.out_dtype):
        return native(array, problem.out_dtype)
    if not casts(array.dtype, problem.dtype):
        raise ConvTypeError(
            f"residual: got dtype {array.dtype}, allowed: {problem.out_dtype}, or one that casts to {problem.dtype}"
        )
    return native(array, problem.dtype)


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return `out` if a result of that shape and dtype can be written to it."""
    if out is None:
        return None
    if not isinstance(out, np.ndarray):
        raise ConvTypeError(f"out: got {type(out).__name__}, allowed: numpy.ndarray")
    if out.shape != shape:
        raise ConvError(f"out: got shape {out.shape}, allowed: {shape}")
    if not same_dtype(out, dtype):
        raise ConvTypeError(f"out: got dtype {out.dtype}, allowed: {dtype}")
    if not out.flags.writeable:
        raise ConvError("out: got a read-only array, allowed: a writeable one")
    return out


def same_dtype(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Return whether an array is of a dtype, in whatever byte order."""
    return bool(array.dtype.newbyteorder("=") == dtype)


def check_shape(shape: Any, name: str, itemsize: int) -> tuple[int, ...]:
    """Return a shape that an array could have."""
    if not is_list(shape):
        raise ConvTypeError(f"{name}: got {shape!r}, allowed: a sequence of integers >= 0")
    sizes = tuple(integer(size, name, 0) for size in shape)
    if math.prod(max(size, 1) for size in sizes) * itemsize > SIZE_LIMIT:
        raise ConvError(f"{name}: got {sizes}, allowed: at most {SIZE_LIMIT} bytes")
    return sizes


def native(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the array in the arithmetic's dtype and native byte order, itself where it is so already."""
    return array if array.dtype == dtype and array.dtype.isnative else array.astype(dtype)
