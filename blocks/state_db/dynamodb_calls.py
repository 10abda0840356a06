"""Speaking with DynamoDB: one table, its calls, what they cost and what time it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from prefect_aws import AwsCredentials
from pydantic import Field, PrivateAttr

from blocks.aws import CONFIG, explained
from blocks.state_db.contract import WorksetStateDB
from blocks.state_db.dynamodb_items import Item
from blocks.strict import StrictBlock

BATCH: Final = 100
"""Items of one call."""
QUICK_S: Final = 2.0
"""Seconds; an answer that took longer says too little about the time."""


class DynamoDBCalls(WorksetStateDB, StrictBlock):
    """The table of a state DB, and the calls that reach it."""

    table_name: str = Field(description="Name of the table")
    region_name: str | None = Field(None, description="AWS region; empty: the credentials' own")
    aws_credentials: AwsCredentials = Field(
        default_factory=lambda: AwsCredentials(),
        description="Credentials; empty: the machine's own",
    )
    endpoint_url: str | None = Field(None, description="Another endpoint, such as DynamoDB Local")
    timeout_s: float = Field(
        20, gt=0, le=600, description="Seconds to wait for one answer; at most 10 minutes"
    )
    point_in_time_recovery: bool = Field(
        True, description="The table can be restored to any second of 35 days; set whenever missing"
    )
    deletion_protection: bool = Field(
        True, description="Set at creation: the table cannot be deleted while this stands"
    )

    _client: Any = PrivateAttr(default=None)
    _off_s: float = PrivateAttr(default=0.0)
    _meter: Callable[[str, float, float], None] | None = PrivateAttr(default=None)

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
        asked_at = self._now()
        try:
            answer: Item = getattr(self._dynamodb(), operation)(**arguments)
        except BotoCoreError as error:
            raise explained(error, f"the state DB {self.table_name}") from error
        self._hear_the_time(answer, asked_at)
        if self._meter is not None:
            used = answer.get("ConsumedCapacity", [])
            for one in used if isinstance(used, list) else [used]:
                self._meter(operation, one["CapacityUnits"], one.get("WriteCapacityUnits", 0.0))
        return answer

    def clock_off_s(self) -> float:
        """See `WorksetStateDB`: by the `Date` of the last quick answer, to about a second."""
        return self._off_s

    def _hear_the_time(self, answer: Item, asked_at: datetime) -> None:
        told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        took = self._now() - asked_at
        if took >= timedelta(seconds=QUICK_S):
            return
        with suppress(ValueError):  # no date, or none that can be read
            theirs = parsedate_to_datetime(told).replace(tzinfo=UTC)
            # it was that second, somewhere between asking and hearing
            middle = asked_at + took / 2 - timedelta(seconds=0.5)
            self._off_s = (middle - theirs).total_seconds()

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

    def _collection(self, pk: str) -> Iterator[Item]:
        for page in self._query(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ConsistentRead=True,
        ):
            yield from page["Items"]

    def _batch(self, left: list[Item], consistent: bool) -> list[Item]:
        """The items of these keys that exist, in any order."""
        found: list[Item] = []
        while left:
            request = {self.table_name: {"Keys": left[:BATCH], "ConsistentRead": consistent}}
            try:
                answer = self._call("batch_get_item", RequestItems=request)
            except ClientError as error:
                raise explained(error, f"the state DB {self.table_name}") from error
            found += answer["Responses"].get(self.table_name, [])
            unread = answer["UnprocessedKeys"].get(self.table_name, {}).get("Keys", [])
            left = left[BATCH:] + unread
            if unread:
                time.sleep(0.1)  # DynamoDB asks for a pause and botocore does not make it
        return found
