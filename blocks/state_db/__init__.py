"""The state DB: its contract, and the stores that keep it (a file of SQLite, a DynamoDB table)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.doors import opened_when_asked
from blocks.state_db.contract import WorksetStateDB
from blocks.state_db.store import Known, Lease, LeaseOver, Unreadable

if TYPE_CHECKING:
    from blocks.state_db.dynamodb import DynamoDBStateDB
    from blocks.state_db.sqlite import SQLiteStateDB
else:
    __getattr__ = opened_when_asked(__name__, dynamodb="DynamoDBStateDB", sqlite="SQLiteStateDB")

__all__ = [
    "DynamoDBStateDB",
    "Known",
    "Lease",
    "LeaseOver",
    "SQLiteStateDB",
    "Unreadable",
    "WorksetStateDB",
]
