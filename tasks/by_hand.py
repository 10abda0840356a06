"""by hand: a person pressed Retry in Prefect's UI; the workset's record says what that means."""

from __future__ import annotations

from prefect import get_run_logger, runtime

from host import host
from tasks.settle import Outcome
from worksets.by_hand import Meaning, meaning
from worksets.leases import is_stale
from worksets.record import HELD, State

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
    record = await here.call(here.db.get, workset_id)
    carried = workset_id in here.live
    if record.state in HELD and not carried:
        leases = await here.call(here.db.leases)
        carried = not is_stale(record, leases, here.db.now()) and record.lock_owner != here.owner
    what, text = meaning(record, carried)
    if text:
        get_run_logger().info("%s: %s", workset_id, text)
    if what is Meaning.RESTORE:
        await here.call(here.db.restore, workset_id, REASON)
    elif what is Meaning.HASTEN:
        await here.call(here.db.hasten, workset_id, REASON)
    elif what is Meaning.NOTHING:
        done = record.state if record.state is State.COMPLETE else State.READY
        return Outcome(workset_id, done, text, record)
    return None
