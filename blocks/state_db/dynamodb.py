"""The state DB of production: one DynamoDB table.

    pk             sk         holds
    w#ID           record     one workset: version, state, and the record as compressed JSON
    held           ID         a workset that is held: string set `scopes`, what it counts against
    counts         clusters   how many count against `global`, and each `cluster:NAME`
    counts         SCOPE      the same for one `customer:ID`
    leases         OWNER      end of the owner's lease
    owed           ID         a workset of which people are still to be told something
    notes          SOURCE     how far a watched place has been listed

Only worksets that wait (ready, retrying, failed) have the attribute `queue` and so stand in the
sparse index `waiting`; held ones are in the partition `held`, which is read consistently; finished
ones are reached by id alone. So no call costs more for what is finished, and a lock costs the same
however many are held: it puts one item and adds one to each count, on condition of the limits. The
counts cannot drift from the items, for both are written in one transaction with the record.

Partition keys: worksets spread by id. `held` and `counts` take 2 and 4 write units for each lock
and each release: at 1,000,000 worksets a day 50 and 100 a second, of the 1,000 that one partition
gives. `queue` is spread over `SHARDS` keys a state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

from botocore.exceptions import ClientError

from blocks.aws import code_of, explained
from blocks.state_db.dynamodb_calls import BATCH, DynamoDBCalls
from blocks.state_db.dynamodb_items import (
    COUNTS,
    ENDED,
    FIRST,
    INDEX,
    SHARDS,
    WAITING,
    Item,
    counted_in,
    counts_of,
    ended_before,
    ended_in,
    ended_item,
    key_of,
    months,
    owed_key,
    put_action,
    text_of,
    time_text,
    to_item,
    transaction,
)
from blocks.state_db.dynamodb_items import HELD as HELD_ITEMS
from blocks.state_db.dynamodb_refusals import not_taken, refused_parts
from blocks.state_db.dynamodb_table import create_table
from blocks.state_db.dynamodb_upgrade import upgrade
from blocks.state_db.store import (
    SHOWN_HOLDERS,
    Known,
    Lease,
    VersionConflict,
    lease_over,
    scope_is_full,
)
from worksets.errors import ConfigurationError
from worksets.record import FINAL, HELD, State, WorksetRecord

LOOKS_FOR_HOLDERS: Final = 4
"""Pages of held worksets that are looked through for the names in a refusal."""
MAX_ID_BYTES: Final = 2000
"""A key of DynamoDB has at most 2,048 bytes."""


class DynamoDBStateDB(DynamoDBCalls):
    """State DB in one DynamoDB table, for the processes of any number of machines."""

    _block_type_name = "DynamoDB Workset State DB"
    _block_type_slug = "dynamodb-workset-state-db"

    def create_table_if_not_exists(self) -> bool:
        """Create the table, billed on demand, and wait for it; whether it had to be created.

        Point-in-time recovery is seen to at every call, if it is asked for.
        """
        return create_table(self)

    # --- Records ---

    def _insert(self, record: WorksetRecord) -> bool:
        try:
            self._call(
                "put_item",
                TableName=self.table_name,
                Item=to_item(record),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise not_taken(error, record, self.table_name) from error
            # it may be there because the answer to our own first try was lost
            return self._read(record.workset_id) == record
        return True

    def _read(self, workset_id: str) -> WorksetRecord | None:
        if len(workset_id.encode()) > MAX_ID_BYTES:
            return None  # AWS would call the question wrong
        answer = self._read_call("get_item", Key=key_of(workset_id), ConsistentRead=True)
        return self._decoded(*text_of(answer["Item"])) if "Item" in answer else None

    def _many(self, workset_ids: Iterable[str], consistent: bool = True) -> list[WorksetRecord]:
        """The records of these ids that exist."""
        keys = [key_of(id_) for id_ in sorted(workset_ids)]
        return self._readable(map(text_of, self._batch(keys, consistent)))

    def _find(self, workset_ids: list[str]) -> list[WorksetRecord]:
        return self._many(id_ for id_ in workset_ids if len(id_.encode()) <= MAX_ID_BYTES)

    def _ended(self, since: datetime | None, now: datetime) -> list[WorksetRecord]:
        ids = {
            item["sk"]["S"]
            for month in months(since or FIRST, now)
            for item in self._collection(ended_in(month))
            if since is None or not ended_before(item, since)
        }
        # one may have been begun anew since
        return [
            record
            for record in self._many(ids, consistent=False)
            if record.state in ENDED
            and not record.archived
            and (since is None or record.updated_at >= since)
        ]

    def _known(self, workset_ids: list[str]) -> dict[str, Known]:
        return {
            record.workset_id: Known(
                location=record.location, spec=record.delivery.spec, ended=record.state in FINAL
            )
            for record in self._many(workset_ids, consistent=False)
        }

    def _commit(
        self,
        before: WorksetRecord,
        after: WorksetRecord,
        limits: Mapping[str, int],
        alive_at: datetime | None,
    ) -> None:
        actions = transaction(self.table_name, before, after, limits, alive_at)
        try:
            if len(actions) == 1:
                self._call("put_item", **put_action(self.table_name, before, after))
            else:
                self._call("transact_write_items", TransactItems=[act for _, act in actions])
        except ClientError as error:
            self._why_not(error, after, [what for what, _ in actions], limits)

    def _why_not(
        self, error: ClientError, after: WorksetRecord, parts: list[str], limits: Mapping[str, int]
    ) -> None:
        """Raise what a refused write means; return if it had happened after all."""
        for part, reason in refused_parts(error, after, parts, self.table_name):
            if part == "record":
                if self._read(after.workset_id) == after:
                    return  # the answer to our own first try was lost
                raise VersionConflict(after.workset_id) from error
            if part == "lease":
                raise lease_over(after) from error
            counts = counts_of(reason.get("Item", {}))
            for scope in sorted(after.scopes & limits.keys()):
                if counted_in(scope) == part and counts.get(scope, 0) >= limits[scope]:
                    some, count = self._some_holders(scope), counts.get(scope, 0)
                    raise scope_is_full(scope, limits[scope], some, count) from error
        # TransactionConflict, throttling: another transaction was at one of the items
        time.sleep(random.uniform(0.01, 0.1))
        raise VersionConflict(after.workset_id) from error

    # --- Queries ---

    def _select(self, states: tuple[State, ...]) -> list[WorksetRecord]:
        if finished := [state.value for state in states if state not in HELD | WAITING]:
            raise ConfigurationError(
                f"{self.table_name} has no index of worksets that are {', '.join(finished)}; "
                f"read them by their ids"
            )
        found = self._readable(
            text_of(item)
            for state in sorted(WAITING.intersection(states))
            for page in self._waiting(state)
            for item in page["Items"]
        )
        if HELD.intersection(states):
            found += [r for r in self._many(self._held()) if r.state in states]
        return found

    def _waiting(self, state: State, due_by: str = "", **arguments: Any) -> Iterator[Item]:
        """Pages of the index, over all shards of a state, earliest first in each."""
        until = " AND due <= :due" if due_by else ""
        for shard in range(SHARDS):
            values: Item = {":queue": {"S": f"{state.value}#{shard}"}}
            if due_by:
                values[":due"] = {"S": due_by}
            yield from self._query(
                IndexName=INDEX,
                KeyConditionExpression=f"queue = :queue{until}",
                ExpressionAttributeValues=values,
                **arguments,
            )

    def _due(self, now: datetime) -> list[WorksetRecord]:
        pages = self._waiting(State.RETRYING, time_text(now))
        return self._readable(text_of(item) for page in pages for item in page["Items"])

    def _next_due(self) -> datetime | None:
        firsts: list[datetime] = []
        for shard in range(SHARDS):
            page = self._read_call(
                "query",
                IndexName=INDEX,
                KeyConditionExpression="queue = :queue",
                ExpressionAttributeValues={":queue": {"S": f"{State.RETRYING.value}#{shard}"}},
                Limit=1,
            )
            firsts += [datetime.fromisoformat(item["due"]["S"]) for item in page["Items"]]
        return min(firsts, default=None)

    def _counts(self) -> dict[str, int]:
        counts = {
            state.value: sum(page["Count"] for page in self._waiting(state, Select="COUNT"))
            for state in WAITING
        }
        for record in self._many(self._held()):
            counts[record.state.value] = counts.get(record.state.value, 0) + 1
        return counts

    def _owed(self) -> list[WorksetRecord]:
        page = self._read_call(
            "query",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "owed"}},
            Limit=BATCH,
        )
        return self._many(item["sk"]["S"] for item in page["Items"])

    def _put_ended(self, record: WorksetRecord) -> None:
        if record.state in ENDED:
            self._read_call("put_item", Item=ended_item(record))

    def _put_owed(self, workset_id: str) -> None:
        self._read_call("put_item", Item=owed_key(workset_id))

    def _held(self) -> list[str]:
        return [item["sk"]["S"] for item in self._collection(HELD_ITEMS)]

    def _holders(self) -> dict[str, frozenset[str]]:
        sets: dict[str, set[str]] = {}
        for item in self._collection(HELD_ITEMS):
            for scope in item["scopes"]["SS"]:
                sets.setdefault(scope, set()).add(item["sk"]["S"])
        return {scope: frozenset(ids) for scope, ids in sets.items()}

    def _holder_counts(self) -> dict[str, int]:
        counts = (counts_of(item).items() for item in self._collection(COUNTS))
        return {scope: count for some in counts for scope, count in some if count}

    def _some_holders(self, scope: str) -> list[str]:
        """A few of those who count against a scope, for people: a few units, whoever is held."""
        found: list[str] = []
        pages = self._query(
            KeyConditionExpression="pk = :pk",
            FilterExpression="contains(scopes, :scope)",
            ExpressionAttributeValues={":pk": {"S": HELD_ITEMS}, ":scope": {"S": scope}},
            Limit=BATCH,
        )
        for page in islice(pages, LOOKS_FOR_HOLDERS):
            found += [item["sk"]["S"] for item in page["Items"]]
            if len(found) >= SHOWN_HOLDERS:
                break
        return found

    def _upgrade(self) -> None:
        upgrade(self)

    # --- Leases and notes ---

    def _get_note(self, key: str) -> str:
        answer = self._read_call("get_item", Key={"pk": {"S": "notes"}, "sk": {"S": key}})
        return str(answer["Item"]["text"]["S"]) if "Item" in answer else ""

    def _get_notes(self, keys: list[str]) -> dict[str, str]:
        items = self._batch([{"pk": {"S": "notes"}, "sk": {"S": key}} for key in keys], False)
        return {item["sk"]["S"]: item["text"]["S"] for item in items}

    def _first_note(self, key: str, text: str) -> str:
        item = {"pk": {"S": "notes"}, "sk": {"S": key}, "text": {"S": text}}
        try:
            self._call(
                "put_item",
                TableName=self.table_name,
                Item=item,
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise explained(error, f"the state DB {self.table_name}") from error
        key_ = {"pk": {"S": "notes"}, "sk": {"S": key}}
        answer = self._read_call("get_item", Key=key_, ConsistentRead=True)
        return str(answer["Item"]["text"]["S"])

    def _put_note(self, key: str, text: str) -> None:
        item = {"pk": {"S": "notes"}, "sk": {"S": key}, "text": {"S": text}}
        self._read_call("put_item", Item=item)

    def _swap_note(self, key: str, before: str, after: str) -> bool:
        item = {"pk": {"S": "notes"}, "sk": {"S": key}, "text": {"S": after}}
        try:
            self._call(
                "put_item",
                TableName=self.table_name,
                Item=item,
                ConditionExpression="#text = :before",
                ExpressionAttributeNames={"#text": "text"},
                ExpressionAttributeValues={":before": {"S": before}},
            )
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise explained(error, f"the state DB {self.table_name}") from error
            # it may be ours: the answer to a first try may have been lost
            answer = self._read_call(
                "get_item", Key={"pk": {"S": "notes"}, "sk": {"S": key}}, ConsistentRead=True
            )
            return bool(answer.get("Item", {}).get("text", {}).get("S") == after)
        return True

    def _put_lease(self, lease: Lease) -> None:
        item = {
            "pk": {"S": "leases"},
            "sk": {"S": lease.owner},
            "expires_at": {"S": time_text(lease.expires_at)},
        }
        self._read_call("put_item", Item=item)

    def _delete_lease(self, owner: str, expires_at: datetime | None) -> None:
        arguments: Item = {"Key": {"pk": {"S": "leases"}, "sk": {"S": owner}}}
        if expires_at is not None:
            arguments["ConditionExpression"] = "expires_at = :end"
            arguments["ExpressionAttributeValues"] = {":end": {"S": time_text(expires_at)}}
        try:
            self._call("delete_item", TableName=self.table_name, **arguments)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise explained(error, f"the lease of {owner}") from error

    def _leases(self) -> list[Lease]:
        return [
            Lease(
                owner=item["sk"]["S"],
                expires_at=datetime.fromisoformat(item["expires_at"]["S"]),
            )
            for item in self._collection("leases")
        ]
