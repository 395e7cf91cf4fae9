"""Makes calls, half of which fail, and says what memory they left behind; see test_leaks.py.

``python tests/_leaks.py CALLS`` prints, as JSON, what was in use at several times: calls made, bytes allocated,
Python's blocks, KiB of memory; and whether the arguments have the references that they had.
"""

import ctypes
import gc
import json
import sys

import numpy as np
from _calls import CALLS

WINDOWS = 8
WARM_UP = 3  # rounds: caches of plans and of small arrays fill


class Mallinfo(ctypes.Structure):
    """What glibc says about its memory."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def in_use():
    """Return bytes that are allocated and not freed, and Python's blocks."""
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    info = mallinfo()
    return info.uordblks + info.hblkhd, sys.getallocatedblocks()


def resident():
    """Return the KiB of memory that the process has."""
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def failing(call):
    """Return arguments with which a call is refused, early or late, one set after the other."""
    if "threads" not in call.names:
        return [{"mode": "none"}]
    # Windows are taken of any dtype.
    windows = "kernel_size" in call.names or "windows" in call.names
    shapes = {name: (1,) * 9 if windows else call.arguments[name].shape for name in call.arrays()[:1]}
    changes = [{name: np.zeros(shape, "M8[s]")} for name, shape in shapes.items()] + [{"threads": 0}]
    if "out" in call.names:
        changes.append({"out": np.zeros((1, 1, 1, 1, 1, 7))})
    return changes


def one_round(calls, number):
    """Make every call once, and once so that it fails; return how many calls that were."""
    for call, changes in calls:
        call()
        try:
            call(**changes[number % len(changes)])
        except (ValueError, TypeError):
            continue
        raise AssertionError(f"not refused: {call.function}, {changes[number % len(changes)]}")
    return 2 * len(calls)


def main():
    """Make as many calls as the command line says."""
    wanted, made, rounds = int(sys.argv[1]), 0, 0
    calls = [(call, failing(call)) for call in CALLS.values()]
    arrays = [value for call in CALLS.values() for value in call.arguments.values() if isinstance(value, np.ndarray)]
    for number in range(WARM_UP):
        one_round(calls, number)
    references = [sys.getrefcount(array) for array in arrays]
    seen = [(made, *in_use(), resident())]
    for window in range(1, WINDOWS + 1):
        while made < wanted * window // WINDOWS:
            made += one_round(calls, rounds)
            rounds += 1
        seen.append((made, *in_use(), resident()))
    same = [sys.getrefcount(array) for array in arrays] == references
    print(json.dumps({"seen": seen, "same references": same}))


if __name__ == "__main__":
    main()
