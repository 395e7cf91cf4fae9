"""fastconv.signal against scipy.signal, which defines the answers but for the bugs that tests here name.

Data are small integers, so that sums of floats are exact in any order and equality can be asked for.
Those of integer dtypes span the whole range, so that their sums wrap.
"""

import inspect
import itertools
import warnings

import numpy as np
import pytest
import scipy.signal
from _tools import shown
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastconv import ConvError, ConvTypeError, _reference, signal

FUNCTIONS = ("convolve2d", "correlate2d")
MODES = ("full", "same", "valid")
BOUNDARIES = ("fill", "wrap", "symm")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
REALS = (*INTEGERS, "float32", "float64", "longdouble")
DTYPES = (*REALS, "complex64", "complex128", "clongdouble")
# The image, then the kernel: odd, even, rows, columns, single samples, kernels larger than the image.
SHAPES = (
    ((7, 9), (3, 3)),
    ((8, 6), (2, 4)),
    ((6, 7), (1, 1)),
    ((5, 40), (1, 5)),
    ((40, 5), (6, 1)),
    ((1, 9), (1, 4)),
    ((9, 1), (3, 1)),
    ((1, 1), (5, 4)),
    ((1, 5), (3, 3)),
    ((3, 2), (3, 2)),
    ((3, 4), (8, 9)),
    ((2, 3), (11, 2)),
    ((19, 37), (5, 7)),
)


def data(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.integers(-8, 9, shape)
    if dtype.kind == "b":
        return values > 3
    return (values + (1j * rng.integers(-8, 9, shape) if dtype.kind == "c" else 0)).astype(dtype)


def assert_same(actual, expected):
    assert type(actual) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.dtype.isnative
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def assert_like_scipy(name, a, b, *args):
    expected = getattr(scipy.signal, name)(a, b, *args)
    actual = getattr(signal, name)(a, b, *args)
    assert_same(actual, expected)
    assert actual.flags.c_contiguous
    return actual


def by_definition(name, a, b, mode, boundary, fillvalue=0):
    """What mode and boundary mean, said with np.pad: pad by K - 1, take "valid", cut out the mode."""
    pad_mode = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}[boundary]
    constant = {"constant_values": fillvalue} if boundary == "fill" else {}
    padded = np.pad(a, [(k - 1, k - 1) for k in b.shape], mode=pad_mode, **constant)
    convolve = name == "convolve2d"
    full = _reference.conv(padded, b, flip=convolve, conj=not convolve)
    if mode == "full":
        return full
    if mode == "valid":
        return full[tuple(slice(k - 1, n) for n, k in zip(a.shape, b.shape, strict=True))]
    starts = [(k - 1) // 2 if convolve else k // 2 for k in b.shape]
    return full[tuple(slice(s, s + n) for s, n in zip(starts, a.shape, strict=True))]


# Values


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_dtype_mode_and_boundary_is_scipys(name, dtype, shapes):
    a, b = data(shapes[0], dtype, 1), data(shapes[1], dtype, 2)
    for mode, boundary in itertools.product(MODES, BOUNDARIES):
        swaps = mode == "valid" and a.shape != b.shape and all(n <= k for n, k in zip(*shapes, strict=True))
        if name == "correlate2d" and swaps and a.dtype.kind == "c":
            continue  # SciPy is wrong there: test_swapped_correlation_is_conjugated
        if mode == "valid" and not swaps and any(n < k for n, k in zip(*shapes, strict=True)):
            continue  # test_valid_needs_one_to_contain_the_other
        assert_like_scipy(name, a, b, mode, boundary)


@pytest.mark.parametrize("dtype", ["bool", "float16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtypes_scipy_refuses(name, dtype):
    for (a_shape, b_shape), mode, boundary in itertools.product(SHAPES, ("full", "same"), BOUNDARIES):
        a, b = data(a_shape, dtype, 1), data(b_shape, dtype, 2)
        assert_same(getattr(signal, name)(a, b, mode, boundary), by_definition(name, a, b, mode, boundary))


def test_bool_is_or_of_ands():
    a, b = np.array([[True, False, True]]), np.array([[True, True]])
    assert signal.convolve2d(a, b).tolist() == [[True, True, True, True]]
    assert signal.convolve2d(a, b, "same", "fill", True).tolist() == [[True, True, True]]


def test_float16_is_accumulated_in_float32():
    ones = np.ones((64, 64), "float16")
    assert_same(signal.convolve2d(ones, ones, "valid"), np.array([[4096]], "float16"))


MIXED = ("int8", "uint8", "int32", "uint64", "float32", "float64", "complex64", "longdouble")


@pytest.mark.parametrize("pair", list(itertools.product(MIXED, repeat=2)), ids="-".join)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_mixed_dtypes_give_the_result_type(name, pair):
    # Sums of whole integer ranges would not be exact in the floating result of such a pair.
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (5, 6)).astype(pair[0]), rng.integers(0, 9, (3, 2)).astype(pair[1])
    for boundary in BOUNDARIES:
        assert_like_scipy(name, a, b, "full", boundary)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mixed_with_bool_and_float16(name):
    a = data((5, 6), "bool")
    assert_like_scipy(name, a, data((3, 2), "int16"))
    assert_like_scipy(name, data((5, 6), "float16"), data((3, 2), "float32"))
    assert getattr(signal, name)(a, data((3, 2), "float16")).dtype == "float16"


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_many_times_the_image(name, boundary):
    a, b = data((2, 3), "int64", 1), data((41, 30), "int64", 2)
    for mode in MODES[:2]:
        assert_like_scipy(name, a, b, mode, boundary)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("mode", ["full", "same"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_real_data_within_the_rounding_bound(name, mode, boundary):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((61, 83)), rng.standard_normal((9, 6))
    ours, theirs = getattr(signal, name), getattr(scipy.signal, name)
    for dtype in ("float32", "float64"):
        x, w = a.astype(dtype), b.astype(dtype)
        expected = theirs(x.astype("longdouble"), w.astype("longdouble"), mode, boundary)
        bound = (b.size + 2) * np.finfo(dtype).eps * theirs(abs(x), abs(w), mode, boundary)
        actual = ours(x, w, mode, boundary)
        assert actual.dtype == dtype
        assert np.all(abs(actual - expected) <= bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", "longdouble"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_non_finite_samples_reach_their_windows_only(name, dtype, boundary, bad):
    for at in ((0, 0), (12, 7), (24, 38)):
        a, b = data((25, 39), dtype, 1), data((3, 4), dtype, 2)
        b[b == 0] = 1
        clean = getattr(signal, name)(a, b, "same", boundary)
        marked = np.zeros(a.shape, "int64")
        marked[at] = 1
        reached = getattr(scipy.signal, name)(marked, np.ones(b.shape, "int64"), "same", boundary) > 0
        a[at] = bad
        actual = getattr(signal, name)(a, b, "same", boundary)
        np.testing.assert_array_equal(~np.isfinite(actual), reached)
        np.testing.assert_array_equal(actual[~reached], clean[~reached])


def test_zero_taps_do_not_hide_infinity():
    a, b = np.zeros((5, 5)), np.zeros((3, 3))
    a[2, 2] = np.inf
    with np.errstate(invalid="ignore"):
        assert_like_scipy("convolve2d", a, b, "same")


def test_a_tap_that_is_nan_reaches_every_output_it_is_used_for():
    a, b = np.ones((5, 6)), np.ones((3, 3))
    b[0, 2] = np.nan
    for mode in MODES:
        assert_like_scipy("convolve2d", a, b, mode)


# Mode, boundary, fillvalue


def test_signatures_begin_as_scipys():
    for name in FUNCTIONS:
        theirs = list(inspect.signature(getattr(scipy.signal, name)).parameters.values())
        ours = list(inspect.signature(getattr(signal, name)).parameters.values())
        assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
        assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@pytest.mark.parametrize("alias", ["fill", "pad", "wrap", "circular", "symm", "symmetric"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_boundary_aliases(name, alias):
    assert_like_scipy(name, data((4, 5), "int32"), data((3, 3), "int32"), "same", alias, 2)


@pytest.mark.parametrize("got", ["ful", "FULL", "", 0, 1, 2, None, b"full", ["full"], np.array("full")], ids=shown)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_mode_is_one_of_three(name, got):
    with pytest.raises(ValueError, match=r"^mode: got .*, allowed: 'full', 'same', 'valid'$") as caught:
        getattr(signal, name)([[1]], [[1]], got)
    assert repr(got) in str(caught.value)
    assert isinstance(caught.value, ConvError if isinstance(got, str) else ConvTypeError)


@pytest.mark.parametrize("got", ["reflect", "zero", "Wrap", 0, 4, None, ["wrap"]], ids=shown)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_boundary_is_one_of_six(name, got):
    with pytest.raises(ValueError, match=r"^boundary: got .*, allowed: 'fill', 'pad', 'wrap', ") as caught:
        getattr(signal, name)([[1]], [[1]], boundary=got)
    assert repr(got) in str(caught.value)
    assert isinstance(caught.value, ConvError if isinstance(got, str) else ConvTypeError)


FILL_VALUES = (
    *(
        0,
        1,
        2.75,
        -2.75,
        -1,
        300,
        2**31,
        2**40,
        2**63,
        2**64,
        1e5,
        float("nan"),
        float("inf"),
        True,
        None,
        1j,
    ),
    *(np.float64(2.5), np.float32(2), np.int64(300), np.uint8(200), np.True_, np.longdouble(3)),
    *(
        [2.5],
        [[1.5]],
        (1,),
        np.array(3),
        np.array([3]),
        np.array(2.5),
        np.array(3, "uint8"),
        np.array(7, ">i4"),
    ),
    *(np.array(1j), np.array(2, "float32"), np.array(True), np.array([[2.5]])),
    *(
        [],
        [1, 2],
        np.array([1, 2], "int8"),
        np.array([]),
        np.ones((2, 2), bool),
        {},
        object(),
        "x",
        [[1], [1, 2]],
    ),
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("value", FILL_VALUES, ids=shown)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64", "float32", "float64", "complex64"])
def test_fillvalue_is_refused_or_cast_as_scipy_does(dtype, value):
    # Nothing but the fill value is summed, so that the largest of them still give exact sums.
    a, b = np.zeros((2, 3), dtype), data((3, 2), dtype, 2)
    try:
        expected = scipy.signal.convolve2d(a, b, "full", "fill", value)
    except (TypeError, ValueError, OverflowError):
        with pytest.raises((ConvError, ConvTypeError), match=r"^fillvalue: got .*, allowed: one value of dtype "):
            signal.convolve2d(a, b, "full", "fill", value)
        return
    if isinstance(value, float) and not np.isfinite(value) and dtype == "complex64":
        # How an infinity spreads over the two parts depends on how the product is written.
        np.testing.assert_array_equal(
            np.isfinite(signal.convolve2d(a, b, "full", "fill", value)), np.isfinite(expected)
        )
        return
    assert_same(signal.convolve2d(a, b, "full", "fill", value), expected)


def test_fillvalue_messages_keep_scipys_words():
    with pytest.raises(ValueError, match="could not cast `fillvalue` directly to the output "):
        signal.convolve2d([[1]], [[1, 2]], fillvalue=1j)
    with pytest.raises(ValueError, match="`fillvalue` must be scalar or an array with "):
        signal.convolve2d([[1]], [[1, 2]], fillvalue=[1, 2])


def test_fillvalue_never_loses_an_imaginary_part():
    # SciPy drops that of a NumPy scalar, with a warning.
    for value in (1 + 0j, np.complex64(1), np.complex128(1j)):
        with pytest.raises(ValueError, match=r"^fillvalue: got .*, allowed: one value of dtype float64"):
            signal.convolve2d([[1.0]], [[1.0]], fillvalue=value)


@pytest.mark.parametrize("boundary", ["wrap", "symm"])
def test_fillvalue_is_checked_though_not_used(boundary):
    a = np.ones((3, 3), "uint8")
    with pytest.raises(ConvError, match="fillvalue: got 300"):
        signal.convolve2d(a, a, "same", boundary, 300)
    with pytest.raises(ConvError, match="fillvalue: got 300"):
        signal.correlate2d(a, a, "valid", boundary, 300)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "complex128"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_fillvalue_in_every_mode(name, mode, dtype):
    fillvalue = 3 - 2j if dtype == "complex128" else 3
    assert_like_scipy(name, data((6, 7), dtype), data((4, 3), dtype), mode, "fill", fillvalue)


# "valid" and the larger operand


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32", "complex64", "complex128"])
def test_swapped_convolution_is_the_same(dtype):
    a, b = data((3, 2), dtype, 1), data((6, 7), dtype, 2)
    assert_same(signal.convolve2d(a, b, "valid"), signal.convolve2d(b, a, "valid"))


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "clongdouble"])
def test_swapped_correlation_is_conjugated(dtype):
    # scipy.signal.correlate2d 1.17 conjugates the wrong operand here; scipy.signal.correlate does not.
    for a_shape, b_shape in (((3, 2), (6, 7)), ((1, 1), (1, 2)), ((4, 3), (4, 5))):
        a, b = data(a_shape, dtype, 1), data(b_shape, dtype, 2)
        expected = np.ascontiguousarray(signal.correlate2d(b, a, "valid")[::-1, ::-1].conj())
        assert_same(signal.correlate2d(a, b, "valid"), expected)
        assert_same(signal.correlate2d(a, b, "valid"), scipy.signal.correlate(a, b, "valid", method="direct"))
    actual = signal.correlate2d([[2]], [[2j, 2.5 + 0.5j]], "valid")
    np.testing.assert_array_equal(actual, [[5 - 1j, -4j]])


@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_swapped_correlation_is_reversed(dtype):
    a, b = data((3, 2), dtype, 1), data((6, 7), dtype, 2)
    assert_like_scipy("correlate2d", a, b, "valid")
    out = np.empty((4, 6), dtype)
    assert signal.correlate2d(a, b, "valid", out=out) is out
    assert_same(out, scipy.signal.correlate2d(a, b, "valid"))


@pytest.mark.parametrize("mode", MODES)
def test_swapped_correlation_is_a_part_of_full(mode):
    a, b = data((3, 2), "complex128", 1), data((6, 7), "complex128", 2)
    full = signal.correlate2d(a, b)
    assert_same(signal.correlate2d(a, b, "valid"), np.ascontiguousarray(full[2:6, 1:7]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_valid_needs_one_to_contain_the_other(name):
    with pytest.raises(
        ConvError,
        match=r"^in1, in2: got shapes \(2, 3\) and \(3, 2\), allowed in mode 'valid': one at least as",
    ):
        getattr(signal, name)(np.ones((2, 3)), np.ones((3, 2)), "valid")


# Empty arrays


@pytest.mark.parametrize("mode", ["full", "same"])
@pytest.mark.parametrize(
    "shapes",
    [((3, 3), (0, 2)), ((3, 3), (0, 0)), ((3, 4), (2, 0)), ((3, 3), (0, 5)), ((3, 0), (0, 2))],
    ids=str,
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_taps_sum_to_zero(name, shapes, mode):
    for boundary, dtype in itertools.product(BOUNDARIES, ("int8", "float32", "complex128")):
        assert_like_scipy(name, np.ones(shapes[0], dtype), np.ones(shapes[1], dtype), mode, boundary, 7)


@pytest.mark.parametrize("shapes", [((0, 3), (2, 2)), ((3, 0), (2, 2)), ((0, 0), (2, 2)), ((0, 3), (1, 1))], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_samples(name, shapes):
    a, b = np.ones(shapes[0]), np.ones(shapes[1])
    assert_like_scipy(name, a, b, "full", "fill", 7)
    for boundary in BOUNDARIES:
        assert_like_scipy(name, a, b, "same", boundary)


@pytest.mark.parametrize("boundary", ["wrap", "symm"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_to_wrap_or_mirror(name, boundary):
    # SciPy divides by zero here, and the process is gone.
    words = rf"^in1: got shape \(0, 3\), allowed with boundary '{boundary}': no empty axis$"
    with pytest.raises(ConvError, match=words):
        getattr(signal, name)(np.ones((0, 3)), np.ones((2, 2)), "full", boundary)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 3), (0, 0)),
        ((3, 3), (0, 2)),
        ((0, 0), (2, 2)),
        ((0, 3), (0, 2)),
        ((0, 3), (2, 2)),
        ((0, 0), (0, 0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_valid_refuses_empty_arrays(name, shapes):
    # SciPy returns (4, 4) zeros for the first of these.
    with pytest.raises(ConvError, match=r"^in1, in2: got shapes .*, allowed in mode 'valid': arrays that are "):
        getattr(signal, name)(np.ones(shapes[0]), np.ones(shapes[1]), "valid")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_full_refuses_a_negative_length(name):
    with pytest.raises(ConvError, match=r"^in1, in2: got shapes \(0, 3\) and \(0, 2\), allowed in mode 'full': "):
        getattr(signal, name)(np.ones((0, 3)), np.ones((0, 2)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_of_empty_arrays(name):
    out = np.full((2, 4), np.nan)
    assert getattr(signal, name)(np.ones((3, 3)), np.ones((0, 2)), out=out) is out
    assert_same(out, np.zeros((2, 4)))
    with pytest.raises(ConvError, match="^out: got "):
        getattr(signal, name)(np.ones((3, 3)), np.ones((0, 2)), out=np.ones((2, 3)))


# Refusals


@pytest.mark.parametrize(
    "bad, words",
    [
        (3.0, "got a 0-D array, allowed: 2-D"),
        ([1], "got a 1-D array, allowed: 2-D"),
        (np.ones((1, 1, 1)), "got a 3-D array, allowed: 2-D"),
        ([[1], [1, 2]], "got a ragged sequence"),
        (None, "got dtype object"),
        ([[None]], "got dtype object"),
        ("a", "got dtype <U1"),
        ([["a"]], "got dtype <U1"),
        (np.zeros((1, 1), "M8[s]"), "got dtype datetime64"),
        (np.zeros((1, 1), "m8[s]"), "got dtype timedelta64"),
        (np.zeros((1, 1), "V4"), "got dtype |V4"),
        (np.zeros((1, 1), "i4,f8"), "got dtype"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_are_numeric_and_2d(name, bad, words):
    function = getattr(signal, name)
    for argument, operands in (("in1", (bad, [[1]])), ("in2", ([[1]], bad))):
        with pytest.raises(ValueError) as caught:
            function(*operands)
        assert str(caught.value).startswith(f"{argument}: {words}")
        assert isinstance(caught.value, ConvTypeError if "dtype" in words else ConvError)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_object_is_a_type_error_and_a_value_error(name):
    for expected in (TypeError, ValueError, ConvTypeError):
        with pytest.raises(expected, match="^in1: got dtype object, allowed: boolean, integer, floating and "):
            getattr(signal, name)(np.array([[1]], object), [[1]])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_threads_and_algorithm_are_checked(name):
    function, a, b = getattr(signal, name), np.ones((5, 6)), np.ones((3, 3))
    read_only = np.zeros((5, 6))
    read_only.flags.writeable = False
    for out in (
        np.zeros((5, 5)),
        np.zeros((5, 6), "f4"),
        read_only,
        np.zeros((5, 6)).tolist(),
    ):
        before = np.array(out)
        with pytest.raises((ConvError, ConvTypeError), match="^out: got .*allowed"):
            function(a, b, "same", out=out)
        np.testing.assert_array_equal(before, out)
    for threads in (0, -1, 1.5, "2", 2**70):
        with pytest.raises((ConvError, ConvTypeError), match="^threads: got .*allowed"):
            function(a, b, threads=threads)
    for algorithm in ("fft!", "", None, 3):
        with pytest.raises((ConvError, ConvTypeError), match="^algorithm: got .*allowed"):
            function(a, b, algorithm=algorithm)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_refused_call_has_written_nothing(name):
    out = np.full((5, 6), 7.0)
    for bad in (
        {"mode": "sme"},
        {"boundary": "zero"},
        {"fillvalue": 1j},
        {"threads": 0},
        {"algorithm": "no"},
    ):
        with pytest.raises((ConvError, ConvTypeError)):
            getattr(signal, name)(np.ones((5, 6)), np.ones((3, 3)), **({"mode": "same"} | bad), out=out)
    assert (out == 7).all()


# Kinds of arrays


def misaligned(array):
    raw = np.empty(array.nbytes + 1, "uint8")[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    assert array.itemsize == 1 or not raw.flags.aligned
    return raw


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    big = np.zeros((array.shape[0] * 2, array.shape[1] * 3), array.dtype)
    big[::2, 1::3] = array
    return big[::2, 1::3]


KINDS = {
    "read-only": read_only,
    "strided": strided,
    "reversed": lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda array: array.T.copy().T,
    "misaligned": misaligned,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned byte-swapped": lambda array: misaligned(array.astype(array.dtype.newbyteorder())),
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "masked": lambda array: np.ma.array(array, mask=array > 2),
    "matrix": lambda array: array.view(np.matrix),
    "subarray of rows": lambda array: np.vstack([array, array])[: len(array)],
    "list": lambda array: array.tolist(),
    "memoryview": lambda array: memoryview(array.copy()),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64", "complex64", "longdouble"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kinds_of_arrays(name, dtype, kind):
    a, b = data((17, 21), dtype, 1), data((3, 4), dtype, 2)
    if kind == "list":
        # NumPy decides the dtype of a list.
        a, b = (np.array(np.clip(v.real, -8, 8).astype("float64").tolist()) for v in (a, b))
    if kind == "memoryview" and dtype in ("complex64", "longdouble"):
        a, b = a.real.astype("float64"), b.real.astype("float64")
    expected = getattr(scipy.signal, name)(a, b, "same", "symm")
    odd_a, odd_b = KINDS[kind](a), KINDS[kind](b)
    before_a, before_b = np.array(odd_a), np.array(odd_b)
    for first, second in ((odd_a, odd_b), (odd_a, b), (a, odd_b)):
        actual = getattr(signal, name)(first, second, "same", "symm")
        assert_same(actual, expected)
        assert actual.flags.c_contiguous and actual.flags.writeable
    np.testing.assert_array_equal(np.array(odd_a), before_a)
    np.testing.assert_array_equal(np.array(odd_b), before_b)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_zero_strides(name, boundary):
    row, one = np.arange(9.0), np.float64(3)
    for a in (
        np.broadcast_to(row, (6, 9)),
        np.broadcast_to(row[:, None], (9, 7)),
        np.broadcast_to(one, (5, 6)),
    ):
        for b in (np.broadcast_to(row[:3], (2, 3)), np.broadcast_to(one, (3, 3))):
            assert_like_scipy(name, a, b, "full", boundary)


def test_windows_that_overlap_themselves():
    a = np.lib.stride_tricks.sliding_window_view(np.arange(20.0), 6)
    assert_like_scipy("convolve2d", a, a[:3, :2], "same", "wrap")


# out=, threads=, algorithm=


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_may_overlap_the_operands(name, boundary):
    function, b = getattr(signal, name), data((3, 4), "float64", 2)
    ways = (
        lambda base: (base[:20, :30], base[:20, :30]),
        lambda base: (base[:20, :30], base[1:21, 2:32]),
        lambda base: (base[1:21, 2:32], base[:20, :30]),
        lambda base: (base[:20, :30], base[:20, :30][::-1, ::-1]),
        lambda base: (base[:20, :20], base[:20, :20].T),
        lambda base: (base[:20:2, :30], base[1:20:2, :30]),
    )
    for way in ways:
        base = data((32, 32), "float64", 1)
        expected = function(way(base)[0].copy(), b, "same", boundary)
        untouched = base.copy()
        way(untouched)[1][...] = expected
        a, out = way(base)
        assert function(a, b, "same", boundary, out=out) is out
        np.testing.assert_array_equal(base, untouched)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_may_be_the_kernel(name):
    function, a = getattr(signal, name), data((8, 9), "complex128", 1)
    for mode, first in (("same", a), ("valid", a[:1, :1])):
        b = data((8, 9), "complex128", 2)
        expected = function(first, b.copy(), mode)
        assert function(first, b, mode, out=b) is b
        assert_same(b, expected)


def test_out_of_any_layout():
    a, b = data((9, 8), "float32", 1), data((3, 3), "float32", 2)
    expected = scipy.signal.convolve2d(a, b, "same")
    for out in (
        np.empty((9, 8), "float32", order="F"),
        np.empty((18, 16), "float32")[::-2, ::2],
        misaligned(np.empty((9, 8), "float32")),
    ):
        assert signal.convolve2d(a, b, "same", out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "complex64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_algorithm_and_threads_do_not_change_the_answer(name, dtype, boundary):
    a, b = data((67, 71), dtype, 1), data((5, 4), dtype, 2)
    expected = getattr(scipy.signal, name)(a, b, "same", boundary)
    for threads in (None, 1, 2, 3):
        assert_same(getattr(signal, name)(a, b, "same", boundary, threads=threads), expected)
    assert_same(getattr(signal, name)(a, b, "same", boundary, algorithm="reference"), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_are_unchanged(name):
    for dtype, mode in itertools.product(("uint8", "float32", "complex64"), MODES):
        a, b = data((4, 5), dtype, 1), data((6, 7), dtype, 2)
        before = a.copy(), b.copy()
        getattr(signal, name)(a, b, mode)
        assert_same(a, before[0])
        assert_same(b, before[1])


def test_no_warnings_from_integers_that_wrap():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in INTEGERS:
            a = np.full((9, 40), np.iinfo(dtype).max, dtype)
            signal.convolve2d(a, a[:3, :3])


# Properties

images = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
few = settings(max_examples=60, deadline=None)


def drawn(draw, dtype, shape=images):
    elements = {"float64": st.integers(-8, 8), "int16": st.integers(-(2**15), 2**15 - 1)}
    if dtype == "complex128":
        parts = hnp.arrays("int64", shape, elements=st.integers(-8, 8))
        real = draw(parts)
        return real + 1j * draw(hnp.arrays("int64", real.shape, elements=st.integers(-8, 8)))
    return draw(hnp.arrays(dtype, shape, elements=elements[dtype]))


@st.composite
def pairs(draw):
    dtype = draw(st.sampled_from(["float64", "int16", "complex128"]))
    return drawn(draw, dtype), drawn(draw, dtype)


@few
@given(pairs(), st.sampled_from(BOUNDARIES))
def test_convolution_is_correlation_with_the_flipped_conjugate(pair, boundary):
    a, b = pair
    flipped = b[::-1, ::-1].conj()
    assert_same(signal.convolve2d(a, b, "full", boundary), signal.correlate2d(a, flipped, "full", boundary))


@few
@given(pairs())
def test_full_convolution_with_zero_fill_commutes(pair):
    a, b = pair
    assert_same(signal.convolve2d(a, b), signal.convolve2d(b, a))


@few
@given(pairs(), st.integers(-3, 3), st.sampled_from(MODES[:2]), st.sampled_from(BOUNDARIES))
def test_linear_in_both_operands(pair, factor, mode, boundary):
    a, b = pair
    factor = a.dtype.type(factor)
    for name in FUNCTIONS:
        function = getattr(signal, name)
        base = function(a, b, mode, boundary)
        assert_same(function(factor * a, b, mode, boundary), factor * base)
        assert_same(function(a, factor * b, mode, boundary), factor * base)
        assert_same(function(a + a[::-1], b, mode, boundary), base + function(a[::-1], b, mode, boundary))
        assert_same(function(a, b + b[::-1], mode, boundary), base + function(a, b[::-1], mode, boundary))


@few
@given(pairs(), st.sampled_from(MODES[:2]), st.sampled_from(BOUNDARIES), st.integers(-3, 3))
def test_modes_are_parts_of_the_extended_array(pair, mode, boundary, fillvalue):
    for name in FUNCTIONS:
        actual = getattr(signal, name)(*pair, mode, boundary, fillvalue)
        assert_same(actual, by_definition(name, *pair, mode, boundary, fillvalue))


@few
@given(pairs(), st.sampled_from(BOUNDARIES))
def test_one_tap_is_a_product(pair, boundary):
    a, b = pair
    tap = b[:1, :1]
    for mode in MODES:
        assert_same(signal.convolve2d(a, tap, mode, boundary), a * tap)
        assert_same(signal.correlate2d(a, tap, mode, boundary), a * tap.conj())


@few
@given(pairs(), st.integers(-9, 9), st.integers(-9, 9))
def test_wrapped_convolution_commutes_with_shifts(pair, down, right):
    a, b = pair
    shifted = signal.convolve2d(np.roll(a, (down, right), (0, 1)), b, "same", "wrap")
    assert_same(shifted, np.roll(signal.convolve2d(a, b, "same", "wrap"), (down, right), (0, 1)))
