"""Convolutions of bytes: how the weights lie in their panels, and how an image is cut into tiles.

The weights' layout depends on nothing of the image, so weights packed once serve images of every size.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import _tunables
from .._problem import Axis
from ..drivers import levels

# Output channels of a panel, FC_INT8_COLUMNS of kernels/fastconv.h.
COLUMNS = 32


class Layout(NamedTuple):
    """How weights are packed; `drivers/quantised.pyx` draws it.

    Attributes
    ----------
    level : str
    groups, channels, channels_out : int
        The last two per group.
    kernel : tuple of three int
        Taps along z, y and x.
    joined : bool
        Whether the taps of a kernel row read neighbouring pixels, so that they are one run of bytes.
    merged : int
        Groups that share a panel, with zeros where an output channel meets the input of another group.
    panels : int
        Of such a block of groups.
    runs, quads, chunk : int
        Runs of a panel; of each, quads with the zeros behind it, and those that the kernel takes at once.
    """

    level: str
    groups: int
    channels: int
    channels_out: int
    kernel: tuple[int, int, int]
    joined: bool
    merged: int
    panels: int
    runs: int
    quads: int
    chunk: int

    @property
    def blocks(self) -> int:
        """Blocks of groups."""
        return -(-self.groups // self.merged)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a packed pixel: the channels of a block of groups."""
        return self.merged * self.channels

    @property
    def panel_bytes(self) -> int:
        """Bytes of a panel of weights."""
        return self.runs * self.quads * COLUMNS * 4

    @property
    def taps(self) -> int:
        """Products an output is the sum of."""
        return self.channels * math.prod(self.kernel)

    def columns(self) -> np.ndarray:
        """Return the place of every output channel in the panels."""
        group, column = np.divmod(np.arange(self.groups * self.channels_out), self.channels_out)
        block, inside = np.divmod(group, self.merged)
        places: np.ndarray = (block * self.panels * COLUMNS + inside * self.channels_out + column).astype(np.intp)
        return places


class Tiles(NamedTuple):
    """How one image is cut, and where its packed tiles hold what; offsets and pitches in bytes.

    Attributes
    ----------
    layout : Layout
    batch : int
    axes : tuple of three Axis
        Of z, y and x.
    steps : tuple of three int
        Samples between packed rows, columns and planes: what no output reads is not packed.
    item_bytes : int
        Of one result.
    strip : int
        Outputs along x that one half of a register tile computes.
    tile_rows, tile_strips : int
    packed_rows, packed_columns : int
        Of a whole tile.
    row_pitch, plane_pitch, stage_pitch : int
    out_block : int
        Output channels whose results wait in the stage for their rows to be whole.
    runs : numpy.ndarray of intp
        The first byte of each run, from the first of an output.
    """

    layout: Layout
    batch: int
    axes: tuple[Axis, Axis, Axis]
    steps: tuple[int, int, int]
    item_bytes: int
    strip: int
    tile_rows: int
    tile_strips: int
    packed_rows: int
    packed_columns: int
    row_pitch: int
    plane_pitch: int
    stage_pitch: int
    out_block: int
    runs: np.ndarray

    @property
    def work(self) -> float:
        """Products of all outputs, in products of floats that take as long."""
        outputs = self.batch * self.layout.groups * self.layout.channels_out
        return outputs * self.layout.taps * math.prod(axis.out for axis in self.axes) / _tunables.INT8_PRODUCTS

    def describe(self) -> str:
        """Return the tiles in words."""
        layout = self.layout
        return (
            f"level: {layout.level}, {layout.blocks} blocks of {layout.merged} groups, {layout.panels} panels of "
            f"{layout.panel_bytes} bytes each\n"
            f"tile: {self.tile_rows} rows x {self.tile_strips} strips of {self.strip} outputs, "
            f"{self.plane_pitch * layout.kernel[0]} bytes when packed"
        )


def step(axis: Axis) -> int:
    """Return the distance of neighbours among the samples that outputs read."""
    return axis.stride if axis.k == 1 else math.gcd(axis.stride, axis.dilation)


def reach(axis: Axis, outputs: int) -> int:
    """Return how many packed samples so many outputs read."""
    return ((outputs - 1) * axis.stride + (axis.k - 1) * axis.dilation) // step(axis) + 1


@lru_cache(maxsize=1024)
def make_layout(
    level: str, groups: int, channels: int, channels_out: int, kernel: tuple[int, int, int], joined: bool
) -> Layout:
    """Return the layout of weights at a level."""
    merged = min(groups, max(COLUMNS // channels_out, 1))
    # The same number of blocks, of equal size as nearly as can be.
    merged = -(-groups // -(-groups // merged))
    neighbours = kernel[2] if joined else 1
    quads = -(-neighbours * merged * channels // 4)
    chunks = -(-quads // levels.describe(level)["int8_chunk"])
    chunk = -(-quads // chunks)
    return Layout(
        level=level,
        groups=groups,
        channels=channels,
        channels_out=channels_out,
        kernel=kernel,
        joined=joined,
        merged=merged,
        panels=-(-merged * channels_out // COLUMNS),
        runs=math.prod(kernel) // neighbours,
        quads=chunks * chunk,
        chunk=chunk,
    )


def make_tiles(layout: Layout, batch: int, axes: tuple[Axis, Axis, Axis], item_bytes: int) -> Tiles:
    """Cut the results of an image into tiles that fit the cache when packed."""
    z, y, x = axes
    most = levels.describe(layout.level)["int8_pixels"]
    strips = max(-(-x.out // most), 1)
    strip = max(-(-x.out // strips), 1)
    row_bytes = layout.pixel_bytes * z.k
    tile_rows = max(min(_tunables.INT8_TILE_ROWS, y.out), 1)

    def too_large(rows: int, columns: int) -> bool:
        packed, staged = reach(y, rows) * reach(x, columns) * row_bytes, rows * columns * item_bytes * COLUMNS
        return packed > _tunables.INT8_PACKED_BYTES or staged > _tunables.INT8_STAGE_BYTES

    while tile_rows > 1 and too_large(tile_rows, strip):
        tile_rows = -(-tile_rows // 2)
    tile_strips = strips
    while tile_strips > 1 and too_large(tile_rows, tile_strips * strip):
        tile_strips = -(-tile_strips // 2)

    columns = reach(x, tile_strips * strip)
    row_pitch = -(-columns * layout.pixel_bytes // 64) * 64
    packed_rows = reach(y, tile_rows)
    plane_pitch = packed_rows * row_pitch
    # An odd number of lines: rows of channels that lie a power of two apart would meet in the same sets of the cache.
    stage_lines = -(-(tile_rows * tile_strips * strip * item_bytes + 16) // 64) | 1
    out_block = max(_tunables.INT8_STAGE_BYTES // (64 * stage_lines * COLUMNS), 1) * COLUMNS
    x_taps = [0] if layout.joined else [i * x.dilation // step(x) * layout.pixel_bytes for i in range(x.k)]
    runs = [
        i * plane_pitch + j * y.dilation // step(y) * row_pitch + offset
        for i in range(z.k)
        for j in range(y.k)
        for offset in x_taps
    ]
    return Tiles(
        layout=layout,
        batch=batch,
        axes=axes,
        steps=(step(z), step(y), step(x)),
        item_bytes=item_bytes,
        strip=strip,
        tile_rows=tile_rows,
        tile_strips=tile_strips,
        packed_rows=packed_rows,
        packed_columns=columns,
        row_pitch=row_pitch,
        plane_pitch=plane_pitch,
        stage_pitch=64 * stage_lines,
        out_block=min(out_block, layout.panels * COLUMNS),
        runs=np.array(runs, np.intp),
    )
