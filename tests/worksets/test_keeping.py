"""What may be deleted on a cluster: nothing that was not exported and verified, ever."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.keeping import Keep, Lineage, Removable, removable
from worksets.record import HELD, Exported, State, WorksetRecord

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PARTS = frozenset({"inputs", "rest"})
days = st.none() | st.floats(0, 400)


@st.composite
def records(draw):
    state = draw(st.sampled_from(State))
    age = timedelta(days=draw(st.floats(0, 400)))
    return WorksetRecord(
        workset_id="w", uid="i-x", customer_id="c", location="file:///w", state=state,
        lineage=draw(st.integers(0, 3)), lock_owner="p" if state in HELD else "",
        job_ended=draw(st.booleans()),
        exported=draw(st.none() | st.just(Exported(files=1, bytes=1))),
        created_at=NOW - timedelta(days=500), updated_at=NOW - age,
    )  # fmt: skip


@given(records(), days, days, st.integers(0, 4), st.sampled_from(["w.i-x", "w.i-y", "w"]))
def test_only_what_is_complete_exported_ended_and_old_enough(record, inputs, results, number, home):
    keep = Keep(inputs_days=inputs, results_days=results)
    found = removable([Lineage(home, number, PARTS)], {record.home: record}, keep, NOW)
    done = record.state is State.COMPLETE and record.exported is not None and record.job_ended
    age = NOW - record.updated_at
    for part, kept in (("inputs", inputs), ("rest", results)):
        may = (
            home == record.home and done
            and (number <= record.lineage if part == "inputs" else number == record.lineage)
            and kept is not None and age >= timedelta(days=kept)
        )  # fmt: skip
        assert (Removable("w", home, number, part) in found) == may
    assert len(found) <= 2


@given(records())
def test_by_default_all_stays_for_ever(record):
    there = [Lineage(record.home, record.lineage, PARTS)]
    assert removable(there, {record.home: record}, Keep(), NOW) == []


@pytest.mark.parametrize("wrong", [-1, 36_501, float("nan"), "soon"])
def test_days_that_cannot_be_are_refused(wrong):
    for key in ("inputs_days", "results_days"):
        with pytest.raises(ValueError, match=key):
            Keep(**{key: wrong})


def test_a_part_that_is_not_there_is_not_named():
    record = WorksetRecord(
        workset_id="w", uid="i-x", lineage=1, customer_id="c", location="file:///w",
        state=State.COMPLETE, exported=Exported(files=1, bytes=1), created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    there = [Lineage("w.i-x", 1, frozenset({"rest"}))]
    keep = Keep(inputs_days=0, results_days=0)
    assert removable(there, {"w.i-x": record}, keep, NOW) == [Removable("w", "w.i-x", 1, "rest")]
