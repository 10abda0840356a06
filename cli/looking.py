"""Commands that look, and change nothing (but `locks --release`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

from cyclopts import Parameter

from cli import output
from cli.options import COMMON, Common
from cli.site import Site
from local.progress import fitting, headline
from local.progress import table as display
from local.summary import message
from local.worksets import Worksets
from worksets import overview
from worksets.errors import Refused, WorksetError
from worksets.leases import is_stale
from worksets.record import HELD, OPEN, STEPS, UNFINISHED, Step, WorksetRecord
from worksets.texts import length, line, plain

TITLE: Final = "Look"
LOG_CHARS: Final = 100_000
FOLLOW_S: Final = 2.0


def status(
    *workset_ids: str,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Where worksets stand: all that are unfinished or failed, or those that are named, whole.

    Parameters
    ----------
    workset_ids:
        Worksets to show with steps, times and history.
    watch:
        Go on showing until Ctrl-C.
    """
    site = common.site()
    if workset_ids:
        records = [site.record(id_) for id_ in workset_ids]
        if common.json:
            output.as_json([record.model_dump(mode="json") for record in records])
        else:
            for record in records:
                _tell(site, record)
        return 0
    if watch and not common.json:
        return _watch(site)
    records = site.db.list_worksets(OPEN)
    if common.json:
        found: dict[str, Any] = overview.depth(records, site.db.now())
        output.as_json(found | {"worksets": [_row(record) for record in records]})
        return 0
    out = output.console()
    out.print(display(records, headline(records) or "nothing is unfinished", out.width))
    return 0


def _watch(site: Site) -> int:
    from rich.live import Live

    out, worksets = output.console(), Worksets(site.db)
    with Live(console=out, refresh_per_second=2, transient=True) as live:
        while True:
            records = worksets.look()
            live.update(display(*fitting(records, out.height), out.width))
            time.sleep(1)


def _row(record: WorksetRecord) -> dict[str, Any]:
    return {
        "workset": record.workset_id,
        "state": record.state.value,
        "cluster": record.cluster_name,
        "attempt": record.attempt,
        "customer": record.customer_id,
        "priority": record.priority.value,
        "completed_steps": [step.value for step in record.completed_steps],
        "why": message(record),
    }


def _tell(site: Site, record: WorksetRecord) -> None:
    """One workset, whole."""
    steps = dict.fromkeys(STEPS, "as its whole record says" if record.archived else "not yet")
    for run in record.step_runs:
        took = length((run.ended_at - run.started_at).total_seconds())
        end = "ok" if run.exit_code == 0 else f"exit code {run.exit_code}"
        steps[run.step] = f"{end}, {took}, attempt {run.attempt} on {run.cluster_name}"
    results = record.exported
    output.facts(
        {
            "state": record.state.value,
            "why": message(record),
            "customer": record.customer_id,
            "priority": record.priority.value + (" (by hand)" if record.priority_by_hand else ""),
            "due": record.due.isoformat(timespec="seconds") if record.due else "",
            "folder": record.location,
            "cluster": record.cluster_name,
            "job": record.job_name,
            "attempt": record.attempt,
            "retries": f"{record.retry_count} of {record.max_retries}",
            "held by": record.lock_owner,
            **{step.value: told for step, told in steps.items()},
            "results": f"{results.files} files, {results.bytes:,} bytes" if results else "",
            "whole record": record.archived,
        },
        record.workset_id,
    )
    if record.error_details:
        output.note("")
        for part in plain(record.error_details).splitlines():
            output.note("", part)
    output.note("")
    for entry in record.history:
        at = entry.at.astimezone().strftime("%d %b %H:%M:%S")
        output.note(f"{at}  {entry.event:14} ", line(entry.note), style="dim")


def queue(*, common: Common = COMMON) -> int:
    """What waits, in the order in which it starts: why, where, from when to when, for how much.

    Times and dollars are expected: by the plan, the durations that the settings' tables say and
    what finished worksets took.
    """
    site = common.site()
    rows, depth = _queue(site)
    if common.json:
        output.as_json({"depth": depth, "queue": rows})
        return 0
    if not rows:
        output.note("nothing waits")
        return 0
    waited = length(depth["oldest_wait_s"])
    title = f"{len(rows)} wait; the oldest, {depth['oldest']}, for {waited}"
    columns = ["position", "workset", "customer", "priority", "cluster", "starts", "ends", "usd"]
    output.table(rows, [*columns, "why"], title)
    return 0


def _queue(site: Site) -> tuple[list[overview.Row], overview.Row]:
    records, views, now = site.db.list_worksets(UNFINISHED), site.views_of_now(), site.db.now()
    settings = site.settings
    limits = site.limits(views).model_copy(update={"budgets": site.budgets(views)})
    past = site.past(now)
    policy = settings.placement
    rows = overview.queue(records, views, limits, settings.weights, policy, now, *past)
    return rows, overview.depth(records, now)


def clusters(
    *, ask: Annotated[bool, Parameter(negative="")] = False, common: Common = COMMON
) -> int:
    """The clusters: what they hold, what they may hold, and whether they take anything now.

    Parameters
    ----------
    ask:
        Ask each of them now what it has room for; else: what the pollers know.
    """
    site = common.site()
    views, now = site.views(), site.db.now()
    rows = overview.clusters(views, site.health(), site.held_counts(), site.limits(views), now)
    if ask:
        for row in rows:
            try:
                room = site.cluster(row["cluster"]).capacity(site.settings.least_needs)
                row["room"] = "no bound of its own" if room is None else room
            except WorksetError as error:
                row["room"] = f"no answer: {line(str(error), 200)}"
    if common.json:
        output.as_json(rows)
        return 0
    columns = ["cluster", "held", "limit", "takes", *(["room"] if ask else []), "heard_at", "why"]
    output.table(rows, columns)
    return 0


def logs(
    workset_id: str,
    *,
    step: Step | None = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    common: Common = COMMON,
) -> int:
    """The log of a workset's step, from its cluster, also while it runs.

    Parameters
    ----------
    workset_id:
        The workset.
    step:
        stage, run or export; else the last that has begun.
    follow:
        Go on until the job has ended, or Ctrl-C.
    """
    site = common.site()
    record = site.record(workset_id)
    if not record.job_name:
        raise Refused(f"workset {workset_id} has had no job yet; it is {record.state.value}")
    found, text = _log(site, record, step)
    if common.json:
        data = {"workset": workset_id, "job": record.job_name, "step": found, "log": text}
        output.as_json(data)
        return 0
    output.note(f"{record.job_name} on {record.cluster_name}, {found or 'no log yet'}", style="dim")
    _print(text)
    if follow:
        for more in _following(site, record, step, text):
            _print(more)
    return 0


def _log(site: Site, record: WorksetRecord, step: Step | None) -> tuple[str, str]:
    """The step and the end of its log."""
    cluster = site.cluster(record.cluster_name)
    for one in [step] if step else reversed(STEPS):
        if text := cluster.log_tail(record.job_name, one, LOG_CHARS):
            return one.value, plain(text, LOG_CHARS)
    return (step.value if step else ""), ""


def _following(site: Site, record: WorksetRecord, step: Step | None, before: str) -> Iterator[str]:
    """What is added to the log, until the job is nobody's any more."""
    shown, known = "", before
    while True:
        held = site.record(record.workset_id)
        time.sleep(FOLLOW_S)
        now, text = _log(site, record, step)
        if shown and now != shown:
            known = ""  # the next step has begun
        shown = now
        if new := added(known, text):
            yield new
        known = text
        if held.state not in HELD or held.job_name != record.job_name:
            return


def added(before: str, after: str) -> str:
    """What the end of a log has more than it had before; all of it where they do not join."""
    if after.startswith(before):
        return after[len(before) :]
    end = before[-1000:]
    at = after.find(end) if end else -1
    return after if at < 0 else after[at + len(end) :]


def _print(text: str) -> None:
    for part in text.splitlines():
        output.note("", part)


def locks(*, release: str | None = None, reason: str = "", common: Common = COMMON) -> int:
    """Who holds what, and until when; `--release ID --reason WHY` takes a lock away.

    Parameters
    ----------
    release:
        A workset. Its holder's next write is refused; a job of it goes on, and is attached to.
    reason:
        Why; kept in its history.
    """
    site = common.site()
    if release is not None:
        if not reason:
            raise Refused("say why, with --reason: it is kept in the workset's history")
        after = site.db.release_lock(release, force=True, reason=reason)
        if common.json:
            output.as_json(_row(after))
        else:
            output.note(f"workset {release} is {after.state.value}")
        return 0
    leases, now = site.db.leases(), site.db.now()
    rows = [
        {
            "workset": record.workset_id,
            "state": record.state.value,
            "cluster": record.cluster_name,
            "job": record.job_name,
            "owner": record.lock_owner,
            "lease_ends": _iso(leases.get(record.lock_owner)),
            "holder": "gone" if is_stale(record, leases, now) else "alive",
        }
        for record in sorted(site.db.held(), key=lambda r: r.workset_id)
    ]
    if common.json:
        output.as_json(rows)
    elif rows:
        output.table(rows, rows[0])
    else:
        output.note("nobody holds anything")
    return 0


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


COMMANDS: Final = (status, queue, clusters, logs, locks)
