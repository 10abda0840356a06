"""The live display: what fits of the worksets on a terminal, one line a change elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.summary import message
from local.worksets import Worksets
from worksets.record import FINAL, State, WorksetRecord
from worksets.texts import line

MAX_SHOWN = 400
"""Characters of one text on a terminal."""
COLUMNS = ("workset", "state", "cluster", "try", "customer", "prio", "steps done")
WIDE = 150
"""Columns of a terminal from which on all of them are shown."""
MIDDLE = 96
"""From which on the cluster and the try are shown."""
MAX_CELL = 16
"""Characters of a customer, a cluster and so on."""
AROUND = 7
"""Lines of a terminal that the table's frame, its title, the bar and the prompt take."""
ENDS_S = 10.0
"""Seconds between two looks at when all will have ended; with a thousand, one takes a second."""
_RANK = {
    State.IN_PROGRESS: 0,
    State.LOCKED: 1,
    State.RETRYING: 2,
    State.READY: 3,
}
STYLE = {
    State.READY: "dim",
    State.LOCKED: "cyan",
    State.IN_PROGRESS: "bold cyan",
    State.RETRYING: "yellow",
    State.COMPLETE: "green",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.IGNORED: "dim",
}


def table(
    records: Sequence[WorksetRecord], title: str, width: int = WIDE, *, lines: bool = False
) -> Table:
    """Where every workset stands; on a narrow terminal without what is in the UI as well.

    With `lines`, each has one line, whatever there is to say of it.
    """
    shown = Table(title=title, title_justify="left", header_style="bold", expand=True)
    wide = width >= WIDE
    names = COLUMNS if wide else COLUMNS[: 4 if width >= MIDDLE else 2]
    for name in names:
        # what a name may take is bounded, so that there is always room for the reason
        least = len(State.IN_PROGRESS) if name == "state" else len(name)
        most = max(least, width // (4 if wide else 3) if name == "workset" else MAX_CELL)
        shown.add_column(name, no_wrap=True, overflow="ellipsis", min_width=least, max_width=most)
    whole = lines or not wide
    shown.add_column("why", no_wrap=whole, overflow="ellipsis" if whole else "fold", ratio=1)
    for record in sorted(records, key=lambda r: r.workset_id):
        cells = [
            as_text(record.workset_id),
            as_text(record.state.value, STYLE[record.state]),
            as_text(record.cluster_name or "–"),
            as_text(str(record.attempt)),
            as_text(record.customer_id or "–"),
            as_text(record.priority.value),
            as_text(" ".join(record.completed_steps)),
        ]
        shown.add_row(*cells[: len(names)], as_text(message(record)))
    return shown


def fitting(records: Sequence[WorksetRecord], height: int) -> tuple[list[WorksetRecord], str]:
    """Those that a terminal of so many lines has room for, and a title with all of them counted.

    First what runs and waits, then what ended last.
    """
    room = max(1, height - AROUND)
    title = headline(records)
    if len(records) <= room:
        return list(records), title
    latest = sorted(records, key=lambda r: r.updated_at, reverse=True)
    shown = sorted(latest, key=lambda r: _RANK.get(r.state, len(_RANK)))[:room]
    return shown, f"{title} ({room} of {len(records)} shown)"


def as_text(data: str, style: str = "", longest: int = MAX_SHOWN) -> Text:
    """Data on a terminal: one line, and never markup."""
    return Text(line(data, longest), style)


def bar(records: Sequence[WorksetRecord], end: datetime | None) -> Table:
    """One bar over all, and when the last of them is expected to end."""
    done = sum(record.state in FINAL for record in records)
    told = f"{done} of {len(records)} have ended"
    if end is not None and done < len(records):
        told += f", the last at about {end.astimezone():%H:%M}"
    shown = Table.grid(padding=(0, 1))
    shown.add_row(ProgressBar(total=max(1, len(records)), completed=done, width=30), Text(told))
    return shown


class _Above:
    """What Prefect's console handler prints to: the first line of each record, above the table."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def print(self, message: str, **_: Any) -> None:
        self._console.print(as_text(message.partition("\n")[0]), soft_wrap=True)


@contextmanager
def logged_above(console: Console) -> Iterator[None]:
    """Have log lines of this process printed above a live display, which they would tear."""
    known = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict)]
    handlers = {h for one in (logging.getLogger(), *known) for h in one.handlers}
    changed = [(h, h.console) for h in handlers if isinstance(h, PrefectConsoleHandler)]
    for handler, _ in changed:
        handler.console = _Above(console)  # type: ignore[assignment]
    try:
        yield
    finally:
        for handler, before in changed:
            handler.console = before


def say(console: Console, *parts: str, style: str = "") -> None:
    """Print a line that no width breaks; data in it is data. `style` is that of the first part."""
    first, *rest = parts
    text = Text(line(first), style).append_text(Text(line("".join(rest))))
    console.print(text, soft_wrap=True)


def headline(records: Sequence[WorksetRecord]) -> str:
    counts = Counter(record.state for record in records)
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])


def tell_odd(console: Console, odd: Sequence[dict[str, Any]]) -> None:
    """Say of each workset that did not end as it should why, and how it is brought back."""
    for workset in odd:
        expected = workset["expected_state"]
        was = f", expected was {expected}" if expected else ""
        told = f": {workset['message']}" if workset["message"] else ""
        say(console, f"{workset['workset_id']} is {workset['state']}{was}", told, style="red")
    failed = [
        w["workset_id"] for w in odd if w["state"] == State.FAILED and not w["expected_state"]
    ]
    if failed:
        say(
            console,
            f"Put right what is wrong, then: worksets retry {' '.join(failed[:3])}"
            f"{' …' if len(failed) > 3 else ''}; all of them: worksets redrive --all",
        )


async def show(
    console: Console,
    worksets: Worksets,
    until: asyncio.Event,
    ends: Callable[[Sequence[WorksetRecord]], datetime | None] = lambda _: None,
) -> None:
    """Show the worksets as they change, until told to stop. `ends`: when all is expected to end."""
    if console.is_terminal:
        with (
            Live(console=console, refresh_per_second=4, transient=True) as live,
            logged_above(console),
        ):
            end, looked_at = None, -ENDS_S
            while not until.is_set():
                records = await asyncio.to_thread(worksets.look)
                if time.monotonic() - looked_at >= ENDS_S:
                    looked_at = time.monotonic()
                    end = await asyncio.to_thread(ends, records)
                shown = table(*fitting(records, console.height), console.width, lines=True)
                live.update(Group(shown, bar(records, end)))
                await _pause(until)
        return
    seen: dict[str, tuple[State, int]] = {}
    while not until.is_set():
        for record in await asyncio.to_thread(worksets.look):
            now = (record.state, record.attempt)
            if seen.get(record.workset_id) != now and record.history:
                seen[record.workset_id] = now
                at = record.updated_at.astimezone().strftime("%H:%M:%S")
                where = f" on {record.cluster_name}" if record.cluster_name else ""
                note = record.history[-1].note.splitlines()[0] if record.history[-1].note else ""
                told = f"{at} {record.workset_id:28} {record.state.value:12}{where} {note}"
                console.print(as_text(told, longest=160))
        await _pause(until)


async def _pause(until: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(until.wait(), 0.5)
    except TimeoutError:
        return
