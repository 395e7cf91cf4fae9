"""No call crashes or hangs, whatever it is given: it is refused by an error, or its result is right.

What broke other libraries (https://nvd.nist.gov/vuln/detail/CVE-2021-41209, CVE-2022-35996, CVE-2022-21725,
CVE-2021-29527, CVE-2022-41884, CVE-2025-2953, and the like) is tried on every public function: kernels and inputs of
nothing, sizes whose product overflows, strides and dilations of 0 and of 2^63, kernels a thousand times the input,
axes with strides that point nowhere, outputs that are inputs, more than 2^31 elements, and arguments of every type.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from _calls import CALLS, WITHOUT_ARRAYS, public_functions

HERE = Path(__file__).parent
HANG = 900  # seconds for all of one function; a single call has less, see _hostile.py

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits memory, as Linux counts it"),
    pytest.mark.unsanitized,
]


def spoil(every, *names):
    """Spoil the calls of some functions, one way in so many; return how many calls were made."""
    command = [sys.executable, str(HERE / "_hostile.py"), str(every), *names]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True, timeout=HANG, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    report = json.loads(lines[-1])
    assert report["offences"] == []
    return report["calls"]


def test_every_public_function_is_spoilt():
    assert set(CALLS) == public_functions() - WITHOUT_ARRAYS


@pytest.mark.promise
def test_no_call_crashes_or_hangs():
    """A part of the calls of every function, in one process: what one of them breaks, the next one meets."""
    assert spoil(8, *CALLS) >= 2000


@pytest.mark.promise
@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_no_call_crashes_or_hangs_for_long(name):
    assert spoil(1, name) >= 200 or name == "signal.correlation_lags"
