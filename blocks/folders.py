"""Where worksets come from: watched places, whose sub-folders with a `daylily_work.yaml` they are.

One interface for local folders (`LocalFileSystem`, or a path) and for S3 (`blocks.s3_folders`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from worksets.errors import ConfigurationError, DataError, TransientError
from worksets.spec import FILE_NAME, is_identifier
from worksets.yaml_safe import MAX_BYTES

Found = list[tuple[str, str]]
"""Id and location of workset folders; the id is empty where the folder's name is none."""


class SpecMissing(ConfigurationError):
    """There is no `daylily_work.yaml`: the folder is not a workset, or not one yet."""


class Folder(Protocol):
    """One workset's folder. Its methods block."""

    @property
    def source(self) -> str:
        """What a job is told to stage from."""

    def read_spec(self) -> bytes:
        """The bytes of its `daylily_work.yaml`, at most one more than is lawful.

        Raises:
            SpecMissing: there is none.
            ConfigurationError: it may not be read.
            TransientError: reading failed.
        """

    def sizes(self, names: Iterable[str]) -> dict[str, int | DataError]:
        """Bytes of each of these files (lawful relative paths), or what is wrong with it.

        Raises:
            ConfigurationError: it may not be looked at.
            TransientError: looking failed.
        """


class Source(Protocol):
    """A watched place. Its methods block."""

    @property
    def root(self) -> str:
        """The URI below which its worksets lie."""

    def find(self, cursor: str) -> tuple[Found, str]:
        """Workset folders below it, and the cursor for the next call (empty at the first)."""

    def open(self, location: str) -> Folder:
        """The folder at a location below `root`."""


class LocalFolder:
    """One workset's folder on a local (or mounted) file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def source(self) -> str:
        """What a job is told to stage from."""
        return str(self.path)

    def read_spec(self) -> bytes:
        """See `Folder`."""
        path = self.path / FILE_NAME
        try:
            with open(path, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ConfigurationError(f"{path} is not a regular file; replace it by one")
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise SpecMissing(f"{path} is not there; put it there, as the last file") from error
        except (IsADirectoryError, PermissionError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error.strerror}; put it there, readable for this user"
            ) from error
        except OSError as error:
            raise TransientError(f"{path} could not be read: {error}") from error

    def sizes(self, names: Iterable[str]) -> dict[str, int | DataError]:
        """See `Folder`."""
        seen: dict[str, int | DataError] = {}
        for name in names:
            try:
                seen[name] = self._size(name)
            except DataError as error:
                seen[name] = error
        return seen

    def _size(self, name: str) -> int:
        """Bytes of the file `name` (a lawful relative path) in the folder.

        Raises:
            DataError: missing, empty, not a file, or leading out of the folder.
            TransientError: it could not be looked at.
        """
        path = self.path / name
        try:
            found = path.resolve(strict=True)
            if not found.is_relative_to(self.path.resolve()):
                raise DataError(
                    f"{name} is a link that leaves the workset's folder; put the file itself there"
                )
            info = found.stat()
        except FileNotFoundError:
            raise DataError(f"{name} is not in {self.path}; deliver the file") from None
        except NotADirectoryError:
            raise DataError(f"{name}: a part of this path is a file, not a folder") from None
        except RuntimeError:
            raise DataError(f"{name} is a link to itself; put the file itself there") from None
        except PermissionError as error:
            raise ConfigurationError(
                f"{path} may not be read: {error.strerror}; make it readable for this user"
            ) from error
        except OSError as error:
            raise TransientError(f"{path} could not be looked at: {error}") from error
        if not stat.S_ISREG(info.st_mode):
            raise DataError(f"{name} is not a regular file; deliver a FASTQ file")
        if not os.access(found, os.R_OK):
            raise ConfigurationError(f"{path} may not be read; make it readable for this user")
        if info.st_size == 0:
            raise DataError(f"{name} is empty (0 bytes); deliver it again")
        return info.st_size


class LocalSource:
    """A watched folder on a local (or mounted) file system."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().resolve()

    @property
    def root(self) -> str:
        return self.path.as_uri()

    def find(self, _cursor: str) -> tuple[Found, str]:
        """See `Source`; there is no cursor here.

        Raises:
            ConfigurationError: the folder cannot be listed.
        """
        try:
            entries = sorted(os.scandir(self.path), key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of worksets {self.path} cannot be listed: {error.strerror}"
            ) from error
        return [
            (entry.name if is_identifier(entry.name) else "", Path(entry.path).as_uri())
            for entry in entries
            if entry.is_dir() and os.path.lexists(os.path.join(entry.path, FILE_NAME))
        ], ""

    def open(self, location: str) -> LocalFolder:
        return local_folder(location)


def local_folder(location: str) -> LocalFolder:
    """The folder at a `file:///` location."""
    return LocalFolder(Path(unquote(urlsplit(location).path)))
