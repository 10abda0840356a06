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
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from worksets.errors import MAX_DETAILS, ErrorCategory, retry_delay_s
from worksets.events import (
    Begin,
    Cancel,
    Complete,
    Describe,
    Event,
    Fail,
    ForceRelease,
    Ignore,
    Lock,
    Postpone,
    ReleaseStale,
    Requeue,
    Restore,
    SetAffinity,
    Stopped,
    TakeOver,
    Wait,
)
from worksets.jobs import job_name
from worksets.record import (
    HELD,
    MAX_HISTORY,
    MAX_STEP_RUNS,
    STEPS,
    UNFINISHED,
    HistoryEntry,
    State,
    Step,
    StepRun,
    WorksetRecord,
)


@dataclass(frozen=True)
class Refusal:
    """Why an event may not happen to a record; `fence_lost` when somebody else holds it now."""

    reason: str
    fence_lost: bool = False


def apply(record: WorksetRecord, event: Event, now: datetime) -> WorksetRecord | Refusal:
    """The record after `event` at time `now` (UTC), or why it may not happen.

    Total: every event on every record gives one of the two, never an exception.
    """
    return _RULES[type(event)](record, event, now)


def _changed(
    record: WorksetRecord, event: Event, now: datetime, note: str = "", **changes: Any
) -> WorksetRecord:
    entry = HistoryEntry(at=now, event=type(event).__name__, note=note[:500])
    return record.model_copy(
        update={
            **changes,
            "version": record.version + 1,
            "updated_at": now,
            "history": _bounded(record.history, entry),
        }
    )


def _bounded(history: tuple[HistoryEntry, ...], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    grown = (*history, entry)
    if len(grown) <= MAX_HISTORY:
        return grown
    return grown[:10] + grown[-(MAX_HISTORY - 10) :]


def _refuse(record: WorksetRecord, event: Event) -> Refusal:
    cancelled = f" and to be cancelled ({record.cancel_requested})"
    return Refusal(
        f"workset {record.workset_id} is {record.state.value}"
        f"{cancelled if record.cancel_requested else ''}: "
        f"{type(event).__name__} is not possible from there"
    )


def _not_the_holder(record: WorksetRecord, fence: int) -> Refusal | None:
    if record.state in HELD and record.fence == fence:
        return None
    return _fence_lost(record, fence)


def _fence_lost(record: WorksetRecord, fence: int) -> Refusal:
    return Refusal(
        f"workset {record.workset_id} changed hands: fence {fence} is out of date, the record is "
        f"{record.state.value} with fence {record.fence}; this process leaves it alone",
        fence_lost=True,
    )


def _lock(record: WorksetRecord, event: Lock, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY or record.cancel_requested:
        return _refuse(record, event)
    if record.pinned_cluster and record.pinned_cluster != event.cluster_name:
        return Refusal(
            f"workset {record.workset_id} must stay on {record.pinned_cluster}: its finished steps "
            f"or a job that may still run are there"
        )
    moves = record.completed_steps and record.cluster_name != event.cluster_name
    return _changed(
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
        return _refuse(record, event)
    if record.lock_owner != event.previous_owner:
        return Refusal(
            f"workset {record.workset_id} is held by {record.lock_owner} now, "
            f"not by {event.previous_owner}"
        )
    return _changed(
        record,
        event,
        now,
        f"from {event.previous_owner}",
        lock_owner=event.owner,
        fence=record.fence + 1,
    )


def _begin(record: WorksetRecord, event: Begin, now: datetime) -> WorksetRecord | Refusal:
    if refusal := _not_the_holder(record, event.fence):
        return refusal
    if record.state is not State.LOCKED or record.cancel_requested:
        return _refuse(record, event)
    attempt = record.attempt + 1
    runs, done = _with_steps(record, event.step_runs)
    return _changed(
        record,
        event,
        now,
        f"attempt {attempt}",
        step_runs=runs,
        completed_steps=done,
        state=State.IN_PROGRESS,
        attempt=attempt,
        job_name=job_name(record.workset_id, attempt),
        job_ended=False,
    )


def _with_steps(
    record: WorksetRecord, step_runs: tuple[StepRun, ...]
) -> tuple[tuple[StepRun, ...], tuple[Step, ...]]:
    known = {(run.step, run.attempt): run for run in (*record.step_runs, *step_runs)}
    runs = tuple(sorted(known.values(), key=lambda run: run.started_at))[-MAX_STEP_RUNS:]
    # of the runs that the record knew, completed_steps says which still count
    done = {run.step for run in step_runs if run.exit_code == 0} | set(record.completed_steps)
    return runs, tuple(step for step in STEPS if step in done)


def _complete(record: WorksetRecord, event: Complete, now: datetime) -> WorksetRecord | Refusal:
    if refusal := _not_the_holder(record, event.fence):
        return refusal
    if record.state is not State.IN_PROGRESS:
        return _refuse(record, event)
    runs, done = _with_steps(record, event.step_runs)
    if missing := [step.value for step in STEPS if step not in done]:
        return Refusal(
            f"workset {record.workset_id} cannot be complete: no exit marker says that "
            f"{', '.join(missing)} ended well"
        )
    return _changed(
        record,
        event,
        now,
        state=State.COMPLETE,
        lock_owner="",
        step_runs=runs,
        completed_steps=done,
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
        return _refuse(record, event)
    # a ready workset may be refused by its validation, if nobody has locked it since it was read
    if event.fence is not None and event.fence != record.fence:
        return _fence_lost(record, event.fence)

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

    runs, done = _with_steps(record, event.step_runs)
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
            _cancelled(record.cancel_requested, ended),
            f"cancelled: {record.cancel_requested}",
        )
    return _changed(
        record,
        event,
        now,
        f"{event.failed_step or 'workset'}: {category.value}: {details}"[:400] + f" [{verdict}]",
        **outcome,
        lock_owner="",
        fence=record.fence + (event.fence is None and record.state in HELD),
        failed_step=event.failed_step,
        step_runs=runs,
        completed_steps=done,
        job_ended=ended,
        error_category=category,
        error_details=details[:MAX_DETAILS],
        error_known=event.category is not None,
        clusters_fault=event.clusters_fault,
        out_of_memory=record.out_of_memory + (event.exhausted == "memory"),
        out_of_time=record.out_of_time + (event.exhausted == "time"),
    )


def _postpone(record: WorksetRecord, event: Postpone, now: datetime) -> WorksetRecord | Refusal:
    if refusal := _not_the_holder(record, event.fence):
        return refusal
    ended = event.job_ended or (record.state is State.LOCKED and record.job_ended)
    outcome: dict[str, Any] = {
        "state": State.RETRYING,
        "retry_after": now + timedelta(seconds=event.delay_s),
    }
    if record.cancel_requested:
        outcome = _cancelled(record.cancel_requested, ended)
    return _changed(
        record,
        event,
        now,
        event.reason,
        **outcome,
        lock_owner="",
        job_ended=ended,
        error_details=event.reason[:MAX_DETAILS],
    )


def _requeue(record: WorksetRecord, event: Requeue, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.RETRYING:
        return _refuse(record, event)
    if record.retry_after is not None and record.retry_after > now:
        return Refusal(
            f"workset {record.workset_id} waits until {record.retry_after.isoformat()} "
            f"before its next try"
        )
    return _changed(record, event, now, state=State.READY, retry_after=None)


def _release_stale(
    record: WorksetRecord, event: ReleaseStale, now: datetime
) -> WorksetRecord | Refusal:
    # in_progress is taken over, never released: a job may hold a slot on the cluster
    if record.state is not State.LOCKED or record.lock_owner != event.previous_owner:
        return _refuse(record, event)
    return _changed(
        record,
        event,
        now,
        f"the lease of {event.previous_owner} ran out before it had begun",
        state=State.READY,
        lock_owner="",
        fence=record.fence + 1,
    )


def _force_release(
    record: WorksetRecord, event: ForceRelease, now: datetime
) -> WorksetRecord | Refusal:
    if record.state not in HELD:
        return _refuse(record, event)
    return _changed(
        record, event, now, event.reason, state=State.READY, lock_owner="", fence=record.fence + 1
    )


def _cancel(record: WorksetRecord, event: Cancel, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in UNFINISHED or record.cancel_requested:
        return _refuse(record, event)
    if not record.job_ended and record.state in HELD:
        # its job may run: it keeps its slot and its holder until the job is seen at its end
        return _changed(record, event, now, event.reason, cancel_requested=event.reason)
    return _changed(
        record,
        event,
        now,
        event.reason,
        **_cancelled(event.reason, record.job_ended),
        lock_owner="",
        fence=record.fence + 1,
    )


def _cancelled(reason: str, ended: bool) -> dict[str, Any]:
    """The end of a workset that is to be cancelled, or its wait (held by nobody) for its job's."""
    return {
        "state": State.CANCELLED if ended else State.READY,
        "cancel_requested": "" if ended else reason,
        "retry_after": None,
    }


def _stopped(record: WorksetRecord, event: Stopped, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in UNFINISHED or not record.cancel_requested:
        return _refuse(record, event)
    if event.fence != record.fence:
        return _fence_lost(record, event.fence)
    runs, done = _with_steps(record, event.step_runs)
    return _changed(
        record,
        event,
        now,
        record.cancel_requested,
        **_cancelled(record.cancel_requested, ended=True),
        lock_owner="",
        fence=record.fence + 1,
        step_runs=runs,
        completed_steps=done,
        job_ended=True,
    )


def _ignore(record: WorksetRecord, event: Ignore, now: datetime) -> WorksetRecord | Refusal:
    allowed = {State.READY, State.RETRYING, State.FAILED, State.CANCELLED}
    if record.state not in allowed or record.cancel_requested:
        return _refuse(record, event)
    return _changed(record, event, now, event.reason, state=State.IGNORED, retry_after=None)


def _restore(record: WorksetRecord, event: Restore, now: datetime) -> WorksetRecord | Refusal:
    if record.state not in {State.FAILED, State.CANCELLED, State.IGNORED}:
        return _refuse(record, event)
    anew = event.from_start
    if anew is None:
        anew = record.error_category is ErrorCategory.DATA
    return _changed(
        record,
        event,
        now,
        event.reason + (" (from the start)" if anew else ""),
        state=State.READY,
        retry_count=0,
        error_known=True,
        completed_steps=() if anew else record.completed_steps,
    )


def _set_affinity(
    record: WorksetRecord, event: SetAffinity, now: datetime
) -> WorksetRecord | Refusal:
    return _changed(
        record,
        event,
        now,
        f"{event.cluster_name}: {event.reason.value}",
        preferred_cluster=event.cluster_name,
        affinity_reason=event.reason,
        cluster_required=event.required,
    )


def _describe(record: WorksetRecord, event: Describe, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return _refuse(record, event)
    return _changed(record, event, now, **event.description.changes(record))


def _wait(record: WorksetRecord, event: Wait, now: datetime) -> WorksetRecord | Refusal:
    if record.state is not State.READY:
        return _refuse(record, event)
    if record.history and record.history[-1].event == Wait.__name__:
        # one entry for a long wait, not one for every time it was looked at
        record = record.model_copy(update={"history": record.history[:-1]})
    return _changed(record, event, now, event.reason, placement_reason=event.reason)


_Rule = Callable[[WorksetRecord, Any, datetime], WorksetRecord | Refusal]
_RULES: Final[dict[type[Any], _Rule]] = {
    Lock: _lock,
    TakeOver: _take_over,
    Begin: _begin,
    Complete: _complete,
    Fail: _fail,
    Postpone: _postpone,
    Requeue: _requeue,
    ReleaseStale: _release_stale,
    ForceRelease: _force_release,
    Cancel: _cancel,
    Stopped: _stopped,
    Ignore: _ignore,
    Restore: _restore,
    SetAffinity: _set_affinity,
    Describe: _describe,
    Wait: _wait,
}
