"""People are told once, of what happened, by channels that hold up nobody."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime

import pytest
from prefect.blocks.abstract import NotificationBlock

from blocks.notify import Announcer, Channel, SnsTopic, SqsQueue
from blocks.notify import announcer as module
from blocks.notify.linear import LinearError, LinearTeam
from tests.linear import KEY, linear
from tests.services import credentials
from worksets.announcements import MAX_SUBJECT, Announcement, Kind, of_workset
from worksets.record import State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = WorksetRecord(
    workset_id="w1", customer_id="acme", location="s3://b/w1", priority="urgent",
    state=State.FAILED, attempt=3, cluster_name="c2", created_at=NOW, updated_at=NOW,
)  # fmt: skip
LETTER = Announcement(Kind.DEAD_LETTER, "w1", "run failed: exit code 65\n```log``` ünï\n", RECORD)


def test_a_subject_is_one_line_of_ascii_for_any_message():
    for message in ("x" * 500, "a\nb\0c\x7f", "ünï ✓", ""):
        subject = Announcement(Kind.STUCK, "w" * 64, message, RECORD).subject
        assert len(subject) <= MAX_SUBJECT and subject.isascii() and subject.isprintable()


def test_what_is_told_of_a_workset_by_its_state():
    told = {state: of_workset(RECORD.model_copy(update={"state": state}), "m") for state in State}
    assert {state: a.kind for state, a in told.items() if a} == {
        State.COMPLETE: Kind.COMPLETED, State.RETRYING: Kind.RETRYING,
        State.FAILED: Kind.DEAD_LETTER, State.CANCELLED: Kind.CANCELLED,
    }  # fmt: skip


@pytest.fixture
def topic(moto_url):
    """A topic, and a queue that hears all of it."""
    aws = credentials(moto_url)
    sns, sqs = aws.get_client("sns"), aws.get_client("sqs")
    arn = sns.create_topic(Name=f"t{uuid.uuid4().hex}")["TopicArn"]
    url = sqs.create_queue(QueueName=f"q{uuid.uuid4().hex}")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue["QueueArn"])

    def heard():
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in found]

    return arn, heard, aws


async def test_sns_carries_attributes_to_filter_by(topic):
    arn, heard, aws = topic
    block = SnsTopic(topic_arn=arn, aws_credentials=aws)
    await block.announce(LETTER)
    await block.notify("two lines\nof text", "a subject\nwith a line break é " + "x" * 200)
    first, second = heard()
    attributes = {key: value["Value"] for key, value in first["MessageAttributes"].items()}
    assert attributes == {
        "event": "dead_letter", "workset_id": "w1", "state": "failed", "priority": "urgent",
        "customer_id": "acme",
    }  # fmt: skip
    assert first["Subject"] == "w1: dead letter: run failed: exit code 65"
    assert "ünï" in first["Message"] and "attempt 3 on c2" in first["Message"]
    assert len(second["Subject"]) <= 100 and second["Message"] == "two lines\nof text"


async def test_a_dead_letter_queue_holds_the_whole_record(moto_url):
    aws = credentials(moto_url)
    sqs = aws.get_client("sqs")
    url = sqs.create_queue(QueueName=f"q{uuid.uuid4().hex}")["QueueUrl"]
    block = SqsQueue(queue_url=url, aws_credentials=aws)
    announcer = Announcer([block])
    announcer.tell(Announcement(Kind.COMPLETED, "w0", "fine", RECORD))
    announcer.tell(LETTER)
    await announcer.close()
    [message] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    letter = json.loads(message["Body"])
    assert letter["message"] == LETTER.message and letter["event"] == "dead_letter"
    assert WorksetRecord.model_validate(letter["record"]) == RECORD


@pytest.fixture
def server():
    with linear() as running:
        yield running


def team(server, **fields):
    given = {"api_key": KEY, "team_id": uuid.UUID(int=7), "url": server.url, **fields}
    return LinearTeam(**given)


async def test_linear_has_one_issue_for_a_workset_however_often_it_is_told(server):
    # three processes at once, then one more
    await asyncio.gather(*(team(server).announce(LETTER) for _ in range(3)))
    await team(server).announce(LETTER)
    [issue] = server.issues.values()
    assert issue["priority"] == 1 and issue["title"] == LETTER.subject
    assert "```log```" not in issue["description"]
    assert len(server.comments) == 3
    done = RECORD.model_copy(update={"state": State.COMPLETE})
    await team(server).announce(Announcement(Kind.COMPLETED, "w1", "complete", done))
    await team(server).announce(Announcement(Kind.COMPLETED, "never-failed", "complete", done))
    assert len(server.issues) == 1 and len(server.comments) == 4
    await team(server).announce(Announcement(Kind.CLUSTER_UNREACHABLE, "c2", "no route"))
    assert len(server.issues) == 2


async def test_linear_says_why_it_refuses(server):
    with pytest.raises(LinearError, match="Authentication required"):
        await team(server, api_key="wrong").announce(LETTER)
    server.broken = True
    with pytest.raises(LinearError, match="Internal Server Error"):
        await team(server).notify("text")
    assert server.issues == {}


class Slow(Channel):
    """Takes its time, or fails."""

    _block_type_slug = "slow-channel"
    seconds: float = 0
    _got: list = []

    async def notify(self, body, subject=None):
        raise AssertionError("a whole announcement is sent")

    async def announce(self, announcement):
        await asyncio.sleep(self.seconds)
        if self.seconds == 0:
            raise RuntimeError("refused")
        self._got.append(announcement.about)


class Plain(NotificationBlock):
    """As Prefect's own are: text only."""

    _block_type_slug = "plain-channel"
    _got: list = []

    async def notify(self, body, subject=None):
        self._got.append((subject, body))


async def test_a_slow_or_failing_channel_holds_up_neither_the_teller_nor_another(monkeypatch):
    monkeypatch.setattr(module, "CLOSE_S", 0.3)
    slow, failing, plain = Slow(seconds=60), Slow(seconds=0), Plain()
    slow._got, plain._got = [], []
    announcer = Announcer([slow, failing, plain])
    began = time.monotonic()
    for n in range(module.WAITING + 50):
        announcer.tell(Announcement(Kind.DEAD_LETTER, f"w{n}", "m", RECORD))
        await asyncio.sleep(0)
    assert time.monotonic() - began < 5
    await announcer.close()
    assert time.monotonic() - began < 8
    assert slow._got == [] and len(plain._got) == module.WAITING + 50
    assert plain._got[7][0].startswith("w7: dead letter")


async def test_a_channel_is_not_asked_twice_for_one_announcement(monkeypatch):
    monkeypatch.setattr(module, "SEND_S", 0.05)
    asked = []

    class Counting(Slow):
        _block_type_slug = "counting-channel"

        async def announce(self, announcement):
            asked.append(announcement.about)
            await asyncio.sleep(1)

    announcer = Announcer([Counting()])
    announcer.tell(LETTER)
    await announcer.close()
    assert asked == ["w1"]
