"""What an operator configures: how the processor works, its limits, customers and pipelines."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from worksets.costs import MAX_USD
from worksets.jobs import DY_R, PLACEHOLDERS, render
from worksets.progress import LONGEST_PATTERN, compiled
from worksets.record import STEPS, Step
from worksets.spec import is_identifier
from worksets.uris import Uri

MAX_WORKSETS: Final = 100_000
"""Most that any limit of worksets may be; ten times what has been tried at once."""
MAX_VCPUS: Final = 10_000
"""More than any machine has."""
MAX_MEMORY_GB: Final = 100_000.0
"""More than any machine has: 100 TB."""
MAX_MINUTES: Final = 525_600
"""A year."""
MAX_VCPU_HOURS: Final = 1_000_000.0
"""More than any workset takes: a thousand virtual CPUs for six weeks."""
MAX_WEIGHT: Final = 1_000.0
"""With 1 as the ordinary weight, 1,000 times the others' share is all of it."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _name(text: str) -> str:
    if not is_identifier(text):
        raise ValueError("a name is 1 to 64 letters, digits, '.', '_' or '-', and no '..'")
    return text


Name = Annotated[str, AfterValidator(_name)]


class ProcessorConfig(_Config):
    """How one processor works. Names and defaults are those of the Daylily description."""

    max_concurrent_worksets: int = Field(
        10,
        ge=1,
        le=MAX_WORKSETS,
        description="worksets that may be held at once, over all clusters and pollers",
    )
    max_workers: int = Field(
        5,
        ge=1,
        le=256,
        description="threads of this process for calls that block",
    )
    poll_interval_seconds: float = Field(
        30,
        ge=0.5,
        le=86_400,
        description="seconds between two full cycles, at most a day (a cycle lists all watched "
        "places); events start others in between",
    )
    enable_retry: bool = Field(True, description="False: every failure is final at once")
    enable_validation: bool = Field(
        True,
        description="False: the YAML is still read, but the FASTQ files are not looked at, and "
        "what a pipeline asks for each GB counts none",
    )
    delivery_minutes: float = Field(
        60,
        ge=0,
        le=60 * 24 * 30,
        description="minutes for which missing or empty FASTQ files are waited for, counted from "
        "the last change of any of them; then it is an error in the data",
    )
    delivery_quiet_seconds: float = Field(
        5,
        ge=0,
        le=3600,
        description="seconds for which a file must not have changed before it counts as delivered",
    )
    stuck_minutes: float = Field(
        15,
        ge=0,
        le=60 * 24 * 30,
        description="minutes after which people are told that a cluster takes no job of a workset, "
        "or holds it in its queue for a reason that does not pass by itself",
    )
    enable_notifications: bool = Field(
        True, description="tell people: a Prefect event, and the settings' notifiers"
    )


class Customer(_Config):
    """A customer whose worksets are taken."""

    max_concurrent_worksets: int | None = Field(
        None,
        ge=1,
        le=MAX_WORKSETS,
        description="worksets of this customer held at once; None: no own limit",
    )
    weight: float = Field(
        1.0,
        ge=1 / MAX_WEIGHT,
        le=MAX_WEIGHT,
        description="its share of slots while customers compete, against the others' (mostly 1)",
    )
    budget_usd_per_month: float | None = Field(
        None,
        gt=0,
        le=MAX_USD,
        description="US dollars that its jobs may take in a month (UTC): at 80 % people are told, "
        "at 100 % nothing new begins. None: no budget",
    )
    inputs: tuple[Uri, ...] = Field(
        (), description="URIs below which its worksets must lie; empty: any watched place"
    )
    exports: tuple[Uri, ...] = Field(
        (),
        description="URIs below which its export_uri must lie; empty: ROOT/CUSTOMER for each of "
        "the export_roots",
    )


class Pipeline(_Config):
    """The commands of one pipeline: an argument list for each step, with `{placeholders}`.

    Placeholders: python, programs, workset_id, customer_id, attempt, reference_genome, work_dir,
    manifest, inputs, results, receipt, source, export_to; vcpus, memory_mb and gpus, which the job
    was given. Each is filled in within its own argument; no shell ever reads the line. A command
    that is given `{receipt}` must leave that file, as the default export does when all has
    arrived; without it, it has failed.
    """

    stage: tuple[str, ...] = ("{python}", "{programs}/stage.py", "{manifest}", "{inputs}")
    run: tuple[str, ...]
    export: tuple[str, ...] = (
        "{python}",
        "{programs}/export.py",
        "{results}",
        "{export_to}",
        "--manifest",
        "{manifest}",
        "--receipt",
        "{receipt}",
    )
    dy_r: tuple[str, ...] = Field(
        (),
        description="words that the dy-r of a work file may hold (`*` in one: any text; `[0-9]`: a "
        "digit); the argument {dy_r} of a command is replaced by those of the workset, each an "
        "argument",
    )
    default_reference_genome: str = Field("", description="of a workset that names none")
    results: Literal["fresh", "keep"] = Field(
        "fresh",
        description="how a run that is tried again finds the results folder: emptied, or as it was "
        "left (keep: for workflow engines that go on where they were)",
    )
    progress: str = Field(
        "",
        max_length=LONGEST_PATTERN,
        description="regular expression for a line of the run step's log that says how far it "
        "is, with a group `percent`, or `done` and `total`; empty: Snakemake's and Nextflow's",
    )
    vcpus: int = Field(
        0,
        ge=0,
        le=MAX_VCPUS,
        description="virtual CPUs that a workset's job asks for; 0: vcpus_per_workset of its "
        "cluster",
    )
    memory_gb: float = Field(
        0.0,
        ge=0,
        le=MAX_MEMORY_GB,
        description="memory that it asks for, GB; with memory_gb_per_gb 0: its cluster's "
        "memory_gb_per_workset",
    )
    memory_gb_per_gb: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="and for each GB of the largest sample's FASTQ files, GB; without memory_gb "
        "1 GB besides",
    )
    minutes: int = Field(
        0,
        ge=0,
        le=MAX_MINUTES,
        description="time limit that it asks for, minutes; with minutes_per_gb 0: its cluster's "
        "time_limit_minutes",
    )
    minutes_per_gb: float = Field(
        0.0, ge=0, le=MAX_MINUTES, description="and for each GB of FASTQ files, minutes"
    )
    gpus: int = Field(0, ge=0, le=1000, description="GPUs that it asks for")
    scratch_gb: float = Field(
        0.0, ge=0, le=MAX_MEMORY_GB, description="disk of its node that it asks for, GB"
    )
    scratch_gb_per_gb: float = Field(
        0.0, ge=0, le=1000, description="and for each GB of FASTQ files, GB"
    )
    vcpu_hours_base: float = Field(
        0.0, ge=0, le=MAX_VCPU_HOURS, description="vCPU-hours of any workset's run step"
    )
    vcpu_hours_per_gb: float = Field(
        0.0, ge=0, le=MAX_VCPU_HOURS, description="and for each GB of FASTQ files"
    )
    vcpu_hours_per_sample: float = Field(
        0.0, ge=0, le=MAX_VCPU_HOURS, description="and for each sample"
    )
    vcpu_hours_per_coverage: float = Field(
        0.0, ge=0, le=MAX_VCPU_HOURS, description="and for each sample and × of its coverage"
    )
    default_coverage: float = Field(
        30.0, gt=0, le=10_000, description="×, of a sample that names none"
    )
    storage_factor: float = Field(
        3.0, ge=0, le=1000, description="disk for inputs, scratch and results, by the FASTQs' size"
    )

    @property
    def takes_dy_r(self) -> bool:
        """Whether what a work file says as dy-r is given to a command."""
        return any(DY_R in self.argv(step) for step in STEPS)

    def argv(self, step: Step) -> tuple[str, ...]:
        return {Step.STAGE: self.stage, Step.RUN: self.run, Step.EXPORT: self.export}[step]

    @field_validator("progress")
    @classmethod
    def _tells(cls, value: str) -> str:
        if value:
            compiled(value)
        return value

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        for step in STEPS:
            if not self.argv(step):
                raise ValueError(f"the step {step.value} has no command")
            render(self.argv(step), dict.fromkeys(PLACEHOLDERS, ""))
        if self.takes_dy_r and not self.dy_r:
            raise ValueError(f"a command has {DY_R}: name the words that it may be, as `dy_r`")
        return self


Launch = Literal["inline", "deployment"]
