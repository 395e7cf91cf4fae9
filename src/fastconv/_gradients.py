"""Gradients of a convolution with respect to its input, its weights and its bias, for every option.

With respect to the input it is the convolution's transpose, see `_transposed`. Where the padding shows samples, it has
a gradient too, which belongs to the samples shown: the padding is taken strip by strip, and each is added to them::

    +-----------------+      samples    one convolution, written where it belongs
    |     strip 1     |      strip 1    rows before the samples, as wide as the padded input
    +---+---------+---+      strip 2    rows after them
    | 3 | samples | 4 |      strip 3, 4 columns beside them
    +---+---------+---+
    |     strip 2     |
    +-----------------+
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import _plan, _problem, core
from ._errors import ConvError, ConvTypeError
from ._problem import Axis, ConvProblem
from ._transposed import swapped
from ._weight_gradient import bias_gradient, weight_gradient
from ._windows import along, shown
from .drivers import levels
from .drivers import threads as _threads

__all__ = ["conv_grad", "input_gradient"]

OPERANDS = ("x", "w", "bias")


def conv_grad(
    x: Any,
    w: Any,
    grad: Any,
    *,
    wrt: Any = ("x", "w", "bias"),
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    input_dilation: Any = 1,
    groups: int = 1,
    padding: Any = "valid",
    center: str = "left",
    boundary: Any = "constant",
    fill_value: Any = 0,
    flip: bool = False,
    conj: bool = False,
    dtype: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    max_workspace: int | None = None,
    threads: int | None = None,
) -> np.ndarray | tuple[np.ndarray, ...]:
    """Return what a loss changes by with the input, the kernel and the bias of `fastconv.conv`.

    Parameters
    ----------
    x, w : array_like
        What `conv` was called with. The gradient of x reads the shape of x alone, that of w the shape of w.
    grad : array_like
        The gradient of the loss with respect to ``conv(x, w, ...)``, of its shape.
    wrt : {"x", "w", "bias"} or a sequence of them, default ("x", "w", "bias")
        Which gradients to compute.
    layout, stride, dilation, input_dilation, groups, padding, center, boundary, fill_value, flip, conj, dtype
        As in `fastconv.conv`. Its `activation` is the caller's: grad is with respect to what comes before one.
    algorithm, accuracy, max_workspace, threads
        As in `fastconv.conv`, for each of the convolutions that make up a gradient.

    Returns
    -------
    ndarray or tuple of ndarray
        An array if `wrt` is a string; else one for each entry, in its order. Those of x and w have their shapes, that
        of the bias has one number for each output channel, and no axes where there are no channels. Of dtype
        ``numpy.result_type(x, w)``, or `dtype`. Integers are exact modulo 2^n.

    Raises
    ------
    ConvError
        If shapes or options do not fit, before anything is computed.
    ConvTypeError
        If a dtype is not supported (bool is not, an OR has no gradient), or an argument is of the wrong type.

    Notes
    -----
    `conv` is linear in each operand, ``y = A(w) x = B(x) w``, and these are ``A(w)^H grad`` and ``B(x)^H grad``: of
    complex numbers the conjugate transpose, torch's convention too. So ``vdot(conv_grad(..., wrt="x"), x)`` is
    ``vdot(grad, conv(x, w))``. With ``conj=True``, conv is linear in the conjugate of w, and its gradient is
    ``conj(B(x)^H grad)``.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.conv_grad([1, 2, 3, 4], [1, 10], [1, 1, 1], wrt="x")
    array([ 1, 11, 11, 10])
    >>> dw, db = fastconv.conv_grad([1, 2, 3, 4], [1, 10], [1, 1, 1], wrt=("w", "bias"))
    >>> dw, db
    (array([6, 9]), array(3))
    >>> fastconv.conv_grad([1, 2, 3], [1, 10, 100], [1, 1, 1], wrt="x", padding="same", boundary="edge")
    array([ 12, 111, 210])
    """
    wanted = (wrt,) if isinstance(wrt, str) else wrt
    if not isinstance(wanted, (tuple, list)):
        raise ConvTypeError(f"wrt: got {wrt!r}, allowed: 'x', 'w', 'bias', or a sequence of them")
    for name in wanted:
        _problem.one_of(name, "wrt", OPERANDS)
    _threads.check(threads)
    problem, operands = _problem.prepare(
        x,
        w,
        layout=layout,
        stride=stride,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
        padding=padding,
        center=center,
        boundary=boundary,
        fill_value=fill_value,
        flip=flip,
        conj=conj,
        dtype=dtype,
        algorithm=algorithm,
        accuracy=accuracy,
        max_workspace=max_workspace,
    )
    gradient = check_grad(grad, "grad", problem)
    steps = input_steps(problem, levels.current()) if "x" in wanted else ()
    results = []
    for name in wanted:
        if name == "x":
            results.append(run_steps(problem, steps, operands.w, gradient, threads))
        elif name == "w":
            results.append(kernel_gradient(problem, operands.x, gradient, threads))
        else:
            bias = bias_gradient(problem, gradient)
            results.append(bias if problem.channel_axis >= 0 else bias.reshape(()))
    return results[0] if isinstance(wrt, str) else tuple(results)


def check_grad(grad: Any, name: str, problem: ConvProblem) -> np.ndarray:
    """Return the gradient with respect to a result in the arithmetic's dtype."""
    array = _problem.as_array(grad, name)
    if problem.dtype.kind == "b":
        raise ConvTypeError("dtype: got bool, allowed: integer, floating and complex dtypes, which have gradients")
    if array.shape != problem.out_shape:
        raise ConvError(f"{name}: got shape {array.shape}, allowed: {problem.out_shape}, the shape of the result")
    if not np.can_cast(array.dtype, problem.dtype, "same_kind"):
        raise ConvTypeError(f"{name}: got dtype {array.dtype}, allowed: one that casts to {problem.dtype}")
    return _problem.native(array, problem.dtype)


def kernel_gradient(problem: ConvProblem, x: np.ndarray, grad: np.ndarray, threads: int | None) -> np.ndarray:
    """Return the gradient with respect to w, as the user wrote it."""
    # B^H grad = conj(sum of x * conj(grad)); where the kernel was conjugated, so is its gradient once more.
    result = weight_gradient(problem, x, grad.conj() if problem.dtype.kind == "c" else grad, threads)
    if problem.dtype.kind == "c" and not problem.conj:
        np.conjugate(result, out=result)
    rank = len(problem.axes)
    return np.flip(result, tuple(range(result.ndim - rank, result.ndim))) if problem.flip else result


# --- the input -------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """A convolution of the gradient, and where its result belongs.

    Attributes
    ----------
    schedule : Schedule
    targets : tuple of (ndarray or None)
        For each spatial axis the sample that each place of the result shows, -1 for none; None where the places are
        the samples.
    """

    schedule: _plan.Schedule
    targets: tuple[np.ndarray | None, ...]

    @property
    def is_strip(self) -> bool:
        """Whether it is of padding, and not of the samples themselves."""
        return any(target is not None for target in self.targets)


def in_shape(problem: ConvProblem) -> tuple[int, ...]:
    """Return the shape of the input, in the user's layout."""
    sizes = {axis: spec.n for axis, spec in zip(problem.spatial_axes, problem.axes, strict=True)}
    sizes |= {problem.batch_axis: problem.batch, problem.channel_axis: problem.groups * problem.channels}
    return tuple(sizes[axis] for axis in range(len(problem.out_shape)))


def adjoint_axis(axis: Axis, start: int, count: int, step: int) -> Axis:
    """Return the axis of the gradient along which `count` places are computed, from `start` on, `step` apart.

    Places are counted from the first sample, with the zeros between samples.
    """
    lo = axis.window - 1 - axis.lo - start
    extent = (axis.out - 1) * axis.stride + 1
    hi = (count - 1) * step + axis.window - extent - lo
    return Axis(axis.out, axis.k, step, axis.dilation, axis.stride, lo, hi, "constant")


def targets_of(axis: Axis, start: int, count: int) -> np.ndarray:
    """Return the sample that each of `count` places shows, the first of them at `start`; -1 for a zero in between."""
    at = shown(axis._replace(n=axis.extent, input_dilation=1, lo=-start, hi=start + count - axis.extent))
    return np.where(at % axis.input_dilation == 0, at // axis.input_dilation, -1)


def adjoint(problem: ConvProblem, axes: tuple[Axis, ...]) -> ConvProblem:
    """Return the problem that takes the gradient for its input."""
    return problem._replace(
        channels=problem.channels_out,
        channels_out=problem.channels,
        axes=axes,
        fill=bytes(problem.dtype.itemsize),
        flip=not problem.flip,
        conj=problem.dtype.kind == "c" and not problem.conj,
    )


@lru_cache(maxsize=1024)
def input_steps(problem: ConvProblem, level: str) -> tuple[Step, ...]:
    """Return the gradient of the samples themselves, and of each strip of padding that shows samples."""
    if 0 in problem.out_shape or 0 in in_shape(problem):
        return ()
    samples = [adjoint_axis(axis, 0, axis.n, axis.input_dilation) for axis in problem.axes]
    steps = [Step(_plan.make(adjoint(problem, tuple(samples)), level), (None,) * len(samples))]
    for i, axis in enumerate(problem.axes):
        if axis.boundary == "constant":
            continue
        for start, count in ((-axis.lo, axis.lo), (axis.extent, axis.hi)):
            if count <= 0:
                continue
            axes = samples[:i]
            targets: list[np.ndarray | None] = [None] * i
            axes.append(adjoint_axis(axis, start, count, 1))
            targets.append(targets_of(axis, start, count))
            for later, plain in zip(problem.axes[i + 1 :], samples[i + 1 :], strict=True):
                before, after = max(later.lo, 0), max(later.hi, 0)
                if later.boundary == "constant" or before == after == 0:
                    axes.append(plain)
                    targets.append(None)
                    continue
                places = later.extent + before + after
                axes.append(adjoint_axis(later, -before, places, 1))
                targets.append(targets_of(later, -before, places))
            steps.append(Step(_plan.make(adjoint(problem, tuple(axes)), level), tuple(targets)))
    return tuple(steps)


def input_gradient(problem: ConvProblem, w: np.ndarray, grad: np.ndarray, threads: int | None) -> np.ndarray:
    """Return the gradient with respect to the input.

    Parameters
    ----------
    problem : ConvProblem
        Of the convolution forward.
    w : ndarray
        Its kernel, and
    grad : ndarray, shape `problem.out_shape`
        the gradient with respect to its result, both of the problem's dtype and of native byte order.
    threads : int or None

    Returns
    -------
    ndarray
        Of the input's shape and the problem's dtype.
    """
    return run_steps(problem, input_steps(problem, levels.current()), w, grad, threads)


def run_steps(
    problem: ConvProblem, steps: tuple[Step, ...], w: np.ndarray, grad: np.ndarray, threads: int | None
) -> np.ndarray:
    """Return the sum of the steps."""
    if not steps:
        return np.zeros(in_shape(problem), problem.dtype)
    if len(steps) > 1 and problem.dtype.itemsize == 2 and problem.dtype.kind not in "iu":
        # Sums of strips are sums of products too, which are kept in float32.
        wide = problem._replace(dtype=np.dtype(np.float32), fill=bytes(4))
        return input_gradient(wide, w.astype(np.float32), grad.astype(np.float32), threads).astype(problem.dtype)
    weights = w if problem.channel_axis < 0 else swapped(w, problem.groups)
    result = core.execute(steps[0].schedule, _problem.Operands(grad, weights, None, None), threads)
    for step in steps[1:]:
        strip = core.execute(step.schedule, _problem.Operands(grad, weights, None, None), threads)
        fold(strip, step.targets, problem, result)
    return result


def fold(strip: np.ndarray, targets: tuple[np.ndarray | None, ...], problem: ConvProblem, result: np.ndarray) -> None:
    """Add a strip to the samples that it shows."""
    folded = [i for i, target in enumerate(targets) if target is not None]
    for i in reversed(folded):
        place = problem.spatial_axes[i]
        if i == folded[0]:
            total = result
        else:
            total = np.zeros([problem.axes[i].n if p == place else n for p, n in enumerate(strip.shape)], strip.dtype)
        add_along(strip, place, targets[i], total)
        strip = total


def add_along(strip: np.ndarray, place: int, target: Any, total: np.ndarray) -> None:
    """Add entry i of the strip along an axis to entry target[i] of the total, unless that is negative."""
    for run in runs(target.tobytes()):
        seen = strip[along(place, run.places)]
        if run.step == 0:
            # A slice of one, for a single number of NumPy's would warn where integers wrap.
            one = slice(run.first, run.first + 1)
            total[along(place, one)] += seen.sum(axis=place, dtype=total.dtype, keepdims=True)
            continue
        end = run.first + seen.shape[place] * run.step
        total[along(place, slice(run.first, end if end >= 0 else None, run.step))] += seen


class Run(NamedTuple):
    """Evenly spaced places, and the samples that they show: the first, and the distance to the next."""

    places: slice
    first: int
    step: int


@lru_cache(maxsize=1024)
def runs(target: bytes) -> list[Run]:
    """Return the runs of the places that show samples."""
    samples = np.frombuffer(target, np.intp)
    places = np.flatnonzero(samples >= 0).tolist()
    shows = samples[places].tolist()
    result = []
    at = 0
    while at < len(places):
        end = at + 1
        stride = step = 1
        if end < len(places):
            stride, step = places[end] - places[at], shows[end] - shows[at]
            while end < len(places) and (places[end] - places[end - 1], shows[end] - shows[end - 1]) == (stride, step):
                end += 1
        result.append(Run(slice(places[at], places[end - 1] + 1, stride), shows[at], step))
        at = end
    return result
