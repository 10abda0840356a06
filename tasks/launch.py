"""launch: start `process_workset` for what the plan lets start."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from prefect.client.schemas.objects import FlowRun
from prefect.deployments.flow_runs import arun_deployment
from prefect.flow_engine import run_flow_async

from host import Host, process_tag
from host.heartbeats import silent
from host.suspension import unwatched
from tasks import polling
from tasks.cancel import LOOK_S, heed_cancelled_runs, stop_job
from tasks.claiming import Claiming
from tasks.cleaning import Cleaner
from tasks.discovery import Discovery
from tasks.labels import flow_tags, labelled, name_of_run
from tasks.logs import run_log
from tasks.polling import POLL_WORKSETS, Poll
from tasks.recover import Neighbours, Recovered, take_over
from tasks.serving import AnyFlow, Serving
from tasks.showing import Board
from worksets.config import Launch, Pipeline
from worksets.errors import MAX_DETAILS
from worksets.placement import Decision, plan
from worksets.polling import Stop
from worksets.record import WorksetRecord, scopes_of
from worksets.texts import plain

PROCESS_WORKSET: Final = "process-workset"
"""Name of the deployment of which the runs are that start here."""
RELAUNCH_S = 600.0
"""A deployment run that has not taken its workset by then (a dead worker) is started again."""
STOP_S = 10.0
"""Seconds for flows that are broken off to say so."""
REFUSALS = 10
"""Worksets that validation will refuse, started in one go; they need no slot."""


@dataclass(frozen=True)
class Sent:
    """What was started and is not locked yet; without a cluster, it needs no slot."""

    version: int
    at: float
    cluster: str


class Launcher:
    """The worksets that this poller has started, and what it may start next."""

    def __init__(
        self,
        here: Host,
        process_workset: AnyFlow,
        launch: Launch,
        served: Mapping[str, AnyFlow],
    ) -> None:
        self.here = here
        self.launch = launch
        self.wake = asyncio.Event()
        self.decisions: list[Decision] = []
        self._stuck_by: dict[str, Pipeline | None] = {}
        """What is stuck, with its pipeline as it was when its folder was looked at."""
        self.started = 0
        self._process_workset = process_workset
        self._children: dict[str, asyncio.Task[Any]] = {}
        self._sent: dict[str, Sent] = {}
        self._claiming = Claiming(here)
        self.neighbours = Neighbours(here)
        self._broken: set[str] = set()
        self.discovery = Discovery(here, self.wake.set)
        self.board = Board(here)
        self._cleaner = Cleaner(here)
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._held: list[WorksetRecord] = []
        self._ready: list[WorksetRecord] = []
        self.serving = Serving(here, served, self.begin, {POLL_WORKSETS: polling.HOUR_S})
        self._asked_for: set[asyncio.Task[Any]] = set()
        self._context = Context()
        self.poll = Poll(self.serving, self.wake.set, self._beside)

    @property
    def busy(self) -> bool:
        return bool(self._children)

    def live_in(self, context: Context) -> None:
        """Start what starts here in this context: the run of a poll may end before it."""
        self._context = context

    @asynccontextmanager
    async def polling(self, stop: Stop) -> AsyncIterator[None]:
        """Cycle here; the queue is shown in the run of this poll."""
        self.discovery.tell_of_every_look = stop.bounded
        self.discovery.follows = stop.cycles is None
        self.board = Board(self.here)
        with self.poll.cycling():
            try:
                yield
                await self.board.shown()
            finally:
                self.board.stop()

    def show(self) -> None:
        """Show the queue, as the last full cycle has seen it."""
        note = f"The polls are paused ({POLL_WORKSETS})." if self.poll.paused else ""
        self.board.begin([*self._ready, *self._held], note)

    async def take_over(self, recovered: Recovered) -> list[WorksetRecord]:
        """What nobody carries any more, held here where it will run here; once in a full cycle.

        All of it, before a flow of it begins: the last would wait long for those before it.
        """
        self._broken.clear()
        self._held = list(recovered.held)
        self._claiming.others = recovered.others
        self.neighbours.seen(recovered.alive)
        self._stop_cancelled(recovered.held)
        runs_here = self.here.watches if self.launch == "inline" else ()
        return await take_over(self.here, recovered, runs_here)

    async def go_on_with(self, left: Iterable[WorksetRecord]) -> None:
        """Begin the flows of what was taken over."""
        for record in left:
            await self._start(record, None)

    async def cycle(self) -> None:
        """Plan, and start what has a free slot."""
        self.discovery.news = False
        await self._claiming.look()
        ready = {record.workset_id: record for record in await self.here.call(self.here.db.ready)}
        self._ready = list(ready.values())
        self._stop_cancelled(ready.values())
        self._let_go_of_lost(ready)
        self._cleaner.begin()
        self.discovery.waiting = [record for record in ready.values() if record.awaits]
        if self.poll.paused:
            self.decisions = []
            return
        theirs = self._claiming.theirs.keys()
        # in the order of their ids: a set has none
        starts = dict.fromkeys(sorted((self.discovery.to_refuse & ready.keys()) - theirs), "")
        await self.here.budgets.look(self._begun(ready))
        passed_over = {*self._children, *self._broken, *theirs, *starts}
        self.decisions = await self.here.call(
            plan,
            [
                record
                for record in ready.values()
                if record.workset_id not in passed_over
                and not record.cancel_requested
                and not record.awaits
            ],
            self.here.views,
            await self._counts(ready),
            self.here.limits,
            self.here.settings.weights,
            self.here.settings.placement,
            self.here.db.now(),
            running=await self._taking_room(ready),
            lately=await self.here.lately.hours(self._held),
        )
        self.discovery.waiting += self._reckoned_by_other_settings(ready)
        refused = [d.workset_id for d in self.decisions if d.action == "refuse"]
        starts |= dict.fromkeys(refused[:REFUSALS], "")
        starts |= {d.workset_id: d.cluster_name for d in self.decisions if d.action == "start"}
        under_way = {id_: sent.cluster for id_, sent in self._sent.items()}
        mine = await self._claiming.claim(starts, under_way, ready)
        for id_, cluster in starts.items():
            if id_ in mine:
                self.discovery.to_refuse.discard(id_)
                await self._start(ready[id_], cluster or None)
        if starts.keys() - mine:
            self.wake.set()  # the slots that were meant for them may be free still
        for decision in self.decisions:
            if decision.action == "stuck":
                await self._tell_stuck(ready[decision.workset_id], decision.reason)

    def _reckoned_by_other_settings(
        self, ready: Mapping[str, WorksetRecord]
    ) -> list[WorksetRecord]:
        """What is stuck, and not looked at since its pipeline asks for what it asks for now."""
        found = []
        for decision in self.decisions:
            record = ready[decision.workset_id]
            pipeline = self.here.settings.pipelines.get(record.pipeline)
            if decision.action == "stuck" and self._stuck_by.get(record.workset_id) != pipeline:
                self._stuck_by[record.workset_id] = pipeline
                found.append(record)
        self._stuck_by = {id_: by for id_, by in self._stuck_by.items() if id_ in ready}
        return found

    async def watch_for_cancellations(self) -> None:
        """Look every few seconds for what a person has cancelled, and stop it; for ever."""
        while True:
            try:
                for workset_id in await heed_cancelled_runs(self.here):
                    self._stop_cancelled([await self.here.call(self.here.db.get, workset_id)])
            except Exception:
                run_log().exception("cancelled runs were not looked for; tried again")
            await asyncio.sleep(LOOK_S)

    def _stop_cancelled(self, records: Iterable[WorksetRecord]) -> None:
        """Stop the jobs of those that are to be cancelled, beside all else that goes on."""
        for record in records:
            id_ = record.workset_id
            if record.cancel_requested and id_ not in self._stopping:
                stopping = asyncio.create_task(stop_job(self.here, record), name=f"stop {id_}")
                self._stopping[id_] = stopping
                stopping.add_done_callback(partial(self._stopped, id_))

    def _let_go_of_lost(self, ready: Mapping[str, WorksetRecord]) -> None:
        """End the flows here that wait for a job which an operator has declared lost."""
        for id_ in self._children.keys() & ready.keys():
            if ready[id_].history and ready[id_].history[-1].event == "Lost":
                run_log().warning("%s: its job is lost, an operator says", id_)
                self._children[id_].cancel()

    def _stopped(self, workset_id: str, _: asyncio.Task[None]) -> None:
        # no wake: one that cannot be stopped now would be tried again without a pause
        self._stopping.pop(workset_id, None)

    async def _tell_stuck(self, record: WorksetRecord, reason: str) -> None:
        """Say why a workset cannot start with what there is now: once, until the reason changes."""
        if record.placement_reason != plain(reason, MAX_DETAILS):
            run_log().warning("%s cannot start: %s", record.workset_id, reason)
            noted = await self.here.call(
                self.here.db.note_wait, record.workset_id, reason, stuck=True
            )
            if noted is not None:
                self.here.outbox.tell(noted)

    def _begun(self, ready: Mapping[str, WorksetRecord]) -> list[WorksetRecord]:
        """What was sent off, here or elsewhere, and is not locked yet, each on its cluster."""
        here = {id_: sent.cluster for id_, sent in self._sent.items()}
        return [
            ready[id_].model_copy(update={"cluster_name": cluster})
            for id_, cluster in (self._claiming.theirs | here).items()
            if cluster and id_ in ready
        ]

    async def _taking_room(self, ready: Mapping[str, WorksetRecord]) -> list[WorksetRecord]:
        """What takes of the clusters' room, each once: it may just have been locked."""
        begun = {record.workset_id: record for record in self._begun(ready)}
        held = {record.workset_id: record for record in await self.here.taking_room()}
        return list((begun | held).values())

    async def _counts(self, ready: dict[str, WorksetRecord]) -> dict[str, int]:
        """Holders of each scope, with what was sent off and is not locked yet (`_begun`)."""
        counts = Counter(await self.here.call(self.here.db.holder_counts))
        for id_, sent in list(self._sent.items()):
            record = ready.get(id_)
            late = time.monotonic() - sent.at > RELAUNCH_S
            if record is None or record.version != sent.version or late:
                del self._sent[id_]
        for record in self._begun(ready):
            counts.update(scopes_of(record.cluster_name, record.customer_id))
        return counts

    async def _start(self, record: WorksetRecord, cluster: str | None) -> None:
        id_ = record.workset_id
        if id_ in self._children or self._already_sent(record):
            return
        self.started += 1
        self._sent[id_] = Sent(record.version, time.monotonic(), cluster or "")
        parameters = {
            "workset_id": id_,
            "settings": self.here.name,
            "cluster": cluster,
            "attempt": record.current_attempt,
        }
        if self.launch == "deployment":
            await arun_deployment(
                self.here.settings.deployment,
                parameters=parameters,
                timeout=0,
                tags=flow_tags(record),
                as_subflow=False,
                flow_run_name=name_of_run(id_, record.current_attempt),
                idempotency_key=_key(record, self.here.db.now().timestamp()),
            )
            return
        self._carry(id_, self._start_run(record, parameters))

    def begin(self, flow: AnyFlow, run: FlowRun) -> None:
        """Run here what a person has asked for."""
        id_ = str(run.parameters.get("workset_id", ""))
        if flow is self._process_workset and id_ and id_ not in self._children:
            self._carry(id_, self._run_asked_for(flow, run))
            return
        if run.auto_scheduled:  # of the polls: nothing else here has a schedule
            self.poll.follow(run)
        else:
            self._beside(self._run_asked_for(flow, run))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        asked_for = asyncio.create_task(work, context=self._context.copy())
        self._asked_for.add(asked_for)
        asked_for.add_done_callback(self._asked_for.discard)
        asked_for.add_done_callback(lambda _: self.wake.set())

    def _carry(self, workset_id: str, run: Coroutine[Any, Any, None]) -> None:
        child = asyncio.create_task(run, name=workset_id, context=self._context.copy())
        self._children[workset_id] = child
        child.add_done_callback(lambda _: self._ended(workset_id))

    def _already_sent(self, record: WorksetRecord) -> bool:
        sent = self._sent.get(record.workset_id)
        return (
            self.launch == "deployment"
            and sent is not None
            and sent.version == record.version
            and time.monotonic() - sent.at <= RELAUNCH_S
        )

    async def _start_run(self, record: WorksetRecord, parameters: dict[str, Any]) -> None:
        try:
            if not self.serving.serves(PROCESS_WORKSET):
                with labelled(record):
                    await self._process_workset(**parameters, return_state=True)  # type: ignore[misc]
                return
            run = await self.serving.new_run(
                PROCESS_WORKSET,
                parameters,
                name_of_run(record.workset_id, record.current_attempt),
                [*flow_tags(record), process_tag(self.here.owner)],
            )
            await _run(_under_its_name(self._process_workset), run)
        except Exception:
            # the state DB knows where the workset stands; the next full cycle goes on from there
            self._broken.add(parameters["workset_id"])
            run_log().exception("the flow of %s broke off", parameters["workset_id"])

    async def _run_asked_for(self, flow: AnyFlow, run: FlowRun) -> None:
        try:
            await _run(flow, run)
        except Exception:
            run_log().exception("the run %s, which somebody asked for, broke off", run.name)

    def _ended(self, workset_id: str) -> None:
        self._children.pop(workset_id, None)
        self._sent.pop(workset_id, None)
        self.wake.set()

    async def drain(self) -> None:
        """Wait for the worksets that run in this process; what an operator asks is heeded still."""
        while carried := {*self._children.values(), *self._asked_for}:
            done, _ = await asyncio.wait(carried, timeout=self.here.config.poll_interval_seconds)
            if not done:
                await self._heed_operator()
            await asyncio.sleep(0)
        await self._cleaner.finish()

    async def _heed_operator(self) -> None:
        try:
            self._stop_cancelled(await self.here.call(self.here.db.held))
            ready = await self.here.call(self.here.db.ready)
            self._let_go_of_lost({record.workset_id: record for record in ready})
        except Exception:
            run_log().exception("what is to be cancelled was not looked for; tried again")

    async def stop(self) -> None:
        """Break off the flows in this process; their jobs run on and are attached to later.

        Waits for them: they end before their parent, or they could tell nobody that they did.
        """
        self.discovery.stop()
        self._cleaner.stop()
        self.here.lately.stop()
        children = [*self._children.values(), *self._stopping.values(), *self._asked_for]
        for child in children:
            child.cancel()
        if children:
            await asyncio.wait(children, timeout=STOP_S)


async def _run(flow: AnyFlow, run: FlowRun) -> None:
    with unwatched():
        await run_flow_async(flow, run, parameters=run.parameters, return_type="state")


def _under_its_name(flow: AnyFlow) -> AnyFlow:
    """The flow for a run that was made with its name: Prefect would send it once more."""
    found = copy(flow)
    found.flow_run_name = None
    return found


_launcher: ContextVar[Launcher | None] = ContextVar("launcher", default=None)


@asynccontextmanager
async def launching(
    here: Host, process_workset: AnyFlow, launch: Launch, served: Mapping[str, AnyFlow]
) -> AsyncIterator[Launcher]:
    """The launcher of this process; a nested call finds the outer one.

    Leaving it in order waits for the worksets that run here; else their flows are broken off.
    """
    outer = _launcher.get()
    if outer is not None and outer.here is here:
        yield outer
        return
    launcher = Launcher(here, process_workset, launch, served if launch == "inline" else {})
    token = _launcher.set(launcher)
    with silent():
        launcher.live_in(copy_context())
    watches: list[asyncio.Task[None]] = []
    try:
        await launcher.serving.open(PROCESS_WORKSET, POLL_WORKSETS)
        watches = [
            asyncio.create_task(launcher.watch_for_cancellations()),
            asyncio.create_task(launcher.serving.watch()),
        ]
        yield launcher
        if not launcher.poll.cancelled:
            await launcher.drain()
    finally:
        _launcher.reset(token)
        for watch in watches:
            watch.cancel()
        await launcher.stop()
        await launcher.serving.close()


def _key(record: WorksetRecord, now_s: float) -> str:
    """Idempotency key of a launch: one run for a workset's attempt as it stands now.

    The version changes with every write; the time lets a run that a worker lost be started anew.
    """
    return f"{record.home}/{record.attempt}/{record.version}/{int(now_s // RELAUNCH_S)}"
