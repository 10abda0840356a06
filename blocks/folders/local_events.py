"""What the kernel tells of a watched folder (inotify): of this machine's own writing, and no more.

Watched are the folder itself and those in it that wait for their `daylily_work.yaml`: no deeper,
and through no link, for who delivers could lead us all over the file system.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from watchfiles import Change, watch

from worksets.errors import TransientError
from worksets.spec import FILE_NAME

TOGETHER_MS: Final = 1000
"""Changes of so many milliseconds are told as one."""
BEHIND_MS: Final = 1000
"""Milliseconds after which it is looked what came before a watch had begun."""
APART: Final = 5
"""A folder full of news is not listed again before so many times as long as listing it takes."""
MOST_UNFILLED: Final = 500
"""Folders without a `daylily_work.yaml` that are watched for it, the newest."""


class Folders(NamedTuple):
    """Names of the folders that have their `daylily_work.yaml`, and of those that wait for it."""

    filled: frozenset[str]
    unfilled: frozenset[str]


def told(root: Path, stop: threading.Event) -> Iterator[None]:
    """An item whenever a folder is filled that was not before, until `stop` is set.

    Raises:
        TransientError: the folder cannot be watched.
    """
    known: frozenset[str] = frozenset()
    while not stop.is_set():
        began = time.monotonic()
        there = _folders(root)
        if not there.filled <= known:
            known = there.filled
            yield
        stop.wait(APART * (time.monotonic() - began))
        try:
            if not _wait(root, there, stop):
                known = frozenset()
        except FileNotFoundError:
            stop.wait(BEHIND_MS / 1000)  # a folder has gone meanwhile
        except (OSError, RuntimeError) as error:  # watchfiles' own errors are of the second kind
            raise TransientError(
                f"{root} cannot be watched: {error}; if that is a limit, raise "
                f"fs.inotify.max_user_watches or fs.inotify.max_user_instances (sysctl)"
            ) from error


def _wait(root: Path, there: Folders, stop: threading.Event) -> bool:
    """Wait until something may have changed; False: the folder itself is another one now."""
    where, behind = _identity(root), True
    for changes in watch(
        root, *(root / name for name in there.unfilled), recursive=False,
        watch_filter=_may_fill(root), debounce=TOGETHER_MS, stop_event=stop,
        rust_timeout=BEHIND_MS, yield_on_timeout=True, raise_interrupt=False,
        ignore_permission_denied=False,  # or it ignores a limit that is reached, too
    ):  # fmt: skip
        if changes or (behind and _folders(root) != there):
            return True
        if _identity(root) != where:
            return False  # made anew, or mounted again: the kernel watches what was there
        behind = False
    return True


def _may_fill(root: Path) -> Callable[[Change, str], bool]:
    """Whether a change may be that of a folder that comes, or gets its `daylily_work.yaml`."""

    def may_fill(change: Change, path: str) -> bool:
        above, name = os.path.split(path)
        return name == FILE_NAME or (change is Change.added and above == str(root))

    return may_fill


def _identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


def _folders(root: Path) -> Folders:
    filled, not_yet = set(), []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    if os.path.lexists(os.path.join(entry.path, FILE_NAME)):
                        filled.add(entry.name)
                    elif os.access(entry.path, os.R_OK):  # or the kernel lets nobody watch it
                        not_yet.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    except OSError as error:
        raise TransientError(f"{root} cannot be watched: {error}") from error
    newest = sorted(not_yet, reverse=True)[:MOST_UNFILLED]
    return Folders(frozenset(filled), frozenset(name for _, name in newest))
