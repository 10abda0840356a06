"""What a workset's files on its cluster are kept for, and until when. Pure.

Three owners of one decision: the state DB says which work is at its end, the exporter's receipt
that its results are in their place, the settings for how long the copies are kept all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from worksets.record import Frozen, State, WorksetRecord

MOST_DAYS: Final = 36_500.0
Part = Literal["inputs", "rest"]
"""`inputs`: the staged copies. `rest`: the results and all else that the pipeline has left."""


class Keep(Frozen):
    """Days for which files of complete worksets stay on their cluster, after a verified export."""

    inputs_days: float | None = Field(
        None, ge=0, le=MOST_DAYS, description="of the staged copies; None: for ever"
    )
    results_days: float | None = Field(
        None,
        ge=0,
        le=MOST_DAYS,
        description="of the results there, and of all else that the pipeline has left beside them; "
        "None: for ever",
    )

    def days(self, part: Part) -> float | None:
        return self.inputs_days if part == "inputs" else self.results_days


@dataclass(frozen=True)
class Lineage:
    """The files of one lineage on a cluster: `HOME/LN`."""

    home: str
    number: int
    parts: frozenset[Part]


@dataclass(frozen=True)
class Freed:
    """What one part of a lineage took there; `wrong`: why it is there still."""

    bytes: int = 0
    files: int = 0
    wrong: str = ""


@dataclass(frozen=True)
class Removable:
    """A part of a lineage that may go."""

    workset_id: str
    home: str
    lineage: int
    part: Part


def removable(
    there: Iterable[Lineage], records: Mapping[str, WorksetRecord], keep: Keep, now: datetime
) -> list[Removable]:
    """What of the lineages on a cluster may go; `records` by their home.

    Only files of a workset that is complete, whose results an exporter's receipt says to be in
    their place, and whose job has ended. Of its earlier lineages only the copies: the receipt says
    nothing of their results. Of a home that no record knows nothing may go.
    """
    found = []
    for lineage in there:
        record = records.get(lineage.home)
        if record is None or not is_done(record) or lineage.number > record.lineage:
            continue
        for part in sorted(lineage.parts):
            if part == "rest" and lineage.number != record.lineage:
                continue
            days = keep.days(part)
            if days is not None and now - record.updated_at >= timedelta(days=days):
                found.append(Removable(record.workset_id, lineage.home, lineage.number, part))
    return found


def is_done(record: WorksetRecord) -> bool:
    """Whether nobody will ever need again what lies on the cluster."""
    return record.state is State.COMPLETE and record.job_ended and record.exported is not None
