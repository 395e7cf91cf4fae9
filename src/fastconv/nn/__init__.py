"""Convolutions of network layers, with the signatures of torch.nn.functional and torch.nn.grad, on NumPy arrays.

Quantised ones have the inputs and attributes of ONNX's operators.

https://docs.pytorch.org/docs/stable/nn.functional.html#convolution-functions
https://onnx.ai/onnx/operators/
"""

from . import _forward, _transposed, _unfold, grad
from ._forward import conv1d, conv2d, conv3d
from ._quantised import conv_integer, plan_qlinear_conv, qlinear_conv
from ._transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d
from ._unfold import fold, unfold
from .grad import conv1d_input, conv1d_weight, conv2d_input, conv2d_weight, conv3d_input, conv3d_weight

__all__ = [
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_input",
    "conv3d_weight",
    "conv_integer",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "grad",
    "plan_qlinear_conv",
    "qlinear_conv",
    "unfold",
]

# Calls made before, of all functions.
_lanes = (*_forward.lanes, *_transposed.lanes, *grad.lanes, *_unfold.lanes)
