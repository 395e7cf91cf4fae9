"""pytest plugin: run a peer's tests under fastconv.patch() and hold the failures against the kept list.

``-p tests.peers.plugin`` replaces the functions before a test module is imported. A test on the list
(`cannot_pass.txt`) must fail, any other must not, and a test that the list names must exist.
"""

import json
from pathlib import Path

import pytest

import fastconv
from fastconv import _patch
from fastconv._report import Report

LIST = Path(__file__).with_name("cannot_pass.txt")


def read_list(path):
    """Return the reason for each test that cannot pass, by its id."""
    reasons = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        test, separator, reason = line.partition(" | ")
        if not (separator and test.strip() and reason.strip()):
            raise ValueError(f"{path.name}, line {number}: got {line!r}, allowed: test id | reason")
        if test.strip() in reasons:
            raise ValueError(f"{path.name}, line {number}: {test.strip()} is there twice")
        reasons[test.strip()] = reason.strip()
    return reasons


def pytest_addoption(parser):
    group = parser.getgroup("fastconv")
    group.addoption("--originals", action="store_true", help="leave the peer's functions where they are")
    group.addoption(
        "--kept-list", metavar="FILE", type=Path, default=LIST, help="another list of tests that cannot pass"
    )
    group.addoption("--outcomes", metavar="FILE", help="write the ids of failed tests to a JSON file")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.pluginmanager.register(Peers(config))


class Peers:
    """One run of a peer's tests."""

    def __init__(self, config):
        self.failed = []
        self.outcomes = config.getoption("outcomes")
        self.listed = {}
        self.report = None
        if not config.getoption("originals"):
            self.listed = read_list(config.getoption("kept_list"))
            self.report = Report()
            _patch.report_to(self.report)
            fastconv.patch()

    # Before slow tests are taken out: they exist all the same.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            if item.nodeid in self.listed:
                item.add_marker(pytest.mark.xfail(reason=self.listed[item.nodeid], strict=True))
        collected = {item.nodeid for item in items}
        folders = {test.rpartition("::")[0] for test in collected}
        gone = [test for test in self.listed if test not in collected and test.rpartition("::")[0] in folders]
        if gone:
            raise pytest.UsageError(f"on the list, but there is no such test: {', '.join(gone)}")

    def pytest_runtest_logreport(self, report):
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self, session):
        # The originals made up for it, so that no test shows it.
        if self.report is not None and self.report.failures:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        if self.outcomes:
            Path(self.outcomes).write_text(json.dumps(self.failed), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter):
        if self.report is not None:
            terminalreporter.section("fastconv")
            terminalreporter.write_line(self.report.text())
