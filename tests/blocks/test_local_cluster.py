"""Jobs are real processes: they outlive their starter, and one name runs once."""

import subprocess
import sys
import time

import pytest

from blocks.local_cluster import LocalCluster
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


def test_a_job_outlives_the_process_that_started_it(cluster, tmp_path):
    code = (
        "from tests.blocks.test_local_cluster import *\n"
        f"c = LocalCluster(cluster_name='a', work_folder={str(tmp_path)!r})\n"
        "c.submit(spec(1, ('run', ('sleep', '1'))))\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert cluster.observe(["w.a1"])["w.a1"].phase is Phase.RUNNING
    assert until(cluster, "w.a1").failed_step is None
