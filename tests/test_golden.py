"""Bits that are kept: results under accuracy="strict", and those of integers, against the hashes of `tests/golden`.

Levels with a fused multiply-add agree on floats, all levels on integers; each compared with the same file, so that they
agree from one CPU to another too. `tests.targets` runs this on those that are not at hand.
"""

import pytest
from _tools import at_level, fused_levels

from fastconv.drivers import levels
from tests.golden import cases_of_floats, cases_of_integers, digest, read_hashes

FLOATS, INTEGERS = cases_of_floats(), cases_of_integers()
KEPT = read_hashes()


def by_layer(cases):
    """Return the names of the cases of each layer."""
    layers = {}
    for name in cases:
        layers.setdefault(name.partition(", ")[0], []).append(name)
    return layers


def differences(cases, names):
    """Return the ways of computing whose results are not the kept ones."""
    return [way for name in names for way in cases[name] if digest(way()) != KEPT[name]]


def test_every_case_has_its_hash():
    assert [*FLOATS, *INTEGERS] == [*KEPT]
    # Every case has results of its own.
    assert len(set(KEPT.values())) == len(KEPT)


@pytest.mark.skipif(not fused_levels(), reason="no level here has a fused multiply-add")
@pytest.mark.parametrize("level", fused_levels())
@pytest.mark.parametrize("layer", by_layer(FLOATS))
def test_floats(layer, level):
    with at_level(level):
        assert not differences(FLOATS, by_layer(FLOATS)[layer])


@pytest.mark.parametrize("level", levels.available())
@pytest.mark.parametrize("layer", by_layer(INTEGERS))
def test_integers(layer, level):
    with at_level(level):
        assert not differences(INTEGERS, by_layer(INTEGERS)[layer])


def test_another_result_has_another_hash():
    name = next(iter(FLOATS))
    result = FLOATS[name][0]()
    result.reshape(-1)[-1:].view("u4")[...] ^= 1
    assert digest(result) != KEPT[name]
