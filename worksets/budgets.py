"""What a customer may spend in a month, and what it has spent. Pure.

A month is one of the calendar, in UTC. What counts is what jobs have set aside: vCPU-hours at the
price of their cluster. A budget stops nothing that has begun: it holds back what would begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pydantic import Field

from worksets.jobs import StepMarkers
from worksets.record import Frozen, WorksetRecord

if TYPE_CHECKING:
    from worksets.capacity import ClusterView

LEVELS: Final = (80, 100)
"""Per cent of a budget at which people are told."""
KEPT: Final = 100
"""Attempts that are remembered as counted. One is counted anew only if its end is written again,
which happens within minutes, if at all."""


class Spent(Frozen):
    """What a customer has spent in a month, as the state DB has noted it."""

    usd: float = Field(0.0, ge=0)
    attempts: tuple[str, ...] = Field((), description="the last that were counted")
    told: int = Field(0, description="the level of which people were told, per cent; 0: none")

    def plus(self, attempt: str, usd: float) -> Spent:
        """With one more attempt; itself if that was counted already."""
        if attempt in self.attempts:
            return self
        last = (*self.attempts, attempt)[-KEPT:]
        return self.model_copy(update={"usd": self.usd + usd, "attempts": last})


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


def usd_per_hour(record: WorksetRecord, cluster: ClusterView | None) -> float:
    """What an hour of a workset's job costs there; 0 where nothing is known of the cluster."""
    needs = record.estimates
    return cluster.vcpus_of(needs) * cluster.price_of(needs) if cluster else 0.0


def spent_before(
    records: Iterable[WorksetRecord], clusters: Mapping[str, ClusterView], month: str
) -> dict[str, float]:
    """What each customer has spent in a month by its records: where nothing is noted yet."""
    found: dict[str, float] = {}
    for record in records:
        for run in record.step_runs:
            if month_of(run.ended_at) == month:
                hours = (run.ended_at - run.started_at).total_seconds() / 3600
                usd = hours * usd_per_hour(record, clusters.get(run.cluster_name))
                found[record.customer_id] = found.get(record.customer_id, 0.0) + usd
    return found


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
            price = cluster.price_of(record.estimates) if cluster else 0.0
            found[record.customer_id] = budget.begun(record.estimates.vcpu_hours * price)
    return found
