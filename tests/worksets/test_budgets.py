"""What counts against a budget, exactly once, and what a plan makes of what is left."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.budgets import (
    KEPT,
    Budget,
    Spent,
    budgets,
    month_of_steps,
    of_steps,
)
from worksets.capacity import ClusterView, Limits
from worksets.costs import PlacementPolicy
from worksets.forecast import forecast
from worksets.jobs import StepMarkers
from worksets.placement import plan
from worksets.polling import nothing_left
from worksets.record import Estimates, Step, WorksetRecord

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
VIEW = ClusterView(
    name="a", max_concurrent_worksets=9, vcpus_per_workset=4, price_per_vcpu_hour=0.25
)
POLICY, WEIGHTS = PlacementPolicy(), {"acme": 1.0, "borealis": 1.0}


def workset(n, customer="acme", vcpu_hours=40.0, **more):
    return WorksetRecord(
        workset_id=f"w{n}", customer_id=customer, location=f"file:///w{n}",
        estimates=Estimates(vcpu_hours=vcpu_hours), created_at=NOW - timedelta(minutes=n),
        updated_at=NOW, **more,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 100)), max_size=30))
def test_an_attempt_counts_once_however_often_its_end_is_written(ends):
    first = {}
    spent = Spent()
    for name, usd in ends:
        first.setdefault(name, usd)
        spent = spent.plus(f"w{name}.a1", usd)
    assert spent.usd == pytest.approx(sum(first.values()))
    assert Spent.model_validate_json(spent.model_dump_json()) == spent


def test_a_note_stays_small():
    spent = Spent()
    assert (spent.usd, spent.told) == (0, 0)
    for n in range(3 * KEPT):
        spent = spent.plus(f"w{n}.a1", 1.0)
    assert spent.usd == 3 * KEPT and len(spent.model_dump_json()) < 1024, "a unit of writing"
    assert spent.plus(f"w{3 * KEPT - 1}.a1", 1.0) is spent.plus(f"w{2 * KEPT}.a1", 1.0) is spent
    assert spent.plus(f"w{2 * KEPT - 1}.a1", 1.0) is not spent


def test_a_killed_step_has_taken_its_time_limit_at_the_most():
    began = NOW - timedelta(hours=3)
    ended = StepMarkers(Step.STAGE, began, began + timedelta(hours=1), 0)
    killed = StepMarkers(Step.RUN, began + timedelta(hours=1))
    assert of_steps([ended, killed], NOW, None, 2.0) == 2 + 4
    assert of_steps([ended, killed], NOW, 30, 2.0) == 2 + 1
    assert of_steps([killed], began, None, 2.0) == 0, "clocks that differ give nothing back"
    assert of_steps([], NOW, None, 2.0) == 0


def test_an_attempt_counts_in_the_month_in_which_it_ended_whoever_reads_that_when():
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    ended = StepMarkers(Step.STAGE, midnight - 3 * hour, midnight - hour, 0)
    killed = StepMarkers(Step.RUN, midnight - hour / 2)
    over = StepMarkers(Step.RUN, midnight - hour, midnight + hour, 0)
    assert month_of_steps([ended, killed]) == month_of_steps([ended]) == "2026-11"
    assert month_of_steps([ended, over]) == "2026-12"


def test_of_another_budget_people_are_told_anew():
    """Who is told that all is spent raises it, and is told when that is spent, too."""
    spent = Spent(usd=100).known(100, 100.0)
    assert spent.told_level(100.0) == 100 and spent.told_level(200.0) == 0
    assert spent.known(80, 200.0).told_level(200.0) == 80


def test_what_a_newer_release_notes_is_kept():
    spent = Spent.model_validate_json('{"usd": 5, "of_another_release": 7}')
    assert '"of_another_release":7' in spent.plus("w.a1", 1.0).model_dump_json()


@pytest.mark.parametrize(
    ("spent", "level"), [(0, 0), (79.99, 0), (80, 80), (99.99, 80), (100, 100), (250, 100)]
)
def test_people_are_told_at_80_and_at_100_per_cent(spent, level):
    assert Budget(month="2026-11", usd=100, spent_usd=spent).level == level


def test_what_runs_counts_with_what_it_is_expected_to_take():
    held = [workset(1, cluster_name="a"), workset(2, cluster_name="gone"), workset(3, "borealis")]
    noted = {"acme": Spent(usd=85.0)}
    found = budgets({"acme": 100.0, "cedar": 5.0}, noted, held, {"a": VIEW}, "2026-11")
    assert found["acme"].left_usd == 100 - 85 - 10 and found["cedar"].left_usd == 5
    assert str(found["acme"]) == (
        "$85.00 of $100.00 for 2026-11 are spent, and what runs takes about $10.00 more"
    )
    assert str(found["cedar"]) == "$0.00 of $5.00 for 2026-11 are spent"


def planned(ready, left):
    budget = Budget(month="2026-11", usd=100, spent_usd=100 - left)
    limits = Limits(max_worksets=9, clusters={"a": 9}, budgets={"acme": budget})
    decisions = plan(ready, [VIEW], {}, limits, WEIGHTS, POLICY, NOW)
    return {one.workset_id: one for one in decisions}, limits


def test_nothing_begins_when_all_is_spent_and_what_begins_counts():
    """$10 each, and $25 left: the third passes the budget, the fourth waits."""
    ready = [*(workset(n) for n in range(5)), workset(9, "borealis")]
    found, limits = planned(ready, 25)
    begins = {id_ for id_, one in found.items() if one.action == "start"}
    assert begins == {"w4", "w3", "w2", "w9"}, "the oldest, and another customer's"
    for id_ in ("w1", "w0"):
        assert found[id_].held_back and found[id_].reason == (
            "waits: acme: $75.00 of $100.00 for 2026-11 are spent, and what runs takes about "
            "$30.00 more; raise its budget_usd_per_month, or wait for next month"
        )
    foreseen = forecast(ready, [], [VIEW], limits, WEIGHTS, POLICY, NOW)
    assert foreseen.keys() == begins, "and nothing else is foretold"
    assert nothing_left({"ready": 2}, [found["w1"], found["w0"]])
    assert not any(one.held_back for one in planned(ready, 100)[0].values())


def test_without_a_budget_a_limit_is_as_it_was():
    limits = Limits(max_worksets=1)
    assert limits.begun("acme", 5.0) is limits
