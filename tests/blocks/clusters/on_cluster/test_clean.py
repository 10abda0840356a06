"""clean.py: it deletes the parts that it is told, and nothing beside them."""

import json
import subprocess

import pytest

from tests.blocks.clusters.on_cluster.programs import PROGRAMS, PYTHON, names, run


@pytest.fixture
def work(tmp_path):
    for home in ("w1.i-x", "w2.i-y"):
        lineage = tmp_path / "work" / home / "L1"
        (lineage / "inputs" / "deep").mkdir(parents=True)
        (lineage / "inputs" / "deep" / "a.fq").write_bytes(b"x" * 1000)
        (lineage / ".inputs.staged").touch()
        (lineage / "results").mkdir()
        (lineage / "results" / "a.vcf").write_bytes(b"y" * 10)
        (lineage / ".snakemake").mkdir()
        (tmp_path / "work" / home / "jobs" / "a1").mkdir(parents=True)
    (tmp_path / "work" / "w1.i-x" / "L2").mkdir()
    (tmp_path / "work" / ".programs" / "abc").mkdir(parents=True)
    return tmp_path / "work"


def told(verb, work, *paths):
    done = subprocess.run(
        [PYTHON, PROGRAMS / "clean.py", verb, work], input=json.dumps(paths), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_lists_the_lineages_and_what_is_in_each(work):
    (work / "w1.i-x" / "L3").symlink_to(work / "w2.i-y")
    found = [json.loads(line) for line in run("clean.py", "list", work).splitlines()]
    assert found == [
        {"home": "w1.i-x", "number": 1, "parts": ["inputs", "rest"]},
        {"home": "w1.i-x", "number": 2, "parts": []},
        {"home": "w1.i-x", "number": 0, "parts": ["logs"]},
        {"home": "w2.i-y", "number": 1, "parts": ["inputs", "rest"]},
        {"home": "w2.i-y", "number": 0, "parts": ["logs"]},
    ]
    assert run("clean.py", "list", work / "not-there") == ""


def test_measured_is_what_would_be_deleted_and_nothing_is(work):
    before = names(work)
    [inputs, rest] = told("measure", work, ["w1.i-x", 1, "inputs"], ["w1.i-x", 1, "rest"])
    assert (inputs["bytes"], inputs["files"]) == (1000, 2)
    assert (rest["bytes"], rest["files"]) == (10, 1)
    assert names(work) == before


def test_a_part_goes_and_all_else_stays(work):
    told("remove", work, ["w1.i-x", 1, "inputs"])
    left = names(work)
    assert b"w1.i-x/L1/results/a.vcf" in left and not any(
        b"inputs" in name for name in left if name.startswith(b"w1")
    )
    assert b"w2.i-y/L1/inputs/deep/a.fq" in left
    told("remove", work, ["w1.i-x", 1, "rest"], ["w1.i-x", 1, "rest"])
    assert names(work / "w1.i-x") == [b"L2", b"jobs", b"jobs/a1"]
    (work / "w1.i-x" / "jobs" / "a1" / "run.log").write_bytes(b"z" * 7)
    [logs] = told("remove", work, ["w1.i-x", 0, "logs"])
    assert (logs["bytes"], logs["files"]) == (7, 1) and names(work / "w1.i-x") == [b"L2"]
    told("remove", work, ["w1.i-x", 2, "rest"])
    assert not (work / "w1.i-x").exists(), "nothing of it is left"
    told("remove", work, ["w1.i-x", 0, "logs"])


def test_no_link_is_followed(work, tmp_path):
    outside = tmp_path / "outside"
    (outside / "inputs").mkdir(parents=True)
    (outside / "inputs" / "precious").write_text("1")
    (work / "w1.i-x" / "L1" / "results" / "link").symlink_to(outside)
    (work / "w1.i-x" / "L9").symlink_to(outside)
    (work / "linked").symlink_to(outside.parent)
    (outside.parent / "L1").symlink_to(outside)
    for row in told("remove", work, ["w1.i-x", 9, "inputs"], ["linked", 1, "inputs"]):
        assert "is a link" in row["wrong"]
    told("remove", work, ["w1.i-x", 1, "rest"])
    assert (outside / "inputs" / "precious").exists()
    (work / "w2.i-y" / "L1" / "inputs2").symlink_to(outside / "inputs")
    told("remove", work, ["w2.i-y", 1, "rest"])
    assert (outside / "inputs" / "precious").exists()


@pytest.mark.parametrize(
    "path",
    [["../outside", 1, "inputs"], ["", 1, "inputs"], ["..", 1, "rest"], ["w1.i-x", 1, "jobs"],
     ["w1.i-x", "1/../../x", "inputs"], ["w1.i-x/L1", 1, "rest"]],
)  # fmt: skip
def test_what_names_no_part_of_a_lineage_is_refused(work, path):
    before = names(work)
    [row] = told("remove", work, path)
    assert row["wrong"] and names(work) == before


def test_what_cannot_be_listed_is_told_and_not_taken_for_empty(work):
    (work / "w1.i-x" / "L7").write_text("no folder")
    [row] = told("remove", work, ["w1.i-x", 7, "inputs"])
    assert "L7" in row["wrong"] and (work / "w1.i-x" / "L7").exists()


def test_one_that_cannot_be_deleted_holds_up_no_other(work):
    rows = told("remove", work, ["gone.i-z", 1, "inputs"], ["..", 1, "inputs"],
                ["w2.i-y", 1, "inputs"])  # fmt: skip
    assert [bool(row.get("wrong")) for row in rows] == [False, True, False]
    assert b"w2.i-y/L1/inputs" not in names(work)
