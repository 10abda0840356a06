"""The contract of a state DB, on the real SQLite."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from blocks.sqlite_state_db import SQLiteStateDB
from worksets.errors import AdmissionRefused, ErrorCategory, FenceLost, Refused
from worksets.record import State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def db(tmp_path):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    clock = [NOW]
    db._now = lambda: clock[0]
    db._clock = clock
    yield db
    db.close()


def add(db, *ids):
    for id_ in ids:
        assert db.register(
            WorksetRecord(
                workset_id=id_, customer_id="c", location=f"file:///{id_}", created_at=NOW,
                updated_at=NOW,
            )
        )  # fmt: skip


def test_admission_is_part_of_the_lock(db):
    add(db, "w1", "w2")
    db.lock("w1", "p", "a", "r", {"global": 1})
    with pytest.raises(AdmissionRefused, match=r"global is at its limit of 1, held by w1"):
        db.lock("w2", "p", "a", "r", {"global": 1})
    assert db.get("w2").state is State.READY
    assert db.get_concurrent_worksets_count() == 1 and not db.can_start_new_workset(1)
    assert [r.workset_id for r in db.get_worksets_by_cluster("a")] == ["w1"]
    db.record_failure("w1", "x", ErrorCategory.DATA, "run")
    assert db.holders() == {} and db.get_queue_depth()["failed"] == 1


def test_stale_locks_release_themselves_and_begun_ones_are_taken_over(db):
    add(db, "w1", "w2")
    db.renew_lease("p", 30)
    db.lock("w1", "p", "a", "r", {})
    db.begin("w2", db.lock("w2", "p", "a", "r", {}).fence)
    db._clock[0] = NOW + timedelta(seconds=34)  # within the tolerated skew
    assert db.stale() == []
    db._clock[0] = NOW + timedelta(seconds=36)
    assert [r.workset_id for r in db.release_stale()] == ["w1"]
    assert db.get("w2").state is State.IN_PROGRESS
    taken = db.take_over("w2", "q", "p")
    with pytest.raises(FenceLost):
        db.complete("w2", taken.fence - 1, ())
    with pytest.raises(Refused):
        db.take_over("w2", "z", "p")


def test_many_threads_never_pass_a_limit(db, tmp_path):
    ids = [f"w{n}" for n in range(40)]
    add(db, *ids)
    won, most = [], []

    def work(owner):
        mine = SQLiteStateDB(path=db.path)
        for id_ in ids:
            try:
                record = mine.lock(id_, owner, "a", "r", {"global": 3})
            except (AdmissionRefused, Refused):
                continue
            most.append(mine.get_concurrent_worksets_count())
            won.append(id_)
            mine.record_failure(id_, "x", ErrorCategory.DATA, "run", fence=record.fence)
        mine.close()

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won)) and max(most) <= 3 and db.holders() == {}
