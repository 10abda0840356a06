"""One look at a delivery that is under way: what is written, and what is left to validation."""

import logging
from types import SimpleNamespace

import pytest

import tasks.deliveries
from tasks.deliveries import look_at_delivery
from worksets.delivery import Waits
from worksets.errors import ConfigurationError, Refused, TransientError


@pytest.fixture
def look(monkeypatch, caplog):
    """Look once at a workset that awaits `a.fq`; what was found, and what was written then."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tasks.deliveries, "get_run_logger", lambda: logging.getLogger("run"))
    record = SimpleNamespace(workset_id="w", location="file:///w", awaits="a.fq", looked="1")

    async def looked(found, refused=False):
        written, again = [], []

        async def at(_location, _check, _here, _record):
            if isinstance(found, Exception):
                raise found
            return SimpleNamespace(verdict=found, description="all of it")

        async def call(function, *arguments):
            if refused:
                raise Refused("somebody was faster")
            written.append((function, *arguments))

        db = SimpleNamespace(await_delivery="await", describe="describe")
        here = SimpleNamespace(at=at, call=call, db=db, look_again_in=again.append)
        return await look_at_delivery(here, record), written, again

    return looked


async def test_what_still_waits_is_looked_at_again_and_written_when_it_changed(look):
    assert await look(Waits("a.fq", "1", 7.0)) == (True, [], [7.0])
    assert await look(Waits("a.fq", "2", 7.0)) == (True, [("await", "w", "a.fq", "2")], [7.0])
    assert await look(Waits("b.fq", "1", 7.0)) == (True, [("await", "w", "b.fq", "1")], [7.0])


async def test_what_has_come_is_described(look, caplog):
    assert await look(None) == (True, [("describe", "w", "all of it")], [])
    assert "w: all its files are there" in caplog.text


async def test_a_place_that_is_away_changes_nothing_and_is_told(look, caplog):
    assert await look(TransientError("no route")) == (True, [], [])
    assert "w could not be looked at: no route" in caplog.text


async def test_what_is_wrong_is_left_to_validation(look):
    assert await look(ConfigurationError("line 3: no samples")) == (False, [], [])


async def test_somebody_may_be_faster(look):
    assert await look(None, refused=True) == (True, [], [])
