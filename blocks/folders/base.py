"""What a watched place is, and a workset's folder in it, wherever it lies."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from worksets.delivery import Seen
from worksets.errors import ConfigurationError, DataError
from worksets.jobs import Input


@dataclass(frozen=True)
class Found:
    """A workset's folder, or one that would be.

    `workset_id`: empty where its name is none. `stamp`: differs when its YAML file may have
    changed; empty where the place does not say. `refused`: why it is no workset, and the remedy.
    """

    workset_id: str
    location: str
    stamp: str = ""
    refused: str = ""


@dataclass(frozen=True)
class SpecFile:
    """The bytes of a `daylily_work.yaml`, at most one more than is lawful; and its stamp."""

    data: bytes
    stamp: str


class SpecMissing(ConfigurationError):
    """There is no `daylily_work.yaml`: the folder is not a workset, or not one yet."""


class Folder(Protocol):
    """One workset's folder. Its methods block."""

    @property
    def source(self) -> str:
        """What a job is told to stage from."""

    @property
    def source_root(self) -> str:
        """The watched place, directly above the source, in the same form."""

    def read_spec(self) -> SpecFile:
        """Its `daylily_work.yaml`.

        Raises:
            SpecMissing: there is none.
            ConfigurationError: it may not be read.
            TransientError: reading failed.
        """

    def read_sheet(self) -> bytes | None:
        """Its `stage_samples.tsv`, at most one byte more than is lawful; None: there is none.

        Raises:
            ConfigurationError: it may not be read.
            TransientError: reading failed.
        """

    def say(self, name: str, text: str, instead_of: Iterable[str]) -> None:
        """Leave a small file there, and take others of ours away; nothing else is touched.

        Raises:
            ConfigurationError: it may not be written.
            TransientError: writing failed.
        """

    def look(self, inputs: Iterable[Input]) -> dict[str, Seen | DataError]:
        """What is to be seen of each of these files, or what is wrong with it.

        Raises:
            ConfigurationError: it may not be looked at.
            TransientError: looking failed.
        """


class Source(Protocol):
    """A watched place. Its methods block, but for `changes`."""

    @property
    def root(self) -> str:
        """The URI below which its worksets lie."""

    def find(self, cursor: str) -> tuple[list[Found], str]:
        """Workset folders below it, and the cursor for the next call (empty at the first)."""

    def open(self, location: str) -> Folder:
        """The folder at a location below `root`."""

    def changes(self, stop: threading.Event, queue: str) -> Iterator[frozenset[str]] | None:
        """An item, soon after it, for whatever may be new below it; None: nothing tells that.

        It names the folders, unless `find` finds them all. It may miss some: looks find those.
        Each step blocks until then, or until `stop` is set. `queue`: URL of the SQS queue in which
        a bucket tells it; empty: there is none.

        Raises:
            WorksetError: from its steps: nothing more is told.
        """
