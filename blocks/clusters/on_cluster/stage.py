"""Brings a workset's files to the cluster: `python stage.py MANIFEST INPUTS`.

Afterwards INPUTS holds the files that the manifest names, and nothing else. Each of them is whole:
it did not change while it was copied, nobody wrote to it for `quiet_s` seconds (S3 shows no object
that is being written), and it has every checksum that was delivered with it. No link leads out of
the workset's folder, or out of the place that a file's URI belongs to.

Exit codes are those of sysexits.h: 65 a file is not as its checksum says, 66 a file is missing or
no plain file, 73 no room to write, 74 reading or writing failed, 75 still being delivered, 77 no
permission, 78 the manifest is wrong.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files, sums
    from blocks.clusters.on_cluster.places import FolderPlace
    from blocks.clusters.on_cluster.s3 import ObjectPlace
    from blocks.clusters.on_cluster.staged import Entry, Record, read_manifest

    Place = FolderPlace | ObjectPlace
else:
    import files
    import sums
    from places import FolderPlace
    from staged import Entry, Record, read_manifest


class Places:
    """The places that files come from, each opened once."""

    def __init__(self) -> None:
        self.opened: dict[tuple[str, str], Place] = {}
        self.client: Any = None

    def at(self, uri: str, root: str) -> Place:
        """The folder `uri`, into which no link may lead from `root` down."""
        if (uri, root) not in self.opened:
            self.opened[uri, root] = self._open(uri, root)
        return self.opened[uri, root]

    def _open(self, uri: str, root: str) -> Place:
        if not uri.startswith("s3://"):
            root = root[len("file://") :] if root.startswith("file://") else root
            uri = uri[len("file://") :] if uri.startswith("file://") else uri
            rest = _below(uri, root)
            below = files.parts(rest, "the folder", files.EX_NOINPUT) if rest else []
            return FolderPlace(root, below)
        import s3  # only here: a cluster without S3 needs no boto3

        _below(uri, root)
        self.client = self.client or s3.connect()
        place: ObjectPlace = s3.ObjectPlace(self.client, uri)
        return place


def _below(uri: str, root: str) -> bytes:
    """What stands in `uri` after `root`, part by part; nothing if they are the same."""
    if uri.rstrip("/") == root.rstrip("/"):
        return b""
    start = root.rstrip("/") + "/"
    if not uri.startswith(start):
        raise files.Failed(
            files.EX_CONFIG, f"{files.shown(uri)} does not lie below {files.shown(root)}"
        )
    return os.fsencode(uri[len(start) :].rstrip("/"))


@dataclass(frozen=True)
class Origin:
    """Where one file comes from: a name in a place."""

    place: Place
    name: bytes

    def __str__(self) -> str:
        return self.place.shown(self.name)


@dataclass
class Copied:
    """A file that is copied into a draft, and not in its place yet."""

    entry: Entry
    origin: Origin
    seen: files.Seen
    draft: bytes
    digests: dict[str, str]


class Watch:
    """What was looked at, so that it can be looked at again before anything is believed."""

    def __init__(self, quiet_s: float) -> None:
        self.quiet_s = quiet_s
        self.looks: dict[tuple[int, bytes], tuple[Origin, files.Seen]] = {}
        self.quiet_at = 0.0

    def saw(self, origin: Origin, seen: files.Seen) -> bool:
        """Remember a look; whether the file is fresh, so that somebody may still write to it."""
        self.looks[id(origin.place), origin.name] = (origin, seen)
        fresh = seen.is_fresh(self.quiet_s)
        if fresh:
            self.quiet_at = max(self.quiet_at, time.monotonic() + self.quiet_s)
        return fresh

    def changed(self) -> list[Origin]:
        """What is another file now; waits first until all was left alone for long enough."""
        files.wait_until(self.quiet_at)
        return [origin for origin, seen in self.looks.values() if not same(origin, seen)]


def same(origin: Origin, seen: files.Seen) -> bool:
    """Whether a file is still what it was."""
    try:
        return origin.place.look(origin.name).identity == seen.identity
    except files.Failed as error:
        if error.code == files.EX_NOINPUT:
            return False
        raise


class Staging:
    """One run of this program."""

    def __init__(self, manifest: dict[str, Any], inputs: str) -> None:
        self.manifest = manifest
        self.entries: list[Entry] = manifest["inputs"]
        self.places = Places()
        self.watch = Watch(manifest["quiet_s"])
        self.real = os.path.realpath(os.fsencode(inputs))
        self.record = Record(inputs, manifest["uid"])
        self.folder = open_inputs(inputs)
        self.kept = files.tree([entry.parts for entry in self.entries])
        self.bytes = 0
        self._sums: dict[tuple[int, bytes], bytes] = {}
        self._listed: dict[tuple[int, bytes], list[bytes] | None] = {}

    def run(self) -> None:
        self.workset = self.places.at(self.manifest["source"], self.manifest["source_root"])
        origins = [self._origin(entry) for entry in self.entries]
        # first: what killed copies left behind takes room
        files.sweep(self.folder, self.kept)
        try:
            self._all(origins)
        except files.Failed as error:
            if error.code not in (files.EX_DATAERR, files.EX_NOINPUT):
                raise
            # only of a delivery that is at rest is it said that it is wrong
            if moved := self.watch.changed():
                raise files.changed(str(moved[0])) from error
            raise
        finally:
            files.sweep(self.folder, self.kept)
            os.fsync(self.folder)

    def _all(self, origins: list[Origin]) -> None:
        pending = []
        for entry, origin in zip(self.entries, origins):
            said = self._said(entry, origin)
            if self._is_there(entry, origin, said):
                continue
            copied, fresh = self._copy(entry, origin, said)
            if fresh:
                pending.append(copied)
            else:
                self._put(copied)
        moved = {str(origin) for origin in self.watch.changed()}
        for entry, origin in zip(self.entries, origins):
            if str(origin) in moved:
                self.kept = files.without(self.kept, entry.parts)
        if moved:
            raise files.changed(sorted(moved)[0])
        for copied in pending:
            self._put(copied)

    def _origin(self, entry: Entry) -> Origin:
        place, name = self.workset, b"/".join(entry.parts)
        if entry.uri:
            place = self.places.at(entry.root, entry.root)
            name = _below(entry.uri, entry.root)
            files.parts(name, f"the place of {entry.name}", files.EX_NOINPUT)
        if isinstance(place, FolderPlace):
            real = b"/".join([place.real, *place.inside(name)])
            if (real + b"/").startswith(self.real + b"/"):
                raise files.Failed(
                    files.EX_CONFIG,
                    f"{files.shown(real)} lies in the folder that inputs are copied to; "
                    f"move the delivery",
                )
        return Origin(place, name)

    # --- One file ---

    def _is_there(self, entry: Entry, origin: Origin, said: dict[str, list[Said]]) -> bool:
        """Whether an earlier run copied this very file here, with all digests that are needed."""
        seen = origin.place.look(origin.name)
        try:
            file = files.open_regular(self.folder, entry.parts)
        except (OSError, files.NotRegular):
            return False
        try:
            here = files.seen(os.fstat(file))
        finally:
            os.close(file)
        digests = self.record.digests(entry, str(origin), seen, here)
        if digests is None or not said.keys() <= digests.keys():
            return False
        self.watch.saw(origin, seen)
        check(origin, said, digests)
        return True

    def _copy(
        self, entry: Entry, origin: Origin, said: dict[str, list[Said]]
    ) -> tuple[Copied, bool]:
        """Copy a file into a draft beside its place; and whether it is fresh."""
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in said}
        parent = self._parent(entry)
        try:
            file, draft = files.new_draft(parent)
            try:
                seen = origin.place.fetch(origin.name, file, list(hashes.values()))
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise files.failed(self._shown(entry), error) from error
        finally:
            os.close(parent)
        self.bytes += seen.size
        fresh = self.watch.saw(origin, seen)
        if not same(origin, seen):
            raise files.changed(str(origin))
        digests = {name: running.hexdigest() for name, running in hashes.items()}
        check(origin, said, digests)
        return Copied(entry, origin, seen, draft, digests), fresh

    def _put(self, copied: Copied) -> None:
        """Give a draft its name, and note what it is a copy of."""
        entry, parent = copied.entry, self._parent(copied.entry)
        name = entry.parts[-1]
        try:
            os.rename(copied.draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
            here = files.seen(os.stat(name, dir_fd=parent, follow_symlinks=False))
        except OSError as error:
            raise files.failed(self._shown(entry), error) from error
        finally:
            os.close(parent)
        self.record.add(entry, str(copied.origin), copied.seen, here, copied.digests)

    def _parent(self, entry: Entry) -> int:
        try:
            return files.make_folders(self.folder, entry.parts[:-1])
        except OSError as error:
            raise files.failed(self._shown(entry), error) from error

    def _shown(self, entry: Entry) -> str:
        return files.shown(b"/".join([self.real, *entry.parts]))

    # --- What was said of it ---

    def _said(self, entry: Entry, origin: Origin) -> dict[str, list[Said]]:
        """All digests that were delivered for a file, by algorithm."""
        said: dict[str, list[Said]] = {}
        for algorithm, value in entry.digests.items():
            said.setdefault(algorithm, []).append(Said(value, "daylily_work.yaml"))
        folder, _, name = origin.name.rpartition(b"/")
        found = [
            (origin.place, folder, sum_name, name, sums.is_for(sum_name, name))
            for sum_name in self._sums_in(origin.place, folder, name)
        ]
        if origin.place is not self.workset or folder:
            found += [
                (self.workset, b"", sum_name, b"/".join(entry.parts), False)
                for sum_name in self._sums_in(self.workset, b"", b"")
            ]
        for place, below, sum_name, path, beside in found:
            at = Origin(place, below + b"/" + sum_name if below else sum_name)
            content = self._content(at, (id(place), below))
            if content is None:
                continue
            try:
                digests = sums.about(content, path.decode("utf-8", "surrogateescape"), beside)
            except sums.Garbage as error:
                raise files.Failed(
                    files.EX_DATAERR, f"the checksums in {at}: the file {error}; correct it"
                ) from error
            for algorithm, value in digests.items():
                said.setdefault(algorithm, []).append(Said(value, str(at)))
        return said

    def _sums_in(self, place: Place, folder: bytes, name: bytes) -> list[bytes]:
        """Names of files of checksums in a folder, for it and for the file of this name."""
        key = (id(place), folder)
        if key not in self._listed:
            self._listed[key] = place.listing(folder)
        listed = self._listed[key]
        if listed is None:  # it may not be listed: those that are there can be asked for by name
            ends = [name + end.encode() for end in sums.BESIDE if name]
            lists = [text.encode() for text in sums.LISTS]
            return ends + lists + [text.upper() for text in lists if b"." not in text]
        return [n for n in listed if sums.is_list(n) or (name and sums.is_for(n, name))]

    def _content(self, at: Origin, listed_as: tuple[int, bytes]) -> bytes | None:
        """A file of checksums; None if it is not there."""
        key = (id(at.place), at.name)
        if key not in self._sums:
            sure = self._listed[listed_as] is not None
            found = at.place.read(at.name, sums.MOST_BYTES, sure)
            if found is None:
                return None
            content, seen = found
            self.watch.saw(at, seen)
            if len(content) > sums.MOST_BYTES:
                raise files.Failed(
                    files.EX_DATAERR,
                    f"{at} is longer than {sums.MOST_BYTES:,} bytes; a file of checksums is not",
                )
            self._sums[key] = content
        return self._sums[key]


@dataclass(frozen=True)
class Said:
    """A digest that was delivered, and where it stands."""

    value: str
    where: str


def check(origin: Origin, said: dict[str, list[Said]], digests: dict[str, str]) -> None:
    """Compare a file's digests with all that was said of it."""
    for algorithm, all_said in said.items():
        for one in all_said:
            if one.value != digests[algorithm]:
                raise files.Failed(
                    files.EX_DATAERR,
                    f"{origin} is not what was sent: its {algorithm} is {digests[algorithm]}, "
                    f"{one.where} says {one.value}; deliver it again",
                )


def open_inputs(inputs: str) -> int:
    """The folder INPUTS, made if it is missing. All else in it is removed, so it is no link."""
    parent, name = os.path.split(os.path.abspath(os.fsencode(inputs)))
    try:
        os.makedirs(parent, exist_ok=True)
        above = files.open_real(parent)
        try:
            return files.make_folder(above, name)
        finally:
            os.close(above)
    except OSError as error:
        if os.path.islink(inputs):
            raise files.Failed(
                files.EX_CONFIG, f"{files.shown(inputs)} is a link; remove it"
            ) from error
        raise files.failed(inputs, error) from error


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: stage.py MANIFEST INPUTS", file=sys.stderr)
        return 64
    files.prepare()
    title = "the workset is not staged"

    def work() -> None:
        nonlocal title
        manifest = read_manifest(sys.argv[1])
        title = f"workset {manifest['workset_id']} is not staged"
        staging = Staging(manifest, sys.argv[2])
        staging.run()
        print(f"workset {manifest['workset_id']}: {staging.bytes:,} bytes staged")

    return files.explained(lambda: title, work)


if __name__ == "__main__":
    sys.exit(main())
