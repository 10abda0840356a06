"""`daylily.in_progress`, `daylily.complete`, `daylily.error`: a folder says how its workset stands.

For those who look at folders only. They are written after the state DB and never read: what they
say decides nothing.
"""

from __future__ import annotations

from typing import Final

from worksets.record import HELD, State, WorksetRecord
from worksets.texts import plain

IN_PROGRESS: Final = "daylily.in_progress"
COMPLETE: Final = "daylily.complete"
ERROR: Final = "daylily.error"
NAMES: Final = (IN_PROGRESS, COMPLETE, ERROR)
"""At most one of them is there."""
MAX_REASON: Final = 2000
"""Characters of a reason."""


def status_file(record: WorksetRecord) -> tuple[str, str] | None:
    """Name and text of the file that says how a workset stands; None: nothing new is to be said."""
    at = f"{record.updated_at:%Y-%m-%d %H:%M:%S} UTC"
    if record.state in HELD:
        what = f"attempt {record.current_attempt} on {record.cluster_name}"
        return IN_PROGRESS, f"{at}: {what}\n"
    if record.state is State.RETRYING:
        return IN_PROGRESS, f"{at}: tried again by itself; {_reason(record)}\n"
    if record.state is State.COMPLETE:
        return COMPLETE, f"{at}: attempt {record.attempt} on {record.cluster_name}\n"
    if record.state in (State.FAILED, State.CANCELLED):
        return ERROR, f"{at}: {record.state.value}; {_reason(record)}\n"
    return None


def _reason(record: WorksetRecord) -> str:
    reason = record.error_details or (record.history[-1].note if record.history else "")
    step = f"{record.failed_step}: " if record.failed_step else ""
    return plain(f"{step}{reason}", MAX_REASON)
