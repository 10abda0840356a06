"""Worksets that failed for good: which of them are meant, and what an operator sees of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worksets.errors import ConfigurationError, ErrorCategory
from worksets.record import State, WorksetRecord
from worksets.texts import line, plain

MAX_LOG: int = 500
"""Characters of the log in a list."""


def chosen(
    records: Iterable[WorksetRecord],
    workset_ids: Sequence[str] | None = None,
    customer_id: str | None = None,
    error_category: ErrorCategory | None = None,
) -> list[WorksetRecord]:
    """Those of the dead letters that all the given filters let through; no filter: all of them."""
    return [
        record
        for record in records
        if record.state is State.FAILED
        and (workset_ids is None or record.workset_id in workset_ids)
        and customer_id in (None, record.customer_id)
        and error_category in (None, record.error_category)
    ]


def missing(records: Iterable[WorksetRecord], workset_ids: Sequence[str] | None) -> list[str]:
    """Ids that were asked for and are no dead letters."""
    return sorted(set(workset_ids or ()) - {record.workset_id for record in records})


def require_a_choice(
    workset_ids: Sequence[str] | None,
    customer_id: str | None,
    error_category: ErrorCategory | None,
    everything: bool,
) -> None:
    """Refuse to redrive all dead letters by an empty form.

    Raises:
        ConfigurationError: nothing is chosen.
    """
    if workset_ids is None and customer_id is None and error_category is None and not everything:
        raise ConfigurationError(
            "no dead letter is chosen: give workset_ids, customer_id or error_category, "
            "or everything=True"
        )


def row(record: WorksetRecord) -> dict[str, str | int]:
    """One line of a list; its texts are fit, though an older release may have kept the record."""
    error, _, log = plain(record.error_details).partition("\n")
    return {
        "workset": record.workset_id,
        "customer": record.customer_id,
        "failed": record.updated_at.isoformat(timespec="seconds"),
        "step": record.failed_step or "–",
        "class": record.error_category.value if record.error_category else "unknown",
        "cause and remedy": error,
        "end of the log": log[-MAX_LOG:],
        "attempts": record.attempt,
        "retries": record.retry_count,
        "cluster": record.cluster_name or "–",
        "steps done": " ".join(record.completed_steps) or "none",
        "history": "; ".join(line(f"{e.event} {e.note}".strip(), 120) for e in record.history[-5:]),
    }
