"""Announcements as Prefect events, for the UI's feed and for automations."""

from __future__ import annotations

from typing import Any

from worksets.announcements import Announcement


def as_event(announcement: Announcement) -> dict[str, Any]:
    """Arguments of `emit_event`: `workset.STATE`, `workset.stuck` or `cluster.(un)reachable`."""
    record, kind = announcement.record, announcement.kind.value
    if record is None:
        name, resource = kind.replace("_", ".", 1), f"cluster.{announcement.about}"
        fields = {}
    else:
        name = "workset.stuck" if kind == "stuck" else f"workset.{record.state.value}"
        resource = f"workset.{record.workset_id}"
        fields = {"workset.customer": record.customer_id, "workset.cluster": record.cluster_name}
    return {
        "event": name,
        "resource": {
            "prefect.resource.id": resource,
            "prefect.resource.name": announcement.about,
            **fields,
        },
        "payload": {
            "message": announcement.message[:2000],
            "attempt": record.attempt if record else None,
        },
    }
