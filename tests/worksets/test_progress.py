"""How far a job has come, by its log or by the clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.config import Pipeline
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.progress import KNOWN, progress, told_by
from worksets.record import Step

AT = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
SNAKEMAKE = """
[Thu Nov 26 21:00:00 2026]
Finished jobid: 3 (Rule: align)
4 of 12 steps (33%) done
select jobs to execute...
5 of 12 steps (42%) done
[Thu Nov 26 21:00:07 2026]
"""
NEXTFLOW = """
[6b/d42ed1] process > FASTQC (s1)  [ 50%] 1 of 2
[1a/77a0c3] process > ALIGN (s1)   [  0%] 0 of 2
[6b/d42ed2] process > FASTQC (s2)  [100%] 2 of 2 ✔
"""


def running(*steps):
    """A job of which these steps were begun, the last of them now."""
    marks = [StepMarkers(step, AT, AT + timedelta(minutes=1), 0) for step in steps[:-1]]
    return JobStatus("w.a1", Phase.RUNNING, (*marks, StepMarkers(steps[-1], AT)))


@pytest.mark.parametrize(
    ("log", "pattern", "percent", "said"),
    [
        (SNAKEMAKE, "", 500 / 12, "5 of 12 steps (42%) done"),
        (NEXTFLOW, "", 50.0, "2 of 4"),
        ("sample 3/4\nsample 4/4 begins", r"sample (?P<done>\d+)/(?P<total>\d+)", 100.0, "4/4"),
        ("12.5% aligned\n", r"(?P<percent>[\d.]+)% aligned", 12.5, "12.5% aligned"),
        (SNAKEMAKE, r"(?P<percent>\d+)% aligned", 50.0, "such a workset takes about 2 h"),
        ("9 of 4 steps (225%) done", "", 50.0, "takes about 2 h"),
        ("0 of 0 steps (0%) done", "", 50.0, "takes about 2 h"),
        ("", "", 50.0, "takes about 2 h"),
    ],
)
def test_the_last_word_of_the_log_counts_and_else_the_clock(log, pattern, percent, said):
    status = running(Step.STAGE, Step.RUN)
    found, told = progress(status, log, pattern, 2.0, AT + timedelta(hours=1))
    assert found == pytest.approx(percent) and said in told
    assert told.startswith("run since 12:30 UTC")


def test_the_clock_never_says_that_it_is_over_and_without_an_estimate_says_nothing():
    status = running(Step.STAGE, Step.RUN)
    assert progress(status, "", "", 1.0, AT + timedelta(days=1))[0] == 99.0
    percent, told = progress(status, "", "", 0.0, AT + timedelta(days=1))
    assert percent == 0.0 and "tells nothing" in told
    assert progress(status, "", "", 1.0, AT - timedelta(hours=1))[0] == 0.0, "a clock that is off"


def test_the_other_steps_are_before_and_after():
    assert progress(running(Step.STAGE), SNAKEMAKE, "", 1, AT) == (0.0, "stage since 12:30 UTC")
    last = running(Step.STAGE, Step.RUN, Step.EXPORT)
    assert progress(last, SNAKEMAKE, "", 1, AT) == (100.0, "export since 12:30 UTC")
    assert progress(JobStatus("w.a1", Phase.QUEUED), "", "", 1, AT) is None


@given(st.text(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_whatever_a_log_holds_it_is_a_share_or_nothing(text, done, total):
    log = f"{text}\n{done} of {total} steps (7%) done {text}\nprocess > {text} [ 1%] 3 of {total}"
    found = told_by(log, KNOWN)
    assert found is None or (0 <= found[0] <= 100 and len(found[1]) <= 121)


@pytest.mark.parametrize("pattern", ["(", r"\d+%", r"(?P<done>\d+)", "x" * 501])
def test_a_pattern_that_can_tell_nothing_is_refused_with_an_example(pattern):
    with pytest.raises(ValueError, match="progress"):
        Pipeline(run=("x",), progress=pattern)
