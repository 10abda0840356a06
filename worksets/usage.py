"""What worksets have used in a time, by customer, pipeline or cluster. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from worksets.capacity import ClusterView
from worksets.jobs import job_name
from worksets.record import Step, StepRun, WorksetRecord
from worksets.texts import line
from worksets.used import Used, by_markers

By = Literal["customer", "pipeline", "cluster"]
Accounts = Mapping[str, Mapping[str, Used]]
"""By cluster, and by the name of an attempt's job: what the cluster's own accounting says."""


@dataclass(frozen=True)
class _Attempt:
    """What one attempt took on one cluster."""

    workset_id: str
    number: int
    hours: float
    failed: bool
    used: Used
    usd: float
    accounted: bool


def summed(
    records: Iterable[WorksetRecord],
    clusters: Mapping[str, ClusterView],
    by: By,
    since: datetime | None = None,
    until: datetime | None = None,
    accounts: Accounts | None = None,
) -> list[dict[str, Any]]:
    """A row for each customer, pipeline or cluster, by name, and the sum of all as the last.

    Where `accounts` says nothing of an attempt, its steps ran on their cluster's
    `vcpus_per_workset`; on a cluster that the settings do not know any more, on one, for nothing.
    """
    rows: defaultdict[str, list[_Attempt]] = defaultdict(list)
    for record in records:
        for cluster, attempt in _attempts(record, clusters, since, until, accounts or {}):
            key = {"customer": record.customer_id, "pipeline": record.pipeline, "cluster": cluster}
            rows[line(key[by])].append(attempt)
    found = [_row(by, name, attempts) for name, attempts in sorted(rows.items())]
    if found:
        everything = [attempt for attempts in rows.values() for attempt in attempts]
        found.append(_row(by, "all", everything))
    return found


def _attempts(
    record: WorksetRecord,
    clusters: Mapping[str, ClusterView],
    since: datetime | None,
    until: datetime | None,
    accounts: Accounts,
) -> Iterable[tuple[str, _Attempt]]:
    """Each attempt of a workset on each cluster, with what it took in that time."""
    runs: defaultdict[tuple[str, int], list[StepRun]] = defaultdict(list)
    for run in record.step_runs:
        if not (since and run.ended_at < since) and not (until and run.ended_at >= until):
            runs[run.cluster_name, run.attempt].append(run)
    names = {number: job_name(record.home, number) for number in range(1, record.attempt + 1)}
    # one whose job was killed before any step of it had ended was set aside for all the same
    for cluster, account in accounts.items():
        for number, name in names.items():
            if name in account:
                runs[cluster, number] = runs[cluster, number]
    for (cluster, number), steps in runs.items():
        view = clusters.get(cluster)
        needs = record.estimates
        vcpus, price = (view.vcpus_of(needs), view.price_of(needs)) if view else (1, 0.0)
        said = accounts.get(cluster, {}).get(names.get(number, ""))
        used = by_markers(steps, vcpus) if said is None else said
        yield (
            cluster,
            _Attempt(
                record.workset_id,
                number,
                sum((run.ended_at - run.started_at).total_seconds() for run in steps) / 3600,
                any(run.exit_code != 0 for run in steps if run.step is Step.RUN),
                used,
                used.vcpu_hours * price,
                said is not None,
            ),
        )


def _row(by: str, name: str, attempts: list[_Attempt]) -> dict[str, Any]:
    used = sum((attempt.used for attempt in attempts), Used())
    sources = {"accounting" if attempt.accounted else "markers" for attempt in attempts}
    return {
        by: name,
        "worksets": len({attempt.workset_id for attempt in attempts}),
        "attempts": len(attempts),
        "failed_runs": sum(attempt.failed for attempt in attempts),
        "jobs": used.jobs,
        "hours": round(sum(attempt.hours for attempt in attempts), 3),
        "vcpu_hours": round(used.vcpu_hours, 3),
        "cpu_hours": None if used.cpu_hours is None else round(used.cpu_hours, 3),
        "busy": None if used.busy is None else f"{used.busy:.0%}",
        "peak_gb": None if used.peak_gb is None else float(f"{used.peak_gb:.3g}"),
        "usd": round(sum(attempt.usd for attempt in attempts), 2),
        "told_by": " and ".join(sorted(sources)),
    }
