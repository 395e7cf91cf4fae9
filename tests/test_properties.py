"""What holds of every convolution, whatever its shapes and options: found by hypothesis, which shrinks what fails.

Data are small whole numbers, so equality can be asked for; algorithms that transform are left out, whose results are
near.
"""

import numpy as np
import pytest
from _tools import assert_same, data
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ndimage, signal

DTYPES = ("float32", "float64", "complex64", "complex128", "int8", "uint8", "int16", "int32", "int64")
BOUNDARIES = ("constant", "edge", "symmetric", "reflect", "wrap")
QUICK, LONG = 100, 4000


def values(shape, dtype, seed):
    """Return small whole numbers, of any sign that the dtype has."""
    return data(shape, dtype, seed, most=3)


@st.composite
def pairs(draw, ranks=(1, 2, 3)):
    """Return an image, a kernel that fits into it, and their rank."""
    rank = draw(st.sampled_from(ranks))
    most = {1: 40, 2: 17, 3: 7}[rank]
    kernel = tuple(draw(st.integers(1, min(most, 6))) for _ in range(rank))
    shape = tuple(k + draw(st.integers(0, most)) for k in kernel)
    dtype, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99))
    return values(shape, dtype, seed), values(kernel, dtype, seed + 100), rank


@st.composite
def options(draw, rank):
    """Return options of a convolution that keep it linear."""
    return {
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "padding": tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(rank)),
        "boundary": draw(st.sampled_from(BOUNDARIES)),
        "flip": draw(st.booleans()),
        "accuracy": "strict",
        "threads": draw(st.sampled_from((1, 2))),
    }


def mirrored(array):
    """Return an array turned round along every axis."""
    return array[(slice(None, None, -1),) * array.ndim]


def linearity(draw):
    """A sum of images gives the sum of their results, and so does a sum of kernels."""
    x, w, rank = draw(pairs())
    chosen = draw(options(rank))
    other = values(x.shape, x.dtype, draw(st.integers(200, 299)))
    both, a, b = (fastconv.conv(image, w, **chosen) for image in (x + other, x, other))
    assert_same(both, a + b)
    kernel = values(w.shape, w.dtype, draw(st.integers(300, 399)))
    both, a, b = (fastconv.conv(x, taps, **chosen) for taps in (w + kernel, w, kernel))
    assert_same(both, a + b)


def shift(draw):
    """On a circle, the result of an image that was moved is the result, moved."""
    x, w, rank = draw(pairs())
    by = tuple(draw(st.integers(-9, 9)) for _ in range(rank))
    axes = tuple(range(rank))
    circle = {"padding": "same", "boundary": "wrap", "accuracy": "strict"}
    moved = fastconv.conv(np.roll(x, by, axes), w, **circle)
    assert_same(moved, np.roll(fastconv.conv(x, w, **circle), by, axes))


def flipped(draw):
    """A convolution is the correlation with the mirrored kernel, in every face."""
    x, w, rank = draw(pairs())
    chosen = draw(options(rank)) | {"flip": False}
    assert_same(fastconv.conv(x, w, **chosen | {"flip": True}), fastconv.conv(x, mirrored(w), **chosen))
    mode = draw(st.sampled_from(("full", "same", "valid")))
    direct = {"method": "direct"}
    assert_same(signal.convolve(x, w, mode, **direct), signal.correlate(x, mirrored(w).conj(), mode, **direct))


def identity(draw):
    """A kernel that is 1 in one place gives the image as it is seen from there."""
    x, w, _ = draw(pairs())
    at = tuple(draw(st.integers(0, k - 1)) for k in w.shape)
    w = np.zeros_like(w)
    w[at] = 1
    boundary = draw(st.sampled_from(BOUNDARIES))
    pads = [(i, k - 1 - i) for i, k in zip(at, w.shape, strict=True)]
    assert_same(fastconv.conv(x, w, padding=pads, boundary=boundary, accuracy="strict"), x)
    grad = fastconv.conv_grad(x, w, x, wrt="x", padding=pads, accuracy="strict")
    assert_same(grad, x)


def separable(draw):
    """A kernel that is an outer product does what its two factors do one after the other."""
    dtype = draw(st.sampled_from([name for name in DTYPES if name[0] in "fi"]))
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    seed = draw(st.integers(0, 99))
    x = values((draw(st.integers(1, 30)), draw(st.integers(1, 30))), dtype, seed)
    down, along = values(rows, dtype, seed + 1), values(columns, dtype, seed + 2)
    full = {"padding": "full", "accuracy": "strict"}
    both = fastconv.conv(x, np.outer(down, along), **full)
    assert_same(fastconv.conv(fastconv.conv(x, down[:, None], **full), along[None], **full), both)
    if dtype == "float64":
        mode = draw(st.sampled_from(("reflect", "nearest", "mirror", "wrap")))
        passes = ndimage.correlate1d(ndimage.correlate1d(x, down, 0, mode=mode), along, 1, mode=mode)
        assert_same(passes, ndimage.correlate(x, np.outer(down, along), mode=mode))


PROPERTIES = {f.__name__: f for f in (linearity, shift, flipped, identity, separable)}


def check(name, examples, **more):
    """Let hypothesis look for so many examples of a property."""
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        **more,
    )
    drawn = []

    @chosen
    @given(st.data())
    def body(source):
        drawn.append(1)
        PROPERTIES[name](source.draw)

    body()
    assert len(drawn) >= examples


@pytest.mark.promise
@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name):
    check(name, QUICK, derandomize=True)


@pytest.mark.promise
@pytest.mark.long
@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_for_long(name):
    check(name, LONG)
