"""Processes that run the real flows, and what stands in for Prefect's engine around them."""

import asyncio
import logging
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from functools import lru_cache
from types import SimpleNamespace
from unittest.mock import patch

import anyio
import httpx
import prefect.blocks.core
from prefect.states import Failed

import blocks.clusters.slurm.cluster
import flows.poll_worksets
import flows.process_workset
import host.lease
import host.loading
import host.opening
import host.process
import host.telling
import host.threads
import tasks.cancel
import tasks.claiming
import tasks.deliveries
import tasks.discover
import tasks.discovery
import tasks.dispatch
import tasks.launch
import tasks.monitor
import tasks.progress
import tasks.recover
import tasks.settle
import tasks.showing
import tasks.validate
from tests.simulation.loop import PROCESS
from tests.simulation.store import model_state_db
from worksets.announcements import Kind
from worksets.errors import WorksetError
from worksets.spec import parse_spec

EXPECTED = (WorksetError, TimeoutError, httpx.TransportError)
"""Errors that a step may end with; any other is a fault of the product."""


class Process:
    """One operating system process: it can be put to sleep, stopped and killed at any point."""

    def __init__(self, installation, name, skew_s, main, then):
        world = installation.world
        self.installation, self.world, self.name = installation, world, name
        self.stopped = False
        self.killed = False
        self.parked = []
        self._then = then
        self.db = model_state_db(
            installation.table, lambda: world.utc(skew_s), world.perform, installation.checks
        )
        self.clusters = installation.blocks()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        world.processes.append(self)
        world.tell(f"{name} is started")
        self.task = world.loop.create_task(main(), context=self.context)
        self.task.add_done_callback(self._ended, context=world.context)

    def _ended(self, task):
        if not self.world.closing:
            if not task.cancelled() and task.exception() is not None:
                self.suspect(task.exception())
            self._then()

    def suspect(self, error):
        """An error that was told: is it one that may be?"""
        if not isinstance(error, EXPECTED):
            self.world.violated(f"{self.name}: {type(error).__name__}: {error}")

    def crash(self):
        self.world.tell(f"{self.name} is killed")
        self.stopped = self.killed = True
        self._then()

    def stop(self):
        """As SIGTERM does: everything unwinds."""
        self.task.cancel()

    def sleep(self):
        self.stopped = True
        self.world.later(self.world.rng.uniform(1, 90), self._awake)

    def _awake(self):
        # killed in its sleep, it stays dead
        if not self.killed:
            self.world.loop.continue_(self)


class ModelHost(host.process.Host):
    """The real host, with the name of its simulated process."""

    def __init__(self, *args):
        super().__init__(*args)
        self.owner = PROCESS.get().name


class ModelClaiming(tasks.claiming.Claiming):
    """The real one, but in every second world: there the locks alone keep two pollers apart."""

    async def look(self):
        if PROCESS.get().world.claims:
            await super().look()

    async def claim(self, starts, under_way, ready):
        if PROCESS.get().world.claims:
            return await super().claim(starts, under_way, ready)
        return starts.keys()


class ModelThreads:
    """Threads that are greenlets, and that are waited for whatever comes."""

    def __init__(self, number):
        self._free = asyncio.Semaphore(number)

    async def __call__(self, function, *args, **kwargs):
        process = PROCESS.get()
        if process.world.closing:
            raise asyncio.CancelledError
        with anyio.CancelScope(shield=True):
            async with self._free:
                return await process.world.in_thread(process, lambda: function(*args, **kwargs))


class ModelThread:
    """A thread of the real `LooseThreads`, as a greenlet."""

    def __init__(self, target, args, **_):
        self._run = lambda: target(*args)

    def start(self):
        process = PROCESS.get()
        if process.world.closing:
            raise asyncio.CancelledError
        process.world.begin_thread(process, self._run)


class ModelAnnouncer:
    """One channel, which is away now and then."""

    def __init__(self, _channels):
        pass

    def tell(self, announcement):
        if announcement.kind is Kind.UNREADABLE:
            PROCESS.get().installation.checks.told_unreadable.add(announcement.about)

    async def deliver(self, announcement, but_for):
        process = PROCESS.get()
        await asyncio.sleep(process.world.rng.uniform(0, 3))
        if process.world.fault("a channel is away", 0.2):
            return set(), False
        process.installation.checks.told.add((announcement.about, announcement.message))
        return {"channel"}, True

    async def close(self):
        pass


class Step:
    """A task without its engine: the same retries, retry condition and time limit."""

    def __init__(self, task):
        self.task = task
        self.name = task.name

    def with_options(self, **_):
        return self

    async def __call__(self, *args, **kwargs):
        task = self.task
        for delay_s in (*task.retry_delay_seconds, None):
            try:
                with anyio.fail_after(task.timeout_seconds):
                    return await task.fn(*args, **kwargs)
            except Exception as error:
                again = await task.retry_condition_fn(task, None, Failed(data=error))
                if delay_s is None or not again:
                    raise
            await asyncio.sleep(delay_s)
        raise AssertionError


class RunLog:
    """Prefect's run logger: into the trace."""

    def _tell(self, message, *args, exc_info=None):
        world = PROCESS.get().world
        if world.trace is not None:
            world.tell("log:", (message % args)[:200])

    debug = info = warning = _tell

    def error(self, message, *args, exc_info=None):
        self._tell(message, *args)
        if isinstance(exc_info, Exception):
            PROCESS.get().suspect(exc_info)

    def exception(self, message, *args):
        import sys

        self._tell(message, *args)
        PROCESS.get().suspect(sys.exc_info()[1])


async def _process_workset(*, return_state=True, **parameters):
    """The real flow without its engine, which keeps a flow's exception as its state."""
    try:
        return await _flow(**parameters)
    except Exception as error:
        PROCESS.get().world.tell(f"flow of {parameters['workset_id']}: {error!r}"[:200])
        PROCESS.get().suspect(error)


_flow = flows.process_workset.process_workset.fn
_poll = flows.poll_worksets.poll_worksets.fn


_parsed = lru_cache(maxsize=None)(parse_spec)


def _parse_spec(data, sheet):
    """The same few files again and again; all name their samples."""
    return _parsed(data)


_slugify = lru_cache(maxsize=None)(prefect.blocks.core.slugify)


def poller(launch, config):
    return lambda: _poll(config=config, settings="default", launch=launch)


def worker(parameters):
    return lambda: _process_workset(**parameters)


async def _load(reference, _kind):
    """A block, from a Prefect server that does not always answer."""
    process = PROCESS.get()
    if process.world.closing:
        raise asyncio.CancelledError
    if process.world.fault("Prefect does not answer", 0.005):
        raise httpx.ConnectError("Prefect does not answer")
    if reference.startswith("workset-settings/"):
        return process.installation.settings
    return process.db if reference.startswith("model-db/") else process.clusters[reference]


async def _load_source(_place, _call):
    return PROCESS.get().installation.source


async def _arun_deployment(_name, *, parameters, idempotency_key, **_):
    process = PROCESS.get()
    world = process.world
    if world.fault("launch lost", 0.02):
        raise httpx.ReadTimeout("no answer from Prefect")
    process.installation.deploy(idempotency_key, parameters)
    if world.fault("answer to a launch lost", 0.02):
        raise httpx.ReadTimeout("no answer from Prefect")


def _sample(of, number):
    """Chance that a seed plays again."""
    return PROCESS.get().world.rng.sample(of, number)


async def _nothing(*_):
    """Stands in for what only tells Prefect."""


async def _no_cancelled_runs(_here):
    """Nobody cancels in Prefect's UI; the operator here cancels in the state DB."""
    return []


@contextmanager
def without_prefect():
    """Run the flows and tasks in this process, on whatever loop it has, without a server."""
    time = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    log = RunLog()
    steps = ("validate", "schedule", "lock", "dispatch", "monitor")
    stand_ins = [
        (host.opening, "Host", ModelHost),
        (host.process, "Threads", ModelThreads),
        (host.lease, "Threads", ModelThreads),
        (host.threads, "threading", SimpleNamespace(Thread=ModelThread)),
        (host.telling, "emit_event", lambda **_: None),
        (host.telling, "Announcer", ModelAnnouncer),
        (host.loading, "load", _load),
        (host.loading, "load_source", _load_source),
        (host.opening, "sign_run", _nothing),
        (host.opening, "cancelled_by_sigterm", nullcontext),
        (blocks.clusters.slurm.cluster, "time", time),
        (flows.poll_worksets, "time", time),
        (flows.poll_worksets, "process_workset", _process_workset),
        (flows.poll_worksets, "SERVED", {}),
        (tasks.discovery, "discover", Step(tasks.discover.discover)),
        (flows.poll_worksets, "recover", Step(tasks.recover.recover)),
        (flows.poll_worksets, "end_dead_runs", Step(tasks.recover.end_dead_runs)),
        (flows.poll_worksets, "sync_limits", _nothing),
        # Prefect makes the same few words into slugs again and again
        (prefect.blocks.core, "slugify", _slugify),
        (tasks.launch, "time", time),
        (tasks.launch, "Claiming", ModelClaiming),
        (tasks.launch, "arun_deployment", _arun_deployment),
        # shorter, so that it comes about within a seed's few minutes
        (tasks.launch, "RELAUNCH_S", 120.0),
        (tasks.recover, "_crash_runs_of", _nothing),
        (tasks.showing.WorksetPage, "show", _nothing),
        (tasks.progress.Seen, "show", _nothing),
        (tasks.showing.Board, "begin", lambda *_: None),
        (tasks.launch, "heed_cancelled_runs", _no_cancelled_runs),
        (tasks.validate, "parse_spec", _parse_spec),
        (tasks.discover, "random", SimpleNamespace(sample=_sample)),
    ]
    stand_ins += [
        (flows.process_workset, step, Step(getattr(flows.process_workset, step))) for step in steps
    ]
    for module in (
        tasks.validate, tasks.dispatch, tasks.settle, tasks.recover, tasks.discover,
        tasks.monitor, tasks.deliveries, tasks.logs, flows.poll_worksets,
    ):  # fmt: skip
        stand_ins.append((module, "get_run_logger", lambda: log))
    with ExitStack() as stack:
        for module, name, stand_in in stand_ins:
            stack.enter_context(patch.object(module, name, stand_in))
        # what is told of every failed look is not for this terminal
        was = logging.root.manager.disable
        stack.callback(logging.disable, was)
        logging.disable(logging.CRITICAL)
        yield
