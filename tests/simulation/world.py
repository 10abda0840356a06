"""The world around the processes: time, chance, and the unreliable way of every effect."""

import asyncio
import random
from collections import Counter
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

from greenlet import getcurrent, greenlet

from blocks.clusters.slurm.transport import Result
from blocks.state_db import Lease
from tests.simulation.loop import PROCESS
from worksets.record import WorksetRecord

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AT_AN_EFFECT = (
    "crash before an effect", "crash after an effect", "answer lost", "effect delayed",
    "effect duplicated", "throttled", "process asleep", "process stopped",
)  # fmt: skip
RATES = (0.0, 0.002, 0.01, 0.04)
STORMS = (1.0, 0.2, 0.02)
"""What a seed's rates are multiplied by: in a storm hardly a job is handed in before it is over."""
IN_THE_FIELD = {
    "job held": 0.2, "controller's disk is full": 0.1, "a folder hangs": 0.4,
    "a folder cannot be read": 0.4, "the share hangs": 0.3, "the share cannot be listed": 0.2,
    "written by another release": 0.3, "readable by another release only": 0.3,
    "another installation": 0.2,
}  # fmt: skip
"""What installations have met, with the highest rate; a seed may have none of it, or a fourth."""
LINGERS_S = 600.0
"""Seconds after the other faults for which what holds up one workset, or one place, may go on."""


class World:
    """One seed's world: every choice comes from its generator."""

    def __init__(self, seed, traced=False):
        self.loop = asyncio.get_running_loop()
        self.rng = random.Random(seed)
        self.hub = getcurrent()
        self.context = copy_context()
        self.claims = seed % 2 == 0
        """Whether its pollers tell one another what they are about to start."""
        self.horizon_s = self.rng.uniform(30, 180)
        storm = self.rng.choice(STORMS)
        self.rates = [(kind, storm * self.rng.choice(RATES)) for kind in AT_AN_EFFECT]
        self._any_rate = sum(rate for _, rate in self.rates)
        self.field_rates = {
            kind: most * self.rng.choice((0.0, 0.25, 1.0)) for kind, most in IN_THE_FIELD.items()
        }
        self.faults = Counter()
        self.threads = set()
        self.processes = []
        self.cut_off = {}
        self.in_the_air = 0
        self.over = self.loop.create_future()
        self.trace = [] if traced else None
        self.closing = False
        self.effects = 0

    # --- Time and what is told of it ---

    @property
    def now_s(self):
        return self.loop.time()

    def utc(self, skew_s=0.0):
        return EPOCH + timedelta(seconds=self.now_s + skew_s)

    def later(self, delay_s, function, *args):
        """Something that happens in the world, whatever becomes of the processes."""
        return self.loop.call_later(delay_s, function, *args, context=self.context)

    def tell(self, *words):
        if self.trace is not None:
            process = PROCESS.get()
            who = process.name if process else "-"
            self.trace.append(f"{self.now_s:10.3f} {who:6} {' '.join(map(str, words))}")

    def violated(self, what):
        self.tell("VIOLATION", what)
        if not self.over.done():
            self.over.set_result(what)

    def close(self):
        """Let go of everything: threads end, and stopped processes run to their end."""
        self.closing = True
        for thread in list(self.threads):
            thread.throw()
        for process in self.processes:
            self.loop.continue_(process)

    # --- Faults ---

    def fault(self, kind, rate=None, lingers_s=0.0):
        """Whether a fault of this kind happens now, at a rate or at the seed's own of that kind."""
        rate = self.field_rates[kind] if rate is None else rate
        if self.now_s > self.horizon_s + lingers_s or self.rng.random() >= rate:
            return False
        self.faults[kind] += 1
        return True

    def _drawn(self):
        if self.now_s > self.horizon_s:
            return None
        chance = self.rng.random()
        if chance >= self._any_rate:
            return None
        for kind, rate in self.rates:
            chance -= rate
            if chance < 0:
                self.faults[kind] += 1
                return kind
        return None

    def cut(self, process_name, place, for_s):
        """Nothing reaches `place` from this process ('': from any) for a while."""
        self.cut_off[process_name, place] = self.now_s + for_s

    def _unreachable(self, process, place):
        if self.now_s > self.horizon_s:
            return False
        ways = (("", place), (process.name, place))
        return any(self.cut_off.get(way, 0) > self.now_s for way in ways)

    # --- Blocking calls: each in a greenlet, as in a thread ---

    async def in_thread(self, process, function):
        future = self.loop.create_future()

        def run():
            try:
                result = function()
            except Exception as error:
                outcome = (future.set_exception, error)
            else:
                outcome = (future.set_result, result)
            if not future.done():
                outcome[0](outcome[1])

        self.begin_thread(process, run)
        return await future

    def begin_thread(self, process, run):
        """Run something that blocks, beside all else of its process."""

        def runs():
            run()
            self.threads.discard(thread)

        thread = greenlet(runs)
        thread.gr_context = process.context.copy()
        self.threads.add(thread)
        thread.switch()

    def hang(self, seconds):
        """Block the thread in which this is called, as a file on a share that hangs does."""
        self.loop.call_later(seconds, getcurrent().switch, context=PROCESS.get().context)
        self.hub.switch()

    def perform(self, place, what, effect, before, after, timeout_s):
        """Carry out `effect` at `place` over an unreliable way; blocks.

        Raises `before` where it certainly did not happen, `after` where no answer came.
        """
        process, thread, rng = PROCESS.get(), getcurrent(), self.rng
        if process is None:
            return effect()
        kind = self._drawn()
        if kind in ("process asleep", "process stopped"):
            self.tell(kind)
            process.sleep() if kind == "process asleep" else process.stop()
            self.loop.call_soon(thread.switch, context=process.context)
            self.hub.switch()
            kind = None
        way_s = rng.uniform(0.001, 0.03) if rng.random() < 0.97 else rng.uniform(0.1, 3)
        if kind == "crash before an effect":
            process.crash()
            self.hub.switch()
        if kind == "throttled":
            self._answer(process, thread, way_s, None, before)
        elif kind == "effect delayed":
            self._deliver(process, place, what, effect, rng.uniform(0, 150), before, None)
            self._answer(process, thread, timeout_s, None, after)
        elif kind == "answer lost":
            self._deliver(process, place, what, effect, way_s, before, None)
            self._answer(process, thread, rng.uniform(way_s, timeout_s), None, after)
        else:
            if kind == "effect duplicated":
                again_s = way_s + rng.uniform(0.01, 60)
                self._deliver(process, place, what, effect, again_s, before, None)
            crash = kind == "crash after an effect"
            self._deliver(process, place, what, effect, way_s, before, thread, crash)
        result, error = self.hub.switch()
        if error is not None:
            raise error
        return result

    def _deliver(self, process, place, what, effect, delay_s, before, thread, crash=False):
        def arrives():
            self.in_the_air -= 1
            result, error = None, None
            if self._unreachable(process, place):
                error = before
            else:
                try:
                    result = effect()
                except Exception as refused:
                    error = refused
            self.effects += 1
            if self.trace is not None:
                self.tell(f"[{process.name}] {place}: {what} -> {_short(error or result)}")
            if crash:
                process.crash()
            elif thread is not None:
                self._answer(process, thread, delay_s, result, error)

        self.in_the_air += 1
        self.later(delay_s, arrives)

    def _answer(self, process, thread, delay_s, result, error):
        self.loop.call_later(delay_s, thread.switch, (result, error), context=process.context)


def _short(answer):
    """An answer as the trace shows it."""
    if isinstance(answer, WorksetRecord):
        owner = answer.lock_owner or "nobody"
        return (
            f"v{answer.version} f{answer.fence} {answer.state.value} a{answer.attempt} of {owner}"
        )
    if isinstance(answer, list):
        return "; ".join(map(_short, answer))
    if isinstance(answer, dict):
        return "; ".join(f"{key}: {_short(answer[key])}" for key in sorted(answer))
    if isinstance(answer, frozenset):
        return ", ".join(sorted(answer))
    if isinstance(answer, Lease):
        return f"{answer.owner} until {answer.expires_at:%H:%M:%S}"
    if isinstance(answer, Result):
        return " ".join((answer.stdout + answer.stderr).split("\n"))[:300]
    return repr(answer)[:300]
