"""The watched places that tell by themselves when something may be new: one thread for each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from prefect.logging import get_logger

from blocks.folders import Source

REST_S: Final = 600.0
"""Seconds for which a place that cannot tell now is not asked to; its looks go on."""


class Following:
    """Calls `changed`, in the loop that it was made in, with the root of a place that has news, and
    the names of the folders there, where it says them.

    It only makes things quicker: a place that tells nothing, or too little, is looked at all the
    same. A thread that hangs in its place holds up nobody, and does not keep the process.
    """

    def __init__(self, changed: Callable[[str, frozenset[str]], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._followed: dict[tuple[str, str], _Thread] = {}
        self._log = get_logger("host")

    def begin(self, sources: Iterable[Source], queues: Mapping[str, str]) -> None:
        """Follow these places, and no others any more; `queues`: that of a bucket, by its root."""
        there = {(s.root, queues.get(s.root, "")): s for s in sources}
        for key in self._followed.keys() - there.keys():
            self._followed.pop(key).stop.set()
        for key, source in there.items():
            before = self._followed.get(key)
            if before is None or before.rested:
                self._follow(key, source, before.failed if before else "")

    def _follow(self, key: tuple[str, str], source: Source, failed: str) -> None:
        stop, (root, queue) = threading.Event(), key
        changes = source.changes(stop, queue)
        if changes is not None:
            self._followed[key] = _Thread(stop, failed)
            work = threading.Thread(
                target=self._work, args=(root, self._followed[key], changes), daemon=True,
                name=f"follows {root}",
            )  # fmt: skip
            work.start()

    def _work(self, root: str, thread: _Thread, changes: Iterator[frozenset[str]]) -> None:
        try:
            for names in changes:
                if thread.stop.is_set():
                    return
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._changed, root, names)
        except Exception as error:
            if str(error) != thread.failed:
                self._log.warning(
                    "what is new in %s is found by the looks of each cycle only, for now: %s",
                    root, error,
                )  # fmt: skip
            thread.failed, thread.ended = str(error), time.monotonic()

    def stop(self) -> None:
        """Follow nothing any more."""
        self.begin((), {})


class _Thread:
    """A place's thread; `failed`: why it, or the one before it, has ended."""

    def __init__(self, stop: threading.Event, failed: str) -> None:
        self.stop = stop
        self.failed = failed
        self.ended: float | None = None

    @property
    def rested(self) -> bool:
        return self.ended is not None and time.monotonic() - self.ended >= REST_S
