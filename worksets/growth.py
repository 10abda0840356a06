"""With how much memory and time a workset begins, after what those before it ran out of. Pure.

A retry asks for more of what ran out, a step each time. What was enough for nine of the last twenty
finished worksets of ten is where the next of the pipeline begin. They never begin with less than
the settings say: a job that took little once is no evidence that the next one does, and what a
node's kernel calls a peak is that of one process. Whoever changes the settings begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final
from zlib import crc32

from worksets.config import Pipeline
from worksets.estimates import ENOUGH, KEPT
from worksets.record import Estimates, WorksetRecord

MOST_STEPS: Final = 99
"""More are a damaged note."""


@dataclass(frozen=True)
class Asks:
    """What the settings ask for, as a digest each: what was learned of others says nothing."""

    memory: str
    time: str


def asks_of(pipeline: Pipeline, clusters: Iterable[tuple[str, float, int]]) -> Asks:
    """`clusters`: name, GB and minutes of each for a workset whose pipeline says nothing."""
    known = sorted(clusters)
    memory = (pipeline.memory_gb, pipeline.memory_gb_per_gb)
    minutes = (pipeline.minutes, pipeline.minutes_per_gb)
    return Asks(
        _digest(memory if any(memory) else [(name, gb) for name, gb, _ in known]),
        _digest(minutes if any(minutes) else [(name, limit) for name, _, limit in known]),
    )


def begins(needs: Estimates, note: str, asks: Asks, record: WorksetRecord) -> Estimates:
    """The needs with the steps that the note says, and of how many worksets it says so.

    What has begun keeps what it began with: its retries add their own. What begins anew has those
    of its earlier attempts already.
    """
    if record.attempt > record.lineage_after:
        kept = ("more_memory", "more_time", "more_from")
        return needs.model_copy(update={key: getattr(record.estimates, key) for key in kept})
    memory, time = _steps(note, 0, asks.memory), _steps(note, 1, asks.time)
    more_memory = max(0, _enough(memory) - record.out_of_memory)
    more_time = max(0, _enough(time) - record.out_of_time)
    count = max(len(memory) if more_memory else 0, len(time) if more_time else 0)
    return needs.model_copy(
        update={"more_memory": more_memory, "more_time": more_time, "more_from": count}
    )


def with_finished(note: str, record: WorksetRecord, asks: Asks) -> str:
    """The note after one more; the same where that would say nothing new."""
    memory = record.estimates.more_memory + record.out_of_memory
    time = record.estimates.more_time + record.out_of_time
    word = f"{min(memory, MOST_STEPS)}@{asks.memory}/{min(time, MOST_STEPS)}@{asks.time}"
    words = [*note.split(), word][-KEPT:]
    return note if set(note.split()) == {word} and len(note.split()) == KEPT else " ".join(words)


def _steps(note: str, part: int, asks: str) -> list[int]:
    """The steps of those that asked for the same; what cannot be read is none of them."""
    found = []
    for word in note.split():
        said = word.split("/")[part : part + 1]
        steps, _, of = said[0].partition("@") if said else ("", "", "")
        if of == asks and steps.isdecimal() and int(steps) <= MOST_STEPS:
            found.append(int(steps))
    return found


def _enough(steps: Sequence[int]) -> int:
    """What was enough for nine of ten, and for all but one: one alone raises nothing."""
    if len(steps) < ENOUGH:
        return 0
    return sorted(steps)[min(ceil(0.9 * len(steps)), len(steps) - 1) - 1]


def _digest(said: object) -> str:
    return f"{crc32(repr(said).encode()) & 0xFFFF:04x}"
