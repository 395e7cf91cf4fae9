"""fastconv.conv and fastconv.plan against the reference, on every level that runs here.

Data are small whole numbers unless a test is about rounding, so that sums of floats are exact whatever their order
and results are compared for equality.
"""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from _tools import (
    BOUNDARIES,
    COMPLEXES,
    DTYPES,
    INTEGERS,
    REALS,
    assert_same,
    assert_same_bits,
    at_level,
    data,
    prefilled,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, ConvTypeError, _reference
from fastconv.drivers import levels

WITH_KERNELS = [name for name in DTYPES if name not in ("longdouble", "clongdouble")]


def check(x, w, *, algorithm="auto", **options):
    """Compare with the reference: a result of its own, and one written over a prefilled `out`.

    By algorithms that do not transform; what those do has tests of its own, with bounds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = _reference.conv(x, w, **options)
        actual = fastconv.conv(x, w, algorithm=algorithm, accuracy="strict", **options)
        assert_same(actual, expected)
        assert actual.flags.c_contiguous
        out = prefilled(expected.shape, expected.dtype)
        assert fastconv.conv(x, w, algorithm=algorithm, accuracy="strict", out=out, **options) is out
    assert_same(out, expected)


def spatial(rank):
    return "DHW"[3 - rank :] if rank < 4 else "TDHW"


# --- every option ----------------------------------------------------------------------------------------------------


@st.composite
def problems(draw, dtypes=("float32",), ranks=(1, 2, 3, 4), layouts=True):
    """Draw operands and options of a valid problem."""
    rank = draw(st.sampled_from(ranks))
    with_layout = layouts and draw(st.booleans())
    groups = draw(st.integers(1, 3)) if with_layout else 1
    names = ("stride", "dilation", "input_dilation", "padding", "boundary")
    options = {name: [] for name in names}
    sizes, kernel = [], []
    for _ in range(rank):
        k, s, d, up = draw(st.integers(1, 4)), *(draw(st.integers(1, 3)) for _ in range(3))
        n = draw(st.integers(1, {1: 90, 2: 24, 3: 7, 4: 4}[rank]))
        lo, hi = draw(st.integers(-2, 6 if rank < 3 else 2)), draw(st.integers(-2, 6 if rank < 3 else 2))
        extent = (n - 1) * up + 1
        lo = max(lo, -extent)
        hi = max(hi, -extent - min(lo, 0))
        hi += max((k - 1) * d + 1 - (extent + lo + hi), 0)
        sizes.append(n)
        kernel.append(k)
        for name, value in zip(names, (s, d, up, (lo, hi), draw(st.sampled_from(BOUNDARIES))), strict=True):
            options[name].append(value)
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 2**32))
    options |= {"flip": draw(st.booleans()), "conj": draw(st.booleans())}
    options["fill_value"] = data((), dtype, seed + 3)[()]
    if not with_layout:
        bias = data((), dtype, seed + 2) if draw(st.booleans()) else None
        return data(sizes, dtype, seed), data(kernel, dtype, seed + 1), options | {"bias": bias}
    letters = "NC" + spatial(rank) if draw(st.booleans()) else "C" + spatial(rank)
    layout = "".join(draw(st.permutations(letters)))
    # The spatial letters have to keep their order, as the options and the kernel's axes have theirs.
    ordered = iter(spatial(rank))
    layout = "".join(letter if letter in "NC" else next(ordered) for letter in layout)
    channels, channels_out = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    by_letter = dict(zip(spatial(rank), sizes, strict=True)) | {"N": draw(st.integers(1, 2)), "C": groups * channels}
    x = data([by_letter[letter] for letter in layout], dtype, seed)
    w = data((groups * channels_out, channels, *kernel), dtype, seed + 1)
    bias = data(groups * channels_out, dtype, seed + 2) if draw(st.booleans()) else None
    return x, w, options | {"bias": bias, "groups": groups, "layout": layout}


LEVELS = st.sampled_from(levels.available())


@settings(max_examples=400, deadline=None)
@given(problems(dtypes=DTYPES), LEVELS, st.sampled_from(["auto", "direct", "gemm"]))
def test_any_problem_on_any_level(problem, level, algorithm):
    x, w, options = problem
    if (algorithm == "gemm" and (x.dtype.char not in "fd" or "layout" not in options)) or x.dtype.char in "gG":
        algorithm = "auto"
    with at_level(level):
        check(x, w, algorithm=algorithm, **options)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_ranks(level, algorithm, rank):
    sizes, kernel = (4, 5, 6, 37)[4 - rank :], (2, 3, 2, 3)[4 - rank :]
    x, w = data((2, 4, *sizes)), data((6, 2, *kernel), seed=1)
    options = {"groups": 2, "bias": data(6, seed=2), "layout": "NC" + spatial(rank), "algorithm": algorithm}
    check(x, w, **options)
    check(x, w, padding="same", stride=2, boundary="reflect", **options)
    check(x, w, padding="full", dilation=(2, 1, 2, 2)[4 - rank :], fill_value=3, **options)
    check(x, w, padding=[(1, 3)] * rank, input_dilation=2, boundary="wrap", flip=True, **options)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_ranks_without_a_layout(level, rank):
    x, w = data((6, 5, 9, 40)[4 - rank :], "float64"), data((3, 2, 3, 4)[4 - rank :], "float64", 1)
    for padding, boundary in itertools.product(("valid", "same", "full"), BOUNDARIES):
        check(x, w, padding=padding, boundary=boundary, fill_value=2.0, flip=True)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(level, dtype, boundary):
    x, w = data((11, 37), dtype), data((3, 4), dtype, 1)
    fill = data((), dtype, 2)[()]
    check(x, w, padding="full", boundary=boundary, fill_value=fill, bias=data((), dtype, 3))
    check(x, w, padding=((5, 2), (7, 9)), stride=(2, 3), boundary=boundary, fill_value=fill, flip=True, conj=True)
    check(x, w, padding=3, input_dilation=(2, 3), dilation=2, boundary=boundary, fill_value=fill)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_with_channels(level, dtype):
    x, w = data((2, 6, 9, 21), dtype), data((4, 3, 3, 3), dtype, 1)
    for layout, order in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))):
        check(x.transpose(order), w, layout=layout, groups=2, padding="same", bias=data(4, dtype, 2))


@pytest.mark.parametrize(
    "code", ["b", "h", "i", "l", "q", "B", "H", "I", "L", "Q", "?", "e", "f", "d", "g", "F", "D", "G"]
)
def test_every_type_code_of_c(code):
    """Long and long long are different types of equal dtype, on every platform another pair."""
    x, w = data((5, 9), code), data((2, 3), code, 1)
    check(x, w, padding="same")


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.combinations(["bool", *INTEGERS, "float16", "float32", "complex64"], 2)]
)
def test_mixed_dtypes(first, second):
    x, w = data((5, 9), first), data((2, 3), second, 1)
    if np.result_type(x, w).kind in "fc":
        x, w = x % 8 if x.dtype.kind in "iu" else x, w % 8 if w.dtype.kind in "iu" else w
    check(x, w)
    check(w, x, padding="full")


def test_dtype_is_that_of_arithmetic_and_result(level):
    x, w = data((6, 30), "int16"), data((3, 3), "int16", 1)
    for dtype in ("int8", "int32", "int64"):
        check(x, w, dtype=dtype)
    check(x % 8, w % 8, dtype="float32")
    check(data((6, 30), "float64"), data((3, 3), "float64"), dtype="float16")
    check(data((6, 30), "float32"), data((3, 3), "float32"), dtype=complex)
    assert fastconv.conv(x, w, dtype=">i4").dtype == np.dtype("int32")


def test_float16_is_summed_in_float32(level):
    ones = np.ones((1, 4096), "float16")
    check(ones, ones)
    assert fastconv.conv(ones, ones).item() == 4096


def test_bool_is_an_or_of_ands(level):
    # A window of 256 or 65536 true products must not count as none.
    for size in (16, 256):
        ones = np.ones((size, size), bool)
        assert fastconv.conv(ones, ones).tolist() == [[True]]
        assert fastconv.conv(ones, ~ones).tolist() == [[False]]
    assert fastconv.conv([False], [True], bias=[True]).tolist() == [True]


def test_integers_are_exact_modulo_2_to_the_n(level):
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        extreme = np.array([info.min, info.max, info.max, info.min] * 20, dtype).reshape(2, 40)
        check(extreme, extreme[:, :5], padding="full")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "HCNW", "CNHW", "HNWC"])
@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_layouts(level, layout, algorithm):
    sizes = {"N": 2, "C": 6, "H": 5, "W": 33}
    x = data([sizes[letter] for letter in layout])
    for groups, kernel in ((1, (3, 3)), (2, (1, 1)), (3, (2, 5))):
        w = data((6, 6 // groups, *kernel), seed=1)
        check(x, w, layout=layout, groups=groups, bias=data(6, seed=2), algorithm=algorithm)


def test_letters_of_a_layout_are_free():
    x, w = data((2, 3, 5, 6)), data((4, 3, 2, 2), seed=1)
    expected = fastconv.conv(x, w, layout="NCHW")
    for layout in ("NCYX", "NCab", "NC01"):
        assert_same(fastconv.conv(x, w, layout=layout), expected)


@pytest.mark.parametrize("boundaries", [*itertools.product(BOUNDARIES, repeat=2)])
@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_each_axis_has_its_own_boundary(boundaries, algorithm):
    x, w = data((1, 2, 4, 5)), data((3, 2, 3, 3), seed=1)
    options = {"layout": "NCHW", "boundary": boundaries, "fill_value": 2, "algorithm": algorithm}
    # Far enough out for every boundary to come round more than twice.
    check(x, w, padding=((11, 9), (14, 17)), **options)
    check(x, w, padding=((3, 2), (1, 4)), input_dilation=(2, 3), stride=(1, 2), **options)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_padding_beyond_the_input(level, boundary, n):
    check(data((n, n)), data((9, 7), seed=1), padding="full", boundary=boundary, fill_value=5)
    check(data(n), data(40, seed=1), padding="same", boundary=boundary, fill_value=5)
    check(data(n), data(3, seed=1), padding=100, boundary=boundary, fill_value=5)


@pytest.mark.parametrize("center", ["left", "right"])
def test_same(level, center):
    for n, k, s, d in itertools.product((1, 4, 9), (1, 2, 3, 6), (1, 2, 3), (1, 2)):
        check(data((n, n + 20)), data((k, k), seed=1), padding="same", center=center, stride=s, dilation=d)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_strides_and_dilations(level, algorithm):
    x, w = data((1, 2, 19, 45)), data((3, 2, 3, 4), seed=1)
    for s, d in itertools.product((1, 2, 3, 5), (1, 2, 3, 4)):
        check(x, w, layout="NCHW", stride=(s, d), dilation=(d, s), algorithm=algorithm)
        check(x, w, layout="NCHW", stride=s, dilation=d, padding=4, boundary="wrap", algorithm=algorithm)


def test_strides_longer_than_the_input():
    check(data((4, 50)), data((2, 2), seed=1), stride=1000)
    check(data((4, 50)), data((2, 2), seed=1), stride=2**40, padding=((7, 3), (9, 1)), boundary="symmetric")


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_negative_padding_crops(level, algorithm):
    x, w = data((1, 2, 12, 40)), data((3, 2, 3, 3), seed=1)
    for boundary in BOUNDARIES:
        for pads in (((-2, -3), (-1, -20)), ((-4, 6), (9, -5)), (-1, -2)):
            check(x, w, layout="NCHW", padding=pads, boundary=boundary, fill_value=4, algorithm=algorithm)


@pytest.mark.parametrize("groups", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm"])
def test_groups(level, groups, algorithm):
    x = data((2, 12, 7, 20))
    for per_group in (1, 3):
        w = data((groups * per_group, 12 // groups, 3, 3), seed=1)
        options = {"groups": groups, "padding": 1, "layout": "NCHW", "algorithm": algorithm}
        check(x, w, bias=data(groups * per_group, seed=2), **options)


def test_forms_of_a_bias():
    x, w = data((4, 5)), data((2, 2), seed=1)
    expected = fastconv.conv(x, w) + np.float32(3)
    for bias in (3, [3], np.float32(3), np.array([3], ">f4"), np.array(3)):
        assert_same(fastconv.conv(x, w, bias=bias), expected)
    stack = fastconv.conv(x[None], np.stack([w, w])[:, None], layout="CHW", bias=data(4)[::-2])
    assert_same(stack, fastconv.conv(x, w) + data(4)[::-2].reshape(2, 1, 1))


# --- edge tiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "complex64", "complex128", "uint8", "int32", "int64", "float16"]
)
def test_every_edge_tile_of_direct(level, dtype):
    x, w = data((11, 72), dtype, most=3), data((3, 3), dtype, 1, most=3)
    expected = _reference.conv(x, w)
    small = dtype not in ("float32", "float64")
    for height, width in itertools.product((1, 4, 5) if small else range(1, 10), range(1, 71)):
        out = prefilled((height, width), dtype)
        fastconv.conv(x[: height + 2, : width + 2], w, out=out, algorithm="direct")
        assert np.array_equal(out, expected[:height, :width]), (height, width)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (5, 5), (1, 7), (7, 1), (4, 9)])
def test_edge_tiles_of_other_kernels(level, kernel):
    x, w = data((16, 79)), data(kernel, seed=1)
    expected = _reference.conv(x, w)
    for height, width in itertools.product((1, 3, 4, 8, 9), (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 67)):
        out = prefilled((height, width), "float32")
        fastconv.conv(x[: height + kernel[0] - 1, : width + kernel[1] - 1], w, out=out, algorithm="direct")
        assert np.array_equal(out, expected[:height, :width]), (height, width)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_edge_tile_of_gemm(level, dtype):
    x, w = data((1, 3, 4, 31), dtype), data((40, 3, 2, 2), dtype, 1)
    expected = _reference.conv(x, w, layout="NCHW")
    for channels_out, width in itertools.product(range(1, 41), range(1, 31)):
        out = prefilled((1, channels_out, 3, width), dtype)
        fastconv.conv(x[..., : width + 1], w[:channels_out], out=out, layout="NCHW", algorithm="gemm")
        assert np.array_equal(out, expected[:, :channels_out, :, :width]), (channels_out, width)


@pytest.mark.parametrize("channels_last", [False, True])
def test_edge_tiles_of_pointwise_layers(level, channels_last):
    x, w = data((2, 5, 3, 40)), data((37, 5, 1, 1), seed=1)
    expected = _reference.conv(x, w, layout="NCHW")
    for channels_out, width in itertools.product((1, 2, 15, 16, 17, 31, 32, 33, 37), range(1, 41)):
        taken = x[..., :width]
        out = prefilled((2, channels_out, 3, width), "float32")
        options = {"layout": "NCHW", "algorithm": "gemm"}
        if channels_last:
            taken, out = (
                np.ascontiguousarray(taken.transpose(0, 2, 3, 1)),
                np.ascontiguousarray(out.transpose(0, 2, 3, 1)),
            )
            options["layout"] = "NHWC"
        fastconv.conv(taken, w[:channels_out], out=out, **options)
        result = out.transpose(0, 3, 1, 2) if channels_last else out
        assert np.array_equal(result, expected[:, :channels_out, :, :width]), (channels_out, width)


def test_images_of_several_tiles(level):
    """Larger than a tile along both axes, so that interior tiles, edges and corners all occur."""
    for dtype, shape in (
        ("float32", (150, 1100)),
        ("float64", (70, 600)),
        ("uint8", (70, 2100)),
        ("complex64", (70, 600)),
    ):
        x = data(shape, dtype, most=2)
        for boundary in ("constant", "reflect"):
            check(x, data((5, 5), dtype, 1, most=2), padding="same", boundary=boundary)
    x = data((1, 24, 40, 150), most=2)
    check(x, data((70, 24, 3, 3), seed=1, most=2), padding=1, layout="NCHW", algorithm="gemm")
    check(x, data((70, 24, 1, 1), seed=1, most=2), layout="NCHW", algorithm="gemm")


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_several_blocks(level, kernel, groups):
    """More weights than are packed at a time, on several images of several tiles."""
    channels = 1024 if kernel == (1, 1) else 256
    x = data((2, channels * groups, 6, 10 if groups == 2 else 70), most=1)
    w, bias = data((460 * groups, channels, *kernel), seed=1, most=1), data(460 * groups, seed=2)
    options = {"layout": "NCHW", "groups": groups, "stride": 1 if groups == 1 else (2, 1), "bias": bias}
    actual = fastconv.conv(x, w, algorithm="gemm", threads=1, **options)
    assert_same_bits(fastconv.conv(x, w, algorithm="gemm", threads=2, **options), actual)
    for o in (0, 31, 128, 459, 460 * groups - 1):
        first = o // 460 * channels
        one = options | {"groups": 1, "bias": bias[o : o + 1]}
        expected = _reference.conv(x[:, first : first + channels], w[o : o + 1], **one)
        assert np.array_equal(actual[:, o : o + 1], expected), o
    plan = fastconv.plan(w, x.shape, algorithm="gemm", **options)
    assert_same_bits(plan(x), actual)
    assert_same_bits(fastconv.conv(x[1:2], w, algorithm="gemm", **options), actual[1:2].copy())


def test_many_channels_and_taps(level):
    x, w = data((1, 700, 5, 9), most=1), data((3, 700, 3, 3), seed=1, most=1)
    for algorithm in ("direct", "gemm"):
        check(x, w, layout="NCHW", padding=1, algorithm=algorithm)
    check(data((60, 90), most=1), data((57, 81), seed=1, most=1), padding="same", boundary="wrap")


# --- rounding, NaN and Inf -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "algorithm"),
    [
        *itertools.product(["float16", "float32", "float64", "complex64", "complex128"], ["direct"]),
        *itertools.product(["float32", "float64"], ["gemm"]),
    ],
)
def test_rounding_stays_within_the_bound(level, dtype, algorithm):
    rng = np.random.default_rng(0)
    complex_part = 1j if np.dtype(dtype).kind == "c" else 0
    # Offsets of 100 make sums that cancel, where errors show.
    for channels, kernel in ((1, (3, 3)), (16, (5, 5)), (100, (1, 3))):
        x = (rng.normal(size=(1, channels, 12, 50)) + 100 * rng.integers(-1, 2, 50) * (dtype != "float16")).astype(
            dtype
        )
        x = x + (rng.normal(size=x.shape) * complex_part).astype(dtype) if complex_part else x
        w = (rng.normal(size=(3, channels, *kernel)) * (1 + complex_part)).astype(dtype)
        actual = fastconv.conv(x, w, layout="NCHW", padding="same", algorithm=algorithm)
        wide = "clongdouble" if complex_part else "longdouble"
        exact = _reference.conv(x.astype(wide), w.astype(wide), layout="NCHW", padding="same")
        scale = _reference.conv(abs(x.astype(wide)), abs(w.astype(wide)), layout="NCHW", padding="same")
        taps = channels * math.prod(kernel)
        # float16 is rounded once, from a float32 sum.
        eps = np.finfo("float32" if dtype == "float16" else dtype).eps
        bound = (taps + 2) * eps * scale * (math.sqrt(2) if complex_part else 1)
        bound += np.finfo(dtype).eps * abs(exact) if dtype == "float16" else 0
        assert np.all(abs(actual.astype(wide) - exact) <= bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_non_finite_samples_reach_their_windows_only(level, dtype, algorithm, bad):
    x, w = np.ones((1, 3, 9, 40), dtype), np.ones((5, 3, 3, 4), dtype)
    w[:, :, 1, 1] = 0  # Inf times zero is NaN, and still an output that holds it
    for row, column in itertools.product((0, 4, 8), (0, 1, 7, 15, 16, 20, 39)):
        hurt = x.copy()
        hurt[0, 1, row, column] = bad
        options = {"layout": "NCHW", "padding": ((1, 1), (2, 1)), "stride": (1, 2)}
        actual = fastconv.conv(hurt, w, algorithm=algorithm, **options)
        expected = _reference.conv(hurt, w, **options)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
        assert np.count_nonzero(~np.isfinite(actual)) <= 5 * 3 * 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_non_finite_samples_at_every_place(level, dtype):
    w = np.ones((3, 3), dtype)
    for width in (1, 5, 16, 21):
        for place in range(4 * width):
            x = np.ones((4, width), dtype)
            x.flat[place] = np.nan
            actual = fastconv.conv(x, w, padding="same", boundary="symmetric")
            row, column = divmod(place, width)
            reached = np.zeros(x.shape, bool)
            reached[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
            np.testing.assert_array_equal(np.isnan(actual), reached)


def test_a_non_finite_fill_value_stays_outside(level):
    x, w = np.ones((7, 40), np.float32), np.ones((3, 3), np.float32)
    reached = np.ones(x.shape, bool)
    reached[1:-1, 1:-1] = False
    for fill in (np.nan, np.inf):
        actual = fastconv.conv(x, w, padding="same", fill_value=fill)
        np.testing.assert_array_equal(~np.isfinite(actual), reached)


def test_a_non_finite_weight_reaches_its_channel_only(level):
    x, w = np.ones((1, 2, 5, 20), np.float32), np.ones((20, 2, 3, 3), np.float32)
    w[7, 1, 2, 2] = np.nan
    for algorithm in ("direct", "gemm"):
        actual = fastconv.conv(x, w, layout="NCHW", algorithm=algorithm)
        assert np.isnan(actual[:, 7]).all()
        assert np.isfinite(np.delete(actual, 7, axis=1)).all()


def test_signed_zeros_and_denormals_survive(level):
    tiny = np.full((3, 20), np.finfo(np.float32).smallest_subnormal)
    assert_same(fastconv.conv(tiny, np.ones((1, 1), np.float32)), tiny)
    assert fastconv.conv(tiny, np.full((1, 2), 0.5, np.float32)).dtype == np.float32


# --- kinds of arrays -------------------------------------------------------------------------------------------------


def misaligned(array):
    buffer = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = buffer.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert array.itemsize == 1 or array.size == 0 or not view.flags.aligned
    return view


def strided(array):
    gaps = (slice(None, None, 3),) * array.ndim
    wide = np.zeros([3 * size for size in array.shape], array.dtype)
    wide[gaps] = array
    return wide[gaps]


def in_records(array):
    """Strides that are no multiple of the element's size."""
    records = np.zeros(array.shape, np.dtype([("before", "u1"), ("value", array.dtype), ("behind", "u2")]))
    records["value"] = array
    return records["value"]


def in_aligned_records(array):
    """Aligned, and for complex elements strides that still are no multiple of the element's size."""
    records = np.zeros(array.shape, np.dtype([("value", array.dtype), ("behind", array.real.dtype)], align=True))
    records["value"] = array
    return records["value"]


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


KINDS = {
    "read-only": read_only,
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim],
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.transpose(range(a.ndim)[::-1])).transpose(range(a.ndim)[::-1]),
    "records": in_records,
    "aligned records": in_aligned_records,
    "swapped and misaligned": lambda a: misaligned(a.astype(a.dtype.newbyteorder("S"))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "algorithm"),
    [
        ("float32", "direct"),
        ("float32", "gemm"),
        ("float64", "gemm"),
        ("complex128", "direct"),
        ("uint8", "direct"),
        ("float16", "direct"),
    ],
)
def test_kinds_of_arrays(level, kind, dtype, algorithm):
    make = KINDS[kind]
    for kernel in ((3, 3), (1, 1)):
        x, w, bias = data((2, 4, 8, 37), dtype), data((6, 4, *kernel), dtype, 1), data(6, dtype, 2)
        options = {"layout": "NCHW", "algorithm": algorithm}
        expected = _reference.conv(x, w, bias=bias, layout="NCHW")
        assert_same(fastconv.conv(make(x), w, bias=bias, **options), expected)
        assert_same(fastconv.conv(x, make(w), bias=bias, **options), expected)
        assert_same(fastconv.conv(x, w, bias=make(bias), **options), expected)
        assert_same(
            fastconv.conv(make(x), make(w), bias=make(bias), flip=True, **options),
            _reference.conv(x, w, bias=bias, layout="NCHW", flip=True),
        )
        if kind != "read-only":
            out = make(prefilled(expected.shape, dtype))
            assert fastconv.conv(make(x), make(w), bias=bias, out=out, **options) is out
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "int16", "bool", "longdouble"])
def test_kinds_of_arrays_without_channels(level, kind, dtype):
    make = KINDS[kind]
    x, w = data((9, 40), dtype), data((3, 4), dtype, 1)
    for padding, boundary in (("valid", "constant"), ("full", "wrap")):
        expected = _reference.conv(x, w, padding=padding, boundary=boundary)
        assert_same(fastconv.conv(make(x), make(w), padding=padding, boundary=boundary), expected)
        if kind != "read-only":
            out = make(prefilled(expected.shape, dtype))
            fastconv.conv(make(x), make(w), padding=padding, boundary=boundary, out=out)
            np.testing.assert_array_equal(out, expected)


def test_a_strided_out_keeps_its_gaps(level):
    x, w = data((2, 3, 8, 30)), data((5, 3, 3, 3), seed=1)
    expected = fastconv.conv(x, w, layout="NCHW")
    for algorithm in ("direct", "gemm"):
        field = np.full((4, 10, 12, 56), np.float32(7))
        out = field[::2, ::2, ::2, ::2]
        fastconv.conv(x, w, layout="NCHW", out=out, algorithm=algorithm)
        assert np.array_equal(out, expected)
        out[...] = 7
        assert np.all(field == 7)


def test_views_without_strides(level):
    """An element that stands for a whole array: huge ones cost no memory."""
    one = np.float32(3)
    w = data((2, 4, 3, 3), seed=1)
    for algorithm in ("direct", "gemm"):
        check(np.broadcast_to(one, (1, 4, 9, 40)), w, layout="NCHW", algorithm=algorithm)
        check(data((1, 4, 9, 40)), np.broadcast_to(one, w.shape), layout="NCHW", algorithm=algorithm)
        check(data((1, 1, 9, 40)).repeat(4, 1), np.broadcast_to(w[:, :1], w.shape), layout="NCHW", algorithm=algorithm)
    far = fastconv.conv(np.broadcast_to(one, (2**17, 2**17)), np.ones((3, 3), np.float32), stride=2**15)
    assert_same(far, np.full((4, 4), np.float32(27)))
    far = fastconv.conv(np.broadcast_to(one, (2**35,)), np.ones(3, np.float32), stride=2**33)
    assert_same(far, np.full(4, np.float32(9)))
    x = np.broadcast_to(one, (1, 4, 2**17, 2**17))
    for kernel in ((3, 3), (1, 1)):
        w = np.ones((2, 4, *kernel), np.float32)
        far = fastconv.conv(x, w, stride=2**15, layout="NCHW", algorithm="gemm")
        assert_same(far, np.full((1, 2, 4, 4), np.float32(12 * math.prod(kernel))))


def test_axes_of_one_sample(level):
    """NumPy gives an axis of one element any stride, 0 if it comes from np.newaxis."""
    for kernel, algorithm in (((1, 1), "gemm"), ((1, 1), "direct"), ((3, 1), "gemm"), ((3, 1), "direct")):
        w = data((4, 5, *kernel), seed=1)
        for x in (data((2, 5, 12))[..., np.newaxis], data((2, 5, 12))[:, :, :, np.newaxis][:, ::-1]):
            expected = _reference.conv(x, w, layout="NCHW", padding=((1, 1), (0, 0)))
            out = prefilled((2, 4, expected.shape[2]), "float32")[..., np.newaxis]
            options = {"layout": "NCHW", "padding": ((1, 1), (0, 0)), "algorithm": algorithm}
            assert_same(fastconv.conv(x, w, **options), expected)
            assert np.array_equal(fastconv.conv(x, w, out=out, **options), expected)
            check(x, w, layout="NCHW", algorithm=algorithm)
        row = data((5, 12))[np.newaxis, :, np.newaxis]
        check(row, w.transpose(0, 1, 3, 2), layout="NCHW", algorithm=algorithm)
    thin = data((1, 6, 40))
    check(thin.transpose(1, 2, 0)[np.newaxis], data((3, 6, 1, 1), seed=1), layout="NCHW", algorithm="gemm")


def test_dilation_beyond_every_array(level):
    x, w = data((4, 20)), data((3, 3), seed=1)
    assert_same(fastconv.conv(x, w, dilation=10**12, padding="same"), x * w[1, 1])


def test_subclasses_and_lists_become_plain_arrays():
    x, w = data((5, 6), "float64"), data((2, 2), "float64", 1)
    expected = fastconv.conv(x, w)

    class Array(np.ndarray):
        pass

    assert_same(fastconv.conv(x.view(Array), w.view(Array)), expected)
    assert_same(fastconv.conv(np.ma.masked_greater(x, 1), w), expected)
    assert_same(fastconv.conv(x.tolist(), w.tolist()), expected)

    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return x

    assert_same(fastconv.conv(Wrapped(), w), expected)


def test_memory_maps(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(20, 30))
    x[...] = data((20, 30))
    w = data((3, 3), seed=1)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(18, 28))
    assert fastconv.conv(np.memmap(tmp_path / "x", np.float32, "r", shape=(20, 30)), w, out=out) is out
    np.testing.assert_array_equal(out, _reference.conv(x, w))


def test_inputs_are_never_changed(level):
    for algorithm, dtype in (
        ("direct", "complex64"),
        ("direct", "int8"),
        ("gemm", "float32"),
        ("reference", "float16"),
    ):
        arrays = data((1, 2, 6, 30), dtype), data((3, 2, 2, 2), dtype, 1), data(3, dtype, 2)
        before = [array.tobytes() for array in arrays]
        x, w, bias = arrays
        options = {"layout": "NCHW", "padding": "full", "flip": True, "conj": True, "algorithm": algorithm}
        activation = "relu" if np.dtype(dtype).kind == "f" else None
        fastconv.conv(x, w, bias=bias, activation=activation, **options)
        assert [array.tobytes() for array in arrays] == before


# --- out over the inputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "uint8", "complex128", "longdouble"])
def test_out_over_x(level, dtype):
    w = data((3, 3), dtype, 1)
    overlaps = {
        "x": (lambda a: a[2:-2, 2:-2], lambda a: a[2:-2, 2:-2]),
        "reversed": (lambda a: a[2:-2, 2:-2], lambda a: a[2:-2, 2:-2][::-1, ::-1]),
        "shifted down": (lambda a: a[:-4, 2:-2], lambda a: a[1:-3, 2:-2]),
        "shifted up": (lambda a: a[2:-2, 2:-2], lambda a: a[:-4, :-4]),
        "transposed": (lambda a: a[:20, :20], lambda a: a[:20, :20].T),
    }
    for name, (as_x, as_out) in overlaps.items():
        field = data((30, 44), dtype)
        expected = _reference.conv(as_x(field), w, padding="same", boundary="wrap")
        out = as_out(field)
        assert fastconv.conv(as_x(field), w, padding="same", boundary="wrap", out=out) is out
        assert np.array_equal(out, expected), name


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1)])
def test_out_over_x_with_channels(level, kernel):
    w = data((4, 4, *kernel), seed=1)
    for algorithm in ("direct", "gemm"):
        x = data((2, 4, 9, 33))
        expected = _reference.conv(x, w, layout="NCHW", padding="same")
        fastconv.conv(x, w, layout="NCHW", padding="same", out=x, algorithm=algorithm)
        assert_same(x, expected)


def test_out_over_w_and_bias(level):
    x = data((9, 9))
    field = data((5, 5), seed=1)
    expected = _reference.conv(x, field)
    fastconv.conv(x, field, out=field)
    assert_same(field, expected)
    for algorithm in ("direct", "gemm"):
        bias, x, w = data(3, seed=2), data((2, 1)), data((3, 2, 1), seed=1)
        expected = _reference.conv(x, w, bias=bias, layout="CW")
        fastconv.conv(x, w, bias=bias, layout="CW", out=bias.reshape(3, 1), algorithm=algorithm)
        assert_same(bias.reshape(3, 1), expected)


# --- empty arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm", "reference"])
def test_empty_batches_and_channels(algorithm):
    options = {"layout": "NCHW", "algorithm": algorithm, "padding": "same"}
    for kernel in ((3, 3), (1, 1)):
        x, w = data((2, 3, 5, 6)), data((4, 3, *kernel), seed=1)
        check(x[:0], w, **options)
        check(x, w[:0], **options)
        check(x, w[:0], bias=np.zeros(0, np.float32), **options)
        check(x[:0], w[:0], **options)
        assert fastconv.conv(x[:0], w, activation="gelu", **options).shape == (0, 4, 5, 6)
        assert fastconv.plan(w, (0, 3, 5, 6), **options)(x[:0]).shape == (0, 4, 5, 6)


def test_empty_inputs_show_the_fill_value(level):
    check(np.ones((0, 3), np.float32), np.ones((2, 2), np.float32), padding="full", fill_value=7)
    check(np.ones((1, 2, 0, 5), np.float32), np.ones((3, 2, 2, 2), np.float32), padding=2, fill_value=7, layout="NCHW")


# --- the same bits ---------------------------------------------------------------------------------------------------


def many_bits(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    return (values + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else values).astype(dtype)


# Enough work for seven threads each.
LARGE = {
    "direct": ((260, 270), (21, 21), {}),
    "direct, channels": (
        (4, 12, 60, 70),
        (12, 4, 7, 7),
        {"layout": "NCHW", "groups": 3, "padding": 3, "algorithm": "direct"},
    ),
    "direct, 3-D": ((30, 40, 60), (9, 9, 9), {"padding": "same", "boundary": "reflect"}),
    "gemm": ((2, 24, 40, 50), (40, 24, 5, 5), {"layout": "NCHW", "padding": "same", "algorithm": "gemm"}),
    "gemm, pointwise": ((2, 128, 60, 60), (64, 128, 1, 1), {"layout": "NCHW", "algorithm": "gemm"}),
    "gemm, channels last": (
        (2, 40, 50, 24),
        (40, 24, 5, 5),
        {"layout": "NHWC", "stride": 2, "padding": 9, "algorithm": "gemm"},
    ),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_any_number_of_threads(name, dtype):
    x_shape, w_shape, options = LARGE[name]
    x, w = many_bits(x_shape, dtype), many_bits(w_shape, dtype, 1)
    expected = fastconv.conv(x, w, threads=1, **options)
    for threads in (2, 3, 7):
        assert_same_bits(fastconv.conv(x, w, threads=threads, **options), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "byte-swapped"])
@pytest.mark.parametrize(
    ("dtype", "algorithm"), [("float32", "direct"), ("float32", "gemm"), ("float64", "gemm"), ("complex64", "direct")]
)
def test_the_same_bits_for_any_strides(level, kind, dtype, algorithm):
    make = KINDS[kind]
    for kernel, boundary in (((3, 3), "constant"), ((1, 1), "constant"), ((4, 5), "wrap")):
        x, w = many_bits((2, 4, 9, 70), dtype), many_bits((5, 4, *kernel), dtype, 1)
        options = {"layout": "NCHW", "padding": "same", "boundary": boundary, "algorithm": algorithm}
        expected = fastconv.conv(x, w, **options)
        assert_same_bits(fastconv.conv(make(x), make(w), **options), expected)
        if kind != "read-only":
            out = make(prefilled(expected.shape, dtype))
            fastconv.conv(x, w, out=out, **options)
            assert_same_bits(np.ascontiguousarray(out, dtype), expected)


def test_the_same_bits_for_any_alignment(level):
    w = many_bits((3, 3), "float32", 1)
    field = np.empty(20 * 90 + 32, np.float32)
    expected = None
    for shift in range(20):
        x = field[shift : shift + 20 * 90].reshape(20, 90)
        x[...] = many_bits((20, 90), "float32")
        out = np.empty(18 * 88 + 32, np.float32)[shift : shift + 18 * 88].reshape(18, 88)
        fastconv.conv(x, w, out=out)
        expected = out.copy() if expected is None else expected
        assert_same_bits(out.copy(), expected)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_the_same_bits_wherever_a_window_lies(level, algorithm):
    """A crop of the result is the result of the crop: neither tails nor halos round otherwise."""
    x, w = many_bits((1, 3, 14, 90), "float32"), many_bits((7, 3, 3, 3), "float32", 1)
    options = {"layout": "NCHW", "algorithm": algorithm, "accuracy": "strict"}
    whole = fastconv.conv(x, w, **options)
    for top, left, height, width in itertools.product((0, 5), (0, 1, 9, 30), (3, 8), (3, 7, 18, 40, 55)):
        part = fastconv.conv(np.ascontiguousarray(x[:, :, top : top + height, left : left + width]), w, **options)
        assert_same_bits(part, np.ascontiguousarray(whole[:, :, top : top + height - 2, left : left + width - 2]))
    for n in (1, 2, 5):
        assert_same_bits(fastconv.conv(x, w[:n], **options), np.ascontiguousarray(whole[:, :n]))
    pair = fastconv.conv(np.concatenate([x, x]), w, **options)
    assert_same_bits(pair[1:].copy(), whole)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_the_same_bits_on_every_level_with_fused_multiply_adds(algorithm):
    x, w = many_bits((1, 5, 14, 50), "float32"), many_bits((7, 5, 3, 3), "float32", 1)
    results = {}
    for name in levels.available():
        with at_level(name):
            results[name] = fastconv.conv(x, w, layout="NCHW", padding=1, algorithm=algorithm, accuracy="strict")
    for names in (("x86_v4", "x86_v3"), ("x86_v2", "scalar")):
        present = [results[name] for name in names if name in results]
        for result in present[1:]:
            assert_same_bits(result, present[0])


@pytest.mark.parametrize("accuracy", ["default", "strict", "fast"])
def test_accuracy_allows_nothing_more_yet(accuracy):
    x, w = many_bits((1, 3, 9, 30), "float32"), many_bits((7, 3, 3, 3), "float32", 1)
    expected = fastconv.conv(x, w, layout="NCHW")
    assert_same_bits(fastconv.conv(x, w, layout="NCHW", accuracy=accuracy), expected)


# --- activations -----------------------------------------------------------------------------------------------------

FORMULAS = {
    "relu": lambda y: max(y, 0.0),
    "relu6": lambda y: min(max(y, 0.0), 6.0),
    "leaky_relu": lambda y: y if y > 0 else 0.01 * y,
    "sigmoid": lambda y: 1 / (1 + math.exp(-y)) if y > -700 else 0.0,
    "silu": lambda y: y / (1 + math.exp(-y)) if y > -700 else 0.0,
    "gelu": lambda y: y * (1 + math.erf(y / math.sqrt(2))) / 2,
    "hardswish": lambda y: y * min(max(y + 3, 0.0), 6.0) / 6,
    "tanh": math.tanh,
}


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("name", FORMULAS)
def test_activations(name, dtype):
    values = np.concatenate([np.linspace(-9, 9, 73), [0.0, -0.0, 1e-3, -1e-3, 80, -80, 200, -200]]).astype(dtype)
    actual = fastconv.conv(values, np.ones(1, dtype), activation=name)
    assert actual.dtype == values.dtype
    expected = np.array([FORMULAS[name](float(value)) for value in values])
    eps = float(np.finfo(dtype).eps) + 1e-15
    np.testing.assert_allclose(actual.astype(float), expected, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_of_extremes(name):
    limits = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min, np.nan], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = fastconv.conv(limits, np.ones(1, np.float32), activation=name)
    top = {"relu6": 6, "sigmoid": 1, "tanh": 1}.get(name)
    assert actual[0] == top if top else actual[0] > 1e38 or name == "hardswish"
    assert abs(actual[1]) <= 1 or name == "leaky_relu"
    assert np.isnan(actual[2])


@pytest.mark.parametrize("algorithm", ["direct", "gemm", "reference"])
def test_an_activation_follows_the_bias(level, algorithm):
    x, w, bias = data((2, 3, 5, 20)), data((4, 3, 3, 3), seed=1), data(4, seed=2)
    plain = _reference.conv(x, w, bias=bias, layout="NCHW")
    out = prefilled(plain.shape, "float32")[..., ::-1]
    fastconv.conv(x, w, bias=bias, layout="NCHW", activation="relu", algorithm=algorithm, out=out)
    np.testing.assert_array_equal(out, np.maximum(plain, 0))
    plan = fastconv.plan(w, x.shape, bias=bias, layout="NCHW", activation="relu", algorithm=algorithm)
    np.testing.assert_array_equal(plan(x), np.maximum(plain, 0))
    assert "relu" in plan.explain()


# --- overflow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", INTEGERS)
def test_saturation(dtype):
    info = np.iinfo(dtype)
    x, w, bias = data((2, 6, 25), dtype), data((3, 2, 2, 3), dtype, 1), data(3, dtype, 2)
    options = {"layout": "CHW", "padding": "full", "boundary": "constant", "fill_value": info.max}
    exact = _reference.conv(x.astype(object), w.astype(object), bias=bias.astype(object), dtype=object, **options)
    expected = np.clip(exact, info.min, info.max).astype(dtype)
    assert_same(fastconv.conv(x, w, bias=bias, overflow="saturate", **options), expected)
    out = prefilled(expected.shape, dtype)
    assert fastconv.conv(x, w, bias=bias, overflow="saturate", out=out, **options) is out
    assert_same(out, expected)
    assert not np.array_equal(fastconv.conv(x, w, bias=bias, **options), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_overflow_is_raised_only_where_there_is_one(dtype):
    info = np.iinfo(dtype)
    almost = np.array([info.max - 1, 1], dtype)
    ones = np.ones(2, dtype)
    for bias, fits in ((0, True), (1, False)):
        out = prefilled(1, dtype)
        arguments = {"bias": np.array(bias, dtype), "overflow": "raise", "out": out}
        if fits:
            assert fastconv.conv(almost, ones, **arguments).tolist() == [info.max]
        else:
            message = f"^overflow: got results from {info.max + 1} to {info.max + 1}, allowed: the range of {dtype}$"
            with pytest.raises(ConvError, match=message):
                fastconv.conv(almost, ones, **arguments)
            assert_same(out, prefilled(1, dtype))
    if info.min < 0:
        with pytest.raises(ConvError, match=f"^overflow: got results from {info.min - 1}"):
            fastconv.conv(np.array([info.min], dtype), ones[:1], bias=np.array(-1, dtype), overflow="raise")


def test_sums_beyond_64_bits():
    x = np.full(4, 2**63 - 1, np.int64)
    assert fastconv.conv(x, x, overflow="saturate").tolist() == [2**63 - 1]
    assert fastconv.conv(x, -x, overflow="saturate").tolist() == [-(2**63)]
    unsigned = np.full(4, 2**64 - 1, np.uint64)
    assert fastconv.conv(unsigned, unsigned, overflow="saturate").tolist() == [2**64 - 1]
    # The extremes are large, their sum is not.
    both = np.array([2**63 - 1, -(2**63 - 1), 5])
    assert fastconv.conv(both, [1, 1, 1], overflow="raise").tolist() == [5]
    with pytest.raises(ConvError, match="^overflow:"):
        fastconv.conv(x, x, overflow="raise")


def test_overflow_of_empty_results():
    empty = np.ones((0, 1, 4), np.int8)
    for overflow in ("saturate", "raise"):
        assert fastconv.conv(empty, np.ones((2, 1, 2), np.int8), layout="NCW", overflow=overflow).shape == (0, 2, 3)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "bool"])
@pytest.mark.parametrize("overflow", ["saturate", "raise"])
def test_only_integers_overflow(dtype, overflow):
    with pytest.raises(ConvTypeError, match=f"^overflow: got '{overflow}' with dtype {dtype}, allowed: "):
        fastconv.conv(np.ones(3, dtype), np.ones(2, dtype), overflow=overflow)


# --- plans -----------------------------------------------------------------------------------------------------------


PLANS = {
    "direct": ((20, 33), (3, 4), {"padding": "same", "flip": True}),
    "gemm": (
        (2, 16, 9, 20),
        (40, 16, 3, 3),
        {"layout": "NCHW", "padding": 1, "bias": np.arange(40, dtype=np.float32), "accuracy": "strict"},
    ),
    "gemm, pointwise": ((2, 9, 20, 16), (40, 16, 1, 1), {"layout": "NHWC", "algorithm": "gemm"}),
    "gemm, groups": ((2, 12, 9, 20), (66, 4, 3, 2), {"layout": "NCHW", "groups": 3, "flip": True, "algorithm": "gemm"}),
    "reference": ((20, 33), (3, 4), {"algorithm": "reference", "activation": "relu"}),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_computes_what_conv_does(level, threads, name):
    x_shape, w_shape, options = PLANS[name]
    w = data(w_shape, seed=1)
    plan = fastconv.plan(w, x_shape, **options)
    assert plan.algorithm == name.split(",")[0]
    for seed in (2, 3):
        x = data(x_shape, seed=seed)
        expected = fastconv.conv(x, w, **options)
        assert_same(plan(x), expected)
        out = prefilled(expected.shape, expected.dtype)
        assert plan(x, out) is out
        assert_same(out, expected)
        again = pickle.loads(pickle.dumps(plan))
        assert_same(again(x), expected)
        assert again.explain() == plan.explain()
        assert_same(plan(in_records(x)), expected)


def test_a_plan_has_its_own_weights():
    w, bias = data((2, 3, 3, 3), seed=1), data(2, seed=2)
    x = data((1, 3, 7, 9))
    for algorithm in ("direct", "gemm", "reference"):
        plan = fastconv.plan(w, x.shape, bias=bias, layout="NCHW", algorithm=algorithm)
        expected = plan(x)
        w_before, bias_before = w.copy(), bias.copy()
        w += 1
        bias += 1
        assert_same(plan(x), expected)
        assert_same(pickle.loads(pickle.dumps(plan))(x), expected)
        w[...], bias[...] = w_before, bias_before


def test_a_plan_writes_over_its_input():
    w = data((4, 4, 1, 1), seed=1)
    x = data((1, 4, 6, 7))
    plan = fastconv.plan(w, x.shape, layout="NCHW")
    expected = plan(x)
    assert plan(x, out=x) is x
    assert_same(x, expected)


def test_dtypes_of_a_plan():
    w = data((3, 3), "float32")
    assert fastconv.plan(w, (9, 9))(data((9, 9), "float32")).dtype == np.float32
    assert fastconv.plan(w, (9, 9), x_dtype="float64")(data((9, 9), "float64")).dtype == np.float64
    assert fastconv.plan(w, (9, 9), x_dtype="i8")(data((9, 9), "int64") % 5).dtype == np.float64
    assert fastconv.plan(w, (9, 9), dtype="complex64")(data((9, 9), "float32")).dtype == np.complex64
    swapped = fastconv.plan(w, (9, 9), x_dtype=">f4")
    assert_same(swapped(data((9, 9), ">f4")), fastconv.conv(data((9, 9)), w))


def test_a_plan_refuses_what_it_was_not_made_for():
    plan = fastconv.plan(data((3, 3)), (9, 10))
    out = prefilled((7, 8), "float32")
    with pytest.raises(ConvError, match=r"^x: got shape \(9,\), allowed: 2 axes, such as \(9, 10\), .* shape \(3, 3\)"):
        plan(data(9), out)
    with pytest.raises(ConvError, match=r"^w: got a window of 3 samples .* at most the 2 samples"):
        plan(data((2, 10)), out)
    with pytest.raises(ConvTypeError, match="^x: got dtype float64, allowed: float32"):
        plan(data((9, 10), "float64"), out)
    with pytest.raises(ConvTypeError, match="^x: got dtype object, allowed"):
        plan(None, out)
    assert_same(out, prefilled((7, 8), "float32"))
    with pytest.raises(ConvError, match=r"^out: got shape \(8, 7\), allowed: \(7, 8\)"):
        plan(data((9, 10)), out.T)
    with pytest.raises(ConvTypeError, match="^out: got dtype float64, allowed: float32"):
        plan(data((9, 10)), out.astype(float))
    with pytest.raises(ConvError, match="^out: got a read-only array"):
        plan(data((9, 10)), read_only(out))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"out": np.zeros(3)}, ConvTypeError, r"^plan: got the keywords \['out'\]"),
        ({"overflow": "raise"}, ConvTypeError, r"^plan: got the keywords \['overflow'\]"),
        ({"strides": 2, "pad": 1}, ConvTypeError, r"^plan: got the keywords \['pad', 'strides'\]"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
        ({"threads": "2"}, ConvTypeError, "^threads: got '2'"),
        ({"x_shape": (1, 9)}, ConvError, "^w: got a window of 3"),
        ({"x_shape": (9,)}, ConvError, "^w: got 2 axes"),
        ({"x_shape": (9, -1)}, ConvError, "^x_shape: got -1"),
        ({"x_shape": (9, 9.0)}, ConvTypeError, "^x_shape: got 9.0"),
        ({"x_shape": 9}, ConvTypeError, "^x_shape: got 9"),
        ({"x_shape": (2**40, 2**40)}, ConvError, "^x"),
        ({"x_shape": (2**62, 2**62, 2**62)}, ConvError, "^x_shape: "),
        ({"x_dtype": "object"}, ConvTypeError, "^x"),
        ({"x_dtype": "nonsense"}, ConvTypeError, "^x_dtype: got 'nonsense'"),
        ({"w": [[None]]}, ConvTypeError, "^w: got dtype object"),
    ],
)
def test_plans_that_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastconv.plan(**{"w": data((3, 3)), "x_shape": (9, 9)} | arguments)


def test_flops():
    assert fastconv.plan(data((3, 3)), (10, 10)).flops == 2 * 9 * 64
    assert fastconv.plan(data((3, 3), "complex64"), (10, 10)).flops == 8 * 9 * 64
    layer = fastconv.plan(data((8, 2, 3, 3)), (5, 4, 10, 10), layout="NCHW", groups=2, stride=2, padding=1)
    assert layer.flops == 2 * (2 * 9) * (5 * 8 * 5 * 5)


def test_explanations():
    plan = fastconv.plan(data((40, 16, 3, 3)), (1, 16, 20, 20), layout="NCHW")
    text = plan.explain()
    for words in (
        "float32 1 x 1 groups x 16 -> 40 channels",
        "kernel 3 x 3",
        "(1, 40, 18, 18)",
        f"algorithm: {plan.algorithm}, level: {levels.current()}",
        f"workspace: {plan.workspace_bytes} bytes",
        f"work: {plan.flops} flops",
        "passed over: direct, lanes = columns: ",
        "passed over: reference: ",
    ):
        assert words in text
    assert text in repr(plan)


def test_why_an_algorithm_was_passed_over():
    assert "gemm: no channels" in fastconv.plan(data((3, 3)), (9, 9)).explain()
    layer = {"x_shape": (1, 4, 9, 9), "layout": "NCHW"}
    assert "gemm: no kernel for int8" in fastconv.plan(data((4, 4, 3, 3), "int8"), **layer).explain()
    for dtype in ("longdouble", "clongdouble"):
        plan = fastconv.plan(data((4, 4, 3, 3), dtype), **layer)
        assert plan.algorithm == "reference"
        assert (
            f"direct: no kernel for {dtype}".replace("clongdouble", "complex256").replace("longdouble", "float128")
            in plan.explain()
        )


def test_workspace_is_small_whatever_the_image():
    for size in (64, 1024, 8192):
        plan = fastconv.plan(data((9, 9)), (size, size), padding="same")
        assert 0 < plan.workspace_bytes <= 4 * 2**20
        plan = fastconv.plan(data((256, 256, 3, 3)), (1, 256, size, size), padding=1, layout="NCHW")
        assert 0 < plan.workspace_bytes <= 4 * 2**20


@pytest.mark.parametrize("name", ["direct", "gemm"])
def test_max_workspace(name):
    x_shape, w_shape, options = PLANS[name]
    x, w = data(x_shape), data(w_shape, seed=1)
    needed = fastconv.plan(w, x_shape, **options).workspace_bytes
    assert fastconv.plan(w, x_shape, max_workspace=needed, **options).algorithm == name
    expected = fastconv.conv(x, w, **options)
    most = fastconv.plan(w, x_shape, algorithm="reference", **options).workspace_bytes
    small = options | {"algorithm": "reference", "max_workspace": most}
    assert_same(fastconv.plan(w, x_shape, **small)(x), expected)
    for function in (fastconv.plan, lambda w, shape, **options: fastconv.conv(np.zeros(shape, w.dtype), w, **options)):
        with pytest.raises(ConvError, match=r"^max_workspace: got 0, allowed: at least \d+ bytes"):
            function(w, x_shape, max_workspace=0, **options)
    forced = options | {"algorithm": name}
    with pytest.raises(ConvError, match=f"^algorithm: got '{name}', which refuses: needs {needed} bytes"):
        fastconv.conv(x, w, max_workspace=needed - 1, **forced)


def test_algorithms_that_cannot_serve_say_why():
    with pytest.raises(ConvError, match="^algorithm: got 'gemm', which refuses: no channels"):
        fastconv.conv(data((5, 5)), data((3, 3)), algorithm="gemm")
    with pytest.raises(ConvError, match="^algorithm: got 'gemm', which refuses: no kernel for complex64"):
        fastconv.conv(data((1, 5), "complex64"), data((1, 1, 3), "complex64"), layout="CW", algorithm="gemm")
    with pytest.raises(ConvError, match="^algorithm: got 'direct', which refuses: no kernel for float128"):
        fastconv.conv(data((5, 5), "longdouble"), data((3, 3)), algorithm="direct")


# --- properties ------------------------------------------------------------------------------------------------------

PROPERTY = settings(max_examples=60, deadline=None)
EXACT = ("float32", "float64", "complex64", "int8", "uint32", "int64")


def without_bias(options):
    return options | {"bias": None, "fill_value": 0}


@PROPERTY
@given(problems(EXACT, (1, 2, 3)), LEVELS)
def test_linearity(problem, level):
    x, w, options = problem
    options = without_bias(options)
    other = data(x.shape, x.dtype, 99)
    with at_level(level):
        total = fastconv.conv(x + other, w, **options)
        assert_same(total, fastconv.conv(x, w, **options) + fastconv.conv(other, w, **options))
        both = fastconv.conv(x, w + w, **options)
        assert_same(both, fastconv.conv(x, w, **options) * both.dtype.type(2))


@PROPERTY
@given(problems(EXACT, (1, 2, 3)), LEVELS)
def test_convolution_is_correlation_with_the_reversed_kernel(problem, level):
    x, w, options = problem
    rank = w.ndim - 2 * ("layout" in options)
    reverse = (..., *[slice(None, None, -1)] * rank)
    with at_level(level):
        actual = fastconv.conv(x, w, **options | {"flip": True})
        assert_same(actual, fastconv.conv(x, w[reverse], **options | {"flip": False}))


@PROPERTY
@given(problems(EXACT, (1, 2, 3), layouts=False), LEVELS, st.integers(0, 9))
def test_shifts(problem, level, shift):
    """A circular shift of the input is one of the output."""
    x, w, _ = problem
    options = {"padding": "same", "boundary": "wrap"}
    with at_level(level):
        shifted = fastconv.conv(np.roll(x, shift, -1), w, **options)
        assert_same(shifted, np.roll(fastconv.conv(x, w, **options), shift, -1))


@PROPERTY
@given(problems(EXACT, (1, 2, 3), layouts=False), LEVELS, st.sampled_from(BOUNDARIES))
def test_identity(problem, level, boundary):
    x, w, _ = problem
    one = np.zeros([size | 1 for size in w.shape], w.dtype)
    one[tuple(size // 2 for size in one.shape)] = 1
    with at_level(level):
        assert_same(fastconv.conv(x, one, padding="same", boundary=boundary), x)


@PROPERTY
@given(problems(EXACT, (2, 3), layouts=False), LEVELS)
def test_outer_products_are_passes_along_the_axes(problem, level):
    x, w, _ = problem
    parts = [
        w.reshape(-1)[:size].reshape([-1 if i == axis else 1 for i in range(w.ndim)])
        for axis, size in enumerate(w.shape)
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole * part
    with at_level(level):
        expected = fastconv.conv(x, whole, padding="full", boundary="symmetric")
        step = x
        for axis, part in enumerate(parts):
            pads = [(part.shape[axis] - 1,) * 2 if i == axis else (0, 0) for i in range(w.ndim)]
            step = fastconv.conv(step, part, padding=pads, boundary="symmetric")
    assert_same(step, expected)


@PROPERTY
@given(problems(EXACT, (1, 2), layouts=False), LEVELS)
def test_operands_commute_in_full_convolutions(problem, level):
    x, w, _ = problem
    with at_level(level):
        options = {"padding": "full", "flip": True, "accuracy": "strict"}
        assert_same(fastconv.conv(x, w, **options), fastconv.conv(w, x, **options))


def test_complex_is_four_real_convolutions(level):
    for dtype in COMPLEXES:
        x, w = data((9, 40), dtype), data((3, 3), dtype, 1)
        real = fastconv.conv(x.real, w.real) - fastconv.conv(x.imag, w.imag)
        imag = fastconv.conv(x.real, w.imag) + fastconv.conv(x.imag, w.real)
        actual = fastconv.conv(x, w)
        np.testing.assert_array_equal(actual.real, real)
        np.testing.assert_array_equal(actual.imag, imag)
        assert_same(fastconv.conv(x, w, conj=True), fastconv.conv(x, w.conj()))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex128"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_volumes_whose_outputs_share_planes(level, threads, dtype, boundary):
    """Planes of a packed tile make room for the next ones: in every place, between planes outside and inside."""
    for depth, taps, pads in ((9, 3, (1, 1)), (5, 4, (6, 2)), (1, 3, (2, 3)), (12, 2, (0, 0)), (7, 5, (-1, 4))):
        x, w = data((depth, 11, 70), dtype), data((taps, 3, 3), dtype, seed=1)
        padding, options = (pads, (1, 1), (1, 0)), {"boundary": boundary, "fill_value": 3, "flip": True}
        expected = _reference.conv(x, w, padding=padding, **options)
        assert_same(fastconv.conv(x, w, padding=padding, algorithm="direct", **options), expected)
        assert_same(fastconv.conv(x, w, padding=padding, accuracy="strict", **options), expected)


def test_volumes_of_channels_share_planes(level, threads):
    x = data((2, 6, 8, 9, 40))
    for groups in (1, 2, 6):
        w = data((12, 6 // groups, 3, 3, 3), seed=1)
        for options in (
            {},
            {"stride": (1, 2, 1)},
            {"dilation": (1, 2, 1)},
            {"stride": (2, 1, 1)},
            {"dilation": (2, 1, 1)},
        ):
            options = {"layout": "NCDHW", "groups": groups, "padding": 1, **options}
            assert_same(fastconv.conv(x, w, algorithm="direct", **options), _reference.conv(x, w, **options))
