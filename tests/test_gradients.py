"""conv_grad and nn.grad: exact adjoint identities on whole numbers, central differences, and torch where installed."""

import itertools

import numpy as np
import pytest
from _tools import BOUNDARIES, assert_same, data
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import ConvError, ConvTypeError, nn
from fastconv._gradients import runs, targets_of
from fastconv._problem import Axis

LAYOUTS = {1: (None, "NCW", "WC"), 2: (None, "NCHW", "NHWC", "HCWN"), 3: (None, "NCDHW", "CDHW", "NDHWC")}


@st.composite
def problems(draw):
    """Draw the shapes of x and w and the options of a convolution."""
    rank = draw(st.integers(1, 3))

    def several(least, most):
        return tuple(draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)))

    layout = draw(st.sampled_from(LAYOUTS[rank]))
    groups = 1 if layout is None else draw(st.integers(1, 2))
    channels, outs = draw(st.sampled_from([1, 2, 17])), draw(st.sampled_from([1, 3, 33]))
    sizes, kernel = several(1, 8 if rank < 3 else 4), several(1, 4 if rank < 3 else 3)
    options = {
        "layout": layout, "groups": groups, "stride": several(1, 3), "dilation": several(1, 3),
        "input_dilation": draw(st.sampled_from([1, 1, several(1, 3)])), "flip": draw(st.booleans()),
        "boundary": tuple(draw(st.lists(st.sampled_from(BOUNDARIES), min_size=rank, max_size=rank))),
        "center": draw(st.sampled_from(["left", "right"])),
    }  # fmt: skip
    pads = tuple((draw(st.integers(-1, 6)), draw(st.integers(-1, 6))) for _ in range(rank))
    options["padding"] = draw(st.sampled_from([pads, pads, pads, "same", "full", "valid"]))
    numbers = iter(sizes)
    lengths = {"N": 2, "C": channels * groups}
    x_shape = sizes if layout is None else tuple(lengths[a] if a in lengths else next(numbers) for a in layout)
    return x_shape, kernel if layout is None else (outs * groups, channels, *kernel), options


def inner(a, b, dtype):
    """Return the inner product, conjugate in the first, modulo 2^n where integers are."""
    wide = np.uint64 if dtype.kind in "iu" else np.clongdouble
    total = (np.conjugate(a.astype(wide)) * b.astype(wide)).sum()
    return total if dtype.kind not in "iu" else int(total) % 2 ** (8 * dtype.itemsize)


@settings(max_examples=80, deadline=None)
@given(problems(), st.sampled_from(["float64", "int16", "uint64", "complex128"]), st.booleans())
def test_adjoint_identities(problem, name, conj):
    x_shape, w_shape, options = problem
    dtype = np.dtype(name)
    x, w = data(x_shape, dtype, 1), data(w_shape, dtype, 2)
    try:
        y = fastconv.conv(x, w, conj=conj, **options)
    except ConvError:
        return
    grad = data(y.shape, dtype, 3)
    dx, dw, db = fastconv.conv_grad(x, w, grad, conj=conj, **options)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    assert dx.dtype == dw.dtype == db.dtype == dtype
    expected = inner(grad, y, dtype)
    # Whole numbers far below 2^53: only algorithms that transform are off, by less than a half.
    slack = 0 if dtype.kind in "iu" else 0.3
    assert abs(inner(dx, x, dtype) - expected) <= slack
    kernel_inner = np.conjugate(inner(dw, w, dtype)) if dtype.kind == "c" and conj else inner(dw, w, dtype)
    assert abs(kernel_inner - expected) <= slack
    channel = -1 if options["layout"] is None else options["layout"].index("C")
    total = np.moveaxis(grad, channel, 0).reshape(grad.shape[channel], -1) if options["layout"] else grad.reshape(1, -1)
    assert_same(db, np.asarray(total.sum(axis=1, dtype=dtype) if options["layout"] else total.sum(dtype=dtype)))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_boundary_at_every_level(level, threads, boundary):
    x, w = data((2, 6, 9, 10)), data((33, 6, 3, 4), seed=1)
    for padding, stride in ((((4, 1), (0, 11)), (1, 2)), ("same", 1), (((-1, 2), (2, -1)), (2, 1))):
        options = {"layout": "NCHW", "padding": padding, "stride": stride, "boundary": boundary}
        y = fastconv.conv(x, w, **options)
        grad = data(y.shape, seed=3)
        dx, dw, db = fastconv.conv_grad(x, w, grad, **options)
        wide = np.float64
        expected = np.vdot(grad.astype(wide), np.rint(y).astype(wide))
        assert np.vdot(np.rint(dx).astype(wide), x.astype(wide)) == expected
        assert np.vdot(dw.astype(wide), w.astype(wide)) == expected
        assert_same(db, grad.sum(axis=(0, 2, 3)))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_central_differences(boundary):
    rng = np.random.default_rng(4)
    x, w, bias = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((6, 2, 3, 2)), rng.standard_normal(6)
    options = {
        "layout": "NCHW", "groups": 2, "stride": (2, 1), "dilation": (1, 2), "padding": ((2, 1), (3, 0)),
        "boundary": boundary, "fill_value": 0.5,
    }  # fmt: skip
    grad = rng.standard_normal(fastconv.conv(x, w, **options).shape)
    gradients = fastconv.conv_grad(x, w, grad, wrt=["x", "w", "bias"], **options)
    for operand, gradient in zip((x, w, bias), gradients, strict=True):
        for index in itertools.islice(np.ndindex(operand.shape), 0, None, 7):
            both = []
            for step in (1e-3, -1e-3):
                kept = operand[index]
                operand[index] += step
                both.append((fastconv.conv(x, w, bias=bias, **options) * grad).sum())
                operand[index] = kept
            assert gradient[index] == pytest.approx((both[0] - both[1]) / 2e-3, abs=1e-8)


def test_integers_count_modulo_two_to_the_n():
    x, w = data((2, 3, 9, 9), "int8"), data((4, 3, 3, 3), "int8", 1)
    options = {"layout": "NCHW", "padding": 2, "boundary": "reflect"}
    grad = data((2, 4, 11, 11), "int8", 2)
    narrow = fastconv.conv_grad(x, w, grad, **options)
    wide = fastconv.conv_grad(x.astype("i8"), w.astype("i8"), grad.astype("i8"), **options)
    for small, large in zip(narrow, wide, strict=True):
        assert_same(small, large.astype("int8"))


def test_half_precision_is_summed_in_single():
    x, w, grad = data((1, 2, 6, 7), "float16"), data((3, 2, 3, 3), "float16", 1), data((1, 3, 6, 7), "float16", 2)
    options = {"layout": "NCHW", "padding": "same", "boundary": "symmetric"}
    single = [a.astype(np.float32) for a in (x, w, grad)]
    for half, full in zip(
        fastconv.conv_grad(x, w, grad, **options), fastconv.conv_grad(*single, **options), strict=True
    ):
        assert_same(half, np.rint(full).astype(np.float16))


def test_what_is_asked_for_is_returned():
    x, w, grad = data((5, 6)), data((2, 3), seed=1), data((4, 4), seed=2)
    dx, dw, db = fastconv.conv_grad(x, w, grad)
    assert db.shape == ()
    assert_same(fastconv.conv_grad(x, w, grad, wrt="x"), dx)
    assert_same(fastconv.conv_grad(x, w, grad, wrt="w"), dw)
    assert_same(fastconv.conv_grad(x, w, grad, wrt="bias"), db)
    (only,) = fastconv.conv_grad(x, w, grad, wrt=("w",))
    assert_same(only, dw)
    back = fastconv.conv_grad(x, w, grad, wrt=("bias", "x"))
    assert_same(back[0], db)
    assert_same(back[1], dx)
    assert fastconv.conv_grad(x, w, grad, wrt=()) == ()


def test_dtypes_mix_as_in_conv():
    x, w, grad = data((5, 6)), data((2, 3), "float64", 1), data((4, 4), ">f4", 2)
    assert {a.dtype for a in fastconv.conv_grad(x, w, grad)} == {np.dtype("float64")}
    assert {a.dtype for a in fastconv.conv_grad(x, w, grad, dtype="complex64")} == {np.dtype("complex64")}


def test_inputs_of_any_strides():
    x, w, grad = data((2, 6, 9, 8)), data((4, 6, 3, 3), seed=1), data((2, 4, 9, 8), seed=2)
    options = {"layout": "NCHW", "padding": 1, "boundary": "wrap"}
    expected = fastconv.conv_grad(x, w, grad, **options)
    for change in (np.asfortranarray, lambda a: np.flip(np.flip(a).copy()), lambda a: np.repeat(a, 2, 3)[..., ::2]):
        arrays = [change(a) for a in (x, w, grad)]
        for array in arrays:
            array.flags.writeable = False
        for result, wanted in zip(fastconv.conv_grad(*arrays, **options), expected, strict=True):
            np.testing.assert_allclose(result, wanted, atol=0.01)


def test_empty_arrays():
    dx, dw, db = fastconv.conv_grad(np.ones((0, 4, 6, 6)), np.ones((5, 4, 3, 3)), np.ones((0, 5, 4, 4)), layout="NCHW")
    assert dx.shape == (0, 4, 6, 6)
    assert_same(dw, np.zeros((5, 4, 3, 3)))
    assert_same(db, np.zeros(5))


def test_the_same_bits_for_any_number_of_threads(level):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((3, 20, 17, 19)), rng.standard_normal((30, 20, 3, 3))
    for options in ({"padding": 1, "stride": 2}, {"padding": 2, "boundary": "reflect"}):
        grad = rng.standard_normal(fastconv.conv(x, w, layout="NCHW", **options).shape)
        results = [fastconv.conv_grad(x, w, grad, layout="NCHW", threads=n, **options) for n in (1, 3)]
        for one, several in zip(*results, strict=True):
            assert one.tobytes() == several.tobytes()


def test_padding_shows_the_samples_that_it_repeats():
    assert targets_of(Axis(3, 1, 1, 1, 2, 0, 0, "wrap"), -3, 11).tolist() == [1, -1, 2, 0, -1, 1, -1, 2, 0, -1, 1]
    assert targets_of(Axis(3, 1, 1, 1, 1, 0, 0, "edge"), -2, 4).tolist() == [0, 0, 0, 1]
    # Every place is in one run, whatever the spacing.
    rng = np.random.default_rng(2)
    for _ in range(50):
        target = rng.integers(-1, 4, rng.integers(0, 12)).astype(np.intp)
        seen = {}
        for run in runs(target.tobytes()):
            for i, place in enumerate(range(*run.places.indices(len(target)))):
                assert place not in seen
                seen[place] = run.first + i * run.step
        assert seen == {i: t for i, t in enumerate(target.tolist()) if t >= 0}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grad": np.ones((1, 5, 4, 5))}, ConvError, r"^grad: got shape \(1, 5, 4, 5\), allowed: \(1, 5, 4, 4\), the"),
        ({"grad": np.ones((1, 5, 4, 4), complex)}, ConvTypeError, "^grad: got dtype complex128, allowed: one that"),
        ({"grad": "no"}, ConvTypeError, "^grad: got dtype <U2"),
        ({"wrt": "y"}, ConvError, "^wrt: got 'y', allowed: 'x', 'w', 'bias'"),
        ({"wrt": ("x", 3)}, ConvError, "^wrt: got 3"),
        ({"wrt": None}, ConvTypeError, "^wrt: got None"),
        ({"x": np.ones((1, 4, 6, 6), bool), "w": np.ones((5, 4, 3, 3), bool)}, ConvTypeError, "^dtype: got bool"),
        ({"x": np.ones((1, 3, 6, 6))}, ConvError, "^w: got 4 channels in a group"),
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"threads": -1}, ConvError, "^threads: got -1"),
        ({"algorithm": "winograd", "stride": 2, "grad": np.ones((1, 5, 2, 2))}, ConvError, "^algorithm: got 'win"),
        ({"activation": "relu"}, TypeError, "activation"),
        ({"out": None}, TypeError, "out"),
    ],
)  # fmt: skip
def test_refusals(changes, error, message):
    arguments = {
        "x": np.ones((1, 4, 6, 6)), "w": np.ones((5, 4, 3, 3)), "grad": np.ones((1, 5, 4, 4)), "layout": "NCHW",
    } | changes  # fmt: skip
    with pytest.raises(error, match=message):
        fastconv.conv_grad(arguments.pop("x"), arguments.pop("w"), arguments.pop("grad"), **arguments)


# --- nn.grad ---------------------------------------------------------------------------------------------------------


def test_functions_are_found_in_both_places():
    for name in nn.grad.__all__:
        assert getattr(nn, name) is getattr(nn.grad, name)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_faces_are_those_of_torch(rank):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(rank)
    for options in (
        {},
        {"stride": 2, "padding": 1},
        {"stride": (3, 1, 2)[-rank:], "padding": (0, 2, 1)[-rank:], "dilation": (1, 2, 1)[-rank:], "groups": 2},
    ):
        groups = options.get("groups", 1)
        x, w = rng.standard_normal((2, 4, *(8, 9, 7)[-rank:])), rng.standard_normal((6, 4 // groups, *[3] * rank))
        tensors = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w).requires_grad_()
        y = getattr(torch.nn.functional, f"conv{rank}d")(*tensors, **options)
        grad = rng.standard_normal(y.shape)
        y.backward(torch.from_numpy(grad))
        letters = "DHW"[3 - rank :]
        for last in (False, True):
            x_, grad_ = (np.moveaxis(a, 1, -1) if last else a for a in (x, grad))
            form = {"data_format": f"N{letters}C" if last else f"NC{letters}"}
            dx = getattr(nn.grad, f"conv{rank}d_input")(list(x_.shape), w, grad_, **options, **form)
            dw = getattr(nn.grad, f"conv{rank}d_weight")(x_, w.shape, grad_, **options, **form)
            wanted = tensors[0].grad.numpy()
            np.testing.assert_allclose(dx, np.moveaxis(wanted, 1, -1) if last else wanted, atol=1e-10)
            np.testing.assert_allclose(dw, tensors[1].grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_second_call_takes_the_short_lane(rank):
    x, w, grad = data((1, 4, *[6] * rank)), data((5, 4, *[3] * rank), seed=1), data((1, 5, *[3] * rank), seed=2)
    letters = "NC" + "DHW"[3 - rank :]
    inputs, weights = nn.grad.lanes[rank - 1], nn.grad.lanes[rank + 2]
    for lane, name, arguments, arrays in (
        (inputs, "input", (x.shape, w, grad), (grad, w)),
        (weights, "weight", (x, w.shape, grad), (x, grad)),
    ):
        size = next(a for a in arguments if isinstance(a, tuple))
        options = (size, 2, 1, 1, 1, letters, "auto", "default")
        lane.clear()
        function = getattr(nn.grad, f"conv{rank}d_{name}")
        first = function(*arguments, 2, 1)
        assert_same(lane.run(*arrays, None, options, None), first)
        core_result = fastconv.conv_grad(x, w, grad, wrt=name[0].replace("i", "x"), layout=letters, stride=2, padding=1)
        assert_same(first, core_result)


def test_complex_gradients_are_those_of_conv_grad():
    x, w, grad = data((2, 4, 6, 6), "complex64"), data((5, 4, 3, 3), "complex64", 1), data((2, 5, 4, 4), "complex64", 2)
    dx, dw = fastconv.conv_grad(x, w, grad, wrt=("x", "w"), layout="NCHW")
    for _ in range(2):
        assert_same(nn.conv2d_input(x.shape, w, grad), dx)
        assert_same(nn.conv2d_weight(x, w.shape, grad), dw)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (nn.conv2d_input, ((4, 6), np.ones((5, 4, 3, 3)), np.ones((1, 5, 4, 4))), ConvError, "^input_size: got 2 axes"),
        (nn.conv2d_input, ((1, 3, 6, 6), np.ones((5, 4, 3, 3)), np.ones((1, 5, 4, 4))), ConvError,
         "^weight: got 4 channels in a group in shape .*, allowed: 3 for input_size of shape"),
        (nn.conv2d_input, ((1, 4, 6, 6), np.ones((5, 4, 3, 3)), np.ones((1, 5, 6, 4))), ConvError, "^grad_output: got"),
        (nn.conv2d_input, (6, np.ones((5, 4, 3, 3)), np.ones((1, 5, 4, 4))), ConvTypeError, "^input_size: got 6"),
        (nn.conv2d_input, ((1, 4, -6, 6), np.ones((5, 4, 3, 3)), np.ones((1, 5, 4, 4))), ConvError, "^input_size: got"),
        (nn.conv2d_weight, (np.ones((1, 4, 6, 6)), (5, 3, 3, 3), np.ones((1, 5, 4, 4))), ConvError,
         "^weight_size: got 3 channels in a group"),
        (nn.conv2d_weight, (np.ones((1, 4, 6, 6)), (5, 4, 3), np.ones((1, 5, 4, 4))), ConvError, "^weight_size: got 3"),
        (nn.conv1d_weight, (np.ones((1, 4, 6, 6)), (5, 4, 3), np.ones((1, 5, 4))), ConvError, "^input: got 4 axes"),
        (nn.conv2d_weight, (np.ones((1, 4, 6, 6)), (5, 4, 3, 3), np.ones((1, 5, 4, 4)), 1, "same"), ConvTypeError,
         "^padding: got 'same'"),
    ],
)  # fmt: skip
def test_refusals_of_the_faces(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)
