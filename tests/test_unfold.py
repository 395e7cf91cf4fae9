"""im2col, col2im, nn.unfold and nn.fold against loops, against each other, and against torch."""

import inspect
import itertools

import numpy as np
import pytest
from _guard import Fence
from _naive import _lookup
from _tools import BOUNDARIES, DTYPES, assert_same, data, prefilled
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, ConvTypeError, nn
from fastconv.nn import _unfold


def outputs_of(sizes, kernel, stride, dilation, pads):
    return [
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, k, s, d, pad in zip(sizes, kernel, stride, dilation, pads, strict=True)
    ]


def windows_by_loops(x, kernel, *, stride, dilation, pads, boundary, fill=0):
    """Return the windows of x (N, C, *spatial), element by element."""
    sizes = x.shape[2:]
    outs = outputs_of(sizes, kernel, stride, dilation, pads)
    result = np.full((*x.shape[:2], *kernel, *outs), fill, x.dtype)
    for tap in itertools.product(*map(range, kernel)):
        for at in itertools.product(*map(range, outs)):
            seen = [
                _lookup(at[i] * stride[i] - pads[i][0] + tap[i] * dilation[i], sizes[i], 1, boundary[i])
                for i in range(len(sizes))
            ]
            if "fill" not in seen:
                result[(slice(None), slice(None), *tap, *at)] = x[(slice(None), slice(None), *seen)]
    return result


def sums_by_loops(windows, sizes, *, stride, dilation, pads, boundary):
    """Return the adjoint of `windows_by_loops`, in Python numbers."""
    rank = len(sizes)
    kernel, outs = windows.shape[2 : 2 + rank], windows.shape[2 + rank :]
    result = np.zeros((*windows.shape[:2], *sizes), object)
    for tap in itertools.product(*map(range, kernel)):
        for at in itertools.product(*map(range, outs)):
            seen = [
                _lookup(at[i] * stride[i] - pads[i][0] + tap[i] * dilation[i], sizes[i], 1, boundary[i])
                for i in range(rank)
            ]
            if "fill" not in seen:
                result[(slice(None), slice(None), *seen)] += windows[(slice(None), slice(None), *tap, *at)].astype(
                    object
                )
    return result


def wrapped(sums, dtype):
    """Return sums of Python numbers as a dtype keeps them."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return (sums % 2 ** (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").astype(dtype)
    return sums.astype(dtype)


# The sizes of one example for each rank: samples, kernel, stride, dilation, pads.
CASES = [
    ((7,), (3,), (1,), (1,), ((0, 0),)),
    ((7,), (3,), (2,), (2,), ((3, 1),)),
    ((2,), (2,), (1,), (1,), ((5, 6),)),
    ((5, 6), (3, 2), (1, 1), (1, 1), ((1, 1), (1, 0))),
    ((5, 6), (2, 3), (2, 1), (1, 2), ((-1, 2), (3, -2))),
    ((4, 5), (1, 1), (1, 2), (1, 1), ((0, 0), (0, 0))),
    ((4, 3), (3, 3), (3, 1), (1, 1), ((4, 4), (2, 5))),
    ((3, 4, 5), (2, 2, 3), (1, 2, 2), (2, 1, 1), ((1, 0), (0, 2), (1, 1))),
    ((2, 3, 2, 4), (2, 1, 2, 2), (1, 1, 1, 2), (1, 1, 1, 1), ((0, 1), (1, 1), (0, 0), (2, 0))),
]
cases = pytest.mark.parametrize("case", CASES, ids=str)


def named(case, boundary):
    _, _, stride, dilation, pads = case
    return {"stride": stride, "dilation": dilation, "padding": pads, "boundary": boundary}


def expected_windows(x, case, boundary, fill=0):
    _, kernel, stride, dilation, pads = case
    names = (boundary,) * len(kernel)
    return windows_by_loops(x, kernel, stride=stride, dilation=dilation, pads=pads, boundary=names, fill=fill)


def expected_sums(windows, case, boundary):
    sizes, _, stride, dilation, pads = case
    names = (boundary,) * len(sizes)
    sums = sums_by_loops(windows, sizes, stride=stride, dilation=dilation, pads=pads, boundary=names)
    return wrapped(sums, windows.dtype)


def layout_of(rank):
    return "NC" + "abcd"[:rank]


# --- the four functions against loops --------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_all_geometries(case, boundary):
    sizes, kernel = case[:2]
    x = data((2, 3, *sizes), "int32")
    options = named(case, boundary)
    windows = expected_windows(x, case, boundary)
    layout = layout_of(len(sizes))
    assert_same(fastconv.im2col(x, kernel, layout=layout, **options), windows)
    out = prefilled(windows.shape, windows.dtype)
    assert fastconv.im2col(x, kernel, layout=layout, out=out, **options) is out
    assert_same(out, windows)
    columns = windows.reshape(2, 3 * np.prod(kernel), -1)
    values = data(windows.shape, "int32", 1)
    sums = expected_sums(values, case, boundary)
    assert_same(fastconv.col2im(values, x.shape, layout=layout, **options), sums)
    # Once the long way, once as calls made before.
    for _ in range(2):
        assert_same(nn.unfold(x, kernel, **options), columns)
        assert_same(nn.unfold(x[0], kernel, **options), columns[0])
        assert_same(nn.fold(values.reshape(columns.shape), sizes, kernel, **options), sums)
        assert_same(nn.fold(values.reshape(columns.shape)[0], sizes, kernel, **options), sums[0])


@pytest.mark.parametrize(
    "dtype", [*DTYPES, ">i4", ">c8", "S3", "U2", "M8[s]", "O", [("a", "i1"), ("b", "i4")], "V16"], ids=str
)
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_windows_of_any_dtype(case, dtype):
    sizes, kernel = case[:2]
    numbers = data((2, 3, *sizes), "int8")
    dtype = np.dtype(dtype)
    if dtype.kind == "V":
        x = np.frombuffer(np.resize(numbers, numbers.size * dtype.itemsize).tobytes(), dtype).reshape(numbers.shape)
    else:
        x = numbers.astype(dtype)
    for boundary in ("constant", "symmetric"):
        fill = np.zeros((), dtype)[()] if dtype.kind != "O" else 0
        expected = expected_windows(x, case, boundary, fill)
        windows = fastconv.im2col(x, kernel, layout=layout_of(len(sizes)), fill_value=fill, **named(case, boundary))
        assert windows.dtype == x.dtype
        np.testing.assert_array_equal(windows, expected)
        for _ in range(2):
            columns = nn.unfold(x, kernel, **named(case, boundary))
            assert columns.dtype == x.dtype.newbyteorder("=")
            np.testing.assert_array_equal(columns, expected.reshape(columns.shape))


def test_strings_of_different_lengths_are_told_apart():
    for text in ("a", "bc", "defg", "b"):
        x = np.full((1, 1, 2, 2), text)
        for _ in range(2):
            assert_same(nn.unfold(x, 1, padding=((0, 1), (0, 0))), np.array([[[text] * 4 + [""] * 2]]))


@pytest.mark.parametrize("dtype", [*DTYPES, ">i2", ">f8", "O", "m8[s]"])
@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[7]], ids=str)
@pytest.mark.parametrize("boundary", ["constant", "reflect"])
def test_sums_of_any_dtype(case, dtype, boundary):
    sizes, kernel, *geometry = case
    # Python's numbers and times do not wrap where four bytes do.
    numbers = "i8" if dtype in ("O", "m8[s]") else np.dtype(dtype).newbyteorder("=")
    windows = data((2, 2, *kernel, *outputs_of(sizes, kernel, *geometry)), numbers)
    windows = windows // 2**8 if dtype in ("O", "m8[s]") else windows
    expected = expected_sums(windows, case, boundary).astype(dtype)
    windows = windows.astype(dtype)
    actual = fastconv.col2im(windows, (2, 2, *sizes), layout=layout_of(len(sizes)), **named(case, boundary))
    assert_same(actual, expected.astype(np.dtype(dtype).newbyteorder("=")))
    columns = windows.reshape(2, 2 * np.prod(kernel), -1)
    for _ in range(2):
        assert_same(nn.fold(columns, sizes, kernel, **named(case, boundary)), actual)


def test_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = data((2, 3, 5, 6)).astype(bfloat16)
    columns = nn.unfold(x, 3, padding=1)
    assert columns.dtype == bfloat16
    np.testing.assert_array_equal(columns.astype("f4"), nn.unfold(x.astype("f4"), 3, padding=1))
    # 256 + 1 is 256 in bfloat16.
    pads = {"padding": ((19, 0), (19, 0)), "boundary": "edge"}
    sums = nn.fold(np.ones((2, 400, 1), bfloat16), (1, 1), 20, **pads)
    assert sums.dtype == bfloat16
    assert sums.astype("f4").tolist() == [[[[400.0]]]] * 2
    windows = np.ones((20, 20, 1, 1), bfloat16)
    assert fastconv.col2im(windows, (1, 1), **pads).astype("f4").tolist() == [[400.0]]


def test_halves_are_summed_in_floats():
    # 2048 + 1 is 2048 in float16.
    columns = np.ones((1, 4096, 1), np.float16)
    edge = nn.fold(columns, (1, 1), 64, padding=((63, 0), (63, 0)), boundary="edge")
    assert_same(edge, np.full((1, 1, 1, 1), 4096, np.float16))


def test_sums_beyond_the_range_make_no_noise():
    for dtype in ("float16", "float32", "longdouble"):
        most = np.finfo(dtype).max
        columns = np.full((1, 4, 1), most, dtype)
        assert_same(
            nn.fold(columns, (1, 1), 2, padding=((1, 0), (1, 0)), boundary="edge"), np.full((1, 1, 1, 1), np.inf, dtype)
        )
    assert_same(nn.fold(np.full((1, 4, 1), 200, np.uint8), (2, 2), 2), np.full((1, 1, 2, 2), 200, np.uint8))


# --- im2col and col2im -----------------------------------------------------------------------------------------------


def test_what_needs_no_padding_is_a_view():
    x = data((2, 3, 6, 7))
    for options in ({}, {"stride": 2}, {"dilation": 2}, {"padding": -1}, {"padding": ((-1, 0), (0, -2))}):
        windows = fastconv.im2col(x, (2, 3), layout="NCHW", **options)
        assert np.shares_memory(windows, x)
        assert not windows.flags.writeable
    padded = fastconv.im2col(x, (2, 3), layout="NCHW", padding=1)
    assert not np.shares_memory(padded, x)
    assert not padded.flags.writeable
    # As large as the padded input, not as all windows.
    spanned = sum((n - 1) * step for n, step in zip(padded.shape, padded.strides, strict=True)) + padded.itemsize
    assert spanned == 2 * 3 * 8 * 9 * 4


def test_a_view_shows_what_is_written_later():
    x = np.arange(5)
    windows = fastconv.im2col(x, 2)
    x[1] = 9
    assert_same(np.ascontiguousarray(windows), np.array([[0, 9, 2, 3], [9, 2, 3, 4]]))


def test_windows_are_what_a_convolution_multiplies(level):
    x, w = data((2, 4, 7, 9), "int64"), data((6, 4, 2, 3), "int64", 1)
    options = {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 2), (0, 3)), "boundary": "wrap", "layout": "NCHW"}
    windows = fastconv.im2col(x, (2, 3), **options)
    assert_same(np.einsum("ocij,ncijhw->nohw", w, windows), fastconv.conv(x, w, **options))


@pytest.mark.parametrize(
    ("layout", "order"),
    [
        ("NHWC", (0, 2, 3, 1)),
        ("CNHW", (1, 0, 2, 3)),
        ("HWNC", (2, 3, 0, 1)),
        ("HNWC", (2, 0, 3, 1)),
        ("NCHW", (0, 1, 2, 3)),
    ],
)
def test_layouts(layout, order):
    x = data((2, 3, 5, 6))
    expected = fastconv.im2col(x, (2, 3), layout="NCHW", padding=1, stride=2)
    given = np.ascontiguousarray(x.transpose(order))
    windows = fastconv.im2col(given, (2, 3), layout=layout, padding=1, stride=2)
    assert_same(np.ascontiguousarray(windows), np.ascontiguousarray(expected))
    out = prefilled(expected.shape, "f4")
    assert_same(fastconv.im2col(given, (2, 3), layout=layout, padding=1, stride=2, out=out), expected)
    sums = fastconv.col2im(expected, x.shape, layout="NCHW", padding=1, stride=2)
    actual = fastconv.col2im(expected, given.shape, layout=layout, padding=1, stride=2)
    assert actual.flags.c_contiguous
    assert_same(actual, np.ascontiguousarray(sums.transpose(order)))


def test_axes_that_are_not_there():
    x = data((2, 3, 5, 6))
    whole = fastconv.im2col(x, 2, layout="NCHW", padding=1)
    assert_same(fastconv.im2col(x[0], 2, layout="CHW", padding=1), whole[0])
    assert_same(fastconv.im2col(x[:, 0], 2, layout="NHW", padding=1), whole[:, 0])
    assert_same(fastconv.im2col(x[0, 0], 2, padding=1), whole[0, 0])
    sums = fastconv.col2im(whole, x.shape, layout="NCHW", padding=1)
    assert_same(fastconv.col2im(whole[0], (3, 5, 6), layout="CHW", padding=1), sums[0])
    assert_same(fastconv.col2im(whole[:, 0], (2, 5, 6), layout="NHW", padding=1), sums[:, 0])
    assert_same(fastconv.col2im(whole[0, 0], (5, 6), padding=1), sums[0, 0])
    out = prefilled(whole[0, 0].shape, "f4")
    assert_same(fastconv.im2col(x[0, 0], 2, padding=1, out=out), whole[0, 0])


def test_paddings_of_conv():
    x = np.arange(1, 8)
    assert_same(fastconv.im2col(x, 3, padding="valid"), fastconv.im2col(x, 3))
    assert_same(fastconv.im2col(x, 3, padding="full"), fastconv.im2col(x, 3, padding=2))
    assert_same(fastconv.im2col(x, 4, padding="same"), fastconv.im2col(x, 4, padding=((2, 1),)))
    assert_same(fastconv.im2col(x, 4, padding="same", center="right"), fastconv.im2col(x, 4, padding=((1, 2),)))
    assert_same(fastconv.im2col(x, 4, padding="same", stride=3), fastconv.im2col(x, 4, padding=((2, 1),), stride=3))
    windows = fastconv.im2col(x, 4, padding="same", stride=3)
    assert_same(
        fastconv.col2im(windows, (7,), padding="same", stride=3),
        fastconv.col2im(windows, (7,), padding=((2, 1),), stride=3),
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex128", "O"])
def test_fill_values(dtype):
    x = data((2, 3, 4, 5), "int8").astype(dtype)
    case = ((4, 5), (3, 2), (1, 2), (1, 1), ((1, 2), (2, 0)))
    expected = expected_windows(x, case, "constant", 7)
    windows = fastconv.im2col(x, (3, 2), layout="NCHW", fill_value=7, **named(case, "constant"))
    assert_same(windows, expected)
    out = np.empty_like(expected)
    assert_same(fastconv.im2col(x, (3, 2), layout="NCHW", fill_value=7, out=out, **named(case, "constant")), expected)


def test_a_negative_zero_is_a_fill_value():
    for out in (None, np.ones((3, 1))):
        windows = fastconv.im2col([1.0], 3, padding=1, fill_value=-0.0, out=out)
        assert np.signbit(windows).tolist() == [[True], [False], [True]]


def test_adjoints():
    """<im2col(x), y> = <x, col2im(y)>, exactly."""
    for case, boundary in itertools.product(CASES, BOUNDARIES):
        sizes, kernel, *geometry = case
        x = data((2, 3, *sizes), "int64", most=9) % 100
        y = data((2, 3, *kernel, *outputs_of(sizes, kernel, *geometry)), "int64", 1) % 100
        options = named(case, boundary) | {"layout": layout_of(len(sizes))}
        left = (fastconv.im2col(x, kernel, **options) * y).sum()
        assert left == (x * fastconv.col2im(y, x.shape, **options)).sum()


# --- arrays of any kind ----------------------------------------------------------------------------------------------


def variants(x):
    read_only = x.copy()
    read_only.flags.writeable = False
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    gaps = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    gaps[...] = x
    backwards = x[..., ::-1].copy()[..., ::-1]
    return read_only, shifted, gaps, backwards, np.asfortranarray(x), x.astype(x.dtype.newbyteorder(">"))


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "float32", "float64", "complex128", "float16", "bool", "longdouble"]
)
def test_arrays_of_any_kind(dtype):
    x = data((2, 3, 5, 6), dtype)
    windows = np.ascontiguousarray(fastconv.im2col(x, (2, 3), layout="NCHW", padding=1))
    columns = nn.unfold(x, (2, 3), padding=1)
    sums = nn.fold(columns, (5, 6), (2, 3), padding=1)
    for other in variants(x):
        np.testing.assert_array_equal(fastconv.im2col(other, (2, 3), layout="NCHW", padding=1), windows)
        assert_same(nn.unfold(other, (2, 3), padding=1), columns)
        out = prefilled(windows.shape, dtype)
        assert_same(fastconv.im2col(other, (2, 3), layout="NCHW", padding=1, out=out), windows)
    for other in variants(columns):
        assert_same(nn.fold(other, (5, 6), (2, 3), padding=1), sums)
    for other in variants(windows):
        assert_same(fastconv.col2im(other, x.shape, layout="NCHW", padding=1), sums)
    assert_same(
        nn.unfold(np.broadcast_to(x[:1, :1], x.shape), 2), nn.unfold(np.broadcast_to(x[:1, :1], x.shape).copy(), 2)
    )


def test_out_of_any_kind():
    x = data((2, 3, 5, 6))
    columns = nn.unfold(x, 2, padding=1)
    windows = np.ascontiguousarray(fastconv.im2col(x, 2, layout="NCHW", padding=1))
    sums = nn.fold(columns, (5, 6), 2, padding=1)
    for make in (np.asfortranarray, lambda a: a.astype(">f4"), lambda a: a[..., ::-1].copy()[..., ::-1]):
        out = make(prefilled(columns.shape, "f4"))
        assert nn.unfold(x, 2, padding=1, out=out) is out
        np.testing.assert_array_equal(out, columns)
        out = make(prefilled(windows.shape, "f4"))
        assert fastconv.im2col(x, 2, layout="NCHW", padding=1, out=out) is out
        np.testing.assert_array_equal(out, windows)
        out = make(prefilled(sums.shape, "f4"))
        assert nn.fold(columns, (5, 6), 2, padding=1, out=out) is out
        np.testing.assert_array_equal(out, sums)
        out = make(prefilled(sums.shape, "f4"))
        assert fastconv.col2im(windows, x.shape, layout="NCHW", padding=1, out=out) is out
        np.testing.assert_array_equal(out, sums)


def test_out_over_the_input():
    x = data((1, 1, 4, 9))
    expected = nn.unfold(x, 1)
    assert_same(nn.unfold(x, 1, out=x.reshape(1, 1, 36)), expected)
    expected = nn.unfold(x[..., ::-1], (2, 2), padding=((0, 1), (0, 1)))
    memory = np.zeros(4 * 36, np.float32)
    inner = memory[:36].reshape(1, 1, 4, 9)[..., ::-1]
    inner[...] = x[..., ::-1]
    assert_same(nn.unfold(inner, (2, 2), padding=((0, 1), (0, 1)), out=memory.reshape(1, 4, 36)), expected)
    columns = data((1, 4, 9))
    expected = nn.fold(columns, (6, 6), 2, stride=2)
    assert_same(nn.fold(columns, (6, 6), 2, stride=2, out=columns.reshape(1, 1, 6, 6)), expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_nothing_beyond_the_arrays_is_touched(boundary):
    """Arrays whose ends are ends of memory."""
    for dtype, shape, kernel, pads in (
        ("f4", (2, 2, 5, 6), (2, 3), ((1, 2), (2, 1))),
        ("u1", (1, 3, 4), (3,), ((2, 2),)),
        ("c16", (2, 1, 3, 4, 3), (2, 1, 3), ((0, 0), (-1, 1), (1, 0))),
    ):
        options = {"padding": pads, "boundary": boundary}
        x = data(shape, dtype)
        columns = nn.unfold(x, kernel, **options)
        sums = nn.fold(columns, shape[2:], kernel, **options)
        fences = Fence(x.nbytes), Fence(columns.nbytes)
        for side in ("first", "last"):
            inner, outer = fences[0].put(x, side), fences[1].array(columns.shape, dtype, side)
            assert_same(nn.unfold(inner, kernel, out=outer, **options), columns)
            assert_same(nn.fold(outer, shape[2:], kernel, **options), sums)


def test_threads_do_not_change_bits(threads):
    x = np.random.default_rng(0).standard_normal((4, 16, 60, 70), np.float32)
    with fastconv.num_threads(1):
        columns = nn.unfold(x, 3, padding=1, threads=1)
        sums = nn.fold(columns, (60, 70), 3, padding=1, threads=1)
    assert nn.unfold(x, 3, padding=1).tobytes() == columns.tobytes()
    assert nn.fold(columns, (60, 70), 3, padding=1).tobytes() == sums.tobytes()
    assert nn.fold(columns, (60, 70), 3, padding=1, threads=4).tobytes() == sums.tobytes()


def test_long_axes():
    """More than one share of work in one plane, and planes with nothing in them."""
    x = data(300_000, "int16")
    windows = fastconv.im2col(x, 5, padding=2)
    out = np.empty(windows.shape, windows.dtype)
    assert_same(fastconv.im2col(x, 5, padding=2, out=out, threads=2), np.ascontiguousarray(windows))
    assert_same(fastconv.col2im(windows, x.shape, padding=2)[2:-2], (5 * x[2:-2].astype(int)).astype("i2"))


# --- torch -----------------------------------------------------------------------------------------------------------


def test_signatures_are_those_of_torch():
    torch = pytest.importorskip("torch")
    for name in ("unfold", "fold"):
        ours = inspect.signature(getattr(nn, name)).parameters.values()
        theirs = inspect.signature(getattr(torch.nn.functional, name)).parameters.values()
        assert [(p.name, p.default) for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD] == [
            (p.name, p.default) for p in theirs
        ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_geometry_against_torch(draw):
    functional = pytest.importorskip("torch").nn.functional
    import torch

    take = draw.draw

    def one_or_two(low, high):
        return take(st.one_of(st.integers(low, high), st.tuples(st.integers(low, high), st.integers(low, high))))

    kernel, dilation, padding, stride = one_or_two(1, 4), one_or_two(1, 3), one_or_two(0, 3), one_or_two(1, 4)
    lead = take(st.sampled_from([(1,), (3,), (1, 1), (2, 3), (0, 2)]))
    spread = [(v, v) if isinstance(v, int) else v for v in (kernel, dilation, padding)]
    sizes = [max((k - 1) * d + 1 - 2 * p, 1) + take(st.integers(0, 6)) for k, d, p in zip(*spread, strict=True)]
    x = data((*lead, *sizes))
    options = {"dilation": dilation, "padding": padding, "stride": stride}
    expected = functional.unfold(torch.from_numpy(x), kernel, **options)
    assert_same(nn.unfold(x, kernel, **options), expected.numpy())
    columns = data(tuple(expected.shape), seed=1)
    if 0 in lead:
        # torch folds no empty batch.
        assert nn.fold(columns, sizes, kernel, **options).shape == x.shape
        return
    sums = functional.fold(torch.from_numpy(columns), sizes, kernel, **options).numpy()
    assert_same(nn.fold(columns, sizes, kernel, **options), sums)


def test_what_torch_refuses_is_refused():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, columns = data((2, 3, 5, 6)), data((2, 12, 20))
    for arguments in (
        (x, (2, 2, 2, 2)),
        (x, (3,)),
        (x, 0),
        (x, 2, 0),
        (x, 2, 1, 0, 0),
        (x, 7),
        (x, (5, 7)),
        (x, 3, 3),
        (x[:, :0], 2),
        (x[..., :0], 2),
    ):
        with pytest.raises(RuntimeError):
            functional.unfold(torch.from_numpy(arguments[0]), *arguments[1:])
        with pytest.raises(RuntimeError):
            nn.unfold(*arguments)
    for arguments in (
        (columns, (5, 5), 2),
        (columns, (5, 6), (2, 5)),
        (columns[:, :11], (5, 6), 2),
        (columns[:, :, :19], (5, 6), 2),
        (columns[0, 0], (5, 6), 2),
        (columns[None], (5, 6), 2),
        (columns, (5, 6, 7), 2),
        (columns, (5, 6), 2, 0),
        (columns, (5, 6), 2, 1, 0, 0),
        (columns, (0, 6), 2),
    ):
        with pytest.raises(RuntimeError):
            functional.fold(torch.from_numpy(arguments[0]), *arguments[1:])
        with pytest.raises(RuntimeError):
            nn.fold(*arguments)
    assert nn.fold(columns, (5, 6), 2).shape == functional.fold(torch.from_numpy(columns), (5, 6), 2).shape


# --- calls made before -----------------------------------------------------------------------------------------------


def test_second_calls_take_the_short_lane():
    x = data((2, 3, 5, 6))
    unfold_lane, fold_lane = _unfold.lanes
    unfold_lane.clear()
    columns = nn.unfold(x, 2)
    assert_same(unfold_lane.run(x, x, None, (2, 1, 0, 1, "constant"), None), columns)
    assert unfold_lane.run(x, x, None, (2, 1, 0, 2, "constant"), None) is None
    assert unfold_lane.run(x, x, None, (2.0, 1, 0, 1, "constant"), None) is None
    sums = nn.fold(columns, (5, 6), 2)
    assert_same(fold_lane.run(columns, columns, None, ((5, 6), 2, 1, 0, 1, "constant"), None), sums)
    assert fold_lane.run(columns, columns, None, ((6, 5), 2, 1, 0, 1, "constant"), None) is None


def test_remembered_calls_read_the_arrays_they_are_given():
    for dtype in ("f4", "f8", "i2", "c8", "?", "f4"):
        for x in (
            data((2, 3, 5, 6), dtype),
            data((2, 3, 5, 6), dtype, 1)[..., ::-1],
            data((2, 3, 6, 5), dtype).swapaxes(2, 3),
        ):
            columns = nn.unfold(np.ascontiguousarray(x), 2, 1, ((0, 1), (0, 0)))
            assert_same(nn.unfold(x, 2, 1, ((0, 1), (0, 0))), columns)
            back = np.asfortranarray(columns)
            assert_same(nn.fold(back, (5, 6), 2, 1, ((0, 1), (0, 0))), nn.fold(columns, (5, 6), 2, 1, ((0, 1), (0, 0))))


# --- ranks and errors ------------------------------------------------------------------------------------------------


def test_what_an_int_means():
    x = data((2, 3, 4, 5, 6))
    assert_same(nn.unfold(x, 2), nn.unfold(x, (2, 2, 2)))
    assert_same(nn.unfold(x[0], 2), nn.unfold(x[0], (2, 2)))
    assert_same(nn.unfold(x[0], (2, 2, 2)), nn.unfold(x[:1], 2)[0])
    assert_same(nn.unfold(x[0, 0], 2), nn.unfold(x[0, 0][None], 2)[0])
    assert_same(nn.unfold(x[0, 0], (2,)), nn.unfold(x[0, 0][..., None], (2, 1)))
    columns = data((2, 12, 4))
    assert_same(nn.fold(columns, 3, 2), nn.fold(columns, (3, 3), (2, 2)))
    assert_same(nn.fold(columns, (5,), 2), nn.fold(columns, 5, (2,)))


X, COLUMNS = np.ones((2, 3, 5, 6), np.float32), np.ones((2, 12, 20), np.float32)
WINDOWS = np.ones((2, 3, 2, 2, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": X[0, 0]}, ConvError, r"^input: got 2 axes of shape \(5, 6\), allowed: 4 for kernel_size 2, or 3"),
        ({"input": [[1], [1, 2]]}, ConvError, "^input: got list that makes no array"),
        ({"input": X[:, :0]}, ConvError, r"^input: got shape \(2, 0, 5, 6\), allowed: at least 1 channel"),
        ({"input": X[..., :0]}, ConvError, r"^input: got shape \(2, 3, 5, 0\)"),
        ({"kernel_size": 0}, ConvError, "^kernel_size: got 0"),
        ({"kernel_size": (2, -1)}, ConvError, "^kernel_size: got -1"),
        ({"kernel_size": ()}, ConvError, "^input: got 4 axes"),
        ({"kernel_size": 2.0}, ConvTypeError, "^kernel_size: got 2.0"),
        ({"kernel_size": (2, 2, 2, 2)}, ConvError, r"^input: got 4 axes .* allowed: 6 for kernel_size \(2, 2, 2, 2\)"),
        (
            {"kernel_size": 6},
            ConvError,
            "^kernel_size: got a window of 6 samples along spatial axis 0, allowed: .* 5 sam",
        ),
        ({"dilation": 0}, ConvError, "^dilation: got 0"),
        ({"dilation": (1, 1, 1)}, ConvError, r"^dilation: got \(1, 1, 1\)"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"stride": True}, ConvTypeError, "^stride: got True"),
        ({"padding": "same"}, ConvError, "^padding: got 'same', allowed: one int"),
        ({"padding": (1, 2, 3)}, ConvError, r"^padding: got \(1, 2, 3\)"),
        ({"padding": -6}, ConvError, r"^padding: got \(-6, -6\) along spatial axis 0"),
        ({"padding": 2**47}, ConvError, "^padding: got|^kernel_size: got windows of shape"),
        ({"boundary": "mirror"}, ConvError, "^boundary: got 'mirror'"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
        ({"out": X}, ConvError, r"^out: got shape \(2, 3, 5, 6\), allowed: \(2, 12, 20\)"),
        ({"out": COLUMNS.astype("f8")}, ConvTypeError, "^out: got dtype float64, allowed: float32"),
    ],
)
def test_refusals_of_unfold(changes, error, message):
    with pytest.raises(error, match=message):
        nn.unfold(**{"input": X, "kernel_size": 2} | changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": COLUMNS[0, 0]}, ConvError, "^input: got 1 axes"),
        ({"input": COLUMNS.astype("S1")}, ConvTypeError, "^input: got dtype .S1, allowed: dtypes whose elements"),
        ({"input": COLUMNS[:, :11]}, ConvError, "^input: got 11 rows in shape .* allowed: multiples of the 4 taps"),
        ({"input": COLUMNS[:, :0]}, ConvError, "^input: got 0 rows"),
        ({"input": COLUMNS[:, :, :19]}, ConvError, "^input: got 19 columns .* allowed: the 20 windows of output_size"),
        ({"output_size": (5, 6, 7)}, ConvError, "^input: got 12 rows in shape .* allowed: multiples of the 8 taps"),
        ({"output_size": (6, 6)}, ConvError, "^input: got 20 columns .* allowed: the 25 windows"),
        ({"output_size": (5, 0)}, ConvError, "^output_size: got 0"),
        ({"output_size": ()}, ConvError, r"^output_size: got \(\)"),
        ({"output_size": (5.0, 6)}, ConvTypeError, "^output_size: got 5.0"),
        ({"kernel_size": (2, 2, 2)}, ConvError, r"^kernel_size: got \(2, 2, 2\), allowed: .* each of 2"),
        ({"kernel_size": 7}, ConvError, "^kernel_size: got a window of 7"),
        ({"padding": "valid"}, ConvError, "^padding: got 'valid'"),
        ({"stride": -1}, ConvError, "^stride: got -1"),
        ({"boundary": ("wrap", "same")}, ConvError, "^boundary: got 'same'"),
        ({"threads": 1.5}, ConvTypeError, "^threads: got 1.5"),
        ({"out": np.ones((2, 3, 6, 5), "f4")}, ConvError, r"^out: got shape \(2, 3, 6, 5\), allowed: \(2, 3, 5, 6\)"),
    ],
)
def test_refusals_of_fold(changes, error, message):
    with pytest.raises(error, match=message):
        nn.fold(**{"input": COLUMNS, "output_size": (5, 6), "kernel_size": 2} | changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.ones(())}, ConvError, "^x: got 0 axes of shape"),
        ({"x": np.ones(()), "layout": None}, ConvError, "^x: got no axes"),
        ({"x": np.ones((1,) * 16), "layout": None}, ConvError, "^x: got 16 spatial axes"),
        ({"layout": "NCHWD"}, ConvError, r"^x: got 4 axes of shape \(2, 3, 5, 6\), allowed: 5 for layout 'NCHWD'"),
        ({"layout": "NCHH"}, ConvError, "^layout: got 'NCHH', allowed"),
        ({"layout": "NC"}, ConvError, "^layout: got 'NC', allowed"),
        ({"layout": 4}, ConvTypeError, "^layout: got 4, allowed"),
        ({"kernel_size": (1, 2, 3)}, ConvError, r"^kernel_size: got \(1, 2, 3\)"),
        ({"kernel_size": 9}, ConvError, "^kernel_size: got a window of 9"),
        ({"padding": "some"}, ConvError, "^padding: got 'some'"),
        ({"padding": 2**20, "kernel_size": 2**20}, ConvError, "^kernel_size: got windows of shape"),
        ({"padding": 2**48}, ConvError, "^padding: got"),
        ({"center": "middle"}, ConvError, "^center: got 'middle'"),
        ({"boundary": "fill"}, ConvError, "^boundary: got 'fill'"),
        ({"fill_value": "1"}, ConvTypeError, "^fill_value: got dtype <U1"),
        ({"fill_value": 1j}, ConvTypeError, "^fill_value: got 1j"),
        ({"fill_value": [1, 2]}, ConvError, "^fill_value: got"),
        ({"x": np.zeros((1, 1, 2, 2), "M8[s]"), "fill_value": "soon"}, ConvTypeError, "^fill_value: got 'soon'"),
        ({"out": []}, ConvTypeError, "^out: got list"),
        ({"out": np.broadcast_to(np.float32(0), WINDOWS.shape)}, ConvError, "^out: got a read-only"),
        ({"threads": -1}, ConvError, "^threads: got -1"),
    ],
)
def test_refusals_of_im2col(changes, error, message):
    with pytest.raises(error, match=message):
        fastconv.im2col(**{"x": X, "kernel_size": 2, "layout": "NCHW"} | changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"windows": WINDOWS[0]}, ConvError, r"^windows: got 5 axes .* allowed: 6, for x_shape \(2, 3, 5, 6\)"),
        ({"windows": WINDOWS[:, :2]}, ConvError, r"^windows: got shape .* allowed: \(2, 3, 2, 2, 4, 5\) for x_shape"),
        ({"windows": WINDOWS[..., :4]}, ConvError, r"^windows: got shape \(2, 3, 2, 2, 4, 4\), allowed"),
        ({"windows": WINDOWS[:, :, :0]}, ConvError, "^kernel_size: got 0|^windows: got"),
        ({"windows": WINDOWS.astype("M8[s]")}, ConvTypeError, "^windows: got dtype datetime64"),
        ({"x_shape": 5}, ConvTypeError, "^x_shape: got 5"),
        ({"x_shape": (2, 3, 5)}, ConvError, "^x_shape: got 3 axes"),
        ({"x_shape": (2, 3, 5, -1)}, ConvError, "^x_shape: got -1"),
        ({"x_shape": (2, 3, 1, 6)}, ConvError, "window of 2 samples along spatial axis 0"),
        ({"stride": 2}, ConvError, r"^windows: got shape .* allowed: \(2, 3, 2, 2, 2, 3\)"),
        ({"out": X[0]}, ConvError, r"^out: got shape \(3, 5, 6\)"),
    ],
)
def test_refusals_of_col2im(changes, error, message):
    with pytest.raises(error, match=message):
        fastconv.col2im(**{"windows": WINDOWS, "x_shape": X.shape, "layout": "NCHW"} | changes)


def test_empty_arrays():
    assert fastconv.im2col(np.ones((0, 3, 4, 5)), 2, layout="NCHW", padding=1).shape == (0, 3, 2, 2, 5, 6)
    assert fastconv.im2col(np.ones((2, 0, 4, 5)), 2, layout="NCHW").shape == (2, 0, 2, 2, 3, 4)
    assert_same(fastconv.im2col(np.ones(0), 2, padding=1), np.zeros((2, 1)))
    assert fastconv.im2col(np.ones(0), 1).shape == (1, 0)
    assert_same(fastconv.col2im(np.ones((2, 1)), (0,), padding=1), np.zeros(0))
    assert fastconv.col2im(np.ones((0, 3, 2, 2, 5, 6)), (0, 3, 4, 5), layout="NCHW", padding=1).shape == (0, 3, 4, 5)
    # Not as many rounds as there are rows of nothing.
    many = np.ones((1, 1, 2**40, 0))
    assert fastconv.im2col(many[0, 0], 1, out=many).shape == many.shape
    assert fastconv.col2im(many, many.shape[2:]).shape == many.shape[2:]
    assert nn.unfold(np.ones((0, 3, 4, 5)), 2).shape == (0, 12, 12)
    assert nn.fold(np.ones((0, 12, 12)), (4, 5), 2).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex128", "S3", "M8[s]"])
def test_windows_of_a_second_call(dtype):
    """The lane knows shapes and numbers of dtypes; the arrays, and what else they are, are those of the call."""
    x = np.arange(2 * 3 * 6 * 7).reshape(2, 3, 6, 7).astype("i8" if dtype.startswith("M") else dtype).astype(dtype)
    others = (x, x[::-1], np.asfortranarray(x), x[:, :, :5], x.astype(x.dtype.newbyteorder()))
    if dtype.startswith("M"):
        others = (*others, x.astype("M8[ms]"))
    if dtype.startswith("S"):
        others = (*others, x.astype("S5"))
    for options in ({}, {"stride": (2, 1)}, {"dilation": 2, "boundary": "wrap"}):
        options = {"layout": "NCHW", **options}
        for array in others * 2:
            windows = fastconv.im2col(array, (3, 2), **options)
            out = np.empty(windows.shape, array.dtype.newbyteorder("="))
            np.testing.assert_array_equal(fastconv.im2col(array, (3, 2), out=out, **options), windows)
            if np.dtype(dtype).kind in "ufc":
                sums = fastconv.col2im(windows, array.shape, **options)
                np.testing.assert_array_equal(
                    fastconv.col2im(windows, array.shape, out=np.empty_like(sums), **options), sums
                )
    padded = (
        [fastconv.im2col(x, 3, layout="NCHW", padding=1, fill_value=fill) for fill in (0, 1, 0, True)]
        if (np.dtype(dtype).kind in "fc")
        else []
    )
    for windows, corner in zip(padded, (0, 1, 0, 1), strict=False):
        assert windows[0, 0, 0, 0, 0, 0] == corner
