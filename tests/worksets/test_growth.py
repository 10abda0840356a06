"""Memory and time that ran out are there from the first attempt on, and never by one alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.config import Pipeline
from worksets.estimates import KEPT
from worksets.growth import Asks, asks_of, begins, with_finished
from worksets.record import Estimates, State, WorksetRecord
from worksets.requests import Ceiling, Growth, JobRequest, request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKS = Asks("aaaa", "bbbb")
OTHERWISE = JobRequest(vcpus=4, memory_gb=16, minutes=600)
NODE = Ceiling(vcpus=64, memory_gb=1000)
GERMLINE = Pipeline(run=("true",), memory_gb=32, minutes=60)
SILENT = Pipeline(run=("true",))
NOTHING = Estimates()
steps = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30)


def workset(needs=NOTHING, memory=0, time=0, attempt=0, after=0):
    return WorksetRecord(
        workset_id="w", location="file:///w", state=State.READY, estimates=needs,
        out_of_memory=memory, out_of_time=time, attempt=attempt, lineage_after=after,
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def noted(finished, asks=ASKS, note=""):
    for memory, time in finished:
        note = with_finished(note, workset(memory=memory, time=time), asks)
    return note


def more(note, asks=ASKS, record=None):
    found = begins(Estimates(), note, asks, record or workset())
    return found.more_memory, found.more_time, found.more_from


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        ([], (0, 0, 0)),
        ([(1, 0), (1, 0)], (0, 0, 0)),  # two are few
        ([(1, 0), (0, 0), (0, 0)], (0, 0, 0)),  # one alone
        ([(1, 0), (1, 2), (0, 0)], (1, 0, 3)),
        ([(3, 0), (1, 0), (0, 0)], (1, 0, 3)),
        ([(0, 1)] * 2 + [(0, 0)] * 17, (0, 1, 19)),
        ([(0, 1)] * 2 + [(0, 0)] * 18, (0, 0, 0)),  # nine of ten had enough
        ([(2, 0)] * 3 + [(0, 0)] * 17, (2, 0, 20)),
        ([(2, 0)] * 3 + [(0, 0)] * 18, (0, 0, 0)),  # the first of them is forgotten
    ],
)
def test_what_was_enough_for_nine_of_ten_and_for_all_but_one(finished, expected):
    assert more(noted(finished)) == expected


@given(steps)
def test_nine_of_ten_of_the_last_would_have_had_enough(finished):
    found, last = more(noted(finished)), finished[-KEPT:]
    for part in (0, 1):
        short = sum(one[part] > found[part] for one in last)
        if len(last) >= 3:
            assert short <= max(1, len(last) / 10)
            assert found[part] == 0 or sum(one[part] >= found[part] for one in last) >= 2


def test_what_was_enough_is_held_and_not_tried_with_less():
    note = noted([(1, 0)] * 3)
    for _ in range(3 * KEPT):
        needs = begins(Estimates(), note, ASKS, workset())
        assert needs.more_memory == 1
        note = with_finished(note, workset(needs), ASKS)
    # the state DB is not written for what it knows
    assert with_finished(note, workset(needs), ASKS) is note


def test_a_retry_keeps_what_it_began_with_and_adds_its_own():
    begun = workset(Estimates(more_memory=1, more_from=5), memory=1, attempt=1)
    assert more(noted([(4, 4)] * 20), record=begun) == (1, 0, 5)
    # begun anew: what its own attempts ran out of is asked for once, not twice
    anew = workset(memory=1, time=3, attempt=2, after=2)
    assert more(noted([(2, 2)] * 20), record=anew) == (1, 0, 20)


def test_other_settings_begin_anew_each_for_itself():
    note = noted([(1, 1)] * 5)
    assert more(note, Asks("cccc", "bbbb")) == (0, 1, 5)
    assert more(note, Asks("aaaa", "cccc")) == (1, 0, 5)
    assert more(note) == (1, 1, 5)


def test_the_settings_that_count_are_those_by_which_it_is_asked():
    here, there = [("a", 16.0, 60)], [("a", 32.0, 90)]
    assert asks_of(GERMLINE, here) == asks_of(GERMLINE, there)
    assert asks_of(SILENT, here) == asks_of(SILENT, list(reversed(here)))
    for other, differs in (
        (asks_of(SILENT, there), (True, True)),
        (asks_of(GERMLINE, here), (True, True)),
        (asks_of(SILENT.model_copy(update={"memory_gb_per_gb": 1.0}), here), (True, False)),
        (asks_of(SILENT.model_copy(update={"minutes_per_gb": 1.0}), here), (False, True)),
    ):
        base = asks_of(SILENT, here)
        assert (base.memory != other.memory, base.time != other.time) == differs


@pytest.mark.parametrize("note", ["x", "1@aaaa", "1/2", "@aaaa/@bbbb", "-1@aaaa/1e9@bbbb", "/ / /",
                                  "100@aaaa/²@bbbb"])  # fmt: skip
def test_a_note_that_cannot_be_read_says_nothing(note):
    assert more(" ".join([note] * 5)) in ((0, 0, 0), (1, 0, 5))
    assert more(noted([(1, 1)] * 5, note=note)) == (1, 1, more(noted([(1, 1)] * 5, note=note))[2])


def test_the_first_attempt_asks_for_what_the_retry_would_have_had():
    def asked(needs, **ran_out):
        return request(needs, OTHERWISE, [NODE], Growth(), **ran_out)

    begins_with = Estimates(more_memory=1, more_time=2)
    assert asked(begins_with) == asked(Estimates(), out_of_memory=1, out_of_time=2)
    assert (asked(begins_with).memory_gb, asked(begins_with).minutes) == (24, 1350)
    assert asked(begins_with, out_of_memory=1).memory_gb == 36
    # within what a cluster gives, and never so much that none takes it
    small = Ceiling(vcpus=64, memory_gb=20, minutes=700)
    given = request(Estimates(more_memory=4, more_time=4), OTHERWISE, [small], Growth())
    assert (given.memory_gb, given.minutes) == (20, 700)
