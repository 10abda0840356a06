"""Dead letters, for an operator: look at them, and bring back what was put right."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from tasks.dead_letters import read_dead_letters, redrive, show_dead_letters
from worksets.dead_letters import chosen, missing, require_a_choice, row
from worksets.errors import ErrorCategory
from worksets.texts import few


@flow(name="list_dead_letters", retries=0, persist_result=False)
async def list_dead_letters(
    customer_id: str | None = None,
    error_category: ErrorCategory | None = None,
    settings: str = "default",
) -> list[dict[str, Any]]:
    """Show the worksets that failed for good, with cause, remedy, log and history.

    Args:
        customer_id: Only this customer's.
        error_category: Only those with an error of this class.
        settings: Name of the settings block.
    """
    found = chosen(await read_dead_letters(settings), None, customer_id, error_category)
    await show_dead_letters(found, f"{len(found)} dead letters")
    return [row(record) for record in found]


@flow(name="redrive_worksets", retries=0, persist_result=False)
async def redrive_worksets(
    workset_ids: list[str] | None = None,
    customer_id: str | None = None,
    error_category: ErrorCategory | None = None,
    everything: bool = False,
    reason: str = "redriven by hand",
    from_start: bool | None = None,
    settings: str = "default",
) -> dict[str, Any]:
    """Make dead letters ready again, with all their retries; the next poll starts them.

    They keep their history and go on after their finished steps; where the data were at fault they
    start anew.

    Args:
        workset_ids: These worksets.
        customer_id: Only this customer's.
        error_category: Only those with an error of this class.
        everything: All dead letters, if nothing else is chosen.
        reason: Kept in each workset's history.
        from_start: Run finished steps again; empty: only where the data were at fault.
        settings: Name of the settings block.
    """
    require_a_choice(workset_ids, customer_id, error_category, everything)
    letters = chosen(await read_dead_letters(settings), workset_ids, customer_id, error_category)
    if unknown := missing(letters, workset_ids):
        get_run_logger().warning("no dead letters, and left alone: %s", few(unknown))
    await show_dead_letters(letters, f"redriven: {reason}")
    done = [r.workset_id for r in letters if await redrive(r, reason, from_start, settings)]
    return {"redriven": done, "left_alone": unknown}
