"""A state DB in memory, with what DynamoDB promises and no more; shared by simulated processes."""

import json
import threading
from datetime import UTC, datetime

from pydantic import PrivateAttr

from blocks.state_db import WorksetStateDB
from blocks.state_db.store import Known, VersionConflict, lease_over, scope_is_full
from tests.simulation.loop import PROCESS
from worksets.errors import TransientError
from worksets.record import FINAL, HELD, State, WorksetRecord
from worksets.registration import new_record

INDEX_KEEPS = 8
"""Versions of a record for the index to lag behind with."""


class Table:
    """What is stored."""

    def __init__(self, letter="i", clock=lambda: 0.0, lag_s=lambda: 0.0):
        self.letter = letter
        self.records = {}
        self.unreadable = {}
        """Id to JSON, of ready worksets whose record another release has written."""
        self.holders = {}
        self.leases = {}
        self.notes = {}
        self.clock = clock
        self.lag_s = lag_s
        self.mutex = threading.Lock()
        self._versions = {}
        self.ids = 0

    def new_id(self):
        """By number, not by chance: a seed is played again letter by letter."""
        self.ids += 1
        return f"{self.letter}{self.ids:05d}"

    def put_unreadable(self, workset_id, location):
        now = datetime(2026, 1, 1, tzinfo=UTC)
        record = new_record(workset_id, location, now, None)
        change = {"priority": "whenever"}
        self.unreadable[workset_id] = json.dumps(record.model_dump(mode="json") | change)

    def put(self, record):
        if record.model_extra:  # as a real store has it
            record = WorksetRecord.model_validate_json(record.model_dump_json())
        self.records[record.workset_id] = record
        versions = self._versions.setdefault(record.workset_id, [])
        versions.append((self.clock(), record))
        del versions[:-INDEX_KEEPS]

    def waiting(self, states):
        """What the index shows: the table as it was a moment ago."""
        at = self.clock() - self.lag_s()
        shown = []
        for id_ in sorted(self._versions):
            seen = [record for time, record in self._versions[id_] if time <= at]
            if seen and seen[-1].state in states:
                shown.append(seen[-1])
        return shown


class ModelStateDB(WorksetStateDB):
    """Every thin operation goes through `_perform`, which may fail on the way."""

    _block_type_slug = "model-workset-state-db"
    _table: Table = PrivateAttr(default_factory=Table)
    _perform: object = PrivateAttr(default=None)
    _checks: object = PrivateAttr(default=None)

    def _do(self, what, effect):
        if self._perform is None:
            with self._table.mutex:
                return effect()
        error = TransientError(f"the state DB did not answer: {what}")
        return self._perform("db", what, effect, error, error, 20.0)

    def _insert(self, record):
        def insert():
            if record.workset_id in self._table.unreadable:
                return False
            there = self._table.records.get(record.workset_id)
            if there is None:
                self._table.put(record)
            return there is None or there == record

        return self._do("insert", insert)

    def _read(self, workset_id):
        record = self._do(f"read {workset_id}", lambda: self._table.records.get(workset_id))
        if record is None and workset_id in self._table.unreadable:
            return self._decoded(workset_id, self._table.unreadable[workset_id])
        return record

    def _many(self, workset_ids):
        ids, records = sorted(workset_ids), self._table.records
        if not ids:
            return []
        return self._do(f"read {ids}", lambda: [records[id_] for id_ in ids if id_ in records])

    def _find(self, workset_ids):
        return self._many(workset_ids)

    def _ended(self, since, now):
        records = list(self._table.records.values())
        return [
            record
            for record in records
            if record.state in FINAL - {State.FAILED}
            and not record.archived
            and (since is None or record.updated_at >= since)
        ]

    def _known(self, workset_ids):
        texts = self._table.unreadable
        there = texts.keys() & set(workset_ids)
        others = {id_: Known(location=json.loads(texts[id_])["location"]) for id_ in there}
        return others | {
            record.workset_id: Known(
                location=record.location, spec=record.delivery.spec, ended=record.state in FINAL
            )
            for record in self._many(workset_ids)
        }

    def _commit(self, before, after, limits, alive_at):
        event, process = after.history[-1].event, PROCESS.get()
        event = "Told" if after.history == before.history else event
        by = process.name if process else ""
        self._do(
            f"{event} {after.workset_id} v{after.version} f{after.fence} {after.state.value}",
            lambda: self._commit_now(before, after, limits, alive_at, by),
        )

    def _commit_now(self, before, after, limits, alive_at, by):
        table, id_ = self._table, after.workset_id
        stored = table.records[id_]
        if stored.version != before.version:
            if stored == after:
                return  # our own write, whose answer was lost
            raise VersionConflict(id_)
        if alive_at is not None:
            lease = table.leases.get(after.lock_owner)
            if lease is None or lease.expires_at <= alive_at:
                raise lease_over(after)
        added, removed = after.scopes - before.scopes, before.scopes - after.scopes
        for scope in sorted(added):
            holders = table.holders.get(scope, frozenset()) - {id_}
            if scope in limits and len(holders) >= limits[scope]:
                raise scope_is_full(scope, limits[scope], holders)
        for scope in added:
            table.holders[scope] = table.holders.get(scope, frozenset()) | {id_}
        for scope in removed:
            table.holders[scope] = table.holders.get(scope, frozenset()) - {id_}
        table.put(after)
        if self._checks is not None:
            self._checks.committed(stored, after, by)

    def _select(self, states):
        waiting = [state for state in states if state not in HELD]
        found = []
        if waiting:
            found += self._do(f"index {sorted(waiting)}", lambda: self._table.waiting(waiting))
        if State.READY in waiting:
            found += self._readable(self._table.unreadable.items())
            if self._checks is not None:
                self._checks.cycled()
        if HELD.intersection(states):
            found += [record for record in self._held() if record.state in states]
        return found

    def _held(self):
        ids = self._do("holders", lambda: self._table.holders.get("global", frozenset()))
        return self._many(ids)

    def _due(self, now):
        return [r for r in self._select((State.RETRYING,)) if r.retry_after <= now]

    def _next_due(self):
        return min((r.retry_after for r in self._select((State.RETRYING,))), default=None)

    def _counts(self):
        counts = {}
        states = (State.READY, State.RETRYING, State.FAILED, *sorted(HELD))
        for record in self._select(states):
            counts[record.state.value] = counts.get(record.state.value, 0) + 1
        return counts

    def _owed(self):
        owed = self._do("owed", lambda: [r for r in self._table.records.values() if r.owed])
        return sorted(owed, key=lambda record: record.workset_id)[:100]

    def _put_owed(self, workset_id):
        pass

    def _holders(self):
        return self._do(
            "holders", lambda: {scope: ids for scope, ids in self._table.holders.items() if ids}
        )

    def _get_note(self, key):
        return self._do("note", lambda: self._table.notes.get(key, ""))

    def _get_notes(self, keys):
        there = self._table.notes
        return self._do("notes", lambda: {key: there[key] for key in keys if there.get(key)})

    def _first_note(self, key, text):
        return self._do("first note", lambda: self._table.notes.setdefault(key, text))

    def _put_note(self, key, text):
        self._do("put note", lambda: self._table.notes.update({key: text}))

    def _swap_note(self, key, before, after):
        def swap():
            if self._table.notes.get(key) == before:
                self._table.notes[key] = after
            return self._table.notes.get(key) == after

        return self._do("swap note", swap)

    def _put_lease(self, lease):
        self._do("put lease", lambda: self._table.leases.update({lease.owner: lease}))

    def _delete_lease(self, owner, expires_at):
        def delete():
            lease = self._table.leases.get(owner)
            if lease is not None and expires_at in (None, lease.expires_at):
                del self._table.leases[owner]

        self._do(f"delete lease {owner}", delete)

    def _leases(self):
        return self._do("leases", lambda: list(self._table.leases.values()))


def model_state_db(table, now=None, perform=None, checks=None):
    """The block by which one process knows the table."""
    db = ModelStateDB()
    db._table, db._perform, db._checks = table, perform, checks
    db._new_id = table.new_id
    if now is not None:
        db._now = now
    return db
