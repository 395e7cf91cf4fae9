"""Two arrays convolved with each other: which of them is the kernel, and how the core sees both.

With nothing but zeros around them the two play the same part, so the one with fewer taps becomes the kernel. Along an
axis on which one of them has a single sample there is nothing to sum: such an axis is a batch, as the axes are that
the user wants broadcast. What is concluded depends on shapes and options only, and is kept (`recipe`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _plan, _problem, core
from ._errors import ConvError
from .drivers import levels
from .drivers import threads as _threads
from .drivers.lane import Lane

# In a container, where nobody who replaces NumPy's functions by ours in every module finds them.
NUMPYS: dict[str, Callable[..., Any]] = {"convolve": np.convolve, "correlate": np.correlate}

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
        By the core's names, one an axis.
    fill : bytes
        One element of `dtype`, what the boundary "constant" reads outside x.
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

    cut: tuple[Any, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the view, or a copy where no view is of that shape."""
        seen: np.ndarray = array[self.cut].transpose(self.order).reshape(self.shape)
        return seen


class Recipe(NamedTuple):
    """How a task is done.

    Attributes
    ----------
    shape : tuple of int
        Of the result.
    schedule : Schedule or None
        None: nothing is summed, and the result is the product of the two views.
    swapped : bool
        x is the kernel.
    backwards : tuple of slice or None
        How w is reversed before anything else.
    conj : bool
        The product takes the conjugate of w.
    conj_result : bool
    x, w, out : View or None
        None: as they are.
    """

    shape: tuple[int, ...]
    schedule: _plan.Schedule | None
    swapped: bool
    backwards: tuple[slice, ...] | None
    conj: bool
    conj_result: bool
    x: View | None = None
    w: View | None = None
    out: View | None = None

    @property
    def plain(self) -> bool:
        """Whether drivers take the arrays as they are, if in the other order."""
        return self.schedule is not None and self.backwards is None and self.out is None and not self.conj_result


def convolve(
    task: Task, x: np.ndarray, w: np.ndarray, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """Do a task on arrays of its shapes and of any dtype; `out` may overlap them."""
    todo = recipe(task, levels.current())
    out = _problem.check_out(out, todo.shape, task.dtype)
    _threads.check(threads)
    x, w = _problem.native(x, task.dtype), _problem.native(w, task.dtype)
    if len(task.parts) == 1 and better_by_numpy(task, x, w):
        return returned(by_numpy(task, x, w), out)
    if todo.backwards is not None:
        w = w[todo.backwards]
    if todo.schedule is None:
        return product(todo, x, w, out)
    if todo.x is not None and todo.w is not None and todo.out is not None:
        return in_views(todo, todo.x.of(x), todo.w.of(w), out, threads)
    data, kernel = (w, x) if todo.swapped else (x, w)
    result = core.execute(todo.schedule, _problem.Operands(data, kernel, None, out), threads)
    return np.conjugate(result, out=result) if todo.conj_result else result


def in_views(todo: Recipe, x: np.ndarray, w: np.ndarray, out: np.ndarray | None, threads: int | None) -> np.ndarray:
    """Convolve what the core sees of the operands, and write it to where it belongs in the result."""
    assert todo.schedule is not None and todo.out is not None
    result = np.empty(todo.shape, todo.schedule.problem.dtype) if out is None else out
    seen = todo.out.of(result)
    writes_through = np.may_share_memory(seen, result)
    data, kernel = (w, x) if todo.swapped else (x, w)
    done = core.execute(todo.schedule, _problem.Operands(data, kernel, None, seen if writes_through else None), threads)
    if todo.conj_result:
        np.conjugate(done, out=done)
    if not writes_through:
        moved = [todo.shape[axis] for axis in todo.out.order]
        result[...] = done.reshape(moved).transpose(np.argsort(todo.out.order))
    return result


def product(todo: Recipe, x: np.ndarray, w: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Return the product of operands that have no axis to be summed along."""
    assert todo.x is not None and todo.w is not None
    x, w = x[todo.x.cut], w[todo.w.cut]
    # The compiled kernels say nothing of overflow and of Inf times zero either.
    with np.errstate(all="ignore"):
        result = np.multiply(x, np.conjugate(w) if todo.conj else w)
    return returned(np.asarray(result), out)


def returned(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Return a result that is complete in the array that the caller wants."""
    if out is None:
        return result
    out[...] = result
    return out


def better_by_numpy(task: Task, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether NumPy's own loop does a task in one dimension.

    It has types that the kernels have not, and it leaves out what the kernels multiply by the zeros of the padding,
    which shows in a kernel with NaN or Inf.
    """
    if not task.symmetric or task.algorithm != "auto":
        return False
    if task.dtype.char in "gG":
        return True
    kernel = w if w.size <= x.size else x
    return task.dtype.kind in "fc" and task.padded and not np.isfinite(kernel).all()


def by_numpy(task: Task, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Do a task in one dimension by NumPy's own loop."""
    function = NUMPYS["correlate" if task.correlate else "convolve"]
    ((start, length),) = task.parts  # type: ignore[misc]
    with np.errstate(all="ignore"):
        if task.padded:
            return np.asarray(function(x, w, "full"))[start : start + length].copy()
        first = start - (min(x.size, w.size) - 1)
        return np.asarray(function(x, w, "valid"))[first : first + length].copy()


def remember(lane: Lane, task: Task, x: Any, w: Any, options: tuple[Any, ...]) -> None:
    """Keep a task that was done on x and w for the short lane, if they went to the driver as they were."""
    todo = recipe(task, levels.current())
    as_they_were = all(type(array) is np.ndarray and array.dtype == task.dtype for array in (x, w))
    if todo.schedule is None or not todo.plain or not as_they_were:
        return
    one_axis = len(task.parts) == 1 and task.symmetric and task.algorithm == "auto"
    if one_axis and task.dtype.char in "gG":
        return
    finite = one_axis and task.padded and task.dtype.kind in "fc"
    operands = _problem.Operands(x, w, None, None)
    lane.remember(x, w, None, options, todo.schedule, operands, swapped=todo.swapped, finite=finite)


@lru_cache(maxsize=1024)
def recipe(task: Task, level: str) -> Recipe:
    """Return how a task is done."""
    symmetric = task.symmetric
    axes = range(len(task.parts))
    kinds = [kind_of(task, axis, symmetric) for axis in axes]
    summed = [axis for axis in axes if kinds[axis] == "S"]
    swapped = symmetric and math.prod(task.w_shape[a] for a in summed) > math.prod(task.x_shape[a] for a in summed)
    x_cut, w_cut = cuts(task, kinds)
    # Where the core does not slide w, but shows it as it is, a correlation has to show it reversed.
    turned = [
        task.correlate and task.parts[axis] is not None and task.w_shape[axis] > 1 and (swapped or kinds[axis] != "S")
        for axis in axes
    ]
    common: dict[str, Any] = {
        "shape": task.shape,
        "swapped": swapped,
        "backwards": tuple(slice(None, None, -1 if turn else 1) for turn in turned) if any(turned) else None,
        "conj": task.correlate and task.dtype.kind == "c",
        "conj_result": task.correlate and swapped and task.dtype.kind == "c",
    }
    x_view, w_view, out_view = views(task, kinds, (x_cut, w_cut), swapped)
    if not summed:
        return Recipe(schedule=None, x=x_view, w=w_view, **common)
    x_seen, w_seen = (
        view.of(stand_in(shape, task.dtype)) for view, shape in ((x_view, task.x_shape), (w_view, task.w_shape))
    )
    schedule = schedule_of(task, level, kinds, swapped, x_seen, w_seen)
    as_they_are = schedule.problem.channel_axis < 0 and not any(part != slice(None) for part in (*x_cut, *w_cut))
    if as_they_are:
        return Recipe(schedule=schedule, **common)
    return Recipe(schedule=schedule, x=x_view, w=w_view, out=out_view, **common)


def kind_of(task: Task, axis: int, symmetric: bool) -> str:
    """Return what happens along an axis.

    "S": samples are summed. "X": x has samples and w has one. "W": w has samples and x has one. "B": both have
    samples, which meet one by one. Where both have one, it does not matter which of them is the kernel: "S".
    """
    n, k, part = task.x_shape[axis], task.w_shape[axis], task.parts[axis]
    if n == k == 1:
        return "S"
    if part is None:
        return "X" if k == 1 else "W" if n == 1 else "B"
    if k == 1 and (symmetric or part == (0, n)):
        return "X"
    return "W" if n == 1 and symmetric else "S"


def cuts(task: Task, kinds: Sequence[str]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of x and of w that the result is made from, where it is a part."""
    x_cut, w_cut = [slice(None)] * len(kinds), [slice(None)] * len(kinds)
    for axis, (kind, part) in enumerate(zip(kinds, task.parts, strict=True)):
        sizes = {"X": task.x_shape[axis], "W": task.w_shape[axis]}
        if kind in sizes and part is not None and part != (0, sizes[kind]):
            (x_cut if kind == "X" else w_cut)[axis] = slice(part[0], part[0] + part[1])
    return tuple(x_cut), tuple(w_cut)


def views(
    task: Task, kinds: Sequence[str], cuts_: tuple[tuple[slice, ...], tuple[slice, ...]], swapped: bool
) -> tuple[View, View, View]:
    """Return how the core sees x, w and the result.

    An axis that only the kernel has becomes output channels, one that both have becomes groups, and the data's own
    are spatial ones with a single tap.
    """
    own, others = ("W", "X") if swapped else ("X", "W")
    groups = [axis for axis, kind in enumerate(kinds) if kind == "B"]
    outs = [axis for axis, kind in enumerate(kinds) if kind == others]
    spatial = [axis for axis, kind in enumerate(kinds) if kind in ("S", own)]
    shape = task.shape

    def sizes(operand: tuple[int, ...], index: tuple[slice, ...]) -> list[int]:
        return [len(range(size)[part]) for size, part in zip(operand, index, strict=True)]

    x_sizes, w_sizes = sizes(task.x_shape, cuts_[0]), sizes(task.w_shape, cuts_[1])
    data, kernel = (w_sizes, x_sizes) if swapped else (x_sizes, w_sizes)
    n_groups, n_outs = math.prod(shape[a] for a in groups), math.prod(shape[a] for a in outs)
    channels = bool(groups or outs)
    order = tuple(groups + outs + spatial)
    data_shape = ((n_groups,) if channels else ()) + tuple(data[a] for a in spatial)
    kernel_shape = ((n_groups * n_outs, 1) if channels else ()) + tuple(kernel[a] for a in spatial)
    out_shape = ((n_groups * n_outs,) if channels else ()) + tuple(shape[a] for a in spatial)
    x_shape, w_shape = (kernel_shape, data_shape) if swapped else (data_shape, kernel_shape)
    return View(cuts_[0], order, x_shape), View(cuts_[1], order, w_shape), View((), order, out_shape)


def schedule_of(
    task: Task, level: str, kinds: Sequence[str], swapped: bool, x: np.ndarray, w: np.ndarray
) -> _plan.Schedule:
    """Return the core's schedule for what it sees of the operands."""
    data, kernel = (w, x) if swapped else (x, w)
    own = "W" if swapped else "X"
    spatial = [axis for axis, kind in enumerate(kinds) if kind in ("S", own)]
    first = data.ndim - len(spatial)
    padding, boundary = [], []
    for place, axis in enumerate(spatial, first):
        start, length = task.parts[axis] or (0, 1)
        taps = kernel.shape[kernel.ndim - data.ndim + place]
        lo = taps - 1 - start
        summed = kinds[axis] == "S"
        padding.append((lo, length - data.shape[place] - lo + taps - 1) if summed else (0, 0))
        boundary.append(task.boundary[axis] if summed and task.boundary else "constant")
    problem, _ = _problem.prepare(
        data,
        kernel,
        layout="C" + "".join(chr(ord("a") + place) for place in range(len(spatial))) if first else None,
        groups=data.shape[0] if first else 1,
        padding=padding,
        boundary=boundary,
        fill_value=np.frombuffer(task.fill, task.dtype)[0] if task.fill else 0,
        flip=not task.correlate or swapped,
        conj=task.correlate,
        dtype=task.dtype,
        algorithm=task.algorithm,
    )
    if task.direct and task.algorithm == "auto":
        try:
            return _plan.make(problem._replace(algorithm="direct"), level)
        except ConvError:
            pass
    return _plan.make(problem, level)


def stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array of a shape in no memory of its own."""
    return np.broadcast_to(np.zeros((), dtype), shape)
