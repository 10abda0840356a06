"""Request units that DynamoDB counts for a workset's life, and for a poll beside finished ones.

``python -m benchmarks.state_db_cost --finished 100000`` on DynamoDB Local (`make real`), by
`ReturnConsumedCapacity`. Prints one JSON object. A write unit is 1 KB written (two in a
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

from blocks.dynamodb_items import to_item
from blocks.dynamodb_state_db import DynamoDBStateDB
from tests.services import dynamodb_local, dynamodb_state_db
from worksets.record import Estimates, Priority, State, StepRun, WorksetRecord
from worksets.registration import Description

WRITES = ("put_item", "transact_write_items", "delete_item", "update_item")


class Meter:
    """Counts request units while it is open, by kind."""

    def __init__(self, db: DynamoDBStateDB) -> None:
        self.units: Counter[str] = Counter()
        db._meter = self.count

    def count(self, operation: str, units: float, _writes: float) -> None:
        self.units["write" if operation in WRITES else "read"] += units

    def taken(self) -> dict[str, float]:
        """The units since the last call."""
        units = {"read": self.units["read"], "write": self.units["write"]}
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


def one_life(db: DynamoDBStateDB, workset_id: str) -> None:
    """What the flow asks of the state DB for a workset that ends well at its first attempt."""
    limits = {"global": 10, "cluster:alpha": 4, "customer:acme-genomics": 4}
    db.known([workset_id])
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
    db.get(workset_id)  # validate
    db.estimate_ratios("germline")
    db.describe(workset_id, description)  # the estimates have learnt since it was registered
    db.holders()  # schedule
    db.get(workset_id)  # lock
    reason = "alpha: $41.20 run + $0 transfer; beta would cost $58.10"
    held = db.lock(workset_id, "node17:4711:0a1b2c3d", "alpha", reason, limits)
    db.get(workset_id)  # dispatch
    begun = db.begin(workset_id, held.fence)
    now = datetime.now(UTC)
    runs = tuple(
        StepRun(
            step=step, attempt=1, cluster_name="alpha", exit_code=0, started_at=now, ended_at=now
        )
        for step in ("stage", "run", "export")
    )
    db.complete(workset_id, begun.fence, runs)
    db.add_estimate_ratio("germline", 1.07)


def one_poll(db: DynamoDBStateDB) -> None:
    """What a full cycle asks of the state DB when nothing is new."""
    db.requeue_due()
    db.release_stale()
    db.leases()
    db.held()
    db.ready()
    db.holders()
    db.next_retry()


def fill(db: DynamoDBStateDB, count: int) -> None:
    """Put `count` finished worksets into the table."""
    client = db._dynamodb()
    for start in range(0, count, 25):
        batch = [
            {"PutRequest": {"Item": to_item(record(f"done{n:07d}", state=State.COMPLETE))}}
            for n in range(start, min(start + 25, count))
        ]
        client.batch_write_item(RequestItems={db.table_name: batch})


def measure(db: DynamoDBStateDB, finished: int) -> dict[str, Any]:
    fill(db, finished)
    db.renew_lease("node17:4711:0a1b2c3d", 3600)
    for n in range(20):
        db.register(record(f"waits{n}"))
    meter = Meter(db)
    one_poll(db)
    poll = meter.taken()
    db.get_queue_depth()
    depth = meter.taken()
    one_life(db, f"2026-11-24-run-{finished}")
    life = meter.taken()
    db.renew_lease("node17:4711:0a1b2c3d", 3600)
    return {"poll": poll, "queue_depth": depth, "life": life, "heartbeat": meter.taken()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, dynamodb_local(Path(folder) / "log") as url:
        few = measure(dynamodb_state_db(url), 100)
        many = measure(dynamodb_state_db(url), options.finished)
    ratio = {key: many[key]["read"] / few[key]["read"] for key in ("poll", "queue_depth")}
    print(json.dumps({"100": few, str(options.finished): many, "ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
