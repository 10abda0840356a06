"""The launcher: what it takes over, and a run of a workset that it has made."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from blocks.state_db import SQLiteStateDB
from flows.process_workset import process_workset
from tasks.labels import flow_run_name
from tasks.launch import Launcher, _under_its_name
from tasks.recover import Neighbours, Recovered
from worksets.record import WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("launch", "owner"), [("inline", "ours"), ("deployment", "dead")])
async def test_what_is_left_is_held_where_its_flow_will_run_and_begun_later(
    tmp_path, launch, owner
):
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    db.register(WorksetRecord(workset_id="w", location="file:///w", created_at=NOW, updated_at=NOW))
    for each in ("dead", "ours"):
        db.renew_lease(each, 3600)
    held = db.lock("w", "dead", "a", "why", {"global": 9, "cluster:a": 9})
    begun = []

    async def call(function, *arguments):
        return function(*arguments)

    async def start(record, _):
        begun.append(record)

    here = SimpleNamespace(db=db, owner="ours", call=call, watches={"a": None}, live=set())
    one = SimpleNamespace(
        here=here, launch=launch, neighbours=Neighbours(here), _claiming=SimpleNamespace(),
        _broken=set(), _start=start, _stop_cancelled=lambda records: None,
    )  # fmt: skip
    left = await Launcher.take_over(one, Recovered(frozenset({"dead"}), (held,)))
    assert left == [db.get("w")] and db.get("w").lock_owner == owner and begun == []
    await Launcher.go_on_with(one, left)
    assert begun == left


def test_a_run_that_has_its_name_is_not_named_again():
    """A request for each workset; who calls the flow, or retries its run, has it named still."""
    assert _under_its_name(process_workset).flow_run_name is None
    assert process_workset.flow_run_name is flow_run_name
