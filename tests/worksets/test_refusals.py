"""A cluster that takes no job: tried ever less often, told once, charged to nobody."""

from datetime import UTC, datetime, timedelta

import pytest

from worksets import events
from worksets.lifecycle import apply
from worksets.record import State, WorksetRecord
from worksets.refusals import REFUSED, Refusals, refusals

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refused(record, now, reason=REFUSED + "its queue is full"):
    """One round: placed, begun, refused, and due again; the delay that it waited."""
    for event in (events.Lock("p", "a", "r"), None):
        record = apply(record, event or events.Begin(record.fence), now)
    delay_s = refusals(record).next_delay_s
    record = apply(record, events.Postpone(record.fence, reason, delay_s, job_ended=True), now)
    assert record.state is State.RETRYING
    return apply(record, events.Requeue(), now + timedelta(seconds=delay_s)), delay_s


def new():
    return WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW
    )


@pytest.mark.parametrize("minutes", [1, 15, 60])
def test_it_is_tried_ever_less_often_and_told_once(minutes):
    record, now, delays, told = new(), NOW, [], []
    for _ in range(12):
        if refusals(record).to_tell(now, minutes * 60):
            told.append(now - NOW)
        record, delay_s = refused(record, now)
        delays.append(delay_s)
        now += timedelta(seconds=delay_s)
    assert delays[:6] == [30, 60, 120, 240, 480, 900] and max(delays) == 900
    assert len(told) == 1 and told[0] >= timedelta(minutes=minutes)
    assert record.retry_count == 0 and record.state is State.READY


def test_another_reason_begins_a_new_row():
    record, _ = refused(new(), NOW)
    assert refusals(record).count == 1
    record, _ = refused(record, NOW + timedelta(hours=1), "a does not answer")
    assert refusals(record) == Refusals()
