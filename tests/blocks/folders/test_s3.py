"""Worksets in S3, through prefect-aws and the real boto3, before moto's server."""

import math
import uuid

import boto3
import pytest
from prefect_aws.s3 import S3Bucket

from blocks.folders import S3Source, SpecMissing
from tests import iam
from tests.faulty import faulty
from tests.services import credentials
from worksets.delivery import NotThere
from worksets.errors import ConfigurationError, DataError, TransientError
from worksets.jobs import Input


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


def source(url, bucket, folder="incoming", key="test"):
    return S3Source(
        S3Bucket(bucket_name=bucket, bucket_folder=folder, credentials=credentials(url, key))
    )


def names(found):
    return sorted(entry.workset_id for entry in found)


def inputs(*names):
    return [Input(name=name) for name in names]


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
    assert [entry.workset_id for entry in found] == [f"ws-{n:05d}" for n in range(count)]
    assert found[7].location == f"s3://{bucket}/incoming/ws-00007"

    put(s3, bucket, "incoming/ws-90000/daylily_work.yaml")  # the newest by name: found at once
    requests.clear()
    found, cursor = place.find(cursor)
    assert "ws-90000" in names(found) and len(found) <= 1001
    assert requests == ["ListObjectsV2"] * 2

    put(s3, bucket, "incoming/aaa/daylily_work.yaml")  # sorts before all: found within a sweep
    calls = 0
    while "aaa" not in names(found):
        requests.clear()
        found, cursor = place.find(cursor)
        assert len(requests) == 2
        calls += 1
    assert calls <= math.ceil((count + 2) / 1000) + 1


@pytest.mark.parametrize("where", ["a-{}", "m/x", "z-{}"])
def test_loose_objects_hide_no_folder(moto_url, s3, bucket, where):
    """B11: more than a page of them, before, beside and after the folders."""
    loose = [f"incoming/{where.format(f'{n:04d}')}" for n in range(1100 if "{}" in where else 1)]
    put(s3, bucket, *loose, *(f"incoming/ws-{n}/daylily_work.yaml" for n in range(3)))
    place = source(moto_url, bucket)
    found, cursor = place.find("")
    assert {"ws-0", "ws-1", "ws-2"} <= set(names(found))
    put(s3, bucket, "incoming/aaa/daylily_work.yaml", "incoming/zzz/daylily_work.yaml")
    seen = set()
    for _ in range(3):
        found, cursor = place.find(cursor)
        seen |= set(names(found))
    assert {"aaa", "zzz", "ws-1"} <= seen


def test_names_that_are_no_ids_come_without_one(moto_url, s3, bucket):
    put(s3, bucket, "incoming/with space/x", "incoming/ok/x", "incoming/a%2e%2e/x")
    found, _ = source(moto_url, bucket).find("")
    assert names(found) == ["", "", "ok"]
    assert all(bool(entry.workset_id) != bool(entry.refused) for entry in found)


def test_the_spec(moto_url, s3, bucket):
    put(s3, bucket, "incoming/w1/daylily_work.yaml", body=b"samples: []")
    put(s3, bucket, "incoming/w2/reads.fq.gz")
    put(s3, bucket, "incoming/w3/daylily_work.yaml", body=b"")
    put(s3, bucket, "incoming/w4/daylily_work.yaml", body=b"#" * 2_000_000)
    place = source(moto_url, bucket)
    spec = lambda id_: place.open(f"s3://{bucket}/incoming/{id_}").read_spec().data  # noqa: E731
    assert spec("w1") == b"samples: []" and spec("w3") == b""
    assert len(spec("w4")) == 2**20 + 1, "no more is read than tells that it is too long"
    with pytest.raises(SpecMissing, match=r"w2/daylily_work\.yaml is not there"):
        spec("w2")
    assert place.open(f"s3://{bucket}/incoming/w1").read_sheet() is None
    put(s3, bucket, "incoming/w1/stage_samples.tsv", body=b"SAMPLE_ID\tR1_FQ\n")
    sheet = place.open(f"s3://{bucket}/incoming/w1").read_sheet()
    assert sheet == b"SAMPLE_ID\tR1_FQ\n"
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
    sizes = folder.look(inputs(*names))
    assert list(sizes) == names and sizes["a.fq.gz"].bytes == 5
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
            folder.look(inputs("a.fq.gz"))


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
        assert {seen.bytes for seen in folder.look(inputs(*names)).values()} == {1}
        assert faults.most_at_once >= 8


def test_a_poller_needs_no_more_than_its_policy(moto_url, s3, bucket):
    """What is missing is missing, though S3 calls it denied where only a prefix may be listed."""
    put(s3, bucket, "incoming/w1/daylily_work.yaml", "incoming/w1/a.fq.gz", "elsewhere/a.fq.gz")
    policy = iam.policy("pollers.json", bucket)
    place = source(moto_url, bucket, key=f"bound to {bucket}")
    used = iam.bound(place.client, policy, s3)
    [found] = place.find("")[0]
    folder = place.open(found.location)
    assert place.region == "us-east-1" and folder.read_spec().data == b"x"
    looked = folder.look(inputs("a.fq.gz", "gone.fq.gz"))
    assert looked["a.fq.gz"].bytes == 1 and isinstance(looked["gone.fq.gz"], NotThere)
    with pytest.raises(SpecMissing):
        place.open(f"s3://{bucket}/incoming/w2").read_spec()
    for uri in (f"s3://{bucket}/elsewhere/a.fq.gz", f"s3://{bucket}/elsewhere/gone.fq.gz"):
        with pytest.raises(ConfigurationError, match="allow s3:GetObject on it, and s3:ListB"):
            folder.look_at(uri)
    with pytest.raises(ConfigurationError, match=r"s3:ListBucket on b\w+, for the prefix other/\*"):
        other = source(moto_url, bucket, "other", key=f"bound beside {bucket}")
        iam.bound(other.client, policy, s3)
        other.find("")
    assert {iam.ACTIONS[name] for name in used} == {
        f"s3:{action}" for action in iam.actions(policy, "s3")
    }, "the policy allows nothing else"


def test_a_status_file_takes_the_place_of_others(moto_url, s3, bucket):
    put(s3, bucket, "incoming/w1/daylily_work.yaml", "incoming/w1/daylily.error")
    folder = source(moto_url, bucket).open(f"s3://{bucket}/incoming/w1")
    folder.say("daylily.complete", "well", ["daylily.error", "daylily.in_progress"])
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="incoming/w1/")["Contents"]
    assert [entry["Key"].rpartition("/")[2] for entry in listed] == [
        "daylily.complete", "daylily_work.yaml",
    ]  # fmt: skip
    said = s3.get_object(Bucket=bucket, Key="incoming/w1/daylily.complete")["Body"].read()
    assert said == b"well"
