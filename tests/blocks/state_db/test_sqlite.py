"""The file of the embedded state DB, and what becomes of it under a process that uses it."""

import os
import sqlite3

import pytest

from blocks.state_db import SQLiteStateDB
from blocks.state_db.sqlite import _ENDED_SINCE
from worksets.errors import ConfigurationError, TransientError
from worksets.record import OPEN
from worksets.registration import new_record


@pytest.fixture
def db(tmp_path):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    for n in range(300):
        db.register(record(db, f"w{n}"))
    return db


def record(db, workset_id):
    return new_record(workset_id, f"file:///in/{workset_id}", db.now(), None)


def test_a_file_that_is_removed_is_missed_and_no_write_is_lost_in_it(db, tmp_path):
    """Else it goes on unseen, and whoever comes next begins with an empty one."""
    for file in tmp_path.iterdir():
        file.rename(file.with_name(f"away-{file.name}"))
    for call in (db.ready, lambda: db.register(record(db, "new")), lambda: db.renew_lease("p")):
        with pytest.raises(ConfigurationError, match="was removed or replaced"):
            call()
    assert not (tmp_path / "state.db").exists()
    SQLiteStateDB(path=db.path).register(record(db, "other"))
    with pytest.raises(ConfigurationError, match="was removed or replaced"):
        db.ready()
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    for file in tmp_path.glob("away-*"):
        file.rename(file.with_name(file.name.removeprefix("away-")))
    assert db.register(record(db, "new")) and len(db.ready()) == 301


def test_a_damaged_file_is_named_with_what_to_do(db, tmp_path):
    db.close()
    with open(tmp_path / "state.db", "r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(20 * 4096))
    with pytest.raises(TransientError, match=r"damaged: .* recover it"):
        db.ready()


def test_what_is_open_is_found_without_a_look_at_what_has_finished(tmp_path):
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as old:  # as an older release has left it: an index nobody uses
        old.execute(
            "CREATE TABLE worksets (workset_id TEXT PRIMARY KEY, version INTEGER NOT NULL, "
            "state TEXT NOT NULL, location TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID"
        )
        old.execute("CREATE INDEX active ON worksets (state) WHERE state IN ('ready')")
    old.close()
    SQLiteStateDB(path=str(path)).ready()
    with sqlite3.connect(path) as raw:
        for state in OPEN:
            query = f"SELECT workset_id, record FROM worksets WHERE state = '{state.value}'"
            [(*_, how)] = raw.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
            assert how.startswith("SEARCH worksets USING INDEX open"), how
        for query in _ENDED_SINCE:
            [(*_, how)] = raw.execute(f"EXPLAIN QUERY PLAN {query}", ("2026",)).fetchall()
            assert how.startswith("SEARCH worksets USING INDEX ended"), how
        names = raw.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    raw.close()
    assert ("open",) in names and ("active",) not in names
