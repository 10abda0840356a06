"""Who starts: priorities that age, customers that share, and nobody who waits for ever."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worksets.capacity import ClusterView, Limits, misfit
from worksets.costs import PlacementPolicy
from worksets.fairness import LEAD, effective_rank, jain_index, presses
from worksets.placement import plan
from worksets.record import Estimates, Priority, WorksetRecord, scopes_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = ("acme", "borealis", "cedar")
GENOMES = ("hg38", "b37")


def workset(name, customer, priority, genome="hg38", at=NOW, usd=0):
    return WorksetRecord(
        workset_id=name, customer_id=customer, priority=priority, reference_genome=genome,
        location="file:///w", estimates=Estimates(vcpu_hours=usd), created_at=at, updated_at=at,
    )  # fmt: skip


class Site:
    """Clusters whose slots turn over, a cycle at a time."""

    def __init__(self, clusters, policy, limits=None, weights=None):
        self.clusters, self.policy = clusters, policy
        self.weights = weights or dict.fromkeys(CUSTOMERS, 1.0)
        self.limits = Limits(
            max_worksets=100, clusters={c.name: c.max_concurrent_worksets for c in clusters},
            customers=limits or {},
        )  # fmt: skip
        self.ready, self.running, self.held = {}, [], Counter()

    def cycle(self, now, lasts):
        """Start what the plan starts; each runs for `lasts(record)` cycles. Ids of the starts."""
        self.running = [(left - 1, scopes) for left, scopes in self.running]
        for _, scopes in (r for r in self.running if r[0] <= 0):
            self.held.subtract(scopes)
        self.running = [r for r in self.running if r[0] > 0]
        started = []
        for decision in plan(self.ready.values(), self.clusters, self.held, self.limits,
                             self.weights, self.policy, now):  # fmt: skip
            if decision.action == "start":
                record = self.ready.pop(decision.workset_id)
                scopes = scopes_of(decision.cluster_name, record.customer_id)
                self.held.update(scopes)
                self.running.append((lasts(record), scopes))
                started.append(record.workset_id)
        return started


@st.composite
def sites(draw):
    count = draw(st.integers(1, 3))
    clusters = [
        ClusterView(
            name=f"c{n}",
            max_concurrent_worksets=draw(st.integers(1, 2)),
            reference_genomes=draw(
                st.sampled_from([frozenset(GENOMES), frozenset({"hg38"}), frozenset({"b37"})])
            ),
            price_per_vcpu_hour=draw(st.sampled_from([0.0, 1.0, 100.0])),
        )
        for n in range(count)
    ]
    limits = draw(st.dictionaries(st.sampled_from(CUSTOMERS), st.integers(1, 2)))
    policy = PlacementPolicy(
        aging_hours=draw(st.sampled_from([6, 24])),
        waiting_usd_per_hour=dict.fromkeys(Priority, draw(st.sampled_from([0.0, 0.1, 10.0]))),
    )
    return Site(clusters, policy, limits)


@settings(max_examples=40, deadline=None)
@given(sites(), st.randoms(use_true_random=False), st.data())
def test_whoever_fits_somewhere_starts_while_slots_turn_over(site, draw, data):
    """Urgent rivals come faster than slots free, some of the customer's own; a low one starts."""
    genome = data.draw(st.sampled_from(GENOMES))
    customer = data.draw(st.sampled_from(CUSTOMERS))
    low = workset("low", customer, Priority.LOW, genome, usd=10)
    if all(misfit(low, cluster) for cluster in site.clusters):
        return
    site.ready["low"] = low
    for n in range(400):
        now = NOW + timedelta(hours=6 * n)
        for k in range(2):
            rival = workset(
                f"r{n}-{k}", draw.choice(CUSTOMERS), draw.choice(list(Priority)[:2]),
                draw.choice(GENOMES), now, draw.choice([0, 10]),
            )  # fmt: skip
            site.ready[rival.workset_id] = rival
        if "low" in site.cycle(now, lambda _: draw.randint(1, 2)):
            return
    raise AssertionError("never started")


@st.composite
def queues(draw):
    """Worksets that fit every slot alike, none older than the policy's aging."""
    return [
        workset(
            f"w{n:02d}", draw(st.sampled_from(CUSTOMERS)), draw(st.sampled_from(Priority)),
            at=NOW - timedelta(hours=draw(st.integers(0, 47))), usd=draw(st.integers(0, 50)),
        )
        for n in range(draw(st.integers(1, 25)))
    ]  # fmt: skip


def going_first(ready, held, weights, slots):
    """Those that count as normal if they are low, or go before others of their priority."""
    customers = {record.customer_id for record in ready}
    served = {name: held[f"customer:{name}"] / weights[name] for name in customers}
    behind = {name for name in customers if mean(served.values()) - served[name] >= 1}
    lengths = [r.estimates.vcpu_hours for r in ready if r.estimates.vcpu_hours]
    last = max(1.5 * sum(lengths) / slots, 2 * median(lengths or [0]))
    return {
        r.workset_id
        for r in ready
        if r.customer_id in behind or (lengths and r.estimates.vcpu_hours >= last)
    }


@given(queues(), st.integers(1, 8), st.integers(0, 6), st.data())
def test_turns_by_priority_then_service_then_age(ready, slots, already, data):
    clusters = [
        ClusterView(name="a", max_concurrent_worksets=slots, price_per_vcpu_hour=1),
        ClusterView(name="b", max_concurrent_worksets=7, price_per_vcpu_hour=2),
    ]
    weights = {name: data.draw(st.sampled_from([1.0, 2.0, 4.0])) for name in CUSTOMERS}
    caps = data.draw(st.dictionaries(st.sampled_from(CUSTOMERS), st.integers(1, 4)))
    limits = Limits(max_worksets=100, clusters={"a": slots, "b": 7}, customers=caps)
    held = Counter()
    for _ in range(already):
        held.update(scopes_of("b", data.draw(st.sampled_from(CUSTOMERS))))
    records = {r.workset_id: r for r in ready}
    policy = PlacementPolicy(aging_hours=48)
    decisions = plan(ready, clusters, held, limits, weights, policy, NOW)
    first = going_first(ready, held, weights, slots + 7)
    served = {name: held[f"customer:{name}"] for name in CUSTOMERS}
    left = dict(records)
    for started in (records[d.workset_id] for d in decisions if d.action == "start"):
        del left[started.workset_id]
        for other in left.values():
            if served[other.customer_id] >= caps.get(other.customer_id, 100):
                continue
            if started.workset_id in first:
                rank = min(started.priority.rank, Priority.NORMAL.rank)
                assert rank <= other.priority.rank, "priority inversion"
                continue
            if other.workset_id in first:
                continue
            assert started.priority.rank <= other.priority.rank, "priority inversion"
            if started.priority is other.priority and started.customer_id != other.customer_id:
                mine = served[started.customer_id] / weights[started.customer_id]
                assert mine <= served[other.customer_id] / weights[other.customer_id]
            if started.priority is other.priority and started.customer_id == other.customer_id:
                assert started.created_at <= other.created_at
        served[started.customer_id] += 1


def start_order(*ready, held=None, policy=None, slots=1, price=0.0, lately=None):
    clusters = [
        ClusterView(name="c", max_concurrent_worksets=slots, price_per_vcpu_hour=price),
        ClusterView(name="cheap", max_concurrent_worksets=1),
    ]
    held = {"cluster:cheap": 1, **(held or {})}
    limits = Limits(max_worksets=100, clusters={"c": slots, "cheap": 1})
    weights = dict.fromkeys(CUSTOMERS, 1.0)
    decisions = plan(
        ready, clusters, held, limits, weights, policy or PlacementPolicy(), NOW, lately=lately
    )
    return [d.workset_id for d in decisions]


def test_priorities_age():
    aged = workset("aged", "acme", Priority.LOW, at=NOW - timedelta(hours=4 * 48 + 1))
    young = workset("young", "acme", Priority.LOW, at=NOW - timedelta(hours=4 * 48 - 1))
    urgent = workset("urgent", "acme", Priority.URGENT, at=NOW)
    policy = PlacementPolicy(aging_hours=48)
    assert start_order(aged, young, urgent, policy=policy) == ["aged", "urgent", "young"]
    ranks = [effective_rank(Priority.LOW, hours, policy) for hours in (0, 48, 191, 192)]
    assert ranks == [2, 1, 1, 0]
    ranks = [effective_rank(Priority.NORMAL, hours, policy) for hours in (0, 191, 192)]
    assert ranks == [1, 1, 0]


def test_long_waiting_outweighs_what_the_customer_holds():
    held = {"customer:acme": 2}
    old = workset("old", "acme", Priority.NORMAL, at=NOW - timedelta(hours=4 * 48))
    new = workset("new", "borealis", Priority.URGENT)
    policy = PlacementPolicy(aging_hours=48)
    assert start_order(old, new, held=held, policy=policy) == ["old", "new"]
    assert start_order(old, new, held={"customer:acme": 5}, policy=policy) == ["new", "old"]


def test_the_low_ones_of_a_customer_that_is_behind_count_as_normal_and_never_as_urgent():
    mine = workset("mine", "borealis", Priority.LOW)
    theirs = workset("theirs", "acme", Priority.NORMAL, at=NOW - timedelta(hours=1))
    held = {"customer:acme": 2}
    assert start_order(mine, theirs, held=held) == ["mine", "theirs"]
    assert start_order(mine, theirs) == ["theirs", "mine"]
    assert start_order(mine, theirs, held={"customer:acme": 1}) == ["theirs", "mine"]
    urgent = workset("urgent", "acme", Priority.URGENT)
    assert start_order(mine, urgent, held={"customer:acme": 9}) == ["urgent", "mine"]
    own = workset("own", "borealis", Priority.NORMAL)
    assert start_order(mine, own, theirs, held=held) == ["own", "mine", "theirs"]


def test_what_was_given_lately_counts_as_what_is_held():
    """Ten jobs' hours of acme: borealis comes first, although it came last."""
    old = workset("old", "acme", Priority.NORMAL, at=NOW - timedelta(hours=5), usd=2e6)
    new = workset("new", "borealis", Priority.NORMAL, usd=2e6)
    assert start_order(old, new) == ["old", "new"]
    assert start_order(old, new, lately={"acme": 20.0}) == ["new", "old"]
    # less than one usual job, of two hours here, sets nobody apart
    assert start_order(old, new, lately={"acme": 1.9}) == ["old", "new"]
    assert start_order(old, new, lately={"acme": 2.1}) == ["new", "old"]


def test_what_would_be_the_last_to_end_goes_first():
    few = [
        workset(f"w{n}", "acme", Priority.NORMAL, at=NOW - timedelta(hours=1), usd=1e6)
        for n in range(12)
    ]
    day = workset("day", "borealis", Priority.LOW, usd=24e6)
    assert start_order(*few, day, slots=10)[0] == "day"
    # where much waits for each slot, it may wait too
    assert start_order(*few, day, slots=1)[0] == "w0"
    # of two that wait none is an outlier
    pair = workset("short", "acme", Priority.NORMAL, usd=1e6)
    assert start_order(pair, day, slots=1)[0] == "short"
    urgent = workset("urgent", "acme", Priority.URGENT, usd=1e6)
    assert start_order(*few, day, urgent, slots=10)[0] == "urgent"


@pytest.mark.parametrize(("price", "first"), [(0.0, "large"), (1.0, "large"), (3.0, "small")])
def test_of_equals_the_one_goes_first_whose_hours_are_worth_the_premium(price, first):
    """An hour of a normal workset is worth $1; the large one waits 2 h and pays 1 vCPU-hour."""
    large = workset("large", "acme", Priority.NORMAL, at=NOW - timedelta(hours=2), usd=1)
    small = workset("small", "borealis", Priority.NORMAL, at=NOW - timedelta(minutes=1))
    assert start_order(large, small, price=price)[0] == first


@pytest.mark.parametrize("full", ["customer", "cluster"])
def test_one_at_its_limit_blocks_nobody_behind_it(full):
    clusters = [
        ClusterView(name="a", max_concurrent_worksets=3, reference_genomes=frozenset({"b37"})),
        ClusterView(name="b", max_concurrent_worksets=3, reference_genomes=frozenset({"hg38"})),
    ]
    site = Site(clusters, PlacementPolicy(), {"acme": 1} if full == "customer" else None)
    site.held = Counter({"customer:acme": 1} if full == "customer" else {"cluster:a": 3})
    for n in range(50):
        at = NOW - timedelta(hours=1)
        site.ready[f"first{n}"] = workset(f"first{n}", "acme", Priority.URGENT, "b37", at)
    site.ready["behind"] = workset("behind", "borealis", Priority.LOW)
    assert site.cycle(NOW, lambda _: 9) == ["behind"]


def test_jain_index():
    assert jain_index([3, 3, 3]) == pytest.approx(1)
    assert jain_index([1, 0, 0, 0]) == pytest.approx(1 / 4)
    assert jain_index([1, 2, 3]) == pytest.approx(36 / (3 * 14))
    assert jain_index([]) == jain_index([0, 0]) == 1


def test_a_flood_of_one_customer_is_shared_with_the_others():
    """100 worksets of acme are there first; borealis and cedar come later, with a few each."""
    site = Site([ClusterView(name="c", max_concurrent_worksets=6)], PlacementPolicy())
    for n in range(100):
        name = f"acme{n:03d}"
        site.ready[name] = workset(name, "acme", Priority.NORMAL, at=NOW)
    assert len(site.cycle(NOW, lambda _: 1)) == 6
    for customer in ("borealis", "cedar"):
        for n in range(5):
            name, at = f"{customer}{n}", NOW + timedelta(hours=1)
            site.ready[name] = workset(name, customer, Priority.NORMAL, at=at)
    started = site.cycle(NOW + timedelta(hours=1), lambda _: 1)
    assert Counter(name.rstrip("0123456789") for name in started) == dict.fromkeys(CUSTOMERS, 2)


def due_in(record, hours):
    return record.model_copy(update={"due": NOW + timedelta(hours=hours)})


@given(st.floats(0, 50), st.floats(-50, 200))
def test_it_presses_from_a_moment_on_and_for_good(length_h, due_h):
    policy = PlacementPolicy()
    record = due_in(workset("w", "acme", Priority.LOW), due_h)
    lead = LEAD * length_h or policy.aging_hours
    assert presses(record, length_h, policy, NOW) == (
        (record.due - NOW).total_seconds() / 3600 <= lead
    )
    if presses(record, length_h, policy, NOW):
        assert presses(record, length_h, policy, NOW + timedelta(hours=1))
    assert not presses(record.model_copy(update={"due": None}), length_h, policy, NOW)


def test_what_must_begin_now_goes_before_what_need_not_and_not_before_its_time():
    one = ClusterView(name="c", max_concurrent_worksets=1, vcpus_per_workset=1)
    site = Site([one], PlacementPolicy())

    def first(*records):
        site.ready, site.running, site.held = {r.workset_id: r for r in records}, [], Counter()
        return site.cycle(NOW, lambda _: 1)

    older = workset("older", "acme", Priority.NORMAL, at=NOW - timedelta(hours=3), usd=2)
    low = workset("low", "borealis", Priority.LOW, usd=2)
    assert first(older, due_in(low, 4.1)) == ["older"]
    assert first(older, due_in(low, 3.9)) == ["low"]
    assert first(older, due_in(low, -9)) == ["low"], "late already: the sooner the better"
    by_hand = low.model_copy(update={"priority_by_hand": True})
    assert first(older, due_in(by_hand, 3.9)) == ["older"], "an operator has said so"
    urgent = workset("urgent", "cedar", Priority.URGENT, at=NOW - timedelta(hours=1), usd=2)
    assert first(urgent, due_in(low, 3.9)) == ["urgent"], "of two that are urgent the older"
