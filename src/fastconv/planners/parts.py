"""Complex problems as real ones of twice the channels: every channel is two, its real and its imaginary part.

With x = a + ib and w = u + iv the result is (a u - b v) + i (a v + b u), the product of a block matrix::

                             channel in, re    channel in, im
    channel out, re          |      u                -v       |
    channel out, im          |      v                 u       |

So whatever serves real channels serves complex ones: four real products a complex one, as many as the direct method
makes, and in the order in which it sums them where nothing is transformed. The parts of an element are neighbours in
memory, which drivers are told by `ConvProblem.paired`; only the weights are copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._problem import ConvProblem
from ..drivers.tile import aligned_bytes
from .tiles import COMPUTE, Choice
from .wrapper import Wrapper


def in_parts(planner: Callable[[ConvProblem, str], Choice], problem: ConvProblem, level: str) -> Choice:
    """Plan a complex problem by a planner of real ones, and leave any other to it."""
    if problem.dtype not in COMPUTE or problem.dtype.kind != "c":
        return planner(problem, level)
    dtype = np.dtype(f"f{problem.dtype.itemsize // 2}")
    real = problem.without_epilogue()._replace(
        dtype=dtype, channels=2 * problem.channels, channels_out=2 * problem.channels_out, conj=False, paired=True
    )
    choice = planner(real, level)
    if choice.driver is None:
        return choice
    re, im = np.frombuffer(problem.fill, dtype)
    if re != im and any(axis.boundary == "constant" for axis in problem.axes):
        return Choice(choice.algorithm, refusal="a fill value of unequal parts")
    return choice._replace(driver=PartsDriver(problem, choice.driver))


def real_weights(w: np.ndarray, conj: bool) -> np.ndarray:
    """Return the block matrix of a bank of complex kernels, (2 * channels out, 2 * channels in, *kernel).

    Examples
    --------
    >>> real_weights(np.array([[[1 + 2j]]]), conj=False)[:, :, 0]
    array([[ 1., -2.],
           [ 2.,  1.]])
    """
    blocks = np.empty((w.shape[0], 2, w.shape[1], 2, *w.shape[2:]), w.real.dtype)
    blocks[:, 0, :, 0] = blocks[:, 1, :, 1] = w.real
    blocks[:, 0, :, 1] = w.imag if conj else -w.imag
    blocks[:, 1, :, 0] = -w.imag if conj else w.imag
    return blocks.reshape(2 * w.shape[0], 2 * w.shape[1], *w.shape[2:])


class PartsDriver(Wrapper):
    """Runs a driver of real problems on complex arrays.

    Packed weights are those of that driver, and behind them the block matrix, for the tiles that it computes again.
    """

    words = " of parts"

    def __init__(self, problem: ConvProblem, driver: Any) -> None:
        kernel = [axis.k for axis in problem.axes]
        self.shape = (2 * problem.groups * problem.channels_out, 2 * problem.channels, *kernel)
        self.dtype = np.dtype(f"f{problem.dtype.itemsize // 2}")
        self.conj = problem.conj
        # A plan holds the block matrix.
        self.weights_bytes = math.prod(self.shape) * self.dtype.itemsize
        super().__init__(driver, copied=0 if problem.planned else self.weights_bytes)

    @property
    def panel_format(self) -> tuple[str, Any]:
        """Equal for drivers of a plan that can use each other's packed weights."""
        return "parts", self.driver.panel_format

    def pack_all(self, w: np.ndarray) -> np.ndarray:
        """Return all weights as the driver reads them."""
        real = real_weights(w, self.conj)
        panels = self.driver.pack_all(real)
        both: np.ndarray = aligned_bytes(panels.nbytes + real.nbytes)
        both[: panels.nbytes] = panels
        both[panels.nbytes :] = real.reshape(-1).view(np.uint8)
        return both

    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
    ) -> None:
        """Write the convolution of x and w to out, which shares memory with neither and is aligned."""
        parts = None if bias is None else bias.view(self.dtype)
        if panels is None:
            self.driver.run(x, real_weights(w, self.conj), parts, out, threads)
        else:
            end = panels.nbytes - self.weights_bytes
            self.driver.run(x, panels[end:].view(self.dtype).reshape(self.shape), parts, out, threads, panels[:end])
