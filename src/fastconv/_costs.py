"""The cost model in one table: what each kind of work takes, in vector multiply-adds at the peak.

A planner counts the work of its algorithm, such as ``{"gemm.product": 1.2e6, "gemm.call": 1.0}``; the cost is the sum
of the counts, each times its constant here. Only the ratios between plans count, so the unit is one that a CPU of
another clock has too: a full vector of multiply-adds at the rate that `drivers.levels.fma_rate` measures.

The constants were fitted to the times of 1000 random layers, at x86_v4 on the machine that `_tunables` names, by
``python -m bench.cost_model --fit``; what is picked of 200 others is within 10 % of the best for 94 %, and at worst
takes 1.35 times as long. `fastconv.tune` fits them to the user's CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final

from . import _wisdom
from .drivers import levels

Work = Mapping[str, float]

# For every level: those of x86_v4 pick as well at x86_v3, what is within 10 % of the best for 94 % of 200 layers.
_FITTED: Final[dict[str, float]] = {
    # --- what several algorithms share: packing a tile -------------------------------------------------------------
    # A packed tile; a row of one channel, or of a vector of channels that are turned; and a vector of samples: one
    # that lies outside the input, one of neighbours, of what a stride leaves apart, of neighbouring channels that are
    # turned, what such a one takes more if it is not filled, and of channels that are too few to be turned.
    "pack.tile": 126.0,
    "pack.row": 45.6,
    "pack.halo": 19.9,
    "pack.vector": 3.43,
    "pack.strided": 9.77,
    "pack.turned": 19.2,
    "pack.pieces": 31.2,
    "pack.apart": 44.4,
    # --- direct, lanes = columns -----------------------------------------------------------------------------------
    # A call of the driver; a call of the kernel, which computes one output channel of a tile; a plane in a register
    # tile, the set-up of its loops; a product; a vector of samples that is loaded; a vector of results that is stored
    # one by one, into lines that L1 holds or does not; a row of results that is narrow and copied; a vector of a
    # packed tile that is cleared; a vector of the arrays that L2 does not hold.
    "direct.call": 7_450.0,
    "direct.tile": 200.0,
    "direct.plane": 19.6,
    "direct.product": 0.741,
    "direct.load": 3.32,
    "direct.store": 15.4,
    "direct.spread": 65.8,
    "direct.copied": 15.8,
    "direct.clear": 14.3,
    "direct.far": 14.5,
    # --- direct, lanes = channels of a depthwise layer -------------------------------------------------------------
    # A call; a product, one of taps without neighbours; what else a vector of results takes; an address in the table;
    # a vector beyond L2; a vector of samples that is gathered, one of results that is turned back.
    "depthwise.call": 17_900.0,
    "depthwise.tap": 1.29,
    "depthwise.lone_tap": 2.53,
    "depthwise.output": 20.3,
    "depthwise.address": 10.6,
    "depthwise.far": 15.0,
    "depthwise.gather": 3.08,
    "depthwise.scatter": 2.44,
    # --- implicit GEMM, lanes = output channels --------------------------------------------------------------------
    # A call; a register tile; a product; a vector of results that is turned into pixels, that is stored as it is,
    # what it takes more in pieces, or element by element; a vector of weights that is packed, in a plain call, one
    # that is not filled, and one that L2 does not hold; a vector of the arrays beyond L2.
    "gemm.call": 9_330.0,
    "gemm.tile": 12.7,
    "gemm.product": 1.5,
    "gemm.turned": 15.2,
    "gemm.stored": 8.25,
    "gemm.pieces": 10.8,
    "gemm.scattered": 80.0,
    "gemm.weights": 19.9,
    "gemm.odd_weights": 32.5,
    "gemm.far_weights": 18.3,
    "gemm.far": 15.4,
    # --- inputs with zeros between their samples -------------------------------------------------------------------
    # A vector of results whose phases are interleaved; a phase with a schedule of its own. Not fitted.
    "phases.stored": 18.0,
    "phases.call": 25_000.0,
    # --- implicit GEMM, lanes = pixels -----------------------------------------------------------------------------
    # A call; a tile; a call of the kernel, for some output channels on one panel of pixels; a product; a vector of
    # products of a pixel that is summed by itself; a vector of sums each time it goes to memory; a vector of samples
    # that is unrolled; a line of results that is not stored in place; vectors beyond L2 of the weights, for each tile,
    # and of the arrays.
    "pixels.call": 6_640.0,
    "pixels.item": 692.0,
    "pixels.tile": 35.3,
    "pixels.product": 1.32,
    "pixels.odd": 10.0,
    "pixels.visit": 7.28,
    "pixels.unroll": 10.6,
    "pixels.stored": 163.0,
    "pixels.far_weights": 19.8,
    "pixels.far": 10.5,
    # --- Winograd --------------------------------------------------------------------------------------------------
    # A call; a call of the kernel of products; a product; for each frequency, a vector of a tile's samples, of its
    # sums each time they go to memory, and of its results; a vector of weights at a frequency, and of the taps that
    # it is made of; vectors beyond L2 of the weights, for each block, and of the arrays. Not fitted: of transformed
    # weights that a plan keeps there, 64 bytes at 12 GB/s, more than it takes to make them again.
    "winograd.call": 14_900.0,
    "winograd.tile": 171.0,
    "winograd.product": 1.24,
    "winograd.input": 27.1,
    "winograd.fold": 6.01,
    "winograd.output": 9.61,
    "winograd.weights": 14.9,
    "winograd.taps": 12.0,
    "winograd.far_weights": 9.17,
    "winograd.far": 36.5,
    "winograd.kept_weights": 27.0,
    # A vector of samples or results that lie apart, on lattices. Not fitted.
    "lattices.vector": 115.0,
    # What a call takes that sees its arrays with fewer axes, or that copies them with the last one in front; a vector
    # of these. Not fitted.
    "merged.call": 12_500.0,
    "turned.call": 39_000.0,
    "turned.vector": 95.0,
    # --- FFT tiles -------------------------------------------------------------------------------------------------
    # A call; a vector of points: of a level of the tree, of the transpositions of a direction, of the product with
    # one channel, of a level for the weights, of a product whose spectra L2 does not hold; a vector of the arrays
    # beyond it.
    "fft.call": 13_200.0,
    "fft.level": 4.07,
    "fft.turn": 41.3,
    "fft.product": 28.6,
    "fft.weights": 12.3,
    "fft.far": 25.2,
    "fft.arrays": 36.0,
}

# Where CPUs differ from that machine, by the names of their makers. AMD's L3 is near: Zen 4 fetches 30 GB/s while it
# multiplies, and 512 channels of 14 x 14 take 3.1 ms with weights that are kept there, 4.9 ms with such made again.
_BY_MAKER: Final[dict[str, dict[str, float]]] = {"AuthenticAMD": {"winograd.kept_weights": 4.0}}

CONSTANTS: Final[dict[str, float]] = _FITTED | _BY_MAKER.get(levels.maker(), {})

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
