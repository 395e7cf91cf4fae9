"""The main job: a photograph through filters and first layers of networks, in every library installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from . import machine, photo, tables
from .cases import Case, LayerCase, filter_cases, layer_cases, named_cases
from .measure import OURS, Result, measure, peaks
from .peers import Peer, available
from .timing import FULL, QUICK, Effort

RESULTS_FOLDER = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; 0 if fastconv agreed with the definition everywhere."""
    options = parse(arguments)
    console = tables.wide_console()
    try:
        rgb = photo.read(options.image)
    except ValueError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    console.print(f"{options.image or 'astronaut'}: {rgb.shape[1]} x {rgb.shape[0]} pixels", markup=False)
    layered = layer_cases(rgb)
    cases: list[Case] = [*filter_cases(rgb), *named_cases(rgb), *layered]
    with machine.one_thread():
        before = peaks({case.x.dtype.name for case in cases})
        results = measure_all(cases, available(), QUICK if options.quick else FULL, console)
        after = peaks(before)
    best = {name: max(before[name], after[name]) for name in before}
    show(results, best, console)
    options.output.mkdir(parents=True, exist_ok=True)
    write(options.output, rgb, results, best, layered)
    console.print(f"pictures, plot and figures: {options.output}", markup=False)
    return 0 if all(OURS in result.seconds for result in results) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--image", type=Path, help="your own photograph (default: one that scikit-image ships)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: done within 30 seconds")
    parser.add_argument(
        "--output", type=Path, default=RESULTS_FOLDER, help="folder for JSON and PNG (default: bench/results)"
    )
    return parser.parse_args(arguments)


def measure_all(cases: Sequence[Case], peers: Sequence[Peer], effort: Effort, console: Console) -> list[Result]:
    """Every case in every peer, with a bar that moves between the measurements."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    results = []
    # The bar is drawn between samples only: a thread that redraws it would take its share of the samples.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("", total=len(cases))
        for case in cases:
            results.append(measure(case, peers, effort, _reporter(progress, bar)))
            progress.advance(bar)
        progress.update(bar, description="done", refresh=True)
    return results


def show(results: Sequence[Result], fma: tables.Peaks, console: Console) -> None:
    """The table, what stands behind its figures, and the refusals."""
    console.print(tables.result_table(results, fma))
    rates = ", ".join(f"{name} {rate * 1e-9:.0f} GFLOP/s" for name, rate in sorted(fma.items()))
    console.print(f"{machine.cpu_name()}; FMA peak of one core: {rates}", markup=False)
    console.print(
        "of limit: share of the FMA peak, or of np.copyto's speed where that is the larger share",
        markup=False,
    )
    for line in tables.refusals(results):
        console.print(f"no time: {line}", style="red", markup=False)


def write(
    folder: Path, rgb: photo.Rgb, results: Sequence[Result], fma: tables.Peaks, layered: Sequence[LayerCase]
) -> None:
    """JSON, plot and contact sheets."""
    # Loading matplotlib takes a second that nobody should wait for before the first figure appears.
    from .pictures import feature_sheet, filter_sheet
    from .plots import ratio_plot

    described = machine.describe()
    text = json.dumps(tables.as_json(results, fma, described), indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    ratio_plot(results, f"{described['cpu']}, {described['date']}", folder / "ratios.png")
    filters, layers = results[: -len(layered)], results[-len(layered) :]
    filter_sheet(photo.grey(rgb), filters, folder / "pictures.png")
    feature_sheet(layered, layers, folder / "feature_maps.png")


def _reporter(progress: Progress, bar: TaskID) -> Callable[[str], None]:
    return lambda text: progress.update(bar, description=text, refresh=True)


if __name__ == "__main__":
    sys.exit(main())
