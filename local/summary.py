"""What came of a run: for each workset, and against the best that its jobs would have allowed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from worksets.errors import retry_delay_s
from worksets.placement import ClusterView, Limits, PlacementPolicy, plan
from worksets.record import State, StepRun, WorksetRecord


def summarize(
    records: Sequence[WorksetRecord],
    expected: Mapping[str, str],
    views: Sequence[ClusterView],
    limits: Limits,
    prefect_ui: str,
) -> dict[str, Any]:
    """The content of `run/summary.json`.

    makespan_s: from the first workset's registration to the last step's end. ideal_s: see
    `ideal_seconds`. Times are wall-clock seconds.
    """
    runs = [run for record in records for run in record.step_runs]
    begun = min((r.created_at for r in records), default=None)
    ended = max((run.ended_at for run in runs), default=None)
    makespan = (ended - begun).total_seconds() if begun and ended else 0.0
    return {
        "worksets": [
            {
                "workset_id": r.workset_id,
                "customer_id": r.customer_id,
                "cluster": r.cluster_name,
                "state": r.state.value,
                "expected_state": expected.get(r.workset_id, State.COMPLETE.value)
                if expected
                else None,
                "attempts": r.attempt,
                "steps_run": [f"{run.step.value}#{run.attempt}" for run in r.step_runs],
                "seconds": round(_span(r.step_runs), 3),
                "message": message(r),
            }
            for r in sorted(records, key=lambda r: r.workset_id)
        ],
        "peak_running": peak_running(runs_by_workset(records)),
        "makespan_s": round(makespan, 3),
        "ideal_s": round(ideal_seconds(records, views, limits), 3),
        "prefect_ui": prefect_ui,
    }


def is_odd(workset: Mapping[str, Any]) -> bool:
    """Whether a workset of the summary ended otherwise than it should: as it was expected to, or,
    where nothing was, in order, or as a person has had it."""
    if workset["expected_state"] is not None:
        return bool(workset["state"] != workset["expected_state"])
    return workset["state"] not in (State.COMPLETE, State.CANCELLED, State.IGNORED)


def message(record: WorksetRecord) -> str:
    """One line on where a workset stands."""
    if record.state is State.COMPLETE:
        return record.placement_reason
    if record.state is State.FAILED and record.redelivered:
        return (
            f"its folder has changed since: `worksets retry {record.workset_id}`; it said: "
            + (record.error_details.partition("\n")[0])
        )
    return record.error_details.splitlines()[0] if record.error_details else record.placement_reason


def runs_by_workset(records: Sequence[WorksetRecord]) -> dict[str, tuple[StepRun, ...]]:
    return {record.workset_id: record.step_runs for record in records}


def peak_running(runs: Mapping[str, Sequence[StepRun]]) -> int:
    """Most worksets that had a step running at one moment, by the markers' own times."""
    changes: list[tuple[datetime, int]] = []
    for steps in runs.values():
        for attempt in _attempts(steps):
            changes += [(attempt[0].started_at, 1), (attempt[-1].ended_at, -1)]
    running = peak = 0
    for _, change in sorted(changes):
        running += change
        peak = max(peak, running)
    return peak


def ideal_seconds(
    records: Sequence[WorksetRecord], views: Sequence[ClusterView], limits: Limits
) -> float:
    """Makespan if nothing but the jobs took time: the same plan, the same slots, no overhead.

    The jobs last as long as they did here, and retries wait for their delays. A list schedule on
    a virtual clock: whenever a slot is free, `plan` says who takes it.
    """
    start = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
    jobs = {
        r.workset_id: [_span(attempt) for attempt in _attempts(r.step_runs)]
        for r in records
        if r.step_runs
    }
    ready = {
        r.workset_id: r.model_copy(
            update={"state": State.READY, "completed_steps": (), "job_ended": True}
        )
        for r in records
        if r.workset_id in jobs
    }
    customers = dict.fromkeys((r.customer_id for r in ready.values()), 1.0)
    policy = PlacementPolicy()
    held: Counter[str] = Counter()
    there: dict[str, WorksetRecord] = {}
    waiting: list[tuple[datetime, str]] = []
    running: list[tuple[datetime, str, str]] = []
    now, done = start, Counter[str]()
    while ready or waiting or running:
        for decision in plan(
            ready.values(), views, held, limits, customers, policy, now, running=there.values()
        ):
            if decision.action == "start":
                record = ready.pop(decision.workset_id)
                placed = record.model_copy(
                    update={"state": State.LOCKED, "cluster_name": decision.cluster_name}
                )
                held.update(placed.scopes)
                there[record.workset_id] = placed
                length = jobs[record.workset_id][done[record.workset_id]]
                end = now + timedelta(seconds=length)
                heapq.heappush(running, (end, record.workset_id, decision.cluster_name))
        if not running and not waiting:
            return float("nan")  # something that ran could not be placed again with these limits
        now = min([*(item[0] for item in running), *(item[0] for item in waiting)])
        records_by_id = {r.workset_id: r for r in records}
        while running and running[0][0] <= now:
            _, id_, cluster = heapq.heappop(running)
            record = records_by_id[id_]
            placed = record.model_copy(update={"state": State.LOCKED, "cluster_name": cluster})
            held.subtract(placed.scopes)
            del there[id_]
            done[id_] += 1
            if done[id_] < len(jobs[id_]):
                due = now + timedelta(seconds=retry_delay_s(done[id_]))
                heapq.heappush(waiting, (due, id_))
        while waiting and waiting[0][0] <= now:
            _, id_ = heapq.heappop(waiting)
            ready[id_] = records_by_id[id_].model_copy(
                update={"state": State.READY, "completed_steps": (), "job_ended": True}
            )
    return (now - start).total_seconds()


def _attempts(steps: Sequence[StepRun]) -> list[list[StepRun]]:
    """The steps of each attempt, in order."""
    attempts: dict[int, list[StepRun]] = {}
    for run in sorted(steps, key=lambda run: run.started_at):
        attempts.setdefault(run.attempt, []).append(run)
    return [attempts[number] for number in sorted(attempts)]


def _span(steps: Sequence[StepRun]) -> float:
    if not steps:
        return 0.0
    first, last = min(s.started_at for s in steps), max(s.ended_at for s in steps)
    return (last - first).total_seconds()
