"""The run of tests on other CPUs: what it chooses, and what it does where it cannot run."""

import os
import platform
import subprocess
import sys

import pytest

from tests import targets
from tests.targets import __main__ as command
from tests.targets import build, host, root

TESTS = {path.name for path in command.TESTS.glob("test_*.py")}


def run(*options, **environment):
    arguments = [sys.executable, "-m", "tests.targets", *map(str, options)]
    return subprocess.run(arguments, cwd=build.PROJECT, env=os.environ | environment, capture_output=True, text=True)


def test_files_that_are_named_exist():
    assert targets.OMITTED.keys() | set(targets.QUICK) <= TESTS
    assert not targets.OMITTED.keys() & set(targets.QUICK)
    for test in targets.UNSUITED:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (command.TESTS / file).read_text("utf-8")


def test_what_is_not_omitted_is_run():
    assert {os.path.basename(path) for path in command.files(quick=False)} == TESTS - targets.OMITTED.keys()


def test_an_unknown_target_is_refused():
    done = run("mips")
    assert done.returncode == 2
    assert "target: got mips, allowed: aarch64, nehalem, haswell, s390x" in done.stderr


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_machine_without_the_packages(name, tmp_path):
    """It says what is missing, and only --skip makes that a success."""
    for skip in (True, False):
        done = run(name, "--no-install", "--cache", tmp_path, *["--skip"] * skip, PATH="")
        assert done.returncode == (0 if skip else 1), done.stderr
        needs_package = targets.TARGETS[name].debian or platform.machine() == "x86_64"
        wanted = "needs packages: apt-get install qemu-user-static" if needs_package else "needs x86_64"
        assert f"{name}: skipped: " in done.stdout
        assert wanted in done.stdout


def test_packages_are_not_installed_for_a_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(host.Unavailable, match="only root on Debian or Ubuntu .*: apt-get install no-package$"):
        host.need({"no-program": "no-package"}, install=True)


def test_files_that_are_there_need_no_package(tmp_path):
    host.need({sys.executable: "python3", str(tmp_path): "base-files"}, install=False)


def test_a_command_that_fails_makes_a_target_unavailable():
    with pytest.raises(host.Unavailable, match="^needs the network\nno route$"):
        host.attempt([sys.executable, "-c", "print('no route'); raise SystemExit(1)"], "needs the network")


def test_an_unpacked_root_is_kept_until_something_else_is_wanted(tmp_path, monkeypatch):
    unpacked = []
    monkeypatch.setattr(root, "need", lambda *_: None)
    monkeypatch.setattr(root, "attempt", lambda *_: (tmp_path / "root/usr/lib/s390x-linux-gnu").mkdir(parents=True))
    monkeypatch.setattr(root, "link_what_scripts_would", lambda *_: unpacked.append(1))
    for packages in (("python3",), ("python3",), ("python3", "python3-numpy")):
        monkeypatch.setattr(root, "PACKAGES", packages)
        assert root.make_root(targets.TARGETS["s390x"], tmp_path, install=False) == tmp_path / "root"
    assert len(unpacked) == 2


def test_a_change_to_the_sources_builds_anew(tmp_path, monkeypatch):
    (tmp_path / "src/fastconv").mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "src/fastconv/a.c"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    before = build.hash_of_sources()
    (tmp_path / "src/fastconv/a.so").write_text("2")
    assert build.hash_of_sources() == before
    (tmp_path / "src/fastconv/a.c").write_text("2")
    assert build.hash_of_sources() != before


def test_options_of_pytest_replace_the_files_only_if_they_name_tests():
    assert command.test_named("tests/test_half.py::test_x")
    assert not command.test_named("-k")
    assert not command.test_named("bfloat16")
