"""Which leases of slots are renewed when, and that Prefect still takes slots where we do."""

import inspect
import time
from uuid import uuid4

from prefect import task_engine
from prefect.concurrency import _asyncio

from host import slots


def test_a_lease_is_due_when_two_thirds_of_it_are_over():
    held, old, new = slots.Slots(), uuid4(), uuid4()
    held._renewed_at = {old: time.monotonic() - slots.RENEW_S, new: time.monotonic()}
    assert held._due() == [old]
    # tried again a few times, should the server be away then
    assert slots.RENEW_S + 3 * slots.LOOK_S < slots.LEASE_S


def test_prefect_still_takes_slots_by_that_name():
    """Where it does not, it takes them by itself; `tests/real/test_slots.py` would fail."""
    assert "async with _aconcurrency(" in inspect.getsource(task_engine.AsyncTaskRunEngine)
    wanted = {"names", "occupy", "holder", *slots._KNOWN}
    assert wanted <= inspect.signature(_asyncio.concurrency).parameters.keys()


def test_a_prefect_that_has_no_such_name_is_left_as_it_is(monkeypatch):
    monkeypatch.delattr(task_engine, slots._NAME)
    slots._replace()
    assert not hasattr(task_engine, slots._NAME)
