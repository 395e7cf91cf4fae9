"""The benchmark measures what it says: its shapes are real, its peers and fastconv give one result."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastconv

# The benchmark is a program of the repository, not a part of the package that is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import agreement, filters, layers, peers
from bench.cases import FilterCase, LayerCase, NamedCase
from bench.targets import child, draw, random_rows
from bench.targets.row import Contest, Row
from bench.timing import Effort, Timed, in_the_running, race

LAYERS = layers.load()

SMALL_LAYER = layers.Layer("small", 2, 4, 9, 8, 6, 3, 3, 2, 2, 2, 2, frozenset({"cnn"}))
FIRST_LAYER = layers.Layer("first", 1, 3, 13, 12, 8, 3, 3, 2, 1, 1, 1, frozenset({"cnn"}))

needs_rich = pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="rich is not installed")


ONE_ROUND = Effort(rounds=1, seconds=1e-4, least=1, sample_seconds=1e-5)


def silent(_: str) -> None:
    """Take a progress report and drop it."""


def test_layer_names_are_unique():
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names) == 35


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer_has_outputs_and_fitting_groups(layer):
    assert min(layer.y_shape) >= 1
    assert layer.c_in % layer.groups == layer.c_out % layer.groups == 0
    assert layer.tags & {"cnn", "depthwise", "transpose", "grad"}
    assert ("depthwise" in layer.tags) == (layer.groups == layer.c_in)


@pytest.mark.parametrize(
    ("name", "gflop"),
    [
        ("resnet.conv1_3x224_7x7s2_64", 0.236),
        ("resnet.1x1s2_512x28_1024", 0.2055),
        ("batch8_resnet.l4_512x7_3x3", 1.850),
        ("dilated_256x28_3x3d2_256", 0.9248),
        ("grouped_32g_256x28_3x3_(resnext)", 0.0289),
        ("dw_96x112_3x3s2", 0.00542),
        ("dw_96x56_7x7s1", 0.0295),
    ],
)
def test_layer_work_is_that_of_the_network(name, gflop):
    assert layers.by_name(name).flops * 1e-9 == pytest.approx(gflop, rel=2e-3)


def test_unknown_layer_is_named():
    with pytest.raises(KeyError, match="no layer 'resnet.l9'"):
        layers.by_name("resnet.l9")


def test_line_with_a_missing_column_is_shown(tmp_path):
    path = tmp_path / "layers.txt"
    path.write_text("# name\nshort 1 2 3 cnn\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected 13 columns in 'short 1 2 3 cnn'"):
        layers.load(path=path)


def test_layer_truth_is_the_definition():
    rng = np.random.default_rng(1)
    layer = SMALL_LAYER
    x = rng.integers(-4, 5, layer.x_shape).astype(float)
    w = rng.integers(-4, 5, layer.w_shape).astype(float)
    truth = agreement.layer_truth(x, w, layer)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for (n, o, i, j), value in np.ndenumerate(truth):
        group = o // (layer.c_out // layer.groups)
        channels = slice(2 * group, 2 * group + 2)
        window = padded[n, channels, 2 * i : 2 * i + 5 : 2, 2 * j : 2 * j + 5 : 2]
        assert value == (window * w[o]).sum()


def test_filter_truth_is_the_definition():
    truth = agreement.filter_truth(np.array([[0, 0, 0], [0, 2, 0], [0, 0, 1]]), np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(truth, [[0, 2, 4], [6, 8 + 0, 10 + 1], [12, 14 + 3, 16 + 4]])


def test_filter_truth_beyond_the_edge_is_the_mirror_image():
    truth = agreement.filter_truth(np.array([[1, 2], [3, 4]]), np.ones((3, 3)), "symmetric")
    np.testing.assert_array_equal(truth, [[4 + 4 + 10, 5 + 5 + 11], [4 + 10 + 10, 5 + 11 + 11]])


def test_disagreement_names_the_place():
    truth = np.zeros((1, 1, 5, 5))
    border, interior = truth.copy(), truth.copy()
    border[0, 0, 0, 2] = 1
    interior[0, 0, 2, 2] = np.nan
    assert agreement.disagreement(truth, truth, 0.0, 1) is None
    assert str(agreement.disagreement(border, truth, 0.5, 1)).startswith("border off by 1,")
    assert str(agreement.disagreement(interior, truth, 0.5, 1)).startswith("interior off by nan,")
    assert str(agreement.disagreement(truth[0], truth, 0.5, 1)).startswith("shape (1, 5, 5)")


@pytest.mark.parametrize("shape", [(9,), (2, 9), (2, 2, 9)])
def test_disagreement_of_any_rank(shape):
    truth = np.zeros(shape)
    border, interior = truth.copy(), truth.copy()
    border[..., 0] = 1
    interior[..., 4] = 1
    assert agreement.disagreement(truth, truth, 0.0, 2) is None
    assert str(agreement.disagreement(border, truth, 0.5, 2)).startswith("border off by 1,")
    # A side of two samples has nothing that a margin of two leaves over.
    place = "interior" if len(shape) == 1 else "border"
    assert str(agreement.disagreement(interior, truth, 0.5, 2)).startswith(f"{place} off by 1,")


def test_disagreement_of_integers_cannot_wrap_to_nothing():
    low, high = np.full((3, 3), -128, dtype=np.int8), np.zeros((3, 3), dtype=np.int8)
    assert agreement.disagreement(low, high, 0.0, 1) is not None


@pytest.mark.parametrize("size", [3, 7])
def test_filter_bank_is_normed_and_ignores_an_even_grey(size):
    bank = filters.filter_bank(64, size)
    assert bank.shape == (64, 3, size, size)
    np.testing.assert_allclose(np.linalg.norm(bank.reshape(64, -1), axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(bank.sum(axis=(1, 2, 3)), 0, atol=1e-5)


def test_uint8_filter_cannot_overflow():
    assert filters.PYRAMID.sum() * (filters.PYRAMID_LEVELS - 1) <= 255


def test_race_takes_the_best_and_leaves_slow_ones_alone():
    ran = []
    entries = {
        "quick": Timed(lambda: ran.append("quick"), None, 1e-6),
        "slow": Timed(lambda: ran.append("slow"), None, 9.0),
    }
    best = race(entries, Effort(rounds=2, seconds=1e-4, least=1, once_above=1.0, sample_seconds=1e-5))
    assert best["slow"] == 9.0
    assert 0 < best["quick"] < 1e-3
    assert set(ran) == {"quick"}


@pytest.mark.parametrize("peer", peers.available(), ids=lambda peer: peer.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("size", [3, 15])
def test_every_peer_filters_by_the_definition(peer, dtype, size):
    from bench.measure import check

    rng = np.random.default_rng(2)
    picture = rng.integers(0, 3, (17, 21)).astype(dtype)
    kernel = (rng.integers(0, 20, (size, size)) == 1).astype(dtype)
    _, refused = check(FilterCase("small", picture, kernel), [peer], silent)
    assert refused == {}


@pytest.mark.parametrize("peer", peers.available(), ids=lambda peer: peer.name)
@pytest.mark.parametrize("layer", [SMALL_LAYER, FIRST_LAYER], ids=lambda layer: layer.name)
def test_every_peer_runs_a_layer_by_the_definition(peer, layer):
    from bench.measure import check

    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(shape, dtype="f") for shape in (layer.x_shape, layer.w_shape))
    _, refused = check(LayerCase(layer, x, w), [peer], silent)
    assert refused == {}


@pytest.mark.parametrize("peer", peers.available(), ids=lambda peer: peer.name)
@pytest.mark.parametrize(
    ("function", "argument", "kernel"),
    [
        ("gaussian_filter", 1.3, filters.gaussian(2 * filters.gaussian_reach(1.3) + 1, 1.3)),
        ("uniform_filter", 5, np.full((5, 5), 1 / 25)),
        ("sobel", -1, filters.SOBEL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_peer_knows_the_named_filters(peer, function, argument, kernel):
    from bench.measure import check

    picture = np.random.default_rng(4).standard_normal((33, 41)).astype("f")
    agreeing, refused = check(NamedCase("small", picture, kernel, function, argument, 1), [peer], silent)
    assert refused == {}
    assert (peer.name in agreeing) == (peer.name in ("fastconv", "scipy.ndimage", "opencv"))


def test_a_wrong_peer_gets_no_time():
    from bench.measure import check

    wrong = peers.Peer("wrong", "numpy", lambda x, w: lambda: x + 1, lambda x, w, layer: None)
    broken = peers.Peer("broken", "numpy", lambda x, w: lambda: x[99], lambda x, w, layer: None)
    case = FilterCase("small", np.ones((5, 6), "f"), np.ones((3, 3), "f"))
    agreeing, refused = check(case, [wrong, broken], silent)
    assert agreeing == {}
    assert refused["wrong"].startswith("interior off by 7,")
    assert refused["broken"].startswith("IndexError: ")


@needs_rich
def test_summary_keeps_the_worst_row_of_a_line():
    from bench.targets.__main__ import summary_markdown, worst_of_each_line

    rows = [
        Row("speed", "a", 3.0, "x", 2.0),
        Row("speed", "b", 2.5, "x", 2.0),
        Row("memory", "c", 0.0, "MiB", 4.0, at_least=False),
        Row("memory", "d", 5.0, "MiB", 4.0, at_least=False),
        Row("shown only", "e", 1.0, "x", None),
        Row("broken", "f", math.nan, "x", 1.0, note="differs"),
    ]
    assert [row.work for row in worst_of_each_line(rows)] == ["b", "d", "f"]
    assert "| memory | <= 4.00 MiB | 5.00 MiB | d | FAIL |" in summary_markdown(rows)
    assert [row.passed for row in rows] == [True, True, True, False, True, False]


def test_contest_is_with_the_best_peer_and_voids_what_is_wrong():
    def rows(ours, peers):
        contest = Contest("line", "work", 0.0, ours, peers, 0.5, 1)
        return {row.work: row for row in contest.rows(ONE_ROUND)}

    peers = {"good": lambda: np.ones(5), "slow": lambda: time.sleep(1e-3) or np.ones(5)}
    ours = {"right": lambda: np.ones(5), "wrong": lambda: np.zeros(5), "single": lambda: np.ones(5, "f")}
    found = rows(ours, peers)
    assert found["right work"].passed and found["right work"].peer == "good"
    assert found["right work"].value == found["right work"].peer_seconds / found["right work"].seconds
    assert not found["wrong work"].passed
    assert found["wrong work"].note.startswith("fastconv wrong differs from good: interior off by 1,")
    assert found["single work"].note == "fastconv single differs from good: dtype float32, not float64"

    peers["liar"] = lambda: np.zeros(5)
    assert "liar differs from good" in rows(ours, peers)["right work"].note


def test_contest_leaves_out_a_peer_that_cannot_be_the_best():
    seconds = {"best": 0.01, "near": 0.09, "hopeless": 0.11}
    entries = {name: Timed(float, None, value) for name, value in seconds.items()}
    assert list(in_the_running(entries)) == ["best", "near"]
    # The first run of a short call is its start-up more than anything else.
    short = {"best": Timed(float, None, 1e-6), "started": Timed(float, None, 0.015)}
    assert list(in_the_running(short)) == ["best", "started"]


def test_random_calls_are_the_same_for_the_same_number():
    for number, (face, function, _) in enumerate(draw.FUNCTIONS):
        first, again = next(draw.calls(number)), next(draw.calls(number))
        assert (first.face, first.function) == (face, function)
        assert str(first) == str(again)
        for one, other in zip(first.arrays, again.arrays, strict=True):
            np.testing.assert_array_equal(one, other)
    assert str(next(draw.calls(0))) != str(next(draw.calls(len(draw.FUNCTIONS))))


def test_random_calls_go_over_dtypes_sizes_and_strides():
    drawn = [next(draw.calls(number)) for number in range(100)]
    arrays = [array for call in drawn for array in call.arrays]
    assert {array.dtype.kind for array in arrays} >= set("biufc")
    assert {array.ndim for array in arrays} == {1, 2, 3}
    assert {array.flags.c_contiguous for array in arrays} == {True, False}
    sizes = [array.size for array in arrays]
    assert min(sizes) <= 2
    assert 500_000 < max(sizes) < 1.1 * draw.LARGEST


def test_random_call_is_shown_as_it_is_written():
    arguments = np.ones((4, 3), "f").T, np.ones((2, 2), "f")
    call = draw.RandomCall("signal", "convolve2d", arguments, {"mode": "same"})
    assert str(call) == "signal.convolve2d(float32 (3, 4) strided, float32 (2, 2), mode='same')"


def test_random_call_that_the_peer_refuses_is_drawn_again(monkeypatch):
    refused = draw.RandomCall("numpy", "convolve", (np.ones(0), np.ones(1)), {})
    taken = draw.RandomCall("numpy", "convolve", (np.ones(2), np.ones(1)), {})
    monkeypatch.setattr(random_rows, "calls", lambda number: iter([refused, taken]))
    row = random_rows.measured(7)
    assert row.work == "#7 numpy.convolve(float64 (2,), float64 (1,))"
    assert row.value == row.seconds / (1.1 * row.peer_seconds + 2e-6)


def test_random_call_that_differs_or_fails_is_not_timed(monkeypatch):
    call = draw.RandomCall("numpy", "convolve", (np.arange(3), np.ones(1, int)), {})
    monkeypatch.setattr(random_rows, "calls", lambda number: iter([call]))

    def row(ours):
        monkeypatch.setattr(draw.RandomCall, "ours", lambda self: ours)
        return random_rows.measured(0)

    assert not row(lambda: np.arange(4)).passed
    assert row(lambda: np.arange(3.0)).note == "differs: dtype float64, not int64"
    assert row(lambda: np.array([0, 1, 3])).note.startswith("differs: ")
    assert row(lambda: {}["x"]).note == "KeyError: 'x'"


@pytest.mark.parametrize("function", ["fftconvolve", "oaconvolve"])
def test_dtype_of_a_transform_is_not_asked_of_a_product(function, monkeypatch):
    call = draw.RandomCall("signal", function, (np.arange(3), np.array([2])), {})
    monkeypatch.setattr(random_rows, "calls", lambda number: iter([call]))
    monkeypatch.setattr(draw.RandomCall, "ours", lambda self: lambda: np.array([0.0, 2.0, 4.0]))
    assert random_rows.measured(0).note == ""
    monkeypatch.setattr(draw.RandomCall, "ours", lambda self: lambda: np.array([0.0, 2.0, 5.0]))
    assert random_rows.measured(0).note.startswith("differs: ")


def test_random_rows_are_those_too_slow_the_worst_of_the_rest_and_the_mean(monkeypatch):
    values = [0.5, 2.0, 0.25, math.nan]

    def measured(number):
        value = values[number % 4]
        return Row("line", f"#{number}", value, "x", 1.0, at_least=False, seconds=1.0, peer_seconds=4.0)

    monkeypatch.setattr(random_rows, "measured", measured)
    rows = list(random_rows.random_calls(ONE_ROUND))
    slow = random_rows.QUICK_CALLS // 2
    assert [row.passed for row in rows[:slow]] == [False] * slow
    assert [row.value for row in rows[slow:-1]] == [0.5] * random_rows.WORST_SHOWN
    assert rows[-1].value == pytest.approx(4.0) and rows[-1].target is None


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the mark of memory cannot be reset")
def test_memory_of_a_long_signal_leaves_out_its_result():
    with fastconv.num_threads(fastconv.get_num_threads()):
        grown = child.long_memory("convolve", "float32", "4000000", "3", "1")
    assert grown < 15_000_000  # the result alone has 16 MB
