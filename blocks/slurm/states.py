"""What is heard from Slurm: its job states and its markers, as this project's statuses. Pure.

Job states: squeue(1), "JOB STATE CODES".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worksets.errors import ErrorCategory
from worksets.events import Exhausted
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.record import STEPS, Step

SQUEUE: Final = ("squeue", "-h", "-t", "all", "-o", "%i|%j|%T|%r")
SINFO: Final = ("sinfo", "-h", "-N", "-o", "%N|%m|%T|%C")

ENDED: Final[dict[str, tuple[ErrorCategory | None, str]]] = {
    "COMPLETED": (None, "ended"),
    "FAILED": (ErrorCategory.TRANSIENT, "the job could not be launched or was killed"),
    "CANCELLED": (ErrorCategory.TRANSIENT, "the job was cancelled on the cluster"),
    "PREEMPTED": (ErrorCategory.TRANSIENT, "a job of higher priority took its place"),
    "NODE_FAIL": (ErrorCategory.TRANSIENT, "its node failed"),
    "BOOT_FAIL": (ErrorCategory.TRANSIENT, "its node did not start"),
    "REVOKED": (ErrorCategory.TRANSIENT, "another cluster took it"),
    "DEADLINE": (ErrorCategory.RESOURCE, "it would not have ended before its deadline"),
    "TIMEOUT": (ErrorCategory.RESOURCE, "it reached its time limit"),
    "OUT_OF_MEMORY": (ErrorCategory.RESOURCE, "it ran out of memory"),
}
"""Ends, with the class of error of a job that left no end marker. Any other state is no end."""
EXHAUSTED: Final[dict[str, Exhausted]] = {"TIMEOUT": "time", "OUT_OF_MEMORY": "memory"}
TELLING: Final = frozenset(
    {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "TIMEOUT", "OUT_OF_MEMORY"}
)
"""Ends that say why a step of theirs ended badly, better than its exit code does."""
IN_USE: Final = frozenset({"idle", "allocated", "mixed", "completing", "planned", "reserved"})
"""States of nodes that take jobs (sinfo(1), NODE STATE CODES)."""


@dataclass(frozen=True)
class Listed:
    """What Slurm lists under one job name (more than one job, after an unlucky submission)."""

    states: tuple[tuple[str, str], ...]
    ids: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        return any(state not in ENDED for state, _ in self.states)

    @property
    def waits(self) -> bool:
        return all(state in ENDED or state == "PENDING" for state, _ in self.states)


def parse_squeue(text: str) -> dict[str, Listed]:
    """Jobs by name from `SQUEUE`'s output; a line that is none of its form is passed over."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 4:
            found.setdefault(fields[1], []).append((fields[0], fields[2], fields[3]))
    return {
        name: Listed(tuple(job[1:] for job in jobs), frozenset(job[0] for job in jobs))
        for name, jobs in found.items()
    }


def parse_sacct(text: str) -> dict[str, Listed]:
    """Ended jobs by name from sacct's lines `ID|NAME|STATE`; a state may say `CANCELLED by 0`."""
    ended = []
    for line in text.splitlines():
        fields = line.rstrip("|").split("|")
        if len(fields) == 3 and (state := fields[2].strip().partition(" ")[0]) in ENDED:
            ended.append(f"{fields[0]}|{fields[1]}|{state}|accounting")
    return parse_squeue("\n".join(ended))


@dataclass(frozen=True)
class Nodes:
    """Room on the nodes that take jobs, in worksets: in all, and free now."""

    room: int
    free: int


def parse_nodes(text: str, vcpus: int, memory_gb: float) -> Nodes:
    """Room from `SINFO`'s output: one line a node and partition, each node counted once.

    A node powered down (`~`) or on its way up (`#`) takes jobs; one that does not respond (`*`),
    is in maintenance (`$`), drained, down or failing does not. Of a node's CPUs those of jobs
    count for `room`, those in no state of use (`other`) do not.
    """
    room = free = 0
    for name in (nodes := dict(_nodes(text))):
        state, memory_mb, allocated, idle = nodes[name]
        if state.rstrip("~#!%@^-") not in IN_USE:
            continue
        by_memory = int(memory_mb / (memory_gb * 1000))
        room += min((allocated + idle) // vcpus, by_memory)
        free += min(idle // vcpus, by_memory)
    return Nodes(room, free)


def _nodes(text: str) -> Iterable[tuple[str, tuple[str, int, int, int]]]:
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 4:
            allocated, idle, *_ = map(int, fields[3].split("/"))
            yield fields[0], (fields[2].lower(), int(fields[1].rstrip("+")), allocated, idle)


@dataclass
class Markers:
    """What lies in one job's folder."""

    starts: dict[Step, datetime] = field(default_factory=dict)
    exits: dict[Step, tuple[datetime, int]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    claimed: bool = False
    job: str = ""
    """Slurm's id of the job that claimed the attempt; written a moment after the claim."""
    sealed: bool = False
    readable: bool = True


def parse_markers(text: str) -> dict[str, Markers]:
    """Markers by job name from `markers_shell`'s output."""
    found: dict[str, Markers] = {}
    here = Markers()
    for line in text.splitlines():
        what, _, value = line.partition(" ")
        if what == "@":
            here = found.setdefault(value, Markers())
        elif what == "steps":
            here.steps = tuple(map(Step, value.split()))
        elif what == "claim":
            here.claimed = True
        elif what == "job":
            here.job = value
        elif what == "sealed":
            here.sealed = True
        elif what == "unreadable":
            here.readable = False
        elif what.endswith(".start"):
            here.starts[Step(what[:-6])] = datetime.fromisoformat(json.loads(value)["at"])
        elif what.endswith(".exit"):
            end = json.loads(value)
            here.exits[Step(what[:-5])] = (datetime.fromisoformat(end["at"]), end["code"])
    return found


def of_claimant(listed: Listed | None, found: Markers) -> Listed | None:
    """What Slurm lists of the job that claimed the attempt; None if it lists only a twin of it.

    A twin that found the attempt claimed ends at once, and its end is not the attempt's.
    """
    if listed is None or found.sealed or not found.claimed or found.job in listed.ids:
        return listed
    return None


def status(name: str, listed: Listed | None, found: Markers) -> JobStatus:
    """A job that Slurm does not have running, by its markers first and Slurm's word second.

    UNKNOWN where the markers could not be read.
    """
    marks = tuple(_marks(found))
    all_ended = bool(found.steps) and all(step in found.exits for step in found.steps)
    broken_off = any(code != 0 for _, code in found.exits.values())
    state, note, category = _said(listed)
    if broken_off and state in TELLING:
        return JobStatus(name, Phase.ENDED, marks, note, category, EXHAUSTED.get(state, ""))
    if all_ended or broken_off:
        return JobStatus(name, Phase.ENDED, marks)
    if not found.readable:
        return JobStatus(name, Phase.UNKNOWN, note="its folder cannot be read")
    if listed is None and not found.claimed:
        return JobStatus(name, Phase.ABSENT)
    if found.sealed and listed is None:
        note = "Slurm has forgotten it before it began; it is sealed and never will"
    return JobStatus(name, Phase.VANISHED, marks, note, category, EXHAUSTED.get(state, ""))


def _said(listed: Listed | None) -> tuple[str, str, ErrorCategory]:
    """The state in which Slurm has a job, what that means, and its class of error."""
    if listed is None:
        return "", "it began, and Slurm knows it no more", ErrorCategory.TRANSIENT
    state, reason = _worst(listed)
    category, meaning = ENDED[state]
    note = f"Slurm says {state} ({reason}): {meaning}" if reason else f"{state}: {meaning}"
    return state, note, category or ErrorCategory.TRANSIENT


def _worst(listed: Listed) -> tuple[str, str]:
    return max(listed.states, key=lambda entry: list(ENDED).index(entry[0]))


def _marks(found: Markers) -> Iterable[StepMarkers]:
    for step in STEPS:
        if step in found.starts:
            ended_at, code = found.exits.get(step, (None, None))
            yield StepMarkers(step, found.starts[step], ended_at, code)
