"""`make run`: process a folder of worksets on this machine, from nothing to a summary.

Stopped at any moment, by Ctrl-C or by a kill, it goes on from there when it is run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from local import server
from worksets.errors import WorksetError


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.run", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="settings file (YAML)")
    parser.add_argument("--run-dir", type=Path, default=Path("run"), help="where all files go")
    parser.add_argument(
        "--expected", type=Path, help="expected end of each workset (YAML); else: complete"
    )
    parser.add_argument("--keep-server", action="store_true", help="leave Prefect's server running")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(sys.argv[1:] if argv is None else argv)
    began = time.monotonic()
    run_dir: Path = options.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    own, stop_it = None, False
    if not os.environ.get("PREFECT_API_URL"):
        # one that `make ui` keeps up stays up
        stop_it = not options.keep_server and server.running(run_dir / "server") is None
        # it starts while this process still imports Prefect's client
        own = server.start(run_dir / "server")
        os.environ.update(own.environment)
    # the UI has every line; the terminal shows the table
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    try:
        return asyncio.run(run(options, own, began))
    except KeyboardInterrupt:
        print("\nStopped. Jobs that run go on; `make run` attaches to them and goes on from here.")
        return 130
    except WorksetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if stop_it:
            server.stop(run_dir / "server")


async def run(options: argparse.Namespace, own: server.Server | None, began: float) -> int:
    from prefect.logging.handlers import APILogHandler
    from rich.console import Console

    from flows.poll_worksets import poll_worksets
    from local import progress, settings_file
    from local.summary import summarize
    from worksets.record import FINAL

    console = Console() if sys.stdout.isatty() else Console(width=150)
    settings, db, clusters = settings_file.read(options.settings, Path.cwd())
    for hook in _examples(settings.worksets):
        await asyncio.to_thread(hook)
    if own is not None:
        await asyncio.to_thread(own.wait)
    ui = own.ui_url if own else os.environ["PREFECT_API_URL"].removesuffix("/api")
    console.print(f"Prefect's UI: {ui}   (ready after {time.monotonic() - began:.1f} s)")
    await settings_file.save(settings, db, clusters)

    done = asyncio.Event()
    display = asyncio.create_task(progress.show(console, db, done))
    try:
        await poll_worksets(settings="default", until_done=True)
    finally:
        done.set()
        await display
        # lines that wait to be sent go to the server while it is there
        await APILogHandler.aflush()

    records = db.list_worksets()
    views = [cluster.view() for cluster in clusters]
    expected = _expected(options)
    summary = summarize(records, expected, views, settings.limits(settings.processor, views), ui)
    _write(options.run_dir / "summary.json", summary)
    console.print(progress.table(records, progress.headline(records)))
    odd = [w for w in summary["worksets"] if w["state"] != w["expected_state"]]
    console.print(
        f"{len(records)} worksets, {summary['peak_running']} at once, makespan "
        f"{summary['makespan_s']:.1f} s (ideal {summary['ideal_s']:.1f} s). "
        f"Results: {settings.results}, summary: {options.run_dir / 'summary.json'}",
        soft_wrap=True,
    )
    for workset in odd:
        console.print(
            f"[red]{workset['workset_id']} is {workset['state']}, expected was "
            f"{workset['expected_state']}[/]: {workset['message']}",
            soft_wrap=True,
        )
    if records and all(r.state in FINAL for r in records):
        console.print("`make ui` shows the runs in Prefect; `make clean` forgets them all.")
    return 1 if odd or not records else 0


def _expected(options: argparse.Namespace) -> dict[str, str]:
    file: Path = options.expected or options.settings.parent / "expected.yaml"
    if not file.exists():
        return {}
    return {
        name: entry["expected_state"]
        for name, entry in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    }


def _examples(folders: Sequence[str]) -> list[Any]:
    """What writes the reads of our own examples, if they are among the watched folders."""
    ours = Path(__file__).parents[1] / "examples" / "worksets"
    if not any(Path(folder).resolve() == ours for folder in folders):
        return []
    from examples.simulate import simulate

    return [lambda: simulate(ours)]


def _write(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
