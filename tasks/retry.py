"""When a step tries again by itself: only for what may be gone in a moment.

Long waits never sit here: after these few seconds the workset goes back to the state DB, which
waits without holding a slot.
"""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from worksets.errors import TransientError

RETRIES = 3
DELAYS_S = exponential_backoff(backoff_factor=1)
"""1, 2, 4 s."""


async def only_transient(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition: the error is a hiccup, or the step ran out of its time."""
    error: Any = await state.aresult(raise_on_failure=False)
    return isinstance(error, TransientError | TimeoutError | httpx.TransportError)


def is_prefects(error: Exception) -> bool:
    """Whether an error is Prefect's, its server's or of the way to it: nothing about a workset."""
    module = type(error).__module__.partition(".")[0]
    return module in ("prefect", "httpx", "httpcore") or "Failed to reach API" in str(error)
