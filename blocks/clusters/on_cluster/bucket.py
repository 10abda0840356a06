"""An export's place that is a prefix in S3; imported only when S3 is used, as `s3.py` is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import delivery, files, s3
    from blocks.clusters.on_cluster.results import Found
else:
    import delivery
    import files
    import s3
    from results import Found


class BucketTarget:
    """The prefix `target`, below the prefix `root` that the operator named."""

    takes_empty_folders = False

    def __init__(self, target: str, root: str, uid: str) -> None:
        self.bucket, key = s3.split(target.rstrip("/"))
        s3.split(root.rstrip("/"))
        self.prefix = key + "/" if key else ""
        self.client = s3.connect()

    def _key(self, name: bytes) -> str:
        return self.prefix + name.decode("utf-8")

    def shown(self, name: bytes) -> str:
        return files.shown(f"s3://{self.bucket}/{self.prefix}{delivery.text(name)}")

    def lawful(self, name: bytes) -> str:
        """What is wrong with a name of a result, or ""."""
        try:
            length = len(self._key(name).encode())
        except UnicodeDecodeError:
            return "the name is no UTF-8, which S3 wants"
        if length > s3.MOST_KEY_BYTES:
            return f"the key has {length} bytes, and S3 takes {s3.MOST_KEY_BYTES}"
        return ""

    # --- The manifest ---

    def read_manifest(self) -> bytes | None:
        try:
            with s3.explained(self.shown(delivery.NAME)):
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(delivery.NAME))
                content: bytes = answer["Body"].read()
        except files.Failed as error:
            if s3.is_missing(error.__cause__, self.client, self.bucket, self._key(delivery.NAME)):
                return None
            if error.code == files.EX_NOPERM:
                raise files.Failed(
                    error.code,
                    f"{error}; without s3:GetObject there, and s3:ListBucket for its prefix, it is "
                    f"not known what lies there already: allow both to the cluster's role",
                ) from error
            raise
        return content

    def write_manifest(self, content: bytes, is_first: bool) -> None:
        """Put the manifest in place; the first one only if nobody else did so meanwhile."""
        self.write(delivery.NAME, content, is_first)

    def write(self, name: bytes, content: bytes, is_first: bool) -> None:
        """Put a small object of ours in place."""
        if_new: dict[str, Any] = {}
        if is_first and s3.knows(self.client, "PutObject", "IfNoneMatch"):
            if_new["IfNoneMatch"] = "*"
        with s3.explained(self.shown(name), files.EX_CONFIG):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self._key(name), Body=content,
                    ContentType="application/json", **if_new,
                )  # fmt: skip
            except ClientError as error:
                if s3.code_of(error) not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                raise files.Failed(
                    files.EX_TEMPFAIL,
                    f"another export began in {self.shown(b'')} just now; tried again",
                ) from error

    # --- Clearing ---

    def clear_drafts(self, names: Iterable[bytes]) -> None:
        """Remove the parts that killed exports left of these files; nobody sees them, all pay."""
        keys = {self._key(name) for name in names}
        try:
            with s3.explained(self.shown(b"")):
                for key, upload in s3.uploads(self.client, self.bucket, self.prefix):
                    if key in keys:
                        s3.abort(self.client, self.bucket, key, upload)
        except files.Failed as error:
            # allowed or not: that decides nothing about the results. A rule of the bucket
            # (AbortIncompleteMultipartUpload) does the same later
            if error.code != files.EX_NOPERM:
                raise

    def remove(self, names: Iterable[bytes], folders: Iterable[bytes]) -> None:
        """Remove objects that an earlier manifest lists."""

        def one(name: bytes) -> None:
            try:
                with s3.explained(self.shown(name), files.EX_CONFIG):
                    self.client.delete_object(Bucket=self.bucket, Key=self._key(name))
            except files.Failed as error:
                if s3.code_of(error.__cause__) in ("404", "NoSuchKey"):
                    return  # some stores say so; S3 does not
                if error.code == files.EX_NOPERM:
                    raise files.Failed(
                        error.code,
                        f"{error}; it is of an earlier run, and must not stay beside these "
                        f"results: allow s3:DeleteObject there to the cluster's role",
                    ) from error
                raise

        s3.together(one, list(names))

    # --- Files ---

    def has(self, file: delivery.File) -> bool:
        """Whether an object that an earlier manifest lists is there, untouched."""
        if file.sha256 is None:
            return False
        expected = file.parts_sha256 or s3.text(bytes.fromhex(file.sha256))
        return bool(self._arrived(file, expected))

    def _arrived(self, file: delivery.File, expected: str) -> bool | None:
        assert file.sha256 is not None
        with s3.explained(self.shown(file.name), files.EX_CONFIG):
            return s3.arrived(
                self.client, self.bucket, self._key(file.name), file.size, file.sha256, expected
            )

    def put(self, origin: int, found: Found) -> delivery.File:
        """Upload one open file, and have S3 say what has arrived."""
        size = found.seen.size
        sha256, parts = s3.hashed(origin, size)
        if files.seen(os.fstat(origin)) != found.seen:
            raise files.changed(found.name)  # and later S3 refuses other bytes than these
        checksum = s3.checksum(parts)
        file = delivery.File(found.name, size, found.seen.mtime_ns, sha256)
        file.parts_sha256 = checksum if len(parts) > 1 else ""
        with s3.explained(self.shown(found.name), files.EX_CONFIG):
            s3.upload(self.client, self.bucket, self._key(found.name), origin, size, parts)
        if not self._arrived(file, checksum):
            raise files.Failed(
                files.EX_IOERR,
                f"{self.shown(found.name)} arrived other than it was sent; tried again",
            )
        return file

    def finish(self, listed: list[delivery.File], empty_folders: list[bytes]) -> None:
        """Nothing: each object was verified, and a folder in S3 is a part of a key only."""
