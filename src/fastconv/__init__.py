"""Fast convolution for NumPy arrays on CPUs.

`signal`, `ndimage`, `convolve` and `correlate`, and `nn` have the signatures of scipy.signal, scipy.ndimage, numpy and
torch.nn.functional, some of `nn` those of ONNX's operators; `conv`, `conv_transpose`, `conv_grad` and `plan` are what
is behind them, with every option; `tune` fits the choice of algorithms to the CPU. `patch` puts the functions in the
place of SciPy's and NumPy's.

One way through, each layer knowing only what is below it::

     _run                        python -m fastconv run
       |
     _patch                      the faces in the place of SciPy's and NumPy's functions
       |
    signal/  _numpy  ndimage nn/ faces: a peer's signature and defaults become the core's keywords
       |       |        |      |
       +-------+        |      |
       |                |      |
     _pairs          _filters  |   two arrays convolved with each other; results with a dtype of their own, passes
       |              |    |   |   conv_transpose, conv_grad
       |   _planned   |    |   |   plan: weights packed once, any number and size of inputs; _measure times the ways to
       |      |       |    |   |     do the same, _tune fits the cost model to the user's CPU
       +---- core ----+----|---+-- _windows    conv; im2col and col2im, which plan nothing and go to their driver
              |            |    _quantised  convolutions of bytes, with planners and drivers of their own
              |            |
            _plan          |     ConvProblem + CPU level -> the cheapest algorithm, and why not the others
              |            |
            planners/ -----+     one an algorithm: tiles, workspace, cost, or the reason against it
              |
            _problem             arrays + options -> ConvProblem; everything that is refused is refused here
              |
            drivers/             OpenMP loops over output tiles: pack, compute, store
              |
            kernels/             micro-kernels in C on packed tiles, one source, compiled for each CPU level

`_reference` is the definition of every result in plain NumPy, `_costs` the table of the cost model.
"""

import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _threadpoolctl
from ._config import show_config
from ._errors import ConvError, ConvTypeError
from .drivers.threads import get_num_threads, num_threads, set_num_threads

if TYPE_CHECKING:
    from . import ndimage, nn, signal
    from ._gradients import conv_grad
    from ._numpy import convolve, correlate
    from ._patch import patch, patched, unpatch
    from ._planned import Plan, plan
    from ._transposed import conv_transpose
    from ._tune import Tuned, tune
    from ._windows import col2im, im2col
    from .core import conv

__all__ = [
    "ConvError",
    "ConvTypeError",
    "Plan",
    "Tuned",
    "col2im",
    "conv",
    "conv_grad",
    "conv_transpose",
    "convolve",
    "correlate",
    "get_num_threads",
    "im2col",
    "ndimage",
    "nn",
    "num_threads",
    "patch",
    "patched",
    "plan",
    "set_num_threads",
    "show_config",
    "signal",
    "tune",
    "unpatch",
]

_threadpoolctl.register()

# Where a name is, imported when it is first asked for: `import fastconv` takes a quarter of the time so.
_LATER = {
    "Plan": "_planned",
    "Tuned": "_tune",
    "col2im": "_windows",
    "conv": "core",
    "conv_grad": "_gradients",
    "conv_transpose": "_transposed",
    "convolve": "_numpy",
    "correlate": "_numpy",
    "im2col": "_windows",
    "ndimage": "ndimage",
    "nn": "nn",
    "patch": "_patch",
    "patched": "_patch",
    "plan": "_planned",
    "signal": "signal",
    "tune": "_tune",
    "unpatch": "_patch",
}


# A fork waits for imports that are under way: its child would wait for ever for one that another thread had begun.
_importing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _importing:
        module = import_module(f".{_LATER[name]}", __name__)
        value = module if name == _LATER[name] else getattr(module, name)
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
