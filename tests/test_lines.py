"""The comparison of every line with every library: the lines are real, the libraries give one result, verdicts hold."""

import importlib.util
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# The benchmark is a program of the repository, not a part of the package that is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

import fastconv
from bench import agreement, layers, machine, networks, signals
from bench.layers import Layer
from bench.lines import measure, verdicts, work
from bench.lines.measure import Apart, Result
from bench.lines.work import OURS, Line, Prepared
from bench.signals import Signal
from bench.timing import Effort

ONE_ROUND = Effort(rounds=1, seconds=1e-4, least=1, sample_seconds=1e-5)
LINES = list(work.every_line())

SMALL = Layer("small", 1, 16, 9, 9, 16, 3, 3, 1, 1, 1, 1, frozenset())
STRIDED = Layer("strided", 1, 4, 10, 10, 6, 3, 3, 2, 2, 2, 1, frozenset())
DEPTHWISE = Layer("depthwise", 1, 16, 9, 9, 16, 3, 3, 2, 1, 1, 16, frozenset())
BATCH = Layer("batch", 3, 4, 9, 9, 8, 3, 3, 1, 1, 1, 2, frozenset())
FOUR = {"torch", "onnxruntime", "openvino", "ncnn"}

IMAGE_FILTERS = {"opencv", "scipy"}


def convolution(group, dtype, shape, kernel):
    return work._convolution(Signal(group, dtype, shape, kernel))


def named(dtype, function, argument, shape=(60, 50)):
    return work._named_filter(Signal("filters", dtype, shape, (), function, argument))


# (line, the peers that offer it)
SMALL_LINES = {
    "layer": (work._layer(SMALL), FOUR),
    "strided layer": (work._layer(STRIDED), FOUR),
    "depthwise layer": (work._layer(DEPTHWISE), FOUR),
    "batch": (work._layer(BATCH), FOUR - {"ncnn"}),
    "transposed": (work._transposed(STRIDED), {"torch"}),
    "gradient to the input": (work._gradient(STRIDED, "input"), {"torch"}),
    "gradient to the weight": (work._gradient(BATCH, "weight"), {"torch"}),
    "bytes": (work._quantised(SMALL), {"torch", "onnxruntime"}),
    "tiny signal": (convolution("tiny", "float64", (30,), (5,)), {"torch", "numpy"}),
    "tiny image": (convolution("tiny", "float32", (9, 9), (3, 3)), {"torch", "opencv", "scipy"}),
    "image": (convolution("image", "float64", (20, 30), (7, 7)), {"torch", "opencv", "scipy"}),
    "image of bytes": (convolution("image", "uint8", (90, 80), (15, 15)), IMAGE_FILTERS),
    "signal": (convolution("signal", "float32", (300,), (16,)), {"torch", "numpy", "scipy"}),
    "volume": (convolution("volume", "float32", (12, 12, 12), (3, 3, 3)), {"torch", "scipy"}),
    "gaussian": (named("float32", "gaussian_filter", 3), IMAGE_FILTERS),
    "gaussian of bytes": (named("uint8", "gaussian_filter", 3), IMAGE_FILTERS),
    "box of bytes": (named("uint8", "uniform_filter", 15), IMAGE_FILTERS),
    "edges": (named("float64", "sobel", 0), IMAGE_FILTERS),
    "edges of bytes": (named("uint8", "sobel", 0), IMAGE_FILTERS),
    "blurred volume": (named("float32", "gaussian_filter", 2, (20, 20, 20)), {"scipy"}),
}

needs_rich = pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="rich is not installed")
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def line_of(name):
    (found,) = (line for line in LINES if line.name == name)
    return found


def constant(value, calls=None):
    def call():
        if calls is not None:
            calls.append(value)
        return np.full(5, value, "f")

    return call


def made(**ways):
    """Return a line whose libraries give constants."""
    makers = {library: (lambda threads, n=library, c=call: {n: c}) for library, call in ways.items()}
    return Line("group", "made", 0, lambda: Prepared(0.5, 1, makers))


def test_lines_are_those_of_both_files():
    assert Counter(line.group for line in LINES) == {
        "cnn": 21,
        "depthwise": 7,
        "tiny": 3,
        "image": 24,
        "signal": 10,
        "volume": 4,
        "filters": 19,
        "transpose": 3,
        "grad": 8,
        "int8": 4,
    }
    assert len({(line.group, line.name) for line in LINES}) == len(LINES)


def test_work_of_a_line_is_counted():
    assert line_of("float32 1000000 512").flops == 2 * 512 * 10**6
    assert line_of("float32 128x128x128 5x5x5").flops == 2 * 5**3 * 128**3
    assert line_of("uint8 1024x1024 sobel 0").flops == 0
    assert line_of("deconv_64x28_4x4s2_64").flops == 2 * 64 * 64 * 28**2 * 16


def test_signal_with_a_missing_column_is_shown(tmp_path):
    path = tmp_path / "signals.txt"
    path.write_text("# group\nimage float32 8x8\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected 4 columns in 'image float32 8x8'"):
        signals.load(path)


def test_transposed_layer_ends_at_the_input_of_the_layer():
    from fastconv.nn import conv_transpose2d

    padded = []
    for layer in layers.load("transpose"):
        w, y = np.zeros(layer.w_shape, "f"), np.zeros(layer.y_shape, "f")
        x = conv_transpose2d(y, w, stride=layer.stride, padding=layer.pad, output_padding=layer.output_padding)
        assert x.shape == layer.x_shape
        padded.append(layer.output_padding)
    assert padded == [0, 0, 1]


@pytest.mark.parametrize("kernel", {s.kernel for s in signals.load() if s.group == "image" and s.dtype == "uint8"})
def test_sums_of_bytes_fit_a_byte(kernel):
    x, w = signals.modest_arrays((512, 512), kernel, "uint8")
    assert w.min() > 0
    most = fastconv.signal.convolve2d(x.astype(np.int32), w.astype(np.int32), mode="same").max()
    assert 0 < most < 256


def test_edges_of_bytes_are_neither_negative_nor_clipped():
    picture = signals.picture((1024, 64), "uint8").astype(int)
    edges = np.diff(picture, axis=0)
    assert edges.min() == 0 and edges.max() == 1
    assert picture.min() == 0 and picture.max() == 255


@pytest.mark.parametrize("library", work.available())
@pytest.mark.parametrize("name", SMALL_LINES)
def test_every_library_gives_the_result_of_fastconv(name, library):
    prepared, peers = SMALL_LINES[name]
    with machine.one_thread():
        agreeing, refused = measure.checked(prepared, library, 1, measure.reference(prepared))
    assert refused == {}
    assert bool(agreeing) == (library in peers or library == OURS)
    assert all(work.library_of(way) == library for way in agreeing)


@pytest.mark.parametrize("layer", [SMALL, STRIDED, DEPTHWISE, BATCH], ids=lambda layer: layer.name)
def test_what_libraries_are_compared_with_is_the_definition(layer):
    x, w = networks.layer_arrays(layer)
    truth = agreement.layer_truth(x, w, layer)
    for way in networks.fastconv_ways(x, w, layer, 1).values():
        assert agreement.disagreement(way(), truth, agreement.tolerance(x, w), 1) is None


@pytest.mark.parametrize("library", work.available())
def test_a_wrong_result_is_seen_on_every_line(library):
    for prepared, _ in SMALL_LINES.values():
        truth = measure.reference(prepared)
        wrong = truth + (2 * prepared.allowed + 1)
        agreeing, _ = measure.checked(prepared, library, 1, wrong)
        assert agreeing == {}


def test_ways_that_differ_or_fail_have_no_time_and_a_reason():
    line = made(
        fastconv=constant(1), torch=constant(2), numpy=lambda: np.ones(4), opencv=lambda: {}["x"], scipy=constant(1)
    )
    result = measure.in_this_process(line, ["fastconv", "torch", "numpy", "opencv", "scipy", "ncnn"], ONE_ROUND)
    assert list(result.seconds) == ["fastconv", "scipy"]
    assert result.refused["torch"].startswith("interior off by 1")
    assert result.refused["numpy"] == "shape (4,), expected (5,)"
    assert result.refused["opencv"] == "KeyError: 'x'"


def test_a_library_that_cannot_be_set_up_is_named():
    def broken(threads):
        raise ImportError("no such symbol")

    prepared = Prepared(0.0, 0, {"torch": broken})
    assert measure.checked(prepared, "torch", 1, np.ones(1)) == ({}, {"torch": "ImportError: no such symbol"})


def test_a_slow_first_call_is_looked_at_again():
    calls = []
    agreeing, _ = measure.checked(made(torch=constant(1, calls)).prepare(), "torch", 1, np.ones(5, "f"))
    assert len(calls) == 2
    assert 0 < agreeing["torch"].seconds < 0.1


def test_a_library_stands_still_until_it_is_asked():
    line = line_of("float64 100 5")
    prepared = line.prepare()
    line = replace(line, prepare=lambda: replace(prepared, makers={**prepared.makers, "nobody": None}))
    with Apart(["fastconv", "numpy", "ncnn", "nobody"], 2, ONE_ROUND) as apart:
        result = apart(line)
        states = {name: Path(f"/proc/{w.process.pid}/stat").read_text().split()[2] for name, w in apart.workers.items()}
        processes = [worker.process for worker in apart.workers.values()]
        again = apart(line)
    assert set(result.seconds) == set(again.seconds) == {"fastconv", "numpy convolve"}
    assert result.refused == again.refused == {"nobody": "the process ended: 1"}
    assert states == {"fastconv": "T", "numpy": "T"}
    assert all(process.poll() is not None for process in processes)


def test_a_library_that_ends_while_it_is_timed_has_no_time():
    line = line_of("float64 100 5")
    with Apart(["fastconv", "numpy"], 2, ONE_ROUND) as apart:
        ask = apart._ask

        def ask_until_it_ends(library, action, *rest):
            if (library, action) == ("numpy", "sample"):
                apart.workers["numpy"].process.kill()
            return ask(library, action, *rest)

        apart._ask = ask_until_it_ends
        result = apart(line)
        assert list(result.seconds) == ["fastconv"]
        assert result.refused == {"numpy convolve": "the process ended"}
        apart._ask = ask
        assert set(apart(line).seconds) == {"fastconv", "numpy convolve"}


def test_best_way_of_each_library_fastest_first():
    seconds = {"fastconv": 1.0, "torch NCHW": 4.0, "torch packed": 3.0, "onnxruntime": 2.0}
    result = Result("cnn", "layer", 1, seconds, {})
    assert list(measure.best_of_each_library(result).items()) == [
        ("onnxruntime", "onnxruntime"),
        ("torch", "torch packed"),
    ]


WAYS = {
    "fastconv NCHW": 4.0,
    "fastconv planned NCHW": 3.0,
    "fastconv planned NHWC": 2.0,
    "torch packed": 5.0,
    "torch NCHW": 6.0,
    "ncnn": 9.0,
}


def rows_of(group, name, threads=1, peak=None, flops=1):
    result = Result(group, name, flops, WAYS, {}, peak)
    return {row.line: row for row in verdicts.verdicts([result], threads)}


def test_verdicts_of_a_layer_are_about_plans_and_about_plain_calls():
    found = rows_of("cnn", "resnet.l2_128x28_3x3_128", peak=10.0, flops=100)
    assert [(row.value, row.target) for row in found.values()] == [(2.5, 1.25), (5.0, 3.1), (1.5, 1.0), (1.5, 1.4)]
    assert found["planned 3x3 with stride 1, against the best peer"].peer == "torch packed"
    assert found["plain calls, cnn lines, against plain torch and onnxruntime"].peer == "torch NCHW"


def test_share_of_the_peak_is_asked_of_layers_with_many_products():
    many = rows_of("cnn", "resnet.l2s_128x56_3x3s2_128", peak=100.0, flops=100)
    few = rows_of("cnn", "vgg.1_1_3x224_3x3_64", peak=100.0, flops=100)
    line = "planned, every other cnn line of 100 products an output, share of the FMA peak"
    assert (many[line].value, many[line].target, many[line].passed) == (0.5, 0.92, False)
    assert line not in few


def test_depthwise_verdicts_are_about_either_layout():
    found = rows_of("depthwise", "dw")
    assert [row.value for row in found.values()] == [5 / 3, 2.5]


def test_verdicts_on_two_threads_are_about_plans():
    found = rows_of("depthwise", "dw", threads=2)
    assert [(row.value, row.target) for row in found.values()] == [(2.5, 1.0), (pytest.approx(2.5), 1.3)]


def test_without_a_peer_there_is_no_value_and_no_pass():
    row = verdicts.ratio("line", Result("grad", "layer", 1, {"fastconv": 1.0}, {}), 1.0)
    assert math.isnan(row.value) and not row.passed


@needs_rich
@needs_matplotlib
@pytest.mark.parametrize("peers", [WAYS, {}])
def test_what_was_measured_is_written(tmp_path, peers):
    from bench.lines.__main__ import write

    results = [
        Result("cnn", "resnet.l2_128x28_3x3_128", 10, {"fastconv planned NCHW": 2.0, **peers}, {"openvino": "no"}, 7.0),
        Result("image", "float32 512x512 3x3", 10, {"fastconv": 2.0, **peers}, {}),
    ]
    write(tmp_path, results, verdicts.verdicts(results, 1), 1)
    content = json.loads((tmp_path / "peers-1-thread.json").read_text(encoding="utf-8"))
    assert content["threads"] == 1 and content["lines"][0]["refused"] == {"openvino": "no"}
    text = (tmp_path / "peers-1-thread.md").read_text(encoding="utf-8")
    assert "* resnet.l2_128x28_3x3_128, openvino: no" in text
    assert ("torch packed 5.00 s | 2.50 x | ncnn 9.00 s |" in text) == bool(peers)
    assert (tmp_path / "peers-1-thread.svg").exists() == bool(peers)


@needs_rich
def test_the_command_takes_groups_and_peers():
    from bench.lines.__main__ import chosen, parse

    options = parse(["--only", "tiny", "grad", "--peers", "torch", "--quick"])
    assert {line.group for line in chosen(options)} == {"tiny", "grad"}
    assert len(chosen(options)) < len(chosen(parse(["--only", "tiny", "grad"]))) == 11
    assert options.peers == ["torch"]
