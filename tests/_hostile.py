"""Spoils the calls of one or more functions in every way, in a process with little memory; see test_hostile.py.

``python tests/_hostile.py 1 conv signal.convolve`` prints each call before it is made, so that the last line names the
one that ended the process, and at last, as JSON, how many there were and which of them did what none may. The number
says to make one call in so many.
"""

import faulthandler
import itertools
import json
import math
import resource
import sys
import warnings

import numpy as np
from _calls import CALLS

import fastconv
from fastconv import ConvError, ConvTypeError

SECONDS = 60  # what takes longer hangs
MEMORY = 1 << 30  # beyond what is taken before the first call
# What may be raised: an error of fastconv, NumPy's for what makes no array, Python's for arguments.
ALLOWED = (ConvError, ConvTypeError, MemoryError, TypeError, ValueError, OverflowError)

INTEGERS = (
    *(0, -1, -2, 3, 1_600_000_000, 2**31 - 1, 2**31, 2**32, 2**40, 10**12),
    *(2**62, 2**63 - 1, 2**63, 2**64, 2**70, -(2**31), -(2**40), -(2**63), -(2**70)),
)
OTHERS = (
    *(None, True, 1.5, math.nan, math.inf, -math.inf, 1e300, 1j, "", "x", b"x", object(), (), [], [[]], {}),
    *((1,) * 40, ((1, 1), (1,)), np.zeros(0), np.zeros((3, 3)), np.datetime64(1, "s"), len, int, float("-0")),
)
WILD = (2**62, -(2**62), 2**61 + 1, 0, -8)


def spoilt_options(call):
    """Every argument that is no array, with values of every kind; those of several axes one by one too."""
    for name in call.names:
        if name in call.arrays():
            continue
        for value in (*INTEGERS, *OTHERS):
            yield f"{name}={value!r}", {name: value}
        for value in INTEGERS:
            yield f"{name}=(1, {value!r})", {name: (1, value)}
            yield f"{name}=(({value!r}, 1), (1, {value!r}))", {name: ((value, 1), (1, value))}


def spoilt_pairs(call):
    """Two arguments at once."""
    spoilt = ("stride", "strides", "padding", "pads", "dilation", "dilations", "origin", "output_padding")
    names = [name for name in spoilt if name in call.names]
    for first, second in itertools.combinations(names, 2):
        for a, b in itertools.product((0, -1, 2**31, 2**40, 2**62), repeat=2):
            yield f"{first}={a}, {second}={b}", {first: a, second: b}


def spoilt_shapes(call):
    """Arrays with empty axes, of sizes whose product overflows, of too many or too few axes, and of no numbers."""
    for name in call.arrays():
        array = call.arguments[name]
        for axis in range(array.ndim):
            yield f"{name} without axis {axis}", {name: np.take(array, [], axis)}
            for size in (2**31 + 5, 2**40):
                if array.size // array.shape[axis] * size * array.itemsize < 2**63:
                    yield f"{name}, axis {axis} of {size}", {name: stretched(array, axis, size)}
            for size in (1, 2, 5):
                yield f"{name}, axis {axis} of {size}", {name: np.resize(array, replaced(array.shape, axis, size))}
        rest = (2 ** (59 // max(array.ndim - 1, 1)),) * (array.ndim - 1)
        yield f"{name} of nothing, overflowing", {name: np.broadcast_to(array.dtype.type(1), (0, *rest))}
        yield f"{name} of nothing", {name: np.zeros((0,) * array.ndim, array.dtype)}
        for other in (array.ravel(), array[None], array[None, None, None], array.ravel()[0], array.tolist()):
            yield f"{name} of rank {np.ndim(other)}", {name: other}
        for dtype in ("O", "S3", "M8[s]", "V4", "?", "i8", "f2", "g", "G", [("a", "f4")]):
            yield f"{name} of {dtype}", {name: np.zeros(array.shape, dtype)}
        for value in OTHERS:
            yield f"{name}={value!r}", {name: value}
    if len(call.arrays()) > 1:
        empty = {name: np.zeros((0,) * call.arguments[name].ndim, call.arguments[name].dtype) for name in call.arrays()}
        yield "all of nothing", empty


def replaced(shape, axis, size):
    """Return a shape with another size of one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def stretched(array, axis, size):
    """Return an array that repeats its first elements along an axis without taking memory."""
    return np.broadcast_to(array.take([0], axis), replaced(array.shape, axis, size))


def large_kernels(call):
    """A kernel a thousand times the input, with every boundary."""
    sizes = {name: call.arguments[name].ndim for name in call.arrays()}
    pairs = (("x", "w"), ("in1", "in2"), ("input", "weights"), ("a", "v"))
    if not (found := [pair for pair in pairs if sizes.keys() >= set(pair)]):
        return
    x, w = found[0]
    rank = min(sizes[w], 2) if "layout" not in call.names else 2
    long = np.broadcast_to(np.float32(1), (3000, 4)[:rank])
    small = np.full((3, 4)[:rank], np.float32(2))
    option = "boundary" if "boundary" in call.names else "mode"
    values = {
        "boundary": ("constant", "edge", "symmetric", "reflect", "wrap", "fill", "symm"),
        "mode": ("reflect", "constant", "nearest", "mirror", "wrap", "grid-wrap", "full", "same", "valid"),
    }[option]
    plain = {"layout": None, "groups": 1, "bias": None, "padding": "same"} if "layout" in call.names else {}
    for value in values:
        for a, b in ((small, long), (long, small)):
            yield f"{w} of {b.shape}, {option}={value}", {x: a, w: b, option: value} | plain


def same_values(call):
    """The same numbers in other memory, which have to give the same result."""
    for name in call.arrays():
        array = call.arguments[name]
        backwards = array[(slice(None, None, -1),) * array.ndim].copy()[(slice(None, None, -1),) * array.ndim]
        shifted = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        shifted[...] = array
        yield f"{name} backwards", {name: backwards}
        yield f"{name} misaligned", {name: shifted}
        yield f"{name} in Fortran's order", {name: np.asfortranarray(array)}
        yield f"{name} read-only", {name: read_only(array)}
        yield f"{name} of the other byte order", {name: array.astype(array.dtype.newbyteorder())}
        yield f"{name} with gaps", {name: np.repeat(array, 2, axis=-1)[..., ::2]}
        yield f"{name} of a subclass", {name: array.view(Subclass)}


class Subclass(np.ndarray):
    """Does nothing of its own."""


def read_only(array):
    """Return a copy that cannot be written."""
    array = array.copy()
    array.flags.writeable = False
    return array


def wild_strides(call):
    """Axes of one element, whose stride means nothing: pairs of arguments that have to give the same result."""
    for name in call.arrays():
        array = call.arguments[name]
        for axis, stride in itertools.product(range(array.ndim), WILD):
            one = np.ascontiguousarray(array.take([0], axis))
            strides = replaced(one.strides, axis, stride)
            view = np.lib.stride_tricks.as_strided(one, one.shape, strides)
            yield f"{name}, axis {axis} one element, {stride} bytes", {name: view}, {name: one}


def overlapping(call, result):
    """An `out` that is an input, a part of it, or reversed."""
    option = next((name for name in ("out", "output") if name in call.names), None)
    if option is None or not isinstance(result, np.ndarray):
        return
    for name in call.arrays():
        array = call.arguments[name]
        if array.dtype != result.dtype:
            continue
        for offset, step in itertools.product((0, 1, 7), (1, -1)):
            memory = np.zeros(max(array.size, result.size) + 8, array.dtype)
            x = memory[: array.size].reshape(array.shape)
            x[...] = array
            out = memory[offset : offset + result.size][::step].reshape(result.shape)
            yield f"{option} over {name}, {offset} behind, {step}", {name: x, option: out}


class Run:
    """Counts calls, and keeps what was not allowed."""

    def __init__(self, every):
        self.calls, self.offences = 0, []
        self._every, self._seen = every, 0

    def is_due(self):
        """Return whether this call is one of those to be made."""
        self._seen += 1
        return self._seen % self._every == 0

    def call(self, label, function):
        """Make a call; return its result, or None if it was refused."""
        print(label, flush=True)
        self.calls += 1
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            return function()
        except ALLOWED:
            pass
        except Exception as error:
            self.offences.append([label, repr(error)])
        finally:
            faulthandler.cancel_dump_traceback_later()
        return None

    def compare(self, label, function, wanted):
        """Make a call that has to be allowed, and compare what it returns."""
        actual = self.call(label, function)
        if not same(actual, wanted):
            self.offences.append([label, "another result" if actual is not None else "refused"])

    def function(self, name):
        """Spoil the calls of one function."""
        call = CALLS[name]
        result = call()
        for label, changed in itertools.chain(
            spoilt_options(call), spoilt_pairs(call), spoilt_shapes(call), large_kernels(call)
        ):
            if self.is_due():
                self.call(f"{name}: {label}", lambda changed=changed: call(**changed))
        for label, changed in itertools.chain(same_values(call), overlapping(call, result)):
            if self.is_due():
                self.compare(f"{name}: {label}", lambda changed=changed: call(**changed), result)
        for label, changed, plain in wild_strides(call):
            if not self.is_due():
                continue
            try:
                wanted = call(**plain)
            except ALLOWED:
                self.call(f"{name}: {label}", lambda changed=changed: call(**changed))
            else:
                self.compare(f"{name}: {label}", lambda changed=changed: call(**changed), wanted)
        # And all is as it was.
        self.compare(f"{name}: afterwards", call, result)


def same(actual, wanted):
    """Return whether two results are equal, NaN to NaN."""
    if isinstance(wanted, tuple):
        return isinstance(actual, tuple) and all(same(*pair) for pair in zip(actual, wanted, strict=True))
    if isinstance(wanted, np.ndarray):
        return isinstance(actual, np.ndarray) and np.array_equal(actual, wanted, equal_nan=wanted.dtype.kind in "fc")
    return actual == wanted


def main():
    """Spoil the functions that the command line names."""
    warnings.simplefilter("ignore")
    faulthandler.enable()
    fastconv.set_num_threads(2)
    with open("/proc/self/status", encoding="ascii") as file:
        taken = 1024 * int(next(line for line in file if line.startswith("VmSize")).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    run = Run(int(sys.argv[1]))
    for name in sys.argv[2:]:
        run.function(name)
    print(json.dumps({"calls": run.calls, "offences": run.offences}))


if __name__ == "__main__":
    main()
