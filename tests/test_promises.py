"""PROMISES.md names tests that exist, and none that keeps a promise is left out of it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "PROMISES.md"
TESTS = sorted((ROOT / "tests").glob("test_*.py"))

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the page is not here")


def functions_of(path):
    """Return the test functions of a file, and whether each, or the whole file, is marked as a promise."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole = any(
        isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node) and "mark.promise" in ast.unparse(node)
        for node in tree.body
    )
    return {
        node.name: whole or any("mark.promise" in ast.unparse(one) for one in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_on_the_page_exists():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(ROOT / file)]
    assert missing == []
    # Those that stand alone are the long form of the one before them.
    everything = {name for path in TESTS for name in functions_of(path)}
    assert set(re.findall(r"`(test_\w+)`", text)) <= everything
    modules = {path.parent.name if path.name == "__main__.py" else path.stem for path in ROOT.glob("tests/**/*.py")}
    assert set(re.findall(r"python -m tests\.(\w+)", text)) <= modules


def test_every_promise_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    kept = {name for path in TESTS for name, promise in functions_of(path).items() if promise}
    assert {name for name in kept if name not in text} == set()
