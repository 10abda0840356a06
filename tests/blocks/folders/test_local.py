"""A watched folder may be called whatever a folder can be called."""

import os
import socket
from pathlib import Path

import pytest

from blocks.folders import LocalSource, SpecFile, SpecMissing, local_folder
from blocks.settings import WorksetSettings
from tasks.validate import check_settings
from worksets.delivery import NotThere, Seen
from worksets.errors import ConfigurationError, DataError, TransientError
from worksets.jobs import Input
from worksets.spec import parse_spec

YAML = b"samples: [{sample_id: s1, fastq_r1: a.fq}]\nreference_genome: hg38\ncustomer_id: acme\n"
NAMES = ["plain", "Proben März #1? 50% [x]", "a b", "100%25", "Müller Labor", "'quoted' \"twice\""]


@pytest.fixture(params=NAMES)
def watched(request, tmp_path):
    folder = tmp_path / request.param
    (folder / "ws1").mkdir(parents=True)
    (folder / "ws1" / "daylily_work.yaml").write_bytes(YAML)
    (folder / "ws1" / "a.fq").write_text("@a")
    return folder


def settings(**customer):
    return WorksetSettings(
        state_db="x",
        clusters=[],
        worksets=[],
        results="r",
        customers={"acme": customer},
        pipelines={"germline": {"run": ["true"]}},
    )


def test_its_worksets_are_found_and_read(watched):
    source = LocalSource(str(watched))
    [found], _ = source.find("")
    folder = source.open(found.location)
    assert found.workset_id == "ws1" and found.location == f"file://{watched}/ws1"
    assert folder.read_spec() == SpecFile(YAML, found.stamp)
    assert folder.look([Input(name="a.fq")])["a.fq"].bytes == 2
    assert (folder.source, folder.source_root) == (str(watched / "ws1"), str(watched))


def test_the_table_of_its_samples_is_read_if_it_is_there(watched):
    location = LocalSource(str(watched)).find("")[0][0].location
    table = watched / "ws1" / "stage_samples.tsv"
    assert local_folder(location).read_sheet() is None
    table.write_bytes(b"SAMPLE_ID\tR1_FQ\nS1\ta.fq\n")
    parsed = parse_spec(b"notes: x\n", sheet=local_folder(location).read_sheet)
    assert parsed.spec.samples[0].fastq_r1 == ("a.fq",)
    table.unlink()
    table.symlink_to("/etc/passwd")
    with pytest.raises(ConfigurationError, match="leaves the workset's folder"):
        local_folder(location).read_sheet()


def test_a_customers_inputs_can_name_it(watched):
    location = LocalSource(str(watched)).find("")[0][0].location
    spec = parse_spec(YAML).spec
    check_settings(spec, location, settings(inputs=[f"file://{watched}"]))
    with pytest.raises(ConfigurationError, match="may have worksets only below"):
        check_settings(spec, location, settings(inputs=[f"file://{watched} 2"]))


def test_a_location_that_an_older_release_has_saved_is_still_opened(watched):
    assert local_folder((watched / "ws1").as_uri()).read_spec().data == YAML


def test_a_folder_whose_name_looks_encoded_is_itself(tmp_path):
    for name in ("a b", "a%20b"):
        (tmp_path / name / "ws1").mkdir(parents=True)
        (tmp_path / name / "ws1" / "daylily_work.yaml").write_text(name)
    for name in ("a b", "a%20b"):
        location = LocalSource(str(tmp_path / name)).find("")[0][0].location
        assert local_folder(location).read_spec().data == name.encode()


def test_an_encoded_way_out_is_not_taken(tmp_path):
    (tmp_path / "cedar" / "ws9").mkdir(parents=True)
    (tmp_path / "cedar" / "ws9" / "daylily_work.yaml").write_bytes(YAML)
    (tmp_path / "acme").mkdir()
    with pytest.raises(TransientError, match="is not there"):
        local_folder(f"file://{tmp_path}/acme/%2e%2e/cedar/ws9").read_spec()


def test_a_folder_name_that_is_no_text_is_told_and_holds_up_nothing(tmp_path):
    for name in (b"caf\xe9", b"line\nbreak", b"ws1"):
        folder = Path(str(tmp_path) + "/" + name.decode("utf-8", "surrogateescape"))
        folder.mkdir()
        (folder / "daylily_work.yaml").write_bytes(YAML)
    found, _ = LocalSource(str(tmp_path)).find("")
    assert sorted(entry.workset_id for entry in found) == ["", "", "ws1"]
    assert all(entry.location.encode() and "\n" not in entry.location for entry in found)


# --- A workset's folder is a real one, and nothing leads out of it ---


@pytest.fixture
def drop(tmp_path):
    """A shared drop folder with a neighbour's workset, whose reads are wanted."""
    folder = tmp_path / "drop"
    (folder / "neighbour").mkdir(parents=True)
    (folder / "neighbour" / "daylily_work.yaml").write_bytes(YAML)
    (folder / "neighbour" / "a.fq").write_text("@secret")
    (folder / "mine").mkdir()
    (folder / "mine" / "daylily_work.yaml").write_bytes(YAML)
    return folder


@pytest.mark.parametrize("to", [".", "neighbour", "..", "/", "ws-x"])
def test_a_link_in_the_watched_folder_is_no_workset_and_stops_no_other(drop, to):
    (drop / "daylily_work.yaml").write_bytes(YAML)
    (drop / "ws-x").symlink_to(to)
    found, _ = LocalSource(str(drop)).find("")
    assert sorted(e.workset_id for e in found if e.workset_id) == ["mine", "neighbour"]
    refused = [entry for entry in found if entry.refused]
    if to != "ws-x":  # a link to itself is nothing at all
        [entry] = refused
        assert entry.location.endswith("ws-x") and "is a link; put the folder" in entry.refused
    with pytest.raises((ConfigurationError, SpecMissing)):
        local_folder(f"file://{drop}/ws-x").read_spec()


@pytest.mark.parametrize(
    "to", ["../neighbour/a.fq", "{drop}/neighbour/a.fq", "up/a.fq", "round", "/etc/passwd"]
)
def test_a_fastq_that_leads_out_is_refused_and_named(drop, to):
    (drop / "mine" / "up").symlink_to("../neighbour")
    (drop / "mine" / "round").symlink_to("round")
    (drop / "mine" / "a.fq").symlink_to(to.format(drop=drop))
    seen = local_folder(f"file://{drop}/mine").look([Input(name="a.fq"), Input(name="up/a.fq")])
    for name, found in seen.items():
        assert isinstance(found, DataError) and not isinstance(found, NotThere)
        assert name in str(found) and "link" in str(found)


def test_a_link_that_stays_in_the_folder_is_followed(drop):
    (drop / "mine" / "run1").mkdir()
    (drop / "mine" / "run1" / "b.fq").write_text("@b")
    (drop / "mine" / "latest").symlink_to("run1")
    (drop / "mine" / "a.fq").symlink_to("latest/b.fq")
    folder = local_folder(f"file://{drop}/mine")
    seen = folder.look([Input(name="a.fq"), Input(name="latest/b.fq")])
    assert all(isinstance(found, Seen) and found.bytes == 2 for found in seen.values())


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "link"])
def test_a_yaml_or_fastq_that_is_no_file_hangs_nobody(drop, kind, monkeypatch):
    yaml, reads = drop / "mine" / "daylily_work.yaml", drop / "mine" / "a.fq"
    yaml.unlink()
    for path in (yaml, reads):
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to("../neighbour/" + path.name)
        else:
            monkeypatch.chdir(path.parent)  # the path of a socket may have 107 characters
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
    folder = local_folder(f"file://{drop}/mine")
    with pytest.raises((ConfigurationError, OSError), match=r"daylily_work\.yaml"):
        folder.read_spec()
    assert isinstance(folder.look([Input(name="a.fq")])["a.fq"], DataError)


@pytest.mark.parametrize("mount_point_stays", [False, True])
def test_a_place_that_is_away_is_told_from_a_folder_that_is_gone(tmp_path, mount_point_stays):
    """An automounter, a server that is started anew: nothing is known of what lies there."""
    place = tmp_path / "in"
    (place / "ws1").mkdir(parents=True)
    folder = LocalSource(str(place)).open(f"file://{place}/ws1")
    place.rename(tmp_path / "away")
    if mount_point_stays:
        place.mkdir()
    with pytest.raises(TransientError, match="is it mounted"):
        folder.read_spec()
    with pytest.raises(TransientError, match="is it mounted"):
        folder.look([Input(name="a.fq")])
    (place / "other").mkdir(parents=True)
    with pytest.raises(SpecMissing):
        folder.read_spec()


def test_a_file_of_a_year_that_nothing_counts_with_is_still_a_file(tmp_path):
    """Where the file system keeps such a time; it is one of the future, so looks decide."""
    (tmp_path / "ws1").mkdir()
    (tmp_path / "ws1" / "a.fq").write_text("@a")
    far = 2**40
    os.utime(tmp_path / "ws1" / "a.fq", (far, far))
    seen = LocalSource(str(tmp_path)).open(f"file://{tmp_path}/ws1").look([Input(name="a.fq")])
    assert seen["a.fq"].bytes == 2


def test_a_status_file_takes_the_place_of_others_and_follows_no_link(tmp_path):
    folder, outside = tmp_path / "ws", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("mine")
    (folder / "daylily.error").write_text("old")
    (folder / "daylily.complete").symlink_to(outside)
    (folder / "a.fq").write_text("@a")
    local_folder(f"file://{folder}").say("daylily.complete", "well", ["daylily.error", "gone"])
    assert sorted(path.name for path in folder.iterdir()) == ["a.fq", "daylily.complete"]
    assert (folder / "daylily.complete").read_text() == "well" and outside.read_text() == "mine"
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigurationError, match="switch status_files off"):
        local_folder(f"file://{tmp_path}/link").say("daylily.complete", "x", [])
    with pytest.raises(TransientError):
        local_folder(f"file://{tmp_path}/nowhere").say("daylily.complete", "x", [])
