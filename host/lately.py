"""What each customer was given lately, as this process has read it from the state DB.

Nothing is written for it: the records of what has ended say it. They are read when a process
begins, and then once an hour, for what others have carried; what this one has carried is counted as
it ends. Nothing that starts waits long for a read: it goes on beside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from prefect.logging import get_logger

from worksets.errors import WorksetError
from worksets.forecast import EXPECTED_H
from worksets.record import WorksetRecord
from worksets.shares import Shares, jobs_of, running, since

if TYPE_CHECKING:
    from host.process import Host

EVERY: Final = timedelta(hours=1)
KNOWN: Final = timedelta(days=1) + 2 * EVERY
"""A read returns what was written a day before what it asks for: so long each is known."""
WAIT_S: Final = 1.0
"""Seconds that a cycle waits for a read."""


class Lately:
    """Hours of jobs by customer; older ones count less."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self._half_life_h = 0.0
        self._shares = Shares(0)
        self._read_at: datetime | None = None
        self._counted: dict[str, tuple[int, datetime]] = {}
        """Of each workset, by its home: its last attempt that is counted, and when it was seen."""
        self._recent: dict[str, WorksetRecord] = {}
        self._reading: asyncio.Task[None] | None = None

    async def hours(self, held: Iterable[WorksetRecord]) -> dict[str, float]:
        """Of each customer, as far as it is read; `held`: worksets whose jobs may run now."""
        here, now = self._here, self._here.db.now()
        half_life_h = here.settings.placement.share_half_life_hours
        if half_life_h != self._half_life_h:
            self.stop()
            self._shares, self._half_life_h = Shares(half_life_h), half_life_h
            self._read_at, self._counted = None, {}
        if half_life_h and (self._read_at is None or now - self._read_at >= EVERY):
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(now), name="what was given lately")
            await asyncio.wait({self._reading}, timeout=WAIT_S)
        self._recent = {i: r for i, r in self._recent.items() if _is_recent(r, now)}
        runs = [r for r in held if r.attempt > self._counted.get(r.home, (0, now))[0]]
        return self._shares.lately(now, running(runs))

    def stop(self) -> None:
        """Break off a read that goes on."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, now: datetime) -> None:
        here, half_life_h = self._here, self._half_life_h
        begin = since(now, half_life_h) if self._read_at is None else self._read_at
        try:
            records = await here.call(here.db.with_work_since, begin)
        except WorksetError as error:
            get_logger("host").warning(
                "what customers were given lately is not read: %s; turns go by what is known, and "
                "the next cycle reads again", error,
            )  # fmt: skip
            return
        for record in records:
            self.count(record)
        self._read_at = now
        self._counted = {i: one for i, one in self._counted.items() if now - one[1] < KNOWN}

    def came(self, unfinished: Iterable[WorksetRecord]) -> list[WorksetRecord]:
        """What was found in the last hours: of these, and of what has ended since then."""
        now = self._here.db.now()
        found = self._recent | {record.workset_id: record for record in unfinished}
        return [record for record in found.values() if _is_recent(record, now)]

    def count(self, record: WorksetRecord) -> None:
        """Count the attempts of a record that have ended; each once."""
        if _is_recent(record, self._here.db.now()):
            kept = record.model_copy(update={"history": (), "step_runs": ()})
            self._recent[record.workset_id] = kept
        last, now = self._counted.get(record.home, (0, None))[0], self._here.db.now()
        for attempt, job in jobs_of(record):
            if attempt > last:
                self._shares.add(job)
            # a dead letter is read each time: it stays known
            self._counted[record.home] = (max(attempt, last), now)


def _is_recent(record: WorksetRecord, now: datetime) -> bool:
    return record.created_at > now - timedelta(hours=EXPECTED_H)
