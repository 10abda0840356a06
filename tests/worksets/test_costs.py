"""What a run costs, and how long it takes, where clusters are not as fast as each other."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.budgets import Budget, budgets
from worksets.capacity import ClusterView, Fit, Limits
from worksets.costs import Costs, PlacementPolicy
from worksets.forecast import forecast, hours
from worksets.placement import plan
from worksets.record import Estimates, Priority, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 0.25
POLICY = PlacementPolicy(result_usd_per_hour=dict.fromkeys(Priority, RATE))


def view(name, price=1.0, vcpus=8, **paces):
    return ClusterView(
        name=name, max_concurrent_worksets=1, vcpus_per_workset=vcpus, price_per_vcpu_hour=price,
        paces=paces,
    )  # fmt: skip


def workset(name="w", vcpu_hours=80.0, pipeline="germline", **fields):
    return WorksetRecord(
        workset_id=name, customer_id="acme", pipeline=pipeline, location=f"file:///{name}",
        estimates=Estimates(vcpu_hours=vcpu_hours), created_at=NOW, updated_at=NOW, **fields,
    )  # fmt: skip


paced = st.one_of(st.just({}), st.fixed_dictionaries({"germline": st.floats(0.25, 4)}))
views = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 64), paced), min_size=1, max_size=6).map(
    lambda drawn: [view(f"c{n}", price, vcpus, **p) for n, (price, vcpus, p) in enumerate(drawn)]
)


@given(views, st.floats(0, 1000), st.floats(-10, 50))
def test_a_pace_counts_in_dollars_in_hours_and_in_what_is_late(clusters, vcpu_hours, due_h):
    costs = Costs(Fit(clusters), POLICY, NOW)
    due = NOW + timedelta(hours=due_h)
    for record in (workset(vcpu_hours=vcpu_hours), workset(vcpu_hours=vcpu_hours, due=due)):
        said, weighed = costs.usd(record, costs.fit.all), costs.weighed(record, costs.fit.all)
        for n, cluster in enumerate(costs.fit.clusters):
            pace = cluster.paces.get("germline", 1.0)
            run = vcpu_hours * pace * cluster.price_per_vcpu_hour
            length = vcpu_hours * pace / cluster.vcpus_per_workset
            late = max(0.0, length - due_h) if record.due else 0.0
            assert said[n] == pytest.approx((run, 0.0))
            assert cluster.usd_of(record) == pytest.approx(run)
            assert (hours(record, cluster) or 0.0) == pytest.approx(length)
            usd = run + RATE * length + POLICY.late_usd_per_hour * late
            assert weighed[n] == pytest.approx(usd * 1e6, abs=2)
        assert costs.lowest(record, costs.fit.all) * 1e6 == pytest.approx(
            min(weighed.values()), abs=2
        )


def decided(clusters, *ready):
    limits = Limits(max_worksets=9)
    found = plan(ready, clusters, {}, limits, {"acme": 1.0}, POLICY, NOW)
    return {one.workset_id: (one.cluster_name, one.reason) for one in found}


def test_of_two_at_one_price_the_faster_is_taken_and_each_pipeline_has_its_own():
    clusters = [view("a", germline=2.0, rna=0.5), view("b")]
    found = decided(clusters, workset("dna"), workset("rna", pipeline="rna"))
    assert {id_: name for id_, (name, _) in found.items()} == {"dna": "b", "rna": "a"}
    cluster, reason = decided(clusters, workset())["w"]
    assert (cluster, reason) == ("b", "b: $80.00 run + $0 transfer; a would cost $160.00")


def test_what_is_cheap_by_the_hour_and_slow_is_not_cheap():
    assert decided([view("a", 0.6, germline=2.0), view("b", 1.0)], workset())["w"][0] == "b"
    assert decided([view("a", 0.6, germline=1.2), view("b", 1.0)], workset())["w"][0] == "a"


def test_the_end_and_the_budget_are_foretold_by_it():
    slow = view("slow", germline=2.0)
    limits = Limits(max_worksets=9)
    found = forecast([workset()], [], [slow], limits, {"acme": 1.0}, POLICY, NOW)["w"]
    assert (found.ends, found.usd) == (NOW + timedelta(hours=20), 160.0)
    runs = workset(state=State.IN_PROGRESS, cluster_name="slow")
    known = budgets({"acme": 500.0}, {}, [runs], {"slow": slow}, "2026-01")
    assert known == {"acme": Budget(month="2026-01", usd=500.0, spent_usd=0.0).begun(160.0)}
