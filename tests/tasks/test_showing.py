"""Nothing depends on the pages: what cannot be shown, or takes too long, is logged."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import tasks.showing
from tasks.showing import WorksetPage, say_in_folder
from worksets.errors import ConfigurationError
from worksets.record import State
from worksets.registration import new_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("trouble", ["a page that cannot be made", "a server that hangs"])
async def test_a_page_that_cannot_be_shown_holds_up_nothing(monkeypatch, caplog, trouble):
    async def hangs(*_):
        await asyncio.sleep(60)

    def broken(*_):
        raise KeyError("cluster")

    monkeypatch.setattr(tasks.showing, "PAGE_S", 0.2)
    monkeypatch.setattr(tasks.showing.Artifact, "show", hangs)
    if trouble.startswith("a page"):
        monkeypatch.setattr(tasks.showing, "workset_page", broken)
    here = SimpleNamespace(
        views=[], db=SimpleNamespace(now=lambda: NOW), settings=SimpleNamespace(status_files=False)
    )
    async with asyncio.timeout(5):
        await WorksetPage(here).show(new_record("w1", "file:///w1", NOW, None))
        await WorksetPage(here).show(None)
    assert "the page of w1 is not shown" in caplog.text


@pytest.mark.parametrize("trouble", [ConfigurationError("read only"), KeyError("a fault of ours")])
async def test_a_status_file_that_cannot_be_written_is_logged_and_no_more(caplog, trouble):
    async def at(_location, function, *arguments):
        return function(*arguments)

    written = []

    def say(*arguments):
        written.append(arguments)
        raise trouble

    here = SimpleNamespace(
        at=at,
        open_folder=lambda _: SimpleNamespace(say=say),
        settings=SimpleNamespace(status_files=True),
    )
    done = new_record("w1", "file:///w1", NOW, None).model_copy(update={"state": State.COMPLETE})
    await say_in_folder(here, done)
    assert written[0][0] == "daylily.complete" and len(written[0][2]) == 2
    assert "daylily.complete is not left in the folder of w1" in caplog.text
    here.settings.status_files = False
    await say_in_folder(here, done)
    assert len(written) == 1, "nothing is written where nobody has asked for it"
