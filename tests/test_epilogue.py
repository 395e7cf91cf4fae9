"""What follows the sums: scale, bias, residual, activation and the cast, fused into the store stage or not.

Sums are of small whole numbers, and scales powers of two, so that all but the activations by exp is exact.
"""

import itertools
import math
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from _tools import assert_same, assert_same_bits, data, prefilled

import fastconv
from fastconv import ConvError, ConvTypeError, _epilogue, _problem, _reference

FUSING = ("direct", "gemm", "winograd")
ALGORITHMS = (*FUSING, "fft", "reference")
EXACT = (None, "relu", "relu6", "leaky_relu", "hardswish")
BY_EXP = ("sigmoid", "silu", "gelu", "tanh")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def expected(x, w, *, scale=None, bias=None, residual=None, activation=None, result_dtype=None, **options):
    """The definition, in float64 up to the cast."""
    problem, operands = _problem.prepare(
        x, w, scale=scale, bias=bias, residual=residual, activation=activation, result_dtype=result_dtype, **options
    )
    plain = None if scale is not None else bias
    result = _reference.conv(x.astype(float), w.astype(float), bias=plain, **options)
    _epilogue.finish(result, problem, operands.bias, operands.scale, operands.residual)
    out = np.empty(result.shape, problem.out_dtype)
    _epilogue.cast_into(out, result)
    return out


def assert_close(actual, wanted, algorithm, activation=None, arithmetic="float32"):
    """Equal, or to what transforms and exponentials are good for; a rounded integer may then be the next."""
    assert actual.dtype == wanted.dtype
    exact = algorithm in ("direct", "gemm", "reference")
    if exact and activation in (None, "relu", "relu6", ("leaky_relu", 0.125), ("leaky_relu", 0.25)):
        np.testing.assert_array_equal(actual, wanted)
        return
    eps = 1.0 if wanted.dtype.kind in "iu" else float(max(np.finfo(dtype).eps for dtype in (wanted.dtype, arithmetic)))
    tolerance = eps if wanted.dtype.kind in "iu" else (8 if exact else 4000) * eps
    relative = 0 if wanted.dtype.kind in "iu" else tolerance
    np.testing.assert_allclose(actual.astype(float), wanted.astype(float), rtol=relative, atol=tolerance)


def operands(layout="NCHW", dtype="float32", groups=1, kernel=3, channels=12, channels_out=38, size=(11, 19)):
    order = ["NCHW".index(letter) for letter in layout] if "N" in layout else [layout.index("C")] * 0
    x = data((2, channels, *size), dtype)
    x = np.ascontiguousarray(x.transpose(order)) if order else x[0]
    w = data((channels_out, channels // groups, kernel, kernel), dtype, 1)
    return x, w, {"layout": layout, "groups": groups, "padding": kernel // 2}


STEPS = {
    "scale": {"scale": 0.25},
    "scales": {"scale": np.float32(2.0) ** (np.arange(38) % 5 - 3)},
    "scales and bias": {"scale": np.float32(2.0) ** (np.arange(38) % 5 - 3), "bias": np.arange(-19, 19)},
    "bias": {"bias": np.arange(-19, 19)},
    "residual": {"residual": True},
    "slope": {"activation": ("leaky_relu", 0.125)},
    **{name: {"activation": name} for name in (*EXACT[1:], *BY_EXP)},
    **{name: {"result_dtype": name} for name in ("float16", "float64", "float32", *INTEGERS)},
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW"])
@pytest.mark.parametrize("algorithm", FUSING)
def test_each_step_alone(level, algorithm, layout):
    for dtype in ("float32", "float64")[: 2 if layout == "NCHW" else 1]:
        x, w, options = operands(layout, dtype, size=(7, 19))
        for name, given in STEPS.items():
            steps = dict(given)
            if "residual" in steps:
                steps["residual"] = data(_reference.conv(x, w, **options).shape, dtype, 3)
            if steps.get("activation") in BY_EXP:
                steps["scale"] = 2.0**-5
            wanted = expected(x, w, **steps, **options)
            actual = fastconv.conv(x, w, algorithm=algorithm, **steps, **options)
            assert_close(actual, wanted, algorithm, steps.get("activation"), dtype)
            # Every second sample of an array, from its end.
            field = prefilled([2 * n for n in wanted.shape], wanted.dtype)
            out = field[tuple(slice(None, None, -2) for _ in wanted.shape)]
            assert fastconv.conv(x, w, algorithm=algorithm, out=out, **steps, **options) is out, name
            assert_same_bits(np.ascontiguousarray(out), actual)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_steps_together(level, algorithm, layout):
    x, w, options = operands(layout, groups=2, channels=4 if algorithm in ("fft", "reference") else 12, kernel=3)
    if algorithm == "fft":
        x, w, options = operands(layout, kernel=9, channels=2, channels_out=38)
    shape = _reference.conv(x, w, **options).shape
    for result_dtype, like in itertools.product((None, "int8", "float16", "float64"), (False, True)):
        residual = data(shape, (result_dtype or "float32") if like else "float32", 3)
        if residual.dtype.kind == "i":
            residual //= 8
        steps = {
            "scale": np.float32(2.0) ** (np.arange(38) % 3 - 3),
            "bias": np.arange(-19, 19, dtype=np.float32),
            "residual": residual,
            "activation": ("leaky_relu", 0.25),
            "result_dtype": result_dtype,
        }
        wanted = expected(x, w, **steps, **options)
        actual = fastconv.conv(x, w, algorithm=algorithm, **steps, **options)
        assert_close(actual, wanted, algorithm)
        assert_same_bits(fastconv.conv(x, w, algorithm=algorithm, threads=3, **steps, **options), actual)
        if like:
            steps["residual"] = out = residual.copy()
            assert fastconv.conv(x, w, algorithm=algorithm, out=out, **steps, **options) is out
            assert_same_bits(out, actual)
            field = np.zeros([n + 3 for n in shape], residual.dtype)
            steps["residual"] = out = field[tuple(slice(1, n + 1) for n in shape)]
            out[...] = residual
            fastconv.conv(x, w, algorithm=algorithm, out=out, **steps, **options)
            assert_same_bits(np.ascontiguousarray(out), actual)
            assert np.count_nonzero(field) == np.count_nonzero(out)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_ranks(level, rank, algorithm):
    letters = "DHW"[3 - rank :]
    for kernel, layout in itertools.product((2, 1), ("NC" + letters, "N" + letters + "C")):
        sizes = (4, 5, 37)[3 - rank :]
        channels = {"N": 2, "C": 6} | dict(zip(letters, sizes, strict=True))
        x, w = data([channels[letter] for letter in layout]), data((5, 6, *[kernel] * rank), seed=1)
        options = {"layout": layout, "padding": kernel // 2}
        residual = data(_reference.conv(x, w, **options).shape, seed=2)
        steps = {"scale": 0.5, "bias": data(5, seed=3), "residual": residual, "activation": "relu"}
        assert_same(fastconv.conv(x, w, algorithm=algorithm, **steps, **options), expected(x, w, **steps, **options))
        turned = residual[tuple(slice(None, None, -1) for _ in residual.shape)]
        steps["residual"] = turned
        assert_same(fastconv.conv(x, w, algorithm=algorithm, **steps, **options), expected(x, w, **steps, **options))


@pytest.mark.parametrize("shape", [(70,), (9, 33), (4, 5, 40)])
def test_without_channels(level, shape):
    x, w = data(shape), data((3,) * len(shape), seed=1)
    residual = data(tuple(n - 2 for n in shape), seed=2)
    steps = {"scale": 0.5, "bias": 3, "residual": residual, "activation": "relu6", "result_dtype": "uint8"}
    assert_same(fastconv.conv(x, w, **steps), expected(x, w, **steps))


@pytest.mark.parametrize("algorithm", FUSING)
def test_the_bias_keeps_its_bits(level, algorithm):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 12, 14, 21), (20, 12, 3, 3)))
    options = {"bias": rng.normal(size=20).astype(np.float32), "layout": "NCHW", "algorithm": algorithm}
    plain = fastconv.conv(x, w, **options)
    assert_same_bits(fastconv.conv(x, w, activation="relu", **options) + 0.0, np.maximum(plain, 0) + np.float32(0))
    residual = rng.normal(size=plain.shape).astype(np.float32)
    assert_same_bits(fastconv.conv(x, w, residual=residual, **options), plain + residual)
    assert_same_bits(fastconv.conv(x, w, result_dtype="float16", **options), plain.astype(np.float16))


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_residuals_of_any_form(level, algorithm):
    x, w, options = operands(kernel=1)
    residual = data((2, 38, 11, 19), seed=3)
    wanted = expected(x, w, residual=residual, activation="relu", **options)
    raw = np.zeros(residual.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(residual.shape)
    misaligned[...] = residual
    frozen = residual.copy()
    frozen.flags.writeable = False
    forms = [
        residual.astype(">f4"),
        residual.astype(int),
        residual.astype(np.float64),
        np.asfortranarray(residual),
        residual[..., ::-1].copy()[..., ::-1],
        misaligned,
        frozen,
        residual.tolist(),
    ]
    for form in forms:
        actual = fastconv.conv(x, w, residual=form, activation="relu", algorithm=algorithm, **options)
        assert_same(actual, wanted)
    # Beside the result in memory, but not the same elements.
    field = np.zeros((3, 38, 11, 19), np.float32)
    field[:2] = residual
    out = field[1:]
    fastconv.conv(x, w, residual=field[:2], activation="relu", algorithm=algorithm, out=out, **options)
    assert_same(out, wanted)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_not_finite_reaches_its_windows_only(level, algorithm):
    kernel = 9 if algorithm == "fft" else 3
    x, w, options = operands(kernel=kernel, channels=3, size=(19, 40))
    x[0, 1, 5, 7], x[1, 0, 15, 30], x[1, 2, 4, 39] = np.nan, np.inf, -np.inf
    residual = data((2, 38, 19, 40), seed=3)
    residual[0, 3, 18, 0], residual[0, 4, 18, 1] = np.nan, -np.inf
    steps = {"residual": residual, "scale": 0.5, "bias": data(38, seed=4), "activation": "relu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = fastconv.conv(x, w, algorithm="direct", **steps, **options)
        for in_place in (False, True):
            out = residual.copy() if in_place else prefilled(residual.shape, "float32")
            steps["residual"] = out if in_place else residual
            fastconv.conv(x, w, algorithm=algorithm, out=out, **steps, **options)
            np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))
            np.testing.assert_array_equal(np.isinf(out), np.isinf(wanted))
            finite = np.isfinite(wanted)
            np.testing.assert_allclose(out[finite], wanted[finite], rtol=1e-3, atol=1e-3)


# --- activations -----------------------------------------------------------------------------------------------------

TRUE = {
    "sigmoid": lambda y: 1 / (1 + math.exp(-y)) if y > 0 else math.exp(y) / (1 + math.exp(y)),
    "silu": lambda y: y / (1 + math.exp(-y)) if y > 0 else y * math.exp(y) / (1 + math.exp(y)),
    "gelu": lambda y: y * 0.5 * math.erfc(-y / math.sqrt(2)),
    "tanh": math.tanh,
    "hardswish": lambda y: y * min(max(y + 3, 0), 6) / 6,
    "relu": lambda y: max(y, 0),
    "relu6": lambda y: min(max(y, 0), 6),
    "leaky_relu": lambda y: y if y > 0 else y * 0.01,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRUE)
def test_activations_to_a_few_units_in_the_last_place(level, name, dtype):
    most = 80 if dtype == "float32" else 700
    if name == "gelu":
        most = 12 if dtype == "float32" else 26
    some = np.concatenate([np.geomspace(1e-30, most, 701), np.linspace(0, most, 501)])
    values = np.concatenate([some, -some]).astype(dtype)
    actual = fastconv.conv(values, np.ones(1, dtype), activation=name)
    wanted = np.array([TRUE[name](float(value)) for value in values])
    # The double precision erfc of the C library loses some digits itself, and the square of its argument more.
    units = 8 if dtype == "float32" or name != "gelu" else 2000
    np.testing.assert_allclose(actual, wanted, rtol=units * float(np.finfo(dtype).eps), atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("name", TRUE)
def test_activations_of_extremes(level, name, dtype):
    limits = np.finfo(dtype)
    values = np.array([np.nan, np.inf, -np.inf, limits.max, limits.min, 0, limits.tiny, -limits.tiny], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        actual = fastconv.conv(values, np.ones(1, dtype), activation=name)
    assert np.isnan(actual[0])
    top = {"relu6": 6, "sigmoid": 1, "tanh": 1}
    assert actual[1] == top.get(name, np.inf)
    assert actual[2] == {"tanh": -1, "leaky_relu": -np.inf}.get(name, 0)
    assert actual[3] == top.get(name, limits.max) or name == "hardswish"
    assert actual[4] == {"tanh": -1}.get(name, 0) or name == "leaky_relu"
    assert actual[5] == (0.5 if name == "sigmoid" else 0)
    assert np.abs(actual[6:]).max() <= (0.5 if name == "sigmoid" else limits.tiny)


def test_activations_do_not_depend_on_the_place(level):
    values = np.random.default_rng(0).normal(0, 3, 200).astype(np.float32)
    for name in TRUE:
        whole = fastconv.conv(values, np.ones(1, np.float32), activation=name)
        for start, stop in ((1, 200), (7, 40), (30, 31), (64, 90)):
            part = fastconv.conv(values[start:stop], np.ones(1, np.float32), activation=name)
            assert_same_bits(part, whole[start:stop])


# --- casts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", ["float32", "float64"])
@pytest.mark.parametrize("result_dtype", INTEGERS)
def test_integers_are_rounded_half_to_even_and_saturate(level, arithmetic, result_dtype):
    limits = np.iinfo(result_dtype)
    values = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 1e30, -1e30, np.inf, -np.inf, np.nan, -0.0, 3.7, -3.7]
    values += [float(limits.min) + d for d in (-1, -0.5, 0, 0.5, 1)]
    values += [float(limits.max) + d for d in (-1, -0.5, 0, 0.5, 1)]
    values += [s * (2.0**p + d) for s in (-1, 1) for p in (22, 23, 24, 31, 32, 52, 53, 62, 63, 64) for d in (0, 0.5)]
    x = np.array(values * 3, arithmetic)
    exact = []
    for value in x.tolist():
        if math.isnan(value):
            exact.append(0)
        elif math.isinf(value):
            exact.append(limits.max if value > 0 else limits.min)
        else:
            exact.append(min(max(round(value), limits.min), limits.max))
    for algorithm in ("direct", "reference"):
        actual = fastconv.conv(x, np.ones(1, arithmetic), result_dtype=result_dtype, algorithm=algorithm)
        assert_same(actual, np.array(exact, result_dtype))


def test_doubles_become_floats_and_halves(level):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=500) * 10.0 ** rng.integers(-50, 50, 500), [0.0, np.inf, -np.inf, np.nan]])
    x = np.concatenate([x, 1 + 2.0**-11 + np.array([0, 2.0**-40, -(2.0**-40)]), [65519.99, 65520, 1e-8, 3e-8]])
    for name in ("float32", "float16"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = x.astype(name)
        assert_same(fastconv.conv(x, np.ones(1), result_dtype=name), wanted)


# --- schedules, plans ------------------------------------------------------------------------------------------------


def test_explain_says_where_the_epilogue_is():
    x, w, options = operands()
    for algorithm in FUSING:
        plan = fastconv.plan(w, x.shape, activation="gelu", scale=2, bias=np.zeros(38), algorithm=algorithm, **options)
        assert "epilogue: scale, bias, gelu; as each tile is stored" in plan.explain()
    w = data((38, 12, 9, 9), seed=1)
    plan = fastconv.plan(w, x.shape, activation="gelu", algorithm="fft", **options)
    assert "epilogue: gelu; a second pass over the result" in plan.explain()


@pytest.mark.parametrize("algorithm", FUSING)
def test_plans(level, algorithm):
    x, w, options = operands()
    scale, bias = np.full(38, 0.5, np.float32), data(38, seed=2)
    residual = data((2, 38, 11, 19), seed=3)
    steps = {"scale": scale, "bias": bias, "activation": "relu", "result_dtype": "int8"}
    plan = fastconv.plan(w, x.shape, residual=True, algorithm=algorithm, **steps, **options)
    wanted = fastconv.conv(x, w, residual=residual, algorithm=algorithm, **steps, **options)
    scale[:], bias[:] = 9, 9
    assert_same(plan(x, residual=residual), wanted)
    assert_same(pickle.loads(pickle.dumps(plan))(x, residual=residual), wanted)
    out = prefilled(wanted.shape, "int8")
    assert plan(x, out, residual=residual) is out
    assert_same(out, wanted)
    with pytest.raises(ConvError, match="^residual: got none, allowed: one"):
        plan(x)
    with pytest.raises(ConvError, match="^residual: got shape"):
        plan(x, residual=residual[..., 1:])
    with pytest.raises(ConvError, match="^residual: got one, allowed: none"):
        fastconv.plan(w, x.shape, algorithm=algorithm, **options)(x, residual=residual)


@pytest.mark.parametrize("algorithm", FUSING)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_no_second_result_is_made(algorithm, layout):
    x, w, options = operands(layout, channels=8, channels_out=64, size=(96, 100))
    residual = np.zeros(fastconv.conv(x, w, **options).shape, np.float32)
    for steps in ({"activation": "gelu"}, {"result_dtype": "int8"}, {"residual": residual, "out": residual}):
        plan_of = {"scale": 0.5, "bias": np.zeros(64, np.float32), **steps}
        fastconv.conv(x, w, algorithm=algorithm, threads=1, **plan_of, **options)
        tracemalloc.start()
        fastconv.conv(x, w, algorithm=algorithm, threads=1, **plan_of, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        result = 0 if "out" in steps else residual.size * (1 if "result_dtype" in steps else 4)
        assert peak - result < 200_000


# --- integers and complex numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*INTEGERS, "complex64", "complex128", "longdouble", "bool"])
def test_other_dtypes_are_scaled_and_added_to(level, dtype):
    x, w = data((2, 3, 9, 8), dtype), data((4, 3, 3, 3), dtype, 1)
    scale, bias = data(4, dtype, 2), data(4, dtype, 3)
    residual = data((2, 4, 7, 6), dtype, 4)
    sums = _reference.conv(x, w, layout="NCHW")
    with np.errstate(over="ignore"):
        wanted = sums * scale.reshape(4, 1, 1) + bias.reshape(4, 1, 1) + residual
    steps = {"scale": scale, "bias": bias, "residual": residual}
    assert_same(fastconv.conv(x, w, layout="NCHW", accuracy="strict", **steps), wanted)
    out = residual.copy()
    fastconv.conv(x, w, layout="NCHW", accuracy="strict", scale=scale, bias=bias, residual=out, out=out)
    assert_same(out, wanted)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_overflow_covers_every_step(level, dtype):
    x, w = data((2, 3, 9, 8), dtype), data((4, 3, 3, 3), dtype, 1)
    steps = {"scale": data(4, dtype, 2), "bias": data(4, dtype, 3), "residual": data((2, 4, 7, 6), dtype, 4)}
    limits = np.iinfo(dtype)
    exact = _reference.conv(x.astype(object), w.astype(object), layout="NCHW")
    for names in (["bias"], ["scale"], ["residual"], ["scale", "bias", "residual"]):
        whole = exact
        for name in names:
            number = steps[name].astype(object)
            number = number if name == "residual" else number.reshape(4, 1, 1)
            whole = whole * number if name == "scale" else whole + number
        given = {name: steps[name] for name in names}
        wanted = np.clip(whole, limits.min, limits.max).astype(dtype)
        assert_same(fastconv.conv(x, w, layout="NCHW", overflow="saturate", **given), wanted)
        with pytest.raises(ConvError, match="^overflow: got results from"):
            fastconv.conv(x, w, layout="NCHW", overflow="raise", **given)
    small = {name: np.ones_like(step) for name, step in steps.items()}
    ones = np.ones_like(x), np.ones_like(w)
    assert_same(fastconv.conv(*ones, layout="NCHW", overflow="raise", **small), np.full((2, 4, 7, 6), 29, dtype))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact_with_many_channels(level, dtype):
    x, w = data((1, 300, 5, 9), dtype), data((3, 300, 3, 3), dtype, 1)
    assert_same(fastconv.conv(x, w, layout="NCHW", bias=data(3, dtype, 2)), _wrapped(x, w, data(3, dtype, 2)))


def _wrapped(x, w, bias):
    exact = _reference.conv(x.astype(object), w.astype(object), bias=bias.astype(object), layout="NCHW")
    bits = 8 * x.dtype.itemsize
    return (exact % 2**bits).astype(np.uint64).astype(x.dtype)


# --- bad input -------------------------------------------------------------------------------------------------------

X, W = data((1, 3, 6, 7)), data((4, 3, 3, 3), seed=1)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ConvError, r"^scale: got shape \(3,\), allowed: one number, or \(4,\)", {"scale": np.ones(3)}),
        (ConvError, r"^scale: got shape \(4, 1\)", {"scale": np.ones((4, 1))}),
        (ConvError, "^scale: got .*nan.*finite", {"scale": np.nan}),
        (ConvError, "^scale: got .*inf.*finite", {"scale": [1, 2, 3, np.inf]}),
        (ConvError, "^scale: .*finite in float32", {"scale": 1e300}),
        (ConvTypeError, "^scale: got dtype complex128", {"scale": 1j}),
        (ConvTypeError, "^scale: got dtype", {"scale": "two"}),
        (ConvError, r"^residual: got shape \(4,\), allowed: \(1, 4, 4, 5\)", {"residual": np.ones(4)}),
        (ConvTypeError, "^residual: got dtype complex128", {"residual": np.ones((1, 4, 4, 5), complex)}),
        (ConvError, "^activation: got 'swish'", {"activation": "swish"}),
        (ConvError, r"^activation: got \('relu', 1\)", {"activation": ("relu", 1)}),
        (ConvError, "^activation: got the slope nan", {"activation": ("leaky_relu", np.nan)}),
        (ConvTypeError, "^activation: got the slope '1'", {"activation": ("leaky_relu", "1")}),
        (ConvError, "^activation: got", {"activation": ("leaky_relu",)}),
        (ConvError, "^activation: got", {"activation": 3}),
        (ConvTypeError, "^result_dtype: got complex64", {"result_dtype": "complex64"}),
        (ConvTypeError, "^result_dtype: got bool", {"result_dtype": bool}),
        (ConvTypeError, "^result_dtype: got", {"result_dtype": "no dtype"}),
        (ConvTypeError, "^out: got dtype float32, allowed: int8", {"result_dtype": "int8"}),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(error, message, options):
    out = prefilled((1, 4, 4, 5), "float32")
    with pytest.raises(error, match=message):
        fastconv.conv(X, W, layout="NCHW", out=out, **options)
    assert np.isnan(out).all()


def test_result_dtypes_are_for_floats():
    with pytest.raises(ConvTypeError, match="^result_dtype: got int8 with dtype int32, allowed: what real floating"):
        fastconv.conv(X.astype("int32"), W.astype("int32"), layout="NCHW", result_dtype="int8")
    with pytest.raises(ConvTypeError, match="^scale: got dtype float64, allowed: one that casts to int32"):
        fastconv.conv(X.astype("int32"), W.astype("int32"), layout="NCHW", scale=0.5)
    with pytest.raises(ConvTypeError, match="^overflow: got 'saturate' with dtype float32"):
        fastconv.conv(X, W, layout="NCHW", overflow="saturate", result_dtype="int8")
    with pytest.raises(ConvTypeError, match="^plan: got the keywords"):
        fastconv.plan(W, X.shape, layout="NCHW", overflow="saturate")


@pytest.mark.parametrize("algorithm", FUSING)
def test_empty_results(algorithm):
    x, w, options = operands()
    steps = {"activation": "gelu", "scale": 0.5, "result_dtype": "int8", "algorithm": algorithm}
    shape = (0, 38, 11, 19)
    assert fastconv.conv(x[:0], w, residual=np.empty(shape, np.int8), **steps, **options).shape == shape
    assert fastconv.conv(x, w[:0], residual=np.empty((2, 0, 11, 19)), **steps, **options).shape == (2, 0, 11, 19)
