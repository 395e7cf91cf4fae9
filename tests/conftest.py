"""Fixtures that several test files share."""

import pytest
from _tools import at_level

import fastconv
from fastconv.drivers import levels


@pytest.fixture(params=levels.available())
def level(request):
    """Run the test once on every level that this CPU has."""
    with at_level(request.param):
        yield request.param


@pytest.fixture(params=[1, 2])
def threads(request):
    """Run the test with one thread and with two."""
    with fastconv.num_threads(request.param):
        yield request.param
