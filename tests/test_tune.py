"""The cost model fitted to a CPU, what is kept of that in a file, and plans that measure."""

import json
import math
import os
import pickle
import threading
import warnings
from itertools import islice

import numpy as np
import pytest
from _tools import assert_same_bits, data, run_python

import fastconv
from fastconv import ConvError, ConvTypeError, _costs, _draw, _measure, _plan, _problem, _tunables, _tune, _wisdom
from fastconv.__main__ import main
from fastconv.drivers import levels

LAYER = {"x_shape": (1, 16, 12, 12), "layout": "NCHW", "padding": 1}
VARIANTS = {"winograd, F(2, 3)", "winograd, F(4, 3)", "gemm, lanes = channels", "gemm, lanes = pixels"}


@pytest.fixture(autouse=True)
def wisdom(tmp_path, monkeypatch):
    """Give every test a file of its own, which is not there yet, and forget everything before and after."""

    def forget():
        _wisdom.forget()
        _costs.forget()
        _plan.make.cache_clear()

    path = tmp_path / "folder" / "wisdom.json"
    monkeypatch.setenv("FASTCONV_WISDOM", str(path))
    forget()
    yield path
    forget()


def problem_of(x_shape=(1, 16, 12, 12), w_shape=(24, 16, 3, 3), **options):
    x, w = np.broadcast_to(np.float32(0), x_shape), np.broadcast_to(np.float32(0), w_shape)
    problem, _ = _problem.prepare(x, w, **({"layout": "NCHW", "padding": 1} | options))
    return problem._replace(planned=True)


def file_of(**changes):
    """Return what the file should hold, changed."""
    constants = {name: 2 * value for name, value in _costs.CONSTANTS.items()}
    entry = {"constants": constants, "plans": {}} | changes.pop("entry", {})
    return {"fastconv": _wisdom.version(), "cpus": {_wisdom.cpu_name(): {levels.current(): entry}}} | changes


def put(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_kind_of_work_has_its_constant_and_counts(level):
    counted = set()
    problems = [layer.problem() for layer in islice(_draw.layers(3, 1e9), 300)]
    problems.append(problem_of((1, 3, 600, 600), (16, 3, 11, 11)))
    problems.append(problem_of((16, 12, 12, 1), layout="CHWN"))
    problems += [problem_of(input_dilation=2, stride=stride) for stride in (1, 2)]
    problems += [problem_of((60, 60, 3), (3, 3, taps), layout=None, padding="same") for taps in (1, 3)]
    for problem in problems:
        for choice in _plan.served(_plan.choices_of(problem, level)):
            assert choice.work.keys() <= _costs.CONSTANTS.keys()
            assert all(math.isfinite(count) and count >= 0 for count in choice.work.values()), choice.work
            if choice.work:
                assert choice.cost == pytest.approx(_costs.total(choice.work, level))
                assert choice.cost > 0
            counted |= {name for name, count in choice.work.items() if count}
    # What no planner counts has no place in the table.
    assert _costs.CONSTANTS.keys() - counted <= {"phases.call"}


def test_costs_follow_their_constants():
    level = levels.current()
    before = {choice.variant: choice.cost for choice in _plan.served(_plan.choices_of(problem_of(), level))}
    assert before.keys() >= VARIANTS
    dear = {name: value * (10 if name.startswith("winograd") else 1) for name, value in _costs.CONSTANTS.items()}
    _costs.use(level, dear)
    after = {choice.variant: choice.cost for choice in _plan.served(_plan.choices_of(problem_of(), level))}
    for variant, cost in after.items():
        assert (cost > 2 * before[variant]) == variant.startswith("winograd")


# --- the fit ---------------------------------------------------------------------------------------------------------


def test_the_fit_finds_the_constants_that_times_were_made_of():
    level, rng = levels.current(), np.random.default_rng(0)
    usual = _costs.CONSTANTS
    truth = {name: value * math.exp(rng.uniform(-1, 1)) for name, value in usual.items()}
    timed = []
    for layer in islice(_draw.layers(1, 1e9), 300):
        choices = [choice for choice in _plan.served(_plan.choices_of(layer.problem(), level)) if choice.work]
        seconds = [sum(n * truth[name] for name, n in choice.work.items()) * 1e-9 for choice in choices]
        timed.append(_tune.Timed(choices, seconds, 1e-9))
    fitted = _tune.fit(timed, usual)
    errors = [
        math.log(sum(n * fitted[name] for name, n in choice.work.items()) * 1e-9 / seconds)
        for one in timed
        for choice, seconds in zip(one.choices, one.seconds, strict=True)
        if seconds <= 2.5 * min(one.seconds)
    ]
    assert np.percentile(np.abs(errors), 95) < 0.1
    assert _tune.hits(timed, fitted) > 0.97 > _tune.hits(timed, usual)
    assert _tune.better(timed, usual) == fitted
    # What was never counted stays as it was.
    assert fitted["phases.call"] == pytest.approx(usual["phases.call"])
    # And the usual ones stay where nothing is better.
    exact = [one._replace(seconds=[choice.cost * 1e-9 for choice in one.choices]) for one in timed]
    assert _tune.better(exact, usual) == usual


def test_tune_measures_writes_and_is_used(wisdom, monkeypatch):
    monkeypatch.setattr(_tunables, "TUNE_FLOPS", 1e5)
    seen = []
    schedule = _plan.make(problem_of(), levels.current())
    # However busy the machine is, there are some layers.
    monkeypatch.setattr(_tunables, "TUNE_LAYER_SECONDS", 1e-3)
    tuned = fastconv.tune(3.0, progress=seen.append)
    assert tuned.path == str(wisdom)
    assert (tuned.cpu, tuned.level) == (_wisdom.cpu_name(), levels.current())
    assert tuned.layers > 0
    assert 0 <= tuned.hits_before <= 1
    assert 0 <= tuned.hits_after <= 1
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert seen[-1] == 1
    assert tuned.constants.keys() == _costs.CONSTANTS.keys()
    assert _costs.constants(levels.current()) == tuned.constants
    # Planned anew.
    assert _plan.make(problem_of(), levels.current()) is not schedule
    # By later processes too.
    _wisdom.forget()
    _costs.forget()
    assert _costs.constants(levels.current()) == tuned.constants
    assert os.listdir(wisdom.parent) == [wisdom.name]


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 4000, True, "10", None])
def test_what_tune_refuses(seconds, wisdom):
    with pytest.raises(ConvTypeError, match="^seconds: got "):
        fastconv.tune(seconds)
    assert not wisdom.exists()


def test_the_command(capsys, wisdom, monkeypatch):
    main(["tune", "--seconds", "0"])
    assert str(wisdom) in capsys.readouterr().out
    assert wisdom.exists()
    monkeypatch.setenv("FASTCONV_WISDOM", "")
    main(["tune", "--seconds", "0"])
    assert "written nowhere" in capsys.readouterr().out
    monkeypatch.setenv("FASTCONV_WISDOM", str(wisdom / "not a folder"))
    with pytest.raises(SystemExit):
        main(["tune", "--seconds", "0"])
    assert "wisdom.json" in capsys.readouterr().err


def test_the_configuration_says_what_is_in_use(capsys, wisdom):
    fastconv.show_config()
    assert f"tuning    as shipped ({wisdom})" in capsys.readouterr().out
    put(wisdom, file_of())
    _wisdom.forget()
    fastconv.show_config()
    assert f"tuning    of this CPU ({wisdom})" in capsys.readouterr().out


# --- the file --------------------------------------------------------------------------------------------------------


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.delenv("FASTCONV_WISDOM")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _wisdom.path() == str(tmp_path / "fastconv" / "wisdom.json")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert _wisdom.path() == str(tmp_path / "home" / ".cache" / "fastconv" / "wisdom.json")
    monkeypatch.setenv("FASTCONV_WISDOM", "")
    assert _wisdom.path() is None
    assert _wisdom.save() is None
    assert _costs.constants(levels.current()) == _costs.CONSTANTS


def test_a_good_file_is_used(wisdom):
    content = file_of()
    put(wisdom, content)
    assert _costs.constants(levels.current())["gemm.product"] == 2 * _costs.CONSTANTS["gemm.product"]


def test_the_file_keeps_what_it_says_of_other_cpus(wisdom):
    other = {"x86_v3": {"constants": {"a": 1.0}, "plans": {}}}
    content = file_of()
    content["cpus"]["another"] = other
    put(wisdom, content)
    fastconv.tune(0)
    written = json.loads(wisdom.read_text())
    assert written == content


BAD_FILES = {
    "empty": "",
    "no JSON": "not JSON",
    "cut": '{"fastconv": "0.1.0", "cpus": {',
    "a list": "[1, 2]",
    "NUL": "\0" * 100,
    "deep": "[" * 100_000,
    "long": " " * (5 << 20),
    "long number": '{"fastconv": ' + "1" * 10_000 + "}",
    "no cpus": file_of(cpus=None),
    "another version": file_of(fastconv="0.0.0"),
    "version of another type": file_of(fastconv=["0.1.0"]),
    "levels": file_of(cpus={_wisdom.cpu_name(): 3}),
    "entry": file_of(cpus={_wisdom.cpu_name(): {levels.current(): [1]}}),
    "constants": file_of(entry={"constants": [1, 2]}),
    "texts": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, "1.0")}),
    "zeros": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, 0.0)}),
    "negative": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, -1.0)}),
    "NaN": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, math.nan)}),
    "infinite": json.dumps(file_of()).replace("2.0", "1e999"),
    "huge": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, 1e300)}),
    "tiny": file_of(entry={"constants": dict.fromkeys(_costs.CONSTANTS, 1e-300)}),
    "other names": file_of(entry={"constants": {"a": 1.0}}),
    "plans": file_of(entry={"plans": {"a": 3}}),
    "many plans": file_of(entry={"plans": {str(i): "gemm" for i in range(5000)}}),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_ignored_with_one_warning(name, wisdom):
    put(wisdom, BAD_FILES[name])
    with pytest.warns(RuntimeWarning, match=r"^fastconv ignores .*wisdom\.json") as caught:
        p = fastconv.plan(data((24, 16, 3, 3)), **LAYER)
        _plan.make.cache_clear()
        again = fastconv.plan(data((24, 16, 3, 3)), **LAYER, effort="measure")
    assert len(caught) == 1
    assert _costs.constants(levels.current()) == _costs.CONSTANTS
    for plan in (p, again):
        np.testing.assert_allclose(
            plan(data((1, 16, 12, 12))),
            fastconv.conv(data((1, 16, 12, 12)), data((24, 16, 3, 3)), layout="NCHW", padding=1),
            atol=1e-3,
        )
    # A new one takes its place, which is good.
    fastconv.tune(0)
    assert json.loads(wisdom.read_text())["fastconv"] == _wisdom.version()
    _wisdom.forget()
    _costs.forget()
    _costs.constants(levels.current())


def test_what_is_no_file_is_ignored(wisdom):
    wisdom.parent.mkdir()
    os.mkfifo(wisdom)
    with pytest.warns(RuntimeWarning, match="not a file of wisdom"):
        fastconv.plan(data((3, 3)), (9, 9))
    wisdom.unlink()
    wisdom.mkdir()
    _wisdom.forget()
    _costs.forget()
    with pytest.warns(RuntimeWarning, match="ignores"):
        _costs.constants(levels.current())
    with pytest.raises(OSError, match="wisdom"):
        fastconv.tune(0)
    # Nothing is left lying about.
    assert os.listdir(wisdom.parent) == [wisdom.name]


def test_a_path_that_cannot_be_is_ignored(monkeypatch, tmp_path):
    for path in ("x" * 5000, str(tmp_path / "wisdom.json" / "below" / "a file")):
        (tmp_path / "wisdom.json").write_text("{}")
        monkeypatch.setenv("FASTCONV_WISDOM", path)
        _wisdom.forget()
        with pytest.warns(RuntimeWarning, match="ignores"):
            _wisdom.known("x86_v3")


def test_where_warnings_are_errors_the_second_call_goes_through(wisdom):
    put(wisdom, "broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            fastconv.plan(data((3, 3)), (9, 9))
        assert fastconv.plan(data((3, 3)), (9, 9)).algorithm == "direct"


def test_the_file_is_read_by_the_first_plan_and_not_by_the_import(wisdom):
    put(wisdom, "broken")
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import fastconv, fastconv.nn, fastconv.ndimage\n"
        "    before = len(caught)\n"
        "    fastconv.conv([1.0, 2.0, 3.0], [1.0, 2.0])\n"
        "    fastconv.conv([1.0, 2.0, 3.0], [1.0])\n"
        "    print(before, len(caught))"
    )
    done = run_python(code, FASTCONV_WISDOM=str(wisdom))
    assert done.stdout.split() == ["0", "1"], done.stderr


def test_many_threads_ask_at_once(wisdom):
    put(wisdom, file_of())
    found = []
    threads = [threading.Thread(target=lambda: found.append(_costs.constants(levels.current()))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert all(one is found[0] for one in found)


# --- plans that measure ----------------------------------------------------------------------------------------------


def test_a_plan_that_measures_says_so_and_remembers(wisdom, monkeypatch):
    w, x = data((24, 16, 3, 3)), data((1, 16, 12, 12))
    p = fastconv.plan(w, **LAYER, effort="measure")
    text = p.explain()
    measured = next(line for line in text.splitlines() if line.startswith("measured: "))
    assert measured.count(" us") >= 2
    assert measured.removeprefix("measured: ").startswith(p.algorithm)
    np.testing.assert_allclose(p(x), fastconv.conv(x, w, layout="NCHW", padding=1), atol=1e-3)
    # The same again is not measured, in this process and, once it is written, in others.
    monkeypatch.setattr(_measure, "race", None)
    assert "was the fastest before" in fastconv.plan(w, **LAYER, effort="measure").explain()
    fastconv.tune(0)
    _wisdom.forget()
    again = fastconv.plan(w, **LAYER, effort="measure")
    assert "was the fastest before" in again.explain()
    assert again.algorithm == p.algorithm
    assert pickle.loads(pickle.dumps(again)).explain() == again.explain()
    assert "measured" not in fastconv.plan(w, **LAYER).explain()


def test_the_fastest_is_taken(monkeypatch):
    w, x = data((24, 16, 3, 3)), data((1, 16, 12, 12))
    for variant in sorted(VARIANTS):
        _wisdom.forget()

        def pretend(problem, level, choices, *_, variant=variant):
            return [1e-3 if choice.variant == variant else 2e-3 for choice in choices]

        monkeypatch.setattr(_measure, "time_choices", pretend)
        p = fastconv.plan(w, **LAYER, effort="measure")
        assert f"measured: {variant} 1000.0 us" in p.explain()
        assert p.algorithm == variant.split(",")[0]
        np.testing.assert_allclose(p(x), fastconv.conv(x, w, layout="NCHW", padding=1), atol=1e-3)


def test_shapes_are_measured_when_they_come():
    p = fastconv.plan(data((24, 16, 3, 3)), layout="NCHW", padding=1, effort="measure")
    assert not _wisdom.known(levels.current()).plans
    for number, size in enumerate((5, 9, 5, 12)):
        p(data((1, 16, size, size)))
        assert len(_wisdom.known(levels.current()).plans) == min(number, 1) + 1 + (number == 3)


@pytest.mark.parametrize(
    ("w_shape", "x_shape", "options"),
    [
        ((24, 16, 3, 3), (0, 16, 12, 12), {"layout": "NCHW"}),
        ((3,), (100,), {}),
        ((9, 9), (60, 60), {"dtype": "complex64"}),
        ((9, 9), (60, 60), {"dtype": "float64"}),
        ((9, 9), (60, 60), {"dtype": "longdouble"}),
        ((4, 3, 4, 4), (1, 3, 8, 9), {"layout": "NCHW", "input_dilation": 2}),
        ((8, 6, 3, 3), (2, 9, 8, 6), {"layout": "NHWC", "activation": "relu", "bias": np.ones(8, "f"), "scale": 2.0}),
        ((8, 6, 3, 3), (2, 9, 8, 6), {"layout": "NHWC", "result_dtype": "uint8"}),
        ((8, 6, 3, 3), (2, 6, 9, 8), {"layout": "NCHW", "algorithm": "gemm"}),
        ((8, 6, 3, 3), (6, 9, 8), {"layout": "CHW", "dtype": "float16"}),
    ],
)
def test_every_kind_of_problem_can_be_measured(w_shape, x_shape, options):
    w, x = data(w_shape), data(x_shape)
    plan = fastconv.plan(w, x_shape, effort="measure", **options)
    np.testing.assert_allclose(
        plan(x).astype("complex128"), fastconv.conv(x, w, **options).astype("complex128"), atol=1e-2
    )


def test_a_residual_is_measured_with():
    w, x, residual = data((8, 6, 3, 3)), data((1, 6, 9, 9)), data((1, 8, 7, 7), seed=1)
    p = fastconv.plan(w, x.shape, layout="NCHW", residual=True, effort="measure")
    np.testing.assert_allclose(p(x, residual=residual), fastconv.conv(x, w, layout="NCHW") + residual, atol=1e-3)


def test_strict_results_do_not_depend_on_what_was_measured(monkeypatch):
    w, x = data((24, 16, 3, 3)) / 7, data((1, 16, 12, 12)) / 3
    expected = fastconv.conv(x, w, layout="NCHW", padding=1, accuracy="strict")
    for variant in ("direct, lanes = columns", "gemm, lanes = channels", "gemm, lanes = pixels"):
        _wisdom.forget()
        monkeypatch.setattr(
            _measure,
            "time_choices",
            lambda problem, level, choices, *_, variant=variant: [2.0 - (c.variant == variant) for c in choices],
        )
        p = fastconv.plan(w, **LAYER, accuracy="strict", effort="measure")
        assert variant in p.explain().split("measured: ")[1].split("1000000.0 us")[0]
        assert_same_bits(p(x), expected)


def test_what_effort_may_be():
    for effort in ("patient", None, 1):
        with pytest.raises(ConvError, match="^effort: got .*, allowed: 'estimate', 'measure'"):
            fastconv.plan(data((3, 3)), (9, 9), effort=effort)


def test_a_race_ends_in_time_and_finds_the_fastest():
    now = [0.0]

    def takes(seconds):
        def call():
            now[0] += seconds

        return call

    def clock():
        return now[0]

    times = _measure.race([takes(2e-3), takes(1e-3), takes(0.5)], 0.2, clock)
    assert times == pytest.approx([2e-3, 1e-3, 0.5])
    # The slow one ran twice, to be known, and no more.
    assert 1.0 < now[0] < 1.3
    assert _measure.race([], 0.2, clock) == []
    # A clock that does not move says nothing, but comes to an end.
    assert _measure.race([takes(1.0), takes(2.0)], 0.2, lambda: 0.0) == [0.0, 0.0]
    now[0] = 0.0
    assert _measure.race([takes(10.0), takes(1.0)], 0.2, clock) == [pytest.approx(10.0), math.inf]
