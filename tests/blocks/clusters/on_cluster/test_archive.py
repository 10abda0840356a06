"""archive.py: a record lies whole beside the results it tells of, or it is said why not."""

import json
import os
import subprocess

import pytest

from tests.blocks.clusters.on_cluster.programs import PROGRAMS, PYTHON

RECORD = '{"workset_id": "w", "state": "complete"}\n'


@pytest.fixture
def job(tmp_path):
    """The folder of a job whose results went to `results/acme/w`."""
    folder = tmp_path / "jobs" / "a1"
    folder.mkdir(parents=True)
    manifest = {
        "workset_id": "w", "customer_id": "acme", "uid": "i-x", "lineage": 1,
        "export_to": str(tmp_path / "results" / "acme" / "w"),
        "export_root": str(tmp_path / "results"),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def archived(job, uid="i-x", record=RECORD):
    done = subprocess.run(
        [PYTHON, PROGRAMS / "archive.py", job, uid], input=record.encode(), capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done
    [line] = done.stdout.splitlines()
    return json.loads(line)


def test_it_lies_beside_the_results_and_nothing_else_is_touched(job, tmp_path):
    place = tmp_path / "results" / "acme" / "w"
    place.mkdir(parents=True)
    (place / "a.vcf").write_text("variants")
    for record in (RECORD, RECORD, '{"later": 1}\n'):
        told = archived(job, record=record)
        assert told == {"where": str(place / "worksets-record.i-x.json")}
        assert (place / "worksets-record.i-x.json").read_text() == record
    assert sorted(os.listdir(place)) == ["a.vcf", "worksets-record.i-x.json"]


def test_results_that_the_customer_has_taken_away_are_no_reason_to_keep_it(job, tmp_path):
    assert "where" in archived(job)
    assert os.listdir(tmp_path / "results" / "acme" / "w") == ["worksets-record.i-x.json"]


def test_no_link_leads_it_elsewhere(job, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "acme").symlink_to(outside)
    assert "link" in archived(job)["wrong"] and not os.listdir(outside)


@pytest.mark.parametrize("change", [{"uid": "i-y"}, {"export_to": "/elsewhere"}, {"uid": 3}])
def test_a_manifest_of_another_or_one_that_is_wrong_is_told(job, change):
    manifest = json.loads((job / "manifest.json").read_text())
    (job / "manifest.json").write_text(json.dumps({**manifest, **change}))
    assert archived(job)["wrong"]


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_without_its_manifest_nobody_knows_where(job, text):
    (job / "manifest.json").write_text(text)
    assert "manifest" in archived(job)["wrong"]
    (job / "manifest.json").unlink()
    assert "manifest.json: No such file" in archived(job)["wrong"]
