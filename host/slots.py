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
from contextlib import asynccontextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import anyio
import httpx
from prefect import task_engine
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.logging import get_logger

LEASE_S: Final = 300.0
"""Seconds after which the server gives slots free that nobody renews: its own default.

Those of a dead process come back sooner, by `tasks/sync_limits.py`.
"""
RENEW_S: Final = LEASE_S / 2
LOOK_S: Final = 10.0
"""Seconds between two looks for slots that are to be renewed."""
GIVE_BACK_S: Final = 20.0
"""Seconds for the server to take slots back; the end of a job is saved only then."""

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

        One that is cancelled meanwhile may leave slots that nobody renews.

        Raises:
            ConcurrencySlotAcquisitionError: the server gives none, and not because all are taken.
        """
        try:
            async with get_client() as client:
                while True:
                    try:
                        answer = await client.increment_concurrency_slots_with_lease(
                            names, occupy, "concurrency", LEASE_S, holder
                        )
                        break
                    except httpx.HTTPStatusError as error:
                        if error.response.status_code != HTTPStatus.LOCKED:
                            raise
                        await asyncio.sleep(float(error.response.headers["Retry-After"]))
            taken = ConcurrencyLimitWithLeaseResponse.model_validate(answer.json())
        except Exception as error:
            raise ConcurrencySlotAcquisitionError(
                f"Prefect gives no slot of {', '.join(names)}: {error or type(error).__name__}"
            ) from error
        if not taken.limits:
            return None
        self._renewed_at[taken.lease_id] = time.monotonic()
        return taken.lease_id

    async def give_back(self, lease: UUID) -> None:
        """Free the slots of a lease; where that fails they are free when it ends."""
        self._renewed_at.pop(lease, None)
        try:
            async with asyncio.timeout(GIVE_BACK_S), get_client() as client:
                while True:
                    try:
                        await client.release_concurrency_slots_with_lease(lease)
                        return
                    except httpx.HTTPStatusError:
                        # its database ends one of two that give back at once
                        await asyncio.sleep(GIVE_BACK_S / 20)
        except Exception as error:
            get_logger("host").debug("slots were not given back: %r", error)

    async def renew(self) -> None:
        """Renew what is held, each lease when half of it is over; for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if due := self._due():
                try:
                    async with get_client() as client:
                        for lease in due:
                            async with asyncio.timeout(LOOK_S):
                                await self._renew(client, lease)
                except Exception as error:
                    # the server is away: the state DB decides meanwhile
                    get_logger("host").debug("slots were not renewed: %r; tried again", error)

    def _due(self) -> list[UUID]:
        before = time.monotonic() - RENEW_S
        return [lease for lease, at in self._renewed_at.items() if at <= before]

    async def _renew(self, client: Any, lease: UUID) -> None:
        try:
            await client.renew_concurrency_lease(lease, LEASE_S)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.GONE:
                raise
            self._renewed_at.pop(lease, None)  # somebody reset the limit, or the server is new
        else:
            if lease in self._renewed_at:
                self._renewed_at[lease] = time.monotonic()


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
        if slots is None or block is None:
            async with theirs(names=names, occupy=occupy, holder=holder, **more):
                yield
            return
        if names and frozenset(names) not in block:
            block[frozenset(names)] = await slots.take(sorted(names), occupy, holder)
        yield

    setattr(task_engine, _NAME, concurrency)


_replace()
