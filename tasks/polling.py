"""polling: the one poll of a process, and what a person does to it in Prefect's UI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from prefect import runtime
from prefect.client.schemas.objects import FlowRun

from tasks.logs import run_log
from tasks.serving import Serving

POLL_WORKSETS: Final = "poll-worksets"
"""Name of the deployment of which the polls are, where they are served; pausing it pauses them."""
HOUR_S = 3600.0
"""Seconds between two runs of the poll that its schedule makes; one of a day has a log that nobody
can read. The schedule is also the switch by which a person pauses the polls."""


class Poll:
    """The poll that cycles here; there is one at a time. `wake` ends its pause."""

    def __init__(
        self,
        serving: Serving,
        wake: Callable[[], None],
        beside: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._serving = serving
        self._wake = wake
        self._beside = beside
        self._cycles = False
        self._looked = asyncio.Event()
        self.paused = False
        """Whether a person has paused the deployment of the polls: nothing new is started."""
        self.cancelled = False
        """Whether a person has cancelled the run of the poll: what runs here is let go of."""
        self.asked_to_look = False
        self.rolls = False
        """Whether a poll gives way to the next run that the schedule makes."""
        self._own: str | None = None
        self._next: FlowRun | None = None

    def take_next(self) -> FlowRun | None:
        """The run that the schedule has made for the next poll here, if there is one yet."""
        found, self._next = self._next, None
        return found

    def expect(self, run: FlowRun) -> None:
        """The next poll here is this run, and no other that is asked for meanwhile."""
        self._own = str(run.id)

    @property
    def is_there(self) -> bool:
        """Whether the process polls already, or is about to in another run than this one."""
        return self._cycles or (self._own is not None and self._own != runtime.flow_run.id)

    @property
    def over(self) -> bool:
        """Whether it is to end, whatever its bounds."""
        return self.cancelled or self._next is not None

    @contextmanager
    def cycling(self) -> Iterator[None]:
        """Be the poll of this process."""
        self._cycles = True
        try:
            yield
        finally:
            self._cycles = False
            self._looked.set()

    def look_soon(self) -> None:
        """Have the poll of this process begin a full cycle next."""
        self.asked_to_look = True
        self._wake()

    async def look_now(self) -> None:
        """Have the poll of this process begin a full cycle at once, and wait for its end."""
        self._looked.clear()
        self.look_soon()
        await self._looked.wait()
        run_log().info("this process polls already, and has looked at once")

    def looks(self) -> None:
        """A full cycle begins."""
        self._looked.clear()
        self.asked_to_look = False

    def has_looked(self) -> None:
        """A full cycle is over."""
        self._looked.set()

    async def heed_its_run(self) -> None:
        """See whether a person has paused the polls, or cancelled this one."""
        was = self.paused
        try:
            self.paused = await self._serving.is_paused(POLL_WORKSETS)
            self.cancelled = await self._serving.is_cancelled(runtime.flow_run.id)
        except Exception as error:
            run_log().warning("whether the polls are paused is not known now: %s", error)
            return
        if self.paused != was:
            what = "are paused: nothing new is started" if self.paused else "go on"
            run_log().warning("the polls %s (the deployment %s)", what, POLL_WORKSETS)

    def follow(self, run: FlowRun) -> None:
        """The schedule has made a run: the poll here gives way to it, if it does so."""
        late: FlowRun | None = run
        why = "a poll goes on here, and ends by itself"
        if self.rolls:
            late, self._next = self._next, run
            why = "a later one has taken its place"
            self._wake()
        if late is not None:
            self._beside(self._serving.end(late, why))
