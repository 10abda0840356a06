"""dead letters: read them, and bring back those that an operator has chosen."""

from __future__ import annotations

import anyio
from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from host import load_state_db
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.dead_letters import row
from worksets.errors import Refused
from worksets.record import WorksetRecord
from worksets.texts import line

KEY = "dead-letters"


@task(
    name="read dead letters",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=120,
)
async def read_dead_letters(settings: str) -> list[WorksetRecord]:
    """All of them, the latest first."""
    db = await load_state_db(settings)
    return await anyio.to_thread.run_sync(db.dead_letters)


@task(name="show dead letters", retries=0, cache_policy=NO_CACHE, timeout_seconds=60)
async def show_dead_letters(records: list[WorksetRecord], title: str) -> None:
    """As a table in the run, and in the UI's artifacts."""
    rows = [row(record) for record in records]
    await acreate_table_artifact(rows, key=KEY, description=line(title))


@task(
    name="redrive",
    task_run_name="redrive {record.workset_id}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def redrive(
    record: WorksetRecord, reason: str, from_start: bool | None, settings: str
) -> bool:
    """Make it ready again; False if it is a dead letter no more."""
    db = await load_state_db(settings)
    try:
        after = await anyio.to_thread.run_sync(
            lambda: db.restore(record.workset_id, reason, from_start=from_start)
        )
    except Refused as error:
        get_run_logger().warning("%s", error)
        return False
    steps = " ".join(after.completed_steps) or "none"
    get_run_logger().info("%s is ready again; steps kept: %s", record.workset_id, steps)
    return True
