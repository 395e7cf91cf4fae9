"""Weights that mean something: the filters of the image part, the filter banks of the first layers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]

SOBEL: Kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=np.float64)
LAPLACIAN: Kernel = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=np.float64)
SHARPEN: Kernel = np.array([[-1, -2, -1], [-2, 16, -2], [-1, -2, -1]], dtype=np.float64) / 4
EMBOSS: Kernel = np.array([[2, 1, 0], [1, 1, -1], [0, -1, -2]], dtype=np.float64)

# Weights that sum to 35: with 8 grey levels no sum reaches 256, where SciPy wraps and OpenCV clips.
PYRAMID: Kernel = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 3, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], dtype=np.float64
)
PYRAMID_LEVELS = 8

# Directions in colour space that the visual system, and first layers of trained networks, respond to.
RED_GREEN = (1.0, -1.0, 0.0)
BLUE_YELLOW = (-0.5, -0.5, 1.0)
GREY = (1.0, 1.0, 1.0)


def gaussian_reach(sigma: float) -> int:
    """How many samples scipy.ndimage's gaussian_filter looks at on each side."""
    return int(4.0 * sigma + 0.5)


def gaussian(size: int, sigma: float) -> Kernel:
    """Round blur of `size` x `size`, sum 1."""
    return streak(size, sigma, sigma, 0.0)


def streak(size: int, along: float, across: float, angle: float) -> Kernel:
    """Gaussian of width `along` in the direction `angle` (radians) and `across` at right angles, sum 1.

    Long and narrow it is the blur of a moving camera, without the zero taps of a drawn line, which some
    libraries leave out.
    """
    u, v = _turned_grid(size, angle)
    kernel = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    return kernel / kernel.sum()


def filter_bank(count: int, size: int) -> NDArray[np.float32]:
    """`count` oriented filters on RGB, (count, 3, size, size), much like those that networks learn.

    Gabor functions in equal steps of angle, the colours in turn grey (even and odd phase), red-green and
    blue-yellow, finer and coarser by turns. Every filter has the norm 1, and none answers to an even grey.
    """
    kinds = [(GREY, 0.0), (GREY, math.pi / 2), (RED_GREEN, math.pi / 2), (BLUE_YELLOW, 0.0)]
    angles = count // len(kinds)
    bank = [
        _colour_gabor(size, math.pi * step / angles, 0.28 if step % 2 else 0.18, phase, colour)
        for colour, phase in kinds
        for step in range(angles)
    ]
    if len(bank) != count:
        raise ValueError(f"count: got {count}, allowed: multiples of {len(kinds)}")
    return np.stack(bank).astype(np.float32)


def _colour_gabor(
    size: int, angle: float, frequency: float, phase: float, colour: tuple[float, float, float]
) -> Kernel:
    u, v = _turned_grid(size, angle)
    envelope = np.exp(-(u**2 + v**2) / (0.14 * (size + 1) ** 2))
    wave = envelope * np.cos(2 * math.pi * frequency * u + phase)
    if colour == GREY:
        wave -= envelope * (wave.sum() / envelope.sum())
    weights = np.multiply.outer(np.array(colour), wave)
    return weights / np.linalg.norm(weights)


def _turned_grid(size: int, angle: float) -> tuple[Kernel, Kernel]:
    """Coordinates around the centre of a `size` x `size` kernel, along `angle` and at right angles to it."""
    middle = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - middle
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
