"""Which ready workset starts now, and where: a pure and total function.

First placement: it must fit, a slot must be free, a preferred cluster is kept to if it can be, and
otherwise the emptiest cluster is taken. Urgent before normal before low, then the oldest first; a
workset whose customer or cluster is at its limit waits alone and holds up nobody behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from worksets.record import Frozen, WorksetRecord, scopes_of


class ClusterView(Frozen):
    """What placement has to know of a cluster."""

    name: str
    max_concurrent_worksets: int = Field(ge=0)
    vcpus_per_workset: int = Field(1_000_000, ge=1)
    memory_gb_per_workset: float = Field(1e9, gt=0)
    reference_genomes: frozenset[str] = Field(frozenset(), description="empty: all are there")
    unavailable: str = Field("", description="why nothing may be placed on it now; empty: it may")


class Limits(Frozen):
    """Worksets held at once; a scope that is not named has no limit."""

    max_worksets: int = Field(ge=1)
    clusters: Mapping[str, int] = {}
    customers: Mapping[str, int] = {}

    def by_scope(self) -> dict[str, int]:
        return {
            "global": self.max_worksets,
            **{f"cluster:{name}": limit for name, limit in self.clusters.items()},
            **{f"customer:{name}": limit for name, limit in self.customers.items()},
        }


@dataclass(frozen=True)
class Decision:
    """What happens to one ready workset, and why, in words an operator understands.

    action: `start` on `cluster_name`; `refuse` (validation will say why; needs no slot); `wait`
    until a slot is free; `stuck`: with the clusters and settings of now it can never start.
    """

    workset_id: str
    action: Literal["start", "refuse", "wait", "stuck"]
    reason: str
    cluster_name: str = ""


def plan(
    ready: Iterable[WorksetRecord],
    clusters: Sequence[ClusterView],
    held: Mapping[str, int],
    limits: Limits,
    customers: frozenset[str],
) -> list[Decision]:
    """A decision for every ready workset, in the order in which they should start.

    `held` counts the holders of every scope (`global`, `cluster:NAME`, `customer:ID`);
    `customers` are those that the settings know. Costs O(n log n + n × clusters).
    """
    by_scope = limits.by_scope()
    counts = Counter(held)
    order = sorted(ready, key=lambda r: (r.priority.rank, r.created_at, r.workset_id))
    decisions: list[Decision] = []
    for record in order:
        decision = _decide(record, clusters, counts, by_scope, customers)
        if decision.action == "start":
            counts.update(scopes_of(decision.cluster_name, record.customer_id))
        decisions.append(decision)
    return decisions


def _decide(
    record: WorksetRecord,
    clusters: Sequence[ClusterView],
    counts: Mapping[str, int],
    limits: Mapping[str, int],
    customers: frozenset[str],
) -> Decision:
    if record.customer_id not in customers:
        return Decision(record.workset_id, "refuse", "validation will say what is wrong with it")
    candidates = [cluster for cluster in clusters if not misfit(record, cluster)]
    if not candidates:
        reasons = "; ".join(misfit(record, cluster) for cluster in clusters)
        return Decision(
            record.workset_id, "stuck", f"no cluster fits: {reasons or 'there is no cluster'}"
        )
    for scope in ("global", f"customer:{record.customer_id}"):
        if full := _full(scope, counts, limits):
            return Decision(record.workset_id, "wait", f"waits: {full}")
    free = [
        cluster
        for cluster in candidates
        if not cluster.unavailable and not _full(f"cluster:{cluster.name}", counts, limits)
    ]
    if not free:
        busy = "; ".join(
            f"{cluster.name}: {cluster.unavailable}"
            if cluster.unavailable
            else _full(f"cluster:{cluster.name}", counts, limits)
            for cluster in candidates
        )
        return Decision(record.workset_id, "wait", f"waits: {busy}")

    def load(cluster: ClusterView) -> tuple[bool, float, str]:
        used = counts.get(f"cluster:{cluster.name}", 0)
        full_at = limits.get(f"cluster:{cluster.name}", cluster.max_concurrent_worksets)
        return (cluster.name != record.preferred_cluster, used / max(full_at, 1), cluster.name)

    best = min(free, key=load)
    return Decision(record.workset_id, "start", _why(record, best, counts, limits), best.name)


def misfit(record: WorksetRecord, cluster: ClusterView) -> str:
    """Why `cluster` can never take this workset; empty if it can."""
    if record.pinned_cluster and record.pinned_cluster != cluster.name:
        return f"{cluster.name}: its finished steps are on {record.pinned_cluster}"
    if record.cluster_required and record.preferred_cluster != cluster.name:
        return f"{cluster.name}: {record.preferred_cluster} is required"
    if cluster.max_concurrent_worksets == 0:
        return f"{cluster.name}: takes no worksets (limit 0)"
    if record.estimates.memory_gb > cluster.memory_gb_per_workset:
        return f"{cluster.name}: needs {record.estimates.memory_gb:g} GB of memory"
    if record.estimates.vcpus > cluster.vcpus_per_workset:
        return f"{cluster.name}: needs {record.estimates.vcpus} vCPUs"
    if cluster.reference_genomes and record.reference_genome not in cluster.reference_genomes:
        return f"{cluster.name}: has no reference genome {record.reference_genome}"
    return ""


def _full(scope: str, counts: Mapping[str, int], limits: Mapping[str, int]) -> str:
    if scope not in limits or counts.get(scope, 0) < limits[scope]:
        return ""
    label = scope.replace(":", " ") if scope != "global" else "all worksets"
    return f"{label} at {counts.get(scope, 0)} of {limits[scope]}"


def _why(
    record: WorksetRecord,
    cluster: ClusterView,
    counts: Mapping[str, int],
    limits: Mapping[str, int],
) -> str:
    scope = f"cluster:{cluster.name}"
    used = counts.get(scope, 0)
    total = limits.get(scope, cluster.max_concurrent_worksets)
    slots = f"{total - used} of {total} slots free"
    if record.pinned_cluster:
        return f"{cluster.name}: its finished steps are there; {slots}"
    if record.cluster_required:
        return f"{cluster.name}: required; {slots}"
    if record.preferred_cluster == cluster.name:
        reason = record.affinity_reason.value if record.affinity_reason else "preferred"
        return f"{cluster.name}: preferred ({reason}); {slots}"
    if record.preferred_cluster:
        return f"{cluster.name}: {record.preferred_cluster} has no free slot; {slots}"
    return f"{cluster.name}: the emptiest that fits; {slots}"
