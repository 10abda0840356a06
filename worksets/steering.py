"""Transitions that are nobody's who holds the workset: time passes, and operators decide."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worksets import outbox
from worksets.announcements import Kind
from worksets.errors import ErrorCategory
from worksets.events import (
    AwaitDelivery,
    Cancel,
    Describe,
    ForceRelease,
    Hasten,
    Ignore,
    Lost,
    Redelivered,
    RegisterAgain,
    ReleaseStale,
    Requeue,
    Restore,
    SetAffinity,
    SetPriority,
    Stopped,
    Wait,
)
from worksets.record import (
    FINAL,
    HELD,
    UNFINISHED,
    HistoryEntry,
    State,
    WorksetRecord,
)
from worksets.transitions import (
    Refusal,
    cancelled,
    changed,
    fence_lost,
    new_lineage,
    refuse,
    with_steps,
)


def requeue(record: WorksetRecord, event: Requeue, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.RETRYING:
        return refuse(record, event)
    if record.retry_after is not None and record.retry_after > now:
        return Refusal(
            f"workset {record.workset_id} waits until {record.retry_after.isoformat()} "
            f"before its next try"
        )
    return changed(record, event, now, state=State.READY, retry_after=None)


def hasten(record: WorksetRecord, event: Hasten, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.RETRYING:
        return refuse(record, event)
    return changed(record, event, now, event.reason, state=State.READY, retry_after=None)


def release_stale(
    record: WorksetRecord, event: ReleaseStale, now: datetime
) -> WorksetRecord | Refusal:
    # in_progress is taken over, never released: a job may hold a slot on the cluster
    if record.state is not State.LOCKED or record.lock_owner != event.previous_owner:
        return refuse(record, event)
    return changed(
        record,
        event,
        now,
        f"the lease of {event.previous_owner} ran out before it had begun",
        state=State.READY,
        lock_owner="",
        fence=record.fence + 1,
    )


def force_release(
    record: WorksetRecord, event: ForceRelease, now: datetime
) -> WorksetRecord | Refusal:
    if record.state not in HELD:
        return refuse(record, event)
    return changed(
        record, event, now, event.reason, state=State.READY, lock_owner="", fence=record.fence + 1
    )


def cancel(record: WorksetRecord, event: Cancel, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in UNFINISHED or record.cancel_requested:
        return refuse(record, event)
    if not record.job_ended and record.state in HELD:
        # its job may run: it keeps its slot and its holder until the job is seen at its end
        return changed(record, event, now, event.reason, cancel_requested=event.reason)
    return changed(
        record,
        event,
        now,
        event.reason,
        **cancelled(event.reason, record.job_ended),
        lock_owner="",
        fence=record.fence + 1,
    )


def stopped(record: WorksetRecord, event: Stopped, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in UNFINISHED or not record.cancel_requested:
        return refuse(record, event)
    if event.fence != record.fence:
        return fence_lost(record, event.fence)
    runs, done = with_steps(record, event.step_runs)
    return changed(
        record,
        event,
        now,
        record.cancel_requested,
        **cancelled(record.cancel_requested, ended=True),
        lock_owner="",
        fence=record.fence + 1,
        step_runs=runs,
        completed_steps=done,
        job_ended=True,
    )


def ignore(record: WorksetRecord, event: Ignore, now: datetime) -> WorksetRecord | Refusal:
    allowed = {State.READY, State.RETRYING, State.FAILED, State.CANCELLED}
    if record.state not in allowed or record.cancel_requested:
        return refuse(record, event)
    return changed(record, event, now, event.reason, state=State.IGNORED, retry_after=None)


def restore(record: WorksetRecord, event: Restore, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in {State.FAILED, State.CANCELLED, State.IGNORED}:
        return refuse(record, event)
    anew = event.from_start
    if anew is None:
        anew = record.error_category is ErrorCategory.DATA
    return changed(
        record,
        event,
        now,
        event.reason + (" (from the start)" if anew else ""),
        state=State.READY,
        retry_count=0,
        error_known=True,
        # what is missing is waited for anew
        looked_since=None,
        redelivered="",
        **(new_lineage(record) if anew else {}),
    )


def set_affinity(
    record: WorksetRecord, event: SetAffinity, now: datetime
) -> WorksetRecord | Refusal:
    return changed(
        record,
        event,
        now,
        f"{event.cluster_name}: {event.reason.value}",
        preferred_cluster=event.cluster_name,
        affinity_reason=event.reason,
        cluster_required=event.required,
    )


def set_priority(
    record: WorksetRecord, event: SetPriority, now: datetime
) -> WorksetRecord | Refusal:
    if record.state not in UNFINISHED | {State.FAILED}:
        return refuse(record, event)
    return changed(
        record,
        event,
        now,
        f"{event.priority.value}: {event.reason}",
        priority=event.priority,
        priority_by_hand=True,
    )


def describe(record: WorksetRecord, event: Describe, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return refuse(record, event)
    told, note = event.description, ""
    changes = told.changes(record) | {"awaits": ""} | _looked(record, told.delivery.files, now)
    if record.attempt > record.lineage_after and (why := told.is_other_work(record)):
        note = f"{why}: all is run again, from the start"
        changes |= new_lineage(record)
    return changed(record, event, now, note, **changes)


def await_delivery(
    record: WorksetRecord, event: AwaitDelivery, now: datetime
) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return refuse(record, event)
    return changed(
        without_repetition(record, AwaitDelivery.__name__),
        event,
        now,
        event.reason,
        awaits=event.reason,
        placement_reason=event.reason,
        **_looked(record, event.looked, now),
    )


def _looked(record: WorksetRecord, looked: str, now: datetime) -> dict[str, Any]:
    """How its files look, and since when."""
    if looked == record.looked and record.looked_since is not None:
        return {}
    return {"looked": looked, "looked_since": now}


def redelivered(
    record: WorksetRecord, event: Redelivered, now: datetime
) -> WorksetRecord | Refusal:
    if record.state not in FINAL or record.redelivered == event.change:
        return refuse(record, event)
    return changed(record, event, now, event.note, redelivered=event.change)


def register_again(
    record: WorksetRecord, event: RegisterAgain, now: datetime
) -> WorksetRecord | Refusal:
    if record.state not in FINAL:
        return refuse(record, event)
    if not record.job_ended:
        return Refusal(
            f"workset {record.workset_id}: its job {record.job_name} may still run on "
            f"{record.cluster_name}; restore the workset, which stops it first"
        )
    new = WorksetRecord(
        workset_id=record.workset_id,
        uid=event.uid,
        lineage=1,
        customer_id=record.customer_id,
        location=record.location,
        # the write is compared with the record that it replaces, and old fences stay old
        version=record.version,
        fence=record.fence + 1,
        preferred_cluster=record.preferred_cluster,
        affinity_reason=record.affinity_reason,
        cluster_required=record.cluster_required,
        created_at=now,
        updated_at=now,
        history=(*record.history[-10:], HistoryEntry(at=now, event="Found", note=record.location)),
    )
    return changed(new, event, now, f"{event.reason}; before it was {record.home}")


def wait(record: WorksetRecord, event: Wait, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return refuse(record, event)
    return changed(
        without_repetition(record, Wait.__name__),
        event,
        now,
        event.reason,
        placement_reason=event.reason,
        **(outbox.owing(Kind.STUCK, event.reason, now) if event.stuck else {}),
    )


def without_repetition(record: WorksetRecord, event: str) -> WorksetRecord:
    """One entry of history for a long wait, not one for every time it was looked at."""
    if record.history and record.history[-1].event == event:
        return record.model_copy(update={"history": record.history[:-1]})
    return record


def lost(record: WorksetRecord, event: Lost, now: datetime) -> WorksetRecord | Refusal:
    # what is cancelled or done needs nothing of its cluster any more
    if record.state in (State.COMPLETE, State.IGNORED) or not record.cluster_name:
        return refuse(record, event)
    if record.job_ended and not record.completed_steps:
        return Refusal(
            f"workset {record.workset_id} has nothing on {record.cluster_name}: no job of it may "
            f"run there, and no finished step binds it"
        )
    outcome: dict[str, Any] = {}
    if record.cancel_requested:
        outcome = cancelled(record.cancel_requested, ended=True)
    elif record.state in HELD:
        outcome = {"state": State.READY, "retry_after": None}
    return changed(
        record,
        event,
        now,
        f"{record.job_name or record.workset_id} on {record.cluster_name}: {event.reason}",
        **outcome,
        **new_lineage(record),
        lock_owner="",
        # whoever carries it still writes nothing any more
        fence=record.fence + (record.state in HELD),
        job_ended=True,
        clusters_fault=True,
    )
