"""For how long what is left of a workset is kept: its files on its cluster, its record. Pure.

Three owners of one decision: the state DB says which work is at its end, the exporter's receipt
that its results are in their place, the settings for how long the rest is kept all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from worksets.events import Archive
from worksets.record import Frozen, HistoryEntry, State, WorksetRecord
from worksets.transitions import Refusal, refuse

MOST_DAYS: Final = 36_500.0
STAYS: Final = frozenset(
    {
        "workset_id", "uid", "lineage", "customer_id", "pipeline", "location", "state", "attempt",
        "cluster_name", "job_name", "fence", "delivery", "redelivered", "exported", "created_at",
        "updated_at",
    }
)  # fmt: skip
"""Of a record that is archived: that a workset of this name was there and how it ended, what lay in
its folder, and which files on its cluster are its."""
Part = Literal["inputs", "rest", "logs"]
"""`inputs`: the staged copies. `rest`: the results and all else that the pipeline has left. `logs`:
of all attempts, with their markers; they are of no lineage."""


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

    retention_days: float | None = Field(
        None,
        ge=0,
        le=MOST_DAYS,
        description="of the logs there, and of the record in the state DB but for what keeps the "
        "workset from being run again; the whole record goes beside the results first. `make run` "
        "and `make serve` have Prefect's server keep its runs for as long, too. None: for ever",
    )

    @property
    def anything_goes(self) -> bool:
        """Whether anything is ever deleted."""
        return any(days is not None for days in dict(self).values())

    def days(self, part: Part) -> float | None:
        """Days for which a part of a lineage is kept."""
        return self.inputs_days if part == "inputs" else self.results_days


@dataclass(frozen=True)
class Lineage:
    """The files of one lineage on a cluster, `HOME/LN`; 0: the logs of them all, `HOME/jobs`."""

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
class Archived:
    """Where the record of a workset lies now; `wrong`: why it does not."""

    where: str = ""
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
    nothing of their results. The logs when its record is archived. Of a home that no record knows
    nothing may go.
    """
    found = []
    for lineage in there:
        record = records.get(lineage.home)
        if record is None:
            continue
        for part in _going(lineage, record, keep):
            days = 0.0 if part == "logs" else keep.days(part)
            if days is not None and now - record.updated_at >= timedelta(days=days):
                found.append(Removable(record.workset_id, lineage.home, lineage.number, part))
    return found


def archivable(
    there: Iterable[Lineage],
    records: Iterable[WorksetRecord],
    cluster_name: str,
    keep: Keep,
    now: datetime,
) -> list[WorksetRecord]:
    """The records that may be archived of worksets that have ended on a cluster.

    Only after all of their files there that go at all: of a home that no record knows, none would.
    """
    if keep.retention_days is None:
        return []
    most, homes = timedelta(days=keep.retention_days), dict[str, list[Lineage]]()
    for lineage in there:
        homes.setdefault(lineage.home, []).append(lineage)
    return [
        record
        for record in records
        if is_done(record)
        and not record.archived
        and record.owed is None
        and record.cluster_name == cluster_name
        and now - record.updated_at >= most
        and not any(_going(lineage, record, keep) for lineage in homes.get(record.home, ()))
    ]


def _going(lineage: Lineage, record: WorksetRecord, keep: Keep) -> list[Part]:
    """The parts there that go one day, as things are."""
    if not is_done(record) or lineage.number > record.lineage:
        return []
    goes = {
        "inputs": keep.inputs_days is not None,
        "rest": keep.results_days is not None and lineage.number == record.lineage,
        "logs": bool(record.archived),
    }
    return [part for part in sorted(lineage.parts) if goes[part]]


def is_done(record: WorksetRecord) -> bool:
    """Whether nobody will ever need again what lies on the cluster."""
    return record.state is State.COMPLETE and record.job_ended and record.exported is not None


def archive(record: WorksetRecord, event: Archive, now: datetime) -> WorksetRecord | Refusal:
    """The record after it was written down elsewhere, whole: little of it stays here."""
    if not is_done(record) or record.archived or record.owed is not None:
        return refuse(record, event)
    if record.version != event.version:
        return Refusal(f"workset {record.workset_id} has changed since its record was archived")
    return WorksetRecord(
        **record.model_dump(include=set(STAYS)),
        archived=event.where,
        version=record.version + 1,
        history=(HistoryEntry(at=now, event="Archive", note=event.where),),
    )
