"""Faults in the steps, in what stands before what, and in what people are told."""

import asyncio
from unittest.mock import patch

import flows.poll_worksets
import flows.process_workset
import tasks.launch
import tasks.recover
import worksets.outbox
from blocks.state_db import WorksetStateDB
from host import host
from host.telling import Telling
from tasks.settle import Outcome
from tests.simulation.mutations.registry import mutation
from worksets import events, lifecycle
from worksets.record import HELD, STEPS, StepRun


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
def nobody_goes_on_with_what_a_dead_process_held():
    yield patch.object(tasks.recover, "orphans", lambda *_: [])


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


@mutation
def discovery_stands_before_the_cycle():
    real = flows.poll_worksets._full_cycle

    async def full_cycle(here, launcher):
        launcher.discovery.begin()
        looks = [look for _, look in launcher.discovery._looks.values()]
        await asyncio.gather(*looks, return_exceptions=True)
        await real(here, launcher)

    yield patch.object(flows.poll_worksets, "_full_cycle", full_cycle)
