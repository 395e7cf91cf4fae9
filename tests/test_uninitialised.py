"""No kernel or driver decides anything by memory that nobody wrote: valgrind sees what sanitizers do not.

It sees most in a build with ``CFLAGS=-O0``: optimised, a variable without a value may stand where another one's was.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv

HERE = Path(__file__).parent
HANG = 3600  # seconds; the calls take a minute
EXTENSIONS = str(Path(fastconv.__file__).parent)

pytestmark = [
    pytest.mark.promise,
    pytest.mark.long,
    pytest.mark.unsanitized,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
]


def reports(log):
    """Return valgrind's reports, each a text."""
    return re.split(r"\n==\d+== \n", log)


def test_every_function_and_driver(tmp_path):
    log = tmp_path / "log"
    command = ["valgrind", "--undef-value-errors=yes", "--num-callers=4", f"--log-file={log}"]
    # What valgrind does not know of AVX-512, OpenBLAS must not use; fastconv asks the CPU that valgrind shows.
    environment = os.environ | {
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_CORETYPE": "Haswell",
        "OMP_WAIT_POLICY": "passive",
        "FASTCONV_LEVEL": "",
    }
    done = subprocess.run(
        [*command, sys.executable, str(HERE / "_uninitialised.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ours = [report for report in reports(log.read_text("utf-8")) if EXTENSIONS in report]
    assert not ours, ours[0]
