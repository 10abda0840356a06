"""monitor: wait for the end of the job, as the cluster tells it.

All worksets of this process on one cluster share one watch; a cluster that does not answer makes
the end known later, never earlier.
"""

from __future__ import annotations

from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.watch import ClusterJobRun
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.jobs import JobStatus, Phase

LONGEST = timedelta(days=30)
"""Beyond any job. A time limit is the cluster's business; running out of this one changes nothing
in the state DB, and the next cycle attaches again."""


@task(
    name="monitor",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=LONGEST.total_seconds(),
)
async def monitor(run: ClusterJobRun | None) -> JobStatus:
    """How the job ended (phase ENDED or VANISHED)."""
    if run is None:
        return JobStatus("", Phase.ENDED)
    await run.wait_for_completion()
    return await run.fetch_result()
