"""Layers whose results under ``accuracy="strict"`` have the same bits everywhere, and the hashes of those bits.

``python -m tests.golden`` computes them anew and writes `hashes.txt`; `tests/test_golden.py` computes them on every
level that runs here, and `tests.targets` on other CPUs. A line of that file changes only if a promise does.
"""

import hashlib
import itertools
from functools import partial
from pathlib import Path

import numpy as np

import fastconv
from fastconv import nn

HASHES = Path(__file__).with_name("hashes.txt")
FLOATS = ("float32", "float64")
OTHERS = ("float16", "complex64", "complex128")
# One of each size: modulo 2^n, the signed and the unsigned of a size have the same bits.
INTEGERS = ("bool", "int8", "uint16", "int32", "uint64")

# Shapes of x and w, and options. Between them the loops for many, few and single channels, rows and columns with and
# without a rest, kernels in parts, every rank.
LAYERS = {
    "usual": ((2, 16, 13, 21), (24, 16, 3, 3), {"padding": 1}),
    "few channels": ((2, 3, 17, 19), (5, 3, 3, 3), {"padding": ((1, 2), (0, 1))}),
    "wide": ((1, 300, 5, 6), (70, 300, 1, 1), {}),
    "deep": ((1, 70, 8, 9), (66, 70, 3, 3), {"padding": "same"}),
    "few pixels": ((3, 40, 3, 3), (33, 40, 3, 3), {"padding": 1}),
    "one channel": ((2, 1, 29, 41), (1, 1, 3, 3), {"padding": 1, "boundary": "reflect"}),
    "one channel out": ((2, 30, 11, 18), (1, 30, 3, 3), {"padding": 1}),
    "pointwise": ((2, 48, 9, 10), (40, 48, 1, 1), {}),
    "strided": ((2, 8, 25, 27), (12, 8, 3, 3), {"stride": 2, "padding": 1}),
    "strided unevenly": ((1, 3, 30, 31), (7, 3, 5, 4), {"stride": (3, 2), "dilation": (1, 2)}),
    "dilated": ((2, 6, 17, 19), (9, 6, 3, 2), {"dilation": (2, 3), "padding": (2, 1)}),
    "dilated input": ((1, 5, 9, 12), (6, 5, 3, 2), {"input_dilation": 2, "padding": 1}),
    "flipped": ((1, 4, 10, 33), (6, 4, 4, 4), {"flip": True, "padding": "full", "boundary": "wrap"}),
    "groups": ((2, 12, 12, 14), (20, 3, 3, 3), {"groups": 4, "padding": 1}),
    "depthwise": ((2, 20, 14, 23), (20, 1, 3, 3), {"groups": 20, "padding": 1}),
    "depthwise strided": ((1, 18, 21, 22), (18, 1, 5, 5), {"groups": 18, "stride": 2, "padding": 2}),
    "depthwise multiplied": ((2, 6, 13, 15), (18, 1, 5, 3), {"groups": 6, "padding": ((2, 2), (1, 1))}),
    "large kernel": ((1, 1, 40, 50), (2, 1, 17, 17), {"padding": 8, "boundary": "symmetric"}),
    "long row": ((1, 2, 3, 300), (3, 2, 1, 90), {"padding": (0, 45)}),
    "series": ((2, 12, 130), (16, 12, 9), {"padding": 4}),
    "series strided": ((1, 2, 300), (5, 2, 70), {"stride": 3, "boundary": "edge", "padding": 9}),
    "volume": ((1, 8, 5, 7, 11), (10, 8, 3, 3, 3), {"padding": 1}),
    "four axes": ((1, 2, 4, 3, 7, 9), (3, 2, 2, 2, 3, 3), {"padding": 1, "stride": (1, 1, 2, 1)}),
}
# What is tried with the steps that follow the sums: rows with a rest in either layout.
FINISHED = ("usual", "depthwise")
ACTIVATIONS = (None, "relu", "relu6", "leaky_relu", "sigmoid", "silu", "gelu", "hardswish", "tanh")
# What is tried in bytes.
QUANTISED = ("usual", "few pixels", "pointwise")


def noise(shape, dtype, seed=0):
    """Return numbers of many magnitudes whose sums are rounded, or integers of the whole range.

    Made of the bits of a generator alone: what NumPy makes of them may change, and asks the C library for logarithms.
    """
    dtype = np.dtype(dtype)
    n = int(np.prod(shape))
    if dtype.kind == "c":
        parts = noise((*shape, 2), dtype.type().real.dtype, seed)
        return (parts[..., 0] + 1j * parts[..., 1]).astype(dtype)
    raw = np.random.PCG64(seed).random_raw(n).reshape(shape)
    if dtype.kind == "b":
        return raw >> 61 == 0
    if dtype.kind in "iu":
        return (raw >> (64 - 8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype)
    whole = (raw >> 11).astype(np.int64) - 2**52
    return np.ldexp(whole.astype(np.float64), -52 - (raw & 7).astype(np.int32)).astype(dtype)


def layout_of(rank, last):
    """Return the layout of an array of that rank, with the channels second or last."""
    axes = "TDHW"[6 - rank :]
    return f"N{axes}C" if last else f"NC{axes}"


def move(array, last):
    """Return an array of channels second as a layout has it in memory."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array


def convolve(layer, dtype, last, **options):
    """Return the result of a layer, its channels second, computed with the channels second or last."""
    x_shape, w_shape, own = LAYERS[layer]
    bias = noise(w_shape[:1], dtype, 2)
    options = {"layout": layout_of(len(x_shape), last), "bias": bias, "accuracy": "strict", **own, **options}
    result = fastconv.conv(move(noise(x_shape, dtype), last), noise(w_shape, dtype, 1), **options)
    return np.moveaxis(result, -1, 1) if last else result


def finish(layer, dtype, last, activation):
    """Return the same scaled, with a residual, and activated."""
    x_shape, w_shape, _ = LAYERS[layer]
    residual = noise((x_shape[0], w_shape[0], *x_shape[2:]), dtype, 4)
    options = {"scale": 32 * noise(w_shape[:1], dtype, 3), "residual": move(residual, last), "activation": activation}
    return convolve(layer, dtype, last, **options)


def quantise(layer, last, *, scaled):
    """Return the sums of a layer of bytes, or the bytes made of them."""
    x_shape, w_shape, own = LAYERS[layer]
    x, w = noise(x_shape, "uint8"), noise(w_shape, "int8", 1)
    x = np.moveaxis(move(x, last), -1, 1) if last else x
    attributes = {"pads": [own.get("padding", 0)] * 4}
    if not scaled:
        return nn.conv_integer(x, w, np.uint8(131), np.int8(-5), **attributes)
    scale = np.float32(1.25 / 2 ** (2 + w[0].size.bit_length()))
    return nn.qlinear_conv(x, scale, np.uint8(131), w, 1, np.int8(-5), 1, np.uint8(120), **attributes)


def cases_of_floats():
    """Return what levels with a fused multiply-add agree on: the ways to compute each result, by its name."""
    cases = {}
    for layer, dtype, last in itertools.product(LAYERS, (*FLOATS, *OTHERS), (False, True)):
        algorithms = ("auto", "direct", "gemm") if dtype in FLOATS else ("auto",)
        ways = [partial(convolve, layer, dtype, last, algorithm=algorithm) for algorithm in algorithms]
        cases.setdefault(f"{layer}, {dtype}", []).extend(ways)
    for layer, activation, dtype, last in itertools.product(FINISHED, ACTIVATIONS, FLOATS, (False, True)):
        name = f"{layer} and {activation or 'no activation'}, {dtype}"
        cases.setdefault(name, []).append(partial(finish, layer, dtype, last, activation))
    for result_dtype, last in itertools.product(("float16", "int8", "uint16"), (False, True)):
        way = partial(convolve, "usual", "float32", last, scale=9.0, result_dtype=result_dtype)
        cases.setdefault(f"usual, float32 to {result_dtype}", []).append(way)
    return cases


def cases_of_integers():
    """Return the same of what all levels agree on."""
    cases = {}
    for layer, dtype, last in itertools.product(LAYERS, INTEGERS, (False, True)):
        cases.setdefault(f"{layer}, {dtype}", []).append(partial(convolve, layer, dtype, last))
    for layer, scaled, last in itertools.product(QUANTISED, (False, True), (False, True)):
        name = f"{layer}, quantised {'bytes' if scaled else 'sums'}"
        cases.setdefault(name, []).append(partial(quantise, layer, last, scaled=scaled))
    return cases


def digest(array):
    """Return the hash of an array's numbers, which no order of bytes or place in memory changes."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def read_hashes():
    """Return the kept hashes by the names of their cases."""
    lines = HASHES.read_text("utf-8").splitlines()
    return {name: kept for kept, name in (line.split("  ", 1) for line in lines if not line.startswith("#"))}
