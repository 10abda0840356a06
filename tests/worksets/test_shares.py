"""What customers were given lately, of which older hours count less."""

from datetime import UTC, datetime, timedelta
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.record import HistoryEntry, State, Step, StepRun, WorksetRecord
from worksets.shares import Shares, jobs_of, running, since

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = 24.0


def ago(hours):
    return NOW - timedelta(hours=hours)


jobs = st.lists(
    st.tuples(st.sampled_from("ab"), st.floats(0, 100), st.floats(0, 100)).map(
        lambda job: (job[0], ago(max(job[1:])), ago(min(job[1:])))
    ),
    max_size=8,
)


@given(jobs, st.sampled_from([1.0, DAY, 500.0]))
def test_each_moment_counts_half_after_each_half_life(jobs, half_life):
    """The closed form beside a sum of small pieces, whenever it was looked at before."""
    shares = Shares(half_life)
    for job in sorted(jobs, key=lambda job: job[2]):
        shares.add(job)
        shares.lately(job[2])
    found, pieces = shares.lately(NOW), 4000
    for customer in "ab":
        total = 0.0
        for name, began, ended in jobs:
            if name == customer:
                step = (ended - began) / pieces
                for n in range(pieces):
                    age = (NOW - (began + step * (n + 0.5))).total_seconds() / 3600
                    total += exp(-log(2) * age / half_life) * step.total_seconds() / 3600
        assert found.get(customer, 0.0) == pytest.approx(total, rel=1e-3, abs=1e-4)


def test_what_runs_counts_up_to_now_and_is_not_kept():
    shares = Shares(1e6)
    assert shares.lately(NOW, [("a", ago(3)), ("b", NOW)])["a"] == pytest.approx(3, rel=1e-4)
    assert shares.lately(NOW) == {}


def test_a_job_that_is_told_late_counts_as_it_would_have():
    early, late = Shares(DAY), Shares(DAY)
    job, other = ("a", ago(10), ago(8)), ("a", ago(2), ago(1))
    early.add(job)
    early.add(other)
    late.add(other)
    late.lately(NOW)
    late.add(job)
    assert late.lately(NOW)["a"] == pytest.approx(early.lately(NOW)["a"])


def test_without_a_half_life_nothing_is_remembered():
    shares = Shares(0)
    shares.add(("a", ago(2), ago(1)))
    assert shares.lately(NOW, [("a", ago(1))]) == {}
    assert since(NOW, DAY) == ago(5 * DAY)


def step(name, attempt, began, ended):
    return StepRun(step=name, attempt=attempt, cluster_name="c", exit_code=0, started_at=ago(began),
                   ended_at=ago(ended))  # fmt: skip


def record(**fields):
    return WorksetRecord(workset_id="w", customer_id="a", location="file:///w", created_at=ago(9),
                         updated_at=NOW, **fields)  # fmt: skip


def test_a_job_is_an_attempt_from_its_first_step_to_its_last():
    runs = (step(Step.STAGE, 1, 8, 7), step(Step.RUN, 1, 7, 5), step(Step.RUN, 2, 4, 3))
    assert jobs_of(record(step_runs=runs)) == [
        (1, ("a", ago(8), ago(5))), (2, ("a", ago(4), ago(3)))
    ]  # fmt: skip
    assert jobs_of(record()) == []


def test_what_runs_is_what_is_held_and_has_begun():
    begun = (HistoryEntry(at=ago(6), event="Begin", note=""),)
    history = (*begun, HistoryEntry(at=ago(2), event="Begin", note=""))
    held = record(state=State.IN_PROGRESS, history=history)
    assert running([held]) == [("a", ago(2))]
    assert running([record(history=begun), record(state=State.LOCKED)]) == []
