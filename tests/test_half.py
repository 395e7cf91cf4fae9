"""float16 and bfloat16: stored as such, summed in float32, by every algorithm and on every level."""

import pickle
import warnings

import numpy as np
import pytest
from _tools import assert_same, assert_same_bits, data, prefilled

import fastconv
from fastconv import ConvTypeError, _reference, nn

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = [np.dtype(np.float16), BFLOAT16]
ONE = {half: np.ones(1, half) for half in HALVES}


@pytest.fixture(params=HALVES, ids=str)
def half(request):
    return request.param


def whole(shape, half, seed=0):
    """Small whole numbers, which both types hold."""
    return data(shape, "float32", seed).astype(half)


def in_float(array):
    return array.astype(np.float32)


def rounded(array, half):
    """Sums as the half they are stored as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(array).astype(np.float32).astype(half)


# --- conversions -----------------------------------------------------------------------------------------------------


def test_every_half_is_read(level, half):
    x = np.arange(65536, dtype=np.uint16).view(half)
    wanted = in_float(x)
    actual = fastconv.conv(x, ONE[half], result_dtype="float32")
    assert_same(actual, wanted)
    assert_same(fastconv.conv(x[::3], ONE[half], result_dtype="float32"), wanted[::3])


def test_floats_are_rounded_half_to_even(level, half):
    bits = np.random.default_rng(0).integers(0, 2**32, 50_000, dtype=np.uint32)
    # Halfway between neighbours, and next to that.
    step = 13 if half == np.float16 else 16
    halfway = (np.arange(65536, dtype=np.uint32) << step) + np.uint32(1 << (step - 1))
    x = np.concatenate([bits, halfway, halfway - 1, halfway + 1]).view(np.float32)
    x = np.concatenate([x, np.array([0, -0.0, np.inf, -np.inf, np.nan, 65519.996, 65520, 1e-8, 3e-8], np.float32)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = x.astype(half)
        actual = fastconv.conv(x, np.ones(1, np.float32), result_dtype=half)
    assert actual.dtype == half
    # The product with one, and the sum with nothing, leave a subnormal as it is.
    np.testing.assert_array_equal(in_float(actual), in_float(wanted))
    assert np.isnan(in_float(actual[np.isnan(x)])).all()


def test_doubles_are_rounded_once(level, half):
    bits = 11 if half == np.float16 else 8
    ties = 1 + 2.0**-bits * np.arange(1, 64)
    x = np.concatenate([ties, ties * (1 + 2.0**-45), ties * (1 - 2.0**-45), [1e300, -1e300, 1e-300, np.nan, np.inf]])
    actual = in_float(fastconv.conv(x, np.ones(1), result_dtype=half))
    unit = 2.0 ** (1 - bits)
    wanted = np.where(np.abs(x) < 4, np.rint(x / unit) * unit, x)
    # Above 2 the unit is twice as large; none of these are.
    assert x[:189].max() < 2
    np.testing.assert_array_equal(actual[:189], wanted[:189])
    np.testing.assert_array_equal(actual[189:], [np.inf, -np.inf, 0, np.nan, np.inf])


# --- every algorithm -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("algorithm", ["direct", "gemm", "winograd", "reference"])
def test_algorithms(level, half, algorithm, layout):
    order = ["NCHW".index(letter) for letter in layout]
    for groups, kernel in ((1, 3), (2, 3), (1, 1)):
        if algorithm == "winograd" and kernel == 1:
            continue
        x = np.ascontiguousarray(whole((2, 12, 11, 19), half).transpose(order))
        w, bias = whole((38, 12 // groups, kernel, kernel), half, 1), whole(38, half, 2)
        options = {"layout": layout, "groups": groups, "padding": kernel // 2, "algorithm": algorithm}
        sums = fastconv.conv(in_float(x), in_float(w), bias=in_float(bias), **options)
        actual = fastconv.conv(x, w, bias=bias, **options)
        assert_same(actual, rounded(sums, half))
        for threads in (1, 3):
            out = prefilled(actual.shape, "float32").astype(half)
            fastconv.conv(x, w, bias=bias, out=out, threads=threads, **options)
            assert_same_bits(out, actual)
        field = np.zeros([2 * n for n in actual.shape], half)
        out = field[tuple(slice(None, None, -2) for _ in actual.shape)]
        fastconv.conv(x, w, bias=bias, out=out, **options)
        assert_same_bits(np.ascontiguousarray(out), actual)


@pytest.mark.parametrize("algorithm", ["direct", "gemm", "winograd"])
def test_arrays_of_any_form(level, half, algorithm):
    x, w = whole((2, 6, 9, 20), half), whole((35, 6, 3, 3), half, 1)
    options = {"layout": "NCHW", "padding": 1, "algorithm": algorithm}
    wanted = fastconv.conv(x, w, **options)
    raw = np.zeros(x.nbytes + w.nbytes + 1, np.uint8)[1:]
    odd_x = raw[: x.nbytes].view(half).reshape(x.shape)
    odd_w = raw[x.nbytes :].view(half).reshape(w.shape)
    odd_x[...], odd_w[...] = x, w
    spread = np.zeros((2, 12, 18, 60), half)[:, ::2, ::-2, ::3]
    spread[...] = x
    turned = np.asfortranarray(w)[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1]
    for other_x, other_w in ((odd_x, odd_w), (spread, np.asfortranarray(w)), (x, turned), (x.copy("F"), w)):
        assert_same(fastconv.conv(other_x, other_w, **options), wanted)
    flipped = np.ascontiguousarray(w[:, :, ::-1, ::-1])
    assert_same(fastconv.conv(x, flipped, flip=True, **options), wanted)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_options(level, half, algorithm):
    x, w = whole((2, 5, 6, 7, 21), half), whole((9, 5, 2, 3, 2), half, 1)
    for options in (
        {"stride": 2, "padding": "same", "boundary": "reflect"},
        {"dilation": (1, 2, 3), "padding": "full", "fill_value": 3},
        {"input_dilation": 2, "padding": 1, "boundary": "wrap"},
    ):
        sums = _reference.conv(in_float(x), in_float(w), layout="NCDHW", **options)
        assert_same(fastconv.conv(x, w, layout="NCDHW", algorithm=algorithm, **options), rounded(sums, half))


def test_depthwise(level, half):
    for layout, shape in (("NCHW", (1, 24, 12, 30)), ("NHWC", (1, 12, 30, 24))):
        x, w = whole(shape, half), whole((24, 1, 3, 3), half, 1)
        options = {"layout": layout, "groups": 24, "padding": 1}
        sums = fastconv.conv(in_float(x), in_float(w), **options)
        assert_same(fastconv.conv(x, w, **options), rounded(sums, half))


def test_sums_are_made_in_float32(level, half):
    ones = np.ones((1, 4099, 1, 4), half)
    for algorithm in ("direct", "gemm", "reference"):
        w = np.ones((2, 4099, 1, 1), half)
        actual = fastconv.conv(ones, w, layout="NCHW", algorithm=algorithm, result_dtype="float32")
        assert (actual == 4099).all()


def test_the_reference_knows_halves(half):
    x, w = whole((9, 12), half), whole((3, 3), half, 1)
    actual = _reference.conv(x, w, bias=np.array(2, half))
    assert_same(actual, rounded(_reference.conv(in_float(x), in_float(w), bias=np.float32(2)), half))
    assert_same(fastconv.conv(x, w, bias=np.array(2, half), algorithm="reference"), actual)


def test_what_is_not_finite_stays_in_its_windows(level, half):
    x, w = whole((1, 12, 14, 20), half), whole((20, 12, 3, 3), half, 1)
    x[0, 3, 4, 5], x[0, 4, 10, 19] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = [
            in_float(fastconv.conv(x, w, layout="NCHW", padding=1, algorithm=name))
            for name in ("reference", "direct", "gemm", "winograd")
        ]
    assert np.isfinite(results[0]).any() and np.isnan(results[0]).any()
    for result in results[1:3]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_allclose(results[3], results[0], rtol=2.0**-7, atol=2.0**-7)


# --- epilogues, plans, faces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("algorithm", ["direct", "gemm", "winograd"])
def test_epilogues(level, half, algorithm, layout):
    order = ["NCHW".index(letter) for letter in layout]
    x, w = np.ascontiguousarray(whole((1, 12, 9, 22), half).transpose(order)), whole((38, 12, 3, 3), half, 1)
    options = {"layout": layout, "algorithm": algorithm}
    scale, bias = np.float32(2.0) ** (np.arange(38) % 4 - 4), whole(38, half, 2)
    sums = fastconv.conv(in_float(x), in_float(w), **options)
    along = [1] * 4
    along[layout.index("C")] = -1
    for kind in (half, np.dtype(np.float32), np.dtype(np.int8)):
        residual = data(sums.shape, "float32", 3).astype(kind)
        wanted = np.maximum(sums * scale.reshape(along) + in_float(bias).reshape(along) + in_float(residual), 0)
        wanted = np.clip(np.rint(wanted), -128, 127).astype(kind) if kind.kind == "i" else wanted.astype(kind)
        steps = {"scale": scale, "bias": bias, "activation": "relu", "result_dtype": kind}
        actual = fastconv.conv(x, w, residual=residual, **steps, **options)
        assert actual.dtype == kind
        # Sums of transforms are no whole numbers, and may fall on the other side of halfway.
        unit = {"winograd": 1 if kind.kind == "i" else 2.0**-7 if kind == half else 1e-5}.get(algorithm, 0)
        np.testing.assert_allclose(in_float(actual), in_float(wanted), rtol=0 if kind.kind == "i" else unit, atol=unit)
        fastconv.conv(x, w, residual=residual, out=residual, **steps, **options)
        assert_same_bits(residual, actual)


@pytest.mark.parametrize("algorithm", ["direct", "gemm", "winograd"])
def test_plans(level, half, algorithm):
    x, w = whole((2, 12, 9, 13), half), whole((38, 12, 3, 3), half, 1)
    options = {"layout": "NCHW", "padding": 1, "algorithm": algorithm, "bias": whole(38, half, 2)}
    plan = fastconv.plan(w, x.shape, **options)
    assert plan.algorithm == algorithm
    wanted = fastconv.conv(x, w, **options)
    assert_same(plan(x), wanted)
    assert_same(pickle.loads(pickle.dumps(plan))(x), wanted)
    with pytest.raises(ConvTypeError, match="^x: got dtype float32"):
        plan(in_float(x))


def test_faces_take_halves_again_and_again(half):
    x, w, bias = whole((2, 4, 9, 13), half), whole((6, 4, 3, 3), half, 1), whole(6, half, 2)
    wanted = fastconv.conv(x, w, bias=bias, layout="NCHW", accuracy="strict")
    for _ in range(3):
        assert_same(nn.conv2d(x, w, bias, accuracy="strict"), wanted)
        assert_same(nn.conv2d(x, w, accuracy="strict"), fastconv.conv(x, w, layout="NCHW", accuracy="strict"))


def test_mixed_operands():
    x, w = whole((1, 3, 6, 7), BFLOAT16), data((4, 3, 3, 3), "float32", 1)
    wanted = _reference.conv(in_float(x), w, layout="NCHW")
    assert_same(fastconv.conv(x, w, layout="NCHW"), wanted)
    assert_same(
        fastconv.conv(w[:1], x, layout="NCHW", padding=3), _reference.conv(w[:1], in_float(x), layout="NCHW", padding=3)
    )
    assert fastconv.conv(x, w.astype(float), layout="NCHW").dtype == np.float64
    assert fastconv.conv(x, w.astype("int8"), layout="NCHW").dtype == BFLOAT16
    assert fastconv.conv(x, w, layout="NCHW", dtype=BFLOAT16).dtype == BFLOAT16
    assert fastconv.conv(x, w.astype("complex64"), layout="NCHW").dtype == np.complex64
    for other in ("float16", "int16", "int32"):
        with pytest.raises(ConvTypeError, match=f"^w: got dtype {other} for x of dtype bfloat16, allowed: dtypes with"):
            fastconv.conv(x, w.astype(other), layout="NCHW")
    with pytest.raises(ConvTypeError, match="^bias: got dtype complex"):
        fastconv.conv(x, x, layout="NCHW", bias=[1j])


def test_other_dtypes_without_a_kind_are_refused():
    for other in (ml_dtypes.float8_e4m3fn, ml_dtypes.int4, np.dtype("V2"), np.dtype("M8[s]")):
        x = np.zeros((3, 4), other)
        with pytest.raises(ConvTypeError, match="^x: got dtype"):
            fastconv.conv(x, x)
        with pytest.raises(ConvTypeError, match="^result_dtype: got"):
            fastconv.conv(np.ones(3), np.ones(1), result_dtype=other)
