"""fastconv's functions in the place of SciPy's and NumPy's, in every module that holds them, and back.

A module holds a peer's function under the function's own name (``from scipy.signal import convolve``) or under
one that an import statement gave it (``import ... as``). Those places get a `Replacement`, and so does, by
itself, whatever is imported from them afterwards. A variable that a function was assigned to keeps what it has:
who saves the original wants the original.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter_ns
from types import MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from . import _numpy, ndimage, signal
from ._errors import ConvError, ConvTypeError
from ._report import NO_REPORT, Report
from .drivers.gate import Gate, open_short_way

# Types by dtype.char. longdouble is computed, but without vectors: there is nothing to gain.
_PLAIN = frozenset("bBhHiIlLqQfdFD")
_WITH_BOOL = _PLAIN | {"?"}
_NUMBERS = _WITH_BOOL | {"e"}
_ANY_RANK = 64


class _Peer(NamedTuple):
    """What of a peer's function is taken over."""

    # One set of types for each of the leading parameters that are arrays.
    arrays: tuple[frozenset[str], ...] = (_NUMBERS, _NUMBERS)
    # How many axes arrays may have that come out as bool or float16: the peer refuses more.
    small_axes: int = _ANY_RANK
    # Whether the peer returns a subclass of ndarray for one.
    keeps_type: bool = False


_IMAGE = _Peer((_WITH_BOOL,))
_IMAGE_AND_WEIGHTS = _Peer((_WITH_BOOL, _NUMBERS))

_PEERS: dict[str, tuple[ModuleType, dict[str, _Peer]]] = {
    "scipy.signal": (
        signal,
        {
            "convolve": _Peer(small_axes=1),
            "correlate": _Peer(small_axes=1),
            "convolve2d": _Peer(small_axes=0),
            "correlate2d": _Peer(small_axes=0),
            "fftconvolve": _Peer(),
            "oaconvolve": _Peer(),
            "choose_conv_method": _Peer(),
            "correlation_lags": _Peer(()),
        },
    ),
    "scipy.ndimage": (
        ndimage,
        {
            "convolve": _IMAGE_AND_WEIGHTS,
            "correlate": _IMAGE_AND_WEIGHTS,
            "convolve1d": _IMAGE_AND_WEIGHTS,
            "correlate1d": _IMAGE_AND_WEIGHTS,
            "gaussian_filter": _IMAGE,
            "gaussian_filter1d": _IMAGE,
            "uniform_filter": _IMAGE,
            "uniform_filter1d": _IMAGE,
            "sobel": _IMAGE,
            "prewitt": _IMAGE,
            "laplace": _IMAGE,
            "gaussian_laplace": _IMAGE,
            "gaussian_gradient_magnitude": _IMAGE,
        },
    ),
    "numpy": (_numpy, {"convolve": _Peer(), "correlate": _Peer(keeps_type=True)}),
}

# What gaussian_laplace and gaussian_gradient_magnitude hand on to gaussian_filter.
_HANDED_ON = frozenset(("truncate", "radius"))

_Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


class _State:
    """What has been asked for, and what is done about it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept = False
        self.depth = 0
        self.on = False
        self.report: Report = NO_REPORT
        # By the id of the original; kept for good, so that its replacement always is the same object.
        self.replacements: dict[int, Replacement] = {}
        # Modules may leave sys.modules while somebody still uses them.
        self.changed: list[weakref.ref[ModuleType]] = []


_state = _State()


def patch() -> None:
    """Put fastconv's functions in the place of SciPy's and NumPy's.

    Replaced are, until `unpatch` is called, `numpy.convolve` and `correlate`; of scipy.signal `convolve`,
    `correlate`, `convolve2d`, `correlate2d`, `fftconvolve`, `oaconvolve`, `choose_conv_method` and
    `correlation_lags`; and of scipy.ndimage `convolve`, `correlate`, `convolve1d`, `correlate1d`,
    `gaussian_filter`, `gaussian_filter1d`, `uniform_filter`, `uniform_filter1d`, `sobel`, `prewitt`, `laplace`,
    `gaussian_laplace` and `gaussian_gradient_magnitude`. That holds for modules that have imported them, under
    their own name or another, and for those that will. SciPy is imported if it is installed.

    Notes
    -----
    A replacement looks like the original: name, docstring, signature, pickle, place in a dict. It takes a call
    if the arrays are NumPy's (or lists, or numbers) and of a type that fastconv has kernels for. Everything
    else is handed on to the original as it came: other libraries' arrays, masked arrays and matrices, types
    that override ``__array_function__``, dtypes object and longdouble, types that the peer refuses, fastconv's
    own keywords such as `threads`. What fastconv refuses is handed on too, so that the exception, or the
    result, is the peer's.

    The change is one of the whole process and all of its threads. Calling `patch` again changes nothing.
    Originals that were assigned to a variable, or stored in a class or a container, stay in use there.

    See Also
    --------
    unpatch : Takes it back.
    patched : For the length of a ``with`` block.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> fastconv.patch()
    >>> np.convolve
    <fastconv in the place of numpy.convolve>
    >>> np.convolve([1, 2, 3], [1, 1])
    array([1, 3, 5, 3])
    >>> fastconv.unpatch()
    """
    _find_originals()
    with _state.lock:
        _state.kept = True
        _settle()


def unpatch() -> None:
    """Put SciPy's and NumPy's functions back where `patch` replaced them.

    Modules that were imported meanwhile get the originals too. A replacement that is still held somewhere
    calls its original. Does nothing without `patch`, and does not end a `patched` block.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> before = np.convolve
    >>> fastconv.patch()
    >>> fastconv.unpatch()
    >>> np.convolve is before
    True
    """
    with _state.lock:
        _state.kept = False
        _settle()


@contextmanager
def patched() -> Iterator[None]:
    """Run a ``with`` block, or as a decorator a function, with SciPy's and NumPy's convolutions replaced.

    Blocks may be nested and may overlap in several threads: the originals return when the last one ends, unless
    `patch` was called. See there for what is replaced.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> with fastconv.patched():
    ...     np.correlate([1, 2, 3], [0, 1, 0.5])
    array([3.5])
    """
    _find_originals()
    with _state.lock:
        _state.depth += 1
        _settle()
    try:
        yield
    finally:
        with _state.lock:
            _state.depth -= 1
            _settle()


def report_to(report: Report) -> None:
    """Have every call of a replacement counted in a report."""
    with _state.lock:
        _state.report = report
        open_short_way(_state.on and report is NO_REPORT)


class Replacement(Gate):
    """Stands where a peer's function stood; an object of its own, so that it can be equal to the function.

    SciPy's tests, numba and __array_function__ implementations look functions up in dicts that were filled
    before or while the function was replaced, and have to find it either way.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, original: Callable[..., Any], face: Callable[..., Any], peer: _Peer, home: str) -> None:
        parameters = inspect.signature(original).parameters
        names = [name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD]
        self._peer = peer
        self._title = f"{home}.{original.__name__}"
        self._arrays = tuple(zip(names, peer.arrays, strict=False))
        self._names = frozenset(names) | (_HANDED_ON if len(names) < len(parameters) else frozenset())
        self._output = names.index("output") if "output" in names else len(names)
        # Options that say nothing about types.
        harmless = self._names - {name for name, _ in self._arrays} - {"output"}
        super().__init__(face, original, len(peer.arrays), self._output, harmless)
        functools.update_wrapper(self, original)

    def look(self, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Serve a call with a closer look at its arguments, if functions are replaced now."""
        if not _state.on:
            return self.original(*arguments, **options)
        report = _state.report
        start = perf_counter_ns()
        ready, why = self._made_ready(arguments, options)
        unforeseen = False
        if ready is not None:
            try:
                result = self.face(*ready[0], **ready[1])
            except (ConvError, ConvTypeError) as error:
                why = str(error)
            except Exception as error:
                why, unforeseen = f"{type(error).__name__}: {error}", True
            else:
                report.taken(self._title, perf_counter_ns() - start)
                return result
        try:
            result = self.original(*arguments, **options)
        finally:
            report.left(self._title, why, perf_counter_ns() - start)
        if unforeseen:
            report.failed(self._title, why)
        return result

    def _made_ready(self, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[_Arguments | None, str]:
        """Return the arguments with arrays for lists and subclasses, or None and why the call is not taken."""
        if unknown := options.keys() - self._names:
            return None, f"{min(unknown)}: not a parameter of {self._title}"
        positional, named = list(arguments), dict(options)
        arrays = []
        for position, (name, types) in enumerate(self._arrays):
            where: Any = positional if position < len(positional) else named
            key = position if where is positional else name
            if where is named and name not in named:
                return None, f"{name}: missing"
            value = where[key]
            array = _as_array(value, self._peer.keeps_type)
            if array is None:
                return None, f"{name}: got {_type_name(value)}"
            if array.dtype.char not in types:
                return None, f"{name}: got dtype {array.dtype}"
            arrays.append(array)
            if not isinstance(value, (int, float, complex, np.generic)):
                where[key] = array
        why = self._refused_by_peer(arrays) or self._objection_to_output(arguments, options)
        return (None, why) if why else ((tuple(positional), named), "")

    def _refused_by_peer(self, arrays: list[ndarray]) -> str:
        if self._peer.small_axes < max((array.ndim for array in arrays), default=0):
            dtype = np.result_type(*arrays)
            if dtype.char not in _PLAIN:
                return f"dtype {dtype}: not a type that {self._title} takes"
        return ""

    def _objection_to_output(self, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> str:
        output = arguments[self._output] if self._output < len(arguments) else options.get("output")
        if output is None or "output" not in self._names:
            return ""
        if isinstance(output, ndarray):
            dtype = output.dtype
            if type(output) is not ndarray:
                return f"output: got {_type_name(output)}"
        else:
            try:
                dtype = np.dtype(output)
            except (TypeError, ValueError):
                return f"output: got {_type_name(output)}"
        return "" if dtype.char in _WITH_BOOL else f"output: got dtype {dtype}"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        # As a function in the body of a class: a method.
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        # What is not here, __code__ or NumPy's _implementation for example, is asked of the original.
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.__wrapped__

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __reduce__(self) -> tuple[Any, ...]:
        # By name and not as an object of fastconv's: the process that loads it may have no fastconv.
        return pkgutil.resolve_name, (f"{self.__module__}:{self.__qualname__}",)

    def __repr__(self) -> str:
        return f"<fastconv in the place of {self._title}>"


def _as_array(value: Any, only_exact: bool) -> ndarray | None:
    """Return what NumPy makes of an operand, or None for one that is not NumPy's business or ours."""
    if type(value) is ndarray:
        return value
    if isinstance(value, ndarray):
        # SciPy drops the type of a subclass, but some mean more by it than that.
        overrides = type(value).__array_function__ is not ndarray.__array_function__
        if only_exact or overrides or isinstance(value, (np.matrix, np.ma.MaskedArray)):
            return None
        return np.asarray(value)
    # Of objects that NumPy can read only its own: numpy.polymul convolves poly1d.
    if not isinstance(value, (list, tuple, int, float, complex, np.generic, np.poly1d)):
        return None
    try:
        return np.asarray(value)
    except Exception:  # an entry may raise what it likes, and the original is going to hear it
        return None


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _find_originals() -> None:
    """Make the replacements, once for each function that can be imported."""
    # Not under the lock: an import runs the code of others, which may come here.
    for home, (face, peers) in _PEERS.items():
        try:
            module = importlib.import_module(home)
        except ImportError:
            continue
        for name, peer in peers.items():
            public = getattr(module, name, None)
            # Beneath the public function, scipy has a bare one if it was told to dispatch on array libraries.
            beneath = getattr(public, "__wrapped__", None) if home != "numpy" else None
            for original in (public, beneath):
                if callable(original) and not isinstance(original, Replacement):
                    _add(original, getattr(face, name), peer, home)


def _add(original: Any, face: Callable[..., Any], peer: _Peer, home: str) -> None:
    if id(original) not in _state.replacements:
        _state.replacements.setdefault(id(original), Replacement(original, face, peer, home))


def _settle() -> None:
    """Bring the modules into the state that is asked for. Under the lock."""
    wanted = _state.kept or _state.depth > 0
    if wanted == _state.on:
        return
    replacements = _state.replacements.values()
    if wanted:
        _state.changed = _exchange({id(each.__wrapped__): each for each in replacements}, [])
    else:
        _exchange({id(each): each.__wrapped__ for each in replacements}, _state.changed)
        _state.changed = []
    _state.on = wanted
    open_short_way(wanted and _state.report is NO_REPORT)


def _exchange(table: dict[int, Any], also: list[weakref.ref[ModuleType]]) -> list[weakref.ref[ModuleType]]:
    """Replace objects, given by their ids, in all modules; return the modules that had one."""
    candidates = [*sys.modules.copy().values(), *(reference() for reference in also)]
    modules = {id(each): each for each in candidates if isinstance(each, ModuleType)}
    changed = []
    for module in modules.values():
        # Its dict and not its attributes: modules that load lazily run code when asked for one.
        namespace = module.__dict__
        if str(namespace.get("__name__", "")).partition(".")[0] == "fastconv":
            continue
        found = [(name, value) for name, value in namespace.copy().items() if id(value) in table]
        for name, value in found:
            if name == value.__name__ or _imports_as(module, name):
                namespace[name] = table[id(value)]
        if found:
            changed.append(weakref.ref(module))
    return changed


def _imports_as(module: ModuleType, name: str) -> bool:
    """Whether the source of a module has an import statement that gives something this name."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return any(alias.asname == name for statement in statements for alias in statement.names)
