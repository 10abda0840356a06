"""Folders and files that are this user's alone."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worksets.errors import ConfigurationError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def private_folder(path: Path, owner: int | None = None) -> Path:
    """The folder, made if it is missing, with mode 0700; one that others could enter is closed.

    `owner`: the user id that must own it; None: this user.

    Raises:
        ConfigurationError: it is somebody else's, or no folder.
    """
    owner = os.geteuid() if owner is None else owner
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.stat()
        if info.st_uid != owner:
            raise ConfigurationError(
                f"the folder {path} belongs to another user (id {info.st_uid}); name a folder of "
                f"your own, such as make run RUN=$HOME/run"
            )
        if stat.S_IMODE(info.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {path} cannot be made or used: {error.strerror}; name a folder of your own"
        ) from error
    return path


def is_private(path: Path, owner: int) -> bool:
    """Whether it is a folder (no link) of this user's that nobody else may enter."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(info.st_mode)
        and info.st_uid == owner
        and stat.S_IMODE(info.st_mode) & 0o077 == 0
    )


def secret(path: Path) -> str:
    """The secret in a file of mode 0600; made once, at the first call.

    Raises:
        ConfigurationError: the file is not this user's alone.
    """
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(24) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # never half written, and never over one that is there
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read_secret(path)


def _read_secret(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"the password {path} cannot be read: {error.strerror}; delete it, a new one is made"
        ) from error
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise ConfigurationError(f"the password {path} is no file; delete it, a new one is made")
    with open(handle, encoding="ascii", errors="replace") as file:
        if info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise ConfigurationError(
                f"others may have read the password {path}; delete it, a new one is made"
            )
        text = file.read(1000).strip()
    if len(text) < 16:
        raise ConfigurationError(f"the password {path} is cut off; delete it, a new one is made")
    return text


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep a proxy of this machine from being asked for loopback."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in LOOPBACK if name not in names]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(names))
