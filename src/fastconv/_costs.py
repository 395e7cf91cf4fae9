"""The cost model in one table: what each kind of work takes, in vector multiply-adds at the peak.

A planner counts the work of its algorithm, such as ``{"gemm.product": 1.2e6, "gemm.store": 800.0}``; the cost is the
sum of the counts, each times its constant here. Only the ratios between plans count, so the unit is one that a CPU of
another clock has too: a full vector of multiply-adds at the rate that `drivers.levels.fma_rate` measures.

The constants were fitted to the times of random layers by ``python -m bench.cost_model --fit``, on the machine that
`_tunables` names. `fastconv.tune` fits them to the user's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final

from . import _wisdom

Work = Mapping[str, float]

# Fitted at x86_v4; the other levels have a line in TABLE where theirs differ.
CONSTANTS: Final[dict[str, float]] = {
    # --- what several algorithms share: packing a tile -----------------------------------------------------------
    # What a row of one channel takes besides its samples; a vector of samples that are neighbours, that a stride leaves
    # apart, that are turned from neighbouring channels, or that such channels keep apart, too few to be turned.
    "pack.tile": 430.0,
    "pack.row": 42.0,
    "pack.halo": 40.0,
    "pack.vector": 3.0,
    "pack.strided": 42.0,
    "pack.turned": 27.0,
    "pack.pieces": 47.0,
    "pack.apart": 37.0,
    # --- direct, lanes = columns ---------------------------------------------------------------------------------
    # A call of the driver; a call of the kernel: one output channel on one tile; a plane in a register tile, the set-up
    # of its loops; a product; a vector of samples that is loaded; a vector of results that is stored through scratch.
    "direct.call": 8600.0,
    "direct.tile": 210.0,
    "direct.plane": 15.0,
    "direct.product": 1.1,
    "direct.load": 3.2,
    "direct.store": 14.0,
    "direct.spread": 93.0,
    "direct.copied": 18.0,
    "direct.clear": 1.2,
    "direct.far": 36.0,
    # --- direct, lanes = channels of a depthwise layer -----------------------------------------------------------
    # A call; a product, one of taps without neighbours, and what else a vector of results takes, which is mostly the
    # wait for memory; a vector of samples that is gathered, one of results that is turned back.
    "depthwise.call": 1.6e4,
    "depthwise.tap": 1.8,
    "depthwise.lone_tap": 2.7,
    "depthwise.output": 13.0,
    "depthwise.address": 17.0,
    "depthwise.far": 31.0,
    "depthwise.gather": 8.9,
    "depthwise.scatter": 8.0,
    # --- implicit GEMM, lanes = output channels ------------------------------------------------------------------
    # A call; a register tile; a product; a vector of results that is turned into pixels, that is stored as it is, or
    # element by element; a vector of weights that is packed, in a plain call.
    "gemm.call": 1.0e4,
    "gemm.tile": 11.0,
    "gemm.product": 1.5,
    "gemm.turned": 16.0,
    "gemm.stored": 16.0,
    "gemm.pieces": 28.0,
    "gemm.scattered": 60.0,
    "gemm.weights": 23.0,
    "gemm.far_weights": 8.6,
    "gemm.far": 39.0,
    # The same for phases of a row that are interleaved; a phase with a schedule of its own: about 5 us.
    "phases.stored": 14.0,
    "phases.call": 2.5e4,
    # --- implicit GEMM, lanes = pixels ---------------------------------------------------------------------------
    # A call; a call of the kernel: some output channels on one panel of pixels; a product; a vector of sums each time
    # it goes to memory; a vector of samples that is unrolled.
    "pixels.call": 8300.0,
    "pixels.item": 690.0,
    "pixels.tile": 39.0,
    "pixels.product": 1.3,
    "pixels.visit": 7.2,
    "pixels.unroll": 8.4,
    "pixels.stored": 85.0,
    "pixels.far_weights": 19.0,
    "pixels.far": 38.0,
    # --- Winograd ------------------------------------------------------------------------------------------------
    # A call; a call of the kernel of products; a product; and for each frequency and vector: of a tile for its samples,
    # its sums each time they go to memory, and its results; of a channel for its weights, and for packing those.
    "winograd.call": 9800.0,
    "winograd.tile": 180.0,
    "winograd.product": 1.7,
    "winograd.input": 28.0,
    "winograd.fold": 5.0,
    "winograd.output": 14.0,
    "winograd.weights": 12.0,
    "winograd.taps": 17.0,
    "winograd.far_weights": 10.0,
    "winograd.far": 32.0,
    # --- FFT tiles -----------------------------------------------------------------------------------------------
    # A call; a point of a tile, for each level of the tree, for the transpositions of each direction, and for the
    # product with one channel. Counted from the code, over the share of the peak that was measured.
    "fft.call": 1.7e4,
    "fft.level": 6.4,
    "fft.turn": 39.0,
    "fft.product": 53.0,
    "fft.weights": 7.1,
    "fft.far": 63.0,
}

# By level, where constants differ from those above. Levels that have the kernels of another but for bytes share its.
TABLE: Final[dict[str, dict[str, float]]] = {}

# Constants that were measured count if they are within this factor of those here.
BOUND: Final = 20.0

_in_use: dict[str, dict[str, float]] = {}


def defaults(level: str) -> dict[str, float]:
    """Return the constants that fastconv comes with."""
    family = next((name for name in TABLE if level.startswith(name)), "")
    return CONSTANTS | TABLE.get(family, {})


def constants(level: str) -> dict[str, float]:
    """Return the constants of a level that are in use: measured ones, if there are any."""
    found = _in_use.get(level)
    if found is None:
        found = defaults(level)
        measured = _wisdom.known(level).constants
        if measured and plausible(measured, found):
            found = measured
        found = _in_use.setdefault(level, found)
    return found


def plausible(measured: dict[str, float], usual: dict[str, float]) -> bool:
    """Return whether measured constants may be used; if not, warn."""
    if measured.keys() == usual.keys() and all(1 / BOUND <= measured[name] / usual[name] <= BOUND for name in usual):
        return True
    warnings.warn(f"fastconv ignores constants in {_wisdom.path()}: they are not those of a cost", RuntimeWarning, 2)
    return False


def use(level: str, measured: dict[str, float]) -> None:
    """Use measured constants from now on, in this process."""
    _wisdom.remember_constants(level, measured)
    forget()


def forget() -> None:
    """Look the constants up again when they are asked for."""
    _in_use.clear()


def total(work: Work, level: str) -> float:
    """Return the cost of work."""
    table = constants(level)
    return sum(count * table[name] for name, count in work.items())
