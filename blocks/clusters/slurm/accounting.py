"""What Slurm's accounting says that attempts took: their own jobs, and those that they handed in.

Fields: sacct(1), "Job Accounting Fields". An attempt's own job bears its name; what its steps hand
in bears it as wckey. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from shlex import quote
from typing import Final

from worksets.jobs import is_of
from worksets.used import Used

FIELDS: Final = "JobIDRaw,JobName,WCKey,End,CPUTimeRAW,TotalCPU,MaxRSS"
UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


def used_shell(since: datetime, until: datetime) -> str:
    """The shell that prints a line for each job, and each step of one, that ran between two times.

    Of this user alone; all in UTC, and the end in seconds since 1970.
    """
    times = (f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" for at in (since, until))
    begin, end = map(quote, times)
    return (
        "command -v sacct >/dev/null || exit 127\n"
        f'TZ=UTC SLURM_TIME_FORMAT=%s sacct -nP -u "$(id -un)" -S {begin} -E {end} -o {FIELDS}\n'
    )


def parse_used(text: str, installation: str, since: datetime, until: datetime) -> dict[str, Used]:
    """By the name of an attempt's job, what its jobs took that ended between two times.

    A line that is none of its form is passed over. vCPU-hours are those that were set aside
    (`CPUTimeRAW`), whether they were busy or not; memory is that of the largest step.
    """
    attempts: dict[str, str] = {}
    found: dict[str, Used] = {}
    memory: list[tuple[str, float]] = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 7:
            continue
        id_, name, wckey, end, set_aside, busy, rss = fields
        job, dot, _ = id_.partition(".")
        if dot:
            memory.append((job, _gb(rss)))
            continue
        attempt = next((tag for tag in (wckey, name) if is_of(tag, installation)), "")
        if not attempt or not end.isdecimal() or not set_aside.isdecimal():
            continue
        if since.timestamp() <= int(end) < until.timestamp():
            attempts[job] = attempt
            one = Used(jobs=1, vcpu_hours=int(set_aside) / 3600, cpu_hours=_seconds(busy) / 3600)
            found[attempt] = found.get(attempt, Used()) + one
    for job, gb in memory:
        if (attempt := attempts.get(job, "")) and gb:
            found[attempt] += Used(peak_gb=gb)
    return found


def _gb(text: str) -> float:
    """GB (10^9 bytes) of `220K`, `54.50M`; 0 where it says nothing."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)", text.strip())
    return float(match[1]) * UNITS[match[2]] / 1e9 if match else 0.0


def _seconds(text: str) -> float:
    """Seconds of `[DD-[HH:]]MM:SS[.mmm]`; 0 where it says something else."""
    days, _, clock = text.strip().rpartition("-")
    words: Iterable[str] = clock.split(":")
    try:
        total = 0.0
        for word in words:
            total = total * 60 + float(word)
        return total + 86400 * int(days or 0)
    except ValueError:
        return 0.0
