"""fastconv.convolve and fastconv.correlate against numpy's, which define the answers."""

import inspect
import itertools
from decimal import Decimal

import numpy as np
import pytest
from _pairs import LENGTHS, MODES, assert_like, assert_whole, attempt, matrix, pair
from _tools import DTYPES, INTEGERS, assert_same, data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastconv
from fastconv import ConvError, ConvTypeError

FUNCTIONS = ("convolve", "correlate")


def both(name):
    return getattr(fastconv, name), getattr(np, name)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_dtype_mode_and_length_is_numpys(name, lengths):
    n, k = lengths
    for dtype, mode in itertools.product(DTYPES, (*MODES, 0, 1, 2)):
        for _ in range(2):
            assert_like(*both(name), *pair(((n,), (k,)), dtype), mode)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_pair_of_dtypes_is_numpys(name):
    for first, second in itertools.product(DTYPES, repeat=2):
        for _ in range(2):
            assert_like(*both(name), *pair(((9,), (4,)), first, second), "full")
            assert_like(*both(name), *pair(((4,), (9,)), first, second), "same")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_exact_modulo_2n(name, dtype):
    for n, k in ((60, 7), (300, 90), (7, 60)):
        ours, theirs = both(name)
        a, v = data(n, dtype, 1), data(k, dtype, 2)
        for mode in MODES:
            assert_same(ours(a, v, mode), theirs(a, v, mode))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_default_modes(name):
    ours, theirs = both(name)
    assert_same(ours([1, 2, 3], [0, 1, 0.5]), theirs([1, 2, 3], [0, 1, 0.5]))
    assert [(p.name, p.default) for p in inspect.signature(ours).parameters.values()][:3] == [
        (p.name, p.default) for p in inspect.signature(theirs).parameters.values()
    ]


@pytest.mark.parametrize("mode", [np.int64(1), np.array(2), np.str_("same"), 2], ids=repr)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_names_of_the_modes(name, mode):
    assert_like(*both(name), [1, 2, 3], [4, 5], mode)


BAD_MODES = (None, 1.0, True, np.True_, b"full", ["full"], "f", "Full", "", "full ", 3, -1, 2**40, np.array([1, 2]))


@pytest.mark.parametrize("mode", BAD_MODES, ids=repr)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_mode(name, mode):
    ours, theirs = both(name)
    for _ in range(2):
        with pytest.raises(
            (ConvError, ConvTypeError), match="^mode: got .*, allowed: 'full', 'same', 'valid', 2, 1, 0"
        ):
            ours([1.0, 2.0], [1.0], mode)
    # NumPy 1 only warns of a mode that begins like one, and counts 2**40 modulo 2**32.
    if not isinstance(mode, (str, int)):
        assert isinstance(attempt(ours, [1.0], [1.0], mode), type(attempt(theirs, [1.0], [1.0], mode)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", "longdouble"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_and_inf_are_where_numpy_has_them(name, dtype):
    ours, theirs = both(name)
    for (n, k), bad, mode in itertools.product(((9, 4), (4, 9), (30, 30)), (np.nan, np.inf), MODES):
        for place in range(2):
            operands = [np.ones(n, dtype), np.ones(k, dtype)]
            for _ in range(2):
                # Clean operands first, so that the call is one that is remembered.
                assert_whole(ours(*operands, mode), theirs(*operands, mode))
            operands[place][1] = bad
            actual, expected = ours(*operands, mode), theirs(*operands, mode)
            np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
            if np.dtype(dtype).kind == "f":
                assert_same(actual, expected)


def test_scalars_are_sequences_of_one_to_convolve_only():
    for a, v in ((3, [1, 2]), ([1.5, 2], 3), (3, 4j), (True, 2), (np.float32(2), np.ones(3, "f"))):
        assert_like(fastconv.convolve, np.convolve, a, v)
        with pytest.raises(ConvError, match="^[av]: got a scalar, allowed: 1-D arrays .*too small depth"):
            fastconv.correlate(a, v)


@pytest.mark.parametrize(
    ("a", "v", "error", "message"),
    [
        ([], [1], ConvError, "^a: got no samples"),
        ([1], [], ConvError, "^v: got no samples"),
        ([], [], ConvError, "^a: got no samples"),
        ([[1, 2]], [1], ConvError, r"^a: got 2 axes of shape \(1, 2\), allowed: 1-D arrays \(object too deep"),
        ([1], [[1, 2]], ConvError, "^v: got 2 axes"),
        (matrix([1, 2]), [1], ConvError, "^a: got 2 axes"),
        ([[1], [1, 2]], [1], ConvError, "^a: got a sequence that makes no array"),
        (["a"], ["b"], ConvTypeError, "^a: got dtype <U1, allowed: numbers and objects"),
        ([1], [b"b"], ConvTypeError, r"^v: got dtype \|S1"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_refused(name, a, v, error, message):
    ours, theirs = both(name)
    with pytest.raises(error, match=message) as caught:
        ours(a, v)
    assert isinstance(caught.value, type(attempt(theirs, a, v)))


def test_numpys_words_for_empty_operands():
    with pytest.raises(ValueError, match="a cannot be empty"):
        fastconv.convolve([], [1])
    with pytest.raises(ValueError, match="v cannot be empty"):
        fastconv.convolve([1], [])
    with pytest.raises(ValueError, match="first array argument cannot be empty"):
        fastconv.correlate([], [1])
    with pytest.raises(ValueError, match="second array argument cannot be empty"):
        fastconv.correlate([1], [])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_objects_go_through_numpys_loop(name):
    ours, theirs = both(name)
    a, v = np.array([Decimal(1), Decimal(2), Decimal("0.5")]), np.array([Decimal(3), 2])
    for mode in MODES:
        assert ours(a, v, mode).tolist() == theirs(a, v, mode).tolist()
        assert ours(v, a, mode).dtype == object
    delays = np.array([1, 2], "m8[s]")
    assert_like(*both(name), delays, [1, 2])
    with pytest.raises(TypeError):
        ours([None], [1])


def test_subclasses_are_what_numpy_makes_of_them():
    masked = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    assert type(fastconv.convolve(masked, [1, 1])) is np.ndarray
    for _ in range(2):
        ours, theirs = fastconv.correlate(masked, [1, 1]), np.correlate(masked, [1, 1])
        assert type(ours) is type(theirs)
        assert ours.data.tolist() == theirs.data.tolist()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_as_they_come(name):
    a, v = pair(((30,), (4,)), "float64")
    byte = np.zeros(a.nbytes + 1, "u1")
    odd = byte[1:].view("f8")
    odd[...] = a
    fixed = a.copy()
    fixed.flags.writeable = False
    for mode, way in itertools.product(
        MODES, (a.tolist(), tuple(a), a[::-1].copy()[::-1], np.repeat(a, 3)[::3], a.astype(">f8"), odd, fixed)
    ):
        for _ in range(2):
            assert_like(*both(name), way, v, mode)
            assert_like(*both(name), v, way, mode)
    ones = np.broadcast_to(1.0, 9)
    assert_like(*both(name), ones, ones[:3], "full")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_and_threads(name):
    ours, theirs = both(name)
    a, v = pair(((40,), (4,)), "float64")
    expected = theirs(a, v, "same")
    for out in (np.empty(40), np.empty(80)[::2], np.empty(40)[::-1], np.empty(40, ">f8"), a[:]):
        assert ours(a.copy() if out.base is not a else a, v, "same", out=out) is out
        np.testing.assert_array_equal(out, expected)
    a, v = pair(((4000,), (4,)), "complex64")
    for operands in ((a, v), (v, a)):
        for threads in (1, 2, 3):
            for _ in range(2):
                assert_same(ours(*operands, "full", threads=threads), theirs(*operands, "full"))
    with pytest.raises(ConvError, match="^threads: got 0"):
        ours(a, v, threads=0)
    with pytest.raises(ConvError, match=r"^out: got shape \(3,\)"):
        ours(a, v, out=np.empty(3, "complex64"))
    with pytest.raises(ConvError, match="^algorithm: got 'best'"):
        ours(a, v, algorithm="best")
    for algorithm in ("direct", "reference"):
        assert_same(ours(a[:30], v, "full", algorithm=algorithm), theirs(a[:30], v, "full"))
    whole = np.empty(4, object)
    assert ours(np.array([1, 2, 3], object), [1, 2], "full", out=whole) is whole


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_are_unchanged(name):
    for lengths, mode in itertools.product(((9, 4), (4, 9)), MODES):
        a, v = pair(((lengths[0],), (lengths[1],)), "complex128")
        before = a.copy(), v.copy()
        for _ in range(2):
            both(name)[0](a, v, mode)
        assert_same(a, before[0])
        assert_same(v, before[1])


def test_results_are_arrays_of_their_own():
    a, v = np.ones(30), np.ones(3)
    first = fastconv.convolve(a, v)
    second = fastconv.convolve(a, v)
    assert not np.may_share_memory(first, second)
    assert first.flags.owndata
    assert first.flags.writeable


def test_many_shapes_are_forgotten_without_harm():
    v = np.ones(2)
    for n in range(2, 4200):
        fastconv.convolve(np.ones(n), v, "valid")
    assert_same(fastconv.convolve(np.ones(9), v, "valid"), np.full(8, 2.0))


arrays = st.one_of(
    *(
        hnp.arrays(dtype, st.integers(1, 40), elements=st.integers(0 if dtype == "uint8" else -9, 9))
        for dtype in ("int8", "uint8", "int64", "float32", "float64", "complex64")
    )
)


@settings(max_examples=100, deadline=None)
@given(arrays, arrays, st.sampled_from(MODES))
def test_numpys_on_any_pair(a, v, mode):
    for name in FUNCTIONS:
        assert_like(*both(name), a, v, mode)
