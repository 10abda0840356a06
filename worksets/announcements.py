"""What is told to people: the end of a workset, its retries, a cluster that does not answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worksets.record import State, WorksetRecord
from worksets.texts import line, plain

MAX_SUBJECT: Final = 100
"""Characters of a subject; SNS takes no longer one (AWS, Publish)."""
MAX_BODY: Final = 8000


class Kind(StrEnum):
    """What happened."""

    COMPLETED = "completed"
    RETRYING = "retrying"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"
    STUCK = "stuck"
    UNSETTLED = "unsettled"
    REDELIVERED = "redelivered"
    UNREADABLE = "unreadable"
    CLOCK_OFF = "clock_off"
    BUDGET = "budget"
    CLUSTER_UNREACHABLE = "cluster_unreachable"
    CLUSTER_REACHABLE = "cluster_reachable"


OF_STATE: Final = {
    State.COMPLETE: Kind.COMPLETED,
    State.RETRYING: Kind.RETRYING,
    State.FAILED: Kind.DEAD_LETTER,
    State.CANCELLED: Kind.CANCELLED,
}


@dataclass(frozen=True)
class Announcement:
    """One thing that happened. `about`: the workset's id, or the cluster's or customer's name.

    Its texts are fit for every channel, whatever they quote.
    """

    kind: Kind
    about: str
    message: str
    record: WorksetRecord | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "about", line(self.about, MAX_SUBJECT))
        object.__setattr__(self, "message", plain(self.message))

    @property
    def subject(self) -> str:
        """One line of at most 100 printable ASCII characters."""
        first = self.message.partition("\n")[0]
        text = f"{self.about}: {self.kind.value.replace('_', ' ')}: {first}"
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
        return text if len(text) <= MAX_SUBJECT else text[: MAX_SUBJECT - 3] + "..."

    @property
    def body(self) -> str:
        """The message, and for a workset where it stands."""
        lines = [plain(self.message, MAX_BODY - 1000)]
        if (record := self.record) is not None:
            lines += [
                "",
                f"workset {record.workset_id} of {record.customer_id or 'an unknown customer'}, "
                f"priority {record.priority.value}",
                f"state {record.state.value}, attempt {record.attempt}"
                + (f" on {record.cluster_name}" if record.cluster_name else ""),
                f"steps done: {' '.join(record.completed_steps) or 'none'}",
                f"at {record.location}",
            ]
        return plain("\n".join(lines), MAX_BODY)

    @property
    def attributes(self) -> dict[str, str]:
        """For filters of subscribers; none is empty."""
        found = {"event": self.kind.value}
        if (record := self.record) is not None:
            found |= {
                "workset_id": record.workset_id,
                "state": record.state.value,
                "priority": record.priority.value,
                "customer_id": record.customer_id,
            }
        elif self.kind is Kind.BUDGET:
            found["customer_id"] = self.about
        elif self.kind is not Kind.CLOCK_OFF:
            found["cluster_name"] = self.about
        return {key: value for key, value in found.items() if value}


def of_owed(record: WorksetRecord) -> Announcement | None:
    """What is owed to people of a workset; None: nothing that this release knows."""
    if record.owed is None or record.owed.kind not in [kind.value for kind in Kind]:
        return None
    return Announcement(Kind(record.owed.kind), record.workset_id, record.owed.message, record)


def of_workset(record: WorksetRecord, message: str) -> Announcement | None:
    """What is to be told of a workset that has just come into its state; None: nothing."""
    kind = OF_STATE.get(record.state)
    return Announcement(kind, record.workset_id, message, record) if kind else None
