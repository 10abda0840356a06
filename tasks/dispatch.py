"""dispatch: the attempt's job is on the cluster, once, whoever submitted it.

The intent is written first; then the job is looked up by its name; then, if it is not there, it is
submitted. A process that dies between any two of these leaves enough for the next to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.clusters import ClusterJob, ClusterJobRun, ClusterWatch, SubmitUncertain
from blocks.settings import WorksetSettings
from host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.validate import Validated, allowed
from worksets.config import Pipeline
from worksets.daylily import as_texts
from worksets.errors import (
    ConfigurationError,
    FenceLost,
    JobUnknown,
    PlaceAway,
    TransientError,
    WorksetError,
)
from worksets.inputs import inputs_of, samples_of
from worksets.jobs import (
    JobSpec,
    JobStatus,
    Manifest,
    Phase,
    StepCommand,
    WorkPaths,
    render,
    steps_to_run,
)
from worksets.record import State, Step, StepRun, WorksetRecord
from worksets.registration import asks_of
from worksets.spec import WorksetSpec

AGAIN_S = 15.0
"""Seconds after which a job that was told to stop and runs is told again."""
STOP_WAIT_S = 120.0
"""Seconds for the end of an earlier job to be seen: longer than its markers may be late."""


@dataclass(frozen=True)
class Dispatched:
    """A begun attempt; `run` is None when an earlier attempt had done all its steps already."""

    record: WorksetRecord
    run: ClusterJobRun | None


@task(
    name="dispatch",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=300,
)
async def dispatch(workset: Validated, held: WorksetRecord) -> Dispatched:
    """Begin the attempt (unless it has begun) and see to it that its job exists.

    Raises:
        ClusterUnreachable, SubmitUncertain: the job's state is unknown.
        ConfigurationError, ResourceError: the cluster refused it; it does not exist.
        FenceLost: another process holds the workset now.
        PlaceAway: there is no job, and what it would need cannot be read now.
    """
    here = host()
    watch = here.watch(held.cluster_name)
    record = await here.call(here.db.get, held.workset_id)
    if record.fence != held.fence:
        # a newer attempt's job would be submitted here, perhaps on another cluster than its own
        raise FenceLost(
            f"workset {held.workset_id} changed hands before its job was looked for: the record "
            f"has fence {record.fence}, this process {held.fence}; it leaves the workset alone"
        )
    if record.state is State.LOCKED:
        # before the intent: what nobody has begun may go elsewhere
        await watch.reach()
        earlier = await _end_of_earlier_job(watch, record)
        record = await here.call(here.db.begin, record.workset_id, held.fence, earlier)
    steps = steps_to_run(record.completed_steps)
    if not steps:
        return Dispatched(record, None)
    if await _status(watch, record.job_name) is Phase.ABSENT:
        try:
            if workset.away:
                raise PlaceAway(f"{record.job_name} never reached its cluster, and {workset.away}")
            await watch.reach()
            # in a thread: the way to a folder may lead over a share that hangs
            spec = await here.at(record.location, job_spec, here, record, workset.spec)
            run = await ClusterJob(spec=spec).on(watch).trigger()
        except WorksetError as error:
            error.job_absent = not isinstance(error, SubmitUncertain)
            raise
        get_run_logger().info(
            "%s: %s on %s (%s), with %s", spec.name, " → ".join(steps), held.cluster_name,
            record.placement_reason, spec.request,
        )  # fmt: skip
        return Dispatched(record, run)
    get_run_logger().info("%s: attached to the job on %s", record.job_name, held.cluster_name)
    return Dispatched(record, ClusterJobRun(watch, record.job_name))


async def _end_of_earlier_job(watch: ClusterWatch, record: WorksetRecord) -> tuple[StepRun, ...]:
    """See the workset's last job at its end, stopping it if need be; the steps it did.

    Two jobs of one workset never run side by side: this one may begin only after that.
    """
    if record.job_ended:
        return ()
    name, deadline = record.job_name, asyncio.get_running_loop().time() + STOP_WAIT_S
    status = await _look(watch, name)
    if status.phase in (Phase.QUEUED, Phase.RUNNING):
        get_run_logger().warning("%s still runs; it is stopped before the next attempt", name)
    if not status.over:
        # sealed too if it is absent: a submission that was lost on the way may still arrive
        await watch.call(watch.cluster.cancel, name, for_good=False)
    told_at = asyncio.get_running_loop().time()
    while not status.over:
        now = asyncio.get_running_loop().time()
        if now > deadline:
            # the cluster's affair, and no retry of the workset's: it waits, and comes back
            raise JobUnknown(
                f"{name} on {record.cluster_name} was told to stop and still runs; the next "
                f"attempt waits for its end"
            )
        if now - told_at > AGAIN_S:
            await watch.call(watch.cluster.cancel, name, for_good=False)
            told_at = now
        await asyncio.sleep(0.2)
        status = await _look(watch, name)
    return status.step_runs(record.attempt, record.cluster_name)


async def seal(watch: ClusterWatch, name: str) -> bool:
    """Whether the job is certain never to run, now or later, however late a submission arrives."""
    try:
        await watch.call(watch.cluster.cancel, name, for_good=False)
        return (await _look(watch, name)).over
    except Exception as error:  # whatever went wrong in asking: it is unknown
        get_run_logger().warning("%s could not be sealed: %s", name, error)
        return False


async def _status(watch: ClusterWatch, name: str) -> Phase:
    return (await _look(watch, name)).phase


async def _look(watch: ClusterWatch, name: str) -> JobStatus:
    statuses: dict[str, JobStatus] = await watch.call(watch.cluster.observe, [name])
    status = statuses.get(name)
    if status is None or status.phase is Phase.UNKNOWN:
        why = status.note if status is not None and status.note else "it did not say"
        raise JobUnknown(
            f"whether {name} exists on {watch.cluster.cluster_name} is not known: {why}; asked "
            f"again. If its files are lost, declare the job lost"
        )
    return status


class Superseded(TransientError):
    """The workset asks for other work than the attempt that was begun."""


def job_spec(here: Host, record: WorksetRecord, spec: WorksetSpec | None) -> JobSpec:
    """The job of the attempt that has begun: its remaining steps with their commands filled in.

    Raises:
        ConfigurationError: a command of the pipeline is wrong, or the workset's file is.
    """
    if spec is None:
        raise ConfigurationError(
            f"{record.job_name} never reached {record.cluster_name}, and daylily_work.yaml cannot "
            f"be used any more (see the warning of validate); restore the folder, then the workset"
        )
    if record.delivery.asks not in ("", asks_of(spec)):
        raise Superseded(
            f"{record.job_name} is not submitted: since it began, daylily_work.yaml asks for other "
            f"samples, another reference genome or pipeline; the next attempt begins with those"
        )
    cluster = here.watch(record.cluster_name).cluster
    asked = cluster.request(record.estimates, record.out_of_memory, record.out_of_time)
    paths = cluster.paths(record.home, record.lineage, record.attempt)
    export_to, export_root = destination(here.settings, record, spec)
    folder = here.open_folder(record.location)
    inputs = inputs_of(spec, record.location, allowed(spec, here.settings))
    manifest = Manifest(
        workset_id=record.workset_id,
        customer_id=record.customer_id,
        uid=record.uid,
        lineage=record.lineage,
        reference_genome=record.reference_genome,
        pipeline=record.pipeline,
        attempt=record.attempt,
        source=folder.source,
        source_root=folder.source_root,
        inputs=inputs,
        quiet_s=here.config.delivery_quiet_seconds,
        export_to=export_to,
        export_root=export_root,
        samples=samples_of(spec, inputs),
        daylily=as_texts(spec.daylily),
    )
    values = {
        **cluster.programs(),
        **paths.model_dump(exclude={"job_dir"}),
        "workset_id": record.workset_id,
        "customer_id": record.customer_id,
        "attempt": str(record.attempt),
        "reference_genome": record.reference_genome,
        "source": manifest.source,
        "export_to": manifest.export_to,
        "vcpus": str(asked.vcpus),
        "memory_mb": f"{int(asked.memory_gb * 1000)}",
        "gpus": str(asked.gpus),
    }
    pipeline = here.settings.pipeline(record.pipeline)
    return JobSpec(
        workset_id=record.workset_id,
        uid=record.uid,
        lineage=record.lineage,
        attempt=record.attempt,
        steps=tuple(
            step_command(step, pipeline, values, paths, spec.words)
            for step in steps_to_run(record.completed_steps)
        ),
        manifest=manifest,
        request=asked,
    )


def step_command(
    step: Step,
    pipeline: Pipeline,
    values: Mapping[str, str],
    paths: WorkPaths,
    given: tuple[str, ...] = (),
) -> StepCommand:
    """One step of an attempt: its command, what it must find empty and what it must leave.

    `given`: the words of the workset's dy-r; no placeholder in them is filled in.
    """
    argv = pipeline.argv(step)
    fresh = step is Step.RUN and pipeline.results == "fresh"
    return StepCommand(
        step=step,
        argv=render(argv, values, given),
        empties=paths.results if fresh else "",
        receipt=paths.receipt if any("{receipt}" in part for part in argv) else "",
    )


def destination(
    settings: WorksetSettings, record: WorksetRecord, spec: WorksetSpec
) -> tuple[str, str]:
    """Where the results go, and the operator's place that this lies in."""
    if spec.export_uri:
        root = settings.export_root(record.customer_id, spec.export_uri)
        return _plain(spec.export_uri), _plain(root)
    root = settings.results.rstrip("/")
    return _plain(f"{root}/{record.customer_id}/{record.workset_id}"), _plain(root)


def _plain(uri: str) -> str:
    """A path of this machine as a program has it; an s3:// URI stays one."""
    return uri.removeprefix("file://")
