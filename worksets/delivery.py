"""Whether a workset's files are all there and at rest, or still being delivered.

Nobody says when an upload is over. So a file counts as delivered when it has been quiet: not
changed for `quiet_s` seconds, by its own time or, where that cannot be trusted, by two looks that
far apart. What is missing, empty or not quiet is waited for as long as anything still changes, and
`wait_s` seconds longer; then it is an error in the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from worksets.errors import DataError, ErrorCategory, WorksetError
from worksets.record import WorksetRecord
from worksets.registration import digest
from worksets.texts import few, listed


@dataclass(frozen=True)
class Seen:
    """One file as it was seen: its size, and a text that differs when its content may.

    `changed_at`: UTC, by the clock of its file system; None where a file appears whole (S3).
    """

    bytes: int
    stamp: str
    changed_at: datetime | None = None


class NotThere(DataError):
    """A file is missing or empty; it may still be on its way."""


Look = Mapping[str, Seen | DataError]
"""What was found of each file, by its name."""


@dataclass(frozen=True)
class Whole:
    """All is there: bytes of each file, and the text that stands for all of them."""

    sizes: dict[str, int]
    looked: str


@dataclass(frozen=True)
class Waits:
    """Something is on its way; `again_s`: seconds until a look may tell more."""

    reason: str
    looked: str
    again_s: float


class NotDelivered(WorksetError):
    """Files of a workset are still on their way: it stays ready, and waits for them."""

    category = ErrorCategory.DATA

    def __init__(self, waits: Waits) -> None:
        super().__init__(waits.reason)
        self.waits = waits


def looked(look: Look) -> str:
    """A text that differs when any of the files does."""
    lines = (
        f"{name}\n{found.stamp if isinstance(found, Seen) else type(found).__name__}"
        for name, found in sorted(look.items())
    )
    return digest("\n".join(lines))


def judge(
    look: Look, record: WorksetRecord, now: datetime, quiet_s: float, wait_s: float
) -> Whole | Waits:
    """What a look at its files at `now` means for a workset.

    Raises:
        DataError: files that can never be staged, or that have been waited for in vain. All of
            them are told at once.
    """
    text = looked(look)
    unchanged_s = 0.0
    if text == record.looked and record.looked_since is not None:
        unchanged_s = (now - record.looked_since).total_seconds()
    hopeless = [_line(n, f) for n, f in look.items() if _is_hopeless(f)]
    absent = [_line(n, f) for n, f in look.items() if isinstance(f, NotThere)]
    if hopeless or (absent and unchanged_s >= wait_s):
        tried = "" if hopeless or not wait_s else f" (waited for {wait_s / 60:g} minutes)"
        problems = hopeless + absent
        raise DataError("\n".join(listed(problems)) + tried)
    moving = {
        name: left
        for name, found in look.items()
        if isinstance(found, Seen) and (left := _to_wait(found, now, quiet_s, unchanged_s)) > 0
    }
    if not absent and not moving:
        return Whole({n: f.bytes for n, f in look.items() if isinstance(f, Seen)}, text)
    reason = [f"waits for its delivery: {few(absent, 1)}"] if absent else []
    if moving:
        first = min(moving)
        others = f" and {len(moving) - 1} more" if len(moving) > 1 else ""
        reason.append(f"{first}{others} is still being written (it must be quiet {quiet_s:g} s)")
    return Waits("; ".join(reason), text, min(moving.values(), default=wait_s))


def _is_hopeless(found: Seen | DataError) -> bool:
    return isinstance(found, DataError) and not isinstance(found, NotThere)


def _line(name: str, found: Seen | DataError) -> str:
    return f"{name}: {found}"


def _to_wait(found: Seen, now: datetime, quiet_s: float, unchanged_s: float) -> float:
    """Seconds until a file that does not change any more counts as quiet."""
    if found.changed_at is None:
        return 0.0
    age_s = (now - found.changed_at).total_seconds()
    left = quiet_s - unchanged_s
    # a time in the future is another clock's: only looks can tell
    return min(left, quiet_s - age_s) if age_s >= 0 else left
