"""200 seeded trials on a real Slurm: no step of an attempt runs twice, and no workset is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests import slurm
from tests.real.workers import POINTS

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PER_ROUND = 20
ROUNDS = ["nothing"] * 4 + ["frozen"] * 3 + ["killed"] * 3
"""What becomes of slurmctld: frozen for 12 s (sbatch gives up after 10, and the job may have been
taken), or killed within the 5 s in which it has not written what it took, and started again."""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "a") as (cluster,):
        yield cluster


def stop(workers):
    """End what is left of a round that failed, all in the group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(workers.pid, signal.SIGKILL)
    workers.wait(10)


def finish(workers, real, seconds=420):
    """What the workers say at their end. Meanwhile an operator puts drained nodes back.

    A controller that forgot jobs gives their ids away again; a node that still runs one of them
    is then drained ("Duplicate jobid on nodes") until somebody resumes it. And it refuses a job of
    which the id has a script already ("I/O error writing script"), once for each job it forgot:
    such a workset is tried ever less often.
    """
    deadline = time.monotonic() + seconds
    while workers.poll() is None:
        assert time.monotonic() < deadline, real.call("squeue", "-t", "all").stdout
        if "drain" in real.call("sinfo", "-h", "-o", "%T").stdout:
            real.call("scontrol", "update", f"nodename={real.node}", "state=resume")
        time.sleep(1)
    assert workers.returncode == 0
    return workers.stdout.read()


@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_no_step_runs_twice_and_no_workset_is_lost(real, tmp_path, request, number):
    fault, dice = ROUNDS[number], random.Random(number)
    plan = {
        "db": str(tmp_path / "state.db"),
        "folder": str(tmp_path),
        "journal": str(tmp_path / "journal"),
        "started": str(tmp_path / "started"),
        "cluster": {
            "cluster_name": "a",
            "work_folder": str(tmp_path / "work"),
            "memory_gb_per_workset": 0.1,
            # a controller that was killed forgets jobs: each lost attempt is believed so after this
            "files_late_seconds": 5,
            "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
        },
        "trials": [
            {"id": f"r{number}-w{n}", "point": dice.choice(POINTS), "seed": dice.random()}
            for n in range(PER_ROUND)
        ],
    }
    (tmp_path / "a.fq").write_text("@a\nA\n+\nI\n")
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    workers = subprocess.Popen(
        [sys.executable, "-m", "tests.real.workers", str(tmp_path / "plan.json")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    request.addfinalizer(partial(stop, workers))
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
        assert workers.poll() is None
    time.sleep(dice.uniform(0, 2))
    if fault == "frozen":
        real.slurmctld.send_signal(signal.SIGSTOP)
        time.sleep(12)
        real.slurmctld.send_signal(signal.SIGCONT)
    if fault == "killed":
        real.slurmctld.kill()
        real.slurmctld.wait()
        time.sleep(dice.uniform(0, 2))
        real.start_controller()
    said = finish(workers, real)
    told = json.loads(said)
    ran = Counter(Path(plan["journal"]).read_text().splitlines())
    twice = {what: times for what, times in ran.items() if times > 1}
    assert twice == {}, "a step of an attempt ran twice"
    assert {state for state, _ in told["ends"].values()} == {"complete"}, "one was lost"
    done = Counter(tuple(line.split()[::2]) for line in ran)
    for trial in plan["trials"]:
        for step in ("stage", "run", "export"):
            assert done[(trial["id"], step)] >= 1
    deadly = sum(trial["point"] not in ("never", "in monitor") for trial in plan["trials"])
    assert told["died"] >= deadly * 0.5, "the trials did not kill"
