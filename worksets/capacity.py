"""What clusters have room for, and which worksets they can take at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import or_

from pydantic import Field

from worksets.record import Frozen, WorksetRecord
from worksets.texts import few


class ClusterView(Frozen):
    """What placement has to know of a cluster."""

    name: str
    max_concurrent_worksets: int = Field(ge=0)
    vcpus_per_workset: int = Field(1_000_000, ge=1)
    memory_gb_per_workset: float = Field(1e9, gt=0)
    reference_genomes: frozenset[str] = Field(frozenset(), description="empty: all are there")
    region: str = Field("", description="where it is; empty: unknown, and no transfer is counted")
    price_per_vcpu_hour: float = Field(0.0, ge=0, description="US dollars; 0: it costs nothing")
    unavailable: str = Field("", description="why nothing may be placed on it now; empty: it may")
    never: str = Field("", description="why no workset can run on it as the settings are; or empty")


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


class Fit:
    """Which of some clusters can take a workset, as a set of bits.

    Bit n stands for `clusters[n]`; they are in order of price, so the lowest bit of a set is the
    cheapest cluster in it. A set costs a few look-ups, however many clusters there are.
    """

    def __init__(self, clusters: Sequence[ClusterView]) -> None:
        self.clusters = sorted(clusters, key=lambda c: (c.price_per_vcpu_hour, c.name))
        self.all = (1 << len(clusters)) - 1
        self.bit = {cluster.name: 1 << n for n, cluster in enumerate(self.clusters)}
        self._open = self.where(c.max_concurrent_worksets > 0 for c in self.clusters)
        self._never = "; ".join(f"{c.name} {c.never}" for c in self.clusters if c.never)
        self._ever = self.where(not c.never for c in self.clusters)
        self._memory = _AtLeast([c.memory_gb_per_workset for c in self.clusters])
        self._vcpus = _AtLeast([c.vcpus_per_workset for c in self.clusters])
        self._references: dict[str, int] = {}

    def mask(self, record: WorksetRecord) -> int:
        """The clusters that can take it, be their slots free or not."""
        return (
            self._allowed(record)
            & self._memory.mask(record.estimates.memory_gb)
            & self._vcpus.mask(record.estimates.vcpus)
            & self._reference(record.reference_genome)
            & self._open
            & self._ever
        )

    def why_none(self, record: WorksetRecord) -> str:
        """Why no cluster can take it: each reason, with the clusters that it rules out."""
        left, reasons = self.all, []
        for mask, reason in self._demands(record):
            if out := left & ~mask:
                names = "" if out == self.all else f" ({self.names(out)})"
                reasons.append(reason + names)
                left &= mask
        return "; ".join(reasons) if self.clusters else "there is no cluster"

    def names(self, mask: int) -> str:
        """The names of a set of clusters, five at the most."""
        return few((self.clusters[n].name for n in bits(mask)), 5)

    def _demands(self, record: WorksetRecord) -> list[tuple[int, str]]:
        needs = record.estimates
        place = (
            f"its finished steps are on {record.pinned_cluster}"
            if record.pinned_cluster
            else f"{record.preferred_cluster} is required"
        )
        return [
            (self._allowed(record), place),
            (self._memory.mask(needs.memory_gb), f"needs {needs.memory_gb:g} GB of memory"),
            (self._vcpus.mask(needs.vcpus), f"needs {needs.vcpus} vCPUs"),
            (
                self._reference(record.reference_genome),
                f"no reference genome {record.reference_genome}",
            ),
            (self._open, "takes no worksets (limit 0)"),
            (self._ever, self._never),
        ]

    def _allowed(self, record: WorksetRecord) -> int:
        allowed = self.all
        if record.pinned_cluster:
            allowed &= self.bit.get(record.pinned_cluster, 0)
        if record.cluster_required:
            allowed &= self.bit.get(record.preferred_cluster, 0)
        return allowed

    def _reference(self, name: str) -> int:
        if name not in self._references:
            self._references[name] = self.where(
                not name or not c.reference_genomes or name in c.reference_genomes
                for c in self.clusters
            )
        return self._references[name]

    @staticmethod
    def where(holds: Iterable[bool]) -> int:
        """The set of the clusters for which it is true."""
        return sum(1 << n for n, true in enumerate(holds) if true)


class _AtLeast:
    """The clusters whose value is at least so much."""

    def __init__(self, values: Sequence[float]) -> None:
        self._levels = sorted(set(values))
        at = dict.fromkeys(self._levels, 0)
        for n, value in enumerate(values):
            at[value] |= 1 << n
        masks = accumulate((at[level] for level in reversed(self._levels)), or_)
        self._masks = list(masks)[::-1]

    def mask(self, need: float) -> int:
        found = bisect_left(self._levels, need)
        return self._masks[found] if found < len(self._levels) else 0


@lru_cache
def bits(mask: int) -> tuple[int, ...]:
    """The numbers of the clusters in a set, from the lowest; few sets are asked for often."""
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


def misfit(record: WorksetRecord, cluster: ClusterView) -> str:
    """Why `cluster` can never take this workset; empty if it can."""
    fit = Fit([cluster])
    return "" if fit.mask(record) else fit.why_none(record)
