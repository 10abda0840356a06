"""What a process makes of its settings."""

import pytest

import blocks.host
from blocks.host import Host
from blocks.settings import WorksetSettings
from blocks.slurm.cluster import SlurmCluster
from blocks.sqlite_state_db import SQLiteStateDB
from worksets.config import ProcessorConfig


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A host whose settings have the clusters of `here.found`, loaded anew each time."""
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines={}
    )

    async def load(_name):
        return settings

    async def load_clusters(_settings):
        return [SlurmCluster(**fields) for fields in found.found]

    monkeypatch.setattr(blocks.host, "load_settings", load)
    monkeypatch.setattr(blocks.host, "_load_clusters", load_clusters)
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
