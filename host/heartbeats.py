"""Runs of this process say nothing of their lives to Prefect, one by one.

Prefect has each run say every three minutes that it lives, from a thread of its own that wakes each
second: 300 jobs of a day are 144,000 events, which the server keeps for a week. They are for
automations that end the runs of a dead process. What this process holds is known by its lease
(`host/lease.py`), and the runs that a dead one leaves are ended by the next (`tasks/recover.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)


@contextmanager
def silent() -> Iterator[None]:
    """Runs that begin in this context have no heartbeat, but where a site has set how often."""
    if "heartbeat_frequency" in get_current_settings().flows.model_fields_set:
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
