"""Makes every allocation of some calls fail in turn; see test_failing_memory.py.

``python tests/_failing.py WHO CALL...``, where WHO is whose allocations: a part of the path of the shared objects that
make them, with the library of _failing.c preloaded, or ``python`` for Python's own.
"""

import ctypes
import json
import sys

import numpy as np
from _calls import CALLS, numbers

import fastconv
from fastconv.drivers import levels

MOST = 2000  # allocations of one call: far more than any makes

# Algorithms that CALLS does not reach or that need more work to take two threads.
LAYER = numbers((2, 32, 30, 31)), numbers((32, 32, 3, 3), seed=1)
DEEP = numbers((1, 16, 40, 41)), numbers((16, 1, 3, 3), seed=1)
LARGE = numbers((300, 310)), numbers((31, 31), seed=1)
ALGORITHMS = {
    "direct": lambda: fastconv.conv(*LAYER, layout="NCHW", algorithm="direct", threads=2),
    "gemm": lambda: fastconv.conv(*LAYER, layout="NCHW", algorithm="gemm", threads=2),
    "winograd": lambda: fastconv.conv(*LAYER, layout="NCHW", algorithm="winograd", threads=2),
    "winograd on one thread": lambda: fastconv.conv(*LAYER, layout="NCHW", algorithm="winograd", threads=1),
    "fft": lambda: fastconv.conv(*LARGE, algorithm="fft", threads=2),
    "fft of integers": lambda: fastconv.signal.fftconvolve(*(a.astype("i4") for a in LARGE), threads=2),
    "reference": lambda: fastconv.conv(*(a[:2, :2, :5, :5] for a in LAYER), layout="NCHW", algorithm="reference"),
    "depthwise": lambda: fastconv.conv(*DEEP, layout="NCHW", groups=16, threads=2),
    "depthwise, channels last": lambda: fastconv.conv(
        np.ascontiguousarray(np.moveaxis(DEEP[0], 1, -1)), DEEP[1], layout="NHWC", groups=16, threads=2
    ),
    "few channels": lambda: fastconv.conv(LAYER[0][:, :3], LAYER[1][:, :3], layout="NCHW", stride=2, threads=2),
    "half": lambda: fastconv.conv(*(a.astype("f2") for a in LAYER), layout="NCHW", threads=2),
    "complex": lambda: fastconv.conv(*(a[:, :4].astype("c8") for a in LAYER), layout="NCHW", threads=2),
    "saturated": lambda: fastconv.conv(*(a[0, 0].astype("i2") for a in LAYER), overflow="saturate"),
    "epilogue": lambda: fastconv.conv(
        *LAYER, layout="NCHW", scale=numbers(32), residual=numbers((2, 32, 28, 29)), activation="gelu", threads=2
    ),
    "gradients": lambda: fastconv.conv_grad(*LAYER, numbers((2, 32, 28, 29)), layout="NCHW", threads=2),
    "strided gradients": lambda: fastconv.conv_grad(
        *LAYER, numbers((2, 32, 14, 15)), layout="NCHW", stride=2, threads=2, boundary="edge"
    ),
    "transposed": lambda: fastconv.conv_transpose(*LAYER, layout="NCHW", stride=2, threads=2),
    "gaussian": lambda: fastconv.ndimage.gaussian_filter(LARGE[0], 3, threads=2),
    "box": lambda: fastconv.ndimage.uniform_filter(LARGE[0], 9, threads=2),
    "volume": lambda: fastconv.ndimage.gaussian_filter(numbers((30, 31, 32)), 2, threads=2),
    "quantised": lambda: fastconv.nn.conv_integer(*(a.astype("i1") for a in LAYER), threads=2),
}


def overlapping():
    """Convolve an image into itself."""
    image = numbers((200, 200))
    return fastconv.conv(image, numbers((3, 3), seed=1), padding="same", out=image)


def call_named(name):
    """Return a call without arguments."""
    return ALGORITHMS.get(name) or CALLS[name]


ALGORITHMS["overlapping"] = overlapping


class Preloaded:
    """Allocations of shared objects."""

    def __init__(self, part):
        self._part = part.encode()
        self._library = ctypes.CDLL(None)
        self._library.fail_allocation.argtypes = (ctypes.c_long, ctypes.c_char_p)

    def start(self, n):
        """From now on the n-th allocation fails."""
        self._library.fail_allocation(n, self._part)

    def stop(self):
        """Return whether one has failed."""
        return self._library.stop_failing() > 0


class Interpreter:
    """Python's own allocations; whether one failed it does not say, so that is whether there was an error."""

    def __init__(self):
        import _testcapi

        self._module = _testcapi
        self.failed = False

    def start(self, n):
        """From now on the n-th allocation fails: always with an end, or Python goes on for ever."""
        self._module.set_nomemory(n, n + 1)

    def stop(self):
        """Say that nothing more fails."""
        self._module.remove_mem_hooks()
        return None


def same(actual, wanted):
    """Return whether two results are equal."""
    if isinstance(wanted, tuple):
        return len(actual) == len(wanted) and all(map(same, actual, wanted))
    return np.array_equal(actual, wanted)


def fail_each(source, name):
    """Make each allocation of a call fail in turn; return how many there are and what went wrong."""
    call = call_named(name)
    wanted, offences, refused = call(), [], 0
    for n in range(1, MOST):
        levels.forget_scratch()
        error = result = None
        source.start(n)
        try:
            result = call()
        except MemoryError:
            refused += 1
        except BaseException as other:
            error = repr(other)
        failed = source.stop()
        if error:
            offences.append([name, n, error])
        if result is not None and not same(result, wanted):
            offences.append([name, n, "a wrong result"])
        if not same(call(), wanted):
            offences.append([name, n, "a wrong result of the next call"])
        if failed is False or (failed is None and result is not None and n > 300):
            break
    return n - 1, refused, offences


def main():
    """Do what the command line says, and print what came of it as JSON."""
    who, *names = sys.argv[1:]
    source = Interpreter() if who == "python" else Preloaded(who)
    report = {}
    if not names:
        names = [*CALLS, *ALGORITHMS]
        if who == "numpy":
            # NumPy 2.4 crashes where memory fails within its indexing by arrays, of which the reference is made.
            names.remove("reference")
    for name in names:
        print(name, file=sys.stderr, flush=True)
        allocations, refused, offences = fail_each(source, name)
        report[name] = {"allocations": allocations, "refused": refused, "offences": offences}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
