"""What a process makes of its settings."""

import blocks.host
from blocks.host import Host
from blocks.settings import WorksetSettings
from blocks.sqlite_state_db import SQLiteStateDB
from worksets.config import ProcessorConfig


async def test_settings_without_a_cluster_are_read_like_any_other(tmp_path, monkeypatch):
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines={}
    )

    async def load(_name):
        return settings

    monkeypatch.setattr(blocks.host, "load_settings", load)
    here = Host("s", settings, SQLiteStateDB(path=str(tmp_path / "db")), ProcessorConfig())
    await here.refresh()
    assert here.views == []
