"""Poll until somebody stops it: a run of `poll_worksets` until its schedule makes the next.

What was started lives in the process, and not in the run of the poll that started it: a run ends,
the next begins, and no workset notices.
"""

from __future__ import annotations

import asyncio
from typing import Final

from prefect.context import AsyncClientContext
from prefect.flow_engine import run_flow_async
from prefect.logging import get_logger

from flows.poll_worksets import SERVED, poll_worksets
from flows.process_workset import process_workset
from host import AnotherInstallation, open_host, process_tag
from tasks.launch import Launcher, launching
from tasks.naming import name_of_poll
from tasks.polling import POLL_WORKSETS

PAUSE_S: Final = 5.0
"""Seconds until the next is begun where one has broken off."""


async def serve_worksets(settings: str = "default") -> None:
    """Start every workset that may run, and what people ask for in Prefect's UI, until stopped.

    It ends when its task is cancelled (Ctrl-C, SIGTERM), or when a person cancels the run of the
    poll in the UI; jobs go on, and the next poller attaches to them.

    Args:
        settings: Name of the settings block.

    Raises:
        AnotherInstallation: settings and state DB are not of one installation.
    """
    log = get_logger("poller")
    # the worksets' flows outlive the run of a poll, and so must the client that all share
    async with (
        AsyncClientContext.get_or_create(),
        open_host(settings) as here,
        launching(here, process_workset, "inline", SERVED) as launcher,
    ):
        launcher.poll.rolls = True
        while not launcher.poll.cancelled:
            try:
                await _one_run(launcher, settings)
            except AnotherInstallation:
                raise
            except Exception as error:
                log.error("a poll has broken off: %s; the next begins in %g s", error, PAUSE_S)
                await asyncio.sleep(PAUSE_S)
        log.warning("the poll was cancelled in Prefect's UI: this process ends; jobs go on")


async def _one_run(launcher: Launcher, settings: str) -> None:
    """A run of the poll, until the schedule has made the next."""
    run = launcher.poll.take_next()
    serving, tags = launcher.serving, [process_tag(launcher.here.owner)]
    if not serving.serves(POLL_WORKSETS):
        await poll_worksets(settings=settings)
        return
    if run is None:
        parameters = {"settings": settings}
        run = await serving.new_run(POLL_WORKSETS, parameters, name_of_poll(), tags)
    else:
        await serving.tag(run, tags)
    launcher.poll.expect(run)
    await run_flow_async(poll_worksets, run, parameters=run.parameters)
