"""Good calls of every public function that takes arrays and of every driver, for tests which spoil them in all ways."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastconv
from fastconv import ndimage, nn, signal

MODULES = {"": fastconv, "signal.": signal, "ndimage.": ndimage, "nn.": nn, "nn.grad.": nn.grad}
# Public, and without an array to be given.
WITHOUT_ARRAYS = {
    "ConvError",
    "ConvTypeError",
    "Plan",
    "Tuned",
    "get_num_threads",
    "num_threads",
    "patch",
    "patched",
    "set_num_threads",
    "show_config",
    "tune",
    "unpatch",
}


class Call(NamedTuple):
    """A function, and keyword arguments that it takes; `names` are all that it has."""

    function: Callable
    arguments: dict[str, Any]
    names: tuple[str, ...]

    def __call__(self, **changed):
        """Call it with some arguments in the place of others."""
        return self.function(**self.arguments | changed)

    def arrays(self):
        """Return the names of the arguments that are arrays."""
        return [name for name, value in self.arguments.items() if isinstance(value, np.ndarray)]


def numbers(shape, dtype="float32", seed=0):
    """Return small whole numbers."""
    values = np.random.default_rng(seed).integers(-4, 5, shape)
    return (values + 4 if np.dtype(dtype).kind == "u" else values).astype(dtype)


def planned(w, x, out=None, **options):
    """Make a plan and use it."""
    return fastconv.plan(w, getattr(x, "shape", None), **options)(x, out)


def planned_quantised(x, **options):
    """Make a plan of a quantised layer and use it."""
    return nn.plan_qlinear_conv(**options)(x)


def names_of(function):
    """Return the names of a function's parameters."""
    return tuple(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    )


IMAGE, KERNEL = numbers((9, 10)), numbers((3, 3), seed=1)
LAYER = {"x": numbers((2, 4, 9, 10)), "w": numbers((6, 2, 3, 3), seed=1), "layout": "NCHW", "groups": 2}
UPWARDS = {"x": numbers((2, 4, 5, 6)), "w": numbers((4, 3, 3, 3), seed=1), "layout": "NCHW", "groups": 2, "stride": 2}
QUANTISED = {
    "x_scale": np.float32(0.5),
    "x_zero_point": np.uint8(3),
    "w": numbers((6, 4, 3, 3), "int8", 1),
    "w_scale": np.float32(0.25),
    "w_zero_point": np.int8(0),
    "y_scale": np.float32(2),
    "y_zero_point": np.uint8(7),
}


def layer_calls(rank):
    """Return calls of torch's functions of a rank."""
    sizes, kernel = (5, 6, 7)[:rank], (3,) * rank
    x, w = numbers((2, 4, *sizes)), numbers((6, 2, *kernel), seed=1)
    grad = numbers((2, 6, *(n - 2 for n in sizes)), seed=2)
    up = numbers((4, 3, *kernel), seed=1)
    return {
        f"nn.conv{rank}d": {"input": x, "weight": w, "bias": numbers(6, seed=2), "groups": 2},
        f"nn.conv_transpose{rank}d": {"input": x, "weight": up, "bias": numbers(6, seed=2), "groups": 2, "stride": 2},
        f"nn.grad.conv{rank}d_input": {"input_size": x.shape, "weight": w, "grad_output": grad, "groups": 2},
        f"nn.grad.conv{rank}d_weight": {"input": x, "weight_size": w.shape, "grad_output": grad, "groups": 2},
    }


def arguments_of_all():
    """Return arguments of every public function that takes arrays."""
    pair, image = {"in1": IMAGE, "in2": KERNEL}, {"input": IMAGE}
    weighted, line = image | {"weights": KERNEL}, image | {"weights": KERNEL[0]}
    found = {
        "conv": LAYER | {"bias": numbers(6, seed=2)},
        "conv_transpose": UPWARDS | {"bias": numbers(6, seed=2)},
        "conv_grad": LAYER | {"grad": numbers((2, 6, 7, 8), seed=2)},
        "plan": LAYER,
        "im2col": {"x": LAYER["x"], "kernel_size": (3, 3), "layout": "NCHW"},
        "col2im": {"windows": numbers((2, 4, 3, 3, 7, 8)), "x_shape": (2, 4, 9, 10), "layout": "NCHW"},
        "convolve": {"a": IMAGE[0], "v": KERNEL[0]},
        "correlate": {"a": IMAGE[0], "v": KERNEL[0]},
        **{f"signal.{name}": pair for name in ("convolve", "correlate", "convolve2d", "correlate2d")},
        **{f"signal.{name}": pair for name in ("fftconvolve", "oaconvolve", "choose_conv_method")},
        "signal.correlation_lags": {"in1_len": 9, "in2_len": 3},
        **{f"ndimage.{name}": weighted for name in ("convolve", "correlate")},
        **{f"ndimage.{name}": line for name in ("convolve1d", "correlate1d")},
        **{f"ndimage.{name}": image | {"sigma": 1.5} for name in ("gaussian_filter", "gaussian_filter1d")},
        **{f"ndimage.{name}": image | {"sigma": 1.5} for name in ("gaussian_laplace", "gaussian_gradient_magnitude")},
        **{f"ndimage.{name}": image for name in ("laplace", "prewitt", "sobel")},
        **{f"ndimage.{name}": image | {"size": 3} for name in ("uniform_filter", "uniform_filter1d")},
        "nn.unfold": {"input": LAYER["x"], "kernel_size": (3, 3)},
        "nn.fold": {"input": numbers((2, 36, 56)), "output_size": (9, 10), "kernel_size": (3, 3)},
        "nn.conv_integer": {"x": numbers((2, 4, 9, 10), "uint8"), "w": QUANTISED["w"]},
        "nn.qlinear_conv": QUANTISED | {"x": numbers((2, 4, 9, 10), "uint8"), "B": numbers(6, "int32")},
        "nn.plan_qlinear_conv": QUANTISED | {"x": numbers((2, 4, 9, 10), "uint8")},
    }
    for rank in (1, 2, 3):
        found |= layer_calls(rank)
    return found


def function_named(name):
    """Return a public function by its name behind ``fastconv``."""
    *path, last = name.split(".")
    module = fastconv
    for part in path:
        module = getattr(module, part)
    return getattr(module, last)


def make_calls():
    """Return a call of every public function that takes arrays, by its name."""
    calls = {}
    for name, arguments in arguments_of_all().items():
        function = function_named(name)
        names = names_of(function)
        if name == "plan":
            function, names = planned, names_of(fastconv.conv)
        if name == "nn.plan_qlinear_conv":
            function, names = planned_quantised, (*names, "x")
        calls[name] = Call(function, dict(arguments), names)
    return calls


CALLS = make_calls()


LAYER_PAIR = {"x": numbers((2, 32, 30, 31)), "w": numbers((32, 32, 3, 3), seed=1), "layout": "NCHW"}
FEW = {"x": LAYER_PAIR["x"][:, :3].copy(), "w": LAYER_PAIR["w"][:, :3].copy(), "layout": "NCHW"}
DEEP = {"x": numbers((2, 32, 40, 41)), "w": numbers((32, 1, 3, 3), seed=1), "layout": "NCHW", "groups": 32}
LAST = DEEP | {"x": np.ascontiguousarray(np.moveaxis(DEEP["x"], 1, -1)), "layout": "NHWC"}
LARGE = {"x": numbers((300, 310)), "w": numbers((31, 31), seed=1)}
FINISH = {"scale": numbers(32), "residual": numbers((2, 32, 28, 29)), "activation": "relu"}


def typed(arguments, dtype):
    """Return arguments whose arrays are of another dtype."""
    return {name: value.astype(dtype) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}


def make_algorithms():
    """Return calls, with enough work for two threads, that go through every driver."""
    conv, filters = fastconv.conv, ndimage
    volume = numbers((30, 31, 32))
    pair = {"in1": LARGE["x"].astype("i4"), "in2": LARGE["w"].astype("i4")}
    made = {
        "direct": (conv, LAYER_PAIR | {"algorithm": "direct"}),
        "gemm": (conv, LAYER_PAIR | {"algorithm": "gemm"}),
        "winograd": (conv, LAYER_PAIR | {"algorithm": "winograd"}),
        "winograd, channels last": (
            conv,
            LAYER_PAIR | {"x": LAST["x"], "layout": "NHWC", "algorithm": "winograd", "accuracy": "fast"},
        ),
        "fft": (conv, LARGE | {"algorithm": "fft"}),
        "fft, complex": (conv, typed(LARGE, "c8") | {"algorithm": "fft"}),
        "fft, integers": (signal.fftconvolve, pair),
        "reference": (conv, {"x": LARGE["x"][:9, :10], "w": LARGE["w"][:3, :3], "algorithm": "reference"}),
        "depthwise": (conv, DEEP),
        "depthwise, channels last": (conv, LAST),
        "pixels": (conv, FEW | {"stride": 2}),
        "pointwise": (conv, LAYER_PAIR | {"w": numbers((32, 32, 1, 1), seed=1)}),
        "half": (conv, typed(LAYER_PAIR, "f2")),
        "complex": (conv, typed(FEW, "c8")),
        "integers": (conv, typed(FEW, "i2")),
        "saturated": (conv, {"x": LARGE["x"].astype("i2"), "w": LARGE["w"][:3].astype("i2"), "overflow": "saturate"}),
        "epilogue": (conv, LAYER_PAIR | FINISH),
        "gradients": (fastconv.conv_grad, LAYER_PAIR | {"grad": numbers((2, 32, 28, 29), seed=2)}),
        "gradients, strided": (
            fastconv.conv_grad,
            LAYER_PAIR | {"grad": numbers((2, 32, 14, 15), seed=2), "stride": 2, "boundary": "edge"},
        ),
        "phases": (fastconv.conv_transpose, LAYER_PAIR | {"stride": 2}),
        "separable": (filters.gaussian_filter, {"input": LARGE["x"], "sigma": 3}),
        "separable, any weights": (filters.correlate1d, {"input": LARGE["x"], "weights": np.linspace(0, 1, 33)}),
        "separable, integers": (filters.sobel, {"input": LARGE["x"].astype("u1")}),
        "boxes": (filters.uniform_filter, {"input": LARGE["x"], "size": 9}),
        "separable, three axes": (filters.gaussian_filter, {"input": volume, "sigma": 2}),
        "quantised": (nn.conv_integer, {name: LAYER_PAIR[name].astype("i1") for name in ("x", "w")}),
    }
    return {
        name: Call(function, arguments | {"threads": 2}, names_of(function))
        for name, (function, arguments) in made.items()
    }


ALGORITHMS = make_algorithms()


def public_functions():
    """Return the names of all that is public and can be called."""
    return {
        prefix + name
        for prefix, module in MODULES.items()
        for name in module.__all__
        if callable(getattr(module, name)) and not (prefix == "nn." and name in nn.grad.__all__)
    }
