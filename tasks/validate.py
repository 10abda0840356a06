"""validate: is the workset what it says it is? Nothing of it goes further unless it is."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.folders import Folder
from blocks.host import Host, host
from blocks.settings import WorksetSettings
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.errors import ConfigurationError, DataError, WorksetError
from worksets.estimates import correction, estimate
from worksets.record import HELD, State, WorksetRecord
from worksets.registration import Description, describe
from worksets.spec import WorksetSpec, parse_spec
from worksets.uris import lies_below


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
        spec, warnings, sizes = await here.call(check, here, record)
    except WorksetError as error:
        if record.state is not State.IN_PROGRESS:
            raise
        # its job may run: that is seen to its end, whatever became of the folder
        get_run_logger().warning("%s has begun, but its folder changed: %s", workset_id, error)
        return Validated(record, None)
    for warning in warnings:
        get_run_logger().warning("%s: %s", workset_id, warning)
    description = await here.call(described, here, spec, sizes)
    if record.state not in HELD and not description.matches(record):
        record = await here.call(here.db.describe, workset_id, description)
    return Validated(record, spec)


def described(here: Host, spec: WorksetSpec, sizes: dict[str, int] | None) -> Description:
    """The spec as a record takes it over, with what the workset will need; blocks."""
    settings = here.settings
    ratios = here.db.estimate_ratios(spec.pipeline)
    estimates = estimate(spec, settings.pipeline(spec.pipeline), sizes, correction(ratios))
    customer, retries = settings.default_customer, settings.default_max_retries
    return describe(spec, customer, retries, sizes, estimates)


def check(
    here: Host, record: WorksetRecord
) -> tuple[WorksetSpec, tuple[str, ...], dict[str, int] | None]:
    """The workset's spec, its warnings, and the bytes of each of its FASTQ files; blocks."""
    folder = here.open_folder(record.location)
    parsed = parse_spec(folder.read_spec())
    check_settings(parsed.spec, record.location, here.settings)
    sizes = None
    if here.config.enable_validation and record.state not in HELD:
        sizes = check_files(parsed.spec, folder)
    return parsed.spec, parsed.warnings, sizes


def check_settings(spec: WorksetSpec, location: str, settings: WorksetSettings) -> None:
    """Refuse what these settings do not know.

    Raises:
        ConfigurationError: an unknown customer or pipeline, a workset that lies where its customer
            has nothing, or an export to a forbidden place.
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
    entry = settings.customers[customer]
    if entry.inputs and not any(lies_below(location, root) for root in entry.inputs):
        raise ConfigurationError(
            f"daylily_work.yaml: customer_id: {customer} may have worksets only below "
            f"{', '.join(entry.inputs)}, and this one lies at {location}"
        )
    roots = entry.exports or tuple(settings.export_roots)
    if spec.export_uri and not any(lies_below(spec.export_uri, root) for root in roots):
        raise ConfigurationError(
            f"daylily_work.yaml: export_uri: {spec.export_uri} is below none of the places that "
            f"{customer} may export to ({', '.join(roots) or 'there are none'})"
        )


def check_files(spec: WorksetSpec, folder: Folder) -> dict[str, int]:
    """Bytes of every FASTQ file of the workset. All mistakes are told at once.

    Raises:
        DataError: files are missing, empty or not files.
    """
    keys = {
        name: f"samples[{index}].{key} ({sample.sample_id})"
        for index, sample in enumerate(spec.samples)
        for key, name in (("fastq_r1", sample.fastq_r1), ("fastq_r2", sample.fastq_r2))
        if name is not None
    }
    sizes = folder.sizes(keys)
    problems = [f"{keys[n]}: {size}" for n, size in sizes.items() if isinstance(size, DataError)]
    if problems:
        raise DataError("\n".join(problems[:20]))
    return {name: size for name, size in sizes.items() if isinstance(size, int)}
