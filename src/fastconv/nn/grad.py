"""Gradients of convolutions without autograd, with the signatures of torch.nn.grad, on NumPy arrays.

https://docs.pytorch.org/docs/stable/nn.functional.html and its module torch.nn.grad. Of complex numbers they are those
of the real loss that torch differentiates, see `fastconv.conv_grad`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import _gradients, _problem, _weight_gradient
from .._errors import ConvError, ConvTypeError
from ..drivers import levels
from ..drivers import threads as _threads
from ..drivers.lane import Lane
from ._arguments import for_all, in_torch_names, layout_of

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]

# Calls made before, one lane for each function.
lanes = Lane(), Lane(), Lane(), Lane(), Lane(), Lane()
_input_lanes, _weight_lanes = lanes[:3], lanes[3:]

# What torch calls what the core calls x, w and grad, where one of them is given by its size.
_INPUT_NAMES = {"x": "input_size", "w": "weight", "grad": "grad_output"}
_WEIGHT_NAMES = {"x": "input", "w": "weight_size", "grad": "grad_output"}


def conv1d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the input of `conv1d`.

    Parameters
    ----------
    input_size : sequence of int
        Shape of the input: (batch, channels_in, width), or without the batch.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_width)
    grad_output : array_like, shape (batch, channels_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv1d` was called with.
    data_format : {"NCW", "NWC", "NCL", "NLC"}, default "NCW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape input_size
        Of dtype ``numpy.result_type(weight, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nn.grad.conv1d_input((1, 1, 4), np.array([[[1.0, 2.0]]]), np.ones((1, 1, 3)))
    array([[[1., 3., 3., 2.]]])
    """
    size = tuple(input_size) if isinstance(input_size, list) else input_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _input_lanes[0].run(grad_output, weight, None, options, threads)
    return _input(1, weight, grad_output, options, threads) if result is None else result


def conv1d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the weight of `conv1d`.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, width), or without the batch
    weight_size : sequence of int
        Shape of the weight: (channels_out, channels_in // groups, kernel_width).
    grad_output : array_like, shape (batch, channels_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv1d` was called with.
    data_format : {"NCW", "NWC", "NCL", "NLC"}, default "NCW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape weight_size
        Of dtype ``numpy.result_type(input, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nn.grad.conv1d_weight(np.array([[[1.0, 2.0, 4.0]]]), (1, 1, 2), np.ones((1, 1, 2)))
    array([[[3., 6.]]])
    """
    size = tuple(weight_size) if isinstance(weight_size, list) else weight_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _weight_lanes[0].run(input, grad_output, None, options, threads)
    return _weight(1, input, grad_output, options, threads) if result is None else result


def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the input of `conv2d`.

    Parameters
    ----------
    input_size : sequence of int
        Shape of the input: (batch, channels_in, height, width), or without the batch.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_height, kernel_width)
    grad_output : array_like, shape (batch, channels_out, height_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv2d` was called with.
    data_format : {"NCHW", "NHWC"}, default "NCHW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape input_size
        Of dtype ``numpy.result_type(weight, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nn.grad.conv2d_input((1, 1, 3, 3), np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    size = tuple(input_size) if isinstance(input_size, list) else input_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _input_lanes[1].run(grad_output, weight, None, options, threads)
    return _input(2, weight, grad_output, options, threads) if result is None else result


def conv2d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the weight of `conv2d`.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, height, width), or without the batch
    weight_size : sequence of int
        Shape of the weight: (channels_out, channels_in // groups, kernel_height, kernel_width).
    grad_output : array_like, shape (batch, channels_out, height_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv2d` was called with.
    data_format : {"NCHW", "NHWC"}, default "NCHW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape weight_size
        Of dtype ``numpy.result_type(input, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> fastconv.nn.grad.conv2d_weight(image, (1, 1, 2, 2), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    size = tuple(weight_size) if isinstance(weight_size, list) else weight_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _weight_lanes[1].run(input, grad_output, None, options, threads)
    return _weight(2, input, grad_output, options, threads) if result is None else result


def conv3d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the input of `conv3d`.

    Parameters
    ----------
    input_size : sequence of int
        Shape of the input: (batch, channels_in, depth, height, width), or without the batch.
    weight : array_like, shape (channels_out, channels_in // groups, kernel_depth, kernel_height, kernel_width)
    grad_output : array_like, shape (batch, channels_out, depth_out, height_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv3d` was called with.
    data_format : {"NCDHW", "NDHWC"}, default "NCDHW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape input_size
        Of dtype ``numpy.result_type(weight, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nn.grad.conv3d_input((1, 1, 2, 1, 2), np.ones((1, 1, 2, 1, 1)), np.ones((1, 1, 1, 1, 2)))
    array([[[[[1., 1.]],
    <BLANKLINE>
             [[1., 1.]]]]])
    """
    size = tuple(input_size) if isinstance(input_size, list) else input_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _input_lanes[2].run(grad_output, weight, None, options, threads)
    return _input(3, weight, grad_output, options, threads) if result is None else result


def conv3d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    threads: int | None = None,
    algorithm: str = "auto",
    accuracy: str = "default",
) -> np.ndarray:
    """Return the gradient of a loss with respect to the weight of `conv3d`.

    Parameters
    ----------
    input : array_like, shape (batch, channels_in, depth, height, width), or without the batch
    weight_size : sequence of int
        Shape of the weight: (channels_out, channels_in // groups, kernel_depth, kernel_height, kernel_width).
    grad_output : array_like, shape (batch, channels_out, depth_out, height_out, width_out)
        The gradient with respect to the result.
    stride, padding, dilation, groups
        What `conv3d` was called with.
    data_format : {"NCDHW", "NDHWC"}, default "NCDHW"
        Order of the axes of the input and of grad_output.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.
    algorithm, accuracy
        As in `fastconv.conv`.

    Returns
    -------
    ndarray, shape weight_size
        Of dtype ``numpy.result_type(input, grad_output)``.

    Raises
    ------
    ConvError, ConvTypeError
        If shapes or options do not fit, or a dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> volume = np.arange(8.0).reshape(1, 1, 2, 2, 2)
    >>> fastconv.nn.grad.conv3d_weight(volume, (1, 1, 1, 1, 2), np.ones((1, 1, 2, 2, 1)))
    array([[[[[12., 16.]]]]])
    """
    size = tuple(weight_size) if isinstance(weight_size, list) else weight_size
    options = (size, stride, padding, dilation, groups, data_format, algorithm, accuracy)
    result: np.ndarray | None = _weight_lanes[2].run(input, grad_output, None, options, threads)
    return _weight(3, input, grad_output, options, threads) if result is None else result


def _input(rank: int, weight: Any, grad_output: Any, options: tuple[Any, ...], threads: int | None) -> np.ndarray:
    """Check a call along so many spatial axes, run it, and remember it where it is one convolution."""
    _threads.check(threads)
    try:
        w, grad = _problem.as_array(weight, "w"), _problem.as_array(grad_output, "grad")
        problem, operands, gradient = _prepare(rank, _stand_in(options[0], "input_size", w, grad), w, grad, options)
    except (ConvError, ConvTypeError) as error:
        raise in_torch_names(error, _INPUT_NAMES) from error.__cause__
    steps = _gradients.input_steps(problem, levels.current())
    result = _gradients.run_steps(problem, steps, operands.w, gradient, threads)
    if steps:
        used = _problem.Operands(gradient, operands.w, None, None)
        _input_lanes[rank - 1].remember_transposed(grad_output, weight, None, options, steps[0].schedule, used)
    return result


def _weight(rank: int, input: Any, grad_output: Any, options: tuple[Any, ...], threads: int | None) -> np.ndarray:
    """Check a call along so many spatial axes, run it, and remember it where arrays are taken as they are."""
    _threads.check(threads)
    try:
        x, grad = _problem.as_array(input, "x"), _problem.as_array(grad_output, "grad")
        problem, operands, gradient = _prepare(rank, x, _stand_in(options[0], "weight_size", x, grad), grad, options)
    except (ConvError, ConvTypeError) as error:
        raise in_torch_names(error, _WEIGHT_NAMES) from error.__cause__
    result = _gradients.kernel_gradient(problem, operands.x, gradient, threads)
    if operands.x is input and gradient is grad_output and problem.dtype.kind != "c":
        function = partial(_weight_gradient.weight_gradient, problem)
        _weight_lanes[rank - 1].remember_call(input, grad_output, options, function)
    return result


def _stand_in(size: Any, name: str, *arrays: np.ndarray) -> np.ndarray:
    """Return an array in no memory of its own, of a shape and of the dtype that the others make together."""
    dtype = np.result_type(*arrays)
    return np.broadcast_to(np.zeros((), dtype), _problem.check_shape(size, name, dtype.itemsize))


def _prepare(
    rank: int, x: np.ndarray, w: np.ndarray, grad: np.ndarray, options: tuple[Any, ...]
) -> tuple[_problem.ConvProblem, _problem.Operands, np.ndarray]:
    """Return the problem forward, its operands, and the checked gradient of its result."""
    _, stride, padding, dilation, groups, data_format, algorithm, accuracy = options
    problem, operands = _problem.prepare(
        x,
        w,
        layout=layout_of(data_format, x.shape, rank, "x"),
        stride=for_all(stride),
        padding=_problem.per_axis(for_all(padding), "padding", rank, 0),
        dilation=for_all(dilation),
        groups=groups,
        algorithm=algorithm,
        accuracy=accuracy,
        center="right",
    )
    return problem, operands, _gradients.check_grad(grad, "grad", problem)
