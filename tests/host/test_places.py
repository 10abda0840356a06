"""The watched places: one that hangs holds up nothing else."""

import asyncio
import threading
import time

import pytest

import host.loading
import host.places
from blocks.folders import LocalSource
from host.places import Places
from host.threads import MOST_HANGING
from worksets.errors import ConfigurationError, TransientError


@pytest.fixture
def share(monkeypatch):
    """Clear: whoever touches the folder `share` waits."""
    answers, asked = threading.Event(), []

    def source(path):
        asked.append(path)
        if path.endswith("share"):
            answers.wait(30)
        return LocalSource(path)

    monkeypatch.setattr(host.loading, "LocalSource", source)
    answers.asked = asked
    yield answers
    answers.set()


def names(places):
    return [place.source.path.name for place in places]


async def timed(refreshing):
    began = time.monotonic()
    await refreshing
    return time.monotonic() - began


async def test_a_place_that_hangs_is_waited_for_once_and_not_in_every_cycle(
    share, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(host.places, "OPEN_S", 0.4)
    places, entries = Places(), [str(tmp_path / "in"), str(tmp_path / "share")]
    assert 0.4 <= await timed(places.refresh(entries)) < 5
    for _ in range(20):  # more than the threads of a place
        assert await timed(places.refresh(entries)) < 0.3
        assert names(places) == ["in"]
    assert len([path for path in share.asked if path == entries[1]]) == 1
    assert caplog.text.count("share cannot be opened now: it does not answer") == 1
    share.set()
    await asyncio.sleep(0.2)
    await places.refresh(entries)
    assert names(places) == ["in", "share"]


async def test_a_known_place_that_hangs_is_used_as_it_was(share, tmp_path, monkeypatch):
    monkeypatch.setattr(host.places, "AGAIN_S", 0.2)
    places, entries = Places(), [str(tmp_path / "in"), str(tmp_path / "share")]
    share.set()
    await places.refresh(entries)
    share.clear()
    took = [await timed(places.refresh(entries)) for _ in range(4)]
    assert 0.2 <= took[0] < 5 and max(took[1:]) < 0.1
    assert names(places) == ["in", "share"]


async def test_an_opening_that_hangs_for_ever_is_begun_again_but_not_without_end(
    share, tmp_path, monkeypatch
):
    monkeypatch.setattr(host.places, "OPEN_S", 0.01)
    monkeypatch.setattr(host.places, "LET_GO_S", 0.02)
    places, entry = Places(), str(tmp_path / "share")
    for _ in range(100):
        with pytest.raises((TimeoutError, TransientError)):
            await places.refresh([entry])
        await asyncio.sleep(0.03)
    assert len(share.asked) == MOST_HANGING, "each has a thread that is left behind"
    share.set()
    await asyncio.sleep(0.3)
    await places.refresh([entry])
    assert names(places) == ["share"]


async def test_a_place_that_cannot_be_opened_is_told_once(tmp_path, monkeypatch, caplog):
    async def load_source(entry, call):
        raise ConfigurationError("there is no block s3-bucket/in")

    places = Places()
    monkeypatch.setattr(host.loading, "load_source", load_source)
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            await places.refresh(["s3-bucket/in"])
    assert caplog.text.count("there is no block") == 1
