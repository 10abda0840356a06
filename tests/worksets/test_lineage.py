"""Nothing of work that was given up is taken for the new: identity, lineage, delivery."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets import events
from worksets.delivery import NotThere, Seen, Waits, Whole, judge
from worksets.errors import ConfigurationError, DataError, ErrorCategory
from worksets.inputs import inputs_of, samples_of
from worksets.jobs import is_of, work_paths
from worksets.lifecycle import Refusal, apply
from worksets.record import STEPS, Delivery, State, StepRun
from worksets.registration import describe, new_record
from worksets.spec import parse_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TWO = b"""
samples: [{sample_id: s1, fastq_r1: s1.fq.gz}, {sample_id: s2, fastq_r1: s2.fq.gz}]
reference_genome: hg38
customer_id: c
"""
ONE = b"samples: [{sample_id: s2, fastq_r1: s2.fq.gz}]\nreference_genome: hg38\ncustomer_id: c\n"


def described(text=TWO, files="f1"):
    return describe(parse_spec(text).spec, "", 3, delivery=Delivery(spec="1", files=files))


def record(**changes):
    new = new_record("w", "file:///w", NOW, described())
    return new.model_copy(update={"uid": "k3f9qa-abc234", **changes})


def happens(record, *what):
    for event in what:
        after = apply(record, event, NOW)
        assert not isinstance(after, Refusal), after
        record = after
    return record


def ran(record, *steps, attempt=None):
    return tuple(
        StepRun(
            step=step, attempt=attempt or record.attempt, cluster_name="a", exit_code=0,
            started_at=NOW, ended_at=NOW,
        )
        for step in steps
    )  # fmt: skip


def begun(record):
    held = happens(record, events.Lock("p", "a", "r"))
    return happens(held, events.Begin(held.fence))


def failed(record, category, *steps, **more):
    event = events.Fail(
        category, "x", "run", record.fence, ran(record, *steps), job_ended=True, **more
    )
    return happens(record, event)


def again(record):
    later = NOW + timedelta(hours=2)
    if record.state is State.RETRYING:
        record = apply(record, events.Requeue(), later)
    return record


def test_a_retry_stays_in_its_lineage_and_goes_on_after_its_steps():
    first = failed(begun(record()), ErrorCategory.TRANSIENT, "stage")
    ready = happens(again(first), events.Describe(described()))
    assert (ready.lineage, ready.completed_steps) == (1, ("stage",))
    assert begun(ready).job_name == "w.k3f9qa-abc234.a2"


@pytest.mark.parametrize(
    "now",
    [
        described(ONE),
        described(TWO.replace(b"hg38", b"b37")),
        described(TWO + b"pipeline: somatic\n"),
        described(files="delivered again"),
        described(TWO.replace(b"s1.fq.gz", b"s1_new.fq.gz")),
    ],
    ids=["sample withdrawn", "reference", "pipeline", "files", "another file"],
)
def test_other_work_begins_a_lineage_that_is_empty(now):
    ready = again(failed(begun(record()), ErrorCategory.TRANSIENT, "stage"))
    after = happens(ready, events.Describe(now))
    assert (after.lineage, after.completed_steps, after.state) == (2, (), State.READY)
    old, new = (work_paths("/shared", r.home, r.lineage, 1) for r in (ready, after))
    assert old.results != new.results and old.inputs != new.inputs and old.work_dir != new.work_dir
    # once: the same is described again and again
    assert happens(after, events.Describe(now)).lineage == 2


def test_before_the_first_attempt_a_change_is_no_other_work():
    assert happens(record(), events.Describe(described(ONE))).lineage == 1


@pytest.mark.parametrize(
    ("category", "from_start", "lineage"),
    [("data", None, 2), ("transient", None, 1), ("transient", True, 2), ("data", False, 1)],
)
def test_a_restored_workset_that_starts_anew_has_a_new_lineage(category, from_start, lineage):
    dead = failed(begun(record()), ErrorCategory(category), "stage", retry_enabled=False)
    after = happens(dead, events.Restore("put right", from_start))
    assert after.lineage == lineage
    assert after.completed_steps == (() if lineage == 2 else ("stage",))


def test_what_an_attempt_of_an_earlier_lineage_did_counts_no_more_however_late_it_is_heard():
    one = begun(record())
    dead = happens(one, events.Fail(ErrorCategory.DATA, "an operator's word", "run"))
    assert not dead.job_ended
    ready = happens(dead, events.Restore("again", True))
    held = happens(ready, events.Lock("p", "a", "r"))
    # its old job is met now, and had done everything
    two = happens(held, events.Begin(held.fence, ran(held, *STEPS, attempt=1)))
    assert two.completed_steps == () and len(two.step_runs) == 3
    refusal = apply(two, events.Complete(two.fence, ran(two, *STEPS, attempt=1)), NOW)
    assert isinstance(refusal, Refusal) and "cannot be complete" in refusal.reason
    assert happens(two, events.Complete(two.fence, ran(two, *STEPS))).state is State.COMPLETE


def test_a_workset_that_comes_again_under_its_name_is_another():
    one = begun(record())
    done = happens(one, events.Complete(one.fence, ran(one, *STEPS)))
    told = happens(done, events.Redelivered("2", "something new"))
    assert isinstance(apply(told, events.Redelivered("2", "something new"), NOW), Refusal)
    new = happens(told, events.RegisterAgain("k3f9qa-def567", "the second delivery"))
    assert (new.state, new.attempt, new.lineage, new.step_runs) == (State.READY, 0, 1, ())
    assert new.fence > done.fence and new.version == told.version + 1
    assert {entry.event for entry in new.history} >= {"Complete", "Redelivered", "RegisterAgain"}
    assert begun(new).job_name == "w.k3f9qa-def567.a1" != one.job_name
    assert isinstance(apply(one, events.RegisterAgain("x", "not yet"), NOW), Refusal)


def test_jobs_of_another_installation_are_none_of_ours():
    assert is_of("w.k3f9qa-abc234.a1", "k3f9qa") and is_of("w.x.k3f9qa-abc234.a12", "k3f9qa")
    for other in ("w.other2-abc234.a1", "w.a1", "k3f9qa", "w.k3f9qa-abc234", "w.k3f9qa-abc.b1"):
        assert not is_of(other, "k3f9qa")


def test_a_record_without_a_uid_keeps_the_names_and_places_of_its_release():
    old = record(uid="", lineage=0)
    assert begun(old).job_name == "w.a1"
    assert work_paths("/shared", old.home, 0, 1).inputs == "/shared/w/inputs"
    assert work_paths("/shared", old.home, 0, 1).job_dir == "/shared/w/jobs/a1"


# --- Delivery ---

WAIT_S, QUIET_S = 3600, 5


def seen(age_s=60.0, size=10, stamp="a"):
    return Seen(size, stamp, NOW - timedelta(seconds=age_s))


def judged(look, known=None, now=NOW):
    return judge(look, known or record(), now, QUIET_S, WAIT_S)


def test_what_is_there_and_quiet_is_whole():
    verdict = judged({"a": seen(), "b": Seen(7, "etag")})
    assert isinstance(verdict, Whole) and verdict.sizes == {"a": 10, "b": 7}


@pytest.mark.parametrize(
    ("look", "says"),
    [
        ({"a": seen(), "b": NotThere("b is not in /in; deliver the file")}, "b: b is not in /in"),
        ({"a": NotThere("a is empty (0 bytes)")}, "empty"),
        ({"a": seen(age_s=1)}, "a is still being written"),
        ({"a": seen(age_s=-3600)}, "a is still being written"),
    ],
)
def test_what_is_missing_or_moving_is_waited_for_with_its_reason(look, says):
    verdict = judged(look)
    assert isinstance(verdict, Waits) and says in verdict.reason and verdict.again_s > 0
    held = happens(record(), events.AwaitDelivery(verdict.reason, verdict.looked))
    assert held.state is State.READY and says in held.placement_reason
    assert isinstance(apply(held, events.Lock("p", "a", "r"), NOW), Refusal)
    assert happens(held, events.Describe(described())).awaits == ""


def test_a_wait_ends_an_hour_after_the_last_change():
    missing = {"a": seen(), "b": NotThere("b is not there")}
    verdict = judged(missing)
    held = happens(record(), events.AwaitDelivery(verdict.reason, verdict.looked))
    assert isinstance(judged(missing, held, NOW + timedelta(seconds=WAIT_S - 1)), Waits)
    with pytest.raises(DataError, match=r"b: b is not there \(waited for 60 minutes\)"):
        judged(missing, held, NOW + timedelta(seconds=WAIT_S))
    grown = {"a": seen(size=20, stamp="b"), "b": missing["b"]}
    verdict = judged(grown, held, NOW + timedelta(seconds=WAIT_S))
    assert isinstance(verdict, Waits), "one of them has grown: the wait begins anew"


def test_a_file_from_another_clock_is_quiet_after_two_equal_looks():
    look = {"a": seen(age_s=-3600)}
    held = happens(record(), events.AwaitDelivery("x", judged(look).looked))
    assert isinstance(judged(look, held, NOW + timedelta(seconds=QUIET_S - 1)), Waits)
    assert isinstance(judged(look, held, NOW + timedelta(seconds=QUIET_S)), Whole)


def test_what_can_never_be_staged_is_told_at_once_and_all_of_it():
    look = {"a": DataError("a leads out"), "b": DataError("b is a folder"), "c": seen(1)}
    with pytest.raises(DataError, match=r"(?s)a: a leads out.*b: b is a folder"):
        judged(look)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.one_of(
            st.builds(Seen, st.integers(1, 9), st.sampled_from("xy"), st.none()),
            st.builds(lambda s: seen(s), st.floats(-10, 100)),
            st.just(NotThere("x")),
        ),
        min_size=1,
    ),
    st.integers(0, 10_000),
)
def test_nothing_is_whole_while_anything_is_missing_or_young(look, seconds):
    try:
        verdict = judged(look, now=NOW + timedelta(seconds=seconds))
    except DataError:
        return
    young = [
        s for s in look.values()
        if isinstance(s, Seen) and s.changed_at
        and (NOW + timedelta(seconds=seconds) - s.changed_at).total_seconds() < QUIET_S
    ]  # fmt: skip
    if any(isinstance(s, DataError) for s in look.values()) or young:
        assert isinstance(verdict, Waits)


# --- Inputs ---


def test_files_of_other_folders_lie_in_the_customers_inputs_and_never_meet():
    text = b"""
samples:
- sample_id: s1
  fastq_r1: [s3://data/c/L1/x_R1.fastq.gz, s3://data/c/L2/x_R1.fastq.gz]
  fastq_r2: [s3://data/in/w/fq/x_R2.FASTQ.BZ2, fq/y_R2.fq]
  md5: [d41d8cd98f00b204e9800998ecf8427e, D41D8CD98F00B204E9800998ECF8427E,
        d41d8cd98f00b204e9800998ecf8427e, d41d8cd98f00b204e9800998ecf8427e]
reference_genome: hg38
"""
    spec = parse_spec(text).spec
    found = inputs_of(spec, "s3://data/in/w", ("s3://data/c",))
    assert [entry.name for entry in found] == [
        "elsewhere/s1/1/x_R1.fastq.gz", "elsewhere/s1/2/x_R1.fastq.gz", "fq/x_R2.FASTQ.BZ2",
        "fq/y_R2.fq",
    ]  # fmt: skip
    assert found[0].root == "s3://data/c" and found[2].uri == ""
    assert {entry.md5 for entry in found} == {"d41d8cd98f00b204e9800998ecf8427e"}
    [sample] = samples_of(spec, found)
    assert sample["fastq_r2"] == ["fq/x_R2.FASTQ.BZ2", "fq/y_R2.fq"]
    with pytest.raises(ConfigurationError, match="nor in one of its customer's inputs"):
        inputs_of(spec, "s3://data/in/w", ("s3://data/other",))


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ("fastq_r1: [a.fq, b.fq], fastq_r2: c.fq", "fastq_r1 has 2 files and fastq_r2 1"),
        ("fastq_r1: [a.fq, a.fq]", "the same file"),
        ("fastq_r1: []", "1 to 64"),
        ("fastq_r1: [[a.fq]]", "each file of the list is a text"),
        ("fastq_r1: a.bam", "ends in"),
        ("fastq_r1: a.fq, md5: abc", "no md5"),
        ("fastq_r1: a.fq, sha256: [x, y]", "2 checksums for 1 files"),
        ("fastq_r1: 'file:///data/../a.fq'", "plainly"),
        ("fastq_r1: 'ftp://host/a.fq'", "plainly"),
    ],
)
def test_lanes_uris_and_checksums_that_are_wrong_say_how(sample, says):
    text = f"samples: [{{sample_id: s1, {sample}}}]\nreference_genome: hg38\n"
    with pytest.raises(ConfigurationError, match=says):
        parse_spec(text.encode())


def staged():
    """A second attempt that runs, after the first one has staged."""
    return begun(again(failed(begun(record()), ErrorCategory.TRANSIENT, "stage")))


def test_what_is_lost_with_its_cluster_begins_anew_elsewhere_without_a_retry():
    one = staged()
    assert one.state is State.IN_PROGRESS and not one.job_ended
    gone = happens(one, events.Lost("hpc1 was switched off"))
    assert (gone.state, gone.retry_count, gone.lock_owner) == (State.READY, one.retry_count, "")
    assert gone.pinned_cluster == "" and gone.completed_steps == () and gone.job_ended
    assert (gone.lineage, gone.fence) == (one.lineage + 1, one.fence + 1)
    assert "hpc1 was switched off" in gone.history[-1].note
    assert isinstance(apply(gone, events.Lost("again"), NOW), Refusal)


def test_what_was_to_be_cancelled_on_a_lost_cluster_is_cancelled():
    one = happens(staged(), events.Cancel("wrong samples"))
    assert one.state is State.IN_PROGRESS
    assert happens(one, events.Lost("gone")).state is State.CANCELLED


def test_a_dead_letter_whose_job_may_still_run_is_free_once_its_cluster_is_lost():
    one = staged()
    dead = happens(one, events.Fail(ErrorCategory.PERMANENT, "an operator's word", "run"))
    assert not dead.job_ended and dead.pinned_cluster
    gone = happens(dead, events.Lost("gone"))
    assert gone.state is State.FAILED and gone.pinned_cluster == ""
