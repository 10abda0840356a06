"""What a store of the state DB has to give: a few thin operations, each one atomic.

`blocks.state_db` builds everything else on them. They block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime

from worksets.errors import AdmissionRefused, TransientError
from worksets.record import Frozen, State, WorksetRecord


class Lease(Frozen):
    """A process that holds worksets, and until when it counts as alive."""

    owner: str
    expires_at: datetime


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
    def _locations(self, workset_ids: list[str]) -> dict[str, str]: ...

    @abstractmethod
    def _commit(
        self,
        before: WorksetRecord,
        after: WorksetRecord,
        limits: Mapping[str, int],
        alive_at: datetime | None,
    ) -> None:
        """Put `after` if the stored version is still `before`'s, and move the holder sets along.

        The scopes that `after` adds must have room under `limits`, and unless `alive_at` is None
        the lease of `after`'s owner must last at that time; all in one transaction. A write whose
        answer was lost and that had happened is a success, not a conflict.

        Raises:
            VersionConflict: the stored version is another.
            AdmissionRefused: a scope is full.
            LeaseOver: the owner has no lease any more.
        """

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
    def _holders(self) -> dict[str, frozenset[str]]: ...

    @abstractmethod
    def _get_note(self, key: str) -> str:
        """A small text kept between polls; empty if there is none."""

    @abstractmethod
    def _put_note(self, key: str, text: str) -> None: ...

    @abstractmethod
    def _put_lease(self, lease: Lease) -> None: ...

    @abstractmethod
    def _delete_lease(self, owner: str, expires_at: datetime | None) -> None:
        """Delete it, whatever its end (None) or only if its end is `expires_at`."""

    @abstractmethod
    def _leases(self) -> list[Lease]: ...


def scope_is_full(scope: str, limit: int, holders: Iterable[str]) -> AdmissionRefused:
    """The refusal that names the limit and who holds it."""
    names = sorted(holders)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return AdmissionRefused(f"{scope} is at its limit of {limit}, held by {shown or 'nobody'}")


def lease_over(record: WorksetRecord) -> LeaseOver:
    """The refusal that names the process."""
    return LeaseOver(
        f"workset {record.workset_id} is not taken: the lease of {record.lock_owner} has run out; "
        f"is this process, or its way to the state DB, overloaded?"
    )
