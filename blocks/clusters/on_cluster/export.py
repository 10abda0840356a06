"""Brings results to their place: `export.py RESULTS TARGET [--manifest FILE] [--receipt FILE]`.

TARGET is a folder or s3://bucket/prefix. Every file below RESULTS arrives under its own name, whole
and verified where it lies, or the program fails and says which does not. Files of an earlier export
of this workset that these results do not have are removed; files that no manifest of ours lists are
left alone. Run again it changes nothing. `delivery.py` says what the manifest in TARGET holds.

The receipt, one line of JSON with `files`, `bytes` and `manifest_sha256`, is written last of all.

Exit codes are those of sysexits.h: 66 no results, 73 no room, 74 reading or writing failed, 75 a
result changed meanwhile, 77 no permission or something planted in the way, 78 results that cannot
be exported, or a place that belongs to another workset.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import delivery, files
    from blocks.clusters.on_cluster.bucket import BucketTarget
    from blocks.clusters.on_cluster.folder import FolderTarget
    from blocks.clusters.on_cluster.results import Found, Results, Scan, told

    Target = FolderTarget | BucketTarget
else:
    import delivery
    import files
    from folder import FolderTarget
    from results import Found, Results, Scan, told

AT_ONCE = 8
"""Small files that are on the way at once."""
SMALL_BYTES = 32 * 1024 * 1024
"""A larger file goes alone: it uses all ways by itself."""


class Owner:
    """Whose export it is, and where it may go."""

    def __init__(self, manifest: str, target: str = "") -> None:
        """`target`: where this export goes, below what the manifest says; empty: just there."""
        value: dict[str, Any] = {
            "workset_id": "", "customer_id": "", "uid": "", "lineage": None,
            "export_to": target, "export_root": target,
        }  # fmt: skip
        if manifest:
            try:
                with open(manifest, encoding="utf-8") as file:
                    said = json.load(file)
                value.update({key: said[key] for key in value})
            except OSError as error:
                raise files.failed(manifest, error, files.EX_CONFIG) from error
            except (ValueError, KeyError, TypeError) as error:
                raise files.Failed(
                    files.EX_CONFIG, f"the manifest {manifest} lacks something: {error!r}"
                ) from error
        for key, text in value.items():
            if key != "lineage" and not isinstance(text, str):
                raise files.Failed(files.EX_CONFIG, f"{manifest}: {key!r} is no text")
        self.workset_id, self.customer_id = value["workset_id"], value["customer_id"]
        self.uid, self.lineage, self.root = value["uid"], value["lineage"], value["export_root"]
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", self.uid):
            raise files.Failed(files.EX_CONFIG, f"{manifest}: {self.uid!r} is no uid")
        self.place: str = target or value["export_to"]
        for place, above in ((self.place, value["export_to"]), (value["export_to"], self.root)):
            if not (place.rstrip("/") + "/").startswith(above.rstrip("/") + "/"):
                raise files.Failed(
                    files.EX_CONFIG,
                    f"{files.shown(place)} does not lie below {files.shown(above)}; correct the "
                    f"pipeline's export command, or the place that it exports to",
                )

    def target(self, place: str) -> Target:
        if not place.startswith("s3://"):
            return FolderTarget(place, self.root, self.uid)
        import bucket  # only here: a cluster without S3 needs no boto3

        target: BucketTarget = bucket.BucketTarget(place, self.root, self.uid)
        return target

    def earlier(self, target: Target) -> delivery.Delivery | None:
        """The delivery of this workset that lies there, if there is one."""
        content = target.read_manifest()
        if content is None:
            return None
        found = delivery.decoded(content, target.shown(delivery.NAME))
        if (found.workset_id, found.customer_id) != (self.workset_id, self.customer_id):
            raise files.Failed(
                files.EX_CONFIG,
                f"{target.shown(b'')} holds the results of workset {found.workset_id!r} of "
                f"customer {found.customer_id!r}, and this is {self.workset_id!r} of "
                f"{self.customer_id!r}: two worksets cannot share an export folder; give one of "
                f"them another export_uri",
            )
        return found


def lawful(target: Target, name: bytes) -> str:
    """What is wrong with a name of a result there, or ""."""
    if name == delivery.NAME or name.startswith(delivery.NAME + b"/"):
        return "the name of the manifest of the export; give it another name"
    if any(files.is_draft(part) for part in name.split(b"/")):
        return "the name of an export's draft; give it another name"
    return target.lawful(name)


class Export:
    """One run of this program."""

    def __init__(self, owner: Owner, scan: Scan, target: Target, results: Results) -> None:
        self.scan, self.target, self.results = scan, target, results
        self.before = owner.earlier(target)
        self.now = delivery.Delivery(
            owner.workset_id, owner.customer_id, owner.uid, owner.lineage,
            empty_folders=results.empty_folders,
        )  # fmt: skip

    def run(self) -> str:
        """Deliver; the SHA-256 of the manifest, in hexadecimal."""
        new = {file.name for file in self.results.files}
        before = self.before.files if self.before else []
        stale = [file for file in before if file.name not in new]
        kept = self._kept()
        self.now.files = [
            kept.get(file.name) or delivery.File(file.name, file.seen.size, file.seen.mtime_ns)
            for file in self.results.files
        ]
        missing = [file for file in self.results.files if file.name not in kept]
        self.now.state = "complete"
        if missing or stale or not self.before or self.now.encoded() != self.before.encoded():
            self._change(missing, stale)
        content = self.now.encoded()
        if self.target.read_manifest() != content:
            raise files.Failed(
                files.EX_TEMPFAIL,
                f"{self.target.shown(delivery.NAME)} was changed by somebody else; tried again",
            )
        return hashlib.sha256(content).hexdigest()

    def _kept(self) -> dict[bytes, delivery.File]:
        """Files that an earlier try of this very run delivered, and that are as they were."""
        before = self.before
        if not before or (before.uid, before.lineage) != (self.now.uid, self.now.lineage):
            return {}
        found = {file.name: file.seen for file in self.results.files}
        same = [
            file
            for file in before.files
            if file.name in found
            and file.sha256
            and (file.size, file.mtime_ns) == (found[file.name].size, found[file.name].mtime_ns)
        ]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            there = list(pool.map(self.target.has, same))
        return {file.name: file for file, is_there in zip(same, there) if is_there}

    def _change(self, missing: list[Found], stale: list[delivery.File]) -> None:
        """Copy what is missing, remove what is of an earlier run, and say so before and after."""
        own = self.now.files
        for file in stale:
            file.earlier, file.sha256 = True, None
        self.now.state, self.now.files = "exporting", own + stale
        self.target.write_manifest(self.now.encoded(), is_first=self.before is None)
        # drafts lie where this run was writing when it was killed: the earlier manifest says where
        self.target.clear_drafts(file.name for file in self.now.files)
        no_longer = set(self.before.empty_folders if self.before else []) - set(
            self.now.empty_folders
        )
        self.target.remove([file.name for file in stale], no_longer)
        copied = {file.name: file for file in self._copy(missing)}
        self.now.files = [copied.get(file.name, file) for file in own]
        self.target.finish(self.now.files, self.now.empty_folders)
        if self.scan.look(lambda name: lawful(self.target, name)) != self.results:
            raise files.Failed(
                files.EX_TEMPFAIL,
                f"the results in {files.shown(self.scan.path)} changed while they were exported; "
                f"does the pipeline leave a process behind? Tried again",
            )
        self.now.state = "complete"
        self.target.write_manifest(self.now.encoded(), is_first=False)
        before = {file.name for file in self.before.files} if self.before else set()
        replaced = len(stale) + len(before & copied.keys())
        if replaced:
            print(f"{replaced} files of an earlier export were there: replaced or removed")

    def _copy(self, missing: list[Found]) -> list[delivery.File]:
        small = [file for file in missing if file.seen.size <= SMALL_BYTES]
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            done = list(pool.map(self._one, small))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return done + [self._one(file) for file in missing if file.seen.size > SMALL_BYTES]

    def _one(self, found: Found) -> delivery.File:
        """Copy one file, which is still the one that was found."""
        try:
            origin = files.open_regular(self.scan.folder, found.real)
        except files.NotRegular as error:
            raise files.changed(found.name) from error
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise files.changed(found.name) from error
            raise files.failed(found.name, error) from error
        try:
            if files.seen(os.fstat(origin)) != found.seen:
                raise files.changed(found.name)
            return self.target.put(origin, found)
        except OSError as error:  # the target names its own
            raise files.failed(found.name, error) from error
        finally:
            os.close(origin)


def export(results: str, place: str, manifest: str) -> tuple[int, int, str]:
    """Deliver all results; how many files, how many bytes, and the manifest's SHA-256."""
    owner = Owner(manifest, place)
    scan = Scan(results)
    target = owner.target(place)
    if isinstance(target, FolderTarget) and (target.real + b"/").startswith(scan.real + b"/"):
        raise files.Failed(
            files.EX_CONFIG,
            f"{files.shown(place)} lies in the results themselves; export to another place",
        )
    found = scan.look(lambda name: lawful(target, name))
    if found.refused:
        raise files.Failed(
            files.EX_CONFIG,
            f"{len(found.refused)} results cannot be exported, and so none is; let the pipeline "
            f"write plain files:{told(found.refused)}",
        )
    if not found.files:
        raise files.Failed(
            files.EX_NOINPUT,
            f"no results in {files.shown(results)}; did the pipeline write to it?",
        )
    digest = Export(owner, scan, target, found).run()
    return len(found.files), sum(file.seen.size for file in found.files), digest


class Parser(argparse.ArgumentParser):
    """Ends with 64 (EX_USAGE) where the command line is wrong."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.format_usage()}{message}", file=sys.stderr)
        sys.exit(64)


def main() -> int:
    parser = Parser(allow_abbrev=False)
    parser.add_argument("results")
    parser.add_argument("target")
    parser.add_argument("--manifest", default="")
    parser.add_argument("--receipt", default="")
    given = parser.parse_args()
    files.prepare()

    def work() -> None:
        if given.receipt:  # of an earlier try: until this one is done there is none
            with contextlib.suppress(FileNotFoundError):
                os.unlink(given.receipt)
        count, size, digest = export(given.results, given.target, given.manifest)
        if given.receipt:
            receipt = {"files": count, "bytes": size, "manifest_sha256": digest}
            line = json.dumps(receipt, separators=(",", ":")) + "\n"
            files.write_whole(given.receipt, line.encode("ascii"))
        print(f"{count} files ({size} bytes) exported to {files.shown(given.target)}")

    return files.explained(
        lambda: f"the results in {files.shown(given.results)} are not exported", work
    )


if __name__ == "__main__":
    sys.exit(main())
