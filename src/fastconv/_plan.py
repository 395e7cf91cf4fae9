"""A problem and a CPU level become a schedule: the algorithm, its tiles, and why each other algorithm was passed over.

No array of the user's is touched here. Schedules of equal problems are shared, see `make`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from . import _tunables
from ._epilogue import cast_into, combine
from ._errors import ConvError
from ._problem import ConvProblem, lane_of
from .drivers.tile import activate
from .planners.depthwise import plan_depthwise
from .planners.direct import plan_direct
from .planners.fft import plan_fft
from .planners.gemm import plan_channels
from .planners.lattices import on_lattices
from .planners.matrices import on_matrices
from .planners.parts import in_parts
from .planners.phases import plan_phases
from .planners.pixels import plan_pixels
from .planners.reference import plan_reference
from .planners.rows import on_merged_axes, on_turned_axes
from .planners.tiles import COMPUTE, Choice, TilePlan
from .planners.winograd import POINTS, plan_winograd

Planner = Callable[[ConvProblem, str], Choice]

# The variants of each algorithm. The cheapest that accepts is taken, and the reference accepts everything.
PLANNERS: dict[str, tuple[Planner, ...]] = {
    "winograd": tuple(
        partial(in_parts, partial(on_lattices, partial(plan_winograd, outputs, far)))
        for outputs in POINTS
        for far in (False, True)
    ),
    "gemm": (plan_channels, plan_pixels, partial(on_matrices, plan_channels)),
    "direct": (plan_direct, plan_depthwise, partial(on_merged_axes, plan_direct), partial(on_turned_axes, plan_direct)),
    "fft": (plan_fft, partial(on_turned_axes, plan_fft)),
    "reference": (plan_reference,),
}


class Schedule(NamedTuple):
    """A problem with its algorithm, ready to run on arrays.

    Attributes
    ----------
    problem : ConvProblem
    level : str
        The CPU level whose kernels run.
    algorithm : str
        One of `PLANNERS`, or "phases".
    passed_over : tuple of str
        One line for each algorithm that was not taken, with the reason.
    rounded : Schedule or None
        Of a problem of integers, the same in float64 by transforms, which is sooner done; its results round to the
        exact ones if the numbers are small enough, see `core.execute`.
    cost : float
        By the model, in units of a full vector multiply-add.
    measured : str
        What measuring said, if that is why the algorithm was taken.
    variant : str
        Which of the ways of the algorithm was taken.
    """

    problem: ConvProblem
    level: str
    algorithm: str
    driver: Any
    tiles: TilePlan | None
    passed_over: tuple[str, ...]
    rounded: Schedule | None = None
    cost: float = math.inf
    measured: str = ""
    variant: str = ""

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory that one thread uses, beyond the arrays."""
        return int(self.driver.workspace_bytes)

    @property
    def flops(self) -> int:
        """Real additions and multiplications of the direct method, whatever the algorithm."""
        return self.problem.flops

    @property
    def bias_dtype(self) -> np.dtype[Any]:
        """What the kernels take the bias in."""
        return COMPUTE[self.problem.dtype].dtype if self.tiles is not None else self.problem.dtype

    @property
    def panel_format(self) -> Hashable:
        """What tells apart the weights as different schedules of one plan pack them, or None where they do not."""
        if not hasattr(self.driver, "pack_all"):
            return None
        found: Hashable = getattr(self.driver, "panel_format", self.driver)
        return found

    def pack(self, w: np.ndarray) -> Any:
        """Return the weights as this schedule's kernels read them, or None where they are read as they are."""
        return self.driver.pack_all(w) if hasattr(self.driver, "pack_all") else None

    def explain(self) -> str:
        """Return the algorithm, tiles, workspace and work in words, and why the others were passed over."""
        p = self.problem
        lines = [
            f"{p.dtype} {p.batch} x {p.groups} groups x {p.channels} -> {p.channels_out} channels, "
            f"kernel {' x '.join(str(axis.k) for axis in p.axes)}, result {p.out_shape}",
            f"algorithm: {self.algorithm}{self.driver_of_drivers()}, level: {self.level}",
        ]
        if self.tiles is not None:
            lines.append(self.tiles.describe(p.channels))
        if p.has_epilogue:
            where = "as each tile is stored" if self.fuses_epilogue else "a second pass over the result"
            lines.append(f"epilogue: {', '.join(self.epilogue_steps())}; {where}")
        if self.rounded is not None:
            lines.append("where the numbers are small enough for exact results: fft in float64, rounded")
        lines.append(f"workspace: {self.workspace_bytes} bytes a thread, work: {p.flops} flops")
        if self.measured:
            lines.append(f"measured: {self.measured}")
        lines.extend(f"passed over: {line}" for line in self.passed_over)
        return "\n".join(lines)

    def driver_of_drivers(self) -> str:
        """Return how the driver makes the problem one of another driver, in words."""
        words, driver = "", self.driver
        while hasattr(driver, "words"):
            words += driver.words
            driver = driver.driver
        return words

    @property
    def fuses_epilogue(self) -> bool:
        """Whether the driver finishes each tile as it stores it, so that no second pass over the result is made."""
        return bool(getattr(self.driver, "fuses_epilogue", False))

    def epilogue_steps(self) -> list[str]:
        """Return what follows the sums, in order."""
        p = self.problem
        steps = {"scale": p.has_scale, "bias": p.has_scale and p.has_bias, "residual": p.has_residual}
        names = [name for name, wanted in steps.items() if wanted]
        if p.activation is not None:
            names.append(f"{p.activation} of slope {p.slope:g}" if p.activation == "leaky_relu" else p.activation)
        return names if p.result_dtype is None else [*names, f"rounding to {p.result_dtype}"]

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        residual: np.ndarray | None = None,
    ) -> np.ndarray:
        """Compute into `out`, which is aligned and shares memory with no input, and return it.

        `panels` are weights that `pack` packed before. A residual may be `out` itself where the driver fuses.
        """
        packed = {} if panels is None else {"panels": panels}
        p = self.problem
        if not p.has_epilogue:
            self.driver.run(x, w, bias, out, threads, **packed)
        elif self.fuses_epilogue:
            self.driver.run(x, w, bias, out, threads, **packed, scale=scale, residual=residual)
        else:
            result = out if p.result_dtype is None else np.empty(p.out_shape, p.dtype)
            self.driver.run(x, w, bias if scale is None else None, result, threads, **packed)
            sums = result.astype(lane_of(p.dtype), copy=False)
            combine(sums, p, bias, scale, residual)
            if p.activation is not None:
                # By the kernels: NumPy's functions have other last bits, and not the same ones on every CPU.
                rows = np.ascontiguousarray(sums)
                activate(self.level, rows, p.activation, p.slope)
                if rows is not sums:
                    sums[...] = rows
            if sums is not out:
                cast_into(out, sums)
        return out


def affordable(choice: Choice, problem: ConvProblem) -> Choice:
    """Refuse a choice whose workspace is beyond the user's limit."""
    if choice.driver is None or problem.max_workspace is None:
        return choice
    needed = choice.driver.workspace_bytes
    if needed <= problem.max_workspace:
        return choice
    return Choice(
        choice.algorithm,
        refusal=f"needs {needed} bytes of workspace, max_workspace is {problem.max_workspace}",
        needed=needed,
    )


def choices_of(problem: ConvProblem, level: str) -> list[Choice]:
    """Return what every algorithm makes of a problem.

    Where phases serve, nothing else does, whatever the cost: a tap that is not finite would show which was taken.
    """
    phases = affordable(plan_parts_of_phases(problem, level), problem)
    if phases.driver is not None:
        others = [Choice(name, refusal="multiplies the zeros between samples") for name in PLANNERS]
        return [phases, *others]
    choices = [choice for name in PLANNERS for choice in variants_of(name, problem, level)]
    return [*choices, phases] if any(axis.input_dilation > 1 for axis in problem.axes) else choices


def variants_of(algorithm: str, problem: ConvProblem, level: str) -> list[Choice]:
    """Return what the variants of an algorithm make of a problem: those that serve it, or one refusal."""
    choices = [affordable(planner(problem, level), problem) for planner in PLANNERS[algorithm]]
    # The variant whose reason is memory says more than one that is for other problems.
    return served(choices) or [min(choices, key=lambda choice: (not choice.needed, choice.needed))]


@lru_cache(maxsize=1024)
def make(problem: ConvProblem, level: str) -> Schedule:
    """Return the schedule of a problem at a level.

    Raises
    ------
    ConvError
        If the algorithm asked for cannot serve the problem.
    """
    choices = candidates(problem, level)
    return schedule_of(problem, level, min(served(choices), key=lambda choice: choice.cost), choices)


def candidates(problem: ConvProblem, level: str) -> list[Choice]:
    """Return what all algorithms that are asked for make of a problem; raise if none can serve it."""
    if problem.stored is not None:
        # The one algorithm that reads and writes other dtypes than it computes in.
        choices = variants_of("direct", problem, level)
    elif problem.algorithm == "auto":
        choices = choices_of(problem, level)
    else:
        choices = variants_of(problem.algorithm, problem, level)
        if choices[0].driver is None:
            why = f"which refuses: {choices[0].refusal}"
            raise ConvError(f"algorithm: got {problem.algorithm!r}, {why}, allowed: 'auto', 'reference'")
    if all(choice.driver is None for choice in choices):
        if least := min((choice.needed for choice in choices if choice.needed), default=0):
            raise ConvError(f"max_workspace: got {problem.max_workspace}, allowed: at least {least} bytes here")
        raise ConvError(f"dtype: got {problem.stored} computed in {problem.dtype}: {choices[0].refusal}")
    return choices


def served(choices: list[Choice]) -> list[Choice]:
    """Return the choices that are no refusals."""
    return [choice for choice in choices if choice.driver is not None]


def schedule_of(problem: ConvProblem, level: str, taken: Choice, choices: list[Choice]) -> Schedule:
    """Return the schedule of one of the choices."""
    passed_over = tuple(reason(choice, taken) for choice in choices if choice is not taken)
    rounded = plan_rounded(problem, level, taken.cost)
    return Schedule(
        problem,
        level,
        taken.algorithm,
        taken.driver,
        taken.tiles,
        passed_over,
        rounded,
        taken.cost,
        variant=taken.variant,
    )


def plan_parts_of_phases(problem: ConvProblem, level: str) -> Choice:
    """Plan the phases, where each of them can be planned."""
    try:
        return plan_phases(problem, level, make)
    except ConvError as error:
        return Choice("phases", refusal=f"a phase: {error}")


def plan_rounded(problem: ConvProblem, level: str, cost: float) -> Schedule | None:
    """Return the schedule in float64 of a problem of integers, if transforms make it cheaper than `cost`."""
    if problem.dtype.kind not in "biu" or problem.algorithm != "auto" or problem.has_epilogue:
        return None
    fill = np.frombuffer(problem.fill, problem.dtype).astype(np.float64).tobytes()
    floats = problem._replace(dtype=np.dtype(np.float64), fill=fill)
    choice = affordable(plan_fft(floats, level), floats)
    if choice.driver is None or choice.cost * _tunables.ROUNDED_COST > cost:
        return None
    # Both operands and the result are there once more, as doubles.
    doubles = 8 * (problem.x_size + problem.w_size + math.prod(problem.out_shape))
    if problem.max_workspace is not None and choice.driver.workspace_bytes + doubles > problem.max_workspace:
        return None
    return Schedule(floats, level, choice.algorithm, choice.driver, choice.tiles, ())


def reason(choice: Choice, taken: Choice) -> str:
    """Return why a choice was not taken."""
    if choice.driver is None:
        return f"{choice.algorithm}: {choice.refusal}"
    if math.isinf(choice.cost):
        return f"{choice.algorithm}: correct and slow, the last resort"
    return f"{choice.variant}: {choice.cost / max(taken.cost, 1.0):.2f} times the cost of {taken.variant} by the model"
