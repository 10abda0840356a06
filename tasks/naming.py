"""Names of poll runs, for people: `poll from 09:00, 14 started`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger


def name_of_poll() -> str:
    """The name of a poll run that begins now, by this machine's clock."""
    return f"poll from {datetime.now().astimezone():%H:%M}"


async def rename_poll(started: int) -> None:
    """Have the run's name say how many worksets it has started; a name that says so is left."""
    run_id, name = runtime.flow_run.id, str(runtime.flow_run.name or "")
    new = f"{name.partition(',')[0]}, {started} started"
    if not run_id or not started or _NAMES.get(run_id) == new:
        return
    try:
        async with get_client() as client:
            await client.update_flow_run(flow_run_id=UUID(run_id), name=new)
        _NAMES.clear()
        _NAMES[run_id] = new
    except Exception as error:  # only its name: the next cycle says it again
        get_run_logger().warning("the run could not be named %r: %s", new, error)


_NAMES: dict[str, str] = {}
"""The name that this process has last given to its poll's run."""
