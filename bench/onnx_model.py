"""An ONNX model of one convolution, written without the onnx package.

The libraries that run ONNX take a serialised ModelProto. One Conv node needs a dozen of its fields, and a
protobuf message is a run of (tag, payload) pairs, so it is written here directly. The field numbers are
those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .layers import Layer

IR_VERSION = 8
OPSET_VERSION = 13

# enum values of onnx.proto
_FLOAT = 1
_ATTRIBUTE_INT = 2
_ATTRIBUTE_INTS = 7

_VARINT = 0
_BYTES = 2


def conv_model(w: NDArray[np.float32], layer: Layer) -> bytes:
    """ModelProto of ``y = Conv(x)`` with the float32 weights `w` and the geometry of `layer`."""
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(3, "conv") + _text(4, "Conv")
    node += _attribute("strides", [layer.stride] * 2) + _attribute("pads", [layer.pad] * 4)
    node += _attribute("dilations", [layer.dilation] * 2) + _attribute("kernel_shape", [layer.kh, layer.kw])
    node += _group(layer.groups)
    graph = _bytes(1, node) + _text(2, "layer") + _bytes(5, _weights(w))
    graph += _bytes(11, _value("x", layer.x_shape)) + _bytes(12, _value("y", layer.y_shape))
    opset = _text(1, "") + _number(2, OPSET_VERSION)
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _attribute(name: str, values: Sequence[int]) -> bytes:
    """AttributeProto of a list, as field 5 of a NodeProto."""
    numbers = b"".join(_number(8, value) for value in values)
    return _bytes(5, _text(1, name) + numbers + _number(20, _ATTRIBUTE_INTS))


def _group(groups: int) -> bytes:
    """AttributeProto of the one attribute that is a single number, as field 5 of a NodeProto."""
    return _bytes(5, _text(1, "group") + _number(3, groups) + _number(20, _ATTRIBUTE_INT))


def _weights(w: NDArray[np.float32]) -> bytes:
    """TensorProto; its raw data are little-endian."""
    dims = b"".join(_number(1, size) for size in w.shape)
    data = np.ascontiguousarray(w, dtype="<f4").tobytes()
    return dims + _number(2, _FLOAT) + _text(8, "w") + _bytes(9, data)


def _value(name: str, shape: Sequence[int]) -> bytes:
    """ValueInfoProto of a float32 tensor."""
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor = _number(1, _FLOAT) + _bytes(2, dims)
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
