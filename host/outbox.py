"""What people must be told at least once: by this process, or for one that could not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from prefect.logging import get_logger

from blocks.clusters import ClusterWatch
from worksets.announcements import Announcement, Kind, of_owed
from worksets.record import WorksetRecord

if TYPE_CHECKING:
    from host.process import Host

OTHERS_S: Final = 60.0
"""Seconds that the process where something happened has to tell of it, before others do."""
CLOSE_S: Final = 12.0
"""Seconds at the end of a process for what it is just telling."""


class Outbox:
    """Tells what the state DB says is owed, until every channel took it.

    Who dies between a channel's answer and the note of it is told twice by; that is the price of
    never being told not at all.
    """

    def __init__(self, here: Host) -> None:
        self._here = here
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._look: asyncio.Task[None] | None = None
        self._took: dict[str, set[str]] = {}

    def tell_of_cluster(self, watch: ClusterWatch, kind: Kind, message: str) -> None:
        """Tell that a cluster does not answer, until people know; that it does again, once."""
        name = watch.cluster.cluster_name
        get_logger("host").warning("%s", message)
        if kind is not Kind.CLUSTER_UNREACHABLE:
            self._took.pop(name, None)
            self._here.announce(Announcement(kind, name, message))
        else:
            what = Announcement(kind, name, message)
            self._start(f"cluster {name}", self._tell_of_cluster(watch, what))

    def tell(self, record: WorksetRecord) -> None:
        """Tell what is owed of a workset, beside all else; nothing if nothing is."""
        if record.owed is not None:
            self._start(f"workset {record.workset_id}", self._tell(record))

    def _start(self, what: str, telling: Coroutine[Any, Any, None]) -> None:
        if what in self._telling:
            telling.close()  # it is just being told
            return
        self._telling[what] = asyncio.create_task(telling, name=f"tell of {what}")
        self._telling[what].add_done_callback(lambda _: self._telling.pop(what, None))

    def begin(self) -> None:
        """Look what else is owed, beside all else, unless a look is under way."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_for_more(), name="the look at what is owed")

    async def close(self) -> None:
        """Give what is being told a few seconds; the rest is told by others, or next time."""
        if self._look is not None:
            self._look.cancel()
        if self._telling:
            _, late = await asyncio.wait(self._telling.values(), timeout=CLOSE_S)
            for task in late:
                task.cancel()

    async def _look_for_more(self) -> None:
        here = self._here
        try:
            found = await here.call(here.db.owed)
        except Exception as error:
            get_logger("host").warning("what is owed to people was not read: %s", error)
            return
        late = here.db.now() - timedelta(seconds=OTHERS_S)
        for record in found:
            if record.owed is not None and record.owed.since <= late:
                self.tell(record)

    async def _tell_of_cluster(self, watch: ClusterWatch, what: Announcement) -> None:
        took = self._took.setdefault(what.about, set())
        more, done = await self._here.telling.deliver(what, frozenset(took))
        took |= more
        if done:
            watch.was_told()

    async def _tell(self, record: WorksetRecord) -> None:
        here, owed, announcement = self._here, record.owed, of_owed(record)
        if owed is None or announcement is None:
            return  # of a newer release, which tells it itself
        try:
            took, done = await here.telling.deliver(announcement, frozenset(owed.told))
            if took or done:
                await here.call(
                    here.db.told, record.workset_id, owed.since, sorted(took), done=done
                )
        except Exception as error:
            get_logger("host").warning(
                "%s: whether people were told is not noted; they are told again: %s",
                record.workset_id, error,
            )  # fmt: skip
