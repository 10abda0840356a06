"""progress: a bar in Prefect's UI for each job that runs long enough for anybody to ask."""

from __future__ import annotations

import asyncio
from typing import Final

from blocks.clusters import ClusterWatch
from host import Host
from tasks.logs import run_log
from tasks.showing import ProgressBar
from worksets.jobs import JobStatus, workset_of
from worksets.progress import progress
from worksets.record import Step

FIRST_S: Final = 30.0
"""Seconds after which a job has a bar; one that has ended by then needs none."""
AGAIN_S: Final = 10.0
"""Seconds between two logs that are read on one cluster, however many jobs it has."""


class Seen:
    """What is shown of one job, by its status of now; nothing depends on it."""

    def __init__(self, here: Host, watch: ClusterWatch, name: str) -> None:
        self.status: JobStatus | None = None
        self._here, self._watch, self._name = here, watch, name

    async def show(self) -> None:
        """Keep the bar right until somebody cancels this; what cannot be shown is said once."""
        await asyncio.sleep(FIRST_S)
        said = False
        try:
            record = await self._here.call(self._here.db.get, workset_of(self._name))
            pipeline = self._here.settings.pipelines.get(record.pipeline)
            pattern = pipeline.progress if pipeline else ""
            hours = record.estimates.duration_hours(self._watch.cluster.vcpus_per_workset)
            bar = ProgressBar(f"progress-{record.workset_id}-{record.uid}")
        except Exception as error:
            run_log().warning("no progress of %s is shown: %s", self._name, error)
            return
        while True:
            try:
                # in turn: a thousand jobs that begin at once, or a log that hangs, hold up no look
                async with self._watch.one_log:
                    log = ""
                    if self.status is not None and not self._watch.unreachable:
                        tail = self._watch.cluster.log_tail
                        log = await self._watch.call(tail, self._name, Step.RUN)
                    await asyncio.sleep(AGAIN_S)
                now = self._here.db.now()
                if self.status and (shown := progress(self.status, log, pattern, hours, now)):
                    await bar.show(f"{shown[0]:.1f}", shown[1])
            except Exception as error:
                if not said:
                    run_log().warning("the progress of %s is not shown: %s", self._name, error)
                said = True
                await asyncio.sleep(AGAIN_S)
