"""Carries announcements to their channels, and never stands in anybody's way."""

from __future__ import annotations

import asyncio
import time
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
REST_S: Final = 30.0
LONGEST_REST_S: Final = 900.0
"""Seconds for which a channel that fails is not asked again for what is owed: 30, 60 … 900."""

_Answer = asyncio.Future[bool]


class Announcer:
    """One queue and one sender for each channel, so that none waits for another."""

    def __init__(self, channels: list[NotificationBlock]) -> None:
        self._lines = [_Line(channel) for channel in channels]

    def tell(self, announcement: Announcement) -> None:
        """Take it over, to be told once at the most; returns at once."""
        for line in self._lines:
            line.put(announcement)

    async def deliver(
        self, announcement: Announcement, but_for: frozenset[str]
    ) -> tuple[set[str], bool]:
        """Wait until each channel that wants it, `but_for` these, took it or failed.

        Returns the names of those that took it, and whether none is left that has not.
        """
        wanted = [line for line in self._lines if line.wants(announcement)]
        left = [line for line in wanted if line.name not in but_for]
        answers = await asyncio.gather(*(line.sent(announcement) for line in left))
        took = {line.name for line, answer in zip(left, answers, strict=True) if answer}
        return took, all(answers)

    async def close(self) -> None:
        """Give what waits a few seconds, then let go of it."""
        await asyncio.gather(*(line.close() for line in self._lines))


class _Line:
    def __init__(self, channel: NotificationBlock) -> None:
        self.channel = channel
        self.name = getattr(channel, "_block_document_name", None) or type(channel).__name__
        self._log = get_logger("notifications")
        self._queue: asyncio.Queue[tuple[Announcement, _Answer | None]] = asyncio.Queue(WAITING)
        self._failures = 0
        self._rests_until = 0.0
        self._sender = asyncio.create_task(self._send_all(), name=f"notify {self.name}")

    def wants(self, announcement: Announcement) -> bool:
        return not isinstance(self.channel, Channel) or announcement.kind in self.channel.events

    def put(self, announcement: Announcement, answer: _Answer | None = None) -> None:
        if not self.wants(announcement):
            return
        try:
            self._queue.put_nowait((announcement, answer))
        except asyncio.QueueFull:
            if answer is not None:
                answer.set_result(False)
                return
            self._log.error("%s is too slow; dropped: %s", self.name, announcement.subject)

    async def sent(self, announcement: Announcement) -> bool:
        """Whether the channel took it; one that has just failed is not asked."""
        if time.monotonic() < self._rests_until:
            return False
        answer: _Answer = asyncio.get_running_loop().create_future()
        self.put(announcement, answer)
        return await answer

    async def _send_all(self) -> None:
        while True:
            announcement, answer = await self._queue.get()
            took = False
            try:
                if answer is None or time.monotonic() >= self._rests_until:
                    took = await self._take(announcement, again=answer is not None)
            finally:
                if answer is not None and not answer.done():
                    answer.set_result(took)
                self._queue.task_done()

    async def _take(self, announcement: Announcement, again: bool) -> bool:
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(announcement)
        except Exception as error:
            self._failures += 1
            rest = min(REST_S * 2 ** min(self._failures - 1, 9), LONGEST_REST_S)
            self._rests_until = time.monotonic() + rest
            self._log.error(
                "%s did not take %r: %s; %s",
                self.name, announcement.subject, error or "no answer",
                # else it may have arrived, and need not be known twice
                f"it is told again, after {rest:g} s at the soonest" if again else "not sent again",
            )  # fmt: skip
            return False
        self._failures, self._rests_until = 0, 0.0
        return True

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
