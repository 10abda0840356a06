"""When the result of a workset is wanted, as its file may say it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

MAX_H: Final = 8760.0
"""A year; a result that is wanted later is wanted at no time."""
YEARS: Final = range(2000, 3000)
"""Of a moment; hours can be added to any of them, in any zone."""


def _read(value: Any) -> datetime | timedelta:
    """A moment in UTC, or hours from when it is found."""
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        value = float(text)
    elif text:
        try:
            day = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)
            value = date.fromisoformat(text) if day else datetime.fromisoformat(text)
        except ValueError:
            value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 < value <= MAX_H:
            raise ValueError(f"hours are more than 0 and at most {MAX_H:g}")
        return timedelta(hours=value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("say of which zone its time is, such as 2026-12-01T18:00:00Z")
    elif isinstance(value, date):
        value = datetime.combine(value, time(23, 59, 59), UTC)
    if isinstance(value, datetime):
        if value.year not in YEARS:
            raise ValueError(f"the year lies from {YEARS[0]} to {YEARS[-1]}")
        return value.astimezone(UTC)
    raise ValueError("write a day (2026-12-01), a time (2026-12-01T18:00:00Z), or hours (24)")


Due = Annotated[datetime | timedelta, BeforeValidator(_read)]
"""When a result is wanted: at a moment, or so long after its workset was found."""
