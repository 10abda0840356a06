"""An event loop on a virtual clock, whose processes can be stopped at any point as by a signal."""

import asyncio
import heapq
from contextvars import ContextVar
from itertools import count

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
        self._due = []
        self._numbers = count()
        self.set_exception_handler(lambda *_: None)

    def time(self):
        return self._now

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._due, (when, next(self._numbers), timer))
        return timer

    def call_soon_threadsafe(self, callback, *args, context=None):
        return self.call_soon(callback, *args, context=context)

    def _timer_handle_cancelled(self, _timer):
        """It is passed over when it is due."""

    def _run_once(self):
        ready, due = self._ready, self._due
        while due and due[0][2]._cancelled:
            heapq.heappop(due)
        if not ready and due:
            self._now = max(self._now, due[0][0])
        while due and due[0][0] <= self._now:
            ready.append(heapq.heappop(due)[2])
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
