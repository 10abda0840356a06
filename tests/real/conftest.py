"""One real Prefect server on PostgreSQL for all the tests here, and small sites that use it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from blocks.sqlite_state_db import SQLiteStateDB
from local import server

ROOT = Path(__file__).parents[2]
LEASE_S = 3.0

# every step of every job says when it began and ended, in one file that is only appended to
STEP = 'echo "$0 $1 $2 begin $(date +%s.%N)" >> "$3"; sleep "$4"; '
DONE = 'echo "$0 $1 $2 end $(date +%s.%N)" >> "$3"'
SAVE = """
import asyncio, sys
from pathlib import Path
from local import settings_file
base = Path(sys.argv[1])
asyncio.run(settings_file.save(*settings_file.read(base / "settings.yaml", base), sys.argv[2]))
"""
POLL = """
import asyncio, signal, sys
# whoever runs the tests in the background has them ignore Ctrl-C; a poller must not
signal.signal(signal.SIGINT, signal.default_int_handler)
from flows.poll_worksets import poll_worksets
print(asyncio.run(poll_worksets(settings=sys.argv[1], until_done=True)))
"""

RUNNING = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as Type
async def main():
    running = FlowRunFilter(state=FlowRunFilterState(type=Type(any_=["RUNNING", "PENDING"])))
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=running):
            print(run.name, run.tags)
asyncio.run(main())
"""


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefect")
    running = server.start(folder)
    try:
        running.wait()
        yield running
    finally:
        server.stop(folder)


@dataclass
class Site:
    """One installation: its settings block, folders and state DB, and processes that poll."""

    name: str
    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen] = field(default_factory=list)

    def configure(self, clusters=2, slots=3, customers=("acme",), overrides=None, **processor):
        pipelines = {
            f"sleep-{seconds}": {
                "stage": self._step("stage", 0),
                "run": self._step("run", seconds),
                "export": self._step("export", 0),
            }
            for seconds in (1, 3, 8, 20, 40)
        }
        settings = {
            "state_db": {"type": "sqlite", "path": "state.db"},
            "worksets": ["worksets"],
            "results": "results",
            "lease_s": LEASE_S,
            "customers": customers if isinstance(customers, dict) else {c: {} for c in customers},
            "processor": {"poll_interval_seconds": 2, **processor},
            "clusters": [
                {
                    "type": "local-cluster",
                    "cluster_name": f"{self.name}-c{n}",
                    "max_concurrent_worksets": slots,
                    "work_folder": f"c{n}",
                }
                for n in range(clusters)
            ],
            "pipelines": pipelines,
            **(overrides or {}),
        }
        (self.folder / "worksets").mkdir(exist_ok=True)
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(settings))
        self.call("-c", SAVE, str(self.folder), self.name)

    def _step(self, step, seconds):
        return [
            "sh", "-c", STEP + DONE, "{workset_id}", "{attempt}", step,
            str(self.folder / "steps.log"), str(seconds),
        ]  # fmt: skip

    def add(self, workset_id, seconds, customer="acme", **keys):
        folder = self.folder / "worksets" / workset_id
        folder.mkdir()
        (folder / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
        work = {
            "samples": [{"sample_id": "s1", "fastq_r1": "a.fq"}],
            "reference_genome": "hg38",
            "customer_id": customer,
            "pipeline": f"sleep-{seconds}",
            **keys,
        }
        (folder / "daylily_work.yaml").write_text(yaml.safe_dump(work))

    def call(self, *args, timeout=280):
        """Run Python to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, *args], cwd=ROOT, env=self.environment, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def start(self, *args):
        """Start Python in the background; its output goes to a file of this site."""
        log = open(self.folder / f"process-{len(self.processes)}.log", "wb")  # noqa: SIM115
        with log:
            process = subprocess.Popen(
                [sys.executable, *args], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def poller(self):
        return self.start("-c", POLL, self.name)

    def finish(self, process, timeout=120):
        """Wait for a background process that should end well."""
        code = process.wait(timeout)
        log = self.folder / f"process-{self.processes.index(process)}.log"
        assert code == 0, log.read_text()[-3000:]
        return log.read_text()

    @property
    def db(self):
        return SQLiteStateDB(path=str(self.folder / "state.db"))

    def states(self):
        return Counter(record.state for record in self.db.list_worksets())

    def steps(self):
        """Every begin and end of a step, in the order in which they happened."""
        log = self.folder / "steps.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(line.split()) for line in lines]

    def until(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.states(), self.steps())
            time.sleep(0.1)

    def running_flows(self):
        """Flow runs that Prefect believes to be running."""
        return self.call("-c", RUNNING).splitlines()

    def running(self):
        """Jobs in whose run step they are now."""
        marks = [(id_, mark) for id_, _, step, mark, _ in self.steps() if step == "run"]
        return {id_ for id_, mark in marks if mark == "begin"} - {
            id_ for id_, mark in marks if mark == "end"
        }

    def assert_each_step_ran_once(self, worksets):
        begun = Counter((id_, step) for id_, _, step, mark, _ in self.steps() if mark == "begin")
        wanted = {(id_, step) for id_ in worksets for step in ("stage", "run", "export")}
        assert begun == dict.fromkeys(wanted, 1)

    def most_at_once(self, of=lambda workset_id: True):
        """Most jobs that ran at one time, by their own log."""
        running, peak = set(), 0
        for id_, _, step, mark, _ in sorted(self.steps(), key=lambda line: float(line[4])):
            if of(id_):
                if (step, mark) == ("stage", "begin"):
                    running.add(id_)
                if (step, mark) == ("export", "end"):
                    running.discard(id_)
                peak = max(peak, len(running))
        return peak


@pytest.fixture
def site(prefect_server, tmp_path, request):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= prefect_server.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"}
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:45].strip(
        "-"
    )
    here = Site(name, tmp_path, env)
    yield here
    for process in here.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
