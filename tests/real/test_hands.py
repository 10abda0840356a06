"""Prefect's UI as the control room: what its buttons send runs in the poller, without a worker."""

import re
import signal
import time

import pytest

from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

POLL_ON = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from flows.poll_worksets import poll_worksets
asyncio.run(poll_worksets(settings=sys.argv[1]))
"""


@pytest.fixture
def polled(site):
    """A site with a poller that goes on; it is stopped with the site."""
    site.configure(clusters=1, slots=3, delivery_minutes=0)
    site.start("-c", POLL_ON, site.name)
    return site


def the_run(site, workset_id):
    """The one run of a workset, as its page in the UI has it."""
    [run] = site.runs(workset_id)
    return run


def ended(site, run_id, times):
    def is_so():
        run = site.prefect.run(run_id)
        return run["run_count"] == times and run["state"]["type"] in ("COMPLETED", "FAILED")

    site.until(is_so, 60)
    return site.prefect.run(run_id)


def test_retry_of_a_dead_letter_goes_on_after_what_was_put_right(polled):
    """F: a failed workset had no Retry, and what was retried by hand ended as Unsettled."""
    site = polled
    # a poller looks already: files that come and go again are another story
    site.add("put-right", 1, reads=False)
    site.until(lambda: site.db.dead_letters(), 60)
    site.until(lambda: the_run(site, "put-right")["state"]["name"] == "DeadLetter", 20)
    run = the_run(site, "put-right")
    assert run["deployment_id"], "only a run of a deployment has a Retry button"
    (site.folder / "worksets" / "put-right" / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    time.sleep(2)  # it has come to rest: delivery_quiet_seconds is 1 here
    pressed = time.monotonic()
    site.prefect.retry(run["id"])
    site.until(lambda: site.prefect.run(run["id"])["run_count"] == 2, 20)
    assert time.monotonic() - pressed < 10
    after = ended(site, run["id"], 2)
    assert after["state"]["name"] == "Completed" and after["name"] == "put-right · attempt 1"
    record = site.db.get("put-right")
    assert record.state is State.COMPLETE
    assert any("retried in Prefect's UI" in entry.note for entry in record.history)
    # once more: nothing is run again, and the run says so
    site.prefect.retry(run["id"])
    again = ended(site, run["id"], 3)
    assert again["state"]["type"] == "COMPLETED"
    assert "complete already" in again["state"]["message"]
    site.assert_each_step_ran_once(["put-right"])


def test_retry_of_one_that_runs_is_no_second_job_whatever_state_its_run_was_given(polled):
    site = polled
    site.add("goes-on", 8)
    site.until(lambda: site.running() == {"goes-on"}, 60)
    run = the_run(site, "goes-on")
    site.prefect.set_state(run["id"], {"type": "FAILED", "name": "Failed", "message": "by hand"})
    site.prefect.retry(run["id"])
    told = ended(site, run["id"], 2)
    assert "is being processed already" in told["state"]["message"]
    form = f"process_workset/process-workset-{site.name}"
    started = site.prefect.start(form, {"workset_id": "goes-on"}, 60)
    assert started["state"]["type"] == "COMPLETED", "by the form as well"
    assert "already" in started["state"]["message"]
    site.until(lambda: site.db.get("goes-on").state is State.COMPLETE, 60)
    site.assert_each_step_ran_once(["goes-on"])


def test_suspend_stops_no_job(polled):
    site = polled
    site.add("suspended", 8)
    site.until(lambda: site.running() == {"suspended"}, 60)
    run = the_run(site, "suspended")
    site.prefect.set_state(run["id"], {"type": "PAUSED", "name": "Suspended"})
    site.until(lambda: site.states() == {State.COMPLETE: 1}, 60)
    assert ended(site, run["id"], 1)["state"]["type"] == "COMPLETED"
    site.assert_each_step_ran_once(["suspended"])


def test_what_people_start_by_a_form_runs_in_the_poller(polled):
    site = polled
    site.add("by-form", 1, reads=False)
    site.until(lambda: site.db.dead_letters(), 60)
    api, ours = site.prefect, f"-{site.name}"
    shown = api.start(f"list_dead_letters/list-dead-letters{ours}", {}, 60)
    assert shown["state"]["type"] == "COMPLETED"
    (site.folder / "worksets" / "by-form" / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    time.sleep(2)
    form = {"workset_ids": ["by-form"], "reason": "the file was put right"}
    done = api.start(f"redrive_worksets/redrive-worksets{ours}", form, 60)
    assert done["state"]["type"] == "COMPLETED"
    site.until(lambda: site.db.get("by-form").state is State.COMPLETE, 60)
    site.add("stopped", 40)
    site.until(lambda: site.running() == {"stopped"}, 60)
    done = api.start(f"cancel_workset/cancel-workset{ours}", {"workset_id": "stopped"}, 60)
    assert done["state"]["type"] == "COMPLETED"
    site.until(lambda: site.db.get("stopped").state is State.CANCELLED, 60)
    started = api.start(f"process_workset/process-workset{ours}", {"workset_id": "by-form"}, 60)
    assert started["state"]["type"] == "COMPLETED" and started["name"].startswith("by-form · ")


SERVE = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import tasks.polling
tasks.polling.HOUR_S = float(sys.argv[2])
from flows.serve_worksets import serve_worksets
try:
    asyncio.run(serve_worksets(sys.argv[1]))
except asyncio.CancelledError:
    sys.exit(143)  # SIGTERM
"""


def polls(site):
    """The deployment of the site's own polls, and its runs that have begun, the oldest first."""
    there = site.prefect.deployment(f"poll_worksets/poll-worksets-{site.name}")
    ours = site.prefect.runs(deployment_id={"any_": [there["id"]]}) if there else []
    begun = [run for run in ours if run["start_time"]]
    return there, sorted(begun, key=lambda run: run["start_time"])


def test_a_poll_gives_way_to_the_next_and_no_workset_notices(site):
    site.configure(clusters=1, slots=3, delivery_minutes=0)
    site.add("outlives-its-poll", 20)
    served = site.start("-c", SERVE, site.name, "8")
    site.until(lambda: site.running() == {"outlives-its-poll"}, 60)
    site.until(lambda: len(polls(site)[1]) >= 3, 90)
    site.add("of-a-later-poll", 1)
    site.until(lambda: site.states() == {State.COMPLETE: 2}, 60)
    for workset in ("outlives-its-poll", "of-a-later-poll"):
        site.until(lambda w=workset: the_run(site, w)["state"]["type"] == "COMPLETED", 20)
    site.assert_each_step_ran_once(["outlives-its-poll", "of-a-later-poll"])
    first = polls(site)[1][0]
    assert first["state"]["type"] == "COMPLETED", first["state"]
    assert re.fullmatch(r"poll from \d\d:\d\d, 1 started", first["name"])

    def each_says_what_it_has_started():
        return sum(run["name"].endswith("1 started") for run in polls(site)[1]) == 2

    site.until(each_says_what_it_has_started, 30)
    assert served.poll() is None


def test_pausing_the_polls_starts_nothing_until_they_are_resumed(site):
    site.configure(clusters=1, slots=3, delivery_minutes=0)
    site.add("before", 8)
    site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: site.running() == {"before"}, 60)
    api, there = site.prefect, polls(site)[0]
    api.post(f"deployments/{there['id']}/pause_deployment")
    time.sleep(4)  # a full cycle is 2 s
    site.add("meanwhile", 1)
    site.until(lambda: site.states()[State.COMPLETE] == 1, 60)
    site.until(lambda: site.states()[State.READY] == 1, 60)
    time.sleep(5)
    assert site.states() == {State.COMPLETE: 1, State.READY: 1}, "it was started all the same"
    api.post(f"deployments/{there['id']}/resume_deployment")
    site.until(lambda: site.states() == {State.COMPLETE: 2}, 30)
    # the switch that the UI shows is that of the schedule
    (schedule,) = there["schedules"]
    api.patch(f"deployments/{there['id']}/schedules/{schedule['id']}", active=False)
    time.sleep(4)
    site.add("switched-off", 1)
    site.until(lambda: site.states()[State.READY] == 1, 60)
    time.sleep(5)
    assert site.states() == {State.COMPLETE: 2, State.READY: 1}
    api.patch(f"deployments/{there['id']}/schedules/{schedule['id']}", active=True)
    site.until(lambda: site.states() == {State.COMPLETE: 3}, 30)


def test_a_pause_outlives_the_process(site):
    site.configure(clusters=1, slots=3, delivery_minutes=0)
    first = site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: polls(site)[1], 60)
    there = polls(site)[0]
    (schedule,) = there["schedules"]
    site.prefect.patch(f"deployments/{there['id']}/schedules/{schedule['id']}", active=False)
    first.send_signal(signal.SIGTERM)
    first.wait(30)
    site.add("waits", 1)
    site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: site.states()[State.READY] == 1, 60)
    time.sleep(5)
    assert site.states() == {State.READY: 1}
    (schedule,) = polls(site)[0]["schedules"]
    assert not schedule["active"]


def test_a_cancelled_poll_ends_its_process_and_the_next_attaches(site):
    site.configure(clusters=1, slots=3, delivery_minutes=0)
    site.add("goes-on", 20)
    served = site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: site.running() == {"goes-on"}, 60)
    (run,) = polls(site)[1]
    site.prefect.cancel(run["id"])
    assert served.wait(60) == 0
    assert site.prefect.run(run["id"])["state"]["type"] == "CANCELLED"
    assert site.db.get("goes-on").state is State.IN_PROGRESS
    site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: site.states() == {State.COMPLETE: 1}, 60)
    site.assert_each_step_ran_once(["goes-on"])


def test_a_limit_that_is_changed_in_the_settings_holds_in_a_poller_that_goes_on(site):
    site.configure(clusters=1, slots=3, delivery_minutes=0, max_concurrent_worksets=1)
    site.start("-c", SERVE, site.name, "3600")
    for n in range(3):
        site.add(f"one-by-one-{n}", 20)
    site.until(lambda: len(site.running()) == 1, 60)
    time.sleep(3)
    assert len(site.running()) == 1
    site.configure(clusters=1, slots=3, delivery_minutes=0, max_concurrent_worksets=3)
    site.until(lambda: len(site.running()) >= 2, 15)
    site.until(lambda: site.states() == {State.COMPLETE: 3}, 90)


def test_a_poll_by_form_is_one_look_at_once_and_other_forms_do_what_they_say(site):
    site.configure(clusters=1, slots=1, delivery_minutes=0, poll_interval_seconds=600)
    site.add("first", 20)
    site.start("-c", SERVE, site.name, "3600")
    site.until(lambda: site.running() == {"first"}, 60)
    api, ours = site.prefect, f"-{site.name}"
    site.add("found-at-once", 1)
    time.sleep(1.5)  # its file has come to rest
    asked = api.start(f"poll_worksets/poll-worksets{ours}", {}, 30)
    assert asked["state"]["type"] == "COMPLETED", asked["state"]
    site.until(lambda: site.states()[State.READY] == 1, 20)
    folder = str(site.folder / "worksets" / "by-form")
    site.add("by-form", 1)
    time.sleep(1.5)
    done = api.start(f"register_worksets/register-worksets{ours}", {"folders": [folder]}, 30)
    assert done["state"]["type"] == "COMPLETED", done["state"]
    assert site.db.get("by-form").state is State.READY
    form = {"workset_ids": ["by-form"], "priority": "urgent"}
    done = api.start(f"set_priority/set-priority{ours}", form, 30)
    assert done["state"]["type"] == "COMPLETED" and site.db.get("by-form").priority == "urgent"
    cluster = f"{site.name}-c0"
    done = api.start(f"drain_cluster/drain-cluster{ours}", {"cluster_name": cluster}, 30)
    assert done["state"]["type"] == "COMPLETED"
    asked = api.start(f"poll_worksets/poll-worksets{ours}", {}, 30)
    site.until(lambda: site.states()[State.COMPLETE] == 1, 60)
    time.sleep(3)
    assert site.states()[State.READY] == 2, "a drained cluster took something"
    form = {"cluster_name": cluster, "resume": True}
    api.start(f"drain_cluster/drain-cluster{ours}", form, 30)
    api.start(f"poll_worksets/poll-worksets{ours}", {}, 30)
    site.until(lambda: site.states()[State.COMPLETE] == 3, 60)
    begun = [id_ for id_, _, step, mark, _ in site.steps() if (step, mark) == ("run", "begin")]
    assert begun == ["first", "by-form", "found-at-once"], "the urgent one first"
