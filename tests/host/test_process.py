"""What a process makes of its settings."""

import asyncio
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from prefect.blocks.abstract import NotificationBlock

import host.closing
import host.loading
import host.telling
from blocks.clusters import LocalCluster, SlurmCluster
from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host, open_host
from worksets.announcements import Announcement, Kind
from worksets.capacity import NOT_HEARD
from worksets.config import Pipeline, ProcessorConfig
from worksets.health import Health


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A host whose settings have the clusters of `here.found`, loaded anew each time."""
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines={}
    )

    async def load(_name):
        return settings

    async def load_clusters(_settings, _failed):
        return [SlurmCluster(**fields) for fields in found.found]

    monkeypatch.setattr(host.loading, "load_settings", load)
    monkeypatch.setattr(host.loading, "load_clusters", load_clusters)
    found = Host("s", settings, SQLiteStateDB(path=str(tmp_path / "db")), ProcessorConfig())
    found.found = []
    return found


async def test_settings_without_a_cluster_are_read_like_any_other(here):
    await here.refresh()
    assert here.views == []


async def test_what_a_cluster_has_seen_of_its_jobs_outlives_a_look_at_the_settings(here, tmp_path):
    known = {
        "cluster_name": "a", "max_concurrent_worksets": 2, "work_folder": str(tmp_path),
        "transport": {"environment": {"PATH": "/nonexistent"}},
    }  # fmt: skip
    here.found = [known]
    await here.refresh()
    first = here.watch("a").cluster
    await here.refresh()
    assert here.watch("a").cluster is first, "nothing has changed"
    here.found = [{**known, "max_concurrent_worksets": 1}]
    await here.refresh()
    assert here.watch("a").cluster is not first
    assert here.watch("a").cluster.max_concurrent_worksets == 1
    here.found = []
    await here.refresh()
    assert here.views == [] and here.watch("a"), "not placed on, and watched for what runs there"


async def test_nothing_is_placed_on_a_cluster_before_it_has_said_what_its_nodes_have(
    here, tmp_path, monkeypatch
):
    """What fits nowhere would start there, and be refused: by a new process, or by new settings."""
    monkeypatch.setattr("host.process.FIRST_LOOK_S", 0.1)
    said = "n1|64000|idle|0/16/0/16|main*|1:00:00|0|(null)|up"
    asked = f"while [ ! -e $SAYS ]; do sleep 0.1; done; echo '{said}'"
    for name, text in {"sinfo": asked, "squeue": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    known = {
        "cluster_name": "a", "max_concurrent_worksets": 2, "work_folder": str(tmp_path / "w")
    }  # fmt: skip
    # another process has heard of it
    here.db.save_clusters_health({"a": Health().answered(here.db.now())})
    for memory_gb in (16.0, 32.0):
        says = tmp_path / f"says-{memory_gb}"
        way = {"environment": {"PATH": f"{tmp_path}:/usr/bin:/bin", "SAYS": str(says)}}
        here.found = [{**known, "memory_gb_per_workset": memory_gb, "transport": way}]
        await here.refresh()
        assert here.views[0].unavailable == NOT_HEARD
        says.touch()
        await here.watch("a").reach()
        assert here.views[0].unavailable == "" and here.watch("a").capacity == 64 / memory_gb
    assert [place.memory_gb for place in here.views[0].ceilings] == [64]


async def test_how_long_pipelines_have_taken_on_a_cluster_is_looked_up_with_the_settings(
    here, tmp_path
):
    way = {"environment": {"PATH": "/nonexistent"}}
    two = [
        {"cluster_name": name, "work_folder": str(tmp_path), "transport": way} for name in "ab"
    ]  # fmt: skip
    here.settings.pipelines["germline"] = Pipeline(run=("true",))
    here.found = two
    await here.refresh()
    for ratio, name in [(1.0, "a"), (3.0, "b")] * 4:
        here.db.add_estimate_ratio("germline", ratio, name)
        here.db.add_estimate_ratio("unknown", ratio, name)
    assert [view.paces for view in here.views] == [{}, {}], "as it was at the last look"
    await here.refresh()
    assert [view.paces for view in here.views] == [{"germline": 0.5}, {"germline": 1.5}]
    assert here.view("b").paces == {"germline": 1.5}
    here.found = two[:1]
    await here.refresh()
    assert [view.paces for view in here.views] == [{"germline": 0.5}]


class Awkward(LocalCluster):
    """Its end is not as it should be."""

    _block_type_slug = "awkward-cluster"
    ends: str = "well"

    def close(self):
        if self.ends == "raising":
            raise RuntimeError("the connection is gone \0")
        if self.ends == "hanging":
            threading.Event().wait()


class Told(NotificationBlock):
    _block_type_slug = "told-channel"
    _got: list = []

    async def notify(self, body, subject=None):
        await asyncio.sleep(0.2)
        self._got.append(subject)


def a_cluster(tmp_path, name, ends):
    return Awkward(cluster_name=name, work_folder=str(tmp_path / name), ends=ends)


@pytest.fixture
def site(here, tmp_path, monkeypatch):
    """What `open_host` loads: a real state DB, clusters of which each ends otherwise, a channel."""
    ends = [a_cluster(tmp_path, name, name) for name in ("hanging", "raising", "well")]
    site = SimpleNamespace(db=here.db, channel=Told(), clusters=ends)
    site.channel._got = []
    here.settings.notifiers = ["told-channel/x"]

    async def load(reference, _kind):
        return site.channel if reference.startswith("told") else site.db

    async def load_clusters(_settings, _failed):
        return site.clusters

    monkeypatch.setattr(host.loading, "load", load)
    monkeypatch.setattr(host.loading, "load_clusters", load_clusters)
    monkeypatch.setattr(host.closing, "CLOSE_S", 1.0)
    monkeypatch.setattr(host.telling, "emit_event", lambda **_: None)
    return site


async def test_a_cluster_that_fails_or_hangs_at_the_end_keeps_nothing_else(site, caplog):
    async with open_host("s") as opened:
        assert opened.owner in site.db.leases()
        opened.announce(Announcement(Kind.STUCK, "w1", "no cluster fits"))
        began = time.monotonic()
    assert time.monotonic() - began < 4
    assert opened.owner not in site.db.leases(), "others may go on at once"
    assert len(site.channel._got) == 1
    said = [r.getMessage() for r in caplog.records if "was not closed" in r.getMessage()]
    assert len(said) == 2 and all("its jobs go on" in text for text in said)


async def test_a_state_db_that_fails_at_the_end_is_told_with_what_comes_of_it(
    site, caplog, monkeypatch
):
    def fail(_db, _owner):
        raise OSError("disk is gone")

    site.clusters = []
    monkeypatch.setattr(SQLiteStateDB, "drop_lease", fail)
    with pytest.raises(ZeroDivisionError):
        async with open_host("s") as opened:
            opened.announce(Announcement(Kind.STUCK, "w1", "no cluster fits"))
            raise ZeroDivisionError("the flow's own error")
    assert len(site.channel._got) == 1
    assert any(
        "disk is gone" in r.getMessage() and "30 s" in r.getMessage() for r in caplog.records
    )


async def test_a_cluster_that_changes_is_replaced_however_the_old_one_ends(here, site, tmp_path):
    opened = Host("s", here.settings, here.db, ProcessorConfig())
    await opened.refresh()
    site.clusters = [a_cluster(tmp_path, name, "well") for name in ("hanging", "raising", "well")]
    began = time.monotonic()
    await opened.refresh()
    assert time.monotonic() - began < 6
    assert {watch.cluster.ends for watch in opened.watches.values()} == {"well"}


def test_no_process_waits_for_a_cluster_that_hangs():
    """A thread that hangs for ever does not keep the interpreter."""
    code = """if True:
        import asyncio, threading
        from host import closing
        closing.CLOSE_S = 0.2
        asyncio.run(closing.closed("x", "y", threading.Event().wait))
        print("over")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "over\n"
