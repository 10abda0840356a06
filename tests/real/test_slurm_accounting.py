"""Slurm with a slurmdbd on MariaDB: limits of a QOS that refuse, and what jobs really took."""

import pytest

from tests import slurm
from tests.real.test_slurm_poller import cluster
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

QOS = {
    "one-by-one": "MaxSubmitJobsPerUser=1",
    "small": "MaxTRESPerUser=cpu=2",
}
"""Each with DenyOnLimit: sbatch refuses what another QOS would let wait."""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "acc", accounted=True) as (cluster,):
        accounts(cluster, "add", "account", "lab")
        accounts(cluster, "add", "user", "root", "account=lab", "defaultaccount=lab")
        for name, limit in QOS.items():
            accounts(cluster, "add", "qos", name, "flags=DenyOnLimit", limit)
        accounts(cluster, "modify", "user", "root", "set", f"qos={','.join(['normal', *QOS])}")
        yield cluster


def accounts(cluster, *command):
    done = cluster.call("sacctmgr", "-i", *command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_qos_refuses_now_is_taken_when_there_is_room(site, real):
    """C4, "too many now": nobody is charged, the cluster counts as reachable."""
    both = cluster(site, real, qos="one-by-one", max_concurrent_worksets=2)
    site.configure(overrides={"clusters": [both]})
    site.add("first", 8)
    poller = site.poller()
    site.until(lambda: site.running() == {"first"})
    site.add("second", 1)
    site.until(lambda: site.db.known(["second"]) and refused(site, "second"))
    [note] = refused(site, "second")
    assert "QOSMaxSubmitJobPerUserLimit" in note and "a higher MaxSubmitJobs" in note
    assert site.db.clusters_health()[both["cluster_name"]].failures == 0, "it answers"
    site.finish(poller, timeout=180)
    record = site.db.get("second")
    assert (record.state, record.retry_count) == (State.COMPLETE, 0)
    site.assert_each_step_ran_once(["first", "second"])


def test_what_a_qos_never_takes_is_told_with_slurms_words(site, real):
    """C4, "too large for ever", in the same words; others of the cluster run meanwhile."""
    site.configure()
    large = cluster(site, real, qos="small", vcpus_per_workset=4, max_concurrent_worksets=2)
    site.configure(overrides={"clusters": [large]}, stuck_minutes=0.1)
    site.add("large", 1)
    poller = site.poller()
    site.until(lambda: site.db.known(["large"]) and len(refused(site, "large")) == 2, 120)
    record = site.db.get("large")
    assert record.state is State.RETRYING and record.retry_count == 0
    assert all("QOSMaxCpuPerUserLimit" in note for note in refused(site, "large"))
    site.until(lambda: told(site, "large"), 20)
    [message] = told(site, "large")
    assert "QOSMaxCpuPerUserLimit" in message and "sacctmgr show qos" in message
    assert site.db.clusters_health()[large["cluster_name"]].failures == 0
    # somebody gives the QOS more
    accounts(real, "modify", "qos", "small", "set", "MaxTRESPerUser=cpu=8")
    site.finish(poller, timeout=180)
    assert site.db.get("large").state is State.COMPLETE


def told(site, workset_id):
    """What people were told of a workset that cannot go on."""
    ask = {"filter": {"resource": {"id": [f"workset.{workset_id}"]}}, "limit": 50}
    found = site.prefect.post("events/filter", **ask)["events"]
    return [e["payload"]["message"] for e in found if e["event"] == "workset.stuck"]


def refused(site, workset_id):
    history = site.db.get(workset_id).history
    return [entry.note for entry in history if entry.note.startswith("refused: ")]
