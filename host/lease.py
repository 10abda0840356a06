"""The name by which a process holds worksets: its lease, and the flow runs that bear it."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from typing import TYPE_CHECKING
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.logging import get_logger

from host.threads import Threads

if TYPE_CHECKING:
    from host.process import Host


def new_owner() -> str:
    """A name for this process that no other has, and none before it had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def process_tag(owner: str) -> str:
    """The tag of all flow runs that live in a process, so that they can be ended for a dead one."""
    return f"process:{owner.rpartition(':')[2]}"


async def sign_run(owner: str) -> None:
    """Tag the flow run that is under way here, if there is one."""
    if run_id := runtime.flow_run.id:
        async with get_client() as client:
            tags = sorted({*runtime.flow_run.tags, process_tag(owner)})
            await client.update_flow_run(flow_run_id=UUID(run_id), tags=tags)


async def beat(here: Host) -> None:
    """Renew a process's lease, three times as often as it needs; for ever.

    In a thread and over a connection that nothing else uses: it waits behind nobody.
    """
    log, db, call = get_logger("host"), here.db.apart(), Threads(1)
    while True:
        pause_s = here.settings.lease_s / 3
        try:
            await call(db.renew_lease, here.owner, here.settings.lease_s)
        except Exception:
            # if it goes on, others take over what this process holds; fences keep that safe
            log.exception("the lease of %s was not renewed; tried again", here.owner)
            pause_s /= 10
        await asyncio.sleep(pause_s)
