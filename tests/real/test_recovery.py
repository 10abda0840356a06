"""Pollers on a real Prefect server that are stopped, killed and doubled: nothing twice, nothing
lost. What ran is told by the jobs' own append-only log."""

import signal
import time

import pytest

from tests.real.conftest import LEASE_S
from worksets.leases import CLOCK_SKEW_S
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

SLOTS = """
import asyncio, sys
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        for limit in await client.read_global_concurrency_limits(limit=200, offset=0):
            print(limit.name, limit.active_slots)
asyncio.run(main())
"""


def slots(site):
    """Prefect's slots that are taken on this site's clusters, and for all worksets."""
    taken = dict(line.rsplit(" ", 1) for line in site.call("-c", SLOTS).splitlines())
    ours = {k: v for k, v in taken.items() if f"cluster:{site.name}" in k or k == "tag:worksets"}
    assert len(ours) > 1
    return sum(int(number) for number in ours.values())


def test_kill_9_then_the_next_poller_attaches(site):
    site.configure(clusters=2, slots=3)
    worksets = [f"w{n}" for n in range(6)]
    for id_ in worksets:
        site.add(id_, 20)
    first = site.poller()
    site.until(lambda: site.running() == set(worksets))
    first.kill()
    killed, second = time.time(), site.poller()
    site.until(lambda: all(r.fence >= 2 for r in site.db.list_worksets()), 40)
    attached = max(r.history[-1].at.timestamp() for r in site.db.list_worksets())
    assert attached - killed <= LEASE_S + CLOCK_SKEW_S + 10
    site.finish(second)
    assert site.states() == {State.COMPLETE: 6}
    site.assert_each_step_ran_once(worksets)
    assert slots(site) == 0, "the killed process's slots did not come back"


def test_ctrl_c_then_the_next_poller_goes_on_at_once(site):
    site.configure(clusters=1, slots=2)
    worksets = [f"w{n}" for n in range(4)]
    for id_ in worksets:
        site.add(id_, 8)
    first = site.poller()
    site.until(lambda: len(site.running()) == 2)
    first.send_signal(signal.SIGINT)
    assert first.wait(20) != 0
    assert site.db.leases() == {}, "a stopped process keeps its lease"
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 4}
    site.assert_each_step_ran_once(worksets)
    assert slots(site) == 0


def test_two_pollers_share_the_work_within_the_limits(site):
    site.configure(clusters=3, slots=2, customers=("acme", "bo"), max_concurrent_worksets=5)
    worksets = [f"{customer}{n}" for n in range(7) for customer in ("acme", "bo")]
    for id_ in worksets:
        site.add(id_, 1, customer=id_[:-1])
    first, second = site.poller(), site.poller()
    site.finish(first)
    site.finish(second)
    assert site.states() == {State.COMPLETE: 14}
    site.assert_each_step_ran_once(worksets)
    assert site.most_at_once() <= 5
    clusters = {r.workset_id: r.cluster_name for r in site.db.list_worksets()}
    assert len(set(clusters.values())) == 3, "they piled up on one cluster"
    for name in set(clusters.values()):
        assert site.most_at_once(lambda id_, name=name: clusters[id_] == name) <= 2


def test_no_cycle_waits_for_the_slowest_and_no_customer_for_another(site):
    site.configure(clusters=1, slots=3, customers=("acme", "bo"))
    site.add("acme-slow", 20)
    for n in range(6):
        site.add(f"bo{n}", 1, customer="bo")
    poller = site.poller()
    site.until(lambda: site.states()[State.COMPLETE] == 6, 18)
    assert site.running() == {"acme-slow"}
    site.add("bo-late", 1, customer="bo")  # found by a later cycle of the same poller
    site.until(lambda: site.states()[State.COMPLETE] == 7, 10)
    assert site.running() == {"acme-slow"}
    site.finish(poller)
    assert site.states() == {State.COMPLETE: 8}
