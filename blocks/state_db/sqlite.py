"""The embedded state DB: one SQLite file, nothing to install."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field, PrivateAttr

from blocks.state_db.contract import WorksetStateDB
from blocks.state_db.store import Known, Lease, VersionConflict, lease_over, scope_is_full
from blocks.strict import StrictBlock
from worksets.errors import ConfigurationError, TransientError
from worksets.record import FINAL, UNFINISHED, State, WorksetRecord

_ACTIVE: Final = tuple(sorted(state.value for state in UNFINISHED | {State.FAILED}))
_ENDED: Final = tuple(sorted(state.value for state in FINAL - {State.FAILED}))
_ENDED_AT: Final = (
    "CASE WHEN json_valid(record) THEN json_extract(record, '$.updated_at') ELSE '9' END"
)
"""When a record was written last, to be compared as text; one that cannot be read is the newest."""

# Finished worksets are in the index of their end alone: a poll costs the same, however many there
# are.
# Terms joined by OR: SQLite uses no index for `state = 'ready'` whose condition is `state IN (…)`.
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS worksets (
    workset_id TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    state      TEXT NOT NULL,
    location   TEXT NOT NULL,
    record     TEXT NOT NULL
) WITHOUT ROWID;
DROP INDEX IF EXISTS active;
CREATE INDEX IF NOT EXISTS open ON worksets (state)
    WHERE {" OR ".join(f"state = '{state}'" for state in _ACTIVE)};
CREATE INDEX IF NOT EXISTS ended ON worksets ({_ENDED_AT})
    WHERE {" OR ".join(f"state = '{state}'" for state in _ENDED)};
CREATE TABLE IF NOT EXISTS holders (
    scope      TEXT NOT NULL,
    workset_id TEXT NOT NULL,
    PRIMARY KEY (scope, workset_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    key  TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owed (
    workset_id TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    owner      TEXT PRIMARY KEY,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
"""

_ENDED_SINCE: Final = tuple(
    f"SELECT workset_id, record FROM worksets WHERE state = '{state}' AND {_ENDED_AT} >= ?"
    for state in _ENDED
)


class SQLiteStateDB(WorksetStateDB, StrictBlock):
    """State DB in one local file, for the processes of one machine.

    WAL mode with full sync: a commit that was answered survives a power cut. The file must not lie
    on a network file system, whose locks SQLite cannot trust.
    """

    _block_type_name = "SQLite Workset State DB"
    _block_type_slug = "sqlite-workset-state-db"

    path: str = Field(description="Path of the database file; its folder is made if missing")
    busy_timeout_s: float = Field(
        30, gt=0, le=600, description="Seconds to wait for another writer; at most 10 minutes"
    )

    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _connection: sqlite3.Connection | None = PrivateAttr(default=None)
    _file: tuple[Path, tuple[int, int]] = PrivateAttr(default=(Path(), (0, 0)))

    def apart(self) -> SQLiteStateDB:
        """See `WorksetStateDB`."""
        other = SQLiteStateDB(path=self.path, busy_timeout_s=self.busy_timeout_s)
        other._now, other._installation = self._now, self._installation
        return other

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            path = Path(self.path).expanduser()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(
                    path, self.busy_timeout_s, isolation_level=None, check_same_thread=False
                )
                # two processes that open a new file at once: the mode change may find it locked
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            except (sqlite3.DatabaseError, OSError) as error:
                if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                    raise TransientError(f"the state DB {path} is locked; try again") from error
                raise ConfigurationError(
                    f"the state DB {path} cannot be opened: {error}; check the path, its owner "
                    f"and the free space"
                ) from error
            # a process may go to another folder
            path = path.absolute()
            self._connection, self._file = connection, (path, _identity(path))
        return self._connection

    def _check_file(self) -> None:
        """Refuse to go on in a file that nobody else sees any more: all would be lost with it."""
        path, identity = self._file
        if _identity(path) != identity:
            raise ConfigurationError(
                f"the state DB {path} was removed or replaced while it was in use, and "
                f"nothing is written any more; put the file back, or end this process first"
            )

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._open()
            self._check_file()
            try:
                connection.execute(f"BEGIN {mode}")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise TransientError(
                    f"the state DB {self.path} did not take the call: {error}"
                ) from error
            except sqlite3.DatabaseError as error:
                raise TransientError(
                    f"the state DB {self.path} is damaged: {error}; end all that uses it, keep a "
                    f"copy, and recover it (sqlite3 FILE .recover) or restore a backup"
                ) from error

    def _insert(self, record: WorksetRecord) -> bool:
        with self._transaction() as db:
            done = db.execute(
                "INSERT INTO worksets VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", _row(record)
            )
            return done.rowcount == 1

    def _read(self, workset_id: str) -> WorksetRecord | None:
        with self._transaction("DEFERRED") as db:
            row = db.execute(
                "SELECT record FROM worksets WHERE workset_id = ?", (workset_id,)
            ).fetchone()
        return self._decoded(workset_id, row[0]) if row else None

    def _known(self, workset_ids: list[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        ended = {state.value for state in FINAL}
        with self._transaction("DEFERRED") as db:
            for start in range(0, len(workset_ids), 500):
                some = workset_ids[start : start + 500]
                marks = ", ".join("?" * len(some))
                for id_, location, state, spec in db.execute(
                    "SELECT workset_id, location, state, CASE WHEN json_valid(record) "
                    "THEN json_extract(record, '$.delivery.spec') END "
                    f"FROM worksets WHERE workset_id IN ({marks})",
                    some,
                ):
                    found[id_] = Known(location=location, spec=spec or "", ended=state in ended)
        return found

    def _find(self, workset_ids: list[str]) -> list[WorksetRecord]:
        rows: list[tuple[str, str]] = []
        with self._transaction("DEFERRED") as db:
            for start in range(0, len(workset_ids), 500):
                some = workset_ids[start : start + 500]
                marks = ", ".join("?" * len(some))
                rows += db.execute(
                    f"SELECT workset_id, record FROM worksets WHERE workset_id IN ({marks})", some
                ).fetchall()
        return self._readable(rows)

    def _ended(self, since: datetime | None, now: datetime) -> list[WorksetRecord]:
        # in the text of a record a time is to be compared up to its second
        second = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if since else ""
        with self._transaction("DEFERRED") as db:
            rows = [row for query in _ENDED_SINCE for row in db.execute(query, (second,))]
        found = self._readable(rows)
        return [
            record
            for record in found
            if not record.archived and (since is None or record.updated_at >= since)
        ]

    def _commit(
        self,
        before: WorksetRecord,
        after: WorksetRecord,
        limits: Mapping[str, int],
        alive_at: datetime | None,
    ) -> None:
        with self._transaction() as db:
            if (
                alive_at is not None
                and not db.execute(
                    "SELECT 1 FROM leases WHERE owner = ? AND expires_at > ?",
                    (after.lock_owner, alive_at.isoformat()),
                ).fetchone()
            ):
                raise lease_over(after)
            done = db.execute(
                "UPDATE worksets SET workset_id = ?, version = ?, state = ?, location = ?, "
                "record = ? WHERE workset_id = ? AND version = ?",
                (*_row(after), before.workset_id, before.version),
            )
            if done.rowcount != 1:
                raise VersionConflict(before.workset_id)
            if after.owed is not None:
                db.execute(
                    "INSERT INTO owed VALUES (?) ON CONFLICT DO NOTHING", (after.workset_id,)
                )
            elif before.owed is not None:
                db.execute("DELETE FROM owed WHERE workset_id = ?", (after.workset_id,))
            for scope in sorted(before.scopes - after.scopes):
                db.execute(
                    "DELETE FROM holders WHERE scope = ? AND workset_id = ?",
                    (scope, after.workset_id),
                )
            for scope in sorted(after.scopes - before.scopes):
                if scope in limits:
                    held = db.execute(
                        "SELECT workset_id FROM holders WHERE scope = ? AND workset_id != ?",
                        (scope, after.workset_id),
                    ).fetchall()
                    if len(held) >= limits[scope]:
                        raise scope_is_full(scope, limits[scope], (row[0] for row in held))
                db.execute(
                    "INSERT INTO holders VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (scope, after.workset_id),
                )

    def _select(self, states: tuple[State, ...]) -> list[WorksetRecord]:
        with self._transaction("DEFERRED") as db:
            # a state written into the query, not bound to it, lets SQLite use the partial index
            rows = [
                row
                for state in sorted(states)
                for row in db.execute(
                    f"SELECT workset_id, record FROM worksets WHERE state = '{state.value}'"
                ).fetchall()
            ]
        return self._readable(rows)

    def _due(self, now: datetime) -> list[WorksetRecord]:
        waiting = self._select((State.RETRYING,))
        return [r for r in waiting if r.retry_after is None or r.retry_after <= now]

    def _next_due(self) -> datetime | None:
        times = (r.retry_after for r in self._select((State.RETRYING,)))
        return min((at for at in times if at), default=None)

    def _counts(self) -> dict[str, int]:
        with self._transaction("DEFERRED") as db:
            return {
                state: db.execute(
                    f"SELECT count(*) FROM worksets WHERE state = '{state}'"
                ).fetchone()[0]
                for state in _ACTIVE
            }

    def _owed(self) -> list[WorksetRecord]:
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT workset_id, record FROM owed JOIN worksets USING (workset_id) LIMIT 100"
            ).fetchall()
        return self._readable(rows)

    def _put_owed(self, workset_id: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT INTO owed VALUES (?) ON CONFLICT DO NOTHING", (workset_id,))

    def _holders(self) -> dict[str, frozenset[str]]:
        with self._transaction("DEFERRED") as db:
            rows = db.execute("SELECT scope, workset_id FROM holders").fetchall()
        sets: dict[str, set[str]] = {}
        for scope, workset_id in rows:
            sets.setdefault(scope, set()).add(workset_id)
        return {scope: frozenset(ids) for scope, ids in sets.items()}

    def _get_note(self, key: str) -> str:
        with self._transaction("DEFERRED") as db:
            row = db.execute("SELECT text FROM notes WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def _first_note(self, key: str, text: str) -> str:
        with self._transaction() as db:
            db.execute("INSERT INTO notes VALUES (?, ?) ON CONFLICT DO NOTHING", (key, text))
            row = db.execute("SELECT text FROM notes WHERE key = ?", (key,)).fetchone()
        return str(row[0])

    def _put_note(self, key: str, text: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, text))

    def _swap_note(self, key: str, before: str, after: str) -> bool:
        change = "UPDATE notes SET text = ? WHERE key = ? AND text = ?"
        with self._transaction() as db:
            return db.execute(change, (after, key, before)).rowcount == 1

    def _put_lease(self, lease: Lease) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO leases VALUES (?, ?) "
                "ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at",
                (lease.owner, lease.expires_at.isoformat()),
            )

    def _delete_lease(self, owner: str, expires_at: datetime | None) -> None:
        with self._transaction() as db:
            db.execute(
                "DELETE FROM leases WHERE owner = ?1 AND expires_at = coalesce(?2, expires_at)",
                (owner, expires_at.isoformat() if expires_at else None),
            )

    def _leases(self) -> list[Lease]:
        with self._transaction("DEFERRED") as db:
            rows = db.execute("SELECT owner, expires_at FROM leases").fetchall()
        return [Lease(owner=o, expires_at=datetime.fromisoformat(at)) for o, at in rows]


def _identity(path: Path) -> tuple[int, int]:
    """Which file lies there now; zeros: none."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _row(record: WorksetRecord) -> tuple[str, int, str, str, str]:
    return (
        record.workset_id,
        record.version,
        record.state.value,
        record.location,
        record.model_dump_json(),
    )
