"""Blocks, and the places that the settings name, loaded from Prefect's server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeVar, cast

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from blocks import kinds
from blocks.clusters import Cluster
from blocks.folders import LocalSource, Source
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from worksets.errors import ConfigurationError

B = TypeVar("B", bound=Block)


async def load(reference: str, kind: type[B]) -> B:
    """The block of a reference `TYPE/NAME`.

    Raises:
        ConfigurationError: there is none, or it is of another kind.
    """
    try:
        block = await kinds.load(reference)
    except ValueError as error:
        if PREFECT_API_URL.value():
            what = "save it first, in Prefect's UI, or with its settings file: worksets apply"
        else:
            what = (
                "PREFECT_API_URL is not set, so Prefect has asked a temporary server, which knows "
                "none; set it (worksets ui --settings FILE starts a server and prints it)"
            )
        raise ConfigurationError(f"there is no block {reference} ({error}): {what}") from None
    if not isinstance(block, kind):
        raise ConfigurationError(f"the block {reference} is not a {kind.__name__}")
    return block


async def load_settings(name: str) -> WorksetSettings:
    """The settings block of this name, from Prefect's server."""
    return await load(f"workset-settings/{name}", WorksetSettings)


async def load_state_db(settings: str) -> WorksetStateDB:
    """The state DB of a settings block, for what needs no host."""
    found = await load_settings(settings)
    return await load(found.state_db, WorksetStateDB)  # type: ignore[type-abstract]


async def load_clusters(
    settings: WorksetSettings, failed: Callable[[str, ConfigurationError], None]
) -> list[Cluster]:
    """The clusters of the settings, each with a name of its own.

    One whose block cannot be loaded stops no other: `failed` is called with its reference.

    Raises:
        ConfigurationError: none of them can be loaded, or two have one name.
    """
    found: list[Cluster] = []
    last: ConfigurationError | None = None
    for reference in settings.clusters:
        try:
            found.append(await load(reference, Cluster))  # type: ignore[type-abstract]
        except ConfigurationError as error:
            failed(reference, error)
            last = error
    if last is not None and not found:
        raise last
    names = [cluster.cluster_name for cluster in found]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"two clusters have one cluster_name: {', '.join(names)}")
    return found


async def load_source(place: str, call: Callable[..., Awaitable[Any]]) -> Source:
    """The watched place that an entry of the settings' `worksets` names.

    `call` runs in a thread what touches it: a path may lead to a share that hangs.
    """
    kind = place.partition("/")[0]
    if kind not in ("s3-bucket", "local-file-system"):
        return cast(Source, await call(LocalSource, place))
    import_module("prefect.filesystems")  # Prefect's own kinds are in no collection
    block: Any = await load(place, Block)
    if kind == "s3-bucket":
        from blocks.folders import S3Source  # AWS's packages take half a second

        return cast(Source, await call(S3Source, block))
    return cast(Source, await call(LocalSource, block.basepath))
