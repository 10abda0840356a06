"""`worksets usage`: what was used, by customer, pipeline or cluster, as the steps' markers say."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from cli import output
from cli.options import COMMON, Common
from worksets.capacity import ClusterView
from worksets.record import Step, StepRun, WorksetRecord
from worksets.texts import line

By = Literal["customer", "pipeline", "cluster"]
COLUMNS: Final = ["worksets", "attempts", "failed_runs", "hours", "vcpu_hours", "usd"]


def usage(
    *,
    by: By = "customer",
    since: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: Annotated[datetime | None, Parameter(name="--to")] = None,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """What was used: hours of jobs, vCPU-hours, and dollars at the clusters' prices.

    Counted are the steps that have ended, by the times of their markers; the vCPUs are those that a
    workset may use on its cluster.

    Parameters
    ----------
    by:
        customer, pipeline or cluster.
    since:
        Only steps that ended from then on (ISO 8601; without a zone: UTC).
    until:
        Only steps that ended before then.
    as_csv:
        Print CSV.
    """
    site = common.site()
    views = {view.name: view for view in site.views()}
    rows = summed(site.db.list_worksets(), views, by, _utc(since), _utc(until))
    if common.json:
        output.as_json(rows)
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, [by, *COLUMNS])
        writer.writeheader()
        writer.writerows(rows)
    elif rows:
        output.table(rows, [by, *COLUMNS])
    else:
        output.note("nothing was used")
    return 0


def summed(
    records: Iterable[WorksetRecord],
    clusters: Mapping[str, ClusterView],
    by: By,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """A row for each customer, pipeline or cluster, by name, and the sum of all as the last.

    A step runs on its cluster's `vcpus_per_workset`; on a cluster that the settings do not know
    any more, on one, for nothing.
    """
    runs: defaultdict[str, list[tuple[str, StepRun]]] = defaultdict(list)
    for record in records:
        for one in record.step_runs:
            if (since and one.ended_at < since) or (until and one.ended_at >= until):
                continue
            key = {
                "customer": record.customer_id,
                "pipeline": record.pipeline,
                "cluster": one.cluster_name,
            }[by]
            runs[line(key)].append((record.workset_id, one))
    rows = [_row(by, name, found, clusters) for name, found in sorted(runs.items())]
    if rows:
        everything = [pair for found in runs.values() for pair in found]
        rows.append(_row(by, "all", everything, clusters))
    return rows


def _row(
    by: str, name: str, runs: list[tuple[str, StepRun]], clusters: Mapping[str, ClusterView]
) -> dict[str, Any]:
    hours = vcpu_hours = usd = 0.0
    for _, one in runs:
        took = (one.ended_at - one.started_at).total_seconds() / 3600
        view = clusters.get(one.cluster_name)
        vcpus, price = (view.vcpus_per_workset, view.price_per_vcpu_hour) if view else (1, 0.0)
        hours, vcpu_hours = hours + took, vcpu_hours + took * vcpus
        usd += took * vcpus * price
    return {
        by: name,
        "worksets": len({id_ for id_, _ in runs}),
        "attempts": len({(id_, one.attempt) for id_, one in runs}),
        "failed_runs": sum(one.exit_code != 0 for _, one in runs if one.step is Step.RUN),
        "hours": round(hours, 3),
        "vcpu_hours": round(vcpu_hours, 3),
        "usd": round(usd, 2),
    }


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
