"""Plans that serve inputs of any number and size: their results, their memory, and what they refuse."""

import gc
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from _tools import BOUNDARIES, assert_same, assert_same_bits, assert_whole, data, prefilled

import fastconv
from fastconv import ConvError, ConvTypeError, _plan, _problem, _reference, _tunables
from fastconv.drivers import levels

# Weights, options, and shapes of inputs.
LAYERS = {
    "3 x 3": ((40, 16, 3, 3), {"layout": "NCHW", "padding": 1}, [(1, 16, 9, 20), (3, 16, 56, 56), (2, 16, 1, 1)]),
    "strict": (
        (40, 16, 3, 3),
        {"layout": "NHWC", "padding": "same", "accuracy": "strict", "bias": np.arange(40.0, dtype=np.float32)},
        [(1, 9, 20, 16), (3, 30, 31, 16), (0, 4, 4, 16)],
    ),
    "pointwise": ((8, 16, 1, 1), {"layout": "CHW"}, [(16, 7, 9), (16, 1, 1), (16, 40, 3)]),
    "depthwise": ((12, 1, 3, 3), {"layout": "NCHW", "groups": 12, "stride": 2}, [(1, 12, 9, 9), (4, 12, 20, 33)]),
    "no channels": ((5, 4), {"boundary": "reflect", "padding": "same", "flip": True}, [(9, 9), (64, 100), (5, 4)]),
    "one axis": ((7,), {"padding": "full"}, [(1,), (100,), (5000,)]),
    "large": ((31, 31), {"padding": "same"}, [(40, 40), (300, 200), (600, 600)]),
    "cropped": ((4, 2, 3), {"layout": "NCW", "padding": ((-2, -1),), "dilation": 2}, [(1, 2, 8), (2, 2, 100)]),
    "phases": ((4, 3, 4, 4), {"layout": "NCHW", "input_dilation": 2, "padding": 2}, [(1, 3, 8, 9), (2, 3, 20, 20)]),
    "reference": ((3, 3), {"algorithm": "reference", "activation": "relu"}, [(9, 9), (4, 30)]),
}


def plan_of(name, **more):
    w_shape, options, shapes = LAYERS[name]
    w = data(w_shape, seed=1)
    return w, options, shapes, lambda *shape: fastconv.plan(w, *shape, **options, **more)


@pytest.mark.parametrize("name", LAYERS)
def test_a_plan_serves_every_shape_as_conv_does(name):
    w, options, shapes, make = plan_of(name)
    for plan in (make(), make(shapes[0]), make(shapes[-1])):
        for turn in range(3):
            for i, shape in enumerate(shapes):
                x = data(shape, seed=turn * 10 + i)
                # The algorithm may be another one, as packed weights cost nothing, and round otherwise.
                expected = fastconv.conv(x, w, **options)
                result = plan(x)
                np.testing.assert_allclose(result, expected, atol=1e-3)
                out = prefilled(expected.shape, expected.dtype)
                assert plan(x, out) is out
                assert_same_bits(out, result)
                assert plan(x, out=out) is out


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_kind_of_array(boundary):
    w = data((6, 3, 3, 3), seed=1)
    options = {"layout": "NCHW", "padding": 1, "boundary": boundary, "accuracy": "strict"}
    plan = fastconv.plan(w, **options)
    for shape in ((2, 3, 8, 8), (1, 3, 8, 9)):
        x = data(shape)
        expected = _reference.conv(x, w, layout="NCHW", padding=1, boundary=boundary)
        swapped = x.astype(">f4")
        misaligned = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view("f4").reshape(shape)
        read_only = x.copy()
        read_only.flags.writeable = False
        wide = np.zeros((*shape[:-1], 2 * shape[-1]), "f4")
        wide[..., ::2] = x
        backwards = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        for array in (x, swapped, misaligned, read_only, wide[..., ::2], backwards, last, x.tolist(), np.ma.array(x)):
            for _ in range(2):
                if isinstance(array, list):
                    with pytest.raises(ConvTypeError, match="^x: got dtype"):
                        plan(array)
                    continue
                assert_same(plan(array), expected)


def test_results_written_anywhere():
    w = data((3, 3, 1, 1), seed=1)
    plan = fastconv.plan(w, layout="NCHW", accuracy="strict")
    shape = (2, 3, 6, 7)
    x = data(shape)
    expected = plan(x)
    # Into the input, beside it, and into every kind of array.
    memory = prefilled(3 * x.size, "f4")
    for start in (0, 1, x.size // 2, x.size, 2 * x.size):
        beside = memory[x.size : 2 * x.size].reshape(shape)
        out = memory[start : start + x.size].reshape(shape)
        beside[...] = x
        assert plan(beside, out) is out
        assert_same(out, expected)
    for out in (
        prefilled(shape, ">f4"),
        prefilled((7, 6, 3, 2), "f4").T,
        prefilled((2, 3, 6, 14), "f4")[..., ::2],
        prefilled(shape, "f4")[..., ::-1],
        np.frombuffer(bytearray(4 * x.size + 1), np.uint8)[1:].view("f4").reshape(shape),
    ):
        assert plan(x, out) is out
        np.testing.assert_array_equal(out, expected)


def test_what_a_plan_refuses():
    plan = fastconv.plan(data((4, 3, 3, 3)), layout="NCHW", padding=1)
    expecting = fastconv.plan(data((4, 3, 3, 3)), (1, 3, 8, 8), layout="NCHW")
    out = prefilled((1, 4, 8, 8), "f4")
    for shape in ((1, 4, 8, 8), (1, 3, 8)):
        allowed = "(3 channels along axis 1|4 axes)"
        with pytest.raises(
            ConvError, match=rf"^x: got shape \(1, .*\), allowed: {allowed}, .* w of shape \(4, 3, 3, 3\)"
        ):
            plan(data(shape), out)
        with pytest.raises(
            ConvError, match=r"^x: got .*, such as \(1, 3, 8, 8\), for the plan's w of shape \(4, 3, 3, 3\)"
        ):
            expecting(data(shape), out)
    for dtype in ("float64", "int32", "complex64"):
        with pytest.raises(ConvTypeError, match=f"^x: got dtype {dtype}, allowed: float32"):
            plan(data((1, 3, 8, 8), dtype), out)
    with pytest.raises(ConvError, match=r"^out: got shape \(1, 4, 8, 8\), allowed: \(1, 4, 9, 8\)"):
        plan(data((1, 3, 9, 8)), out)
    with pytest.raises(ConvTypeError, match="^out: got list"):
        plan(data((1, 3, 8, 8)), [])
    out.flags.writeable = False
    for _ in range(2):
        with pytest.raises(ConvError, match="^out: got a read-only array"):
            plan(data((1, 3, 8, 8)), out)
        plan(data((1, 3, 8, 8)))
    assert np.isnan(out).all()
    with pytest.raises(TypeError):
        plan()
    with pytest.raises(TypeError):
        plan(data((1, 3, 8, 8)), out, None, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stride": 0}, ConvError, "^stride: got 0"),
        ({"layout": "NCH"}, ConvError, "^w: got 4 axes"),
        ({"layout": "NHW"}, ConvError, "^layout: got 'NHW'"),
        ({"layout": 3}, ConvTypeError, "^layout: got 3"),
        ({"groups": 3}, ConvError, "^groups: got 3 for 9 channels in and 4 out"),
        ({"groups": "2"}, ConvTypeError, "^groups: got '2'"),
        ({"dilation": (1, 0)}, ConvError, "^dilation: got 0"),
        ({"padding": "some"}, ConvError, "^padding: got 'some'"),
        ({"bias": np.zeros(3)}, ConvError, "^bias: got shape"),
        ({"algorithm": "magic"}, ConvError, "^algorithm: got 'magic'"),
        ({"threads": 0}, ConvError, "^threads: got 0"),
        ({"x_dtype": "O"}, ConvTypeError, "^x_dtype: got object"),
        ({"max_workspace": -1}, ConvError, "^max_workspace: got -1"),
    ],
)
def test_options_are_checked_without_a_shape(options, error, message):
    with pytest.raises(error, match=message):
        fastconv.plan(data((4, 3, 3, 3)), **{"layout": "NCHW"} | options)


def test_a_plan_without_a_shape_explains_shapes_and_weights():
    plan = fastconv.plan(data((40, 16, 3, 3)), layout="NCHW", padding=1)
    assert "w of shape (40, 16, 3, 3)" in plan.explain()
    assert plan.explain() in repr(plan)
    for name in ("algorithm", "workspace_bytes", "flops"):
        with pytest.raises(ConvError, match=r"^x_shape: got none .* explain\(x_shape\)"):
            getattr(plan, name)
    text = plan.explain((2, 16, 30, 31))
    assert text == fastconv.plan(data((40, 16, 3, 3)), (2, 16, 30, 31), layout="NCHW", padding=1).explain()
    assert "algorithm: " in text
    assert "passed over: " in text
    with pytest.raises(ConvError, match=r"^x: got shape \(2, 15, 30, 31\), allowed: 16 channels"):
        plan.explain((2, 15, 30, 31))
    with pytest.raises(ConvError, match="^x_shape: got -1"):
        plan.explain((2, 16, -1, 31))


def test_pickles_keep_weights_and_options():
    w, _, shapes, make = plan_of("strict")
    plan = make()
    size = len(pickle.dumps(plan))
    for shape in shapes:
        plan(data(shape))
    assert len(pickle.dumps(plan)) == size < w.nbytes + 1500
    again = pickle.loads(pickle.dumps(plan))
    assert again.packed_bytes == 0
    assert_same_bits(again(data(shapes[0])), plan(data(shapes[0])))


def test_shapes_share_packed_weights():
    plan = fastconv.plan(data((64, 64, 3, 3)), layout="NCHW", padding=1, accuracy="strict")
    assert plan.packed_bytes == 0
    plan(data((1, 64, 14, 14)))
    once = plan.packed_bytes
    for size in range(8, 30):
        plan(data((1, 64, size, size)))
    assert plan.packed_bytes == once
    x, w = data((1, 600, 9, 9)), data((600, 600, 3, 3))
    assert [*fastconv.plan(w, x.shape, layout="NCHW", algorithm="gemm")._packed] == ["panels"]
    problem, _ = _problem.prepare(x, w, layout="NCHW", algorithm="winograd")
    # Weights that are transformed for each block come in GEMM's panels; those that are kept do not.
    found = {
        choice.driver.panel_format
        for choice in _plan.served(_plan.candidates(problem._replace(planned=True), levels.current()))
    }
    assert found == {"panels", "F(2, 3)", "F(4, 3)"}


def test_a_plan_keeps_a_bounded_number_of_shapes_and_of_packed_weights(monkeypatch):
    monkeypatch.setattr(_tunables, "PLAN_FORMATS", 2)
    monkeypatch.setattr(_tunables, "PLAN_SHAPES", 5)
    w = data((31, 31), seed=1)
    plan = fastconv.plan(w, algorithm="fft", padding="same")
    for turn in range(2):
        for size in (40, 64, 100, 200, 300, 400, 520):
            x = data((size, size), seed=turn)
            # A plain call may have other tiles, because it makes the spectra of the weights as well.
            expected = fastconv.plan(w, x.shape, algorithm="fft", padding="same")(x)
            assert_same_bits(plan(x), expected)
            assert_same_bits(plan(x), expected)
            assert len(plan._packed) <= 2
            assert len(plan._schedules) <= 5
    layer = fastconv.plan(data((2, 2, 3, 3)), layout="NCHW")
    for size in range(3, 60):
        assert layer(data((1, 2, size, size))).shape == (1, 2, size - 2, size - 2)


def test_threads_share_a_plan():
    _, _, shapes, make = plan_of("3 x 3")
    inputs = [data(shape, seed=i) for i, shape in enumerate([*shapes, (2, 16, 30, 40), (1, 16, 12, 12)])]
    expected = [make(x.shape)(x) for x in inputs]
    plan = make()
    wrong = []

    def work(first):
        for turn in range(40):
            i = (first + turn) % len(inputs)
            if plan(inputs[i]).tobytes() != expected[i].tobytes():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def peak_of(call):
    """Return the bytes of arrays that a call has at most, beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "reference"])
def test_a_call_allocates_the_result_and_nothing_else(name):
    _, _, shapes, make = plan_of(name)
    plan = make()
    x = data(shapes[1])
    out = plan(x)
    # Views of phases are objects, not arrays.
    views = 3000 if name == "phases" else 1000
    assert peak_of(lambda: plan(x, out)) < views
    assert peak_of(lambda: plan(x)) < out.nbytes + views


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 3, "boundary": "reflect"},
        {"layout": "NCHW", "stride": 2, "padding": 1},
        {"layout": "NHWC", "flip": True, "padding": "full", "input_dilation": 2},
        {"layout": "NCHW", "dtype": "complex64", "conj": True},
        {"layout": "NCHW", "dtype": "longdouble"},
        {"layout": "NHWC", "dtype": "float16", "bias": np.ones(6)},
    ],
)
def test_the_workspace_of_the_reference_holds_its_temporary_arrays(options):
    options = {"algorithm": "reference", **options}
    dtype = options.pop("dtype", "float32")
    layout = options.get("layout")
    shape = {"NCHW": (2, 4, 90, 150), "NHWC": (2, 90, 150, 4), None: (300, 400)}[layout]
    x, w = data(shape, dtype), data((6, 4, 3, 5) if layout else (3, 5), dtype)
    plan = fastconv.plan(w, shape, **options)
    out = plan(x)
    peak = peak_of(lambda: plan(x, out))
    assert peak <= plan.workspace_bytes + 4000
    assert peak >= plan.workspace_bytes // 3
    assert_same(fastconv.plan(w, shape, max_workspace=plan.workspace_bytes, **options)(x), out)
    with pytest.raises(ConvError, match="which refuses: needs"):
        fastconv.plan(w, shape, max_workspace=plan.workspace_bytes - 1, **options)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "reference"])
def test_max_workspace_is_a_hard_cap(name):
    w, options, shapes, make = plan_of(name)
    x = data(shapes[1])
    expected = make(x.shape)(x)
    usual = make(x.shape).workspace_bytes
    for most in (usual, usual // 2, usual // 8):
        try:
            plan = fastconv.plan(w, x.shape, max_workspace=most, **options)
        except ConvError as error:
            assert str(error).startswith(f"max_workspace: got {most}, allowed: at least ")
            least = int(str(error).split("at least ")[1].split()[0])
            assert least > most
            assert fastconv.plan(w, x.shape, max_workspace=least, **options).workspace_bytes == least
            continue
        assert plan.workspace_bytes <= most
        np.testing.assert_allclose(plan(x), expected, atol=1e-3)


def test_a_pointwise_layer_under_a_cap_copies_no_image():
    w = data((8, 16, 1, 1), seed=1)
    x = data((1, 16, 64, 130))[..., ::2]
    plan = fastconv.plan(w, x.shape, layout="NCHW", max_workspace=10**6)
    out = plan(x)
    assert_same(out, _reference.conv(x, w, layout="NCHW"))
    assert peak_of(lambda: plan(x, out)) < 1000


def test_integers_are_not_rounded_from_doubles_beyond_a_cap():
    x, w = data((300, 300), "int8"), data((41, 41), "int8")
    plan = fastconv.plan(w, x.shape)
    assert "fft in float64, rounded" in plan.explain()
    capped = fastconv.plan(w, x.shape, max_workspace=10**6)
    assert "rounded" not in capped.explain()
    assert_same(capped(x), plan(x))


@pytest.mark.parametrize("algorithm", ["direct", "gemm", "winograd", "reference"])
def test_what_follows_the_sums(algorithm):
    w, bias, scale = data((20, 8, 3, 3), seed=1), data(20, seed=2), data(20, seed=3)
    options = {"layout": "NCHW", "padding": 1, "bias": bias, "scale": scale, "activation": "relu"}
    plan = fastconv.plan(w, algorithm=algorithm, **options)
    added = fastconv.plan(w, algorithm=algorithm, residual=True, **options)
    for shape in ((1, 8, 9, 9), (2, 8, 20, 31)):
        x = data(shape)
        residual = data((shape[0], 20, *shape[2:]), seed=4)
        expected = fastconv.conv(x, w, accuracy="strict", **options)
        with_residual = fastconv.conv(x, w, accuracy="strict", residual=residual, **options)
        for _ in range(2):
            assert_whole(plan(x), expected)
            assert_whole(added(x, residual=residual), with_residual)
            out = residual.copy()
            assert added(x, out, out) is out
            assert_whole(out, with_residual)
        with pytest.raises(ConvError, match="^residual: got one, allowed: none"):
            plan(x, None, residual)
        with pytest.raises(ConvError, match="^residual: got none, allowed: one"):
            added(x)
        with pytest.raises(ConvError, match="^residual: got shape"):
            added(x, residual=residual[:, 1:])
    again = pickle.loads(pickle.dumps(added))
    assert_whole(again(x, residual=residual), with_residual)
