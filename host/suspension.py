"""Runs of this process are not watched for *Suspend*, one by one.

Of a run of a deployment Prefect wants to know at once when somebody suspends it: a thread for each
run, with an event loop of its own that wakes five times a second, a client, and a connection for
events. It is waited for at the run's begin and at its end, by the event loop in which all runs
here live: 60 worksets that do nothing took 51 s, and 41 s without. A workset's run cannot be
suspended anyway: its job goes on, and the state DB says what is to be done next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

from prefect import flow_engine

_NAME: Final = "observe_flow_run_suspension"
"""Private to Prefect; where a later release has no such thing, nothing is replaced."""
_begun_here: ContextVar[bool] = ContextVar("begun_here", default=False)


@contextmanager
def unwatched() -> Iterator[None]:
    """Flow runs that begin while this is open, in this task or thread, are not watched."""
    token = _begun_here.set(True)
    try:
        yield
    finally:
        _begun_here.reset(token)


def _replace() -> None:
    if (theirs := vars(flow_engine).get(_NAME)) is None:
        return

    def watch(*args: Any, **kwargs: Any) -> AbstractContextManager[None]:
        return nullcontext() if _begun_here.get() else theirs(*args, **kwargs)

    setattr(flow_engine, _NAME, watch)


_replace()
