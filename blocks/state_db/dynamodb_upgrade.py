"""From schema 2 to 3: one item for each held workset and counts, for a set of ids for each scope.

    pk             sk         held, up to schema 2
    holders        SCOPE      string set `ids` of the worksets that count against the scope

First `ids` of `global` becomes the number 0, and what it was is kept in `was`. Every lock and every
release of an older release changes that set: from then on DynamoDB refuses all of them, so the sets
stand still. Whatever is written from them is written on condition that `was` is still there, and
the first process that has written all of it takes `was` away: another one, however late, changes
nothing any more. One that dies on the way leaves `was` for the next.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from blocks.aws import code_of, explained
from blocks.state_db.dynamodb_items import Item, count_key, held_item
from blocks.state_db.dynamodb_refusals import CONDITION, PASSING
from worksets.errors import TransientError, WorksetError

if TYPE_CHECKING:
    from blocks.state_db.dynamodb import DynamoDBStateDB

OLD: Final = "holders"
GATE: Final[Item] = {"pk": {"S": OLD}, "sk": {"S": "global"}}
AT_ONCE: Final = 99
"""Items in one transaction, beside the condition."""
TRIES: Final = 20


class Collision(TransientError):
    """Another process changes the same items just now."""


def upgrade(db: DynamoDBStateDB) -> None:
    """Do what is left to do of it; see above.

    Raises:
        TransientError: other processes are at it all the time, or the table does not answer.
    """
    for left in reversed(range(TRIES)):
        try:
            _upgrade(db)
            return
        except Collision:
            if not left:
                raise
            time.sleep(random.uniform(0.1, 1))


def _upgrade(db: DynamoDBStateDB) -> None:
    _freeze(db)
    old = {item["sk"]["S"]: item for item in db._collection(OLD)}
    if "was" in old.get("global", {}):
        sets = {
            scope: set(item["ids"]["SS"])
            for scope, item in old.items()
            if "SS" in item.get("ids", {})
        }
        _write(db, written(sets | {"global": set(old["global"]["was"]["SS"])}))
    for scope in old.keys() - {"global"}:
        db._read_call("delete_item", Key={"pk": {"S": OLD}, "sk": {"S": scope}})


def written(sets: dict[str, set[str]]) -> list[Item]:
    """The items that say the same as these sets of ids."""
    scopes_of: dict[str, list[str]] = {}
    counts: dict[str, Item] = {}
    for scope, ids in sets.items():
        key = count_key(scope)
        counts.setdefault(key["sk"]["S"], key)[scope] = {"N": str(len(ids))}
        for id_ in ids:
            scopes_of.setdefault(id_, []).append(scope)
    return [*counts.values(), *(held_item(id_, scopes_of[id_]) for id_ in sorted(scopes_of))]


def _freeze(db: DynamoDBStateDB) -> None:
    """Let no older release change a set any more."""
    zero: Item = {":zero": {"N": "0"}}
    kind: Item = {**zero, ":set": {"S": "SS"}}
    _try(
        db,
        UpdateExpression="SET was = ids, ids = :zero",
        ConditionExpression="attribute_type(ids, :set)",
        ExpressionAttributeValues=kind,
    )
    # nothing was held. Between the two calls an older release may have locked: then not yet
    _try(
        db,
        UpdateExpression="SET ids = :zero",
        ConditionExpression="attribute_not_exists(ids)",
        ExpressionAttributeValues=zero,
    )
    gate = db._read_call("get_item", Key=GATE, ConsistentRead=True)["Item"]
    if "SS" in gate["ids"]:
        raise Collision(f"upgrading {db.table_name}: an older release is locking; try again")


def _write(db: DynamoDBStateDB, items: list[Item]) -> None:
    still = {
        "TableName": db.table_name, "Key": GATE, "ConditionExpression": "attribute_exists(was)"
    }  # fmt: skip
    for start in range(0, len(items), AT_ONCE):
        some = items[start : start + AT_ONCE]
        puts = [{"Put": {"TableName": db.table_name, "Item": item}} for item in some]
        try:
            db._call("transact_write_items", TransactItems=[{"ConditionCheck": still}, *puts])
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            if reasons and reasons[0]["Code"] == CONDITION:
                return  # another process has done all of it
            raise _told(db, error) from error
    _try(db, UpdateExpression="REMOVE was", ConditionExpression="attribute_exists(was)")


def _try(db: DynamoDBStateDB, **update: object) -> None:
    """Change the gate if the condition holds."""
    try:
        db._call("update_item", TableName=db.table_name, Key=GATE, **update)
    except ClientError as error:
        if code_of(error) != "ConditionalCheckFailedException":
            raise _told(db, error) from error


def _told(db: DynamoDBStateDB, error: ClientError) -> WorksetError:
    reasons = {why["Code"] for why in error.response.get("CancellationReasons", ())}
    if code_of(error) == "TransactionConflictException" or (reasons and reasons <= PASSING):
        return Collision(f"upgrading {db.table_name}: another process does so, too; try again")
    return explained(error, f"upgrading {db.table_name}")
