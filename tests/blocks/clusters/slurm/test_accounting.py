"""What sacct says that attempts took."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.clusters.slurm.accounting import parse_used, used_shell
from worksets.used import Used

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=1)
AT = int(BEGIN.timestamp())


def parsed(text):
    return parse_used(text, "me", BEGIN, END)


def test_an_attempt_has_its_own_job_and_those_that_bear_its_name_as_wckey():
    text = f"""\
7|w1.me-x.a1||{AT + 60}|3600|00:30.500|
7.batch|batch||{AT + 60}|3600|00:30.500|1.50G
8|rule_align|w1.me-x.a1|{AT + 50}|7200|01:30:00|
8.0|bwa|w1.me-x.a1|{AT + 50}|7200|01:30:00|4096M
9|rule_align|w1.other-x.a1|{AT + 50}|7200|01:30:00|
10|w2.me-y.a3|(null)|{AT}|360|1-00:00:00|
"""
    found = parsed(text)
    assert found == {
        "w1.me-x.a1": Used(2, 3.0, pytest.approx(1.5 + 30.5 / 3600), 4096 * 2**20 / 1e9),
        "w2.me-y.a3": Used(1, 0.1, 24.0, None),
    }
    assert found["w1.me-x.a1"].busy == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("end", ["Unknown", str(AT - 1), str(int(END.timestamp()))])
def test_only_what_ended_in_that_time_counts(end):
    assert parsed(f"7|w1.me-x.a1||{end}|3600|00:30|\n7.batch|||{end}|1|00:30|1G\n") == {}


@given(st.text())
def test_rubbish_is_passed_over(text):
    parsed(text)
    parsed(f"7|w1.me-x.a1||{AT}|1|{text.replace('|', '').strip()}|{text.replace('|', '')}")


def test_times_are_said_in_utc():
    there = BEGIN.astimezone(tz=None)
    assert "-S 2026-01-01T00:00:00 -E 2026-01-02T00:00:00" in used_shell(there, END)
