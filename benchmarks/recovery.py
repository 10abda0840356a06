"""How soon another poller has what a killed one, or a stopped one, has left running.

``python -m benchmarks.recovery --worksets 100`` starts that many long jobs on ten local clusters by
a poller in a process of its own, kills it with -9 and starts the next; when that has them all, it
is told to stop by SIGTERM, and a third goes on. Prints one JSON object, in seconds:

- `killed_s`: from the kill until all are held by the next poller
- `killed_watched_s`: from the kill until the next poller watches all their jobs
- `stopped_s`: from the first sign of life of the third poller until it holds all
- `stop_s`: from SIGTERM until the second one has ended
- `lease_s`: for how long a process is believed to live, without a word of it
- `doubles`: jobs that were begun twice, by their own files
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cpu import serving
from benchmarks.density import CLUSTERS, JOB_S, kill_jobs
from benchmarks.sites import write_site
from worksets.leases import CLOCK_SKEW_S, LEASE_S

POLL = """
import asyncio
from flows.poll_worksets import poll_worksets
asyncio.run(poll_worksets())
"""
PAGE = 200
LONGEST_S = 900.0
OFTEN_S = 0.2
STARTED = ["sh", "-c", 'echo begun >> "$0/begun" && exec sleep ' + str(JOB_S), "{work_dir}"]
"""The step that runs: each start of it leaves a line."""


def until(reached: Callable[[], bool]) -> float:
    """When it is so (Unix time).

    Raises:
        TimeoutError: it is not, after a quarter of an hour.
    """
    deadline = time.monotonic() + LONGEST_S
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{reached.__doc__ or 'it'}: not within {LONGEST_S:.0f} s")
        time.sleep(OFTEN_S)
    return time.time()


@contextmanager
def poller(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A poller in a process of its own; killed at the end, if it lives."""
    with (folder / "poller.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", POLL], env=environment, stdout=log, stderr=log,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def watched(owner: str) -> int:
    """Monitors that run in a process, as Prefect shows them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    from host import process_tag

    async def count() -> int:
        theirs = filters.FlowRunFilterTags(all_=[process_tag(owner)])
        running = filters.TaskRunFilterStateType(any_=[StateType.RUNNING])
        found, offset = 0, 0
        async with get_client() as client:
            while page := await client.read_task_runs(
                flow_run_filter=filters.FlowRunFilter(tags=theirs),
                task_run_filter=filters.TaskRunFilter(
                    state=filters.TaskRunFilterState(type=running)
                ),
                offset=offset,
                limit=PAGE,
            ):
                found += sum(run.name.startswith("monitor ") for run in page)
                offset += len(page)
        return found

    return asyncio.run(count())


def measure(folder: Path, worksets: int) -> dict[str, Any]:
    from blocks.state_db import SQLiteStateDB  # it takes Prefect's settings along

    environment, db = dict(os.environ), SQLiteStateDB(path=str(folder / "state.db"))

    def held_by_other_than(*gone: str) -> str:
        """All are held by one that is not gone: its name."""
        owners = {record.lock_owner for record in db.held()}
        return owners.pop() if len(owners) == 1 and not owners & {*gone} else ""

    def all_run() -> bool:
        """All jobs have begun."""
        return len([*folder.rglob("begun")]) >= worksets

    with poller(folder, environment) as first:
        until(all_run)
        one = held_by_other_than()
        killed = time.time()
        first.kill()
    with poller(folder, environment) as second:
        killed_s = until(lambda: bool(held_by_other_than(one))) - killed
        two = held_by_other_than(one)
        watched_s = until(lambda: watched(two) >= worksets) - killed
        told = time.time()
        second.terminate()
        second.wait()
        stop_s = time.time() - told
    with poller(folder, environment):
        alive = until(lambda: bool(db.leases().keys() - {one, two}))
        stopped_s = until(lambda: bool(held_by_other_than(one, two))) - alive
    begun = [len(file.read_text().splitlines()) for file in folder.rglob("begun")]
    db.close()
    return {
        "worksets": worksets,
        "lease_s": LEASE_S + CLOCK_SKEW_S,
        "killed_s": round(killed_s, 1),
        "killed_watched_s": round(watched_s, 1),
        "stop_s": round(stop_s, 1),
        "stopped_s": round(stopped_s, 1),
        "doubles": sum(begun) - worksets,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worksets", type=int, default=100, help="a multiple of 10")
    options = parser.parse_args()
    with serving() as running:
        folder = running.folder.parent / "site"
        pipeline = {"stage": ["true"], "run": STARTED, "export": ["true"]}
        file = write_site(
            folder, worksets=options.worksets, seconds=JOB_S, clusters=CLUSTERS,
            slots=options.worksets // CLUSTERS, pipelines={"germline": pipeline},
        )  # fmt: skip
        try:
            asyncio.run(save(file))
            print(json.dumps(measure(folder, options.worksets)))
        finally:
            kill_jobs(folder)


async def save(file: Path) -> None:
    from local import settings_file

    await settings_file.save(*settings_file.read(file, file.parent))


if __name__ == "__main__":
    main()
