"""The same looks as in `benchmarks.history`, on DynamoDB Local (`make real`).

``python -m benchmarks.history_dynamodb --finished 100000`` fills a table with so many finished
worksets and one with 200, and prints one JSON object: milliseconds of one look at each, in turn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.history import FEW, NOW, OPEN_WORKSETS, finished, looks_ms
from benchmarks.state_db_cost import put
from blocks.state_db import DynamoDBStateDB
from blocks.state_db.dynamodb_items import to_item
from tests.services import dynamodb_local, dynamodb_state_db
from worksets.record import WorksetRecord


def filled(url: str, count: int) -> DynamoDBStateDB:
    """A table with so many finished worksets, and a few that are ready."""
    db = dynamodb_state_db(url)
    db.installation()
    put(db, [to_item(record) for record in finished(count)])
    for n in range(OPEN_WORKSETS):
        db.register(
            WorksetRecord(
                workset_id=f"r{n:03d}", customer_id="k", location=f"file:///in/r{n:03d}",
                created_at=NOW, updated_at=NOW,
            )
        )  # fmt: skip
    return db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, dynamodb_local(Path(folder) / "log") as url:
        few_ms, many_ms = looks_ms([filled(url, FEW), filled(url, options.finished)])
    print(json.dumps({"few_ms": round(few_ms, 2), "many_ms": round(many_ms, 2)}))


if __name__ == "__main__":
    main()
