"""Every kernel, on every level that runs here, is what nested loops are, and touches nothing but its arrays.

The cases are in tests/fuzz. Each is compared with plain loops, and lies in memory whose surroundings kill or tell.
"""

import re
import sys
from pathlib import Path

import pytest

from fastconv.drivers import levels
from tests.fuzz import __main__ as fuzz

HEADER = Path(__file__).parents[1] / "src/fastconv/kernels/fastconv.h"
# Kernels whose contract names no memory: they multiply in registers.
WITHOUT_ARRAYS = {"fma_chain"}
CASES = 200_000

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="guards memory with mprotect")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The cases, compiled; without sources or a compiler there is nothing to run."""
    if not HEADER.exists():
        pytest.skip("the kernels' sources are not here")
    found = fuzz.build(tmp_path_factory.mktemp("fuzz"))
    if found is None:
        pytest.skip("no C compiler")
    return found


def kernels_of(header):
    """Return the names of the kernels in fc_level, those of a group with the group's name in front."""
    table = re.search(r"typedef struct \{([^}]*)\} fc_level;", header)[1]
    fields = re.findall(r"^    (\w+) ([^;]+);", table, re.MULTILINE)
    names = set()
    for kind, declared in fields:
        found = [re.sub(r"[*\[].*", "", name.strip().lstrip("*")) for name in declared.split(",")]
        if kind.endswith("_kernels"):
            group = re.search(r"typedef struct \{([^}]*)\} " + kind, header)[1]
            members = re.findall(r"\*(\w+)", re.sub(r"/\*.*?\*/", "", group, flags=re.DOTALL))
            names |= {f"{found[0]}.{member}" for member in members}
        elif "*" in declared and kind not in ("const", "int"):
            names |= set(found)
    return names - WITHOUT_ARRAYS


def run(library, level, cases, seed):
    """Run cases, and return how often each kernel was called."""
    done = fuzz.run_level(library, level, cases=cases, seed=seed)
    assert done.returncode == 0, done.stderr
    return fuzz.calls_of(done)


@pytest.mark.promise
@pytest.mark.parametrize("level", levels.available())
def test_every_kernel_on_every_level(library, level):
    """At least 100,000 guarded cases a level, which together are a million where there are five levels."""
    calls = run(library, level, CASES, seed=1)
    assert set(calls) == kernels_of(HEADER.read_text(encoding="utf-8"))
    assert sum(calls.values()) >= CASES


@pytest.mark.promise
@pytest.mark.long
@pytest.mark.parametrize("level", levels.available())
def test_every_kernel_for_long(library, level):
    for seed in range(2, 7):
        run(library, level, 1_000_000, seed)


def test_a_case_is_its_number(library):
    """What fails can be run again."""
    level = levels.available()[-1]
    for at in (7, 8):
        again = [fuzz.run_level(library, level, cases=1, seed=3, at=at).stdout for _ in range(2)]
        assert again[0] == again[1] != ""
