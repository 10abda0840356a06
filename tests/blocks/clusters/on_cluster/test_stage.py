"""stage.py from a folder: whole, quiet, as the checksums say, and nobody else's."""

import hashlib
import os
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.blocks.clusters.on_cluster.programs import Case, killed, names, start

import files  # isort: skip
import places  # isort: skip


EMPTY = {"uri": "", "root": "", "md5": "", "sha256": ""}


def md5(content):
    return hashlib.md5(content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_files_arrive_with_their_time_and_nothing_else_stays(case):
    origin = case.deliver("fastq/s1_R1.fq.gz", b"one")
    case.deliver("s2.fq.gz", b"two")
    (case.inputs / "old").mkdir()
    (case.inputs / "old/withdrawn.fq.gz").write_bytes(b"x")
    (case.inputs / ".s2.fq.gz.part").write_bytes(b"x")
    (case.inputs / ".s2.fq.gz.part.0aB1cD2e").write_bytes(b"x")
    keep = case.tmp / "keep"
    keep.write_text("mine")
    (case.inputs / "link").symlink_to(keep)
    (case.inputs / "linked").symlink_to(case.tmp / "in")
    (case.inputs / "fastq").symlink_to(case.tmp / "in")  # in the way of a folder
    case.needs("fastq/s1_R1.fq.gz", "s2.fq.gz")
    case.stage(says="workset w1: 6 bytes staged")
    assert names(case.inputs) == [b"fastq", b"fastq/s1_R1.fq.gz", b"s2.fq.gz"]
    assert (case.inputs / "s2.fq.gz").read_bytes() == b"two"
    staged = (case.inputs / "fastq/s1_R1.fq.gz").stat()
    assert staged.st_mtime_ns == origin.stat().st_mtime_ns
    assert keep.read_text() == "mine" and origin.exists()


def test_what_is_there_is_not_copied_again_unless_it_is_another_file(case):
    origin = case.deliver("a.fq", b"1234")
    case.needs("a.fq")
    case.stage(says=" 4 bytes staged")
    case.stage(says=" 0 bytes staged")

    # the content changed and the times were set back: only the change time tells
    before = origin.stat()
    origin.write_bytes(b"5678")
    os.utime(origin, ns=(before.st_atime_ns, before.st_mtime_ns))
    case.stage(says=" 4 bytes staged")
    assert (case.inputs / "a.fq").read_bytes() == b"5678"

    # the pipeline wrote to its input
    copy = case.inputs / "a.fq"
    before = copy.stat()
    copy.write_bytes(b"ABCD")
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    case.stage(says=" 4 bytes staged")
    assert copy.read_bytes() == b"5678"

    # a workset of another uid in the same place knows nothing of these copies
    case.write(uid="other-1")
    case.stage(says=" 4 bytes staged")

    # checksums that come later are checked
    case.deliver("a.fq.md5", md5(b"5678").encode())
    case.stage(says=" 4 bytes staged")
    case.stage(says=" 0 bytes staged")
    case.deliver("a.fq.md5", md5(b"wrong").encode())
    case.stage(code=65, says="a.fq.md5 says")


def test_a_damaged_record_costs_a_copy_and_nothing_else(case):
    case.deliver("a.fq")
    case.needs("a.fq")
    case.stage()
    record = case.inputs.parent / ".inputs.staged"
    for content in (
        "",
        "[]",
        '{"format": 1}',
        '{"format": 1, "uid": "k3f9qa-7d2mxp", "copies": 3}',
    ):
        record.write_text(content)
        case.stage(says=" 5 bytes staged")


def test_two_samples_may_share_a_file(case):
    case.deliver("a.fq")
    case.needs("a.fq", "a.fq")
    case.stage(says=" 5 bytes staged")


# --- Links ---


def test_links_inside_the_workset_are_followed_and_others_refused(case):
    real = case.deliver("real/a.fq", b"mine")
    neighbour = case.tmp / "in/w2/b.fq"
    neighbour.parent.mkdir()
    neighbour.write_bytes(b"theirs")
    (case.source / "a.fq").symlink_to(real)
    (case.source / "linked").symlink_to("real")
    (case.source / "b.fq").symlink_to("../w2/b.fq")
    (case.source / "w2").symlink_to(neighbour.parent)
    (case.source / "nowhere.fq").symlink_to("gone")
    (case.source / "self.fq").symlink_to("self.fq")
    case.needs("a.fq", "linked/a.fq")
    case.stage()
    assert (case.inputs / "a.fq").read_bytes() == b"mine"
    assert not (case.inputs / "a.fq").is_symlink()
    for name in ("b.fq", "w2/b.fq"):
        case.needs(name)
        case.stage(code=66, says=f"{name} leads out of its folder")
        assert not (case.inputs / name).exists()
    for name in ("nowhere.fq", "self.fq"):
        case.needs(name)
        case.stage(code=66, says=name)


def test_a_link_for_the_workset_itself_is_refused(case):
    """A9: `ws-x -> .` in a shared drop folder."""
    case.deliver("a.fq")
    case.needs("a.fq")
    for name, target in (("x", "."), ("y", "w1"), ("z", str(case.source))):
        (case.tmp / "in" / name).symlink_to(target)
        case.write(source=str(case.tmp / "in" / name))
        case.stage(code=66, says=f"in/{name} is a link; deliver the folder itself")
    case.write(source=str(case.tmp / "in/../in/w1"))
    case.stage(code=66)
    case.write(source=str(case.tmp / "elsewhere"))
    case.stage(code=78, says="does not lie below")


def test_links_above_the_watched_place_are_the_operators(case):
    case.deliver("a.fq")
    (case.tmp / "data").symlink_to(case.tmp / "in")
    case.needs("a.fq")
    case.write(source_root=str(case.tmp / "data"), source=str(case.tmp / "data/w1"))
    case.stage()


def test_a_uri_stays_below_its_root(case):
    shared = case.tmp / "shared"
    (shared / "panel").mkdir(parents=True)
    (shared / "panel/p.fq").write_bytes(b"shared")
    (shared / "out.fq").symlink_to(case.tmp / "secret")
    (case.tmp / "secret").write_bytes(b"secret")
    entry = {"name": "p.fq", "uri": f"file://{shared}/panel/p.fq", "root": f"file://{shared}"}
    case.needs(entry)
    case.stage()
    assert (case.inputs / "p.fq").read_bytes() == b"shared"
    case.needs({**entry, "sha256": sha256(b"other")})
    case.stage(code=65, says="daylily_work.yaml says")
    case.needs({**entry, "uri": f"file://{shared}/out.fq"})
    case.stage(code=66, says="leads out")
    case.needs({**entry, "uri": f"file://{shared}/../secret"})
    case.stage(code=66)
    case.needs({**entry, "uri": f"file://{case.tmp}/secret"})
    case.stage(code=78, says="does not lie below")
    case.needs({**entry, "root": ""})
    case.stage(code=78, says="no root")


def test_what_was_resolved_is_opened_without_links(tmp_path):
    """A race: the folder becomes a link between the look and the opening."""
    (tmp_path / "root/w1/sub").mkdir(parents=True)
    (tmp_path / "root/w1/sub/a").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_bytes(b"theirs")
    place = places.FolderPlace(str(tmp_path / "root"), [b"w1"])
    names_before = place.inside(b"sub/a")
    (tmp_path / "root/w1/sub").rename(tmp_path / "root/w1/before")
    (tmp_path / "root/w1/sub").symlink_to(tmp_path / "out")
    with pytest.raises(OSError):
        files.open_regular(place.folder, names_before)
    # the file becomes a link between the look at it and its opening
    (tmp_path / "link").symlink_to(tmp_path / "out/a")
    with pytest.raises(OSError):
        os.open(tmp_path / "link", files.FILE)
    # the workset's folder itself is replaced: the descriptor still is the old one
    (tmp_path / "root/w1").rename(tmp_path / "root/w0")
    (tmp_path / "root/w1").symlink_to(tmp_path / "out")
    with pytest.raises(OSError):
        files.open_regular(place.folder, [b"a"])


# --- What is no plain file ---


def test_what_is_no_plain_file_is_refused_at_once(case):
    os.mkfifo(case.source / "fifo.fq")
    (case.source / "folder.fq").mkdir()
    with socket.socket(socket.AF_UNIX) as there:
        cwd = os.open(".", os.O_RDONLY)
        os.chdir(case.source)  # the path of a socket may have 107 characters
        there.bind("socket.fq")
        os.fchdir(cwd)
        os.close(cwd)
    for name in ("fifo", "folder", "socket"):
        case.needs(f"{name}.fq")
        began = time.monotonic()
        case.stage(code=66, says="is a FIFO" if name == "fifo" else f"is a {name}")
        assert time.monotonic() - began < 10
    case.deliver("a.fq")
    os.mkfifo(case.source / "md5sums.txt")
    case.needs("a.fq")
    case.stage(code=66, says="md5sums.txt is a FIFO")


def test_missing_files_and_denied_ones(case):
    case.needs("gone.fq")
    case.stage(code=66, says="gone.fq")
    case.deliver("a.fq").chmod(0)
    case.needs("a.fq")
    if os.getuid():
        case.stage(code=77, says="a.fq")


def test_a_place_that_its_node_has_not_mounted_is_the_nodes_trouble(case):
    """Not the customer's, who would be asked to deliver again: 75 is tried again."""
    case.deliver("a.fq", b"1")
    case.needs("a.fq")
    (case.tmp / "in").rename(case.tmp / "away")
    case.stage(code=75, says="is it mounted?")


def test_the_delivery_is_never_swept(case):
    case.deliver("a.fq")
    case.needs("a.fq")
    case.inputs = case.source
    case.stage(code=78, says="move the delivery")
    assert names(case.source) == [b"a.fq"]
    elsewhere = case.tmp / "theirs"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("x")
    case.inputs = case.tmp / "linked"
    case.inputs.symlink_to(elsewhere)
    case.stage(code=78, says="is a link; remove it")
    assert names(elsewhere) == [b"x"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"quiet_s": "5"}, {"quiet_s": -1}, {"inputs": None}, {"uid": None}, {"source": ""},
        {"inputs": [{"name": "a"}]},
        {"inputs": [{**EMPTY, "name": name} for name in ("a", "a/b")]},
        {"inputs": [{**EMPTY, "name": "a", "md5": md5} for md5 in ("", "0" * 32)]},
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_is_refused(case, wrong):
    case.deliver("a")
    case.write(**wrong)
    case.stage(code=78)


@pytest.mark.parametrize("name", ["../w2/b", "/etc/passwd", "a//b", "", ".", "a/../b"])
def test_a_name_that_leads_out_is_refused(case, name):
    case.needs(name)
    case.stage(code=66, says="no plain path")


# --- Quiet ---


def test_a_growing_file_is_not_staged(case):
    path, stop = case.deliver("a.fq", b"x" * 1000, age_s=0), threading.Event()

    def grow():
        while not stop.wait(0.02):
            with open(path, "ab") as file:
                file.write(b"x")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        case.needs("a.fq")
        case.write(quiet_s=0.3)
        case.stage(code=75, says="still being delivered")
        # nor is it said of it that it is damaged
        case.deliver("b.fq.md5", b"0" * 32)
        case.deliver("b.fq", b"x")
        case.needs("a.fq", "b.fq")
        case.stage(code=75, says="still being delivered")
    finally:
        stop.set()
        thread.join()
    assert names(case.inputs) == []


def test_a_fresh_file_is_waited_for_once(case):
    for n in range(6):
        case.deliver(f"{n}.fq", age_s=-1000 if n else 0)  # in the future: a clock is wrong
    case.needs(*(f"{n}.fq" for n in range(6)))
    case.write(quiet_s=1.0)
    began = time.monotonic()
    case.stage()
    assert 1.0 < time.monotonic() - began < 4
    assert len(names(case.inputs)) == 6


def test_a_file_that_is_replaced_while_it_is_waited_for(case):
    case.deliver("a.fq", b"old!", age_s=0)
    case.needs("a.fq")
    case.write(quiet_s=1.5)
    process = start("stage.py", case.path, case.inputs)
    while not names(case.inputs):
        time.sleep(0.01)
    time.sleep(0.3)
    other = case.deliver("other", b"new!")
    os.utime(other, ns=(1, (case.source / "a.fq").stat().st_mtime_ns))
    other.rename(case.source / "a.fq")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert names(case.inputs) == []


def test_what_changes_after_its_copy_while_others_are_copied(case):
    """R1 is delivered again while R2 is on its way: never an old one beside a new one."""
    case.deliver("r1.fq", b"old")
    case.deliver("r2.fq", b"new", age_s=0)
    case.needs("r1.fq", "r2.fq")
    case.write(quiet_s=1.5)
    process = start("stage.py", case.path, case.inputs)
    while b"r1.fq" not in names(case.inputs):
        time.sleep(0.01)
    case.deliver("r1.fq", b"new", age_s=30)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75 and b"r1.fq" in err
    assert names(case.inputs) == []
    case.stage()
    assert (case.inputs / "r1.fq").read_bytes() == b"new"


# --- Checksums ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fastq/a.fq.gz.md5", lambda m, s: m),
        ("fastq/a.fq.gz.MD5", lambda m, s: f"{m.upper()}\r\n"),
        ("fastq/a.fq.gz.sha256", lambda m, s: f"{s}  /mnt/run7/a.fq.gz\n"),
        ("fastq/a.fq.gz.md5", lambda m, s: f"\ufeff{m} *a.fq.gz\n"),
        ("md5sum.txt", lambda m, s: f"{m}  fastq/a.fq.gz\n"),
        ("MD5SUMS", lambda m, s: f"{'0' * 32}  other\r\n{m} *./fastq/a.fq.gz\r\n"),
        ("fastq/md5sums.txt", lambda m, s: f"MD5 (a.fq.gz) = {m}\n"),
        ("SHA256SUMS", lambda m, s: f"# made today\n\nSHA256 (./fastq/a.fq.gz) = {s.upper()}\n"),
        ("fastq/Checksums.md5", lambda m, s: f"{m}  /seq/out/fastq/a.fq.gz"),
        ("sha256sum.txt", lambda m, s: f"{s}\tfastq/a.fq.gz"),
    ],
)
def test_each_form_of_checksum_is_found_and_checked(case, name, content):
    good = b"reads"
    case.deliver("fastq/a.fq.gz", good)
    case.needs("fastq/a.fq.gz")
    case.deliver(name, content(md5(good), sha256(good)).encode())
    case.stage(says=" 5 bytes staged")
    case.deliver(name, content(md5(b"bad"), sha256(b"bad")).encode())
    said = case.stage(code=65, says="fastq/a.fq.gz is not what was sent")
    assert os.fspath(case.source / name) in said
    assert md5(good) in said or sha256(good) in said
    assert md5(b"bad") in said.lower() or sha256(b"bad") in said.lower()


def test_the_manifests_own_digests_are_checked(case):
    case.deliver("a.fq", b"reads")
    case.needs({"name": "a.fq", "md5": md5(b"reads").upper(), "sha256": sha256(b"reads")})
    case.stage()
    case.needs({"name": "a.fq", "md5": md5(b"reads"), "sha256": sha256(b"x")})
    case.stage(code=65, says="daylily_work.yaml says")
    case.needs({"name": "a.fq", "md5": "zz", "sha256": ""})
    case.stage(code=65, says="the md5 of 'a.fq'")


def test_all_that_speak_of_a_file_must_agree(case):
    case.deliver("a.fq", b"reads")
    case.deliver("a.fq.md5", md5(b"reads").encode())
    case.deliver("MD5SUMS", f"{md5(b'other')}  a.fq".encode())
    case.needs("a.fq")
    case.stage(code=65, says="MD5SUMS says")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.fq.md5", b"", "is empty"),
        ("a.fq.md5", b"<html>not found</html>", "line 1 is no checksum"),
        ("md5sums.txt", b"0" * 31 + b"  a.fq", "line 1 is no checksum"),
        ("md5sums.txt", b"0" * 32, "names no file"),
        ("a.fq.md5", b"0" * 32 + b"  b.fq", "speaks of 'b.fq'"),
        ("md5sums.txt", b"0" * 32 + b"  a.fq\n" + b"1" * 32 + b"  a.fq", "two different things"),
        ("md5sums.txt", b"#" * (2**20 + 1), "longer than"),
    ],
)
def test_a_file_of_checksums_that_is_garbage_is_named(case, name, content, says):
    case.deliver("a.fq")
    case.deliver(name, content)
    case.needs("a.fq")
    assert name in case.stage(code=65, says=says)


def test_checksums_lead_out_no_more_than_files_do(case):
    secret = case.tmp / "secret"
    secret.write_text("0" * 32)
    case.deliver("a.fq")
    (case.source / "a.fq.md5").symlink_to(secret)
    case.needs("a.fq")
    case.stage(code=66, says="a.fq.md5 leads out")


# --- Killed ---


def test_killed_three_times_leaves_nothing_behind(case):
    content = os.urandom(1 << 20) * 200
    case.deliver("a.fq", content)
    case.deliver("a.fq.sha256", sha256(content).encode())
    case.needs("a.fq")
    for _ in range(3):
        drafts = []

        def copying():
            drafts[:] = [case.inputs / os.fsdecode(n) for n in names(case.inputs)]  # noqa: B023
            return drafts and drafts[0].stat().st_size > 1 << 20  # noqa: B023

        killed(start("stage.py", case.path, case.inputs), copying)
        assert names(case.inputs) != [b"a.fq"] and len(names(case.inputs)) == 1
    case.stage()
    assert names(case.inputs) == [b"a.fq"]
    assert (case.inputs / "a.fq").read_bytes() == content


def test_cancelled_leaves_nothing_behind(case):
    case.deliver("a.fq", bytes(300 << 20))
    case.deliver("a.fq.sha256", b"0" * 64)
    case.needs("a.fq")
    process = start("stage.py", case.path, case.inputs)
    while not names(case.inputs):
        time.sleep(0.005)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert names(case.inputs) == []


# --- Any names ---

NAME = st.binary(min_size=1, max_size=40).map(
    lambda b: b.replace(b"/", b"_").replace(b"\0", b"_")
).filter(lambda b: b not in (b".", b".."))  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAME, st.tuples(NAME, st.binary(max_size=50)), max_size=5))
def test_whatever_the_names_what_arrives_is_what_was_there(tmp_path_factory, tree):
    import stage
    import staged

    case = Case(tmp_path_factory.mktemp("case"))
    for folder, (name, content) in tree.items():
        case.deliver(folder + b"/" + name, content)
    listed = [b"/".join((f, n)).decode("utf-8", "surrogateescape") for f, (n, _) in tree.items()]
    case.needs(*listed)
    # files that happen to be named as checksums are
    told = {f: n for f, (n, _) in tree.items() if n.lower().endswith((b".md5", b".sha256"))}
    if told:
        return
    stage.Staging(staged.read_manifest(str(case.path)), str(case.inputs)).run()
    for folder, (name, content) in tree.items():
        with open(b"/".join((os.fsencode(case.inputs), folder, name)), "rb") as file:
            assert file.read() == content
    assert len(names(case.inputs)) == 2 * len(tree)
