"""Looking for what is new beside everything else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

from host import Host
from host.following import Following
from host.places import Place
from tasks.deliveries import look_at_delivery
from tasks.discover import discover, in_time
from tasks.logs import run_log
from tasks.settled import Look
from worksets.errors import WorksetError
from worksets.health import LONGEST_BACKOFF_S, backoff_s
from worksets.record import WorksetRecord
from worksets.texts import few

LOOK_S: Final = 30.0
"""Seconds for which a poll with an end waits for a look at a watched place."""
APART: Final = 5
"""A place that tells of news is left alone for so many times as long as the look at it took."""


class Discovery:
    """Looks for new worksets, and at deliveries under way, beside everything else.

    Each place is looked at by itself, and in it each folder: one that hangs holds up no other, no
    cycle, and nothing that is known already. `wake` is called when something may start now.
    """

    def __init__(self, here: Host, wake: Callable[[], None]) -> None:
        self.here = here
        self.waiting: list[WorksetRecord] = []
        """Worksets that are to be looked at again, as the last cycle has seen them: their files are
        on their way, or they are stuck and the settings have changed."""
        self.to_refuse: set[str] = set()
        """Worksets whose validation is to say what is wrong with them."""
        self.news = False
        """Whether a look has ended that woke, and no plan was made since."""
        self._wake = wake
        self.tell_of_every_look = False
        """Whether a look that has found nothing wakes, too: a poll with an end waits for it."""
        self._seen: dict[str, dict[str, Look]] = {}
        self._context = Context()
        """That of the poll that cycles; a place that tells of news has none."""
        self._following: Following | None = None
        self._told: set[str] = set()
        """Places that have told of news and are to be looked at for it."""
        self._named: dict[str, frozenset[str]] = {}
        """Folders of a place that it has named, and that no look has seen since."""
        self._idle_queues: set[str] = set()
        self._apart: dict[str, float] = {}
        """When each place may be looked at again for what it tells (loop time, s)."""
        self.follows = False
        """Whether places are looked at as soon as they tell of news, too."""
        self._looks: dict[str, tuple[float, asyncio.Task[bool]]] = {}
        self._failed: dict[str, WorksetError] = {}
        self._rests: dict[str, tuple[int, float]] = {}
        """Failures in a row at a place, and until when (loop time, s) it is left alone."""

    def begin(self) -> None:
        """Begin a look at every place that is not being looked at, and does not rest."""
        self._context = copy_context()
        if self.follows:
            self._following = self._following or Following(self.changed)
            self._following.begin(self.here.places.sources, self._queues())
        for place in self.here.places:
            self._begin(place)

    def _queues(self) -> dict[str, str]:
        """The queues in which buckets tell what is new; one of a place that is none is named once.

        While some place cannot be opened, nobody can say which are none.
        """
        queues, roots = self.here.settings.bucket_events, {s.root for s in self.here.places.sources}
        idle = queues.keys() - roots if len(roots) == len(self.here.settings.worksets) else set()
        if idle - self._idle_queues:
            run_log().warning(
                "bucket_events: %s is none of the watched places (%s); its queue is not read",
                few(sorted(idle)), few(sorted(roots)),
            )  # fmt: skip
        self._idle_queues = idle
        return queues

    def changed(self, root: str, names: frozenset[str] = frozenset()) -> None:
        """A place tells that something may be new there: it is looked at once, as soon as may be.

        Not while it is being looked at, for that may have passed by what is new. `names`: the
        folders, where the place says them.
        """
        self._named[root] = self._named.get(root, frozenset()) | names
        if root in self._told:
            return
        self._told.add(root)
        look = self._looks.get(root)
        if look is not None and not look[1].done():
            look[1].add_done_callback(lambda _: self._told_of(root))
        else:
            self._told_of(root)

    def _told_of(self, root: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(max(0.0, self._apart.get(root, 0.0) - loop.time()), self._look_at, root)

    def _look_at(self, root: str) -> None:
        self._told.discard(root)
        if (look := self._looks.get(root)) is not None and not look[1].done():
            self.changed(root)  # a full cycle has just begun a look
            return
        for place in self.here.places:
            if place.source.root == root:
                self._begin(place)

    def _begin(self, place: Place) -> None:
        now = asyncio.get_running_loop().time()
        if self._rests.get(place.source.root, (0, now))[1] <= now:
            self._start(place.source.root, partial(self._look, place))

    def begin_deliveries(self) -> None:
        """Begin a look at what is waited for, if there is anything and no look is under way."""
        self._context = copy_context()
        if self.waiting:
            self._start("deliveries", self._look_at_deliveries)

    def _start(self, what: str, look: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        if what in self._looks and not self._looks[what][1].done():
            return
        task = asyncio.create_task(look(), name=f"the look at {what}", context=self._context.copy())
        self._looks[what] = (asyncio.get_running_loop().time(), task)
        task.add_done_callback(self._ended)

    def _ended(self, look: asyncio.Task[bool]) -> None:
        if look.cancelled():
            return
        if (error := look.exception()) is not None:
            run_log().error("%s broke off: %s", look.get_name(), error, exc_info=error)
        elif look.result() or self.tell_of_every_look:
            self.news = True
            self._wake()

    def looks_for_s(self) -> float:
        """Seconds for which a poll with an end should still wait for the looks under way."""
        now = asyncio.get_running_loop().time()
        open_since = [began for began, look in self._looks.values() if not look.done()]
        return max((began + LOOK_S - now for began in open_since), default=0.0)

    def stop(self) -> None:
        if self._following is not None:
            self._following.stop()
        for _, look in self._looks.values():
            look.cancel()

    @property
    def error(self) -> WorksetError | None:
        """Why nothing can be found at all: the last look failed at every place."""
        roots = {place.source.root for place in self.here.places}
        failed = [self._failed[root] for root in roots if root in self._failed]
        return failed[-1] if failed and len(failed) == len(roots) else None

    async def _look(self, place: Place) -> bool:
        root, loop = place.source.root, asyncio.get_running_loop()
        began, named = loop.time(), self._named.pop(root, frozenset())
        try:
            new = await discover(root, self._seen.setdefault(root, {}), sorted(named))
        except WorksetError as error:
            self._named[root] = self._named.get(root, frozenset()) | named
            self._pass_over(root, error)
            return False
        finally:
            self._apart[root] = loop.time() + APART * (loop.time() - began)
        self._rests.pop(root, None)
        if self._failed.pop(root, None) is not None:
            run_log().info("%s can be looked at again", root)
        return bool(new)

    def _pass_over(self, root: str, error: WorksetError) -> None:
        """One place that cannot be read holds up no other, and no workset that is known.

        It is told once, and looked at ever less often, until it can be read again.
        """
        failures = self._rests.get(root, (0, 0.0))[0] + 1
        rest_s = backoff_s(failures)
        self._rests[root] = (failures, asyncio.get_running_loop().time() + rest_s)
        before = self._failed.get(root)
        self._failed[root] = error
        if str(before) != str(error):
            run_log().error(
                "%s is passed over, and looked at again in %g s, then ever less often up to %g s, "
                "until it can be read: %s", root, rest_s, LONGEST_BACKOFF_S, error,
            )  # fmt: skip

    async def _look_at_deliveries(self) -> bool:
        here, waiting = self.here, self.waiting
        here.look_again_at = math.inf

        async def one(record: WorksetRecord) -> None:
            what = f"the delivery of {record.workset_id}"
            if await in_time(look_at_delivery(here, record), what) is False:
                self.to_refuse.add(record.workset_id)

        await asyncio.gather(*map(one, waiting))
        return True
