"""recover: what time and dead processes have left behind is brought back into the cycle."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from blocks.host import OWNER_LABEL, Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.leases import is_over
from worksets.record import WorksetRecord

PAGE = 200
RUNNING = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))


@task(
    name="recover",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def recover() -> None:
    """Requeue due retries, release locks of processes that are gone, and end their Prefect runs."""
    here, log = host(), get_run_logger()
    for record in await here.call(here.db.requeue_due):
        log.info("%s is due for its next try", record.workset_id)
    for record in await here.call(here.db.release_stale):
        log.warning("%s was locked by a process that is gone; it is ready again", record.workset_id)
    leases, now = await here.call(here.db.leases), here.db.now()
    if dead := {owner: end for owner, end in leases.items() if is_over(end, now)}:
        await _crash_runs_of(set(dead))
        holding = {record.lock_owner for record in await here.call(here.db.held)}
        for owner in set(dead) - holding:
            await here.call(here.db.forget_lease, owner, dead[owner])


async def _crash_runs_of(dead: set[str]) -> None:
    """End in Prefect what died with its process: the runs it had signed, and their children."""
    async with get_client() as client:
        outermost = FlowRunFilter(
            state=RUNNING, parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True)
        )
        runs: list[FlowRun] = []
        while len(runs) % PAGE == 0:
            page = await client.read_flow_runs(
                flow_run_filter=outermost, limit=PAGE, offset=len(runs)
            )
            if not page:
                break
            runs.extend(page)
        for run in runs:
            if (owner := run.labels.get(OWNER_LABEL)) not in dead:
                continue
            state: State[Any] = Crashed(
                message=f"its process {owner} is gone; another goes on with its work"
            )
            inside = FlowRunFilter(
                state=RUNNING, parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id])
            )
            while children := await client.read_flow_runs(flow_run_filter=inside, limit=PAGE):
                for child in children:
                    await client.set_flow_run_state(child.id, state, force=True)
            await client.set_flow_run_state(run.id, state, force=True)
            get_run_logger().warning("the run %s is ended: %s", run.name, state.message)


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
