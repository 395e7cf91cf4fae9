"""What this build of fastconv is and what it found on this machine."""

from __future__ import annotations

import platform
import sys

import numpy as np

from . import _wisdom
from .drivers import levels, threads


def show_config() -> None:
    """Print the CPU level, threads, OpenMP, compiler and versions.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.show_config()  # doctest: +ELLIPSIS
    fastconv ...
    """
    # Takes 20 ms to import, which `import fastconv` should not.
    from importlib.metadata import version

    tuned = bool(_wisdom.known(levels.current()).constants)
    openmp = threads.openmp_version()
    available, built = ", ".join(levels.available()), ", ".join(levels.compiled())
    rows = {
        "fastconv": version("fastconv"),
        "level": f"{levels.current()} (available: {available}; built: {built})",
        "threads": f"{threads.get_num_threads()}",
        "OpenMP": f"{openmp}" if openmp else "none, one thread",
        "tuning": f"{'of this CPU' if tuned else 'as shipped'} ({_wisdom.path() or 'no file'})",
        "compiler": levels.compiler(),
        "NumPy": np.__version__,
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in rows.items():
        print(f"{name:9} {value}")
