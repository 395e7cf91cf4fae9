"""What is asked of layers, against the best peer of each line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.layers import by_name
from bench.targets.row import Row, geometric_mean

from .measure import Result, is_ours, is_peer

WINOGRAD = {
    "resnet.l1_64x56_3x3_64",
    "resnet.l2_128x28_3x3_128",
    "resnet.l3_256x14_3x3_256",
    "vgg.1_2_64x224_3x3_64",
    "vgg.3_2_256x56_3x3_256",
    "vgg.5_512x14_3x3_512",
    "batch8_resnet.l2_128x28_3x3",
}
FEW_PIXELS = "resnet.l4_512x7_3x3_512"
WINOGRAD_TARGET, FEW_PIXELS_TARGET, OTHERS_TARGET = 1.25, 1.3, 1.0

# Products by the definition over the FMA peak, where Winograd does fewer.
EFFECTIVE = ("resnet.l2_128x28_3x3_128", "vgg.3_2_256x56_3x3_256")
EFFECTIVE_TARGET = 3.1
# Layers with so many products an output have to reach that share of the FMA peak.
MANY_PRODUCTS, SHARE_TARGET = 100, 0.92

PLAIN_EACH, PLAIN_MEAN = 1.0, 1.4
PLAIN_PEERS = {"torch NCHW", "torch channels_last", "onnxruntime"}
DEPTHWISE_TARGET = 1.2
TRAINING_EACH, TRAINING_MEAN = 1.0, 1.4
THREADS_EACH, THREADS_MEAN = 1.0, 1.3


def verdicts(results: Iterable[Result], threads: int) -> list[Row]:
    """A row for everything that is asked of what was measured."""
    by_group: dict[str, list[Result]] = {}
    for result in results:
        by_group.setdefault(result.group, []).append(result)
    layers, depthwise = by_group.get("cnn", []), by_group.get("depthwise", [])
    training = by_group.get("transpose", []) + by_group.get("grad", [])
    if threads > 1:
        return list(_more_threads([*layers, *depthwise], threads))
    rows = [*_planned(layers), *_shares(layers), *_plain(layers), *_depthwise(depthwise)]
    return rows + list(_each_and_mean("transposed and gradients", training, (TRAINING_EACH, TRAINING_MEAN), is_ours))


def is_planned(way: str) -> bool:
    """Whether a way is a plan of fastconv."""
    return way.startswith("fastconv planned")


def is_plain(way: str) -> bool:
    """Whether a way is a plain call of fastconv."""
    return is_ours(way) and not is_planned(way)


def ratio(
    line: str,
    result: Result,
    target: float | None,
    ours: Callable[[str], bool] = is_ours,
    theirs: Callable[[str], bool] = is_peer,
) -> Row:
    """How many times the time of the fastest of our ways the fastest of theirs takes."""
    our_way, their_way = result.best(ours), result.best(theirs)
    if our_way is None or their_way is None:
        return Row(line, result.name, math.nan, "x", target, note="nothing to compare with")
    mine, best = result.seconds[our_way], result.seconds[their_way]
    return Row(line, result.name, best / mine, "x", target, seconds=mine, peer=their_way, peer_seconds=best)


def _planned(results: Iterable[Result]) -> Iterator[Row]:
    for result in results:
        if result.name in WINOGRAD:
            what, target = "planned 3x3 with stride 1", WINOGRAD_TARGET
        elif result.name == FEW_PIXELS:
            what, target = "planned 512x7² 3x3", FEW_PIXELS_TARGET
        else:
            what, target = "planned, every other cnn line", OTHERS_TARGET
        yield ratio(f"{what}, against the best peer", result, target, is_planned)


def _shares(results: Iterable[Result]) -> Iterator[Row]:
    for result in results:
        way = result.best(is_planned)
        if way is None or result.peak is None:
            continue
        rate = result.flops / result.seconds[way]
        share, peak = rate / result.peak, f"{result.peak * 1e-9:.0f} GFLOP/s peak"
        layer = by_name(result.name)
        if result.name in EFFECTIVE:
            line = "planned, products of the definition over the FMA peak"
            yield Row(line, result.name, share, "x", EFFECTIVE_TARGET, seconds=result.seconds[way], peer=peak)
        elif (
            result.name not in WINOGRAD | {FEW_PIXELS}
            and layer.c_in // layer.groups * layer.kh * layer.kw >= MANY_PRODUCTS
        ):
            line = f"planned, every other cnn line of {MANY_PRODUCTS} products an output, share of the FMA peak"
            yield Row(line, result.name, share, "%", SHARE_TARGET, seconds=result.seconds[way], peer=peak)


def _plain(results: Iterable[Result]) -> Iterator[Row]:
    line = "plain calls, cnn lines{}, against plain torch and onnxruntime"
    rows = [ratio(line.format(""), result, PLAIN_EACH, is_plain, PLAIN_PEERS.__contains__) for result in results]
    yield from _with_mean(rows, line.format(", geometric mean"), PLAIN_MEAN)


def _depthwise(results: Iterable[Result]) -> Iterator[Row]:
    for result in results:
        for layout in ("NCHW", "NHWC"):
            line = f"planned, depthwise lines in {layout}, against the best peer"
            yield ratio(line, result, DEPTHWISE_TARGET, f"fastconv planned {layout}".__eq__)


def _more_threads(results: Iterable[Result], threads: int) -> Iterator[Row]:
    what = f"planned on {threads} threads, cnn and depthwise lines"
    yield from _each_and_mean(what, results, (THREADS_EACH, THREADS_MEAN), is_planned)


def _each_and_mean(
    what: str, results: Iterable[Result], targets: tuple[float, float], ours: Callable[[str], bool]
) -> Iterator[Row]:
    each, mean = targets
    rows = [ratio(f"{what}, each, against the best peer", result, each, ours) for result in results]
    yield from _with_mean(rows, f"{what}, geometric mean against the best peer", mean)


def _with_mean(rows: Sequence[Row], line: str, target: float) -> Iterator[Row]:
    yield from rows
    if rows:
        yield geometric_mean(line, rows, target)
