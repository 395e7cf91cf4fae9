"""Run the tests of SciPy, NumPy and scikit-image from the installed packages, on fastconv.

``python -m tests.peers`` runs SciPy's and NumPy's, ``python -m tests.peers scipy.ndimage -- -k gaussian`` some of
one with pytest's own options. scikit-image's wheel has no tests: unpack its sources and name their folder,
``python -m tests.peers skimage --skimage-tests scikit_image-0.26.0/tests``. ``--originals`` runs the same tests
without fastconv. SciPy's slow ones (``-- -m slow``) are half of the few minutes that it takes.

A test fails the run if it fails and is not in `cannot_pass.txt`, unless it fails without fastconv too, and if it is
in there and passes.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]

# What is run of each peer, relative to the folder its package is in.
SUITES = {
    "scipy.signal": ["scipy/signal/tests"],
    "scipy.ndimage": ["scipy/ndimage/tests"],
    "numpy": [
        "numpy/_core/tests/test_numeric.py",
        "numpy/_core/tests/test_regression.py",
        "numpy/lib/tests/test_polynomial.py",
        "numpy/lib/tests/test_regression.py",
        "numpy/ma/tests/test_core.py",
        "numpy/polynomial/tests",
    ],
    "skimage": ["skimage/filters", "skimage/feature"],
}


def main():
    """Run the suites that the command line names; exit with the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--originals", action="store_true", help="without fastconv, for comparison")
    parser.add_argument("--skimage-tests", type=Path, metavar="DIR", help="the folder tests of scikit-image's sources")
    own, pytest_options = split(sys.argv[1:])
    options = parser.parse_args(own)
    suites = options.suites or [name for name in SUITES if name != "skimage" or options.skimage_tests]
    if unknown := set(suites) - SUITES.keys():
        parser.error(f"suite: got {', '.join(sorted(unknown))}, allowed: {', '.join(SUITES)}")
    if "skimage" in suites and options.skimage_tests is None:
        parser.error("skimage: scikit-image's wheel has no tests; name the folder with --skimage-tests")
    if options.originals:
        pytest_options.append("--originals")
    failed = [name for name in suites if not passes(name, root_of(name, options.skimage_tests), pytest_options)]
    print(f"failed: {', '.join(failed)}" if failed else f"passed: {', '.join(suites)}")
    sys.exit(len(failed))


def split(arguments):
    """Return what stands before and behind ``--``."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def root_of(suite, skimage_tests):
    """Return the folder that holds a suite's package of tests."""
    if suite == "skimage":
        return (skimage_tests / "skimage").resolve().parent
    return Path(importlib.util.find_spec(suite.partition(".")[0]).origin).parents[1]


def passes(suite, root, pytest_options):
    """Run a suite; tell whether all tests did what is expected of them."""
    print(f"--- {suite}", flush=True)
    status, failed = run_pytest(root, SUITES[suite], pytest_options)
    if status == 1 and failed and "--originals" not in pytest_options:
        _, without = run_pytest(root, failed, ["--originals", "-q", "--tb=no"])
        for test in sorted(set(failed) & set(without)):
            print(f"fails without fastconv too: {test}")
        return set(failed) <= set(without)
    return status == 0


def run_pytest(root, tests, options):
    """Return pytest's exit status and the ids of failed tests."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder, "failed.json")
        command = [sys.executable, "-B", "-m", "pytest", "-p", "tests.peers.plugin", "-c", str(HERE / "peers.ini")]
        # No conftest.py from further up: scikit-image's there is about colours.
        command += [f"--rootdir={root}", f"--confcutdir={root / Path(tests[0]).parts[0]}"]
        command += [f"--outcomes={outcomes}", "-q", "-rf", *options]
        # In the project, whose folder Python then searches for tests.peers; tests are named by their full path.
        done = subprocess.run([*command, *(str(root / test) for test in tests)], cwd=PROJECT, env=environment())
        return done.returncode, json.loads(outcomes.read_text("utf-8")) if outcomes.exists() else []


def environment():
    """Return the variables for a run on NumPy's arrays alone."""
    return {name: value for name, value in os.environ.items() if name != "SCIPY_ARRAY_API"}


if __name__ == "__main__":
    main()
