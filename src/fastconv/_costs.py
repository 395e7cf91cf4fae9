"""The cost model in one table: what each kind of work takes, in vector multiply-adds at the peak.

A planner counts the work of its algorithm, such as ``{"gemm.product": 1.2e6, "gemm.call": 1.0}``; the cost is the sum
of the counts, each times its constant here. Only the ratios between plans count, so the unit is one that a CPU of
another clock has too: a full vector of multiply-adds at the rate that `drivers.levels.fma_rate` measures.

The constants were fitted to the times of 1250 random layers by `_tune.fit`, at x86_v4 on the machine that `_tunables`
names while that had other work to do, as ``python -m bench.cost_model --fit`` does; so a product takes more than 1.
`fastconv.tune` fits them to the user's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final

from . import _wisdom

Work = Mapping[str, float]

# For every level: those of x86_v4 pick as well at x86_v3, what is within 10 % of the best for 94 % of 200 layers.
CONSTANTS: Final[dict[str, float]] = {
    # --- what several algorithms share: packing a tile -------------------------------------------------------------
    # A packed tile; a row of one channel, or of a vector of channels that are turned; and a vector of samples: one
    # that lies outside the input, one of neighbours, of what a stride leaves apart, of neighbouring channels that are
    # turned, what such a one takes more if it is not filled, and of channels that are too few to be turned.
    "pack.tile": 270.0,
    "pack.row": 29.0,
    "pack.halo": 44.0,
    "pack.vector": 12.0,
    "pack.strided": 30.0,
    "pack.turned": 25.0,
    "pack.pieces": 22.0,
    "pack.apart": 30.0,
    # --- direct, lanes = columns -----------------------------------------------------------------------------------
    # A call of the driver; a call of the kernel, which computes one output channel of a tile; a plane in a register
    # tile, the set-up of its loops; a product; a vector of samples that is loaded; a vector of results that is stored
    # one by one, into lines that L1 holds or does not; a row of results that is narrow and copied; a vector of a
    # packed tile that is cleared; a vector of the arrays that L2 does not hold.
    "direct.call": 7100.0,
    "direct.tile": 190.0,
    "direct.plane": 27.0,
    "direct.product": 0.72,
    "direct.load": 3.5,
    "direct.store": 25.0,
    "direct.spread": 90.0,
    "direct.copied": 17.0,
    "direct.clear": 11.0,
    "direct.far": 23.0,
    # --- direct, lanes = channels of a depthwise layer -------------------------------------------------------------
    # A call; a product, one of taps without neighbours; what else a vector of results takes; an address in the table;
    # a vector beyond L2; a vector of samples that is gathered, one of results that is turned back.
    "depthwise.call": 1.5e4,
    "depthwise.tap": 1.5,
    "depthwise.lone_tap": 2.8,
    "depthwise.output": 23.0,
    "depthwise.address": 15.0,
    "depthwise.far": 17.0,
    "depthwise.gather": 3.1,
    "depthwise.scatter": 2.5,
    # --- implicit GEMM, lanes = output channels --------------------------------------------------------------------
    # A call; a register tile; a product; a vector of results that is turned into pixels, that is stored as it is,
    # what it takes more in pieces, or element by element; a vector of weights that is packed, in a plain call, one
    # that is not filled, and one that L2 does not hold; a vector of the arrays beyond L2.
    "gemm.call": 9800.0,
    "gemm.tile": 13.0,
    "gemm.product": 1.5,
    "gemm.turned": 16.0,
    "gemm.stored": 17.0,
    "gemm.pieces": 13.0,
    "gemm.scattered": 80.0,
    "gemm.weights": 17.0,
    "gemm.odd_weights": 34.0,
    "gemm.far_weights": 19.0,
    "gemm.far": 26.0,
    # --- inputs with zeros between their samples -------------------------------------------------------------------
    # A vector of results whose phases are interleaved; a phase with a schedule of its own. Not fitted.
    "phases.stored": 18.0,
    "phases.call": 2.5e4,
    # --- implicit GEMM, lanes = pixels -----------------------------------------------------------------------------
    # A call; a tile; a call of the kernel, for some output channels on one panel of pixels; a product; a vector of
    # sums each time it goes to memory; a vector of samples that is unrolled; a line of results that is not stored in
    # place; vectors beyond L2 of the weights, for each tile, and of the arrays.
    "pixels.call": 7300.0,
    "pixels.item": 830.0,
    "pixels.tile": 30.0,
    "pixels.product": 1.3,
    "pixels.visit": 9.1,
    "pixels.unroll": 8.7,
    "pixels.stored": 110.0,
    "pixels.far_weights": 20.0,
    "pixels.far": 23.0,
    # --- Winograd --------------------------------------------------------------------------------------------------
    # A call; a call of the kernel of products; a product; for each frequency, a vector of a tile's samples, of its
    # sums each time they go to memory, and of its results; a vector of weights at a frequency, and of the taps that
    # it is made of; vectors beyond L2 of the weights, for each block, and of the arrays.
    "winograd.call": 8200.0,
    "winograd.tile": 250.0,
    "winograd.product": 1.2,
    "winograd.input": 29.0,
    "winograd.fold": 4.1,
    "winograd.output": 7.7,
    "winograd.weights": 14.0,
    "winograd.taps": 17.0,
    "winograd.far_weights": 9.3,
    "winograd.far": 76.0,
    # --- FFT tiles -------------------------------------------------------------------------------------------------
    # A call; a vector of points: of a level of the tree, of the transpositions of a direction, of the product with
    # one channel, of a level for the weights, of a product whose spectra L2 does not hold; a vector of the arrays
    # beyond it.
    "fft.call": 1.0e4,
    "fft.level": 4.9,
    "fft.turn": 32.0,
    "fft.product": 46.0,
    "fft.weights": 11.0,
    "fft.far": 46.0,
    "fft.arrays": 99.0,
}

# Constants that were measured count if they are within this factor of those here.
BOUND: Final = 20.0

_in_use: dict[str, dict[str, float]] = {}


def constants(level: str) -> dict[str, float]:
    """Return the constants of a level that are in use: measured ones, if there are any."""
    found = _in_use.get(level)
    if found is None:
        found = CONSTANTS
        if measured := _wisdom.known(level).constants:
            if plausible(measured):
                found = measured
            else:
                _wisdom.remember_constants(level, {})
                where = _wisdom.path()
                warnings.warn(f"fastconv ignores {where}: its constants are not those of a cost", RuntimeWarning, 2)
        found = _in_use.setdefault(level, found)
    return found


def plausible(measured: dict[str, float]) -> bool:
    """Return whether measured constants may be used: they have the names of those here, and are of their size."""
    if measured.keys() != CONSTANTS.keys():
        return False
    return all(1 / BOUND <= value / CONSTANTS[name] <= BOUND for name, value in measured.items())


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
