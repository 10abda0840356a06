"""Faults in the life cycle and in the state DB."""

from collections import Counter
from dataclasses import replace
from unittest.mock import PropertyMock, patch

import tasks.dispatch
import tasks.settle
from blocks.state_db import WorksetStateDB
from blocks.state_db.store import scope_is_full
from tests.simulation.mutations.registry import mutation
from tests.simulation.store import ModelStateDB
from worksets import events, lifecycle, transitions
from worksets.record import HELD, STEPS, State, WorksetRecord


def rules(**changed):
    """The life cycle with some events changed, or their new records, on the way."""
    new = {}
    for name, change in changed.items():
        kind = getattr(events, name)
        new[kind] = change(lifecycle._RULES[kind])
    return patch.dict(lifecycle._RULES, new)


# --- The life cycle ---


@mutation
def fence_not_checked():
    def unfenced(rule):
        return lambda record, event, now: rule(
            record, event if event.fence is None else replace(event, fence=record.fence), now
        )

    yield rules(Begin=unfenced, Complete=unfenced, Fail=unfenced, Postpone=unfenced)


@mutation
def take_over_keeps_the_fence():
    def same_fence(rule):
        def take_over(record, event, now):
            after = rule(record, event, now)
            if isinstance(after, WorksetRecord):
                after = after.model_copy(update={"fence": record.fence})
            return after

        return take_over

    yield rules(TakeOver=same_fence)


@mutation
def stale_work_is_released_instead_of_taken_over():
    def released(_rule):
        def release(record, event, now):
            if record.state not in HELD or record.lock_owner != event.previous_owner:
                return transitions.refuse(record, event)
            return transitions.changed(
                record, event, now, state=State.READY, lock_owner="", fence=record.fence + 1
            )

        return release

    def release_stale(self, stale):
        owners = {record.workset_id: record.lock_owner for record in stale}
        return self._each(owners, lambda id_: events.ReleaseStale(owners[id_]))

    yield rules(ReleaseStale=released)
    yield patch.object(WorksetStateDB, "release_stale", release_stale)


@mutation
def pinned_cluster_ignored():
    yield patch.object(WorksetRecord, "pinned_cluster", PropertyMock(return_value=""))


@mutation
def a_retry_begins_from_the_first_step():
    for module in (tasks.dispatch, tasks.settle):
        yield patch.object(module, "steps_to_run", lambda _completed: STEPS)


# --- The store ---


@mutation
def compare_and_set_without_the_compare():
    real = ModelStateDB._commit_now

    def commit(self, _before, after, *others):
        real(self, self._table.records[after.workset_id], after, *others)

    yield patch.object(ModelStateDB, "_commit_now", commit)


@mutation
def limits_checked_before_the_lock():
    real = ModelStateDB._commit

    def commit(self, before, after, limits, alive_at):
        holders = self._holders() if limits else {}
        for scope in sorted(after.scopes - before.scopes):
            if scope in limits and len(holders.get(scope, ())) >= limits[scope]:
                raise scope_is_full(scope, limits[scope], holders[scope])
        real(self, before, after, {}, alive_at)

    yield patch.object(ModelStateDB, "_commit", commit)


@mutation
def holders_counted_instead_of_kept_as_a_set():
    real = ModelStateDB._commit

    def commit(self, before, after, limits, alive_at):
        counts = self._table.notes.setdefault("counts", Counter())
        added = sorted(after.scopes - before.scopes)
        for scope in added:
            if scope in limits and counts[scope] >= limits[scope]:
                raise scope_is_full(scope, limits[scope], ())
        real(self, before, after, {}, alive_at)
        removed = sorted(before.scopes - after.scopes)
        if added:
            self._do("count up", lambda: counts.update(added))
        if removed:
            self._do("count down", lambda: counts.subtract(removed))

    yield patch.object(ModelStateDB, "_commit", commit)


@mutation
def lease_not_checked_in_the_lock():
    real = ModelStateDB._commit
    yield patch.object(
        ModelStateDB,
        "_commit",
        lambda self, before, after, limits, _alive_at: real(self, before, after, limits, None),
    )
