"""SIGTERM ends the flows of this process in order, as Ctrl-C does: children first.

Prefect's handler raises wherever the event loop happens to stand. The parent flow is then torn down
beside its children, who can no longer tell the server how they ended and stay `Running` in the UI;
an exception that lands in a background task is lost, and the process with it. Here the signal
cancels the flow's task instead, which Prefect knows how to end (Crashed, or Cancelled if its
runner asked for that).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.utilities import engine


@contextmanager
def cancelled_by_sigterm() -> Iterator[None]:
    """SIGTERM cancels the current task while this is open; elsewhere than in the main thread
    nothing changes."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None, "called from a coroutine"

    def stop(_signal: int, _frame: object) -> None:
        loop.call_soon_threadsafe(task.cancel)

    theirs, before = engine._prefect_sigterm_handler, signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    # Prefect puts its own handler back whenever a subflow starts and finds another one
    engine._prefect_sigterm_handler = stop  # type: ignore[assignment]
    try:
        yield
    finally:
        engine._prefect_sigterm_handler = theirs
        signal.signal(signal.SIGTERM, before)
