"""cancel: what a person cancels, in Prefect's UI or in the state DB, ends on its cluster too.

A cancelled run becomes a request in the state DB; a requested workset's job is stopped on its
cluster; the workset is cancelled, and its slot free, when the job is seen at its end. Each of the
three may be repeated by any process, so that a crash between them loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from blocks.clusters import ClusterWatch
from host import Host, process_tag
from tasks.logs import run_log
from tasks.paging import all_pages
from tasks.showing import say_in_folder
from worksets.announcements import of_workset
from worksets.errors import ClusterUnreachable, Refused, WorksetError, WorksetNotFound
from worksets.jobs import JobStatus, Phase
from worksets.record import State as WorksetState
from worksets.record import WorksetRecord

LOOK_S: Final = 5.0
"""Seconds between two looks for runs that a person has cancelled."""
AGAIN_S: Final = 5.0
"""Seconds between the first two looks at a job that was told to stop; then twice as many."""
STOPPED: Final = "Stopped"
"""Name of the state of a cancelled run whose workset is cancelled, too."""


async def heed_cancelled_runs(here: Host) -> list[str]:
    """Ask the state DB to cancel the worksets whose runs a person has cancelled; their ids."""
    asked: list[str] = []
    by_a_person = FlowRunFilter(
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Cancelling", "Cancelled"]))
    )
    ours = FlowFilter(name=FlowFilterName(any_=["process_workset"]))
    async with get_client() as client:
        runs = await all_pages(
            lambda limit, offset: client.read_flow_runs(
                flow_filter=ours, flow_run_filter=by_a_person, limit=limit, offset=offset
            )
        )
        for run in runs:
            try:
                if workset_id := await _heed(here, client, run, asked):
                    asked.append(workset_id)
            except Exception:  # one that cannot be heeded now holds up no other
                run_log().exception(
                    "the run %s (%s) was cancelled, and its workset is not yet: tried again",
                    run.name, run.id,
                )  # fmt: skip
    return asked


async def _heed(
    here: Host, client: PrefectClient, run: FlowRun, asked: Collection[str]
) -> str | None:
    """Ask for the workset of one run, and end the run if it will not do so itself."""
    workset_id = str(run.parameters.get("workset_id", ""))
    if run.parameters.get("settings", "default") != here.name:
        return None
    if run.state_type is StateType.CANCELLED:
        if end := await _not_meant(client, run):
            await client.set_flow_run_state(run.id, end, force=True)
            return None
    elif workset_id in asked:
        return None
    requested = await _request(here, workset_id, run.name)
    if run.state_type is StateType.CANCELLED or workset_id not in here.live:
        # a run that lives ends by itself, with its job
        end = Cancelled(name=STOPPED, message=f"workset {workset_id} is cancelled with it")
        await client.set_flow_run_state(run.id, end, force=True)
    return workset_id if requested else None


async def _not_meant(client: PrefectClient, run: FlowRun) -> State[Any] | None:
    """The honest end of a cancelled run that nobody cancelled for its workset's sake."""
    if run.start_time is None:
        return Cancelled(name=STOPPED, message="it had not begun; its workset is not touched")
    if run.parent_task_run_id is not None or await _poller_was_cancelled(client, run):
        return Crashed(message="its poller was cancelled; another goes on with its workset")
    return None


async def _poller_was_cancelled(client: PrefectClient, run: FlowRun) -> bool:
    """Whether the poll that the run lived in was cancelled: both bear the tag of their process."""
    tags = [tag for tag in run.tags if tag.startswith(process_tag(""))]
    pollers = tags and await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["poll_worksets"])),
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=tags),
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])
            ),
        ),
        limit=1,
    )
    return bool(pollers)


async def _request(here: Host, workset_id: str, run_name: str) -> bool:
    try:
        await here.call(here.db.cancel, workset_id, f"the run {run_name} was cancelled in Prefect")
    except (Refused, WorksetNotFound):
        return False  # it has ended, or somebody was faster
    run_log().warning("%s is to be cancelled, as the run %s was", workset_id, run_name)
    return True


async def _told_to_stop(watch: ClusterWatch, name: str) -> JobStatus:
    await watch.call(watch.cluster.cancel, name)
    seen: dict[str, JobStatus] = await watch.call(watch.cluster.observe, [name])
    return seen[name]


async def stop_job(here: Host, record: WorksetRecord) -> None:
    """Stop the job of a workset that is to be cancelled, and say so when it has ended.

    One that cannot be stopped now is stopped in a later cycle: the request stays.
    """
    log = run_log()
    try:
        watch = here.watch(record.cluster_name)
        pause_s, waited_s = AGAIN_S, 0.0
        while not (status := await _told_to_stop(watch, record.job_name)).over:
            # it has its grace, then it is killed; ever less often, for many may be stopped at once
            if waited_s > watch.cluster.grace_seconds:
                break
            await asyncio.sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, pause_s * 2
    except WorksetError as error:
        if isinstance(error, ClusterUnreachable):
            here.watch(record.cluster_name).failed(error)
        log.warning("%s is not stopped yet: %s; tried again", record.job_name, error)
        return
    ended_well = status.phase is Phase.ENDED and status.failed_step is None
    if not status.over or (ended_well and record.state is WorksetState.IN_PROGRESS):
        return  # it is on its way out, or was faster: its holder writes that
    runs = status.step_runs(record.attempt, record.cluster_name)
    try:
        await here.budgets.count(record, status)
        after = await here.call(here.db.stopped, record.workset_id, record.fence, runs)
    except Refused:
        return  # its holder saw the end, too
    except WorksetError as error:
        log.warning("that %s has ended is not written: %s; tried again", record.job_name, error)
        return
    message = f"cancelled ({record.cancel_requested}); its job {record.job_name} has ended"
    log.warning("%s is %s", record.workset_id, message)
    await say_in_folder(here, after)
    if announcement := of_workset(after, message):
        here.announce(announcement)
