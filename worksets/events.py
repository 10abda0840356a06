"""Everything that can happen to a workset; `worksets.lifecycle` says what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from worksets.errors import ErrorCategory
from worksets.record import AffinityReason, Exported, Priority, StepRun
from worksets.registration import Description

Exhausted = Literal["", "memory", "time", "disk"]


@dataclass(frozen=True)
class Lock:
    """A process takes a ready workset and places it on a cluster."""

    owner: str
    cluster_name: str
    reason: str


@dataclass(frozen=True)
class TakeOver:
    """A process takes a held workset from an owner whose lease has run out (or from itself)."""

    owner: str
    previous_owner: str


@dataclass(frozen=True)
class Begin:
    """The intent: after this write, and only after it, the attempt's job may be submitted.

    `step_runs`: what markers of an earlier attempt tell that the record did not know yet.
    """

    fence: int
    step_runs: tuple[StepRun, ...] = ()


@dataclass(frozen=True)
class Complete:
    """Every step's exit marker says 0, and what was exported has arrived."""

    fence: int
    step_runs: tuple[StepRun, ...]
    exported: Exported | None = None


@dataclass(frozen=True)
class Fail:
    """An attempt failed, or validation refused the workset.

    `category` None: no table knows the error; it counts as transient once, then as permanent.
    `fence`: the one the record had when the failure was seen. None: an operator's word
    (`record_failure`), whoever holds the workset.
    `job_ended`: evidence shows that no job of this attempt runs any more.
    `exhausted`: what ran out: the next attempt asks for more of it, or the disks are cleaned.
    `clusters_fault`: the cluster failed the job (a lost node), not the job itself.
    """

    category: ErrorCategory | None
    details: str
    failed_step: str = ""
    fence: int | None = None
    step_runs: tuple[StepRun, ...] = ()
    job_ended: bool = False
    retry_enabled: bool = True
    exhausted: Exhausted = ""
    clusters_fault: bool = False


@dataclass(frozen=True)
class Postpone:
    """The holder gives the workset back unharmed: its cluster did not take the job.

    `tell`: what people must know of it, where that goes on for long.
    """

    fence: int
    reason: str
    delay_s: float = 30.0
    job_ended: bool = True
    tell: str = ""


@dataclass(frozen=True)
class Requeue:
    """A retry is due."""


@dataclass(frozen=True)
class Hasten:
    """An operator's word: what waits for its next try is tried now."""

    reason: str


@dataclass(frozen=True)
class ReleaseStale:
    """The lock's owner is gone and had not begun: the workset is ready again."""

    previous_owner: str


@dataclass(frozen=True)
class ForceRelease:
    """An operator takes the lock away; a job that still runs is met by the next attempt."""

    reason: str


@dataclass(frozen=True)
class Cancel:
    """An operator's word. Where a job may run it is a request: the end comes with the job's end."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """Evidence: after a request to cancel, no job of the workset runs any more."""

    fence: int
    step_runs: tuple[StepRun, ...] = ()


@dataclass(frozen=True)
class Ignore:
    reason: str


@dataclass(frozen=True)
class Restore:
    """An operator brings a failed, cancelled or ignored workset back, with all its retries.

    `from_start`: finished steps are run again. None: only where the data were at fault, for what
    was staged of them is of no use once they are delivered again.
    """

    reason: str
    from_start: bool | None = None


@dataclass(frozen=True)
class SetAffinity:
    cluster_name: str
    reason: AffinityReason
    required: bool = field(default=False)


@dataclass(frozen=True)
class SetPriority:
    """An operator's word on how urgent it is; from then on it stands before its file's."""

    priority: Priority
    reason: str


@dataclass(frozen=True)
class Describe:
    """The workset's file says something new about how it is to be processed.

    Where attempts have begun and it is other work by now (other samples, another reference, files
    that were delivered again), a new lineage begins.
    """

    description: Description


@dataclass(frozen=True)
class AwaitDelivery:
    """Files are missing or still being written: what, and how its files look now."""

    reason: str
    looked: str


@dataclass(frozen=True)
class Redelivered:
    """The folder of a workset that has ended holds something new: to be told, and no more."""

    change: str
    note: str


@dataclass(frozen=True)
class RegisterAgain:
    """An operator takes what lies in the folder now for a new workset of the same name."""

    uid: str
    reason: str


@dataclass(frozen=True)
class Lost:
    """An operator's word that the cluster of a workset, or its job there, is gone for good.

    It counts as evidence of the job's end; what the workset had there is not used any more.
    """

    reason: str


@dataclass(frozen=True)
class Wait:
    """It was to start and could not: the reason, for people to see.

    `stuck`: it never can, with the clusters and settings of now; people must know.
    """

    reason: str
    stuck: bool = False


@dataclass(frozen=True)
class Owe:
    """People must know something of a job that is waited for."""

    job_name: str
    kind: str
    message: str


@dataclass(frozen=True)
class Unsettled:
    """Nobody can say how a job stands; people must know if that lasts for `longest_s` seconds."""

    fence: int
    reason: str
    longest_s: float


@dataclass(frozen=True)
class Archive:
    """Its whole record, as it was at a version, lies beside its results now."""

    version: int
    where: str


@dataclass(frozen=True)
class Told:
    """Channels took what was owed since a time; `done`: that is all of them."""

    since: datetime
    channels: tuple[str, ...]
    done: bool


Event = (
    Lock
    | TakeOver
    | Begin
    | Complete
    | Fail
    | Postpone
    | Requeue
    | Hasten
    | ReleaseStale
    | ForceRelease
    | Cancel
    | Stopped
    | Ignore
    | Restore
    | SetAffinity
    | SetPriority
    | Describe
    | AwaitDelivery
    | Redelivered
    | RegisterAgain
    | Lost
    | Wait
    | Owe
    | Unsettled
    | Told
    | Archive
)
