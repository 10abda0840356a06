"""Objects in S3, with the cluster's own credentials; the only file here that needs boto3 (1.24+).

Objects go in parts of our own, several at once: so each part says which object it is of (IfMatch),
carries its own SHA-256, and goes between the network and a file that is open already.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files
else:
    import files

PART = 32 * 1024 * 1024
"""Bytes of a part; S3 takes 5 MiB to 5 GiB."""
MOST_PARTS = 10_000
"""Parts of one object (AWS, Amazon S3 multipart upload limits); larger files get larger parts."""
STREAMS = 10
"""Parts that are on the way at once."""
TRIES = 5
"""Times that a part is asked for whose connection breaks; boto3 repeats requests by itself."""
MOST_KEY_BYTES = 1024
"""Length of a key in UTF-8 (AWS, Naming Amazon S3 objects)."""
MOST_PAGES = 20
"""Pages of 1,000 names that are listed to find files of checksums in a folder."""

_MISSING = ("404", "NoSuchKey")
_DENIED = (
    "403",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AllAccessDisabled",
)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key is a text, whatever characters it has.

    Raises:
        files.Failed: no such URI, or a part of the key is `.` or `..`, which HTTP clients resolve.
    """
    bucket, _, key = uri[len("s3://") :].partition("/")
    if not uri.startswith("s3://") or not bucket or {".", ".."} & set(key.split("/")):
        raise files.Failed(
            files.EX_CONFIG, f"{files.shown(uri)} is no plain s3://bucket/key; correct it"
        )
    return bucket, key


def connect() -> Any:
    """A client of S3; it may be used by several threads."""
    config = Config(
        max_pool_connections=2 * STREAMS, retries={"mode": "standard", "max_attempts": 6}
    )
    return boto3.client("s3", config=config)


def knows(client: Any, operation: str, argument: str) -> bool:
    """Whether this release of boto3 has an argument."""
    return argument in client.meta.service_model.operation_model(operation).input_shape.members


def code_of(error: BaseException | None) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


@contextlib.contextmanager
def explained(what: str, missing: int = files.EX_NOINPUT) -> Iterator[None]:
    """Turn what boto3 raises into a failure that names `what`, in the SDK's own words."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        code, exit_code = code_of(error), files.EX_TEMPFAIL
        if code in (*_MISSING, "NoSuchBucket", "InvalidObjectState"):  # the last: it is in Glacier
            exit_code = missing
        elif code in _DENIED or type(error).__name__ in (
            "NoCredentialsError",
            "PartialCredentialsError",
        ):
            exit_code = files.EX_NOPERM
        elif code in ("412", "PreconditionFailed"):
            raise files.changed(what) from error
        elif isinstance(error, ParamValidationError):
            exit_code = files.EX_CONFIG
        raise files.Failed(exit_code, f"{files.shown(what)}: {error}") from error


# --- Looking ---


def is_missing(error: BaseException | None, client: Any, bucket: str, key: str) -> bool:
    """Whether this error means that an object is not there.

    To those who may list a bucket below a prefix only, S3 calls it "denied"; its list tells.
    """
    if code_of(error) in _MISSING:
        return True
    if code_of(error) not in _DENIED:
        return False
    try:
        page = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except ClientError:
        return False
    return key not in [entry["Key"] for entry in page.get("Contents", ())]


def look(client: Any, bucket: str, key: str) -> files.Seen:
    """What an object is now."""
    return _seen(client.head_object(Bucket=bucket, Key=key))


def _seen(answer: dict[str, Any]) -> files.Seen:
    size = answer["ContentLength"]
    return files.Seen((size, answer["ETag"], answer.get("VersionId") or ""), size)


# --- Downloading ---


def download(client: Any, bucket: str, key: str, seen: files.Seen, draft: int) -> None:
    """Copy the object that was seen, and no other, into an open file.

    Raises:
        files.Failed: it is another object now, or the file cannot be written.
    """

    def part(start: int) -> None:
        end, at, tries = min(start + PART, seen.size), start, 0
        while at < end:
            answer = client.get_object(
                Bucket=bucket, Key=key, IfMatch=seen.identity[1], Range=f"bytes={at}-{end - 1}"
            )
            if answer["ContentLength"] != end - at:
                raise files.changed(f"s3://{bucket}/{key}")
            try:
                for data in answer["Body"].iter_chunks(1024 * 1024):
                    _write(draft, data, at)
                    at += len(data)
            except (BotoCoreError, HTTPError, OSError) as error:
                tries += 1
                if tries == TRIES:
                    raise files.Failed(
                        files.EX_TEMPFAIL,
                        f"s3://{bucket}/{key}: the connection broke {TRIES} times: {error}",
                    ) from error

    together(part, range(0, seen.size, PART))


def _write(file: int, data: bytes, at: int) -> None:
    try:
        files.write_all(file, data, at)
    except OSError as error:
        raise files.failed("the copy", error) from error


def together(action: Callable[[Any], Any], values: Any) -> list[Any]:
    """Do it for all values, several at once; the first failure ends it."""
    pool = ThreadPoolExecutor(STREAMS)
    try:
        return list(pool.map(action, values))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class ObjectPlace:
    """A prefix of a bucket, from which files are staged: as `places.FolderPlace`, for S3."""

    def __init__(self, client: Any, uri: str) -> None:
        self.client = client
        self.bucket, key = split(uri)
        self.prefix = key.rstrip("/") + "/" if key else ""

    def shown(self, name: bytes) -> str:
        return files.shown(f"s3://{self.bucket}/{self._key(name)}")

    def _key(self, name: bytes) -> str:
        return self.prefix + name.decode("utf-8", "surrogateescape")

    def look(self, name: bytes) -> files.Seen:
        with self._explained(name):
            return look(self.client, self.bucket, self._key(name))

    @contextlib.contextmanager
    def _explained(self, name: bytes) -> Iterator[None]:
        """As `explained`; and what is missing is called so, also where S3 calls it denied."""
        try:
            with explained(self.shown(name)):
                yield
        except files.Failed as error:
            if error.code == files.EX_NOPERM and is_missing(
                error.__cause__, self.client, self.bucket, self._key(name)
            ):
                raise files.Failed(
                    files.EX_NOINPUT, f"{self.shown(name)} is not there; deliver it"
                ) from error
            raise

    def fetch(self, name: bytes, draft: int, hashes: list[Any]) -> files.Seen:
        """Copy the object into a draft, then read that through the hashes; what the object was."""
        with self._explained(name):
            seen = look(self.client, self.bucket, self._key(name))
            download(self.client, self.bucket, self._key(name), seen, draft)
        if hashes:
            for data in files.chunks(draft):
                for running in hashes:
                    running.update(data)
        os.fchmod(draft, 0o666 & ~files.umask())
        return seen

    def listing(self, folder: bytes) -> list[bytes] | None:
        """Names of the objects in a folder of it; None if they may not be listed, or are many."""
        prefix = self._key(folder + b"/") if folder else self.prefix
        found: list[bytes] = []
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            try:
                with explained(f"s3://{self.bucket}/{prefix}"):
                    page = self.client.list_objects_v2(
                        Bucket=self.bucket, Prefix=prefix, Delimiter="/", **more
                    )
            except files.Failed as error:
                if error.code == files.EX_NOPERM:
                    return None
                raise
            keys = [entry["Key"][len(prefix) :] for entry in page.get("Contents", ())]
            found += [key.encode() for key in keys if key]
            if not page["IsTruncated"]:
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}
        return None

    def read(self, name: bytes, most: int, sure: bool) -> tuple[bytes, files.Seen] | None:
        """A small object and what it is, one byte more than `most` at the longest.

        None if it is not there, unless it is `sure` that it was: one that is missing is "denied"
        to those who may not list the bucket.
        """
        try:
            with explained(self.shown(name)):
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
                return answer["Body"].read(most + 1), _seen(answer)
        except files.Failed as error:
            if not sure and code_of(error.__cause__) in (*_MISSING, "NoSuchBucket", *_DENIED):
                return None
            raise


# --- Uploading ---


class Slice:
    """Some bytes of an open file, as boto3 reads them; the file's own position is not used."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self.file, self.start, self.size, self.at = file, start, size, 0

    def __len__(self) -> int:
        return self.size

    def read(self, most: int = -1) -> bytes:
        left = self.size - self.at
        wanted = left if most is None or most < 0 else min(most, left)
        data = os.pread(self.file, wanted, self.start + self.at)
        self.at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        return self.at


def part_size(size: int) -> int:
    """Bytes of each part of a file; a function of its size only, and at most 10,000 of them."""
    least = -(-size // MOST_PARTS)
    return max(PART, -(-least // (1024 * 1024)) * 1024 * 1024)


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def hashed(file: int, size: int) -> tuple[str, list[str]]:
    """SHA-256 of a file in hexadecimal, and of each of its parts as S3 writes them."""
    whole, step = hashlib.sha256(), part_size(size)
    parts = []
    for start in range(0, max(size, 1), step):
        part = hashlib.sha256()
        for data in files.chunks(file, step, start):
            whole.update(data)
            part.update(data)
        parts.append(text(part.digest()))
    return whole.hexdigest(), parts


def checksum(parts: list[str]) -> str:
    """What S3 says of an object that came in these parts: of several, the digest of digests."""
    if len(parts) == 1:
        return parts[0]
    joined = b"".join(base64.b64decode(part) for part in parts)
    return f"{text(hashlib.sha256(joined).digest())}-{len(parts)}"


def upload(client: Any, bucket: str, key: str, file: int, size: int, parts: list[str]) -> None:
    """Upload an open file; S3 itself refuses what does not have the digests of `hashed`."""
    if len(parts) == 1:
        body = Slice(file, 0, size)
        client.put_object(
            Bucket=bucket, Key=key, Body=body, ContentLength=size, ChecksumAlgorithm="SHA256",
            ChecksumSHA256=parts[0],
        )  # fmt: skip
        return
    place = {"Bucket": bucket, "Key": key}
    begun = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")
    place["UploadId"] = begun["UploadId"]
    step = part_size(size)

    def part(index: int) -> dict[str, Any]:
        start = index * step
        length = min(step, size - start)
        answer = client.upload_part(
            **place, PartNumber=index + 1, Body=Slice(file, start, length), ContentLength=length,
            ChecksumAlgorithm="SHA256", ChecksumSHA256=parts[index],
        )  # fmt: skip
        return {
            "PartNumber": index + 1, "ETag": answer["ETag"], "ChecksumSHA256": parts[index],
        }  # fmt: skip

    try:
        done = together(part, range(len(parts)))
        client.complete_multipart_upload(**place, MultipartUpload={"Parts": done})
    except BaseException:
        # else its parts are paid for until the bucket's own rule removes them
        with contextlib.suppress(BotoCoreError, ClientError):
            abort(client, bucket, key, begun["UploadId"])
        raise


def uploads(client: Any, bucket: str, prefix: str) -> list[tuple[str, str]]:
    """Keys and ids of the uploads in parts that have begun, and not ended, below a prefix."""
    found: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        page = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **more)
        found += [(begun["Key"], begun["UploadId"]) for begun in page.get("Uploads", ())]
        if not page.get("IsTruncated"):
            return found
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def abort(client: Any, bucket: str, key: str, upload_id: str) -> None:
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)


def arrived(
    client: Any, bucket: str, key: str, size: int, sha256: str, expected: str
) -> bool | None:
    """Whether an object is what was sent, by S3's checksum of it; None if it is not there.

    Where the store keeps none, or another one than S3 would, the object itself decides: it is read
    back and hashed here.
    """
    try:
        head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if is_missing(error, client, bucket, key):
            return None
        raise
    if head["ContentLength"] != size:
        return False
    if head.get("ChecksumSHA256") == expected:
        return True
    whole = hashlib.sha256()
    body = client.get_object(Bucket=bucket, Key=key, IfMatch=head["ETag"])["Body"]
    for data in body.iter_chunks(files.CHUNK):
        whole.update(data)
    return whole.hexdigest() == sha256
