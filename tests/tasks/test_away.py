"""A workset that has begun, while the place in which it lies does not answer."""

import asyncio
import logging

import pytest

import host.opening
import tasks.validate
from blocks.clusters import ClusterWatch
from blocks.folders import LocalSource
from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host
from host.places import AT_ONCE, Place
from host.threads import LooseThreads
from tasks.dispatch import dispatch
from tasks.settle import Progress, settle_error
from tasks.validate import validate
from tests.simulation.test_found import Cluster
from worksets.config import ProcessorConfig
from worksets.errors import PlaceAway, TransientError
from worksets.record import State
from worksets.registration import new_record


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A process that holds a workset which has begun; its cluster has no job of it."""
    for name in ("validate", "dispatch", "settle"):
        monkeypatch.setattr(f"tasks.{name}.get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(tasks.validate, "BEGUN_S", 0.2)
    source = LocalSource(str(tmp_path))
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines={}
    )
    found = Host("x", settings, SQLiteStateDB(path=str(tmp_path / "db")), ProcessorConfig())
    found.places._known = {source.root: Place(source, LooseThreads(AT_ONCE, source.root))}
    cluster = Cluster(cluster_name="a", work_folder="/w")
    cluster._told = []
    found.watches["a"] = ClusterWatch(cluster, found.call)
    found.db.register(new_record("w", f"{source.root}/w", found.db.now(), None))
    found.db.renew_lease("p", 30)
    found.db.begin("w", found.db.lock("w", "p", "a", "r", {}).fence)
    token = host.opening._current.set(found)
    yield found
    host.opening._current.reset(token)


async def hangs(*_):
    await asyncio.sleep(60)


async def is_away(*_):
    raise TransientError("the share is not there")


@pytest.mark.parametrize(("at", "why"), [(hangs, "did not answer"), (is_away, "not there")])
async def test_one_whose_job_was_never_submitted_is_given_back_and_loses_nothing(here, at, why):
    here.at = at
    async with asyncio.timeout(10):  # its slots are held meanwhile
        workset = await validate.fn("w")
    held = here.db.get("w")
    with pytest.raises(PlaceAway, match=why) as error:
        await dispatch.fn(workset, held)
    outcome = await settle_error(Progress("w", "dispatch", held.fence), error.value)
    after = here.db.get("w")
    assert outcome.state is after.state is State.RETRYING
    assert (after.retry_count, after.job_ended) == (0, True)
    assert here.watches["a"].cluster._told == [f"seal {held.job_name}"]
    assert here.watches["a"].health.failures == 0


async def test_one_whose_job_is_there_is_attached_to(here):
    here.at = hangs
    here.watches["a"].cluster._done = True
    async with asyncio.timeout(10):
        begun = await dispatch.fn(await validate.fn("w"), here.db.get("w"))
    assert begun.run.name == here.db.get("w").job_name
