"""A cluster that does not answer: told once, avoided, and no workset loses anything by it."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from tests.real.conftest import ONE_CYCLE
from tests.services import free_port
from tests.sshd import sshd
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]


def events(site, resource):
    """Names and messages of the events of a cluster, in their order."""
    wanted = {"event": {"prefix": ["cluster."]}, "resource": {"id": [resource]}}
    found = site.prefect.post("events/filter", filter=wanted)["events"]
    return [
        f"{event['event']} {event['payload']['message']}"
        for event in sorted(found, key=lambda event: event["occurred"])
    ]


def test_a_cluster_over_ssh_that_is_down_holds_up_only_what_must_run_there(site):
    port, name = free_port(), f"{site.name}-far"[:60]
    far = {
        "type": "slurm-cluster",
        "cluster_name": name,
        "work_folder": "/work",
        "transport": {
            "kind": "ssh", "host": "127.0.0.1", "port": port, "user": "worksets",
            "known_hosts": f"[127.0.0.1]:{port} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3",
            "private_key": "no key at all",
            "jump": {
                "host": "127.0.0.1", "port": port, "user": "x",
                "known_hosts": "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3",
            },
        },
    }  # fmt: skip
    here = {"type": "local-cluster", "cluster_name": f"{site.name}-near", "work_folder": "near"}
    site.configure(overrides={"clusters": [far, here]})
    site.add("anywhere", 1)
    site.add("only-there", 1, preferred_cluster=name, cluster_required=True)
    poller = site.poller()
    site.until(lambda: site.states()[State.COMPLETE] == 1)
    told = lambda: events(site, f"cluster.{name}")  # noqa: E731
    site.until(lambda: told(), 60)
    record = site.db.get("only-there")
    assert (record.state, record.attempt, record.retry_count) == (State.READY, 0, 0)
    [event] = told()
    assert event.startswith("cluster.unreachable") and "its worksets wait" in event
    assert poller.poll() is None
    # an operator gives up on it: the workset waits, with its reason, and is moved by hand
    site.db.cancel("only-there", "moved")
    site.finish(poller)


def test_polls_of_one_cycle_know_together_that_a_cluster_is_dead(site):
    """C13: each was new to the outage, placed on the dead cluster, and told nobody."""
    name = f"{site.name}-dead"[:60]
    dead = {
        "type": "slurm-cluster",
        "cluster_name": name,
        "work_folder": "/work",
        "max_concurrent_worksets": 9,
        "transport": {
            "kind": "ssh", "host": "127.0.0.1", "port": free_port(), "user": "worksets",
            "known_hosts": "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3",
            "private_key": "no key at all",
        },
    }  # fmt: skip
    # the dead one is cheaper
    near = {
        "type": "local-cluster", "cluster_name": f"{site.name}-near"[:60], "work_folder": "near",
        "max_concurrent_worksets": 9, "price_per_vcpu_hour": 1.0,
    }  # fmt: skip
    site.configure(overrides={"clusters": [dead, near]})
    for n in range(3):
        site.add(f"w{n}", 1)
    for _ in range(5):
        site.finish(site.start("-c", ONE_CYCLE, site.name))
        time.sleep(2)  # the cluster rests between two questions
    assert site.states() == {State.COMPLETE: 3}
    for record in site.db.list_worksets():
        assert record.attempt == 1 and name not in " ".join(e.note for e in record.history)
    site.until(lambda: events(site, f"cluster.{name}"))
    [event] = events(site, f"cluster.{name}")
    assert event.startswith("cluster.unreachable")
    assert site.db.clusters_health()[name].failures >= 3


def test_a_cluster_over_ssh_from_the_settings_file_to_another_process(site):
    """The block is saved with its secrets, loaded by another process, and works."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        with sshd(folder / "sshd") as server:
            key = (folder / "sshd" / "user_key").read_text()
            known = (folder / "sshd" / "known_hosts").read_text()
            fields = {**server.fields, "key_file": "", "private_key": key, "known_hosts": known}
            site.configure(
                overrides={
                    "clusters": [
                        {
                            "type": "slurm-cluster",
                            "cluster_name": f"{site.name}-far"[:60],
                            "work_folder": "/nowhere",
                            "transport": {"kind": "ssh", **fields},
                        }
                    ]
                }
            )
            block = f"{site.name}-far"[:60] + f"-{site.db.installation()}"
            out = site.call("-c", LOOK, block)
            assert f"{server.user}\n" in out and "PRIVATE" not in out
    finally:
        shutil.rmtree(folder)


LOOK = """
import sys
from blocks.clusters import SlurmCluster
cluster = SlurmCluster.load(sys.argv[1])
print(cluster.transport)
print(cluster.transport.run("id -un").stdout)
"""


def test_a_cluster_whose_block_cannot_be_loaded_stops_no_other(site):
    site.configure()
    site.add("w1", 8)
    poller = site.poller()
    site.until(lambda: site.running() == {"w1"})
    used = site.db.get("w1").cluster_name
    [other] = [
        document
        for document in site.prefect.post("block_documents/filter")
        if document["data"].get("cluster_name") in {f"{site.name}-c0", f"{site.name}-c1"} - {used}
    ]
    site.prefect._ask("DELETE", f"block_documents/{other['id']}", None)
    time.sleep(3)
    site.add("w2", 1)
    log = site.finish(poller)
    assert site.states() == {State.COMPLETE: 2}
    assert log.count(f"nothing is placed on local-cluster/{other['name']}: there is no block") == 1
    assert "broke off" not in log


def test_a_watched_folder_that_is_not_there_for_a_minute_costs_no_workset_anything(site):
    """An automounter, a server that is started anew: all in it is as it was afterwards."""
    site.configure(clusters=1, slots=1)
    site.add("w1", 8)
    poller = site.poller()
    site.until(lambda: site.running() == {"w1"})
    site.add("w2", 1)
    site.add("w3", 1)
    site.until(lambda: len(site.db.known(["w2", "w3"])) == 2)
    folder = site.folder / "worksets"
    folder.rename(site.folder / "away")
    time.sleep(60)
    (site.folder / "away").rename(folder)
    site.finish(poller)
    assert site.states() == {State.COMPLETE: 3}
    assert [site.db.get(id_).retry_count for id_ in ("w2", "w3")] == [0, 0]
