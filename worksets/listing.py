"""A listing in chunks that stay the same while the listing grows, so that it can be kept what of it
is settled.

A name ends a chunk by its own hash. So a name that comes, goes or changes touches its own chunk,
and at most joins or parts two, wherever the listing was begun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

NAMES: Final = 128
"""Names in a chunk, on average."""
TAIL: Final = ""
"""Key of names that no end follows yet; no name is empty."""
FEW: Final = 4
"""Fewer names without an end are no chunk: they are asked for one by one."""


@dataclass(frozen=True)
class Chunk:
    """Names that follow each other, each with a text that differs when it must be looked at."""

    marks: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        last = self.marks[-1][0]
        return last if ends_chunk(last) else TAIL

    @property
    def digest(self) -> str:
        """Differs where any name or mark does."""
        text = "".join(f"{len(name)} {len(mark)} {name}{mark}" for name, mark in self.marks)
        return _hash(text, 16).hex()


def ends_chunk(name: str) -> bool:
    """By the last part of a location: a source, which lists names, has the same ends."""
    name = name.rpartition("/")[2]
    return int.from_bytes(_hash(name, 4)) % NAMES == 0


def chunks(marks: Iterable[tuple[str, str]]) -> list[Chunk]:
    """Of (name, mark), in any order; a few names without an end are left out."""
    found: list[Chunk] = []
    open_: list[tuple[str, str]] = []
    for name, mark in sorted(marks):
        open_.append((name, mark))
        if ends_chunk(name):
            found.append(Chunk(tuple(open_)))
            open_ = []
    return found + ([Chunk(tuple(open_))] if len(open_) >= FEW else [])


def whole_chunks(names: Sequence[str]) -> Sequence[str]:
    """The names (sorted) up to the last end of a chunk; all, if there is none."""
    ends = [n for n, name in enumerate(names, 1) if ends_chunk(name)]
    return names[: ends[-1]] if ends else names


def _hash(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
