"""What was used: sums in which nothing that was not measured counts as nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.record import Step, StepRun, Took
from worksets.used import Used, by_markers

AT = datetime(2026, 1, 1, tzinfo=UTC)
# quarters add up exactly
hours = st.integers(0, 4000).map(lambda quarters: quarters / 4)
useds = st.builds(Used, st.integers(0, 9), hours, st.none() | hours, st.none() | hours)


@given(useds, useds, useds)
def test_a_sum_is_the_same_in_whatever_order(a, b, c):
    assert a + b == b + a and (a + b) + c == a + (b + c) and a + Used() == a


@given(useds, useds)
def test_hours_add_up_and_the_largest_memory_stays(a, b):
    both = a + b
    assert (both.jobs, both.vcpu_hours) == (a.jobs + b.jobs, a.vcpu_hours + b.vcpu_hours)
    known = [used.cpu_hours for used in (a, b) if used.cpu_hours is not None]
    assert both.cpu_hours == (sum(known) if known else None)
    peaks = [used.peak_gb for used in (a, b) if used.peak_gb is not None]
    assert both.peak_gb == (max(peaks) if peaks else None)


def test_busy_is_the_part_of_what_was_set_aside():
    assert Used(1, 8.0, 2.0).busy == 0.25
    assert Used(1, 8.0).busy is None and Used(1, 0.0, 2.0).busy is None


def test_markers_say_the_time_on_the_vcpus_of_a_workset_and_what_its_processes_took():
    def run(step, minutes, took=None):
        return StepRun(step=step, attempt=1, cluster_name="a", exit_code=0, started_at=AT,
                       ended_at=AT + timedelta(minutes=minutes), took=took)  # fmt: skip

    took = Took(cpu_s=5400, peak_gb=3.5)
    found = by_markers([run(Step.STAGE, 30), run(Step.RUN, 90, took)], 4)
    assert found == Used(1, pytest.approx(8.0), 1.5, 3.5)
    assert by_markers([run(Step.STAGE, 30)], 1) == Used(1, 0.5)
