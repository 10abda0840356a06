"""Leases: how long a process is believed to be alive without a word from it.

An owner (a process) renews one lease for everything it holds. Clocks of different machines may
disagree by up to `CLOCK_SKEW_S`: a lease counts as over only that much later, and a process whose
own clock is further off is kept from harm by the fences, not by its lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from worksets.record import HELD, WorksetRecord

LEASE_S: Final = 30.0
"""Seconds a lease lasts after its last renewal; renewed every third of it."""
SHORTEST_LEASE_S: Final = 3.0
"""Seconds; a renewal may be a second late without harm."""
LONGEST_LEASE_S: Final = 86_400.0
"""Seconds: a day. So long the worksets of a process that died lie still."""
CLOCK_SKEW_S: Final = 5.0
"""Seconds by which two machines' clocks may differ."""


def may_judge(clock_off_s: float) -> bool:
    """Whether a process whose clock is off by so much may say of others that they are gone."""
    return abs(clock_off_s) <= CLOCK_SKEW_S


def is_over(expires_at: datetime | None, now: datetime) -> bool:
    """Whether a lease has run out at `now`; an owner without a lease (None) has given it up."""
    return expires_at is None or now > expires_at + timedelta(seconds=CLOCK_SKEW_S)


def first_over(leases: Mapping[str, datetime]) -> datetime | None:
    """When the first of these leases will be over unless it is renewed; None: there is none."""
    first = min(leases.values(), default=None)
    return None if first is None else first + timedelta(seconds=CLOCK_SKEW_S)


def is_stale(record: WorksetRecord, leases: Mapping[str, datetime], now: datetime) -> bool:
    """Whether a held workset's owner is gone; `leases` maps owner to the end of its lease."""
    return record.state in HELD and is_over(leases.get(record.lock_owner), now)
