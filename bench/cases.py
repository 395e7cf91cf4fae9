"""The work of the main job: filters on a photograph, and the first layers of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import agreement, filters, photo
from .layers import Layer, load
from .peers import Peer, Work


class Case(Protocol):
    """One piece of work that every peer does, and its definition.

    `margin` is how many samples of the result, on every side, see the padding.
    """

    @property
    def name(self) -> str: ...
    @property
    def x(self) -> NDArray: ...
    @property
    def w(self) -> NDArray: ...
    @property
    def flops(self) -> int: ...
    @property
    def result_bytes(self) -> int: ...
    @property
    def margin(self) -> int: ...

    def work(self, peer: Peer) -> Work | None:
        """The call of `peer`, or None where it does not offer this work."""
        ...

    def truth(self) -> NDArray[np.float64]:
        """The result by definition."""
        ...


@dataclass(frozen=True)
class FilterCase:
    """Convolution of a picture with an odd-sized kernel, zeros around it, result as large as the picture."""

    name: str
    x: NDArray
    w: NDArray

    @property
    def flops(self) -> int:
        return 2 * self.x.size * self.w.size

    @property
    def result_bytes(self) -> int:
        return self.x.nbytes

    @property
    def margin(self) -> int:
        return max(self.w.shape) // 2

    def work(self, peer: Peer) -> Work | None:
        return peer.filter(self.x, self.w)

    def truth(self) -> NDArray[np.float64]:
        return agreement.filter_truth(self.x, self.w)


@dataclass(frozen=True)
class LayerCase:
    """A layer of ``layers.txt`` on given pixels and weights."""

    layer: Layer
    x: NDArray
    w: NDArray

    @property
    def name(self) -> str:
        return self.layer.name.partition("_" + str(self.layer.c_in) + "x")[0]

    @property
    def flops(self) -> int:
        return self.layer.flops

    @property
    def result_bytes(self) -> int:
        return int(np.prod(self.layer.y_shape)) * self.x.itemsize

    @property
    def margin(self) -> int:
        return -(-self.layer.pad // self.layer.stride)

    def work(self, peer: Peer) -> Work | None:
        return peer.layer(self.x, self.w, self.layer)

    def truth(self) -> NDArray[np.float64]:
        return agreement.layer_truth(self.x, self.w, self.layer)


@dataclass(frozen=True)
class NamedCase:
    """A separable function of scipy.ndimage on a picture, the picture's mirror image around it.

    `w` is the outer product of its passes, as a convolution kernel; `flops_a_sample` is what the passes take,
    however many taps they stand for.
    """

    name: str
    x: NDArray
    w: NDArray
    function: str
    argument: float
    flops_a_sample: int

    @property
    def flops(self) -> int:
        return self.flops_a_sample * self.x.size

    @property
    def result_bytes(self) -> int:
        return self.x.nbytes

    @property
    def margin(self) -> int:
        return max(self.w.shape) // 2

    def work(self, peer: Peer) -> Work | None:
        return peer.named(self.x, self.function, self.argument)

    def truth(self) -> NDArray[np.float64]:
        return agreement.filter_truth(self.x, self.w, "symmetric")


def filter_cases(rgb: NDArray[np.float32]) -> list[FilterCase]:
    """Edge, blur, sharpen, emboss and large blurs of the grey picture."""
    picture = photo.grey(rgb)
    blur = filters.gaussian(5, 1.0)
    few_levels = np.minimum(picture * filters.PYRAMID_LEVELS, filters.PYRAMID_LEVELS - 1)
    return [
        _filter("edge: Sobel 3x3", picture, filters.SOBEL),
        _filter("edge: Laplacian 3x3", picture, filters.LAPLACIAN),
        _filter("sharpen 3x3", picture, filters.SHARPEN),
        _filter("emboss 3x3", picture, filters.EMBOSS),
        _filter("blur 5x5", picture, blur),
        _filter("blur 5x5 float64", picture, blur, "float64"),
        _filter("blur 5x5 uint8", few_levels, filters.PYRAMID, "uint8"),
        _filter("motion blur 9x9", picture, filters.streak(9, 3.0, 0.7, np.pi / 6)),
        _filter("large blur 15x15", picture, filters.gaussian(15, 3.5)),
        _filter("larger blur 31x31", picture, filters.streak(31, 9.0, 3.0, np.pi / 6)),
    ]


def named_cases(rgb: NDArray[np.float32]) -> list[NamedCase]:
    """The filters that libraries know by name, on the grey picture."""
    picture = photo.grey(rgb)
    blur = filters.gaussian(2 * filters.gaussian_reach(3.0) + 1, 3.0)
    box = np.full((15, 15), 1 / 15**2)
    return [
        NamedCase("gaussian filter, sigma 3", picture, blur, "gaussian_filter", 3.0, 2 * sum(blur.shape)),
        # A sum that runs along: a sample added, one taken away, the mean.
        NamedCase("uniform filter, size 15", picture, box, "uniform_filter", 15, 2 * 3),
        NamedCase("sobel filter, axis -1", picture, filters.SOBEL, "sobel", -1, 2 * (2 + 3)),
    ]


def layer_cases(rgb: NDArray[np.float32]) -> list[LayerCase]:
    """The first layers of networks on the colour picture, with oriented filters for weights."""
    return [
        LayerCase(layer, photo.network_input(rgb, layer.height), filters.filter_bank(layer.c_out, layer.kh))
        for layer in load("first")
    ]


def _filter(name: str, picture: NDArray, kernel: NDArray, dtype: DTypeLike = "float32") -> FilterCase:
    return FilterCase(name, picture.astype(dtype), kernel.astype(dtype))
