"""The installation that a command is about: its settings, its state DB and its clusters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Final

from blocks.clusters import Cluster
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from tasks.accounts import budgets_now
from worksets.budgets import Budget
from worksets.capacity import NOT_HEARD, ClusterView, Limits
from worksets.errors import ConfigurationError, WorksetError
from worksets.health import Health
from worksets.record import WorksetRecord
from worksets.shares import Shares, jobs_of, running, since

VARIABLE: Final = "WORKSETS_SETTINGS"
BLOCK: Final = "default"
ANSWER_S: Final = 5.0
"""Seconds for which a command waits for what clusters say of their nodes."""


@dataclass(frozen=True)
class Site:
    """One installation, as a settings file or a settings block describes it."""

    name: str
    settings: WorksetSettings
    db: WorksetStateDB
    clusters: list[Cluster]

    def cluster(self, name: str) -> Cluster:
        """The cluster of this name, for our installation's jobs.

        Raises:
            ConfigurationError: the settings have none.
        """
        for cluster in self.clusters:
            if cluster.cluster_name == name:
                return cluster.of(self.db.installation())
        known = ", ".join(sorted(c.cluster_name for c in self.clusters)) or "none"
        raise ConfigurationError(f"there is no cluster {name!r} in {self.name}; there are {known}")

    def past(self, now: datetime) -> tuple[dict[str, float], list[WorksetRecord]]:
        """What customers were given lately, and what may have come in the last hours."""
        half_life_h = self.settings.placement.share_half_life_hours
        given = Shares(half_life_h)
        records = self.db.with_work_since(since(now, half_life_h))
        for record in records:
            for _, job in jobs_of(record):
                given.add(job)
        return given.lately(now, running(records)), records

    def health(self) -> Mapping[str, Health]:
        return self.db.clusters_health()

    def views(self) -> list[ClusterView]:
        """The clusters as a poller would see them, by what is known of their health."""
        health = self.health()
        drained = self.db.drained(cluster.cluster_name for cluster in self.clusters)
        found = []
        for cluster in self.clusters:
            view, name = cluster.view(), cluster.cluster_name
            trouble = f"drained: {drained[name]}" if name in drained else ""
            trouble = trouble or health.get(name, Health()).trouble
            found.append(view.model_copy(update={"unavailable": trouble}) if trouble else view)
        return found

    def views_of_now(self) -> list[ClusterView]:
        """The same, after asking those that must say what their nodes have; a few seconds."""
        health, needs = self.health(), self.settings.least_needs

        def hear(cluster: Cluster) -> None:
            with suppress(WorksetError):
                self.cluster(cluster.cluster_name).capacity(needs)

        # one that does not answer must not keep the command
        asking = [
            Thread(target=hear, args=[cluster], daemon=True)
            for cluster in self.clusters
            if not cluster.heard and not health.get(cluster.cluster_name, Health()).trouble
        ]
        for thread in asking:
            thread.start()
        deadline = monotonic() + ANSWER_S
        for thread in asking:
            thread.join(max(0.0, deadline - monotonic()))
        silent = {cluster.cluster_name for cluster in self.clusters if not cluster.heard}
        return [
            view.model_copy(update={"unavailable": view.unavailable or NOT_HEARD})
            if view.name in silent and not view.never
            else view
            for view in self.views()
        ]

    def limits(self, views: Iterable[ClusterView]) -> Limits:
        return self.settings.limits(self.settings.processor, list(views))

    def budgets(self, views: Iterable[ClusterView]) -> dict[str, Budget]:
        """What the customers that have a budget may still spend this month."""
        by_name = {view.name: view for view in views}
        return budgets_now(self.settings.budgets_usd, self.db, by_name)

    def held_counts(self) -> dict[str, int]:
        return self.db.holder_counts()

    def record(self, workset_id: str) -> WorksetRecord:
        return self.db.get(workset_id)


def open_site(settings: str | None, *, may_be_new: bool = False) -> Site:
    """The site of a settings file (a path), or of a settings block on Prefect's server (a name).

    None: what `WORKSETS_SETTINGS` names, else the block `default`. `may_be_new`: a state DB that
    is not there yet is made.

    Raises:
        ConfigurationError: there is no such file or block, it is not right, or its state DB is not
            there yet.
    """
    name = settings or os.environ.get(VARIABLE) or BLOCK
    if is_file(name):
        from local import settings_file

        found, db, clusters = settings_file.read(Path(name), Path.cwd())
    else:
        found, db, clusters = asyncio.run(_loaded(name))
    if not may_be_new:
        _require_there(db)
    return Site(name, found, db, clusters)


def is_file(name: str) -> bool:
    """Whether a text names a settings file, and not a block: names of blocks have no dot."""
    return "/" in name or "." in name


def _require_there(db: WorksetStateDB) -> None:
    """Refuse a file that would only now be made: somebody stands in another folder."""
    path = getattr(db, "path", None)
    if isinstance(path, str) and not Path(path).expanduser().exists():
        raise ConfigurationError(
            f"there is no state DB at {Path(path).expanduser().absolute()}: has anything run with "
            f"these settings yet? Relative paths in a settings file count from the folder in which "
            f"the command runs"
        )


async def _loaded(name: str) -> tuple[WorksetSettings, WorksetStateDB, list[Cluster]]:
    """The blocks of a settings block."""
    from prefect.settings import get_current_settings

    from host import load_settings, loading

    if not get_current_settings().api.url:
        raise ConfigurationError(
            f"which installation is meant? Give --settings FILE, or set {VARIABLE}; or set "
            f"PREFECT_API_URL to the server that has the settings block {name!r}"
        )

    def failed(reference: str, error: ConfigurationError) -> None:
        return None  # the others can be looked at

    settings = await load_settings(name)
    db = await loading.load(settings.state_db, WorksetStateDB)  # type: ignore[type-abstract]
    return settings, db, await loading.load_clusters(settings, failed)
