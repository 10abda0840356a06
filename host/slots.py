"""Slots of Prefect's tag limits, as a process with an open host takes them.

Prefect takes them for each task anew, tells of three limits in six events, and has a thread, with a
client of its own, renew them every 45 s; a thread with a client stays for each set of tags that
there ever was (20 clusters and 200 customers: 4,000). Here they are taken once for all tasks of a
block, and one task renews those of all worksets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import anyio
import httpx
from prefect import task_engine
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.logging import get_logger

LEASE_S: Final = 60.0
"""Seconds after which the server gives slots free that nobody renews: the least that it takes.

Those of a dead process are taken back sooner by `tasks/sync_limits.py`, and once more by the server
when their leases end: the shorter they are, the fewer are counted twice.
"""
RENEW_S: Final = 40.0
LOOK_S: Final = 5.0
"""Seconds between two looks for slots that are to be renewed."""
ANSWER_S: Final = 8.0
"""Seconds for the server to renew slots, or to take them back: the end of a job is saved then."""
AGAIN_S: Final = 1.0
"""Seconds after which a server that failed is asked again: of two that take or give back slots of
the same limits at once, its database may end one."""
TRIES: Final = 5
TELL_S: Final = 60.0
"""Seconds after which a wait for a slot that the state DB has given is told."""

_KNOWN: Final = {"lease_duration", "suppress_warnings"}
"""What else Prefect may ask for here; with anything beside it, it takes them by itself."""
_NAME: Final = "_aconcurrency"
"""Private to Prefect; where a later release has no such thing, it takes them by itself."""


class Slots:
    """The slots that are held here, by their leases."""

    def __init__(self) -> None:
        self._renewed_at: dict[UUID, float] = {}

    async def take(
        self, names: list[str], occupy: int, holder: ConcurrencyLeaseHolder | None
    ) -> UUID | None:
        """The lease of a slot of each limit, once all have one; None: there is no such limit.

        Raises:
            ConcurrencySlotAcquisitionError: the server gives none, and not because all are taken.
        """
        try:
            async with get_client() as client:
                taken = await self._taken(client, names, occupy, holder)
        except Exception as error:
            raise ConcurrencySlotAcquisitionError(
                f"Prefect gives no slot of {', '.join(names)}: {str(error) or repr(error)}"
            ) from error
        if not taken.limits:
            return None
        self._renewed_at[taken.lease_id] = time.monotonic()
        return taken.lease_id

    async def _taken(
        self,
        client: PrefectClient,
        names: list[str],
        occupy: int,
        holder: ConcurrencyLeaseHolder | None,
    ) -> ConcurrencyLimitWithLeaseResponse:
        began, tries, told = time.monotonic(), 1, False
        while True:
            asked = asyncio.create_task(
                client.increment_concurrency_slots_with_lease(
                    names, occupy, "concurrency", LEASE_S, holder
                )
            )
            try:
                return _read(await asyncio.shield(asked))
            except asyncio.CancelledError:
                with suppress(Exception):  # the server may have given them
                    async with asyncio.timeout(ANSWER_S):
                        lease = _read(await asked).lease_id
                        await client.release_concurrency_slots_with_lease(lease)
                raise
            except httpx.HTTPStatusError as error:
                if error.response.status_code == HTTPStatus.LOCKED:
                    pause_s = float(error.response.headers["Retry-After"])
                elif error.response.is_server_error and tries < TRIES:
                    pause_s, tries = AGAIN_S, tries + 1
                else:
                    raise
            if time.monotonic() - began > TELL_S and not told:
                told = True
                get_logger("host").warning(
                    "Prefect has had no slot of %s free for %.0f s, though the state DB has; what "
                    "waits for one goes on as soon as it has",
                    ", ".join(names),
                    TELL_S,
                )
            await asyncio.sleep(pause_s)

    async def give_back(self, lease: UUID) -> None:
        """Free the slots of a lease; where that fails they are free when it ends."""
        self._renewed_at.pop(lease, None)
        try:
            async with asyncio.timeout(ANSWER_S), get_client() as client:
                while True:
                    try:
                        await client.release_concurrency_slots_with_lease(lease)
                        return
                    except httpx.HTTPStatusError as error:
                        if not error.response.is_server_error:
                            raise
                        await asyncio.sleep(AGAIN_S)
        except Exception as error:
            get_logger("host").warning(
                "slots were not given back: %r; they are free in %g s", error, LEASE_S
            )

    async def renew(self) -> None:
        """Renew what is held, each lease when two thirds of it are over; for ever."""
        told = False
        while True:
            await asyncio.sleep(LOOK_S)
            failed: Exception | None = None
            if due := self._due():
                try:
                    async with get_client() as client:
                        for lease in due:
                            try:
                                async with asyncio.timeout(ANSWER_S):
                                    await self._renew(client, lease)
                            except httpx.HTTPStatusError as error:
                                failed = error
                except Exception as error:  # nobody answers: all wait for the next look
                    failed = error
            if failed is not None and not told:
                # the state DB decides meanwhile
                get_logger("host").warning("slots were not renewed: %r; tried again", failed)
            told = failed is not None

    def _due(self) -> list[UUID]:
        before = time.monotonic() - RENEW_S
        return [lease for lease, at in self._renewed_at.items() if at <= before]

    async def _renew(self, client: PrefectClient, lease: UUID) -> None:
        try:
            await client.renew_concurrency_lease(lease, LEASE_S)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.GONE:
                raise
            self._renewed_at.pop(lease, None)  # somebody reset the limit, or the server is new
        else:
            if lease in self._renewed_at:
                self._renewed_at[lease] = time.monotonic()


def _read(answer: httpx.Response) -> ConcurrencyLimitWithLeaseResponse:
    return ConcurrencyLimitWithLeaseResponse.model_validate(answer.json())


_slots: ContextVar[Slots | None] = ContextVar("slots", default=None)
_block: ContextVar[dict[frozenset[str], UUID | None] | None] = ContextVar("block", default=None)


@asynccontextmanager
async def renewed_together() -> AsyncIterator[None]:
    """Slots of tasks that run while this is open are renewed by one task."""
    slots = Slots()
    token, renewing = _slots.set(slots), asyncio.create_task(slots.renew(), name="slots")
    try:
        yield
    finally:
        _slots.reset(token)
        renewing.cancel()


@asynccontextmanager
async def taken_once() -> AsyncIterator[None]:
    """The first task within takes the slots of its tags, and the block holds them to its end."""
    slots, block = _slots.get(), dict[frozenset[str], UUID | None]()
    token = _block.set(block)
    try:
        yield
    finally:
        _block.reset(token)
        with anyio.CancelScope(shield=True):
            for lease in block.values():
                if slots is not None and lease is not None:
                    await slots.give_back(lease)


def _replace() -> None:
    if (theirs := vars(task_engine).get(_NAME)) is None:
        return

    @asynccontextmanager
    async def concurrency(
        names: list[str], occupy: int = 1, holder: Any = None, **more: Any
    ) -> AsyncIterator[None]:
        slots, block = _slots.get(), _block.get()
        if slots is None or block is None or more.keys() - _KNOWN:
            async with theirs(names=names, occupy=occupy, holder=holder, **more):
                yield
            return
        if names and frozenset(names) not in block:
            block[frozenset(names)] = await slots.take(sorted(names), occupy, holder)
        yield

    setattr(task_engine, _NAME, concurrency)


_replace()
