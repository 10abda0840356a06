"""What every transition of the life cycle is made of: the new record, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worksets.events import Event
from worksets.record import (
    HELD,
    MAX_HISTORY,
    MAX_STEP_RUNS,
    STEPS,
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


def changed(
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


def refuse(record: WorksetRecord, event: Event) -> Refusal:
    cancelled = f" and to be cancelled ({record.cancel_requested})"
    return Refusal(
        f"workset {record.workset_id} is {record.state.value}"
        f"{cancelled if record.cancel_requested else ''}: "
        f"{type(event).__name__} is not possible from there"
    )


def not_the_holder(record: WorksetRecord, fence: int) -> Refusal | None:
    if record.state in HELD and record.fence == fence:
        return None
    return fence_lost(record, fence)


def fence_lost(record: WorksetRecord, fence: int) -> Refusal:
    return Refusal(
        f"workset {record.workset_id} changed hands: fence {fence} is out of date, the record is "
        f"{record.state.value} with fence {record.fence}; this process leaves it alone",
        fence_lost=True,
    )


def with_steps(
    record: WorksetRecord, step_runs: tuple[StepRun, ...]
) -> tuple[tuple[StepRun, ...], tuple[Step, ...]]:
    known = {(run.step, run.attempt): run for run in (*record.step_runs, *step_runs)}
    runs = tuple(sorted(known.values(), key=lambda run: run.started_at))[-MAX_STEP_RUNS:]
    # of the runs that the record knew, completed_steps says which still count
    done = {run.step for run in step_runs if run.exit_code == 0} | set(record.completed_steps)
    return runs, tuple(step for step in STEPS if step in done)


def cancelled(reason: str, ended: bool) -> dict[str, Any]:
    """The end of a workset that is to be cancelled, or its wait (held by nobody) for its job's."""
    return {
        "state": State.CANCELLED if ended else State.READY,
        "cancel_requested": "" if ended else reason,
        "retry_after": None,
    }
