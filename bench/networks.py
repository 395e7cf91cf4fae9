"""Layers as libraries for networks run them at their best, and the other convolutions that training needs.

A wrapper takes arrays in NCHW and returns NCHW. What a library does once for a network (weights reordered, a model
compiled, channels moved to the end, an array for the result where it takes one) is done before the call that is timed.
The ways in which a library can be called have names that begin with that of the library.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import Layer
from .machine import installed
from .onnx_model import conv_model, qlinear_conv_model
from .peers import Work, fastconv_layer, onnxruntime_session, torch_layer

# Of x, w and y: with samples and weights all over their range, results are all over theirs.
INT8_SCALES = (0.02, 0.01, 0.3)
_MIDDLE = 128

Ways = dict[str, Work]
# Of x, w, the layer and the number of threads.
LayerWays = Callable[[NDArray, NDArray, Layer, int], Ways]


def channels_last(x: NDArray) -> NDArray:
    """A copy of NCHW as NHWC."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(x: NDArray) -> NDArray:
    """A view of NHWC as NCHW."""
    return x.transpose(0, 3, 1, 2)


def planned(x: NDArray, w: NDArray, layer: Layer) -> Ways:
    """fastconv's plan, in either layout, into an array that is there."""
    import fastconv

    options: dict[str, Any] = {"stride": layer.stride, "padding": layer.pad}
    options |= {"dilation": layer.dilation, "groups": layer.groups}
    first = fastconv.plan(w, x.shape, layout="NCHW", **options)
    last_x = channels_last(x)
    last = fastconv.plan(w, last_x.shape, layout="NHWC", **options)
    first_y, last_y = first(x), last(last_x)
    return {"NCHW": lambda: first(x, out=first_y), "NHWC": lambda: channels_first(last(last_x, out=last_y))}


def fastconv_ways(x: NDArray, w: NDArray, layer: Layer, threads: int) -> Ways:
    """Plain calls and plans in both layouts; the number of threads is a setting of the library."""
    from fastconv.nn import conv2d

    stride, pad, dilation, groups = layer.stride, layer.pad, layer.dilation, layer.groups
    last = channels_last(x)

    def plain_last() -> NDArray:
        return channels_first(conv2d(last, w, None, stride, pad, dilation, groups, data_format="NHWC"))

    plans = {f"fastconv planned {layout}": call for layout, call in planned(x, w, layer).items()}
    return {"fastconv NCHW": fastconv_layer(x, w, layer), "fastconv NHWC": plain_last, **plans}


def torch_ways(x: NDArray, w: NDArray, layer: Layer, threads: int) -> Ways:
    """torch in both layouts, weights plain or reordered; the number of threads is a setting of the library."""
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

    return {
        "torch NCHW": torch_layer(x, w, layer),
        "torch channels_last": plain,
        "torch packed": frozen(image),
        "torch packed channels_last": frozen(last),
    }


def onnxruntime_ways(x: NDArray, w: NDArray, layer: Layer, threads: int) -> Ways:
    """onnxruntime, from and to arrays that are there."""
    return {"onnxruntime": _bound(conv_model(w, layer), x, np.empty(layer.y_shape, x.dtype), threads)}


def openvino_ways(x: NDArray, w: NDArray, layer: Layer, threads: int) -> Ways:
    """OpenVINO, compiled for arrays of either layout, from and to arrays that are there."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }

    def compiled(layout: str, image: NDArray) -> tuple[Any, NDArray]:
        model = openvino.preprocess.PrePostProcessor(openvino.Core().read_model(io.BytesIO(conv_model(w, layer))))
        for side in (model.input(), model.output()):
            side.tensor().set_layout(openvino.Layout(layout))
            side.model().set_layout(openvino.Layout("NCHW"))
        network = openvino.Core().compile_model(model.build(), "CPU", settings)
        result = np.empty(tuple(network.output(0).shape), x.dtype)
        request = network.create_infer_request()
        request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(result, shared_memory=True))
        return request, result

    last = channels_last(x)
    first_request, first_y = compiled("NCHW", x)
    last_request, last_y = compiled("NHWC", last)

    # The requests do not own their arrays: `x` and `last` have to live as long as the calls.
    def first(image: NDArray = x) -> NDArray:
        first_request.start_async()
        first_request.wait()
        return first_y

    def channels_at_the_end(image: NDArray = last) -> NDArray:
        last_request.start_async()
        last_request.wait()
        return channels_first(last_y)

    return {"openvino NCHW": first, "openvino NHWC": channels_at_the_end}


class NcnnResult:
    """A blob of ncnn in its own layout, which becomes an array when one is asked for."""

    def __init__(self, blob: Any, pools: Sequence[Any]) -> None:
        self.blob = blob
        self.pools = pools

    def __del__(self) -> None:
        # Memory has to go back to its pool before that is gone.
        self.blob.release()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        import ncnn

        return np.array(ncnn.convert_packing(self.blob, 1), dtype=dtype)[None]


class _NcnnLayer:
    """A net of one layer, with pools for its memory, which is asked of the system anew in each call otherwise."""

    def __init__(self, w: NDArray, layer: Layer, threads: int) -> None:
        import ncnn

        self.pools = ncnn.PoolAllocator(), ncnn.PoolAllocator()
        self.net = ncnn.Net()
        self.net.opt = _ncnn_options(threads, self.pools)
        _load(self.net, w, layer)

    def __del__(self) -> None:
        self.net.clear()

    def call(self, blob: Any, kind: int) -> Callable[[], NcnnResult]:
        """The layer on a blob; the result is made of planes, or with kind 1 stays in ncnn's layout."""

        def run() -> NcnnResult:
            extractor = self.net.create_extractor()
            extractor.input("x", blob)
            return NcnnResult(extractor.extract("y", kind)[1], self.pools)

        return run


def ncnn_ways(x: NDArray, w: NDArray, layer: Layer, threads: int) -> dict[str, Any]:
    """ncnn with Winograd where it applies, from and to planes, or blobs in the layout that it has between layers."""
    import ncnn

    if layer.batch != 1:
        return {}
    run = _NcnnLayer(w, layer, threads)
    planes = ncnn.Mat(x[0]).clone()
    packed = ncnn.convert_packing(planes, _ncnn_lanes(layer.c_in))
    return {"ncnn": run.call(planes, 0), "ncnn packed": run.call(packed, 1)}


def _ncnn_options(threads: int, pools: Sequence[Any]) -> Any:
    import ncnn

    options = ncnn.Option()
    options.num_threads = threads
    options.blob_allocator, options.workspace_allocator = pools
    options.use_winograd_convolution = options.use_sgemm_convolution = options.use_packing_layout = True
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_packed = options.use_bf16_storage = False
    return options


def _load(net: Any, w: NDArray, layer: Layer) -> None:
    """Give the net one layer: a line of parameters by number, and weights behind a word that says float32."""
    kind = "ConvolutionDepthWise" if layer.groups > 1 else "Convolution"
    numbers = (layer.c_out, layer.kw, layer.dilation, layer.stride, layer.pad, 0, w.size, layer.groups)
    parameters = " ".join(f"{key}={value}" for key, value in enumerate(numbers[: 7 + (layer.groups > 1)]))
    net.load_param_mem(f"7767517\n2 2\nInput input 0 1 x\n{kind} layer 1 1 x y {parameters}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.bin")
        path.write_bytes(bytes(4) + w.tobytes())
        net.load_model(str(path))


def _ncnn_lanes(channels: int) -> int:
    """How many channels of a pixel ncnn keeps side by side."""
    from fastconv.drivers import levels

    widest = {"x86_v4": 16, "x86_v3": 8}.get(levels.default()[:6], 4)
    return next((lanes for lanes in (16, 8, 4) if lanes <= widest and channels % lanes == 0), 1)


# Besides fastconv, by the module that has to be installed.
LAYER_WAYS: dict[str, LayerWays] = {
    "torch": torch_ways,
    "onnxruntime": onnxruntime_ways,
    "openvino": openvino_ways,
    "ncnn": ncnn_ways,
}


def layer_peers(x: NDArray, w: NDArray, layer: Layer) -> Ways:
    """Every way of every library for networks that is installed, on one thread."""
    peers: Ways = {}
    for module, ways in LAYER_WAYS.items():
        if installed(module):
            peers |= ways(x, w, layer, 1)
    return peers


def layer_arrays(layer: Layer) -> tuple[NDArray, NDArray]:
    """Random input and weights of a layer, float32."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(layer.x_shape, dtype="f"), rng.standard_normal(layer.w_shape, dtype="f")


def result_gradient(layer: Layer) -> NDArray:
    """A random array of the shape of the result: its gradient, or the input of the transposed convolution."""
    return np.random.default_rng(1).standard_normal(layer.y_shape, dtype="f")


def transposed_fastconv(y: NDArray, w: NDArray, layer: Layer) -> Work:
    """fastconv's transposed convolution."""
    import fastconv

    options = _transposed_options(layer)
    return lambda: fastconv.nn.conv_transpose2d(y, w, **options)


def transposed_torch(y: NDArray, w: NDArray, layer: Layer) -> Ways:
    """torch's transposed convolution, in both layouts."""
    import torch

    options, weight = _transposed_options(layer), torch.from_numpy(w)

    def theirs(image: Any) -> Work:
        return lambda: torch.nn.functional.conv_transpose2d(image, weight, **options).numpy()

    return {name: theirs(image) for name, image in _in_both_layouts(torch.from_numpy(y)).items()}


def _transposed_options(layer: Layer) -> dict[str, Any]:
    geometry = {"stride": layer.stride, "padding": layer.pad, "dilation": layer.dilation, "groups": layer.groups}
    return {**geometry, "output_padding": layer.output_padding}


def gradient_fastconv(x: NDArray, w: NDArray, layer: Layer, wrt: str) -> Work:
    """fastconv's gradient with respect to the "input" or the "weight"."""
    import fastconv

    grad, geometry = result_gradient(layer), (layer.stride, layer.pad, layer.dilation, layer.groups)
    if wrt == "input":
        return lambda: fastconv.nn.grad.conv2d_input(x.shape, w, grad, *geometry)
    return lambda: fastconv.nn.grad.conv2d_weight(x, w.shape, grad, *geometry)


def gradient_torch(x: NDArray, w: NDArray, layer: Layer, wrt: str) -> Ways:
    """torch's gradient with respect to the "input" or the "weight", in both layouts."""
    import torch

    images, grads = _in_both_layouts(torch.from_numpy(x)), _in_both_layouts(torch.from_numpy(result_gradient(layer)))
    weight = torch.from_numpy(w)
    steps = (None, [layer.stride] * 2, [layer.pad] * 2, [layer.dilation] * 2, False, [0, 0], layer.groups)
    wanted = [wrt == "input", wrt == "weight", False]

    def theirs(layout: str) -> Work:
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(grads[layout], images[layout], weight, *steps, wanted)[wanted.index(True)].numpy()

    return {name: theirs(name) for name in images}


def _in_both_layouts(image: Any) -> dict[str, Any]:
    import torch

    return {"torch NCHW": image, "torch channels_last": image.contiguous(memory_format=torch.channels_last)}


def int8_arrays(layer: Layer) -> tuple[NDArray, NDArray]:
    """Random input and weights of a quantised layer: unsigned and signed bytes."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, layer.x_shape, dtype=np.uint8)
    return x, rng.integers(-127, 128, layer.w_shape, dtype=np.int8)


def int8_fastconv(x: NDArray, w: NDArray, layer: Layer) -> Ways:
    """QLinearConv of fastconv, plain, and with its weights packed before."""
    import fastconv

    x_scale, w_scale, y_scale = INT8_SCALES
    middle, zero = np.uint8(_MIDDLE), np.int8(0)
    options: dict[str, Any] = {"pads": [layer.pad] * 4, "strides": [layer.stride] * 2, "group": layer.groups}
    plan = fastconv.nn.plan_qlinear_conv(x_scale, middle, w, w_scale, zero, y_scale, middle, **options)

    def plain() -> NDArray:
        arguments = (x, x_scale, middle, w, w_scale, zero, y_scale, middle)
        return fastconv.nn.qlinear_conv(*arguments, **options)

    return {"fastconv": plain, "fastconv planned": lambda: plan(x)}


def int8_onnxruntime(x: NDArray, w: NDArray, layer: Layer, threads: int) -> Ways:
    """QLinearConv of onnxruntime."""
    model = qlinear_conv_model(w, layer, INT8_SCALES)
    return {"onnxruntime": _bound(model, x, np.empty(layer.y_shape, x.dtype), threads)}


def int8_torch(x: NDArray, w: NDArray, layer: Layer) -> Ways:
    """The quantised convolution that torch's compiler calls, weights reordered."""
    import torch

    x_scale, w_scale, y_scale = INT8_SCALES
    geometry = ([layer.stride] * 2, [layer.pad] * 2, [layer.dilation] * 2, layer.groups)
    scales, zeros = torch.full((layer.c_out,), w_scale), torch.zeros(layer.c_out, dtype=torch.long)
    pack = torch.ops.onednn.qconv_prepack
    packed = pack(torch.from_numpy(w), scales, x_scale, _MIDDLE, *geometry, list(x.shape))
    behind: tuple[Any, ...] = (scales, zeros, None, *geometry, y_scale, _MIDDLE, torch.uint8, "none", [], "")

    def theirs(image: Any) -> Work:
        call = torch.ops.onednn.qconv_pointwise
        return lambda: call(image, x_scale, _MIDDLE, packed, *behind).numpy()

    return {name: theirs(image) for name, image in _in_both_layouts(torch.from_numpy(x)).items()}


def _bound(model: bytes, x: NDArray, y: NDArray, threads: int) -> Work:
    """A run of onnxruntime from `x` to `y`, which it does not own."""
    session = onnxruntime_session(model, threads)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, y.dtype.type, y.shape, y.ctypes.data)

    def run(image: NDArray = x) -> NDArray:
        session.run_with_iobinding(binding)
        return y

    return run


def torch_convolution(x: NDArray, w: NDArray, padding: int | Sequence[int]) -> Mapping[str, Callable[[], NDArray]]:
    """torch's convolution of any rank and dtype."""
    import torch

    function = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")
    image, weight = torch.from_numpy(x), torch.from_numpy(w)
    return {"torch": lambda: function(image, weight, padding=padding).numpy()}
