"""Which runs Prefect watches for *Suspend*: those that this process has not begun itself."""

import inspect
from types import SimpleNamespace

from prefect import _flow_run_suspension, flow_engine

from host import suspension


def test_only_what_begins_within_is_not_watched(monkeypatch):
    watch = flow_engine.observe_flow_run_suspension
    with suspension.unwatched(), watch("id", SimpleNamespace()) as nothing:
        assert nothing is None
    asked = []
    monkeypatch.setattr(flow_engine, suspension._NAME, lambda *args: asked.append(args))
    suspension._replace()
    with suspension.unwatched():
        flow_engine.observe_flow_run_suspension("first", None)
    flow_engine.observe_flow_run_suspension("second", None)
    assert asked == [("second", None)], "whoever else has flows in this process"


def test_a_prefect_that_has_no_such_watch_is_left_as_it_is(monkeypatch):
    monkeypatch.delattr(flow_engine, suspension._NAME)
    suspension._replace()
    assert not hasattr(flow_engine, suspension._NAME)


def test_prefect_still_watches_by_that_name():
    """Where it does not, `tests/real/test_seams.py` sees its threads, or there are none."""
    begins = flow_engine.BaseFlowRunEngine.setup_flow_run_suspension_request
    assert suspension._NAME in inspect.getsource(begins)
    assert hasattr(_flow_run_suspension, suspension._NAME)
