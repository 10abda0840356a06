"""cleaning: frees room on clusters, of worksets whose results are in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from blocks.clusters import Cluster
from blocks.state_db import WorksetStateDB
from worksets.errors import WorksetError
from worksets.keeping import Keep, removable
from worksets.record import State
from worksets.texts import line

AT_ONCE: Final = 10
"""Parts of lineages that a cluster is asked to delete in one call."""


def cleaned(
    db: WorksetStateDB, clusters: Iterable[Cluster], keep: Keep, dry_run: bool
) -> Iterator[dict[str, Any]]:
    """Delete what the settings' `keep` lets go; a row for each part, as it goes; blocks.

    The state DB is read anew for each cluster, after its work folder was listed: what is found
    there and is not complete by then is left alone. A cluster that does not answer holds up no
    other; its row has no workset.
    """
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
    records = {record.home: record for record in db.list_worksets([State.COMPLETE])}
    parts = removable(there, records, keep, db.now())
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
