"""Convolutions and filters without channels from ``signals.txt``, and random arrays for them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .filters import gaussian_reach

SIGNALS_FILE = Path(__file__).with_name("signals.txt")

Shape = tuple[int, ...]

# How large the sums of bytes are that no library should have to wrap or clip: far enough from 255.
_SUM_OF_BYTES = 150
# In the picture of bytes for filters: samples that an edge stays the same for.
_STEP = 4


@dataclass(frozen=True)
class Signal:
    """One line of ``signals.txt``: a convolution of `shape` with `kernel`, or a `function` with its `argument`."""

    group: str
    dtype: str
    shape: Shape
    kernel: Shape = ()
    function: str = ""
    argument: int = 0

    @property
    def name(self) -> str:
        """The line without its group."""
        what = f"{self.function} {self.argument}" if self.function else _by_sides(self.kernel)
        return f"{self.dtype} {_by_sides(self.shape)} {what}"

    @property
    def flops(self) -> int:
        """Multiplications and additions of a convolution by its definition; 0 for a function."""
        return 0 if self.function else 2 * math.prod(self.shape) * math.prod(self.kernel)


def load(path: Path = SIGNALS_FILE) -> list[Signal]:
    """Read the lines, in the order of the file.

    >>> load()[1]
    Signal(group='tiny', dtype='float32', shape=(8, 8), kernel=(3, 3), function='', argument=0)
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parse(line) for line in lines if line.strip() and not line.startswith("#")]


def arrays(x_shape: Shape, w_shape: Shape, dtype: str) -> tuple[NDArray, NDArray]:
    """Random signal and kernel of any rank: integers over their whole range, everything else normal."""
    rng = np.random.default_rng(0)
    shapes, kind = (x_shape, w_shape), np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        x, w = (rng.integers(limits.min, limits.max, shape, kind, endpoint=True) for shape in shapes)
        return x, w
    pair = [rng.standard_normal(shape) for shape in shapes]
    if kind.kind == "c":
        pair = [array + 1j * rng.standard_normal(array.shape) for array in pair]
    return pair[0].astype(kind), pair[1].astype(kind)


def modest_arrays(x_shape: Shape, w_shape: Shape, dtype: str) -> tuple[NDArray, NDArray]:
    """Those of `arrays`; but bytes are such that sums fit a byte, which libraries wrap or clip, each as it likes.

    No weight is zero: some libraries leave such taps out.
    """
    if dtype != "uint8":
        return arrays(x_shape, w_shape, dtype)
    rng = np.random.default_rng(0)
    w = rng.integers(1, 3, w_shape, dtype=np.uint8)
    x = rng.random(x_shape) < min(0.5, _SUM_OF_BYTES / int(w.sum()))
    return x.astype(np.uint8), w


def picture(shape: Shape, dtype: str) -> NDArray:
    """Random samples for named filters; bytes grow along the first axis, or edges would be negative."""
    rng = np.random.default_rng(0)
    if dtype != "uint8":
        return rng.standard_normal(shape).astype(dtype)
    rows = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return np.minimum((rows + rng.integers(0, _STEP, (1, *shape[1:]))) // _STEP, 255).astype(np.uint8)


def reach(signal: Signal) -> int:
    """How many samples on each side a named filter looks at."""
    if signal.function == "gaussian_filter":
        return gaussian_reach(signal.argument)
    return signal.argument // 2 if signal.function == "uniform_filter" else 1


def _by_sides(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _sides(text: str) -> Shape:
    return tuple(map(int, text.split("x")))


def _parse(line: str) -> Signal:
    columns = line.split()
    if len(columns) != 4:
        raise ValueError(f"{SIGNALS_FILE.name}: expected 4 columns in {line!r}")
    group, dtype, shape, kernel = columns
    if named := re.fullmatch(r"(\w+)\((-?\d+)\)", kernel):
        return Signal(group, dtype, _sides(shape), (), named[1], int(named[2]))
    return Signal(group, dtype, _sides(shape), _sides(kernel))
