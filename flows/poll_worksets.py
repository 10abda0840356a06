"""The parent flow: recover → sync limits → plan → map process_workset, and discover beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from prefect import Flow, flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from flows.dead_letters import list_dead_letters, redrive_worksets
from flows.operators import (
    cancel_workset,
    clean_worksets,
    drain_cluster,
    register_worksets,
    report_usage,
    set_priority,
)
from flows.process_workset import process_workset
from host import AnotherInstallation, Host, open_host
from tasks.launch import PROCESS_WORKSET, Launcher, launching
from tasks.naming import name_of_poll, rename_poll
from tasks.polling import POLL_WORKSETS
from tasks.recover import end_dead_runs, recover
from tasks.sync_limits import sync_limits
from worksets.config import Launch, ProcessorConfig
from worksets.polling import Stop, nothing_left, pause_s


@flow(name="poll_worksets", flow_run_name=name_of_poll, retries=0, persist_result=False)
async def poll_worksets(
    config: ProcessorConfig | None = None,
    settings: str = "default",
    cycles: int | None = None,
    duration_seconds: float | None = None,
    until_done: bool = False,
    launch: Launch = "inline",
) -> dict[str, Any] | State[Any]:
    """Start every workset that may run, again and again, until told to stop.

    Without a bound it runs for ever. A cycle never waits for a running workset; when the last
    cycle is over, the worksets that run in this process are waited for. Any number of pollers may
    run at once: the state DB decides. In a process that polls already, it is one look, at once.

    Args:
        config: How this processor works; empty: as the settings say.
        settings: Name of the settings block.
        cycles: Full cycles to run.
        duration_seconds: Time to go on starting worksets, in seconds.
        until_done: Stop when nothing is left that could start or is running.
        launch: `inline`: worksets run in this process; `deployment`: each is its own flow run.
    """
    stop = Stop(cycles, duration_seconds, until_done)
    async with open_host(settings, config) as here:
        async with launching(here, process_workset, launch, SERVED) as launcher:
            before = launcher.started
            if launcher.poll.is_there:
                await launcher.poll.look_now()
                return {"cycles": 1, "started": launcher.started - before}
            async with launcher.polling(stop):
                ran = await _cycles(here, launcher, stop)
                await rename_poll(launcher.started - before)
        if ran.error is not None:
            raise ran.error
        if launcher.poll.cancelled:
            return Cancelled(message="cancelled by hand; its worksets' jobs go on")
        return {"cycles": ran.cycles, "started": launcher.started - before}


SERVED: Final[dict[str, Flow[Any, Any]]] = {
    PROCESS_WORKSET: process_workset,
    POLL_WORKSETS: poll_worksets,
    "list-dead-letters": list_dead_letters,
    "redrive-worksets": redrive_worksets,
    "cancel-workset": cancel_workset,
    "set-priority": set_priority,
    "register-worksets": register_worksets,
    "drain-cluster": drain_cluster,
    "clean-worksets": clean_worksets,
    "report-usage": report_usage,
}
"""Deployments whose runs, whoever asks for them, run in the poller."""


@dataclass
class Ran:
    """Full cycles so far, and what broke the last one off, if anything did."""

    cycles: int = 0
    error: Exception | None = None


async def _cycles(here: Host, launcher: Launcher, stop: Stop) -> Ran:
    began, ran, discovery = time.monotonic(), Ran(), launcher.discovery
    before = launcher.started
    while True:
        ran.cycles += 1
        await _guarded(ran, _full_cycle(here, launcher))
        launcher.poll.has_looked()
        await rename_poll(launcher.started - before)
        next_full = time.monotonic() + here.config.poll_interval_seconds
        while not launcher.poll.asked_to_look:
            elapsed = time.monotonic() - began
            # a poll that ends first starts what its looks find, and have found
            looks_s = discovery.looks_for_s() if stop.bounded else 0.0
            planned = looks_s <= 0 and not (discovery.news and launcher.wake.is_set())
            if launcher.poll.over or planned:
                ran.error = ran.error or discovery.error
                if launcher.poll.over or stop.after_cycle(ran.cycles, elapsed):
                    return ran
                if stop.until_done and ran.error is None and await _nothing_left(here, launcher):
                    return ran
            left = min(next_full - time.monotonic(), stop.time_left(elapsed))
            if left <= 0 and planned:
                break
            # what has broken off a full cycle, only a full one puts right
            broken = ran.error
            await _guarded(ran, _until_event(here, launcher, max(left, looks_s)))
            ran.error = ran.error or broken


async def _full_cycle(here: Host, launcher: Launcher) -> None:
    launcher.poll.looks()
    await here.refresh()
    await launcher.poll.heed_its_run()
    launcher.discovery.begin()
    here.outbox.begin()
    recovered = await recover()
    await sync_limits(recovered.gone)
    # to hold them comes first: to end 300 runs takes Prefect ten seconds
    left = await launcher.take_over(recovered)
    if recovered.over:
        await end_dead_runs(recovered.over)
    await launcher.go_on_with(left)
    await launcher.cycle()
    launcher.show()
    launcher.discovery.begin_deliveries()


async def _until_event(here: Host, launcher: Launcher, longest_s: float) -> None:
    """Wait for an event (a slot freed, a retry due) and start what it allows."""
    if await launcher.neighbours.one_is_gone():
        launcher.poll.look_soon()  # a full cycle takes over what it held
        return
    due = await here.call(here.db.next_retry)
    # a delivery may come to rest sooner than the next full cycle
    longest_s = max(0.0, min(longest_s, here.look_again_at - time.monotonic()))
    try:
        dues = (due, launcher.neighbours.look_at)
        async with asyncio.timeout(pause_s(longest_s, dues, here.db.now())):
            await launcher.wake.wait()
    except TimeoutError:
        if here.look_again_at <= time.monotonic():
            launcher.discovery.begin_deliveries()  # it wakes us
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
    except AnotherInstallation:
        raise
    except Exception as error:
        ran.error = error
        get_run_logger().exception("cycle %d broke off; the next one goes on", ran.cycles)
        await asyncio.sleep(1)


async def _nothing_left(here: Host, launcher: Launcher) -> bool:
    depth = await here.call(here.db.get_queue_depth)
    return not launcher.busy and nothing_left(depth, launcher.decisions)
