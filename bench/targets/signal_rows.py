"""Targets of fastconv.signal: against SciPy, against OpenCV, boundary modes, tiny calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.measure import OURS
from bench.signals import arrays
from bench.timing import Effort, Timed, race

from .row import Row, against

# (side of the picture, side of the kernel)
Size = tuple[int, int]

IN_CACHE: tuple[Size, ...] = ((512, 3), (512, 5), (512, 7), (512, 9), (1024, 15))
PAST_CACHE: tuple[Size, ...] = ((2048, 5), (2048, 7), (2048, 9))
MEMORY_BOUND: tuple[Size, ...] = ((2048, 3),)
OPENCV: tuple[Size, ...] = ((512, 3), (512, 7), (2048, 5), (2048, 9), (1024, 15))

# (what the sizes have in common, the sizes, float32 target, float64 target)
CONVOLVE2D = (
    ("512² with 3x3 to 9x9, 1024² with 15x15", IN_CACHE, 70.0, 35.0),
    ("2048² with 5x5, 7x7, 9x9", PAST_CACHE, 45.0, 20.0),
    ("2048² with 3x3", MEMORY_BOUND, 25.0, 12.0),
)

DTYPES = {"complex64": 25.0, "complex128": 12.0, "uint8": 25.0, "int16": 25.0, "int32": 15.0, "int64": 4.0}
OPENCV_TARGET = 1.7
BOUNDARY_TARGET = 1.1


def conv2d(effort: Effort) -> Iterator[Row]:
    """convolve2d of float32 and float64 against SciPy."""
    for what, sizes, single, double in CONVOLVE2D:
        for dtype, target in (("float32", single), ("float64", double)):
            for size in sizes:
                line = f"convolve2d {dtype} {what}, against SciPy"
                yield _against_scipy(line, size, dtype, target, effort)


def dtypes(effort: Effort) -> Iterator[Row]:
    """convolve2d of the other dtypes against SciPy."""
    for dtype, target in DTYPES.items():
        yield _against_scipy(f"convolve2d {dtype} 512² with 5x5, against SciPy", (512, 5), dtype, target, effort)


def tiny(effort: Effort) -> Iterator[Row]:
    """Whole calls so short that only their overhead counts."""
    for side in (8, 64):
        for dtype in ("float32", "float64"):
            line = f"convolve2d {side}x{side} with 3x3, whole call, against SciPy"
            yield _against_scipy(line, (side, 3), dtype, 1.0, effort)


def opencv(effort: Effort) -> Iterator[Row]:
    """convolve2d of float32 against cv2.filter2D."""
    import cv2

    from fastconv.signal import convolve2d

    for size in OPENCV:
        x, w = operands(size, "float32")
        flipped = np.ascontiguousarray(w[::-1, ::-1])
        ours = partial(convolve2d, x, w, mode="same")
        theirs = partial(cv2.filter2D, x, -1, flipped, borderType=cv2.BORDER_CONSTANT)
        line = "convolve2d float32, against cv2.filter2D"
        yield against(line, title(size, "float32"), OPENCV_TARGET, ours, ("opencv", theirs), (x, w), effort)


def boundary(effort: Effort) -> Iterator[Row]:
    """wrap and symm against fill, all of them fastconv's."""
    from fastconv.signal import convolve2d

    for dtype in ("float32", "float64"):
        x, w = operands((512, 7), dtype)
        modes = ("fill", "wrap", "symm")
        calls = {mode: partial(convolve2d, x, w, mode="same", boundary=mode) for mode in modes}
        best = race({mode: Timed.once(call) for mode, call in calls.items()}, effort)
        for mode in modes[1:]:
            yield Row(
                "boundary wrap and symm, 512² with 7x7, over fill",
                f"{title((512, 7), dtype)} {mode}",
                best[mode] / best["fill"],
                "x",
                BOUNDARY_TARGET,
                at_least=False,
                seconds=best[mode],
                peer=f"{OURS} fill",
                peer_seconds=best["fill"],
            )


def operands(size: Size, dtype: str) -> tuple[NDArray, NDArray]:
    """Random picture and kernel: integers over their whole range, everything else normal."""
    side, kernel = size
    return arrays((side, side), (kernel, kernel), dtype)


def title(size: Size, dtype: str) -> str:
    """A row's name.

    >>> title((512, 3), "float32")
    'float32 512² 3x3'
    """
    side, kernel = size
    return f"{dtype} {side}² {kernel}x{kernel}"


def _against_scipy(line: str, size: Size, dtype: str, target: float, effort: Effort) -> Row:
    import scipy.signal

    from fastconv.signal import convolve2d

    x, w = operands(size, dtype)
    ours = partial(convolve2d, x, w, mode="same")
    theirs = partial(scipy.signal.convolve2d, x, w, mode="same")
    return against(line, title(size, dtype), target, ours, ("scipy.signal", theirs), (x, w), effort)
