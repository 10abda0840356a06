"""The life cycle: every change of state, as (record, event, now) -> new record or a refusal.

    ready -> locked -> in_progress -> complete
      ^        |            |  \\
      |        |            |   -> failed (dead letter)
      +--------+- retrying <+      cancelled, ignored

Nothing else changes a state; the events are in `worksets.events`. `locked` means: held by a
process, and no job of this attempt can exist yet. `in_progress` means: the intent to submit is
written, so a job may exist. Writes by a holder carry the fence they were given; whoever shows an
old one is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from worksets import keeping, outbox, steering
from worksets.announcements import Kind
from worksets.errors import ErrorCategory, retry_delay_s
from worksets.events import (
    Archive,
    AwaitDelivery,
    Begin,
    Cancel,
    Complete,
    Describe,
    Event,
    Fail,
    ForceRelease,
    Hasten,
    Ignore,
    Lock,
    Lost,
    Owe,
    Postpone,
    Redelivered,
    RegisterAgain,
    ReleaseStale,
    Requeue,
    Restore,
    SetAffinity,
    SetPriority,
    Stopped,
    TakeOver,
    Told,
    Unsettled,
    Wait,
)
from worksets.jobs import job_name
from worksets.record import HELD, STEPS, State, WorksetRecord
from worksets.texts import plain
from worksets.transitions import (
    Refusal,
    cancelled,
    changed,
    fence_lost,
    not_the_holder,
    refuse,
    with_steps,
)

__all__ = ["Refusal", "apply"]


def apply(record: WorksetRecord, event: Event, now: datetime) -> WorksetRecord | Refusal:
    """The record after `event` at time `now` (UTC), or why it may not happen.

    Total: every event on every record gives one of the two, never an exception.
    """
    return _RULES[type(event)](record, event, now)


def _lock(record: WorksetRecord, event: Lock, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY or record.cancel_requested:
        return refuse(record, event)
    if record.awaits:
        return Refusal(f"workset {record.workset_id} is not delivered yet: {record.awaits}")
    if record.pinned_cluster and record.pinned_cluster != event.cluster_name:
        return Refusal(
            f"workset {record.workset_id} must stay on {record.pinned_cluster}: its finished steps "
            f"or a job that may still run are there"
        )
    moves = record.completed_steps and record.cluster_name != event.cluster_name
    return changed(
        record,
        event,
        now,
        f"{event.cluster_name}: {event.reason}",
        # what was staged lies on the cluster that it leaves
        completed_steps=() if moves else record.completed_steps,
        state=State.LOCKED,
        lock_owner=event.owner,
        fence=record.fence + 1,
        cluster_name=event.cluster_name,
        placement_reason=event.reason,
    )


def _take_over(record: WorksetRecord, event: TakeOver, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in HELD:
        return refuse(record, event)
    if record.lock_owner != event.previous_owner:
        return Refusal(
            f"workset {record.workset_id} is held by {record.lock_owner} now, "
            f"not by {event.previous_owner}"
        )
    return changed(
        record,
        event,
        now,
        f"from {event.previous_owner}",
        lock_owner=event.owner,
        fence=record.fence + 1,
    )


def _begin(record: WorksetRecord, event: Begin, now: datetime) -> WorksetRecord | Refusal:
    if refusal := not_the_holder(record, event.fence):
        return refusal
    if record.state is not State.LOCKED or record.cancel_requested:
        return refuse(record, event)
    attempt = record.attempt + 1
    runs, done = with_steps(record, event.step_runs)
    return changed(
        record,
        event,
        now,
        f"attempt {attempt}",
        step_runs=runs,
        completed_steps=done,
        state=State.IN_PROGRESS,
        attempt=attempt,
        job_name=job_name(record.home, attempt),
        job_ended=False,
    )


def _complete(record: WorksetRecord, event: Complete, now: datetime) -> WorksetRecord | Refusal:
    if refusal := not_the_holder(record, event.fence):
        return refusal
    if record.state is not State.IN_PROGRESS:
        return refuse(record, event)
    runs, done = with_steps(record, event.step_runs)
    if missing := [step.value for step in STEPS if step not in done]:
        return Refusal(
            f"workset {record.workset_id} cannot be complete: no exit marker says that "
            f"{', '.join(missing)} ended well"
        )
    return changed(
        record,
        event,
        now,
        state=State.COMPLETE,
        lock_owner="",
        step_runs=runs,
        completed_steps=done,
        exported=event.exported or record.exported,
        job_ended=True,
        cancel_requested="",
        clusters_fault=False,
        failed_step="",
        error_category=None,
        error_details="",
        error_known=True,
        retry_after=None,
    )


def _fail(record: WorksetRecord, event: Fail, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in HELD | {State.READY}:
        return refuse(record, event)
    # a ready workset may be refused by its validation, if nobody has locked it since it was read
    if event.fence is not None and event.fence != record.fence:
        return fence_lost(record, event.fence)

    guess_again = record.error_known or record.failed_step != event.failed_step
    unknown = ErrorCategory.TRANSIENT if guess_again else ErrorCategory.PERMANENT
    category = event.category or unknown
    details = event.details
    if event.category is None:
        details += (
            " (an error no table knows: tried again once)"
            if guess_again
            else " (an error no table knows, for the second time in a row: not tried again)"
        )

    runs, done = with_steps(record, event.step_runs)
    retry = record.retry_count + 1
    again = category.retryable and event.retry_enabled and retry <= record.max_retries
    delay_s = retry_delay_s(retry)
    outcome: dict[str, Any]
    if again:
        outcome = {
            "state": State.RETRYING,
            "retry_count": retry,
            "retry_after": now + timedelta(seconds=delay_s),
        }
        verdict = f"retry {retry} of {record.max_retries} in {delay_s} s"
    else:
        outcome = {"state": State.FAILED, "retry_after": None}
        verdict = "dead letter: " + (
            f"all {record.max_retries} retries used"
            if category.retryable and event.retry_enabled
            else f"a {category.value} error is not tried again"
            if event.retry_enabled
            else "retries are switched off (enable_retry)"
        )
    # an operator's word about a running job is no evidence of its end
    ended = event.job_ended or (record.job_ended and record.state is not State.IN_PROGRESS)
    if record.cancel_requested:
        outcome, verdict = (
            cancelled(record.cancel_requested, ended),
            f"cancelled: {record.cancel_requested}",
        )
    elif not again:
        text = f"{event.failed_step or 'workset'} failed, {verdict}: {details}"
        outcome |= outbox.owing(Kind.DEAD_LETTER, text, now)
    return changed(
        record,
        event,
        now,
        plain(f"{event.failed_step or 'workset'}: {category.value}: {details}", 400)
        + f" [{verdict}]",
        **outcome,
        lock_owner="",
        awaits="",
        fence=record.fence + (event.fence is None and record.state in HELD),
        failed_step=event.failed_step,
        step_runs=runs,
        completed_steps=done,
        job_ended=ended,
        error_category=category,
        error_details=details,
        error_known=event.category is not None,
        clusters_fault=event.clusters_fault,
        out_of_memory=record.out_of_memory + (event.exhausted == "memory"),
        out_of_time=record.out_of_time + (event.exhausted == "time"),
    )


def _postpone(record: WorksetRecord, event: Postpone, now: datetime) -> WorksetRecord | Refusal:
    if refusal := not_the_holder(record, event.fence):
        return refusal
    ended = event.job_ended or (record.state is State.LOCKED and record.job_ended)
    outcome: dict[str, Any] = {
        "state": State.RETRYING,
        "retry_after": now + timedelta(seconds=event.delay_s),
    }
    if record.cancel_requested:
        outcome = cancelled(record.cancel_requested, ended)
    return changed(
        record,
        event,
        now,
        event.reason,
        **outcome,
        lock_owner="",
        job_ended=ended,
        error_details=event.reason,
        **(outbox.owing(Kind.STUCK, event.tell, now) if event.tell else {}),
    )


_Rule = Callable[[WorksetRecord, Any, datetime], WorksetRecord | Refusal]
_RULES: Final[dict[type[Any], _Rule]] = {
    Lock: _lock,
    TakeOver: _take_over,
    Begin: _begin,
    Complete: _complete,
    Fail: _fail,
    Postpone: _postpone,
    Requeue: steering.requeue,
    Hasten: steering.hasten,
    ReleaseStale: steering.release_stale,
    ForceRelease: steering.force_release,
    Cancel: steering.cancel,
    Stopped: steering.stopped,
    Ignore: steering.ignore,
    Restore: steering.restore,
    SetAffinity: steering.set_affinity,
    SetPriority: steering.set_priority,
    Describe: steering.describe,
    AwaitDelivery: steering.await_delivery,
    Redelivered: steering.redelivered,
    RegisterAgain: steering.register_again,
    Lost: steering.lost,
    Wait: steering.wait,
    Owe: outbox.owe,
    Unsettled: outbox.unsettled,
    Told: outbox.told,
    Archive: keeping.archive,
}
