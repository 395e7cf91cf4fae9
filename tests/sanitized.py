"""Run the tests on a fastconv that is built with the address and the undefined behaviour sanitizer.

``python -m tests.sanitized`` copies the sources to a folder of its own, builds them there, and runs the suite;
``python -m tests.sanitized -- tests/test_fuzz.py -m promise`` runs some of it, with pytest's options. A second run with
the same ``--folder`` builds only what has changed. A report ends the process, and with it the run.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
COPIED = ("src", "tests", "bench", "examples", "setup.py", "pyproject.toml", "README.md", "LICENSE", "CONTRIBUTING.md")
COPIED += ("CHANGELOG.md", "MANIFEST.in", "PROMISES.md", "SECURITY.md", ".ci")
# GCC makes multiply-adds of products and sums with the third, which -O1 leaves out: levels would differ without.
FLAGS = "-g -O1 -fexpensive-optimizations -fno-omit-frame-pointer -fsanitize=address,undefined"
FLAGS += " -fno-sanitize-recover=undefined"
# What cannot be run: a limit of address space, of which the sanitizer takes terabytes; other programs' memory.
LEFT_OUT = ("-m", "not long and not unsanitized")


def main():
    """Build and test as the command line says; exit with pytest's code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sanitized", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=PROJECT / "build/sanitized", help="where to build")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("rest", nargs="*", metavar="-- pytest's arguments")
    options = parser.parse_args()
    folder = options.folder.resolve()
    copy(folder)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", str(os.cpu_count())],
        cwd=folder,
        env=os.environ | {"CFLAGS": FLAGS},
        check=True,
    )
    if not options.build_only:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *LEFT_OUT, *options.rest]
        sys.exit(subprocess.run(command, cwd=folder, env=environment(folder), check=False).returncode)


def copy(folder):
    """Copy the sources, but for what is compiled, and leave what is the same as it was."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "build", "results")
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored, copy_function=copy_changed, dirs_exist_ok=True)
        elif source.exists():
            folder.mkdir(parents=True, exist_ok=True)
            copy_changed(source, folder / name)


def copy_changed(source, target):
    """Copy a file unless there is an equal one: what is older than its object is not compiled again."""
    if not Path(target).exists() or Path(target).read_bytes() != Path(source).read_bytes():
        shutil.copyfile(source, target)


def environment(folder):
    """Return the environment of a Python that loads sanitized extensions."""
    # The sanitizer wraps what it finds when it is loaded: without C++'s library, the first exception in another's
    # extension would end the process.
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    return os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        # Faults at guard pages are the tests' own; allocations that are too large are asked for on purpose.
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0:allocator_may_return_null=1:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(folder / "src"),
        "CFLAGS": "-fsanitize=address",
        "FASTCONV_SANITIZED": "1",
    }


if __name__ == "__main__":
    main()
