"""Makes every allocation of some calls fail in turn; see test_failing_memory.py.

``python tests/_failing.py WHO CALL...``, where WHO is whose allocations: a part of the path of the shared objects that
make them, with the library of _allocations.c preloaded, or ``python`` for Python's own.
"""

import ctypes
import json
import sys

import numpy as np
from _calls import ALGORITHMS, CALLS, numbers

import fastconv
from fastconv.drivers import levels

MOST = 2000  # allocations of one call: far more than any makes


def overlapping():
    """Convolve an image into itself."""
    image = numbers((200, 200))
    return fastconv.conv(image, numbers((3, 3), seed=1), padding="same", out=image)


def call_named(name):
    """Return a call without arguments."""
    return overlapping if name == "overlapping" else CALLS.get(name) or ALGORITHMS[name]


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
        names = [*CALLS, *ALGORITHMS, "overlapping"]
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
