"""One case measured: every peer checked against the definition, then timed in turn with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import agreement, machine
from .cases import Case
from .peers import Peer
from .timing import Effort, Timed, race

Report = Callable[[str], None]

OURS = "fastconv"
_COPY = "np.copyto"


@dataclass
class Result:
    """What one case gave.

    `seconds` holds the peers that agree, `refused` the reason for those that do not; a peer in neither
    does not offer the work. `copy_seconds` is np.copyto of as many bytes as the case has to read and write.
    """

    name: str
    dtype: str
    flops: int
    seconds: dict[str, float]
    refused: dict[str, str]
    copy_seconds: float
    picture: NDArray | None = field(repr=False, default=None)

    def ratio(self, peer: str) -> float | None:
        """How many times the time of fastconv `peer` takes."""
        if OURS not in self.seconds or peer not in self.seconds:
            return None
        return self.seconds[peer] / self.seconds[OURS]


@dataclass(frozen=True)
class Limit:
    """The share of what the machine could do that a time stands for, and which wall is the nearer."""

    share: float
    wall: str


def measure(case: Case, peers: Sequence[Peer], effort: Effort, report: Report) -> Result:
    """Check, then time, `case` in every one of `peers`."""
    agreeing, refused = check(case, peers, report)
    report(f"{case.name}: timing")
    copy = Timed.once(_copy_of_same_size(case))
    seconds = race({**agreeing, _COPY: copy}, effort)
    copy_seconds = seconds.pop(_COPY)
    picture = agreeing[OURS].result if OURS in agreeing else None
    return Result(case.name, case.x.dtype.name, case.flops, seconds, refused, copy_seconds, picture)


def check(case: Case, peers: Iterable[Peer], report: Report) -> tuple[dict[str, Timed], dict[str, str]]:
    """The calls of the peers that agree with the definition, and for the others why not."""
    truth = case.truth()
    allowed = agreement.tolerance(case.x, case.w)
    agreeing: dict[str, Timed] = {}
    refused: dict[str, str] = {}
    for peer in peers:
        report(f"{case.name}: checking {peer.name}")
        try:
            work = case.work(peer)
            if work is None:
                continue
            first = Timed.once(work)
            reason = agreement.disagreement(first.result, truth, allowed, case.margin)
        except Exception as error:  # whatever another library raises is the reason why it has no time
            refused[peer.name] = f"{type(error).__name__}: {error}"
            continue
        if reason:
            refused[peer.name] = reason
        else:
            agreeing[peer.name] = first
    return agreeing, refused


def limit(seconds: float, flops: int, peak: float | None, copy_seconds: float) -> Limit:
    """The larger of the shares of the FMA peak and of the copy bandwidth: the nearer wall is the limit.

    A share of the copy can exceed 1 where a kernel writes past the cache and np.copyto does not.
    """
    fma = flops / seconds / peak if peak else 0.0
    copy = copy_seconds / seconds
    return Limit(fma, "FMA") if fma > copy else Limit(copy, "copy")


def peaks(dtypes: Iterable[str]) -> dict[str, float]:
    """FMA peak of one core, flops a second, for the floating-point ones of `dtypes`."""
    rates = {name: machine.fma_peak(np.dtype(name)) for name in dtypes}
    return {name: rate for name, rate in rates.items() if rate}


def _copy_of_same_size(case: Case) -> Callable[[], None]:
    size = (case.x.nbytes + case.w.nbytes + case.result_bytes) // 2
    source, target = np.ones(size, dtype=np.uint8), np.ones(size, dtype=np.uint8)
    return lambda: np.copyto(target, source)
