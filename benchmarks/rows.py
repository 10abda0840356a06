"""The rows of `make bench`: what each measures, beside what, and what it is held to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import planning

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One figure. `target`: the most that the ratio may be, or without `beside` the value."""

    name: str
    what: str
    unit: str
    ours: Callable[[], float]
    target: float
    beside: Callable[[], float] | None = None
    ratio_to: str = ""
    beside_once: bool = False
    """What it is compared with waits, by its own clock: it is measured in the first round only."""


@dataclass
class Figure:
    """What was measured of a row so far, round by round."""

    row: Row
    values: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One round: what it is compared with, then the row."""
        if self.row.beside is not None:
            again = not (self.row.beside_once and self.others)
            self.others.append(self.row.beside() if again else self.others[0])
        self.values.append(self.row.ours())

    @property
    def said(self) -> float:
        """What is held against the target."""
        return median(self.values) if self.ratio is None else self.ratio

    @property
    def ratio(self) -> float | None:
        # pair by pair: what slows the machine down slows both
        pairs = zip(self.values, self.others, strict=False)
        return median(value / other for value, other in pairs) if self.others else None

    @property
    def met(self) -> bool:
        return self.said <= self.row.target

    def kept(self) -> dict[str, Any]:
        """As it stands in `latest.json`."""
        row = self.row
        return {
            "what": row.what,
            "value": median(self.values),
            "unit": row.unit,
            "min": min(self.values),
            "max": max(self.values),
            "times": len(self.values),
            "ratio_to": row.ratio_to,
            "ratio": self.ratio,
            "target": row.target,
            "met": self.met,
        }


class Programs:
    """Benchmarks in processes of their own, each once in a round: several rows may read one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], dict[str, Any]] = {}

    def begin_round(self) -> None:
        self._found.clear()

    def __call__(self, *argv: str) -> dict[str, Any]:
        """What it prints last."""
        if argv not in self._found:
            self._found[argv] = program(*argv)
        return self._found[argv]

    def figure(self, key: str, *argv: str) -> Callable[[], float]:
        """A number of what it prints."""
        return lambda: float(self(*argv)[key])


def program(*argv: str) -> dict[str, Any]:
    """What a benchmark prints that runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


PROGRAMS: Final = Programs()


def _plan(slots: int) -> Callable[[], float]:
    return lambda: planning.plan_s(10_000, slots)


def _startup() -> float:
    found = PROGRAMS("benchmarks.startup")
    return float(found["command_s"] - found["server_s"])


def _units(kind: str, unit: str, *argv: str) -> Callable[[], float]:
    """Request units of a life or of a poll; an empty answer counts as AWS documents it."""

    def taken() -> float:
        found = PROGRAMS(*argv)[kind]
        return float(found[unit] + (found["empty_reads"] / 2 if unit == "read" else 0))

    return taken


def _recovery(seconds: str, worksets: int) -> Callable[[], float]:
    """Seconds beyond the lease of the one that was killed."""

    def took() -> float:
        found = PROGRAMS("benchmarks.recovery", "--worksets", str(worksets))
        if found["doubles"]:
            raise RuntimeError(f"{found['doubles']} jobs were begun twice")
        return float(found[seconds] - found["lease_s"])

    return took


def _memory() -> float:
    found = PROGRAMS(*_DENSITY)
    return float((found["memory_mb"] - 150) / found["worksets"])


_DENSITY: Final = ("benchmarks.density", "--worksets", "300")
_SIZES: Final = ("--worksets", "200", "--seconds", "10", "--clusters", "10", "--slots", "3")
_MAKESPAN: Final = PROGRAMS.figure("makespan_s", "benchmarks.makespan", *_SIZES)
_SHORT: Final = ("--worksets", "60", "--seconds", "0", "--clusters", "10", "--slots", "3")
_REACTION: Final = ("benchmarks.reaction", "--worksets", "50")
_POOL: Final = "benchmarks.thread_pool"
_FULL: Final = ("benchmarks.backlog", "--ready", "10000")
_FEW: Final = ("benchmarks.backlog", "--ready", "300")
_HISTORY: Final = ("benchmarks.history", "--finished", "100000")
_HISTORY_DYNAMODB: Final = ("benchmarks.history_dynamodb", "--finished", "100000")
_UNITS: Final = ("benchmarks.state_db_cost", "--finished", "20000", "--held")
_UNITS_FEW: Final = ("benchmarks.state_db_cost", "--finished", "2000", "--held")
_POLLERS: Final = ("benchmarks.pollers", "--worksets", "200")
_TUNED: Final = ("--workers", "30", "--poll", "1", "--at-once", "30")


def _each_s(pollers: int) -> Callable[[], float]:
    return lambda: 60 / float(PROGRAMS(*_POLLERS)[f"per_minute_{pollers}"])


ROWS: Final = {
    row.name: row
    for row in (
        Row(
            "plan_300", "a plan: 10,000 ready, 100 clusters, 200 customers, 300 free slots", "s",
            _plan(3), 1.0,
        ),
        Row("plan_1000", "the same with 1,000 free slots", "s", _plan(10), 1.0),
        Row("plan_3000", "the same with 3,000 free slots", "s", _plan(30), 1.0),
        Row(
            "forecast", "the queue with the expected start and end of each: 1,000 wait, 300 run, "
            "300 are expected", "s", lambda: min(planning.queue_s() for _ in range(3)), 1.0,
        ),
        Row(
            "history", "what a poll, the display and the queue ask of SQLite beside 100,000 "
            "finished worksets", "ms", PROGRAMS.figure("many_ms", *_HISTORY), 1.2,
            PROGRAMS.figure("few_ms", *_HISTORY), "200 finished: those that discovery asks for",
        ),
        Row(
            "history_dynamodb", "the same of DynamoDB (DynamoDB Local)", "ms",
            PROGRAMS.figure("many_ms", *_HISTORY_DYNAMODB), 1.2,
            PROGRAMS.figure("few_ms", *_HISTORY_DYNAMODB), "200 finished",
        ),
        Row(
            "db_cost_life", "write units of DynamoDB for a workset's life beside 1,000 held", "",
            _units("life", "write", *_UNITS, "1000"), 1.05,
            _units("life", "write", *_UNITS, "10"), "beside 10 held",
        ),
        Row(
            "db_cost_poll", "read units of DynamoDB for a poll beside 20,000 finished, 10 held",
            "", _units("poll", "read", *_UNITS, "10"), 1.2,
            _units("poll", "read", *_UNITS_FEW, "10"), "beside 2,000 finished",
        ),
        Row(
            "recovery_100", "from the kill (-9) of a poller with 100 jobs until another holds all, "
            "beyond its lease", "s", _recovery("killed_s", 100), 10.0,
        ),
        Row(
            "recovery_300", "the same with 300", "s", _recovery("killed_s", 300), 10.0,
        ),
        Row(
            "recovery_300_watched", "the same until another watches all their jobs", "s",
            _recovery("killed_watched_s", 300), 10.0,
        ),
        Row(
            "recovery_stopped", "300 jobs, their poller ended by SIGTERM: from the first sign of "
            "life of another until it holds all", "s",
            PROGRAMS.figure("stopped_s", "benchmarks.recovery", "--worksets", "300"), 5.0,
        ),
        Row(
            "pollers_2", "seconds for a workset by 2 pollers on one queue of 200 (DynamoDB Local)",
            "s", _each_s(2), 1.0, _each_s(1), "by one",
        ),
        Row("pollers_4", "the same by 4", "s", _each_s(4), 1.0, _each_s(1), "by one"),
        Row(
            "pollers_conflicts", "flow runs of 4 pollers that found their workset taken, a workset",
            "", PROGRAMS.figure("conflicts_4", *_POLLERS), 0.05,
        ),
        Row(
            "startup", "from the command of `make run` to the first job, beyond what a server "
            "alone takes until it is healthy", "s", _startup, 5.0,
        ),
        Row(
            "startup_served", "from the start of a poller to the first job, with a server that "
            "runs", "s", PROGRAMS.figure("served_s", "benchmarks.startup"), 4.0,
        ),
        Row(
            "reaction", "from ready to a job that runs, one a second, free slots (p95)", "s",
            PROGRAMS.figure("ready_s", *_REACTION), 2.0,
        ),
        Row(
            "reaction_drop", "the same from the move of the folder into the watched one (p95)",
            "s", PROGRAMS.figure("drop_s", *_REACTION), 5.0,
        ),
        Row(
            "completion", "from the end of a job of 15 s to complete (p95)", "s",
            PROGRAMS.figure("completion_s", *_REACTION), 2.0,
        ),
        Row(
            "refill", "from the end of a job of 15 s to the next on its slot, 25 slots (p95)", "s",
            PROGRAMS.figure("refill_s", *_REACTION), 2.0,
        ),
        Row(
            "overhead", "CPU of server and client a workset", "s",
            PROGRAMS.figure("cpu_s_per_workset", "benchmarks.makespan", *_SHORT), 1.2,
            PROGRAMS.figure("cpu_s_per_run", "benchmarks.bare", "--runs", "60"),
            "a bare flow of five tasks, one with three tag limits, on the same server settings",
        ),
        Row(
            "backlog", "CPU of server and client a workset that is started beside 10,000 ready",
            "s", PROGRAMS.figure("cpu_s_per_workset", *_FULL), 1.2,
            PROGRAMS.figure("cpu_s_per_workset", *_FEW), "beside 300",
        ),
        Row(
            "backlog_memory", "memory of the poller with 10,000 ready", "MB",
            PROGRAMS.figure("memory_mb", *_FULL), 1.2,
            PROGRAMS.figure("memory_mb", *_FEW), "with 300",
        ),
        Row(
            "density", "memory of the poller for each of 300 jobs that run, beyond its first "
            "150 MB", "MB", _memory, 0.7,
        ),
        Row(
            "density_cpu", "share of a processor that the poller takes meanwhile", "",
            PROGRAMS.figure("own_share", *_DENSITY), 0.25,
        ),
        Row(
            "density_threads", "its threads", "", PROGRAMS.figure("threads", *_DENSITY), 1.2,
            PROGRAMS.figure("threads", "benchmarks.density", "--worksets", "100"), "with 100 jobs",
        ),
        Row(
            "makespan", "200 worksets of 10 s on 10 clusters of 3 slots, the server on the same "
            "machine", "s", _MAKESPAN, 1.15, lambda: 70.0, "70 s: seven waves of jobs",
        ),
        Row(
            "makespan_threadpool", "the same", "s", _MAKESPAN, 1 / 3,
            PROGRAMS.figure("makespan_s", _POOL, *_SIZES),
            "a thread pool as Daylily describes it (5 workers, a poll in 30 s, 10 at once)",
            beside_once=True,
        ),
        Row(
            "makespan_threadpool_tuned", "the same", "s", _MAKESPAN, 1.0,
            PROGRAMS.figure("makespan_s", _POOL, *_SIZES, *_TUNED),
            "the same thread pool tuned (30 workers, a poll a second, 30 at once)",
        ),
        Row(
            "makespan_executor", "the same", "s", _MAKESPAN, 1.0,
            PROGRAMS.figure("makespan_s", "benchmarks.plain_prefect", *_SIZES),
            "Prefect alone: a task for each, with its cluster's tag limit",
        ),
        Row(
            "makespan_submitit", "the same", "s", _MAKESPAN, 1.0,
            PROGRAMS.figure("makespan_s", "benchmarks.submitit_local", *_SIZES),
            "submitit's local executor, a thread for each slot",
        ),
    )
}  # fmt: skip
