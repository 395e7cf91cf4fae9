"""The run of the peers' tests: what it replaces, and how it holds failures against the kept list."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import __main__ as peers
from tests.peers.plugin import LIST, read_list

PROJECT = Path(__file__).parents[1]

TESTS = """
import numpy
from scipy.signal import convolve

def test_replaced():
    assert type(convolve).__name__ == type(numpy.convolve).__name__ == "Replacement"

def test_original():
    assert type(convolve).__name__ == "function"

def test_broken():
    assert numpy.convolve([1.0], [2.0]).tolist() == [2]
    raise KeyError
"""


def run(folder, *options, kept=""):
    """Return the exit status, the output, and which tests failed."""
    (folder / "test_peer.py").write_text(TESTS)
    (folder / "kept.txt").write_text(kept)
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-p",
        "tests.peers.plugin",
        "-c",
        str(PROJECT / "tests/peers/peers.ini"),
    ]
    command += [f"--rootdir={folder}", f"--kept-list={folder / 'kept.txt'}", f"--outcomes={folder / 'failed.json'}"]
    done = subprocess.run(
        [*command, *options, str(folder / "test_peer.py")], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    outcomes = folder / "failed.json"
    failed = json.loads(outcomes.read_text()) if outcomes.exists() else None
    return done.returncode, done.stdout + done.stderr, failed and [test.partition("::")[2] for test in failed]


def test_a_failure_fails_unless_it_is_listed(tmp_path):
    status, output, failed = run(tmp_path)
    assert (status, failed) == (1, ["test_original", "test_broken"])
    assert "fastconv took 1 of 1 calls" in output
    kept = "# why\n\ntest_peer.py::test_original | says so\ntest_peer.py::test_broken | breaks\n"
    status, output, failed = run(tmp_path, kept=kept)
    assert (status, failed) == (0, [])


def test_a_listed_test_that_passes_or_is_gone_fails(tmp_path):
    status, _, failed = run(tmp_path, "-k", "replaced", kept="test_peer.py::test_replaced | no reason\n")
    assert (status, failed) == (1, ["test_replaced"])
    status, output, _ = run(tmp_path, kept="test_peer.py::test_renamed | no reason\n")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "there is no such test: test_peer.py::test_renamed" in output


def test_originals_are_left_alone(tmp_path):
    status, output, failed = run(tmp_path, "--originals", kept="test_peer.py::test_broken | breaks\n")
    assert (status, failed) == (1, ["test_replaced", "test_broken"])
    assert "fastconv took" not in output


def test_an_error_of_fastconvs_that_the_original_makes_up_for_fails(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import fastconv._patch\nfastconv._patch._PEERS['numpy'][0].convolve = lambda a, v, mode='full': 1 / 0\n"
    )
    status, output, failed = run(tmp_path, "-k", "broken", kept="test_peer.py::test_broken | breaks\n")
    assert (status, failed) == (pytest.ExitCode.INTERNAL_ERROR, [])
    assert "a defect of fastconv, please report it: numpy.convolve: ZeroDivisionError" in output


def test_the_list(tmp_path):
    for test, reason in read_list(LIST).items():
        assert "::" in test
        assert len(reason) > 20
    for text in ("no reason", "a | ", "a | b\na | c"):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(ValueError, match="list.txt, line"):
            read_list(tmp_path / "list.txt")


def test_the_suites_are_installed():
    for name in ("scipy.signal", "scipy.ndimage", "numpy"):
        root = peers.root_of(name, None)
        assert [test for test in peers.SUITES[name] if not (root / test).exists()] == []


def test_a_suite_that_is_unknown_or_has_no_folder():
    for arguments in (["scipy.fft"], ["skimage"]):
        done = subprocess.run(
            [sys.executable, "-m", "tests.peers", *arguments],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            env=os.environ,
        )
        assert done.returncode == 2
        assert arguments[0] in done.stderr
