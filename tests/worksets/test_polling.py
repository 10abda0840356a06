"""When a poller pauses and when it is done; when a lease is over."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.leases import CLOCK_SKEW_S, is_over
from worksets.placement import Decision
from worksets.polling import Stop, nothing_left, pause_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stop", "ran", "elapsed_s", "over"),
    [
        (Stop(), 10**6, 10**9, False),
        (Stop(cycles=1), 1, 0, True),
        (Stop(cycles=3), 2, 10**9, False),
        (Stop(duration_s=60), 5, 59.9, False),
        (Stop(duration_s=60), 5, 60, True),
        (Stop(cycles=9, duration_s=60), 1, 61, True),
        (Stop(until_done=True), 10**6, 10**9, False),
    ],
)
def test_the_bounds_of_a_poller(stop, ran, elapsed_s, over):
    assert stop.after_cycle(ran, elapsed_s) is over


@given(st.floats(0, 100), st.lists(st.none() | st.integers(-1000, 1000), max_size=3))
def test_a_pause_is_never_longer_than_the_interval_nor_past_what_is_due_first(longest, due_in_s):
    dues = [None if one is None else NOW + timedelta(seconds=one) for one in due_in_s]
    pause = pause_s(longest, dues, NOW)
    assert 0 <= pause <= longest
    known = [one for one in due_in_s if one is not None]
    assert not known or pause <= max(0, min(known)) + 0.011
    if known and pause < longest:
        due = NOW + timedelta(seconds=min(known))
        assert NOW + timedelta(seconds=pause) > due, "it would look a moment too soon"


def test_it_is_done_when_all_that_is_left_is_stuck():
    stuck, waits = Decision("w1", "stuck", "r"), Decision("w2", "wait", "r")
    assert nothing_left({"ready": 0, "failed": 4}, [])
    assert nothing_left({"ready": 1}, [stuck])
    assert not nothing_left({"ready": 2}, [stuck, waits])
    for state in ("locked", "in_progress", "retrying"):
        assert not nothing_left({state: 1}, [])


@given(st.floats(-100, 100))
def test_a_lease_lasts_as_long_as_two_clocks_may_differ(late_s):
    end = NOW - timedelta(seconds=late_s)
    assert is_over(end, NOW) is ((NOW - end).total_seconds() > CLOCK_SKEW_S)
    assert is_over(None, NOW), "one that was given up is over at once"
