"""Safe handling of files, for the programs that run on a cluster's nodes (Python 3.9, no packages).

Names are bytes here, as the file system has them, so no name is lost to an encoding. Everything is
opened through descriptors of folders, one component after the other, and never through a link: what
was checked is what is opened, whatever somebody renames in between.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import resource
import secrets
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

EX_DATAERR, EX_NOINPUT, EX_SOFTWARE, EX_CANTCREAT, EX_IOERR = 65, 66, 70, 73, 74
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78
"""Exit codes of sysexits.h: damaged, missing, a fault of ours, no room, I/O, try again, no
permission, configured wrongly."""

CHUNK = 4 * 1024 * 1024
"""Bytes that are read and written at once."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# never waits for the other end of a FIFO, never makes a terminal ours
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MOST_LEVELS = 200
"""Folders inside one another that are looked at; each takes an open file."""


class Failed(Exception):
    """The program ends with this exit code, and this text says what happened and what to do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def shown(name: bytes | str) -> str:
    """A name as it stands in a message: on one line, and odd bytes as `\\udcXX`."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return text if text.isprintable() and text.strip() == text and text else repr(text)


def failed(name: bytes | str, error: OSError, missing: int = EX_IOERR) -> Failed:
    """What an error of the operating system with this file means; `missing`: the code of ENOENT."""
    what = f"{shown(name)}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(EX_CANTCREAT, f"{what}; make room there")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Failed(EX_NOPERM, f"{what}; allow the cluster's user to use it")
    if error.errno == errno.ENOENT:
        return Failed(missing, f"{what}; is it there?")
    return Failed(EX_IOERR, what)


def changed(name: bytes | str) -> Failed:
    """The failure of a file that is not the same before and after its copy."""
    return Failed(
        EX_TEMPFAIL,
        f"{shown(name)} changed while it was copied: it is still being delivered; tried again",
    )


def parts(path: bytes, what: str, code: int = EX_CONFIG) -> list[bytes]:
    """The components of a relative path.

    Raises:
        Failed: it is empty or absolute, or a component is empty, `.` or `..`.
    """
    found = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in found):
        raise Failed(code, f"{what} {shown(path)} is no plain path below its folder; correct it")
    return found


# --- Opening ---


def open_real(path: bytes) -> int:
    """A descriptor of a folder that the operator named; links in its own path are his."""
    return os.open(os.path.realpath(path), FOLDER)


def open_below(folder: int, names: list[bytes], flags: int) -> int:
    """Open `names`, one component after the other; a link anywhere is an error (ELOOP, ENOTDIR)."""
    at = os.dup(folder)
    try:
        for name in names[:-1]:
            at, before = os.open(name, FOLDER, dir_fd=at), at
            os.close(before)
        if not names:
            return os.dup(at)
        return os.open(names[-1], flags, dir_fd=at)
    finally:
        os.close(at)


def kind(mode: int) -> str:
    """The word for what a file is."""
    for test, word in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISLNK, "link"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
    ):
        if test(mode):
            return word
    return "device"


def open_regular(folder: int, names: list[bytes]) -> int:
    """Open a regular file for reading; no link is followed, and nothing else is ever opened.

    Raises:
        NotRegular: it is a link, a folder, a FIFO, a socket or a device.
        OSError: it cannot be opened.
    """
    parent = open_below(folder, names[:-1], FOLDER)
    try:
        # a look before: opening a device can do something
        found = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegular(kind(found.st_mode))
        file = os.open(names[-1], FILE, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotRegular("something else")
    return file


class NotRegular(Exception):
    """It is there, but it is no regular file; the text says what it is."""


# --- Identity ---


@dataclass(frozen=True)
class Seen:
    """What a file was at one look: two looks with one identity saw the same content."""

    identity: tuple[Any, ...]
    size: int
    mtime_ns: int = 0
    """Nanoseconds since 1970; 0 where a file that is being written is never seen, as on S3."""

    def is_fresh(self, quiet_s: float) -> bool:
        """Whether it was written less than `quiet_s` seconds ago, or in the future."""
        return time.time_ns() - self.mtime_ns < quiet_s * 1e9


def seen(found: os.stat_result) -> Seen:
    """The look at a file of a file system.

    The change time is part of its identity: so a write whose modification time was set back counts.
    """
    identity = (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
    return Seen(identity, found.st_size, found.st_mtime_ns)


# --- Writing ---


def chunks(file: int, size: int | None = None, start: int = 0) -> Iterator[bytes]:
    """The content of an open file, or `size` bytes of it from `start`; its position stays."""
    at, end = start, None if size is None else start + size
    while end is None or at < end:
        data = os.pread(file, CHUNK if end is None else min(CHUNK, end - at), at)
        if not data:
            return
        at += len(data)
        yield data


def write_all(file: int, data: bytes, at: int) -> None:
    """Write all of `data` at a position, in as many calls as that takes."""
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


def copy(origin: int, draft: int, hashes: list[Any]) -> int:
    """Copy a whole open file into a draft and through the hashes; the number of bytes."""
    at = 0
    for data in chunks(origin):
        for running in hashes:
            running.update(data)
        write_all(draft, data, at)
        at += len(data)
    return at


def sha256(file: int) -> str:
    """SHA-256 of an open file in hexadecimal."""
    running = hashlib.sha256()
    for data in chunks(file):
        running.update(data)
    return running.hexdigest()


def make_folder(folder: int, name: bytes) -> int:
    """Open a folder that is made if it is missing; a link or a file there is an error."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, FOLDER, dir_fd=folder)


def make_folders(folder: int, names: list[bytes]) -> int:
    """The same for one below the other."""
    at = os.dup(folder)
    for name in names:
        try:
            at, before = make_folder(at, name), at
        except BaseException:
            os.close(at)
            raise
        os.close(before)
    return at


_DRAFT = re.compile(rb"\.worksets-.*-[0-9a-f]{16}\.part")


def is_draft(name: bytes, uid: str | None = None) -> bool:
    """Whether a name is one of our drafts', of this uid or of any."""
    if uid is None:
        return bool(_DRAFT.fullmatch(name))
    pattern = rb"\.worksets-%s-[0-9a-f]{16}\.part" % re.escape(uid.encode())
    return bool(re.fullmatch(pattern, name))


def new_draft(folder: int, uid: str = "") -> tuple[int, bytes]:
    """A new file under a name that nobody can know beforehand: its descriptor and its name."""
    name = b".worksets-%s-%s.part" % (uid.encode(), secrets.token_hex(8).encode())
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=folder), name


@contextlib.contextmanager
def draft(folder: int, uid: str = "") -> Iterator[tuple[int, bytes]]:
    """The same, removed at the end unless it was renamed by then."""
    file, name = new_draft(folder, uid)
    try:
        yield file, name
    finally:
        os.close(file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def umask() -> int:
    """This process's mask of modes."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_whole(path: str, data: bytes) -> None:
    """Write a small file of our own so that a reader sees all of it or none, also after a crash."""
    parent, name = os.path.split(os.path.abspath(os.fsencode(path)))
    folder = open_real(parent)
    try:
        with draft(folder) as (file, temporary):
            write_all(file, data, 0)
            os.fsync(file)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)


# --- Removing ---


def entries(folder: int) -> list[tuple[bytes, os.stat_result]]:
    """Names in an open folder with what stands there (links are not followed), in order."""
    found = []
    for name in sorted(os.fsencode(name) for name in os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError):
            found.append((name, os.stat(name, dir_fd=folder, follow_symlinks=False)))
    return found


def remove(folder: int, name: bytes, found: os.stat_result) -> None:
    """Remove what stands there, a folder with all that is in it; links are never followed."""
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    inside = os.open(name, FOLDER, dir_fd=folder)
    try:
        for child, there in entries(inside):
            remove(inside, child, there)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=folder)


Kept = dict[bytes, Any]
"""Names to keep in a folder: None for a file, another of these for a folder."""


def tree(names: list[list[bytes]]) -> Kept:
    """The `Kept` of these paths; a path below one that is a file raises ValueError."""
    kept: Kept = {}
    for path in names:
        at = kept
        for part in path[:-1]:
            below = at.setdefault(part, {})
            if below is None:
                raise ValueError(path)
            at = below
        if at.setdefault(path[-1], None) is not None:
            raise ValueError(path)
    return kept


def sweep(folder: int, kept: Kept) -> int:
    """Remove all that is not to be kept; how many entries were."""
    removed = 0
    for name, found in entries(folder):
        wanted = kept.get(name, b"")
        if wanted is None and stat.S_ISREG(found.st_mode):
            continue
        if isinstance(wanted, dict) and stat.S_ISDIR(found.st_mode):
            inside = os.open(name, FOLDER, dir_fd=folder)
            try:
                removed += sweep(inside, wanted)
            finally:
                os.close(inside)
            continue
        remove(folder, name, found)
        removed += 1
    return removed


def without(kept: Kept, path: list[bytes]) -> Kept:
    """The same without one path."""
    if len(path) == 1:
        return {name: below for name, below in kept.items() if name != path[0]}
    return {**kept, path[0]: without(kept.get(path[0], {}), path[1:])}


# --- Programs ---


def prepare() -> None:
    """What each program does first.

    Names that are no text must not end it when they are shown, and a step that is cancelled
    (SIGTERM) removes its drafts before it ends.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # the system's default of 1,024 is little for a deep folder; what the site allows is enough
    with contextlib.suppress(ValueError, OSError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def explained(work: Callable[[], str], action: Callable[[], None]) -> int:
    """Run a program's work: 0, or the exit code of what went wrong, which is printed."""
    try:
        action()
    except Failed as error:
        code, text = error.code, str(error)
    except OSError as error:
        told = failed(error.filename if error.filename is not None else "", error)
        code, text = told.code, str(told)
    else:
        return 0
    print(f"{work()}: {text}", file=sys.stderr)
    return code


def wait_until(moment: float) -> None:
    """Sleep until the monotonic clock says so, seconds."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
