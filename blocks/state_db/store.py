"""What a store of the state DB has to give: a few thin operations, each one atomic.

`WorksetStateDB` builds everything else on them. They block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from prefect.logging import get_logger
from pydantic import ValidationError

from worksets.errors import AdmissionRefused, TransientError, WorksetError
from worksets.record import Frozen, State, WorksetRecord
from worksets.texts import few


class Lease(Frozen):
    """A process that holds worksets, and until when it counts as alive."""

    owner: str
    expires_at: datetime


class Known(Frozen):
    """What discovery has to know of a workset that is registered."""

    location: str
    spec: str = ""
    """Its `daylily_work.yaml` as it was last read; see `worksets.record.Delivery`."""
    ended: bool = False


class Unreadable(WorksetError):
    """A record that this release cannot read: it is set aside, and nothing of it is changed."""


class VersionConflict(Exception):
    """Somebody wrote the record since it was read (inside this module and the stores only)."""


class LeaseOver(TransientError):
    """The process has no lease: it may take nothing before it has renewed it."""


class Store(ABC):
    """Compare-and-set of records with their holder sets, leases, and the queries over them."""

    @abstractmethod
    def _insert(self, record: WorksetRecord) -> bool:
        """Add a record if its id is free; whether it was."""

    @abstractmethod
    def _read(self, workset_id: str) -> WorksetRecord | None: ...

    @abstractmethod
    def _known(self, workset_ids: list[str]) -> dict[str, Known]:
        """Those of the ids that are registered, at least of a moment ago."""

    @abstractmethod
    def _find(self, workset_ids: list[str]) -> list[WorksetRecord]:
        """The records of these ids that exist."""

    @abstractmethod
    def _ended(self, since: datetime | None, now: datetime) -> list[WorksetRecord]:
        """Records in a final state that were written last from a time on, up to now."""

    @abstractmethod
    def _commit(
        self,
        before: WorksetRecord,
        after: WorksetRecord,
        limits: Mapping[str, int],
        alive_at: datetime | None,
    ) -> None:
        """Put `after` if the stored version is still `before`'s, and move along the holder sets,
        and what `_owed` finds.

        The scopes that `after` adds must have room under `limits`, and unless `alive_at` is None
        the lease of `after`'s owner must last at that time; all in one transaction. A write whose
        answer was lost and that had happened is a success, not a conflict.

        Raises:
            VersionConflict: the stored version is another.
            AdmissionRefused: a scope is full.
            LeaseOver: the owner has no lease any more.
        """

    _set_aside: dict[str, str]
    _in_use: WeakValueDictionary[str | bytes, WorksetRecord]
    """By their JSON those that somebody still has: of 10,000 that wait, all but a few are as they
    were a moment ago, and to read one anew takes ten times as long as to find it here."""

    def _decoded(self, workset_id: str, text: str | bytes) -> WorksetRecord:
        """The record that a store keeps as JSON.

        Raises:
            Unreadable: says which workset, why, and what to do.
        """
        if (known := self._in_use.get(text)) is not None:
            return known
        try:
            found = WorksetRecord.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the record"
            raise Unreadable(
                f"the record of workset {workset_id} cannot be read: {where}: {problem['msg']}; "
                f"it is left as it is. Was it written by a newer release? Then upgrade this one"
            ) from error
        self._in_use[text] = found
        return found

    def _readable(self, found: Iterable[tuple[str, str | bytes]]) -> list[WorksetRecord]:
        """Of (id, JSON) those that can be read; the others are set aside, and told."""
        records = []
        for workset_id, text in found:
            try:
                records.append(self._decoded(workset_id, text))
                self._set_aside.pop(workset_id, None)
            except Unreadable as error:
                if self._set_aside.get(workset_id) != str(error):
                    self._set_aside[workset_id] = str(error)
                    get_logger("state-db").error("%s", error)
        return records

    @abstractmethod
    def _select(self, states: tuple[State, ...]) -> list[WorksetRecord]:
        """All records in these states.

        Raises:
            ConfigurationError: the store has no index of one of them (DynamoDB: finished ones).
        """

    @abstractmethod
    def _due(self, now: datetime) -> list[WorksetRecord]:
        """Records that wait for a retry whose time has come."""

    @abstractmethod
    def _next_due(self) -> datetime | None:
        """When the next retry is due."""

    @abstractmethod
    def _counts(self) -> dict[str, int]:
        """Number of records in each unfinished state and in `failed`."""

    @abstractmethod
    def _owed(self) -> list[WorksetRecord]:
        """Records with something that people are still to be told; a hundred at the most."""

    @abstractmethod
    def _put_owed(self, workset_id: str) -> None:
        """Have `_owed` find a record that was put there whole."""

    def _put_ended(self, record: WorksetRecord) -> None:  # noqa: B027 - one with an index has it
        """Have `_ended` find a record that was put there whole, if it has ended."""

    @abstractmethod
    def _holders(self) -> dict[str, frozenset[str]]: ...

    def _holder_counts(self) -> dict[str, int]:
        """How many hold each scope; a store that can count more cheaply does."""
        return {scope: len(ids) for scope, ids in self._holders().items()}

    @abstractmethod
    def _get_note(self, key: str) -> str:
        """A small text kept between polls; empty if there is none."""

    def _get_notes(self, keys: list[str]) -> dict[str, str]:
        """Those that there are; a store that can read many at once does."""
        return {key: text for key in keys if (text := self._get_note(key))}

    @abstractmethod
    def _put_note(self, key: str, text: str) -> None: ...

    @abstractmethod
    def _first_note(self, key: str, text: str) -> str:
        """Keep the note if there is none of this key yet; the one that is kept, in one step."""

    @abstractmethod
    def _swap_note(self, key: str, before: str, after: str) -> bool:
        """Put a note if it still is `before`; whether it was."""

    def _upgrade(self) -> None:  # noqa: B027 - most stores have nothing to do
        """Bring what an older release stored into the form of this one, if it has another.

        Any number of processes may do it at once, and any may die on the way: the next goes on.
        """

    @abstractmethod
    def _put_lease(self, lease: Lease) -> None: ...

    @abstractmethod
    def _delete_lease(self, owner: str, expires_at: datetime | None) -> None:
        """Delete it, whatever its end (None) or only if its end is `expires_at`."""

    @abstractmethod
    def _leases(self) -> list[Lease]: ...


SHOWN_HOLDERS: Final = 5
"""Holders that a refusal names."""


def scope_is_full(
    scope: str, limit: int, holders: Iterable[str], count: int = 0
) -> AdmissionRefused:
    """The refusal that names the limit and who holds it: of `count`, these or some of these."""
    known = sorted(holders)
    shown = few([*known, *[""] * (count - len(known))], SHOWN_HOLDERS) if known else f"{count}"
    return AdmissionRefused(f"{scope} is at its limit of {limit}, held by {shown}")


def lease_over(record: WorksetRecord) -> LeaseOver:
    """The refusal that names the process."""
    return LeaseOver(
        f"workset {record.workset_id} is not taken: the lease of {record.lock_owner} has run out; "
        f"is this process, or its way to the state DB, overloaded?"
    )
