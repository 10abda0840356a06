"""A cluster that answers and takes no job: how long that goes on, and when to say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from worksets.record import WorksetRecord

REFUSED: Final = "refused: "
"""How the note of a postponement for this reason begins."""
FIRST_DELAY_S: Final = 30.0
LONGEST_DELAY_S: Final = 900.0
BETWEEN: Final = frozenset(
    {"Postpone", "Requeue", "Lock", "Begin", "TakeOver", "Wait", "ReleaseStale", "Describe", "Owe"}
)
"""Events that happen while a workset is tried again and again; any other ends the row."""


@dataclass(frozen=True)
class Refusals:
    """The refusals of a workset in a row, so far."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None

    @property
    def next_delay_s(self) -> float:
        """Seconds until the next try: 30, 60, 120 … 900."""
        return float(min(FIRST_DELAY_S * 2 ** min(self.count, 9), LONGEST_DELAY_S))

    def to_tell(self, now: datetime, after_s: float) -> bool:
        """Whether it is now, and was not before, that people should know: once in a row."""
        if self.first is None or self.last is None:
            return after_s == 0
        limit = timedelta(seconds=after_s)
        return now - self.first >= limit and (self.last - self.first < limit or not limit)


def refusals(record: WorksetRecord) -> Refusals:
    """Those that its history ends with."""
    times = []
    for entry in reversed(record.history):
        if entry.event not in BETWEEN:
            break
        if entry.event == "Postpone":
            if not entry.note.startswith(REFUSED):
                break
            times.append(entry.at)
    return Refusals(len(times), times[-1], times[0]) if times else Refusals()
