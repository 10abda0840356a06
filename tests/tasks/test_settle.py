"""What an error in a step means for the workset: Prefect's own troubles are never charged to it."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import PrefectException

import host.opening
from blocks.state_db import SQLiteStateDB
from host.budgets import Budgets
from host.lately import Lately
from tasks.settle import Progress, settle, settle_error
from worksets.capacity import ClusterView
from worksets.config import ProcessorConfig
from worksets.errors import ClusterUnreachable
from worksets.growth import Asks
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.record import STEPS, State, Step, WorksetRecord
from worksets.requests import JobRequest


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.settle.get_run_logger", lambda: logging.getLogger("test"))
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    now = db.now()
    db.register(
        WorksetRecord(
            workset_id="w", customer_id="c", location="file:///w", created_at=now, updated_at=now
        )
    )
    db.renew_lease("p", 30)

    async def call(function, *arguments, **named):
        return function(*arguments, **named)

    found = SimpleNamespace(
        db=db, call=call, config=ProcessorConfig(), announce=lambda _: None,
        full_disks=set(), outbox=SimpleNamespace(tell=lambda _: None),
        settings=SimpleNamespace(budgets_usd={}, pipeline=lambda _: None),
        asks_of=lambda _: Asks("a", "b"),
    )  # fmt: skip
    found.budgets = Budgets(found)
    found.lately = Lately(found)
    monkeypatch.setattr(host.opening, "_current", SimpleNamespace(get=lambda: found))
    return found


AT = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = ClusterView(name="a", max_concurrent_worksets=1)
ENDED_WELL = JobStatus("w.a1", Phase.ENDED, tuple(StepMarkers(s, AT, AT, 0) for s in STEPS))


def says(text):
    """A log, as a cluster that answers gives it."""
    return lambda _name, step: text if step is Step.RUN else ""


def unreachable(_name, _step):
    raise ClusterUnreachable("no route to host")


@pytest.mark.parametrize(
    ("log", "shown"), [(says("all\x1b[31m well"), True), (says(""), False), (unreachable, False)]
)
async def test_what_ended_well_shows_the_end_of_its_log_and_needs_none(here, log, shown):
    cluster = SimpleNamespace(
        log_tail=log, request=lambda *_: JobRequest(vcpus=1, memory_gb=1), view=lambda: VIEW
    )
    here.watch = lambda _: SimpleNamespace(call=here.call, cluster=cluster)
    held = here.db.lock("w", "p", "a", "r", {})
    begun = here.db.begin("w", held.fence)
    outcome = await settle(begun, ENDED_WELL)
    assert outcome.state is State.COMPLETE and here.db.get("w").state is State.COMPLETE
    assert ("all well" in outcome.report) == shown == outcome.report.startswith("## End of the log")


async def test_a_log_that_hangs_is_not_waited_for(here, monkeypatch):
    monkeypatch.setattr("tasks.settle.LOG_S", 0.05)

    async def hangs(function, *arguments):
        await asyncio.sleep(60)

    cluster = SimpleNamespace(
        log_tail=says("never"), request=lambda *_: JobRequest(vcpus=1, memory_gb=1),
        view=lambda: VIEW,
    )  # fmt: skip
    here.watch = lambda _: SimpleNamespace(call=hangs, cluster=cluster)
    begun = here.db.begin("w", here.db.lock("w", "p", "a", "r", {}).fence)
    outcome = await settle(begun, ENDED_WELL)
    assert outcome.state is State.COMPLETE and outcome.report == ""


def when_due(db):
    """Let the time of the next try come."""
    due = db.get("w").retry_after
    db._now = lambda: due
    db.renew_lease("p", 30)
    db.requeue_due()


PREFECTS = [
    ConcurrencySlotAcquisitionError("Unable to acquire concurrency slots on ['tag:worksets']"),
    PrefectException("the server is not there"),
    httpx.ConnectError("All connection attempts failed"),
    RuntimeError("Failed to reach API at http://127.0.0.1:4200/api/"),
]


@pytest.mark.parametrize("error", PREFECTS, ids=lambda error: type(error).__name__)
async def test_prefects_troubles_cost_a_workset_nothing_however_often(here, error):
    for _ in range(4):
        held = here.db.lock("w", "p", "a", "r", {})
        outcome = await settle_error(Progress("w", "dispatch", held.fence), error)
        assert outcome.state is State.RETRYING
        when_due(here.db)
    record = here.db.get("w")
    assert (record.state, record.retry_count, record.attempt) == (State.READY, 0, 0)
    outcome = await settle_error(Progress("w", "validate"), error)
    assert outcome.state is State.READY and here.db.get("w") == record


@pytest.mark.parametrize("error", PREFECTS, ids=lambda error: type(error).__name__)
async def test_a_begun_attempt_stays_held(here, error):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    before = here.db.get("w")
    assert (await settle_error(Progress("w", "monitor", held.fence), error)).state is None
    after, aside = here.db.get("w"), ("version", "updated_at", "unsettled_since", "unsettled_seen")
    assert after == before.model_copy(update={key: getattr(after, key) for key in aside})


async def test_people_must_know_of_a_job_that_nobody_can_speak_of_for_long(here):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    now, told = here.db.now(), []
    here.outbox.tell = lambda record: told.append(record.owed)
    for minute in range(20):
        here.db._now = lambda at=now + timedelta(minutes=minute): at
        await settle_error(Progress("w", "monitor", held.fence), PREFECTS[1])
    assert [owed.since for owed in told if owed] == [now + timedelta(minutes=15)] * 5
    assert "the server is not there" in here.db.get("w").owed.message


async def test_an_error_that_nobody_knows_is_tried_again_once(here):
    states = []
    for _ in range(2):
        held = here.db.lock("w", "p", "a", "r", {})
        error = ZeroDivisionError("a fault of ours")
        states.append((await settle_error(Progress("w", "dispatch", held.fence), error)).state)
        if states[-1] is State.RETRYING:
            when_due(here.db)
    assert states == [State.RETRYING, State.FAILED]
