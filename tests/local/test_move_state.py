"""Moving from SQLite to the real DynamoDB Local, by the command that people run."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from blocks.state_db import SQLiteStateDB
from local.move_state import move
from tests.services import dynamodb_state_db
from worksets.errors import ErrorCategory, Refused
from worksets.record import State, WorksetRecord

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
BASE = {"worksets": [], "customers": {"c": {}}, "clusters": [], "pipelines": {}}


@pytest.fixture
def source(tmp_path):
    db, now = SQLiteStateDB(path=str(tmp_path / "state.db")), datetime.now(UTC)
    for n in range(30):
        db.register(
            WorksetRecord(
                workset_id=f"w{n}", customer_id="c", location=f"file:///w{n}", created_at=now,
                updated_at=now, state=State.COMPLETE if n % 3 else State.READY,
            )
        )  # fmt: skip
    db.record_failure("w0", "x" * 3000, ErrorCategory.TRANSIENT, "run")
    db.cancel("w3", "not wanted")
    return db


def test_the_command_copies_and_compares_and_may_be_run_again(source, tmp_path, dynamodb_url):
    target = dynamodb_state_db(dynamodb_url)
    dynamo = {
        "type": "dynamodb",
        "table_name": target.table_name,
        "region_name": "us-west-2",
        "endpoint_url": dynamodb_url,
    }
    for name, db in (("old", {"type": "sqlite", "path": source.path}), ("new", dynamo)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**BASE, "state_db": db}))
    env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [
        sys.executable, "-m", "local.move_state",
        "--from", str(tmp_path / "old.yaml"), "--to", str(tmp_path / "new.yaml"),
    ]  # fmt: skip
    for _ in range(2):
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "30 worksets copied and compared: 1 cancelled, 20 complete, 8 ready, 1 retrying" in (
            done.stdout
        )
    assert target.get("w0") == source.get("w0") and len(target.ready()) == 8

    source.renew_lease("p", 60)
    refused = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2 and "p still works with the state DB" in refused.stderr


def test_it_refuses_while_worksets_are_held_and_where_the_target_differs(source, dynamodb_url):
    target = dynamodb_state_db(dynamodb_url)
    target.register(source.get("w6").model_copy(update={"location": "file:///other"}))
    with pytest.raises(Refused, match="w6 is in the target already"):
        move(source, target)
    source.renew_lease("p", 60)
    source.lock("w6", "p", "a", "r", {})
    source._now = lambda: datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(Refused, match=r"1 worksets are held \(w6\)"):
        move(source, dynamodb_state_db(dynamodb_url))
