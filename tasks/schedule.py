"""schedule: on which cluster does the workset run? The rules are `worksets.placement.plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.validate import Validated
from worksets.errors import AdmissionRefused
from worksets.placement import Decision, plan
from worksets.record import HELD, WorksetRecord


@dataclass(frozen=True)
class Placement:
    """Where a workset goes, and why."""

    cluster_name: str
    reason: str


@task(
    name="schedule",
    task_run_name="schedule {workset.record.workset_id}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def schedule(workset: Validated, cluster: str | None = None) -> Placement:
    """Choose the cluster, or see whether `cluster`, the poller's choice, still takes the workset.

    Raises:
        AdmissionRefused: nothing takes it now; says why. It stays ready.
    """
    here = host()
    record = workset.record
    if record.state in HELD:
        # it has a place and perhaps a job there; whoever goes on with it goes on there
        return Placement(record.cluster_name, record.placement_reason)
    held = await here.call(here.db.holder_counts)
    await here.budgets.look()
    running = await here.taking_room()
    decision = place(here, record, held, cluster, running)
    if decision.action != "start":
        raise AdmissionRefused(f"workset {record.workset_id} {decision.reason}")
    return Placement(decision.cluster_name, decision.reason)


def place(
    here: Host,
    record: WorksetRecord,
    held: dict[str, int],
    cluster: str | None,
    running: Sequence[WorksetRecord] = (),
) -> Decision:
    """The plan for this one workset, on any cluster or on the one that is named.

    Whose turn it is was the poller's to say; here the workset is alone.
    """
    weights, policy = here.settings.weights, here.settings.placement
    now = here.db.now()
    given = (here.views, held, here.limits, weights, policy, now, cluster or "")
    return plan([record], *given, running=running)[0]
