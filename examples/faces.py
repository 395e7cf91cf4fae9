"""Find faces, learnt from scikit-image's 200 small pictures, in a photograph: `python -m examples.faces [--quick]`.

A hundred faces and a hundred other pieces of the photographs of "Labeled Faces in the Wild" (G. Huang and others,
University of Massachusetts, 2007), 25 x 25 pixels each, train a network of three convolutions. It then looks at every
fourth pixel of a photograph, at several scales, for what it takes for a face.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from .network import Adam, Array, Conv, Dropout, MaxPool, Network, batches, cross_entropy
from .pictures import draw_faces

SIDE = 25
STEP = 4  # pixels between neighbouring pieces of a photograph
HELD_OUT = 40
BATCH = 20
RATE = 2e-3
DECAY = 0.01

# Pictures of scikit-image's without a face; in each round so many are looked at for their pieces that look like one,
# of which the newest are learnt from.
OTHERS = ("coffee", "rocket", "clock", "page", "gravel", "brick", "moon", "hubble_deep_field")
LOOKED_AT = 4
FEW = 100
HARD = 1000

# From one scale of the photograph to the next.
SHRINK = 0.87

# Squares of which both cover this part are votes for the same face. A face has votes of this sum.
MOST_SHARED = 0.4
LEAST_SCORE = 4.0

# Two faces share less than this.
LEAST_APART = 0.1


class Face(NamedTuple):
    """A square of the photograph, in pixels, and how sure the network is."""

    top: float
    left: float
    side: float
    score: float


def even_light(pieces: Array) -> Array:
    """Return pieces, (..., 25, 25), of the same brightness and contrast."""
    bright = pieces - pieces.mean(axis=(-2, -1), keepdims=True)
    result: Array = bright / (bright.std(axis=(-2, -1), keepdims=True) + np.float32(0.02))
    return result


def load() -> tuple[Array, NDArray[np.intp]]:
    """Return the small pictures, (200, 1, 25, 25) between 0 and 1, and which are faces, in a fixed random order."""
    from skimage.data import lfw_subset

    images = lfw_subset().astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], (order < len(images) // 2).astype(np.intp)


def load_others() -> list[Array]:
    """Return pictures without faces, (height, width) between 0 and 1, at several scales."""
    import skimage.data
    from skimage.util import img_as_float32

    pictures = [img_as_float32(getattr(skimage.data, name)()) for name in OTHERS]
    grey = [picture[:, :, :3].mean(axis=2) if picture.ndim == 3 else picture for picture in pictures]
    return [scaled for picture in grey for _, scaled in scales(picture)]


def pieces_of(picture: Array) -> Array:
    """Return the pieces of a picture, (rows, columns, 25, 25), without a copy."""
    return np.lib.stride_tricks.sliding_window_view(picture, (SIDE, SIDE))[::STEP, ::STEP]


def margin_of(network: Network, picture: Array) -> Array:
    """Return how much more like a face than like anything else each piece of a picture looks, (rows, columns)."""
    rows = []
    for pieces in pieces_of(picture):
        scores = network.forward(even_light(pieces)[:, None])[:, :, 0, 0]
        rows.append(scores[:, 1] - scores[:, 0])
    return np.array(rows)


def mistaken(network: Network, picture: Array) -> Array:
    """Return the pieces of a picture without faces, (n, 1, 25, 25), that look more like one than not, the first few."""
    return pieces_of(picture)[margin_of(network, picture) > 0][:FEW, None]


def varied(rng: np.random.Generator, images: Array) -> Array:
    """Return pictures mirrored or not, moved by two pixels at most, lit from a side, with noise."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(2, 3))
    down, right = rng.integers(0, 5, (2, len(images)))
    moved = windows[np.arange(len(images)), :, down, right]
    mirrored = rng.integers(0, 2, (len(images), 1, 1, 1)).astype(bool)
    across = np.linspace(-0.3, 0.3, SIDE, dtype=np.float32)
    light = 1 + rng.uniform(-1, 1, (len(images), 1, 1, 1)).astype(np.float32) * across
    noise = np.float32(0.02) * rng.standard_normal(images.shape, dtype=np.float32)
    result: Array = np.where(mirrored, moved[..., ::-1], moved) * light + noise
    return result


def make_network(rng: np.random.Generator) -> Network:
    """Return the network: 25 x 25 pixels become 16 x 11 x 11, 32 x 4 x 4 and two scores."""
    return Network(
        [
            Conv(rng, (16, 1, 3, 3)),
            MaxPool(),
            Conv(rng, (32, 16, 3, 3)),
            MaxPool(),
            Dropout(rng, 0.3),
            Conv(rng, (2, 32, 4, 4), rectify=False),
        ]
    )


def train(epochs: int, seed: int) -> tuple[Network, float]:
    """Return a trained network, and the share of held-out pictures that it tells right."""
    rng = np.random.default_rng(seed)
    images, labels = load()
    pictures = load_others()
    easy = np.concatenate([pieces_of(picture).reshape(-1, 1, SIDE, SIDE)[::20] for picture in pictures])
    hard = easy
    network = make_network(rng)
    adam = Adam(network, RATE, DECAY)
    for epoch in track(range(epochs), description="training"):
        adam.rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        # Most pieces are easy: learn from those that the network takes for faces, too.
        found = [mistaken(network, pictures[i]) for i in rng.choice(len(pictures), LOOKED_AT, replace=False)]
        hard = np.concatenate([*found, hard])[:HARD]
        for some, theirs in batches(rng, images[HELD_OUT:], labels[HELD_OUT:], BATCH):
            others = np.concatenate([rng.choice(pool, BATCH // 2, replace=False) for pool in (easy, hard)])
            both = even_light(np.concatenate([varied(rng, some), others]))
            truth = np.concatenate([theirs, np.zeros(len(others), np.intp)])
            _, grad = cross_entropy(network.forward(both, learning=True), truth)
            network.backward(grad)
            adam.update()
    right = network.classify(even_light(images[:HELD_OUT])) == labels[:HELD_OUT]
    return network, float(right.mean())


def scales(photo: Array) -> Iterator[tuple[float, Array]]:
    """Yield the photograph smaller and smaller, and what its pixels were multiplied by."""
    from skimage.transform import rescale

    factor = 0.5
    while min(photo.shape) * factor >= 2 * SIDE:
        yield factor, rescale(photo, factor, anti_aliasing=True).astype(np.float32)
        factor *= SHRINK


def find(network: Network, photo: Array) -> list[Face]:
    """Return the faces in a grey photograph, (height, width) between 0 and 1, the surest first."""
    candidates = []
    for factor, scaled in scales(photo):
        margin = margin_of(network, scaled)
        for row, column in np.argwhere(margin > 0):
            place = (STEP * row / factor, STEP * column / factor, SIDE / factor)
            candidates.append(Face(*place, float(margin[row, column])))
    # A face looks like one from a pixel further and a little larger too; what only looks like one does so once.
    places = np.array(candidates).reshape(-1, 4)
    support = [float(places[shared(places, place) > MOST_SHARED, 3].sum()) for place in places]
    faces: list[Face] = []
    for i in np.argsort(support)[::-1]:
        top, left, side, _ = places[i].tolist()
        face = Face(top, left, side, support[i])
        if face.score > LEAST_SCORE and not (shared(np.array(faces).reshape(-1, 4), places[i]) > LEAST_APART).any():
            faces.append(face)
    return faces


def shared(squares: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which part of the area of each of some squares together with another one both of them cover."""
    top, left, side = squares[:, 0], squares[:, 1], squares[:, 2]
    height = np.minimum(top + side, square[0] + square[2]) - np.maximum(top, square[0])
    width = np.minimum(left + side, square[1] + square[2]) - np.maximum(left, square[1])
    common = np.maximum(height, 0) * np.maximum(width, 0)
    result: NDArray[np.float64] = common / (side**2 + square[2] ** 2 - common)
    return result


def read_photo(path: Path | None) -> Array:
    """Return a picture as (height, width, 3) between 0 and 1; the portrait that scikit-image ships by default."""
    from skimage.color import gray2rgb
    from skimage.data import astronaut
    from skimage.io import imread
    from skimage.util import img_as_float32

    pixels: Array = img_as_float32(astronaut() if path is None else imread(path))
    return (gray2rgb(pixels) if pixels.ndim == 2 else pixels)[:, :, :3]


def main() -> None:
    """Train, say how well, and save the photograph with its faces."""
    parser = argparse.ArgumentParser(prog="python -m examples.faces", description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="?", help="a photograph instead of scikit-image's portrait")
    parser.add_argument("--quick", action="store_true", help="four rounds instead of twenty-five")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("faces.png"), help="where to save the picture")
    options = parser.parse_args()
    network, right = train(4 if options.quick else 25, options.seed)
    print(f"{right:.1%} of {HELD_OUT} held-out pictures told right: face or not")
    photo = read_photo(options.photo)
    faces = find(network, photo.mean(axis=2))
    for face in faces:
        print(
            f"score {face.score:5.1f}: {face.side:.0f} pixels wide, {face.left:.0f} from the left, {face.top:.0f} down"
        )
    draw_faces(photo, faces, options.out)
    print(f"the photograph with {len(faces)} faces marked: {options.out}")


if __name__ == "__main__":
    main()
