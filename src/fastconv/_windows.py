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
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _problem, _tunables
from ._errors import ConvError, ConvTypeError
from ._problem import Axis

__all__ = ["col2im", "im2col"]

# Axes that an array of any NumPy since 1.26 can have.
MAX_AXES = 32


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
    x = any_array(x, "x")
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
    x = x.transpose([axis for axis in lead if axis >= 0] + spatial)
    frame = make_frame(lead_sizes(layout, x.shape), axes, x.dtype)
    shape = (*x.shape[: x.ndim - len(axes)], *frame.kernel, *frame.outputs)
    out = _problem.check_out(out, shape, x.dtype.newbyteorder("="))
    if out is None:
        return sliding(extended(x, axes, fill) if is_padded(axes) else cropped(x, axes), axes)
    # A reshaped `out` that is no view of it would keep the windows to itself.
    whole = out.flags.c_contiguous and not np.may_share_memory(out, x)
    windows = out if whole else np.empty(shape, x.dtype)
    copy_windows(x.reshape(frame.x_shape), axes, fill, windows.reshape(frame.shape))
    if windows is not out:
        out[...] = windows
    return out


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
    windows = summable(any_array(windows, "windows"), "windows")
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
    sums = sum_windows(windows.reshape(frame.shape), axes).reshape(ordered).transpose(np.argsort(order))
    if out is None:
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
            f"layout: got {layout!r}, allowed: at most one N, at most one C, and a letter of its own for each spatial axis"
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


@lru_cache(maxsize=256)
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


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """Return what indexes one axis."""
    return (*(slice(None),) * axis, index)


def sliding(padded: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Return all windows of an array with its padding, as a read-only view."""
    shape, strides = sliding_layout(padded.shape, padded.strides, tuple(axes))
    return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)


@lru_cache(maxsize=256)
def sliding_layout(
    shape: tuple[int, ...], strides: tuple[int, ...], axes: tuple[Axis, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and strides of the windows of an array with its padding."""
    lead = len(shape) - len(axes)
    steps = strides[lead:]
    return (
        (*shape[:lead], *(axis.k for axis in axes), *(axis.out for axis in axes)),
        (
            *strides[:lead],
            *(step * axis.dilation for step, axis in zip(steps, axes, strict=True)),
            *(step * axis.stride for step, axis in zip(steps, axes, strict=True)),
        ),
    )


# --- windows out of an array -----------------------------------------------------------------------------------------


def cropped(x: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Return a view of an array without what negative padding takes off."""
    return x[(..., *(inside(axis)[1] for axis in axes))]


def extended(x: np.ndarray, axes: Sequence[Axis], fill: np.ndarray) -> np.ndarray:
    """Return a padded copy of an array whose last axes are those."""
    padded = np.empty((*x.shape[: x.ndim - len(axes)], *map(padded_size, axes)), x.dtype)
    if any(axis.boundary == "constant" for axis in axes):
        padded[...] = fill
    place(x, axes, padded)
    return padded


def place(x: np.ndarray, axes: Sequence[Axis], padded: np.ndarray) -> None:
    """Write an array and what its boundaries show of it into a padded one that holds the fill value."""
    to, taken = zip(*map(inside, axes), strict=True)
    if all(axis.boundary == "constant" for axis in axes):
        padded[(..., *to)] = x[(..., *taken)]
        return
    lead = x.ndim - len(axes)
    for i, axis in enumerate(axes):
        if axis.boundary == "constant":
            padded, x = padded[along(lead + i, to[i])], x[along(lead + i, taken[i])]
        else:
            x = x.take(shown(axis), lead + i)
    padded[...] = x


def copy_windows(x: np.ndarray, axes: tuple[Axis, ...], fill: np.ndarray, out: np.ndarray) -> None:
    """Write all windows of x (batch, channels, *spatial) to `out`, block by block through a small padded one."""
    if not is_padded(axes):
        out[...] = sliding(cropped(x, axes), axes)
        return
    rows, planes = block_sizes(x.shape[:2], axes, x.dtype.itemsize)
    first = axes[0]
    for start in range(0, first.out, rows):
        # These outputs see a part of the padded axis, which is the same axis under other padding.
        stop = min(start + rows, first.out)
        lo = first.lo - start * first.stride
        seen = (stop - 1 - start) * first.stride + first.window
        part = (first._replace(lo=lo, hi=seen - first.n - lo), *axes[1:])
        target = out[along(2 + len(axes), slice(start, stop))]
        padded, windows = block_of((*planes, *map(padded_size, part)), x.dtype, fill, part)
        for lead in lead_blocks(x.shape[:2], planes):
            piece = x[lead]
            place(piece, part, padded[: piece.shape[0], : piece.shape[1]])
            target[lead] = windows[: piece.shape[0], : piece.shape[1]]


def block_of(
    shape: tuple[int, ...], dtype: np.dtype[Any], fill: np.ndarray, axes: tuple[Axis, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a padded block that holds the fill value, and the view of its windows."""
    if dtype.hasobject:
        padded = np.full(shape, fill, dtype)
        return padded, sliding(padded, axes)
    # Views made of plain memory take a microsecond, windows made of an array eight.
    memory = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
    padded = np.ndarray(shape, dtype, memory)
    if any(fill.tobytes()):
        padded[...] = fill
    slid, strides = sliding_layout(shape, padded.strides, axes)
    return padded, np.ndarray(slid, dtype, memory, 0, strides)


@lru_cache(maxsize=256)
def block_sizes(lead: tuple[int, int], axes: tuple[Axis, ...], itemsize: int) -> tuple[int, tuple[int, int]]:
    """Return the outputs along the first axis, and the images and channels, of a block that fits the cache."""
    first = axes[0]
    row = math.prod(max(padded_size(axis), 1) for axis in axes[1:]) * max(itemsize, 1)
    most = _tunables.WINDOWS_BLOCK_BYTES // row
    rows = min(max((most - first.window) // first.stride + 1, 1), max(first.out, 1))
    plane = ((rows - 1) * first.stride + first.window) * row
    return rows, lead_sizes_of_block(lead, plane)


def lead_sizes_of_block(lead: tuple[int, int], plane: int) -> tuple[int, int]:
    """Return the images and channels of a block, given the bytes of one channel: all channels before two images."""
    planes = max(_tunables.WINDOWS_BLOCK_BYTES // max(plane, 1), 1)
    channels = min(planes, max(lead[1], 1))
    return min(max(planes // max(lead[1], 1), 1), max(lead[0], 1)), channels


def lead_blocks(lead: tuple[int, ...], planes: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Cut batch and channels into blocks of so many."""
    for image in range(0, lead[0], planes[0]):
        for channel in range(0, lead[1], planes[1]):
            yield slice(image, image + planes[0]), slice(channel, channel + planes[1])


# --- an array out of windows -----------------------------------------------------------------------------------------


def sum_windows(windows: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
    """Return the sums (batch, channels, *spatial) of windows (batch, channels, *kernel, *out), block by block."""
    wide = sum_dtype(windows.dtype)
    lead = windows.shape[:2]
    sums = np.zeros((*lead, *(axis.n for axis in axes)), windows.dtype.newbyteorder("="))
    sizes = tuple(map(padded_size, axes))
    in_place = wide == sums.dtype and not any(axis.lo or axis.hi for axis in axes)
    # The compiled kernels do not look at floating-point flags either.
    with np.errstate(all="ignore"):
        for block in lead_blocks(lead, lead_sizes_of_block(lead, math.prod(sizes) * wide.itemsize)):
            piece = windows[block]
            padded = sums[block] if in_place else np.zeros((*piece.shape[:2], *sizes), wide)
            for tap in itertools.product(*(range(axis.k) for axis in axes)):
                seen = padded[(..., *map(seen_by, tap, axes))]
                np.add(seen, piece[(slice(None), slice(None), *tap)], out=seen)
            if not in_place:
                sums[block] = folded_back(padded, axes)
    return sums


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
