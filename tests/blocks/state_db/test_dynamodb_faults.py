"""DynamoDBStateDB on a bad network and an unwilling service, before the real DynamoDB Local."""

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from blocks.state_db import DynamoDBStateDB
from blocks.state_db.dynamodb_items import INDEX
from tests import iam
from tests.faulty import faulty
from tests.services import dynamodb_state_db
from worksets.errors import (
    AdmissionRefused,
    ConfigurationError,
    ErrorCategory,
    Refused,
    TransientError,
)
from worksets.leases import may_judge
from worksets.record import State, StepRun, WorksetRecord

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[3]
LOSE, CUT = ("lose", ""), ("cut", "")


@pytest.fixture
def ways(dynamodb_url):
    """The state DB by the bad way, what goes wrong there, and the state DB by the good way."""
    good = dynamodb_state_db(dynamodb_url)
    with faulty(dynamodb_url) as faults:
        bad = dynamodb_state_db(faults.url, good.table_name)
        bad.timeout_s = 0.5
        good.renew_lease("p", 3600)
        good.renew_lease("q", 3600)
        yield bad, faults, good


def record(id_="w1"):
    now = datetime.now(UTC)
    return WorksetRecord(
        workset_id=id_, customer_id="c", location="s3://b/w", created_at=now, updated_at=now
    )


def done():
    at = datetime.now(UTC)
    return tuple(
        StepRun(
            step=step, attempt=1, cluster_name="a", exit_code=0, started_at=at, ended_at=at
        )
        for step in ("stage", "run", "export")
    )  # fmt: skip


@pytest.mark.parametrize("fault", [LOSE, CUT, ("hang", "0.7")], ids=["lost", "cut", "timeout"])
def test_a_write_whose_answer_was_lost_has_happened_once(ways, fault):
    bad, faults, good = ways
    faults.plan = [fault]
    assert bad.register(record()) is True
    limits = {"global": 1}
    faults.plan = [("pass", ""), fault]  # the read, then the write
    held = bad.lock("w1", "p", "a", "r", limits)
    assert good.get("w1") == held and good.get("w1").fence == 1
    assert good.holders()["global"] == {"w1"}
    faults.plan = [("pass", ""), fault]
    begun = bad.begin("w1", held.fence)
    assert good.get("w1").attempt == begun.attempt == 1
    faults.plan = [("pass", ""), fault]
    bad.complete("w1", held.fence, done())
    after = good.get("w1")
    assert after.state is State.COMPLETE and good.holders() == {}
    assert [entry.event for entry in after.history] == ["Lock", "Begin", "Complete"]


def test_a_network_that_stays_down_is_transient_and_the_next_call_finds_what_happened(ways):
    bad, faults, good = ways
    bad.register(record())
    faults.plan = [("pass", ""), *[LOSE] * 4]
    with pytest.raises(TransientError, match="state DB"):
        bad.lock("w1", "p", "a", "r", {"global": 1})
    # it did happen, once; what comes next learns of it
    assert good.get("w1").lock_owner == "p" and good.holders()["global"] == {"w1"}
    with pytest.raises(Refused):
        bad.lock("w1", "p", "a", "r", {"global": 1})
    assert bad.take_over("w1", "p", "p").fence == 2


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"]
)
def test_throttling_is_waited_out_and_then_transient(ways, code):
    bad, faults, good = ways
    good.register(record())
    faults.plan = [("refuse", code)] * 2
    assert bad.get("w1") == good.get("w1")
    faults.plan = [("refuse", code)] * 40
    with pytest.raises(TransientError, match=code):
        bad.get("w1")
    assert len(faults.calls) < 12, "a throttled service is not hammered"


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_transactions_that_collide_are_made_again(ways, code):
    bad, faults, good = ways
    good.register(record())
    faults.plan = [("pass", ""), ("cancel", code), ("pass", ""), ("cancel", code)]
    assert bad.lock("w1", "p", "a", "r", {"global": 1}).fence == 1
    faults.plan = [("pass", ""), ("cancel", code)] * 30
    with pytest.raises(TransientError, match="other writes"):
        bad.release_lock("w1", force=True, reason="r")
    assert good.get("w1").lock_owner == "p"


@pytest.mark.parametrize(
    "code",
    ["ExpiredTokenException", "UnrecognizedClientException", "AccessDeniedException",
     "ResourceNotFoundException", "ValidationException"],
)  # fmt: skip
def test_what_waiting_cannot_mend_is_a_configuration_error_at_once(ways, code):
    bad, faults, _ = ways
    faults.plan = [("refuse", code)] * 5
    says = "create-table" if code == "ResourceNotFoundException" else "check the credentials"
    with pytest.raises(ConfigurationError, match=says):
        bad.ready()
    assert len(faults.calls) == 1


def test_no_credentials_is_a_configuration_error(dynamodb_url, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    db = DynamoDBStateDB(table_name="t", region_name="us-west-2", endpoint_url=dynamodb_url)
    with pytest.raises(ConfigurationError, match="credentials"):
        db.ready()


# --- What is documented for AWS is what the code does ---

ACTIONS = {  # IAM checks a transaction by the actions inside it
    "TransactWriteItems": {"PutItem", "UpdateItem", "ConditionCheckItem"},
}


def allowed(statement_id):
    policy = iam.policy("pollers.json")
    statement = next(s for s in policy["Statement"] if s["Sid"] == statement_id)
    assert "*" not in "".join(statement["Action"]), "least privilege"
    return {action.partition(":")[2] for action in statement["Action"]}


def test_the_code_calls_no_action_that_the_policy_does_not_allow(dynamodb_url):
    db, called = dynamodb_state_db(dynamodb_url), set()
    db._dynamodb().meta.events.register(
        "before-call.dynamodb", lambda model, **_: called.add(model.name)
    )
    db.register(record())
    db.register(record("w2"))
    db.known(["w1"])
    db.renew_lease("p", 3600)
    held = db.lock("w1", "p", "a", "r", {"global": 1})
    with pytest.raises(AdmissionRefused):
        db.lock("w2", "p", "a", "r", {"global": 1})
    db.begin("w1", held.fence)
    db.complete("w1", held.fence, done())
    db.record_failure("w2", "x", ErrorCategory.TRANSIENT, "run")
    db.requeue_due(), db.next_retry(), db.get_queue_depth(), db.stale(), db.held()
    db.forget_lease("p", datetime.now(UTC))
    db.drop_lease("p")
    actions = set().union(*(ACTIONS.get(name, {name}) for name in called))
    assert actions == allowed("Worksets")

    sources = "".join(p.read_text() for p in (ROOT / "blocks/state_db").glob("dynamodb*.py"))
    written = set(re.findall(r'_call\(\s*"([a-z_]+)"', sources))
    operations = {"".join(word.title() for word in name.split("_")) for name in written}
    assert operations - called == {
        "CreateTable", "DescribeContinuousBackups", "UpdateContinuousBackups"
    }  # fmt: skip
    assert allowed("CreateTheTable") == {*(operations - called), "DescribeTable"}


def test_the_template_makes_the_table_that_the_code_makes(dynamodb_url):
    db = dynamodb_state_db(dynamodb_url)
    made = db._dynamodb().describe_table(TableName=db.table_name)["Table"]
    template = yaml.safe_load((ROOT / "docs/aws/table.yaml").read_text())
    table = template["Resources"]["WorksetTable"]["Properties"]
    assert table["KeySchema"] == made["KeySchema"]
    assert table["BillingMode"] == "PAY_PER_REQUEST" == made["BillingModeSummary"]["BillingMode"]
    by_name = {a["AttributeName"]: a for a in table["AttributeDefinitions"]}
    assert by_name == {a["AttributeName"]: a for a in made["AttributeDefinitions"]}
    (index,), (theirs,) = table["GlobalSecondaryIndexes"], made["GlobalSecondaryIndexes"]
    assert index == {key: theirs[key] for key in ("IndexName", "KeySchema", "Projection")}
    assert index["IndexName"] == INDEX and table["DeletionProtectionEnabled"] is True
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True


def test_backups_and_deletion_protection_are_set_where_they_are_asked_for(moto_url):
    for wanted in (True, False):
        db = dynamodb_state_db(moto_url, table=f"worksets-{wanted}")
        db.point_in_time_recovery = db.deletion_protection = wanted
        assert db.create_table_if_not_exists() is True
        assert db.create_table_if_not_exists() is False
        table = db._dynamodb().describe_table(TableName=db.table_name)["Table"]
        backups = db._dynamodb().describe_continuous_backups(TableName=db.table_name)
        status = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert table["DeletionProtectionEnabled"] is wanted
        assert (status["PointInTimeRecoveryStatus"] == "ENABLED") is wanted


def test_backups_are_set_on_a_table_whose_maker_died_before_it_had(moto_url):
    db = dynamodb_state_db(moto_url, table="worksets-halfway")
    db.create_table_if_not_exists()
    db.point_in_time_recovery = True
    asked = []
    db._dynamodb().meta.events.register(
        "before-call.dynamodb", lambda model, **_: asked.append(model.name)
    )
    for _ in range(2):
        assert db.create_table_if_not_exists() is False
    assert asked.count("UpdateContinuousBackups") == 1, "only where it is missing"
    backups = db._dynamodb().describe_continuous_backups(TableName=db.table_name)
    status = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert status["PointInTimeRecoveryStatus"] == "ENABLED"


def test_who_may_not_look_at_backups_is_told_and_goes_on(ways, caplog):
    bad, _, _ = ways
    bad.point_in_time_recovery = True
    with faults_on(bad, "describe_continuous_backups", "AccessDeniedException"):
        assert bad.create_table_if_not_exists() is False
    assert "not known to be on" in caplog.text and "DescribeContinuousBackups" in caplog.text


@contextmanager
def faults_on(db, operation, code):
    """AWS refuses one kind of call."""
    real = db._call

    def call(called, **arguments):
        if called == operation:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)
        return real(called, **arguments)

    object.__setattr__(db, "_call", call)
    yield
    object.__delattr__(db, "_call")


@pytest.mark.parametrize("off_s", [0, 45, -45])
def test_a_clock_that_is_off_is_noticed_by_the_time_that_answers_bear(dynamodb_url, off_s):
    db = dynamodb_state_db(dynamodb_url)
    real = db._now
    db._now = lambda: real() + timedelta(seconds=off_s)
    db.renew_lease("p", 30)
    assert db.clock_off_s() == pytest.approx(off_s, abs=1.5)
    assert may_judge(db.clock_off_s()) == (off_s == 0)
