"""Layers as libraries for networks run them at their best, and the other convolutions that training needs.

A wrapper takes arrays in NCHW and returns NCHW. What a library does once for a network (weights reordered, a session,
channels moved to the end) is done before the call that is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import Layer
from .machine import installed
from .onnx_model import qlinear_conv_model
from .peers import Work, onnxruntime_layer, torch_layer

# Of x, w and y: with samples and weights all over their range, results are all over theirs.
INT8_SCALES = (0.02, 0.01, 0.3)


def planned(x: NDArray, w: NDArray, layer: Layer) -> dict[str, Work]:
    """fastconv's plan, in either layout."""
    import fastconv

    options: dict[str, Any] = {"stride": layer.stride, "padding": layer.pad}
    options |= {"dilation": layer.dilation, "groups": layer.groups}
    first = fastconv.plan(w, x.shape, layout="NCHW", **options)
    last_x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    last = fastconv.plan(w, last_x.shape, layout="NHWC", **options)
    return {"NCHW": lambda: first(x), "NHWC": lambda: last(last_x).transpose(0, 3, 1, 2)}


def layer_peers(x: NDArray, w: NDArray, layer: Layer) -> dict[str, Work]:
    """torch in both layouts with weights reordered or not, and onnxruntime, those that are installed."""
    peers: dict[str, Work] = {}
    if installed("torch"):
        peers |= {"torch": torch_layer(x, w, layer)} | _torch_at_its_best(x, w, layer)
    if installed("onnxruntime") and (run := onnxruntime_layer(x, w, layer)) is not None:
        peers["onnxruntime"] = run
    return peers


def _torch_at_its_best(x: NDArray, w: NDArray, layer: Layer) -> dict[str, Work]:
    import torch

    # As torch's compiler calls oneDNN where weights are frozen.
    packed = torch.ops.mkldnn
    geometry = ([layer.pad] * 2, [layer.stride] * 2, [layer.dilation] * 2, layer.groups)
    image, weight = torch.from_numpy(x), torch.from_numpy(w)
    last = image.contiguous(memory_format=torch.channels_last)
    last_weight = weight.contiguous(memory_format=torch.channels_last)
    reordered = packed._reorder_convolution_weight(weight, *geometry, list(x.shape))

    def plain() -> NDArray:
        stride, pad, dilation, groups = layer.stride, layer.pad, layer.dilation, layer.groups
        return torch.nn.functional.conv2d(last, last_weight, None, stride, pad, dilation, groups).numpy()

    def frozen(x: Any) -> Work:
        return lambda: packed._convolution_pointwise(x, reordered, None, *geometry, "none", [], "").numpy()

    return {"torch channels_last": plain, "torch packed": frozen(image), "torch packed channels_last": frozen(last)}


@dataclass(frozen=True)
class Training:
    """A convolution whose gradients are asked for; or, with `output_padding`, one that is transposed."""

    name: str
    batch: int
    c_in: int
    side: int
    c_out: int
    kernel: int
    stride: int
    pad: int
    output_padding: int = 0


TRANSPOSED = (
    Training("deconv 64x28 4x4s2 64", 1, 64, 28, 64, 4, 2, 1),
    Training("deconv 256x14 2x2s2 128", 1, 256, 14, 128, 2, 2, 0),
    Training("deconv 128x28 3x3s2 64", 1, 128, 28, 64, 3, 2, 1, 1),
)
GRADIENTS = (
    Training("64x56 3x3s1 64 n4", 4, 64, 56, 64, 3, 1, 1),
    Training("128x56 3x3s2 128 n4", 4, 128, 56, 128, 3, 2, 1),
    Training("256x14 3x3s1 256 n4", 4, 256, 14, 256, 3, 1, 1),
    Training("256x56 1x1s1 64 n4", 4, 256, 56, 64, 1, 1, 0),
)


def arrays_of(work: Training, *, transposed: bool = False) -> tuple[NDArray, NDArray]:
    """Random input and weights, float32; a transposed convolution's weights begin with the channels in."""
    rng = np.random.default_rng(0)
    channels = (work.c_in, work.c_out) if transposed else (work.c_out, work.c_in)
    x = rng.standard_normal((work.batch, work.c_in, work.side, work.side), dtype="f")
    return x, rng.standard_normal((*channels, work.kernel, work.kernel), dtype="f")


def transposed_calls(x: NDArray, w: NDArray, work: Training) -> tuple[Work, dict[str, Work]]:
    """fastconv's transposed convolution, and torch's in both layouts."""
    import torch

    import fastconv

    options: dict[str, Any] = {"stride": work.stride, "padding": work.pad, "output_padding": work.output_padding}
    images = _in_both_layouts(torch.from_numpy(x))
    weight = torch.from_numpy(w)

    def theirs(image: Any) -> Work:
        return lambda: torch.nn.functional.conv_transpose2d(image, weight, **options).numpy()

    return lambda: fastconv.nn.conv_transpose2d(x, w, **options), {n: theirs(image) for n, image in images.items()}


def gradient_calls(x: NDArray, w: NDArray, work: Training, wrt: str) -> tuple[Work, dict[str, Work]]:
    """fastconv's gradient with respect to the input or the weight, and torch's in both layouts."""
    import torch

    import fastconv

    grad = np.random.default_rng(1).standard_normal(_result_shape(x, w, work), dtype="f")
    ours: Work
    if wrt == "input":
        ours = lambda: fastconv.nn.grad.conv2d_input(x.shape, w, grad, work.stride, work.pad)  # noqa: E731
    else:
        ours = lambda: fastconv.nn.grad.conv2d_weight(x, w.shape, grad, work.stride, work.pad)  # noqa: E731
    images, grads = _in_both_layouts(torch.from_numpy(x)), _in_both_layouts(torch.from_numpy(grad))
    weight = torch.from_numpy(w)
    steps = (None, [work.stride] * 2, [work.pad] * 2, [1, 1], False, [0, 0], 1)
    wanted = [wrt == "input", wrt == "weight", False]

    def theirs(layout: str) -> Work:
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(grads[layout], images[layout], weight, *steps, wanted)[wanted.index(True)].numpy()

    return ours, {name: theirs(name) for name in images}


def _in_both_layouts(image: Any) -> dict[str, Any]:
    import torch

    return {"torch": image, "torch channels_last": image.contiguous(memory_format=torch.channels_last)}


def _result_shape(x: NDArray, w: NDArray, work: Training) -> tuple[int, ...]:
    side = (work.side + 2 * work.pad - work.kernel) // work.stride + 1
    return x.shape[0], w.shape[0], side, side


def int8_calls(x: NDArray, w: NDArray, layer: Layer) -> tuple[dict[str, Work], dict[str, Work]]:
    """QLinearConv of fastconv, with its weights packed before, and of onnxruntime."""
    import onnxruntime

    import fastconv

    x_scale, w_scale, y_scale = INT8_SCALES
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = qlinear_conv_model(w, layer, INT8_SCALES)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    middle, zero = np.uint8(128), np.int8(0)

    plan = fastconv.nn.plan_qlinear_conv(
        x_scale,
        middle,
        w,
        w_scale,
        zero,
        y_scale,
        middle,
        pads=[layer.pad] * 4,
        strides=[layer.stride] * 2,
        group=layer.groups,
    )
    return {"": lambda: plan(x)}, {"onnxruntime": lambda: session.run(None, {"x": x})[0]}


def torch_convolution(x: NDArray, w: NDArray, padding: int) -> Mapping[str, Callable[[], NDArray]]:
    """torch's convolution of any rank and dtype."""
    import torch

    function = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")
    image, weight = torch.from_numpy(x), torch.from_numpy(w)
    return {"torch": lambda: function(image, weight, padding=padding).numpy()}
