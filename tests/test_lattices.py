"""Dilated kernels on lattices: Winograd's tiles of samples that lie some apart."""

import itertools
from functools import partial

import numpy as np
import pytest
from _guard import Fence
from _tools import assert_same_bits, prefilled

import fastconv
from fastconv import _problem, _reference
from fastconv._problem import Axis
from fastconv.drivers import levels
from fastconv.planners import lattices
from fastconv.planners.winograd import plan_winograd


def normal(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def run(x, w, bias=None, **options):
    return fastconv.conv(x, w, bias=bias, algorithm="winograd", **({"layout": "NCHW"} | options))


def exact(x, w, bias=None, **options):
    """Return the result in double precision."""
    wide = "complex128" if x.dtype.kind == "c" else "float64"
    bias = None if bias is None else bias.astype(wide)
    return _reference.conv(x.astype(wide), w.astype(wide), bias=bias, **({"layout": "NCHW"} | options))


def assert_near(actual, expected, w):
    """Far within the bound of F(4, 3)."""
    assert actual.shape == expected.shape
    tolerance = 40 * np.finfo(actual.dtype).eps * np.abs(w).reshape(len(w), -1).sum(1).max()
    assert np.abs(actual - expected).max() <= tolerance


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 20])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_every_output_is_on_one_lattice(n, d):
    for lo, hi, k in itertools.product((-2, 0, 1, 4, 7), (-1, 0, 3, 9), (1, 3)):
        axis = Axis(n, k, 1, d, 1, lo, hi, "constant")
        if n < d or axis.extent + lo + hi < axis.window:
            continue
        found = []
        for run in lattices.lattices_of(axis):
            for i, place in itertools.product(range(run.images), range(run.axis.out)):
                output = run.first_output + i + place * run.step
                # The samples of its taps, counted on the lattice and along the axis.
                for tap in range(k):
                    at = place - run.axis.lo + tap
                    sample = output - lo + tap * d
                    assert run.first_sample + i + at * run.step == sample
                    assert (0 <= at < run.axis.n) == (0 <= sample < n)
                found.append(output)
        assert sorted(found) == list(range(axis.out))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("dilation", [2, (1, 2), (3, 1), (2, 3), 4])
def test_against_the_reference(level, dtype, dilation):
    x, w, bias = normal((2, 18, 13, 16), dtype), normal((35, 18, 3, 3), dtype, 1), normal(35, dtype, 2)
    if x.dtype.kind == "c":
        x, w = x + 1j * normal(x.shape, "float32", 3), w + 1j * normal(w.shape, "float32", 4)
    for padding in (0, 1, "same", ((0, 3), (4, 1)), ((-1, 2), (0, -1))):
        options = {"dilation": dilation, "padding": padding}
        window = [2 * d + 1 for d in np.broadcast_to(dilation, 2)]
        if padding == ((-1, 2), (0, -1)) and max(window) > 8:
            continue
        expected = exact(x, w, bias, **options)
        assert_near(run(x, w, bias, **options), expected, w)
        plan = fastconv.plan(w, bias=bias, layout="NCHW", algorithm="winograd", **options)
        assert_near(plan(x), expected, w)


@pytest.mark.parametrize("layout", ["NHWC", "CHW", "HNCW"])
def test_layouts_fills_groups_and_flips(level, layout):
    x, w, bias = normal((2, 10, 9, 12)), normal((14, 5, 3, 3), seed=1), normal(14, seed=2)
    order = ["NCHW".index(letter) for letter in layout]
    x = x[0] if layout == "CHW" else np.ascontiguousarray(x.transpose(order))
    options = {"layout": layout, "groups": 2, "dilation": 2, "padding": 3, "fill_value": 1.5, "flip": True}
    assert_near(run(x, w, bias, **options), exact(x, w, bias, **options), w)


def test_volumes_whose_planes_are_dilated(level):
    x, w = normal((1, 18, 6, 9, 11)), normal((35, 18, 3, 3, 3), seed=1)
    options = {"layout": "NCDHW", "dilation": (2, 2, 3), "padding": (2, 2, 3)}
    assert_near(run(x, w, **options), exact(x, w, **options), w)


def test_epilogues(level):
    x, w, bias = normal((2, 18, 13, 11)), normal((35, 18, 3, 3), seed=1), normal(35, seed=2)
    scale, residual = normal(35, seed=3), normal((2, 35, 13, 11), seed=4)
    options = {"layout": "NCHW", "dilation": 2, "padding": 2}
    sums = run(x, w, **options)
    along = (slice(None), None, None)
    finish = {"scale": scale, "bias": bias, "activation": "relu"}
    expected = np.maximum(sums * scale[along] + bias[along] + residual, 0)
    np.testing.assert_allclose(run(x, w, residual=residual, **finish, **options), expected, 1e-5, 1e-5)
    plan = fastconv.plan(w, algorithm="winograd", residual=True, **finish, **options)
    # With tiles of another size, perhaps.
    np.testing.assert_allclose(plan(x, residual=residual), expected, 1e-3, 2e-4)
    out = residual.copy()
    assert plan(x, residual=out, out=out) is out
    np.testing.assert_allclose(out, expected, 1e-3, 2e-4)


@pytest.mark.parametrize("shape", [(1, 64, 12, 12), (1, 64, 11, 13)])
def test_threads_strides_and_read_only_arrays_have_the_same_bits(shape):
    x, w = normal(shape), normal((64, 64, 3, 3), seed=1)
    options = {"layout": "NCHW", "dilation": 2, "padding": 2}
    expected = run(x, w, threads=1, **options)
    frozen, far = x.copy(), np.repeat(x, 2, axis=3)[..., ::2]
    frozen.flags.writeable = False
    odd = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(shape)
    odd[...] = x
    for other, threads in itertools.product((x, frozen, far, odd, x[..., ::-1].copy()[..., ::-1]), (1, 2, 3)):
        assert_same_bits(run(other, w, threads=threads, **options), expected)
    wide = prefilled((*shape[:3], 2 * shape[3]), "float32")
    assert_same_bits(run(x, w, out=wide[..., ::2], **options).copy(), expected)
    assert np.isnan(wide[..., 1::2]).all()


def test_nan_stays_in_its_windows(level):
    x, w = normal((1, 18, 13, 12)), normal((35, 18, 3, 3), seed=1)
    x[0, 2, 5, 6] = np.nan
    options = {"layout": "NCHW", "dilation": 2, "padding": 2}
    expected = np.isnan(fastconv.conv(x, w, algorithm="gemm", **options))
    assert expected[0, 0].sum() == 9
    assert np.array_equal(np.isnan(run(x, w, **options)), expected)


def test_guard_pages(level):
    fences = [Fence(1 << 18) for _ in range(3)]
    w = normal((35, 18, 3, 3), seed=1)
    for width, height, layout in itertools.product((6, 9, 33, 36), (5, 8), ("NCHW", "NHWC")):
        x = normal((1, 18, height, width) if layout == "NCHW" else (1, height, width, 18))
        for side in ("first", "last"):
            options = {"layout": layout, "dilation": 2, "padding": 2}
            expected = run(x, w, **options)
            image, weights = fences[0].put(x, side), fences[1].put(w, side)
            out = fences[2].array(expected.shape, expected.dtype, side)
            out.view(np.uint8)[...] = 0xFF
            assert_same_bits(run(image, weights, out=out, **options), expected)


def test_it_is_taken_and_named():
    w = normal((128, 128, 3, 3))
    plan = fastconv.plan(w, (1, 128, 56, 56), layout="NCHW", dilation=2, padding=2)
    assert "algorithm: winograd on lattices, level" in plan.explain()
    strict = fastconv.plan(w, (1, 128, 56, 56), layout="NCHW", dilation=2, padding=2, accuracy="strict")
    assert "algorithm: gemm, level" in strict.explain()


def test_packed_weights_are_counted():
    x, w = normal((1, 64, 11, 11)), normal((64, 64, 3, 3), seed=1)
    options = {"layout": "NCHW", "dilation": 2, "algorithm": "winograd"}
    problem, _ = _problem.prepare(x, w, **options)
    choice = lattices.on_lattices(partial(plan_winograd, 4, False), problem, levels.current())
    assert choice.driver.workspace_bytes >= choice.driver.pack_all(w).nbytes > 64 * 64 * 9 * 4
    for most in (10**7, choice.driver.workspace_bytes):
        plan = fastconv.plan(w, x.shape, max_workspace=most, **options)
        assert plan.workspace_bytes <= most
        assert_near(plan(x), exact(x, w, layout="NCHW", dilation=2), w)
