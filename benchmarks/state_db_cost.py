"""Request units that DynamoDB counts for a workset's life and for a poll, beside many others.

``python -m benchmarks.state_db_cost --finished 20000 --held 0 10 1000`` on DynamoDB Local (`make
real`), by `ReturnConsumedCapacity`. Prints one JSON object for each number of held ones; the first
poll is one that finds nothing noted of its place. A write unit is 1 KB written (two in a
transaction, and one more where the index changes), a read unit 4 KB read consistently.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.folders.s3 import PAGE
from blocks.state_db import DynamoDBStateDB
from blocks.state_db.dynamodb_items import Item, count_key, counted_in, held_item, to_item
from tasks.discover import SAMPLE
from tests.services import dynamodb_local, dynamodb_state_db
from worksets.listing import Chunk, chunks, whole_chunks
from worksets.record import Estimates, Priority, State, StepRun, WorksetRecord
from worksets.registration import Description

OWNER = "node17:4711:0a1b2c3d"
PLACE = "s3://our-data/incoming"
WRITES = ("put_item", "transact_write_items", "delete_item", "update_item")


class Meter:
    """Counts request units, by kind, and reads for which DynamoDB Local counts nothing.

    It counts nothing for an empty answer; AWS documents half a unit, or one if it is consistent.
    """

    def __init__(self, db: DynamoDBStateDB) -> None:
        self.units: Counter[str] = Counter()
        db._meter = self.count

    def count(self, operation: str, units: float, _writes: float) -> None:
        self.units["write" if operation in WRITES else "read"] += units
        self.units["empty_reads"] += operation not in WRITES and not units

    def taken(self) -> dict[str, float]:
        """The units since the last call."""
        units = {kind: self.units[kind] for kind in ("read", "write", "empty_reads")}
        self.units.clear()
        return units


def record(workset_id: str, **fields: Any) -> WorksetRecord:
    now = datetime.now(UTC)
    return WorksetRecord(
        workset_id=workset_id,
        customer_id="acme-genomics",
        pipeline="germline",
        reference_genome="hg38",
        location=f"s3://acme-genomics-worksets/incoming/2026/11/{workset_id}",
        estimates=Estimates(
            vcpus=16, memory_gb=64, vcpu_hours=310.4, storage_gb=549, correction=1.07
        ),
        created_at=now,
        updated_at=now,
        **fields,
    )


def one_life(db: DynamoDBStateDB, workset_id: str, limit: int = 10) -> None:
    """What the flow asks of the state DB for a workset that ends well at its first attempt."""
    limits = dict.fromkeys(("global", "cluster:alpha", "customer:acme-genomics"), limit)
    db.known([workset_id])
    db.save_settled(PLACE, "", "0123456789abcdef0123456789abcdef")  # its chunk of the listing
    db.register(record(workset_id))
    description = Description(
        customer_id="acme-genomics",
        priority=Priority.NORMAL,
        pipeline="germline",
        reference_genome="hg38",
        max_retries=3,
        preferred_cluster="",
        cluster_required=False,
        input_bytes=183_000_000_000,
    )
    db.estimate_ratios("germline")  # discover
    db.grown("germline")
    db.get(workset_id)  # validate
    db.estimate_ratios("germline")
    db.grown("germline")
    db.describe(workset_id, description)  # the estimates have learnt since it was registered
    db.holder_counts()  # schedule
    db.get(workset_id)  # lock
    reason = "alpha: $41.20 run + $0 transfer; beta would cost $58.10"
    held = db.lock(workset_id, OWNER, "alpha", reason, limits)
    db.get(workset_id)  # dispatch
    begun = db.begin(workset_id, held.fence)
    now = datetime.now(UTC)
    runs = tuple(
        StepRun(
            step=step, attempt=1, cluster_name="alpha", exit_code=0, started_at=now, ended_at=now
        )
        for step in ("stage", "run", "export")
    )
    db.add_spent("2026-11", "acme-genomics", f"{workset_id}.a1", 41.2)  # clusters have prices
    db.complete(workset_id, begun.fence, runs)
    db.add_estimate_ratio("germline", 1.07, "alpha")
    db.save_grown("germline", f"{db.grown('germline')} 0@aaaa/0@bbbb"[-280:])


def one_poll(db: DynamoDBStateDB, names: list[str]) -> None:
    """All that a poll of one cycle, in a new process, asks of the state DB, with one watched place.

    Nothing is new there, and `names` is the page of its listing whose turn it is.
    """
    db.installation()
    db.clusters_health()
    db.paces(["germline"], ["alpha", "beta"])
    db.renew_lease(OWNER, 3600)
    db.owed()
    db.requeue_due()  # recover
    db.release_stale(db.stale(db.held()))
    db.leases()
    db.holder_counts()  # sync_limits
    for look in (False, True):  # cycle, and again when the look at the place is over
        db.about_to_start()
        db.ready()
        db.holder_counts()
        if not look:
            discovery(db, names)
            db.next_retry()
            db.requeue_due()
    db.drop_lease(OWNER)


def discovery(db: DynamoDBStateDB, names: list[str]) -> None:
    db.cursor(PLACE)
    db.pending(PLACE)
    listed: list[Chunk] = chunks((name, "") for name in names)
    notes = db.settled(PLACE, [chunk.key for chunk in listed])
    asked = set(names)
    for chunk in listed:
        if notes.get(chunk.key) == chunk.digest:
            asked -= {name for name, _ in chunk.marks}
    if asked:
        db.known(asked)
    for chunk in listed:
        if notes.get(chunk.key) != chunk.digest:
            db.save_settled(PLACE, chunk.key, chunk.digest)
    for name in names[:SAMPLE]:
        db.get(name)
    db.save_cursor(PLACE, names[-1])


def a_page(finished: int) -> list[str]:
    """What a listing shows in one turn, from where a chunk has ended."""
    names = [f"done{n:07d}" for n in range(finished)]
    first = whole_chunks(names[: finished // 2])
    return [*whole_chunks(names[len(first) : len(first) + PAGE])]


def fill(db: DynamoDBStateDB, count: int) -> None:
    """Put `count` finished worksets into the table."""
    put(db, [to_item(record(f"done{n:07d}", state=State.COMPLETE)) for n in range(count)])


def hold(db: DynamoDBStateDB, count: int) -> None:
    """Have `count` worksets held by a process that lives."""
    scopes = {"global", "cluster:alpha", "customer:acme-genomics"}
    items = []
    for n in range(count):
        held = record(
            f"held{n:07d}", state=State.LOCKED, cluster_name="alpha", lock_owner=OWNER, fence=1
        )
        items += [to_item(held), held_item(held.workset_id, scopes)]
    counts: dict[str, dict[str, Any]] = {}
    for scope in scopes if count else ():
        counts.setdefault(counted_in(scope), count_key(scope))[scope] = {"N": str(count)}
    put(db, [*items, *counts.values()])


def put(db: DynamoDBStateDB, items: list[Item]) -> None:
    for start in range(0, len(items), 25):
        batch = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        db._dynamodb().batch_write_item(RequestItems={db.table_name: batch})


def measure_held(url: str, finished: int, held: int) -> dict[str, Any]:
    """A poll, and a life, beside so many finished and held worksets; nothing waits."""
    db = dynamodb_state_db(url)
    db.installation()
    fill(db, finished)
    hold(db, held)
    names, answers = a_page(finished), {}
    for what in ("first_poll", "poll"):
        new = dynamodb_state_db(url, db.table_name)
        meter = Meter(new)
        one_poll(new, names)
        answers[what] = meter.taken()
    db.renew_lease(OWNER, 3600)
    meter = Meter(db)
    one_life(db, "2026-11-24-run-1", held + 10)
    return {**answers, "life": meter.taken()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=20_000, help="at least 2,000")
    parser.add_argument("--held", type=int, nargs="+", default=[0, 10, 1000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, dynamodb_local(Path(folder) / "log") as url:
        for held in options.held:
            found = measure_held(url, options.finished, held)
            print(json.dumps({"finished": options.finished, "held": held, **found}), flush=True)


if __name__ == "__main__":
    main()
