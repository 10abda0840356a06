"""`make run`: process a folder of worksets on this machine, from nothing to a summary.

`make serve`: the same until Ctrl-C, with Prefect's UI as the control room.

Stopped at any moment, by Ctrl-C or by a kill, it goes on from there when it is run again.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from local import server
from local.private import private_folder
from worksets.errors import WorksetError

STOPPED = "\nStopped. Jobs that run go on; the next start attaches to them and goes on from here."


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.run", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="settings file (YAML)")
    parser.add_argument("--run-dir", type=Path, default=Path("run"), help="where all files go")
    parser.add_argument(
        "--expected", type=Path, help="expected end of each workset (YAML); else: complete"
    )
    parser.add_argument("--serve", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--keep-server", action="store_true", help="leave Prefect's server running")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(sys.argv[1:] if argv is None else argv)
    began = time.monotonic()
    run_dir: Path = options.run_dir
    own, stop_it = None, False
    sigterm = _SigtermIsCtrlC()
    try:
        private_folder(run_dir)
        if not os.environ.get("PREFECT_API_URL"):
            # one that `make ui` keeps up stays up
            stop_it = not options.keep_server and server.running(run_dir / "server") is None
            # it starts while this process still imports Prefect's client
            own = server.start(run_dir / "server", _retention_days(options.settings))
            os.environ.update(own.environment)
        # the UI has every line; the terminal shows the table
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
        return asyncio.run(run(options, own, began))
    except KeyboardInterrupt:
        print(STOPPED)
        return 143 if sigterm.came else 130
    except asyncio.CancelledError:
        print(STOPPED)  # a flow takes SIGTERM itself, and is cancelled by it
        return 143
    except WorksetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if stop_it:
            server.stop(run_dir / "server")


def _retention_days(settings: Path) -> float | None:
    """Days for which Prefect's runs are kept: read before all else, and checked with all else."""
    try:
        return float(yaml.safe_load(settings.read_text())["keep"]["retention_days"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


class _SigtermIsCtrlC:
    """SIGTERM, which a service manager sends, ends the process as Ctrl-C does."""

    def __init__(self) -> None:
        self.came = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._take)

    def _take(self, _signal: int, _frame: object) -> None:
        self.came = True
        signal.raise_signal(signal.SIGINT)


async def run(options: argparse.Namespace, own: server.Server | None, began: float) -> int:
    from prefect.logging.handlers import APILogHandler
    from rich.console import Console

    from flows.poll_worksets import poll_worksets
    from flows.serve_worksets import serve_worksets
    from local import progress, settings_file
    from local.summary import is_odd, summarize
    from local.worksets import Worksets
    from worksets.forecast import last_end
    from worksets.record import FINAL, WorksetRecord

    console = Console() if sys.stdout.isatty() else Console(width=150)
    settings, db, clusters = settings_file.read(options.settings, Path.cwd())
    for hook in _examples(settings.worksets):
        await asyncio.to_thread(hook)
    if own is not None:
        await asyncio.to_thread(own.wait)
    ui = own.ui_url if own else os.environ["PREFECT_API_URL"].removesuffix("/api")
    how = f"; password: {own.password_file}" if own else ""
    progress.say(
        console, f"Prefect's UI: {ui}   (ready after {time.monotonic() - began:.1f} s{how})"
    )
    saved = await settings_file.save(settings, db, clusters)
    name = saved._block_document_name or "default"
    if name != "default":
        progress.say(
            console,
            f"The settings `default` on that server are another installation's; these are "
            f"saved, and used, as `{name}`.",
        )

    done, worksets = asyncio.Event(), Worksets(db)
    views = [cluster.view() for cluster in clusters]
    limits = settings.limits(settings.processor, views)

    def ends(records: Sequence[WorksetRecord]) -> datetime | None:
        now = db.now()
        return last_end(records, views, limits, settings.weights, settings.placement, now)

    display = asyncio.create_task(progress.show(console, worksets, done, ends))
    if options.serve:
        progress.say(
            console,
            "In the UI: Deployments start things by a form; a failed run has Retry, a running one "
            "Cancel. Ctrl-C stops this; jobs go on.",
        )
    try:
        if options.serve:
            await serve_worksets(name)
        else:
            await poll_worksets(settings=name, until_done=True)
    finally:
        done.set()
        await display
        # lines that wait to be sent go to the server while it is there
        await APILogHandler.aflush()

    records = await asyncio.to_thread(worksets.look)
    expected = _expected(options)
    summary = summarize(records, expected, views, limits, ui)
    _write(options.run_dir / "summary.json", summary)
    console.print(progress.table(records, progress.headline(records), console.width))
    odd = [workset for workset in summary["worksets"] if is_odd(workset)]
    ideal = f" (ideal {summary['ideal_s']:.1f} s)" if expected else ""
    progress.say(
        console,
        f"{len(records)} worksets, {summary['peak_running']} at once, makespan "
        f"{summary['makespan_s']:.1f} s{ideal}. "
        f"Results: {settings.results}, summary: {options.run_dir / 'summary.json'}",
    )
    if not options.serve:
        progress.tell_odd(console, odd)
    if records and all(r.state in FINAL for r in records):
        progress.say(console, "`make ui` shows the runs in Prefect; `make clean` forgets the demo.")
    # serving ends when somebody ends it, whatever is not done yet
    return 1 if not options.serve and (odd or not records) else 0


def _expected(options: argparse.Namespace) -> dict[str, str]:
    file: Path = options.expected or options.settings.parent / "expected.yaml"
    if not file.exists():
        return {}
    return {
        name: entry["expected_state"]
        for name, entry in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    }


def _examples(folders: Sequence[str]) -> list[Any]:
    """What writes the reads of our own examples, for those that are among the watched folders."""
    examples = Path(__file__).parents[1] / "examples"
    ours = {"examples.simulate": examples, "examples.genomes.simulate": examples / "genomes"}
    watched = {Path(folder).resolve() for folder in folders}
    return [
        # only then: a package has no examples
        partial(importlib.import_module(module).simulate, place / "worksets")
        for module, place in ours.items()
        if place / "worksets" in watched
    ]


def _write(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
