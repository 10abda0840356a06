"""How the DynamoDB table is made, and how its items and conditions look; no call is made here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from worksets.record import State, WorksetRecord

SHARDS: Final = 4
"""Partition keys of the index for each state."""
WAITING: Final = frozenset({State.READY, State.RETRYING, State.FAILED})
INDEX: Final = "waiting"
Item = dict[str, Any]


def keys(partition: str, sort: str) -> list[Item]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


DEFINITION: Final[Item] = {
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": keys("pk", "sk"),
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "queue", "due")
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": INDEX,
            "KeySchema": keys("queue", "due"),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["record"]},
        }
    ],
}


def key_of(workset_id: str) -> Item:
    return {"pk": {"S": f"w#{workset_id}"}, "sk": {"S": "record"}}


def time_text(at: datetime) -> str:
    """Of fixed width, so that it sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def to_item(record: WorksetRecord) -> Item:
    # what a default says is left out, and the rest compressed: a unit of writing is 1 KB
    text = record.model_dump_json(exclude_defaults=True).encode()
    item = {
        **key_of(record.workset_id),
        "version": {"N": str(record.version)},
        "state": {"S": record.state.value},
        "record": {"B": zlib.compress(text, 9)},
    }
    if record.state in WAITING:
        due = record.retry_after or record.created_at
        shard = zlib.crc32(record.workset_id.encode()) % SHARDS
        item |= {"queue": {"S": f"{record.state.value}#{shard}"}, "due": {"S": time_text(due)}}
    return item


def from_item(item: Item) -> WorksetRecord:
    return WorksetRecord.model_validate_json(zlib.decompress(item["record"]["B"]))


def lease_lasts(table: str, owner: str, at: datetime) -> Item:
    return {
        "TableName": table,
        "Key": {"pk": {"S": "leases"}, "sk": {"S": owner}},
        "ConditionExpression": "expires_at > :now",
        "ExpressionAttributeValues": {":now": {"S": time_text(at)}},
    }


def add_holder(table: str, scope: str, record: WorksetRecord, limit: int | None) -> Item:
    update: Item = {
        "TableName": table,
        "Key": {"pk": {"S": "holders"}, "sk": {"S": scope}},
        "UpdateExpression": "ADD ids :ids",
        "ExpressionAttributeValues": {":ids": {"SS": [record.workset_id]}},
    }
    if limit is not None:
        update["ConditionExpression"] = (
            "attribute_not_exists(ids) OR size(ids) < :limit OR contains(ids, :id)"
        )
        update["ExpressionAttributeValues"] |= {
            ":limit": {"N": str(limit)},
            ":id": {"S": record.workset_id},
        }
    return update


def remove_holder(table: str, scope: str, record: WorksetRecord) -> Item:
    return {
        "TableName": table,
        "Key": {"pk": {"S": "holders"}, "sk": {"S": scope}},
        "UpdateExpression": "DELETE ids :ids",
        "ExpressionAttributeValues": {":ids": {"SS": [record.workset_id]}},
    }


def put_action(table: str, before: WorksetRecord, after: WorksetRecord) -> Item:
    """Put `after` if the stored version is still `before`'s."""
    return {
        "TableName": table,
        "Item": to_item(after),
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": {":version": {"N": str(before.version)}},
    }


def transaction(
    table: str,
    before: WorksetRecord,
    after: WorksetRecord,
    limits: Mapping[str, int],
    alive_at: datetime | None,
) -> list[tuple[str, Item]]:
    """The actions of one transaction, each with what it is about: `record`, `lease` or a scope."""
    actions = [("record", {"Put": put_action(table, before, after)})]
    if alive_at is not None:
        check = lease_lasts(table, after.lock_owner, alive_at)
        actions.append(("lease", {"ConditionCheck": check}))
    for scope in sorted(after.scopes - before.scopes):
        actions.append((scope, {"Update": add_holder(table, scope, after, limits.get(scope))}))
    for scope in sorted(before.scopes - after.scopes):
        actions.append((scope, {"Update": remove_holder(table, scope, after)}))
    return actions
