"""Complex layers computed as real ones of twice the channels: results, where NaN and Inf go, errors, explanations."""

import itertools

import numpy as np
import pytest
from _tools import BOUNDARIES, COMPLEXES, assert_same, assert_same_bits, at_level, data, prefilled

import fastconv
from fastconv import ConvError, _reference
from fastconv.drivers import levels
from fastconv.planners.parts import real_weights

ALGORITHMS = ("winograd",)
DTYPES = COMPLEXES[:2]


def rounded(result):
    """Return the whole numbers that a result of transforms stands for, without negative zeros."""
    assert type(result) is np.ndarray
    whole = np.rint(result.view(result.real.dtype)) + 0.0
    assert abs(whole - result.view(result.real.dtype)).max(initial=0) < 0.05
    return whole.view(result.dtype)


def check(x, w, *, algorithm="winograd", **options):
    """Compare a plain call, one with `out`, and a plan with the reference."""
    expected = _reference.conv(x, w, **options)
    assert_same(rounded(fastconv.conv(x, w, algorithm=algorithm, **options)), expected)
    out = prefilled(expected.shape, expected.dtype)
    assert fastconv.conv(x, w, algorithm=algorithm, out=out, **options) is out
    assert_same(rounded(out), expected)
    plan = fastconv.plan(w, x_dtype=x.dtype, algorithm=algorithm, **options)
    for _ in range(2):
        assert_same_bits(plan(x), fastconv.conv(x, w, algorithm=algorithm, **options))


@pytest.fixture(params=levels.available())
def level(request):
    with at_level(request.param):
        yield request.param


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_channels_of_every_number(algorithm, dtype, level):
    for channels, channels_out, groups in [
        (1, 1, 1),
        (3, 5, 1),
        (8, 16, 1),
        (17, 33, 1),
        (2, 3, 3),
        (9, 4, 2),
        (40, 2, 1),
    ]:
        x = data((2, channels * groups, 11, 13), dtype)
        w = data((channels_out * groups, channels, 3, 3), dtype, 1)
        bias = data(channels_out * groups, dtype, 2)
        check(x, w, algorithm=algorithm, layout="NCHW", padding=1, groups=groups, bias=bias)
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        check(last, w, algorithm=algorithm, layout="NHWC", groups=groups)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 40), (7, 7), (4, 70), (33, 18)])
def test_images_of_every_size(shape, algorithm, dtype):
    w = data((6, 5, 3, 3), dtype, 1)
    for layout in ("NCHW", "CHW", "HWC", "WNCH"):
        sizes = dict(zip("NCHW", (3, 5, *shape), strict=True))
        x = data([sizes[letter] for letter in layout], dtype)
        check(x, w, algorithm=algorithm, layout=layout, padding=((1, 2), (2, 1)), bias=data(6, dtype, 2))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_boundaries_flips_and_conjugates(algorithm, boundary):
    for dtype, flip, conj in itertools.product(DTYPES, (False, True), (False, True)):
        x, w = data((2, 9, 10, 21), dtype), data((7, 9, 3, 3), dtype, 1)
        options = {"boundary": boundary, "flip": flip, "conj": conj, "fill_value": 2 + 2j if flip else 0}
        check(x, w, algorithm=algorithm, layout="NCHW", padding=2, **options)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_arrays_of_every_kind(algorithm):
    w = data((6, 5, 3, 3), "complex64", 1)
    shape = (2, 5, 9, 12)
    x = data(shape, "complex64")
    wide = np.zeros((2, 5, 18, 24), "complex64")
    wide[:, :, ::2, ::2] = x
    backwards = np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    misaligned = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view("complex64").reshape(shape)
    # A pair of floats need not begin on 8 bytes.
    odd = np.zeros(2 * x.size + 1, "f4")[1:].view("complex64").reshape(shape)
    odd[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for array in (wide[:, :, ::2, ::2], backwards, misaligned, odd, read_only, x.astype(">c8"), x[:1], x[:0]):
        check(array, w, algorithm=algorithm, layout="NCHW", padding=1)
    expected = _reference.conv(x, w, layout="NCHW")
    for out in (
        np.zeros(2 * expected.size + 1, "f4")[1:].view("complex64").reshape(expected.shape),
        prefilled(expected.shape[::-1], "complex64").T,
        prefilled((2, 6, 7, 20), "complex64")[..., ::-2],
        prefilled(expected.shape, ">c8"),
    ):
        assert fastconv.conv(x, w, layout="NCHW", algorithm=algorithm, out=out) is out
        assert_same(rounded(np.ascontiguousarray(out).astype("complex64")), expected)
    for weights in (w[::-1, ::-1, ::-1, ::-1], np.asfortranarray(w), w.astype(">c8")):
        check(x, weights, algorithm=algorithm, layout="NCHW")
    check(x.real.copy(), w, algorithm=algorithm, layout="NCHW")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_do_not_show(algorithm):
    x, w = data((2, 24, 40, 41), "complex64"), data((20, 24, 3, 3), "complex64", 1)
    results = [fastconv.conv(x, w, layout="NCHW", algorithm=algorithm, threads=n) for n in (1, 2, 3)]
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_and_inf_reach_what_they_reach_by_definition(algorithm, dtype, level):
    bad = [complex(np.nan, 0), complex(0, np.nan), complex(np.inf, 1), complex(1, -np.inf), complex(np.inf, np.inf)]
    for layout, value in itertools.product(("NCHW", "NHWC"), bad):
        shape = (2, 10, 14, 9) if layout == "NCHW" else (2, 14, 9, 10)
        x, w = data(shape, dtype), data((5, 10, 3, 3), dtype, 1)
        at = (1, 3, 6, 5) if layout == "NCHW" else (1, 6, 5, 3)
        x[at] = value
        w[2] = 1 + 1j
        options = {"layout": layout, "padding": 1, "bias": data(5, dtype, 2)}
        expected = _reference.conv(x, w, **options)
        plan = fastconv.plan(w, x.shape, algorithm=algorithm, **options)
        for result in (fastconv.conv(x, w, algorithm=algorithm, **options), plan(x)):
            parts, wanted = result.view(result.real.dtype), expected.view(result.real.dtype)
            np.testing.assert_allclose(parts, wanted, atol=0.05)
            assert 0 < (~np.isfinite(parts)).sum() < parts.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_are_within_the_bound(dtype):
    rng = np.random.default_rng(0)
    part, wide = np.dtype(dtype).type(0).real.dtype, "complex128" if dtype == "complex64" else "clongdouble"
    for channels, accuracy, k in [(3, "default", 176), (100, "default", 176), (20, "fast", 1565)]:
        x = (rng.standard_normal((1, channels, 30, 30, 2)) @ [1, 1j]).astype(dtype)
        w = (rng.standard_normal((8, channels, 3, 3, 2)) @ [1, 1j]).astype(dtype)
        result = fastconv.conv(x, w, layout="NCHW", algorithm="winograd", accuracy=accuracy)
        expected = _reference.conv(x.astype(wide), w.astype(wide), layout="NCHW")
        error = abs((result - expected).view(expected.real.dtype)).max()
        weights = (abs(w.real) + abs(w.imag)).sum(axis=(1, 2, 3)).max()
        largest = max(abs(x.real).max(), abs(x.imag).max())
        assert error <= k * (2 * channels + 40) * np.finfo(part).eps * largest * weights
        assert error <= 5e-5 * abs(expected).std() * (1 if dtype == "complex64" else 1e-8)


def test_strict_does_not_transform():
    w = data((64, 64, 3, 3), "complex64")
    options = {"layout": "NCHW", "padding": 1}
    assert fastconv.plan(w, (1, 64, 56, 56), **options).algorithm == "winograd"
    assert "algorithm: winograd of parts" in fastconv.plan(w, (1, 64, 56, 56), **options).explain()
    assert fastconv.plan(w, (1, 64, 56, 56), accuracy="strict", **options).algorithm == "direct"
    with pytest.raises(ConvError, match="strict"):
        fastconv.plan(w, (1, 64, 56, 56), accuracy="strict", algorithm="winograd", **options)


def test_a_fill_value_of_unequal_parts_is_not_for_parts():
    x, w = data((1, 4, 8, 8), "complex64"), data((4, 4, 3, 3), "complex64", 1)
    options = {"layout": "NCHW", "padding": 1, "fill_value": 1 - 2j}
    with pytest.raises(ConvError, match="a fill value of unequal parts"):
        fastconv.conv(x, w, algorithm="winograd", **options)
    assert_same(fastconv.conv(x, w, **options), _reference.conv(x, w, **options))
    check(x, w, boundary="edge", **options)


def test_the_block_matrix_is_counted():
    w, shape = data((16, 16, 3, 3), "complex64"), (1, 16, 20, 20)
    options = {"layout": "NCHW", "algorithm": "winograd"}
    plan = fastconv.plan(w, shape, **options)
    assert plan.packed_bytes > 2 * w.nbytes
    needed = plan.workspace_bytes
    assert fastconv.plan(w, shape, max_workspace=needed, **options).workspace_bytes <= needed
    with pytest.raises(ConvError, match="which refuses: needs"):
        fastconv.conv(data(shape, "complex64"), w, max_workspace=1000, **options)


@pytest.mark.parametrize("conj", [False, True])
def test_the_block_matrix(conj):
    w = data((2, 3, 2), "complex128")
    blocks = real_weights(w, conj)
    assert blocks.shape == (4, 6, 2)
    x = data((3, 2), "complex128", 1)
    expected = ((w.conj() if conj else w) * x).sum(axis=(1, 2))
    result = np.einsum("oik,ik->o", blocks, np.stack([x.real, x.imag], axis=1).reshape(6, 2))
    np.testing.assert_array_equal(result.view(complex), expected)
