"""The same worksets by Prefect alone, as somebody would write it in an afternoon.

``python -m benchmarks.plain_prefect --worksets 200 --seconds 10 --clusters 10 --slots 3`` starts
the server that `make run` starts and prints one JSON object with the makespan of a flow that
submits a task for each folder, spread over the clusters in turn, each with the tag of its cluster
(limit: its slots); the task runs the steps and waits. There is no state DB, no recovery, no order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from pathlib import Path

from benchmarks.cpu import serving
from benchmarks.sites import sized, write_site


async def limit(clusters: int, slots: int) -> None:
    from prefect import get_client

    async with get_client() as client:
        for number in range(clusters):
            await client.create_concurrency_limit(f"cluster:c{number}", slots)


def measure(folder: Path, options: argparse.Namespace) -> float:
    """Seconds that the flow takes."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    @task
    def process(workset: str) -> str:
        for command in (["true"], ["sleep", str(options.seconds)], ["true"]):
            subprocess.run(command, cwd=folder / "worksets" / workset, check=True)
        return workset

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=options.worksets))  # type: ignore[arg-type]
    def all_of_them() -> int:
        runs = []
        for n, workset in enumerate(sorted(f.name for f in (folder / "worksets").iterdir())):
            tagged = process.with_options(tags={f"cluster:c{n % options.clusters}"})
            runs.append(tagged.submit(workset))
        return len([run.result() for run in runs])

    began = time.monotonic()
    assert all_of_them() == options.worksets
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sized(parser)
    options = parser.parse_args()
    with serving() as running:
        folder = running.folder.parent
        write_site(folder, **vars(options))
        asyncio.run(limit(options.clusters, options.slots))
        print(json.dumps({"makespan_s": round(measure(folder, options), 1)}))


if __name__ == "__main__":
    main()
