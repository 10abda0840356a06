"""The record of a workset: all that the state DB knows of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from worksets.errors import ErrorCategory

MAX_HISTORY: Final = 60
"""Entries of history kept; the first ten stay, the middle is dropped."""
MAX_STEP_RUNS: Final = 60
MAX_RETRIES: Final = 10


class State(StrEnum):
    """Where a workset stands; docs/life-cycle.md has the picture."""

    READY = "ready"
    LOCKED = "locked"
    IN_PROGRESS = "in_progress"
    RETRYING = "retrying"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    IGNORED = "ignored"


HELD: Final = frozenset({State.LOCKED, State.IN_PROGRESS})
"""States in which a workset belongs to a process and counts against the limits."""
UNFINISHED: Final = HELD | {State.READY, State.RETRYING}
FINAL: Final = frozenset(State) - UNFINISHED
OPEN: Final = (*sorted(UNFINISHED), State.FAILED)
"""States that every state DB can list, however many worksets have ended."""


class Priority(StrEnum):
    URGENT = "urgent"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return _RANKS[self._value_]  # an enum's own hash is Python's, and this is asked for often


_RANKS: Final = {priority.value: rank for rank, priority in enumerate(Priority)}


class AffinityReason(StrEnum):
    """Why a cluster is preferred (Daylily, "Cluster Affinity Routing")."""

    DATA_LOCALITY = "data_locality"
    COST = "cost"
    RESOURCES = "resources"
    MANUAL = "manual"


class Step(StrEnum):
    """The steps of a workset's job, in their order."""

    STAGE = "stage"
    RUN = "run"
    EXPORT = "export"


STEPS: Final = tuple(Step)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return value.astimezone(UTC)


Utc = Annotated[datetime, AfterValidator(_utc)]


class Frozen(BaseModel):
    """A value: never changed in place, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """A value in the state DB. Keys that only a newer release knows are kept and written back."""

    model_config = ConfigDict(frozen=True, extra="allow")


class HistoryEntry(Stored):
    at: Utc
    event: str
    note: str = ""


class Took(Stored):
    """What the processes of a step took, those of which the end was waited for (getrusage(2))."""

    cpu_s: float = Field(ge=0, description="processor time, user and system, s")
    peak_gb: float | None = Field(
        None, ge=0, description="largest resident set of any one of them, GB; None: not measured"
    )


class StepRun(Stored):
    """One execution of one step, as its markers on the cluster tell it."""

    step: Step
    attempt: int
    cluster_name: str
    exit_code: int
    started_at: Utc
    ended_at: Utc
    took: Took | None = Field(None, description="None: its markers do not say")


class Estimates(Stored):
    """What a workset's job needs: at once, and over its time. GB are 10^9 bytes."""

    vcpus: int = Field(0, ge=0, description="virtual CPUs at once; 0: as its cluster gives them")
    memory_gb: float = Field(0.0, ge=0, description="memory at once, GB; 0: the same")
    minutes: int = Field(0, ge=0, description="time limit of its job; 0: the same")
    gpus: int = Field(0, ge=0, description="GPUs at once")
    scratch_gb: float = Field(0.0, ge=0, description="disk of its node, for itself, GB; 0: any")
    vcpu_hours: float = Field(0.0, ge=0, description="of its run step; 0: not known")
    storage_gb: float = Field(0.0, ge=0, description="inputs, scratch and results together, GB")
    correction: float = Field(
        1.0, gt=0, description="in vcpu_hours: how much longer finished worksets took than expected"
    )
    learned_from: int = Field(0, ge=0, description="finished worksets that say so")
    more_memory: int = Field(
        0, ge=0, description="times that a retry's growth of memory is there from the first attempt"
    )
    more_time: int = Field(0, ge=0, description="the same of the time limit")
    more_from: int = Field(0, ge=0, description="finished worksets that say that")

    def duration_hours(self, otherwise: int) -> float:
        """How long its run step takes on the vCPUs that it asks for; `otherwise`: where it asks for
        none."""
        return self.vcpu_hours / (self.vcpus or otherwise)


class Delivery(Stored):
    """What was seen in a workset's folder; a text that differs means that the content does.

    Empty: not looked at.
    """

    spec: str = Field("", description="of `daylily_work.yaml`, the file")
    asks: str = Field("", description="of all in it that its results depend on")
    files: str = Field("", description="of its FASTQ files: name, size, time or ETag of each")


class Exported(Stored):
    """What the exporter's receipt says of the results that it brought to their place."""

    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    manifest_sha256: str = Field("", description="of `worksets-manifest.json` beside the results")


class Owed(Stored):
    """What people must be told of a workset, at least once: it stands here until they were."""

    kind: str = Field(description="a `worksets.announcements.Kind`")
    message: str
    since: Utc
    told: tuple[str, ...] = Field((), description="the channels that took it so far")


class WorksetRecord(Stored):
    """One workset in the state DB. `worksets.lifecycle` alone makes new ones from old ones."""

    workset_id: str
    uid: str = Field(
        "", description="INSTALLATION-SERIAL, made at registration; empty: of an older release"
    )
    lineage: int = Field(
        0, ge=0, description="grows whenever work begins from the start; 0: of an older release"
    )
    lineage_after: int = Field(
        0, ge=0, description="attempts up to this one belong to earlier lineages"
    )
    customer_id: str = Field("", description="empty while no readable YAML names a customer")
    priority: Priority = Priority.NORMAL
    priority_by_hand: bool = Field(False, description="an operator's: its file changes it no more")
    due: Utc | None = Field(None, description="when its result is wanted; None: not said")
    pipeline: str = ""
    reference_genome: str = ""
    location: str = Field(description="URI of the folder: file:///… or s3://bucket/prefix")

    state: State = State.READY
    attempt: int = Field(0, ge=0, description="attempts begun so far; 0 before the first")
    retry_count: int = Field(0, ge=0, description="retries that failures were granted so far")
    max_retries: int = Field(3, ge=0, le=MAX_RETRIES)
    retry_after: Utc | None = None

    failed_step: str = ""
    completed_steps: tuple[Step, ...] = ()
    step_runs: tuple[StepRun, ...] = ()
    error_category: ErrorCategory | None = None
    error_details: str = ""
    error_known: bool = Field(True, description="False while the class of the error is a guess")

    preferred_cluster: str = ""
    affinity_reason: AffinityReason | None = None
    cluster_required: bool = False

    cluster_name: str = Field("", description="where its last attempt was placed")
    placement_reason: str = ""
    job_name: str = Field("", description="the last attempt's job on that cluster")
    job_ended: bool = Field(True, description="False unless evidence shows that job at its end")

    out_of_memory: int = Field(0, ge=0, description="attempts that ran out of memory")
    out_of_time: int = Field(0, ge=0, description="attempts that reached their time limit")
    clusters_fault: bool = Field(False, description="its last attempt was failed by its cluster")
    cancel_requested: str = Field("", description="why it is to be cancelled, until its job ended")

    lock_owner: str = ""
    fence: int = Field(0, ge=0, description="grows by one whenever the lock changes hands")
    version: int = Field(0, ge=0, description="grows by one at every write; the store compares it")

    delivery: Delivery = Field(Delivery(), description="as it was when it was last found whole")
    looked: str = Field("", description="how its FASTQ files looked last, whole or not")
    looked_since: Utc | None = Field(None, description="since when they have looked so")
    awaits: str = Field("", description="what of its delivery is still waited for")
    redelivered: str = Field("", description="the change of its folder after its end that was told")
    exported: Exported | None = None
    archived: str = Field(
        "", description="where its whole record lies; here is only what keeps it from a second run"
    )

    owed: Owed | None = Field(None, description="what people are still to be told")
    unsettled_since: Utc | None = Field(None, description="since when nobody knows of its job")
    unsettled_seen: Utc | None = Field(None, description="when that was last so")

    estimates: Estimates = Estimates()
    input_bytes: int = Field(0, ge=0, description="of its FASTQ files, as validation saw them")
    created_at: Utc
    updated_at: Utc
    history: tuple[HistoryEntry, ...] = ()

    @property
    def home(self) -> str:
        """The name of all that this workset has on a cluster; no other workset shares it."""
        return home_of(self.workset_id, self.uid)

    @property
    def scopes(self) -> frozenset[str]:
        """The limits that this workset counts against now; empty unless a process holds it."""
        if self.state not in HELD:
            return frozenset()
        return scopes_of(self.cluster_name, self.customer_id)

    @property
    def pinned_cluster(self) -> str:
        """The cluster it may not leave: finished steps or a job that may still run are there.

        Where the cluster failed it, staged files alone do not hold it: they are staged again.
        """
        free = not self.completed_steps or (self.clusters_fault and self.only_staged)
        return "" if free and self.job_ended else self.cluster_name

    @property
    def only_staged(self) -> bool:
        return self.completed_steps == (Step.STAGE,)

    @property
    def current_attempt(self) -> int:
        """The attempt that runs now, or the one that would come next."""
        return self.attempt if self.state is State.IN_PROGRESS else self.attempt + 1


def home_of(workset_id: str, uid: str) -> str:
    """`WORKSET.INSTALLATION-SERIAL`; of a record of an older release, which has no uid, the id."""
    return f"{workset_id}.{uid}" if uid else workset_id


def scopes_of(cluster_name: str, customer_id: str) -> frozenset[str]:
    """What a workset of this customer on this cluster counts against while it is held."""
    return frozenset({"global", f"cluster:{cluster_name}", f"customer:{customer_id}"})
