"""What an operator does, by a button, a command or from Python: the same functions for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from host import Host
from tasks.discover import register
from worksets.by_hand import Meaning, meaning
from worksets.errors import ConfigurationError, WorksetError
from worksets.leases import is_stale
from worksets.record import HELD, WorksetRecord
from worksets.spec import is_identifier
from worksets.uris import file_uri, lies_below


@dataclass(frozen=True)
class Done:
    """What was done with a workset; `refused`: nothing, for the reason in `text`."""

    record: WorksetRecord
    meaning: Meaning
    text: str

    @property
    def refused(self) -> bool:
        return self.meaning is Meaning.NOTHING


def retry_by_hand(
    db: WorksetStateDB,
    workset_id: str,
    reason: str,
    owner: str = "",
    live: bool = False,
    from_start: bool = False,
) -> Done:
    """Make a workset ready for what a person's Retry asks for; blocks.

    `owner` is the process that asks, and `live` whether it carries the workset itself.
    `from_start`: its finished steps are run again, and a complete one begins anew.

    Raises:
        Refused: somebody was faster.
    """
    record = db.get(workset_id)
    carried = live
    if record.state in HELD and not carried:
        carried = not is_stale(record, db.leases(), db.now()) and record.lock_owner != owner
    what, text = meaning(record, carried, from_start)
    if what is Meaning.RESTORE:
        record = db.restore(workset_id, reason, from_start=from_start or None)
    elif what is Meaning.ANEW:
        record = db.register_again(workset_id, reason)
    elif what is Meaning.HASTEN:
        record = db.hasten(workset_id, reason)
    return Done(record, what, text)


async def registered(
    settings: WorksetSettings, db: WorksetStateDB, folders: Iterable[str]
) -> list[dict[str, Any]]:
    """Register these folders; for each, whether it is a known workset now, and what to say of it.

    A folder is a path or a URI, directly below a watched place.
    """
    here = Host("by hand", settings, db, settings.processor)
    await here.places.refresh(settings.worksets)
    return [await _one(here, folder) for folder in folders]


async def _one(here: Host, folder: str) -> dict[str, Any]:
    try:
        location = folder.rstrip("/") if "://" in folder else _uri_of(folder)
        id_ = _id_of(here, location)
        new = await here.at(location, register, here, id_, location)
        known = await here.call(here.db.get, id_)
        if known.location != location:
            raise ConfigurationError(
                f"a workset {id_} is known already, at {known.location}; rename one of the two"
            )
    except WorksetError as error:
        return {"folder": folder, "done": False, "workset": "", "told": str(error)}
    told = f"registered as {id_}" if new else f"is known already, and is {known.state.value}"
    return {"folder": folder, "done": True, "workset": id_, "told": told}


def _uri_of(folder: str) -> str:
    """The URI of a folder by its path, of which the part above the folder may lead over links.

    Raises:
        ConfigurationError: it is a link itself, or no folder.
    """
    given = Path(folder)
    if not given.name or given.name == "..":
        given = given.resolve()
    path = given.parent.resolve() / given.name
    if path.is_symlink():
        raise ConfigurationError(f"{folder} is a link; put the folder itself there")
    if not path.is_dir():
        raise ConfigurationError(f"{folder} is no folder")
    return file_uri(str(path))


def _id_of(here: Host, location: str) -> str:
    """The id of the workset at a location.

    Raises:
        ConfigurationError: it does not lie directly below a watched place, or its name is no id.
    """
    roots = [source.root.rstrip("/") for source in here.places.sources]
    parent, _, name = location.rpartition("/")
    if parent not in roots:
        inside = any(lies_below(location, root) for root in roots)
        where = "directly below" if inside else "below"
        raise ConfigurationError(
            f"{location} does not lie {where} a watched place ({', '.join(roots)}); move it there, "
            f"or add its place to `worksets` in the settings"
        )
    if not is_identifier(name):
        raise ConfigurationError(
            f"{name!r} is no name of a workset: 1 to 64 letters, digits, '.', '_' or '-'"
        )
    return name
