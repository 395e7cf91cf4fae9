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
_ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
_ATTRIBUTE_INT = 2
_ATTRIBUTE_STRING = 3
_ATTRIBUTE_INTS = 7

_VARINT = 0
_BYTES = 2


def conv_model(w: NDArray[np.float32], layer: Layer) -> bytes:
    """ModelProto of ``y = Conv(x)`` with the float32 weights `w` and the geometry of `layer`."""
    real = np.dtype(np.float32)
    return model("Conv", {"x": (layer.x_shape, real), "w": w}, _geometry(layer), real, layer.y_shape)


def qlinear_conv_model(w: NDArray[np.int8], layer: Layer, scales: tuple[float, float, float]) -> bytes:
    """ModelProto of ``y = QLinearConv(x)``: x and y are uint8 with zero points of 128, w int8 with one of 0.

    `scales` are those of x, w and y.
    """
    x_scale, w_scale, y_scale = (np.array(scale, np.float32) for scale in scales)
    middle, zero = np.array(128, np.uint8), np.array(0, np.int8)
    names = ("x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point")
    inputs: dict[str, NDArray | tuple[Sequence[int], np.dtype]] = {"x": (layer.x_shape, middle.dtype)}
    inputs |= dict(zip(names, (x_scale, middle, w, w_scale, zero, y_scale, middle), strict=True))
    return model("QLinearConv", inputs, _geometry(layer), middle.dtype, layer.y_shape)


def _geometry(layer: Layer) -> dict[str, Sequence[int] | int | str]:
    """The attributes of a convolution."""
    return {
        "strides": [layer.stride] * 2,
        "pads": [layer.pad] * 4,
        "dilations": [layer.dilation] * 2,
        "kernel_shape": [layer.kh, layer.kw],
        "group": layer.groups,
    }


def model(
    operator: str,
    inputs: Mapping[str, NDArray | tuple[Sequence[int], np.dtype]],
    attributes: Mapping[str, Sequence[int] | int | str],
    result: np.dtype,
    shape: Sequence[int] | None = None,
) -> bytes:
    """ModelProto of ``y = operator(*inputs)`` with a result of that dtype, and of that shape if it is known.

    An input is an array, which becomes a constant, or (shape, dtype), which is asked for when the model runs. One
    called "" is left out.
    """
    node = b"".join(_text(1, name) for name in inputs) + _text(2, "y") + _text(3, "node") + _text(4, operator)
    node += b"".join(_attribute(name, value) for name, value in attributes.items())
    graph = _bytes(1, node) + _text(2, "layer")
    for name, value in inputs.items():
        if isinstance(value, tuple):
            graph += _bytes(11, _value(name, *value))
        elif name:
            graph += _bytes(5, _constant(name, value))
    graph += _bytes(12, _value("y", shape, result))
    opset = _text(1, "") + _number(2, OPSET_VERSION)
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _attribute(name: str, value: Sequence[int] | int | str) -> bytes:
    """AttributeProto, as field 5 of a NodeProto."""
    if isinstance(value, str):
        payload = _bytes(4, value.encode()) + _number(20, _ATTRIBUTE_STRING)
    elif isinstance(value, int):
        payload = _number(3, value) + _number(20, _ATTRIBUTE_INT)
    else:
        payload = b"".join(_number(8, number) for number in value) + _number(20, _ATTRIBUTE_INTS)
    return _bytes(5, _text(1, name) + payload)


def _constant(name: str, array: NDArray) -> bytes:
    """TensorProto; its raw data are little-endian."""
    dims = b"".join(_number(1, size) for size in array.shape)
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return dims + _number(2, _ELEMENTS[array.dtype.name]) + _text(8, name) + _bytes(9, data)


def _value(name: str, shape: Sequence[int] | None, dtype: np.dtype) -> bytes:
    """ValueInfoProto of a tensor, of any shape if there is none."""
    tensor = _number(1, _ELEMENTS[dtype.name])
    if shape is not None:
        tensor += _bytes(2, b"".join(_bytes(1, _number(1, size)) for size in shape))
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
