"""The state DB: it decides whether a workset may start, who holds it and which attempt it is.

`WorksetStateDB` is the whole contract; a store adds the thin operations of
`blocks.state_db.store`. Every change of state is one compare-and-set of a record that
`worksets.lifecycle` made from the one before; admission to the limits happens inside that same
write.

The methods block (milliseconds on a local file, a round trip on DynamoDB); async callers use
threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from prefect.blocks.core import Block
from pydantic import PrivateAttr

from blocks.state_db.notes import Notes
from blocks.state_db.steering import Steering
from blocks.state_db.store import Known, Lease, VersionConflict
from worksets import events, lifecycle
from worksets.errors import (
    ConfigurationError,
    ErrorCategory,
    FenceLost,
    Refused,
    TransientError,
    WorksetNotFound,
)
from worksets.leases import LEASE_S
from worksets.record import (
    HELD,
    OPEN,
    UNFINISHED,
    Exported,
    State,
    StepRun,
    WorksetRecord,
)

SCHEMA: Final = 3
"""Of what stores hold. It grows when older releases can no longer work with what a newer one
writes; a new key alone is no reason, for releases keep the keys that they do not know.

3: DynamoDB keeps an item for each held workset and counts them, not a set of ids for each scope."""
OLDEST: Final = 2
"""Schema that a state DB without a note is taken for: it is new, or of the first release."""
INSTALLATION: Final = "installation"
"""Key of the note `ID SCHEMA`."""
LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Of ids: none that is taken for another when it is read aloud."""
ONE_DAY: Final = timedelta(days=1)
MAX_CONFLICTS: Final = 20
"""Times a change is made again on the newer record before the call gives up as transient."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Six letters and digits by chance, one of 887 million."""
    return "".join(secrets.choice(LETTERS) for _ in range(6))


class WorksetStateDB(Block, Notes, Steering):
    """What every state DB can do; the names are those of the Daylily description."""

    _block_schema_capabilities = ["workset-state"]
    _now: Callable[[], datetime] = PrivateAttr(default_factory=lambda: utc_now)
    _new_id: Callable[[], str] = PrivateAttr(default_factory=lambda: new_id)
    _set_aside: dict[str, str] = PrivateAttr(default_factory=dict)
    _in_use: WeakValueDictionary[str | bytes, WorksetRecord] = PrivateAttr(
        default_factory=WeakValueDictionary
    )
    _installation: str = PrivateAttr(default="")

    def now(self) -> datetime:
        """The time (UTC) by which this state DB judges leases and retries."""
        return self._now()

    def clock_off_s(self) -> float:
        """Seconds by which this machine's clock is ahead of the state DB's own, as far as known."""
        return 0.0

    def apart(self) -> WorksetStateDB:
        """The same state, by a connection of its own: nothing else that is asked stands before."""
        return self

    # --- Whose it is ---

    def installation(self) -> str:
        """The id of the installation whose state this is, made when it was first asked for.

        What an older release has stored is upgraded; it is refused then, and its processes, if any
        still run, can lock and release nothing.

        Raises:
            ConfigurationError: the state was written by a release that is too new for this one.
        """
        if not self._installation:
            self._adopt(self._first_note(INSTALLATION, f"{self._new_id()} {OLDEST}"))
        return self._installation

    def take_identity(self, of: WorksetStateDB) -> None:
        """Become the state DB of the other's installation: its records are moved here.

        Raises:
            Refused: this one belongs to another installation already.
        """
        theirs = of.installation()
        self._adopt(self._first_note(INSTALLATION, f"{theirs} {OLDEST}"))
        if self._installation != theirs:
            raise Refused(
                f"the target is the state DB of installation {self._installation}, and the source "
                f"of {theirs}; move to an empty state DB"
            )

    def _adopt(self, note: str) -> None:
        installation, _, schema = note.partition(" ")
        if not schema.isdecimal() or int(schema) > SCHEMA:
            raise ConfigurationError(
                f"the state DB was written by a newer release: its schema is {schema or '?'}, and "
                f"this release reads {SCHEMA} at most; upgrade this release"
            )
        if int(schema) < SCHEMA:
            self._upgrade()
            self._swap_note(INSTALLATION, note, f"{installation} {SCHEMA}")  # last of all
        self._installation = installation

    def new_uid(self) -> str:
        """A uid that no other workset has, here or elsewhere."""
        return f"{self.installation()}-{self._new_id()}"

    @property
    def set_aside(self) -> dict[str, str]:
        """Records that could not be read, with the reason, as far as they were met so far."""
        return dict(self._set_aside)

    # --- Worksets come and are looked at ---

    def register(self, record: WorksetRecord) -> bool:
        """Add a new workset, with a uid. False if its id is known already; nothing is changed."""
        if not record.uid:
            record = record.model_copy(update={"uid": self.new_uid()})
        return self._insert(record)

    def copy_in(self, record: WorksetRecord) -> bool:
        """Add a record of another state DB as it is. False if its id is known already."""
        if not self._insert(record):
            return False
        self._put_ended(record)
        if record.owed is not None:
            self._put_owed(record.workset_id)
        return True

    def register_again(self, workset_id: str, reason: str) -> WorksetRecord:
        """Take what lies in the folder of a workset that has ended for a new workset.

        It keeps its name and place, and has a uid of its own: nothing of the work before is used.

        Raises:
            Refused: it has not ended.
        """
        return self._transition(workset_id, events.RegisterAgain(self.new_uid(), reason))

    def get(self, workset_id: str) -> WorksetRecord:
        """The record now.

        Raises:
            WorksetNotFound: no workset has this id.
        """
        record = self._read(workset_id)
        if record is None:
            raise WorksetNotFound(
                f"no workset {workset_id} in the state DB; is its folder under a watched one, "
                f"and has a poll seen it?"
            )
        return record

    def known(self, workset_ids: Iterable[str]) -> dict[str, Known]:
        """Those of the ids that are registered, with what discovery compares.

        One that was registered a moment ago may be missing: `register` itself finds it.
        """
        return self._known(list(workset_ids))

    def ready(self) -> list[WorksetRecord]:
        return self._select((State.READY,))

    def held(self) -> list[WorksetRecord]:
        """Worksets that belong to a process now: locked or in progress."""
        return self._select(tuple(HELD))

    def list_worksets(self, states: Iterable[State] = tuple(State)) -> list[WorksetRecord]:
        """All records in these states; for people and reports, its cost grows with the result."""
        return self._select(tuple(states))

    def find(self, workset_ids: Iterable[str]) -> dict[str, WorksetRecord]:
        """Those of the ids that exist, by id; its cost grows with their number alone."""
        return {record.workset_id: record for record in self._find(sorted(set(workset_ids)))}

    def with_work_since(self, since: datetime | None = None) -> list[WorksetRecord]:
        """All that can have had an attempt since a time: what is open, and what ended since then.

        A day earlier, for cluster and state DB have clocks of their own. What is archived is not
        among them; on DynamoDB, nor is what has ended under release 0.2.0.
        """
        return self._select(OPEN) + self._ended(since and since - ONE_DAY, self._now())

    def get_worksets_by_cluster(self, cluster_name: str) -> list[WorksetRecord]:
        """Worksets that are held on a cluster now."""
        return [record for record in self.held() if record.cluster_name == cluster_name]

    def get_queue_depth(self) -> dict[str, int]:
        """How many worksets are in each state that waits for somebody: unfinished and failed."""
        counted = self._counts()
        return {state.value: counted.get(state.value, 0) for state in (*_DEPTH, State.FAILED)}

    def get_concurrent_worksets_count(self) -> int:
        """Worksets held now, over all clusters and processes."""
        return self.holder_counts().get("global", 0)

    def can_start_new_workset(self, max_concurrent: int) -> bool:
        """Whether fewer than `max_concurrent` are held. A hint: the lock itself decides."""
        return self.get_concurrent_worksets_count() < max_concurrent

    def holders(self) -> dict[str, frozenset[str]]:
        """Ids of the worksets that count against each scope (`global`, `cluster:…`, …) now."""
        return self._holders()

    def holder_counts(self) -> dict[str, int]:
        """How many those are; on DynamoDB it costs the same however many are held."""
        return self._holder_counts()

    # --- A process holds worksets ---

    def renew_lease(self, owner: str, lease_s: float = LEASE_S) -> None:
        """Say that `owner` is alive: one write for all that it holds."""
        self._put_lease(Lease(owner=owner, expires_at=self._now() + timedelta(seconds=lease_s)))

    def drop_lease(self, owner: str) -> None:
        """`owner` gives up what it holds; others may take it over at once."""
        self._delete_lease(owner, None)

    def forget_lease(self, owner: str, expired_at: datetime) -> None:
        """Delete a lease that ran out at `expired_at`, unless it was renewed since."""
        self._delete_lease(owner, expired_at)

    def leases(self) -> dict[str, datetime]:
        """End of every owner's lease."""
        return {lease.owner: lease.expires_at for lease in self._leases()}

    def lock(
        self,
        workset_id: str,
        owner: str,
        cluster_name: str,
        reason: str,
        limits: Mapping[str, int],
    ) -> WorksetRecord:
        """Take a ready workset, if every scope it would count against has room.

        `limits` maps scope to the most holders it may have. One transaction: the record, and that
        it counts against `global`, the cluster and the customer.

        Raises:
            AdmissionRefused: a limit is reached; says which and who holds it.
            LeaseOver: `owner` has not renewed its lease in time.
            Refused: it is not ready any more.
        """
        event = events.Lock(owner, cluster_name, reason)
        return self._transition(workset_id, event, limits, alive_at=self._now())

    def take_over(self, workset_id: str, owner: str, previous_owner: str) -> WorksetRecord:
        """Take a held workset from an owner that is gone; it keeps its slot and its attempt.

        Raises:
            Refused: `previous_owner` does not hold it any more.
        """
        return self._transition(workset_id, events.TakeOver(owner, previous_owner))

    def begin(
        self, workset_id: str, fence: int, step_runs: tuple[StepRun, ...] = ()
    ) -> WorksetRecord:
        """Write the intent to submit the next attempt's job; required before submitting it."""
        return self._transition(workset_id, events.Begin(fence, step_runs))

    def complete(
        self,
        workset_id: str,
        fence: int,
        step_runs: tuple[StepRun, ...],
        exported: Exported | None = None,
    ) -> WorksetRecord:
        """All steps ended well, as their markers say."""
        return self._transition(workset_id, events.Complete(fence, step_runs, exported))

    def postpone(
        self,
        workset_id: str,
        fence: int,
        reason: str,
        delay_s: float,
        *,
        job_ended: bool,
        tell: str = "",
    ) -> WorksetRecord:
        """Give a held workset back for a while, without counting a retry.

        `tell`: what people must know of it, at least once.
        """
        return self._transition(
            workset_id, events.Postpone(fence, reason, delay_s, job_ended=job_ended, tell=tell)
        )

    def record_failure(
        self,
        workset_id: str,
        error_details: str,
        error_category: ErrorCategory | None,
        failed_step: str = "",
        *,
        fence: int | None = None,
        step_runs: tuple[StepRun, ...] = (),
        job_ended: bool = False,
        retry_enabled: bool = True,
        exhausted: events.Exhausted = "",
        clusters_fault: bool = False,
    ) -> bool:
        """Record that a workset failed; True if it will be tried again by itself.

        Transient and resource errors wait 2, 4, 8 … 3600 s until `max_retries` are used up; the
        others, and an unknown error (None) that comes twice in a row, are dead letters at once.
        """
        record = self._transition(
            workset_id,
            events.Fail(
                error_category,
                error_details,
                failed_step,
                fence,
                step_runs,
                job_ended=job_ended,
                retry_enabled=retry_enabled,
                exhausted=exhausted,
                clusters_fault=clusters_fault,
            ),
        )
        return record.state is State.RETRYING

    def archive(self, workset_id: str, version: int, where: str) -> WorksetRecord:
        """Let go of most of a record that lies whole, as it was at a version, in another place.

        Raises:
            Refused: it has changed since, or its work is not at its end.
        """
        return self._transition(workset_id, events.Archive(version, where))

    # --- What people must be told ---

    def owe(self, workset_id: str, job_name: str, kind: str, message: str) -> WorksetRecord:
        """People must know something of a job that is waited for.

        Raises:
            Refused: it is not the workset's job any more.
        """
        return self._transition(workset_id, events.Owe(job_name, kind, message))

    def unsettled(
        self, workset_id: str, fence: int, reason: str, longest_s: float
    ) -> WorksetRecord | None:
        """Nobody can say how a job stands; if that lasts, people must know. None: known already."""
        event = events.Unsettled(fence, reason, longest_s)
        noted = self._each((workset_id,), lambda _: event)
        return noted[0] if noted else None

    def owed(self) -> list[WorksetRecord]:
        """Worksets of which people are still to be told something; a hundred at the most."""
        return [record for record in self._owed() if record.owed is not None]

    def told(
        self, workset_id: str, since: datetime, channels: Iterable[str], *, done: bool
    ) -> None:
        """Channels took what was owed since a time; `done`: all of them, and it is owed no more."""
        event = events.Told(since, tuple(channels), done)
        self._each((workset_id,), lambda _: event)

    # --- How a change is made ---

    def _transition(
        self,
        workset_id: str,
        event: events.Event,
        limits: Mapping[str, int] | None = None,
        alive_at: datetime | None = None,
    ) -> WorksetRecord:
        for _ in range(MAX_CONFLICTS):
            before = self.get(workset_id)
            after = lifecycle.apply(before, event, self._now())
            if isinstance(after, lifecycle.Refusal):
                raise (FenceLost if after.fence_lost else Refused)(after.reason)
            try:
                self._commit(before, after, limits or {}, alive_at)
            except VersionConflict:
                continue
            return after
        raise TransientError(
            f"workset {workset_id}: {MAX_CONFLICTS} other writes came between; try again"
        )

    def _each(
        self, workset_ids: Iterable[str], event: Callable[[str], events.Event]
    ) -> list[WorksetRecord]:
        """Apply an event to each; one that another process was faster with is left out."""
        changed = []
        for workset_id in workset_ids:
            try:
                changed.append(self._transition(workset_id, event(workset_id)))
            except Refused:
                continue
        return changed


_DEPTH: Final = tuple(state for state in State if state in UNFINISHED)
