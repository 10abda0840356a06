"""What every cluster can do.

A cluster is asked about jobs by name; a name is a function of workset and attempt, so any process
can ask. `submit` attaches to a job of that name if there is one: a job is started once, however
often it is submitted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from blocks.strict import StrictBlock
from worksets.capacity import Room
from worksets.config import MAX_MEMORY_GB, MAX_VCPUS, MAX_WORKSETS, Name
from worksets.costs import MAX_USD
from worksets.errors import TransientError
from worksets.events import Exhausted
from worksets.jobs import JobSpec, JobStatus, WorkPaths, job_dir, work_paths
from worksets.keeping import Archived, Freed, Lineage, Removable
from worksets.placement import ClusterView
from worksets.record import Estimates, Step
from worksets.requests import Growth, JobRequest, request
from worksets.used import Used

PLAIN_VARIABLES: Final = frozenset(
    {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
)
"""Variables of a process's environment that any job may see: they name no secret."""
VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

SHORTEST_POLL_S: Final = 0.1
"""Seconds; one look at a Slurm cluster takes 0.01 to 0.3 s."""
LONGEST_POLL_S: Final = 3600.0


class SubmitUncertain(TransientError):
    """The submission was sent and its answer lost; the job may run. Look it up before all else."""


class Cluster(StrictBlock, ABC):
    """A place that runs worksets' jobs. All methods block; callers use threads."""

    _block_schema_capabilities = ["run-workset-jobs"]

    cluster_name: Name = Field(description="Name by which worksets and limits call this cluster")
    max_concurrent_worksets: int = Field(
        1, ge=0, le=MAX_WORKSETS, description="Worksets it may hold at once; 0: takes no new ones"
    )
    vcpus_per_workset: int = Field(
        1, ge=1, le=MAX_VCPUS, description="Virtual CPUs of a workset whose pipeline says nothing"
    )
    memory_gb_per_workset: float = Field(
        4.0,
        gt=0,
        le=MAX_MEMORY_GB,
        description="Memory of a workset whose pipeline says nothing, GB",
    )
    total_vcpus: int | None = Field(
        None, ge=1, le=MAX_VCPUS, description="vCPUs that its worksets may ask for together"
    )
    total_memory_gb: float | None = Field(
        None, gt=0, le=MAX_MEMORY_GB, description="Memory that they may ask for together, GB"
    )
    total_gpus: int | None = Field(
        None, ge=0, le=1000, description="GPUs that they may ask for together"
    )
    reference_genomes: list[str] = Field(
        default_factory=list, description="Reference genomes present; empty: all"
    )
    grace_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds from the signal to stop (SIGTERM) to the kill: for a workflow engine "
        "to cancel its own jobs",
    )
    region: str = Field("", description="AWS region in which the cluster is; empty: unknown")
    price_per_vcpu_hour: float = Field(
        0.0, ge=0, le=MAX_USD, description="US dollars a vCPU-hour; 0: free"
    )
    environment: dict[Annotated[str, Field(pattern=VARIABLE)], str] = Field(
        default_factory=dict, description="Variables of every job's environment"
    )
    pass_environment: list[Annotated[str, Field(pattern=VARIABLE)]] = Field(
        default_factory=list,
        description="Names of further variables that a job takes over from where it is submitted",
    )
    umask: str = Field(
        "027",
        pattern="^0?[0-7]{3}$",
        description="Of jobs, in octal digits and in quotes: which permissions their files lack",
    )
    drained: bool = Field(False, description="True: keeps what runs and takes nothing new")
    poll_min_s: float = Field(
        0.5,
        ge=SHORTEST_POLL_S,
        le=LONGEST_POLL_S,
        description="Shortest time between two observations, s; sooner would only load the cluster",
    )
    poll_max_s: float = Field(
        30,
        ge=SHORTEST_POLL_S,
        le=LONGEST_POLL_S,
        validate_default=True,
        description="Longest time between two observations, s; later, an end would be seen late",
    )

    @model_validator(mode="after")
    def _holds_one(self) -> Self:
        for total, each in (
            ("total_vcpus", "vcpus_per_workset"), ("total_memory_gb", "memory_gb_per_workset"),
        ):  # fmt: skip
            most, one = getattr(self, total), getattr(self, each)
            if most is not None and most < one:
                raise ValueError(
                    f"{total} is {most:g} and {each} {one:g}: no workset would fit; raise the one, "
                    f"or lower the other"
                )
        return self

    @field_validator("poll_max_s")
    @classmethod
    def _not_below_the_shortest(cls, value: float, info: ValidationInfo) -> float:
        shortest = info.data.get("poll_min_s", value)
        if value < shortest:
            raise ValueError(
                f"poll_max_s is {value:g} and poll_min_s {shortest:g}; write one that is not less"
            )
        return value

    _installation: str = PrivateAttr(default="")

    def of(self, installation: str) -> Self:
        """The same, of an installation: other installations' jobs there are none of ours."""
        self._installation = installation
        return self

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
            room=self._total(),
            unavailable="drained" if self.drained else "",
        )

    def _total(self) -> Room:
        """What the settings let its worksets have together."""
        said = {
            "vcpus": self.total_vcpus, "memory_gb": self.total_memory_gb, "gpus": self.total_gpus
        }  # fmt: skip
        return Room(**{key: amount for key, amount in said.items() if amount is not None})

    @abstractmethod
    def root(self) -> str:
        """The work folder as an absolute path on this cluster."""

    def paths(self, home: str, lineage: int, attempt: int) -> WorkPaths:
        """Where an attempt's files are on this cluster; `home` and `lineage` are the record's."""
        return work_paths(self.root(), home, lineage, attempt)

    def job_dir(self, name: str) -> str:
        """The folder of a job's markers and logs."""
        return job_dir(self.root(), name)

    @property
    def kept_variables(self) -> frozenset[str]:
        """Variables that a job takes over from where it is submitted; nothing else of there."""
        return PLAIN_VARIABLES | set(self.pass_environment)

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
    def cancel(self, name: str, *, for_good: bool = True) -> None:
        """Stop the job and see to it that a job of this name never starts any more.

        `for_good`: no attempt follows, so nobody needs to know which of its steps ended well.

        Raises:
            ClusterUnreachable: it may run on; nothing is lost by calling again.
        """

    @abstractmethod
    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        """The last characters of a step's log; empty if there is none."""

    @property
    def heard(self) -> bool:
        """Whether it has told `capacity` what must be known before anything is placed on it."""
        return True

    def capacity(self, needs: Sequence[Estimates] = ()) -> int | None:
        """Worksets that it could hold now, by the state of its nodes; None: it sets no such bound.

        Of worksets of such `needs` those that take least: what is too large for now waits there.

        Raises:
            ClusterUnreachable: it did not say.
        """
        return None

    def remarks(self) -> list[str]:
        """What of its settings is not right though worksets run there, after `capacity`.

        Raises:
            ClusterUnreachable: it did not say.
        """
        return []

    def used(self, since: datetime, until: datetime) -> dict[str, Used] | None:
        """What its own accounting says that attempts took whose jobs ended between two times.

        By the name of the attempt's job, with the jobs that its steps handed in. None: it has no
        accounting; the markers say what they say.

        Raises:
            ClusterUnreachable: it did not say.
        """
        return None

    @abstractmethod
    def lineages(self) -> list[Lineage]:
        """Whatever lies in its work folder, whosesoever it is.

        Raises:
            ClusterUnreachable: it did not say.
        """

    @abstractmethod
    def free(self, parts: Sequence[Removable], remove: bool) -> list[Freed]:
        """Measure these, and with `remove` delete them; may take minutes, and be repeated.

        Raises:
            ClusterUnreachable: how far it came is not known.
        """

    @abstractmethod
    def archive(self, job: str, uid: str, record: str) -> Archived:
        """Put the record of a workset, as JSON, beside its results; `job`: its last one's name.

        Raises:
            ClusterUnreachable: whether it lies there is not known; it may be repeated.
        """

    def request(self, needs: Estimates, out_of_memory: int = 0, out_of_time: int = 0) -> JobRequest:
        """What a job is given for a workset of such needs, after attempts that ran out of memory
        or time."""
        return request(
            needs, self._otherwise(), self.view().offers, self._growth(), out_of_memory, out_of_time
        )

    def _otherwise(self) -> JobRequest:
        """What a workset is given whose pipeline says nothing."""
        return JobRequest(vcpus=self.vcpus_per_workset, memory_gb=self.memory_gb_per_workset)

    def _growth(self) -> Growth:
        return Growth()

    def given(self, exhausted: Exhausted, asked: JobRequest) -> str:
        """The `memory` or `time` of a request in words, with a unit; empty where the cluster holds
        no job to it."""
        return ""

    def close(self) -> None:
        """Give up connections that are kept open."""
        return
