"""What a poller holds of what a dead one has left, before the flow runs for it are there."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from blocks.state_db import SQLiteStateDB
from tasks.launch import Launcher
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


def launcher(db, launch="inline", clusters=("a",)):
    async def call(function, *arguments):
        return function(*arguments)

    here = SimpleNamespace(db=db, owner="ours", call=call, watches=dict.fromkeys(clusters))
    return SimpleNamespace(here=here, launch=launch)


async def test_what_will_run_here_is_held_at_once(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    assert await Launcher._hold(launcher(db), left)
    held = db.get("w")
    assert (held.lock_owner, held.fence) == ("ours", left.fence + 1)
    # its flow has broken off: it is held already, and begun again
    assert await Launcher._hold(launcher(db), held) and db.get("w") == held


@pytest.mark.parametrize("where", [{"launch": "deployment"}, {"clusters": ["b"]}])
async def test_what_will_run_elsewhere_is_left_to_whoever_runs_it(db, where):
    """A worker's process could not take it from a poller that lives."""
    left = db.lock("w", "dead", "a", "why", LIMITS)
    assert await Launcher._hold(launcher(db, **where), left) and db.get("w") == left


async def test_what_another_poller_has_taken_is_not_begun_here(db):
    left = db.lock("w", "dead", "a", "why", LIMITS)
    db.take_over("w", "another", "dead")
    assert not await Launcher._hold(launcher(db), left)
    assert db.get("w").lock_owner == "another"


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
        begun.append((record.workset_id, {r.lock_owner for r in db.held()}))

    one.here.live, one._broken, one._start = set(), set(), start
    one._stop_cancelled = lambda records: None
    one._hold = lambda record: Launcher._hold(one, record)
    await Launcher.adopt(one, Recovered(frozenset({"dead"}), tuple(held)))
    assert begun == [("w", {"ours", "another"}), ("x", {"ours", "another"})]
    assert db.get("y") == another
