"""One library in a process of its own: ``python -m bench.lines.worker LIBRARY THREADS``.

Requests and answers are lines of JSON: ``["open", group, name, sample_seconds]`` gives the ways that agree with
fastconv's result, with the seconds of their first call, and why others do not; ``["sample", way]`` gives seconds a call
and seconds altogether. No other library of the benchmark is imported: each brings threads of its own.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import fastconv
from bench.machine import limited
from bench.timing import Sampler, Timed, sampler

from .measure import checked, reference
from .work import LIBRARIES, every_line


class Server:
    """Answers requests about one line after the other."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self.entries: dict[str, Timed] = {}
        self.samplers: dict[str, Sampler] = {}
        self.sample_seconds = 0.0

    def open(self, group: str, name: str, sample_seconds: float) -> dict[str, Any]:
        """Check every way on the line that is named so."""
        self.sample_seconds = sample_seconds
        self.samplers.clear()
        (line,) = (line for line in every_line() if (line.group, line.name) == (group, name))
        prepared = line.prepare()
        with fastconv.num_threads(1):
            truth = reference(prepared)
        self.entries.clear()
        gc.collect()
        self.entries, refused = checked(prepared, self.library, self.threads, truth)
        return {"first": {way: entry.seconds for way, entry in self.entries.items()}, "refused": refused}

    def sample(self, way: str) -> tuple[float, float]:
        """Take a sample of a way."""
        if way not in self.samplers:
            self.samplers[way] = sampler(self.entries[way].call, self.sample_seconds)
        return self.samplers[way]()


def main(library: str, threads: int) -> None:
    """Answer until the requests end."""
    # What libraries print is no answer.
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as answers:
        os.dup2(2, 1)
        gc.disable()
        server = Server(library, threads)
        actions: dict[str, Callable[..., Any]] = {"open": server.open, "sample": server.sample}
        with limited(threads, {LIBRARIES[library]}):
            for request in sys.stdin:
                action, *arguments = json.loads(request)
                answers.write(json.dumps(actions[action](*arguments)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
