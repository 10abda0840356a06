"""Announcements to AWS: an SNS topic for people, an SQS queue of dead letters for programs."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import anyio
from botocore.config import Config
from prefect_aws import AwsCredentials
from pydantic import Field, PrivateAttr

from blocks.aws import CONFIG
from blocks.notify.channel import Channel
from worksets.announcements import MAX_SUBJECT, Announcement, Kind
from worksets.texts import line, plain

ONCE: Final = CONFIG.merge(Config(retries={"total_max_attempts": 1}))
"""A message whose answer was lost may have arrived: the SDK does not send it again."""
MAX_HISTORY: Final = 40
"""Entries of a workset's history in a dead letter; a message of SQS may have 256 KB."""


class _Aws(Channel):
    aws_credentials: AwsCredentials = Field(
        default_factory=AwsCredentials, description="Empty: what this machine has"
    )
    _known: Any = PrivateAttr(default=None)

    async def _call(self, service: str, operation: str, **arguments: Any) -> None:
        if self._known is None:
            session = self.aws_credentials.get_boto3_session()
            endpoint = self.aws_credentials.aws_client_parameters.endpoint_url
            self._known = session.client(service, config=ONCE, endpoint_url=endpoint)
        await anyio.to_thread.run_sync(
            partial(getattr(self._known, operation), **arguments), abandon_on_cancel=True
        )


class SnsTopic(_Aws):
    """Publishes to an SNS topic, with attributes by which subscribers can filter.

    The machine needs `sns:Publish` on the topic.
    """

    _block_type_name = "SNS Topic"
    _block_type_slug = "sns-topic"

    topic_arn: str = Field(pattern=r"^arn:[a-z-]+:sns:", description="ARN of the topic")

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Publish a text."""
        first = line(" ".join((subject or body).split()), MAX_SUBJECT)
        ascii_ = first.encode("ascii", "replace").decode() or "workset"
        await self._call(
            "sns", "publish", TopicArn=self.topic_arn, Subject=ascii_, Message=plain(body)
        )

    async def announce(self, announcement: Announcement) -> None:
        await self._call(
            "sns",
            "publish",
            TopicArn=self.topic_arn,
            Subject=announcement.subject,
            Message=announcement.body,
            MessageAttributes={
                key: {"DataType": "String", "StringValue": value}
                for key, value in announcement.attributes.items()
            },
        )


class SqsQueue(_Aws):
    """Sends dead letters to an SQS queue, as JSON: record, error, remedy and history.

    The machine needs `sqs:SendMessage` on the queue.
    """

    _block_type_name = "SQS Queue"
    _block_type_slug = "sqs-queue"

    queue_url: str = Field(pattern=r"^https?://", description="URL of the queue")
    events: list[Kind] = Field(
        default_factory=lambda: [Kind.DEAD_LETTER], description="What is sent"
    )

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send a text."""
        message = json.dumps({"subject": subject and line(subject), "body": plain(body)})
        await self._call("sqs", "send_message", QueueUrl=self.queue_url, MessageBody=message)

    async def announce(self, announcement: Announcement) -> None:
        letter: dict[str, Any] = {
            **announcement.attributes,
            "subject": announcement.subject,
            "message": announcement.message,
        }
        if announcement.record is not None:
            record = announcement.record.model_dump(mode="json")
            letter["record"] = {**record, "history": record["history"][-MAX_HISTORY:]}
        await self._call(
            "sqs", "send_message", QueueUrl=self.queue_url, MessageBody=json.dumps(letter)
        )
