"""What a fresh process measures: ``python -m bench.targets.child JOB ARGUMENTS...`` prints one JSON value.

Nothing here imports a peer: torch and OpenCV bring thread pools and memory of their own.
"""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.layers import by_name, load
from bench.networks import layer_arrays
from bench.timing import FULL, QUICK, best_seconds

from .layer_rows import COMPUTE_BOUND, peak_rows
from .signal_rows import operands as picture_operands

# A call with its result array: convolve(out=result).
Writes = tuple[Callable[..., NDArray], NDArray]

# Of calls in a row with a spinning neighbour: long beside the bound of the delays that a bad wait brings about.
BUSY_SECONDS = 3.0

EFFORTS = {"quick": QUICK, "full": FULL}


def main(arguments: list[str]) -> None:
    """Run the job that the first of `arguments` names."""
    job, *rest = arguments
    print(json.dumps(JOBS[job](*rest)))


def seconds(work: str, threads: str, effort: str) -> float:
    """Best seconds of `work` on `threads` threads."""
    import fastconv

    call, result = prepare(work)
    fastconv.set_num_threads(int(threads))
    return best_seconds(lambda: call(out=result), EFFORTS[effort])


def memory(work: str, threads: str) -> int:
    """Most bytes above input and output that `work` takes, the first time it is called."""
    import fastconv

    call, result = prepare(work)
    fastconv.set_num_threads(int(threads))
    result.fill(0)  # or its pages would count when they are first written
    with _growth() as grown:
        call(out=result)
    return grown[0]


def long_memory(function: str, dtype: str, samples: str, taps: str, threads: str) -> int:
    """Most bytes above input and output while `function` of fastconv convolves a long signal, made by it.

    >>> long_memory("signal.convolve", "float32", "100000", "9", "1") < 2**24
    True
    """
    import fastconv.signal

    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(int(count), dtype=np.dtype(dtype).type) for count in (samples, taps))
    call: Callable[[NDArray, NDArray], NDArray] = operator.attrgetter(function)(fastconv)
    fastconv.set_num_threads(int(threads))
    with _growth() as grown:
        result = call(x, w)
    return grown[0] - result.nbytes


def busy(work: str, effort: str) -> list[float]:
    """The 90th percentile of the seconds of `work` on one thread and on two, with a neighbour that spins on the second
    of two CPUs; calls of each in a row, by turns."""
    import fastconv

    call, result = prepare(work)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cpus)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with _spinning(cpus[-1]):
        for _ in range(12 if EFFORTS[effort] is FULL else 3):
            for threads, sample in seconds.items():
                fastconv.set_num_threads(threads)
                stop = perf_counter() + BUSY_SECONDS
                while (start := perf_counter()) < stop:
                    call(out=result)
                    sample.append(perf_counter() - start)
    return [float(np.percentile(sample, 90)) for sample in seconds.values()]


@contextmanager
def _spinning(cpu: int) -> Iterator[None]:
    code = f"import os; os.sched_setaffinity(0, {{{cpu}}}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as neighbour:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        try:
            yield
        finally:
            neighbour.kill()


def peak_shares(effort: str) -> list[dict[str, Any]]:
    """Shares of the FMA peak at the level that the environment forces."""
    import fastconv
    import fastconv.drivers.levels as levels

    fastconv.set_num_threads(1)
    highest = max(COMPUTE_BOUND.values())
    asked = [(name, target) for name, target in COMPUTE_BOUND.items() if target == highest]
    rows = peak_rows(asked, f" of {levels.default()}", EFFORTS[effort])
    return [vars(row) for row in rows]


def prepare(work: str) -> Writes:
    """The call that `work` names, a layer or "DTYPE SIDE KERNEL BOUNDARY", and an array for its result.

    >>> call, result = prepare("float32 16 3 wrap")
    >>> result.shape
    (16, 16)
    """
    if work in {layer.name for layer in load()}:
        return _prepare_layer(work)
    from fastconv.signal import convolve2d

    dtype, side, kernel, boundary = work.split()
    x, w = picture_operands((int(side), int(kernel)), dtype)
    return lambda out: convolve2d(x, w, mode="same", boundary=boundary, out=out), np.zeros_like(x)


def _prepare_layer(name: str) -> Writes:
    from fastconv.nn import conv2d

    layer = by_name(name)
    x, w = layer_arrays(layer)
    stride, pad, dilation, groups = layer.stride, layer.pad, layer.dilation, layer.groups

    def call(out: NDArray) -> NDArray:
        return conv2d(x, w, stride=stride, padding=pad, dilation=dilation, groups=groups, out=out)

    return call, np.zeros(layer.y_shape, dtype=x.dtype)


@contextmanager
def _growth() -> Iterator[list[int]]:
    """How many bytes the highest mark of memory within the block is above what was there before: one number."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest mark starts anew
    before = _status_bytes("VmRSS")
    grown: list[int] = []
    yield grown
    grown.append(_status_bytes("VmHWM") - before)


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise KeyError(key)


JOBS: dict[str, Callable[..., Any]] = {
    "busy": busy,
    "seconds": seconds,
    "memory": memory,
    "long_memory": long_memory,
    "peak_shares": peak_shares,
}

if __name__ == "__main__":
    main(sys.argv[1:])
