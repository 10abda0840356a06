"""monitor: wait for the end of the job, as the cluster tells it.

All worksets of this process on one cluster share one watch; a cluster that does not answer makes
the end known later, never earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.clusters import ClusterJobRun
from host import Host, host
from tasks.progress import Seen
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.announcements import Kind
from worksets.errors import Refused, WorksetError
from worksets.jobs import JobStatus, Phase, workset_of

LONGEST = timedelta(days=30)
"""Beyond any job. A time limit is the cluster's business; running out of this one changes nothing
in the state DB, and the next cycle attaches again."""


class Waiting:
    """Says what a job does until it is over; and once, to people, what does not pass by itself:
    that it is stuck, or that a cluster that answers cannot say how it stands."""

    def __init__(self, name: str, after_s: float, tell: Callable[[Kind, str], None]) -> None:
        self._name, self._after_s, self._tell = name, after_s, tell
        self._said = ""
        self._trouble: Kind | None = None
        self._since = 0.0
        self._told: set[Kind] = set()

    def notice(self, status: JobStatus) -> None:
        """Take a status over; called from the event loop."""
        said = f"{status.phase.value}: {status.note}" if status.note else status.phase.value
        shown = status.phase in (Phase.QUEUED, Phase.UNKNOWN) or status.stuck
        if shown and said != self._said:
            get_run_logger().info("%s is %s", self._name, said)
        self._said = said
        trouble = _trouble(status)
        now = asyncio.get_running_loop().time()
        if trouble != self._trouble:
            self._trouble, self._since = trouble, now
        if trouble is None or trouble in self._told or now - self._since < self._after_s:
            return
        self._told.add(trouble)
        if trouble is Kind.STUCK:
            queued = status.phase is Phase.QUEUED
            does = "waits in its cluster's queue" if queued else "stands still"
            text = f"{self._name} {does}: {status.note}; {status.stuck}"
        else:
            text = f"nobody can say how {self._name} stands: {status.note}"
        get_run_logger().warning("%s", text)
        self._tell(trouble, text)

    def untold(self, kind: Kind) -> None:
        """It could not be owed to people: the next status says it again."""
        self._told.discard(kind)


def _trouble(status: JobStatus) -> Kind | None:
    if status.stuck:
        return Kind.STUCK
    return Kind.UNSETTLED if status.phase is Phase.UNKNOWN else None


async def _owe(here: Host, waiting: Waiting, name: str, kind: Kind, text: str) -> None:
    """Have it owed to people, then tell them."""
    try:
        after = await here.call(here.db.owe, workset_of(name), name, kind.value, text)
    except WorksetError as error:
        get_run_logger().warning("people are not told of %s: %s", name, error)
        if not isinstance(error, Refused):
            waiting.untold(kind)
    else:
        here.outbox.tell(after)


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
    here, name = host(), run.name
    owing: set[asyncio.Task[None]] = set()

    def tell(kind: Kind, text: str) -> None:
        owing.add(asyncio.create_task(_owe(here, waiting, name, kind, text)))

    waiting = Waiting(name, here.config.stuck_minutes * 60, tell)
    seen = Seen(here, run.watch, name)

    def notice(status: JobStatus) -> None:
        waiting.notice(status)
        seen.status = status

    run.notice = notice
    showing = asyncio.create_task(seen.show(), name=f"progress of {name}")
    try:
        await run.wait_for_completion()
    finally:
        showing.cancel()
    await asyncio.gather(*owing)
    return await run.fetch_result()
