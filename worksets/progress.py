"""How far a job has come: by what its pipeline's log tells, or by the time such worksets take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from worksets.jobs import JobStatus
from worksets.record import Step
from worksets.texts import line

LONGEST_PATTERN: Final = 500
NEXTFLOW: Final = re.compile(
    r"process > (?P<part>\S+).*?\[\s*\d+%\] (?P<done>\d+) of (?P<total>\d+)"
)
"""One line a process, each time that anything changes; with `-ansi-log false` and without."""
KNOWN: Final = (
    re.compile(r"(?P<done>\d+) of (?P<total>\d+) steps \(\d+(?:\.\d+)?%\) done"),  # Snakemake
    NEXTFLOW,
)
AT_MOST: Final = 99.0
"""Percent, by the clock: only its end is the end."""


def compiled(pattern: str) -> re.Pattern[str]:
    """A pipeline's own pattern, for one line of its log.

    Raises:
        ValueError: it is no regular expression, or names neither `percent` nor `done` and `total`.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    groups = set(found.groupindex)
    if "percent" not in groups and not {"done", "total"} <= groups:
        raise ValueError(
            "name a group (?P<percent>…), or two: (?P<done>…) and (?P<total>…), for example "
            r"(?P<done>\d+) of (?P<total>\d+) samples"
        )
    return found


def told_by(log: str, patterns: Sequence[re.Pattern[str]]) -> tuple[float, str] | None:
    """Percent of the work that is done, and the line that says so; None: the log says nothing.

    The last line that matches counts; where lines name a `part`, such as a process of Nextflow's,
    the last of each part, added up.
    """
    for pattern in patterns:
        parts: dict[str, tuple[float, float]] = {}
        last = ""
        for text in log.splitlines():
            if (match := pattern.search(text)) and (found := _share(match.groupdict())):
                parts[match.groupdict().get("part") or ""] = found
                last = match.group()
        if total := sum(of for _, of in parts.values()):
            done = sum(done for done, _ in parts.values())
            said = last if len(parts) == 1 else f"{done:g} of {total:g}"
            return 100 * min(1.0, done / total), line(said, 120)
    return None


def _share(groups: dict[str, str | None]) -> tuple[float, float] | None:
    """Done, and of how much."""
    try:
        if groups.get("percent") is not None:
            return float(groups["percent"] or ""), 100.0
        done, total = float(groups["done"] or ""), float(groups["total"] or "")
    except ValueError:
        return None
    return (done, total) if 0 <= done <= total and 0 < total < float("inf") else None


def progress(
    status: JobStatus, log: str, pattern: str, expected_hours: float, now: datetime
) -> tuple[float, str] | None:
    """Percent of the run step, and one line for people; None: the job has not begun.

    Args:
        status: The job, as its cluster sees it.
        log: The end of the log of its run step.
        pattern: The pipeline's own (see `compiled`); empty: Snakemake's and Nextflow's are known.
        expected_hours: How long its run step should take; 0: not known.
        now: The time, of the clock that wrote the markers.
    """
    begun = next((mark for mark in reversed(status.steps) if mark.ended_at is None), None)
    if begun is None:
        return None
    since = f"{begun.step.value} since {begun.started_at:%H:%M} UTC"
    if begun.step is not Step.RUN:
        return (0.0 if begun.step is Step.STAGE else 100.0), since
    if found := told_by(log, [compiled(pattern)] if pattern else KNOWN):
        return found[0], f"{since}: {found[1]}"
    hours = (now - begun.started_at).total_seconds() / 3600
    if expected_hours <= 0 or hours < 0:
        return 0.0, f"{since}; its log tells nothing of how far it is"
    percent = min(AT_MOST, 100 * hours / expected_hours)
    return percent, f"{since}; such a workset takes about {expected_hours:.2g} h"
