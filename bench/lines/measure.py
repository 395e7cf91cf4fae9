"""One line checked and timed: libraries by turns in this process, or each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import agreement
from bench.targets.layer_rows import peak_probe
from bench.timing import Effort, Timed, in_the_running, race, rounds

from .work import OURS, Line, Prepared, library_of

ROOT = Path(__file__).parents[2]
# Lines whose share of the FMA peak is asked for.
_WITH_PEAK = "cnn"
_PEAK = "peak"
# A first call that took so many seconds was no start-up.
_NO_START_UP = 0.5
# Libraries that have no setting for it read one of these.
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Result:
    """What one line gave: seconds a call by way, why a way or a library has none, the FMA peak of one core.

    A way that was far slower than the best in its first call has the seconds of that call.
    """

    group: str
    name: str
    flops: int
    seconds: dict[str, float]
    refused: dict[str, str]
    peak: float | None = None

    def best(self, ways: Callable[[str], bool]) -> str | None:
        """The fastest of the ways that are asked for."""
        return min(filter(ways, self.seconds), key=self.seconds.__getitem__, default=None)


def is_ours(way: str) -> bool:
    """Whether a way is fastconv's."""
    return library_of(way) == OURS


def is_peer(way: str) -> bool:
    """Whether a way is another library's."""
    return not is_ours(way)


def best_of_each_library(result: Result) -> dict[str, str]:
    """The fastest way of every peer, fastest first."""
    best: dict[str, str] = {}
    for way in sorted(filter(is_peer, result.seconds), key=result.seconds.__getitem__):
        best.setdefault(library_of(way), way)
    return best


Measure = Callable[[Line], Result]


def in_this_process(line: Line, libraries: Sequence[str], effort: Effort) -> Result:
    """Every library in turn, on one thread, to which the caller holds them."""
    prepared = line.prepare()
    truth = reference(prepared)
    entries: dict[str, Timed] = {}
    refused: dict[str, str] = {}
    for library in libraries:
        agreeing, differing = checked(prepared, library, 1, truth)
        entries |= agreeing
        refused |= differing
    rates: list[float] = []
    if line.group == _WITH_PEAK:
        entries[_PEAK] = Timed.once(peak_probe(rates))
    seconds = _first_seconds(entries) | race(_worth_timing(entries, effort), effort)
    seconds.pop(_PEAK, None)
    return Result(line.group, line.name, line.flops, seconds, refused, max(rates, default=None))


def reference(prepared: Prepared) -> NDArray:
    """fastconv's result of a plain call, in a dtype that differences fit in."""
    call = next(iter(prepared.makers[OURS](1).values()))
    result = np.array(call())
    return result if result.dtype.kind in "fc" else result.astype(np.float64)


def checked(prepared: Prepared, library: str, threads: int, truth: NDArray) -> tuple[dict[str, Timed], dict[str, str]]:
    """The ways of a library that agree with `truth`, after a first call, and for the others why not."""
    agreeing: dict[str, Timed] = {}
    refused: dict[str, str] = {}
    try:
        ways = prepared.makers[library](threads) if library in prepared.makers else {}
    except Exception as error:  # whatever another library raises is the reason why it has no time
        return {}, {library: f"{type(error).__name__}: {error}"}
    for way, call in ways.items():
        try:
            first = Timed.once(call)
            reason = agreement.disagreement(first.result, truth, prepared.allowed, prepared.margin)
            # The first call of many libraries plans or compiles the work.
            again = first if first.seconds > _NO_START_UP else Timed.once(call)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason:
            refused[way] = reason
        else:
            agreeing[way] = Timed(call, None, min(first.seconds, again.seconds))
    return agreeing, refused


class WorkerEndedError(Exception):
    """A worker is gone."""


class Worker:
    """A library in a process of its own, which stands still, all threads of it, but while it is asked."""

    def __init__(self, library: str, threads: int) -> None:
        limits = dict.fromkeys(_POOLS, str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.lines.worker", library, str(threads)],
            cwd=ROOT,
            env={**os.environ, **limits},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, *request: object) -> Any:
        """The answer to a request; no other process is at work meanwhile."""
        assert self.process.stdin and self.process.stdout
        self.process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise WorkerEndedError(f"the process ended: {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        # A signal is on its way for a while; the next one to be asked must not meet this one at work.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return json.loads(answer)

    def end(self) -> None:
        """Do away with the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()


class Apart:
    """Measures lines with a worker for each library, and ends them together with the block."""

    def __init__(self, libraries: Iterable[str], threads: int, effort: Effort) -> None:
        self.libraries, self.threads, self.effort = list(libraries), threads, effort
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for worker in self.workers.values():
                stack.callback(worker.end)
            self.workers.clear()

    def __call__(self, line: Line) -> Result:
        """Open the line in every worker, then take samples by turns."""
        entries: dict[str, Timed] = {}
        refused: dict[str, str] = {}
        offered = line.prepare().makers
        for library in filter(offered.__contains__, self.libraries):
            answer = self._ask(library, "open", line.group, line.name, self.effort.sample_seconds)
            refused |= answer["refused"]
            for way, seconds in answer["first"].items():
                entries[way] = Timed(partial(self._sample, library, way), None, seconds)
        samplers = {way: entry.call for way, entry in _worth_timing(entries, self.effort).items()}
        seconds = _first_seconds(entries) | rounds(samplers, self.effort)
        refused |= {way: "the process ended" for way, best in seconds.items() if math.isinf(best)}
        timed = {way: best for way, best in seconds.items() if way not in refused}
        return Result(line.group, line.name, line.flops, timed, refused)

    def _sample(self, library: str, way: str) -> tuple[float, float]:
        """A sample; one that takes forever if the process has ended."""
        answer = self._ask(library, "sample", way) if library in self.workers else None
        return tuple(answer) if isinstance(answer, list) else (math.inf, math.inf)

    def _ask(self, library: str, *request: object) -> Any:
        """The answer of a library; one whose process ends has none, and gets another process for the next line."""
        if library not in self.workers:
            self.workers[library] = Worker(library, self.threads)
        try:
            return self.workers[library].ask(*request)
        except WorkerEndedError as error:
            self.workers.pop(library).end()
            return {"first": {}, "refused": {library: str(error)}}


def _first_seconds(entries: dict[str, Timed]) -> dict[str, float]:
    return {way: entry.seconds for way, entry in entries.items()}


def _worth_timing(entries: dict[str, Timed], effort: Effort) -> dict[str, Timed]:
    """Ours, and whoever could turn out to be the fastest, if another call does not take too long."""
    if not entries:
        return {}
    chosen = in_the_running(entries) | {way: entry for way, entry in entries.items() if is_ours(way) or way == _PEAK}
    return {way: entry for way, entry in chosen.items() if entry.seconds <= effort.once_above}
