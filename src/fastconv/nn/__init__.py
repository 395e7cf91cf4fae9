"""Convolutions of network layers on NumPy arrays: torch.nn.functional's signatures; for quantised ones ONNX's.

https://docs.pytorch.org/docs/stable/nn.functional.html#convolution-functions
https://onnx.ai/onnx/operators/
"""

from . import _forward
from ._forward import conv2d
from ._quantised import conv_integer, plan_qlinear_conv, qlinear_conv

__all__ = ["conv2d", "conv_integer", "plan_qlinear_conv", "qlinear_conv"]

# Calls made before, of all functions.
_lanes = (_forward._lane,)
