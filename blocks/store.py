"""What a store of the state DB has to give: a few thin operations, each one atomic.

`blocks.state_db` builds everything else on them. They block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime

from worksets.errors import AdmissionRefused
from worksets.record import Frozen, State, WorksetRecord


class Lease(Frozen):
    """A process that holds worksets, and until when it counts as alive."""

    owner: str
    expires_at: datetime


class VersionConflict(Exception):
    """Somebody wrote the record since it was read (inside this module and the stores only)."""


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
        self, before: WorksetRecord, after: WorksetRecord, limits: Mapping[str, int]
    ) -> None:
        """Put `after` if the stored version is still `before`'s, and move the holder sets along.

        The scopes that `after` adds must have room under `limits`, all in one transaction.

        Raises:
            VersionConflict: the stored version is another.
            AdmissionRefused: a scope is full.
        """

    @abstractmethod
    def _select(self, states: tuple[State, ...]) -> list[WorksetRecord]: ...

    @abstractmethod
    def _counts(self) -> dict[str, int]:
        """Number of records in each unfinished state and in `failed`."""

    @abstractmethod
    def _holders(self) -> dict[str, frozenset[str]]: ...

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
