"""What a command prints: a table for people, JSON for programs; the same content."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from local.progress import as_text, say

NOTHING = "–"


def console(file: Any = None) -> Console:
    """Colours only on a terminal; where there is none, lines are as long as they are."""
    out = file or sys.stdout
    return Console(file=out) if out.isatty() else Console(file=out, width=200)


def as_json(data: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(data, indent=2, default=str))


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], title: str = "") -> None:
    """The rows, of each these columns; times are told in the terminal's own time zone."""
    out, columns = console(), list(columns)
    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        last = name == columns[-1]
        shown.add_column(name, overflow="fold" if last else "ellipsis", no_wrap=not last)
    for row in rows:
        shown.add_row(*(as_text(_cell(row.get(name))) for name in columns))
    out.print(shown)


def _cell(value: Any) -> str:
    if value in (None, ""):
        return NOTHING
    if isinstance(value, str) and len(value) >= 19 and value[10:11] == "T":
        try:
            return datetime.fromisoformat(value).astimezone().strftime("%d %b %H:%M")
        except ValueError:
            return value
    return str(value)


def facts(pairs: Mapping[str, Any], title: str = "") -> None:
    """Names and values, a line each."""
    out = console()
    if title:
        say(out, title, style="bold")
    for name, value in pairs.items():
        say(out, f"{name:>16}  ", _cell(value), style="dim")


def note(*parts: str, style: str = "") -> None:
    """A line about what was done, on standard output."""
    say(console(), *parts, style=style)


def trouble(text: str) -> None:
    """What went wrong, on the error stream: every line of it."""
    for part in text.splitlines() or [""]:
        say(console(sys.stderr), "error: ", part, style="red")
