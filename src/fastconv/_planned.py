"""A convolution with its weights, made once and called often."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

import numpy as np

from . import _measure, _plan, _problem, _tunables
from ._errors import ConvError, ConvTypeError
from .core import conv, execute
from .drivers import levels
from .drivers import threads as _threads
from .drivers.lane import Caller

__all__ = ["Plan", "plan"]


class Plan(Caller):
    """A convolution with its weights, made once and called often, with images of any number and size.

    Made by `fastconv.plan`. Weights are copied and, where an algorithm packs them, packed at the first shape that
    wants them so; all shapes that want the same share them. A plan never changes what it computes, so threads may share
    it; it can be pickled, which keeps weights and options only.

    Parameters
    ----------
    w : array_like
        As in `fastconv.conv`.
    x_shape : tuple of int or None
        Shape of the inputs that are expected.
    x_dtype : dtype
        Their dtype.
    options : dict
        Keywords of `fastconv.conv`.
    effort : {"estimate", "measure"}
    """

    def __init__(
        self, w: Any, x_shape: tuple[int, ...] | None, x_dtype: Any, options: dict[str, Any], effort: str = "estimate"
    ) -> None:
        self._arguments = (w, x_shape, x_dtype, options, effort)
        self._measures = _problem.one_of(effort, "effort", ("estimate", "measure")) == "measure"
        self._threads = options.get("threads")
        _threads.check(self._threads)
        self._residual = _problem.switch(options.get("residual") or False, "residual")
        own = ("threads", "bias", "scale", "residual")
        self._options = {name: value for name, value in options.items() if name not in own}
        self._x_shape, self._x_dtype = x_shape, np.dtype(x_dtype)
        self._level = levels.current()
        self._lock = threading.Lock()
        self._schedules: dict[tuple[int, ...], _plan.Schedule] = {}
        self._packed: dict[Hashable, Any] = {}
        self._w, self._bias, self._scale = np.array(w), options.get("bias"), options.get("scale")
        shape = least_shape(self._w, options) if x_shape is None else x_shape
        problem, operands = self._prepare(shape)
        # Of the dtype of the arithmetic from here on.
        self._w, self._bias, self._scale = operands.w, operands.bias, operands.scale
        self._channel_axis, self._channels = problem.channel_axis, problem.groups * problem.channels
        self._rank = len(shape)
        self._schedule = None
        if x_shape is not None:
            self._schedule = self._schedule_of(x_shape)
            self._panels_of(self._schedule)

    def _prepare(self, shape: tuple[int, ...]) -> tuple[_problem.ConvProblem, _problem.Operands]:
        # Stands for the inputs: their shape and dtype in no memory of its own.
        stand_in = np.broadcast_to(np.zeros((), self._x_dtype), shape)
        problem, operands = _problem.prepare(stand_in, self._w, bias=self._bias, scale=self._scale, **self._options)
        return problem._replace(has_residual=self._residual), operands

    def _schedule_of(self, shape: tuple[int, ...]) -> _plan.Schedule:
        with self._lock:
            schedule = self._schedules.get(shape)
        if schedule is None:
            problem, _ = self._prepare(shape)
            problem = problem._replace(planned=True)
            if self._measures:
                schedule = _measure.fastest(problem, self._level, self._threads)
            else:
                schedule = _plan.make(problem, self._level)
            with self._lock:
                self._schedules[shape] = schedule
                if len(self._schedules) > _tunables.PLAN_SHAPES:
                    del self._schedules[next(iter(self._schedules))]
        return schedule

    def _panels_of(self, schedule: _plan.Schedule) -> Any:
        """Return the weights as a schedule wants them, packed by the first that does."""
        key = schedule.panel_format
        if key is None:
            return None
        with self._lock:
            panels = self._packed.pop(key) if key in self._packed else schedule.pack(self._w)
            # The last one used is the last one to go.
            self._packed[key] = panels
            if len(self._packed) > _tunables.PLAN_FORMATS:
                self.forget(self._packed.pop(next(iter(self._packed))))
        return panels

    def serve(self, x: Any, out: np.ndarray | None, residual: Any) -> np.ndarray:
        """Do what a call does, for arrays of any kind; shapes that come here are remembered."""
        x = _problem.as_array(x, "x")
        self._check(x)
        if (residual is not None) != self._residual:
            got, allowed = ("none", "one") if self._residual else ("one", "none, or a plan made with residual=True")
            raise ConvError(f"residual: got {got}, allowed: {allowed}")
        schedule = self._schedule_of(x.shape)
        problem = schedule.problem
        residual = _problem.check_residual(residual, problem)
        out = _problem.check_out(out, problem.out_shape, problem.out_dtype)
        panels = self._panels_of(schedule)
        x = _problem.native(x, problem.dtype)
        operands = _problem.Operands(x, self._w, self._bias, out, self._scale, residual)
        result = execute(schedule, operands, self._threads, panels)
        bias = None if self._bias is None else self._bias.astype(schedule.bias_dtype, copy=False)
        self.remember(schedule, x.shape, self._w, bias, self._scale, self._threads, panels)
        return result

    def _check(self, x: np.ndarray) -> None:
        """Refuse what the plan's weights are not for."""
        allowed = ""
        if x.ndim != self._rank:
            allowed = f"{self._rank} axes"
        elif self._channel_axis >= 0 and x.shape[self._channel_axis] != self._channels:
            allowed = f"{self._channels} channels along axis {self._channel_axis}"
        if allowed:
            allowed += f", such as {self._x_shape}" if self._x_shape is not None else ""
            raise ConvError(f"x: got shape {x.shape}, allowed: {allowed}, for the plan's w of shape {self._w.shape}")
        if x.dtype.newbyteorder("=") != self._x_dtype.newbyteorder("="):
            raise ConvTypeError(f"x: got dtype {x.dtype}, allowed: {self._x_dtype}, which the plan was made for")

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, self._arguments

    def __repr__(self) -> str:
        return f"<fastconv.Plan\n{self.explain()}>"

    @property
    def algorithm(self) -> str:
        """What computes the result of `x_shape`: "direct", "gemm", "winograd", "fft" or "reference"."""
        return self._expected().algorithm

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory that one thread uses for an input of `x_shape`, beyond the arrays and the packed weights."""
        return self._expected().workspace_bytes

    @property
    def packed_bytes(self) -> int:
        """Memory of the packed weights that the plan holds now, for all shapes that it was called with."""
        with self._lock:
            return sum(bytes_of(panels) for panels in self._packed.values())

    @property
    def flops(self) -> int:
        """Real additions and multiplications of the direct method for `x_shape`, whatever the algorithm."""
        return self._expected().flops

    def _expected(self) -> _plan.Schedule:
        if self._schedule is None:
            raise ConvError("x_shape: got none when the plan was made, allowed: one, or to ask explain(x_shape)")
        return self._schedule

    def explain(self, x_shape: Any = None) -> str:
        """Return the algorithm, tiles, workspace and work in words, and why other algorithms were passed over.

        Parameters
        ----------
        x_shape : sequence of int, optional
            Shape of an input; by default that which the plan was made for. A plan that was made for none then tells of
            its weights only.

        Returns
        -------
        str

        Raises
        ------
        ConvError, ConvTypeError
            If there can be no input of that shape.
        """
        if x_shape is not None:
            shape = _problem.check_shape(x_shape, "x_shape", self._x_dtype.itemsize)
            self._check(np.broadcast_to(np.zeros((), self._x_dtype), shape))
            return self._schedule_of(shape).explain()
        if self._schedule is not None:
            return self._schedule.explain()
        return (
            f"{self._w.dtype} w of shape {self._w.shape} for any x of {self._rank} axes and dtype {self._x_dtype}, "
            f"level: {self._level}"
        )


def bytes_of(panels: Any) -> int:
    """Return the bytes of packed weights: of one array, or of some for each part of a problem."""
    if isinstance(panels, list):
        return sum(bytes_of(part) for part in panels)
    return 0 if panels is None else int(panels.nbytes)


def least_shape(w: np.ndarray, options: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of a small input that options and weights are checked with; what is wrong stays wrong."""
    layout, groups = options.get("layout"), options.get("groups", 1)
    letters = layout if isinstance(layout, str) else "x" * w.ndim
    rank = sum(letter not in "NC" for letter in letters)
    dilation = _problem.per_axis(options.get("dilation", 1), "dilation", rank, 1)
    kernel = w.shape[w.ndim - rank :] if w.ndim >= rank else (1,) * rank
    cropped = crops(options.get("padding", 0))
    spatial = iter([(max(k, 1) - 1) * d + 1 + cropped for k, d in zip(kernel, dilation, strict=False)])
    channels = w.shape[1] * _problem.integer(groups, "groups", 1) if w.ndim > 1 else 1
    return tuple(1 if letter == "N" else channels if letter == "C" else next(spatial, 1) for letter in letters)


def crops(padding: Any) -> int:
    """Return how many samples padding takes away, at least, wherever it does."""
    if _problem.is_list(padding):
        return sum(crops(entry) for entry in padding)
    return max(-int(padding), 0) if isinstance(padding, (int, np.integer)) else 0


def plan(w: Any, x_shape: Any = None, *, x_dtype: Any = None, effort: str = "estimate", **options: Any) -> Plan:
    """Prepare a convolution with weights that are known, for inputs of any number and size.

    Parameters
    ----------
    w : array_like
        As in `fastconv.conv`; copied.
    x_shape : sequence of int, optional
        Shape of the inputs that are expected: the plan is made for it at once, and its `algorithm`, `workspace_bytes`,
        `flops` and `explain` speak of it. Other shapes are served too, as all are without it: each is planned when the
        first input of it comes, and so is the packing of weights if no shape before wanted them packed so.
    x_dtype : dtype, optional
        Dtype of the inputs; that of w by default.
    effort : {"estimate", "measure"}, default "estimate"
        How an algorithm is picked for a shape: by the cost model, or by timing all that can serve it on arrays of that
        shape, for a quarter of a second or the time of two calls each. That is done when the plan is made for
        `x_shape`, and for any other shape at its first call. The winner is remembered for all plans of this process
        that measure the same, and by `fastconv.tune` for later processes; `explain` shows the times. Which one wins may
        differ from measurement to measurement, and with it the bits of a result, within the bounds of error of
        `fastconv.conv`; not so under ``accuracy="strict"``.
    **options
        Any keyword of `fastconv.conv` but `out` and `overflow`; `residual` is True for a plan that is called with one,
        as ``p(x, out, residual)``. `max_workspace` limits the scratch memory of a thread,
        whatever the shape; packed weights are the plan's own and not counted, see `Plan.packed_bytes`.

    Returns
    -------
    Plan
        Called as ``p(x, out=None)``.

    Raises
    ------
    ConvError, ConvTypeError
        As `fastconv.conv`, and from a call if x is of another dtype, or has other channels, than the plan is for.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> p = fastconv.plan(np.ones((3, 3), np.float32), (64, 64), padding="same")
    >>> p.algorithm, p.flops
    ('direct', 73728)
    >>> p(np.ones((64, 64), np.float32))[0, :3]
    array([4., 6., 6.], dtype=float32)

    A layer that meets batches and images of several sizes:

    >>> layer = fastconv.plan(np.ones((8, 3, 3, 3), np.float32), layout="NCHW", padding=1)
    >>> [layer(np.ones(shape, np.float32)).shape for shape in [(1, 3, 32, 32), (4, 3, 20, 50)]]
    [(1, 8, 32, 32), (4, 8, 20, 50)]
    """
    unknown = options.keys() - (conv.__kwdefaults__ or {}).keys() | options.keys() & {"out", "overflow"}
    if unknown:
        raise ConvTypeError(
            f"plan: got the keywords {sorted(unknown)}, allowed: those of fastconv.conv but out and overflow"
        )
    w = np.array(_problem.as_array(w, "w"))
    dtype = w.dtype if x_dtype is None else _problem.check_dtype(x_dtype, "x_dtype")
    for name in ("bias", "scale"):
        if options.get(name) is not None:
            options[name] = np.array(_problem.as_array(options[name], name))
    shape = None if x_shape is None else _problem.check_shape(x_shape, "x_shape", dtype.itemsize)
    return Plan(w, shape, dtype, options, effort)
