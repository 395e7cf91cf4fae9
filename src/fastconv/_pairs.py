"""Two arrays convolved with each other by the core, in the arrangement of `_arrange`.

What is concluded about a task depends on its shapes and options only, and is kept: see `recipe`. Types that the core
has no kernels for are helped along here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _plan, _problem, _tunables, core
from ._arrange import Arrangement, Task, View, arrange, core_options, views
from ._errors import ConvError
from .drivers import levels, results
from .drivers import threads as _threads
from .drivers.lane import Lane

# In a container, where nobody who replaces NumPy's functions by ours in every module finds them.
NUMPYS: dict[str, Callable[..., Any]] = {"convolve": np.convolve, "correlate": np.correlate}


class Recipe(NamedTuple):
    """How a task is done.

    Attributes
    ----------
    schedule : Schedule or None
        None: nothing is summed, and the result is the product of the two views.
    how : Arrangement
    backwards : tuple of slice or None
        How w is reversed before anything else.
    conj_result : bool
    numpy : {"never", "always", "not finite"}
        When NumPy's own loop does it; the last stands for a kernel with NaN or Inf.
    x, w, out : View or None
        None: as they are.
    transformed : bool
        The task is for `by_numpy_fft` if its operands are finite.
    """

    schedule: _plan.Schedule | None
    how: Arrangement
    backwards: tuple[slice, ...] | None
    conj_result: bool
    numpy: str
    x: View | None
    w: View | None
    out: View | None
    transformed: bool

    @property
    def swapped(self) -> bool:
        """Whether x is the kernel."""
        return self.how.swapped

    @property
    def plain(self) -> bool:
        """Whether one driver takes the arrays as they are, if in the other order or reversed."""
        alone = self.schedule is not None and self.schedule.rounded is None
        return alone and self.out is None and self.numpy != "always"


def convolve(
    task: Task, x: np.ndarray, w: np.ndarray, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """Do a task on arrays of its shapes and of any dtype; `out` may overlap them.

    Parameters
    ----------
    task : Task
    x, w : ndarray
    out : ndarray, optional
    threads : int, optional

    Returns
    -------
    ndarray
        C-contiguous, of the task's dtype; or `out`.

    Raises
    ------
    ConvError, ConvTypeError
        If `out`, `threads` or the algorithm is none that can be served.
    """
    out = checked(task.shape, task.dtype, task.algorithm, out, threads)
    return follow(task, recipe(task, levels.current()), x, w, out, threads)


def checked(shape: tuple[int, ...], dtype: np.dtype[Any], algorithm: Any, out: Any, threads: Any) -> np.ndarray | None:
    """Return `out`, after a look at it and at what else is about the execution of a call."""
    _problem.one_of(algorithm, "algorithm", _problem.ALGORITHMS)
    _threads.check(threads)
    return _problem.check_out(out, shape, dtype)


def follow(
    task: Task, todo: Recipe, x: np.ndarray, w: np.ndarray, out: np.ndarray | None, threads: int | None
) -> np.ndarray:
    """Do a task as its recipe says."""
    x, w = _problem.native(x, task.dtype), _problem.native(w, task.dtype)
    if todo.transformed and np.isfinite(x).all() and np.isfinite(w).all():
        return returned(by_numpy_fft(task, todo, x, w), out)
    if todo.numpy == "always" or (todo.numpy == "not finite" and not np.isfinite(w if w.size <= x.size else x).all()):
        return returned(by_numpy(task, x, w), out)
    if todo.backwards is not None:
        w = w[todo.backwards]
    if todo.schedule is None:
        return product(task, todo, x, w, out)
    if todo.x is not None and todo.w is not None and todo.out is not None:
        return in_views(task, todo, todo.x.of(x), todo.w.of(w), out, threads)
    data, kernel = (w, x) if todo.swapped else (x, w)
    result = core.execute(todo.schedule, _problem.Operands(data, kernel, None, out), threads)
    return np.conjugate(result, out=result) if todo.conj_result else result


def in_views(
    task: Task, todo: Recipe, x: np.ndarray, w: np.ndarray, out: np.ndarray | None, threads: int | None
) -> np.ndarray:
    """Convolve what the core sees of the operands, and write it to where it belongs in the result."""
    assert todo.schedule is not None and todo.out is not None
    data, kernel = (w, x) if todo.swapped else (x, w)
    result = results.empty(task.shape, task.dtype) if out is None else out
    seen = todo.out.of(result)
    if not np.may_share_memory(seen, result):
        done = core.execute(todo.schedule, _problem.Operands(data, kernel, None, None), threads)
        moved = [task.shape[axis] for axis in todo.out.order]
        result[...] = done.reshape(moved).transpose(np.argsort(todo.out.order))
    else:
        core.execute(todo.schedule, _problem.Operands(data, kernel, None, seen), threads)
    return np.conjugate(result, out=result) if todo.conj_result else result


def product(task: Task, todo: Recipe, x: np.ndarray, w: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Return the product of operands that have no axis to be summed along."""
    x, w = x[todo.how.x_cut], w[todo.how.w_cut]
    # The compiled kernels say nothing of overflow and of Inf times zero either.
    with np.errstate(all="ignore"):
        result = np.multiply(x, np.conjugate(w) if task.correlate and task.dtype.kind == "c" else w)
    return returned(np.asarray(result), out)


def returned(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Return a result that is complete in the array that the caller wants."""
    if out is None:
        return result
    out[...] = result
    return out


# --- where the core is not the best ----------------------------------------------------------------------------------


def by_numpy_when(task: Task) -> str:
    """Return when NumPy's own loop is to do a task.

    In one dimension it has types that the kernels have not, and it leaves out what the kernels multiply by the zeros
    of the padding, which shows in a kernel with NaN or Inf.
    """
    if len(task.parts) > 1 or None in task.parts or not task.symmetric or task.algorithm != "auto":
        return "never"
    if task.dtype.char in "gG":
        return "always"
    return "not finite" if task.padded and task.dtype.kind in "fc" else "never"


def by_numpy(task: Task, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Do a task in one dimension by NumPy's own loop."""
    function = NUMPYS["correlate" if task.correlate else "convolve"]
    ((start, length),) = task.parts  # type: ignore[misc]
    if task.padded:
        result, first = function(x, w, "full"), start
    else:
        result, first = function(x, w, "valid"), start - (min(x.size, w.size) - 1)
    return np.asarray(result if len(result) == length else result[first : first + length].copy())


def transforms(task: Task, how: Arrangement) -> bool:
    """Whether the kernel is large, and of a type that only NumPy has a transform for."""
    wide = task.dtype.char in "gG" and np.fft.rfft(np.zeros(2, np.longdouble)).dtype == np.clongdouble
    free = task.symmetric and task.algorithm == "auto" and not task.direct
    return wide and free and taps_of(task, how) >= _tunables.LONGDOUBLE_FFT_TAPS


def by_numpy_fft(task: Task, todo: Recipe, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Do a task by transforming the whole of both operands, in the precision of the task."""
    axes = todo.how.summed
    if task.correlate:
        w = np.conjugate(np.flip(w, tuple(axis for axis, part in enumerate(task.parts) if part is not None)))
    lengths = [smooth(task.x_shape[axis] + task.w_shape[axis] - 1) for axis in axes]
    forward, back = (np.fft.fftn, np.fft.ifftn) if task.dtype.kind == "c" else (np.fft.rfftn, np.fft.irfftn)
    full = back(forward(x, lengths, axes) * forward(w, lengths, axes), lengths, axes)
    wanted = tuple(slice(None) if part is None else slice(part[0], part[0] + part[1]) for part in task.parts)
    return np.ascontiguousarray(full[wanted], task.dtype)


def smooth(least: int) -> int:
    """Return the first length from `least` on without a prime factor above 5."""
    length = least
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def taps_of(task: Task, how: Arrangement) -> int:
    """Return how many products are summed for an output."""
    kernel, taps = task.x_shape if how.swapped else task.w_shape, 1
    for axis in how.summed:
        taps *= kernel[axis]
    return taps


# --- what is kept ----------------------------------------------------------------------------------------------------


def remember(lane: Lane, task: Task, x: np.ndarray, w: np.ndarray, options: tuple[Any, ...]) -> None:
    """Keep a task that was done on x and w for the short lane."""
    todo = recipe(task, levels.current())
    if todo.plain and not todo.transformed:
        lane.remember_pair(x, w, options, todo)
    elif todo.numpy == "always" and not todo.transformed:
        lane.remember_call(x, w, options, lambda x, w, threads: by_numpy(task, x, w))
    else:
        lane.remember_call(x, w, options, lambda x, w, threads: follow(task, todo, x, w, None, threads))


@lru_cache(maxsize=1024)
def recipe(task: Task, level: str) -> Recipe:
    """Return how a task is done."""
    how = arrange(task)
    # Where the core does not slide w, but shows it as it is, a correlation has to show it reversed.
    turned = [
        task.correlate and part is not None and k > 1 and (how.swapped or axis not in how.summed)
        for axis, (k, part) in enumerate(zip(task.w_shape, task.parts, strict=True))
    ]
    schedule, seen = None, (None, None, None)
    if how.summed:
        seen_by_core = views(task, how)
        schedule = schedule_of(task, how, level, seen_by_core)
        seen = (None, None, None) if how.plain else seen_by_core  # type: ignore[assignment]
    return Recipe(
        schedule=schedule,
        how=how,
        backwards=tuple(slice(None, None, -1 if turn else 1) for turn in turned) if any(turned) else None,
        conj_result=task.correlate and how.swapped and task.dtype.kind == "c",
        numpy=by_numpy_when(task),
        x=seen[0],
        w=seen[1],
        out=seen[2],
        transformed=transforms(task, how),
    )


def schedule_of(task: Task, how: Arrangement, level: str, seen: tuple[View, View, View]) -> _plan.Schedule:
    """Return the core's schedule for what it sees of the operands."""
    for view in seen[:2]:
        _problem.check_shape(view.shape, "in1, in2", task.dtype.itemsize)
    x, w = (np.broadcast_to(np.zeros((), task.dtype), view.shape) for view in seen[:2])
    data, kernel = (w, x) if how.swapped else (x, w)
    options = core_options(task, how)
    problem, _ = _problem.prepare(data, kernel, dtype=task.dtype, algorithm=task.algorithm, **options)
    if task.direct and task.algorithm == "auto":
        try:
            return _plan.make(problem._replace(algorithm="direct"), level)
        except ConvError:
            # No kernel for the dtype, or tables that would be too large.
            pass
    return _plan.make(problem, level)
