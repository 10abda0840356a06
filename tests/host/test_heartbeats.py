"""Which runs say to Prefect that they live: those for which a site has set how often."""

from prefect import flow
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from host.heartbeats import silent


@flow
async def empty():
    """Does nothing."""


def every_s():
    """Seconds between two heartbeats of a run that begins now, as Prefect's engine reads them."""
    return AsyncFlowRunEngine(flow=empty).heartbeat_seconds


def test_a_run_is_silent_where_prefects_default_would_have_it_speak():
    assert every_s() is not None
    with silent():
        assert every_s() is None
    assert every_s() is not None


def test_what_a_site_has_set_counts():
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 45}), silent():
        assert every_s() == 45
