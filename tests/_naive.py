"""Convolution as five nested loops over Python numbers: what the reference itself is tested against.

Nothing here is shared with the reference. Samples beyond an edge are found by walking back step by step, and
numbers are Python's, so that integers cannot overflow before the end.
"""

import itertools

import numpy as np


def _lookup(index, n, input_dilation, boundary):
    """Return what a padded coordinate shows: the index of a sample, "zero" or "fill"."""
    size = (n - 1) * input_dilation + 1 if n else 0
    while not 0 <= index < size:
        if boundary == "constant":
            return "fill"
        if boundary == "edge":
            index += 1 if index < 0 else -1
        elif boundary == "wrap":
            index += size if index < 0 else -size
        elif boundary == "symmetric":
            index = -1 - index if index < 0 else 2 * size - 1 - index
        elif size == 1:
            index = 0
        else:
            index = -index if index < 0 else 2 * (size - 1) - index
    return "zero" if index % input_dilation else index // input_dilation


def _finish(total, dtype):
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        return np.array(total % 2**bits, dtype=f"u{dtype.itemsize}").astype(dtype)
    return total


def correlate(x, w, *, stride, dilation, input_dilation, padding, boundary, groups=1, fill_value=0, bias=None):
    """Cross-correlate `x` (N, C, *spatial) with `w` (O, C / groups, *kernel), of the same dtype.

    The spatial options have one value per axis; the result has the dtype of the operands.
    """
    spatial, kernel = x.shape[2:], w.shape[2:]
    out = []
    for axis, n in enumerate(spatial):
        length = ((n - 1) * input_dilation[axis] + 1 if n else 0) + sum(padding[axis])
        out.append(max(0, (length - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1))
    y = np.empty((x.shape[0], w.shape[0], *out), dtype=x.dtype)
    logical = x.dtype == bool
    samples, taps = x.astype(object), w.astype(object)
    group_out, group_in = w.shape[0] // groups, w.shape[1]
    for n in range(y.shape[0]):
        for o in range(y.shape[1]):
            for position in itertools.product(*map(range, out)):
                total = 0 if bias is None else bias[o].item()
                for c in range(group_in):
                    for tap in itertools.product(*map(range, kernel)):
                        seen = [
                            _lookup(
                                position[i] * stride[i] - padding[i][0] + tap[i] * dilation[i],
                                *(spatial[i], input_dilation[i], boundary[i]),
                            )
                            for i in range(len(spatial))
                        ]
                        if "fill" in seen:
                            value = fill_value
                        elif "zero" in seen:
                            value = 0
                        else:
                            value = samples[(n, o // group_out * group_in + c, *seen)]
                        product = value * taps[(o, c, *tap)]
                        total = (total or bool(product)) if logical else total + product
                y[(n, o, *position)] = _finish(total, x.dtype)
    return y
