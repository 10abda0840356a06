"""Where worksets come from: folders on this machine, each with a `daylily_work.yaml`.

A location is a URI. `open_folder` is the one place that knows which kinds there are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worksets.errors import ConfigurationError, DataError, TransientError
from worksets.spec import FILE_NAME, is_identifier
from worksets.yaml_safe import MAX_BYTES


class LocalFolder:
    """One workset's folder on a local (or mounted) file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def source(self) -> str:
        """What a job is told to stage from."""
        return str(self.path)

    def read_spec(self) -> bytes:
        """The bytes of its `daylily_work.yaml`, at most one more than is lawful.

        Raises:
            ConfigurationError: there is none, or it may not be read.
            TransientError: reading failed.
        """
        path = self.path / FILE_NAME
        try:
            with open(path, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ConfigurationError(f"{path} is not a regular file; replace it by one")
                return file.read(MAX_BYTES + 1)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error.strerror}; put it there, readable for this user"
            ) from error
        except OSError as error:
            raise TransientError(f"{path} could not be read: {error}") from error

    def size(self, name: str) -> int:
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


def open_folder(location: str) -> LocalFolder:
    """The folder at a location.

    Raises:
        ConfigurationError: the kind of URI is not one we can read.
    """
    parts = urlsplit(location)
    if parts.scheme == "file":
        return LocalFolder(Path(unquote(parts.path)))
    raise ConfigurationError(f"worksets cannot be read from {location}; use a file:/// folder")


def find_worksets(root: str) -> Iterator[tuple[str, str]]:
    """Id and location of every workset folder directly below `root`, a local path.

    A folder whose name is no lawful id comes with an empty id.

    Raises:
        ConfigurationError: `root` cannot be listed.
    """
    base = Path(root).expanduser().resolve()
    try:
        entries = sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigurationError(
            f"the folder of worksets {base} cannot be listed: {error.strerror}"
        ) from error
    for entry in entries:
        if entry.is_dir() and os.path.lexists(os.path.join(entry.path, FILE_NAME)):
            name = entry.name if is_identifier(entry.name) else ""
            yield name, Path(entry.path).as_uri()
