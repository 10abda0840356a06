"""What an operator sees of the queue and of the clusters: rows, for a table, a page or a program.

Every value is one that JSON has, and every text of a stranger is fit to be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from worksets.capacity import ClusterView, Limits
from worksets.forecast import Expected, forecast
from worksets.health import Health
from worksets.placement import Decision, PlacementPolicy, plan
from worksets.record import HELD, State, WorksetRecord
from worksets.texts import length, line

Row = dict[str, Any]
MOST_FORETOLD: Final = 1000


def queue(
    records: Iterable[WorksetRecord],
    clusters: Sequence[ClusterView],
    limits: Limits,
    customers: Mapping[str, float],
    policy: PlacementPolicy,
    now: datetime,
    lately: Mapping[str, float] | None = None,
    came: Iterable[WorksetRecord] = (),
) -> list[Row]:
    """A row for each workset that waits, in the order in which they should start.

    `records`: all that is unfinished; of the first thousand that can start it is told when.
    `lately`, `came`: see `plan` and `forecast`. Times are ISO 8601 in UTC; `starts`, `ends`,
    `cluster` and `usd` are expected, and None where nothing is known; three of four start no more
    than `give_or_take_s` earlier or later. `waited_s`: seconds since it was found.
    """
    records = list(records)
    held = [record for record in records if record.state in HELD]
    taken = {record.workset_id for record in held}
    # they may have been read at two moments: whoever is there twice was taken between them
    records = [*held, *(r for r in records if r.workset_id not in taken)]
    ready = {r.workset_id: r for r in records if r.state is State.READY}
    later = sorted(
        (r for r in records if r.state is State.RETRYING), key=lambda r: r.retry_after or now
    )
    counts = Counter(scope for record in held for scope in record.scopes)
    delivered = [record for record in ready.values() if not record.awaits]
    decisions = plan(
        delivered, clusters, counts, limits, customers, policy, now, running=held, lately=lately
    )
    can = [ready[d.workset_id] for d in decisions if d.action in ("start", "wait")]
    soon = [*can[:MOST_FORETOLD], *later[:MOST_FORETOLD]]
    foreseen = forecast(soon, held, clusters, limits, customers, policy, now, lately, came)
    order = [
        *((ready[decision.workset_id], why(decision)) for decision in decisions),
        *((r, f"waits for its files: {r.awaits}") for r in ready.values() if r.awaits),
        *((r, _next_try(r)) for r in later),
    ]
    return [
        _row(position, record, reason, foreseen.get(record.workset_id), now)
        for position, (record, reason) in enumerate(order, 1)
    ]


def why(decision: Decision) -> str:
    """A decision of the plan, for somebody who looks on."""
    if decision.action == "start":
        return f"starts: {decision.reason}"
    return decision.reason if decision.action == "wait" else f"{decision.action}: {decision.reason}"


def _next_try(record: WorksetRecord) -> str:
    at = record.retry_after.isoformat(timespec="seconds") if record.retry_after else "soon"
    cause = record.error_details.partition("\n")[0]
    return f"tried again at {at}: {cause}"


def _due(record: WorksetRecord, expected: Expected | None) -> str:
    """When its result is wanted, and whether that is to be expected."""
    if record.due is None:
        return ""
    late_s = (expected.ends - record.due).total_seconds() if expected and expected.ends else 0
    late = f", expected {length(late_s)} later" if late_s > 0 else ""
    return f"; due {record.due:%Y-%m-%d %H:%M} UTC{late}"


def _row(
    position: int, record: WorksetRecord, reason: str, expected: Expected | None, now: datetime
) -> Row:
    return {
        "position": position,
        "workset": record.workset_id,
        "state": record.state.value,
        "customer": line(record.customer_id),
        "priority": record.priority.value,
        "why": line(reason + _due(record, expected), 400),
        "due": _iso(record.due) if record.due else None,
        "cluster": expected.cluster_name if expected else None,
        "starts": _iso(expected.starts) if expected else None,
        "give_or_take_s": round(expected.sure.total_seconds()) if expected else None,
        "ends": _iso(expected.ends) if expected else None,
        "usd": None if expected is None or expected.usd is None else round(expected.usd, 2),
        "waited_s": round((now - record.created_at).total_seconds()),
    }


def clusters(
    views: Iterable[ClusterView],
    health: Mapping[str, Health],
    held: Mapping[str, int],
    limits: Limits,
    now: datetime,
) -> list[Row]:
    """A row for each cluster: what it holds, what it may hold, and whether it answers.

    `held` counts the holders of each scope.
    """
    by_scope = limits.by_scope()
    rows = []
    for view in sorted(views, key=lambda view: view.name):
        known, scope = health.get(view.name, Health()), f"cluster:{view.name}"
        rows.append(
            {
                "cluster": view.name,
                "held": held.get(scope, 0),
                "limit": by_scope.get(scope, view.max_concurrent_worksets),
                "takes": "no" if view.unavailable or view.never else "yes",
                "why": line(view.unavailable or view.never, 400),
                "heard_at": _iso(known.heard_at),
                "failures": known.failures,
                "usd_per_vcpu_hour": view.offers[0].price_per_vcpu_hour,
            }
        )
    return rows


def depth(records: Iterable[WorksetRecord], now: datetime) -> Row:
    """How many there are by state, customer and cluster, and how long the oldest has waited."""
    records = list(records)
    waiting = [r for r in records if r.state in (State.READY, State.RETRYING)]
    oldest = min(waiting, key=lambda r: r.created_at, default=None)
    return {
        "by_state": _counted(r.state.value for r in records),
        "by_customer": _counted(line(r.customer_id) or "–" for r in records),
        "by_cluster": _counted(r.cluster_name for r in records if r.state in HELD),
        "oldest": oldest.workset_id if oldest else None,
        "oldest_wait_s": round((now - oldest.created_at).total_seconds()) if oldest else 0,
    }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
