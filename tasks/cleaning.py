"""cleaning: frees room on clusters and in the state DB, of worksets whose results are in place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from blocks.clusters import Cluster
from blocks.state_db import WorksetStateDB
from host import Host
from host.loading import load_clusters
from host.threads import LooseThreads
from tasks.logs import run_log
from worksets.errors import ConfigurationError, WorksetError
from worksets.jobs import workset_of_home
from worksets.keeping import Keep, Removable, archivable, removable
from worksets.record import WorksetRecord
from worksets.texts import few, line

AT_ONCE: Final = 10
"""Parts of lineages that a cluster is asked to delete in one call."""
EVERY: Final = timedelta(days=1)
"""How often one of the pollers cleans."""
ASK_S: Final = 3600.0
"""Seconds after which a poller looks whether that is due."""
FINISH_S: Final = 600.0
"""Seconds for which a poll that ends in order waits for what it cleans."""
FULL_S: Final = 60.0
"""Seconds after which a cluster is cleaned again whose disk is full still."""


def cleaned(
    db: WorksetStateDB, clusters: Iterable[Cluster], keep: Keep, dry_run: bool
) -> Iterator[dict[str, Any]]:
    """Let go of what the settings' `keep` says; a row for each part or record, as it goes; blocks.

    The state DB is read anew for each cluster, after its work folder was listed: what is found
    there and is not complete by then is left alone. A cluster that does not answer holds up no
    other; its row has no workset.
    """
    if not keep.anything_goes:
        return
    for cluster in clusters:
        try:
            yield from _of(db, cluster, keep, dry_run)
        except WorksetError as error:
            yield {"cluster": cluster.cluster_name, "workset": "", "done": False,
                   "told": line(str(error))}  # fmt: skip


@contextmanager
def closing_all(clusters: Iterable[Cluster]) -> Iterator[None]:
    """Give up the clusters' connections at the end."""
    try:
        yield
    finally:
        for cluster in clusters:
            with suppress(Exception):  # a way that is broken is closed
                cluster.close()


def _of(
    db: WorksetStateDB, cluster: Cluster, keep: Keep, dry_run: bool
) -> Iterator[dict[str, Any]]:
    there = cluster.lineages()
    # the home of a record of the first release is its id
    ids = (id_ for one in there for id_ in (one.home, workset_of_home(one.home)))
    records = {record.home: record for record in db.find(ids).values()}
    now, archived = db.now(), dict[str, WorksetRecord]()
    yield from _freed(cluster, removable(there, records, keep, now), dry_run)
    for record in archivable(there, records.values(), cluster.cluster_name, keep, now):
        row, archived[record.home] = _archived(db, cluster, record, dry_run)
        yield row
    yield from _freed(cluster, removable(there, archived, keep, now), dry_run)


def _freed(cluster: Cluster, parts: Sequence[Removable], dry_run: bool) -> Iterator[dict[str, Any]]:
    for begin in range(0, len(parts), AT_ONCE):
        some = parts[begin : begin + AT_ONCE]
        for part, freed in zip(some, cluster.free(some, remove=not dry_run), strict=True):
            yield {
                "cluster": cluster.cluster_name,
                "workset": part.workset_id,
                "lineage": part.lineage,
                "part": part.part,
                "gb": round(freed.bytes / 1e9, 3),
                "files": freed.files,
                "done": not freed.wrong,
                "told": line(freed.wrong) or ("would be deleted" if dry_run else "deleted"),
            }


def _archived(
    db: WorksetStateDB, cluster: Cluster, record: WorksetRecord, dry_run: bool
) -> tuple[dict[str, Any], WorksetRecord]:
    """Write a record down beside its results, and let go of it here; a row, and the record now.

    First the one and then the other: who dies between them has it done again by the next.
    """
    row = {"cluster": cluster.cluster_name, "workset": record.workset_id, "lineage": record.lineage,
           "part": "record", "gb": 0.0, "files": 1, "done": True}  # fmt: skip
    if dry_run:
        return row | {"told": "would be archived"}, record
    text = record.model_dump_json(indent=1) + "\n"
    try:
        put = cluster.archive(record.job_name, record.uid, text)
        if put.wrong:
            return row | {"done": False, "told": f"not archived: {line(put.wrong)}"}, record
        after = db.archive(record.workset_id, record.version, put.where)
    except WorksetError as error:  # its trouble, and no other's
        return row | {"done": False, "told": f"not archived: {line(str(error))}"}, record
    return row | {"told": f"archived: {line(put.where)}"}, after


class Cleaner:
    """Cleans beside the polls: once a day in one of the pollers, and what of a cluster may go as
    soon as an attempt has found its disk full."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self._round: asyncio.Task[None] | None = None
        self._threads = LooseThreads(1, "cleaning")
        self._ask_at = 0.0
        self._due: set[str] = set()
        """Clusters that are to be cleaned still: they did not answer in the last round."""
        self._rests: dict[str, float] = {}

    def begin(self) -> None:
        """Begin a round, if one is due and none is under way."""
        under_way = self._round is not None and not self._round.done()
        if self._here.settings.keep.anything_goes and not under_way:
            self._round = asyncio.create_task(self._clean(), name="cleaning")

    async def finish(self) -> None:
        """Let a round that is under way come to its end: a short poll would begin one each day, and
        end none."""
        if self._round is not None:
            await asyncio.wait([self._round], timeout=FINISH_S)

    def stop(self) -> None:
        """Wait for nothing: what was not done is done another time."""
        if self._round is not None:
            self._round.cancel()

    async def _clean(self) -> None:
        here, now = self._here, time.monotonic()
        names = {name for name in here.full_disks if self._rests.get(name, now) <= now}
        try:
            if now >= self._ask_at:
                self._ask_at = now + ASK_S
                if await here.call(here.db.may_clean, here.owner, here.db.now(), EVERY):
                    self._due |= set(here.watches)
                names |= self._due
            if not names:
                return
            self._rests |= dict.fromkeys(names & here.full_disks, now + FULL_S)
            here.full_disks -= names
            # ways of their own: what is deleted for minutes holds up nothing that a poller asks
            clusters = await load_clusters(here.settings, self._not_loaded)
            with closing_all(clusters):
                for cluster in clusters:
                    if cluster.cluster_name in names:
                        await self._threads(self._tell, cluster)
        except Exception as error:  # nothing else of a poller waits for it
            run_log().error("cleaning broke off, and is tried again: %s", error, exc_info=error)

    def _not_loaded(self, reference: str, error: ConfigurationError) -> None:
        run_log().warning("%s is not cleaned: %s", reference, error)

    def _tell(self, cluster: Cluster) -> None:
        name, keep = cluster.cluster_name, self._here.settings.keep
        try:
            rows = list(cleaned(self._here.db, [cluster], keep, dry_run=False))
        except Exception as error:  # this cluster's trouble, and no other's
            self._due.add(name)
            run_log().error("cleaning %s broke off; tried again: %s", name, error, exc_info=error)
            return
        answered = all(row["workset"] for row in rows)
        (self._due.discard if answered else self._due.add)(name)
        gone = [row for row in rows if row["done"]]
        if gone:
            gb = sum(row["gb"] for row in gone)
            whose = few(sorted({row["workset"] for row in gone}))
            run_log().info("cleaned %s: %.3f GB of %s", name, gb, whose)
        for told in sorted({row["told"] for row in rows if not row["done"]}):
            run_log().warning("cleaning %s: %s", name, told)
