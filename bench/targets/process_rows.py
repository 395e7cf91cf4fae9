"""Targets that need fresh processes: threads, memory, import time, a forced CPU level."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.layers import load
from bench.timing import FULL, Effort

from .row import Row
from .signal_rows import CONVOLVE2D, DTYPES

ROOT = Path(__file__).parents[2]

TWO_THREADS = ("vgg.3_2_256x56_3x3_256", "float32 2048 9 fill")
TWO_THREADS_TARGET = 1.8

# Layers of about a millisecond, and an image.
BUSY = ("resnet.l2_128x28_3x3_128", "resnet.l1_64x56_3x3_64", "float32 1024 9 fill")
BUSY_TARGET = 1.3

MEMORY_TARGET_MIB = 4.0
MIB = 2**20

IMPORT_TARGET_MS = 25.0
LONG_SAMPLES, LONG_TAPS = 100_000_000, 1000
LONG_FUNCTIONS = (("signal.convolve", "float32"), ("signal.oaconvolve", "float32"), ("convolve", "float64"))
LONG_TARGET_MIB = 64.0

_IMPORT = "import time, numpy; t = time.perf_counter(); import fastconv; print(time.perf_counter() - t)"


def threads(effort: Effort) -> Iterator[Row]:
    """One thread against two, by turns, each in processes of its own."""
    for work in TWO_THREADS:
        best = {1: math.inf, 2: math.inf}
        for _ in range(_repeats(effort, 3)):
            for count in best:
                best[count] = min(best[count], _child("seconds", work, str(count), _effort_name(effort)))
        gain = best[1] / best[2]
        yield Row(
            "two threads over one",
            work,
            gain,
            "x",
            TWO_THREADS_TARGET,
            seconds=best[2],
            peer="one thread",
            peer_seconds=best[1],
        )


def busy(effort: Effort) -> Iterator[Row]:
    """Two threads against one with a spinning neighbour on one of two cores: the slow calls."""
    for work in BUSY:
        one, two = _child("busy", work, _effort_name(effort))
        yield Row(
            "two threads with a spinning neighbour, p90 of calls in a row over one thread's",
            work,
            two / one,
            "x",
            BUSY_TARGET,
            at_least=False,
            seconds=two,
            peer="one thread",
            peer_seconds=one,
        )


def memory(effort: Effort) -> Iterator[Row]:
    """Peak memory above input and output of every case, on one thread and on two."""
    works = memory_works()
    for count in (1, 2):
        for work in works if effort is FULL else works[::6]:
            mib = _child("memory", work, str(count)) / count / MIB
            title = f"{work}, threads {count}"
            yield Row(
                "memory above input and output, a thread",
                title,
                mib,
                "MiB",
                MEMORY_TARGET_MIB,
                at_least=False,
            )


def long_signal(effort: Effort) -> Iterator[Row]:
    """Peak memory above input and output of a signal of a hundred million samples, on one thread and on two."""
    samples, taps = str(LONG_SAMPLES), str(LONG_TAPS)
    for function, dtype in LONG_FUNCTIONS if effort is FULL else LONG_FUNCTIONS[:1]:
        for count in ("1", "2"):
            mib = _child("long_memory", function, dtype, samples, taps, count) / MIB
            line = "1e8 samples with 1000 taps, memory above input and output"
            title = f"{function} {dtype}, threads {count}"
            yield Row(line, title, mib, "MiB", LONG_TARGET_MIB, at_least=False)


def memory_works() -> list[str]:
    """Every case of the targets, by the names that a child takes."""
    sizes = [size for _, group, _, _ in CONVOLVE2D for size in group]
    works = [f"{dtype} {side} {kernel} fill" for dtype in ("float32", "float64") for side, kernel in sizes]
    works += [f"{dtype} 512 5 fill" for dtype in DTYPES]
    works += [f"float32 512 7 {boundary}" for boundary in ("wrap", "symm")]
    return works + [layer.name for tag in ("cnn", "depthwise") for layer in load(tag)]


def import_time(effort: Effort) -> Iterator[Row]:
    """What importing fastconv takes once numpy is there."""
    # pip compiles modules as it installs them; sources that are run in place are compiled by the first of the runs.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    runs = [float(_python("-c", _IMPORT, environment=compiled)) for _ in range(_repeats(effort, 10))]
    yield Row("import fastconv over import numpy", "import", min(runs) * 1e3, "ms", IMPORT_TARGET_MS, at_least=False)


def v3(effort: Effort) -> Iterator[Row]:
    """Share of the AVX2 peak with the level forced."""
    for row in _child("peak_shares", _effort_name(effort), environment={"FASTCONV_LEVEL": "x86_v3"}):
        yield Row(**row)


def _child(*arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    return json.loads(_python("-m", "bench.targets.child", *arguments, environment=environment))


def _python(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def _repeats(effort: Effort, full: int) -> int:
    return full if effort is FULL else -(-full // 3)


def _effort_name(effort: Effort) -> str:
    return "full" if effort is FULL else "quick"
