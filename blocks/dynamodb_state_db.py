"""The state DB of production: one DynamoDB table.

    pk             sk         holds
    w#ID           record     one workset: version, state, and the record as compressed JSON
    holders        SCOPE      string set `ids` of the worksets that count against the scope
    leases         OWNER      end of the owner's lease
    notes          SOURCE     how far a watched place has been listed

Only worksets that wait (ready, retrying, failed) have the attribute `queue` and so stand in the
sparse index `waiting`; held ones are found by the holder set `global`, which is read consistently;
finished ones are reached by id alone. So no call costs more for what is finished.

Partition keys: worksets spread by id. `holders` takes two writes a scope for each attempt: about
200 write units/s at 1,000,000 worksets a day, of the 1,000/s that one partition gives. `queue` is
spread over `SHARDS` keys a state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from prefect_aws import AwsCredentials
from pydantic import Field, PrivateAttr

from blocks.aws import CONFIG, code_of, explained
from blocks.dynamodb_items import (
    DEFINITION,
    INDEX,
    SHARDS,
    WAITING,
    Item,
    from_item,
    key_of,
    put_action,
    time_text,
    to_item,
    transaction,
)
from blocks.state_db import WorksetStateDB
from blocks.store import Lease, VersionConflict, lease_over, scope_is_full
from worksets.errors import ConfigurationError
from worksets.record import HELD, State, WorksetRecord

BATCH: Final = 100
MAX_ID_BYTES: Final = 2000
"""A key of DynamoDB has at most 2,048 bytes."""


class DynamoDBStateDB(WorksetStateDB):
    """State DB in one DynamoDB table, for the processes of any number of machines."""

    _block_type_name = "DynamoDB Workset State DB"
    _block_type_slug = "dynamodb-workset-state-db"

    table_name: str = Field(description="Name of the table")
    region_name: str | None = Field(None, description="AWS region; empty: the credentials' own")
    aws_credentials: AwsCredentials = Field(
        default_factory=lambda: AwsCredentials(),
        description="Credentials; empty: the machine's own",
    )
    endpoint_url: str | None = Field(None, description="Another endpoint, such as DynamoDB Local")
    timeout_s: float = Field(20, gt=0, description="Seconds to wait for one answer")
    point_in_time_recovery: bool = Field(
        True, description="Set at creation: the table can be restored to any second of 35 days"
    )
    deletion_protection: bool = Field(
        True, description="Set at creation: the table cannot be deleted while this stands"
    )

    _client: Any = PrivateAttr(default=None)
    _meter: Callable[[str, float, float], None] | None = PrivateAttr(default=None)

    def create_table_if_not_exists(self) -> bool:
        """Create the table, billed on demand, and wait for it; whether it had to be created."""
        try:
            self._call(
                "create_table",
                TableName=self.table_name,
                DeletionProtectionEnabled=self.deletion_protection,
                **DEFINITION,
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise explained(error, f"creating the table {self.table_name}") from error
            created = False
        else:
            created = True
        self._dynamodb().get_waiter("table_exists").wait(
            TableName=self.table_name, WaiterConfig={"Delay": 2, "MaxAttempts": 60}
        )
        if created and self.point_in_time_recovery:
            self._read_call(
                "update_continuous_backups",
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        return created

    # --- Calls ---

    def _dynamodb(self) -> Any:
        if self._client is None:
            session = self.aws_credentials.get_boto3_session()
            self._client = session.client(
                "dynamodb",
                region_name=self.region_name or self.aws_credentials.region_name,
                endpoint_url=self.endpoint_url,
                config=CONFIG.merge(Config(read_timeout=self.timeout_s)),
            )
        return self._client

    def _call(self, operation: str, **arguments: Any) -> Item:
        """One call; `ClientError`s are the caller's, lost connections are transient here."""
        if self._meter is not None:
            arguments["ReturnConsumedCapacity"] = "TOTAL"
        try:
            answer: Item = getattr(self._dynamodb(), operation)(**arguments)
        except BotoCoreError as error:
            raise explained(error, f"the state DB {self.table_name}") from error
        if self._meter is not None:
            used = answer.get("ConsumedCapacity", [])
            for one in used if isinstance(used, list) else [used]:
                self._meter(operation, one["CapacityUnits"], one.get("WriteCapacityUnits", 0.0))
        return answer

    def _read_call(self, operation: str, **arguments: Any) -> Item:
        try:
            return self._call(operation, TableName=self.table_name, **arguments)
        except ClientError as error:
            raise explained(error, f"the state DB {self.table_name}") from error

    def _query(self, **arguments: Any) -> Iterator[Item]:
        """The pages of a query."""
        start: Item = {}
        while True:
            page = self._read_call("query", **arguments, **start)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

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
                raise explained(error, f"registering workset {record.workset_id}") from error
            # it may be there because the answer to our own first try was lost
            return self._read(record.workset_id) == record
        return True

    def _read(self, workset_id: str) -> WorksetRecord | None:
        if len(workset_id.encode()) > MAX_ID_BYTES:
            return None  # AWS would call the question wrong
        answer = self._read_call("get_item", Key=key_of(workset_id), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    def _many(self, workset_ids: Iterable[str]) -> list[WorksetRecord]:
        """The records of these ids that exist, read consistently."""
        left, found = [key_of(id_) for id_ in sorted(workset_ids)], []
        while left:
            request = {self.table_name: {"Keys": left[:BATCH], "ConsistentRead": True}}
            try:
                answer = self._call("batch_get_item", RequestItems=request)
            except ClientError as error:
                raise explained(error, f"the state DB {self.table_name}") from error
            found += [from_item(item) for item in answer["Responses"].get(self.table_name, [])]
            unread = answer["UnprocessedKeys"].get(self.table_name, {}).get("Keys", [])
            left = left[BATCH:] + unread
            if unread:
                time.sleep(0.1)  # DynamoDB asks for a pause and botocore does not make it
        return found

    def _locations(self, workset_ids: list[str]) -> dict[str, str]:
        return {record.workset_id: record.location for record in self._many(workset_ids)}

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
        code = code_of(error)
        if code == "ConditionalCheckFailedException":
            reasons = ["ConditionalCheckFailed"]
        elif code == "TransactionCanceledException":
            reasons = [reason["Code"] for reason in error.response["CancellationReasons"]]
        else:
            raise explained(error, f"workset {after.workset_id} in {self.table_name}") from error
        for part, reason in zip(parts, reasons, strict=False):
            if reason != "ConditionalCheckFailed":
                continue
            if part == "record":
                if self._read(after.workset_id) == after:
                    return  # the answer to our own first try was lost
                raise VersionConflict(after.workset_id) from error
            if part == "lease":
                raise lease_over(after) from error
            raise scope_is_full(part, limits[part], self._ids(part)) from error
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
        found = [
            from_item(item)
            for state in sorted(WAITING.intersection(states))
            for page in self._waiting(state)
            for item in page["Items"]
        ]
        if HELD.intersection(states):
            found += [r for r in self._many(self._ids("global")) if r.state in states]
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
        return [from_item(item) for page in pages for item in page["Items"]]

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
        for record in self._many(self._ids("global")):
            counts[record.state.value] = counts.get(record.state.value, 0) + 1
        return counts

    def _ids(self, scope: str) -> frozenset[str]:
        key = {"pk": {"S": "holders"}, "sk": {"S": scope}}
        item = self._read_call("get_item", Key=key, ConsistentRead=True).get("Item", {})
        return frozenset(item.get("ids", {}).get("SS", ()))

    def _holders(self) -> dict[str, frozenset[str]]:
        return {
            item["sk"]["S"]: frozenset(item["ids"]["SS"])
            for item in self._collection("holders")
            if "ids" in item
        }

    # --- Leases and notes ---

    def _get_note(self, key: str) -> str:
        answer = self._read_call("get_item", Key={"pk": {"S": "notes"}, "sk": {"S": key}})
        return str(answer["Item"]["text"]["S"]) if "Item" in answer else ""

    def _put_note(self, key: str, text: str) -> None:
        item = {"pk": {"S": "notes"}, "sk": {"S": key}, "text": {"S": text}}
        self._read_call("put_item", Item=item)

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

    def _collection(self, pk: str) -> Iterator[Item]:
        for page in self._query(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ConsistentRead=True,
        ):
            yield from page["Items"]
