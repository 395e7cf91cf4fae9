"""Every library wrapped so that it does the same work.

A filter is the convolution of a picture with an odd-sized kernel, zeros around the picture and a result of
the same size. A named filter is a function of scipy.ndimage with its first argument and the picture's mirror
image around it. A layer is ``nn.conv2d`` of an NCHW batch. What a library needs once (a flipped kernel, a
tensor over the same memory, a session) is made before the call that is timed; what it needs in each call is
inside. A wrapper returns None where its library does not offer the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .filters import gaussian_reach
from .layers import Layer
from .machine import installed
from .onnx_model import conv_model

Work = Callable[[], NDArray]
FilterWrapper = Callable[[NDArray, NDArray], Work | None]
LayerWrapper = Callable[[NDArray, NDArray, Layer], Work | None]
NamedWrapper = Callable[[NDArray, str, float], Work | None]


def not_offered(photo: NDArray, function: str, argument: float) -> None:
    """No named filter at all."""


@dataclass(frozen=True)
class Peer:
    """A library and its wrappers; `module` tells whether it is installed."""

    name: str
    module: str
    filter: FilterWrapper
    layer: LayerWrapper
    named: NamedWrapper = not_offered


def available() -> list[Peer]:
    """The peers that are installed, fastconv first."""
    return [peer for peer in PEERS if installed(peer.module)]


def fastconv_filter(photo: NDArray, kernel: NDArray) -> Work:
    from fastconv.signal import convolve2d

    return lambda: convolve2d(photo, kernel, mode="same")


def fastconv_layer(x: NDArray, w: NDArray, layer: Layer) -> Work:
    from fastconv.nn import conv2d

    stride, pad, dilation, groups = layer.stride, layer.pad, layer.dilation, layer.groups
    return lambda: conv2d(x, w, stride=stride, padding=pad, dilation=dilation, groups=groups)


def fastconv_named(photo: NDArray, function: str, argument: float) -> Work:
    import fastconv.ndimage

    return partial(getattr(fastconv.ndimage, function), photo, argument)


def scipy_signal_filter(photo: NDArray, kernel: NDArray) -> Work:
    from scipy.signal import convolve2d

    return lambda: convolve2d(photo, kernel, mode="same")


def scipy_signal_layer(x: NDArray, w: NDArray, layer: Layer) -> Work | None:
    from scipy.signal import convolve2d

    flipped = w[:, :, ::-1, ::-1]
    return _channel_loop(x, flipped, layer, lambda plane, kernel: convolve2d(plane, kernel, mode="same"))


def scipy_ndimage_filter(photo: NDArray, kernel: NDArray) -> Work:
    from scipy.ndimage import convolve

    return lambda: convolve(photo, kernel, mode="constant", cval=0.0)


def scipy_ndimage_layer(x: NDArray, w: NDArray, layer: Layer) -> Work | None:
    from scipy.ndimage import correlate

    same = partial(correlate, mode="constant", cval=0.0)
    return _channel_loop(x, w, layer, same)


def scipy_ndimage_named(photo: NDArray, function: str, argument: float) -> Work:
    import scipy.ndimage

    return partial(getattr(scipy.ndimage, function), photo, argument)


def opencv_filter(photo: NDArray, kernel: NDArray) -> Work | None:
    import cv2

    if photo.dtype.char not in "Bfd":
        return None
    # OpenCV wants floating-point weights for an integer picture.
    dtype = kernel.dtype if kernel.dtype.kind == "f" else np.dtype(np.float32)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1], dtype=dtype)
    return lambda: cv2.filter2D(photo, -1, flipped, borderType=cv2.BORDER_CONSTANT)


def opencv_layer(x: NDArray, w: NDArray, layer: Layer) -> Work | None:
    import cv2

    if x.dtype != np.float32:
        return None
    net = cv2.dnn.readNetFromONNX(np.frombuffer(conv_model(w, layer), dtype=np.uint8))

    def forward() -> NDArray:
        net.setInput(x)
        return net.forward()

    return forward


def opencv_named(photo: NDArray, function: str, argument: float) -> Work | None:
    import cv2

    if photo.ndim != 2:
        return None
    border = cv2.BORDER_REFLECT
    if function == "gaussian_filter":
        side = 2 * gaussian_reach(argument) + 1
        return lambda: cv2.GaussianBlur(photo, (side, side), argument, borderType=border)
    if function == "uniform_filter":
        return lambda: cv2.blur(photo, (int(argument), int(argument)), borderType=border)
    if function == "sobel":
        across, down = (1, 0) if argument in (-1, 1) else (0, 1)
        return lambda: cv2.Sobel(photo, -1, across, down, borderType=border)
    return None


def torch_filter(photo: NDArray, kernel: NDArray) -> Work | None:
    import torch

    if photo.dtype.kind != "f":
        return None
    image = torch.from_numpy(photo)[None, None]
    weight = torch.from_numpy(np.ascontiguousarray(kernel[::-1, ::-1]))[None, None]
    padding = (kernel.shape[0] // 2, kernel.shape[1] // 2)
    conv2d = torch.nn.functional.conv2d
    return lambda: conv2d(image, weight, padding=padding)[0, 0].numpy()


def torch_layer(x: NDArray, w: NDArray, layer: Layer) -> Work:
    import torch

    image, weight = torch.from_numpy(x), torch.from_numpy(w)
    stride, pad, dilation, groups = layer.stride, layer.pad, layer.dilation, layer.groups
    conv2d = torch.nn.functional.conv2d
    return lambda: conv2d(image, weight, None, stride, pad, dilation, groups).numpy()


def onnxruntime_filter(photo: NDArray, kernel: NDArray) -> Work | None:
    size, other = kernel.shape
    if size != other:
        return None
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])[None, None]
    height, width = photo.shape
    layer = Layer("filter", 1, 1, height, width, 1, size, size, 1, size // 2, 1, 1, frozenset())
    run = onnxruntime_layer(photo[None, None], flipped, layer)
    return None if run is None else lambda: run()[0, 0]


def onnxruntime_layer(x: NDArray, w: NDArray, layer: Layer) -> Work | None:
    if x.dtype != np.float32:
        return None
    session = onnxruntime_session(conv_model(w, layer), threads=1)
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]


def onnxruntime_session(model: bytes, threads: int) -> Any:
    """A session for a serialised model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


PEERS = (
    Peer("fastconv", "fastconv", fastconv_filter, fastconv_layer, fastconv_named),
    Peer("scipy.signal", "scipy", scipy_signal_filter, scipy_signal_layer),
    Peer("scipy.ndimage", "scipy", scipy_ndimage_filter, scipy_ndimage_layer, scipy_ndimage_named),
    Peer("opencv", "cv2", opencv_filter, opencv_layer, opencv_named),
    Peer("torch", "torch", torch_filter, torch_layer),
    Peer("onnxruntime", "onnxruntime", onnxruntime_filter, onnxruntime_layer),
)


def _channel_loop(x: NDArray, w: NDArray, layer: Layer, same: Callable[[NDArray, NDArray], NDArray]) -> Work | None:
    """A layer out of single-channel filters, the way it is written with a library that has no layers.

    `same` filters one channel; a stride picks from its result afterwards, for want of anything better.
    """
    side = 2 * layer.pad + 1
    if (layer.dilation, layer.groups, layer.kh, layer.kw) != (1, 1, side, side):
        return None
    step = layer.stride

    def run() -> NDArray:
        result = np.zeros(layer.y_shape, dtype=x.dtype)
        for image, target in zip(x, result, strict=True):
            for kernels, plane in zip(w, target, strict=True):
                for channel, kernel in zip(image, kernels, strict=True):
                    plane += same(channel, kernel)[::step, ::step]
        return result

    return run
