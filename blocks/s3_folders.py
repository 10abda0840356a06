"""Worksets in S3, through prefect-aws's `S3Bucket` block."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from prefect_aws.s3 import S3Bucket

from blocks.aws import code_of, explained
from blocks.folders import Found, SpecMissing
from worksets.errors import ConfigurationError, DataError
from worksets.spec import FILE_NAME, is_identifier
from worksets.yaml_safe import MAX_BYTES

HEADS_AT_ONCE: Final = 16
PAGE: Final = 1000
AFTER: Final = "~"
"""Sorts after every name that a file of a workset may begin with."""
ARCHIVED: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class S3Source:
    """The folder of an `S3Bucket` block."""

    def __init__(self, bucket: S3Bucket) -> None:
        self.name: str = bucket.bucket_name
        folder = bucket.bucket_folder.strip("/")
        self.prefix = f"{folder}/" if folder else ""
        self.client: Any = bucket.credentials.get_client("s3")
        self.region = ""

    @property
    def root(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def find(self, cursor: str) -> tuple[Found, str]:
        """What sorts after all that was seen, and one page of the rest, in turn.

        So a listing costs two requests, however many finished folders there are, a folder whose
        name is the newest is found at once, and any other within folders / 1000 calls. A folder
        is a candidate only: it may hold no `daylily_work.yaml` yet.
        """
        self._check_region()
        at = json.loads(cursor) if cursor else {"newest": "", "sweep": ""}
        names: dict[str, None] = {}
        more = True
        while more:
            page, more = self._page(at["newest"])
            names.update(dict.fromkeys(page))
            at["newest"] = max([at["newest"], *page])
        page, more = self._page(at["sweep"])
        names.update(dict.fromkeys(page))
        at["sweep"] = page[-1] if more and page else ""
        return [
            (name if is_identifier(name) else "", f"{self.root}/{name}") for name in names
        ], json.dumps(at)

    def _check_region(self) -> None:
        """Refuse a bucket whose block names another region: each read would cross between them."""
        if self.region:
            return
        try:
            head = self.client.head_bucket(Bucket=self.name)
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in ("403", "AccessDenied"):
                raise ConfigurationError(
                    f"s3://{self.name}: access denied; allow s3:ListBucket on it to the "
                    f"credentials of its block"
                ) from error
            raise explained(error, f"looking at the bucket {self.name}") from error
        found = head.get("BucketRegion", "")
        if found and found != self.client.meta.region_name:
            raise ConfigurationError(
                f"s3://{self.name} is in {found}, and the credentials of its block say "
                f"{self.client.meta.region_name}; set region_name there to {found}"
            )
        self.region = found or self.client.meta.region_name

    def _page(self, after: str) -> tuple[list[str], bool]:
        """Up to 1,000 folder names that sort after this one, and whether there are more."""
        start = {"StartAfter": f"{self.prefix}{after}/{AFTER}"} if after else {}
        try:
            answer = self.client.list_objects_v2(
                Bucket=self.name, Prefix=self.prefix, Delimiter="/", MaxKeys=PAGE, **start
            )
        except (ClientError, BotoCoreError) as error:
            raise explained(error, f"listing {self.root}") from error
        prefixes = [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
        names = [prefix[len(self.prefix) :].rstrip("/") for prefix in prefixes]
        return names, bool(answer["IsTruncated"]) and bool(names)

    def open(self, location: str) -> S3Folder:
        self._check_region()
        return S3Folder(self.client, self.name, location.removeprefix(f"s3://{self.name}/"))


class S3Folder:
    """One workset's folder in S3."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix.strip("/")

    @property
    def source(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def read_spec(self) -> bytes:
        """See `Folder`."""
        uri = f"{self.source}/{FILE_NAME}"
        try:
            answer = self._client.get_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}/{FILE_NAME}",
                Range=f"bytes=0-{MAX_BYTES}",
            )
            data: bytes = answer["Body"].read()
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in ("NoSuchKey", "404"):
                raise SpecMissing(f"{uri} is not there; put it there, as the last file") from error
            if code_of(error) == "InvalidRange":
                return b""  # an empty object has no first byte
            raise explained(error, f"reading {uri}") from error
        return data

    def sizes(self, names: Iterable[str]) -> dict[str, int | DataError]:
        """See `Folder`; up to 16 files are looked at together."""
        todo = list(names)
        with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
            return dict(zip(todo, threads.map(self._size, todo), strict=True))

    def _size(self, name: str) -> int | DataError:
        uri = f"{self.source}/{name}"
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
        except (ClientError, BotoCoreError) as error:
            code = code_of(error)
            if code in ("404", "NoSuchKey"):
                return DataError(f"{uri} is not there; deliver the file")
            if code in ("403", "AccessDenied"):
                raise ConfigurationError(
                    f"{uri}: access denied; allow s3:GetObject on it to the credentials of the "
                    f"S3 bucket block"
                ) from error
            raise explained(error, f"looking at {uri}") from error
        archived = head.get("StorageClass") in ARCHIVED or "ArchiveStatus" in head
        if archived and 'ongoing-request="false"' not in head.get("Restore", ""):
            where = head.get("ArchiveStatus") or head["StorageClass"]
            return DataError(f"{uri} is archived ({where}); restore it, then the workset")
        size: int = head["ContentLength"]
        return size or DataError(f"{uri} is empty (0 bytes); deliver it again")
