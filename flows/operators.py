"""What an operator does with a form: the deployments beside polling, processing and dead letters.

The same functions as the command line (`worksets cancel`, `priority`, `register`, `drain`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio
from prefect import flow, get_run_logger

from host import load_settings, load_state_db, loading
from tasks.accounts import reported
from tasks.cleaning import cleaned, closing_all
from tasks.operating import registered
from tasks.showing import Artifact
from worksets.errors import ConfigurationError
from worksets.placement import money
from worksets.record import Priority
from worksets.texts import few
from worksets.usage import By


@flow(name="cancel_workset", retries=0, persist_result=False)
async def cancel_workset(
    workset_id: str, reason: str = "cancelled by hand", settings: str = "default"
) -> str:
    """Stop a workset for good; where its job runs, the job is stopped first, by a poller.

    Args:
        workset_id: The workset.
        reason: Kept in its history.
        settings: Name of the settings block.
    """
    db = await load_state_db(settings)
    after = await anyio.to_thread.run_sync(db.cancel, workset_id, reason)
    if after.cancel_requested:
        get_run_logger().info(
            "%s is to be cancelled; it is when its job on %s has ended", workset_id,
            after.cluster_name,
        )  # fmt: skip
    return after.state.value


@flow(name="set_priority", retries=0, persist_result=False)
async def set_priority(
    workset_ids: list[str],
    priority: Priority,
    reason: str = "set by hand",
    settings: str = "default",
) -> list[str]:
    """Say how urgent worksets are; from then on it stands before what their files say.

    Args:
        workset_ids: The worksets; unfinished ones, or dead letters.
        priority: urgent, normal or low.
        reason: Kept in their history.
        settings: Name of the settings block.
    """
    db = await load_state_db(settings)
    for workset_id in workset_ids:
        await anyio.to_thread.run_sync(db.set_priority, workset_id, priority, reason)
        get_run_logger().info("%s is %s now", workset_id, priority.value)
    return workset_ids


@flow(name="drain_cluster", retries=0, persist_result=False)
async def drain_cluster(
    cluster_name: str,
    reason: str = "drained by hand",
    resume: bool = False,
    settings: str = "default",
) -> dict[str, str]:
    """Place nothing new on a cluster, from the next cycle on; what runs there goes on.

    Args:
        cluster_name: The cluster.
        reason: Shown with whatever waits for it.
        resume: Take it back: the cluster is placed on again.
        settings: Name of the settings block.
    """
    db = await load_state_db(settings)
    if resume:
        await anyio.to_thread.run_sync(db.undrain, cluster_name)
    else:
        await anyio.to_thread.run_sync(db.drain, cluster_name, reason)
    get_run_logger().info("%s is %s", cluster_name, "placed on again" if resume else "drained")
    return await anyio.to_thread.run_sync(db.drained, [cluster_name])


@flow(name="clean_worksets", retries=0, persist_result=False)
async def clean_worksets(dry_run: bool = False, settings: str = "default") -> dict[str, Any]:
    """Delete on the clusters what the settings' `keep` lets go, and archive old records.

    Only of complete worksets, whose results are in their place.

    Args:
        dry_run: Only say what would be done.
        settings: Name of the settings block.
    """
    found = await load_settings(settings)
    db = await load_state_db(settings)
    log = get_run_logger()

    def failed(reference: str, error: ConfigurationError) -> None:
        log.error("%s is not looked at: %s", reference, error)

    clusters = await loading.load_clusters(found, failed)

    def clean() -> list[dict[str, Any]]:
        with closing_all(clusters):
            return list(cleaned(db, clusters, found.keep, dry_run))

    rows = await anyio.to_thread.run_sync(clean)
    for row in rows:
        level = "info" if row["done"] else "error"
        size = "" if row.get("part") == "record" else f"{row.get('gb')} GB "
        what = f"{row['workset']}, {row['part']}: {size}" if row["workset"] else ""
        getattr(log, level)("%s: %s%s", row["cluster"], what, row["told"])
    return {
        "parts": sum(row["done"] for row in rows),
        "gb": round(sum(row.get("gb", 0.0) for row in rows if row["done"]), 3),
        "not": [row["told"] for row in rows if not row["done"]],
    }


@flow(name="report_usage", retries=0, persist_result=False)
async def report_usage(
    by: By = "customer",
    since: datetime | None = None,
    until: datetime | None = None,
    settings: str = "default",
) -> list[dict[str, Any]]:
    """Write the page `usage`: what was used, in dollars and vCPU-hours, and how busy those were.

    Args:
        by: customer, pipeline or cluster.
        since: Only what ended from then on; empty: from the first of this month (UTC).
        until: Only what ended before then; empty: until now.
        settings: Name of the settings block.
    """
    found = await load_settings(settings)
    db = await load_state_db(settings)
    log = get_run_logger()

    def failed(reference: str, error: ConfigurationError) -> None:
        log.error("%s is not asked: %s", reference, error)

    clusters = await loading.load_clusters(found, failed)

    def reckoned() -> tuple[list[dict[str, Any]], str]:
        with closing_all(clusters):
            return reported(found, db, clusters, by, since, until)

    rows, text = await anyio.to_thread.run_sync(reckoned)
    own = "" if settings == "default" else f"-{settings}"
    total = f"{money(rows[-1]['usd'])} in all" if rows else "nothing was used"
    await Artifact(f"usage{own}").show(text, total)
    log.info("%s; the page usage%s under Artifacts has the rest", total, own)
    return rows


@flow(name="register_worksets", retries=0, persist_result=False)
async def register_worksets(folders: list[str], settings: str = "default") -> list[dict[str, Any]]:
    """Take folders for worksets now, and not when a poll finds them.

    Args:
        folders: Paths or s3:// URIs of folders directly below a watched place.
        settings: Name of the settings block.
    """
    rows = await registered(await load_settings(settings), await load_state_db(settings), folders)
    for row in rows:
        level = "info" if row["done"] else "error"
        getattr(get_run_logger(), level)("%s: %s", row["folder"], row["told"])
    if bad := [row["folder"] for row in rows if not row["done"]]:
        raise ConfigurationError(f"not registered: {few(bad)}; the run's log says why of each")
    return rows
