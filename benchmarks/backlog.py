"""What a workset costs that is started, beside many others that wait.

``python -m benchmarks.backlog --ready 10000`` registers that many, polls, and prints one JSON
object: CPU seconds of the polling process and of the server for each of 90 worksets, from the 60th
that is complete on, its memory in MB, and the 95th percentile of the seconds for which a slot
stands empty between two jobs. 30 slots on 10 clusters, jobs of 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cpu import of_server, serving, settled
from benchmarks.reaction import SHARE, complete, ended, refills
from benchmarks.sites import percentile, write_site
from local import server
from worksets.record import State

CLUSTERS, SLOTS = 10, 3
BEFORE, MEASURED = 60, 90
JOB_S = 5


async def measure(folder: Path, file: Path, running: server.Server) -> dict[str, Any]:
    from flows.poll_worksets import poll_worksets
    from host import open_host
    from local import settings_file
    from tasks.discover import register

    settings, db, clusters = settings_file.read(file, file.parent)
    await settings_file.save(settings, db, clusters)
    async with open_host("default") as here:
        for path in sorted((folder / "worksets").iterdir()):
            register(here, path.name, path.as_uri())
    settled(running)

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime + of_server(running)

    poll = asyncio.create_task(poll_worksets())
    await complete(db, BEFORE)
    before, there = cpu(), len(db.list_worksets([State.COMPLETE]))
    records = sorted(await complete(db, BEFORE + MEASURED), key=ended)
    used = cpu() - before
    number = len(db.list_worksets([State.COMPLETE])) - there
    memory_mb = psutil.Process().memory_info().rss / 1e6
    poll.cancel()
    await asyncio.wait([poll])
    return {
        "cpu_s_per_workset": round(used / number, 3),
        "memory_mb": round(memory_mb),
        "refill_s": round(percentile(refills(records, SLOTS), SHARE), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready", type=int, default=10_000)
    options = parser.parse_args()
    with serving() as running:
        folder = running.folder.parent
        file = write_site(
            folder, worksets=options.ready, seconds=JOB_S, clusters=CLUSTERS, slots=SLOTS
        )
        print(json.dumps(asyncio.run(measure(folder, file, running))))


if __name__ == "__main__":
    main()
