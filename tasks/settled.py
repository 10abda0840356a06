"""What of a watched place is settled for good: a process that begins anew asks for the rest only.

The state DB has a note for each chunk of a listing (`worksets.listing`) in which every folder is
registered, at this very place and with the stamp that it has, or refused. Nothing of that ever
changes back; so a note that is old, or lost, costs reads and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from blocks.folders import Found
from host import Host
from worksets.listing import Chunk, chunks


class Look(NamedTuple):
    """How a folder was when this process was done with it, and whether that is for good."""

    mark: str
    settled: bool


def mark(entry: Found) -> str:
    return f"{entry.workset_id} {entry.stamp} {entry.refused}"


async def pass_over(
    here: Host, root: str, found: Iterable[Found], seen: dict[str, Look]
) -> list[Chunk]:
    """Let what the notes call settled count as seen; the chunks of which some are to be looked at.

    One without a folder that is new to this process is not asked for.
    """
    listed = chunks((entry.location, mark(entry)) for entry in found)
    fresh = [chunk for chunk in listed if not all(_is_seen(seen, *pair) for pair in chunk.marks)]
    notes = await here.call(here.db.settled, root, [chunk.key for chunk in fresh])
    for chunk in fresh:
        if notes.get(chunk.key) == chunk.digest:
            seen.update({location: Look(mark, True) for location, mark in chunk.marks})
    return [chunk for chunk in fresh if notes.get(chunk.key) != chunk.digest]


async def keep(here: Host, root: str, looked_at: list[Chunk], seen: dict[str, Look]) -> None:
    """Note the chunks in which all is settled now."""
    for chunk in looked_at:
        if all(seen.get(location) == Look(mark, True) for location, mark in chunk.marks):
            await here.call(here.db.save_settled, root, chunk.key, chunk.digest)


def _is_seen(seen: dict[str, Look], location: str, mark: str) -> bool:
    return location in seen and seen[location].mark == mark
