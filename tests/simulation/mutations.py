"""Faults made by hand in the life cycle, the store and the steps, each as a patch of the real code.

They show that the simulation finds what it looks for; each has been, or might be, a real mistake.
"""

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import PropertyMock, patch

import blocks.clusters.slurm.cluster
import flows.process_workset
import tasks.dispatch
import tasks.launch
import tasks.settle
import worksets.belief
import worksets.outbox
from blocks.clusters import ClusterWatch, SlurmCluster
from blocks.state_db import WorksetStateDB
from blocks.state_db.store import scope_is_full
from host import host
from host.telling import Telling
from tasks.settle import Outcome
from tests.simulation.slurm import Folder
from tests.simulation.store import ModelStateDB
from worksets import events, lifecycle, transitions
from worksets.errors import ClusterUnreachable
from worksets.health import Health
from worksets.jobs import JobStatus, Phase
from worksets.record import HELD, STEPS, State, StepRun, WorksetRecord

MUTATIONS = {}


def mutation(make):
    """Register a function that returns patches, under its name in plain words."""

    @contextmanager
    def broken():
        with ExitStack() as stack:
            for one in make():
                stack.enter_context(one)
            yield

    MUTATIONS[make.__name__.replace("_", "-")] = broken
    return make


def rules(**changed):
    """The life cycle with some events changed, or their new records, on the way."""
    new = {}
    for name, change in changed.items():
        kind = getattr(events, name)
        new[kind] = change(lifecycle._RULES[kind])
    return patch.dict(lifecycle._RULES, new)


# --- The life cycle ---


@mutation
def fence_not_checked():
    def unfenced(rule):
        return lambda record, event, now: rule(
            record, event if event.fence is None else replace(event, fence=record.fence), now
        )

    yield rules(Begin=unfenced, Complete=unfenced, Fail=unfenced, Postpone=unfenced)


@mutation
def take_over_keeps_the_fence():
    def same_fence(rule):
        def take_over(record, event, now):
            after = rule(record, event, now)
            if isinstance(after, WorksetRecord):
                after = after.model_copy(update={"fence": record.fence})
            return after

        return take_over

    yield rules(TakeOver=same_fence)


@mutation
def stale_work_is_released_instead_of_taken_over():
    def released(_rule):
        def release(record, event, now):
            if record.state not in HELD or record.lock_owner != event.previous_owner:
                return transitions.refuse(record, event)
            return transitions.changed(
                record, event, now, state=State.READY, lock_owner="", fence=record.fence + 1
            )

        return release

    def release_stale(self, stale):
        owners = {record.workset_id: record.lock_owner for record in stale}
        return self._each(owners, lambda id_: events.ReleaseStale(owners[id_]))

    yield rules(ReleaseStale=released)
    yield patch.object(WorksetStateDB, "release_stale", release_stale)


@mutation
def pinned_cluster_ignored():
    yield patch.object(WorksetRecord, "pinned_cluster", PropertyMock(return_value=""))


@mutation
def a_retry_begins_from_the_first_step():
    for module in (tasks.dispatch, tasks.settle):
        yield patch.object(module, "steps_to_run", lambda _completed: STEPS)


# --- The store ---


@mutation
def compare_and_set_without_the_compare():
    real = ModelStateDB._commit_now

    def commit(self, _before, after, *others):
        real(self, self._table.records[after.workset_id], after, *others)

    yield patch.object(ModelStateDB, "_commit_now", commit)


@mutation
def limits_checked_before_the_lock():
    real = ModelStateDB._commit

    def commit(self, before, after, limits, alive_at):
        holders = self._holders() if limits else {}
        for scope in sorted(after.scopes - before.scopes):
            if scope in limits and len(holders.get(scope, ())) >= limits[scope]:
                raise scope_is_full(scope, limits[scope], holders[scope])
        real(self, before, after, {}, alive_at)

    yield patch.object(ModelStateDB, "_commit", commit)


@mutation
def holders_counted_instead_of_kept_as_a_set():
    real = ModelStateDB._commit

    def commit(self, before, after, limits, alive_at):
        counts = self._table.notes.setdefault("counts", Counter())
        added = sorted(after.scopes - before.scopes)
        for scope in added:
            if scope in limits and counts[scope] >= limits[scope]:
                raise scope_is_full(scope, limits[scope], ())
        real(self, before, after, {}, alive_at)
        removed = sorted(before.scopes - after.scopes)
        if added:
            self._do("count up", lambda: counts.update(added))
        if removed:
            self._do("count down", lambda: counts.subtract(removed))

    yield patch.object(ModelStateDB, "_commit", commit)


@mutation
def lease_not_checked_in_the_lock():
    real = ModelStateDB._commit
    yield patch.object(
        ModelStateDB,
        "_commit",
        lambda self, before, after, limits, _alive_at: real(self, before, after, limits, None),
    )


# --- The steps ---


@mutation
def submitted_before_the_intent_is_written():
    def begin(self, workset_id, fence, step_runs=()):
        return lifecycle.apply(self.get(workset_id), events.Begin(fence, step_runs), self.now())

    yield patch.object(WorksetStateDB, "begin", begin)


@mutation
def lock_released_on_every_error():
    real = flows.process_workset.settle_error

    async def settle_error(progress, error):
        here = host()
        record = await here.call(here.db.get, progress.workset_id)
        if record.state not in HELD or record.lock_owner != here.owner:
            return await real(progress, error)
        args = (record.workset_id, record.fence, str(error), 1.0)
        after = await here.call(here.db.postpone, *args, job_ended=True)
        return Outcome(progress.workset_id, after.state, str(error))

    yield patch.object(flows.process_workset, "settle_error", settle_error)


@mutation
def an_ended_job_is_a_complete_workset():
    async def settle(record, status):
        here = host()
        runs = status.step_runs(record.attempt, record.cluster_name)
        now, known = here.db.now(), {run.step for run in runs}
        invented = tuple(
            StepRun(
                step=step, attempt=record.attempt, cluster_name=record.cluster_name, exit_code=0,
                started_at=now, ended_at=now,
            )
            for step in STEPS if step not in known
        )  # fmt: skip
        done = tuple(run.model_copy(update={"exit_code": 0}) for run in runs) + invented
        args = (record.workset_id, record.fence, done)
        return Outcome(record.workset_id, (await here.call(here.db.complete, *args)).state, "")

    yield patch.object(flows.process_workset, "settle", settle)


@mutation
def an_unanswered_question_is_an_end():
    real = SlurmCluster.observe

    def observe(self, names):
        try:
            return real(self, names)
        except ClusterUnreachable:
            return {name: JobStatus(name, Phase.VANISHED) for name in names}

    yield patch.object(SlurmCluster, "observe", observe)


@mutation
def a_job_that_is_not_listed_is_gone_at_once():
    def believe(*args):
        return worksets.belief.believe(*args[:-1], 0.0)

    yield patch.object(blocks.clusters.slurm.cluster, "believe", believe)


@mutation
def an_end_without_its_marker_is_believed_at_once():
    def believe(before, name, word, markers, now, late_s):
        ended = word is not None and word.phase is Phase.ENDED
        return worksets.belief.believe(before, name, word, markers, now, 0 if ended else late_s)

    yield patch.object(blocks.clusters.slurm.cluster, "believe", believe)


@mutation
def claims_do_not_keep_a_second_job_out():
    yield patch.object(Folder, "claim", lambda self: True)


@mutation
def nobody_goes_on_with_what_a_dead_process_held():
    async def orphans(_here, _gone):
        return []

    yield patch.object(tasks.launch, "orphans", orphans)


@mutation
def a_damaged_marker_raises():
    real = blocks.clusters.slurm.cluster.parse_markers

    def parse_markers(text, folders):
        found = real(text, folders)
        if any(markers.unreadable for markers in found.values()):
            raise ValueError("a marker is damaged")
        return found

    yield patch.object(blocks.clusters.slurm.cluster, "parse_markers", parse_markers)


@mutation
def health_is_forgotten_and_no_look_comes_before_the_intent():
    async def reach(_watch):
        pass

    yield patch.object(ClusterWatch, "reach", reach)
    yield patch.object(Health, "unavailable", lambda _health, _now: "")


@mutation
def what_people_must_know_is_not_owed():
    yield patch.object(worksets.outbox, "owing", lambda *_: {})


@mutation
def what_is_owed_counts_as_told_before_it_is():
    real = Telling.deliver

    async def deliver(telling, announcement, but_for):
        took, _ = await real(telling, announcement, but_for)
        return took, True

    yield patch.object(Telling, "deliver", deliver)
