"""When waiting worksets will start and end, where, and for how much: `plan` on a virtual clock.

A guess, and only as good as the durations: those of the settings' table for a pipeline, corrected
by what finished worksets took. What comes later may go first; the next hours are expected to bring
what the last ones have brought. Where many wait, the slots that come free one after the other are
given away together, a number of times, so that a thousand waiting worksets take a second and not a
minute; each is still believed to begin when its slot comes free.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

from worksets.capacity import ClusterView, Fit, Limits
from worksets.costs import Costs, PlacementPolicy
from worksets.placement import plan
from worksets.record import HELD, State, WorksetRecord, scopes_of
from worksets.shares import Shares

MOMENTS: Final = 60
"""Times at which slots are given away anew, at the most."""
OVERDUE: Final = 0.1
"""A job that has taken longer than expected is believed to take this part of that once more."""


EXPECTED_H: Final = 3.0
"""Hours for which as much is expected to come as has come in as many before. On the example day of
the benchmarks, of which nobody knows more, forecasts are off by half without it."""
MOST_EXPECTED: Final = 300
"""Worksets that are expected, the first ones."""
SURE: Final = 0.3
"""Three of four start so near to what is foretold, as a part of the wait that is left: see
`python -m benchmarks.forecasts`, which says how many do."""
_EXPECTED: Final = "expected after "


NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Expected:
    """What is expected of one workset. `ends` and `usd` are None where nothing is known of it.

    `sure`: how much earlier or later it may start, three times of four.
    """

    workset_id: str
    cluster_name: str
    starts: datetime
    ends: datetime | None = None
    usd: float | None = None
    sure: timedelta = timedelta(0)


def hours(record: WorksetRecord, cluster: ClusterView | None) -> float | None:
    """How long a workset's job is expected to take on a cluster; None: nobody knows.

    Without a cluster, and without vCPUs of its own, as on one vCPU.
    """
    vcpus = cluster.vcpus_per_workset if cluster else 1
    pace = cluster.pace_of(record) if cluster else 1.0
    return record.estimates.duration_hours(vcpus) * pace or None


def began_at(record: WorksetRecord) -> datetime:
    """When the attempt of a held workset began, or since when it is held."""
    for entry in reversed(record.history):
        if entry.event in ("Begin", "Lock"):
            return entry.at
    return record.updated_at


def expected_end(
    record: WorksetRecord, cluster: ClusterView | None, now: datetime, otherwise_h: float
) -> datetime:
    """When a held workset's job will end; `otherwise_h` hours where nothing is known of it."""
    length = timedelta(hours=hours(record, cluster) or otherwise_h)
    return max(began_at(record) + length, now + OVERDUE * length)


def forecast(
    waiting: Iterable[WorksetRecord],
    held: Iterable[WorksetRecord],
    clusters: Sequence[ClusterView],
    limits: Limits,
    customers: Mapping[str, float],
    policy: PlacementPolicy,
    now: datetime,
    lately: Mapping[str, float] | None = None,
    came: Iterable[WorksetRecord] = (),
) -> dict[str, Expected]:
    """What is expected of the waiting worksets, `ready` and `retrying`, by their ids.

    Those that cannot start as things are, or whose files are on their way, are left out. Where
    the duration of none is known, only what starts at once is foretold. `lately`: see `plan`.
    `came`: what was found in the last hours, whatever has become of it.
    """
    held, asked = list(held), now
    remembers = lately is not None
    given = Shares(policy.share_half_life_hours if remembers else 0.0, lately, now)
    taken = {record.workset_id for record in held}
    # the lists may be of two moments: whoever is in both was taken between them
    waiting = [record for record in waiting if record.workset_id not in taken]
    views = {view.name: view for view in clusters}
    costs = Costs(Fit(clusters), policy)
    usual_h = _usual_h([*held, *waiting], views, costs.fit.clusters)
    ready = [r for r in waiting if r.state is State.READY and not r.awaits]
    later = [(r.retry_after or now, r.workset_id, r) for r in waiting if r.state is State.RETRYING]
    left = len(ready) + len(later)
    later += [(r.created_at, r.workset_id, r) for r in _expected(came, now)]
    heapq.heapify(later)
    counts: Counter[str] = Counter(scope for record in held for scope in record.scopes)
    running = {record.workset_id: record for record in held}
    # what runs was given its hours up to now
    at_work = {record.workset_id: (record.customer_id, now) for record in held}
    ends: list[tuple[datetime, str, str, frozenset[str]]] = []
    if usual_h is not None:
        ends = [
            (
                expected_end(r, views.get(r.cluster_name), now, usual_h),
                r.cluster_name,
                r.workset_id,
                r.scopes,
            )
            for r in held
        ]
    heapq.heapify(ends)
    found: dict[str, Expected] = {}
    freed: dict[str, list[datetime]] = {}
    at_once = max(1, (len(ready) + len(later) + len(ends)) // MOMENTS)
    while True:
        by_id = {record.workset_id: record for record in ready}
        for decision in plan(
            ready,
            costs.fit,
            counts,
            limits,
            customers,
            policy,
            now,
            running=running.values(),
            lately=given.lately(now, at_work.values()),
            starts_only=True,
        ):
            record = by_id[decision.workset_id]
            since = freed.get(decision.cluster_name)
            begins = max(since.pop(0) if since else now, record.retry_after or NEVER)
            expected = _started(record, decision.cluster_name, costs, begins)
            found[record.workset_id] = replace(expected, sure=SURE * (begins - asked))
            left -= not record.workset_id.startswith(_EXPECTED)
            limits = limits.begun(record.customer_id, expected.usd or 0.0)
            scopes = scopes_of(decision.cluster_name, record.customer_id)
            counts.update(scopes)
            running[record.workset_id] = record.model_copy(
                update={"cluster_name": decision.cluster_name}
            )
            at_work[record.workset_id] = (record.customer_id, begins)
            if usual_h is not None:
                end = expected.ends or begins + timedelta(hours=usual_h)
                heapq.heappush(ends, (end, decision.cluster_name, record.workset_id, scopes))
        ready = [record for record in ready if record.workset_id not in found]
        if not left:
            return _real(found)
        # the next moment: several ends are one, where there are many
        times = [ends[0][0]] if ends else []
        if later:
            times.append(later[0][0])
        if not times:
            return _real(found)
        now, freed, over = max(now, min(times)), {}, 0
        while ends and (over < at_once or ends[0][0] <= now):
            end, cluster, id_, scopes = heapq.heappop(ends)
            running.pop(id_, None)
            customer, began = at_work.pop(id_)
            given.add((customer, began, end))
            now, over = max(now, end), over + 1
            freed.setdefault(cluster, []).append(end)
            counts.subtract(scopes)
        while later and later[0][0] <= now:
            record = heapq.heappop(later)[2]
            ready.append(record.model_copy(update={"state": State.READY}))


def _expected(came: Iterable[WorksetRecord], now: datetime) -> list[WorksetRecord]:
    """What is expected to come: what has come, as many hours later."""
    past = timedelta(hours=EXPECTED_H)
    # who was read at two moments may be there twice
    recent = {record.workset_id: record for record in came if record.created_at > now - past}
    first = sorted((record.created_at, id_) for id_, record in recent.items())
    return [_later(recent[id_], past) for _, id_ in first[:MOST_EXPECTED]]


def _later(record: WorksetRecord, by: timedelta) -> WorksetRecord:
    """One like it, that is not there yet."""
    found = record.created_at + by
    return record.model_copy(
        update={
            "workset_id": f"{_EXPECTED}{record.workset_id}", "created_at": found,
            "retry_after": found, "due": None if record.due is None else record.due + by,
            "state": State.READY, "completed_steps": (), "job_ended": True,
        }
    )  # fmt: skip


def _real(found: dict[str, Expected]) -> dict[str, Expected]:
    return {id_: one for id_, one in found.items() if not id_.startswith(_EXPECTED)}


def _usual_h(
    records: Iterable[WorksetRecord],
    views: Mapping[str, ClusterView],
    by_price: Sequence[ClusterView],
) -> float | None:
    """The median of how long they take, where it is known; where none runs yet on the cheapest."""
    cheapest = by_price[0] if by_price else None
    known = [hours(record, views.get(record.cluster_name, cheapest)) for record in records]
    lengths = [length for length in known if length is not None]
    return median(lengths) if lengths else None


def _started(record: WorksetRecord, cluster: str, costs: Costs, now: datetime) -> Expected:
    n = next(n for n, view in enumerate(costs.fit.clusters) if view.name == cluster)
    length = hours(record, costs.fit.clusters[n])
    if length is None:
        return Expected(record.workset_id, cluster, now)
    usd = sum(costs.usd(record, 1 << n)[n])
    return Expected(record.workset_id, cluster, now, now + timedelta(hours=length), usd)


def last_end(
    records: Iterable[WorksetRecord],
    clusters: Sequence[ClusterView],
    limits: Limits,
    customers: Mapping[str, float],
    policy: PlacementPolicy,
    now: datetime,
) -> datetime | None:
    """When the last of all that is unfinished is expected to end; None: not known of each."""
    records = list(records)
    held = [record for record in records if record.state in HELD]
    waiting = [record for record in records if record.state in (State.READY, State.RETRYING)]
    if any(record.estimates.vcpu_hours <= 0 for record in (*held, *waiting)):
        return None
    views = {view.name: view for view in clusters}
    found = forecast(waiting, held, clusters, limits, customers, policy, now)
    ends = [one.ends for one in found.values() if one.ends is not None]
    ends += [expected_end(record, views.get(record.cluster_name), now, 0.0) for record in held]
    return max(ends, default=None)
