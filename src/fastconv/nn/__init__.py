"""Convolutions of network layers, with the signatures of torch.nn.functional, on NumPy arrays.

https://docs.pytorch.org/docs/stable/nn.functional.html#convolution-functions
"""

from . import _forward, _unfold
from ._forward import conv1d, conv2d, conv3d
from ._unfold import fold, unfold

__all__ = ["conv1d", "conv2d", "conv3d", "fold", "unfold"]

# Calls made before, of all functions.
_lanes = (*_forward.lanes, *_unfold.lanes)
