"""What every cluster can do, and one watch per cluster for all worksets of this process.

A cluster is asked about jobs by name; a name is a function of workset and attempt, so any process
can ask. `submit` attaches to a job of that name if there is one: a job is started once, however
often it is submitted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeVar

from prefect.blocks.abstract import JobBlock, JobRun
from prefect.blocks.core import Block
from prefect.logging import get_logger
from pydantic import Field

from worksets.errors import ClusterUnreachable, ErrorCategory, TransientError, WorksetError
from worksets.jobs import JobSpec, JobStatus, Phase
from worksets.placement import ClusterView
from worksets.record import Frozen, Step

T = TypeVar("T")
Call = Callable[..., Awaitable[Any]]
"""Runs a blocking function in a thread of this process: `await call(function, *arguments)`."""

POLL_FRACTION: Final = 1 / 20
"""A job is looked at again after this share of its age: 5 % late at the most, few questions."""


ABSENT_S: Final = 60.0
"""Seconds for which a job that is waited for must be absent before the wait is given up."""


class SubmitUncertain(TransientError):
    """The submission was sent and its answer lost; the job may run. Look it up before all else."""


class JobMissing(WorksetError):
    """A job that is waited for is not on its cluster: it is looked up, and submitted if need be."""

    category = ErrorCategory.TRANSIENT


class WorkPaths(Frozen):
    """Where a workset's things lie on a cluster."""

    work_dir: str
    inputs: str
    results: str
    manifest: str


class Cluster(Block, ABC):
    """A place that runs worksets' jobs. All methods block; callers use threads."""

    _block_schema_capabilities = ["run-workset-jobs"]

    cluster_name: str = Field(description="Name by which worksets and limits call this cluster")
    max_concurrent_worksets: int = Field(
        1, ge=0, description="Worksets it may hold at once; 0: it takes no new ones"
    )
    vcpus_per_workset: int = Field(1, ge=1, description="Virtual CPUs that one workset may use")
    memory_gb_per_workset: float = Field(4.0, gt=0, description="Memory of one workset, GB")
    reference_genomes: list[str] = Field(
        default_factory=list, description="Reference genomes present; empty: all"
    )
    region: str = Field("", description="AWS region in which the cluster is; empty: unknown")
    price_per_vcpu_hour: float = Field(0.0, ge=0, description="US dollars a vCPU-hour; 0: free")
    drained: bool = Field(False, description="True: keeps what runs and takes nothing new")
    poll_min_s: float = Field(0.5, gt=0, description="Shortest time between two observations, s")
    poll_max_s: float = Field(30, gt=0, description="Longest time between two observations, s")

    def view(self) -> ClusterView:
        """What placement has to know of it."""
        return ClusterView(
            name=self.cluster_name,
            max_concurrent_worksets=self.max_concurrent_worksets,
            vcpus_per_workset=self.vcpus_per_workset,
            memory_gb_per_workset=self.memory_gb_per_workset,
            reference_genomes=frozenset(self.reference_genomes),
            region=self.region,
            price_per_vcpu_hour=self.price_per_vcpu_hour,
            unavailable="drained" if self.drained else "",
        )

    @abstractmethod
    def paths(self, workset_id: str, attempt: int) -> WorkPaths:
        """Where an attempt's files are on this cluster."""

    @abstractmethod
    def programs(self) -> dict[str, str]:
        """Values of the placeholders `python` and `programs` on this cluster."""

    @abstractmethod
    def submit(self, spec: JobSpec) -> None:
        """Start the job, or find that one of its name was started already.

        Raises:
            ClusterUnreachable: certainly not started.
            SubmitUncertain: it may run.
            ConfigurationError, ResourceError: refused, and certainly not started.
        """

    @abstractmethod
    def observe(self, names: Collection[str]) -> dict[str, JobStatus]:
        """The state of all these jobs, in one query.

        Raises:
            ClusterUnreachable: their state is unknown, which is no state at all.
        """

    @abstractmethod
    def cancel(self, name: str) -> None:
        """Stop the job and see to it that a job of this name never starts any more."""

    @abstractmethod
    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        """The last characters of a step's log; empty if there is none."""


class ClusterWatch:
    """One watch of one cluster, shared by every workset that this process has on it."""

    def __init__(self, cluster: Cluster, call: Call) -> None:
        self.cluster = cluster
        self.call = call
        self._trouble = ""
        self._avoid_until = 0.0
        self._waiting: dict[str, tuple[float, asyncio.Future[JobStatus]]] = {}
        self._absent_since: dict[str, float] = {}
        self._loop: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._log: logging.Logger = get_logger("clusters")

    async def wait(self, name: str) -> JobStatus:
        """The status of the job once it is over; an unreachable cluster only makes it later.

        Raises:
            JobMissing: the cluster has said for a minute that there is no such job.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[JobStatus] = loop.create_future()
        self._waiting[name] = (loop.time(), future)
        self._nudge.set()
        if self._loop is None or self._loop.done():
            self._loop = loop.create_task(self._watch(), name=f"watch {self.cluster.cluster_name}")
        try:
            return await future
        finally:
            self._waiting.pop(name, None)

    @property
    def unreachable(self) -> str:
        """Why nothing should be placed on the cluster just now; empty if it answered last time."""
        return self._trouble if asyncio.get_running_loop().time() < self._avoid_until else ""

    def failed(self, error: Exception, avoid_s: float = 30.0) -> None:
        """The cluster did not answer: place nothing on it for a while."""
        self._trouble = f"{self.cluster.cluster_name} does not answer: {error}"
        self._avoid_until = asyncio.get_running_loop().time() + avoid_s

    def close(self) -> None:
        if self._loop is not None:
            self._loop.cancel()

    async def _watch(self) -> None:
        failures = 0
        while self._waiting:
            self._nudge.clear()
            try:
                seen: dict[str, JobStatus] = await self.call(
                    self.cluster.observe, list(self._waiting)
                )
                failures, self._avoid_until = 0, 0.0
            except Exception as error:  # whatever went wrong in asking: the jobs are unknown
                seen, failures = {}, failures + 1
                self.failed(error, avoid_s=poll_interval_s(0, 0, 0, failures) + 30)
                level = logging.DEBUG if isinstance(error, ClusterUnreachable) else logging.ERROR
                self._log.warning("%s; its jobs are unknown, asked again", self._trouble)
                self._log.log(level, "observe failed", exc_info=error)
            for name, status in seen.items():
                waiting = self._waiting.get(name)
                if waiting is not None and not waiting[1].done():
                    self._tell(waiting[1], status)
            await self._pause(failures)

    def _tell(self, future: asyncio.Future[JobStatus], status: JobStatus) -> None:
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

    async def _pause(self, failures: int) -> None:
        """Sleep until the next observation; a job that is new meanwhile makes it come sooner."""
        now = asyncio.get_running_loop().time()
        ages = [now - since for since, future in self._waiting.values() if not future.done()]
        shortest = self.cluster.poll_min_s
        pause = poll_interval_s(shortest, self.cluster.poll_max_s, min(ages, default=0), failures)
        # never sooner than the shortest, and a cluster in trouble is not asked more for new jobs
        await asyncio.sleep(pause if failures else shortest)
        if not failures and pause > shortest and not self._nudge.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), pause - shortest)


def poll_interval_s(shortest: float, longest: float, youngest_s: float, failures: int) -> float:
    """Seconds until the next observation, from the age of the youngest job.

    After failed queries: doubling from 1 s up to 160 s, as AiiDA's transports do.
    """
    if failures:
        return float(min(2 ** min(failures, 8), 160))
    return min(max(shortest, youngest_s * POLL_FRACTION), longest)


class ClusterJobRun(JobRun[JobStatus]):
    """A job that exists on a cluster (Prefect's JobRun contract)."""

    def __init__(self, watch: ClusterWatch, name: str) -> None:
        self.watch = watch
        self.name = name
        self._status = JobStatus(name, Phase.UNKNOWN)

    async def wait_for_completion(self) -> None:  # type: ignore[override]  # Prefect's stub says Logger
        """Return when the job is over, well or badly."""
        self._status = await self.watch.wait(self.name)

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
