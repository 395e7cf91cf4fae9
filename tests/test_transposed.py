"""Transposed convolutions: the definition by scattering, the adjoint of conv, and torch where that is installed."""

import itertools

import numpy as np
import pytest
from _tools import assert_same, at_level, data, prefilled
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, ConvTypeError, _reference, nn
from fastconv._transposed import prepare
from fastconv.drivers import levels


def scattered(x, w, *, stride, dilation, pads, more, groups=1, bias=None, flip=False):
    """Add the kernel at every sample of x (batch, channels, *spatial); all options one an axis."""
    rank = x.ndim - 2
    kernel = w.shape[2:]
    if flip:
        w = np.flip(w, tuple(range(2, w.ndim)))
    spans = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(x.shape[2:], stride, kernel, dilation, strict=True)]
    whole = np.zeros(
        (x.shape[0], w.shape[1] * groups, *(span + m for span, m in zip(spans, more, strict=True))), x.dtype
    )
    each = x.shape[1] // groups
    for g, tap in itertools.product(range(groups), itertools.product(*map(range, kernel))):
        where = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, x.shape[2:], stride, strict=True)
        )
        ins, outs = slice(g * each, (g + 1) * each), slice(g * w.shape[1], (g + 1) * w.shape[1])
        whole[(slice(None), outs, *where)] += np.einsum("nc...,co->no...", x[:, ins], w[(ins, slice(None), *tap)])
    assert rank == len(pads)
    # Negative padding adds zeros.
    grown = np.pad(whole, ((0, 0), (0, 0), *((max(-lo, 0), max(-hi, 0)) for lo, hi in pads)))
    cut = tuple(slice(max(lo, 0), n - max(hi, 0)) for n, (lo, hi) in zip(grown.shape[2:], pads, strict=True))
    result = grown[(slice(None), slice(None), *cut)]
    return result if bias is None else result + bias.reshape(-1, *[1] * rank).astype(x.dtype)


@st.composite
def layers(draw):
    """Draw a shape, a kernel and the options of a transposed convolution."""
    rank = draw(st.integers(1, 3))

    def several(least, most):
        return draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank))

    groups, channels, outs = (
        draw(st.integers(1, 2)),
        draw(st.sampled_from([1, 3, 20])),
        draw(st.sampled_from([1, 5, 33])),
    )
    sizes, kernel = several(1, 9 if rank < 3 else 4), several(1, 5 if rank < 3 else 3)
    stride, dilation = several(1, 4 if rank < 3 else 2), several(1, 3)
    pads, more = [], []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        more.append(draw(st.integers(0, max(s, d) - 1)))
        span = (n - 1) * s + (k - 1) * d + 1 + more[-1]
        lo = draw(st.integers(-2, min(span - max(more[-1], 1), 6)))
        pads.append((lo, draw(st.integers(-2, min(span - 1 - max(lo, 0), 6)))))
    x_shape = (draw(st.integers(1, 2)), channels * groups, *sizes)
    return x_shape, (channels * groups, outs, *kernel), {
        "stride": stride, "dilation": dilation, "pads": pads, "more": more, "groups": groups,
        "flip": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(layers(), st.sampled_from(["float32", "float64", "int16", "complex64"]), st.booleans(), st.booleans())
def test_it_is_the_sum_of_kernels(layer, dtype, channels_last, with_bias):
    x_shape, w_shape, options = layer
    x, w = data(x_shape, dtype, 1), data(w_shape, dtype, 2)
    bias = data(w_shape[1] * options["groups"], dtype, 3) if with_bias else None
    expected = scattered(x, w, bias=bias, **options)
    letters = "DHW"[5 - x.ndim :]
    kept = {name: options[name] for name in ("stride", "dilation", "groups", "flip")}
    if channels_last:
        x, expected = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.moveaxis(expected, 1, -1)
    out = prefilled(expected.shape, dtype)
    result = fastconv.conv_transpose(
        x, w, bias=bias, layout=f"N{letters}C" if channels_last else f"NC{letters}", padding=options["pads"],
        output_padding=options["more"], out=out, **kept,
    )  # fmt: skip
    assert result is out
    # Winograd and Fourier transforms round.
    assert_same(np.rint(result).astype(dtype) if np.dtype(dtype).kind in "fc" else result, expected)


@settings(max_examples=40, deadline=None)
@given(layers(), st.booleans())
def test_it_is_the_adjoint_of_conv(layer, conj):
    x_shape, w_shape, options = layer
    kept = {name: options[name] for name in ("stride", "dilation", "groups", "flip")}
    kept |= {"padding": options["pads"], "layout": "NC" + "DHW"[5 - len(x_shape) :], "dtype": "complex128"}
    kept["accuracy"] = "strict"  # sums of whole numbers, which are exact
    y, w = data(x_shape, "complex128", 1), data(w_shape, "complex128", 2)
    try:
        back = fastconv.conv_transpose(y, w, output_padding=options["more"], conj=not conj, **kept)
    except ConvError as error:
        # All that conv would read lies in its padding.
        assert "to cut off less" in str(error)
        return
    x = data(back.shape, "complex128", 3)
    try:
        forward = fastconv.conv(x, w, conj=conj, **kept)
    except ConvError:
        return
    # The output padding may be more than the samples that conv leaves over.
    if forward.shape == y.shape:
        assert np.vdot(back, x) == np.vdot(y, forward)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tile(level, threads, dtype):
    for channels, outs, size, kernel, stride in (
        (5, 40, (9, 33), (4, 4), (2, 2)),
        (17, 32, (20, 15), (3, 3), (2, 2)),
        (3, 70, (3, 70), (2, 2), (2, 2)),
        (2, 9, (7, 6), (5, 3), (3, 4)),
        (4, 33, (5, 140), (3, 5), (1, 2)),
        (4, 33, (9, 8), (3, 3), (2, 1)),
        (40, 3, (6, 5), (1, 1), (2, 3)),
    ):
        x, w, bias = data((2, channels, *size), dtype), data((channels, outs, *kernel), dtype, 1), data(outs, dtype, 2)
        expected = scattered(
            x,
            w,
            bias=bias,
            stride=stride,
            dilation=(1, 1),
            pads=[(1, 0), (0, 1)],
            more=[1, 0] if stride[0] > 1 else [0, 0],
        )
        options = {"stride": stride, "padding": ((1, 0), (0, 1)), "output_padding": (1, 0) if stride[0] > 1 else 0}
        for layout, order in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1)), ("NHCW", (0, 2, 1, 3))):
            out = prefilled(expected.transpose(order).shape, dtype)
            given_x = np.ascontiguousarray(x.transpose(order))
            fastconv.conv_transpose(given_x, w, bias=bias, layout=layout, out=out, **options)
            np.testing.assert_array_equal(np.rint(out), expected.transpose(order))


def test_the_same_bits_for_any_number_of_threads(level):
    x, w = data((3, 20, 17, 19)) / 7, data((20, 50, 3, 3), seed=1) / 3
    options = {"layout": "NCHW", "stride": 2, "padding": 1, "output_padding": 1}
    results = [fastconv.conv_transpose(x, w.astype("f4"), threads=n, **options).tobytes() for n in (1, 2, 5)]
    assert len(set(results)) == 1


def test_no_zero_is_multiplied():
    # An infinite weight times a zero that nobody put in would be NaN.
    w = np.full((1, 4, 2, 2), np.inf, np.float32)
    assert np.isinf(fastconv.conv_transpose(np.ones((1, 3, 3), np.float32), w, layout="CHW", stride=2)).all()


def test_explain_tells_the_phases():
    for channels, word in ((16, "gemm of 2 x 2 phases"), (1, "phases")):
        w = np.ones((channels, channels, 4, 4), np.float32)
        schedule, _ = prepare(
            np.ones((1, channels, 16, 16), np.float32), w, layout="NCHW", stride=2, dilation=1, groups=1, padding=1,
            output_padding=0,
        )  # fmt: skip
        assert schedule.algorithm == "phases"
        assert word in schedule.explain()
    for options, why in (
        ({"fill_value": 1, "padding": 1}, "not zero"),
        ({"boundary": "wrap", "padding": 1}, "not zero"),
    ):
        plan = fastconv.plan(np.ones((3, 3), np.float32), (9, 9), input_dilation=2, **options)
        assert f"phases: what surrounds the samples is {why}" in plan.explain()
    assert "more than 256" in fastconv.plan(np.ones((3, 3), np.float32), (9, 9), input_dilation=99).explain()


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_plans_hold_packed_weights(level, threads, dtype):
    x, w, bias = data((2, 6, 10, 11), dtype), data((40, 6, 3, 4), dtype, 1), data(40, dtype, 2)
    options = {"layout": "NCHW", "input_dilation": (2, 3), "dilation": (1, 2), "padding": 3}
    expected = _reference.conv(x, w, bias=bias, **options)
    plan = fastconv.plan(w, x.shape, x_dtype=dtype, bias=bias, **options)
    assert plan.algorithm == "phases"
    assert plan.workspace_bytes > 0
    assert_same(plan(x, out=prefilled(expected.shape, dtype)), expected)


def test_phases_of_any_stride(level):
    for d, s, dilation, k, boundary in itertools.product((2, 4, 6), (1, 2, 3), (1, 2), (1, 3, 4), ("constant", "edge")):
        pads = (3, 2) if boundary == "constant" else (0, -1)
        x, w = data((3, 9, 8)), data((4, 3, k, 2), seed=k)
        options = {
            "layout": "CHW", "input_dilation": (d, 1), "stride": (s, 1), "dilation": (dilation, 1),
            "padding": (pads, 1), "boundary": (boundary, "edge"),
        }  # fmt: skip
        expected = _reference.conv(x, w, **options)
        out = prefilled(expected.shape, "float32")
        assert_same(np.rint(fastconv.conv(x, w, out=out, **options)), expected)


def test_weights_of_any_layout(level):
    x, bias = data((2, 20, 9, 10)), data(40, seed=2)
    for kernel, stride in itertools.product(((1, 1), (1, 2), (2, 2), (2, 4), (3, 3), (4, 4), (5, 1)), (1, 2)):
        w = data((20, 40, *kernel), seed=1)
        views = [
            w,
            w[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
            np.asfortranarray(w),
            w.swapaxes(0, 1).copy().swapaxes(0, 1),
        ]
        wide = np.zeros((20, 40, kernel[0], 2 * kernel[1]), "f4")
        wide[..., ::2] = w
        views += [wide[..., ::2], w[:, :, :, ::-1].copy()[:, :, :, ::-1], w.astype(">f4")]
        shifted = np.zeros(w.nbytes + 1, np.uint8)[1:].view("f4").reshape(w.shape)
        shifted[...] = w
        options = {"stride": (stride, stride), "dilation": (1, 1), "pads": [(0, 0)] * 2, "more": [0, 0]}
        expected = [scattered(x, w, bias=bias, flip=flip, **options) for flip in (False, True)]
        for view in [*views, shifted]:
            for flip in (False, True):
                result = fastconv.conv_transpose(x, view, bias=bias, layout="NCHW", stride=stride, flip=flip)
                assert_same(np.rint(result), expected[flip])


def test_without_channels():
    x, w = data((5, 6)), data((3, 2), seed=1)
    expected = scattered(
        x[None, None], w[None, None], stride=(2, 3), dilation=(1, 1), pads=[(1, 0), (0, 0)], more=[0, 1]
    )[0, 0] + 2  # fmt: skip
    result = fastconv.conv_transpose(x, w, bias=2, stride=(2, 3), padding=((1, 0), 0), output_padding=(0, 1))
    assert_same(result, expected.astype(np.float32))


def test_same_and_full():
    for n, k, stride, center in itertools.product((1, 5), (1, 2, 3, 4), (1, 2, 3), ("left", "right")):
        x, w = data(n), data(k, seed=1)
        result = fastconv.conv_transpose(x, w, stride=stride, padding="same", center=center)
        assert result.shape == (n * stride,)
        z = data(n * stride, seed=2)
        forward = fastconv.conv(z, w, stride=stride, padding="same", center=center)
        assert np.dot(result, z) == np.dot(x, forward)
    x, w = data(9), data(3, seed=1)
    z = data(7, seed=2)
    assert np.dot(fastconv.conv_transpose(x, w, padding="full"), z) == np.dot(x, fastconv.conv(z, w, padding="full"))


def test_activation_and_overlap():
    x, w = data((1, 4, 6, 6)), data((4, 4, 2, 2), seed=1)
    plain = fastconv.conv_transpose(x, w, layout="NCHW", stride=2)
    assert_same(fastconv.conv_transpose(x, w, layout="NCHW", stride=2, activation="relu"), np.maximum(plain, 0))
    both = np.zeros((1, 4, 12, 12), np.float32)
    both[..., :6, :6] = x
    assert_same(fastconv.conv_transpose(both[..., :6, :6], w, layout="NCHW", stride=2, out=both), plain)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"w": np.ones((3, 5, 3, 3))}, ConvError, r"^w: got 3 channels in shape .*, allowed: 4, the channels of x"),
        ({"groups": 3}, ConvError, "^groups: got 3 for 4 channels in, allowed: a divisor"),
        ({"groups": 0}, ConvError, "^groups: got 0"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"dilation": -1}, ConvError, "^dilation: got -1"),
        ({"output_padding": 2}, ConvError, "^output_padding: got 2 with stride 2 and dilation 1, allowed: less"),
        ({"output_padding": -1}, ConvError, "^output_padding: got -1"),
        ({"output_padding": 1, "padding": "same"}, ConvError, "^output_padding: got 1 with padding 'same', allowed: 0"),
        ({"padding": 8}, ConvError, r"^padding: got \(8, 8\) along spatial axis 0, allowed: to cut off less"),
        ({"padding": "half"}, ConvError, "^padding: got 'half'"),
        ({"w": np.ones((4, 5, 0, 3))}, ConvError, "^w: got an empty kernel"),
        ({"x": np.ones((1, 4, 0, 6))}, ConvError, "^x: got no samples along spatial axis 0"),
        ({"bias": np.ones(4)}, ConvError, r"^bias: got shape \(4,\), allowed: \(5,\)"),
        ({"flip": 2}, ConvTypeError, "^flip: got 2"),
        ({"center": "top"}, ConvError, "^center: got 'top'"),
        ({"out": np.ones((1, 5, 12, 13))}, ConvError, r"^out: got shape"),
        ({"dtype": "datetime64[s]"}, ConvTypeError, "^dtype: got"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
        ({"algorithm": "phases"}, ConvError, "^algorithm: got 'phases'"),
    ],
)  # fmt: skip
def test_refusals(changes, error, message):
    arguments = {"x": np.ones((1, 4, 6, 6)), "w": np.ones((4, 5, 3, 3)), "layout": "NCHW", "stride": 2} | changes
    with pytest.raises(error, match=message):
        fastconv.conv_transpose(arguments.pop("x"), arguments.pop("w"), **arguments)


def test_empty_batches():
    assert fastconv.conv_transpose(np.ones((0, 4, 6, 6)), np.ones((4, 5, 3, 3)), layout="NCHW", stride=2).shape == (
        0, 5, 13, 13,
    )  # fmt: skip
    assert nn.conv_transpose2d(np.ones((0, 4, 6, 6)), np.ones((4, 5, 3, 3)), padding=1).shape == (0, 5, 6, 6)


# --- nn --------------------------------------------------------------------------------------------------------------

FACES = {1: nn.conv_transpose1d, 2: nn.conv_transpose2d, 3: nn.conv_transpose3d}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_faces_are_those_of_torch(rank):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    rng = np.random.default_rng(rank)
    for options in (
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "dilation": 2, "output_padding": 2, "groups": 2},
        {"stride": (2,), "padding": (0,), "dilation": (3,), "output_padding": (2,)},
        {"stride": (1, 2, 3)[-rank:], "padding": (2, 1, 0)[-rank:], "dilation": (2, 1, 2)[-rank:], "groups": 4},
    ):
        groups = options.get("groups", 1)
        x, w = (
            rng.standard_normal((2, 4, *(5, 6, 7)[-rank:])),
            rng.standard_normal((4, 6 // min(groups, 2), *[3] * rank)),
        )
        bias = rng.standard_normal(w.shape[1] * groups)
        expected = theirs(torch.from_numpy(x), torch.from_numpy(w), torch.from_numpy(bias), **options).numpy()
        np.testing.assert_allclose(FACES[rank](x, w, bias, **options), expected, atol=1e-12)
        np.testing.assert_allclose(FACES[rank](x[0], w, bias, **options), expected[0], atol=1e-12)
        last = FACES[rank](
            np.ascontiguousarray(np.moveaxis(x, 1, -1)), w, bias, data_format="N" + "DHW"[3 - rank :] + "C", **options
        )
        np.testing.assert_allclose(last, np.moveaxis(expected, 1, -1), atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_second_call_takes_the_short_lane(rank):
    x, w, bias = data((1, 4, *[6] * rank)), data((4, 33, *[3] * rank), seed=1), data(33, seed=2)
    options = (2, 1, 1, 1, 1, "N" + "C" + "DHW"[3 - rank :], "auto", "default")
    lane = nn._transposed.lanes[rank - 1]
    for offset in (None, bias):
        lane.clear()
        assert lane.run(x, w, offset, options, None) is None
        first = FACES[rank](x, w, offset, 2, 1, 1)
        assert_same(lane.run(x, w, offset, options, None), first)
        again = data(w.shape, seed=5)
        assert_same(
            FACES[rank](x, again, offset, 2, 1, 1), FACES[rank](x, again, offset, 2, 1, 1, out=np.empty_like(first))
        )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"input": np.ones((4, 6))},
            ConvError,
            r"^input: got 2 axes of shape \(4, 6\), allowed: 4, or 3 without a batch",
        ),
        (
            {"weight": np.ones((3, 5, 3, 3))},
            ConvError,
            "^weight: got 3 channels in shape .*, the channels of input of shape",
        ),
        ({"data_format": "NCW"}, ConvError, "^data_format: got 'NCW'"),
        ({"padding": "same"}, ConvTypeError, "^padding: got 'same'"),
        ({"padding": -1}, ConvError, "^padding: got -1"),
        ({"output_padding": 1}, ConvError, "^output_padding: got 1 with stride 1 and dilation 1"),
    ],
)
def test_refusals_of_the_faces(changes, error, message):
    with pytest.raises(error, match=message):
        nn.conv_transpose2d(**{"input": np.ones((1, 4, 6, 6)), "weight": np.ones((4, 5, 3, 3))} | changes)


def test_levels_agree():
    x, w = data((1, 20, 13, 12)), data((20, 40, 4, 3), seed=1)
    results = []
    for level in levels.available():
        with at_level(level):
            results.append(nn.conv_transpose2d(x, w, stride=(2, 3)))
    for result in results:
        assert_same(result, results[0])


def test_a_fill_value_stands_between_samples_too():
    # A row beyond the image is all fill, also where rows of the image have zeros between their samples.
    x, w = data((1, 1, 2, 3)), data((2, 1, 2, 2), seed=1)
    options = {"layout": "NCHW", "input_dilation": [1, 2], "padding": [(0, 1), (0, 0)], "fill_value": 3.0}
    np.testing.assert_array_equal(fastconv.conv(x, w, **options), _reference.conv(x, w, **options))
