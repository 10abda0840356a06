"""What it costs to run a workset on a cluster, in US dollars."""

from __future__ import annotations

from collections.abc import Mapping
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
    aging_hours: float = Field(
        48.0,
        ge=0.01,
        le=MAX_HOURS,
        description="after each so many hours a workset counts as one priority higher",
    )

    def region_of(self, location: str) -> str:
        """The region of the data at a URI, by the longest prefix; empty: unknown."""
        found = [uri for uri in self.regions if f"{location}/".startswith(f"{uri}/")]
        return self.regions[max(found, key=len)] if found else ""

    def waiting_usd(self, priority: Priority) -> float:
        return self.waiting_usd_per_hour.get(priority, WAITING_USD[priority])


class Costs:
    """What worksets cost on some clusters under one policy.

    Run: vCPU-hours × the cluster's price of one. Transfer: GB of FASTQ × the price between
    regions; 0 within a region, and where a region is not known.
    """

    def __init__(self, fit: Fit, policy: PlacementPolicy) -> None:
        self.fit = fit
        self.policy = policy
        # where each cluster has one price, the lowest bit of a set is the cheapest of it
        self._one_price = all(
            len({place.price_per_vcpu_hour for place in cluster.offers}) == 1
            for cluster in fit.clusters
        )
        self._cheapest: dict[tuple[tuple[float, ...], int], float] = {}
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
        region, hours = self.region(record), record.estimates.vcpu_hours
        moved = record.input_bytes / 1e9 * self.policy.transfer_usd_per_gb
        near, prices = self._within(region), self.fit.prices(record.estimates)
        return {n: (hours * prices[n], 0.0 if near >> n & 1 else moved) for n in bits(mask)}

    def _within(self, region: str) -> int:
        """The clusters to which data in this region is moved for nothing."""
        if region not in self._near:
            self._near[region] = self.fit.where(
                not region or there in ("", region) for there in self._regions
            )
        return self._near[region]

    def weighed(self, record: WorksetRecord, mask: int) -> dict[int, int]:
        """For each cluster of `mask`: run + transfer, less the discount of a soft affinity.

        In millionths of a dollar, whole: see `worksets.slots`.
        """
        found = {n: round((a + b) * 1e6) for n, (a, b) in self.usd(record, mask).items()}
        preferred = self.fit.bit.get(record.preferred_cluster, 0).bit_length() - 1
        if preferred in found:
            found[preferred] -= round(self.policy.affinity_discount_usd * 1e6)
        return found

    def lowest(self, record: WorksetRecord, mask: int) -> float:
        """Run + transfer on the cheapest cluster of `mask`; infinite if it is empty."""
        moved = record.input_bytes / 1e9 * self.policy.transfer_usd_per_gb
        near = mask & self._within(self.region(record))
        prices = self.fit.prices(record.estimates)
        found = [
            record.estimates.vcpu_hours * self._least(prices, some) + transfer
            for some, transfer in ((near, 0.0), (mask & ~near, moved))
            if some
        ]
        return min(found, default=float("inf"))

    def _least(self, prices: tuple[float, ...], mask: int) -> float:
        if self._one_price:
            return prices[(mask & -mask).bit_length() - 1]
        if (prices, mask) not in self._cheapest:
            self._cheapest[prices, mask] = min(prices[n] for n in bits(mask))
        return self._cheapest[prices, mask]
