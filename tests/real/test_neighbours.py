"""Two installations on one Prefect server, one Slurm account and one work folder; two releases."""

import json
import sqlite3
import time

import pytest
from prefect.blocks.core import Block
from prefect.settings import temporary_settings

from blocks.settings import WorksetSettings
from tests import slurm
from tests.real.conftest import POLL, made_site
from tests.real.test_recovery import limits
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

NEWER = """
import blocks.state_db.contract, blocks.state_db.store, worksets.record
class WorksetRecord(worksets.record.WorksetRecord):
    "As the next release has it."
    written_by: str = "newer"
blocks.state_db.store.WorksetRecord = blocks.state_db.contract.WorksetRecord = WorksetRecord
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "a") as (cluster,):
        yield cluster


def test_two_installations_that_share_everything_see_their_own_only(
    prefect_server, server_log, real, tmp_path, request
):
    """One server, one account, one work folder, the same names of clusters and worksets."""

    def cluster(slots):
        return {
            "type": "slurm-cluster",
            "cluster_name": "shared",
            "max_concurrent_worksets": slots,
            "memory_gb_per_workset": 0.1,
            "work_folder": str(tmp_path / "work"),
            "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
        }

    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = request.node.name
    with (
        made_site(prefect_server, tmp_path / "a", name, "lab-a") as a,
        made_site(prefect_server, tmp_path / "b", name, "lab-b") as b,
    ):
        for site, slots in ((a, 3), (b, 1)):
            site.configure(
                customers={"acme": {"max_concurrent_worksets": slots}},
                overrides={"clusters": [cluster(slots)]},
            )
            for n in range(3):
                site.add(f"w{n}", 1 if site is b and n else 40)
        pollers = [site.poller() for site in (a, b)]
        a.until(lambda: a.running() == {"w0", "w1", "w2"})
        b.until(lambda: b.running() == {"w0"})
        a.until(lambda: limits(a)["cluster:shared"] == (3, 3))
        b.until(lambda: limits(b)["cluster:shared"] == (1, 1))
        for _ in range(2):  # each takes its slots, and neither takes back the other's
            time.sleep(3)  # a full cycle of both
            assert limits(a)["cluster:shared"] == (3, 3) and limits(b)["cluster:shared"] == (1, 1)
            assert limits(b)["customer:acme"] == (1, 1)
        listed = real.call("squeue", "-h", "-o", "%j").stdout.split()
        assert len(listed) == 4 and len(set(listed)) == 4

        # the same name, cancelled in one: its neighbour's job runs on
        b.db.cancel("w0", "wrong samples")
        b.until(lambda: b.db.get("w0").state is State.CANCELLED)
        assert a.db.get("w0").job_name in real.call("squeue", "-h", "-t", "R", "-o", "%j").stdout
        for site, poller in zip((a, b), pollers, strict=True):
            site.finish(poller)
        assert a.states() == {State.COMPLETE: 3}
        assert b.states() == {State.COMPLETE: 2, State.CANCELLED: 1}
        a.assert_each_step_ran_once(["w0", "w1", "w2"])
        assert a.most_at_once() == 3
        assert b.most_at_once(lambda id_: id_ != "w0") == 1, "w0 never wrote its end"
        assert {taken for _, taken in (*limits(a).values(), *limits(b).values())} == {0}
        jobs = {record.job_name for site in (a, b) for record in site.db.list_worksets()}
        assert len(jobs) == 6


def test_a_flow_run_that_is_cancelled_in_prefect_is_its_own_installations(
    prefect_server, server_log, tmp_path, request
):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = request.node.name
    with (
        made_site(prefect_server, tmp_path / "a", name, "lab-c") as a,
        made_site(prefect_server, tmp_path / "b", name, "lab-d") as b,
    ):
        for site in (a, b):
            site.configure(clusters=1)
            site.add("same", 20)
        first = a.poller()
        a.until(lambda: a.running() == {"same"})
        second = b.poller()
        b.until(lambda: b.running() == {"same"})
        [run] = a.runs("same")
        a.prefect.cancel(run["id"])
        a.until(lambda: a.db.get("same").state is State.CANCELLED)
        a.finish(first)
        b.finish(second)
        assert b.db.get("same").state is State.COMPLETE


def test_a_poller_whose_settings_lead_to_another_state_db_ends_and_says_why(site):
    site.configure(clusters=1)
    site.add("w1", 8)
    first = site.poller()
    site.until(lambda: site.running() == {"w1"})
    with temporary_settings(updates=site.client_settings()):
        db = Block.load(WorksetSettings.load(site.name).state_db)
        other = db.model_copy(update={"path": str(site.folder / "other.db")})
        other.save(db._block_document_name, overwrite=True)
    site.foreseen = "AnotherInstallation"
    second = site.poller()
    assert second.wait(60) != 0
    said = (site.folder / "process-1.log").read_text()
    assert f"belong to installation {site.db.installation()}" in said
    assert "all pollers share one" in said
    site.finish(first)
    assert site.states() == {State.COMPLETE: 1}
    site.assert_each_step_ran_once(["w1"])


def test_an_older_and_a_newer_poller_share_a_queue(site):
    """A record of the next release has a key more; what the older one writes keeps it."""
    site.configure(clusters=1, slots=3)
    worksets = [f"w{n}" for n in range(6)]
    for id_ in worksets:
        site.add(id_, 8)
    newer = site.start("-c", NEWER + POLL, site.name)
    site.until(lambda: len(site.running()) == 3)
    begun = site.running()
    newer.kill()
    older = site.poller()
    site.until(lambda: all(site.db.get(id_).fence >= 2 for id_ in begun), 40)
    again = site.start("-c", NEWER + POLL, site.name)
    site.finish(older)
    site.finish(again)
    assert site.states() == {State.COMPLETE: 6}
    site.assert_each_step_ran_once(worksets)
    with sqlite3.connect(site.folder / "state.db") as file:
        rows = file.execute("SELECT workset_id, record FROM worksets").fetchall()
    keys = {id_: json.loads(text).get("written_by") for id_, text in rows}
    assert {keys[id_] for id_ in begun} == {"newer"}, "the older one has dropped a key"
