"""Prefect's UI as the control room: what its buttons send runs in the poller, without a worker."""

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
    [run] = site.prefect.runs_of(workset_id)
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
    site.add("put-right", 1)
    (site.folder / "worksets" / "put-right" / "a.fq").unlink()
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


def test_what_people_start_by_a_form_runs_in_the_poller(polled):
    site = polled
    site.add("by-form", 1)
    (site.folder / "worksets" / "by-form" / "a.fq").unlink()
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
