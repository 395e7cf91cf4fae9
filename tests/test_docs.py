"""Every example in a docstring and in README gives what is written there."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastconv

ROOT = Path(__file__).parents[1]
# The compiled modules too; to import a __main__ is to run it.
MODULES = ["fastconv", *(found.name for found in pkgutil.walk_packages(fastconv.__path__, "fastconv."))]
# Modules of the benchmark that need nothing but NumPy.
BENCH = ["bench.layers", "bench.lines.work", "bench.signals", "bench.targets.row"]


@pytest.mark.parametrize("name", [name for name in MODULES + BENCH if not name.endswith("__main__")])
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {test.name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples}
    assert {"fastconv.core.conv", "fastconv.nn._forward.conv2d", "fastconv.drivers.threads.num_threads"} <= found


@pytest.mark.parametrize(
    "code", re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
)
def test_readme_code(code):
    exec(compile(code, "README.md", "exec"), {})
