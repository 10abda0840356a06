"""One watch per cluster for all worksets of this process, and their jobs for Prefect.

The watch asks about all jobs at once, and it is the cluster's breaker: a query that failed means
*unknown* and costs no workset anything; a cluster that does not answer is asked ever less often,
and nothing is placed on it until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from prefect.blocks.abstract import JobBlock, JobRun
from prefect.logging import get_logger

from blocks.clusters.base import Cluster
from worksets.announcements import Kind
from worksets.errors import ClusterUnreachable, ErrorCategory, WorksetError
from worksets.health import Health, backoff_s, newer
from worksets.jobs import JobSpec, JobStatus, Phase
from worksets.record import Estimates

Call = Callable[..., Awaitable[Any]]
"""Runs a blocking function in a thread of this process: `await call(function, *arguments)`."""
Notice = Callable[[JobStatus], None]
"""Told what a job that is waited for does now."""
Tell = Callable[["ClusterWatch", Kind, str], None]
"""Told that a cluster is unreachable, until `was_told`, or reachable again; with a message."""

POLL_FRACTION: Final = 1 / 20
"""A job is looked at again after this share of its age: 5 % late at the most, few questions."""
FRESH_S: Final = 10.0
"""Seconds for which an answer says that a cluster can be reached now."""
ABSENT_S: Final = 60.0
"""Seconds for which a job that is waited for must be absent before the wait is given up."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class JobMissing(WorksetError):
    """A job that is waited for is not on its cluster: it is looked up, and submitted if need be."""

    category = ErrorCategory.TRANSIENT


class ClusterWatch:
    """One watch of one cluster, shared by every workset that this process has on it."""

    def __init__(
        self,
        cluster: Cluster,
        call: Call,
        tell: Tell | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.cluster = cluster
        self.call = call
        self.capacity: int | None = None
        self.needs: Sequence[Estimates] = ()
        """What the smallest workset of each pipeline needs."""
        self.one_log = asyncio.Lock()
        """Held by whoever reads the log of a job that runs: there is one at a time."""
        self._tell = tell
        self._now = now
        self.health = Health()
        self._looking = False
        self._notices: dict[str, Notice] = {}
        self._waiting: dict[str, tuple[float, asyncio.Future[JobStatus]]] = {}
        self._absent_since: dict[str, float] = {}
        self._loop: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._back = asyncio.Event()
        self._log: logging.Logger = get_logger("clusters")

    async def wait(self, name: str, notice: Notice | None = None) -> JobStatus:
        """The status of the job once it is over; an unreachable cluster only makes it later.

        `notice` is called with each status before that.

        Raises:
            JobMissing: the cluster has said for a minute that there is no such job.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[JobStatus] = loop.create_future()
        self._waiting[name] = (loop.time(), future)
        if notice is not None:
            self._notices[name] = notice
        self._nudge.set()
        if self._loop is None or self._loop.done():
            self._loop = loop.create_task(self._watch(), name=f"watch {self.cluster.cluster_name}")
        try:
            return await future
        finally:
            self._waiting.pop(name, None)
            self._notices.pop(name, None)

    # --- The breaker ---

    @property
    def unreachable(self) -> str:
        """Why nothing should be placed on the cluster; empty if it is known to answer."""
        return self.health.unavailable(self._now())

    def failed(self, error: Exception) -> None:
        """The cluster did not answer: place nothing on it until it does."""
        self._back.clear()
        trouble = f"{self.cluster.cluster_name} does not answer: {error}"
        self.health = self.health.failed(self._now(), trouble)
        expected = isinstance(error, ClusterUnreachable)
        self._log.warning("%s; its jobs are unknown, asked again", trouble)
        self._log.log(logging.DEBUG if expected else logging.ERROR, "query failed", exc_info=error)
        if self.health.to_tell and self._tell:
            # once more at each failure, until somebody was: see `was_told`
            self._tell(
                self, Kind.CLUSTER_UNREACHABLE, f"{trouble}; its worksets wait, nothing is lost"
            )

    def was_told(self) -> None:
        """People know of the trouble there is."""
        if self.health.failures:
            self.health = self.health.model_copy(update={"told": True})

    def answered(self) -> None:
        """The cluster answered: it may be placed on."""
        if self.health.told and self._tell:
            self._tell(self, Kind.CLUSTER_REACHABLE, f"{self.cluster.cluster_name} answers again")
        self.health = self.health.answered(self._now())
        self._back.set()

    def learn(self, known: Health) -> None:
        """Take over what other processes know, if it is newer than what this one knows."""
        self.health = newer(self.health, known)

    async def look(self) -> None:
        """Ask for the cluster's capacity; one in trouble is asked only when its back-off is over.

        This closes the breaker of a cluster on which no workset is waited for.
        """
        if self._looking or self.health.rests(self._now()):
            return
        self._looking = True
        try:
            self.capacity = await self.call(self.cluster.capacity, self.needs)
        except Exception as error:  # whatever went wrong in asking
            self.failed(error)
        else:
            self.answered()
        finally:
            self._looking = False

    async def reach(self) -> None:
        """See that the cluster answers, before anything is begun that only it could end, and that
        it has said which jobs it takes.

        Raises:
            ClusterUnreachable: it does not answer now.
        """
        if self.cluster.heard and self.health.is_fresh(self._now(), FRESH_S):
            return
        try:
            self.capacity = await self.call(self.cluster.capacity, self.needs)
        except ClusterUnreachable:
            raise  # told where it is settled
        except Exception as error:
            raise ClusterUnreachable(f"{self.cluster.cluster_name}: {error}") from error
        self.answered()

    # --- The watch ---

    def close(self) -> None:
        if self._loop is not None:
            self._loop.cancel()

    async def _watch(self) -> None:
        while self._waiting:
            self._nudge.clear()
            seen: dict[str, JobStatus] = {}
            try:
                seen = await self.call(self.cluster.observe, list(self._waiting))
            except Exception as error:  # whatever went wrong in asking: the jobs are unknown
                self.failed(error)
            else:
                self.answered()
            for name, status in seen.items():
                waiting = self._waiting.get(name)
                if waiting is not None and not waiting[1].done():
                    self._pass_on(waiting[1], status)
                    if name in self._notices:
                        self._notices[name](status)
            await self._pause()

    def _pass_on(self, future: asyncio.Future[JobStatus], status: JobStatus) -> None:
        now = asyncio.get_running_loop().time()
        if status.over:
            future.set_result(status)
        if status.phase is not Phase.ABSENT:
            self._absent_since.pop(status.name, None)
        elif now - self._absent_since.setdefault(status.name, now) >= ABSENT_S:
            del self._absent_since[status.name]
            future.set_exception(
                JobMissing(
                    f"{status.name} has not been on {self.cluster.cluster_name} for "
                    f"{ABSENT_S:g} s: were its files deleted, or did the cluster forget it?"
                )
            )

    async def _pause(self) -> None:
        """Sleep until the next observation; a job that is new meanwhile makes it come sooner."""
        if self.health.failures:
            # a cluster in trouble is not asked more for new jobs
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._back.wait(), backoff_s(self.health.failures))
            return
        now = asyncio.get_running_loop().time()
        ages = [now - since for since, future in self._waiting.values() if not future.done()]
        shortest = self.cluster.poll_min_s
        pause = poll_interval_s(shortest, self.cluster.poll_max_s, min(ages, default=0))
        await asyncio.sleep(shortest)
        if pause > shortest and not self._nudge.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), pause - shortest)


def poll_interval_s(shortest: float, longest: float, youngest_s: float) -> float:
    """Seconds until the next observation, from the age of the youngest job."""
    return min(max(shortest, youngest_s * POLL_FRACTION), longest)


class ClusterJobRun(JobRun[JobStatus]):
    """A job that exists on a cluster (Prefect's JobRun contract)."""

    def __init__(self, watch: ClusterWatch, name: str) -> None:
        self.watch = watch
        self.name = name
        self.notice: Notice | None = None
        self._status = JobStatus(name, Phase.UNKNOWN)

    async def wait_for_completion(self) -> None:  # type: ignore[override]  # Prefect's stub says Logger
        """Return when the job is over, well or badly."""
        self._status = await self.watch.wait(self.name, self.notice)

    async def fetch_result(self) -> JobStatus:
        """The job's last known status; UNKNOWN before `wait_for_completion` has returned."""
        return self._status


class ClusterJob(JobBlock[JobStatus]):
    """One attempt's job on one cluster (Prefect's JobBlock contract)."""

    _watch: ClusterWatch

    spec: JobSpec

    def on(self, watch: ClusterWatch) -> ClusterJob:
        """The same job, to be run on the cluster of `watch`."""
        self._watch = watch
        return self

    async def trigger(self) -> ClusterJobRun:
        """Submit the job, or attach to the one of its name; see `Cluster.submit` for errors."""
        await self._watch.call(self._watch.cluster.submit, self.spec)
        return ClusterJobRun(self._watch, self.spec.name)
