"""Transitions that are nobody's who holds the workset: time passes, and operators decide.

The rules are in `worksets.steering`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from blocks.state_db.store import Store
from worksets import events
from worksets.errors import Refused
from worksets.leases import is_stale
from worksets.record import (
    UNFINISHED,
    AffinityReason,
    Priority,
    State,
    StepRun,
    WorksetRecord,
)
from worksets.registration import Description


class Steering(Store):
    """What a poller and an operator do with worksets that they do not hold."""

    @abstractmethod
    def now(self) -> datetime: ...

    @abstractmethod
    def held(self) -> list[WorksetRecord]: ...

    @abstractmethod
    def leases(self) -> dict[str, datetime]: ...

    @abstractmethod
    def clusters_health(self) -> Mapping[str, object]: ...

    @abstractmethod
    def _transition(
        self,
        workset_id: str,
        event: events.Event,
        limits: Mapping[str, int] | None = None,
        alive_at: datetime | None = None,
    ) -> WorksetRecord: ...

    @abstractmethod
    def _each(
        self, workset_ids: Iterable[str], event: Callable[[str], events.Event]
    ) -> list[WorksetRecord]: ...

    def requeue_due(self) -> list[WorksetRecord]:
        """Make every retry that is due ready again."""
        due = [record.workset_id for record in self._due(self.now())]
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

    def stale(self, held: Iterable[WorksetRecord] | None = None) -> list[WorksetRecord]:
        """Held worksets whose owner's lease has run out; of `held`, if that was read just now."""
        held = list(self.held() if held is None else held)
        if not held:
            return []
        # after the held: who has taken one of those had a lease before
        leases, now = self.leases(), self.now()
        return [record for record in held if is_stale(record, leases, now)]

    def release_stale(self, stale: Iterable[WorksetRecord] | None = None) -> list[WorksetRecord]:
        """Make worksets ready that a dead owner had locked but not begun.

        Begun ones stay held, for their job may run; see `stale` and `take_over`.
        """
        stale = self.stale() if stale is None else stale
        owners = {r.workset_id: r.lock_owner for r in stale if r.state is State.LOCKED}
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
        """Prefer (or require) a cluster, for data_locality, cost, resources or manual.

        Raises:
            Refused: no poller has seen a cluster of this name, and some have been seen.
        """
        seen = self.clusters_health()
        if seen and cluster_name not in seen:
            raise Refused(
                f"workset {workset_id}: no cluster is called {cluster_name}; there are "
                f"{', '.join(sorted(seen))}. One that is new in the settings is known after a poll"
            )
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
