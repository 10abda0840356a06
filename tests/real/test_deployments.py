"""prefect.yaml on a real server: both deployments run through a real process worker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import server

ROOT = Path(__file__).parents[2]
SETTINGS = """
state_db: {type: sqlite, path: state.db}
worksets: [worksets]
results: results
customers: {acme: {}}
clusters: [{type: local-cluster, cluster_name: alpha, work_folder: alpha}]
pipelines:
  germline: {run: [sh, -c, 'echo done > "$0"/report.txt', "{results}"]}
"""
SAVE = """
import asyncio, sys
from pathlib import Path
from local import settings_file
base = Path(sys.argv[1])
asyncio.run(settings_file.save(*settings_file.read(base / "settings.yaml", base)))
"""
START = """
import asyncio
from prefect.deployments import run_deployment
async def main():
    poll = await run_deployment("poll_worksets/poll-worksets", timeout=120)
    one = await run_deployment(
        "process_workset/process-workset", parameters={"workset_id": "w1"}, timeout=120
    )
    print("STATES", poll.state.type.value, one.state.type.value, one.name)
asyncio.run(main())
"""


@pytest.mark.real
@pytest.mark.slow
def test_both_deployments_run_through_a_process_worker(tmp_path):
    folder = tmp_path / "worksets" / "w1"
    folder.mkdir(parents=True)
    (folder / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    (folder / "daylily_work.yaml").write_text(
        "samples: [{sample_id: s1, fastq_r1: a.fq}]\nreference_genome: hg38\ncustomer_id: acme\n"
    )
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    running = server.start(tmp_path / "server")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= running.environment

    def call(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args], cwd=ROOT, env=env, capture_output=True, text=True,
            timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    worker = None
    try:
        running.wait()
        call("-c", SAVE, str(tmp_path))
        call("-m", "prefect", "work-pool", "create", "worksets", "--type", "process")
        call("-m", "prefect", "--no-prompt", "deploy", "--all")
        with open(tmp_path / "worker.log", "wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", "worksets"],
                cwd=ROOT, env=env, stdout=log, stderr=log,
            )  # fmt: skip
        assert "STATES COMPLETED COMPLETED w1" in call("-c", START)
        assert (tmp_path / "results/acme/w1/report.txt").read_text() == "done\n"
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(30)
        server.stop(tmp_path / "server")
