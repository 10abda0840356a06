"""The contract of a state DB: SQLite, the real DynamoDB Local, and the simulation's model."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from blocks.state_db import LeaseOver, SQLiteStateDB
from tests.services import dynamodb_state_db
from tests.simulation.store import Table, model_state_db
from worksets.claims import Claim
from worksets.errors import (
    AdmissionRefused,
    ErrorCategory,
    FenceLost,
    Refused,
    WorksetNotFound,
)
from worksets.health import Health
from worksets.record import AffinityReason, Exported, State, StepRun, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 30


@pytest.fixture(params=["sqlite", "model", pytest.param("dynamodb", marks=pytest.mark.real)])
def another(request, tmp_path):
    """Makes another block of the same state DB, as another process would have it."""
    if request.param == "sqlite":
        path = str(tmp_path / "state.db")
        yield lambda: SQLiteStateDB(path=path)
        return
    if request.param == "model":
        shared = Table()
        yield lambda: model_state_db(shared)
        return
    url = request.getfixturevalue("dynamodb_url")
    table = dynamodb_state_db(url).table_name
    yield lambda: dynamodb_state_db(url, table)


@pytest.fixture
def db(another):
    db, clock = another(), Clock()
    db._now = lambda: clock.now
    return db, clock


class Clock:
    now = NOW

    def passes(self, seconds):
        self.now += timedelta(seconds=seconds)


def add(db, *ids, customer="c"):
    for id_ in ids:
        assert db.register(
            WorksetRecord(
                workset_id=id_, customer_id=customer, location=f"file:///{id_}", created_at=NOW,
                updated_at=NOW,
            )
        )  # fmt: skip


def ids(records):
    return sorted(record.workset_id for record in records)


def done(record):
    return tuple(
        StepRun(
            step=step, attempt=record.attempt, cluster_name="a", exit_code=0, started_at=NOW,
            ended_at=NOW,
        )
        for step in ("stage", "run", "export")
    )  # fmt: skip


def test_a_whole_life(db):
    db, clock = db
    add(db, "w1")
    assert not db.register(db.get("w1").model_copy(update={"location": "file:///other"}))
    known = db.known(["w1", "w2"])
    assert {id_: there.location for id_, there in known.items()} == {"w1": "file:///w1"}
    assert ids(db.ready()) == ["w1"]
    db.renew_lease("p", LEASE_S)
    held = db.lock("w1", "p", "a", "because", {"global": 1, "cluster:a": 1, "customer:c": 1})
    assert held.fence == 1 and held.state is State.LOCKED
    assert db.holders() == {s: {"w1"} for s in ("global", "cluster:a", "customer:c")}
    assert db.ready() == [] and ids(db.held()) == ["w1"]
    begun = db.begin("w1", held.fence)
    assert (begun.attempt, begun.job_name) == (1, f"w1.{begun.uid}.a1")
    assert begun.uid.startswith(f"{db.installation()}-")
    clock.passes(3600)
    db.complete("w1", held.fence, done(begun))
    assert db.get("w1").state is State.COMPLETE and db.holders() == {}
    assert sum(db.get_queue_depth().values()) == 0


@pytest.mark.parametrize("workset_id", ["w2", "", "a/b", "ü" * 3000])
def test_what_is_not_there_is_not_found_whatever_its_name(db, workset_id):
    db, _ = db
    with pytest.raises(WorksetNotFound):
        db.cancel(workset_id, "not needed")


def test_admission_is_part_of_the_lock_and_a_refusal_names_limit_and_holders(db):
    db, _ = db
    add(db, "w1", "w2")
    db.renew_lease("p", LEASE_S)
    for scope in ("global", "cluster:a", "customer:c"):
        record = db.lock("w1", "p", "a", "r", {scope: 1})
        with pytest.raises(AdmissionRefused, match=rf"{scope} is at its limit of 1, held by w1"):
            db.lock("w2", "p", "a", "r", {scope: 1})
        assert db.get("w2").state is State.READY and ids(db.ready()) == ["w2"]
        db.release_lock("w1", force=True, reason="next scope")
        assert db.get("w1").fence == record.fence + 1
    db.lock("w1", "p", "a", "r", {})
    assert db.get_concurrent_worksets_count() == 1
    assert db.holder_counts() == {"global": 1, "cluster:a": 1, "customer:c": 1}
    for scope in ("global", "cluster:b", "customer:c"):
        with pytest.raises(AdmissionRefused, match=f"{scope} is at its limit of 0"):
            db.lock("w2", "p", "b", "r", {scope: 0})
    assert not db.can_start_new_workset(1) and db.can_start_new_workset(2)
    assert ids(db.get_worksets_by_cluster("a")) == ["w1"] and not db.get_worksets_by_cluster("b")
    assert db.record_failure("w1", "x", ErrorCategory.DATA, "run") is False
    assert db.holders() == {} and db.get_queue_depth()["failed"] == 1


def test_a_process_without_a_lease_locks_nothing(db):
    db, clock = db
    add(db, "w1")
    with pytest.raises(LeaseOver, match="the lease of p"):
        db.lock("w1", "p", "a", "r", {})
    db.renew_lease("p", LEASE_S)
    clock.passes(LEASE_S + 1)
    with pytest.raises(LeaseOver):
        db.lock("w1", "p", "a", "r", {})
    assert db.holders() == {} and db.get("w1").state is State.READY
    db.renew_lease("p", LEASE_S)
    assert db.lock("w1", "p", "a", "r", {}).lock_owner == "p"


def test_stale_locks_release_themselves_and_begun_ones_are_taken_over(db):
    db, clock = db
    add(db, "w1", "w2")
    db.renew_lease("p", LEASE_S)
    db.lock("w1", "p", "a", "r", {})
    db.begin("w2", db.lock("w2", "p", "a", "r", {}).fence)
    clock.passes(34)  # within the tolerated skew
    assert db.stale() == []
    clock.passes(2)
    assert ids(db.stale()) == ["w1", "w2"]
    assert ids(db.release_stale()) == ["w1"]
    assert db.get("w2").state is State.IN_PROGRESS
    taken = db.take_over("w2", "q", "p")
    assert db.holders()["global"] == {"w2"}
    for write in (
        lambda: db.complete("w2", taken.fence - 1, ()),
        lambda: db.record_failure("w2", "x", ErrorCategory.DATA, "run", fence=taken.fence - 1),
        lambda: db.postpone("w2", taken.fence - 1, "r", 1, job_ended=True),
    ):
        with pytest.raises(FenceLost):
            write()
    with pytest.raises(Refused):
        db.take_over("w2", "z", "p")


def test_a_lease_is_forgotten_only_as_it_was_seen(db):
    db, clock = db
    db.renew_lease("p", LEASE_S)
    seen = db.leases()["p"]
    clock.passes(1)
    db.renew_lease("p", LEASE_S)
    db.forget_lease("p", seen)
    assert set(db.leases()) == {"p"}
    db.forget_lease("p", db.leases()["p"])
    db.renew_lease("q", LEASE_S)
    db.drop_lease("q")
    assert db.leases() == {}


def test_retries_come_back_when_they_are_due_and_not_before(db):
    db, clock = db
    add(db, "w1", "w2")
    assert db.next_retry() is None
    assert db.record_failure("w1", "x", ErrorCategory.TRANSIENT, "run") is True
    clock.passes(1)
    assert db.record_failure("w2", "y", ErrorCategory.RESOURCE, "run") is True
    assert db.next_retry() == NOW + timedelta(seconds=2)
    assert db.requeue_due() == [] and db.get_queue_depth()["retrying"] == 2
    clock.passes(1)
    assert ids(db.requeue_due()) == ["w1"] and ids(db.ready()) == ["w1"]
    assert db.next_retry() == NOW + timedelta(seconds=3)


def test_what_operators_do(db):
    db, _ = db
    add(db, "w1")
    record = db.set_cluster_affinity("w1", "b", "data_locality", required=True)
    assert record.affinity_reason is AffinityReason.DATA_LOCALITY and record.cluster_required
    with pytest.raises(ValueError):
        db.set_cluster_affinity("w1", "b", "because")
    db.save_clusters_health({"b": Health()})
    with pytest.raises(Refused, match="no cluster is called nowhere; there are b"):
        db.set_cluster_affinity("w1", "nowhere", "manual")
    assert db.set_cluster_affinity("w1", "b", "manual").preferred_cluster == "b"
    db.note_wait("w1", "no slot")
    assert db.get("w1").placement_reason == "no slot"
    db.cancel("w1", "wrong sample")
    assert ids(db.ready()) == []
    assert db.restore("w1", "right after all").state is State.READY
    db.ignore("w1", "a test")
    with pytest.raises(Refused, match="force=True"):
        db.release_lock("w1", force=False, reason="x")
    assert [entry.note for entry in db.get("w1").history][-1] == "a test"


def test_what_a_customer_spends_is_counted_once_and_none_of_it_is_lost(another):
    db, month = another(), "2026-11"
    assert db.spent(month, ["c", "d"]) == {}

    def work(n):
        mine = another()
        for attempt in range(n % 3, 9):
            mine.add_spent(month, "c", f"w.a{attempt}", 1.0)
        mine.budget_told(month, "d", 80, float(n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = db.spent(month, ["c", "d"])
    assert (found["c"].usd, len(found["c"].attempts)) == (9, 9)
    assert found["d"].told_level(found["d"].told_of) == 80 and found["d"].usd == 0
    assert db.spent("2026-12", ["c"]) == {}, "a month has its own"


def test_many_threads_never_pass_a_limit(another):
    db = another()
    names = [f"w{n}" for n in range(24)]
    add(db, *names)
    won, most, limits = [], [], {"global": 3, "cluster:a": 2, "customer:c": 3}

    def work(owner):
        mine = another()
        mine.renew_lease(owner, 3600)
        left = list(names)
        while left:
            id_ = left.pop(0)
            try:
                record = mine.lock(id_, owner, "ab"[len(left) % 2], "r", limits)
            except AdmissionRefused:
                left.append(id_)
                continue
            except Refused:
                continue
            holders = mine.holders()
            most.append({scope: len(holders.get(scope, ())) for scope in limits})
            won.append(id_)
            mine.record_failure(id_, "x", ErrorCategory.DATA, "run", fence=record.fence)

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(names), "each once, and all"
    assert all(seen[scope] <= limit for seen in most for scope, limit in limits.items())
    assert db.holders() == db.holder_counts() == {} and db.get_queue_depth()["failed"] == 24


def test_the_counts_are_those_of_the_sets_through_whatever_happens(db):
    db, _ = db
    names = [f"w{n}" for n in range(12)]
    add(db, *names[:6])
    add(db, *names[6:], customer="d")
    for n, id_ in enumerate(names):
        db.renew_lease("p", LEASE_S)
        held = db.lock(id_, "p", "ab"[n % 2], "r", {})
        if n % 3:
            db.begin(id_, held.fence)
        if n % 4 == 3:
            db.record_failure(id_, "x", ErrorCategory.DATA, "run", job_ended=True)
        if n % 4 == 1:
            db.release_lock(id_, force=True, reason="r")
        if n % 4 == 2:
            db.take_over(id_, "q", "p")
        sets = db.holders()
        assert db.holder_counts() == {scope: len(ids) for scope, ids in sets.items()}
        assert ids(db.held()) == sorted(sets["global"])
    db.release_stale()
    assert {scope: len(ids) for scope, ids in db.holders().items()} == db.holder_counts()


def test_what_is_settled_of_a_place_is_kept_by_chunk(db, another):
    db, _ = db
    chunks = [f"file:///in/{'x' * 2000}{n}" for n in range(120)]
    assert db.settled("file:///in", []) == db.settled("file:///in", chunks) == {}
    db.save_settled("file:///in", chunks[7], "one")
    db.save_settled("file:///in", chunks[7], "two")
    db.save_settled("file:///in", "", "three")
    assert another().settled("file:///in", [*chunks, ""]) == {chunks[7]: "two", "": "three"}
    assert db.settled("file:///other", chunks) == {}


def test_a_note_is_swapped_only_for_what_it_was(db):
    db, _ = db
    db._put_note("n", "one")
    db._swap_note("n", "other", "two")
    assert db._get_note("n") == "one"
    db._swap_note("n", "one", "two")
    db._swap_note("missing", "", "three")
    assert (db._get_note("n"), db._get_note("missing")) == ("two", "")


def test_what_people_must_know_stands_until_they_were_told_whoever_asks(db, another):
    """A process dies between the write and the telling: any other finds it."""
    db, _ = db
    db.renew_lease("p", LEASE_S)
    add(db, "w", "x", "y")
    assert db.owed() == []
    db.record_failure("w", "no reads", ErrorCategory.DATA, "validate")
    db.note_wait("x", "no cluster fits", stuck=True)
    db.note_wait("y", "waits: all worksets at 3 of 3")
    other = another()
    other._now = db._now
    assert ids(other.owed()) == ["w", "x"]
    [owed] = [record.owed for record in other.owed() if record.workset_id == "w"]
    other.told("w", owed.since, ["one"], done=False)
    assert db.get("w").owed.told == ("one",)
    other.told("w", owed.since, ["one", "two"], done=True)
    other.told("w", owed.since, ["one", "two"], done=True)  # its answer was lost
    assert ids(db.owed()) == ["x"] and db.get("w").state is State.FAILED
    held = db.lock("x", "p", "a", "r", {})
    job = db.begin("x", held.fence).job_name
    assert db.owe("x", job, "unsettled", "nobody knows").owed.message == "nobody knows"
    with pytest.raises(Refused):
        db.owe("x", "x.a0", "stuck", "of a job that was")


def test_a_record_that_is_moved_here_is_still_owed(db):
    db, _ = db
    add(db, "w")
    db.record_failure("w", "no reads", ErrorCategory.DATA, "validate")
    moved = db.get("w").model_copy(update={"workset_id": "v"})
    assert db.copy_in(moved) and ids(db.owed()) == ["v", "w"]


def test_what_waits_for_its_next_try_can_be_tried_now(db):
    db, _ = db
    add(db, "w", "x")
    db.record_failure("w", "no answer", ErrorCategory.TRANSIENT, "validate")
    assert db.requeue_due() == []
    after = db.hasten("w", "retried by hand")
    assert after.state is State.READY and after.retry_count == 1 and db.next_retry() is None
    with pytest.raises(Refused):
        db.hasten("x", "it does not wait")


def test_a_drained_cluster_has_its_reason_until_it_is_taken_back(db):
    db, _ = db
    with pytest.raises(ValueError, match="say why"):
        db.drain("a", "")
    db.drain("a", "new disks")
    assert db.drained(["a", "b"]) == {"a": "new disks"}
    db.undrain("a")
    db.undrain("b")
    assert db.drained(["a", "b"]) == {}


def test_an_operators_priority_is_kept(db):
    db, _ = db
    add(db, "w1")
    record = db.set_priority("w1", "urgent", "a newborn")
    assert record.priority == "urgent" and record.priority_by_hand
    assert db.get("w1").history[-1].note == "urgent: a newborn"
    with pytest.raises(ValueError, match="soon"):
        db.set_priority("w1", "soon", "r")


def ends(db, id_, record_owner="p"):
    """A complete workset with a receipt."""
    db.renew_lease(record_owner, LEASE_S)
    held = db.lock(id_, record_owner, "a", "r", {})
    begun = db.begin(id_, held.fence)
    return db.complete(id_, held.fence, done(begun), Exported(files=1, bytes=3))


def test_many_are_found_by_their_ids_whatever_their_state(db):
    db, _ = db
    add(db, *(f"w{n}" for n in range(7)))
    db.cancel("w1", "r")
    ends(db, "w2")
    found = db.find(["w2", "w1", "w0", "w1", "none", "ü" * 3000])
    assert {id_: r.state for id_, r in found.items()} == {
        "w0": State.READY, "w1": State.CANCELLED, "w2": State.COMPLETE
    }  # fmt: skip
    assert db.find([]) == {}


def test_reports_find_what_is_open_and_what_has_ended_since(db):
    db, clock = db
    add(db, "waits", "fails", "first", "cancelled", "later")
    db.record_failure("fails", "x", ErrorCategory.DATA, "run")
    ends(db, "first")
    db.cancel("cancelled", "r")
    clock.passes(40 * 86_400)
    assert ids(db.with_work_since(NOW)) == ["cancelled", "fails", "first", "later", "waits"]
    assert ids(db.with_work_since()) == ids(db.with_work_since(NOW))
    ends(db, "later")
    assert ids(db.with_work_since(clock.now)) == ["fails", "later", "waits"]
    moved = db.get("first").model_copy(update={"workset_id": "moved", "updated_at": clock.now})
    assert db.copy_in(moved) and "moved" in ids(db.with_work_since(clock.now))
    db.register_again("moved", "once more")
    assert ids(db.with_work_since(clock.now)) == ["fails", "later", "moved", "waits"], "once"
    db.cancel("moved", "r")
    assert ids(db.with_work_since(NOW + timedelta(days=2))) == ["fails", "later", "moved", "waits"]


def test_of_an_archived_record_only_what_keeps_it_from_a_second_run_stays(db):
    db, clock = db
    add(db, "w", "open")
    whole = ends(db, "w")
    clock.passes(10)
    with pytest.raises(Refused, match="has changed since"):
        db.archive("w", whole.version - 1, "/x")
    with pytest.raises(Refused, match="open is ready"):
        db.archive("open", db.get("open").version, "/x")
    left = db.archive("w", whole.version, "/results/record.json")
    assert db.get("w") == left and left.archived == "/results/record.json"
    assert (left.uid, left.home, left.state) == (whole.uid, whole.home, State.COMPLETE)
    assert left.updated_at == whole.updated_at and left.version == whole.version + 1
    assert left.step_runs == () and [entry.event for entry in left.history] == ["Archive"]
    assert ids(db.with_work_since(NOW)) == ["open"]
    # whoever finds its folder knows it
    assert not db.register(whole.model_copy(update={"uid": ""}))
    known = db.known(["w"])["w"]
    assert known.ended and known.location == whole.location
    with pytest.raises(Refused):
        db.archive("w", left.version, "/again")
    anew = db.register_again("w", "delivered again")
    assert anew.state is State.READY and anew.uid != whole.uid and not anew.archived


def test_one_poller_in_a_day_cleans(db, another):
    db, clock = db
    other, day = another(), timedelta(days=1)
    assert db.may_clean("p", clock.now, day) and not other.may_clean("q", clock.now, day)
    clock.passes(86_399)
    assert not other.may_clean("q", clock.now, day)
    clock.passes(1)
    assert other.may_clean("q", clock.now, day) and not db.may_clean("p", clock.now, day)
    clock.passes(1)
    assert not db.may_clean("p", clock.now, day)


def test_of_many_that_claim_at_once_each_workset_is_one_s(another):
    """Whoever comes first: a pollers' note is changed as a whole, or not at all."""
    owners, names = [f"p{n}" for n in range(4)], [f"w{n}" for n in range(6)]
    got = {}

    def claim(owner):
        until = NOW + timedelta(seconds=60)
        wanted = {name: Claim(owner=owner, until=until, cluster_name="a") for name in names}
        got[owner] = another().claim(owner, wanted, NOW)

    threads = [threading.Thread(target=claim, args=[owner]) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for mine in got.values() for name in mine) == names
    said = another().about_to_start()
    assert {name: one.owner for name, one in said.items()} == {
        name: owner for owner, mine in got.items() for name in mine
    }


def test_a_note_of_claims_that_cannot_be_read_stops_nobody(another):
    db = another()
    db._put_note("starts", "rubbish")
    assert db.about_to_start() == {}
    wanted = {"w": Claim(owner="p", until=NOW + timedelta(seconds=60))}
    assert db.claim("p", wanted, NOW) == {"w"}
    assert db.about_to_start() == wanted
