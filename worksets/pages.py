"""Pages of Markdown that people read in Prefect's UI: the queue, and one workset.

Text of a stranger stays text: it ends no table, no block, and is no link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from worksets.capacity import ClusterView
from worksets.diagnosis import Diagnosis
from worksets.forecast import hours
from worksets.placement import money
from worksets.record import STEPS, Estimates, State, StepRun, WorksetRecord
from worksets.texts import NOTHING, length, line, plain

MAX_ROWS: Final = 200
"""Waiting worksets that a page lists."""
MAX_LOG: Final = 8000
"""Characters of a log that are shown."""
MAX_HISTORY: Final = 20


def cell(text: object) -> str:
    """A text as one cell of a table: one line, and no markup."""
    return re.sub(r"([\\|<>\[\]`*_])", r"\\\1", line(str(text)))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; what is None or empty is a dash."""
    lines = [_row(columns), _row(["---"] * len(columns))]
    lines += [_row([NOTHING if v in (None, "") else cell(v) for v in row]) for row in rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def block(text: str) -> str:
    """A block of text as it is, whatever stands in it."""
    text = plain(text, MAX_LOG)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def queue_page(
    rows: Sequence[Mapping[str, Any]],
    depth: Mapping[str, Any],
    clusters: Sequence[Mapping[str, Any]],
    now: datetime,
    note: str = "",
) -> str:
    """The queue, from the rows of `worksets.overview`; all times are UTC."""
    counts = ", ".join(f"{count} {state}" for state, count in depth["by_state"].items())
    parts = [f"As of {now:%Y-%m-%d %H:%M:%S} UTC. {counts or 'Nothing is unfinished.'}"]
    if depth["oldest"]:
        waited = length(depth["oldest_wait_s"])
        parts.append(f"The oldest that waits, {cell(depth['oldest'])}, was found {waited} ago.")
    if note:
        parts.append(f"**{cell(note)}**")
    keys = ["cluster", "held", "limit", "takes", "why"]
    body = [[*(row[key] for key in keys), _clock(row["heard_at"], now)] for row in clusters]
    parts += ["## Clusters", table([*keys, "answered"], body)]
    parts.append("## Waiting")
    if not rows:
        parts.append("Nothing waits.")
        return "\n\n".join(parts)
    parts.append(
        "In the order in which they start. Times and dollars are expected: by the plan, and by the "
        "durations that the settings' tables say, corrected by what finished worksets took. As "
        "much is expected to come as has come in the last hours. Three of four start no more than "
        "what is given or taken earlier or later."
    )
    body = [
        [
            row["position"],
            row["workset"],
            _clock(row["starts"], now),
            _clock(row["ends"], now),
            None if row["usd"] is None else money(row["usd"]),
            length(row["give_or_take_s"]),
            *(row[key] for key in ("why", "customer", "priority", "cluster")),
        ]
        for row in rows[:MAX_ROWS]
    ]
    # what people look for first: a page is narrow, and the rest of a wide table lies out of sight
    columns = ["", "workset", "starts", "ends", "cost", "give or take"]
    columns += ["why", "customer", "priority", "cluster"]
    parts.append(table(columns, body))
    if len(rows) > MAX_ROWS:
        parts.append(f"And {len(rows) - MAX_ROWS} more.")
    if depth["by_customer"]:
        parts += ["## Unfinished by customer", table(["customer", "worksets"],
                                                     depth["by_customer"].items())]  # fmt: skip
    return "\n\n".join(parts)


def usage_page(
    rows: Sequence[Mapping[str, Any]],
    by: str,
    since: datetime,
    until: datetime,
    budgets: Iterable[str],
    silent: Mapping[str, str],
) -> str:
    """What was used in a time, from the rows of `worksets.usage`; the last is the sum of all.

    `budgets`: how much is left of each, in words; `silent`: why clusters' accounting is missing.
    """
    parts = [f"What ended from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC."]
    for name, why in silent.items():
        parts.append(f"**{cell(name)}**: by markers, its accounting did not answer: {cell(why)}")
    columns = {
        by: by, "worksets": "worksets", "failed_runs": "failed runs", "vcpu_hours": "vCPU-hours",
        "busy": "busy", "peak_gb": "most memory, GB", "usd": "cost", "told_by": "told by",
    }  # fmt: skip
    body = [[money(row[key]) if key == "usd" else row[key] for key in columns] for row in rows]
    parts.append(table(list(columns.values()), body) if rows else "Nothing was used.")
    parts.append(
        "vCPU-hours are those set aside, and *busy* the part of them in which a processor worked. "
        "Dollars are at the clusters' prices of now."
    )
    if told := [f"- {cell(budget)}" for budget in budgets]:
        parts += ["## Budgets", "\n".join(told)]
    return "\n\n".join(parts)


def _clock(at: str | None, now: datetime) -> str | None:
    """A time (ISO 8601) as people write it: without the day where that is today's. UTC."""
    if at is None:
        return None
    time = datetime.fromisoformat(at).astimezone(UTC)
    return f"{time:%H:%M:%S}" if time.date() == now.date() else f"{time:%d %b %H:%M}"


def workset_page(
    record: WorksetRecord, clusters: Mapping[str, ClusterView], now: datetime, report: str = ""
) -> str:
    """One workset, whole: how it stands, what it took and cost, and what to do.

    `report`: Markdown about what its job has said: what failed, or the end of the log.
    """
    state = record.state.value.replace("_", " ")
    parts = [f"# {cell(record.workset_id)}: {state}", _what_to_do(record)]
    if report:
        parts.append(report)
    facts = {
        "customer": record.customer_id,
        "pipeline": f"{record.pipeline}, {record.reference_genome}".strip(", "),
        "priority": record.priority.value + (" (by hand)" if record.priority_by_hand else ""),
        "due": f"{record.due:%Y-%m-%d %H:%M} UTC" if record.due else "",
        "folder": record.location,
        "cluster": record.cluster_name,
        "why there": record.placement_reason,
        "job": record.job_name,
        "attempt": f"{record.attempt}, retries {record.retry_count} of {record.max_retries}",
        "input": f"{record.input_bytes / 1e9:.3g} GB" if record.input_bytes else "",
        "expected": _expected(record, clusters),
        "begins": _more(record.estimates),
        "disk": _disk(record.estimates.storage_gb),
        "so far": _taken(record, clusters),
        "results": _results(record),
        "whole record": record.archived,
    }
    parts.append(table(["", ""], [(name, told) for name, told in facts.items() if told]))
    if record.step_runs:
        parts += ["## Steps", _steps(record.step_runs)]
    parts += [
        "## History",
        table(
            ["at (UTC)", "what", ""],
            [(f"{e.at:%Y-%m-%d %H:%M:%S}", e.event, e.note) for e in record.history[-MAX_HISTORY:]],
        ),
        f"Written {now:%Y-%m-%d %H:%M:%S} UTC.",
    ]
    return "\n\n".join(parts)


def failure_report(record: WorksetRecord, step: str, what: str, found: Diagnosis, log: str) -> str:
    """Markdown about one failed step: what happened, what it means, and the end of its log."""
    rows = {
        "step": f"{step}, attempt {record.attempt}",
        "job": f"{record.job_name} on {record.cluster_name}",
        "what": what,
        "class": found.category.value if found.category else "unknown: no table knows it",
        "what to do": found.remedy,
    }
    tail = block(log or "(the log is empty)")
    return f"## What failed\n\n{table(['', ''], rows.items())}\n\nEnd of the step's log:\n\n{tail}"


def log_report(log: str) -> str:
    """Markdown with the end of the run step's log; empty where there is none."""
    return f"## End of the log\n\n{block(log)}" if log else ""


def _what_to_do(record: WorksetRecord) -> str:
    id_ = cell(record.workset_id)
    if record.state is State.COMPLETE:
        return "Nothing is to be done."
    if record.state is State.FAILED:
        return (
            f"**It is a dead letter: it is not tried again by itself.** {cell(_cause(record))} Put "
            f"that right, then press **Retry** on this run, or: `worksets retry {id_}`. It goes on "
            f"after its finished steps; where the data were at fault, from the start."
        )
    if record.state is State.RETRYING:
        at = f"{record.retry_after:%H:%M:%S} UTC" if record.retry_after else "its time"
        return f"It is tried again at {at}, by itself. {cell(_cause(record))}"
    if record.state in (State.CANCELLED, State.IGNORED):
        return f"It is left alone. To bring it back: **Retry**, or `worksets retry {id_}`."
    if record.cancel_requested:
        return f"It is cancelled when its job has ended: {cell(record.cancel_requested)}"
    if record.state is State.READY:
        return f"It waits: {cell(record.awaits or record.placement_reason or 'for a free slot')}."
    return "Nothing is to be done: its job runs. `worksets logs -f` shows what it says."


def _cause(record: WorksetRecord) -> str:
    first = record.error_details.partition("\n")[0]
    step = f"{record.failed_step}: " if record.failed_step else ""
    return f"{step}{first}." if first else ""


def _expected(record: WorksetRecord, clusters: Mapping[str, ClusterView]) -> str:
    view = clusters.get(record.cluster_name)
    known = hours(record, view)
    if known is None:
        return ""
    cost = view.usd_of(record) if view else 0.0
    count = record.estimates.learned_from
    learned = f", learned from {count} finished worksets" if count else ""
    return f"{length(known * 3600)}" + (f", {money(cost)}" if cost else "") + learned


def _more(needs: Estimates) -> str:
    """What it has more from its first attempt on, since worksets before it ran out of that."""
    said = (("memory", needs.more_memory), ("time limit", needs.more_time))
    more = " and ".join(f"the {what} of retry {steps}" for what, steps in said if steps)
    return more and f"with {more}, learned from {needs.more_from} finished worksets"


def _disk(gb: float) -> str:
    """What inputs, scratch and results are expected to take there, by the pipeline's table."""
    return f"about {gb:,.1f} GB" if gb else ""


def _taken(record: WorksetRecord, clusters: Mapping[str, ClusterView]) -> str:
    """Time and dollars of all its steps, failed ones too."""
    if not record.step_runs:
        return ""
    seconds = usd = 0.0
    for run in record.step_runs:
        took = (run.ended_at - run.started_at).total_seconds()
        seconds += took
        if view := clusters.get(run.cluster_name):
            needs = record.estimates
            usd += took / 3600 * view.vcpus_of(needs) * view.price_of(needs)
    return length(seconds) + (f", {money(usd)}" if usd else "")


def _results(record: WorksetRecord) -> str:
    done = record.exported
    if done is None:
        return ""
    digest = f"; manifest sha256 {done.manifest_sha256}" if done.manifest_sha256 else ""
    return f"{done.files} files, {done.bytes:,} bytes{digest}"


def _steps(runs: Sequence[StepRun]) -> str:
    rows = [
        (
            run.step.value,
            run.attempt,
            run.cluster_name,
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
            length((run.ended_at - run.started_at).total_seconds()),
            None if run.took is None else length(run.took.cpu_s),
            None if run.took is None or run.took.peak_gb is None else f"{run.took.peak_gb:.3g} GB",
            "ok" if run.exit_code == 0 else f"exit code {run.exit_code}",
        )
        for run in sorted(runs, key=lambda run: (run.started_at, STEPS.index(run.step)))
    ]
    columns = ["step", "attempt", "cluster", "began (UTC)", "took", "CPU time", "memory", "end"]
    return table(columns, rows)
