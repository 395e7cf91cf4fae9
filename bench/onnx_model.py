"""ONNX models of one convolution, written without the onnx package.

The libraries that run ONNX take a serialised ModelProto. One node needs a dozen of its fields, and a
protobuf message is a run of (tag, payload) pairs, so it is written here directly. The field numbers are
those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .layers import Layer

IR_VERSION = 8
OPSET_VERSION = 13

# enum values of onnx.proto
_ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
_ATTRIBUTE_INT = 2
_ATTRIBUTE_INTS = 7

_VARINT = 0
_BYTES = 2


def conv_model(w: NDArray[np.float32], layer: Layer) -> bytes:
    """ModelProto of ``y = Conv(x)`` with the float32 weights `w` and the geometry of `layer`."""
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(3, "conv") + _text(4, "Conv")
    return _model(node + _geometry(layer), {"w": w}, layer, "float32")


def qlinear_conv_model(w: NDArray[np.int8], layer: Layer, scales: tuple[float, float, float]) -> bytes:
    """ModelProto of ``y = QLinearConv(x)``: x and y are uint8 with zero points of 128, w int8 with one of 0.

    `scales` are those of x, w and y.
    """
    names = ("x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point")
    node = b"".join(_text(1, name) for name in ("x", *names))
    node += _text(2, "y") + _text(3, "conv") + _text(4, "QLinearConv")
    x_scale, w_scale, y_scale = (np.array(scale, np.float32) for scale in scales)
    middle, zero = np.array(128, np.uint8), np.array(0, np.int8)
    arrays: tuple[NDArray, ...] = (x_scale, middle, w, w_scale, zero, y_scale, middle)
    constants = dict(zip(names, arrays, strict=True))
    return _model(node + _geometry(layer), constants, layer, "uint8")


def _model(node: bytes, constants: Mapping[str, NDArray], layer: Layer, dtype: str) -> bytes:
    """ModelProto of one node from x to y, both of `dtype`."""
    graph = _bytes(1, node) + _text(2, "layer")
    graph += b"".join(_bytes(5, _constant(name, array)) for name, array in constants.items())
    graph += _bytes(11, _value("x", layer.x_shape, dtype)) + _bytes(12, _value("y", layer.y_shape, dtype))
    opset = _text(1, "") + _number(2, OPSET_VERSION)
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _geometry(layer: Layer) -> bytes:
    """The attributes of a NodeProto of a convolution."""
    attributes = _attribute("strides", [layer.stride] * 2) + _attribute("pads", [layer.pad] * 4)
    attributes += _attribute("dilations", [layer.dilation] * 2) + _attribute("kernel_shape", [layer.kh, layer.kw])
    return attributes + _group(layer.groups)


def _attribute(name: str, values: Sequence[int]) -> bytes:
    """AttributeProto of a list, as field 5 of a NodeProto."""
    numbers = b"".join(_number(8, value) for value in values)
    return _bytes(5, _text(1, name) + numbers + _number(20, _ATTRIBUTE_INTS))


def _group(groups: int) -> bytes:
    """AttributeProto of the one attribute that is a single number, as field 5 of a NodeProto."""
    return _bytes(5, _text(1, "group") + _number(3, groups) + _number(20, _ATTRIBUTE_INT))


def _constant(name: str, array: NDArray) -> bytes:
    """TensorProto; its raw data are little-endian."""
    dims = b"".join(_number(1, size) for size in array.shape)
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return dims + _number(2, _ELEMENT_TYPES[array.dtype.name]) + _text(8, name) + _bytes(9, data)


def _value(name: str, shape: Sequence[int], dtype: str) -> bytes:
    """ValueInfoProto of a tensor."""
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor = _number(1, _ELEMENT_TYPES[dtype]) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(payload)) + payload


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, the top bit set on all but the last."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
