"""A channel that knows what an announcement is, beside Prefect's own, which know text only."""

from __future__ import annotations

from abc import ABC, abstractmethod

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field

from blocks.strict import StrictBlock
from worksets.announcements import Announcement, Kind


class Channel(NotificationBlock, StrictBlock, ABC):
    """Prefect's NotificationBlock that also takes whole announcements."""

    events: list[Kind] = Field(
        default_factory=lambda: [
            Kind.COMPLETED,
            Kind.RETRYING,
            Kind.DEAD_LETTER,
            Kind.STUCK,
            Kind.UNSETTLED,
            Kind.REDELIVERED,
            Kind.UNREADABLE,
            Kind.CLOCK_OFF,
            Kind.BUDGET,
            Kind.CLUSTER_UNREACHABLE,
        ],
        description="What is sent; all else is kept back",
    )

    @abstractmethod
    async def announce(self, announcement: Announcement) -> None:
        """Send it, once. Raises whatever went wrong; the caller does not send it again."""
