"""recover: what time and dead processes have left behind is brought back into the cycle."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed

from host import Host, host, process_tag
from tasks.logs import run_log
from tasks.paging import PAGE
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.errors import Refused
from worksets.leases import first_over, is_over, may_judge
from worksets.record import WorksetRecord

OPEN = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
)


@dataclass(frozen=True)
class Recovered:
    """What a full cycle begins with: what is held, and by whom it is taken over.

    `gone`: owners that are gone; none where this machine's clock is no judge of leases.
    `over`: processes whose lease is over, and since when. `alive`: the others that live, and until
    when they are believed to. `others`: whether there are others, as far as this one may judge.
    """

    gone: frozenset[str]
    held: tuple[WorksetRecord, ...] = field(repr=False)
    over: Mapping[str, datetime] = field(default_factory=dict)
    alive: Mapping[str, datetime] = field(default_factory=dict)
    others: bool = True


@task(
    name="recover",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def recover() -> Recovered:
    """Requeue due retries, and release locks of processes that are gone without having begun.

    The whole cycle goes by this one look, which asks the state DB alone.
    """
    here, log = host(), get_run_logger()
    for record in await here.call(here.db.requeue_due):
        log.info("%s is due for its next try", record.workset_id)
    here.tell_of_unreadable()
    held = {record.workset_id: record for record in await here.call(here.db.held)}
    off_s = here.db.clock_off_s()
    here.telling.of_clock(off_s)
    if not may_judge(off_s):
        return Recovered(frozenset(), tuple(held.values()))
    stale = await here.call(here.db.stale, held.values())
    for record in await here.call(here.db.release_stale, stale):
        log.warning("%s was locked by a process that is gone; it is ready again", record.workset_id)
        del held[record.workset_id]
    leases, now = await here.call(here.db.leases), here.db.now()
    # its own may be over too, after a sleep or a state DB that was locked: who asks is alive
    leases.pop(here.owner, None)
    over = {owner: end for owner, end in leases.items() if is_over(end, now)}
    alive = {owner: end for owner, end in leases.items() if owner not in over}
    gone = {record.lock_owner for record in stale if record.workset_id in held}
    return Recovered(frozenset(gone - {here.owner}), tuple(held.values()), over, alive, bool(alive))


@task(
    name="end dead runs",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=60,
)
async def end_dead_runs(over: Mapping[str, datetime]) -> None:
    """End in Prefect what died with its process; one that holds nothing any more is forgotten.

    `over`: processes whose lease is over, and since when.
    """
    here = host()
    for owner in over:
        await _crash_runs_of(owner)
    holding = {record.lock_owner for record in await here.call(here.db.held)}
    for owner, end in over.items():
        if owner not in holding:
            await here.call(here.db.forget_lease, owner, end)


async def _crash_runs_of(owner: str) -> None:
    state: State[Any] = Crashed(
        message=f"its process {owner} is gone; another goes on with its work"
    )
    of_it = FlowRunFilter(state=OPEN, tags=FlowRunFilterTags(all_=[process_tag(owner)]))
    async with get_client() as client:
        while runs := await client.read_flow_runs(flow_run_filter=of_it, limit=PAGE):
            for run in runs:
                await client.set_flow_run_state(run.id, state, force=True)
                get_run_logger().warning("the run %s is ended: %s", run.name, state.message)


def orphans(here: Host, held: Iterable[WorksetRecord], gone: frozenset[str]) -> list[WorksetRecord]:
    """Worksets that nobody carries any more, though they count as held: their jobs may run.

    Those of owners that are gone, and those of this process whose flow run has ended without an
    answer. Also what is to be cancelled: its job may have been faster, and that must be written.
    """
    return [
        record
        for record in held
        if record.workset_id not in here.live and record.lock_owner in {here.owner, *gone}
    ]


async def take_over(
    here: Host, recovered: Recovered, runs_here: Container[str]
) -> list[WorksetRecord]:
    """What nobody carries any more, held by this process on the clusters whose flows run in it."""
    left = orphans(here, recovered.held, recovered.gone)
    found = [await _taken(here, record, record.cluster_name in runs_here) for record in left]
    return [record for record in found if record is not None]


async def _taken(here: Host, seen: WorksetRecord, runs_here: bool) -> WorksetRecord | None:
    """As it stands now; None: it is carried again, here or elsewhere."""
    id_ = seen.workset_id
    if runs_here and seen.lock_owner != here.owner:
        try:
            record = await here.call(here.db.take_over, id_, here.owner, seen.lock_owner)
        except Refused as refused:
            run_log().info("%s", refused)
            return None
    else:
        # its flow may have ended well since the cycle began
        record = await here.call(here.db.get, id_)
        if record.lock_owner != seen.lock_owner:
            return None
    if id_ in here.live:
        return None
    run_log().warning(
        "%s (attempt %d on %s) is carried by nobody; it is gone on with here",
        id_, record.attempt, record.cluster_name,
    )  # fmt: skip
    return record


class Neighbours:
    """The other processes, as last seen: one that dies is noticed when its lease is over.

    The full cycle that takes over what it held would come up to `poll_interval_seconds` later.
    """

    def __init__(self, here: Host) -> None:
        self._here = here
        self._alive: frozenset[str] = frozenset()
        self.look_at: datetime | None = None
        """When the first of them could be gone; None: there are none."""

    def seen(self, alive: Mapping[str, datetime]) -> None:
        """These live, each until its lease is over."""
        self._alive, self.look_at = frozenset(alive), first_over(alive)

    async def one_is_gone(self) -> bool:
        """Whether one is gone that lived when they were last seen; true once for each.

        Asks the state DB only when one could be.
        """
        here = self._here
        if self.look_at is None or here.db.now() < self.look_at:
            return False
        leases, now, before = await here.call(here.db.leases), here.db.now(), self._alive
        self.seen(
            {
                owner: end
                for owner, end in leases.items()
                if owner != here.owner and not is_over(end, now)
            }
        )
        return not before <= self._alive
