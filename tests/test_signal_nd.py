"""fastconv.signal's N-D functions against scipy.signal's direct ones, which define the answers."""

import inspect
import itertools
from decimal import Decimal

import numpy as np
import pytest
import scipy.signal
from _pairs import MODES, SHAPES, assert_like, assert_whole, attempt, matrix, pair
from _tools import COMPLEXES, INTEGERS, assert_same, at_level, data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastconv import ConvError, ConvTypeError, signal
from fastconv.drivers import levels

FUNCTIONS = ("convolve", "correlate")
NUMBERS = (*INTEGERS, "float32", "float64", "longdouble", *COMPLEXES)
ALL_SHAPES = [shapes for rank in SHAPES for shapes in SHAPES[rank]]


def direct(name):
    return lambda a, b, mode="full": getattr(scipy.signal, name)(a, b, mode, "direct")


def padded_by_definition(name, a, b, mode, boundary, fillvalue=0):
    """What a boundary means: pad by K - 1, take "valid", cut out the mode."""
    how = {"fill": "constant", "wrap": "wrap", "symm": "symmetric", "reflect": "reflect", "edge": "edge"}[boundary]
    options = {"constant_values": fillvalue} if how == "constant" else {}
    padded = np.pad(a, [(k - 1, k - 1) for k in b.shape], mode=how, **options)
    full = direct(name)(padded, b, "valid")
    if mode == "full":
        return full
    return full[tuple(slice((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(a.shape, b.shape, strict=True))]


# Values


@pytest.mark.parametrize("shapes", ALL_SHAPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_mode_and_dtype_is_scipys(name, shapes):
    for dtype, mode in itertools.product(NUMBERS, MODES):
        assert_like(getattr(signal, name), direct(name), *pair(shapes, dtype), mode)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtypes_mix_as_numpys(name):
    for first, second in itertools.product(("bool", *NUMBERS), repeat=2):
        if first == second == "bool":
            continue
        for shapes in (((9,), (4,)), ((4, 5), (2, 3))):
            assert_like(getattr(signal, name), direct(name), *pair(shapes, first, second))


@pytest.mark.parametrize("dtype", ["bool", "float16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtypes_scipy_refuses_in_several_dimensions(name, dtype):
    for rank, mode in itertools.product((1, 2, 3), MODES[:2]):
        for shapes in SHAPES[rank]:
            a, b = pair(shapes, dtype)
            expected = direct(name)(a.astype("float64"), b.astype("float64"), mode)
            assert_whole(
                getattr(signal, name)(a, b, mode), (expected != 0) if dtype == "bool" else expected.astype(dtype)
            )


@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_exact_modulo_2n_by_every_method(name, method):
    for dtype, (n, k) in itertools.product(INTEGERS, ((60, 7), (300, 90))):
        a, b = data(n, dtype, 1), data(k, dtype, 2)
        expected = np.convolve(a, b if name == "convolve" else b[::-1])
        assert_same(getattr(signal, name)(a, b, method=method), expected)


def test_overflow_does_not_depend_on_the_size():
    # SciPy's transform gives -2**31 for sums that are 0 modulo 2**32.
    a = np.full(3000, 2**16, "int32")
    assert not signal.convolve(a, a, method="fft").any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_method_does_not_change_the_answer(name):
    for dtype, shapes in itertools.product(("uint8", "float32", "complex128"), (((90,), (7,)), ((20, 30), (3, 4)))):
        a, b = pair(shapes, dtype)
        expected = direct(name)(a, b, "same")
        for method in ("auto", "direct", "fft"):
            assert_same(getattr(signal, name)(a, b, "same", method), expected)
        for algorithm in ("direct", "reference"):
            assert_same(getattr(signal, name)(a, b, "same", algorithm=algorithm), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_method_direct_of_a_dtype_without_a_kernel(name):
    a, b = pair(((6, 7), (3, 2)), "longdouble")
    assert_same(getattr(signal, name)(a, b, method="direct"), direct(name)(a, b))
    assert signal.convolve(a, b, algorithm="reference").dtype == "longdouble"


@pytest.mark.parametrize("shapes", [((700,), (600,)), ((40, 41), (20, 17)), ((3, 300, 1), (3, 300, 1))], ids=str)
@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble"])
def test_large_kernels_of_long_doubles(dtype, shapes):
    a, b = pair(shapes, dtype)
    for name, mode in itertools.product(FUNCTIONS, MODES):
        for _ in range(2):
            assert_whole(getattr(signal, name)(a, b, mode), getattr(scipy.signal, name)(a, b, mode, "fft"))
        marked = a.copy()
        marked[(0,) * a.ndim] = np.nan
        assert np.isfinite(getattr(signal, name)(marked, b, mode).ravel()[-1 if mode == "full" else 0]) == (
            mode == "full"
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_as_they_come(name):
    a, b = pair(((9, 8), (3, 4)), "float64")
    expected = direct(name)(a, b)
    big, byte = np.zeros((18, 16)), np.zeros(a.nbytes + 1, "u1")
    big[::2, ::2] = a
    odd = byte[1:].view("f8").reshape(a.shape)
    odd[...] = a
    fixed = a.copy()
    fixed.flags.writeable = False
    ways = (a.tolist(), a[::-1].copy()[::-1], a.astype(">f8"), np.asfortranarray(a), big[::2, ::2], odd, fixed)
    for way in (*ways, np.ma.array(a, mask=a > 0), matrix(a), tuple(map(tuple, a))):
        for _ in range(2):
            assert_same(getattr(signal, name)(way, b), expected)
    assert_same(getattr(signal, name)(a, b[::-1].copy()[::-1]), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_non_finite_samples_reach_their_windows_only(name, method, bad):
    for shapes in (((40,), (5,)), ((200,), (64,)), ((30, 20), (3, 4)), ((40, 40), (9, 9))):
        a, b = (np.ones(shape) for shape in shapes)
        clean = getattr(signal, name)(a, b, "same", method)
        at = tuple(n // 3 for n in a.shape)
        marked = np.zeros(a.shape, int)
        marked[at] = 1
        reached = direct(name)(marked, np.ones(b.shape, int), "same") > 0
        a[at] = bad
        result = getattr(signal, name)(a, b, "same", method)
        np.testing.assert_array_equal(~np.isfinite(result), reached)
        np.testing.assert_allclose(result[~reached], clean[~reached])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_taps_that_are_not_finite(name, bad):
    for n, k in ((9, 3), (3, 9), (5, 5)):
        a, b = np.ones(n), np.ones(k)
        (b if k <= n else a)[1] = bad
        for mode in MODES[:: 2 if n < k else 1]:
            for _ in range(2):
                assert_same(getattr(signal, name)(a, b, mode), direct(name)(a, b, mode))


def test_objects_in_one_dimension():
    a = np.array([Decimal(1), Decimal(2), Decimal("0.5")])
    for name, mode in itertools.product(FUNCTIONS, MODES):
        actual = getattr(signal, name)(a, a[:2], mode)
        assert actual.dtype == object
        assert actual.tolist() == direct(name)(a, a[:2], mode).tolist()
    assert signal.convolve(a[:2], [1, 1, 1], "same").tolist() == [Decimal(3), Decimal(3)]
    out = np.empty(4, object)
    assert signal.convolve(a, a[:2], out=out) is out
    assert out[0] == 1


# Shapes


def test_operands_without_dimensions_give_scalars():
    for name in FUNCTIONS:
        function = getattr(signal, name)
        for a, b in ((3, 4), (2j, 3j), (np.True_, np.False_), (np.float32(2), 3.0), (np.uint8(20), np.uint8(20))):
            expected = attempt(direct(name), a, b)
            actual = function(a, b)
            assert type(actual) is type(expected)
            assert actual == expected
        out = np.zeros((), int)
        assert function(3, 4, out=out) is out
        assert out == 12
    assert signal.convolve(np.array(Decimal(3)), np.array(Decimal(2))) == 6


EMPTY = (((0,), (3,)), ((3,), (0,)), ((0,), (0,)), ((0, 3), (2, 2)), ((2, 2), (0, 3)), ((0, 3), (0, 3)))


@pytest.mark.parametrize("shapes", [*EMPTY, ((0, 2, 2), (1, 1, 1))], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_empty_operands(name, shapes):
    for mode in MODES:
        if mode == "valid":
            # SciPy returns more outputs than there are samples.
            with pytest.raises(ConvError, match="^in[12]: got shape"):
                getattr(signal, name)(np.ones(shapes[0]), np.ones(shapes[1]), mode)
        else:
            assert_like(getattr(signal, name), direct(name), np.ones(shapes[0]), np.ones(shapes[1]), mode)


def test_an_empty_batch():
    assert signal.convolve(np.ones((0, 5)), np.ones((1, 3)), axes=1).shape == (0, 7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outer_products_and_batches_by_length_one(name):
    a, b = pair(((300, 1), (1, 200)), "float32")
    assert_same(getattr(signal, name)(a, b), direct(name)(a, b))
    colours = data((12, 13, 3), "float64")
    kernel = data((3, 4, 1), "float64", 1)
    for mode in MODES:
        assert_same(getattr(signal, name)(colours, kernel, mode), direct(name)(colours, kernel, mode))


# axes, boundary, fillvalue


@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes_convolve_and_the_rest_broadcasts(name):
    for axis, rows, kernels in itertools.product((0, 1, -1), (1, 3), (1, 3)):
        a, b = data((rows, 9), "int32", 1), data((kernels, 4), "int32", 2)
        for mode in MODES:
            lines = range(max(rows, kernels))
            expected = [direct(name)(a[i % rows], b[i % kernels], mode) for i in lines]
            ours = (a, b) if axis else (a.T, b.T)
            actual = getattr(signal, name)(*ours, mode, axes=axis)
            assert_same(actual if axis else actual.T, np.array(expected))
            assert actual.flags.c_contiguous


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm", "reflect", "edge"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_boundaries(name, boundary, mode):
    for rank, dtype in itertools.product((1, 2, 3), ("int16", "float64", "complex64")):
        for shapes in SHAPES[rank]:
            if boundary == "reflect" and 1 in shapes[0]:
                continue
            a, b = pair(shapes, dtype)
            expected = padded_by_definition(name, a, b, mode, boundary, 3)
            assert_whole(getattr(signal, name)(a, b, mode, boundary=boundary, fillvalue=3), expected)


def test_a_boundary_for_each_axis():
    a, b = pair(((5, 6, 3), (3, 4, 1)), "int64")
    padded = np.pad(np.pad(a, ((2, 2), (0, 0), (0, 0)), "wrap"), ((0, 0), (3, 3), (0, 0)), "symmetric")
    expected = scipy.signal.convolve(padded, b, "valid", "direct")
    assert_same(signal.convolve(a, b, axes=(0, 1), boundary=("wrap", "symmetric")), expected)
    assert_same(signal.convolve(a, b, axes=(1, 0), boundary=["symm", "circular"]), expected)


def test_boundary_has_no_part_in_mode_valid():
    a, b = pair(((5, 6), (3, 4)), "float64")
    for operands in ((a, b), (b, a)):
        assert_same(
            signal.correlate(*operands, "valid", boundary="wrap", fillvalue=7), direct("correlate")(*operands, "valid")
        )


# out, threads


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_may_be_any_array_and_overlap(name):
    function = getattr(signal, name)
    for shapes in (((30,), (4,)), ((12, 10), (3, 4)), ((2, 3, 4, 5), (1, 2, 3, 2)), ((6, 5, 3), (3, 3, 1))):
        a, b = pair(shapes, "float64")
        expected = function(a, b, "same")
        for out in (np.empty(a.shape), np.empty(a.shape, order="F"), np.empty((2, *a.shape)).T[..., 0].T, a[...]):
            source = a.copy() if out.base is not a else a
            assert function(source, b, "same", out=out) is out
            assert_same(np.ascontiguousarray(out), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_may_be_the_kernel(name):
    a, b = pair(((6, 7), (6, 7)), "complex128")
    expected = getattr(signal, name)(a, b, "same")
    assert getattr(signal, name)(a, b, "same", out=b) is b
    assert_same(b, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_are_unchanged(name):
    for dtype, mode, shapes in itertools.product(("int16", "complex64"), MODES, (((4,), (7,)), ((3, 4), (5, 6)))):
        a, b = pair(shapes, dtype)
        before = a.copy(), b.copy()
        for _ in range(2):
            getattr(signal, name)(a, b, mode)
        assert_same(a, before[0])
        assert_same(b, before[1])


# The short lane


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_that_are_repeated(name):
    for shapes in (((30,), (4,)), ((4,), (30,)), ((5, 6), (7, 8)), ((3, 5, 1), (3, 1, 4)), ((1, 30), (6, 1))):
        for first, second in (
            ("float64", "float64"),
            ("int8", "float32"),
            ("complex64", "float64"),
            ("longdouble",) * 2,
        ):
            for mode in MODES:
                expected = attempt(direct(name), *pair(shapes, first, second), mode)
                if isinstance(expected, Exception):
                    continue
                for threads in (None, 1, 2):
                    for _ in range(2):
                        a, b = pair(shapes, first, second)
                        assert_whole(getattr(signal, name)(a, b, mode, threads=threads), expected)


def test_options_that_are_equal_but_not_the_same_are_told_apart():
    a, b = data((5, 6), "float64"), data((3, 2), "float64", 1)
    for axes in (1, True, 1.0):
        result = attempt(signal.convolve, a[:1], b[:1], axes=axes)
        assert isinstance(result, ConvTypeError) == (axes == 1.0 and type(axes) is float)


@pytest.mark.parametrize("name", levels.available())
def test_every_level(name):
    with at_level(name):
        for shapes in (((30,), (4,)), ((9, 8), (3, 4)), ((9, 8, 3), (3, 4, 1))):
            a, b = pair(shapes, "float32")
            assert_same(signal.convolve(a, b), direct("convolve")(a, b))


# Errors


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        (([1], [1], "ful"), {}, ConvError, r"^mode: got 'ful', allowed: 'full', 'same', 'valid' \(Acceptable mode"),
        (([1], [1], 1), {}, ConvTypeError, "^mode: got 1, allowed: "),
        (([1], [1], ["full"]), {}, ConvTypeError, "^mode: got "),
        (([1], [1], "full", "dft"), {}, ConvError, r"^method: got 'dft', allowed: .* \(Acceptable method flags are"),
        (([1], [1], "full", None), {}, ConvTypeError, "^method: got None"),
        (([1], 2), {}, ConvError, "^in1, in2: got 1 and 0 dimensions, .*should have the same dimensionality"),
        (([1], [[2]]), {}, ConvError, "^in1, in2: got 1 and 2 dimensions"),
        ((np.ones((2, 3)), np.ones((3, 2)), "valid"), {}, ConvError, "^in1, in2: .*For 'valid' mode, one must be"),
        (([[None]], [[1]]), {}, ConvTypeError, "^in1: got dtype object in 2 dimensions, allowed: .*Unsupported type"),
        (([1], ["a"]), {}, ConvTypeError, "^in2: got dtype <U1, allowed: "),
        (([[1], [1, 2]], [1]), {}, ConvError, "^in1: got a ragged sequence, allowed: "),
        (([1], [1]), {"axes": 1}, ConvError, "^axes: got 1, allowed: .*exceeds"),
        (([1], [1]), {"axes": ()}, ConvError, "^axes: got .*, allowed: .*cannot be empty"),
        (([1], [1]), {"axes": "0"}, ConvTypeError, "^axes: got '0', allowed: "),
        ((np.ones((2, 3)), np.ones((3, 3))), {"axes": 1}, ConvError, "^in1, in2: .*incompatible shapes for in1 and"),
        (([1], [1]), {"boundary": "mirror"}, ConvError, "^boundary: got 'mirror', allowed: 'fill', "),
        (
            ([1], [1]),
            {"boundary": ("wrap", "fill")},
            ConvError,
            "^boundary: got .*, allowed: one name, or one for each",
        ),
        (([1], [1]), {"boundary": 3}, ConvTypeError, "^boundary: got 3"),
        (([1], [1]), {"fillvalue": 1j}, ConvTypeError, "^fillvalue: got 1j"),
        (([1], [1]), {"out": np.empty(2)}, ConvError, r"^out: got shape \(2,\), allowed: \(1,\)"),
        (([1], [1]), {"out": np.empty(1)}, ConvTypeError, "^out: got dtype float64, allowed: int64"),
        (([1], [1]), {"out": [0]}, ConvTypeError, "^out: got list"),
        (([1], [1]), {"threads": 0}, ConvError, "^threads: got 0"),
        (([1], [1]), {"algorithm": "best"}, ConvError, "^algorithm: got 'best', allowed: "),
        (([1], [1]), {"algorithm": ["direct"]}, ConvError, "^algorithm: got "),
        ((np.ones((2, 1)), np.ones((1, 2))), {"algorithm": "best"}, ConvError, "^algorithm: got 'best', allowed: "),
    ],
    ids=str,
)
def test_what_is_refused(name, args, options, error, message):
    for _ in range(2):
        with pytest.raises(error, match=message):
            getattr(signal, name)(*args, **options)


@pytest.mark.parametrize("name", ["convolve", "correlate", "choose_conv_method", "correlation_lags"])
def test_signatures_begin_as_scipys(name):
    theirs = list(inspect.signature(getattr(scipy.signal, name)).parameters.values())
    ours = list(inspect.signature(getattr(signal, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


# choose_conv_method, correlation_lags


def test_choose_conv_method():
    a, b = np.ones(8), np.ones(6)
    for mode in MODES:
        assert signal.choose_conv_method(a, b, mode) == "direct"
    assert signal.choose_conv_method(3, 4) == "direct"
    assert signal.choose_conv_method([], [1]) == "direct"
    assert signal.choose_conv_method(np.ones(4, "longdouble"), np.ones(3, "longdouble")) == "direct"
    assert signal.choose_conv_method(np.array([Decimal(1)]), [1]) == "direct"
    assert signal.choose_conv_method(np.ones((4, 1)), np.ones((1, 3))) == "direct"
    with pytest.raises(ConvError, match="^mode: got 'bogus'"):
        signal.choose_conv_method(a, b, "bogus")
    with pytest.raises(ConvError, match="same dimensionality"):
        signal.choose_conv_method(a, 1)


def test_choose_conv_method_measures():
    method, times = signal.choose_conv_method([1.0, 2.0], [3.0], "same", measure=True)
    assert times.keys() == {"direct", "fft"}
    assert all(type(seconds) is float and seconds > 0 for seconds in times.values())
    assert times[method] == min(times.values())


def test_lags_are_those_of_correlate():
    for n, k, mode in itertools.product(range(1, 9), range(1, 9), MODES):
        lags = signal.correlation_lags(n, k, mode)
        # Correlated with an impulse at its start, a ramp says which sample it was taken from.
        ramp, impulse = np.arange(1, n + 1), np.zeros(k, int)
        impulse[0] = 1
        values = signal.correlate(ramp, impulse, mode)
        assert lags.dtype == "int64"
        assert lags.shape == values.shape
        for lag, value in zip(lags, values, strict=True):
            assert value == (lag + 1 if 0 <= lag < n else 0)
        if mode != "same" or n % 2 == 0 or k % 2:
            assert_same(lags, scipy.signal.correlation_lags(n, k, mode))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((3.0, 2), ConvTypeError, "^in1_len: got 3.0, allowed: integers >= 0"),
        ((3, "2"), ConvTypeError, "^in2_len: got '2'"),
        ((3, -1), ConvError, "^in2_len: got -1"),
        ((3, 2, "asdfgh"), ConvError, "^mode: got 'asdfgh', allowed: .*Mode asdfgh is invalid"),
    ],
    ids=str,
)
def test_lags_of_what_is_no_length(args, error, message):
    with pytest.raises(error, match=message):
        signal.correlation_lags(*args)


def test_lags_of_numpys_integers_do_not_wrap():
    assert_same(signal.correlation_lags(np.int64(3), np.uint8(2)), np.arange(-1, 3))
    assert_same(signal.correlation_lags(0, 3), np.arange(-2, 0))


# Properties

few = settings(max_examples=60, deadline=None)


@st.composite
def operands(draw, rank=None):
    rank = draw(st.integers(1, 3)) if rank is None else rank
    shapes = hnp.array_shapes(min_dims=rank, max_dims=rank, min_side=1, max_side=6)
    dtype = draw(st.sampled_from(["int16", "float64"]))
    elements = st.integers(-9, 9)
    return tuple(draw(hnp.arrays("int64", shapes, elements=elements)).astype(dtype) for _ in range(2))


@few
@given(operands())
def test_convolution_commutes(pair):
    a, b = pair
    for mode in ("full", "valid"):
        one, other = attempt(signal.convolve, a, b, mode), attempt(signal.convolve, b, a, mode)
        assert type(one) is type(other)
        if not isinstance(one, Exception):
            assert_whole(one, other)


@few
@given(operands(), st.sampled_from(MODES))
def test_correlation_is_convolution_with_the_reversed(pair, mode):
    a, b = pair
    one, other = attempt(signal.correlate, a, b, mode), attempt(signal.convolve, a, np.flip(b), mode)
    assert type(one) is type(other)
    if not isinstance(one, Exception):
        assert_whole(one, other)


@few
@given(operands(), st.data())
def test_axes_are_convolved_one_line_at_a_time(pair, draw):
    a, b = pair
    axis = draw.draw(st.integers(-a.ndim, a.ndim - 1))
    b = np.moveaxis(np.moveaxis(b, axis, 0)[(slice(None), *(slice(1),) * (b.ndim - 1))], 0, axis)
    line = np.convolve(np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis])[0], b.ravel())
    full = signal.convolve(a, b, axes=axis)
    assert_whole(np.ascontiguousarray(np.moveaxis(full, axis, -1).reshape(-1, len(line))[0]), line)


@few
@given(operands(), st.sampled_from(["int16", "float32", "complex64"]))
def test_the_sum_of_the_full_result_is_the_product_of_the_sums(pair, dtype):
    a, b = (array.astype(dtype) for array in pair)
    assert abs(signal.convolve(a, b).sum(dtype=complex) - a.sum(dtype=complex) * b.sum(dtype=complex)) < 1
