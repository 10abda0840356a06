"""export.py to a folder: every file under its own name, verified, and nobody else's touched."""

import hashlib
import json
import os
import shutil
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.blocks.clusters.on_cluster.programs import Case, killed, names, run, start

import delivery  # isort: skip
import export  # isort: skip
import files  # isort: skip
import folder as folders  # isort: skip
import results as scanning  # isort: skip

MANIFEST = b"worksets-manifest.json"
ODD = [
    b"RUN1_L2#7.cram", b"with space", b"a?b=c", b"100%25.txt", b"semi;colon", b"back\\slash",
    b"'single'", b'"double"', b"line\nbreak", b"carriage\rreturn", b"-rf", b"--receipt", b".hidden",
    b"...", b"n" * 255, b"\xff\xfe\x80", b"caf\xe9", "ünïcode".encode(), b"\x01\x7f", b"~", b"*",
    b".worksets-x.part", b" ", b"\xed\xb3\xbf", b"a&b=<c>",
]  # fmt: skip


def there(folder):
    """All paths below a folder with their content (None: a folder), links followed."""
    root, found = os.fsencode(folder), {}
    for at, inside, plain in os.walk(root, followlinks=True):
        for name in inside:
            found[os.path.relpath(os.path.join(at, name), root)] = None
        for name in plain:
            with open(os.path.join(at, name), "rb") as file:
                found[os.path.relpath(os.path.join(at, name), root)] = file.read()
    return found


def looks(folder):
    """What stands at each path below a folder; links are not followed."""
    return {n: os.lstat(os.fsencode(folder) + b"/" + n) for n in names(folder)}


def delivered(folder):
    found = there(folder)
    del found[MANIFEST]
    return found


def test_every_name_arrives_as_it_is(case):
    for name in ODD:
        case.result(name, name * 3)
        case.result(b"deep/" + name + b"/" + name, name)
    (case.results / "empty/in/empty").mkdir(parents=True)
    case.export(says=f"{2 * len(ODD)} files (")
    assert delivered(case.target) == there(case.results)
    told = case.delivered()
    assert told["state"] == "complete" and told["files_count"] == 2 * len(ODD)
    assert {f["name"].encode("utf-8", "surrogateescape") for f in told["files"]} >= set(ODD)
    assert told["empty_folders"] == ["empty/in/empty"]


def test_the_manifest_says_what_is_there(case):
    path = case.result("vcf/s1.vcf.gz", b"variants")
    path.chmod(0o640)
    os.utime(path, ns=(5, 1_700_000_000_123_456_789))
    receipt = case.tmp / "receipt"
    said = case.export("--receipt", receipt)
    assert said == f"1 files (8 bytes) exported to {case.target}\n"
    assert case.delivered() == {
        "format": 1, "state": "complete", "workset_id": "w1", "customer_id": "acme",
        "uid": "k3f9qa-7d2mxp", "lineage": 1, "files_count": 1, "bytes": 8, "empty_folders": [],
        "files": [{
            "name": "vcf/s1.vcf.gz", "bytes": 8, "mtime_ns": 1_700_000_000_123_456_789,
            "sha256": hashlib.sha256(b"variants").hexdigest(),
        }],
    }  # fmt: skip
    line = receipt.read_bytes()
    assert len(line) <= 300 and line.count(b"\n") == 1
    manifest = (case.target / "worksets-manifest.json").read_bytes()
    assert json.loads(line) == {
        "files": 1, "bytes": 8, "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }  # fmt: skip
    copy = (case.target / "vcf/s1.vcf.gz").stat()
    assert stat.S_IMODE(copy.st_mode) == 0o640 and copy.st_mtime_ns == 1_700_000_000_123_456_789


def test_without_options(case):
    case.result("a")
    run("export.py", case.results, case.target, says="1 files (6 bytes) exported")
    run("export.py", case.results, case.target, says="1 files (6 bytes) exported")
    assert names(case.target) == [b"a", MANIFEST]


def test_again_changes_nothing(case):
    for name in ("a", "b/c"):
        case.result(name)
    (case.results / "empty").mkdir()
    receipt = case.tmp / "receipt"
    case.export("--receipt", receipt)

    def state():
        found = looks(case.target).items()
        return {name: (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for name, s in found}

    before, line = state(), receipt.read_bytes()
    said = case.export("--receipt", receipt)
    assert state() == before and receipt.read_bytes() == line
    assert said.count("\n") == 1, "nothing was replaced"

    # a result of the same size that was written anew
    case.result("a", b"RESULT")
    case.export(says="replaced")
    assert (case.target / "a").read_bytes() == b"RESULT"

    # what is not as it was is brought again
    (case.target / "a").write_bytes(b"broken")
    (case.target / "b/c").unlink()
    case.export(says="replaced")
    assert delivered(case.target) == there(case.results)


def test_no_results(case):
    receipt = case.tmp / "receipt"
    receipt.write_text("of an earlier try")
    (case.results / "only/a/folder").mkdir(parents=True)
    case.export("--receipt", receipt, code=66, says="no results in")
    assert not receipt.exists()
    run("export.py", case.tmp / "gone", case.target, code=66)


# --- Links and what is no file ---


def test_links_inside_the_work_folder_are_followed(case):
    """A2: pipelines publish links."""
    work = case.results.parent
    (work / "scratch/sub").mkdir(parents=True)
    (work / "scratch/sub/s.bam").write_bytes(b"reads")
    (work / "scratch/up").symlink_to("sub")
    (case.results / "folder").symlink_to("../scratch")
    (case.results / "file.bam").symlink_to(work / "scratch/sub/s.bam")
    case.export()
    assert delivered(case.target) == there(case.results)
    assert delivered(case.target)[b"folder/up/s.bam"] == b"reads"
    assert not any(stat.S_ISLNK(found.st_mode) for found in looks(case.target).values())

    # the results themselves are a link
    case.results.rename(work / "real")
    case.results.symlink_to("real")
    case.export(says="3 files")


def test_what_cannot_be_exported_is_named_and_nothing_is(case):
    secret = case.tmp / "secret"
    secret.write_text("theirs")
    case.result("good")
    for name, target in [
        ("out", secret), ("out-folder", case.tmp / "in"), ("nowhere", "gone"), ("self", "self"),
        ("cycle", "."), ("up", ".."), ("root", "/"), ("a/b/cycle", ".."),
    ]:  # fmt: skip
        link = case.results / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    (case.results / "x").mkdir()
    (case.results / "y").mkdir()
    (case.results / "x/to-y").symlink_to("../y")
    (case.results / "y/to-x").symlink_to("../x")
    os.mkfifo(case.results / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        cwd = os.open(".", os.O_RDONLY)
        os.chdir(case.results)
        one.bind("socket")
        os.fchdir(cwd)
        os.close(cwd)
    case.result("worksets-manifest.json")
    case.result(".worksets-u-0123456789abcdef.part")
    said = case.export(code=78, says="results cannot be exported")
    for line in (
        f"out: a link out of the work folder, to {secret}", "out-folder: a link out",
        "nowhere: a link that leads nowhere", "self: a link that leads to itself",
        "cycle: a link to a folder that contains it", "up: a link to a folder that contains it",
        "root: a link out", "a/b/cycle: a link to a folder that contains it",
        "x/to-y/to-x: a link to a folder that contains it", "fifo: a FIFO", "socket: a socket",
        "worksets-manifest.json: the name of the manifest",
        ".worksets-u-0123456789abcdef.part: the name of an export's draft",
    ):  # fmt: skip
        assert f"\n  {line}" in said, line
    assert names(case.target) == []


def test_the_first_twenty_and_a_count(case):
    for n in range(25):
        (case.results / f"l{n:02}").symlink_to("gone")
    said = case.export(code=78, says="25 results cannot be exported")
    assert "l19" in said and "l20" not in said and "and 5 more" in said


def test_results_that_are_a_link_out(case):
    case.results.rmdir()
    case.results.symlink_to(case.tmp / "in")
    case.export(code=78, says="leads out of the work folder")


def test_results_are_not_exported_into_themselves(case):
    case.result("a")
    case.write(export_root=str(case.results), export_to=str(case.results / "out"))
    case.export(code=78, says="lies in the results themselves")


def test_links_into_links_end(case):
    """Thirty folders, each with two links to the next: a thousand million files."""
    work = case.results.parent
    for n in range(30):
        (work / f"f{n}").mkdir()
        for one in "ab":
            (work / f"f{n}/{one}").symlink_to(f"../f{n + 1}")
    (work / "f30").mkdir()
    (work / "f30/file").write_text("x")
    (case.results / "f").symlink_to("../f0")
    scan = scanning.Scan(str(case.results))
    most, scanning.MOST_FILES = scanning.MOST_FILES, 1000
    try:
        with pytest.raises(files.Failed, match="more than 1,000 results"):
            scan.look(lambda _: "")
    finally:
        scanning.MOST_FILES = most


# --- A planted link ---


def test_nothing_is_opened_through_a_planted_link(case):
    """A10."""
    case.result("vcf/a")
    victim = case.tmp / "victim"
    (victim / "vcf").mkdir(parents=True)
    case.root.mkdir()
    for planted in (case.root / "acme", case.target, case.target / "vcf", case.target / "vcf/a"):
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.symlink_to(victim)
        case.export(code=77, says=f"{planted} is a link")
        assert names(victim) == [b"vcf"]
        planted.unlink()
        case.export()
        if planted == case.target / "vcf/a":
            continue
        for at in (case.target / "vcf/a", case.target / "worksets-manifest.json"):
            at.unlink()
        (case.target / "vcf").rmdir()
        case.target.rmdir()
        case.target.parent.rmdir()
    (case.target / "worksets-manifest.json").unlink()
    (case.target / "worksets-manifest.json").symlink_to(victim / "m")
    case.export(code=77, says="worksets-manifest.json is a link")
    assert names(victim) == [b"vcf"]


def test_links_above_the_export_root_are_the_operators(case):
    case.result("a")
    (case.tmp / "real").mkdir()
    case.root.symlink_to(case.tmp / "real")
    case.export()
    assert (case.tmp / "real/acme/w1/a").read_bytes() == b"result"


def test_a_folder_that_becomes_a_link_while_it_is_exported(tmp_path):
    target = folders.FolderTarget(str(tmp_path / "out/w1"), str(tmp_path / "out"), "u")
    (tmp_path / "victim").mkdir()
    (tmp_path / "out/w1/d").symlink_to(tmp_path / "victim")
    for call in (
        lambda: target.remove([b"d/x"], []),
        lambda: target.clear_drafts([b"d/x"]),
        lambda: target.has(delivery.File(b"d/x", 1, 1, "")),
        lambda: target.finish([], [b"d/empty"]),
    ):
        with pytest.raises(files.Failed, match="d is a link"):
            call()
    assert names(tmp_path / "victim") == []


def test_a_place_outside_the_root_is_refused(case):
    case.result("a")
    for to in (case.tmp / "out2", case.root / "../x", str(case.root) + "x"):
        case.write(export_to=str(to))
        case.export(code=78)
    case.write(export_to=str(case.target))
    run("export.py", case.results, case.root / "beta", "--manifest", case.path, code=78,
        says="does not lie below")  # fmt: skip
    # a pipeline may choose a folder below its own
    run("export.py", case.results, case.target / "vcf", "--manifest", case.path)


# --- What was there ---


def test_what_an_earlier_run_left_is_removed_and_nothing_else(case):
    """A3: a withdrawn sample; another lineage, another uid."""
    for name in ("s1/report", "s1/deep/er/x", "s2/report", "becomes-folder", "becomes-file/x"):
        case.result(name, b"old")
    (case.results / "empty").mkdir()
    case.export()
    (case.target / "s1/notes.txt").write_text("an operator's")
    shutil.rmtree(case.results)
    case.result("s2/report", b"new")
    case.result("becomes-folder/x", b"new")
    case.result("becomes-file", b"new")
    case.write(uid="another-one", lineage=2)
    case.export(says="of an earlier export were there")
    found = delivered(case.target)
    assert found.pop(b"s1/notes.txt") == b"an operator's" and found.pop(b"s1", 0) is None
    assert found == there(case.results)
    assert case.delivered()["lineage"] == 2
    assert "earlier" not in (case.target / "worksets-manifest.json").read_text()


def test_two_worksets_cannot_share_a_folder(case):
    case.result("a", b"first")
    case.export()
    for other in ({"workset_id": "w2"}, {"workset_id": "w1", "customer_id": "beta"}):
        case.write(**other)
        case.result("a", b"second")
        case.export(code=78, says="two worksets cannot share an export folder")
    assert (case.target / "a").read_bytes() == b"first"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 2}', "..", "/etc/passwd", "a/../../x"],
)
def test_a_damaged_manifest_is_named_and_nothing_removed(case, content):
    case.result("a")
    case.export()
    path = case.target / "worksets-manifest.json"
    if content and content[0] in "./a":  # somebody wants other files removed
        content = path.read_text().replace('"name": "a"', f'"name": "{content}"')
    path.write_text(content)
    case.export(code=78, says=f"{path} cannot be read")
    assert names(case.target) == [b"a", MANIFEST]


def test_another_export_that_begins_at_the_same_time(tmp_path):
    target = folders.FolderTarget(str(tmp_path / "out"), str(tmp_path / "out"), "u")
    target.write_manifest(b"mine", is_first=True)
    with pytest.raises(files.Failed, match="another export began") as error:
        target.write_manifest(b"yours", is_first=True)
    assert error.value.code == 75
    assert (tmp_path / "out/worksets-manifest.json").read_bytes() == b"mine"
    assert names(tmp_path / "out") == [MANIFEST]


# --- Whole ---


def test_killed_exports_leave_nothing_behind(case):
    content = os.urandom(1 << 20) * 150
    case.result("a/big", content)
    case.result("small")
    for _ in range(3):

        def writing():
            found = [n for n in names(case.target) if n.startswith(b"a/.worksets-k3f9qa-7d2mxp-")]
            path = os.fsencode(case.target) + b"/" + found[0] if found else b""
            return found and os.lstat(path).st_size > 1 << 20

        killed(start("export.py", case.results, case.target, "--manifest", case.path), writing)
        assert not (case.target / "a/big").exists()
        assert case.delivered()["state"] == "exporting"
    # of another uid: not ours to remove
    (case.target / "a/.worksets-other-0123456789abcdef.part").write_text("x")
    case.export()
    found = delivered(case.target)
    assert found.pop(b"a/.worksets-other-0123456789abcdef.part") == b"x"
    assert found == there(case.results)


def test_a_killed_export_of_another_lineage_is_known_to_the_next(case):
    case.result("old", bytes(150 << 20))
    case.result("a-small")
    writing = lambda: any(b".part" in n for n in names(case.target))  # noqa: E731
    killed(start("export.py", case.results, case.target, "--manifest", case.path), writing)
    for name in ("old", "a-small"):
        (case.results / name).unlink()
    case.result("new")
    case.write(lineage=2)
    case.export()
    assert delivered(case.target) == there(case.results)


def test_a_result_that_changes_while_it_is_exported(case):
    path, stop = case.result("a", b"x" * (1 << 20)), threading.Event()

    def grow():
        while not stop.wait(0.005):
            with open(path, "ab") as file:
                file.write(b"x")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        case.export(code=75, says="changed while")
    finally:
        stop.set()
        thread.join()
    # whether its old bytes got their name depends on the moment; they are never called whole
    assert case.delivered()["state"] == "exporting"
    case.export()
    assert delivered(case.target) == there(case.results)


def test_a_result_that_changes_after_its_bytes_were_read(case, monkeypatch):
    case.result("a")
    whole = files.copy

    def copy(origin, draft, hashes):
        size = whole(origin, draft, hashes)
        case.result("a", b"RESULT")
        return size

    monkeypatch.setattr(files, "copy", copy)
    with pytest.raises(files.Failed, match="changed while it was copied") as error:
        export.export(str(case.results), str(case.target), str(case.path))
    assert error.value.code == 75
    assert names(case.target) == [MANIFEST], "the old bytes have no name"


def test_a_result_that_appears_while_others_are_exported(case, monkeypatch):
    case.result("a")
    whole = folders.FolderTarget.put

    def put(self, origin, found):
        case.result("late")
        return whole(self, origin, found)

    monkeypatch.setattr(folders.FolderTarget, "put", put)
    with pytest.raises(files.Failed, match="changed while they were exported") as error:
        export.export(str(case.results), str(case.target), str(case.path))
    assert error.value.code == 75


def test_a_disk_that_reads_back_other_bytes(case, monkeypatch):
    case.result("a")
    monkeypatch.setattr(files, "sha256", lambda file: "0" * 64)
    with pytest.raises(files.Failed, match="reads back other than it was written") as error:
        export.export(str(case.results), str(case.target), str(case.path))
    assert error.value.code == 74
    assert names(case.target) == [MANIFEST]


def test_a_file_system_that_does_not_tell_names_apart(tmp_path):
    target = folders.FolderTarget(str(tmp_path), str(tmp_path), "u")
    (tmp_path / "S1.vcf").write_bytes(b"x")
    os.link(tmp_path / "S1.vcf", tmp_path / "s1.vcf")  # as if
    listed = [delivery.File(n, 1, 0, digest) for n, digest in ((b"S1.vcf", "1"), (b"s1.vcf", "2"))]
    with pytest.raises(files.Failed, match="are one file there"):
        target.finish(listed, [])


def test_a_full_disk(case):
    """/dev/full stands for it: its writes fail with ENOSPC."""
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as error:
        files.write_all(full.fileno(), b"x", 0)
    assert files.failed("a", error.value).code == 73


# --- Any tree ---

NAME = (
    (st.binary(min_size=1, max_size=12) | st.sampled_from(ODD))
    .map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda b: b not in (b".", b"..") and b.lower() != MANIFEST)
)
TREE = st.recursive(
    st.binary(max_size=20),
    lambda inside: st.dictionaries(NAME, inside, max_size=4),
    max_leaves=12,
)
LINKS = st.lists(st.tuples(NAME, st.integers(0, 99), st.booleans()), max_size=4)


def grow(folder, tree, made):
    Path(os.fsdecode(folder)).mkdir(parents=True, exist_ok=True)
    for name, inside in tree.items():
        path = folder + b"/" + name
        if isinstance(inside, dict):
            grow(path, inside, made)
        else:
            with open(path, "wb") as file:
                file.write(inside)
        made.append(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAME, TREE, max_size=5), st.dictionaries(NAME, TREE, max_size=3), LINKS)
def test_whatever_the_tree_what_arrives_is_what_was_there(tmp_path_factory, tree, beside, links):
    case = Case(tmp_path_factory.mktemp("case"))
    made, work = [], os.fsencode(case.results.parent)
    grow(work + b"/scratch", beside, made)
    outside = list(made)  # links to these can make no cycle
    grow(work + b"/results", tree, made)
    for name, which, absolute in links:
        at = work + b"/results/" + name
        if outside and not os.path.lexists(at):
            target = outside[which % len(outside)]
            target = target if absolute else os.path.relpath(target, work + b"/results")
            Path(os.fsdecode(at)).symlink_to(os.fsdecode(target))
    expected = there(case.results)
    arguments = str(case.results), str(case.target), str(case.path)
    if all(content is None for content in expected.values()):
        with pytest.raises(files.Failed, match="no results"):
            export.export(*arguments)
        return
    export.export(*arguments)
    assert delivered(case.target) == expected
    before = looks(case.target)
    export.export(*arguments)
    assert looks(case.target) == before
