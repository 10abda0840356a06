"""Pollers on a real Prefect server that are stopped, killed and doubled: nothing twice, nothing
lost. What ran is told by the jobs' own append-only log."""

import signal
import sqlite3
import time

import pytest

from local import server
from tests.real.conftest import LEASE_S
from worksets.leases import CLOCK_SKEW_S
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]


def limits(site):
    """Prefect's tag limits of this installation: limit and slots taken, by the name of the tag."""
    ours = f"@{site.db.installation()}"
    return {
        limit["name"].removeprefix("tag:").removesuffix(ours): (
            limit["limit"],
            int(limit["active_slots"]),
        )
        for limit in site.prefect.limits()
        if limit["name"].endswith(ours)
    }


def slots(site):
    """Prefect's slots that are taken on this site's clusters, and for all worksets."""
    found = limits(site)
    ours = [name for name in found if f"cluster:{site.name}" in name or name == "worksets"]
    assert len(ours) > 1
    return sum(found[name][1] for name in ours)


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
    assert site.running_flows() == [] and site.db.leases() == {}


def test_what_a_killed_one_held_is_taken_over_when_its_lease_ends_however_seldom_is_polled(site):
    site.configure(clusters=1, slots=2, poll_interval_seconds=90)
    site.add("left", 40)
    first = site.poller()
    site.until(lambda: site.running() == {"left"})
    [owner] = site.db.leases()
    second = site.poller()
    site.until(lambda: len(site.db.leases()) == 2)
    time.sleep(4)  # it has looked, and seen the first alive
    first.kill()
    site.until(lambda: site.db.get("left").lock_owner != owner, LEASE_S + CLOCK_SKEW_S + 10)
    site.finish(second)
    assert site.states() == {State.COMPLETE: 1}
    site.assert_each_step_ran_once(["left"])


def test_slots_come_back_after_a_kill_and_a_restart_of_the_server(site, prefect_server, server_log):
    """Prefect's leases lived in the killed server's memory; its counters are in the database."""
    server_log.append("task_run_recorder - Error flushing .* 0 dropped")  # it is stopped in it
    site.configure(clusters=1, slots=3)
    worksets = [f"w{n}" for n in range(3)]
    for id_ in worksets:
        site.add(id_, 20)
    first = site.poller()
    site.until(lambda: site.running() == set(worksets))
    site.until(lambda: slots(site) == 6)
    first.kill()
    server.stop(prefect_server.folder)
    server.start(prefect_server.folder).wait()
    assert slots(site) == 6, "the leak that this is about"
    site.add("next", 1)
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 4}
    site.assert_each_step_ran_once([*worksets, "next"])
    assert slots(site) == 0


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_stop_then_the_next_poller_goes_on_at_once(site, how):
    site.configure(clusters=1, slots=2)
    worksets = [f"w{n}" for n in range(4)]
    for id_ in worksets:
        site.add(id_, 8)
    first = site.poller()
    site.until(lambda: len(site.running()) == 2)
    first.send_signal(signal.Signals[how])
    assert first.wait(20) != 0
    assert site.db.leases() == {}, "a stopped process keeps its lease"
    assert site.running_flows() == [], "runs of a stopped process stay Running in the UI"
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
    site.add("acme-slow", 40)
    for n in range(6):
        site.add(f"bo{n}", 1, customer="bo")
    poller = site.poller()
    site.until(lambda: site.states()[State.COMPLETE] == 6, 35)
    assert site.running() == {"acme-slow"}
    site.add("bo-late", 1, customer="bo")  # found by a later cycle of the same poller
    site.until(lambda: site.states()[State.COMPLETE] == 7, 10)
    assert site.running() == {"acme-slow"}
    site.finish(poller)
    assert site.states() == {State.COMPLETE: 8}


def test_prefects_limits_are_those_of_the_settings_now(site):
    cap = {"max_concurrent_worksets": 2}
    site.configure(clusters=1, slots=3, customers={"lim-a": cap, "lim-b": cap, "lim-c": {}})
    site.add("w1", 1, customer="lim-a")
    site.finish(site.poller())
    found = limits(site)
    assert [found.get(f"customer:lim-{c}") for c in "abc"] == [(2, 0), (2, 0), None]
    assert found[f"cluster:{site.name}-c0"] == (3, 0)
    site.configure(
        clusters=1, slots=1, customers={"lim-a": {}, "lim-b": {"max_concurrent_worksets": 5}}
    )
    site.finish(site.poller())
    found = limits(site)
    assert [found.get(f"customer:lim-{c}") for c in "abc"] == [None, (5, 0), None]
    assert found[f"cluster:{site.name}-c0"] == (1, 0)


def test_a_customer_at_its_limit_is_kept_there_and_holds_up_nobody(site):
    customers = {"big": {"max_concurrent_worksets": 2}, "small": {}}
    site.configure(clusters=2, slots=3, customers=customers)
    for n in range(6):
        site.add(f"big{n}", 3, customer="big")
    for n in range(3):
        site.add(f"small{n}", 1, customer="small")
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 9}
    assert site.most_at_once(lambda id_: id_.startswith("big")) == 2
    ends = [id_ for id_, _, step, mark, _ in site.steps() if (step, mark) == ("export", "end")]
    assert {id_ for id_ in ends[:3] if id_.startswith("small")} == {"small0", "small1", "small2"}


def test_a_workset_that_no_cluster_fits_says_so_and_starts_when_one_appears(site):
    site.configure(clusters=1)
    wanted = f"{site.name}-c1"
    site.add("w1", 1, preferred_cluster=wanted, cluster_required=True)
    site.finish(site.poller())
    stuck = site.db.get("w1")
    assert stuck.state is State.READY and f"{wanted} is required" in stuck.placement_reason
    assert [entry.event for entry in stuck.history].count("Wait") == 1
    site.configure(clusters=2)
    site.finish(site.poller())
    assert site.db.get("w1").state is State.COMPLETE and site.db.get("w1").cluster_name == wanted


def test_a_poller_that_slept_past_its_lease_touches_nothing_any_more(site):
    """SIGSTOP for longer than the lease, another goes on, SIGCONT: the fence keeps it away."""
    site.configure(clusters=1, slots=2)
    site.add("w1", 20)
    first = site.poller()
    site.until(lambda: site.running() == {"w1"})
    first.send_signal(signal.SIGSTOP)
    try:
        site.until(lambda: site.db.stale(), 20)
        second = site.poller()
        site.finish(second)
        after = site.db.get("w1")
        assert (
            after.state is State.COMPLETE and after.fence == 3
        )  # held at once, then locked by its flow
    finally:
        first.send_signal(signal.SIGCONT)
    log = site.finish(first)
    assert "changed hands" in log
    assert site.db.get("w1") == after, "it wrote nothing"
    site.assert_each_step_ran_once(["w1"])


def test_the_defaults_of_a_teams_profile_change_nothing(site):
    site.environment |= {
        "PREFECT_FLOWS_DEFAULT_RETRIES": "2",
        "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": "1",
        "PREFECT_TASKS_DEFAULT_RETRIES": "2",
        "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS": "1",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_LOCAL_STORAGE_PATH": str(site.folder / "kept"),
    }
    fail = {"stage": ["true"], "run": ["sh", "-c", "exit 65"], "export": ["true"]}
    site.configure(clusters=1)
    site.add("good", 1)
    site.add("bad", 3)
    site.configure(clusters=1, overrides={"pipelines": {"sleep-3": fail, **pipeline(site, 1)}})
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 1, State.FAILED: 1}
    for id_, state in (("good", "Completed"), ("bad", "DeadLetter")):
        [run] = site.runs(id_)
        assert (run["state_name"], run["run_count"]) == (state, 1)
    assert not (site.folder / "kept").exists(), "records were written beside the state DB"


def pipeline(site, seconds):
    """The site's own pipeline of this many seconds."""
    return {
        f"sleep-{seconds}": {
            step: site._step(step, seconds if step == "run" else 0)
            for step in ("stage", "run", "export")
        }
    }


def test_a_process_whose_own_lease_ran_out_does_not_end_its_own_runs(site):
    """The state DB was locked for longer than the lease, or the machine slept."""
    site.configure()
    site.add("outlives-its-lease", 20)
    poller = site.poller()
    site.until(lambda: site.running() == {"outlives-its-lease"})
    other = sqlite3.connect(site.folder / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(12)
    other.execute("COMMIT")
    other.close()
    log = site.finish(poller)
    assert site.states() == {State.COMPLETE: 1}
    site.assert_each_step_ran_once(["outlives-its-lease"])
    assert "is gone" not in log
    assert [run["state_type"] for run in site.runs("outlives-its-lease")] == ["COMPLETED"]


def test_of_two_pollers_one_alone_starts_a_workset(site):
    """Two that start the same cost Prefect a run each, and were slower together than one alone."""
    site.configure(clusters=2, slots=4, poll_interval_seconds=2)
    site.add("first", 40)
    one, two = site.poller(), site.poller()
    site.until(lambda: len(site.db.leases()) == 2 and site.running() == {"first"})
    time.sleep(5)  # each has heard of the other in a full cycle
    worksets = [f"w{n:02d}" for n in range(24)]
    for id_ in worksets[:16]:
        site.add(id_, 1)
    site.until(lambda: site.states()[State.COMPLETE] >= 8, 90)
    site.add("last", 40)  # something is left for both while the rest is not there yet
    site.until(lambda: site.states()[State.COMPLETE] >= 16 and "last" in site.running(), 90)
    # whichever of the two has begun less: alone, it is barred by nothing that the other said
    one.send_signal(signal.SIGTERM)
    assert one.wait(20) != 0
    for id_ in worksets[16:]:
        site.add(id_, 1)
    site.finish(two)
    assert site.states() == {State.COMPLETE: 26}
    site.assert_each_step_ran_once(["first", "last", *worksets])
    of_them = [run["name"] for run in site.runs() if run["name"].startswith("w")]
    assert 24 <= len(of_them) <= 26, sorted(of_them)
