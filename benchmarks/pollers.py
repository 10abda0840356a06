"""What more pollers bring on one queue, and how often they are in each other's way.

``python -m benchmarks.pollers --worksets 500 --pollers 1 2 4`` processes that many worksets of jobs
that do nothing by so many pollers at once, each a process, on DynamoDB Local (`make real`), one
Prefect server for all. Prints one JSON object: for each number of pollers the worksets a minute
(`per_minute_2`), and the flow runs that found their workset taken, as a share (`conflicts_2`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.cpu import serving
from benchmarks.sites import write_site
from local import server
from tests.services import dynamodb_local, dynamodb_state_db
from worksets.record import State

CLUSTERS, SLOTS = 10, 3
POLL = """
import asyncio, sys
from flows.poll_worksets import poll_worksets
asyncio.run(poll_worksets(settings=sys.argv[1], until_done=True))
"""


def runs_of(settings: str) -> int:
    """Flow runs of worksets that were started by these settings."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    named = FlowFilter(name=FlowFilterName(any_=["process_workset"]))

    async def count() -> int:
        found, offset = 0, 0
        async with get_client() as client:
            while page := await client.read_flow_runs(flow_filter=named, offset=offset, limit=200):
                found += sum(run.parameters.get("settings") == settings for run in page)
                offset += len(page)
        return found

    return asyncio.run(count())


def processed(running: server.Server, url: str, worksets: int, pollers: int) -> dict[str, Any]:
    """Process them all by so many pollers."""
    from local import settings_file

    db, name = dynamodb_state_db(url), f"by-{pollers}"
    folder = running.folder.parent / name
    state_db = {
        "type": "dynamodb",
        "table_name": db.table_name,
        "region_name": "us-west-2",
        "endpoint_url": url,
        "point_in_time_recovery": False,
    }
    file = write_site(
        folder, worksets=worksets, seconds=0, clusters=CLUSTERS, slots=SLOTS,
        state_db=state_db,
    )  # fmt: skip
    asyncio.run(settings_file.save(*settings_file.read(file, file.parent), name=name))
    began = time.monotonic()
    with ExitStack() as stack:
        log = stack.enter_context((folder / "pollers.log").open("wb"))
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", POLL, name], stdout=log, stderr=log,
                cwd=Path(__file__).parents[1],
            )
            for _ in range(pollers)
        ]  # fmt: skip
        for process in processes:
            stack.callback(process.kill)
        if any(process.wait() for process in processes):
            raise RuntimeError((folder / "pollers.log").read_text()[-800:])
    # by their ids: a table has no index of what is complete
    records = list(db.find(path.name for path in (folder / "worksets").iterdir()).values())
    assert len(records) == worksets and all(r.state is State.COMPLETE for r in records)
    first = min(record.created_at for record in records)
    last = max(record.updated_at for record in records)
    return {
        f"per_minute_{pollers}": round(worksets / (last - first).total_seconds() * 60, 1),
        f"conflicts_{pollers}": round(runs_of(name) / worksets - 1, 4),
        f"took_s_{pollers}": round(time.monotonic() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worksets", type=int, default=500)
    parser.add_argument("--pollers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    os.environ.update(keys)
    found: dict[str, Any] = {}
    with serving() as running, dynamodb_local(running.folder.parent / "dynamodb.log") as url:
        for pollers in options.pollers:
            found |= processed(running, url, options.worksets, pollers)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
