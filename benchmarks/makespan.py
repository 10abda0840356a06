"""How long many worksets take against the least that their jobs and slots allow.

``python -m benchmarks.makespan --worksets 200 --seconds 10 --clusters 10 --slots 3`` starts a
Prefect server on an embedded PostgreSQL, processes that many worksets of jobs that sleep, and
prints one JSON object: makespan (first registration to last end), its lower bound
ceil(worksets / slots) × seconds, their ratio, the CPU time a workset of the polling process and of
the server with its database, and how much the databases of both grow by one, in KB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
from pathlib import Path
from typing import Any

from benchmarks.cpu import of_server, serving, settled
from benchmarks.sites import sized, write_site
from local import postgres, server


def in_kb(path: Path) -> float:
    """What lies in a file, or in all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1000


async def measure(
    file: Path, options: argparse.Namespace, running: server.Server
) -> dict[str, Any]:
    from flows.poll_worksets import poll_worksets
    from local import settings_file

    settings, db, clusters = settings_file.read(file, file.parent)
    await settings_file.save(settings, db, clusters)
    settled(running)
    tables = postgres.data_of(running.folder / "postgres") / "base"
    size = in_kb(tables), in_kb(file.with_name("state.db"))
    before, began = of_server(running), resource.getrusage(resource.RUSAGE_SELF)
    await poll_worksets(until_done=True)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    settled(running)
    served = of_server(running) - before
    records = db.list_worksets()
    assert all(record.state == "complete" for record in records), "not all are complete"
    first = min(record.created_at for record in records)
    last = max(run.ended_at for record in records for run in record.step_runs)
    makespan = (last - first).total_seconds()
    bound = math.ceil(options.worksets / (options.clusters * options.slots)) * options.seconds
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return {
        "worksets": options.worksets,
        "makespan_s": round(makespan, 1),
        "bound_s": bound,
        "ratio": round(makespan / bound, 3) if bound else None,
        "client_cpu_s_per_workset": round(cpu / options.worksets, 3),
        "server_cpu_s_per_workset": round(served / options.worksets, 3),
        "server_kb_per_workset": round((in_kb(tables) - size[0]) / options.worksets, 1),
        "state_kb_per_workset": round(
            (in_kb(file.with_name("state.db")) - size[1]) / options.worksets, 1
        ),
        "cpu_s_per_workset": round((cpu + served) / options.worksets, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sized(parser)
    options = parser.parse_args()
    with serving() as running:
        file = write_site(running.folder.parent, **vars(options))
        print(json.dumps(asyncio.run(measure(file, options, running))))


if __name__ == "__main__":
    main()
