"""Fewer threads after regions that lost time: the rules, fed with made-up times."""

import pytest

from fastconv import _tunables
from fastconv.drivers.threads import BackOff

FIRST, MOST = _tunables.BACKOFF_FIRST_SECONDS, _tunables.BACKOFF_MOST_SECONDS
PRICE, LEAST = _tunables.BACKOFF_PRICE, _tunables.BACKOFF_LEAST_SECONDS
SHORT = 1e-4  # seconds of a call that is short beside any loss here
LOSS = 1e-3


def test_nothing_lost_nothing_limited():
    rules = BackOff()
    for now in range(100):
        assert rules.allowed(64, SHORT, now) == 64
        rules.report(64, LEAST * (now % 2), now)


@pytest.mark.parametrize(("threads", "fewer"), [(2, 1), (3, 1), (8, 4), (64, 32)])
def test_a_loss_halves_the_threads_for_a_while(threads, fewer):
    rules = BackOff()
    rules.report(threads, LOSS, 10.0)
    for now in (10.0, 10.0 + 0.99 * FIRST):
        assert rules.allowed(threads, SHORT, now) == fewer
        assert rules.allowed(1, SHORT, now) == 1
    assert rules.allowed(threads, SHORT, 10.0 + 1.01 * FIRST) == min(threads, 2 * fewer)


def test_only_a_try_without_loss_lifts_the_limit():
    rules = BackOff()
    rules.report(8, LOSS, 0.0)
    # A region of as many threads as are allowed, or one that began before the loss, is no try.
    rules.report(4, 0.0, 1.0)
    rules.report(8, 0.0, 0.5 * FIRST)
    assert rules.allowed(8, SHORT, 0.6 * FIRST) == 4
    assert rules.allowed(8, SHORT, 2 * FIRST) == 8
    rules.report(8, 0.0, 2 * FIRST)
    assert rules.allowed(8, SHORT, 2 * FIRST) == 8


def test_the_way_down_and_up():
    """Losses at ever fewer threads go down to one; the way up takes a step for each try."""
    rules, now, threads = BackOff(), 0.0, 64
    while threads > 1:
        rules.report(threads, LOSS, now)
        assert rules.allowed(64, SHORT, now) == threads // 2
        threads //= 2
    now += 2 * MOST
    for step in (2, 4, 8, 16, 32, 64, 64):
        assert rules.allowed(64, SHORT, now) == step
        rules.report(step, 0.0, now)


def delay_after(rules, loss, now):
    """Return for how long a loss at `now` holds two threads back, to a ten thousandth of the bound."""
    rules.report(2, loss, now)
    steps = 10_000
    return next(k for k in range(steps + 2) if rules.allowed(2, SHORT, now + k * MOST / steps) == 2) * MOST / steps


def test_delays_double_up_to_a_bound_and_start_anew_after_a_good_time():
    rules, now, expected = BackOff(), 0.0, FIRST
    for _ in range(12):
        assert delay_after(rules, LOSS, now) == pytest.approx(expected, abs=MOST / 5000)
        now += 1.01 * expected
        expected = min(2 * expected, MOST)
    assert expected == MOST
    assert delay_after(rules, LOSS, now + 3 * MOST) == pytest.approx(FIRST, abs=MOST / 5000)


def test_a_loss_is_paid_many_times_before_it_is_risked_again():
    assert delay_after(BackOff(), 0.05, 0.0) == pytest.approx(PRICE * 0.05, abs=MOST / 5000)
    assert delay_after(BackOff(), 60.0, 0.0) == pytest.approx(MOST, abs=MOST / 5000)


def test_calls_that_take_long_beside_the_loss_are_not_limited():
    rules = BackOff()
    rules.report(8, LOSS, 0.0)
    assert rules.allowed(8, 1.01 * PRICE * LOSS, 0.0) == 8
    assert rules.allowed(8, 0.99 * PRICE * LOSS, 0.0) == 4
    # And what they lose or do not lose says nothing about the short ones.
    rules.report(8, 0.0, 0.5 * FIRST)
    assert rules.allowed(8, SHORT, 0.6 * FIRST) == 4


@pytest.mark.parametrize("granted", [1, 3])
def test_threads_that_the_system_refuses(granted):
    rules = BackOff()
    rules.refused(granted, 0.0)
    for seconds in (SHORT, 1e6):
        assert rules.allowed(8, seconds, 0.99 * MOST) == granted
    assert rules.allowed(8, SHORT, 1.01 * MOST) == 2 * granted


def test_the_price_on_a_machine_that_is_always_busy():
    """Calls of 1 ms in a row, a few on two threads good in half the time, then one that waits for 4 ms."""
    rules, now, times = BackOff(), 0.0, []
    streak = 0
    while len(times) < 20_000:
        threads = rules.allowed(2, 1e-3, now)
        took, lost = 1e-3, 0.0
        if threads == 2:
            streak = (streak + 1) % 7
            took, lost = (5e-4, -5e-4) if streak else (5e-3, 4e-3)
        now += took
        times.append(took)
        if threads == 2:
            rules.report(2, lost, now)
    assert sum(took > 1e-3 for took in times) < len(times) / 100
    assert sum(times) < 1.03 * 1e-3 * len(times)


def test_what_was_saved_stands_against_a_loss():
    rules = BackOff()
    calls = int(_tunables.BACKOFF_WEIGHT * LOSS / SHORT) + 1
    for _ in range(calls):
        rules.report(2, -SHORT, 0.0)
    rules.report(2, LOSS, 0.0)
    assert rules.allowed(2, SHORT, 0.0) == 2
    rules.report(2, LOSS, 0.0)
    assert rules.allowed(2, SHORT, 0.0) == 1


def test_savings_have_a_bound_and_end_with_a_loss_above_them():
    rules = BackOff()
    for _ in range(1000):
        rules.report(2, -1.0, 0.0)
    bearable = _tunables.BACKOFF_MOST_SAVED / _tunables.BACKOFF_WEIGHT
    rules.report(2, 0.9 * bearable, 0.0)
    assert rules.allowed(2, SHORT, 0.0) == 2
    rules.report(2, 0.9 * bearable, 0.0)
    assert rules.allowed(2, SHORT, 0.0) == 1
    # The next try starts with nothing saved.
    rules.report(2, 2 * _tunables.BACKOFF_LEAST_SECONDS, 2 * MOST)
    assert rules.allowed(2, SHORT, 2 * MOST) == 1


def test_the_gain_on_a_machine_with_a_hiccup_now_and_then():
    """Every half second one call of 1 ms loses 4 ms: nearly all calls run on two threads."""
    rules, now, two = BackOff(), 0.0, 0
    hiccup, calls = 0.5, 20_000
    for _ in range(calls):
        threads = rules.allowed(2, 1e-3, now)
        two += threads == 2
        lost = 4e-3 if threads == 2 and now > hiccup else -5e-4
        hiccup += 0.5 if lost > 0 else 0.0
        now += 1e-3 + lost if threads == 2 else 1e-3
        if threads == 2:
            rules.report(2, lost, now)
    assert two > 0.99 * calls
