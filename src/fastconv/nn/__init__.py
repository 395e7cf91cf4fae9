"""Convolutions of network layers, with the signatures of torch.nn.functional, on NumPy arrays.

https://docs.pytorch.org/docs/stable/nn.functional.html#convolution-functions
"""

from . import _forward
from ._forward import conv2d

__all__ = ["conv2d"]

# Calls made before, of all functions.
_lanes = (_forward._lane,)
