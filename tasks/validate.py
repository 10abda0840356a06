"""validate: is the workset what it says it is? Nothing of it goes further unless it is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.folders import Folder, SpecFile
from blocks.settings import WorksetSettings
from host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from worksets.daylily import words
from worksets.delivery import NotDelivered, Waits, Whole, judge
from worksets.errors import ConfigurationError, TransientError, WorksetError
from worksets.estimates import estimate
from worksets.genomes import genome_at, known_genomes
from worksets.growth import begins
from worksets.inputs import inputs_of
from worksets.jobs import Input
from worksets.record import HELD, Delivery, State, WorksetRecord
from worksets.registration import Description, describe
from worksets.spec import ParsedSpec, WorksetSpec, meant, parse_spec
from worksets.texts import few
from worksets.uris import lies_below

BEGUN_S: Final = 10.0
"""Seconds that a look at the folder of an attempt that has begun may take: its job may run, and
its slots are held."""


@dataclass(frozen=True)
class Validated:
    """A workset that may be scheduled: its record and what its file asks for.

    `spec` is None only for an attempt that has begun, and whose file is not lawful any more, or
    cannot be read now: then `away` says why.
    """

    record: WorksetRecord
    spec: WorksetSpec | None
    away: str = ""


@dataclass(frozen=True)
class Checked:
    """What a look at a workset's folder has found; `verdict` None: its files were not looked at."""

    spec: WorksetSpec
    warnings: tuple[str, ...]
    description: Description
    verdict: Whole | Waits | None


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
        NotDelivered: files are missing or still being written, and are waited for.
    """
    here = host()
    record = await here.call(here.db.get, workset_id)
    has_begun = record.state is State.IN_PROGRESS
    try:
        async with asyncio.timeout(BEGUN_S if has_begun else None):
            found = await here.at(record.location, check, here, record)
    except (WorksetError, TimeoutError) as error:
        if not has_begun:
            raise
        # its job may run: that is seen to its end, whatever became of the folder
        away = isinstance(error, TransientError | TimeoutError)
        why = str(error) or f"{record.location} did not answer for {BEGUN_S:g} s"
        what = "cannot be looked into" if away else "changed"
        get_run_logger().warning("%s has begun, but its folder %s: %s", workset_id, what, why)
        return Validated(record, None, why if away else "")
    for warning in found.warnings:
        get_run_logger().warning("%s: %s", workset_id, warning)
    if record.state not in HELD:
        if isinstance(found.verdict, Waits):
            raise NotDelivered(found.verdict)
        if record.awaits or not found.description.matches(record):
            record = await here.call(here.db.describe, workset_id, found.description)
    return Validated(record, found.spec)


def check(here: Host, record: WorksetRecord) -> Checked:
    """Read a workset's file and look at the files that it names; blocks.

    Raises:
        ConfigurationError, DataError: what is wrong, and what to do.
    """
    folder = here.open_folder(record.location)
    file = folder.read_spec()
    parsed = read(here, folder, file)
    spec = parsed.spec
    check_settings(spec, record.location, here.settings)
    verdict = None
    if here.config.enable_validation and record.state not in HELD:
        inputs = inputs_of(spec, record.location, allowed(spec, here.settings))
        verdict = look(here, folder, inputs, record)
    whole = verdict if isinstance(verdict, Whole) else None
    delivery = Delivery(spec=file.stamp, files=whole.looked if whole else "")
    description = described(here, spec, whole.sizes if whole else None, delivery, record)
    return Checked(spec, parsed.warnings, description, verdict)


def read(here: Host, folder: Folder, file: SpecFile) -> ParsedSpec:
    """What a workset's file asks for, on this site; blocks.

    Raises:
        ConfigurationError: it is not lawful, or asks for a genome that there is not.
    """
    parsed = parse_spec(file.data, sheet=folder.read_sheet)
    on_clusters = [view.reference_genomes for view in here.views]
    return replace(parsed, spec=on_site(parsed.spec, here.settings, on_clusters))


def on_site(
    spec: WorksetSpec, settings: WorksetSettings, on_clusters: Sequence[Collection[str]]
) -> WorksetSpec:
    """The spec with the site's name of its reference genome, and the words that its pipeline takes.

    `on_clusters`: the genomes that each cluster lists; none: it takes all.

    Raises:
        ConfigurationError: it names none that there is, and its pipeline has no default; or a word
            that its pipeline does not take.
    """
    named, pipeline = settings.reference_genomes, settings.pipeline(spec.pipeline)
    listed = {name for genomes in on_clusters for name in genomes}
    known = few(known_genomes(named, listed))
    # a key that is nearly ours is a mistake, and nothing stands in for it
    hint = "" if spec.reference_genome else meant("reference_genome", spec.model_extra or {})
    asked = spec.reference_genome or ("" if hint else pipeline.default_reference_genome)
    if not asked:
        raise ConfigurationError(
            f"daylily_work.yaml: reference_genome: missing; write one of {known}, or give the "
            f"pipeline {spec.pipeline} a default_reference_genome in the settings{hint}"
        )
    genome = genome_at(asked, named, listed, not all(on_clusters))
    if not genome:
        raise ConfigurationError(
            f"daylily_work.yaml: reference_genome: {asked} is unknown; write one of {known}, or "
            f"add it to reference_genomes, in the settings or of a cluster"
        )
    takes = pipeline.takes_dy_r
    return spec.on_site(
        genome, asked, words(spec.daylily.get("dy-r"), pipeline.dy_r) if takes else ()
    )


def look(
    here: Host, folder: Folder, inputs: tuple[Input, ...], record: WorksetRecord
) -> Whole | Waits:
    """Whether all its files are there and at rest; blocks.

    Raises:
        DataError: some can never be staged, or were waited for in vain.
    """
    found = folder.look([entry for entry in inputs if not entry.uri])
    found |= {entry.name: here.look_elsewhere(entry) for entry in inputs if entry.uri}
    config = here.config
    quiet_s, wait_s = config.delivery_quiet_seconds, config.delivery_minutes * 60
    return judge(found, record, here.db.now(), quiet_s, wait_s)


def described(
    here: Host,
    spec: WorksetSpec,
    sizes: dict[str, int] | None,
    delivery: Delivery,
    record: WorksetRecord,
) -> Description:
    """The spec as a record takes it over, with what the workset will need; blocks."""
    settings = here.settings
    pipeline = settings.pipeline(spec.pipeline)
    ratios = here.db.estimate_ratios(spec.pipeline)
    estimates = estimate(spec, pipeline, sizes, ratios)
    note, asks = here.db.grown(spec.pipeline), here.asks_of(pipeline)
    estimates = begins(estimates, note, asks, record)
    customer, retries = settings.default_customer, settings.default_max_retries
    return describe(spec, customer, retries, sizes, estimates, delivery)


def allowed(spec: WorksetSpec, settings: WorksetSettings) -> tuple[str, ...]:
    """The places of its customer in which files of other folders may lie."""
    entry = settings.customers.get(spec.customer_id or settings.default_customer)
    return entry.inputs if entry else ()


def check_settings(spec: WorksetSpec, location: str, settings: WorksetSettings) -> None:
    """Refuse what these settings do not know.

    Raises:
        ConfigurationError: an unknown customer or pipeline, a workset that lies where its customer
            has nothing, or an export to a forbidden place.
    """
    customer = spec.customer_id or settings.default_customer
    known = few(sorted(settings.customers))
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
            f"{few(entry.inputs)}, and this one lies at {location}"
        )
    inputs_of(spec, location, entry.inputs)
    roots = entry.exports or tuple(f"{root}/{customer}" for root in settings.export_roots)
    if spec.export_uri and not settings.export_root(customer, spec.export_uri):
        raise ConfigurationError(
            f"daylily_work.yaml: export_uri: {spec.export_uri} is below none of the places that "
            f"{customer} may export to ({few(roots) or 'there are none'})"
        )
