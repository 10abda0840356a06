"""The way over SSM: what reached, what may have, what did not; and output of any length."""

import getpass
import uuid

import pytest
from pydantic import ValidationError

from blocks.clusters import SlurmCluster
from blocks.clusters.slurm import ssm
from blocks.clusters.slurm.ssm import SsmTransport
from blocks.clusters.slurm.transport import MayHaveReached
from tests.services import credentials, free_port
from tests.ssm_agent import INSTANCE, agent
from worksets.errors import ClusterUnreachable, ConfigurationError

ME = {"instance_id": INSTANCE, "region_name": "us-west-2", "user": getpass.getuser()}


@pytest.fixture
def s3(moto_url):
    return credentials(moto_url).get_client("s3")


@pytest.fixture
def there(s3, moto_url, monkeypatch):
    with agent(s3) as running:
        for key, value in {
            "AWS_ENDPOINT_URL_SSM": running.url, "AWS_ENDPOINT_URL_S3": moto_url,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        }.items():  # fmt: skip
            monkeypatch.setenv(key, value)
        yield running


def test_a_script_runs_there_and_its_words_arrive(there):
    hostile = "a b'c\"d;e$(id)|f\\g`h`ü\n"
    way = SsmTransport(**ME, environment={"TEXT": hostile}, poll_min_s=0.01)
    done = way.run('printf %s "$TEXT"; echo said >&2; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, hostile, "said\n")
    assert there.sent[0]["DocumentName"] == "AWS-RunShellScript"


def test_output_above_what_ssm_shows_comes_through_s3(there, s3):
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    way = SsmTransport(**ME, output_bucket=bucket, poll_min_s=0.01)
    assert len(way.run("seq 50000").stdout.splitlines()) == 50_000
    assert way.run("echo short").stdout == "short\n"
    with pytest.raises(MayHaveReached, match="set output_bucket"):
        SsmTransport(**ME, poll_min_s=0.01).run("seq 50000")


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("Undeliverable", ClusterUnreachable), ("DeliveryTimedOut", ClusterUnreachable),
        ("ExecutionTimedOut", MayHaveReached), ("Cancelled", MayHaveReached),
        ("A new one", None),
    ],
)  # fmt: skip
def test_how_a_command_ended_says_whether_it_may_have_run(there, ending, error):
    there.ending = ending
    way = SsmTransport(**ME, poll_min_s=0.01)
    if error is None:  # AWS's `Failed` with an exit code: it ran
        assert way.run("true").returncode == -1
        return
    with pytest.raises(error, match=INSTANCE):
        way.run("true")


@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ((400, "InvalidInstanceId"), ClusterUnreachable),
        ((400, "ThrottlingException"), ClusterUnreachable),
        ((500, "InternalServerError"), MayHaveReached),
    ],
)
def test_a_command_that_aws_refused_did_not_reach_and_a_fault_of_aws_may_have(there, refuse, error):
    there.refuse = refuse
    with pytest.raises(error, match=INSTANCE):
        SsmTransport(**ME).run("true")


def test_a_command_is_sent_once_whatever_the_answer(there):
    there.refuse = (500, "InternalServerError")
    way, asked = SsmTransport(**ME), []
    way._client("ssm").meta.events.register("before-send", lambda **_: asked.append(1))
    with pytest.raises(MayHaveReached):
        way.run("true")
    assert len(asked) == 1, "sent again by itself, it would run twice"


def test_no_way_to_aws_did_not_reach(there, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ClusterUnreachable, match="Could not connect"):
        SsmTransport(**ME).run("true")


def test_no_answer_in_time_may_have_reached(there, monkeypatch):
    monkeypatch.setattr(ssm, "GRACE_S", 0)
    with pytest.raises(MayHaveReached, match=r"no answer for 0\.3 s"):
        SsmTransport(**ME, poll_min_s=0.01).run("sleep 3", timeout_s=0.3)


def test_a_script_that_is_too_long_is_told_of_before_it_is_sent(there):
    noise = "".join(uuid.uuid4().hex for _ in range(5000))
    with pytest.raises(ConfigurationError, match="use transport ssh"):
        SsmTransport(**ME).run(f"echo {noise}")
    assert there.sent == []


def test_the_real_parameters_are_lawful_for_ssms_own_model(moto_url, s3, monkeypatch):
    """moto checks them as AWS's service model has them; it runs nothing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert SsmTransport(**ME, poll_min_s=0.01).run("true").returncode == 0


def test_the_settings_choose_the_way_and_refuse_what_is_none():
    fields = {"cluster_name": "a", "work_folder": "/w"}
    over = {
        "kind": "ssm", "instance_id": INSTANCE, "region_name": "us-west-2", "user": "ubuntu",
    }  # fmt: skip
    assert isinstance(SlurmCluster(**fields, transport=over).transport, SsmTransport)
    assert SlurmCluster(**fields, transport={"environment": {}}).transport.kind == "local"
    for wrong in ({**over, "user": "x; reboot"}, {**over, "kind": "telnet"}, {**over, "a": 1}):
        with pytest.raises(ValidationError):
            SlurmCluster(**fields, transport=wrong)
