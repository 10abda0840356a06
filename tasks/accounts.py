"""accounts: what the clusters' own accounting says of attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from blocks.clusters import Cluster
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from worksets.budgets import Budget, budgets, month_of
from worksets.capacity import ClusterView
from worksets.errors import WorksetError
from worksets.pages import usage_page
from worksets.record import WorksetRecord
from worksets.usage import Accounts, By, summed


def accounts_of(
    clusters: Iterable[Cluster],
    records: Iterable[WorksetRecord],
    since: datetime | None,
    until: datetime,
) -> tuple[Accounts, dict[str, str]]:
    """What each cluster says, and why those say nothing that did not answer; blocks.

    Without `since` it is what the worksets of these records can have used.
    """
    begin = since or min((record.created_at for record in records), default=until)
    found, silent = {}, {}
    for cluster in clusters:
        try:
            said = cluster.used(begin, until)
        except WorksetError as error:
            silent[cluster.cluster_name] = str(error)
            continue
        if said is not None:
            found[cluster.cluster_name] = said
    return found, silent


def reported(
    settings: WorksetSettings,
    db: WorksetStateDB,
    clusters: Sequence[Cluster],
    by: By,
    since: datetime | None,
    until: datetime | None,
) -> tuple[list[dict[str, Any]], str]:
    """What was used from a time on (else this month's first moment), and a page of it; blocks."""
    now, installation = db.now(), db.installation()
    begin = _utc(since or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    end = _utc(until or now)
    records = db.with_work_since(begin)
    asked = [cluster.of(installation) for cluster in clusters]
    accounts, silent = accounts_of(asked, records, begin, end)
    for cluster in asked:
        with suppress(WorksetError):  # what a job had, and its price, goes by its nodes
            cluster.capacity(settings.least_needs)
    views = {cluster.cluster_name: cluster.view() for cluster in clusters}
    rows = summed(records, views, by, begin, end, accounts)
    left = budgets_now(settings.budgets_usd, db, views)
    told = [f"{name}: {budget}" for name, budget in left.items()]
    return rows, usage_page(rows, by, begin, end, told, silent)


def budgets_now(
    usd: Mapping[str, float], db: WorksetStateDB, views: Mapping[str, ClusterView]
) -> dict[str, Budget]:
    """What the customers that have a budget may still spend this month; blocks."""
    if not usd:
        return {}
    month = month_of(db.now())
    return budgets(usd, db.spent(month, usd), db.held(), views, month)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
