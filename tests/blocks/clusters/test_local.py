"""Jobs are real processes: they outlive their starter, and one name runs once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blocks.clusters import LocalCluster
from blocks.clusters.on_cluster import runner
from worksets.errors import TransientError
from worksets.jobs import JobSpec, Manifest, Phase, StepCommand


def spec(attempt, *commands):
    return JobSpec(
        workset_id="w",
        attempt=attempt,
        steps=tuple(StepCommand(step=step, argv=argv) for step, argv in commands),
        manifest=Manifest(
            workset_id="w", customer_id="c", reference_genome="hg38", pipeline="p",
            attempt=attempt, source="/x", export_to="/y", samples=(),
        ),
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    return LocalCluster(cluster_name="a", work_folder=str(tmp_path))


def until(cluster, name, seconds=10):
    deadline = time.monotonic() + seconds
    while not (status := cluster.observe([name])[name]).over:
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return status


def test_a_job_submitted_twice_runs_once(cluster, tmp_path):
    append = ("sh", "-c", f"echo x >> {tmp_path}/ran")
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.ABSENT
    for _ in range(3):
        cluster.submit(spec(1, ("stage", append), ("run", ("nope",)), ("export", append)))
    status = until(cluster, "w.a1")
    assert [m.exit_code for m in status.steps] == [0, 127] and status.failed_step == "run"
    assert (tmp_path / "ran").read_text() == "x\n"


def test_an_attempt_never_starts_beside_an_earlier_one_or_after_a_later_one(cluster):
    cluster.submit(spec(1, ("run", ("sleep", "60"))))
    with pytest.raises(TransientError, match="earlier attempt"):
        cluster.submit(spec(2, ("run", ("true",))))
    cluster.cancel("w.a1")
    assert until(cluster, "w.a1").over
    cluster.submit(spec(3, ("run", ("true",))))
    assert until(cluster, "w.a3").phase is Phase.ENDED
    cluster.submit(spec(2, ("run", ("true",))))  # the late submission of a process that slept
    assert cluster.observe(["w.a2"])["w.a2"].phase is Phase.VANISHED


ENGINE = """
import signal, sys, time
from pathlib import Path
place = Path(sys.argv[1])
def stop(*_):
    with open(place / "signals", "a") as file:
        file.write("x")
    if sys.argv[2] != "deaf":
        time.sleep(1.5)  # it cancels its own jobs
        (place / "in order").touch()
        sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGTERM, stop)
(place / "up").touch()
while True:
    time.sleep(0.1)
"""


def engine(cluster, place, way):
    """A job whose step takes its time when it is told to stop; it has begun."""
    more = ("export", ("touch", str(place / "exported")))
    cluster.submit(spec(1, ("run", (sys.executable, "-c", ENGINE, str(place), way)), more))
    deadline = time.monotonic() + 20
    while not (place / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("code", ["1", "0"])
def test_a_step_has_time_to_end_in_order_and_is_told_once(cluster, tmp_path, code):
    engine(cluster, tmp_path, code)
    for _ in range(2):
        cluster.cancel("w.a1")
    status = until(cluster, "w.a1")
    assert (tmp_path / "in order").exists() and (tmp_path / "signals").read_text() == "x"
    # an engine that leaves off and ends with 0 has not ended well
    assert [mark.exit_code for mark in status.steps] == [1 if code == "1" else 143]
    assert not (tmp_path / "exported").exists()


def test_a_step_that_hears_nothing_is_killed_when_its_grace_is_over(tmp_path):
    cluster = LocalCluster(cluster_name="a", work_folder=str(tmp_path), grace_seconds=1)
    engine(cluster, tmp_path, "deaf")
    began = time.monotonic()
    cluster.cancel("w.a1")
    assert until(cluster, "w.a1").phase is Phase.VANISHED
    assert 0.9 < time.monotonic() - began < 5 and (tmp_path / "signals").read_text() == "x"


def test_what_a_step_leaves_behind_is_killed_when_its_grace_is_over(tmp_path):
    cluster = LocalCluster(cluster_name="a", work_folder=str(tmp_path), grace_seconds=1.5)
    deaf = f"(trap '' TERM; touch {tmp_path}/up; sleep 60) & wait"
    cluster.submit(spec(1, ("run", ("bash", "-c", deaf))))
    deadline = time.monotonic() + 20
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    cluster.cancel("w.a1")
    status = until(cluster, "w.a1")
    assert status.phase is Phase.ENDED and status.steps[0].exit_code != 0
    cluster.submit(spec(2, ("run", ("true",))))  # the next attempt is not held up by it
    assert until(cluster, "w.a2").failed_step is None


def test_a_signal_before_the_command_has_begun_is_not_lost(tmp_path):
    code, receipt = runner.step_of(
        {"argv": ["touch", str(tmp_path / "ran")]}, str(tmp_path), tmp_path / "log", [15]
    )
    assert (code, receipt) == (143, {}) and not (tmp_path / "ran").exists()


def test_what_outlives_its_runner_is_killed_from_outside(tmp_path):
    cluster = LocalCluster(cluster_name="a", work_folder=str(tmp_path), grace_seconds=0.5)
    engine(cluster, tmp_path, "deaf")
    claim = json.loads((Path(cluster.job_dir("w.a1")) / "claim").read_text())
    os.kill(claim["pid"], signal.SIGKILL)
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.RUNNING, "its step lives"
    cluster.cancel("w.a1")
    assert until(cluster, "w.a1").phase is Phase.VANISHED


def test_a_job_outlives_the_process_that_started_it(cluster, tmp_path):
    code = (
        "from tests.blocks.clusters.test_local import *\n"
        f"c = LocalCluster(cluster_name='a', work_folder={str(tmp_path)!r})\n"
        "c.submit(spec(1, ('run', ('sleep', '1'))))\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.RUNNING
    assert until(cluster, "w.a1").failed_step is None


def test_one_damaged_job_makes_no_other_unknown(tmp_path):
    """B4: an exit marker is empty after the disk was full."""
    cluster = LocalCluster(cluster_name="a", work_folder=str(tmp_path))
    good, bad = "w1.i-1.a1", "w2.i-2.a1"
    for name in (good, bad):
        ended_well(cluster, name)
    path = Path(cluster.job_dir(bad)) / "run.exit"
    path.write_text("")
    seen = cluster.observe([good, bad])
    assert seen[good].phase is Phase.ENDED and seen[good].failed_step is None
    assert (seen[bad].phase, seen[bad].note) == (Phase.UNKNOWN, f"{path} is empty")


@pytest.mark.parametrize("claim", ["", "{", "[]", "null"])
def test_exit_markers_decide_though_a_power_cut_has_emptied_the_claim(tmp_path, claim):
    """B5."""
    cluster = LocalCluster(cluster_name="a", work_folder=str(tmp_path))
    name = "w1.i-1.a1"
    ended_well(cluster, name)
    path = Path(cluster.job_dir(name)) / "claim"
    path.write_text(claim)
    assert cluster.observe([name])[name].phase is Phase.ENDED
    (path.parent / "run.exit").unlink()
    seen = cluster.observe([name])[name]
    assert seen.phase is Phase.UNKNOWN and str(path) in seen.note
    cluster.cancel(name)  # and raises nothing


def ended_well(cluster, name):
    """The folder of a job that has run to its end, in a process that is gone."""
    folder = Path(cluster.job_dir(name))
    folder.mkdir(parents=True)
    at = "2026-01-01T00:00:00+00:00"
    (folder / "job.json").write_text(json.dumps({"steps": [{"step": "run"}]}))
    (folder / "claim").write_text(json.dumps({"pid": 1, "boot": "another", "birth": "0"}))
    (folder / "run.start").write_text(json.dumps({"at": at}))
    (folder / "run.exit").write_text(json.dumps({"at": at, "code": 0}))
