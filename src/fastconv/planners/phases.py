"""Plans of inputs with zeros between their samples: no such zero is made, and none is multiplied.

Where samples lie d apart, output p and tap t meet a sample only if p * stride - lo + t * dilation is a multiple of d.
So the outputs p0, p0 + P, p0 + 2P ... with P = d / gcd(stride, d) meet the taps t0, t0 + T, t0 + 2T ... with
T = d / gcd(dilation, d), or none: a phase, an ordinary convolution of the input as it is::

    d = 2, kernel a b c d, lo 2            phase 0: a c      y[0] = a x[-1] + c x[0]    y[2] = a x[0] + c x[1] ...
    x[0] 0 x[1] 0 x[2]                     phase 1: b d      y[1] = b x[0]  + d x[1]    y[3] = b x[1] + d x[2] ...

Either a driver of its own computes all phases from one packed tile, or each is a problem that any algorithm may serve.
Along the outer axes of a volume it is always a problem each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _costs, _tunables
from .._problem import Axis, ConvProblem
from ..drivers import levels, phases
from .tiles import (
    COMPUTE,
    Choice,
    TilePlan,
    common,
    equal_share,
    make_segments,
    pack_work,
    packed_layout,
    too_large,
    two_axes,
)


class Phase(NamedTuple):
    """Outputs of an axis that share their taps.

    Attributes
    ----------
    outs, taps : slice
        Of the axis; `taps` is empty if none meets a sample.
    axis : Axis
        The ordinary convolution. Without taps it has one that stands for none.
    """

    outs: slice
    taps: slice
    axis: Axis

    @property
    def empty(self) -> bool:
        """Whether no tap meets a sample."""
        return bool(self.taps.start >= self.taps.stop)


def phases_of(axis: Axis) -> list[Phase]:
    """Return the phases of an axis, which show all its outputs."""
    d = axis.input_dilation
    period, shared = d // math.gcd(axis.stride, d), math.gcd(axis.dilation, d)
    step = d // shared
    result = []
    for first in range(min(period, axis.out)):
        outs = slice(first, axis.out, period)
        count = len(range(axis.out)[outs])
        offset = first * axis.stride - axis.lo
        start, taps = 0, 0
        if offset % shared == 0:
            # The tap t with offset + t * dilation = 0 modulo d.
            start = -(offset // shared) * pow(axis.dilation // shared, -1, step) % step
            taps = len(range(start, axis.k, step))
        stride, dilation, lo = period * axis.stride // d, step * axis.dilation // d, 0
        if taps:
            lo = -((offset + start * axis.dilation) // d)
        window = (max(taps, 1) - 1) * dilation + 1
        hi = (count - 1) * stride + window - axis.n - lo
        part = slice(start, axis.k if taps else start, step)
        result.append(Phase(outs, part, Axis(axis.n, max(taps, 1), stride, dilation, 1, lo, hi, "constant")))
    return result


def whole(axis: Axis) -> Phase:
    """Return an axis without zeros between its samples as its only phase."""
    return Phase(slice(0, axis.out, 1), slice(0, axis.k, 1), axis)


def reads_zeros(axis: Axis, fill: bytes) -> bool:
    """Return whether all that an axis shows beyond its samples are zeros."""
    return (axis.boundary == "constant" and not any(fill)) or (axis.lo <= 0 and axis.hi <= 0)


def shows_fill(axis: Axis, fill: bytes) -> bool:
    """Return whether an axis shows a fill value that is not zero: there it stands between the samples as well."""
    return axis.boundary == "constant" and any(fill) and (axis.lo > 0 or axis.hi > 0)


class Split:
    """Runs a problem phase by phase, each as a schedule of its own."""

    def __init__(self, problem: ConvProblem, level: str, parts: list[tuple[tuple[Phase, ...], Any]]) -> None:
        self.problem = problem
        self.level_name = level
        self.parts = parts
        self.schedules = [schedule for _, schedule in parts if schedule is not None]
        self.workspace_bytes = max((schedule.workspace_bytes for schedule in self.schedules), default=0)

    def weights_of(self, w: np.ndarray, part: tuple[Phase, ...]) -> np.ndarray:
        """Return the taps of a phase, in the order in which samples meet them."""
        rank = len(part)
        if self.problem.flip:
            w = np.flip(w, tuple(range(w.ndim - rank, w.ndim)))
        where: Any = (..., *(phase.taps for phase in part))
        taken: np.ndarray = w[where]
        return taken

    def pack_all(self, w: np.ndarray) -> list[np.ndarray | None]:
        """Return the weights of each phase as its kernels read them."""
        return [None if schedule is None else schedule.pack(self.weights_of(w, part)) for part, schedule in self.parts]

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: list[np.ndarray | None] | None = None,
    ) -> None:
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        problem = self.problem
        for (part, schedule), packed in zip(self.parts, panels or [None] * len(self.parts), strict=True):
            where: list[slice] = [slice(None)] * out.ndim
            for axis, phase in zip(problem.spatial_axes, part, strict=True):
                where[axis] = phase.outs
            place = out[tuple(where)]
            if schedule is None:
                place[...] = 0 if bias is None else along_channels(bias, out.ndim, problem.channel_axis)
            else:
                offset = None if bias is None else bias.astype(schedule.bias_dtype, copy=False)
                schedule.run(x, self.weights_of(w, part), offset, place, threads, packed)


def along_channels(bias: np.ndarray, ndim: int, channel_axis: int) -> np.ndarray:
    """Return the bias in a shape that broadcasts to the result."""
    return bias if channel_axis < 0 else bias.reshape([-1 if axis == channel_axis else 1 for axis in range(ndim)])


Make = Callable[[ConvProblem, str], Any]


def plan_phases(problem: ConvProblem, level: str, make: Make) -> Choice:
    """Plan the phases: as one driver's, or as problems for which `make` returns schedules, whichever is cheaper."""
    dilated = [axis for axis in problem.axes if axis.input_dilation > 1]
    if not dilated:
        return Choice("phases", refusal="no zeros between samples")
    filled = any(shows_fill(axis, problem.fill) for axis in problem.axes)
    if filled or not all(reads_zeros(axis, problem.fill) for axis in dilated):
        return Choice("phases", refusal="what surrounds the samples is not zero")
    number = math.prod(min(axis.input_dilation, max(axis.out, 1)) for axis in dilated)
    if number > _tunables.PHASES_LIMIT:
        return Choice("phases", refusal=f"up to {number} phases, more than {_tunables.PHASES_LIMIT}")
    together = plan_together(problem, level)
    if together.driver is not None and fills_lanes(problem, level) and not any(is_large(axis) for axis in problem.axes):
        return together
    # Where a driver may serve the last two axes, only the others are split first.
    outer = [i for i, axis in enumerate(problem.axes[:-2]) if axis.input_dilation > 1]
    return min((together, plan_split(problem, level, make, outer or None)), key=lambda choice: choice.cost)


def fills_lanes(problem: ConvProblem, level: str) -> bool:
    """Return whether there are output channels for a whole vector."""
    return problem.channels_out * problem.dtype.itemsize >= levels.describe(level)["vector_bytes"]


def is_large(axis: Axis) -> bool:
    """Return whether phases have three taps, so that algorithms that transform might serve them."""
    return axis.k > 2 * axis.input_dilation // math.gcd(axis.dilation, axis.input_dilation)


def plan_split(problem: ConvProblem, level: str, make: Make, which: Sequence[int] | None) -> Choice:
    """Plan a schedule a phase, of all dilated axes or of some."""
    each = [
        phases_of(axis) if axis.input_dilation > 1 and (which is None or i in which) else [whole(axis)]
        for i, axis in enumerate(problem.axes)
    ]
    parts, cost = [], 0.0
    for part in itertools.product(*each):
        schedule = None
        if not any(phase.empty for phase in part):
            axes = tuple(phase.axis for phase in part)
            schedule = make(problem.without_epilogue()._replace(axes=axes, flip=False), level)
            cost += schedule.cost + _costs.total({"phases.call": 1.0}, level)
        parts.append((part, schedule))
    return Choice("phases", Split(problem, level, parts), None, cost, variant="phases, each planned")


@dataclass(eq=False, repr=False, match_args=False)
class PhasesPlan(TilePlan):
    """Adds the phases along y and x, in the order y, x, and where the taps of the kernel belong."""

    kernel: tuple[int, int]  # along y and x
    outs_y: np.ndarray  # of each phase
    outs_x: np.ndarray
    tap_start: np.ndarray  # of each phase in tap_offsets; the last is the number of all
    tap_offsets: np.ndarray  # of each tap of each phase in a packed channel
    row_first: np.ndarray  # of each tap of the kernel: its row in the first channel of a panel, or -1
    row_step: np.ndarray  # and from channel to channel
    out_block: int
    products: float

    def describe(self, channels: int) -> str:
        """Return the tiles in words."""
        return f"gemm of {len(self.outs_y)} x {len(self.outs_x)} phases from one tile\n{super().describe(channels)}"


def union_of(parts: list[Phase], axis: Axis) -> tuple[Axis, list[int]]:
    """Return the axis that reads what all phases read, and where in it each phase begins."""
    used = [phase.axis for phase in parts if not phase.empty]
    lo = max((one.lo for one in used), default=0)
    window = max((lo - one.lo + one.window for one in used), default=1)
    outs = max((one.out for one in (phase.axis for phase in parts)), default=0)
    union = Axis(axis.n, window, 1, 1, 1, lo, outs - 1 + window - axis.n - lo, axis.boundary)
    return union, [lo - phase.axis.lo for phase in parts]


def plan_together(problem: ConvProblem, level: str) -> Choice:
    """Plan all phases from one packed tile: lanes are output channels."""
    compute = COMPUTE.get(problem.dtype)
    if compute is None or problem.dtype.char not in "fd" or problem.channel_axis < 0:
        return Choice("phases")
    axes = two_axes(problem)
    y, x = axes[-2:]
    parts_y, parts_x = (phases_of(axis) if axis.input_dilation > 1 else [whole(axis)] for axis in (y, x))
    steps = [phase.axis.stride for phase in (*parts_y, *parts_x)]
    if any(axis.input_dilation > 1 for axis in axes[:-2]) or any(step != 1 for step in steps) or too_large(problem):
        return Choice("phases")
    (union_y, begin_y), (union_x, begin_x) = union_of(parts_y, y), union_of(parts_x, x)
    outer_taps = math.prod(axis.k for axis in axes[:-2])
    item: int = compute.dtype.itemsize
    sizes = levels.describe(level)
    panel = sizes["gemm_vectors"] * (sizes["vector_bytes"] // item)
    rows, columns = make_segments(union_y, 1), make_segments(union_x, 1)

    def packed_bytes(tile_rows: int, tile_columns: int) -> int:
        layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
        return int(layout["channel_pitch"]) * problem.channels * item

    tile_rows = max(min(_tunables.GEMM_TILE_ROWS, union_y.out), 1)
    tile_columns = equal_share(union_x.out, _tunables.GEMM_TILE_COLUMNS, sizes["gemm_pixels"])
    while tile_rows > 1 and packed_bytes(tile_rows, tile_columns) > _tunables.GEMM_PACKED_BYTES:
        tile_rows -= 1
    while tile_columns > sizes["gemm_pixels"] and packed_bytes(tile_rows, tile_columns) > _tunables.GEMM_PACKED_BYTES:
        tile_columns = equal_share(union_x.out, tile_columns - 1, sizes["gemm_pixels"])
    panel_bytes = problem.taps * panel * item
    if panel_bytes + packed_bytes(tile_rows, tile_columns) > _tunables.GEMM_LIMIT_BYTES:
        return Choice("phases")

    layout = packed_layout(rows, columns, tile_rows, tile_columns, outer_taps, lanes=1)
    kernel = (outer_taps, y.k, x.k)
    starts, offsets = [0], []
    row_first, row_step = np.full(kernel, -1, np.intp), np.zeros(kernel, np.intp)
    products = 0
    for (phase_y, at_y), (phase_x, at_x) in itertools.product(
        zip(parts_y, begin_y, strict=True), zip(parts_x, begin_x, strict=True)
    ):
        counts = (outer_taps, *(0 if phase.empty else phase.axis.k for phase in (phase_y, phase_x)))
        n = math.prod(counts)
        products += n * phase_y.axis.out * phase_x.axis.out
        if n:
            taps_y = (at_y + np.arange(counts[1]) * phase_y.axis.dilation) * layout["pitch"]
            taps_x = at_x + np.arange(counts[2]) * phase_x.axis.dilation
            outer = np.arange(outer_taps)[:, None, None] * layout["outer_pitch"]
            offsets.append((outer + taps_y[:, None] + taps_x).reshape(-1))
            own = (slice(None), phase_y.taps, phase_x.taps)
            row_first[own] = problem.channels * starts[-1] + np.arange(n).reshape(counts)
            row_step[own] = n
        starts.append(starts[-1] + n)
    panels = -(-problem.channels_out // panel)
    images = problem.batch * problem.groups * math.prod(axis.out for axis in axes[:-2])
    tiles = PhasesPlan(
        **common(problem, level, compute, (*axes[:-2], union_y, union_x)),
        **layout,
        kernel=(y.k, x.k),
        outs_y=np.array([phase.axis.out for phase in parts_y], np.intp),
        outs_x=np.array([phase.axis.out for phase in parts_x], np.intp),
        tap_start=np.array(starts, np.intp),
        tap_offsets=np.concatenate([np.zeros(0), *offsets]).astype(np.intp),
        row_first=row_first.reshape(-1),
        row_step=row_step.reshape(-1),
        out_block=panel * max(1, min(panels, _tunables.GEMM_WEIGHT_BYTES // panel_bytes)),
        products=float(products) * images * problem.channels * problem.channels_out,
    )
    vectors = images * panels * sizes["gemm_vectors"]
    work = {
        "gemm.call": 1.0,
        "gemm.product": vectors * products * problem.channels,
        "phases.stored": vectors * y.out * x.out,
    }
    if not problem.planned:
        work["gemm.weights"] = problem.groups * problem.taps * panels * sizes["gemm_vectors"]
    work |= pack_work(problem, level, (*axes[:-2], union_y, union_x), layout)
    return Choice.of("phases, together", phases.Driver(problem, tiles), tiles, work)
