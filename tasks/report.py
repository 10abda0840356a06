"""What a person reads in the run of an attempt that failed: cause, remedy, end of the log."""

from __future__ import annotations

import re
from typing import Final

from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger

from worksets.diagnosis import Diagnosis
from worksets.record import WorksetRecord
from worksets.texts import line, plain

MAX_LOG: Final = 8000
"""Characters of the log that are shown."""


def failure_report(record: WorksetRecord, step: str, what: str, found: Diagnosis, log: str) -> str:
    """Markdown about one failed step. Text of a log stays text: it ends no block and is no link."""
    log = plain(log, MAX_LOG)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", log)), default=0))
    rows = {
        "workset": record.workset_id,
        "step": f"{step}, attempt {record.attempt}",
        "job": f"{record.job_name} on {record.cluster_name}",
        "what": what,
        "class": found.category.value if found.category else "unknown: no table knows it",
        "**what to do**": found.remedy,
    }
    table = [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    tail = log or "(the log is empty)"
    return "\n".join(
        ["| | |", "|---|---|", *table, "", "End of the step's log:", "", fence, tail, fence, ""]
    )


def _cell(text: str) -> str:
    return re.sub(r"([\\|<>\[\]`*_])", r"\\\1", line(text))


async def show(workset_id: str, markdown: str, verdict: str) -> None:
    """Attach it to the run. The workset does not depend on it: a failure is only logged."""
    key = re.sub("[^a-z0-9]+", "-", f"failed-{workset_id}".lower()).strip("-")
    try:
        await acreate_markdown_artifact(markdown, key=key, description=line(verdict))
    except Exception:
        get_run_logger().warning("the report of %s was not stored", workset_id, exc_info=True)
