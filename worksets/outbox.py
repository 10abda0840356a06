"""What people must be told at least once: it is owed from the write that made it so.

A process may die, or a channel be away, between what happened and the telling. So what is owed
stands in the record, written together with the state, until every channel took it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from worksets.announcements import Kind
from worksets.errors import MAX_DETAILS
from worksets.events import Owe, Told, Unsettled
from worksets.record import HELD, Owed, WorksetRecord
from worksets.texts import plain
from worksets.transitions import Refusal, changed, not_the_holder, quietly, refuse

SPELL_S: Final = 300.0
"""Seconds without a word of it after which a job that was unsettled no longer is."""
SEEN_S: Final = 60.0
"""Seconds for which it is not written again that a job is still unsettled."""


def owing(kind: Kind, message: str, now: datetime) -> dict[str, Any]:
    """The change of a record by which people must be told; what was owed before is superseded."""
    return {"owed": Owed(kind=kind.value, message=plain(message, MAX_DETAILS), since=now)}


def owe(record: WorksetRecord, event: Owe, now: datetime) -> WorksetRecord | Refusal:
    """Of a job that is waited for, by whoever waits: only while it is the workset's job."""
    if record.state not in HELD or record.job_name != event.job_name:
        return refuse(record, event)
    return changed(record, event, now, event.message, **owing(Kind(event.kind), event.message, now))


def unsettled(record: WorksetRecord, event: Unsettled, now: datetime) -> WorksetRecord | Refusal:
    """Once in a spell of not knowing, when it has lasted long enough, people must be told."""
    if refusal := not_the_holder(record, event.fence):
        return refusal
    since, seen = record.unsettled_since, record.unsettled_seen
    if since is None or seen is None or now - seen > timedelta(seconds=SPELL_S):
        since = seen = now
    longest = timedelta(seconds=event.longest_s)
    spell = {"unsettled_since": since, "unsettled_seen": now}
    if now - since >= longest and (seen - since < longest or not longest):
        minutes = int((now - since).total_seconds() // 60)
        text = f"for {minutes} min nobody can say how its job stands: {event.reason}"
        return changed(record, event, now, text, **spell, **owing(Kind.UNSETTLED, text, now))
    if record.unsettled_since == since and now - seen < timedelta(seconds=SEEN_S):
        return Refusal(f"workset {record.workset_id}: that it is unsettled was just written")
    return quietly(record, now, **spell)


def told(record: WorksetRecord, event: Told, now: datetime) -> WorksetRecord | Refusal:
    """Only of what the channels took: something newer may be owed by now."""
    owed = record.owed
    if owed is None or owed.since != event.since:
        return Refusal(f"workset {record.workset_id}: that is not owed any more")
    if event.done:
        return quietly(record, now, owed=None)
    took = tuple(sorted({*owed.told, *event.channels}))
    if took == owed.told:
        return Refusal(f"workset {record.workset_id}: that these were told is known")
    return quietly(record, now, owed=owed.model_copy(update={"told": took}))
