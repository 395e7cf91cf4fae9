"""Calls made up at random for every drop-in function: the same ones for the same number.

Sizes go from 1 to a million samples, evenly on a logarithmic scale, and dtypes over all that NumPy has; half of the
arrays are float32 or float64, most are contiguous. How much a call may have to do is limited by what the peer takes
for it, so that hundreds of calls are measured in minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bench.timing import Call

SEED = 3
LARGEST = 1_000_000

# Products of sample and tap that SciPy and NumPy do in some tens of milliseconds: of numbers one by one in C, in the
# loops over any rank of signal.convolve, and of Python objects.
_PLAIN, _ANY_RANK, _OBJECTS = 10_000_000, 2_000_000, 100_000
_NO_LIMIT = LARGEST**2

# So few samples may meet a kernel that is longer than they are along some axis.
_SMALL = 1000

_FREQUENT = "fd"
_OTHERS = "?bBhHiIlLegFDGO"
_TRANSFORMED = "fdFD"
_BOUNDARIES = ("reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap")
_MODES = ("full", "same", "valid")

Options = dict[str, Any]
# The operands and options of a call.
Drawn = tuple[tuple[Any, ...], Options]


@dataclass(frozen=True)
class RandomCall:
    """A call of `function`, which is found by its name in fastconv and in the library whose `face` it is."""

    face: str
    function: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def arrays(self) -> list[NDArray]:
        """Those of the arguments that are arrays."""
        return [value for value in self.arguments if isinstance(value, np.ndarray)]

    def ours(self) -> Call:
        """The call of fastconv."""
        import fastconv.ndimage
        import fastconv.signal

        modules = {"signal": fastconv.signal, "ndimage": fastconv.ndimage, "numpy": fastconv}
        return self._of(modules[self.face])

    def theirs(self) -> Call:
        """The call of the function that fastconv's replaces."""
        import scipy.ndimage
        import scipy.signal

        modules = {"signal": scipy.signal, "ndimage": scipy.ndimage, "numpy": np}
        return self._of(modules[self.face])

    def __str__(self) -> str:
        """The call as one would write it, with what its arrays are like in the place of the arrays."""
        shown = [_described(value) for value in self.arguments]
        shown += [f"{name}={_described(value)}" for name, value in self.options.items()]
        return f"{self.face}.{self.function}({', '.join(shown)})"

    def _of(self, module: ModuleType) -> Call:
        return partial(getattr(module, self.function), *self.arguments, **self.options)


def calls(number: int) -> Iterator[RandomCall]:
    """Calls of one function, without end, for the peer may refuse one; the functions take turns with `number`.

    >>> first = next(calls(3))
    >>> str(first) == str(next(calls(3)))
    True
    """
    rng = np.random.default_rng((SEED, number))
    face, function, draw = FUNCTIONS[number % len(FUNCTIONS)]
    while True:
        arguments, options = draw(rng)
        yield RandomCall(face, function, arguments, options)


def _numpy_pair(rng: Generator) -> Drawn:
    dtype = _dtype(rng)
    return _pair(rng, 1, dtype, _PLAIN), {"mode": _one(rng, _MODES)}


def _signal_pair(rng: Generator) -> Drawn:
    dtype, rank, method = _dtype(rng), _rank(rng), _one(rng, ("auto", "auto", "direct", "fft"))
    direct = _PLAIN if rank == 1 else _ANY_RANK
    transforms = method == "fft" or (method == "auto" and dtype in _TRANSFORMED)
    pair = _pair(rng, rank, dtype, _NO_LIMIT if transforms else direct)
    return pair, {"mode": _one(rng, _MODES), "method": method}


def _signal_plane(rng: Generator) -> Drawn:
    options = {"mode": _one(rng, _MODES), "boundary": _one(rng, ("fill", "fill", "wrap", "symm"))}
    return _pair(rng, 2, _dtype(rng), _PLAIN), options


def _signal_transform(rng: Generator) -> Drawn:
    rank = _rank(rng)
    x, w = _pair(rng, rank, _dtype(rng), _NO_LIMIT)
    options: Options = {"mode": _one(rng, _MODES)}
    if rank > 1 and rng.random() < 0.3:
        # One kernel for a whole batch along the first axis.
        return (x, np.ascontiguousarray(w[:1])), {**options, "axes": tuple(range(1, rank))}
    return (x, w), options


def _signal_method(rng: Generator) -> Drawn:
    return _pair(rng, _rank(rng), _dtype(rng), _NO_LIMIT), {"mode": _one(rng, _MODES)}


def _signal_lags(rng: Generator) -> Drawn:
    return (_log_uniform(rng, 1, LARGEST), _log_uniform(rng, 1, LARGEST)), {"mode": _one(rng, _MODES)}


def _ndimage_kernel(rng: Generator) -> Drawn:
    dtype, rank = _dtype(rng), _rank(rng)
    x, w = _pair(rng, rank, dtype, _PLAIN)
    if rng.random() < 0.5:
        w = _values(rng, w.shape, "d")
    options = _extended(rng)
    if rng.random() < 0.2:
        options["origin"] = tuple(int(rng.integers(-(k // 2), (k - 1) // 2, endpoint=True)) for k in w.shape)
    return (x, w), options


def _ndimage_kernel1d(rng: Generator) -> Drawn:
    x = _input(rng)
    taps = _log_uniform(rng, 1, _limited(100, _PLAIN // x.size))
    return (x, _values(rng, (taps,), "d")), {"axis": _axis(rng, x), **_extended(rng)}


def _ndimage_gaussian(rng: Generator) -> Drawn:
    x = _input(rng)
    options = _extended(rng)
    if rng.random() < 0.3:
        options["order"] = int(rng.integers(1, 3))
    return (x, _sigma(rng, x)), {**options, **_some_axes(rng, x), **_output(rng)}


def _ndimage_gaussian1d(rng: Generator) -> Drawn:
    x = _input(rng)
    order = int(_one(rng, (0, 0, 1, 2)))
    return (x, _sigma(rng, x)), {"axis": _axis(rng, x), "order": order, **_extended(rng)}


def _ndimage_uniform(rng: Generator) -> Drawn:
    x = _input(rng)
    return (x, _log_uniform(rng, 1, 40)), {**_extended(rng), **_some_axes(rng, x), **_output(rng)}


def _ndimage_uniform1d(rng: Generator) -> Drawn:
    x = _input(rng)
    return (x, _log_uniform(rng, 1, 40)), {"axis": _axis(rng, x), **_extended(rng)}


def _ndimage_edge(rng: Generator) -> Drawn:
    x = _input(rng)
    return (x,), {"axis": _axis(rng, x), **_extended(rng), **_output(rng)}


def _ndimage_plain(rng: Generator) -> Drawn:
    return (_input(rng),), {**_extended(rng), **_output(rng)}


def _ndimage_sigma(rng: Generator) -> Drawn:
    x = _input(rng)
    return (x, _sigma(rng, x)), _extended(rng)


FUNCTIONS: tuple[tuple[str, str, Callable[[Generator], Drawn]], ...] = (
    ("numpy", "convolve", _numpy_pair),
    ("numpy", "correlate", _numpy_pair),
    ("signal", "convolve", _signal_pair),
    ("signal", "correlate", _signal_pair),
    ("signal", "convolve2d", _signal_plane),
    ("signal", "correlate2d", _signal_plane),
    ("signal", "fftconvolve", _signal_transform),
    ("signal", "oaconvolve", _signal_transform),
    ("signal", "choose_conv_method", _signal_method),
    ("signal", "correlation_lags", _signal_lags),
    ("ndimage", "convolve", _ndimage_kernel),
    ("ndimage", "correlate", _ndimage_kernel),
    ("ndimage", "convolve1d", _ndimage_kernel1d),
    ("ndimage", "correlate1d", _ndimage_kernel1d),
    ("ndimage", "gaussian_filter", _ndimage_gaussian),
    ("ndimage", "gaussian_filter1d", _ndimage_gaussian1d),
    ("ndimage", "uniform_filter", _ndimage_uniform),
    ("ndimage", "uniform_filter1d", _ndimage_uniform1d),
    ("ndimage", "sobel", _ndimage_edge),
    ("ndimage", "prewitt", _ndimage_edge),
    ("ndimage", "laplace", _ndimage_plain),
    ("ndimage", "gaussian_laplace", _ndimage_sigma),
    ("ndimage", "gaussian_gradient_magnitude", _ndimage_sigma),
)


def _pair(rng: Generator, rank: int, dtype: str, products: int) -> tuple[NDArray, NDArray]:
    """Samples and taps of a rank, whose convolution takes no more than so many products."""
    largest = LARGEST
    if dtype == "O":
        products = min(products, _OBJECTS)
        largest = _OBJECTS
    size = _log_uniform(rng, 1, largest)
    taps = _log_uniform(rng, 1, _limited(size, products // size))
    x_shape, w_shape = _shape(rng, rank, size), _shape(rng, rank, taps)
    if size > _SMALL:
        # Across each other, two long and narrow arrays give an output many times the size of both.
        w_shape = tuple(min(k, n) for k, n in zip(w_shape, x_shape, strict=True))
    other = "d" if dtype != "O" and rng.random() < 0.1 else dtype
    return _array(rng, x_shape, dtype), _array(rng, w_shape, other)


def _input(rng: Generator) -> NDArray:
    """What a filter of ndimage is called on."""
    return _array(rng, _shape(rng, _rank(rng), _log_uniform(rng, 1, LARGEST)), _dtype(rng))


def _rank(rng: Generator) -> int:
    return int(_one(rng, (1, 1, 2, 2, 2, 3)))


def _dtype(rng: Generator) -> str:
    return str(_one(rng, _FREQUENT if rng.random() < 0.5 else _OTHERS))


def _axis(rng: Generator, x: NDArray) -> int:
    return int(rng.integers(-x.ndim, x.ndim))


def _some_axes(rng: Generator, x: NDArray) -> Options:
    return {"axes": (_axis(rng, x),)} if rng.random() < 0.2 else {}


def _extended(rng: Generator) -> Options:
    """How ndimage goes on beyond the edges: by its default, or by a name."""
    return {"mode": str(_one(rng, _BOUNDARIES))} if rng.random() < 0.7 else {}


def _output(rng: Generator) -> Options:
    return {"output": np.float64} if rng.random() < 0.1 else {}


def _sigma(rng: Generator, x: NDArray) -> float:
    # Eight taps for each unit of sigma, and up to rank² passes.
    largest = min(12.0, max(0.5, _PLAIN / (8 * x.size * x.ndim**2)))
    return round(float(np.exp(rng.uniform(math.log(0.3), math.log(largest)))), 2)


def _shape(rng: Generator, rank: int, size: int) -> tuple[int, ...]:
    """A shape of about so many samples, longer in some directions than in others."""
    shares = rng.dirichlet(np.full(rank, 6.0))
    return tuple(max(1, round(size**share)) for share in shares)


def _log_uniform(rng: Generator, low: int, high: int) -> int:
    return round(float(np.exp(rng.uniform(math.log(low), math.log(high)))))


def _limited(value: int, limit: int) -> int:
    return max(1, min(value, limit))


def _one(rng: Generator, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _array(rng: Generator, shape: tuple[int, ...], dtype: str) -> NDArray:
    """Samples, one time in eight with strides of their own."""
    if rng.random() < 0.875:
        return _values(rng, shape, dtype)
    kind = rng.integers(3)
    if kind == 0:
        return _values(rng, shape[::-1], dtype).T
    if kind == 1:
        return _values(rng, shape, dtype)[..., ::-1]
    return _values(rng, (*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]


def _values(rng: Generator, shape: tuple[int, ...], dtype: str) -> NDArray:
    """Integers so small that a transform of SciPy does not overflow, everything else normal."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind in "iuO":
        return rng.integers(0 if kind == "u" else -7, 8, shape).astype(dtype)
    samples = rng.standard_normal(shape)
    return (samples + 1j * rng.standard_normal(shape) if kind == "c" else samples).astype(dtype)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        strided = "" if value.flags.c_contiguous else " strided"
        return f"{value.dtype} {value.shape}{strided}"
    return value.__name__ if isinstance(value, type) else repr(value)
