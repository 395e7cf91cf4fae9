"""What pytest has to know when it runs on an emulated CPU."""

import os
import sys

import pytest

from fastconv.drivers import levels
from tests.targets import TARGETS, UNSUITED


def pytest_configure():
    """Let tests that start a Python start it on this CPU, and see to it that this is the CPU that was asked for."""
    # The machine cannot start the target's programs by itself, or would start them on its own CPU.
    sys.executable = os.environ["FASTCONV_TARGET_PYTHON"]
    wanted = TARGETS[os.environ["FASTCONV_TARGET"]].levels
    if levels.available() != wanted:
        raise pytest.UsageError(f"levels: got {', '.join(levels.available())}, allowed: {', '.join(wanted)}")


def pytest_report_header():
    """Say which sources and levels are tested."""
    return f"fastconv: {levels.__file__}, levels: {', '.join(levels.available())}"


def pytest_collection_modifyitems(items):
    """Skip what cannot tell anything here, with the reason."""
    for item in items:
        for name, reason in UNSUITED.items():
            if item.nodeid.partition("/")[2].partition("[")[0] == name:
                item.add_marker(pytest.mark.skip(reason=reason))
