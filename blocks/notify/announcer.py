"""Carries announcements to their channels: at most once, and never in anybody's way."""

from __future__ import annotations

import asyncio
from typing import Final

from prefect.blocks.abstract import NotificationBlock
from prefect.logging import get_logger

from blocks.notify.channel import Channel
from worksets.announcements import Announcement

WAITING: Final = 1000
"""Announcements that may wait for one channel; beyond that the newest are dropped, and logged."""
SEND_S: Final = 30.0
"""Seconds that a channel has for one of them."""
CLOSE_S: Final = 10.0
"""Seconds at the end of a process for what still waits."""


class Announcer:
    """One queue and one sender for each channel, so that none waits for another."""

    def __init__(self, channels: list[NotificationBlock]) -> None:
        self._lines = [_Line(channel) for channel in channels]

    def tell(self, announcement: Announcement) -> None:
        """Take it over; returns at once."""
        for line in self._lines:
            line.put(announcement)

    async def close(self) -> None:
        """Give what waits a few seconds, then let go of it."""
        await asyncio.gather(*(line.close() for line in self._lines))


class _Line:
    def __init__(self, channel: NotificationBlock) -> None:
        self.channel = channel
        self.name = getattr(channel, "_block_document_name", None) or type(channel).__name__
        self._log = get_logger("notifications")
        self._queue: asyncio.Queue[Announcement] = asyncio.Queue(WAITING)
        self._sender = asyncio.create_task(self._send_all(), name=f"notify {self.name}")

    def put(self, announcement: Announcement) -> None:
        if isinstance(self.channel, Channel) and announcement.kind not in self.channel.events:
            return
        try:
            self._queue.put_nowait(announcement)
        except asyncio.QueueFull:
            self._log.error("%s is too slow; dropped: %s", self.name, announcement.subject)

    async def _send_all(self) -> None:
        while True:
            announcement = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_S):
                    await self._send(announcement)
            except Exception as error:
                # not sent again: it may have arrived
                self._log.error(
                    "%s did not take %r: %s", self.name, announcement.subject, error or "no answer"
                )
            finally:
                self._queue.task_done()

    async def _send(self, announcement: Announcement) -> None:
        if isinstance(self.channel, Channel):
            await self.channel.announce(announcement)
        else:
            with self.channel.raise_on_failure():
                await self.channel.notify(announcement.body, announcement.subject)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._queue.join()
        except TimeoutError:
            self._log.error("%s: %d notifications were not sent", self.name, self._queue.qsize())
        self._sender.cancel()
