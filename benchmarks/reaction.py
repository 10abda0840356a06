"""How soon a workset runs that is dropped, and how soon its end is seen and its slot taken again.

``python -m benchmarks.reaction --worksets 60`` starts a Prefect server and a poller, and moves a
folder a second into its watched folder while slots are free; then as many at once, twice as many as
there are slots. Prints one JSON object with the 95th percentiles, in seconds:

- `drop_s`: from the move to the begin of its job's first step
- `ready_s`: from its registration to that
- `completion_s`: from the end of its job's last step to `complete` in the state DB
- `refill_s`: from the end of a job's last step to the begin of the next job on its slot
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cpu import serving
from benchmarks.sites import deliver, percentile, write_site
from worksets.record import State, WorksetRecord

if TYPE_CHECKING:  # a block takes Prefect's settings along, and the server is not there yet
    from blocks.state_db import WorksetStateDB

CLUSTERS = 5
SHARE = 0.95
BEGINS_S = 8.0
"""Seconds in which the poller makes its first cycles before anything is measured."""


def began(record: WorksetRecord) -> datetime:
    return min(run.started_at for run in record.step_runs)


def ended(record: WorksetRecord) -> datetime:
    return max(run.ended_at for run in record.step_runs)


def completed(record: WorksetRecord) -> datetime:
    """When the state DB was told that it is complete."""
    return record.history[-1].at


def refills(records: Iterable[WorksetRecord], slots: int) -> list[float]:
    """Seconds for which a slot stood empty between two jobs while the second was ready."""
    found = []
    by_cluster: dict[str, list[WorksetRecord]] = {}
    for record in records:
        by_cluster.setdefault(record.cluster_name, []).append(record)
    for there in by_cluster.values():
        starts, ends = sorted(there, key=began), sorted(map(ended, there))
        # the n-th end frees the slot that the n-th start after the first `slots` takes
        found += [
            (began(record) - max(end, record.created_at)).total_seconds()
            for record, end in zip(starts[slots:], ends, strict=False)
        ]
    return found


async def complete(db: WorksetStateDB, count: int) -> list[WorksetRecord]:
    """The records, once so many are complete."""
    while True:
        found = db.list_worksets([State.COMPLETE])
        if len(found) >= count:
            return found
        await asyncio.sleep(0.5)


async def measure(folder: Path, file: Path, options: argparse.Namespace) -> dict[str, float]:
    from flows.poll_worksets import poll_worksets
    from local import settings_file

    settings, db, clusters = settings_file.read(file, file.parent)
    await settings_file.save(settings, db, clusters)
    poll = asyncio.create_task(poll_worksets())
    await asyncio.sleep(BEGINS_S)
    moved: dict[str, float] = {}
    for number in range(options.worksets):
        next_at = time.monotonic() + 1.0
        await asyncio.to_thread(deliver, folder, number)
        moved[f"w{number:05d}"] = time.time()
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))
    first = await complete(db, options.worksets)
    for number in range(options.worksets, 2 * options.worksets):
        await asyncio.to_thread(deliver, folder, number)
    both = await complete(db, 2 * options.worksets)
    poll.cancel()
    await asyncio.wait([poll])
    second = [record for record in both if record.workset_id not in moved]
    seconds = {
        "drop_s": [began(r).timestamp() - moved[r.workset_id] for r in first],
        "ready_s": [(began(r) - r.created_at).total_seconds() for r in first],
        "completion_s": [(completed(r) - ended(r)).total_seconds() for r in both],
        "refill_s": refills(second, options.slots),
    }
    return {name: round(percentile(values, SHARE), 2) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worksets", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--slots", type=int, default=5, help="of each of 5 clusters")
    options = parser.parse_args()
    with serving() as running:
        folder = running.folder.parent
        file = write_site(
            folder, worksets=0, seconds=options.seconds, clusters=CLUSTERS, slots=options.slots
        )
        print(json.dumps(asyncio.run(measure(folder, file, options))))


if __name__ == "__main__":
    main()
