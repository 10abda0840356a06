"""What people must know is owed from the write that made it so, until all channels took it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets import events as ev
from worksets import lifecycle as lc
from worksets.announcements import Kind, of_owed
from worksets.errors import ErrorCategory
from worksets.outbox import SPELL_S
from worksets.record import State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_S = 900.0


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def held():
    record = WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW
    )
    record = lc.apply(record, ev.Lock("p", "a", "r"), NOW)
    return lc.apply(record, ev.Begin(record.fence), NOW)


def dead():
    return lc.apply(held(), ev.Fail(ErrorCategory.DATA, "no reads", "run", 1, job_ended=True), NOW)


def test_a_dead_letter_is_owed_with_the_words_that_say_why():
    owed = of_owed(dead())
    assert owed.kind is Kind.DEAD_LETTER and "no reads" in owed.message
    assert "dead letter: a data error is not tried again" in owed.message


@pytest.mark.parametrize(
    "event",
    [
        ev.Fail(ErrorCategory.TRANSIENT, "x", "run", 1, job_ended=True),
        ev.Postpone(1, "its cluster does not answer"),
        ev.Cancel("not needed"),
    ],
)
def test_what_passes_by_itself_or_was_somebodys_wish_is_not_owed(event):
    assert lc.apply(held(), event, NOW).owed is None


def test_a_job_that_a_cluster_refuses_is_owed_when_it_is_said_so():
    after = lc.apply(held(), ev.Postpone(1, "refused", tell="takes no job"), NOW)
    assert after.state is State.RETRYING and of_owed(after).message == "takes no job"


@given(st.lists(st.sampled_from(["c1", "c2", "c3"]), max_size=6))
def test_it_is_owed_until_all_took_it_and_nothing_is_forgotten_meanwhile(channels):
    record, took = dead(), set()
    for n, channel in enumerate(channels):
        took.add(channel)
        after = lc.apply(record, ev.Told(NOW, (channel,), done=False), at(n))
        record = record if isinstance(after, lc.Refusal) else after
        assert set(record.owed.told) == took
    assert lc.apply(record, ev.Told(NOW, (), done=True), NOW).owed is None


def test_what_was_told_is_not_what_is_owed_now():
    stuck = lc.apply(
        WorksetRecord(
            workset_id="w", customer_id="c", location="f", created_at=NOW, updated_at=NOW
        ),
        ev.Wait("no cluster fits", stuck=True),
        NOW,
    )
    dead = lc.apply(stuck, ev.Fail(ErrorCategory.DATA, "no reads"), at(1))
    assert isinstance(lc.apply(dead, ev.Told(NOW, (), done=True), at(2)), lc.Refusal)
    assert of_owed(dead).kind is Kind.DEAD_LETTER


# whole seconds: sums of fractions are not exact, and a spell's end is
@given(st.lists(st.integers(1, int(2 * SPELL_S)), max_size=60))
def test_a_job_that_nobody_knows_of_is_owed_once_in_a_spell_and_only_if_that_lasts(gaps):
    record, now, began, seen, times = held(), 0, None, None, 0
    for gap in gaps:
        now += gap
        if began is None or now - seen > SPELL_S:
            began, times = now, 0
        # a minute is the finest that is written
        seen = now if seen is None or now - seen >= 60 or now - began >= LONGEST_S else seen
        after = lc.apply(record, ev.Unsettled(1, "?", LONGEST_S), at(now))
        if isinstance(after, lc.Refusal):
            continue
        if after.owed != record.owed:
            times += 1
            assert times == 1 and now - began >= LONGEST_S - 60
            assert of_owed(after).kind is Kind.UNSETTLED
        record = after
    assert [entry.event for entry in record.history].count("Unsettled") <= len(gaps) // 3


def test_a_record_of_a_newer_release_owes_what_this_one_leaves_alone():
    record = dead()
    newer = record.owed.model_copy(update={"kind": "later"})
    assert of_owed(record.model_copy(update={"owed": newer})) is None
