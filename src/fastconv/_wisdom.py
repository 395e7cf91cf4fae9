"""What was measured on this machine: constants of the cost model, and which plans won, in memory and in a file.

The file is a cache and nothing depends on it: one that is missing is no matter, and one that cannot be read, is broken,
or was written by another version is ignored with one warning. It is read when the first call is planned, never at
import, and written by `fastconv.tune` only, in one piece::

    {"fastconv": version, "cpus": {name: {level: {"constants": {name: number}, "plans": {key: variant}}}}}
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
import warnings
from typing import Any, Final, NamedTuple, NoReturn

VARIABLE: Final = "FASTCONV_WISDOM"

# A file that is longer was not written by `save`.
_MOST_BYTES: Final = 4 << 20
_MOST_PLANS: Final = 4096


class Known(NamedTuple):
    """What is known of a level: constants by name, and by a problem's key the variant that won."""

    constants: dict[str, float]
    plans: dict[str, str]


_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread may hold it while this one forks.
    os.register_at_fork(after_in_child=_new_lock)

# By level; None until the file is read.
_known: dict[str, Known] | None = None


class _BrokenError(Exception):
    """Why a file is ignored."""


def path() -> str | None:
    """Return where the file is, or None if there is to be none.

    That is `FASTCONV_WISDOM`, which may be empty for none, or by default ``fastconv/wisdom.json`` in the user's folder
    for caches, ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return named or None
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):
        # By the standard, a path that is not absolute counts as none.
        folder = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(folder, "fastconv", "wisdom.json") if os.path.isabs(folder) else None


def known(level: str) -> Known:
    """Return what is known of a level, from the file too."""
    global _known
    with _lock:
        if _known is None:
            # Also where the warning is made an error: the file has had its chance.
            _known = {}
            _known = load()
        return _known.setdefault(level, Known({}, {}))


def forget() -> None:
    """Forget all that is known, and read the file again when something is asked."""
    global _known
    with _lock:
        _known = None


def remember_plan(level: str, key: str, variant: str) -> None:
    """Remember which variant won, in memory."""
    with _lock:
        plans = known(level).plans
        plans[key] = variant
        while len(plans) > _MOST_PLANS:
            del plans[next(iter(plans))]


def remember_constants(level: str, constants: dict[str, float]) -> None:
    """Replace the constants of a level, in memory."""
    with _lock:
        plans = known(level).plans
        assert _known is not None
        _known[level] = Known(dict(constants), plans)


def load() -> dict[str, Known]:
    """Return what the file says of this CPU, by level; nothing, with a warning, if it is not as it should be."""
    where = path()
    if where is None:
        return {}
    try:
        content = read(where)
        return {} if content is None else this_cpu(content)
    except _BrokenError as error:
        warnings.warn(f"fastconv ignores {where}: {error}; fastconv.tune() writes a new one", RuntimeWarning, 2)
        return {}


def read(where: str) -> dict[str, Any] | None:
    """Return the content of a file of this version, or None where there is none."""
    try:
        # A pipe in its place must not keep us waiting.
        descriptor = os.open(where, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _BrokenError(str(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        os.close(descriptor)
        raise _BrokenError("not a file of wisdom")
    with open(descriptor, "rb") as file:
        import json  # half a millisecond of `import fastconv`, as are the others that are imported within functions

        try:
            content = json.loads(file.read(_MOST_BYTES + 1), parse_constant=_no_number)
        except (OSError, ValueError, RecursionError) as error:
            raise _BrokenError(f"not a file of wisdom ({type(error).__name__})") from error
    if not isinstance(content, dict) or not isinstance(content.get("cpus"), dict):
        raise _BrokenError("not a file of wisdom")
    if content.get("fastconv") != version():
        raise _BrokenError(f"it is not of version {version()}")
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def this_cpu(content: dict[str, Any]) -> dict[str, Known]:
    """Return what is said of this CPU, if all of it is as it should be."""
    found = content["cpus"].get(cpu_name(), {})
    result = {}
    if not isinstance(found, dict):
        raise _BrokenError("no levels")
    for level, entry in found.items():
        constants, plans = (entry.get(name) if isinstance(entry, dict) else None for name in ("constants", "plans"))
        if not isinstance(constants, dict) or not isinstance(plans, dict) or len(plans) > _MOST_PLANS:
            raise _BrokenError(f"not what is known of a level: {level[:40]!r}")
        if not all(is_number(value) for value in constants.values()):
            raise _BrokenError("constants that are no positive numbers")
        if not all(isinstance(variant, str) for variant in plans.values()):
            raise _BrokenError("plans that are no names")
        result[level] = Known(constants, plans)
    return result


def is_number(value: object) -> bool:
    """Return whether a value is a positive, finite number."""
    return isinstance(value, float) and math.isfinite(value) and value > 0


def save() -> str | None:
    """Write all that is known of this CPU to the file, beside what it says of others; return where that is.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    where = path()
    if where is None:
        return None
    try:
        content = read(where)
    except _BrokenError:
        content = None
    content = content or {"fastconv": version(), "cpus": {}}
    with _lock:
        known("")
        assert _known is not None
        mine = {
            level: {"constants": entry.constants, "plans": entry.plans} for level, entry in _known.items() if any(entry)
        }
    content["cpus"][cpu_name()] = mine
    import json

    os.makedirs(os.path.dirname(where) or ".", exist_ok=True)
    write_whole(where, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return where


def write_whole(where: str, text: str) -> None:
    """Put a file in the place of another, so that nobody ever reads a part of it."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(where) or ".", prefix=os.path.basename(where))
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, where)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def version() -> str:
    """Return the version of fastconv."""
    # Takes 20 ms to import, which only those with a file have to wait for.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("fastconv")
    except PackageNotFoundError:
        return "unknown"


def cpu_name() -> str:
    """Return the name of the CPU's model."""
    wanted = ("model name", "CPU implementer", "CPU part", "machine")
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            pairs = [line.partition(":") for line in file.read(1 << 16).splitlines()]
    except OSError:
        pairs = []
    first = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    found = [first[key] for key in wanted if first.get(key)]
    import platform

    return " ".join(found) or platform.processor() or platform.machine() or "unknown"
