"""Winograd's algorithm against the reference in float64, within the bound that `fastconv.conv` states."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from _guard import Fence
from _tools import BOUNDARIES, assert_same, assert_same_bits, assert_whole, data, prefilled

import fastconv
from fastconv import ConvError, _plan, _problem, _reference, _tunables, nn
from fastconv.drivers import levels
from fastconv.planners import winograd

TILES = (2, 4, 5, 6)
# What `fastconv.conv` says of the worst error.
FACTOR = {2: 16, 4: 176, 5: 892, 6: 1565}

# Batch, channels in and out, height, width, groups: tails of every kind, images smaller than a tile, one channel.
SHAPES = (
    (1, 16, 32, 8, 8, 1),
    (2, 17, 33, 13, 9, 1),
    (1, 5, 3, 7, 30, 1),
    (3, 40, 70, 6, 5, 1),
    (2, 24, 36, 15, 20, 2),
    (1, 1, 1, 4, 3, 1),
    (1, 130, 20, 5, 5, 1),
)
PADDINGS = ("valid", "same", "full", ((0, 1), (2, 0)), ((-1, 2), (3, -2)))


def normal(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def layer(shape, dtype="float32", seed=0):
    """Return x, w and bias of a layer."""
    batch, c_in, c_out, height, width, groups = shape
    sizes = (batch, c_in, height, width), (c_out, c_in // groups, 3, 3), (c_out,)
    return [normal(size, dtype, seed + i) for i, size in enumerate(sizes)]


def run(x, w, bias=None, *, outputs, planned=False, far=False, threads=1, out=None, block=None, **options):
    """Convolve with tiles of some size, in blocks of at most so many tiles."""
    options = {"layout": "NCHW"} | options
    problem, operands = _problem.prepare(x, w, bias=bias, **options)
    problem = problem._replace(planned=planned)
    if block is None:
        driver = winograd.plan_tile(problem, levels.current(), outputs, far).driver
    else:
        plan = winograd.make_plan(problem, levels.current(), outputs, far, block)
        driver = winograd.winograd.Driver(problem, plan)
    if out is None:
        out = prefilled(problem.out_shape, problem.dtype)
    arguments = (driver.pack_all(operands.w),) if planned else ()
    driver.run(operands.x, operands.w, operands.bias, out, threads, *arguments)
    return out


def exact(x, w, bias=None, **options):
    """Return the result in float64."""
    bias = None if bias is None else bias.astype("float64")
    return _reference.conv(x.astype("float64"), w.astype("float64"), bias=bias, **({"layout": "NCHW"} | options))


def assert_within(actual, expected, x, w, outputs, fill=0.0):
    """The error is what `fastconv.conv` promises."""
    total = np.abs(w.astype("float64")).reshape(len(w), -1).sum(1).max()
    largest = max(np.abs(x).max(), abs(fill))
    bound = FACTOR[outputs] * (w[0].size // 9 + 40) * np.finfo(x.dtype).eps * largest * total
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= bound
    # It is a worst case; data without structure stay far below.
    assert np.abs(actual - expected).max() <= bound / 10


# --- the transforms --------------------------------------------------------------------------------------------------


def polynomial(points):
    """Return the coefficients of the product of all (x - point), the lowest first."""
    result = [Fraction(1)]
    for point in points:
        result = [
            (result[i - 1] if i else 0) - point * (result[i] if i < len(result) else 0) for i in range(len(result) + 1)
        ]
    return result


@pytest.mark.parametrize("outputs", TILES)
def test_the_points_make_an_exact_algorithm(outputs):
    """Cook and Toom's matrices of the points, in exact arithmetic, and the factors that the docstring states."""
    points = list(winograd.POINTS[outputs].finite)
    size = outputs + 2
    assert len(set(points)) == size - 1
    rows = [[*polynomial(points[:i] + points[i + 1 :]), Fraction(0)] for i in range(size - 1)]
    samples = np.array([*rows, polynomial(points)], object)
    divisors = [np.prod([p - q for q in points if q != p]) for p in points]
    kernel = [[p**i / divisor for i in range(3)] for p, divisor in zip(points, divisors, strict=True)]
    weights = np.array([*kernel, [Fraction(0), Fraction(0), Fraction(1)]], object)
    results = np.array([[*(p**i for p in points), Fraction(int(i == outputs - 1))] for i in range(outputs)], object)
    for tap, sample in itertools.product(range(3), range(size)):
        products = weights[:, tap] * samples[:, sample]
        assert (results @ products == [int(sample - i == tap) for i in range(outputs)]).all()
    growth = max((abs(results) @ (abs(weights) * abs(samples).sum(1)[:, None])).ravel())
    assert FACTOR[outputs] == round(growth**2) if outputs != 4 else FACTOR[4] >= growth**2


@pytest.mark.parametrize("outputs", TILES)
def test_numbers_are_rounded_once(outputs):
    wide, narrow = (winograd.numbers(outputs, np.dtype(name)) for name in ("float64", "float32"))
    assert_same(wide.astype("float32"), narrow)


# --- the result ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", TILES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_the_reference(level, dtype, outputs):
    for shape, planned in itertools.product(SHAPES, (False, True)):
        x, w, bias = layer(shape, dtype)
        options = {"padding": "same", "groups": shape[-1]}
        actual = run(x, w, bias, outputs=outputs, planned=planned, **options)
        assert_within(actual, exact(x, w, bias, **options), x, w, outputs)


@pytest.mark.parametrize("outputs", TILES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HNCW"])
def test_boundaries_paddings_and_layouts(level, layout, outputs):
    shape = (1, 18, 20, 11, 7, 1) if layout == "CHW" else (2, 18, 20, 11, 7, 1)
    x, w, bias = layer(shape)
    order = ["NCHW".index(letter) for letter in layout]
    x = np.ascontiguousarray(x[0] if layout == "CHW" else x.transpose(order))
    for boundary, padding in itertools.product(BOUNDARIES, PADDINGS):
        options = {"layout": layout, "padding": padding, "boundary": boundary, "fill_value": 1.5}
        actual = run(x, w, bias, outputs=outputs, **options)
        assert_within(actual, exact(x, w, bias, **options), x, w, outputs, 1.5)


@pytest.mark.parametrize("outputs", TILES)
def test_small_whole_numbers(level, outputs):
    x, w, bias = data((2, 20, 17, 19)), data((40, 20, 3, 3), seed=1), data(40, seed=2)
    for padding in ("valid", "same"):
        expected = _reference.conv(x, w, bias=bias, layout="NCHW", padding=padding)
        assert_whole(run(x, w, bias, outputs=outputs, padding=padding), expected)


@pytest.mark.parametrize("outputs", TILES)
@pytest.mark.parametrize(("kept", "panels"), [(0, 1), (0, 3), (_tunables.WINOGRAD_WEIGHT_BYTES, 2)])
def test_blocks_of_any_size_have_the_same_bits(level, monkeypatch, kept, panels, outputs):
    """Several tiles, rows of tiles or images in a block, rows cut into blocks; weights kept, or made again."""
    monkeypatch.setattr(_tunables, "WINOGRAD_WEIGHT_BYTES", kept)
    monkeypatch.setattr(_tunables, "WINOGRAD_OUT_BLOCK", panels)
    monkeypatch.setattr(_tunables, "WINOGRAD_STRIP_BYTES", 6000 * panels)
    x, w, bias = layer((3, 70, 100, 13, 22, 1))
    options = {"padding": "same", "outputs": outputs}
    expected = run(x, w, bias, planned=True, **options)
    assert_within(expected, exact(x, w, bias, padding="same"), x, w, outputs)
    for block in (1, 3, 7, 20, 1000):
        assert_same_bits(run(x, w, bias, block=block, **options), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("planned", [False, True])
def test_threads_have_the_same_bits(threads, planned):
    x, w, bias = layer((2, 64, 100, 30, 40, 1))
    for block in (20, 200):
        options = {"padding": 1, "outputs": 4, "block": block}
        expected = run(x, w, bias, **options)
        for _ in range(5):
            assert_same_bits(run(x, w, bias, planned=planned, threads=threads, **options), expected)


def test_any_strides(level):
    x, w, bias = layer((2, 34, 20, 12, 17, 1))
    expected = run(x, w, bias, outputs=4, padding=1)
    records = np.zeros(x.shape, [("pad", "u1"), ("value", "f4")])
    records["value"] = x
    spread = np.repeat(np.repeat(x, 2, 3), 3, 1)[:, ::3, :, ::2]
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    reverse = np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    wide = np.pad(x, ((0, 0), (0, 0), (0, 0), (3, 4)))[..., 3:-4]
    read_only = np.frombuffer(x.tobytes(), "f4").reshape(x.shape)
    for other in (records["value"], spread, channels_last, reverse, wide, read_only):
        assert_same_bits(run(other, w, bias, outputs=4, padding=1), expected)
    flipped = np.ascontiguousarray(w[..., ::-1, ::-1])
    for other in (np.asfortranarray(w), flipped[..., ::-1, ::-1], np.repeat(w, 2, 0)[::2]):
        for planned in (False, True):
            assert_same_bits(run(x, other, bias, outputs=4, padding=1, planned=planned), expected)
    assert_same_bits(run(x, flipped, bias, outputs=4, padding=1, flip=True), expected)
    for out in (
        np.empty((2, 12, 17, 20), np.float32).transpose(0, 3, 1, 2),
        np.empty((2, 20, 12, 40), np.float32)[..., 3:37:2],
        np.empty((2, 20, 24, 20), np.float32)[:, ::-1, ::-2, 2:-1],
    ):
        assert_same_bits(np.ascontiguousarray(run(x, w, bias, outputs=4, padding=1, out=out)), expected)


def test_empty_arrays():
    w = normal((8, 4, 3, 3))
    assert run(normal((0, 4, 8, 8)), w, outputs=4).shape == (0, 8, 6, 6)
    assert run(normal((1, 4, 8, 8)), w[:0], outputs=4).shape == (1, 0, 6, 6)
    filled = run(normal((1, 4, 0, 5)), w, outputs=4, padding=2, fill_value=1.0)
    assert_within(filled, exact(normal((1, 4, 0, 5)), w, padding=2, fill_value=1.0), np.ones(1, "f4"), w, 4)


# --- accuracy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outputs", "most"), [(2, 4e-7), (4, 1e-6), (5, 5e-6), (6, 5e-6)])
@pytest.mark.parametrize("channels", [64, 200, 512])
@pytest.mark.parametrize("positive", [False, True])
def test_root_mean_square_error(level, channels, outputs, most, positive):
    x, w, _ = layer((1, channels, 16, 26, 26, 1), seed=channels)
    x = np.maximum(x, 0) if positive else x
    expected = exact(x, w, padding=1)
    error = run(x, w, outputs=outputs, padding=1) - expected
    assert np.sqrt(np.mean(error**2)) <= most * expected.std()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_worst_error_is_bounded(dtype):
    """Data that are as large as the bound says everywhere, with signs that make products cancel."""
    y, x = np.indices((24, 24))
    rng = np.random.default_rng(5)
    for outputs, channels, kind in itertools.product(TILES, (1, 64, 256), range(4)):
        signs = [(-1.0) ** (x + y), np.ones((24, 24)), (-1.0) ** x, rng.choice([-1.0, 1.0], (24, 24))][kind]
        image = (signs * rng.uniform(0.999, 1, (1, channels, 24, 24))).astype(dtype)
        w = (rng.choice([-1, 1], (16, channels, 3, 3)) * rng.uniform(0.99, 1, (16, channels, 3, 3))).astype(dtype)
        assert_within(run(image, w, outputs=outputs), exact(image, w), image, w, outputs)


# --- NaN and Inf -----------------------------------------------------------------------------------------------------


def assert_same_places(actual, expected, tolerance=1e-3):
    """NaN and Inf where the other has them, and nearly the same numbers elsewhere."""
    assert np.array_equal(np.isnan(actual), np.isnan(expected))
    assert np.array_equal(np.isposinf(actual), np.isposinf(expected))
    assert np.array_equal(np.isneginf(actual), np.isneginf(expected))
    finite = np.isfinite(expected)
    assert np.allclose(actual[finite], expected[finite], tolerance, tolerance)


@pytest.mark.parametrize("outputs", TILES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_stays_in_its_windows(level, dtype, value, outputs):
    x, w, bias = layer((2, 18, 40, 14, 17, 1), dtype)
    x[0, 3, 5, 6] = x[0, 17, 13, 16] = x[1, 0, 0, 0] = value
    for layout, boundary in itertools.product(("NCHW", "NHWC"), ("constant", "wrap")):
        image = x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        options = {"layout": layout, "padding": 1, "boundary": boundary}
        expected = fastconv.conv(image, w, bias=bias, algorithm="gemm", **options)
        assert not np.isfinite(expected).all()
        assert_same_places(run(image, w, bias, outputs=outputs, **options), expected)


def test_every_place_of_a_tile(level):
    w = normal((17, 4, 3, 3))
    for outputs in TILES:
        for i, j in itertools.product(range(outputs + 2), repeat=2):
            x = normal((1, 4, 2 * outputs + 2, 2 * outputs + 2))
            x[0, i % 4, i, j] = np.inf if j % 2 else np.nan
            assert_same_places(run(x, w, outputs=outputs), fastconv.conv(x, w, layout="NCHW", algorithm="gemm"))


def test_weights_bias_and_fill_that_are_not_finite(level):
    x, w, bias = layer((1, 20, 40, 9, 10, 1))
    bias[3] = np.nan
    w[7, 2, 1, 0] = np.inf
    w[33, 19] = np.nan
    for fill, planned in itertools.product((0.0, np.nan, -np.inf), (False, True)):
        options = {"padding": 1, "fill_value": fill}
        expected = fastconv.conv(x, w, bias=bias, layout="NCHW", algorithm="gemm", **options)
        assert_same_places(run(x, w, bias, outputs=4, planned=planned, **options), expected)


@pytest.mark.parametrize("outputs", TILES)
def test_values_that_overflow_in_a_transform_only(level, outputs):
    x, w, _ = layer((1, 16, 32, 12, 12, 1))
    x[0, 0, 4, 5] = 1e38
    x[0, 1, 7:9, 2] = -1.5e38
    w *= 1e-2
    w[:, :2] *= 1e-3
    expected = fastconv.conv(x, w, layout="NCHW", algorithm="gemm")
    assert np.isfinite(expected).all()
    actual = run(x, w, outputs=outputs)
    assert np.isfinite(actual).all()
    assert np.allclose(actual, expected, 1e-3, 1e33)


# --- kernels of several pieces ---------------------------------------------------------------------------------------

# Shapes of x, of w, layout, options.
PIECES = {
    "3 x 3 x 3": ((2, 18, 5, 9, 11), (35, 18, 3, 3, 3), "NCDHW", {"padding": 1}),
    "a plane": ((2, 18, 4, 9, 11), (35, 18, 1, 3, 3), "NCDHW", {"padding": (2, 1, 1)}),
    "channels last": ((1, 6, 9, 11, 5), (40, 5, 3, 3, 3), "NDHWC", {"padding": "same"}),
    "groups": ((2, 12, 4, 9, 6), (10, 6, 2, 3, 3), "NCDHW", {"groups": 2}),
    "strides and dilations": (
        (1, 16, 9, 9, 6),
        (33, 16, 3, 3, 3),
        "NCDHW",
        {"stride": (2, 1, 1), "dilation": (3, 1, 1), "padding": 3},
    ),
    "two outer axes": (
        (2, 5, 3, 4, 8, 7),
        (20, 5, 2, 3, 3, 3),
        "NCABHW",
        {"padding": ((1, 0), (0, 2), (1, 1), (1, 1))},
    ),
    "flipped": ((1, 18, 5, 9, 11), (35, 18, 3, 3, 3), "NCDHW", {"padding": 1, "flip": True}),
    "fill": ((1, 18, 3, 9, 11), (35, 18, 3, 3, 3), "NCDHW", {"padding": 2, "fill_value": 1.5}),
    "mirrored": ((1, 18, 3, 9, 11), (35, 18, 3, 3, 3), "NCDHW", {"padding": 2, "boundary": "reflect"}),
    "5 x 5": ((2, 18, 9, 11), (35, 18, 5, 5), "NCHW", {"padding": 2}),
    "4 x 6": ((2, 9, 11, 18), (35, 18, 4, 6), "NHWC", {"padding": (1, 3), "flip": True}),
    "2 x 3 x 5": ((1, 5, 4, 9, 8), (20, 5, 2, 3, 5), "NCDHW", {"padding": 2, "fill_value": 1.5}),
    "wrapped": ((1, 5, 7, 6), (20, 5, 5, 5), "NCHW", {"padding": 4, "boundary": "wrap"}),
    "unbatched": ((18, 5, 9, 11), (35, 18, 3, 3, 3), "CDHW", {"padding": 1}),
}


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PIECES)
def test_kernels_of_several_pieces(level, name, dtype, outputs):
    x_shape, w_shape, layout, options = PIECES[name]
    x, w, bias = normal(x_shape, dtype), normal(w_shape, dtype, 1), normal(w_shape[0], dtype, 2)
    expected = exact(x, w, bias, layout=layout, **options)
    for planned, threads in ((False, 1), (True, 2)):
        actual = run(x, w, bias, outputs=outputs, planned=planned, threads=threads, layout=layout, **options)
        assert_within(actual, expected, x, w, outputs, options.get("fill_value", 0.0))


@pytest.mark.parametrize("kept", [0, 2**30])
def test_blocks_of_volumes_have_the_same_bits(level, monkeypatch, kept):
    """Of any number of tiles, with weights that are kept or transformed for each, any threads, any strides."""
    x, w, bias = normal((2, 70, 3, 9, 10)), normal((40, 70, 3, 3, 3), seed=1), normal(40, seed=2)
    options = {"layout": "NCDHW", "padding": 1, "outputs": 4}
    whole = run(x, w, bias, **options)
    monkeypatch.setattr(_tunables, "WINOGRAD_WEIGHT_BYTES", kept)
    far = np.repeat(x, 2, axis=3)[:, :, ::-1, ::2][:, :, ::-1]
    turned = np.ascontiguousarray(w[..., ::-1, ::-1])[..., ::-1, ::-1]
    for block, threads, planned in itertools.product((1, 3, 1000), (1, 3), (False, True)):
        for image, weights in ((x, w), (far, turned)):
            actual = run(image, weights, bias, block=block, threads=threads, planned=planned, **options)
            assert_same_bits(actual, whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 5), (4, 3)])
def test_what_is_not_finite_stays_in_the_windows_of_pieces(level, value, kernel):
    """The zeros that fill up a square meet samples that are of no window."""
    sizes = (4, 9, 11)[-len(kernel) :]
    x, w, bias = normal((1, 18, *sizes)), normal((35, 18, *kernel), seed=1), normal(35, seed=2)
    x[0, 3, ..., 5, 6] = x[0, 17, ..., 8, 10] = value
    w[33, 2, ..., 1, 1] = value
    for fill, planned in itertools.product((0.0, np.nan), (False, True)):
        options = {"layout": "NC" + "DHW"[-len(kernel) :], "padding": 1, "fill_value": fill}
        expected = fastconv.conv(x, w, bias=bias, algorithm="gemm", **options)
        assert not np.isfinite(expected).all()
        assert_same_places(run(x, w, bias, outputs=4, planned=planned, **options), expected)


def test_epilogues_of_volumes(level):
    x, w, bias = normal((1, 18, 4, 9, 11)), normal((35, 18, 3, 3, 3), seed=1), normal(35, seed=2)
    scale, residual = normal(35, seed=3), normal((1, 35, 4, 9, 11), seed=4)
    options = {"layout": "NCDHW", "padding": 1}
    sums = fastconv.conv(x, w, algorithm="winograd", **options)
    along = (slice(None), None, None, None)
    expected = np.maximum(sums * scale[along] + bias[along] + residual, 0)
    finish = {"scale": scale, "bias": bias, "residual": residual, "activation": "relu"}
    actual = fastconv.conv(x, w, algorithm="winograd", **finish, **options)
    np.testing.assert_allclose(actual, expected, 1e-6, 1e-6)
    halves = fastconv.conv(x, w, algorithm="winograd", result_dtype="float16", **options)
    assert_same(halves, sums.astype("float16"))


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 5, 5)])
def test_guard_pages_of_pieces(level, kernel):
    fences = [Fence(1 << 18) for _ in range(4)]
    w, bias = normal((35, 18, *kernel), seed=1), normal(35, seed=2)
    for width, channels, layout in itertools.product((5, 7, 16, 21), (5, 18), ("NCDHW", "NDHWC")):
        shape = (1, channels, 3, 5, width) if layout == "NCDHW" else (1, 3, 5, width, channels)
        arrays = normal(shape), w[:, :channels], bias
        for padding, side in itertools.product((0, 1), ("first", "last")):
            options = {"layout": layout, "padding": padding, "outputs": 4}
            expected = run(*arrays, **options)
            fenced = [fence.put(array, side) for fence, array in zip(fences, arrays, strict=False)]
            out = fences[3].array(expected.shape, expected.dtype, side)
            out.view(np.uint8)[...] = 0xFF
            assert_same_bits(run(*fenced, out=out, **options), expected)


# --- plans -----------------------------------------------------------------------------------------------------------

LAYER = (1, 64, 64, 40, 40, 1)


def test_it_is_taken_where_it_is_faster_and_named():
    x, w, bias = layer(LAYER)
    plan = fastconv.plan(w, x.shape, layout="NCHW", padding=1, bias=bias)
    assert plan.algorithm == "winograd"
    assert "algorithm: winograd" in plan.explain()
    assert "4 x 4 results of 6 x 6 samples" in plan.explain()
    assert plan.workspace_bytes <= 6 << 20
    result = plan(x)
    assert_within(result, exact(x, w, bias, padding=1), x, w, 4)
    assert_same_bits(fastconv.conv(x, w, bias=bias, layout="NCHW", padding=1), result)
    for _ in range(2):
        assert_same_bits(nn.conv2d(x, w, bias, padding=1), result)
    relu = fastconv.conv(x, w, bias=bias, layout="NCHW", padding=1, activation="relu")
    assert_same(relu, np.maximum(result, 0))


def test_strict_never_transforms():
    x, w, bias = layer(LAYER)
    plan = fastconv.plan(w, x.shape, layout="NCHW", padding=1, accuracy="strict")
    assert plan.algorithm == "gemm"
    assert "winograd: accuracy 'strict'" in plan.explain()
    with pytest.raises(ConvError, match="^algorithm: got 'winograd', which refuses: accuracy 'strict'"):
        fastconv.conv(x, w, layout="NCHW", algorithm="winograd", accuracy="strict")
    strict = nn.conv2d(x, w, bias, accuracy="strict")
    assert_same_bits(strict, nn.conv2d(x, w, bias, algorithm="gemm"))
    assert np.abs(strict - nn.conv2d(x, w, bias)).max() > 0


def test_fast_allows_larger_tiles():
    _, w, _ = layer(LAYER)
    for size, tile in ((15, "5 x 5"), (96, "6 x 6")):
        plan = fastconv.plan(w, (1, 64, size, size), layout="NCHW", padding=1, accuracy="fast", algorithm="winograd")
        assert f"tile: {tile} results" in plan.explain()
        default = fastconv.plan(w, (1, 64, size, size), layout="NCHW", padding=1, algorithm="winograd")
        assert f"tile: {tile} results" not in default.explain()


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "reason"),
    [
        ((1, 4, 9, 9), (4, 4, 1, 3), {}, "not a kernel of 3 x 3 to 6 x 6"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"stride": 2}, "strides or dilations"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"dilation": (1, 2), "stride": 2}, "strides or dilations"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"dilation": 2, "padding": 1, "boundary": "edge"}, "dilations beyond a boundary"),
        ((1, 4, 9, 2), (4, 4, 3, 3), {"dilation": 3, "padding": 5}, "dilations of more samples"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"input_dilation": 2}, "zeros between samples"),
        ((1, 4, 9, 9, 9), (4, 4, 3, 3, 8), {"layout": "NCDHW"}, "not a kernel of 3 x 3 to 6 x 6"),
        ((1, 4, 9, 9, 9), (4, 4, 3, 3, 3), {"layout": "NCDHW", "dtype": "complex64"}, "complex volumes"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"dtype": "longdouble"}, "no kernel for float128"),
        ((1, 4, 9, 9), (4, 4, 3, 3), {"max_workspace": 1000}, r"needs \d+ bytes of workspace, more than 1000"),
        ((9, 9), (3, 3), {"layout": None}, "no channels to sum over"),
    ],
)
def test_refusals(x_shape, w_shape, options, reason):
    options = {"layout": "NCHW"} | options
    with pytest.raises(ConvError, match=f"^algorithm: got 'winograd', which refuses: {reason}"):
        fastconv.conv(data(x_shape), data(w_shape), algorithm="winograd", **options)


def test_workspace_is_kept_small():
    x, w, _ = layer((1, 32, 32, 60, 60, 1))
    expected = exact(x, w)
    for most in (6 << 20, 1 << 20, 400_000):
        plan = fastconv.plan(w, x.shape, layout="NCHW", algorithm="winograd", max_workspace=most)
        assert plan.workspace_bytes <= most
        assert_within(plan(x), expected, x, w, 4)
    for channels, size in ((512, 14), (256, 56), (64, 224), (2048, 7)):
        for planned in (False, True):
            problem, _ = _problem.prepare(
                np.broadcast_to(np.float32(0), (1, channels, size, size)),
                np.broadcast_to(np.float32(0), (channels, channels, 3, 3)),
                layout="NCHW",
            )
            for outputs, far in itertools.product((2, 4), (False, True) if planned else (False,)):
                choice = winograd.plan_winograd(outputs, far, problem._replace(planned=planned), levels.current())
                assert choice.driver is None or choice.driver.workspace_bytes <= 6 << 20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kept_weights_change_no_bit(level, dtype):
    x, w, bias = layer((2, 150, 70, 13, 22, 1), dtype)
    for outputs in (2, 4):
        expected = run(x, w, bias, outputs=outputs, padding=1)
        for far, block in itertools.product((False, True), (None, 5)):
            actual = run(x, w, bias, outputs=outputs, padding=1, planned=True, far=far, block=block)
            assert_same_bits(actual, expected)


def test_kept_weights_are_a_choice_of_plans():
    x, w = normal((1, 256, 14, 14)), normal((256, 256, 3, 3), seed=1)
    problem, _ = _problem.prepare(x, w, layout="NCHW", padding=1)
    variants = [
        {choice.variant for choice in _plan.candidates(problem._replace(planned=planned), levels.current())}
        for planned in (False, True)
    ]
    assert variants[1] - variants[0] == {f"winograd, F({outputs}, 3) of kept weights" for outputs in (2, 4)}
    few = _problem.prepare(normal((1, 16, 14, 14)), normal((16, 16, 3, 3)), layout="NCHW")[0]
    assert winograd.plan_winograd(4, True, few._replace(planned=True), levels.current()).driver is None


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_guard_pages(level, layout):
    fences = [Fence(1 << 18) for _ in range(4)]
    x, w, bias = layer((2, 18, 35, 9, 41, 1))
    if layout == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    widths = (3, 4, 7, 9, 14, 16, 17, 18, 20, 31, 33, 41)
    for width, channels, channels_out in itertools.product(widths, (5, 18), (3, 35)):
        part = x[:, :channels, :, :width] if layout == "NCHW" else x[:, :, :width, :channels]
        arrays = np.ascontiguousarray(part), w[:channels_out, :channels], bias[:channels_out]
        for padding, side, outputs in itertools.product((0, 1), ("first", "last"), (2, 4)):
            options = {"layout": layout, "padding": padding, "outputs": outputs}
            expected = run(*arrays, **options)
            fenced = [fence.put(array, side) for fence, array in zip(fences, arrays, strict=False)]
            out = fences[3].array(expected.shape, expected.dtype, side)
            out.view(np.uint8)[...] = 0xFF
            assert_same_bits(run(*fenced, out=out, **options), expected)
    x[...] = np.nan
    for side in ("first", "last"):
        fenced = [fence.put(array, side) for fence, array in zip(fences, (x, w, bias), strict=False)]
        expected = run(*fenced, layout=layout, outputs=4)
        out = fences[3].array(expected.shape, expected.dtype, side)
        assert np.isnan(run(*fenced, layout=layout, outputs=4, out=out)).all()
