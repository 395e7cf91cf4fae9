"""A minute of tests of an installed wheel: every level, driver and face, and many threads.

``python -m tests.wheels.trial`` in a folder that holds the tests and not the package.
"""

import sys
from pathlib import Path

import pytest

FILES = (
    "levels",
    "pixels",
    "depthwise",
    "separable",
    "winograd",
    "fft",
    "quantised",
    "half",
    "results",
    "numpy_face",
    "free_threading",
)

if __name__ == "__main__":
    folder = Path(__file__).parents[1]
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *(str(folder / f"test_{name}.py") for name in FILES)]))
