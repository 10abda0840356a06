"""recover: who may say that another process is gone."""

import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest

import host.opening
import host.telling
import tasks.recover
from blocks.state_db import SQLiteStateDB
from host.telling import Telling
from worksets.announcements import Kind
from worksets.config import ProcessorConfig
from worksets.record import State, WorksetRecord


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A process beside which another died with one workset locked and one begun."""
    monkeypatch.setattr(tasks.recover, "get_run_logger", lambda: logging.getLogger("run"))
    monkeypatch.setattr(host.telling, "emit_event", lambda **_: None)
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    now = db.now()
    db.renew_lease("dead", 3)
    for id_ in ("locked", "begun"):
        db.register(
            WorksetRecord(
                workset_id=id_, customer_id="c", location="f", created_at=now, updated_at=now
            )
        )
        held = db.lock(id_, "dead", "a", "r", {})
    db.begin("begun", held.fence)
    db.drop_lease("dead")
    db._now = lambda: now + timedelta(seconds=60)

    async def call(function, *args):
        return function(*args)

    told = []
    telling = Telling(ProcessorConfig())
    telling.announce = told.append
    found = SimpleNamespace(
        db=db, call=call, telling=telling, tell_of_unreadable=lambda: None, told=told, owner="me"
    )
    monkeypatch.setattr(host.opening, "_current", SimpleNamespace(get=lambda: found))
    return found


async def test_what_a_dead_process_held_is_brought_back(here):
    assert (await tasks.recover.recover.fn()).gone == {"dead"}
    assert here.db.get("locked").state is State.READY and here.told == []


async def test_a_process_whose_clock_is_off_judges_nobody_and_says_so_once(here):
    here.db.__dict__["clock_off_s"] = lambda: -45.0
    for _ in range(3):
        assert (await tasks.recover.recover.fn()).gone == frozenset()
    assert here.db.get("locked").state is State.LOCKED
    [one] = here.told
    assert one.kind is Kind.CLOCK_OFF and "45 s behind" in one.message
    del here.db.__dict__["clock_off_s"]
    assert (await tasks.recover.recover.fn()).gone == {"dead"}


async def test_the_look_at_the_state_db_waits_for_nothing_of_prefect(here, monkeypatch):
    """To end 300 runs takes Prefect ten seconds, in which nobody would hold their worksets."""
    order = []

    async def crash(owner):
        order.append(("runs of", owner, here.db.get("begun").lock_owner))

    monkeypatch.setattr(tasks.recover, "_crash_runs_of", crash)
    now = here.db.now()
    here.db.renew_lease("dead", 3)
    here.db._now = lambda: now + timedelta(seconds=60)
    found = await tasks.recover.recover.fn()
    assert order == [] and set(found.over) == {"dead"}
    # one that holds something still is not forgotten: it would count as gone at once
    await tasks.recover.end_dead_runs.fn(found.over)
    assert set(here.db.leases()) == {"dead"}
    here.db.renew_lease("me", 30)
    here.db.take_over("begun", "me", "dead")
    await tasks.recover.end_dead_runs.fn(found.over)
    assert order == [("runs of", "dead", "dead"), ("runs of", "dead", "me")]
    assert set(here.db.leases()) == {"me"}


async def test_one_that_dies_is_noticed_when_its_lease_is_over_and_once(here):
    """What it held would wait for the next full cycle, half a minute later."""
    db, asked = here.db, []
    began = db.now()

    def at(seconds):
        db._now = lambda: began + timedelta(seconds=seconds)

    async def call(function, *args):
        asked.append(function)
        return function(*args)

    here.call = call
    at(0)
    for owner in ("me", "lives", "dies"):
        db.renew_lease(owner, 30)
    neighbours = tasks.recover.Neighbours(here)
    assert not await neighbours.one_is_gone() and not asked, "there is nobody"
    found = await tasks.recover.recover.fn()
    assert set(found.alive) == {"lives", "dies"} and found.others
    neighbours.seen(found.alive)
    asked.clear()
    at(20)
    for owner in ("me", "lives"):
        db.renew_lease(owner, 30)
    at(34.9)  # the clocks of two machines may differ by 5 s
    assert not await neighbours.one_is_gone() and not asked
    at(35.1)
    assert await neighbours.one_is_gone() and len(asked) == 1
    assert not await neighbours.one_is_gone() and len(asked) == 1
    assert neighbours.look_at == began + timedelta(seconds=55)
    at(40)
    db.renew_lease("lives", 30)
    at(55.1)  # asked, and it lives
    assert not await neighbours.one_is_gone() and len(asked) == 2
    assert neighbours.look_at == began + timedelta(seconds=75)
    db.drop_lease("lives")  # it was stopped
    at(75.1)
    assert await neighbours.one_is_gone() and neighbours.look_at is None
