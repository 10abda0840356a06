"""Transitions that are nobody's who holds the workset: time passes, and operators decide."""

from __future__ import annotations

from datetime import datetime

from worksets.errors import ErrorCategory
from worksets.events import (
    Cancel,
    Describe,
    ForceRelease,
    Ignore,
    ReleaseStale,
    Requeue,
    Restore,
    SetAffinity,
    Stopped,
    Wait,
)
from worksets.record import HELD, UNFINISHED, State, WorksetRecord
from worksets.transitions import Refusal, cancelled, changed, fence_lost, refuse, with_steps


def requeue(record: WorksetRecord, event: Requeue, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.RETRYING:
        return refuse(record, event)
    if record.retry_after is not None and record.retry_after > now:
        return Refusal(
            f"workset {record.workset_id} waits until {record.retry_after.isoformat()} "
            f"before its next try"
        )
    return changed(record, event, now, state=State.READY, retry_after=None)


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
        completed_steps=() if anew else record.completed_steps,
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


def describe(record: WorksetRecord, event: Describe, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return refuse(record, event)
    return changed(record, event, now, **event.description.changes(record))


def wait(record: WorksetRecord, event: Wait, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return refuse(record, event)
    if record.history and record.history[-1].event == Wait.__name__:
        # one entry for a long wait, not one for every time it was looked at
        record = record.model_copy(update={"history": record.history[:-1]})
    return changed(record, event, now, event.reason, placement_reason=event.reason)
