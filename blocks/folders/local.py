"""Worksets on a local (or mounted) file system: a `LocalFileSystem` block's folder, or a path.

Nothing is opened through a link that leads out of a workset's folder: folders are walked part by
part, by descriptors.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from blocks.folders.base import Found, SpecFile, SpecMissing
from blocks.folders.local_events import told
from worksets.delivery import NotThere, Seen
from worksets.errors import ConfigurationError, DataError, TransientError
from worksets.jobs import Input
from worksets.sample_sheet import SHEET_NAME
from worksets.spec import FILE_NAME, is_identifier
from worksets.uris import file_path, file_uri, once_encoded
from worksets.yaml_safe import MAX_BYTES

NO_FILE: Final = (errno.ENXIO, errno.ENODEV)
"""Errors of opening a socket, or a device without a driver."""


class LeadsOut(DataError):
    """A link on the way leads out of the folder."""


class LocalFolder:
    """One workset's folder on a local (or mounted) file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def source(self) -> str:
        return str(self.path)

    @property
    def source_root(self) -> str:
        return str(self.path.parent)

    def read_spec(self) -> SpecFile:
        """See `Folder`."""
        try:
            return self._read(FILE_NAME)
        except FileNotFoundError as error:
            path = self.path / FILE_NAME
            raise SpecMissing(f"{path} is not there; put it there, as the last file") from error

    def read_sheet(self) -> bytes | None:
        """See `Folder`."""
        try:
            return self._read(SHEET_NAME).data
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> SpecFile:
        """A text in the folder, and its stamp; FileNotFoundError: there is none."""
        path = self.path / name
        try:
            with _opened(self.path, name) as file:
                info = os.fstat(file)
                if not stat.S_ISREG(info.st_mode):
                    raise ConfigurationError(f"{path} is not a regular file; replace it by one")
                return SpecFile(_read(file, MAX_BYTES + 1), _stamp(info))
        except FileNotFoundError:
            _check_place(self.path)
            raise
        except LeadsOut as error:
            raise ConfigurationError(f"{path}: {error}") from error
        except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error.strerror}; put it there, readable for this user"
            ) from error
        except OSError as error:
            if error.errno in NO_FILE:
                raise ConfigurationError(
                    f"{path} is not a regular file; replace it by one"
                ) from error
            raise TransientError(f"{path} could not be read: {error}") from error

    def say(self, name: str, text: str, instead_of: Iterable[str]) -> None:
        """See `Folder`; a link of that name is replaced, not followed."""
        draft = f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            with _inside(self.path) as folder:
                new = os.open(draft, _NEW, 0o644, dir_fd=folder)
                with os.fdopen(new, "w", encoding="utf-8") as file:
                    file.write(text)
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                for other in instead_of:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(other, dir_fd=folder)
        except (LeadsOut, PermissionError) as error:
            raise ConfigurationError(
                f"{self.path / name} cannot be written: {error}; give this user the right to, or "
                f"switch status_files off"
            ) from error
        except OSError as error:
            raise TransientError(f"{self.path / name} could not be written: {error}") from error

    def look(self, inputs: Iterable[Input]) -> dict[str, Seen | DataError]:
        """See `Folder`."""
        return {entry.name: look_at(self.path, entry.name) for entry in inputs}


def look_at(root: Path, name: str) -> Seen | DataError:
    """What is to be seen of the file `name` (a lawful relative path) below `root`.

    Raises:
        ConfigurationError: it may not be read.
        TransientError: it could not be looked at.
    """
    path = root / name
    try:
        with _opened(root, name) as file:
            info = os.fstat(file)
    except LeadsOut as error:
        return error
    except FileNotFoundError:
        _check_place(root)
        return NotThere(f"{name} is not in {root}; deliver the file")
    except NotADirectoryError:
        return DataError(f"{name}: a part of this path is a file, not a folder")
    except PermissionError as error:
        raise ConfigurationError(
            f"{path} may not be read: {error.strerror}; make it readable for this user"
        ) from error
    except OSError as error:
        if error.errno in NO_FILE:
            return DataError(f"{name} is not a regular file; deliver a FASTQ file")
        raise TransientError(f"{path} could not be looked at: {error}") from error
    if not stat.S_ISREG(info.st_mode):
        return DataError(f"{name} is not a regular file; deliver a FASTQ file")
    if info.st_size == 0:
        return NotThere(f"{name} is empty (0 bytes); deliver it again")
    return Seen(info.st_size, _stamp(info), _changed_at(info))


def _check_place(folder: Path) -> None:
    """Tell a folder that is gone from a place that is away with all that lies in it.

    Raises:
        TransientError: the place is not there, or empty, as a share that is not mounted is.
    """
    try:
        with os.scandir(folder.parent) as entries:
            away = next(entries, None) is None
    except PermissionError:
        away = False  # it is there
    except OSError:
        away = True
    if away:
        raise TransientError(
            f"{folder.parent} is not there, or is empty; is it mounted? Looked at again"
        )


def _changed_at(info: os.stat_result) -> datetime:
    """When a file was changed; a year that nothing can count with is that of a broken clock."""
    try:
        return datetime.fromtimestamp(info.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _stamp(info: os.stat_result) -> str:
    return f"{info.st_mtime_ns}:{info.st_size}"


def _read(file: int, most: int) -> bytes:
    parts = []
    while most > 0 and (part := os.read(file, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# without O_NONBLOCK a FIFO would hold us for ever
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


@contextmanager
def _opened(root: Path, name: str) -> Iterator[int]:
    """The file `name` below the real folder `root`, through no link that leads out of it."""
    with _inside(root) as inside:
        try:
            file = _walk(inside, PurePosixPath(name).parts)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            # a link: where it really leads is opened in its place, part by part again
            file = _walk(inside, _real(root, name))
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _inside(root: Path) -> Iterator[int]:
    """A workset's folder itself, which is no link."""
    above = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder = _step(above, root.name, root)
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        os.close(folder)


def _step(folder: int, name: str, path: Path) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
            raise LeadsOut(
                f"{path} is a link; a workset's folder is a folder itself, in the watched one"
            ) from error
        raise


def _walk(root: int, parts: tuple[str, ...]) -> int:
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _real(root: Path, name: str) -> tuple[str, ...]:
    """The parts, below `root`, of the path that a link leads to.

    Raises:
        LeadsOut: it leads elsewhere, or to itself.
    """
    try:
        found = (root / name).resolve(strict=True)
    except RuntimeError:
        raise LeadsOut(f"{name} is a link to itself; put the file itself there") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LeadsOut(f"{name} is a link to itself; put the file itself there") from None
        raise
    home = root.resolve()
    if not found.is_relative_to(home) or found == home:
        raise LeadsOut(
            f"{name} is a link that leaves the workset's folder; put the file itself there"
        )
    return found.relative_to(home).parts


class LocalSource:
    """A watched folder on a local (or mounted) file system."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().resolve()

    @property
    def root(self) -> str:
        return file_uri(str(self.path))

    def find(self, _cursor: str) -> tuple[list[Found], str]:
        """See `Source`; there is no cursor here.

        Raises:
            ConfigurationError: the folder cannot be listed.
        """
        try:
            with os.scandir(self.path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of worksets {self.path} cannot be listed: {error.strerror}"
            ) from error
        return [found for entry in entries if (found := _found(entry)) is not None], ""

    def open(self, location: str) -> LocalFolder:
        return local_folder(location)

    def changes(self, stop: threading.Event, queue: str) -> Iterator[frozenset[str]] | None:
        """See `Source`: what the kernel tells; `find` lists all, so no folder is named."""
        return (frozenset() for _ in told(self.path, stop))


def _found(entry: os.DirEntry[str]) -> Found | None:
    """What an entry of a watched folder is; None if it is no workset. It raises nothing."""
    location = file_uri(entry.path)
    try:
        if entry.is_symlink():
            if not Path(entry.path).is_dir():
                return None
            return Found("", location, refused="it is a link; put the folder itself there")
        if not entry.is_dir(follow_symlinks=False):
            return None
        info = os.lstat(os.path.join(entry.path, FILE_NAME))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Found("", location, refused=f"it cannot be looked into: {error.strerror}")
    if not is_identifier(entry.name):
        return Found(
            "",
            location,
            refused="its name must be 1 to 64 letters, digits, '.', '_' or '-'; rename it",
        )
    return Found(entry.name, location, _stamp(info))


def local_folder(location: str) -> LocalFolder:
    """The folder at a `file:///` location, also at one that an older release has encoded."""
    path, older = Path(file_path(location)), once_encoded(location)
    return LocalFolder(Path(older) if older and not os.path.lexists(path) else path)
