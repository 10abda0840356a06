"""Which clusters take a workset, and at what price: sets of bits, against the plain words."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.worksets.test_requests import needs
from worksets.capacity import ClusterView, Fit, misfit
from worksets.costs import Costs, PlacementPolicy
from worksets.record import Estimates, Priority, WorksetRecord
from worksets.requests import Ceiling, JobRequest, first_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
small = st.sampled_from([1, 2, 4, 8])
places = st.builds(
    Ceiling,
    partition=st.sampled_from(["a", "b", "c"]),
    vcpus=small,
    memory_gb=small.map(float),
    minutes=st.sampled_from([60.0, 120.0, float("inf")]),
    gpus=st.integers(0, 2),
    scratch_gb=st.sampled_from([0.0, 50.0, float("inf")]),
    price_per_vcpu_hour=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)


@st.composite
def clusters(draw):
    return [
        ClusterView(
            name=f"c{n}",
            max_concurrent_worksets=1,
            vcpus_per_workset=draw(small),
            memory_gb_per_workset=draw(small),
            price_per_vcpu_hour=draw(st.sampled_from([0.0, 0.5, 1.0])),
            ceilings=tuple(draw(st.lists(places, max_size=3))),
        )
        for n in range(draw(st.integers(1, 4)))
    ]


def asking(estimates):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW,
        estimates=estimates,
    )  # fmt: skip


def holding(cluster, estimates):
    """The places of a cluster that give a workset all that it asks for; of time it says nothing."""
    otherwise = JobRequest(vcpus=cluster.vcpus_per_workset, memory_gb=cluster.memory_gb_per_workset)
    return [place for place in cluster.offers if place.holds(first_of(estimates, otherwise))]


@given(clusters(), needs)
def test_a_cluster_takes_what_one_of_its_places_gives_all_of(clusters, estimates):
    fit, record = Fit(clusters), asking(estimates)
    mask = fit.mask(record)
    for cluster in clusters:
        assert bool(mask & fit.bit[cluster.name]) == bool(holding(cluster, estimates))
        assert bool(misfit(record, cluster)) != bool(holding(cluster, estimates))
    why = fit.why_none(record)
    assert mask or any(word in why for word in ("no partition gives", "no node gives", "needs"))


@given(clusters(), needs, st.floats(0.1, 100))
def test_its_price_is_that_of_the_cheapest_place_that_takes_it(clusters, estimates, hours):
    estimates = estimates.model_copy(update={"vcpu_hours": hours})
    fit, record = Fit(clusters), asking(estimates)
    least = {
        cluster.name: min(place.price_per_vcpu_hour for place in holding(cluster, estimates))
        for cluster in clusters
        if holding(cluster, estimates)
    }
    prices = {c.name: price for c, price in zip(fit.clusters, fit.prices(estimates), strict=True)}
    assert {name: prices[name] for name in least} == least
    for cluster in clusters:
        if cluster.name in least:
            assert cluster.price_of(estimates) == least[cluster.name]
        assert cluster.vcpus_of(estimates) == (estimates.vcpus or cluster.vcpus_per_workset)
    if least:
        costs = Costs(fit, PlacementPolicy(result_usd_per_hour=dict.fromkeys(Priority, 0.0)))
        assert costs.lowest(record, fit.mask(record)) == hours * min(least.values())


def test_what_is_missing_is_said_with_its_unit():
    place = Ceiling(partition="p", vcpus=4, memory_gb=8, minutes=60, scratch_gb=5)
    other = Ceiling(partition="q", vcpus=2, memory_gb=64, minutes=60, scratch_gb=5)
    cluster = ClusterView(name="c", max_concurrent_worksets=1, vcpus_per_workset=1,
                          memory_gb_per_workset=1, ceilings=(place, other))  # fmt: skip
    said = {
        "needs 16 vCPUs": {"vcpus": 16}, "needs 65 GB of memory": {"memory_gb": 65},
        "needs 61 minutes": {"minutes": 61}, "needs 1 GPUs": {"gpus": 1},
        "needs 6 GB of scratch": {"scratch_gb": 6},
        "no partition gives all of 64 GB of memory, 4 vCPUs": {"vcpus": 4, "memory_gb": 64},
    }  # fmt: skip
    for words, asks in said.items():
        assert misfit(asking(Estimates(**asks)), cluster) == words
    assert misfit(asking(Estimates(vcpus=4, memory_gb=8)), cluster) == ""
    large = cluster.model_copy(update={"memory_gb_per_workset": 65})
    lower = "lower it, or say memory_gb in the pipeline"
    words = f"no node gives its memory_gb_per_workset: {lower}"
    assert misfit(asking(Estimates(vcpus=2)), large) == words
    large = cluster.model_copy(update={"memory_gb_per_workset": 64})
    words = "no partition gives all of 4 vCPUs, its memory_gb_per_workset"
    assert misfit(asking(Estimates(vcpus=4)), large) == words
