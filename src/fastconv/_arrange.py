"""Two arrays that are convolved with each other: which of them is the kernel, and how the core sees both.

With nothing but zeros around them the two play the same part, so the one with fewer taps becomes the kernel. Along an
axis on which one of them has a single sample there is nothing to sum: such an axis is a batch, as the axes are that
the user wants broadcast. All of it follows from shapes; no array is touched here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import _tunables

Part = tuple[int, int]


class Task(NamedTuple):
    """Everything about a call but its arrays.

    Attributes
    ----------
    x_shape, w_shape : tuple of int
        Of equally many axes, and without zeros.
    parts : tuple of (start, length) or None
        For each axis what is wanted of the full convolution (or cross-correlation), which has ``n + k - 1`` samples;
        None where the operands are broadcast against each other.
    dtype : numpy.dtype
        Of the operands and the result.
    correlate : bool
        Cross-correlate with the conjugate of w.
    boundary : tuple of str
        By the core's names, one an axis; empty if "constant" along all.
    fill : bytes
        One element of `dtype`, what the boundary "constant" reads outside x; empty for zero.
    direct : bool
        Take the direct algorithm where it serves the task and `algorithm` is "auto".
    algorithm : str
    """

    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    parts: tuple[Part | None, ...]
    dtype: np.dtype[Any]
    correlate: bool = False
    boundary: tuple[str, ...] = ()
    fill: bytes = b""
    direct: bool = False
    algorithm: str = "auto"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = zip(self.x_shape, self.w_shape, self.parts, strict=True)
        return tuple(max(n, k) if part is None else part[1] for n, k, part in sizes)

    @property
    def symmetric(self) -> bool:
        """Whether x and w may change places."""
        return all(name == "constant" for name in self.boundary) and not self.fill.strip(b"\0")

    @property
    def padded(self) -> bool:
        """Whether a window reaches beyond the larger operand."""
        sizes = zip(self.x_shape, self.w_shape, self.parts, strict=True)
        return any(p and (p[0] < min(n, k) - 1 or p[0] + p[1] > max(n, k)) for n, k, p in sizes)


class View(NamedTuple):
    """How the core sees an array: cut, transposed, reshaped."""

    cut: tuple[slice, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the view, or a copy where no view is of that shape."""
        seen: np.ndarray = array[self.cut].transpose(self.order).reshape(self.shape)
        return seen


class Arrangement(NamedTuple):
    """Which operand is the kernel, and what becomes of each axis.

    Attributes
    ----------
    swapped : bool
        x is the kernel and w the data.
    summed : tuple of int
        Axes along which products are summed.
    batch, groups, outs, spatial : tuple of int
        The axes that become the core's batch, groups and output channels, and those it slides the kernel along. An
        axis of the data alone is slid along with a single tap if it does not count as batch.
    x_cut, w_cut : tuple of slice
        The parts of x and w that the result is made from.
    """

    swapped: bool
    summed: tuple[int, ...]
    batch: tuple[int, ...]
    groups: tuple[int, ...]
    outs: tuple[int, ...]
    spatial: tuple[int, ...]
    x_cut: tuple[slice, ...]
    w_cut: tuple[slice, ...]

    @property
    def plain(self) -> bool:
        """Whether the core sees the arrays as they are."""
        moved = self.batch or self.groups or self.outs
        return not moved and all(part == slice(None) for part in (*self.x_cut, *self.w_cut))


def arrange(task: Task) -> Arrangement:
    """Return the arrangement of a task."""
    symmetric = task.symmetric
    kinds = [kind_of(task, axis, symmetric) for axis in range(len(task.parts))]
    summed = tuple(axis for axis, kind in enumerate(kinds) if kind == "summed")
    swapped = symmetric and math.prod(task.w_shape[a] for a in summed) > math.prod(task.x_shape[a] for a in summed)
    own = [axis for axis, kind in enumerate(kinds) if kind == ("w" if swapped else "x")]
    spatial = sorted((*summed, *own))
    batch: list[int] = []
    # Transforms take three axes. Those in front of what is summed become a batch for nothing.
    if len(spatial) > 3:
        first = min(summed, default=0)
        batch = [axis for axis in own if axis < first]
        batch = batch if len(spatial) - len(batch) <= 3 else own
        spatial = [axis for axis in spatial if axis not in batch]
    return Arrangement(
        swapped=swapped,
        summed=summed,
        batch=tuple(batch),
        groups=tuple(axis for axis, kind in enumerate(kinds) if kind == "both"),
        outs=tuple(axis for axis, kind in enumerate(kinds) if kind == ("x" if swapped else "w")),
        spatial=tuple(spatial),
        x_cut=cut_of(task, kinds, "x", task.x_shape),
        w_cut=cut_of(task, kinds, "w", task.w_shape),
    )


def kind_of(task: Task, axis: int, symmetric: bool) -> str:
    """Return what happens along an axis.

    "summed", "x" or "w" where only that operand has samples, "both" where their samples meet one by one. If both have
    one, it does not matter which of them is the kernel: "summed". A short axis alone is it too: a driver is called
    sooner than NumPy's product.
    """
    n, k, part = task.x_shape[axis], task.w_shape[axis], task.parts[axis]
    short = len(task.parts) == 1 and max(n, k) <= _tunables.SHORT_PRODUCT
    if n == k == 1 or (short and symmetric and part is not None):
        return "summed"
    if part is None:
        return "x" if k == 1 else "w" if n == 1 else "both"
    if k == 1 and (symmetric or part == (0, n)):
        return "x"
    return "w" if n == 1 and symmetric else "summed"


def cut_of(task: Task, kinds: list[str], operand: str, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of an operand that the result is made from, where it is a part."""
    cuts = [slice(None)] * len(kinds)
    for axis, (kind, part) in enumerate(zip(kinds, task.parts, strict=True)):
        if kind == operand and part is not None and part != (0, shape[axis]):
            cuts[axis] = slice(part[0], part[0] + part[1])
    return tuple(cuts)


def views(task: Task, how: Arrangement) -> tuple[View, View, View]:
    """Return how the core sees x, w and the result."""
    shape = task.shape
    x_sizes, w_sizes = sizes_of(task.x_shape, how.x_cut), sizes_of(task.w_shape, how.w_cut)
    data, kernel = (w_sizes, x_sizes) if how.swapped else (x_sizes, w_sizes)
    n_batch, n_groups, n_outs = (math.prod(shape[a] for a in axes) for axes in (how.batch, how.groups, how.outs))
    # In front of the spatial axes: nothing, channels, or a batch and channels.
    batch = (n_batch,) if how.batch else ()
    channels = how.batch or how.groups or how.outs
    order = how.batch + how.groups + how.outs + how.spatial
    data_spatial, kernel_spatial, out_spatial = (
        tuple(sizes[axis] for axis in how.spatial) for sizes in (data, kernel, shape)
    )
    data_shape = ((*batch, n_groups) if channels else ()) + data_spatial
    kernel_shape = ((n_groups * n_outs, 1) if channels else ()) + kernel_spatial
    out_shape = ((*batch, n_groups * n_outs) if channels else ()) + out_spatial
    x_shape, w_shape = (kernel_shape, data_shape) if how.swapped else (data_shape, kernel_shape)
    everything = (slice(None),) * len(shape)
    return View(how.x_cut, order, x_shape), View(how.w_cut, order, w_shape), View(everything, order, out_shape)


def sizes_of(shape: tuple[int, ...], cut: tuple[slice, ...]) -> tuple[int, ...]:
    """Return the shape of a part."""
    return tuple(len(range(size)[part]) for size, part in zip(shape, cut, strict=True))


def core_options(task: Task, how: Arrangement) -> dict[str, Any]:
    """Return the keywords of `fastconv.conv` for what the core sees."""
    kernel = task.x_shape if how.swapped else task.w_shape
    data = task.w_shape if how.swapped else task.x_shape
    padding, boundary = [], []
    for axis in how.spatial:
        lo = hi = 0
        if axis in how.summed:
            start, length = task.parts[axis] or (0, 1)
            lo = kernel[axis] - 1 - start
            hi = length - data[axis] - lo + kernel[axis] - 1
        padding.append((lo, hi))
        boundary.append(task.boundary[axis] if task.boundary and axis in how.summed else "constant")
    letters = "".join(chr(ord("a") + place) for place in range(len(padding)))
    channels = how.batch or how.groups or how.outs
    return {
        "layout": ("NC" if how.batch else "C") + letters if channels else None,
        "groups": math.prod(task.shape[axis] for axis in how.groups),
        "padding": padding,
        "boundary": boundary,
        "fill_value": np.frombuffer(task.fill, task.dtype)[0] if task.fill else 0,
        "flip": not task.correlate or how.swapped,
        "conj": task.correlate,
    }
