"""Worksets in S3, through prefect-aws's `S3Bucket` block."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from prefect_aws.s3 import S3Bucket

from blocks.aws import DENIED, code_of, explained
from blocks.folders.base import Found, SpecFile, SpecMissing
from blocks.folders.s3_events import queue_region, told
from worksets.delivery import NotThere, Seen
from worksets.errors import ConfigurationError, DataError
from worksets.jobs import Input
from worksets.listing import whole_chunks
from worksets.sample_sheet import SHEET_NAME
from worksets.spec import FILE_NAME, is_identifier
from worksets.yaml_safe import MAX_BYTES

HEADS_AT_ONCE: Final = 16
PAGE: Final = 1000
AFTER: Final = "~"
"""Sorts after every name that a file of a workset may begin with."""
MISSING: Final = ("404", "NoSuchKey")
ARCHIVED: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class S3Source:
    """The folder of an `S3Bucket` block."""

    def __init__(self, bucket: S3Bucket) -> None:
        self.name: str = bucket.bucket_name
        folder = bucket.bucket_folder.strip("/")
        self.prefix = f"{folder}/" if folder else ""
        self._credentials = bucket.credentials
        self.client: Any = self._credentials.get_client("s3")
        self.region = ""

    @property
    def root(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def find(self, cursor: str) -> tuple[list[Found], str]:
        """What sorts after all that was seen, and one page of the rest, in turn.

        So a listing costs two requests, however many finished folders there are, a folder whose
        name is the newest is found at once, and any other within about entries / 900 calls. A
        folder is a candidate only: it may hold no `daylily_work.yaml` yet.
        """
        self._check_region()
        at = json.loads(cursor) if cursor else {}
        newest, sweep = at.get("newest_key", ""), at.get("sweep_key", "")
        names: dict[str, None] = {}
        more = True
        while more:
            page, last, more = self._page(newest)
            names.update(dict.fromkeys(page))
            newest = max(newest, last)
        page, last, more = self._page(sweep)
        if more and page:
            # the next page begins where a chunk does; a process that begins anew knows it again
            kept = whole_chunks(page)
            if len(kept) < len(page):
                page, last = list(kept), f"{self.prefix}{kept[-1]}/{AFTER}"
        names.update(dict.fromkeys(page))
        after = {"newest_key": newest, "sweep_key": last if more else ""}
        return [_found(self.root, name) for name in names], json.dumps(after)

    def changes(self, stop: threading.Event, queue: str) -> Iterator[frozenset[str]] | None:
        """See `Source`; without a queue a bucket tells nothing."""
        return self._told(stop, queue) if queue else None

    def _told(self, stop: threading.Event, queue: str) -> Iterator[frozenset[str]]:
        region = queue_region(queue)
        elsewhere = {"region_name": region} if region else {}
        client = self._credentials.model_copy(update=elsewhere).get_client("sqs")
        yield from told(client, queue, self.name, self.prefix, stop)

    def _check_region(self) -> None:
        """Refuse a bucket whose block names another region: each read would cross between them."""
        if self.region:
            return
        try:
            found = self.client.head_bucket(Bucket=self.name).get("BucketRegion", "")
        except (ClientError, BotoCoreError) as error:
            if code_of(error) not in DENIED:
                raise explained(error, f"looking at the bucket {self.name}") from error
            # listing is allowed below a prefix only, perhaps; S3 names the region all the same
            assert isinstance(error, ClientError)
            headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
            found = headers.get("x-amz-bucket-region", "")
        if found and found != self.client.meta.region_name:
            raise ConfigurationError(
                f"s3://{self.name} is in {found}, and the credentials of its block say "
                f"{self.client.meta.region_name}; set region_name there to {found}"
            )
        self.region = found or self.client.meta.region_name

    def _page(self, after: str) -> tuple[list[str], str, bool]:
        """Folder names among the next 1,000 entries, where to go on, and whether there are more.

        Objects that lie loose beside the folders are entries, too.
        """
        start = {"StartAfter": after} if after else {}
        try:
            answer = self.client.list_objects_v2(
                Bucket=self.name, Prefix=self.prefix, Delimiter="/", MaxKeys=PAGE, **start
            )
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in DENIED:
                raise ConfigurationError(
                    f"{self.root}: access denied; allow s3:ListBucket on {self.name}, for the "
                    f"prefix {self.prefix}*, to the credentials of its block"
                ) from error
            raise explained(error, f"listing {self.root}") from error
        prefixes = [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
        loose = [entry["Key"] for entry in answer.get("Contents", [])]
        last = max([after, *(f"{prefix}{AFTER}" for prefix in prefixes), *loose])
        names = [prefix[len(self.prefix) :].rstrip("/") for prefix in prefixes]
        return names, last, bool(answer["IsTruncated"])

    def open(self, location: str) -> S3Folder:
        self._check_region()
        return S3Folder(self.client, self.name, location.removeprefix(f"s3://{self.name}/"))


def _found(root: str, name: str) -> Found:
    location = f"{root}/{name}"
    if is_identifier(name):
        return Found(name, location)
    why = "its name must be 1 to 64 letters, digits, '.', '_' or '-'; rename it"
    return Found("", location, refused=why)


class S3Folder:
    """One workset's folder in S3."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix.strip("/")

    @property
    def source(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    @property
    def source_root(self) -> str:
        return self.source.rpartition("/")[0]

    def read_spec(self) -> SpecFile:
        """See `Folder`."""
        found = self._read(FILE_NAME)
        if found is None:
            uri = f"{self.source}/{FILE_NAME}"
            raise SpecMissing(f"{uri} is not there; put it there, as the last file")
        return found

    def read_sheet(self) -> bytes | None:
        """See `Folder`."""
        found = self._read(SHEET_NAME)
        return found.data if found is not None else None

    def _read(self, name: str) -> SpecFile | None:
        """A text in the folder, and its stamp; None: there is none."""
        uri, key = f"{self.source}/{name}", f"{self._prefix}/{name}"
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes=0-{MAX_BYTES}"
            )
            data: bytes = answer["Body"].read()
        except (ClientError, BotoCoreError) as error:
            if self._is_missing(error, self._bucket, key):
                return None
            if code_of(error) == "InvalidRange":
                return SpecFile(b"", "")  # an empty object has no first byte
            raise explained(error, f"reading {uri}") from error
        return SpecFile(data, str(answer.get("ETag", "")))

    def say(self, name: str, text: str, instead_of: Iterable[str]) -> None:
        """See `Folder`."""
        keys = [f"{self._prefix}/{other}" for other in instead_of]
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=text.encode()
            )
            self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys]}
            )
        except (ClientError, BotoCoreError) as error:
            if code_of(error) in DENIED:
                raise ConfigurationError(
                    f"{self.source}/{name}: access denied; allow s3:PutObject and s3:DeleteObject "
                    f"on it to the credentials of its block, or switch status_files off"
                ) from error
            raise explained(error, f"writing {self.source}/{name}") from error

    def look(self, inputs: Iterable[Input]) -> dict[str, Seen | DataError]:
        """See `Folder`; up to 16 files are looked at together."""
        todo = [entry.name for entry in inputs]
        with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
            seen = threads.map(lambda name: self.look_at(f"{self.source}/{name}"), todo)
            return dict(zip(todo, seen, strict=True))

    def look_at(self, uri: str) -> Seen | DataError:
        """What is to be seen of one object, in whichever bucket."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            if self._is_missing(error, bucket, key):
                return NotThere(f"{uri} is not there; deliver the file")
            if code_of(error) in DENIED:
                raise ConfigurationError(
                    f"{uri}: access denied; allow s3:GetObject on it, and s3:ListBucket for its "
                    f"prefix, to the credentials of the S3 bucket block"
                ) from error
            raise explained(error, f"looking at {uri}") from error
        archived = head.get("StorageClass") in ARCHIVED or "ArchiveStatus" in head
        if archived and 'ongoing-request="false"' not in head.get("Restore", ""):
            where = head.get("ArchiveStatus") or head["StorageClass"]
            return DataError(f"{uri} is archived ({where}); restore it, then the workset")
        size: int = head["ContentLength"]
        if not size:
            return NotThere(f"{uri} is empty (0 bytes); deliver it again")
        # an object appears whole: it is never still being written
        return Seen(size, f"{head.get('ETag', '')}:{size}")

    def _is_missing(self, error: Exception, bucket: str, key: str) -> bool:
        """Whether an object is not there.

        To those who may list a bucket below a prefix only, S3 calls it "denied"; its list tells.
        """
        if code_of(error) in MISSING:
            return True
        if code_of(error) not in DENIED:
            return False
        try:
            page = self._client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        except ClientError:
            return False
        return key not in [entry["Key"] for entry in page.get("Contents", ())]
