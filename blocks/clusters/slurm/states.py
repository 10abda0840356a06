"""What is heard from Slurm of jobs, parsed: their states and their markers. Pure.

Nothing is decided here: what it all means for a job is `worksets.belief`. Job states: squeue(1),
"JOB STATE CODES".
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from worksets.belief import Markers, Word
from worksets.errors import ErrorCategory
from worksets.events import Exhausted
from worksets.jobs import Phase
from worksets.record import STEPS, Exported, Step, Took

SQUEUE: Final = ("squeue", "-h", "-a", "-t", "all", "-o", "%i|%j|%T|%r|%w")

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
    {"CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "TIMEOUT", "OUT_OF_MEMORY"}
)
"""Ends that say why a step of theirs ended badly, better than its exit code does."""


@dataclass(frozen=True)
class Listed:
    """What Slurm lists under one job name (more than one job, after an unlucky submission)."""

    states: tuple[tuple[str, str], ...]
    ids: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        return bool(self.at_work)

    @property
    def waits(self) -> bool:
        return all(state in ENDED or state == "PENDING" for state, _ in self.states)

    @property
    def at_work(self) -> frozenset[str]:
        """Its states that are no end."""
        return frozenset(state for state, _ in self.states if state not in ENDED)


def parse_squeue(text: str) -> dict[str, Listed]:
    """Jobs by name from `SQUEUE`'s output; a line that is none of its form is passed over."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for id_, name, state, reason, _ in _jobs(text):
        found.setdefault(name, []).append((id_, state, reason))
    return {
        name: Listed(tuple(job[1:] for job in jobs), frozenset(job[0] for job in jobs))
        for name, jobs in found.items()
    }


def parse_left(text: str) -> Counter[str]:
    """How many jobs that a job's steps have handed in are still there, by the job's name.

    From `SQUEUE`'s output. One that is only completing has no process that could write a file.
    """
    return Counter(
        tag
        for _, name, state, _, tag in _jobs(text)
        if tag != name and state not in ENDED and state != "COMPLETING"
    )


def _jobs(text: str) -> Iterable[list[str]]:
    """Id, name, state, reason and wckey of each job."""
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 5:
            yield fields


def parse_sacct(text: str) -> dict[str, Listed]:
    """Ended jobs by name from sacct's lines `ID|NAME|STATE`; a state may say `CANCELLED by 0`."""
    ended = []
    for line in text.splitlines():
        fields = line.rstrip("|").split("|")
        if len(fields) == 3 and (state := fields[2].strip().partition(" ")[0]) in ENDED:
            ended.append(f"{fields[0]}|{fields[1]}|{state}|accounting|")
    return parse_squeue("\n".join(ended))


def parse_markers(text: str, folders: Mapping[str, str]) -> dict[str, Markers]:
    """Markers of jobs (name to folder) from `markers_shell`'s output, each job's for itself.

    What cannot be read, or is not there at all, is named in `Markers.unreadable` of its job.
    """
    said: dict[str, list[str]] = {}
    here: list[str] | None = None
    for line in text.splitlines():
        what, _, value = line.partition(" ")
        if what == "@":
            here = said.setdefault(value, []) if value in folders else None
        elif here is not None:
            here.append(line)
    return {
        name: _markers(folder, said[name])
        if name in said
        else Markers(unreadable=f"nothing was said of {folder}")
        for name, folder in folders.items()
    }


def _markers(folder: str, lines: Iterable[str]) -> Markers:
    found: dict[str, Any] = {"starts": {}, "exits": {}}
    cpu_s: dict[Step, float] = {}
    damaged: list[str] = []
    for line in lines:
        name, _, packed = line.partition(" ")
        if name in ("claimed", "sealed", "submitted", "cancelled"):
            found[name] = True
        elif name == "unreadable":
            damaged.append(f"{folder} cannot be read")
        else:
            try:
                text = base64.b64decode(packed, validate=True).decode("utf-8")
                _marker(found, name, text)
                if name.endswith(".exit"):
                    taken = _cpu_s(json.loads(text).get("times"))
                    if taken is not None:
                        cpu_s[Step(name.removesuffix(".exit"))] = taken
            except (ValueError, TypeError, KeyError):
                what = "is empty" if not packed else "is damaged"
                damaged.append(f"{folder}/{name} {what}")
    took = _took(cpu_s)
    return Markers(**found, took=took, unreadable="; ".join(damaged))


def _cpu_s(times: object) -> float | None:
    """Seconds in the second line of times(1), `0m1.20s 0m0.34s`: user and system, of children.

    None where it says something else: what a step took is never a reason to doubt its end.
    """
    found = re.findall(r"(\d{1,9})m(\d{1,9}(?:[.,]\d{1,9})?)s", str(times))
    if len(found) != 2:
        return None
    return sum(60 * int(minutes) + float(s.replace(",", ".")) for minutes, s in found)


def _took(cpu_s: Mapping[Step, float]) -> dict[Step, Took]:
    """What each step took, of what a job had taken at the end of each."""
    found, before = {}, 0.0
    for step in STEPS:
        if step in cpu_s:
            found[step] = Took(cpu_s=round(max(cpu_s[step] - before, 0.0), 3))
            before = cpu_s[step]
    return found


def _marker(found: dict[str, Any], name: str, text: str) -> None:
    """Take over one file of a job's folder.

    Raises:
        ValueError, TypeError, KeyError: it is not what such a file holds.
    """
    if name == "steps":
        found["steps"] = tuple(map(Step, text.split()))
        if not found["steps"]:
            raise ValueError("no step")
    elif name == "job":
        found["job"] = text.strip()
    elif name.endswith(".start"):
        found["starts"][Step(name.removesuffix(".start"))] = _time(json.loads(text)["at"])
    elif name.endswith(".exit"):
        end = json.loads(text)
        exported = Exported.model_validate(end["exported"]) if "exported" in end else None
        if type(end["code"]) is not int:
            raise ValueError("no exit code")
        found["exits"][Step(name.removesuffix(".exit"))] = (_time(end["at"]), end["code"])
        if exported is not None:
            found["exported"] = exported
    else:
        raise ValueError("no file of ours")


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without its zone")
    return at


@cache
def _reasons() -> tuple[tuple[str, str], ...]:
    text = (files("blocks.clusters.slurm") / "reasons.yaml").read_text(encoding="utf-8")
    return tuple((entry["reason"], entry["remedy"]) for entry in yaml.safe_load(text))


def remedy_of(reason: str) -> str:
    """What to do about a reason of waiting that does not pass by itself; "" for any other."""
    return next((remedy for begins, remedy in _reasons() if reason.startswith(begins)), "")


def of_claimant(listed: Listed | None, found: Markers) -> Listed | None:
    """What Slurm lists of the job that claimed the attempt; None if it lists only a twin of it.

    A twin that found the attempt claimed ends at once, and its end is not the attempt's.
    """
    if listed is None or found.sealed or not found.claimed or found.job in listed.ids:
        return listed
    return None


def word(listed: Listed | None) -> Word | None:
    """Slurm's word of a job; None: it lists none."""
    if listed is None:
        return None
    if listed.active:
        reasons = {reason for state, reason in listed.states if state == "PENDING"}
        if not listed.waits:
            state = min(listed.at_work) if len(listed.at_work) == 1 else ""
            stuck = remedy_of(state)
            note = state if stuck else ""
            return Word(Phase.RUNNING, note, stuck=stuck, ends=state == "COMPLETING")
        reason = ", ".join(sorted(reasons - {"", "None"}))
        return Word(Phase.QUEUED, reason, stuck=remedy_of(reason))
    state, reason = max(listed.states, key=lambda entry: list(ENDED).index(entry[0]))
    category, meaning = ENDED[state]
    note = f"Slurm says {state} ({reason}): {meaning}" if reason else f"{state}: {meaning}"
    exhausted = EXHAUSTED.get(state, "")
    killed = state not in ("COMPLETED", "FAILED")
    return Word(Phase.ENDED, note, category, exhausted, killed=killed, tells=state in TELLING)
