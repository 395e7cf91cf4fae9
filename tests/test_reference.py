"""The reference against five nested loops, np.pad and NumPy's own one-dimensional functions.

Data are small integers, so that sums of floats are exact and equality can be asked for.
"""

import tracemalloc
import warnings
from fractions import Fraction
from types import SimpleNamespace

import _naive
import numpy as np
import pytest

from fastconv import _problem, _reference
from fastconv.planners.reference import by_windows

BOUNDARIES = ("constant", "edge", "symmetric", "reflect", "wrap")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
INEXACT = ("float16", "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble")


def data(rng, shape, dtype="int64"):
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.integers(-4, 5, shape)
    if dtype.kind == "b":
        return values > 2
    return (values + (1j * rng.integers(-4, 5, shape) if dtype.kind == "c" else 0)).astype(dtype)


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def layout_of(rank):
    return "NC" + "DHW"[3 - rank :]


def random_problem(rng, rank, boundary):
    """Return operands in N, C, *spatial order and the options, one value per axis, of a problem."""
    groups = int(rng.integers(1, 4))
    x_shape = [int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))]
    w_shape = [groups * int(rng.integers(1, 3)), x_shape[1] // groups]
    options = {name: [] for name in ("stride", "dilation", "input_dilation", "padding", "boundary")}
    for _ in range(rank):
        k, d, up, s = (int(rng.integers(1, top)) for top in (4, 4, 4, 4))
        n = int(rng.integers(1, 8 - 2 * rank + 2))
        lo, hi = (int(v) for v in rng.integers(-2, 6 if rank < 3 else 3, 2))
        missing = (k - 1) * d + 1 - ((n - 1) * up + 1 + lo + hi)
        x_shape.append(n)
        w_shape.append(k)
        mode = boundary if boundary is not None else str(rng.choice(BOUNDARIES))
        # A kernel that does not fit never gets as far as the reference, so grow the padding until it does.
        for name, value in zip(options, (s, d, up, (lo, hi + max(missing, 0)), mode), strict=True):
            options[name].append(value)
    return x_shape, w_shape, options | {"groups": groups}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("boundary", [*BOUNDARIES, None])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_option_against_nested_loops(rank, boundary, seed):
    rng = np.random.default_rng([rank, seed, *map(ord, boundary or "mixed")])
    x_shape, w_shape, options = random_problem(rng, rank, boundary)
    x, w, bias = data(rng, x_shape), data(rng, w_shape), data(rng, w_shape[0])
    expected = _naive.correlate(x, w, **options, fill_value=7, bias=bias)
    actual = _reference.conv(x, w, **options, fill_value=7, bias=bias, layout=layout_of(rank))
    assert_same(actual, expected)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *INEXACT])
@pytest.mark.parametrize("boundary", ["constant", "symmetric"])
def test_every_dtype_against_nested_loops(dtype, boundary):
    rng = np.random.default_rng(0)
    x, w = data(rng, (2, 2, 4, 5), dtype), data(rng, (3, 2, 3, 2), dtype)
    bias = data(rng, 3, dtype)
    fill = data(rng, (), dtype)[()]
    options = {"stride": (1, 2), "dilation": (1, 2), "input_dilation": (1, 1), "padding": ((2, 1), (1, 3))}
    options |= {"boundary": (boundary, boundary), "bias": bias}
    expected = _naive.correlate(x, w, **options, fill_value=fill.item())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = _reference.conv(x, w, **options, fill_value=fill, layout="NCHW")
    assert_same(actual, expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_boundary_is_that_of_np_pad(boundary, n):
    x = np.arange(1, n + 1)
    for lo in range(12):
        for hi in (0, 1, 11):
            fill = {"constant_values": 9} if boundary == "constant" else {}
            expected = np.pad(x, (lo, hi), mode=boundary, **fill)
            actual = _reference.conv(x, [1], padding=((lo, hi),), boundary=boundary, fill_value=9)
            assert_same(actual, expected)


def test_each_axis_has_its_own_boundary():
    x = np.arange(6).reshape(2, 3)
    actual = _reference.conv(x, [[1]], padding=(1, 2), boundary=("wrap", "constant"), fill_value=9)
    expected = np.pad(np.pad(x, ((1, 1), (0, 0)), mode="wrap"), ((0, 0), (2, 2)), constant_values=9)
    assert_same(actual, expected)


def test_input_dilation_inserts_zeros_before_padding():
    actual = _reference.conv([1, 2, 3], [1], input_dilation=2, padding=((2, 2),), fill_value=9)
    assert actual.tolist() == [9, 9, 1, 0, 2, 0, 3, 9, 9]
    actual = _reference.conv([1, 2, 3], [1], input_dilation=2, padding=((2, 2),), boundary="wrap")
    assert actual.tolist() == [0, 3, 1, 0, 2, 0, 3, 1, 0]


def test_fill_value_hides_the_zeros_of_another_axis():
    actual = _reference.conv([[1, 2]], [[1]], input_dilation=(1, 2), padding=((1, 0), (0, 0)), fill_value=9)
    assert actual.tolist() == [[9, 9, 9], [1, 0, 2]]


def test_negative_padding_crops():
    x = np.arange(10)
    assert _reference.conv(x, [1], padding=((-2, -3),)).tolist() == [2, 3, 4, 5, 6]
    assert _reference.conv(x, [1], padding=((-7, 2),), boundary="wrap").tolist() == [7, 8, 9, 0, 1]
    assert _reference.conv(x, [1], padding=((12, -11),), boundary="edge").tolist() == [0] * 11
    assert _reference.conv(x, [1], padding=((-12, -1),)).shape == (0,)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [5, 6, 9])
def test_padding_words_are_numpys_modes(n, k):
    rng = np.random.default_rng(n * k)
    x, w = data(rng, n), data(rng, k)
    for mode in ("full", "same", "valid"):
        assert_same(_reference.conv(x, w, padding=mode, flip=True), np.convolve(x, w, mode))
        assert_same(_reference.conv(x, w, padding=mode), np.correlate(x, w, mode))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_same_keeps_a_strided_length_and_centres_as_told(n, k, dilation, stride):
    x, w = np.arange(1, n + 1), np.arange(1, k + 1)
    ke = (k - 1) * dilation + 1
    total = max((-(-n // stride) - 1) * stride + ke - n, 0)
    for center, lo in (("right", total // 2), ("left", (total + 1) // 2)):
        actual = _reference.conv(x, w, padding="same", center=center, stride=stride, dilation=dilation)
        expected = np.pad(x, (lo, total - lo))
        assert actual.size == -(-n // stride)
        assert_same(actual, _reference.conv(expected, w, stride=stride, dilation=dilation)[: actual.size])


def test_padding_forms():
    x = np.arange(1, 21).reshape(4, 5)
    expected = np.pad(x, ((1, 1), (2, 2)))
    assert_same(_reference.conv(x, [[1]], padding=(1, 2)), expected)
    assert_same(_reference.conv(x, [[1]], padding=((1, 1), (2, 2))), expected)
    assert_same(_reference.conv(x, [[1]], padding=np.int64(2)), np.pad(x, 2))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "HCNW"])
def test_layout_names_the_axes(layout):
    rng = np.random.default_rng(1)
    sizes = {"N": 2 if "N" in layout else 1, "C": 4, "H": 5, "W": 6}
    nchw, w = data(rng, tuple(sizes.values())), data(rng, (6, 2, 2, 3))
    expected = _reference.conv(nchw, w, groups=2, padding=((0, 1), (2, 0)), layout="NCHW")
    axes = ["NCHW".index(letter) for letter in layout]

    def arranged(array):
        return (array if "N" in layout else array[0]).transpose([a - ("N" not in layout) for a in axes])

    actual = _reference.conv(arranged(nchw), w, groups=2, padding=((0, 1), (2, 0)), layout=layout)
    assert actual.flags.c_contiguous
    assert_same(actual, np.ascontiguousarray(arranged(expected)))


def test_no_layout_is_one_channel():
    rng = np.random.default_rng(2)
    x, w = data(rng, (4, 5)), data(rng, (2, 3))
    expected = _reference.conv(x[None, None], w[None, None], layout="NCHW", padding="full", bias=[3])[0, 0]
    assert_same(_reference.conv(x, w, padding="full", bias=3), expected)
    assert_same(_reference.conv(x, w, padding="full", bias=[3]), expected)


def test_flip_and_conj():
    rng = np.random.default_rng(3)
    x, w = data(rng, (4, 5), "complex128"), data(rng, (2, 3), "complex128")
    assert_same(_reference.conv(x, w, flip=True), _reference.conv(x, w[::-1, ::-1]))
    assert_same(_reference.conv(x, w, conj=True), _reference.conv(x, w.conj()))
    assert_same(_reference.conv(x.real > 0, w.real > 0, conj=True), _reference.conv(x.real > 0, w.real > 0))


def test_dtype_is_that_of_the_arithmetic():
    assert_same(_reference.conv([200], np.array([2]), dtype="uint8"), np.array([144], "uint8"))
    assert_same(_reference.conv(np.array([1], "int8"), np.array([1.5], "f4")), np.array([1.5], "f4"))
    big_endian = np.array([1, 2], ">i4")
    assert _reference.conv(big_endian, big_endian).dtype.isnative


def test_float16_accumulates_in_float32():
    ones = np.ones(4096, "float16")
    assert_same(_reference.conv(ones, ones), np.array([4096], "float16"))


def test_object_and_longdouble():
    third = Fraction(1, 3)
    full = _reference.conv(np.array([third, 1, 2]), np.array([third, 3]), padding="full")
    assert full.tolist() == [1, third**2 + 3, third + 6, 2 * third]
    tiny = np.finfo(np.longdouble).eps
    assert _reference.conv(np.array([1, tiny], np.longdouble), [1, 1])[0] == 1 + tiny


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_non_finite_samples_reach_their_windows_only(dtype, bad):
    x, w = np.ones((6, 7), dtype), np.ones((2, 3), dtype)
    w[0, 0] = 0
    x[2, 3] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = _reference.conv(x, w)
    reached = np.zeros(y.shape, bool)
    reached[1:3, 1:4] = True
    np.testing.assert_array_equal(~np.isfinite(y), reached)


def test_empty_batches_channels_and_axes():
    w = np.ones((3, 2, 2, 2))
    assert _reference.conv(np.ones((0, 2, 4, 4)), w, layout="NCHW").shape == (0, 3, 3, 3)
    assert _reference.conv(np.ones((1, 2, 4, 4)), w[:0], layout="NCHW").shape == (1, 0, 3, 3)
    no_channels = _reference.conv(np.ones((1, 0, 4, 4)), w[:, :0], layout="NCHW", bias=[1, 2, 3])
    assert_same(no_channels, np.broadcast_to([[[[1.0]], [[2.0]], [[3.0]]]], (1, 3, 3, 3)))
    only_fill = _reference.conv(np.ones((0, 3)), np.ones((2, 2)), padding="full", fill_value=7)
    assert_same(only_fill, np.full((1, 4), 28.0))
    assert _reference.conv(np.ones((0, 3)), np.ones((1, 1))).shape == (0, 3)


def test_canonical_form_reads_attributes_only():
    axes = [
        SimpleNamespace(n=4, k=2, stride=1, dilation=1, input_dilation=1, lo=1, hi=0, boundary="wrap"),
        SimpleNamespace(n=3, k=1, stride=2, dilation=1, input_dilation=1, lo=0, hi=0, boundary="constant"),
    ]
    x = np.arange(2 * 3 * 1 * 4 * 3).reshape(2, 3, 1, 4, 3)
    w = np.arange(3 * 2 * 1 * 2 * 1).reshape(3, 2, 1, 2, 1)
    bias = np.arange(6).reshape(3, 2)
    x.flags.writeable = w.flags.writeable = bias.flags.writeable = False
    seen, taps = x[..., ::2], w[:, :, 0, :, 0, None, None]
    expected = np.roll(seen, 1, axis=3) * taps[:, :, 0] + seen * taps[:, :, 1] + bias[:, :, None, None]
    assert_same(_reference.correlate(x, w, axes, 0, bias), expected)


def test_no_column_matrix_is_made():
    x, w = np.ones((1, 8, 64, 64)), np.ones((2, 8, 7, 7))
    tracemalloc.start()
    try:
        _reference.conv(x, w, layout="NCHW", padding="same")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * x.nbytes < 49 * x.nbytes / 4


@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble"])
def test_few_windows_of_long_doubles_are_the_same_sums(dtype):
    """Written out or one tap after the other: numbers whose sums are rounded show the order."""
    rng = np.random.default_rng(0)
    x, w, bias = (
        (rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype == "clongdouble" else 0)).astype(dtype)
        for shape in ((2, 3, 4, 9, 8), (3, 5, 4, 3, 2), (3, 5))
    )
    for axes in (
        (_problem.Axis(9, 3, 2, 1, 1, 1, 2, "constant"), _problem.Axis(8, 2, 1, 3, 1, 0, 4, "wrap")),
        (_problem.Axis(9, 3, 1, 2, 3, 4, -2, "reflect"), _problem.Axis(8, 2, 3, 1, 1, 0, 0, "constant")),
    ):
        for offset in (None, bias):
            with np.errstate(all="ignore"):
                both = [compute(x, w, axes, 7, offset) for compute in (by_windows, _reference.correlate)]
            np.testing.assert_array_equal(*both)
            np.testing.assert_array_equal(*np.signbit([result.real for result in both]))
