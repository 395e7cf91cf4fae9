"""The windows of an array, and the sum of overlapping windows, for any rank and any dtype.

`im2col` lays out what a kernel sees, without computing anything, and `col2im` is its adjoint::

    x         (batch, channels, *spatial)
    windows   (batch, channels, *kernel, *out)      windows[n, c, t..., p...] = x[n, c, p * stride - lo + t * dilation]

    five samples, kernel 3, padding 1              windows[t, p]

         . a b c d e .                                  p = 0 1 2 3 4
         |---|             p = 0                t = 0       . a b c d
           |---|           p = 1                t = 1       a b c d e
             |---|         p = 2 ...            t = 2       b c d e .

so that ``windows.reshape(batch, channels * taps, outputs)`` are the columns that a matrix of kernels multiplies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _problem
from ._errors import ConvError, ConvTypeError
from ._problem import Axis
from .drivers import threads as _threads
from .drivers.lane import Lane, distinct
from .drivers.windows import Windows

__all__ = ["col2im", "im2col"]

# Calls made before.
lanes = Lane(), Lane()
_im2col_lane, _col2im_lane = lanes

# Axes that an array of any NumPy since 1.26 can have.
MAX_AXES = 32

# Types that the driver adds; bool is no number, and what is left has more than two parts or two words.
DRIVEN = "bBhHiIlLqQfdFD"


class Frame(NamedTuple):
    """How windows lie on arrays of one shape, batch and channels first.

    Attributes
    ----------
    lead : tuple of int
        Batch and channels, 1 for what is not there.
    axes : tuple of Axis
        The spatial axes.
    """

    lead: tuple[int, int]
    axes: tuple[Axis, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Taps along each axis."""
        return tuple(axis.k for axis in self.axes)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(axis.out for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all windows."""
        return (*self.lead, *self.kernel, *self.outputs)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of what the windows lie on."""
        return (*self.lead, *(axis.n for axis in self.axes))


def im2col(
    x: Any,
    kernel_size: Any,
    *,
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = 0,
    center: str = "left",
    boundary: Any = "constant",
    fill_value: Any = 0,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Return the windows of an array that a kernel sees, one for each output.

    Parameters
    ----------
    x : array_like
        Of any dtype. Its axes are what `layout` says.
    kernel_size : int or sequence of int
        Taps of the kernel, along all spatial axes or along each.
    layout : str, optional
        A letter for each axis of x, as in `fastconv.conv`: "NCHW", "NHWC", "CW" and others. None: all axes are spatial.
    stride, dilation, padding, center, boundary, fill_value
        As in `fastconv.conv`; padding is 0 by default.
    out : ndarray, optional
        Where to write the windows, instead of returning a view; of their shape and of x's dtype. It may overlap x. No
        padded copy of x is made then.
    threads : int, optional
        For filling `out`; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray, shape (batch, channels, *kernel, *out)
        In this order for every layout; without the batch, and without channels, where the layout has none. Without
        `out` it is a read-only view, in which an element of x occurs as often as windows hold it: a view of x itself
        where nothing is padded, else one of a padded copy.

    Raises
    ------
    ConvError
        If sizes or options do not fit.
    ConvTypeError
        If an argument is of the wrong type.

    See Also
    --------
    col2im : The adjoint.
    fastconv.nn.unfold : The same as columns of a matrix.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.im2col([1, 2, 3, 4, 5], 3, padding=1)
    array([[0, 1, 2, 3, 4],
           [1, 2, 3, 4, 5],
           [2, 3, 4, 5, 0]])
    >>> images = np.arange(2 * 3 * 6 * 7.0).reshape(2, 3, 6, 7)
    >>> windows = fastconv.im2col(images, 3, layout="NCHW")
    >>> windows.shape, np.shares_memory(windows, images)
    ((2, 3, 3, 3, 4, 5), True)
    >>> kernels = np.ones((8, 3, 3, 3))
    >>> result = np.einsum("ocij,ncijhw->nohw", kernels, windows)
    >>> np.array_equal(result, fastconv.conv(images, kernels, layout="NCHW"))
    True
    """
    call = None
    if out is None:
        slides = (kernel_size, layout, stride, dilation, padding, center, boundary)
        call = (*slides, distinct(fill_value))
        known: np.ndarray | None = _im2col_lane.run(x, None, None, call, threads)
        if known is not None:
            return known
    _threads.check(threads)
    given, x = x, any_array(x, "x")
    lead, spatial = order_of(layout, x.shape, "x")
    axes = make_axes(
        [x.shape[axis] for axis in spatial],
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding=padding,
        center=center,
        boundary=boundary,
    )
    fill = fill_of(fill_value, x.dtype)
    order = [axis for axis in lead if axis >= 0] + spatial
    x = x.transpose(order)
    frame = make_frame(lead_sizes(layout, x.shape), axes, x.dtype)
    shape = (*x.shape[: x.ndim - len(axes)], *frame.kernel, *frame.outputs)
    out = _problem.check_out(out, shape, x.dtype.newbyteorder("="))
    if out is None:
        # What is remembered knows dtypes by their number, which leaves the length of a string open.
        if call is not None and x.dtype.kind in "biufc":
            _im2col_lane.remember_call(
                given, None, call, lambda x, _, threads: sliding(extended(x.transpose(order), axes, fill), axes)
            )
        return sliding(extended(x, axes, fill), axes)
    return copy_to(out, x.reshape(frame.x_shape), frame, fill, threads)


def col2im(
    windows: Any,
    x_shape: Any,
    *,
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = 0,
    center: str = "left",
    boundary: Any = "constant",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Add windows up where they overlap: the adjoint of `im2col`.

    For any x and y, ``sum(im2col(x, ...) * y) == sum(x * col2im(y, x.shape, ...))``. What windows hold of the padding
    goes to the sample that the boundary shows there, or nowhere if that is "constant".

    Parameters
    ----------
    windows : array_like, shape (batch, channels, *kernel, *out)
        As `im2col` returns them for an array of `x_shape`; the size of the kernel is read off this shape.
    x_shape : sequence of int
        Shape of the result, its axes in the order of `layout`.
    layout, stride, dilation, padding, center, boundary
        As in `im2col`.
    out : ndarray, optional
        Where to write the sums; of their shape and dtype. It may overlap the windows.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray, shape x_shape
        Of the dtype of the windows: integers are exact modulo 2^n, bool is OR, and types of two bytes are summed in
        float32.

    Raises
    ------
    ConvError
        If sizes or options do not fit.
    ConvTypeError
        If an argument is of the wrong type, or the dtype has no sum.

    See Also
    --------
    fastconv.nn.fold : The same from columns of a matrix.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> windows = fastconv.im2col([1, 2, 3, 4, 5], 3)
    >>> fastconv.col2im(windows, (5,))
    array([1, 4, 9, 8, 5])
    """
    call = None
    if out is None:
        call = (x_shape, layout, stride, dilation, padding, center, boundary)
        known: np.ndarray | None = _col2im_lane.run(windows, None, None, call, threads)
        if known is not None:
            return known
    _threads.check(threads)
    given, windows = windows, summable(any_array(windows, "windows"), "windows")
    x_shape = _problem.check_shape(x_shape, "x_shape", windows.dtype.itemsize)
    lead, spatial = order_of(layout, x_shape, "x_shape")
    order = [axis for axis in lead if axis >= 0] + spatial
    first, rank = len(order) - len(spatial), len(spatial)
    if windows.ndim != first + 2 * rank:
        raise ConvError(
            f"windows: got {windows.ndim} axes of shape {windows.shape}, allowed: {first + 2 * rank}, for x_shape "
            f"{x_shape} and layout {layout!r}"
        )
    axes = make_axes(
        [x_shape[axis] for axis in spatial],
        windows.shape[first : first + rank],
        stride=stride,
        dilation=dilation,
        padding=padding,
        center=center,
        boundary=boundary,
    )
    ordered = tuple(x_shape[axis] for axis in order)
    frame = make_frame(lead_sizes(layout, ordered), axes, windows.dtype)
    if windows.shape != (*ordered[:first], *frame.kernel, *frame.outputs):
        raise ConvError(
            f"windows: got shape {windows.shape}, allowed: {(*ordered[:first], *frame.kernel, *frame.outputs)} for "
            f"x_shape {x_shape}"
        )
    out = _problem.check_out(out, x_shape, windows.dtype.newbyteorder("="))
    back = np.argsort(order)

    def summed(windows: np.ndarray, _: Any, threads: int | None) -> np.ndarray:
        return sum_windows(windows.reshape(frame.shape), frame, threads).reshape(ordered).transpose(back)

    sums = summed(windows, None, threads)
    if out is None:
        if call is not None and windows.dtype.kind in "biufc":
            _col2im_lane.remember_call(given, None, call, lambda *these: np.ascontiguousarray(summed(*these)))
        return np.ascontiguousarray(sums)
    out[...] = sums
    return out


# --- checks ----------------------------------------------------------------------------------------------------------


def any_array(value: Any, name: str) -> np.ndarray:
    """Return a plain ndarray of any dtype."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ConvError(f"{name}: got {type(value).__name__} that makes no array ({error}), allowed: arrays") from error


def summable(array: np.ndarray, name: str) -> np.ndarray:
    """Return the array if its elements can be added."""
    if array.dtype.kind not in "biufcmO" and sum_dtype(array.dtype) == array.dtype:
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: dtypes whose elements can be added")
    return array


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which elements are added: float32 for both halves of it."""
    return np.dtype(np.float32) if dtype == np.float16 or dtype.name == "bfloat16" else dtype.newbyteorder("=")


def order_of(layout: Any, shape: tuple[int, ...], name: str) -> tuple[tuple[int, int], list[int]]:
    """Return the places of batch and channels (-1 where there are none) and those of the spatial axes."""
    if layout is None:
        if not shape:
            raise ConvError(f"{name}: got no axes, allowed: at least one")
        return (-1, -1), list(range(len(shape)))
    if not isinstance(layout, str):
        raise ConvTypeError(f"layout: got {layout!r}, allowed: None or a string such as 'NCHW'")
    if len(set(layout)) != len(layout) or not set(layout) - set("NC"):
        raise ConvError(
            f"layout: got {layout!r}, allowed: at most one N and one C, and a letter of its own for each spatial axis"
        )
    if len(shape) != len(layout):
        raise ConvError(f"{name}: got {len(shape)} axes of shape {shape}, allowed: {len(layout)} for layout {layout!r}")
    spatial = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
    return (layout.find("N"), layout.find("C")), spatial


def lead_sizes(layout: str | None, ordered: tuple[int, ...]) -> tuple[int, int]:
    """Return the sizes of batch and channels, which are the first axes if they are there."""
    batch = "N" in (layout or "")
    return ordered[0] if batch else 1, ordered[int(batch)] if "C" in (layout or "") else 1


def make_axes(
    sizes: Sequence[int],
    kernel_size: Any,
    *,
    stride: Any,
    dilation: Any,
    padding: Any,
    boundary: Any,
    center: str = "right",
) -> tuple[Axis, ...]:
    """Return the spatial axes under a kernel of that size."""
    if len(sizes) > (MAX_AXES - 2) // 2:
        raise ConvError(f"x: got {len(sizes)} spatial axes, allowed: at most {(MAX_AXES - 2) // 2}")
    axes = _problem.make_axes(
        sizes,
        _problem.per_axis(kernel_size, "kernel_size", len(sizes), 1),
        stride=stride,
        dilation=dilation,
        input_dilation=1,
        padding=padding,
        center=_problem.one_of(center, "center", _problem.CENTERS),
        boundary=boundary,
        kernel_name="kernel_size",
    )
    _problem.check_padded(axes)
    return axes


def make_frame(lead: tuple[int, int], axes: tuple[Axis, ...], dtype: np.dtype[Any]) -> Frame:
    """Return the frame of windows that an address space can hold."""
    frame = Frame(lead, axes)
    # A zero must not hide the overflow of the other sizes.
    if math.prod(max(size, 1) for size in frame.shape) * max(dtype.itemsize, 1) > _problem.SIZE_LIMIT:
        raise ConvError(
            f"kernel_size: got windows of shape {frame.shape}, allowed: at most {_problem.SIZE_LIMIT} bytes of them"
        )
    return frame


def fill_of(fill_value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the fill value as an array without axes."""
    if dtype.kind in "biufc":
        fill = np.frombuffer(_problem.fill_bytes(fill_value, dtype.newbyteorder("=")), dtype.newbyteorder("="))
        return fill.reshape(())
    try:
        return np.full((), fill_value, dtype)
    except (TypeError, ValueError) as error:
        raise ConvTypeError(f"fill_value: got {fill_value!r}, allowed: what {dtype} can hold") from error


# --- geometry --------------------------------------------------------------------------------------------------------


def is_padded(axes: Sequence[Axis]) -> bool:
    """Return whether windows hold more than samples of the input."""
    return any(axis.lo > 0 or axis.hi > 0 for axis in axes)


def padded_size(axis: Axis) -> int:
    """Return the samples of an axis with its padding."""
    return axis.n + axis.lo + axis.hi


def inside(axis: Axis) -> tuple[slice, slice]:
    """Return where samples lie on the padded axis, and which ones they are."""
    first = min(max(-axis.lo, 0), axis.n)
    at = min(max(axis.lo, 0), padded_size(axis))
    count = max(min(axis.n - first, padded_size(axis) - at), 0)
    return slice(at, at + count), slice(first, first + count)


def shown(axis: Axis) -> np.ndarray:
    """Return the sample at each place of a padded axis whose boundary shows samples."""
    at = np.arange(-axis.lo, axis.n + axis.hi)
    if axis.boundary == "edge":
        return at.clip(0, axis.n - 1)
    if axis.boundary == "wrap":
        return at % axis.n
    # Mirrored about the outer side of the last sample, or about its middle.
    period = 2 * axis.n if axis.boundary == "symmetric" else max(2 * axis.n - 2, 1)
    at %= period
    return np.minimum(at, period - at - (axis.boundary == "symmetric"))


def along(axis: int, *indices: Any) -> tuple[Any, ...]:
    """Return what indexes an axis and those behind it."""
    return (*(slice(None),) * axis, *indices)


def index_of(last: Iterable[slice]) -> tuple[Any, ...]:
    """Return what slices the last axes."""
    return (..., *last)


def sliding(padded: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Return all windows of an array with its padding, as a read-only view."""
    lead = padded.ndim - len(axes)
    steps = padded.strides[lead:]
    return np.lib.stride_tricks.as_strided(
        padded,
        (*padded.shape[:lead], *(axis.k for axis in axes), *(axis.out for axis in axes)),
        (
            *padded.strides[:lead],
            *(step * axis.dilation for step, axis in zip(steps, axes, strict=True)),
            *(step * axis.stride for step, axis in zip(steps, axes, strict=True)),
        ),
        writeable=False,
    )


@lru_cache(maxsize=256)
def driver_of(frame: Frame) -> Windows:
    """Return what copies and sums the windows of such a frame."""
    return Windows(*frame)


# --- windows out of an array -----------------------------------------------------------------------------------------


def extended(x: np.ndarray, axes: Sequence[Axis], fill: np.ndarray) -> np.ndarray:
    """Return an array whose last axes are those with its padding: a view if that only crops, else a copy."""
    if not is_padded(axes):
        view: np.ndarray = x[index_of(inside(axis)[1] for axis in axes)]
        return view
    lead = x.ndim - len(axes)
    for i, axis in enumerate(axes, lead):
        if axis.boundary != "constant":
            x = x.take(shown(axis), i)
    if all(axis.boundary != "constant" for axis in axes):
        return x
    padded = np.full((*x.shape[:lead], *map(padded_size, axes)), fill, x.dtype)
    whole = slice(None), slice(None)
    to, taken = zip(*(inside(axis) if axis.boundary == "constant" else whole for axis in axes), strict=True)
    padded[index_of(to)] = x[index_of(taken)]
    return padded


def copy_to(out: np.ndarray, x: np.ndarray, frame: Frame, fill: np.ndarray, threads: int | None = None) -> np.ndarray:
    """Write all windows of x to the user's `out`, whatever it is, of which they are the elements in C order."""
    if out.flags.c_contiguous and out.dtype.isnative and not np.may_share_memory(out, x):
        copy_windows(x, frame, fill, out.reshape(frame.shape), threads)
    else:
        windows = np.empty(frame.shape, out.dtype.newbyteorder("="))
        out[...] = copy_windows(x, frame, fill, windows, threads).reshape(out.shape)
    return out


def copy_windows(
    x: np.ndarray, frame: Frame, fill: np.ndarray, out: np.ndarray, threads: int | None = None
) -> np.ndarray:
    """Write all windows of x (batch, channels, *spatial) to `out`, which is contiguous and of native byte order."""
    if x.dtype.hasobject:
        out[...] = sliding(extended(x, frame.axes, fill), frame.axes)
    else:
        driver_of(frame).gather(x.astype(out.dtype, copy=False), fill.astype(out.dtype, copy=False), out, threads)
    return out


# --- an array out of windows -----------------------------------------------------------------------------------------


def sum_windows(windows: np.ndarray, frame: Frame, threads: int | None = None) -> np.ndarray:
    """Return the sums (batch, channels, *spatial) of windows (batch, channels, *kernel, *out)."""
    native, wide = windows.dtype.newbyteorder("="), sum_dtype(windows.dtype)
    if wide.char not in DRIVEN:
        return sum_in_numpy(windows, frame.axes)
    sums = np.zeros(frame.x_shape, native)
    if wide == native:
        driver_of(frame).scatter(np.require(windows, native, ["C", "A"]), sums, threads)
        return sums
    # Image by image, so that the wide copies are small.
    single = driver_of(frame._replace(lead=(1, frame.lead[1])))
    for image, columns in enumerate(windows):
        total = np.zeros(frame.x_shape[1:], wide)
        single.scatter(columns.astype(wide, order="C"), total, threads)
        with np.errstate(over="ignore"):
            sums[image] = total
    return sums


def sum_in_numpy(windows: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
    """Return the sums of windows of a dtype that the driver does not know."""
    padded = np.zeros((*windows.shape[:2], *map(padded_size, axes)), windows.dtype.newbyteorder("="))
    # The compiled code does not look at floating-point flags either.
    with np.errstate(all="ignore"):
        for tap in itertools.product(*(range(axis.k) for axis in axes)):
            seen = padded[index_of(map(seen_by, tap, axes))]
            np.add(seen, windows[along(2, *tap)], out=seen)
        return folded_back(padded, axes)


def seen_by(tap: int, axis: Axis) -> slice:
    """Return the places of a padded axis that a tap sees, one for each output."""
    start = tap * axis.dilation
    return slice(start, start + axis.out * axis.stride, axis.stride)


def folded_back(padded: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Return an array to whose samples all that shows them in a padded one was added: the adjoint of `place`."""
    lead = padded.ndim - len(axes)
    for i, axis in enumerate(axes, lead):
        to, taken = inside(axis)
        samples = np.zeros((*padded.shape[:i], axis.n, *padded.shape[i + 1 :]), padded.dtype)
        samples[along(i, taken)] = padded[along(i, to)]
        if axis.boundary != "constant":
            sources = shown(axis)
            for at in itertools.chain(range(to.start), range(to.stop, len(sources))):
                target = samples[along(i, sources[at])]
                target += padded[along(i, at)]
        padded = samples
    return padded
