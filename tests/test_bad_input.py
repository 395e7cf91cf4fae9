"""What cannot be computed is refused, by an error that names the argument, before anything is written.

Also the calls that broke other libraries (https://nvd.nist.gov/vuln/detail/CVE-2022-21725 and the like): each is
refused or computed rightly here, within seconds and without large allocations.
"""

import itertools
import sys

import numpy as np
import pytest
from _tools import BOUNDARIES, assert_same, data, prefilled, run_python, shown

import fastconv
from fastconv import ConvError, ConvTypeError, _reference, nn, signal

X, W = data((2, 4, 9, 10)), data((6, 4, 3, 3), seed=1)
HOSTILE = (0, -1, -(2**31), 2**62, 2**63 - 1, 2**63, 2**64, -(2**70))
NO_NUMBERS = (None, 1.0, "1", b"1", 1j, True, np.True_, [None], object, np.float32(1), np.array(1.0), {1}, slice(1))


def refused(error, message, x=X, w=W, shape=(2, 6, 7, 8), **options):
    """Check that a call is refused and leaves `out` alone, and return the error."""
    options = {"layout": "NCHW"} | options
    out = prefilled(shape, "float32")
    with pytest.raises(error, match=message) as caught:
        fastconv.conv(x, w, **{"out": out} | options)
    assert isinstance(caught.value, (ConvError, ConvTypeError))
    assert "allowed: " in str(caught.value)
    assert_same(out, prefilled(shape, "float32"))
    return caught.value


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stride", "dilation", "input_dilation"])
@pytest.mark.parametrize("value", HOSTILE)
def test_spacings_out_of_range(name, value):
    refused(ConvError, f"^{name}: got {value}, allowed: integers from 1", **{name: value})
    refused(ConvError, f"^{name}: got {value}, allowed: integers from 1", **{name: (1, value)})
    refused(ConvError, f"^{name}: got {value}, allowed", x=X[0, 0], w=W[0, 0], layout=None, **{name: [value, 1]})


@pytest.mark.parametrize("name", ["stride", "dilation", "input_dilation"])
def test_large_spacings(name):
    """Within range: a window or an input that long is refused, a stride that long makes one output."""
    for value in (2**31 - 1, 2**31, 2**32, 2**40, 2**47, 2**48):
        if name == "stride":
            assert fastconv.conv(X, W, layout="NCHW", stride=value).shape == (2, 6, 1, 1)
        elif name == "dilation":
            refused(ConvError, f"^w: got a window of {2 * value + 1} samples", dilation=value)
        else:
            refused(ConvError, "^(x|padding|input_dilation): got ", input_dilation=value)


@pytest.mark.parametrize("name", ["stride", "dilation", "input_dilation", "padding"])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=shown)
def test_spacings_that_are_no_integers(name, value):
    refused((ConvError, ConvTypeError), f"^{name}: got ", **{name: value})
    refused((ConvError, ConvTypeError), f"^{name}: got ", **{name: (1, value)})


@pytest.mark.parametrize("name", ["stride", "dilation", "input_dilation", "padding"])
@pytest.mark.parametrize("value", [(), (1,), (1, 1, 1), [[1, 1], [1, 1], [1, 1]], np.ones(3, int)], ids=shown)
def test_wrong_numbers_of_axes(name, value):
    refused(ConvError, f"^{name}: got ", **{name: value})


def test_integers_may_be_of_any_kind():
    expected = fastconv.conv(X, W, layout="NCHW", stride=2, padding=1)
    for two in (np.int8(2), np.uint64(2), np.array(2), [2, 2], (np.int64(2), 2), np.array([2, 2], "u1")):
        assert_same(fastconv.conv(X, W, layout="NCHW", stride=two, padding=1), expected)
    for one in (np.int8(1), np.array(1), [1, 1], ((1, 1), 1), [[1, 1], [1, 1]], np.ones((2, 2), int)):
        assert_same(fastconv.conv(X, W, layout="NCHW", stride=2, padding=one), expected)


@pytest.mark.parametrize("value", [*HOSTILE, 2**31, 3, 5, 8])
def test_groups_out_of_range(value):
    refused(ConvError, f"^groups: got {value}", groups=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, (1,), (1, 1)], ids=shown)
def test_groups_that_are_no_integers(value):
    refused(ConvTypeError, "^groups: got ", groups=value)


def test_groups_that_divide_only_one_side():
    refused(ConvError, "^groups: got 4 for 4 channels in and 6 out", groups=4, w=W[:, :1])
    refused(ConvError, "^groups: got 3 for 4 channels in and 6 out", groups=3, w=W[:, :1])
    refused(ConvError, "^w: got 4 channels in a group .*allowed: 2 for x", groups=2)
    refused(ConvError, "^groups: got 2, allowed: 1 where", groups=2, x=X[0, 0], w=W[0, 0], layout=None)


@pytest.mark.parametrize("value", [-1, -(2**40), 2**62, 2**70])
def test_max_workspace_out_of_range(value):
    refused(ConvError, f"^max_workspace: got {value}", max_workspace=value)


@pytest.mark.parametrize("value", [1.0, "1", True, [1]], ids=shown)
def test_max_workspace_that_is_no_integer(value):
    refused(ConvTypeError, "^max_workspace: got ", max_workspace=value)


# --- padding and boundaries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["SAME", "", "reflect", ["same", "same"], ("full", 1)], ids=shown)
def test_padding_words(value):
    refused((ConvError, ConvTypeError), "^padding: got ", padding=value)


@pytest.mark.parametrize(
    "value", [((1, 1, 1), (1, 1)), ((1,), (1,)), [[1, 2], []], [(1, 1.5), (1, 1)], [((1, 1), 1), 1]], ids=shown
)
def test_padding_pairs(value):
    refused((ConvError, ConvTypeError), "^padding: got ", padding=value)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_padding_that_no_memory_holds(boundary):
    for value in (1_600_000_000, 2**31, 2**40, 2**47):
        refused(ConvError, "got ", padding=value, boundary=boundary)
    for value in (2**48 + 1, 2**62, 2**63, 2**70, -(2**62), -(2**70)):
        refused(ConvError, "^padding: got ", padding=value, boundary=boundary)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_far_padding_with_few_outputs(boundary):
    """Large enough for 32-bit numbers to overflow, small as a result."""
    x, w = data((9, 10)), data((2, 2), seed=1)
    for far in (2**31 + 3, 2**40 + 1):
        lo, hi = far, 5
        actual = fastconv.conv(x, w, padding=((0, 0), (lo, hi)), stride=(1, far), boundary=boundary, fill_value=2)
        # The first output lies `far` samples outside, the second at the start of the input.
        columns = (
            [np.full((9, 1), 2.0)] * 2
            if boundary == "constant"
            else [x[:, [index_of(at, 10, boundary)]] for at in (-far, 1 - far)]
        )
        strip = np.concatenate([*columns, x[:, :2]], axis=1).astype(np.float32)
        assert_same(actual, _reference.conv(strip, w, stride=(1, 2)))


def index_of(at, n, boundary):
    """Return the sample that a boundary shows at a place before the first one."""
    period = {"edge": 1, "wrap": n, "symmetric": 2 * n, "reflect": 2 * n - 2}[boundary]
    if boundary == "edge":
        return 0
    at %= period
    return at if at < n else period - at - (boundary == "symmetric")


@pytest.mark.parametrize(
    ("pads", "x"),
    [
        (-5, X),
        (((-10, 0), (0, 0)), X),
        (((0, 0), (-4, -4)), X),
        (((20, -12), (0, 0)), X),
        (((-12, 20), (0, 0)), X),
        (((-(2**40), 2**40), (0, 0)), X),
    ],
    ids=shown,
)
@pytest.mark.parametrize("boundary", ["constant", "wrap"])
def test_cropping_too_much(pads, x, boundary):
    refused(ConvError, "^(padding|w): got ", x=x, padding=pads, boundary=boundary)


@pytest.mark.parametrize(
    "value", ["fill", "", "Wrap", None, 0, ["wrap"], ["wrap"] * 3, ["wrap", "fill"], ["wrap", 1]], ids=shown
)
def test_boundaries(value):
    refused((ConvError, ConvTypeError), "^boundary: got ", boundary=value)


def test_boundaries_of_nothing():
    empty = np.ones((1, 4, 0, 10), np.float32)
    for boundary in BOUNDARIES[1:]:
        refused(
            ConvError,
            f"^boundary: got '{boundary}' for an empty axis 0, allowed: 'constant'",
            x=empty,
            padding=2,
            boundary=boundary,
        )
        refused(ConvError, "^(boundary|w): got ", x=empty, boundary=boundary)


@pytest.mark.parametrize("value", [None, "0", [1, 2], [], [[1], [1, 2]], np.ones(2), object(), 2**70], ids=shown)
def test_fill_values_that_are_no_number(value):
    refused((ConvError, ConvTypeError), "^fill_value: got ", fill_value=value)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (256, "uint8"),
        (-1, "uint8"),
        (128, "int8"),
        (2**63, "int64"),
        (0.5, "int32"),
        (np.nan, "int32"),
        (1j, "float64"),
        (1e300, "float32"),
        (70000.0, "float16"),
        (-1e40, "complex64"),
    ],
)
def test_fill_values_that_the_dtype_cannot_hold(value, dtype):
    with pytest.raises((ConvError, ConvTypeError), match="^fill_value: got "):
        fastconv.conv(np.ones(4, dtype), np.ones(2, dtype), padding=1, fill_value=value)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_fill_values_that_floats_do_hold(value):
    for dtype in ("float16", "float32", "float64"):
        padded = fastconv.conv(np.ones(2, dtype), np.ones(1, dtype), padding=1, fill_value=value)
        np.testing.assert_array_equal(padded, np.array([value, 1, 1, value], dtype))


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_kernels_larger_than_the_padded_input():
    for rows, columns in ((2, 10), (1, 10), (9, 2), (9, 1)):
        axis = 0 if rows < 3 else 1
        most = min(rows, columns)
        message = f"^w: got a window of 3 samples along spatial axis {axis}, allowed: at most the {most} samples"
        refused(ConvError, message, x=X[:, :, :rows, :columns])
        refused(ConvError, message, x=X[0, 0, :rows, :columns], w=W[0, 0], layout=None, stride=3)
        with pytest.raises(ConvError, match=message.replace("^w:", "^weight:")):
            nn.conv2d(X[:, :, :rows, :columns], W)
    refused(
        ConvError, r"at most the 4 samples of the padded input \(1 \+ 2 \+ 1\)", x=X[:, :, :2], padding=1, dilation=2
    )
    assert fastconv.conv(X[:, :, :1], W, layout="NCHW", padding=1).shape == (2, 6, 1, 10)


def test_kernels_of_nothing():
    refused(ConvError, r"^w: got an empty kernel \(0, 3\), allowed", w=W[:, :, :0])
    refused(ConvError, r"^w: got an empty kernel \(3, 0\), allowed", w=W[:, :, :, :0])
    refused(ConvError, r"^w: got an empty kernel \(0,\), allowed", x=np.ones(3), w=np.ones(0), layout=None)
    refused(ConvError, "^w: got an empty kernel", w=W[:0, :, :0], padding="full")


def test_inputs_of_nothing():
    refused(ConvError, "^w: got a window of 3 samples", x=X[:, :, :0])
    refused(ConvError, "^w: got a window of 3 samples", x=X[:0, :, :0])
    refused(ConvError, "^x: got 0 channels", x=X[:, :0], w=W[:, :0])
    refused(ConvError, "^x: got 0 channels", x=X[:, :0])
    refused(ConvError, "^w: got 0 channels in a group", w=W[:, :0])
    refused(ConvError, "^(x|w|groups): got ", x=X[:, :0], w=W[:0, :0], groups=2)


@pytest.mark.parametrize(
    ("layout", "x_shape", "w_shape", "message"),
    [
        (None, (), (), "^w: got 0 axes"),
        (None, (), (3,), "^w: got 1 axes"),
        (None, (5, 5), (3,), "^w: got 1 axes"),
        (None, (5,), (3, 3), "^w: got 2 axes"),
        ("NCHW", (5, 5), (1, 1, 3, 3), "^x: got 2 axes"),
        ("NCHW", (1, 1, 1, 5, 5), (1, 1, 3, 3), "^x: got 5 axes"),
        ("NCHW", (1, 1, 5, 5), (3, 3), "^w: got 2 axes"),
        ("NCHW", (1, 1, 5, 5), (1, 1, 1, 3, 3), "^w: got 5 axes"),
        ("CW", (1, 5), (3,), "^w: got 1 axes"),
        ("NCHW", (1, 2, 5, 5), (1, 3, 3, 3), "^w: got 3 channels in a group"),
    ],
)
def test_ranks(layout, x_shape, w_shape, message):
    refused(ConvError, message, x=np.ones(x_shape, np.float32), w=np.ones(w_shape, np.float32), layout=layout)


@pytest.mark.parametrize(
    "layout", ["", "C", "NC", "HW", "NHW", "NNCHW", "NCCHW", "NCHH", 5, b"NCHW", ["N", "C", "H", "W"], True], ids=shown
)
def test_layouts(layout):
    refused((ConvError, ConvTypeError), "^layout: got ", layout=layout)


def test_sizes_whose_product_overflows():
    one = np.float32(1)
    w = np.ones((1, 1, 1, 1), np.float32)
    for sizes in ((2**24, 1, 2**24, 2**24), (2**31, 1, 2**31, 1), (0, 1, 2**30, 2**30), (0, 1, 2**24, 2**40)):
        try:
            x = np.broadcast_to(one, sizes)
        except ValueError:
            # NumPy itself cannot make this one; a plan takes any shape.
            with pytest.raises(ConvError, match="^x"):
                fastconv.plan(w, sizes, layout="NCHW")
            continue
        refused(ConvError, "^x: got a result of shape", x=x, w=w)
    image, many = np.ones((1, 1, 4, 4), np.float32), np.broadcast_to(one, (2**56, 1, 1, 1))
    refused(ConvError, "^x: got a result of shape", x=image, w=many)


# Bytes of address space beyond what NumPy and fastconv take, for calls that must not try to allocate much.
LIMITED = """
import resource, time
import numpy as np, fastconv
taken = 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, taken + 2**30))
one = np.float32(1)
start = time.monotonic()
try:
    result = {call}
    print("result", result.shape)
except (MemoryError, fastconv.ConvError) as error:
    print(type(error).__name__, error)
assert time.monotonic() - start < 20
assert (fastconv.conv(np.ones(5), np.ones(3)) == 3).all()
print("alive")
"""


@pytest.mark.parametrize(
    "call",
    [
        "fastconv.conv(np.ones(4), np.ones(3), padding=1_600_000_000)",
        "fastconv.conv(np.ones(4), np.ones(3), padding=2**40)",
        "fastconv.conv(np.ones((4, 4)), np.ones((3, 3)), padding=((2**40, 0), (0, 0)), boundary='wrap')",
        "fastconv.conv(np.ones((4, 4)), np.ones((3, 3)), padding=((0, 0), (0, 2**40)), boundary='edge')",
        "fastconv.conv(np.broadcast_to(one, (2**31,)), np.broadcast_to(one, (2**31 - 1,)))",
        "fastconv.conv(np.broadcast_to(one, (2**16, 2**17)), np.broadcast_to(one, (2**16, 2**17)))",
        "fastconv.conv(np.broadcast_to(one, (2**40, 1, 1, 1)), np.ones((1, 1, 1, 1), 'f'), layout='NCHW')",
        "fastconv.conv(np.broadcast_to(one, (1, 2**40, 1)), np.broadcast_to(one, (1, 2**40, 1)), layout='NCW')",
        "fastconv.conv(*(np.broadcast_to(one, s) for s in ((1, 2**40, 1), (2**40, 1, 1))), layout='NCW', groups=2**40)",
        "fastconv.conv(np.broadcast_to(one, (1, 1, 1)), np.broadcast_to(one, (2**40, 1, 1)), layout='NCW')",
        "fastconv.conv(np.ones(4), np.ones(3), input_dilation=2**40)",
        "fastconv.conv(np.ones(4, 'i2'), np.ones(3, 'i2'), padding=2**40, overflow='raise')",
        "fastconv.plan(np.ones(3), (2**40,))(np.broadcast_to(1.0, (2**40,)))",
        "fastconv.signal.convolve2d(np.broadcast_to(one, (2**30, 2**30)), np.ones((3, 3)))",
    ],
)
@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory, as Linux counts it")
def test_calls_beyond_memory(call):
    done = run_python(LIMITED.format(call=call))
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith(("MemoryError", "ConvError"))
    assert lines[1:] == ["alive"]


# --- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["O", "S3", "U2", "M8[s]", "m8[D]", "V4", [("a", "f4"), ("b", "f4")]], ids=str)
def test_dtypes_that_are_not_numbers(dtype):
    odd = np.zeros(X.shape, dtype)
    refused(ConvTypeError, "^x: got dtype", x=odd)
    refused(ConvTypeError, "^w: got dtype", w=np.zeros(W.shape, dtype))
    refused(ConvTypeError, "^bias: got dtype", bias=np.zeros(6, dtype))
    refused(ConvTypeError, "^dtype: got", dtype=dtype)


@pytest.mark.parametrize(
    "value",
    [None, "text", object(), [None], {}, lambda: 1, [[1], [1, 2]], [np.ones(2), np.ones(3)]],
    ids=lambda v: type(v).__name__,
)
def test_operands_that_make_no_array(value):
    refused((ConvError, ConvTypeError), "^x: got ", x=value)
    refused((ConvError, ConvTypeError), "^w: got ", w=value)
    if value is not None:
        refused((ConvError, ConvTypeError), "^bias: got ", bias=value)


@pytest.mark.parametrize(
    ("x", "w", "dtype"),
    [
        ("f4", "f4", "i4"),
        ("i4", "f8", "i8"),
        ("c8", "f4", "f8"),
        ("f4", "f4", "?"),
        ("i4", "i4", "u4"),
        ("i4", "i4", "?"),
    ],
)
def test_dtypes_that_would_lose_the_kind(x, w, dtype):
    refused(ConvTypeError, "^dtype: got .* of dtype", x=X.astype(x), w=W.astype(w), dtype=dtype)


@pytest.mark.parametrize("dtype", ["nonsense", 7, "f3", object, "O", str], ids=shown)
def test_dtypes_that_are_none(dtype):
    refused(ConvTypeError, "^dtype: got ", dtype=dtype)


# --- names and switches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["algorithm", "accuracy", "center", "overflow", "activation"])
@pytest.mark.parametrize("value", ["", "AUTO", "fastest", 1, ["auto"], b"auto", np.array(["auto", "wrap"])], ids=shown)
def test_names(name, value):
    error = refused((ConvError, ConvTypeError), f"^{name}: got ", **{name: value})
    assert "'" in str(error).split("allowed: ")[1]


@pytest.mark.parametrize("name", ["algorithm", "accuracy", "center", "overflow"])
def test_names_that_cannot_be_left_out(name):
    refused((ConvError, ConvTypeError), f"^{name}: got None", **{name: None})


@pytest.mark.parametrize("name", ["flip", "conj"])
@pytest.mark.parametrize("value", [None, "yes", 2, 1.0, [True], np.ones(2)], ids=shown)
def test_switches(name, value):
    refused(ConvTypeError, f"^{name}: got ", **{name: value})


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_activations_of_other_dtypes(dtype):
    refused(
        ConvTypeError,
        f"^activation: got 'relu' with dtype {dtype}",
        x=X.astype(dtype),
        w=W.astype(dtype),
        activation="relu",
    )


def test_keywords_that_do_not_exist():
    with pytest.raises(TypeError, match="strides"):
        fastconv.conv(X, W, layout="NCHW", strides=2)
    with pytest.raises(TypeError, match="positional"):
        fastconv.conv(X, W, None)


# --- bias and out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (5,), (7,), (0,), (1, 6), (6, 1), (6, 1, 1)])
def test_shapes_of_a_bias(shape):
    refused(
        ConvError,
        rf"^bias: got shape \({', '.join(map(str, shape))},?\), allowed: \(6,\)",
        bias=np.ones(shape, np.float32),
    )


@pytest.mark.parametrize("shape", [(0,), (2,), (1, 1)])
def test_shapes_of_a_bias_without_channels(shape):
    refused(ConvError, "^bias: got shape ", bias=np.ones(shape), x=X[0, 0], w=W[0, 0], layout=None)


def test_dtypes_of_a_bias():
    refused(ConvTypeError, "^bias: got dtype complex128, allowed: .*float32", bias=np.ones(6, complex))
    refused(ConvTypeError, "^bias: got dtype float64", x=X.astype("i4"), w=W.astype("i4"), bias=np.ones(6))


@pytest.mark.parametrize("shape", [(), (2, 6, 7, 9), (2, 6, 8, 7), (6, 7, 8), (1, 2, 6, 7, 8), (2, 6, 7, 0), (336,)])
def test_shapes_of_out(shape):
    refused(ConvError, r"^out: got shape .*, allowed: \(2, 6, 7, 8\)", out=np.empty(shape, np.float32))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "complex64", "O", "V4"])
def test_dtypes_of_out(dtype):
    refused(ConvTypeError, "^out: got dtype .*, allowed: float32", out=np.empty((2, 6, 7, 8), dtype))


@pytest.mark.parametrize("value", [1, "out", [], ((),), memoryview(b""), np.float32(1)], ids=shown)
def test_outs_that_are_no_array(value):
    refused((ConvError, ConvTypeError), "^out: got ", out=value)


def test_a_read_only_out_is_refused_and_left_alone():
    out = prefilled((2, 6, 7, 8), "float32")
    out.flags.writeable = False
    refused(ConvError, "^out: got a read-only array, allowed: a writeable one", out=out)
    assert_same(out, prefilled((2, 6, 7, 8), "float32"))
    refused(ConvError, "^out: got a read-only array", out=np.broadcast_to(np.float32(0), (2, 6, 7, 8)))


@pytest.mark.parametrize("overflow", ["saturate", "raise"])
def test_out_is_checked_with_every_overflow(overflow):
    x, w = np.ones((5, 5), np.int16), np.ones((2, 2), np.int16)
    for out, message in (
        (np.empty((5, 4), np.int16), r"^out: got shape \(5, 4\), allowed: \(4, 4\)"),
        (np.empty((4, 4), np.int32), "^out: got dtype int32, allowed: int16"),
    ):
        with pytest.raises((ConvError, ConvTypeError), match=message):
            fastconv.conv(x, w, overflow=overflow, out=out)


# --- what an algorithm refuses ---------------------------------------------------------------------------------------


def test_a_refused_algorithm_writes_nothing():
    refused(
        ConvError,
        "^algorithm: got 'gemm', which refuses",
        x=X.astype("i4"),
        w=W.astype("i4"),
        algorithm="gemm",
        out=prefilled((2, 6, 7, 8), "int32"),
    )
    refused(ConvError, "^algorithm: got 'direct', which refuses", max_workspace=0, algorithm="direct")


# --- hostile memory layouts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strides", [(2**62, 4), (-(2**62), 4), (4, 2**61), (0, -4), (2**62 + 1, 2**62 + 3)], ids=shown)
def test_strides_that_nothing_is_read_through(strides):
    """An axis of one element may have any stride; index times stride must not be computed past it."""
    values = data(16)
    for shape in itertools.product((1, 12), repeat=2):
        if any(size > 1 and abs(stride) > 8 for size, stride in zip(shape, strides, strict=True)):
            continue
        if any(size > 1 and stride < 0 for size, stride in zip(shape, strides, strict=True)):
            continue
        view = np.lib.stride_tricks.as_strided(values, shape, strides)
        copy = view.copy()
        for kernel, padding in (((1, 1), 0), ((3, 3), "same")):
            w = data(kernel, seed=1)
            for boundary in BOUNDARIES:
                actual = fastconv.conv(view, w, padding=padding, boundary=boundary)
                assert_same(actual, fastconv.conv(copy, w, padding=padding, boundary=boundary))
            layer = {"layout": "CHW", "padding": padding, "algorithm": "gemm"}
            assert_same(
                fastconv.conv(view[None], w[None, None], **layer), fastconv.conv(copy[None], w[None, None], **layer)
            )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_kernels_a_thousand_times_the_input(boundary):
    x = np.broadcast_to(np.float32(2), (3, 4))
    w = np.broadcast_to(np.float32(1), (3000, 4))
    out = fastconv.conv(x, w, padding="same", boundary=boundary, fill_value=2, accuracy="strict")
    assert_same(out, np.full((3, 4), np.float32(2 * 3000 * 4)))
    wide = fastconv.conv(x, w.T, padding=((2, 1), (4000, 4000)), boundary=boundary, fill_value=2, accuracy="strict")
    assert_same(wide, np.full(wide.shape, np.float32(2 * 3000 * 4)))


def test_every_mode_on_every_empty_size():
    for mode, boundary in itertools.product(("full", "same", "valid"), ("fill", "wrap", "symm")):
        for x_shape, w_shape in itertools.product(((0, 0), (0, 3), (3, 0), (3, 3)), repeat=2):
            x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
            for function in (signal.convolve2d, signal.correlate2d):
                try:
                    result = function(x, w, mode, boundary)
                except ConvError:
                    continue
                if 0 in x_shape or 0 in w_shape:
                    assert not result.any()
