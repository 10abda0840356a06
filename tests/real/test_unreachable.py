"""A cluster that does not answer: told once, avoided, and no workset loses anything by it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.services import free_port
from tests.sshd import sshd
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

EVENTS = """
import asyncio, sys
from prefect.client.orchestration import get_client
async def main():
    wanted = {"filter": {"event": {"prefix": ["cluster."]}, "resource": {"id": [sys.argv[1]]}}}
    async with get_client() as client:
        found = (await client.request("POST", "/events/filter", json=wanted)).json()["events"]
    for event in sorted(found, key=lambda e: e["occurred"]):
        print(event["event"], event["payload"]["message"])
asyncio.run(main())
"""


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
    told = lambda: site.call("-c", EVENTS, f"cluster.{name}").splitlines()  # noqa: E731
    site.until(lambda: told(), 60)
    record = site.db.get("only-there")
    assert (record.state, record.attempt, record.retry_count) == (State.READY, 0, 0)
    [event] = told()
    assert event.startswith("cluster.unreachable") and "its worksets wait" in event
    assert poller.poll() is None
    # an operator gives up on it: the workset waits, with its reason, and is moved by hand
    site.db.cancel("only-there", "moved")
    site.finish(poller)


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
            out = site.call("-c", LOOK, f"{site.name}-far"[:60])
            assert f"{server.user}\n" in out and "PRIVATE" not in out
    finally:
        shutil.rmtree(folder)


LOOK = """
import sys
from blocks.slurm.cluster import SlurmCluster
cluster = SlurmCluster.load(sys.argv[1])
print(cluster.transport)
print(cluster.transport.run("id -un").stdout)
"""
