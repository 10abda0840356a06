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

from prefect.blocks.core import Block
from pydantic import PrivateAttr, TypeAdapter, ValidationError

from blocks.state_db.store import Known, Lease, Store, VersionConflict
from worksets import events, lifecycle
from worksets.errors import (
    ConfigurationError,
    ErrorCategory,
    FenceLost,
    Refused,
    TransientError,
    WorksetNotFound,
)
from worksets.estimates import remembered, with_ratio
from worksets.health import Health
from worksets.leases import LEASE_S, is_stale
from worksets.record import (
    HELD,
    UNFINISHED,
    AffinityReason,
    Exported,
    Priority,
    State,
    StepRun,
    WorksetRecord,
)
from worksets.registration import Description, digest

SCHEMA: Final = 3
"""Of what stores hold. It grows when older releases can no longer work with what a newer one
writes; a new key alone is no reason, for releases keep the keys that they do not know.

3: DynamoDB keeps an item for each held workset and counts them, not a set of ids for each scope."""
OLDEST: Final = 2
"""Schema that a state DB without a note is taken for: it is new, or of the first release."""
INSTALLATION: Final = "installation"
"""Key of the note `ID SCHEMA`."""
HEALTH: Final = "health"
"""Key of the note with what is known of the clusters, by name, as JSON."""
_HEALTH: Final = TypeAdapter(dict[str, Health])
LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Of ids: none that is taken for another when it is read aloud."""
MAX_CONFLICTS: Final = 20
"""Times a change is made again on the newer record before the call gives up as transient."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Six letters and digits by chance, one of 887 million."""
    return "".join(secrets.choice(LETTERS) for _ in range(6))


class WorksetStateDB(Block, Store):
    """What every state DB can do; the names are those of the Daylily description."""

    _block_schema_capabilities = ["workset-state"]
    _now: Callable[[], datetime] = PrivateAttr(default_factory=lambda: utc_now)
    _new_id: Callable[[], str] = PrivateAttr(default_factory=lambda: new_id)
    _set_aside: dict[str, str] = PrivateAttr(default_factory=dict)
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

    def cursor(self, source: str) -> str:
        """How far a watched place has been listed, for `Source.find`."""
        return self._get_note(source)

    def save_cursor(self, source: str, cursor: str) -> None:
        self._put_note(source, cursor)

    def pending(self, source: str) -> list[str]:
        """Folders of a watched place that had no `daylily_work.yaml` when they were looked at."""
        return (self._get_note(f"pending:{source}") or "").split()

    def save_pending(self, source: str, names: Iterable[str]) -> None:
        self._put_note(f"pending:{source}", " ".join(names))

    def settled(self, source: str, chunks: Iterable[str]) -> dict[str, str]:
        """Digests of the chunks of a watched place in which all is settled; see `worksets.listing`.

        One that was written a moment ago may be missing, or the one before.
        """
        keys = {_settled_key(source, chunk): chunk for chunk in chunks}
        return {keys[key]: text for key, text in self._get_notes(list(keys)).items()}

    def save_settled(self, source: str, chunk: str, text: str) -> None:
        self._put_note(_settled_key(source, chunk), text)

    def clusters_health(self) -> dict[str, Health]:
        """What is known of each cluster, by its name; what cannot be read is not known."""
        try:
            return dict(_HEALTH.validate_json(self._get_note(HEALTH) or "{}"))
        except ValidationError:
            return {}

    def save_clusters_health(self, found: Mapping[str, Health]) -> None:
        """Let all processes know; of two that come at once one may be lost: it is saved again."""
        text = _HEALTH.dump_json({**self.clusters_health(), **found}, exclude_defaults=True)
        self._put_note(HEALTH, text.decode())

    def drain(self, cluster_name: str, reason: str) -> None:
        """Have nothing new placed on a cluster, whatever its block says; what runs there goes on.

        Raises:
            ValueError: no reason is given.
        """
        if not reason:
            raise ValueError(f"cluster {cluster_name}: say why it is drained")
        self._put_note(_drained_key(cluster_name), reason)

    def undrain(self, cluster_name: str) -> None:
        """Take the operator's word back: it is placed on again."""
        self._put_note(_drained_key(cluster_name), "")

    def drained(self, cluster_names: Iterable[str]) -> dict[str, str]:
        """Those of the clusters that an operator has drained, with the reason."""
        keys = {_drained_key(name): name for name in cluster_names}
        found = self._get_notes(list(keys))
        return {keys[key]: reason for key, reason in found.items() if reason}

    def estimate_ratios(self, pipeline: str) -> tuple[float, ...]:
        """vCPU-hours taken by those expected, of the last worksets of a pipeline that finished."""
        return remembered(self._get_note(f"pipeline:{pipeline}"))

    def add_estimate_ratio(self, pipeline: str, ratio: float) -> None:
        """Remember one more; of two that come at once one may be lost, which does no harm."""
        key = f"pipeline:{pipeline}"
        self._put_note(key, with_ratio(self._get_note(key), ratio))

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

    # --- Time passes, and operators decide ---

    def requeue_due(self) -> list[WorksetRecord]:
        """Make every retry that is due ready again."""
        due = [record.workset_id for record in self._due(self._now())]
        return self._each(due, lambda _: events.Requeue())

    def hasten(self, workset_id: str, reason: str) -> WorksetRecord:
        """Make a workset that waits for its next try ready now; its count of retries stays.

        Raises:
            Refused: it does not wait.
        """
        return self._transition(workset_id, events.Hasten(reason))

    def next_retry(self) -> datetime | None:
        """When the next waiting retry is due."""
        return self._next_due()

    def stale(self) -> list[WorksetRecord]:
        """Held worksets whose owner's lease has run out."""
        held = self.held()
        if not held:
            return []
        leases, now = self.leases(), self._now()
        return [record for record in held if is_stale(record, leases, now)]

    def release_stale(self) -> list[WorksetRecord]:
        """Make worksets ready that a dead owner had locked but not begun.

        Begun ones stay held, for their job may run; see `stale` and `take_over`.
        """
        owners = {r.workset_id: r.lock_owner for r in self.stale() if r.state is State.LOCKED}
        return self._each(owners, lambda id_: events.ReleaseStale(owners[id_]))

    def release_lock(self, workset_id: str, *, force: bool, reason: str) -> WorksetRecord:
        """Take a lock away from its holder, whose next write will be refused.

        Raises:
            Refused: `force` is not set, or nobody holds the workset.
        """
        if not force:
            raise Refused(
                f"workset {workset_id}: a lock is released by its holder, or by itself when the "
                f"holder's lease runs out; to take it away use force=True and give a reason"
            )
        return self._transition(workset_id, events.ForceRelease(reason))

    def set_cluster_affinity(
        self,
        workset_id: str,
        cluster_name: str,
        affinity_reason: AffinityReason | str,
        *,
        required: bool = False,
    ) -> WorksetRecord:
        """Prefer (or require) a cluster, for data_locality, cost, resources or manual."""
        return self._transition(
            workset_id,
            events.SetAffinity(cluster_name, AffinityReason(affinity_reason), required),
        )

    def set_priority(self, workset_id: str, priority: Priority | str, reason: str) -> WorksetRecord:
        """Say how urgent an unfinished workset or a dead letter is; its file says it no more.

        Raises:
            Refused: it has ended otherwise.
        """
        return self._transition(workset_id, events.SetPriority(Priority(priority), reason))

    def describe(self, workset_id: str, description: Description) -> WorksetRecord:
        """Take over what the workset's file says now; only while it is ready."""
        return self._transition(workset_id, events.Describe(description))

    def await_delivery(self, workset_id: str, reason: str, looked: str) -> WorksetRecord:
        """Keep that files of a ready workset are still on their way; it is not started then."""
        return self._transition(workset_id, events.AwaitDelivery(reason, looked))

    def note_redelivery(self, workset_id: str, change: str, note: str) -> WorksetRecord | None:
        """Keep that something new lies in the folder of a workset that has ended.

        None if that was noted already: it is told once.
        """
        noted = self._each((workset_id,), lambda _: events.Redelivered(change, note))
        return noted[0] if noted else None

    def note_wait(
        self, workset_id: str, reason: str, *, stuck: bool = False
    ) -> WorksetRecord | None:
        """Keep why a ready workset could not start just now; None: it is not ready any more.

        `stuck`: it never can as things are, and people must know, at least once.
        """
        noted = self._each((workset_id,), lambda _: events.Wait(reason, stuck))
        return noted[0] if noted else None

    def cancel(self, workset_id: str, reason: str) -> WorksetRecord:
        """Stop a workset for good.

        Where a job of it may run, this is a request (`cancel_requested`): a poller stops the job
        on its cluster, and the workset is cancelled, and its slot free, when the job has ended.
        """
        return self._transition(workset_id, events.Cancel(reason))

    def stopped(
        self, workset_id: str, fence: int, step_runs: tuple[StepRun, ...] = ()
    ) -> WorksetRecord:
        """A workset that is to be cancelled has no running job any more, as its cluster says."""
        return self._transition(workset_id, events.Stopped(fence, step_runs))

    def lost(self, workset_id: str, reason: str) -> WorksetRecord:
        """Declare that a workset's job, and its files on that cluster, are gone for good.

        For a cluster that never comes back: until then nothing else than its own word ends a job.
        The workset is ready at once, without a retry counted, and begins anew wherever it fits; if
        it was to be cancelled, it is cancelled. Never say so of a job that may still run.

        Raises:
            Refused: nothing of it is there.
        """
        return self._transition(workset_id, events.Lost(reason))

    def cluster_lost(self, cluster_name: str, reason: str) -> list[WorksetRecord]:
        """The same for all that is unfinished, or failed, on a cluster."""
        there = [
            record.workset_id
            for record in self._select((*UNFINISHED, State.FAILED))
            if record.cluster_name == cluster_name
        ]
        return self._each(there, lambda _: events.Lost(reason))

    def ignore(self, workset_id: str, reason: str) -> WorksetRecord:
        return self._transition(workset_id, events.Ignore(reason))

    def restore(
        self, workset_id: str, reason: str, *, from_start: bool | None = None
    ) -> WorksetRecord:
        """Make a failed, cancelled or ignored workset ready again, with all its retries.

        It goes on after its finished steps, or runs them again (`from_start`; None: again where
        its data were at fault). History and attempt number stay; a job's name is never used twice.
        """
        return self._transition(workset_id, events.Restore(reason, from_start))

    def dead_letters(self) -> list[WorksetRecord]:
        """Worksets that failed for good, the latest first."""
        return sorted(self._select((State.FAILED,)), key=lambda r: r.updated_at, reverse=True)

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


def _drained_key(cluster_name: str) -> str:
    return f"drained:{cluster_name}"


def _settled_key(source: str, chunk: str) -> str:
    return (
        f"settled:{digest(f'{source} {chunk}')}"  # a key has a length, a name of a folder may not
    )


_DEPTH: Final = tuple(state for state in State if state in UNFINISHED)
