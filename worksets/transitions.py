"""What every transition of the life cycle is made of: the new record, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from worksets.errors import MAX_DETAILS
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
from worksets.texts import plain

MAX_NOTE: Final = 500
"""Characters of an entry of history."""
TOLD: Final = frozenset({"error_details", "placement_reason", "awaits", "cancel_requested"})
"""Fields of a record that are texts for people, of whatever origin; the others are compared."""


@dataclass(frozen=True)
class Refusal:
    """Why an event may not happen to a record; `fence_lost` when somebody else holds it now."""

    reason: str
    fence_lost: bool = False


def changed(
    record: WorksetRecord, event: Event, now: datetime, note: str = "", **changes: Any
) -> WorksetRecord:
    """The record after an event. Texts for people are made fit here, before they are kept."""
    entry = HistoryEntry(at=now, event=type(event).__name__, note=plain(note, MAX_NOTE))
    for field in TOLD & changes.keys():
        changes[field] = plain(changes[field], MAX_DETAILS)
    return record.model_copy(
        update={
            **changes,
            "version": record.version + 1,
            "updated_at": now,
            "history": _bounded(record.history, entry),
        }
    )


def quietly(record: WorksetRecord, now: datetime, **changes: Any) -> WorksetRecord:
    """The record after something that is no event of its life: its history stays as it is."""
    return record.model_copy(update={**changes, "version": record.version + 1, "updated_at": now})


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
    # of the runs that the record knew, completed_steps says which still count; what an attempt of
    # an earlier lineage did counts no more, however late it is heard of
    ended_well = {
        run.step for run in step_runs if run.exit_code == 0 and run.attempt > record.lineage_after
    }
    done = ended_well | set(record.completed_steps)
    return runs, tuple(step for step in STEPS if step in done)


def new_lineage(record: WorksetRecord) -> dict[str, Any]:
    """All is run again, in folders that are empty; nothing of what was done so far is used."""
    return {
        "lineage": record.lineage + 1,
        "lineage_after": record.attempt,
        "completed_steps": (),
        "exported": None,
    }


def cancelled(reason: str, ended: bool) -> dict[str, Any]:
    """The end of a workset that is to be cancelled, or its wait (held by nobody) for its job's."""
    return {
        "state": State.CANCELLED if ended else State.READY,
        "cancel_requested": "" if ended else reason,
        "retry_after": None,
    }
