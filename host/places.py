"""The watched places: each with threads of its own, so that one that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prefect.logging import get_logger

from blocks.folders import Folder, Source, local_folder, look_at
from host import loading
from host.threads import LooseThreads
from worksets.delivery import Seen
from worksets.errors import ConfigurationError, DataError, WorksetError
from worksets.jobs import Input
from worksets.uris import lies_below

AT_ONCE: Final = 8
"""Folders of one place that are looked into at once."""
OPEN_S: Final = 10.0
"""Seconds for which a process that begins waits for its places to be opened."""
AGAIN_S: Final = 2.0
"""The same when they are opened again, in every cycle, for the settings may have changed."""
LET_GO_S: Final = 60.0
"""Seconds after which an opening that hangs is let go of, and another one is begun."""


@dataclass(frozen=True)
class Place:
    """One watched place, and the threads in which it is looked at."""

    source: Source
    call: LooseThreads


class Places:
    """All places that the settings have watched."""

    def __init__(self) -> None:
        self._known: dict[str, Place] = {}
        self._opening: dict[str, asyncio.Task[Place]] = {}
        self._calls: dict[str, LooseThreads] = {}
        self._told: dict[str, str] = {}
        """What was last told of each place that cannot be opened."""
        self._elsewhere = LooseThreads(AT_ONCE, "files outside the watched places")
        self._log = get_logger("host")

    def __iter__(self) -> Iterator[Place]:
        return iter(list(self._known.values()))

    @property
    def sources(self) -> list[Source]:
        return [place.source for place in self._known.values()]

    async def refresh(self, entries: Sequence[str]) -> None:
        """Watch what the settings name now; what cannot be opened is told, and tried again.

        One that hangs is waited for when its opening is begun, and then no more: that goes on
        beside all else. One that was known is used as it was meanwhile.

        Raises:
            WorksetError, TimeoutError: none of them can be opened.
        """
        begun = [self._begin(entry) for entry in entries if entry not in self._opening]
        if begun:
            await asyncio.wait(begun, timeout=AGAIN_S if self._known else OPEN_S)
        openings = {entry: self._opening[entry] for entry in entries}
        self._opening = {e: opening for e, opening in self._opening.items() if not opening.done()}
        found: dict[str, Place] = {}
        failed: BaseException | None = None
        for entry, opening in openings.items():
            error = opening.exception() if opening.done() else TimeoutError()
            if error is None:
                found[entry] = opening.result()
                self._told.pop(entry, None)
            elif isinstance(error, WorksetError | TimeoutError):
                failed = error
                self._tell(entry, error)
                if entry in self._known:
                    found[entry] = self._known[entry]
            else:
                raise error
        self._known = found
        if failed is not None and not found:
            raise failed

    def _begin(self, entry: str) -> asyncio.Task[Place]:
        call = self._calls.setdefault(entry, LooseThreads(AT_ONCE, entry))
        task = asyncio.create_task(_open(entry, call), name=f"the opening of {entry}")
        self._opening[entry] = task
        return task

    def _tell(self, entry: str, error: BaseException) -> None:
        """Say once why a place cannot be opened."""
        what = str(error) or "it does not answer. Does its file system hang?"
        if self._told.get(entry) != what:
            self._log.error("the watched place %s cannot be opened now: %s", entry, what)
        self._told[entry] = what

    def call_at(self, location: str) -> LooseThreads:
        """The threads in which what lies at a location is looked at."""
        for place in self._known.values():
            if lies_below(location, place.source.root):
                return place.call
        return self._elsewhere


async def _open(entry: str, call: LooseThreads) -> Place:
    async with asyncio.timeout(LET_GO_S):
        return Place(await loading.load_source(entry, call), call)


def open_folder(sources: Sequence[Source], location: str) -> Folder:
    """The workset's folder at a location, through the watched place that it lies in.

    Raises:
        ConfigurationError: nothing that is watched leads there.
    """
    for source in sources:
        if lies_below(location, source.root):
            return source.open(location)
    if location.startswith("file://"):
        return local_folder(location)  # found in a folder that is not watched any more
    raise ConfigurationError(
        f"{location} lies below none of the watched places "
        f"({', '.join(source.root for source in sources)}); add its bucket again"
    )


def look_elsewhere(sources: Sequence[Source], entry: Input) -> Seen | DataError:
    """What is to be seen of a file that does not lie in its workset's folder; blocks.

    Raises:
        ConfigurationError: it may not be looked at.
        TransientError: looking failed.
    """
    if entry.uri.startswith("file://"):
        root = local_folder(entry.root).path
        return look_at(root, str(local_folder(entry.uri).path.relative_to(root)))
    from blocks.folders import S3Source

    bucket = entry.uri.removeprefix("s3://").partition("/")[0]
    for source in sources:
        # with the credentials by which this bucket is watched
        if isinstance(source, S3Source) and source.name == bucket:
            return source.open(entry.uri).look_at(entry.uri)
    from prefect_aws import AwsCredentials, S3Bucket

    own = S3Source(S3Bucket(bucket_name=bucket, credentials=AwsCredentials()))
    return own.open(entry.uri).look_at(entry.uri)
