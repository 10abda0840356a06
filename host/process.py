"""The host: what one process needs to carry worksets, and how it sees the clusters."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from blocks.clusters import ClusterWatch
from blocks.folders import Folder
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from host import loading, places
from host.budgets import Budgets
from host.closing import close_cluster
from host.lately import Lately
from host.lease import new_owner
from host.outbox import Outbox
from host.places import Places
from host.telling import Telling
from host.threads import LooseThreads, P, T, Threads
from worksets.announcements import Announcement
from worksets.capacity import NOT_HEARD
from worksets.config import Pipeline, ProcessorConfig
from worksets.delivery import Seen
from worksets.errors import ConfigurationError, DataError, Refused
from worksets.growth import Asks, asks_of
from worksets.health import Health, worth_saving
from worksets.jobs import Input
from worksets.placement import ClusterView, Limits
from worksets.record import WorksetRecord

LOOK_WAIT_S: Final = 2.0
"""Seconds that a cycle waits for the clusters to tell their capacity."""
FIRST_LOOK_S: Final = 10.0
"""The same, while there is one that nobody has heard of yet: nothing is placed on it before."""


class AnotherInstallation(ConfigurationError):
    """Settings and state DB are not of one installation; nothing is done with either."""


class Host:
    """The blocks this process works with, and the name by which it holds worksets."""

    def __init__(
        self, name: str, settings: WorksetSettings, db: WorksetStateDB, config: ProcessorConfig
    ) -> None:
        self.name = name
        self.settings = settings
        self.db = db
        self.config = config
        self.follows_settings = False
        """Whether `config` is that of the settings, also when they change."""
        self.owner = new_owner()
        self.watches: dict[str, ClusterWatch] = {}
        self.placeable: frozenset[str] = frozenset()
        self.drained: dict[str, str] = {}
        """Clusters that an operator has drained, with the reason."""
        self.full_disks: set[str] = set()
        """Clusters where an attempt has found a disk full, since they were cleaned last."""
        self.live: set[str] = set()
        self.installation = ""
        self.look_again_at = math.inf
        """When (`time.monotonic`) a delivery that is under way may have come to rest."""
        self._known_health: dict[str, Health] = {}
        self._paces: dict[str, dict[str, float]] = {}
        """How long pipelines take on clusters, by what they usually take."""
        self.places = Places()
        self.call = Threads(config.max_workers)
        self.telling = Telling(config)
        self.outbox = Outbox(self)
        self.budgets = Budgets(self)
        self.lately = Lately(self)

    @property
    def views(self) -> list[ClusterView]:
        """The clusters as placement sees them; one that does not answer is not placed on."""
        views = []
        for name in sorted(self.placeable):
            watch = self.watches[name]
            view, room = self.view(name), watch.capacity
            if why := self.drained.get(name):
                view = view.model_copy(update={"unavailable": f"drained: {why}"})
            elif watch.unreachable:
                view = view.model_copy(update={"unavailable": watch.unreachable})
            elif room == 0 and not view.never:
                no_room = "no node of it takes jobs now, or others have them all"
                view = view.model_copy(update={"unavailable": view.unavailable or no_room})
            elif not watch.cluster.heard and not view.never:
                view = view.model_copy(update={"unavailable": view.unavailable or NOT_HEARD})
            elif room is not None and room < view.max_concurrent_worksets:
                view = view.model_copy(update={"max_concurrent_worksets": room})
            views.append(view)
        return views

    def view(self, name: str) -> ClusterView:
        """A cluster as its settings and its scheduler have it, and how fast it has been."""
        view, paces = self.watches[name].cluster.view(), self._paces.get(name)
        return view.model_copy(update={"paces": paces}) if paces else view

    @property
    def limits(self) -> Limits:
        found = self.settings.limits(self.config, self.views)
        return found.model_copy(update={"budgets": self.budgets.known})

    async def taking_room(self) -> list[WorksetRecord]:
        """What is held, by whomsoever, where clusters have no more than so much room."""
        if not any(view.room.bounded for view in self.views):
            return []
        return await self.call(self.db.held)

    def asks_of(self, pipeline: Pipeline) -> Asks:
        """What a workset of a pipeline asks for, wherever it runs."""
        views = [watch.cluster.view() for watch in list(self.watches.values())]
        return asks_of(
            pipeline, [(v.name, v.memory_gb_per_workset, v.minutes_per_workset) for v in views]
        )

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
        settings = await loading.load_settings(self.name)
        if settings.installation not in ("", self.installation):
            raise AnotherInstallation(
                f"the settings {self.name!r} have become those of installation "
                f"{settings.installation}, and this process works for {self.installation}; it "
                f"stops. Its jobs go on; start it again with the settings that are meant"
            )
        self.settings = settings
        if self.follows_settings:
            self.config = settings.processor
        found = {
            cluster.cluster_name: cluster.of(self.installation)
            for cluster in await loading.load_clusters(self.settings, self.telling.of_unloaded)
        }
        for name, cluster in found.items():
            known = self.watches.get(name)
            if known is None:
                # threads of its own: a cluster that hangs holds up nothing else
                threads = LooseThreads(self.config.max_workers, f"cluster {name}")
                tell = self.outbox.tell_of_cluster
                self.watches[name] = ClusterWatch(cluster, threads, tell, self.db.now)
            elif known.cluster.model_dump() != cluster.model_dump():
                # only then: what a cluster has seen of its jobs must outlive this look
                old, known.cluster = known.cluster, cluster
                await close_cluster(old)
        for watch in self.watches.values():
            watch.needs = self.settings.least_needs
        # one that left the settings is still watched for what runs there, but not placed on
        self.placeable = frozenset(found)
        self.drained = await self.call(self.db.drained, sorted(found))
        if len(found) > 1:
            self._paces = await self.call(self.db.paces, self.settings.pipelines, sorted(found))
        await self.places.refresh(self.settings.worksets)
        await self._look_at_clusters()

    async def _look_at_clusters(self) -> None:
        """Ask those that are placed on whether they answer; share what is known with all."""
        watches = [self.watches[name] for name in sorted(self.placeable)]
        self._known_health = await self.call(self.db.clusters_health)
        for watch in watches:
            watch.learn(self._known_health.get(watch.cluster.cluster_name, Health()))
        looks = [asyncio.ensure_future(watch.look()) for watch in watches]
        if looks:
            # one that takes its time is used as it was last seen, if it ever was
            now = self.db.now()
            unheard = any(
                watch.health.heard_at is None or not watch.cluster.heard
                for watch in watches
                if not watch.health.rests(now)
            )
            wait_s = FIRST_LOOK_S if unheard else LOOK_WAIT_S
            await asyncio.wait(looks, timeout=wait_s)
        await self.share_health()

    async def share_health(self) -> None:
        """Tell other processes which clusters answer, where they do not know it already."""
        found = {
            name: watch.health
            for name, watch in self.watches.items()
            if worth_saving(self._known_health.get(name, Health()), watch.health)
        }
        if found:
            await self.call(self.db.save_clusters_health, found)
            self._known_health |= found

    def open_folder(self, location: str) -> Folder:
        """See `host.places`."""
        return places.open_folder(self.places.sources, location)

    def look_elsewhere(self, entry: Input) -> Seen | DataError:
        """See `host.places`."""
        return places.look_elsewhere(self.places.sources, entry)

    async def at(
        self, location: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a blocking function that looks at a location, in the threads of its place.

        Raises:
            TransientError: an earlier look still hangs there.
        """
        return await self.places.call_at(location).at(location, function, *args, **kwargs)

    def look_again_in(self, seconds: float) -> None:
        """Look at what is being delivered after so many seconds, if not sooner."""
        self.look_again_at = min(self.look_again_at, time.monotonic() + seconds)

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
        self.telling.announce(announcement)

    def tell_of_unreadable(self) -> None:
        """Say of each record that was set aside, once, that it is."""
        self.telling.of_unreadable(self.db.set_aside)
