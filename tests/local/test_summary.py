"""What is said at the end of a run: of the demo what was expected, of one's own what to do."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from local.progress import tell_odd
from local.summary import is_odd, summarize
from worksets.capacity import ClusterView, Limits
from worksets.record import State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def summary(expected, *states):
    records = [
        WorksetRecord(
            workset_id=f"w{n}", customer_id="c", location="f", created_at=NOW, updated_at=NOW,
            state=state, error_details="its lane 2 is cut off; deliver it again",
        )
        for n, state in enumerate(states)
    ]  # fmt: skip
    views = [ClusterView(name="a", max_concurrent_worksets=1)]
    return summarize(records, expected, views, Limits(max_worksets=1), "")["worksets"]


@pytest.mark.parametrize(
    ("state", "odd"),
    [
        (State.COMPLETE, False),
        (State.CANCELLED, False),
        (State.IGNORED, False),
        (State.FAILED, True),
        (State.READY, True),
        (State.RETRYING, True),
    ],
)
def test_of_ones_own_a_cancel_is_in_order_and_a_dead_letter_is_not(state, odd):
    (workset,) = summary({}, state)
    assert workset["expected_state"] is None and is_odd(workset) is odd


def test_of_the_demo_a_dead_letter_may_be_what_was_expected():
    expected = {"w0": "failed"}
    one, other = summary(expected, State.FAILED, State.CANCELLED)
    assert not is_odd(one) and is_odd(other)


def test_it_is_said_why_and_how_it_is_brought_back():
    out = io.StringIO()
    tell_odd(Console(file=out, width=200), summary({}, *[State.FAILED] * 4))
    told = out.getvalue()
    assert "w0 is failed: its lane 2 is cut off; deliver it again" in told
    assert "expected" not in told
    assert "worksets retry w0 w1 w2 …; all of them: worksets redrive --all" in told
    out = io.StringIO()
    tell_odd(Console(file=out, width=200), summary({"x": "complete"}, State.FAILED))
    assert "w0 is failed, expected was complete" in out.getvalue()
    assert "redrive" not in out.getvalue()
