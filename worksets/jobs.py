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
from worksets.record import STEPS, Frozen, Step, StepRun

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
        "source",
        "export_to",
    }
)
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


def job_name(workset_id: str, attempt: int) -> str:
    """The name of an attempt's job; a function of both, so that any process can look it up."""
    return f"{workset_id}.a{attempt}"


class StepCommand(Frozen):
    """One step's command: an argument list, never a shell line."""

    step: Step
    argv: tuple[str, ...] = Field(min_length=1)


class Manifest(Frozen):
    """What a step's program may want to know of its workset; written beside the job as JSON."""

    workset_id: str
    customer_id: str
    reference_genome: str
    pipeline: str
    attempt: int
    source: str = Field(description="local path or s3:// URI of the workset's folder")
    export_to: str = Field(description="where the results go")
    samples: tuple[dict[str, str | float | None], ...]


class JobSpec(Frozen):
    """All that a cluster needs to run one attempt of one workset."""

    workset_id: str
    attempt: int = Field(ge=1)
    steps: tuple[StepCommand, ...] = Field(min_length=1)
    manifest: Manifest
    out_of_memory: int = Field(0, ge=0, description="earlier attempts that ran out of memory")
    out_of_time: int = Field(0, ge=0, description="earlier attempts that reached their time limit")

    @property
    def name(self) -> str:
        return job_name(self.workset_id, self.attempt)


def render(argv: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Put `values` into the `{placeholders}` of a command; each stays inside its one argument.

    Raises:
        ConfigurationError: a placeholder that does not exist.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ConfigurationError(
                f"the command {list(argv)!r} uses {{{name}}}; there are only "
                f"{', '.join(sorted(PLACEHOLDERS))}"
            )
        return values[name]

    return tuple(_PLACEHOLDER.sub(value, argument) for argument in argv)


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
            )
            for marker in self.steps
            if marker.exit_code is not None and marker.ended_at is not None
        )

    @property
    def failed_step(self) -> Step | None:
        """The step that ended badly, or was cut off; None when the job ended well."""
        for marker in self.steps:
            if marker.exit_code != 0:
                return marker.step
        return None
