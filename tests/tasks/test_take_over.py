"""What a poller holds of what a dead one has left, before the flow runs for it are there."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from blocks.state_db import SQLiteStateDB
from tasks.recover import Recovered, take_over
from worksets.record import WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = {"global": 9, "cluster:a": 9}


@pytest.fixture
def db(tmp_path):
    found = SQLiteStateDB(path=str(tmp_path / "state.db"))
    for owner in ("dead", "ours", "another"):
        found.renew_lease(owner, 3600)
    found.register(
        WorksetRecord(workset_id="w", location="file:///w", created_at=NOW, updated_at=NOW)
    )
    return found


def process(db, live=()):
    async def call(function, *arguments):
        return function(*arguments)

    return SimpleNamespace(db=db, owner="ours", call=call, live=set(live))


async def taken(db, *held, runs_here=("a",), live=()):
    recovered = Recovered(frozenset({"dead"}), held)
    return await take_over(process(db, live), recovered, runs_here)


async def test_what_will_run_here_is_held_at_once(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    [held] = await taken(db, left)
    assert held == db.get("w") and (held.lock_owner, held.fence) == ("ours", left.fence + 1)
    # its flow has broken off: it is held already, and begun again
    assert await taken(db, held) == [held] == [db.get("w")]


@pytest.mark.parametrize("runs_here", [(), ("b",)])
async def test_what_will_run_elsewhere_is_left_to_whoever_runs_it(db, runs_here):
    """A worker's process could not take it from a poller that lives."""
    left = db.lock("w", "dead", "a", "why", LIMITS)
    assert await taken(db, left, runs_here=runs_here) == [left] == [db.get("w")]


async def test_what_another_poller_has_taken_is_not_begun_here(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    db.take_over("w", "another", "dead")
    assert await taken(db, left) == []
    assert await taken(db, left, runs_here=("b",)) == []
    assert db.get("w").lock_owner == "another"


async def test_what_runs_here_meanwhile_is_not_begun_twice(db):
    """Its flow has ended without an answer, and a person has started it again."""
    held = db.lock("w", "ours", "a", "why", LIMITS)
    assert await taken(db, held, live=["w"]) == []


async def test_all_that_a_dead_poller_has_left_is_held(db):
    for name in ("x", "y"):
        db.register(
            WorksetRecord(
                workset_id=name, location=f"file:///{name}", created_at=NOW, updated_at=NOW
            )
        )
    held = [db.lock(name, "dead", "a", "why", LIMITS) for name in ("w", "x", "y")]
    another = db.take_over("y", "another", "dead")
    left = await taken(db, *held)
    assert left == [db.get("w"), db.get("x")]
    assert {record.lock_owner for record in left} == {"ours"} and db.get("y") == another
