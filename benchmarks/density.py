"""What it takes to watch many jobs that run, in one process, on ten local clusters.

``python -m benchmarks.density --worksets 300`` starts that many long jobs and, once all run, prints
one JSON object: memory of the polling process in MB, its threads, and the share of one processor
that it and Prefect's server take in two and a half minutes. The jobs are killed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cpu import of_server, serving, settled
from benchmarks.sites import write_site
from local import server

CLUSTERS = 10
JOB_S = 3000
SETTLES_S = 40.0
"""Seconds for what the starts have left to do."""
WATCHED_S = 150.0
"""Seconds that are looked at; each slot that is held is renewed three times in them."""


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def kill_jobs(folder: Path) -> None:
    """Kill what works below the folder of the site, whoever its parent is by now."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder) and process.pid != psutil.Process().pid:
                process.kill()


async def measure(file: Path, worksets: int, running: server.Server) -> dict[str, Any]:
    from flows.poll_worksets import poll_worksets
    from local import settings_file

    settings, db, clusters = settings_file.read(file, file.parent)
    await settings_file.save(settings, db, clusters)
    poll = asyncio.create_task(poll_worksets())
    while len(await asyncio.to_thread(db.held)) < worksets:  # noqa: ASYNC110
        await asyncio.sleep(1)
    await asyncio.sleep(SETTLES_S)
    before = own_cpu(), of_server(running)
    await asyncio.sleep(WATCHED_S)
    own, server_s = own_cpu() - before[0], of_server(running) - before[1]
    process = psutil.Process()
    found = {
        "worksets": worksets,
        "memory_mb": round(process.memory_info().rss / 1e6),
        "threads": process.num_threads(),
        "own_share": round(own / WATCHED_S, 3),
        "server_share": round(server_s / WATCHED_S, 3),
    }
    poll.cancel()
    await asyncio.wait([poll])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worksets", type=int, default=300, help="a multiple of 10")
    options = parser.parse_args()
    with serving() as running:
        folder = running.folder.parent / "site"
        file = write_site(
            folder, worksets=options.worksets, seconds=JOB_S, clusters=CLUSTERS,
            slots=options.worksets // CLUSTERS,
        )  # fmt: skip
        settled(running)
        try:
            print(json.dumps(asyncio.run(measure(file, options.worksets, running))))
        finally:
            kill_jobs(folder)


if __name__ == "__main__":
    main()
