"""How the DynamoDB table is made, and how its items and conditions look; no call is made here."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from worksets.record import FINAL, State, WorksetRecord

SHARDS: Final = 4
"""Partition keys of the index for each state."""
WAITING: Final = frozenset({State.READY, State.RETRYING, State.FAILED})
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No release has worked with a table before."""
ENDED: Final = FINAL - WAITING
"""States of what no index lists."""
INDEX: Final = "waiting"
HELD: Final = "held"
"""Partition of the worksets that are held, one item each."""
COUNTS: Final = "counts"
"""Partition of the numbers of holders."""
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


def ended_in(month: datetime) -> str:
    """The partition with the ids of what has ended in a month (UTC): reports ask for it."""
    return f"ended#{month:%Y-%m}"


def ended_item(record: WorksetRecord) -> Item:
    at = record.updated_at.astimezone(UTC)
    return {
        "pk": {"S": ended_in(at)},
        "sk": {"S": record.workset_id},
        "at": {"S": at.isoformat(timespec="seconds")},
    }


def ended_before(item: Item, since: datetime) -> bool:
    """Whether it says that its workset has ended before that; one of release 0.2 says nothing."""
    at = item.get("at")
    return at is not None and at["S"] < since.astimezone(UTC).isoformat(timespec="seconds")


def months(since: datetime, until: datetime) -> Iterator[datetime]:
    """A time in each month (UTC) from that of the one to that of the other."""
    at, end = since.astimezone(UTC).replace(day=1), until.astimezone(UTC)
    while (at.year, at.month) <= (end.year, end.month):
        yield at
        at = (at + timedelta(days=32)).replace(day=1)


def text_of(item: Item) -> tuple[str, bytes]:
    """A workset's id and the JSON of its record; what is no record at all is no JSON either."""
    workset_id = item["pk"]["S"].partition("#")[2]
    try:
        return workset_id, zlib.decompress(item["record"]["B"])
    except (KeyError, TypeError, zlib.error):
        return workset_id, b""


def lease_lasts(table: str, owner: str, at: datetime) -> Item:
    return {
        "TableName": table,
        "Key": {"pk": {"S": "leases"}, "sk": {"S": owner}},
        "ConditionExpression": "expires_at > :now",
        "ExpressionAttributeValues": {":now": {"S": time_text(at)}},
    }


def held_key(workset_id: str) -> Item:
    return {"pk": {"S": HELD}, "sk": {"S": workset_id}}


def held_item(workset_id: str, scopes: Iterable[str]) -> Item:
    return {**held_key(workset_id), "scopes": {"SS": sorted(scopes)}}


def counted_in(scope: str) -> str:
    """Which item counts a scope: `clusters` that of all clusters together, or a customer's own.

    One write for two scopes: each lock takes a cluster, and counts against `global` as well.
    """
    return scope if scope.startswith("customer:") else "clusters"


def count_key(scope: str) -> Item:
    return {"pk": {"S": COUNTS}, "sk": {"S": counted_in(scope)}}


def counts_of(item: Item) -> dict[str, int]:
    """Holders of each scope that an item counts."""
    return {scope: int(value["N"]) for scope, value in item.items() if scope not in ("pk", "sk")}


def count_actions(
    table: str, before: frozenset[str], after: frozenset[str], limits: Mapping[str, int]
) -> list[tuple[str, Item]]:
    """One update for each item that counts a scope which is new, or left; labelled by its key."""
    steps = dict.fromkeys(after - before, 1) | dict.fromkeys(before - after, -1)
    items: dict[str, dict[str, int]] = {}
    for scope in sorted(steps):
        items.setdefault(counted_in(scope), {})[scope] = steps[scope]
    return [(sk, _count(table, scopes, limits)) for sk, scopes in items.items()]


def _count(table: str, steps: Mapping[str, int], limits: Mapping[str, int]) -> Item:
    names, values, adds, conditions = {}, {}, [], []
    for n, (scope, step) in enumerate(steps.items()):
        names[f"#s{n}"], values[f":n{n}"] = scope, {"N": str(step)}
        adds.append(f"#s{n} :n{n}")
        if step > 0 and scope in limits:
            values[f":most{n}"] = {"N": str(limits[scope])}
            none_yet = f"attribute_not_exists(#s{n}) OR " if limits[scope] > 0 else ""
            conditions.append(f"({none_yet}#s{n} < :most{n})")
    update: Item = {
        "TableName": table,
        "Key": count_key(next(iter(steps))),
        "UpdateExpression": f"ADD {', '.join(adds)}",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    if conditions:
        update |= {
            "ConditionExpression": " AND ".join(conditions),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    return {"Update": update}


def owed_key(workset_id: str) -> Item:
    return {"pk": {"S": "owed"}, "sk": {"S": workset_id}}


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
    """The actions of one transaction, each with what it is about: `record`, `lease`, `held`,
    `ended`, `owed` or the key of an item that counts."""
    actions = [("record", {"Put": put_action(table, before, after)})]
    if alive_at is not None:
        check = lease_lasts(table, after.lock_owner, alive_at)
        actions.append(("lease", {"ConditionCheck": check}))
    if after.scopes != before.scopes:
        change: Item = {"Delete": {"TableName": table, "Key": held_key(after.workset_id)}}
        if after.scopes:
            item = held_item(after.workset_id, after.scopes)
            change = {"Put": {"TableName": table, "Item": item}}
        actions.append(("held", change))
        actions += count_actions(table, before.scopes, after.scopes, limits)
    if after.owed is not None and before.owed is None:
        put = {"TableName": table, "Item": owed_key(after.workset_id)}
        actions.append(("owed", {"Put": put}))
    if after.state in ENDED and before.state not in ENDED:
        actions.append(("ended", {"Put": {"TableName": table, "Item": ended_item(after)}}))
    if before.owed is not None and after.owed is None:
        delete = {"TableName": table, "Key": owed_key(after.workset_id)}
        actions.append(("owed", {"Delete": delete}))
    return actions
