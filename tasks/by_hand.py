"""by hand: a person pressed Retry in Prefect's UI; the workset's record says what that means."""

from __future__ import annotations

from prefect import get_run_logger, runtime

from host import host
from tasks.operating import retry_by_hand
from tasks.settle import Outcome
from worksets.record import State

REASON = "retried in Prefect's UI"


def is_retry() -> bool:
    """Whether this run has run before: nobody but a person lets one run again."""
    return (runtime.flow_run.run_count or 0) > 1


async def heed_retry(workset_id: str) -> Outcome | None:
    """Make the workset ready for what a person has asked for; the outcome, if that was all.

    Raises:
        Refused: somebody was faster.
    """
    here = host()
    live = workset_id in here.live
    done = await here.call(retry_by_hand, here.db, workset_id, REASON, here.owner, live)
    if done.text:
        get_run_logger().info("%s: %s", workset_id, done.text)
    if not done.refused:
        return None
    record = done.record
    state = record.state if record.state is State.COMPLETE else State.READY
    return Outcome(workset_id, state, done.text, record)
