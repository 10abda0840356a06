"""stage.py and export.py on S3, with the real boto3, before moto's server.

moto itself is wrong about three things. It answers 404 for a key with a line break (its routes do
not match one), so no key here has one; real S3 takes them. It says the checksum of an object in
parts without S3's `-N` at its end, so such objects are read back here. And it does not compare an
uploaded part with the digest that came with it.
"""

import hashlib
import json
import os
import uuid

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import iam
from tests.blocks.clusters.on_cluster.programs import Case, killed, names, start
from tests.faulty import faulty

import export  # isort: skip
import files  # isort: skip
import s3 as on_s3  # isort: skip
import stage  # isort: skip
import staged  # isort: skip

MANIFEST = "worksets-manifest.json"
ODD = [
    "RUN1_L2#7.cram", "with space", "a?b=c&d", "100%25.txt", "%2e%2e", "semi;colon", "back\\slash",
    "'single'", '"double"', "-rf", ".hidden", "...", "n" * 255, "ünïcode", "~", "*", " ", "+",
    "a&b=<c>", "s3:x", "{}", "|", "日本",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def environment(moto_url):
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "AWS_ENDPOINT_URL": moto_url, "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(key, value)
        one = on_s3.connect()  # to make one takes half a second
        patch.setattr(on_s3, "connect", lambda: one)
        yield


@pytest.fixture
def s3(moto_url):
    return boto3.client("s3")


@pytest.fixture
def bucket(s3):
    return made(s3)


def made(s3):
    name = f"b{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def case(tmp_path, bucket):
    return moved(Case(tmp_path), bucket)


def moved(case, bucket):
    """The same workset in S3."""
    case.bucket = bucket
    case.write(
        source=f"s3://{bucket}/in/w1", source_root=f"s3://{bucket}/in",
        export_to=f"s3://{bucket}/results/acme/w1", export_root=f"s3://{bucket}/results",
    )  # fmt: skip
    return case


def put(s3, case, name, content=b"reads", **more):
    s3.put_object(Bucket=case.bucket, Key=f"in/w1/{name}", Body=content, **more)


def delivered(s3, case):
    """Objects in the export's place with their content, less the manifest."""
    prefix, found = "results/acme/w1/", {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=case.bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            got = s3.get_object(Bucket=case.bucket, Key=entry["Key"])
            found[entry["Key"][len(prefix) :]] = got["Body"].read()
    case.told = json.loads(found.pop(MANIFEST, "null"))
    return found


def versions(s3, case):
    page = s3.list_object_versions(Bucket=case.bucket)
    return sorted(v["VersionId"] for v in page.get("Versions", []) + page.get("DeleteMarkers", []))


# --- Export ---


def test_every_name_arrives_as_it_is(case, s3):
    """A1: a key is a text."""
    for name in ODD:
        case.result(name, name.encode() * 2)
        case.result(f"deep/{name}/{name}"[:400], name.encode())
    (case.results / "empty").mkdir()
    receipt = case.tmp / "receipt"
    case.export("--receipt", receipt, says=f"{2 * len(ODD)} files (")
    expected = {name: name.encode() * 2 for name in ODD}
    expected |= {f"deep/{name}/{name}"[:400]: name.encode() for name in ODD}
    assert delivered(s3, case) == expected
    assert case.told["state"] == "complete" and case.told["empty_folders"] == ["empty"]
    for entry in case.told["files"]:
        content = expected[entry["name"]]
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    manifest = s3.get_object(Bucket=case.bucket, Key=f"results/acme/w1/{MANIFEST}")["Body"].read()
    line = json.loads(receipt.read_text())
    assert line["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert line["files"] == 2 * len(ODD)

    before = versions(s3, case)
    case.export()
    assert versions(s3, case) == before, "again changes nothing"
    s3.put_object(Bucket=case.bucket, Key="results/acme/w1/~", Body=b"!!")  # same size
    s3.delete_object(Bucket=case.bucket, Key="results/acme/w1/*")
    case.export(says="replaced")
    assert delivered(s3, case) == expected


def test_names_that_s3_cannot_have_are_named_and_nothing_is_exported(case, s3):
    case.result("good")
    case.result(b"caf\xe9.txt")
    folder = "/".join(["d" * 250] * 4)
    case.result(f"{folder}/name-that-is-too-long")
    said = case.export(code=78, says="2 results cannot be exported")
    assert r"caf\udce9.txt': the name is no UTF-8" in said
    assert "name-that-is-too-long: the key has 10" in said and "S3 takes 1024" in said
    assert delivered(s3, case) == {} and case.told is None


def test_what_an_earlier_run_left_is_removed_and_nothing_else(case, s3, moto_url):
    case.result("s1/a", b"old")
    case.result("s2/b", b"old")
    case.export()
    s3.put_object(Bucket=case.bucket, Key="results/acme/w1/notes", Body=b"an operator's")
    (case.results / "s1/a").unlink()
    case.result("s2/b", b"new")
    case.write(uid="another", lineage=2)
    with faulty(moto_url) as faults:
        # the manifest is read and written, unfinished uploads are listed, then one is removed
        faults.plan = [("pass", "")] * 3 + [("status", "403")]
        case.export(code=77, says="s3:DeleteObject", env={"AWS_ENDPOINT_URL": faults.url})
    assert set(delivered(s3, case)) == {"s1/a", "s2/b", "notes"}
    assert case.told["state"] == "exporting"
    assert [f["name"] for f in case.told["files"] if f.get("earlier")] == ["s1/a"]
    case.export(says="of an earlier export were there")
    assert delivered(s3, case) == {"s2/b": b"new", "notes": b"an operator's"}
    assert case.told["lineage"] == 2


def test_two_worksets_cannot_share_a_place(case, s3):
    case.result("a", b"first")
    case.export()
    case.write(workset_id="w2")
    case.result("a", b"second")
    case.export(code=78, says="two worksets cannot share")
    assert delivered(s3, case) == {"a": b"first"}
    s3.put_object(Bucket=case.bucket, Key=f"results/acme/w1/{MANIFEST}", Body=b"{")
    case.export(code=78, says="cannot be read")


def test_a_place_that_may_not_be_read_is_not_written(case, s3, moto_url):
    case.result("a")
    with faulty(moto_url) as faults:
        faults.plan = [("status", "403")] * 2  # neither read nor listed
        case.export(code=77, says="s3:ListBucket", env={"AWS_ENDPOINT_URL": faults.url})
    assert delivered(s3, case) == {}
    case.write(
        export_to="s3://no-such-bucket-anywhere/x", export_root="s3://no-such-bucket-anywhere"
    )
    case.export(code=66, says="(NoSuchBucket) when calling")
    case.write(export_to=f"s3://{case.bucket}/results/../x", export_root=f"s3://{case.bucket}")
    case.export(code=78, says="no plain s3://bucket/key")


def test_two_exports_that_begin_at_once(case, s3):
    case.result("a")
    arguments = str(case.results), case.manifest["export_to"], str(case.path)
    owner = export.Owner(arguments[2], arguments[1])
    target = owner.target(arguments[1])
    target.write_manifest(b"mine", is_first=True)
    with pytest.raises(files.Failed, match="another export began") as error:
        target.write_manifest(b"yours", is_first=True)
    assert error.value.code == 75


def test_large_files_go_in_parts(case, s3, monkeypatch):
    monkeypatch.setattr(on_s3, "PART", 5 << 20)
    monkeypatch.setattr(export, "SMALL_BYTES", 5 << 20)
    content = os.urandom(12 << 20)
    case.result("big", content)
    arguments = str(case.results), case.manifest["export_to"], str(case.path)
    export.export(*arguments)
    assert delivered(s3, case) == {"big": content}
    (entry,) = case.told["files"]
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    parts = [content[at : at + (5 << 20)] for at in range(0, len(content), 5 << 20)]
    joined = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    assert entry["parts_sha256"] == on_s3.text(joined) + "-3"
    before = versions(s3, case)
    export.export(*arguments)
    assert versions(s3, case) == before

    put(s3, case, "big", content)
    put(s3, case, "big.sha256", hashlib.sha256(content).hexdigest().encode())
    case.needs("big")
    stage.Staging(staged.read_manifest(str(case.path)), str(case.inputs)).run()
    assert (case.inputs / "big").read_bytes() == content


@pytest.mark.parametrize("size", [0, 1, 32 << 20, (32 << 20) + 1, 5 * 10**12, 5 * 2**40])
def test_parts_are_few_enough_for_every_size(size):
    part = on_s3.part_size(size)
    assert part % (1 << 20) == 0 and 5 << 20 <= part <= 5 << 30
    assert -(-size // part) <= 10_000


def test_an_export_that_is_killed_leaves_no_parts(case, s3, moto_url):
    content = os.urandom(40 << 20)
    case.result("big", content)

    def begun():
        listed = s3.list_multipart_uploads(Bucket=case.bucket).get("Uploads", [])
        return {upload["UploadId"] for upload in listed}

    with faulty(moto_url) as faults:
        faults.delay_s = 0.3
        for _ in range(2):
            before = begun()
            process = start(
                "export.py", case.results, case.manifest["export_to"], "--manifest", case.path,
                env={"AWS_ENDPOINT_URL": faults.url},
            )  # fmt: skip
            killed(process, lambda: begun() - before)  # noqa: B023
            assert len(begun()) == 1
    assert delivered(s3, case) == {} and case.told["state"] == "exporting"
    case.export()
    assert delivered(s3, case) == {"big": content}
    assert begun() == set()


def test_a_store_that_says_no_checksum_is_read_back(case, s3, monkeypatch):
    case.result("a", b"right")
    asked = []

    def silent():
        client = boto3.client("s3")
        client.meta.events.register(
            "after-call.s3.HeadObject", lambda parsed, **_: parsed.pop("ChecksumSHA256", None)
        )
        client.meta.events.register(
            "before-call.s3.GetObject", lambda params, **_: asked.append(params["url_path"])
        )
        return client

    monkeypatch.setattr(on_s3, "connect", silent)
    arguments = str(case.results), case.manifest["export_to"], str(case.path)
    export.export(*arguments)
    assert any(path.endswith("/a") for path in asked)
    assert delivered(s3, case) == {"a": b"right"}

    # what arrives is not what was sent
    def damaged(client, bucket, key, file, size, parts):
        client.put_object(Bucket=bucket, Key=key, Body=b"wrong"[:size])

    monkeypatch.setattr(on_s3, "upload", damaged)
    for how in (silent, lambda: s3):
        monkeypatch.setattr(on_s3, "connect", how)
        case.result("a", b"again")
        with pytest.raises(files.Failed, match="arrived other than it was sent") as error:
            export.export(*arguments)
        assert error.value.code == 74
        assert delivered(s3, case) == {"a": b"wrong"} and case.told["state"] == "exporting"


def test_thousands_of_small_files_go_several_at_once(case, moto_url):
    for n in range(40):
        case.result(f"{n}")
    with faulty(moto_url) as faults:
        faults.delay_s = 0.05
        case.export(env={"AWS_ENDPOINT_URL": faults.url})
        assert faults.most_at_once >= 6


# --- Stage ---


def test_objects_are_staged_whatever_their_keys(case, s3):
    odd = ODD[:12]
    for name in odd:
        put(s3, case, name, name.encode())
    s3.put_object(Bucket=case.bucket, Key="shared/key#1?x%20", Body=b"shared")
    put(s3, case, "empty", b"")
    uri = {
        "name": "p/shared", "uri": f"s3://{case.bucket}/shared/key#1?x%20",
        "root": f"s3://{case.bucket}/shared",
    }  # fmt: skip
    (case.inputs / ".old.part").write_text("x")
    case.needs(*odd, "empty", uri)
    case.stage()
    found = {n.decode(): (case.inputs / n.decode()) for n in names(case.inputs)}
    assert set(found) == {*odd, "empty", "p", "p/shared"}
    assert all(found[name].read_bytes() == name.encode() for name in odd)
    assert found["p/shared"].read_bytes() == b"shared" and found["empty"].read_bytes() == b""
    case.stage(says=" 0 bytes staged")
    put(s3, case, odd[0], b"other")
    case.stage(says=" 5 bytes staged")
    case.needs({**uri, "uri": f"s3://{case.bucket}/in/w2/x"})
    case.stage(code=78, says="does not lie below")
    case.needs({**uri, "uri": f"s3://{case.bucket}/shared/../in/w2/x"})
    case.stage(code=66)


@pytest.mark.parametrize("denied", [False, True])
def test_checksums_are_found_and_checked(case, s3, moto_url, denied):
    """Where the bucket may not be listed they are asked for by name."""
    put(s3, case, "fastq/a.fq", b"reads")
    case.needs("fastq/a.fq")

    def stage_it(**expected):
        if not denied:
            return case.stage(**expected)
        with faulty(moto_url) as faults:
            faults.list_denied = True
            return case.stage(env={"AWS_ENDPOINT_URL": faults.url}, **expected)

    if not denied:
        stage_it(says=" 5 bytes staged")
    good, bad = (hashlib.md5(text).hexdigest() for text in (b"reads", b"bad"))
    put(s3, case, "fastq/a.fq.md5", good.encode())
    stage_it(says=" 5 bytes staged")
    put(s3, case, "MD5SUMS", f"{bad}  fastq/a.fq".encode())
    stage_it(code=65, says="in/w1/MD5SUMS says")
    if denied:
        return
    put(s3, case, "MD5SUMS", b"?")
    stage_it(code=65, says="line 1 is no checksum")
    put(s3, case, "MD5SUMS", b"#" * (2**20 + 1))
    stage_it(code=65, says="longer than")


def test_missing_archived_and_denied_objects(case, s3, moto_url):
    case.needs("gone.fq")
    case.stage(code=66, says="gone.fq: An error occurred (404) when calling")
    put(s3, case, "cold.fq", StorageClass="DEEP_ARCHIVE")
    case.needs("cold.fq")
    case.stage(code=66, says="(InvalidObjectState) when calling")
    put(s3, case, "a.fq")
    case.needs("a.fq")
    with faulty(moto_url) as faults:
        faults.plan = [("pass", ""), ("status", "403")]
        case.stage(code=77, says="a.fq", env={"AWS_ENDPOINT_URL": faults.url})
    assert names(case.inputs) == []
    answer = {"Error": {"Code": "503"}}
    with pytest.raises(files.Failed, match="503") as error, on_s3.explained("x"):
        raise on_s3.ClientError(answer, "GetObject")
    assert error.value.code == 75


def test_a_node_needs_no_more_than_its_policy(case, s3, monkeypatch):
    """What is missing is missing, though S3 calls it denied where only a prefix may be listed."""
    policy = iam.policy("nodes.json", case.bucket)
    node = boto3.client("s3")
    used = iam.bound(node, policy, s3)
    monkeypatch.setattr(on_s3, "connect", lambda: node)
    monkeypatch.setattr(on_s3, "PART", 5 << 20)
    incoming = f"s3://{case.bucket}/incoming"
    case.write(source=f"{incoming}/w1", source_root=incoming)
    for name in ("a.fq", "cold/b.fq"):
        s3.put_object(Bucket=case.bucket, Key=f"incoming/w1/{name}", Body=b"reads")

    def stage_it():
        stage.Staging(staged.read_manifest(str(case.path)), str(case.inputs)).run()

    case.needs("a.fq", "cold/b.fq")
    stage_it()
    assert (case.inputs / "cold/b.fq").read_bytes() == b"reads"
    case.needs("gone.fq")
    with pytest.raises(files.Failed, match=r"gone\.fq is not there; deliver it") as error:
        stage_it()
    assert error.value.code == 66

    def export_it():
        return export.export(str(case.results), case.manifest["export_to"], str(case.path))

    case.result("old"), case.result("large", os.urandom(6 << 20))
    begun = {"Bucket": case.bucket, "Key": "results/acme/w1/large"}
    s3.create_multipart_upload(**begun)  # by an export that was killed
    export_it()
    (case.results / "old").unlink()
    case.write(lineage=2)
    export_it()
    assert delivered(s3, case).keys() == {"large"}
    allowed = {f"s3:{action}" for action in iam.actions(policy, "s3")}
    assert {iam.ACTIONS[name] for name in used} == allowed, "the policy allows nothing else"
    case.write(export_to=f"s3://{case.bucket}/other/w1", export_root=f"s3://{case.bucket}/other")
    with pytest.raises(files.Failed, match="allow both to the cluster's role"):
        export_it()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_object_that_changes_while_it_is_copied(case, s3, monkeypatch, when):
    put(s3, case, "a.fq", b"old!")
    case.needs("a.fq")
    download = on_s3.download

    def changing(*arguments):
        if when == "before":
            put(s3, case, "a.fq", b"new!")
        download(*arguments)
        if when == "after":
            put(s3, case, "a.fq", b"new!")

    monkeypatch.setattr(on_s3, "download", changing)
    with pytest.raises(files.Failed, match="still being delivered") as error:
        stage.Staging(staged.read_manifest(str(case.path)), str(case.inputs)).run()
    assert error.value.code == 75
    assert names(case.inputs) == []


def test_a_connection_that_breaks_goes_on_where_it_was(tmp_path, monkeypatch):
    content, asked = os.urandom(10 << 20), []
    monkeypatch.setattr(on_s3, "PART", 4 << 20)

    class Body:
        def __init__(self, data):
            self.data = data

        def iter_chunks(self, size):
            yield self.data[:size]
            if len(self.data) > size:
                raise ConnectionResetError("gone")

    class Client:
        def get_object(self, *, Bucket, Key, IfMatch, Range):
            assert IfMatch == '"etag"'
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            asked.append(first)
            return {"ContentLength": last - first + 1, "Body": Body(content[first : last + 1])}

    seen = files.Seen((len(content), '"etag"', ""), len(content))
    with open(tmp_path / "draft", "w+b") as draft:
        on_s3.download(Client(), "b", "k", seen, draft.fileno())
        assert draft.read() == content
        assert sorted(asked) == [n << 20 for n in range(10)]
        monkeypatch.setattr(on_s3, "TRIES", 2)
        with pytest.raises(files.Failed, match="broke 2 times"):
            on_s3.download(Client(), "b", "k", seen, draft.fileno())


def test_killed_three_times_leaves_nothing_behind(case, s3, moto_url):
    """A6."""
    content = os.urandom(40 << 20)
    put(s3, case, "a.fq", content)
    case.needs("a.fq")
    with faulty(moto_url) as faults:
        faults.delay_s = 0.2
        for _ in range(3):
            process = start(
                "stage.py", case.path, case.inputs, env={"AWS_ENDPOINT_URL": faults.url}
            )
            killed(process, lambda: names(case.inputs))
            assert len(names(case.inputs)) == 1 and names(case.inputs) != [b"a.fq"]
    case.stage()
    assert names(case.inputs) == [b"a.fq"]
    assert (case.inputs / "a.fq").read_bytes() == content


# --- Any names ---

NAME = (
    st.text(
        st.characters(exclude_characters="/\0\n\r", exclude_categories=["Cs"]),
        min_size=1,
        max_size=30,
    )
    | st.sampled_from(ODD)
).filter(lambda t: t not in (".", "..", MANIFEST) and len(t.encode()) < 256)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAME, st.tuples(NAME, st.binary(max_size=30)), min_size=1, max_size=6))
def test_whatever_the_names_what_arrives_is_what_was_there(s3, tmp_path_factory, tree):
    case = moved(Case(tmp_path_factory.mktemp("case")), made(s3))
    expected = {}
    for n, (folder, (name, content)) in enumerate(tree.items()):
        path = f"{folder}/{name}" if n % 2 else folder
        case.result(path, content)
        expected[path] = content
    export.export(str(case.results), case.manifest["export_to"], str(case.path))
    assert delivered(s3, case) == expected

    # and back again
    case.write(source=case.manifest["export_to"], source_root=case.manifest["export_root"])
    sums = (".md5", ".sha256", ".md5sum", ".sha256sum")
    case.needs(*(name for name in expected if not name.lower().endswith(sums)))
    stage.Staging(staged.read_manifest(str(case.path)), str(case.inputs)).run()
    for entry in case.manifest["inputs"]:
        assert (case.inputs / entry["name"]).read_bytes() == expected[entry["name"]]
