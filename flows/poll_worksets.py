"""The parent flow: discover → recover → sync limits → plan → map process_workset."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from prefect import flow, get_run_logger

from blocks.host import Host, open_host
from flows.process_workset import process_workset
from tasks.discover import discover
from tasks.launch import Launcher
from tasks.recover import recover
from tasks.sync_limits import sync_limits
from worksets.config import Launch, ProcessorConfig
from worksets.polling import Stop, nothing_left, pause_s


@flow(name="poll_worksets")
async def poll_worksets(
    config: ProcessorConfig | None = None,
    settings: str = "default",
    cycles: int | None = None,
    duration_seconds: float | None = None,
    until_done: bool = False,
    launch: Launch = "inline",
) -> dict[str, Any]:
    """Start every workset that may run, again and again, until told to stop.

    Without a bound it runs for ever. A cycle never waits for a running workset; when the last
    cycle is over, the worksets that run in this process are waited for. Any number of pollers may
    run at once: the state DB decides.

    Args:
        config: How this processor works; empty: as the settings say.
        settings: Name of the settings block.
        cycles: Full cycles to run.
        duration_seconds: Time to go on starting worksets, in seconds.
        until_done: Stop when nothing is left that could start or is running.
        launch: `inline`: worksets run in this process; `deployment`: each is its own flow run.
    """
    async with open_host(settings, config) as here:
        launcher = Launcher(here, process_workset, launch)
        cancellations = asyncio.create_task(launcher.watch_for_cancellations())
        try:
            ran = await _cycles(here, launcher, Stop(cycles, duration_seconds, until_done))
            await launcher.drain()
        finally:
            cancellations.cancel()
            await launcher.stop()
        if ran.error is not None:
            raise ran.error
        return {"cycles": ran.cycles, "started": launcher.started}


@dataclass
class Ran:
    """Full cycles so far, and what broke the last one off, if anything did."""

    cycles: int = 0
    error: Exception | None = None


async def _cycles(here: Host, launcher: Launcher, stop: Stop) -> Ran:
    seen: dict[str, str] = {}
    began, ran = time.monotonic(), Ran()
    while True:
        ran.cycles += 1
        await _guarded(ran, _full_cycle(here, launcher, seen))
        next_full = time.monotonic() + here.config.poll_interval_seconds
        while True:
            elapsed = time.monotonic() - began
            if stop.after_cycle(ran.cycles, elapsed):
                return ran
            if stop.until_done and ran.error is None and await _nothing_left(here, launcher):
                return ran
            left = min(next_full - time.monotonic(), stop.time_left(elapsed))
            if left <= 0:
                break
            await _guarded(ran, _until_event(here, launcher, left))


async def _full_cycle(here: Host, launcher: Launcher, seen: dict[str, str]) -> None:
    await here.refresh()
    await discover(seen)
    gone = await recover()
    await sync_limits(gone)
    await launcher.adopt(gone)
    await launcher.cycle()


async def _until_event(here: Host, launcher: Launcher, longest_s: float) -> None:
    """Wait for an event (a slot freed, a retry due) and start what it allows."""
    due = await here.call(here.db.next_retry)
    try:
        async with asyncio.timeout(pause_s(longest_s, due, here.db.now())):
            await launcher.wake.wait()
    except TimeoutError:
        if due is None or due > here.db.now():
            return
    launcher.wake.clear()
    await here.call(here.db.requeue_due)
    await launcher.cycle()


async def _guarded(ran: Ran, part: Coroutine[Any, Any, None]) -> None:
    """A cycle that breaks off is told and made up for by the next; worksets run on meanwhile."""
    try:
        await part
        ran.error = None
    except Exception as error:
        ran.error = error
        get_run_logger().exception("cycle %d broke off; the next one goes on", ran.cycles)
        await asyncio.sleep(1)


async def _nothing_left(here: Host, launcher: Launcher) -> bool:
    depth = await here.call(here.db.get_queue_depth)
    return not launcher.busy and nothing_left(depth, launcher.decisions)
