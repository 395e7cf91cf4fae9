"""The implicit GEMM with pixels in the lanes: the same sums in the same order as with channels in them."""

import itertools

import numpy as np
import pytest
from _guard import Fence
from _tools import BOUNDARIES, assert_same, assert_same_bits, data, prefilled

import fastconv
from fastconv import _plan, _problem, _reference, _tunables
from fastconv.drivers import levels
from fastconv.planners import gemm
from fastconv.planners.pixels import plan_pixels

SIDES = ("first", "last")


def normal(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def run(x, w, bias=None, *, planner=plan_pixels, threads=1, out=None, **options):
    """Convolve with one of the two ways to fill the lanes."""
    problem, operands = _problem.prepare(x, w, bias=bias, **({"layout": "NCHW"} | options))
    choice = planner(problem, levels.current())
    assert choice.driver is not None, choice.refusal
    if out is None:
        out = prefilled(problem.out_shape, problem.out_dtype)
    epilogue = {"scale": operands.scale, "residual": operands.residual} if problem.has_epilogue else {}
    choice.driver.run(operands.x, operands.w, operands.bias, out, threads, **epilogue)
    return out


def reference(x, w, bias=None, **options):
    return _reference.conv(x, w, bias=bias, **({"layout": "NCHW"} | options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_of_pixels_and_channels(level, dtype):
    x, w, bias = data((1, 3, 1, 120), dtype), data((19, 3, 1, 1), dtype, 1), data(19, dtype, 2)
    expected = reference(x, w, bias)
    for pixels in range(1, 121):
        part = np.ascontiguousarray(x[..., :pixels])
        assert_same(run(part, w, bias), expected[..., :pixels])
    for channels in range(1, 20):
        assert_same(run(x, w[:channels], bias[:channels]), expected[:, :channels])


@pytest.mark.parametrize("sizes", [(7, 7), (3, 5), (14, 14), (28, 5), (5, 28), (9, 1), (1, 9), (20, 33), (2, 130)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (1, 3), (3, 1)])
def test_rows_of_any_length(level, sizes, kernel):
    x, w, bias = data((2, 4, *sizes)), data((10, 4, *kernel), seed=1), data(10, seed=2)
    for stride, dilation in ((1, 1), (2, 1), (1, 2), ((1, 3), (2, 1))):
        options = {"padding": "same", "stride": stride, "dilation": dilation}
        assert_same(run(x, w, bias, **options), reference(x, w, bias, **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_of_any_size_have_the_same_bits(level, monkeypatch, dtype):
    layers = (
        (normal((1, 40, 9, 13), dtype), normal((70, 40, 1, 1), dtype, 1), {}),
        (normal((2, 12, 10, 7), dtype), normal((37, 12, 3, 3), dtype, 1), {"padding": 1}),
        (normal((1, 6, 12, 40), dtype), normal((9, 6, 5, 5), dtype, 1), {"padding": 2, "stride": (2, 1)}),
    )
    for x, w, options in layers:
        # In any order, a pixel that tiles leave over is summed in another one.
        bias, options = normal(len(w), dtype, 2), options | {"accuracy": "strict"}
        with monkeypatch.context() as patch:
            whole = run(x, w, bias, **options)
            assert_same_bits(run(x, w, bias, planner=gemm.plan_channels, **options), whole)
            for tile, block, weights in itertools.product((16, 50, 512), (7, 64), (1, 2**20)):
                patch.setattr(_tunables, "PIXELS_TILE", tile)
                patch.setattr(_tunables, "PIXELS_BLOCK", block)
                patch.setattr(_tunables, "PIXELS_WEIGHT_BYTES", weights)
                patch.setattr(_tunables, "PIXELS_OUT_BLOCK", 8 if block == 7 else 64)
                assert_same_bits(run(x, w, bias, **options), whole)


@pytest.fixture
def copied(monkeypatch):
    """Return a function that makes small layers go the way of large ones: from panels that are copied ahead."""

    def set_sizes(tile, block_bytes):
        monkeypatch.setattr(_tunables, "L1_BYTES", 0)
        monkeypatch.setattr(_tunables, "PIXELS_COPIED_CHANNELS", 1)
        monkeypatch.setattr(_tunables, "PIXELS_COPIED_TILE", tile)
        monkeypatch.setattr(_tunables, "PIXELS_COPIED_BYTES", block_bytes)

    return set_sizes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("tile", "block_bytes"), [(16, 1), (50, 2000), (100, 10**6)])
def test_panels_that_are_copied_ahead(level, copied, dtype, tile, block_bytes):
    copied(tile, block_bytes)
    layers = (
        ("NCHW", (2, 24, 9, 13), (70, 12, 1, 1), {"groups": 2}),
        ("NCHW", (3, 33, 7, 7), (61, 33, 1, 1), {}),
        ("NCHW", (1, 5, 1, 3), (9, 5, 1, 1), {}),
        ("CNHW", (11, 2, 5, 8), (50, 11, 1, 1), {}),
        ("NCDHW", (2, 7, 3, 4, 9), (13, 7, 1, 1, 1), {}),
        ("NCW", (2, 1, 333), (3, 1, 1), {}),
    )
    for layout, x_shape, w_shape, options in layers:
        x, w, bias = data(x_shape, dtype), data(w_shape, dtype, 1), data(w_shape[0], dtype, 2)
        options = options | {"layout": layout}
        expected = reference(x, w, bias, **options)
        for threads in (1, 2, 3):
            assert_same(run(x, w, bias, threads=threads, **options), expected)
        assert_same(run(x, w, bias, accuracy="strict", **options), expected)
        residual = data(expected.shape, dtype, 3)
        assert_same(run(x, w, bias, residual=residual, **options), expected + residual)


def test_copied_panels_have_the_same_bits(level, copied):
    x, w = normal((2, 40, 9, 13)), normal((70, 40, 1, 1), seed=1)
    whole = run(x, w, accuracy="strict")
    for tile, block_bytes in ((16, 1), (50, 5000), (200, 10**6)):
        copied(tile, block_bytes)
        assert_same_bits(run(x, w, accuracy="strict"), whole)


def test_a_tile_that_is_copied_ahead_keeps_nan_in_its_place(level, copied):
    copied(50, 1000)
    x, w = data((2, 20, 12, 11)), data((60, 20, 1, 1), seed=1)
    expected = reference(x, w)
    x[1, 3, 7, 4] = np.nan
    out = run(x, w)
    assert np.isnan(out[1, :, 7, 4]).all()
    out[1, :, 7, 4] = expected[1, :, 7, 4]
    assert_same(out, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(7, 7), (14, 14), (3, 6), (5, 7), (1, 3), (2, 1), (9, 2), (10, 13)])
def test_few_pixels_behind_the_last_vector(level, dtype, sizes):
    for channels, kernel in ((300, 1), (1100, 1), (40, 3)):
        x, w = data((2, channels, *sizes), dtype), data((19, channels, kernel, kernel), dtype, 1)
        bias = data(19, dtype, 2)
        for options in ({"padding": "same"}, {"padding": "same", "stride": 2}):
            assert_same(run(x, w, bias, **options), reference(x, w, bias, **options))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_boundaries_paddings_and_groups(level, boundary):
    x, w, bias = data((2, 6, 9, 23)), data((8, 3, 3, 2), seed=1), data(8, seed=2)
    paddings = ("valid", "same", "full", ((-1, 2), (3, -2)))
    for padding, flip, input_dilation in itertools.product(paddings, (False, True), (1, 2)):
        options = {
            "padding": padding, "flip": flip, "boundary": boundary, "groups": 2, "input_dilation": input_dilation,
        }  # fmt: skip
        assert_same(run(x, w, bias, **options), reference(x, w, bias, **options))


@pytest.mark.parametrize(
    ("layout", "x_shape", "w_shape"),
    [
        ("NCW", (2, 5, 300), (9, 5, 4)),
        ("NCW", (1, 5, 1030), (9, 5, 1)),
        ("NCDHW", (1, 3, 4, 6, 7), (9, 3, 2, 3, 3)),
        ("NCDHW", (2, 3, 4, 6, 7), (9, 3, 1, 1, 1)),
        ("CNHW", (3, 2, 6, 7), (9, 3, 1, 1)),
        ("NHCW", (2, 6, 3, 7), (9, 3, 1, 1)),
        ("CW", (3, 50), (9, 3, 3)),
    ],
)
def test_layouts(level, layout, x_shape, w_shape):
    x, w, bias = data(x_shape), data(w_shape, seed=1), data(9, seed=2)
    options = {"layout": layout, "padding": "valid"}
    assert_same(run(x, w, bias, **options), reference(x, w, bias, **options))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_strides(level, kernel, dtype):
    x, w, bias = data((2, 8, 12, 20), dtype), data((11, 8, *kernel), dtype, 1), data(11, dtype, 2)
    expected = reference(x, w, bias)

    def shifted(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        memory[...] = array
        return memory

    def wide(array):
        memory = prefilled([2 * size for size in array.shape], array.dtype)[tuple(slice(0, n) for n in array.shape)]
        memory[...] = array
        return memory

    ways = (
        np.ascontiguousarray,
        np.asfortranarray,
        lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
        lambda array: np.ascontiguousarray(array[:, ::-1])[:, ::-1],
        lambda array: np.ascontiguousarray(np.moveaxis(array, 1, -1)).transpose(0, 3, 1, 2),
        lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        wide,
        shifted,
    )
    for change in ways:
        assert_same(run(change(x), w, bias), expected)
        assert_same(run(x, change(w), bias), expected)
        out = change(prefilled(expected.shape, dtype))
        if out.flags.aligned:
            assert_same(np.array(run(x, w, bias, out=out)), expected)
    turned = w[:, :, ::-1, ::-1]
    for change in ways:
        assert_same(run(x, change(turned), bias, flip=True), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_finished_as_they_are_stored(level, dtype):
    cases = (((1, 6, 9, 20), (70, 6, 1, 1)), ((2, 5, 4, 3), (9, 5, 3, 3)), ((1, 3, 8, 40), (9, 3, 2, 3)))
    for x_shape, w_shape in cases:
        x, w, bias, scale = (data(size, dtype, i) for i, size in enumerate((x_shape, w_shape, *[w_shape[:1]] * 2)))
        residual = data(run(x, w, padding="same").shape, dtype, 4)
        epilogues = (
            {"activation": "relu"},
            {"activation": "relu", "residual": residual},
            {"scale": scale, "residual": np.ascontiguousarray(residual.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)},
            {"scale": scale, "activation": "relu6", "result_dtype": np.uint8},
        )
        for epilogue in epilogues:
            options = epilogue | {"padding": "same"}
            expected = run(x, w, bias, planner=gemm.plan_channels, **options)
            assert_same_bits(run(x, w, bias, **options), expected)
            last = prefilled((len(x), *x_shape[2:], len(w)), expected.dtype).transpose(0, 3, 1, 2)
            assert_same(np.array(run(x, w, bias, out=last, **options)), expected)
        over, sums = residual.copy(), reference(x, w, bias, padding="same")
        assert_same(run(x, w, bias, padding="same", residual=over, out=over), sums + residual)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_have_the_same_bits(threads):
    for c_in, size, c_out, kernel in ((128, 7, 512, 1), (32, 30, 80, 3), (64, 56, 64, 1)):
        x, w = normal((2, c_in, size, size)), normal((c_out, c_in, kernel, kernel), seed=1)
        options = {"padding": "same"}
        assert_same_bits(run(x, w, threads=threads, **options), run(x, w, **options))


def test_nan_stays_in_its_windows(level):
    x, w = normal((1, 4, 20, 20)), normal((8, 4, 3, 3), seed=1)
    spoilt = x.copy()
    spoilt[0, 1, 5, 17], spoilt[0, 2, 19, 0] = np.nan, np.inf
    result, clean = run(spoilt, w, padding=1), run(x, w, padding=1)
    touched = np.zeros((20, 20), bool)
    touched[4:7, 16:19] = touched[18:20, 0:2] = True
    assert not np.isfinite(result[..., touched]).any()
    assert_same_bits(result[..., ~touched], clean[..., ~touched])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_guard_pages(level, dtype):
    fences = [Fence(1 << 18) for _ in range(4)]
    cases = [
        ((5, 1, width), (9, 5, 1, 1), {}) for width in (*range(1, 20), 23, 31, 32, 33, 47, 48, 49, 63, 65, 97, 130)
    ]
    cases += [((3, size, size), (9, 3, 1, 1), {}) for size in (2, 3, 5, 7, 9, 14, 25)]
    cases += [((3, size, size), (9, 3, 3, 3), {"padding": 1}) for size in (2, 5, 7, 14, 17, 33)]
    cases += [((3, size, size), (9, 3, 1, 1), {"stride": 2}) for size in (7, 14, 33)]
    for x_shape, w_shape, options in cases:
        x, w, bias = data((1, *x_shape), dtype), data(w_shape, dtype, 1), data(9, dtype, 2)
        expected = reference(x, w, bias, **options)
        for side in SIDES:
            out = fences[3].array(expected.shape, dtype, side)
            out.view(np.uint8)[...] = 0xFF
            arrays = (fence.put(array, side) for fence, array in zip(fences, (x, w, bias), strict=False))
            assert_same(run(*arrays, out=out, **options), expected)


def test_channels_last_input_is_turned(level):
    # Read by whole vectors of channels: all widths, spacings and boundaries, and fewer channels than a vector has.
    for channels, width, dtype in itertools.product((1, 15, 16, 17, 40), (3, 7, 16, 37), ("float32", "float64")):
        x, w = data((2, 6, width, channels), dtype), data((8, channels, 3, 3), dtype, 1)
        for options in ({"padding": 1}, {"padding": "same", "stride": 2, "boundary": "reflect"}, {"dilation": (2, 1)}):
            given = options | {"layout": "NHWC"}
            assert_same(run(x, w, planner=gemm.plan_channels, **given), reference(x, w, **given))
    x, w = data((2, 6, 9, 40)), data((8, 20, 3, 3), seed=1)
    for options in ({"input_dilation": 2, "padding": 2}, {"padding": 2, "fill_value": 3}, {"flip": True}):
        given = options | {"layout": "NHWC", "groups": 2}
        assert_same(run(x, w, planner=gemm.plan_channels, **given), reference(x, w, **given))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_channels_are_turned_with_those_before_them(level, dtype):
    # Read as a part of a vector of channels, which begins in other groups but never before the array.
    fences = [Fence(1 << 18) for _ in range(3)]
    for channels, groups, width in itertools.product((2, 3, 4, 8, 12), (2, 3, 9), (1, 5, 16, 21)):
        x, w = data((2, 5, width, channels * groups), dtype), data((groups * 5, channels, 3, 3), dtype, 1)
        for options in ({"padding": 1}, {"padding": 1, "stride": 2, "boundary": "edge"}):
            given = options | {"layout": "NHWC", "groups": groups}
            expected = reference(x, w, **given)
            for side in SIDES:
                out = fences[2].array(expected.shape, dtype, side)
                out.view(np.uint8)[...] = 0xFF
                arrays = (fence.put(array, side) for fence, array in zip(fences, (x, w), strict=False))
                assert_same(run(*arrays, out=out, planner=gemm.plan_channels, **given), expected)


def test_channels_out_that_do_not_fill_their_vectors(level):
    # Neighbours in the result, stored in pieces: nothing behind them is written.
    fence = Fence(1 << 18)
    x = data((1, 3, 17, 4))
    for channels in (*range(1, 36), 47, 49, 63, 65):
        w = data((channels, 4, 1, 3), seed=1)
        expected = reference(x, w, layout="NHWC")
        for side in SIDES:
            out = fence.array(expected.shape, "f4", side)
            out.view(np.uint8)[...] = 0xFF
            assert_same(run(x, w, out=out, planner=gemm.plan_channels, layout="NHWC"), expected)
        wide = prefilled((*expected.shape[:-1], channels + 3), "f4")
        run(x, w, out=wide[..., :channels], planner=gemm.plan_channels, layout="NHWC")
        assert_same(wide[..., :channels].copy(), expected)
        assert np.isnan(wide[..., channels:]).all()


def test_it_is_taken_where_it_is_faster():
    with levels.use(levels.available()[0]):
        problem, _ = _problem.prepare(np.zeros((1, 256, 56, 56), "f"), np.zeros((64, 256, 1, 1), "f"), layout="NCHW")
        assert _plan.make(problem, levels.current()).variant == "gemm, lanes = pixels"


def test_refusals():
    x, w = np.zeros((2, 3, 4, 5), "f"), np.zeros((6, 5, 1, 1), "f")
    problem, _ = _problem.prepare(x, w, layout="NHWC")
    assert plan_pixels(problem, levels.current()).refusal == "pixels are not neighbours"
    problem, _ = _problem.prepare(x.astype("i4"), np.zeros((6, 3, 1, 1), "i4"), layout="NCHW")
    assert plan_pixels(problem, levels.current()).refusal.startswith("no kernel for int32")
    problem, _ = _problem.prepare(x, np.zeros((1, 1, 2, 2), "f"))
    assert plan_pixels(problem, levels.current()).refusal == "no channels to sum over"


def test_workspace_is_kept_small():
    for c_in, size, c_out, kernel in ((1024, 14, 256, 1), (512, 28, 1024, 1), (512, 14, 512, 3), (3, 224, 64, 7)):
        x, w = np.zeros((1, c_in, size, size), "f"), np.zeros((c_out, c_in, kernel, kernel), "f")
        problem, _ = _problem.prepare(x, w, layout="NCHW", padding="same")
        assert plan_pixels(problem, levels.current()).driver.workspace_bytes < 6 << 20


def test_empty_arrays():
    assert fastconv.conv(np.zeros((0, 3, 4, 4), "f"), np.zeros((5, 3, 1, 1), "f"), layout="NCHW").shape == (0, 5, 4, 4)
    assert run(np.zeros((2, 3, 4, 0), "f"), np.zeros((5, 3, 1, 1), "f")).shape == (2, 5, 4, 0)
