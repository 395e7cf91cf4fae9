"""Depthwise convolution by channels against the reference, and bit for bit against the same by columns.

Data are small whole numbers unless a test is about rounding, so that sums are exact whatever their order.
"""

import itertools

import numpy as np
import pytest
from _guard import Fence
from _tools import BOUNDARIES, assert_same, assert_same_bits, data, prefilled

import fastconv
from fastconv import _problem, _reference, _tunables
from fastconv.drivers import levels
from fastconv.planners import depthwise, direct

LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")
# As many channels as two vectors of the widest level have, and some that are left over at every level.
CHANNELS = 37


def image(shape, layout, dtype="float32", seed=0):
    """Return whole numbers of shape (batch, channels, height, width) in a layout."""
    return to_layout(data(shape, dtype, seed), layout)


def to_layout(values, layout):
    return np.ascontiguousarray(values.transpose(["NCHW".index(letter) for letter in layout]))


def from_layout(values, layout):
    return values.transpose([layout.index(letter) for letter in "NCHW"])


def plan_of(x, w, bias=None, *, planned=False, **options):
    """Return the problem, its operands and its plan by channels."""
    problem, operands = _problem.prepare(x, w, bias=bias, **options)
    problem = problem._replace(planned=planned)
    choice = depthwise.plan_depthwise(problem, levels.current())
    assert choice.driver is not None, choice.refusal
    return problem, operands, choice


def run(x, w, bias=None, *, threads=1, out=None, planned=False, **options):
    """Convolve by channels, whatever that costs."""
    problem, operands, choice = plan_of(x, w, bias, planned=planned, **options)
    if out is None:
        out = prefilled(problem.out_shape, problem.dtype)
    panels = (choice.driver.pack_all(operands.w),) if planned else ()
    choice.driver.run(operands.x, operands.w, operands.bias, out, threads, *panels)
    return out


def by_columns(x, w, **options):
    """Convolve with lanes of columns, the products in the order of the taps."""
    problem, operands = _problem.prepare(x, w, accuracy="strict", **options)
    driver = direct.plan_direct(problem, levels.current()).driver
    out = prefilled(problem.out_shape, problem.dtype)
    driver.run(operands.x, operands.w, operands.bias, out, 1)
    return out


def check(x, w, bias=None, **options):
    """Compare with the reference, of a plan too."""
    expected = _reference.conv(x, w, bias=bias, **options)
    assert_same(run(x, w, bias, **options), expected)
    assert_same(run(x, w, bias, planned=True, **options), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_and_height(level, layout, dtype):
    w, bias = data((CHANNELS, 1, 3, 3), dtype, 1), data(CHANNELS, dtype, 2)
    for height, width in [*((3, width) for width in range(1, 31)), *((height, 7) for height in range(1, 19))]:
        x = image((1, CHANNELS, height, width), layout, dtype)
        check(x, w, bias, layout=layout, groups=CHANNELS, padding=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (1, 3), (3, 1), (4, 3), (5, 5), (7, 7), (3, 9), (2, 11)])
def test_kernels_strides_and_dilations(level, layout, kernel):
    x, w = image((2, CHANNELS, 13, 17), layout), data((CHANNELS, 1, *kernel), seed=1)
    for stride, dilation in ((1, 1), (2, 1), (3, 1), (1, 2), (2, 2), ((2, 1), (1, 3))):
        check(x, w, layout=layout, groups=CHANNELS, padding="same", stride=stride, dilation=dilation)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [16, 17, 24, 31, 32, 33, 40, 64, 70])
def test_every_number_of_channels(level, layout, channels):
    x, w, bias = image((2, channels, 6, 9), layout), data((channels, 1, 3, 3), seed=1), data(channels, seed=2)
    check(x, w, bias, layout=layout, groups=channels, padding=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("multiplier", [2, 3])
def test_several_outputs_a_channel(level, layout, multiplier):
    w, bias = data((CHANNELS * multiplier, 1, 3, 3), seed=1), data(CHANNELS * multiplier, seed=2)
    for stride in (1, 2):
        x = image((2, CHANNELS, 9, 15), layout)
        check(x, w, bias, layout=layout, groups=CHANNELS, padding=1, stride=stride)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_boundaries_and_fill_values(level, layout, boundary):
    x, w = image((1, CHANNELS, 5, 8), layout), data((CHANNELS, 1, 3, 5), seed=1)
    paddings = ("valid", "same", "full", ((0, 1), (6, 0)), ((-1, 2), (3, -2)))
    for padding, fill, dilated in itertools.product(paddings, (0, 3), (1, 2)):
        options = {"padding": padding, "boundary": boundary, "fill_value": fill, "input_dilation": dilated}
        check(x, w, layout=layout, groups=CHANNELS, **options)
    check(x, w, layout=layout, groups=CHANNELS, padding="same", boundary=(boundary, "wrap"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_weight_that_is_not_finite_meets_the_padding(level, layout):
    """Padding is multiplied like any other sample: 0 times NaN or Inf is NaN."""
    x, w = image((1, CHANNELS, 6, 9), layout), data((CHANNELS, 1, 3, 3), seed=1)
    w[3, 0, 0, 0], w[20, 0, 1, 2], w[36, 0, 2, 1] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = _reference.conv(x, w, layout=layout, groups=CHANNELS, padding=1)
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    assert_same(run(x, w, layout=layout, groups=CHANNELS, padding=1), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_stay_in_their_windows(level, layout, bad):
    x, w = image((1, CHANNELS, 9, 16), layout), data((CHANNELS, 1, 3, 3), seed=1)
    at = {"NCHW": (0, 18, 4, 7), "NHWC": (0, 4, 7, 18)}[layout]
    x[at] = bad
    with np.errstate(invalid="ignore"):
        expected = _reference.conv(x, w, layout=layout, groups=CHANNELS, padding=1)
    actual = run(x, w, layout=layout, groups=CHANNELS, padding=1)
    assert np.count_nonzero(~np.isfinite(actual)) == 9
    assert_same(actual, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinds_of_arrays(level, layout):
    shape = (2, CHANNELS, 6, 11)
    x, w = image(shape, layout), data((CHANNELS, 1, 3, 3), seed=1)
    options = {"layout": layout, "groups": CHANNELS, "padding": 1}
    expected = _reference.conv(x, w, **options)
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    for kind in (wide[..., ::2], np.ascontiguousarray(x[:, ::-1])[:, ::-1], np.asfortranarray(x), shifted):
        assert_same(run(kind, w, **options), expected)
    # Channels of a pixel that do not follow each other, and those of planes that do.
    other = to_layout(from_layout(x, layout), "NHWC" if layout == "NCHW" else "NCHW")
    view = other.transpose(["NHWC".index(c) for c in layout] if layout == "NCHW" else ["NCHW".index(c) for c in layout])
    assert_same(run(view, w, **options), expected)
    assert_same(run(x, np.ascontiguousarray(w[::-1, :, ::-1, ::-1])[::-1, :, ::-1, ::-1], **options), expected)
    flipped = np.ascontiguousarray(w[..., ::-1, ::-1])
    assert_same(run(x, flipped, flip=True, **options), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_kinds_of_results(level, layout, multiplier):
    x, w = image((2, CHANNELS, 6, 11), layout), data((CHANNELS * multiplier, 1, 3, 3), seed=1)
    options = {"layout": layout, "groups": CHANNELS, "padding": 1}
    expected = _reference.conv(x, w, **options)
    for kind in ("strided", "reversed", "fortran"):
        if kind == "strided":
            out = prefilled((*expected.shape[:-1], 2 * expected.shape[-1]), x.dtype)[..., ::2]
        elif kind == "reversed":
            out = prefilled(expected.shape, x.dtype)[:, ::-1, ::-1]
        else:
            out = np.asfortranarray(prefilled(expected.shape, x.dtype))
        run(x, w, out=out, **options)
        assert_same(out.copy(), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_samples(level, layout):
    w = data((CHANNELS, 1, 3, 3), seed=1)
    for shape in ((0, CHANNELS, 5, 5), (1, CHANNELS, 0, 5)):
        x = image(shape, layout)
        check(x, w, data(CHANNELS, seed=2), layout=layout, groups=CHANNELS, padding=2, fill_value=3)


@pytest.mark.parametrize("layout", ["NCW", "NWC"])
def test_one_axis(level, layout):
    x, w = data((2, CHANNELS, 700), seed=0), data((CHANNELS, 1, 7), seed=1)
    x = x if layout == "NCW" else np.ascontiguousarray(x.transpose(0, 2, 1))
    for stride, dilation in ((1, 1), (2, 3), (5, 1)):
        check(x, w, layout=layout, groups=CHANNELS, padding=3, stride=stride, dilation=dilation)


def test_no_other_array_is_touched(level):
    fences = [Fence(1 << 18) for _ in range(4)]
    for layout, multiplier, width in itertools.product(LAYOUTS, (1, 2), (1, 2, 5, 7, 8, 14, 15, 16, 17, 33)):
        for channels, stride in ((16, 1), (CHANNELS, 2), (CHANNELS, 1)):
            x = image((1, channels, 4, width), layout)
            w = data((channels * multiplier, 1, 3, 3), seed=1)
            bias = data(channels * multiplier, seed=2)
            options = {"layout": layout, "groups": channels, "padding": 1, "stride": stride}
            expected = _reference.conv(x, w, bias=bias, **options)
            for side in ("first", "last"):
                out = fences[3].array(expected.shape, expected.dtype, side)
                out[...] = np.nan
                arrays = [fence.put(values, side) for fence, values in zip(fences, (x, w, bias), strict=False)]
                run(*arrays, out=out, **options)
                assert_same(out.copy(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((5, 5), 1), ((7, 7), 1), ((3, 3), 2), ((2, 4), 3)])
def test_the_same_bits_whatever_the_layout_and_the_threads(level, dtype, kernel, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, CHANNELS, 30, 41)).astype(dtype)
    w, bias = rng.standard_normal((CHANNELS, 1, *kernel)).astype(dtype), rng.standard_normal(CHANNELS).astype(dtype)
    options = {"groups": CHANNELS, "padding": "same", "stride": stride}
    first = run(x, w, bias, layout="NCHW", **options)
    last = to_layout(x, "NHWC")
    for threads, planned in itertools.product((1, 2), (False, True)):
        assert_same_bits(run(x, w, bias, layout="NCHW", threads=threads, planned=planned, **options), first)
        channels_last = run(last, w, bias, layout="NHWC", threads=threads, planned=planned, **options)
        assert_same_bits(np.ascontiguousarray(from_layout(channels_last, "NHWC")), first)
    assert_same_bits(run(x[1:], w, bias, layout="NCHW", **options), first[1:].copy())
    if stride == 1:
        assert_same_bits(by_columns(x, w, bias=bias, layout="NCHW", **options), first)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_share_large_layers(level, layout, threads):
    channels = 48
    x, w = image((1, channels, 90, 100), layout), data((channels, 1, 5, 5), seed=1)
    check_threads = {"layout": layout, "groups": channels, "padding": 2}
    assert_same(run(x, w, threads=threads, **check_threads), _reference.conv(x, w, **check_threads))


def test_bands_and_chunks(level, monkeypatch):
    """Images larger than a work item, in both directions."""
    monkeypatch.setattr(_tunables, "DEPTHWISE_COLUMNS", 9)
    monkeypatch.setattr(_tunables, "DEPTHWISE_IMAGE_BYTES", 0)
    rows_of_a_vector = 25 * levels.describe(level)["vector_bytes"]
    monkeypatch.setattr(_tunables, "DEPTHWISE_GATHERED_BYTES", 12 * rows_of_a_vector)
    for layout, stride, boundary in itertools.product(LAYOUTS, (1, 2), ("constant", "wrap", "reflect")):
        x, w = image((1, CHANNELS, 33, 25), layout), data((CHANNELS * 2, 1, 3, 3), seed=1)
        options = {"groups": CHANNELS, "padding": 1, "stride": stride, "boundary": boundary, "layout": layout}
        plan = plan_of(x, w, **options)[2].tiles
        assert plan.bands > 2
        assert plan.chunks > 1 or layout == "NCHW"
        check(x, w, **options)
        check(x, w[:CHANNELS], **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_layers_take(layout):
    """Layers of networks go by channels where those of a pixel follow each other; small ones in any layout."""
    wide = levels.describe(levels.current())["vector_bytes"] == 64
    for channels, size, kernel, stride in ((384, 14, 3, 1), (960, 7, 3, 1), (240, 28, 5, 1), (672, 14, 5, 2)):
        x, w = image((1, channels, size, size), layout), data((channels, 1, kernel, kernel), seed=1)
        options = {"layout": layout, "groups": channels, "padding": kernel // 2, "stride": stride}
        for plan in (fastconv.plan(w, x.shape, **options), fastconv.plan(w, x.shape, accuracy="strict", **options)):
            assert plan.algorithm == "direct"
            assert "lanes = channels" in plan.explain() or (layout == "NCHW" and not wide)
            assert plan.workspace_bytes < 3 * 2**20
            assert_same(plan(x), _reference.conv(x, w, **options))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_results_are_finished_while_they_are_stored(level, layout, multiplier):
    x, w = image((2, CHANNELS, 7, 7), layout), data((CHANNELS * multiplier, 1, 3, 3), seed=1)
    bias, scale = data(CHANNELS * multiplier, seed=2), data(CHANNELS * multiplier, seed=3)
    options = {"layout": layout, "groups": CHANNELS, "padding": 1}
    sums = from_layout(_reference.conv(x, w, **options), layout)
    finished = np.maximum(sums * scale[:, None, None] + bias[:, None, None], 0)
    residual = from_layout(image((2, CHANNELS * multiplier, 7, 7), layout, seed=4), layout)
    added = np.maximum(sums + bias[:, None, None] + residual, 0)
    more = {"bias": bias, "activation": "relu"}
    plan = fastconv.plan(w, x.shape, scale=scale, **more, **options)
    if "lanes = channels" in plan.explain():
        assert "as each tile is stored" in plan.explain()
    assert_same(plan(x), to_layout(finished, layout))
    out = prefilled(plan(x).shape, "float32").repeat(2, -1)[..., ::2]
    assert_same(plan(x, out=out).copy(), to_layout(finished, layout))
    rest = to_layout(residual, layout)
    assert_same(fastconv.conv(x, w, residual=rest, **more, **options), to_layout(added, layout))


def test_what_is_left_to_columns():
    few = levels.describe(levels.current())["vector_bytes"] // 4 - 1
    cases = {
        "channels": (data((1, 8, 9, 9)), data((8, 2, 3, 3)), 4),
        "few": (data((1, few, 9, 9)), data((few, 1, 3, 3)), few),
        "dtype": (data((1, 32, 9, 9), "int32"), data((32, 1, 3, 3), "int32"), 32),
        "volume": (data((1, 32, 3, 4, 5)), data((32, 1, 1, 1, 1)), 32),
    }
    for name, (x, w, groups) in cases.items():
        layout = "NCDHW" if name == "volume" else "NCHW"
        options = {"layout": layout, "groups": groups}
        problem, _ = _problem.prepare(x, w, **options)
        assert depthwise.plan_depthwise(problem, levels.current()).driver is None, name
        assert_same(fastconv.conv(x, w, **options), _reference.conv(x, w, **options))
    image_of_one = data((64, 64))
    assert "lanes = channels" not in fastconv.plan(data((3, 3)), image_of_one.shape).explain()


def test_max_workspace_leaves_it_to_others():
    x, w = data((1, 64, 14, 14)), data((64, 1, 3, 3), seed=1)
    options = {"layout": "NCHW", "groups": 64, "padding": 1}
    needed = fastconv.plan(w, x.shape, **options).workspace_bytes
    limited = fastconv.plan(w, x.shape, max_workspace=needed - 1, **options)
    assert limited.workspace_bytes < needed
    assert_same(limited(x), _reference.conv(x, w, **options))


@pytest.mark.parametrize("layout", ["WCN", "HWCN", "CHWN", "HCW"])
def test_channels_in_the_middle(level, layout):
    sizes = {"N": 2, "C": 19, "H": 6, "W": 21}
    x, w = data([sizes[letter] for letter in layout]), data((19, 1, *(3,) * (len(layout.replace("N", "")) - 1)), seed=1)
    options = {"layout": layout, "groups": 19, "padding": 1, "boundary": "edge"}
    assert_same(fastconv.conv(x, w, **options), _reference.conv(x, w, **options))
