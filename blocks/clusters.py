"""What every cluster can do.

A cluster is asked about jobs by name; a name is a function of workset and attempt, so any process
can ask. `submit` attaches to a job of that name if there is one: a job is started once, however
often it is submitted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from prefect.blocks.core import Block
from pydantic import Field

from worksets.errors import TransientError
from worksets.events import Exhausted
from worksets.jobs import JobSpec, JobStatus
from worksets.placement import ClusterView
from worksets.record import Frozen, Step


class SubmitUncertain(TransientError):
    """The submission was sent and its answer lost; the job may run. Look it up before all else."""


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
        """Stop the job and see to it that a job of this name never starts any more.

        Raises:
            ClusterUnreachable: it may run on; nothing is lost by calling again.
        """

    @abstractmethod
    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        """The last characters of a step's log; empty if there is none."""

    def capacity(self) -> int | None:
        """Worksets that it could hold now, by the state of its nodes; None: it sets no such bound.

        Raises:
            ClusterUnreachable: it did not say.
        """
        return None

    def given(self, exhausted: Exhausted, times: int) -> str:
        """What a job is given of `memory` or `time` after `times` attempts have run out of it.

        In words, with a unit; empty where the cluster sets no bound.
        """
        return ""

    def close(self) -> None:
        """Give up connections that are kept open."""
        return
