"""One attempt at one workset: validate → schedule → lock → dispatch → monitor."""

from __future__ import annotations

from typing import Any, Final

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from host import open_host
from host.slots import taken_once
from tasks.by_hand import heed_retry, is_retry
from tasks.cancel import STOPPED
from tasks.dispatch import dispatch
from tasks.labels import flow_run_name, label_by_hand, limited, unlimited
from tasks.lock import lock
from tasks.monitor import monitor
from tasks.schedule import schedule
from tasks.settle import Outcome, Progress, settle, settle_error
from tasks.showing import WorksetPage
from tasks.validate import validate
from worksets.record import State as WorksetState
from worksets.texts import plain

MAX_MESSAGE: Final = 2000
"""Characters of a state's message in Prefect."""


@flow(name="process_workset", flow_run_name=flow_run_name, retries=0, persist_result=False)
async def process_workset(
    workset_id: str,
    settings: str = "default",
    cluster: str | None = None,
    attempt: int | None = None,
) -> State[Any]:
    """Process one workset, from wherever it stands.

    Whoever starts it, and however often: a workset that is finished, waiting for its retry or held
    by another process is left alone, and one whose process died is gone on with. A person's Retry
    of its run in Prefect's UI brings back what has failed or was cancelled, and hastens what waits.

    Args:
        workset_id: The workset, as a poll has registered it.
        settings: Name of the settings block.
        cluster: Cluster to run on; empty: chosen by placement.
        attempt: Only for the name of the run; the state DB counts.
    """
    async with open_host(settings) as here:
        at, page = Progress(workset_id), WorksetPage(here)
        try:
            asked = is_retry() or workset_id in here.live
            if asked and (outcome := await heed_retry(workset_id)):
                return _shown(outcome)
            async with here.carrying(workset_id):
                with unlimited():
                    outcome = await _five_steps(at, page, cluster, attempt)
        except Exception as error:
            outcome = await settle_error(at, error)
        await page.show(outcome.record, outcome.report)
        return _shown(outcome)


async def _five_steps(
    at: Progress, page: WorksetPage, cluster: str | None, attempt: int | None
) -> Outcome:
    workset = await validate(at.workset_id)
    if attempt is None or is_retry():
        await label_by_hand(workset.record)

    at.step = "schedule"
    placement = await schedule(workset, cluster)

    at.step = "lock"
    record = await lock(workset, placement)

    async with taken_once():
        at.step, at.fence = "dispatch", record.fence
        begun = await limited(dispatch, record)(workset, record)
        await page.show(begun.record)

        at.step = "monitor"
        status = await limited(monitor, record)(begun.run)

    return await settle(begun.record, status)


def _shown(outcome: Outcome) -> State[Any]:
    """The outcome as the state that Prefect's UI shows."""
    message = plain(outcome.message, MAX_MESSAGE)
    if outcome.state is WorksetState.COMPLETE:
        return Completed(message=message)
    if outcome.state is WorksetState.CANCELLED:
        return Cancelled(name=STOPPED, message=message)
    if outcome.state is WorksetState.READY:
        return Completed(name="Waiting", message=message)
    names = {
        WorksetState.RETRYING: "Retrying",
        WorksetState.FAILED: "DeadLetter",
        None: "Unsettled",
    }
    return Failed(name=names.get(outcome.state, "Failed"), message=message)
