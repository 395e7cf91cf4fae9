"""The one operation behind every face, with every option."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _plan, _problem
from ._epilogue import finish
from ._errors import ConvError, ConvTypeError
from .drivers import levels, results
from .drivers import threads as _threads
from .drivers.lane import Lane, distinct
from .planners.reference import reference_result

__all__ = ["conv"]

# Calls made before.
_lane = Lane()


def conv(
    x: Any,
    w: Any,
    *,
    bias: Any = None,
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    input_dilation: Any = 1,
    groups: int = 1,
    padding: Any = "valid",
    center: str = "left",
    boundary: Any = "constant",
    fill_value: Any = 0,
    flip: bool = False,
    conj: bool = False,
    scale: Any = None,
    residual: Any = None,
    activation: str | tuple[str, float] | None = None,
    result_dtype: Any = None,
    out: np.ndarray | None = None,
    dtype: Any = None,
    overflow: str = "wrap",
    algorithm: str = "auto",
    accuracy: str = "default",
    max_workspace: int | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Cross-correlate x with a kernel, or with a bank of them, along any number of axes.

    Parameters
    ----------
    x : array_like
        Input. Its axes are what `layout` says.
    w : array_like
        Kernel. Without a layout it has as many axes as x; with one its shape is
        ``(channels_out, channels_in // groups, *kernel)``.
    bias : array_like, shape (channels_out,), optional
        Added to the result; one number where there are no channels.
    layout : str, optional
        A letter for each axis of x and of the result, such as "NCHW", "NHWC", "NCW" or "CDHW": C are the channels
        and have to be there, N is the batch, every other letter is a spatial axis. None: all axes are spatial.
    stride, dilation, input_dilation : int or sequence of int, default 1
        Samples between outputs, between kernel taps, and between inputs (zeros in between), one or one an axis.
    groups : int, default 1
        Output channels of a group read the input channels of that group only.
    padding : {"valid", "same", "full"}, int, or sequence, default "valid"
        Samples added around x: an int, one for each axis, or one (before, after) for each axis; negative ones crop.
        "full" adds all that a window can reach; "same" makes ceil(n / stride) outputs.
    center : {"left", "right"}, default "left"
        Where "same" puts the odd sample of padding: before the input (scipy.ndimage), or after it (torch).
    boundary : str or sequence of str, default "constant"
        What the padding holds, by `numpy.pad`'s names: "constant", "edge", "symmetric", "reflect" or "wrap".
    fill_value : number, default 0
        For the boundary "constant".
    flip : bool, default False
        Reverse the kernel: a convolution instead of a cross-correlation.
    conj : bool, default False
        Conjugate the kernel.
    scale : array_like, shape (channels_out,), or a number, optional
        Multiplies the sums of products before the bias is added: ``scale * conv(x, w) + bias``. Finite.
    residual : array_like, of the shape of the result, optional
        Added after the bias; read in the dtype of the result or of the arithmetic, converted from any other. It may be
        `out` itself.
    activation : str or tuple, optional
        Applied then: "relu", "relu6", "leaky_relu" or ("leaky_relu", slope) with 0.01 by default, "sigmoid", "silu",
        "gelu" (by erf), "hardswish" or "tanh", with the formulas of
        https://docs.pytorch.org/docs/stable/nn.functional.html#non-linear-activation-functions. NaN stays NaN; at
        -Inf silu, gelu and hardswish are 0, their limit. For real floating dtypes.
    result_dtype : dtype, optional
        What the result is rounded to, last of all: a floating dtype, half to even, or an integer, half to even too,
        kept within its range, with 0 for NaN. For real floating arithmetic; its own dtype by default.
    out : ndarray, optional
        Where to write the result; of its exact shape and dtype. It may overlap x and w.
    dtype : dtype, optional
        Of the arithmetic, and of the result unless `result_dtype` says otherwise; ``numpy.result_type(x, w)`` by
        default. float16 and the bfloat16 of ml_dtypes are stored as such and summed and finished in float32.
    overflow : {"wrap", "saturate", "raise"}, default "wrap"
        What integers do beyond their range: count modulo 2^n, stop at the ends, or raise.
    algorithm : {"auto", "direct", "gemm", "winograd", "fft", "reference"}, default "auto"
        May change the speed, never the meaning.
    accuracy : {"default", "strict", "fast"}, default "default"
        "strict" makes of every result one sum in one order: the bias, then channel after channel, the taps of each in
        the order of memory. So its bits do not depend on batch, layout, channels out, on what else of an image is
        computed, nor on the CPU's level among those with a fused multiply-add. "default" may also take Winograd's
        F(2, 3) and F(4, 3) for layers of kernels of 3 x 3 to 6 x 6, real or complex, in single or double precision,
        "fast" F(5, 3) and F(6, 3) too; both may take Fourier transforms of tiles for large kernels.
    max_workspace : int, optional
        Bytes of scratch memory that a thread may use, whatever the algorithm; if none can do with so few, the error
        says how many are needed. Counted is everything but operands and result, arrays made of them because their dtype
        or byte order is another one or because `out` overlaps an input, and the packed weights of a plan.
    threads : int, optional
        For this call; `fastconv.get_num_threads` by default.

    Returns
    -------
    ndarray
        In the layout of x. Integers are exact modulo 2^n. A float result is within
        ``(taps + 2) * eps * sum(|x| * |w|)`` of the true one, except for the algorithms that transform, which
        `Plan.explain` names and "strict" forbids. That of "fft" is within ``16 * eps * log2(n) * norm(x) * norm(w)``,
        with the 2-norms of a tile of n samples and of the kernel. That of "winograd" is within
        ``k * (channels + 40) * eps * max(|x|) * sum(|w|)``, where the sum is over the weights of its output
        channel, every square of 3 x 3 that covers a larger kernel counts as that many channels, and k is 16 for
        F(2, 3), 176 for F(4, 3), 892 for F(5, 3) and 1565 for F(6, 3). Complex layers are real ones of twice the
        channels to it: the bound then holds for the real and for the imaginary part, with ``2 * channels``, the
        largest part of x, and the magnitudes of both parts of w in the sum. On float32 data without structure its root
        mean square error is below 1e-6 of the output's standard deviation by default, and below 5e-6 with "fast", for
        any number of channels. NaN and Inf reach exactly the outputs whose window holds them, where the zeros between
        inputs are no part of a window.

    Raises
    ------
    ConvError
        If shapes or options do not fit, before anything is computed or written.
    ConvTypeError
        If a dtype is not supported, or an argument is of the wrong type.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.conv([1, 2, 3, 4], [1, 0, -1], padding="same")
    array([-2, -2, -2,  3])
    >>> image = np.ones((1, 3, 5, 5), np.float32)
    >>> fastconv.conv(image, np.ones((8, 3, 3, 3), np.float32), layout="NCHW", stride=2).shape
    (1, 8, 2, 2)
    >>> fastconv.conv([10.0, 20.0, -30.0], [1.0], scale=0.25, bias=1, activation="relu", result_dtype="uint8")
    array([4, 6, 0], dtype=uint8)
    """
    call = None
    if scale is residual is activation is result_dtype is None and type(overflow) is str and overflow == "wrap":
        slides = (layout, stride, dilation, input_dilation, groups, padding, center, boundary)
        values = (distinct(fill_value), distinct(flip), distinct(conj))
        call = (*slides, *values, dtype, algorithm, accuracy, max_workspace)
        result: np.ndarray | None = _lane.run(x, w, bias, call, threads, out)
        if result is not None:
            return result
    options = {
        "layout": layout,
        "stride": stride,
        "dilation": dilation,
        "input_dilation": input_dilation,
        "groups": groups,
        "padding": padding,
        "center": center,
        "boundary": boundary,
        "fill_value": fill_value,
        "flip": flip,
        "conj": conj,
        "scale": scale,
        "residual": residual,
        "activation": activation,
        "result_dtype": result_dtype,
        "dtype": dtype,
        "algorithm": algorithm,
        "accuracy": accuracy,
        "max_workspace": max_workspace,
    }
    if _problem.one_of(overflow, "overflow", _problem.OVERFLOWS) != "wrap":
        return _conv_in_range(x, w, bias, out, overflow, threads, options)
    schedule, operands = prepare(x, w, bias=bias, out=out, **options)
    result = execute(schedule, operands, threads)
    if call is not None:
        _lane.remember(x, w, bias, call, schedule, operands)
    return result


def prepare(x: Any, w: Any, **options: Any) -> tuple[_plan.Schedule, _problem.Operands]:
    """Check the arguments of `conv`, and return what `execute` takes."""
    problem, operands = _problem.prepare(x, w, **options)
    return _plan.make(problem, levels.current()), operands


def execute(
    schedule: _plan.Schedule, operands: _problem.Operands, threads: int | None, panels: np.ndarray | None = None
) -> np.ndarray:
    """Run a schedule on checked arrays; an `out` that overlaps an input, or is misaligned, is written at the end."""
    _threads.check(threads)
    x, w, bias, out, scale, residual = operands
    if bias is not None:
        bias = bias.astype(schedule.bias_dtype, copy=False)
    problem = schedule.problem
    if schedule.rounded is not None and rounds_exactly(schedule.rounded, operands):
        result = _rounded(schedule.rounded, operands, problem.dtype, threads)
        if out is None:
            return result
        out[...] = result
        return out
    if out is None:
        result = results.empty(problem.out_shape, problem.out_dtype)
        return schedule.run(x, w, bias, result, threads, panels, scale, residual)
    inputs = [array for array in (x, w, bias, scale, residual) if array is not None]
    if schedule.fuses_epilogue and residual is not None and same_memory(residual, out):
        inputs.pop()
    if out.flags.aligned and out.dtype.isnative and not any(np.may_share_memory(out, array) for array in inputs):
        return schedule.run(x, w, bias, out, threads, panels, scale, residual)
    result = results.empty(problem.out_shape, problem.out_dtype)
    out[...] = schedule.run(x, w, bias, result, threads, panels, scale, residual)
    return out


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays of one shape are the same elements."""
    return a.dtype == b.dtype and a.ctypes.data == b.ctypes.data and a.strides == b.strides


def rounds_exactly(schedule: _plan.Schedule, operands: _problem.Operands) -> bool:
    """Return whether results of transforms in float64 are within a quarter of the integers they stand for.

    An output is wrong by at most 16 eps log2(n) |x| |w|, the 2-norms of the tile and of the kernel: N. J. Higham,
    Accuracy and Stability of Numerical Algorithms, theorem 24.2, for three transforms and the product.
    """
    problem, x, w, bias = schedule.problem, operands.x, operands.w, operands.bias
    samples = problem.channels * schedule.driver.samples
    fill = abs(float(np.frombuffer(problem.fill, problem.dtype)[0]))
    product = max(_largest(x), fill) * _largest(w)
    error = 16 * np.finfo(np.float64).eps * math.log2(samples) * product * math.sqrt(samples * problem.taps)
    largest = product * problem.taps + (0 if bias is None else _largest(bias))
    return bool(error < 0.25 and largest < 2.0**52)


def _rounded(
    schedule: _plan.Schedule, operands: _problem.Operands, dtype: np.dtype[Any], threads: int | None
) -> np.ndarray:
    problem, x, w, bias = schedule.problem, operands.x, operands.w, operands.bias
    result = np.empty(problem.out_shape, np.float64)
    floats = None if bias is None else bias.astype(np.float64)
    schedule.run(x.astype(np.float64), w.astype(np.float64), floats, result, threads)
    np.rint(result, out=result)
    # Through int64, so that what is beyond the dtype's range counts modulo 2^n.
    return (result != 0) if dtype.kind == "b" else result.astype(np.int64).astype(dtype)


def _conv_in_range(
    x: Any, w: Any, bias: Any, out: Any, overflow: str, threads: int | None, options: dict[str, Any]
) -> np.ndarray:
    """Convolve integers in 64 bits, or in Python's integers where those could overflow, and bring them to range."""
    _threads.check(threads)
    problem, operands = _problem.prepare(x, w, bias=bias, out=out, **options)
    if problem.dtype.kind not in "iu":
        raise ConvTypeError(f"overflow: got {overflow!r} with dtype {problem.dtype}, allowed: 'wrap', or integers")
    result = exact(problem, operands, threads)
    limits = np.iinfo(problem.dtype)
    if overflow == "raise" and result.size and not limits.min <= result.min() <= result.max() <= limits.max:
        raise ConvError(
            f"overflow: got results from {result.min()} to {result.max()}, allowed: the range of {problem.dtype}"
        )
    result = np.asarray(np.clip(result, limits.min, limits.max), problem.dtype)
    if operands.out is None:
        return result
    operands.out[...] = result
    return operands.out


def exact(problem: _problem.ConvProblem, operands: _problem.Operands, threads: int | None) -> np.ndarray:
    """Return the exact sums of an integer problem, in int64 where none can overflow, else in Python's integers."""
    x, w, bias, _, scale, residual = operands
    fill = int(np.frombuffer(problem.fill, problem.dtype)[0])
    reach = problem.taps * max(_largest(x), abs(fill)) * _largest(w) * max(1, _largest(scale))
    reach += _largest(bias) + _largest(residual)
    dtype = np.dtype(np.int64 if reach < 2**63 else object)
    x, w = x.astype(dtype), w.astype(dtype)
    bias, scale, residual = (None if array is None else array.astype(dtype) for array in (bias, scale, residual))
    if dtype.kind == "O":
        result = reference_result(problem, x, w, bias if scale is None else None)
        finish(result, problem, bias, scale, residual)
        return result
    wide = problem._replace(dtype=dtype, fill=np.array(fill).astype(np.int64).tobytes())
    operands = _problem.Operands(x, w, bias, None, scale, residual)
    return execute(_plan.make(wide, levels.current()), operands, threads)


def _largest(array: np.ndarray | None) -> int:
    return 0 if array is None or not array.size else max(abs(int(array.min())), abs(int(array.max())))
