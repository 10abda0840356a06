"""What it costs to run a workset on a cluster, in US dollars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import repeat
from operator import mul
from statistics import median
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from worksets.capacity import Fit, bits
from worksets.record import Frozen, Priority, WorksetRecord
from worksets.uris import Uri

MAX_USD: Final = 1_000_000.0
"""Above it, a price is a typing mistake."""
MAX_HOURS: Final = 87_600.0
"""Ten years: as good as never."""
WAITING_USD: Final = {Priority.URGENT: 10.0, Priority.NORMAL: 1.0, Priority.LOW: 0.1}
RESULT_USD: Final = {Priority.URGENT: 1.0, Priority.NORMAL: 0.25, Priority.LOW: 0.125}
"""docs/decisions.md has the figures from which they are taken."""
LATE_USD: Final = 5.0
"""An hour after it is due is worth five of an urgent result's."""


class PlacementPolicy(Frozen):
    """What placement weighs, in US dollars and hours."""

    model_config = ConfigDict(allow_inf_nan=False)

    transfer_usd_per_gb: float = Field(
        0.02,
        ge=0,
        le=MAX_USD,
        description="a GB from one region to another; AWS's list price for most of them",
    )
    regions: Mapping[Uri, str] = Field(
        {}, description="region of the data below a URI: {s3://bucket/prefix: us-west-2}"
    )
    affinity_discount_usd: float = Field(
        5.0,
        ge=0,
        le=MAX_USD,
        description="what a preferred cluster may cost more than another and be taken",
    )
    waiting_usd_per_hour: Mapping[Priority, Annotated[float, Field(ge=0, le=MAX_USD)]] = Field(
        WAITING_USD, description="what an hour's waiting of a workset is worth, by priority"
    )
    result_usd_per_hour: Mapping[Priority, Annotated[float, Field(ge=0, le=MAX_USD)]] = Field(
        RESULT_USD,
        description="what a cluster may cost more for each hour that it is done earlier, by "
        "priority; 0: the hours of a run have no price",
    )
    late_usd_per_hour: float = Field(
        LATE_USD,
        ge=0,
        le=MAX_USD,
        description="what a cluster may cost more for each hour that a workset is done less late "
        "than it is `due`",
    )
    share_half_life_hours: float = Field(
        24.0,
        ge=0,
        le=MAX_HOURS,
        description="after so many hours what a customer was given counts half in its turn; 0: "
        "only what it holds counts",
    )
    aging_hours: float = Field(
        12.0,
        ge=0.01,
        le=MAX_HOURS,
        description="after so many hours of waiting a low workset counts as normal; after four "
        "times as many, any counts as urgent",
    )

    def region_of(self, location: str) -> str:
        """The region of the data at a URI, by the longest prefix; empty: unknown."""
        found = [uri for uri in self.regions if f"{location}/".startswith(f"{uri}/")]
        return self.regions[max(found, key=len)] if found else ""

    def waiting_usd(self, priority: Priority) -> float:
        return self.waiting_usd_per_hour.get(priority, WAITING_USD[priority])

    def result_usd(self, priority: Priority) -> float:
        return self.result_usd_per_hour.get(priority, RESULT_USD[priority])


class Costs:
    """What worksets cost on some clusters under one policy.

    Run: vCPU-hours × the cluster's pace for their pipeline × its price of one. Transfer: GB of
    FASTQ × the price between regions; 0 within a region, and where a region is not known. Where
    they are weighed, an hour of the run has the policy's price too: with v vCPUs that is
    price / v more for a vCPU-hour; and an hour by which it would end after it is due, begun at
    `now` (None: nothing is late).
    """

    def __init__(self, fit: Fit, policy: PlacementPolicy, now: datetime | None = None) -> None:
        self.fit = fit
        self.policy = policy
        self.now = now
        self._cheapest: dict[tuple[int, int], float] = {}
        self._with_time: dict[tuple[int, int, float], tuple[float, ...]] = {}
        self._paces: dict[str, tuple[float, ...] | None] = {}
        self._paced: dict[tuple[int, str], tuple[float, ...]] = {}
        self._vcpus = [cluster.vcpus_per_workset for cluster in fit.clusters]
        self._usual_vcpus = median(self._vcpus) if self._vcpus else 1
        self._regions = [cluster.region for cluster in fit.clusters]
        self._region_of: dict[str, str] = {}
        self._near: dict[str, int] = {}

    def region(self, record: WorksetRecord) -> str:
        """Where the workset's data is; empty: not known."""
        found = self._region_of.get(record.location)
        if found is None:
            found = self._region_of[record.location] = self.policy.region_of(record.location)
        return found

    def usd(self, record: WorksetRecord, mask: int) -> dict[int, tuple[float, float]]:
        """Run and transfer on each cluster of `mask`."""
        hours, prices = record.estimates.vcpu_hours, self._run_prices(record)
        near, moved = self._within(self.region(record)), self._moved_usd(record)
        return {n: (hours * prices[n], 0.0 if near >> n & 1 else moved) for n in bits(mask)}

    def _moved_usd(self, record: WorksetRecord) -> float:
        """To move its data to another region."""
        return record.input_bytes / 1e9 * self.policy.transfer_usd_per_gb

    def _within(self, region: str) -> int:
        """The clusters to which data in this region is moved for nothing."""
        if region not in self._near:
            self._near[region] = self.fit.where(
                not region or there in ("", region) for there in self._regions
            )
        return self._near[region]

    def weighed(self, record: WorksetRecord, mask: int) -> dict[int, int]:
        """For each cluster of `mask`: run, its hours and transfer, less what a wish is worth.

        In millionths of a dollar, whole: see `worksets.slots`.
        """
        hours, prices = record.estimates.vcpu_hours, self._prices(record)
        near, moved = self._within(self.region(record)), self._moved_usd(record)
        found = {
            n: round((hours * prices[n] + (0.0 if near >> n & 1 else moved)) * 1e6)
            for n in bits(mask)
        }
        if record.due is not None:
            rate = self.policy.late_usd_per_hour
            found = {
                n: usd + round(rate * self.late_h(record, n) * 1e6) for n, usd in found.items()
            }
        preferred = self.fit.bit.get(record.preferred_cluster, 0).bit_length() - 1
        if preferred in found:
            found[preferred] -= round(self.policy.affinity_discount_usd * 1e6)
        return found

    def lowest(self, record: WorksetRecord, mask: int) -> float:
        """The same on the cheapest cluster of `mask`, in dollars, without the wish; infinite if it
        is empty."""
        if record.due is not None and mask:
            no_wish = record.model_copy(update={"preferred_cluster": ""})
            return min(self.weighed(no_wish, mask).values()) / 1e6
        moved, near = self._moved_usd(record), mask & self._within(self.region(record))
        prices = self._prices(record)
        found = [
            record.estimates.vcpu_hours * self._least(prices, some) + transfer
            for some, transfer in ((near, 0.0), (mask & ~near, moved))
            if some
        ]
        return min(found, default=float("inf"))

    def usual_hours(self, record: WorksetRecord) -> float:
        """How long its run takes on the vCPUs that clusters have for a workset; 0: not known."""
        needs = record.estimates
        return needs.vcpu_hours / (needs.vcpus or self._usual_vcpus)

    def late_h(self, record: WorksetRecord, n: int) -> float:
        """Hours by which it would end on a cluster after it is due, begun now; 0: it would not."""
        if record.due is None or self.now is None:
            return 0.0
        left_h = (record.due - self.now).total_seconds() / 3600
        return max(0.0, self._hours(record, n) - left_h)

    def later_h(self, record: WorksetRecord, there: int, here: int) -> float:
        """Hours that its run takes longer on one cluster than on another."""
        return self._hours(record, there) - self._hours(record, here)

    def _hours(self, record: WorksetRecord, n: int) -> float:
        """How long its run takes on a cluster."""
        needs, pace = record.estimates, self.fit.clusters[n].pace_of(record)
        return needs.vcpu_hours * pace / (needs.vcpus or self._vcpus[n])

    def _prices(self, record: WorksetRecord) -> tuple[float, ...]:
        """US dollars a vCPU-hour on each cluster, that of the run's hours in it."""
        prices, rate = self._run_prices(record), self.policy.result_usd(record.priority)
        if not rate:
            return prices
        # tuples that live as long as `fit` are told apart by their ids
        key = id(prices), record.estimates.vcpus, rate
        if key not in self._with_time:
            vcpus, paces = record.estimates.vcpus, self._paces_of(record) or repeat(1.0)
            self._with_time[key] = tuple(
                price + rate * pace / (vcpus or there)
                for price, there, pace in zip(prices, self._vcpus, paces, strict=False)
            )
        return self._with_time[key]

    def _run_prices(self, record: WorksetRecord) -> tuple[float, ...]:
        """US dollars on each cluster for a vCPU-hour of those that its run usually takes."""
        prices, paces = self.fit.prices(record.estimates), self._paces_of(record)
        if paces is None:
            return prices
        key = id(prices), record.pipeline
        if key not in self._paced:
            self._paced[key] = tuple(map(mul, prices, paces))
        return self._paced[key]

    def _paces_of(self, record: WorksetRecord) -> tuple[float, ...] | None:
        """Of its pipeline on each cluster; None: as long on all of them."""
        if record.pipeline not in self._paces:
            found = tuple(cluster.pace_of(record) for cluster in self.fit.clusters)
            self._paces[record.pipeline] = found if set(found) - {1.0} else None
        return self._paces[record.pipeline]

    def _least(self, prices: tuple[float, ...], mask: int) -> float:
        key = id(prices), mask
        if key not in self._cheapest:
            self._cheapest[key] = min(prices[n] for n in bits(mask))
        return self._cheapest[key]
