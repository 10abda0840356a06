"""The end of a process: each thing is given up for itself, the lease first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from prefect.logging import get_logger

from blocks.clusters import Cluster
from host.threads import LooseThreads

if TYPE_CHECKING:
    from host.process import Host

CLOSE_S: Final = 5.0
"""Seconds that the lease, and then each cluster, has to be given up; nobody waits longer."""


async def let_go(here: Host) -> None:
    """Give up all that a process holds, each for itself: what fails or hangs keeps nothing else."""
    for watch in here.watches.values():
        watch.close()
    # first: others may go on at once; what is still to be told may take a few seconds
    await closed(
        f"the lease of {here.owner} was not given up",
        f"it runs out by itself, {here.settings.lease_s:g} s after it was last renewed",
        partial(here.db.drop_lease, here.owner),
    )
    await here.outbox.close()
    clusters = (close_cluster(watch.cluster) for watch in here.watches.values())
    ends = await asyncio.gather(
        *clusters, here.telling.stop(), here.share_health(), return_exceptions=True
    )
    for error in (end for end in ends if isinstance(end, Exception)):
        get_logger("host").error("something was not told at the end", exc_info=error)


async def close_cluster(cluster: Cluster) -> None:
    await closed(
        f"the cluster {cluster.cluster_name} was not closed",
        "its jobs go on; a connection that is left open ends with this process",
        cluster.close,
    )


async def closed(trouble: str, comes_of_it: str, close: Callable[[], Any]) -> None:
    """Close something that blocks; if that fails or takes longer than CLOSE_S, it is logged."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await LooseThreads(1, "close")(close)
    except Exception as error:
        late = isinstance(error, TimeoutError) and not error.args
        why = f"no answer in {CLOSE_S:g} s" if late else f"{type(error).__name__}: {error}"
        get_logger("host").error("%s: %s; %s", trouble, why, comes_of_it)
