"""Targets of the drop-in faces: fastconv.convolve, fastconv.signal and fastconv.ndimage, each against the best peer.

Peers are called at their best: contiguous arrays, the dtype kept where they keep it, what they need only once
(a flipped kernel, a tensor) made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import agreement, machine
from bench.peers import opencv_filter, scipy_ndimage_filter, scipy_signal_filter
from bench.signals import Shape, arrays
from bench.timing import Call, Effort

from .row import Contest, Row, geometric_mean
from .signal_rows import Size, operands, title

REAL = ("float32", "float64")

# (samples, taps): target
NUMPY = {(100, 5): 1.0, (10_000, 16): 5.0}
# taps: target
LONG_SIGNAL = {8: 2.0, 64: 4.0, 512: 6.0, 8192: 6.0}
LONG_SAMPLES = 1_000_000

# (side of the picture, side of the kernel): target, unless (size, dtype) has one of its own
LARGE_KERNELS: dict[Size, float] = {(1024, 15): 6.0, (1024, 31): 6.0, (512, 63): 6.0}
LARGE_KERNEL_OF_DTYPE = {((1024, 15), "float32"): 10.0}

# What fftconvolve and oaconvolve are asked for besides the lines that have a row of their own.
FFT_NAMES = ("fftconvolve", "oaconvolve")
FFT_PICTURES: tuple[Size, ...] = ((512, 3), (512, 7), (2048, 3), (2048, 5), (2048, 9))
FFT_MEAN, FFT_EACH = 4.0, 1.0

# (side of the volume, side of the kernel)
FFT_VOLUMES: tuple[Size, ...] = ((64, 3), (128, 3))
VOLUMES: dict[Size, float] = {(96, 9): 6.0, (128, 5): 6.0}

NDIMAGE_CONVOLVE: tuple[tuple[Shape, int], ...] = (((128,) * 3, 3), ((128,) * 3, 5), ((2048,) * 2, 5))
NDIMAGE_CONVOLVE_TARGET = 15.0

# (function, its argument): how many samples on each side it looks at
NDIMAGE_FILTERS: dict[tuple[str, float | None], int] = {
    ("gaussian_filter", 1): 4,
    ("gaussian_filter", 3): 12,
    ("gaussian_filter", 10): 40,
    ("uniform_filter", 3): 1,
    ("uniform_filter", 15): 7,
    ("sobel", None): 1,
}
NDIMAGE_FILTER_SIDE = 1024
NDIMAGE_FILTER_TARGET = 20.0
# The sum of the magnitudes of the taps of any of them: that of sobel is the largest.
_LARGEST_GAIN = 8


def numpy_convolve(effort: Effort) -> Iterator[Row]:
    """fastconv.convolve against np.convolve."""
    from fastconv import convolve

    for (samples, taps), target in NUMPY.items():
        x, w = arrays((samples,), (taps,), "float64")
        line = f"convolve float64 {samples} with {taps}, against np.convolve"
        ours: dict[str, Call] = {"convolve": partial(convolve, x, w)}
        peers: dict[str, Call] = {"np.convolve": partial(np.convolve, x, w)}
        yield from _contest(line, f"float64 {samples} {taps}", target, (x, w), ours, peers).rows(effort)


def signal1d(effort: Effort) -> Iterator[Row]:
    """signal.convolve of a long signal against NumPy and SciPy."""
    from fastconv.signal import convolve

    for taps, target in LONG_SIGNAL.items():
        for dtype in REAL:
            x, w = arrays((LONG_SAMPLES,), (taps,), dtype)
            line = f"signal.convolve 1e6 with {taps}, against the best of NumPy and SciPy"
            ours: dict[str, Call] = {"convolve": partial(convolve, x, w)}
            peers: dict[str, Call] = {"np.convolve": partial(np.convolve, x, w)}
            peers |= _scipy_signal(FFT_NAMES, x, w, mode="full")
            yield from _contest(line, f"{dtype} 1e6 {taps}", target, (x, w), ours, peers).rows(effort)


def large(effort: Effort) -> Iterator[Row]:
    """The functions of signal for pictures, with large kernels, against SciPy and OpenCV."""
    names = ("convolve2d", *FFT_NAMES)
    for dtype in REAL:
        for size, usual in LARGE_KERNELS.items():
            x, w = operands(size, dtype)
            target = LARGE_KERNEL_OF_DTYPE.get((size, dtype), usual)
            line = f"convolve2d, fftconvolve, oaconvolve {title(size, dtype)}, against the best of SciPy and OpenCV"
            ours = _fastconv_signal(names, x, w, mode="same")
            peers = {**_scipy_signal(FFT_NAMES, x, w, mode="same"), **_picture_peers(x, w)}
            yield from _contest(line, title(size, dtype), target, (x, w), ours, peers).rows(effort)


def fft(effort: Effort) -> Iterator[Row]:
    """fftconvolve and oaconvolve, each against the function of SciPy that it replaces."""
    for name in FFT_NAMES:
        rows: list[Row] = []
        for work, (x, w) in fft_works():
            line = f"{name}, each line, against SciPy's"
            ours, theirs = (make((name,), x, w, mode="same") for make in (_fastconv_signal, _scipy_signal))
            rows += _contest(line, work, FFT_EACH, (x, w), ours, theirs).rows(effort)
            yield rows[-1]
        yield geometric_mean(f"{name}, geometric mean against SciPy's", rows, FFT_MEAN)


def fft_works() -> Iterator[tuple[str, tuple[NDArray, NDArray]]]:
    """Pictures, a signal and volumes, with names."""
    for dtype in (*REAL, "uint8"):
        # For integers the large kernels have no row of their own.
        sizes = (*FFT_PICTURES, *LARGE_KERNELS) if dtype == "uint8" else FFT_PICTURES
        yield from ((title(size, dtype), operands(size, dtype)) for size in sizes)
    for dtype in REAL:
        yield f"{dtype} 10000 16", arrays((10_000,), (16,), dtype)
    for size in FFT_VOLUMES:
        yield _volume_title(size), _volume(size)


def volume(effort: Effort) -> Iterator[Row]:
    """signal's functions on volumes against SciPy and torch."""
    for size, target in VOLUMES.items():
        x, w = _volume(size)
        ours = _fastconv_signal(("convolve", "fftconvolve"), x, w, mode="same")
        peers = {**_scipy_signal(FFT_NAMES, x, w, mode="same"), "ndimage convolve": scipy_ndimage_filter(x, w)}
        if machine.installed("torch"):
            peers["torch"] = _torch_volume(x, w)
        line = "signal.convolve, fftconvolve 96³ with 9³, 128³ with 5³ float32, against the best peer"
        yield from _contest(line, _volume_title(size), target, (x, w), ours, peers).rows(effort)


def ndimage_convolve(effort: Effort) -> Iterator[Row]:
    """ndimage.convolve against SciPy's."""
    import scipy.ndimage

    import fastconv.ndimage

    for dtype in REAL:
        for shape, side in NDIMAGE_CONVOLVE:
            x, w = arrays(shape, (side,) * len(shape), dtype)
            ours, theirs = (partial(module.convolve, x, w) for module in (fastconv.ndimage, scipy.ndimage))
            line = f"ndimage.convolve {dtype} 128³ with 3³ and 5³, 2048² with 5x5, against SciPy"
            work = _volume_title((shape[0], side), dtype) if len(shape) == 3 else title((shape[0], side), dtype)
            peers = {"scipy.ndimage": theirs}
            yield from _contest(line, work, NDIMAGE_CONVOLVE_TARGET, (x, w), {"": ours}, peers).rows(effort)


def ndimage_filters(effort: Effort) -> Iterator[Row]:
    """The separable filters of ndimage against SciPy's."""
    import scipy.ndimage

    import fastconv.ndimage

    side = NDIMAGE_FILTER_SIDE
    x, _ = operands((side, 1), "float32")
    for (name, argument), reach in NDIMAGE_FILTERS.items():
        arguments = (x,) if argument is None else (x, argument)
        ours, theirs = (partial(getattr(module, name), *arguments) for module in (fastconv.ndimage, scipy.ndimage))
        # A filter of `reach` stands for a kernel of as many taps that sums up to its gain.
        taps = np.full((1, 2 * reach + 1), _LARGEST_GAIN / (2 * reach + 1))
        call = name if argument is None else f"{name} {argument}"
        contest = Contest(
            "ndimage.gaussian_filter, uniform_filter, sobel float32 1024², against SciPy",
            f"{call} float32 {side}²",
            NDIMAGE_FILTER_TARGET,
            {"": ours},
            {"scipy.ndimage": theirs},
            agreement.tolerance(x, taps),
            reach,
        )
        yield from contest.rows(effort)


def _contest(
    line: str,
    work: str,
    target: float,
    pair: tuple[NDArray, NDArray],
    ours: Mapping[str, Call],
    peers: Mapping[str, Call],
) -> Contest:
    """A contest over the convolution of a `pair`, of any rank."""
    x, w = pair
    # Whoever transforms integers answers in float64.
    samples = x if x.dtype.kind in "fc" else x.astype(np.float64)
    allowed = agreement.tolerance(samples, w.astype(samples.dtype).reshape(1, -1))
    return Contest(line, work, target, ours, peers, allowed, max(w.shape) // 2)


def _fastconv_signal(names: Iterable[str], x: NDArray, w: NDArray, mode: str) -> dict[str, Call]:
    import fastconv.signal

    return {name: partial(getattr(fastconv.signal, name), x, w, mode=mode) for name in names}


def _scipy_signal(names: Iterable[str], x: NDArray, w: NDArray, mode: str) -> dict[str, Call]:
    import scipy.signal

    return {f"scipy {name}": partial(getattr(scipy.signal, name), x, w, mode=mode) for name in names}


def _picture_peers(x: NDArray, w: NDArray) -> dict[str, Call]:
    peers: dict[str, Call] = {"scipy convolve2d": scipy_signal_filter(x, w)}
    opencv = opencv_filter(x, w) if machine.installed("cv2") else None
    if opencv is not None:
        peers["opencv"] = opencv
    return peers


def _torch_volume(x: NDArray, w: NDArray) -> Callable[[], Any]:
    import torch

    image = torch.from_numpy(x)[None, None]
    weight = torch.from_numpy(np.ascontiguousarray(np.flip(w)))[None, None]
    padding = tuple(k // 2 for k in w.shape)
    conv3d = torch.nn.functional.conv3d
    return lambda: conv3d(image, weight, padding=padding)[0, 0].numpy()


def _volume(size: Size) -> tuple[NDArray, NDArray]:
    side, kernel = size
    return arrays((side,) * 3, (kernel,) * 3, "float32")


def _volume_title(size: Size, dtype: str = "float32") -> str:
    side, kernel = size
    return f"{dtype} {side}³ {kernel}³"
