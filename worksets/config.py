"""What an operator configures: how the processor works, its limits, customers and pipelines."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from worksets.jobs import PLACEHOLDERS, render
from worksets.record import STEPS, Step
from worksets.spec import is_identifier
from worksets.uris import Uri


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _name(text: str) -> str:
    if not is_identifier(text):
        raise ValueError("a name is 1 to 64 letters, digits, '.', '_' or '-', and no '..'")
    return text


Name = Annotated[str, AfterValidator(_name)]


class ProcessorConfig(_Config):
    """How one processor works. Names and defaults are those of the Daylily description."""

    max_concurrent_worksets: int = Field(
        10, ge=1, description="worksets that may be held at once, over all clusters and pollers"
    )
    max_workers: int = Field(
        5,
        ge=1,
        le=256,
        description="threads of this process for calls that block",
    )
    poll_interval_seconds: float = Field(
        30, gt=0, description="seconds between two full cycles; events start others in between"
    )
    enable_retry: bool = Field(True, description="False: every failure is final at once")
    enable_validation: bool = Field(
        True, description="False: the YAML is still read, but the FASTQ files are not looked at"
    )
    enable_notifications: bool = Field(
        True, description="tell people: a Prefect event, and the settings' notifiers"
    )


class Customer(_Config):
    """A customer whose worksets are taken."""

    max_concurrent_worksets: int | None = Field(
        None, ge=1, description="worksets of this customer held at once; None: no own limit"
    )
    weight: float = Field(
        1.0, gt=0, description="its share of slots while customers compete, against the others'"
    )
    inputs: tuple[Uri, ...] = Field(
        (), description="URIs below which its worksets must lie; empty: any watched place"
    )
    exports: tuple[Uri, ...] = Field(
        (), description="URIs below which its export_uri must lie; empty: the export_roots"
    )


class Pipeline(_Config):
    """The commands of one pipeline: an argument list for each step, with `{placeholders}`.

    Placeholders: python, programs, workset_id, customer_id, attempt, reference_genome, work_dir,
    manifest, inputs, results, source, export_to. Each is filled in within its own argument; no
    shell ever reads the line.
    """

    stage: tuple[str, ...] = ("{python}", "{programs}/stage.py", "{manifest}", "{inputs}")
    run: tuple[str, ...]
    export: tuple[str, ...] = ("{python}", "{programs}/export.py", "{results}", "{export_to}")
    vcpus: int = Field(1, ge=1, description="virtual CPUs that a workset's job needs")
    memory_gb: float = Field(0.0, ge=0, description="memory that it needs, GB")
    memory_gb_per_gb: float = Field(
        0.0, ge=0, description="and for each GB of the largest sample's FASTQ files, GB"
    )
    vcpu_hours_base: float = Field(0.0, ge=0, description="vCPU-hours of any workset's run step")
    vcpu_hours_per_gb: float = Field(0.0, ge=0, description="and for each GB of FASTQ files")
    vcpu_hours_per_sample: float = Field(0.0, ge=0, description="and for each sample")
    vcpu_hours_per_coverage: float = Field(
        0.0, ge=0, description="and for each sample and × of its coverage"
    )
    default_coverage: float = Field(30.0, gt=0, description="×, of a sample that names none")
    storage_factor: float = Field(
        3.0, ge=0, description="disk for inputs, scratch and results, by the FASTQ files' size"
    )

    def argv(self, step: Step) -> tuple[str, ...]:
        return {Step.STAGE: self.stage, Step.RUN: self.run, Step.EXPORT: self.export}[step]

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        for step in STEPS:
            if not self.argv(step):
                raise ValueError(f"the step {step.value} has no command")
            render(self.argv(step), dict.fromkeys(PLACEHOLDERS, ""))
        return self


Launch = Literal["inline", "deployment"]
