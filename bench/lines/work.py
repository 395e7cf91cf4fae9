"""The lines: what is computed, how far results may be apart, and which calls of which library do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench import agreement, layers, networks, peers, signals
from bench.layers import Layer
from bench.machine import installed
from bench.networks import Ways
from bench.signals import Signal

OURS = "fastconv"
# The module that has to be installed for each library, fastconv first. Names of ways begin with that of their library.
LIBRARIES = {
    OURS: "fastconv",
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "opencv": "cv2",
    "scipy": "scipy",
    "numpy": "numpy",
}

# torch sums signals and volumes tap by tap: work from which on a single call would take half a minute.
_TOO_LONG_FOR_TORCH = 10e9
# Bytes are rounded here, cut off there.
_LEVELS_APART = 2.0
# The sum of the magnitudes of the taps of any named filter: that of sobel is the largest.
_LARGEST_GAIN = 8

Maker = Callable[[int], Ways]


@dataclass(frozen=True)
class Prepared:
    """A line with its arrays: for each library that offers the work, what makes its ways on so many threads.

    Results may be `allowed` apart; `margin` samples on every side of them see the boundary.
    """

    allowed: float
    margin: int
    makers: Mapping[str, Maker]


@dataclass(frozen=True)
class Line:
    """One piece of work; `flops` is 0 where there is no count."""

    group: str
    name: str
    flops: int
    prepare: Callable[[], Prepared]


def every_line() -> Iterator[Line]:
    """All of them, group by group."""
    for group in ("cnn", "depthwise"):
        for layer in layers.load(group):
            yield Line(group, layer.name, layer.flops, partial(_layer, layer))
    for signal in signals.load():
        prepare = _named_filter if signal.function else _convolution
        yield Line(signal.group, signal.name, signal.flops, partial(prepare, signal))
    for layer in layers.load("transpose"):
        yield Line("transpose", layer.name, layer.flops, partial(_transposed, layer))
    for wrt in ("input", "weight"):
        for layer in layers.load("grad"):
            yield Line("grad", f"grad_{wrt} {layer.name}", layer.flops, partial(_gradient, layer, wrt))
    for layer in layers.load("int8"):
        yield Line("int8", f"u8s8 {layer.name}", layer.flops, partial(_quantised, layer))


def available() -> list[str]:
    """The libraries that are installed, fastconv first."""
    return [library for library, module in LIBRARIES.items() if installed(module)]


def library_of(way: str) -> str:
    """The library that a way belongs to.

    >>> library_of("torch packed channels_last")
    'torch'
    """
    return way.split()[0]


def _layer(layer: Layer) -> Prepared:
    x, w = networks.layer_arrays(layer)
    every = {OURS: networks.fastconv_ways, **networks.LAYER_WAYS}
    makers = {library: partial(ways, x, w, layer) for library, ways in every.items()}
    return Prepared(agreement.tolerance(x, w), _layer_margin(layer), makers)


def _transposed(layer: Layer) -> Prepared:
    w, y = networks.layer_arrays(layer)[1], networks.result_gradient(layer)
    makers: dict[str, Maker] = {
        OURS: lambda threads: {OURS: networks.transposed_fastconv(y, w, layer)},
        "torch": lambda threads: networks.transposed_torch(y, w, layer),
    }
    return Prepared(agreement.gradient_tolerance(y, w), layer.kh, makers)


def _gradient(layer: Layer, wrt: str) -> Prepared:
    x, w = networks.layer_arrays(layer)
    makers: dict[str, Maker] = {
        OURS: lambda threads: {OURS: networks.gradient_fastconv(x, w, layer, wrt)},
        "torch": lambda threads: networks.gradient_torch(x, w, layer, wrt),
    }
    return Prepared(agreement.gradient_tolerance(x, w), 0, makers)


def _quantised(layer: Layer) -> Prepared:
    x, w = networks.int8_arrays(layer)
    makers: dict[str, Maker] = {
        OURS: lambda threads: networks.int8_fastconv(x, w, layer),
        "torch": lambda threads: networks.int8_torch(x, w, layer),
        "onnxruntime": lambda threads: networks.int8_onnxruntime(x, w, layer, threads),
    }
    # Sums are exact everywhere; torch multiplies scales in another order, which moves what lies between two levels.
    return Prepared(1.0, _layer_margin(layer), makers)


def _convolution(signal: Signal) -> Prepared:
    x, w = signals.modest_arrays(signal.shape, signal.kernel, signal.dtype)
    mode = "full" if signal.group == "signal" or x.ndim == 1 else "same"
    # Whoever transforms bytes answers in float64.
    kernel = w.astype(np.float64 if w.dtype.kind == "u" else w.dtype).reshape(1, -1)
    allowed = agreement.tolerance(x.astype(kernel.dtype), kernel)
    makers: dict[str, Maker] = {
        OURS: lambda threads: _fastconv_convolution(x, w, mode),
        "torch": lambda threads: _torch_convolution(x, w, mode),
        "opencv": lambda threads: _opencv_convolution(x, w),
        "scipy": lambda threads: _scipy_convolution(x, w, mode, signal.group),
        "numpy": lambda threads: {"numpy convolve": partial(np.convolve, x, w, mode)} if x.ndim == 1 else {},
    }
    return Prepared(allowed, max(signal.kernel) // 2, makers)


def _fastconv_convolution(x: NDArray, w: NDArray, mode: str) -> Ways:
    import fastconv
    import fastconv.signal

    if x.ndim == 1:
        return {OURS: partial(fastconv.convolve, x, w, mode)}
    function = fastconv.signal.convolve2d if x.ndim == 2 else fastconv.signal.convolve
    return {OURS: partial(function, x, w, mode)}


def _torch_convolution(x: NDArray, w: NDArray, mode: str) -> Ways:
    if x.dtype.kind != "f" or 2 * x.size * w.size > _TOO_LONG_FOR_TORCH:
        return {}
    padding = [side - 1 if mode == "full" else side // 2 for side in w.shape]
    kernel = np.ascontiguousarray(np.flip(w))
    run = networks.torch_convolution(x[None, None], kernel[None, None], padding)["torch"]
    return {"torch": lambda: run()[0, 0]}


def _opencv_convolution(x: NDArray, w: NDArray) -> Ways:
    run = peers.opencv_filter(x, w) if x.ndim == 2 else None
    return {} if run is None else {"opencv": run}


def _scipy_convolution(x: NDArray, w: NDArray, mode: str, group: str) -> Ways:
    import scipy.signal

    ways: Ways = {}
    if x.ndim == 2:
        ways["scipy convolve2d"] = partial(scipy.signal.convolve2d, x, w, mode)
    if group == "tiny":
        # What sets up a transform takes longer than the whole of such a call.
        return ways
    for name in ("fftconvolve", "oaconvolve"):
        ways[f"scipy {name}"] = partial(getattr(scipy.signal, name), x, w, mode)
    if x.ndim > 1:
        ways["scipy ndimage"] = peers.scipy_ndimage_filter(x, w)
    return ways


def _named_filter(signal: Signal) -> Prepared:
    x = signals.picture(signal.shape, signal.dtype)
    call = (x, signal.function, signal.argument)

    def opencv(threads: int) -> Ways:
        run = peers.opencv_named(*call)
        return {} if run is None else {"opencv": run}

    makers: dict[str, Maker] = {
        OURS: lambda threads: {OURS: peers.fastconv_named(*call)},
        "opencv": opencv,
        "scipy": lambda threads: {"scipy ndimage": peers.scipy_ndimage_named(*call)},
    }
    reach = signals.reach(signal)
    taps = np.full((1, (2 * reach + 1) ** x.ndim), _LARGEST_GAIN / (2 * reach + 1) ** x.ndim)
    allowed = _LEVELS_APART if signal.dtype == "uint8" else agreement.tolerance(x, taps)
    return Prepared(allowed, reach, makers)


def _layer_margin(layer: Layer) -> int:
    return -(-layer.pad // layer.stride)
