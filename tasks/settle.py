"""What comes after the five steps: the end of an attempt is written to the state DB.

It happens after the Prefect slots are given back, so that a slot is always held inside
the time in which the state DB counts the workset: the next one never finds a slot missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from prefect.logging import get_run_logger

from blocks.clusters import Cluster
from host import Host, host
from tasks.dispatch import seal
from tasks.retry import is_prefects
from worksets.announcements import of_workset
from worksets.delivery import NotDelivered, Waits
from worksets.diagnosis import Diagnosis, diagnose
from worksets.errors import (
    AdmissionRefused,
    ClusterRefused,
    ClusterUnreachable,
    ErrorCategory,
    JobUnknown,
    PlaceAway,
    Refused,
    ResourceError,
    TransientError,
    WorksetError,
    WorksetNotFound,
)
from worksets.estimates import taken
from worksets.events import Exhausted
from worksets.growth import with_finished
from worksets.jobs import JobStatus, Phase, steps_to_run
from worksets.pages import failure_report, log_report
from worksets.record import HELD, State, Step, StepRun, WorksetRecord
from worksets.refusals import REFUSED, refusals
from worksets.texts import plain

LOG_S = 10.0
"""Seconds after which the log of what is complete is not waited for."""
UNREACHABLE_DELAY_S = 30.0
PLACE_DELAY_S = 30.0


@dataclass
class Progress:
    """Which step a workset is at, and the fence with which this process holds it (0: not yet)."""

    workset_id: str
    step: str = "validate"
    fence: int = 0


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `state` None: nothing is known, and the workset is held as it was."""

    workset_id: str
    state: State | None
    message: str
    record: WorksetRecord | None = field(default=None, repr=False)
    report: str = field(default="", repr=False)
    """Markdown about what failed, for the workset's page."""


async def settle(record: WorksetRecord, status: JobStatus) -> Outcome:
    """Write what the job's markers say.

    Raises:
        FenceLost: another process holds the workset now; it will write the same.
    """
    here = host()
    if status.never_taken:
        # its cluster took no job, or lost it before its start: nobody is charged for that
        why = ClusterRefused(f"{status.name} on {record.cluster_name}: {status.note}")
        return await _refused_by_cluster(here, record, why, job_absent=True)
    await here.budgets.count(record, status)
    runs = status.step_runs(record.attempt, record.cluster_name)
    failed = status.failed_step
    if status.phase is Phase.ENDED and failed is None:
        done = await here.call(
            here.db.complete, record.workset_id, record.fence, runs, status.exported
        )
        await _learn(here, done)
        said = f"complete on {record.cluster_name}, attempt {record.attempt}"
        outcome = _told(here, done, said)
        return replace(outcome, report=log_report(await _last_words(here, record, status)))

    if failed is None:  # it vanished between two steps, or before the first
        ended_well = {run.step for run in runs if run.exit_code == 0}
        failed = next(s for s in steps_to_run(record.completed_steps) if s not in ended_well)
    watch = here.watch(record.cluster_name)
    log = plain(await watch.call(watch.cluster.log_tail, status.name, failed))
    what, found = _diagnosed(here, status, failed, log)
    if found.exhausted == "disk":
        here.full_disks.add(record.cluster_name)
    elif found.exhausted:
        found = _with_more(found, watch.cluster, record)
    return await _failed(
        here,
        record,
        failed.value,
        found.category,
        "\n".join(part for part in (f"{what}: {found.remedy}", found.line, log) if part),
        job_ended=True,
        step_runs=runs,
        exhausted=found.exhausted,
        clusters_fault=status.clusters_fault,
        report=failure_report(record, failed.value, what, found, log),
    )


def _diagnosed(here: Host, status: JobStatus, failed: Step, log: str) -> tuple[str, Diagnosis]:
    """What happened, and what that means: by the cluster's word, else by log and exit code."""
    if status.category is not None or status.phase is Phase.VANISHED:
        category = status.category or ErrorCategory.TRANSIENT
        return f"the job {status.name} ended", Diagnosis(category, status.note, status.exhausted)
    code = next(mark.exit_code for mark in status.steps if mark.step is failed) or 0
    return f"exit code {code}", diagnose(code, log, here.settings.log_patterns)


def _with_more(found: Diagnosis, cluster: Cluster, record: WorksetRecord) -> Diagnosis:
    """Say what the next attempt is given of what ran out; without more there is no next attempt."""
    memory = found.exhausted == "memory"
    had, then = (
        cluster.given(
            found.exhausted,
            cluster.request(
                record.estimates,
                record.out_of_memory + (more if memory else 0),
                record.out_of_time + (0 if memory else more),
            ),
        )
        for more in (0, 1)
    )
    if not had:
        return found
    if had != then:
        return replace(found, remedy=f"{found.remedy}; it had {had}, the next attempt gets {then}")
    setting = "max_memory_gb" if memory else "max_time_limit_minutes"
    return replace(
        found,
        category=ErrorCategory.CONFIGURATION,
        remedy=f"{found.remedy}; it had {had}, the most that {cluster.cluster_name} gives: raise "
        f"{setting} of that cluster, if its nodes give more, then restore the workset",
    )


async def _last_words(here: Host, record: WorksetRecord, status: JobStatus) -> str:
    """The end of the log of a run that ended well, for people: it is complete without it, too."""
    if not status.name or not any(mark.step is Step.RUN for mark in status.steps):
        return ""  # an earlier attempt ran it
    watch = here.watch(record.cluster_name)
    try:
        async with asyncio.timeout(LOG_S):
            return plain(await watch.call(watch.cluster.log_tail, status.name, Step.RUN))
    except (WorksetError, TimeoutError) as error:
        get_run_logger().warning("the log of %s is not shown: %s", status.name, error)
        return ""


async def _learn(here: Host, done: WorksetRecord) -> None:
    """Let the estimates of the next worksets of this pipeline learn from this one."""
    try:
        vcpus = here.watch(done.cluster_name).cluster.request(done.estimates).vcpus
        ratio = taken(done, vcpus)
        if ratio is not None:
            await here.call(here.db.add_estimate_ratio, done.pipeline, ratio, done.cluster_name)
        before = await here.call(here.db.grown, done.pipeline)
        after = with_finished(before, done, here.asks_of(here.settings.pipeline(done.pipeline)))
        if after != before:
            await here.call(here.db.save_grown, done.pipeline, after)
    except WorksetError as error:
        # the workset is complete, whatever becomes of this
        get_run_logger().warning("estimates learn nothing from %s: %s", done.workset_id, error)


async def _failed(
    here: Host,
    record: WorksetRecord,
    step: str,
    category: ErrorCategory | None,
    details: str,
    *,
    job_ended: bool,
    step_runs: tuple[StepRun, ...] = (),
    exhausted: Exhausted = "",
    clusters_fault: bool = False,
    report: str = "",
) -> Outcome:
    await here.call(
        here.db.record_failure,
        record.workset_id,
        details,
        category,
        step,
        fence=record.fence,
        step_runs=step_runs,
        job_ended=job_ended,
        retry_enabled=here.config.enable_retry,
        exhausted=exhausted,
        clusters_fault=clusters_fault,
    )
    after = await here.call(here.db.get, record.workset_id)
    verdict = after.history[-1].note.rpartition("[")[2].rstrip("]")
    if after.state is State.CANCELLED:
        return _told(here, after, f"{verdict}; its job has ended", report)
    return _told(here, after, f"{step} failed, {verdict}: {after.error_details}", report)


def _told(here: Host, record: WorksetRecord, message: str, report: str = "") -> Outcome:
    """The outcome, told to people as well: what it says is saved already."""
    here.lately.count(record)
    here.outbox.tell(record)
    announcement = of_workset(record, message)
    if announcement and (record.owed is None or record.owed.kind != announcement.kind):
        here.announce(announcement)
    return Outcome(record.workset_id, record.state, message, record, report)


async def settle_error(progress: Progress, error: Exception) -> Outcome:
    """Decide what an error in one of the five steps means for the workset, and write it.

    Whatever leaves the state of a job in doubt changes nothing: the workset stays held, and the
    next cycle of this process attaches to it again.
    """
    here, id_, log = host(), progress.workset_id, get_run_logger()
    if isinstance(error, AdmissionRefused):
        await here.call(here.db.note_wait, id_, str(error))
        return Outcome(id_, State.READY, str(error))
    if isinstance(error, NotDelivered):
        return await _waits(here, id_, error)
    if isinstance(error, WorksetNotFound):
        return Outcome(id_, None, str(error))
    record = await here.call(here.db.get, id_)
    if isinstance(error, Refused):
        log.warning("%s", error)
        done = record.state if record.state in (State.COMPLETE, State.CANCELLED) else None
        return Outcome(id_, done, str(error))
    mine = progress.fence == record.fence if progress.fence else record.state not in HELD
    if not mine:
        log.warning("%s: %s; another process holds it now", id_, error)
        return Outcome(id_, None, str(error))
    hiccup = isinstance(error, TransientError | TimeoutError) and progress.step == "validate"
    if hiccup and record.state is State.READY:
        # its place does not answer: that is looked at again beside all else, and costs nothing
        reason = str(error) or "its place does not answer; looked at again"
        return await _waits(here, id_, NotDelivered(Waits(reason, "", PLACE_DELAY_S)))
    if is_prefects(error) and record.state is not State.IN_PROGRESS:
        return await _not_charged(here, record, error)
    if isinstance(error, ResourceError):
        # its work folder took no job; what may go there makes room
        here.full_disks.add(record.cluster_name)
    job_absent = (
        isinstance(error, WorksetError)
        and error.job_absent
        # the refusal is the last submission's; one before it may still be on its way
        and await seal(here.watch(record.cluster_name), record.job_name)
    )
    try:
        if isinstance(error, ClusterRefused) and (record.state is State.LOCKED or job_absent):
            return await _refused_by_cluster(here, record, error, job_absent)
        if isinstance(error, ClusterUnreachable | PlaceAway):
            if not isinstance(error, JobUnknown | PlaceAway):
                here.watch(record.cluster_name).failed(error)
            if record.state is State.LOCKED or job_absent:
                after = await here.call(
                    here.db.postpone,
                    id_,
                    record.fence,
                    str(error),
                    UNREACHABLE_DELAY_S,
                    job_ended=record.job_ended or job_absent,
                )
                return Outcome(id_, after.state, f"postponed: {error}", after)
        if record.state is State.IN_PROGRESS and not job_absent:
            log.error("%s: %s; it stays held and is attached to again", id_, error, exc_info=error)
            await _unsettled(here, record, str(error))
            return Outcome(id_, None, f"its job's state is unknown: {error}", record)
        return await _failed(
            here,
            record,
            progress.step,
            _category(error),
            str(error) if isinstance(error, WorksetError) else f"{type(error).__name__}: {error}",
            job_ended=record.job_ended or job_absent,
        )
    except Refused as lost:
        return Outcome(id_, None, str(lost))


async def _unsettled(here: Host, record: WorksetRecord, why: str) -> None:
    """Have people told, if it lasts, that nobody can say how a job stands."""
    seconds = here.config.stuck_minutes * 60
    try:
        after = await here.call(here.db.unsettled, record.workset_id, record.fence, why, seconds)
    except WorksetError as error:  # the state DB is away: the next look notes it
        get_run_logger().warning(
            "%s: that it is unsettled is not noted: %s", record.job_name, error
        )
        return
    if after is not None:
        here.outbox.tell(after)


async def _refused_by_cluster(
    here: Host, record: WorksetRecord, error: ClusterRefused, job_absent: bool
) -> Outcome:
    """A cluster that answers took no job: the workset waits, ever longer, and people are told."""
    before, now = refusals(record), here.db.now()
    tell = before.to_tell(now, here.config.stuck_minutes * 60)
    after = await here.call(
        here.db.postpone,
        record.workset_id,
        record.fence,
        f"{REFUSED}{error}",
        before.next_delay_s,
        job_ended=record.job_ended or job_absent,
        tell=f"{record.cluster_name} takes no job of it: {error}" if tell else "",
    )
    here.outbox.tell(after)
    return Outcome(record.workset_id, after.state, f"postponed: {error}", after)


async def _waits(here: Host, workset_id: str, error: NotDelivered) -> Outcome:
    """Files are still on their way: the workset stays ready, and they are looked at again."""
    here.look_again_in(error.waits.again_s)
    try:
        after = await here.call(
            here.db.await_delivery, workset_id, error.waits.reason, error.waits.looked
        )
    except Refused as lost:
        return Outcome(workset_id, None, str(lost))
    return Outcome(workset_id, after.state, str(error), after)


async def _not_charged(here: Host, record: WorksetRecord, error: Exception) -> Outcome:
    """Prefect hiccuped before a job had begun: the workset waits, and nothing is counted."""
    message = f"Prefect did not answer as it should: {type(error).__name__}: {error}"
    get_run_logger().warning("%s waits: %s", record.workset_id, message)
    if record.state is not State.LOCKED:
        return Outcome(record.workset_id, record.state, message, record)
    try:
        after = await here.call(
            here.db.postpone,
            record.workset_id,
            record.fence,
            message,
            UNREACHABLE_DELAY_S,
            job_ended=record.job_ended,
        )
    except Refused as lost:
        return Outcome(record.workset_id, None, str(lost))
    return Outcome(record.workset_id, after.state, f"postponed: {message}", after)


def _category(error: Exception) -> ErrorCategory | None:
    if isinstance(error, WorksetError):
        return error.category
    return ErrorCategory.TRANSIENT if isinstance(error, TimeoutError | OSError) else None
