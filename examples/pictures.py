"""What the examples draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastconv

from .network import Array, Conv, Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = list[float]


def tiled(images: Array, columns: int) -> Array:
    """Return images, (n, height, width), side by side, each on its own scale, with a gap in between."""
    n, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        spread = float(np.ptp(image)) or 1.0
        sheet[top : top + height, left : left + width] = (image - image.min()) / spread
    return sheet


def show(axes: Any, image: Array, title: str) -> None:
    """Show a grey picture."""
    axes.imshow(image, cmap="gray")
    axes.set_title(title)
    axes.axis("off")


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_training(network: Network, image: Array, losses: Curve, path: Path) -> None:
    """Save the kernels, the feature maps of one image, (1, 1, height, width), and the loss."""
    convolutions = [layer for layer in network.layers if isinstance(layer, Conv)]
    figure = new_figure(11, 7)
    axes = figure.subplots(2, 3)
    show(axes[0, 0], image[0, 0], "a held-out image")
    show(axes[0, 1], tiled(convolutions[0].parameters[0][:, 0], 4), "kernels of the first layer")
    show(axes[0, 2], tiled(convolutions[1].parameters[0][:, 0], 8), "of the second, for its first input")
    x = image
    maps = []
    for layer in network.layers:
        x = layer.forward(x)
        if isinstance(layer, Conv) and layer.rectify:
            maps.append(x[0])
    show(axes[1, 0], tiled(maps[0], 4), "what the first layer sees")
    show(axes[1, 1], tiled(maps[1], 8), "what the second layer sees")
    smooth = fastconv.convolve(losses, np.full(20, 1 / 20), "valid") if len(losses) > 20 else np.array(losses)
    axes[1, 2].semilogy(losses, color="0.8", linewidth=0.5)
    axes[1, 2].semilogy(np.arange(len(smooth)) + len(losses) - len(smooth), smooth)
    axes[1, 2].set(title="loss", xlabel="step")
    figure.savefig(path, dpi=120)


def draw_faces(photo: Array, faces: Sequence[tuple[float, float, float, float]], path: Path) -> None:
    """Save a photograph, (height, width, 3), with squares: top, left, side and score of each."""
    from matplotlib.patches import Rectangle

    figure = new_figure(7, 7 * photo.shape[0] / photo.shape[1])
    axes = figure.subplots()
    axes.imshow(photo)
    axes.axis("off")
    for top, left, side, score in faces:
        axes.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="lime", linewidth=2))
        axes.text(left, top - 3, f"{score:.1f}", color="lime")
    figure.savefig(path, dpi=100)
