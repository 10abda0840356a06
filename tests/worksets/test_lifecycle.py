"""No sequence of events reaches an illegal state."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worksets import events as ev
from worksets import lifecycle as lc
from worksets.errors import ErrorCategory, retry_delay_s
from worksets.record import (
    HELD,
    MAX_HISTORY,
    STEPS,
    UNFINISHED,
    AffinityReason,
    Priority,
    State,
    StepRun,
    WorksetRecord,
)
from worksets.registration import Description, new_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(**fields):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW,
        **fields,
    )  # fmt: skip


class LifeCycle(RuleBasedStateMachine):
    """One workset, two processes and an operator, who do anything at any time.

    Each process remembers the fence it was given, as a real one does, and may show it long after
    the workset has changed hands.
    """

    owners = st.sampled_from("pq")

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.record = new()
        self.fences = {"p": 0, "q": 0}
        self.since = 0

    def send(self, event):
        before, after = self.record, lc.apply(self.record, event, self.now)
        if isinstance(after, lc.Refusal):
            assert before.workset_id in after.reason
            return None
        assert after.version == before.version + 1
        assert after.fence >= before.fence and after.attempt >= before.attempt
        moved = isinstance(event, ev.Lock) and event.cluster_name != before.cluster_name
        if moved and before.completed_steps:
            assert before.clusters_fault and before.only_staged
        elif not isinstance(event, ev.Restore):
            assert set(after.completed_steps) >= set(before.completed_steps)
        if before.completed_steps and not after.completed_steps:
            self.since = len(after.step_runs)
        self.record = after
        return after

    @rule(seconds=st.integers(0, 5000))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(owner=owners, cluster=st.sampled_from("ab"))
    def lock(self, owner, cluster):
        before = self.record
        if self.send(ev.Lock(owner, cluster, "r")):
            assert before.state is State.READY
            assert before.pinned_cluster in ("", cluster)
            self.fences[owner] = self.record.fence
            assert self.record.fence == before.fence + 1

    @rule(owner=owners, previous=owners)
    def take_over(self, owner, previous):
        fence = self.record.fence
        if self.send(ev.TakeOver(owner, previous)):
            self.fences[owner] = self.record.fence
            assert self.record.fence == fence + 1

    def holder_writes(self, owner, event):
        holds = self.record.state in HELD and self.fences[owner] == self.record.fence
        accepted = self.send(event) is not None
        assert holds or not accepted, "a write with an old fence was taken"

    @rule(owner=owners)
    def begin(self, owner):
        before = self.record
        self.holder_writes(owner, ev.Begin(self.fences[owner]))
        if self.record.attempt > before.attempt:
            assert before.state is State.LOCKED and self.record.attempt == before.attempt + 1

    @rule(owner=owners, codes=st.sampled_from([(0,), (0, 0), (0, 0, 0)]))
    def complete(self, owner, codes):
        runs = steps_from(self.record, codes)
        self.holder_writes(owner, ev.Complete(self.fences[owner], runs))

    @rule(
        owner=owners,
        category=st.none() | st.sampled_from(ErrorCategory),
        codes=st.sampled_from([(), (75,), (0, 75), (0, 0, 75)]),
        ended=st.booleans(),
        enabled=st.booleans(),
        fault=st.booleans(),
    )
    def job_fails(self, owner, category, codes, ended, enabled, fault):
        runs = steps_from(self.record, codes)
        failed = runs[-1].step.value if runs else "run"
        event = ev.Fail(
            category, "boom", failed, self.fences[owner], runs,
            job_ended=ended, retry_enabled=enabled, clusters_fault=fault,
        )  # fmt: skip
        # a fence is also shown by the validation of a ready workset; nobody holds it then
        if self.record.state in HELD:
            self.holder_writes(owner, event)

    @rule(owner=owners, ended=st.booleans())
    def postpone(self, owner, ended):
        self.holder_writes(owner, ev.Postpone(self.fences[owner], "r", 1.0, ended))

    @rule(fence=st.integers(0, 30) | st.none(), codes=st.sampled_from([(), (143,), (0, 0, 0)]))
    def the_job_is_seen_at_its_end(self, fence, codes):
        before, runs = self.record, steps_from(self.record, codes)
        fence = before.fence if fence is None else fence
        if self.send(ev.Stopped(fence, runs)):
            assert before.cancel_requested and fence == before.fence
            assert self.record.state is State.CANCELLED

    @rule(
        event=st.one_of(
            st.just(ev.Requeue()),
            st.just(ev.Hasten("r")),
            st.builds(ev.Wait, st.just("r"), st.booleans()),
            st.builds(ev.Owe, st.sampled_from(["w.a1", "w.a2"]), st.just("stuck"), st.just("m")),
            st.builds(ev.Unsettled, st.integers(0, 9), st.just("r"), st.just(60.0)),
            st.builds(ev.ReleaseStale, st.sampled_from("pq")),
            st.just(ev.ForceRelease("r")),
            st.just(ev.Cancel("r")),
            st.just(ev.Ignore("r")),
            st.builds(ev.Restore, st.just("r"), st.sampled_from([None, True, False])),
            st.just(ev.SetAffinity("a", AffinityReason.COST)),
            st.builds(ev.SetPriority, st.sampled_from(Priority), st.just("r")),
            st.just(ev.Wait("r")),
            st.builds(ev.Fail, st.sampled_from(ErrorCategory), st.just("operator"), st.just("run")),
        )
    )
    def operator_or_poller(self, event):
        before = self.record
        if self.send(event) and before.state in HELD and self.record.state not in HELD:
            assert self.record.fence > before.fence, "its old holder could still write"

    @invariant()
    def lawful(self):
        record = self.record
        assert record.retry_count <= record.max_retries
        assert bool(record.lock_owner) == (record.state in HELD) == bool(record.scopes)
        assert record.state is not State.COMPLETE or record.completed_steps == STEPS
        assert record.state is not State.IN_PROGRESS or not record.job_ended
        assert (record.retry_after is not None) == (record.state is State.RETRYING)
        # since an operator last had it start anew
        ended_well = [run.step for run in record.step_runs[self.since :] if run.exit_code == 0]
        assert len(ended_well) == len(set(ended_well)), "a finished step ran again"
        assert len(record.history) <= MAX_HISTORY
        waits_for_its_job = record.state in UNFINISHED and not record.job_ended
        assert not record.cancel_requested or waits_for_its_job
        assert record.state is not State.CANCELLED or record.job_ended


def steps_from(record, codes):
    """What a job of the record's attempt leaves: its remaining steps, with these exit codes."""
    remaining = [step for step in STEPS if step not in record.completed_steps]
    return tuple(
        StepRun(
            step=step, attempt=record.attempt, cluster_name=record.cluster_name or "a",
            exit_code=code, started_at=NOW, ended_at=NOW,
        )
        for step, code in zip(remaining, codes, strict=False)
    )  # fmt: skip


LifeCycle.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestLifeCycle = LifeCycle.TestCase


def test_an_old_fence_is_refused_everywhere():
    record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
    taken = lc.apply(record, ev.TakeOver("q", "p"), NOW)
    for event in (
        ev.Begin(1), ev.Complete(1, ()), ev.Postpone(1, "r"),
        ev.Fail(ErrorCategory.DATA, "x", "run", fence=1),
    ):  # fmt: skip
        refusal = lc.apply(taken, event, NOW)
        assert isinstance(refusal, lc.Refusal) and refusal.fence_lost, event


def test_retries_end_in_a_dead_letter():
    record, delays = new(max_retries=3), []
    while record.state is not State.FAILED:
        record = lc.apply(record, ev.Fail(ErrorCategory.TRANSIENT, "x", "run"), NOW)
        if record.state is State.RETRYING:
            delays.append((record.retry_after - NOW).total_seconds())
            assert isinstance(lc.apply(record, ev.Requeue(), NOW), lc.Refusal)
            record = lc.apply(record, ev.Requeue(), record.retry_after)
    assert delays == [2, 4, 8]
    assert [retry_delay_s(n) for n in (11, 12, 10**9)] == [2048, 3600, 3600]


def test_an_unknown_error_is_tried_again_once():
    record = lc.apply(new(), ev.Fail(None, "odd", "run"), NOW)
    assert record.state is State.RETRYING
    again = lc.apply(record, ev.Requeue(), NOW + timedelta(hours=1))
    assert lc.apply(again, ev.Fail(None, "odd", "run"), NOW).state is State.FAILED


def test_a_workset_whose_job_may_run_stays_on_its_cluster():
    record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
    freed = lc.apply(record, ev.ForceRelease("r"), NOW)
    assert isinstance(lc.apply(freed, ev.Lock("q", "b", "r"), NOW), lc.Refusal)
    assert lc.apply(freed, ev.Lock("q", "a", "r"), NOW).state is State.LOCKED


def test_a_running_workset_is_cancelled_when_its_job_has_ended_and_not_before():
    record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
    asked = lc.apply(record, ev.Cancel("enough"), NOW)
    assert asked.state is State.IN_PROGRESS and asked.scopes, "its job still takes the slot"
    runs = steps_from(asked, (0, 143))
    failed = ev.Fail(ErrorCategory.TRANSIENT, "killed", "run", 1, runs, job_ended=True)
    ended = lc.apply(asked, failed, NOW)
    assert (ended.state, ended.retry_after, ended.retry_count) == (State.CANCELLED, None, 0)
    done = lc.apply(asked, ev.Complete(1, steps_from(asked, (0, 0, 0))), NOW)
    assert done.state is State.COMPLETE, "it was faster than the word"
    assert not done.cancel_requested, "and nothing is to be cancelled any more"
    freed = lc.apply(asked, ev.ForceRelease("r"), NOW)
    assert isinstance(lc.apply(freed, ev.Lock("q", "a", "r"), NOW), lc.Refusal)
    assert lc.apply(freed, ev.Stopped(freed.fence), NOW).state is State.CANCELLED


def test_what_ran_out_is_counted_for_the_next_attempt():
    record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
    for kind, counts in (("memory", (1, 0)), ("time", (0, 1)), ("", (0, 0))):
        event = ev.Fail(ErrorCategory.RESOURCE, "x", "run", fence=1, job_ended=True, exhausted=kind)
        after = lc.apply(record, event, NOW)
        assert (after.out_of_memory, after.out_of_time) == counts


def test_redelivered_data_are_staged_again_and_other_failures_go_on_where_they_were():
    for category, from_start, kept in (
        (ErrorCategory.DATA, None, ()),
        (ErrorCategory.DATA, False, (STEPS[0],)),
        (ErrorCategory.PERMANENT, None, (STEPS[0],)),
        (ErrorCategory.PERMANENT, True, ()),
    ):
        record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
        runs = steps_from(record, (0, 65))
        failed = lc.apply(record, ev.Fail(category, "x", "run", 1, runs, job_ended=True), NOW)
        assert failed.state is State.FAILED and failed.completed_steps == (STEPS[0],)
        back = lc.apply(failed, ev.Restore("again", from_start), NOW)
        assert (back.state, back.retry_count, back.completed_steps) == (State.READY, 0, kept)
        assert back.attempt == 1 and back.history[:-1] == failed.history
        assert back.pinned_cluster == ("a" if kept else "")


def test_a_workset_that_its_cluster_failed_may_be_staged_again_elsewhere_and_no_other_may():
    for fault, codes, free in (
        (True, (0, 137), True),
        (False, (0, 137), False),
        (True, (0, 0, 137), False),
        (False, (137,), True),
    ):
        record = lc.apply(lc.apply(new(), ev.Lock("p", "a", "r"), NOW), ev.Begin(1), NOW)
        failed = ev.Fail(
            ErrorCategory.TRANSIENT, "x", "run", 1, steps_from(record, codes),
            job_ended=True, clusters_fault=fault,
        )  # fmt: skip
        ready = lc.apply(lc.apply(record, failed, NOW), ev.Requeue(), NOW + timedelta(hours=1))
        moved = lc.apply(ready, ev.Lock("q", "b", "r"), NOW)
        assert moved.state is State.LOCKED if free else isinstance(moved, lc.Refusal), codes
        if free:
            assert moved.completed_steps == ()
        stayed = lc.apply(ready, ev.Lock("q", "a", "r"), NOW)
        assert stayed.completed_steps == STEPS[: codes.index(137)]


def test_an_operators_priority_stands_before_the_files():
    record = new_record("w", "file:///w", NOW, None)
    after = lc.apply(record, ev.SetPriority(Priority.URGENT, "a newborn"), NOW)
    said = Description(
        customer_id="c", priority=Priority.LOW, pipeline="p", reference_genome="hg38",
        max_retries=3, preferred_cluster="", cluster_required=False,
    )  # fmt: skip
    assert lc.apply(after, ev.Describe(said), NOW).priority is Priority.URGENT
    assert lc.apply(record, ev.Describe(said), NOW).priority is Priority.LOW
