"""The photograph: read, greyed, cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# (height, width, 3), between 0 and 1.
Rgb = NDArray[np.float32]

# The slowest peer needs a second for the largest kernel on a picture of this size.
LARGEST_SIDE = 2048
SMALLEST_SIDE = 32

# What an eye sees of red, green and blue (ITU-R BT.709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def read(path: Path | None) -> Rgb:
    """The picture as (height, width, 3) float32 between 0 and 1.

    Without a `path`: the portrait of Eileen Collins that scikit-image ships. A picture larger than
    `LARGEST_SIDE` is cropped to its centre.
    """
    import skimage.data
    import skimage.io
    from skimage.util import img_as_float32

    try:
        pixels = skimage.data.astronaut() if path is None else skimage.io.imread(path)
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        raise ValueError(f"image: {path} cannot be read: {error}") from error
    return _centre(_as_rgb(img_as_float32(pixels)), LARGEST_SIDE, LARGEST_SIDE)


def grey(rgb: Rgb) -> NDArray[np.float32]:
    """Luminance of an RGB picture, (height, width)."""
    return np.ascontiguousarray(rgb @ LUMINANCE)


def network_input(rgb: Rgb, side: int) -> NDArray[np.float32]:
    """The picture as a network takes it: (1, 3, side, side), the centre square, each colour around zero."""
    from skimage.transform import resize

    short = min(rgb.shape[:2])
    square = resize(_centre(rgb, short, short), (side, side), anti_aliasing=True).astype(np.float32)
    return np.ascontiguousarray((square - square.mean(axis=(0, 1))).transpose(2, 0, 1))[None]


def _as_rgb(pixels: NDArray[np.float32]) -> Rgb:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ValueError(f"image: got shape {pixels.shape}, allowed: one grey, RGB or RGBA picture")
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"image: got {pixels.shape[:2]} pixels, allowed: at least {SMALLEST_SIDE} a side")
    return np.ascontiguousarray(pixels[:, :, :3])


def _centre(rgb: Rgb, height: int, width: int) -> Rgb:
    top = max(0, (rgb.shape[0] - height) // 2)
    left = max(0, (rgb.shape[1] - width) // 2)
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])
