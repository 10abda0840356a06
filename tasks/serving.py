"""serving: what people start, copy or retry in Prefect's UI runs in the poller, without a worker.

The deployments have no work pool: their runs are found here, by whichever poller of the
installation looks first; Prefect's own transition to Pending decides between two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun, StateType, VersionInfo
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments.runner import EntrypointType  # type: ignore[attr-defined]
from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Cancelled, Pending
from prefect.utilities.engine import propose_state

from host import Host
from tasks.logs import run_log

LOOK_S: Final = 2.0
"""Seconds between two looks for runs that people have asked for."""
PAGE: Final = 50
RELEASE: Final = version("prefect-worksets")

AnyFlow = Flow[Any, Any]


class Serving:
    """The deployments that a poller serves, and the runs of them that nobody has taken yet."""

    def __init__(
        self,
        here: Host,
        flows: Mapping[str, AnyFlow],
        begin: Callable[[AnyFlow, FlowRun], None],
        every_s: Mapping[str, float],
    ) -> None:
        self._here = here
        self._every_s = every_s
        self._flows = flows
        self._begin = begin
        self._served: dict[UUID, AnyFlow] = {}
        self._ids: dict[str, UUID] = {}
        self._opened = AsyncExitStack()
        self._client: PrefectClient | None = None

    async def open(self, *first: str) -> None:
        """Have these deployments on the server, as this release has them; `watch` sees to the rest.

        Where that is refused, worksets run all the same, without buttons in the UI.
        """
        if self._flows:
            # one for all that follows: to make one takes a tenth of a second
            self._client = await self._opened.enter_async_context(get_client())
            for name in first:
                await self._deploy(self._client, name)

    async def close(self) -> None:
        await self._opened.aclose()

    async def _deploy(self, client: PrefectClient, name: str) -> None:
        flow = self._flows[name]
        try:
            id_ = await self._saved(client, name, flow)
        except Exception as error:
            run_log().warning(
                "%s is not served: its deployment could not be saved: %s", name, error
            )
        else:
            self._ids[name], self._served[id_] = id_, flow

    async def _saved(self, client: PrefectClient, name: str, flow: AnyFlow) -> UUID:
        """The deployment of a flow; of a second installation on the server by a name of its own."""
        name_of_flow = name
        name = name if self._here.name == "default" else f"{name}-{self._here.name}"
        there = await _there(client, f"{flow.name}/{name}")
        if there is not None and there.work_pool_name:
            name = f"{name}-here"  # that one is for workers, and stays theirs
            there = await _there(client, f"{flow.name}/{name}")
        deployment = await flow.ato_deployment(
            name=name,
            version=RELEASE,
            parameters={"settings": self._here.name},
            description=f"{(flow.description or '').strip()}\n\nRuns in the poller.",
            entrypoint_type=EntrypointType.MODULE_PATH,
            # a person's pause outlives this process
            paused=there is not None and bool(there.paused),
            schedules=self._schedules(name_of_flow, there),
        )
        # told, or Prefect asks git about the folder that we were started in, on the event loop
        release = VersionInfo(type="prefect:simple", version=RELEASE)
        return await deployment.aapply(version_info=release)

    def _schedules(
        self, name: str, there: DeploymentResponse | None
    ) -> list[DeploymentScheduleCreate]:
        """Those that it has, switched on or off as a person left them; else the first one."""
        if there is not None and there.schedules:
            return [
                DeploymentScheduleCreate(schedule=known.schedule, active=known.active)
                for known in there.schedules
            ]
        if name not in self._every_s:
            return []
        every = IntervalSchedule(interval=timedelta(seconds=self._every_s[name]))
        return [DeploymentScheduleCreate(schedule=every, active=True)]

    def serves(self, name: str) -> bool:
        return name in self._ids

    async def is_paused(self, name: str) -> bool:
        """Whether a person has paused a deployment, or switched off all of its schedules.

        One that is not served is not.
        """
        if self._client is None or name not in self._ids:
            return False
        there = await self._client.read_deployment(self._ids[name])
        off = bool(there.schedules) and not any(known.active for known in there.schedules)
        return bool(there.paused) or off

    async def is_cancelled(self, run_id: str | None) -> bool:
        """Whether a person has cancelled a run that lives here, where nobody else ends it."""
        if self._client is None or run_id is None:
            return False
        run = await self._client.read_flow_run(UUID(run_id))
        return run.state_type in (StateType.CANCELLING, StateType.CANCELLED)

    async def tag(self, run: FlowRun, tags: Iterable[str]) -> None:
        """Give a run that was taken here more tags."""
        assert self._client is not None
        await self._client.update_flow_run(run.id, tags=sorted({*run.tags, *tags}))

    async def end(self, run: FlowRun, why: str) -> None:
        """End a run that was taken here and is not wanted."""
        assert self._client is not None
        await self._client.set_flow_run_state(run.id, Cancelled(message=why), force=True)

    async def new_run(
        self, name: str, parameters: Mapping[str, Any], run_name: str, tags: Iterable[str]
    ) -> FlowRun:
        """A run of a deployment that this process begins at once itself."""
        assert self._client is not None
        return await self._client.create_flow_run_from_deployment(
            self._ids[name],
            parameters=dict(parameters),
            state=Pending(),
            name=run_name,
            tags=list(tags),
        )

    async def watch(self) -> None:
        """Begin what people ask for, within seconds; for ever."""
        if self._client is None:
            return
        for name in self._flows.keys() - self._ids.keys():
            await self._deploy(self._client, name)
        while self._served:
            try:
                await self._look(self._client)
            except Exception as error:
                run_log().warning(
                    "runs that people have asked for were not looked for: %s; tried again",
                    error or type(error).__name__,
                )
            await asyncio.sleep(LOOK_S)

    async def _look(self, client: PrefectClient) -> None:
        due = await client.get_scheduled_flow_runs_for_deployments(
            list(self._served), scheduled_before=datetime.now(UTC), limit=PAGE
        )
        for run in due:
            if run.deployment_id in self._served and await _taken(client, run):
                self._begin(self._served[run.deployment_id], run)


async def _there(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


async def _taken(client: PrefectClient, run: FlowRun) -> bool:
    """Whether this process, and no other poller, is to begin a run."""
    try:
        return (await propose_state(client, Pending(), flow_run_id=run.id)).is_pending()
    except Abort:
        return False
