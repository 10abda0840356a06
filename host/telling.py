"""Telling people what happened: as Prefect's events, and through the settings' notifiers."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Final

from prefect.blocks.abstract import NotificationBlock
from prefect.events import emit_event
from prefect.logging import get_logger

from blocks.notify import Announcer, as_event
from host import loading
from worksets.announcements import Announcement, Kind
from worksets.config import ProcessorConfig
from worksets.leases import may_judge

EVENTS: Final = "Prefect's events"
"""The channel that every announcement has."""


class Telling:
    """All that one process tells people."""

    def __init__(self, config: ProcessorConfig) -> None:
        self._config = config
        self._announcer: Announcer | None = None
        self._told_unreadable: dict[str, str] = {}
        self._clock_told = False
        self._told_unloaded: dict[str, str] = {}
        self._log = get_logger("host")

    def announce(self, announcement: Announcement) -> None:
        """Tell people, after what happened is saved: Prefect's events, and every notifier."""
        if not self._config.enable_notifications:
            return
        emit_event(**as_event(announcement))
        if self._announcer is not None:
            self._announcer.tell(announcement)

    def of_clock(self, off_s: float) -> None:
        """Say, once until it is right again, that this machine's clock is off."""
        wrong = not may_judge(off_s)
        if wrong and not self._clock_told:
            way = "ahead of" if off_s > 0 else "behind"
            message = (
                f"the clock of this machine is {abs(off_s):.0f} s {way} the state DB's: its poller "
                f"takes nothing over from others until it is right. Correct it (NTP); its own "
                f"worksets go on"
            )
            self._log.error("%s", message)
            self.announce(Announcement(Kind.CLOCK_OFF, socket.gethostname(), message))
        self._clock_told = wrong

    async def deliver(
        self, announcement: Announcement, but_for: frozenset[str]
    ) -> tuple[set[str], bool]:
        """Tell people, `but_for` the channels that took it before: see `Announcer.deliver`."""
        if not self._config.enable_notifications:
            return set(), True
        took, done = set[str](), True
        if EVENTS not in but_for:
            emit_event(**as_event(announcement))
            took.add(EVENTS)
        if self._announcer is not None:
            others, done = await self._announcer.deliver(announcement, but_for)
            took |= others
        return took, done

    def of_unreadable(self, set_aside: Mapping[str, str]) -> None:
        """Say of each record that was set aside, once, that it is."""
        for workset_id, reason in set_aside.items():
            if self._told_unreadable.get(workset_id) != reason:
                self._told_unreadable[workset_id] = reason
                self.announce(Announcement(Kind.UNREADABLE, workset_id, reason))

    def of_unloaded(self, reference: str, error: Exception) -> None:
        """Say, once, that a cluster's block cannot be loaded: nothing is placed on it."""
        if self._told_unloaded.get(reference) != str(error):
            self._told_unloaded[reference] = str(error)
            message = f"nothing is placed on {reference}: {error}"
            self._log.warning("%s", message)
            self.announce(Announcement(Kind.CLUSTER_UNREACHABLE, reference, message))

    async def start(self, notifiers: Iterable[str]) -> None:
        """Load the notifiers; one that cannot be loaded is told of, and does without."""
        channels: list[NotificationBlock] = []
        for reference in notifiers:
            try:
                # Slack, Teams, e-mail and so on: Prefect's own kinds are in no collection
                import_module("prefect.blocks.notifications")
                channel = await loading.load(reference, NotificationBlock)  # type: ignore[type-abstract]
                channels.append(channel)
            except Exception:
                self._log.exception("the notifier %s is not used", reference)
        self._announcer = Announcer(channels)

    async def stop(self) -> None:
        """Give what is still to be told a few seconds."""
        if self._announcer is not None:
            await self._announcer.close()
