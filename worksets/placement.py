"""Which ready worksets start now, and where: a pure and total function, in US dollars.

*Who* starts is a matter of turns (`worksets.fairness`): each in its turn is given a slot if it
fits, its customer is below its limit, and there is one, be it by moving others that start in the
same cycle. A workset that cannot start waits alone and holds up nobody behind it. *Where* is the
assignment of least total cost over all that start (`worksets.slots`): vCPU-hours × price, bytes ×
price between regions, less a discount on a preferred cluster. Where nothing distinguishes clusters
by cost, the emptiest is taken. Limits count worksets; a cluster's room is counted in what they ask
for (`worksets.rooms`, where they ask for unlike amounts and that binds).

No workset waits for a cheaper slot while one that fits is free: nothing known here says honestly
when a slot frees. Hours of waiting count, at the policy's price, for whose turn it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from worksets.capacity import ClusterView, Fit, Limits, Room, bits, misfit
from worksets.costs import Costs, PlacementPolicy
from worksets.fairness import Turns
from worksets.record import WorksetRecord
from worksets.rooms import ROUNDING, Amounts, Rooms
from worksets.slots import Slots

__all__ = ["ClusterView", "Decision", "Limits", "PlacementPolicy", "misfit", "plan"]


@dataclass(frozen=True)
class Decision:
    """What happens to one ready workset, and why, in words an operator understands.

    action: `start` on `cluster_name`; `refuse` (validation will say why; needs no slot); `wait`
    until a slot is free; `stuck`: with the clusters and settings of now it can never start.
    `held_back`: it waits, and no slot helps: its customer has spent its budget.
    """

    workset_id: str
    action: Literal["start", "refuse", "wait", "stuck"]
    reason: str
    cluster_name: str = ""
    held_back: bool = False


def plan(
    ready: Iterable[WorksetRecord],
    clusters: Sequence[ClusterView] | Fit,
    held: Mapping[str, int],
    limits: Limits,
    customers: Mapping[str, float],
    policy: PlacementPolicy,
    now: datetime,
    only: str = "",
    running: Iterable[WorksetRecord] = (),
    lately: Mapping[str, float] | None = None,
    starts_only: bool = False,
) -> list[Decision]:
    """A decision for every ready workset, in the order in which they should start.

    `clusters`: a `Fit` of them, where they are planned for again and again. `held` counts the
    holders of every scope (`global`, `cluster:NAME`, `customer:ID`); `customers` are those that the
    settings know, with the weight of each in sharing. `only` names the one cluster that may be
    taken; reasons tell of the others as they are. `running`: those that take of a cluster's room
    already. `lately`: hours that jobs of each customer have had, those that run among them, as far
    as they are remembered (`worksets.shares`). `starts_only`: of those that start, and without
    the reasons, which take half of the time.
    """
    fit = clusters if isinstance(clusters, Fit) else Fit(clusters)
    cycle = _Plan(fit, held, limits, policy, only, running, now)
    return cycle.decide(ready, customers, now, lately or {}, starts_only)


class _Plan:
    """One cycle: what is free, what has been given away, and the words for it."""

    def __init__(
        self,
        fit: Fit,
        held: Mapping[str, int],
        limits: Limits,
        policy: PlacementPolicy,
        only: str,
        running: Iterable[WorksetRecord],
        now: datetime,
    ) -> None:
        self.only = only
        self.fit = fit
        self.costs = Costs(self.fit, policy, now)
        self.counts = Counter(held)
        self.limits = limits.by_scope()
        self.budgets = dict(limits.budgets)
        self.available = sum(self.fit.bit[c.name] for c in self.fit.clusters if not c.unavailable)
        used = [held.get(f"cluster:{c.name}", 0) for c in self.fit.clusters]
        self.total = [
            self.limits.get(f"cluster:{c.name}", c.max_concurrent_worksets)
            for c in self.fit.clusters
        ]
        self.free = [
            0 if c.unavailable else max(0, total - taken)
            for c, total, taken in zip(self.fit.clusters, self.total, used, strict=True)
        ]
        self.used = used
        self.room = self._left(running)
        self.open = sum(1 << n for n, slots in enumerate(self.free) if slots)
        if only:
            self.open &= self.fit.bit.get(only, 0)
        self.slots: Slots | Rooms = Slots([], [])
        self._waits: dict[int, str] = {}
        self._kinds: dict[tuple[float, ...], Mapping[int, Amounts]] = {}

    def _left(self, running: Iterable[WorksetRecord]) -> list[Room]:
        """The room that is left on each cluster, before anything starts."""
        left = {c.name: c.room for c in self.fit.clusters if c.room.bounded}
        views = {c.name: c for c in self.fit.clusters}
        for record in running:
            if (name := record.cluster_name) in left:
                left[name] = left[name].less(views[name].takes(record.estimates))
        return [left.get(c.name, c.room) for c in self.fit.clusters]

    def _slots_for(self, ready: Iterable[WorksetRecord]) -> Slots | Rooms:
        """Slots, where all ask for the same or the room is enough for any; else room."""
        if not any(left.bounded for left in self.room):
            return Slots(self.free, self.used)
        kinds = {_kind(record): record.estimates for record in ready}
        free = list(self.free)
        for n, (cluster, left) in enumerate(zip(self.fit.clusters, self.room, strict=True)):
            if not left.bounded or not free[n] or not kinds:
                continue
            times = [_times(cluster.takes(needs), left, free[n]) for needs in kinds.values()]
            if len(kinds) > 1 and min(times) < free[n]:
                pairs = zip(self.free, self.room, strict=True)
                return Rooms([(float(slots), *room) for slots, room in pairs], self.used)
            free[n] = min(times)
        return Slots(free, self.used)

    def decide(
        self,
        ready: Iterable[WorksetRecord],
        customers: Mapping[str, float],
        now: datetime,
        lately: Mapping[str, float],
        starts_only: bool,
    ) -> list[Decision]:
        decisions: list[Decision] = []
        masks: dict[str, int] = {}
        fitting: list[WorksetRecord] = []
        for record in ready:
            id_ = record.workset_id
            if record.customer_id not in customers:
                if not starts_only:
                    reason = "validation will say what is wrong with it"
                    decisions.append(Decision(id_, "refuse", reason))
            elif mask := self.fit.mask(record):
                masks[id_] = mask
                fitting.append(record)
            elif not starts_only:
                reason = f"no cluster fits: {self.fit.why_none(record)}"
                decisions.append(Decision(id_, "stuck", reason))

        self.slots = self._slots_for(fitting)

        def premium(record: WorksetRecord) -> float:
            usable = masks[record.workset_id] & self.available
            if not usable & self.open & ~self.slots.full_for_good:
                return 0.0  # it cannot start now
            return self.costs.lowest(record, usable & self.open) - self.costs.lowest(record, usable)

        turns = Turns(
            fitting, self.counts, customers, self.costs.policy, now, premium, lately,
            self.costs.usual_hours, self._slots_of_all(),
        )  # fmt: skip
        order: list[tuple[WorksetRecord, bool]] = []
        started: list[WorksetRecord] = []
        for record in turns:
            if starts_only and self._nothing_is_left():
                break
            starts = self._starts(record, masks[record.workset_id])
            order.append((record, starts))
            if starts:
                started.append(record)
                turns.started(record.customer_id)
        where = dict(zip((r.workset_id for r in started), self.slots.settled(), strict=True))
        self.counts.update(f"cluster:{self.fit.clusters[n].name}" for n in where.values())
        for record in started:
            n = where[record.workset_id]
            if self.room[n].bounded:
                self.room[n] = self.room[n].less(self.fit.clusters[n].takes(record.estimates))
        for record, starts in order:
            id_, mask = record.workset_id, masks[record.workset_id]
            if starts:
                n = where[id_]
                reason = "" if starts_only else self._why(record, mask, n)
                decisions.append(Decision(id_, "start", reason, self.fit.clusters[n].name))
            elif not starts_only:
                reason, back = f"waits: {self._busy(record, mask)}", self._spent(record.customer_id)
                decisions.append(Decision(id_, "wait", reason, held_back=bool(back)))
        return decisions

    def _nothing_is_left(self) -> bool:
        """Whether nothing more can start."""
        none_open = not self.open & ~self.slots.full_for_good
        return none_open or bool(self._full("global")) or self.slots.none_free

    def _slots_of_all(self) -> int:
        """Worksets that may run together at the most, on all clusters that take any now."""
        clusters = zip(self.fit.clusters, self.total, strict=True)
        there = sum(total for cluster, total in clusters if not cluster.unavailable)
        return min(there, self.limits["global"])

    def _starts(self, record: WorksetRecord, mask: int) -> bool:
        mask &= self.open & ~self.slots.full_for_good
        if not mask or self._at_limit(record):
            return False
        if not self._added(record, mask):
            return False
        self.counts["global"] += 1
        self.counts[f"customer:{record.customer_id}"] += 1
        if budget := self.budgets.get(record.customer_id):
            usd = min(map(sum, self.costs.usd(record, mask).values()))
            self.budgets[record.customer_id] = budget.begun(usd)
        return True

    def _added(self, record: WorksetRecord, mask: int) -> bool:
        """Whether there is a slot, or room, for it too."""
        costs = self.costs.weighed(record, mask)
        if isinstance(self.slots, Slots):
            return self.slots.add(costs)
        kind = _kind(record)
        if kind not in self._kinds:
            needs, clusters = record.estimates, self.fit.clusters
            self._kinds[kind] = (
                dict.fromkeys(range(len(clusters)), (1.0, *clusters[0].takes(needs)))
                if needs.vcpus and needs.memory_gb  # the same on each of them
                else {n: (1.0, *each.takes(needs)) for n, each in enumerate(clusters)}
            )
        return self.slots.add(costs, self._kinds[kind])

    def _at_limit(self, record: WorksetRecord) -> str:
        return (
            self._spent(record.customer_id)
            or self._full("global")
            or self._full(f"customer:{record.customer_id}")
        )

    def _spent(self, customer_id: str) -> str:
        budget = self.budgets.get(customer_id)
        if budget is None or budget.left_usd > 0:
            return ""
        return f"{customer_id}: {budget}; raise its budget_usd_per_month, or wait for next month"

    def _full(self, scope: str) -> str:
        limit = self.limits.get(scope)
        count = self.counts[scope]
        if limit is None or count < limit:
            return ""
        label = scope.replace(":", " ") if scope != "global" else "all worksets"
        return f"{label} at {count} of {limit}"

    def _busy(self, record: WorksetRecord, mask: int) -> str:
        if full := self._at_limit(record):
            return full
        if mask not in self._waits:
            seen = list(bits(mask))
            texts = [self._state(n) for n in seen[:5]]
            more = [f"and {len(seen) - 5} more"] if len(seen) > 5 else []
            self._waits[mask] = "; ".join([*texts, *more])
        return self._waits[mask]

    def _state(self, n: int) -> str:
        cluster = self.fit.clusters[n]
        if cluster.unavailable:
            return f"{cluster.name}: {cluster.unavailable}"
        if full := self._full(f"cluster:{cluster.name}"):
            return full
        if self.room[n].bounded:
            return f"cluster {cluster.name} has room for {self.room[n]} more"
        if self.only not in ("", cluster.name):
            return f"{cluster.name}: its free slots were given to others"
        return f"cluster {cluster.name} has free slots"

    def _why(self, record: WorksetRecord, mask: int, n: int) -> str:
        cluster = self.fit.clusters[n]
        usd = self.costs.usd(record, mask)
        priced = any(map(any, usd.values()))
        why = []
        if record.pinned_cluster:
            why.append("its finished steps are there")
        elif record.cluster_required:
            why.append("required")
        elif record.preferred_cluster == cluster.name:
            reason = record.affinity_reason.value if record.affinity_reason else "preferred"
            why.append(f"preferred ({reason})")
        elif record.preferred_cluster and not priced:
            why.append(f"{record.preferred_cluster} has no slot for it")
        elif not priced:
            why.append("the emptiest that fits")
        if record.completed_steps and record.cluster_name != cluster.name:
            why.append(f"moved from {record.cluster_name}, which failed it; staged again")
        if priced:
            run, transfer = usd.pop(n)
            why.append(f"{money(run)} run + {money(transfer)} transfer")
            if usd:
                sums = {other: there + moved for other, (there, moved) in usd.items()}
                other = min(sums, key=sums.__getitem__)
                there = f"{self.fit.clusters[other].name} would cost {money(sums[other])}"
                saved, wish = run + transfer - sums[other], self._wish(record, n)
                later = self.costs.later_h(record, other, n)
                if wish and 0 < saved <= wish:
                    there += f", and the wish is worth {money(wish)}"
                elif saved > 0 and (late := self.costs.late_h(record, other)):
                    there += f" and end {late:.3g} h after it is due"
                elif 0 < saved <= later * self.costs.policy.result_usd(record.priority):
                    there += f" and take {later:.3g} h longer"
                elif saved > 0:
                    there += f", but {self._state(other)}"
                why.append(there)
        else:
            count = self.counts[f"cluster:{cluster.name}"]
            why.append(f"{count} of {self.total[n]} slots in use")
        return f"{cluster.name}: {'; '.join(why)}"

    def _wish(self, record: WorksetRecord, n: int) -> float:
        """What it is worth that the workset is where it wishes to be; 0: it did not, or had to."""
        there = record.preferred_cluster == self.fit.clusters[n].name
        return self.costs.policy.affinity_discount_usd if there else 0.0


def _kind(record: WorksetRecord) -> tuple[float, ...]:
    """Of those alike in this, each takes the same room."""
    needs = record.estimates
    return needs.vcpus, needs.memory_gb, needs.gpus


def _times(takes: Room, left: Room, most: int) -> int:
    """How often this fits into what is left, `most` times at the most."""
    pairs = zip(left, takes, strict=True)
    return int(min([most, *(have / amount + ROUNDING for have, amount in pairs if amount)]))


def money(usd: float) -> str:
    """An amount for people: `$41.20`, `$0`."""
    return f"${usd:,.2f}" if usd else "$0"
