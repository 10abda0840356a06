"""A Prefect server for one benchmark, and the CPU time of it and its PostgreSQL, by /proc."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local import postgres, server

QUIET_S = 1.0
"""Seconds in which a server that has nothing left to do is looked at."""
QUIET = 0.05
"""CPU seconds that it may take in them: its loops alone take as much."""
LONGEST_S = 30.0


@contextmanager
def serving() -> Iterator[server.Server]:
    """The server that `make run` starts, in a folder of its own, and this process its client."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
        running = server.start(Path(folder) / "server")
        os.environ.update(running.environment)
        try:
            running.wait()
            yield running
        finally:
            server.stop(running.folder)


def of_server(running: server.Server) -> float:
    """CPU seconds that the server and its database have taken so far, those that ended included."""
    database = postgres.data_of(running.folder / "postgres")
    roots = {running.pid}
    with suppress(OSError, ValueError, IndexError):
        roots.add(int((database / "postmaster.pid").read_text().split()[0]))
    return sum(
        seconds for pid, parent, session, seconds in _processes() if roots & {pid, parent, session}
    )


def settled(running: server.Server) -> None:
    """Wait until the server has done what it still had to do."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        before = of_server(running)
        time.sleep(QUIET_S)
        if of_server(running) - before <= QUIET * 2:
            return


def _processes() -> list[tuple[int, int, int, float]]:
    """Pid, parent, session, and CPU seconds with those of children that were waited for."""
    ticks, found = os.sysconf("SC_CLK_TCK"), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parent, session = int(fields[1]), int(fields[3])
            seconds = sum(map(int, fields[11:15])) / ticks
            found.append((int(entry.name), parent, session, seconds))
    return found
