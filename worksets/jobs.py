"""A workset's job on a cluster: its name, its commands, and what its markers mean.

A job runs the steps stage -> run -> export that are not done yet, one after the other, and stops at
the first that fails. Every step leaves a start and an exit marker in the job's folder; they, not
anybody's memory, say what happened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from worksets.errors import ConfigurationError, ErrorCategory
from worksets.events import Exhausted
from worksets.record import STEPS, Exported, Frozen, Step, StepRun, Took, home_of
from worksets.requests import JobRequest

PLACEHOLDERS: Final = frozenset(
    {
        "python",
        "programs",
        "workset_id",
        "customer_id",
        "attempt",
        "reference_genome",
        "work_dir",
        "manifest",
        "inputs",
        "results",
        "receipt",
        "source",
        "export_to",
        "vcpus",
        "memory_mb",
        "gpus",
    }
)
DY_R: Final = "{dy_r}"
"""The argument of a command that the words of a work file's dy-r take the place of."""
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


def job_name(home: str, attempt: int) -> str:
    """The name of an attempt's job; a function of both, so that any process can look it up.

    `home` is the record's: two worksets of one name, in two installations or one after the other,
    never share a job's name.
    """
    return f"{home}.a{attempt}"


def workset_of(name: str) -> str:
    """The id of the workset of which a job of this name is an attempt."""
    return workset_of_home(name.rpartition(".")[0])


def workset_of_home(home: str) -> str:
    """The id of the workset whose home this is; see `worksets.record.home_of`."""
    return home.rpartition(".")[0] or home


def is_of(name: str, installation: str) -> bool:
    """Whether a job of this name is an attempt of this installation's."""
    return bool(re.fullmatch(rf".+\.{re.escape(installation)}-[a-z0-9]+\.a[0-9]+", name))


class WorkPaths(Frozen):
    """Where an attempt's things lie on a cluster."""

    work_dir: str = Field(description="of its lineage: where its commands run; empty at first")
    inputs: str
    results: str
    job_dir: str = Field(description="of this attempt: its markers, logs and manifest")
    manifest: str
    receipt: str = Field(description="left by the exporter when all has arrived")


def work_paths(root: str, home: str, lineage: int, attempt: int) -> WorkPaths:
    """The layout below a cluster's work folder `root`: `HOME/jobs/aN` and `HOME/LN/…`."""
    # releases before there were lineages had the work beside the jobs
    work = f"{root}/{home}/L{lineage}" if lineage else f"{root}/{home}"
    job = f"{root}/{home}/jobs/a{attempt}"
    return WorkPaths(
        work_dir=work,
        inputs=f"{work}/inputs",
        results=f"{work}/results",
        job_dir=job,
        manifest=f"{job}/manifest.json",
        receipt=f"{job}/export.receipt",
    )


def job_dir(root: str, name: str) -> str:
    """The folder of a job, from its name alone."""
    home, _, attempt = name.rpartition(".")
    return f"{root}/{home}/jobs/{attempt}"


SampleFiles = dict[str, str | float | list[str] | list[dict[str, str]] | None]
"""`sample_id`, `fastq_r1`, `fastq_r2` (or `bam` or `cram`, and `index`), `coverage` and `sheet` of
one sample."""


class StepCommand(Frozen):
    """One step's command: an argument list, never a shell line."""

    step: Step
    argv: tuple[str, ...] = Field(min_length=1)
    empties: str = Field("", description="folder that is emptied before it begins; empty: none")
    receipt: str = Field("", description="file that it must leave, or it has failed; empty: none")


class Input(Frozen):
    """One file that is staged."""

    name: str = Field(description="its path below the inputs folder, and below the source")
    uri: str = Field("", description="where it lies, if not below the source")
    root: str = Field("", description="of a `uri`: the customer's place that it lies in")
    md5: str = ""
    sha256: str = ""


class Manifest(Frozen):
    """What a step's program may want to know of its workset; written beside the job as JSON."""

    workset_id: str
    customer_id: str
    uid: str = ""
    lineage: int = 0
    reference_genome: str
    pipeline: str
    attempt: int
    source: str = Field(description="local path or s3:// URI of the workset's folder")
    source_root: str = Field("", description="of the watched place, directly above the source")
    inputs: tuple[Input, ...] = ()
    quiet_s: float = Field(0.0, description="seconds for which a staged file must not change")
    export_to: str = Field(description="where the results go")
    export_root: str = Field("", description="the operator's place that `export_to` lies in")
    samples: tuple[SampleFiles, ...]
    daylily: dict[str, str] = Field(
        default_factory=dict, description="keys of Daylily's own files, such as dy-r, as text"
    )


class JobSpec(Frozen):
    """All that a cluster needs to run one attempt of one workset."""

    workset_id: str
    uid: str = ""
    lineage: int = 0
    attempt: int = Field(ge=1)
    steps: tuple[StepCommand, ...] = Field(min_length=1)
    manifest: Manifest
    request: JobRequest | None = Field(None, description="None: what its cluster gives a workset")

    @property
    def name(self) -> str:
        return job_name(self.home, self.attempt)

    @property
    def home(self) -> str:
        return home_of(self.workset_id, self.uid)


def render(
    argv: Sequence[str], values: Mapping[str, str], dy_r: Sequence[str] = ()
) -> tuple[str, ...]:
    """Put `values` into the `{placeholders}` of a command; each stays inside its one argument.

    The argument `{dy_r}` becomes the words of `dy_r`, an argument each, as they are.

    Raises:
        ConfigurationError: a placeholder that does not exist, or {dy_r} within an argument.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if match.group() == DY_R:
            raise ConfigurationError(
                f"the command {list(argv)!r} uses {DY_R} within an argument; write it as one"
            )
        if name not in values:
            raise ConfigurationError(
                f"the command {list(argv)!r} uses {{{name}}}; there are only "
                f"{', '.join(sorted(PLACEHOLDERS))}"
            )
        return values[name]

    found: list[str] = []
    for argument in argv:
        found += dy_r if argument == DY_R else [_PLACEHOLDER.sub(value, argument)]
    return tuple(found)


def steps_to_run(completed: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that a new attempt still has to run, in order."""
    return tuple(step for step in STEPS if step not in completed)


class Phase(StrEnum):
    """What a cluster says of a job. UNKNOWN (it could not be asked) is never an end."""

    UNKNOWN = "unknown"
    ABSENT = "absent"
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    VANISHED = "vanished"


@dataclass(frozen=True)
class StepMarkers:
    """The markers that one step has left so far; times are UTC."""

    step: Step
    started_at: datetime
    ended_at: datetime | None = None
    exit_code: int | None = None
    exported: Exported | None = None
    """Of an export that left a receipt."""
    took: Took | None = None


@dataclass(frozen=True)
class JobStatus:
    """One job as its cluster sees it now.

    VANISHED: it had started, nothing of it is left alive, and there is no marker of its end.
    """

    name: str
    phase: Phase
    steps: tuple[StepMarkers, ...] = ()
    note: str = ""
    category: ErrorCategory | None = None
    """Of a job that did not end well, where the cluster itself says why (in `note`)."""
    exhausted: Exhausted = ""
    stuck: str = ""
    """What to do, where the job waits for a reason that does not pass by itself."""
    never_taken: bool = False
    """Whether it was sealed before a job began: none ran, none will, and nobody is charged."""

    @property
    def over(self) -> bool:
        return self.phase in (Phase.ENDED, Phase.VANISHED)

    @property
    def clusters_fault(self) -> bool:
        """Whether the cluster failed it (a lost node, a forgotten job), not the job itself."""
        told = self.category is ErrorCategory.TRANSIENT
        return (
            told
            if self.phase is Phase.ENDED
            else self.phase is Phase.VANISHED and (not self.exhausted)
        )

    def step_runs(self, attempt: int, cluster_name: str) -> tuple[StepRun, ...]:
        """The steps that have both markers."""
        return tuple(
            StepRun(
                step=marker.step,
                attempt=attempt,
                cluster_name=cluster_name,
                exit_code=marker.exit_code,
                started_at=marker.started_at,
                ended_at=marker.ended_at,
                took=marker.took,
            )
            for marker in self.steps
            if marker.exit_code is not None and marker.ended_at is not None
        )

    @property
    def exported(self) -> Exported | None:
        """What the exporter's receipt says, if it left one."""
        return next((mark.exported for mark in self.steps if mark.exported), None)

    @property
    def failed_step(self) -> Step | None:
        """The step that ended badly, or was cut off; None when the job ended well."""
        for marker in self.steps:
            if marker.exit_code != 0:
                return marker.step
        return None
