"""dispatch: the attempt's job is on the cluster, once, whoever submitted it.

The intent is written first; then the job is looked up by its name; then, if it is not there, it is
submitted. A process that dies between any two of these leaves enough for the next to go on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.clusters import SubmitUncertain
from blocks.host import Host, host
from blocks.watch import ClusterJob, ClusterJobRun, ClusterWatch
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.validate import Validated
from worksets.errors import (
    ClusterUnreachable,
    ConfigurationError,
    FenceLost,
    TransientError,
    WorksetError,
)
from worksets.jobs import (
    JobSpec,
    JobStatus,
    Manifest,
    Phase,
    StepCommand,
    render,
    steps_to_run,
)
from worksets.record import State, StepRun, WorksetRecord
from worksets.spec import WorksetSpec

STOP_WAIT_S = 30.0


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
        earlier = await _end_of_earlier_job(watch, record)
        record = await here.call(here.db.begin, record.workset_id, held.fence, earlier)
    steps = steps_to_run(record.completed_steps)
    if not steps:
        return Dispatched(record, None)
    if await _status(watch, record.job_name) is Phase.ABSENT:
        try:
            spec = job_spec(here, record, workset.spec)
            run = await ClusterJob(spec=spec).on(watch).trigger()
        except WorksetError as error:
            error.job_absent = not isinstance(error, SubmitUncertain)
            raise
        get_run_logger().info(
            "%s: %s on %s (%s)", spec.name, " → ".join(steps), held.cluster_name,
            record.placement_reason,
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
        await watch.call(watch.cluster.cancel, name)
    while not status.over:
        if asyncio.get_running_loop().time() > deadline:
            raise TransientError(
                f"{name} on {record.cluster_name} was told to stop and still runs; the next "
                f"attempt waits for its end"
            )
        await asyncio.sleep(0.2)
        status = await _look(watch, name)
    return status.step_runs(record.attempt, record.cluster_name)


async def seal(watch: ClusterWatch, name: str) -> bool:
    """Whether the job is certain never to run, now or later, however late a submission arrives."""
    try:
        await watch.call(watch.cluster.cancel, name)
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
        raise ClusterUnreachable(
            f"{watch.cluster.cluster_name} did not say whether {name} exists; asked again"
        )
    return status


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
    cluster = here.watch(record.cluster_name).cluster
    paths = cluster.paths(record.workset_id, record.attempt)
    export_to = spec.export_uri or "/".join(
        (here.settings.results.rstrip("/"), record.customer_id, record.workset_id)
    )
    manifest = Manifest(
        workset_id=record.workset_id,
        customer_id=record.customer_id,
        reference_genome=record.reference_genome,
        pipeline=record.pipeline,
        attempt=record.attempt,
        source=here.open_folder(record.location).source,
        export_to=export_to.removeprefix("file://"),
        samples=tuple(
            sample.model_dump(include={"sample_id", "fastq_r1", "fastq_r2", "coverage"})
            for sample in spec.samples
        ),
    )
    values = {
        **cluster.programs(),
        **paths.model_dump(),
        "workset_id": record.workset_id,
        "customer_id": record.customer_id,
        "attempt": str(record.attempt),
        "reference_genome": record.reference_genome,
        "source": manifest.source,
        "export_to": manifest.export_to,
    }
    pipeline = here.settings.pipeline(record.pipeline)
    return JobSpec(
        workset_id=record.workset_id,
        attempt=record.attempt,
        steps=tuple(
            StepCommand(step=step, argv=render(pipeline.argv(step), values))
            for step in steps_to_run(record.completed_steps)
        ),
        manifest=manifest,
        out_of_memory=record.out_of_memory,
        out_of_time=record.out_of_time,
    )
