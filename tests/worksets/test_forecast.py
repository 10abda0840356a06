"""What the forecast keeps to: the limits, the order of the plan, and what it does not know."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worksets import overview
from worksets.capacity import ClusterView, Limits
from worksets.costs import PlacementPolicy
from worksets.forecast import EXPECTED_H, MOMENTS, OVERDUE, SURE, _expected, forecast, last_end
from worksets.placement import plan
from worksets.record import Estimates, HistoryEntry, Priority, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = PlacementPolicy()


def workset(n, hours=1.0, **more):
    return WorksetRecord(
        workset_id=f"w{n}",
        customer_id=more.pop("customer", "acme"),
        location=f"file:///data/w{n}",
        estimates=Estimates(vcpus=1, vcpu_hours=hours),
        created_at=NOW - timedelta(minutes=n),
        updated_at=more.pop("updated_at", NOW),
        **more,
    )


def running(n, hours, since, cluster="a"):
    return workset(
        n,
        hours,
        state=State.IN_PROGRESS,
        cluster_name=cluster,
        lock_owner="p",
        job_ended=False,
        history=(HistoryEntry(at=since, event="Begin"),),
    )


def foretold(waiting, held=(), slots=1, most=100, customers=None, price=0.5):
    views = [ClusterView(name="a", max_concurrent_worksets=slots, price_per_vcpu_hour=price)]
    limits = Limits(max_worksets=most, clusters={"a": slots}, customers=customers or {})
    weights = {"acme": 1.0, "borealis": 1.0}
    return forecast(waiting, held, views, limits, weights, POLICY, NOW)


def at(hours):
    return NOW + timedelta(hours=hours)


def test_one_slot_is_given_to_one_after_the_other():
    found = foretold([workset(3, 2.0), workset(2, 1.0), workset(1, 4.0)])
    spans = sorted((e.starts, e.ends) for e in found.values())
    assert spans == [(at(0), at(2)), (at(2), at(3)), (at(3), at(7))]
    assert {e.workset_id: e.usd for e in found.values()} == {"w3": 1.0, "w2": 0.5, "w1": 2.0}


def test_a_job_whose_pipeline_says_nothing_has_the_vcpus_of_its_cluster():
    unsaid = Estimates(vcpu_hours=8.0)
    runs = running(0, 8.0, NOW).model_copy(update={"estimates": unsaid})
    waits = workset(1, 8.0).model_copy(update={"estimates": unsaid})
    view = ClusterView(name="a", max_concurrent_worksets=1, vcpus_per_workset=4)
    limits, weights = Limits(max_worksets=9, clusters={"a": 1}), {"acme": 1.0}
    found = forecast([waits], [runs], [view], limits, weights, POLICY, NOW)["w1"]
    assert (found.starts, found.ends) == (at(2), at(4))
    assert last_end([runs, waits], [view], limits, weights, POLICY, NOW) == at(4)


def test_what_runs_is_waited_for_and_what_is_overdue_takes_a_tenth_more():
    found = foretold([workset(1)], [running(9, 2.0, at(-0.5))])
    assert found["w1"].starts == at(1.5)
    late = foretold([workset(1)], [running(9, 2.0, at(-5))])
    assert late["w1"].starts == at(2.0 * OVERDUE)


def test_a_retry_is_not_before_its_time_and_files_that_are_on_their_way_are_not_foretold():
    retry = workset(1, state=State.RETRYING, retry_after=at(3))
    found = foretold([retry, workset(2, awaits="x.fastq.gz is missing")])
    assert found.keys() == {"w1"} and found["w1"].starts == at(3)


def test_what_never_starts_is_left_out():
    found = foretold([workset(1, preferred_cluster="b", cluster_required=True), workset(2)])
    assert found.keys() == {"w2"}


def test_without_any_known_duration_only_what_starts_at_once_is_foretold():
    found = foretold([workset(n, 0.0) for n in range(3)])
    assert len(found) == 1
    (only,) = found.values()
    assert (only.starts, only.ends, only.usd) == (NOW, None, None)


def test_one_of_unknown_duration_is_believed_to_take_as_long_as_the_others():
    found = foretold([workset(2, 0.0, priority=Priority.URGENT), workset(1, 4.0)])
    assert found["w2"].starts == NOW and found["w2"].ends is None
    assert found["w1"].starts == at(4)


worksets = st.lists(
    st.builds(
        lambda hours, customer, priority: (hours, customer, priority),
        st.sampled_from([0.5, 1.0, 7.0]),
        st.sampled_from(["acme", "borealis"]),
        st.sampled_from(Priority),
    ),
    max_size=12,
)


@given(worksets, st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_all_are_foretold_and_no_limit_is_ever_passed(entries, slots, most, of_acme):
    waiting = [workset(n, h, customer=c, priority=p) for n, (h, c, p) in enumerate(entries)]
    found = foretold(waiting, (), slots, most, {"acme": of_acme})
    assert found.keys() == {w.workset_id for w in waiting}
    customer = {w.workset_id: w.customer_id for w in waiting}
    for one in found.values():
        there = [e for e in found.values() if e.starts <= one.starts < e.ends]
        assert len(there) <= min(slots, most)
        assert sum(customer[e.workset_id] == "acme" for e in there) <= of_acme
        assert one.starts >= NOW


def test_a_thousand_are_foretold_in_few_moments(monkeypatch):
    asked = 0

    def counted(*given, **named):
        nonlocal asked
        asked += 1
        return plan(*given, **named)

    monkeypatch.setattr("worksets.forecast.plan", counted)
    found = foretold([workset(n, 1.0 + n % 7) for n in range(1000)], slots=30, most=30)
    assert len(found) == 1000 and asked <= MOMENTS + 10
    length = sum(1.0 + n % 7 for n in range(1000)) / 30
    assert at(length - 7) <= max(e.starts for e in found.values()) <= at(length * 1.02)


def test_the_last_end_is_that_of_all_or_nobody_knows():
    views = [ClusterView(name="a", max_concurrent_worksets=1)]
    limits = Limits(max_worksets=9, clusters={"a": 1})
    asked = (views, limits, {"acme": 1.0}, POLICY, NOW)
    assert last_end([], *asked) is None
    assert last_end([workset(1), running(2, 2.0, at(-1)), workset(3, 3.0)], *asked) == at(5)
    assert last_end([workset(1), workset(2, 0.0)], *asked) is None


def test_one_that_was_read_twice_at_two_moments_is_held():
    ready = workset(1, 2.0)
    locked = ready.model_copy(
        update={"state": State.LOCKED, "cluster_name": "a", "lock_owner": "p", "history": ()}
    )
    views = [ClusterView(name="a", max_concurrent_worksets=2)]
    given = (views, Limits(max_worksets=9), {"acme": 1.0, "b": 1.0}, PlacementPolicy(), NOW)
    found = forecast([ready, workset(2, 1.0)], [locked], *given)
    assert set(found) == {workset(2, 1.0).workset_id}
    rows = overview.queue([ready, workset(2, 1.0), locked], *given)
    assert [row["workset"] for row in rows] == [workset(2, 1.0).workset_id]


def test_as_much_is_expected_to_come_as_has_come():
    """A low workset waits behind normal ones that are not there yet; nobody is told of those."""
    view = ClusterView(name="a", max_concurrent_worksets=1, vcpus_per_workset=1)
    came = [
        workset(n, 1.0).model_copy(update={"created_at": at(-3 + 0.5 * n), "state": State.COMPLETE})
        for n in range(1, 5)
    ]
    low = workset(9, 1.0).model_copy(update={"priority": Priority.LOW})
    runs = running(8, 1.0, NOW)
    limits = Limits(max_worksets=9, clusters={"a": 1})
    given = ([low], [runs], [view], limits, {"acme": 1.0}, POLICY, NOW)
    assert forecast(*given)["w9"].starts == at(1)
    found = forecast(*given, came=[*came, came[0]])
    # they come at 0.5, 1.0, 1.5 and 2.0 h, one after the other on the one slot
    assert set(found) == {"w9"} and found["w9"].starts == at(5)
    assert found["w9"].sure == timedelta(hours=5 * SURE)
    # of what came before that nothing is expected
    old = [record.model_copy(update={"created_at": at(-4)}) for record in came]
    assert forecast(*given, came=old)["w9"].starts == at(1)


def test_what_is_expected_to_come_is_due_as_long_after_it_as_what_came():
    came = [workset(10, due=at(20)), workset(20)]
    later = {record.workset_id[-3:]: record for record in _expected(came, NOW)}
    assert later["w10"].due == at(20 + EXPECTED_H) and later["w20"].due is None
    assert all(record.created_at > NOW for record in later.values())
