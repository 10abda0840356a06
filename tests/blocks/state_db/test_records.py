# ruff: noqa: F811
"""Records outlive releases: older ones are read, newer keys kept, and rubbish is set aside."""

import base64
import gc
import json
import sqlite3
from pathlib import Path

import pytest

from blocks.state_db import SQLiteStateDB, Unreadable
from blocks.state_db.dynamodb_items import text_of
from tests.blocks.state_db.test_contract import add, another, db, ids  # noqa: F401
from tests.services import dynamodb_state_db
from worksets.errors import ConfigurationError, ErrorCategory, Refused
from worksets.record import State, WorksetRecord

OLD = json.loads((Path(__file__).parent / "records_of_0_1.json").read_text())


@pytest.mark.parametrize("name", sorted(OLD))
def test_a_record_of_release_0_1_is_read_and_written_back_whole(name):
    text = OLD[name]["json"]
    record = WorksetRecord.model_validate_json(text)
    assert (record.uid, record.lineage, record.home) == ("", 0, name)
    # what it did not know is at its default; all else is as it was
    assert json.loads(record.model_dump_json(exclude_unset=True)) == json.loads(text)
    item = OLD[name]["item"]
    item = {**item, "record": {"B": base64.b64decode(item["record"]["B"])}}
    id_, compressed = text_of(item)
    assert id_ == name and WorksetRecord.model_validate_json(compressed) == record


def test_a_retry_of_release_0_1_goes_on_where_it_stood(tmp_path):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    for name in OLD:
        assert db.copy_in(WorksetRecord.model_validate_json(OLD[name]["json"]))
    assert ids(db.requeue_due()) == ["retrying"]
    db.renew_lease("p", 30)
    held = db.lock("retrying", "p", "a", "r", {})
    begun = db.begin("retrying", held.fence)
    assert (begun.job_name, begun.completed_steps) == ("retrying.a2", ("stage",))
    # once all of it is run again it is a workset of this release, but for its uid
    db.record_failure("retrying", "x", ErrorCategory.DATA, "run", fence=begun.fence, job_ended=True)
    assert db.restore("retrying", "delivered again").lineage == 1


def put(db, workset_id, text):
    """Write a record's text past the product, as another release would."""
    with sqlite3.connect(db.path) as file:
        file.execute("UPDATE worksets SET record = ? WHERE workset_id = ?", (text, workset_id))


@pytest.fixture
def sqlite(tmp_path):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    add(db, "w1", "w2", "w3")
    return db


def test_keys_of_a_newer_release_are_kept_through_every_write(sqlite):
    new = json.loads(sqlite.get("w1").model_dump_json())
    new |= {"qc": {"depth": 31.5}, "history": [{**new["history"][0], "by": "ann"}] if new["history"]
            else []}  # fmt: skip
    new["estimates"]["gpus"] = 2
    put(sqlite, "w1", json.dumps(new))
    sqlite.set_cluster_affinity("w1", "a", "manual")
    sqlite.renew_lease("p", 30)
    sqlite.begin("w1", sqlite.lock("w1", "p", "a", "r", {}).fence)
    with sqlite3.connect(sqlite.path) as file:
        [[text]] = file.execute("SELECT record FROM worksets WHERE workset_id = 'w1'").fetchall()
    after = json.loads(text)
    assert after["qc"] == {"depth": 31.5} and after["estimates"]["gpus"] == 2


def test_of_what_is_in_use_only_what_has_changed_is_read_anew(another):
    """Where 10,000 wait, each freed slot asks for all of them."""
    db, elsewhere = another(), another()
    add(db, "w1", "w2")
    before = {record.workset_id: record for record in db.ready()}
    elsewhere.set_cluster_affinity("w1", "a", "manual")
    after = {record.workset_id: record for record in db.ready()}
    assert after["w2"] is before["w2"] is db.get("w2")
    assert after["w1"].preferred_cluster == "a" and before["w1"].preferred_cluster == ""
    # and what nobody has any more takes no memory
    del before, after
    gc.collect()
    assert len(db._in_use) == 0


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[]", "{}", '{"workset_id": "w1"}', "\x00", "STATE"],
)
def test_a_record_that_cannot_be_read_is_set_aside_and_told_and_stops_no_other(
    sqlite, text, caplog
):
    if text == "STATE":  # a state that only a newer release knows
        text = sqlite.get("w1").model_dump_json().replace('"ready"', '"archived"', 1)
    put(sqlite, "w1", text)
    for _ in range(2):
        assert ids(sqlite.ready()) == ["w2", "w3"]
        assert ids(sqlite.list_worksets()) == ["w2", "w3"]
    assert set(sqlite.set_aside) == {"w1"} and "w1 cannot be read" in sqlite.set_aside["w1"]
    with pytest.raises(Unreadable, match="the record of workset w1 cannot be read"):
        sqlite.get("w1")
    with pytest.raises(Unreadable):
        sqlite.cancel("w1", "x")
    assert set(sqlite.known(["w1", "w2"])) == {"w1", "w2"}, "its folder is no new workset"
    assert sum(sqlite.get_queue_depth().values()) == 3


@pytest.mark.real
def test_the_same_in_dynamodb(dynamodb_url):
    db = dynamodb_state_db(dynamodb_url)
    add(db, "w1", "w2")
    db._dynamodb().update_item(
        TableName=db.table_name,
        Key={"pk": {"S": "w#w1"}, "sk": {"S": "record"}},
        UpdateExpression="SET #r = :r",
        ExpressionAttributeNames={"#r": "record"},
        ExpressionAttributeValues={":r": {"B": b"rubbish"}},
    )
    assert ids(db.ready()) == ["w2"] and set(db.set_aside) == {"w1"}
    with pytest.raises(Unreadable):
        db.get("w1")


def test_a_state_db_has_one_installation_and_a_new_one_another(another):
    one, two = another(), another()
    assert one.installation() == two.installation()
    assert len(one.installation()) == 6
    add(one, "w1")
    uid = two.get("w1").uid
    assert uid.startswith(f"{one.installation()}-") and uid == one.get("w1").uid
    add(one, "w2")
    assert one.get("w2").uid != uid


def test_a_state_db_of_a_newer_release_is_refused_in_one_line(another):
    another()._put_note("installation", "k3f9qa 99")
    with pytest.raises(ConfigurationError, match=r"newer release: its schema is 99.*upgrade"):
        another().installation()
    another()._put_note("installation", "k3f9qa 2")
    assert another().installation() == "k3f9qa"


def test_a_moved_state_db_keeps_its_installation(tmp_path):
    one, two = (SQLiteStateDB(path=str(tmp_path / name)) for name in ("one", "two"))
    two.take_identity(one)
    assert two.installation() == one.installation()
    three = SQLiteStateDB(path=str(tmp_path / "three"))
    three.installation()
    with pytest.raises(Refused, match="move to an empty state DB"):
        three.take_identity(one)


def test_a_known_name_can_be_registered_again_only_after_its_end(db):
    db, _ = db
    add(db, "w1")
    uid = db.get("w1").uid
    with pytest.raises(Refused):
        db.register_again("w1", "too early")
    db.record_failure("w1", "x", ErrorCategory.DATA, "run")
    after = db.register_again("w1", "a second delivery")
    assert after.state is State.READY and after.uid != uid and ids(db.ready()) == ["w1"]


def test_what_lies_in_an_ended_worksets_folder_is_told_once(db):
    db, _ = db
    add(db, "w1")
    assert db.note_redelivery("w1", "2", "new") is None, "it has not ended"
    db.record_failure("w1", "x", ErrorCategory.DATA, "run")
    assert db.note_redelivery("w1", "2", "new").redelivered == "2"
    assert db.note_redelivery("w1", "2", "new") is None
    assert db.note_redelivery("w1", "3", "newer").history[-1].note == "newer"
