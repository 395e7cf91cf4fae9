"""Dilated kernels on lattices: samples d apart are an image of their own, on which the kernel is not dilated.

Along an axis with dilation d and stride 1, the outputs a, a + d, a + 2d ... are sums of samples that are d apart too::

    d = 2, lo 2     outputs  0 . 2 . 4 .  of the samples  0 . 2 . 4 .     lo 1
                    outputs  . 1 . 3 . 5  of the samples  . 1 . 3 . 5     lo 1

So there are d such images along the axis, and what serves kernels without dilation serves these. They are views of the
arrays: those that are alike, in size and in the padding they need, follow each other as an outer axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .._problem import Axis, ConvProblem
from .tiles import Choice, lanes_of
from .wrapper import PackingWrapper


class Lattices(NamedTuple):
    """Images along an axis that are alike, one sample apart.

    Attributes
    ----------
    first_sample, first_output : int
        Where the first of them begins.
    images, step : int
        How many they are, and the samples from one of an image to the next.
    axis : Axis
        Of one.
    """

    first_sample: int
    first_output: int
    images: int
    step: int
    axis: Axis


class Part(NamedTuple):
    """Lattices along both axes of a plane, and the driver of their problem."""

    y: Lattices
    x: Lattices
    driver: Any


def lattices_of(axis: Axis) -> list[Lattices]:
    """Return the lattices of an axis of stride 1, which show all its outputs.

    Examples
    --------
    >>> for run in lattices_of(Axis(7, 3, 1, 2, 1, 2, 2, "constant")):
    ...     print(run.first_sample, run.images, run.axis.n, run.axis.lo, run.axis.out)
    0 1 4 1 4
    1 1 3 1 3
    """
    d = axis.dilation
    result: list[Lattices] = []
    for first in range(min(d, axis.out)):
        back, sample = divmod(first - axis.lo, d)
        n, outputs = len(range(sample, axis.n, d)), len(range(first, axis.out, d))
        one = Axis(n, axis.k, 1, 1, 1, -back, outputs + axis.k - 1 - n + back, axis.boundary)
        run = result[-1] if result else None
        if run is not None and run.axis == one and run.first_sample + run.images == sample:
            result[-1] = run._replace(images=run.images + 1)
        else:
            result.append(Lattices(sample, first, 1, d, one))
    return result


def on_lattices(planner: Callable[[ConvProblem, str], Choice], problem: ConvProblem, level: str) -> Choice:
    """Plan a problem dilated along its last two axes by a planner of such that are not, and leave any other to it."""
    plane = problem.axes[-2:]
    if len(plane) < 2 or all(axis.dilation == 1 for axis in plane) or any(axis.stride > 1 for axis in plane):
        return planner(problem, level)
    for axis in plane:
        if axis.dilation > 1 and axis.boundary != "constant" and (axis.lo > 0 or axis.hi > 0):
            return Choice("winograd", refusal="dilations beyond a boundary that is not constant")
        if axis.dilation > axis.n:
            return Choice("winograd", refusal="dilations of more samples than there are")
    parts, choices = [], []
    for y in lattices_of(plane[0]):
        for x in lattices_of(plane[1]):
            choice = planner(on_views(problem, y, x), level)
            if choice.driver is None:
                return choice
            parts.append(Part(y, x, choice.driver))
            choices.append(choice)
    if not parts:
        return Choice("winograd", refusal="no results")
    work = {key: sum(choice.work.get(key, 0.0) for choice in choices) for key in choices[0].work}
    # What lies a few samples apart is moved one by one.
    work["lattices.vector"] = (problem.x_size + math.prod(problem.out_shape)) / lanes_of(problem, level)
    best = choices[0]
    assert best.tiles is not None
    return Choice.of(f"{best.variant}{LatticesDriver.words}", LatticesDriver(problem, parts), best.tiles, work)


def on_views(problem: ConvProblem, y: Lattices, x: Lattices) -> ConvProblem:
    """Return the problem of lattices, whose arrays have two more axes in front: which lattice along y, and along x."""
    outer = [Axis(run.images, 1, 1, 1, 1, 0, 0, "constant") for run in (y, x)]
    *before, y_place, x_place = (axis + 2 for axis in problem.spatial_axes)
    return problem._replace(
        axes=(*problem.axes[:-2], *outer, y.axis, x.axis),
        spatial_axes=(*before, 0, 1, y_place, x_place),
        batch_axis=problem.batch_axis + 2 if problem.batch_axis >= 0 else -1,
        channel_axis=problem.channel_axis + 2 if problem.channel_axis >= 0 else -1,
    )


class LatticesDriver(PackingWrapper):
    """Runs drivers of lattices, which share their packed weights."""

    words = " on lattices"

    def __init__(self, problem: ConvProblem, parts: list[Part]) -> None:
        super().__init__(parts[0].driver)
        self.parts = parts
        self.places = problem.spatial_axes[-2:]
        self.packs = len(parts) > 1 and not problem.planned

    @property
    def weights_bytes(self) -> int:
        """Bytes of the packed weights of a call that makes them."""
        return int(self.driver.packed_bytes) if self.packs else 0

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory of one thread, packed weights that no plan holds included."""
        return max(int(part.driver.workspace_bytes) for part in self.parts) + self.weights_bytes

    @property
    def panel_format(self) -> Any:
        """Equal for drivers of a plan that can use each other's packed weights: the drivers' own have the same."""
        return self.driver.panel_format

    def weights_of(self, w: np.ndarray) -> np.ndarray:
        """Return the weights with an axis of one tap for each that counts lattices."""
        return w[..., None, None, :, :]

    def seen(self, array: np.ndarray, part: Part, *, results: bool) -> np.ndarray:
        """Return the lattices of a part as a view of an input or of a result."""
        shape, strides, where = list(array.shape), list(array.strides), [slice(None)] * array.ndim
        counts, between = [], []
        for place, run in zip(self.places, (part.y, part.x), strict=True):
            first = run.first_output if results else run.first_sample
            where[place] = slice(first, None)
            counts.append(run.images)
            between.append(strides[place])
            shape[place] = run.axis.out if results else run.axis.n
            strides[place] *= run.step
        return as_strided(array[tuple(where)], (*counts, *shape), (*between, *strides))

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
        residual: np.ndarray | None = None,
        **others: np.ndarray | None,
    ) -> None:
        """Write the convolution of x and w to out, which shares memory with neither and is aligned.

        The residual may be out. The scale is the drivers' own.
        """
        if panels is None and self.packs:
            panels = self.pack_all(w)
        if panels is not None:
            others["panels"] = panels
        w = self.weights_of(w)
        for part in self.parts:
            if residual is not None:
                others["residual"] = self.seen(residual, part, results=True)
            part.driver.run(
                self.seen(x, part, results=False), w, bias, self.seen(out, part, results=True), threads, **others
            )
