"""Slurm with a slurmdbd on MariaDB: limits of a QOS that refuse, and what jobs really took."""

import json

import pytest

from tests import slurm
from tests.real.test_command_line import worksets
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
    folder = tmp_path_factory.mktemp("slurm")
    with slurm.clusters(folder, "acc", "far", accounted=True) as (cluster, far):
        accounts(cluster, "add", "account", "lab")
        accounts(cluster, "add", "user", "root", "account=lab", "defaultaccount=lab")
        for name, limit in QOS.items():
            accounts(cluster, "add", "qos", name, "flags=DenyOnLimit", limit)
        accounts(cluster, "modify", "user", "root", "set", f"qos={','.join(['normal', *QOS])}")
        cluster.far = far
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


def test_usage_prints_what_sacct_says_the_jobs_of_a_driver_included(site, real):
    # Slurm looks once a second at what a task takes: a peak between two looks is none to it
    eat = "import time; x = bytearray(200_000_000); s = sum(range(20_000_000)); time.sleep(3)"
    job = f"sbatch --wait -c 2 --mem=400M -o /dev/null --wrap \"python3 -c '{eat}'\""
    (site.folder / "driver.sh").write_text(f'{job} && echo done > "$1/done"\n')
    site.configure()
    run = ["sh", str(site.folder / "driver.sh"), "{results}"]
    pipeline = {"stage": ["true"], "run": run, "export": ["true"]}
    priced = cluster(site, real, price_per_vcpu_hour=3600)
    site.configure(overrides={"clusters": [priced], "pipelines": {"sleep-1": pipeline}})
    site.add("driven", 1)
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 1}

    def usage(*options):
        done = worksets(site, "usage", "-s", "settings.yaml", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # slurmdbd hears of an end a moment after it
    site.until(lambda: json.loads(usage("--json"))[0]["jobs"] == 2, 30)
    row, everything = json.loads(usage("--json"))
    name = site.db.get("driven").job_name
    said = real.call(
        "sacct", "-nXP", "-o", "CPUTimeRAW", f"--name={name}", "-S", "now-1hour"
    ).stdout.split() + real.call(
        "sacct", "-nXP", "-o", "CPUTimeRAW", f"--wckeys={name}", "-S", "now-1hour"
    ).stdout.split()  # fmt: skip
    assert len(said) == 2 and row["told_by"] == "accounting"
    assert row["usd"] == pytest.approx(sum(map(int, said)), abs=0.01), "a dollar a CPU-second"
    assert 0.2 <= row["peak_gb"] < 0.4 and 1 <= int(row["busy"].rstrip("%")) <= 100
    assert everything == {**row, "customer": "all"}
    [by_markers, _] = json.loads(usage("--json", "--no-ask"))
    assert by_markers["told_by"] == "markers" and by_markers["jobs"] == 1
    assert by_markers["cpu_hours"] is not None, "what the driver itself took"
    shown = usage()
    assert "peak_gb" in shown and "acme" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_another_cluster_of_the_same_slurmdbd_is_spoken_to_by_its_name(site, real):
    """`-M`: the commands are those of `acc`, and all that they do is done on `far`."""
    there = cluster(site, real, clusters="far", max_concurrent_worksets=2)
    site.configure(overrides={"clusters": [there]})
    for id_, seconds in (("runs", 1), ("stopped", 40)):
        site.add(id_, seconds)
    poller = site.poller()
    site.until(lambda: "stopped" in site.running(), 60)
    names = {site.db.get(id_).job_name for id_ in ("runs", "stopped")}
    assert real.call("squeue", "-h", "-o", "%j").stdout.split() == []
    assert set(real.far.call("squeue", "-h", "-o", "%j").stdout.split()) <= names
    stopped = worksets(site, "cancel", "stopped", "-s", "settings.yaml")
    assert stopped.returncode == 0, stopped.stderr
    site.finish(poller)
    assert site.states() == {State.COMPLETE: 1, State.CANCELLED: 1}
    asked = json.loads(worksets(site, "clusters", "--ask", "--json", "-s", "settings.yaml").stdout)
    assert asked[0]["room"] > 2, asked
    assert real.far.call("squeue", "-h").stdout == ""

    def told_by():
        done = worksets(site, "usage", "--json", "-s", "settings.yaml")
        return json.loads(done.stdout)[0]["told_by"]

    site.until(lambda: told_by() == "accounting", 30)


def test_a_name_that_slurmdbd_does_not_know_is_told_with_slurms_words(site, real):
    site.configure(overrides={"clusters": [cluster(site, real, clusters="nowhere")]})
    done = worksets(site, "clusters", "--ask", "--json", "-s", "settings.yaml")
    said = json.loads(done.stdout)[0]["room"]
    assert "no answer" in said and "sacctmgr list clusters" in said
