"""Arrays with a short last axis: axes taken together, and turned copies."""

import itertools

import numpy as np
import pytest
from _tools import BOUNDARIES, COMPLEXES, INTEGERS, assert_same, assert_same_bits, assert_whole, data, prefilled
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _problem, _reference, _tunables, ndimage, signal
from fastconv.drivers import levels
from fastconv.planners.direct import plan_direct
from fastconv.planners.fft import plan_fft
from fastconv.planners.rows import Turn, on_merged_axes, on_turned_axes, turn_of

DTYPES = ("bool", "float16", "float32", "float64", *COMPLEXES[:2], *INTEGERS)


@pytest.fixture(autouse=True, scope="module")
def any_size():
    """Turn arrays that are so small that nobody gains by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tunables, "TURNED_LEAST", 1)
        yield


def choose(plan, planner, x, w, **options):
    problem, operands = _problem.prepare(x, w, **options)
    return plan(planner, problem, levels.current()), problem, operands


def run(plan, planner, x, w, out=None, threads=None, **options):
    """Return what one of the ways makes of a convolution, which must take it."""
    choice, problem, operands = choose(plan, planner, x, w, **options)
    assert choice.driver is not None, choice.refusal
    out = prefilled(problem.out_shape, problem.dtype) if out is None else out
    choice.driver.run(operands.x, operands.w, operands.bias, out, threads)
    return out


def refusal(plan, x, w, **options):
    choice, _, _ = choose(plan, plan_direct, x, w, **options)
    assert choice.driver is None
    return choice.refusal


# --- axes taken together ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 37, 3), (6, 20, 1), (40, 2), (5, 4, 2, 2)])
def test_idle_last_axes_are_merged(level, dtype, shape):
    idle = {3: 1, 2: 1, 4: 2}[len(shape)]
    x = data(shape, dtype)
    w = data((3,) * (len(shape) - idle) + (1,) * idle, dtype, seed=1)
    for flip in (False, True):
        options = {"padding": [(1, 2)] * (len(shape) - idle) + [(0, 0)] * idle, "flip": flip, "fill_value": 1}
        assert_same(run(on_merged_axes, plan_direct, x, w, **options), _reference.conv(x, w, **options))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("inner", [(3,), (2, 2), (1,)])
def test_boundaries_show_whole_samples(level, boundary, dilation, inner):
    # Longer than the axis and its mirror image.
    for n, lo, hi in itertools.product((1, 2, 5), (-1, 0, 4, 13), (0, 12)):
        if n + lo + hi < 1 + 2 * dilation:
            continue
        x, w = data((4, n, *inner)), data((2, 3, *(1 for _ in inner)), seed=1)
        options = {
            "padding": [(1, 0), (lo, hi), *((0, 0) for _ in inner)],
            "boundary": boundary,
            "dilation": (1, dilation, *(1 for _ in inner)),
        }
        assert_same(run(on_merged_axes, plan_direct, x, w, **options), _reference.conv(x, w, **options))


def test_channels_and_a_batch_stay_in_front_of_merged_axes(level, threads):
    x, w = data((2, 6, 5, 21, 3)), data((4, 3, 3, 3, 1), seed=1)
    options = {"layout": "NCABD", "groups": 2, "bias": data(4, seed=2), "padding": [(1, 1), (0, 2), (0, 0)]}
    expected = _reference.conv(x, w, **options)
    assert_same(run(on_merged_axes, plan_direct, x, w, **options), expected)
    assert_same(fastconv.conv(x, w, **options), expected)


def test_arrays_that_do_not_merge_are_copied(level):
    x, w = data((7, 12, 3)), data((3, 3, 1), seed=1)
    apart = np.zeros((7, 24, 6), np.float32)[:, ::2, ::2]
    apart[...] = x
    expected = _reference.conv(x, w)
    held = prefilled((5, 20, 3), "float32")
    for source in (apart, x[::-1, ::-1, ::-1][::-1, ::-1, ::-1], np.asfortranarray(x)):
        assert_same(run(on_merged_axes, plan_direct, source, w), expected)
        out = held[:, ::2]
        run(on_merged_axes, plan_direct, source, w, out=out)
        np.testing.assert_array_equal(out, expected)
        assert np.isnan(held[:, 1::2]).all()
        held[...] = np.nan


def test_what_is_not_merged():
    x, w = data((7, 12, 3)), data((3, 3, 1), seed=1)
    assert "slides along" in refusal(on_merged_axes, x, data((3, 3, 2)))
    assert "slides along" in refusal(on_merged_axes, x, w, padding=[0, 0, 1])
    assert "slides along" in refusal(on_merged_axes, x, data((1, 1, 1)))
    assert "left out" in refusal(on_merged_axes, x, w, stride=(1, 2, 1))
    assert "left out" in refusal(on_merged_axes, x, w, input_dilation=(1, 2, 1))
    assert "long" in refusal(on_merged_axes, data((4, 4, 2000)), data((3, 3, 1)))
    assert "slides along" in refusal(on_merged_axes, data((2, 3, 5, 6)), data((2, 3, 1, 1)), layout="NCHW")


# --- turned copies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(512, 3), (3, 512), (5, 5), (9, 9, 2, 3), (40, 40, 15), (40, 40, 16), (), (4,)])
def test_the_longest_axis_comes_last(sizes):
    turn = turn_of(sizes)
    if sizes in ((3, 512), (5, 5), (40, 40, 16), (), (4,)):
        assert turn is None
    else:
        order = [sizes[axis] for axis in turn.order]
        assert order[-1] == max(sizes)
        assert tuple(order[turn.behind :] + order[: turn.behind]) == sizes


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64", "complex128"])
def test_a_turned_copy_is_put_back(dtype, threads):
    for shape in ((900, 1), (700, 3), (5, 3001, 2, 7), (0, 3), (3, 0)):
        x = data(shape, dtype)
        turn = Turn((*range(x.ndim - 1, x.ndim), *range(x.ndim - 1)), 1)
        if x.ndim == 4:
            turn = Turn((2, 3, 0, 1), 2)
        turned = turn.turned(x, None)
        assert_same_bits(turned, np.ascontiguousarray(x.transpose(turn.order)))
        for out in (prefilled(shape, dtype), prefilled((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]):
            turn.put_back(turned, out, None)
            np.testing.assert_array_equal(out, x)


def test_sources_of_a_turned_copy_may_lie_anyhow():
    x = data((50, 3))
    misaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    planes = np.ascontiguousarray(x.T)
    assert Turn((1, 0), 1).turned(planes.T, None).base is planes
    for source in (x, np.asfortranarray(x), x[::-1, ::-1][::-1, ::-1], np.repeat(x, 2, 0)[::2], misaligned):
        assert_same_bits(Turn((1, 0), 1).turned(source, None), np.ascontiguousarray(x.T))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 37, 3), (6, 20, 1), (40, 2), (7, 33, 2, 2)])
def test_short_last_axes_are_turned(level, dtype, shape):
    x, w = data(shape, dtype), data((3,) * len(shape), dtype, seed=1)
    for boundary, flip in itertools.product(BOUNDARIES, (False, True)):
        options = {"padding": [(2, 1)] * len(shape), "boundary": boundary, "flip": flip, "fill_value": 1}
        assert_same(run(on_turned_axes, plan_direct, x, w, **options), _reference.conv(x, w, **options))


def test_small_arrays_are_not_turned(monkeypatch):
    monkeypatch.setattr(_tunables, "TURNED_LEAST", 100)
    assert turn_of((7, 3)) is None
    assert turn_of((8, 3)) is not None


def test_strides_dilations_and_a_bias_of_turned_axes(level, threads):
    x, w = data((30, 41, 5)), data((3, 2, 3), seed=1)
    options = {"stride": (2, 1, 1), "dilation": (1, 3, 2), "padding": [(1, 0), (2, 2), (1, 1)]}
    assert_same(run(on_turned_axes, plan_direct, x, w, **options), _reference.conv(x, w, **options))


def test_transforms_of_turned_axes(level):
    x, w = data((40, 50, 3)), data((12, 15, 3), seed=1)
    for options in ({}, {"padding": "same", "flip": True}, {"padding": "same", "boundary": "wrap"}):
        assert_whole(run(on_turned_axes, plan_fft, x, w, **options), _reference.conv(x, w, **options))


def test_what_is_beside_the_summed_axes_is_turned_too(level):
    x, w = data((60, 5, 4)), data((1, 3, 3), seed=1)
    result = run(on_turned_axes, plan_direct, x, w, padding=[(0, 0), (1, 1), (1, 1)])
    expected = _reference.conv(x, w, padding=[(0, 0), (1, 1), (1, 1)])
    assert_same(result, expected)
    assert_same(signal.fftconvolve(x, w[:, ::-1, ::-1], "same", axes=(1, 2)), expected)


def test_what_is_not_turned():
    x, w = data((40, 30, 3)), data((3, 3, 3), seed=1)
    assert "order of summation" in refusal(on_turned_axes, x, w, accuracy="strict")
    assert "last axis is long" in refusal(on_turned_axes, x.transpose(2, 0, 1), w)
    problem, _ = _problem.prepare(x, w.astype(np.float64), dtype=np.float64)
    stored = problem._replace(stored=(np.dtype(np.uint8), np.dtype(np.uint8)))
    assert "last bit" in on_turned_axes(plan_direct, stored, levels.current()).refusal
    planned = _problem.prepare(x, np.ones((9, 9, 3), np.float32))[0]._replace(planned=True)
    assert "packed" in on_turned_axes(plan_fft, planned, levels.current()).refusal


# --- through the faces ------------------------------------------------------------------------------------------------


def test_the_schedule_says_what_is_done():
    picture = np.zeros((512, 512, 3), np.float32)
    for w, words in (((3, 3, 1), "direct with the last axes merged"), ((3, 3, 3), "direct of a turned copy")):
        text = fastconv.plan(np.ones(w, np.float32), x_shape=picture.shape, padding="same").explain()
        assert f"algorithm: {words}" in text
    small = fastconv.plan(np.ones((3, 3, 3), np.float32), x_shape=picture.shape, padding="same", max_workspace=100_000)
    assert "turned" not in small.explain().splitlines()[1]


@pytest.mark.parametrize("kernel", [(3, 3, 1), (3, 3, 3), (25, 25, 1), (25, 25, 3)])
def test_a_nan_reaches_the_outputs_whose_window_holds_it(level, kernel):
    x = np.ones((60, 70, 3), np.float32)
    x[20, 30, 1], x[40, 69, 2] = np.nan, np.inf
    w = np.ones(kernel, np.float32)
    finite = np.isfinite(fastconv.conv(x, w, padding="same", flip=True))
    np.testing.assert_array_equal(finite, np.isfinite(_reference.conv(x, w, padding="same", flip=True)))


def test_an_epilogue_follows(level):
    x, w = data((80, 90, 3)), data((3, 3, 3), seed=1)
    sums = _reference.conv(x, w, padding="same")
    residual = data(sums.shape, seed=2)
    result = fastconv.conv(x, w, padding="same", residual=residual, scale=2, activation="relu")
    np.testing.assert_array_equal(result, np.maximum(2 * sums + residual, 0))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(40, 3), (40, 4), (33, 20, 2), (5, 30, 4), (9, 9, 1), (20, 3, 3), (6, 7, 15), (70, 9, 8)]),
    sigma=st.lists(st.floats(0.2, 6), min_size=3, max_size=3),
    dtype=st.sampled_from(["uint8", "int32", "float32", "float64", "complex64"]),
    threads=st.sampled_from([1, 2]),
)
def test_passes_are_the_same_on_turned_arrays(shape, sigma, dtype, threads):
    """Filtered by one axis after the other, some of which turn the array and some of which do not."""
    x = data(shape, dtype) if dtype != "int32" else data(shape, "int16").astype(dtype)
    result = averaged = x
    asymmetric = np.arange(23.0) - 5
    for axis, width in zip(range(x.ndim), sigma, strict=False):
        result = ndimage.gaussian_filter1d(result, width, axis, threads=threads)
        averaged = ndimage.uniform_filter1d(averaged, int(3 * width) + 2, axis, threads=threads)
        if axis < x.ndim - 1:
            alone = ndimage.correlate1d(x, asymmetric, axis, threads=threads)
            beside = ndimage.correlate1d(np.concatenate([x] * 20, -1), asymmetric, axis, threads=threads)
            assert_same_bits(alone, np.ascontiguousarray(beside[..., : x.shape[-1]]))
    assert_same(ndimage.gaussian_filter(x, sigma[: x.ndim], threads=threads), result)
    sizes = [int(3 * width) + 2 for width in sigma[: x.ndim]]
    assert_same(ndimage.uniform_filter(x, sizes, threads=threads), averaged)
