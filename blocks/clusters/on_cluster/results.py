"""What lies below a results folder: every file under its own name, and all that cannot go along.

Links are followed as far as they lead to files of the same work folder (the results' parent); some
pipelines publish nothing but links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files
else:
    import files

MOST_FILES = 1_000_000
"""Files of one export; links into links can make of few files more than any disk holds."""


@dataclass(frozen=True)
class Found:
    """One file: its name below the results, and its real place below the work folder."""

    name: bytes
    real: list[bytes]
    seen: files.Seen
    mode: int


@dataclass
class Results:
    """All that was found; `refused` says of each thing that cannot be exported why."""

    files: list[Found] = field(default_factory=list)
    empty_folders: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Scan:
    """One look at a results folder, from the descriptor of its work folder."""

    def __init__(self, results: str) -> None:
        path = os.path.abspath(os.fsencode(results))
        self.path, self.real = path, os.path.realpath(path)
        self.work = os.path.realpath(os.path.dirname(path))
        try:
            self.folder = files.open_real(self.work)
        except OSError as error:
            raise files.failed(self.work, error, files.EX_NOINPUT) from error

    def close(self) -> None:
        os.close(self.folder)

    def look(self, lawful: Callable[[bytes], str]) -> Results:
        """Everything below the results; `lawful` says what is wrong with a name, or "".

        Raises:
            files.Failed: the results are no folder, or a link out of the work folder.
        """
        found = Results()
        real = self._real(self.path)
        if not os.path.isdir(self.path):
            raise files.Failed(
                files.EX_NOINPUT,
                f"{files.shown(self.path)} is no folder; did the pipeline write to it?",
            )
        if not real:
            raise files.Failed(
                files.EX_CONFIG,
                f"{files.shown(self.path)} leads out of the work folder; write results into it",
            )
        self._folder(b"", real, [], found, lawful)
        found.files.sort(key=lambda file: file.name)
        found.empty_folders.sort()
        return found

    def _real(self, path: bytes) -> list[bytes]:
        """Components of the real path below the work folder; none where it leads out of it."""
        real, below = os.path.realpath(path), self.work.rstrip(b"/") + b"/"
        return real[len(below) :].split(b"/") if real.startswith(below) else []

    def _folder(
        self,
        name: bytes,
        real: list[bytes],
        above: list[list[bytes]],
        found: Results,
        lawful: Callable[[bytes], str],
    ) -> None:
        """Look at one folder, `real`, that was reached through the folders `above`."""
        if len(above) > files.MOST_LEVELS:
            found.refused.append(f"{files.shown(name)}: more than {files.MOST_LEVELS} folders deep")
            return
        try:
            at = files.open_below(self.folder, real, files.FOLDER)
            try:
                entries = files.entries(at)
            finally:
                os.close(at)
        except OSError as error:
            raise files.failed(b"/".join([self.work, *real]), error) from error
        if not entries and name:
            self._add_empty(name, found, lawful)
        for child, there in entries:
            if len(found.files) + len(found.refused) > MOST_FILES:
                raise files.Failed(
                    files.EX_CONFIG, f"there are more than {MOST_FILES:,} results; pack them"
                )
            path = name + b"/" + child if name else child
            self._entry(path, [*real, child], there, [*above, real], found, lawful)

    def _add_empty(self, name: bytes, found: Results, lawful: Callable[[bytes], str]) -> None:
        if wrong := lawful(name):
            found.refused.append(f"{files.shown(name)}: {wrong}")
        else:
            found.empty_folders.append(name)

    def _entry(
        self,
        name: bytes,
        real: list[bytes],
        there: os.stat_result,
        above: list[list[bytes]],
        found: Results,
        lawful: Callable[[bytes], str],
    ) -> None:
        if stat.S_ISLNK(there.st_mode):
            link, target = real, self._real(b"/".join([self.work, *real]))
            try:
                if not target:
                    out = os.path.realpath(b"/".join([self.work, *real]))
                    found.refused.append(
                        f"{files.shown(name)}: a link out of the work folder, to {files.shown(out)}"
                        if out != self.work
                        else f"{files.shown(name)}: a link to a folder that contains it"
                    )
                    return
                there = os.lstat(b"/".join([self.work, *target]))
                if stat.S_ISLNK(there.st_mode):
                    found.refused.append(f"{files.shown(name)}: a link that leads to itself")
                    return
            except OSError:
                found.refused.append(f"{files.shown(name)}: a link that leads nowhere")
                return
            if link[: len(target)] == target or target in above:
                found.refused.append(f"{files.shown(name)}: a link to a folder that contains it")
                return
            real = target
        if stat.S_ISDIR(there.st_mode):
            self._folder(name, real, above, found, lawful)
        elif not stat.S_ISREG(there.st_mode):
            found.refused.append(f"{files.shown(name)}: a {files.kind(there.st_mode)}")
        elif wrong := lawful(name):
            found.refused.append(f"{files.shown(name)}: {wrong}")
        else:
            found.files.append(Found(name, real, files.seen(there), there.st_mode & 0o777))


def told(refused: list[str], most: int = 20) -> str:
    """The first of what is refused, and how many more there are."""
    more = f"\n  and {len(refused) - most} more" if len(refused) > most else ""
    return "\n  ".join(["", *refused[:most]]) + more
