"""recover: what time and dead processes have left behind is brought back into the cycle."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.record import WorksetRecord


@task(
    name="recover",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def recover() -> None:
    """Requeue the retries that are due and release the locks of processes that are gone."""
    here, log = host(), get_run_logger()
    for record in await here.call(here.db.requeue_due):
        log.info("%s is due for its next try", record.workset_id)
    for record in await here.call(here.db.release_stale):
        log.warning("%s was locked by a process that is gone; it is ready again", record.workset_id)


async def orphans(here: Host) -> list[WorksetRecord]:
    """Worksets that nobody carries any more, though they count as held: their jobs may run.

    Those of dead owners, and those of this process whose flow run has ended without an answer.
    """
    stale = {record.workset_id for record in await here.call(here.db.stale)}
    return [
        record
        for record in await here.call(here.db.held)
        if record.workset_id not in here.live
        and (record.lock_owner == here.owner or record.workset_id in stale)
    ]
