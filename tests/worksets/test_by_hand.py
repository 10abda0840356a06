"""What Retry means, in every state that a workset can be in."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.by_hand import Meaning, meaning
from worksets.record import HELD, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(state, **fields):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="f", created_at=NOW, updated_at=NOW,
        state=state, cluster_name="c2", attempt=3, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "carried", "means", "says"),
    [
        (State.FAILED, False, Meaning.RESTORE, "after its finished steps"),
        (State.CANCELLED, False, Meaning.RESTORE, "it was cancelled"),
        (State.RETRYING, False, Meaning.HASTEN, "now"),
        (State.READY, False, Meaning.GO_ON, ""),
        (State.READY, True, Meaning.NOTHING, "is being processed already"),
        (State.IN_PROGRESS, True, Meaning.NOTHING, "attempt 3 on c2; that goes on"),
        (State.IN_PROGRESS, False, Meaning.GO_ON, ""),
        (State.LOCKED, False, Meaning.GO_ON, ""),
        (State.COMPLETE, False, Meaning.NOTHING, "complete already"),
        (State.IGNORED, False, Meaning.NOTHING, "restore it first"),
    ],
)
def test_the_table(state, carried, means, says):
    what, text = meaning(record(state), carried)
    assert what is means and says in text


@pytest.mark.parametrize(
    ("state", "means", "says"),
    [
        (State.COMPLETE, Meaning.ANEW, "begins anew"),
        (State.FAILED, Meaning.RESTORE, "all its steps run again"),
        (State.CANCELLED, Meaning.RESTORE, "all its steps run again"),
        (State.RETRYING, Meaning.NOTHING, "has not ended; cancel it first"),
        (State.READY, Meaning.NOTHING, "has not ended; cancel it first"),
    ],
)
def test_from_the_start(state, means, says):
    what, text = meaning(record(state), False, from_start=True)
    assert what is means and says in text


@given(st.sampled_from(State), st.booleans(), st.sampled_from(["", "not needed"]), st.booleans())
def test_it_is_total_and_never_begins_what_is_carried_or_to_be_cancelled(
    state, carried, cancel, from_start
):
    what, text = meaning(record(state, cancel_requested=cancel), carried, from_start)
    if (carried and state is not State.COMPLETE) or cancel:
        assert what is Meaning.NOTHING or state is State.COMPLETE
    assert what is not Meaning.ANEW or (state is State.COMPLETE and from_start)
    assert what is not Meaning.RESTORE or state not in HELD
    assert text or what is Meaning.GO_ON
