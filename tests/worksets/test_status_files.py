"""What a folder says of its workset, in every state."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.record import State, WorksetRecord
from worksets.status_files import COMPLETE, ERROR, IN_PROGRESS, NAMES, status_file

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(state, **fields):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="f", created_at=NOW, updated_at=NOW,
        state=state, cluster_name="a", attempt=2, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "fields", "name", "says"),
    [
        (State.LOCKED, {}, IN_PROGRESS, "on a"),
        (State.IN_PROGRESS, {}, IN_PROGRESS, "attempt 2 on a"),
        (State.RETRYING, {"error_details": "no route"}, IN_PROGRESS, "by itself; no route"),
        (State.COMPLETE, {}, COMPLETE, "attempt 2 on a"),
        (State.FAILED, {"failed_step": "run", "error_details": "x"}, ERROR, "failed; run: x"),
        (State.CANCELLED, {}, ERROR, "cancelled"),
    ],
)
def test_each_state_that_says_something(state, fields, name, says):
    found, text = status_file(record(state, **fields))
    assert found == name and says in text and text.startswith("2026-01-01 00:00:00 UTC: ")


@given(st.sampled_from(State), st.text(max_size=50))
def test_it_is_total_and_a_reason_is_harmless(state, reason):
    said = status_file(record(state, error_details=reason))
    assert said is None or (said[0] in NAMES and "\x1b" not in said[1])
    assert (said is None) == (state in (State.READY, State.IGNORED))
