"""The worksets that a run has to do with, read cheaply: what has ended is not read again."""

from __future__ import annotations

from blocks.state_db import WorksetStateDB
from worksets.errors import ConfigurationError
from worksets.record import OPEN, WorksetRecord


class Worksets:
    """All that a state DB can list at the beginning, and all that was unfinished at any look."""

    def __init__(self, db: WorksetStateDB) -> None:
        self._db = db
        self._known: dict[str, WorksetRecord] | None = None

    def look(self) -> list[WorksetRecord]:
        """Where they stand now. Blocks."""
        if self._known is None:
            self._known = {record.workset_id: record for record in self._first()}
        now = {record.workset_id: record for record in self._db.list_worksets(OPEN)}
        for id_, record in self._known.items():
            if record.state in OPEN and id_ not in now:
                now[id_] = self._db.get(id_)  # it has ended since
        self._known |= now
        return list(self._known.values())

    def _first(self) -> list[WorksetRecord]:
        try:
            return self._db.list_worksets()
        except ConfigurationError:
            return self._db.list_worksets(OPEN)  # DynamoDB keeps no list of what is complete
