"""A convolutional network forward and backward, in NumPy and fastconv.

A layer remembers what its backward pass needs. `backward` takes the gradient of the loss with respect to the layer's
result, keeps those of its own parameters in `gradients`, and returns the one with respect to its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import fastconv

Array = NDArray[np.float32]


class Layer(Protocol):
    """What a network is made of."""

    parameters: list[Array]
    gradients: list[Array]

    def forward(self, x: Array) -> Array:
        """Return the result for a batch, (batch, channels, height, width)."""
        ...

    def backward(self, grad: Array) -> Array:
        """Return the gradient with respect to the input of the last `forward`."""
        ...


class Conv:
    """A convolution followed by a rectifier, or by nothing.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the weights as K. He et al., "Delving deep into rectifiers", ICCV 2015.
    shape : (int, int, int, int)
        (channels out, channels in, height, width) of the kernels.
    padding : int
    rectify : bool
    """

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, int, int, int], *, padding: int = 0, rectify: bool = True
    ) -> None:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        self.parameters = [(deviation * rng.standard_normal(shape)).astype(np.float32), np.zeros(shape[0], np.float32)]
        self.gradients: list[Array] = []
        self.padding, self.rectify = padding, rectify
        self._x = self._y = np.zeros(0, np.float32)

    def forward(self, x: Array) -> Array:
        weights, bias = self.parameters
        self._x = x
        self._y = fastconv.conv(
            x,
            weights,
            bias=bias,
            layout="NCHW",
            padding=self.padding,
            activation="relu" if self.rectify else None,
        )
        return self._y

    def backward(self, grad: Array) -> Array:
        if self.rectify:
            grad = np.where(self._y > 0, grad, np.float32(0))
        to_x, to_w, to_bias = fastconv.conv_grad(
            self._x, self.parameters[0], grad, wrt=("x", "w", "bias"), layout="NCHW", padding=self.padding
        )
        self.gradients = [to_w, to_bias]
        result: Array = to_x
        return result


class MaxPool:
    """The largest sample of each 2 x 2; an odd last row or column is left out."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []
        self._shape: tuple[int, ...] = ()
        self._largest: NDArray[np.bool_] = np.zeros(0, bool)

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        height, width = x.shape[2] // 2, x.shape[3] // 2
        squares = x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], height, 2, width, 2)
        result: Array = squares.max(axis=(3, 5))
        self._largest = squares == result[:, :, :, None, :, None]
        return result

    def backward(self, grad: Array) -> Array:
        # Equal samples share what comes back.
        shares = self._largest / self._largest.sum(axis=(3, 5), keepdims=True, dtype=np.float32)
        batch, channels, height, _, width, _ = shares.shape
        to_x = np.zeros(self._shape, np.float32)
        inner = to_x[:, :, : 2 * height, : 2 * width]
        inner[...] = (shares * grad[:, :, :, None, :, None]).reshape(batch, channels, 2 * height, 2 * width)
        return to_x


class Dropout:
    """Leaves out a share of the samples while the network learns, so that it relies on none of them.

    N. Srivastava and others, "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """

    def __init__(self, rng: np.random.Generator, share: float) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []
        self.learning = False
        self._rng, self._share = rng, share
        self._kept: Array = np.zeros(0, np.float32)

    def forward(self, x: Array) -> Array:
        if not self.learning:
            return x
        kept = self._rng.random(x.shape, dtype=np.float32) >= self._share
        self._kept = kept.astype(np.float32) / np.float32(1 - self._share)
        return x * self._kept

    def backward(self, grad: Array) -> Array:
        return grad * self._kept


class Network:
    """Layers one after the other. A last convolution as large as its input makes one score for each class."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def forward(self, x: Array, *, learning: bool = False) -> Array:
        """Return the scores, (batch, classes, height, width)."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.learning = learning
            x = layer.forward(x)
        return x

    def backward(self, grad: Array) -> None:
        """Fill the gradients of all layers."""
        for layer in reversed(self.layers):
            grad = layer.backward(grad)

    def classify(self, x: Array) -> NDArray[np.intp]:
        """Return the class of the highest score of each image of the size that the network was trained on."""
        classes: NDArray[np.intp] = self.forward(x)[:, :, 0, 0].argmax(axis=1)
        return classes


def cross_entropy(scores: Array, labels: NDArray[np.intp]) -> tuple[float, Array]:
    """Return the mean of -log softmax(scores) at the labels, and its gradient with respect to the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    likelihood = np.exp(shifted)
    likelihood /= likelihood.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(-np.log(np.maximum(likelihood[rows, labels, 0, 0], 1e-12)).mean())
    grad = likelihood.copy()
    grad[rows, labels] -= 1
    return loss, grad / np.float32(len(labels))


class Adam:
    """D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, with parameters that decay.

    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(self, network: Network, rate: float, decay: float = 0.0) -> None:
        self.network, self.rate, self.decay, self.step = network, rate, decay, 0
        self.moments = [[np.zeros((2, *p.shape), np.float32) for p in layer.parameters] for layer in network.layers]

    def update(self) -> None:
        """Move every parameter of the network against its gradient."""
        self.step += 1
        correction = np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for layer, moments in zip(self.network.layers, self.moments, strict=True):
            for parameter, gradient, (mean, square) in zip(layer.parameters, layer.gradients, moments, strict=True):
                mean += 0.1 * (gradient - mean)
                square += 0.001 * (gradient**2 - square)
                parameter *= np.float32(1 - self.rate * self.decay)
                parameter -= np.float32(self.rate * correction) * mean / (np.sqrt(square) + np.float32(1e-8))


def batches(
    rng: np.random.Generator, images: Array, labels: NDArray[np.intp], size: int
) -> Iterator[tuple[Array, NDArray[np.intp]]]:
    """Yield all images once, in a random order, so many at a time."""
    order = rng.permutation(len(images))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield images[chosen], labels[chosen]
