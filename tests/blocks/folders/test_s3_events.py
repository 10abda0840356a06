"""What a bucket tells by a queue, before moto's S3 and SQS, through the real boto3."""

import json
import threading
import time
import uuid

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_aws.s3 import S3Bucket

from blocks.folders import S3Source
from blocks.folders.s3_events import folders_in, queue_region
from tests.services import credentials
from worksets.errors import ConfigurationError, WorksetError


@pytest.fixture
def aws(moto_url):
    def client(name):
        return boto3.client(
            name, endpoint_url=moto_url, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test",
        )  # fmt: skip

    return client


@pytest.fixture
def bucket(aws):
    name = f"b{uuid.uuid4().hex[:12]}"
    aws("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def queue(aws, bucket):
    """A queue in which the bucket tells of every object that is new."""
    url = aws("sqs").create_queue(QueueName=bucket)["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    aws("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )
    return url


def source(url, bucket):
    block = S3Bucket(bucket_name=bucket, bucket_folder="incoming", credentials=credentials(url))
    return S3Source(block)


def test_a_folder_that_gets_its_file_is_told_by_name_and_the_rest_is_not(
    aws, moto_url, bucket, queue
):
    stop, told = threading.Event(), []
    names = source(moto_url, bucket).changes(stop, queue)
    reader = threading.Thread(target=lambda: told.extend(names), daemon=True)
    reader.start()
    for key in ("incoming/w1/a.fq", "elsewhere/w2/daylily_work.yaml",
                "incoming/w1/deeper/daylily_work.yaml", "incoming/w1/daylily_work.yaml",
                "incoming/daylily_work.yaml", "incoming/b d/daylily_work.yaml"):  # fmt: skip
        aws("s3").put_object(Bucket=bucket, Key=key, Body=b"x")

    def left():
        counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=list(counts))
        return sum(int(found["Attributes"][count]) for count in counts)

    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left() == 0, "each message is taken"
    assert frozenset().union(*told) == {"w1"}
    stop.set()
    aws("sqs").send_message(QueueUrl=queue, MessageBody="wakes the reader")
    reader.join(20)
    assert not reader.is_alive()


def test_without_a_queue_a_bucket_tells_nothing(moto_url, bucket):
    assert source(moto_url, bucket).changes(threading.Event(), "") is None


def test_a_queue_that_is_not_there_is_told(moto_url, bucket, queue):
    gone = source(moto_url, bucket).changes(threading.Event(), f"{queue}-gone")
    with pytest.raises(WorksetError, match=rf"reading the queue .*{bucket}-gone"):
        next(gone)


def event(bucket, key):
    return {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


KEY = "in/w1/daylily_work.yaml"


@pytest.mark.parametrize(
    ("message", "names"),
    [
        (event("b", KEY), {"w1"}),
        (event("other", KEY), set()),
        (event("b", "elsewhere/w1/daylily_work.yaml"), set()),
        ({"Message": json.dumps(event("b", KEY))}, {"w1"}),
        ({"detail": {"bucket": {"name": "b"}, "object": {"key": KEY}}}, {"w1"}),
        ({"Event": "s3:TestEvent", "Bucket": "b"}, set()),
        ({"Records": [{}, event("b", KEY)["Records"][0]]}, {"w1"}),
        ({"Records": 7}, set()),
        ({"Message": 7}, set()),
        ([event("b", KEY)], set()),
        (None, set()),
        (event("b", "in/..%2Fx/daylily_work.yaml"), set()),
        (event("b", "in/a%20b/daylily_work.yaml"), set()),
    ],
)
def test_a_message_says_which_folders_or_nothing(message, names):
    assert folders_in(json.dumps(message), "b", "in/") == names


def test_a_prefix_may_have_a_plus_in_it():
    """S3 writes it as in a URL, EventBridge as it is."""
    plain = {"detail": {"bucket": {"name": "b"}, "object": {"key": "a+b/w1/daylily_work.yaml"}}}
    quoted = event("b", "a%2Bb/w1/daylily_work.yaml")
    assert folders_in(json.dumps(plain), "b", "a+b/") == {"w1"}
    assert folders_in(json.dumps(quoted), "b", "a+b/") == {"w1"}


@given(st.text(), st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)
       | st.dictionaries(st.sampled_from(["Records", "Message", "detail", "s3", "bucket", "name",
                                          "object", "key"]), inner)))  # fmt: skip
def test_whoever_may_write_into_the_queue_breaks_nothing(text, message):
    assert folders_in(text, "b", "") == frozenset()
    folders_in(json.dumps(message), "b", "")


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.us-west-2.amazonaws.com/123456789012/worksets", "us-west-2"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/worksets", "cn-north-1"),
        ("http://127.0.0.1:4566/123456789012/worksets", ""),
        ("https://queue.example/q", ""),
    ],
)
def test_a_queue_lies_in_the_region_of_its_url(url, region):
    assert queue_region(url) == region


def test_two_places_do_not_share_a_queue():
    from blocks.settings import WorksetSettings

    def settings(**events):
        return WorksetSettings(
            state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines={},
            bucket_events=events,
        )  # fmt: skip

    url = "https://sqs.us-west-2.amazonaws.com/123456789012/worksets"
    assert settings(**{"s3://our-data/in": url}).bucket_events == {"s3://our-data/in": url}
    with pytest.raises((ValueError, ConfigurationError), match="two places have one queue"):
        settings(**{"s3://our-data/in": url, "s3://our-data/out": url})
    with pytest.raises((ValueError, ConfigurationError), match="no URL of a queue"):
        settings(**{"s3://our-data/in": "worksets"})
