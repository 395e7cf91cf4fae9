"""The cost model in one table: what each kind of work takes, in vector multiply-adds at the peak.

A planner counts the work of its algorithm, such as ``{"gemm.product": 1.2e6, "gemm.call": 1.0}``; the cost is the sum
of the counts, each times its constant here. Only the ratios between plans count, so the unit is one that a CPU of
another clock has too: a full vector of multiply-adds at the rate that `drivers.levels.fma_rate` measures.

The constants were fitted to the times of 550 random layers by `_tune.fit`, at x86_v4 on the machine that `_tunables`
names while that had other work to do, as ``python -m bench.cost_model --fit`` does; so a product takes more than 1.
`fastconv.tune` fits them to the user's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final

from . import _wisdom

Work = Mapping[str, float]

# Fitted at x86_v4; the other levels have a line in TABLE where theirs differ.
CONSTANTS: Final[dict[str, float]] = {
    # --- what several algorithms share: packing a tile -------------------------------------------------------------
    # A packed tile; a row of one channel, or of a vector of channels that are turned; and a vector of samples: one
    # that lies outside the input, one of neighbours, of what a stride leaves apart, of neighbouring channels that are
    # turned, what such a one takes more if it is not filled, and of channels that are too few to be turned.
    "pack.tile": 290.0,
    "pack.row": 35.0,
    "pack.halo": 41.0,
    "pack.vector": 11.0,
    "pack.strided": 38.0,
    "pack.turned": 24.0,
    "pack.pieces": 25.0,
    "pack.apart": 24.0,
    # --- direct, lanes = columns -----------------------------------------------------------------------------------
    # A call of the driver; a call of the kernel, which computes one output channel of a tile; a plane in a register
    # tile, the set-up of its loops; a product; a vector of samples that is loaded; a vector of results that is stored
    # one by one, into lines that L1 holds or does not; a row of results that is narrow and copied; a vector of a
    # packed tile that is cleared; a vector of the arrays that L2 does not hold.
    "direct.call": 7900.0,
    "direct.tile": 140.0,
    "direct.plane": 34.0,
    "direct.product": 0.78,
    "direct.load": 3.4,
    "direct.store": 25.0,
    "direct.spread": 87.0,
    "direct.copied": 11.0,
    "direct.clear": 1.8,
    "direct.far": 29.0,
    # --- direct, lanes = channels of a depthwise layer -------------------------------------------------------------
    # A call; a product, one of taps without neighbours; what else a vector of results takes; an address in the table;
    # a vector beyond L2; a vector of samples that is gathered, one of results that is turned back.
    "depthwise.call": 1.4e4,
    "depthwise.tap": 1.9,
    "depthwise.lone_tap": 3.0,
    "depthwise.output": 13.0,
    "depthwise.address": 19.0,
    "depthwise.far": 27.0,
    "depthwise.gather": 4.7,
    "depthwise.scatter": 3.8,
    # --- implicit GEMM, lanes = output channels --------------------------------------------------------------------
    # A call; a register tile; a product; a vector of results that is turned into pixels, that is stored as it is,
    # what it takes more in pieces, or element by element; a vector of weights that is packed, in a plain call, and
    # one that L2 does not hold; a vector of the arrays beyond L2.
    "gemm.call": 1.0e4,
    "gemm.tile": 12.0,
    "gemm.product": 1.4,
    "gemm.turned": 17.0,
    "gemm.stored": 18.0,
    "gemm.pieces": 31.0,
    "gemm.scattered": 80.0,
    "gemm.weights": 25.0,
    "gemm.odd_weights": 50.0,
    "gemm.far_weights": 11.0,
    "gemm.far": 32.0,
    # --- inputs with zeros between their samples -------------------------------------------------------------------
    # A vector of results whose phases are interleaved; a phase with a schedule of its own. Not fitted.
    "phases.stored": 18.0,
    "phases.call": 2.5e4,
    # --- implicit GEMM, lanes = pixels -----------------------------------------------------------------------------
    # A call; a tile; a call of the kernel, for some output channels on one panel of pixels; a product; a vector of
    # sums each time it goes to memory; a vector of samples that is unrolled; a line of results that is not stored in
    # place; vectors beyond L2 of the weights, for each tile, and of the arrays.
    "pixels.call": 7500.0,
    "pixels.item": 810.0,
    "pixels.tile": 34.0,
    "pixels.product": 1.3,
    "pixels.visit": 7.9,
    "pixels.unroll": 8.8,
    "pixels.stored": 94.0,
    "pixels.far_weights": 18.0,
    "pixels.far": 26.0,
    # --- Winograd --------------------------------------------------------------------------------------------------
    # A call; a call of the kernel of products; a product; for each frequency, a vector of a tile's samples, of its
    # sums each time they go to memory, and of its results; a vector of weights at a frequency, and of the taps that
    # it is made of; vectors beyond L2 of the weights, for each block, and of the arrays.
    "winograd.call": 6400.0,
    "winograd.tile": 240.0,
    "winograd.product": 1.4,
    "winograd.input": 28.0,
    "winograd.fold": 3.9,
    "winograd.output": 9.7,
    "winograd.weights": 14.0,
    "winograd.taps": 15.0,
    "winograd.far_weights": 9.7,
    "winograd.far": 45.0,
    # --- FFT tiles -------------------------------------------------------------------------------------------------
    # A call; a vector of points: of a level of the tree, of the transpositions of a direction, of the product with
    # one channel, of a level for the weights, of a product whose spectra L2 does not hold; a vector of the arrays
    # beyond it.
    "fft.call": 8300.0,
    "fft.level": 6.6,
    "fft.turn": 31.0,
    "fft.product": 41.0,
    "fft.weights": 8.6,
    "fft.far": 56.0,
    "fft.arrays": 69.0,
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
