"""The file of the embedded state DB, and what becomes of it under a process that uses it."""

import os

import pytest

from blocks.state_db import SQLiteStateDB
from worksets.errors import ConfigurationError, TransientError
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
