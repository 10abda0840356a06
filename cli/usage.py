"""`worksets usage`: what was used, as the clusters' accounting says, or the steps' markers."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from cyclopts import Parameter

from cli import output
from cli.options import COMMON, Common
from tasks.accounts import accounts_of
from worksets.usage import By, summed

COLUMNS: Final = [
    "worksets", "attempts", "failed_runs", "jobs", "hours", "vcpu_hours", "cpu_hours", "busy",
    "peak_gb", "usd", "told_by",
]  # fmt: skip
SHOWN: Final = ["worksets", "failed_runs", "vcpu_hours", "busy", "peak_gb", "usd"]
"""Those that a terminal of 80 columns has room for."""


def usage(
    *,
    by: By = "customer",
    since: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: Annotated[datetime | None, Parameter(name="--to")] = None,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    ask: bool = True,
    common: Common = COMMON,
) -> int:
    """What was used: hours, vCPU-hours set aside and busy, memory, and dollars.

    Slurm's accounting (sacct) counts, with the jobs that workflow engines have handed in. Where
    there is none, the markers of the steps do, with the vCPUs that a workset may use on its
    cluster. Dollars are vCPU-hours at the cluster's price of now.

    Parameters
    ----------
    by:
        customer, pipeline or cluster.
    since:
        Only what ended from then on (ISO 8601; without a zone: UTC).
    until:
        Only what ended before then.
    as_csv:
        Print CSV.
    ask:
        Ask the clusters' accounting; else the markers count alone.
    """
    site = common.site()
    views = {view.name: view for view in (site.views_of_now() if ask else site.views())}
    begin, end = _utc(since), _utc(until)
    days = site.settings.keep.retention_days
    if days is not None and (begin is None or begin < site.db.now() - timedelta(days=days)):
        output.note(f"what was archived, after {days:g} days, is not counted (keep.retention_days)")
    records = site.db.with_work_since(begin)
    clusters = [site.cluster(cluster.cluster_name) for cluster in site.clusters] if ask else []
    accounts, silent = accounts_of(clusters, records, begin, end or site.db.now())
    for name, error in silent.items():
        output.note(f"{name}: by markers, for its accounting did not answer: {error}")
    rows = summed(records, views, by, begin, end, accounts)
    if common.json:
        output.as_json(rows)
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, [by, *COLUMNS])
        writer.writeheader()
        writer.writerows(rows)
    elif rows:
        output.table(rows, [by, *SHOWN])
    else:
        output.note("nothing was used")
    return 0


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
