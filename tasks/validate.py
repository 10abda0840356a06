"""validate: is the workset what it says it is? Nothing of it goes further unless it is."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.folders import LocalFolder, open_folder
from blocks.host import Host, host
from blocks.settings import WorksetSettings
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.errors import ConfigurationError, DataError, WorksetError
from worksets.record import HELD, State, WorksetRecord
from worksets.registration import describe
from worksets.spec import WorksetSpec, parse_spec


@dataclass(frozen=True)
class Validated:
    """A workset that may be scheduled: its record and what its file asks for.

    `spec` is None only for an attempt that has begun and whose file is not lawful any more.
    """

    record: WorksetRecord
    spec: WorksetSpec | None


@task(
    name="validate",
    task_run_name="validate {workset_id}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=600,
)
async def validate(workset_id: str) -> Validated:
    """Read and check `daylily_work.yaml`, and look at every FASTQ file that it names.

    Raises:
        ConfigurationError, DataError: with a line for each mistake and what to write instead.
    """
    here = host()
    record = await here.call(here.db.get, workset_id)
    try:
        spec, warnings = await here.call(check, here, record)
    except WorksetError as error:
        if record.state is not State.IN_PROGRESS:
            raise
        # its job may run: that is seen to its end, whatever became of the folder
        get_run_logger().warning("%s has begun, but its folder changed: %s", workset_id, error)
        return Validated(record, None)
    for warning in warnings:
        get_run_logger().warning("%s: %s", workset_id, warning)
    description = describe(spec, here.settings.default_customer, here.settings.default_max_retries)
    if record.state not in HELD and not description.matches(record):
        record = await here.call(here.db.describe, workset_id, description)
    return Validated(record, spec)


def check(here: Host, record: WorksetRecord) -> tuple[WorksetSpec, tuple[str, ...]]:
    """The workset's spec and its warnings; blocks."""
    folder = open_folder(record.location)
    parsed = parse_spec(folder.read_spec())
    check_settings(parsed.spec, here.settings)
    if here.config.enable_validation and record.state not in HELD:
        check_files(parsed.spec, folder)
    return parsed.spec, parsed.warnings


def check_settings(spec: WorksetSpec, settings: WorksetSettings) -> None:
    """Refuse what these settings do not know.

    Raises:
        ConfigurationError: an unknown customer or pipeline, or an export to a forbidden place.
    """
    customer = spec.customer_id or settings.default_customer
    known = ", ".join(sorted(settings.customers))
    if not customer:
        raise ConfigurationError(f"daylily_work.yaml: customer_id: missing; write one of {known}")
    if customer not in settings.customers:
        raise ConfigurationError(
            f"daylily_work.yaml: customer_id: {customer} is unknown; write one of {known}, "
            f"or add it to customers in the settings"
        )
    settings.pipeline(spec.pipeline)
    if spec.export_uri and not any(
        spec.export_uri == root.rstrip("/") or spec.export_uri.startswith(root.rstrip("/") + "/")
        for root in settings.export_roots
    ):
        raise ConfigurationError(
            f"daylily_work.yaml: export_uri: {spec.export_uri} is not below any of the settings' "
            f"export_roots ({', '.join(settings.export_roots) or 'none'})"
        )


def check_files(spec: WorksetSpec, folder: LocalFolder) -> None:
    """Look at every FASTQ file of the workset; all mistakes are told at once.

    Raises:
        DataError: files are missing, empty or not files.
    """
    problems = []
    for index, sample in enumerate(spec.samples):
        for key, name in (("fastq_r1", sample.fastq_r1), ("fastq_r2", sample.fastq_r2)):
            if name is None:
                continue
            try:
                folder.size(name)
            except DataError as error:
                problems.append(f"samples[{index}].{key} ({sample.sample_id}): {error}")
    if problems:
        raise DataError("\n".join(problems[:20]))
