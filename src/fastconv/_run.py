"""Run a script or module as Python itself does, with SciPy's and NumPy's convolutions replaced."""

from __future__ import annotations

import atexit
import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType, ModuleType
from typing import Any, NoReturn

from . import _patch
from ._report import Report


class CannotRun(Exception):
    """There is nothing to run; `status` is what Python exits with then."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Ending:
    """What is left to do when all else is over: the first to be registered with atexit is the last to be called."""

    def __init__(self, report: Report | None) -> None:
        self.report = report
        self.interrupted = False

    def __call__(self) -> None:
        if self.report is not None and sys.stderr is not None:
            # Standard error: the output of the program stays what it was.
            print(self.report.text(), file=sys.stderr, flush=True)
        if self.interrupted:
            # Whoever started Python learns from the status that it was interrupted.
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)


def run(target: str, arguments: Sequence[str], *, as_module: bool = False, report: bool = False) -> None:
    """Run a program in this process as ``__main__``, under `fastconv.patch`.

    ``sys.argv``, ``sys.path[0]`` and the module ``__main__`` are what the program would see without fastconv, and
    so are tracebacks and the exit status. The process is the program's from then on: nothing is put back.

    Parameters
    ----------
    target : str
        Path of a script, or of a directory or zip file with a ``__main__.py``; with `as_module` the name of a
        module or package.
    arguments : sequence of str
        What comes after the program's name in ``sys.argv``.
    as_module : bool, optional
        Whether `target` is what ``python -m`` takes.
    report : bool, optional
        Whether to print to stderr, when everything else is over, which calls were taken and which were not.

    Raises
    ------
    CannotRun
        If there is no such program.
    SystemExit
        If the program exits by itself, and with status 1 after its traceback was printed.
    """
    # A module of its own: the program finds no names but its own there, and pickle finds its classes.
    main = ModuleType("__main__")
    sys.argv = ["-m" if as_module else target, *arguments]
    code = _module(target, main) if as_module else _script(target, main)
    ending = _Ending(Report() if report else None)
    atexit.register(ending)
    if ending.report is not None:
        _patch.report_to(ending.report)
    _patch.patch()
    sys.modules["__main__"] = main
    try:
        exec(code(), main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        ending.interrupted = isinstance(error, KeyboardInterrupt)
        _show_and_exit(error)


def _show_and_exit(error: BaseException) -> NoReturn:
    """End as Python does after an exception that nobody caught, which raised on would show fastconv's frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    sys.exit(1)


def _script(path: str, main: ModuleType) -> Callable[[], CodeType]:
    """Prepare for ``python path``; return what makes the code."""
    absolute = os.path.abspath(path)
    if pkgutil.get_importer(absolute) is not None:
        return _folder(absolute, main)
    try:
        with io.open_code(absolute) as file:
            source = file.read()
    except OSError as error:
        raise CannotRun(f"can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}", 2) from error
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    _fill(
        main, __file__=absolute, __cached__=None, __loader__=importlib.machinery.SourceFileLoader("__main__", absolute)
    )
    return partial(compile, source, absolute, "exec", dont_inherit=True)


def _folder(path: str, main: ModuleType) -> Callable[[], CodeType]:
    """Prepare for a directory or an archive, where Python runs ``__main__.py``."""
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, path)
    spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
    if spec is None:
        raise CannotRun(f"can't find '__main__' module in {path!r}", 1)
    return _from_spec(spec, main)


def _module(name: str, main: ModuleType) -> Callable[[], CodeType]:
    """Prepare for ``python -m name``; return what makes the code."""
    spec = _find(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__")
        if spec is None:
            raise CannotRun(
                f"No module named {name}.__main__; {name!r} is a package and cannot be directly executed", 1
            )
    if spec is None:
        raise CannotRun(f"No module named {name}", 1)
    return _from_spec(spec, main)


def _find(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise CannotRun(f"Error while finding module specification for {name!r} ({what})", 1) from error


def _from_spec(spec: importlib.machinery.ModuleSpec, main: ModuleType) -> Callable[[], CodeType]:
    loader: Any = spec.loader
    if not hasattr(loader, "get_code") or not spec.has_location:
        raise CannotRun(f"No code object available for {spec.name}", 1)
    if spec.name != "__main__":
        sys.argv[0] = spec.origin or sys.argv[0]
    _fill(
        main,
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=loader,
        __package__=spec.parent,
        __spec__=spec,
    )
    return partial(loader.get_code, spec.name)


def _fill(main: ModuleType, **names: Any) -> None:
    main.__dict__.update(names, __builtins__=builtins)
