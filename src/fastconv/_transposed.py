"""The transposed convolution: `conv` read backwards, as a convolution of samples with zeros between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _plan, _problem, core
from ._errors import ConvError
from .drivers.lane import Lane, distinct

__all__ = ["conv_transpose"]

# Calls made before.
_lane = Lane()


def conv_transpose(
    x: Any,
    w: Any,
    *,
    bias: Any = None,
    layout: str | None = None,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
    padding: Any = "valid",
    output_padding: Any = 0,
    center: str = "left",
    flip: bool = False,
    conj: bool = False,
    activation: str | None = None,
    out: np.ndarray | None = None,
    dtype: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    max_workspace: int | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Add up the kernel at every sample of x, weighted by the sample: the transpose of `fastconv.conv`.

    With the same options ``conv`` takes ``y = A x`` for a matrix A made of w, and this is ``A.T y``; so it returns what
    has the shape of an input of `conv` for what has the shape of a result. No zeros are put between samples: the
    outputs that meet the same taps are convolutions of x as it is.

    Parameters
    ----------
    x : array_like
        Its axes are what `layout` says.
    w : array_like
        Kernel. Without a layout it has as many axes as x; with one its shape is
        ``(channels_in, channels_out // groups, *kernel)``, with the channels of x first.
    bias : array_like, shape (channels_out,), optional
        Added to the result; one number where there are no channels.
    layout : str, optional
        As in `fastconv.conv`: "NCHW", "NHWC", "NCW" ... None: all axes are spatial.
    stride : int or sequence of int, default 1
        Samples of the result between the kernels of neighbouring samples of x; one or one an axis.
    dilation : int or sequence of int, default 1
        Samples of the result between kernel taps.
    groups : int, default 1
    padding : {"valid", "same", "full"}, int, or sequence, default "valid"
        What `conv` added around its input, and what is cut off here: an int, one for each axis, or one
        (before, after) for each axis; negative ones add zeros. "same" makes ``n * stride`` outputs of n samples.
    output_padding : int or sequence of int, default 0
        Samples added at the end of the result, where several sizes of input give `conv` a result of the size of x; less
        than the larger of stride and dilation. Not with "same".
    center : {"left", "right"}, default "left"
        Which side "same" takes an odd sample from.
    flip : bool, default False
        Transpose the convolution that ``conv(..., flip=True)`` is.
    conj : bool, default False
        Conjugate the kernel. The adjoint of ``conv(..., conj=c)`` in the complex numbers is
        ``conv_transpose(..., conj=not c)``.
    activation : str, optional
        As in `fastconv.conv`.
    out : ndarray, optional
        Where to write the result; of its exact shape and dtype. It may overlap x and w.
    dtype : dtype, optional
        Of arithmetic and result; ``numpy.result_type(x, w)`` by default.
    algorithm, accuracy, max_workspace, threads
        As in `fastconv.conv`.

    Returns
    -------
    ndarray
        In the layout of x, with ``(n - 1) * stride - before - after + dilation * (k - 1) + output_padding + 1`` samples
        along an axis of n. Exactness and rounding are those of `fastconv.conv`; a NaN or Inf of the kernel reaches the
        outputs that it meets a sample of x, or the zeros around them, in.

    Raises
    ------
    ConvError
        If shapes or options do not fit, before anything is computed or written.
    ConvTypeError
        If a dtype is not supported, or an argument is of the wrong type.

    Notes
    -----
    The sizes are those of https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.conv_transpose([1, 10, 100], [1, 2, 3], stride=2)
    array([  1,   2,  13,  20, 130, 200, 300])
    >>> fastconv.conv_transpose([1, 10, 100], [1, 2, 3], stride=2, padding=1, output_padding=1)
    array([  2,  13,  20, 130, 200, 300])
    """
    call = None
    if activation is None:
        slides = (layout, stride, dilation, groups, padding, output_padding, center)
        values = (distinct(flip), distinct(conj))
        call = (*slides, *values, dtype, algorithm, accuracy, max_workspace)
        result: np.ndarray | None = _lane.run(x, w, bias, call, threads, out)
        if result is not None:
            return result
    schedule, operands = prepare(
        x,
        w,
        bias=bias,
        layout=layout,
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=padding,
        output_padding=output_padding,
        center=center,
        flip=flip,
        conj=conj,
        activation=activation,
        out=out,
        dtype=dtype,
        algorithm=algorithm,
        accuracy=accuracy,
        max_workspace=max_workspace,
    )
    result = core.execute(schedule, operands, threads)
    if call is not None and layout is not None:
        _lane.remember_transposed(x, w, bias, call, schedule, operands)
    return result


def prepare(
    x: Any,
    w: Any,
    *,
    layout: str | None,
    stride: Any,
    dilation: Any,
    groups: Any,
    padding: Any,
    output_padding: Any,
    center: str = "left",
    flip: Any = False,
    **options: Any,
) -> tuple[_plan.Schedule, _problem.Operands]:
    """Check the arguments of `conv_transpose`, and return what `core.execute` takes."""
    x, w = _problem.as_array(x, "x"), _problem.as_array(w, "w")
    _, channel_axis, spatial_axes = _problem.parse_layout(layout, x, w)
    rank = len(spatial_axes)
    kernel = w.shape[w.ndim - rank :]
    if 0 in kernel:
        raise ConvError(f"w: got an empty kernel {tuple(kernel)}, allowed: at least 1 tap along every spatial axis")
    strides = _problem.per_axis(stride, "stride", rank, 1)
    dilations = _problem.per_axis(dilation, "dilation", rank, 1)
    sizes = [x.shape[axis] for axis in spatial_axes]
    pads = paddings(sizes, kernel, strides, dilations, padding, output_padding, center)
    return core.prepare(
        x,
        swap_channels(x, w, channel_axis, groups),
        layout=layout,
        groups=groups,
        input_dilation=strides,
        dilation=dilations,
        padding=pads,
        flip=not _problem.switch(flip, "flip"),
        **options,
    )


def swap_channels(x: np.ndarray, w: np.ndarray, channel_axis: int, groups: Any) -> np.ndarray:
    """Return the weights as `conv` wants them, output channels first: a view where there is one group."""
    groups = _problem.integer(groups, "groups", 1)
    if channel_axis < 0:
        return w
    channels_in = x.shape[channel_axis]
    if w.shape[0] != channels_in:
        raise ConvError(
            f"w: got {w.shape[0]} channels in shape {w.shape}, "
            f"allowed: {channels_in}, the channels of x of shape {x.shape}"
        )
    if channels_in % groups:
        raise ConvError(f"groups: got {groups} for {channels_in} channels in, allowed: a divisor")
    return swapped(w, groups)


def swapped(w: np.ndarray, groups: int) -> np.ndarray:
    """Return weights with the channels on either side in each other's place, group by group."""
    if groups == 1:
        return w.swapaxes(0, 1)
    split = w.reshape(groups, -1, *w.shape[1:]) if w.size else w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return split.swapaxes(1, 2).reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:])


def paddings(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: Any,
    output_padding: Any,
    center: str,
) -> list[tuple[int, int]]:
    """Return what to add to the samples with zeros between them, for each axis."""
    rank = len(sizes)
    windows = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    more = _problem.per_axis(output_padding, "output_padding", rank, 0)
    for extra, stride, dilation in zip(more, strides, dilations, strict=True):
        if extra >= max(stride, dilation):
            raise ConvError(
                f"output_padding: got {output_padding!r} with stride {stride} and dilation {dilation}, "
                f"allowed: less than the larger of them"
            )
    if isinstance(padding, str) and padding == "same":
        if any(more):
            raise ConvError(f"output_padding: got {output_padding!r} with padding 'same', allowed: 0")
        more = [max(stride - window, 0) for stride, window in zip(strides, windows, strict=True)]
    # The padding of a convolution of n * stride samples, which only "same" asks for.
    lengths = [n * stride for n, stride in zip(sizes, strides, strict=True)]
    cuts = _problem.pads_per_axis(
        padding, _problem.one_of(center, "center", _problem.CENTERS), lengths, windows, strides
    )
    pads = []
    for i, (n, window, stride, (lo, hi), extra) in enumerate(zip(sizes, windows, strides, cuts, more, strict=True)):
        if n == 0:
            raise ConvError(f"x: got no samples along spatial axis {i}, allowed: at least 1")
        extent = (n - 1) * stride + 1
        pad = (window - 1 - lo, window - 1 - hi + extra)
        # The samples themselves may be cut off, but not the zeros behind them.
        if extent + window - 1 - lo - hi + extra < 1 or min(pad) < -extent:
            raise ConvError(
                f"padding: got ({lo}, {hi}) along spatial axis {i}, allowed: to cut off less than the "
                f"{extent + window - 1 + extra} samples of the result"
            )
        pads.append(pad)
    return pads
