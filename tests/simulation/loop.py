"""An event loop on a virtual clock, whose processes can be stopped at any point as by a signal."""

import asyncio
import heapq
from contextvars import ContextVar

PROCESS = ContextVar("process", default=None)
"""The simulated process whose code runs; None in the world outside (stores, clusters, operator)."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Time leaps to whatever is due next; what belongs to a stopped process is kept for later.

    A process that was killed is one that is never continued: none of its code runs, not even what
    stands in its `finally`.
    """

    def __init__(self):
        super().__init__()
        self._now = 0.0
        self.set_exception_handler(lambda *_: None)

    def time(self):
        return self._now

    def _run_once(self):
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready and timers:
            self._now = max(self._now, timers[0]._when)
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        if not ready and not self._stopping:
            raise RuntimeError("nothing can ever happen any more")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None and process.stopped:
                process.parked.append(handle)
            else:
                handle._run()

    def continue_(self, process):
        """Run again what belongs to a stopped process."""
        process.stopped = False
        self._ready.extend(process.parked)
        process.parked.clear()
