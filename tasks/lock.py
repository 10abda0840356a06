"""lock: make the workset this process's own, if every limit has room for it."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from host import host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.schedule import Placement
from tasks.validate import Validated
from worksets.errors import Refused
from worksets.leases import is_over
from worksets.record import HELD, WorksetRecord


@task(
    name="lock",
    task_run_name="lock {workset.record.workset_id}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def lock(workset: Validated, placement: Placement) -> WorksetRecord:
    """The record as this process holds it: fresh from ready, or taken over from one that is gone.

    Raises:
        AdmissionRefused: a limit is reached. Not tried again here: the next cycle does.
        Refused: another living process holds it.
    """
    here, id_ = host(), workset.record.workset_id
    # read again: this may be a second try, whose first was answered by a broken connection
    record = await here.call(here.db.get, id_)
    if record.state in HELD:
        lease = (await here.call(here.db.leases)).get(record.lock_owner)
        if record.lock_owner != here.owner and not is_over(lease, here.db.now()):
            raise Refused(f"workset {id_} is held by {record.lock_owner}, which is alive")
        return await here.call(here.db.take_over, id_, here.owner, record.lock_owner)
    return await here.call(
        here.db.lock,
        id_,
        here.owner,
        placement.cluster_name,
        placement.reason,
        here.limits.by_scope(),
    )
