"""Train a small convolutional network on scikit-learn's handwritten digits: `python -m examples.digits [--quick]`.

Two convolutions, each with a rectifier and pooling, and a dense layer read 1437 digits of 8 x 8 pixels and are tried on
360 others. The digits are those of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .network import Adam, Array, Conv, MaxPool, Network, batches, cross_entropy
from .pictures import Curve, draw_training

HELD_OUT = 360
BATCH = 32
RATE = 2e-3


def load() -> tuple[Array, NDArray[np.intp]]:
    """Return the digits, (1797, 1, 8, 8) between 0 and 1, and which they are, in a fixed random order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order, None] / 16).astype(np.float32)
    return images, digits.target[order].astype(np.intp)


def moved(rng: np.random.Generator, images: Array) -> Array:
    """Return the digits moved by a pixel at most, each its own way: nobody writes in the middle of the box."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    down, right = rng.integers(0, 3, (2, len(images)))
    return np.ascontiguousarray(windows[np.arange(len(images)), :, down, right])


def make_network(rng: np.random.Generator) -> Network:
    """Return the network: 8 x 8 pixels become 32 x 4 x 4, 64 x 2 x 2 and 10 scores."""
    return Network(
        [
            Conv(rng, (32, 1, 3, 3), padding=1),
            MaxPool(),
            Conv(rng, (64, 32, 3, 3), padding=1),
            MaxPool(),
            Conv(rng, (10, 64, 2, 2), rectify=False),
        ]
    )


def train(epochs: int, seed: int) -> tuple[Network, Curve, float]:
    """Return a trained network, its losses, and the share of held-out digits that it reads right."""
    rng = np.random.default_rng(seed)
    images, labels = load()
    network, losses = make_network(rng), []
    adam = Adam(network, RATE)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("training", total=epochs, state="")
        for epoch in range(epochs):
            adam.rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
            for some, theirs in batches(rng, images[HELD_OUT:], labels[HELD_OUT:], BATCH):
                loss, grad = cross_entropy(network.forward(moved(rng, some)), theirs)
                network.backward(grad)
                adam.update()
                losses.append(loss)
            right = float((network.classify(images[:HELD_OUT]) == labels[:HELD_OUT]).mean())
            progress.update(bar, advance=1, state=f"loss {loss:.3f}, held-out digits read right: {right:.1%}")
    return network, losses, right


def main() -> None:
    """Train, say how well, and save the picture."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four rounds instead of thirty")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("digits.png"), help="where to save the picture")
    options = parser.parse_args()
    start = time.perf_counter()
    network, losses, right = train(4 if options.quick else 30, options.seed)
    print(f"{right:.2%} of {HELD_OUT} held-out digits read right after {time.perf_counter() - start:.1f} s")
    draw_training(network, load()[0][:1], losses, options.out)
    print(f"kernels, feature maps and loss: {options.out}")


if __name__ == "__main__":
    main()
