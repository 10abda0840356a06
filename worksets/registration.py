"""From a `daylily_work.yaml` to the fields of a record that placement needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from worksets.record import (
    AffinityReason,
    Delivery,
    Estimates,
    Frozen,
    HistoryEntry,
    Priority,
    WorksetRecord,
)
from worksets.spec import Sample, WorksetSpec


class Description(Frozen):
    """What a workset's file says of how it is to be processed."""

    customer_id: str
    priority: Priority
    due: datetime | timedelta | None = None
    """When its result is wanted: at a moment, or so long after it was found."""
    pipeline: str
    reference_genome: str
    max_retries: int
    preferred_cluster: str
    cluster_required: bool
    input_bytes: int | None = None
    """Bytes of its FASTQ files; None where they were not looked at."""
    estimates: Estimates | None = None
    """None where its pipeline is not known."""
    delivery: Delivery = Delivery()

    def matches(self, record: WorksetRecord) -> bool:
        """Whether the record says the same."""
        return all(getattr(record, key) == value for key, value in self.changes(record).items())

    def is_other_work(self, record: WorksetRecord) -> str:
        """Why results of what the record had described are no results of this; empty: they are."""
        before, now = record.delivery, self.delivery
        if before.asks and now.asks and before.asks != now.asks:
            return "its samples, reference genome or pipeline have changed"
        if before.files and now.files and before.files != now.files:
            return "its FASTQ files were delivered again"
        return ""

    def changes(self, record: WorksetRecord) -> dict[str, Any]:
        """The fields a record takes over from this description."""
        fields: dict[str, Any] = dict(self)
        for key in ("input_bytes", "estimates"):
            if fields[key] is None:
                del fields[key]
        if isinstance(self.due, timedelta):
            fields["due"] = record.created_at + self.due
        # what was not looked at is not forgotten
        seen = {key: text for key, text in dict(self.delivery).items() if text}
        fields["delivery"] = record.delivery.model_copy(update=seen)
        if record.priority_by_hand:
            del fields["priority"]
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
    delivery: Delivery | None = None,
) -> Description:
    """The description that a lawful file gives; `sizes` are the bytes of each FASTQ file."""
    return Description(
        customer_id=spec.customer_id or default_customer,
        priority=spec.priority,
        due=spec.due,
        pipeline=spec.pipeline,
        reference_genome=spec.reference_genome or "",
        max_retries=default_max_retries if spec.max_retries is None else spec.max_retries,
        preferred_cluster=spec.preferred_cluster or "",
        cluster_required=spec.cluster_required,
        input_bytes=None if sizes is None else sum(sizes.values()),
        estimates=estimates,
        delivery=(delivery or Delivery()).model_copy(update={"asks": asks_of(spec)}),
    )


def asks_of(spec: WorksetSpec) -> str:
    """A digest of all in a file that the results depend on: samples, reference and pipeline."""
    what: dict[str, Any] = {
        "samples": [
            sample.model_dump(
                mode="json",
                include=set(Sample.model_fields),
                exclude=None if sample.sheet else {"sheet"},
                exclude_none=True,
            )
            for sample in spec.samples
        ],
        "reference_genome": spec.asked_genome,
        "pipeline": spec.pipeline,
    }
    if spec.inputs:
        what["inputs"] = list(spec.inputs)
    if spec.words:
        what["dy-r"] = list(spec.words)
    return digest(json.dumps(what, sort_keys=True))


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that differ where the texts do."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def new_record(
    workset_id: str,
    location: str,
    now: datetime,
    description: Description | None,
    awaits: str = "",
    looked: str = "",
) -> WorksetRecord:
    """The record of a workset that was just found; without a description its file is not lawful,
    and its validation will say why. `awaits`: what of its delivery is still on its way."""
    record = WorksetRecord(
        workset_id=workset_id,
        lineage=1,
        location=location,
        awaits=awaits,
        placement_reason=awaits,
        looked=looked,
        looked_since=now if looked else None,
        created_at=now,
        updated_at=now,
        history=(HistoryEntry(at=now, event="Found", note=location),),
    )
    if description is None:
        return record
    return record.model_copy(update=description.changes(record))
