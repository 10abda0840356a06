"""Cleaning, with a state DB and a cluster as they are: what goes, and what a crash leaves."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from blocks.clusters import LocalCluster
from blocks.state_db import SQLiteStateDB
from host.threads import Threads
from tasks import cleaning
from tasks.cleaning import Cleaner, cleaned
from tests.services import dynamodb_state_db
from worksets.errors import ClusterUnreachable
from worksets.keeping import Keep
from worksets.record import Exported, State, WorksetRecord

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ALL = Keep(inputs_days=0, results_days=0, retention_days=30)


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.real)])
def db(request, tmp_path):
    if request.param == "sqlite":
        found = SQLiteStateDB(path=str(tmp_path / "state.db"))
    else:
        found = dynamodb_state_db(request.getfixturevalue("dynamodb_url"))
    found._now = lambda: NOW
    return found


@pytest.fixture
def cluster(tmp_path):
    return LocalCluster(cluster_name="a", work_folder=str(tmp_path / "work"))


def workset(db, cluster, tmp_path, id_, days, state=State.COMPLETE, uid=None):
    """One that has ended so many days ago, with its files; results in `results/ID`."""
    at = NOW - timedelta(days=days)
    record = WorksetRecord(
        workset_id=id_, uid="i-" + id_ if uid is None else uid, customer_id="acme", location=f"file:///in/{id_}",
        lineage=1, attempt=1, state=state, cluster_name="a", job_name=f"{id_}.i-{id_}.a1",
        exported=Exported(files=1, bytes=8) if state is State.COMPLETE else None,
        error_details="x" * 3000, created_at=at, updated_at=at,
    )  # fmt: skip
    assert db.copy_in(record)
    paths = cluster.paths(record.home, 1, 1)
    for folder in (paths.inputs, paths.results, paths.job_dir):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(b"1234")
    manifest = {
        "workset_id": id_, "customer_id": "acme", "uid": record.uid, "lineage": 1,
        "export_to": str(tmp_path / "results" / id_), "export_root": str(tmp_path / "results"),
    }  # fmt: skip
    (tmp_path / paths.manifest).write_text(json.dumps(manifest))
    return record


def names(cluster, record):
    """All files that a workset has there, from its home on."""
    root = Path(cluster.root(), record.home)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def told(rows):
    return [(row["workset"], row.get("part"), row["told"].partition(":")[0]) for row in rows]


def test_files_go_first_and_then_the_record_and_then_the_logs(db, cluster, tmp_path):
    old = workset(db, cluster, tmp_path, "old", 40)
    new = workset(db, cluster, tmp_path, "new", 10)
    bad = workset(db, cluster, tmp_path, "bad", 400, State.FAILED)
    before = {r.workset_id: names(cluster, r) for r in (old, new, bad)}
    dry = list(cleaned(db, [cluster], ALL, dry_run=True))
    assert [one[0] for one in told(dry)] == ["new", "new", "old", "old"]
    assert {r.workset_id: names(cluster, r) for r in (old, new, bad)} == before

    list(cleaned(db, [cluster], ALL, dry_run=False))
    assert names(cluster, old) == names(cluster, new) == ["jobs/a1/file", "jobs/a1/manifest.json"]
    assert not db.get("old").archived, "its files went just now"
    assert told(cleaned(db, [cluster], ALL, dry_run=True)) == [
        ("old", "record", "would be archived")
    ]
    place = tmp_path / "results" / "old" / "worksets-record.i-old.json"
    assert not place.exists()
    assert told(cleaned(db, [cluster], ALL, dry_run=False)) == [
        ("old", "record", "archived"), ("old", "logs", "deleted"),
    ]  # fmt: skip
    assert WorksetRecord.model_validate_json(place.read_text()) == old, "whole"
    now = db.get("old")
    assert now.archived == str(place) and now.error_details == "" and now.home == old.home
    assert names(cluster, old) == [] and names(cluster, bad) == before["bad"]
    assert names(cluster, new) == ["jobs/a1/file", "jobs/a1/manifest.json"]
    assert told(cleaned(db, [cluster], ALL, dry_run=False)) == []


def test_who_dies_between_the_file_and_the_state_db_has_it_done_again(
    db, cluster, tmp_path, monkeypatch
):
    old = workset(db, cluster, tmp_path, "old", 40)
    list(cleaned(db, [cluster], ALL, dry_run=False))

    class Dies(Exception):
        pass

    def dies(*_):
        raise Dies

    with monkeypatch.context() as patched:
        patched.setattr(type(db), "archive", dies)
        with pytest.raises(Dies):
            list(cleaned(db, [cluster], ALL, dry_run=False))
    assert (tmp_path / "results" / "old").exists() and not db.get("old").archived
    assert names(cluster, old), "its logs are there: they say where it goes"
    list(cleaned(db, [cluster], ALL, dry_run=False))
    assert db.get("old").archived and names(cluster, old) == []


def test_one_that_cannot_be_archived_stays_is_told_and_holds_up_no_other(db, cluster, tmp_path):
    records = [workset(db, cluster, tmp_path, f"w{n}", 40) for n in range(3)]
    (tmp_path / cluster.paths(records[1].home, 1, 1).manifest).unlink()
    list(cleaned(db, [cluster], ALL, dry_run=False))
    rows = list(cleaned(db, [cluster], ALL, dry_run=False))
    assert [(row["workset"], row["done"]) for row in rows if row["part"] == "record"] == [
        ("w0", True), ("w1", False), ("w2", True),
    ]  # fmt: skip
    [wrong] = [row["told"] for row in rows if not row["done"]]
    assert wrong.startswith("not archived: ") and "manifest.json" in wrong
    assert [bool(db.get(f"w{n}").archived) for n in range(3)] == [True, False, True]


def test_an_archiver_that_breaks_keeps_no_files(db, cluster, tmp_path, monkeypatch):
    records = [workset(db, cluster, tmp_path, f"w{n}", 40) for n in range(2)]
    list(cleaned(db, [cluster], ALL, dry_run=False))
    late = workset(db, cluster, tmp_path, "late", 1)

    def broken(*_):
        raise ClusterUnreachable("archive.py: exit code 1")

    monkeypatch.setattr(LocalCluster, "archive", broken)
    rows = list(cleaned(db, [cluster], ALL, dry_run=False))
    assert sum(row["told"].startswith("not archived: archive.py") for row in rows) == 2
    assert names(cluster, late) == ["jobs/a1/file", "jobs/a1/manifest.json"], "its files went"
    assert all(names(cluster, record) for record in records)


def test_a_home_of_the_first_release_is_known_by_its_id(db, cluster, tmp_path):
    old = workset(db, cluster, tmp_path, "sample.1", 40, uid="")
    list(cleaned(db, [cluster], ALL, dry_run=False))
    assert names(cluster, old) == ["jobs/a1/file", "jobs/a1/manifest.json"]


def test_a_namesake_of_another_installation_is_not_touched(db, cluster, tmp_path):
    old = workset(db, cluster, tmp_path, "w", 40)
    other = tmp_path / "work" / "w.other-x" / "L1" / "inputs"
    other.mkdir(parents=True)
    (other / "file").write_text("theirs")
    for _ in range(2):
        list(cleaned(db, [cluster], ALL, dry_run=False))
    assert names(cluster, old) == [] and (other / "file").exists()


def test_a_cluster_that_does_not_answer_holds_up_no_other(db, cluster, tmp_path):
    workset(db, cluster, tmp_path, "w", 1)

    def away():
        raise ClusterUnreachable("it is away")

    silent = SimpleNamespace(cluster_name="b", lineages=away)
    rows = list(cleaned(db, [silent, cluster], ALL, dry_run=False))
    assert told(rows)[0] == ("", None, "it is away") and len(rows) == 3
    assert list(cleaned(db, [silent], Keep(), dry_run=False)) == [], "nobody is even asked"


class Pollers:
    """The cleaners of several pollers on one state DB; each cleaning is one name in `rounds`."""

    def __init__(self, db, monkeypatch, keep=ALL):
        self.db, self.keep, self.rounds, self.clock, self.away = db, keep, [], 0.0, set()
        monkeypatch.setattr(cleaning, "cleaned", self._cleaned)
        monkeypatch.setattr(cleaning.time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(cleaning, "load_clusters", self._load)

    async def _load(self, _settings, _failed):
        return [SimpleNamespace(cluster_name=name, close=lambda: None) for name in "ab"]

    def _cleaned(self, _db, clusters, _keep, dry_run):
        assert not dry_run
        [cluster] = clusters
        self.rounds.append(cluster.cluster_name)
        if cluster.cluster_name in self.away:
            yield {"cluster": cluster.cluster_name, "workset": "", "done": False, "told": "away"}

    def poller(self, owner):
        here = SimpleNamespace(
            owner=owner, db=self.db, call=Threads(1), watches=dict.fromkeys("ab"), full_disks=set(),
            settings=SimpleNamespace(keep=self.keep),
        )  # fmt: skip
        return here, Cleaner(here)

    async def look(self, *cleaners):
        self.rounds.clear()
        for cleaner in cleaners:
            cleaner.begin()
            if cleaner._round is not None:
                await cleaner._round
        return "".join(self.rounds)


async def test_once_a_day_in_one_of_the_pollers(db, monkeypatch):
    pollers = Pollers(db, monkeypatch)
    (_, p), (_, q) = pollers.poller("p"), pollers.poller("q")
    assert await pollers.look(p, q) == "ab"
    assert await pollers.look(p, q) == ""
    db._now = lambda: NOW + timedelta(days=1)
    assert await pollers.look(p, q) == "", "the state DB is asked once an hour"
    pollers.clock += cleaning.ASK_S
    assert await pollers.look(q, p) == "ab"


async def test_a_full_disk_has_its_cluster_cleaned_at_once_and_not_all_the_time(db, monkeypatch):
    pollers = Pollers(db, monkeypatch)
    here, cleaner = pollers.poller("p")
    await pollers.look(cleaner)
    here.full_disks.add("b")
    assert await pollers.look(cleaner) == "b", "though all were cleaned just now"
    here.full_disks.add("b")
    assert await pollers.look(cleaner) == "", "that helped nothing"
    here.full_disks.add("a")
    assert await pollers.look(cleaner) == "a"
    pollers.clock += cleaning.FULL_S
    assert await pollers.look(cleaner) == "b", "it is not forgotten"
    assert await pollers.look(cleaner) == ""


async def test_one_that_does_not_answer_or_breaks_is_cleaned_an_hour_later(db, monkeypatch):
    pollers = Pollers(db, monkeypatch)
    pollers.away.add("a")
    db._now = lambda: NOW + timedelta(seconds=pollers.clock)
    _, cleaner = pollers.poller("p")
    assert await pollers.look(cleaner) == "ab"
    assert await pollers.look(cleaner) == ""
    pollers.clock += cleaning.ASK_S
    assert await pollers.look(cleaner) == "a"
    pollers.away.clear()
    pollers.clock += cleaning.ASK_S
    assert await pollers.look(cleaner) == "a"
    pollers.clock += cleaning.ASK_S
    assert await pollers.look(cleaner) == ""


async def test_where_all_stays_for_ever_nobody_is_asked_anything(db, monkeypatch):
    pollers = Pollers(db, monkeypatch, Keep())
    here, cleaner = pollers.poller("p")
    here.full_disks.add("a")
    assert await pollers.look(cleaner) == "" and db.may_clean("q", NOW, timedelta(days=1))


async def test_a_round_that_breaks_off_is_told_and_ends_no_poller(db, monkeypatch, caplog):
    pollers = Pollers(db, monkeypatch)
    _, cleaner = pollers.poller("p")

    tried = []

    def breaks(_db, clusters, *_, **__):
        tried.append(clusters[0].cluster_name)
        raise OSError("the way is broken")

    monkeypatch.setattr(cleaning, "cleaned", breaks)
    monkeypatch.setattr(cleaning, "run_log", lambda: logging.getLogger("poller"))
    await pollers.look(cleaner)
    assert caplog.text.count("the way is broken") >= 2 and tried == ["a", "b"]


async def test_a_poll_that_ends_in_order_lets_its_round_come_to_its_end(db, monkeypatch):
    pollers = Pollers(db, monkeypatch)
    _, cleaner = pollers.poller("p")
    await cleaner.finish()
    cleaner.begin()
    await cleaner.finish()
    assert pollers.rounds == ["a", "b"]
