"""An export's place that is a folder. Nothing in it is opened through a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import delivery, files
    from blocks.clusters.on_cluster.results import Found
else:
    import delivery
    import files
    from results import Found


class FolderTarget:
    """The folder `target`, below the folder `root` that the operator named."""

    takes_empty_folders = True

    def __init__(self, target: str, root: str, uid: str) -> None:
        self.uid = uid
        rest = os.fsencode(target.rstrip("/"))[len(os.fsencode(root.rstrip("/"))) :].lstrip(b"/")
        below = files.parts(rest, "the export folder") if rest else []
        try:
            os.makedirs(os.fsencode(root), exist_ok=True)
            self.real = os.path.realpath(os.fsencode(root)).rstrip(b"/")
            above = files.open_real(self.real or b"/")
        except OSError as error:
            raise files.failed(root, error) from error
        try:
            self.folder = self._make(above, below, self.real)
        finally:
            os.close(above)
        self.real = b"/".join([self.real, *below])

    def shown(self, name: bytes) -> str:
        return files.shown(self.real + b"/" + name)

    def lawful(self, name: bytes) -> str:
        """What is wrong with a name of a result, or ""."""
        return ""

    def _make(self, above: int, names: list[bytes], real: bytes) -> int:
        """Open a folder, made if it is missing; whatever is no folder on the way is named."""
        at = os.dup(above)
        for name in names:
            real = real + b"/" + name
            try:
                inside = files.make_folder(at, name)
            except OSError as error:
                found = self._found(at, name)
                if found and not stat.S_ISDIR(found.st_mode):
                    raise planted(real, found) from error
                raise files.failed(real, error) from error
            finally:
                os.close(at)
            at = inside
        return at

    def _parent(self, name: bytes, make: bool) -> int | None:
        """The folder that a name lies in; None if it is missing and not to be made."""
        names = name.split(b"/")[:-1]
        if make:
            return self._make(self.folder, names, self.real)
        try:
            return files.open_below(self.folder, names, files.FOLDER)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise files.failed(self.shown(name), error) from error
        at, real = os.dup(self.folder), self.real
        try:
            for part in names:
                real, found = real + b"/" + part, self._found(at, part)
                if found and stat.S_ISLNK(found.st_mode):
                    raise planted(real, found)
                if not found or not stat.S_ISDIR(found.st_mode):
                    return None
                at, before = os.open(part, files.FOLDER, dir_fd=at), at
                os.close(before)
            return None
        finally:
            os.close(at)

    @staticmethod
    def _found(folder: int, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    # --- The manifest ---

    def read_manifest(self) -> bytes | None:
        try:
            file = files.open_regular(self.folder, [delivery.NAME])
        except FileNotFoundError:
            return None
        except files.NotRegular as error:
            raise files.Failed(
                files.EX_NOPERM, f"{self.shown(delivery.NAME)} is a {error}; remove it"
            ) from error
        except OSError as error:
            raise files.failed(self.shown(delivery.NAME), error) from error
        try:
            return b"".join(files.chunks(file, delivery.MOST_BYTES))
        finally:
            os.close(file)

    def write_manifest(self, content: bytes, is_first: bool) -> None:
        """Put the manifest in place; the first one only if nobody else did so meanwhile."""
        self.write(delivery.NAME, content, is_first)

    def write(self, name: bytes, content: bytes, is_first: bool) -> None:
        """Put a small file of ours in place, whole."""
        try:
            with files.draft(self.folder, self.uid) as (file, draft):
                files.write_all(file, content, 0)
                os.fchmod(file, 0o666 & ~files.umask())
                os.fsync(file)
                at = {"src_dir_fd": self.folder, "dst_dir_fd": self.folder}
                if is_first:
                    try:
                        os.link(draft, name, **at, follow_symlinks=False)
                    except FileExistsError as error:
                        raise files.Failed(
                            files.EX_TEMPFAIL,
                            f"another export began in {self.shown(b'')} just now; tried again",
                        ) from error
                    except OSError:  # a file system without hard links
                        os.rename(draft, name, **at)
                else:
                    os.rename(draft, name, **at)
            os.fsync(self.folder)
        except OSError as error:
            raise files.failed(self.shown(name), error) from error

    # --- Clearing ---

    def clear_drafts(self, names: Iterable[bytes]) -> None:
        """Remove what killed exports of this uid left in the folders of these files."""
        for folder in {name.rpartition(b"/")[0] for name in names} | {b""}:
            at = self._parent(folder + b"/x" if folder else b"x", make=False)
            if at is None:
                continue
            try:
                for name, found in files.entries(at):
                    if files.is_draft(name, self.uid) and stat.S_ISREG(found.st_mode):
                        os.unlink(name, dir_fd=at)
            finally:
                os.close(at)

    def remove(self, names: Iterable[bytes], folders: Iterable[bytes]) -> None:
        """Remove files that an earlier manifest lists, and folders that are empty then."""
        emptied = set(folders)
        for name in names:
            at = self._parent(name, make=False)
            if at is None:
                continue
            last = name.rpartition(b"/")[2]
            try:
                found = self._found(at, last)
                if found and stat.S_ISDIR(found.st_mode):
                    continue  # it is not what we wrote
                if found and not stat.S_ISREG(found.st_mode):
                    raise planted(self.real + b"/" + name, found)
                if found:
                    os.unlink(last, dir_fd=at)
            except OSError as error:
                raise files.failed(self.shown(name), error) from error
            finally:
                os.close(at)
            emptied.add(name.rpartition(b"/")[0])
        for folder in sorted(emptied, key=len, reverse=True):
            while folder:
                self._remove_empty(folder)
                folder = folder.rpartition(b"/")[0]

    def _remove_empty(self, folder: bytes) -> None:
        at = self._parent(folder, make=False)
        if at is None:
            return
        try:
            with contextlib.suppress(OSError):  # it is not empty, or no folder
                os.rmdir(folder.rpartition(b"/")[2], dir_fd=at)
        finally:
            os.close(at)

    # --- Files ---

    def has(self, file: delivery.File) -> bool:
        """Whether a file that an earlier manifest lists is there, untouched."""
        at = self._parent(file.name, make=False)
        if at is None:
            return False
        try:
            found = self._found(at, file.name.rpartition(b"/")[2])
        finally:
            os.close(at)
        return bool(
            found
            and stat.S_ISREG(found.st_mode)
            and found.st_size == file.size
            and same_time(found.st_mtime_ns, file.mtime_ns)
        )

    def put(self, origin: int, found: Found) -> delivery.File:
        """Copy one open file to its place, whole and verified by reading it back."""
        last = found.name.rpartition(b"/")[2]
        at = self._parent(found.name, make=True)
        assert at is not None
        try:
            there = self._found(at, last)
            if there and not stat.S_ISREG(there.st_mode):
                raise planted(self.real + b"/" + found.name, there)
            with files.draft(at, self.uid) as (file, name):
                running = hashlib.sha256()
                size = files.copy(origin, file, [running])
                if size != found.seen.size or files.seen(os.fstat(origin)) != found.seen:
                    raise files.changed(found.name)
                os.fchmod(file, found.mode)
                os.utime(file, ns=(found.seen.mtime_ns, found.seen.mtime_ns))
                os.fsync(file)
                if hasattr(os, "posix_fadvise"):  # so that the disk is read, not the memory
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                if files.sha256(file) != running.hexdigest():
                    raise files.Failed(
                        files.EX_IOERR,
                        f"{self.shown(found.name)} reads back other than it was written; tried "
                        f"again. If it comes back, look at that disk",
                    )
                os.rename(name, last, src_dir_fd=at, dst_dir_fd=at)
        except OSError as error:
            raise files.failed(self.shown(found.name), error) from error
        finally:
            os.close(at)
        return delivery.File(found.name, size, found.seen.mtime_ns, running.hexdigest())

    def finish(self, listed: list[delivery.File], empty_folders: list[bytes]) -> None:
        """Make the empty folders, and see that all is there and stays after a power cut.

        Raises:
            files.Failed: a file is not there, or two names are one file: the file system does not
                tell them apart.
        """
        for name in empty_folders:
            os.close(self._make(self.folder, name.split(b"/"), self.real))
        inodes: dict[tuple[int, int], delivery.File] = {}
        folders = {name.rpartition(b"/")[0] for name in empty_folders} | {b""}
        for file in listed:
            folder, _, last = file.name.rpartition(b"/")
            folders.add(folder)
            at = self._parent(file.name, make=False)
            found = None
            if at is not None:
                try:
                    found = self._found(at, last)
                finally:
                    os.close(at)
            if not found or not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
                raise files.Failed(
                    files.EX_TEMPFAIL,
                    f"{self.shown(file.name)} was there, and is not any more; tried again",
                )
            other = inodes.setdefault((found.st_dev, found.st_ino), file)
            if other.sha256 != file.sha256:  # else somebody may have linked twins to save room
                raise files.Failed(
                    files.EX_CONFIG,
                    f"{self.shown(other.name)} and {self.shown(file.name)} are one file there; "
                    f"export to a file system that tells these names apart",
                )
        for folder in folders:
            at = self._parent(folder + b"/x" if folder else b"x", make=False)
            if at is not None:
                try:
                    os.fsync(at)
                finally:
                    os.close(at)


def same_time(there: int, listed: int) -> bool:
    """Whether two times are one, ns, on a file system that may keep whole seconds or µs only."""
    return there in (listed, listed // 1000 * 1000, listed // 10**9 * 10**9)


def planted(path: bytes, found: os.stat_result) -> files.Failed:
    """The failure where something of another kind stands in the way."""
    return files.Failed(
        files.EX_NOPERM,
        f"{files.shown(path)} is a {files.kind(found.st_mode)}, which no export makes there; "
        f"remove it, or correct the export's place",
    )
