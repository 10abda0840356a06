"""`make clean`: forget the demo. Results stay, and state that is not the demo's is asked about.

It stops the server of the run folder, then deletes the server's files, the state DB, the clusters'
files and the summary. It refuses while a process works with the state DB, and asks first where
worksets are held or are not the demo's. It needs Python alone, no installed package.

Exit code 0: forgotten, or nothing was there; 2: refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

DEMO: Final = Path(__file__).parents[1] / "examples" / "worksets"
BEFORE: Final = ("clusters", "summary.json", ".summary.json")
SERVER: Final = "server"
SIGNS: Final = ("server/server.json", "server/password", "state.db", "summary.json")
"""What a run folder of ours has; they go last, so that a clean that was cut off can go on."""
STATE_DB: Final = ("state.db", "state.db-wal", "state.db-shm", "state.db-journal")
HELD: Final = ("locked", "in_progress")
CLOCK_SKEW_S: Final = 5.0
"""Seconds; as in worksets.leases, which may not be installed here."""


def reasons(database: Path, now: datetime) -> list[str]:
    """Why the state DB should not be forgotten without asking; empty: it is the demo's, at rest."""
    if not os.path.lexists(database):
        return []
    # a link is only unlinked: what it leads to is nobody's business here
    if database.is_symlink():
        return []
    try:
        with sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT workset_id, state, location FROM worksets").fetchall()
            leases = db.execute("SELECT owner, expires_at FROM leases").fetchall()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return []
        return [f"{database} cannot be read ({error})"]
    found: list[str] = []
    alive = [owner for owner, end in leases if _lives(end, now)]
    if alive:
        found.append(f"{', '.join(sorted(alive))} works with it now")
    if held := sorted(id_ for id_, state, _ in rows if state in HELD):
        found.append(_counted(held, "held"))
    if others := sorted(id_ for id_, _, location in rows if not _is_demo(location)):
        found.append(_counted(others, "not the demo's"))
    return found


def _lives(end: str, now: datetime) -> bool:
    try:
        at = datetime.fromisoformat(end)
    except ValueError:
        return True  # not to be read is no evidence that nobody is there
    return now <= (at if at.tzinfo else at.replace(tzinfo=UTC)) + timedelta(seconds=CLOCK_SKEW_S)


def _is_demo(location: str) -> bool:
    ours = {f"file://{DEMO}", DEMO.as_uri()}
    return any(location.startswith(f"{root}/") for root in ours)


def _counted(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"{len(names)} {'workset is' if len(names) == 1 else 'worksets are'} {what} ({shown})"


def clean(run_dir: Path, yes: bool) -> int:
    """Forget what is in the run folder; the exit code."""
    if not os.path.lexists(run_dir):
        print(f"{run_dir} is not there: nothing to forget")
        return 0
    if not run_dir.is_dir():
        print(f"error: {run_dir} is no folder; name the folder of a run", file=sys.stderr)
        return 2
    if not any(os.path.lexists(run_dir / name) for name in SIGNS):
        print(f"{run_dir} holds no run: nothing to forget")
        return 0
    why = reasons(run_dir / "state.db", datetime.now(UTC))
    if why and not yes and not _agreed(run_dir, "; ".join(why)):
        return 2
    if not _stop_server(run_dir / "server"):
        return 2
    for name in (*BEFORE, *STATE_DB[1:], STATE_DB[0], SERVER):
        _delete(run_dir / name)
    left = sorted(path.name for path in run_dir.iterdir())
    if not left:
        if run_dir.is_symlink():
            run_dir.unlink()
        else:
            run_dir.rmdir()
    print(f"forgotten: the server, the state DB, the clusters' files and the summary in {run_dir}")
    if left:
        print(f"kept: {', '.join(str(run_dir / name) for name in left)}")
    return 0


def _agreed(run_dir: Path, why: str) -> bool:
    if not sys.stdin.isatty():
        print(
            f"error: {run_dir / 'state.db'}: {why}; nothing is forgotten. To forget it all the "
            f"same: make clean YES=1",
            file=sys.stderr,
        )
        return False
    try:
        answer = input(f"{run_dir / 'state.db'}: {why}. Forget it all the same? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        answer = ""
        print()
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing is forgotten")
    return False


def _stop_server(folder: Path) -> bool:
    """Stop the server of the folder; whether it is stopped."""
    if folder.is_symlink() or not folder.is_dir():
        return True
    try:
        from local import postgres, server
    except ImportError as error:
        if pids := _running(folder):
            print(
                f"error: the server in {folder} runs (pid {', '.join(map(str, pids))}), and what "
                f"stops it is not installed ({error.name}): run make install, then make clean",
                file=sys.stderr,
            )
            return False
        return True
    server.stop(folder)
    postgres.forget(folder.resolve() / "postgres")
    return True


def _running(folder: Path) -> list[int]:
    """Processes of the server, by the notes that they have left."""
    pids: list[int] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        pids.append(int(json.loads((folder / "server.json").read_text())["pid"]))
    with suppress(OSError, ValueError, IndexError):
        pids.append(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    return [pid for pid in pids if pid > 1 and Path(f"/proc/{pid}").exists()]


def _delete(path: Path) -> None:
    """Delete a file, or a folder with all in it; a link is unlinked, and never followed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)  # it unlinks links too
    else:
        path.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.clean", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("run"))
    parser.add_argument("--yes", action="store_true", help="do not ask, do not refuse")
    options = parser.parse_args(argv)
    try:
        return clean(options.run_dir, options.yes)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; nothing more is done", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
