"""What is believed of a job, whatever is said of it, in whatever order, and however late."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from worksets.belief import NOTHING, Belief, Markers, Word, believe, grown, heeding
from worksets.errors import ErrorCategory
from worksets.jobs import Phase
from worksets.record import STEPS, Step

LATE_S = 60.0
AT = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = Word(Phase.RUNNING)
WAITS = Word(Phase.QUEUED, "Priority")
ENDS = Word(Phase.RUNNING, ends=True)
DONE = Word(Phase.ENDED, "COMPLETED: ended")
KILLED = Word(
    Phase.ENDED, "it ran out of memory", ErrorCategory.RESOURCE, "memory", killed=True, tells=True
)

words = st.sampled_from([None, RUNS, WAITS, DONE, KILLED])


@st.composite
def folders(draw):
    """What a job's folder may show: a prefix of its life, some of it unseen or damaged."""
    life = draw(st.integers(0, 3))
    code = draw(st.sampled_from([0, 0, 1, 137]))
    starts = dict.fromkeys(STEPS[:life], AT)
    exits = dict.fromkeys(STEPS[: max(0, life - 1)], (AT, 0))
    if life and draw(st.booleans()):
        exits[STEPS[life - 1]] = (AT, code)
    unseen = draw(st.sets(st.sampled_from(STEPS)))
    return Markers(
        steps=draw(st.sampled_from([(), STEPS])),
        starts={k: v for k, v in starts.items() if k not in unseen},
        exits={k: v for k, v in exits.items() if k not in unseen},
        submitted=draw(st.booleans()),
        claimed=bool(life) or draw(st.booleans()),
        sealed=not life and draw(st.booleans()),
        cancelled=draw(st.sampled_from([False, False, True])),
        unreadable=draw(st.sampled_from(["", "", "", "/w/a1/run.exit is empty"])),
    )


looks = st.lists(st.tuples(st.floats(0, 90), words, folders()), min_size=1, max_size=12)


def told(*looks):
    """All verdicts of a story: (seconds since the look before, word, markers) each."""
    belief, now, verdicts = NOTHING, 1000.0, []
    for wait_s, word, markers in looks:
        now += wait_s
        verdicts.append(believe(belief, "j", word, markers, now, LATE_S))
        belief = verdicts[-1].after
    return verdicts


@given(looks)
def test_an_end_needs_its_markers_or_a_word_that_nothing_contradicts_for_a_minute(story):
    doubt_s, word_of_end, ever = None, False, Markers()
    for (wait_s, word, markers), verdict in zip(story, told(*story), strict=True):
        just_begun = markers.claimed and not ever.claimed
        ever = grown(ever, markers)
        speaks = word is not None and word.phase is not Phase.ENDED
        silent = word is None and not (ever.claimed or ever.submitted)
        if speaks or silent or markers.unreadable or ever.sealed or ever.ended:
            doubt_s, word_of_end = None, False
        else:
            first = just_begun or (word is not None and not word_of_end)
            doubt_s = 0.0 if doubt_s is None or first else doubt_s + wait_s
            word_of_end = word_of_end or word is not None
        phase = verdict.status.phase
        assert (phase is Phase.ENDED) == ever.ended
        if phase is Phase.VANISHED:
            stopped = ever.cancelled and word is not None and word.killed
            assert ever.sealed or stopped or doubt_s >= LATE_S - 1e-6
        if verdict.seal:
            assert phase is Phase.VANISHED and not ever.claimed


@given(looks)
def test_evidence_only_grows(story):
    verdicts = told(*story)
    for before, after in pairwise(verdicts):
        if before.status.phase is Phase.ENDED:
            assert after.status.phase is Phase.ENDED
        seen = {mark.step: mark for mark in after.status.steps}
        for mark in before.status.steps:
            assert mark.step in seen
            assert mark.exit_code is None or seen[mark.step].exit_code is not None


@given(looks, st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_while_jobs_that_it_handed_in_are_there_nothing_is_at_its_end(story, left):
    """And they change nothing else: neither what is believed, nor what comes after them."""
    belief, now = NOTHING, 1000.0
    for (wait_s, word, markers), alone, many in zip(story, told(*story), left, strict=False):
        now += wait_s
        verdict = heeding(believe(belief, "j", word, markers, now, LATE_S), many)
        belief = verdict.after
        assert belief == alone.after
        if not many or not alone.status.over:
            assert verdict == alone
        else:
            assert verdict.cleans and verdict.status.phase is Phase.RUNNING
            assert verdict.status.steps == alone.status.steps and not verdict.seal


@given(looks)
def test_one_look_decides_nothing_that_markers_do_not_say(story):
    [verdict] = told(story[0])
    markers = story[0][2]
    if not markers.ended and not markers.sealed and not markers.cancelled:
        assert not verdict.seal and not verdict.status.over


@given(words, folders())
def test_what_cannot_be_read_is_named_and_is_no_end(word, markers):
    markers = replace(markers, unreadable="/w/a1/claim is empty", exits={}, sealed=False)
    belief = Belief(doubt_since=0.0)
    status = believe(belief, "j", word, markers, 10_000.0, LATE_S).status
    assert not status.over
    if word is None or word.phase is Phase.ENDED:
        assert status.phase is Phase.UNKNOWN and status.note == "/w/a1/claim is empty"


@given(words)
def test_exit_markers_decide_though_the_claim_cannot_be_read(word):
    whole = Markers(
        steps=STEPS, starts=dict.fromkeys(STEPS, AT), exits=dict.fromkeys(STEPS, (AT, 0)),
        unreadable="/w/a1/claim is empty",
    )  # fmt: skip
    [verdict] = told((0, word, whole))
    assert verdict.status.phase is Phase.ENDED and verdict.status.failed_step is None


def test_an_end_marker_that_is_seen_late_is_waited_for():
    begun = Markers(steps=STEPS, starts={Step.STAGE: AT}, claimed=True)
    whole = replace(
        begun, starts=dict.fromkeys(STEPS, AT), exits=dict.fromkeys(STEPS, (AT, 0))
    )  # fmt: skip
    first, second, third = told((0, DONE, begun), (4, DONE, begun), (4, DONE, whole))
    assert first.status.phase is second.status.phase is Phase.RUNNING
    assert "no end marker is seen yet" in first.status.note
    assert third.status.phase is Phase.ENDED and third.status.failed_step is None


def test_the_minute_of_a_word_begins_with_the_word_and_not_with_the_silence_before():
    """Seed 7948: a controller forgot a job that ran; it ended then, and its marker was late."""
    begun = Markers(steps=STEPS, starts={Step.STAGE: AT}, claimed=True)
    story = [(0, None, begun), (10, DONE, begun), (59, DONE, begun)]
    assert [v.status.phase for v in told(*story)] == [Phase.RUNNING] * 3
    assert told(*story, (1, DONE, begun))[-1].status.phase is Phase.VANISHED
    # forgotten after its end, as Slurm does after MinJobAge: the minute goes on
    gone = told((0, None, begun), (10, DONE, begun), (30, None, begun), (30, None, begun))
    assert [v.status.phase for v in gone[-2:]] == [Phase.RUNNING, Phase.VANISHED]


def test_a_word_that_is_taken_back_begins_no_minute():
    begun = Markers(steps=STEPS, starts={Step.STAGE: AT}, claimed=True)
    story = [(0, None, begun), (50, RUNS, begun), (50, None, begun), (59, None, begun)]
    assert [v.status.phase for v in told(*story)] == [Phase.RUNNING] * 4
    assert told(*story, (1, None, begun))[-1].status.phase is Phase.VANISHED


def test_a_job_that_was_handed_in_and_is_listed_nowhere_is_sealed_after_a_minute_only():
    handed_in = Markers(steps=STEPS, submitted=True)
    early, late = told((0, None, handed_in), (60, None, handed_in))
    assert (early.status.phase, early.seal) == (Phase.QUEUED, False)
    assert (late.status.phase, late.seal) == (Phase.VANISHED, True)
    assert told((0, None, Markers(steps=STEPS)))[0].status.phase is Phase.ABSENT


@example(KILLED)
@given(words)
def test_why_a_step_ended_badly_the_scheduler_says_better_where_it_does(word):
    bad = Markers(steps=STEPS, starts={Step.STAGE: AT}, exits={Step.STAGE: (AT, 137)}, claimed=True)
    [verdict] = told((0, word, bad))
    assert verdict.status.phase is Phase.ENDED
    assert verdict.status.exhausted == ("memory" if word is KILLED else "")


def shown(story):
    """Exit codes that any look has shown."""
    return {code for _, _, markers in story for _, code in markers.exits.values()}


@given(looks)
def test_a_step_after_which_another_began_has_ended_well_whatever_can_be_read_of_it(story):
    """Seed 179: stage's end marker was damaged, run had failed, and stage was run again."""
    for verdict in told(*story):
        marks = [mark for mark in verdict.status.steps if mark.step in verdict.after.markers.starts]
        ended = [mark.exit_code for mark, _ in pairwise(marks)]
        # 137 only where a look has shown it: of folders that contradict each other both are kept
        assert None not in ended
        assert all(code in (0, *shown(story)) for code in ended)


def test_the_markers_of_a_good_end_are_not_waited_with_until_the_scheduler_is_done():
    """COMPLETING: an epilog takes its time, or a process cannot be killed, for days."""
    well = Markers(steps=(Step.RUN,), exits={Step.RUN: (AT, 0)}, claimed=True)
    [verdict] = told((0, ENDS, well))
    assert verdict.status.phase is Phase.ENDED and verdict.status.failed_step is None


def test_why_a_step_ended_badly_is_waited_for_and_not_for_ever():
    badly = Markers(steps=(Step.RUN,), exits={Step.RUN: (AT, 137)}, claimed=True)
    first, then = told((0, ENDS, badly), (LATE_S / 2, KILLED, badly))
    assert first.status.phase is Phase.RUNNING
    assert then.status.phase is Phase.ENDED and then.status.exhausted == "memory"
    *_, last = told((0, ENDS, badly), (LATE_S / 2, ENDS, badly), (LATE_S / 2, ENDS, badly))
    assert last.status.phase is Phase.ENDED and last.status.failed_step is Step.RUN


def test_a_job_that_was_told_to_stop_says_so_whatever_its_scheduler_calls_the_end():
    failed = Word(Phase.ENDED, "Slurm says FAILED (NonZeroExitCode)", killed=True)
    seen = Markers(steps=STEPS, claimed=True, cancelled=True)
    status = believe(NOTHING, "w.a1", failed, seen, 0.0, LATE_S).status
    assert status.phase is Phase.VANISHED
    assert status.note == "it was told to stop; Slurm says FAILED (NonZeroExitCode)"
