"""A picture of what ran when on each cluster, as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Final

from worksets.texts import line

WIDTH: Final = 1200
LEFT: Final = 130
LANE: Final = 14
HEAD: Final = 26
MAX_LANES: Final = 40
"""Lanes of one cluster; what does not fit is drawn over the last."""
COLOURS: Final = {
    "COMPLETED": "#2a9d4b",
    "RUNNING": "#1a6ed8",
    "PENDING": "#1a6ed8",
    "FAILED": "#d03030",
    "CRASHED": "#e08a00",
    "CANCELLED": "#9a5bbf",
}
OTHER: Final = "#808080"


@dataclass(frozen=True)
class Bar:
    """One run: where, from when to when, and how it stands (a state type of Prefect)."""

    cluster: str
    name: str
    begin: datetime
    end: datetime
    state: str


def lanes(bars: Iterable[Bar]) -> list[list[Bar]]:
    """The bars in as few rows as possible; in a row none overlaps another."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: (bar.begin, bar.name)):
        for row in rows:
            if row[-1].end <= bar.begin:
                row.append(bar)
                break
        else:
            rows.append([bar])
    return rows


def gantt(bars: Sequence[Bar], begin: datetime, end: datetime) -> str:
    """The picture of the time from `begin` to `end`; bars outside of it are left out.

    Raises:
        ValueError: the time has no length.
    """
    if end <= begin:
        raise ValueError("the picture needs a time of some length")
    span = (end - begin).total_seconds()

    def x(at: datetime) -> float:
        part = (at - begin).total_seconds() / span
        return LEFT + min(max(part, 0.0), 1.0) * (WIDTH - LEFT - 10)

    seen = [bar for bar in bars if bar.end >= begin and bar.begin <= end]
    parts: list[str] = []
    y = HEAD
    for cluster in sorted({bar.cluster for bar in seen}):
        rows = lanes(bar for bar in seen if bar.cluster == cluster)
        label = escape(line(cluster, 18))
        parts.append(f'<text x="6" y="{y + 11}" class="c">{label}</text>')
        for number, row in enumerate(rows):
            top = y + min(number, MAX_LANES - 1) * LANE
            for bar in row:
                left, right = x(bar.begin), x(bar.end)
                told = escape(line(f"{bar.name} · {bar.state.lower()}", 120))
                parts.append(
                    f'<rect x="{left:.1f}" y="{top + 1}" width="{max(1.0, right - left):.1f}" '
                    f'height="{LANE - 2}" rx="2" fill="{COLOURS.get(bar.state, OTHER)}">'
                    f"<title>{told}</title></rect>"
                )
        y += min(len(rows), MAX_LANES) * LANE + 6
        parts.append(f'<line x1="0" y1="{y - 3}" x2="{WIDTH}" y2="{y - 3}" class="g"/>')
    if not seen:
        parts.append(f'<text x="{LEFT}" y="{y + 14}">nothing ran in this time</text>')
        y += 24
    height = y + 4
    marks = [
        f'<line x1="{x(at):.1f}" y1="18" x2="{x(at):.1f}" y2="{height}" class="g"/>'
        f'<text x="{x(at):.1f}" y="14" text-anchor="middle">{at:%H:%M}</text>'
        for at in _marks(begin, end)
    ]
    style = "text{font:11px sans-serif;fill:#444}.c{font-weight:bold}.g{stroke:#ddd;stroke-width:1}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}"><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(marks)}{"".join(parts)}'
        f"</svg>"
    )


def _marks(begin: datetime, end: datetime) -> list[datetime]:
    """Six to twelve round times."""
    minutes = (end - begin).total_seconds() / 60
    step = next((m for m in (1, 5, 10, 30, 60, 120, 240, 720) if minutes / m <= 12), 1440)
    first = begin.replace(minute=0, second=0, microsecond=0)
    count = int(minutes / step) + 61
    times = (first + timedelta(minutes=step * n) for n in range(count))
    return [at for at in times if begin <= at <= end]
