"""Run the tests of kernels and functions on other CPUs, which qemu-user stands in for.

``python -m tests.targets`` runs them on all, ``python -m tests.targets aarch64 --quick`` the short form on one, and
``python -m tests.targets s390x -- tests/test_half.py -k bfloat16`` some tests, with pytest's options behind ``--``.
A target of another instruction set gets a Python and NumPy of its own from Debian, and a cross compiler; packages that
are missing are installed, if this is Debian or Ubuntu and the user is root. All is kept in a folder for the next run.

The x86 targets run this Python, with the fastconv that it imports.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

from . import OMITTED, QUICK, TARGETS
from .build import PROJECT, builder, cross_build
from .host import Unavailable, need
from .root import fetch_wheels, make_root

TESTS = PROJECT / "tests"


def main():
    """Run the targets that the command line names; exit with the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.targets", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few minutes: levels, kept bits, half precision, bytes")
    parser.add_argument("--skip", action="store_true", help="skip a target whose packages are not to be had")
    parser.add_argument("--no-install", dest="install", action="store_false", help="install no packages")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR", help="what is kept, %(default)s")
    own, pytest_options = split(sys.argv[1:])
    options = parser.parse_args(own)
    names = options.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"target: got {', '.join(sorted(unknown))}, allowed: {', '.join(TARGETS)}")
    outcomes = {name: outcome(name, options, pytest_options) for name in names}
    print(*(f"{name}: {what}" for name, what in outcomes.items()), sep="\n")
    accepted = ("passed", "skipped") if options.skip else ("passed",)
    sys.exit(sum(not what.startswith(accepted) for what in outcomes.values()))


def default_cache():
    """Return the folder for what is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv-targets"


def split(arguments):
    """Return what stands before and behind ``--``."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def outcome(name, options, pytest_options):
    """Run a target; return what became of it, in words."""
    start = time.monotonic()
    print(f"--- {name}", flush=True)
    folder = options.cache.resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        python, path = prepare(name, folder, options.quick, options.install)
    except Unavailable as error:
        return f"skipped: {error}"
    except subprocess.CalledProcessError:
        return "FAILED to compile"
    built = time.monotonic()
    command = [*python, "-m", "pytest", "-p", "tests.targets.plugin", "-p", "no:cacheprovider", "-q"]
    chosen = pytest_options if any(test_named(option) for option in pytest_options) else files(options.quick)
    done = subprocess.run([*command, *chosen], cwd=PROJECT, env=environment(name, folder, python, path))
    spent = f"{built - start:.0f} s to prepare, {time.monotonic() - built:.0f} s to run"
    return f"{'passed' if done.returncode == 0 else 'FAILED'}, {spent}"


def prepare(name, folder, quick, install):
    """Return the command of Python on a target, and the folders of its packages."""
    target = TARGETS[name]
    emulator = f"qemu-{target.emulator}-static"
    if not target.debian and platform.machine() != target.emulator:
        raise Unavailable(f"runs this machine's own Python, and needs {target.emulator} for that")
    need({emulator: "qemu-user-static"}, install)
    command = [emulator, *(["-cpu", target.cpu] if target.cpu else [])]
    if not target.debian:
        return [*command, sys.executable], os.environ.get("PYTHONPATH", "")
    root = make_root(target, folder, install)
    built = cross_build(target, root, folder, quick=quick, install=install)
    wheels = fetch_wheels(target, root, folder, builder(folder.parent))
    return [*command, "-L", str(root), str(root / "usr/bin/python3")], f"{built}{os.pathsep}{wheels}"


def environment(name, folder, python, path):
    """Return the variables of a run; children of the tests are started by a script, on the same CPU."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(python)} "$@"\n', "utf-8")
    script.chmod(0o755)
    return os.environ | {
        **TARGETS[name].environment,
        "FASTCONV_TARGET": name,
        "FASTCONV_TARGET_PYTHON": str(script),
        "FASTCONV_TEST_PATIENCE": "20",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        "PYTHONPATH": path,
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
    }


def test_named(option):
    """Whether an option of pytest is a test or a file or folder of tests."""
    return Path(option.partition("::")[0]).exists() and not option.startswith("-")


def files(quick):
    """Return the files of tests to run."""
    names = QUICK if quick else sorted({path.name for path in TESTS.glob("test_*.py")} - OMITTED.keys())
    return [str(TESTS / name) for name in names]


if __name__ == "__main__":
    main()
