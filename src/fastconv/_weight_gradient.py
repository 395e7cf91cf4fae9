"""What a layer's weights and bias add to a loss: the gradient with respect to them.

    dw[o, c, k] = sum over n, p of grad[n, o, p] * x[n, c, p*stride - lo + k*dilation]

This is a correlation again, in which batch and channels, stride and dilation, kernel and result have changed places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from . import _plan, _tunables, core
from ._problem import Axis, ConvProblem, Operands, lane_of
from .drivers import levels
from .drivers import threads as _threads
from .planners.gradient import plan_gradient
from .planners.pixels import is_pointwise
from .planners.tiles import COMPUTE, lanes_of

__all__ = ["bias_gradient", "weight_gradient"]


def weight_gradient(
    problem: ConvProblem, x: np.ndarray, grad: np.ndarray, threads: int | None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the sums of products of samples and gradients that each weight had a part in.

    Parameters
    ----------
    problem : ConvProblem
        Of the layer forward. Its `flip` and `conj` are the caller's to apply to the result.
    x : ndarray
        The layer's input, of the problem's shape and dtype.
    grad : ndarray, shape `problem.out_shape`
        The gradient with respect to the layer's result, of the same dtype.
    threads : int or None
    out : ndarray, optional
        Where to write the result, of its shape and dtype; it may overlap x and grad.

    Returns
    -------
    ndarray, shape (groups * channels_out, channels, *kernel)
        Only the kernel's axes where there is no channel axis. Integers are exact modulo 2^n, bool is OR of ANDs,
        float16 is summed in float32.
    """
    kernel = tuple(axis.k for axis in problem.axes)
    shape = (problem.groups * problem.channels_out, problem.channels, *kernel)
    _threads.check(threads)
    plain = out is not None and can_hold(out, x, grad)
    result = out if out is not None and plain else np.empty(shape if problem.channel_axis >= 0 else kernel, x.dtype)
    # A view: what cannot be reshaped without a copy is not contiguous, and was replaced above.
    compute(problem, x, grad, result.reshape(shape), threads)
    if out is None or plain:
        return result
    out[...] = result
    return out


def bias_gradient(problem: ConvProblem, grad: np.ndarray) -> np.ndarray:
    """Return the sums of the gradients of each channel of the result.

    Parameters
    ----------
    problem : ConvProblem
        Of the layer forward.
    grad : ndarray, shape `problem.out_shape`
        The gradient with respect to the layer's result, of the problem's dtype.

    Returns
    -------
    ndarray, shape (groups * channels_out,)
        Of the problem's dtype; one number where there are no channels.
    """
    total = channels_first(problem, grad)
    if problem.dtype.kind == "b":
        return np.asarray(total.any(axis=tuple(range(2, total.ndim))).any(axis=0))
    wide = lane_of(problem.dtype)
    # One axis after the other: sums of sums keep the errors small where NumPy's own order would be one long chain.
    while total.ndim > 2:
        total = total.sum(axis=-1, dtype=wide)
    return np.asarray(total.sum(axis=0, dtype=wide).astype(problem.dtype, copy=False))


def channels_first(problem: ConvProblem, array: np.ndarray) -> np.ndarray:
    """Return a view with batch, channels and then the spatial axes, whatever the user's layout."""
    order = [axis for axis in (problem.batch_axis, problem.channel_axis) if axis >= 0] + list(problem.spatial_axes)
    view = array.transpose(order)
    missing = [i for i, axis in enumerate((problem.batch_axis, problem.channel_axis)) if axis < 0]
    return np.expand_dims(view, missing)


def can_hold(out: np.ndarray, *inputs: np.ndarray) -> bool:
    """Return whether kernels can write to `out` while the inputs are read."""
    return (
        out.flags.c_contiguous
        and out.flags.aligned
        and out.dtype.isnative
        and not any(np.may_share_memory(out, array) for array in inputs)
    )


def compute(problem: ConvProblem, x: np.ndarray, grad: np.ndarray, dw: np.ndarray, threads: int | None) -> None:
    """Write the gradient to dw, which is contiguous and has all its axes."""
    if dw.size == 0 or math.prod(problem.out_shape) == 0:
        dw[...] = 0
        return
    if is_pointwise(problem) and reads_better_swapped(problem):
        # Samples and gradients play the same part then, and the result is the transpose.
        sums = np.empty((dw.shape[1], dw.shape[0], *dw.shape[2:]), dw.dtype)
        swapped = problem._replace(channels=problem.channels_out, channels_out=problem.channels)
        compute(swapped, grad, x, sums, threads)
        dw[...] = sums.swapaxes(0, 1)
        return
    if is_pointwise(problem) and len(problem.axes) > 1:
        problem, x, grad = flattened(problem, x, grad)
        dw = dw.reshape(*dw.shape[:2], *(1 for _ in problem.axes))
    driver = plan_of(problem, levels.current())
    if driver is None and problem.dtype.char in "FD" and problem.algorithm != "reference":
        by_parts(problem, x, grad, dw, threads)
    elif driver is None:
        by_roles(problem, channels_first(problem, x), channels_first(problem, grad), dw, threads)
    elif dw.dtype == COMPUTE[problem.dtype].dtype:
        driver.run(x, grad, dw, threads)
    else:
        sums = np.empty(dw.shape, COMPUTE[problem.dtype].dtype)
        driver.run(x, grad, sums, threads)
        with np.errstate(over="ignore"):
            dw[...] = sums


def reads_better_swapped(problem: ConvProblem) -> bool:
    """Return whether channels in fill vectors so much better than channels out do that they should be in the lanes."""
    if problem.groups > 1 or problem.dtype not in COMPUTE:
        return False
    lanes = lanes_of(problem, levels.current())
    now = -(-problem.channels_out // lanes) * problem.channels
    return -(-problem.channels // lanes) * problem.channels_out < now


def is_flat(array: np.ndarray) -> bool:
    """Return whether the samples of an image, behind batch and channels, are one row of equal steps."""
    sizes = [(n, step) for n, step in zip(array.shape[2:], array.strides[2:], strict=True) if n > 1]
    return all(outer[1] == inner[0] * inner[1] for outer, inner in pairwise(sizes))


def flattened(problem: ConvProblem, x: np.ndarray, grad: np.ndarray) -> tuple[ConvProblem, np.ndarray, np.ndarray]:
    """Return a pointwise problem with all positions along one axis, if those of both arrays follow each other."""
    flat = channels_first(problem, x), channels_first(problem, grad)
    if not all(is_flat(array) for array in flat):
        return problem, x, grad
    x, grad = (array.reshape(*array.shape[:2], math.prod(array.shape[2:])) for array in flat)
    axis = problem.axes[-1]._replace(n=x.shape[2])
    if problem.channel_axis > problem.spatial_axes[-1]:
        # The planner is to know that channels are neighbours.
        x, grad = x.swapaxes(1, 2), grad.swapaxes(1, 2)
        return problem._replace(axes=(axis,), batch_axis=0, channel_axis=2, spatial_axes=(1,)), x, grad
    return problem._replace(axes=(axis,), batch_axis=0, channel_axis=1, spatial_axes=(2,)), x, grad


@lru_cache(maxsize=1024)
def plan_of(problem: ConvProblem, level: str) -> Any:
    """Return the driver of the kernels for gradients, or None where they do not serve."""
    if problem.algorithm == "reference":
        return None
    choice = plan_gradient(problem, level)
    if choice.driver is None:
        return None
    limit = problem.max_workspace
    return choice.driver if limit is None or choice.driver.workspace_bytes <= limit else None


def by_parts(problem: ConvProblem, x: np.ndarray, grad: np.ndarray, dw: np.ndarray, threads: int | None) -> None:
    """Write a complex gradient, from those of real and imaginary parts."""
    fill = np.frombuffer(problem.fill, problem.dtype)[0]
    real = problem._replace(dtype=fill.real.dtype, fill=fill.real.tobytes(), conj=False)
    imaginary = real._replace(fill=fill.imag.tobytes())

    def part(samples: ConvProblem, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        sums = np.empty(dw.shape, samples.dtype)
        compute(samples, x, grad, sums, threads)
        return sums

    dw.real = part(real, x.real, grad.real)
    dw.real -= part(imaginary, x.imag, grad.imag)
    dw.imag = part(real, x.real, grad.imag)
    dw.imag += part(imaginary, x.imag, grad.real)


def by_roles(problem: ConvProblem, x: np.ndarray, grad: np.ndarray, dw: np.ndarray, threads: int | None) -> None:
    """Write the gradient as correlations of x with grad, by the algorithms that are there for those.

    A band of rows is taken at a time, as the kernel it plays would otherwise be as large as the image.
    """
    first = True
    for n, start, stop in bands(problem):
        swapped = swap_roles(problem, n, start, stop)
        schedule = _plan.make(swapped, levels.current())
        for g in range(problem.groups):
            samples = x[n, g * problem.channels : (g + 1) * problem.channels].swapaxes(0, 1)
            outs = slice(g * problem.channels_out, (g + 1) * problem.channels_out)
            part = core.execute(
                schedule, Operands(samples, grad[n, outs, start:stop].swapaxes(0, 1), None, None), threads
            ).swapaxes(0, 1)
            if first:
                dw[outs] = part
            elif problem.dtype.kind == "b":
                dw[outs] |= part
            else:
                dw[outs] += part
        first = False


def bands(problem: ConvProblem) -> Iterator[tuple[slice, int, int]]:
    """Yield the images, and the first and the last row of each step, of as many results as the sum may take at once."""
    rows = problem.axes[0].out
    row = math.prod(axis.out for axis in problem.axes[1:])
    images = max(_tunables.GRADIENT_BAND // (rows * row), 1)
    band = min(max(_tunables.GRADIENT_BAND // row, 1), rows)
    for n in range(0, problem.batch, images):
        for start in range(0, rows, band):
            yield slice(n, min(n + images, problem.batch)), start, min(start + band, rows)


def swap_roles(problem: ConvProblem, images: slice, start: int, stop: int) -> ConvProblem:
    """Return the problem, of one group, whose kernel is a band of rows of the gradient."""
    axes = [swap_axis(problem.axes[0], start, stop)]
    axes += [swap_axis(axis, 0, axis.out) for axis in problem.axes[1:]]
    return problem._replace(
        batch=problem.channels,
        groups=1,
        channels=images.stop - images.start,
        axes=tuple(axes),
        flip=False,
        conj=False,
        has_bias=False,
        batch_axis=0,
        channel_axis=1,
        spatial_axes=tuple(range(2, 2 + len(axes))),
        activation=None,
        algorithm="reference" if problem.algorithm == "reference" else "auto",
        planned=False,
        stored=None,
    )


def swap_axis(axis: Axis, start: int, stop: int) -> Axis:
    """Return the axis along which outputs `start` to `stop` are the kernel, and the taps are the result."""
    lo, window = axis.lo - start * axis.stride, (stop - start - 1) * axis.stride + 1
    hi = (axis.k - 1) * axis.dilation + window - axis.extent - lo
    return axis._replace(k=stop - start, stride=axis.dilation, dilation=axis.stride, lo=lo, hi=hi)
