"""From a `daylily_work.yaml` to the fields of a record that placement needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from worksets.record import (
    AffinityReason,
    Estimates,
    Frozen,
    HistoryEntry,
    Priority,
    WorksetRecord,
)
from worksets.spec import WorksetSpec


class Description(Frozen):
    """What a workset's file says of how it is to be processed."""

    customer_id: str
    priority: Priority
    pipeline: str
    reference_genome: str
    max_retries: int
    preferred_cluster: str
    cluster_required: bool
    input_bytes: int | None = None
    """Bytes of its FASTQ files; None where they were not looked at."""
    estimates: Estimates | None = None
    """None where its pipeline is not known."""

    def matches(self, record: WorksetRecord) -> bool:
        """Whether the record says the same."""
        return all(getattr(record, key) == value for key, value in self.changes(record).items())

    def changes(self, record: WorksetRecord) -> dict[str, Any]:
        """The fields a record takes over from this description."""
        fields: dict[str, Any] = dict(self)
        for key in ("input_bytes", "estimates"):
            if fields[key] is None:
                del fields[key]
        if record.affinity_reason is not None:
            # the first word stands; set_cluster_affinity changes it, not the file
            del fields["preferred_cluster"], fields["cluster_required"]
        elif self.preferred_cluster:
            fields["affinity_reason"] = AffinityReason.MANUAL
        return fields


def describe(
    spec: WorksetSpec,
    default_customer: str,
    default_max_retries: int,
    sizes: Mapping[str, int] | None = None,
    estimates: Estimates | None = None,
) -> Description:
    """The description that a lawful file gives; `sizes` are the bytes of each FASTQ file."""
    return Description(
        customer_id=spec.customer_id or default_customer,
        priority=spec.priority,
        pipeline=spec.pipeline,
        reference_genome=spec.reference_genome.value,
        max_retries=default_max_retries if spec.max_retries is None else spec.max_retries,
        preferred_cluster=spec.preferred_cluster or "",
        cluster_required=spec.cluster_required,
        input_bytes=None if sizes is None else sum(sizes.values()),
        estimates=estimates,
    )


def new_record(
    workset_id: str,
    location: str,
    now: datetime,
    description: Description | None,
) -> WorksetRecord:
    """The record of a workset that was just found; without a description its file is not lawful,
    and its validation will say why."""
    record = WorksetRecord(
        workset_id=workset_id,
        location=location,
        created_at=now,
        updated_at=now,
        history=(HistoryEntry(at=now, event="Found", note=location),),
    )
    if description is None:
        return record
    return record.model_copy(update=description.changes(record))
