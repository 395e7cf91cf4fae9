"""CPU levels: the one that is asked for is the one that runs."""

import numpy as np
import pytest
from _tools import at_level, fused_levels, run_python

import fastconv
from fastconv import ConvError
from fastconv.drivers import levels
from fastconv.planners.reference import ReferenceDriver

# Says which level the process believes in, and which level's kernels two plans really call.
REPORT = """
import numpy as np, fastconv
from fastconv.drivers import levels
ones = np.ones((1, 4, 9, 9), np.float32)
plans = [
    fastconv.plan(np.ones((5, 4, 3, 3), np.float32), ones.shape, layout="NCHW", algorithm=algorithm)
    for algorithm in ("direct", "gemm")
]
print(levels.current())
for plan in plans:
    assert (plan(ones) == 36).all()
    print(plan._schedule.driver.level_name)
fastconv.show_config()
"""

KNOWN = {"scalar", "x86_v2", "x86_v3", "x86_v4", "x86_v4_vnni", "x86_v4_amx", "neon"}


def rounding_of_a_product(algorithm):
    """Return a * a minus its rounded value, which only a fused multiply-add sees."""
    a = np.float32(1 + 2**-12)
    x = np.tile(np.array([a * a, a], np.float32).reshape(1, 2, 1, 1), (1, 1, 3, 40))
    w = np.array([-1, a], np.float32).reshape(1, 2, 1, 1)
    return np.unique(fastconv.conv(x, w, layout="NCHW", algorithm=algorithm))


def test_names():
    assert set(levels.available()) <= set(levels.compiled()) <= KNOWN
    assert levels.available()[-1] == levels.compiled()[-1] == "scalar"
    assert levels.current() in levels.available()


@pytest.mark.parametrize("name", levels.available())
def test_the_forced_level_is_the_one_that_ran(name):
    done = run_python(REPORT, FASTCONV_LEVEL=name)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [name] * 3
    assert any(line.split()[:2] == ["level", name] for line in lines[3:])


def test_the_best_level_is_the_default():
    for environment in ({}, {"FASTCONV_LEVEL": ""}):
        done = run_python(REPORT, **environment)
        assert done.stdout.splitlines()[:3] == [levels.available()[0]] * 3, done.stderr


@pytest.mark.parametrize("name", ["avx2", "X86_V3", "x86_v3 ", "x86_v9"])
def test_an_unknown_level_is_refused(name):
    done = run_python("import fastconv", FASTCONV_LEVEL=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"fastconv._errors.ConvError: FASTCONV_LEVEL: got {name!r}")
    assert last.endswith(", ".join(levels.available()))


def test_a_level_that_the_cpu_does_not_run_is_refused(monkeypatch):
    best = levels.compiled()[0]
    monkeypatch.setenv("FASTCONV_LEVEL", best)
    # Taken away here because this CPU may run every level of this build.
    monkeypatch.setattr(levels, "available", lambda: ("another", "a third"))
    message = f"FASTCONV_LEVEL: got '{best}', which this CPU does not run, allowed: another, a third"
    with pytest.raises(ConvError, match=f"^{message}$"):
        levels.default()


def test_use_changes_the_level_and_puts_it_back():
    before = levels.current()
    with levels.use("scalar"):
        assert levels.current() == "scalar"
        with pytest.raises(KeyError), levels.use(before):
            raise KeyError
        assert levels.current() == "scalar"
    assert levels.current() == before
    with pytest.raises(ConvError, match="level: got 'mmx', allowed: .*scalar"), levels.use("mmx"):
        pass
    assert levels.current() == before


def test_drivers_run_the_level_in_use(level):
    for algorithm in ("direct", "gemm"):
        plan = fastconv.plan(np.ones((2, 3, 3, 3)), (1, 3, 5, 5), layout="NCHW", algorithm=algorithm)
        assert plan._schedule.driver.level_name == level
        assert f"level: {level}" in plan.explain()


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_bits_tell_levels_with_fused_multiply_adds_from_those_without(level, algorithm):
    expected = 2.0**-24 if level in fused_levels() else 0.0
    assert rounding_of_a_product(algorithm).tolist() == [expected]


def test_sizes_of_a_level(level):
    sizes = levels.describe(level)
    assert sizes["vector_bytes"] >= 4
    assert sizes["vector_bytes"].bit_count() == 1
    assert min(sizes.values()) >= 1


def test_a_plan_keeps_the_level_it_was_made_with():
    names = levels.available()
    with at_level(names[-1]):
        plan = fastconv.plan(np.ones((3, 3)), (5, 5))
    with at_level(names[0]):
        assert plan._schedule.driver.level_name == names[-1]
        assert (plan(np.ones((5, 5))) == 9).all()


def test_the_reference_has_no_level():
    plan = fastconv.plan(np.ones((3, 3), np.longdouble), (5, 5))
    assert isinstance(plan._schedule.driver, ReferenceDriver)
    assert plan._schedule.driver.level_name == "numpy"


def test_the_measured_peak_is_a_rate(level):
    assert levels.fma_rate("f", 0.005, level) > 1e6
    assert levels.fma_rate("d", 0.005, level) > 1e6
