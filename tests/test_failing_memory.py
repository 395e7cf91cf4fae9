"""Whichever allocation fails: the call raises MemoryError or its result is right, and the next call is right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import compiler

HERE = Path(__file__).parent
HANG = 900  # seconds for all calls

# Calls in which Python's own allocations fail one by one: those that go the short way. Elsewhere NumPy 2.4 answers a
# failure within nditer, ufunc.reduce or as_strided with a SystemError or a crash of its own.
IN_PYTHON = (
    *("conv", "convolve", "correlate", "signal.convolve", "signal.correlate", "signal.convolve2d"),
    *("signal.correlate2d", "signal.fftconvolve", "signal.oaconvolve", "ndimage.convolve", "ndimage.correlate"),
    *("ndimage.correlate1d", "ndimage.gaussian_filter", "ndimage.uniform_filter", "ndimage.sobel", "nn.conv1d"),
    *("nn.conv2d", "nn.conv3d", "nn.conv_transpose2d", "nn.grad.conv2d_weight"),
)

pytestmark = [
    pytest.mark.promise,
    pytest.mark.unsanitized,
    pytest.mark.skipif(sys.platform != "linux", reason="takes the place of the C library's malloc"),
]


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """Return a library in whose presence allocations fail on demand."""
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    command = [*compiler(), "-O1", "-shared", "-fPIC", str(HERE / "_allocations.c"), "-o", str(library), "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    if done.returncode:
        pytest.skip(f"another C library than glibc: {done.stderr}")
    return str(library)


def run(who, *names, **environment):
    """Make the allocations of calls fail; return what there is to say of each call."""
    command = [sys.executable, str(HERE / "_failing.py"), who, *names]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(report):
    """Check that nothing went wrong, and that something failed."""
    assert [offence for entry in report.values() for offence in entry["offences"]] == []
    return sum(entry["refused"] for entry in report.values())


def test_allocations_of_fastconv(preloaded):
    """Those of its own modules: scratch memory and results, in every function and by every algorithm."""
    report = run("fastconv/drivers", LD_PRELOAD=preloaded)
    assert check(report) >= 80
    # Those make no memory of their own, or leave it to NumPy.
    none = {name for name, entry in report.items() if entry["allocations"] == 0}
    assert none <= {
        "reference",
        "im2col",
        "col2im",
        "nn.unfold",
        "nn.fold",
        "signal.choose_conv_method",
        "signal.correlation_lags",
    }


def test_allocations_of_numpy(preloaded):
    """Those that NumPy makes meanwhile."""
    assert check(run("numpy", LD_PRELOAD=preloaded)) >= 80


def test_allocations_of_python():
    pytest.importorskip("_testcapi")
    assert check(run("python", *IN_PYTHON)) >= 100
