"""Images that a kernel covers as a whole, such as the input of a dense layer: one matrix times another.

An image is a row of channels and taps then, and has one pixel in the result. Taken one by one, the images would each
read all the weights; as the pixels of a single image, with channels last, they read them together::

    x    (batch, channels, *kernel)           one image of `batch` pixels, of channels * taps channels
    w    (channels_out, channels, *kernel)    a kernel of one tap
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._problem import Axis, ConvProblem
from .tiles import Choice
from .wrapper import PackingWrapper


def on_matrices(planner: Callable[[ConvProblem, str], Choice], problem: ConvProblem, level: str) -> Choice:
    """Plan kernels that cover their images by a planner of layers."""
    if problem.batch < 2 or problem.channel_axis < 0 or problem.groups > 1 or not all(map(is_covered, problem.axes)):
        return Choice("gemm", refusal="images that the kernel does not cover, or a single one")
    if problem.accuracy == "strict":
        return Choice("gemm", refusal="an order of summation that has to be kept for any batch")
    if problem.flip and any(axis.k > 1 for axis in problem.axes):
        return Choice("gemm", refusal="taps that are not in the order of the samples")
    matrix = problem._replace(
        batch=1,
        channels=problem.taps,
        axes=(Axis(problem.batch, 1, 1, 1, 1, 0, 0, "constant"),),
        batch_axis=-1,
        channel_axis=1,
        spatial_axes=(0,),
    )
    choice = planner(matrix, level)
    if choice.driver is None:
        return choice
    driver = MatricesDriver(problem, choice.driver)
    return choice._replace(driver=driver, variant=f"{choice.variant}{driver.words}")


def is_covered(axis: Axis) -> bool:
    """Return whether an axis has one output, made of all samples and of nothing else."""
    return axis.n == axis.k and axis.out == axis.dilation == axis.input_dilation == 1 and axis.lo == axis.hi == 0


class MatricesDriver(PackingWrapper):
    """Runs a driver of one image on the images of a batch, its pixels."""

    words = " of a matrix"

    def __init__(self, problem: ConvProblem, driver: Any) -> None:
        self.order = (problem.batch_axis, problem.channel_axis, *problem.spatial_axes)
        self.taps = problem.taps
        self.pixels: Any = (..., *(0 for _ in problem.axes))
        # Rows of samples that do not follow each other in the order of the weights are copied.
        follow = problem.taps == problem.channels or self.order == tuple(range(len(self.order)))
        super().__init__(driver, copied=0 if follow else problem.x_size * problem.dtype.itemsize)

    def weights_of(self, w: np.ndarray) -> np.ndarray:
        """Return a row of weights for each output channel: a copy, if they do not lie so."""
        return w.reshape(w.shape[0], self.taps, 1)

    def pixels_of(self, result: np.ndarray) -> np.ndarray:
        """Return a result, or what is added to it, as one image."""
        seen: np.ndarray = result.transpose(self.order)[self.pixels]
        return seen

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

        The residual may be out. The scale is the driver's own.
        """
        if panels is not None:
            others["panels"] = panels
        if residual is not None:
            others["residual"] = self.pixels_of(residual)
        pixels = x.transpose(self.order).reshape(x.shape[self.order[0]], self.taps)
        self.driver.run(pixels, self.weights_of(w), bias, self.pixels_of(out), threads, **others)
