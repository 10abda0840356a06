"""What may be deleted on a cluster: nothing that was not exported and verified, ever."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.events import Archive
from worksets.keeping import Keep, Lineage, Removable, archivable, removable
from worksets.lifecycle import Refusal, apply
from worksets.record import HELD, Delivery, Exported, Owed, State, WorksetRecord

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PARTS = frozenset({"inputs", "rest"})
days = st.none() | st.floats(0, 400)


@st.composite
def records(draw):
    # mostly one of which something may go
    state = draw(st.sampled_from([*[State.COMPLETE] * 20, *State]))
    age = timedelta(days=draw(st.floats(0, 400)))
    return WorksetRecord(
        workset_id="w", uid="i-x", customer_id="c", location="file:///w", state=state,
        lineage=draw(st.integers(0, 3)), lock_owner="p" if state in HELD else "",
        job_ended=draw(st.sampled_from([True, True, True, False])),
        exported=draw(st.sampled_from([Exported(files=1, bytes=1)] * 4 + [None])),
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
    for key in ("inputs_days", "results_days", "retention_days"):
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


LOGS = frozenset({"logs"})


@given(
    records(), days, days, days, st.sampled_from(["", "archived"]), st.booleans(),
    st.sets(st.sampled_from(["inputs", "rest"])), st.integers(0, 4), st.sampled_from("ab"),
)  # fmt: skip
def test_a_record_leaves_after_all_of_its_files_that_go_and_its_logs_after_it(
    record, inputs, results, retention, archived, owed, parts, number, cluster
):
    told = Owed(kind="complete", message="x", since=NOW) if owed else None
    record = record.model_copy(update={"archived": archived, "owed": told, "cluster_name": "a"})
    keep = Keep(inputs_days=inputs, results_days=results, retention_days=retention)
    there = [Lineage("w.i-x", 0, LOGS), Lineage("w.i-x", number, frozenset(parts))]
    done = record.state is State.COMPLETE and record.exported is not None and record.job_ended
    found = archivable(there, [record], cluster, keep, NOW)
    waits_for = (inputs is not None and "inputs" in parts and number <= record.lineage) or (
        results is not None and "rest" in parts and number == record.lineage
    )
    may = (
        done and not archived and not owed and cluster == "a" and retention is not None
        and NOW - record.updated_at >= timedelta(days=retention) and not waits_for
    )  # fmt: skip
    assert found == ([record] if may else [])
    goes = removable(there, {"w.i-x": record}, keep, NOW)
    assert (Removable("w", "w.i-x", 0, "logs") in goes) == bool(done and archived)


def test_anything_goes_where_a_number_of_days_is_named():
    assert not Keep().anything_goes
    assert all(Keep(**{key: 0}).anything_goes for key in Keep.model_fields)


def done():
    return WorksetRecord(
        workset_id="w", uid="i-x", lineage=2, lineage_after=1, customer_id="c", pipeline="germline",
        location="file:///w", state=State.COMPLETE, attempt=3, cluster_name="a",
        job_name="w.i-x.a3", fence=4, version=9, error_details="x" * 4000, retry_count=2,
        delivery=Delivery(spec="s", asks="a", files="f"), redelivered="r",
        exported=Exported(files=1, bytes=1), created_at=NOW - timedelta(days=9),
        updated_at=NOW - timedelta(days=8),
    )  # fmt: skip


def test_what_stays_of_an_archived_record_is_that_it_was_there_and_which_files_are_its():
    before, later = done(), NOW + timedelta(days=1)
    after = apply(before, Archive(9, "/there"), later)
    stays = {
        "workset_id", "uid", "lineage", "customer_id", "pipeline", "location", "state", "attempt",
        "cluster_name", "job_name", "fence", "delivery", "redelivered", "exported", "created_at",
        "updated_at",
    }  # fmt: skip
    fresh = WorksetRecord(workset_id="w", location="x", created_at=NOW, updated_at=NOW)
    for key, value in dict(after).items():
        if key in stays:
            assert value == getattr(before, key), key
        elif key not in ("archived", "version", "history"):
            assert value == getattr(fresh, key), key
    assert (after.archived, after.version, after.home) == ("/there", 10, before.home)
    [entry] = after.history
    assert (entry.at, entry.event, entry.note) == (later, "Archive", "/there")
    assert len(after.model_dump_json(exclude_defaults=True)) < 800


def test_only_what_may_go_is_archived_and_only_as_it_was_written_down():
    owed = Owed(kind="complete", message="x", since=NOW)
    for change in (
        {"archived": "/there"}, {"owed": owed}, {"state": State.FAILED}, {"exported": None},
        {"job_ended": False}, {"version": 10},
    ):  # fmt: skip
        told = apply(done().model_copy(update=change), Archive(9, "/there"), NOW)
        assert isinstance(told, Refusal), change


@pytest.mark.parametrize(
    ("keep", "goes"),
    [
        ({"inputs_days": 8}, {"inputs"}), ({"results_days": 8}, {"rest"}),
        ({"inputs_days": 9, "results_days": 8}, {"rest"}),
        ({"inputs_days": 8, "results_days": 9}, {"inputs"}), ({"retention_days": 0}, set()),
    ],
)  # fmt: skip
def test_each_part_has_days_of_its_own(keep, goes):
    there = [Lineage("w.i-x", 2, PARTS), Lineage("w.i-x", 0, LOGS)]
    found = removable(there, {"w.i-x": done()}, Keep(**keep), NOW)
    assert {one.part for one in found} == goes
