"""What is asked of the state DB again and again, beside many worksets that have finished.

``python -m benchmarks.history --finished 100000`` makes a state DB with so many finished worksets
and one with 200, and prints one JSON object: milliseconds of one look at each, in turn.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from blocks.state_db import SQLiteStateDB, WorksetStateDB
from worksets.record import OPEN, STEPS, State, StepRun, WorksetRecord

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
OPEN_WORKSETS: Final = 50
"""Ready ones beside them."""
LOOKS: Final = 50
FEW: Final = 200
"""Finished ones: those that discovery asks for."""


def finished(count: int) -> Iterator[WorksetRecord]:
    """Complete worksets with all that a record keeps of one."""
    for n in range(count):
        runs = tuple(
            StepRun(step=step, attempt=1, cluster_name="c", exit_code=0, started_at=NOW,
                    ended_at=NOW)
            for step in STEPS
        )  # fmt: skip
        yield WorksetRecord(
            workset_id=f"f{n:06d}", uid=f"bench-{n:06d}", customer_id=f"k{n % 9}", lineage=1,
            location=f"file:///in/f{n:06d}", state=State.COMPLETE, attempt=1, cluster_name="c",
            step_runs=runs, completed_steps=STEPS, created_at=NOW, updated_at=NOW,
        )  # fmt: skip


def filled(path: Path, count: int) -> SQLiteStateDB:
    """A state DB with so many finished worksets, and a few that are ready."""
    db = SQLiteStateDB(path=str(path))
    db.installation()
    with sqlite3.connect(path) as raw:  # in one transaction: the contract has one for each
        raw.executemany(
            "INSERT INTO worksets VALUES (?, ?, ?, ?, ?)",
            (
                (r.workset_id, r.version, r.state.value, r.location, r.model_dump_json())
                for r in finished(count)
            ),
        )
    raw.close()
    for n in range(OPEN_WORKSETS):
        db.register(
            WorksetRecord(
                workset_id=f"r{n:03d}", customer_id="k", location=f"file:///in/r{n:03d}",
                created_at=NOW, updated_at=NOW,
            )
        )  # fmt: skip
    return db


def look(db: WorksetStateDB) -> None:
    """What one cycle of a poll, one look of the display and `worksets queue` ask."""
    db.about_to_start()
    db.ready()
    db.held()
    db.holder_counts()
    db.next_retry()
    db.requeue_due()
    db.owed()
    db.leases()
    db.get_queue_depth()
    db.list_worksets(OPEN)
    db.known([f"f{n:06d}" for n in range(200)])


def looks_ms(dbs: Sequence[WorksetStateDB]) -> list[float]:
    """Milliseconds of one look at each, the median of fifty, in turn: the machine has its moods."""
    took: list[list[float]] = [[] for _ in dbs]
    for db in dbs:
        look(db)
    for _ in range(LOOKS):
        for db, times in zip(dbs, took, strict=True):
            began = time.perf_counter()
            look(db)
            times.append(time.perf_counter() - began)
    return [median(times) * 1000 for times in took]


def look_ms(count: int) -> float:
    """Milliseconds of one look."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(filled(Path(folder) / "state.db", count)) as db,
    ):
        return looks_ms([db])[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--finished", type=int, default=100_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(filled(Path(folder) / "few.db", FEW)) as few,
        closing(filled(Path(folder) / "many.db", options.finished)) as many,
    ):
        few_ms, many_ms = looks_ms([few, many])
    print(json.dumps({"few_ms": round(few_ms, 2), "many_ms": round(many_ms, 2)}))


if __name__ == "__main__":
    main()
