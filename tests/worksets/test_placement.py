"""What every plan keeps to, whatever waits and whatever is free."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worksets.placement import ClusterView, Limits, misfit, plan
from worksets.record import Estimates, Priority, State, WorksetRecord, scopes_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = ("acme", "borealis", "cedar")
NAMES = ("a", "b", "c", "d")

views = st.lists(
    st.builds(
        ClusterView,
        name=st.sampled_from(NAMES),
        max_concurrent_worksets=st.integers(0, 4),
        vcpus_per_workset=st.integers(1, 8),
        memory_gb_per_workset=st.sampled_from([1.0, 16.0, 512.0]),
        reference_genomes=st.sampled_from([frozenset(), frozenset({"hg38"}), frozenset({"b37"})]),
        unavailable=st.sampled_from(["", "", "", "drained"]),
    ),
    max_size=4,
    unique_by=lambda view: view.name,
)


@st.composite
def queues(draw):
    """Ready worksets, some with finished steps somewhere, some that require a cluster."""
    count = draw(st.integers(0, 14))
    return [
        WorksetRecord(
            workset_id=f"w{n}",
            customer_id=draw(st.sampled_from((*CUSTOMERS, "stranger"))),
            priority=draw(st.sampled_from(Priority)),
            location=f"file:///w{n}",
            reference_genome=draw(st.sampled_from(["hg38", "b37"])),
            preferred_cluster=draw(st.sampled_from(("", *NAMES))),
            cluster_required=draw(st.booleans()),
            estimates=Estimates(
                vcpus=draw(st.integers(1, 9)), memory_gb=draw(st.sampled_from([0.5, 8.0, 300.0]))
            ),
            job_ended=(pinned := draw(st.sampled_from(("", "", "", *NAMES)))) == "",
            cluster_name=pinned,
            created_at=NOW + timedelta(seconds=draw(st.integers(0, 3))),
            updated_at=NOW,
        )
        for n in range(count)
    ]


@st.composite
def situations(draw):
    clusters = draw(views)
    limits = Limits(
        max_worksets=draw(st.integers(1, 8)),
        clusters={view.name: view.max_concurrent_worksets for view in clusters},
        customers=draw(st.dictionaries(st.sampled_from(CUSTOMERS), st.integers(1, 3))),
    )
    held = Counter()
    for n in range(draw(st.integers(0, 4))):
        held.update(scopes_of(NAMES[n % 4], draw(st.sampled_from(CUSTOMERS))))
    return draw(queues()), clusters, held, limits


@given(situations())
def test_every_workset_gets_one_decision_with_a_reason_and_no_limit_is_passed(situation):
    ready, clusters, held, limits = situation
    decisions = plan(ready, clusters, held, limits, frozenset(CUSTOMERS))
    assert sorted(d.workset_id for d in decisions) == sorted(r.workset_id for r in ready)
    records, by_name = {r.workset_id: r for r in ready}, {view.name: view for view in clusters}
    counts, by_scope = Counter(held), limits.by_scope()
    for decision in decisions:
        record = records[decision.workset_id]
        assert decision.reason and (decision.action == "start") == bool(decision.cluster_name)
        assert (decision.action == "refuse") == (record.customer_id == "stranger")
        if decision.action == "start":
            cluster = by_name[decision.cluster_name]
            assert not misfit(record, cluster) and not cluster.unavailable
            scopes = scopes_of(cluster.name, record.customer_id)
            counts.update(scopes)
            assert all(counts[s] <= by_scope[s] for s in scopes if s in by_scope)
        if decision.action == "stuck":
            assert all(misfit(record, cluster) for cluster in clusters)


@given(situations())
def test_nothing_waits_for_a_slot_that_is_free(situation):
    """So a customer or a cluster at its limit holds up nobody behind it."""
    ready, clusters, held, limits = situation
    decisions = plan(ready, clusters, held, limits, frozenset(CUSTOMERS))
    records, counts, by_scope = {r.workset_id: r for r in ready}, Counter(held), limits.by_scope()
    for decision in decisions:
        if decision.action == "start":
            counts.update(
                scopes_of(decision.cluster_name, records[decision.workset_id].customer_id)
            )
    for decision in decisions:
        if decision.action == "wait":
            record = records[decision.workset_id]
            for cluster in clusters:
                if not misfit(record, cluster) and not cluster.unavailable:
                    scopes = scopes_of(cluster.name, record.customer_id)
                    assert any(s in by_scope and counts[s] >= by_scope[s] for s in scopes)


@given(situations())
def test_nobody_takes_a_slot_that_a_more_urgent_or_older_workset_could_have_had(situation):
    ready, clusters, held, limits = situation
    decisions = plan(ready, clusters, held, limits, frozenset(CUSTOMERS))
    records, by_name = {r.workset_id: r for r in ready}, {view.name: view for view in clusters}
    waiting = []

    def rank(record):
        return (record.priority.rank, record.created_at)

    for decision in decisions:
        record = records[decision.workset_id]
        if decision.action == "wait":
            waiting.append(record)
        if decision.action == "start":
            # the order of the decisions is the order of starting: who waits stands before
            for other in waiting:
                assert rank(other) <= rank(record)
            later = [d.workset_id for d in decisions[decisions.index(decision) + 1 :]]
            for other in (records[id_] for id_ in later):
                assert rank(record) <= rank(other)
            assert not misfit(record, by_name[decision.cluster_name])


def test_worksets_do_not_pile_up_on_one_cluster():
    """Daylily's own scheduler put every one on the same cluster: nothing updated the load."""
    clusters = [ClusterView(name=name, max_concurrent_worksets=3) for name in NAMES]
    ready = [
        WorksetRecord(
            workset_id=f"w{n}", customer_id="acme", location="file:///w", created_at=NOW,
            updated_at=NOW, state=State.READY,
        )
        for n in range(8)
    ]  # fmt: skip
    limits = Limits(max_worksets=100, clusters=dict.fromkeys(NAMES, 3))
    decisions = plan(ready, clusters, {}, limits, frozenset({"acme"}))
    assert Counter(d.cluster_name for d in decisions) == dict.fromkeys(NAMES, 2)
