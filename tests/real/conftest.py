"""One real Prefect server on PostgreSQL for all the tests here, and small sites that use it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
import yaml
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    temporary_settings,
)

from blocks.state_db import SQLiteStateDB
from local import server, settings_file
from tests.real.prefect_api import PrefectAPI

ROOT = Path(__file__).parents[2]
LEASE_S = 3.0

# every step of every job says when it began and ended, in one file that is only appended to
STEP = 'echo "$0 $1 $2 begin $(date +%s.%N)" >> "$3"; sleep "$4"; '
DONE = 'echo "$0 $1 $2 end $(date +%s.%N)" >> "$3"'
POLL = """
import asyncio, signal, sys
# whoever runs the tests in the background has them ignore Ctrl-C; a poller must not
signal.signal(signal.SIGINT, signal.default_int_handler)
from flows.poll_worksets import poll_worksets
print(asyncio.run(poll_worksets(settings=sys.argv[1], until_done=True)))
"""


ONE_CYCLE = """
import asyncio, sys
from flows.poll_worksets import poll_worksets
print(asyncio.run(poll_worksets(settings=sys.argv[1], cycles=1)))
"""


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    # the trials of many mutants share one
    if shared := os.environ.get("WORKSETS_TEST_SERVER"):
        yield server.running(Path(shared))
        return
    folder = tmp_path_factory.mktemp("prefect")
    running = server.start(folder)
    try:
        running.wait()
        yield running
    finally:
        server.stop(folder)


RECORD = re.compile(r"^(?:\d\d:\d\d:\d\d\.\d+ \| )?(DEBUG|INFO|WARNING|ERROR|CRITICAL)(?: +\||:  )")
TRACEBACK = "Traceback (most recent call last)"
LIMIT_MADE_TWICE = re.compile(r"\(name\)=\(tag:[^)]*\) already exists")
"""Two pollers that begin at once: Prefect answers 409 to one of them, and logs that as an error."""

DEADLOCK = re.compile(r"deadlock detected.*UPDATE concurrency_limit_v2", re.DOTALL)
"""Two tasks that take or give back slots of the same limits at once: Prefect's update locks them in
no order. PostgreSQL ends one of the two; its task is tried again, or its lease runs out."""


def records(log, since=0):
    """Level and text of each record of a log; what no record leads in has the level ""."""
    found = [["", []]]
    for line in log.read_bytes()[since:].decode("utf-8", "replace").splitlines():
        if begins := RECORD.match(line):
            found.append([begins[1], []])
        found[-1][1].append(line)
    return [(level, "\n".join(lines)) for level, lines in found]


def errors(log, since=0):
    """What a server logged as an error, and its tracebacks."""
    return [
        text
        for level, text in records(log, since)
        if (level in ("ERROR", "CRITICAL") or TRACEBACK in text)
        and not LIMIT_MADE_TWICE.search(text)
        and not DEADLOCK.search(text)
    ]


def unhandled(log):
    """Tracebacks in a process's log that no record of an error leads in: nobody handled those."""
    return [
        text
        for level, text in records(log)
        if (TRACEBACK in text and level not in ("ERROR", "CRITICAL"))
        or "never retrieved" in text
        or "Exception ignored" in text
    ]


@pytest.fixture
def server_log(prefect_server):
    """A test fails for every line of level ERROR that its server wrote meanwhile."""
    log = prefect_server.folder / "server.log"
    began, foreseen = log.stat().st_size, []
    # a test that is about the server's trouble adds patterns of what it says then
    yield foreseen
    found = [text for text in errors(log, began) if not any(re.search(p, text) for p in foreseen)]
    assert found == [], "Prefect's server logged errors"


@dataclass
class Site:
    """One installation: its settings block, folders and state DB, and processes that poll."""

    name: str
    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen] = field(default_factory=list)
    foreseen: str = "nothing is foreseen"
    """Pattern of the tracebacks that its processes may log: those that the test is about."""

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
            "processor": {"poll_interval_seconds": 2, "delivery_quiet_seconds": 1, **processor},
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
        aws = {key: value for key, value in self.environment.items() if key.startswith("AWS_")}
        with temporary_settings(updates=self.client_settings()), patch.dict(os.environ, aws):
            read = settings_file.read(self.folder / "settings.yaml", self.folder)
            saved = asyncio.run(settings_file.save(*read, self.name))
        assert saved._block_document_name == self.name, "another installation's settings"

    def client_settings(self):
        """For `temporary_settings`: this process as a client of the site's server."""
        return {
            PREFECT_API_URL: self.environment["PREFECT_API_URL"],
            PREFECT_API_AUTH_STRING: self.environment["PREFECT_API_AUTH_STRING"],
        }

    def _step(self, step, seconds):
        return [
            "sh", "-c", STEP + DONE, "{workset_id}", "{attempt}", step,
            str(self.folder / "steps.log"), str(seconds),
        ]  # fmt: skip

    def add(self, workset_id, seconds, customer="acme", reads=True, place="worksets", **keys):
        folder = self.folder / place / workset_id
        folder.mkdir()
        if reads:
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
    def prefect(self):
        return PrefectAPI(self.environment)

    def runs(self, workset_id=None):
        """Runs of this site's worksets, or of one: a server has those of other sites too."""
        tagged = {"tags": {"all_": [f"workset:{workset_id}"]}} if workset_id else {}
        found = self.prefect.runs("process_workset", **tagged)
        return self._ours(found)

    def _ours(self, runs):
        return [run for run in runs if run["parameters"].get("settings") == self.name]

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
        found = self.prefect.runs(state={"type": {"any_": ["RUNNING", "PENDING"]}})
        return [(run["name"], run["tags"]) for run in self._ours(found)]

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


def kill_all(process):
    """Kill a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()


@pytest.fixture
def site(prefect_server, server_log, tmp_path, request):
    with made_site(prefect_server, tmp_path, request.node.name) as here:
        yield here


@contextmanager
def made_site(prefect_server, folder, test, name=""):
    """A site on the server; two of one test have names of their own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= prefect_server.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"}
    words = re.sub("[^a-z0-9]+", "-", test.removeprefix("test_").lower())
    # two tests of one beginning are two installations: neither may have the other's settings
    name = name or f"{words[:36].strip('-')}-{zlib.crc32(test.encode()):08x}"
    here = Site(name, folder, env)
    yield here
    for process in here.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    for log in folder.glob("process-*.log"):
        unforeseen = [found for found in unhandled(log) if not re.search(here.foreseen, found)]
        assert unforeseen == [], f"{log.name}: a traceback that nobody handled"
