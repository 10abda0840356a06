"""Whether a cluster answers: what all processes know of it, kept in the state DB."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from worksets.record import Frozen

OPENS_AT: Final = 3
"""Failures in a row after which people are told."""
LONGEST_BACKOFF_S: Final = 160.0
HEARD_S: Final = 600.0
"""Seconds after which an answer says nothing any more about whether a cluster is there."""
SAVED_S: Final = 120.0
"""Seconds after which a new answer is saved, though nothing has changed."""


class Health(Frozen):
    """When a cluster has answered, and what went wrong since."""

    heard_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    """In a row, whichever processes met them."""
    trouble: str = ""
    told: bool = False
    """Whether people were told of this trouble."""

    def answered(self, now: datetime) -> Health:
        return Health(heard_at=now)

    def failed(self, now: datetime, why: str) -> Health:
        return self.model_copy(
            update={"failed_at": now, "failures": self.failures + 1, "trouble": why}
        )

    def is_fresh(self, now: datetime, seconds: float) -> bool:
        """Whether it has answered within so many seconds, and not failed since."""
        if self.failures or self.heard_at is None:
            return False
        return now - self.heard_at <= timedelta(seconds=seconds)

    @property
    def to_tell(self) -> bool:
        return self.failures >= OPENS_AT and not self.told

    def rests(self, now: datetime) -> bool:
        """Whether it is in trouble, and not to be asked yet."""
        if not self.failures or self.failed_at is None:
            return False
        return now < self.failed_at + timedelta(seconds=backoff_s(self.failures))

    def unavailable(self, now: datetime) -> str:
        """Why nothing should be placed there; empty: it is known to answer."""
        if self.trouble:
            return self.trouble
        if self.heard_at is None or now > self.heard_at + timedelta(seconds=HEARD_S):
            return "it has not been heard of yet"
        return ""


def newer(one: Health, other: Health) -> Health:
    """That of two which knows the later event; of the same event, the one that was told of."""

    def last(health: Health) -> tuple[datetime, int, bool]:
        times = [at for at in (health.heard_at, health.failed_at) if at is not None]
        return max(times, default=_NEVER), health.failures, health.told

    return max(one, other, key=last)


def worth_saving(known: Health, now: Health) -> bool:
    """Whether others should know, where `known` is what they know."""
    if (known.failures, known.trouble, known.told) != (now.failures, now.trouble, now.told):
        return True
    if now.heard_at is None or now.heard_at == known.heard_at:
        return False
    return known.heard_at is None or (now.heard_at - known.heard_at > timedelta(seconds=SAVED_S))


def backoff_s(failures: int) -> float:
    """Seconds until a cluster is asked again after so many failures in a row: 2, 4, 8 … 160.

    The longest is that of AiiDA's transports.
    """
    return float(min(2 ** min(failures, 8), LONGEST_BACKOFF_S))


_NEVER: Final = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
