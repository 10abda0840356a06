"""Opening the process's host, and finding the one that is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio

from blocks.state_db import WorksetStateDB
from host import loading
from host.closing import let_go
from host.lease import beat, sign_run
from host.process import AnotherInstallation, Host
from host.signals import cancelled_by_sigterm
from host.slots import renewed_together
from worksets.config import ProcessorConfig
from worksets.errors import ConfigurationError

_current: ContextVar[Host | None] = ContextVar("host", default=None)


def host() -> Host:
    """The host that is open around this call."""
    found = _current.get()
    if found is None:
        raise ConfigurationError("no host is open; call the flow, not its tasks")
    return found


@asynccontextmanager
async def open_host(settings: str, config: ProcessorConfig | None = None) -> AsyncIterator[Host]:
    """The process's host for the settings block of this name; a nested call finds the outer one.

    Leaving it gives up the lease: what is held still, others may take over at once.

    Raises:
        ConfigurationError: the settings or a block they name do not exist.
    """
    outer = _current.get()
    if outer is not None and outer.name == settings:
        yield outer
        return
    found = await loading.load_settings(settings)
    db = await loading.load(found.state_db, WorksetStateDB)  # type: ignore[type-abstract]
    here = Host(settings, found, db, config or found.processor)
    here.follows_settings = config is None
    here.installation = await here.call(db.installation)
    if found.installation not in ("", here.installation):
        raise AnotherInstallation(
            f"the settings {settings!r} belong to installation {found.installation}, and the state "
            f"DB that they lead to from here ({found.state_db}) is that of {here.installation}: a "
            f"new file, or another machine's? Correct state_db; all pollers share one"
        )
    await here.telling.start(found.notifiers)
    await here.refresh()
    await here.call(db.renew_lease, here.owner, found.lease_s)
    await sign_run(here.owner)
    heartbeat = asyncio.create_task(beat(here), name="lease")
    token = _current.set(here)
    try:
        with cancelled_by_sigterm():
            async with renewed_together():
                yield here
    finally:
        _current.reset(token)
        heartbeat.cancel()
        with anyio.CancelScope(shield=True):
            await let_go(here)
