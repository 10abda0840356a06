"""How long it takes from the command to the first job, and what of it is Prefect's server's.

``python -m benchmarks.startup`` prints one JSON object, in seconds: `command_s` from the start of
`make run`'s program on one workset until its first step begins, `server_s` from the start of a
server alone until it is healthy, and `served_s` from the start of a poller until the first step
begins, when the server runs already and the settings are saved.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cpu import serving
from benchmarks.sites import write_site
from blocks.state_db import SQLiteStateDB
from local import server
from worksets.record import State

ROOT = Path(__file__).parents[1]
POLL = """
import asyncio
from flows.poll_worksets import poll_worksets
asyncio.run(poll_worksets(until_done=True))
"""


def first_step(path: Path, since: float) -> float:
    """Seconds from `since` (Unix time) until the only workset's first step began."""
    db = SQLiteStateDB(path=str(path))
    (record,) = db.list_worksets([State.COMPLETE])
    db.close()
    return min(run.started_at for run in record.step_runs).timestamp() - since


def call(*argv: str, environment: dict[str, str], folder: Path = ROOT) -> None:
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[:3]} ended with {done.returncode}: {done.stderr[-800:]}")


def bare() -> float:
    """Seconds until a server alone is healthy."""
    with tempfile.TemporaryDirectory() as name:
        began = time.time()
        running = server.start(Path(name) / "server")
        try:
            running.wait()
            return time.time() - began
        finally:
            server.stop(running.folder)


def command() -> float:
    """Seconds from the command of `make run` until the first step."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    with tempfile.TemporaryDirectory() as name:
        file = write_site(Path(name), worksets=1, seconds=0, clusters=1, slots=1)
        began = time.time()
        call(
            sys.executable, "-m", "local.run", "--settings", str(file), "--run-dir", f"{name}/run",
            environment=environment,
        )  # fmt: skip
        return first_step(Path(name) / "state.db", began)


def served() -> float:
    """Seconds from the start of a poller until the first step, with a server that runs."""
    with serving() as running:
        folder = running.folder.parent / "site"
        file = write_site(folder, worksets=1, seconds=0, clusters=1, slots=1)
        environment = dict(os.environ)
        worksets = str(Path(sys.executable).with_name("worksets"))
        call(worksets, "apply", "--settings", str(file), environment=environment, folder=folder)
        began = time.time()
        call(sys.executable, "-c", POLL, environment=environment)
        return first_step(folder / "state.db", began)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    seconds = {"server_s": bare(), "command_s": command(), "served_s": served()}
    print(json.dumps({name: round(value, 2) for name, value in seconds.items()}))


if __name__ == "__main__":
    main()
