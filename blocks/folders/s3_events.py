"""What a bucket tells by a queue: S3's event notifications in SQS, also by SNS or EventBridge.

A message is a hint and no more: it is taken from the queue by whichever poller gets it, and what is
lost of them, the looks of each cycle find.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from blocks.aws import DENIED, code_of, explained
from worksets.errors import ConfigurationError
from worksets.spec import FILE_NAME, is_identifier

WAIT_S: Final = 10
"""Seconds for which the queue may hold its answer back; less than our clients wait for one."""
AT_ONCE: Final = 10
"""Messages of one answer; SQS gives no more."""


def queue_region(url: str) -> str:
    """The region of a queue, by its URL; empty: it does not say."""
    parts = (urlsplit(url).hostname or "").split(".")
    return parts[1] if len(parts) > 3 and parts[0] == "sqs" else ""


def folders_in(text: str, bucket: str, prefix: str) -> frozenset[str]:
    """Names of the folders directly below `prefix` of which the message says that they have got
    their `daylily_work.yaml`; none where it says nothing of the kind."""
    try:
        return frozenset(_names(json.loads(text), bucket, prefix))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return frozenset()  # whoever may write into the queue


def _names(message: Any, bucket: str, prefix: str) -> Iterator[str]:
    if "Message" in message:
        message = json.loads(message["Message"])
    # S3 writes a key as in a URL; EventBridge writes it plainly
    told = [(record.get("s3", {}), True) for record in message.get("Records", [])]
    for one, quoted in [*told, (message.get("detail", {}), False)]:
        key = one.get("object", {}).get("key", "")
        key = unquote_plus(key) if quoted else key
        name, _, file = key.removeprefix(prefix).partition("/")
        here = one.get("bucket", {}).get("name") == bucket and key.startswith(prefix)
        if here and file == FILE_NAME and is_identifier(name):
            yield name


def told(
    client: Any, url: str, bucket: str, prefix: str, stop: threading.Event
) -> Iterator[frozenset[str]]:
    """The names of folders with news, as messages come, until `stop` is set.

    Raises:
        WorksetError: the queue cannot be read.
    """
    while not stop.is_set():
        try:
            answer = client.receive_message(
                QueueUrl=url, WaitTimeSeconds=WAIT_S, MaxNumberOfMessages=AT_ONCE
            )
            messages = answer.get("Messages", [])
            names = [folders_in(message["Body"], bucket, prefix) for message in messages]
            if found := frozenset[str]().union(*names):
                yield found
            if messages:
                client.delete_message_batch(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                        for n, message in enumerate(messages)
                    ],
                )
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in DENIED:
                raise ConfigurationError(
                    f"the queue {url}: access denied; allow sqs:ReceiveMessage and "
                    f"sqs:DeleteMessage on it to the credentials of the bucket's block"
                ) from error
            raise explained(error, f"reading the queue {url}") from error
