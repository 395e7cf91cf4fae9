"""fastconv in the place of SciPy's and NumPy's functions: who gets it, what it takes, and the way back."""

import copy
import inspect
import pickle
import threading

import numpy as np
import pytest
from _tools import assert_same, data, run_python
from scipy import ndimage, signal

import fastconv
from fastconv import ConvError, _patch
from fastconv._report import NO_REPORT, Report

# What a call needs beside arrays.
MORE = {
    "gaussian_filter": (1.5,),
    "gaussian_filter1d": (1.5,),
    "uniform_filter1d": (3,),
    "gaussian_laplace": (1,),
    "gaussian_gradient_magnitude": (1,),
}
MODULES = {"scipy.signal": signal, "scipy.ndimage": ndimage, "numpy": np}
FUNCTIONS = [(home, name) for home, (_, peers) in _patch._PEERS.items() for name in peers]
ON_ARRAYS = [(home, name) for home, name in FUNCTIONS if name != "correlation_lags"]
CHARS = "?bBhHiIlLqQefdgFDGSUOmMV"


def arguments(home, name, dtype="float64", weights=None):
    """Return arguments of an ordinary call."""
    if name == "correlation_lags":
        return 7, 3
    shape, kernel = ((7,), (3,)) if home == "numpy" else ((7, 6), (3, 2))
    x = filled(shape, dtype)
    if home == "scipy.ndimage":
        if name in ("convolve", "correlate"):
            return x, filled((3, 3), weights or "float64")
        if name in ("convolve1d", "correlate1d"):
            return x, filled(3, weights or "float64")
        return x, *MORE.get(name, ())
    return x, filled(kernel, weights or dtype)


def filled(shape, dtype):
    """Return an array of any dtype at all."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biufc":
        return (
            data(shape, dtype, most=3) if dtype.kind not in "iu" else (data(shape, "float64", most=3) + 3).astype(dtype)
        )
    if dtype.kind in "mM":
        return np.ones(shape, "int64").view(f"{dtype.char}8[s]")
    return np.zeros(shape, "V8") if dtype.kind == "V" else np.full(shape, 1).astype(dtype)


def outcome(function, *arguments, **options):
    """Return what came of a call: the result's type, dtype and shape, or the exception's type and message."""
    try:
        result = function(*arguments, **options)
    except Exception as error:
        return type(error), str(error)
    if isinstance(result, np.ndarray):
        return type(result), result.dtype, result.shape
    return result


@pytest.fixture
def report():
    """Count calls, with the functions replaced."""
    counted = Report()
    _patch.report_to(counted)
    with fastconv.patched():
        yield counted
    _patch.report_to(NO_REPORT)


def reasons(report):
    """Return why calls went to the originals."""
    return [why for _, why in report._sums if why]


# --- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("home", "name"), FUNCTIONS)
def test_a_replacement_looks_like_the_original(home, name):
    module = MODULES[home]
    original = getattr(module, name)
    signature, pickled = inspect.signature(original), pickle.dumps(original)
    with fastconv.patched():
        replacement = getattr(module, name)
        assert replacement is not original
        assert replacement.__wrapped__ is original
        for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
            assert getattr(replacement, attribute) == getattr(original, attribute)
        assert inspect.signature(replacement) == signature
        assert inspect.isroutine(replacement)
        assert pickle.loads(pickle.dumps(replacement)) is replacement
        assert pickle.loads(pickled) is replacement
        assert copy.deepcopy(replacement) is replacement
        meanwhile = pickle.dumps(replacement)
    assert getattr(module, name) is original
    assert pickle.loads(meanwhile) is original
    assert b"fastconv" not in meanwhile


def test_either_is_found_in_a_dict_by_the_other():
    original = signal.convolve
    with fastconv.patched():
        assert {original: 1}[signal.convolve] == 1
        assert {signal.convolve: 1}[original] == 1
        assert signal.convolve == original
        assert signal.convolve not in (signal.correlate, None)
        assert len({original, signal.convolve, signal.correlate}) == 2


def test_attributes_that_only_the_original_has():
    with fastconv.patched():
        assert signal.convolve.__defaults__ == ("full", "auto")
        assert np.convolve._implementation is np.convolve.__wrapped__._implementation
        with pytest.raises(AttributeError, match="no_such_thing"):
            signal.convolve.no_such_thing  # noqa: B018
        assert repr(np.correlate) == "<fastconv in the place of numpy.correlate>"


def test_a_replacement_in_the_body_of_a_class_is_a_method():
    with fastconv.patched():

        class Filter(np.ndarray):
            blurred = ndimage.uniform_filter
            apart = staticmethod(ndimage.uniform_filter)

        x = np.arange(9.0).view(Filter)
        assert_same(x.blurred(3), x.apart(x, 3))
        assert Filter.blurred is ndimage.uniform_filter


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("home", "name"), FUNCTIONS)
def test_a_call_is_taken_and_gives_the_same(home, name, report):
    function = getattr(MODULES[home], name)
    given = arguments(home, name)
    by_name = dict(zip(inspect.signature(function).parameters, given, strict=False))
    expected = function.__wrapped__(*given)
    for result in (function(*given), function(**by_name), function(*[as_list(each) for each in given])):
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(result, expected, atol=1e-12)
        assert outcome(lambda value=result: value) == outcome(lambda: expected)
    assert reasons(report) == []
    assert report._sums[f"{home}.{name}", ""][0] == 3


def as_list(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(("home", "name"), ON_ARRAYS)
def test_every_dtype_gives_what_it_gave(home, name):
    function = getattr(MODULES[home], name)
    calls = [arguments(home, name, char) for char in CHARS]
    calls += [arguments(home, name, "float64", char) for char in CHARS]
    calls += [arguments(home, name, "uint8", char) for char in "?e"]
    # strings, dates and objects go through transforms of SciPy's that warn of imaginary parts
    with np.errstate(all="ignore"):
        before = [outcome(function, *call) for call in calls]
        with fastconv.patched():
            after = [outcome(getattr(MODULES[home], name), *call) for call in calls]
    assert after == before


@pytest.mark.parametrize(("home", "name"), ON_ARRAYS)
def test_strides_and_byte_order_are_taken(home, name, report):
    given = arguments(home, name)
    x = given[0].astype(">f8")[::-1]
    function = getattr(MODULES[home], name)
    result = function(x, *given[1:])
    if isinstance(result, np.ndarray):
        np.testing.assert_allclose(result, function.__wrapped__(x, *given[1:]), atol=1e-12)
    assert reasons(report) == []


def test_what_stands_on_convolve(report):
    a, b = np.arange(5.0), np.array([1.0, 2.0])
    assert np.polymul(a, b).tolist() == [1, 4, 7, 10, 8]
    assert np.polynomial.polynomial.polymul(a, b).tolist() == [0, 1, 4, 7, 10, 8]
    masked = np.ma.convolve(np.ma.array(a, mask=a == 2), b, propagate_mask=False)
    assert masked.tolist() == [0, 1, 2, 3, 10, 8]
    rows = np.vectorize(np.convolve, signature="(n),(m)->(k)")(np.eye(2), [1, 2])
    assert rows.tolist() == [[1, 2, 0], [0, 1, 2]]
    assert (np.poly1d(b) * np.poly1d([1.0, 0.0])).coeffs.tolist() == [1, 2, 0]
    assert reasons(report) == []


# --- what goes to the original ---------------------------------------------------------------------------------------


class Foreign:
    """An array of another library: NumPy can read it."""

    def __init__(self, values):
        self.values = np.asarray(values, float)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Overriding(np.ndarray):
    """A subclass that wants to be asked, as quantities with units do."""

    def __array_function__(self, function, types, arguments, options):
        return f"{function.__name__} asked"


class Plain(np.ndarray):
    """A subclass that means nothing by it, as images from imageio are."""


def test_arrays_of_other_libraries(report):
    x = np.arange(8.0)
    for home, name in ON_ARRAYS:
        given = arguments(home, name)
        function = getattr(MODULES[home], name)
        assert outcome(function, Foreign(given[0]), *given[1:]) == outcome(
            function.__wrapped__, Foreign(given[0]), *given[1:]
        )
    assert np.convolve(x.view(Overriding), x) == "convolve asked"
    assert np.correlate(x, x.view(Overriding)) == "correlate asked"
    assert type(signal.convolve(x.view(Overriding), x)) is type(signal.convolve.__wrapped__(x.view(Overriding), x))
    assert {"in1: got test_patch.Foreign", "input: got test_patch.Foreign", "a: got test_patch.Overriding"} <= set(
        reasons(report)
    )


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    x, w = torch.arange(12.0).reshape(3, 4), torch.ones(2, 2)
    before = outcome(signal.convolve2d, x, w), outcome(ndimage.gaussian_filter, x, 1), outcome(np.convolve, x[0], w[0])
    with fastconv.patched():
        after = (
            outcome(signal.convolve2d, x, w),
            outcome(ndimage.gaussian_filter, x, 1),
            outcome(np.convolve, x[0], w[0]),
        )
    assert after == before


@pytest.mark.parametrize("kind", [Plain, np.memmap, np.matrix, np.ma.MaskedArray])
@pytest.mark.parametrize(("home", "name"), ON_ARRAYS)
def test_subclasses_give_the_type_they_gave(home, name, kind, report):
    given = arguments(home, name)
    values = given[0]
    x = np.ma.array(values, mask=values == 1) if kind is np.ma.MaskedArray else values.view(kind)
    function = getattr(MODULES[home], name)
    assert outcome(function, x, *given[1:]) == outcome(function.__wrapped__, x, *given[1:])
    goes = kind in (np.matrix, np.ma.MaskedArray) or (home, name) == ("numpy", "correlate")
    assert bool(reasons(report)) == goes


def test_types_that_fastconv_would_take_and_the_peer_does_not(report):
    small = np.ones((5, 5), np.float16)
    with pytest.raises(ValueError, match="convolve2d not available for this type"):
        signal.convolve2d(small, small)
    with pytest.raises(ValueError):
        signal.convolve2d(small > 0, small > 0)
    with pytest.raises(RuntimeError, match="float16"):
        ndimage.gaussian_filter(small, 1)
    with pytest.raises(RuntimeError, match="float16"):
        ndimage.uniform_filter(np.ones((5, 5)), 3, np.float16)
    with pytest.raises(RuntimeError, match="float16"):
        ndimage.sobel(np.ones((5, 5)), output=small)
    # The original calls further functions that are replaced, which say the same of themselves.
    assert list(dict.fromkeys(reasons(report))) == [
        "dtype float16: not a type that scipy.signal.convolve2d takes",
        "dtype bool: not a type that scipy.signal.convolve2d takes",
        "input: got dtype float16",
        "output: got dtype float16",
    ]


def test_keywords_of_fastconv_are_not_the_peers(report):
    x = np.ones((5, 5))
    for call in (
        lambda: signal.convolve2d(x, x, threads=1),
        lambda: signal.fftconvolve(x, x, out=None),
        lambda: np.convolve(x[0], x[0], threads=1),
        lambda: ndimage.gaussian_laplace(x, 1, threads=1),
    ):
        with pytest.raises(TypeError, match="threads|out"):
            call()
    assert ndimage.gaussian_laplace(x, 1, truncate=2.0).shape == (5, 5)
    assert set(reasons(report)) == {
        f"{name}: not a parameter of {function}"
        for name, function in (
            ("threads", "scipy.signal.convolve2d"),
            ("out", "scipy.signal.fftconvolve"),
            ("threads", "numpy.convolve"),
            ("threads", "scipy.ndimage.gaussian_laplace"),
            ("threads", "scipy.ndimage.gaussian_filter"),
        )
    }


BAD = {
    "too few": lambda x, w: ((x,), {}),
    "none": lambda x, w: ((), {}),
    "strings": lambda x, w: (("abc", w), {}),
    "nothing": lambda x, w: ((None, w), {}),
    "ragged": lambda x, w: (([[1, 2], [3]], w), {}),
    "no image": lambda x, w: ((x[:0], w), {}),
    "no weights": lambda x, w: ((x, w[:0]), {}),
    "other rank": lambda x, w: ((x, w[np.newaxis]), {}),
    "scalars": lambda x, w: ((1.0, 2.0), {}),
    "unknown mode": lambda x, w: ((x, w), {"mode": "no such mode"}),
    "mode of another type": lambda x, w: ((x, w), {"mode": 7.5}),
    "unhashable mode": lambda x, w: ((x, w), {"mode": []}),
    "unknown keyword": lambda x, w: ((x, w), {"nothing": 1}),
    "twice": lambda x, w: ((x, w), {"in1": x, "input": x, "a": x}),
    "too many": lambda x, w: ((x, w, *[None] * 12), {}),
}
OPTIONS = {
    "axes": [9, (0, 0), "x", 1.5, ()],
    "axis": [9, "x", None],
    "origin": [99, "x", (1, 2, 3)],
    "output": [np.zeros(2), "no dtype", np.zeros((7, 6), np.float16), [1], np.int32, np.zeros(7, object)],
    "boundary": ["no such boundary", 3, None],
    "fillvalue": ["x", [1, 2], None, 1j],
    "method": ["no such method", None, 3],
    "cval": ["x", None, 1j],
    "truncate": ["x", None],
    "radius": [-1, 1.5, "x"],
    "order": [-1, "x", 1.5],
    "sigma": ["x", (1, 2, 3), None],
    "size": [0, "x", (1, 2, 3)],
    "mode": ["reflect", ["wrap", "nearest"], ("reflect",), "grid-wrap", "same", 0],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("home", "name"), FUNCTIONS)
def test_bad_calls_end_as_they_did(home, name):
    original = getattr(MODULES[home], name)
    x, *rest = arguments(home, name)
    if isinstance(x, np.ndarray):
        weights = rest[0] if rest and isinstance(rest[0], np.ndarray) else np.ones((3,) * x.ndim)
        calls = [make(x, weights) for make in BAD.values()]
    else:
        calls = [((), {}), ((3,), {}), (("x", 3), {}), ((3, 2, "no such mode"), {}), ((3, -2), {}), ((3, 2.5), {})]
    parameters = inspect.signature(original).parameters
    for option in OPTIONS.keys() & parameters.keys():
        at = list(parameters).index(option)
        calls += [((x, *rest)[:at], {option: value}) for value in OPTIONS[option]]
    with np.errstate(all="ignore"):
        before = [outcome(original, *copy.deepcopy(given), **copy.deepcopy(named)) for given, named in calls]
        with fastconv.patched():
            function = getattr(MODULES[home], name)
            after = [outcome(function, *copy.deepcopy(given), **copy.deepcopy(named)) for given, named in calls]
    for call, was, now in zip(calls, before, after, strict=True):
        assert now == was, call
    assert (
        sum(isinstance(was, tuple) and isinstance(was[0], type) and issubclass(was[0], Exception) for was in before) > 3
    )


def test_fastconv_failing_is_not_the_callers_trouble(report, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("a defect")

    x = np.arange(4.0)
    monkeypatch.setattr(np.convolve, "face", broken)
    assert_same(np.convolve(x, x), np.convolve.__wrapped__(x, x))
    with pytest.raises(ValueError):
        np.convolve(x, [])
    assert report.failures == ["numpy.convolve: ZeroDivisionError: a defect"]
    _patch.report_to(NO_REPORT)
    assert_same(np.convolve(x, x), np.convolve.__wrapped__(x, x))


def test_errors_of_the_original_stand_alone():
    with fastconv.patched(), pytest.raises(ValueError, match="cannot be empty") as caught:
        np.convolve([], [1.0])
    assert not isinstance(caught.value, ConvError)
    assert caught.value.__context__ is None


# --- places ----------------------------------------------------------------------------------------------------------


def test_every_place_gets_it_and_is_put_back_exactly():
    done = run_python("""
import sys, types
import numpy, scipy.signal, scipy.ndimage
try:
    import skimage.feature, skimage.filters
    skimage.feature.match_template, skimage.filters.sobel, skimage.filters.unsharp_mask
except ModuleNotFoundError:
    skimage = None

def places():
    modules = {name: module for name, module in sys.modules.items() if isinstance(module, types.ModuleType)}
    return {(name, key): value for name, module in modules.items() for key, value in list(vars(module).items())}

import fastconv
from fastconv import _patch
before = places()
for round in range(2):
    fastconv.patch()
    during = places()
    changed = {place for place in before if during[place] is not before[place]}
    assert {during[place] for place in changed} == set(_patch._state.replacements.values())
    expected = [
        ("numpy", "convolve"), ("numpy._core.numeric", "correlate"),
        ("scipy.signal", "convolve"), ("scipy.signal._signaltools", "choose_conv_method"),
        ("scipy.ndimage", "sobel"), ("scipy.ndimage._filters", "correlate1d"),
        ("scipy.signal._savitzky_golay", "convolve1d"),
    ]
    if skimage:
        expected.append(("skimage.feature.template", "fftconvolve"))
    assert changed.issuperset(expected), set(expected) - changed
    left = {id(each.__wrapped__) for each in _patch._state.replacements.values()}
    assert not [place for place, value in during.items() if id(value) in left and place[0] != "__main__"]
    import scipy.signal._wavelets as wavelets, scipy.stats
    fastconv.unpatch()
    after = places()
    assert [place for place in before if after[place] is not before[place]] == []
    new = {id(each) for each in _patch._state.replacements.values()}
    assert not [place for place, value in after.items() if id(value) in new]
""")
    assert done.returncode == 0, done.stderr


def test_names_aliases_and_modules_imported_meanwhile(tmp_path):
    (tmp_path / "early.py").write_text(
        "from scipy.ndimage import convolve as nd_convolve, sobel\nfrom numpy import convolve\n"
        "import scipy.signal\nsaved = scipy.signal.fftconvolve\n"
    )
    (tmp_path / "late.py").write_text(
        "from scipy.ndimage import laplace as curvature\nfrom scipy.signal import *\nimport numpy as np\n"
        "def again():\n    from scipy.ndimage import prewitt\n    return prewitt\nsaved = np.correlate\n"
    )
    done = run_python(f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import early, fastconv, numpy
originals = early.nd_convolve, early.sobel, early.convolve, early.saved
fastconv.patch()
assert [type(f).__name__ for f in (early.nd_convolve, early.sobel, early.convolve)] == ["Replacement"] * 3
assert early.saved is originals[3]
import late
removed = sys.modules.pop("late")
assert type(late.curvature).__name__ == type(late.oaconvolve).__name__ == type(late.again()).__name__ == "Replacement"
held, early_module = late.saved, sys.modules.pop("early")
sys.modules["late"] = removed
fastconv.unpatch()
assert (early_module.nd_convolve, early_module.sobel, early_module.convolve, early_module.saved) == originals
assert type(early_module.nd_convolve) is type(early_module.sobel) is type(early_module.saved)
assert type(late.curvature).__name__ == type(late.oaconvolve).__name__ == type(late.again()).__name__ == "function"
# Saved in a variable: the replacement still, which does what the original does.
assert type(held).__name__ == "Replacement"
from fastconv import _patch
_patch._state.replacements[id(numpy.correlate)].face = None
assert held([1.0, 2.0], [1.0]).tolist() == [1, 2]
""")
    assert done.returncode == 0, done.stderr


def test_importing_fastconv_replaces_and_imports_nothing():
    done = run_python("""
import sys, numpy
before = numpy.convolve
import fastconv
assert numpy.convolve is before
assert not [name for name in sys.modules if name.partition(".")[0] == "scipy"]
""")
    assert done.returncode == 0, done.stderr


def test_numpy_alone_is_patched_where_scipy_is_missing():
    done = run_python("""
import sys
sys.modules["scipy"] = None
import numpy, fastconv
before = numpy.convolve
with fastconv.patched():
    assert numpy.convolve is not before
    assert numpy.convolve([1, 2], [1, 1]).tolist() == [1, 3, 2]
assert numpy.convolve is before
""")
    assert done.returncode == 0, done.stderr


def test_scipy_that_dispatches_on_array_libraries():
    done = run_python(
        """
import numpy as np, fastconv, scipy.signal, scipy.ndimage
from scipy.signal import _signaltools
public, bare = scipy.signal.convolve, _signaltools.convolve
assert public is not bare
x = np.arange(6.0)
expected = public(x, x)
with fastconv.patched():
    assert scipy.signal.convolve is not public and _signaltools.convolve is not bare
    assert scipy.signal.convolve.__wrapped__ is public and _signaltools.convolve.__wrapped__ is bare
    assert (scipy.signal.convolve(x, x) == expected).all()
    try:
        scipy.signal.convolve(np.ma.array(x), x)
    except TypeError as error:
        assert "MaskedArray" in str(error)
assert scipy.signal.convolve is public and _signaltools.convolve is bare
""",
        SCIPY_ARRAY_API="1",
    )
    assert done.returncode == 0, done.stderr


# --- on and off ------------------------------------------------------------------------------------------------------


def test_patch_and_unpatch_twice_are_as_once():
    original = signal.convolve
    fastconv.unpatch()
    assert signal.convolve is original
    fastconv.patch()
    replacement = signal.convolve
    fastconv.patch()
    assert signal.convolve is replacement
    fastconv.unpatch()
    assert signal.convolve is original
    fastconv.unpatch()
    assert signal.convolve is original


def test_blocks_nest_and_put_back_after_an_error():
    original = np.convolve
    with pytest.raises(KeyError), fastconv.patched():
        with fastconv.patched():
            assert np.convolve is not original
        assert np.convolve is not original
        raise KeyError
    assert np.convolve is original


def test_patch_and_blocks_together():
    original = np.convolve
    fastconv.patch()
    try:
        with fastconv.patched():
            pass
        assert np.convolve is not original
        with fastconv.patched():
            fastconv.unpatch()
            assert np.convolve is not original
        assert np.convolve is original
        with fastconv.patched():
            fastconv.patch()
        assert np.convolve is not original
    finally:
        fastconv.unpatch()
    assert np.convolve is original


def test_patched_decorates_a_function():
    @fastconv.patched()
    def inside():
        return np.convolve

    assert inside() is not np.convolve
    assert inside() is inside()


def test_blocks_that_overlap_in_threads():
    original = np.convolve
    both, first_over = threading.Barrier(2), threading.Event()
    seen = {}

    def first():
        with fastconv.patched():
            both.wait(10)
        first_over.set()

    def second():
        with fastconv.patched():
            both.wait(10)
            first_over.wait(10)
            seen["second"] = np.convolve

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert type(seen["second"]) is _patch.Replacement
    assert np.convolve is original


def test_calls_while_other_threads_patch():
    x = np.arange(50.0)
    expected, wrong, stop = np.convolve(x, x[:5]), [], threading.Event()

    def call():
        while not stop.is_set():
            if not np.array_equal(np.convolve(x, x[:5]), expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for _ in range(5):
        with fastconv.patched():
            np.convolve(x, x[:5])
    stop.set()
    for caller in callers:
        caller.join(10)
    assert not wrong


# --- the report ------------------------------------------------------------------------------------------------------


def test_report_of_nothing():
    assert Report().text() == "fastconv: no function that it replaces was called"


def test_report_is_in_order_and_short():
    report = Report()
    report.taken("b", 1_000_000)
    report.taken("a", 3_000_000)
    report.taken("b", 1_000_000)
    for number in range(20):
        report.left("c", f"reason {number} " + "x" * 200, (20 - number) * 1000)
    report.failed("c", "IndexError: 3")
    lines = report.text().splitlines()
    assert lines[0] == "fastconv took 3 of 23 calls of functions it replaces, in 5.00 ms"
    assert lines[2:4] == ["        1     3.00 ms  a", "        2     2.00 ms  b"]
    assert lines[4] == "and left 20 to the originals, in 0.21 ms with all that they call"
    assert lines[5].startswith("        1     0.02 ms  c: reason 0 xxx")
    assert lines[13] == "       12     0.08 ms  c: 12 further reasons"
    assert lines[14] == "a defect of fastconv, please report it: c: IndexError: 3"
    assert max(map(len, lines)) < 140


def test_report_counts_from_all_threads(report):
    def work():
        for _ in range(50):
            np.convolve([1.0, 2.0], [1.0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert report._sums["numpy.convolve", ""][0] == 200
