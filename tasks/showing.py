"""showing: the queue, the last day and each workset, as artifacts in Prefect's UI.

Nothing depends on them: what cannot be shown is logged, and shown at the next occasion.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from prefect.artifacts import (
    acreate_image_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
)
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from host import Host
from tasks.logs import run_log
from tasks.paging import all_pages
from worksets import overview
from worksets.gantt import Bar, gantt
from worksets.pages import queue_page, workset_page
from worksets.record import HELD, State, WorksetRecord
from worksets.status_files import NAMES, status_file
from worksets.texts import line

DAY: Final = timedelta(days=1)
GANTT_S: Final = 60.0
"""Seconds between two pictures of the last day."""
PAGE_S: Final = 10.0
"""Seconds after which a page is given up."""
MOST_RUNS: Final = 2000
"""Runs of the last day that are drawn, the latest first."""


class Artifact:
    """One artifact, made once and then put right in its place: a page, not a pile of pages."""

    def __init__(self, key: str) -> None:
        self.key = re.sub("[^a-z0-9]+", "-", key.lower()).strip("-")
        self._id: UUID | None = None
        self._shown: tuple[str, str] = ("", "")

    async def show(self, text: str, told: str) -> None:
        """Show this Markdown; `told` is its one line in lists."""
        if (text, told) == self._shown:
            return
        try:
            if self._id is None:
                self._id = await self._made(text, line(told))
            else:
                async with get_client() as client:
                    await client.update_artifact(
                        self._id, ArtifactUpdate(data=self._data(text), description=line(told))
                    )
            self._shown = (text, told)
        except Exception as error:
            run_log().warning("the page %s was not stored: %s", self.key, error)

    def _data(self, text: str) -> str | float:
        return text

    async def _made(self, text: str, told: str) -> UUID:
        made: Any = await acreate_markdown_artifact(text, key=self.key, description=told)
        return UUID(str(made))


class Picture(Artifact):
    """The same of an image, by its URL."""

    async def _made(self, text: str, told: str) -> UUID:
        made: Any = await acreate_image_artifact(text, key=self.key, description=told)
        return UUID(str(made))


class ProgressBar(Artifact):
    """The same of how far something is; its text is percent, as a number."""

    def _data(self, text: str) -> float:
        return float(text)

    async def _made(self, text: str, told: str) -> UUID:
        made: Any = await acreate_progress_artifact(float(text), key=self.key, description=told)
        return UUID(str(made))


class WorksetPage:
    """The page of one workset, from its first step on."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self._page: Artifact | None = None

    async def show(self, record: WorksetRecord | None, report: str = "") -> None:
        """Show how it stands, if that is known; `report` is Markdown about what failed."""
        if record is None:
            return
        await say_in_folder(self._here, record)
        try:
            # its job is watched only after this: a server that hangs must not hold that up
            async with asyncio.timeout(PAGE_S):
                if self._page is None:
                    self._page = Artifact(f"workset-{record.workset_id}-{record.uid}")
                views = {view.name: view for view in self._here.views}
                text = workset_page(record, views, self._here.db.now(), report)
                await self._page.show(text, f"{record.workset_id}: {record.state.value}")
        except Exception as error:
            run_log().warning("the page of %s is not shown: %r", record.workset_id, error)


async def say_in_folder(here: Host, record: WorksetRecord) -> None:
    """Leave a status file in the workset's folder, if the settings ask for it."""
    said = status_file(record) if here.settings.status_files else None
    if said is None:
        return
    name, text = said
    others = [other for other in NAMES if other != name]
    try:
        async with asyncio.timeout(PAGE_S):
            await here.at(record.location, _say, here, record.location, name, text, others)
    except Exception as error:
        run_log().warning("%s is not left in the folder of %s: %s", name, record.workset_id, error)


def _say(here: Host, location: str, name: str, text: str, others: list[str]) -> None:
    here.open_folder(location).say(name, text, others)


class Board:
    """The queue and the last day of one installation, beside all else that a poller does."""

    def __init__(self, here: Host) -> None:
        own = "" if here.name == "default" else f"-{here.name}"
        self._here = here
        self._queue = Artifact(f"queue{own}")
        self._day = Picture(f"last-day{own}")
        self._day_at = -GANTT_S
        self._showing: asyncio.Task[None] | None = None

    def begin(self, known: list[WorksetRecord], note: str = "") -> None:
        """Show what a cycle has seen: all that is ready or held; beside the cycle."""
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show(known, note), name="the board")

    async def shown(self) -> None:
        """Wait until what the last cycle has seen is shown, for a while: it may be the only one."""
        if self._showing is not None:
            await asyncio.wait([self._showing], timeout=PAGE_S)

    def stop(self) -> None:
        if self._showing is not None:
            self._showing.cancel()

    async def _show(self, known: list[WorksetRecord], note: str) -> None:
        here = self._here
        try:
            later = await here.call(here.db.list_worksets, (State.RETRYING,))
            lately = await here.lately.hours(r for r in known if r.state in HELD)
            text, told = await here.call(_queue_of, here, [*known, *later], lately, note)
            await self._queue.show(text, told)
            if time.monotonic() - self._day_at >= GANTT_S:
                self._day_at = time.monotonic()
                await self._day.show(*await _last_day(here))
        except Exception as error:
            run_log().warning("the queue is not shown now: %s", error)


def _queue_of(
    here: Host, records: list[WorksetRecord], lately: dict[str, float], note: str
) -> tuple[str, str]:
    """The page of the queue, and its one line; takes up to a second where a thousand wait."""
    settings, views, now = here.settings, here.views, here.db.now()
    limits = here.limits
    rows = overview.queue(records, views, limits, settings.weights, settings.placement, now, lately)
    held: dict[str, int] = {}
    for record in records:
        if record.state in HELD:
            for scope in record.scopes:
                held[scope] = held.get(scope, 0) + 1
    health = {name: watch.health for name, watch in here.watches.items()}
    clusters = overview.clusters(views, health, held, limits, now)
    depth = overview.depth(records, now)
    text = queue_page(rows, depth, clusters, now, note)
    return text, f"{len(rows)} wait, {held.get('global', 0)} run or are about to"


async def _last_day(here: Host) -> tuple[str, str]:
    """A picture of the runs of the last day, as a data URL, and its one line."""
    end = datetime.now(UTC)
    begin = end - DAY
    async with get_client() as client:
        found = await all_pages(partial(_runs, client, begin), MOST_RUNS)
    bars = [bar for run in found if (bar := _bar(here, run, end)) is not None]
    begin = min((bar.begin for bar in bars), default=begin)
    svg = gantt(bars, min(begin, end - timedelta(minutes=5)), end)
    data = base64.b64encode(svg.encode()).decode()
    return f"data:image/svg+xml;base64,{data}", f"{len(bars)} runs of the last day, by cluster"


async def _runs(client: PrefectClient, since: datetime, limit: int, offset: int) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["process_workset"])),
        flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since)),
        sort=FlowRunSort.START_TIME_DESC,
        limit=limit,
        offset=offset,
    )


def _bar(here: Host, run: FlowRun, now: datetime) -> Bar | None:
    """The bar of a run; None: it is another installation's, or has not begun."""
    if run.parameters.get("settings", "default") != here.name or run.start_time is None:
        return None
    cluster = str(run.parameters.get("cluster") or "as it was")
    state = run.state_type.value if run.state_type else ""
    return Bar(cluster, run.name or "", run.start_time, run.end_time or now, state)
