"""Worksets in S3, through prefect-aws and the real boto3, before moto's server."""

import json
import math
import re
import uuid
from pathlib import Path

import boto3
import pytest
from prefect_aws.s3 import S3Bucket

from blocks.folders import SpecMissing
from blocks.s3_folders import S3Source
from tests.faulty import faulty
from tests.services import credentials
from worksets.errors import ConfigurationError, DataError, TransientError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def s3(moto_url):
    return boto3.client(
        "s3", endpoint_url=moto_url, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test",
    )  # fmt: skip


@pytest.fixture
def bucket(s3):
    name = f"b{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def source(url, bucket, folder="incoming"):
    return S3Source(
        S3Bucket(bucket_name=bucket, bucket_folder=folder, credentials=credentials(url))
    )


def put(s3, bucket, *keys, body=b"x"):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def test_all_are_found_then_only_what_is_new_at_two_requests_a_call(moto_url, s3, bucket):
    count = 2500
    put(s3, bucket, *(f"incoming/ws-{n:05d}/daylily_work.yaml" for n in range(count)))
    put(s3, bucket, "elsewhere/ws-99999/daylily_work.yaml", "incoming/a-file")
    place, requests = source(moto_url, bucket), []
    place.open(f"s3://{bucket}/incoming/x")  # looks at the bucket's region, once
    place.client.meta.events.register(
        "before-call.s3", lambda model, **_: requests.append(model.name)
    )
    found, cursor = place.find("")
    assert [id_ for id_, _ in found] == [f"ws-{n:05d}" for n in range(count)]
    assert found[7][1] == f"s3://{bucket}/incoming/ws-00007"

    put(s3, bucket, "incoming/ws-90000/daylily_work.yaml")  # the newest by name: found at once
    requests.clear()
    found, cursor = place.find(cursor)
    assert "ws-90000" in dict(found) and len(found) <= 1001
    assert requests == ["ListObjectsV2"] * 2

    put(s3, bucket, "incoming/aaa/daylily_work.yaml")  # sorts before all: found within a sweep
    calls = 0
    while "aaa" not in dict(found):
        requests.clear()
        found, cursor = place.find(cursor)
        assert len(requests) == 2
        calls += 1
    assert calls <= math.ceil((count + 2) / 1000) + 1


def test_names_that_are_no_ids_come_without_one(moto_url, s3, bucket):
    put(s3, bucket, "incoming/with space/x", "incoming/ok/x", "incoming/a%2e%2e/x")
    found, _ = source(moto_url, bucket).find("")
    assert sorted(id_ for id_, _ in found) == ["", "", "ok"]


def test_the_spec(moto_url, s3, bucket):
    put(s3, bucket, "incoming/w1/daylily_work.yaml", body=b"samples: []")
    put(s3, bucket, "incoming/w2/reads.fq.gz")
    put(s3, bucket, "incoming/w3/daylily_work.yaml", body=b"")
    put(s3, bucket, "incoming/w4/daylily_work.yaml", body=b"#" * 2_000_000)
    place = source(moto_url, bucket)
    spec = lambda id_: place.open(f"s3://{bucket}/incoming/{id_}").read_spec()  # noqa: E731
    assert spec("w1") == b"samples: []" and spec("w3") == b""
    assert len(spec("w4")) == 2**20 + 1, "no more is read than tells that it is too long"
    with pytest.raises(SpecMissing, match=r"w2/daylily_work\.yaml is not there"):
        spec("w2")
    with pytest.raises(ConfigurationError):
        source(moto_url, "no-such-bucket-anywhere").find("")


def test_each_mistake_with_a_fastq_has_its_own_message(moto_url, s3, bucket):
    put(s3, bucket, "incoming/w1/a.fq.gz", body=b"12345")
    put(s3, bucket, "incoming/w1/empty.fq.gz", body=b"")
    for storage in ("GLACIER", "DEEP_ARCHIVE"):
        s3.put_object(
            Bucket=bucket, Key=f"incoming/w1/{storage}.fq.gz", Body=b"x", StorageClass=storage
        )
    folder = source(moto_url, bucket).open(f"s3://{bucket}/incoming/w1")
    names = ["a.fq.gz", "empty.fq.gz", "gone.fq.gz", "GLACIER.fq.gz", "DEEP_ARCHIVE.fq.gz"]
    sizes = folder.sizes(names)
    assert list(sizes) == names and sizes["a.fq.gz"] == 5
    for name, says in zip(
        names[1:], ("0 bytes", "not there", r"archived \(GLACIER\)", "DEEP_ARCHIVE"), strict=True
    ):
        assert isinstance(sizes[name], DataError)
        with pytest.raises(DataError, match=says):
            raise sizes[name]


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        ("403", ConfigurationError, "access denied; allow s3:GetObject"),
        ("503", TransientError, "tried again"),
    ],
)
def test_refusals_of_s3_say_what_to_do(moto_url, s3, bucket, status, kind, says):
    put(s3, bucket, "incoming/w1/a.fq.gz")
    with faulty(moto_url) as faults:
        folder = source(faults.url, bucket).open(f"s3://{bucket}/incoming/w1")
        faults.plan = [("status", status)] * 9
        with pytest.raises(kind, match=says):
            folder.sizes(["a.fq.gz"])


def test_a_bucket_in_another_region_says_which(moto_url):
    client = (
        credentials(moto_url)
        .get_boto3_session()
        .client("s3", endpoint_url=moto_url, region_name="eu-west-1")
    )
    name = f"b{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(ConfigurationError, match=r"is in eu-west-1.* set region_name there"):
        source(moto_url, name).find("")


def test_files_are_looked_at_together(moto_url, s3, bucket):
    names = [f"{n}.fq.gz" for n in range(32)]
    put(s3, bucket, *(f"incoming/w1/{name}" for name in names))
    with faulty(moto_url) as faults:
        faults.delay_s = 0.1
        folder = source(faults.url, bucket).open(f"s3://{bucket}/incoming/w1")
        assert set(folder.sizes(names).values()) == {1}
        assert faults.most_at_once >= 8


def test_the_code_calls_no_action_that_the_policy_does_not_allow(moto_url, s3, bucket, tmp_path):
    """By IAM's table: heads and lists of a bucket are ListBucket, heads of an object GetObject."""
    policy = json.loads((ROOT / "docs/aws/policy.json").read_text())
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    by_operation = {
        "HeadBucket": "s3:ListBucket",
        "ListObjectsV2": "s3:ListBucket",
        "HeadObject": "s3:GetObject",
        "GetObject": "s3:GetObject",
        "PutObject": "s3:PutObject",
    }
    put(s3, bucket, "incoming/w1/daylily_work.yaml", "incoming/w1/a.fq.gz")
    place, called = source(moto_url, bucket), set()
    place.client.meta.events.register("before-call.s3", lambda model, **_: called.add(model.name))
    folder = place.open(place.find("")[0][0][1])
    folder.read_spec(), folder.sizes(["a.fq.gz"])
    assert called == set(by_operation) - {"PutObject"}
    copies = (ROOT / "blocks/on_cluster/s3.py").read_text()
    # download_file heads and gets, upload_file puts (boto3's transfer manager)
    used = set(re.findall(r"\bclient\.(\w+)\(", copies))
    assert used == {"head_object", "download_file", "upload_file"}
    assert set(by_operation.values()) == {action for action in granted if action.startswith("s3:")}
