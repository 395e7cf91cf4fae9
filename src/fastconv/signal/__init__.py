"""Drop-ins for scipy.signal: its signatures, defaults and rules, computed by `fastconv.conv`.

==============================  =====================================================================
`convolve`, `correlate`         N-D arrays, any dtype of NumPy (`_n_d`)
`convolve2d`, `correlate2d`     2-D arrays, with a choice of boundaries (`_two_d`)
`fftconvolve`, `oaconvolve`     floating results, some axes or all, broadcast over the rest (`_spectral`)
`choose_conv_method`            what `convolve` would do (`_n_d`)
`correlation_lags`              which lag each sample of `correlate` is for (`_n_d`)
==============================  =====================================================================

There is no arithmetic here. A call is checked, SciPy's mode and boundary are put into the words of the core,
and the core does the rest. Where SciPy is known to be wrong, the right answer is returned and the docstring
says so. Whatever the method and the algorithm, integers are exact and a NaN or Inf stays in the windows that hold it,
so SciPy's warning that a NaN has spread does not exist here.
"""

from . import _n_d, _spectral, _two_d
from ._n_d import choose_conv_method, convolve, correlate, correlation_lags
from ._spectral import fftconvolve, oaconvolve
from ._two_d import convolve2d, correlate2d

__all__ = [
    "choose_conv_method",
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "correlation_lags",
    "fftconvolve",
    "oaconvolve",
]

# Calls made before, of all functions.
_lanes = (*_two_d.lanes, *_n_d.lanes, *_spectral.lanes)
