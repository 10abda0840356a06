"""What each customer was given lately, as this process has read it from the state DB.

Nothing is written for it: the records of what has ended say it. They are read when a process
begins, and then once an hour, for what others have carried; what this one has carried is counted as
it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from worksets.forecast import EXPECTED_H
from worksets.record import WorksetRecord
from worksets.shares import Shares, jobs_of, running, since

if TYPE_CHECKING:
    from host.process import Host

EVERY: Final = timedelta(hours=1)
KNOWN: Final = timedelta(days=1) + 2 * EVERY
"""A read returns what was written a day before what it asks for: so long each is known."""


class Lately:
    """Hours of jobs by customer; older ones count less."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self._half_life_h = 0.0
        self._shares = Shares(0)
        self._read_at: datetime | None = None
        self._counted: dict[str, tuple[int, datetime]] = {}
        """Of each workset: its last attempt that is counted, and when it was."""
        self._recent: dict[str, WorksetRecord] = {}

    async def hours(self, held: Iterable[WorksetRecord]) -> dict[str, float]:
        """Of each customer; `held`: the worksets whose jobs may run now."""
        here, now = self._here, self._here.db.now()
        half_life_h = here.settings.placement.share_half_life_hours
        if half_life_h != self._half_life_h:
            self._shares, self._half_life_h = Shares(half_life_h), half_life_h
            self._read_at, self._counted = None, {}
        if half_life_h and (self._read_at is None or now - self._read_at >= EVERY):
            begin = since(now, half_life_h) if self._read_at is None else self._read_at
            for record in await here.call(here.db.with_work_since, begin):
                self.count(record)
            self._read_at = now
            self._counted = {i: one for i, one in self._counted.items() if now - one[1] < KNOWN}
        self._recent = {i: r for i, r in self._recent.items() if _is_recent(r, now)}
        runs = [r for r in held if r.attempt > self._counted.get(r.workset_id, (0, now))[0]]
        return self._shares.lately(now, running(runs))

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
        last = self._counted.get(record.workset_id, (0, None))[0]
        for attempt, job in jobs_of(record):
            if attempt > last:
                self._shares.add(job)
                self._counted[record.workset_id] = (attempt, self._here.db.now())


def _is_recent(record: WorksetRecord, now: datetime) -> bool:
    return record.created_at > now - timedelta(hours=EXPECTED_H)
