"""A virtual clock on which worksets arrive, run and end, whatever the policy that places them."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.trace import Cluster, Workset
from worksets.capacity import ClusterView, Fit, Limits, bits
from worksets.costs import Costs, PlacementPolicy
from worksets.fairness import jain_index
from worksets.placement import plan
from worksets.record import Estimates, Priority, WorksetRecord, scopes_of
from worksets.shares import Shares

START = datetime(2026, 1, 1, tzinfo=UTC)
Start = tuple[Workset, int]
"""A workset, and the number of the cluster on which it starts."""
Line = tuple[int, str, Priority]
"""Worksets that wait alike: the set of clusters that fit, the customer, the priority."""


class Site:
    """The clusters, what runs on them, and what each workset would cost there."""

    def __init__(self, trace: Sequence[Workset], clusters: Sequence[Cluster]) -> None:
        self.regions = sorted({w.region for w in trace} | {c.region for c in clusters})
        place = {region: f"s3://region-{n}" for n, region in enumerate(self.regions)}
        self.policy = PlacementPolicy(
            regions={uri: region for region, uri in place.items() if region}
        )
        self.records = {
            w.n: WorksetRecord(
                workset_id=f"{w.n:08d}",
                customer_id=w.customer_id or "nobody",
                priority=w.priority,
                location=f"{place[w.region]}/w",
                reference_genome=w.reference,
                estimates=Estimates(memory_gb=w.memory_gb, vcpu_hours=w.vcpu_hours),
                input_bytes=int(w.bytes),
                created_at=START + timedelta(seconds=w.arrival_s),
                updated_at=START,
            )
            for w in trace
        }
        views = [
            ClusterView(
                name=f"{n}",  # its place in the file
                max_concurrent_worksets=c.max_concurrent_worksets,
                vcpus_per_workset=max(1, round(c.vcpus_a_slot)),
                memory_gb_per_workset=min(c.memory_gb, 1e12),
                reference_genomes=c.references,
                region=c.region,
                price_per_vcpu_hour=c.cost_per_vcpu_hour,
            )
            for n, c in enumerate(clusters)
        ]
        self.fit = Fit(views)
        self.views = self.fit.clusters
        self.clusters = [clusters[int(view.name)] for view in self.views]
        self.costs = Costs(self.fit, self.policy)
        self.free = [c.max_concurrent_worksets for c in self.clusters]
        self.open = self.fit.mask(WorksetRecord(
            workset_id="any", location="s3://any", created_at=START, updated_at=START))  # fmt: skip

    def take(self, n: int) -> None:
        self.free[n] -= 1
        if not self.free[n]:
            self.open &= ~(1 << n)

    def give_back(self, n: int) -> None:
        self.free[n] += 1
        self.open |= 1 << n

    def used(self, n: int) -> int:
        return self.clusters[n].max_concurrent_worksets - self.free[n]


class Policy(ABC):
    """Who starts now, and where."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def arrived(self, workset: Workset, mask: int) -> None: ...

    @abstractmethod
    def starts(self, now_s: float) -> Iterator[Start]:
        """Each is carried out (`Site.take`) before the next is asked for."""

    def ended(self, workset: Workset, n: int) -> None:
        """A workset has given its slot back."""
        return


class Plan(Policy):
    """`worksets.placement.plan`, with what customers were given lately."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.held: Counter[str] = Counter()
        self.lines: dict[Line, deque[Workset]] = defaultdict(deque)
        self.weights: dict[str, float] = {}
        self.shares = Shares(site.policy.share_half_life_hours)
        self.since: dict[int, tuple[str, datetime]] = {}
        """Of each workset that runs: whose it is, and since when."""
        self.limits = Limits(
            max_worksets=max(1, sum(site.free)),
            clusters={view.name: view.max_concurrent_worksets for view in site.views},
        )

    def arrived(self, workset: Workset, mask: int) -> None:
        record = self.site.records[workset.n]
        self.weights[record.customer_id] = 1.0
        self.lines[mask, record.customer_id, workset.priority].append(workset)

    def starts(self, now_s: float) -> Iterator[Start]:
        site, now = self.site, START + timedelta(seconds=now_s)
        if not any(site.free):
            return
        shown = {
            f"{workset.n:08d}": (key, workset)
            for key, line in self.lines.items()
            for workset in line
        }
        for decision in plan(
            [site.records[workset.n] for _, workset in shown.values()],
            site.views,
            self.held,
            self.limits,
            self.weights,
            site.policy,
            now,
            lately=self.shares.lately(now, self.since.values()),
        ):
            if decision.action == "start":
                key, workset = shown[decision.workset_id]
                self.lines[key].remove(workset)
                if not self.lines[key]:
                    del self.lines[key]
                n = site.fit.bit[decision.cluster_name].bit_length() - 1
                self.held.update(scopes_of(decision.cluster_name, key[1]))
                self.since[workset.n] = (key[1], now)
                yield workset, n

    def ended(self, workset: Workset, n: int) -> None:
        customer, began = self.since.pop(workset.n)
        hours = workset.vcpu_hours / self.site.clusters[n].vcpus_a_slot
        self.shares.add((customer, began, began + timedelta(hours=hours)))
        self.held.subtract(
            scopes_of(self.site.views[n].name, self.site.records[workset.n].customer_id)
        )


class InOrder(Policy):
    """One queue: a free slot goes to the first in it that fits; nobody else is passed over."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.lines: dict[int, list[tuple[int, int, Workset]]] = defaultdict(list)

    def arrived(self, workset: Workset, mask: int) -> None:
        heapq.heappush(self.lines[mask], (self.rank(workset), workset.n, workset))

    def starts(self, now_s: float) -> Iterator[Start]:
        while True:
            able = [line[0] + (mask,) for mask, line in self.lines.items() if mask & self.site.open]
            if not able:
                return
            _, _, workset, mask = min(able)
            heapq.heappop(self.lines[mask])
            if not self.lines[mask]:
                del self.lines[mask]
            yield workset, self.where(mask & self.site.open)

    @abstractmethod
    def rank(self, workset: Workset) -> int: ...

    @abstractmethod
    def where(self, mask: int) -> int: ...


class FirstComeFirstServed(InOrder):
    """By arrival alone, on the first cluster of the file that fits and has a free slot."""

    def rank(self, workset: Workset) -> int:
        return 0

    def where(self, mask: int) -> int:
        return min(bits(mask), key=lambda n: int(self.site.views[n].name))


class DaylilyRule(InOrder):
    """By priority, then arrival; where 10 × price + |0.6 - utilisation| is lowest."""

    def rank(self, workset: Workset) -> int:
        return workset.priority.rank

    def where(self, mask: int) -> int:
        def score(n: int) -> float:
            cluster = self.site.clusters[n]
            utilisation = self.site.used(n) / cluster.max_concurrent_worksets
            return 10 * cluster.cost_per_vcpu_hour + abs(0.6 - utilisation)

        return min(bits(mask), key=score)


class FairShares:
    """What customers got of the slots, against a fair share of them.

    At every moment the slots in use are shared out fairly in thought (max-min: nobody is given
    more than it has running and waiting, and what is left is shared equally among the others). A
    customer's share is the slot-seconds it had by those it was due, over all the time in which it
    had anything running or waiting.
    """

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.wants: Counter[str] = Counter()
        """What each has running and waiting."""
        self._had: Counter[str] = Counter()
        self._due: dict[str, float] = defaultdict(float)

    def pass_time(self, seconds: float) -> None:
        if seconds <= 0:
            return
        wants = sorted((want, name) for name, want in self.wants.items() if want)
        left = float(sum(self.held.values()))
        for n, (want, name) in enumerate(wants):
            due = min(want, left / (len(wants) - n))
            left -= due
            self._due[name] += due * seconds
            self._had[name] += self.held[name] * seconds

    def jain(self) -> float:
        return jain_index(self._had[name] / due for name, due in self._due.items() if due > 0)


def replay(
    trace: Sequence[Workset], clusters: Sequence[Cluster], policy: type[Policy]
) -> dict[str, Any]:
    """The figures of one policy; see `benchmarks.placement`."""
    site = Site(trace, clusters)
    chooser, shares = policy(site), FairShares()
    masks = [site.fit.mask(site.records[w.n]) for w in trace]
    coming = deque(w for w in trace if masks[w.n])
    running: list[tuple[float, int, Workset, int]] = []
    waits: dict[Priority, list[float]] = {w.priority: [] for w in trace}
    now = last = trace[0].arrival_s if trace else 0.0
    turns: list[float] = []
    cost, started = 0.0, 0
    while coming or running:
        then = min(
            coming[0].arrival_s if coming else math.inf, running[0][0] if running else math.inf
        )
        shares.pass_time(then - now)
        now = then
        while running and running[0][0] <= now:
            _, _, workset, n = heapq.heappop(running)
            site.give_back(n)
            chooser.ended(workset, n)
            shares.held[workset.customer_id] -= 1
            shares.wants[workset.customer_id] -= 1
        while coming and coming[0].arrival_s <= now:
            workset = coming.popleft()
            chooser.arrived(workset, masks[workset.n])
            shares.wants[workset.customer_id] += 1
        for workset, n in chooser.starts(now):
            assert masks[workset.n] >> n & 1 and site.free[n] > 0, "started where it cannot run"
            site.take(n)
            started += 1
            end = now + workset.vcpu_hours / site.clusters[n].vcpus_a_slot * 3600
            heapq.heappush(running, (end, workset.n, workset, n))
            shares.held[workset.customer_id] += 1
            waits[workset.priority].append(now - workset.arrival_s)
            turns.append(end - workset.arrival_s)
            cost += sum(site.costs.usd(site.records[workset.n], 1 << n)[n])
            last = max(last, end)
    return {
        "cost_usd": round(cost, 2),
        "makespan_s": round(last - trace[0].arrival_s, 3) if started else 0.0,
        "turnaround_s": {
            "mean": round(sum(turns) / max(1, len(turns)), 3),
            "p95": _percentile(turns, 0.95),
        },
        "wait_p50_s": _percentiles(waits, 0.5),
        "wait_p95_s": _percentiles(waits, 0.95),
        "jain": round(shares.jain(), 4),
        "never_started": len(trace) - started,
    }


def _percentiles(waits: dict[Priority, list[float]], share: float) -> dict[str, float]:
    """By nearest rank; a priority of which none started is left out."""
    return {
        priority.value: _percentile(found, share)
        for priority, found in sorted(waits.items(), key=lambda item: item[0].rank)
        if found
    }


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 3) if values else 0.0
