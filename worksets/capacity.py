"""What clusters have room for, and which worksets they can take at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import accumulate
from operator import or_
from typing import Final, NamedTuple

from pydantic import Field

from worksets.budgets import Budget
from worksets.record import Estimates, Frozen, WorksetRecord
from worksets.requests import Ceiling, JobRequest, by_preference, first_within
from worksets.texts import few

ASKED: Final = {
    "memory_gb": "GB of memory", "vcpus": "vCPUs", "minutes": "minutes", "gpus": "GPUs",
    "scratch_gb": "GB of scratch",
}  # fmt: skip
"""What a workset's job may ask for, with its unit."""


class Room(NamedTuple):
    """What jobs may have together on a cluster."""

    vcpus: float = float("inf")
    memory_gb: float = float("inf")
    gpus: float = float("inf")

    @property
    def bounded(self) -> bool:
        """Whether it is not endless."""
        return min(self) < float("inf")

    def less(self, other: Room) -> Room:
        """What is left of it; nothing where more is taken."""
        return Room(*(max(0.0, a - b) for a, b in zip(self, other, strict=True)))

    def least(self, other: Room) -> Room:
        """Of each the smaller."""
        return Room(*map(min, self, other))

    def __str__(self) -> str:
        """For people, what is bounded: `12 vCPUs, 40 GB`."""
        said = zip(self, ("vCPUs", "GB", "GPUs"), strict=True)
        return ", ".join(f"{n:.3g} {unit}" for n, unit in said if n < float("inf"))


class ClusterView(Frozen):
    """What placement has to know of a cluster."""

    name: str
    max_concurrent_worksets: int = Field(ge=0)
    vcpus_per_workset: int = Field(1_000_000, ge=1)
    memory_gb_per_workset: float = Field(1e9, gt=0)
    minutes_per_workset: int = Field(0, ge=0, description="time limit; 0: none")
    reference_genomes: frozenset[str] = Field(frozenset(), description="empty: all are there")
    region: str = Field("", description="where it is; empty: unknown, and no transfer is counted")
    price_per_vcpu_hour: float = Field(0.0, ge=0, description="US dollars; 0: it costs nothing")
    paces: Mapping[str, float] = Field(
        {}, description="how long a pipeline takes there, by what it usually takes; else as long"
    )
    ceilings: tuple[Ceiling, ...] = Field(
        (), description="what one job may be given, by place; empty: what it gives to a workset"
    )
    room: Room = Field(Room(), description="what its worksets may have together")
    unavailable: str = Field("", description="why nothing may be placed on it now; empty: it may")
    never: str = Field("", description="why no workset can run on it as the settings are; or empty")

    @property
    def offers(self) -> tuple[Ceiling, ...]:
        """What one job may be given, the cheapest first."""
        return tuple(by_preference(self.ceilings)) or (
            Ceiling(
                vcpus=self.vcpus_per_workset,
                memory_gb=self.memory_gb_per_workset,
                price_per_vcpu_hour=self.price_per_vcpu_hour,
            ),
        )

    @property
    def holds_unsaid(self) -> bool:
        """Whether it takes a workset whose pipeline says nothing of vCPUs and memory."""
        asked = JobRequest(vcpus=self.vcpus_per_workset, memory_gb=self.memory_gb_per_workset)
        return any(place.holds(asked) for place in self.offers)

    @property
    def minutes_unsaid(self) -> float:
        """The time limit of a workset that asks for none: at most the longest that there is."""
        return min(self.minutes_per_workset, max(place.minutes for place in self.offers))

    def vcpus_of(self, needs: Estimates) -> int:
        """vCPUs that a job of such a workset has there."""
        return needs.vcpus or self.vcpus_per_workset

    def takes(self, needs: Estimates) -> Room:
        """Of its room, a workset of such needs; what it has more as a retry is not in it."""
        return Room(self.vcpus_of(needs), needs.memory_gb or self.memory_gb_per_workset, needs.gpus)

    def pace_of(self, record: WorksetRecord) -> float:
        """How long the workset takes there, by what its pipeline usually takes."""
        return self.paces.get(record.pipeline, 1.0)

    def usd_of(self, record: WorksetRecord) -> float:
        """US dollars that the workset's run is expected to cost there."""
        needs = record.estimates
        return needs.vcpu_hours * self.pace_of(record) * self.price_of(needs)

    def price_of_request(self, asked: JobRequest) -> float:
        """US dollars a vCPU-hour of a job that asks for this there."""
        names = asked.partition.split(",")
        there = [place for place in self.offers if place.partition in names]
        fits = [place for place in there if place.holds(asked)]
        return (fits or there or self.offers)[0].price_per_vcpu_hour

    def price_of(self, needs: Estimates) -> float:
        """US dollars a vCPU-hour of such a workset there: of the cheapest place that takes it."""
        otherwise = JobRequest(
            vcpus=self.vcpus_per_workset,
            memory_gb=self.memory_gb_per_workset,
            minutes=self.minutes_per_workset or None,
        )
        offers = self.offers
        asked = first_within(needs, otherwise, offers)
        place = next((place for place in offers if place.holds(asked)), offers[0])
        return place.price_per_vcpu_hour


NOT_HEARD: Final = "it has not said yet what its nodes have"
"""Why nothing is placed on a cluster of which that decides what fits."""


class Limits(Frozen):
    """Worksets held at once; a scope that is not named has no limit."""

    max_worksets: int = Field(ge=1)
    clusters: Mapping[str, int] = {}
    customers: Mapping[str, int] = {}
    budgets: Mapping[str, Budget] = Field({}, description="of the customers that have one")

    def begun(self, customer_id: str, usd: float) -> Limits:
        """After a workset has begun that is expected to take so much."""
        if customer_id not in self.budgets:
            return self
        left = {**self.budgets, customer_id: self.budgets[customer_id].begun(usd)}
        return self.model_copy(update={"budgets": left})

    def by_scope(self) -> dict[str, int]:
        return {
            "global": self.max_worksets,
            **{f"cluster:{name}": limit for name, limit in self.clusters.items()},
            **{f"customer:{name}": limit for name, limit in self.customers.items()},
        }


class Fit:
    """Which of some clusters can take a workset, as a set of bits.

    Bit n stands for `clusters[n]`; they are in order of price. A set costs a few look-ups, however
    many clusters there are. A cluster takes what one of its places gives all of.
    """

    def __init__(self, clusters: Sequence[ClusterView]) -> None:
        self.clusters = sorted(clusters, key=lambda c: (c.offers[0].price_per_vcpu_hour, c.name))
        self.all = (1 << len(clusters)) - 1
        self.bit = {cluster.name: 1 << n for n, cluster in enumerate(self.clusters)}
        self._open = self.where(c.max_concurrent_worksets > 0 for c in self.clusters)
        self._never = "; ".join(f"{c.name} {c.never}" for c in self.clusters if c.never)
        self._ever = self.where(not c.never for c in self.clusters)
        # a place of a cluster is a bit of its own
        self._places = [(c, n, place) for n, c in enumerate(self.clusters) for place in c.offers]
        self._gives = {
            name: _AtLeast([getattr(p, name) for *_, p in self._places]) for name in ASKED
        }
        self._every_place = (1 << len(self._places)) - 1
        self._unsaid = {
            "vcpus": self.where(p.vcpus >= c.vcpus_per_workset for c, _, p in self._places),
            "memory_gb": self.where(
                p.memory_gb >= c.memory_gb_per_workset for c, _, p in self._places
            ),
            "minutes": self.where(p.minutes >= c.minutes_unsaid for c, _, p in self._places),
        }
        self._places_for: dict[tuple[float, ...], int] = {}
        self._clusters_of: dict[int, int] = {}
        self._prices_of: dict[int, tuple[float, ...]] = {}
        self._references: dict[str, int] = {}
        self._masks: dict[str, tuple[WorksetRecord, int]] = {}

    def mask(self, record: WorksetRecord) -> int:
        """The clusters that can take it, be their slots free or not."""
        # a forecast asks for the same ones sixty times
        known = self._masks.get(record.workset_id)
        if known is None or known[0] is not record:
            known = self._masks[record.workset_id] = record, self._mask(record)
        return known[1]

    def _mask(self, record: WorksetRecord) -> int:
        return (
            self._allowed(record)
            & self._with(self._places_of(record.estimates))
            & self._reference(record.reference_genome)
            & self._open
            & self._ever
        )

    def prices(self, needs: Estimates) -> tuple[float, ...]:
        """US dollars a vCPU-hour on each cluster, in the cheapest of its places that takes it.

        Of a cluster that does not take it: of its cheapest place.
        """
        places = self._places_of(needs)
        if places not in self._prices_of:
            found = [c.offers[0].price_per_vcpu_hour for c in self.clusters]
            seen = 0
            for bit in bits(places):
                _, n, place = self._places[bit]
                if not seen >> n & 1:
                    found[n] = place.price_per_vcpu_hour
                    seen |= 1 << n
            self._prices_of[places] = tuple(found)
        return self._prices_of[places]

    def _places_of(self, needs: Estimates) -> int:
        """The places that give all that it needs, whichever clusters they are of."""
        asked = needs.memory_gb, needs.vcpus, needs.minutes, needs.gpus, needs.scratch_gb
        if asked not in self._places_for:
            self._places_for[asked] = self._giving_all(needs)
        return self._places_for[asked]

    def _giving_all(self, needs: Estimates) -> int:
        rest = (
            self._giving("memory_gb", needs.memory_gb)
            & self._giving("vcpus", needs.vcpus)
            & self._giving("gpus", needs.gpus)
            & self._giving("scratch_gb", needs.scratch_gb)
        )
        all_ = rest & self._giving("minutes", needs.minutes)
        if needs.minutes or all_ == rest:
            return all_
        # a time limit that nobody has asked for rules out no cluster: its job gets the longest
        short = self._with(rest) & ~self._with(all_)
        return all_ | rest & self.where(bool(short >> n & 1) for _, n, _ in self._places)

    def _giving(self, name: str, need: float) -> int:
        """The places that give so much of this; where nothing is said, as much as they should."""
        return self._gives[name].mask(need) if need else self._unsaid.get(name, self._every_place)

    def _with(self, places: int) -> int:
        """The clusters of these places."""
        if len(self._places) == len(self.clusters):
            return places
        if places not in self._clusters_of:
            self._clusters_of[places] = reduce(
                or_, (1 << self._places[bit][1] for bit in bits(places)), 0
            )
        return self._clusters_of[places]

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
        sizes = [
            (getattr(needs, name), name, f"{getattr(needs, name):g} {unit}")
            for name, unit in ASKED.items()
            if getattr(needs, name)
        ]
        unsaid = [name for name in ("vcpus", "memory_gb") if not getattr(needs, name)]
        together = ", ".join(
            [*(text for *_, text in sizes), *(f"its {name}_per_workset" for name in unsaid)]
        )
        return [
            (self._allowed(record), place),
            *((self._with(self._gives[name].mask(of)), f"needs {t}") for of, name, t in sizes),
            *(
                (
                    self._with(self._unsaid[name]),
                    f"no node gives its {name}_per_workset: lower it, or say {name} in "
                    "the pipeline",
                )
                for name in unsaid
            ),
            (
                self._reference(record.reference_genome),
                f"no reference genome {record.reference_genome}",
            ),
            (self._open, "takes no worksets (limit 0)"),
            (self._ever, self._never),
            (self._with(self._places_of(needs)), f"no partition gives all of {together}"),
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
