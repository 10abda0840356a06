"""Announcements as Prefect events, for the UI's feed and for automations."""

from __future__ import annotations

from typing import Any, Final

from worksets.announcements import OF_STATE, Announcement
from worksets.texts import plain

MAX_MESSAGE: Final = 2000
"""Characters of an event's message."""
_STATES: Final = {kind.value: state.value for state, kind in OF_STATE.items()}


def as_event(announcement: Announcement) -> dict[str, Any]:
    """Arguments of `emit_event`: `workset.STATE`, `workset.stuck`,
    `workset.unsettled`, `workset.redelivered`, `machine.clock_off`,
    `customer.budget` or `cluster.(un)reachable`."""
    record, kind = announcement.record, announcement.kind.value
    fields: dict[str, str] = {}
    if kind == "unreadable":
        name, resource = "workset.unreadable", f"workset.{announcement.about}"
    elif kind == "clock_off":
        name, resource = "machine.clock_off", f"machine.{announcement.about}"
    elif kind == "budget":
        name, resource = "customer.budget", f"customer.{announcement.about}"
    elif record is None:
        name, resource = kind.replace("_", ".", 1), f"cluster.{announcement.about}"
    else:
        # that of its end, though it may be told late, when somebody has restored it
        name = f"workset.{_STATES.get(kind, kind)}"
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
            "message": plain(announcement.message, MAX_MESSAGE),
            "attempt": record.attempt if record else None,
        },
    }
