"""`make clean` forgets the demo, and deletes nothing else unless it is told to."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.state_db import SQLiteStateDB
from local import clean
from worksets.record import State, WorksetRecord

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "Müller #1" / "run"
    for name in ("server/home", "clusters/alpha/ws1", "results/acme/ws1"):
        (folder / name).mkdir(parents=True)
    (folder / "results/acme/ws1/report.txt").write_text("genome")
    (folder / "server/server.json").write_text("{}")
    (folder / "summary.json").write_text("{}")
    SQLiteStateDB(path=str(folder / "state.db"))._read("x")  # makes the file
    return folder


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setattr(clean, "_stop_server", lambda folder: True)


def add(run, location, state=State.COMPLETE, id_="ws1"):
    SQLiteStateDB(path=str(run / "state.db")).register(
        WorksetRecord(
            workset_id=id_, location=location, state=state, created_at=NOW, updated_at=NOW
        )
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_demo_is_forgotten_and_its_results_stay(run, capsys):
    add(run, f"file://{clean.DEMO}/ws1")
    assert clean.clean(run, yes=False) == 0
    assert names(run) == ["results"]
    assert (run / "results/acme/ws1/report.txt").read_text() == "genome"
    assert f"kept: {run}/results" in capsys.readouterr().out
    assert clean.clean(run, yes=False) == 0  # again: nothing to forget


def test_what_is_not_ours_stays(run):
    (run / "notes.txt").write_text("mine")
    assert clean.clean(run, yes=False) == 0
    assert names(run) == ["notes.txt", "results"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "clusters").mkdir()
    assert clean.clean(tmp_path, yes=True) == 0
    assert names(tmp_path) == ["clusters"] and "no run" in capsys.readouterr().out
    assert clean.clean(tmp_path / "gone", yes=False) == 0
    (tmp_path / "file").touch()
    assert clean.clean(tmp_path / "file", yes=False) == 2


def spoiled(run):
    for name in clean.STATE_DB:
        (run / name).unlink(missing_ok=True)
    (run / "state.db").write_bytes(b"x" * 5000)


OTHERS = {
    "another's": (lambda run: add(run, "file:///data/ws1"), "not the demo's"),
    "beside the demo": (lambda run: add(run, f"file://{clean.DEMO}-2/ws1"), "not the demo's"),
    "in S3": (lambda run: add(run, "s3://data/ws1"), "not the demo's"),
    "held": (lambda run: add(run, f"file://{clean.DEMO}/ws1", State.IN_PROGRESS), "held"),
    "alive": (
        lambda run: SQLiteStateDB(path=str(run / "state.db")).renew_lease("me:1"),
        "works with it now",
    ),
    "broken": (lambda run: spoiled(run), "cannot be read"),
}


@pytest.mark.parametrize(("spoil", "why"), OTHERS.values(), ids=OTHERS)
def test_anything_else_is_refused_in_one_line_unless_told(run, spoil, why, capsys):
    spoil(run)
    before = names(run)
    assert clean.clean(run, yes=False) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and why in told[0] and "YES=1" in told[0]
    assert names(run) == before
    assert clean.clean(run, yes=True) == 0
    assert names(run) == ["results"]


@pytest.mark.parametrize(("answer", "code"), [("", 2), ("n", 2), ("yes", 0), ("Y", 0)])
def test_on_a_terminal_it_asks(run, answer, code, monkeypatch):
    add(run, "file:///data/ws1")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    assert clean.clean(run, yes=False) == code
    assert (run / "state.db").exists() is (code == 2)


def test_a_lease_that_has_run_out_is_nobody(run):
    db = SQLiteStateDB(path=str(run / "state.db"))
    db.renew_lease("me:1")
    assert clean.reasons(run / "state.db", NOW + timedelta(seconds=31)) != []
    assert clean.reasons(run / "state.db", NOW + timedelta(hours=1)) == []


def test_links_are_unlinked_and_never_followed(run, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "genome").write_text("x")
    shutil.rmtree(run / "clusters")
    (run / "clusters").symlink_to(tmp_path / "precious")
    (run / "state.db").unlink()
    (run / "state.db").symlink_to(tmp_path / "precious" / "genome")
    (run / "server" / "home" / "link").symlink_to(tmp_path / "precious")
    assert clean.clean(run, yes=False) == 0
    assert names(run) == ["results"]
    assert (tmp_path / "precious" / "genome").read_text() == "x"


def test_it_needs_no_installed_package(run):
    command = [sys.executable, "-I", "-S", "-c",
               f"import sys; sys.path.insert(0, {str(ROOT)!r}); from local import clean; "
               f"sys.exit(clean.main(['--run-dir', {str(run)!r}]))"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names(run) == ["results"]


def test_without_packages_a_server_that_runs_is_not_left_without_its_files(run):
    (run / "server/server.json").write_text(f'{{"pid": {os.getpid()}}}')
    command = [sys.executable, "-I", "-S", "-c",
               f"import sys; sys.path.insert(0, {str(ROOT)!r}); from local import clean; "
               f"sys.exit(clean.main(['--run-dir', {str(run)!r}]))"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "make install" in done.stderr
    assert (run / "server/server.json").exists()


@pytest.mark.parametrize("venv", [True, False])
def test_make_clean(run, tmp_path, venv):
    add(run, "file:///data/ws1")
    command = ["make", "clean", f"RUN={run}", *([] if venv else ["VENV=/nowhere"])]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2 and "YES=1" in done.stderr and (run / "state.db").exists()
    done = subprocess.run(
        [*command, "YES=1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert names(run) == ["results"]
