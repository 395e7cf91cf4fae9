"""Fixtures that several test files share."""

import os

import pytest
from _tools import ONLY_BYTES, at_level

import fastconv
from fastconv.drivers import levels

# What the user's CPU was tuned to must not decide which algorithm a test gets; nothing has been planned so far.
os.environ["FASTCONV_WISDOM"] = ""


@pytest.fixture(params=[name for name in levels.available() if name not in ONLY_BYTES])
def level(request):
    """Run the test once on every level that this CPU has, but those that are others except for bytes."""
    with at_level(request.param):
        yield request.param


@pytest.fixture(params=[1, 2])
def threads(request):
    """Run the test with one thread and with two."""
    with fastconv.num_threads(request.param):
        yield request.param
