"""When a poller pauses, and when it is done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worksets.placement import Decision
from worksets.record import UNFINISHED


@dataclass(frozen=True)
class Stop:
    """The bounds of a poller; None and False: no bound."""

    cycles: int | None = None
    duration_s: float | None = None
    until_done: bool = False

    @property
    def bounded(self) -> bool:
        return self != Stop()

    def after_cycle(self, ran: int, elapsed_s: float) -> bool:
        """Whether no other full cycle follows."""
        return (self.cycles is not None and ran >= self.cycles) or self.time_left(elapsed_s) <= 0

    def time_left(self, elapsed_s: float) -> float:
        """Seconds until the duration is over; infinite without one."""
        return math.inf if self.duration_s is None else self.duration_s - elapsed_s


def pause_s(longest_s: float, dues: Iterable[datetime | None], now: datetime) -> float:
    """Seconds to wait if no event comes: until the first of these is due, at most `longest_s`."""
    first = min((due for due in dues if due is not None), default=None)
    if first is None:
        return max(0.0, longest_s)
    # a hair later than due, so that it is due when it is looked at
    return max(0.0, min(longest_s, (first - now).total_seconds() + 0.01))


def nothing_left(depth: Mapping[str, int], decisions: Sequence[Decision]) -> bool:
    """Whether no workset could start or is running: all that is unfinished is stuck, or waits for
    another budget."""
    unfinished = sum(depth.get(state.value, 0) for state in UNFINISHED)
    stuck = sum(decision.action == "stuck" or decision.held_back for decision in decisions)
    return unfinished == stuck
