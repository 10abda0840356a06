"""sync_limits: Prefect's tag limits mirror the limits in force, and lost slots come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectAlreadyExists

from host import host
from tasks.labels import tag_of
from tasks.paging import all_pages
from tasks.retry import DELAYS_S, RETRIES, only_transient

CONFIRM_S = 1.0
"""Seconds after which a surplus of slots is looked at again before it is believed."""


@task(
    name="sync limits",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def sync_limits(gone: frozenset[str]) -> None:
    """Create and change the limits of our tags, and take back slots that no live process holds.

    A slot is only ever taken for a workset that the state DB counts (see `tasks/settle.py`), so
    more slots than worksets of live processes means that some have leaked; a surplus that is
    still there a second later is no race. A cluster with limit 0 keeps its last tag limit: a
    Prefect limit of 0 fails runs, and placement does not use that cluster anyway. A customer
    whose limit left the settings loses its tag limit. The names of limits carry the installation:
    another one's are never touched.
    """
    here = host()
    wanted = {
        limit_name(s, here.installation): (s, n) for s, n in here.limits.by_scope().items() if n > 0
    }
    async with get_client() as client:
        changes = await _compare(client, wanted, {}, gone)
        if surplus := {change.name: change.surplus for change in changes if change.surplus}:
            await asyncio.sleep(CONFIRM_S)
            changes = await _compare(client, wanted, surplus, gone)
        for change in changes:
            await change.make(client)
        free = {
            limit_name(f"customer:{id_}", here.installation) for id_ in here.settings.customers
        } - set(wanted)
        for limit in await all_limits(client) if free else ():
            if limit.name in free:
                await client.delete_global_concurrency_limit_by_name(limit.name)
                get_run_logger().info("%s: no limit any more", limit.name.removeprefix("tag:"))


def limit_name(scope: str, installation: str) -> str:
    """The REST name of a scope's tag limit."""
    return f"tag:{tag_of(scope, installation)}"


async def _compare(
    client: PrefectClient,
    wanted: dict[str, tuple[str, int]],
    surplus: dict[str, int],
    gone: frozenset[str],
) -> list[Change]:
    # slots before holders: a workset that ends in between can only make the surplus look smaller
    there = {limit.name: limit for limit in await all_limits(client)}
    here = host()
    count = live = await here.call(here.db.holder_counts)
    if gone:
        held = await here.call(here.db.held)
        count = Counter(scope for record in held for scope in record.scopes)
        live = Counter(scope for r in held if r.lock_owner not in gone for scope in r.scopes)
    return [
        # a limit that shrank below what is held lets that go on, as the state DB does
        Change(
            name,
            there.get(name),
            max(limit, count.get(scope, 0)),
            live.get(scope, 0),
            surplus.get(name, 0),
        )
        for name, (scope, limit) in wanted.items()
    ]


@dataclass(frozen=True)
class Change:
    """What one limit should become; `confirmed` is the surplus that was seen a moment ago."""

    name: str
    known: GlobalConcurrencyLimitResponse | None
    limit: int
    live: int
    confirmed: int

    @property
    def surplus(self) -> int:
        """Slots taken beyond the worksets of live processes."""
        return max(0, self.known.active_slots - self.live) if self.known else 0

    async def make(self, client: PrefectClient) -> None:
        """Tell the server, if there is anything to tell."""
        if self.known is None:
            with suppress(ObjectAlreadyExists):  # another poller made it just now
                await client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=self.name, limit=self.limit, active=True)
                )
            return
        leaked = min(self.surplus, self.confirmed)
        changed = self.known.limit != self.limit or not self.known.active
        if leaked:
            # a decrement, not a number: slots come and go while this is decided
            await client.release_concurrency_slots([self.name], leaked, occupancy_seconds=1)
        if changed:
            update = GlobalConcurrencyLimitUpdate(limit=self.limit, active=True)
            await client.update_global_concurrency_limit(self.name, update)
        if not leaked and not changed:
            return
        get_run_logger().info(
            "%s: limit %d → %d, %d slots of dead processes taken back",
            self.name.removeprefix("tag:"), self.known.limit, self.limit, leaked,
        )  # fmt: skip


async def all_limits(client: PrefectClient) -> list[GlobalConcurrencyLimitResponse]:
    """Every limit that the server has, whoever's it is."""
    return await all_pages(
        lambda limit, offset: client.read_global_concurrency_limits(limit=limit, offset=offset)
    )
