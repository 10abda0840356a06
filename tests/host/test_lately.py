"""What each customer was given lately, as a process reads it and counts what it ends itself."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host, lately
from host.lately import EVERY
from worksets.config import ProcessorConfig
from worksets.errors import TransientError
from worksets.record import HistoryEntry, State, Step, StepRun, WorksetRecord

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Counted(SQLiteStateDB):
    """A state DB with a clock, which counts how often it is read."""

    _block_type_slug = "counted-state-db"

    _at = NOW
    _reads = 0
    _trouble = None

    def _now(self):
        return self._at

    def with_work_since(self, since=None):
        self._reads += 1
        if self._trouble is not None:
            self._trouble()
        return super().with_work_since(since)


@pytest.fixture
def here(tmp_path):
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", pipelines={}, customers={"acme": {}},
        placement={"share_half_life_hours": 87_600},
    )  # fmt: skip
    db = Counted(path=str(tmp_path / "db"))
    yield Host("s", settings, db, ProcessorConfig())
    db.close()


def ended(name, customer, hours, attempts=1, at=NOW):
    """A complete workset, each attempt of which has taken so long."""
    runs = tuple(
        StepRun(step=Step.RUN, attempt=n + 1, cluster_name="c", exit_code=0,
                started_at=at - timedelta(hours=hours), ended_at=at)
        for n in range(attempts)
    )  # fmt: skip
    return WorksetRecord(
        workset_id=name, customer_id=customer, location=f"file:///{name}", state=State.COMPLETE,
        attempt=attempts, step_runs=runs, created_at=at, updated_at=at,
    )  # fmt: skip


async def test_what_has_ended_is_read_once_an_hour_and_each_attempt_counts_once(here):
    here.db.copy_in(ended("w", "acme", 2, attempts=2))
    assert (await here.lately.hours([]))["acme"] == pytest.approx(4, rel=1e-3)
    assert (await here.lately.hours([]))["acme"] == pytest.approx(4, rel=1e-3)
    assert here.db._reads == 1
    # another poller's is seen with the next look, and the first not once more
    here.db.copy_in(ended("v", "acme", 1))
    assert (await here.lately.hours([]))["acme"] == pytest.approx(4, rel=1e-3)
    here.db._at += EVERY
    assert (await here.lately.hours([]))["acme"] == pytest.approx(5, rel=1e-3)
    assert here.db._reads == 2


async def test_what_this_process_ends_counts_at_once_and_no_more_as_running(here):
    history = (HistoryEntry(at=NOW - timedelta(hours=3), event="Begin", note=""),)
    held = ended("w", "acme", 3).model_copy(
        update={"state": State.IN_PROGRESS, "step_runs": (), "history": history}
    )
    assert (await here.lately.hours([held]))["acme"] == pytest.approx(3, rel=1e-3)
    here.lately.count(ended("w", "acme", 3))
    assert (await here.lately.hours([held]))["acme"] == pytest.approx(3, rel=1e-3)
    retried = held.model_copy(update={"attempt": 2})
    assert (await here.lately.hours([retried]))["acme"] == pytest.approx(6, rel=1e-3)


async def test_without_a_half_life_nothing_is_read(here):
    here.db.copy_in(ended("w", "acme", 2))
    await here.lately.hours([])
    policy = here.settings.placement.model_copy(update={"share_half_life_hours": 0.0})
    here.settings = here.settings.model_copy(update={"placement": policy})
    assert await here.lately.hours([]) == {}
    assert here.db._reads == 1


async def test_a_dead_letter_is_counted_once_however_long_it_lies_there(here):
    here.db.copy_in(ended("w", "acme", 2).model_copy(update={"state": State.FAILED}))
    for _ in range(60):
        assert (await here.lately.hours([]))["acme"] == pytest.approx(2, rel=1e-2)
        here.db._at += EVERY
    assert here.db._reads == 60


async def test_a_workset_that_takes_over_the_name_of_another_counts_by_itself(here):
    assert await here.lately.hours([]) == {}
    here.lately.count(ended("w", "acme", 2, attempts=3).model_copy(update={"uid": "i-1"}))
    here.lately.count(ended("w", "acme", 5).model_copy(update={"uid": "i-2"}))
    assert (await here.lately.hours([]))["acme"] == pytest.approx(11, rel=1e-3)


async def test_nothing_waits_for_a_read_that_hangs(here, monkeypatch):
    monkeypatch.setattr(lately, "WAIT_S", 0.05)
    goes_on = threading.Event()
    here.db._trouble = goes_on.wait
    here.db.copy_in(ended("w", "acme", 2))
    began = time.monotonic()
    assert await here.lately.hours([]) == {} and await here.lately.hours([]) == {}
    assert time.monotonic() - began < 5 and here.db._reads == 1
    goes_on.set()
    await asyncio.wait_for(here.lately._reading, 5)
    found = await here.lately.hours([])
    assert found["acme"] == pytest.approx(2, rel=1e-3)


async def test_a_read_that_fails_is_told_and_tried_again(here, caplog):
    def away():
        raise TransientError("the state DB is away")

    here.db._trouble = away
    here.db.copy_in(ended("w", "acme", 2))
    assert await here.lately.hours([]) == {}
    assert "the state DB is away; turns go by what is known" in caplog.text
    here.db._trouble = None
    assert (await here.lately.hours([]))["acme"] == pytest.approx(2, rel=1e-3)
