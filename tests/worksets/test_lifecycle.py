"""No sequence of events reaches an illegal state."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worksets import lifecycle as lc
from worksets.errors import ErrorCategory, retry_delay_s
from worksets.record import HELD, STEPS, AffinityReason, State, StepRun, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(**fields):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW,
        **fields,
    )  # fmt: skip


def steps(attempt, codes):
    return tuple(
        StepRun(
            step=step, attempt=attempt, cluster_name="a", exit_code=code, started_at=NOW,
            ended_at=NOW,
        )
        for step, code in zip(STEPS, codes, strict=False)
    )  # fmt: skip


fences = st.integers(0, 4)
events = st.one_of(
    st.builds(lc.Lock, st.sampled_from("pq"), st.sampled_from("ab"), st.just("r")),
    st.builds(lc.TakeOver, st.sampled_from("pq"), st.sampled_from("pq")),
    st.builds(lc.Begin, fences),
    st.builds(lc.Complete, fences, st.just(steps(1, (0, 0, 0)))),
    st.builds(
        lc.Fail, st.none() | st.sampled_from(ErrorCategory), st.just("boom"), st.just("run"),
        st.none() | fences, st.sampled_from([(), steps(1, (0, 75))]), st.booleans(), st.booleans(),
    ),
    st.builds(lc.Postpone, fences, st.just("r"), st.just(1.0), st.booleans()),
    st.just(lc.Requeue()),
    st.builds(lc.ReleaseStale, st.sampled_from("pq")),
    st.just(lc.ForceRelease("r")),
    st.just(lc.Cancel("r")),
    st.just(lc.Ignore("r")),
    st.just(lc.Restore("r")),
    st.just(lc.SetAffinity("a", AffinityReason.COST)),
    st.just(lc.Wait("r")),
)  # fmt: skip


@given(st.lists(st.tuples(events, st.integers(0, 5000)), max_size=40))
def test_no_sequence_of_events_is_unlawful(sequence):
    record, now = new(), NOW
    for event, seconds in sequence:
        now += timedelta(seconds=seconds)
        after = lc.apply(record, event, now)
        if isinstance(after, lc.Refusal):
            assert record.workset_id in after.reason
            continue
        assert after.version == record.version + 1
        assert after.fence >= record.fence and after.attempt >= record.attempt
        assert set(after.completed_steps) >= set(record.completed_steps)
        assert after.retry_count <= after.max_retries
        assert bool(after.lock_owner) == (after.state in HELD)
        assert after.state is not State.COMPLETE or after.completed_steps == STEPS
        assert (after.state is State.IN_PROGRESS) <= (not after.job_ended)
        if isinstance(event, lc.Lock | lc.TakeOver):
            assert after.fence == record.fence + 1
        record = after


def test_an_old_fence_is_refused_everywhere():
    record = lc.apply(lc.apply(new(), lc.Lock("p", "a", "r"), NOW), lc.Begin(1), NOW)
    taken = lc.apply(record, lc.TakeOver("q", "p"), NOW)
    for event in (
        lc.Begin(1), lc.Complete(1, ()), lc.Postpone(1, "r"),
        lc.Fail(ErrorCategory.DATA, "x", "run", fence=1),
    ):  # fmt: skip
        refusal = lc.apply(taken, event, NOW)
        assert isinstance(refusal, lc.Refusal) and refusal.fence_lost, event


def test_retries_end_in_a_dead_letter():
    record, delays = new(max_retries=3), []
    while record.state is not State.FAILED:
        record = lc.apply(record, lc.Fail(ErrorCategory.TRANSIENT, "x", "run"), NOW)
        if record.state is State.RETRYING:
            delays.append((record.retry_after - NOW).total_seconds())
            assert isinstance(lc.apply(record, lc.Requeue(), NOW), lc.Refusal)
            record = lc.apply(record, lc.Requeue(), record.retry_after)
    assert delays == [2, 4, 8]
    assert [retry_delay_s(n) for n in (11, 12, 10**9)] == [2048, 3600, 3600]


def test_an_unknown_error_is_tried_again_once():
    record = lc.apply(new(), lc.Fail(None, "odd", "run"), NOW)
    assert record.state is State.RETRYING
    again = lc.apply(record, lc.Requeue(), NOW + timedelta(hours=1))
    assert lc.apply(again, lc.Fail(None, "odd", "run"), NOW).state is State.FAILED


def test_a_workset_whose_job_may_run_stays_on_its_cluster():
    record = lc.apply(lc.apply(new(), lc.Lock("p", "a", "r"), NOW), lc.Begin(1), NOW)
    freed = lc.apply(record, lc.ForceRelease("r"), NOW)
    assert isinstance(lc.apply(freed, lc.Lock("q", "b", "r"), NOW), lc.Refusal)
    assert lc.apply(freed, lc.Lock("q", "a", "r"), NOW).state is State.LOCKED
