"""FFT tiles: within their bound of the exact result, NaN and Inf kept in their place, integers exact."""

import itertools
import math

import numpy as np
import pytest
from _guard import Fence
from _tools import BOUNDARIES, INTEGERS, assert_same, assert_same_bits, at_level, data
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, _reference
from fastconv.drivers import levels
from fastconv.planners.fft import smooth, transform

DTYPES = ("float32", "float64", "complex64", "complex128")


def noise(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    return (values + (1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else 0)).astype(dtype)


def bound(x, w, dtype):
    """Return what `fastconv.conv` promises, for a tile that may be larger than the whole input."""
    eps = float(np.finfo(dtype).eps)
    samples = 4 * (x.size + w.size) + 4096
    largest = np.abs(x).max(initial=0) * math.sqrt(samples)
    return 16 * eps * math.log2(samples) * largest * np.linalg.norm(w.ravel())


def check(x, w, **options):
    """Compare with the direct algorithm on numbers twice as long."""
    dtype = np.result_type(x, w)
    wide = np.complex128 if dtype.kind == "c" else np.float64
    strict = {**options, "accuracy": "strict"}
    if strict.get("bias") is not None:
        strict["bias"] = strict["bias"].astype(wide)
    expected = fastconv.conv(x.astype(wide), w.astype(wide), **strict)
    result = fastconv.conv(x, w, algorithm="fft", **options)
    assert result.dtype == dtype
    assert result.shape == expected.shape
    assert np.abs(result - expected).max(initial=0) <= bound(x, w, np.result_type(dtype, np.float32))


SHAPES = [
    ((1000,), (40,)),
    ((5000,), (333,)),
    ((9,), (400,)),
    ((70, 80), (9, 9)),
    ((33, 47), (20, 31)),
    ((1, 300), (1, 70)),
    ((300, 1), (70, 1)),
    ((150, 90), (1, 25)),
    ((150, 90), (25, 1)),
    ((20, 24, 30), (5, 5, 5)),
    ((20, 24, 30), (7, 1, 3)),
    ((20, 24, 30), (1, 7, 7)),
    ((20, 24, 30), (7, 1, 1)),
    ((20, 24, 30), (1, 1, 30)),
    ((6, 7, 8), (6, 7, 8)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_every_shape_of_tile(level, n, k, dtype):
    x, w = noise(n, dtype), noise(k, dtype, 1)
    for padding, flip in itertools.product(("same", "full"), (False, True)):
        check(x, w, padding=padding, flip=flip, conj=flip)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("n", "k"), [((40,), (30,)), ((50, 60), (11, 12)), ((12, 13, 14), (5, 6, 7))])
def test_every_boundary(n, k, boundary):
    x, w = noise(n, "float64"), noise(k, "float64", 1)
    paddings = ["full", [(2 * k_, 3) for k_ in k], [(-1, k_ + 2) for k_ in k]]
    for padding in paddings:
        check(x, w, padding=padding, boundary=boundary, fill_value=1.5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CNHW", "CHW"])
def test_channels_groups_and_layouts(layout):
    x, w = noise((2, 6, 40, 30), "float64"), noise((4, 3, 7, 9), "float64", 1)
    x = x[0] if "N" not in layout else x
    x = x.transpose([("NCHW" if "N" in layout else "CHW").index(letter) for letter in layout])
    for dilation, input_dilation in itertools.product((1, (2, 3)), (1, 2)):
        check(
            x, w, layout=layout, groups=2, padding="same", dilation=dilation, input_dilation=input_dilation,
            bias=noise(4, "float64", 2),
        )  # fmt: skip


@st.composite
def calls(draw):
    rank = draw(st.integers(1, 3))
    k = [draw(st.integers(1, {1: 300, 2: 30, 3: 9}[rank])) for _ in range(rank)]
    n = [draw(st.integers(1, {1: 3000, 2: 120, 3: 30}[rank])) for _ in range(rank)]
    padding = [(draw(st.integers(0, 9)), k_ + draw(st.integers(0, 3))) for k_ in k]
    dtype = draw(st.sampled_from(DTYPES))
    return noise(n, dtype), noise(k, dtype, 1), {"padding": padding, "boundary": draw(st.sampled_from(BOUNDARIES))}


@settings(max_examples=150, deadline=None)
@given(calls(), st.sampled_from(levels.available()))
def test_any_call_on_any_level(call, level):
    x, w, options = call
    with at_level(level):
        check(x, w, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", *DTYPES])
def test_what_is_not_finite_stays_in_its_window(dtype, value):
    x, w = data((150, 140), dtype, most=2), data((9, 10), dtype, 1, most=2)
    x[40, 50] = x[149, 0] = value
    expected = _reference.conv(x, w, padding="same", boundary="wrap")
    result = fastconv.conv(x, w, padding="same", boundary="wrap", algorithm="fft")
    finite = np.isfinite(expected)
    assert 0 < (~finite).sum() < finite.size // 50 * 2
    assert np.array_equal(np.isfinite(result), finite)
    np.testing.assert_allclose(result[finite], expected[finite], rtol=0, atol=bound(data(x.shape, dtype), w, "float32"))
    # Where a tile is computed directly, nothing is rounded.
    assert_same(result[30:50, 40:60], expected[30:50, 40:60])


@pytest.mark.parametrize(("n", "k", "at"), [((3000,), (90,), 77), ((20, 30, 40), (5, 6, 7), (9, 9, 9))])
def test_nan_in_one_and_three_dimensions(n, k, at):
    x, w = noise(n, "float64"), noise(k, "float64", 1)
    x[at] = np.nan
    expected = fastconv.conv(x, w, padding="full", accuracy="strict")
    assert np.array_equal(np.isnan(fastconv.conv(x, w, padding="full", algorithm="fft")), np.isnan(expected))


def test_nan_with_channels_groups_and_bias():
    x, w = noise((2, 4, 60, 50), "float32"), noise((6, 2, 7, 8), "float32", 1)
    x[1, 2, 30, 20] = np.nan
    options = {"layout": "NCHW", "groups": 2, "bias": np.arange(6, dtype=np.float32), "padding": "same"}
    expected = fastconv.conv(x, w, accuracy="strict", **options)
    result = fastconv.conv(x, w, algorithm="fft", **options)
    assert np.array_equal(np.isnan(result), np.isnan(expected))
    assert np.isnan(result).sum() == 3 * 7 * 8


def test_sums_that_overflow_in_between_do_not_spoil_the_result():
    x = np.full((64, 64), np.float32(3e38))
    x[:, ::2] *= -1
    w = np.ones((6, 6), np.float32)
    assert np.isfinite(fastconv.conv(x, w, padding="same", boundary="wrap", algorithm="fft")).all()


def test_a_kernel_with_a_nan():
    w = np.ones((7, 7))
    w[0, 0] = np.nan
    assert np.isnan(fastconv.conv(np.ones((40, 40)), w, algorithm="fft")).all()


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_integers_are_exact_by_transforms(dtype):
    small = np.dtype(dtype).itemsize < 4
    x, w = data((300, 260), dtype), data((40, 41), dtype, 1)
    if not small:
        x, w = x // x.dtype.type(2**28), w // w.dtype.type(2**28)
    plan = fastconv.plan(w, x.shape, padding="same")
    assert "rounded" in plan.explain()
    expected = fastconv.conv(x, w, padding="same", algorithm="direct")
    assert_same(fastconv.conv(x, w, padding="same"), expected)
    assert_same(plan(x), expected)
    out = np.zeros_like(expected)
    assert fastconv.conv(x, w, padding="same", out=out) is out
    assert_same(out, expected)


@pytest.mark.parametrize("dtype", ["int32", "uint64"])
def test_integers_too_large_for_transforms(dtype):
    x, w = data((4000,), dtype), data((700,), dtype, 1)
    assert_same(fastconv.conv(x, w), fastconv.conv(x, w, algorithm="direct"))


def test_threads_alignment_and_strides_change_no_bit():
    x, w = noise((500, 520), "float32"), noise((21, 22), "float32", 1)
    expected = fastconv.conv(x, w, padding="same", algorithm="fft", threads=1)
    shifted = np.empty(x.nbytes + 4, np.uint8)[4:].view(np.float32).reshape(x.shape)
    shifted[...] = x
    sparse = np.zeros((1000, 1560), np.float32)[::2, ::-3]
    sparse[...] = x
    for threads, array in itertools.product((1, 2, 3), (x, shifted, sparse, x.astype(">f4"))):
        assert_same_bits(fastconv.conv(array, w, padding="same", algorithm="fft", threads=threads), expected)
    plan = fastconv.plan(w, x.shape, padding="same", algorithm="fft")
    assert_same_bits(plan(x), expected)
    out = np.zeros((500, 1040), np.float32)[:, ::2]
    assert_same_bits(fastconv.conv(x, w, padding="same", algorithm="fft", out=out).copy(), expected)


@pytest.mark.parametrize("dtype", ["float32", "complex128", "float16"])
def test_nothing_beyond_an_array_is_touched(level, dtype):
    fences = [Fence(1 << 19) for _ in range(3)]
    for n, k in (((700,), (60,)), ((64, 67), (9, 11)), ((9, 10, 21), (4, 5, 6))):
        x, w = data(n, dtype, most=2), data(k, dtype, 1, most=2)
        expected = fastconv.conv(x, w, padding="same", accuracy="strict")
        for side in ("first", "last"):
            out = fences[2].array(expected.shape, dtype, side)
            out.view(np.uint8)[...] = 0xFF
            fastconv.conv(fences[0].put(x, side), fences[1].put(w, side), padding="same", algorithm="fft", out=out)
            assert np.abs(out - expected).max() <= bound(x, w, "float32" if dtype == "float16" else dtype)


def test_strict_never_transforms():
    w = np.ones((63, 63), np.float32)
    assert fastconv.plan(w, (600, 600)).algorithm == "fft"
    assert fastconv.plan(w, (600, 600), accuracy="strict").algorithm == "direct"
    with pytest.raises(ConvError, match="strict"):
        fastconv.plan(w, (600, 600), accuracy="strict", algorithm="fft")
    with pytest.raises(ConvError, match="a stride"):
        fastconv.plan(w, (600, 600), stride=2, algorithm="fft")


def test_max_workspace_holds():
    w = np.ones((63, 63), np.float32)
    assert fastconv.plan(w, (600, 600), max_workspace=400_000).algorithm == "direct"


@pytest.mark.parametrize("n", smooth(1, 200, 1))
@pytest.mark.parametrize("turn", [0.0, 0.25, 1 / 3])
def test_leaves_of_a_transform_are_the_roots(n, turn):
    tree, leaves = transform(n, turn, np.dtype(np.float64))
    assert math.prod(tree.radices) == n
    assert len(tree.twiddles) == 2 * (n - 1)
    # Every root of u^n = exp(2 pi i turn), once.
    np.testing.assert_allclose((leaves * n - turn) % 1 % (1 - 1e-9), 0, atol=1e-9)
    assert len(np.unique(np.round(leaves % 1, 9) % 1)) == n
