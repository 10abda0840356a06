"""prefect.yaml on a real server, through a real process worker."""

import os
import signal

import pytest

from tests.real.conftest import ONE_CYCLE, Site, kill_all
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

POLL, ONE = "poll_worksets/poll-worksets", "process_workset/process-workset"


@pytest.fixture(scope="module")
def deployed(prefect_server, tmp_path_factory):
    """`prefect deploy --all` and a process worker, for all the tests of this module."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    here = Site("deployed", tmp_path_factory.mktemp("worker"), env | prefect_server.environment)
    here.call("-m", "prefect", "work-pool", "create", "worksets", "--type", "process")
    here.call("-m", "prefect", "--no-prompt", "deploy", "--all")
    # the schedule polls the settings "default", which these tests do not have
    here.call("-m", "prefect", "deployment", "schedule", "clear", "-y", POLL)
    worker = here.start("-m", "prefect", "worker", "start", "--pool", "worksets")
    yield here
    kill_all(worker)  # one that is asked to end takes a minute
    worker.wait(10)


def start(site, deployment, timeout=120, **parameters):
    parameters = {"settings": site.name, **parameters}
    if deployment == POLL:  # what prefect.yaml says instead is tried in test_schedule.py
        parameters.setdefault("launch", "inline")
    return site.prefect.start(deployment, parameters, timeout)


def ended(run):
    return run["state"]["type"]


def look(site, run_id):
    run = site.prefect.run(run_id)
    return int((run["infrastructure_pid"] or "0").split(":")[-1]), run["state"]["type"]


def test_each_deployment_runs_once_from_python(site, deployed):
    site.configure()
    site.add("w1", 1)
    assert ended(start(site, POLL, cycles=1)) == "COMPLETED"
    again = start(site, ONE, workset_id="w1")
    assert (again["name"], ended(again)) == ("w1 · complete", "COMPLETED")
    assert site.states() == {State.COMPLETE: 1}
    site.assert_each_step_ran_once(["w1"])


def test_polls_may_overlap_and_a_dead_one_holds_up_nobody(site, deployed):
    site.configure(clusters=1, slots=2)
    site.add("w1", 40)  # a second process starts in 10 s, or 20 on a busy machine
    first = start(site, POLL, timeout=0, cycles=1)["id"]
    site.until(lambda: site.running() == {"w1"}, 60)
    site.add("w2", 1)
    # a second run of the deployment is refused, as it is when many are late
    assert ended(start(site, POLL, cycles=1)) == "CANCELLED"
    # the first still hosts w1; another poller starts what has come meanwhile, and ends with it
    site.finish(site.start("-c", ONE_CYCLE, site.name))
    pid, state = look(site, first)
    assert state == "RUNNING" and site.states() == {State.COMPLETE: 1, State.IN_PROGRESS: 1}
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    site.until(lambda: site.db.stale(), 15)
    site.finish(site.start("-c", ONE_CYCLE, site.name))
    assert site.states() == {State.COMPLETE: 2}
    site.assert_each_step_ran_once(["w1", "w2"])
    assert site.running_flows() == [], "runs of the dead process stay Running in the UI"


def test_each_workset_as_its_own_flow_run(site, deployed):
    site.configure(clusters=1, slots=2)
    worksets = [f"own-run-{n}" for n in range(3)]
    for id_ in worksets:
        site.add(id_, 1)
    poll = {"cycles": None, "until_done": True, "launch": "deployment"}
    assert ended(start(site, POLL, timeout=240, **poll)) == "COMPLETED"
    assert site.states() == {State.COMPLETE: 3}
    site.assert_each_step_ran_once(worksets)
    for id_ in worksets:
        [run] = site.runs(id_)
        assert (run["name"], ended(run)) == (f"{id_} · attempt 1", "COMPLETED")
        assert run["deployment_id"]


def test_cancelling_a_run_that_has_a_process_of_its_own_cancels_its_workset(site, deployed):
    site.configure(clusters=1, slots=1)
    site.add("own-long", 20)
    poll = {"cycles": None, "until_done": True, "launch": "deployment"}
    poller = start(site, POLL, timeout=0, **poll)["id"]
    site.until(lambda: site.running() == {"own-long"}, 90)
    site.add("own-next", 1)
    site.until(lambda: site.db.known(["own-next"]))
    [run] = site.runs("own-long")
    site.prefect.cancel(run["id"])
    site.until(lambda: site.db.get("own-long").state is State.CANCELLED, 60)
    site.until(lambda: look(site, poller)[1] == "COMPLETED", 90)
    assert site.db.get("own-next").state is State.COMPLETE
    assert site.running() == {"own-long"}, "its job was stopped"


def test_cancelling_a_poller_cancels_no_workset(site, deployed):
    site.configure(clusters=1, slots=1)
    site.add("kept", 20)
    poller = start(site, POLL, timeout=0, cycles=1)["id"]
    site.until(lambda: site.running() == {"kept"}, 60)
    site.prefect.cancel(poller)
    site.until(lambda: look(site, poller)[1] == "CANCELLED", 60)
    assert site.db.get("kept").state is State.IN_PROGRESS
    assert ended(start(site, POLL, cycles=1)) == "COMPLETED"
    assert site.db.get("kept").state is State.COMPLETE
    site.assert_each_step_ran_once(["kept"])


def test_dead_letters_are_listed_and_redriven_from_a_form(site, deployed):
    good = str(site.folder / "delivered")
    step = site._step
    pipeline = {
        "stage": step("stage", 0),
        "run": ["sh", "-c", 'test -e "$0" || exit 65', good],
        "export": step("export", 0),
    }
    site.configure(clusters=1, customers=("acme", "cedar"))
    for id_, customer in (("bad-a", "acme"), ("bad-b", "acme"), ("bad-c", "cedar")):
        site.add(id_, 1, customer)
    site.configure(
        clusters=1, customers=("acme", "cedar"), overrides={"pipelines": {"sleep-1": pipeline}}
    )
    assert ended(start(site, POLL, cycles=1)) == "COMPLETED"
    assert site.states() == {State.FAILED: 3}
    assert ended(start(site, "list_dead_letters/list-dead-letters")) == "COMPLETED"
    (site.folder / "delivered").touch()
    redrive = "redrive_worksets/redrive-worksets"
    assert ended(start(site, redrive)) == "FAILED", "an empty form redrives nothing"
    assert site.states() == {State.FAILED: 3}
    chosen = {"customer_id": "acme", "error_category": "data", "reason": "delivered again"}
    assert ended(start(site, redrive, **chosen)) == "COMPLETED"
    assert site.states() == {State.READY: 2, State.FAILED: 1}
    assert ended(start(site, POLL, cycles=1)) == "COMPLETED"
    assert site.states() == {State.COMPLETE: 2, State.FAILED: 1}
    record = site.db.get("bad-a")
    assert [run.step for run in record.step_runs if run.attempt == 2] == ["stage", "run", "export"]
    assert any("delivered again" in entry.note for entry in record.history)
    assert record.history[0].event == "Found", "the history before it is kept"
