"""Copy all worksets from one state DB to another, such as from SQLite to DynamoDB.

``python -m local.move_state --from settings.yaml --to new-settings.yaml`` copies what the first
file's `state_db` holds to the second's. It refuses while any process works with the first one or
any workset is held, compares counts and checksums at the end, and may be run again if it was cut
off. Nothing is deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from blocks.state_db import WorksetStateDB
from local import settings_file
from worksets.errors import Refused, WorksetError
from worksets.leases import is_over
from worksets.record import WorksetRecord
from worksets.texts import few, listed


def move(source: WorksetStateDB, target: WorksetStateDB) -> Counter[str]:
    """Copy every record; how many there are in each state.

    Raises:
        Refused: a process works with the source, a workset is held, a record in the target is
            another than the source's, or something changed meanwhile.
    """
    refuse_if_used(source)
    target.take_identity(source)
    records = source.list_worksets()
    if source.set_aside:
        raise Refused("\n".join(listed([*source.set_aside.values()])))
    for record in records:
        if not target.copy_in(record) and target.get(record.workset_id) != record:
            raise Refused(
                f"workset {record.workset_id} is in the target already, and is not the same "
                f"there; move to an empty state DB"
            )
    copied = [target.get(record.workset_id) for record in records]
    refuse_if_used(source)
    if not checksum(source.list_worksets()) == checksum(records) == checksum(copied):
        raise Refused("the worksets changed while they were copied; stop all pollers, run it again")
    return Counter(record.state.value for record in copied)


def refuse_if_used(db: WorksetStateDB) -> None:
    """Refuse unless the state DB is at rest."""
    now = db.now()
    if alive := [owner for owner, end in db.leases().items() if not is_over(end, now)]:
        raise Refused(f"{', '.join(sorted(alive))} still works with the state DB; stop it first")
    if held := [record.workset_id for record in db.held()]:
        raise Refused(
            f"{len(held)} worksets are held ({few(sorted(held), 5)}); let a poller bring "
            f"them to their end first"
        )


def checksum(records: Iterable[WorksetRecord]) -> str:
    """SHA-256 over all fields of all records, in the order of their ids."""
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda record: record.workset_id):
        digest.update(record.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.move_state", description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="settings file")
    parser.add_argument("--to", dest="target", type=Path, required=True, help="settings file")
    options = parser.parse_args(argv)
    try:
        _, source, _ = settings_file.read(options.source, Path.cwd())
        _, target, _ = settings_file.read(options.target, Path.cwd())
        create = getattr(target, "create_table_if_not_exists", None)
        if create is not None:
            create()
        moved = move(source, target)
    except WorksetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{count} {state}" for state, count in sorted(moved.items()))
    print(f"{moved.total()} worksets copied and compared: {counts or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
