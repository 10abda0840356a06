"""Nothing depends on the pages: what cannot be shown, or takes too long, is logged."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import tasks.showing
from tasks.showing import WorksetPage
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
    here = SimpleNamespace(views=[], db=SimpleNamespace(now=lambda: NOW))
    async with asyncio.timeout(5):
        await WorksetPage(here).show(new_record("w1", "file:///w1", NOW, None))
        await WorksetPage(here).show(None)
    assert "the page of w1 is not shown" in caplog.text
