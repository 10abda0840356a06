"""What a customer may spend in a month, and what it has spent. Pure.

A month is one of the calendar, in UTC. What counts is what jobs have set aside: vCPU-hours at the
price of their cluster. A budget stops nothing that has begun: it holds back what would begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from zlib import crc32

from pydantic import Field

from worksets.jobs import StepMarkers
from worksets.record import Frozen, Stored, WorksetRecord

if TYPE_CHECKING:
    from worksets.capacity import ClusterView

LEVELS: Final = (80, 100)
"""Per cent of a budget at which people are told."""
KEPT: Final = 80
"""Attempts that are remembered as counted: of them all a note takes less than a kilobyte. One is
counted anew only if its end is written again, which happens within minutes, if at all."""


class Spent(Stored):
    """What a customer has spent in a month, as the state DB has noted it."""

    usd: float = Field(0.0, ge=0)
    attempts: tuple[str, ...] = Field((), description="digests of the last that were counted")
    told: int = Field(0, description="the level of which people were told, per cent; 0: none")
    told_of: float = Field(0.0, description="the budget whose level that was, US dollars")

    def plus(self, attempt: str, usd: float) -> Spent:
        """With one more attempt, named as its job is; itself if that was counted already."""
        name = f"{crc32(attempt.encode()):08x}"
        if name in self.attempts:
            return self
        last = (*self.attempts, name)[-KEPT:]
        return self.model_copy(update={"usd": self.usd + usd, "attempts": last})

    def known(self, level: int, budget_usd: float) -> Spent:
        """After people were told of this level of a budget."""
        return self.model_copy(update={"told": level, "told_of": budget_usd})

    def told_level(self, budget_usd: float) -> int:
        """Of which level of this budget people know; of another budget's they may know more."""
        return self.told if self.told_of == budget_usd else 0


class Budget(Frozen):
    """A customer's budget for a month, and how much of it is gone."""

    month: str = Field(description="2026-11")
    usd: float = Field(gt=0)
    spent_usd: float = Field(0.0, ge=0)
    expected_usd: float = Field(0.0, ge=0, description="what runs now is expected to take")

    @property
    def left_usd(self) -> float:
        return self.usd - self.spent_usd - self.expected_usd

    @property
    def level(self) -> int:
        """The highest of `LEVELS` that is spent; 0: none of them."""
        return max(
            (level for level in LEVELS if self.spent_usd * 100 >= self.usd * level), default=0
        )

    def begun(self, usd: float) -> Budget:
        """After something has begun that is expected to take so much."""
        return self.model_copy(update={"expected_usd": self.expected_usd + usd})

    def __str__(self) -> str:
        """For people: `$81.20 of $100.00 for 2026-11 are spent, and what runs takes $3.00 more`."""
        more = f", and what runs takes about ${self.expected_usd:,.2f} more"
        text = f"${self.spent_usd:,.2f} of ${self.usd:,.2f} for {self.month} are spent"
        return text + (more if self.expected_usd else "")


def month_of(now: datetime) -> str:
    """The month of a time (UTC): 2026-11."""
    return f"{now:%Y-%m}"


def month_of_steps(steps: Sequence[StepMarkers]) -> str:
    """The month in which an attempt counts: by its last marker, and not by who reads it when."""
    return month_of(max(step.ended_at or step.started_at for step in steps))


def of_steps(
    steps: Iterable[StepMarkers], now: datetime, minutes: int | None, usd_per_hour: float
) -> float:
    """US dollars that an attempt has taken which is over.

    A step without a marker of its end was killed: at its time limit (`minutes`) at the latest.
    """
    hours = 0.0
    for step in steps:
        limit = step.started_at + timedelta(minutes=minutes) if minutes else now
        end = step.ended_at or min(now, limit)
        hours += max(0.0, (end - step.started_at).total_seconds() / 3600)
    return hours * usd_per_hour


def budgets(
    usd: Mapping[str, float],
    spent: Mapping[str, Spent],
    held: Iterable[WorksetRecord],
    clusters: Mapping[str, ClusterView],
    month: str,
) -> dict[str, Budget]:
    """The budget of each customer that has one; `held`: what runs, or is about to."""
    found = {
        name: Budget(month=month, usd=most, spent_usd=spent.get(name, Spent()).usd)
        for name, most in usd.items()
    }
    for record in held:
        if budget := found.get(record.customer_id):
            cluster = clusters.get(record.cluster_name)
            found[record.customer_id] = budget.begun(cluster.usd_of(record) if cluster else 0.0)
    return found
