"""DynamoDB with many held worksets, upgraded from sets of ids, and with what it does not take."""

import threading

import pytest
from botocore.exceptions import ClientError

from benchmarks.state_db_cost import Meter, hold
from blocks.state_db import SQLiteStateDB, dynamodb_upgrade
from blocks.state_db.contract import SCHEMA
from tests.blocks.state_db.test_contract import add, ids
from tests.faulty import faulty
from tests.services import dynamodb_state_db
from worksets.errors import AdmissionRefused, ConfigurationError, TransientError
from worksets.record import State

pytestmark = pytest.mark.real


def test_a_lock_costs_the_same_however_many_are_held(dynamodb_url):
    taken = []
    for held in (0, 1000):
        db = dynamodb_state_db(dynamodb_url)
        add(db, "w1", "w2")
        hold(db, held)
        db.renew_lease("p", 3600)
        meter = Meter(db)
        db.lock("w1", "p", "alpha", "r", {"global": held + 1, "cluster:alpha": 9999})
        db.holder_counts()
        db.release_lock("w1", force=True, reason="r")
        taken.append(meter.taken())
        with pytest.raises(AdmissionRefused, match=f"at its limit of {held}, held by"):
            db.lock("w2", "p", "alpha", "r", {"global": held})
        assert meter.taken()["read"] <= 8
    assert taken[0] == taken[1]


def as_schema_2(db, sets):
    """The table as an older release has left it: worksets held, and a set of ids for each scope."""
    add(db, *sorted(set().union(*sets.values())))
    db.renew_lease("p", 3600)
    for id_ in sets["global"]:
        db.lock(id_, "p", "a", "r", {})
    for pk in ("held", "counts", "holders"):
        for item in db._collection(pk):
            db._read_call("delete_item", Key={"pk": item["pk"], "sk": item["sk"]})
    for scope in sets:
        assert old_lock(db, scope, sets[scope])
    db._put_note("installation", "k3f9qa 2")


def old_lock(db, scope, names):
    """What an older release adds to a transaction; whether it is taken."""
    update = {
        "TableName": db.table_name,
        "Key": {"pk": {"S": "holders"}, "sk": {"S": scope}},
        "UpdateExpression": "ADD ids :ids",
        "ExpressionAttributeValues": {":ids": {"SS": sorted(names)}},
    }
    try:
        db._call("transact_write_items", TransactItems=[{"Update": update}])
    except ClientError:
        return False
    return True


NAMES = {f"w{n:03d}" for n in range(120)}
SETS = {"global": NAMES, "cluster:a": NAMES, "customer:c": NAMES}


def is_upgraded(db):
    assert db._get_note("installation") == f"k3f9qa {SCHEMA}"
    assert db.holders() == SETS
    assert db.holder_counts() == {scope: len(names) for scope, names in SETS.items()}
    assert set(ids(db.held())) == NAMES
    assert [item["sk"]["S"] for item in db._collection("holders")] == ["global"]
    assert not old_lock(db, "global", {"x"}), "a process of the older release counts something"


def test_sets_of_an_older_release_become_items_whoever_comes_at_once(dynamodb_url):
    db = dynamodb_state_db(dynamodb_url)
    as_schema_2(db, SETS)
    found, blocks = [], [dynamodb_state_db(dynamodb_url, db.table_name) for _ in range(4)]
    threads = [threading.Thread(target=lambda b=b: found.append(b.installation())) for b in blocks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["k3f9qa"] * 4
    is_upgraded(db)


def test_an_upgrade_that_dies_after_any_call_is_gone_on_with_and_a_late_one_changes_nothing(
    dynamodb_url,
):
    first = dynamodb_state_db(dynamodb_url)
    as_schema_2(first, SETS)
    died = 0
    for calls in range(100):
        db = dynamodb_state_db(dynamodb_url, first.table_name)
        real, left = db._call, [calls]

        def call(operation, real=real, left=left, **arguments):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(operation, **arguments)

        object.__setattr__(db, "_call", call)
        try:
            db.installation()
            break
        except KeyboardInterrupt:
            died += 1
            assert first._get_note("installation") == "k3f9qa 2", "the note comes last"
    assert died > 8
    is_upgraded(first)
    # one that had read the sets before, and writes only now
    first.release_lock("w000", force=True, reason="work goes on")
    dynamodb_upgrade._write(first, dynamodb_upgrade.written(SETS))
    assert "w000" not in first.holders()["global"] and first.holder_counts()["global"] == 119


def test_a_new_table_is_of_the_new_schema_and_an_old_one_without_a_note_too(dynamodb_url):
    db = dynamodb_state_db(dynamodb_url)
    assert db._get_note("installation") == ""
    assert db.installation() and db._get_note("installation").endswith(f" {SCHEMA}")
    assert not old_lock(db, "global", {"x"})


def test_nothing_of_it_concerns_a_local_file(tmp_path):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    db._put_note("installation", "k3f9qa 2")
    assert db.installation() == "k3f9qa" and db._get_note("installation") == f"k3f9qa {SCHEMA}"


# --- What it does not take ---


def test_an_item_that_is_too_large_is_told_in_words_at_once(dynamodb_url):
    db = dynamodb_state_db(dynamodb_url)
    add(db, "w1")
    db.renew_lease("p", 3600)
    table, key = db.table_name, {"pk": {"S": "counts"}, "sk": {"S": "clusters"}}
    item = {**key, "cluster:b": {"N": "1"}, "pad": {"S": "x" * (400 * 1024 - 60)}}
    db._dynamodb().put_item(TableName=table, Item=item)
    meter = Meter(db)
    with pytest.raises(ConfigurationError, match=r"workset w1: DynamoDB does not take.*size"):
        db.lock("w1", "p", "a-cluster-with-a-long-name", "r", {})
    assert meter.taken()["read"] <= 2, "tried again and again"
    assert db.get("w1").state is State.READY
    large = db.get("w1").model_copy(update={"workset_id": "w2", "note": "x"})
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(400_000))
    with pytest.raises(ConfigurationError, match=r"workset w2: DynamoDB does not take.*400 KB"):
        db.register(large.model_copy(update={"note": noise}))


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
def test_a_transaction_that_can_never_be_made_is_no_conflict(dynamodb_url, code):
    good = dynamodb_state_db(dynamodb_url)
    add(good, "w1")
    good.renew_lease("p", 3600)
    with faulty(dynamodb_url) as faults:
        bad = dynamodb_state_db(faults.url, good.table_name)
        faults.plan = [("pass", ""), ("cancel", code)]
        with pytest.raises(ConfigurationError, match=f"workset w1: .*{code}"):
            bad.lock("w1", "p", "a", "r", {})
        faults.plan = [("pass", ""), ("cancel", "TransactionConflict")] * 30
        with pytest.raises(TransientError, match="other writes"):
            bad.lock("w1", "p", "a", "r", {})
