"""Copies between S3 and a cluster's disk, with the cluster's own credentials."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

EX_NOINPUT, EX_IOERR, EX_TEMPFAIL, EX_NOPERM = 66, 74, 75, 77
Errors = (BotoCoreError, ClientError, Boto3Error)


def download(uri: str, target: Path) -> int:
    """Copy one object so that `target` is whole or absent; bytes copied, 0 if it was there.

    An object counts as there if a file has its size and is not older.
    """
    client, bucket, key = _place(uri)
    head = client.head_object(Bucket=bucket, Key=key)
    size, changed = head["ContentLength"], head["LastModified"].timestamp()
    if target.exists() and target.stat().st_size == size and target.stat().st_mtime >= changed:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    client.download_file(bucket, key, str(draft))
    if draft.stat().st_size != size:
        raise OSError(5, "the object changed while it was copied", uri)
    os.replace(draft, target)
    return int(size)


def upload(path: Path, uri: str) -> None:
    """Copy one file; S3 shows an object whole or not at all."""
    client, bucket, key = _place(uri)
    client.upload_file(str(path), bucket, key)


def _place(uri: str) -> tuple[Any, str, str]:
    parts = urlsplit(uri)
    return boto3.client("s3"), parts.netloc, parts.path.lstrip("/")


def explained(work: str, error: Exception) -> int:
    """Print what went wrong and return the exit code that says so."""
    print(f"{work}: {error}", file=sys.stderr)
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if code in ("404", "NoSuchKey", "NoSuchBucket", "InvalidObjectState"):
        return EX_NOINPUT
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return EX_NOPERM
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return EX_NOPERM
    return EX_TEMPFAIL
