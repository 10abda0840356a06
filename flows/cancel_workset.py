"""Cancel one workset, for an operator."""

from __future__ import annotations

import anyio
from prefect import flow, get_run_logger

from host import load_state_db


@flow(name="cancel_workset", retries=0, persist_result=False)
async def cancel_workset(
    workset_id: str, reason: str = "cancelled by hand", settings: str = "default"
) -> str:
    """Stop a workset for good; where its job runs, the job is stopped first, by a poller.

    Args:
        workset_id: The workset.
        reason: Kept in its history.
        settings: Name of the settings block.
    """
    db = await load_state_db(settings)
    after = await anyio.to_thread.run_sync(db.cancel, workset_id, reason)
    if after.cancel_requested:
        get_run_logger().info(
            "%s is to be cancelled; it is when its job on %s has ended", workset_id,
            after.cluster_name,
        )  # fmt: skip
    return after.state.value
