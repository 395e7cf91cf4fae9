"""Calls every public function and every driver once, for valgrind to watch; see test_uninitialised.py."""

from _calls import ALGORITHMS, CALLS

for call in (*CALLS.values(), *ALGORITHMS.values()):
    call()
