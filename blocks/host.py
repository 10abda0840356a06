"""What one process needs to carry worksets: its open blocks, its lease, one watch per cluster.

A process opens one host however many worksets it carries; a flow that runs inside another finds
the host that is open already.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import anyio
from prefect import runtime
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.logging import get_logger

from blocks.clusters import Cluster
from blocks.events import as_event
from blocks.folders import Folder, LocalSource, Source, local_folder
from blocks.notify.announcer import Announcer
from blocks.settings import WorksetSettings
from blocks.signals import cancelled_by_sigterm
from blocks.state_db import WorksetStateDB
from blocks.watch import ClusterWatch
from worksets.announcements import Announcement, Kind
from worksets.config import ProcessorConfig
from worksets.errors import ConfigurationError, Refused
from worksets.placement import ClusterView, Limits
from worksets.uris import lies_below

P = ParamSpec("P")
T = TypeVar("T")

MODULES: Final = {
    "sqlite-workset-state-db": "blocks.sqlite_state_db",
    "dynamodb-workset-state-db": "blocks.dynamodb_state_db",
    "local-cluster": "blocks.local_cluster",
    "slurm-cluster": "blocks.slurm.cluster",
    "sns-topic": "blocks.notify.aws",
    "sqs-queue": "blocks.notify.aws",
    "linear-team": "blocks.notify.linear",
    "s3-bucket": "prefect_aws.s3",
    "local-file-system": "prefect.filesystems",
}
"""Where each kind of block is; imported when it is used, for AWS's packages take half a second."""

LOOK_WAIT_S: Final = 2.0
"""Seconds that a cycle waits for the clusters to tell their capacity."""

_current: ContextVar[Host | None] = ContextVar("host", default=None)


class Threads:
    """Runs blocking functions in a number of threads that nobody else waits for."""

    def __init__(self, number: int) -> None:
        self._limiter = anyio.CapacityLimiter(number)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(
            lambda: function(*args, **kwargs), limiter=self._limiter
        )


class Host:
    """The blocks this process works with, and the name by which it holds worksets."""

    def __init__(
        self, name: str, settings: WorksetSettings, db: WorksetStateDB, config: ProcessorConfig
    ) -> None:
        self.name = name
        self.settings = settings
        self.db = db
        self.config = config
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.watches: dict[str, ClusterWatch] = {}
        self.placeable: frozenset[str] = frozenset()
        self.live: set[str] = set()
        self.sources: list[Source] = []
        self.call = Threads(config.max_workers)
        self._announcer: Announcer | None = None
        self._log = get_logger("host")

    @property
    def views(self) -> list[ClusterView]:
        """The clusters as placement sees them; one that does not answer is not placed on."""
        views = []
        for name in sorted(self.placeable):
            watch = self.watches[name]
            view, room = watch.cluster.view(), watch.capacity
            if watch.unreachable:
                view = view.model_copy(update={"unavailable": watch.unreachable})
            elif room == 0:
                why = "no node of it takes jobs now, or others have them all"
                view = view.model_copy(update={"unavailable": view.unavailable or why})
            elif room is not None and room < view.max_concurrent_worksets:
                view = view.model_copy(update={"max_concurrent_worksets": room})
            views.append(view)
        return views

    @property
    def limits(self) -> Limits:
        return self.settings.limits(self.config, self.views)

    def watch(self, cluster_name: str) -> ClusterWatch:
        """The watch of a cluster.

        Raises:
            ConfigurationError: the settings have no such cluster.
        """
        if cluster_name not in self.watches:
            raise ConfigurationError(
                f"cluster {cluster_name} is not in the settings {self.name!r}; there are "
                f"{', '.join(sorted(self.watches)) or 'none'}"
            )
        return self.watches[cluster_name]

    async def refresh(self) -> None:
        """Read settings and clusters again, so that changes count without a restart."""
        self.settings = await load_settings(self.name)
        found = {c.cluster_name: c for c in await _load_clusters(self.settings)}
        for name, cluster in found.items():
            known = self.watches.get(name)
            if known is None:
                # threads of its own: a cluster that hangs holds up nothing else
                tell = partial(self._tell_of_cluster, name)
                self.watches[name] = ClusterWatch(cluster, Threads(self.config.max_workers), tell)
            elif known.cluster.model_dump() != cluster.model_dump():
                # only then: what a cluster has seen of its jobs must outlive this look
                await known.call(known.cluster.close)
                known.cluster = cluster
        # one that left the settings is still watched for what runs there, but not placed on
        self.placeable = frozenset(found)
        self.sources = [await _load_source(place) for place in self.settings.worksets]
        looks = [asyncio.ensure_future(self.watches[name].look()) for name in found]
        if looks:
            # one that takes its time is used as it was last seen
            await asyncio.wait(looks, timeout=LOOK_WAIT_S)

    def open_folder(self, location: str) -> Folder:
        """The workset's folder at a location, through the watched place that it lies in.

        Raises:
            ConfigurationError: nothing that is watched leads there.
        """
        for source in self.sources:
            if lies_below(location, source.root):
                return source.open(location)
        if location.startswith("file://"):
            return local_folder(location)  # found in a folder that is not watched any more
        raise ConfigurationError(
            f"{location} lies below none of the watched places "
            f"({', '.join(source.root for source in self.sources)}); add its bucket again"
        )

    @asynccontextmanager
    async def carrying(self, workset_id: str) -> AsyncIterator[None]:
        """Mark a workset as carried by this process, so that it is not begun here twice."""
        if workset_id in self.live:
            raise Refused(f"workset {workset_id} is being processed by this process already")
        self.live.add(workset_id)
        try:
            yield
        finally:
            self.live.discard(workset_id)

    def announce(self, announcement: Announcement) -> None:
        """Tell people, after what happened is saved: Prefect's events, and every notifier."""
        if not self.config.enable_notifications:
            return
        emit_event(**as_event(announcement))
        if self._announcer is not None:
            self._announcer.tell(announcement)

    def _tell_of_cluster(self, name: str, kind: Kind, message: str) -> None:
        self._log.warning("%s", message)
        self.announce(Announcement(kind, name, message))

    async def start_notifying(self) -> None:
        """Load the notifiers; one that cannot be loaded is told of, and does without."""
        channels: list[NotificationBlock] = []
        for reference in self.settings.notifiers:
            try:
                if reference.partition("/")[0] not in MODULES:
                    import_module("prefect.blocks.notifications")  # Slack, Teams, e-mail and so on
                channels.append(await _load(reference, NotificationBlock))  # type: ignore[type-abstract]
            except Exception:
                self._log.exception("the notifier %s is not used", reference)
        self._announcer = Announcer(channels)

    async def stop_notifying(self) -> None:
        if self._announcer is not None:
            await self._announcer.close()

    async def beat(self) -> None:
        """Renew this process's lease, three times as often as it needs; for ever."""
        while True:
            pause_s = self.settings.lease_s / 3
            try:
                await self.call(self.db.renew_lease, self.owner, self.settings.lease_s)
            except Exception:
                # if it goes on, others take over what this process holds; fences keep that safe
                self._log.exception("the lease of %s was not renewed; tried again", self.owner)
                pause_s /= 10
            await asyncio.sleep(pause_s)


def host() -> Host:
    """The host that is open around this call."""
    found = _current.get()
    if found is None:
        raise ConfigurationError("no host is open; call the flow, not its tasks")
    return found


@asynccontextmanager
async def open_host(settings: str, config: ProcessorConfig | None = None) -> AsyncIterator[Host]:
    """The process's host for the settings block of this name; a nested call finds the outer one.

    Leaving it gives up the lease: what is held still, others may take over at once.

    Raises:
        ConfigurationError: the settings or a block they name do not exist.
    """
    outer = _current.get()
    if outer is not None and outer.name == settings:
        yield outer
        return
    found = await load_settings(settings)
    db = await _load(found.state_db, WorksetStateDB)  # type: ignore[type-abstract]
    here = Host(settings, found, db, config or found.processor)
    await here.start_notifying()
    await here.refresh()
    await here.call(db.renew_lease, here.owner, found.lease_s)
    await _sign_run(here.owner)
    heartbeat = asyncio.create_task(here.beat(), name="lease")
    token = _current.set(here)
    try:
        with cancelled_by_sigterm():
            yield here
    finally:
        _current.reset(token)
        heartbeat.cancel()
        with anyio.CancelScope(shield=True):
            for watch in here.watches.values():
                watch.close()
                await watch.call(watch.cluster.close)
            # others may go on at once; what is still to be told may take a few seconds
            await here.call(db.drop_lease, here.owner)
            await here.stop_notifying()


def process_tag(owner: str) -> str:
    """The tag of all flow runs that live in a process, so that they can be ended for a dead one."""
    return f"process:{owner.rpartition(':')[2]}"


async def _sign_run(owner: str) -> None:
    if run_id := runtime.flow_run.id:
        async with get_client() as client:
            tags = sorted({*runtime.flow_run.tags, process_tag(owner)})
            await client.update_flow_run(flow_run_id=UUID(run_id), tags=tags)


async def load_settings(name: str) -> WorksetSettings:
    """The settings block of this name, from Prefect's server."""
    return await _load(f"workset-settings/{name}", WorksetSettings)


async def load_state_db(settings: str) -> WorksetStateDB:
    """The state DB of a settings block, for what needs no host."""
    found = await load_settings(settings)
    return await _load(found.state_db, WorksetStateDB)  # type: ignore[type-abstract]


async def _load_clusters(settings: WorksetSettings) -> list[Cluster]:
    found = [
        await _load(reference, Cluster)  # type: ignore[type-abstract]
        for reference in settings.clusters
    ]
    names = [cluster.cluster_name for cluster in found]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"two clusters have one cluster_name: {', '.join(names)}")
    return found


async def _load_source(place: str) -> Source:
    """The watched place that an entry of the settings' `worksets` names."""
    kind = place.partition("/")[0]
    if kind not in ("s3-bucket", "local-file-system"):
        return LocalSource(place)
    block: Any = await _load(place, Block)
    if kind == "s3-bucket":
        from blocks.s3_folders import S3Source  # AWS's packages take half a second

        return S3Source(block)
    return LocalSource(block.basepath)


B = TypeVar("B", bound=Block)


async def _load(reference: str, kind: type[B]) -> B:
    if module := MODULES.get(reference.partition("/")[0]):
        import_module(module)
    try:
        block = await Block.aload(reference)
    except ValueError as error:
        raise ConfigurationError(
            f"there is no block {reference}: {error}; save it first (see the README, Settings)"
        ) from error
    if not isinstance(block, kind):
        raise ConfigurationError(f"the block {reference} is not a {kind.__name__}")
    return block
