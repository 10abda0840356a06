"""Threads for what blocks: a slow disk or a cluster that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import anyio

from worksets.errors import TransientError

P = ParamSpec("P")
T = TypeVar("T")

MOST_HANGING: Final = 16
"""Calls that somebody has stopped waiting for and that still hang; with more nothing is begun."""


class Threads:
    """Runs blocking functions in a number of threads that nobody else waits for."""

    def __init__(self, number: int) -> None:
        self._limiter = anyio.CapacityLimiter(number)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(
            lambda: function(*args, **kwargs), limiter=self._limiter
        )


class LooseThreads:
    """The same for what may hang for ever, as a file on a share can: whoever waits may let go.

    A thread that is let go of runs on by itself, counts no longer, and does not keep the process.
    """

    def __init__(self, number: int, what: str) -> None:
        self._free = asyncio.Semaphore(number)
        self._what = what
        self._hanging: Counter[str] = Counter()

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns.

        Raises:
            TransientError: too many calls hang there already.
        """
        return await self._run("", partial(function, *args, **kwargs))

    async def at(
        self, thing: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for one thing of many: while a call hangs at it, no other is begun there.

        So one thing that is asked for again and again does not use up what the others need.

        Raises:
            TransientError: a call hangs at it already; or as `__call__`.
        """
        if self._hanging[thing]:
            raise TransientError(f"{thing}: an earlier look still hangs there; none is begun anew")
        return await self._run(thing, partial(function, *args, **kwargs))

    async def _run(self, thing: str, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        async with self._free:
            if (hanging := self._hanging.total()) >= MOST_HANGING:
                raise TransientError(
                    f"{self._what}: {hanging} calls hang there; nothing more is asked until one "
                    f"returns"
                )
            future: asyncio.Future[T] = loop.create_future()
            context = copy_context()
            is_back = hangs = False

            def returned(result: Any, error: BaseException | None) -> None:
                nonlocal is_back
                is_back = True
                if hangs:
                    self._hanging.subtract([thing])
                    self._hanging += Counter()  # keeps what is above 0
                elif future.cancelled():
                    pass  # let go of just now: who waited has not heard of either yet
                elif error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result)

            def work() -> None:
                result, failed = None, None
                try:
                    result = function()
                except BaseException as error:
                    failed = error
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(returned, result, failed)

            threading.Thread(target=context.run, args=(work,), name=self._what, daemon=True).start()
            try:
                return await future
            except asyncio.CancelledError:
                if not is_back:
                    hangs = True
                    self._hanging[thing] += 1
                raise
