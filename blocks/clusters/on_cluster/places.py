"""Where staged files come from: a folder of this machine. (`s3.py` has the same for S3.)"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files
else:
    import files


class FolderPlace:
    """A folder out of which no file is ever read, whatever links it holds."""

    def __init__(self, root: str, below: list[bytes]) -> None:
        """Open `below` in `root`; links in the path of `root` itself are the operator's.

        Raises:
            files.Failed: a component of `below` is a link, or is missing; or `root` is missing,
                which is its node's trouble and no customer's.
        """
        place = os.path.realpath(os.fsencode(root))
        self.real = b"/".join([place.rstrip(b"/"), *below]) or b"/"
        try:
            above = files.open_real(place)
        except FileNotFoundError as error:
            raise files.Failed(
                files.EX_TEMPFAIL,
                f"{files.shown(place)} is not there on {os.uname().nodename}; is it mounted? "
                f"Tried again",
            ) from error
        except OSError as error:
            raise files.failed(place, error, files.EX_NOINPUT) from error
        try:
            self.folder = files.open_below(above, below, files.FOLDER)
        except OSError as error:
            if os.path.islink(self.real):
                raise files.Failed(
                    files.EX_NOINPUT,
                    f"{files.shown(self.real)} is a link; deliver the folder itself",
                ) from error
            raise files.failed(self.real, error, files.EX_NOINPUT) from error
        finally:
            os.close(above)

    def shown(self, name: bytes) -> str:
        return files.shown(self.real.rstrip(b"/") + b"/" + name)

    def inside(self, name: bytes) -> list[bytes]:
        """The components of the real path of `name` below this folder.

        Raises:
            files.Failed: it leads out.
        """
        real = os.path.realpath(self.real.rstrip(b"/") + b"/" + name)
        below = self.real.rstrip(b"/") + b"/"
        if not (real + b"/").startswith(below):
            raise files.Failed(
                files.EX_NOINPUT,
                f"{self.shown(name)} leads out of its folder, to {files.shown(real)}; "
                f"deliver the file itself",
            )
        return [part for part in real[len(below) :].split(b"/") if part]

    def _open(self, name: bytes) -> int:
        names = self.inside(name)
        try:
            if not names:
                raise files.NotRegular("folder")
            return files.open_regular(self.folder, names)
        except files.NotRegular as error:
            raise files.Failed(
                files.EX_NOINPUT, f"{self.shown(name)} is a {error}; deliver a plain file"
            ) from error
        except OSError as error:
            raise files.failed(self.shown(name), error, files.EX_NOINPUT) from error

    def look(self, name: bytes) -> files.Seen:
        """What the file is now; opened for it, so that NFS asks its server."""
        file = self._open(name)
        try:
            return files.seen(os.fstat(file))
        finally:
            os.close(file)

    def fetch(self, name: bytes, draft: int, hashes: list[Any]) -> files.Seen:
        """Copy the file into a draft and through the hashes; what it was before."""
        file = self._open(name)
        try:
            found = os.fstat(file)
            try:
                size = files.copy(file, draft, hashes)
            except OSError as error:
                raise files.failed(self.shown(name), error) from error
            if size != found.st_size:
                raise files.changed(self.shown(name))
            os.fchmod(draft, 0o400 | found.st_mode & 0o777)
            os.utime(draft, ns=(found.st_atime_ns, found.st_mtime_ns))
            return files.seen(found)
        finally:
            os.close(file)

    def listing(self, folder: bytes) -> list[bytes] | None:
        """Names of what lies in a folder of it, without folders; None if that may not be read."""
        try:
            at = files.open_below(self.folder, self.inside(folder), files.FOLDER)
        except PermissionError:
            return None
        except OSError:
            return []  # the files that should be in it are missed by their own names
        try:
            found = files.entries(at)
        except PermissionError:
            return None
        finally:
            os.close(at)
        return [name for name, there in found if files.kind(there.st_mode) != "folder"]

    def read(self, name: bytes, most: int, sure: bool) -> tuple[bytes, files.Seen] | None:
        """A small file and what it is, one byte more than `most` at the longest.

        None if it is not there, unless it is `sure` that it was.
        """
        try:
            file = self._open(name)
        except files.Failed as error:
            if not sure and isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
                return None
            raise
        try:
            return b"".join(files.chunks(file, most + 1)), files.seen(os.fstat(file))
        except OSError as error:
            raise files.failed(self.shown(name), error) from error
        finally:
            os.close(file)
