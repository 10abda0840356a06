"""What customers were given lately: hours of jobs, of which older ones count less. Pure.

An hour counts half after each half-life, as in the fair share of batch schedulers (Slurm's
`PriorityDecayHalfLife`). A job from s to e counts, at a time t and with k = ln 2 / half-life,
(exp(-k·(t - e)) - exp(-k·(t - s))) / k hours: the integral of what each of its moments counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import exp, log
from typing import Final

from worksets.record import HELD, WorksetRecord

REMEMBERED: Final = 5
"""Half-lives; of what is older not a thirtieth is left."""
Job = tuple[str, datetime, datetime]
"""Whose it was, when it began, and when it ended."""


class Shares:
    """Hours of jobs that each customer was given, as they count now.

    `hours`: what they count at the time `at`.
    """

    def __init__(
        self,
        half_life_h: float,
        hours: Mapping[str, float] | None = None,
        at: datetime | None = None,
    ) -> None:
        self._per_h = log(2) / half_life_h if half_life_h > 0 else 0.0
        self._hours: dict[str, float] = defaultdict(float, hours or {})
        self._at = at

    def add(self, job: Job) -> None:
        """Remember a job that has ended."""
        if not self._per_h:
            return
        customer, began, ended = job
        at = self._at = self._at or ended
        self._hours[customer] += self._counts(began, ended, at)

    def lately(
        self, now: datetime, running: Iterable[tuple[str, datetime]] = ()
    ) -> dict[str, float]:
        """Hours of each customer; `running`: whose job runs, and since when."""
        if not self._per_h:
            return {}
        if self._at is not None and now > self._at:
            left = exp(-self._per_h * _hours(self._at, now))
            for customer in self._hours:
                self._hours[customer] *= left
            self._at = now
        found = dict(self._hours)
        for customer, since in running:
            if since < now:
                found[customer] = found.get(customer, 0.0) + self._counts(since, now, now)
        return found

    def _counts(self, began: datetime, ended: datetime, now: datetime) -> float:
        k = self._per_h
        return max(0.0, exp(-k * _hours(ended, now)) - exp(-k * _hours(began, now))) / k


def jobs_of(record: WorksetRecord) -> list[tuple[int, Job]]:
    """The attempts of a record that have ended, by number: each had a slot from its first step to
    its last."""
    steps: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for run in record.step_runs:
        steps[run.attempt].append((run.started_at, run.ended_at))
    return [
        (
            attempt,
            (record.customer_id, min(began for began, _ in runs), max(ended for _, ended in runs)),
        )
        for attempt, runs in sorted(steps.items())
    ]


def running(records: Iterable[WorksetRecord]) -> list[tuple[str, datetime]]:
    """Whose jobs run, and since when: an attempt begins with its `Begin`."""
    found = []
    for record in records:
        if record.state in HELD:
            began = next((e.at for e in reversed(record.history) if e.event == "Begin"), None)
            if began is not None:
                found.append((record.customer_id, began))
    return found


def since(now: datetime, half_life_h: float) -> datetime:
    """From when on jobs are worth remembering."""
    return now - timedelta(hours=half_life_h * REMEMBERED)


def _hours(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() / 3600
