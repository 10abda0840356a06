"""What the simulation has found in the product, each in the few lines that show it."""

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import blocks.clusters.slurm.cluster
import host.opening
from blocks.clusters import ClusterWatch, SlurmCluster
from blocks.clusters.slurm.transport import LocalTransport, Result
from host.budgets import Budgets
from host.lately import Lately
from host.threads import LooseThreads
from tasks.cancel import stop_job
from tasks.dispatch import dispatch
from tasks.monitor import monitor
from tasks.settle import Progress, settle, settle_error
from tasks.validate import Validated
from tests.simulation.markers import packed
from tests.simulation.store import Table, model_state_db
from worksets.announcements import Kind
from worksets.belief import NOTHING, Markers, Word, believe
from worksets.config import ProcessorConfig
from worksets.errors import (
    ClusterUnreachable,
    ConfigurationError,
    ErrorCategory,
    FenceLost,
    JobUnknown,
    TransientError,
)
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.record import STEPS, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Cluster(SlurmCluster):
    """A cluster without a job; remembers what it was told."""

    _block_type_slug = "told-cluster"
    _told: list = []
    _unreachable: bool = False
    _done: bool = False

    def submit(self, spec):
        self._told.append(f"submit {spec.name}")

    def cancel(self, name, *, for_good=True):
        if self._unreachable:
            raise ClusterUnreachable("no route to host")
        self._told.append(f"seal {name}")

    def capacity(self, needs=()):
        return None

    def observe(self, names):
        if self._done:
            marks = tuple(StepMarkers(step, NOW, NOW, exit_code=0) for step in STEPS)
            return {name: JobStatus(name, Phase.ENDED, marks) for name in names}
        sealed = [name for name in names if f"seal {name}" in self._told]
        return {
            name: JobStatus(name, Phase.VANISHED if name in sealed else Phase.ABSENT)
            for name in names
        }


@pytest.fixture
def here(monkeypatch):
    """A process that holds no workset yet, and one workset that is ready."""
    for name in ("dispatch.get_run_logger", "settle.get_run_logger", "cancel.run_log"):
        monkeypatch.setattr(f"tasks.{name}", lambda: logging.getLogger("test"))
    db = model_state_db(Table())
    now = db.now()
    db.register(
        WorksetRecord(
            workset_id="w", customer_id="c", location="file:///w", created_at=now, updated_at=now
        )
    )
    db.renew_lease("p", 30)

    async def call(function, *arguments, **named):
        return function(*arguments, **named)

    async def at(_location, function, *arguments):
        return function(*arguments)

    cluster = Cluster(cluster_name="a", work_folder="/w")
    cluster._told = []
    watch = ClusterWatch(cluster, call)
    found = SimpleNamespace(
        db=db, call=call, at=at, cluster=cluster, owner="p", config=ProcessorConfig(),
        watch=lambda _name: watch, announce=lambda _: None,
        settings=SimpleNamespace(status_files=False),
        outbox=SimpleNamespace(tell=lambda _: None),
    )  # fmt: skip
    found.budgets = Budgets(found)
    found.lately = Lately(found)
    monkeypatch.setattr(host.opening, "_current", SimpleNamespace(get=lambda: found))
    return found


async def test_a_process_that_has_lost_its_workset_submits_nothing(here):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    here.db.take_over("w", "q", "p")
    with pytest.raises(FenceLost, match="changed hands"):
        await dispatch.fn(Validated(held, None), held)
    assert here.cluster._told == []


async def test_a_refused_attempt_is_sealed_before_it_counts_as_never_started(here):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    error = ConfigurationError("no such partition")
    error.job_absent = True
    here.cluster._unreachable = True
    assert (await settle_error(Progress("w", "dispatch", held.fence), error)).state is None
    assert here.db.get("w").state is State.IN_PROGRESS, "its job may still arrive"
    here.cluster._unreachable = False
    assert (await settle_error(Progress("w", "dispatch", held.fence), error)).state is State.FAILED
    assert (
        here.cluster._told == [f"seal w.{here.db.get('w').uid}.a1"] and here.db.get("w").job_ended
    )


async def test_an_earlier_attempt_that_is_absent_is_sealed_before_the_next_begins(here):
    here.db.begin("w", here.db.lock("w", "p", "a", "r", {}).fence)
    here.db.record_failure("w", "an operator's word", ErrorCategory.DATA, "run")
    here.db.restore("w", "again")
    held = here.db.lock("w", "p", "a", "r", {})
    with pytest.raises(ConfigurationError):  # it has no file here: a job cannot be made
        await dispatch.fn(Validated(held, None), held)
    assert (
        here.cluster._told == [f"seal w.{here.db.get('w').uid}.a1"]
        and here.db.get("w").attempt == 2
    )


@pytest.mark.parametrize("came_late", [False, True])
async def test_nobody_is_charged_for_an_attempt_that_was_sealed_before_it_began(here, came_late):
    """Seeds 86, 4221: the controller's disk was full; who had sealed the attempt knew no more.

    In the second the network brought the submission once more, later: its job found the seal.
    """
    held = here.db.lock("w", "p", "a", "r", {})
    begun = here.db.begin("w", held.fence)
    sealed = Markers(steps=STEPS, claimed=True, sealed=True, submitted=came_late)
    word = Word(Phase.ENDED, "FAILED", ErrorCategory.TRANSIENT) if came_late else None
    verdict = believe(NOTHING, begun.job_name, word, sealed, 0.0, 60.0)
    assert verdict.status.over
    outcome = await settle(begun, verdict.status)
    after = here.db.get("w")
    assert outcome.state is after.state is State.RETRYING
    assert after.retry_count == 0 and after.job_ended


@pytest.mark.parametrize("returns_first", [True, False])
async def test_a_look_that_returns_as_it_is_let_go_of_does_not_hang_for_ever(returns_first):
    """Seed 1646: a process woke from its sleep; its look had returned, and its time was over."""
    call, back = LooseThreads(2, "a share"), threading.Event()
    look = asyncio.create_task(call.at("w1", back.wait, 30))
    await asyncio.sleep(0.05)
    if not returns_first:
        asyncio.get_running_loop().call_soon(look.cancel)
    back.set()
    time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still, as in a process that sleeps
    if returns_first:
        asyncio.get_running_loop().call_soon(look.cancel)
    with pytest.raises(asyncio.CancelledError):
        await look
    assert await call.at("w1", int, "7") == 7


async def test_what_could_not_be_owed_to_people_is_owed_at_the_next_look(here, monkeypatch):
    """Seed 1579: the state DB was away in the moment in which a job had been stuck for long."""
    monkeypatch.setattr("tasks.monitor.get_run_logger", lambda: logging.getLogger("test"))
    here.config = ProcessorConfig(stuck_minutes=0)
    begun = here.db.begin("w", here.db.lock("w", "p", "a", "r", {}).fence)
    stuck = JobStatus(begun.job_name, Phase.QUEUED, (), "JobHeldUser", stuck="release it")
    away = [TransientError("the state DB did not answer")]

    async def call(function, *arguments):
        if function == here.db.owe and away:
            raise away.pop()
        return function(*arguments)

    class Run(SimpleNamespace):
        async def wait_for_completion(self):
            for _ in range(4):
                self.notice(stuck)
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        async def fetch_result(self):
            return stuck

    here.call = call
    await monitor.fn(Run(name=begun.job_name, watch=None))
    assert here.db.get("w").owed.kind == Kind.STUCK
    assert [entry.event for entry in here.db.get("w").history].count("Owe") == 1


class Forgetful(LocalTransport):
    """A job has claimed its attempt, and Slurm lists what it likes to."""

    squeue: str
    markers: str

    def run(self, script, timeout_s=60):
        if "squeue -h" in script:
            return Result(0, self.squeue, "")
        return Result(0, self.markers if "echo @" in script else "", "")


class Told(SlurmCluster):
    """What it hears comes without a frame."""

    _block_type_slug = "told-slurm-cluster"

    def _run(self, shell, timeout_s=60.0):
        return self.transport.run(shell)


JOB = f"steps {packed('stage')}\njob {packed('7')}\nclaimed\n"


@pytest.mark.parametrize(
    ("squeue", "markers", "phase"),
    [
        ("", f"steps {packed('stage')}\nclaimed\n", Phase.RUNNING),
        # only its twin is listed, which found the attempt claimed
        ("8|w.a1|FAILED|NonZeroExitCode|\n", JOB, Phase.RUNNING),
        ("7|w.a1|NODE_FAIL|None|\n", JOB, Phase.RUNNING),
        ("7|w.a1|CANCELLED|None|\n", f"{JOB}cancelled\n", Phase.VANISHED),
        ("", f"steps {packed('stage')}\nsealed\nclaimed\n", Phase.VANISHED),
    ],
)
def test_a_claimed_job_that_slurm_does_not_list_is_not_gone_at_once(squeue, markers, phase):
    cluster = Told(cluster_name="a", work_folder="/w")
    cluster.transport = Forgetful(squeue=squeue, markers=f"@ w.a1\n{markers}")
    cluster._prepared = True
    assert cluster.observe(["w.a1"])["w.a1"].phase is phase


def test_what_a_look_has_seen_is_as_old_as_the_look(monkeypatch):
    """Seed 6660: its process slept on the answer, in which the last marker was not seen yet."""
    clock = [0.0]

    class Slow(Forgetful):
        def run(self, script, timeout_s=60):
            answer = super().run(script, timeout_s)
            clock[0] += 40 if "echo @" in script else 0
            return answer

    monkeypatch.setattr(
        blocks.clusters.slurm.cluster, "time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    cluster = Told(cluster_name="a", work_folder="/w")
    cluster.transport = Slow(squeue="7|w.a1|COMPLETED|None|\n", markers=f"@ w.a1\n{JOB}")
    cluster._prepared = True
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.RUNNING
    clock[0] += 20
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.RUNNING, "seen 20 s after the word"
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.VANISHED


def test_a_job_that_has_just_begun_is_doubted_anew():
    """Seed 6844: it was brought back after a minute, between squeue's answer and the markers'."""
    handed_in = Markers(steps=STEPS, submitted=True)
    doubt = believe(NOTHING, "w.a1", None, handed_in, 0.0, 60.0).after
    begun = Markers(steps=STEPS, submitted=True, claimed=True)
    verdict = believe(doubt, "w.a1", None, begun, 61.0, 60.0)
    assert verdict.status.phase is Phase.RUNNING
    assert believe(verdict.after, "w.a1", None, begun, 122.0, 60.0).status.phase is Phase.VANISHED


async def test_one_job_that_cannot_be_known_makes_no_cluster_unreachable(here):
    """B4: a damaged marker of one workset, and nothing was placed on its cluster any more."""
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    here.cluster.__dict__["observe"] = lambda names: {
        name: JobStatus(name, Phase.UNKNOWN, note="/w/run.exit is empty") for name in names
    }
    with pytest.raises(JobUnknown, match=r"/w/run\.exit is empty") as error:
        await dispatch.fn(Validated(held, None), held)
    outcome = await settle_error(Progress("w", "dispatch", held.fence), error.value)
    assert outcome.state is None and here.db.get("w").state is State.IN_PROGRESS
    assert here.watch("a").health.failures == 0


async def test_a_cancelled_workset_is_cancelled_though_the_job_before_has_ended_well(here):
    """Seed 6906: nobody writes the end of an earlier job for a workset that is only locked."""
    here.db.begin("w", here.db.lock("w", "p", "a", "r", {}).fence)
    here.db.record_failure("w", "an operator's word", ErrorCategory.DATA, "run")
    here.db.restore("w", "again")
    here.db.lock("w", "p", "a", "r", {})
    here.db.cancel("w", "not wanted")
    here.cluster._done = True
    await stop_job(here, here.db.get("w"))
    assert here.db.get("w").state is State.CANCELLED


async def test_no_intent_is_written_for_a_cluster_that_does_not_answer(here):
    """Once in 1,500 lives: it had answered when the workset was placed, and an attempt was lost."""
    held = here.db.lock("w", "p", "a", "r", {})

    def capacity(needs=()):
        raise ClusterUnreachable("no route to host")

    here.cluster.__dict__["capacity"] = capacity
    with pytest.raises(ClusterUnreachable) as error:
        await dispatch.fn(Validated(held, None), held)
    record = here.db.get("w")
    assert (record.state, record.attempt) == (State.LOCKED, 0) and here.cluster._told == []
    outcome = await settle_error(Progress("w", "dispatch", held.fence), error.value)
    assert outcome.state is State.RETRYING and here.db.get("w").attempt == 0, "postponed"
