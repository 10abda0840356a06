"""What a poller holds of what a dead one has left, before the flow runs for it are there."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from blocks.state_db import SQLiteStateDB
from flows.process_workset import process_workset
from tasks.labels import flow_run_name
from tasks.launch import Launcher, _under_its_name
from tasks.recover import Recovered
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


def launcher(db, launch="inline", clusters=("a",), live=()):
    async def call(function, *arguments):
        return function(*arguments)

    here = SimpleNamespace(
        db=db, owner="ours", call=call, watches=dict.fromkeys(clusters), live=set(live)
    )
    return SimpleNamespace(here=here, launch=launch)


async def taken(db, record, **more):
    return await Launcher._taken(launcher(db, **more), record)


async def test_what_will_run_here_is_held_at_once(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    held = await taken(db, left)
    assert held == db.get("w") and (held.lock_owner, held.fence) == ("ours", left.fence + 1)
    # its flow has broken off: it is held already, and begun again
    assert await taken(db, held) == held == db.get("w")


@pytest.mark.parametrize("where", [{"launch": "deployment"}, {"clusters": ["b"]}])
async def test_what_will_run_elsewhere_is_left_to_whoever_runs_it(db, where):
    """A worker's process could not take it from a poller that lives."""
    left = db.lock("w", "dead", "a", "why", LIMITS)
    assert await taken(db, left, **where) == left == db.get("w")


async def test_what_another_poller_has_taken_is_not_begun_here(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    db.take_over("w", "another", "dead")
    assert await taken(db, left) is None
    assert await taken(db, left, clusters=["b"]) is None
    assert db.get("w").lock_owner == "another"


async def test_what_runs_here_meanwhile_is_not_begun_twice(db):
    """Its flow has ended without an answer, and a person has started it again."""
    held = db.lock("w", "ours", "a", "why", LIMITS)
    assert await taken(db, held, live=["w"]) is None


async def test_all_that_a_dead_poller_has_left_is_held_before_the_first_of_it_begins(db):
    for name in ("x", "y"):
        db.register(
            WorksetRecord(
                workset_id=name, location=f"file:///{name}", created_at=NOW, updated_at=NOW
            )
        )
    held = [db.lock(name, "dead", "a", "why", LIMITS) for name in ("w", "x", "y")]
    another = db.take_over("y", "another", "dead")
    one, begun = launcher(db), []

    async def start(record, _):
        begun.append(record)

    one._broken, one._start, one._claiming = set(), start, SimpleNamespace()
    one._stop_cancelled = lambda records: None
    one._taken = lambda record: Launcher._taken(one, record)
    left = await Launcher.take_over(one, Recovered(frozenset({"dead"}), tuple(held)))
    assert left == [db.get("w"), db.get("x")] and begun == []
    assert {record.lock_owner for record in left} == {"ours"} and db.get("y") == another
    await Launcher.go_on_with(one, left)
    assert begun == left


def test_a_run_that_has_its_name_is_not_named_again():
    """A request for each workset; who calls the flow, or retries its run, has it named still."""
    assert _under_its_name(process_workset).flow_run_name is None
    assert process_workset.flow_run_name is flow_run_name
