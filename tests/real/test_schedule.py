"""The schedule of prefect.yaml, and nothing else, starts the polls that process a workset."""

import os
import signal
import time
from collections import Counter
from datetime import datetime

import pytest

from local import postgres, server
from tests.real.conftest import Site, errors, kill_all
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

WITHOUT_A_WORKER_S = 70


@pytest.fixture
def fresh(tmp_path):
    """A server, settings named `default`, and `prefect deploy --all`; no worker yet."""
    running = server.start(tmp_path / "prefect")
    try:
        running.wait()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        here = Site("default", tmp_path, env | running.environment)
        here.configure(clusters=1, slots=2)
        here.call("-m", "prefect", "work-pool", "create", "worksets", "--type", "process")
        here.call("-m", "prefect", "--no-prompt", "deploy", "--all")
        yield here
        assert errors(tmp_path / "prefect" / "server.log") == []
    finally:
        for process in here.processes:
            if process.poll() is None:
                kill_all(process)  # a worker that is asked to end takes a minute
                process.wait(10)
        server.stop(tmp_path / "prefect")


def polls(site):
    """Id, state, time it is due at, and whether the schedule made it, of each poll."""
    return [
        (
            run["id"], run["state"]["type"],
            datetime.fromisoformat(run["expected_start_time"]).timestamp(), run["auto_scheduled"],
        )
        for run in site.prefect.runs("poll_worksets")
    ]  # fmt: skip


def test_the_schedule_processes_a_workset_and_a_pause_of_the_worker_brings_one_poll(fresh):
    fresh.add("w1", 1)
    time.sleep(WITHOUT_A_WORKER_S)
    late = [id_ for id_, _, due, *_ in polls(fresh) if due < time.time()]
    assert len(late) >= 2, "the schedule fires without a worker too"
    worker = ("-m", "prefect", "worker", "start", "--pool", "worksets")
    first = fresh.start(*worker)
    # a delivery is looked at twice, so it takes a poll that was not late, too
    fresh.until(lambda: fresh.states() == {State.COMPLETE: 1}, 180)
    fresh.assert_each_step_ran_once(["w1"])
    after = {id_: state for id_, state, *_ in polls(fresh)}
    ended = Counter(after[id_] for id_ in late)
    # one more may have come due before the worker looked, and be the one that ran
    assert ended["CANCELLED"] >= len(late) - 1 and ended.keys() <= {"CANCELLED", "COMPLETED"}
    assert all(auto for *_, auto in polls(fresh)), "nobody but the schedule started a poll"

    # a worker that is killed while its poll has not begun yet holds up no later poll
    done = {id_ for id_, state, *_ in polls(fresh) if state == "COMPLETED"}
    fresh.until(lambda: any(state == "PENDING" for _, state, *_ in polls(fresh)), 90)
    kill_all(first)
    fresh.add("w2", 1)
    fresh.start(*worker)
    fresh.until(lambda: fresh.states() == {State.COMPLETE: 2}, 600)
    assert len({id_ for id_, state, *_ in polls(fresh) if state == "COMPLETED"} - done) >= 1


def test_a_power_cut_in_a_poll_cancels_no_later_poll(fresh):
    """The server's leases are gone, its count of taken slots is not."""
    worker = ("-m", "prefect", "worker", "start", "--pool", "worksets")
    first = fresh.start(*worker)
    fresh.until(lambda: any(state == "RUNNING" for _, state, *_ in polls(fresh)), 120)
    kill_all(first)
    folder = fresh.folder / "prefect"
    os.killpg(server.running(folder).pid, signal.SIGKILL)
    postgres.stop(folder / "postgres")
    again = server.start(folder)
    again.wait()
    fresh.add("w1", 1)
    fresh.start(*worker)
    fresh.until(lambda: fresh.states() == {State.COMPLETE: 1}, 180)
