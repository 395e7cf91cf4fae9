"""Layer shapes from ``layers.txt``, the one list that tests and benchmark share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

LAYERS_FILE = Path(__file__).with_name("layers.txt")


@dataclass(frozen=True)
class Layer:
    """One two-dimensional convolution layer; the fields are the columns of ``layers.txt``."""

    name: str
    batch: int
    c_in: int
    height: int
    width: int
    c_out: int
    kh: int
    kw: int
    stride: int
    pad: int
    dilation: int
    groups: int
    tags: frozenset[str]

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """Shape of the input, NCHW."""
        return self.batch, self.c_in, self.height, self.width

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weights, (C_out, C_in / groups, KH, KW)."""
        return self.c_out, self.c_in // self.groups, self.kh, self.kw

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """Shape of the result, NCHW."""
        return self.batch, self.c_out, self._out(self.height, self.kh), self._out(self.width, self.kw)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the definition, taps that fall on the padding included."""
        batch, c_out, height, width = self.y_shape
        return 2 * batch * c_out * height * width * (self.c_in // self.groups) * self.kh * self.kw

    @property
    def output_padding(self) -> int:
        """What the transposed convolution adds, so that it ends at the shape of the input."""
        reached = (self.y_shape[2] - 1) * self.stride - 2 * self.pad + (self.kh - 1) * self.dilation + 1
        return self.height - reached

    def _out(self, size: int, kernel: int) -> int:
        extent = (kernel - 1) * self.dilation + 1
        return (size + 2 * self.pad - extent) // self.stride + 1


def load(tag: str | None = None, path: Path = LAYERS_FILE) -> list[Layer]:
    """Read the layers, in the order of the file; with `tag`, only those that carry it.

    >>> [layer.name for layer in load("first")]
    ['resnet.conv1_3x224_7x7s2_64', 'vgg.1_1_3x224_3x3_64']
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    layers = [_parse(line) for line in lines if line.strip() and not line.startswith("#")]
    return [layer for layer in layers if tag is None or tag in layer.tags]


def by_name(name: str) -> Layer:
    """The layer called `name`.

    >>> by_name("dw_32x112_3x3s1").y_shape
    (1, 32, 112, 112)
    """
    for layer in load():
        if layer.name == name:
            return layer
    raise KeyError(f"no layer {name!r} in {LAYERS_FILE.name}")


def _parse(line: str) -> Layer:
    columns = line.split()
    if len(columns) != len(fields(Layer)):
        raise ValueError(f"{LAYERS_FILE.name}: expected {len(fields(Layer))} columns in {line!r}")
    batch, c_in, height, width, c_out, kh, kw, stride, pad, dilation, groups = map(int, columns[1:-1])
    tags = frozenset(columns[-1].split(","))
    return Layer(columns[0], batch, c_in, height, width, c_out, kh, kw, stride, pad, dilation, groups, tags)
