"""The package compiled for another CPU by this machine's cross compiler, outside of the sources."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from .host import attempt, need

PROJECT = Path(__file__).parents[2]
# The short form's: a half of the compiler's time, with multiply-adds, which -O1 alone leaves apart. Nor does it unroll
# loops before it looks for variables without a value, and finds some where a loop would have no rounds.
QUICK_FLAGS = ("-O1", "-fexpensive-optimizations", "-Wno-maybe-uninitialized")


def cross_build(target, root, folder, *, quick, install):
    """Build the package for a target, unless these sources are built already, and return the folder it is in."""
    need(
        {
            f"{target.compiler}-gcc": f"gcc-{target.compiler}",
            f"/usr/{target.compiler}/include/stdio.h": f"libc6-dev-{target.debian}-cross",
        },
        install,
    )
    build = folder / ("build-quick" if quick else "build")
    key, wanted = build / "key", hash_of_sources()
    if not key.exists() or key.read_text("ascii") != wanted:
        # Files of another state of the sources may be newer than these.
        shutil.rmtree(build, ignore_errors=True)
        for name in ("config", "lib"):
            (build / name).mkdir(parents=True)
        compile_into(build, target, root, builder(folder.parent), QUICK_FLAGS if quick else ())
        key.write_text(wanted, "ascii")
    return build / "lib"


def hash_of_sources():
    """Return a hash of everything that a build depends on in the project."""
    found = hashlib.sha256()
    compiled = (".so", ".pyc", ".pyd")
    sources = [path for path in (PROJECT / "src/fastconv").rglob("*") if path.is_file() and path.suffix not in compiled]
    for path in [PROJECT / "setup.py", PROJECT / "pyproject.toml", *sorted(sources)]:
        found.update(f"{path.relative_to(PROJECT)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def builder(cache):
    """Return a Python of this machine with what pyproject.toml asks for to build."""
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    folder = cache / "builder"
    python, marker = folder / "bin/python", folder / "requires.txt"
    if marker.exists() and marker.read_text("utf-8").splitlines() == [platform.python_version(), *wanted]:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    attempt([sys.executable, "-m", "venv", str(folder)], "needs a Python that can make virtual environments")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    attempt(pip, "needs packages that could not be installed")
    marker.write_text("\n".join([platform.python_version(), *wanted]), "utf-8")
    return python


def compile_into(build, target, root, python, flags):
    """Run setup.py with the compiler, the headers and the file names of the target."""
    include = next((root / "usr/include").glob("python3.*"))
    numpy = (root / "usr/lib/python3/dist-packages/numpy/_core/include").resolve()
    # Python's own headers lead to further ones in usr/include, where a C library's are too, but not this compiler's.
    headers = [f"-I{include}", f"-I{numpy}", f"-idirafter{root / 'usr/include'}"]
    # From this module setuptools knows the names of the target's extensions.
    config = f"_sysconfigdata__{target.compiler}"
    shutil.copy(root / "usr/lib" / include.name / f"{config}.py", build / "config")
    cache = "ccache " if shutil.which("ccache") else ""
    environment = os.environ | {
        "_PYTHON_SYSCONFIGDATA_NAME": config,
        "_PYTHON_HOST_PLATFORM": f"linux-{target.emulator}",
        "PYTHONPATH": str(build / "config"),
        "CC": f"{cache}{target.compiler}-gcc",
        "LDSHARED": f"{target.compiler}-gcc -shared",
        "CFLAGS": " ".join(["-DNDEBUG", *flags, *headers]),
    }
    # With the package's metadata, which it asks for its version.
    command = [str(python), "setup.py", "--quiet", "egg_info", f"--egg-base={build / 'lib'}"]
    command += ["build", f"--build-lib={build / 'lib'}", f"--build-temp={build / 'temp'}"]
    print("+", *command, flush=True)
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)
