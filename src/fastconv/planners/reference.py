"""The last resort: problems computed by their definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .. import _tunables
from .._epilogue import cast_into, finish
from .._problem import Axis, ConvProblem, lane_of
from .._reference import correlate, extend
from .tiles import Choice

# What NumPy's iterators buffer while they gather by indices, at most.
NUMPY_BYTES = 256 * 1024


def reference_result(problem: ConvProblem, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Return the result by the definition, in the user's layout; arrays may be of a wider dtype than the problem's."""
    rank = len(problem.axes)
    order = [axis for axis in (problem.batch_axis, problem.channel_axis) if axis >= 0] + list(problem.spatial_axes)
    if problem.flip:
        w = np.flip(w, tuple(range(w.ndim - rank, w.ndim)))
    if problem.conj:
        w = w.conj()
    sizes, kernel = [axis.n for axis in problem.axes], [axis.k for axis in problem.axes]
    shape = problem.out_shape
    windows = math.prod(shape) // max(problem.channels_out, 1) * problem.taps
    # Long doubles alone: NumPy has vectors or BLAS for others, which sum in another order.
    few = x.dtype.char in "gG" and windows <= _tunables.REFERENCE_WINDOWS
    result = (by_windows if few else correlate)(
        x.transpose(order).reshape(problem.batch, problem.groups, problem.channels, *sizes),
        w.reshape(problem.groups, problem.channels_out, problem.channels, *kernel),
        problem.axes,
        np.frombuffer(problem.fill, problem.dtype).astype(x.dtype)[0],
        None if bias is None else bias.reshape(problem.groups, problem.channels_out).astype(x.dtype, copy=False),
    )
    in_order = result.reshape([shape[axis] for axis in order])
    return in_order.transpose(np.argsort(order))


def by_windows(
    x: np.ndarray, w: np.ndarray, axes: Sequence[Axis], fill_value: Any, bias: np.ndarray | None
) -> np.ndarray:
    """Return what `correlate` does, to the last bit, with all windows written out: few calls of NumPy for many taps."""
    padded = extend(x, axes, fill_value)
    batch, groups, channels = padded.shape[:3]
    kernel = [axis.k for axis in axes]
    out = [(n - axis.window) // axis.stride + 1 for n, axis in zip(padded.shape[3:], axes, strict=True)]
    lead, steps = padded.strides[:3], padded.strides[3:]
    # A row of products is in the order of the definition: the channels of a tap follow each other.
    windows = as_strided(
        padded,
        (groups, batch, *out, *kernel, channels),
        (
            *(lead[1], lead[0]),
            *(step * axis.stride for step, axis in zip(steps, axes, strict=True)),
            *(step * axis.dilation for step, axis in zip(steps, axes, strict=True)),
            lead[2],
        ),
    )
    rows = windows.reshape(groups, batch * math.prod(out), math.prod(kernel) * channels)
    columns = w.transpose(0, *range(3, w.ndim), 2, 1).reshape(groups, rows.shape[2], w.shape[1])
    sums = np.zeros((groups, rows.shape[1], w.shape[1]), x.dtype)
    with np.errstate(all="ignore"):
        for g in range(groups):
            np.add(sums[g], np.dot(rows[g], columns[g]), out=sums[g])
        if bias is not None:
            np.add(sums, bias[:, np.newaxis], out=sums)
    axes_last = range(2, 2 + len(axes))
    return sums.reshape(groups, batch, *out, w.shape[1]).transpose(1, 0, 2 + len(axes), *axes_last)


class ReferenceDriver:
    """Runs a problem by its definition, for the dtypes that have no kernel."""

    level_name = "numpy"
    fuses_epilogue = True

    def __init__(self, problem: ConvProblem) -> None:
        self.problem = problem
        # Halves are summed in float32, as the kernels do.
        self.lane = lane_of(problem.dtype)

    @property
    def workspace_bytes(self) -> int:
        """Bytes of all temporary arrays: copies of both operands, the padded input with its indices, sums and terms."""
        p = self.problem
        padded = [axis.extent + axis.lo + axis.hi for axis in p.axes]
        lead = p.batch * p.groups * p.channels
        elements = 2 * p.x_size + p.w_size + lead * math.prod(padded) + 2 * math.prod(p.out_shape)
        if self.lane.char in "gG":
            elements += _tunables.REFERENCE_WINDOWS
        if p.has_epilogue:
            # Steps of an activation.
            elements += 4 * math.prod(p.out_shape)
        return elements * self.lane.itemsize + 64 * (sum(padded) + lead) + NUMPY_BYTES

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        scale: np.ndarray | None = None,
        residual: np.ndarray | None = None,
    ) -> None:
        """Write the finished convolution of x and w to out."""
        x, w = x.astype(self.lane, copy=False), w.astype(self.lane, copy=False)
        result = reference_result(self.problem, x, w, bias if scale is None else None)
        finish(result, self.problem, bias, scale, residual)
        cast_into(out, result)


def plan_reference(problem: ConvProblem, level: str) -> Choice:
    """Plan the definition itself, which serves every problem."""
    return Choice("reference", ReferenceDriver(problem))
