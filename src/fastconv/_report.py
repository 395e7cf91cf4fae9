"""Which calls of replaced functions were taken, how often, and the time they took."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

# Lines of reasons under one function; the rest is summed up.
_MOST_REASONS = 8
_LONGEST_REASON = 100


class Report:
    """What became of the calls of replaced functions, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By function and reason ("" for calls that were taken): how many, and nanoseconds.
        self._sums: dict[tuple[str, str], tuple[int, int]] = {}
        # What fastconv raised by mistake: the original returned a result.
        self.failures: list[str] = []

    def taken(self, function: str, nanoseconds: int) -> None:
        """Count a call that fastconv computed."""
        self._add((function, ""), nanoseconds)

    def left(self, function: str, why: str, nanoseconds: int) -> None:
        """Count a call that went to the original, and the reason."""
        self._add((function, why or "no reason given"), nanoseconds)

    def failed(self, function: str, why: str) -> None:
        """Keep an error that is no refusal, of a call that the original could serve."""
        with self._lock:
            if len(self.failures) < _MOST_REASONS:
                self.failures.append(f"{function}: {why}")

    def _add(self, key: tuple[str, str], nanoseconds: int) -> None:
        with self._lock:
            calls, total = self._sums.get(key, (0, 0))
            self._sums[key] = calls + 1, total + nanoseconds

    def text(self) -> str:
        """Return the report: a heading, then a line a function, those that took longest first.

        Returns
        -------
        str
            Without a newline at its end.

        Examples
        --------
        >>> from fastconv._report import Report
        >>> report = Report()
        >>> report.taken("numpy.convolve", 1_500_000)
        >>> report.left("numpy.convolve", "a: got dtype object", 20_000)
        >>> print(report.text())
        fastconv took 1 of 2 calls of functions it replaces, in 1.50 ms
            calls        time
                1     1.50 ms  numpy.convolve
        and left 1 to the originals, in 0.02 ms with all that they call
                1     0.02 ms  numpy.convolve: a: got dtype object
        """
        with self._lock:
            sums, failures = dict(self._sums), list(self.failures)
        if not sums:
            return "fastconv: no function that it replaces was called"
        taken = [(calls, time, function) for (function, why), (calls, time) in sums.items() if not why]
        left = [(*sums[key], key) for key in sums if key[1]]
        calls, time = sum(row[0] for row in taken), sum(row[1] for row in taken)
        everything = calls + sum(row[0] for row in left)
        lines = [f"fastconv took {calls} of {everything} calls of functions it replaces, in {_ms(time)}"]
        lines.append(f"{'calls':>9}{'time':>12}")
        lines += [_line(*row) for row in sorted(taken, key=_longest_first)]
        if left:
            time = sum(row[1] for row in left)
            lines.append(f"and left {everything - calls} to the originals, in {_ms(time)} with all that they call")
            lines += _reasons(left)
        lines += [f"a defect of fastconv, please report it: {failure}" for failure in failures]
        return "\n".join(lines)


class _NoReport(Report):
    def _add(self, key: tuple[str, str], nanoseconds: int) -> None:
        pass

    def failed(self, function: str, why: str) -> None:
        pass


# For calls that nobody counts.
NO_REPORT: Final = _NoReport()


def _longest_first(row: tuple[int, int, object]) -> tuple[int, str]:
    return -row[1], str(row[2])


def _reasons(left: list[tuple[int, int, tuple[str, str]]]) -> Iterator[str]:
    by_function: dict[str, list[tuple[int, int, tuple[str, str]]]] = {}
    for row in sorted(left, key=_longest_first):
        by_function.setdefault(row[2][0], []).append(row)
    for function, rows in by_function.items():
        for calls, time, (_, why) in rows[:_MOST_REASONS]:
            yield _line(calls, time, f"{function}: {_short(why)}")
        if rest := rows[_MOST_REASONS:]:
            calls, time = sum(row[0] for row in rest), sum(row[1] for row in rest)
            yield _line(calls, time, f"{function}: {len(rest)} further reasons")


def _short(why: str) -> str:
    line = " ".join(why.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 3] + "..."


def _line(calls: int, time: int, text: str) -> str:
    return f"{calls:>9}{_ms(time):>12}  {text}"


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.2f} ms"
