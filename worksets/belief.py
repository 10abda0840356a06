"""What is believed of a job: one pure function of what was believed, what is said, and the time.

Those who ask a cluster and parse its answer decide nothing. A job has ended if its own exit markers
say so; or if the scheduler says so, or has forgotten a job that had begun, and nothing has
contradicted that for `late_s` seconds: file systems show files late, controllers forget and
remember. Of a job that was told to stop for good the scheduler's word is enough. Silence, one empty
answer and a damaged file change nothing but what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Final

from worksets.errors import ErrorCategory
from worksets.events import Exhausted
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.record import STEPS, Exported, Step, Took


@dataclass(frozen=True)
class Word:
    """What a scheduler says of a job that it knows."""

    phase: Phase
    """QUEUED, RUNNING or ENDED."""
    note: str = ""
    """While it waits, why; at its end, what that means."""
    category: ErrorCategory | None = None
    exhausted: Exhausted = ""
    stuck: str = ""
    """What to do, where the reason of a wait does not pass by itself."""
    killed: bool = False
    """Whether the scheduler, or its node, ended it: it could not leave its own end marker."""
    tells: bool = False
    """Whether this end says why a step ended badly, better than the step's exit code does."""
    ends: bool = False
    """Whether its script has ended and its scheduler is not done with it yet, as while an epilog
    runs, or for days where a process cannot be killed; why it ended is said after that."""


@dataclass(frozen=True)
class Markers:
    """What lies in one job's folder."""

    steps: tuple[Step, ...] = ()
    """Those that the job was to run; empty: it is not known."""
    starts: dict[Step, datetime] = field(default_factory=dict)
    exits: dict[Step, tuple[datetime, int]] = field(default_factory=dict)
    exported: Exported | None = None
    took: dict[Step, Took] = field(default_factory=dict)
    submitted: bool = False
    """Somebody has handed it in, and was told so."""
    claimed: bool = False
    """A job, or a seal, has taken the attempt."""
    job: str = ""
    """The scheduler's id of the job that claimed it; written a moment after the claim."""
    sealed: bool = False
    """It was taken away before a job began: none ever will."""
    cancelled: bool = False
    """It was told to stop, and nothing of its workset follows."""
    unreadable: str = ""
    """What of it could not be read, by path, and why; the rest is as it was read."""

    @property
    def ended(self) -> bool:
        """Whether the job's own markers say that it has ended, well or badly."""
        codes = {step: code for step, (_, code) in self.exits.items()}
        well = bool(self.steps) and all(codes.get(step) == 0 for step in self.steps)
        return well or any(code != 0 for code in codes.values())

    def marks(self) -> tuple[StepMarkers, ...]:
        return tuple(self._marks())

    def _marks(self) -> Iterable[StepMarkers]:
        for step in STEPS:
            if step in self.starts or step in self.exits:
                ended_at, code = self.exits.get(step, (None, None))
                began_at = self.starts.get(step, ended_at)
                assert began_at is not None
                exported = self.exported if step is Step.EXPORT else None
                took = self.took.get(step)
                yield StepMarkers(step, began_at, ended_at, code, exported, took)


@dataclass(frozen=True)
class Belief:
    """What is kept of a job between two looks: its markers that were ever seen, and doubt."""

    markers: Markers = Markers()
    doubt_since: float | None = None
    """Time at which its markers and the scheduler's word began to contradict each other, s."""
    told_end: bool = False
    """Whether that is the time of a word that it has ended, and not of a silence before."""


@dataclass(frozen=True)
class Verdict:
    """What is believed now.

    `seal`: the attempt is to be taken away from a job that never began, and looked at once more,
    before anything is done about it. `cleans`: what its steps have left in the queue is to be
    cancelled.
    """

    status: JobStatus
    after: Belief
    seal: bool = False
    cleans: bool = False


NOTHING: Final = Belief()


def believe(
    before: Belief,
    name: str,
    word: Word | None,
    markers: Markers,
    now: float,
    late_s: float,
    began: float | None = None,
) -> Verdict:
    """What to believe of one job after one look.

    Args:
        before: What was believed after the look before; `NOTHING` at the first.
        name: The job's.
        word: What the scheduler says of it, its accounting included; None: it knows none.
        markers: What its folder showed, looked at after the scheduler was asked.
        now: Time of this look on a clock that only goes on, s.
        late_s: Seconds for which a file may be there and not be seen, and a controller may not
            know a job that it will know again.
        began: When this look began, by the same clock; None: now. What it has seen may be as old:
            an answer is late, or its process was asleep.
    """
    seen = grown(before.markers, markers)
    seen_at = now if began is None else began
    if seen.ended:
        told = word if word is not None and word.phase is Phase.ENDED and word.tells else None
        badly = any(code != 0 for _, code in seen.exits.values())
        if badly and word is not None and word.ends:
            since = now if before.doubt_since is None else before.doubt_since
            if max(seen_at - since, 0) < late_s:
                note = "it has ended; its scheduler has not said why yet"
                running = JobStatus(name, Phase.RUNNING, seen.marks(), note)
                return Verdict(running, Belief(seen, since))
        status = JobStatus(name, Phase.ENDED, seen.marks())
        if told is not None and badly:
            status = replace(
                status, note=told.note, category=told.category, exhausted=told.exhausted
            )
        return Verdict(status, Belief(seen))
    if word is not None and word.phase is not Phase.ENDED:
        status = JobStatus(name, word.phase, seen.marks(), word.note, stuck=word.stuck)
        return Verdict(status, Belief(seen))
    if seen.sealed:
        note = word.note if word else "it had not begun; it is sealed, and never will"
        return Verdict(replace(_gone(name, word, seen, note), never_taken=True), Belief(seen))
    if seen.unreadable:
        # doubt begins anew when it can be read: what was not seen contradicts nothing
        status = JobStatus(name, Phase.UNKNOWN, seen.marks(), seen.unreadable)
        return Verdict(status, Belief(seen))
    if word is None and not seen.claimed and not seen.submitted:
        return Verdict(JobStatus(name, Phase.ABSENT), Belief(seen))
    # its last marker is as late as a file may be, counted from its end, not from a silence before
    first_word = word is not None and not before.told_end
    # a job that its scheduler had forgotten may have been brought back since it was asked
    just_begun = seen.claimed and not before.markers.claimed
    anew = first_word or just_begun
    since = now if before.doubt_since is None or anew else before.doubt_since
    told_end = word is not None or before.told_end
    stopped = seen.cancelled and word is not None and word.killed
    if max(seen_at - since, 0) < late_s and not stopped:
        what = f"{word.note}; no end marker is seen yet" if word else "the scheduler lists it not"
        phase = Phase.RUNNING if seen.claimed else Phase.QUEUED
        return Verdict(JobStatus(name, phase, seen.marks(), what), Belief(seen, since, told_end))
    note = word.note if word else "it began, and its scheduler knows it no more"
    return Verdict(
        _gone(name, word, seen, note), Belief(seen, since, told_end), seal=not seen.claimed
    )


def heeding(verdict: Verdict, left: int) -> Verdict:
    """The verdict, where `left` jobs that its steps have handed in are still there.

    They work in its folder: before they are gone, nothing of it is at its end.
    """
    if not left or not verdict.status.over:
        return verdict
    note = f"it has ended, and {left} {'job' if left == 1 else 'jobs'} that it handed in have not"
    running = JobStatus(verdict.status.name, Phase.RUNNING, verdict.status.steps, note)
    return Verdict(running, verdict.after, cleans=True)


def _gone(name: str, word: Word | None, seen: Markers, note: str) -> JobStatus:
    category = (word.category if word else None) or ErrorCategory.TRANSIENT
    exhausted: Exhausted = word.exhausted if word else ""
    if seen.cancelled:
        # a scheduler may call it failed: the signal reached the script before the word of it came
        note = f"it was told to stop; {note}"
    return JobStatus(name, Phase.VANISHED, seen.marks(), note, category, exhausted)


def grown(before: Markers, now: Markers) -> Markers:
    """All that was ever seen: a file that is not seen any more was there; none is written twice.

    A step after which another began has ended well, though its end marker cannot be read.
    """
    steps = now.steps or before.steps
    starts, exits = now.starts | before.starts, now.exits | before.exits
    began = [step for step in STEPS if step in starts]
    for step, following in pairwise(began):
        exits.setdefault(step, (starts[following], 0))
    return Markers(
        steps=steps,
        starts=starts,
        exits=exits,
        exported=now.exported or before.exported,
        took=now.took | before.took,
        submitted=now.submitted or before.submitted,
        claimed=now.claimed or before.claimed,
        job=now.job or before.job,
        sealed=now.sealed or before.sealed,
        cancelled=now.cancelled or before.cancelled,
        unreadable=now.unreadable,
    )
