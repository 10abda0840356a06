"""The live display of `make run`: one line a workset on a terminal, one line a change elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from blocks.state_db import WorksetStateDB
from local.summary import message
from worksets.record import State, WorksetRecord

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


def table(records: Sequence[WorksetRecord], title: str) -> Table:
    """Where every workset stands."""
    shown = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for name in ("workset", "customer", "prio", "state", "cluster", "try", "steps done", "why"):
        shown.add_column(name, no_wrap=name != "why", overflow="ellipsis")
    for record in sorted(records, key=lambda r: r.workset_id):
        style = STYLE[record.state]
        shown.add_row(
            record.workset_id,
            record.customer_id or "–",
            record.priority.value,
            f"[{style}]{record.state.value}[/]",
            record.cluster_name or "–",
            str(record.attempt),
            " ".join(record.completed_steps),
            message(record),
        )
    return shown


def headline(records: Sequence[WorksetRecord]) -> str:
    counts = Counter(record.state for record in records)
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])


async def show(console: Console, db: WorksetStateDB, until: asyncio.Event) -> None:
    """Show the state DB's worksets as they change, until told to stop."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while not until.is_set():
                records = await asyncio.to_thread(db.list_worksets)
                live.update(table(records, headline(records)))
                await _pause(until)
        return
    seen: dict[str, tuple[State, int]] = {}
    while not until.is_set():
        for record in await asyncio.to_thread(db.list_worksets):
            now = (record.state, record.attempt)
            if seen.get(record.workset_id) != now and record.history:
                seen[record.workset_id] = now
                at = record.updated_at.astimezone().strftime("%H:%M:%S")
                where = f" on {record.cluster_name}" if record.cluster_name else ""
                note = record.history[-1].note.splitlines()[0] if record.history[-1].note else ""
                console.print(
                    f"{at} {record.workset_id:28} {record.state.value:12}{where} {note}"[:160],
                    highlight=False,
                    markup=False,
                )
        await _pause(until)


async def _pause(until: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(until.wait(), 0.5)
    except TimeoutError:
        return
